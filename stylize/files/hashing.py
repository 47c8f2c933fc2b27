"""The hash of a file, by which it is known again."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

_CHUNK = 1 << 20


def hash_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a regular file; anything else might never end. Raises OSError."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "not a regular file", str(path))
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
