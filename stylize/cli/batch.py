"""``stylize batch``"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
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
    Times,
    Verbose,
    check_masks,
    image_options,
    inputs_of,
    open_stylizer,
    open_without_torch,
    parse_format,
    parse_style_scale,
    refuse_input_folder,
)
from stylize.cli.process import Stopped, stop_gently
from stylize.cli.terminal import Terminal, say
from stylize.errors import OutputError, UsageError, shown
from stylize.options import DEFAULT_MAX_PIXELS, ImageOptions

if TYPE_CHECKING:
    from stylize.batch.inputs import Photo
    from stylize.batch.run import Job, Plan, Sorted
    from stylize.styles.arguments import StyleArgument

FRAMES = 8  # of a sequence, on which its statistics are measured


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
    times: Times = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Stylise many photos; bad files are named and counted, the others get done. Run again, it goes on."""
    from stylize.batch.inputs import find_photos
    from stylize.batch.manifest import Known, Manifest, label_of, locked, write_failures
    from stylize.batch.run import plan_batch, run_jobs, sort_out
    from stylize.batch.treatment import Treatment, by_job
    from stylize.files.atomic import refuse_same_file
    from stylize.painting.look import Look, read_layers
    from stylize.styles.arguments import parse_style, title_of

    started = time.monotonic()
    terminal = Terminal(quiet, verbose, json)

    warn = terminal.warn
    if os.path.exists(output) and not os.path.isdir(output):
        raise OutputError(f"cannot write into {shown(output)}: not a folder", hint="--output FOLDER")
    wanted = parse_format(format)
    part = parse_shard(shard)
    label = label_of(part)
    look = Look(strength, preserve_color, parse_style_scale(style_scale), mask, invert_mask, feather)
    options = image_options(max_pixels, allow_truncated, bit_depth, quality, metadata, background, times)
    styles = [parse_style(text) for text in style]
    check_masks(styles, look)
    groups = one_folder_each(styles) if each_style else {"": styles}
    refuse_input_folder(inputs, output)
    stylizer = open_without_torch(model, device, engine, threads, terminal)
    found = find_photos(inputs, output=output, include=include or (), exclude=exclude or (), stdin=sys.stdin.buffer)
    if not found.photos:
        warn("no photos found")

    stylizer = stylizer or open_stylizer(model, device, engine, threads, terminal)
    stylizer.on_warning = warn
    treatments = {
        name: Treatment(
            styles=tuple(group),
            layers=read_layers(stylizer, group, title_of(group), options=options, on_warning=warn),
            look=look,
            options=options,
            model_hash=stylizer.engine.hash,
            model=model,
            engine=engine,
            format=wanted,
            tile=tile,
            recipe=not no_recipe,
            frames=sample_frames(found.photos) if sequence else (),
        )
        for name, group in groups.items()
    }

    with ExitStack() as stack:
        working = bool(found.photos or found.failures) and not dry_run
        if working:
            stack.enter_context(locked(output, label, on_warning=warn))
        known = Known(output)
        if known.damaged:
            warn(f"damaged lines in the manifests of {shown(output)}, which do not count: {known.damaged}")
        plan = plan_batch(found, output, styles=list(treatments), known=known, shard=part, format=wanted)
        jobs = sort_out(
            plan.jobs, known, lambda job: treatments[job.style].fingerprint(job.photo),
            sources=[photo.path for photo in found.photos],
            overwrite=overwrite, redo=redo, retry_failed=retry_failed,
        )  # fmt: skip
        for source in inputs_of(styles, look):
            for job in jobs.todo:
                refuse_same_file(source, job.output)
        failures = plan.failures + [(job.photo, reason) for job, reason in jobs.failed]
        ok = 0

        def tell(job: Job, status: str, reason: str = "") -> None:
            if json or status in ("ok", "to do"):
                why = {"reason": reason} if reason else {}
                terminal.result(str(job.output), photo=str(job.photo), output=str(job.output), status=status, **why)

        for _, reason in failures:
            say(f"error: {reason}")
        for job, reason in jobs.failed:
            tell(job, "failed", reason)
        for job in jobs.done:
            tell(job, "done")
        for job in jobs.foreign:
            tell(job, "exists")

        stops: list[int] = []
        hints = {""}  # each is given once
        trouble: OutputError | None = None
        most = 1 if fail_fast else max_failures

        def stopping() -> bool:
            return bool(stops) or (most is not None and len(failures) >= most)

        if dry_run:
            for job in jobs.todo:
                tell(job, "to do")
        elif jobs.todo:
            with terminal.progress("stylize", len(jobs.todo)) as advance:
                try:
                    if on == "ray":
                        from stylize.batch import ray as ray_cluster

                        outcomes = ray_cluster.run_jobs(
                            jobs.todo, treatments, ray_cluster.Settings(model, device, engine, threads, workers),
                            output, label, stopping=stopping, on_warning=warn, on_note=terminal.note,
                        )  # fmt: skip
                    else:
                        manifest = stack.enter_context(Manifest(output, label))
                        outcomes = run_jobs(
                            jobs.todo, by_job(treatments, stylizer), manifest,
                            options=options, workers=workers, stopping=stopping,
                        )  # fmt: skip
                    stops = stop_gently("finishing what is in hand")  # after Ray has set its own handlers
                    for count, outcome in enumerate(outcomes, 1):
                        advance(count, shown(outcome.job.photo.name))
                        for note in outcome.notes:
                            terminal.warn(note)
                        if outcome.entry.status == "failed":
                            failures.append((outcome.job.photo, outcome.entry.reason))
                            say(f"error: {outcome.entry.reason}")
                            if outcome.hint not in hints:
                                say(f"hint: {outcome.hint}")
                                hints.add(outcome.hint)
                        ok += outcome.entry.status == "ok"
                        tell(outcome.job, outcome.entry.status, outcome.entry.reason)
                except OutputError as error:  # such as a full disk; what is done is done
                    trouble = error
        listed = None
        if working:
            with suppress(OutputError):
                listed = write_failures(output, label, failures)

        if not quiet:
            done = summary(plan, jobs, ok, len(failures), dry_run=dry_run, seconds=time.monotonic() - started)
            say(done + (f"; failures: {shown(listed)}" if listed else ""))
    if trouble is not None:
        raise trouble
    if stops:
        raise Stopped(stops[0])
    if failures and not dry_run:
        raise typer.Exit(1)


