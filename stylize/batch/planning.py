"""The plan of a batch: which file goes where, so that no two outputs share a name, and what is done already.

Nothing is written here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath

from stylize.batch.inputs import Found, Photo
from stylize.batch.manifest import Entry, Known
from stylize.errors import StylizeError, shown
from stylize.images.formats import SUFFIXES, output_name, suffix_of, written_format


@dataclass(frozen=True)
class Job:
    """One photo and where its picture goes.

    Attributes:
        photo: where it is.
        output: where its picture goes.
        name: the same below the output folder, with ``/``.
        style: which of the batch's treatments it gets.
        fingerprint: of that treatment.
        replaces: whether what lies at ``output`` may be replaced.
    """

    photo: Path
    output: Path
    name: str = ""
    style: str = ""
    fingerprint: str = ""
    replaces: bool = False


@dataclass
class Plan:
    """All jobs of a batch, what is known to fail, and how many files were passed over: no pictures, or excluded."""

    jobs: list[Job] = field(default_factory=list)
    failures: list[tuple[Path, str]] = field(default_factory=list)
    junk: int = 0
    excluded: int = 0


@dataclass
class Sorted:
    """The jobs of a plan, by what is to be done with them.

    Attributes:
        todo: to be done.
        done: done before, and nothing has changed.
        foreign: something is there that the batch did not write.
        failed: failed before, with the reason; not to be tried again.
    """

    todo: list[Job] = field(default_factory=list)
    done: list[Job] = field(default_factory=list)
    foreign: list[Job] = field(default_factory=list)
    failed: list[tuple[Job, str]] = field(default_factory=list)


def plan_batch(
    found: Found,
    output: str | os.PathLike[str],
    *,
    styles: Sequence[str] = ("",),
    known: Known | None = None,
    shard: tuple[int, int] | None = None,
    format: str | None = None,
) -> Plan:
    """Decide what to do, without doing it.

    Args:
        found: all photos, also those of other shards: names are fixed on the full list.
        output: the output folder.
        styles: one picture of every photo for each; those of "" directly below ``output``, of others in a folder of
            that name.
        known: names that belong to a photo are never given to another.
        shard: (I, N), the I-th of N parts, from 1.
        format: of all pictures; by default each is written in its photo's.
    """
    photos = found.photos if format is None else [replace(photo, format=format) for photo in found.photos]
    plan = Plan([], found.failures, found.junk, found.excluded)
    for style in styles:
        for photo, name in zip(photos, _names(photos, style, known), strict=True):
            if shard is None or shard_of(photo.relative, shard[1]) == shard[0]:
                plan.jobs.append(Job(photo.path, Path(output) / name, name, style))
    if shard is not None and shard[0] != 1:
        plan.failures, plan.junk, plan.excluded = [], 0, 0  # told by the first one
    return plan


def shard_of(relative: PurePath, shards: int) -> int:
    """The shard, 1 to ``shards``, that does a photo: it depends on its relative path alone."""
    digest = hashlib.sha256(os.fsencode(relative.as_posix())).digest()
    return int.from_bytes(digest[:8], "big") % shards + 1


def _names(photos: Sequence[Photo], style: str, known: Known | None) -> list[str]:
    """The names of the outputs, below the output folder: those that the photos own already, else free ones."""
    names: list[str | None] = [None] * len(photos)
    if known is not None:
        # All that is claimed by path must be known before the photos that were moved look for theirs.
        _claim(photos, names, style, lambda photo: known.outputs_of(os.path.abspath(photo.path)))
        if None in names:
            _claim(photos, names, style, _by_content(known))
    taken = {name.casefold() for name in known.outputs()} if known else set()
    return [
        _free_name(PurePosixPath(style, photo.relative.as_posix()), photo.format, taken) if name is None else name
        for photo, name in zip(photos, names, strict=True)
    ]


def _claim(
    photos: Sequence[Photo], names: list[str | None], style: str, owned: Callable[[Photo], Iterable[str]]
) -> None:
    """Fill in the names that photos own: in the folder where their pictures go, and of their format."""
    claimed = set(names)
    for index, photo in enumerate(photos):
        if names[index] is None:
            folder = PurePosixPath(style, photo.relative.parent.as_posix())
            for name in owned(photo):
                path = PurePosixPath(name)
                fits = SUFFIXES.get(path.suffix.lower()) == written_format(photo.format)
                if fits and path.parent == folder and name not in claimed:
                    names[index] = name
                    claimed.add(name)
                    break


def _by_content(known: Known) -> Callable[[Photo], Iterable[str]]:
    """What photos own that were moved: by their own name and their content."""
    by_name: dict[str, list[str]] = {}
    for output in known.outputs():
        for entry in known.made(output)[-1:]:
            by_name.setdefault(os.path.basename(entry.input), []).append(output)

    def owned(photo: Photo) -> Iterable[str]:
        candidates = by_name.get(photo.path.name, [])
        return (output for output in candidates if known.made(output)[-1].has_content_of(photo.path))

    return owned


def _free_name(relative: PurePosixPath, format: str, taken: set[str]) -> str:
    """The output's relative path; ``a.heic`` beside ``a.jpg`` becomes ``a.heic.jpg``. Case may not matter on disk."""
    wanted = relative.with_name(output_name(relative, format))
    candidate, number = wanted, 1
    while str(candidate).casefold() in taken:
        number += 1
        suffix = suffix_of(format)
        candidate = wanted.with_name(
            f"{relative.name}{suffix}" if number == 2 else f"{wanted.stem}-{number - 1}{suffix}"
        )
    taken.add(str(candidate).casefold())
    return str(candidate)


