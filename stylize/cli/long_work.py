"""Training, distilling and refining on the command line: watched, and ended early by a signal or when time is up."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stylize.cli import process
from stylize.cli.progress import Show, span
from stylize.cli.terminal import say
from stylize.errors import TrainingError

if TYPE_CHECKING:
    from stylize.training.events import Doing, Ended


@dataclass(frozen=True)
class Limits:
    """What may end a work early.

    Attributes:
        max_seconds: that the whole run of the program may take.
        stopped_by: signals that have come and were only noted.
    """

    max_seconds: float | None
    stopped_by: list[int]

    @property
    def until(self) -> float | None:
        """When the time is up, by ``time.monotonic``."""
        return None if self.max_seconds is None else process.started + self.max_seconds

    def check(self, what: str) -> None:
        """Call it while there is nothing to save yet.

        Args:
            what: is being done.

        Raises:
            Stopped: a signal has come.
            TrainingError: the time is up.
        """
        if self.stopped_by:
            say(f"stopped before the first step: {what}")
            raise process.Stopped(self.stopped_by[0])
        if self.until is not None and time.monotonic() > self.until:
            raise TrainingError(f"the time is up before the first step: {what}", hint="more `max_seconds`")


@dataclass
class Watch:
    """Shows what is being done, as the work tells it.

    Attributes:
        steps: the phase that consists of steps; before it there is nothing to save.
        facts: of the last steps, the most important first.
        end: how it has ended, once it has.
        begun: whether the steps have.
        stopped: whether it was told to end early.
    """

    steps: str
    limits: Limits
    show: Show
    facts: tuple[str, ...] = ()
    end: Ended | None = None
    begun: bool = False
    stopped: bool = False

    def doing(self, now: Doing) -> None:
        """Show it. Raises as ``Limits.check``."""
        self.begun = self.begun or now.what == self.steps
        if not self.begun:
            self.limits.check(now.what)
        notes = [now.note] if now.note else []
        self.show(now.what, now.done, now.total, *notes, *(self.facts if now.what == self.steps else ()))

    @property
    def stopped_at(self) -> str:
        """``stopped at 71 of 20000 steps after 90 s, about 6 h left``"""
        assert self.end is not None
        left = span(self.end.seconds_left)
        return f"stopped at {self.end.step} of {self.end.steps} steps after {so_far()}, about {left} left"


def so_far() -> str:
    """How long this run of the program has taken."""
    return span(time.monotonic() - process.started)


def this_command(*more: str) -> str:
    """The command line of this run, with more options at its end; it can be pasted into a shell."""
    from stylize.painting.recipe import to_copy

    words = [word for word in sys.argv[1:] if word not in more]
    return to_copy(["stylize", *words, *more])
