"""ρ: the same for everyone, every channel on one scale, and its statistics tell textures that colours alone do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from stylize.networks.perceptual import FeatureStatistics, feature_statistics
from stylize.networks.random_filters import LEAST_SIDE, OCTAVES, RandomNetwork, octaves_within
from stylize.training.losses import moments_distance, octave_covariances, octaves_distance


@pytest.fixture(scope="module")
def pictures(make_picture: Callable[..., np.ndarray]) -> list[Tensor]:
    stack = [make_picture(96 + 16 * seed, 128, seed) for seed in range(3)]
    return [torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255 for picture in stack]


@pytest.fixture(scope="module")
def network(pictures: list[Tensor]) -> RandomNetwork:
    network = RandomNetwork()
    network.normalise(pictures)
    return network


def statistics(network: RandomNetwork, picture: Tensor) -> list[FeatureStatistics]:
    return [feature_statistics(f) for f in network(picture, octaves_within(picture))]


def stripes(angle: float, phase: float = 0.0, size: int = 128) -> Tensor:
    """Stripes of 11 pixels' period, orange and blue, (1, 3, size, size)."""
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    along = row * np.cos(angle) + column * np.sin(angle)
    wave = torch.sin(along * (2 * torch.pi / 11) + phase) / 2
    return (0.5 + wave * torch.tensor([0.6, 0.1, -0.5])[None, :, None, None]).float()


def test_everyone_has_the_same_filters() -> None:
    torch.manual_seed(5)
    one = RandomNetwork().state_dict()
    torch.manual_seed(6)
    other = RandomNetwork().state_dict()
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_normalised_channels_have_mean_0_and_deviation_1(network: RandomNetwork, pictures: list[Tensor]) -> None:
    octaves = octaves_within(*pictures)
    for layer in zip(*(network(picture, octaves) for picture in pictures), strict=True):
        mean = torch.stack([f.mean((0, 2, 3)) for f in layer]).mean(0)
        second = torch.stack([f.square().mean((0, 2, 3)) for f in layer]).mean(0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-3, rtol=0)
        torch.testing.assert_close(second, torch.ones_like(second), atol=1e-2, rtol=0)


def test_normalising_twice_changes_nothing(network: RandomNetwork, pictures: list[Tensor]) -> None:
    again = RandomNetwork()
    for _ in range(2):
        again.normalise(pictures)
    for one, other in zip(again(pictures[0], 2), network(pictures[0], 2), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("side", "octaves"), [(15, 0), (16, 1), (31, 1), (32, 2), (127, 3), (128, 4), (4000, OCTAVES)])
def test_small_pictures_have_fewer_octaves(side: int, octaves: int) -> None:
    assert octaves_within(torch.empty(1, 3, side, 5000), torch.empty(1, 3, 4100, 4100)) == octaves


@pytest.mark.parametrize("octaves", range(1, OCTAVES + 1))
def test_the_least_side_is_enough(network: RandomNetwork, octaves: int) -> None:
    least = LEAST_SIDE << (octaves - 1)
    maps = network(torch.rand(2, 3, least, least, generator=torch.Generator().manual_seed(0)), octaves)
    assert len(maps) == 2 * octaves
    assert all(f.shape[2] >= 4 and torch.isfinite(f).all() for f in maps)


def test_it_tells_the_direction_of_stripes_which_colours_do_not(network: RandomNetwork) -> None:
    wanted, moved, turned = stripes(0.0), stripes(0.0, phase=1.0), stripes(np.pi / 2)
    colours = [octave_covariances(picture) for picture in (wanted, turned)]
    assert octaves_distance(*colours) < 0.01
    own = statistics(network, wanted)
    distances = [float(moments_distance(statistics(network, picture), own)) for picture in (moved, turned)]
    assert distances[0] < 0.05 * distances[1]


def test_going_downhill_leads_to_the_texture(network: RandomNetwork) -> None:
    wanted = stripes(0.6)
    own = statistics(network, wanted)
    picture = (0.5 + 0.1 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))).requires_grad_()
    target = octave_covariances(wanted, 3)
    before = octaves_distance(octave_covariances(picture.detach(), 3), target)
    optimiser = torch.optim.Adam([picture], lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        found = statistics(network, picture)
        moments_distance(found, own[: len(found)]).backward()
        optimiser.step()
    assert octaves_distance(octave_covariances(picture.detach(), 3), target) < 0.3 * before