def sort_out(
    jobs: Iterable[Job],
    known: Known,
    fingerprint: Callable[[Job], str],
    *,
    sources: Iterable[Path] = (),
    overwrite: bool = False,
    redo: bool = False,
    retry_failed: bool = True,
) -> Sorted:
    """Tell what is to be done from what is done.

    Done is what has the fingerprint that is asked for, of the photo as it is now, and still has the size that it was
    written with. A picture of ours that is out of date may be replaced, if it is still, to the byte, what was written.

    Args:
        fingerprint: of a job's treatment.
        sources: all photos of the batch: none of them is ever replaced.
        overwrite: replace also what is not ours.
        redo: do also what is done.
        retry_failed: try again what failed, though nothing has changed.
    """
    result = Sorted()
    for job in jobs:
        try:
            job = replace(job, fingerprint=fingerprint(job))
        except (StylizeError, OSError):  # its mask is missing: it will fail by name
            job = replace(job, fingerprint="")
        _sort_job(job, known, result, overwrite, redo, retry_failed)
    if any(job.replaces for job in result.todo):  # else there is no need to look at every photo
        photos = {_identity(path) for path in sources} - {None}
        spared = {job for job in result.todo if job.replaces and _identity(job.output) in photos}
        result.failed += [(job, f"output is the input {shown(job.output)}") for job in result.todo if job in spared]
        result.todo = [job for job in result.todo if job not in spared]
    return result


def _identity(path: Path) -> tuple[int, int] | None:
    """What is the same for all names of a file; None if it is missing."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _sort_job(job: Job, known: Known, result: Sorted, overwrite: bool, redo: bool, retry_failed: bool) -> None:
    def is_current(entry: Entry) -> bool:
        return entry.fingerprint == job.fingerprint and entry.is_of(job.photo)

    failure = None if retry_failed else known.failed(job.name)
    if failure is not None and is_current(failure):
        result.failed.append((job, failure.reason))
        return
    if not os.path.lexists(job.output):
        result.todo.append(job)
        return
    made = known.made(job.name)
    if not redo and made and made[-1].status == "ok" and is_current(made[-1]):
        try:
            size = job.output.stat().st_size
        except OSError:
            size = -1
        if size == made[-1].output_size:
            result.done.append(job)
            return
    there = known.now(job.name)
    if there is not None and not redo and is_current(there):
        result.done.append(job)
    elif there is not None or overwrite:
        result.todo.append(replace(job, replaces=True))
    else:
        result.foreign.append(job)
