"""Tensor files: equal content gives equal bytes, and whatever is wrong with a file is one refusal."""

from __future__ import annotations

import io
import json
import os
import pickle  # noqa: TID251  to make the files that are refused
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from stylize.errors import InputError, RefusedError
from stylize.files import tensors as tensor_file

VECTOR = np.arange(4, dtype=np.float32)
GOOD = tensor_file.to_bytes({"a": VECTOR}, {"kind": "test"})


def forged(header: Any, data: bytes = VECTOR.tobytes()) -> bytes:
    """A file with any header: JSON text, or something to make JSON of."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: Any = "F32", shape: Any = (4,), offsets: Any = (0, 16), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("data.pkl", pickle.dumps([1, 2]))
    return stream.getvalue()


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (9, 9)).save(stream, "PNG")
    return stream.getvalue()


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(lambda n: n != "__metadata__")
arrays = hnp.arrays(
    st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.uint8]),
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=4),
    elements={"allow_nan": False, "allow_infinity": False},
)


@settings(max_examples=100, deadline=None)
@given(
    tensors=st.dictionaries(names, arrays, min_size=1, max_size=4),
    metadata=st.dictionaries(names, st.text(st.characters(codec="utf-8")), max_size=4),
)
def test_round_trip(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    found, notes = tensor_file.parse(tensor_file.to_bytes(tensors, metadata), "file")
    assert notes == metadata
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name], tensor)


def test_files_can_be_read_by_the_safetensors_library(tmp_path: Path) -> None:
    from safetensors import safe_open

    (tmp_path / "a.safetensors").write_bytes(GOOD)
    with safe_open(tmp_path / "a.safetensors", "numpy") as file:
        assert file.metadata() == {"kind": "test"}
        np.testing.assert_array_equal(file.get_tensor("a"), VECTOR)


def test_order_of_names_does_not_matter() -> None:
    tensors, metadata = {"a": VECTOR, "b": VECTOR + 1}, {"x": "1", "y": "2", "z": "3"}
    backwards = [dict(reversed(d.items())) for d in (tensors, metadata)]
    assert tensor_file.to_bytes(tensors, metadata) == tensor_file.to_bytes(*backwards)
    assert tensor_file.content_hash(tensors) == tensor_file.content_hash(backwards[0])


def test_memory_layout_does_not_matter() -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
    other = np.asfortranarray(matrix)
    assert tensor_file.to_bytes({"a": matrix}, {}) == tensor_file.to_bytes({"a": other}, {})
    assert tensor_file.content_hash({"a": matrix}) == tensor_file.content_hash({"a": other})


def test_bytes_are_the_same_in_every_process() -> None:
    program = """
