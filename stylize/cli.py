"""The command line: parse, call one pipeline function, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from stylize import __version__
from stylize.errors import InputError, OutputError, StylizeError, UsageError
from stylize.options import LossWeights, TrainingOptions
from stylize.terminal import Terminal, say

if TYPE_CHECKING:
    from stylize.style_code import StyleCode
    from stylize.transfer import Stylizer

DEBUG_VARIABLE = "STYLIZE_DEBUG"
MAX_STDIN_BYTES = 1 << 30
DEFAULT_MAX_PIXELS = 178_956_970
_OPTIONS, _LOSSES = TrainingOptions(), LossWeights()

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Learn a personal style from pictures and apply it to any photo. Works offline; sends nothing anywhere.",
)

Style = Annotated[
    list[Path],
    typer.Option("--style", "-s", help="A style code (.safetensors), a picture, or a folder of pictures; repeatable."),
]
ModelFile = Annotated[
    Path | None, typer.Option("--model", help="Model file; default: STYLIZE_MODEL, else the packaged one.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Engine = Annotated[
    str, typer.Option(help="auto, torch or onnx; auto: onnx, which starts at once, unless torch is faster.")
]
Threads = Annotated[int | None, typer.Option(min=1, max=1024, help="Processor threads; default: all cores.")]
Strength = Annotated[float, typer.Option(help="0: the photo itself; 1: the full style.")]
PreserveColor = Annotated[bool, typer.Option("--preserve-color", help="Keep the photo's colours.")]
Tile = Annotated[int | None, typer.Option(min=1, help="Side of the tiles in pixels: less needs less memory.")]
Quality = Annotated[int, typer.Option(min=1, max=100, help="Of JPEG, WebP and AVIF.")]
MaxPixels = Annotated[int, typer.Option(min=1, help="Refuse larger pictures.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", "-f", help="Replace existing files.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what is chosen and how long it takes.")]
Json = Annotated[bool, typer.Option("--json", help="Results as JSON lines.")]
ContentFolders = Annotated[list[Path], typer.Option("--content", help="Folder of photos; repeatable.")]
StyleFolders = Annotated[
    list[Path], typer.Option("--style", "-s", help="Folder of style pictures; repeatable, drawn from equally often.")
]
MaxTime = Annotated[str | None, typer.Option(help="Stop after 90s, 45m or 6h, with everything saved.")]


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and end.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; also STYLIZE_DEBUG=1.")] = False,
) -> None:
    """Options of every command."""
    if version:
        print(f"stylize {__version__}")
        raise typer.Exit
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"


@app.command()
def transfer(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Photos; - reads one from stdin.")],
    style: Style,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="File, folder, or - for stdout; default: PHOTO_STYLE beside the photo."),
    ] = None,
    strength: Strength = 1.0,
    preserve_color: PreserveColor = False,
    format: Annotated[
        str | None, typer.Option("--format", help="png, jpg, webp, tif ...; default: the photo's.")
    ] = None,
    quality: Quality = 95,
    tile: Tile = None,
    model: ModelFile = None,
    device: Device = "auto",
    engine: Engine = "auto",
    threads: Threads = None,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Stylise photos: stylize transfer photo.jpg --style mine.png"""
    from stylize.batch import output_name
    from stylize.images import (
        SUFFIXES,
        check_target,
        format_of,
        make_folder,
        read_image,
        refuse_same_file,
        shown,
        suffix_of,
        write_image,
    )

    terminal = Terminal(quiet, verbose, json)
    if not 0 <= strength <= 1:
        raise UsageError(f"--strength {strength:g} is not between 0 and 1")
    wanted = format_of(Path(f"x.{format}")) if format else None
    to_folder = output is not None and output != "-" and (output.endswith(("/", os.sep)) or Path(output).is_dir())
    if len(photos) > 1 and output is not None and not to_folder:
        raise UsageError(f"{len(photos)} photos need a folder to go to", hint="--output FOLDER/")
    if photos.count("-") > 1:
        raise UsageError("stdin holds one photo only")
    if output == "-" or (output is None and "-" in photos):
        if sys.stdout.isatty():
            raise UsageError("will not write image bytes to a terminal", hint="-o FILE, or redirect")
        output = "-"
    label = _title_of(style)

    def target_of(name: str, content: str) -> Path | None:
        """Where the picture of a photo goes; ``content`` is the format it was read from."""
        if output == "-":
            return None
        photo = Path("stdin" if name == "-" else name)
        if output is not None and not to_folder:
            return Path(output)
        plain = output_name(photo, content) if wanted is None else photo.stem + suffix_of(wanted)
        if output is not None:
            return Path(output) / plain
        return photo.with_name(f"{Path(plain).stem}_{label}{Path(plain).suffix}")

    if output not in (None, "-") and not to_folder:
        assert output is not None
        if wanted is None:
            format_of(Path(output))  # an unknown suffix is refused before the work
        check_target(Path(output), overwrite=overwrite)
        for source in (*style, *(Path(p) for p in photos if p != "-")):
            refuse_same_file(source, Path(output))
    elif to_folder:
        assert output is not None
        make_folder(Path(output))

    stylizer, code = None, None
    failed = 0
    written: set[Path] = set()
    for name in photos:
        started = time.monotonic()
        try:
            picture = (
                read_image(_stdin(), max_pixels=max_pixels)
                if name == "-"
                else read_image(Path(name), max_pixels=max_pixels)
            )
            target = target_of(name, SUFFIXES[suffix_of(picture.format)])
            if target is not None:
                if target in written:
                    raise OutputError(
                        f"{shown(target)} was just written from another photo",
                        hint="stylize batch keeps such names apart",
                    )
                check_target(target, overwrite=overwrite)
                refuse_same_file(Path(name), target)
                written.add(target)
            if stylizer is None or code is None:
                stylizer = _stylizer(model, device, engine, threads, terminal)
                code = _read_style(stylizer, style, max_pixels, terminal)
            pixels = stylizer.transfer(
                picture.pixels, code, strength=strength, preserve_color=preserve_color, tile=tile
            )
            destination: Any = target if target is not None else sys.stdout.buffer
            notes = write_image(
                destination,
                pixels,
                like=picture,
                alpha=picture.alpha,
                format=wanted,
                quality=quality,
                overwrite=overwrite,
            )
        except InputError as error:
            if len(photos) == 1:
                raise
            failed += 1
            _show(error)
            continue
        for note in (*picture.warnings, *notes):
            terminal.warn(f"{shown(name)}: {note}")
        seconds = time.monotonic() - started
        terminal.note(f"{shown(name)}: {pixels.shape[1]}x{pixels.shape[0]} pixels in {seconds:.2f} s")
        if target is not None:
            terminal.result(
                str(target), output=str(target), photo=name, width=pixels.shape[1], height=pixels.shape[0],
                style=code.title, seconds=round(seconds, 3),
            )  # fmt: skip
    if failed:
        raise typer.Exit(1)


