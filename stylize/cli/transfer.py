"""``stylize transfer``"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from stylize.cli.arguments import Format, NoRecipe, Style, Tile, check_images, show_fine, stylizer_of
from stylize.cli.options import command, in_options
from stylize.cli.process import show
from stylize.cli.progress import nothing
from stylize.cli.terminal import Terminal
from stylize.errors import UsageError, shown
from stylize.options import ImageOptions, Look, NetworkOptions, Option, Overwrite

if TYPE_CHECKING:
    from stylize.painting.fine import Progress
    from stylize.painting.transfer import Transferred


@command
def transfer(
    photos: Annotated[
        list[str], typer.Argument(metavar="PHOTO...", help="Photos; - reads one from stdin.", rich_help_panel="What")
    ],
    style: Style,
    look: Look,
    images: ImageOptions,
    networks: NetworkOptions,
    terminal: Terminal,
    output: Annotated[
        str | None,
        Option("File, folder, or - for stdout; default: PHOTO_STYLE beside the photo.", "Where to", short="-o"),
    ] = None,
    overwrite: Overwrite = False,
    format: Format = None,
    no_recipe: NoRecipe = False,
    tile: Tile = None,
) -> None:
    """Stylise photos.

    \b
      stylize transfer photo.jpg --style mine.png
      stylize transfer photo.jpg --style woodcut --strength 0.6 --output softer.jpg
    """
    from stylize.painting import transfer as core

    check_images(images)
    names = [shown(os.path.basename(photo)) for photo in photos]
    done = code = 0
    with ExitStack() as stack:
        fine = look.paints_finely
        show = stack.enter_context(terminal.phases()) if fine or len(photos) > 1 else nothing

        def painting(now: Progress) -> None:
            show_fine(show, f"paint {names[done]}", now, terminal)

        outcomes = core.transfer(
            photos, style, look, images,
            output=stdout_or(output, photos), format=format, tile=tile, recipe=not no_recipe, overwrite=overwrite,
            stylizer=lambda: stylizer_of(networks, terminal, painting), stdin=sys.stdin.buffer,
            on_warning=terminal.warn,
        )  # fmt: skip
        for outcome in stack.enter_context(closing(outcomes)):
            if outcome.failure is not None:
                code = max(code, outcome.failure.exit_code)
            tell(outcome, terminal, alone=len(photos) == 1)
            done += 1
            if not fine:
                show("transfer", done, len(photos), names[done - 1])
    if code:
        raise typer.Exit(code)


def stdout_or(output: str | None, photos: Sequence[str]) -> str | BinaryIO | None:
    """Where the pictures go. Raises UsageError for what stdin cannot give, or stdout should not be given."""
    if photos.count("-") > 1:
        raise UsageError("stdin holds one photo only", hint="give - once")
    if output != "-" and (output is not None or "-" not in photos):
        return output
    if sys.stdout.isatty() and len(photos) == 1:
        raise UsageError("will not write image bytes to a terminal", hint="-o FILE, or redirect")
    return sys.stdout.buffer


def tell(outcome: Transferred, terminal: Terminal, *, alone: bool) -> None:
    """Say what became of a photo. Raises what went wrong with it, if it is the only one."""
    if outcome.failure is not None:
        if terminal.json and not outcome.streamed:
            terminal.result("", photo=outcome.photo, status="failed", reason=in_options(outcome.failure.message))
        if alone:
            raise outcome.failure
        show(outcome.failure)
        return
    for note in outcome.notes:
        terminal.warn(f"{shown(outcome.photo)}: {note}")
    width, height = outcome.size
    terminal.note(f"{shown(outcome.photo)}: {width}x{height} pixels in {outcome.seconds:.2f} s")
    if not outcome.streamed:
        terminal.result(
            str(outcome.output), photo=outcome.photo, output=str(outcome.output), status="ok", width=width,
            height=height, style=outcome.style, seconds=round(outcome.seconds, 3),
        )  # fmt: skip
