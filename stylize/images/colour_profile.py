"""Colour profiles: from a file's own numbers to sRGB, and back into them.

Networks see sRGB. A photo in Display P3, Adobe RGB or CMYK is converted on its way in, and its result is given back in
the photo's own profile: *what is not stylised keeps the file's own numbers*, pixel for pixel, also where sRGB could not
hold them; what is, is converted. Eight bits go through littleCMS. Its Python binding knows no 16-bit colour, so for
that the profiles of displays and cameras (three curves and a matrix, ICC.1:2022 section 8.3.3) are read here.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Pixels = NDArray[np.uint8 | np.uint16]

SAME = 1  # steps of 255: a profile that moves no colour by more is sRGB under another name
STRIP = 256  # rows that are converted at a time in floating point
INVERSE_STEPS = 1 << 18  # of a curve's inverse, evenly in the square root of light: fine where eyes are


class ProfileError(ValueError):
    """A profile that is damaged, or made for other pixels."""


@dataclass(frozen=True, eq=False)
class Native:
    """The colours of a file before they were converted to sRGB.

    Attributes:
        profile: the ICC profile that gives them their meaning.
        values: (H, W, 3) RGB or (H, W, 4) CMYK, 8 or 16 bits, upright; None if they are the sRGB pixels themselves.
    """

    profile: bytes
    values: Pixels | None

    @property
    def mode(self) -> str:
        """RGB or CMYK"""
        return "CMYK" if self.values is not None and self.values.shape[2] == 4 else "RGB"

    def to_8_bit(self) -> Native:
        """The same at 8 bits."""
        return self if self.values is None else replace(self, values=to_8_bit(self.values))

    def give_back(self, pixels: Pixels, reading: Pixels) -> Pixels:
        """A result in the file's colours.

        Args:
            pixels: (H, W, 3), sRGB.
            reading: the sRGB pixels as they were read; where ``pixels`` equals them, the file's own values are taken.

        Raises:
            ProfileError: the profile only leads out of its colours, not into them.
        """
        if self.values is None:
            return pixels
        if pixels.dtype == np.uint16:
            source, target = _curves_and_matrix(_srgb_profile()), _curves_and_matrix(self.profile)
            if source is None or target is None:
                raise ProfileError("16-bit colours of a table profile")
            converted = _convert(pixels, source, target)
        else:
            image = _apply(Image.fromarray(pixels), _srgb(), _open(self.profile), self.mode)
            converted = np.array(image)
        if reading.shape == pixels.shape:
            for top in range(0, len(pixels), STRIP):
                rows = slice(top, top + STRIP)
                untouched = (pixels[rows] == reading[rows]).all(axis=2)
                converted[rows][untouched] = self.values[rows][untouched]
        return converted


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, Native | None]:
    """8-bit pixels of mode L, RGB, CMYK or LAB -> RGB in sRGB, and the native colours if they can be given back.

    Raises:
        ProfileError: the profile is unusable.
    """
    if image.mode == "LAB":  # Pillow has no conversion of its own; the profile of a Lab picture says nothing more
        return _apply(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), _srgb(), "RGB"), None
    if not profile:
        return image.convert("RGB"), None
    opened = _open(profile)
    space = opened.profile.xcolor_space.strip()
    if image.mode == "L" and space == "RGB":  # common: a grey JPEG tagged sRGB
        image = image.convert("RGB")
    if space != {"L": "GRAY"}.get(image.mode, image.mode):
        raise ProfileError(f"a {space} profile on {image.mode} pixels")
    if image.mode == "RGB" and _is_srgb(opened):
        return image, Native(profile, None)
    converted = _apply(image, opened, _srgb(), "RGB")
    return converted, None if image.mode == "L" else Native(profile, np.asarray(image))


def to_srgb_16(values: NDArray[np.uint16], profile: bytes | None) -> tuple[NDArray[np.uint16], Native | None] | None:
    """16-bit pixels, (H, W, 1) grey or (H, W, 3) RGB -> (H, W, 3) in sRGB, and the native colours, as :func:`to_srgb`.

    None if the profile is sound, but not one of curves and a matrix for such pixels.

    Raises:
        ProfileError: it is damaged.
    """
    grey = values.shape[2] == 1
    rgb = np.repeat(values, 3, axis=2) if grey else values
    if not profile:
        return rgb, None
    source, target = _curves_and_matrix(profile), _curves_and_matrix(_srgb_profile())
    if source is None or target is None or (source.grey and not grey):
        _open(profile)
        return None
    native = None if source.grey else Native(profile, rgb)
    grid = _grid(9).astype(np.uint16) * 257
    if np.abs(_convert(grid, source, target).astype(int) - grid).max() <= SAME * 257:
        return rgb, native and Native(profile, None)
    return _convert(rgb, source, target), native


def to_8_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Sixteen bits rounded to eight; eight as they are."""
    if values.dtype == np.uint8:
        return values
    return np.concatenate([_rounded(values[k : k + STRIP]) for k in range(0, len(values), STRIP)])


