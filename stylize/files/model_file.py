"""Model files as data: sizes, tensors, and the hash that is a model's identity.

``stylize.networks.model`` makes networks of them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stylize.errors import shown
from stylize.files import tensors as tensor_file
from stylize.options import ModelSizes

FORMAT = 2  # of models and checkpoints; in 1, E saw the borders of its maps, too, and codes had one length
PERCEPTUAL_FORMAT = 1
MAX_MODEL_BYTES = 256 << 20
MAX_CHECKPOINT_BYTES = 4 << 30  # of a training run's state: networks, averages and optimisers in single precision


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model, read and checked, but not against its sizes."""

    sizes: ModelSizes
    tensors: tensor_file.Tensors
    hash: str


def read_model(path: str | os.PathLike[str]) -> ModelFile:
    """Read a model file.

    Raises:
        InputError: the file is missing.
        RefusedError: it is not a stylize model, or is damaged.
    """
    path = Path(path)
    what = f"model {shown(path.name)}"
    tensors, metadata = tensor_file.read(path, "model", max_bytes=MAX_MODEL_BYTES)
    tensor_file.check_kind(metadata, "model", FORMAT, what)
    try:
        sizes = ModelSizes(
            code=_number(metadata["sizes.code"]),
            widths=widths_of(metadata["sizes.widths"], 4),
            bank=_number(metadata["sizes.bank"]),
            perceptual=widths_of(metadata["sizes.perceptual"], 5),
            hidden=_number(metadata["sizes.hidden"]),
        )
    except (KeyError, ValueError) as error:
        raise tensor_file.malformed(f"{what} does not say the sizes of its networks") from error
    digest = tensor_file.content_hash(tensors)
    if metadata.get("stylize.sha256", digest) != digest:
        raise tensor_file.malformed(f"{what} is damaged: its numbers do not have the hash that it states")
    return ModelFile(sizes, tensors, digest)


def widths_of(text: str, count: int) -> tuple[int, ...]:
    """``16 48 96 128`` -> numbers. Raises ValueError unless there are ``count`` sizes that a network can have."""
    values = tuple(_number(word) for word in text.split())
    if len(values) != count:
        raise ValueError(text)
    return values


def _number(text: str) -> int:
    """A size that a network can have; a hostile header must not make us reserve memory."""
    value = int(text)
    if not 1 <= value <= 4096:
        raise ValueError(text)
    return value
