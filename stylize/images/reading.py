"""Pixels in: where image files are decoded.

:func:`read_image` turns a path or bytes into upright sRGB pixels of 8 or 16 bits, with alpha, metadata and the file's
own colours beside them. Everything between it and ``stylize.images.writing`` works on plain ``(H, W, 3)`` sRGB. Files
may be hostile: formats come from an allow-list and are recognised by content, sizes are checked before decoding, and
whatever is wrong with a file becomes an :class:`InputError`.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import os
import stat
import warnings
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from stylize.errors import InputError, near_name, reason, shown
from stylize.extras import install
from stylize.images import tiff_layout
from stylize.images.colour_profile import Native, ProfileError, to_8_bit, to_srgb, to_srgb_16
from stylize.images.colour_profile import Pixels as Pixels
from stylize.images.colour_tags import Colours, colours_of
from stylize.images.formats import (
    DECODE_ERRORS,
    RAW,
    READABLE_SUFFIXES,
    TWO_BYTE_MAGIC,
    formats_of,
    is_heic,
    opener_of,
    unreadable_kind,
)
from stylize.images.metadata import ORIENTATION, take_metadata
from stylize.images.sixteen_bit import grey_tones, is_deep, read_deep, scaled, turned
from stylize.images.texts import Texts
from stylize.options import DEFAULT_MAX_PIXELS, ImageOptions

MOST_FRAMES = 99
PREVIEW = "Large Thumbnail"  # what MPO files call the smaller copies that cameras append for screens
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image.

    Attributes:
        pixels: (H, W, 3) uint8 or uint16, sRGB, upright, not multiplied by alpha.
        alpha: (H, W) of the same type, or None when every pixel is opaque.
        format: what the file was by content: one of :data:`FORMATS`, or "HEIF".
        exif: the file's EXIF block, patched to say "upright, sRGB", without its thumbnail; or None.
        dpi: horizontal and vertical resolution, or None.
        xmp: the XMP packet, its orientation reset too, without what is no longer true; or None.
        warnings: what the user should know about the reading, one clause each.
        native: the colours as the file has them, if it has a profile that results can be given back in.
        texts: IPTC captions, comments and the text of PNGs.
        lost: names of what lay beside the picture in its file and does not travel, such as an HDR gain map.
    """

    pixels: Pixels
    alpha: Pixels | None
    format: str
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    warnings: tuple[str, ...] = ()
    native: Native | None = None
    texts: Texts = field(default_factory=Texts)
    lost: tuple[str, ...] = ()


