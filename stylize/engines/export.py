"""Export the networks as ONNX graphs for ``stylize.engines.onnx``: ``python -m stylize.engines.export models/``.

The graphs are traced from the torch modules, so that the architecture is written once. They hold no weights: a session
is given a model's tensors, so that any model of the default sizes fits. To be run again when the networks change;
needs the ``export`` extra.

    measure   windows of a photo; kernel, scale, shift -> the painted windows, gain and bias of every layer
    paint     a tile; kernel, gain, bias               -> the painted tile
    finish    what these painted; the finish           -> the same in bytes
    encode    a picture; tensors of E                  -> its code and statistics
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from stylize.networks.generator import Mixed, fold, measure, paint, recolour
from stylize.networks.model import Model
from stylize.networks.plan import BORDER, CUTS, PLAN, STRIDE, cuts_of
from stylize.options import ModelSizes

OPSET = 17
CELLS = BORDER + 2 * STRIDE  # height and width of the windows that are traced; other sizes are as good
EXTERNAL = "model"  # where ONNX is told the weights are; never read, they are handed over in memory

Example = dict[str, Tensor]  # inputs by name


class Encode(nn.Module):
    """From a picture (H, W, 3) in bytes to its code and statistics."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.encoder = model.encoder

    def forward(self, picture: Tensor) -> list[Tensor]:
        """(H, W, 3) -> (Z,) and (D,)"""
        code, known = self.encoder.encode(picture.float().permute(2, 0, 1)[None] / 255)
        return [code[0], known[0]]


class Measure(nn.Module):
    """``stylize.networks.generator.measure`` of bytes, without the finish."""

    def forward(self, cells: Tensor, grain: Tensor, matrix: Tensor, offset: Tensor, *layers: Tensor) -> list[Tensor]:
        """(n, 12, h, w), (n, 4, h, w), M, t, and kernel, scale and shift of each layer."""
        mixed = {name: Mixed(*layers[3 * k : 3 * k + 3]) for k, name in enumerate(PLAN)}
        painted, measured = measure(mixed, recolour(cells, matrix, offset), grain)
        return [painted, *measured.gains.values(), *measured.biases.values()]


class Paint(nn.Module):
    """``stylize.networks.generator.paint`` of bytes, the folding included."""

    def forward(
        self, cells: Tensor, grain: Tensor, matrix: Tensor, offset: Tensor, cuts: Tensor, *layers: Tensor
    ) -> Tensor:
        """(n, 12, h, w), (n, 4, h, w), M, t, a row for each of ``CUTS``, and kernel, gain and bias of each layer."""
        kernels, gains, biases = (dict(zip(PLAN, layers[part::3], strict=True)) for part in range(3))
        return paint(
            fold(kernels, gains, biases), recolour(cells, matrix, offset), grain, dict(zip(CUTS, cuts, strict=True))
        )


class Finish(nn.Module):
    """The finish of what was painted, in bytes; ``total`` is not finite if any number of it is not."""

    def forward(self, painted: Tensor, matrix: Tensor, offset: Tensor) -> list[Tensor]:
        """(n, 12, h, w), M and t."""
        return [recolour(painted, 255 * matrix, 255 * offset, most=255).round().to(torch.uint8), painted.sum()]


