"""Both engines give the same codes and pixels, the graphs are those of the modules, and torch stays out of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stylize.engines import choice
from stylize.engines import onnx as onnx_engine
from stylize.engines.onnx import OnnxEngine
from stylize.errors import RefusedError, UsageError
from stylize.files import tensors as tensor_file
from stylize.files.packaged import packaged
from stylize.networks.model import load_model, save_model
from stylize.networks.plan import Margins, refinement_shapes
from stylize.options import Look
from stylize.painting import tiles
from stylize.painting.stylizer import Stylizer
from stylize.processor import usable_cores, usual_threads
from stylize.styles.style_code import StyleCode

MakePicture = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def onnx() -> Stylizer:
    return Stylizer(packaged("default"), "cpu", engine="onnx")


@pytest.fixture(scope="module")
def by_torch() -> Stylizer:
    return Stylizer(packaged("default"), "cpu", engine="torch")


@pytest.fixture(scope="module")
def style(by_torch: Stylizer, make_picture: MakePicture) -> StyleCode:
    return by_torch.encode_style([make_picture(seed=1)], title="waves")


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    assert a.shape == b.shape and a.dtype == b.dtype == np.uint8
    return np.abs(a.astype(int) - b)


@pytest.mark.parametrize("shape", [(96, 128), (1, 1), (300, 17)])
def test_both_engines_learn_the_same_style(
    onnx: Stylizer, by_torch: Stylizer, make_picture: MakePicture, shape: tuple[int, int]
) -> None:
    ours, theirs = (s.encode_style([make_picture(*shape, seed=5)]) for s in (onnx, by_torch))
    np.testing.assert_allclose(ours.code, theirs.code, atol=2e-3)
    np.testing.assert_allclose(ours.palette, theirs.palette)
    assert ours.model_hash == theirs.model_hash


@pytest.mark.parametrize("shape", [(96, 128), (1, 1), (7, 3), (33, 250)])
def test_both_engines_give_the_same_picture(
    onnx: Stylizer, by_torch: Stylizer, style: StyleCode, make_picture: MakePicture, shape: tuple[int, int]
) -> None:
    photo = make_picture(*shape, seed=2)
    ours, theirs = (s.transfer(photo, style, strength=0.8) for s in (onnx, by_torch))
    assert difference(ours, theirs).max() <= 2


def test_both_engines_take_a_refined_style(
    onnx: Stylizer, by_torch: Stylizer, style: StyleCode, make_picture: MakePicture
) -> None:
    random = np.random.default_rng(0)
    lengths = refinement_shapes(onnx.engine.sizes)
    added = {name: random.normal(0, 0.1, size).astype(np.float32) for name, size in lengths.items()}
    refined, photo = replace(style, refinement=added), make_picture(96, 128, seed=2)
    ours, theirs = (s.transfer(photo, refined, strength=0.8) for s in (onnx, by_torch))
    assert difference(ours, theirs).max() <= 2
    assert difference(ours, onnx.transfer(photo, style, strength=0.8)).mean() > 1


def test_the_order_of_names_in_a_file_does_not_matter(
    onnx: Stylizer, style: StyleCode, make_picture: MakePicture
) -> None:
    random = np.random.default_rng(0)
    shapes = refinement_shapes(onnx.engine.sizes)
    added = {name: random.normal(0, 0.1, size).astype(np.float32) for name, size in shapes.items()}
    photo = make_picture(96, 128, seed=2)
    one, other = (
        Stylizer(device="cpu", engine="onnx").transfer(photo, replace(style, refinement=refinement))
        for refinement in (added, dict(reversed(added.items())))
    )
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_both_engines_give_the_same_tiles(
    onnx: Stylizer,
    by_torch: Stylizer,
    style: StyleCode,
    make_picture: MakePicture,
    precision: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tiles, "WHOLE_PROXY", 0)
    monkeypatch.setattr(by_torch.engine, "precision", precision)
    photo = make_picture(200, 300, seed=2)
    off = difference(onnx.transfer(photo, style, tile=128), by_torch.transfer(photo, style))
    assert (off.max() if precision == torch.float32 else np.quantile(off, 0.999)) <= 2


def test_two_styles_in_turn_do_not_mix(onnx: Stylizer, style: StyleCode, make_picture: MakePicture) -> None:
    photo, other = make_picture(64, 64), onnx.encode_style([make_picture(seed=9)])
    before = onnx.transfer(photo, style)
    assert difference(onnx.transfer(photo, other), before).mean() > 1
    assert np.array_equal(onnx.transfer(photo, style), before)


def test_styles_in_several_threads_do_not_mix(onnx: Stylizer, style: StyleCode, make_picture: MakePicture) -> None:
    """A batch paints small photos side by side, and each of its photos may be in another style."""
    photos = [make_picture(64, 80, seed=seed) for seed in range(4)]
    styles = [style, onnx.encode_style([make_picture(seed=9)]), onnx.encode_style([make_picture(seed=10)])]
    work = [(photo, each, strength) for photo in photos for each in styles for strength in (1.0, 0.5)]

    def paint(what: tuple[np.ndarray, StyleCode, float]) -> np.ndarray:
        return onnx.transfer(what[0], what[1], strength=what[2])

    one_by_one = [paint(each) for each in work]
    with ThreadPoolExecutor(6) as pool:
        for alone, beside in zip(one_by_one, pool.map(paint, work), strict=True):
            assert np.array_equal(alone, beside)


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_changes_no_pixel(threads: int, make_picture: MakePicture, style: StyleCode) -> None:
    """README promises it: of pictures and of codes, whole and in tiles."""
    one, several = (Stylizer(packaged("default"), "cpu", engine="onnx", threads=number) for number in (1, threads))
    for height, width in ((45, 60), (256, 300), (701, 500), (1500, 1501)):
        photo = make_picture(height, width, seed=height)
        assert np.array_equal(one.transfer(photo, style), several.transfer(photo, style))
    assert np.array_equal(one.transfer(photo, style, tile=256), several.transfer(photo, style))
    photo = make_picture(300, 400, seed=1)
    codes = [each.encode_style([photo]) for each in (one, several)]
    assert codes[0].to_bytes() == codes[1].to_bytes()
    assert np.array_equal(one.transfer(photo, style, strength=0.4), several.transfer(photo, style, strength=0.4))


def test_how_many_photos_are_painted_at_once(by_torch: Stylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    def photo(height: int, width: int, dtype: type = np.uint8) -> np.ndarray:
        return np.zeros((height, width, 3), dtype)

    four = Stylizer(packaged("default"), "cpu", engine="onnx", threads=4)
    assert four.at_once(photo(256, 256)) == 4
    assert four.at_once(photo(600, 600)) == 2
    assert four.at_once(photo(1000, 1000)) == 1  # keeps the cores busy by itself
    assert four.at_once(photo(256, 256), Look(style_scale=0.25)) == 1  # painted on an enlarged copy
    assert four.at_once(photo(256, 256, np.uint16)) == 1  # by torch
    assert by_torch.at_once(photo(256, 256)) == 1
    assert Stylizer(packaged("default"), "cpu", engine="onnx", threads=1).at_once(photo(256, 256)) == 1
    monkeypatch.setattr(onnx_engine, "free_memory", lambda: 2 * 120 * 256 * 256 * 2)
    assert four.at_once(photo(256, 256)) == 2
    monkeypatch.setattr(onnx_engine, "free_memory", lambda: 0)
    assert four.at_once(photo(256, 256)) == 1


def test_the_graphs_are_those_of_the_modules(
    style: StyleCode, make_picture: MakePicture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13):
        pytest.skip("the graphs are made with torch 2.13; the exporter of torch 2.4 refuses a slice of unknown shape")
    from stylize.engines.export import graphs

    def run() -> tuple[np.ndarray, ...]:
        engine = OnnxEngine(packaged("default"))
        colours = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
        cells = tiles.to_cells(make_picture(320, 288, seed=3)[None])
        painted, paint = engine.measure(style.code, {}, style.palette, colours, cells, [(0, 0)])
        return painted, paint(cells, (16, 32), Margins(112, 32, 64, 48)), *engine.encode(make_picture(seed=4))

    shipped = run()
    for name, graph in graphs().items():
        (tmp_path / f"{name}.onnx").write_bytes(graph.SerializeToString())
    monkeypatch.setattr(onnx_engine, "packaged_path", lambda name: tmp_path / name)
    for ours, theirs in zip(shipped, run(), strict=True):
        np.testing.assert_allclose(ours.astype(float), theirs.astype(float), atol=1 if ours.ndim > 1 else 1e-3)


@pytest.mark.parametrize("command", ["transfer", "batch", "encode-style"])
def test_torch_is_not_imported(command: str, write_picture: Callable[..., Path], tmp_path: Path) -> None:
    photo, style = (write_picture(tmp_path / name / "x.png") for name in ("photos", "styles"))
    arguments = {
        "transfer": [photo, "--style", style, "-o", tmp_path / "out.png"],
        "batch": [photo.parent, "--style", style, "-o", tmp_path / "out"],
        "encode-style": [style, "-o", tmp_path / "out.safetensors"],
    }[command]
    script = (
        "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr));"
        "from stylize.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, command, *map(str, arguments), "--device", "cpu", "-q"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr.split()) == (0, ["False"])


def test_models_of_other_sizes_are_for_torch(tiny_model: Path) -> None:
    assert type(Stylizer(tiny_model, "cpu").engine).__name__ == "TorchEngine"
    with pytest.raises(UsageError, match="default sizes"):
        Stylizer(tiny_model, "cpu", engine="onnx")


@pytest.mark.parametrize(("engine", "device"), [("onnx", "cuda"), ("tensorflow", "cpu")])
def test_what_no_engine_does_is_refused(engine: str, device: str) -> None:
    with pytest.raises(UsageError):
        Stylizer(packaged("default"), device, engine=engine)


def test_large_photos_are_for_bf16_where_there_is_some(
    style: StyleCode, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch, set_bf16: Callable[[bool], None]
) -> None:
    monkeypatch.setattr(choice, "LARGE_PHOTO", 100 * 100)
    photos = make_picture(99, 100), make_picture(100, 100)
    for bf16, expected in ((True, ["OnnxEngine", "TorchEngine"]), (False, ["OnnxEngine", "OnnxEngine"])):
        set_bf16(bf16)
        monkeypatch.setattr(choice, "free_memory", lambda: None)
        stylizer = Stylizer(packaged("default"), "cpu")
        assert [type(stylizer.engines.for_photo(photo)).__name__ for photo in photos] == expected
        assert type(stylizer.engines.for_photo(photos[0])).__name__ == "OnnxEngine"  # whatever came before


@pytest.mark.parametrize("damage", ["missing", "misshapen"])
def test_a_model_with_other_tensors_than_it_says_is_refused(
    damage: str, style: StyleCode, make_picture: MakePicture, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    save_model(load_model(packaged("default")), path)
    tensors, metadata = tensor_file.read(path, "model", max_bytes=1 << 28)
    name = "encoder.perceptual.blocks.0.0.bias"
    if damage == "missing":
        del tensors[name]
    else:
        tensors[name] = tensors[name][:-1]
    path.write_bytes(tensor_file.to_bytes(tensors, metadata))
    with pytest.raises(RefusedError):
        Stylizer(path, "cpu", engine="onnx").encode_style([make_picture()])


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there is no such thing here")
def test_threads_are_for_the_cores_that_this_process_may_use() -> None:
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from stylize.processor import usable_cores; print(usable_cores())"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "1\n"
    assert 1 <= (usable_cores() or 0) <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("value", "threads"), [("3", 3), (" 2,4", 2), ("0", None), ("-1", None), ("many", None), ("", None)]
)
def test_threads_as_torch_counts_them(value: str, threads: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert usual_threads() == (threads or usable_cores())


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="where threads can be counted")
def test_a_session_has_as_many_threads_as_were_asked_for() -> None:
    script = (
        "import os; from stylize.engines.onnx import Graph; before = len(os.listdir('/proc/self/task'));"
        "graph = Graph('finish', {}, None); print(len(os.listdir('/proc/self/task')) - before)"
    )
    for number in (1, 5):
        environment = {**os.environ, "OMP_NUM_THREADS": str(number)}
        command = [sys.executable, "-c", script]
        found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert found.stdout == f"{number - 1}\n"  # and this one
