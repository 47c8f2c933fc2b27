"""What a photo says about itself, read back by readers of its own: EXIF, XMP, IPTC, comments, text."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from stylize.images.exif import ExifError, parse_block
from stylize.images.heif_items import exif_item
from stylize.images.reading import Picture, read_image
from stylize.images.texts import Texts
from stylize.images.writing import encode_image
from stylize.images.xmp import PAINTED, XmpError, as_painted, truthful, without_places

NOISE = np.random.default_rng(5).integers(0, 256, (24, 32, 3), dtype=np.uint8)
HOLDERS = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"]
WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8, 12: 8, 13: 4, 129: 1}
Tags = dict[tuple[str, int], tuple[int, int, bytes]]  # directory and number -> type, count, value

ARTIST, COPYRIGHT, MAKE, DATE = 315, 33432, 271, 306
MAKER_NOTE = b"MAKER\0" + bytes(range(256)) * 2


def text(value: str | bytes) -> tuple[int, bytes]:
    raw = value.encode() if isinstance(value, str) else value
    return 2, raw + b"\0"


def exif(
    main: dict[int, tuple[int, bytes]],
    details: dict[int, tuple[int, bytes]] | None = None,
    gps: dict[int, tuple[int, bytes]] | None = None,
    *,
    order: str = "<",
    thumbnail: bytes = b"",
) -> bytes:
    """An EXIF block, written by hand: tags as type and value, whose bytes are in the block's order."""
    body = bytearray(b"II*\0" if order == "<" else b"MM\0*") + bytes(4)

    def directory(tags: dict[int, tuple[int, bytes]], following: int = 0) -> int:
        entries = b""
        for number, (type, value) in sorted(tags.items()):
            count = len(value) // WIDTHS[type]
            if len(value) > 4:
                at, value = len(body), value + bytes(len(value) % 2)
                body.extend(value)
                value = struct.pack(order + "I", at)
            entries += struct.pack(order + "HHI", number, type, count) + value.ljust(4, b"\0")
        at = len(body)
        body.extend(struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", following))
        return at

    main = dict(main)
    for number, tags in ((0x8769, details), (0x8825, gps)):
        if tags:
            main[number] = (4, struct.pack(order + "I", directory(tags)))
    following = 0
    if thumbnail:
        at = len(body)
        body.extend(thumbnail + bytes(len(thumbnail) % 2))
        where = {0x0201: (4, struct.pack(order + "I", at)), 0x0202: (4, struct.pack(order + "I", len(thumbnail)))}
        following = directory(where)
    body[4:8] = struct.pack(order + "I", directory(main, following))
    return bytes(body)


def tags_of(block: bytes) -> Tags:
    """The tags of an EXIF block or TIFF file, read without the code under test."""
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}[block[:2]]
    found: Tags = {}

    def walk(name: str, at: int) -> None:
        (number,) = struct.unpack_from(order + "H", block, at)
        assert number > 0, "an empty directory"
        previous = -1
        for k in range(number):
            tag, type, count = struct.unpack_from(order + "HHI", block, at + 2 + 12 * k)
            assert tag > previous
            previous = tag
            size = WIDTHS[type] * count
            where = at + 10 + 12 * k
            if size > 4:
                (where,) = struct.unpack_from(order + "I", block, where)
            assert where + size <= len(block)
            found[name, tag] = (type, count, block[where : where + size])
            if tag in (0x8769, 0x8825, 0xA005):
                walk(
                    {0x8769: "Exif", 0x8825: "GPS", 0xA005: "Interop"}[tag],
                    struct.unpack_from(order + "I", block, where)[0],
                )

    walk("IFD0", struct.unpack_from(order + "I", block, 4)[0])
    return found


def block_of(data: bytes) -> bytes:
    """The EXIF block of a file; of a TIFF, all of it."""
    if data[:4] in (b"II*\0", b"MM\0*"):
        return data
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.info.get("exif", b"")


