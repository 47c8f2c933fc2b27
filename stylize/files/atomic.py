"""Files that appear complete or not at all, and never in place of what they were made from."""

from __future__ import annotations

import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from stylize.errors import DISK_FULL, OutputError, reason, shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TEMPORARY = re.compile(r"\.stylize-[0-9a-f]{16}\.tmp")


def check_target(target: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Refuse early, before the work, what :func:`write_atomically` would refuse after it.

    Raises:
        OutputError: the target exists and may not be replaced, is no regular file, or its folder is missing.
    """
    target = Path(target)
    if os.path.exists(target) and not os.path.isfile(target):  # a device such as /dev/null, too
        if os.path.isdir(target):
            raise OutputError(f"cannot write {shown(target)}: a folder", hint="name a file in it")
        raise OutputError(f"cannot write {shown(target)}: not a regular file", hint="name another file")
    if not overwrite and os.path.lexists(target):
        raise _exists(target)
    try:
        os.lstat(target)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise _unwritable(target, error) from error
    if not os.path.isdir(target.parent):
        raise OutputError(
            f"cannot write {shown(target)}: no folder {shown(target.parent)}", hint="make the folder first"
        )


def make_folder(folder: str | os.PathLike[str]) -> None:
    """Make a folder and those above it, unless it is there. Raises OutputError."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {shown(folder)}: {reason(error)}") from error


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Refuse early, before the work, a folder that can neither be made nor written in. Leaves nothing behind.

    Raises:
        OutputError: it, or where it is to be made, cannot be written to.
    """
    place = Path(folder).absolute()
    nearest = next(path for path in (place, *place.parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise OutputError(f"cannot write in the folder {shown(folder)}: {reason(error)}") from error


def refuse_same_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """A source is never written to, by whatever name: links, hard links, other case.

    Raises:
        OutputError: ``target`` is the file ``source``, or one in the folder ``source``.
    """
    source, target = Path(source), Path(target)
    with suppress(OSError):  # either is missing: not the same
        inside = source.is_dir() and target.exists() and target.resolve().is_relative_to(source.resolve())
        if inside or os.path.samefile(source, target):
            hint = "it would replace a file of this folder: " if inside else ""
            raise OutputError(f"output is the input {shown(source)}", hint=f"{hint}give another name by `output`")


def write_atomically(
    target: str | os.PathLike[str], data: bytes, *, overwrite: bool, modified: int | None = None
) -> None:
    """Write a file so that its name shows either all of it or what was there before, even after a crash.

    What is replaced keeps its permissions. A symbolic link stays, and what it points to is replaced.

    Args:
        modified: the modification time, in nanoseconds; by default now.

    Raises:
        OutputError: as :func:`check_target`, and for a lack of permission or space. Nothing is left behind.
    """
    with atomically(target, overwrite=overwrite, modified=modified) as stream:
        stream.write(data)


@contextmanager
def atomically(target: str | os.PathLike[str], *, overwrite: bool, modified: int | None = None) -> Iterator[BinaryIO]:
    """``write_atomically`` for what is written piece by piece: the name shows it when the block has ended well."""
    target = Path(target)
    check_target(target, overwrite=overwrite)
    if overwrite and target.is_symlink():
        target = Path(os.path.realpath(target))
    remove_stale(target.parent)
    temporary = target.with_name(f".stylize-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as stream:  # not tempfile: its files are private to their owner
            with suppress(OSError):  # file systems without locks
                _lock(stream)
            yield stream
            stream.flush()
            if overwrite:
                with suppress(OSError):  # nothing is there, or the file system has no permissions
                    os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
            if modified is not None:
                with suppress(OSError):
                    os.utime(temporary, ns=(modified, modified))
            os.fsync(stream.fileno())
            if fcntl is None:  # Windows renames closed files only
                stream.close()
            if overwrite:
                os.replace(temporary, target)
            else:
                _name_new(temporary, target)
    except FileExistsError as error:  # someone was faster
        raise _exists(target) from error
    except OSError as error:
        raise _unwritable(target, error, " (the partial file was removed)") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def writing(target: object) -> Iterator[None]:
    """Say what went wrong where a file is not written as a whole, such as when a line is added. Raises OutputError."""
    try:
        yield
    except OSError as error:
        raise _unwritable(target, error) from error


def _name_new(temporary: Path, target: Path) -> None:
    """Give a file its final name unless that is taken, which a rename would not notice."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links. Reserving the name would leave an empty file, were we killed now.
        if os.path.lexists(target):
            raise FileExistsError from None
        os.replace(temporary, target)


def remove_stale(folder: Path) -> None:
    """Remove the temporary files of runs that were killed while writing. Looks once at each folder."""
    _remove_stale(os.path.abspath(folder))


@cache
def _remove_stale(folder: str) -> None:
    least_age = 10 if fcntl else 3600  # seconds; one just made may have no lock yet
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError), open(entry.path, "rb") as stream:
                    _lock(stream)  # an OSError if its writer lives
                    if time.time() - os.fstat(stream.fileno()).st_mtime > least_age:
                        os.unlink(entry.path)


def _lock(stream: BinaryIO) -> None:
    """Lock an open file until it is closed, by whatever end of the process. Raises OSError if another has locked it."""
    if fcntl:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _exists(target: Path) -> OutputError:
    return OutputError(f"{shown(target)} exists", hint="`overwrite` replaces it")


def _unwritable(target: object, error: OSError, left: str = "") -> OutputError:
    if error.errno in DISK_FULL:
        return OutputError(f"no space left while writing {shown(target)}{left}")
    return OutputError(f"cannot write {shown(target)}: {reason(error)}")