import hashlib, numpy
from stylize.files import tensors as tensor_file
metadata = {f"key{i}": str(i) for i in range(20)}
tensors = {f"t{i}": numpy.arange(i + 1, dtype=numpy.float32) for i in range(20)}
print(hashlib.sha256(tensor_file.to_bytes(tensors, metadata)).hexdigest())
"""
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(digests) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"a": VECTOR + 1},
        {"b": VECTOR},
        {"a": VECTOR.astype(np.float64)},
        {"a": VECTOR.reshape(2, 2)},
        {"a": VECTOR, "b": VECTOR},
    ],
    ids=["values", "name", "type", "shape", "another"],
)
def test_hash_depends_on_all_content(changed: dict[str, np.ndarray]) -> None:
    assert tensor_file.content_hash(changed) != tensor_file.content_hash({"a": VECTOR})


@pytest.mark.parametrize("length", range(0, len(GOOD), 5))
def test_a_truncated_file_is_refused(length: int) -> None:
    with pytest.raises(RefusedError):
        tensor_file.parse(GOOD[:length], "file")


HOSTILE = {
    "empty": b"",
    "seven bytes": b"1234567",
    "header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "header of 200 MB": struct.pack("<Q", 200 << 20) + b"{}",
    "header longer than the file": struct.pack("<Q", 3) + b"{}",
    "header over the limit": forged({"__metadata__": {"x": "y" * tensor_file.MAX_HEADER_BYTES}}, b""),
    "no JSON": forged(b"{bad json!"),
    "no UTF-8": forged(b'{"\xff": 1}'),
    "list as header": forged([entry()]),
    "string as header": forged("a"),
    "null as header": forged(None),
    "deep nesting": forged(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "huge number": forged(b'{"a":' + b"9" * 5000 + b"}"),
    "duplicate names": forged(b'{"a":%s,"a":%s}' % ((json.dumps(entry()).encode(),) * 2)),
    "duplicate keys of a tensor": forged(b'{"a":{"dtype":"F32","dtype":"F32","shape":[4],"data_offsets":[0,16]}}'),
    "number in the metadata": forged({"__metadata__": {"x": 1}, "a": entry()}),
    "list as metadata": forged({"__metadata__": ["x"], "a": entry()}),
    "null as metadata": forged({"__metadata__": None, "a": entry()}),
    "unknown type": forged({"a": entry("F31")}),
    "type that numpy has not": forged({"a": entry("BF16", (8,))}),
    "null as type": forged({"a": entry(None)}),
    "tensor that is a number": forged({"a": 7}),
    "tensor without a shape": forged({"a": {"dtype": "F32", "data_offsets": [0, 16]}}),
    "negative shape": forged({"a": entry(shape=[-4])}),
    "shape that overflows": forged({"a": entry(shape=[2**62, 2**62])}),
    "shape larger than its data": forged({"a": entry(shape=[5])}),
    "float as shape": forged({"a": entry(shape=[4.0])}),
    "offsets backwards": forged({"a": entry(offsets=[16, 0])}),
    "offsets beyond the file": forged({"a": entry(offsets=[16, 32])}),
    "hole before the data": forged({"a": entry(shape=[2], offsets=[8, 16])}),
    "overlapping tensors": forged({"a": entry(), "b": entry()}),
    "trailing bytes": GOOD + b"\0",
    "NaN": tensor_file.to_bytes({"a": VECTOR * np.nan}, {}),
    "infinity": tensor_file.to_bytes({"a": np.array([1, np.inf], np.float16)}, {}),
    "pickle": pickle.dumps({"a": [1.0] * 100}),
    "zip": archive(),
    "PNG": png(),
    "zeros": bytes(4096),
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(raw: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        tensor_file.parse(raw, "file")
    assert caught.value.exit_code == 3
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("dtype", [["F32"], {"F32": 1}], ids=["list", "dictionary"])
def test_a_type_that_is_no_string_is_refused(dtype: object) -> None:
    with pytest.raises(RefusedError):
        tensor_file.parse(forged({"a": entry(dtype)}), "file")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(RefusedError):
        tensor_file.parse(noise, "file")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(shape=json_values, offsets=json_values, metadata=json_values)
def test_any_json_in_the_header_is_refused_or_read(shape: Any, offsets: Any, metadata: Any) -> None:
    raw = forged({"__metadata__": metadata, "a": entry(shape=shape, offsets=offsets)})
    try:
        tensor_file.parse(raw, "file")
    except RefusedError as error:
        assert "\n" not in error.message


def read(path: Path, max_bytes: int = 1 << 20) -> None:
    tensor_file.read(path, "style", max_bytes=max_bytes)


def test_a_missing_file_is_an_input_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "gone.safetensors")


def test_a_folder_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(InputError, match="not a file"):
        read(tmp_path / "folder.safetensors")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(InputError, match="not a file"):
        read(tmp_path / "pipe.safetensors")


@pytest.mark.parametrize("name", ["a" * 300 + ".safetensors", "zero\0byte.safetensors"], ids=["too long", "zero byte"])
def test_an_impossible_name_is_an_input_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        read(tmp_path / name)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".pkl", ".PT", ".bin"])
def test_pickles_are_refused_by_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(RefusedError, match="pickle"):
        read(path)


@pytest.mark.parametrize(("size", "refused"), [(len(GOOD), False), (len(GOOD) - 1, True)])
def test_the_largest_file_is_as_large_as_promised(tmp_path: Path, size: int, refused: bool) -> None:
    (tmp_path / "a.safetensors").write_bytes(GOOD)
    if refused:
        with pytest.raises(RefusedError, match="larger than"):
            read(tmp_path / "a.safetensors", size)
    else:
        read(tmp_path / "a.safetensors", size)


def test_messages_escape_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "red\x1b[31m\n.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(RefusedError) as caught:
        read(path)
    assert caught.value.message.isprintable()


def test_the_folder_of_a_training_run_is_nearly_its_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match="not a file") as caught:
        tensor_file.read(tmp_path, "model", max_bytes=100)
    assert caught.value.hint == f"did you mean {tmp_path / 'model.safetensors'}?"
