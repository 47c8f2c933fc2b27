"""A program that uses the library: a batch and its events, without the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import WritePicture

from stylize import batch
from stylize.batch.fingerprint import REVISION, Fingerprints
from stylize.errors import OutputError, UsageError
from stylize.options import BatchOptions, ImageOptions, NetworkOptions
from stylize.painting.look import Look
from stylize.painting.stylizer import Stylizer
from stylize.painting.treatment import Treatment

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


def test_only_what_this_run_tries_ends_it(run: Run, folder: Path) -> None:
    (folder / "bad.png").rename(folder / "0.CR2")
    last = run(max_failures=1)[-1]
    assert isinstance(last, batch.Finished) and (last.counts.ok, last.counts.failed) == (3, 1)


def test_what_failed_is_listed_however_it_ends(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "bad.png").rename(folder / "raw.CR2")

    def interrupt(self: Stylizer, *arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Treatment, "apply", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(workers=1)
    assert "raw.CR2" in (tmp_path / "out/.stylize/failures.txt").read_text()


def fingerprint(look: Look = Look(), **options: object) -> str:
    treatment = Treatment((), {}, look, ImageOptions(**options), "model", NetworkOptions())  # type: ignore[arg-type]
    return Fingerprints(treatment).of(Path("photo.png"))


def test_fingerprints_are_what_they_were() -> None:
    """Else every finished batch is painted again. With a new ``REVISION`` they are others, on purpose."""
    assert REVISION == 5
    assert fingerprint() == "6d47954090c5df686672f53cf8e852da45deb63b723b3b46843a301ada8e855a"
    assert fingerprint(quality=80) == "da06575e058a8a02602835f637c82d5f57f91ca81061b3d3d432db366ec5604e"
    assert fingerprint(Look(0.5)) == "a3970d40361006a83347028c9357aedf77190e4f2cda6993fb4abd6fcbc254a7"
    assert fingerprint(Look(effort="fine")) == "3ef213abe0241b755695a2d7635c3792c9e38a9702ec289fc21cf683fc225601"


def test_only_options_that_change_pictures_outdate_them() -> None:
    assert fingerprint(max_pixels=5, allow_truncated=True, times=True) == fingerprint()
    options = ({"quality": 80}, {"background": "red"}, {"metadata": "strip"}, {"bit_depth": "16"})
    looks = (Look(0.5), Look(preserve_color=True), Look(style_scale=None), Look(effort="fine"))
    different = [*(fingerprint(**each) for each in options), *map(fingerprint, looks), fingerprint()]
    assert len(set(different)) == 9
