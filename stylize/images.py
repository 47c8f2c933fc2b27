"""Pixels in and out: the only place where image files are decoded, encoded and written.

:func:`read_image` turns a path or bytes into upright 8-bit sRGB pixels, with alpha and metadata beside them;
:func:`write_image` turns pixels into a file that is either complete or absent. Everything between these two works on
plain ``(H, W, 3)`` sRGB. Files may be hostile: formats come from an allow-list and are recognised by content, sizes are
checked before decoding, and whatever is wrong with a file becomes an :class:`InputError`.
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
import stat
import struct
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, PngImagePlugin

from stylize.errors import InputError, OutputError

Pixels = NDArray[np.uint8]

DEFAULT_MAX_PIXELS = 178_956_970  # twice Pillow's own warning level: where Pillow refuses, too
FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "TIFF",
    "BMP",
    "GIF",
    "AVIF",
    "PPM",
)  # EPS would start Ghostscript: no "all of Pillow"
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
READ_ONLY_SUFFIXES = {".heic": "HEIF", ".heif": "HEIF"}
MAX_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535, "AVIF": 32_768}
OPAQUE_FORMATS = frozenset({"JPEG", "BMP", "PPM"})

# What Pillow's parsers raise on damaged files, the first line on purpose. For calls into Pillow only: around our own
# code these would hide bugs.
DECODE_ERRORS = (
    *(OSError, ValueError, SyntaxError, EOFError, MemoryError, struct.error, Image.DecompressionBombError),
    *(ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError),
)
HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
TWO_BYTE_MAGIC = frozenset({"BMP", "PPM"})  # text can begin with "BM" or "P1"

ORIENTATION, COLOR_SPACE, XMP, EXIF_IFD = 0x0112, 0xA001, 700, 0x8769
SUBFILE_TYPE, SUB_IFDS, DNG_VERSION = 254, 330, 50706
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
        pixels: (H, W, 3) uint8, sRGB, upright, not multiplied by alpha.
        alpha: (H, W) uint8, or None when every pixel is opaque.
        format: what the file was by content: one of :data:`FORMATS`, or "HEIF".
        exif: an EXIF block that says "upright, sRGB" and has no thumbnail, or None.
        dpi: horizontal and vertical resolution, or None.
        xmp: the XMP packet, its orientation reset too, or None.
        warnings: what the user should know about the reading, one clause each.
    """

    pixels: Pixels
    alpha: Pixels | None
    format: str
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    warnings: tuple[str, ...] = ()


class Encoded(NamedTuple):
    """The bytes of an image file, and what its format could not hold."""

    data: bytes
    warnings: tuple[str, ...]


def shown(name: object) -> str:
    """A path or other foreign text, safe to print: control characters and undecodable bytes are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))


# Reading


def read_image(source: Path | bytes, *, name: str | None = None, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Decode an image file: its first frame, upright, in 8-bit sRGB.

    Args:
        source: a path, or the bytes of a file.
        name: what to call it in messages; the path, or "<stdin>" for bytes.
        max_pixels: larger pictures are refused from their header, before any memory is taken.

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
                image.load()
            except DECODE_ERRORS as error:
                raise _unreadable(name, error) from error
            try:
                return _decode(image, deep)
            except (MemoryError, ValueError) as error:  # ValueError: a mode that Pillow cannot convert
                raise _unreadable(name, error) from error


def sniff_format(path: Path) -> str | None:
    """What a file is by its first 16 bytes: one of :data:`FORMATS`, "HEIF", or None if it is no image.

    Raises:
        OSError: the file cannot be opened.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        return None
    with path.open("rb") as stream:
        head = stream.read(16)
    return next(iter(_formats_of(head)), "HEIF" if _is_heic(head) else None)


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
    raise InputError(f"cannot read {name}: {'a folder' if stat.S_ISDIR(mode) else 'not a regular file'}")


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
    # Some decoders do not say which of the two it is.
    trouble = "file is truncated" if _is_truncation(error) else "file is truncated or damaged"
    return InputError(f"cannot read {name}: {trouble}", hint="copy the file again")


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


