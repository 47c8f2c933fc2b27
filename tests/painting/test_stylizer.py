"""Transfer: any size, the same pixels whatever the tiles, and a style that is a function of its pictures alone."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stylize.engines import device
from stylize.engines.device import free_memory
from stylize.engines.protocol import Engine, Painter
from stylize.errors import RefusedError, StylizeError, UsageError
from stylize.images.reading import read_image
from stylize.networks.generator import FoldedGenerator
from stylize.networks.model import Model, load_model, save_model
from stylize.networks.plan import Margins
from stylize.painting import stylizer as transfer
from stylize.painting import tiles
from stylize.painting.stylizer import Stylizer, at_working_size, keep_color
from stylize.styles.style_code import StyleCode

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
MakePicture = Callable[..., np.ndarray]


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    assert a.shape == b.shape and a.dtype == b.dtype == np.uint8
    return np.abs(a.astype(int) - b)


@pytest.fixture
def no_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos of any size are measured on windows and painted in tiles, as large ones are."""
    monkeypatch.setattr(tiles, "WHOLE_PROXY", 0)


def chroma(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).convert("YCbCr"))[..., 1:]


@pytest.mark.usefixtures("no_whole")
@pytest.mark.parametrize("tile", [1, 48, 100, 256])
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (7, 3), (16, 16), (129, 257)])
def test_tiles_give_the_pixels_of_the_whole(
    stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture, shape: tuple[int, int], tile: int
) -> None:
    if tile == 1:
        shape = min(shape, (48, 48))  # tiles of 16 pixels are slow
    photo = make_picture(*shape, seed=4)
    whole = stylizer.transfer(photo, style_code)
    assert difference(stylizer.transfer(photo, style_code, tile=tile), whole).max() <= 1
    assert whole.shape == photo.shape


@pytest.mark.parametrize("tile", [320, 4096])
def test_a_large_photos_statistics_do_not_depend_on_the_tiles(
    stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture, tile: int
) -> None:
    photo = make_picture(1400, 1600, seed=3)
    assert photo.shape[0] * photo.shape[1] > tiles.WHOLE_PROXY
    expected = stylizer.transfer(photo, style_code, tile=640)
    assert difference(stylizer.transfer(photo, style_code, tile=tile), expected).max() <= 1


def test_a_large_photos_windows_stand_for_the_whole(
    stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = make_picture(400, 600, seed=3)
    whole = stylizer.transfer(photo, style_code)
    monkeypatch.setattr(tiles, "WHOLE_PROXY", 0)
    assert 0 < difference(stylizer.transfer(photo, style_code), whole).mean() < 0.3 * whole.std()


@pytest.mark.usefixtures("no_whole")
@pytest.mark.parametrize("tile", [32, 64])
def test_the_shipped_model_tiles_without_seams(
    shipped_stylizer: Stylizer, make_picture: MakePicture, tile: int
) -> None:
    style, photo = shipped_stylizer.encode_style([make_picture(seed=1)]), make_picture(90, 70, seed=2)
    whole = shipped_stylizer.transfer(photo, style)
    assert difference(shipped_stylizer.transfer(photo, style, tile=tile), whole).max() <= 1


@pytest.mark.usefixtures("no_whole")
def test_there_are_no_seams(shipped_stylizer: Stylizer, make_picture: MakePicture) -> None:
    tile = 48
    style, photo = shipped_stylizer.encode_style([make_picture(seed=1)]), make_picture(4 * tile, 4 * tile, seed=2)
    output = shipped_stylizer.transfer(photo, style, tile=tile).astype(float)
    for steps in (np.abs(np.diff(output, axis=0)).mean((1, 2)), np.abs(np.diff(output, axis=1)).mean((0, 2))):
        seams = steps[tile - 1 :: tile]  # between one tile's last row and the next one's first
        # The strokes' grid of 16 pixels is everywhere; a seam would stand out from the other lines of that grid.
        elsewhere = [value for k, value in enumerate(steps) if k % 16 == 15 and k % tile != tile - 1]
        assert seams.mean() < 1.25 * np.mean(elsewhere)


def test_a_small_photo_is_done_whole_whatever_the_tile(
    stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture
) -> None:
    photo = make_picture(70, 90)
    assert np.array_equal(stylizer.transfer(photo, style_code, tile=16), stylizer.transfer(photo, style_code))


def test_whole_and_in_tiles_a_photo_is_the_same(
    stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture
) -> None:
    photo = make_picture(96, 128, seed=7)
    border = transfer.BORDER
    windows = tiles.window_at(photo, 0, 0, 96, 128, Margins(border, border, border, border))[None]
    inner = windows[:, border:-border, border:-border]
    colours = transfer.palette_map(transfer.palette_of_pixels(inner), style_code.palette)
    origins = [(-border, -border)]
    painted, paint = stylizer.engine.measure(
        style_code.code, {}, style_code.palette, colours, tiles.to_cells(windows), origins
    )
    off = difference(tiles.paint_tiles(paint, photo, 48), tiles.to_pixels(painted)[0])
    assert np.quantile(off, 0.999) <= 2


FLAT = {"one pixel": (1, 1, 90), "grey": (40, 30, 128), "white": (60, 90, 255), "black": (20, 20, 0)}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("height", "width", "tone"), FLAT.values(), ids=FLAT)
def test_a_flat_photo_gets_no_more_contrast_than_the_style_has(
    shipped_stylizer: Stylizer, make_picture: MakePicture, height: int, width: int, tone: int, seed: int
) -> None:
    pixels, photo = make_picture(seed=seed), np.full((height, width, 3), tone, np.uint8)
    output = shipped_stylizer.transfer(photo, shipped_stylizer.encode_style([pixels]))
    assert output.shape == photo.shape
    assert output.std((0, 1)).max() < 1.1 * pixels.std((0, 1)).max()  # what the grain became is not blown up


