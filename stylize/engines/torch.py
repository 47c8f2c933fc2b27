"""The engine that computes with torch: on GPUs, for models of any size, and fastest for large photos."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylize.engines.device import free_memory, keep_freed_memory, memory_errors, pick_device, pick_precision
from stylize.images.palette import Floats
from stylize.images.reading import Pixels
from stylize.networks.generator import FoldedGenerator, extend, recolour
from stylize.networks.model import load_model
from stylize.networks.plan import Margins, Position
from stylize.styles.style_code import Refinement


class TorchEngine:
    """See ``stylize.engines.protocol.Engine``.

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
        self.hash, self.sizes = self.model.hash, self.model.sizes

    def __str__(self) -> str:
        gpu = f" ({torch.cuda.get_device_name(self.device)})" if self.device.type == "cuda" else ""
        return f"{self.device}{gpu}, torch, {str(self.precision).removeprefix('torch.')}"

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
    def encode(self, picture: Pixels) -> tuple[Floats, Floats]:
        """The code (Z,) of a picture (H, W, 3), and E's standardised statistics (D,) of it."""
        with memory_errors():
            images = torch.from_numpy(np.array(picture)).to(self.device).permute(2, 0, 1)[None].float() / 255
            code, known = self.model.encoder.encode(images)
            return code[0].cpu().numpy(), known[0].cpu().numpy()

    def prepare(self, code: Floats, refinement: Refinement) -> None:
        """Nothing: mixing a style takes no time beside a photo."""

    @torch.inference_mode()
    def measure(
        self,
        code: Floats,
        refinement: Refinement,
        palette: Floats,
        colours: tuple[Floats, Floats],
        cells: Pixels,
        origins: Sequence[Position],
    ) -> tuple[Pixels, TorchPainter]:
        """Paint windows of a photo and freeze its statistics."""
        generator = self.model.generator
        with memory_errors():
            matrix, offset = (torch.from_numpy(t).to(self.device) for t in colours)
            modulations = generator.modulations(torch.from_numpy(code).to(self.device)[None])
            mixed = generator.mixed(extend(modulations, refinement))
            canvas = recolour(torch.from_numpy(cells).to(self.device), matrix, offset)
            folded, painted = generator.fold(canvas, mixed, torch.from_numpy(palette).to(self.device)[None], origins)
            return _to_steps(painted, cells.dtype), TorchPainter(folded, self.precision, (matrix, offset))


class TorchPainter:
    """The folded generator over tiles, in the fastest precision that gives finite numbers."""

    def __init__(self, folded: FoldedGenerator, precision: torch.dtype, colours: tuple[Tensor, Tensor]) -> None:
        self.exact, self.fast, self.colours = folded, folded.to(precision), colours

    @torch.inference_mode()
    def __call__(self, cells: Pixels, origin: Position, margins: Margins) -> Pixels:
        """Paint one tile."""
        with memory_errors():
            canvas = recolour(torch.from_numpy(cells).to(self.colours[0].device), *self.colours)
            if cells.dtype == np.uint8:  # the steps of half precision are wider than those of 16-bit pixels
                with suppress(FloatingPointError):  # half precision overflowed
                    return _to_steps(self.fast(canvas, [origin], margins), cells.dtype)
            return _to_steps(self.exact(canvas, [origin], margins), cells.dtype)


def _to_steps(painted: Tensor, dtype: np.dtype[Any]) -> Pixels:
    """(B, 12, h, w) in [0, 1] -> uint8 or uint16. Raises FloatingPointError for NaN."""
    if not torch.isfinite(painted.sum()):  # cheaper than to look at each
        raise FloatingPointError
    steps = torch.uint8 if dtype == np.uint8 else torch.int32
    return (painted * np.iinfo(dtype).max).round_().to(steps).cpu().numpy().astype(dtype, copy=False)
