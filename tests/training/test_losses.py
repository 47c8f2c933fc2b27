"""Each loss measures what its name says: nothing for equal pictures, known values for known ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stylize.networks.colour_transfer import mean_and_covariance, palette_of
from stylize.networks.perceptual import FeatureStatistics, feature_statistics, gram_matrix
from stylize.training.losses import (
    content_loss,
    discriminator_hinge,
    generator_hinge,
    grid_loss,
    moments_loss,
    octave_covariances,
    palette_loss,
    style_loss,
    total_variation,
)


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def statistics(*maps: Tensor) -> list[FeatureStatistics]:
    return [feature_statistics(m) for m in maps]


def chequers(side: int, size: int = 64) -> Tensor:
    """A chequerboard of ±0.1 around grey, its fields ``side`` pixels wide."""
    field = torch.arange(size) // side
    return (0.5 + 0.2 * ((field[:, None] + field) % 2 - 0.5)).expand(1, 3, size, size)


def test_gram_matrix_is_the_mean_product_of_channels(random: torch.Generator) -> None:
    features = torch.rand(2, 3, 4, 5, generator=random)
    expected = torch.zeros(2, 3, 3)
    for b in range(2):
        for i in range(3):
            for j in range(3):
                products = [features[b, i, y, x] * features[b, j, y, x] for y in range(4) for x in range(5)]
                expected[b, i, j] = torch.stack(products).sum() / (3 * 4 * 5)
    torch.testing.assert_close(gram_matrix(features), expected)


def test_gram_matrix_does_not_depend_on_the_size_of_the_picture(random: torch.Generator) -> None:
    features = torch.rand(1, 4, 6, 6, generator=random)
    torch.testing.assert_close(gram_matrix(features.repeat(1, 1, 2, 3)), gram_matrix(features))


@pytest.mark.parametrize("loss", [style_loss, moments_loss], ids=["style", "moments"])
def test_style_losses_are_zero_for_equal_statistics_only(loss: object, random: torch.Generator) -> None:
    features = torch.rand(2, 4, 8, 8, generator=random)
    same = loss(statistics(features), statistics(features.flip(2, 3)))  # other positions, same statistics
    other = loss(statistics(features), statistics(features.square()))
    assert same < 1e-4 < 0.02 < other


def test_style_loss_is_the_distance_relative_to_the_style(random: torch.Generator) -> None:
    features = torch.rand(1, 4, 8, 8, generator=random)
    twice = statistics(features * 2**0.5)  # its Gram matrix is twice as large
    torch.testing.assert_close(style_loss(twice, statistics(features)), torch.tensor(1.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(style_loss(statistics(features), twice), torch.tensor(0.5), atol=1e-3, rtol=0)


def covariance(pictures: torch.Tensor) -> torch.Tensor:
    return mean_and_covariance(palette_of(pictures))[1]


def moments(mean: float, std: float) -> list[FeatureStatistics]:
    return [FeatureStatistics(torch.eye(2)[None], torch.full((1, 2), mean), torch.full((1, 2), std))]


@pytest.mark.parametrize(
    ("mean", "std", "expected"),
    [(1.0, 1.0, 0.0), (2.0, 1.0, 1.0), (1.0, 2.5, 2.25), (2.0, 2.0, 2.0), (3.0, 1.0, 4.0), (11.0, 1.0, 36.0)],
)
def test_moments_loss_is_quadratic_then_linear(mean: float, std: float, expected: float) -> None:
    torch.testing.assert_close(moments_loss(moments(mean, std), moments(1, 1)), torch.tensor(expected))


def test_content_loss_does_not_see_gain_and_shift_of_a_channel(random: torch.Generator) -> None:
    features = torch.rand(2, 4, 8, 8, generator=random) * 10
    gain, shift = torch.rand(2, 2, 4, 1, 1, generator=random) + 0.5
    assert content_loss([features * gain + shift], [features]) < 1e-3


def test_content_loss_sees_where_things_are(random: torch.Generator) -> None:
    features = torch.rand(2, 4, 8, 8, generator=random)
    assert content_loss([features.roll(3, dims=3)], [features]) > 1


@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (0.01, 0.0), (0.0, 0.02), (0.006, 0.008)])
def test_total_variation_of_a_ramp_is_its_slope(dx: float, dy: float) -> None:
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(9.0), indexing="ij")
    ramp = (dx * x + dy * y).expand(2, 3, 12, 9)
    expected = torch.tensor((dx**2 + dy**2) ** 0.5)
    torch.testing.assert_close(total_variation(ramp), expected, atol=2e-4, rtol=1e-2)


def test_total_variation_of_a_flat_picture_has_a_gradient() -> None:
    flat = torch.full((1, 3, 8, 8), 0.5, requires_grad=True)
    total_variation(flat).backward()
    assert torch.isfinite(flat.grad).all()


@pytest.mark.parametrize("side", [1, 2], ids=["period 2", "period 4"])
def test_grid_loss_sees_chequers_but_not_noise_of_the_same_energy(side: int, random: torch.Generator) -> None:
    grid = chequers(side)
    noise = 0.5 + 0.1 * torch.randn(grid.shape, generator=random)
    assert grid_loss(grid) > 0.1
    assert grid_loss(noise) < 0.1 * grid_loss(grid)


def test_grid_loss_does_not_see_smooth_pictures() -> None:
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    ramp = torch.stack([x, y, (x + y) / 2])[None]
    assert grid_loss(ramp) < 1e-3 * grid_loss(chequers(1))


def test_grid_loss_sees_a_grid_in_one_corner() -> None:
    corner = torch.full((1, 3, 64, 64), 0.5)
    corner[..., :32, :32] = chequers(1, 32)
    assert grid_loss(corner) > 0.1 * grid_loss(chequers(1))


def test_palette_loss_is_zero_for_the_same_colours_elsewhere(random: torch.Generator) -> None:
    picture = torch.rand(2, 3, 16, 16, generator=random)
    assert palette_loss(picture.flip(2).repeat(1, 1, 1, 2), picture) < 1e-3
    assert palette_loss(picture[:, [1, 2, 0]] * 0.5, picture) > 0.3


def test_palette_loss_of_a_shift_is_ten_times_its_square(random: torch.Generator) -> None:
    picture = torch.rand(1, 3, 16, 16, generator=random)
    shifted = picture + torch.tensor([0.1, 0.0, -0.2])[:, None, None]
    torch.testing.assert_close(palette_loss(shifted, picture), torch.tensor(10 * 0.05), atol=1e-3, rtol=0)


def test_palette_loss_tells_dots_from_areas_of_the_same_colours(random: torch.Generator) -> None:
    dots = torch.rand(1, 3, 64, 64, generator=random)
    areas = dots.flatten(2)[..., dots.mean(1).flatten().argsort()].view_as(dots)  # sorted: the same pixels
    assert palette_loss(areas, dots) > 0.3
    assert palette_loss(dots.flip(2, 3), dots) < 1e-3


def test_palette_loss_takes_pictures_of_any_size(random: torch.Generator) -> None:
    small, large = torch.rand(1, 3, 9, 100, generator=random), torch.rand(1, 3, 130, 70, generator=random)
    for pair in [(small, large), (large, small), (large, large)]:
        assert torch.isfinite(palette_loss(*pair))


def test_covariances_of_octaves_add_up(random: torch.Generator) -> None:
    picture = torch.rand(2, 3, 32, 64, generator=random)
    coarse = torch.nn.functional.avg_pool2d(picture, 16)
    parts = sum(octave_covariances(picture, 4)) + covariance(coarse)
    torch.testing.assert_close(parts, covariance(picture))


@pytest.mark.parametrize(
    ("real", "fakes", "expected"),
    [(1.0, [-1.0], 0), (5.0, [-9.0], 0), (0.0, [0.0], 2), (-1.0, [1.0], 4), (1.0, [-1.0, 3.0], 2)],
)
def test_discriminator_hinge(real: float, fakes: list[float], expected: float) -> None:
    scores = [torch.full((2, 1, 3, 3), f) for f in fakes]
    assert float(discriminator_hinge(torch.full((2, 1, 3, 3), real), scores)) == expected


def test_generator_hinge_is_the_negative_mean_score() -> None:
    assert float(generator_hinge(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))) == -3


@pytest.mark.parametrize("loss", [total_variation, grid_loss, generator_hinge], ids=lambda f: f.__name__)
def test_a_loss_does_not_grow_with_the_batch(loss: object, random: torch.Generator) -> None:
    pictures = torch.rand(2, 3, 64, 64, generator=random)
    torch.testing.assert_close(loss(pictures.repeat(3, 1, 1, 1)), loss(pictures))
