"""ICC profiles made from numbers, and the colorimetry to check conversions against, in double precision."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
from PIL import ImageCms

Columns = tuple[tuple[float, float, float], ...]

WHITE = np.array([0.9642, 1.0, 0.8249])  # D50
SRGB_COLUMNS = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
P3_COLUMNS = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
ADOBE_COLUMNS = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))


def _text(text: bytes) -> bytes:
    tag = b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(4 + 4 + 2 + 1 + 67)
    return tag + bytes(-len(tag) % 4)


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": _text(b"test"), b"cprt": b"text\0\0\0\0none\0\0\0\0", b"wtpt": _xyz(tuple(WHITE)), **tags}
    offset, directory, data = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        directory += name + struct.pack(">II", offset + len(data), len(value))
        data += padded
    head = struct.pack(">I4sI4s4s4s", offset + len(data), bytes(4), 0x02400000, kind, space, connection)
    head += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + b"".join(map(_fixed, WHITE))
    return head.ljust(128, b"\0") + directory + data


def matrix_profile(columns: Columns, gamma: float = 2.2) -> bytes:
    """A small display profile: XYZ (D50) of red, green and blue, and one gamma."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    tags = {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags | {name: curve for name in (b"rTRC", b"gTRC", b"bTRC")})


def grey_profile(gamma: float) -> bytes:
    """A profile for grey values."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": curve})


def cmyk_profile(*, both_ways: bool = True) -> bytes:
    """A printer profile of tables, of an ideal printer: see :func:`cmyk_to_rgb`."""

    def table(values: np.ndarray, inputs: int, steps: int) -> bytes:
        outputs = values.shape[-1]
        ramp = struct.pack(">2H", 0, 65_535)
        identity = b"".join(map(_fixed, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
        head = b"mft2\0\0\0\0" + struct.pack(">4B", inputs, outputs, steps, 0) + identity + struct.pack(">2H", 2, 2)
        body = np.rint(np.clip(values, 0, 65_535)).astype(">u2").tobytes()
        return head + ramp * inputs + body + ramp * outputs

    inks = np.stack(np.meshgrid(*[np.linspace(0, 1, 9)] * 4, indexing="ij"), axis=-1)
    lab = rgb_to_lab(cmyk_to_rgb(inks), SRGB_COLUMNS, None)
    tags = {b"A2B0": table((lab + np.array([0, 128, 128])) * (652.8, 256, 256), 4, 9)}
    if both_ways:
        codes = np.stack(np.meshgrid(*[np.linspace(0, 65_535, 33)] * 3, indexing="ij"), axis=-1)
        rgb = lab_to_srgb(codes / (652.8, 256, 256) - (0, 128, 128))
        black = 0.5 * (1 - rgb.max(axis=-1, keepdims=True))
        inks = np.concatenate([1 - rgb / (1 - black), black], axis=-1)
        tags[b"B2A0"] = table(inks * 65_535, 3, 33)
    return _profile(b"prtr", b"CMYK", b"Lab ", tags)


_DATED = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SRGB = _DATED[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + _DATED[36:]
SWAPPED = matrix_profile((SRGB_COLUMNS[1], SRGB_COLUMNS[0], SRGB_COLUMNS[2]))
DISPLAY_P3 = matrix_profile(P3_COLUMNS)
ADOBE_RGB = matrix_profile(ADOBE_COLUMNS, 563 / 256)


# Colorimetry: values in [0, 1], (..., 3)


def cmyk_to_rgb(inks: np.ndarray) -> np.ndarray:
    """(..., 4) in [0, 1] -> sRGB in [0, 1]"""
    return (1 - inks[..., :3]) * (1 - inks[..., 3:])


def _srgb_light(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def rgb_to_lab(values: np.ndarray, columns: Columns, gamma: float | None) -> np.ndarray:
    """To CIE L*a*b* (D50); ``gamma`` None is the curve of sRGB."""
    curve: Callable[[np.ndarray], np.ndarray] = _srgb_light if gamma is None else lambda v: v**gamma
    relative = curve(values.astype(np.float64)) @ np.array(columns) / WHITE
    root = np.where(relative > 216 / 24389, np.cbrt(relative), (24389 / 27 * relative + 16) / 116)
    return np.stack(
        [
            116 * root[..., 1] - 16,
            500 * (root[..., 0] - root[..., 1]),
            200 * (root[..., 1] - root[..., 2]),
        ],
        axis=-1,
    )


def lab_to_srgb(lab: np.ndarray) -> np.ndarray:
    """From CIE L*a*b* (D50), clipped to sRGB's gamut."""
    y = (lab[..., 0] + 16) / 116
    root = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    relative = np.where(root > 6 / 29, root**3, (116 * root - 16) * 27 / 24389)
    light = np.clip(relative * WHITE @ np.linalg.inv(np.array(SRGB_COLUMNS)), 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def delta_e(a: np.ndarray, b: np.ndarray) -> float:
    """The mean distance of colours in L*a*b* (CIE 1976)."""
    return float(np.sqrt(((a - b) ** 2).sum(axis=-1)).mean())