@app.command("encode-style")
def encode_style(
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE|FOLDER...", help="Pictures of one style.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The style code to write, NAME.safetensors.")],
    name: Annotated[str | None, typer.Option("--name", help="Title; default: the output's name.")] = None,
    no_thumbnail: Annotated[bool, typer.Option("--no-thumbnail", help="Store no picture of the style.")] = False,
    model: ModelFile = None,
    device: Device = "auto",
    engine: Engine = "auto",
    threads: Threads = None,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Learn a style from pictures and keep it as a small file."""
    from dataclasses import replace

    from stylize.images import check_target, refuse_same_file, shown

    terminal = Terminal(quiet, verbose, json)
    if output.suffix.lower() != ".safetensors":
        raise OutputError(f"cannot write {shown(output)}: a style code is a .safetensors file")
    for source in pictures:
        refuse_same_file(source, output)
    check_target(output, overwrite=overwrite)
    stylizer = _stylizer(model, device, engine, threads, terminal)
    pixels = _read_pictures(pictures, max_pixels, terminal)
    code = stylizer.encode_style(pixels, title=name or output.stem)
    if no_thumbnail:
        code = replace(code, thumbnail=None)
    code.save(output, overwrite=overwrite)
    terminal.result(str(output), output=str(output), title=code.title, images=code.images, model=code.model_hash)


@app.command()
def batch(
    inputs: Annotated[list[Path], typer.Argument(metavar="PHOTO|FOLDER...", help="Photos and folders of photos.")],
    style: Style,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures; the tree is mirrored.")],
    strength: Strength = 1.0,
    preserve_color: PreserveColor = False,
    quality: Quality = 95,
    tile: Tile = None,
    model: ModelFile = None,
    device: Device = "auto",
    engine: Engine = "auto",
    threads: Threads = None,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Stylise every photo of some folders; bad files are named and counted, the others get done."""
    from dataclasses import replace

    from stylize.batch import Job, plan_batch, run_batch
    from stylize.images import Picture, shown

    terminal = Terminal(quiet, verbose, json)
    started = time.monotonic()
    if output.exists() and not output.is_dir():
        raise OutputError(f"cannot write into {shown(output)}: not a folder")
    if not 0 <= strength <= 1:
        raise UsageError(f"--strength {strength:g} is not between 0 and 1")
    plan = plan_batch(inputs, output)
    stylizer = _stylizer(model, device, engine, threads, terminal)
    code = _read_style(stylizer, style, max_pixels, terminal)

    def stylise(picture: Picture) -> Picture:
        pixels = stylizer.transfer(picture.pixels, code, strength=strength, preserve_color=preserve_color, tile=tile)
        return replace(picture, pixels=pixels)

    count = 0
    with terminal.progress("stylize", len(plan.jobs)) as advance:

        def on_done(job: Job, status: str) -> None:
            nonlocal count
            count += 1
            advance(count, shown(job.photo.name))
            if status not in ("ok", "skipped"):
                say(f"error: {status}")
            if json or status == "ok":
                terminal.result(str(job.output), photo=str(job.photo), output=str(job.output), status=status)

        verdict = run_batch(
            plan, stylise, overwrite=overwrite, quality=quality, max_pixels=max_pixels,
            on_warning=terminal.warn, on_done=on_done,
        )  # fmt: skip
    seconds = time.monotonic() - started
    if not quiet:
        if not plan.jobs:
            terminal.warn("no photos found")
        skipped = f"{verdict.skipped} skipped" + (" (they exist; --overwrite redoes them)" if verdict.skipped else "")
        rate = f"{verdict.done / seconds:.1f} images/s"
        counts = f"{verdict.done} ok, {len(verdict.failures)} failed, {skipped}, {plan.junk} no images"
        say(f"done: {counts}, {seconds:.1f} s ({rate})")
    if verdict.failures:
        raise typer.Exit(1)


@app.command()
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
    rate: Annotated[float, typer.Option(help="Learning rate of encoder and generator.")] = _OPTIONS.rate,
    discriminator_rate: Annotated[
        float, typer.Option(help="Learning rate of the discriminator.")
    ] = _OPTIONS.discriminator_rate,
    decay: Annotated[float, typer.Option(help="Last part of the steps, with falling rates.")] = _OPTIONS.decay,
    perceptual: Annotated[str, typer.Option(help="Network of the losses: light or vgg19.")] = _OPTIONS.perceptual,
    layers: Annotated[int, typer.Option(min=1, max=5, help="Its layers for the style losses.")] = _OPTIONS.layers,
    adversarial_start: Annotated[
        float, typer.Option(help="Part of the steps after which the discriminator joins in.")
    ] = _OPTIONS.adversarial_start,
    lambda_adv: Annotated[float, typer.Option(help="Weight of the adversarial loss.")] = _LOSSES.adversarial,
    lambda_content: Annotated[float, typer.Option(help="Weight of the content loss.")] = _LOSSES.content,
    lambda_style: Annotated[float, typer.Option(help="Weight of the Gram matrices.")] = _LOSSES.style,
    lambda_moments: Annotated[float, typer.Option(help="Weight of means and deviations.")] = _LOSSES.moments,
    lambda_palette: Annotated[float, typer.Option(help="Weight of the colours.")] = _LOSSES.palette,
    lambda_tv: Annotated[float, typer.Option(help="Weight of total variation.")] = _LOSSES.tv,
    lambda_grid: Annotated[float, typer.Option(help="Weight of patterns from upsampling.")] = _LOSSES.grid,
    lambda_code: Annotated[float, typer.Option(help="Weight of the code's reconstruction.")] = _LOSSES.code,
    lambda_identity: Annotated[
        float, typer.Option(help="Weight of returning a photo from its own code.")
    ] = _LOSSES.identity,
    seed: Annotated[int, typer.Option(min=0, help="Of all random numbers.")] = _OPTIONS.seed,
    log_every: Annotated[int, typer.Option(min=1, help="Steps between lines of metrics.csv.")] = _OPTIONS.log_every,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = _OPTIONS.save_every,
    sample_every: Annotated[int, typer.Option(min=1, help="Steps between sample sheets.")] = _OPTIONS.sample_every,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Train a model of your own on folders of photos and style pictures."""
    terminal = Terminal(quiet, verbose, json)
    if crop % 16:
        raise UsageError(f"--crop {crop} is not a multiple of 16")
    for option, value in (("--rate", rate), ("--discriminator-rate", discriminator_rate)):
        if not 0 < value < 1:
            raise UsageError(f"{option} {value:g} is not between 0 and 1")
    if perceptual not in ("light", "vgg19"):
        raise UsageError(f"--perceptual {perceptual}: no such network", hint="light or vgg19")
    options = TrainingOptions(
        steps=steps, max_seconds=_seconds(max_time), styles=styles_per_step, contents=photos_per_style, crop=crop,
        style_crop=style_crop, rate=rate, discriminator_rate=discriminator_rate, decay=decay, perceptual=perceptual,
        layers=layers, adversarial_start=adversarial_start, seed=seed, log_every=log_every, save_every=save_every,
        sample_every=sample_every, init=init,
        weights=LossWeights(
            adversarial=lambda_adv, content=lambda_content, style=lambda_style, moments=lambda_moments,
            palette=lambda_palette, tv=lambda_tv, grid=lambda_grid, code=lambda_code, identity=lambda_identity,
        ),
    )  # fmt: skip
    stopped_by = _stop_gently()

    from stylize.device import pick_device
    from stylize.training import Progress
    from stylize.training import train as run

    _set_threads(threads)
    with terminal.progress("train", steps) as advance:

        def report(now: Progress) -> None:
            terms = " ".join(f"{name} {value:.3f}" for name, value in now.losses.items())
            advance(now.step, f"{now.images_per_second:.1f} images/s, {terms}")
            if json:
                terminal.result("", step=now.step, seconds=round(now.seconds, 1), **now.losses)

        model = run(
            content, style, output, options, device=pick_device(device), resume=resume, report=report,
            should_stop=lambda: bool(stopped_by), on_warning=terminal.warn,
        )  # fmt: skip
    if stopped_by:
        say(f"stopped: everything is saved in {output}; --resume goes on")
        raise typer.Exit(128 + stopped_by[0])
    terminal.result(str(model), model=str(model))


@app.command()
def distill(
    content: ContentFolders,
    style: StyleFolders,
    output: Annotated[Path, typer.Option("--output", "-o", help="The network to write, NAME.safetensors.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps.")] = 3000,
    max_time: MaxTime = None,
    crop: Annotated[int, typer.Option(min=64, help="Side of the crops.")] = 112,
    batch_size: Annotated[int, typer.Option(min=2, help="Crops per step.")] = 8,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = 2e-3,
    seed: Annotated[int, typer.Option(min=0, help="Of all random numbers.")] = 0,
    device: Device = "auto",
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Distil the light perceptual network from VGG19, for training your own models."""
    from stylize.images import check_target

    check_target(output, overwrite=overwrite)

    from stylize.device import pick_device
    from stylize.distillation import distil

    _set_threads(threads)
    terminal = Terminal(quiet)
    with terminal.progress("distill", steps) as advance:
        distil(
            content, style, output, steps=steps, batch=batch_size, crop=crop, rate=rate, seed=seed,
            device=pick_device(device), max_seconds=_seconds(max_time),
            report=lambda step, errors: advance(step, " ".join(f"{k} {v:.3f}" for k, v in errors.items())),
        )  # fmt: skip
    terminal.result(str(output))


def main() -> None:
    """The entry point: run a command and turn whatever happens into a line and an exit code."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _raise_stopped)
    try:
        app(prog_name="stylize")
    except StylizeError as error:
        _debug_traceback()
        _show(error)
        sys.exit(error.exit_code)
    except _Stopped as stop:
        sys.exit(128 + stop.signal)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        _debug_traceback()
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _show(OutputError("no space left to write to"))
            sys.exit(OutputError.exit_code)
        _report_bug(error)


class _Stopped(BaseException):
    """SIGINT or SIGTERM: unwinds like KeyboardInterrupt, but knows which."""

    def __init__(self, signal: int) -> None:
        self.signal = signal


def _raise_stopped(number: int, frame: FrameType | None) -> NoReturn:
    raise _Stopped(number)


def _stop_gently() -> list[int]:
    """From now on the first SIGINT or SIGTERM is only noted, in the list returned; the second one ends at once."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received:
            raise _Stopped(number)
        received.append(number)
        say("stopping after this step; once more ends at once")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return received


def _show(error: StylizeError) -> None:
    say(f"error: {error.message}")
    if error.hint:
        say(f"hint: {error.hint}")


def _debug_traceback() -> None:
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exc()


def _report_bug(error: Exception) -> NoReturn:
    where = "run again with STYLIZE_DEBUG=1 for the details"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="stylize-crash-", suffix=".log", delete=False) as file:
            file.write(f"stylize {__version__}, Python {sys.version}\n{traceback.format_exc()}")
        where = f"details in {file.name}"
    except OSError:
        pass
    say(f"error: a bug in stylize: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    say(f"hint: please report it; {where}")
    sys.exit(70)


def _stylizer(model: Path | None, device: str, engine: str, threads: int | None, terminal: Terminal) -> Stylizer:
    from stylize.transfer import Stylizer

    stylizer = Stylizer(model, device, engine=engine, threads=threads, on_warning=terminal.warn)
    terminal.note(f"device {stylizer.engine}, model {stylizer.engine.hash[:8]}")
    return stylizer


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _read_style(stylizer: Stylizer, style: Sequence[Path], max_pixels: int, terminal: Terminal) -> StyleCode:
    """The style that ``--style`` names: a code file, or pictures that are encoded now."""
    from stylize.style_code import StyleCode

    codes = [path for path in style if path.suffix.lower() in (".safetensors", ".pt", ".pth", ".ckpt", ".bin")]
    if not codes:
        return stylizer.encode_style(_read_pictures(style, max_pixels, terminal), title=_title_of(style))
    if len(style) > 1:
        raise UsageError(
            "--style takes one style code, or several pictures", hint="encode-style makes one code of many"
        )
    code = StyleCode.load(codes[0])
    stylizer.check(code)
    return code


def _read_pictures(paths: Iterable[Path], max_pixels: int, terminal: Terminal) -> list[Any]:
    """Pictures named, and those in the folders named. A bad file that was named ends it; in a folder it is left out."""
    from stylize.batch import plan_batch
    from stylize.images import read_image, shown

    pictures = []
    for path in paths:
        if not path.is_dir():
            pictures.append(read_image(path, max_pixels=max_pixels).pixels)
            continue
        found = plan_batch([path], Path(os.devnull)).jobs
        for job in found:
            try:
                pictures.append(read_image(job.photo, max_pixels=max_pixels).pixels)
            except InputError as error:
                terminal.warn(f"{error.message}; left out")
        if not pictures:
            raise InputError(f"no readable pictures in {shown(path)}")
    return pictures


def _title_of(style: Sequence[Path]) -> str:
    """A name for a style, fit for a file name: that of its file or folder."""
    stem = style[0].resolve().stem if len(style) == 1 else "styles"
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "style"


def _stdin() -> bytes:
    raw = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if not raw:
        raise InputError("cannot read <stdin>: it is empty")
    if len(raw) > MAX_STDIN_BYTES:
        raise InputError(f"cannot read <stdin>: more than {MAX_STDIN_BYTES >> 20} MB")
    return raw


def _seconds(text: str | None) -> float | None:
    """``90s``, ``45m``, ``6h`` or plain seconds."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None:
        raise UsageError(f"--max-time {text}: not a time", hint="90s, 45m or 6h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
