"""Models: what a training run leaves and what the package carries, and how they are stored.

A model is the style encoder and the generator, which only make sense together. Both are stored in half precision in
one tensor file with the sizes of the networks in its metadata. The hash over all tensors is the model's identity:
style codes carry it, and a code is refused by any other model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stylize import __version__
from stylize.errors import shown
from stylize.files import tensors as tensor_file
from stylize.files.atomic import write_atomically
from stylize.files.model_file import (
    FORMAT,
    MAX_MODEL_BYTES,
    PERCEPTUAL_FORMAT,
    read_model,
    widths_of,
)
from stylize.networks.encoder import StyleEncoder
from stylize.networks.generator import Generator
from stylize.networks.perceptual import PerceptualNetwork
from stylize.options import ModelSizes


class Model(nn.Module):
    """E and G, and the hash that binds style codes to them."""

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.encoder = StyleEncoder(sizes.code, PerceptualNetwork(sizes.perceptual), sizes.hidden)
        self.generator = Generator(sizes.code, sizes.widths, sizes.bank)
        self.hash = ""


def save_model(model: Model, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> str:
    """Write a model in half precision; returns its hash."""
    tensors = _to_half(model.state_dict())
    digest = tensor_file.content_hash(tensors)
    sizes = model.sizes
    header = {
        **(metadata or {}),
        "stylize.format": str(FORMAT),
        "stylize.kind": "model",
        "stylize.version": __version__,
        "stylize.sha256": digest,
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stylize-v1",
        "modelspec.implementation": "stylize",
        "modelspec.title": (metadata or {}).get("modelspec.title", Path(path).stem),
        "sizes.code": str(sizes.code),
        "sizes.widths": _numbers(sizes.widths),
        "sizes.bank": str(sizes.bank),
        "sizes.perceptual": _numbers(sizes.perceptual),
        "sizes.hidden": str(sizes.hidden),
    }
    write_atomically(path, tensor_file.to_bytes(tensors, header), overwrite=True)
    return digest


def load_model(path: str | os.PathLike[str], device: torch.device | None = None) -> Model:
    """Read a model, in fp32, ready for inference.

    Raises:
        InputError: the file is missing.
        RefusedError: it is not a stylize model, or is damaged.
    """
    file = read_model(path)
    with torch.device("meta"):  # no memory, no initialisation: the file's tensors take their place
        model = Model(file.sizes)
    load_tensors(model, file.tensors, f"model {shown(Path(path).name)}")
    model.hash = file.hash
    return model.to(device or "cpu").eval().requires_grad_(False)


def save_perceptual(network: PerceptualNetwork, path: str | os.PathLike[str]) -> None:
    """Write φ in half precision."""
    metadata = {
        "stylize.format": str(PERCEPTUAL_FORMAT),
        "stylize.kind": "perceptual",
        "sizes.widths": _numbers(network.widths),
    }
    write_atomically(path, tensor_file.to_bytes(_to_half(network.state_dict()), metadata), overwrite=True)


def load_perceptual(path: str | os.PathLike[str]) -> PerceptualNetwork:
    """Read φ, in fp32. Raises as ``load_model``."""
    what = f"perceptual network {shown(Path(path).name)}"
    tensors, metadata = tensor_file.read(path, "perceptual network", max_bytes=MAX_MODEL_BYTES)
    tensor_file.check_kind(metadata, "perceptual", PERCEPTUAL_FORMAT, what)
    try:
        network = PerceptualNetwork(widths_of(metadata["sizes.widths"], 5))
    except (KeyError, ValueError) as error:
        raise tensor_file.malformed(f"{what} does not say its widths") from error
    load_tensors(network, tensors, what)
    return network.eval().requires_grad_(False)


def load_tensors(module: nn.Module, tensors: tensor_file.Tensors, what: str) -> None:
    """Give a module the tensors of a file, in fp32. Raises as ``check_tensors``."""
    check_tensors(module, tensors, what)
    state: dict[str, Tensor] = {k: torch.from_numpy(v.astype(np.float32)) for k, v in tensors.items()}
    module.load_state_dict(state, assign=True)


def check_tensors(module: nn.Module, tensors: tensor_file.Tensors, what: str) -> None:
    """Names and shapes must be exactly those of the module, types half or single precision.

    Raises:
        RefusedError: they are not.
    """
    wanted = module.state_dict()
    floats = all(tensor.dtype in (np.float16, np.float32) for tensor in tensors.values())
    if not floats or set(tensors) != set(wanted) or any(tensors[k].shape != tuple(wanted[k].shape) for k in wanted):
        raise tensor_file.malformed(f"{what} holds other tensors than its header promises")


def _to_half(state: Mapping[str, Tensor]) -> tensor_file.Tensors:
    return {name: tensor.detach().cpu().half().numpy() for name, tensor in state.items()}


def _numbers(values: tuple[int, ...]) -> str:
    return " ".join(map(str, values))