def test_strength_0_is_the_photo(stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture) -> None:
    photo = make_picture(30, 40)
    output = stylizer.transfer(photo, style_code, strength=0)
    assert np.array_equal(output, photo)
    output[:] = 0  # the caller's photo is another array
    assert np.array_equal(photo, make_picture(30, 40))


def test_strength_leads_from_the_photo_to_the_style(shipped_stylizer: Stylizer, make_picture: MakePicture) -> None:
    style, photo = shipped_stylizer.encode_style([make_picture(seed=1)]), make_picture(128, 96, seed=2)
    outputs = [shipped_stylizer.transfer(photo, style, strength=s) for s in (0, 0.25, 0.5, 0.75, 1)]
    distances = [difference(output, photo).mean() for output in outputs]
    assert all(later > earlier - 0.5 for earlier, later in pairwise(distances))
    assert distances[1] < 0.6 * distances[-1] and distances[-1] > 2
    steps = [difference(a, b).mean() for a, b in pairwise(outputs)]
    assert max(steps) < 0.8 * sum(steps)  # no jump


@pytest.mark.slow
@pytest.mark.parametrize("preserve_color", [False, True])
@pytest.mark.parametrize("name", ["swirls", "ink", "watercolour"])
def test_more_strength_is_farther_from_the_photo(shipped_stylizer: Stylizer, name: str, preserve_color: bool) -> None:
    style = shipped_stylizer.encode_style([read_image(EXAMPLES / f"styles/{name}.jpg").pixels])
    photo = read_image(EXAMPLES / "photos/astronaut.jpg").pixels[60:252, 120:312]
    distances = [
        difference(
            shipped_stylizer.transfer(photo, style, strength=step / 10, preserve_color=preserve_color), photo
        ).mean()
        for step in range(11)
    ]
    assert distances[0] == 0
    assert all(later > earlier for earlier, later in pairwise(distances)), distances


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_other_strengths_are_refused(
    stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture, strength: float
) -> None:
    with pytest.raises(UsageError):
        stylizer.transfer(make_picture(16, 16), style_code, strength=strength)


@pytest.mark.parametrize("tile", [0, -16])
def test_tiles_without_pixels_are_refused(
    stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture, tile: int
) -> None:
    with pytest.raises(UsageError):
        stylizer.transfer(make_picture(16, 16), style_code, tile=tile)


