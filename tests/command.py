"""What the tests of the command line share: how a command ended, and what it may say."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

STYLIZE = (sys.executable, "-m", "stylize")


@dataclass(frozen=True)
class Result:
    """How a command ended and what it said."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stdout.decode().splitlines()


class Run(Protocol):
    def __call__(self, *arguments: object, stdin: bytes = b"") -> Result: ...


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder and the hash of what is in it."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def assert_refused(result: Result, code: int, *words: str) -> None:
    """Exit code, one ``error:`` line, at most one ``hint:`` line, and nothing on stdout."""
    lines = result.stderr.splitlines()
    assert result.code == code, result.stderr
    assert result.stdout == b""
    assert [line.split(":")[0] for line in lines] == ["error", "hint"][: len(lines)]
    for word in words:
        assert word in result.stderr


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def photos_in(folder: Path, count: int) -> list[Path]:
    """Small photos, each different."""
    folder.mkdir()
    paths = [folder / f"{number:03}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", (45, 30), (number % 256, number // 256, 99)).save(path)
    return paths
