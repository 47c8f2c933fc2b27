"""The encoder knows how a picture is painted: statistics in, a code of fixed length out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from stylize.networks.encoder import SKETCH, StyleEncoder
from stylize.networks.model import Model, load_model
from stylize.networks.perceptual import (
    FeatureStatistics,
    PerceptualNetwork,
    feature_statistics,
    gram_matrix,
    style_statistics,
)

WIDTHS = (4, 4, 8, 8, 8)


@pytest.fixture
def encoder(tiny_model: object) -> StyleEncoder:
    return load_model(tiny_model).encoder


@pytest.fixture
def pictures(make_picture: Callable[..., np.ndarray]) -> Tensor:
    stack = np.stack([make_picture(64, 80, seed) for seed in range(5)])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255


def statistics_of(encoder: StyleEncoder, images: Tensor) -> Tensor:
    return encoder.statistics(style_statistics(encoder.perceptual(images)))


def inside(features: Tensor) -> Tensor:
    """A map without its outermost positions, when it has others."""
    return features[..., 1:-1, 1:-1] if min(features.shape[2:]) > 2 else features


def test_descriptor_is_the_gram_matrix_projected_on_pairs_of_vectors(encoder: StyleEncoder, pictures: Tensor) -> None:
    known = statistics_of(encoder, pictures)[:, : encoder.descriptor_size].unflatten(1, (5, SKETCH + 1))
    for layer, features in enumerate(encoder.perceptual(pictures)):
        features = inside(features)
        u, v = getattr(encoder, f"sketch{layer}")
        for picture, projections in zip(features, known[:, layer], strict=True):
            energy = picture.square().mean() + 1e-4
            gram = gram_matrix(picture[None])[0]
            for k in (0, 1, SKETCH - 1):
                torch.testing.assert_close(projections[k], u[k] @ gram @ v[k] * len(gram) / energy)
            torch.testing.assert_close(projections[SKETCH], energy.log())


def test_statistics_beside_the_descriptor_are_the_channels_moments(encoder: StyleEncoder, pictures: Tensor) -> None:
    features = [inside(f) for f in encoder.perceptual(pictures)]
    expected = []
    for f in features:
        deviation = (f.var((2, 3), correction=0) + 1e-5).sqrt()
        expected += [(f.mean((2, 3)) + 0.05).log(), (deviation + 0.05).log()]
    found = statistics_of(encoder, pictures)[:, encoder.descriptor_size :]
    torch.testing.assert_close(found, torch.cat(expected, dim=1), atol=1e-3, rtol=0)


def test_the_palette_is_that_of_the_pictures(encoder: StyleEncoder, pictures: Tensor) -> None:
    torch.testing.assert_close(encoder(pictures)[1][:, :3], pictures.mean((2, 3)))


def test_a_picture_has_one_code_in_any_batch(encoder: StyleEncoder, pictures: Tensor) -> None:
    together, alone = encoder(pictures), zip(*[encoder(p[None]) for p in pictures], strict=True)
    for found, parts, backwards in zip(together, alone, encoder(pictures.flip(0)), strict=True):
        torch.testing.assert_close(found, torch.cat(parts), atol=1e-4, rtol=0)
        torch.testing.assert_close(found, backwards.flip(0), atol=1e-4, rtol=0)


def test_equal_pictures_give_equal_codes_bit_by_bit(encoder: StyleEncoder, pictures: Tensor) -> None:
    assert all(torch.equal(a, b) for a, b in zip(encoder(pictures), encoder(pictures.clone()), strict=True))


def test_different_pictures_give_different_codes(encoder: StyleEncoder, pictures: Tensor) -> None:
    codes, _ = encoder(pictures)
    distance = torch.cdist(codes, codes)
    assert distance[~torch.eye(5, dtype=torch.bool)].min() > 0.05


def test_a_picture_is_closest_to_its_own_mirror_image(
    shipped_model: Model, make_picture: Callable[..., np.ndarray]
) -> None:
    encoder = shipped_model.encoder
    pictures = torch.from_numpy(np.stack([make_picture(256, 256, seed) for seed in range(4)]))
    known, mirrored = (
        encoder.standardise(statistics_of(encoder, p.permute(0, 3, 1, 2).float() / 255))
        for p in (pictures, pictures.flip(2))
    )
    assert torch.cdist(known, mirrored).argmin(1).tolist() == [0, 1, 2, 3]


def test_a_texture_is_known_alike_whatever_its_size(
    shipped_model: Model, make_picture: Callable[..., np.ndarray]
) -> None:
    """What φ pads with must not count: its share would be twice as large in the smaller picture."""
    encoder = shipped_model.encoder
    for seed in range(3):
        tile = torch.from_numpy(make_picture(64, 64, seed)).permute(2, 0, 1)[None].float() / 255
        (_, large), (_, small) = (encoder.encode(tile.repeat(1, 1, times, times)) for times in (8, 4))
        assert (large - small).square().mean().sqrt() < 0.2  # 0.3 with the borders


def test_pictures_too_small_for_an_inside_have_codes(encoder: StyleEncoder) -> None:
    for side in (16, 33):
        assert torch.isfinite(encoder(torch.rand(1, 3, side, side))[0]).all()


def test_shuffled_positions_leave_the_statistics_of_a_map_alone() -> None:
    random = torch.Generator().manual_seed(0)
    features = torch.rand(2, 6, 8, 8, generator=random)
    order = torch.randperm(64, generator=random)
    shuffled = features.flatten(2)[..., order].unflatten(2, (8, 8))
    for a, b in zip(feature_statistics(features), feature_statistics(shuffled), strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_reach_the_mlp_but_not_the_perceptual_network(pictures: Tensor) -> None:
    torch.manual_seed(0)
    encoder = StyleEncoder(16, PerceptualNetwork(WIDTHS), hidden=16)
    encoder(pictures)[0][:, 0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.to_code.parameters())
    assert all(p.grad is None and not p.requires_grad for p in encoder.perceptual.parameters())


def test_gradients_reach_the_pictures(encoder: StyleEncoder, pictures: Tensor) -> None:
    pictures.requires_grad_(True)
    encoder(pictures)[0][:, 0].sum().backward()
    assert torch.isfinite(pictures.grad).all() and pictures.grad.abs().sum() > 0


def test_calibration_brings_a_sample_to_mean_0_and_deviation_1(pictures: Tensor) -> None:
    encoder = StyleEncoder(16, PerceptualNetwork(WIDTHS), hidden=16)
    random = torch.Generator().manual_seed(0)
    sample = 3 + 2 * torch.randn(400, len(encoder.center), generator=random)
    encoder.calibrate(sample)
    known = encoder.standardise(sample)
    torch.testing.assert_close(known.mean(0), torch.zeros_like(encoder.center), atol=1e-2, rtol=0)
    torch.testing.assert_close(known.std(0), torch.ones_like(encoder.center), atol=1e-2, rtol=0)
    codes = encoder.code_of(known)
    assert codes.shape == (400, 16)
    torch.testing.assert_close(codes.mean(0), torch.zeros(16), atol=1e-2, rtol=0)
    torch.testing.assert_close(codes.std(0), torch.ones(16), atol=1e-2, rtol=0)


@pytest.mark.parametrize("energy", [0.0, 1e8])
def test_black_and_blinding_pictures_have_a_finite_code(encoder: StyleEncoder, energy: float) -> None:
    features = [
        FeatureStatistics(torch.eye(w)[None] * energy, torch.full((1, w), energy), torch.full((1, w), energy))
        for w in WIDTHS
    ]
    code = encoder.code_of(encoder.standardise(encoder.statistics(features)))
    assert torch.isfinite(code).all()


def test_the_descriptor_can_be_read_back_from_a_code(
    shipped_model: Model, make_picture: Callable[..., np.ndarray]
) -> None:
    encoder = shipped_model.encoder
    pictures = torch.from_numpy(np.stack([make_picture(256, 256, seed) for seed in range(4)]))
    known = encoder.standardise(statistics_of(encoder, pictures.permute(0, 3, 1, 2).float() / 255))
    wanted = known[:, : encoder.descriptor_size]
    found = encoder.descriptor(encoder.code_of(known))
    assert (found - wanted).square().mean() < 0.7 * wanted.square().mean()


def test_projections_are_the_same_for_every_new_encoder() -> None:
    one, other = (StyleEncoder(16, PerceptualNetwork(WIDTHS), hidden=16) for _ in range(2))
    for layer in range(5):
        assert torch.equal(getattr(one, f"sketch{layer}"), getattr(other, f"sketch{layer}"))
