"""The style library: codes kept under a name, so that ``--style NAME`` works from any folder.

A style is a file ``NAME.safetensors`` in one of the library's folders: those of the environment variable
``STYLIZE_STYLES`` (a path list), else the user's data folder as the system wants it, and last the styles that the
package carries. The first that holds a name wins; ``encode-style --save NAME`` writes into the first folder.
"""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from stylize.errors import OutputError, UsageError, shown
from stylize.files.packaged import packaged_path

STYLES_VARIABLE = "STYLIZE_STYLES"
SUFFIX = ".safetensors"
MAX_NAME_BYTES = 200  # file systems take 255, with suffixes
_NAME = re.compile(r"\w[\w. -]{0,98}(?<![. ])")  # no separators, and no : or @, which mean something after a name
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # devices on Windows


def folders() -> list[Path]:
    """Where styles are looked for, in this order; the first is where they are saved. They need not exist."""
    listed = [Path(part) for part in os.environ.get(STYLES_VARIABLE, "").split(os.pathsep) if part]
    if listed:
        return listed
    try:
        home = platformdirs.user_data_path("stylize", appauthor=False)
    except (OSError, RuntimeError, KeyError):  # the user has no home folder
        return []
    return [home / "styles"] if home.is_absolute() else []


def built_in() -> Path:
    """The folder of the styles that the package carries."""
    return packaged_path("styles")


def is_built_in(path: Path) -> bool:
    """Whether a style's file is one that the package carries."""
    return path.parent == built_in()


def styles() -> Mapping[str, Path]:
    """All styles by name, in the order of the names."""
    found: dict[str, Path] = {}
    for folder in (*folders(), built_in()):
        try:
            files = sorted(folder.glob(f"*{SUFFIX}"))
        except OSError:  # a folder that may not be read
            continue
        for file in files:
            found.setdefault(file.stem, file)
    return dict(sorted(found.items()))


def find(name: str) -> Path | None:
    """The file of a style, or None."""
    if not name or os.path.basename(name) != name:
        return None
    for folder in (*folders(), built_in()):  # a file that was copied there may have a name that --save refuses
        if os.path.isfile(path := folder / f"{name}{SUFFIX}"):
            return path
    return None


def is_name(text: str) -> bool:
    """Whether a style can be called so."""
    letters = "".join(c for c in text if not unicodedata.category(c).startswith("M"))  # marks belong to letters
    fits = len(text.encode(errors="replace")) <= MAX_NAME_BYTES
    return fits and _NAME.fullmatch(letters) is not None and _RESERVED.fullmatch(text) is None


def place_of(name: str) -> Path:
    """Where a style of this name is saved.

    Raises:
        UsageError: the name cannot be that of a file everywhere.
        OutputError: there is no folder for the user's data.
    """
    if not is_name(name):
        raise UsageError(f'"{shown(name)}" cannot be the name of a style', hint="letters, digits, spaces, and . _ -")
    places = folders()
    if not places:
        raise OutputError("no folder to keep styles in", hint=f"set {STYLES_VARIABLE}, or use `output` FILE")
    return places[0] / f"{name}{SUFFIX}"


def unknown(name: str) -> UsageError:
    """The error for a name that no style has."""
    if name == "-":
        return UsageError("a style cannot come from stdin", hint="only photos can; give a file")
    near = difflib.get_close_matches(name.lower(), styles(), n=1)
    known = "stylize inspect lists your styles"
    return UsageError(f'no style "{shown(name)}"', hint=f'did you mean "{shown(near[0])}"? {known}' if near else known)
