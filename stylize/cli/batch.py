"""``stylize batch``"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylize.cli.arguments import (
    AllowTruncated,
    Background,
    BitDepth,
    Device,
    Engine,
    Feather,
    InvertMask,
    Json,
    Mask,
    MaxPixels,
    Metadata,
    ModelFile,
    NoRecipe,
    Overwrite,
    PreserveColor,
    Quality,
    Quiet,
    Strength,
    Style,
    StyleScale,
    Threads,
    Tile,
    Verbose,
    check_masks,
    image_options,
    open_stylizer,
    parse_style_scale,
    recipe_of,
)
from stylize.errors import OutputError
from stylize.options import DEFAULT_MAX_PIXELS
from stylize.terminal import Terminal, say

if TYPE_CHECKING:
    from stylize.images import Picture


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
    look = Look(strength, preserve_color, parse_style_scale(style_scale), mask, invert_mask, feather)
    options = image_options(max_pixels, allow_truncated, bit_depth, quality, metadata, background)
    styles = [parse_style(text) for text in style]
    check_masks(styles, look)
    plan = plan_batch(inputs, output)
    stylizer = open_stylizer(model, device, engine, threads, terminal)
    layers = read_layers(stylizer, styles, title_of(styles), options=options, on_warning=terminal.warn)

    def stylise(picture: Picture, job: Job) -> Picture:
        pixels = paint(stylizer, picture, layers, look, photo=str(job.photo), max_pixels=max_pixels, tile=tile)
        if no_recipe:
            return replace(picture, pixels=pixels)
        recipe = recipe_of(str(job.photo), picture, None, None, styles, layers, look, model, quality, stylizer)
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
