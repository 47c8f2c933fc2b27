"""Doing the jobs of a batch, in a pipeline, with a few photos between the stages, so that memory stays bounded:

    decode, several threads ─► network, this thread, all cores ─► encode and write, several threads

Small photos do not keep all cores busy one by one. They go another way, several side by side, each in one thread:

    decode, several threads ─► network, encode and write, a thread for each of them

Outcomes come in the order of the jobs.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from stylize.batch.manifest import Entry, Manifest, Seen, look_at
from stylize.batch.planning import Job
from stylize.errors import InputError, shown
from stylize.files.atomic import check_target, make_folder, refuse_same_file, remove_stale
from stylize.images.reading import Picture, fill_transparent, read_photo
from stylize.options import ImageOptions
from stylize.painting.look import Frozen
from stylize.painting.photo import OnePhoto
from stylize.painting.treatment import Treatment

if TYPE_CHECKING:
    from stylize.painting.steady import Steady
    from stylize.painting.stylizer import Stylizer

PIXELS_BETWEEN_STAGES = 100_000_000  # in each of the two gaps; large photos wait for each other
LESS_MEMORY = "fewer `workers`, or a smaller copy of it"  # what helps when memory runs out
MOST_WORKERS = 8  # by default: even a GPU is fed by so many decoders and encoders


class Outcome(NamedTuple):
    """What became of a job: the last line of the manifest, and what people should know of it."""

    job: Job
    entry: Entry
    notes: tuple[str, ...] = ()
    hint: str = ""  # what to do about a failure


class _Read(NamedTuple):
    """A photo that was read, or failed, and the file as it was before."""

    photo: OnePhoto
    seen: Seen | None


def run_jobs(
    jobs: Iterable[Job],
    stylise: Callable[[Picture, Job], Picture],
    manifest: Manifest,
    *,
    options: ImageOptions,
    at_once: Callable[[Picture, Job], int] = lambda picture, job: 1,
    workers: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Do jobs, in their order. Every outcome is in the manifest before it is yielded.

    Args:
        stylise: a picture and its job in, a picture out: its pixels, alpha and metadata are written. Called in the
            thread that iterates, or in several where ``at_once`` allows it.
        at_once: how many pictures like this one may be painted side by side.
        workers: threads that decode and encode; by default one for each core, up to ``MOST_WORKERS``.
        stopping: asked between photos; once true, only what is in hand is finished.

    Raises:
        OutputError: the disk is full: going on would only fail on every file. What is done is done.
    """
    workers = workers or min(os.cpu_count() or 1, MOST_WORKERS)
    largest = 1  # pixels of a photo so far
    reading: deque[tuple[Job, Future[_Read]]] = deque()
    writing: deque[Future[Outcome]] = deque()
    painting: set[Future[Outcome]] = set()  # of those, what is painted side by side
    remaining = iter(jobs)
    pool, painters = ThreadPoolExecutor(workers, "stylize"), ThreadPoolExecutor(thread_name_prefix="paint")
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
                most = 1
                if read.photo.picture is not None:
                    largest = max(largest, read.photo.picture.pixels.shape[0] * read.photo.picture.pixels.shape[1])
                    most = at_once(read.photo.picture, job)
                _leave(painting, most - 1)
                if stopping():  # asked once more: others may have been painted meanwhile
                    break
                if most > 1:
                    writing.append(painters.submit(_paint_and_write, job, read, stylise, manifest))
                    painting.add(writing[-1])
                else:
                    read.photo.paint(stylise, job)
                    writing.append(pool.submit(_write, job, read, manifest))
                del read, future  # or they would live on while the next photo is painted
                while writing and (len(writing) > room + most or writing[0].done()):
                    yield writing.popleft().result()
            while writing:
                yield writing.popleft().result()
    finally:
        painters.shutdown(cancel_futures=True)
        pool.shutdown(cancel_futures=True)


def _leave(painting: set[Future[Outcome]], count: int) -> None:
    """Wait until at most so many photos are being painted, and forget the others."""
    while len(painting) > count:
        painting -= wait(painting, return_when=FIRST_COMPLETED).done


