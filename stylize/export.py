"""Export the networks as ONNX graphs without weights, for ``stylize.onnx_engine``: ``python -m stylize.export FOLDER``.

The graphs are traced from the torch modules, so that the architecture is written once. A model's tensors are put in
their places when it is loaded: any model of the default sizes fits. Run once per release that changes the networks;
needs the ``export`` extra.

    measure.onnx  windows of a photo, mixed kernels -> the painted windows, gain and bias of every layer
    paint.onnx    a tile, folded kernels            -> the painted tile
    encode.onnx   a picture                         -> its code and palette
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from stylize.checkpoint import Model
from stylize.generator import Mixed, measure, paint, recolour, to_cells, to_pixels
from stylize.layers import MARGIN, STRIDE, layers_of
from stylize.options import ModelSizes
from stylize.palette import palette_of

OPSET = 17
SIDE = 2 * MARGIN + 4 * STRIDE  # of the windows that are traced; any other multiple of STRIDE is as good


class MeasureGraph(nn.Module):
    """``stylize.generator.measure`` from bytes to bytes."""

    def forward(self, pixels: Tensor, grain: Tensor, matrix: Tensor, offset: Tensor, *layers: Tensor) -> list[Tensor]:
        names = list(layers_of((1, 1, 1, 1)))
        mixed = {name: Mixed(*layers[3 * k : 3 * k + 3]) for k, name in enumerate(names)}
        painted, gains, biases = measure(mixed, recolour(to_cells(pixels), matrix, offset), grain)
        return [to_pixels(painted), painted.sum(), *gains.values(), *biases.values()]


class PaintGraph(nn.Module):
    """``stylize.generator.paint`` from bytes to bytes."""

    def forward(self, pixels: Tensor, grain: Tensor, matrix: Tensor, offset: Tensor, *layers: Tensor) -> list[Tensor]:
        plan = layers_of((1, 1, 1, 1))
        weights = {name: layers[2 * k] for k, name in enumerate(plan)}
        biases = {name: layers[2 * k + 1] for k, name in enumerate(plan)}
        painted = paint(plan, weights, biases, recolour(to_cells(pixels), matrix, offset), grain)
        return [to_pixels(painted), painted.sum()]


def names_of(kind: str) -> list[str]:
    return [f"{name}.{part}" for name in layers_of((1, 1, 1, 1)) for part in {"measure": ("kernel", "scale", "shift"), "paint": ("kernel", "bias")}[kind]]


def export_generator(kind: str) -> onnx.ModelProto:
    sizes = ModelSizes()
    plan = layers_of(sizes.widths)
    names = names_of(kind)
    tensors = []
    for name, layer in plan.items():
        tensors.append(torch.randn(layer.channels_out, layer.channels_in, 3, 3) * 0.05)
        tensors += [torch.ones(layer.channels_out)] * (2 if kind == "measure" else 1)
    pixels = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
    grain = torch.zeros(1, 4, SIDE // 2, SIDE // 2)
    graph = MeasureGraph() if kind == "measure" else PaintGraph()
    outputs = ["painted", "total"]
    if kind == "measure":
        outputs += [f"{n}.gain" for n in plan] + [f"{n}.bias" for n in plan]
    stream = io.BytesIO()
    torch.onnx.export(
        graph, (pixels, grain, torch.eye(3), torch.zeros(3), *tensors), stream, dynamo=False, opset_version=OPSET,
        input_names=["pixels", "grain", "matrix", "offset", *names], output_names=outputs,
        dynamic_axes={"pixels": {0: "n", 1: "height", 2: "width"}, "grain": {0: "n", 2: "h", 3: "w"}, "painted": {0: "n", 1: "H", 2: "W"}},
    )
    return onnx.load_from_string(stream.getvalue())


if __name__ == "__main__":
    for kind in ("measure", "paint"):
        m = export_generator(kind)
        onnx.save(m, f"{sys.argv[1]}/{kind}.onnx")
        print(kind, len(m.SerializeToString()), len(m.graph.node))
        from collections import Counter
        print(Counter(n.op_type for n in m.graph.node))
