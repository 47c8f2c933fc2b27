"""Adversarial training of the style encoder E, the generator G and the discriminator D.

Given folders of photos and of style pictures, all pictures are checked (``stylize.training.data_check``), then step
after step is taken (``stylize.training.step``), on one device or on several (``stylize.training.devices``). What a run
leaves behind is in ``stylize.training.run_folder``.

Batches are a function of (seed, step) and nothing else is random, so that a resumed run takes the very steps that an
unbroken one would have taken.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from stylize.engines.device import channels_last, free_memory, keep_freed_memory
from stylize.errors import DeviceError, TrainingError, UsageError, shown
from stylize.files.atomic import make_folder, write_atomically
from stylize.networks.model import Model
from stylize.networks.perceptual import PerceptualNetwork, load_vgg19, style_statistics
from stylize.networks.random_filters import RandomNetwork
from stylize.options import TrainingOptions
from stylize.training.checkpoint import TrainingState
from stylize.training.data import PictureFolders, batches, content_crop, step_random, style_crop, to_tensor
from stylize.training.data_check import FolderCheck, check_pictures, leave_out, listings, recall, refuse_bad, to_json
from stylize.training.devices import World
from stylize.training.rehearsal import Estimate, rehearse
from stylize.training.run_folder import BatchSizes, RunFolder
from stylize.training.step import CALIBRATION, Batch, Draw, Judges, take_step

# What a step needs for a pixel of its crops on a processor, in bf16; measured.
STEP_BYTES = {"light": 1000, "vgg19": 2400}
FULL_PRECISION = 1.5  # times as much in fp32
Checks = dict[str, list[FolderCheck]]  # of the kinds content and style: one for each folder


@dataclass
class Progress:
    """What ``train`` reports after each interval."""

    step: int
    losses: dict[str, float]
    images_per_second: float
    seconds: float


def train(
    contents: Sequence[Path],
    styles: Sequence[Path],
    output: Path,
    options: TrainingOptions,
    *,
    world: World,
    resume: bool = False,
    allow_bad: bool = False,
    dry_run: bool = False,
    on_picture: Callable[[int, int], None] = lambda done, total: None,
    on_checked: Callable[[Checks], None] = lambda checks: None,
    on_estimate: Callable[[Estimate], None] | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    on_warning: Callable[[str], None] = lambda message: None,
    should_stop: Callable[[], bool] = lambda: False,
    should_save: Callable[[], bool] = lambda: False,
) -> Path:
    """Train a model, or go on with one.

    Args:
        contents, styles: folders of photos and of style pictures; each folder is drawn from equally often.
        output: the run's folder.
        world: the processes of this run, one for each device; a run of several gives what a run of one gives.
        resume: continue from the newest checkpoint in it, if there is one.
        allow_bad: go on though more than a tenth of a folder's pictures cannot be read.
        dry_run: end before the first step, having written nothing.
        on_picture: called while the pictures are checked, with the number of those done and of all.
        on_checked: called with what the check found.
        on_estimate: called before the first step of a new run, and in a dry run, with what is to be expected, measured
            on a few steps that are thrown away; not measured without it.
        report: called every ``log_every`` steps.
        on_warning: called with what the user should know, such as a picture that cannot be read any more.
        should_stop: asked after every step; the run then ends with a checkpoint.
        should_save: asked after every step; the run then writes a checkpoint and goes on.

    Returns:
        the path of the model.

    Raises:
        TrainingError: no usable pictures, too many bad ones, or a loss that is no longer finite.
        OutputError: the folder holds a run already, and ``resume`` was not asked for.
        DeviceError: memory does not suffice for the smallest batch.
        UsageError: the styles of a step cannot be shared among the processes.
    """
    keep_freed_memory()
    folder = RunFolder(output)
    latest = world.once(lambda: folder.latest(resume))
    pictures = {"content": PictureFolders(contents), "style": PictureFolders(styles)}
    state = TrainingState(options, world.device)
    draw = Draw(options, pictures["content"], pictures["style"], world)
    light = state.model.encoder.perceptual
    judges = Judges(light if options.perceptual == "light" else load_vgg19(), RandomNetwork())

    def go_on() -> tuple[BatchSizes, int]:
        if latest is None:
            return draw.sizes, 0
        state.load(latest)
        if changes := folder.changes(options):
            on_warning(f"goes on with other options than so far: {', '.join(changes)}")
        return folder.batch_sizes(options, state.step), state.step

    draw.sizes, done = world.once(go_on)
    _check_shares(draw.sizes, done, world)

    def lower(trouble: str = "memory ran out") -> None:
        before = draw.sizes_at(state.step)
        if not draw.shrink(state.step):
            hint = "smaller `crop` and `style_crop`" + (", or `device` cpu" if world.device.type != "cpu" else "")
            raise world.failure(DeviceError("memory does not suffice for one photo in one style", hint=hint))
        if world.rank == 0:
            (s, n), (fewer_s, fewer_n) = before, draw.sizes_at(state.step)
            on_warning(f"{trouble} with {s} styles x {n} photos per step; going on with {fewer_s} x {fewer_n}")

    while world.any(_exceeds_memory(draw, state))[0]:
        lower("memory would run out")

    def check() -> Checks:
        checks = _check(pictures, folder.data if latest else None, on_picture, on_warning)
        on_checked(checks)
        hint = "`allow_bad` goes on without them"
        if not dry_run:
            make_folder(output)
            write_atomically(folder.data, to_json(checks), overwrite=True)
            hint = f"{shown(folder.data)} names them; {hint}"
        for kind, of_kind in pictures.items():
            if not allow_bad:
                refuse_bad(of_kind.folders, checks[kind], hint)
            leave_out(of_kind, checks[kind])
        return checks

    checks = world.once(check)
    if world.rank > 0:
        _take_over(pictures, checks)
    named = set(pictures["content"].skipped) | set(pictures["style"].skipped)  # the user has been told of them

    def begin() -> tuple[Any, ...]:
        if latest is None and options.init == "scratch":
            _calibrate_encoder(state.model, draw)
            state.average.encoder.load_state_dict(state.model.encoder.state_dict())
        return (state.tensors(), state.step) if world.size > 1 else ()

    start = world.once(begin)
    if world.rank > 0:
        state.restore(*start)
    if options.weights.patterns > 0:
        _normalise(judges.patterns, draw)
    if judges.perceptual is not light:
        _normalise(judges.perceptual, draw)
        # Autocast would convert the frozen weights again at every call.
        channels_last(judges.perceptual).to(state.precision)

    if on_estimate is not None and (latest is None or dry_run):
        estimate = rehearse(options, judges, draw, state.step, lower)
        if world.rank == 0:
            on_estimate(estimate)
    if dry_run:
        return folder.model

    def step(batch: Batch) -> tuple[dict[str, float], int]:
        """The loss terms, and how many photos they are of."""
        while True:
            with suppress(MemoryError):
                if not draw.fits(batch, state.step):
                    batch = draw(state.step)
                return take_step(state, judges, batch, options, world), len(batch.content) * world.size
            lower()  # only here, where what the failed step held is free again
            world.once(lambda: folder.write_config(options, draw.sizes, world.size))

    world.once(lambda: folder.begin(options, draw.sizes, world.size, state.step))
    started = time.monotonic()
    interval = _Interval()
    with closing(folder):
        for batch in batches(draw, state.step, options.steps):
            _set_rates(state, options)
            interval.add(*step(batch))
            state.step += 1
            state.update_average(options.average)
            seconds = time.monotonic() - started
            time_is_up = options.max_seconds is not None and seconds > options.max_seconds
            stop, wanted = world.any(should_stop() or time_is_up, should_save())
            stop = stop or state.step == options.steps
            if (stop or state.step % options.log_every == 0) and interval.terms and world.rank == 0:
                means = interval.means()
                folder.add_metrics(state.step, seconds, means)
                report(Progress(state.step, means, interval.images_per_second(), seconds))
                interval = _Interval()
                for path, reason in (pictures["content"].skipped | pictures["style"].skipped).items():
                    if path not in named:
                        on_warning(f"{reason}; left out")
                        named.add(path)
            if stop or wanted or (state.step % options.save_every == 0 and not state.overflows):
                world.once(lambda: folder.save(state, options.keep))
            if (stop or state.step % options.sample_every == 0) and world.rank == 0:
                folder.add_samples(state.step, sample_sheet(state.average, draw))
            if stop:
                break
        else:  # nothing was left to do
            world.once(lambda: folder.save(state, options.keep))
    return folder.model


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

    def means(self) -> dict[str, float]:
        return {name: float(np.mean(values)) for name, values in self.terms.items()}

    def images_per_second(self) -> float:
        return self.photos / (time.monotonic() - self.started)


def _exceeds_memory(draw: Draw, state: TrainingState) -> bool:
    """Whether the next step needs more memory than this machine has left, which ends a process that takes it anyway."""
    options, world, free = draw.options, draw.world, free_memory()
    if world.device.type != "cpu" or free is None:
        return False
    styles, photos = draw.sizes_at(state.step)
    pixels = styles // world.size * world.here * (photos * options.crop**2 + options.style_crop**2)
    each = STEP_BYTES[options.perceptual] * (FULL_PRECISION if state.precision == torch.float32 else 1)
    return pixels * each > free


def _check_shares(sizes: BatchSizes, done: int, world: World) -> None:
    """Raises UsageError if the styles of a step that is to come cannot be shared among the processes."""
    now = max(start for start in sizes if start <= done)
    for start, (styles, _) in sizes.items():
        if start >= now and styles % world.size:
            hint = f"`styles` {-(-styles // world.size) * world.size}"
            raise world.failure(
                UsageError(f"{styles} styles per step cannot be shared by {world.size} devices", hint=hint)
            )


def _check(
    pictures: Mapping[str, PictureFolders],
    record: Path | None,
    on_picture: Callable[[int, int], None],
    on_warning: Callable[[str], None],
) -> Checks:
    """What is wrong with the pictures; what a run's ``record`` tells is not looked for again."""
    known = {kind: recall(record, kind, of_kind) for kind, of_kind in pictures.items()} if record else {}
    if None in known.values():
        on_warning("the pictures are not those that the run began with: it goes on, but not with the same steps")
    total = sum(map(len, pictures.values()))
    done = count(1)
    return {
        kind: known.get(kind)
        or check_pictures(of_kind, lambda: on_picture(next(done), total), photos=kind == "content")
        for kind, of_kind in pictures.items()
    }


