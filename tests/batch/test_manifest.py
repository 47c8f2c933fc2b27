"""The manifest believes nothing that is not a whole line of its own."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stylize.batch.manifest import Entry, Known, Manifest, _parsed, locked, look_at, write_failures
from stylize.errors import OutputError
from stylize.files.hashing import hash_file

ENTRY = Entry("/in/a.png", "sub/a.png", "ok", "f" * 64, "0" * 64, 5, 6, "1" * 64, 7, time=1.0)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None)
@example(line=b"[]")
@given(line=st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_foreign_lines_do_not_count(line: bytes) -> None:
    assert _parsed(line) is None


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(asdict(ENTRY))), value=JSON)
def test_lines_of_wrong_types_do_not_count(name: str, value: object) -> None:
    entry = _parsed(json.dumps(asdict(ENTRY) | {name: value}).encode())
    assert entry is None or type(value) in (str, int, float, bool)


@pytest.mark.parametrize("output", ["/etc/passwd"])
def test_absolute_outputs_do_not_count(output: str) -> None:
    assert _parsed(json.dumps(asdict(ENTRY) | {"output": output}).encode()) is None


def test_what_is_written_is_read(tmp_path: Path) -> None:
    with Manifest(tmp_path) as manifest:
        manifest.append(replace(ENTRY, status="writing"))
        manifest.append(ENTRY)
    with Manifest(tmp_path, "-2-of-3") as shard:
        shard.append(replace(ENTRY, output="b\udcff\n.png", status="failed", reason="no"))
    known = Known(tmp_path)
    (made,) = known.made("sub/a.png")
    assert replace(made, time=1.0) == ENTRY
    assert abs(made.time - time.time()) < 100
    failure = known.failed("b\udcff\n.png")
    assert failure is not None
    assert failure.reason == "no"
    assert sorted(known.outputs_of("/in/a.png")) == ["b\udcff\n.png", "sub/a.png"]
    assert known.damaged == 0
    assert list(Known(tmp_path, "").outputs()) == ["sub/a.png"]
    assert list(Known(tmp_path / "none").outputs()) == []


@pytest.mark.parametrize(
    ("status", "when", "failed"), [("writing", 2.0, True), ("ok", 2.0, False), ("writing", 2.001, False)]
)
def test_a_failure_in_the_millisecond_of_the_attempt_counts(
    tmp_path: Path, status: str, when: float, failed: bool
) -> None:
    (tmp_path / ".stylize").mkdir()
    lines = [asdict(replace(ENTRY, status=status, time=when)), asdict(replace(ENTRY, status="failed", time=2.0))]
    (tmp_path / ".stylize" / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert bool(Known(tmp_path).failed(ENTRY.output)) == failed


def test_the_newest_counts_wherever_it_is_written(tmp_path: Path) -> None:
    records = tmp_path / ".stylize"
    records.mkdir()
    for label, when, status in (("", 3.0, "ok"), ("-1-of-2", 2.0, "ok"), ("-2-of-2", 4.0, "failed")):
        line = json.dumps(asdict(replace(ENTRY, time=when, status=status, output_sha256=f"{when}")))
        (records / f"manifest{label}.jsonl").write_text(line + "\n")
    known = Known(tmp_path)
    assert [entry.time for entry in known.made("sub/a.png")] == [2.0, 3.0]
    failure = known.failed("sub/a.png")
    assert failure is not None
    assert failure.time == 4.0
    # a clock that was set back: what lies there decides
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.png").write_bytes(b"picture")
    line = asdict(replace(ENTRY, time=0.5, output_sha256=hash_file(tmp_path / "sub/a.png")))
    (records / "manifest-3-of-3.jsonl").write_text(json.dumps(line) + "\n")
    now = Known(tmp_path).now("sub/a.png")
    assert now is not None
    assert now.time == 0.5


def test_a_photo_is_known_by_time_or_content(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(8))
    seen = look_at(photo)
    assert seen is not None
    entry = replace(ENTRY, size=seen.size, mtime_ns=seen.mtime_ns, sha256=seen.sha256)
    assert entry.is_of(photo)
    os.utime(photo, (1, 1))
    assert entry.is_of(photo)
    photo.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(7) + b"1")
    assert not entry.is_of(photo)
    assert not entry.is_of(tmp_path / "gone.png")
    assert look_at(tmp_path / "gone.png") is None
    assert look_at(tmp_path) is None


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot make the folder"), locked(tmp_path / "file"):
        pass
    (tmp_path / ".stylize/manifest.jsonl").mkdir(parents=True)
    with pytest.raises(OutputError, match="is a directory"):
        Manifest(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_what_might_never_end_is_not_read(tmp_path: Path) -> None:
    (tmp_path / ".stylize").mkdir()
    os.mkfifo(tmp_path / ".stylize/manifest.jsonl")
    with pytest.raises(OutputError, match="not a regular file"):
        Known(tmp_path)


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*arguments: object, **options: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", no_locks)
    said: list[str] = []
    with locked(tmp_path, on_warning=said.append):
        assert "cannot be locked" in said[0]


def test_the_list_of_failures(tmp_path: Path) -> None:
    (tmp_path / ".stylize").mkdir()
    path = write_failures(tmp_path, "", [(Path("a\nb\udcff.png"), "no\ttab")])
    assert path is not None
    assert path.read_text() == "a\\nb\\udcff.png\tno\\ttab\n"
    assert write_failures(tmp_path, "", []) is None
    assert not path.exists()
