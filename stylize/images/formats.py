"""What an image file is: by its first bytes when it is read, by its suffix when it is written."""

from __future__ import annotations

import importlib
import os
import re
import stat
import struct
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import IO

from PIL import Image, ImageFile

from stylize.errors import OutputError, UsageError, shown

# EPS would start Ghostscript: no "all of Pillow"
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "PPM")
SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".avif": "AVIF",
    ".ppm": "PPM",
}
READABLE_SUFFIXES = SUFFIXES | {".heic": "HEIF", ".heif": "HEIF"}
READABLE_FILES = "JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF files"  # for hints; PPM and HEIC are read, too
_PLUGINS = {"WEBP": "WebP"}  # in Pillow's modules only the first letter is large, but for this one
MAX_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535, "AVIF": 32_768}
MAX_BYTES = dict.fromkeys(("TIFF", "BMP"), (1 << 32) - (1 << 26))  # uncompressed; what is left is for metadata
OPAQUE_FORMATS = frozenset({"JPEG", "BMP", "PPM"})
PROFILE_FORMATS = frozenset({"JPEG", "PNG", "WEBP", "TIFF", "AVIF"})
CMYK_FORMATS = frozenset({"JPEG", "TIFF"})
DEEP_FORMATS = frozenset({"PNG", "TIFF"})  # that hold 16 bits a channel

