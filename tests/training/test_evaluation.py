"""Evaluation: the measures are what they claim to be, and pairs, pictures and discriminators are chosen as promised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MakePicture, WritePicture
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stylize.errors import InputError, RefusedError, UsageError
from stylize.networks.model import load_model
from stylize.options import LossWeights, TrainingOptions
from stylize.painting.stylizer import Stylizer
from stylize.training.checkpoint import TrainingState
from stylize.training.devices import World
from stylize.training.evaluation import (
    Critic,
    Judge,
    Pair,
    evaluate,
    load_judge,
    means,
    pair_up,
    select,
    share_better,
    spread,
    ssim,
)
from stylize.training.loop import train

CPU = torch.device("cpu")
SIZE = 64


@pytest.fixture(scope="module")
def judge(make_picture: MakePicture) -> Judge:
    return Judge(load_judge("light"), [make_picture(SIZE, SIZE, seed) for seed in range(4)], CPU)


def tensor(pixels: np.ndarray) -> Tensor:
    return torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255


def files_of(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.iterdir())


# The measures


def test_a_photo_against_itself(judge: Judge, make_picture: MakePicture) -> None:
    photo, style = judge.look(make_picture(SIZE, SIZE, seed=5)), judge.look(make_picture(SIZE, SIZE, seed=6))
    scores = judge.score(photo, style, photo)
    assert scores["ssim"] == pytest.approx(1)
    assert scores["content"] == scores["content_mvn"] == 0
    assert scores["style"] > 0.01 and scores["gram"] > 0.01


def test_a_style_against_itself(judge: Judge, make_picture: MakePicture) -> None:
    photo, style = judge.look(make_picture(SIZE, SIZE, seed=5)), judge.look(make_picture(SIZE, SIZE, seed=6))
    scores = judge.score(photo, style, style)
    assert scores["style"] == 0
    assert scores["gram"] == pytest.approx(0, abs=1e-4)
    assert scores["ssim"] < 0.9
    assert scores["content"] > 0.01 and scores["content_mvn"] > 0.01


def test_style_does_not_ask_where_things_are(judge: Judge) -> None:
    """A texture, moved, is the same style; as content it is something else."""
    texture = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    texture[::4] //= 3
    style, moved, turned = (judge.look(p) for p in (texture, np.roll(texture, 16, (0, 1)), np.rot90(texture).copy()))
    scores, worse = judge.score(style, style, moved), judge.score(style, style, turned)
    assert scores["style"] < 0.05 * worse["style"] and scores["gram"] < 0.2 * worse["gram"]
    assert scores["ssim"] < 0.6 and scores["content_mvn"] > 0.02


def test_ssim_is_that_of_the_paper(make_picture: MakePicture) -> None:
    """Window by window, from the definition."""
    one, other = make_picture(16, 19, seed=1), make_picture(16, 19, seed=2) // 2 + make_picture(16, 19, seed=1) // 2
    x, y = (np.rint(picture @ np.array([0.299, 0.587, 0.114])) for picture in (one, other))
    values = []
    for top in range(16 - 6):
        for left in range(19 - 6):
            a, b = (grey[top : top + 7, left : left + 7].ravel() for grey in (x, y))
            (var_a, cov), (_, var_b) = np.cov(a, b)
            light = (2 * a.mean() * b.mean() + 2.55**2) / (a.mean() ** 2 + b.mean() ** 2 + 2.55**2)
            values.append(light * (2 * cov + 7.65**2) / (var_a + var_b + 7.65**2))
    assert ssim(tensor(one), tensor(other)) == pytest.approx(np.mean(values), abs=1e-6)
    assert ssim(tensor(other), tensor(one)) == pytest.approx(ssim(tensor(one), tensor(other)))


def test_ssim_falls_with_noise(make_picture: MakePicture) -> None:
    picture = make_picture(SIZE, SIZE).astype(int)
    noise = np.random.default_rng(0).normal(0, 1, picture.shape)
    noisy = [np.clip(picture + amount * noise, 0, 255).astype(np.uint8) for amount in (0, 5, 20, 80)]
    values = [ssim(tensor(noisy[0]), tensor(one)) for one in noisy]
    assert values[0] == pytest.approx(1) and values == sorted(values, reverse=True) and values[-1] < 0.5


def test_the_judge_is_normalised_on_its_pictures(make_picture: MakePicture) -> None:
    pictures = [make_picture(SIZE, SIZE, seed) for seed in range(3)]
    seen: list[int] = []
    judge = Judge(load_judge("light"), pictures, CPU, on_done=seen.append)
    assert seen == [0, 1, 2, 3]
    for layer in range(5):
        mean = torch.stack([judge.look(picture).statistics[layer].mean[0] for picture in pictures]).mean(0)
        assert mean.max() == pytest.approx(1, abs=1e-3)
        assert (mean > 0.99).float().mean() > 0.5  # but for those that hardly fire


# Pairs and pictures


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 200))
def test_pairs(contents: int, styles: int, wanted: int) -> None:
    pairs = pair_up(contents, styles, wanted)
    assert len(pairs) == len(set(pairs)) == min(wanted, contents * styles)
    assert pairs == sorted(pairs)
    assert all(0 <= i < contents and 0 <= j < styles for i, j in pairs)
    counts = np.bincount([i for i, _ in pairs], minlength=contents)
    assert counts.max() - counts.min() <= 1


@given(st.integers(1, 100), st.integers(1, 100))
def test_spread(count: int, most: int) -> None:
    chosen = spread(range(count), most)
    assert len(chosen) == min(count, most)
    assert chosen == sorted(set(chosen)) and chosen[0] == 0
    gaps = np.diff([*chosen, count])
    assert gaps.max() - gaps.min() <= 1


def test_only_the_pictures_that_are_needed_are_read(photo_folder: Path, style_folder: Path) -> None:
    warnings: list[str] = []
    broken = [*files_of(style_folder), Path("gone.png"), Path("gone2.png")]  # beyond the styles that one photo meets
    selection = select(files_of(photo_folder), broken[:3], 2, SIZE, warnings.append)
    assert ([c.name for c in selection.contents], selection.pairs) == (["photo0.png", "photo1.png"], [(0, 0), (1, 1)])
    assert len(selection.styles) == 2 and not warnings
    assert all(p.pixels.shape == (SIZE, SIZE, 3) for p in (*selection.contents, *selection.styles))


def test_bad_pictures_are_named_and_left_out(
    tmp_path: Path, photo_folder: Path, style_folder: Path, write_picture: WritePicture
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    tiny = write_picture(tmp_path / "tiny.png", np.zeros((8, 90, 3), np.uint8))
    warnings: list[str] = []
    photos = [tmp_path / "bad.jpg", tmp_path / "gone.png", tiny, *files_of(photo_folder)]
    selection = select(photos, files_of(style_folder), 9, SIZE, warnings.append)
    assert len(selection.contents) == 3 and len(selection.pairs) == 9
    assert [
        name for name in ("bad.jpg", "gone.png", "tiny.png") for w in warnings if name in w and "left out" in w
    ] == [
        "bad.jpg",
        "gone.png",
        "tiny.png",
    ]
    with pytest.raises(InputError, match="no picture is left") as caught:
        select(photos[:3], files_of(style_folder), 9, SIZE, warnings.append)
    assert "tiny.png" in caught.value.hint


# Models


def test_strength_0_is_the_photo(stylizer: Stylizer, judge: Judge, photo_folder: Path, style_folder: Path) -> None:
    selection = select(files_of(photo_folder), files_of(style_folder), 4, SIZE, print)
    pairs = list(evaluate(selection, {"model": stylizer}, judge, strength=0))
    assert [(p.content.name, p.style.name) for p in pairs] == [
        ("photo0.png", "style0.png"), ("photo0.png", "style1.png"),
        ("photo1.png", "style1.png"), ("photo2.png", "style2.png"),
    ]  # fmt: skip
    for pair in pairs:
        assert pair.scores["model"] == pair.scores["photo"]
        assert (pair.outputs["model"] == pair.content.pixels).all()
    with pytest.raises(UsageError):
        next(evaluate(selection, {"model": stylizer}, judge, strength=2))


def test_an_output_is_what_the_model_paints(
    stylizer: Stylizer, judge: Judge, photo_folder: Path, style_folder: Path
) -> None:
    selection = select(files_of(photo_folder), files_of(style_folder), 1, SIZE, print)
    (pair,) = evaluate(selection, {"a": stylizer, "b": stylizer}, judge, strength=0.7)
    content, style = (one[0].pixels for one in selection[:2])
    painted = stylizer.transfer(content, stylizer.encode_style([style]), strength=0.7)
    assert (pair.outputs["a"] == painted).all()
    assert pair.scores["a"] == pair.scores["b"] == judge.score(*map(judge.look, (content, style, painted)))
    assert share_better([pair], "a", "b") == dict.fromkeys(pair.scores["a"], 0.5)


def test_means_and_shares() -> None:
    def pair(ssim: float, gram: float) -> Pair:
        scores = {"model": {"ssim": ssim, "gram": gram}, "compare": {"ssim": 0.5, "gram": 0.5}}
        return Pair(None, None, {}, scores)  # type: ignore[arg-type]

    pairs = [pair(0.6, 0.6), pair(0.7, 0.4), pair(0.8, 0.5), pair(0.5, 0.7)]
    assert means(pairs)["model"] == pytest.approx({"ssim": 0.65, "gram": 0.55})
    assert share_better(pairs, "model", "compare") == {"ssim": 3.5 / 4, "gram": 1.5 / 4}


# The discriminator


@pytest.fixture
def trained(
    tiny_model: Path, tmp_path: Path, photo_folder: Path, style_folder: Path
) -> Callable[..., tuple[Path, TrainingOptions]]:
    def start(adversarial: float = 1.0) -> tuple[Path, TrainingOptions]:
        options = TrainingOptions(
            steps=1, styles=2, contents=1, crop=32, style_crop=32, sample_every=100, adversarial_start=0.0,
            init=str(tiny_model), weights=LossWeights(adversarial=adversarial),
        )  # fmt: skip
        return train([photo_folder], [style_folder], tmp_path / "run", options, world=World(CPU)).parent, options

    return start


def test_the_discriminator_of_a_run_scores(
    trained: Callable[..., tuple[Path, TrainingOptions]],
    stylizer: Stylizer,
    judge: Judge,
    photo_folder: Path,
    style_folder: Path,
) -> None:
    run, options = trained()
    selection = select(files_of(photo_folder), files_of(style_folder), 2, SIZE, print)
    first, second = evaluate(selection, {"model": stylizer}, judge, Critic(run, CPU))
    assert set(first.scores) == {"photo", "art", "model"} and set(first.scores["art"]) == {"discriminator"}

    state = TrainingState(replace(options, init=str(run / "model.safetensors")), CPU)
    state.load(max((run / "checkpoints").iterdir()))
    encoder = load_model(run / "model.safetensors").encoder
    with torch.no_grad():
        for pair in (first, second):
            code = encoder(tensor(pair.style.pixels))[0]
            for name, pixels in {"photo": pair.content.pixels, "art": pair.style.pixels, **pair.outputs}.items():
                expected = float(state.discriminator.eval()(tensor(pixels), code).mean())
                assert pair.scores[name]["discriminator"] == pytest.approx(expected, abs=1e-5)


def test_a_discriminator_that_learnt_nothing_is_refused(
    trained: Callable[..., tuple[Path, TrainingOptions]], tmp_path: Path, tiny_model: Path
) -> None:
    with pytest.raises(RefusedError, match="not been trained") as caught:
        Critic(trained(adversarial=0.0)[0], CPU)
    assert "weights.adversarial" in caught.value.hint
    with pytest.raises(InputError, match="no checkpoint"):
        Critic(tmp_path / "gone", CPU)
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    checkpoint.write_bytes(tiny_model.read_bytes())
    with pytest.raises(RefusedError, match="not a checkpoint"):
        Critic(tmp_path / "run", CPU)