def test_the_photos_colours_can_be_kept(stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture) -> None:
    photo = np.clip(make_picture(64, 96, seed=5), 60, 190)  # far from the border of the colours that exist
    kept = stylizer.transfer(photo, style_code, preserve_color=True)
    changed = stylizer.transfer(photo, style_code)
    assert difference(chroma(kept), chroma(photo)).mean() < 2 < 5 < difference(chroma(changed), chroma(photo)).mean()
    assert difference(kept, photo).mean() > 2  # its lightness did change


def test_a_dark_style_leaves_a_photo_that_keeps_its_colours_light(
    shipped_stylizer: Stylizer, make_picture: MakePicture
) -> None:
    photo, dark = make_picture(96, 96, seed=5), shipped_stylizer.encode_style([make_picture(seed=1) // 4])
    kept, changed = (shipped_stylizer.transfer(photo, dark, preserve_color=keep) for keep in (True, False))
    assert abs(kept.mean() - photo.mean()) < 20 < photo.mean() - changed.mean()


def test_keeping_the_colours_takes_only_the_lightness(make_picture: MakePicture) -> None:
    photo = np.clip(make_picture(32, 32, seed=1), 80, 170)
    darker = photo - 30
    assert difference(keep_color(photo, darker), darker).max() <= 3
    assert difference(keep_color(photo, photo[..., ::-1].copy()), photo).mean() < 40


@pytest.mark.parametrize("view", ["read-only", "transposed", "reversed", "every second"])
def test_photos_may_be_views(stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture, view: str) -> None:
    photo = make_picture(32, 48)
    photo.flags.writeable = False
    photo = {"transposed": photo.swapaxes(0, 1), "reversed": photo[:, ::-1], "every second": photo[::2]}.get(
        view, photo
    )
    expected = stylizer.transfer(np.ascontiguousarray(photo), style_code, strength=0.7, preserve_color=True)
    assert np.array_equal(stylizer.transfer(photo, style_code, strength=0.7, preserve_color=True), expected)


def test_transfer_is_deterministic(stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture) -> None:
    photo = make_picture(40, 40)
    assert np.array_equal(stylizer.transfer(photo, style_code), stylizer.transfer(photo.copy(), style_code))


def test_a_code_from_a_file_gives_the_picture_of_its_pictures(
    stylizer: Stylizer, style_code: StyleCode, code_file: Path, make_picture: MakePicture
) -> None:
    photo, loaded = make_picture(40, 40), StyleCode.load(code_file)
    assert np.array_equal(stylizer.transfer(photo, loaded), stylizer.transfer(photo, style_code))


def test_different_styles_give_different_pictures(stylizer: Stylizer, make_picture: MakePicture) -> None:
    photo = make_picture(48, 48)
    one, other = (stylizer.transfer(photo, stylizer.encode_style([make_picture(seed=s)])) for s in (1, 2))
    assert difference(one, other).mean() > 1


def test_a_style_does_not_depend_on_the_order_of_its_pictures(stylizer: Stylizer, make_picture: MakePicture) -> None:
    pictures = [make_picture(64, 80, seed) for seed in range(5)]
    expected = stylizer.encode_style(pictures).to_bytes()
    for order in ([4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        assert stylizer.encode_style([pictures[k] for k in order]).to_bytes() == expected


def test_the_order_of_pictures_with_equal_bytes_does_not_matter_either(stylizer: Stylizer) -> None:
    wide, high = np.full((64, 96, 3), 200, np.uint8), np.full((96, 64, 3), 200, np.uint8)
    assert stylizer.encode_style([wide, high]).to_bytes() == stylizer.encode_style([high, wide]).to_bytes()


def test_a_style_of_the_same_picture_twice_is_that_of_the_picture(
    stylizer: Stylizer, make_picture: MakePicture
) -> None:
    once, twice = (stylizer.encode_style([make_picture(seed=1)] * n) for n in (1, 2))
    np.testing.assert_allclose(once.code, twice.code, atol=1e-4)
    np.testing.assert_allclose(once.palette, twice.palette, atol=1e-6)
    assert (once.images, twice.images) == (1, 2)


def test_a_style_of_several_pictures_lies_between_them(stylizer: Stylizer, make_picture: MakePicture) -> None:
    pictures = [make_picture(seed=seed) for seed in (1, 2)]
    both, (a, b) = stylizer.encode_style(pictures), (stylizer.encode_style([p]) for p in pictures)
    assert np.linalg.norm(both.code - a.code) < np.linalg.norm(b.code - a.code)
    assert np.linalg.norm(both.code - b.code) < np.linalg.norm(b.code - a.code)
    np.testing.assert_allclose(both.code, (a.code + b.code) / 2, atol=1e-5)


def test_a_style_knows_its_model(stylizer: Stylizer, style_code: StyleCode, tiny_model: Path) -> None:
    assert style_code.model_hash == load_model(tiny_model).hash
    assert style_code.code.shape == (16,) and style_code.code.dtype == np.float32


def test_a_style_needs_a_picture(stylizer: Stylizer) -> None:
    with pytest.raises(UsageError):
        stylizer.encode_style([])


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (2, 9), (700, 20)])
def test_styles_of_odd_shapes_have_a_code(
    stylizer: Stylizer, make_picture: MakePicture, shape: tuple[int, int]
) -> None:
    style = stylizer.encode_style([make_picture(*shape)])
    assert np.isfinite(style.code).all() and np.isfinite(style.palette).all()
    assert stylizer.transfer(make_picture(20, 20), style).shape == (20, 20, 3)


def test_a_style_of_another_model_is_refused_by_both_hashes(
    stylizer: Stylizer, style_code: StyleCode, tiny_model: Path, tmp_path: Path, make_picture: MakePicture
) -> None:
    model: Model = load_model(tiny_model)
    model.generator.convs["stem"].weight.mul_(1.1)
    save_model(model, tmp_path / "other.safetensors")
    other = Stylizer(tmp_path / "other.safetensors", "cpu")
    with pytest.raises(RefusedError) as caught:
        other.transfer(make_picture(16, 16), style_code)
    assert stylizer.engine.hash[:8] in caught.value.message
    assert other.engine.hash[:8] in caught.value.message


def test_a_style_of_the_packaged_model_is_refused_with_the_model_that_paints_in_it(
    stylizer: Stylizer, style_code: StyleCode
) -> None:
    built_in = dataclasses.replace(style_code, model_hash=Stylizer("packaged", "cpu").engine.hash)
    with pytest.raises(RefusedError) as caught:
        stylizer.check(built_in)
    assert caught.value.hint.startswith("`model` packaged")


def test_a_style_of_the_wrong_length_is_refused(stylizer: Stylizer, style_code: StyleCode) -> None:
    with pytest.raises(RefusedError):
        stylizer.check(dataclasses.replace(style_code, code=style_code.code[:-1]))


def test_a_title_cannot_write_to_the_terminal(stylizer: Stylizer, style_code: StyleCode) -> None:
    foreign = dataclasses.replace(style_code, model_hash="0" * 64, title="red\x1b[31m\n")
    with pytest.raises(RefusedError) as caught:
        stylizer.check(foreign)
    assert caught.value.message.isprintable()


def test_a_code_that_overflows_is_an_error_not_a_black_picture(
    stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture
) -> None:
    monstrous = dataclasses.replace(style_code, code=np.full(16, 1e30, np.float32))
    with pytest.raises(StylizeError, match="infinite"):
        stylizer.transfer(make_picture(32, 32), monstrous)


class Meagre:
    """An engine that has memory for small tiles only, or, on a device, for nothing."""

    name = "meagre"

    def __init__(self, engine: Engine, *, most: int, on_cpu: bool = True) -> None:
        self.engine, self.most, self.on_cpu = engine, most, on_cpu
        self.hash, self.sizes, self.best_tile = engine.hash, engine.sizes, 1024

    def free_memory(self) -> None:
        return None

    def encode(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self.on_cpu:
            raise MemoryError
        return self.engine.encode(picture)

    def measure(self, *args: object) -> tuple[np.ndarray, Painter]:
        if not self.on_cpu:
            raise MemoryError
        painted, paint = self.engine.measure(*args)

        def frugally(cells: np.ndarray, origin: tuple[int, int], margins: Margins) -> np.ndarray:
            height, width = 2 * cells.shape[2], 2 * cells.shape[3]
            if max(height - margins.top - margins.bottom, width - margins.left - margins.right) > self.most:
                raise MemoryError
            return paint(cells, origin, margins)

        return painted, frugally


def meagre_stylizer(model: Path, **limits: int) -> tuple[Stylizer, list[str]]:
    said: list[str] = []
    stylizer = Stylizer(model, "cpu", on_warning=said.append)
    stylizer.engines.usual = stylizer.engines.large = Meagre(stylizer.engine, **limits)
    return stylizer, said


@pytest.mark.usefixtures("no_whole")
def test_without_memory_the_tiles_get_smaller_and_it_is_said_once(
    tiny_model: Path, stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture
) -> None:
    photo = make_picture(300, 520)
    meagre, said = meagre_stylizer(tiny_model, most=300)
    expected = stylizer.transfer(photo, style_code)
    assert difference(meagre.transfer(photo, style_code), expected).max() <= 1
    assert difference(meagre.transfer(photo, style_code), expected).max() <= 1
    assert len(said) == 2 and "512" in said[0] and "256" in said[1]  # 1024, 512, 256; the second photo begins there


def test_without_memory_on_the_device_the_processor_does_it(
    tiny_model: Path, stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture
) -> None:
    photo = make_picture(64, 64)
    meagre, said = meagre_stylizer(tiny_model, most=0, on_cpu=False)
    for _ in range(2):
        assert difference(meagre.transfer(photo, style_code), stylizer.transfer(photo, style_code)).max() <= 1
    assert len(said) == 1 and "processor" in said[0]


def test_without_memory_on_the_device_the_processor_does_everything_else(
    tiny_model: Path, stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture
) -> None:
    photo, work = make_picture(64, 64), {}
    work["part strength"] = lambda s: s.transfer(photo, style_code, strength=0.5)
    work["sequence"] = lambda s: s.freeze([photo, photo[::-1]], style_code)(photo)
    work["style"] = lambda s: s.transfer(photo, s.encode_style([photo]))
    for paint in work.values():
        meagre, said = meagre_stylizer(tiny_model, most=0, on_cpu=False)
        assert difference(paint(meagre), paint(stylizer)).max() <= 1
        assert len(said) == 1 and "processor" in said[0]


@pytest.mark.usefixtures("no_whole")
def test_no_memory_at_all_is_an_error_with_a_way_out(
    tiny_model: Path, style_code: StyleCode, make_picture: MakePicture
) -> None:
    meagre, _ = meagre_stylizer(tiny_model, most=0)
    with pytest.raises(StylizeError) as caught:
        meagre.transfer(make_picture(32, 32), style_code)
    assert caught.value.exit_code == 5
    assert "smaller" in caught.value.hint


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
def test_torch_says_in_two_ways_that_memory_ran_out(
    tiny_model: Path,
    style_code: StyleCode,
    make_picture: MakePicture,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object) -> None:
        raise error

    stylizer = Stylizer(tiny_model, "cpu")
    monkeypatch.setattr(stylizer.engine.model.generator, "fold", fail)
    with pytest.raises(StylizeError, match="out of memory"):
        stylizer.transfer(make_picture(32, 32), style_code)


def test_the_tile_follows_the_free_memory(stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = []
    for memory in (0, 1 << 27, 1 << 28, 1 << 40, None):
        monkeypatch.setattr(stylizer.engine, "free_memory", lambda memory=memory: memory)
        sides.append(tiles.planned_tile(stylizer.engine))
    assert sides == sorted(sides) and len(set(sides)) > 2
    assert sides[0] == tiles.LEAST_TILE and sides[-2:] == [stylizer.engine.best_tile] * 2


def test_kernels_that_do_not_say_what_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path, *args: "MemTotal: 9 kB\nMemFree: 8 kB\n")
    assert free_memory() is None


def test_files_that_a_container_has_read_leave_its_memory_free(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 200\ninactive_file 300\nactive_file 350\n")
    assert device._left_to(tmp_path) == 750
    (tmp_path / "memory.max").write_text("max\n")
    with pytest.raises(ValueError, match="max"):
        device._left_to(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is read from /proc")
def test_an_address_space_limit_counts_as_memory() -> None:
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30));"
        "from stylize.engines.device import free_memory; print(free_memory())"
    )
    left = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    assert 0 < left < 2 << 30
    assert free_memory() is None or free_memory() > 0


def test_a_photo_is_never_held_as_floats() -> None:
    photo = np.broadcast_to(np.arange(4000, dtype=np.uint8)[:, None, None], (4000, 5000, 3))

    def paint(cells: np.ndarray, origin: tuple[int, int], margins: Margins) -> np.ndarray:
        top, bottom, left, right = (margin // 2 for margin in margins)
        return cells[..., top:-bottom, left:-right]

    tracemalloc.start()
    output = tiles.paint_tiles(paint, photo, 512)
    transfer._in_strips(transfer.keep_color, photo, output)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert output.nbytes <= peak < 1.2 * output.nbytes


def test_cells_hold_the_pixels_as_torch_puts_them(make_picture: MakePicture) -> None:
    pictures = np.stack([make_picture(32, 48, seed) for seed in range(2)])
    cells = tiles.to_cells(pictures)
    expected = torch.nn.functional.pixel_unshuffle(torch.from_numpy(pictures).permute(0, 3, 1, 2), 2)
    assert np.array_equal(cells, expected.numpy())
    assert np.array_equal(tiles.to_pixels(cells), pictures)


@pytest.mark.parametrize("size", [2, 5, 16])
def test_the_border_is_mirrored_as_numpy_does(size: int) -> None:
    expected = np.pad(np.arange(size), 40, mode="reflect")
    np.testing.assert_array_equal(tiles._mirrored(np.arange(-40, size + 40), size), expected)


@pytest.mark.parametrize("strength", [1.0, 0.7, 0.2])
def test_16_bit_photos(stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture, strength: float) -> None:
    """Finer steps of the same picture, in single precision."""
    photo = make_picture(100, 120)
    deep = stylizer.transfer(photo.astype(np.uint16) * 257, style_code, strength=strength)
    assert deep.dtype == np.uint16
    plain = stylizer.transfer(photo, style_code, strength=strength)
    assert np.percentile(np.abs(deep / 257 - plain), 99) < 4
    assert len(np.unique(deep % 257)) > 200  # not eight bits in disguise
    values = make_picture(70, 80).astype(np.uint16) * 255 + 77
    assert np.array_equal(stylizer.transfer(values, style_code, strength=0), values)


def test_16_bit_photos_can_keep_their_colours(make_picture: MakePicture) -> None:
    photo, stylised = make_picture(40, 50), make_picture(40, 50, seed=9)
    deep = keep_color(photo.astype(np.uint16) * 257, stylised.astype(np.uint16) * 257)
    assert np.abs(deep / 257 - keep_color(photo, stylised)).max() < 4


def test_a_tile_that_overflows_in_half_precision_is_redone(
    stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = make_picture(100, 120)
    monkeypatch.setattr(tiles, "WHOLE_PROXY", 0)  # tiles
    monkeypatch.setattr(stylizer.engine, "precision", torch.float32)
    expected = stylizer.transfer(photo, style_code)
    monkeypatch.setattr(stylizer.engine, "precision", torch.float16)

    class Overflowing:
        def __init__(self, folded: FoldedGenerator) -> None:
            self.folded = folded

        def __call__(self, *arguments: Any) -> torch.Tensor:
            result = self.folded(*arguments)
            result[0, 0, 25, 30] = float("inf")
            return result

    to = FoldedGenerator.to
    monkeypatch.setattr(FoldedGenerator, "to", lambda self, dtype: Overflowing(to(self, torch.float32)))
    assert np.array_equal(stylizer.transfer(photo, style_code), expected)


def test_a_long_style_picture_is_cut_not_squeezed(make_picture: MakePicture) -> None:
    long = make_picture(300, 6000, seed=1)
    found = at_working_size(long)
    assert (found == long[:, 2232:3768]).all()  # the middle
    assert at_working_size(make_picture(1024, 4000)).shape == (512, 1536, 3)
    assert at_working_size(make_picture(1024, 3000)).shape == (512, 1500, 3)
