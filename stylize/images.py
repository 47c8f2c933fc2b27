"""Pixels in and out: the only place where image files are decoded, encoded and written.

:func:`read_image` turns a path or bytes into upright sRGB pixels of 8 or 16 bits, with alpha, metadata and the file's
own colours beside them; :func:`write_image` turns pixels into a file that is either complete or absent. Everything
between these two works on plain ``(H, W, 3)`` sRGB. Files may be hostile: formats come from an allow-list and are
recognised by content, sizes are checked before decoding, and whatever is wrong with a file becomes an
:class:`InputError`.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import io
import math
import os
import re
import secrets
import shutil
import stat
import struct
import tempfile
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageFile, PngImagePlugin, TiffImagePlugin

from stylize.colour_profile import Native, ProfileError, to_8_bit, to_srgb, to_srgb_16
from stylize.colour_profile import Pixels as Pixels
from stylize.errors import InputError, OutputError, UsageError
from stylize.options import DEFAULT_MAX_PIXELS, ImageOptions

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

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
_PLACE = (
    rb"exif:GPS\w+|photoshop:(?:City|State|Country)|Iptc4xmpCore:(?:Location|CountryCode)|"
    rb"Iptc4xmpExt:(?:Location\w*|Sublocation|City|ProvinceState|Country\w*|WorldRegion)"
)
_PLACE_LEFT = re.compile(rb"gps|:(?:City|State|Country|Location|Sublocation|ProvinceState|WorldRegion)", re.IGNORECASE)
_RECIPE = re.compile(rb"<stylize:recipe>[^<]*</stylize:recipe>")  # see ``stylize.recipe``
MAX_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535, "AVIF": 32_768}
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
HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
TWO_BYTE_MAGIC = frozenset({"BMP", "PPM"})  # text can begin with "BM" or "P1", see _can_be_text

ORIENTATION, COLOR_SPACE, XMP = 0x0112, 0xA001, 700
EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
PLACE_TAGS = frozenset({GPS_IFD, 33550, 33922, 34264, 34735, 34736, 34737})  # the others are GeoTIFF's
SRGB, UNCALIBRATED = 1, 65_535  # values of COLOR_SPACE
PIXEL_DIMENSIONS, RESOLUTIONS = (0xA002, 0xA003), (282, 283)  # across and down
SIDEWAYS = frozenset({5, 6, 7, 8})  # orientations
BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0
MOST_FRAMES = 99
SUBFILE_TYPE, SUB_IFDS, DNG_VERSION = 254, 330, 50706
# Held while file descriptor 2 leads nowhere, see _silent_libtiff; who speaks while threads read pictures takes it, too.
STDERR = threading.Lock()
TEMPORARY = re.compile(r"\.stylize-[0-9a-f]{16}\.tmp")
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# TIFF keeps EXIF and the layout of its pixels in one directory; the layout must not travel into other files.
LAYOUT_TAGS = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 301, 317, 320, 322, 323, 324, 325, 330, 332}
    | {338, 339, 340, 341, 347, *range(512, 522), 529, 530, 531, 532, XMP, 34377, 34675}
)


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image.

    Attributes:
        pixels: (H, W, 3) uint8 or uint16, sRGB, upright, not multiplied by alpha.
        alpha: (H, W) of the same type, or None when every pixel is opaque.
        format: what the file was by content: one of :data:`FORMATS`, or "HEIF".
        exif: an EXIF block that says "upright, sRGB" and has no thumbnail, or None.
        dpi: horizontal and vertical resolution, or None.
        xmp: the XMP packet, its orientation reset too, or None.
        warnings: what the user should know about the reading, one clause each.
        native: the colours as the file has them, if it has a profile that results can be given back in.
    """

    pixels: Pixels
    alpha: Pixels | None
    format: str
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    warnings: tuple[str, ...] = ()
    native: Native | None = None


class Encoded(NamedTuple):
    """The bytes of an image file, and what its format could not hold."""

    data: bytes
    warnings: tuple[str, ...]


