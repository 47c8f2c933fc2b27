"""``stylize batch``"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylize.cli.arguments import LONG, Format, NoRecipe, Style, Tile, check_images, stylizer_of
from stylize.cli.options import command, in_options
from stylize.cli.process import Stopped, stop_gently
from stylize.cli.progress import span
from stylize.cli.terminal import Advance, Terminal, say
from stylize.errors import shown
from stylize.options import BatchOptions, ImageOptions, Look, NetworkOptions, Option, Overwrite

if TYPE_CHECKING:
    from stylize.batch.planning import Job
    from stylize.batch.running import Event, Finished
    from stylize.painting.fine import Progress


@command
def batch(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO|FOLDER|@LIST|-...",
            help="Photos, folders, files of paths; - reads paths.",
            rich_help_panel="What",
        ),
    ],
    style: Style,
    output: Annotated[Path, Option("Folder for the pictures; the tree is mirrored.", "Where to", short="-o")],
    how: BatchOptions,
    look: Look,
    images: ImageOptions,
    networks: NetworkOptions,
    terminal: Terminal,
    fail_fast: Annotated[bool, Option("Stop at the first failure in this run.", "What")] = False,
    overwrite: Overwrite = False,
    format: Format = None,
    no_recipe: NoRecipe = False,
    tile: Tile = None,
) -> None:
    """Stylise many photos; bad files are named and counted, the others get done. Run again, it goes on.

    \b
      stylize batch holiday/ --style mine --output painted/
      stylize batch frames/ --style mine --output painted/ --sequence
    """
    from stylize.batch.running import run

    check_images(images)
    stops: list[int] = []
    bar = _Bar()
    events = run(
        inputs, style, output, look, images, replace(how, max_failures=1) if fail_fast else how,
        format=format, tile=tile, recipe=not no_recipe, overwrite=overwrite,
        stylizer=lambda: stylizer_of(networks, terminal, bar.show_fine), stdin=sys.stdin.buffer,
        stopping=lambda: bool(stops), on_warning=terminal.warn, on_note=terminal.note,
    )  # fmt: skip
    with closing(events):
        finished = tell(events, terminal, bar, stops, dry_run=how.dry_run)
    if finished.trouble is not None:
        raise finished.trouble
    if stops:
        raise Stopped(stops[0])
    if finished.counts.failed and not how.dry_run:
        raise typer.Exit(1)


@dataclass
class _Bar:
    """How far a batch is: the photos that are done, and how far one is that is painted finely."""

    advance: Advance = lambda done, /, *facts: None
    done: int = 0

    def show(self, *facts: str) -> None:
        self.advance(self.done, *facts)

    def show_fine(self, now: Progress) -> None:
        self.show(f"{now.share:.0%} of the next", f"size {now.scale} of {now.scales}")


def tell(events: Iterator[Event], terminal: Terminal, bar: _Bar, stops: list[int], *, dry_run: bool) -> Finished:
    """Say what happens; signals that come once the work has begun are noted in ``stops``. Returns the last event."""
    from stylize.batch.running import Done, Failed, Finished, Planned, Skipped, Started

    hints = {""}  # each is given once
    listing = lists_pictures(terminal, dry_run=dry_run)
    with ExitStack() as stack:
        for event in events:
            match event:
                case Planned(seconds=seconds) if seconds is not None and seconds > LONG and not terminal.quiet:
                    say(f"painting finely takes about {span(seconds)}")
                case Started(total):
                    bar.advance = stack.enter_context(terminal.progress("stylize", total))
                    stop_gently("finishing what is in hand", stops)  # after Ray has set its own handlers
                case Skipped(job, why) if listing:
                    result(terminal, job, why)
                case Done(job, notes):
                    bar.done += 1
                    bar.show(shown(job.photo.name))
                    for note in notes:
                        terminal.warn(note)
                    if listing:
                        result(terminal, job, "ok")
                case Failed(photo, reason, hint, job, notes, new):
                    bar.done += new
                    if new:
                        bar.show(shown(photo.name))
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


def lists_pictures(terminal: Terminal, *, dry_run: bool) -> bool:
    """Whether every picture is a line on stdout: not in a terminal with a bar, unless it was asked for."""
    has_bar = not terminal.quiet and sys.stderr.isatty() and sys.stdout.isatty()
    return dry_run or terminal.json or terminal.verbose or not has_bar


def result(terminal: Terminal, job: Job, status: str, reason: str = "") -> None:
    """A line on stdout for a job: the pictures that are written or would be, with ``--json`` all."""
    if terminal.json or status in ("ok", "to do"):
        why = {"reason": in_options(reason)} if reason else {}
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
