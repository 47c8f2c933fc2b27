"""What happens before the first step of a training: a run is opened or gone on with, its pictures are checked.

``open_run`` gives a ``Run``; the other functions are the phases that follow it, in their order. All processes of a run
call them alike; what is done once is done by the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import torch

from stylize.engines.device import free_memory
from stylize.errors import DeviceError, InputError, RefusedError, StylizeError, TrainingError, shown
from stylize.files.atomic import check_folder, make_folder, write_atomically
from stylize.networks.model import Model
from stylize.networks.perceptual import PerceptualNetwork, load_vgg19, style_statistics
from stylize.networks.random_filters import RandomNetwork
from stylize.options import TrainingOptions
from stylize.training.batch_sizes import BatchSizes
from stylize.training.checkpoint import TrainingState
from stylize.training.data import PictureFolders
from stylize.training.data_check import Checks, check_pictures, leave_out, listings, recall, refuse_bad, to_json
from stylize.training.devices import World
from stylize.training.events import CHECK, Doing, Event, Listener, PicturesChecked, Warned, ignore, told
from stylize.training.judges import Judges, as_judge, freeze
from stylize.training.run_folder import RunFolder
from stylize.training.step import CALIBRATION, Draw

# What a step needs for a pixel of its crops on a processor, in bf16; measured.
STEP_BYTES = {"light": 1000, "vgg19": 2400}
FULL_PRECISION = 1.5  # times as much in fp32
NORMALISATION_BATCHES, CALIBRATION_BATCHES = 8, 64  # of the judges, of a new encoder


@dataclass(frozen=True)
class Run:
    """All that a training works with."""

    options: TrainingOptions
    world: World
    folder: RunFolder
    checkpoints: list[Path]  # that it can go on from, the newest first
    pictures: dict[str, PictureFolders]  # of the kinds content and style
    state: TrainingState
    draw: Draw
    judges: Judges
    listener: Listener
    named: set[Path] = field(default_factory=set)  # pictures that are left out, and the user knows

    def tell(self, event: Event) -> None:
        """Tell the listener, if this is the first process."""
        if self.world.rank == 0:
            self.listener(event)


def open_run(
    contents: Sequence[Path],
    styles: Sequence[Path],
    output: Path,
    options: TrainingOptions,
    world: World,
    resume: bool,
    listener: Listener,
) -> Run:
    """List the pictures and build the networks; see ``stylize.training.loop.train``."""
    tell = listener if world.rank == 0 else ignore
    folder = RunFolder(output)
    checkpoints = world.once(lambda: folder.checkpoints(resume))
    tell(Doing("list pictures"))
    pictures = {"content": PictureFolders(contents), "style": PictureFolders(styles)}
    tell(Doing("build the networks"))
    state = TrainingState(options, world.device)
    draw = Draw(options, pictures["content"], pictures["style"], world)
    perceptual = state.model.encoder.perceptual if options.perceptual == "light" else load_vgg19()
    judges = Judges(perceptual, RandomNetwork())
    return Run(options, world, folder, checkpoints, pictures, state, draw, judges, listener)


def go_on(run: Run) -> None:
    """Load the newest intact checkpoint, if there is one, and the batch sizes that belong to it.

    Raises:
        InputError, RefusedError: none can be read, or none fits: what is wrong with the newest.
        UsageError: the styles of a step cannot be shared among the processes.
    """
    options, state = run.options, run.state

    def load() -> tuple[BatchSizes, int]:
        if not run.checkpoints:
            return run.draw.sizes, 0
        _load_newest(run)
        if changes := run.folder.changes(options):
            run.tell(Warned(f"goes on with other options than so far: {', '.join(changes)}"))
        return run.folder.batch_sizes(options, state.step), state.step

    run.draw.sizes, done = run.world.once(load)
    run.draw.sizes.check_shares(done, run.world)


def _load_newest(run: Run) -> None:
    troubles: list[StylizeError] = []
    for path in run.checkpoints:
        run.tell(Doing("load the checkpoint"))
        try:
            run.state.load(path)
        except (InputError, RefusedError) as error:
            troubles.append(error)
            continue
        for trouble in troubles:
            run.tell(Warned(f"{trouble.message}; going on from step {run.state.step} instead"))
        return
    raise troubles[0]


def fit_memory(run: Run) -> None:
    """Make the batches smaller until there is memory for them, as far as that is known beforehand."""
    while run.world.any(_exceeds_memory(run.draw, run.state))[0]:
        lower(run, "memory would run out")


def lower(run: Run, trouble: str = "memory ran out") -> None:
    """Halve the batches from the next step on. Raises DeviceError where nothing is left to halve."""
    draw, state, world = run.draw, run.state, run.world
    before = draw.sizes_at(state.step)
    if not draw.shrink(state.step):
        hint = "smaller `crop` and `style_crop`" + (", or `device` cpu" if world.device.type != "cpu" else "")
        raise world.failure(DeviceError("memory does not suffice for one photo in one style", hint=hint))
    (s, n), (fewer_s, fewer_n) = before, draw.sizes_at(state.step)
    run.tell(Warned(f"{trouble} with {s} styles x {n} photos per step; going on with {fewer_s} x {fewer_n}"))


def check(run: Run, *, allow_bad: bool, keep: bool) -> None:
    """Look for pictures that cannot be used, and draw from the others only.

    Args:
        allow_bad: go on though more than a tenth of a folder's pictures cannot be read.
        keep: write what was found into the run's folder.

    Raises:
        TrainingError: no usable pictures, too many bad ones, or others than the first process has.
        OutputError: the run's folder cannot be written in.
    """

    def check_once() -> Checks:
        if keep:  # many pictures take long: what is in vain is said before
            check_folder(run.folder.path)
        checks = _look_at(run)
        run.tell(PicturesChecked(checks))
        hint = "`allow_bad` goes on without them"
        if keep:
            make_folder(run.folder.path)
            write_atomically(run.folder.data, to_json(checks), overwrite=True)
            hint = f"{shown(run.folder.data)} names them; {hint}"
        for kind, pictures in run.pictures.items():
            if not allow_bad:
                refuse_bad(pictures.folders, checks[kind], hint)
            leave_out(pictures, checks[kind])
        return checks

    checks = run.world.once(check_once)
    for kind, pictures in run.pictures.items():
        if run.world.rank > 0:  # draw from what the first process found usable
            if listings(pictures) != [one.listing for one in checks[kind]]:
                raise TrainingError(f"this machine has other {kind} pictures than the first", hint="share or copy them")
            leave_out(pictures, checks[kind])
        run.named.update(pictures.skipped)


def begin(run: Run) -> None:
    """Calibrate what is new, and let all processes begin with the same."""
    options, state, world = run.options, run.state, run.world

    def calibrate() -> tuple[Any, ...]:
        if not run.checkpoints and options.init == "scratch":
            _calibrate_encoder(state.model, run)
            state.average.encoder.load_state_dict(state.model.encoder.state_dict())
        return (state.tensors(), state.step) if world.size > 1 else ()

    start = world.once(calibrate)
    if world.rank > 0:
        state.restore(*start)
    perceptual, patterns = run.judges
    if options.weights.patterns > 0:
        _normalise(patterns, run)
    if perceptual is not state.model.encoder.perceptual:
        _normalise(perceptual, run)
        perceptual.to(state.precision)  # autocast would convert the frozen weights again at every call


def _exceeds_memory(draw: Draw, state: TrainingState) -> bool:
    """Whether the next step needs more memory than this machine has left, which ends a process that takes it anyway."""
    options, world, free = draw.options, draw.world, free_memory()
    if world.device.type != "cpu" or free is None:
        return False
    styles, photos = draw.sizes_at(state.step)
    pixels = styles // world.size * world.here * (photos * options.crop**2 + options.style_crop**2)
    each = STEP_BYTES[options.perceptual] * (FULL_PRECISION if state.precision == torch.float32 else 1)
    return pixels * each > free


def _look_at(run: Run) -> Checks:
    """What is wrong with the pictures; what the run's record tells is not looked for again."""
    record = run.folder.data
    known = {kind: recall(record, kind, pictures) for kind, pictures in run.pictures.items()} if run.checkpoints else {}
    if None in known.values():
        message = "the pictures are not those that the run began with: it goes on, but not with the same steps"
        run.tell(Warned(message))
    total = sum(len(pictures) for kind, pictures in run.pictures.items() if not known.get(kind))
    done = count(1)
    return {
        kind: known.get(kind)
        or check_pictures(pictures, lambda: run.tell(Doing(CHECK, next(done), total)), photos=kind == "content")
        for kind, pictures in run.pictures.items()
    }


def _normalise(network: PerceptualNetwork | RandomNetwork, run: Run) -> None:
    """Make a network a judge of the losses, by the same pictures in all processes."""
    world, draw = run.world, run.draw

    def pictures() -> Iterator[torch.Tensor]:
        for k in told(range(NORMALISATION_BATCHES), "prepare the losses", run.tell):
            yield from draw.whole(CALIBRATION + k)[:2]

    def normalise() -> dict[str, torch.Tensor]:
        as_judge(network, pictures(), world.device)
        return {k: v.cpu() for k, v in network.state_dict().items()} if world.size > 1 else {}

    weights = world.once(normalise)
    if world.rank > 0:
        freeze(network, world.device)
        network.load_state_dict(weights)


@torch.no_grad()
def _calibrate_encoder(model: Model, run: Run) -> None:
    encoder = model.encoder
    known = []
    for k in told(range(CALIBRATION_BATCHES), "calibrate the encoder", run.tell):
        maps = encoder.perceptual(run.draw.whole(CALIBRATION + k).style)
        known.append(encoder.statistics(style_statistics(maps)))
    encoder.calibrate(torch.cat(known))
