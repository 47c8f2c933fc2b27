"""Batch: many photos. Whatever one file does, the others get done; whatever ends the run, the next one goes on.

First a plan is made on the full list, and what is done already is sorted out (``stylize.batch.planning``); then the
rest is done, on this machine (``stylize.batch.pipeline``) or on a Ray cluster (``stylize.batch.ray``).

    from stylize import batch

    for event in batch.run(["photos/"], ["woodcut"], "painted"):
        print(event)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from stylize.batch.fingerprint import Fingerprints
from stylize.batch.inputs import Found, Photo, find_photos, refuse_input_folder
from stylize.batch.manifest import Known, Manifest, label_of, locked, write_failures
from stylize.batch.pipeline import Outcome, by_job, run_jobs, side_by_side
from stylize.batch.planning import Job, Plan, Sorted, plan_batch, sort_out
from stylize.errors import InputError, OutputError, UsageError, shown
from stylize.extras import install, opencv_is_installed
from stylize.files.atomic import refuse_same_file
from stylize.images.formats import format_named
from stylize.images.reading import size_of
from stylize.options import BatchOptions, ImageOptions
from stylize.painting.look import Look
from stylize.painting.places import StrPath
from stylize.painting.transfer import open_early, open_now
from stylize.painting.treatment import Treatment, inputs_of, parse_styles, read_treatment, refuse_fine_frames
from stylize.styles.arguments import StyleArgument, title_of

if TYPE_CHECKING:
    from stylize.painting.stylizer import Stylizer

FRAMES = 8  # of a sequence, on which its statistics are measured


class Counts(NamedTuple):
    """What became of everything that was found.

    Attributes:
        ok, failed: by this run; failed also what is known to fail.
        done: done before.
        foreign: something else is where they would go.
        junk: no images.
        excluded: by ``include`` or ``exclude``.
        left: to be done still.
    """

    ok: int
    failed: int
    done: int
    foreign: int
    junk: int
    excluded: int
    left: int


class Planned(NamedTuple):
    """What is to be done; nothing is done yet. ``seconds``: about how long it takes, where it is long, and known."""

    jobs: Sorted
    seconds: float | None = None


class Started(NamedTuple):
    """The work on so many photos has begun."""

    total: int


class Done(NamedTuple):
    """A picture was written; ``notes`` are what people should know of it."""

    job: Job
    notes: tuple[str, ...] = ()


class Failed(NamedTuple):
    """A photo failed; ``job`` is None for what never became one, ``new`` says whether this run has tried it."""

    photo: Path
    reason: str
    hint: str = ""
    job: Job | None = None
    notes: tuple[str, ...] = ()
    new: bool = False


class Skipped(NamedTuple):
    """A photo was left alone: it is ``done``, something else ``exists`` there, or with ``dry_run`` it is ``to do``."""

    job: Job
    why: str


class Finished(NamedTuple):
    """The last event.

    Attributes:
        counts: what became of everything.
        failures: the file that lists what failed, if anything did.
        trouble: why it ended early, such as a full disk.
        seconds: that it took.
    """

    counts: Counts
    failures: Path | None
    trouble: OutputError | None
    seconds: float


Event = Planned | Started | Done | Failed | Skipped | Finished


def run(
    inputs: Sequence[StrPath],
    styles: Sequence[StrPath | StyleArgument],
    output: StrPath,
    look: Look = Look(),
    options: ImageOptions = ImageOptions(),
    how: BatchOptions = BatchOptions(),
    *,
    format: str | None = None,
    tile: int | None = None,
    recipe: bool = True,
    overwrite: bool = False,
    stylizer: Stylizer | Callable[[], Stylizer] | None = None,
    stdin: BinaryIO | None = None,
    stopping: Callable[[], bool] = lambda: False,
    on_warning: Callable[[str], None] = lambda message: None,
    on_note: Callable[[str], None] = lambda message: None,
) -> Generator[Event, None, None]:
    """Stylise many photos; run again, it goes on where it was.

    Args:
        inputs: photos, folders, ``@LIST``, or ``-`` for paths on ``stdin``; see ``stylize.batch.inputs``.
        styles, format, tile, recipe, stylizer: as for ``stylize.painting.transfer.transfer``.
        output: the folder for the pictures; the tree of the photos is mirrored in it.
        overwrite: replace also what no batch wrote.
        stopping: asked between photos; once true, only what is in hand is finished.
        on_note: told where the work is done.

    Returns:
        the events, as they happen: ``Planned`` first, ``Finished`` last. Nothing is written before the first is asked
        for, and what goes wrong with one photo is an event, too.

    Raises:
        UsageError, InputError: the options contradict each other, or name what is missing.
        RefusedError, DeviceError: a style or the model cannot be used, or not on this device.
        OutputError: the output cannot be written to, or another batch is at work there.
    """
    started, output = time.monotonic(), Path(output)
    if os.path.exists(output) and not os.path.isdir(output):
        raise OutputError(f"cannot write into {shown(output)}: not a folder", hint="`output` FOLDER")
    if how.sequence:
        refuse_fine_frames(look)
    format = None if format is None else format_named(format)
    parsed = parse_styles(styles, look)
    groups = one_folder_each(parsed) if how.each_style else {"": parsed}
    paths = [os.fspath(path) for path in inputs]
    refuse_input_folder(paths, output)
    networks = open_early(stylizer)
    found = find_photos(paths, output=output, include=how.include or (), exclude=how.exclude or (), stdin=stdin)
    if not found.photos:
        on_warning("no photos found")
    networks = networks or open_now(stylizer)
    frames = sample_frames(found.photos) if how.sequence else ()
    steady = bool(frames) and _can_be_steady(how, on_warning)
    treatments = {
        name: read_treatment(
            networks, group, look, options,
            format=format, tile=tile, recipe=recipe, frames=frames, steady=steady, on_warning=on_warning,
        )
        for name, group in groups.items()
    }  # fmt: skip
    batch = _Batch(output, how, overwrite, networks, treatments, stopping, on_warning, on_note)
    return batch.run(found, inputs_of(parsed, look), started)


@dataclass
class _Batch:
    """A batch, once it is known what is to be done to which photos."""

    output: Path
    how: BatchOptions
    overwrite: bool
    stylizer: Stylizer
    treatments: Mapping[str, Treatment]
    stopping: Callable[[], bool]
    on_warning: Callable[[str], None]
    on_note: Callable[[str], None]

    def run(self, found: Found, spared: Sequence[Path], started: float) -> Generator[Event, None, None]:
        """All events. ``spared``: files and folders whose place no picture may take."""
        output, label = self.output, label_of(self.how.shard)
        with ExitStack() as stack:
            working = bool(found.photos or found.failures) and not self.how.dry_run
            if working:
                stack.enter_context(locked(output, label, on_warning=self.on_warning))
            plan, jobs = self._plan(found)
            for source in spared:
                for job in jobs.todo:
                    refuse_same_file(source, job.output)
            failures = plan.failures + [(job.photo, reason) for job, reason in jobs.failed]
            yield from _before(plan, jobs, self._expected_seconds(jobs), dry_run=self.how.dry_run)
            ok, trouble = 0, None
            if jobs.todo and not self.how.dry_run:
                try:
                    for event in self._work(stack, jobs.todo, _done_before(plan, jobs), failures, label):
                        ok += isinstance(event, Done)
                        yield event
                except OutputError as error:  # such as a full disk; what is done is done
                    trouble = error
                except BaseException:  # whoever reads the events has enough, or nothing can be done any more
                    self._list(failures)
                    raise
            listed = self._list(failures) if working else None
            yield Finished(_counts(plan, jobs, ok, len(failures)), listed, trouble, time.monotonic() - started)

    def _expected_seconds(self, jobs: Sorted) -> float | None:
        """About how long the jobs take; None where that is not known, or little."""
        look = next(iter(self.treatments.values())).look
        if look.effort != "fine" or self.how.on == "ray" or not jobs.todo:
            return None
        sizes = []
        for job in jobs.todo:
            with suppress(InputError):  # it will fail by name
                sizes += [size_of(job.photo)] * len(self.treatments[job.style].layers)
        return self.stylizer.expected_seconds(sizes, look)

    def _list(self, failures: Sequence[tuple[Path, str]]) -> Path | None:
        """The file of what failed, if anything did, and if it can be written."""
        with suppress(OutputError):
            return write_failures(self.output, label_of(self.how.shard), failures)
        return None

    def _plan(self, found: Found) -> tuple[Plan, Sorted]:
        known = Known(self.output)
        if known.damaged:
            self.on_warning(
                f"damaged lines in the manifests of {shown(self.output)}, which do not count: {known.damaged}"
            )
        format = next(iter(self.treatments.values())).format
        plan = plan_batch(
            found, self.output, styles=list(self.treatments), known=known, shard=self.how.shard, format=format
        )
        prints = {name: Fingerprints(treatment) for name, treatment in self.treatments.items()}
        jobs = sort_out(
            plan.jobs, known, lambda job: prints[job.style].of(job.photo),
            sources=[photo.path for photo in found.photos],
            overwrite=self.overwrite, redo=self.how.redo, retry_failed=self.how.retry_failed,
        )  # fmt: skip
        return plan, jobs

    def _work(
        self,
        stack: ExitStack,
        jobs: Sequence[Job],
        earlier: Mapping[Path, Job],
        failures: list[tuple[Path, str]],
        label: str,
    ) -> Iterator[Event]:
        """Do the jobs; what fails is added to ``failures``, but what was there already ends nothing."""
        failed, most = 0, self.how.max_failures

        def stopping() -> bool:
            return self.stopping() or (most is not None and failed >= most)

        outcomes = self._outcomes(stack, jobs, earlier, label, stopping)
        yield Started(len(jobs))
        for job, entry, notes, hint in outcomes:
            if entry.status == "failed":
                failed += 1
                failures.append((job.photo, entry.reason))
                yield Failed(job.photo, entry.reason, hint, job, notes, new=True)
            else:
                yield Done(job, notes)

    def _outcomes(
        self,
        stack: ExitStack,
        jobs: Sequence[Job],
        earlier: Mapping[Path, Job],
        label: str,
        stopping: Callable[[], bool],
    ) -> Iterator[Outcome]:
        if self.how.on == "ray":
            from stylize.batch import ray

            settings = ray.Settings(**asdict(self.stylizer.asked), workers=self.how.workers)
            return ray.run_jobs(
                jobs, self.treatments, settings, self.output, label,
                stopping=stopping, on_warning=self.on_warning, on_note=self.on_note,
            )  # fmt: skip
        manifest = stack.enter_context(Manifest(self.output, label))
        options = next(iter(self.treatments.values())).options
        return run_jobs(
            jobs, by_job(self.treatments, self.stylizer, before=lambda job: earlier.get(job.output)), manifest,
            options=options, at_once=side_by_side(self.treatments, self.stylizer), workers=self.how.workers,
            stopping=stopping,
        )  # fmt: skip


def _before(plan: Plan, jobs: Sorted, seconds: float | None, *, dry_run: bool) -> Iterator[Event]:
    """What is known before anything is done."""
    yield Planned(jobs, seconds)
    for photo, reason in plan.failures:
        yield Failed(photo, reason)
    for job, reason in jobs.failed:
        yield Failed(job.photo, reason, job=job)
    for job in jobs.done:
        yield Skipped(job, "done")
    for job in jobs.foreign:
        yield Skipped(job, "exists")
    if dry_run:
        for job in jobs.todo:
            yield Skipped(job, "to do")


def _done_before(plan: Plan, jobs: Sorted) -> dict[Path, Job]:
    """Of every output whose frame comes after one that an earlier run did, that one's job.

    What else lies between the batch's own pictures is passed over.
    """
    done = {job.output for job in jobs.done}
    ours = done | {job.output for job in jobs.todo}
    pairs = pairwise(job for job in plan.jobs if job.output in ours)
    return {job.output: one for one, job in pairs if one.style == job.style and one.output in done}


def _counts(plan: Plan, jobs: Sorted, ok: int, failed: int) -> Counts:
    left = len(jobs.todo) - ok - (failed - len(plan.failures) - len(jobs.failed))
    return Counts(ok, failed, len(jobs.done), len(jobs.foreign), plan.junk, plan.excluded, left)


def _can_be_steady(how: BatchOptions, on_warning: Callable[[str], None]) -> bool:
    """Whether frames can be painted one after the other, along their motion; if not, why."""
    if how.shard is not None or how.on != "local":
        on_warning("frames of several machines are painted each by itself, and less steady")
    elif not opencv_is_installed():
        on_warning(f"frames are painted each by itself, and less steady: {install('video')} helps")
    else:
        return True
    return False


def sample_frames(photos: Sequence[Photo]) -> tuple[Path, ...]:
    """Some frames, spread evenly over all of them, whatever the shard."""
    count = min(len(photos), FRAMES)
    return tuple(photos[index * (len(photos) - 1) // max(count - 1, 1)].path for index in range(count))


def one_folder_each(styles: Sequence[StyleArgument]) -> dict[str, list[StyleArgument]]:
    """The folder of each style's pictures. Raises UsageError for two of one name."""
    folders: dict[str, list[StyleArgument]] = {}
    for style in styles:
        name = title_of([style])
        if name.casefold() in map(str.casefold, folders):
            raise UsageError(f"`each_style`: two styles are called {name}", hint="give one of the files another name")
        folders[name] = [style]
    return folders
