"""Tensor files: safetensors with canonical bytes when written and hard limits when read.

Style codes, models and training states are such files. They come from strangers, so a file is data and nothing else:
its size and header are checked before parsing, its names, types and shapes against what the reader expects, its values
for being finite. Names that ``safetensors`` alone would let pass (duplicate keys, NaN) are refused here.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from stylize.errors import InputError, RefusedError, near_name, one_line, reason, shown

Tensors = dict[str, np.ndarray]
MAX_HEADER_BYTES = 512 << 10
_DTYPES = {"F16", "F32", "F64", "I64", "U8"}
_TAKEN_BY = {"style-code": "`style` takes it", "model": "`model` takes it"}


def to_bytes(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The safetensors form of ``tensors``: equal content gives equal bytes.

    The library writes the metadata in the order of a hash map, which differs from run to run; the header is therefore
    written again with sorted keys. Offsets count from the header's end, so the tensors stay as they are.
    """
    raw = safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, dict(metadata))
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + raw[8 + length :]


def content_hash(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and values, in order of the names: 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def malformed(message: str) -> RefusedError:
    """What to raise for a file whose content is not what it should be."""
    return RefusedError(message, hint="copy the file again, or make it anew")


def read(path: str | os.PathLike[str], what: str, *, max_bytes: int) -> tuple[Tensors, dict[str, str]]:
    """Read a tensor file.

    Args:
        what: the kind of file for messages: ``style``, ``model``.
        max_bytes: a larger file is refused unread.

    Returns:
        tensors and string metadata.

    Raises:
        InputError: the file is missing or cannot be read.
        RefusedError: it is not a well-formed safetensors file, is over a limit, or holds a value that is not finite.
    """
    path = Path(path)
    name = shown(path)
    if path.suffix.lower() in {".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin"}:
        raise RefusedError(
            f"{name} is a pickle checkpoint, which can run code; stylize reads .safetensors only",
            hint="encode the style again from its pictures" if what == "style" else "",
        )
    try:
        if not path.exists():
            raise InputError(f"cannot read {name}: no such file", hint=near_name(path))
        if not path.is_file():
            inside = path / "model.safetensors"  # of a training run
            hint = f"did you mean {shown(inside)}?" if inside.is_file() else "give a file"
            raise InputError(f"{name} is not a file", hint=hint)
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
    except OSError as error:
        raise InputError(f"cannot read {name}: {reason(error)}") from error
    if len(raw) > max_bytes:
        raise RefusedError(f"{what} {name} is larger than {max_bytes >> 20} MB", hint="stylize inspect says what it is")
    return parse(raw, f"{what} {name}")


def parse(raw: bytes, what: str) -> tuple[Tensors, dict[str, str]]:
    """The tensors and metadata in the bytes of a tensor file; see ``read``."""
    header = _header(raw, what)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise malformed(f"{what}: metadata must be strings")
    if any(not isinstance(entry, dict) or str(entry.get("dtype")) not in _DTYPES for entry in header.values()):
        raise malformed(f"{what}: a tensor has an unknown type")
    try:
        tensors = safetensors.numpy.load(raw)
    except (SafetensorError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise malformed(f"{what} is damaged: {one_line(error)}") from error
    for key, tensor in tensors.items():
        if not _all_finite(tensor):
            raise malformed(f"{what} holds NaN or infinite values in {key!r}")
    return tensors, metadata


def check_kind(metadata: Mapping[str, str], kind: str, format: int, what: str) -> None:
    """Refuse a file of another kind or format. Raises RefusedError.

    Args:
        kind: ``style-code``, ``model``, ``checkpoint`` or ``perceptual``.
        format: the one that is read.
        what: the file, for messages.
    """
    found = metadata.get("stylize.kind", "something else")
    if found != kind:
        hint = _TAKEN_BY.get(found, "stylize inspect says what it is")
        raise RefusedError(f"{what} is not a {kind.replace('-', ' ')} but {shown(found[:40])}", hint=hint)
    stated = metadata.get("stylize.format", "0")[:20]  # checkpoints did not state theirs at first
    if stated != str(format):
        again = "encode it again" if kind == "style-code" else "train it again"
        older = stated.isdecimal() and int(stated) < format
        raise RefusedError(
            f"{what} has format {stated!r}, this version reads {format}",
            hint=f"an older version made it: {again}" if older else "update stylize",
        )


def _all_finite(tensor: np.ndarray) -> bool:
    if tensor.dtype == np.float16:  # numpy is slow with these: look for the exponent of infinities and NaN
        return not (tensor.view(np.uint16) & 0x7C00 == 0x7C00).any()
    return bool(np.isfinite(tensor).all())


def _header(raw: bytes, what: str) -> dict[str, Any]:
    if len(raw) < 8:
        raise malformed(f"{what} is not a safetensors file")
    (length,) = struct.unpack("<Q", raw[:8])
    if length > min(MAX_HEADER_BYTES, len(raw) - 8):
        raise malformed(f"{what} is not a safetensors file, or is cut short")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise malformed(f"{what}: a name stands twice in the header")
        return dict(pairs)

    try:
        header = json.loads(raw[8 : 8 + length], object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise malformed(f"{what} is not a safetensors file") from error
    if not isinstance(header, dict):
        raise malformed(f"{what} is not a safetensors file")
    return header
