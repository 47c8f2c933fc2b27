"""Style codes: small files that carry a style and nothing else, equal byte by byte, refused when anything is off."""

from __future__ import annotations

import base64
import dataclasses
import os
import pickle  # noqa: TID251  to make a file that is refused
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from stylize.errors import InputError, OutputError, RefusedError, UsageError
from stylize.files import tensors as tensor_file
from stylize.images.reading import read_image
from stylize.painting.stylizer import Stylizer
from stylize.styles.style_code import MAX_CODE_BYTES, StyleCode, make_thumbnail

MODEL = "0123456789abcdef" * 4
PALETTE = np.array([0.6, 0.5, 0.3, 0.1, 0.02, 0.01, 0.1, 0.02, 0.1], np.float32)
CODE = StyleCode(
    np.linspace(-1, 1, 16, dtype=np.float32), PALETTE, MODEL, title="waves", images=3, thumbnail=b"\xff\xd8jpeg"
)
BOTH = {"code": CODE.code, "palette": PALETTE}
GOOD = CODE.to_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "style.safetensors"


def made(tensors: dict[str, np.ndarray] | None = None, **changes: str | None) -> bytes:
    """A good file with other tensors, under their hash, or with some fields of its metadata changed or left out.

    ``_`` stands for the dot in the fields' names.
    """
    tensors = BOTH if tensors is None else tensors
    fields: dict[str, str | None] = dict(tensor_file.parse(GOOD, "file")[1])
    fields["modelspec.hash_sha256"] = "0x" + tensor_file.content_hash(tensors)
    fields |= {name.replace("_", ".", 1): value for name, value in changes.items()}
    return tensor_file.to_bytes(tensors, {name: value for name, value in fields.items() if value is not None})


def refusal(path: Path, raw: bytes) -> RefusedError:
    path.write_bytes(raw)
    with pytest.raises(RefusedError) as caught:
        StyleCode.load(path)
    assert caught.value.message.isprintable()
    assert caught.value.hint
    return caught.value


def test_round_trip(path: Path) -> None:
    CODE.save(path)
    loaded = StyleCode.load(path)
    for field in ("code", "palette"):
        np.testing.assert_array_equal(getattr(loaded, field), getattr(CODE, field))
        assert getattr(loaded, field).dtype == np.float32
    for field in ("model_hash", "title", "images", "thumbnail"):
        assert getattr(loaded, field) == getattr(CODE, field)
    assert loaded.to_bytes() == path.read_bytes()


def test_a_refined_code_comes_back(path: Path) -> None:
    added = {"stem.mix": np.ones(4, np.float32), "block16_0.shift": np.arange(3, dtype=np.float32)}
    added |= {"up2.left": np.ones((3, 2), np.float32), "up2.right": np.ones((2, 27), np.float32)}
    refined = dataclasses.replace(CODE, refinement=added, merged_from="a:0.5, b:0.5")
    refined.save(path)
    loaded = StyleCode.load(path)
    assert set(loaded.refinement) == set(added)
    for name, values in added.items():
        np.testing.assert_array_equal(loaded.refinement[name], values)
    assert loaded.merged_from == "a:0.5, b:0.5"
    assert loaded.to_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("refine.stem", np.ones(4, np.float32)),
        ("refine.stem.bias", np.ones(4, np.float32)),
        ("refine.../x.mix", np.ones(4, np.float32)),
        ("refined.stem.mix", np.ones(4, np.float32)),
        ("refine.stem.mix", np.ones((2, 2), np.float32)),
        ("refine.stem.left", np.ones(4, np.float32)),
        ("refine.stem.right", np.ones((2, 2, 2), np.float32)),
        ("refine.stem.left", np.ones((0, 2), np.float32)),
        ("refine.stem.mix", np.ones(4, np.float64)),
        ("refine.stem.mix", np.ones(0, np.float32)),
    ],
)
def test_other_refinements_are_refused(path: Path, name: str, values: np.ndarray) -> None:
    refusal(path, made({**BOTH, name: values}))


