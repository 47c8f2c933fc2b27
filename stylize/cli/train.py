"""``stylize train`` and ``stylize distill``"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylize.cli.arguments import ContentFolders, StyleFolders, set_threads
from stylize.cli.options import Only, command
from stylize.cli.process import Stopped, note_requests, stop_gently
from stylize.cli.terminal import Advance, Quiet, Terminal, say
from stylize.errors import DeviceError, OutputError, UsageError, shown
from stylize.extras import install, require_torch
from stylize.options import DistillationOptions, NetworkOptions, Option, Overwrite, TrainingOptions

if TYPE_CHECKING:
    from stylize.training.data_check import Checks
    from stylize.training.devices import World
    from stylize.training.events import Estimate, Event, StepsTaken
    from stylize.training.loop import Wish


FEW_PICTURES = 20  # of one kind: fewer are hardly meant


@dataclass(frozen=True)
class RunOptions:
    """What is trained on, where to, and by which machines."""

    content: ContentFolders
    style: StyleFolders
    output: Annotated[Path, Option("Folder of the run.", "Where to", short="-o")]
    resume: Annotated[bool, Option("Go on with the run in the output folder.", "Where to")] = False
    allow_bad: Annotated[bool, Option("Go on though over 10 % of a folder's pictures cannot be read.", "What")] = False
    dry_run: Annotated[
        bool, Option("Check the pictures, measure time and memory, write nothing.", "Where to", short="-n")
    ] = False
    devices: Annotated[
        str | None, Option("Devices of this machine that share each step.", "Machine", metavar="N|all")
    ] = None
    nodes: Annotated[int, Option("Machines that share each step.", "Machine", low=1)] = 1


@command
def train(
    run: RunOptions,
    options: TrainingOptions,
    networks: Annotated[NetworkOptions, Only({"device", "threads"})],
    terminal: Terminal,
) -> None:
    """Train a model of your own on folders of photos and style pictures.

    \b
      stylize train --content photos --style paintings --output run --dry-run
      stylize train --content photos --style paintings --output run --max-time 6h
      stylize train --content photos --style paintings --output run --resume
    """
    require_torch("training")
    if options.logger == "tensorboard" and find_spec("tensorboard") is None:
        raise UsageError("--logger tensorboard: tensorboard is not installed", hint=install("tensorboard"))
    from stylize.batch.inputs import refuse_input_folder

    refuse_input_folder((*run.content, *run.style), run.output)
    follower = any(
        os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID")
    )  # the first process talks
    stopped_by, requests = stop_gently(silent=follower), note_requests()

    from stylize.training.devices import launch

    with launch(networks.device, run.devices, run.nodes) as world:
        set_threads(networks.threads)
        if world.rank > 0:
            terminal = Terminal(quiet=True)
        model = _train(run, options, world, terminal, stopped_by, requests)
        stops = world.any(signal.SIGINT in stopped_by, signal.SIGTERM in stopped_by)
    if world.rank > 0:
        return
    if any(stops):
        say("stopped" if run.dry_run else f"stopped: everything is saved in {shown(run.output)}; --resume goes on")
        raise typer.Exit(128 + (signal.SIGINT if stops[0] else signal.SIGTERM))
    if not run.dry_run:
        terminal.result(str(model), model=str(model))


def _train(
    run: RunOptions,
    options: TrainingOptions,
    world: World,
    terminal: Terminal,
    stopped_by: Sequence[int],
    requests: list[int],
) -> Path:
    """The model, trained by this process and the others of the world."""
    from stylize.engines.device import memory_errors
    from stylize.training.checkpoint import newest_checkpoint
    from stylize.training.loop import train

    terminal.note(f"device {world.device}, {world.size} of them; {options.perceptual} measures the losses")
    if run.resume and (latest := newest_checkpoint(run.output)):
        terminal.note(f"goes on from {shown(latest)}")

    def wish() -> Wish:
        return "stop" if stopped_by else "save" if requests and requests.pop() else None

    with terminal.progress("train", options.steps) as advance:
        told = _Teller(run, options, terminal, stopped_by, advance)
        try:
            with memory_errors():
                return train(
                    run.content, run.style, run.output, options, world=world, resume=run.resume,
                    allow_bad=run.allow_bad, estimate=True, dry_run=run.dry_run, listener=told, wish=wish,
                )  # fmt: skip
        except MemoryError as error:  # smaller batches are no help here
            raise DeviceError(f"memory ran out on {world.device}", hint="end other programs, then --resume") from error


@dataclass(frozen=True)
class _Teller:
    """Says how a training is going on."""

    run: RunOptions
    options: TrainingOptions
    terminal: Terminal
    stopped_by: Sequence[int]
    advance: Advance

    def __call__(self, event: Event) -> None:
        from stylize.training.events import Estimate, PictureChecked, PicturesChecked, StepsTaken, Warned

        match event:
            case PictureChecked(done, total):
                self.picture(done, total)
            case PicturesChecked(checks):
                self.checked(checks)
            case Estimate():
                self.estimate(event)
            case StepsTaken():
                self.progress(event)
            case Warned(message):
                self.terminal.warn(message)

    def picture(self, done: int, total: int) -> None:
        if self.stopped_by:
            raise Stopped(self.stopped_by[0])
        self.advance(0, f"checking pictures, {done} of {total}")

    def checked(self, checks: Checks) -> None:
        for kind, folders in zip(checks, (self.run.content, self.run.style), strict=True):
            for folder, check in zip(folders, checks[kind], strict=True):
                for fault in check.faults():
                    self.terminal.warn(f"{shown(folder)}: {fault}")
        counts = {kind: sum(check.usable for check in of_kind) for kind, of_kind in checks.items()}
        if self.run.dry_run:
            text = f"pictures: {counts['content']} photos, {counts['style']} styles"
            self.terminal.result(text, **{kind: list(map(asdict, of_kind)) for kind, of_kind in checks.items()})
        for kind, count in counts.items():
            if count < FEW_PICTURES:
                self.terminal.warn(f"pictures for --{kind}: only {count}; a model learns from hundreds")

    def estimate(self, estimate: Estimate) -> None:
        text = _in_words(estimate, self.options.max_seconds)
        if self.run.dry_run:
            self.terminal.result(text, **asdict(estimate), seconds=estimate.seconds)
        elif not self.terminal.quiet:
            say(text)

    def progress(self, now: StepsTaken) -> None:
        terms = " ".join(f"{name} {value:.3f}" for name, value in now.losses.items())
        self.advance(now.step, f"{now.images_per_second:.1f} images/s, {terms}")
        if self.terminal.json:
            self.terminal.result("", step=now.step, seconds=round(now.seconds, 1), **now.losses)


def _in_words(estimate: Estimate, most: float | None) -> str:
    """One line: how long, how much memory."""
    each, count = estimate.seconds_per_step, estimate.steps
    batch = f"{estimate.styles} styles x {estimate.contents} photos"
    text = f"estimate: {count} steps of {batch} on {estimate.device}, {each:.2g} s each, {_span(estimate.seconds)}"
    if most is not None and most < estimate.seconds:
        text += f", of which --max-time allows {int(most / each)} steps"
    if estimate.memory is not None:
        text += f"; memory {estimate.memory / 1e9:.1f} GB"
    return text


def _span(seconds: float) -> str:
    """``2 h 17 min``"""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


@command
def distill(
    content: ContentFolders,
    style: StyleFolders,
    options: DistillationOptions,
    networks: Annotated[NetworkOptions, Only({"device", "threads"})],
    output: Annotated[Path, Option("The network to write, NAME.safetensors.", "Where to", short="-o")],
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Distil a light perceptual network from VGG19, for training your own models: stylize train --light.

    \b
      stylize distill --content photos --style paintings --output light.safetensors
    """
    from stylize.files.atomic import check_target

    require_torch("distilling")
    if output.suffix.lower() != ".safetensors":
        hint = f"--output {shown(output.with_suffix('.safetensors'))}" if output.name else ""
        raise OutputError(f"cannot write {shown(output)}: a network is a .safetensors file", hint=hint)
    check_target(output, overwrite=overwrite)

    from stylize.engines.device import memory_errors, pick_device
    from stylize.training.distillation import distil

    set_threads(networks.threads)
    terminal = Terminal(quiet)
    with terminal.progress("distill", options.steps) as advance, memory_errors():
        distil(
            content, style, output, options, device=pick_device(networks.device),
            report=lambda step, errors: advance(step, " ".join(f"{k} {v:.3f}" for k, v in errors.items())),
        )  # fmt: skip
    terminal.result(str(output))
