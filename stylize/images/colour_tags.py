"""Colours that a file tells otherwise than by an ICC profile: by a code, a gamma, corners of a gamut, or EXIF.

PNG has cICP, gAMA and cHRM; AVIF and HEIC have nclx; cameras write Adobe RGB into EXIF. Each becomes a matrix profile,
so that from here on such a photo is one with a profile (see ``stylize.images.colour_profile``): it is converted on its
way in, and its results carry that profile. Light that 8 bits cannot hold well (linear values) or that no such profile
describes (the HDR curves PQ and HLG) is brought to the curve of sRGB first, in the same primaries.

Sources: ITU-T H.273 (07/2024), tables 2 and 3; ITU-R BT.2100-2, tables 4 and 5, and BT.2408 (white is 203 cd/m²); PNG
third edition, 11.3.2; Exif 3.0 and DCF 2.0 ("R03"); Adobe RGB (1998) Color Image Encoding, 2005-05; ICC.1:2022.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from stylize.images.colour_profile import STRIP
from stylize.images.formats import DECODE_ERRORS
from stylize.images.metadata import COLOR_SPACE, SRGB

Floats = NDArray[np.float64]
PixelT = TypeVar("PixelT", np.uint8, np.uint16, np.uint8 | np.uint16)
Primaries = tuple[tuple[float, float], ...]  # x and y of red, green, blue and white
Curve = tuple[float, float, float, float, float]  # g, a, b, c, d: light = (a v + b)^g from d on, c v below

WHITE_C, WHITE_D65, WHITE_DCI = (0.310, 0.316), (0.3127, 0.3290), (0.314, 0.351)
BT709: Primaries = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), WHITE_D65)
ADOBE_RGB: Primaries = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), WHITE_D65)
_SMPTE170M: Primaries = ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), WHITE_D65)
PRIMARIES: dict[int, Primaries] = {  # H.273, table 2
    1: BT709,
    2: BT709,  # not told
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), WHITE_C),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), WHITE_D65),
    6: _SMPTE170M,
    7: _SMPTE170M,
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), WHITE_C),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), WHITE_D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), WHITE_DCI),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), WHITE_D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), WHITE_D65),
}
SRGB_CURVE: Curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_ALPHA_709 = 1.09929682680944
_BT709_CURVE: Curve = (1 / 0.45, 1 / _ALPHA_709, 1 - 1 / _ALPHA_709, 1 / 4.5, 0.0812428582986315)


def gamma(exponent: float) -> Curve:
    """light = value^exponent"""
    return (exponent, 1.0, 0.0, 0.0, 0.0)


CURVES: dict[int, Curve] = {  # H.273, table 3, from values to light
    **dict.fromkeys((1, 6, 11, 12, 14, 15), _BT709_CURVE),
    2: SRGB_CURVE,  # not told
    4: gamma(2.2),
    5: gamma(2.8),
    7: (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912),
    8: gamma(1.0),
    13: SRGB_CURVE,
    17: gamma(2.6),
}
PQ, HLG = 16, 18
HDR = {PQ: "PQ", HLG: "HLG"}
WHITE = 203.0  # cd/m², of what is white and no lamp (BT.2408, section 2.1)
STEEP = 1.5  # curves of less gamma spend too few of 256 steps on the shadows
USUAL_GAMMA, NEAR = 1 / 2.2, 0.01  # as gAMA says it beside sRGB
PRIMARY_CHROMATICITIES, WHITE_POINT, GAMMA = 319, 318, 0xA500  # tags of TIFF and EXIF
INTEROP_INDEX, ADOBE_INDEX, ADOBE_SPACE = 1, "R03", 2  # the last: what some cameras write as COLOR_SPACE
MOST_META = 1 << 24  # bytes of the header of an AVIF or HEIC file that are read
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True)
class Colours:
    """What the values of a file mean.

    Attributes:
        primaries: of its red, green and blue, and its white.
        curve: from values to light, or one of ``HDR``.
        name: for the profile's description.
    """

    primaries: Primaries
    curve: Curve | int
    name: str = "RGB"

    @property
    def is_srgb(self) -> bool:
        """Whether nothing needs to be converted, nor said."""
        return self.primaries == BT709 and self.curve == SRGB_CURVE

    @property
    def is_redrawn(self) -> bool:
        """Whether values are brought to the curve of sRGB before anything else."""
        return isinstance(self.curve, int) or self.curve[0] < STEEP

    def profile(self) -> bytes | None:
        """The ICC profile of what :meth:`redraw` gives; None for sRGB."""
        if self.primaries == BT709 and (self.is_redrawn or self.curve == SRGB_CURVE):
            return None
        if isinstance(self.curve, int) or self.is_redrawn:
            return matrix_profile(f"{self.name}, curve of sRGB", self.primaries, SRGB_CURVE)
        return matrix_profile(self.name, self.primaries, self.curve)

    def redraw(self, values: NDArray[PixelT]) -> NDArray[PixelT]:
        """Values (H, W) or (H, W, 1 or 3) in the curve of sRGB, of the same type; brighter than white becomes white."""
        if not self.is_redrawn:
            return values
        top = int(np.iinfo(values.dtype).max)
        if self.curve != HLG:  # each channel alone
            table = _srgb_value(self._light(np.linspace(0, 1, top + 1)))
            return np.rint(table * top).astype(values.dtype)[values]
        redrawn = np.empty_like(values)
        for row in range(0, len(values), STRIP):
            signal = values[row : row + STRIP] / top
            light = self._light(signal if signal.ndim == 3 else signal[..., None])
            redrawn[row : row + STRIP] = np.rint(_srgb_value(light) * top).reshape(signal.shape)
        return redrawn

    def _light(self, signal: Floats) -> Floats:
        """Light, of which 1 is white, from values in [0, 1]; of HLG, (..., 1 or 3)."""
        if self.curve == PQ:
            return pq_light(signal) / WHITE
        if self.curve == HLG:
            return hlg_light(signal) / WHITE
        assert isinstance(self.curve, tuple)
        return curve_light(signal, self.curve)


def colours_of(image: ImageFile.ImageFile, stream: BinaryIO, notes: list[str]) -> Colours | None:
    """What a file says of its colours besides a profile; None if that is nothing, or the profile goes first.

    cICP goes before a profile (PNG third edition, 4.3), everything else after it.

    Args:
        image: opened, its EXIF as it is in the file.
        stream: the file. It is left where it was.
        notes: where to say what is not understood, or lost.
    """
    place = stream.tell()
    try:
        found = _told(image, stream, notes)
    except DECODE_ERRORS:
        return None
    finally:
        stream.seek(place)
    if found is not None and isinstance(found.curve, int):
        notes.append(f"is HDR ({HDR[found.curve]}): what is brighter than white was cut off")
    return found


def _told(image: ImageFile.ImageFile, stream: BinaryIO, notes: list[str]) -> Colours | None:
    profile = image.info.get("icc_profile")
    if image.format == "PNG":
        chunks = _png_chunks(stream)
        if len(cicp := chunks.get(b"cICP", b"")) == 4:
            if cicp[3] == 0:
                notes.append("its values have the narrow range of video: read as full range")
            return _coded(cicp[0], cicp[1], notes)
        if not profile and b"sRGB" not in chunks and (found := _gamma_and_corners(chunks)):
            return found
    if image.format in ("AVIF", "HEIF"):
        header = heif_header(stream)
        if header.bits > 8 and image.format == "AVIF":
            notes.append(f"{header.bits}-bit colour read as 8-bit")
        if header.nclx and not profile:
            return _coded(*header.nclx, notes)
    return None if profile or image.mode in ("CMYK", "LAB") else _told_by_exif(image, notes)


def _coded(primaries: int, curve: int, notes: list[str]) -> Colours | None:
    """Colours by their numbers in H.273."""
    if primaries not in PRIMARIES or (curve not in CURVES and curve not in HDR):
        notes.append(f"its colours (code {primaries}/{curve} of H.273) are not known: read as sRGB")
        return None
    names = {9: "BT.2020", 11: "DCI P3", 12: "Display P3" if curve == 13 else "P3 D65"}
    name = names.get(primaries, f"RGB {primaries}/{curve} of H.273")
    return Colours(PRIMARIES[primaries], curve if curve in HDR else CURVES[curve], name)


def _gamma_and_corners(chunks: dict[bytes, bytes]) -> Colours | None:
    """gAMA and cHRM."""
    primaries, curve = None, SRGB_CURVE
    if len(chunks.get(b"cHRM", b"")) == 32:
        numbers = [value / 100_000 for value in struct.unpack(">8I", chunks[b"cHRM"])]
        primaries = _sound_primaries(numbers[2:], numbers[:2])
    if len(chunks.get(b"gAMA", b"")) == 4 and (exponent := struct.unpack(">I", chunks[b"gAMA"])[0] / 100_000):
        usual = abs(exponent - USUAL_GAMMA) < NEAR and primaries in (None, BT709)
        curve = curve if usual or not 0.1 < exponent < 10 else gamma(1 / exponent)
    return None if primaries is None and curve == SRGB_CURVE else Colours(primaries or BT709, curve)


def _told_by_exif(image: ImageFile.ImageFile, notes: list[str]) -> Colours | None:
    """Adobe RGB as DCF has it, or the corners of a gamut as TIFF has them."""
    if image.format == "TIFF":
        tags = image.getexif()
    else:  # a copy: what is damaged is found, and told, where it is taken over
        tags = Image.Exif()
        tags.load(image.info.get("exif") or b"")
    details = tags.get_ifd(ExifTags.IFD.Exif)
    space = details.get(COLOR_SPACE)
    if space in (None, SRGB) and PRIMARY_CHROMATICITIES not in tags:
        return None
    interop = tags.get_ifd(ExifTags.IFD.Interop) if ExifTags.IFD.Interop in details else {}  # Pillow 11: KeyError
    index = str(interop.get(INTEROP_INDEX, ""))
    if space == ADOBE_SPACE or (space != SRGB and index.startswith(ADOBE_INDEX)):
        return Colours(ADOBE_RGB, gamma(563 / 256), "Compatible with Adobe RGB (1998)")
    if PRIMARY_CHROMATICITIES in tags:
        white = tags.get(WHITE_POINT, WHITE_D65)
        primaries = _sound_primaries([float(v) for v in tags[PRIMARY_CHROMATICITIES]], [float(v) for v in white])
        if primaries not in (None, BT709):
            return Colours(primaries, gamma(float(details.get(GAMMA, 2.2))))
    if space is not None and space != SRGB and image.mode not in ("1", "L", "LA", "I", "F"):
        notes.append("its EXIF says that its colours are not sRGB, but not which: read as sRGB")
    return None


def _sound_primaries(corners: list[float], white: list[float]) -> Primaries | None:
    """Six numbers and two; None if they enclose no gamut. What is sRGB to two digits is sRGB."""
    points = [*zip(corners[::2], corners[1::2], strict=True), (white[0], white[1])]
    if len(points) != 4 or any(not (0 <= x <= 1 and 0 < y <= 1) for x, y in points):
        return None
    if np.abs(np.array(points) - BT709).max() < 0.005:
        return BT709
    matrix = np.array([(x, y, 1 - x - y) for x, y in points[:3]])
    return None if abs(np.linalg.det(matrix)) < 1e-3 else tuple(points)


# Light


def curve_light(values: Floats, curve: Curve) -> Floats:
    """Light of values in [0, 1]; ICC.1:2022, section 10.18, function type 3."""
    g, a, b, c, d = curve
    return np.where(values >= d, np.maximum(a * values + b, 0) ** g, c * values)


def pq_light(signal: Floats) -> Floats:
    """cd/m² of PQ values in [0, 1]: the EOTF of BT.2100, table 4."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = signal ** (1 / m2)
    return 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)


