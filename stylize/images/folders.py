"""Folders of pictures: which files below a folder are pictures.

Folders are searched recursively; links to files are read, links to folders are not followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from stylize.errors import reason, shown
from stylize.images.formats import READABLE_SUFFIXES, format_by, head_of, unreadable_kind

JUNK = {"desktop.ini", "thumbs.db"}
RECORDS = ".stylize"  # folder in an output folder where a batch keeps its records; such folders are never searched


def pictures_below(folder: Path) -> Iterator[Path]:
    """The pictures below a folder in a stable order, by content or else by name; folders that cannot be read, none."""
    for path in files_below(folder, None, []):
        if not is_junk(path) and format_of_file(path) is not None:
            yield path


def files_below(folder: Path, output: Path | None, failures: list[tuple[Path, str]]) -> Iterator[Path]:
    """Files below a folder in a stable order; not those in output folders, of whatever batch, nor behind links."""
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        failures.append((folder, f"cannot read the folder {shown(folder)}: {reason(error)}"))
        return
    for entry in entries:
        path = folder / entry.name
        if not os.path.isdir(path):  # entry.is_dir() fails on links that may not be followed
            yield path
        elif entry.is_symlink() or entry.name == RECORDS or os.path.isdir(path / RECORDS) or is_same(path, output):
            continue
        else:
            yield from files_below(path, output, failures)


def is_same(path: Path, other: Path | None) -> bool:
    """Whether an existing folder is the other one, by whatever name."""
    return other is not None and os.path.exists(other) and os.path.samefile(path, other)


def is_junk(path: Path) -> bool:
    """Whether a file is hidden, or what systems leave in folders of pictures."""
    return path.name.startswith(".") or path.name.lower() in JUNK


def format_of_file(path: Path) -> str | None:
    """What a file is by content; what it claims to be by name, if the content tells nothing; None for other files.

    A damaged ``photo.jpg`` thus fails by name instead of being passed over.
    """
    return kinds_of_file(path)[0]


def kinds_of_file(path: Path) -> tuple[str | None, str | None]:
    """``format_of_file``, and what a picture is that is known but not read, such as ``a camera raw file``, or None."""
    try:
        head = head_of(path)
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        head = None
    by_name = READABLE_SUFFIXES.get(path.suffix.lower())
    return (by_name, None) if head is None else (format_by(head) or by_name, unreadable_kind(head, path.name))
