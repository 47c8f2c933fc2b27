"""``stylize encode-style``"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stylize.cli.arguments import (
    AllowTruncated,
    Device,
    Engine,
    Json,
    MaxPixels,
    ModelFile,
    Overwrite,
    Quiet,
    Threads,
    Verbose,
    open_stylizer,
)
from stylize.cli.terminal import Terminal, say
from stylize.errors import OutputError, UsageError, shown
from stylize.extras import require_torch
from stylize.options import DEFAULT_MAX_PIXELS, REFINE_STEPS, ImageOptions, RefineOptions

if TYPE_CHECKING:
    from stylize.images.reading import Pixels
    from stylize.painting.stylizer import Stylizer
    from stylize.styles.members import Member
    from stylize.styles.style_code import StyleCode


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
    refine_steps: Annotated[
        int | None, typer.Option(min=1, help=f"Steps of --refine, at most; default: {REFINE_STEPS}.")
    ] = None,
    perceptual: Annotated[
        str | None,
        typer.Option(
            help="Network that --refine measures with: vgg19, light, or auto, the default: vgg19 if installed."
        ),
    ] = None,
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

    from stylize.files.atomic import check_target, make_folder, refuse_same_file
    from stylize.styles import library
    from stylize.styles.arguments import parse_style, read_style

    terminal = Terminal(quiet, verbose, json)
    if output is None and save is None:
        raise UsageError("nowhere to keep the style", hint="--output FILE.safetensors, or --save NAME")
    if output is not None and output.suffix.lower() != ".safetensors":
        hint = f"--output {shown(output.with_suffix('.safetensors'))}, or --save NAME" if output.name else ""
        raise OutputError(f"cannot write {shown(output)}: a style code is a .safetensors file", hint=hint)
    if not refine and (refine_steps is not None or perceptual is not None):
        raise UsageError(
            f"--{'perceptual' if refine_steps is None else 'refine-steps'} needs --refine", hint="add --refine"
        )
    if refine:
        require_torch("refining")
    targets = [] if output is None else [output]
    if save is not None:
        save = save.removesuffix(library.SUFFIX)
        place = library.place_of(save)
        hidden = library.find(save)
        if hidden is not None and library.is_built_in(hidden):
            terminal.warn(f'the built-in style "{shown(save)}" is hidden by yours from now on')
        if os.path.exists(save):
            terminal.warn(f'"{shown(save)}" is a path here, too: --style {shown(save)} will not know which is meant')
        if output is None or os.path.realpath(place) != os.path.realpath(output):
            targets.append(place)
    styles = [parse_style(text, masks=False) for text in sources]
    for style in styles:
        if refine and style.is_code:
            raise UsageError(
                f"--refine needs pictures, {shown(style.source)} is a style code", hint="give the pictures"
            )
    for target in targets:
        for style in styles:
            if not os.path.isdir(style.source):  # a code is none of the pictures in a folder
                refuse_same_file(style.source, target)
        if target != output:
            make_folder(target.parent)
        check_target(target, overwrite=overwrite)
    judge = ""
    if refine:
        from stylize.training.refine import chosen

        judge = chosen(perceptual or "auto")
    title = name or save or targets[0].stem
    stylizer = open_stylizer(model, device, engine, threads, terminal)
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
        if not refine:
            return code
        return _refined(stylizer, code, pictures, members, refine_steps or REFINE_STEPS, judge, refined, terminal)

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


def _refined(
    stylizer: Stylizer,
    code: StyleCode,
    pictures: Sequence[Pixels],
    members: Sequence[Member],
    steps: int,
    perceptual: str,
    refined: list[dict[str, Any]],
    terminal: Terminal,
) -> StyleCode:
    """The code, refined; what came of it is said, and noted in ``refined``."""
    from stylize.training.refine import refine
    from stylize.training.refine_objective import Progress

    seen: list[Progress] = []
    with terminal.progress("refine", steps) as advance:

        def report(progress: Progress) -> None:
            seen.append(progress)
            change = progress.style / seen[0].style - 1
            advance(
                progress.step, f"style distance {progress.style:.3f} ({change:+.0%}), content {progress.content:.3f}"
            )

        weights = [member.weight for member in members]
        options = RefineOptions(steps=steps, perceptual=perceptual)
        result = refine(stylizer, code, pictures, weights=weights, options=options, report=report)
    first, last = seen[0], seen[-1]
    measures = ("style", "moments", "colours", "patterns", "content")
    changes = {what: [getattr(first, what), getattr(last, what)] for what in measures}
    refined.append({"steps": last.step, "perceptual": perceptual, **changes})
    if not terminal.quiet:
        say(
            f"refined in {last.step} steps with {perceptual}: style distance {first.style:.3f} -> {last.style:.3f}, "
            f"content {first.content:.3f} -> {last.content:.3f}"
        )
    return result
