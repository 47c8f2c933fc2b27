"""``stylize batch``"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stylize.cli.arguments import (
    AllowTruncated,
    Background,
    BitDepth,
    Device,
    Engine,
    Feather,
    Format,
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
    image_options,
    open_stylizer,
    parse_style_scale,
)
from stylize.cli.process import Stopped, stop_gently
from stylize.cli.terminal import Terminal, say
from stylize.errors import UsageError, shown
from stylize.options import DEFAULT_MAX_PIXELS, ImageOptions

if TYPE_CHECKING:
    from stylize.batch.planning import Job
    from stylize.batch.running import Event, Finished
    from stylize.painting.stylizer import Stylizer


def batch(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="PHOTO|FOLDER|@LIST|-...", help="Photos, folders, files of paths; - reads paths."),
    ],
    style: Style,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures; the tree is mirrored.")],
    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB", help="Only photos whose name or path is like this: '*.jpg', '*/best/*'; repeatable."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="No photos whose name or path is like this; repeatable.")
    ] = None,
    each_style: Annotated[
        bool, typer.Option("--each-style", help="A picture in each style, OUTPUT/STYLE/..., not in all together.")
    ] = False,
    sequence: Annotated[
        bool,
        typer.Option("--sequence", help="The photos are frames of one scene: nothing that stands still flickers."),
    ] = False,
    strength: Strength = 1.0,
    preserve_color: PreserveColor = False,
    style_scale: StyleScale = "1",
    mask: Mask = None,
    invert_mask: InvertMask = False,
    feather: Feather = 0.0,
    format: Format = None,
    quality: Quality = ImageOptions.quality,
    no_recipe: NoRecipe = False,
    tile: Tile = None,
    model: ModelFile = None,
    device: Device = "auto",
    engine: Engine = "auto",
    threads: Threads = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Threads that decode and encode; default: all cores, up to 8.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Do the I-th of N parts only; the others are for other machines.")
    ] = None,
    on: Annotated[
        Literal["local", "ray"], typer.Option(help="Where to work: on this machine, or on a Ray cluster.")
    ] = "local",
    redo: Annotated[bool, typer.Option("--redo", help="Do again what is done.")] = False,
    retry_failed: Annotated[bool, typer.Option(help="Try again what failed before.")] = True,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")] = False,
    max_failures: Annotated[int | None, typer.Option(min=1, help="Stop after so many failures.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only tell what would be written.")] = False,
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
    """Stylise many photos; bad files are named and counted, the others get done. Run again, it goes on."""
    from stylize.batch.running import run
    from stylize.options import BatchOptions
    from stylize.painting.look import Look

    terminal = Terminal(quiet, verbose, json)
    stops: list[int] = []

    def open_networks() -> Stylizer:
        stylizer = open_stylizer(model, device, engine, threads, terminal)
        stylizer.engines.on_warning = terminal.warn
        return stylizer

    how = BatchOptions(
        tuple(include or ()), tuple(exclude or ()), each_style, sequence, workers, parse_shard(shard), on,
        redo, retry_failed, 1 if fail_fast else max_failures, dry_run,
    )  # fmt: skip
    look = Look(strength, preserve_color, parse_style_scale(style_scale), mask, invert_mask, feather)
    options = image_options(max_pixels, allow_truncated, bit_depth, quality, metadata, background)
    events = run(
        inputs, style, output, look, options, how,
        format=format, tile=tile, recipe=not no_recipe, overwrite=overwrite, stylizer=open_networks,
        stdin=sys.stdin.buffer, stopping=lambda: bool(stops), on_warning=terminal.warn, on_note=terminal.note,
    )  # fmt: skip
    with closing(events):
        finished = tell(events, terminal, stops, dry_run=dry_run)
    if finished.trouble is not None:
        raise finished.trouble
    if stops:
        raise Stopped(stops[0])
    if finished.counts.failed and not dry_run:
        raise typer.Exit(1)


def tell(events: Iterator[Event], terminal: Terminal, stops: list[int], *, dry_run: bool) -> Finished:
    """Say what happens; signals that come once the work has begun are noted in ``stops``. Returns the last event."""
    from stylize.batch.running import Done, Failed, Finished, Skipped, Started

    hints = {""}  # each is given once
    count = 0
    with ExitStack() as stack:
        for event in events:
            match event:
                case Started(total):
                    advance = stack.enter_context(terminal.progress("stylize", total))
                    stop_gently("finishing what is in hand", stops)  # after Ray has set its own handlers
                case Skipped(job, why):
                    result(terminal, job, why)
                case Done(job, notes):
                    count += 1
                    advance(count, shown(job.photo.name))
                    for note in notes:
                        terminal.warn(note)
                    result(terminal, job, "ok")
                case Failed(photo, reason, hint, job, notes, new):
                    count += new
                    if new:
                        advance(count, shown(photo.name))
                    for note in notes:
                        terminal.warn(note)
                    say(f"error: {reason}")
                    if hint not in hints:
                        say(f"hint: {hint}")
                        hints.add(hint)
                    if job is not None:
                        result(terminal, job, "failed", reason)
                case Finished():
                    finished = event
    if not terminal.quiet:
        say(summary(finished, dry_run=dry_run))
    return finished


def result(terminal: Terminal, job: Job, status: str, reason: str = "") -> None:
    """A line on stdout for a job: the pictures that are written or would be, with ``--json`` all."""
    if terminal.json or status in ("ok", "to do"):
        why = {"reason": reason} if reason else {}
        terminal.result(str(job.output), photo=str(job.photo), output=str(job.output), status=status, **why)


def summary(finished: Finished, *, dry_run: bool) -> str:
    """The last line: what became of everything that was found."""
    counts, seconds = finished.counts, finished.seconds
    why = [f"{counts.done} done before"] if counts.done else []
    why += [f"{counts.foreign} exist, --overwrite replaces them"] if counts.foreign else []
    words = [
        f"{counts.ok} ok",
        f"{counts.failed} failed",
        f"{counts.done + counts.foreign} skipped" + (f" ({'; '.join(why)})" if why else ""),
        f"{counts.junk} not images",
    ]
    words += [f"{counts.excluded} excluded"] if counts.excluded else []
    words += [f"{counts.left} {'to do' if dry_run else 'left'}"] if counts.left or dry_run else []
    listed = f"; failures: {shown(finished.failures)}" if finished.failures else ""
    return f"done: {', '.join(words)}, {seconds:.1f} s ({counts.ok / seconds:.1f} images/s){listed}"


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """``I/N``, from 1 to N."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    shard = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= shard[0] <= shard[1]:
        raise UsageError(f"--shard {text}: not a part of a whole", hint="I/N, such as 1/8 to 8/8")
    return shard
