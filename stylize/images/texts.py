"""What people write into pictures beside EXIF and XMP: IPTC captions, comments, the text of PNGs.

IPTC is a row of datasets (IPTC-NAA IIM 4.2). JPEGs keep it in Photoshop's image resources, in segment APP13; TIFFs in
tag 33723; PNGs as ImageMagick and ExifTool have them, as a "raw profile". Comments are bytes without more meaning.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from PIL import Image, PngImagePlugin

from stylize.images.formats import DECODE_ERRORS
from stylize.images.xmp import tells_a_place

IPTC_TAG, RESOURCES_TAG = 33723, 34377  # of TIFF
IPTC, COPYRIGHT_FLAG, URL, IPTC_DIGEST = 0x0404, 0x040A, 0x040B, 0x0425  # Photoshop's numbers
_KEPT = frozenset({IPTC, COPYRIGHT_FLAG, URL, IPTC_DIGEST})  # the others hold thumbnails, layers, copies of EXIF
APP13_START = b"Photoshop 3.0\0"
_SEGMENT = 65_533  # bytes that a JPEG segment holds
_PLACES = frozenset({26, 27, 90, 92, 95, 100, 101})  # of record 2: content location, city, ..., country
PNG_XMP, PNG_PROFILE = "XML:com.adobe.xmp", "Raw profile type "
COMMENT = "Comment"  # PNG's name of it


class Texts(NamedTuple):
    """Texts of a picture.

    Attributes:
        iptc: IIM datasets.
        resources: others of Photoshop's resources, by their numbers.
        comments: of a JPEG or GIF.
        png: keywords and texts of a PNG.
    """

    iptc: bytes | None = None
    resources: tuple[tuple[int, bytes], ...] = ()
    comments: tuple[bytes, ...] = ()
    png: tuple[tuple[str, str], ...] = ()

    def without_places(self) -> Texts:
        """Without the datasets and keywords that tell a place."""
        return Texts(
            self.iptc and _placeless(self.iptc),
            tuple(pair for pair in self.resources if pair[0] != IPTC_DIGEST),
            self.comments,
            tuple(pair for pair in self.png if not tells_a_place(pair[0])),
        )


def take_texts(image: Image.Image, resources: bytes | None = None, iptc: bytes | None = None) -> Texts:
    """The texts of a loaded file; a TIFF's resources and IPTC datasets are given."""
    found: dict[int, bytes] = {}
    comments: list[bytes] = []
    png: list[tuple[str, str]] = []
    if image.format in ("JPEG", "MPO"):
        segments = getattr(image, "applist", [])
        resources = b"".join(
            data.removeprefix(APP13_START)
            for name, data in segments
            if name == "APP13" and data.startswith(APP13_START)
        )
        comments = [data for name, data in segments if name == "COM" and data.strip(b"\0")]
    elif image.format == "GIF":
        comment = image.info.get("comment")
        comments = [comment] if isinstance(comment, bytes) and comment else []
    elif isinstance(image, PngImagePlugin.PngImageFile):
        for keyword, text in png_text(image).items():
            if keyword.startswith(PNG_PROFILE):
                profile = raw_profile(text)
                if keyword[len(PNG_PROFILE) :].lower() in ("iptc", "8bim"):
                    resources, iptc = (profile, iptc) if profile.startswith(b"8BIM") else (resources, profile)
            elif keyword != PNG_XMP:
                png.append((keyword, text))
    found = dict(_resources(resources or b""))
    iptc = found.pop(IPTC, None) or iptc
    return Texts(_trimmed(iptc or b"") or None, tuple(sorted(found.items())), tuple(comments), tuple(png))


def jpeg_segments(texts: Texts) -> tuple[bytes, list[str]]:
    """Segments APP13 and COM, and the names of what a JPEG cannot hold."""
    resources = _packed_resources(texts)
    lost = []
    parts = []
    room = _SEGMENT - len(APP13_START)
    for at in range(0, len(resources), room):
        parts.append(_segment(0xED, APP13_START + resources[at : at + room]))
    for comment in [*texts.comments, *(text.encode() for keyword, text in texts.png if keyword == COMMENT)]:
        parts += [_segment(0xFE, comment[at : at + _SEGMENT]) for at in range(0, len(comment), _SEGMENT)]
    if keywords := [keyword for keyword, _ in texts.png if keyword != COMMENT]:
        lost.append(_of_png(keywords))
    return b"".join(parts), lost


