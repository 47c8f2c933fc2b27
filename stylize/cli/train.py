"""``stylize train``"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylize.cli import process
from stylize.cli.arguments import set_threads
from stylize.cli.long_work import Limits, Watch, so_far, this_command
from stylize.cli.options import Only, command, with_defaults
from stylize.cli.process import note_requests, stop_gently
from stylize.cli.progress import span
from stylize.cli.terminal import Terminal, say
from stylize.errors import DeviceError, UsageError, shown
from stylize.extras import install, require_torch
from stylize.options import FIRST, PRESETS, NetworkOptions, Option, TrainingOptions

if TYPE_CHECKING:
    from stylize.training.data_check import Checks
    from stylize.training.devices import World
    from stylize.training.events import Estimate, Event, StepsTaken
    from stylize.training.loop import Wish


FEW_PICTURES = 20  # of one kind: fewer are hardly meant


@dataclass(frozen=True)
class RunOptions:
    """What is trained on, where to, and by which machines."""

    content: Annotated[list[Path], Option("Folder of photos; repeatable.", FIRST)]
    style: Annotated[
        list[Path], Option("Folder of style pictures; repeatable, drawn from equally often.", FIRST, short="-s")
    ]
    output: Annotated[Path, Option("Folder of the run.", FIRST, short="-o")]
    resume: Annotated[bool, Option("Go on with the run in the output folder.", "The run's folder")] = False
    allow_bad: Annotated[bool, Option("Go on though over 10 % of a folder's pictures cannot be read.", "What")] = False
    dry_run: Annotated[
        bool, Option("Check the pictures, measure time and memory, write nothing.", "The run's folder", short="-n")
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
    context: typer.Context,
) -> None:
    """Train a model of your own on folders of photos and style pictures.

    \b
      stylize train --content photos --style paintings --output run --dry-run
      stylize train --content photos --style paintings --output run --preset quick
      stylize train --content photos --style paintings --output run --max-time 6h
      stylize train --content photos --style paintings --output run --resume
    """
    require_torch("training")
    preset = options.preset or (recorded_preset(run.output) if run.resume else None)
    if preset is not None:
        terminal.note(f"--preset {preset}")
        options = with_defaults(options, PRESETS[preset], context, "options")
    if options.logger == "tensorboard" and find_spec("tensorboard") is None:
        raise UsageError("--logger tensorboard: tensorboard is not installed", hint=install("tensorboard"))
    from stylize.batch.inputs import refuse_input_folder

    refuse_input_folder((*run.content, *run.style), run.output)
    follower = any(os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    terminal = Terminal(quiet=True) if follower else terminal  # the first process talks
    requests = note_requests()
    limits = Limits(None if run.dry_run else options.max_seconds, stop_gently(silent=follower))
    with terminal.phases(limits.until) as show:
        show("start")
        from stylize.training.devices import launch
        from stylize.training.events import TRAIN

        told = _Teller(run, options, terminal, Watch(TRAIN, limits, show))
        with launch(networks.device, run.devices, run.nodes) as world:
            set_threads(networks.threads)
            terminal.note(f"device {world.device}, {world.size} of them; {options.perceptual} measures the losses")
            model = _train(run, options, world, told, requests)
            stops = world.any(signal.SIGINT in limits.stopped_by, signal.SIGTERM in limits.stopped_by)
    if world.rank > 0:
        return
    told.ending(stopped=any(stops))
    if any(stops):
        raise typer.Exit(128 + (signal.SIGINT if stops[0] else signal.SIGTERM))
    if not run.dry_run:
        terminal.result(str(model), model=str(model))


def recorded_preset(run: Path) -> str | None:
    """The preset that a run began with: one that goes on need not name it again."""
    try:
        preset = json.loads((run / "config.json").read_bytes())["preset"]
    except (OSError, ValueError, TypeError, KeyError):  # no run, an older one, or tampered with
        return None
    return preset if isinstance(preset, str) and preset in PRESETS else None


def _train(run: RunOptions, options: TrainingOptions, world: World, told: _Teller, requests: list[int]) -> Path:
    """The model, trained by this process and the others of the world."""
    from stylize.engines.device import memory_errors
    from stylize.training.loop import train

    def wish() -> Wish:
        return "stop" if told.watch.limits.stopped_by else "save" if requests and requests.pop() else None

    try:
        with memory_errors():
            return train(
                run.content, run.style, run.output, options, world=world, resume=run.resume, allow_bad=run.allow_bad,
                estimate=True, dry_run=run.dry_run, started=process.started, listener=told, wish=wish,
            )  # fmt: skip
    except MemoryError as error:  # smaller batches are no help here
        raise DeviceError(f"memory ran out on {world.device}", hint="end other programs, then --resume") from error


@dataclass
class _Teller:
    """Says how a training is going on, and how it has ended."""

    run: RunOptions
    options: TrainingOptions
    terminal: Terminal
    watch: Watch

    def __call__(self, event: Event) -> None:
        from stylize.training.events import Doing, Ended, Estimate, PicturesChecked, StepsTaken, Warned

        match event:
            case Doing():
                self.watch.doing(event)
            case PicturesChecked(checks):
                self.checked(checks)
            case Estimate():
                self.estimate(event)
            case StepsTaken():
                self.steps(event)
            case Ended():
                self.watch.end = event
            case Warned(message):
                self.terminal.warn(message)

    def checked(self, checks: Checks) -> None:
        from stylize.training.data_check import entries

        for kind, folders in zip(checks, (self.run.content, self.run.style), strict=True):
            for folder, check in zip(folders, checks[kind], strict=True):
                for fault in check.faults():
                    self.terminal.warn(f"{shown(folder)}: {fault}")
        counts = {kind: sum(check.usable for check in of_kind) for kind, of_kind in checks.items()}
        if self.run.dry_run:
            text = f"pictures: {counts['content']} photos, {counts['style']} styles"
            self.terminal.result(text, **entries(checks))
        for kind, count in counts.items():
            if count < FEW_PICTURES:
                self.terminal.warn(f"pictures for --{kind}: only {count}; a model learns from hundreds")

    def estimate(self, estimate: Estimate) -> None:
        text = _in_words(estimate, self.options.max_seconds)
        if self.run.dry_run:
            self.terminal.result(text, **asdict(estimate), seconds=estimate.seconds)
        elif not self.terminal.quiet:
            say(text)

    def steps(self, now: StepsTaken) -> None:
        self.watch.facts = (
            f"{now.images_per_second:.1f} images/s", *(f"{name} {value:.3f}" for name, value in now.losses.items())
        )  # fmt: skip
        if self.terminal.json:
            self.terminal.result("", step=now.step, seconds=round(now.seconds, 1), **now.losses)

    def ending(self, *, stopped: bool) -> None:
        """Say how far it has come, and how to go on."""
        end = self.watch.end
        if end is None:  # of a dry run
            if stopped:
                say("stopped")
        elif stopped or (end.step < end.steps and not self.terminal.quiet):
            say(f"{self.watch.stopped_at}; {this_command('--resume')} goes on")
        elif not self.terminal.quiet:
            say(f"done: {end.steps} steps, {so_far()}")


def _in_words(estimate: Estimate, most: float | None) -> str:
    """One line: how long, how much memory."""
    each, count = estimate.seconds_per_step, estimate.steps
    batch = f"{estimate.styles} styles x {estimate.contents} photos"
    text = f"estimate: {count} steps of {batch} on {estimate.device}, {each:.2g} s each, {span(estimate.seconds)}"
    left = None if most is None else max(process.started + most - time.monotonic(), 0.0)
    if left is not None and left < estimate.seconds:
        text += f", of which --max-time allows {int(left / each)} steps"
    if estimate.memory is not None:
        text += f"; memory {estimate.memory / 1e9:.1f} GB"
    return text