# What Pillow's parsers raise on damaged files, the first line on purpose. For calls into Pillow only: around our own
# code these would hide bugs.
DECODE_ERRORS = (
    *(OSError, ValueError, SyntaxError, EOFError, MemoryError, struct.error, Image.DecompressionBombError),
    *(ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError),
)
RAW = "a camera raw file"
RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc", ".mef"}
    | {".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
_RAW_STARTS = (  # places and bytes
    *((0, b"FUJIFILMCCD-RAW"), (0, b"IIRO\x08\0"), (0, b"IIRS\x08\0"), (0, b"MMOR\0\0"), (0, b"IIU\0"), (0, b"\0MRM")),
    *((4, b"ftypcrx "), (6, b"HEAPCCDR"), (8, b"CR\2")),
    *((8, b"IIIITwaR"), (8, b"IIIICwaR"), (8, b"MMMMRawT"), (8, b"MMMMRawC")),
)
# Pictures that are known, but not read: how they begin, and what they are called.
_OTHERS: tuple[tuple[str, tuple[bytes, ...], tuple[str, ...]], ...] = (
    ("a Photoshop file", (b"8BPS\0\1", b"8BPS\0\2"), (".psd", ".psb")),
    ("a JPEG XL file", (b"\xff\x0a", b"\0\0\0\x0cJXL "), (".jxl",)),
    ("a JPEG 2000 file", (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), (".jp2", ".j2k", ".j2c", ".jpf", ".jpx")),
    ("a JPEG XR file", (b"II\xbc",), (".jxr", ".wdp", ".hdp")),
    ("an OpenEXR file", (b"v/1\1",), (".exr",)),
    ("a Radiance HDR file", (b"#?RADIANCE", b"#?RGBE"), (".hdr",)),
    ("a GIMP file", (b"gimp xcf",), (".xcf",)),
    ("a Krita file", (), (".kra",)),
    ("an Affinity Photo file", (), (".afphoto",)),
    ("a Targa file", (), (".tga",)),
)
HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
TWO_BYTE_MAGIC = frozenset({"BMP", "PPM"})  # text can begin with "BM" or "P1", see _can_be_text


def sniff_format(path: str | os.PathLike[str]) -> str | None:
    """What a file is by its first 16 bytes: one of :data:`FORMATS`, "HEIF", or None if it is no image.

    Raises:
        OSError: the file cannot be opened.
    """
    head = head_of(path)
    return None if head is None else format_by(head)


def head_of(path: str | os.PathLike[str]) -> bytes | None:
    """The first 16 bytes of a file; None for what is no regular file. Raises OSError."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        return None
    with open(path, "rb") as stream:
        return stream.read(16)


def format_by(head: bytes) -> str | None:
    """What a file with these first 16 bytes is, see ``sniff_format``."""
    format = next(iter(formats_of(head)), "HEIF" if is_heic(head) else None)
    return None if format in TWO_BYTE_MAGIC and _can_be_text(head) else format


def _can_be_text(head: bytes) -> bool:
    """Whether a file that begins as BMP or PPM does goes on as none of them does."""
    if head[:2] == b"BM":
        return len(head) >= 10 and head[6:10] != bytes(4) and head.isascii()  # four reserved bytes
    return head[2:3] not in (b" ", b"\t", b"\n", b"\r", b"") or not re.match(rb"..\s*[0-9#-]", head, re.DOTALL)


def formats_of(head: bytes) -> list[str]:
    """Formats that a file with these first 16 bytes may have."""
    accepts = ((format, opener_of(format)[1]) for format in FORMATS)
    return [format for format, accept in accepts if accept is not None and accept(head) is True]


def opener_of(
    format: str,
) -> tuple[Callable[[IO[bytes], str], ImageFile.ImageFile], Callable[[bytes], bool | str] | None]:
    """What Pillow opens files of a format with, and tells by their first bytes.

    ``Image.init()`` would import the other forty formats, too: half of the time that a small photo takes to read.
    """
    if format not in Image.OPEN:
        importlib.import_module(f"PIL.{_PLUGINS.get(format, format.title())}ImagePlugin")
    return Image.OPEN[format]


def is_heic(head: bytes) -> bool:
    """Whether a file with these first 16 bytes is a HEIC picture."""
    return head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS


def is_raw(head: bytes) -> bool:
    """Whether the first 16 bytes are those of a camera raw file; many begin as any TIFF does."""
    return any(head.startswith(start, at) for at, start in _RAW_STARTS)


def unreadable_kind(head: bytes, name: str) -> str | None:
    """What a picture is that is known but not read, such as ``a Photoshop file``; None for all other files.

    Args:
        head: its first 16 bytes.
        name: its suffix counts where the bytes are those of a TIFF, or tell nothing.
    """
    readable = formats_of(head) if head else []
    if is_raw(head):
        return RAW
    if (readable and readable != ["TIFF"]) or is_heic(head):
        return None
    if (suffix := PurePath(name).suffix.lower()) in RAW_SUFFIXES:
        return RAW
    if readable:
        return None
    begins = (kind for kind, starts, _ in _OTHERS if head.startswith(starts))
    return next(begins, next((kind for kind, _, suffixes in _OTHERS if suffix in suffixes), None))


def check_size(width: int, height: int, format: str, pixel_bytes: int = 3) -> None:
    """Refuse pictures that are too large for a format, of so many bytes a pixel. Raises OutputError."""
    longest, most = MAX_SIDE.get(format, 2**31 - 1), MAX_BYTES.get(format)
    if max(width, height) > longest:
        raise OutputError(
            f"{format} cannot hold {width}x{height} pixels: its longest side is {longest}",
            hint="write a .png or .tif file",
        )
    if most is not None and width * height * pixel_bytes > most:
        raise OutputError(f"{format} cannot hold {width}x{height} pixels: more than 4 GB", hint="write a .png file")


def format_of(path: str | os.PathLike[str]) -> str:
    """The format that an output path asks for by its suffix.

    Raises:
        OutputError: the suffix is missing or not one of :data:`SUFFIXES`.
    """
    path = Path(path)
    format = SUFFIXES.get(path.suffix.lower())
    if format is None:
        trouble = f'unknown suffix "{shown(path.suffix)}"' if path.suffix else "it has no suffix"
        raise OutputError(f"cannot write {shown(path)}: {trouble}", hint=f"use one of {' '.join(SUFFIXES)}")
    return format


def output_name(photo: PurePath, format: str) -> str:
    """The name of a photo's output: its own, with the suffix of the format that is written."""
    suffix = photo.suffix
    return photo.name if SUFFIXES.get(suffix.lower()) == format else photo.stem + suffix_of(format)


def format_named(text: str) -> str:
    """The format with a suffix or a name, such as ``jpg`` or ``JPEG``. Raises UsageError for what cannot be written."""
    try:
        return format_of(Path(f"x.{text.removeprefix('.')}"))
    except OutputError as error:
        raise UsageError(f"`format` {text}: cannot be written", hint=error.hint) from error


def suffix_of(format: str) -> str:
    """The usual suffix of a format; what cannot be written (HEIF) is written as JPEG."""
    return next((suffix for suffix, known in SUFFIXES.items() if known == format), ".jpg")


def written_format(format: str) -> str:
    """The format in which a photo of that format is written, if no other is asked for."""
    return SUFFIXES[suffix_of(format)]
