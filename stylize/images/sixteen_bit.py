"""Files of more than 8 bits a channel: what Pillow clips or cannot write.

Grey comes from Pillow, colour from OpenImageIO (the extra ``deep``); 16-bit PNG is written here.
"""

from __future__ import annotations

import importlib
import io
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from stylize.extras import install
from stylize.images.formats import DEEP_FORMATS
from stylize.images.metadata import SIDEWAYS

BITS, PHOTOMETRIC, EXTRA_SAMPLES, SAMPLE_FORMAT, WHITE_IS_ZERO = 258, 262, 338, 339, 0


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether the file holds more than 8 bits a channel. Pillow drops them from RGB without a word."""
    layouts = [(tile.args,) if isinstance(tile.args, str) else tile.args or ("",) for tile in image.tile[:1]]
    if image.format == "TIFF" and max(getattr(image, "tag_v2", {}).get(BITS, (1,)), default=1) > 8:
        return True
    if image.format == "PPM" and any(isinstance(layout[-1], int) and layout[-1] > 255 for layout in layouts):
        return True  # the largest value stands beside the layout
    return image.mode[0] in "IF" or any(";16" in str(layout[0]) for layout in layouts)


def read_deep(
    image: ImageFile.ImageFile, stream: BinaryIO, stored: int | None, notes: list[str]
) -> NDArray[np.uint16] | None:
    """All bits of a file that Pillow reads in part or clips: (H, W, 1..4), alpha last; None if they are out of reach.

    Args:
        stored: the orientation in which a TIFF's pixels lie.
    """
    if image.mode[0] in "IF":  # grey: Pillow has all of it
        values = [scaled(grey_tones(image), 65_535)]
        if (key := image.info.get("transparency")) is not None:
            values.append(np.where(np.asarray(image) == key, 0, 65_535).astype(np.uint16))
        return np.stack(values, axis=-1)
    if image.format not in DEEP_FORMATS or image.mode not in ("RGB", "RGBA", "LA"):
        return None
    try:
        oiio = importlib.import_module("OpenImageIO")
    except ImportError:
        notes.append(f'all of its bits need the "deep" extra: {install("deep")}')
        return None
    stream.seek(0)
    with tempfile.TemporaryDirectory(prefix="stylize-") as folder:  # it reads files only, and not of every name
        path = os.path.join(folder, "photo")
        with open(path, "wb") as copy:
            shutil.copyfileobj(stream, copy)
        options = oiio.ImageSpec()
        options.attribute("oiio:UnassociatedAlpha", 1)
        file = oiio.ImageInput.open(path, options)
        if file is None:
            oiio.geterror()
            return None
        file.seek_subimage(image.tell(), 0)
        spec = file.spec()
        extras = getattr(image, "tag_v2", {}).get(EXTRA_SAMPLES, ())
        size = image.size if stored not in SIDEWAYS else image.size[::-1]
        if (spec.width, spec.height) != size or spec.format != oiio.UINT16 or spec.nchannels > 4 or extras == (1,):
            return None
        read: NDArray[np.uint16] | None = file.read_image(oiio.UINT16)
        file.close()
    if read is not None and extras[:1] == (0,) and read.shape[2] in (2, 4):  # nobody says what it is: no alpha
        read = read[..., :-1]
    return None if read is None else turned(read, stored or 1)


def turned(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Rows and columns (H, W, ...) as a camera stored them -> upright; what TRANSPOSE does for Pillow's images."""
    turns: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
        2: lambda v: v[:, ::-1],
        3: lambda v: v[::-1, ::-1],
        4: lambda v: v[::-1],
        5: lambda v: v.swapaxes(0, 1),
        6: lambda v: np.rot90(v, -1),
        7: lambda v: v[::-1, ::-1].swapaxes(0, 1),
        8: lambda v: np.rot90(v),
    }
    return np.ascontiguousarray(turns[orientation](values)) if orientation in turns else values


def grey_tones(image: Image.Image) -> NDArray[Any]:
    """Grey tones (H, W) of 16-bit, 32-bit or float images, of 9 to 16 bits as 0..65535, black being 0.

    Pillow gives a TIFF's values as they are: of 12 bits 0..4095, and where the file says so, white is 0.
    """
    values = np.asarray(image)
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    bits = next(iter(tags.get(BITS, ())), 16)
    if bits == 32 and values.dtype == np.int32 and 2 not in tags.get(SAMPLE_FORMAT, (1,)):
        return values.view(np.uint32)  # Pillow knows signed ones only
    if values.dtype.kind == "f" or not 8 < bits <= 16:
        return values
    if bits < 16:
        values = np.clip(np.rint(values * (65_535 / (2**bits - 1))), 0, 65_535).astype(np.uint16)
    return 65_535 - values if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else values


def scaled(values: NDArray[Any], top: int) -> NDArray[Any]:
    """Grey tones (H, W) of 16-bit, 32-bit or float images -> 0..top: convert("L") would clip them to white.

    Whole numbers are taken as 0..65535, floats as 0..1 or 0..255; what fits neither is stretched from its least to its
    largest finite value. NaN becomes black.
    """
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    ranges = (1.0, 255.0) if values.dtype.kind == "f" else (65_535.0,)
    white = next((white for white in ranges if low >= 0 and high <= white), None)
    black, white = (low, high) if white is None else (0.0, white)
    scaled = (values.astype(np.float32) - black) * (top / max(white - black, 1e-30))
    return np.rint(np.clip(np.nan_to_num(scaled), 0, top)).astype(np.uint8 if top == 255 else np.uint16)


def encode_deep_png(values: NDArray[Any], options: dict[str, Any]) -> bytes:
    """16-bit values (H, W, 3 or 4), which Pillow cannot write, as PNG; all but the pixels is left to Pillow."""
    stub = io.BytesIO()
    Image.new("RGB", (1, 1)).save(stub, "PNG", **options)
    height, width, channels = values.shape
    parts = [(b"IHDR", struct.pack(">2I5B", width, height, 16, 2 if channels == 3 else 6, 0, 0, 0))]
    parts += [part for part in _png_chunks(stub.getvalue()) if part[0] not in (b"IHDR", b"IDAT", b"IEND")]
    compressor, above = zlib.compressobj(6), np.zeros((1, width * channels * 2), np.uint8)
    for top in range(0, height, 256):
        rows = values[top : top + 256].astype(">u2").reshape(-1, width * channels).view(np.uint8)
        differences = rows - np.concatenate([above, rows[:-1]])  # filter 2, "up"; bytes wrap around as they should
        above = rows[-1:]
        lines = np.concatenate([np.full((len(rows), 1), 2, np.uint8), differences], axis=1)
        parts.append((b"IDAT", compressor.compress(lines.tobytes())))
    parts += [(b"IDAT", compressor.flush()), (b"IEND", b"")]
    file = io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    for kind, data in parts:
        file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))
    return file.getvalue()


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length
