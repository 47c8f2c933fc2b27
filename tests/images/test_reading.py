"""Pictures of every kind come in right and go out whole, broken ones are refused in one line."""

from __future__ import annotations

import io
import os
import socket
import struct
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile
from profiles import DISPLAY_P3, SRGB, SWAPPED

from stylize.errors import InputError, OutputError, UsageError, shown
from stylize.images.formats import FORMATS, SUFFIXES, sniff_format, suffix_of
from stylize.images.reading import Picture, fill_transparent, read_image
from stylize.images.writing import encode_image, write_image

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (40, 56, 3), dtype=np.uint8)
RAMP = np.linspace(0, 255, 24 * 32).reshape(24, 32)  # every tone, as float
SMOOTH = np.stack([RAMP, RAMP[::-1], np.full_like(RAMP, 90)], axis=-1).astype(np.uint8)  # survives lossy formats
LOSSLESS = ("PNG", "TIFF", "BMP", "PPM")
LOSSY = ("JPEG", "WEBP", "AVIF")


def encoded(image: Image.Image | np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, format, **options)
    return stream.getvalue()


def refusal(source: Path | bytes, **options: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        read_image(source, **options)
    assert caught.value.exit_code == 1
    assert "\n" not in caught.value.message
    return caught.value


def difference(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def png(header: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG from the content of its IHDR and further chunks: what Pillow cannot write."""
    parts = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    body = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


# Tones and modes


@pytest.mark.parametrize("format", LOSSLESS)
def test_lossless_formats_return_the_same_pixels(format: str) -> None:
    picture = read_image(encode_image(NOISE, format=format).data)
    assert picture.format == format
    assert np.array_equal(picture.pixels, NOISE)
    assert picture.pixels.dtype == np.uint8 and picture.pixels.flags.writeable
    assert (picture.alpha, picture.exif, picture.xmp, picture.warnings) == (None, None, None, ())


@pytest.mark.parametrize("format", LOSSY)
def test_lossy_formats_return_nearly_the_same_pixels(format: str) -> None:
    picture = read_image(encode_image(SMOOTH, format=format).data)
    assert picture.format == format
    assert np.abs(picture.pixels.astype(int) - SMOOTH).mean() < 3


def test_gif_is_written_with_a_warning() -> None:
    data, warnings = encode_image(SMOOTH, format="GIF")
    assert "256 colours" in warnings[0]
    assert np.abs(read_image(data).pixels.astype(int) - SMOOTH).mean() < 8


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_grey_palette_and_one_bit(mode: str) -> None:
    tones = RAMP.astype(np.uint8) if mode != "1" else np.where(RAMP > 127, 255, 0).astype(np.uint8)
    image = Image.fromarray(tones).convert(mode)
    picture = read_image(encoded(image))
    assert np.array_equal(picture.pixels, np.stack([tones] * 3, axis=-1))
    assert picture.alpha is None


@pytest.mark.parametrize(("format", "dtype"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("PPM", "<u2")])
def test_16_bit_grey_is_scaled_not_clipped(format: str, dtype: str) -> None:
    values = (RAMP * 257).round().astype(np.uint16)
    mode = "I;16B" if dtype == ">u2" else "I;16"
    image = Image.frombytes(mode, values.shape[::-1], values.astype(dtype).tobytes())
    picture = read_image(encoded(image, format))
    assert difference(picture.pixels[..., 1], np.rint(values / 257)) == 0
    assert picture.warnings == ("16-bit colour read as 8-bit",)


@pytest.mark.parametrize("most", [1023, 65_535])
def test_colours_of_a_ppm_with_more_than_8_bits_are_scaled_with_a_warning(most: int) -> None:
    values = RNG.integers(0, most + 1, (5, 7, 3), dtype=np.uint16)
    picture = read_image(b"P6 7 5 %d\n" % most + values.astype(">u2").tobytes())
    assert difference(picture.pixels, values * (255 / most)) <= 1
    assert picture.warnings == ("16-bit colour read as 8-bit",)


def test_32_bit_whole_numbers() -> None:
    for values in ((RAMP * 257), (RAMP * 1e6 - 1e8)):  # the range of 16 bits, and any other
        picture = read_image(encoded(Image.fromarray(values.round().astype(np.int32)), "TIFF"))
        assert difference(picture.pixels[..., 0], np.rint(RAMP)) <= 1


@pytest.mark.parametrize(("scale", "shift"), [(1 / 255, 0), (1, 0), (40, -1000)])
def test_float_tones(scale: float, shift: float) -> None:
    values = (RAMP * scale + shift).astype(np.float32)
    picture = read_image(encoded(Image.fromarray(values), "TIFF"))
    assert difference(picture.pixels[..., 0], np.rint(RAMP)) <= 1


def test_float_with_nan_and_infinity() -> None:
    values = (RAMP / 255).astype(np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    picture = read_image(encoded(Image.fromarray(values), "TIFF"))
    assert picture.pixels[0, :3, 0].tolist() == [0, 255, 0]
    assert difference(picture.pixels[1:, :, 0], np.rint(RAMP[1:])) <= 1


def test_flat_float() -> None:
    picture = read_image(encoded(Image.fromarray(np.full((3, 3), 7000, np.float32)), "TIFF"))
    assert picture.pixels.max() == 0


def test_16_bit_rgb_png_with_transparent_colour() -> None:
    values = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    values[2, 3] = 0x1234, 0x5678, 0x9ABC
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, 0)
    key = struct.pack(">3H", 0x1234, 0x5678, 0x9ABC)
    picture = read_image(png(head, (b"tRNS", key), (b"IDAT", zlib.compress(rows))))
    assert difference(picture.pixels, values / 257) <= 1
    assert picture.warnings == ("16-bit colour read as 8-bit",)
    assert picture.alpha is not None
    assert np.argwhere(picture.alpha == 0).tolist() == [[2, 3]]


def test_16_bit_grey_png_with_transparent_tone() -> None:
    values = np.arange(35, dtype=np.uint16).reshape(5, 7) * 1800
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", 7, 5, 16, 0, 0, 0, 0)
    picture = read_image(png(head, (b"tRNS", struct.pack(">H", 1800)), (b"IDAT", zlib.compress(rows))))
    assert picture.alpha is not None
    assert np.argwhere(picture.alpha == 0).tolist() == [[0, 1]]
    assert difference(picture.pixels[..., 0], np.rint(values / 257)) == 0


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_other_colour_spaces(mode: str) -> None:
    image = Image.fromarray(SMOOTH)
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    options = {"compression": "jpeg"} if mode == "YCbCr" else {}  # Pillow 12 writes the plain kind too short
    picture = read_image(encoded(image.convert(mode) if mode != "LAB" else image, "TIFF", **options))
    assert np.abs(picture.pixels.astype(int) - SMOOTH).mean() < 3


def test_cmyk_jpeg() -> None:
    picture = read_image(encoded(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(picture.pixels.astype(int) - SMOOTH).mean() < 4


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (7, 3)])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_odd_sizes(shape: tuple[int, int], format: str) -> None:
    pixels = np.full((*shape, 3), 120, np.uint8)
    picture = read_image(encode_image(pixels, format=format).data)
    assert difference(picture.pixels, pixels) <= 2


# Alpha


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_alpha_and_the_colours_under_it_are_kept(format: str) -> None:
    alpha = RAMP.astype(np.uint8)
    data, warnings = encode_image(SMOOTH, alpha=alpha, format=format)
    picture = read_image(data)
    assert warnings == ()
    assert np.array_equal(picture.alpha, alpha)
    assert difference(picture.pixels, SMOOTH) <= (40 if format == "WEBP" else 0)  # not black where transparent


@pytest.mark.parametrize("mode", ["LA", "P", "L", "1"])
def test_other_kinds_of_transparency(mode: str) -> None:
    tones = np.array([[0, 255, 0, 255]], np.uint8)
    if mode == "LA":
        data = encoded(
            Image.merge("LA", [Image.fromarray(tones), Image.fromarray(np.array([[0, 255, 0, 255]], np.uint8))])
        )
    else:
        data = encoded(Image.fromarray(tones).convert(mode), transparency=0)
    picture = read_image(data)
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[0, 255, 0, 255]]
    assert picture.pixels[0, :, 0].tolist() == [0, 255, 0, 255]


def test_opaque_alpha_is_none() -> None:
    assert read_image(encode_image(NOISE, alpha=np.full((40, 56), 255, np.uint8)).data).alpha is None


@pytest.mark.parametrize("format", ["JPEG", "BMP", "PPM"])
def test_alpha_is_laid_on_white_where_the_format_has_none(format: str) -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    alpha = np.zeros((16, 32), np.uint8)
    alpha[:, 16:] = 255
    data, warnings = encode_image(pixels, alpha=alpha, format=format)
    assert warnings == (f"{format} cannot hold transparency: laid on white",)
    assert difference(read_image(data).pixels, np.where(alpha, 0, 255)[..., None].repeat(3, axis=2)) <= 2


def test_the_background_can_be_chosen() -> None:
    pixels, alpha = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
    for name, colour in (("#ff8000", (255, 128, 0)), ("teal", (0, 128, 128)), ("rgb(9, 8, 7)", (9, 8, 7))):
        data, warnings = encode_image(pixels, alpha=alpha, format="BMP", background=name)
        assert warnings == ()
        assert read_image(data).pixels[0, 0].tolist() == list(colour)
    with pytest.raises(UsageError, match=r"background sky\\n: no such colour"):
        encode_image(pixels, alpha=alpha, format="BMP", background="sky\n")
    assert read_image(encode_image(pixels, alpha=alpha, background="teal").data).alpha is not None


def test_transparent_pixels_get_the_colours_around_them() -> None:
    pixels = np.zeros((33, 50, 3), np.uint8)
    alpha = np.zeros((33, 50), np.uint8)
    pixels[4:20, 5:25], alpha[4:20, 5:25] = (200, 100, 50), 255
    pixels[8, 40], alpha[8, 40] = (20, 220, 50), 1  # a single pixel, all but invisible
    filled = fill_transparent(pixels, alpha)
    assert np.array_equal(filled[alpha > 0], pixels[alpha > 0])
    assert difference(filled[3:21, 4:26], np.full((18, 22, 3), (200, 100, 50), np.uint8)) <= 60
    assert filled.min() >= 15  # black nowhere
    assert (filled[8, 39].astype(int) - (20, 220, 50) < 60).all()
    # what lies under transparency does not matter
    pixels[alpha == 0] = (255, 0, 255)
    assert np.array_equal(fill_transparent(pixels, alpha), filled)
    deep = fill_transparent(pixels.astype(np.uint16) * 257 + 3, alpha.astype(np.uint16) * 257)
    assert np.array_equal(deep[alpha > 0], pixels[alpha > 0].astype(np.uint16) * 257 + 3)
    assert np.array_equal(deep[alpha == 0] // 257, filled[alpha == 0])


def test_nothing_to_fill() -> None:
    for alpha in (None, np.full((40, 56), 255, np.uint8), np.full((40, 56), 7, np.uint8), np.zeros((40, 56), np.uint8)):
        assert np.array_equal(fill_transparent(NOISE, alpha), NOISE)


# Orientation and metadata


def exif_block(orientation: int | None = None) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    if orientation is not None:
        exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8769)[0xA001] = 65535
    exif.get_ifd(0x8825)[1] = "N"
    return exif.tobytes()


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The rows and columns that a camera stores which notes this orientation (EXIF 2.3, 4.6.4 A)."""
    turn = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }
    return np.ascontiguousarray(turn.get(orientation, upright))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "LZW"])
