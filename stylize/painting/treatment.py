"""Treatment: what is done to every photo, in a form that can be sent to other processes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stylize import __version__
from stylize.errors import InputError, UsageError, near_name, shown
from stylize.extras import require_torch
from stylize.images.formats import format_of, suffix_of, written_format
from stylize.images.reading import Picture, read_photo
from stylize.images.xmp import as_painted
from stylize.options import ImageOptions, NetworkOptions
from stylize.painting.look import Frozen, Layers, Look, check_depth, freeze, paint, read_layers
from stylize.painting.recipe import Recipe, command_line, recipe_of, with_recipe, without_recipe, words_of
from stylize.styles.arguments import ALPHA, StyleArgument, parse_style, title_of

if TYPE_CHECKING:
    from stylize.painting.steady import Steady
    from stylize.painting.stylizer import Stylizer


@dataclass(frozen=True)
class Treatment:
    """A style, or several together, and how it is painted and written.

    Attributes:
        styles: what was asked for, to be told in the recipes.
        layers: the codes that it means.
        model_hash: of the model that the codes belong to.
        networks: what was asked for, to be told in the recipes; pictures of other engines, and of torch with other
            numbers of threads, differ by rounding.
        format: of the pictures, if it is not each photo's own.
        tile: side of the tiles in pixels; the result does not depend on it.
        recipe: whether pictures tell how they were made.
        frames: of a sequence, some of its frames: what is measured on them together holds for all.
        steady: of a sequence, whether its frames are painted one after the other, along their motion.
    """

    styles: tuple[StyleArgument, ...]
    layers: Layers
    look: Look
    options: ImageOptions
    model_hash: str
    networks: NetworkOptions
    format: str | None = None
    tile: int | None = None
    recipe: bool = True
    frames: tuple[Path, ...] = ()
    steady: bool = False

    def apply(
        self,
        stylizer: Stylizer,
        picture: Picture,
        photo: Path,
        *,
        target: Path | None = None,
        frozen: Callable[[], Frozen | None] = lambda: None,
        steady: Callable[[], Steady | None] = lambda: None,
    ) -> Picture:
        """The painted picture; its XMP data say by which recipe, and that a network painted it.

        Args:
            photo: its path, by which recipe and masks name it.
            target: where it will be written, if that decides about its format.
            frozen: gives what is common to the sequence that it is a frame of, see ``freeze``.
            steady: gives what paints its frames along their motion, in their order.

        Raises:
            InputError: it has 16 bits, and torch is not installed.
            StylizeError: as ``stylize.painting.look.paint``.
        """
        check_depth(picture.pixels, self.look, "<stdin>" if str(photo) == "-" else str(photo))
        if recipe_of(picture.xmp):
            picture = replace(picture, warnings=(*picture.warnings, "was painted by stylize already"))
        pixels = paint(
            stylizer, picture, self.layers, self.look,
            photo=str(photo), max_pixels=self.options.max_pixels, tile=self.tile,
            frozen=frozen(), steady=steady(),
        )  # fmt: skip
        xmp = without_recipe(picture.xmp)
        if not np.array_equal(pixels, picture.pixels):
            xmp = as_painted(xmp)
        if self.recipe:
            xmp = with_recipe(xmp, self._own_recipe(picture, photo, target))
        return replace(picture, pixels=pixels, xmp=xmp)

    def _own_recipe(self, picture: Picture, photo: Path, target: Path | None) -> Recipe:
        """How the picture of a photo is made again; ``transfer`` and ``batch`` write the same."""
        usual = written_format(picture.format)
        format = self.format or (usual if target is None else format_of(target))
        command = command_line(
            photo.name,
            [str(style) for style in self.styles],
            words_of(self.look),
            networks=self.networks,
            format=None if format == usual else suffix_of(format).removeprefix("."),
            options=self.options,
        )
        if self.frames:  # only its whole folder makes a frame again
            folder = os.path.basename(os.path.dirname(os.path.abspath(photo)))
            command = ("stylize", "batch", folder, "--sequence", *command[3:], "--output", f"{folder}-stylised")
        return Recipe(command, __version__, self.model_hash, self._codes)

    @cached_property
    def _codes(self) -> tuple[str, ...]:
        return tuple(code.content_hash(fine=self.look.paints_finely) for code in self.layers.values())

    def freeze(self, stylizer: Stylizer) -> Frozen | None:
        """What the frames have in common; None if the photos are no frames.

        Raises:
            InputError: none can be read, or they differ in depth.
        """
        if not self.frames:
            return None
        samples: dict[Path, Picture] = {}
        failures = []
        for frame in self.frames:
            try:
                samples[frame] = read_photo(frame, self.options)
            except InputError as error:  # it fails by name when its turn comes
                failures.append(error)
        if not samples:
            raise failures[0]
        depths = {8 * picture.pixels.itemsize: frame for frame, picture in samples.items()}
        if len(depths) > 1:
            examples = " and ".join(f"{shown(frame)} has {depth} bits" for depth, frame in sorted(depths.items()))
            raise InputError(f"the frames of a sequence differ in depth: {examples}", hint="`bit_depth` 8")
        return freeze(stylizer, list(samples.values()), self.layers, self.look, tile=self.tile)


def read_treatment(
    stylizer: Stylizer,
    styles: Sequence[StyleArgument],
    look: Look,
    options: ImageOptions,
    *,
    format: str | None = None,
    tile: int | None = None,
    recipe: bool = True,
    frames: tuple[Path, ...] = (),
    steady: bool = False,
    on_warning: Callable[[str], None] = lambda message: None,
) -> Treatment:
    """The treatment that is asked for, its styles read. Raises as ``stylize.styles.arguments.read_style``."""
    return Treatment(
        styles=tuple(styles),
        layers=read_layers(
            stylizer,
            styles,
            title_of(styles),
            options=options,
            on_warning=on_warning,
            fine=look.paints_finely,
        ),
        look=look,
        options=options,
        model_hash=stylizer.engine.hash,
        networks=stylizer.asked,
        format=format,
        tile=tile,
        recipe=recipe,
        frames=frames,
        steady=steady,
    )


def parse_styles(styles: Iterable[str | os.PathLike[str] | StyleArgument], look: Look) -> list[StyleArgument]:
    """What ``--style`` says, read, and checked together with the look.

    Raises:
        StylizeError: as ``parse_style``, ``check_masks`` and ``check_effort``.
    """
    parsed = [style if isinstance(style, StyleArgument) else parse_style(os.fspath(style)) for style in styles]
    check_masks(parsed, look)
    check_effort(look)
    return parsed


def refuse_fine_frames(look: Look) -> None:
    """Refuse to paint frames finely, each for itself. Raises UsageError."""
    if look.effort == "fine":
        raise UsageError("`effort` fine flickers from frame to frame", hint="`effort` fast")


def check_effort(look: Look) -> None:
    """Refuse before the work an effort that needs what is not installed. Raises UsageError."""
    if look.paints_finely:
        require_torch("`effort` fine", instead="`effort` fast")


def check_masks(styles: Sequence[StyleArgument], look: Look) -> None:
    """Refuse before the work what no photo could be painted with.

    Raises:
        UsageError: edges of masks are to be softened, and there is no mask.
        InputError: a mask is missing.
    """
    if look.feather and look.mask is None and all(style.mask is None for style in styles):
        raise UsageError("`feather` needs a mask", hint="`mask` FILE")
    for path in masks_of(styles, look):
        if not os.path.exists(path):  # unlike its namesake in pathlib, says no where one may not look
            swapped = str(path) != look.mask and re.fullmatch(r"(.+):([0-9.]+)", str(path))  # STYLE@MASK:WEIGHT
            hint = "the weight comes first: STYLE:WEIGHT@MASK" if swapped else near_name(path)
            raise InputError(f"cannot read the mask {shown(path)}: no such file", hint=hint)


def masks_of(styles: Sequence[StyleArgument], look: Look) -> list[Path]:
    """The mask files and folders that were named."""
    return [Path(mask) for mask in (look.mask, *(style.mask for style in styles)) if mask not in (None, ALPHA)]


def inputs_of(styles: Sequence[StyleArgument], look: Look) -> list[Path]:
    """Styles and masks, files and folders: what no output may take the place of."""
    return [*(style.source for style in styles), *masks_of(styles, look)]
