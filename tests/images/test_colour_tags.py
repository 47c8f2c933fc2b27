"""Colours that a file tells without a profile are seen in the result as they were in the photo."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from profiles import ADOBE_COLUMNS, DISPLAY_P3, P3_COLUMNS, SRGB_COLUMNS, Columns, delta_e, rgb_to_lab

from stylize.images.colour_tags import hlg_light, pq_light
from stylize.images.reading import read_image
from stylize.images.writing import encode_image

RNG = np.random.default_rng(3)
# Smooth, so that lossy formats keep it, and of colours that every space has.
SMALL = RNG.integers(70, 190, (6, 8, 3), dtype=np.uint8)
MUTED = np.asarray(Image.fromarray(SMALL).resize((256, 192), Image.Resampling.BICUBIC))
VIVID = RNG.integers(0, 256, (40, 56, 3), dtype=np.uint8)
SRGB_CODE, P3_CODE = bytes((1, 13, 0, 1)), bytes((12, 13, 0, 1))


def encoded(image: Image.Image | np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, format, **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of 8 or 16 bits, grey or RGB, with further chunks before its pixels."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(f">u{values.itemsize}").tobytes() for row in values)
    header = struct.pack(">II5B", width, height, 8 * values.itemsize, 2 if values.ndim == 3 else 0, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def gamma_chunk(exponent: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(exponent * 100_000))


def corners_chunk(*numbers: float) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(number * 100_000) for number in numbers))


def adobe_exif(index: str = "R03", space: int = 65_535) -> bytes:
    tags = Image.Exif()
    tags[0x010F] = "Camera"
    tags.get_ifd(0x8769)[0xA001] = space
    if index:
        tags.get_ifd(0x8769)[0xA005] = {1: index, 2: b"0100"}
    return tags.tobytes()


def adobe_tiff(values: np.ndarray) -> bytes:
    """A TIFF of one strip with directories of EXIF and interoperability, which Pillow does not write soundly."""
    height, width = values.shape[:2]
    rest = 8 + values.nbytes
    bits, interop, exif, first = rest, rest + 6, rest + 6 + 30, rest + 6 + 60
    layout = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, bits), (259, 3, 1, 1), (262, 3, 1, 2)]
    layout += [(273, 4, 1, 8), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, values.nbytes), (34_665, 4, 1, exif)]
    index = int.from_bytes(b"R03\0", "little")

    def directory(*entries: tuple[int, int, int, int]) -> bytes:
        return struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries) + bytes(4)

    data = b"II*\0" + struct.pack("<I", first) + values.tobytes() + struct.pack("<3H", 8, 8, 8)
    data += directory((1, 2, 4, index), (2, 7, 4, int.from_bytes(b"0100", "little")))
    return data + directory((0xA001, 3, 1, 65_535), (0xA005, 4, 1, interop)) + directory(*layout)


def with_nclx(primaries: int, curve: int, image: np.ndarray = MUTED) -> bytes:
    """An AVIF whose container gives its colours these numbers."""
    data = encoded(image, "AVIF", quality=100, subsampling="4:4:4")
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, curve) + data[at + 4 :]


def viewed(data: bytes) -> np.ndarray:
    """CIE L*a*b* as a viewer shows it that knows profiles, and nothing else."""
    with Image.open(io.BytesIO(data)) as image:
        profile, shown = image.info.get("icc_profile"), image.convert("RGB")
    if profile:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(shown, source, ImageCms.createProfile("sRGB"), renderingIntent=1)
        assert converted is not None
        shown = converted
    return rgb_to_lab(np.asarray(shown) / 255, SRGB_COLUMNS, None)


def profile_name(data: bytes) -> str | None:
    with Image.open(io.BytesIO(data)) as image:
        profile = image.info.get("icc_profile")
    return profile and ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()


ADOBE_CORNERS = corners_chunk(0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
P3_CORNERS = corners_chunk(0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
TOLD: dict[str, tuple[bytes, Columns, float | None]] = {  # a file, and what its values mean
    "cICP, P3": (png(MUTED, (b"cICP", P3_CODE)), P3_COLUMNS, None),
    "cICP, gamma 2.2": (png(MUTED, (b"cICP", bytes((1, 4, 0, 1)))), SRGB_COLUMNS, 2.2),
    "cICP, linear P3": (png(MUTED, (b"cICP", bytes((12, 8, 0, 1)))), P3_COLUMNS, 1.0),
    "gAMA, linear": (png(MUTED, gamma_chunk(1.0)), SRGB_COLUMNS, 1.0),
    "gAMA, 1.8": (png(MUTED, gamma_chunk(1 / 1.8)), SRGB_COLUMNS, 1.8),
    "gAMA and cHRM, Adobe RGB": (png(MUTED, gamma_chunk(256 / 563), ADOBE_CORNERS), ADOBE_COLUMNS, 563 / 256),
    "cHRM, P3": (png(MUTED, P3_CORNERS), P3_COLUMNS, None),
    "EXIF in JPEG": (encoded(MUTED, "JPEG", quality=100, exif=adobe_exif()), ADOBE_COLUMNS, 563 / 256),
    "EXIF in PNG": (encoded(MUTED, exif=adobe_exif()), ADOBE_COLUMNS, 563 / 256),
    "EXIF in TIFF": (adobe_tiff(MUTED), ADOBE_COLUMNS, 563 / 256),
    "EXIF of some cameras": (encoded(MUTED, exif=adobe_exif("", 2)), ADOBE_COLUMNS, 563 / 256),
    "nclx, P3": (with_nclx(12, 13), P3_COLUMNS, None),
}


@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP", "AVIF", "BMP"])
def test_a_viewer_sees_the_photo(told: str, format: str) -> None:
    data, columns, gamma = TOLD[told]
    picture = read_image(data)
    assert picture.warnings == ()
    with Image.open(io.BytesIO(data)) as image:
        photo = rgb_to_lab(np.asarray(image.convert("RGB")) / 255, columns, gamma)
    assert delta_e(rgb_to_lab(MUTED / 255, SRGB_COLUMNS, None), photo) > 0.5  # to take it for sRGB would change it
    written, warnings = encode_image(picture.pixels, like=picture, format=format, quality=100)
    assert [warning for warning in warnings if warning != "BMP cannot hold its EXIF: left out"] == []
    assert delta_e(viewed(written), photo) < (1.5 if format in ("WEBP", "AVIF") else 1)  # those lose some themselves


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("cICP, P3", "Display P3"),
        ("EXIF in JPEG", "Compatible with Adobe RGB (1998)"),
        ("EXIF of some cameras", "Compatible with Adobe RGB (1998)"),
        ("cICP, linear P3", "P3 D65, curve of sRGB"),
        ("gAMA, linear", None),
    ],
)
def test_the_result_says_what_its_colours_are(told: str, name: str | None) -> None:
    picture = read_image(TOLD[told][0])
    assert profile_name(encode_image(picture.pixels[::-1], like=picture).data) == name


@pytest.mark.parametrize("chunks", [(b"cICP", P3_CODE), ADOBE_CORNERS])
def test_what_is_not_stylised_keeps_its_values(chunks: tuple[bytes, bytes]) -> None:
    picture = read_image(png(VIVID, chunks))
    with Image.open(io.BytesIO(encode_image(picture.pixels, like=picture).data)) as image:
        assert np.array_equal(np.asarray(image), VIVID)


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"cICP", SRGB_CODE)],
        [(b"sRGB", b"\0"), gamma_chunk(0.5)],
        [gamma_chunk(0.45455)],
        [gamma_chunk(0.45455), corners_chunk(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)],
        [gamma_chunk(0)],
        [corners_chunk(*[0.0] * 8)],
        [corners_chunk(*[0.3] * 8)],
        [(b"cICP", b"\1")],
    ],
)
def test_srgb_is_left_alone_however_it_is_told(chunks: list[tuple[bytes, bytes]]) -> None:
    picture = read_image(png(VIVID, *chunks))
    assert np.array_equal(picture.pixels, VIVID)
    assert (picture.native, picture.warnings) == (None, ())


def test_what_goes_before_what() -> None:
    profile = (b"iCCP", b"p\0\0" + zlib.compress(DISPLAY_P3))
    plain = read_image(png(VIVID, profile)).pixels
    assert np.array_equal(read_image(png(VIVID, gamma_chunk(1), profile)).pixels, plain)  # the profile before gAMA
    assert np.array_equal(read_image(png(VIVID, (b"cICP", SRGB_CODE), profile)).pixels, VIVID)  # cICP before it
    tagged = read_image(encoded(VIVID, icc_profile=DISPLAY_P3, exif=adobe_exif()))
    assert np.array_equal(tagged.pixels, plain)
    assert np.array_equal(read_image(encoded(VIVID, exif=adobe_exif("R03", 1))).pixels, VIVID)  # it says sRGB


@pytest.mark.parametrize("index", ["R98", ""])
def test_colours_that_are_not_srgb_but_nobody_says_which(index: str) -> None:
    picture = read_image(encoded(VIVID, exif=adobe_exif(index)))
    assert picture.warnings == ("its EXIF says that its colours are not sRGB, but not which: read as sRGB",)


def test_codes_that_mean_nothing() -> None:
    for data in (png(VIVID, (b"cICP", bytes((77, 13, 0, 1)))), with_nclx(1, 99)):
        assert "not known: read as sRGB" in read_image(data).warnings[0]
    assert "narrow range" in read_image(png(VIVID, (b"cICP", bytes((12, 13, 0, 0))))).warnings[0]


def test_16_bits_are_read_as_told() -> None:
    pytest.importorskip("OpenImageIO")
    values = MUTED.astype(np.uint16) * 257
    picture = read_image(png(values, (b"cICP", P3_CODE)), bit_depth="auto")
    assert picture.pixels.dtype == np.uint16
    photo = rgb_to_lab(MUTED / 255, P3_COLUMNS, None)
    assert delta_e(rgb_to_lab(picture.pixels / 65_535, SRGB_COLUMNS, None), photo) < 0.1
    linear = read_image(png(values, gamma_chunk(1.0)), bit_depth="auto")
    light = rgb_to_lab(MUTED / 255, SRGB_COLUMNS, 1.0)
    assert delta_e(rgb_to_lab(linear.pixels / 65_535, SRGB_COLUMNS, None), light) < 0.1


def test_grey_values_have_a_gamma_too() -> None:
    tones = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for chunks in ([gamma_chunk(1.0)], [(b"cICP", bytes((9, 18, 0, 1)))]):
        pixels = read_image(png(tones, *chunks)).pixels
        assert (pixels[..., 0] == pixels[..., 1]).all() and (np.diff(pixels[..., 0].ravel().astype(int)) >= 0).all()
        assert (pixels[2:12, :, 0] > tones[2:12]).all() if chunks[0][0] == b"gAMA" else True


# HDR: white is at 203 cd/m², 58 % of PQ and 75 % of HLG (ITU-R BT.2408, table 1)


def test_white_in_pq_and_hlg() -> None:
    assert pq_light(np.array([0.0, 0.58, 1.0])) == pytest.approx([0, 203, 10_000], rel=0.01)
    assert hlg_light(np.array([[0.0], [0.75], [1.0]]))[:, 0] == pytest.approx([0, 203, 1000], rel=0.01, abs=1e-9)


@pytest.mark.parametrize(("curve", "white"), [(16, 0.58), (18, 0.75)])
@pytest.mark.parametrize("depth", [8, 16])
def test_hdr_is_brought_to_white_with_a_warning(curve: int, white: float, depth: int) -> None:
    pytest.importorskip("OpenImageIO")
    dtype, top = (np.uint8, 255) if depth == 8 else (np.uint16, 65_535)
    values = np.full((4, 5, 3), round(white * top), dtype)
    values[0], values[1] = 0, top
    picture = read_image(png(values, (b"cICP", bytes((9, curve, 0, 1)))), bit_depth="auto")
    assert picture.warnings == (f"is HDR ({'PQ' if curve == 16 else 'HLG'}): what is brighter than white was cut off",)
    pixels = picture.pixels / top
    assert (pixels[0] == 0).all() and (pixels[1] > 0.995).all() and pixels[2:] == pytest.approx(1, abs=0.02)
    assert profile_name(encode_image(picture.pixels, like=picture).data) == "BT.2020, curve of sRGB"


def test_a_photo_in_pq_looks_as_it_did() -> None:
    light = np.where(MUTED / 255 <= 0.04045, MUTED / 255 / 12.92, ((MUTED / 255 + 0.055) / 1.055) ** 2.4)
    power = (light * 203 / 10_000) ** (2610 / 16_384)
    signal = ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    for data in (
        png(np.rint(signal * 65_535).astype(np.uint16), (b"cICP", bytes((1, 16, 0, 1)))),
        with_nclx(1, 16, np.rint(signal * 255).astype(np.uint8)),
    ):
        picture = read_image(data)
        assert "HDR (PQ)" in " ".join(picture.warnings)
        assert (
            delta_e(rgb_to_lab(picture.pixels / 255, SRGB_COLUMNS, None), rgb_to_lab(MUTED / 255, SRGB_COLUMNS, None))
            < 3
        )


# HEIC, and headers that end too early


def test_heic() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    data = encoded(MUTED, "HEIF", quality=100, chroma=444, color_primaries=12, transfer_characteristics=13)
    picture = read_image(data)
    assert picture.warnings == ()
    photo = rgb_to_lab(MUTED / 255, P3_COLUMNS, None)
    assert delta_e(rgb_to_lab(picture.pixels / 255, SRGB_COLUMNS, None), photo) < 1.5  # what HEIC loses included
    assert profile_name(encode_image(picture.pixels, like=picture).data) == "Display P3"


def test_damaged_headers_are_no_bug() -> None:
    data = with_nclx(12, 13)
    end = data.index(b"mdat")
    for at in range(8, end, 5):
        damaged = data[:at] + bytes((data[at] ^ 0xFF,)) + data[at + 1 :]
        try:
            read_image(damaged)
        except Exception as error:
            assert type(error).__name__ == "InputError", error
