"""Refinements: what fits a model, and how they are scaled and added up."""

from __future__ import annotations

import numpy as np
import pytest

from stylize.networks.plan import refinement_fits, refinement_shapes
from stylize.options import ModelSizes
from stylize.styles.refinement import scaled, weighted_sum
from stylize.styles.style_code import Refinement

SIZES = ModelSizes(code=8, widths=(4, 4, 8, 8), bank=2, perceptual=(4, 4, 4, 4, 4), hidden=8)


def made(seed: int, rank: int = 3) -> Refinement:
    random = np.random.default_rng(seed)
    return {name: random.normal(size=s).astype(np.float32) for name, s in refinement_shapes(SIZES, rank).items()}


def kernel_of(refinement: Refinement, layer: str) -> np.ndarray:
    return refinement[f"{layer}.left"] @ refinement[f"{layer}.right"]


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_what_is_made_for_a_model_fits_it_at_any_rank(rank: int) -> None:
    refinement = made(0, rank)
    assert refinement_fits(refinement, SIZES)
    assert refinement_fits({}, SIZES)
    assert refinement_fits({name: refinement[name] for name in ("up2.left", "up2.right")}, SIZES)


@pytest.mark.parametrize(
    "change",
    [
        {"nowhere.left": np.zeros((4, 3)), "nowhere.right": np.zeros((3, 36))},
        {"up2.left": np.zeros((4, 2))},
        {"up2.left": np.zeros((5, 3))},
        {"up2.right": np.zeros((3, 35))},
        {"up2.right": np.zeros(36)},
        {"up2.mix": np.zeros((2, 1))},
        {"out.scale": np.zeros(12)},
    ],
)
def test_what_does_not_fit(change: dict[str, np.ndarray]) -> None:
    assert not refinement_fits({**made(0), **change}, SIZES)


@pytest.mark.parametrize("part", ["left", "right"])
def test_half_of_a_product_does_not_fit(part: str) -> None:
    assert not refinement_fits({name: values for name, values in made(0).items() if name != f"down4.{part}"}, SIZES)


def test_half_of_a_refinement_is_half_of_everything() -> None:
    whole = made(0)
    half = scaled(whole, 0.5)
    np.testing.assert_allclose(kernel_of(half, "up4"), kernel_of(whole, "up4") / 2, rtol=1e-6)
    np.testing.assert_allclose(half["up4.shift"], whole["up4.shift"] / 2, rtol=1e-6)
    assert refinement_fits(half, SIZES)


def test_kernels_add_up_by_their_weights() -> None:
    one, two = made(1), made(2, rank=2)
    total = weighted_sum([one, {}, two], [0.5, 0.2, 0.3])
    assert refinement_fits(total, SIZES)
    for layer in ("stem", "out"):
        expected = 0.5 * kernel_of(one, layer) + 0.3 * kernel_of(two, layer)
        np.testing.assert_allclose(kernel_of(total, layer), expected, atol=1e-5)
        np.testing.assert_allclose(
            total[f"{layer}.mix"], 0.5 * one[f"{layer}.mix"] + 0.3 * two[f"{layer}.mix"], atol=1e-6
        )
    assert all(values.dtype == np.float32 for values in total.values())
