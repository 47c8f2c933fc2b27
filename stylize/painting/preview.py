"""Preview: one photo in some styles at some strengths, side by side on a labelled sheet.

style A   photo   strength 0.4   strength 0.7   strength 1
style B   photo   strength 0.4   strength 0.7   strength 1
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from stylize.errors import InputError, RefusedError, UsageError, shown
from stylize.images.reading import Pixels, fill_transparent, read_image
from stylize.images.sheet import labelled_sheet
from stylize.options import DEFAULT_MAX_PIXELS, ImageOptions
from stylize.painting.look import Look, paint
from stylize.painting.masks import read_mask
from stylize.painting.places import StrPath
from stylize.painting.transfer import open_early, open_now
from stylize.styles import library
from stylize.styles.arguments import StyleArgument, check_code, read_style, title_of
from stylize.styles.style_code import StyleCode

if TYPE_CHECKING:
    from stylize.painting.stylizer import Stylizer


@contextmanager
def silent(what: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """A progress that shows nothing."""
    yield lambda done, note: None


def preview(
    photo: StrPath,
    styles: Sequence[StyleArgument] | None,
    look: Look = Look(),
    *,
    strengths: Sequence[float] = (0.4, 0.7, 1.0),
    side: int = 384,
    stylizer: Stylizer | Callable[[], Stylizer] | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    progress: Callable[[str, int], AbstractContextManager[Callable[[int, str], None]]] = silent,
    on_warning: Callable[[str], None] = lambda message: None,
) -> tuple[Pixels, list[str]]:
    """The sheet of a photo.

    Args:
        styles: one for each row; by default all of the library, without those that cannot be used.
        look: its strength does not count.
        strengths: of each column.
        side: long side of a cell in pixels.
        stylizer: the networks, or what opens them.
        progress: shows how far the work is: what it is and how many cells there are, then a context that gives what
            is called with the number of cells done and the label of the row.

    Returns:
        the sheet, (H, W, 3) uint8, and the labels of its rows.

    Raises:
        UsageError: there are no styles.
        InputError: the photo, a mask or a style that was asked for cannot be read.
        RefusedError: a style that was asked for, or each of the library, cannot be used.
    """
    networks = open_early(stylizer)
    picture = read_image(Path(photo), max_pixels=max_pixels)
    mask = None if look.mask is None else read_mask(look.mask, picture, os.fspath(photo), max_pixels=max_pixels)
    networks = networks or open_now(stylizer)
    fine = any(replace(look, strength=number).paints_finely for number in strengths)
    rows = read_rows(networks, styles, max_pixels, on_warning, fine=fine)

    def paint_small(pixels: Pixels, code: StyleCode, strength: float) -> Pixels:
        height, width = pixels.shape[:2]
        small_mask = None if mask is None else np.asarray(Image.fromarray(mask).resize((width, height)))
        how = replace(look, strength=strength, feather=look.feather * width / picture.pixels.shape[1])
        small = replace(picture, pixels=pixels, alpha=None)
        return paint(networks, small, {None: code}, how, photo=os.fspath(photo), mask=small_mask)

    with progress("preview", len(rows) * len(strengths)) as on_done:
        visible = fill_transparent(picture.pixels, picture.alpha)
        sheet = contact_sheet(visible, rows, strengths, paint_small, side=side, on_done=on_done)
    return sheet, [label for label, _ in rows]


def read_rows(
    stylizer: Stylizer,
    styles: Sequence[StyleArgument] | None,
    max_pixels: int,
    on_warning: Callable[[str], None],
    *,
    fine: bool = False,
) -> list[tuple[str, StyleCode]]:
    """Label and style of each row. Raises as ``preview``."""
    options = ImageOptions(max_pixels=max_pixels)
    rows, others = [], []
    for style in library_styles() if styles is None else styles:
        try:
            if styles is not None:
                code = read_style(
                    stylizer, [style], title_of([style]), options=options, on_warning=on_warning, fine=fine
                )
            elif (code := StyleCode.load(style.source)).model_hash != stylizer.engine.hash:
                others.append(style.name)
                continue
            else:
                check_code(stylizer, code, shown(style.source), fine=fine)
        except (InputError, RefusedError) as error:
            if styles is not None:  # it was asked for
                raise
            on_warning(f"{error.message}; left out")
            continue
        rows.append((style.name.removesuffix(library.SUFFIX), code))
    if others:
        on_warning(f"made for another model, left out: {', '.join(map(shown, others))}")
    if not rows:
        raise RefusedError(
            "none of your styles can be used with this model", hint="`style` PICTURE, or another `model`"
        )
    return rows


def library_styles() -> list[StyleArgument]:
    """All styles of the library. Raises UsageError if there are none."""
    styles = [StyleArgument(path, name) for name, path in library.styles().items()]
    if not styles:
        raise UsageError("no styles to show", hint="`style` STYLE, or keep some by encode-style `save` NAME")
    return styles


def contact_sheet(
    photo: Pixels,
    styles: Sequence[tuple[str, StyleCode]],
    strengths: Sequence[float],
    paint: Callable[[Pixels, StyleCode, float], Pixels],
    *,
    side: int,
    on_done: Callable[[int, str], None] = lambda done, name: None,
) -> Pixels:
    """The sheet.

    Args:
        photo: (H, W, 3) uint8; it is reduced to ``side`` pixels before it is painted.
        styles: label and style of each row.
        strengths: of each column.
        paint: photo, style and strength in, picture of the same size out.
        side: long side of a cell in pixels.
        on_done: called with the number of cells done and the label of the row.

    Returns:
        (H, W, 3) uint8.
    """
    small = Image.fromarray(photo)
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    rows, done = [], 0
    for label, style in styles:
        row = [(label, _thumbnail(style, small.size)), ("photo", small)]
        for strength in strengths:
            result = Image.fromarray(paint(np.asarray(small), style, strength))
            row.append((f"strength {strength:g}", result))
            done += 1
            on_done(done, label)
        rows.append(row)
    return labelled_sheet(rows, small.size)


def _thumbnail(style: StyleCode, size: tuple[int, int]) -> Image.Image:
    """The style's own small picture, if it has a sound one, enlarged until it fills the cell one way or the other.

    It is read under the limits of every picture.
    """
    blank = Image.new("RGB", size, (225, 225, 225))
    if style.thumbnail is None:
        return blank
    try:
        image = Image.fromarray(read_image(style.thumbnail, max_pixels=1 << 20).pixels)
    except InputError:
        return blank
    return ImageOps.contain(image, size, Image.Resampling.LANCZOS)
