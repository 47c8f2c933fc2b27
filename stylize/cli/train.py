"""``stylize train`` and ``stylize distill``"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stylize.cli.arguments import (
    ContentFolders,
    Device,
    Json,
    MaxTime,
    Overwrite,
    Quiet,
    StyleFolders,
    Threads,
    Verbose,
    parse_seconds,
    refuse_input_folder,
    set_threads,
)
from stylize.cli.process import Stopped, note_requests, stop_gently
from stylize.cli.terminal import Terminal, say
from stylize.errors import DeviceError, OutputError, UsageError, shown
from stylize.extras import install, require_torch
from stylize.options import LossWeights, ModelSizes, TrainingOptions, check_perceptual

if TYPE_CHECKING:
    from stylize.training.data_check import Checks
    from stylize.training.events import Estimate, Event
    from stylize.training.loop import Wish

FEW_PICTURES = 20  # of one kind: fewer are hardly meant
_DEFAULTS = "--help shows the defaults"
_OPTIONS, _LOSSES, _SIZES = TrainingOptions(), LossWeights(), ModelSizes()


def train(
    content: ContentFolders,
    style: StyleFolders,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")] = False,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the whole run.")] = _OPTIONS.steps,
    max_time: MaxTime = None,
    init: Annotated[str, typer.Option(help="Start from: scratch, packaged, or a model file.")] = _OPTIONS.init,
    styles_per_step: Annotated[int, typer.Option(min=1, help="Style pictures per step.")] = _OPTIONS.styles,
    photos_per_style: Annotated[int, typer.Option(min=1, help="Photos per style picture.")] = _OPTIONS.contents,
    crop: Annotated[int, typer.Option(min=64, help="Side of the photo crops, a multiple of 16.")] = _OPTIONS.crop,
    style_crop: Annotated[int, typer.Option(min=64, help="Side of the style crops.")] = _OPTIONS.style_crop,
    rate: Annotated[float, typer.Option(help="Learning rate of the generator's kernels.")] = _OPTIONS.rate,
    modulation_rate: Annotated[
        float, typer.Option(help="Learning rate of the maps by which the generator reads a style code.")
    ] = _OPTIONS.modulation_rate,
    encoder_rate: Annotated[float, typer.Option(help="Learning rate of the encoder.")] = _OPTIONS.encoder_rate,
    discriminator_rate: Annotated[
        float, typer.Option(help="Learning rate of the discriminator.")
    ] = _OPTIONS.discriminator_rate,
    decay: Annotated[float, typer.Option(help="Last part of the steps, with falling rates.")] = _OPTIONS.decay,
    perceptual: Annotated[str, typer.Option(help="Network of the losses: light or vgg19.")] = _OPTIONS.perceptual,
    light: Annotated[
        Path | None, typer.Option(help="A light network of your own, by stylize distill, for a model from scratch.")
    ] = None,
    layers: Annotated[int, typer.Option(min=1, max=5, help="Its layers for the style losses.")] = _OPTIONS.layers,
    style_scales: Annotated[
        int, typer.Option(min=1, max=4, help="Sizes at which it sees the style: full, half, …")
    ] = _OPTIONS.style_scales,
    content_layers: Annotated[str, typer.Option(help="Its layers for the content loss.")] = ",".join(
        map(str, _OPTIONS.content_layers)
    ),
    adversarial_start: Annotated[
        float, typer.Option(help="Part of the steps after which the discriminator joins in.")
    ] = _OPTIONS.adversarial_start,
    lambda_adv: Annotated[float, typer.Option(help="Weight of the adversarial loss.")] = _LOSSES.adversarial,
    lambda_content: Annotated[float, typer.Option(help="Weight of the content loss.")] = _LOSSES.content,
    lambda_style: Annotated[float, typer.Option(help="Weight of the Gram matrices.")] = _LOSSES.style,
    lambda_moments: Annotated[float, typer.Option(help="Weight of means and deviations.")] = _LOSSES.moments,
    lambda_palette: Annotated[float, typer.Option(help="Weight of the colours.")] = _LOSSES.palette,
    lambda_patterns: Annotated[
        float, typer.Option(help="Weight of the statistics of random filters; 0: not looked at.")
    ] = _LOSSES.patterns,
    lambda_tv: Annotated[float, typer.Option(help="Weight of total variation.")] = _LOSSES.tv,
    lambda_grid: Annotated[float, typer.Option(help="Weight of patterns from upsampling.")] = _LOSSES.grid,
    lambda_code: Annotated[float, typer.Option(help="Weight of the code's reconstruction.")] = _LOSSES.code,
    lambda_identity: Annotated[
        float, typer.Option(help="Weight of returning a photo from its own code.")
    ] = _LOSSES.identity,
    widths: Annotated[
        str, typer.Option(help="Channels of the generator at 1/2, 1/4, 1/8, 1/16 of the resolution.")
    ] = ",".join(map(str, _SIZES.widths)),
    bank: Annotated[int, typer.Option(min=1, max=64, help="Kernels per convolution that a style mixes.")] = _SIZES.bank,
    code_size: Annotated[int, typer.Option(min=1, max=4096, help="Numbers of a style code.")] = _SIZES.code,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of all random numbers.")] = _OPTIONS.seed,
    log_every: Annotated[int, typer.Option(min=1, help="Steps between lines of metrics.csv.")] = _OPTIONS.log_every,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = _OPTIONS.save_every,
    sample_every: Annotated[int, typer.Option(min=1, help="Steps between sample sheets.")] = _OPTIONS.sample_every,
    keep: Annotated[int, typer.Option(min=1, help="Checkpoints to keep.")] = _OPTIONS.keep,
    logger: Annotated[
        Literal["csv", "tensorboard"], typer.Option(help="tensorboard: curves and samples in its format, too.")
    ] = "csv",
    allow_bad: Annotated[
        bool, typer.Option("--allow-bad", help="Go on though over 10 % of a folder's pictures cannot be read.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Check the pictures, measure time and memory, write nothing.")
    ] = False,
    precision: Annotated[
        Literal["auto", "32", "bf16"], typer.Option(help="Of the convolutions; auto: bf16 where the device has it.")
    ] = "auto",
    devices: Annotated[
        str | None, typer.Option(metavar="N|all", help="Devices of this machine that share each step.")
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Machines that share each step.")] = 1,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Train a model of your own on folders of photos and style pictures."""
    require_torch("training")
    terminal = Terminal(quiet, verbose, json)
    if crop % 16:
        raise UsageError(f"--crop {crop} is not a multiple of 16", hint=f"--crop {crop // 16 * 16}")
    if min(crop, style_crop) < 16 * 2 ** (style_scales - 1):
        raise UsageError(
            f"--style-scales {style_scales}: the smallest crops have fewer than 16 pixels",
            hint="larger --crop and --style-crop, or fewer scales",
        )
    _check_rates(
        {
            "--rate": rate,
            "--modulation-rate": modulation_rate,
            "--encoder-rate": encoder_rate,
            "--discriminator-rate": discriminator_rate,
        }
    )
    _check_range({"--decay": decay, "--adversarial-start": adversarial_start}, 1)
    weights = {
        "adv": lambda_adv, "content": lambda_content, "style": lambda_style, "moments": lambda_moments,
        "palette": lambda_palette, "patterns": lambda_patterns, "tv": lambda_tv, "grid": lambda_grid,
        "code": lambda_code, "identity": lambda_identity,
    }  # fmt: skip
    _check_range({f"--lambda-{name}": weight for name, weight in weights.items()})
    if logger == "tensorboard" and find_spec("tensorboard") is None:
        raise UsageError("--logger tensorboard: tensorboard is not installed", hint=install("tensorboard"))
    check_perceptual(perceptual)
    if light is not None and init != "scratch":
        raise UsageError(f"--init {init}: the model brings its light network", hint="leave out --light")
    sizes = ModelSizes(code=code_size, widths=_widths(widths), bank=bank)
    if init != "scratch" and sizes != _SIZES:
        raise UsageError(f"--init {init}: the model says the sizes", hint="leave out --widths, --bank and --code-size")
    options = TrainingOptions(
        steps=steps, max_seconds=parse_seconds(max_time), styles=styles_per_step, contents=photos_per_style, crop=crop,
        style_crop=style_crop, rate=rate, modulation_rate=modulation_rate, encoder_rate=encoder_rate,
        discriminator_rate=discriminator_rate, decay=decay, perceptual=perceptual,
        layers=layers, style_scales=style_scales, content_layers=_layers(content_layers),
        adversarial_start=adversarial_start, seed=seed, log_every=log_every, save_every=save_every,
        sample_every=sample_every, init=init, keep=keep, precision=precision, logger=logger, sizes=sizes,
        light=str(light or ""),
        weights=LossWeights(adversarial=weights.pop("adv"), **weights),
    )  # fmt: skip
    refuse_input_folder((*content, *style), output)
    follower = any(
        os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID")
    )  # the first process talks
    stopped_by, requests = stop_gently(silent=follower), note_requests()

    from stylize.engines.device import memory_errors
    from stylize.training.checkpoint import newest_checkpoint
    from stylize.training.devices import launch
    from stylize.training.events import Estimate, PictureChecked, PicturesChecked, StepsTaken, Warned
    from stylize.training.loop import train as run

    with launch(device, devices, nodes) as world:
        set_threads(threads)
        if world.rank > 0:
            terminal = Terminal(quiet=True)
        terminal.note(f"device {world.device}, {world.size} of them; {perceptual} measures the losses")
        if resume and (latest := newest_checkpoint(output)):
            terminal.note(f"goes on from {shown(latest)}")
        with terminal.progress("train", steps) as advance:

            def picture(done: int, total: int) -> None:
                if stopped_by:
                    raise Stopped(stopped_by[0])
                advance(0, f"checking pictures, {done} of {total}")

            def checked(checks: Checks) -> None:
                for kind, folders in zip(checks, (content, style), strict=True):
                    for folder, check in zip(folders, checks[kind], strict=True):
                        for fault in check.faults():
                            terminal.warn(f"{shown(folder)}: {fault}")
                counts = {kind: sum(check.usable for check in of_kind) for kind, of_kind in checks.items()}
                if dry_run:
                    text = f"pictures: {counts['content']} photos, {counts['style']} styles"
                    terminal.result(text, **{kind: list(map(asdict, of_kind)) for kind, of_kind in checks.items()})
                for kind, count in counts.items():
                    if count < FEW_PICTURES:
                        terminal.warn(f"pictures for --{kind}: only {count}; a model learns from hundreds")

            def estimated(estimate: Estimate) -> None:
                text = _in_words(estimate, options.max_seconds)
                if dry_run:
                    terminal.result(text, **asdict(estimate), seconds=estimate.seconds)
                elif not terminal.quiet:
                    say(text)

            def report(now: StepsTaken) -> None:
                terms = " ".join(f"{name} {value:.3f}" for name, value in now.losses.items())
                advance(now.step, f"{now.images_per_second:.1f} images/s, {terms}")
                if json:
                    terminal.result("", step=now.step, seconds=round(now.seconds, 1), **now.losses)

            def tell(event: Event) -> None:
                match event:
                    case PictureChecked(done, total):
                        picture(done, total)
                    case PicturesChecked(checks):
                        checked(checks)
                    case Estimate():
                        estimated(event)
                    case StepsTaken():
                        report(event)
                    case Warned(message):
                        terminal.warn(message)

            def wish() -> Wish:
                return "stop" if stopped_by else "save" if requests and requests.pop() else None

            try:
                with memory_errors():
                    model = run(
                        content, style, output, options, world=world, resume=resume, allow_bad=allow_bad,
                        estimate=True, dry_run=dry_run, listener=tell, wish=wish,
                    )  # fmt: skip
            except MemoryError as error:  # smaller batches are no help here
                raise DeviceError(
                    f"memory ran out on {world.device}", hint="end other programs, then --resume"
                ) from error
        stops = world.any(signal.SIGINT in stopped_by, signal.SIGTERM in stopped_by)
    if world.rank > 0:
        return
    if any(stops):
        say("stopped" if dry_run else f"stopped: everything is saved in {shown(output)}; --resume goes on")
        raise typer.Exit(128 + (signal.SIGINT if stops[0] else signal.SIGTERM))
    if not dry_run:
        terminal.result(str(model), model=str(model))


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


