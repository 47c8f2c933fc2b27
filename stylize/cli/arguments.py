"""What commands share: their options, and what these mean."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stylize.cli.terminal import Terminal
from stylize.errors import DeviceError, InputError, OutputError, UsageError, near_name, one_line, shown
from stylize.extras import require_torch, torch_is_installed
from stylize.options import ImageOptions

if TYPE_CHECKING:
    from stylize.painting.look import Look
    from stylize.painting.stylizer import Stylizer
    from stylize.styles.arguments import StyleArgument


def complete_style(incomplete: str) -> list[str]:
    """What ``--style`` can be that begins so, for shells. Where no name of the library does, they complete paths."""
    from glob import escape, glob

    from stylize.styles.library import styles

    names = [name for name in styles() if name.startswith(incomplete)]
    return [*names, *sorted(glob(f"{escape(incomplete)}*"))] if incomplete and names else names


Style = Annotated[
    list[str],
    typer.Option(
        "--style",
        "-s",
        metavar="STYLE[:WEIGHT][@MASK]",
        autocompletion=complete_style,
        help="A picture, a folder of pictures, a style code (.safetensors), or a name of your library; repeatable: "
        "mine:0.7 is its part in a mixture, ink@sky.png paints only where sky.png is white.",
    ),
]
ModelFile = Annotated[
    Path | None, typer.Option("--model", help="Model file; default: STYLIZE_MODEL, else the packaged one.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Engine = Annotated[
    str, typer.Option(help="auto, torch or onnx; auto: onnx, which starts at once, unless torch is faster.")
]
Threads = Annotated[int | None, typer.Option(min=1, max=1024, help="Processor threads; default: all cores.")]
Strength = Annotated[float, typer.Option(help="0: the photo itself; 1: the full style.")]
StyleScale = Annotated[
    str,
    typer.Option(
        help="Width of the strokes, 0.25 to 4; 1: as in the style's picture at 512 pixels; auto: as on a copy of "
        "the photo of one megapixel."
    ),
]
Mask = Annotated[
    str | None,
    typer.Option(metavar="FILE|FOLDER|alpha", help="Paint where this picture is white; alpha: the photo's own."),
]
InvertMask = Annotated[bool, typer.Option("--invert-mask", help="Paint where the mask is black.")]
Feather = Annotated[float, typer.Option(metavar="PIXELS", help="Soften the edges of masks, inwards.")]
Format = Annotated[str | None, typer.Option("--format", help="png, jpg, webp, tif ...; default: the photo's.")]
NoRecipe = Annotated[bool, typer.Option("--no-recipe", help="Do not store in the picture how it was made.")]
PreserveColor = Annotated[bool, typer.Option("--preserve-color", help="Keep the photo's colours.")]
Tile = Annotated[int | None, typer.Option(min=1, help="Side of the tiles in pixels: less needs less memory.")]
Quality = Annotated[int, typer.Option(min=1, max=100, help="Quality of JPEG, WebP and AVIF files.")]
MaxPixels = Annotated[int, typer.Option(min=1, help="Refuse larger pictures.")]
AllowTruncated = Annotated[
    bool, typer.Option("--allow-truncated", help="Read files that end too early as far as they go.")
]
BitDepth = Annotated[
    Literal["auto", "8", "16"], typer.Option(help="Bits a channel, in PNG and TIFF; auto: as the photo.")
]
Metadata = Annotated[
    Literal["keep", "no-gps", "strip"],
    typer.Option(help="EXIF, XMP and resolution of the photo: all, all but its place, or nothing but colour profiles."),
]
Background = Annotated[
    str | None,
    typer.Option(
        help="Colour under transparent pixels in formats without transparency; default: white, with a warning."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", "-f", help="Replace existing files.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors and results: no progress, no warnings.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what is chosen, and how long it takes.")]
Json = Annotated[bool, typer.Option("--json", help="Results as JSON lines.")]
ContentFolders = Annotated[list[Path], typer.Option("--content", help="Folder of photos; repeatable.")]
StyleFolders = Annotated[
    list[Path], typer.Option("--style", "-s", help="Folder of style pictures; repeatable, drawn from equally often.")
]
MaxTime = Annotated[str | None, typer.Option(help="Stop after 90s, 45m or 6h, with everything saved.")]


def open_stylizer(model: Path | None, device: str, engine: str, threads: int | None, terminal: Terminal) -> Stylizer:
    """The networks, loaded. Raises DeviceError for packages that are broken, else as ``Stylizer``."""
    try:
        from stylize.painting.stylizer import Stylizer
    except (ImportError, OSError) as error:  # numpy or another, or one that is not for this machine
        raise DeviceError(f"cannot load the network: {one_line(error)}", hint="stylize doctor tells more") from error
    stylizer = Stylizer(model, device, engine=engine, threads=threads, on_warning=terminal.warn)
    terminal.note(f"device {stylizer.engine}, model {stylizer.engine.hash[:8]}")
    return stylizer


def open_without_torch(
    model: Path | None, device: str, engine: str, threads: int | None, terminal: Terminal
) -> Stylizer | None:
    """The networks, where torch is not installed: that is quick, and refuses what needs torch before pictures are read.

    Returns:
        None where torch is installed: it may take seconds to load, and is loaded when a picture has been read.
    """
    return None if torch_is_installed() else open_stylizer(model, device, engine, threads, terminal)


def set_threads(threads: int | None) -> None:
    """Let torch use so many threads; by default all cores."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def image_options(
    max_pixels: int, allow_truncated: bool, bit_depth: str, quality: int, metadata: str, background: str | None
) -> ImageOptions:
    """The options of pictures. Raises UsageError for what is no colour, and for 16 bits that nothing here can paint."""
    from stylize.images.writing import parse_colour

    if bit_depth == "16":
        require_torch("--bit-depth 16")
    if background is not None:
        parse_colour(background)  # a wrong one is refused before the work
    return ImageOptions(max_pixels, allow_truncated, bit_depth, quality, metadata, background)


