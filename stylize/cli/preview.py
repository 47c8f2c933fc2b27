"""``stylize preview``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    check_masks,
    complete_style,
    inputs_of,
    open_stylizer,
    open_without_torch,
    parse_style_scale,
)
from stylize.cli.terminal import Terminal
from stylize.errors import InputError, RefusedError, UsageError
from stylize.options import DEFAULT_MAX_PIXELS, ImageOptions

if TYPE_CHECKING:
    from stylize.images.reading import Pixels
    from stylize.styles.style_code import StyleCode


def preview(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO")],
    style: Annotated[
        list[str] | None,
        typer.Option(
            "--style",
            "-s",
            metavar="STYLE",
            autocompletion=complete_style,
            help="A style for each row; default: all of your library.",
        ),
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
    from dataclasses import replace

    import numpy as np
    from PIL import Image

    from stylize.files.atomic import check_target, refuse_same_file
    from stylize.images.formats import format_of
    from stylize.images.reading import fill_transparent, read_image
    from stylize.images.writing import write_image
    from stylize.painting.look import Look, paint
    from stylize.painting.masks import read_mask
    from stylize.painting.preview import contact_sheet
    from stylize.styles import library
    from stylize.styles.arguments import StyleArgument, parse_style, read_style, title_of

    terminal = Terminal(quiet, verbose, json)
    scale = parse_style_scale(style_scale)
    try:
        numbers = [float(word) for word in strengths.split(",")]
    except ValueError as error:
        raise UsageError(f"--strengths {strengths}: not numbers with commas between", hint="0.4,0.7,1") from error
    if not all(0 <= number <= 1 for number in numbers):
        raise UsageError(f"--strengths {strengths}: not all between 0 and 1", hint="0.4,0.7,1")
    look = Look(1.0, preserve_color, scale, mask, invert_mask, feather)
    if style:
        styles = [parse_style(text, masks=False) for text in style]
    else:
        styles = [StyleArgument(path, name) for name, path in library.styles().items()]
    if not styles:
        raise UsageError("no styles to show", hint="--style STYLE, or keep some by encode-style --save NAME")
    plain = photo.with_name(f"{photo.stem}_preview.png")
    output = plain if output is None else output / plain.name if output.is_dir() else output
    format_of(output)
    check_masks(styles, look)
    for source in (photo, *inputs_of(styles, look)):
        refuse_same_file(source, output)
    check_target(output, overwrite=overwrite)
    options = ImageOptions(max_pixels=max_pixels)
    stylizer = open_without_torch(model, device, engine, threads, terminal)
    picture = read_image(photo, max_pixels=max_pixels)
    whole_mask = None if mask is None else read_mask(mask, picture, str(photo), max_pixels=max_pixels)
    stylizer = stylizer or open_stylizer(model, device, engine, threads, terminal)
    rows = []
    for one in styles:
        try:
            code = read_style(stylizer, [one], title_of([one]), options=options, on_warning=terminal.warn)
        except (InputError, RefusedError) as error:
            if style:  # it was asked for
                raise
            terminal.warn(f"{error.message}; left out")
            continue
        rows.append((one.name.removesuffix(library.SUFFIX), code))
    if not rows:
        raise RefusedError("none of your styles can be used", hint="encode them again with this model")

    def paint_small(pixels: Pixels, code: StyleCode, strength: float) -> Pixels:
        height, width = pixels.shape[:2]
        small_mask = None if whole_mask is None else np.asarray(Image.fromarray(whole_mask).resize((width, height)))
        how = replace(look, strength=strength, feather=feather * width / picture.pixels.shape[1])
        small = replace(picture, pixels=pixels, alpha=None)
        return paint(stylizer, small, {None: code}, how, photo=str(photo), mask=small_mask)

    with terminal.progress("preview", len(rows) * len(numbers)) as advance:
        sheet = contact_sheet(
            fill_transparent(picture.pixels, picture.alpha), rows, numbers, paint_small, side=size, on_done=advance
        )
    write_image(output, sheet, overwrite=overwrite)
    terminal.result(str(output), output=str(output), styles=[title for title, _ in rows])
