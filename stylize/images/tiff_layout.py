"""TIFF: which page is the photo, which layouts are read, and which files are a camera's raw data in TIFF's clothes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, BinaryIO

from PIL import ImageFile
from PIL.TiffImagePlugin import OPEN_INFO, ImageFileDirectory_v2

from stylize.images.formats import DECODE_ERRORS, RAW_SUFFIXES, is_raw

Tags = Mapping[int, Any]

# Names of TIFF 6.0, TIFF/EP (ISO 12234-2), DNG and makers' own
SUBFILE_TYPE, OLD_SUBFILE_TYPE, WIDTH, BITS, COMPRESSION, PHOTOMETRIC = 254, 255, 256, 258, 259, 262
SAMPLES, PLANAR, SUB_IFDS, EXTRA_SAMPLES, SAMPLE_FORMAT = 277, 284, 330, 338, 339
DNG_VERSION, CFA_PATTERN, LEAF_DATA = 50706, 33422, 34310
SENSOR_PHOTOMETRICS = {32803, 34892}  # colour filter array, linear raw
SENSOR_COMPRESSIONS = {32767, 32769, 32770, 34713, 65000, 65535}  # of Sony, Epson, Samsung, Nikon, Kodak and Pentax
UNSPECIFIED, ASSOCIATED, ALPHA = 0, 1, 2  # what an extra sample is
SIGNED, FLOAT = 2, 3
MOST_DIRECTORIES = 16  # that are looked at


def is_camera_raw(image: ImageFile.ImageFile, stream: BinaryIO, name: str) -> bool:
    """Whether a TIFF holds what a sensor saw, and the pictures in it are but previews.

    Told by its first bytes, by a directory of sensor data, wherever it is linked, or by tags and names that only such
    files have.
    """
    stream.seek(0)
    if is_raw(stream.read(16)) or PurePath(name).suffix.lower() in RAW_SUFFIXES:
        return True
    tags: Tags = getattr(image, "tag_v2", {})
    if DNG_VERSION in tags or LEAF_DATA in tags or (_is_reduced(tags) and SUB_IFDS in tags):
        return True
    return has_sensor_data(stream)


def has_sensor_data(stream: BinaryIO) -> bool:
    """Whether any directory of a TIFF is a sensor's."""
    return any(_is_of_sensor(directory) for directory in _directories(stream))


def _is_of_sensor(tags: Tags) -> bool:
    return (
        tags.get(PHOTOMETRIC) in SENSOR_PHOTOMETRICS
        or tags.get(COMPRESSION) in SENSOR_COMPRESSIONS
        or CFA_PATTERN in tags
        or DNG_VERSION in tags
    )


def seek_photo(image: ImageFile.ImageFile) -> None:
    """Go to the first page that is not marked as a reduced copy of another; stay, where all of them are."""
    page = 0
    try:
        while _is_reduced(image.tag_v2) and page < MOST_DIRECTORIES:  # type: ignore[attr-defined]
            page += 1
            image.seek(page)
    except DECODE_ERRORS:
        image.seek(0)


def _is_reduced(tags: Tags) -> bool:
    kind = tags.get(SUBFILE_TYPE, 0)
    return bool(isinstance(kind, int) and kind & 1) or tags.get(OLD_SUBFILE_TYPE) == 2


def is_page(image: ImageFile.ImageFile) -> bool:
    """Whether the page that an image is at is one of its own: no reduced copy, no mask."""
    kind = getattr(image, "tag_v2", {}).get(SUBFILE_TYPE, 0)
    return not (isinstance(kind, int) and kind & 5) and not _is_reduced(getattr(image, "tag_v2", {}))


