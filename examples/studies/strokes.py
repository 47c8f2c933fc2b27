"""What ``--style-scale auto`` does to a 12-megapixel picture: ``python examples/studies/strokes.py strokes.jpg``

There is no photo of that size that may be passed on here, so one is computed: hills from the air, with detail at every
scale as a photo has. For three styles, from left to right: the whole of its 1-megapixel copy, painted; the whole of the
12 megapixels, as painted without and with ``--style-scale auto``; and of both, a piece at 100 %.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from stylize import Stylizer
from stylize.images.reading import Pixels, read_image
from stylize.images.sheet import labelled_sheet
from stylize.images.writing import write_image
from stylize.painting.stroke_scale import at_stroke_scale, auto_scale

EXAMPLES = Path(__file__).parent.parent
STYLES = ("swirls", "ink", "watercolour")
WIDTH, HEIGHT = 4000, 3000  # pixels
CELL = (300, 225)


def hills(width: int, height: int, seed: int = 4) -> Pixels:
    """A landscape from above, in evening light: (height, width, 3) uint8.

    Heights are noise whose spectrum falls as that of terrain does (spectral synthesis: Peitgen & Saupe, "The Science of
    Fractal Images", 1988); colours go by height and slope, light comes from the upper left.
    """
    random = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    noise = random.normal(size=(2, *frequency.shape)) * frequency**-1.85
    terrain = np.fft.irfft2(noise[0] + 1j * noise[1], s=(height, width)).astype(np.float32)
    terrain = (terrain - terrain.min()) / np.ptp(terrain)
    slope_y, slope_x = np.gradient(terrain * 900)
    light = np.clip((0.6 * slope_x + 0.4 * slope_y + 0.7) / np.sqrt(1 + slope_x**2 + slope_y**2), 0.06, 1)
    stops = np.array([0.0, 0.38, 0.42, 0.55, 0.7, 0.85, 1.0])
    colours = np.array([
        [18, 48, 92], [40, 96, 130], [214, 190, 130], [92, 130, 62], [120, 92, 66], [150, 140, 132], [250, 250, 252],
    ])  # fmt: skip
    pixels = np.stack([np.interp(terrain, stops, channel) for channel in colours.T], axis=-1)
    water = terrain < stops[1] + 0.02
    return np.clip(pixels * np.where(water, 0.75, light)[..., None] * 1.25, 0, 255).astype(np.uint8)


def main() -> None:
    """A row for each style."""
    stylizer = Stylizer()
    photo = hills(WIDTH, HEIGHT)
    scale = auto_scale(photo)
    copy = np.asarray(Image.fromarray(photo).resize((round(WIDTH / scale), round(HEIGHT / scale))))
    left, top = (WIDTH - CELL[0]) // 2, (HEIGHT - CELL[1]) // 2
    rows = []
    for name in STYLES:
        style = stylizer.encode_style([read_image(EXAMPLES / "styles" / f"{name}.jpg").pixels])
        small, plain = stylizer.transfer(copy, style), stylizer.transfer(photo, style)
        auto = at_stroke_scale(photo, scale, partial(stylizer.transfer, style=style))
        wholes = {f"{name}, 1-megapixel copy": small, "12 megapixels": plain, f"auto, {scale:.1f} times": auto}
        cells = [(label, Image.fromarray(p).resize(CELL, Image.Resampling.LANCZOS)) for label, p in wholes.items()]
        for label, p in (("12 megapixels at 100 %", plain), ("auto at 100 %", auto)):
            cells.append((label, Image.fromarray(p[top : top + CELL[1], left : left + CELL[0]])))
        rows.append(cells)
    write_image(Path(sys.argv[1]), labelled_sheet(rows, CELL), quality=80, overwrite=True)


if __name__ == "__main__":
    main()
