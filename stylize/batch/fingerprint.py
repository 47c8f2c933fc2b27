"""Fingerprints: by them a batch knows what it need not do again.

Two treatments with equal fingerprints make equal pictures of a photo, up to the rounding of the engines.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stylize.files.hashing import hash_file
from stylize.options import fields_of
from stylize.painting.masks import mask_of_photo
from stylize.painting.treatment import Treatment
from stylize.styles.arguments import ALPHA

REVISION = 5  # to be raised whenever the same model, style and options give other pixels


@dataclass(frozen=True)
class Fingerprints:
    """The fingerprints of photos that get one treatment."""

    treatment: Treatment

    def of(self, photo: Path) -> str:
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
        return [mask for mask in (self.treatment.look.mask, *self.treatment.layers) if mask not in (None, ALPHA)]

    @cached_property
    def _mask_folders(self) -> list[Path]:
        return [Path(mask) for mask in self._masks if os.path.isdir(mask)]

    @cached_property
    def _common(self) -> str:
        def content(mask: str | None) -> str | None:
            if mask in (None, ALPHA):
                return mask
            return "folder" if os.path.isdir(mask) else hash_file(Path(mask))

        look, fine = _facts(self.treatment.look), self.treatment.look.paints_finely
        if self.treatment.look.effort == "fast":
            del look["effort"]  # so it was before there was another
        facts = {
            "revision": REVISION,
            "model": self.treatment.model_hash,
            "styles": [(content(mask), code.content_hash(fine=fine)) for mask, code in self.treatment.layers.items()],
            "look": look | {"mask": content(self.treatment.look.mask)},
            "options": _facts(self.treatment.options) | {"times": False},  # which once counted
            "recipe": self.treatment.recipe,
        }
        if self.treatment.frames:
            facts["steady"] = self.treatment.steady
            facts["frames"] = [_hash_or_nothing(frame) for frame in self.treatment.frames]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _facts(options: Any) -> dict[str, Any]:
    """The options of a dataclass by which pictures are outdated."""
    fields = (field for field in fields_of(options.__class__) if field.option and field.option.in_fingerprint)
    return {field.name: getattr(options, field.name) for field in fields}


def _hash_or_nothing(frame: Path) -> str:
    """The hash of a frame; empty for one that cannot be read, without which the others are measured."""
    try:
        return hash_file(frame)
    except OSError:
        return ""
