"""Moments in style codes: packed and back within their precision, refused when anything is off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylize.errors import RefusedError
from stylize.files import tensors as tensor_file
from stylize.styles.moments import CHANNELS, are_well_formed, names, packed, unpacked, weighted_mean
from stylize.styles.style_code import MAX_CODE_BYTES, StyleCode

Moments = dict[str, np.ndarray]


def random_moments(seed: int = 0) -> Moments:
    random = np.random.default_rng(seed)
    moments: Moments = {}
    for name, channels in names():
        features = random.exponential(50.0, (2 * channels, channels)).astype(np.float32)
        mean, covariance = packed(features.mean(0), np.cov(features.T).astype(np.float32))
        moments[f"{name}.mean"], moments[f"{name}.covariance"] = mean, covariance
    return moments


MOMENTS = random_moments()
CODE = StyleCode(
    np.linspace(-1, 1, 16, dtype=np.float32),
    np.array([0.6, 0.5, 0.3, 0.1, 0.02, 0.01, 0.1, 0.02, 0.1], np.float32),
    "0123456789abcdef" * 4,
    moments=MOMENTS,
)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(CHANNELS), st.sampled_from([10.0, 100.0, 500.0]), st.integers(0, 99))
def test_packing_keeps_a_thousandth(channels: int, size: float, seed: int) -> None:
    features = np.random.default_rng(seed).exponential(size, (2 * channels, channels)).astype(np.float32)
    covariance = np.cov(features.T).astype(np.float32)
    mean, triangle = packed(features.mean(0), covariance)
    back = unpacked({"1.1.mean": mean, "1.1.covariance": triangle}, "1.1")
    np.testing.assert_allclose(back[0], features.mean(0), rtol=1e-5)
    assert np.linalg.norm(back[1] - covariance) < 2e-3 * np.linalg.norm(covariance)
    assert np.array_equal(back[1], back[1].T)


def test_a_file_gives_them_back(tmp_path: Path) -> None:
    CODE.save(tmp_path / "fine.safetensors")
    kept = StyleCode.load(tmp_path / "fine.safetensors")
    assert kept.to_bytes() == CODE.to_bytes()
    assert 700_000 < (tmp_path / "fine.safetensors").stat().st_size < 900_000 < MAX_CODE_BYTES
    assert kept.content_hash() == replace(CODE, moments={}).content_hash()


def changed(name: str, values: np.ndarray | None) -> Moments:
    others = {key: each for key, each in MOMENTS.items() if key != name}
    return others if values is None else others | {name: values}


MEAN, COVARIANCE = MOMENTS["4.1.mean"], MOMENTS["4.1.covariance"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("4.1.mean", None),
        ("4.1.covariance", None),
        ("4.1.mean", MEAN[:-1]),
        ("4.1.mean", MEAN[None]),
        ("4.1.mean", MEAN.astype(np.float64)),
        ("4.1.mean", -MEAN),
        ("4.1.mean", np.where(np.arange(64) == 3, np.nan, MEAN).astype(np.float32)),
        ("4.1.covariance", COVARIANCE[:-1]),
        ("4.1.covariance", COVARIANCE.astype(np.float32)),
        ("4.1.covariance", -COVARIANCE),
        ("4.1.covariance", np.where(np.arange(2080) == 3, np.inf, COVARIANCE).astype(np.float16)),
        ("8.1.mean", MEAN),
        ("4.9.covariance", COVARIANCE),
        ("", MEAN),
    ],
)
def test_other_moments_are_refused(tmp_path: Path, name: str, values: np.ndarray | None) -> None:
    (tmp_path / "odd.safetensors").write_bytes(replace(CODE, moments=changed(name, values)).to_bytes())
    with pytest.raises(RefusedError) as caught:
        StyleCode.load(tmp_path / "odd.safetensors")
    assert caught.value.hint


def test_damage_is_seen(tmp_path: Path) -> None:
    raw = bytearray(CODE.to_bytes())
    raw[-5] ^= 1  # a digit of the last of the numbers
    (tmp_path / "damaged.safetensors").write_bytes(raw)
    with pytest.raises(RefusedError, match="hash"):
        StyleCode.load(tmp_path / "damaged.safetensors")


def test_an_older_reader_is_asked_by_the_same_format() -> None:
    """Without moments, a file is what it was before there were any."""
    tensors, metadata = tensor_file.parse(replace(CODE, moments={}).to_bytes(), "file")
    assert set(tensors) == {"code", "palette"} and metadata["stylize.format"] == "1"


def test_the_mean_of_equal_moments_is_the_same() -> None:
    mean = weighted_mean([MOMENTS, MOMENTS], [0.25, 0.75])
    assert are_well_formed(mean)
    assert all(np.array_equal(mean[name], MOMENTS[name]) for name in MOMENTS)
    assert weighted_mean([MOMENTS, {}], [0.5, 0.5]) == {}