def photo(block: bytes | None = None, format: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    if block is not None:
        options["exif"] = b"Exif\0\0" + block
    Image.fromarray(NOISE).save(stream, format, **options)
    return stream.getvalue()


def written(data: bytes, format: str, **options: Any) -> tuple[bytes, tuple[str, ...]]:
    """A photo that was read and written again: bytes and all warnings."""
    picture = read_image(data)
    encoded = encode_image(picture.pixels, like=picture, format=format, **options)
    return encoded.data, (*picture.warnings, *encoded.warnings)


RATIONALS = struct.pack("<6I", 48, 1, 30, 1, 0, 1)
GPS = {0: (1, b"\2\3\0\0"), 1: text("N"), 2: (5, RATIONALS), 3: text("E"), 4: (5, RATIONALS)}
FULL = exif(
    {MAKE: text("Camera"), ARTIST: text("Jürgen Müller"), COPYRIGHT: text("© café, 東京"), 0x0112: (3, b"\1\0")},
    {
        0x9000: (7, b"0232"),
        0x9003: text("2024:01:01 12:00:00"),
        0x927C: (7, MAKER_NOTE),
        0x9286: (7, b"UNICODE\0" + "Grüße".encode("utf-16-le")),
        0xA001: (3, b"\1\0"),
        0xA300: (7, b"\3"),
    },
    GPS,
)

# EXIF


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    words=st.lists(st.binary(min_size=1, max_size=40).filter(lambda b: b"\0" not in b), min_size=3, max_size=3),
    order=st.sampled_from("<>"),
    note=st.binary(min_size=5, max_size=300),
    comment=st.binary(min_size=8, max_size=60),
    format=st.sampled_from(HOLDERS),
)
def test_tags_come_out_as_they_went_in(
    words: list[bytes], order: str, note: bytes, comment: bytes, format: str
) -> None:
    block = exif(
        {MAKE: text(words[0]), ARTIST: text(words[1]), COPYRIGHT: text(words[2])},
        {0x9003: text("2024:01:01 12:00:00"), 0x927C: (7, note), 0x9286: (7, comment)},
        {1: text("N"), 2: (5, struct.pack(order + "6I", 48, 1, 30, 1, 0, 1))},
        order=order,
    )
    data, warnings = written(photo(block), format)
    before, after = tags_of(block), tags_of(block_of(data))
    pointers = {0x8769, 0x8825}
    assert {tag: after.get(tag) for tag in before if tag[1] not in pointers} == {
        tag: value for tag, value in before.items() if tag[1] not in pointers
    }
    assert warnings == ()


@pytest.mark.parametrize("format", HOLDERS)
def test_maker_notes_stay_where_they_are(format: str) -> None:
    """They hold offsets that only their maker knows, which count from the block's start."""
    data, _ = written(photo(FULL), format)
    start = data.index(MAKER_NOTE)
    base = 0 if format == "TIFF" else data.index(b"II*\0")
    assert start - base == FULL.index(MAKER_NOTE)
    assert data.count(MAKER_NOTE) == 1
    again, _ = written(data, "TIFF")  # from a TIFF, too
    assert tags_of(again)["Exif", 0x927C][2] == MAKER_NOTE
    if format == "TIFF":
        assert again.index(MAKER_NOTE) == start


def test_the_block_stays_byte_for_byte() -> None:
    assert block_of(written(photo(FULL), "JPEG")[0]).removeprefix(b"Exif\0\0") == FULL


