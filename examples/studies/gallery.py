"""Make the README's pictures: photos in styles, and fast painting beside fine.

python examples/studies/gallery.py gallery.jpg
python examples/studies/gallery.py fine.jpg fine         # some minutes; needs torch
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from stylize import Stylizer
from stylize.images.reading import Pixels, read_image
from stylize.images.writing import write_image

EXAMPLES = Path(__file__).parent.parent
PHOTOS = [EXAMPLES / "photos" / f"{name}.jpg" for name in ("cat", "astronaut", "coffee")]
STYLES = [EXAMPLES / "styles" / f"{name}.jpg" for name in ("swirls", "ink", "mosaic", "watercolour", "woodcut")]
CELL, GAP = 300, 6  # pixels
PAIRS = [(0, 0), (1, 2), (2, 3), (1, 4)]  # photo and style that are painted fast and finely


def square(pixels: Pixels) -> Image.Image:
    """The middle of a picture, (CELL, CELL)."""
    image = Image.fromarray(pixels)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.resize((CELL, CELL), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))


def fast_and_fine() -> Image.Image:
    """A photo, a style, and the photo in it, fast and finely; row by row."""
    stylizer, step = Stylizer(), CELL + GAP
    sheet = Image.new("RGB", (4 * step - GAP, len(PAIRS) * step - GAP), "white")
    for row, (photo, style) in enumerate(PAIRS):
        pixels, picture = (read_image(path).pixels for path in (PHOTOS[photo], STYLES[style]))
        code = stylizer.encode_style([picture], fine=True)
        cells = [pixels, picture, stylizer.transfer(pixels, code), stylizer.transfer(pixels, code, effort="fine")]
        for column, cell in enumerate(cells):
            sheet.paste(square(cell), (column * step, row * step))
    return sheet


def gallery() -> Image.Image:
    """Photos at the left, styles on top, every photo in every style between."""
    stylizer = Stylizer()
    step = CELL + GAP
    sheet = Image.new("RGB", (step * (1 + len(STYLES)) - GAP, step * (1 + len(PHOTOS)) - GAP), "white")
    photos = [read_image(path).pixels for path in PHOTOS]
    for row, photo in enumerate(photos, start=1):
        sheet.paste(square(photo), (0, row * step))
    for column, path in enumerate(STYLES, start=1):
        picture = read_image(path).pixels
        sheet.paste(square(picture), (column * step, 0))
        style = stylizer.encode_style([picture])
        for row, photo in enumerate(photos, start=1):
            sheet.paste(square(stylizer.transfer(photo, style)), (column * step, row * step))
    return sheet


def main() -> None:
    """Write the sheet that is asked for."""
    sheet = fast_and_fine() if sys.argv[2:] == ["fine"] else gallery()
    write_image(Path(sys.argv[1]), np.asarray(sheet), quality=88, overwrite=True)


if __name__ == "__main__":
    main()
