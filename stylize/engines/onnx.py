"""The engine that computes with ONNX Runtime: on processors, without torch, which takes longer to import than a photo.

The graphs come from the torch modules (``stylize.engines.export``) and hold no weights. Here a model's tensors are put
into them; what they compute is written in ``stylize.networks.generator`` and ``stylize.networks.encoder`` only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: what it says of itself goes to its makers
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument

from stylize.engines.device import free_memory, keep_freed_memory, memory_errors
from stylize.errors import RefusedError
from stylize.files.model_file import read_model
from stylize.files.packaged import packaged_path
from stylize.files.tensors import malformed
from stylize.images.palette import FINISH_FLOOR, Floats, palette_map, palette_of_cells
from stylize.images.reading import Pixels
from stylize.networks.plan import CUTS, Layer, Margins, Position, cuts_of, layers_of
from stylize.options import ModelSizes
from stylize.processor import usual_threads
from stylize.styles.style_code import Refinement

onnxruntime.disable_telemetry_events()  # older builds for Windows know this only

Arrays = dict[str, np.ndarray]


class _Style(NamedTuple):
    """What a style makes of G: its weights, and the graph ``measure`` with them."""

    key: tuple[bytes, ...]
    mixed: Arrays
    measure: Graph


class UnfitModelError(Exception):
    """A model of other sizes than the graphs have."""


class OnnxEngine:
    """See ``stylize.engines.protocol.Engine``.

    Raises:
        UnfitModelError: the graphs are made for models of other sizes.
        InputError, RefusedError: the model is missing or no model.
    """

    name = "onnx"
    bytes_per_pixel = 120  # measured
    best_tile = 1024
    on_cpu = True

    def __init__(self, model: Path, threads: int | None = None) -> None:
        file = read_model(model)
        if file.sizes != ModelSizes():
            raise UnfitModelError
        keep_freed_memory()
        self.hash, self.sizes = file.hash, file.sizes
        self.threads = threads
        self._tensors = file.tensors
        self._grain = file.tensors["generator.grain"].astype(np.float32)
        self._encode: Graph | None = None
        self._style: _Style | None = None  # the last one
        self._finish: Graph | None = None

    def __str__(self) -> str:
        return "cpu, onnx, float32"

    def free_memory(self) -> int | None:
        """Bytes that are left, if that is known."""
        return free_memory()

    def encode(self, picture: Pixels) -> tuple[Floats, Floats]:
        """The code (Z,) of a picture (H, W, 3), and E's standardised statistics (D,) of it."""
        if self._encode is None:
            self._encode = Graph("encode", self._floats("encoder."), self.threads)
        outputs = self._encode({"picture": np.ascontiguousarray(picture)})
        return outputs["code"], outputs["known"]

    def measure(
        self,
        code: Floats,
        refinement: Refinement,
        palette: Floats,
        colours: tuple[Floats, Floats],
        cells: Pixels,
        origins: Sequence[Position],
    ) -> tuple[Pixels, OnnxPainter]:
        """Paint windows of a photo and freeze its statistics."""
        style, finish_graph = self._prepared(code, refinement)
        outputs = style.measure(_inputs(cells, self._grain, origins, colours))
        painted = outputs.pop("painted")
        found = palette_of_cells(painted)
        if not np.isfinite(found).all():
            raise FloatingPointError
        finish = Finish(finish_graph, *palette_map(found, palette, FINISH_FLOOR))
        return finish(painted), OnnxPainter(style.mixed | outputs, finish, self._grain, colours, self.threads)

    def prepare(self, code: Floats, refinement: Refinement) -> None:
        """Mix the style, and make the session that measures photos with it."""
        self._prepared(code, refinement)

    def _prepared(self, code: Floats, refinement: Refinement) -> tuple[_Style, Graph]:
        """What a style makes of G, and the graph ``finish``. Other threads may ask for other styles meanwhile."""
        key = (code.tobytes(), *(values.tobytes() for values in refinement.values()))
        style, finish = self._style, self._finish
        if style is None or key != style.key:
            mixed = mix(self._tensors, self.sizes, code, refinement)
            style = self._style = _Style(key, mixed, Graph("measure", mixed, self.threads))
        if finish is None:
            finish = self._finish = Graph("finish", {}, self.threads)
        return style, finish

    def _floats(self, prefix: str) -> Arrays:
        """Tensors of the model; R, the encoder's reconstruction head, is for training."""
        return {
            name: tensor.astype(np.float32)
            for name, tensor in self._tensors.items()
            if name.startswith(prefix) and not name.startswith("encoder.to_descriptor.")
        }