def test_orientation_is_applied_once(format: str, orientation: int) -> None:
    pixels = np.zeros((24, 40, 3), np.uint8)  # four corners of four colours
    pixels[:12, :20], pixels[:12, 20:], pixels[12:, :20] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    if format == "LZW":  # another way through Pillow, which turns TIFFs by itself; no sub-directory fits in
        data = encoded(
            stored(pixels, orientation),
            "TIFF",
            compression="tiff_lzw",
            tiffinfo={0x010F: "Camera", 0x0112: orientation},
        )
    else:
        lossy = {"quality": 95, "subsampling": 0 if format == "JPEG" else "4:4:4"}
        options = {"WEBP": {"lossless": True}, "JPEG": lossy, "AVIF": lossy}.get(format, {})
        data = encoded(stored(pixels, orientation), format, exif=exif_block(orientation), **options)
    picture = read_image(data)
    assert picture.pixels.shape == pixels.shape
    assert np.abs(picture.pixels.astype(int) - pixels).mean() < 4
    exif = Image.Exif()
    exif.load(picture.exif)
    assert exif.get(0x0112, 1) == 1  # AVIF says it outside EXIF
    again = read_image(encode_image(picture.pixels, like=picture, format="PNG").data)
    assert np.array_equal(again.pixels, picture.pixels)


