"""The plan of G: its layers, and how much of a picture's surroundings each needs. Numbers only, quick to import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stylize.options import ModelSizes

MARGIN = 112  # pixels that a tile needs around it: the receptive field's radius, rounded up to the stride
BORDER = 32  # pixels of its mirror image that a picture gets around it; what lies further out hardly matters
STRIDE = 16  # pixels per position of the coarsest layer: heights and widths must be multiples of it
GRAIN_PERIOD = 512  # pixels after which the grain repeats
GRAIN_BLUR = (0.0, 1.0, 2.5, 6.0)  # deviation of the Gaussian that smooths each of its patterns, in steps of 2 pixels
RANK = 4  # r of what ``stylize.training.refine`` learns: 48,000 numbers, 190 KB

Position = tuple[int, int]  # row and column of a pixel, for placing pictures on the grain


class Margins(NamedTuple):
    """Pixels of surroundings that a tile has on each side: multiples of ``STRIDE``, at least ``BORDER``."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class Layer:
    """One 3×3 convolution of G, followed by AdaIN and ReLU unless said otherwise.

    ``spacing`` is the distance, in pixels of the picture, between neighbouring positions of what it convolves.
    ``enlarge``: that is its input, twice as high and wide by repetition.
    ``margin``: pixels of surroundings in its output that can matter; ``lost``: those that enlargements up to it took
    from its picture; see ``stylize.networks.generator.flow``.
    """

    channels_in: int
    channels_out: int
    spacing: int
    stride: int = 1
    relu: bool = True
    adain: bool = True
    enlarge: bool = False
    margin: int = MARGIN
    lost: int = 0

    def margin_within(self, margin: int) -> int:
        """Pixels of surroundings in its output, in a picture with ``margin`` pixels around it."""
        return min(self.margin, margin - self.lost)


def layers_of(widths: tuple[int, ...]) -> dict[str, Layer]:
    """The convolutions of G by name, in the order in which ``stylize.networks.generator.flow`` runs them.

    Args:
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of the resolution.
    """
    half, quarter, eighth, sixteenth = widths
    return {
        "stem": Layer(12 + len(GRAIN_BLUR), half, 2),
        "down4": Layer(half, quarter, 2, stride=2),
        "down8": Layer(quarter, eighth, 4, stride=2),
        "down16": Layer(eighth, sixteenth, 8, stride=2),
        "block16_0": Layer(sixteenth, sixteenth, 16),
        "block16_1": Layer(sixteenth, sixteenth, 16, relu=False),
        "up8": Layer(sixteenth, eighth, 8, enlarge=True, margin=56, lost=8),
        "block8a_0": Layer(eighth, eighth, 8, margin=56, lost=8),
        "block8a_1": Layer(eighth, eighth, 8, relu=False, margin=56, lost=8),
        "block8b_0": Layer(eighth, eighth, 8, margin=32, lost=8),
        "block8b_1": Layer(eighth, eighth, 8, relu=False, margin=32, lost=8),
        "up4": Layer(eighth, quarter, 4, enlarge=True, margin=12, lost=12),
        "block4_0": Layer(quarter, quarter, 4, margin=12, lost=12),
        "block4_1": Layer(quarter, quarter, 4, relu=False, margin=12, lost=12),
        "up2": Layer(quarter, half, 2, enlarge=True, margin=2, lost=14),
        "out": Layer(half, 12, 2, relu=False, adain=False, margin=0, lost=16),
    }


PLAN = layers_of((1, 1, 1, 1))  # for whoever needs no widths


def refinement_shapes(sizes: ModelSizes, rank: int = RANK) -> dict[str, tuple[int, ...]]:
    """The names of everything that a refinement for a model can add, and their shapes."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer in layers_of(sizes.widths).items():
        shapes[f"{name}.mix"] = (sizes.bank,)
        if layer.adain:
            shapes[f"{name}.scale"] = (layer.channels_out,)
        shapes[f"{name}.shift"] = (layer.channels_out,)
        shapes[f"{name}.left"] = (layer.channels_out, rank)
        shapes[f"{name}.right"] = (rank, 9 * layer.channels_in)
    return shapes


def refinement_fits(refinement: Mapping[str, np.ndarray], sizes: ModelSizes) -> bool:
    """Whether a refinement (``stylize.styles.refinement``) names layers of such a model only, with arrays of their
    shapes; any rank is right."""
    shapes = refinement_shapes(sizes, rank=0)
    for name, values in refinement.items():
        layer, _, part = name.rpartition(".")
        wanted = shapes.get(name)
        if part in ("left", "right"):
            other = refinement.get(f"{layer}.{'right' if part == 'left' else 'left'}")
            if wanted is None or other is None or values.ndim != 2 or other.ndim != 2:
                return False
            axis = 1 if part == "left" else 0
            wanted = tuple(values.shape[k] if k == axis else wanted[k] for k in (0, 1))
            if values.shape[axis] != other.shape[1 - axis]:
                return False
        if values.shape != wanted:
            return False
    return True


WHOLE = 2**63 - 1  # as the end of a slice: nothing is cut


class Cut(NamedTuple):
    """A slice of rows and columns; the ends are counted from the end, or ``WHOLE``."""

    top: int
    bottom: int
    left: int
    right: int


def cuts_of(margins: Sequence[int]) -> dict[str, Cut]:
    """What ``stylize.networks.generator.flow`` cuts from its maps, by the name of the map, in their positions.

    The later a layer, the fewer of the surroundings can matter. The others are cut away on the way, and all are gone
    at the end.

    Args:
        margins: pixels of surroundings at the top, bottom, left and right; multiples of ``STRIDE``, not 0.
    """
    around8 = [min(side, 64) - 8 for side in margins]  # what an enlargement leaves of that
    around4 = [min(side, 16) - 4 for side in around8]
    around2 = [min(side, 4) - 2 for side in around4]

    def cut(spacing: int, have: Sequence[int], want: Sequence[int]) -> Cut:
        top, bottom, left, right = ((max(h - w, 0)) // spacing for h, w in zip(have, want, strict=True))
        return Cut(top, -bottom or WHOLE, left, -right or WHOLE)

    return {
        "block16": cut(16, margins, [64] * 4),
        "eighth": cut(8, margins, around8),
        "block8a": cut(8, around8, [32] * 4),
        "block8b": cut(8, [min(side, 32) for side in around8], [16] * 4),
        "quarter": cut(4, margins, around4),
        "block4": cut(4, around4, [4] * 4),
        "half": cut(2, margins, around2),
        "canvas": cut(2, margins, [0] * 4),
    }


CUTS = tuple(cuts_of([BORDER] * 4))  # their names