@pytest.mark.parametrize("format", HOLDERS)
@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("DotRange", {"main": {336: (1, b"\0\xff")}}),
        ("GPSLatitude", {"gps": {1: text("N"), 2: text("48.5")}}),
        ("ISOSpeedRatings", {"details": {34855: text("100")}}),
        ("ExposureTime", {"details": {33434: (5, struct.pack("<2I", 1, 0))}}),
        ("FNumber", {"details": {33437: (3, b"\4\0")}}),
        ("0x9999", {"details": {0x9999: (7, b"x" * 90_000)}}),
        ("MakerNote", {"details": {0x927C: (7, b"x" * 90_000)}}),
    ],
)
def test_an_odd_tag_costs_at_most_itself(format: str, name: str, odd: dict[str, Any]) -> None:
    parts: dict[str, Any] = {
        "main": {ARTIST: text("Jane"), COPYRIGHT: text("© Jane")},
        "details": {0x9003: text("2024:01:01 12:00:00")},
    }
    parts = {part: parts.get(part, {}) | odd.get(part, {}) for part in ("main", "details", "gps")}
    data, warnings = written(photo(exif(**parts), "PNG"), format)
    tags = tags_of(block_of(data))
    assert tags["IFD0", ARTIST][2] == b"Jane\0"
    assert tags["IFD0", COPYRIGHT][2] == "© Jane\0".encode()
    assert tags["Exif", 0x9003][2] == b"2024:01:01 12:00:00\0"
    left_out = {(d, n) for (d, n) in tags_of(exif(**parts)) if (d, n) not in tags and d + hex(n) != "IFD00x8825"}
    assert len(left_out) <= 1
    assert len(warnings) == len(left_out)
    assert all(name in warning for warning in warnings)


BROKEN = {
    "type 0": struct.pack("<HHII", 0x9999, 0, 1, 0),
    "count 0": struct.pack("<HHII", 0x9999, 4, 0, 0),
    "outside": struct.pack("<HHII", 0x9999, 7, 100, 0x7FFFFFFF),
    "huge": struct.pack("<HHII", 0x9999, 12, 0xFFFFFFFF, 8),
    "loop": struct.pack("<HHII", 0x8769, 4, 1, 8),
    "far": struct.pack("<HHII", 0x8825, 4, 1, 0xFFFFFFF0),
    "to nothing": struct.pack("<HHII", 0x8825, 4, 1, 40),
}


@pytest.mark.parametrize("entry", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("format", HOLDERS)
def test_a_tag_that_does_not_hold_is_left_out(format: str, entry: bytes) -> None:
    block = b"II*\0\x08\0\0\0\2\0" + struct.pack("<HHI4s", MAKE, 2, 4, b"Cam\0") + entry + bytes(16)
    data, warnings = written(photo(block), format)
    tags = tags_of(block_of(data))
    assert tags["IFD0", MAKE][2] == b"Cam\0"
    assert not {number for _, number in tags} & {0x9999, 0x8769, 0x8825}
    assert len(warnings) == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    changes=st.lists(st.tuples(st.integers(0, len(FULL) - 1), st.binary(min_size=1, max_size=4)), max_size=12),
    length=st.integers(0, len(FULL)),
)
def test_mutated_blocks_are_read_or_refused(changes: list[tuple[int, bytes]], length: int) -> None:
    block = bytearray(FULL)
    for at, new in changes:
        block[at : at + len(new)] = new
    data = bytes(block[:length])
    try:
        found = parse_block(data)
    except ExifError:
        return
    again = found.to_bytes()
    if again is not None:
        assert parse_block(again).left_out == []
        assert len(again) <= len(data) + 4  # the offset of a next directory
        assert parse_block(found.packed()).left_out == []
    like = Picture(NOISE, None, "JPEG", exif=b"Exif\0\0" + data)
    for format in ("JPEG", "TIFF"):
        Image.open(io.BytesIO(encode_image(NOISE, like=like, format=format, metadata="no-gps").data)).load()


def test_a_block_of_overlapping_values_stays_small() -> None:
    entries = b"".join(struct.pack("<HHII", 0x9000 + k, 7, 60_000, 8) for k in range(4000))
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", 4000) + entries + bytes(60_000)
    found = parse_block(block)
    assert sum(len(tag.value) for tag in found.directories["IFD0"].tags) <= len(block)


def test_the_thumbnail_is_wiped() -> None:
    thumbnail = b"\xff\xd8the old photo\xff\xd9"
    block = exif({MAKE: text("Camera")}, {0x927C: (7, MAKER_NOTE)}, thumbnail=thumbnail)
    for format in HOLDERS:
        data, _ = written(photo(block), format)
        assert b"the old photo" not in data
        assert MAKER_NOTE in data


