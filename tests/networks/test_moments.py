"""Moments of maps are what their names say, and so are the gradients that are written by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stylize.networks.moments import channel_products, mean_and_variance, mean_of, mean_product
from stylize.training.losses import content_loss

Moment = Callable[[Tensor], Tensor]

MOMENTS: dict[str, tuple[Moment, Moment]] = {
    "mean": (mean_of, lambda x: x.mean((2, 3))),
    "mean product": (lambda x: mean_product(x, x.flip(2)), lambda x: (x * x.flip(2)).mean((2, 3))),
    "variance": (lambda x: mean_and_variance(x)[1], lambda x: x.var((2, 3), correction=0)),
    "channel products": (
        channel_products,
        lambda x: torch.einsum("bihw,bjhw->bij", x, x) / (x.shape[2] * x.shape[3]),
    ),
}


def maps(layout: torch.memory_format = torch.contiguous_format) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.rand(2, 8, 12, 16, generator=random).contiguous(memory_format=layout)


def value_and_gradient(moment: Moment, x: Tensor) -> tuple[Tensor, Tensor]:
    """A moment, and how a sum of it, in which every entry counts another amount, changes with the maps."""
    x = x.clone().requires_grad_()
    value = moment(x)
    (value.flatten() * torch.linspace(-1, 2, value.numel())).sum().backward()
    assert x.grad is not None
    return value.detach(), x.grad


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("name", MOMENTS)
def test_moments_and_their_gradients_are_those_of_the_definition(name: str, layout: torch.memory_format) -> None:
    ours, definition = MOMENTS[name]
    for found, expected in zip(
        value_and_gradient(ours, maps(layout)), value_and_gradient(definition, maps()), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", MOMENTS)
def test_without_a_gradient_the_values_are_the_same(name: str) -> None:
    with torch.no_grad():
        found = MOMENTS[name][0](maps())
    torch.testing.assert_close(found, value_and_gradient(MOMENTS[name][0], maps())[0])


@pytest.mark.parametrize("name", MOMENTS)
def test_maps_in_half_precision_lose_a_hundredth_at_most(name: str) -> None:
    ours, definition = MOMENTS[name]
    half = maps(torch.channels_last).bfloat16()
    for found, expected in zip(
        value_and_gradient(ours, half), value_and_gradient(definition, half.float()), strict=True
    ):
        assert (found.float() - expected).norm() < 0.01 * expected.norm()


def test_gradients_of_half_precision_stay_in_it_and_in_their_order_of_memory() -> None:
    half = maps(torch.channels_last).bfloat16()
    for ours, _ in MOMENTS.values():
        gradient = value_and_gradient(ours, half)[1]
        assert gradient.dtype == torch.bfloat16
        assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_content_loss_is_the_distance_of_normalised_maps() -> None:
    def normalised(x: Tensor) -> Tensor:
        return (x - x.mean((2, 3), keepdim=True)) * (x.var((2, 3), correction=0, keepdim=True) + 1e-3).rsqrt()

    content = maps().square().roll(5, dims=3)
    content[:, 0] = 0.5  # a channel in which nothing happens

    for found, expected in zip(
        value_and_gradient(lambda x: content_loss([x], [content]), maps()),
        value_and_gradient(lambda x: (normalised(x) - normalised(content)).square().mean(), maps()),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
