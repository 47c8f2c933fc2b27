"""Results come back in the photo's own colours, and what is not stylised keeps the photo's own numbers."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from profiles import (
    ADOBE_COLUMNS,
    ADOBE_RGB,
    DISPLAY_P3,
    P3_COLUMNS,
    SRGB,
    SRGB_COLUMNS,
    SWAPPED,
    cmyk_profile,
    cmyk_to_rgb,
    delta_e,
    grey_profile,
    matrix_profile,
    rgb_to_lab,
)

from stylize.errors import InputError
from stylize.images import colour_profile
from stylize.images.colour_profile import to_8_bit, to_srgb_16
from stylize.images.reading import Picture, read_image
from stylize.images.writing import encode_image

RNG = np.random.default_rng(0)
BRIGHT = RNG.integers(0, 256, (40, 56, 3), dtype=np.uint8)  # a quarter of it lies outside sRGB, if it is Adobe RGB
DEEP = RNG.integers(0, 65_536, (20, 30, 3), dtype=np.uint16)
CMYK = cmyk_profile()
SPACES = {"Display P3": (DISPLAY_P3, P3_COLUMNS, 563 / 256), "Adobe RGB": (ADOBE_RGB, ADOBE_COLUMNS, 563 / 256)}


def encoded(image: Image.Image | np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, format, **options)
    return stream.getvalue()


def file_values(data: bytes) -> tuple[np.ndarray, bytes | None]:
    """What a file holds, unconverted, and its profile."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image), image.info.get("icc_profile")


def muted(pixels: np.ndarray) -> np.ndarray:
    """Another picture, of colours that every space has."""
    return pixels[::-1] // 3 + (80 if pixels.dtype == np.uint8 else 20_000)


# Eight bits


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP", "AVIF"])
def test_what_is_not_stylised_keeps_its_colours(space: str, format: str) -> None:
    profile, columns, gamma = SPACES[space]
    smooth = np.asarray(Image.fromarray(BRIGHT[:5, :7]).resize((224, 160), Image.Resampling.BICUBIC))
    picture = read_image(encoded(smooth, icc_profile=profile))
    through_srgb = rgb_to_lab(picture.pixels / 255, SRGB_COLUMNS, None)
    original = rgb_to_lab(smooth / 255, columns, gamma)
    assert delta_e(through_srgb, original) > 1  # so the detour alone would have been a loss
    data, warnings = encode_image(picture.pixels, like=picture, format=format, quality=100)
    values, written = file_values(data)
    assert (written, warnings) == (profile, ())
    loss = delta_e(rgb_to_lab(values / 255, columns, gamma), original)
    assert loss < (1.1 if format in ("WEBP", "AVIF") else 1)  # those two lose a little even of themselves
    if format in ("PNG", "TIFF"):
        assert np.array_equal(values, smooth)


@pytest.mark.parametrize("space", SPACES)
def test_what_is_stylised_is_converted_into_the_photos_colours(space: str) -> None:
    profile, columns, gamma = SPACES[space]
    picture = read_image(encoded(BRIGHT, icc_profile=profile))
    result = picture.pixels.copy()
    result[:, 20:] = muted(picture.pixels)[:, 20:]  # as under a mask
    values, written = file_values(encode_image(result, like=picture).data)
    assert written == profile
    assert np.array_equal(values[:, :20], BRIGHT[:, :20])
    wanted = rgb_to_lab(result[:, 20:] / 255, SRGB_COLUMNS, None)
    assert delta_e(rgb_to_lab(values[:, 20:] / 255, columns, gamma), wanted) < 1
    assert np.abs(read_image(encode_image(result, like=picture).data).pixels.astype(int) - result).mean() < 1


@pytest.mark.parametrize("format", ["TIFF", "JPEG"])
def test_cmyk_comes_back_as_cmyk(format: str) -> None:
    inks = RNG.integers(0, 256, (10, 14, 4), dtype=np.uint8) // 2
    inks = np.asarray(Image.fromarray(inks, mode="CMYK").resize((112, 80), Image.Resampling.BICUBIC))
    data = encoded(Image.fromarray(inks, mode="CMYK"), "TIFF", icc_profile=CMYK)
    picture = read_image(data)
    assert picture.warnings == ()
    assert (
        delta_e(
            rgb_to_lab(picture.pixels / 255, SRGB_COLUMNS, None),
            rgb_to_lab(cmyk_to_rgb(inks / 255), SRGB_COLUMNS, None),
        )
        < 1.5
    )  # the profile's tables are coarse
    result = picture.pixels.copy()
    result[:, 56:] = muted(picture.pixels)[:, 56:]
    written, warnings = encode_image(result, like=picture, format=format, quality=100)
    values, profile = file_values(written)
    assert (profile, warnings, values.shape) == (CMYK, (), inks.shape)
    if format == "TIFF":
        assert np.array_equal(values[:, :56], inks[:, :56])
    else:
        assert np.abs(values[:, :48].astype(int) - inks[:, :48]).mean() < 2
    again = read_image(written).pixels
    labs = [rgb_to_lab(pixels / 255, SRGB_COLUMNS, None) for pixels in (again, result)]
    assert delta_e(*labs) < 1.5
    assert delta_e(labs[0][:, :48], labs[1][:, :48]) < 1


