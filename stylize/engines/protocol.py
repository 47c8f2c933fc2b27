"""Engine: what runs the networks, whatever it is; ``stylize.engines.torch`` and ``stylize.engines.onnx`` are two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stylize.images.palette import Floats
from stylize.images.reading import Pixels
from stylize.networks.plan import Margins, Position
from stylize.options import ModelSizes
from stylize.styles.style_code import Refinement


class Painter(Protocol):
    """The generator for one style and one photo."""

    def __call__(self, cells: Pixels, origin: Position, margins: Margins) -> Pixels:
        """Paint a tile: (1, 12, h, w) in cells, with margins around it -> the same without them.

        ``origin`` says where its upper left pixel lies in the photo.

        Raises:
            MemoryError: a smaller tile might do.
            FloatingPointError: the result is not finite.
        """


class Engine(Protocol):
    """What runs the networks. Both engines give the same pixels, up to the rounding of their precision."""

    name: str
    hash: str  # of the model
    sizes: ModelSizes
    bytes_per_pixel: int  # that a tile needs, margin included
    best_tile: int  # side of the fastest tiles

    @property
    def on_cpu(self) -> bool:
        """Whether there is no other device to fall back to."""

    def free_memory(self) -> int | None:
        """Bytes that are left on the device, if that is known."""

    def encode(self, picture: Pixels) -> tuple[Floats, Floats]:
        """A picture (H, W, 3) uint8 -> its code (Z,) and E's standardised statistics of it (D,)."""

    def prepare(self, code: Floats, refinement: Refinement) -> None:
        """Do what ``measure`` would do with every photo of a style, and keep it for that style."""

    def measure(
        self,
        code: Floats,
        refinement: Refinement,
        palette: Floats,
        colours: tuple[Floats, Floats],
        cells: Pixels,
        origins: Sequence[Position],
    ) -> tuple[Pixels, Painter]:
        """Freeze the statistics of a photo.

        Args:
            code: (Z,).
            refinement: what is added to the modulations that the code asks for.
            palette: (9,), the style's.
            colours: the colour map from the photo's palette to it, M and t.
            cells: (n, 12, h, w) uint8, windows of the photo with ``BORDER`` pixels around them, see ``to_cells``; the
                torch engine takes uint16, too, and gives back what it takes.
            origins: where the windows' upper left pixels lie in the photo.

        Returns:
            the windows, painted, without what is around them, and what paints the rest of the photo.
        """