def _take_over(pictures: Mapping[str, PictureFolders], checks: Checks) -> None:
    """Draw from the pictures that the first process found usable."""
    for kind, of_kind in pictures.items():
        if listings(of_kind) != [check.listing for check in checks[kind]]:
            raise TrainingError(f"this machine has other {kind} pictures than the first", hint="share or copy them")
        leave_out(of_kind, checks[kind])


def _set_rates(state: TrainingState, options: TrainingOptions) -> None:
    """A short warm-up, a constant rate, a linear decay at the end."""
    left = (1 - state.step / options.steps) / max(options.decay, 1e-9)
    factor = min(1.0, left, (state.step + 1) / 100)
    rates = (options.rate, options.modulation_rate, options.encoder_rate, options.discriminator_rate)
    groups = (*state.optimiser.param_groups, *state.discriminator_optimiser.param_groups)
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate * factor


def _normalise(network: PerceptualNetwork | RandomNetwork, draw: Draw) -> None:
    """Make a network a judge of the losses: on the device, frozen, its channels brought to one scale."""
    world = draw.world
    channels_last(network.to(world.device)).eval().requires_grad_(False)

    def normalise() -> dict[str, torch.Tensor]:
        network.normalise(crops for k in range(8) for crops in draw.whole(CALIBRATION + k)[:2])
        return {k: v.cpu() for k, v in network.state_dict().items()} if world.size > 1 else {}

    weights = world.once(normalise)
    if world.rank > 0:
        network.load_state_dict(weights)


def _calibrate_encoder(model: Model, draw: Draw) -> None:
    encoder = model.encoder
    with torch.no_grad():
        known = []
        for k in range(64):
            maps = encoder.perceptual(draw.whole(CALIBRATION + k).style)
            known.append(encoder.statistics(style_statistics(maps)))
        encoder.calibrate(torch.cat(known))


@torch.no_grad()
def sample_sheet(model: Model, draw: Draw, size: int = 192, photos: int = 4, styles: int = 6) -> Image.Image:
    """Fixed photos × fixed styles: the styles on top, the photos at the left."""
    random = step_random(draw.options.seed, CALIBRATION - 1)
    style = to_tensor([style_crop(random, draw.styles, size) for _ in range(styles)], draw.world.device)
    content = to_tensor([content_crop(random, draw.contents, size) for _ in range(photos)], draw.world.device)
    codes = model.encoder(style)  # (styles, Z), (styles, 9)
    rows = [torch.cat([torch.ones_like(content[:1]), style])]
    for photo in content:
        rows.append(torch.cat([photo[None], model.generator(photo.repeat(styles, 1, 1, 1), *codes)]))
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)  # (3, rows·size, columns·size)
    return Image.fromarray((sheet.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())