@pytest.mark.parametrize("format", HOLDERS)
def test_no_directory_is_empty(format: str) -> None:
    for block in (exif({MAKE: text("Camera")}), exif({MAKE: text("Camera")}, gps=GPS)):
        data, _ = written(photo(block), format, metadata="no-gps")
        assert {directory for directory, _ in tags_of(block_of(data))} == {"IFD0"}  # which counts the entries


def test_colours_and_sides_are_told_as_they_are() -> None:
    details = {0xA001: (3, b"\xff\xff"), 0xA002: (3, struct.pack("<H", 999)), 0xA003: (4, struct.pack("<I", 999))}
    tags = tags_of(block_of(written(photo(exif({MAKE: text("Camera")}, details)), "JPEG")[0]))
    assert tags["Exif", 0xA001] == (3, 1, b"\1\0")
    assert tags["Exif", 0xA002] == (3, 1, struct.pack("<H", 32))
    assert tags["Exif", 0xA003] == (4, 1, struct.pack("<I", 24))


def test_avif_that_lies_on_its_side_keeps_its_exif() -> None:
    """Pillow reads and writes it anew, and loses what is not ASCII."""
    turned = FULL.replace(struct.pack("<HHIHH", 0x0112, 3, 1, 1, 0), struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0))
    data = photo(turned, "AVIF")
    damaged, right = b"?? caf??, ??????\0", "© café, 東京\0".encode()
    assert damaged in data and len(damaged) == len(right)
    tags = tags_of(block_of(written(data.replace(damaged, right), "JPEG")[0]))
    assert tags["IFD0", COPYRIGHT][2] == "© café, 東京\0".encode()


AVIF = photo(FULL, "AVIF")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 600), st.binary(min_size=1, max_size=4)), max_size=8), st.integers(0, 700))
def test_mutated_avif_has_an_exif_item_or_none(changes: list[tuple[int, bytes]], cut: int) -> None:
    data = bytearray(AVIF)
    for at, new in changes:
        data[at : at + len(new)] = new
    exif_item(io.BytesIO(bytes(data[: len(data) - cut])))
    exif_item(io.BytesIO(bytes(data[:cut])))


# Places


PLACES_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:e="http://ns.adobe.com/exif/1.0/" '
    b'xmlns:d="http://www.dji.com/drone-dji/1.0/" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:ps="http://ns.adobe.com/photoshop/1.0/" '
    b"xmlns:i='http://iptc.org/std/Iptc4xmpExt/2008-02-29/' "
    b'e:GPSLatitude="Nowhere" d:GpsLongitude = "Nowhere" dc:format="image/jpeg">'
    b"<ps:City><![CDATA[Nowhere]]></ps:City><i:LocationShown><rdf:Bag><rdf:li><x>Nowhere</x></rdf:li></rdf:Bag></i:LocationShown>"
    b"<dc:title>Tower</dc:title></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def dataset(number: int, value: bytes) -> bytes:
    return struct.pack(">BBBH", 0x1C, 2, number, len(value)) + value


IPTC = struct.pack(">BBBH", 0x1C, 1, 90, 3) + b"\x1b%G" + dataset(90, b"Nowhere") + dataset(116, "© Jane".encode())
APP13 = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC + bytes(len(IPTC) % 2)


