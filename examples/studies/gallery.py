"""Make the README's picture: some photos in some styles. ``python examples/studies/gallery.py gallery.jpg``"""

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


def square(pixels: Pixels) -> Image.Image:
    """The middle of a picture, (CELL, CELL)."""
    image = Image.fromarray(pixels)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.resize((CELL, CELL), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))


def main() -> None:
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
    write_image(Path(sys.argv[1]), np.asarray(sheet), quality=88, overwrite=True)


if __name__ == "__main__":
    main()
