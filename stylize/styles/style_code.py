"""Style codes: a personal style as a small file that outlives the pictures it came from.

A file holds two tensors, ``code`` and ``palette``, those of a refinement and of the moments for fine painting if there
are any, and string metadata after the Stability AI model metadata standard (modelspec) 1.0.1: title, hash, thumbnail,
and which model the code belongs to. It never holds the paths or the EXIF of its pictures. Equal pictures give equal
bytes. Files come from strangers: every field is checked when one is read.
"""

from __future__ import annotations

import base64
import io
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from stylize import __version__
from stylize.errors import OutputError, RefusedError, UsageError, shown
from stylize.files import tensors as tensor_file
from stylize.files.atomic import write_atomically
from stylize.images.palette import PALETTE, covariance_of
from stylize.images.reading import Pixels
from stylize.styles import moments as style_moments
from stylize.styles.moments import Moments

FORMAT = 1
MAX_CODE_BYTES = 8 << 20  # a refined style has 0.2 MB, moments 0.8; a mixture has the sum of its refinements
THUMBNAIL_SIDE = 128  # pixels
REFINED = "refine."  # prefix of the tensors of a refinement
FACTORS = (".left", ".right")  # ends of the names of matrices among them; the others are vectors
_MOST_TEXT = 4096  # characters of a metadata field that are kept
_REFINED_NAME = re.compile(r"[a-z0-9_]{1,40}\.(mix|scale|shift|left|right)")

