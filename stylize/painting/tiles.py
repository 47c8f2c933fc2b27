"""Tiles: a photo of any size, painted piece by piece, with the pixels of the whole.

The folded generator is local: a tile that sees ``MARGIN`` pixels around it comes out as it does in the whole picture.
Photo and result are held as bytes, only tiles as floats. Also here: the *proxy*, on which statistics are measured, the
whole of a small photo, of a larger one a fixed grid of windows.
"""

from __future__ import annotations

import math

import numpy as np

from stylize.engines.protocol import Engine, Painter
from stylize.images.reading import Pixels
from stylize.networks.plan import BORDER, MARGIN, STRIDE, Margins, Position

WHOLE_PROXY = 2_100_000  # pixels: smaller photos, up to full HD, are their own proxy, and done in one pass
PROXY_GRID, PROXY_WINDOW = 3, 256  # of larger ones: a grid of 3×3 windows of 256×256 pixels
LEAST_TILE = 128  # pixels: with smaller tiles most of the work would go into margins


def is_own_proxy(height: int, width: int) -> bool:
    """Whether a photo is so small that it is measured, and done, as a whole."""
    return height * width <= WHOLE_PROXY


def proxy(height: int, width: int, *, whole: bool = True) -> tuple[list[Position], tuple[int, int]]:
    """What the statistics of a photo are measured on: the corners of windows, and their height and width.

    ``whole``: a small photo stands for itself.
    """
    if whole and is_own_proxy(height, width):
        return [(0, 0)], (aligned(height), aligned(width))
    tops, lefts = (
        np.linspace(0, max(side - PROXY_WINDOW, 0) // 2, PROXY_GRID).astype(int) * 2 for side in (height, width)
    )
    return [(int(top), int(left)) for top in tops for left in lefts], (PROXY_WINDOW, PROXY_WINDOW)


def planned_tile(engine: Engine) -> int:
    """The side of the fastest tile that takes at most half of the memory that is free."""
    memory = engine.free_memory()
    if memory is None:
        return engine.best_tile
    side = math.isqrt(memory // 2 // engine.bytes_per_pixel) - 2 * MARGIN
    return max(min(side // STRIDE * STRIDE, engine.best_tile), LEAST_TILE)


def paint_tiles(paint: Painter, photo: Pixels, side: int, corner: Position = (0, 0)) -> Pixels:
    """Paint a photo tile by tile; none is larger than ``side``², rounded up to the stride.

    ``corner``: where the photo's upper left pixel lies on the grain; even numbers.
    """
    height, width = photo.shape[:2]
    output = np.empty_like(photo, order="C")
    rows, columns = _cuts(height, side), _cuts(width, side)
    for top, tile_h, above, below in rows:
        for left, tile_w, before, after in columns:
            margins = Margins(above, below, before, after)
            tile = window_at(photo, top, left, tile_h, tile_w, margins)[None]
            origin = (corner[0] + top - above, corner[1] + left - before)
            pixels = to_pixels(paint(to_cells(tile), origin, margins))[0]
            bottom, right = min(top + tile_h, height), min(left + tile_w, width)
            output[top:bottom, left:right] = pixels[: bottom - top, : right - left]
    return output


def _cuts(size: int, tile: int) -> list[tuple[int, int, int, int]]:
    """Cut ``size`` pixels into about equal tiles of at most ``tile``, rounded up to the stride.

    Returns:
        of each, where it starts, how long it is, and how many pixels of surroundings it needs before and after it:
        ``MARGIN``, but never more than ``BORDER`` beyond the photo's border.
    """
    end = aligned(size)
    count = -(-end // aligned(tile))
    length = aligned(-(-end // count))
    cuts = []
    for start in range(0, end, length):
        stop = min(start + length, end)
        cuts.append((start, stop - start, min(MARGIN, start + BORDER), min(MARGIN, end - stop + BORDER)))
    return cuts


def window_at(photo: Pixels, top: int, left: int, height: int, width: int, margins: Margins) -> Pixels:
    """The window with ``margins`` pixels around it.

    Beyond its border the photo goes on as its own mirror image, as often as it takes.
    """
    first_row, last_row = top - margins.top, top + height + margins.bottom
    first_column, last_column = left - margins.left, left + width + margins.right
    if first_row >= 0 and first_column >= 0 and last_row <= photo.shape[0] and last_column <= photo.shape[1]:
        return photo[first_row:last_row, first_column:last_column]
    rows = _mirrored(np.arange(first_row, last_row), photo.shape[0])
    columns = _mirrored(np.arange(first_column, last_column), photo.shape[1])
    inner = slice(max(first_column, 0), min(last_column, photo.shape[1]))
    before, after = inner.start - first_column, inner.stop - first_column
    # Single columns are slow to gather: only those beyond the border are.
    parts = (photo[rows[:, None], columns[:before]], photo[rows, inner], photo[rows[:, None], columns[after:]])
    return np.concatenate(parts, axis=1)


def _mirrored(index: np.ndarray, size: int) -> np.ndarray:
    """Fold any integers into 0 … size − 1 by reflection that does not repeat the border: … 2 1 0 1 2 …"""
    if size == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * size - 2)
    return np.minimum(index, 2 * size - 2 - index)


def aligned(size: int) -> int:
    """A number of pixels, rounded up to the stride."""
    return -(-size // STRIDE) * STRIDE


def to_cells(pixels: Pixels) -> Pixels:
    """(B, H, W, 3) -> (B, 12, H/2, W/2): the four pixels of a cell in channels, as torch's ``pixel_unshuffle``.

    The channels are last in memory.
    """
    count, height, width, _ = pixels.shape
    cells = np.empty((count, height // 2, width // 2, 12), pixels.dtype)
    for channel in range(12):
        colour, row, column = channel // 4, channel // 2 % 2, channel % 2
        cells[..., channel] = pixels[:, row::2, column::2, colour]
    return cells.transpose(0, 3, 1, 2)


def to_pixels(cells: Pixels) -> Pixels:
    """(B, 12, h, w) -> (B, 2h, 2w, 3): the inverse."""
    count, _, height, width = cells.shape
    pixels = np.empty((count, 2 * height, 2 * width, 3), cells.dtype)
    for channel in range(12):
        colour, row, column = channel // 4, channel // 2 % 2, channel % 2
        pixels[:, row::2, column::2, colour] = cells[:, channel]
    return pixels
