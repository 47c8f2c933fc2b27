"""The command line: parse, call one pipeline function, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from stylize import __version__
from stylize.errors import DeviceError, InputError, OutputError, RefusedError, StylizeError, UsageError
from stylize.options import DEFAULT_MAX_PIXELS, ImageOptions, LossWeights, TrainingOptions
from stylize.terminal import Terminal, say

if TYPE_CHECKING:
    from stylize.images import Picture, Pixels
    from stylize.painting import Layers, Look
    from stylize.recipe import Recipe
    from stylize.style_arguments import StyleArgument
    from stylize.style_code import StyleCode
    from stylize.style_set import Member
    from stylize.transfer import Stylizer

DEBUG_VARIABLE = "STYLIZE_DEBUG"
MAX_STDIN_BYTES = 1 << 30
_OPTIONS, _LOSSES = TrainingOptions(), LossWeights()

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Learn a personal style from pictures and apply it to any photo. Works offline; sends nothing anywhere.",
)

Style = Annotated[
    list[str],
    typer.Option(
        "--style",
        "-s",
        metavar="STYLE[:WEIGHT][@MASK]",
        help="A style code (.safetensors), a picture, a folder of pictures, or a name of your library; repeatable.",
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
StyleScale = Annotated[str, typer.Option(help="Width of the strokes, 0.25 to 4; auto: as on a copy of one megapixel.")]
Mask = Annotated[
    str | None,
    typer.Option(metavar="FILE|FOLDER|alpha", help="Paint where this picture is white; alpha: the photo's own."),
]
InvertMask = Annotated[bool, typer.Option("--invert-mask", help="Paint where the mask is black.")]
Feather = Annotated[float, typer.Option(metavar="PIXELS", help="Soften the edges of masks, inwards.")]
NoRecipe = Annotated[bool, typer.Option("--no-recipe", help="Do not store in the picture how it was made.")]
PreserveColor = Annotated[bool, typer.Option("--preserve-color", help="Keep the photo's colours.")]
Tile = Annotated[int | None, typer.Option(min=1, help="Side of the tiles in pixels: less needs less memory.")]
Quality = Annotated[int, typer.Option(min=1, max=100, help="Of JPEG, WebP and AVIF.")]
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
    typer.Option(help="Colour under transparent pixels in formats without transparency; default: white, with a word."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", "-f", help="Replace existing files.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what is chosen and how long it takes.")]
Json = Annotated[bool, typer.Option("--json", help="Results as JSON lines.")]
ContentFolders = Annotated[list[Path], typer.Option("--content", help="Folder of photos; repeatable.")]
StyleFolders = Annotated[
    list[Path], typer.Option("--style", "-s", help="Folder of style pictures; repeatable, drawn from equally often.")
]
MaxTime = Annotated[str | None, typer.Option(help="Stop after 90s, 45m or 6h, with everything saved.")]


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and end.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; also STYLIZE_DEBUG=1.")] = False,
) -> None:
    """Options of every command."""
    if version:
        print(f"stylize {__version__}")
        raise typer.Exit
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"


@app.command()
def transfer(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Photos; - reads one from stdin.")],
    style: Style,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="File, folder, or - for stdout; default: PHOTO_STYLE beside the photo."),
    ] = None,
    strength: Strength = 1.0,
    preserve_color: PreserveColor = False,
    style_scale: StyleScale = "1",
    mask: Mask = None,
    invert_mask: InvertMask = False,
    feather: Feather = 0.0,
    format: Annotated[
        str | None, typer.Option("--format", help="png, jpg, webp, tif ...; default: the photo's.")
    ] = None,
    quality: Quality = 95,
    no_recipe: NoRecipe = False,
    tile: Tile = None,
    model: ModelFile = None,
    device: Device = "auto",
    engine: Engine = "auto",
    threads: Threads = None,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    allow_truncated: AllowTruncated = False,
    bit_depth: BitDepth = "auto",
    metadata: Metadata = "keep",
    background: Background = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Stylise photos: stylize transfer photo.jpg --style mine.png"""
    from dataclasses import replace

    from stylize.batch import output_name
    from stylize.images import (
        SUFFIXES,
        check_target,
        format_of,
        make_folder,
        read_image,
        refuse_same_file,
        shown,
        suffix_of,
        write_image,
    )
    from stylize.painting import Look, paint, read_layers
    from stylize.recipe import with_recipe
    from stylize.style_arguments import parse_style, title_of

    terminal = Terminal(quiet, verbose, json)
    look = Look(strength, preserve_color, _style_scale(style_scale), mask, invert_mask, feather)
    options = _image_options(max_pixels, allow_truncated, bit_depth, quality, metadata, background)
    wanted = format_of(Path(f"x.{format}")) if format else None
    to_folder = output is not None and output != "-" and (output.endswith(("/", os.sep)) or Path(output).is_dir())
    if len(photos) > 1 and output is not None and not to_folder:
        raise UsageError(f"{len(photos)} photos need a folder to go to", hint="--output FOLDER/")
    if photos.count("-") > 1:
        raise UsageError("stdin holds one photo only")
    if output == "-" or (output is None and "-" in photos):
        if sys.stdout.isatty():
            raise UsageError("will not write image bytes to a terminal", hint="-o FILE, or redirect")
        output = "-"
    styles = [parse_style(text) for text in style]
    _check_masks(styles, look)
    label = title_of(styles)

    def target_of(name: str, content: str) -> Path | None:
        """Where the picture of a photo goes; ``content`` is the format it was read from."""
        if output == "-":
            return None
        photo = Path("stdin" if name == "-" else name)
        if output is not None and not to_folder:
            return Path(output)
        plain = output_name(photo, content) if wanted is None else photo.stem + suffix_of(wanted)
        if output is not None:
            return Path(output) / plain
        return photo.with_name(f"{Path(plain).stem}_{label}{Path(plain).suffix}")

    if output not in (None, "-") and not to_folder:
        assert output is not None
        if wanted is None:
            format_of(Path(output))  # an unknown suffix is refused before the work
        check_target(Path(output), overwrite=overwrite)
        for source in (*(s.source for s in styles), *_masks(styles, look), *(Path(p) for p in photos if p != "-")):
            refuse_same_file(source, Path(output))
    elif to_folder:
        assert output is not None
        make_folder(Path(output))

    stylizer, layers = None, None
    failed = 0
    written: set[Path] = set()
    for name in photos:
        started = time.monotonic()
        try:
            picture = read_image(
                _stdin() if name == "-" else Path(name),
                max_pixels=max_pixels,
                bit_depth=bit_depth,
                allow_truncated=allow_truncated,
            )
            target = target_of(name, SUFFIXES[suffix_of(picture.format)])
            if target is not None:
                if target in written:
                    raise OutputError(
                        f"{shown(target)} was just written from another photo",
                        hint="stylize batch keeps such names apart",
                    )
                check_target(target, overwrite=overwrite)
                refuse_same_file(Path(name), target)
                written.add(target)
            if stylizer is None or layers is None:
                stylizer = _stylizer(model, device, engine, threads, terminal)
                layers = read_layers(stylizer, styles, label, options=options, on_warning=terminal.warn)
            pixels = paint(stylizer, picture, layers, look, photo=name, max_pixels=max_pixels, tile=tile)
            like = picture
            if not no_recipe:
                recipe = _recipe(name, picture, target, wanted, styles, layers, look, model, quality, stylizer)
                like = replace(picture, xmp=with_recipe(picture.xmp, recipe))
            destination: Any = target if target is not None else sys.stdout.buffer
            notes = write_image(
                destination,
                pixels,
                like=like,
                alpha=picture.alpha,
                format=wanted,
                quality=quality,
                metadata=metadata,
                background=background,
                overwrite=overwrite,
            )
        except InputError as error:
            if len(photos) == 1:
                raise
            failed += 1
            _show(error)
            continue
        for note in (*picture.warnings, *notes):
            terminal.warn(f"{shown(name)}: {note}")
        seconds = time.monotonic() - started
        terminal.note(f"{shown(name)}: {pixels.shape[1]}x{pixels.shape[0]} pixels in {seconds:.2f} s")
        if target is not None:
            terminal.result(
                str(target), output=str(target), photo=name, width=pixels.shape[1], height=pixels.shape[0],
                style=label, seconds=round(seconds, 3),
            )  # fmt: skip
    if failed:
        raise typer.Exit(1)


