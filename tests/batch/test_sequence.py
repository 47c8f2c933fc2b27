"""Frames of one scene: what does not move must not flicker."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from stylize.batch.running import Done
from stylize.batch.running import run as run_batch
from stylize.cli import make_app
from stylize.errors import InputError
from stylize.images.reading import Picture
from stylize.options import BatchOptions
from stylize.painting.look import Look, freeze, paint
from stylize.painting.stylizer import Stylizer
from stylize.styles.style_code import StyleCode

MakePicture = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def stylizer(tiny_model: Path) -> Stylizer:
    return Stylizer(tiny_model, "cpu")


@pytest.fixture(scope="module")
def style(stylizer: Stylizer, make_picture: MakePicture) -> StyleCode:
    return stylizer.encode_style([make_picture(seed=1)])


@pytest.fixture(scope="module")
def frames(make_picture: MakePicture) -> list[Picture]:
    """A still scene into which a bright disc comes from the left."""
    scene = make_picture(160, 640, seed=2)
    rows, columns = np.mgrid[:160, :640]
    frames = []
    for centre in (-60, 0, 60, 120):
        frame = scene.copy()
        frame[(rows - 80) ** 2 + (columns - centre) ** 2 < 60**2] = (255, 240, 90)
        frames.append(Picture(frame, None, "PNG"))
    return frames


def flicker(outputs: list[np.ndarray]) -> float:
    """Mean difference of consecutive frames where nothing ever moves: the right half, out of the disc's reach."""
    still = [output[:, 320:].astype(float) for output in outputs]
    return float(np.mean([np.abs(b - a).mean() for a, b in pairwise(still)]))


@pytest.mark.parametrize(
    "look",
    [Look(), Look(strength=0.5), Look(preserve_color=True), Look(style_scale=2.0), Look(style_scale=0.5)],
    ids=["plain", "strength", "color", "coarse", "fine"],
)
def test_what_does_not_move_does_not_flicker(
    stylizer: Stylizer, style: StyleCode, frames: list[Picture], look: Look
) -> None:
    layers = {None: style}
    frozen = freeze(stylizer, frames, layers, look)
    alone = [paint(stylizer, frame, layers, look, photo="frame.png") for frame in frames]
    together = [paint(stylizer, frame, layers, look, photo="frame.png", frozen=frozen) for frame in frames]
    assert all(output.shape == frame.pixels.shape for output, frame in zip(together, frames, strict=True))
    assert flicker(alone) > 0.5
    assert flicker(together) < 0.05 * flicker(alone)
    # And it is the same style: a frame is not far from what it would be by itself.
    assert np.abs(together[0].astype(float) - alone[0]).mean() < 0.5 * alone[0].std()


def test_a_frame_does_not_depend_on_the_order(stylizer: Stylizer, style: StyleCode, frames: list[Picture]) -> None:
    look, layers = Look(), {None: style}
    frozen = freeze(stylizer, frames, layers, look)
    there = [paint(stylizer, frame, layers, look, photo="x", frozen=frozen) for frame in frames]
    back = [paint(stylizer, frame, layers, look, photo="x", frozen=frozen) for frame in reversed(frames)]
    assert all(np.array_equal(a, b) for a, b in zip(there, reversed(back), strict=True))


def test_one_frame_alone_is_a_photo(stylizer: Stylizer, style: StyleCode, frames: list[Picture]) -> None:
    photo = frames[0].pixels
    found = stylizer.freeze([photo], style)(photo)
    assert np.abs(found.astype(int) - stylizer.transfer(photo, style)).max() <= 2


def test_strength_0_returns_the_frames(stylizer: Stylizer, style: StyleCode, frames: list[Picture]) -> None:
    photo = frames[0].pixels
    assert np.array_equal(stylizer.freeze([photo], style, Look(strength=0))(photo), photo)


def test_frames_of_other_depths_are_refused(stylizer: Stylizer, style: StyleCode, frames: list[Picture]) -> None:
    with pytest.raises(InputError, match="bit depths"):
        stylizer.freeze([frames[0].pixels], style)(frames[1].pixels.astype(np.uint16) * 257)
    with pytest.raises(InputError, match="bit depths"):
        stylizer.freeze([frames[0].pixels, frames[1].pixels.astype(np.uint16) * 257], style)


@pytest.fixture
def folder(frames: list[Picture], tmp_path: Path) -> Path:
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame.pixels).save(tmp_path / "frames" / f"{number:04}.png")
    return tmp_path / "frames"


