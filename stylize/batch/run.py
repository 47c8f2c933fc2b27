"""Batch: many photos. Whatever one file does, the others get done; whatever ends the run, the next one goes on.

First a plan is made on the full list (which file goes where, so that no two outputs share a name), then what is done
already is sorted out (see ``stylize.batch.manifest``), then the rest is done, in a pipeline:

    decode, several threads ─► network, this thread, all cores ─► encode and write, several threads

with a few photos between the stages, so that memory stays bounded. Results come in the order of the plan.
"""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from stylize.batch.inputs import Found, Photo
from stylize.batch.manifest import Entry, Known, Manifest, Seen, look_at
from stylize.errors import DeviceError, StylizeError, disk_is_full, shown
from stylize.files.atomic import check_target, make_folder, refuse_same_file, remove_stale, write_atomically
from stylize.images.formats import SUFFIXES, check_size, format_of, output_name, suffix_of, written_format
from stylize.images.reading import Picture, read_photo
from stylize.images.writing import encode_image, pixel_bytes
from stylize.options import ImageOptions

PIXELS_BETWEEN_STAGES = 100_000_000  # in each of the two gaps; large photos wait for each other
LESS_MEMORY = "fewer --workers, or a smaller copy of it"  # what helps when memory runs out
MOST_WORKERS = 8  # by default: even a GPU is fed by so many decoders and encoders


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


class Outcome(NamedTuple):
    """What became of a job: the last line of the manifest, and what people should know of it."""

    job: Job
    entry: Entry
    notes: tuple[str, ...] = ()
    hint: str = ""  # what to do about a failure


# Planning


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


# Doing


def run_jobs(
    jobs: Iterable[Job],
    stylise: Callable[[Picture, Job], Picture],
    manifest: Manifest,
    *,
    options: ImageOptions,
    workers: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Do jobs, in their order. Every outcome is in the manifest before it is yielded.

    Args:
        stylise: a picture and its job in, a picture out: its pixels, alpha and metadata are written. Called in the
            thread that iterates.
        workers: threads that decode and encode; by default one for each core, up to ``MOST_WORKERS``.
        stopping: asked between photos; once true, only what is painted already is finished.

    Raises:
        OutputError: the disk is full: going on would only fail on every file. What is done is done.
    """
    workers = workers or min(os.cpu_count() or 1, MOST_WORKERS)
    largest = 1  # pixels of a photo so far
    reading: deque[tuple[Job, Future[_Read]]] = deque()
    writing: deque[Future[Outcome]] = deque()
    remaining = iter(jobs)
    pool = ThreadPoolExecutor(workers, "stylize")
    try:
        # Threads that enter and leave read_image's own such block, in any order, restore what they find here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while True:
                room = max(1, min(workers, PIXELS_BETWEEN_STAGES // largest))
                while not stopping() and len(reading) <= room and (job := next(remaining, None)) is not None:
                    reading.append((job, pool.submit(_read, job, options)))
                if stopping() or not reading:
                    break
                job, future = reading.popleft()
                read = future.result()
                if isinstance(read.picture, Picture):
                    largest = max(largest, read.picture.pixels.shape[0] * read.picture.pixels.shape[1])
                painted = _painted(job, read, stylise)
                writing.append(pool.submit(_write, job, read, painted, manifest, options))
                del read, painted, future  # or they would live on while the next photo is painted
                while writing and (len(writing) > room or writing[0].done()):
                    yield writing.popleft().result()
            while writing:
                yield writing.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class _Read(NamedTuple):
    """A photo that was read, or why not; and how long it took."""

    picture: Picture | StylizeError
    seen: Seen | None
    seconds: float


class _Painted(NamedTuple):
    picture: Picture | StylizeError
    seconds: float


def _read(job: Job, options: ImageOptions) -> _Read:
    started = time.perf_counter()
    picture: Picture | StylizeError
    remove_stale(job.output.parent)
    seen = look_at(job.photo)
    try:
        make_folder(job.output.parent)
        check_target(job.output, overwrite=job.replaces)
        refuse_same_file(job.photo, job.output)
        picture = read_photo(job.photo, options)
        height, width = picture.pixels.shape[:2]
        check_size(width, height, format_of(job.output), pixel_bytes(picture.pixels, picture.alpha))
    except StylizeError as error:
        picture = error
    except MemoryError:
        picture = DeviceError(f"out of memory while reading {shown(job.photo)}", hint=LESS_MEMORY)
    return _Read(picture, seen, time.perf_counter() - started)


def _painted(job: Job, read: _Read, stylise: Callable[[Picture, Job], Picture]) -> _Painted:
    if isinstance(read.picture, StylizeError):
        return _Painted(read.picture, 0.0)
    started = time.perf_counter()
    picture: Picture | StylizeError
    try:
        picture = stylise(read.picture, job)
    except StylizeError as error:
        picture = error
    except MemoryError:
        picture = DeviceError(f"out of memory while stylising {shown(job.photo)}", hint=LESS_MEMORY)
    return _Painted(picture, time.perf_counter() - started)


def _write(job: Job, read: _Read, painted: _Painted, manifest: Manifest, options: ImageOptions) -> Outcome:
    """The last stage, for failures too. Raises OutputError for a full disk, or a manifest that cannot be written."""
    started = time.perf_counter()
    seen = read.seen or Seen(-1, -1, "")
    entry = Entry(
        os.path.abspath(job.photo), job.name, "writing", job.fingerprint, seen.sha256, seen.size, seen.mtime_ns
    )
    notes: tuple[str, ...] = ()
    failure = next((p.picture for p in (read, painted) if isinstance(p.picture, StylizeError)), None)
    if failure is None:
        assert isinstance(read.picture, Picture)
        assert isinstance(painted.picture, Picture)
        try:
            encoded = encode_image(
                painted.picture.pixels,
                like=replace(read.picture, xmp=painted.picture.xmp),
                alpha=painted.picture.alpha,
                format=format_of(job.output),
                quality=options.quality,
                metadata=options.metadata,
                background=options.background,
            )
            digest = hashlib.sha256(encoded.data).hexdigest()
            entry = replace(entry, output_sha256=digest, output_size=len(encoded.data))
        except StylizeError as error:
            failure = error
        except MemoryError:
            failure = DeviceError(f"out of memory while encoding {shown(job.output)}", hint=LESS_MEMORY)
        else:
            manifest.append(entry)
            try:
                write_atomically(job.output, encoded.data, overwrite=job.replaces)
                notes = (*painted.picture.warnings, *encoded.warnings)
            except StylizeError as error:
                failure = error
    if failure is not None and disk_is_full(failure):
        raise failure
    seconds = round(read.seconds + painted.seconds + time.perf_counter() - started, 3)
    if failure is None:
        entry = replace(entry, status="ok", seconds=seconds)
    else:
        entry = replace(entry, status="failed", reason=failure.message, seconds=seconds)
    manifest.append(entry)
    notes = tuple(f"{shown(job.photo)}: {note}" for note in notes)
    return Outcome(job, entry, notes, failure.hint if failure else "")
