"""``stylize transfer``"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from stylize.cli.arguments import (
    AllowTruncated,
    Background,
    BitDepth,
    Device,
    Engine,
    Feather,
    Format,
    InvertMask,
    Json,
    Mask,
    MaxPixels,
    Metadata,
    ModelFile,
    NoRecipe,
    Overwrite,
    PreserveColor,
    Quality,
    Quiet,
    Strength,
    Style,
    StyleScale,
    Threads,
    Tile,
    Verbose,
    check_masks,
    image_options,
    inputs_of,
    open_stylizer,
    open_without_torch,
    parse_format,
    parse_style_scale,
)
from stylize.cli.process import show
from stylize.cli.terminal import Terminal
from stylize.errors import InputError, OutputError, StylizeError, UsageError, disk_is_full, shown
from stylize.options import DEFAULT_MAX_PIXELS, ImageOptions

if TYPE_CHECKING:
    from stylize.painting.stylizer import Stylizer

T = TypeVar("T")

MAX_STDIN_BYTES = 1 << 30


def transfer(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Photos; - reads one from stdin.")],
    style: Style,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="File, folder, or - for stdout; default: PHOTO_STYLE beside the photo."),
    ] = None,
    strength: Strength = 1.0,
    preserve_color: PreserveColor = False,
    style_scale: StyleScale = "1",
    mask: Mask = None,
    invert_mask: InvertMask = False,
    feather: Feather = 0.0,
    format: Format = None,
    quality: Quality = ImageOptions.quality,
    no_recipe: NoRecipe = False,
    tile: Tile = None,
    model: ModelFile = None,
    device: Device = "auto",
    engine: Engine = "auto",
    threads: Threads = None,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    allow_truncated: AllowTruncated = False,
    bit_depth: BitDepth = "auto",
    metadata: Metadata = "keep",
    background: Background = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Stylise photos: stylize transfer photo.jpg --style mine.png"""
    from dataclasses import replace

    from stylize.batch.treatment import Treatment
    from stylize.files.atomic import check_target, make_folder, refuse_same_file
    from stylize.images.formats import SUFFIXES, check_size, format_of, output_name, suffix_of, written_format
    from stylize.images.reading import read_photo
    from stylize.images.writing import pixel_bytes, write_image
    from stylize.painting.look import Look, check_depth, read_layers
    from stylize.styles.arguments import parse_style, title_of

    terminal = Terminal(quiet, verbose, json)
    look = Look(strength, preserve_color, parse_style_scale(style_scale), mask, invert_mask, feather)
    options = image_options(max_pixels, allow_truncated, bit_depth, quality, metadata, background)
    wanted = parse_format(format)
    to_folder = output is not None and output != "-" and (output.endswith(("/", os.sep)) or os.path.isdir(output))
    if len(photos) > 1 and not to_folder and (output is not None or "-" in photos):
        raise UsageError(f"{len(photos)} photos need a folder to go to", hint="--output FOLDER/")
    if photos.count("-") > 1:
        raise UsageError("stdin holds one photo only", hint="give - once")
    if output == "-" or (output is None and "-" in photos):
        if sys.stdout.isatty():
            raise UsageError("will not write image bytes to a terminal", hint="-o FILE, or redirect")
        output = "-"
    styles = [parse_style(text) for text in style]
    check_masks(styles, look)
    loaded = open_without_torch(model, device, engine, threads, terminal)
    inputs = [*inputs_of(styles, look), *(Path(photo) for photo in photos if photo != "-")]
    label = title_of(styles)

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
        elif SUFFIXES.get(Path(output).suffix.lower(), wanted) != wanted:
            hint = f"leave out --format, or --output {shown(Path(output).with_suffix(suffix_of(wanted)))}"
            raise UsageError(f"--format {format}: {shown(output)} has the suffix of another format", hint=hint)
        check_target(Path(output), overwrite=overwrite)
        for source in inputs:
            refuse_same_file(source, Path(output))
    elif to_folder:
        assert output is not None
        make_folder(Path(output))

    failures: list[StylizeError] = []

    def fail(photo: str, error: StylizeError) -> None:
        """One photo of several must not keep the others from being done."""
        if json and output != "-":
            terminal.result("", photo=photo, status="failed", reason=error.message)
        if len(photos) == 1:
            raise error
        show(error)
        failures.append(error)

    def open_networks() -> tuple[Stylizer, Treatment]:
        stylizer = loaded or open_stylizer(model, device, engine, threads, terminal)
        layers = read_layers(stylizer, styles, label, options=options, on_warning=terminal.warn)
        stylizer.prepare(next(iter(layers.values())), strength)
        treatment = Treatment(
            styles=tuple(styles),
            layers=layers,
            look=look,
            options=options,
            model_hash=stylizer.engine.hash,
            model=model,
            engine=engine,
            format=wanted,
            tile=tile,
            recipe=not no_recipe,
        )
        return stylizer, treatment

    opened = in_background(open_networks)  # while the first photo is read
    written: set[Path] = set()
    for name in photos:
        started = time.monotonic()
        try:
            photo = read_photo(_stdin() if name == "-" else Path(name), options)
            check_depth(photo.pixels, look, "<stdin>" if name == "-" else name)
            target = target_of(name, written_format(photo.format))
            height, width = photo.pixels.shape[:2]
            usual = written_format(photo.format) if target is None else format_of(target)
            check_size(width, height, wanted or usual, pixel_bytes(photo.pixels, photo.alpha))
            if target is not None:
                if target in written:
                    raise OutputError(
                        f"{shown(target)} was just written from another photo",
                        hint="stylize batch keeps such names apart",
                    )
                check_target(target, overwrite=overwrite)
                if os.path.exists(target):
                    for source in inputs:
                        refuse_same_file(source, target)
        except (InputError, OutputError) as error:
            fail(name, error)
            continue
        stylizer, treatment = opened.result()  # what is wrong with these is wrong for all photos
        destination: Any = target if target is not None else sys.stdout.buffer
        try:
            painted = treatment.apply(stylizer, photo, Path(name), target=target)
            notes = write_image(
                destination,
                painted.pixels,
                like=replace(photo, xmp=painted.xmp),
                alpha=photo.alpha,
                format=wanted,
                quality=quality,
                metadata=metadata,
                background=background,
                overwrite=overwrite,
            )
        except StylizeError as error:  # such as a mask that does not fit, or more pixels than the format can hold
            if disk_is_full(error):
                raise
            fail(name, error)
            continue
        for note in (*painted.warnings, *notes):
            terminal.warn(f"{shown(name)}: {note}")
        seconds = time.monotonic() - started
        terminal.note(f"{shown(name)}: {width}x{height} pixels in {seconds:.2f} s")
        if target is not None:
            written.add(target)
            terminal.result(
                str(target), photo=name, output=str(target), status="ok", width=width, height=height, style=label,
                seconds=round(seconds, 3),
            )  # fmt: skip
    if failures:
        raise typer.Exit(max(error.exit_code for error in failures))


def in_background(work: Callable[[], T]) -> Future[T]:
    """The result of some work that is done beside what follows.."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run).start()
    return future


def _stdin() -> bytes:
    raw = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if not raw:
        raise InputError("cannot read <stdin>: it is empty", hint="did the command before it in the pipe fail?")
    if len(raw) > MAX_STDIN_BYTES:
        raise InputError(f"cannot read <stdin>: more than {MAX_STDIN_BYTES >> 20} MB", hint="give it as a file")
    return raw
