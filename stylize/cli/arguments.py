"""What commands share: their options, and what these mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from stylize.cli.progress import Show, span
from stylize.cli.terminal import Terminal, say
from stylize.errors import DeviceError, one_line
from stylize.extras import require_torch
from stylize.options import ImageOptions, NetworkOptions, Option

if TYPE_CHECKING:
    from stylize.painting.fine import Progress
    from stylize.painting.stylizer import Stylizer


LONG = 60.0  # seconds: how long work takes that is longer is said before it begins


def complete_style(incomplete: str) -> list[str]:
    """What ``--style`` can be that begins so, for shells. Where no name of the library does, they complete paths."""
    from glob import escape, glob

    from stylize.styles.library import styles

    names = [name for name in styles() if name.startswith(incomplete)]
    return [*names, *sorted(glob(f"{escape(incomplete)}*"))] if incomplete and names else names


Style = Annotated[
    list[str],
    Option(
        "A picture, a folder of pictures, a style code (.safetensors), or a name of your library; repeatable: "
        "mine:0.7 is its part in a mixture, ink@sky.png paints only where sky.png is white.",
        "What", short="-s", metavar="STYLE[:WEIGHT][@MASK]", complete=complete_style,
    ),
]  # fmt: skip
Format = Annotated[str | None, Option("png, jpg, webp, tif ...; default: the photo's.", "File")]
NoRecipe = Annotated[bool, Option("Do not store in the picture how it was made.", "File")]
Tile = Annotated[int | None, Option("Side of the tiles in pixels: less needs less memory.", "Machine", low=1)]
ContentFolders = Annotated[list[Path], Option("Folder of photos; repeatable.", "What")]
StyleFolders = Annotated[
    list[Path], Option("Folder of style pictures; repeatable, drawn from equally often.", "What", short="-s")
]


def stylizer_of(
    machine: NetworkOptions,
    terminal: Terminal,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Stylizer:
    """The networks, loaded. Raises DeviceError for packages that are broken, else as ``Stylizer``."""
    try:
        from stylize.painting.stylizer import Stylizer
    except (ImportError, OSError) as error:  # numpy or another, or one that is not for this machine
        raise DeviceError(f"cannot load the network: {one_line(error)}", hint="stylize doctor tells more") from error
    stylizer = Stylizer(
        machine.model,
        machine.device,
        engine=machine.engine,
        threads=machine.threads,
        on_warning=terminal.warn,
        on_progress=on_progress,
    )
    terminal.note(f"device {stylizer.engine}, model {stylizer.engine.hash[:8]}")
    return stylizer


def show_fine(show: Show, what: str, now: Progress, terminal: Terminal) -> None:
    """Show how far a fine painting is; before one of more than a minute, about how long it takes."""
    if now.step == 0 and now.seconds > LONG and not terminal.quiet:
        say(f"{what}: about {span(now.seconds)}")
    facts = () if now.step == 0 else (f"step {now.step}/{now.steps}", f"style distance {now.style:.2f}")
    show(what, round(100 * now.share), 100, f"size {now.scale} of {now.scales}", *facts)


def set_threads(threads: int | None) -> None:
    """Let torch use so many threads; by default all cores."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def check_images(options: ImageOptions) -> None:
    """Refuse before the work what is no colour, and 16 bits that nothing here can paint."""
    from stylize.images.writing import parse_colour

    if options.bit_depth == "16":
        require_torch("`bit_depth` 16")
    if options.background is not None:
        parse_colour(options.background)
