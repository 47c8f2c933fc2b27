"""Refining: nearer to the pictures on unseen photos of the same kind, content fenced, the same every time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stylize.errors import RefusedError, UsageError
from stylize.files.packaged import packaged
from stylize.networks.generator import extend
from stylize.networks.perceptual import PerceptualNetwork
from stylize.networks.plan import RANK, refinement_shapes
from stylize.options import RefineOptions
from stylize.painting.stylizer import Stylizer
from stylize.styles.mixing import mix
from stylize.styles.style_code import StyleCode
from stylize.training import refine as module
from stylize.training.data import to_tensor
from stylize.training.events import Doing, Ended, Event
from stylize.training.refine import packaged_photos, photo_windows, refine
from stylize.training.refine_objective import Painting, Progress

MakePicture = Callable[..., np.ndarray]


SMALL = RefineOptions(crop=64, zoom=96, windows=4, check_every=4, perceptual="light")


@pytest.fixture(scope="module")
def picture(make_picture: MakePicture) -> np.ndarray:
    return make_picture(seed=100)


@pytest.fixture
def photos(make_picture: MakePicture) -> list[np.ndarray]:
    return [make_picture(seed=1), make_picture(seed=2)]


@pytest.fixture(scope="module")
def shipped() -> Stylizer:
    """What an untrained network paints cannot be brought nearer to a style."""
    return Stylizer(packaged("default"), "cpu", engine="torch")


@pytest.fixture(scope="module")
def plain(shipped: Stylizer, picture: np.ndarray) -> StyleCode:
    return shipped.encode_style([picture])


@pytest.fixture(scope="module")
def refined(
    shipped: Stylizer, plain: StyleCode, picture: np.ndarray, make_picture: MakePicture
) -> tuple[StyleCode, list[Progress]]:
    seen: list[Progress] = []
    photos = [make_picture(seed=1), make_picture(seed=2)]
    options = replace(SMALL, crop=96, rate=0.02, steps=80)
    return refine(shipped, plain, [picture], photos=photos, options=options, report=seen.append), seen


@pytest.mark.slow
def test_the_style_comes_nearer_and_the_content_stays(
    plain: StyleCode, refined: tuple[StyleCode, list[Progress]]
) -> None:
    style, seen = refined
    first, last = seen[0], seen[-1]
    assert first.step == 0 < last.step
    assert last == seen[-2]
    assert first.kept == pytest.approx(1)
    assert last.distance < 0.9 * first.distance
    assert last.kept < 1.25  # 1.6 at no price
    assert not plain.refinement  # the plain code is another
    assert (style.palette == plain.palette).all()


def test_the_same_every_time_whatever_the_order(
    stylizer: Stylizer, photos: list[np.ndarray], make_picture: MakePicture
) -> None:
    options = replace(SMALL, fence=0.0, price=0.0, rate=0.01, steps=25)  # with nothing to pay, a few steps are a gain
    pictures = [make_picture(seed=seed) for seed in (3, 4)]
    plain = stylizer.encode_style(pictures)
    one = refine(stylizer, plain, pictures, weights=[1, 0.5], photos=photos, options=options)
    other = refine(stylizer, plain, pictures[::-1], weights=[0.5, 1], photos=photos, options=options)
    assert one.to_bytes() == other.to_bytes() != plain.to_bytes()


@pytest.mark.slow
def test_a_refined_style_works_wherever_a_plain_one_does(
    shipped: Stylizer,
    plain: StyleCode,
    refined: tuple[StyleCode, list[Progress]],
    make_picture: MakePicture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    style, photo = refined[0], make_picture(70, 90, seed=9)
    style.save(tmp_path / "refined.safetensors")
    assert (tmp_path / "refined.safetensors").stat().st_size < 256 << 10
    loaded = StyleCode.load(tmp_path / "refined.safetensors")
    output = shipped.transfer(photo, style)
    assert (shipped.transfer(photo, loaded) == output).all()
    assert (output != shipped.transfer(photo, plain)).any()
    monkeypatch.setattr("stylize.painting.tiles.WHOLE_PROXY", 0)  # else a photo so small is done at once
    output = shipped.transfer(photo, style)
    tiled = shipped.transfer(photo, style, tile=32)
    assert np.abs(tiled.astype(int) - output).max() <= 1
    steps = [np.abs(shipped.transfer(photo, style, strength=s).astype(int) - photo).mean() for s in (0, 0.5, 1)]
    assert steps[0] == 0 < steps[1] < steps[2]
    both = mix([(style, 1), (plain, 1)], "both")
    name = next(iter(style.refinement))
    np.testing.assert_allclose(both.refinement[name], style.refinement[name] / 2, rtol=1e-5)


def test_the_window_that_decides_is_never_painted_on(
    stylizer: Stylizer,
    style_code: StyleCode,
    picture: np.ndarray,
    photos: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[bool, int]] = []
    paint = module._VariedStyle.paint

    def spy(self: module._VariedStyle, chosen: list[int]) -> Painting:
        calls.extend((torch.is_grad_enabled(), window) for window in chosen)
        return paint(self, chosen)

    monkeypatch.setattr(module._VariedStyle, "paint", spy)
    refine(stylizer, style_code, [picture], photos=photos, options=replace(SMALL, steps=6))
    plain, later = calls[:8], calls[8:]  # first, every window is painted in the plain style
    assert plain == [(False, window) for window in range(8)]
    assert {window for learning, window in later if learning} == {0, 1, 2, 4, 5, 6}
    assert {window for learning, window in later if not learning} == {3, 7}


@pytest.mark.parametrize(("installed", "network"), [(True, "vgg19"), (False, "light")])
def test_vgg19_is_chosen_where_it_is_installed(monkeypatch: pytest.MonkeyPatch, installed: bool, network: str) -> None:
    monkeypatch.setattr(module, "has_vgg19", lambda: installed)
    assert module.chosen("auto") == network
    assert module.chosen("light") == "light"
    with pytest.raises(UsageError, match="vgg16"):
        module.chosen("vgg16")


def test_refining_with_vgg19(
    stylizer: Stylizer,
    style_code: StyleCode,
    picture: np.ndarray,
    photos: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    network = PerceptualNetwork((4, 4, 8, 8, 8))
    monkeypatch.setattr(module, "load_vgg19", lambda: network)
    seen: list[Progress] = []
    options = replace(SMALL, steps=1, perceptual="vgg19")
    refine(stylizer, style_code, [picture], photos=photos, options=options, report=seen.append)
    assert np.isfinite([seen[0].distance, seen[0].content]).all()
    light: list[Progress] = []
    refine(stylizer, style_code, [picture], photos=photos, options=replace(SMALL, steps=1), report=light.append)
    assert light[0].style != seen[0].style
    # Normalised on the photos and the style: every channel's mean over them is 1, or the channel hardly fires.
    windows = [window for photo in photos for window in photo_windows(photo, SMALL)]
    with torch.no_grad():
        maps = [
            network(to_tensor([p], torch.device("cpu")).to(network.blocks[0][0].weight.dtype))
            for p in (*windows, picture)
        ]
    means = torch.stack([m[0].float().mean((0, 2, 3)) for m in maps]).mean(0)
    assert (means < 1.1).all() and means.max() > 0.9


def test_the_precision_is_that_of_the_processor(
    stylizer: Stylizer,
    style_code: StyleCode,
    picture: np.ndarray,
    photos: list[np.ndarray],
    set_bf16: Callable[[bool], None],
) -> None:
    found = []
    for there in (True, False):
        set_bf16(there)
        seen: list[Progress] = []
        refine(stylizer, style_code, [picture], photos=photos, options=replace(SMALL, steps=2), report=seen.append)
        found.append(seen[0].distance)
    assert found[0] != found[1]
    assert found[0] == pytest.approx(found[1], rel=0.1)


def test_what_is_done_is_told_and_a_stop_gives_the_best_so_far(
    stylizer: Stylizer, style_code: StyleCode, picture: np.ndarray, photos: list[np.ndarray]
) -> None:
    options = replace(SMALL, fence=0.0, price=0.0, rate=0.01, steps=40, check_every=20)
    told: list[Event] = []
    asked: list[float] = []

    def stopping(seconds: float) -> bool:
        asked.append(seconds)
        return len(asked) == 25

    seen: list[Progress] = []
    style = refine(
        stylizer, style_code, [picture], photos=photos, options=options,
        report=seen.append, listener=told.append, stopping=stopping,
    )  # fmt: skip
    phases = dict.fromkeys(event.what for event in told if isinstance(event, Doing))
    assert list(phases) == ["prepare the filters", "measure the style", "measure the photos", "refine"]
    steps = [event for event in told if isinstance(event, Doing) and event.what == "refine"]
    assert list(dict.fromkeys(event.done for event in steps)) == list(range(26))
    assert [event.done for event in steps if event.note] == [0, 20, 25]  # judged
    assert isinstance(told[-1], Ended) and (told[-1].step, told[-1].steps) == (25, 40)
    assert [progress.step for progress in seen[:-1]] == [0, 20, 25]
    assert style.to_bytes() != style_code.to_bytes()
    assert min(asked) > 0


def test_the_last_step_is_kept_if_it_is_nearer_than_the_plain_style(
    stylizer: Stylizer, style_code: StyleCode, picture: np.ndarray, photos: list[np.ndarray]
) -> None:
    seen: list[Progress] = []
    options = replace(SMALL, fence=1e6, price=0.0, rate=0.01, steps=24)  # by its content, no step would be the best
    style = refine(stylizer, style_code, [picture], photos=photos, options=options, report=seen.append)
    assert seen[-2].distance < seen[0].distance
    assert seen[-1] == seen[-2]
    assert style.to_bytes() != style_code.to_bytes()


def test_without_a_gain_the_plain_style_comes_back(
    stylizer: Stylizer, style_code: StyleCode, picture: np.ndarray, photos: list[np.ndarray]
) -> None:
    options = replace(SMALL, rate=30.0, steps=2)  # wrecks it
    assert refine(stylizer, style_code, [picture], photos=photos, options=options) is style_code


def test_modulations_add_up(stylizer: Stylizer, style_code: StyleCode) -> None:
    engine = stylizer.torch_engine()
    generator = engine.model.generator
    with torch.no_grad():
        modulations = generator.modulations(torch.from_numpy(style_code.code)[None])
        added = {name: np.full(size, 0.5, np.float32) for name, size in refinement_shapes(engine.sizes).items()}
        extended = extend(modulations, added)
    for name, modulation in modulations.items():
        for part in ("mix", "scale", "shift"):
            before, after = getattr(modulation, part), getattr(extended[name], part)
            assert torch.allclose(after, before + (0.5 if f"{name}.{part}" in added else 0.0))
        kernel = extended[name].added
        assert kernel is not None
        assert torch.allclose(kernel, torch.full_like(kernel, RANK * 0.5 * 0.5))
    assert "out.scale" not in added


@pytest.mark.parametrize(("name", "size"), [("stem.mix", 3), ("nowhere.mix", 2), ("out.scale", 12), ("stem.shift", 99)])
def test_a_refinement_of_other_layers_is_refused(
    stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture, name: str, size: int
) -> None:
    style = replace(style_code, refinement={name: np.zeros(size, np.float32)})
    with pytest.raises(RefusedError, match="refines layers"):
        stylizer.transfer(make_picture(16, 16), style)


def test_what_makes_no_sense(stylizer: Stylizer, style_code: StyleCode, picture: np.ndarray) -> None:
    for pictures, steps in [([], 5), ([picture], 0)]:
        with pytest.raises(UsageError):
            refine(stylizer, style_code, pictures, options=RefineOptions(steps=steps))
    with pytest.raises(RefusedError):
        refine(stylizer, replace(style_code, model_hash="0" * 64), [picture])


def test_windows_have_one_size_whatever_the_photo(make_picture: MakePicture) -> None:
    for photo in (*packaged_photos(), make_picture(20, 300), make_picture(1, 1)):
        assert {window.shape for window in photo_windows(photo, SMALL)} == {(64, 64, 3)}
