"""A file appears complete or not at all, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from stylize.errors import OutputError
from stylize.files import atomic as output_file
from stylize.files.atomic import write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    path.write_text("precious")
    with pytest.raises(OutputError) as caught:
        write_atomically(path, b"new", overwrite=False)
    assert (caught.value.message, caught.value.hint) == (f"{path} exists", "`overwrite` replaces it")
    assert path.read_text() == "precious"
    write_atomically(path, b"new", overwrite=True)
    assert path.read_text() == "new"
    assert names(tmp_path) == ["out.png"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    path = tmp_path / "out.bin"
    link = os.link

    def race(source: Path, target: Path) -> None:
        target.write_text("faster")
        if not links:
            raise PermissionError(errno.EPERM, "no hard links here")
        link(source, target)

    monkeypatch.setattr(os, "link", race)
    with pytest.raises(OutputError, match="exists"):
        write_atomically(path, b"slower", overwrite=False)
    assert path.read_text() == "faster"
    assert names(tmp_path) == ["out.bin"]


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    write_atomically(tmp_path / "out.bin", b"data", overwrite=False)
    assert (tmp_path / "out.bin").read_bytes() == b"data"
    assert names(tmp_path) == ["out.bin"]
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError):
        write_atomically(tmp_path / "other.bin", b"data", overwrite=False)
    assert names(tmp_path) == ["out.bin"]


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, overwrite: bool
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "out.png"
    if overwrite:
        path.write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError) as caught:
        write_atomically(path, b"new", overwrite=overwrite)
    if number == errno.EIO:
        assert caught.value.message == f"cannot write {path}: {os.strerror(number).lower()}"
    else:
        assert caught.value.message == f"no space left while writing {path} (the partial file was removed)"
    assert names(tmp_path) == (["out.png"] if overwrite else [])
    assert not overwrite or path.read_text() == "old"


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "out.bin", b"data", overwrite=False)
    assert names(tmp_path) == []


def test_the_file_is_complete_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bytes]] = []
    replace = os.replace

    def spy(source: Path, target: Path) -> None:
        seen.append((source.name, source.read_bytes()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    write_atomically(tmp_path / "out.bin", b"all of it", overwrite=True)
    ((name, data),) = seen
    assert name.startswith(".stylize-") and name.endswith(".tmp")
    assert data == b"all of it"


def test_temporaries_of_killed_runs_are_removed(tmp_path: Path) -> None:
    stale, fresh, living = (tmp_path / f".stylize-{digit * 16}.tmp" for digit in "012")
    others = [tmp_path / ".stylize-notes.tmp", tmp_path / "stylize-0000000000000000.tmp", tmp_path / "photo.png"]
    for path in (stale, fresh, living, *others):
        path.write_bytes(b"half a pict")
        if path != fresh:
            os.utime(path, (0, 0))
    (tmp_path / ".stylize-3333333333333333.tmp").mkdir()
    (tmp_path / ".stylize-4444444444444444.tmp").symlink_to(others[2])
    kept = [path.name for path in tmp_path.iterdir() if path != stale]
    with living.open("rb") as stream:
        output_file._lock(stream)
        write_atomically(tmp_path / "out.bin", b"data", overwrite=False)
        assert names(tmp_path) == sorted([*kept, "out.bin"])


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_new_files_have_ordinary_permissions(tmp_path: Path) -> None:
    write_atomically(tmp_path / "ours", b"", overwrite=False)
    (tmp_path / "ordinary").touch()
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "ordinary").stat().st_mode)


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for target, reason in (
        (tmp_path / "nowhere" / "out.png", "no folder"),
        (tmp_path / "file" / "out.png", "no folder"),
        (tmp_path / "folder.png", "a folder"),
        (Path(os.devnull), "not a regular file"),
        (tmp_path / ("x" * 300 + ".png"), "too long"),
    ):
        with pytest.raises(OutputError, match=reason):
            write_atomically(target, b"data", overwrite=True)
    assert names(tmp_path) == ["file", "folder.png"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_what_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(0o640)
    write_atomically(target, b"new", overwrite=True)
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "file", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to(Path("there") / "file")
    write_atomically(link, b"new", overwrite=True)
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert names(tmp_path / "there") == ["file"]
    with pytest.raises(OutputError, match="exists"):
        write_atomically(link, b"newer", overwrite=False)
    real.unlink()
    write_atomically(link, b"again", overwrite=True)  # to where it points
    assert real.read_bytes() == b"again"


def test_a_modification_time_can_be_given(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"", overwrite=False, modified=1_600_000_000_000_000_000)
    assert (tmp_path / "file").stat().st_mtime == 1_600_000_000
