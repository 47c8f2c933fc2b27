"""TIFF files out: pixels of 8 or 16 bits with a photo's EXIF, which stays where it stood.

The file begins with the photo's EXIF block, so that the offsets in maker notes hold; pixels follow, and at the end the
directories, written anew (TIFF 6.0). They hold only what libtiff reads without a warning.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylize.images.exif import (
    EXIF,
    GPS,
    INTEROP,
    LONG,
    MAIN,
    POINTERS,
    RATIONAL,
    SHORT,
    SUB_IFDS,
    Exif,
    Tag,
    name_of,
    parse_block,
    table,
)
from stylize.images.texts import IPTC_TAG

XMP_TAG, PROFILE_TAG, STRIP_BYTES = 700, 34675, 1 << 18
BYTE, UNDEFINED = 1, 7


def encode_tiff(
    values: NDArray[Any],
    *,
    alpha: bool = False,
    exif: bytes | None = None,
    xmp: bytes | None = None,
    iptc: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    icc_profile: bytes | None = None,
    left_out: list[str],
) -> bytes:
    """An uncompressed TIFF file.

    Args:
        values: (H, W, C) uint8 or uint16: RGB, or CMYK, or RGB and alpha, which is not multiplied.
        exif: a block as ``stylize.images.exif`` writes it.
        left_out: where the names of tags go that libtiff would complain about.

    Raises:
        ValueError: the file would be longer than 4 GB.
    """
    height, width, channels = values.shape
    if values.nbytes + sum(len(part or b"") for part in (exif, xmp, iptc, icc_profile)) > 2**32 - 2**20:
        raise ValueError("more than 4 GB")
    source = parse_block(exif) if exif else Exif("<", None)
    head = (exif or b"II*\0\0\0\0\0").removeprefix(b"Exif\0\0")
    head += bytes(-len(head) % 4)
    order = source.order
    rows = max(1, STRIP_BYTES // (width * channels * values.itemsize))
    stripes = [values[top : top + rows].nbytes for top in range(0, height, rows)]
    offsets = [len(head) + sum(stripes[:k]) for k in range(len(stripes))] if len(stripes) < 64 else None
    if offsets is None:
        offsets = [int(o) + len(head) for o in np.cumsum([0, *stripes[:-1]], dtype=np.int64)]
    colour = {262: [5], 332: [1]} if channels == 4 and not alpha else {262: [2]}
    layout: dict[int, Tag] = {}
    for number, numbers in {
        **{256: [width], 257: [height], 258: [8 * values.itemsize] * channels, 259: [1], **colour},
        **{273: offsets, 277: [channels], 278: [rows], 279: stripes, 284: [1], **({338: [2]} if alpha else {})},
    }.items():
        type, letter = (LONG, "I") if number in (256, 257, 273, 278, 279) else (SHORT, "H")
        layout[number] = Tag(number, type, len(numbers), struct.pack(f"{order}{len(numbers)}{letter}", *numbers))
    main = {tag.number: tag for tag in _readable(source, MAIN, left_out)}
    layout |= _resolution(order, dpi, main)
    for number, type, data in ((XMP_TAG, BYTE, xmp), (IPTC_TAG, UNDEFINED, iptc), (PROFILE_TAG, UNDEFINED, icc_profile)):
        if data:
            layout[number] = Tag(number, type, len(data), data)
    tables = {name: {t.number: t for t in _readable(source, name, left_out)} for name in (INTEROP, GPS, EXIF)}
    tables[MAIN] = main | layout
    tail = bytearray()
    start = len(head) + values.nbytes
    start += start % 2
    places: dict[str, int] = {}
    for name in (INTEROP, GPS, EXIF, MAIN):  # each is there before what points to it
        tags = [tables[name][number] for number in sorted(tables[name])]
        tags = [tag for tag in tags if POINTERS.get(tag.number, MAIN) in (MAIN, *places)]
        if not tags:
            continue
        for k, tag in enumerate(tags):
            if tag.at is None and len(tag.value) > 4:
                tail += bytes(len(tail) % 2)
                tags[k] = Tag(tag.number, tag.type, tag.count, tag.value, start + len(tail))
                tail += tag.value
        tail += bytes(len(tail) % 2)
        places[name] = start + len(tail)
        tail += table(order, tags, places)
    first = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, places[MAIN])
    pixels = np.ascontiguousarray(values.astype(f"{order}u{values.itemsize}", copy=False))
    return b"".join([first, head[8:], pixels.data.cast("B"), bytes((len(head) + values.nbytes) % 2), tail])


def _resolution(order: str, dpi: tuple[float, float] | None, main: dict[int, Tag]) -> dict[int, Tag]:
    """Tags of the resolution, which TIFF demands: in inches, or what the photo says, or none."""
    if dpi is None and {282, 283} <= main.keys():
        return {}
    numbers = [(round(v * 10_000), 10_000) for v in dpi] if dpi else [(1, 1), (1, 1)]
    sides = {n: Tag(n, RATIONAL, 1, struct.pack(order + "II", *v)) for n, v in zip((282, 283), numbers, strict=True)}
    return sides | {296: Tag(296, SHORT, 1, struct.pack(order + "H", 2 if dpi else 1))}


def _readable(source: Exif, directory: str, left_out: list[str]) -> list[Tag]:
    """The tags of a directory that libtiff reads without a warning; sides in pixels in the type that it expects."""
    kept = []
    for tag in source.directories[directory].tags if directory in source.directories else []:
        if tag.number in POINTERS:
            kept.append(tag)
            continue
        kept.append(tag)
    return kept


_ = (SUB_IFDS, name_of)