def read_image(
    source: str | os.PathLike[str] | bytes,
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
    name = shown(name or ("<stdin>" if isinstance(source, bytes) else os.fspath(source)))
    with (
        io.BytesIO(source) if isinstance(source, bytes) else _open_regular(Path(source), name) as stream,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # Pillow's remarks on damaged tags: nothing the user can act on
        with _open_image(stream, name) as image:
            try:
                if image.format == "TIFF":
                    if tiff_layout.is_camera_raw(image, stream, name):
                        raise _other_kind(name, RAW)
                    tiff_layout.seek_photo(image)
                    if tiff_layout.is_unsupported(image):
                        raise _unsupported(name, tiff_layout.describe(getattr(image, "tag_v2", {})))
                _check_header(image, name, max_pixels)
                deep = is_deep(image)
                # Pillow turns TIFFs upright while loading them; what is read beside it has to know.
                stored = image.getexif().get(ORIENTATION, 1) if image.format == "TIFF" else None
                notes = _load(image, allow_truncated)
                told = colours_of(image, stream, notes)
            except DECODE_ERRORS as error:
                raise _unreadable(name, error) from error
            try:
                misread = tiff_layout.is_misread(image)
                values = read_deep(image, stream, stored, notes) if misread or (deep and bit_depth != "8") else None
                if misread and values is None:
                    raise _unsupported(name, tiff_layout.describe(getattr(image, "tag_v2", {})))
                if deep and (values is None or bit_depth == "8"):
                    notes.append("16-bit colour read as 8-bit")
                if (bits := image.info.get("bit_depth", 8)) != 8:  # as pillow-heif calls it
                    notes.append(f"{bits}-bit colour read as 8-bit")
                picture = _decode(image, stream, deep, values, stored, told, notes)
            except (MemoryError, OSError, ValueError) as error:  # no space for a copy; a mode Pillow cannot convert
                raise _unreadable(name, error) from error
    if bit_depth == "8":
        return to_8_bit_picture(picture)
    return to_16_bit(picture) if bit_depth == "16" else picture


def size_of(path: Path) -> tuple[int, int]:
    """Height and width of a picture, by its header. Raises InputError."""
    with _open_regular(path, shown(path)) as stream:
        image = _open_image(stream, shown(path))
        return image.height, image.width


def read_photo(source: str | os.PathLike[str] | bytes, options: ImageOptions) -> Picture:
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
    pixels, alpha, native, notes = picture.pixels, picture.alpha, picture.native, picture.warnings
    if native is not None and native.values is not None:  # exact only from the file's own values
        again = None if native.mode == "CMYK" else to_srgb_16(_widened(native.values), native.profile)
        wide, native = again if again is not None else (_widened(pixels), None)
        if native is None:
            notes = (*notes, "its colour profile cannot be kept at 16 bits: written as sRGB")
    else:
        wide = _widened(pixels)
    alpha = None if alpha is None else _widened(alpha)
    return replace(picture, pixels=wide, alpha=alpha, native=native, warnings=notes)


def to_8_bit_picture(picture: Picture) -> Picture:
    """A picture whose pixels have 8 bits."""
    if picture.pixels.dtype == np.uint8:
        return picture
    return replace(
        picture,
        pixels=to_8_bit(picture.pixels),
        alpha=None if picture.alpha is None else to_8_bit(picture.alpha),
        native=picture.native and picture.native.to_8_bit(),
    )


def _widened(values: NDArray[Any]) -> NDArray[np.uint16]:
    return values.astype(np.uint16) * np.uint16(257)


def _load(image: ImageFile.ImageFile, allow_truncated: bool) -> list[str]:
    """Decode the pixels; returns what the user should know.

    Pillow's own switch for truncated files is global and stays as it is: here its decoder gives up as always, and what
    it has decoded by then is used.
    """
    if any(tile[0] == "libtiff" for tile in getattr(image, "tile", ())):
        _silence_libtiff()
    try:
        image.load()
    except OSError as error:
        if not (allow_truncated and _is_truncation(error)):
            raise
        image.tile = []  # nothing more to decode
        try:
            image.load()
        except DECODE_ERRORS:  # nor was anything decoded
            raise error from None
        return ["is truncated: what is missing is black"]
    return []


@cache
def _silence_libtiff() -> None:
    """Have Pillow's libtiff say nothing, for the whole process: it would write what it thinks of a file to stderr.

    Its handlers can be set where it is a shared library, as on Linux. Elsewhere it goes on speaking, to no harm.
    """
    with suppress(AttributeError, OSError):
        # Names are also looked for in the libraries that this one loads.
        libtiff = ctypes.CDLL(Image.core.__file__)  # type: ignore[attr-defined] # exported, but not by its stubs
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            set_handler = getattr(libtiff, name)
            set_handler.argtypes = [ctypes.c_void_p]
            set_handler.restype = ctypes.c_void_p
            set_handler(None)


def _open_regular(path: Path, name: str) -> BinaryIO:
    """Open a regular file. Everything else is refused unopened: a FIFO or a terminal would block."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            return path.open("rb")
    except FileNotFoundError as error:
        web = path.parts[:1] in (("http:",), ("https:",))
        hint = "save it first: stylize downloads nothing" if web else near_name(path)
        raise InputError(f"cannot read {name}: no such file", hint=hint) from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise InputError(f"cannot read {name}: {reason(error)}") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"cannot read {name}: a folder", hint="give a picture; stylize batch takes folders")
    raise InputError(f"cannot read {name}: not a regular file", hint="give a file; - reads a photo from stdin")


def _open_image(stream: BinaryIO, name: str) -> ImageFile.ImageFile:
    """Read the header. The loop is Image.open's, without its size limit: that one is global, ours is an argument."""
    head = stream.read(16)
    if not head:
        raise InputError(f"cannot read {name}: file is empty", hint="copy the file again")
    formats = formats_of(head)
    heic = is_heic(head)
    if heic and _register_heif():
        formats.append("HEIF")
    failure = None
    for format in formats:
        stream.seek(0)
        try:
            return opener_of(format)[0](stream, "")
        except DECODE_ERRORS as error:
            failure = error
    if heic and "HEIF" not in formats:
        raise InputError(f'cannot read {name}: HEIC needs the "heif" extra', hint=install("heif"))
    if (kind := unreadable_kind(head, name)) is not None and failure is None:
        raise _other_kind(name, kind)
    if formats == ["TIFF"]:
        if kind or tiff_layout.has_sensor_data(stream):
            raise _other_kind(name, RAW) from failure
        if layout := tiff_layout.unsupported_layout(stream):
            raise _unsupported(name, layout) from failure
    if failure is None or (TWO_BYTE_MAGIC.issuperset(formats) and not _is_truncation(failure)):
        suffix = PurePath(name).suffix.lower()
        if suffix in (".txt", ".lst", ".list", ".csv"):
            hint = f"if it lists photos: stylize batch @{name}"
        elif suffix == ".safetensors":
            hint = "`style` takes style codes, `model` models"
        else:
            hint = "" if suffix in READABLE_SUFFIXES else "export it as PNG or JPEG"
        raise InputError(
            f"cannot read {name}: not an image stylize can open (JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF)",
            hint=hint,
        ) from failure
    raise _unreadable(name, failure) from failure


def _other_kind(name: str, kind: str) -> InputError:
    return InputError(f"cannot read {name}: it is {kind}", hint="export it as JPEG or TIFF first")


def _unsupported(name: str, layout: str) -> InputError:
    return InputError(f"cannot read {name}: {layout} is not read", hint="export it as 16-bit RGB TIFF or PNG")


def _register_heif() -> bool:
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return False
    return True


def _is_truncation(error: Exception) -> bool:
    return isinstance(error, EOFError) or "truncated" in str(error).lower() or "EOF" in str(error)


def _unreadable(name: str, error: Exception) -> InputError:
    if isinstance(error, MemoryError):
        return InputError(f"cannot read {name}: not enough memory to decode it", hint="end other programs")
    if isinstance(error, OSError) and error.errno:
        return InputError(f"cannot read {name}: {reason(error)}")
    if _is_truncation(error):
        hint = "copy the file again; for photos and styles, transfer, batch and encode-style have `allow_truncated`"
        return InputError(f"cannot read {name}: file is truncated", hint=hint)
    # Some decoders do not say which of the two it is.
    return InputError(f"cannot read {name}: file is truncated or damaged", hint="copy the file again")


def _check_header(image: ImageFile.ImageFile, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        limit = f"{max_pixels // 10**6} MP" if max_pixels >= 10**6 else f"{max_pixels} pixels"
        raise InputError(
            f"cannot read {name}: {width}x{height} pixels is over the limit of {limit}",
            hint=f"`max_pixels` {10 ** len(str(width * height))} if you trust this file",
        )


def _decode(
    image: ImageFile.ImageFile,
    stream: BinaryIO,
    deep: bool,
    values: NDArray[np.uint16] | None,
    stored: int | None,
    told: Colours | None,
    notes: list[str],
) -> Picture:
    """Pixels and metadata of a loaded file, whose 16-bit values (H, W, 1..4), if known, are upright already.

    Args:
        stored: the orientation in which a TIFF's pixels lay.
        told: what the file says of its colours, if that goes before its profile.
    """
    orientation, said = take_metadata(image, stream, stored, notes)
    profile = image.info.get("icc_profile") if told is None else told.profile()
    pixels: Pixels
    alpha: Pixels | None
    wide = None
    if values is not None:
        values = turned(values, orientation)
        channels = values.shape[2]
        colours = values[..., : channels - (channels in (2, 4))]
        colours = colours if told is None else told.redraw(colours)
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
        if told is not None and told.is_redrawn:
            colour = Image.fromarray(told.redraw(np.asarray(colour)))
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
        exif=said.exif,
        dpi=said.dpi,
        xmp=said.xmp,
        warnings=tuple(notes),
        native=native,
        texts=said.texts,
        lost=said.lost,
    )


def _count_frames(image: ImageFile.ImageFile) -> int:
    """How many frames a file has, counted up to one more than ``MOST_FRAMES``; moves on to another frame."""
    try:
        if image.format == "MPO":
            return 1 + sum(_is_frame(image, number, image.size) for number in range(1, getattr(image, "n_frames", 1)))
        if image.format != "TIFF":
            return int(getattr(image, "n_frames", 1))
        count = 1
        for frame in range(image.tell() + 1, MOST_FRAMES + 1):  # their number stands nowhere, and each takes longer
            try:
                image.seek(frame)
            except EOFError:
                return count
            count += tiff_layout.is_page(image)
        return count + 1
    except DECODE_ERRORS:  # what follows the first frame is damaged, but nobody asked for it
        return 1


def _is_frame(image: Any, number: int, size: tuple[int, int]) -> bool:
    """Whether a picture of an MPO file is another photo: neither a preview of the first, nor its gain or depth map."""
    if PREVIEW in image.mpinfo[0xB002][number]["Attribute"]["MPType"]:
        return False
    image.seek(number)
    return bool(image.size == size and image.mode == "RGB")


def _split_alpha(image: Image.Image, deep: bool) -> tuple[Image.Image, Pixels | None]:
    """Any mode -> colour in one of the modes L, RGB, CMYK, LAB, and alpha (H, W) where there is one."""
    key = image.info.get("transparency")
    if image.mode[0] in "IF":
        alpha = None if key is None else np.where(np.asarray(image) == key, 0, 255).astype(np.uint8)
        return Image.fromarray(scaled(grey_tones(image), 255)), alpha
    if deep and isinstance(key, tuple):
        image.info["transparency"] = tuple(v >> 8 for v in key)  # Pillow shortened the colours, but not their key
    if image.has_transparency_data:
        mode = "LA" if image.mode in ("1", "L", "LA", "La") else "RGBA"
        image = image.convert(mode)
        return image.convert(mode[:-1]), np.array(image.getchannel("A"))
    if image.mode not in ("L", "RGB", "CMYK", "LAB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return image, None


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