@app.command("encode-style")
def encode_style(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="PICTURE|FOLDER|CODE[:WEIGHT]...", help="Pictures of one style, or styles to mix."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The style code to write, NAME.safetensors.")
    ] = None,
    save: Annotated[
        str | None, typer.Option("--save", metavar="NAME", help="Keep it in your library: --style NAME.")
    ] = None,
    refine: Annotated[
        bool, typer.Option("--refine", help="Take a minute to make the style more like its pictures.")
    ] = False,
    refine_steps: Annotated[int, typer.Option(min=1, help="Steps of --refine, at most.")] = 200,
    name: Annotated[str | None, typer.Option("--name", help="Title; default: the output's name.")] = None,
    no_thumbnail: Annotated[bool, typer.Option("--no-thumbnail", help="Store no picture of the style.")] = False,
    model: ModelFile = None,
    device: Device = "auto",
    engine: Engine = "auto",
    threads: Threads = None,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    allow_truncated: AllowTruncated = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Learn a style from pictures, or mix styles, and keep it as a small file."""
    from dataclasses import replace

    from stylize import library
    from stylize.images import check_target, make_folder, refuse_same_file, shown
    from stylize.style_arguments import parse_style, read_style

    terminal = Terminal(quiet, verbose, json)
    if output is None and save is None:
        raise UsageError("nowhere to keep the style", hint="--output FILE.safetensors, or --save NAME")
    if output is not None and output.suffix.lower() != ".safetensors":
        raise OutputError(f"cannot write {shown(output)}: a style code is a .safetensors file")
    targets = [target for target in (output, library.place_of(save) if save is not None else None) if target]
    styles = [parse_style(text, masks=False) for text in sources]
    for style in styles:
        if refine and style.is_code:
            raise UsageError(f"--refine needs pictures, {shown(style.source)} is a style code")
    for target in targets:
        for style in styles:
            refuse_same_file(style.source, target)
        if target != output:
            make_folder(target.parent)
        check_target(target, overwrite=overwrite)
    title = name or save or targets[0].stem
    stylizer = _stylizer(model, device, engine, threads, terminal)
    pictures: list[dict[str, Any]] = []

    def tell(picture: str, member: Member) -> None:
        distance = None if member.distance is None else round(member.distance, 3)
        facts = {"distance": distance, "weight": round(member.weight, 3), "outlier": member.outlier}
        pictures.append({"picture": picture, **facts})
        if distance is not None and (verbose or (sys.stderr.isatty() and not quiet)):
            say(f"{picture}: distance to the rest {distance:.2f}, weight {member.weight:.2g}")

    refined: list[dict[str, Any]] = []

    def encode(pictures: Sequence[Pixels], title: str, report: Callable[[Sequence[Member]], None]) -> StyleCode:
        members: list[Member] = []
        code = stylizer.encode_style(pictures, title=title, report=members.extend)
        report(members)
        return _refined(stylizer, code, pictures, members, refine_steps, refined, terminal) if refine else code

    code = read_style(
        stylizer, styles, title,
        options=ImageOptions(max_pixels=max_pixels, allow_truncated=allow_truncated),
        on_warning=terminal.warn, on_picture=tell, encode=encode,
    )  # fmt: skip
    code = replace(code, title=title)
    if no_thumbnail:
        code = replace(code, thumbnail=None)
    for target in targets:
        code.save(target, overwrite=overwrite)
        terminal.result(
            str(target), output=str(target), title=code.title, images=code.images, model=code.model_hash,
            pictures=pictures, refined=refined,
        )  # fmt: skip


@app.command()
def batch(
    inputs: Annotated[list[Path], typer.Argument(metavar="PHOTO|FOLDER...", help="Photos and folders of photos.")],
    style: Style,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures; the tree is mirrored.")],
    strength: Strength = 1.0,
    preserve_color: PreserveColor = False,
    style_scale: StyleScale = "1",
    mask: Mask = None,
    invert_mask: InvertMask = False,
    feather: Feather = 0.0,
    quality: Quality = 95,
    no_recipe: NoRecipe = False,
    tile: Tile = None,
    model: ModelFile = None,
    device: Device = "auto",
    engine: Engine = "auto",
    threads: Threads = None,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    allow_truncated: AllowTruncated = False,
    bit_depth: BitDepth = "auto",
    metadata: Metadata = "keep",
    background: Background = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Stylise every photo of some folders; bad files are named and counted, the others get done."""
    from dataclasses import replace

    from stylize.batch import Job, plan_batch, run_batch
    from stylize.images import shown
    from stylize.painting import Look, paint, read_layers
    from stylize.recipe import with_recipe
    from stylize.style_arguments import parse_style, title_of

    terminal = Terminal(quiet, verbose, json)
    started = time.monotonic()
    if output.exists() and not output.is_dir():
        raise OutputError(f"cannot write into {shown(output)}: not a folder")
    look = Look(strength, preserve_color, _style_scale(style_scale), mask, invert_mask, feather)
    options = _image_options(max_pixels, allow_truncated, bit_depth, quality, metadata, background)
    styles = [parse_style(text) for text in style]
    _check_masks(styles, look)
    plan = plan_batch(inputs, output)
    stylizer = _stylizer(model, device, engine, threads, terminal)
    layers = read_layers(stylizer, styles, title_of(styles), options=options, on_warning=terminal.warn)

    def stylise(picture: Picture, job: Job) -> Picture:
        pixels = paint(stylizer, picture, layers, look, photo=str(job.photo), max_pixels=max_pixels, tile=tile)
        if no_recipe:
            return replace(picture, pixels=pixels)
        recipe = _recipe(str(job.photo), picture, None, None, styles, layers, look, model, quality, stylizer)
        return replace(picture, pixels=pixels, xmp=with_recipe(picture.xmp, recipe))

    count = 0
    with terminal.progress("stylize", len(plan.jobs)) as advance:

        def on_done(job: Job, status: str) -> None:
            nonlocal count
            count += 1
            advance(count, shown(job.photo.name))
            if status not in ("ok", "skipped"):
                say(f"error: {status}")
            if json or status == "ok":
                terminal.result(str(job.output), photo=str(job.photo), output=str(job.output), status=status)

        verdict = run_batch(
            plan, stylise, overwrite=overwrite, options=options, on_warning=terminal.warn, on_done=on_done,
        )  # fmt: skip
    seconds = time.monotonic() - started
    if not quiet:
        if not plan.jobs:
            terminal.warn("no photos found")
        skipped = f"{verdict.skipped} skipped" + (" (they exist; --overwrite redoes them)" if verdict.skipped else "")
        rate = f"{verdict.done / seconds:.1f} images/s"
        counts = f"{verdict.done} ok, {len(verdict.failures)} failed, {skipped}, {plan.junk} no images"
        say(f"done: {counts}, {seconds:.1f} s ({rate})")
    if verdict.failures:
        raise typer.Exit(1)