def unsupported_layout(stream: BinaryIO) -> str:
    """What a TIFF holds whose layout Pillow does not know, such as ``32-bit float colour``; empty for others."""
    stream.seek(0)
    if stream.read(4) == b"MM\0\x2b":
        return "a big-endian BigTIFF"
    tags: Tags = next(_directories(stream), {})
    if WIDTH not in tags or not isinstance(tags.get(BITS, (1,)), tuple):
        return ""
    bits = tags.get(BITS, (1,))
    samples = tags.get(SAMPLES, 1)
    bits = bits * samples if len(bits) == 1 and isinstance(samples, int) and samples <= 99 else bits
    formats = tags.get(SAMPLE_FORMAT, (1,))
    formats = formats[:1] if len(set(formats)) == 1 else formats
    extras = tags.get(EXTRA_SAMPLES, ())
    known = {key[1:3] + key[4:] for key in OPEN_INFO if key[0] == tags.prefix}  # type: ignore[attr-defined]
    if (tags.get(PHOTOMETRIC, 0), formats, bits, extras) in known:
        return ""
    return describe(tags)


def describe(tags: Tags) -> str:
    """A layout in words: bits, numbers, colours, extra channels."""
    bits = tags.get(BITS, (1,))
    samples = tags.get(SAMPLES, len(bits))
    photometric = tags.get(PHOTOMETRIC, 0)
    colours = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}.get(photometric, len(bits))
    names = {0: "white-is-zero grey", 1: "grey", 2: "colour", 3: "palette colour", 5: "CMYK", 6: "YCbCr", 8: "Lab"}
    numbers = {SIGNED: "signed ", FLOAT: "float "}.get(next(iter(tags.get(SAMPLE_FORMAT, (1,))), 1), "")
    text = f"{bits[0] if bits else 1}-bit {numbers}{names.get(photometric, 'colour')}"
    extra = max(samples - colours, 0) if isinstance(samples, int) else 0
    if extra == 1 and next(iter(tags.get(EXTRA_SAMPLES, ())), UNSPECIFIED) in (ASSOCIATED, ALPHA):
        text += " with alpha"
    elif extra:
        text += f" with {extra} extra channel" + ("s" if extra > 1 else "")
    if tags.get(PLANAR) == 2:
        text += " in separate planes"
    return text


def is_misread(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow opens a TIFF and takes its values for others: 16 bits in separate planes, uncompressed."""
    tags: Tags = getattr(image, "tag_v2", {})
    return _has_plain_planes(tags) and max(tags.get(BITS, (1,)), default=1) == 16


def is_unsupported(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow opens a TIFF whose values nothing here makes a picture of: signed ones, alpha beside its grey."""
    tags: Tags = getattr(image, "tag_v2", {})
    signed = SIGNED in tags.get(SAMPLE_FORMAT, (1,)) and max(tags.get(BITS, (1,)), default=1) <= 16
    return signed or (_has_plain_planes(tags) and tags.get(PHOTOMETRIC) in (0, 1))


def _has_plain_planes(tags: Tags) -> bool:
    return tags.get(PLANAR) == 2 and tags.get(SAMPLES, 1) > 1 and tags.get(COMPRESSION, 1) == 1


def _directories(stream: BinaryIO) -> Iterator[ImageFileDirectory_v2]:
    """The directories of a TIFF, those linked by others (sub-IFDs) too, in no more than ``MOST_DIRECTORIES`` steps."""
    stream.seek(0)
    head = stream.read(8)
    if head[2:3] == b"\x2b":  # BigTIFF
        head += stream.read(8)
    try:
        offsets = [ImageFileDirectory_v2(head).next]
        for _ in range(MOST_DIRECTORIES):
            if not offsets or not offsets[0]:
                return
            stream.seek(offsets[0])
            directory = ImageFileDirectory_v2(head)
            directory.load(stream)
            yield directory
            below = directory.get(SUB_IFDS, ())
            offsets = [directory.next, *offsets[1:], *(below if isinstance(below, tuple) else (below,))]
            offsets = [offset for offset in offsets if isinstance(offset, int) and offset]
    except DECODE_ERRORS:
        return
