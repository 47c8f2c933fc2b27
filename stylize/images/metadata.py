"""EXIF, XMP, IPTC and resolution: what a photo says about itself, and what of that its results may go on saying."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple

from PIL import Image, PngImagePlugin

from stylize.images.exif import EXIF as EXIF_NAME
from stylize.images.exif import GPS, INTEROP, MAIN, MAKER_NOTE, PREFIX, Exif, ExifError, parse_block, parse_tiff
from stylize.images.formats import DECODE_ERRORS
from stylize.images.heif_items import exif_item
from stylize.images.texts import (
    IPTC_TAG,
    PNG_PROFILE,
    RESOURCES_TAG,
    Texts,
    gif_comment,
    jpeg_segments,
    names_of,
    png_chunks,
    png_text,
    raw_profile,
    take_texts,
)
from stylize.images.xmp import (
    CREDENTIALS,
    DEPTH,
    EXTENDED,
    GAIN_MAP,
    RECIPE,
    XmpError,
    as_painted,
    in_colours,
    truthful,
    without_places,
)

ORIENTATION, COLOR_SPACE, XMP = 0x0112, 0xA001, 700
GPS_IFD = 0x8825
LAYERS, CREDENTIALS_TAG = 37724, 52545  # Photoshop's ImageSourceData; C2PA's store
PLACE_TAGS = frozenset({GPS_IFD, 33550, 33922, 34264, 34735, 34736, 34737})  # the others are GeoTIFF's
SRGB, UNCALIBRATED = 1, 65_535  # values of COLOR_SPACE
ADOBE_RGB, PLAIN_SRGB = b"R03\0", b"R98\0"  # values of tag 1 of the Interop directory (CIPA DC-008, annex)
PIXEL_DIMENSIONS, RESOLUTIONS = (0xA002, 0xA003), (282, 283)  # across and down
RESOLUTION_UNIT = 296
SIDEWAYS = frozenset({5, 6, 7, 8})  # orientations
# TIFF keeps EXIF and the layout of its pixels in one directory; the layout must not travel into other files.
LAYOUT_TAGS = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 301, 317, 320, 322, 323, 324, 325, 330, 332}
    | {338, 339, 340, 341, 347, *range(512, 522), 529, 530, 531, 532, XMP, 34377, 34675}
)
JPEG_SEGMENT = 65_500  # bytes of EXIF or XMP
PHOTOSHOP_LAYERS = "Photoshop layers"
_FATES = {PHOTOSHOP_LAYERS: "were flattened", CREDENTIALS: "were left out"}
NO_EXIF = frozenset({"GIF", "BMP", "PPM"})  # formats that hold neither EXIF nor XMP


class Metadata(NamedTuple):
    """What of a photo's metadata is written."""

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None  # horizontal and vertical
    texts: Texts = Texts()
    lost: tuple[str, ...] = ()  # what lay beside the picture in its file and does not travel


def take_metadata(image: Image.Image, stream: BinaryIO, stored: int | None, notes: list[str]) -> tuple[int, Metadata]:
    """The orientation still to be applied, and what describes the picture after it is.

    Args:
        image: loaded.
        stream: its file.
        stored: the orientation in which a TIFF's pixels lay.
    """
    orientation = 1
    with suppress(*DECODE_ERRORS):
        orientation = image.getexif().get(ORIENTATION, 1)  # after load(): Pillow turns TIFFs upright while loading
    sideways = not SIDEWAYS.isdisjoint((orientation, stored))
    size = image.size[::-1] if orientation in SIDEWAYS else image.size
    lost = _beside(image, stream)
    resources = iptc = block = None
    try:
        exif = _found_exif(image, stream)
        if exif is not None:
            tags = {tag.number: tag.value for tag in exif.remove({RESOURCES_TAG, IPTC_TAG, LAYERS, CREDENTIALS_TAG})}
            resources, iptc = tags.get(RESOURCES_TAG), tags.get(IPTC_TAG)
            lost |= {PHOTOSHOP_LAYERS} if LAYERS in tags else set()
            lost |= {CREDENTIALS} if CREDENTIALS_TAG in tags else set()
            _make_upright(exif, size, sideways)
            block = exif.to_bytes()
            if exif.left_out:
                notes.append(f"EXIF tags that are damaged were left out: {', '.join(exif.left_out[:10])}")
    except ExifError:
        notes.append("its EXIF is damaged and was dropped")
    xmp = image.info.get("xmp")
    if isinstance(xmp, bytes) and xmp.strip(b"\0 \n"):
        try:
            xmp = truthful(xmp, size, lost)
        except XmpError:
            notes.append("its XMP is damaged and was dropped")
            xmp = None
    else:
        xmp = None
    texts = take_texts(image, resources, iptc)
    return orientation, Metadata(block and PREFIX + block, xmp, take_dpi(image, sideways), texts, tuple(sorted(lost)))


