"""What the package carries, and where: the default model, the perceptual network, the built-in styles."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

MODEL_VARIABLE = "STYLIZE_MODEL"  # environment: default of --model


def packaged(name: str) -> Path:
    """The path of a weights file: ``default`` or ``perceptual``."""
    return packaged_path(f"{name}.safetensors")


def packaged_path(name: str) -> Path:
    """The path of a file or folder among the models of the installed package, else of the checkout."""
    installed = Path(str(resources.files("stylize") / "models" / name))
    in_checkout = Path(__file__).parent.parent.parent / "models" / name
    return installed if installed.exists() else in_checkout


def default_model() -> Path:
    """The model used when none is named: that of the environment variable ``STYLIZE_MODEL``, else the packaged one."""
    return Path(os.environ.get(MODEL_VARIABLE) or packaged("default"))
