"""Inspection: what a file is, as far as stylize knows: a style code, a model, or a picture that it may have painted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from stylize.errors import InputError, RefusedError, reason, shown
from stylize.files import tensors as tensor_file
from stylize.files.model_file import MAX_CHECKPOINT_BYTES, MAX_MODEL_BYTES
from stylize.images.formats import sniff_format
from stylize.images.reading import read_image
from stylize.painting.recipe import recipe_of
from stylize.styles.style_code import StyleCode


def inspect_file(path: str | os.PathLike[str], *, max_pixels: int, model: str | os.PathLike[str]) -> dict[str, Any]:
    """Facts by name, ready for JSON.

    Args:
        model: the model at hand; of a style it is said whether it fits.

    Raises:
        InputError: missing or unreadable.
        RefusedError: a tensor file that is damaged.
    """
    path, model = Path(path), Path(model)
    try:
        is_picture = path.suffix.lower() != ".safetensors" and path.is_file() and sniff_format(path) is not None
    except OSError as error:
        raise InputError(f"cannot read {shown(path)}: {reason(error)}") from error
    if is_picture or (path.suffix.lower() != ".safetensors" and not path.exists()):
        return _picture(path, max_pixels)
    tensors, metadata = tensor_file.read(path, "file", max_bytes=MAX_CHECKPOINT_BYTES)
    kind = metadata.get("stylize.kind", "")
    if kind == "style-code":
        return _style_code(path, metadata, model)
    if kind in ("model", "perceptual"):
        sizes = {k.removeprefix("sizes."): v for k, v in metadata.items() if k.startswith("sizes.")}
        return {
            "kind": "model" if kind == "model" else "perceptual network",
            "title": metadata.get("modelspec.title", path.stem),
            "sha256": tensor_file.content_hash(tensors),
            "version": metadata.get("stylize.version", ""),
            "numbers": sum(tensor.size for tensor in tensors.values()),
            **sizes,
            **{k: v for k, v in metadata.items() if k.startswith("training.")},
            "bytes": path.stat().st_size,
        }
    if kind == "checkpoint":
        return {
            "kind": "checkpoint of a training run",
            "step": metadata.get("step", ""),
            "numbers": sum(tensor.size for tensor in tensors.values()),
            "bytes": path.stat().st_size,
        }
    raise RefusedError(f"{shown(path)} is no file of stylize")


def _style_code(path: Path, metadata: dict[str, str], model: Path) -> dict[str, Any]:
    style = StyleCode.load(path)
    facts: dict[str, Any] = {
        "kind": "style code",
        "title": style.title,
        "images": style.images,
        "sha256": style.content_hash(),
        "model": style.model_hash,
        "fits": _hash_of(model) == style.model_hash,
        "version": metadata.get("stylize.version", ""),
        "numbers": sum(values.size for values in style.tensors().values()),
        "refined": bool(style.refinement),
        "fine": bool(style.moments),
        "thumbnail": style.thumbnail is not None,
        "bytes": path.stat().st_size,
    }
    if style.merged_from:
        facts["merged_from"] = style.merged_from
    return facts


def _hash_of(model: Path) -> str:
    """The identity of a model, read from its numbers; empty if it is no file that can be read."""
    try:
        return tensor_file.content_hash(tensor_file.read(model, "model", max_bytes=MAX_MODEL_BYTES)[0])
    except (InputError, RefusedError):
        return ""


def _picture(path: Path, max_pixels: int) -> dict[str, Any]:
    picture = read_image(path, max_pixels=max_pixels)
    recipe = recipe_of(picture.xmp)
    facts: dict[str, Any] = {
        "kind": "picture" if recipe is None else "stylised picture",
        "format": picture.format,
        "width": picture.pixels.shape[1],
        "height": picture.pixels.shape[0],
        "alpha": picture.alpha is not None,
    }
    if recipe is not None:
        facts |= {
            "recipe": str(recipe),
            "version": recipe.version,
            "model": recipe.model,
            "styles": list(recipe.styles),
        }
    return facts
