"""``stylize encode-style``"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stylize.cli.arguments import stylizer_of
from stylize.cli.long_work import Limits, Watch
from stylize.cli.options import Only, command
from stylize.cli.process import Stopped, stop_gently
from stylize.cli.progress import Show
from stylize.cli.terminal import Terminal, say
from stylize.errors import OutputError, UsageError, shown
from stylize.extras import require_torch
from stylize.options import ImageOptions, NetworkOptions, Option, Overwrite, RefineOptions, changed, parse_seconds

if TYPE_CHECKING:
    from stylize.images.reading import Pixels
    from stylize.painting.stylizer import Stylizer
    from stylize.styles.arguments import StyleArgument
    from stylize.styles.members import Member
    from stylize.styles.style_code import StyleCode
    from stylize.training.refine_objective import Progress

SAVING = 0.5  # seconds, to write a style and end the process
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="PICTURE|FOLDER|CODE[:WEIGHT]...",
        help="Pictures of one style, or styles to mix.",
        rich_help_panel="What",
    ),
]
Refine = Annotated[
    bool, Option("Make the style more like its pictures, in minutes; Ctrl-C keeps the best so far.", "Refining")
]
RefineSeconds = Annotated[
    float | None,
    Option(
        "End --refine so that all takes 90s, 45m or 6h, with the best style by then.", "Refining",
        name="max-time", parse=parse_seconds, low=0,
    ),
]  # fmt: skip


@command
def encode_style(
    sources: Sources,
    refining: Annotated[RefineOptions, Only({"steps", "perceptual"})],
    images: Annotated[ImageOptions, Only({"max_pixels", "allow_truncated"})],
    networks: NetworkOptions,
    terminal: Terminal,
    output: Annotated[Path | None, Option("The style code to write, NAME.safetensors.", "Where to", short="-o")] = None,
    save: Annotated[str | None, Option("Keep it in your library: --style NAME.", "Where to", metavar="NAME")] = None,
    overwrite: Overwrite = False,
    refine: Refine = False,
    fine: Annotated[bool, Option("Store what --effort fine needs, too: 0.8 MB of statistics.", "File")] = False,
    max_seconds: RefineSeconds = None,
    name: Annotated[str | None, Option("Title; default: the output's name.", "File")] = None,
    no_thumbnail: Annotated[bool, Option("Store no picture of the style.", "File")] = False,
) -> None:
    """Learn a style from pictures, or mix styles, and keep it as a small file.

    \b
      stylize encode-style mine/ --save mine
      stylize encode-style mine:0.7 woodcut:0.3 --output both.safetensors
    """
    from stylize.styles.arguments import parse_style, read_style

    _check_output(output, save)
    if refine:
        require_torch("refining")
    else:
        _refuse_refining(refining, max_seconds)
    if fine:
        require_torch("`fine`")
    targets = _targets(output, save, terminal)
    styles = [parse_style(text, masks=False) for text in sources]
    for style in styles:
        if refine and style.is_code:
            raise UsageError(
                f"--refine needs pictures, {shown(style.source)} is a style code", hint="give the pictures"
            )
    _check_targets(targets, styles, made_here=output, overwrite=overwrite)
    title = name or (save and _library_name(save)) or targets[0].stem
    limits = Limits(max_seconds, [])
    with (terminal if refine else Terminal(quiet=True)).phases(limits.until) as show:
        show("start")
        how = _judged(refining) if refine else None
        encoding = _Encoding(stylizer_of(networks, terminal), how, limits, terminal, show)
        show("read the pictures")
        code = read_style(
            encoding.stylizer, styles, title,
            options=images, on_warning=terminal.warn, on_picture=encoding.tell, encode=encoding.encode, fine=fine,
        )  # fmt: skip
    code = replace(code, title=title, thumbnail=None if no_thumbnail else code.thumbnail)
    for target in targets:
        code.save(target, overwrite=overwrite)
        terminal.result(
            str(target), output=str(target), title=code.title, images=code.images, model=code.model_hash,
            pictures=encoding.pictures, refined=encoding.refined, fine=bool(code.moments),
        )  # fmt: skip
    if limits.stopped_by:
        raise typer.Exit(128 + limits.stopped_by[0])


def _refuse_refining(refining: RefineOptions, max_seconds: float | None) -> None:
    """Refuse what only ``--refine`` looks at."""
    given = [each.flag for each, _ in changed(refining)] + ["--max-time"] * (max_seconds is not None)
    if given:
        raise UsageError(f"{given[0]} needs --refine", hint="add --refine")


def _check_output(output: Path | None, save: str | None) -> None:
    """Refuse a style that would be kept nowhere, or in a file that is not called as codes are."""
    if output is None and save is None:
        raise UsageError("nowhere to keep the style", hint="--output FILE.safetensors, or --save NAME")
    if output is not None and output.suffix.lower() != ".safetensors":
        hint = f"--output {shown(output.with_suffix('.safetensors'))}, or --save NAME" if output.name else ""
        raise OutputError(f"cannot write {shown(output)}: a style code is a .safetensors file", hint=hint)


def _library_name(save: str) -> str:
    from stylize.styles import library

    return save.removesuffix(library.SUFFIX)


def _targets(output: Path | None, save: str | None, terminal: Terminal) -> list[Path]:
    """The files to write. Warns of a name in the library that would not be found, or hides another."""
    from stylize.styles import library

    targets = [] if output is None else [output]
    if save is not None:
        save = _library_name(save)
        place = library.place_of(save)
        hidden = library.find(save)
        if hidden is not None and library.is_built_in(hidden):
            terminal.warn(f'the built-in style "{shown(save)}" is hidden by yours from now on')
        if os.path.exists(save):
            terminal.warn(f'"{shown(save)}" is a path here, too: --style {shown(save)} will not know which is meant')
        if output is None or os.path.realpath(place) != os.path.realpath(output):
            targets.append(place)
    return targets


def _check_targets(
    targets: Sequence[Path], styles: Sequence[StyleArgument], *, made_here: Path | None, overwrite: bool
) -> None:
    """Refuse a target that cannot be written or is one of the sources; the library's folder is made."""
    from stylize.files.atomic import check_target, make_folder, refuse_same_file

    for target in targets:
        for style in styles:
            if not os.path.isdir(style.source):  # a code is none of the pictures in a folder
                refuse_same_file(style.source, target)
        if target != made_here:
            make_folder(target.parent)
        check_target(target, overwrite=overwrite)


