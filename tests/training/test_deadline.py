"""A deadline leaves time for the step that comes, and for the saving."""

from __future__ import annotations

import pytest

from stylize.training import deadline
from stylize.training.deadline import MARGIN, Deadline


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """``clock[0]`` is the time."""
    now = [1000.0]
    monkeypatch.setattr(deadline.time, "monotonic", lambda: now[0])
    return now


def test_steps_end_early_enough_to_save(clock: list[float]) -> None:
    end = Deadline(1000.0, 60.0)
    with end.saving():
        clock[0] += 4
    for seconds in (2, 5, 3):
        with end.step():
            clock[0] += seconds
    last = 1060 - MARGIN - 4 - 5  # the slowest step may come again
    for now, allowed in [(last - 0.1, True), (last + 0.1, False)]:
        clock[0] = now
        assert end.allows_step() is allowed
        assert not end.allows_step(saving_after=True)
    clock[0] = last - 4.1
    assert end.allows_step(saving_after=True)


def test_the_longest_saving_counts_and_old_steps_do_not(clock: list[float]) -> None:
    end = Deadline(1000.0, 60.0)
    for seconds in (4, 1):
        with end.saving():
            clock[0] += seconds
    assert end.seconds_to_save == 4
    for seconds in [30] + [1] * deadline.RECENT_STEPS:
        with end.step():
            clock[0] += seconds
    clock[0] = 1060 - MARGIN - 4 - 1.1
    assert end.allows_step()


def test_the_part_of_the_time_that_is_over(clock: list[float]) -> None:
    end = Deadline(1000.0, 100.0)
    parts = []
    for now in (1000 + 10, 1000 + 10 + (90 - MARGIN) / 2, 1000 + 100 - MARGIN, 2000):
        clock[0] = now
        parts.append(end.part_over(since=1010))
    assert parts == pytest.approx([0, 0.5, 1, 1])


def test_without_a_limit(clock: list[float]) -> None:
    end = Deadline(0.0, None)
    assert end.allows_step(saving_after=True) and end.part_over(since=0) == 0