def test_alpha_turns_with_the_picture() -> None:
    alpha = np.arange(6 * 9, dtype=np.uint8).reshape(6, 9)
    data = encoded(np.dstack([NOISE[:6, :9], alpha]), exif=exif_block(6))
    assert np.array_equal(read_image(data).alpha, np.rot90(alpha, -1))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_meaningless_orientation_is_ignored(orientation: int) -> None:
    assert np.array_equal(read_image(encoded(NOISE, exif=exif_block(orientation))).pixels, NOISE)


def test_orientation_in_xmp_is_applied_and_reset() -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    picture = read_image(encoded(NOISE, "WEBP", lossless=True, xmp=xmp))
    assert np.array_equal(picture.pixels, np.rot90(NOISE, -1))
    assert picture.xmp == xmp.replace(b"6", b"1")


@pytest.mark.parametrize("block", [b"Exif\0\0garbage!", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0MM\0\0"])
def test_broken_exif_does_not_stop_reading(block: bytes) -> None:
    picture = read_image(encoded(NOISE, exif=block))
    assert np.array_equal(picture.pixels, NOISE)
    assert picture.exif is None


def test_broken_exif_is_told() -> None:
    assert read_image(encoded(NOISE, exif=b"Exif\0\0garbage!")).warnings == ("its EXIF is damaged and was dropped",)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("source", ["JPEG", "TIFF"])
def test_metadata_travel(source: str, format: str) -> None:
    xmp = b"<x:xmpmeta>hello</x:xmpmeta>"
    tags = Image.Exif()
    tags.load(exif_block(1))
    tags[700] = xmp
    options = {"exif": tags} if source == "TIFF" else {"exif": exif_block(1), "xmp": xmp}
    picture = read_image(encoded(NOISE, source, dpi=(300, 150), **options))
    again = read_image(encode_image(NOISE[:20, :20], like=picture, format=format).data)
    assert again.pixels.shape == (20, 20, 3)
    assert again.warnings == ()
    exif = Image.Exif()
    exif.load(again.exif)
    assert exif[0x010F] == "Camera"
    assert exif.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
    assert exif.get_ifd(0x8769)[0xA001] == 1  # the pixels are sRGB now
    assert exif.get_ifd(0x8825)[1] == "N"
    assert not {256, 257, 273, 279} & set(exif)  # where a TIFF keeps its pixels is nobody else's business
    assert again.xmp == xmp
    if format not in ("WEBP", "AVIF"):
        assert again.dpi == pytest.approx((300, 150), abs=0.1)


def test_metadata_of_bigtiff() -> None:
    tags = Image.Exif()
    tags.load(exif_block(3))
    picture = read_image(encoded(NOISE, "TIFF", exif=tags, big_tiff=True))
    assert np.array_equal(picture.pixels, NOISE[::-1, ::-1])
    for format in ("JPEG", "TIFF"):
        exif = Image.Exif()
        exif.load(read_image(encode_image(NOISE, like=picture, format=format).data).exif)
        assert exif[0x010F] == "Camera"
        assert exif.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
        assert exif.get_ifd(0x8825)[1] == "N"


def test_exif_thumbnail_shows_the_photo_before_and_is_dropped() -> None:
    entry = struct.pack("<HHI", 0x0112, 3, 1) + struct.pack("<HH", 1, 0)
    second = struct.pack("<H", 2) + struct.pack("<HHII", 0x0201, 4, 1, 56) + struct.pack("<HHII", 0x0202, 4, 1, 9)
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + struct.pack("<I", 26) + second + bytes(4)
    picture = read_image(encoded(NOISE, exif=block + b"thumbnail"))
    assert picture.exif is not None
    assert b"thumbnail" not in picture.exif


def test_metadata_too_long_for_jpeg_are_left_out() -> None:
    like = Picture(NOISE, None, "JPEG", exif=exif_block(1), xmp=b"x" * 70_000)
    data, warnings = encode_image(NOISE, like=like)
    assert len(warnings) == 1
    assert read_image(data).exif is not None


GPS_XMP = (
    b'<x:xmpmeta><rdf:Description exif:GPSLatitude="48,51.5N" dc:title="Tower" exif:GPSAltitude=\'35/1\'>'
    b"<exif:GPSLongitude>2,17.7E</exif:GPSLongitude><exif:GPSTimeStamp/></rdf:Description></x:xmpmeta>"
)


def test_what_is_kept_of_the_metadata() -> None:
    picture = read_image(encoded(NOISE, "JPEG", exif=exif_block(1), xmp=GPS_XMP, dpi=(300, 300)))
    kept = read_image(encode_image(NOISE, like=picture, metadata="keep").data)
    assert kept.xmp == GPS_XMP
    assert kept.exif == picture.exif
    placeless = read_image(encode_image(NOISE, like=picture, metadata="no-gps").data)
    assert placeless.xmp == b'<x:xmpmeta><rdf:Description dc:title="Tower"/></x:xmpmeta>'
    exif = Image.Exif()
    exif.load(placeless.exif)
    assert (exif[0x010F], dict(exif.get_ifd(0x8825))) == ("Camera", {})
    assert exif.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
    assert placeless.dpi == kept.dpi == (300, 300)
    for format in ("JPEG", "PNG", "TIFF", "WEBP", "AVIF"):
        data = encode_image(NOISE, like=picture, format=format, metadata="strip").data
        stripped = read_image(data)
        assert stripped.xmp is None
        assert stripped.dpi != (300, 300)
        assert b"Camera" not in data and b"Tower" not in data


def test_the_place_that_iptc_names_goes_with_the_others() -> None:
    xmp = (
        b'<x:xmpmeta><rdf:Description photoshop:City="Berlin" photoshop:Credit="Me" Iptc4xmpCore:CountryCode="DE">'
        b"<Iptc4xmpCore:Location>Home</Iptc4xmpCore:Location><photoshop:Country/>"
        b"<Iptc4xmpExt:LocationShown><rdf:Bag><rdf:li Iptc4xmpExt:City='Berlin'/></rdf:Bag></Iptc4xmpExt:LocationShown>"
        b"</rdf:Description></x:xmpmeta>"
    )
    like = Picture(NOISE, None, "PNG", xmp=xmp)
    kept = read_image(encode_image(NOISE, like=like, metadata="no-gps").data).xmp
    assert kept == b'<x:xmpmeta><rdf:Description photoshop:Credit="Me"/></x:xmpmeta>'
    assert read_image(encode_image(NOISE, like=like).data).xmp == xmp


@pytest.mark.parametrize("orientation", range(1, 9))
def test_numbers_about_the_sides_turn_with_the_picture(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[282], exif[283] = orientation, 300.0, 150.0
    exif.get_ifd(0x8769).update({0xA002: 48, 0xA003: 32})
    xmp = f'<x:xmpmeta><a tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
    picture = read_image(encoded(NOISE[:32, :48], "JPEG", exif=exif.tobytes(), dpi=(300, 150), xmp=xmp))
    sideways = orientation > 4
    assert picture.pixels.shape[:2] == ((48, 32) if sideways else (32, 48))
    tags = Image.Exif()
    tags.load(picture.exif)
    details = tags.get_ifd(0x8769)
    assert (details[0xA002], details[0xA003]) == ((32, 48) if sideways else (48, 32))
    assert (tags[282], tags[283]) == picture.dpi == ((150, 300) if sideways else (300, 150))
    assert picture.xmp == b'<x:xmpmeta><a tiff:Orientation="1"/></x:xmpmeta>'


@pytest.mark.parametrize(
    ("xmp", "rest"),
    [
        (b'<a other:GPSLatitude="1"/>', b"<a/>"),
        ('<a exif:GPSLatitude="1"/>'.encode("utf-16"), b"<a/>"),
        (b"<exif:GPSLatitude>1", None),  # no XML
        (b'<!DOCTYPE a [<!ENTITY e "GPS">]><a>&e;</a>', None),
    ],
)
def test_places_in_odd_xmp_are_taken_out_or_all_of_it(xmp: bytes, rest: bytes | None) -> None:
    like = Picture(NOISE, None, "PNG", xmp=xmp)
    encoded = encode_image(NOISE, like=like, metadata="no-gps")
    assert read_image(encoded.data).xmp == rest
    assert len(encoded.warnings) == (rest is None)


def test_places_in_geotiff() -> None:
    tags = Image.Exif()
    tags[0x010F] = "Camera"
    tags[33922] = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    picture = read_image(encoded(NOISE, "TIFF", exif=tags))
    with Image.open(io.BytesIO(encode_image(NOISE, like=picture, metadata="keep").data)) as image:
        assert 33922 in image.getexif()
    with Image.open(io.BytesIO(encode_image(NOISE, like=picture, metadata="no-gps").data)) as image:
        assert 33922 not in image.getexif()
        assert image.getexif()[0x010F] == "Camera"


# Colour profiles


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_profile_is_converted_to_srgb(format: str) -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0] = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    pixels[1] = [[255, 255, 255], [0, 0, 0], [200, 90, 90]]
    picture = read_image(encoded(pixels, format, icc_profile=SWAPPED))
    assert difference(picture.pixels, pixels[..., [1, 0, 2]]) <= 4  # gamma 2.2 is not quite the sRGB curve
    assert picture.warnings == ()


def test_wide_gamut() -> None:
    picture = read_image(encoded(np.full((4, 4, 3), (200, 100, 100), np.uint8), icc_profile=DISPLAY_P3))
    red, green, blue = picture.pixels[0, 0].astype(int)
    assert 208 <= red <= 218 and 88 <= green <= 98 and 91 <= blue <= 101  # the same red, in a smaller gamut


def test_alpha_survives_colour_conversion() -> None:
    alpha = RNG.integers(0, 256, (40, 56), dtype=np.uint8)
    tagged = read_image(encoded(np.dstack([NOISE, alpha]), icc_profile=SWAPPED))
    assert np.array_equal(tagged.alpha, alpha)
    assert np.array_equal(tagged.pixels, read_image(encoded(NOISE, icc_profile=SWAPPED)).pixels)


def test_srgb_is_not_converted() -> None:
    assert np.array_equal(read_image(encoded(NOISE, icc_profile=SRGB)).pixels, NOISE)


def test_grey_picture_with_rgb_profile() -> None:
    picture = read_image(encoded(RAMP.astype(np.uint8), icc_profile=SRGB))
    assert np.array_equal(picture.pixels[..., 0], RAMP.astype(np.uint8))
    assert picture.warnings == ()


@pytest.mark.parametrize("profile", [b"not a profile", SRGB[:200], bytes(500)])
def test_broken_profile_is_told_and_ignored(profile: bytes) -> None:
    picture = read_image(encoded(NOISE, icc_profile=profile))
    assert np.array_equal(picture.pixels, NOISE)
    assert picture.warnings == ("its colour profile is unusable: read as sRGB",)


def test_profile_of_another_colour_space_is_ignored() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture = read_image(encoded(NOISE, icc_profile=lab))
    assert np.array_equal(picture.pixels, NOISE)
    assert picture.warnings == ("its colour profile is unusable: read as sRGB",)


# Frames and formats


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_only_the_first_frame_is_used(format: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    picture = read_image(encoded(frames[0], format, save_all=True, append_images=frames[1:]))
    assert difference(picture.pixels, np.full((16, 16, 3), (255, 0, 0))) <= 2
    assert picture.warnings == ("has 3 frames: only the first is used",)
    assert picture.format == ("JPEG" if format == "MPO" else format)


def test_a_cameras_preview_is_no_frame() -> None:
    """Cameras append smaller copies for screens to their JPEGs; phones, maps of gain or depth."""
    photo, small = Image.fromarray(SMOOTH), Image.fromarray(SMOOTH[::2, ::2])
    tone = Image.fromarray(SMOOTH[..., 0])
    for others in ([small], [tone], [small, tone]):
        picture = read_image(encoded(photo, "MPO", save_all=True, append_images=others))
        assert (picture.warnings, picture.format) == ((), "JPEG")
    data = encoded(photo, "MPO", save_all=True, append_images=[photo])
    entry = data.index(struct.pack("<I", 0x030000)) + 16  # after that of the first picture
    preview = data[:entry] + struct.pack("<I", 0x010001) + data[entry + 4 :]
    assert read_image(preview).warnings == ()
    assert read_image(data).warnings == ("has 2 frames: only the first is used",)


def test_a_file_of_very_many_frames_is_not_counted_to_the_end() -> None:
    frame = Image.new("L", (1, 1))
    data = encoded(frame, "TIFF", save_all=True, append_images=[frame] * 150)
    assert read_image(data).warnings == ("has over 99 frames: only the first is used",)


def grey_tiff(values: np.ndarray, bits: int, photometric: int) -> bytes:
    """A TIFF of one strip, its values as they are: 16 bits, or 12 packed."""
    height, width = values.shape
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(int)
        packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1)
        raw = packed.astype(np.uint8).tobytes()
    else:
        raw = values.astype("<u2").tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height)]
    tags.append((279, len(raw)))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(raw)) + raw + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("depth", ["8", "auto"])
