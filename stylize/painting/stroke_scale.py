"""Stroke scale: how wide the strokes are, against those that the generator paints by itself.

*Coarser*, by a factor s > 1, goes from coarse to fine: a copy of the photo reduced by s is painted, enlarged, and given
back the photo's finer detail; this is painted again at full size with the same style. Of the second picture only what
is finer than the first is kept, so that the whole looks like the reduced copy and is still crisp at 100 %:

    coarse = G(↓ photo)        fine = G(↑ coarse + photo − ↑↓ photo)        result = ↑ coarse + fine − ↑↓ fine

(↓ reduces and ↑ enlarges by s; x − ↑↓ x is a level of a Laplacian pyramid, Burt & Adelson 1983.) *Finer*, s < 1, paints
an enlarged copy and reduces the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from stylize.errors import UsageError
from stylize.images.reading import Pixels
from stylize.options import MOST_SCALE

AUTO_PIXELS = 1_000_000  # a larger photo gets, with the automatic scale, the look of its copy of so many pixels
FINE_STROKES = 512 * 512  # pixels of the copy on which, painted finely, strokes are as in the style's pictures
FINE_PIXELS = 650_000  # of a photo that is painted finely, in less than 3 GB; a larger one as a copy of so many
FINE_SIDE = 16  # pixels, the least that the network of fine painting takes
MOST_PIXELS = 1_000_000_000  # of an enlarged copy
_ROWS = 256  # computed at a time: no copy of a whole picture in wider numbers

Transfer = Callable[[Pixels], Pixels]  # a picture -> the same, painted


def auto_scale(photo: Pixels) -> float:
    """The scale at which a photo, as a whole, looks like its 1-megapixel copy; 1 for smaller ones."""
    return float(min(max((photo.shape[0] * photo.shape[1] / AUTO_PIXELS) ** 0.5, 1.0), MOST_SCALE))


def fine_scales(height: int, width: int, stroke: float) -> tuple[float, float]:
    """In which sizes a photo is painted finely, for strokes so wide as on its copy of ``FINE_STROKES`` pixels.

    Args:
        height, width: of the photo.
        stroke: width of the strokes, against those.

    Returns:
        by how much smaller than the photo the copy is that is painted finely, less than 1: larger; and by how much
        smaller again is that on which strokes are as in the style's pictures, 1 or more.
    """
    pixels = height * width
    strokes = min(min(pixels, FINE_STROKES) / stroke**2, FINE_PIXELS)
    painted = min(max(pixels, strokes), FINE_PIXELS)
    thin = max(height, width) * FINE_SIDE / FINE_PIXELS  # a line of pixels is painted as wide as VGG19 needs it
    return float(max((pixels / painted) ** 0.5, thin)), float((painted / strokes) ** 0.5)


def at_stroke_scale(photo: Pixels, scale: float, paint: Transfer, again: Transfer | None = None) -> Pixels:
    """Paint a photo with strokes ``scale`` times as wide.

    Args:
        photo: (H, W, 3) uint8 or uint16.
        scale: 0.25 to 4.
        paint: picture in, painted picture of the same size out.
        again: paints the second pass, which a scale above 1 has; by default ``paint`` does.

    Raises:
        UsageError: the enlarged copy would be too large.
    """
    painted = _resized(paint(_first_pass(photo, scale)), (photo.shape[1], photo.shape[0]))
    if scale <= 1:
        return painted
    fine = (again or paint)(_second_pass(photo, scale, painted))
    return _with_detail(painted, fine, _size(photo, scale))


def without_lattice(pixels: Pixels, scale: float) -> Pixels:
    """A picture that is painted finely, without what alternates from pixel to pixel.

    Optimising leaves such patterns. Enlarged ``scale`` times, they show the lattice of pixels, of which the second pass
    makes straight lines. The binomial filter (1, 2, 1) / 4 takes them out: all from twice the size on, a part before.
    """
    share = min(max(scale - 1, 0.0), 1.0) / 4
    if share == 0:
        return pixels
    values = pixels.astype(np.float32)
    for axis in (0, 1):
        wide = np.pad(values, [(int(axis == k),) * 2 for k in range(3)], mode="edge")
        before, after = (wide.take(range(start, start + values.shape[axis]), axis) for start in (0, 2))
        values = (1 - 2 * share) * values + share * (before + after)
    return np.rint(values).astype(pixels.dtype)


def frozen_passes(
    samples: Sequence[Pixels], scale: float, freeze: Callable[[list[Pixels]], Transfer]
) -> tuple[Transfer, Transfer | None]:
    """What ``at_stroke_scale`` takes as ``paint`` and ``again``, frozen for the frames of a scene.

    Args:
        samples: some of the frames.
        freeze: from what a pass is given of all samples to what paints that pass.
    """
    copies = [_first_pass(sample, scale) for sample in samples]
    paint = freeze(copies)
    if scale <= 1:
        return paint, None
    sizes = [(sample.shape[1], sample.shape[0]) for sample in samples]
    coarse = [_resized(paint(copy), size) for copy, size in zip(copies, sizes, strict=True)]
    return paint, freeze([_second_pass(sample, scale, c) for sample, c in zip(samples, coarse, strict=True)])


def _first_pass(photo: Pixels, scale: float) -> Pixels:
    """What the first pass paints: the photo, its reduced or its enlarged copy. Raises UsageError."""
    size = _size(photo, scale)
    if size[0] * size[1] > MOST_PIXELS and scale < 1:
        raise UsageError(
            f"`style_scale` {scale:g} would enlarge the photo to {size[0]}x{size[1]} pixels", hint="take a larger scale"
        )
    return _resized(photo, size)


def _second_pass(photo: Pixels, scale: float, coarse: Pixels) -> Pixels:
    """What the second pass paints: the first one's result, enlarged to the photo's size, with the photo's detail."""
    return _with_detail(coarse, photo, _size(photo, scale))


def _size(photo: Pixels, scale: float) -> tuple[int, int]:
    """Width and height of the copy."""
    height, width = photo.shape[:2]
    return max(round(width / scale), 1), max(round(height / scale), 1)


def _with_detail(coarse: Pixels, fine: Pixels, size: tuple[int, int]) -> Pixels:
    """``coarse``, plus what ``fine`` has that a copy of it of that size (width, height) has not."""
    smooth = _resized(_resized(fine, size), (fine.shape[1], fine.shape[0]))
    output = np.empty_like(fine)
    for top in range(0, len(fine), _ROWS):
        rows = slice(top, top + _ROWS)
        output[rows] = np.clip(coarse[rows].astype(np.int32) + fine[rows] - smooth[rows], 0, np.iinfo(fine.dtype).max)
    return output


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """The picture at that width and height; itself if it has them."""
    if size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    smaller = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
    method = Image.Resampling.LANCZOS if smaller else Image.Resampling.BICUBIC
    gap = 3.0 if smaller else None
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(pixels).resize(size, method, reducing_gap=gap))
    output = np.empty((size[1], size[0], 3), pixels.dtype)
    for channel in range(3):  # Pillow has no 16-bit colour, but floats
        plane = Image.fromarray(pixels[..., channel].astype(np.float32)).resize(size, method, reducing_gap=gap)
        output[..., channel] = np.clip(np.rint(np.asarray(plane)), 0, np.iinfo(pixels.dtype).max)
    return output
