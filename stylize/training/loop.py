"""Adversarial training of the style encoder E, the generator G and the discriminator D.

Given folders of photos and of style pictures, ``train`` goes through the phases of ``stylize.training.preparation``,
and then takes step after step (``stylize.training.step``), on one device or on several (``stylize.training.devices``).
What a run leaves behind is in ``stylize.training.run_folder``, what it tells meanwhile in ``stylize.training.events``.

Batches are a function of (seed, step) and nothing else is random, so that a resumed run takes the very steps that an
unbroken one would have taken.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal

import numpy as np

from stylize.engines.device import keep_freed_memory
from stylize.files.tensors import to_bytes
from stylize.options import TrainingOptions
from stylize.training.checkpoint import TrainingState
from stylize.training.data import batches
from stylize.training.deadline import Deadline
from stylize.training.devices import World
from stylize.training.events import TRAIN, Doing, Ended, Listener, StepsTaken, Warned, ignore
from stylize.training.preparation import Run, begin, check, fit_memory, go_on, lower, open_run
from stylize.training.rehearsal import rehearse
from stylize.training.samples import sample_sheet
from stylize.training.step import Batch, take_step

Wish = Literal["save", "stop"] | None


def train(
    contents: Sequence[Path],
    styles: Sequence[Path],
    output: Path,
    options: TrainingOptions,
    *,
    world: World,
    resume: bool = False,
    allow_bad: bool = False,
    estimate: bool = False,
    dry_run: bool = False,
    started: float | None = None,
    listener: Listener = ignore,
    wish: Callable[[], Wish] = lambda: None,
) -> Path:
    """Train a model, or go on with one.

    Args:
        contents, styles: folders of photos and of style pictures; each folder is drawn from equally often.
        output: the run's folder.
        world: the processes of this run, one for each device; a run of several gives what a run of one gives.
        resume: continue from the newest checkpoint in it, if there is one.
        allow_bad: go on though more than a tenth of a folder's pictures cannot be read.
        estimate: tell what is to be expected, before the first step of a new run and in a dry run; it is measured on a
            few steps that are thrown away.
        dry_run: end before the first step, having written nothing.
        started: when the work began, by ``time.monotonic``; ``max_seconds`` counts from then. By default, now.
        listener: called with every event, see ``stylize.training.events``.
        wish: asked after every step. ``save`` writes a checkpoint; ``stop`` ends the run with one.

    At least one step is taken, however short the time.

    Returns:
        the path of the model.

    Raises:
        TrainingError: no usable pictures, too many bad ones, or a loss that is no longer finite.
        OutputError: the folder holds a run already, and ``resume`` was not asked for.
        DeviceError: memory does not suffice for the smallest batch.
        UsageError: the styles of a step cannot be shared among the processes.
    """
    keep_freed_memory()
    deadline = Deadline(time.monotonic() if started is None else started, options.max_seconds)
    run = open_run(contents, styles, output, options, world, resume, listener)
    go_on(run)
    fit_memory(run)
    check(run, allow_bad=allow_bad, keep=not dry_run)
    begin(run)
    if estimate and (not run.checkpoints or dry_run):
        expected = rehearse(
            options, run.judges, run.draw, run.state.step,
            lower=lambda: lower(run), on_step=lambda done, all: run.tell(Doing("try some steps", done, all)),
        )  # fmt: skip
        run.tell(expected)
    if not dry_run:
        _take_steps(run, deadline, wish)
    return run.folder.model


def _take_steps(run: Run, deadline: Deadline, wish: Callable[[], Wish]) -> None:
    """All steps that are left, or as many as are wished for; they end with a checkpoint."""
    options, world, folder, state, draw = run.options, run.world, run.folder, run.state, run.draw
    world.once(lambda: folder.begin(options, draw.sizes, world.size, state.step))
    if options.max_seconds is not None and world.rank == 0:
        _time_saving(run, deadline)
    started, before = time.monotonic(), state.step
    interval = _Interval()
    run.tell(Doing(TRAIN, state.step, options.steps))
    with closing(folder):
        for batch in batches(draw, state.step, options.steps):
            with deadline.step():
                _set_rates(state, options)
                interval.add(*_take_step(run, batch))
                state.step += 1
                state.update_average(options.average)
            run.tell(Doing(TRAIN, state.step, options.steps))
            wished = wish()
            due = state.step % options.save_every == 0 and not state.overflows
            sheet_due = state.step % options.sample_every == 0
            time_is_up = not deadline.allows_step(saving_after=due or sheet_due or wished == "save")
            stop, save = world.any(wished == "stop" or time_is_up, wished == "save")
            stop = stop or state.step == options.steps
            if (stop or state.step % options.log_every == 0) and interval.terms and world.rank == 0:
                _report(run, interval, time.monotonic() - started)
                interval = _Interval()
            if stop:
                run.tell(Doing("save"))
            with deadline.saving():
                if stop or save or due:
                    world.once(lambda: folder.save(state, options.keep))
                if (stop or sheet_due) and world.rank == 0:
                    folder.add_samples(state.step, sample_sheet(state.average, draw))
            if stop:
                break
        else:  # nothing was left to do
            world.once(lambda: folder.save(state, options.keep))
    each = (time.monotonic() - started) / max(state.step - before, 1)
    run.tell(Ended(state.step, options.steps, each))


def _time_saving(run: Run, deadline: Deadline) -> None:
    """Learn how long the last checkpoint and sheet will take, by making both for nothing."""
    run.tell(Doing("time the saving"))
    with deadline.saving():
        to_bytes(run.state.tensors(), {})
        sample_sheet(run.state.average, run.draw)


def _take_step(run: Run, batch: Batch) -> tuple[dict[str, float], int]:
    """One step, with a smaller batch where memory does not suffice: the loss terms, and how many photos they are of."""
    options, world, state, draw = run.options, run.world, run.state, run.draw
    while True:
        with suppress(MemoryError):
            if not draw.fits(batch, state.step):
                batch = draw(state.step)
            return take_step(state, run.judges, batch, options, world), len(batch.content) * world.size
        lower(run)  # only here, where what the failed step held is free again
        world.once(lambda: run.folder.write_config(options, draw.sizes, world.size))


def _report(run: Run, interval: _Interval, seconds: float) -> None:
    """Write and tell what an interval brought, and which pictures have been left out since."""
    step, means = run.state.step, interval.means()
    run.folder.add_metrics(step, seconds, interval.steps, means)
    run.tell(StepsTaken(step, means, interval.images_per_second(), seconds))
    for pictures in run.pictures.values():
        for path, reason in pictures.skipped.copy().items():  # threads go on drawing
            if path not in run.named:
                run.tell(Warned(f"{reason}; left out"))
                run.named.add(path)


class _Interval:
    """The steps since the last report."""

    def __init__(self) -> None:
        self.started, self.photos = time.monotonic(), 0
        self.terms = defaultdict[str, list[float]](list)

    def add(self, terms: Mapping[str, float], photos: int) -> None:
        self.photos += photos
        if np.isfinite(list(terms.values())).all():  # a step that overflowed was not taken
            for name, value in terms.items():
                self.terms[name].append(value)

    @property
    def steps(self) -> int:
        """How many the means are of."""
        return max(map(len, self.terms.values()), default=0)

    def means(self) -> dict[str, float]:
        return {name: float(np.mean(values)) for name, values in self.terms.items()}

    def images_per_second(self) -> float:
        return self.photos / (time.monotonic() - self.started)


def _set_rates(state: TrainingState, options: TrainingOptions) -> None:
    """A short warm-up, a constant rate, a linear decay at the end."""
    left = (1 - state.step / options.steps) / max(options.decay, 1e-9)
    factor = min(1.0, left, (state.step + 1) / 100)
    rates = (options.rate, options.modulation_rate, options.encoder_rate, options.discriminator_rate)
    groups = (*state.optimiser.param_groups, *state.discriminator_optimiser.param_groups)
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate * factor