@pytest.mark.parametrize(("bits", "photometric"), [(12, 1), (16, 1), (16, 0)])
def test_grey_tiffs_of_any_depth_and_either_sign(bits: int, photometric: int, depth: str) -> None:
    tones = np.linspace(0, 1, 32 * 16).reshape(16, 32)
    values = np.rint((tones if photometric else 1 - tones) * (2**bits - 1))
    found = read_image(grey_tiff(values, bits, photometric), bit_depth=depth).pixels
    expected = tones * (255 if depth == "8" else 65_535)
    assert np.abs(found - expected[..., None]).max() <= (1 if depth == "8" else 17)


def test_damage_behind_the_first_frame_does_no_harm() -> None:
    data = bytearray(encoded(NOISE, "TIFF"))
    directory = struct.unpack_from("<I", data, 4)[0]
    following = directory + 2 + 12 * struct.unpack_from("<H", data, directory)[0]
    data[following : following + 4] = struct.pack("<I", 3)  # "the next picture is here", in the middle of a header
    assert np.array_equal(read_image(bytes(data)).pixels, NOISE)


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode_image(NOISE, format="PNG").data)
    assert read_image(path).format == "PNG"
    assert sniff_format(path)


def test_heic_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "IMG_1.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    assert sniff_format(path)
    error = refusal(path, name="IMG_1.heic")
    assert error.message == 'cannot read IMG_1.heic: HEIC needs the "heif" extra'
    assert error.hint == 'pip install ".[heif]"'


