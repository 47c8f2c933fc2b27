"""TIFF files out: pixels of 8 or 16 bits with a photo's EXIF, which stays where it stood.

The file begins with the photo's EXIF block, so that the offsets in maker notes hold; pixels follow, and at the end the
directories, written anew (TIFF 6.0). They hold what libtiff reads without a warning: some readers take each for an
error. The Interop directory is not among it: it says that a file is a JPEG after the rules of DCF.
"""

from __future__ import annotations

import struct
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylize.images.exif import (
    EXIF,
    GPS,
    LONG,
    MAIN,
    POINTERS,
    RATIONAL,
    SHORT,
    Exif,
    Tag,
    name_of,
    parse_block,
    table,
)
from stylize.images.texts import IPTC_TAG

XMP_TAG, PROFILE_TAG, STRIP_BYTES = 700, 34675, 1 << 18
BYTE, ASCII, UNDEFINED, SRATIONAL, DOUBLE, UTF_8 = 1, 2, 7, 10, 12, 129
# What libtiff (4.5, its tif_dirinfo.c) takes without a warning: numbers of tags by type, and how many values.
_TEXTS = frozenset({269, 270, 271, 272, 285, 305, 306, 315, 316, 333, 337, 33432})
_TYPES: dict[str, dict[int, set[int]]] = {
    MAIN: {
        BYTE: {336},
        ASCII: {34737},  # GeoTIFF's stay although libtiff names them: they are what such a file is for
        SHORT: {263, 264, 265, 274, 296, 297, 336, 34735},
        RATIONAL: {282, 283, 286, 287, 318, 319},
        DOUBLE: {33550, 33922, 34264, 34736},
    },
    EXIF: {
        ASCII: {34852, 36867, 36868, 36880, 36881, 36882, *range(37520, 37523), 40964, 42016}
        | {42032, 42033, *range(42035, 42038)},
        SHORT: {34850, 34855, 34864, 37383, 37384, 37385, 37396, 40961, 41488, 41492, 41495, *range(41985, 41988)}
        | {41989, 41990, *range(41992, 41995), 41996, 42080, 42081},
        LONG: {*range(34865, 34870), 40962, 40963},
        RATIONAL: {33434, 33437, 37122, 37378, 37381, 37382, 37386, 37889, 37890, 37892, 41483, 41486, 41487, 41493}
        | {41988, 41991, 42034, 42240},
        SRATIONAL: {37377, 37379, 37380, 37888, 37891, 37893},
        UNDEFINED: {34856, 36864, 37121, 37500, 37510, 40960, 41484, 41728, 41729, 41730, 41995, 42082},
    },
    GPS: {
        BYTE: {0, 5},
        ASCII: {1, 3, 8, 9, 10, 12, 14, 16, 18, 19, 21, 23, 25, 29},
        SHORT: {30},
        RATIONAL: {2, 4, 6, 7, 11, 13, 15, 17, 20, 22, 24, 26, 31},
        UNDEFINED: {27, 28},
    },
}
_COUNTS: dict[str, dict[int, int]] = {
    MAIN: {274: 1, 282: 1, 283: 1, 296: 1, 297: 2, 318: 2, 319: 6, 336: 2},
    EXIF: {36867: 20, 36868: 20, 36880: 7, 36881: 7, 36882: 7, 40964: 13, 42016: 33, 41492: 2, 42081: 2, 42034: 4}
    | {36864: 4, 37121: 4, 40960: 4, 41728: 1, 41729: 1}
    | dict.fromkeys([33434, 33437, 37122, *range(37377, 37387), *range(37888, 37894), 40961, 40962, 40963, 42240], 1)
    | dict.fromkeys(
        [34850, 34864, *range(34865, 34870), 41483, 41486, 41487, 41488, 41493, 41495, *range(41985, 41995)], 1
    )
    | {41996: 1, 42080: 1},
    GPS: {0: 4, 2: 3, 4: 3, 7: 3, 20: 3, 22: 3, 29: 11, **dict.fromkeys([1, 3, 9, 10, 12, 14, 16, 19, 21, 23, 25], 2)}
    | dict.fromkeys([5, 6, 11, 13, 15, 17, 24, 26, 30, 31], 1),
}


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
    offsets = list(accumulate(stripes[:-1], initial=len(head)))
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
    if iptc:  # as exiftool and libtiff have it: whole words of 4 bytes, in no byte order
        words = iptc + bytes(-len(iptc) % 4)
        layout[IPTC_TAG] = Tag(IPTC_TAG, LONG, len(words) // 4, words)
    for number, type, data in (
        (XMP_TAG, BYTE, xmp),
        (PROFILE_TAG, UNDEFINED, icc_profile),
    ):
        if data:
            layout[number] = Tag(number, type, len(data), data)
    tables = {name: {t.number: t for t in _readable(source, name, left_out)} for name in (GPS, EXIF)}
    tables[MAIN] = main | layout
    tail = bytearray()
    start = len(head) + values.nbytes
    start += start % 2
    places: dict[str, int] = {}
    for name in (GPS, EXIF, MAIN):  # each is there before what points to it
        tags = [tables[name][number] for number in sorted(tables[name])]
        tags = [tag for tag in tags if POINTERS.get(tag.number) in (None, *places)]
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
        number, count = tag.number, tag.count
        if number in POINTERS:
            kept.append(tag)
        elif directory == MAIN and number in _TEXTS and tag.type in (BYTE, ASCII, UNDEFINED, UTF_8):
            ends = tag.value.endswith(b"\0")
            value = tag.value if ends else tag.value + b"\0"
            kept.append(Tag(number, ASCII, len(value), value, tag.at if ends else None))
        elif directory == EXIF and number in (0xA002, 0xA003) and tag.type == SHORT and count == 1:
            (side,) = struct.unpack(source.order + "H", tag.value)
            kept.append(Tag(number, LONG, 1, struct.pack(source.order + "I", side)))
        elif number in _TYPES[directory].get(tag.type, ()) and _COUNTS[directory].get(number, count) == count:
            kept.append(tag)
        else:
            left_out.append(name_of(directory, number))
    return kept
