"""Painting: a photo, in the styles and the way that the options ask for -> pixels.

``Stylizer.paint`` paints one photo in one style. Here is what people ask for on top of it; ``stylize transfer``,
``batch`` and ``preview`` all go through ``paint``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from stylize.errors import InputError, shown
from stylize.extras import require_torch
from stylize.images.reading import Picture, Pixels, fill_transparent
from stylize.options import DEFAULT_MAX_PIXELS, ImageOptions, Look
from stylize.painting.masks import composite, feathered, read_mask
from stylize.painting.stroke_scale import Transfer, at_stroke_scale, auto_scale, frozen_passes
from stylize.styles.arguments import StyleArgument, by_mask, read_style

if TYPE_CHECKING:
    from stylize.painting.steady import Steady
    from stylize.painting.stylizer import Stylizer
    from stylize.styles.style_code import StyleCode

__all__ = ["Frozen", "Layers", "Look", "Transfer", "check_depth", "freeze", "paint", "read_layers", "stroke_scale"]

Layers = Mapping[str | None, "StyleCode"]  # mask -> the style painted there; None: everywhere


def stroke_scale(look: Look, photo: Pixels) -> float:
    """The width of the strokes on a photo."""
    return auto_scale(photo) if look.style_scale is None else look.style_scale


def read_layers(
    stylizer: Stylizer,
    arguments: Sequence[StyleArgument],
    title: str,
    *,
    options: ImageOptions,
    on_warning: Callable[[str], None],
    fine: bool = False,
) -> Layers:
    """The styles that the arguments ask for, one for each mask. Raises as ``read_style``.

    Args:
        fine: they are to be painted finely, too.
    """
    return {
        mask: read_style(stylizer, group, title, options=options, on_warning=on_warning, fine=fine)
        for mask, group in by_mask(arguments).items()
    }


@dataclass(frozen=True)
class Frozen:
    """What the frames of a sequence have in common.

    Attributes:
        scale: width of the strokes.
        passes: by mask, what paints a frame: ``paint`` and ``again`` of ``at_stroke_scale``.
    """

    scale: float
    passes: Mapping[str | None, tuple[Transfer, Transfer | None]]

    @property
    def painters(self) -> Mapping[str | None, Transfer]:
        """By mask, what paints a frame."""
        if self.scale == 1:  # these can also be told where in the scene a picture lies
            return {source: paint for source, (paint, _) in self.passes.items()}
        return {source: partial(_at_scale, scale=self.scale, passes=both) for source, both in self.passes.items()}

    def steady(self) -> Steady:
        """What paints the frames one after the other, along their motion; needs the extra ``video``."""
        from stylize.painting.steady import Steady

        return Steady(self.painters, in_place=self.scale == 1)


def _at_scale(frame: Pixels, scale: float, passes: tuple[Transfer, Transfer | None]) -> Pixels:
    return at_stroke_scale(frame, scale, *passes)


def freeze(
    stylizer: Stylizer, samples: Sequence[Picture], layers: Layers, look: Look, *, tile: int | None = None
) -> Frozen:
    """Decide once, for all frames of a scene, what would change from photo to photo; see ``Stylizer.freeze``.

    Args:
        samples: some of the frames.
    """
    frames = [fill_transparent(sample.pixels, sample.alpha) for sample in samples]
    scale = stroke_scale(look, frames[0])
    passes = {}
    for source, style in layers.items():
        passes[source] = frozen_passes(frames, scale, partial(stylizer.freeze, style=style, look=look, tile=tile))
    return Frozen(scale, passes)


def check_depth(photo: Pixels, look: Look, name: str) -> None:
    """Refuse a photo of 16 bits, (H, W, 3) uint16, where torch, which paints them, is not installed.

    Raises:
        InputError: with the name of the photo.
    """
    if photo.dtype == np.uint16 and look.strength > 0:  # at 0 nothing is painted
        what = f"painting the 16 bits a channel of {shown(name)}"
        require_torch(what, instead="`bit_depth` 8", error=InputError)


def paint(
    stylizer: Stylizer,
    picture: Picture,
    layers: Layers,
    look: Look,
    *,
    photo: str | os.PathLike[str] = "",
    max_pixels: int = DEFAULT_MAX_PIXELS,
    tile: int | None = None,
    frozen: Frozen | None = None,
    steady: Steady | None = None,
    mask: Pixels | None = None,
) -> Pixels:
    """The painted photo, (H, W, 3) of the photo's type.

    The style without a mask is painted first, those with one over it in their order; ``look.mask`` bounds them all.

    Args:
        photo: its path, to find its mask in a folder.
        frozen: of the sequence that it is a frame of, see ``freeze``.
        steady: in its place, what paints the sequence along its motion; it is to see the frames in their order.
        mask: what ``look.mask`` names, (H, W) uint8, where it was read already.

    Raises:
        InputError: a mask cannot be used.
        RefusedError, DeviceError: as ``Stylizer.transfer``.
    """

    def mask_of(source: str) -> Pixels:
        return read_mask(source, picture, photo, max_pixels=max_pixels)

    masks = {source: feathered(mask_of(source), look.feather) for source in layers if source is not None}
    bound = mask if mask is not None or look.mask is None else mask_of(look.mask)
    if bound is not None:
        bound = feathered(255 - bound if look.invert_mask else bound, look.feather)
    visible = fill_transparent(picture.pixels, picture.alpha)  # what lies under transparency must not bleed out
    output = picture.pixels
    if look.strength == 0:
        return output
    carried = steady(visible) if steady else {}
    if bound is not None and not bound.any():
        return output
    for source, style in layers.items():
        if source is not None and not masks[source].any():
            continue
        alone = partial(stylizer.paint, style=style, look=look, tile=tile)
        if source in carried:
            painted = carried[source]
        elif frozen:
            painted = frozen.painters[source](visible)
        elif look.paints_finely:  # with scales of its own
            painted = alone(visible)
        else:
            painted = at_stroke_scale(visible, stroke_scale(look, picture.pixels), alone)
        output = painted if source is None else composite(output, painted, masks[source])
    return output if bound is None else composite(picture.pixels, output, bound)