def _decode(image: ImageFile.ImageFile, deep: bool) -> Picture:
    """Pixels and metadata of a loaded file."""
    notes = ["16-bit colour read as 8-bit"] if deep else []
    orientation, exif = _take_exif(image, notes)
    profile, dpi, xmp = image.info.get("icc_profile"), _dpi(image.info.get("dpi")), image.info.get("xmp")
    upright: Image.Image = image.transpose(TRANSPOSE[orientation]) if orientation in TRANSPOSE else image
    colour, alpha = _split_alpha(upright, deep)
    pixels = np.array(_to_srgb(colour, profile, notes))
    if (frames := _count_frames(image)) > 1:  # moves the file on, so it comes last
        notes.append(f"has {frames} frames: only the first is used")
    return Picture(
        pixels=pixels,
        alpha=None if alpha is None or alpha.min() == 255 else alpha,
        format="JPEG" if image.format == "MPO" else str(image.format),  # MPO: JPEGs in a row, the photo first
        exif=exif,
        dpi=dpi,
        xmp=re.sub(rb'(tiff:Orientation(?:="|>))[0-9]', rb"\g<1>1", xmp) if isinstance(xmp, bytes) else None,
        warnings=tuple(notes),
    )


def _is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether the file holds more than 8 bits a channel. Pillow drops them from RGB without a word."""
    layouts = [tile.args if isinstance(tile.args, str) else str((tile.args or ("",))[0]) for tile in image.tile[:1]]
    return image.mode[0] in "IF" or any(";16" in layout for layout in layouts)


def _count_frames(image: ImageFile.ImageFile) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except DECODE_ERRORS:  # what follows the first frame is damaged, but nobody asked for it
        return 1


def _take_exif(image: Image.Image, notes: list[str]) -> tuple[int, bytes | None]:
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
            details[COLOR_SPACE] = 1  # sRGB
        return orientation, exif.tobytes()
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
        values = np.asarray(image)
        alpha = None if key is None else np.where(values == key, 0, 255).astype(np.uint8)
        return Image.fromarray(_to_8_bit(values)), alpha
    if deep and isinstance(key, tuple):
        image.info["transparency"] = tuple(v >> 8 for v in key)  # Pillow shortened the colours, but not their key
    if image.has_transparency_data:
        mode = "LA" if image.mode in ("1", "L", "LA", "La") else "RGBA"
        image = image.convert(mode)
        return image.convert(mode[:-1]), np.array(image.getchannel("A"))
    if image.mode not in ("L", "RGB", "CMYK", "LAB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return image, None


def _to_8_bit(values: NDArray[Any]) -> Pixels:
    """Grey tones (H, W) of 16-bit, 32-bit or float images, scaled: convert("L") would clip them to white.

    Whole numbers are taken as 0..65535, floats as 0..1 or 0..255; what fits neither is stretched from its least to its
    largest finite value. NaN becomes black.
    """
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    ranges = (1.0, 255.0) if values.dtype.kind == "f" else (65_535.0,)
    white = next((white for white in ranges if low >= 0 and high <= white), None)
    black, white = (low, high) if white is None else (0.0, white)
    scaled = (values.astype(np.float32) - black) * (255 / max(white - black, 1e-30))
    tones: Pixels = np.rint(np.clip(np.nan_to_num(scaled), 0, 255)).astype(np.uint8)
    return tones


def _to_srgb(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """Mode L, RGB, CMYK or LAB -> RGB in sRGB, through the embedded ICC profile if it is usable."""
    if profile and image.mode != "LAB":
        try:
            return _through_profile(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError, ValueError):
            notes.append("its colour profile is unusable: read as sRGB")
    if image.mode == "LAB":  # Pillow has no conversion of its own
        return _through_profile(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    return image.convert("RGB")


def _through_profile(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    space = profile.profile.xcolor_space.strip()
    if image.mode == "L" and space == "RGB":  # common: a grey JPEG tagged sRGB
        image = image.convert("RGB")
    if space != {"L": "GRAY", "LAB": "Lab"}.get(image.mode, image.mode):
        raise ValueError(f"a {space} profile on {image.mode} pixels")
    transform = ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        image.mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if image.mode == "RGB" and _is_identity(transform):
        return image  # sRGB under whatever name: converting would only add rounding
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # None only for in-place work
    return converted


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform moves no colour of a 9x9x9 grid by more than one step."""
    grid = np.stack(np.meshgrid(*[np.linspace(0, 255, 9)] * 3), axis=-1).reshape(27, 27, 3).astype(np.uint8)
    moved = ImageCms.applyTransform(Image.fromarray(grid), transform)
    return bool(np.abs(np.asarray(moved).astype(int) - grid).max() <= 1)


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
    text: Mapping[str, str] | None = None,
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
    if isinstance(target, Path):
        encoded = encode_image(
            pixels, like=like, alpha=alpha, format=format or format_of(target), quality=quality, text=text
        )
        write_atomically(target, encoded.data, overwrite=overwrite)
    else:
        encoded = encode_image(pixels, like=like, alpha=alpha, format=format, quality=quality, text=text)
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
    text: Mapping[str, str] | None = None,
) -> Encoded:
    """Pixels -> the bytes of an image file; equal input gives equal bytes.

    Args:
        pixels: (H, W, 3) uint8, sRGB.
        like: the picture whose EXIF, XMP, resolution and, failing ``format``, format are kept; not its alpha.
        alpha: (H, W) uint8. JPEG, BMP and PPM cannot hold it: the picture is laid on white, with a warning.
        format: one of :data:`FORMATS`.
        quality: 1..100, for JPEG (always 4:4:4), WebP and AVIF.
        text: notes by keyword, stored as PNG text or as JPEG comment; other formats have no place for them.

    Raises:
        OutputError: the picture is too large for the format.
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
    image = Image.fromarray(pixels)
    if alpha is not None and format in OPAQUE_FORMATS:
        notes.append(f"{format} cannot hold transparency: laid on white")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=Image.fromarray(alpha))
        image = white
    elif alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    if format == "GIF":
        notes.append("GIF holds 256 colours, each opaque or fully transparent")
    stream = io.BytesIO()
    try:
        image.save(stream, format, **_options(format, like, quality, text or {}, notes))
    except (OSError, ValueError, struct.error) as error:  # such as more than 4 GB in a TIFF
        raise OutputError(f"cannot encode {width}x{height} pixels as {format}: {_reason(error)}") from error
    return Encoded(stream.getvalue(), tuple(notes))


def _options(
    format: str, like: Picture | None, quality: int, text: Mapping[str, str], notes: list[str]
) -> dict[str, Any]:
    """What Pillow's save() is to be told besides the pixels. No ICC profile: untagged means sRGB."""
    exif, xmp, dpi = (like.exif, like.xmp, like.dpi) if like else (None, None, None)
    options: dict[str, Any] = {"exif": exif, "xmp": xmp, "dpi": dpi}
    if format == "JPEG":
        options |= {"quality": quality, "subsampling": 0}
        options["comment"] = "\n".join(f"{key}: {value}" for key, value in text.items()).encode()
        for kind in ("exif", "xmp", "comment"):
            if len(options[kind] or b"") > 65_500:  # a JPEG segment
                notes.append(f"its {kind.upper()} data is too long for JPEG and was left out")
                del options[kind]
    elif format == "PNG":
        options["pnginfo"] = info = _png_text(text)
        if xmp:
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


def _png_text(text: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for key, value in text.items():
        info.add_itxt(key, value)
    return info


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
        OutputError: ``target`` is the file ``source``.
    """
    with suppress(OSError):  # either is missing: not the same
        if os.path.samefile(source, target):
            raise OutputError(f"output is the input {shown(source)}", hint="give another name by --output")


def write_atomically(target: Path, data: bytes, *, overwrite: bool) -> None:
    """Write a file so that its name shows either all of it or what was there before, even after a crash.

    Raises:
        OutputError: as :func:`check_target`, and for a lack of permission or space. Nothing is left behind.
    """
    check_target(target, overwrite=overwrite)
    temporary = target.with_name(f".stylize-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as stream:  # not tempfile: its files are private to their owner
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
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
    except OSError:  # a file system without hard links: reserve the name, then replace the reservation
        target.open("xb").close()
        try:
            os.replace(temporary, target)
        except BaseException:
            target.unlink()
            raise


def _exists(target: Path) -> OutputError:
    return OutputError(f"{shown(target)} exists", hint="--overwrite replaces it")


def _unwritable(target: object, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"no space left while writing {shown(target)} (the partial file was removed)")
    return OutputError(f"cannot write {shown(target)}: {_reason(error)}")