def hlg_light(signal: Floats) -> Floats:
    """cd/m² of HLG values (..., 1 or 3) in [0, 1], on a display of 1000 cd/m²: BT.2100, table 5, OETF⁻¹ and OOTF."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    weights = np.array([0.2627, 0.6780, 0.0593]) if signal.shape[-1] == 3 else np.ones(1)
    luminance = (scene @ weights)[..., None]
    return 1000 * luminance**0.2 * scene


def _srgb_value(light: Floats) -> Floats:
    """Values in [0, 1] of light, that of white at most; IEC 61966-2-1."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


# Profiles


@cache
def matrix_profile(name: str, primaries: Primaries, curve: Curve) -> bytes:
    """An ICC profile, version 4.3, of three primaries and one curve.

    The matrix brings the primaries' white to that of the profile connection space, D50, by the linear Bradford
    transform (ICC.1:2022, annex E).
    """
    adaptation = _adaptation(primaries[3])
    columns = adaptation @ _rgb_to_xyz(primaries)
    numbers = [curve[0]] if curve == gamma(curve[0]) else list(curve)
    kind = 0 if len(numbers) == 1 else 3
    curve_tag = b"para" + struct.pack(">I2H", 0, kind, 0) + _fixed(numbers)
    tags = {
        b"desc": _text(name),
        b"cprt": _text("Public domain"),
        b"wtpt": b"XYZ \0\0\0\0" + _fixed(_D50),
        b"chad": b"sf32\0\0\0\0" + _fixed(adaptation.ravel()),
        **{tag: b"XYZ \0\0\0\0" + _fixed(columns[:, c]) for c, tag in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))},
        b"rTRC": curve_tag,
        b"gTRC": curve_tag,
        b"bTRC": curve_tag,
    }
    places: dict[bytes, int] = {}
    body, start = b"", 132 + 12 * len(tags)
    for data in tags.values():  # equal ones are kept once
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
    table = b"".join(tag + struct.pack(">II", places[data], len(data)) for tag, data in tags.items())
    head = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x04300000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(_D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _rgb_to_xyz(primaries: Primaries) -> Floats:
    """The matrix (3, 3) from linear RGB to XYZ: its columns are the primaries, scaled so that they sum to white."""
    points = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries])
    corners, white = points[:3].T, points[3]
    return corners * np.linalg.solve(corners, white)