def shown(name: object) -> str:
    """A path or other foreign text, safe to print: control characters and undecodable bytes are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))


# Reading


def read_image(
    source: Path | bytes,
    *,
    name: str | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    bit_depth: str = "8",
    allow_truncated: bool = False,
) -> Picture:
    """Decode an image file: its first frame, upright, in sRGB.

    Args:
        source: a path, or the bytes of a file.
        name: what to call it in messages; the path, or "<stdin>" for bytes.
        max_pixels: larger pictures are refused from their header, before any memory is taken.
        bit_depth: of the pixels: ``8``, ``16``, or ``auto`` for what the file has. 16-bit grey is read by Pillow,
            16-bit colour needs the extra ``deep``.
        allow_truncated: read files that end too early, as far as they go; what is missing is black.

    Raises:
        InputError: missing, not a regular file, not an image of a known format, too large, truncated or damaged.
    """
    name = shown(name or (source if isinstance(source, Path) else "<stdin>"))
    with (
        io.BytesIO(source) if isinstance(source, bytes) else _open_regular(source, name) as stream,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # Pillow's remarks on damaged tags: nothing the user can act on
        with _open_image(stream, name) as image:
            try:
                _check_header(image, name, max_pixels)
                deep = _is_deep(image)
                # Pillow turns TIFFs upright while loading them; what is read beside it has to know.
                stored = image.getexif().get(ORIENTATION, 1) if image.format == "TIFF" else None
                notes = _load(image, allow_truncated)
            except DECODE_ERRORS as error:
                raise _unreadable(name, error) from error
            try:
                values = _read_deep(image, stream, stored, notes) if deep and bit_depth != "8" else None
                if deep and values is None:
                    notes.append("16-bit colour read as 8-bit")
                if (bits := image.info.get("bit_depth", 8)) != 8:  # as pillow-heif calls it
                    notes.append(f"{bits}-bit colour read as 8-bit")
                picture = _decode(image, deep, values, stored, notes)
            except (MemoryError, OSError, ValueError) as error:  # no space for a copy; a mode Pillow cannot convert
                raise _unreadable(name, error) from error
    return to_16_bit(picture) if bit_depth == "16" else picture


def read_photo(source: Path | bytes, options: ImageOptions) -> Picture:
    """``read_image`` as the options of a command ask for."""
    return read_image(
        source,
        max_pixels=options.max_pixels,
        bit_depth=options.bit_depth,
        allow_truncated=options.allow_truncated,
    )


def to_16_bit(picture: Picture) -> Picture:
    """A picture whose pixels have 16 bits, for results finer than the photo's own steps."""
    if picture.pixels.dtype == np.uint16:
        return picture
    pixels, alpha, native = picture.pixels, picture.alpha, picture.native
    if native is not None and native.values is not None:  # exact only from the file's own values
        again = None if native.mode == "CMYK" else to_srgb_16(_widened(native.values), native.profile)
        wide, native = again if again is not None else (_widened(pixels), None)
    else:
        wide = _widened(pixels)
    return replace(picture, pixels=wide, alpha=None if alpha is None else _widened(alpha), native=native)


def _widened(values: NDArray[Any]) -> NDArray[np.uint16]:
    return values.astype(np.uint16) * np.uint16(257)


def _load(image: ImageFile.ImageFile, allow_truncated: bool) -> list[str]:
    """Decode the pixels; returns what the user should know.

    Pillow's own switch for truncated files is global and stays as it is: here its decoder gives up as always, and what
    it has decoded by then is used.
    """
    libtiff = any(tile[0] == "libtiff" for tile in getattr(image, "tile", ()))
    try:
        with _silent_libtiff() if libtiff else nullcontext():
            image.load()
    except OSError as error:
        if not (allow_truncated and _is_truncation(error)) or getattr(image, "_im", None) is None:
            raise
        image.tile = []  # nothing more to decode
        image.load()
        return ["is truncated: what is missing is black"]
    return []


@contextmanager
def _silent_libtiff() -> Iterator[None]:
    """libtiff writes what it thinks of a file to file descriptor 2; nobody asked."""
    with STDERR:  # threads would restore each other's redirections
        try:
            stderr = os.dup(2)
        except OSError:  # closed: it can say what it likes
            yield
            return
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def sniff_format(path: Path) -> str | None:
    """What a file is by its first 16 bytes: one of :data:`FORMATS`, "HEIF", or None if it is no image.

    Raises:
        OSError: the file cannot be opened.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        return None
    with path.open("rb") as stream:
        head = stream.read(16)
    format = next(iter(_formats_of(head)), "HEIF" if _is_heic(head) else None)
    return None if format in TWO_BYTE_MAGIC and _can_be_text(head) else format


def _can_be_text(head: bytes) -> bool:
    """Whether a file that begins as BMP or PPM does goes on as none of them does."""
    if head[:2] == b"BM":
        return len(head) >= 10 and head[6:10] != bytes(4) and head.isascii()  # four reserved bytes
    return head[2:3] not in (b" ", b"\t", b"\n", b"\r", b"") or not re.match(rb"..\s*[0-9#-]", head, re.DOTALL)


def _open_regular(path: Path, name: str) -> BinaryIO:
    """Open a regular file. Everything else is refused unopened: a FIFO or a terminal would block."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            return path.open("rb")
    except FileNotFoundError as error:
        raise InputError(f"cannot read {name}: no such file", hint=_near_name(path)) from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise InputError(f"cannot read {name}: {_reason(error)}") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"cannot read {name}: a folder", hint="a picture is wanted; stylize batch takes folders")
    raise InputError(f"cannot read {name}: not a regular file")