def _found_exif(image: Image.Image, stream: BinaryIO) -> Exif | None:
    """The EXIF of a file as it stands there; None if it has none. Raises ExifError."""
    if image.format == "TIFF":

        def read(at: int, size: int) -> bytes:
            stream.seek(at)
            return stream.read(size)

        length = stream.seek(0, os.SEEK_END)
        exif = parse_tiff(read, length, frame=image.tell(), skip=LAYOUT_TAGS - {RESOURCES_TAG})
        if exif.number(MAIN, RESOLUTION_UNIT) == 1:  # none: what TIFF demands where nothing is known
            exif.remove({*RESOLUTIONS, RESOLUTION_UNIT})
        return exif
    block = image.info.get("exif")
    if image.format == "AVIF":
        block = exif_item(stream) or block
    if block is None and isinstance(image, PngImagePlugin.PngImageFile):
        texts = png_text(image)
        found = [raw_profile(texts.get(PNG_PROFILE + kind, "")) for kind in ("exif", "APP1", "app1")]
        block = next((profile for profile in found if profile.startswith(PREFIX)), None)
    if not isinstance(block, bytes) or not block.removeprefix(PREFIX):
        return None
    exif = parse_block(block)
    exif.remove(LAYOUT_TAGS - {RESOURCES_TAG})
    return exif


def _make_upright(exif: Exif, size: tuple[int, int], sideways: bool) -> None:
    exif.set_number(MAIN, ORIENTATION, 1)
    exif.set_number(EXIF_NAME, COLOR_SPACE, SRGB)
    for tag, side in zip(PIXEL_DIMENSIONS, size, strict=True):
        exif.set_number(EXIF_NAME, tag, side)
    if sideways:
        exif.swap(MAIN, *RESOLUTIONS)


def _beside(image: Image.Image, stream: BinaryIO) -> set[str]:
    """What a file holds beside its picture, by its own marks: XMP may tell of more."""
    found = set()
    for name, data in getattr(image, "applist", []):
        if name == "APP2" and data.startswith(b"urn:iso:std:iso:ts:21496:-1\0"):
            found.add(GAIN_MAP)
        elif name == "APP1" and data.startswith(b"http://ns.adobe.com/xmp/extension/\0"):
            found.add(EXTENDED)
        elif name == "APP11" and b"c2pa" in data[:200]:
            found.add(CREDENTIALS)
    if any(chunk[0] == b"caBX" for chunk in getattr(image, "private_chunks", [])):
        found.add(CREDENTIALS)
    if any("hdrgainmap" in str(kind).lower() for kind in image.info.get("aux") or ()):  # as pillow-heif tells them
        found.add(GAIN_MAP)
    if image.info.get("depth_images"):
        found.add(DEPTH)
    if image.format in ("AVIF", "HEIF", "WEBP"):
        stream.seek(0)
        head = stream.read(1 << 16)
        if b"jumbc2pa" in head or b"\xd8\xfe\xc3\xd6\x1b\x0e\x48\x3c" in head or b"C2PA" in _riff_chunks(stream, head):
            found.add(CREDENTIALS)
        if image.format == "AVIF" and b"tmap" in head[:64]:
            found.add(GAIN_MAP)
    return found


def _riff_chunks(stream: BinaryIO, head: bytes) -> set[bytes]:
    """The names of a WebP's chunks."""
    names: set[bytes] = set()
    at = 12
    while head.startswith(b"RIFF") and len(names) < 20:
        stream.seek(at)
        chunk = stream.read(8)
        if len(chunk) < 8:
            break
        names.add(chunk[:4])
        length = int.from_bytes(chunk[4:], "little")
        at += 8 + length + length % 2
    return names