def batch(*arguments: str | Path) -> str:
    result = CliRunner().invoke(make_app(), ["batch", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stderr


def test_a_batch_of_frames(
    folder: Path, style: StyleCode, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STYLIZE_MODEL", str(tiny_model))
    style.save(tmp_path / "style.safetensors")
    common = (folder, "--style", tmp_path / "style.safetensors", "--device", "cpu")

    def outputs(name: str) -> list[bytes]:
        return [path.read_bytes() for path in sorted((tmp_path / name).glob("*.png"))]

    def painted(name: str) -> list[np.ndarray]:
        return [np.asarray(Image.open(io.BytesIO(data))) for data in outputs(name)]

    batch(*common, "--output", tmp_path / "alone")
    batch(*common, "--output", tmp_path / "together", "--sequence")
    assert len(outputs("together")) == 4
    assert flicker(painted("together")) < 0.05 * flicker(painted("alone"))
    # A frame tells how its scene is made.
    told = CliRunner().invoke(make_app(), ["inspect", str(tmp_path / "together" / "0001.png")]).stdout
    assert "stylize batch frames --sequence --style style.safetensors" in told
    # In shards, the frames that are measured are still spread over all of them, but none is painted along another.
    for shard, name in (("1/2", "shards"), ("2/2", "shards"), ("1/1", "one")):
        told = batch(*common, "--output", tmp_path / name, "--sequence", "--shard", shard)
        assert "warning: frames of several machines are painted each by itself" in told
    assert outputs("shards") == outputs("one")
    assert flicker(painted("shards")) < 0.05 * flicker(painted("alone"))
    # A frame that is made anew goes on from the one before it, which was done before.
    (tmp_path / "together" / "0002.png").unlink()
    batch(*common, "--output", tmp_path / "together", "--sequence")
    assert flicker(painted("together")) < 0.05 * flicker(painted("alone"))
    # A scene that has changed is another scene, for all its frames.
    assert "4 skipped" in batch(*common, "--output", tmp_path / "together", "--sequence")
    Image.new("RGB", (640, 160), "white").save(folder / "0000.png")
    assert "4 ok" in batch(*common, "--output", tmp_path / "together", "--sequence")


def test_a_frame_that_cannot_be_read_spoils_no_other(
    folder: Path, style: StyleCode, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STYLIZE_MODEL", str(tiny_model))
    style.save(tmp_path / "style.safetensors")
    (folder / "0000.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    arguments = ["batch", folder, "--style", tmp_path / "style.safetensors", "-o", tmp_path / "out", "--sequence"]
    result = CliRunner().invoke(make_app(), [*map(str, arguments), "--device", "cpu"])
    assert result.exit_code == 1
    assert "3 ok, 1 failed" in result.stderr


def test_a_frame_that_cannot_be_read_does_not_hide_a_change(
    folder: Path, style: StyleCode, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STYLIZE_MODEL", str(tiny_model))
    style.save(tmp_path / "style.safetensors")
    (folder / "0002b.png").symlink_to(tmp_path / "gone.png")
    common = [str(folder), "--style", str(tmp_path / "style.safetensors"), "--output", str(tmp_path / "out")]
    for strength, words in (("1", "4 ok, 1 failed"), ("0.5", "4 ok, 1 failed"), ("0.5", "1 failed, 4 skipped")):
        options = ["--device", "cpu", "--sequence", "--strength", strength]
        result = CliRunner().invoke(make_app(), ["batch", *common, *options])
        assert words in result.stderr


def test_frames_of_mixed_depths_are_named(
    folder: Path, style: StyleCode, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STYLIZE_MODEL", str(tiny_model))
    style.save(tmp_path / "style.safetensors")
    Image.fromarray(np.full((160, 640), 9000, np.uint16)).save(folder / "0002.png")
    common = [str(folder), "--style", str(tmp_path / "style.safetensors"), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(make_app(), ["batch", *common, "--device", "cpu", "--sequence"])
    assert result.exit_code == 1
    assert f"0003.png has 8 bits and {folder / '0002.png'} has 16 bits\n" in result.stderr
    assert "hint: --bit-depth 8\n" in result.stderr
    result = CliRunner().invoke(make_app(), ["batch", *common, "--device", "cpu", "--sequence", "--bit-depth", "8"])
    assert (result.exit_code, "4 ok" in result.stderr) == (0, True)


def test_frames_go_on_from_what_an_earlier_run_painted(
    folder: Path, style: StyleCode, stylizer: Stylizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cv2")
    from stylize.painting.steady import Steady

    style.save(tmp_path / "style.safetensors")
    gone_on: list[np.ndarray] = []
    monkeypatch.setattr(Steady, "go_on", lambda self, frame, painting: gone_on.append(painting))

    def run() -> list[str]:
        events = run_batch(
            [folder], [tmp_path / "style.safetensors"], tmp_path / "out", how=BatchOptions(sequence=True),
            stylizer=stylizer,
        )  # fmt: skip
        return [event.job.name for event in events if isinstance(event, Done)]

    assert run() == ["0000.png", "0001.png", "0002.png", "0003.png"]
    assert gone_on == []  # frames that were just painted are at hand
    for name in ("0002.png", "0003.png"):
        (tmp_path / "out" / name).unlink()
    assert run() == ["0002.png", "0003.png"]
    before = np.asarray(Image.open(tmp_path / "out/0001.png"))
    assert [np.array_equal(painting, before) for painting in gone_on] == [True]
    # what another program put in the place of a picture is not gone on from
    gone_on.clear()
    Image.new("RGB", (640, 160), "red").save(tmp_path / "out/0002.png")
    (tmp_path / "out/0003.png").unlink()
    assert run() == ["0003.png"]
    assert [np.array_equal(painting, before) for painting in gone_on] == [True]
