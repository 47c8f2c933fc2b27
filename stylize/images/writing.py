"""Pixels out: where image files are encoded.

:func:`write_image` turns plain ``(H, W, 3)`` sRGB pixels into a file that is either complete or absent, with the
metadata and in the colours of the picture that they were made from.
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageColor

from stylize.errors import OutputError, UsageError, reason, shown
from stylize.files.atomic import write_atomically
from stylize.images.colour_profile import Pixels, ProfileError, to_8_bit
from stylize.images.formats import (
    CMYK_FORMATS,
    DEEP_FORMATS,
    OPAQUE_FORMATS,
    PROFILE_FORMATS,
    check_size,
    format_of,
    written_format,
)
from stylize.images.metadata import SRGB, UNCALIBRATED, Metadata, kept_metadata, save_options
from stylize.images.reading import Picture
from stylize.images.sixteen_bit import encode_deep_png
from stylize.images.tiff import encode_tiff
from stylize.options import ImageOptions


class Encoded(NamedTuple):
    """The bytes of an image file, and what its format could not hold."""

    data: bytes
    warnings: tuple[str, ...]


def write_image(
    target: str | os.PathLike[str] | BinaryIO,
    pixels: Pixels,
    *,
    like: Picture | None = None,
    alpha: Pixels | None = None,
    format: str | None = None,
    quality: int = ImageOptions.quality,
    metadata: str = ImageOptions.metadata,
    background: str | None = None,
    overwrite: bool = False,
    modified: int | None = None,
) -> tuple[str, ...]:
    """Encode (see :func:`encode_image`) and write, completely or not at all.

    Args:
        format: else the suffix of the path decides; for a stream, the format of ``like``, else PNG.
        overwrite: replace an existing file; says nothing about streams.
        modified: the file's modification time, in nanoseconds; by default now.

    Returns:
        Warnings: what the format could not hold.

    Raises:
        OutputError: as :func:`format_of`, :func:`encode_image` and :func:`write_atomically`.
    """
    if isinstance(target, str | os.PathLike):
        target = Path(target)
        format = format or format_of(target)
    encoded = encode_image(
        pixels,
        like=like,
        alpha=alpha,
        format=format,
        quality=quality,
        metadata=metadata,
        background=background,
    )
    write_encoded(target, encoded.data, overwrite=overwrite, modified=modified)
    return encoded.warnings


def write_encoded(target: Path | BinaryIO, data: bytes, *, overwrite: bool, modified: int | None = None) -> None:
    """Write the bytes of a picture, completely or not at all; see ``write_image``. Raises OutputError."""
    if isinstance(target, Path):
        write_atomically(target, data, overwrite=overwrite, modified=modified)
        return
    try:
        target.write(data)
        target.flush()
    except BrokenPipeError:  # the reader had enough: no error
        raise
    except OSError as error:
        raise OutputError(f"cannot write {shown(getattr(target, 'name', 'stream'))}: {reason(error)}") from error


def encode_image(
    pixels: Pixels,
    *,
    like: Picture | None = None,
    alpha: Pixels | None = None,
    format: str | None = None,
    quality: int = ImageOptions.quality,
    metadata: str = ImageOptions.metadata,
    background: str | None = None,
) -> Encoded:
    """Pixels -> the bytes of an image file; equal input gives equal bytes.

    Args:
        pixels: (H, W, 3) uint8 or uint16, sRGB. PNG and TIFF hold 16 bits; for other formats they are rounded.
        like: the picture whose metadata, texts, colour profile and, failing ``format``, format are kept; not its
            alpha. Where ``pixels`` equals its pixels, the file's own values are written.
        alpha: (H, W) of the type of ``pixels``.
        format: one of :data:`FORMATS`.
        quality: 1..100, for JPEG (always 4:4:4), WebP and AVIF.
        metadata: of ``like``: ``keep``, ``no-gps`` to leave out where it was taken, ``strip`` to leave out all but the
            colour profile.
        background: the colour, as CSS names it, under transparent pixels in formats that cannot hold them; by default
            white, with a warning.

    Raises:
        OutputError: the picture is too large for the format.
        UsageError: ``background`` is no colour.
    """
    if format is None:
        format = written_format(like.format) if like else "PNG"
    height, width = pixels.shape[:2]
    check_size(width, height, format, pixel_bytes(pixels, alpha))
    notes: list[str] = []
    if pixels.dtype == np.uint16 and format not in DEEP_FORMATS:
        notes.append(f"{format} holds 8 bits a channel: 16-bit colour was rounded")
        pixels, alpha = to_8_bit(pixels), None if alpha is None else to_8_bit(alpha)
        if like is not None:
            native = None if like.native is None else like.native.to_8_bit()
            like = replace(like, pixels=to_8_bit(like.pixels), native=native)
    if alpha is not None and format in OPAQUE_FORMATS:
        if background is None:
            notes.append(f"{format} cannot hold transparency: laid on white")
        ground = Image.new("RGB", (width, height), parse_colour(background or "white"))
        ground.paste(Image.fromarray(pixels), mask=Image.fromarray(alpha))
        pixels, alpha = np.asarray(ground), None
    values, profile = _in_native_colours(pixels, like, format, alpha, notes)
    if format == "GIF":
        notes.append("GIF holds 256 colours, each opaque or fully transparent")
    is_srgb = profile is None or (like is not None and like.native is not None and like.native.values is None)
    found = Metadata() if like is None else Metadata(like.exif, like.xmp, like.dpi, like.texts, like.lost)
    kept = kept_metadata(found, metadata, SRGB if is_srgb else UNCALIBRATED, notes, size=(width, height))
    options = save_options(kept, format, notes) | ({"icc_profile": profile} if profile else {})
    try:
        data = _encoded(values, alpha, format, options | _quality(format, quality), notes)
    except (OSError, ValueError, struct.error) as error:  # such as more than 4 GB in a TIFF
        raise OutputError(f"cannot encode {width}x{height} pixels as {format}: {reason(error)}") from error
    return Encoded(data, tuple(notes))


def pixel_bytes(pixels: Pixels, alpha: Pixels | None) -> int:
    """How many bytes a pixel takes where nothing is compressed."""
    return pixels.itemsize * (3 if alpha is None else 4)


def parse_colour(name: str) -> tuple[int, int, int]:
    """``#rrggbb`` or a colour's CSS name. Raises UsageError."""
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise UsageError(f"`background` {shown(name[:40])}: no such colour", hint="as in '#ffffff' or white") from error