def summary(plan: Plan, jobs: Sorted, ok: int, failed: int, *, dry_run: bool, seconds: float) -> str:
    """The last line: what became of everything that was found."""
    left = len(jobs.todo) - ok - (failed - len(plan.failures) - len(jobs.failed))
    why = [f"{len(jobs.done)} done before"] if jobs.done else []
    why += [f"{len(jobs.foreign)} exist, --overwrite replaces them"] if jobs.foreign else []
    counts = [
        f"{ok} ok",
        f"{failed} failed",
        f"{len(jobs.done) + len(jobs.foreign)} skipped" + (f" ({'; '.join(why)})" if why else ""),
        f"{plan.junk} not images",
    ]
    counts += [f"{plan.excluded} excluded"] if plan.excluded else []
    counts += [f"{left} {'to do' if dry_run else 'left'}"] if left or dry_run else []
    return f"done: {', '.join(counts)}, {seconds:.1f} s ({ok / seconds:.1f} images/s)"


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """``I/N``, from 1 to N."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    shard = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= shard[0] <= shard[1]:
        raise UsageError(f"--shard {text}: not a part of a whole", hint="I/N, such as 1/8 to 8/8")
    return shard


def sample_frames(photos: Sequence[Photo]) -> tuple[Path, ...]:
    """Some frames, spread evenly over all of them, whatever the shard."""
    count = min(len(photos), FRAMES)
    return tuple(photos[index * (len(photos) - 1) // max(count - 1, 1)].path for index in range(count))


def one_folder_each(styles: Sequence[StyleArgument]) -> dict[str, list[StyleArgument]]:
    """The folder of each style's pictures. Raises UsageError for two of one name."""
    from stylize.styles.arguments import title_of

    folders: dict[str, list[StyleArgument]] = {}
    for style in styles:
        name = title_of([style])
        if name.casefold() in map(str.casefold, folders):
            raise UsageError(f"--each-style: two styles are called {name}", hint="give one of the files another name")
        folders[name] = [style]
    return folders