def parse_format(text: str | None) -> str | None:
    """Pillow's name of the format with a suffix, such as jpg."""
    from stylize.images.formats import format_of

    try:
        return format_of(Path(f"x.{text.removeprefix('.')}")) if text else None
    except OutputError as error:
        raise UsageError(f"--format {text}: cannot be written", hint=error.hint) from error


def parse_style_scale(text: str) -> float | None:
    """A number, or None for ``auto``."""
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"--style-scale {text}: not a number", hint="0.25 to 4, or auto") from error


def masks_of(styles: Sequence[StyleArgument], look: Look) -> list[Path]:
    """The mask files and folders that were named."""
    from stylize.styles.arguments import ALPHA

    return [Path(mask) for mask in (look.mask, *(style.mask for style in styles)) if mask not in (None, ALPHA)]


def inputs_of(styles: Sequence[StyleArgument], look: Look) -> list[Path]:
    """Styles and masks, files and folders: what no output may take the place of."""
    return [*(style.source for style in styles), *masks_of(styles, look)]


def check_masks(styles: Sequence[StyleArgument], look: Look) -> None:
    """Refuse before the work what no photo could be painted with."""
    if look.feather and look.mask is None and all(style.mask is None for style in styles):
        raise UsageError("--feather needs a mask", hint="--mask FILE")
    for path in masks_of(styles, look):
        if not os.path.exists(path):  # unlike its namesake in pathlib, says no where one may not look
            swapped = str(path) != look.mask and re.fullmatch(r"(.+):([0-9.]+)", str(path))  # STYLE@MASK:WEIGHT
            hint = "the weight comes first: STYLE:WEIGHT@MASK" if swapped else near_name(path)
            raise InputError(f"cannot read the mask {shown(path)}: no such file", hint=hint)


def refuse_input_folder(folders: Iterable[str | Path], output: Path) -> None:
    """Raises OutputError if the output is one of the folders, by whatever name; it may lie below one."""
    from stylize.images.folders import is_same

    for folder in filter(os.path.isdir, folders):
        if is_same(Path(folder), output):
            raise OutputError(f"output is the input {shown(folder)}", hint="give another folder by --output")


def parse_seconds(text: str | None) -> float | None:
    """``90s``, ``45m`` or ``6h``. A plain ``6`` is refused: some would mean minutes by it, and some hours."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if match is None:
        raise UsageError(f"--max-time {text}: not a time", hint="90s, 45m or 6h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