def _rounded(values: NDArray[Any]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return rounded


# littleCMS


def _open(profile: bytes) -> ImageCms.ImageCmsProfile:
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        raise ProfileError(str(error)) from error


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@cache
def _srgb_profile() -> bytes:
    return _srgb().tobytes()


def _apply(
    image: Image.Image, source: ImageCms.ImageCmsProfile, target: ImageCms.ImageCmsProfile, mode: str
) -> Image.Image:
    try:
        transform = ImageCms.buildTransform(
            source,
            target,
            image.mode,
            mode,
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        converted = ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        raise ProfileError(str(error)) from error
    assert converted is not None  # None only for in-place work
    return converted


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    """Whether a profile moves no colour of a 9x9x9 grid: converting would only add rounding."""
    grid = _grid(9)
    moved = np.asarray(_apply(Image.fromarray(grid), profile, _srgb(), "RGB"))
    return bool(np.abs(moved.astype(int) - grid).max() <= SAME)


def _grid(steps: int) -> NDArray[np.uint8]:
    """All colours of a grid, (steps³, 1, 3)."""
    return np.stack(np.meshgrid(*[np.linspace(0, 255, steps)] * 3), axis=-1).reshape(-1, 1, 3).astype(np.uint8)


# Curves and a matrix


@dataclass(frozen=True, eq=False)
class _CurvesAndMatrix:
    """A display profile: light = matrix · curve(value), light as CIE XYZ under D50.

    Attributes:
        curves: (3, 65536) float32, rising from 0 to 1.
        matrix: (3, 3)
        grey: it is for grey values; the curves are equal and the matrix is that of sRGB.
    """

    curves: NDArray[np.float32]
    matrix: NDArray[np.float64]
    grey: bool


@cache
def _curves_and_matrix(profile: bytes) -> _CurvesAndMatrix | None:
    """Parse an ICC profile; None if it is damaged, works by tables, or is not for RGB or grey values."""
    try:
        (count,) = struct.unpack_from(">I", profile, 128)
        entries = [struct.unpack_from(">4sII", profile, 132 + 12 * k) for k in range(min(count, 200))]
        tags = {name: profile[offset : offset + size] for name, offset, size in entries}
        if b"A2B0" in tags or b"A2B1" in tags or profile[20:24] != b"XYZ ":
            return None
        if profile[16:20] == b"GRAY":
            srgb = _curves_and_matrix(_srgb_profile())
            assert srgb is not None
            return _CurvesAndMatrix(np.stack([_curve(tags[b"kTRC"])] * 3), srgb.matrix, True)
        if profile[16:20] != b"RGB ":
            return None
        columns = [struct.unpack_from(">3i", tags[name], 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
        matrix = np.array(columns, np.float64).T / 65536
        if abs(np.linalg.det(matrix)) < 1e-6:
            return None
        return _CurvesAndMatrix(np.stack([_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")]), matrix, False)
    except (struct.error, KeyError, ValueError):
        return None


def _curve(tag: bytes) -> NDArray[np.float32]:
    """A tone curve, sampled at the 65536 values: ``curv`` (ICC.1:2022, 10.6) or ``para`` (10.18)."""
    x = np.linspace(0, 1, 65536)
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            y = x
        elif count == 1:
            y = x ** (struct.unpack_from(">H", tag, 12)[0] / 256)
        else:
            table = np.frombuffer(tag, ">u2", count, 12) / 65535
            y = np.interp(x, np.linspace(0, 1, count), table)
    elif tag[:4] == b"para":
        kind = struct.unpack_from(">H", tag, 8)[0]
        numbers = [v / 65536 for v in struct.unpack_from(f">{(1, 3, 4, 5, 7)[kind] if kind < 5 else 99}i", tag, 12)]
        g, a, b, c, d, e, f = _parameters(kind, numbers)
        with np.errstate(all="ignore"):  # what overflows is refused below
            y = np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)
    else:
        raise ValueError("not a curve")
    if not np.isfinite(y).all() or (np.diff(y) < 0).any() or y[-1] <= y[0]:
        raise ValueError("not a rising curve")
    return np.clip(y, 0, 1).astype(np.float32)


def _parameters(kind: int, numbers: list[float]) -> tuple[Any, ...]:
    """g, a, b, c, d, e, f of the five kinds of parametric curves: (a x + b)^g + e from d on, c x + f below."""
    g, a, b, c, d, e, f = (*numbers, *[0.0] * (7 - len(numbers)))
    if kind == 0:
        return g, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if kind == 1:
        return g, a, b, 0.0, -b / a if a else 0.0, 0.0, 0.0
    if kind == 2:
        return g, a, b, 0.0, -b / a if a else 0.0, c, c
    return g, a, b, c, d, e, f


def _convert(values: NDArray[Any], source: _CurvesAndMatrix, target: _CurvesAndMatrix) -> NDArray[np.uint16]:
    """(H, W, 3) from one profile to another; colours outside the target's gamut are clipped."""
    matrix = (np.linalg.inv(target.matrix) @ source.matrix).astype(np.float32)
    inverses = [_inverse(curve) for curve in target.curves]
    converted = np.empty_like(values)
    for top in range(0, len(values), STRIP):
        strip = values[top : top + STRIP]
        light = np.stack([source.curves[c][strip[..., c]] for c in range(3)], axis=-1) @ matrix.T
        steps = (np.sqrt(np.clip(light, 0, 1)) * (INVERSE_STEPS - 1) + 0.5).astype(np.int32)
        for c in range(3):
            converted[top : top + STRIP, :, c] = inverses[c][steps[..., c]]
    return converted


def _inverse(curve: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The value for each amount of light (k / INVERSE_STEPS)²."""
    light = np.linspace(0, 1, INVERSE_STEPS) ** 2
    value = np.interp(light, curve.astype(np.float64), np.arange(65536))
    return np.rint(value).astype(np.uint16)
