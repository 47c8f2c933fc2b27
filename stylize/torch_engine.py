"""The engine that computes with torch: on GPUs, for models of any size, and fastest for large photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stylize.checkpoint import load_model
from stylize.colours import Floats
from stylize.device import free_memory, keep_freed_memory, memory_errors, pick_device, pick_precision
from stylize.generator import FoldedGenerator, recolour
from stylize.images import Pixels
from stylize.layers import Position


class TorchEngine:
    """See ``stylize.transfer.Engine``.

    Raises:
        InputError, RefusedError: the model is missing or no model.
        DeviceError: the device is missing.
    """

    name = "torch"
    bytes_per_pixel = 120  # measured; 90 in bf16

    def __init__(self, model: Path, device: str = "auto", threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        keep_freed_memory()
        self.device = pick_device(device)
        self.precision = pick_precision(self.device)
        self.model = load_model(model, self.device)
        self.best_tile = 1024 if self.on_cpu else 2048
        self.hash, self.code_size = self.model.hash, self.model.sizes.code

    def __str__(self) -> str:
        return f"{self.device}, torch, {str(self.precision).removeprefix('torch.')}"

    @property
    def on_cpu(self) -> bool:
        """Whether there is no other device to fall back to."""
        return self.device.type == "cpu"

    def free_memory(self) -> int | None:
        """Bytes that are left on the device, if that is known."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        return free_memory()

    @torch.inference_mode()
    def encode(self, picture: Pixels) -> Floats:
        """The code (Z,) of a picture (H, W, 3)."""
        with memory_errors():
            images = torch.from_numpy(np.array(picture)).to(self.device).permute(2, 0, 1)[None].float() / 255
            code, _ = self.model.encoder(images)
            return code[0].cpu().numpy()

    @torch.inference_mode()
    def measure(
        self, code: Floats, colours: tuple[Floats, Floats], cells: Pixels, origins: Sequence[Position]
    ) -> tuple[Pixels, TorchPainter]:
        """Paint windows of a photo and freeze its statistics."""
        generator = self.model.generator
        with memory_errors():
            matrix, offset = (torch.from_numpy(t).to(self.device) for t in colours)
            mixed = generator.mixed(generator.modulations(torch.from_numpy(code).to(self.device)[None]))
            canvas = recolour(torch.from_numpy(cells).to(self.device), matrix, offset)
            folded, painted = generator.fold(canvas, mixed, origins)
            return _to_bytes(painted), TorchPainter(folded, self.precision, (matrix, offset))


class TorchPainter:
    """The folded generator over tiles, in the fastest precision that gives finite numbers."""

    def __init__(self, folded: FoldedGenerator, precision: torch.dtype, colours: tuple[Tensor, Tensor]) -> None:
        self.exact, self.fast, self.colours = folded, folded.to(precision), colours

    @torch.inference_mode()
    def __call__(self, cells: Pixels, origin: Position) -> Pixels:
        """Paint one tile."""
        with memory_errors():
            canvas = recolour(torch.from_numpy(cells).to(self.colours[0].device), *self.colours)
            try:
                return _to_bytes(self.fast(canvas, [origin]))
            except FloatingPointError:  # half precision overflowed
                return _to_bytes(self.exact(canvas, [origin]))


def _to_bytes(painted: Tensor) -> Pixels:
    """(B, 12, h, w) in [0, 1] -> bytes. Raises FloatingPointError for NaN."""
    if not torch.isfinite(painted.sum()):  # cheaper than to look at each
        raise FloatingPointError
    return (painted * 255).round_().to(torch.uint8).cpu().numpy()
