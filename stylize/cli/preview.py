"""``stylize preview``"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from stylize.cli.arguments import complete_style, stylizer_of
from stylize.cli.options import Only, command
from stylize.cli.terminal import Terminal
from stylize.errors import UsageError
from stylize.options import ImageOptions, Look, NetworkOptions, Option, Overwrite


@command
def preview(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", rich_help_panel="What")],
    look: Annotated[Look, Only({"effort", "preserve_color", "style_scale", "mask", "invert_mask", "feather"})],
    images: Annotated[ImageOptions, Only({"max_pixels"})],
    networks: NetworkOptions,
    terminal: Terminal,
    style: Annotated[
        list[str] | None,
        Option(
            "A style for each row; default: all of your library.",
            "What",
            short="-s",
            metavar="STYLE",
            complete=complete_style,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        Option("The sheet, or its folder; default: PHOTO_preview.png beside the photo.", "Where to", short="-o"),
    ] = None,
    overwrite: Overwrite = False,
    strengths: Annotated[str, Option("Strengths, one column each.", "Look")] = "0.4,0.7,1",
    size: Annotated[int, Option("Long side of each picture in pixels.", "Look", low=16, high=4096)] = 384,
) -> None:
    """Try several styles and strengths on a photo, reduced, on one labelled sheet.

    \b
      stylize preview photo.jpg --style woodcut --style mine.png
      stylize preview photo.jpg --strengths 0.3,0.6,1 --output sheet.png
    """
    from stylize.images.writing import write_image
    from stylize.painting import preview as core
    from stylize.painting.treatment import check_effort, check_masks, inputs_of
    from stylize.styles.arguments import parse_style

    numbers = parse_strengths(strengths)
    styles = [parse_style(text, masks=False) for text in style] if style else core.library_styles()
    check_masks(styles, look)
    check_effort(look)
    target = place_of(photo, output, inputs_of(styles, look), overwrite=overwrite)
    sheet, titles = core.preview(
        photo, styles if style else None, look, strengths=numbers, side=size, max_pixels=images.max_pixels,
        stylizer=lambda: stylizer_of(networks, terminal), progress=terminal.progress, on_warning=terminal.warn,
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
    output = plain if output is None else output / plain.name if os.path.isdir(output) else output
    format_of(output)
    for source in (photo, *sources):
        refuse_same_file(source, output)
    check_target(output, overwrite=overwrite)
    return output