def distill(
    content: ContentFolders,
    style: StyleFolders,
    output: Annotated[Path, typer.Option("--output", "-o", help="The network to write, NAME.safetensors.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps.")] = 3000,
    max_time: MaxTime = None,
    crop: Annotated[int, typer.Option(min=64, help="Side of the crops.")] = 112,
    batch_size: Annotated[int, typer.Option(min=2, help="Crops per step.")] = 8,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = 2e-3,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of all random numbers.")] = 0,
    device: Device = "auto",
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Distil a light perceptual network from VGG19, for training your own models: stylize train --light."""
    from stylize.files.atomic import check_target

    require_torch("distilling")
    _check_rates({"--rate": rate})
    if output.suffix.lower() != ".safetensors":
        hint = f"--output {shown(output.with_suffix('.safetensors'))}" if output.name else ""
        raise OutputError(f"cannot write {shown(output)}: a network is a .safetensors file", hint=hint)
    check_target(output, overwrite=overwrite)

    from stylize.engines.device import memory_errors, pick_device
    from stylize.training.distillation import distil

    set_threads(threads)
    terminal = Terminal(quiet)
    with terminal.progress("distill", steps) as advance, memory_errors():
        distil(
            content, style, output, steps=steps, batch=batch_size, crop=crop, rate=rate, seed=seed,
            device=pick_device(device), max_seconds=parse_seconds(max_time),
            report=lambda step, errors: advance(step, " ".join(f"{k} {v:.3f}" for k, v in errors.items())),
        )  # fmt: skip
    terminal.result(str(output))


def _check_rates(rates: Mapping[str, float]) -> None:
    for option, value in rates.items():
        if not 0 < value < 1:
            raise UsageError(f"{option} {value:g} is not between 0 and 1", hint=_DEFAULTS)


def _check_range(values: Mapping[str, float], most: float | None = None) -> None:
    for option, value in values.items():
        if not (math.isfinite(value) and 0 <= value <= (value if most is None else most)):
            wanted = "a number from 0 on" if most is None else f"between 0 and {most:g}"
            raise UsageError(f"{option} {value:g} is not {wanted}", hint=_DEFAULTS)


def _layers(text: str) -> tuple[int, ...]:
    """``3,4`` -> (3, 4)"""
    layers = tuple(int(word) for word in text.split(",") if word.strip() in ("1", "2", "3", "4", "5"))
    if len(layers) != len(text.split(",")):
        raise UsageError(f"--content-layers {text}: not layers of the perceptual network", hint="1 to 5, as in 3,4")
    return layers


def _widths(text: str) -> tuple[int, ...]:
    """``16,48,96,128`` -> numbers"""
    widths = tuple(int(word) for word in text.split(",") if word.strip().isdecimal() and 1 <= int(word) <= 4096)
    if len(widths) != len(text.split(",")) or len(widths) != 4:
        raise UsageError(f"--widths {text}: not four numbers of channels", hint="as in 16,48,96,128")
    return widths