def _near_name(path: Path) -> str:
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, 10_000)]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {shown(path.parent / near[0])}" if near else ""


def _open_image(stream: BinaryIO, name: str) -> ImageFile.ImageFile:
    """Read the header. The loop is Image.open's, without its size limit: that one is global, ours is an argument."""
    head = stream.read(16)
    if not head:
        raise InputError(f"cannot read {name}: file is empty")
    formats = _formats_of(head)
    heic = _is_heic(head)
    if heic and _register_heif():
        formats.append("HEIF")
    failure = None
    for format in formats:
        stream.seek(0)
        try:
            return Image.OPEN[format][0](stream, "")
        except DECODE_ERRORS as error:
            failure = error
    if heic and "HEIF" not in formats:
        raise InputError(f'cannot read {name}: HEIC needs the "heif" extra', hint='pip install "stylize[heif]"')
    if failure is None or (TWO_BYTE_MAGIC.issuperset(formats) and not _is_truncation(failure)):
        raise InputError(
            f"cannot read {name}: not an image stylize can open (JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF)"
        ) from failure
    raise _unreadable(name, failure) from failure


def _formats_of(head: bytes) -> list[str]:
    """Formats that a file with these first 16 bytes may have."""
    Image.init()  # fills Image.OPEN; does nothing the second time
    accepts = ((format, Image.OPEN[format][1]) for format in FORMATS)
    return [format for format, accept in accepts if accept is not None and accept(head) is True]