def png_chunks(texts: Texts, info: PngImagePlugin.PngInfo) -> None:
    """Put the texts into what Pillow writes into a PNG."""
    for keyword, text in texts.png:
        info.add_text(keyword, text)
    for comment in texts.comments:
        info.add_text(COMMENT, _decoded(comment))
    if resources := _packed_resources(texts):
        lines = resources.hex()
        body = "\n".join(lines[at : at + 72] for at in range(0, len(lines), 72))
        info.add_text(f"{PNG_PROFILE}iptc", f"\niptc\n{len(resources):8}\n{body}\n", zip=True)


def gif_comment(texts: Texts) -> tuple[bytes, list[str]]:
    """The comment of a GIF, and the names of what it cannot hold."""
    comment = b"\n".join([*texts.comments, *(text.encode() for keyword, text in texts.png if keyword == COMMENT)])
    return comment, names_of(texts._replace(comments=(), png=tuple(p for p in texts.png if p[0] != COMMENT)))


def names_of(texts: Texts) -> list[str]:
    """What there is, for people."""
    names = ["IPTC text"] if texts.iptc or texts.resources else []
    names += ["comment"] if texts.comments else []
    return names + ([_of_png([keyword for keyword, _ in texts.png])] if texts.png else [])


def png_text(image: PngImagePlugin.PngImageFile) -> dict[str, str]:
    """Keywords and texts of a loaded PNG, also of one that ends too early."""
    if not image.is_animated:  # Pillow would go through all frames
        with suppress(*DECODE_ERRORS):
            return dict(image.text)
    return {keyword: text for keyword, text in image.info.items() if isinstance(keyword, str) and isinstance(text, str)}


def raw_profile(text: str) -> bytes:
    """The bytes of a PNG's raw profile: a name, a length, and hexadecimal lines. Empty if it is damaged."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return b""


def _of_png(keywords: list[str]) -> str:
    shown = ", ".join(keyword for keyword in keywords[:8] if keyword.isprintable())
    return f"PNG text ({shown}{' ...' if len(keywords) > 8 else ''})"


def _decoded(comment: bytes) -> str:
    try:
        return comment.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return comment.decode("latin-1")


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _resources(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Photoshop's image resources: number, name, length and data of each, the latter two padded to even lengths."""
    at = 0
    while data[at : at + 4] == b"8BIM" and at + 12 <= len(data):
        number, name = struct.unpack_from(">HB", data, at + 4)
        start = at + 6 + (name + 2) // 2 * 2
        if start + 4 > len(data):
            return
        (size,) = struct.unpack_from(">I", data, start)
        if number in _KEPT and start + 4 + size <= len(data):
            yield number, data[start + 4 : start + 4 + size]
        at = start + 4 + size + size % 2


def _packed_resources(texts: Texts) -> bytes:
    found = sorted([*texts.resources, *([(IPTC, texts.iptc)] if texts.iptc else [])])
    return b"".join(
        b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2) for number, data in found
    )


def _datasets(iptc: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Record, number, start and end of each dataset, up to a damaged one."""
    at = 0
    while at + 5 <= len(iptc) and iptc[at] == 0x1C:
        record, number, size = struct.unpack_from(">BBH", iptc, at + 1)
        start = at + 5
        if size & 0x8000:  # an extended dataset: so many bytes hold its length
            width = size & 0x7FFF
            if width > 4:
                return
            size, start = int.from_bytes(iptc[start : start + width], "big"), start + width
        if start + size > len(iptc):
            return
        yield record, number, at, start + size
        at = start + size


def _placeless(iptc: bytes) -> bytes | None:
    """Datasets without those of places; what follows a damaged one is cut off."""
    kept = (iptc[at:end] for record, number, at, end in _datasets(iptc) if record != 2 or number not in _PLACES)
    return b"".join(kept) or None


def _trimmed(iptc: bytes) -> bytes:
    """Datasets without the zeros that TIFF fills them up with."""
    end = max((end for *_, end in _datasets(iptc)), default=0)
    return iptc if iptc[end:].strip(b"\0") else iptc[:end]