@pytest.mark.parametrize("title", ["", "Sørensen's ink \N{ARTIST PALETTE}", "two\nlines", "a" * 4096])
def test_titles_come_back(path: Path, title: str) -> None:
    dataclasses.replace(CODE, title=title).save(path)
    assert StyleCode.load(path).title == title


def test_a_title_that_is_no_unicode_can_be_saved(path: Path) -> None:
    dataclasses.replace(CODE, title=os.fsdecode(b"caf\xe9")).save(path)
    assert StyleCode.load(path).title.startswith("caf")


def test_a_code_without_thumbnail_comes_back_without(path: Path) -> None:
    dataclasses.replace(CODE, thumbnail=None).save(path)
    assert StyleCode.load(path).thumbnail is None


def test_a_code_is_a_small_file() -> None:
    assert len(dataclasses.replace(CODE, code=np.zeros(256, np.float32)).to_bytes()) < 4096


def test_bytes_are_the_same_in_every_process() -> None:
    program = """
import sys, numpy
from stylize.styles.style_code import StyleCode
palette = numpy.array([0.6, 0.5, 0.3, 0.1, 0.02, 0.01, 0.1, 0.02, 0.1], numpy.float32)
vector = numpy.linspace(-1, 1, 16, dtype=numpy.float32)
code = StyleCode(vector, palette, "0123456789abcdef" * 4, "waves", 3, b"\\xff\\xd8jpeg")
sys.stdout.buffer.write(code.to_bytes())
"""
    for seed in ("0", "1"):
        run = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            check=True,
        )
        assert run.stdout == GOOD


def test_the_date_is_written_only_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert b"modelspec.date" not in GOOD
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert b"1970-01-02T00:00:00Z" in CODE.to_bytes()


@pytest.mark.parametrize("epoch", ["yesterday", "1e3", "9" * 30])
def test_a_senseless_date_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, epoch: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        CODE.to_bytes()


def test_a_file_knows_neither_the_paths_nor_the_exif_of_its_pictures(
    tmp_path: Path, path: Path, stylizer: Stylizer, make_picture: Callable[..., np.ndarray]
) -> None:
    secret = tmp_path / "secret-folder"
    secret.mkdir()
    exif = Image.Exif()
    exif[0x010E] = "secret-description"
    Image.fromarray(make_picture()).save(secret / "secret-name.jpg", exif=exif)
    stylizer.encode_style([read_image(secret / "secret-name.jpg").pixels]).save(path)
    raw = path.read_bytes()
    assert b"secret" not in raw
    assert b"secret" not in StyleCode.load(path).thumbnail
    assert os.fsencode(tmp_path.name) not in raw


def test_the_hash_in_the_file_is_that_of_its_numbers() -> None:
    tensors, fields = tensor_file.parse(GOOD, "file")
    assert fields["modelspec.hash_sha256"] == "0x" + tensor_file.content_hash(tensors)


def test_an_existing_file_is_kept(path: Path) -> None:
    path.write_bytes(b"mine")
    with pytest.raises(OutputError):
        CODE.save(path)
    assert path.read_bytes() == b"mine"
    CODE.save(path, overwrite=True)
    assert path.read_bytes() == GOOD


def test_a_missing_file_is_an_input_error(path: Path) -> None:
    with pytest.raises(InputError):
        StyleCode.load(path)


TENSORS: dict[str, dict[str, np.ndarray]] = {
    "no tensor": {},
    "no palette": {"code": CODE.code},
    "no code": {"palette": PALETTE},
    "another name": {"z": CODE.code, "palette": PALETTE},
    "an extra tensor": BOTH | {"more": CODE.code},
    "half precision": BOTH | {"code": CODE.code.astype(np.float16)},
    "double precision": BOTH | {"code": CODE.code.astype(np.float64)},
    "whole numbers": BOTH | {"code": np.arange(16)},
    "a matrix": BOTH | {"code": CODE.code.reshape(4, 4)},
    "NaN": BOTH | {"code": CODE.code * np.nan},
    "a palette of eight": BOTH | {"palette": PALETTE[:8]},
    "a palette brighter than white": BOTH | {"palette": PALETTE + np.eye(9, dtype=np.float32)[0]},
    "a palette of impossible variance": BOTH | {"palette": PALETTE * 10},
    "a palette of colours that vary less than not at all": BOTH
    | {"palette": np.array([1, 0, 1, *[-0.25] * 6], np.float32)},
    "a palette more related than alike": BOTH
    | {"palette": np.array([0.5, 0.5, 0.5, 0.01, 0.2, 0, 0.01, 0, 0.01], np.float32)},
    "an infinite palette": BOTH | {"palette": np.full(9, np.inf, np.float32)},
}


