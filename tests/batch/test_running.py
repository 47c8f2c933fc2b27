"""A program that uses the library: a batch and its events, without the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import WritePicture

from stylize import batch
from stylize.errors import OutputError, UsageError
from stylize.options import BatchOptions
from stylize.painting.look import Look
from stylize.painting.stylizer import Stylizer

Run = Callable[..., list[batch.Event]]


@pytest.fixture
def folder(tmp_path: Path, write_picture: WritePicture) -> Path:
    """Three photos, a file that is none, and one that does not look like one."""
    for seed in range(3):
        write_picture(tmp_path / f"photos/{seed}.png", np.full((20, 30, 3), 60 * seed, np.uint8))
    (tmp_path / "photos/bad.png").write_text("no picture")
    (tmp_path / "photos/diary.txt").write_text("dear diary")
    return tmp_path / "photos"


@pytest.fixture
def run(folder: Path, tmp_path: Path, code_file: Path, stylizer: Stylizer) -> Run:
    """``run(strength=1.0, **options)`` -> the events of a batch of the folder, into ``out``."""

    def run(strength: float = 1.0, **options: object) -> list[batch.Event]:
        how = BatchOptions(**options)  # type: ignore[arg-type]
        return [*batch.run([folder], [code_file], tmp_path / "out", Look(strength), how=how, stylizer=stylizer)]

    return run


def kinds(events: list[batch.Event]) -> Counter[str]:
    return Counter(type(event).__name__ for event in events)


def test_the_events_of_a_batch(run: Run, tmp_path: Path) -> None:
    events = run()
    assert kinds(events) == {"Planned": 1, "Started": 1, "Done": 3, "Failed": 1, "Finished": 1}
    first, second, *_, last = events
    assert isinstance(first, batch.Planned) and len(first.jobs.todo) == 4
    assert second == batch.Started(4)
    assert isinstance(last, batch.Finished) and last.trouble is None
    assert (last.counts.ok, last.counts.failed, last.counts.junk, last.counts.left) == (3, 1, 1, 0)
    assert last.failures is not None and "bad.png" in last.failures.read_text()
    (failed,) = (event for event in events if isinstance(event, batch.Failed))
    assert failed.photo.name == "bad.png" and failed.new
    written = [event.job.output for event in events if isinstance(event, batch.Done)]
    assert sorted((tmp_path / "out").glob("*.png")) == sorted(written)


def test_run_again_it_goes_on(run: Run) -> None:
    run()
    again = run(retry_failed=False)
    assert kinds(again) == {"Planned": 1, "Skipped": 3, "Failed": 1, "Finished": 1}
    assert kinds(run(0.5))["Done"] == 3  # another look


def test_a_dry_run_writes_nothing(run: Run, tmp_path: Path) -> None:
    events = run(dry_run=True)
    assert [event.why for event in events if isinstance(event, batch.Skipped)] == ["to do"] * 4
    assert not (tmp_path / "out").exists()


def test_failures_can_end_it(run: Run) -> None:
    last = run(max_failures=1, workers=1)[-1]
    assert isinstance(last, batch.Finished)
    assert last.counts.failed == 1 and last.counts.ok + last.counts.left == 3


def test_a_program_can_stop_it(folder: Path, tmp_path: Path, code_file: Path, stylizer: Stylizer) -> None:
    done: list[batch.Event] = []
    events = batch.run([folder], [code_file], tmp_path / "out", stylizer=stylizer, stopping=lambda: bool(done))
    for event in events:
        if isinstance(event, batch.Done):
            done.append(event)
    assert isinstance(event, batch.Finished) and event.counts.ok == len(done)
    # what is left alone unfinished is not locked either
    events = batch.run([folder], [code_file], tmp_path / "out", stylizer=stylizer)
    next(events)
    events.close()
    assert kinds([*batch.run([folder], [code_file], tmp_path / "out", stylizer=stylizer)])["Finished"] == 1


def test_what_is_wrong_for_all_is_told_before_the_work(
    folder: Path, tmp_path: Path, code_file: Path, stylizer: Stylizer
) -> None:
    with pytest.raises(OutputError, match="output is the input"):
        batch.run([folder], [code_file], folder, stylizer=stylizer)
    with pytest.raises(UsageError, match="two styles"):
        batch.run([folder], [code_file, code_file], tmp_path / "out", how=BatchOptions(each_style=True))
    assert not (tmp_path / "out").exists()