def take_dpi(image: Image.Image, sideways: bool) -> tuple[float, float] | None:
    """The horizontal and vertical resolution of a picture, which lies on its side in the file or not."""
    try:
        x, y = (float(v) for v in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(math.isfinite(v) and 1 <= v < 65_536 for v in (x, y)):
        return None
    return (y, x) if sideways else (x, y)


def kept_metadata(
    found: Metadata, policy: str, color_space: int, notes: list[str], *, size: tuple[int, int]
) -> Metadata:
    """The metadata to write after a policy, see ``stylize.images.writing.encode_image``.

    Args:
        color_space: which colours EXIF is to say that it describes, ``SRGB`` or ``UNCALIBRATED``.
        notes: where to say what could not be kept.
        size: width and height of the picture.
    """
    if policy == "strip":
        return Metadata()
    notes += [f"its {name} {_FATES.get(name, 'was left out')}" for name in found.lost]
    exif, xmp, dpi, texts, _ = found
    if policy == "no-gps":
        texts = texts.without_places()
    if xmp is not None:
        try:
            xmp = in_colours(without_places(xmp) if policy == "no-gps" else xmp, color_space)
        except XmpError:
            if policy == "no-gps":
                notes.append("its XMP cannot be read, may tell a place, and was left out")
                xmp = None
    if exif is not None:
        try:
            block = parse_block(exif)
            if policy == "no-gps":
                _remove_places(block, notes)
            block.set_number(EXIF_NAME, COLOR_SPACE, color_space)
            index = block.tag(INTEROP, 1)
            if color_space == SRGB and index is not None and index.value == ADOBE_RGB:
                index.value = PLAIN_SRGB
            for tag, side in zip(PIXEL_DIMENSIONS, size, strict=True):
                block.set_number(EXIF_NAME, tag, side)
            exif = block.to_bytes()
            exif = exif and PREFIX + exif
        except ExifError:
            notes.append("its EXIF is damaged and was dropped")
            exif = None
    return Metadata(exif, xmp, dpi, texts)


def _remove_places(block: Exif, notes: list[str]) -> None:
    for directory in (MAIN, EXIF_NAME, GPS, INTEROP):
        block.remove(PLACE_TAGS, directory, secret=True)
    note = block.tag(EXIF_NAME, MAKER_NOTE)
    if note is not None and note.value.startswith(b"Panasonic"):  # they name cities and sights
        block.remove({MAKER_NOTE}, EXIF_NAME, secret=True)
        notes.append("its maker note may tell a place and was left out")


def save_options(kept: Metadata, format: str, notes: list[str]) -> dict[str, Any]:
    """What Pillow's save() is to be told of the metadata; for TIFF, what ``encode_tiff`` is."""
    exif, xmp, dpi, texts, _ = kept
    options: dict[str, Any] = {"dpi": dpi}
    lost: list[str] = []
    if format == "JPEG":
        if exif is not None and len(exif) > JPEG_SEGMENT:
            block = parse_block(exif)
            exif = block.shortened(JPEG_SEGMENT - len(PREFIX))
            exif = exif and PREFIX + exif
            if block.left_out:
                notes.append(f"EXIF tags too long for JPEG were left out: {', '.join(block.left_out)}")
        if len(xmp or b"") > JPEG_SEGMENT:
            notes.append("its XMP data is too long for JPEG and was left out")
            xmp = None
        options["extra"], lost = jpeg_segments(texts)
    elif format == "PNG":
        options["pnginfo"] = info = PngImagePlugin.PngInfo()
        if xmp:
            info.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
            xmp = None
        png_chunks(texts, info)
    elif format == "TIFF":
        options["iptc"] = texts.iptc
        lost = names_of(texts._replace(iptc=None, resources=()))
    elif format == "GIF":
        options["comment"], lost = gif_comment(texts)
    else:
        lost = names_of(texts)
    if format == "AVIF" and exif is not None:  # upright is what is meant without; Pillow would write EXIF anew
        block = parse_block(exif)
        block.remove({ORIENTATION})
        exif = block.to_bytes()
    if format in NO_EXIF:
        lost += ["EXIF"] if exif else []
        lost += ["XMP"] if xmp and RECIPE.sub(b"", xmp) not in (b"", as_painted(None)) else []
        exif = xmp = None
    if lost:
        notes.append(f"{format} cannot hold its {', '.join(lost)}: left out")
    options |= {"exif": exif, "xmp": xmp}
    return {key: value for key, value in options.items() if value not in (None, b"")}