def graphs() -> dict[str, onnx.ModelProto]:
    """All graphs by name."""
    model = Model(ModelSizes()).eval().requires_grad_(False)
    for tensor in model.state_dict().values():
        tensor.uniform_(0.01, 0.02)  # of two tensors that are equal the exporter would make one
    mixed = model.generator.mixed(model.generator.modulations(torch.randn(1, model.sizes.code)))
    cells = torch.randint(0, 256, (1, 12, CELLS, CELLS), dtype=torch.uint8)
    colours = {"matrix": torch.eye(3), "offset": torch.zeros(3)}
    tile = {"cells": cells, "grain": torch.randn(1, 4, CELLS, CELLS)} | colours
    mixed_layers = {f"{name}.{part}": t for name, layer in mixed.items() for part, t in layer._asdict().items()}
    folded_layers: Example = {}
    for name, layer in mixed.items():
        folded_layers |= {f"{name}.kernel": layer.kernel, f"{name}.gain": layer.scale, f"{name}.bias": layer.shift}
    measured = [f"{name}.{part}" for part in ("gain", "bias") for name in PLAN]
    cuts = torch.tensor([cuts_of([BORDER] * 4)[name] for name in CUTS])
    picture = torch.randint(0, 256, (256, 320, 3), dtype=torch.uint8)
    return {
        "measure": _trace(Measure(), tile, ["painted", *measured], mixed_layers),
        "paint": _trace(Paint(), tile | {"cuts": cuts}, ["painted"], folded_layers),
        "finish": _trace(Finish(), {"painted": torch.rand(1, 12, CELLS, CELLS)} | colours, ["bytes", "total"]),
        "encode": _trace(Encode(model), {"picture": picture}, ["code", "known"]),
    }


def _trace(module: nn.Module, inputs: Example, outputs: list[str], weights: Example | None = None) -> onnx.ModelProto:
    """The graph of a module, without numbers.

    Args:
        weights: inputs that are tensors of a model or a style, like the module's own: constants of a session.
    """
    weights = weights or {}
    axes: dict[str, dict[int, str]] = {
        "cells": {0: "n", 2: "h", 3: "w"},
        "grain": {0: "n", 2: "h", 3: "w"},
        "painted": {0: "n", 2: "inner_h", 3: "inner_w"},
        "bytes": {0: "n", 2: "inner_h", 3: "inner_w"},
        "picture": {0: "height", 1: "width"},
    }
    with warnings.catch_warnings(), torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # the tracer's, on constants that are meant
        torch.onnx.export(
            module, (*inputs.values(), *weights.values()), f"{folder}/graph.onnx", dynamo=False, opset_version=OPSET,
            input_names=[*inputs, *weights], output_names=outputs, do_constant_folding=True,
            dynamic_axes={name: axis for name, axis in axes.items() if name in (*inputs, *outputs)},
        )  # fmt: skip
        model = onnx.load(f"{folder}/graph.onnx")
    graph = model.graph
    own = set(module.state_dict())
    used = {name for node in graph.node for name in node.input}
    values = [value for value in graph.input if value.name not in weights]
    tensors = [
        onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=tensor.shape)
        for name, tensor in (weights | module.state_dict()).items()
        if name in used
    ]
    constants = [tensor for tensor in graph.initializer if tensor.name not in own]
    for tensor in tensors:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=EXTERNAL)
    del graph.input[:], graph.initializer[:]
    graph.input.extend(values)
    graph.initializer.extend(constants + tensors)
    _join_slices(graph)
    for node in graph.node:
        node.ClearField("doc_string")
    return model


def _join_slices(graph: onnx.GraphProto) -> None:
    """Cut rows and columns in one node, where the exporter makes two; each of them copies the picture."""
    makers = {output: node for node in graph.node for output in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    joined = []
    for node in graph.node:
        first = makers.get(node.input[0]) if node.op_type == "Slice" else None
        if first is not None and first.op_type == "Slice" and uses[node.input[0]] == 1:
            for place in range(1, 5):  # starts, ends, axes, steps
                both = f"{node.output[0]}.{place}"
                joined.append(onnx.helper.make_node("Concat", [first.input[place], node.input[place]], [both], axis=0))
                node.input[place] = both
            joined.remove(first)
            node.input[0] = first.input[0]
        joined.append(node)
    del graph.node[:]
    graph.node.extend(joined)


def main() -> None:
    """Write all graphs into the folder that the command line names, by default ``models``."""
    folder = Path(*sys.argv[1:] or ["models"])
    for name, graph in graphs().items():
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())


if __name__ == "__main__":
    main()