@pytest.mark.parametrize("format", [*HOLDERS, "GIF"])
def test_no_place_is_left_in_any_container(format: str) -> None:
    gps = {1: text("N"), 2: (5, struct.pack("<6I", 0x4E4F4E45, 1, 30, 1, 0, 1)), 0x1B: (7, b"ASCII\0\0\0Nowhere")}
    block = exif({ARTIST: text("Jane")}, {0x927C: (7, b"Panasonic\0\0\0Nowhere")}, gps)
    data = photo(block, xmp=PLACES_XMP, extra=struct.pack(">HH", 0xFFED, len(APP13) + 2) + APP13)
    assert data.count(b"Nowhere") >= 6
    kept, _ = written(data, format, metadata="no-gps")
    assert b"Nowhere" not in kept
    assert b"ENON" not in kept
    with Image.open(io.BytesIO(kept)) as image:
        image.load()
        assert b"Nowhere".hex() not in str(getattr(image, "text", ""))
        if format in ("JPEG", "PNG", "TIFF"):
            assert read_image(kept).texts.iptc == IPTC.replace(dataset(90, b"Nowhere"), b"")
    if format in HOLDERS:
        assert b"Tower" in kept
        assert tags_of(block_of(kept))["IFD0", ARTIST][2] == b"Jane\0"


def test_what_programs_write_about_places_into_png_text() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("exif:GPSLatitude", "Nowhere")
    info.add_text("Author", "Jane")
    data, _ = written(photo(format="PNG", pnginfo=info), "PNG", metadata="no-gps")
    assert read_image(data).texts.png == (("Author", "Jane"),)


# XMP


def test_xmp_that_needs_no_change_stays_byte_for_byte() -> None:
    packet = b"<?xpacket begin='\xef\xbb\xbf' id='x'?>" + PLACES_XMP + b" " * 2000 + b"<?xpacket end='w'?>"
    assert truthful(packet, (3, 2), set()) == packet
    assert written(photo(xmp=packet), "JPEG")[0].count(packet) == 1


def test_what_is_no_longer_true_leaves_the_xmp() -> None:
    inner = (
        "<xmp:Thumbnails><rdf:Alt><rdf:li>OLD</rdf:li></rdf:Alt></xmp:Thumbnails><c:Directory><rdf:Seq><rdf:li "
        'i:Semantic="GainMap"/></rdf:Seq></c:Directory><dc:title>Tower &amp; "sea"\n</dc:title>'
    )
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:c="http://ns.google.com/photos/1.0/container/" '
        'xmlns:i="http://ns.google.com/photos/1.0/container/item/" xmlns:n="http://ns.adobe.com/xmp/note/" '
        'xmlns:t="http://purl.org/dc/terms/" xmlns:h="http://ns.adobe.com/hdr-gain-map/1.0/" '
        'xmlns:g="http://ns.google.com/photos/1.0/camera/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'n:HasExtendedXMP="0" t:provenance="OLD" h:Version="1.0" g:MotionPhoto="1" xmp:Label="a&#10;b">'
        f"{inner}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()
    data, warnings = written(photo(xmp=packet), "PNG")
    found = read_image(data).xmp
    assert found is not None
    tree = ElementTree.fromstring(found)
    names = {name for element in tree.iter() for name in (element.tag, *element.attrib)}
    assert not {
        name for name in names if any(w in name for w in ("Thumb", "Extended", "prov", "hdr-gain", "Motion", "Dir"))
    }
    assert tree.find(".//{http://purl.org/dc/elements/1.1/}title").text == 'Tower & "sea"\n'  # type: ignore[union-attr]
    assert tree[0][0].attrib["{http://ns.adobe.com/xap/1.0/}Label"] == "a\nb"
    said = " ".join(warnings)
    assert all(word in said for word in ("gain map", "video clip", "extended XMP", "content credentials"))


def test_segments_beside_the_picture_are_told() -> None:
    extended = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + bytes(8) + b"<x/>"
    segments = [
        (0xE1, extended),
        (0xEB, b"JP\0\1" + bytes(4) + b"....jumb....jumdc2pa"),
        (0xE2, b"urn:iso:std:iso:ts:21496:-1\0"),
    ]
    extra = b"".join(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in segments)
    _, warnings = written(photo(extra=extra), "JPEG")
    assert len(warnings) == 3


