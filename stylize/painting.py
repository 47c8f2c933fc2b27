"""Painting: a photo, in the styles and the way that the options ask for -> pixels.

``Stylizer.transfer`` paints one photo in one style. Here is what people ask for on top of it; ``stylize transfer``,
``batch`` and ``preview`` all go through ``paint``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stylize.errors import UsageError
from stylize.images import Picture, Pixels
from stylize.style_arguments import StyleArgument, by_mask, read_style

if TYPE_CHECKING:
    from stylize.style_code import StyleCode
    from stylize.transfer import Stylizer

Layers = Mapping[str | None, "StyleCode"]  # mask -> the style painted there; None: everywhere


@dataclass(frozen=True)
class Look:
    """How a photo is painted, whatever the styles.

    Attributes:
        strength: 0 (the photo itself) to 1 (the full style).
        preserve_color: keep the photo's colours.

    Raises:
        UsageError: a value is out of its range.
    """

    strength: float = 1.0
    preserve_color: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise UsageError(f"--strength {self.strength:g} is not between 0 and 1")

    def options(self) -> list[str]:
        """The words of a command line that ask for this look; files by their base names."""
        words = []
        if self.strength != 1:
            words += ["--strength", f"{self.strength!r}"]
        if self.preserve_color:
            words.append("--preserve-color")
        return words


def read_layers(
    stylizer: Stylizer,
    arguments: Sequence[StyleArgument],
    title: str,
    *,
    max_pixels: int,
    on_warning: Callable[[str], None],
) -> Layers:
    """The styles that the arguments ask for, one for each mask. Raises as ``read_style``."""
    return {
        mask: read_style(stylizer, group, title, max_pixels=max_pixels, on_warning=on_warning)
        for mask, group in by_mask(arguments).items()
    }


def paint(stylizer: Stylizer, picture: Picture, layers: Layers, look: Look, *, tile: int | None = None) -> Pixels:
    """The painted photo, (H, W, 3) uint8. Raises as ``Stylizer.transfer``."""
    (style,) = layers.values()
    return stylizer.transfer(
        picture.pixels, style, strength=look.strength, preserve_color=look.preserve_color, tile=tile
    )