def _is_heic(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS


def _register_heif() -> bool:
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return False
    return True


def _is_truncation(error: Exception) -> bool:
    return isinstance(error, EOFError) or "truncated" in str(error).lower() or "EOF" in str(error)


def _reason(error: Exception) -> str:
    """The operating system's words, without number and path."""
    return (getattr(error, "strerror", None) or str(error)).lower()


def _unreadable(name: str, error: Exception) -> InputError:
    if isinstance(error, MemoryError):
        return InputError(f"cannot read {name}: not enough memory to decode it")
    if isinstance(error, OSError) and error.errno:
        return InputError(f"cannot read {name}: {_reason(error)}")
    if _is_truncation(error):
        hint = "copy the file again; for photos and styles, transfer, batch and encode-style have --allow-truncated"
        return InputError(f"cannot read {name}: file is truncated", hint=hint)
    # Some decoders do not say which of the two it is.
    return InputError(f"cannot read {name}: file is truncated or damaged", hint="copy the file again")


def _check_header(image: ImageFile.ImageFile, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        limit = f"{max_pixels // 10**6} MP" if max_pixels >= 10**6 else f"{max_pixels} pixels"
        raise InputError(
            f"cannot read {name}: {width}x{height} pixels is over the limit of {limit}",
            hint=f"--max-pixels {10 ** len(str(width * height))} if you trust this file",
        )
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    if DNG_VERSION in tags or (tags.get(SUBFILE_TYPE) == 1 and SUB_IFDS in tags):
        # Camera raw files are TIFFs whose first picture is a thumbnail.
        raise InputError(f"cannot read {name}: it is a camera raw file", hint="export it as JPEG or TIFF first")


def _decode(
    image: ImageFile.ImageFile, deep: bool, values: NDArray[np.uint16] | None, stored: int | None, notes: list[str]
) -> Picture:
    """Pixels and metadata of a loaded file, whose 16-bit values (H, W, 1..4), if known, are upright already.

    Args:
        stored: the orientation in which a TIFF's pixels lay.
    """
    orientation, exif = _take_exif(image, stored, notes)
    profile, dpi, xmp = image.info.get("icc_profile"), _dpi(image.info.get("dpi")), image.info.get("xmp")
    if dpi is not None and SIDEWAYS.intersection((orientation, stored)):
        dpi = dpi[::-1]
    pixels: Pixels
    alpha: Pixels | None
    wide = None
    if values is not None:
        values = _turned(values, orientation)
        channels = values.shape[2]
        colours = values[..., : channels - (channels in (2, 4))]
        try:
            wide = to_srgb_16(colours, profile)
        except ProfileError:
            notes.append("its colour profile is unusable: read as sRGB")
            wide = to_srgb_16(colours, None)
        if wide is None:
            notes.append("16-bit colour read as 8-bit: its colour profile is no simple one")
    if values is not None and wide is not None:
        (pixels, native), alpha = wide, values[..., -1] if values.shape[2] in (2, 4) else None
    else:
        upright: Image.Image = image.transpose(TRANSPOSE[orientation]) if orientation in TRANSPOSE else image
        colour, alpha = _split_alpha(upright, deep)
        try:
            srgb, native = to_srgb(colour, profile)
        except ProfileError:
            notes.append("its colour profile is unusable: read as sRGB")
            srgb, native = colour.convert("RGB"), None
        if colour.mode == "CMYK" and native is None:
            notes.append("CMYK without a usable profile: written as RGB")
        pixels = np.array(srgb)
    if (frames := _count_frames(image)) > 1:  # moves the file on, so it comes last
        number = f"over {MOST_FRAMES}" if frames > MOST_FRAMES else f"{frames}"
        notes.append(f"has {number} frames: only the first is used")
    return Picture(
        pixels=pixels,
        alpha=None if alpha is None or alpha.min() == np.iinfo(alpha.dtype).max else alpha,
        format="JPEG" if image.format == "MPO" else str(image.format),  # MPO: JPEGs in a row, the photo first
        exif=exif,
        dpi=dpi,
        xmp=re.sub(rb"""(tiff:Orientation\s*(?:=\s*["']|>))[0-9]""", rb"\g<1>1", xmp)
        if isinstance(xmp, bytes)
        else None,
        warnings=tuple(notes),
        native=native,
    )


def _turned(values: NDArray[Any], orientation: int) -> NDArray[Any]:
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


def _read_deep(
    image: ImageFile.ImageFile, stream: BinaryIO, stored: int | None, notes: list[str]
) -> NDArray[np.uint16] | None:
    """All bits of a file that Pillow reads in part or clips: (H, W, 1..4), alpha last; None if they are out of reach.

    Args:
        stored: the orientation in which a TIFF's pixels lie.
    """
    if image.mode[0] in "IF":  # grey: Pillow has all of it
        values = [_scaled(_tones(image), 65_535)]
        if (key := image.info.get("transparency")) is not None:
            values.append(np.where(np.asarray(image) == key, 0, 65_535).astype(np.uint16))
        return np.stack(values, axis=-1)
    if image.format not in DEEP_FORMATS or image.mode not in ("RGB", "RGBA", "LA"):
        return None
    try:
        oiio = importlib.import_module("OpenImageIO")
    except ImportError:
        notes.append('all of its bits need the "deep" extra: pip install "stylize[deep]"')
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
        spec = file.spec()
        associated = image.tag_v2.get(338) == (1,) if isinstance(image, TiffImagePlugin.TiffImageFile) else False
        size = image.size if stored not in (5, 6, 7, 8) else image.size[::-1]
        if (spec.width, spec.height) != size or spec.format != oiio.UINT16 or spec.nchannels > 4 or associated:
            return None
        read: NDArray[np.uint16] | None = file.read_image(oiio.UINT16)
        file.close()
    return None if read is None else _turned(read, stored or 1)


def _is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether the file holds more than 8 bits a channel. Pillow drops them from RGB without a word."""
    layouts = [(tile.args,) if isinstance(tile.args, str) else tile.args or ("",) for tile in image.tile[:1]]
    if image.format == "PPM" and any(isinstance(layout[-1], int) and layout[-1] > 255 for layout in layouts):
        return True  # the largest value stands beside the layout
    return image.mode[0] in "IF" or any(";16" in str(layout[0]) for layout in layouts)


def _count_frames(image: ImageFile.ImageFile) -> int:
    """How many frames a file has, counted up to one more than ``MOST_FRAMES``; moves on to another frame."""
    try:
        if image.format != "TIFF":
            return int(getattr(image, "n_frames", 1))
        for frame in range(1, MOST_FRAMES + 1):  # their number stands nowhere, and each takes longer than the last
            try:
                image.seek(frame)
            except EOFError:
                return frame
        return MOST_FRAMES + 1
    except DECODE_ERRORS:  # what follows the first frame is damaged, but nobody asked for it
        return 1


def _take_exif(image: Image.Image, stored: int | None, notes: list[str]) -> tuple[int, bytes | None]:
    """The orientation still to be applied, and the EXIF block that describes the picture after it is."""
    orientation = 1
    try:
        exif = image.getexif()  # after load(): Pillow itself turns TIFFs upright while loading them
        orientation = exif.get(ORIENTATION, 1)
        for tag in LAYOUT_TAGS.intersection(exif):
            del exif[tag]
        if not exif:
            return orientation, None
        exif[ORIENTATION] = 1
        if COLOR_SPACE in (details := exif.get_ifd(EXIF_IFD)):
            details[COLOR_SPACE] = SRGB
        if SIDEWAYS.intersection((orientation, stored)):
            for tags, (across, down) in ((details, PIXEL_DIMENSIONS), (exif, RESOLUTIONS)):
                turned = {across: tags.get(down), down: tags.get(across)}
                tags.update({tag: value for tag, value in turned.items() if value is not None})
        exif.get_ifd(GPS_IFD)  # loaded while it is still known that
        exif.bigtiff = False  # the file may be a BigTIFF, which an EXIF block cannot be
        block = exif.tobytes()
        Image.Exif().load(block)  # what cannot be read again is not worth writing
        return orientation, block
    except DECODE_ERRORS:
        notes.append("its EXIF is damaged and was dropped")
        return orientation, None


def _dpi(value: Any) -> tuple[float, float] | None:
    try:
        x, y = (float(v) for v in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if all(math.isfinite(v) and 1 <= v < 65_536 for v in (x, y)) else None


def _split_alpha(image: Image.Image, deep: bool) -> tuple[Image.Image, Pixels | None]:
    """Any mode -> colour in one of the modes L, RGB, CMYK, LAB, and alpha (H, W) where there is one."""
    key = image.info.get("transparency")
    if image.mode[0] in "IF":
        alpha = None if key is None else np.where(np.asarray(image) == key, 0, 255).astype(np.uint8)
        return Image.fromarray(_scaled(_tones(image), 255)), alpha
    if deep and isinstance(key, tuple):
        image.info["transparency"] = tuple(v >> 8 for v in key)  # Pillow shortened the colours, but not their key
    if image.has_transparency_data:
        mode = "LA" if image.mode in ("1", "L", "LA", "La") else "RGBA"
        image = image.convert(mode)
        return image.convert(mode[:-1]), np.array(image.getchannel("A"))
    if image.mode not in ("L", "RGB", "CMYK", "LAB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return image, None


def _tones(image: Image.Image) -> NDArray[Any]:
    """Grey tones (H, W) of 16-bit, 32-bit or float images, of 9 to 16 bits as 0..65535, black being 0.

    Pillow gives a TIFF's values as they are: of 12 bits 0..4095, and where the file says so, white is 0.
    """
    values = np.asarray(image)
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    bits = next(iter(tags.get(BITS, ())), 16)
    if values.dtype.kind == "f" or not 8 < bits <= 16:
        return values
    if bits < 16:
        values = np.clip(np.rint(values * (65_535 / (2**bits - 1))), 0, 65_535).astype(np.uint16)
    return 65_535 - values if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else values


def _scaled(values: NDArray[Any], top: int) -> NDArray[Any]:
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


def fill_transparent(pixels: Pixels, alpha: Pixels | None) -> Pixels:
    """Give fully transparent pixels the colours of the visible ones around them, blurred more the farther they are.

    What a file keeps under transparency is often black; a network would let it bleed into the edges of what is seen.

    Args:
        pixels: (H, W, 3).
        alpha: (H, W), or None: all opaque.

    Returns:
        (H, W, 3); where alpha is not 0, ``pixels``. It does not depend on the colours under alpha 0.
    """
    hidden = None if alpha is None else alpha == 0
    if hidden is None or not hidden.any() or hidden.all():
        return pixels
    image = Image.fromarray(to_8_bit(pixels))
    image.putalpha(Image.fromarray(np.where(hidden, 0, 255).astype(np.uint8)))
    levels = [image]
    while levels[-1].getchannel("A").getextrema()[0] == 0:
        half = levels[-1].reduce(2)  # of RGBA, Pillow averages the visible colours only
        half.putalpha(half.getchannel("A").point([0] + [255] * 255))
        levels.append(half)
    filled = levels.pop().convert("RGB")
    for level in reversed(levels):
        filled = Image.composite(
            level.convert("RGB"), filled.resize(level.size, Image.Resampling.BILINEAR), level.getchannel("A")
        )
    colours = np.asarray(filled)
    wide = _widened(colours) if pixels.dtype == np.uint16 else colours
    return np.where(hidden[..., None], wide, pixels)


# Writing


def format_of(path: Path) -> str:
    """The format that an output path asks for by its suffix.

    Raises:
        OutputError: the suffix is missing or not one of :data:`SUFFIXES`.
    """
    format = SUFFIXES.get(path.suffix.lower())
    if format is None:
        trouble = f'unknown suffix "{shown(path.suffix)}"' if path.suffix else "it has no suffix"
        raise OutputError(f"cannot write {shown(path)}: {trouble}", hint=f"use one of {' '.join(SUFFIXES)}")
    return format


def output_name(photo: PurePath, format: str) -> str:
    """The name of a photo's output: its own, with the suffix of the format that is written."""
    suffix = photo.suffix
    return photo.name if SUFFIXES.get(suffix.lower()) == format else photo.stem + suffix_of(format)


def suffix_of(format: str) -> str:
    """The usual suffix of a format; what cannot be written (HEIF) is written as JPEG."""
    return next((suffix for suffix, known in SUFFIXES.items() if known == format), ".jpg")


def write_image(
    target: Path | BinaryIO,
    pixels: Pixels,
    *,
    like: Picture | None = None,
    alpha: Pixels | None = None,
    format: str | None = None,
    quality: int = 95,
    metadata: str = "keep",
    background: str | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Encode (see :func:`encode_image`) and write, completely or not at all.

    Args:
        format: else the suffix of the path decides; for a stream, the format of ``like``, else PNG.
        overwrite: replace an existing file; says nothing about streams.

    Returns:
        Warnings: what the format could not hold.

    Raises:
        OutputError: as :func:`format_of`, :func:`encode_image` and :func:`write_atomically`.
    """
    if format is None and isinstance(target, Path):
        format = format_of(target)
    encoded = encode_image(
        pixels,
        like=like,
        alpha=alpha,
        format=format,
        quality=quality,
        metadata=metadata,
        background=background,
    )
    if isinstance(target, Path):
        write_atomically(target, encoded.data, overwrite=overwrite)
    else:
        try:
            target.write(encoded.data)
            target.flush()
        except BrokenPipeError:  # the reader had enough: no error
            raise
        except OSError as error:
            raise OutputError(f"cannot write {shown(getattr(target, 'name', 'stream'))}: {_reason(error)}") from error
    return encoded.warnings


def encode_image(
    pixels: Pixels,
    *,
    like: Picture | None = None,
    alpha: Pixels | None = None,
    format: str | None = None,
    quality: int = 95,
    metadata: str = "keep",
    background: str | None = None,
) -> Encoded:
    """Pixels -> the bytes of an image file; equal input gives equal bytes.

    Args:
        pixels: (H, W, 3) uint8 or uint16, sRGB. PNG and TIFF hold 16 bits; for other formats they are rounded.
        like: the picture whose EXIF, XMP, resolution, colour profile and, failing ``format``, format are kept; not its
            alpha. Where ``pixels`` equals its pixels, the file's own values are written.
        alpha: (H, W) of the type of ``pixels``.
        format: one of :data:`FORMATS`.
        quality: 1..100, for JPEG (always 4:4:4), WebP and AVIF.
        metadata: of ``like``: ``keep``, ``no-gps`` to leave out where it was taken, ``strip`` to leave out all but the
            colour profile.
        background: the colour, as CSS names it, under transparent pixels in formats that cannot hold them; by default
            white, with a warning.

    Raises:
        OutputError: the picture is too large for the format.
        UsageError: ``background`` is no colour.
    """
    if format is None:
        format = SUFFIXES[suffix_of(like.format)] if like else "PNG"
    height, width = pixels.shape[:2]
    if max(width, height) > MAX_SIDE.get(format, 2**31 - 1):
        raise OutputError(
            f"{format} cannot hold {width}x{height} pixels: its longest side is {MAX_SIDE[format]}",
            hint="write a .png or .tif file",
        )
    notes: list[str] = []
    if pixels.dtype == np.uint16 and format not in DEEP_FORMATS:
        notes.append(f"{format} holds 8 bits a channel: 16-bit colour was rounded")
        pixels, alpha = to_8_bit(pixels), None if alpha is None else to_8_bit(alpha)
        if like is not None:
            native = None if like.native is None else like.native.to_8_bit()
            like = replace(like, pixels=to_8_bit(like.pixels), native=native)
    if alpha is not None and format in OPAQUE_FORMATS:
        if background is None:
            notes.append(f"{format} cannot hold transparency: laid on white")
        ground = Image.new("RGB", (width, height), parse_colour(background or "white"))
        ground.paste(Image.fromarray(pixels), mask=Image.fromarray(alpha))
        pixels, alpha = np.asarray(ground), None
    values, profile = _in_native_colours(pixels, like, format, alpha, notes)
    if format == "GIF":
        notes.append("GIF holds 256 colours, each opaque or fully transparent")
    is_srgb = profile is None or (like is not None and like.native is not None and like.native.values is None)
    tags = _kept_metadata(like, metadata, SRGB if is_srgb else UNCALIBRATED, notes)
    options = _options(format, tags, quality, notes) | ({"icc_profile": profile} if profile else {})
    try:
        if values.dtype == np.uint16:
            data = _encode_deep(values if alpha is None else np.dstack([values, alpha]), format, options)
        else:
            image = Image.fromarray(values, mode="CMYK") if values.shape[2] == 4 else Image.fromarray(values)
            if alpha is not None:
                image.putalpha(Image.fromarray(alpha))
            stream = io.BytesIO()
            image.save(stream, format, **options)
            data = stream.getvalue()
    except (OSError, ValueError, struct.error) as error:  # such as more than 4 GB in a TIFF
        raise OutputError(f"cannot encode {width}x{height} pixels as {format}: {_reason(error)}") from error
    return Encoded(data, tuple(notes))


def parse_colour(name: str) -> tuple[int, int, int]:
    """``#rrggbb`` or a colour's CSS name. Raises UsageError."""
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise UsageError(f"--background {shown(name[:40])}: no such colour", hint="as in '#ffffff' or white") from error


def _in_native_colours(
    pixels: Pixels, like: Picture | None, format: str, alpha: Pixels | None, notes: list[str]
) -> tuple[Pixels, bytes | None]:
    """The values to be written, (H, W, 3) or for CMYK (H, W, 4), and their ICC profile; None means sRGB, untagged."""
    native = like.native if like else None
    if like is None or native is None or format not in PROFILE_FORMATS:
        return pixels, None
    if native.mode == "CMYK" and (format not in CMYK_FORMATS or alpha is not None):
        return pixels, None
    try:
        return native.give_back(pixels, like.pixels), native.profile
    except ProfileError:
        notes.append("its colour profile works in one direction only: written as sRGB")
        return pixels, None


class _Metadata(NamedTuple):
    """What of a photo's metadata is written."""

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None


def _kept_metadata(like: Picture | None, policy: str, color_space: int, notes: list[str]) -> _Metadata:
    """The metadata to write after a policy, see :func:`encode_image`; EXIF says which colours it describes."""
    if like is None or policy == "strip":
        return _Metadata()
    xmp, exif = like.xmp, like.exif
    if policy == "no-gps" and xmp is not None:
        xmp = _without_gps(xmp)
    if exif is not None and (policy == "no-gps" or color_space != SRGB):
        try:
            tags = Image.Exif()
            tags.load(exif)
            if policy == "no-gps":
                for tag in PLACE_TAGS.intersection(tags):
                    del tags[tag]
            if COLOR_SPACE in (details := tags.get_ifd(EXIF_IFD)):
                details[COLOR_SPACE] = color_space
            exif = tags.tobytes()
        except DECODE_ERRORS:
            notes.append("its EXIF is damaged and was dropped")
            exif = None
    return _Metadata(exif, xmp, like.dpi)


def _without_gps(xmp: bytes) -> bytes | None:
    """An XMP packet without the properties of EXIF and IPTC that tell a place; None if some may remain."""
    xmp = re.sub(rb"\s(?:" + _PLACE + rb""")\s*=\s*("[^"]*"|'[^']*')""", b"", xmp)
    xmp = re.sub(rb"<(" + _PLACE + rb")(?:\s[^>]*/>|/>|(?:\s[^>]*)?>.*?</\1>)", b"", xmp, flags=re.DOTALL)
    foreign = _RECIPE.sub(b"", xmp)  # our own names files, which may be called so
    return None if _PLACE_LEFT.search(foreign.replace(b"\0", b"")) else xmp  # other prefixes, UTF-16


def _options(format: str, metadata: _Metadata, quality: int, notes: list[str]) -> dict[str, Any]:
    """What Pillow's save() is to be told besides pixels and profile."""
    exif, xmp = metadata.exif, metadata.xmp
    options: dict[str, Any] = metadata._asdict()
    if format == "JPEG":
        options |= {"quality": quality, "subsampling": 0}
        for kind in ("exif", "xmp"):
            if len(options[kind] or b"") > 65_500:  # a JPEG segment
                notes.append(f"its {kind.upper()} data is too long for JPEG and was left out")
                del options[kind]
    elif format == "PNG":
        if xmp:
            options["pnginfo"] = info = PngImagePlugin.PngInfo()
            info.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    elif format == "WEBP":
        options |= {"quality": quality, "exact": True}  # exact: keep the colours under transparent pixels
    elif format == "AVIF":
        options |= {"quality": quality, "subsampling": "4:4:4"}
    elif format == "TIFF":
        options["exif"] = tags = Image.Exif()
        tags.load(exif or b"")
        if xmp:
            tags[XMP] = xmp  # no compression: libtiff cannot write the EXIF directory
    return {key: value for key, value in options.items() if value not in (None, b"")}


def _encode_deep(values: NDArray[Any], format: str, options: dict[str, Any]) -> bytes:
    """16-bit values (H, W, 3 or 4), which Pillow cannot write, as PNG or TIFF; all but the pixels is left to Pillow."""
    return (_deep_png if format == "PNG" else _deep_tiff)(values, options)


def _deep_png(values: NDArray[Any], options: dict[str, Any]) -> bytes:
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


def _deep_tiff(values: NDArray[Any], options: dict[str, Any]) -> bytes:
    height, width, channels = values.shape
    pixels = values.astype("<u2").tobytes()
    # Offsets of strips count from the directory's end, until tobytes() moves them.
    directory = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    exif: Image.Exif = options["exif"]
    for tag in exif:
        directory[tag] = dict(exif.get_ifd(tag)) if tag in (EXIF_IFD, GPS_IFD) else exif[tag]
    if INTEROP_IFD in directory.get(EXIF_IFD, {}):
        directory[EXIF_IFD][INTEROP_IFD] = exif.get_ifd(INTEROP_IFD)
    layout = {256: width, 257: height, 258: (16,) * channels, 259: 1, 262: 2, 273: 0, 277: channels, 278: height}
    layout |= {279: len(pixels), 284: 1, **({338: 2} if channels == 4 else {})}  # 338: alpha, not multiplied
    if dpi := options.get("dpi"):
        layout |= {282: dpi[0], 283: dpi[1], 296: 2}
    for tag, value in layout.items():
        directory[tag] = value
    if profile := options.get("icc_profile"):
        directory.tagtype[34675] = 7
        directory[34675] = profile
    return b"II*\0\x08\0\0\0" + directory.tobytes(8) + pixels


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse early, before the work, what :func:`write_atomically` would refuse after it.

    Raises:
        OutputError: the target exists and may not be replaced, is no regular file, or its folder is missing.
    """
    if os.path.exists(target) and not os.path.isfile(target):  # replacing /dev/null by a picture would be a feat
        kind = "a folder" if os.path.isdir(target) else "not a regular file"
        raise OutputError(f"cannot write {shown(target)}: {kind}")
    if not overwrite and os.path.lexists(target):
        raise _exists(target)
    try:
        os.lstat(target)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise _unwritable(target, error) from error
    if not os.path.isdir(target.parent):
        raise OutputError(
            f"cannot write {shown(target)}: no folder {shown(target.parent)}", hint="make the folder first"
        )


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless it is there. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {shown(folder)}: {_reason(error)}") from error


def refuse_same_file(source: Path, target: Path) -> None:
    """A source is never written to, by whatever name: links, hard links, other case.

    Raises:
        OutputError: ``target`` is the file ``source``, or one in the folder ``source``.
    """
    with suppress(OSError):  # either is missing: not the same
        inside = source.is_dir() and target.exists() and target.resolve().is_relative_to(source.resolve())
        if inside or os.path.samefile(source, target):
            raise OutputError(f"output is the input {shown(source)}", hint="give another name by --output")


def write_atomically(target: Path, data: bytes, *, overwrite: bool) -> None:
    """Write a file so that its name shows either all of it or what was there before, even after a crash.

    Raises:
        OutputError: as :func:`check_target`, and for a lack of permission or space. Nothing is left behind.
    """
    check_target(target, overwrite=overwrite)
    remove_stale(target.parent)
    temporary = target.with_name(f".stylize-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as stream:  # not tempfile: its files are private to their owner
            with suppress(OSError):  # file systems without locks
                _lock(stream)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            if fcntl is None:  # Windows renames closed files only
                stream.close()
            if overwrite:
                os.replace(temporary, target)
            else:
                _name_new(temporary, target)
    except FileExistsError as error:  # someone was faster
        raise _exists(target) from error
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _name_new(temporary: Path, target: Path) -> None:
    """Give a file its final name unless that is taken, which a rename would not notice."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links. Reserving the name would leave an empty file, were we killed now.
        if os.path.lexists(target):
            raise FileExistsError from None
        os.replace(temporary, target)


def remove_stale(folder: Path) -> None:
    """Remove the temporary files of runs that were killed while writing. Looks once at each folder."""
    _remove_stale(os.path.abspath(folder))


@cache
def _remove_stale(folder: str) -> None:
    least_age = 10 if fcntl else 3600  # seconds; one just made may have no lock yet
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError), open(entry.path, "rb") as stream:
                    _lock(stream)  # an OSError if its writer lives
                    if time.time() - os.fstat(stream.fileno()).st_mtime > least_age:
                        os.unlink(entry.path)


def _lock(stream: BinaryIO) -> None:
    """Lock an open file until it is closed, by whatever end of the process. Raises OSError if another has locked it."""
    if fcntl:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _exists(target: Path) -> OutputError:
    return OutputError(f"{shown(target)} exists", hint="--overwrite replaces it")


def _unwritable(target: object, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"no space left while writing {shown(target)} (the partial file was removed)")
    return OutputError(f"cannot write {shown(target)}: {_reason(error)}")
