"""The check of a training's pictures, before hours are spent on them.

Given the folders of one kind, every picture is decoded once, as training would do it; what comes out stays in memory
for training. Damaged and tiny pictures, copies of others, and paintings among the photos are found, named and left out.
The findings are kept as ``data.json`` in the run's folder; as long as the folders list the same files, a resumed run
takes them from there and decodes nothing in advance.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stylize.errors import TrainingError, shown
from stylize.training.data import PictureFolders

MOST_BAD = 0.1  # part of a folder's pictures that may be unreadable: beyond it something else is wrong
NAMED = 5  # pictures of one folder and fault that messages name; data.json names all
_COPY_DIGEST = 16  # bytes


@dataclass(frozen=True)
class FolderCheck:
    """What was found in one folder. Names are relative to it: a run does not tell where its pictures lay."""

    pictures: int  # files that look like pictures
    listing: str  # hash of their names and sizes
    bad: dict[str, str] = field(default_factory=dict)  # name -> why it cannot be read
    small: dict[str, str] = field(default_factory=dict)  # name -> its pixels, as 30x200
    copies: dict[str, str] = field(default_factory=dict)  # name -> the picture that it repeats, pixel for pixel
    painted: dict[str, str] = field(default_factory=dict)  # name -> the command by which stylize painted it

    @property
    def usable(self) -> int:
        """How many pictures are left."""
        return self.pictures - len(self.left_out)

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """The others: name and reason of each."""
        return [pair for names in (self.bad, self.small, self.copies, self.painted) for pair in names.items()]

    def faults(self) -> Iterator[str]:
        """Lines for people: how many pictures are left out, why, and the names of the first."""
        for what, names in (
            ("cannot be read", self.bad),
            ("are too small", self.small),
            ("are copies of others", self.copies),
            ("are no photos, stylize painted them", self.painted),
        ):
            if names:
                first = [f"{shown(name)} ({shown(reason)})" for name, reason in list(names.items())[:NAMED]]
                more = ["…"] if len(names) > NAMED else []
                yield f"{len(names)} of {self.pictures} {what}: {', '.join(first + more)}"


Checks = dict[str, list[FolderCheck]]  # of the kinds content and style: one for each folder


def check_pictures(
    pictures: PictureFolders,
    advance: Callable[[], object] = lambda: None,
    *,
    photos: bool = False,
    threads: int | None = None,
) -> list[FolderCheck]:
    """Decode every picture of the folders, and say what was found in each.

    Args:
        advance: called after each picture.
        photos: whether these are to be photos. Then stylised ones are left out: ``transfer`` writes them beside their
            photos, and learnt from they would teach G to paint what is painted already.
        threads: that decode; by default as many as there are processors.
    """
    checks = []
    pool = ThreadPoolExecutor(threads or os.cpu_count() or 1)
    try:
        for folder, files, listing in zip(pictures.folders, pictures.files, listings(pictures), strict=True):
            check = FolderCheck(len(files), listing)
            first: dict[bytes, str] = {}
            for path, digest in zip(files, pool.map(lambda p: _digest(pictures, p), files), strict=True):
                name = str(path.relative_to(folder))
                if path in pictures.small:
                    check.small[name] = "{}x{}".format(*pictures.small[path])
                elif digest is None:
                    check.bad[name] = pictures.skipped[path].removeprefix(f"cannot read {shown(path)}: ")
                elif first.setdefault(digest, name) != name:
                    check.copies[name] = first[digest]
                elif photos and path in pictures.painted:
                    check.painted[name] = pictures.painted[path]
                advance()
            checks.append(check)
    finally:
        pool.shutdown(cancel_futures=True)  # whoever stops now need not wait for the rest
    return checks


def listings(pictures: PictureFolders) -> list[str]:
    """A hash over the names and sizes of each folder's pictures: 32 hexadecimal digits."""
    hashes = []
    for folder, files in zip(pictures.folders, pictures.files, strict=True):
        digest = hashlib.sha256()
        for path in files:
            try:
                size = path.stat().st_size
            except OSError:  # a dead link, or gone since: the check will say so
                size = -1
            digest.update(os.fsencode(path.relative_to(folder)) + b"\0%d\n" % size)
        hashes.append(digest.hexdigest()[:32])
    return hashes


def leave_out(pictures: PictureFolders, checks: Sequence[FolderCheck]) -> None:
    """Draw from the usable pictures only. Raises TrainingError where a folder has none."""
    pictures.leave_out(
        [{folder / name for name, _ in check.left_out} for folder, check in zip(pictures.folders, checks, strict=True)]
    )


def refuse_bad(folders: Sequence[Path], checks: Sequence[FolderCheck], hint: str) -> None:
    """Raises TrainingError where too many pictures of a folder cannot be read."""
    for folder, check in zip(folders, checks, strict=True):
        if len(check.bad) > MOST_BAD * check.pictures:
            raise TrainingError(
                f"{len(check.bad)} of {check.pictures} pictures cannot be read: {shown(folder)}", hint=hint
            )


def entries(checks: Mapping[str, Sequence[FolderCheck]]) -> dict[str, list[dict[str, Any]]]:
    """What is told of the folders: by kind of picture, ``content`` and ``style``, one entry for each folder."""
    return {kind: [{**asdict(c), "usable": c.usable} for c in of_kind] for kind, of_kind in checks.items()}


def to_json(checks: Mapping[str, Sequence[FolderCheck]]) -> bytes:
    """The content of ``data.json``."""
    return json.dumps({"schema": 1, **entries(checks)}, indent=1).encode()


def recall(path: Path, kind: str, pictures: PictureFolders) -> list[FolderCheck] | None:
    """What an earlier check found, if the folders still list the same files; None otherwise."""
    try:
        found = json.loads(path.read_bytes())[kind]
        for entry in found:
            entry.pop("usable")
        checks = [FolderCheck(**entry) for entry in found]
        sound = all(isinstance(text, str) for check in checks for pair in check.left_out for text in pair)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):  # missing, or tampered with
        return None
    return checks if sound and [check.listing for check in checks] == listings(pictures) else None


def _digest(pictures: PictureFolders, path: Path) -> bytes | None:
    """A hash of a picture's pixels; None if it cannot be used."""
    pixels = pictures.load(path)
    if pixels is None:
        return None
    return hashlib.blake2b(pixels.tobytes(), digest_size=_COPY_DIGEST, salt=b"%dx%d" % pixels.shape[1::-1]).digest()
