"""Mixing: weighted means, whatever the order, and a style with all of the weight unchanged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylize.errors import OutputError, RefusedError, UsageError
from stylize.styles.mixing import mix
from stylize.styles.style_code import StyleCode


def style(seed: int, **fields: object) -> StyleCode:
    random = np.random.default_rng(seed)
    code = random.normal(size=16)
    code /= np.sqrt(np.square(code).mean())
    palette = np.array([0.5, 0.4, 0.3, 0.05, 0.01, 0.01, 0.05, 0.01, 0.05]) + random.uniform(0, 0.01, 9)
    made = StyleCode(code.astype(np.float32), palette.astype(np.float32), "0" * 64, title=f"style {seed}", images=seed)
    return replace(made, **fields)  # type: ignore[arg-type]


A, B, C = style(1), style(2), style(3)
weights = st.floats(1e-3, 1e3)


@settings(deadline=None)
@given(weights, weights, weights)
def test_order_and_scale_of_the_weights_do_not_matter(a: float, b: float, c: float) -> None:
    mixed = mix([(A, a), (B, b), (C, c)], "x")
    assert mix([(C, c), (A, a), (B, b)], "x").to_bytes() == mixed.to_bytes()
    np.testing.assert_allclose(mix([(A, 8 * a), (B, 8 * b), (C, 8 * c)], "x").code, mixed.code, atol=1e-6)
    wanted = (a * A.code + b * B.code + c * C.code) / (a + b + c)
    np.testing.assert_allclose(mixed.code, wanted, atol=1e-5)
    assert mixed.images == 6


def test_all_of_the_weight_leaves_a_style_as_it_is() -> None:
    refined = replace(A, refinement={"stem.mix": np.ones(4, np.float32)}, thumbnail=b"jpeg")
    for parts in ([(refined, 1.0)], [(B, 0.0), (refined, 0.2)]):
        assert mix(parts, A.title).to_bytes() == refined.to_bytes()


def test_more_weight_is_nearer() -> None:
    distances = [float(np.linalg.norm(mix([(A, w), (B, 1 - w)], "x").code - A.code)) for w in (1, 0.8, 0.5, 0.2, 0)]
    assert distances == sorted(distances)
    assert distances[0] == 0


def test_contrast_changes_evenly() -> None:
    plain = np.array([0.5, 0.5, 0.5, 0, 0, 0, 0, 0, 0], np.float32)
    rich = np.array([0.5, 0.5, 0.5, 0.09, 0, 0, 0.09, 0, 0.09], np.float32)
    found = [mix([(replace(A, palette=rich), w), (replace(B, palette=plain), 1 - w)], "x").palette for w in (0.25, 0.5)]
    np.testing.assert_allclose([np.sqrt(palette[3]) for palette in found], [0.075, 0.15], atol=0.02)


def test_refinements_add_up_by_their_weights() -> None:
    one = replace(A, refinement={"stem.mix": np.array([1, 2], np.float32), "out.shift": np.ones(3, np.float32)})
    two = replace(B, refinement={"stem.mix": np.array([0, -2], np.float32)})
    mixed = mix([(one, 3), (two, 1)], "x").refinement
    np.testing.assert_allclose(mixed["stem.mix"], [0.75, 1.0])
    np.testing.assert_allclose(mixed["out.shift"], [0.75] * 3)
    assert all(values.dtype == np.float32 for values in mixed.values())


def test_opposite_styles_do_not_explode() -> None:
    mixed = mix([(A, 1), (replace(A, code=-A.code), 1)], "x")
    assert np.abs(mixed.code).max() < 1e-3


def test_what_cannot_be_mixed() -> None:
    with pytest.raises(RefusedError):
        mix([(A, 1), (replace(B, model_hash="1" * 64), 1)], "x")
    for parts in ([], [(A, 0.0), (B, 0.0)]):
        with pytest.raises(UsageError):
            mix(parts, "x")


def test_a_style_that_is_named_twice_has_both_weights() -> None:
    refined = replace(A, refinement={"stem.mix": np.ones(4, np.float32)})
    twice, once = mix([(refined, 1), (B, 1), (refined, 2)], "x"), mix([(refined, 3), (B, 1)], "x")
    assert twice.to_bytes() == once.to_bytes()


def test_the_largest_weights_do_not_overflow() -> None:
    huge, plain = mix([(A, 1e308), (B, 1e308)], "x"), mix([(A, 1), (B, 1)], "x")
    assert huge.to_bytes() == plain.to_bytes()


def test_what_is_too_large_to_be_read_is_not_written(tmp_path: Path) -> None:
    large = replace(A, refinement={"stem.left": np.ones((1000, 3000), np.float32)})
    with pytest.raises(OutputError, match="MB"):
        large.save(tmp_path / "large.safetensors")
    assert not list(tmp_path.iterdir())
