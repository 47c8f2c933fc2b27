"""The end of a work that may take so long and no longer, saving included."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

MARGIN = 1.0  # seconds, for what cannot be measured: writing to the disk, and the end of the process
RECENT_STEPS = 10


class Deadline:
    """When to take no further step, so that the saving ends in time.

    Args:
        started: when the work began, by ``time.monotonic``.
        max_seconds: that it may take; None: as long as it takes.

    Attributes:
        seconds_to_save: of the saving, the longest seen so far.
    """

    def __init__(self, started: float, max_seconds: float | None) -> None:
        self.at = None if max_seconds is None else started + max_seconds
        self.seconds_to_save = 0.0
        self._steps: deque[float] = deque(maxlen=RECENT_STEPS)

    def allows_step(self, *, saving_after: bool = False) -> bool:
        """Whether one more step fits, the slowest of the last ones, and the saving.

        Args:
            saving_after: something is saved before that step, too.
        """
        if self.at is None:
            return True
        ahead = max(self._steps, default=0.0) + self.seconds_to_save * (1 + saving_after)
        return time.monotonic() + ahead + MARGIN < self.at

    def part_over(self, since: float) -> float:
        """Which part of the time for steps is over, 0 to 1; 0 where there is no end.

        Args:
            since: when the first step began.
        """
        if self.at is None:
            return 0.0
        last = self.at - MARGIN - self.seconds_to_save
        return min((time.monotonic() - since) / max(last - since, 1e-9), 1.0)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Time a step."""
        started = time.monotonic()
        yield
        self._steps.append(time.monotonic() - started)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Time the saving."""
        started = time.monotonic()
        yield
        self.seconds_to_save = max(self.seconds_to_save, time.monotonic() - started)
