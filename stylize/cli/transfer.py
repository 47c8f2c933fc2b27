"""``stylize transfer``"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, BinaryIO

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
    image_options,
    open_stylizer,
    parse_style_scale,
)
from stylize.cli.process import show
from stylize.cli.terminal import Terminal
from stylize.errors import UsageError, shown
from stylize.options import DEFAULT_MAX_PIXELS, ImageOptions

if TYPE_CHECKING:
    from stylize.painting.transfer import Transferred


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
    from stylize.painting import transfer as core
    from stylize.painting.look import Look

    terminal = Terminal(quiet, verbose, json)
    look = Look(strength, preserve_color, parse_style_scale(style_scale), mask, invert_mask, feather)
    options = image_options(max_pixels, allow_truncated, bit_depth, quality, metadata, background)
    outcomes = core.transfer(
        photos, style, look, options,
        output=stdout_or(output, photos), format=format, tile=tile, recipe=not no_recipe,
        overwrite=overwrite, stylizer=lambda: open_stylizer(model, device, engine, threads, terminal),
        stdin=sys.stdin.buffer, on_warning=terminal.warn,
    )  # fmt: skip
    code = 0
    for outcome in outcomes:
        if outcome.failure is not None:
            code = max(code, outcome.failure.exit_code)
        tell(outcome, terminal, alone=len(photos) == 1)
    if code:
        raise typer.Exit(code)


def stdout_or(output: str | None, photos: Sequence[str]) -> str | BinaryIO | None:
    """Where the pictures go. Raises UsageError for what stdin cannot give, or stdout should not be given."""
    if photos.count("-") > 1:
        raise UsageError("stdin holds one photo only", hint="give - once")
    if output != "-" and (output is not None or "-" not in photos):
        return output
    if sys.stdout.isatty() and len(photos) == 1:
        raise UsageError("will not write image bytes to a terminal", hint="-o FILE, or redirect")
    return sys.stdout.buffer


def tell(outcome: Transferred, terminal: Terminal, *, alone: bool) -> None:
    """Say what became of a photo. Raises what went wrong with it, if it is the only one."""
    if outcome.failure is not None:
        if terminal.json and not outcome.streamed:
            terminal.result("", photo=outcome.photo, status="failed", reason=outcome.failure.message)
        if alone:
            raise outcome.failure
        show(outcome.failure)
        return
    for note in outcome.notes:
        terminal.warn(f"{shown(outcome.photo)}: {note}")
    width, height = outcome.size
    terminal.note(f"{shown(outcome.photo)}: {width}x{height} pixels in {outcome.seconds:.2f} s")
    if not outcome.streamed:
        terminal.result(
            str(outcome.output), photo=outcome.photo, output=str(outcome.output), status="ok", width=width,
            height=height, style=outcome.style, seconds=round(outcome.seconds, 3),
        )  # fmt: skip
