"""``stylize preview``"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from stylize.cli.arguments import (
    Device,
    Engine,
    Feather,
    InvertMask,
    Json,
    Mask,
    MaxPixels,
    ModelFile,
    Overwrite,
    PreserveColor,
    Quiet,
    StyleScale,
    Threads,
    Verbose,
    open_stylizer,
    parse_style_scale,
)
from stylize.cli.terminal import Terminal
from stylize.errors import UsageError
from stylize.options import DEFAULT_MAX_PIXELS


def preview(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO")],
    style: Annotated[
        list[str] | None,
        typer.Option("--style", "-s", metavar="STYLE", help="A style for each row; default: all of your library."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The sheet, or its folder; default: PHOTO_preview.png beside the photo."),
    ] = None,
    strengths: Annotated[str, typer.Option(help="Strengths, one column each.")] = "0.4,0.7,1",
    size: Annotated[int, typer.Option(min=16, max=4096, help="Long side of each picture in pixels.")] = 384,
    preserve_color: PreserveColor = False,
    style_scale: StyleScale = "1",
    mask: Mask = None,
    invert_mask: InvertMask = False,
    feather: Feather = 0.0,
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
    """Try several styles and strengths on a photo, reduced, on one labelled sheet."""
    from stylize.images.writing import write_image
    from stylize.painting import preview as core
    from stylize.painting.look import Look
    from stylize.painting.treatment import check_masks, inputs_of
    from stylize.styles.arguments import parse_style

    terminal = Terminal(quiet, verbose, json)
    look = Look(1.0, preserve_color, parse_style_scale(style_scale), mask, invert_mask, feather)
    numbers = parse_strengths(strengths)
    styles = [parse_style(text, masks=False) for text in style] if style else core.library_styles()
    check_masks(styles, look)
    target = place_of(photo, output, inputs_of(styles, look), overwrite=overwrite)
    sheet, titles = core.preview(
        photo, styles if style else None, look, strengths=numbers, side=size, max_pixels=max_pixels,
        stylizer=lambda: open_stylizer(model, device, engine, threads, terminal),
        progress=terminal.progress, on_warning=terminal.warn,
    )  # fmt: skip
    write_image(target, sheet, overwrite=overwrite)
    terminal.result(str(target), output=str(target), styles=titles)


def parse_strengths(text: str) -> list[float]:
    """Numbers from 0 to 1 with commas between."""
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--strengths {text}: not numbers with commas between", hint="0.4,0.7,1") from error
    if not all(0 <= number <= 1 for number in numbers):
        raise UsageError(f"--strengths {text}: not all between 0 and 1", hint="0.4,0.7,1")
    return numbers


def place_of(photo: Path, output: Path | None, sources: Iterable[Path], *, overwrite: bool) -> Path:
    """Where the sheet goes. Raises OutputError if it cannot be written there."""
    from stylize.files.atomic import check_target, refuse_same_file
    from stylize.images.formats import format_of

    plain = photo.with_name(f"{photo.stem}_preview.png")
    output = plain if output is None else output / plain.name if output.is_dir() else output
    format_of(output)
    for source in (photo, *sources):
        refuse_same_file(source, output)
    check_target(output, overwrite=overwrite)
    return output
