"""The optional parts of the installation: how each is installed, and what is said where torch, the largest, is missing.

The extras are those of pyproject.toml. They are installed from a clone: on the package index, another project has the
name stylize.
"""

from __future__ import annotations

import importlib.util

from stylize.errors import StylizeError, UsageError


def install(extra: str) -> str:
    """The command that installs an extra."""
    return f'pip install ".[{extra}]"'


def require_video(what: str) -> None:
    """Refuse what needs PyAV and OpenCV where they are not installed. Raises UsageError."""
    for module, name in (("av", "PyAV"), ("cv2", "OpenCV")):
        if not _is_installed(module):
            raise UsageError(f"{what} needs {name}", hint=install("video"))


def opencv_is_installed() -> bool:
    """Whether OpenCV is installed, which takes no time to say."""
    return _is_installed("cv2")


def torch_is_installed() -> bool:
    """Whether torch is installed, which takes no time to say. Whether it works, only its import tells."""
    return _is_installed("torch")


def _is_installed(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None  # without an origin, it is any folder of that name


def require_torch(what: str, *, instead: str = "", error: type[StylizeError] = UsageError) -> None:
    """Refuse what needs torch where it is not installed. To be called before any work is done.

    Args:
        what: needs it, for the message: ``refining``.
        instead: what helps without torch.
        error: to be raised: its exit code says what kind of thing cannot be had.
    """
    if not torch_is_installed():
        hint = install("torch") + (f", or {instead}" if instead else "")
        raise error(f"{what} needs torch", hint=hint)
