"""Which engine paints a photo, and what is done when memory runs out.

ONNX Runtime starts at once and does processors; torch does GPUs, models of unusual sizes, 16-bit pixels, and large
photos where the processor has bf16. Which one it is depends on a photo's size and depth, not on the photos before it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from stylize.engines.device import free_memory, may_have_gpu, require_torch_for
from stylize.engines.protocol import Engine
from stylize.errors import DeviceError, InputError, UsageError, one_line, shown
from stylize.extras import install, require_torch, torch_is_installed
from stylize.images.reading import Pixels
from stylize.processor import has_bf16_instructions, usual_threads

if TYPE_CHECKING:
    from stylize.engines.torch import TorchEngine

T = TypeVar("T")

ENGINES = ("auto", "torch", "onnx")
LARGE_PHOTO = 20_000_000  # pixels: from here on torch's bf16 gains more than torch takes to start
PIXELS_AT_ONCE = 1_000_000  # of photos painted side by side; larger ones keep the cores busy by themselves
TORCH_BYTES = 4 << 30  # of memory, below which torch is not worth a try
UNUSED_GPU = f"this machine seems to have a GPU, which only torch uses: {install('torch')}, or `device` cpu"


class Engines:
    """The engines of one model on one device, each opened when it is first needed.

    Args:
        model: its file.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        wanted: one of ``ENGINES``.
        threads: of the processor; by default all.
        on_warning: told when the work goes on in another way than was asked for.

    Attributes:
        cores: how many threads that are.
        usual: what encodes styles, and paints photos of 8 bits that are not large.
        large: what paints large photos; None: not opened yet.

    Raises:
        InputError, RefusedError: the model is missing or no model.
        DeviceError: the device is missing, or needs torch, which is not installed.
        UsageError: there is no such device or engine, the engine cannot do it, or what can do it is not installed.
    """

    def __init__(
        self, model: Path, device: str, wanted: str, threads: int | None, on_warning: Callable[[str], None]
    ) -> None:
        if wanted not in ENGINES:
            raise UsageError(f"`engine` {wanted}: no such engine", hint=", ".join(ENGINES))
        self.model, self.device, self.wanted, self.threads, self.on_warning = model, device, wanted, threads, on_warning
        self.cores = threads or usual_threads() or 1
        self.tile_limit = sys.maxsize  # pixels, once memory has run out
        self.usual = self._open(wanted)
        self.large: Engine | None = self.usual
        self._torch: TorchEngine | None = None
        if wanted == "auto" and self.usual.name == "onnx" and has_bf16_instructions() and torch_is_installed():
            self.large = None

    def for_photo(self, photo: Pixels) -> Engine:
        """What paints a photo, (H, W, 3) uint8 or uint16.

        Raises:
            InputError: it has 16 bits, and torch is not installed.
            DeviceError: it has 16 bits, and torch cannot be loaded.
        """
        if photo.dtype == np.uint16:
            require_torch("painting 16 bits a channel", error=InputError)
            if self.wanted == "onnx" and self._torch is None:
                self.on_warning("16-bit pixels are painted by torch")
            return self.torch()
        if photo.shape[0] * photo.shape[1] < LARGE_PHOTO:
            return self.usual
        if self.large is None:
            self.large = self._open_large()
        return self.large

    def at_once(self, pixels: int) -> int:
        """How many photos of so many pixels, of 8 bits, are best painted side by side, each in a thread of its own.

        A small photo does not keep all cores busy. The pixels do not depend on it. torch has one queue, and threads of
        its own for each of ours.
        """
        engine = self.usual
        if engine.name != "onnx" or pixels > PIXELS_AT_ONCE // 2:
            return 1
        memory = engine.free_memory()
        most = PIXELS_AT_ONCE if memory is None else min(memory // 2 // engine.bytes_per_pixel, PIXELS_AT_ONCE)
        return max(min(most // pixels, self.cores), 1)

    def torch(self) -> TorchEngine:
        """The engine that takes 16-bit pixels and has gradients."""
        if self._torch is None:
            self._torch = cast("TorchEngine", self.usual if self.usual.name == "torch" else self._open("torch"))
        return self._torch

    def or_on_processor(self, work: Callable[[], T]) -> T:
        """Some work with these engines; once more, with others on the processor, if a GPU has too little memory."""
        try:
            return work()
        except MemoryError:
            on_gpu = [e for e in (self.usual, self.large, self._torch) if e is not None and not e.on_cpu]
            if not on_gpu:
                raise
        self.on_warning(f"out of memory on {on_gpu[0]}: goes on with the processor")
        self.device, self.tile_limit = "cpu", sys.maxsize
        self.usual = self.large = self._open(self.wanted)
        self._torch = None
        return work()

    def in_tiles(self, work: Callable[[int], T], side: int, least: int) -> T:
        """Some work in tiles of ``side`` pixels; in smaller ones, down to ``least``, once memory has run out.

        Raises:
            MemoryError: it runs out with the smallest, too.
        """
        while True:
            side = min(side, self.tile_limit)
            try:
                return work(side)
            except MemoryError:
                if side <= least:
                    raise
            self.tile_limit = max(side // 2, least)
            self.on_warning(f"out of memory: goes on with tiles of {self.tile_limit} pixels")

    def _open(self, wanted: str) -> Engine:
        if wanted != "torch":
            opened = self._open_onnx(wanted)
            if opened is not None:
                return opened
        require_torch("`engine` torch")
        try:
            from stylize.engines.torch import TorchEngine
        except (ImportError, OSError) as error:  # a torch that is broken, or not for this machine
            raise DeviceError(f"cannot load torch: {one_line(error)}", hint="stylize doctor tells more") from error
        return TorchEngine(self.model, self.device, self.threads)

    def _open_onnx(self, wanted: str) -> Engine | None:
        """The ONNX engine, or None where ``auto`` is to take torch."""
        by_name = wanted == "onnx"
        if self.device not in ("auto", "cpu"):
            if by_name:
                raise UsageError(f"`engine` onnx does not run on {self.device}", hint="`device` cpu")
            require_torch_for(self.device)
            return None
        if self.device == "auto" and not by_name and may_have_gpu():
            if torch_is_installed():
                return None
            self.on_warning(UNUSED_GPU)
        try:
            from stylize.engines.onnx import OnnxEngine, UnfitModelError
        except (ImportError, OSError) as error:  # one that is broken, or not for this machine
            if by_name:
                raise UsageError(f"`engine` onnx: {error}", hint="pip install onnxruntime") from error
            if not torch_is_installed():
                raise DeviceError(
                    f"cannot load onnxruntime: {one_line(error)}", hint="stylize doctor tells more"
                ) from error
            return None
        try:
            return OnnxEngine(self.model, self.threads)
        except UnfitModelError as error:
            if by_name:
                raise UsageError(
                    f"`engine` onnx runs models of the default sizes only: {shown(self.model)}", hint="`engine` torch"
                ) from error
            require_torch(f"{shown(self.model)}, a model of other sizes than the default ones,")
            return None

    def _open_large(self) -> Engine:
        """torch, unless there is too little memory for it, or it cannot be loaded."""
        memory = free_memory()
        if memory is not None and memory <= TORCH_BYTES:
            return self.usual
        try:
            return self.torch()
        except DeviceError as error:
            self.on_warning(f"{error.message}: goes on without it")
            return self.usual