# What a refined style adds to the modulations of its code, float32, by the names of ``stylize.styles.refinement``.
# Empty for a plain code.
Refinement = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class StyleCode:
    """A style, for one model.

    Attributes:
        code: (Z,) float32.
        palette: (9,) float32, see ``stylize.networks.colour_transfer``.
        model_hash: SHA-256 of the model that made it, the only one that understands it.
        title: what people call it.
        images: number of pictures it was learnt from.
        thumbnail: a small JPEG of them, or None.
        refinement: what was learnt on top of the code.
        moments: what fine painting needs, see ``stylize.styles.moments``; empty: it cannot be painted finely.
        merged_from: titles and weights of the styles it was mixed from.
    """

    code: np.ndarray
    palette: np.ndarray
    model_hash: str
    title: str = "style"
    images: int = 1
    thumbnail: bytes | None = None
    refinement: Refinement = field(default_factory=dict)
    moments: Moments = field(default_factory=dict)
    merged_from: str = ""

    def tensors(self) -> tensor_file.Tensors:
        """The numbers of the style, by the names that they have in its file."""
        moments = {style_moments.PREFIX + name: values for name, values in self.moments.items()}
        return self._fast() | moments

    def content_hash(self, *, fine: bool = False) -> str:
        """SHA-256 of its numbers: the style's identity, whatever its title.

        Args:
            fine: those of its moments, too, which do not matter but for fine painting.
        """
        return tensor_file.content_hash(self.tensors() if fine else self._fast())

    def _fast(self) -> tensor_file.Tensors:
        """The numbers that painting in one pass takes."""
        refined = {REFINED + name: values for name, values in self.refinement.items()}
        return {"code": self.code, "palette": self.palette, **refined}

    def require_moments(self, name: str) -> None:
        """Raises RefusedError, with what to call it, for a style that cannot be painted finely."""
        if not self.moments:
            raise RefusedError(
                f"style {name} has no moments, which fine painting needs",
                hint="encode it again from its pictures, with `fine`",
            )

    def to_bytes(self) -> bytes:
        """The file's content; equal codes give equal bytes. The date is written if ``SOURCE_DATE_EPOCH`` gives it."""
        tensors = self.tensors()
        metadata = {
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.architecture": "stylize-v1/style-code",
            "modelspec.implementation": "stylize",
            "modelspec.title": self.title.encode("utf-8", "backslashreplace").decode(),
            "modelspec.tags": "Style",
            "modelspec.hash_sha256": "0x" + tensor_file.content_hash(tensors),
            "stylize.format": str(FORMAT),
            "stylize.kind": "style-code",
            "stylize.version": __version__,
            "stylize.model_sha256": self.model_hash,
            "stylize.images": str(self.images),
        }
        if epoch := os.environ.get("SOURCE_DATE_EPOCH", "").strip():
            try:
                metadata["modelspec.date"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(epoch)))
            except (ValueError, OSError, OverflowError) as error:
                raise UsageError(
                    f"SOURCE_DATE_EPOCH={shown(epoch[:40])} is not a time in seconds",
                    hint="seconds since 1970, as in 1700000000",
                ) from error
        if self.merged_from:
            metadata["modelspec.merged_from"] = self.merged_from.encode("utf-8", "backslashreplace").decode()
        if self.thumbnail:
            metadata["modelspec.thumbnail"] = "data:image/jpeg;base64," + base64.b64encode(self.thumbnail).decode()
        return tensor_file.to_bytes(tensors, metadata)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the file, atomically. Raises OutputError, also for more than ``load`` takes."""
        data = self.to_bytes()
        if len(data) > MAX_CODE_BYTES:
            size = f"{len(data) / 2**20:.0f} MB, more than {MAX_CODE_BYTES >> 20}"
            raise OutputError(f"cannot write {shown(path)}: a style of {size}", hint="mix fewer refined styles")
        write_atomically(path, data, overwrite=overwrite)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> StyleCode:
        """Read and check a file.

        Raises:
            InputError: it is missing or unreadable.
            RefusedError: it is not a well-formed style code.
        """
        path = Path(path)
        what = f"style {shown(path)}"
        tensors, metadata = tensor_file.read(path, "style", max_bytes=MAX_CODE_BYTES)
        tensor_file.check_kind(metadata, "style-code", FORMAT, what)
        refinement = _below(REFINED, tensors)
        moments = _below(style_moments.PREFIX, tensors)
        others = {k: t for k, t in tensors.items() if not k.startswith(style_moments.PREFIX)}
        if (
            set(others) - {REFINED + name for name in refinement} != {"code", "palette"}
            or not all(map(_REFINED_NAME.fullmatch, refinement))
            or any(t.dtype != np.float32 or not t.size for t in others.values())
            or any(t.ndim != (2 if name.endswith(FACTORS) else 1) for name, t in others.items())
        ):
            raise tensor_file.malformed(f"{what} holds other tensors than the 32-bit numbers of a style code")
        if not style_moments.are_well_formed(moments):
            raise tensor_file.malformed(f"{what} does not hold the moments of a style")
        if tensors["palette"].shape != (PALETTE,) or not _is_palette(tensors["palette"]):
            raise tensor_file.malformed(f"{what} does not hold a palette")
        if metadata.get("modelspec.hash_sha256") != "0x" + tensor_file.content_hash(tensors):
            raise tensor_file.malformed(f"{what} is damaged: its numbers do not have the hash that it states")
        model_hash = metadata.get("stylize.model_sha256", "")
        if len(model_hash) != 64 or not set(model_hash) <= set("0123456789abcdef"):
            raise tensor_file.malformed(f"{what} does not say which model it belongs to")
        images = metadata.get("stylize.images", "")
        return StyleCode(
            code=tensors["code"],
            palette=tensors["palette"],
            model_hash=model_hash,
            title=metadata.get("modelspec.title", path.stem)[:_MOST_TEXT],
            images=int(images) if images.isascii() and images.isdigit() and len(images) < 10 else 1,
            thumbnail=_thumbnail_of(metadata.get("modelspec.thumbnail", "")),
            refinement=refinement,
            moments=moments,
            merged_from=metadata.get("modelspec.merged_from", "")[:_MOST_TEXT],
        )


def _below(prefix: str, tensors: tensor_file.Tensors) -> tensor_file.Tensors:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): values for name, values in tensors.items() if name.startswith(prefix)}


def _is_palette(palette: np.ndarray) -> bool:
    """Whether nine numbers can be the mean and covariance of colours in [0, 1]: none can vary by more than ½."""
    if not ((np.abs(palette[:3] - 0.5) <= 0.5).all() and (np.abs(palette[3:]) <= 0.25).all()):
        return False
    return bool(np.linalg.eigvalsh(covariance_of(palette))[0] > -1e-4)  # rounding


def make_thumbnail(pictures: Sequence[Pixels]) -> bytes:
    """A small JPEG: the picture, or the first four of several in a square."""
    if len(pictures) < 4:
        image = Image.fromarray(pictures[0])
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    else:
        half = THUMBNAIL_SIDE // 2
        image = Image.new("RGB", (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        for k, pixels in enumerate(pictures[:4]):
            image.paste(Image.fromarray(pixels).resize((half, half)), (k % 2 * half, k // 2 * half))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _thumbnail_of(uri: str) -> bytes | None:
    """The JPEG bytes of a data URI; undecoded, and None if it is anything else. A thumbnail is no reason to refuse."""
    prefix = "data:image/jpeg;base64,"
    try:
        return base64.b64decode(uri.removeprefix(prefix), validate=True) if uri.startswith(prefix) else None
    except ValueError:
        return None