def test_cmyk_that_cannot_come_back_is_written_as_rgb() -> None:
    inks = Image.fromarray(RNG.integers(0, 256, (9, 7, 4), dtype=np.uint8), mode="CMYK")
    tagged = read_image(encoded(inks, "TIFF", icc_profile=CMYK))
    values, profile = file_values(encode_image(tagged.pixels, like=tagged, format="PNG").data)
    assert profile is None
    assert np.array_equal(values, tagged.pixels)
    plain = read_image(encoded(inks, "TIFF"))
    assert plain.warnings == ("CMYK without a usable profile: written as RGB",)
    assert file_values(encode_image(plain.pixels, like=plain).data)[0].shape == (9, 7, 3)
    one_way = read_image(encoded(inks, "TIFF", icc_profile=cmyk_profile(both_ways=False)))
    data, warnings = encode_image(one_way.pixels, like=one_way)
    assert warnings == ("its colour profile works in one direction only: written as sRGB",)
    assert file_values(data)[0].shape == (9, 7, 3)


def test_ycck() -> None:
    """CMYK as Photoshop writes it into JPEG: its first three channels as luma and chroma, the Adobe marker says so."""
    grey = np.full((16, 16), 128, np.uint8)
    planes = np.dstack([np.full((16, 16), 80, np.uint8), grey, grey, np.full((16, 16), 255, np.uint8)])
    data = bytearray(encoded(Image.fromarray(255 - planes, mode="CMYK"), "JPEG", quality=100))
    marker = data.index(b"Adobe")
    data[marker + 11] = 2  # the transform
    picture = read_image(bytes(data))
    assert np.abs(picture.pixels.astype(int) - (255 - 80)).max() <= 3  # files of this kind are negatives
    assert "written as RGB" in picture.warnings[0]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_a_profile_of_srgb_is_kept(format: str) -> None:
    picture = read_image(encoded(BRIGHT, icc_profile=SRGB))
    assert file_values(encode_image(muted(BRIGHT), like=picture, format=format).data)[1] == SRGB
    assert np.array_equal(file_values(encode_image(muted(BRIGHT), like=picture).data)[0], muted(BRIGHT))


def test_formats_without_profiles_get_srgb() -> None:
    picture = read_image(encoded(BRIGHT, icc_profile=DISPLAY_P3))
    values, profile = file_values(encode_image(picture.pixels, like=picture, format="BMP").data)
    assert profile is None
    assert np.array_equal(values, picture.pixels)


@pytest.mark.parametrize(("profile", "value"), [(DISPLAY_P3, 65_535), (SRGB, 1), (None, 1)])
def test_exif_says_whether_a_profile_is_needed(profile: bytes | None, value: int) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 1
    picture = read_image(encoded(BRIGHT, icc_profile=profile, exif=exif.tobytes()))
    with Image.open(io.BytesIO(encode_image(muted(BRIGHT), like=picture).data)) as image:
        assert image.getexif().get_ifd(0x8769)[0xA001] == value


def test_grey_profiles() -> None:
    tones = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = read_image(encoded(tones, icc_profile=grey_profile(1.8)))
    light = rgb_to_lab(picture.pixels / 255, SRGB_COLUMNS, None)[..., 0]
    wanted = rgb_to_lab(np.stack([tones / 255] * 3, axis=-1), SRGB_COLUMNS, 1.8)[..., 0]
    assert np.abs(light - wanted).mean() < 0.3
    assert picture.native is None


def test_transparent_wide_gamut() -> None:
    alpha = RNG.integers(0, 256, (40, 56), dtype=np.uint8)
    picture = read_image(encoded(np.dstack([BRIGHT, alpha]), icc_profile=DISPLAY_P3))
    values, profile = file_values(encode_image(picture.pixels, like=picture, alpha=picture.alpha).data)
    assert np.array_equal(values, np.dstack([BRIGHT, alpha]))
    assert profile == DISPLAY_P3