@pytest.mark.parametrize(
    "packet",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'.encode("utf-16"),
        b"<x>" * 5000 + b"</x>" * 5000,
        b"<x a='1' a='2'/>",
        b"<x>" + b"y" * (5 << 20) + b"</x>",
        b"\xff\xfe\xff",
        b"",
    ],
    ids=["bomb", "outside", "deep", "twice", "long", "noise", "nothing"],
)
def test_hostile_xmp_is_refused(packet: bytes) -> None:
    with pytest.raises(XmpError):
        without_places(packet)
    assert as_painted(packet) == packet


def test_a_painted_picture_says_so_once() -> None:
    name = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    camera = PLACES_XMP.replace(b'dc:format="image/jpeg"', b'i:DigitalSourceType="http://x/digitalCapture"')
    for packet in (None, PLACES_XMP, camera, as_painted(camera)):
        tree = ElementTree.fromstring(as_painted(packet))
        assert [e.attrib[name] for e in tree.iter() if name in e.attrib] == [PAINTED]


# Texts


def test_iptc_and_comments_travel_between_jpeg_png_and_tiff() -> None:
    extra = struct.pack(">HH", 0xFFED, len(APP13) + 2) + APP13
    data = photo(extra=extra, comment="Scanned, © Jane".encode())
    for format in ("JPEG", "PNG", "JPEG", "TIFF", "JPEG"):
        data, warnings = written(data, format)
        assert read_image(data).texts.iptc == IPTC
        if format == "TIFF":
            assert len(warnings) == 1 and "comment" in warnings[0]
            assert tags_of(data)["IFD0", 33723][2].rstrip(b"\0") == IPTC
    assert read_image(written(photo(comment=b"Jane"), "GIF")[0]).texts.comments == (b"Jane",)
    with Image.open(io.BytesIO(written(written(photo(comment=b"Jane"), "PNG")[0], "JPEG")[0])) as image:
        assert image.info["comment"] == b"Jane"


def test_text_of_pngs() -> None:
    info = PngImagePlugin.PngInfo()
    words = {"Author": "Jane", "Copyright": "© 東京", "parameters": "a tower\nSteps: 20", "workflow": '{"nodes": []}'}
    for keyword, value in words.items():
        info.add_text(keyword, value)
    info.add_itxt("Title", "Turm", "de", "Titel")
    data = photo(format="PNG", pnginfo=info)
    kept, warnings = written(data, "PNG")
    assert warnings == ()
    with Image.open(io.BytesIO(kept)) as image:
        image.load()
        assert isinstance(image, PngImagePlugin.PngImageFile)
        assert image.text == {**words, "Title": "Turm"}
        assert getattr(image.text["Title"], "lang", None) == "de"
    for format in ("JPEG", "WEBP", "TIFF", "AVIF", "GIF", "BMP"):
        _, warnings = written(data, format)
        assert sum("Author, Copyright, parameters, workflow, Title" in warning for warning in warnings) == 1
        assert not any("Author" in warning for warning in written(data, format, metadata="strip")[1])


@given(st.binary(max_size=200))
def test_any_iptc_is_cut_or_kept(noise: bytes) -> None:
    Texts(iptc=noise).without_places()
    Texts(iptc=IPTC + noise).without_places()


def test_16_bits_carry_texts_too() -> None:
    deep = NOISE.astype(np.uint16) * 257
    like = replace(read_image(photo(FULL)), pixels=deep, texts=Texts(iptc=IPTC, png=(("Author", "Jane"),)))
    for format in ("PNG", "TIFF"):
        data = encode_image(deep, like=like, format=format).data
        again = read_image(data)
        assert again.texts.iptc == IPTC
        assert tags_of(block_of(data))["Exif", 0x927C][2] == MAKER_NOTE


# TIFF


