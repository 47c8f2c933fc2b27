"""EXIF, XMP and resolution: what a photo says about itself, and what of that its results may go on saying."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from PIL import Image

from stylize.images.formats import DECODE_ERRORS

ORIENTATION, COLOR_SPACE, XMP = 0x0112, 0xA001, 700
EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
PLACE_TAGS = frozenset({GPS_IFD, 33550, 33922, 34264, 34735, 34736, 34737})  # the others are GeoTIFF's
SRGB, UNCALIBRATED = 1, 65_535  # values of COLOR_SPACE
PIXEL_DIMENSIONS, RESOLUTIONS = (0xA002, 0xA003), (282, 283)  # across and down
SIDEWAYS = frozenset({5, 6, 7, 8})  # orientations
# TIFF keeps EXIF and the layout of its pixels in one directory; the layout must not travel into other files.
LAYOUT_TAGS = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 301, 317, 320, 322, 323, 324, 325, 330, 332}
    | {338, 339, 340, 341, 347, *range(512, 522), 529, 530, 531, 532, XMP, 34377, 34675}
)
_PLACE = (
    rb"exif:GPS\w+|photoshop:(?:City|State|Country)|Iptc4xmpCore:(?:Location|CountryCode)|"
    rb"Iptc4xmpExt:(?:Location\w*|Sublocation|City|ProvinceState|Country\w*|WorldRegion)"
)
_PLACE_LEFT = re.compile(rb"gps|:(?:City|State|Country|Location|Sublocation|ProvinceState|WorldRegion)", re.IGNORECASE)
RECIPE_START = b'<rdf:Description rdf:about="" xmlns:stylize="urn:stylize:1#"><stylize:recipe>'
RECIPE_END = b"</stylize:recipe></rdf:Description>"
RECIPE = re.compile(re.escape(RECIPE_START) + rb"([^<]*)" + re.escape(RECIPE_END))  # see ``stylize.painting.recipe``
PACKET_START = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
).encode()
PACKET_END = b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'


class Metadata(NamedTuple):
    """What of a photo's metadata is written."""

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None  # horizontal and vertical


def take_exif(image: Image.Image, stored: int | None, notes: list[str]) -> tuple[int, bytes | None]:
    """The orientation still to be applied, and the EXIF block that describes the picture after it is."""
    orientation = 1
    try:
        exif = image.getexif()  # after load(): Pillow itself turns TIFFs upright while loading them
        orientation = exif.get(ORIENTATION, 1)
        for tag in LAYOUT_TAGS.intersection(exif):
            del exif[tag]
        if not exif:
            return orientation, None
        exif[ORIENTATION] = 1
        if COLOR_SPACE in (details := exif.get_ifd(EXIF_IFD)):
            details[COLOR_SPACE] = SRGB
        if SIDEWAYS.intersection((orientation, stored)):
            for tags, (across, down) in ((details, PIXEL_DIMENSIONS), (exif, RESOLUTIONS)):
                turned = {across: tags.get(down), down: tags.get(across)}
                tags.update({tag: value for tag, value in turned.items() if value is not None})
        exif.get_ifd(GPS_IFD)  # loaded while it is still known that
        exif.bigtiff = False  # the file may be a BigTIFF, which an EXIF block cannot be
        block = exif.tobytes()
        Image.Exif().load(block)  # what cannot be read again is not worth writing
        return orientation, block
    except DECODE_ERRORS:
        notes.append("its EXIF is damaged and was dropped")
        return orientation, None


def take_xmp(image: Image.Image) -> bytes | None:
    """The XMP packet of a picture that was turned upright."""
    xmp = image.info.get("xmp")
    if not isinstance(xmp, bytes):
        return None
    return re.sub(rb"""(tiff:Orientation\s*(?:=\s*["']|>))[0-9]""", rb"\g<1>1", xmp)


def take_dpi(image: Image.Image, sideways: bool) -> tuple[float, float] | None:
    """The horizontal and vertical resolution of a picture, which lies on its side in the file or not."""
    try:
        x, y = (float(v) for v in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(math.isfinite(v) and 1 <= v < 65_536 for v in (x, y)):
        return None
    return (y, x) if sideways else (x, y)


def kept_metadata(found: Metadata, policy: str, color_space: int, notes: list[str]) -> Metadata:
    """The metadata to write after a policy, see ``stylize.images.writing.encode_image``.

    Args:
        color_space: which colours EXIF is to say that it describes, ``SRGB`` or ``UNCALIBRATED``.
        notes: where to say what could not be kept.
    """
    if policy == "strip":
        return Metadata()
    exif, xmp, dpi = found
    if policy == "no-gps" and xmp is not None:
        xmp = _without_gps(xmp, notes)
    if exif is not None and (policy == "no-gps" or color_space != SRGB):
        try:
            tags = Image.Exif()
            tags.load(exif)
            if policy == "no-gps":
                for tag in PLACE_TAGS.intersection(tags):
                    del tags[tag]
            if COLOR_SPACE in (details := tags.get_ifd(EXIF_IFD)):
                details[COLOR_SPACE] = color_space
            exif = tags.tobytes()
        except DECODE_ERRORS:
            notes.append("its EXIF is damaged and was dropped")
            exif = None
    return Metadata(exif, xmp, dpi)


def _without_gps(xmp: bytes, notes: list[str]) -> bytes | None:
    """An XMP packet without the properties of EXIF and IPTC that tell a place; if some may remain, only our recipe."""
    xmp = re.sub(rb"\s(?:" + _PLACE + rb""")\s*=\s*("[^"]*"|'[^']*')""", b"", xmp)
    xmp = re.sub(rb"<(" + _PLACE + rb")(?:\s[^>]*/>|/>|(?:\s[^>]*)?>.*?</\1>)", b"", xmp, flags=re.DOTALL)
    foreign = RECIPE.sub(b"", xmp)  # our own names files, which may be called so
    if not _PLACE_LEFT.search(foreign.replace(b"\0", b"")):  # other prefixes, UTF-16
        return xmp
    notes.append("its XMP may tell a place in other words and was dropped")
    recipe = RECIPE.search(xmp)
    return PACKET_START + recipe[0] + PACKET_END if recipe else None
