"""Masks: where a style is painted. White is painted, black stays the photo byte for byte, grey is between.

A mask is a picture in the photo's shape, as ``rembg i -om photo.jpg mask.png`` writes it: its lightness counts, or its
alpha if it is a cut-out. It can also be the photo's own alpha, or a folder with a mask for each photo.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from stylize.errors import InputError, reason, shown
from stylize.images.colour_profile import to_8_bit
from stylize.images.formats import READABLE_SUFFIXES
from stylize.images.reading import Picture, Pixels, read_image
from stylize.options import DEFAULT_MAX_PIXELS
from stylize.styles.arguments import ALPHA

SAME_SHAPE = 0.02  # relative difference of the aspect ratios up to which a mask is resized to its photo
_ROWS = 256  # composed at a time: no copy of a whole picture in wider numbers


def read_mask(
    source: str | os.PathLike[str],
    picture: Picture,
    photo: str | os.PathLike[str] = "",
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Pixels:
    """The mask for a photo, (H, W) uint8.

    Args:
        source: ``alpha``, the path of a picture, or of a folder that holds one with the name of the photo.
        photo: the path of the photo, by whose name its mask is found in a folder.

    Raises:
        InputError: it is missing, unreadable, or of another shape than the photo.
    """
    height, width = picture.pixels.shape[:2]
    if source == ALPHA:
        return np.full((height, width), 255, np.uint8) if picture.alpha is None else to_8_bit(picture.alpha)
    path = Path(source)
    mask = read_image(mask_of_photo(path, os.fspath(photo)) if os.path.isdir(path) else path, max_pixels=max_pixels)
    image = Image.fromarray(mask.pixels).convert("L") if mask.alpha is None else Image.fromarray(mask.alpha)
    if image.size == (width, height):
        return np.asarray(image)
    if abs(image.width * height / (image.height * width) - 1) > SAME_SHAPE:
        raise InputError(
            f"the mask {shown(source)} has {image.width}x{image.height} pixels, the photo {width}x{height}",
            hint="a mask has the shape of its photo",
        )
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def mask_of_photo(folder: Path, photo: str) -> Path:
    """The mask with the name of a photo in a folder of masks, which may be the photo's own. Raises InputError."""
    stem = os.path.splitext(os.path.basename(photo))[0]
    try:
        masks = _masks_in(folder, folder.stat().st_mtime_ns).get(stem, [])
        return next(mask for mask in masks if not (os.path.exists(photo) and os.path.samefile(mask, photo)))
    except OSError as error:
        raise InputError(f"cannot read the masks in {shown(folder)}: {reason(error)}") from error
    except StopIteration:
        raise InputError(
            f"no mask for {shown(os.path.basename(photo))} in {shown(folder)}", hint=f"{shown(stem)}.png"
        ) from None


@lru_cache(maxsize=16)
def _masks_in(folder: Path, changed: int) -> dict[str, list[Path]]:
    """The pictures by their names without suffix, sorted. Listed once, until the folder changes."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in READABLE_SUFFIXES and path.is_file():
            found.setdefault(path.stem, []).append(path)
    return found


def feathered(mask: Pixels, radius: float) -> Pixels:
    """A mask whose edges rise softly over about ``radius`` pixels, from the edge inwards: black stays black.

    A blurred straight edge passes ½ where the edge was; its upper half, stretched, is the ramp.
    """
    if radius <= 0:
        return mask
    blurred = np.asarray(Image.fromarray(mask).filter(ImageFilter.GaussianBlur(radius / 2)))
    ramp = np.maximum(blurred.astype(np.int16) * 2 - 255, 0).astype(np.uint8)
    return np.minimum(mask, ramp)


def composite(below: Pixels, above: Pixels, mask: Pixels) -> Pixels:
    """``below`` where the mask is 0, ``above`` where it is 255, both exactly; mixed between.

    Args:
        below, above: (H, W, 3) of one type.
        mask: (H, W) uint8.
    """
    output = np.empty_like(below)
    for top in range(0, len(below), _ROWS):
        rows = slice(top, top + _ROWS)
        share = mask[rows, :, None].astype(np.uint32)
        output[rows] = (below[rows] * (255 - share) + above[rows] * share + 127) // 255
    return output
