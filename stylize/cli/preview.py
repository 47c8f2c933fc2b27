"""``stylize preview``"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylize.cli.arguments import check_masks, inputs_of, stylizer_of, stylizer_without_torch
from stylize.cli.options import Only, command
from stylize.cli.terminal import Terminal
from stylize.errors import InputError, RefusedError, UsageError
from stylize.options import ImageOptions, Look, NetworkOptions, Option, Overwrite

if TYPE_CHECKING:
    from stylize.images.reading import Picture, Pixels
    from stylize.painting.stylizer import Stylizer
    from stylize.styles.arguments import StyleArgument
    from stylize.styles.style_code import StyleCode


@command
def preview(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", rich_help_panel="What")],
    look: Annotated[Look, Only({"preserve_color", "style_scale", "mask", "invert_mask", "feather"})],
    images: Annotated[ImageOptions, Only({"max_pixels"})],
    networks: NetworkOptions,
    terminal: Terminal,
    style: Annotated[
        list[str] | None,
        Option("A style for each row; default: all of your library.", "What", short="-s", metavar="STYLE"),
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
    from stylize.files.atomic import check_target, refuse_same_file
    from stylize.images.formats import format_of
    from stylize.images.reading import fill_transparent, read_image
    from stylize.images.writing import write_image
    from stylize.painting.masks import read_mask
    from stylize.painting.preview import contact_sheet

    numbers = _strengths(strengths)
    styles = _styles(style)
    plain = photo.with_name(f"{photo.stem}_preview.png")
    output = plain if output is None else output / plain.name if output.is_dir() else output
    format_of(output)
    check_masks(styles, look)
    for source in (photo, *inputs_of(styles, look)):
        refuse_same_file(source, output)
    check_target(output, overwrite=overwrite)
    stylizer = stylizer_without_torch(networks, terminal)
    picture = read_image(photo, max_pixels=images.max_pixels)
    mask = None if look.mask is None else read_mask(look.mask, picture, str(photo), max_pixels=images.max_pixels)
    stylizer = stylizer or stylizer_of(networks, terminal)
    rows = _rows(stylizer, styles, images, terminal, all_of_them=bool(style))
    with terminal.progress("preview", len(rows) * len(numbers)) as advance:
        sheet = contact_sheet(
            fill_transparent(picture.pixels, picture.alpha), rows, numbers,
            _painter(stylizer, picture, mask, look, str(photo)), side=size, on_done=advance,
        )  # fmt: skip
    write_image(output, sheet, overwrite=overwrite)
    terminal.result(str(output), output=str(output), styles=[title for title, _ in rows])


def _strengths(text: str) -> list[float]:
    """``0.4,0.7,1``"""
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--strengths {text}: not numbers with commas between", hint="0.4,0.7,1") from error
    if not all(0 <= number <= 1 for number in numbers):
        raise UsageError(f"--strengths {text}: not all between 0 and 1", hint="0.4,0.7,1")
    return numbers


def _styles(wanted: Sequence[str] | None) -> list[StyleArgument]:
    """The styles that were asked for, else those of the library."""
    from stylize.styles import library
    from stylize.styles.arguments import StyleArgument, parse_style

    if wanted:
        return [parse_style(text, masks=False) for text in wanted]
    styles = [StyleArgument(path, name) for name, path in library.styles().items()]
    if not styles:
        raise UsageError("no styles to show", hint="--style STYLE, or keep some by encode-style --save NAME")
    return styles


def _rows(
    stylizer: Stylizer,
    styles: Sequence[StyleArgument],
    images: ImageOptions,
    terminal: Terminal,
    *,
    all_of_them: bool,
) -> list[tuple[str, StyleCode]]:
    """Label and code of each style; those that cannot be used are left out, unless all were asked for."""
    from stylize.styles import library
    from stylize.styles.arguments import read_style, title_of

    rows = []
    for one in styles:
        try:
            code = read_style(stylizer, [one], title_of([one]), options=images, on_warning=terminal.warn)
        except (InputError, RefusedError) as error:
            if all_of_them:
                raise
            terminal.warn(f"{error.message}; left out")
            continue
        rows.append((one.name.removesuffix(library.SUFFIX), code))
    if not rows:
        raise RefusedError("none of your styles can be used", hint="encode them again with this model")
    return rows


def _painter(
    stylizer: Stylizer, picture: Picture, mask: Pixels | None, look: Look, photo: str
) -> Callable[[Pixels, StyleCode, float], Pixels]:
    """What paints the photo, reduced, in a style at a strength; mask and feather are reduced with it."""
    import numpy as np
    from PIL import Image

    from stylize.painting.look import paint

    def paint_small(pixels: Pixels, code: StyleCode, strength: float) -> Pixels:
        height, width = pixels.shape[:2]
        small_mask = None if mask is None else np.asarray(Image.fromarray(mask).resize((width, height)))
        how = replace(look, strength=strength, feather=look.feather * width / picture.pixels.shape[1])
        small = replace(picture, pixels=pixels, alpha=None)
        return paint(stylizer, small, {None: code}, how, photo=photo, mask=small_mask)

    return paint_small