@pytest.mark.parametrize("tensors", TENSORS.values(), ids=TENSORS)
def test_other_tensors_are_refused(path: Path, tensors: dict[str, np.ndarray]) -> None:
    refusal(path, made(tensors))


def test_a_code_of_no_numbers_is_refused(path: Path) -> None:
    refusal(path, made(BOTH | {"code": np.zeros(0, np.float32)}))


@pytest.mark.parametrize(
    "changes",
    [
        {"stylize_kind": None},
        {"stylize_kind": "model"},
        {"stylize_kind": "\x1b[31m"},
        {"stylize_format": None},
        {"stylize_format": "2"},
        {"stylize_format": "\x1b[31m"},
        {"stylize_model_sha256": None},
        {"stylize_model_sha256": MODEL[:-1]},
        {"stylize_model_sha256": MODEL.upper()},
        {"stylize_model_sha256": "g" * 64},
        {"modelspec_hash_sha256": None},
        {"modelspec_hash_sha256": "0x" + "0" * 64},
    ],
    ids=repr,
)
def test_other_metadata_is_refused(path: Path, changes: dict[str, Any]) -> None:
    refusal(path, made(**changes))


def test_a_newer_format_asks_for_an_update(path: Path) -> None:
    error = refusal(path, made(stylize_format="2"))
    assert "format '2'" in error.message
    assert "update" in error.hint


def test_a_model_is_not_a_code(path: Path, tiny_model: Path) -> None:
    if tiny_model.stat().st_size < MAX_CODE_BYTES:
        error = refusal(path, tiny_model.read_bytes())
        assert "not a style code but model" in error.message


def test_more_than_eight_megabytes_are_refused(path: Path) -> None:
    code = np.zeros(MAX_CODE_BYTES // 4, np.float32)
    error = refusal(path, made(BOTH | {"code": code}))
    assert "larger than 8 MB" in error.message


@pytest.mark.parametrize("length", range(0, len(GOOD), 37))
def test_a_truncated_file_is_refused(path: Path, length: int) -> None:
    refusal(path, GOOD[:length])


def test_trailing_bytes_are_refused(path: Path) -> None:
    refusal(path, GOOD + b"more")


def test_a_renamed_pickle_is_refused(path: Path) -> None:
    refusal(path, pickle.dumps({"code": CODE.code}))


@pytest.mark.parametrize(
    ("text", "images"), [("7", 7), ("", 1), ("-3", 1), ("٣", 1), ("9" * 5000, 1), ("1e3", 1), ("many", 1)]
)
def test_a_senseless_number_of_images_counts_as_one(path: Path, text: str, images: int) -> None:
    path.write_bytes(made(stylize_images=text))
    assert StyleCode.load(path).images == images


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "data:image/jpeg;base64,not base64!",
        "data:image/jpeg;base64,AAA",
        "data:image/jpeg;base64,é",
    ],
)
def test_a_senseless_thumbnail_is_no_thumbnail(path: Path, uri: str) -> None:
    path.write_bytes(made(modelspec_thumbnail=uri))
    assert StyleCode.load(path).thumbnail is None


def test_a_long_title_is_cut(path: Path) -> None:
    path.write_bytes(made(modelspec_title="a" * 100_000))
    assert len(StyleCode.load(path).title) <= 4096


