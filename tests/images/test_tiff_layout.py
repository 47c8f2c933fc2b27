"""TIFFs of every layout are read right or refused by name; camera raw files in TIFF's clothes are no photos."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest

from stylize.errors import InputError
from stylize.images.reading import read_image

RNG = np.random.default_rng(5)
RGB = np.linspace(0, 65_535, 20 * 24 * 3).reshape(20, 24, 3).astype(np.uint16)[:, ::-1]
GREY, ALPHA = RGB[..., 1], RNG.integers(0, 65_536, (20, 24), dtype=np.uint16)
UNSPECIFIED, UNASSOCIATED = 0, 2
Entry = tuple[int, Any]


def page(
    values: np.ndarray,
    photometric: int,
    order: str = "<",
    *,
    planar: bool = False,
    tile: bool = False,
    deflate: bool = False,
    predictor: bool = False,
    extras: tuple[int, ...] = (),
    more: tuple[Entry, ...] = (),
) -> tuple[dict[int, Any], list[bytes]]:
    """The tags and the strips or tiles (of 16 by 16) of a page of values (H, W, C)."""
    height, width, channels = values.shape
    planes = [values[..., c : c + 1] for c in range(channels)] if planar else [values]
    parts = []
    for plane in planes:
        if tile:
            rows, columns = -(-height // 16) * 16, -(-width // 16) * 16
            padded = np.zeros((rows, columns, plane.shape[2]), plane.dtype)
            padded[:height, :width] = plane
            parts += [padded[y : y + 16, x : x + 16] for y in range(0, rows, 16) for x in range(0, columns, 16)]
        else:
            parts += [plane[y : y + 7] for y in range(0, height, 7)]
    if predictor:  # differences to the pixel at the left
        parts = [np.concatenate([part[:, :1], part[:, 1:] - part[:, :-1]], axis=1) for part in parts]
    raw = [np.ascontiguousarray(part).astype(part.dtype.newbyteorder(order)).tobytes() for part in parts]
    raw = [zlib.compress(data) for data in raw] if deflate else raw
    form = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags: dict[int, Any] = {256: width, 257: height, 258: (8 * values.itemsize,) * channels, 259: 8 if deflate else 1}
    tags |= {262: photometric, 277: channels, 284: 2 if planar else 1, 339: (form,) * channels}
    tags |= {322: 16, 323: 16} if tile else {278: 7}
    tags |= ({317: 2} if predictor else {}) | ({338: extras} if extras else {}) | dict(more)
    return tags, raw


def tiff(*pages: tuple[dict[int, Any], list[bytes]], order: str = "<", sub: tuple[dict[int, Any], ...] = ()) -> bytes:
    """A TIFF of some pages; the first links the directories ``sub``."""
    body = bytearray(b"II*\0" if order == "<" else b"MM\0*") + bytes(4)
    previous = 4

    def directory(tags: dict[int, Any]) -> tuple[int, int]:
        entries = []
        for tag, value in sorted(tags.items()):
            if isinstance(value, bytes):
                kind, count, data = 7, len(value), value
            else:
                values = value if isinstance(value, tuple) else (value,)
                kind, count = (4, len(values)) if tag in (273, 279, 324, 325, 330) else (3, len(values))
                data = struct.pack(f"{order}{count}{'I' if kind == 4 else 'H'}", *values)
            if len(data) > 4:
                place = len(body)
                body.extend(data + bytes(len(data) % 2))
                data = struct.pack(f"{order}I", place)
            entries.append(struct.pack(f"{order}HHI", tag, kind, count) + data.ljust(4, b"\0"))
        place = len(body)
        body.extend(struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4))
        return place, len(body) - 4

    below = tuple(directory(tags)[0] for tags in sub)
    for number, (tags, raw) in enumerate(pages):
        places = []
        for data in raw:
            places.append(len(body))
            body.extend(data + bytes(len(data) % 2))
        offsets, counts = (324, 325) if 322 in tags else (273, 279)
        links = {330: below} if below and not number else {}
        place, following = directory(tags | {offsets: tuple(places), counts: tuple(map(len, raw))} | links)
        struct.pack_into(f"{order}I", body, previous, place)
        previous = following
    return bytes(body)


def refusal(data: bytes, **options: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        read_image(data, **options)
    return caught.value


@pytest.mark.parametrize("depth", ["auto", "8"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("tile", [False, True])
@pytest.mark.parametrize("packed", [{}, {"deflate": True}, {"deflate": True, "predictor": True}])
@pytest.mark.parametrize("alpha", [False, True])
def test_16_bit_colour_of_every_layout(
    depth: str, order: str, planar: bool, tile: bool, packed: dict[str, bool], alpha: bool
) -> None:
    pytest.importorskip("OpenImageIO")
    values = np.dstack([RGB, ALPHA]) if alpha else RGB
    extras = (UNASSOCIATED,) if alpha else ()
    data = tiff(page(values, 2, order, planar=planar, tile=tile, extras=extras, **packed), order=order)
    picture = read_image(data, bit_depth=depth)
    assert picture.warnings == (() if depth == "auto" else ("16-bit colour read as 8-bit",))
    found = picture.pixels if alpha is False else np.dstack([picture.pixels, picture.alpha])
    if depth == "auto":
        assert np.array_equal(found, values)
    else:
        assert np.abs(found * 257.0 - values).max() <= 257


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [{}, {"deflate": True}, {"deflate": True, "predictor": True}, {"tile": True}])
def test_16_bit_grey(order: str, packed: dict[str, bool]) -> None:
    picture = read_image(tiff(page(GREY[..., None], 1, order, **packed), order=order), bit_depth="auto")
    assert np.array_equal(picture.pixels, np.dstack([GREY] * 3))


def test_an_extra_channel_that_nobody_explains_is_no_alpha() -> None:
    pytest.importorskip("OpenImageIO")
    picture = read_image(tiff(page(np.dstack([RGB, ALPHA]), 2, extras=(UNSPECIFIED,))), bit_depth="auto")
    assert picture.alpha is None
    assert np.array_equal(picture.pixels, RGB)


@pytest.mark.parametrize(
    ("values", "photometric", "options", "what"),
    [
        (np.dstack([GREY, ALPHA]), 1, {"extras": (2,)}, "16-bit grey with alpha"),
        (np.dstack([GREY, ALPHA]), 0, {"extras": (2,)}, "16-bit white-is-zero grey with alpha"),
        (
            np.dstack([GREY, ALPHA]) >> 8,
            1,
            {"extras": (2,), "planar": True},
            "16-bit grey with alpha in separate planes",
        ),
        (np.dstack([RGB, ALPHA, ALPHA]), 2, {"extras": (2, 0)}, "16-bit colour with 2 extra channels"),
        ((RGB / 65_535).astype(np.float32), 2, {}, "32-bit float colour"),
        ((RGB / 65_535).astype(np.float16), 2, {}, "16-bit float colour"),
        ((RGB / 65_535).astype(np.float64), 2, {"deflate": True}, "64-bit float colour"),
        (RGB.astype(np.uint32), 2, {}, "32-bit colour"),
        ((RGB >> 1).astype(np.int16), 2, {}, "16-bit signed colour"),
        ((GREY[..., None] >> 1).astype(np.int16), 1, {}, "16-bit signed grey"),
        (np.dstack([RGB, ALPHA]), 5, {"planar": True}, "16-bit CMYK in separate planes"),
    ],
)
@pytest.mark.parametrize("depth", ["auto", "8"])
def test_what_is_not_read_is_called_by_its_name(
    values: np.ndarray, photometric: int, options: dict[str, Any], what: str, depth: str
) -> None:
    error = refusal(tiff(page(values, photometric, **options)), bit_depth=depth)
    assert error.message == f"cannot read <stdin>: {what} is not read"
    assert error.hint == "export it as 16-bit RGB TIFF or PNG"


def test_white_as_zero_of_16_bits_in_either_byte_order() -> None:
    negative = 65_535 - GREY[..., None]
    assert np.array_equal(read_image(tiff(page(negative, 0)), bit_depth="auto").pixels, np.dstack([GREY] * 3))
    assert "white-is-zero grey" in refusal(tiff(page(negative, 0, ">"), order=">")).message


def test_a_damaged_file_is_called_damaged() -> None:
    data = tiff(page(RGB, 2))
    assert "truncated" in refusal(data[: len(data) // 2]).message


# Pages


REDUCED = ((254, 1),)
SMALL = np.ascontiguousarray(RGB[::4, ::4] >> 8).astype(np.uint8)
LARGE = (RGB >> 8).astype(np.uint8)


@pytest.mark.parametrize("mark", [(254, 1), (255, 2)])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_reduced_copy_before_the_photo_is_not_the_photo(mark: Entry, depth: int) -> None:
    pytest.importorskip("OpenImageIO")
    values = LARGE if depth == 8 else RGB
    data = tiff(page(SMALL, 2, more=(mark,)), page(values, 2))
    picture = read_image(data, bit_depth="auto")
    assert np.array_equal(picture.pixels, values)
    assert picture.warnings == ()


def test_reduced_copies_behind_the_photo_are_no_frames() -> None:
    reduced = page(SMALL, 2, more=REDUCED)
    assert read_image(tiff(page(LARGE, 2), reduced, reduced)).warnings == ()
    twice = read_image(tiff(reduced, page(LARGE, 2), page(LARGE, 2), reduced))
    assert np.array_equal(twice.pixels, LARGE)
    assert twice.warnings == ("has 2 frames: only the first is used",)


def test_nothing_but_reduced_copies() -> None:
    assert np.array_equal(read_image(tiff(page(SMALL, 2, more=REDUCED))).pixels, SMALL)


# Camera raw files


SENSOR = {256: 40, 257: 30, 258: 14, 262: 32_803}
RAWS = {
    "Canon": b"II*\0\x10\0\0\0CR\2\0" + bytes(4) + tiff(page(SMALL, 2))[16:],
    "Phase One": b"II*\0\x10\0\0\0IIIITwaR" + bytes(60),
    "in a sub-directory": tiff(page(SMALL, 2), sub=(SENSOR,)),
    "in the second of two": tiff(page(SMALL, 2), sub=({256: 4, 257: 3}, SENSOR)),
    "as the next page": tiff(page(SMALL, 2), (SENSOR, [b"1234"])),
    "as the only page": tiff((SENSOR, [b"1234"])),
    "compressed by Nikon": tiff(page(SMALL, 2), sub=({256: 40, 257: 30, 259: 34_713},)),
    "of big-endian cameras": tiff(page(SMALL, 2, ">"), order=">", sub=(SENSOR,)),
    "Leaf": tiff(page(SMALL, 2, more=((34_310, b"PKTS"),))),
    "DNG": tiff(page(SMALL, 2, more=((50_706, b"\1\4\0\0"),))),
    "a reduced copy that links the rest": tiff(page(SMALL, 2, more=REDUCED), sub=({256: 4, 257: 3},)),
    "Fujifilm": b"FUJIFILMCCD-RAW 0201",
    "Canon, newer": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    "Olympus": b"IIRO\x08\0\0\0" + bytes(40),
    "Panasonic": b"IIU\0\x18\0\0\0" + bytes(40),
}


@pytest.mark.parametrize("kind", RAWS)
def test_camera_raw_files(kind: str) -> None:
    error = refusal(RAWS[kind], name="IMG_1")
    assert error.message == "cannot read IMG_1: it is a camera raw file"
    assert error.exit_code == 1


def test_a_raw_file_is_known_by_its_name_if_by_nothing_else() -> None:
    plain = tiff(page(LARGE, 2))
    assert np.array_equal(read_image(plain, name="scan.tif").pixels, LARGE)
    assert "camera raw" in refusal(plain, name="IMG_1.ARW").message


def test_directories_in_a_circle_end() -> None:
    data = bytearray(tiff(page(LARGE, 2)))
    first = struct.unpack_from("<I", data, 4)[0]
    data[-4:] = struct.pack("<I", first)
    assert np.array_equal(read_image(bytes(data)).pixels, LARGE)