def test_photoshops_layers_do_not_travel() -> None:
    layers = b"Adobe Photoshop Document Data Block\0" + b"OLD PHOTO" * 1000
    tags = Image.Exif()
    tags[37724], tags[ARTIST] = layers, "Jane"
    data = photo(format="TIFF", tiffinfo=tags)
    assert b"OLD PHOTO" in data
    for format in HOLDERS:
        kept, warnings = written(data, format)
        assert b"OLD PHOTO" not in kept
        assert any("layers were flattened" in warning for warning in warnings)
        assert tags_of(block_of(kept))["IFD0", ARTIST][2] == b"Jane\0"


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["RGB", "RGBA", "CMYK", "16 bits", "16 bits, alpha"])
def test_tifffile_reads_the_pixels(kind: str, order: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    pixels = np.random.default_rng(1).integers(0, 256, (700, 300, 3), dtype=np.uint8)
    block = b"Exif\0\0" + exif({MAKE: text("Camera")}, order=order)
    like = Picture(pixels, None, "TIFF", exif=block)
    alpha = None
    if "16" in kind:
        pixels = pixels.astype(np.uint16) * 257 + 3
    if kind in ("RGBA", "16 bits, alpha"):
        alpha = pixels[..., 0]
    data = encode_image(pixels, like=like, alpha=alpha, format="TIFF").data
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.byteorder == order
        assert np.array_equal(file.asarray(), pixels if alpha is None else np.dstack([pixels, alpha]))
        assert file.pages[0].tags["Make"].value == "Camera"
    assert np.array_equal(np.array(Image.open(io.BytesIO(data)))[..., :3], pixels if "16" not in kind else pixels >> 8)


# Other programs


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, errors="replace")


def exiftool_says(path: Path) -> dict[str, Any]:
    groups = ("-IFD0:all", "-ExifIFD:all", "-GPS:all", "-IPTC:all", "-XMP:all", "-MakerNotes:all")
    said = json.loads(run("exiftool", "-j", "-G1", "-n", "-a", *groups, path).stdout)[0]
    return {key: value for key, value in said.items() if key != "SourceFile"}


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
@pytest.mark.parametrize("format", HOLDERS)
def test_exiftool_reads_the_same(tmp_path: Path, format: str) -> None:
    source, output = tmp_path / "photo.jpg", tmp_path / f"output.{format.lower()}"
    source.write_bytes(photo(FULL, xmp=PLACES_XMP, extra=struct.pack(">HH", 0xFFED, len(APP13) + 2) + APP13))
    output.write_bytes(written(source.read_bytes(), format)[0])
    before, after = exiftool_says(source), exiftool_says(output)
    missing = {key for key in before if after.get(key) != before[key]}
    held = {key for key in missing if not (key.startswith("IPTC") and format in ("WEBP", "AVIF"))}
    assert held <= {"IFD0:Orientation"}, {key: (before[key], after.get(key)) for key in held}
    known = set(run("exiftool", "-validate", "-warning", "-a", "-s3", source).stdout.splitlines())
    news = set(run("exiftool", "-validate", "-warning", "-error", "-a", "-s3", output).stdout.splitlines()) - known
    assert not {line for line in news if "arning" not in line and "OK" not in line and "Missing required" not in line}


@pytest.mark.skipif(shutil.which("tiffinfo") is None, reason="needs tiffinfo")
def test_libtiff_reads_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "output.tif"
    odd = exif(
        {MAKE: text("Camera"), 0x9C9B: (1, b"x\0"), 0x0001: (3, b"\1\0")},
        {0x9003: text("2024"), 34855: text("100"), 0x9286: text("hello"), 0xEA1C: (7, bytes(20)), 0xA002: (3, b"\1\0")},
        {2: text("48.5"), **{k: v for k, v in GPS.items() if k != 2}},
    )
    for block in (FULL, odd, exif({MAKE: text("Camera")}), None):
        path.write_bytes(written(photo(block, xmp=PLACES_XMP), "TIFF")[0])
        done = run("tiffinfo", path)
        assert (done.returncode, done.stderr) == (0, "")
        if shutil.which("identify"):
            done = run("identify", path)
            assert (done.returncode, done.stderr) == (0, "")


def test_equal_input_gives_equal_bytes() -> None:
    data = photo(FULL, xmp=PLACES_XMP)
    for format in HOLDERS:
        hashes = {hashlib.sha256(written(data, format)[0]).digest() for _ in range(2)}
        assert len(hashes) == 1