def _adaptation(white: tuple[float, float]) -> Floats:
    """The matrix (3, 3) that brings colours seen under a white to D50."""
    x, y = white
    response, wanted = _BRADFORD @ (x / y, 1, (1 - x - y) / y), _BRADFORD @ _D50
    return np.linalg.inv(_BRADFORD) @ np.diag(wanted / response) @ _BRADFORD


def _fixed(numbers: Any) -> bytes:
    return b"".join(struct.pack(">i", round(float(number) * 65_536)) for number in numbers)


def _text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">3I2s2s2I", 0, 1, 12, b"en", b"US", len(data), 28) + data


# Files


def _png_chunks(stream: BinaryIO) -> dict[bytes, bytes]:
    """The short chunks of a PNG before its pixels."""
    chunks: dict[bytes, bytes] = {}
    stream.seek(8)
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IDAT":
            break
        if length <= 32:
            chunks.setdefault(kind, stream.read(length))
            stream.seek(4, 1)
        else:
            stream.seek(length + 4, 1)
    return chunks


class HeifHeader(NamedTuple):
    """What is known of an AVIF or HEIC picture without decoding it."""

    nclx: tuple[int, int] | None = None  # primaries and curve, as H.273 numbers them
    bits: int = 8


def heif_header(stream: BinaryIO) -> HeifHeader:
    """The properties of the primary picture of an AVIF or HEIC file (ISO/IEC 23008-12, sections 6.5 and 9.3)."""
    header = HeifHeader()
    for kind, data in _properties(_meta(stream)):
        if kind == b"colr" and data[:4] == b"nclx" and len(data) >= 8:
            header = header._replace(nclx=struct.unpack_from(">HH", data, 4))
        elif kind == b"pixi" and len(data) > 5:
            header = header._replace(bits=max(data[5:]))
    return header