def test_heic_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    class HeifFile(Image.Image):
        """Stands for the plug-in: any file is a red picture."""

        format = "HEIF"
        tile: tuple[()] = ()

    def open_heif(stream: io.BytesIO, name: str) -> Image.Image:
        picture = HeifFile()
        picture.__dict__.update(Image.new("RGB", (4, 3), "red").__dict__)
        return picture

    plugin = ModuleType("pillow_heif")
    plugin.register_heif_opener = lambda: monkeypatch.setitem(Image.OPEN, "HEIF", (open_heif, None))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    picture = read_image(b"\0\0\0\x18ftypheic" + bytes(100))
    assert picture.format == "HEIF"
    assert picture.pixels[0, 0].tolist() == [255, 0, 0]
    assert encode_image(picture.pixels, like=picture).data.startswith(b"\xff\xd8\xff")  # written as JPEG


def test_real_heic() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    smooth = np.asarray(Image.fromarray(SMOOTH).resize((64, 48)))
    alpha = np.asarray(Image.fromarray(RAMP.astype(np.uint8)).resize((64, 48)))
    picture = read_image(encoded(np.dstack([smooth, alpha]), "HEIF", quality=100, icc_profile=DISPLAY_P3))
    assert picture.format == "HEIF"
    assert picture.native is not None and picture.native.values is not None
    assert np.abs(picture.native.values.astype(int) - smooth).mean() < 3
    assert picture.alpha is not None
    assert np.abs(picture.alpha.astype(int) - alpha).mean() < 2
    data, _ = encode_image(picture.pixels, like=picture)
    assert read_image(data).format == "JPEG"
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["icc_profile"] == DISPLAY_P3
    whole = encoded(smooth, "HEIF")
    assert "truncated or damaged" in refusal(whole[: len(whole) // 2]).message


def test_camera_raw_is_refused_rather_than_read_as_its_thumbnail() -> None:
    tags = Image.Exif()
    tags[50706] = b"\1\4\0\0"
    assert "camera raw" in refusal(encoded(NOISE, "TIFF", exif=tags)).message


# Refusals


CUT_KINDS = {
    "jpeg": encoded(NOISE, "JPEG"),
    "progressive": encoded(NOISE, "JPEG", progressive=True),
    "png": encoded(NOISE, "PNG"),
    "webp": encoded(NOISE, "WEBP"),
    "tiff": encoded(NOISE, "TIFF"),
    "lzw": encoded(NOISE, "TIFF", compression="tiff_lzw"),
    "avif": encoded(NOISE, "AVIF"),
}


def test_no_pixels_at_all() -> None:
    assert (
        "damaged" in refusal(png(struct.pack(">IIBBBBB", 0, 7, 8, 2, 0, 0, 0), (b"IDAT", zlib.compress(b"")))).message
    )


@pytest.mark.parametrize("kind", CUT_KINDS)
@pytest.mark.parametrize("part", [0.01, 0.1, 0.3, 0.5, 0.9, 0.99])
def test_truncated_files_are_refused(kind: str, part: float) -> None:
    data = CUT_KINDS[kind]
    error = refusal(data[: max(16, int(len(data) * part))], name="photo.jpg")
    assert error.message.startswith("cannot read photo.jpg: file is truncated")
    assert error.hint.startswith("copy the file again")


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff"])
def test_truncation_is_named_exactly_where_it_is_certain(kind: str) -> None:
    error = refusal(CUT_KINDS[kind][: len(CUT_KINDS[kind]) // 2], name="photo.jpg")
    assert error.message == "cannot read photo.jpg: file is truncated"


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png", "tiff"])
def test_truncated_files_can_be_read_as_far_as_they_go(kind: str) -> None:
    data = CUT_KINDS[kind]
    picture = read_image(data[: int(len(data) * 0.6)], allow_truncated=True)
    assert picture.warnings == ("is truncated: what is missing is black",)
    whole = read_image(data).pixels
    assert picture.pixels.shape == whole.shape
    if kind != "progressive":
        assert np.array_equal(picture.pixels[:8], whole[:8])
        assert (picture.pixels[:8] != picture.pixels[-8:]).any()
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert read_image(data, allow_truncated=True).warnings == ()


@pytest.mark.parametrize("kind", CUT_KINDS)
def test_too_little_is_refused_all_the_same(kind: str) -> None:
    with pytest.raises(InputError):
        read_image(CUT_KINDS[kind][:24], allow_truncated=True)


def one_bit_png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return png(header, (b"IDAT", zlib.compress(bytes(10))))


def test_bombs_are_refused_from_the_header() -> None:
    error = refusal(one_bit_png(30_000, 30_000), name="x.png")
    assert error.message == "cannot read x.png: 30000x30000 pixels is over the limit of 178 MP"
    assert error.hint == "`max_pixels` 1000000000 if you trust this file"


def test_the_limit_is_an_argument_in_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_image(NOISE).data
    assert "over the limit of 2239 pixels" in refusal(data, max_pixels=40 * 56 - 1).message
    assert read_image(data, max_pixels=40 * 56).pixels.shape == (40, 56, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow's guard must not refuse what the user allowed
    assert read_image(data, max_pixels=40 * 56).pixels.shape == (40, 56, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_gif_whose_frame_is_larger_than_its_header_says() -> None:
    data = bytearray(encoded(Image.new("L", (200, 200)), "GIF"))
    data[6:10] = struct.pack("<HH", 1, 1)
    assert "200x200 pixels" in refusal(bytes(data), max_pixels=10_000).message


@pytest.mark.parametrize(
    "content", [b"Dear diary,\n" * 50, b"<html>404</html>", b"BMW is a car", b"P1 is a level", b"\0" * 99]
)
def test_not_an_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.png"
    path.write_bytes(content)
    assert refusal(path, name="notes.png").message == (
        "cannot read notes.png: not an image stylize can open (JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF)"
    )


def test_a_list_of_photos_is_no_photo(tmp_path: Path) -> None:
    path = tmp_path / "wanted.txt"
    path.write_text("a.jpg\nb.jpg\n")
    assert refusal(path).hint == f"if it lists photos: stylize batch @{path}"


def test_formats_outside_the_list_are_not_opened() -> None:
    for format in ("EPS", "ICO", "TGA", "DDS", "PCX"):
        assert "not an image stylize can open" in refusal(encoded(NOISE, format)).message


def test_empty(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.touch()
    assert refusal(path).message == f"cannot read {path}: file is empty"
    assert refusal(b"").message == "cannot read <stdin>: file is empty"
    assert not sniff_format(path)


def test_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path).message == f"cannot read {tmp_path}: a folder"
    assert not sniff_format(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_fifos_sockets_and_devices_do_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets must be short
    os.mkfifo("pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        for name in ("pipe.png", "socket.png", "/dev/zero"):
            assert refusal(Path(name)).message == f"cannot read {name}: not a regular file"
            assert not sniff_format(Path(name))


def test_missing_file_with_a_near_name(tmp_path: Path) -> None:
    (tmp_path / "portrait.jpg").touch()
    error = refusal(tmp_path / "potrait.jpg")
    assert error.message == f"cannot read {tmp_path / 'potrait.jpg'}: no such file"
    assert error.hint == f"did you mean {tmp_path / 'portrait.jpg'}?"
    assert refusal(tmp_path / "zzz.tif").hint == ""
    assert refusal(tmp_path / "nowhere" / "portrait.jpg").hint == ""
    with pytest.raises(FileNotFoundError):
        sniff_format(tmp_path / "gone.jpg")


def test_impossible_names() -> None:
    long = refusal(Path("x" * 5000))
    assert long.message.endswith("file name too long") and long.hint == "a shorter name"
    assert "null" in refusal(Path("a\0b")).message


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encode_image(NOISE).data)
    path.chmod(0)
    assert refusal(path).message.endswith("permission denied") and "permissions" in refusal(path).hint


def test_names_are_printed_safely() -> None:
    assert shown("a b é 日本.png") == "a b é 日本.png"
    assert shown(Path("x\n\x1b[31m\udcff\u202e.png")) == r"x\n\x1b[31m\udcff\u202e.png"
    assert r"evil\x1b.png" in refusal(Path("evil\x1b.png")).message


SEEDS = [
    encoded(NOISE[:12, :9], "JPEG", exif=exif_block(6)),
    encoded(np.dstack([NOISE[:12, :9], NOISE[:12, :9, 0]]), "PNG", exif=exif_block(3), icc_profile=SWAPPED),
    encoded(Image.fromarray(NOISE[:12, :9]), "GIF", save_all=True, append_images=[Image.new("RGB", (9, 12))]),
    encoded(NOISE[:12, :9], "TIFF", exif=exif_block(8), icc_profile=SWAPPED),
    encoded(NOISE[:12, :9], "TIFF", compression="tiff_lzw"),
    encoded(NOISE[:12, :9], "WEBP", exif=exif_block(5)),
    encoded(NOISE[:12, :9], "BMP"),
    encoded(NOISE[:12, :9], "PPM"),
    encoded(NOISE[:12, :9], "AVIF"),
    encoded(NOISE[:12, :9], "MPO", save_all=True, append_images=[Image.new("RGB", (9, 12))]),
]
EDITS = st.lists(
    st.tuples(st.floats(0, 0.999), st.sampled_from(["set", "cut", "drop", "double"]), st.integers(0, 255)), max_size=6
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.sampled_from(SEEDS), edits=EDITS)
def test_damaged_files_give_a_picture_or_a_refusal(seed: bytes, edits: list[tuple[float, str, int]]) -> None:
    data = bytearray(seed)
    for place, edit, value in edits:
        at = int(place * len(data))
        if edit == "set" and data:
            data[at] = value
        elif edit == "cut" and value > 200:  # seldom: little is left afterwards
            del data[at:]
        elif edit == "drop":
            del data[at : at + value % 8]
        elif edit == "double":
            data[at:at] = data[at : at + value]
    try:
        picture = read_image(bytes(data), max_pixels=10_000)
    except InputError as error:
        assert error.message.startswith("cannot read <stdin>: ")
    else:
        assert picture.pixels.ndim == 3 and picture.pixels.shape[0] * picture.pixels.shape[1] <= 10_000
        assert picture.alpha is None or picture.alpha.shape == picture.pixels.shape[:2]
        encode_image(picture.pixels, alpha=picture.alpha, like=picture, format="PNG")
        encode_image(picture.pixels, like=picture, format="TIFF")


# Writing


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_the_suffix_chooses_the_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix.upper()}"
    write_image(path, SMOOTH, like=Picture(SMOOTH, None, "PNG"))
    assert read_image(path).format == SUFFIXES[suffix]
    assert SUFFIXES[suffix_of(SUFFIXES[suffix])] == SUFFIXES[suffix]


@pytest.mark.parametrize("name", ["out.xyz", "out", "out.psd"])
def test_unknown_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError) as caught:
        write_image(tmp_path / name, NOISE)
    assert caught.value.exit_code == 4
    assert ".png" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_streams_get_the_format_of_the_picture() -> None:
    for like, format in ((Picture(NOISE, None, "WEBP"), "WEBP"), (None, "PNG")):
        stream = io.BytesIO()
        write_image(stream, NOISE, like=like)
        assert read_image(stream.getvalue()).format == format


def test_jpeg_keeps_full_colour_resolution() -> None:
    with Image.open(io.BytesIO(encode_image(NOISE, format="JPEG").data)) as image:
        assert {layer[1:3] for layer in image.layer} == {(1, 1)}  # type: ignore[attr-defined]


@pytest.mark.parametrize("format", FORMATS)
def test_same_input_same_bytes(format: str) -> None:
    like = Picture(NOISE, None, format, exif=exif_block(1), dpi=(72, 72), xmp=b"<x/>")
    assert encode_image(NOISE, like=like) == encode_image(NOISE.copy(), like=like)


@pytest.mark.parametrize(("format", "side"), [("JPEG", 65_501), ("WEBP", 16_384)])
def test_too_large_for_the_format(format: str, side: int) -> None:
    with pytest.raises(OutputError, match=f"cannot hold {side}x1 pixels") as caught:
        encode_image(np.zeros((1, side, 3), np.uint8), format=format)
    assert ".png" in caught.value.hint
    assert encode_image(np.zeros((1, side - 1, 3), np.uint8), format=format).data


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_stream() -> None:
    with open("/dev/full", "wb", buffering=0) as stream, pytest.raises(OutputError, match="/dev/full"):
        write_image(stream, NOISE)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_strange_names_work(tmp_path: Path) -> None:
    for name in ("-o.png", "two words.png", "line\nbreak.png", "🙂.png", "\udcff.png", "x" * 251 + ".png"):
        try:
            write_image(tmp_path / name, NOISE)
        except OutputError:  # some file systems insist on UTF-8; then the name is shown escaped
            assert name == "\udcff.png"
        else:
            assert np.array_equal(read_image(tmp_path / name).pixels, NOISE)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Pillow's libtiff cannot be told to be silent")
def test_what_libtiff_thinks_of_a_file_is_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    data = encoded(noise, "TIFF", compression="tiff_lzw")
    with pytest.raises(InputError, match="damaged"):
        read_image(data[:5000] + b"\xff" * 2000 + data[7000:])
    assert capfd.readouterr() == ("", "")
