"""How large the batches of a run are: they get smaller when memory runs out, and a resumed run must know when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stylize.errors import UsageError
from stylize.training.devices import World


@dataclass(frozen=True)
class BatchSizes:
    """S styles and n photos for each, of the whole batch, step by step.

    Attributes:
        since: from which step on -> S and n; begins with step 0.
    """

    since: Mapping[int, tuple[int, int]]

    def at(self, step: int) -> tuple[int, int]:
        """S and n of a step."""
        return self.since[max(start for start in self.since if start <= step)]

    def changed(self, step: int, sizes: tuple[int, int]) -> BatchSizes:
        """These sizes, and others from a step on."""
        return BatchSizes({start: pair for start, pair in self.since.items() if start < step} | {step: sizes})

    def halved(self, step: int, processes: int) -> BatchSizes | None:
        """Half as large from a step on, first the photos, then the styles. None if nothing is left to halve."""
        styles, photos = self.at(step)
        if photos > 1:
            return self.changed(step, (styles, photos // 2))
        fewer = max(styles // 2 // processes, 1) * processes  # every process needs one
        return self.changed(step, (fewer, 1)) if fewer < styles else None

    def check_shares(self, done: int, world: World) -> None:
        """Raises UsageError if the styles of a step after ``done`` steps cannot be shared among the processes."""
        now = max(start for start in self.since if start <= done)
        for start, (styles, _) in self.since.items():
            if start >= now and styles % world.size:
                hint = f"`styles` {-(-styles // world.size) * world.size}"
                message = f"{styles} styles per step cannot be shared by {world.size} devices"
                raise world.failure(UsageError(message, hint=hint))
