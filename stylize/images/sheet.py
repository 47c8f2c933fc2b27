"""Labelled sheets: pictures in rows and columns, a line of text under each."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stylize.images.reading import Pixels

GAP, LABEL = 8, 22  # pixels: between the cells, and height of the text below them
_PAPER, _INK = (250, 250, 250), (30, 30, 30)


def labelled_sheet(rows: Sequence[Sequence[tuple[str, Image.Image]]], size: tuple[int, int]) -> Pixels:
    """Lay out pictures.

    Args:
        rows: label and picture of every cell; rows may differ in length.
        size: width and height of a cell; no picture may be larger, smaller ones stand in its middle.

    Returns:
        (H, W, 3) uint8.
    """
    width, height = size
    columns = max(map(len, rows))
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, len(rows) * (height + LABEL + GAP) + GAP), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for row, cells in enumerate(rows):
        for column, (text, image) in enumerate(cells):
            left, top = GAP + column * (width + GAP), GAP + row * (height + LABEL + GAP)
            sheet.paste(image, (left + (width - image.width) // 2, top + (height - image.height) // 2))
            label = _in_font(text)
            while len(label) > 1 and draw.textlength(label, font) > width:
                label = label[:-2] + "…"
            draw.text((left + width / 2, top + height + LABEL / 2), label, _INK, font, anchor="mm")
    return np.asarray(sheet)


def _in_font(text: str) -> str:
    """A label in letters that Pillow's own font has: without accents, and ``?`` for what it would show as a box."""
    plain = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(c if " " <= c <= "~" else "?" for c in plain)
