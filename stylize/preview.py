"""Preview: one photo in some styles at some strengths, side by side on a labelled sheet.

style A   photo   strength 0.4   strength 0.7   strength 1
style B   photo   strength 0.4   strength 0.7   strength 1
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stylize.errors import InputError
from stylize.images import Pixels, read_image
from stylize.style_code import StyleCode

GAP, LABEL = 8, 22  # pixels: between the cells, and height of the text above or below them
_PAPER, _INK = (250, 250, 250), (30, 30, 30)


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
    width, height = small.size
    columns, rows = 2 + len(strengths), len(styles)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + LABEL + GAP) + GAP), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)

    def place(image: Image.Image, row: int, column: int, label: str) -> None:
        left, top = GAP + column * (width + GAP), GAP + row * (height + LABEL + GAP)
        sheet.paste(image, (left + (width - image.width) // 2, top + (height - image.height) // 2))
        while len(label) > 1 and draw.textlength(label, font) > width:
            label = label[:-2] + "…"
        draw.text((left + width / 2, top + height + LABEL / 2), label, _INK, font, anchor="mm")

    done = 0
    for row, (label, style) in enumerate(styles):
        place(_thumbnail(style, small.size), row, 0, _plain(label))
        place(small, row, 1, "photo")
        for column, strength in enumerate(strengths, start=2):
            result = Image.fromarray(paint(np.asarray(small), style, strength))
            place(result, row, column, f"strength {strength:g}")
            done += 1
            on_done(done, label)
    return np.asarray(sheet)


def _thumbnail(style: StyleCode, size: tuple[int, int]) -> Image.Image:
    """The style's own small picture, if it has a sound one; it is read under the limits of every picture."""
    blank = Image.new("RGB", size, (225, 225, 225))
    if style.thumbnail is None:
        return blank
    try:
        image = Image.fromarray(read_image(style.thumbnail, max_pixels=1 << 20).pixels)
    except InputError:
        return blank
    image.thumbnail(size)
    return image


def _plain(label: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in label)