def test_a_file_without_title_is_called_by_its_name(path: Path) -> None:
    path.write_bytes(made(modelspec_title=None))
    assert StyleCode.load(path).title == "style"


def test_changed_numbers_under_the_old_hash_are_refused(path: Path) -> None:
    old = "0x" + tensor_file.content_hash(BOTH)
    refusal(path, made(BOTH | {"code": CODE.code + 1}, modelspec_hash_sha256=old))


def test_a_file_made_by_hand_can_be_good(path: Path) -> None:
    path.write_bytes(made(BOTH | {"code": CODE.code + 1}))
    np.testing.assert_array_equal(StyleCode.load(path).code, CODE.code + 1)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutants") / "mutant.safetensors"


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """A good file after one to three cuts, insertions or changed bytes, its header's length sometimes made to fit."""
    raw = bytearray(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(raw)))
        removed = draw(st.integers(0, 3))
        raw[place : place + removed] = draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"}", b",", b"0", b"\\"])
        )
    if draw(st.booleans()) and b"}" in raw:
        end = raw.rindex(b"}") + 1
        raw[:8] = struct.pack("<Q", max(end - 8, 0))
    return bytes(raw)


@settings(max_examples=300, deadline=None)
@given(raw=mutants())
def test_a_mutant_is_refused_or_a_valid_code(scratch: Path, raw: bytes) -> None:
    load_mutant(scratch, raw)


@pytest.mark.corpus
@pytest.mark.skipif(sys.platform == "win32", reason="measures by resource")
def test_ten_thousand_mutants_cost_little(scratch: Path) -> None:
    """Each under a second of the processor and 200 MB, and none of them in any way but the two."""
    resource = pytest.importorskip("resource")
    slowest = 0.0

    @settings(max_examples=10_000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(raw=mutants())
    def run(raw: bytes) -> None:
        nonlocal slowest
        started = time.process_time()
        load_mutant(scratch, raw)
        slowest = max(slowest, time.process_time() - started)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"slowest {slowest * 1000:.1f} ms, {grown:.0f} MB more in all")
    assert slowest < 1
    assert grown < 200


def load_mutant(scratch: Path, raw: bytes) -> None:
    scratch.write_bytes(raw)
    try:
        code = StyleCode.load(scratch)
    except RefusedError as error:
        assert "\n" not in error.message
    else:
        assert code.code.dtype == np.float32 and code.code.ndim == 1 and np.isfinite(code.code).all()
        assert code.palette.shape == (9,) and np.isfinite(code.palette).all()
        assert len(code.model_hash) == 64 and code.images >= 0


@pytest.mark.parametrize(
    "sizes", [[(300, 500)], [(500, 300)], [(20, 20)], [(1, 3000)], [(64, 64)] * 3, [(64, 64), (9, 300)] * 3]
)
def test_a_thumbnail_is_a_small_jpeg(make_picture: Callable[..., np.ndarray], path: Path, sizes: list[Any]) -> None:
    raw = make_thumbnail([make_picture(*size, seed=k) for k, size in enumerate(sizes)])
    path.write_bytes(raw)
    with Image.open(path) as image:
        assert image.format == "JPEG"
        assert max(image.size) <= 128
    assert len(base64.b64encode(raw)) < 40_000


def test_a_thumbnail_of_four_shows_all_four(path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    path.write_bytes(make_thumbnail([np.full((50, 50, 3), c, np.uint8) for c in colours]))
    with Image.open(path) as image:
        found = [image.getpixel(place) for place in ((32, 32), (96, 32), (32, 96), (96, 96))]
    assert np.abs(np.array(found) - np.array(colours)).max() < 12


def test_the_names_in_a_file_stay() -> None:
    """They outlive versions: a renamed one is lost from every style that people keep."""
    _, metadata = tensor_file.parse(GOOD, "style")
    ours = {name: metadata[name] for name in metadata if name.startswith("stylize.")}
    assert set(ours) == {f"stylize.{name}" for name in ("format", "kind", "version", "model_sha256", "images")}
    assert (ours["stylize.images"], ours["stylize.kind"]) == ("3", "style-code")