def mix(tensors: Mapping[str, np.ndarray], sizes: ModelSizes, code: Floats, refinement: Refinement) -> Arrays:
    """Every layer's kernel, scale and shift: what ``stylize.networks.generator.StyleConv`` makes of a code, in numpy.

    W(z) = Σₖ aₖ(z) Wₖ + ΔW, with aₖ, γ and β as ``stylize.networks.generator.extend`` extends them.

    Raises:
        RefusedError: a tensor is missing, or is of another shape.
    """

    def layer_of(name: str, layer: Layer) -> Arrays:
        def of(part: str) -> np.ndarray:
            return tensors[f"generator.convs.{name}.{part}"].astype(np.float32)

        def added(part: str) -> np.ndarray | float:
            return refinement.get(f"{name}.{part}", 0.0)

        amounts = of("mix.weight") @ code + of("mix.bias") + added("mix")  # a, (K,)
        kernel = np.tensordot(amounts, of("weight"), axes=1)
        if f"{name}.left" in refinement:
            kernel += (refinement[f"{name}.left"] @ refinement[f"{name}.right"]).reshape(kernel.shape)
        affine = of("modulate.weight") @ code + of("modulate.bias")
        if not layer.adain:
            return {"kernel": kernel, "shift": affine + added("shift")}
        scale, shift = np.split(affine, 2)
        return {"kernel": kernel, "scale": 1 + scale + added("scale"), "shift": shift + added("shift")}

    mixed: Arrays = {}
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused when it is painted with
        try:
            for name, layer in layers_of(sizes.widths).items():
                mixed |= {f"{name}.{part}": values for part, values in layer_of(name, layer).items()}
        except (KeyError, ValueError) as error:
            raise _other_tensors() from error
    return mixed


def _other_tensors() -> RefusedError:
    return malformed("the model holds other tensors than its header promises")


class Finish(NamedTuple):
    """The colour map that gives what was painted the style's palette once more."""

    graph: Graph
    matrix: Floats  # M (3, 3)
    offset: Floats  # t (3,)

    def __call__(self, painted: Floats) -> Pixels:
        """(n, 12, h, w) in [0, 1] -> the same in bytes. Raises FloatingPointError for what is not finite."""
        outputs = self.graph({"painted": painted, "matrix": self.matrix, "offset": self.offset})
        if not np.isfinite(outputs["total"]):
            raise FloatingPointError
        return outputs["bytes"]


class OnnxPainter:
    """The folded generator over tiles. It is folded when first called: a small photo never needs it."""

    def __init__(
        self, tensors: Arrays, finish: Finish, grain: Floats, colours: tuple[Floats, Floats], threads: int | None
    ) -> None:
        self.weights = {name: t for name, t in tensors.items() if name.endswith((".kernel", ".gain", ".bias"))}
        self.finish, self.grain, self.colours, self.threads = finish, grain, colours, threads
        self.graph: Graph | None = None

    def __call__(self, cells: Pixels, origin: Position, margins: Margins) -> Pixels:
        """Paint one tile."""
        if self.graph is None:
            self.graph = Graph("paint", self.weights, self.threads)
        cuts = cuts_of(margins)
        inputs = _inputs(cells, self.grain, [origin], self.colours)
        return self.finish(self.graph(inputs | {"cuts": np.array([cuts[name] for name in CUTS])})["painted"])


class Graph:
    """One exported graph with its weights in place."""

    def __init__(self, name: str, weights: Mapping[str, np.ndarray], threads: int | None) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        # Threads that wait must not burn the time of other work; convolutions are long enough to wake up for.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_mem_pattern = False  # of use for pictures of one size only, and takes a third more memory
        options.intra_op_num_threads = threads or usual_threads() or 0  # 0: its own choice
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(t)) for t in weights.values()]
        options.add_external_initializers(list(weights), values)
        graph = packaged_path(f"{name}.onnx").read_bytes()
        try:
            with memory_errors():
                self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except (Fail, InvalidArgument) as error:
            raise _other_tensors() from error
        self.outputs = [output.name for output in self.session.get_outputs()]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """All outputs by name."""
        with memory_errors():
            return dict(zip(self.outputs, self.session.run(self.outputs, inputs), strict=True))


def _inputs(cells: Pixels, grain: Floats, origins: Sequence[Position], colours: tuple[Floats, Floats]) -> Arrays:
    """What ``measure`` and ``paint`` are given besides weights."""
    height, width = cells.shape[2:]
    # Repeated, so that all columns of a window lie side by side: only rows are gathered, which is quick.
    wide = np.tile(grain, (1, 1, width // grain.shape[2] + 2))
    windows = []
    for top, left in origins:
        rows, start = np.arange(top // 2, top // 2 + height) % grain.shape[1], left // 2 % grain.shape[2]
        windows.append(wide[:, rows, start : start + width])
    matrix, offset = colours
    return {"cells": np.ascontiguousarray(cells), "grain": np.stack(windows), "matrix": matrix, "offset": offset}