def _in_native_colours(
    pixels: Pixels, like: Picture | None, format: str, alpha: Pixels | None, notes: list[str]
) -> tuple[Pixels, bytes | None]:
    """The values to be written, (H, W, 3) or for CMYK (H, W, 4), and their ICC profile; None means sRGB, untagged."""
    native = like.native if like else None
    if like is None or native is None or format not in PROFILE_FORMATS:
        return pixels, None
    if native.mode == "CMYK" and (format not in CMYK_FORMATS or alpha is not None):
        return pixels, None
    try:
        return native.give_back(pixels, like.pixels), native.profile
    except ProfileError:
        notes.append("its colour profile works in one direction only: written as sRGB")
        return pixels, None


def _encoded(values: Pixels, alpha: Pixels | None, format: str, options: dict[str, Any], notes: list[str]) -> bytes:
    """The bytes of a file; what may go wrong is Pillow's."""
    if format == "TIFF" or values.dtype == np.uint16:
        layers = values if alpha is None else np.dstack([values, alpha])
        if format == "PNG":
            return encode_deep_png(layers, options)
        left_out: list[str] = []
        data = encode_tiff(layers, alpha=alpha is not None, left_out=left_out, **options)
        if left_out:
            notes.append(f"EXIF tags that TIFF readers complain about were left out: {', '.join(left_out)}")
        return data
    image = Image.fromarray(values, mode="CMYK") if values.shape[2] == 4 else Image.fromarray(values)
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def _quality(format: str, quality: int) -> dict[str, Any]:
    """What Pillow's save() is to be told of the pixels."""
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"quality": quality, "exact": True},  # exact: keep the colours under transparent pixels
        "AVIF": {"quality": quality, "subsampling": "4:4:4"},
    }
    return options.get(format, {})