def _meta(stream: BinaryIO) -> bytes:
    stream.seek(0)
    while len(head := stream.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        before = 8
        if size == 1:
            (size,), before = struct.unpack(">Q", stream.read(8)), 16
        if kind == b"meta":
            return stream.read(min(size - before, MOST_META) if size else MOST_META)
        if size < before:
            break
        stream.seek(size - before, 1)
    return b""


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8:
            return
        yield kind, data[at + 8 : at + size]
        at += size


def _properties(meta: bytes) -> Iterator[tuple[bytes, bytes]]:
    boxes = dict(_boxes(meta[4:]))
    parts = list(_boxes(boxes.get(b"iprp", b"")))
    all_properties = [box for kind, data in parts if kind == b"ipco" for box in _boxes(data)]
    primary = boxes.get(b"pitm", bytes(6))
    (item,) = struct.unpack_from(">I" if primary[0] else ">H", primary, 4)
    for kind, data in parts:
        if kind == b"ipma":
            with suppress(struct.error, IndexError):
                for index in _associated(data, item):
                    if 1 <= index <= len(all_properties):
                        yield all_properties[index - 1]


def _associated(data: bytes, wanted: int) -> list[int]:
    """The numbers of the properties that an ``ipma`` box gives an item."""
    at, wide = 8, data[3] & 1
    for _ in range(struct.unpack_from(">I", data, 4)[0]):
        (item,) = struct.unpack_from(">I" if data[0] else ">H", data, at)
        at += 4 if data[0] else 2
        count, at = data[at], at + 1
        numbers = struct.unpack_from(f">{count}{'H' if wide else 'B'}", data, at)
        if item == wanted:
            return [number & (0x7FFF if wide else 0x7F) for number in numbers]
        at += count * (2 if wide else 1)
    return []
