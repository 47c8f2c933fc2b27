"""What the package carries, and where: the default model, the perceptual network, the built-in styles."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from stylize.options import PACKAGED

MODEL_VARIABLE = "STYLIZE_MODEL"  # environment: default of --model


def packaged(name: str) -> Path:
    """The path of a weights file: ``default`` or ``perceptual``."""
    return packaged_path(f"{name}.safetensors")


def packaged_path(name: str) -> Path:
    """The path of a file or folder among the models of the installed package, else of the checkout."""
    installed = Path(str(resources.files("stylize") / "models" / name))
    in_checkout = Path(__file__).parent.parent.parent / "models" / name
    return installed if installed.exists() else in_checkout


def model_file(model: str | os.PathLike[str] | None = None) -> Path:
    """The file of a model.

    Args:
        model: a file, or the text ``packaged`` for the model that the package carries; a file that is called so is
            ``./packaged`` or a ``Path``. None: what the environment variable ``STYLIZE_MODEL`` names, in the same way,
            else the packaged one.
    """
    named = model or os.environ.get(MODEL_VARIABLE) or PACKAGED
    return packaged("default") if named == PACKAGED else Path(named)
