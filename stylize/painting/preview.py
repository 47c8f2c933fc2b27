"""Preview: one photo in some styles at some strengths, side by side on a labelled sheet.

style A   photo   strength 0.4   strength 0.7   strength 1
style B   photo   strength 0.4   strength 0.7   strength 1
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from stylize.errors import InputError
from stylize.images.reading import Pixels, read_image
from stylize.images.sheet import labelled_sheet
from stylize.styles.style_code import StyleCode


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
