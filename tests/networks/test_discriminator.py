"""The discriminator judges windows, knows the code, and cannot become arbitrarily steep."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stylize.networks.discriminator import Discriminator
from stylize.training import losses

CODE = 16


@pytest.fixture
def discriminator() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(CODE, width=8)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (64, 48), (160, 128)])
def test_one_score_for_each_eight_pixels(discriminator: Discriminator, height: int, width: int) -> None:
    scores = discriminator(torch.rand(2, 3, height, width), torch.randn(2, CODE))
    assert scores.shape == (2, 1, height // 8, width // 8)


def test_a_score_sees_a_window_only(discriminator: Discriminator) -> None:
    images = torch.rand(1, 3, 128, 128, requires_grad=True)
    discriminator(images, torch.randn(1, CODE))[0, 0, 8, 8].backward()
    rows = images.grad.abs().sum((0, 1, 3)).nonzero()
    assert rows.max() - rows.min() + 1 == 38


def test_it_learns_which_code_belongs_to_which_picture() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(CODE)
    colours = torch.tensor([[0.8, 0.3, 0.2], [0.2, 0.3, 0.8]])
    pictures, codes = colours[..., None, None].expand(2, 3, 32, 32), torch.randn(2, CODE)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.99))
    for _ in range(80):
        loss = losses.discriminator_hinge(discriminator(pictures, codes), [discriminator(pictures, codes.flip(0))])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.2  # 2 is guessing


def test_score_is_affine_in_the_code(discriminator: Discriminator) -> None:
    discriminator.eval()  # spectral norm goes on estimating while it trains
    images, (a, b) = torch.rand(1, 3, 64, 64), torch.randn(2, 1, CODE)
    middle = discriminator(images, (a + b) / 2)
    torch.testing.assert_close(middle, (discriminator(images, a) + discriminator(images, b)) / 2, atol=1e-5, rtol=1e-4)


def test_weights_have_spectral_norm_one_however_large_they_grow(discriminator: Discriminator) -> None:
    layers = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for layer in layers:
            layer.parametrizations.weight.original.mul_(100)
        for _ in range(100):  # each pass is one more step of the power iteration
            discriminator(torch.rand(1, 3, 16, 16), torch.randn(1, CODE))
        norms = [float(torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)) for layer in layers]
    assert norms == pytest.approx([1.0] * 6, abs=0.05)