# Sixteen bits


def deep_png(
    values: np.ndarray, profile: bytes | None = None, key: tuple[int, ...] = (), orientation: int = 1
) -> bytes:
    """A 16-bit PNG of 1 to 4 channels, written by hand."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    parts = [(b"IHDR", struct.pack(">II5B", width, height, 16, kind, 0, 0, 0))]
    if profile:
        parts.append((b"iCCP", b"p\0\0" + zlib.compress(profile)))
    if key:
        parts.append((b"tRNS", struct.pack(f">{len(key)}H", *key)))
    if orientation > 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        parts.append((b"eXIf", exif.tobytes()[6:]))
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def png_values(data: bytes) -> np.ndarray:
    """The values of a 16-bit PNG whose lines are filtered by "up", as ours are."""
    at, lines, shape = 8, b"", (0, 0, 0)
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, chunk = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + chunk)
        if kind == b"IHDR":
            width, height, depth, colours = struct.unpack(">IIBB", chunk[:10])
            assert depth == 16
            shape = (height, width, {2: 3, 6: 4}[colours])
        elif kind == b"IDAT":
            lines += chunk
        at += 12 + length
    raw = np.frombuffer(zlib.decompress(lines), np.uint8).reshape(shape[0], -1)
    assert (raw[:, 0] == 2).all()
    summed = np.cumsum(raw[:, 1:], axis=0, dtype=np.uint8)
    return np.ascontiguousarray(summed).view(">u2").reshape(shape).astype(np.uint16)


def tiff_values(data: bytes) -> np.ndarray:
    oiio = pytest.importorskip("OpenImageIO")
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".tif") as file:
        file.write(data)
        file.flush()
        options = oiio.ImageSpec()
        options.attribute("oiio:UnassociatedAlpha", 1)
        return oiio.ImageInput.open(file.name, options).read_image(oiio.UINT16)


VALUES: dict[str, Callable[[bytes], np.ndarray]] = {"PNG": png_values, "TIFF": tiff_values}


@pytest.mark.parametrize("height", [1, 255, 256, 257, 600])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_are_written_exactly(height: int, channels: int) -> None:
    values = RNG.integers(0, 65_536, (height, 5, channels), dtype=np.uint16)
    alpha = values[..., 3] if channels == 4 else None
    assert np.array_equal(png_values(encode_image(values[..., :3], alpha=alpha, format="PNG").data), values)
    assert np.array_equal(tiff_values(encode_image(values[..., :3], alpha=alpha, format="TIFF").data), values)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_metadata_travel_with_16_bits(format: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8825)[1] = "N"
    like = Picture(DEEP, None, format, exif=exif.tobytes(), dpi=(300, 150), xmp=b"<x>hello</x>")
    data = encode_image(DEEP, like=like).data
    again = read_image(data)
    assert again.pixels.shape == DEEP.shape
    assert again.xmp == b"<x>hello</x>"
    assert again.dpi == pytest.approx((300, 150), abs=0.1)
    tags = Image.Exif()
    tags.load(again.exif)
    assert (tags[0x010F], tags.get_ifd(0x8769)[0x9003], tags.get_ifd(0x8825)[1]) == (
        "Camera",
        "2020:01:02 03:04:05",
        "N",
    )
    assert encode_image(DEEP, like=like).data == data
    assert (
        read_image(encode_image(DEEP, like=replace(like, native=colour_profile.Native(SRGB, None))).data).native
        is not None
    )


def test_grey_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "OpenImageIO", None)
    tones = RNG.integers(0, 65_536, (9, 7), dtype=np.uint16)
    for data in (encoded(tones), encoded(tones, "TIFF"), encoded(tones.astype(np.float32) / 65_535, "TIFF")):
        picture = read_image(data, bit_depth="auto")
        assert picture.pixels.dtype == np.uint16
        assert picture.warnings == ()
        assert np.abs(picture.pixels[..., 1].astype(int) - tones).max() <= (1 if b"\0\0\x80?" in data else 0)
        assert np.array_equal(png_values(encode_image(picture.pixels, format="PNG").data), picture.pixels)


def test_colour_without_the_extra_is_read_as_8_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "OpenImageIO", None)
    picture = read_image(deep_png(DEEP), bit_depth="auto")
    assert picture.pixels.dtype == np.uint8
    assert picture.warnings == (
        'all of its bits need the "deep" extra: pip install ".[deep]"',
        "16-bit colour read as 8-bit",
    )


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("profile", [None, SRGB, DISPLAY_P3], ids=["untagged", "sRGB", "P3"])
def test_16_bits_in_and_out(channels: int, profile: bytes | None) -> None:
    pytest.importorskip("OpenImageIO")
    if channels == 2 and profile == DISPLAY_P3:
        pytest.skip("no such files")
    values = RNG.integers(0, 65_536, (20, 30, channels), dtype=np.uint16)
    picture = read_image(deep_png(values, profile), bit_depth="auto")
    assert picture.warnings == ()
    colours = np.repeat(values[..., :1], 3, axis=2) if channels == 2 else values[..., :3]
    for format, values_of in VALUES.items():
        data, warnings = encode_image(picture.pixels, like=picture, alpha=picture.alpha, format=format)
        assert warnings == ()
        written = values_of(data)
        assert np.array_equal(written[..., :3], colours)
        if channels in (2, 4):
            assert np.array_equal(written[..., 3], values[..., -1])
        assert file_values(data)[1] == profile


def test_16_bit_tiffs_of_every_orientation() -> None:
    oiio = pytest.importorskip("OpenImageIO")
    import tempfile

    for orientation in range(1, 9):
        with tempfile.NamedTemporaryFile(suffix=".tif") as file:
            spec = oiio.ImageSpec(30, 20, 3, oiio.UINT16)
            spec.attribute("Orientation", orientation)
            spec.attribute("compression", "lzw")
            out = oiio.ImageOutput.create(file.name)
            out.open(file.name, spec)
            out.write_image(DEEP)
            out.close()
            data = file.read()
        deep, plain = (read_image(data, bit_depth=depth) for depth in ("auto", "8"))
        assert deep.pixels.dtype == np.uint16
        assert deep.pixels.shape == plain.pixels.shape
        assert np.abs(to_8_bit(deep.pixels).astype(int) - plain.pixels).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bit_pngs_of_every_orientation(orientation: int) -> None:
    pytest.importorskip("OpenImageIO")
    data = deep_png(DEEP, orientation=orientation)
    deep, plain = (read_image(data, bit_depth=depth) for depth in ("auto", "8"))
    assert deep.pixels.dtype == np.uint16
    assert np.abs(to_8_bit(deep.pixels).astype(int) - plain.pixels).max() <= 1


def test_no_space_for_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("OpenImageIO")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(InputError, match="cannot read <stdin>: no space left on device"):
        read_image(deep_png(DEEP), bit_depth="auto")


def test_a_transparent_colour_of_16_bits() -> None:
    pytest.importorskip("OpenImageIO")
    values = DEEP.copy()
    values[2, 3] = 0x1234, 0x5678, 0x9ABC
    values[2, 4] = 0x1234, 0x5678, 0x9ABD  # equal to it in its upper bytes
    picture = read_image(deep_png(values, key=(0x1234, 0x5678, 0x9ABC)), bit_depth="auto")
    assert picture.alpha is not None
    assert np.argwhere(picture.alpha == 0).tolist() == [[2, 3]]
    assert np.array_equal(picture.pixels, values)


def test_bit_depth_can_be_chosen() -> None:
    assert read_image(deep_png(DEEP), bit_depth="8").pixels.dtype == np.uint8
    picture = read_image(encoded(BRIGHT), bit_depth="16")
    assert np.array_equal(picture.pixels, BRIGHT.astype(np.uint16) * 257)
    tagged = read_image(encoded(np.dstack([BRIGHT, BRIGHT[..., 0]]), icc_profile=ADOBE_RGB), bit_depth="16")
    data = encode_image(tagged.pixels, like=tagged, alpha=tagged.alpha).data
    assert np.array_equal(png_values(data), np.dstack([BRIGHT, BRIGHT[..., 0]]).astype(np.uint16) * 257)
    assert file_values(data)[1] == ADOBE_RGB
    inks = Image.fromarray(RNG.integers(0, 256, (9, 7, 4), dtype=np.uint8), mode="CMYK")
    wide = read_image(encoded(inks, "TIFF", icc_profile=CMYK), bit_depth="16")
    assert wide.pixels.dtype == np.uint16
    assert wide.warnings == ("its colour profile cannot be kept at 16 bits: written as sRGB",)


def test_16_bits_in_a_format_of_8(monkeypatch: pytest.MonkeyPatch) -> None:
    tagged = read_image(encoded(BRIGHT, icc_profile=ADOBE_RGB), bit_depth="16")
    data, warnings = encode_image(tagged.pixels, like=tagged, format="WEBP", quality=100)
    assert warnings == ("WEBP holds 8 bits a channel: 16-bit colour was rounded",)
    assert file_values(data)[1] == ADOBE_RGB
    every = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(to_8_bit(every), np.rint(every / 257).astype(np.uint8))


@pytest.mark.parametrize("space", SPACES)
def test_16_bit_conversion_is_that_of_littlecms_but_finer(space: str) -> None:
    profile, columns, gamma = SPACES[space]
    values = muted(DEEP)
    converted = to_srgb_16(values, profile)
    assert converted is not None
    pixels, native = converted
    inside = ((pixels > 0) & (pixels < 65_535)).all(axis=2)  # of the gamut of sRGB
    assert inside.mean() > 0.8
    lab = rgb_to_lab(pixels[inside] / 65_535, SRGB_COLUMNS, None)
    assert delta_e(lab, rgb_to_lab(values[inside] / 65_535, columns, gamma)) < 0.02
    eight = read_image(encoded(to_8_bit(values), icc_profile=profile)).pixels
    assert np.abs(eight.astype(int) - pixels / 257).mean() < 0.5
    assert native is not None
    assert np.abs(native.give_back(pixels, pixels[:1]).astype(int) - values)[inside].max() < 40  # of 65535


def curve(tag: bytes) -> bytes:
    """The profile of sRGB with another curve."""
    good = matrix_profile(SRGB_COLUMNS)
    old = b"curv\0\0\0\0" + struct.pack(">IH", 1, 563)
    assert good.count(old) == 3
    return good.replace(old, tag.ljust(len(old), b"\0")[: len(old)])


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        b"no profile",
        SRGB[:300],
        bytes(2000),
        CMYK,
        grey_profile(2.2)[:150],
        matrix_profile(((0.1, 0.1, 0.1),) * 3),
        curve(b"curv\0\0\0\0" + struct.pack(">I", 2**31)),
        curve(b"curv\0\0\0\0" + struct.pack(">IH", 2, 9)),
        curve(b"para\0\0\0\0" + struct.pack(">H", 9)),
        curve(b"what"),
    ],
)
def test_odd_profiles_of_16_bit_photos(profile: bytes) -> None:
    pytest.importorskip("OpenImageIO")
    picture = read_image(deep_png(DEEP, profile), bit_depth="auto")
    assert picture.pixels.shape == DEEP.shape
    sound = profile in (CMYK, SRGB[:300]) or len(profile) == len(matrix_profile(SRGB_COLUMNS))
    assert picture.pixels.dtype == (np.uint8 if sound else np.uint16)
    assert bool(picture.warnings) == bool(profile)
    encode_image(picture.pixels, like=picture)


PARAMETRIC = {
    0: ([2.2], lambda x: x**2.2),
    1: ([2.0, 0.9, 0.1], lambda x: (0.9 * x + 0.1) ** 2),
    2: ([2.0, 0.8, 0.1, 0.05], lambda x: (0.8 * x + 0.1) ** 2 + 0.05),
    3: ([2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045], None),
    4: ([2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0.0, 0.0], None),
}


@pytest.mark.parametrize("kind", PARAMETRIC)
def test_parametric_curves(kind: int) -> None:
    numbers, formula = PARAMETRIC[kind]
    tag = b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + b"".join(struct.pack(">i", round(v * 65536)) for v in numbers)
    x = np.linspace(0, 1, 65_536)
    wanted = formula(x) if formula else np.where(x < 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    assert np.abs(colour_profile._curve(tag) - wanted).max() < 1e-3


def test_curves_of_points() -> None:
    tag = b"curv\0\0\0\0" + struct.pack(">I3H", 3, 0, 10_000, 65_535)
    assert colour_profile._curve(tag)[[0, 32_768, 65_535]] == pytest.approx([0, 10_000 / 65_535, 1], abs=1e-4)
    assert colour_profile._curve(b"curv\0\0\0\0" + struct.pack(">I", 0))[1000] == pytest.approx(1000 / 65_535)


def test_profiles_made_by_littlecms_are_understood() -> None:
    parsed = colour_profile._curves_and_matrix(SRGB)
    assert parsed is not None
    assert np.abs(parsed.matrix.T - np.array(SRGB_COLUMNS)).max() < 1e-3
    assert colour_profile._curves_and_matrix(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()) is None
    assert colour_profile._curves_and_matrix(SWAPPED) is not None