@app.command()
def inspect(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE|NAME]...", help="Style codes, models, pictures; none: your styles are listed."),
    ] = None,
    model: ModelFile = None,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    json: Json = False,
) -> None:
    """Say what a file is: a style code, a model, or a stylised picture and the command that made it."""
    from stylize import library
    from stylize.images import shown
    from stylize.inspection import inspect_file
    from stylize.packaged import default_model
    from stylize.style_arguments import parse_style

    terminal = Terminal(json=json)
    if not files:
        names = library.styles()
        for name, path in names.items():
            terminal.result(f"{shown(name)}\t{shown(path)}", style=name, path=str(path))
        if not names:
            say("no styles yet: stylize encode-style PICTURE... --save NAME keeps one")
        return
    failed = 0
    for file in files:
        path = parse_style(file, masks=False).source
        try:
            facts = inspect_file(path, max_pixels=max_pixels, model=model or default_model())
        except (InputError, RefusedError) as error:
            if len(files) == 1:
                raise
            failed += 1
            _show(error)
            continue
        lines = [shown(path), *(f"  {key:<12} {_fact(value)}" for key, value in facts.items())]
        terminal.result("\n".join(lines), file=str(path), **facts)
    if failed:
        raise typer.Exit(1)


@app.command()
def preview(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO")],
    style: Annotated[
        list[str] | None,
        typer.Option("--style", "-s", metavar="STYLE", help="A style for each row; default: all of your library."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The sheet; default: PHOTO_preview.png beside the photo.")
    ] = None,
    strengths: Annotated[str, typer.Option(help="Of the columns.")] = "0.4,0.7,1",
    size: Annotated[int, typer.Option(min=16, max=4096, help="Long side of each picture in pixels.")] = 384,
    preserve_color: PreserveColor = False,
    model: ModelFile = None,
    device: Device = "auto",
    threads: Threads = None,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Try several styles and strengths on a photo, reduced, on one labelled sheet."""
    from dataclasses import replace

    from stylize import library
    from stylize.images import check_target, fill_transparent, format_of, read_image, refuse_same_file, write_image
    from stylize.painting import Look, paint
    from stylize.preview import contact_sheet
    from stylize.style_arguments import parse_style, read_style, title_of

    terminal = Terminal(quiet, verbose, json)
    try:
        looks = [Look(float(word), preserve_color) for word in strengths.split(",")]
    except ValueError as error:
        raise UsageError(f"--strengths {strengths}: not numbers with commas between", hint="0.4,0.7,1") from error
    styles = [parse_style(text, masks=False) for text in style or library.styles()]
    if not styles:
        raise UsageError("no styles to show", hint="--style STYLE, or keep some by encode-style --save NAME")
    output = output or photo.with_name(f"{photo.stem}_preview.png")
    format_of(output)
    for source in (photo, *(s.source for s in styles)):
        refuse_same_file(source, output)
    check_target(output, overwrite=overwrite)
    options = ImageOptions(max_pixels=max_pixels)
    picture = read_image(photo, max_pixels=max_pixels)
    stylizer = _stylizer(model, device, "auto", threads, terminal)
    rows = [
        (title_of([s]), read_style(stylizer, [s], title_of([s]), options=options, on_warning=terminal.warn))
        for s in styles
    ]
    by_strength = {look.strength: look for look in looks}

    def paint_small(pixels: Pixels, code: StyleCode, strength: float) -> Pixels:
        small = replace(picture, pixels=pixels, alpha=None)
        return paint(stylizer, small, {None: code}, by_strength[strength], photo=str(photo))

    with terminal.progress("preview", len(rows) * len(looks)) as advance:
        sheet = contact_sheet(
            fill_transparent(picture.pixels, picture.alpha), rows, [look.strength for look in looks], paint_small,
            side=size, on_done=advance,
        )  # fmt: skip
    write_image(output, sheet, overwrite=overwrite)
    terminal.result(str(output), output=str(output), styles=[title for title, _ in rows])


@app.command()
def train(
    content: ContentFolders,
    style: StyleFolders,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")] = False,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the whole run.")] = _OPTIONS.steps,
    max_time: MaxTime = None,
    init: Annotated[str, typer.Option(help="Start from: scratch, packaged, or a model file.")] = _OPTIONS.init,
    styles_per_step: Annotated[int, typer.Option(min=1, help="Style pictures per step.")] = _OPTIONS.styles,
    photos_per_style: Annotated[int, typer.Option(min=1, help="Photos per style picture.")] = _OPTIONS.contents,
    crop: Annotated[int, typer.Option(min=64, help="Side of the photo crops, a multiple of 16.")] = _OPTIONS.crop,
    style_crop: Annotated[int, typer.Option(min=64, help="Side of the style crops.")] = _OPTIONS.style_crop,
    rate: Annotated[float, typer.Option(help="Learning rate of encoder and generator.")] = _OPTIONS.rate,
    discriminator_rate: Annotated[
        float, typer.Option(help="Learning rate of the discriminator.")
    ] = _OPTIONS.discriminator_rate,
    decay: Annotated[float, typer.Option(help="Last part of the steps, with falling rates.")] = _OPTIONS.decay,
    perceptual: Annotated[str, typer.Option(help="Network of the losses: light or vgg19.")] = _OPTIONS.perceptual,
    layers: Annotated[int, typer.Option(min=1, max=5, help="Its layers for the style losses.")] = _OPTIONS.layers,
    adversarial_start: Annotated[
        float, typer.Option(help="Part of the steps after which the discriminator joins in.")
    ] = _OPTIONS.adversarial_start,
    lambda_adv: Annotated[float, typer.Option(help="Weight of the adversarial loss.")] = _LOSSES.adversarial,
    lambda_content: Annotated[float, typer.Option(help="Weight of the content loss.")] = _LOSSES.content,
    lambda_style: Annotated[float, typer.Option(help="Weight of the Gram matrices.")] = _LOSSES.style,
    lambda_moments: Annotated[float, typer.Option(help="Weight of means and deviations.")] = _LOSSES.moments,
    lambda_palette: Annotated[float, typer.Option(help="Weight of the colours.")] = _LOSSES.palette,
    lambda_tv: Annotated[float, typer.Option(help="Weight of total variation.")] = _LOSSES.tv,
    lambda_grid: Annotated[float, typer.Option(help="Weight of patterns from upsampling.")] = _LOSSES.grid,
    lambda_code: Annotated[float, typer.Option(help="Weight of the code's reconstruction.")] = _LOSSES.code,
    lambda_identity: Annotated[
        float, typer.Option(help="Weight of returning a photo from its own code.")
    ] = _LOSSES.identity,
    seed: Annotated[int, typer.Option(min=0, help="Of all random numbers.")] = _OPTIONS.seed,
    log_every: Annotated[int, typer.Option(min=1, help="Steps between lines of metrics.csv.")] = _OPTIONS.log_every,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = _OPTIONS.save_every,
    sample_every: Annotated[int, typer.Option(min=1, help="Steps between sample sheets.")] = _OPTIONS.sample_every,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Train a model of your own on folders of photos and style pictures."""
    terminal = Terminal(quiet, verbose, json)
    if crop % 16:
        raise UsageError(f"--crop {crop} is not a multiple of 16")
    for option, value in (("--rate", rate), ("--discriminator-rate", discriminator_rate)):
        if not 0 < value < 1:
            raise UsageError(f"{option} {value:g} is not between 0 and 1")
    if perceptual not in ("light", "vgg19"):
        raise UsageError(f"--perceptual {perceptual}: no such network", hint="light or vgg19")
    options = TrainingOptions(
        steps=steps, max_seconds=_seconds(max_time), styles=styles_per_step, contents=photos_per_style, crop=crop,
        style_crop=style_crop, rate=rate, discriminator_rate=discriminator_rate, decay=decay, perceptual=perceptual,
        layers=layers, adversarial_start=adversarial_start, seed=seed, log_every=log_every, save_every=save_every,
        sample_every=sample_every, init=init,
        weights=LossWeights(
            adversarial=lambda_adv, content=lambda_content, style=lambda_style, moments=lambda_moments,
            palette=lambda_palette, tv=lambda_tv, grid=lambda_grid, code=lambda_code, identity=lambda_identity,
        ),
    )  # fmt: skip
    stopped_by = _stop_gently()

    from stylize.device import pick_device
    from stylize.training import Progress
    from stylize.training import train as run

    _set_threads(threads)
    with terminal.progress("train", steps) as advance:

        def report(now: Progress) -> None:
            terms = " ".join(f"{name} {value:.3f}" for name, value in now.losses.items())
            advance(now.step, f"{now.images_per_second:.1f} images/s, {terms}")
            if json:
                terminal.result("", step=now.step, seconds=round(now.seconds, 1), **now.losses)

        model = run(
            content, style, output, options, device=pick_device(device), resume=resume, report=report,
            should_stop=lambda: bool(stopped_by), on_warning=terminal.warn,
        )  # fmt: skip
    if stopped_by:
        say(f"stopped: everything is saved in {output}; --resume goes on")
        raise typer.Exit(128 + stopped_by[0])
    terminal.result(str(model), model=str(model))


@app.command()
def distill(
    content: ContentFolders,
    style: StyleFolders,
    output: Annotated[Path, typer.Option("--output", "-o", help="The network to write, NAME.safetensors.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps.")] = 3000,
    max_time: MaxTime = None,
    crop: Annotated[int, typer.Option(min=64, help="Side of the crops.")] = 112,
    batch_size: Annotated[int, typer.Option(min=2, help="Crops per step.")] = 8,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = 2e-3,
    seed: Annotated[int, typer.Option(min=0, help="Of all random numbers.")] = 0,
    device: Device = "auto",
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Distil the light perceptual network from VGG19, for training your own models."""
    from stylize.images import check_target

    check_target(output, overwrite=overwrite)

    from stylize.device import pick_device
    from stylize.distillation import distil

    _set_threads(threads)
    terminal = Terminal(quiet)
    with terminal.progress("distill", steps) as advance:
        distil(
            content, style, output, steps=steps, batch=batch_size, crop=crop, rate=rate, seed=seed,
            device=pick_device(device), max_seconds=_seconds(max_time),
            report=lambda step, errors: advance(step, " ".join(f"{k} {v:.3f}" for k, v in errors.items())),
        )  # fmt: skip
    terminal.result(str(output))


@app.command()
def doctor(model: ModelFile = None, device: Device = "auto", json: Json = False) -> None:
    """Say what of stylize works on this machine, and stylise a small picture to see."""
    from stylize.doctor import as_text, examine

    report = examine(model, device)
    Terminal(json=json).result(as_text(report), **report)
    if report["problems"]:
        raise typer.Exit(1)


def main() -> None:
    """The entry point: run a command and turn whatever happens into a line and an exit code."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as shells do for jobs in the background
            signal.signal(number, _raise_stopped)
    try:
        app(prog_name="stylize")
    except StylizeError as error:
        _debug_traceback()
        _show(error)
        sys.exit(error.exit_code)
    except _Stopped as stop:
        sys.exit(128 + stop.signal)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        _debug_traceback()
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _show(OutputError("no space left to write to"))
            sys.exit(OutputError.exit_code)
        _report_bug(error)


class _Stopped(BaseException):
    """SIGINT or SIGTERM: unwinds like KeyboardInterrupt, but knows which."""

    def __init__(self, signal: int) -> None:
        self.signal = signal


def _raise_stopped(number: int, frame: FrameType | None) -> NoReturn:
    raise _Stopped(number)


def _stop_gently() -> list[int]:
    """From now on the first SIGINT or SIGTERM is only noted, in the list returned; the second one ends at once."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received:
            raise _Stopped(number)
        received.append(number)
        say("stopping after this step; once more ends at once")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return received


def _show(error: StylizeError) -> None:
    say(f"error: {error.message}")
    if error.hint:
        say(f"hint: {error.hint}")


def _debug_traceback() -> None:
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exc()


def _report_bug(error: Exception) -> NoReturn:
    where = "run again with STYLIZE_DEBUG=1 for the details"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="stylize-crash-", suffix=".log", delete=False) as file:
            file.write(f"stylize {__version__}, Python {sys.version}\n{traceback.format_exc()}")
        where = f"details in {file.name}"
    except OSError:
        pass
    say(f"error: a bug in stylize: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    say(f"hint: please report it; {where}")
    sys.exit(70)


def _stylizer(model: Path | None, device: str, engine: str, threads: int | None, terminal: Terminal) -> Stylizer:
    try:
        from stylize.transfer import Stylizer

        stylizer = Stylizer(model, device, engine=engine, threads=threads, on_warning=terminal.warn)
    except (ImportError, OSError) as error:  # a torch that is broken, or not for this machine
        reason = " ".join(str(error).split())[:200]
        raise DeviceError(f"cannot load the network: {reason}", hint="stylize doctor tells more") from error
    terminal.note(f"device {stylizer.engine}, model {stylizer.engine.hash[:8]}")
    return stylizer


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _image_options(
    max_pixels: int, allow_truncated: bool, bit_depth: str, quality: int, metadata: str, background: str | None
) -> ImageOptions:
    from stylize.images import parse_colour

    if background is not None:
        parse_colour(background)  # a wrong one is refused before the work
    return ImageOptions(max_pixels, allow_truncated, bit_depth, quality, metadata, background)


def _refined(
    stylizer: Stylizer,
    code: StyleCode,
    pictures: Sequence[Pixels],
    members: Sequence[Member],
    steps: int,
    refined: list[dict[str, Any]],
    terminal: Terminal,
) -> StyleCode:
    """The code, refined; what came of it is said, and noted in ``refined``."""
    from stylize.refine import Progress, refine

    seen: list[Progress] = []
    with terminal.progress("refine", steps) as advance:

        def report(progress: Progress) -> None:
            seen.append(progress)
            change = progress.style / seen[0].style - 1
            advance(
                progress.step, f"style distance {progress.style:.3f} ({change:+.0%}), content {progress.content:.3f}"
            )

        result = refine(stylizer, code, pictures, weights=[m.weight for m in members], steps=steps, report=report)
    first, last = seen[0], seen[-1]
    refined.append({"steps": last.step, "style": [first.style, last.style], "content": [first.content, last.content]})
    if not terminal.quiet:
        say(
            f"refined in {last.step} steps: style distance {first.style:.3f} -> {last.style:.3f}, "
            f"content {first.content:.3f} -> {last.content:.3f}"
        )
    return result


def _style_scale(text: str) -> float | None:
    """A number, or None for ``auto``."""
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"--style-scale {text}: not a number", hint="0.25 to 4, or auto") from error


def _masks(styles: Sequence[StyleArgument], look: Look) -> list[Path]:
    """The mask files and folders that were named."""
    return [Path(mask) for mask in (look.mask, *(style.mask for style in styles)) if mask not in (None, "alpha")]


def _check_masks(styles: Sequence[StyleArgument], look: Look) -> None:
    """Refuse before the work what no photo could be painted with."""
    from stylize.images import shown

    if look.feather and look.mask is None and all(style.mask is None for style in styles):
        raise UsageError("--feather needs a mask")
    for path in _masks(styles, look):
        if not path.exists():
            raise InputError(f"cannot read the mask {shown(path)}: no such file")


def _recipe(
    photo: str,
    picture: Picture,
    target: Path | None,
    wanted: str | None,
    styles: Sequence[StyleArgument],
    layers: Layers,
    look: Look,
    model: Path | None,
    quality: int,
    stylizer: Stylizer,
) -> Recipe:
    """The recipe of one output; ``transfer`` and ``batch`` write the same."""
    from stylize.images import SUFFIXES, format_of, suffix_of
    from stylize.recipe import Recipe, command_line

    usual = SUFFIXES[suffix_of(picture.format)]
    format = wanted or (usual if target is None else format_of(target))
    command = command_line(
        os.path.basename(photo),
        [str(style) for style in styles],
        look.options(),
        model=None if model is None else model.name,
        format=None if format == usual else suffix_of(format).removeprefix("."),
        quality=quality,
    )
    return Recipe(command, __version__, stylizer.engine.hash, tuple(code.content_hash() for code in layers.values()))


def _fact(value: Any) -> str:
    from stylize.images import shown

    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(shown, value)) if isinstance(value, list) else shown(value)


def _stdin() -> bytes:
    raw = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if not raw:
        raise InputError("cannot read <stdin>: it is empty")
    if len(raw) > MAX_STDIN_BYTES:
        raise InputError(f"cannot read <stdin>: more than {MAX_STDIN_BYTES >> 20} MB")
    return raw


def _seconds(text: str | None) -> float | None:
    """``90s``, ``45m``, ``6h`` or plain seconds."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None:
        raise UsageError(f"--max-time {text}: not a time", hint="90s, 45m or 6h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