def _judged(refining: RefineOptions) -> RefineOptions:
    """The options, with the network that refining measures with."""
    from stylize.training.refine import chosen

    return replace(refining, perceptual=chosen(refining.perceptual))


@dataclass
class _Encoding:
    """How pictures are encoded, and refined if that was asked for; what is told of them is noted.

    Attributes:
        pictures: what was said of each.
        refined: what came of refining, for each style.
    """

    stylizer: Stylizer
    refining: RefineOptions | None
    limits: Limits
    terminal: Terminal
    show: Show
    pictures: list[dict[str, Any]] = field(default_factory=list)
    refined: list[dict[str, Any]] = field(default_factory=list)

    def tell(self, picture: str, member: Member) -> None:
        """Note what is to be said of a picture, and say it to people."""
        distance = None if member.distance is None else round(member.distance, 3)
        facts = {"distance": distance, "weight": round(member.weight, 3), "outlier": member.outlier}
        self.pictures.append({"picture": picture, **facts})
        if distance is not None and (self.terminal.verbose or (sys.stderr.isatty() and not self.terminal.quiet)):
            say(f"{picture}: distance to the rest {distance:.2f}, weight {member.weight:.2g}")

    def encode(
        self, pictures: Sequence[Pixels], title: str, fine: bool, report: Callable[[Sequence[Member]], None]
    ) -> StyleCode:
        """In place of ``Stylizer.encode_style``."""
        members: list[Member] = []
        code = self.stylizer.encode_style(pictures, title=title, fine=fine, report=members.extend)
        report(members)
        if self.refining is None:
            return code
        return self._refine(code, pictures, [member.weight for member in members], self.refining)

    def _refine(
        self, code: StyleCode, pictures: Sequence[Pixels], weights: Sequence[float], options: RefineOptions
    ) -> StyleCode:
        """The code, refined; as far as it was refined when it was stopped."""
        from stylize.training.events import REFINE, Doing, Ended, Event
        from stylize.training.refine import refine

        if self.limits.stopped_by:
            return code
        seen: list[Progress] = []
        until = self.limits.until
        watch = Watch(REFINE, self.limits, self.show, begun=bool(self.refined))

        def report(now: Progress) -> None:
            seen.append(now)
            change = now.style / seen[0].style - 1
            watch.facts = (f"style distance {now.style:.3f} ({change:+.0%})", f"content {now.content:.3f}")

        def tell(event: Event) -> None:
            if isinstance(event, Doing):
                if event.what == REFINE and not watch.begun:  # from now on there is something to keep
                    stop_gently("keeping the best style so far", self.limits.stopped_by)
                watch.doing(event)
            elif isinstance(event, Ended):
                watch.end = event

        def stopping(seconds: float) -> bool:
            late = until is not None and time.monotonic() + seconds + SAVING > until
            watch.stopped = late or bool(self.limits.stopped_by)
            return watch.stopped

        try:
            result = refine(
                self.stylizer, code, pictures, weights=weights, options=options,
                report=report, listener=tell, stopping=stopping,
            )  # fmt: skip
        except Stopped:
            say("stopped; no style is kept")
            raise
        self._tell_refined(seen[0], seen[-1], options.perceptual, watch)
        return result

    def _tell_refined(self, first: Progress, last: Progress, judge: str, watch: Watch) -> None:
        measures = ("style", "moments", "colours", "patterns", "content")
        changes = {what: [getattr(first, what), getattr(last, what)] for what in measures}
        self.refined.append({"steps": last.step, "perceptual": judge, **changes})
        if self.limits.stopped_by or (watch.stopped and not self.terminal.quiet):
            best = f"the best style so far is kept, that of step {last.step}" if last.step else "none was better so far"
            say(f"{watch.stopped_at}; {best}")
        if not self.terminal.quiet:
            say(
                f"refined in {last.step} steps with {judge}: style distance {first.style:.3f} -> "
                f"{last.style:.3f}, content {first.content:.3f} -> {last.content:.3f}"
            )