def by_job(
    treatments: Mapping[str, Treatment],
    stylizer: Stylizer,
    *,
    before: Callable[[Job], Job | None] = lambda job: None,
) -> Callable[[Picture, Job], Picture]:
    """What paints the pictures of a batch, each in its job's treatment.

    What the frames of a sequence have in common is measured when the first one comes. Several threads may paint, but
    frames that are painted along their motion have to come one by one in their order.

    Args:
        before: the job of the frame before a job's, if an earlier run did it.
    """
    one_by_one = Lock()

    @cache
    def measured(style: str) -> Frozen | None:
        return treatments[style].freeze(stylizer)

    def frozen(style: str) -> Frozen | None:
        with one_by_one:
            return measured(style)

    @cache
    def steady(style: str) -> Steady | None:
        common = frozen(style)
        return common.steady() if treatments[style].steady and common is not None else None

    def along(job: Job) -> Steady | None:
        painter, earlier = steady(job.style), before(job)
        if painter is not None and earlier is not None:
            _go_on(painter, earlier, treatments[job.style])
        return painter

    def stylise(picture: Picture, job: Job) -> Picture:
        return treatments[job.style].apply(
            stylizer, picture, job.photo, frozen=partial(frozen, job.style), steady=partial(along, job)
        )

    return stylise


def side_by_side(treatments: Mapping[str, Treatment], stylizer: Stylizer) -> Callable[[Picture, Job], int]:
    """How many pictures of a batch that are like a given one are best painted at once."""

    def at_once(picture: Picture, job: Job) -> int:
        treatment = treatments[job.style]
        return 1 if treatment.steady else stylizer.at_once(picture.pixels, treatment.look)

    return at_once


def _read(job: Job, options: ImageOptions) -> _Read:
    def check() -> None:
        make_folder(job.output.parent)
        check_target(job.output, overwrite=job.replaces)
        refuse_same_file(job.photo, job.output)

    remove_stale(job.output.parent)
    seen = look_at(job.photo)
    photo = OnePhoto(shown(job.photo), options, LESS_MEMORY)
    photo.read(job.photo, check)
    photo.check_size(job.output)
    return _Read(photo, seen)


def _paint_and_write(job: Job, read: _Read, stylise: Callable[[Picture, Job], Picture], manifest: Manifest) -> Outcome:
    read.photo.paint(stylise, job)
    return _write(job, read, manifest)


def _go_on(painter: Steady, earlier: Job, treatment: Treatment) -> None:
    """Paint on from a frame that an earlier run did, if its picture can be had and holds nothing but paint."""
    if treatment.look.mask is not None or None not in treatment.layers or len(treatment.layers) > 1:
        return
    with suppress(InputError):
        frame, painted = (read_photo(path, treatment.options) for path in (earlier.photo, earlier.output))
        painter.go_on(fill_transparent(frame.pixels, frame.alpha), painted.pixels)


def _write(job: Job, read: _Read, manifest: Manifest) -> Outcome:
    """The last stage, for failures too. Raises OutputError for a full disk, or a manifest that cannot be written."""
    photo, seen = read.photo, read.seen or Seen(-1, -1, "")
    entry = Entry(
        os.path.abspath(job.photo), job.name, "writing", job.fingerprint, seen.sha256, seen.size, seen.mtime_ns
    )
    photo.encode(job.output)
    if photo.encoded is not None:
        data = photo.encoded.data
        entry = replace(entry, output_sha256=hashlib.sha256(data).hexdigest(), output_size=len(data))
        manifest.append(entry)
    photo.write(job.output, overwrite=job.replaces)
    failure = photo.failure
    entry = replace(
        entry,
        status="ok" if failure is None else "failed",
        reason="" if failure is None else failure.message,
        seconds=round(photo.seconds, 3),
    )
    manifest.append(entry)
    notes = tuple(f"{shown(job.photo)}: {note}" for note in photo.notes)
    return Outcome(job, entry, notes, failure.hint if failure else "")
