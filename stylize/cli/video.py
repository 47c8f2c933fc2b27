"""``stylize video``"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylize.cli.arguments import Style, Tile, stylizer_of
from stylize.cli.options import Only, command
from stylize.cli.process import Stopped
from stylize.cli.terminal import Terminal, say
from stylize.errors import shown
from stylize.extras import require_video
from stylize.options import FilmOptions, Look, NetworkOptions, Option, Overwrite

if TYPE_CHECKING:
    from stylize.film.painting import Finished


@command
def video(
    film: Annotated[Path, typer.Argument(metavar="FILM", help="The film.", rich_help_panel="What")],
    style: Style,
    look: Annotated[Look, Only({"strength", "preserve_color", "style_scale", "mask", "invert_mask", "feather"})],
    options: FilmOptions,
    networks: NetworkOptions,
    terminal: Terminal,
    output: Annotated[
        Path | None,
        Option("File: .mp4, .mov, .mkv or .webm; default: FILM_STYLE beside the film.", "Where to", short="-o"),
    ] = None,
    overwrite: Overwrite = False,
    tile: Tile = None,
) -> None:
    """Stylise a film: steady, with its sound. Run again after any stop, it goes on.

    \b
      stylize video clip.mp4 --style mine --output painted.mp4
    """
    require_video("painting films")
    from stylize.film.painting import Begun, Finished, Painted, paint_film
    from stylize.film.reading import Read

    events = paint_film(
        film, style, look, options,
        output=output, tile=tile, overwrite=overwrite,
        stylizer=lambda: stylizer_of(networks, terminal), on_warning=terminal.warn,
    )  # fmt: skip
    try:
        with closing(events), terminal.phases() as show:
            for event in events:
                match event:
                    case Read(done, total):
                        show("read", done, total)
                    case Begun(done, total):
                        if done:
                            terminal.note(f"goes on after {done} frames")
                        show("paint", done, total)
                    case Painted(done):
                        show("paint", done, total)
                    case Finished():
                        finished = event
        tell(finished, film, terminal)
    except Stopped:
        say("stopped: the same command goes on")
        raise


def tell(finished: Finished, film: Path, terminal: Terminal) -> None:
    """Say what was written."""
    width, height = finished.size
    terminal.note(
        f"{shown(film)}: {finished.frames} frames of {width}x{height} pixels, {finished.scenes} scenes, "
        f"in {finished.seconds:.1f} s"
    )
    terminal.result(
        str(finished.output), film=str(film), output=str(finished.output), status="ok", frames=finished.frames,
        scenes=finished.scenes, width=width, height=height, seconds=round(finished.seconds, 3),
    )  # fmt: skip
