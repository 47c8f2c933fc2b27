"""Files that a photo tool meets once in its life, or that someone made to break it: seeded, written from scratch.

``python tests/hostile.py FOLDER [COUNT]`` writes them into a folder, and COUNT more that random edits make of them, for
``STYLIZE_CORPUS=FOLDER pytest -m corpus``.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms
from profiles import ADOBE_RGB, DISPLAY_P3, SRGB, cmyk_profile, grey_profile


class Case(NamedTuple):
    """A file and what a reader has to make of it: a picture (True), a refusal (False), or either (None)."""

    name: str
    data: bytes
    readable: bool | None


_SEED = np.random.default_rng(6)
COLOURS = _SEED.integers(0, 256, (24, 32, 3), dtype=np.uint8)
TONES = COLOURS[..., 1]
ALPHA = np.where(COLOURS[..., 2] < 100, 0, COLOURS[..., 0]).astype(np.uint8)
DEEP = _SEED.integers(0, 65_536, (24, 32), dtype=np.uint16)


def encoded(image: Image.Image | np.ndarray, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, format, **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, kind: int, rows: bytes, *chunks: bytes, interlace: int = 0) -> bytes:
    header = chunk(b"IHDR", struct.pack(">II5B", width, height, depth, kind, 0, 0, interlace))
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + body + chunk(b"IEND", b"")


def deep_rows(values: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)


def tiff(*entries: tuple[int, int, int, int], after: int = 0, data: bytes = bytes(64)) -> bytes:
    """A TIFF of one directory, whose entries are (tag, type, count, value), and 64 bytes of pixels at offset 8."""
    packed = (struct.pack("<HHII", *entry) for entry in sorted(entries))
    directory = struct.pack("<H", len(entries)) + b"".join(packed)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + struct.pack("<I", after)


def exif(orientation: int, **more: Any) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = more.get("make", "Camera")
    block.get_ifd(0x8825)[1] = "N"
    return block.tobytes()


def odd_pictures(random: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Sound files that are easy to get wrong."""
    colours, tones = Image.fromarray(COLOURS), Image.fromarray(TONES)
    clear = Image.fromarray(np.dstack([COLOURS, ALPHA]))
    # modes
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield f"mode-{mode}.png", encoded(clear.convert("RGBA").convert(mode), "PNG")
    for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK"):
        yield f"mode-{mode}.tif", encoded(clear.convert("RGB").convert(mode), "TIFF")
    yield "palette-clear.png", encoded(tones.convert("P"), "PNG", transparency=bytes(range(256)))
    yield "key-grey.png", encoded(tones, "PNG", transparency=7)
    yield "key-rgb.png", encoded(colours, "PNG", transparency=(1, 2, 3))
    yield "all-clear.png", encoded(np.zeros((9, 9, 4), np.uint8), "PNG")
    yield "two-bits.png", png(8, 2, 2, 0, b"\0\x1b\xe4" * 2)
    yield "four-bits.png", png(4, 2, 4, 0, b"\0\x1b\xe4" * 2)
    yield "interlaced.png", png(1, 1, 8, 2, b"\0abc", interlace=1)
    yield "deep-grey.png", encoded(DEEP, "PNG")
    yield "deep-grey-alpha.png", png(16, 24, 16, 4, deep_rows(DEEP))
    yield "deep-rgb.png", png(8, 24, 16, 2, deep_rows(DEEP[:, :24]))
    yield "deep-rgba.png", png(8, 24, 16, 6, deep_rows(DEEP))
    yield "deep-key.png", png(8, 24, 16, 2, deep_rows(DEEP[:, :24]), chunk(b"tRNS", struct.pack(">3H", *DEEP[0, :3])))
    yield (
        "deep-p3.png",
        png(8, 24, 16, 2, deep_rows(DEEP[:, :24]), chunk(b"iCCP", b"p\0\0" + zlib.compress(DISPLAY_P3))),
    )
    yield "deep-little.tif", encoded(DEEP, "TIFF")
    big = Image.frombytes("I;16B", (32, 24), DEEP.astype(">u2").tobytes())
    yield "deep-big.tif", encoded(big, "TIFF")
    yield "deep.pgm", encoded(DEEP, "PPM")
    yield "int32.tif", encoded(DEEP.astype(np.int32) * 1000 - 9, "TIFF")
    yield "float.tif", encoded(DEEP.astype(np.float32) / 65_535, "TIFF")
    strange = DEEP.astype(np.float32)
    strange[0, :3] = np.nan, np.inf, -np.inf
    yield "float-nan.tif", encoded(strange, "TIFF")
    yield "float-all-nan.tif", encoded(np.full((5, 5), np.nan, np.float32), "TIFF")
    lab = ImageCms.profileToProfile(
        colours, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    lab.info.clear()  # its profile holds the time
    yield "lab.tif", encoded(lab, "TIFF")
    yield "ycbcr.tif", encoded(colours.convert("YCbCr"), "TIFF", compression="jpeg")
    yield "big.tif", encoded(colours, "TIFF", big_tiff=True, exif=exif(3))
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield f"{compression}.tif", encoded(colours, "TIFF", compression=compression)
    yield "group4.tif", encoded(tones.convert("1"), "TIFF", compression="group4")
    # JPEG
    yield "grey.jpg", encoded(tones, "JPEG")
    yield "progressive.jpg", encoded(colours, "JPEG", progressive=True)
    yield "cmyk.jpg", encoded(colours.convert("CMYK"), "JPEG")
    yield "cmyk-profile.jpg", encoded(colours.convert("CMYK"), "JPEG", icc_profile=cmyk_profile())
    ycck = bytearray(encoded(colours.convert("CMYK"), "JPEG"))
    ycck[ycck.index(b"Adobe") + 11] = 2
    yield "ycck.jpg", bytes(ycck)
    yield "tail.jpg", encoded(colours, "JPEG") + bytes(5000)
    yield "restarts.jpg", encoded(colours, "JPEG", restart_marker_blocks=1)
    yield "comment.jpg", encoded(colours, "JPEG", comment=b"\x1b[31m" + b"x" * 65_000)
    # other formats
    for format, suffix in (("WEBP", "webp"), ("AVIF", "avif"), ("GIF", "gif"), ("BMP", "bmp"), ("PPM", "ppm")):
        yield f"plain.{suffix}", encoded(colours, format)
    yield "lossless.webp", encoded(clear, "WEBP", lossless=True)
    yield "clear.avif", encoded(clear, "AVIF")
    yield "clear.gif", encoded(tones.convert("P"), "GIF", transparency=3)
    yield "one-bit.bmp", encoded(tones.convert("1"), "BMP")
    yield "rgba.bmp", encoded(clear, "BMP")
    yield "one-bit.pbm", encoded(tones.convert("1"), "PPM")
    # several frames
    frames = {"save_all": True, "append_images": [colours.rotate(90), colours.rotate(180)]}
    for format, suffix in (("GIF", "gif"), ("WEBP", "webp"), ("PNG", "png"), ("TIFF", "tif"), ("MPO", "jpg")):
        yield f"frames.{suffix}", encoded(colours, format, **frames)
    # metadata
    for orientation in (0, *range(2, 10), 65_535):
        yield f"orientation-{orientation}.jpg", encoded(colours, "JPEG", exif=exif(orientation))
    yield "orientation.webp", encoded(colours, "WEBP", exif=exif(6))
    yield "orientation.png", encoded(colours, "PNG", exif=exif(8))
    yield "orientation-xmp.webp", encoded(colours, "WEBP", xmp=b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/>')
    yield "exif-noise.jpg", encoded(colours, "JPEG", exif=b"Exif\0\0" + random.bytes(999))
    yield "exif-short.jpg", encoded(colours, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    yield "exif-empty.jpg", encoded(colours, "JPEG", exif=b"Exif\0\0")
    yield "exif-long.png", encoded(colours, "PNG", exif=exif(1, make="x" * 300_000))
    yield "exif-many.jpg", encoded(colours, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + random.bytes(60_000))
    yield (
        "exif-loop.jpg",
        encoded(
            colours,
            "JPEG",
            exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x8769, 4, 1, 8) + b"\x08\0\0\0",
        ),
    )
    yield "xmp-noise.jpg", encoded(colours, "JPEG", xmp=random.bytes(5000))
    for name, dots in (("none", (0, 0)), ("many", (2**32 - 1, 1))):
        resolution = chunk(b"pHYs", struct.pack(">IIB", *dots, 1))
        yield f"dpi-{name}.png", png(2, 1, 8, 2, b"\0abcdef", resolution)
    # profiles
    for name, profile in (("p3", DISPLAY_P3), ("adobe", ADOBE_RGB), ("srgb", SRGB)):
        yield f"profile-{name}.jpg", encoded(colours, "JPEG", icc_profile=profile)
    yield "profile-noise.jpg", encoded(colours, "JPEG", icc_profile=random.bytes(3000))
    yield "profile-cut.png", encoded(colours, "PNG", icc_profile=SRGB[:400])
    yield "profile-long.jpg", encoded(colours, "JPEG", icc_profile=SRGB + bytes(400_000))
    yield "profile-grey-on-rgb.jpg", encoded(colours, "JPEG", icc_profile=grey_profile(2.2))
    yield "profile-rgb-on-grey.jpg", encoded(tones, "JPEG", icc_profile=DISPLAY_P3)
    yield "profile-cmyk-on-rgb.png", encoded(colours, "PNG", icc_profile=cmyk_profile())
    # sizes
    for width, height in ((1, 1), (1, 5000), (5000, 1), (7, 3), (2, 16_383)):
        for suffix, format in (("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")):
            yield f"{width}x{height}.{suffix}", encoded(Image.new("RGB", (width, height), "teal"), format)
    yield "32767x2.png", encoded(Image.new("RGB", (32_767, 2), "teal"), "PNG")
    # names that lie
    yield "a-png.jpg", encoded(colours, "PNG")
    yield "a-jpeg.png", encoded(colours, "JPEG")
    yield "a-gif.tif", encoded(colours, "GIF")
    yield "no-suffix", encoded(colours, "PNG")


def broken_files(random: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Files that are no pictures, no longer pictures, or not to be opened."""
    colours = Image.fromarray(COLOURS)
    kinds = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tif": "TIFF", "gif": "GIF", "bmp": "BMP", "avif": "AVIF"}
    for suffix, format in kinds.items():
        data = encoded(colours, format)
        for part in (0.02, 0.4, 0.8):
            yield f"cut-{part}.{suffix}", data[: max(12, int(len(data) * part))]
    yield "empty.png", b""
    yield "one-byte.jpg", b"\xff"
    yield "zeros.png", bytes(4096)
    yield "noise.jpg", random.bytes(4096)
    yield "notes.png", b"Dear diary,\n" * 40
    yield "404.jpg", b"<!DOCTYPE html><html><title>404 Not Found</title></html>"
    yield "bmw.bmp", b"BMW is a car, BM is the start of a bitmap."
    yield "level.pgm", b"P1 is a level of a game"
    yield "object.json.png", json.dumps({"PNG": [1, 2]}).encode()
    yield "vector.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    yield "paper.jpg", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
    yield "script.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n"
    yield "program.jpg", b"\x7fELF\x02\x01\x01" + bytes(60)
    yield "packed.png", gzip.compress(encoded(colours, "PNG"), mtime=0)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(zipfile.ZipInfo("a.png"), encoded(colours, "PNG"))  # of no date
    yield "archive.png", archive.getvalue()
    for format in ("EPS", "ICO", "TGA", "DDS", "PCX", "SGI"):
        yield f"format.{format.lower()}", encoded(colours, format)
    yield "photoshop.tif", b"8BPS\0\1" + bytes(26)
    yield "sound.webp", b"RIFF\x24\0\0\0WAVEfmt " + bytes(28)
    yield "movie.avif", b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(40)
    yield "jpeg2000.jpg", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40)
    yield "jpegxl.jpg", b"\xff\x0a" + bytes(40)
    # bombs
    yield "bomb.png", png(30_000, 30_000, 1, 0, bytes(10))
    yield "bomb-wide.png", png(2**31 - 1, 2**31 - 1, 8, 6, bytes(10))
    yield "bomb.gif", b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b"\x2c" + bytes(9)
    small = bytearray(encoded(Image.new("L", (9, 9)), "GIF"))
    at = small.index(b"\x2c")
    small[at + 5 : at + 9] = struct.pack("<HH", 65_000, 65_000)
    yield "bomb-frame.gif", bytes(small)
    size = ((256, 4, 1, 60_000), (257, 4, 1, 60_000), (278, 4, 1, 60_000))
    layout = ((258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (279, 4, 1, 64))
    yield "bomb.tif", tiff(*size, *layout)
    frame = bytearray(encoded(colours, "JPEG"))
    at = frame.index(b"\xff\xc0")
    frame[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    yield "bomb.jpg", bytes(frame)
    yield "bomb.bmp", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, 99_999, 99_999, 1, 24, 0, 0, 1, 1, 0, 0)
    yield "bomb.ppm", b"P6 99999 99999 255\n" + bytes(99)
    yield "bomb.webp", b"RIFF\x2a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff" + bytes(20)
    # damage
    grey = ((256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1), (278, 4, 1, 8))
    good = encoded(colours, "PNG")
    flipped = bytearray(good)
    flipped[good.index(b"IDAT") + 30] ^= 0xFF
    yield "checksum.png", bytes(flipped)
    yield "no-pixels.png", b"\x89PNG\r\n\x1a\n" + good[8:33] + chunk(b"IEND", b"")
    yield "zero-width.png", png(0, 9, 8, 2, b"")
    yield "bad-deflate.png", b"\x89PNG\r\n\x1a\n" + good[8:33] + chunk(b"IDAT", b"not deflate") + chunk(b"IEND", b"")
    yield "bad-depth.png", png(9, 9, 7, 2, bytes(999))
    jpeg = encoded(colours, "JPEG")
    yield "no-frame.jpg", jpeg[:20] + b"\xff\xd9"
    frame = bytearray(jpeg)
    at = frame.index(b"\xff\xc0")
    frame[at + 5 : at + 9] = bytes(4)
    yield "zero-size.jpg", bytes(frame)
    yield "no-tables.jpg", jpeg[:2] + jpeg[jpeg.index(b"\xff\xc0") :]
    yield "no-frames.gif", b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b";"
    yield "no-tags.tif", tiff()
    yield "directory-outside.tif", b"II*\0\xff\xff\xff\xff"
    yield "pixels-far.tif", tiff(*grey, (259, 3, 1, 1), (273, 4, 1, 2**32 - 1), (279, 4, 1, 64))
    yield "compression.tif", tiff(*grey, (259, 3, 1, 34_712), (273, 4, 1, 8), (279, 4, 1, 64))
    noise = b"\x80\x3f\xff" * 21 + b"\0"
    yield "lzw-noise.tif", tiff(*grey, (259, 3, 1, 5), (273, 4, 1, 8), (279, 4, 1, 64), data=noise)
    raw = Image.Exif()
    raw[50_706] = b"\1\4\0\0"
    yield "camera.tif", encoded(colours, "TIFF", exif=raw)


def doubtful_files() -> Iterator[tuple[str, bytes]]:
    """Damage that a reader may or may not see past; and for HEIC it depends on what is installed."""
    colours = Image.fromarray(COLOURS)
    good = encoded(colours, "PNG")
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000), 9))
    yield "text-bomb.png", good[:33] + text + good[33:]
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(80_000_000), 9))
    yield "profile-bomb.png", good[:33] + profile + good[33:]
    yield "two-headers.png", good[:33] + good[8:33] + good[33:]
    yield "end-missing.png", good[:-12]
    yield "end-missing.jpg", encoded(colours, "JPEG")[:-2]
    grey = ((256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8))
    grey += ((277, 3, 1, 1), (278, 4, 1, 8), (279, 4, 1, 64))
    yield "frames-in-a-circle.tif", tiff(*grey, after=72)
    yield "tag-of-no-type.tif", tiff(*grey, (700, 99, 9, 9))
    yield "tag-of-4-gb.tif", tiff(*grey, (700, 1, 2**32 - 1, 8))
    yield "profile-outside.tif", tiff(*grey, (34_675, 7, 2**31, 2**31))
    yield "phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    swapped = bytearray(encoded(colours, "JPEG", progressive=True))
    swapped[len(swapped) // 2 :] = reversed(swapped[len(swapped) // 2 :])
    yield "mirrored.jpg", bytes(swapped)


def cases() -> list[Case]:
    """All of them; the same in every run."""
    random = np.random.default_rng(7)
    return [
        *(Case(f"odd-{name}", data, True) for name, data in odd_pictures(random)),
        *(Case(f"bad-{name}", data, False) for name, data in broken_files(random)),
        *(Case(f"maybe-{name}", data, None) for name, data in doubtful_files()),
    ]


def mutant(random: np.random.Generator, data: bytes) -> bytes:
    """A file after one to eight random edits: bytes set, bits flipped, pieces cut out, doubled, moved or cut off."""
    raw = bytearray(data)
    for _ in range(int(random.integers(1, 9))):
        if len(raw) < 8:
            break
        at, length = int(random.integers(len(raw))), int(random.integers(1, 33))
        if random.random() < 0.5:  # headers hold what steers a decoder
            at = int(at * random.random() ** 3)
        match int(random.integers(8)):
            case 0:
                raw[at] = int(random.choice([0, 1, 0x7F, 0x80, 0xFF]))
            case 1:
                raw[at] ^= 1 << int(random.integers(8))
            case 2:
                raw[at : at + 4] = struct.pack(">I", int(random.choice([0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1])))
            case 3:
                raw[at : at + length] = random.bytes(min(length, len(raw) - at))
            case 4:
                del raw[at : at + length]
            case 5:
                raw[at:at] = raw[at : at + length]
            case 6:
                other = int(random.integers(len(raw)))
                raw[at : at + length] = raw[other : other + length]
            case _ if random.random() < 0.2:
                del raw[at:]
    return bytes(raw)


def mutants(count: int, seed: int = 0) -> Iterator[Case]:
    """Mutants of all files that are no bombs."""
    random = np.random.default_rng(seed)
    parents = [case for case in cases() if len(case.data) < 20_000]
    for number in range(count):
        parent = parents[number % len(parents)]
        yield Case(f"{number:06}-{parent.name}", mutant(random, parent.data), None)


def write(folder: Path, what: list[Case]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for case in what:
        (folder / case.name).write_bytes(case.data)


if __name__ == "__main__":
    write(Path(sys.argv[1]), [*cases(), *mutants(int(sys.argv[2]) if len(sys.argv) > 2 else 0)])
    print(len(os.listdir(sys.argv[1])), "files")
