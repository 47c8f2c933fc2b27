"""Treatment: what is done to every photo, in a form that can be sent to other processes and recognised later.

Two treatments with equal fingerprints make equal pictures of a photo, up to the rounding of the engines: that is how a
batch knows what it need not do again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from stylize import __version__
from stylize.batch.manifest import hash_file
from stylize.errors import InputError, shown
from stylize.images.formats import format_of, suffix_of, written_format
from stylize.images.reading import Picture, read_photo
from stylize.options import ImageOptions
from stylize.painting.look import Frozen, Layers, Look, check_depth, freeze, paint
from stylize.painting.masks import mask_of_photo
from stylize.painting.recipe import Recipe, command_line, recipe_of, with_recipe, without_recipe
from stylize.styles.arguments import ALPHA, StyleArgument

if TYPE_CHECKING:
    from stylize.batch.run import Job
    from stylize.painting.stylizer import Stylizer

REVISION = 5  # to be raised whenever the same model, style and options give other pixels
_REFUSALS = {"max_pixels", "allow_truncated"}  # options that decide which photos are refused, not how they look


@dataclass(frozen=True)
class Treatment:
    """A style, or several together, and how it is painted and written.

    Attributes:
        styles: what was asked for, to be told in the recipes.
        layers: the codes that it means.
        model_hash: of the model that the codes belong to.
        model: its file, if it is not the default one.
        engine: the one that was asked for, to be told in the recipes; those of others differ by rounding.
        format: of the pictures, if it is not each photo's own.
        tile: side of the tiles in pixels; the result does not depend on it.
        recipe: whether pictures tell how they were made.
        frames: of a sequence, some of its frames: what is measured on them together holds for all.
    """

    styles: tuple[StyleArgument, ...]
    layers: Layers
    look: Look
    options: ImageOptions
    model_hash: str
    model: Path | None = None
    engine: str = "auto"
    format: str | None = None
    tile: int | None = None
    recipe: bool = True
    frames: tuple[Path, ...] = ()

    def apply(
        self,
        stylizer: Stylizer,
        picture: Picture,
        photo: Path,
        *,
        target: Path | None = None,
        frozen: Frozen | None = None,
    ) -> Picture:
        """The painted picture, its recipe in its XMP data.

        Args:
            photo: its path, by which recipe and masks name it.
            target: where it will be written, if that decides about its format.
            frozen: of the sequence that it is a frame of, see ``freeze``.

        Raises:
            as ``stylize.painting.look.paint``.
        """
        if recipe_of(picture.xmp):
            picture = replace(picture, warnings=(*picture.warnings, "was painted by stylize already"))
        pixels = paint(
            stylizer, picture, self.layers, self.look,
            photo=str(photo), max_pixels=self.options.max_pixels, tile=self.tile, frozen=frozen,
        )  # fmt: skip
        if not self.recipe:
            return replace(picture, pixels=pixels, xmp=without_recipe(picture.xmp))
        return replace(picture, pixels=pixels, xmp=with_recipe(picture.xmp, self._own_recipe(picture, photo, target)))

    def _own_recipe(self, picture: Picture, photo: Path, target: Path | None) -> Recipe:
        """How the picture of a photo is made again; ``transfer`` and ``batch`` write the same."""
        usual = written_format(picture.format)
        format = self.format or (usual if target is None else format_of(target))
        command = command_line(
            photo.name,
            [str(style) for style in self.styles],
            self.look.options(),
            model=None if self.model is None else self.model.name,
            engine=self.engine,
            format=None if format == usual else suffix_of(format).removeprefix("."),
            options=self.options,
        )
        if self.frames:  # only its whole folder makes a frame again
            folder = os.path.basename(os.path.dirname(os.path.abspath(photo)))
            command = ("stylize", "batch", folder, "--sequence", *command[3:], "--output", f"{folder}-stylised")
        codes = tuple(code.content_hash() for code in self.layers.values())
        return Recipe(command, __version__, self.model_hash, codes)

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
            raise InputError(f"the frames of a sequence differ in depth: {examples}", hint="--bit-depth 8")
        return freeze(stylizer, list(samples.values()), self.layers, self.look, tile=self.tile)

    def fingerprint(self, photo: Path) -> str:
        """SHA-256 of all that decides how a photo's picture looks, save the photo: the mask that belongs to it, too.

        Names and dates of files do not count, nor which engine, device, tiles and threads compute it, nor which
        photos are refused.

        Raises:
            InputError: it has no mask.
            OSError: its mask cannot be read.
        """
        own = [hash_file(mask_of_photo(folder, str(photo))) for folder in self._mask_folders]
        return hashlib.sha256("\n".join([self._common, *own]).encode()).hexdigest() if own else self._common

    @property
    def _masks(self) -> list[str]:
        return [mask for mask in (self.look.mask, *self.layers) if mask not in (None, ALPHA)]

    @cached_property
    def _mask_folders(self) -> list[Path]:
        return [Path(mask) for mask in self._masks if os.path.isdir(mask)]

    @cached_property
    def _common(self) -> str:
        def content(mask: str | None) -> str | None:
            if mask in (None, ALPHA):
                return mask
            return "folder" if os.path.isdir(mask) else hash_file(Path(mask))

        facts = {
            "revision": REVISION,
            "model": self.model_hash,
            "styles": [(content(mask), code.content_hash()) for mask, code in self.layers.items()],
            "look": asdict(self.look) | {"mask": content(self.look.mask)},
            "options": {name: value for name, value in asdict(self.options).items() if name not in _REFUSALS},
            "recipe": self.recipe,
        }
        if self.frames:
            facts["frames"] = [_hash_or_nothing(frame) for frame in self.frames]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def by_job(treatments: Mapping[str, Treatment], stylizer: Stylizer) -> Callable[[Picture, Job], Picture]:
    """What paints the pictures of a batch, each in its job's treatment.

    What the frames of a sequence have in common is measured when the first one comes.
    """

    @cache
    def frozen(style: str) -> Frozen | None:
        return treatments[style].freeze(stylizer)

    def stylise(picture: Picture, job: Job) -> Picture:
        treatment = treatments[job.style]
        check_depth(picture.pixels, treatment.look, str(job.photo))
        return treatment.apply(stylizer, picture, job.photo, frozen=frozen(job.style))

    return stylise


def _hash_or_nothing(frame: Path) -> str:
    """The hash of a frame; empty for one that cannot be read, without which the others are measured."""
    try:
        return hash_file(frame)
    except OSError:
        return ""
