"""Inputs: which photos the arguments of a batch name, and where each lies below its input.

An argument is a photo, a folder, ``@LIST`` for a file of paths, or ``-`` for paths on stdin. Folders are searched
recursively; links to files are read, links to folders are not followed.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import BinaryIO

from stylize.errors import InputError, OutputError, near_name, reason, shown
from stylize.images.folders import files_below, is_junk, is_same, kinds_of_file
from stylize.images.formats import TWO_BYTE_MAGIC, formats_of, is_heic

MAX_LIST_BYTES = 1 << 30


@dataclass(frozen=True)
class Photo:
    """A file that was found.

    Attributes:
        path: where it is.
        relative: its path below its input, never absolute and without ``..``: where its picture goes below the output
            folder.
        format: what it is by content, or else claims to be by name.
    """

    path: Path
    relative: PurePath
    format: str


@dataclass
class Found:
    """What a search brought.

    Attributes:
        photos: in the order of the arguments, folders in the order of their names.
        failures: what is known to fail: (path, reason).
        junk: how many files were passed over because they are no pictures.
        excluded: how many were passed over because ``include`` or ``exclude`` says so.
    """

    photos: list[Photo] = field(default_factory=list)
    failures: list[tuple[Path, str]] = field(default_factory=list)
    junk: int = 0
    excluded: int = 0


def find_photos(
    arguments: Sequence[str | os.PathLike[str]],
    *,
    output: str | os.PathLike[str] | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    stdin: BinaryIO | None = None,
) -> Found:
    """Find the photos that the arguments name. Below folders, what a batch wrote into one of its own is left alone.

    Args:
        arguments: an existing path is taken as such, whatever its name. Below folders, photos keep their relative
            path; a file that is named keeps its name only, one in a list its path, as far as that can be kept below
            an output folder: ``/data/a.jpg`` and ``../data/a.jpg`` both become ``data/a.jpg``.
        output: a folder that is not searched, should it lie in an input folder.
        include: patterns of which one must fit: of the file's name or, if it holds a ``/``, of the relative path.
            ``*`` goes across folders; case does not matter.
        exclude: patterns of which none may fit.
        stdin: for ``-``.

    Raises:
        InputError: an argument does not exist, or a list cannot be read. What a list names and is missing is a failure
            of its own.
    """
    found = Found()
    seen: set[tuple[str, PurePath]] = set()
    output = None if output is None else Path(output)
    root = None if output is None else os.path.realpath(output)
    for path, place, listed in _named(arguments, stdin):
        trouble = _trouble_with(path)
        if trouble:
            if not listed:
                raise InputError(trouble, hint=near_name(path))
            found.failures.append((path, trouble))
            continue
        folder = os.path.isdir(path)
        if listed and root is not None and _lies_in(path, root):
            found.junk += not folder
            continue
        for photo in files_below(path, output, found.failures) if folder else [path]:
            format, kind = kinds_of_file(photo)
            if folder and ((format or kind) is None or is_junk(photo)):
                found.junk += 1
                continue
            relative = place / photo.relative_to(path) if folder else place
            if not _fits(relative, include, exclude):
                found.excluded += 1
            elif (key := (os.path.abspath(photo), relative)) not in seen:
                seen.add(key)
                if kind is None:
                    found.photos.append(Photo(photo, relative, format or "PNG"))
                else:  # it must not take the name that belongs to the picture of another
                    found.failures.append((photo, f"cannot read {shown(photo)}: it is {kind}"))
    return found


def _trouble_with(path: Path) -> str:
    """Why there is nothing to be seen at a path; empty if there is something."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a zero byte in the name
        return f"cannot read {shown(path)}: no such file or folder"
    except OSError as error:
        return f"cannot read {shown(path)}: {reason(error)}"
    return ""


def _named(
    arguments: Sequence[str | os.PathLike[str]], stdin: BinaryIO | None
) -> Iterator[tuple[Path, PurePath, bool]]:
    """(path, its place below the output folder, whether a list named it)"""
    for argument in (os.fspath(argument) for argument in arguments):
        if argument == "-" and stdin is not None:
            listed = _paths(stdin, "<stdin>")
        elif argument.startswith("@") and not os.path.lexists(argument):
            try:
                with open(argument[1:], "rb") as stream:
                    listed = _paths(stream, shown(argument[1:]))
            except OSError as error:
                hint = f"stylize batch {shown(argument[1:])}" if os.path.isdir(argument[1:]) else ""
                raise InputError(f"cannot read the list {shown(argument[1:])}: {reason(error)}", hint=hint) from error
        else:
            path = Path(argument)
            yield path, PurePath() if os.path.isdir(path) else PurePath(path.name), False
            continue
        for path in listed:
            parts = PurePath(os.path.normpath(path)).parts
            anchor = 1 if PurePath(path).anchor else 0
            yield path, PurePath(*(part for part in parts[anchor:] if part != "..")), True


def _paths(stream: BinaryIO, name: str) -> list[Path]:
    """The paths of a list: separated by zero bytes if it holds any, else one on each line."""
    data = stream.read(MAX_LIST_BYTES + 1)
    if len(data) > MAX_LIST_BYTES:
        raise InputError(f"cannot read the list {name}: more than {MAX_LIST_BYTES >> 20} MB", hint="cut it in several")
    head = data[:16]
    if is_heic(head) or not TWO_BYTE_MAGIC.issuperset(formats_of(head)):  # text can begin like the two
        hint = "stylize transfer - reads a photo" if name == "<stdin>" else "give photos without @"
        raise InputError(f"cannot read the list {name}: a picture", hint=hint)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as Windows writes text
        data = data.decode("utf-16", "replace").encode()
    data = data.removeprefix(codecs.BOM_UTF8)
    names = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return [Path(os.fsdecode(name)) for name in names if name]


def refuse_input_folder(folders: Iterable[str | Path], output: Path) -> None:
    """Raises OutputError if the output is one of the folders, by whatever name; it may lie below one."""
    for folder in filter(os.path.isdir, folders):
        if is_same(Path(folder), output):
            raise OutputError(f"output is the input {shown(folder)}", hint="give another folder by `output`")


def _lies_in(path: Path, root: str) -> bool:
    real = os.path.realpath(path)
    return real == root or real.startswith(os.path.join(root, ""))


def _fits(relative: PurePath, include: Sequence[str], exclude: Sequence[str]) -> bool:
    path = relative.as_posix().lower()
    name = path.rpartition("/")[2]

    def matches(pattern: str) -> bool:
        pattern = pattern.lower()
        if "/" not in pattern:
            return fnmatchcase(name, pattern)
        return fnmatchcase(path, pattern) or fnmatchcase("/" + path, pattern)  # */raw/* is also raw/ at the top

    return (not include or any(map(matches, include))) and not any(map(matches, exclude))
