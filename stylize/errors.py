"""The errors that a user can meet: one line of what and where, one line of what to do, an exit code.

Library calls raise these; the command line prints ``error: MESSAGE`` and ``hint: HINT`` and ends with the code. Any
other exception that reaches the command line is a bug in stylize.
"""

from __future__ import annotations

import errno
import os
import re
from itertools import islice
from pathlib import Path

_PERMISSIONS = "change its permissions, or take another place"
_SPACE = "free some space, or take another place"
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
REMEDIES = {
    errno.EACCES: _PERMISSIONS,
    errno.EPERM: _PERMISSIONS,
    errno.EROFS: "take another place: nothing can be written there",
    **dict.fromkeys(DISK_FULL, _SPACE),
    errno.ENAMETOOLONG: "a shorter name",
    errno.EFBIG: "a limit on the size of files: see ulimit -f",
    errno.ELOOP: "the link leads in a circle: give the file itself",
    errno.EEXIST: "a file of that name is in the way",
    errno.ENOTDIR: "a file is where a folder should be",
    errno.EIO: "is the disk sound? copy the file again",
}


class StylizeError(Exception):
    """Something the user can mend.

    Args:
        message: what went wrong and where, lower case, no full stop: ``cannot read photo.jpg: file is truncated``.
        hint: what to do about it; by default what helps against the operating system's error that it was raised from.

    Both name parameters in backticks: the command line then says which options these are.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(re.sub(r"`([a-z][a-z_.]*)`", r"\1", message))
        self.message = message
        self._hint = hint

    @property
    def hint(self) -> str:
        """What to do about it, or nothing."""
        return self._hint or REMEDIES.get(getattr(self.__cause__, "errno", None) or 0, "")


class InputError(StylizeError):
    """An input cannot be read: missing, damaged, too large, or not an image."""

    exit_code = 1


class TrainingError(StylizeError):
    """Training stopped: too few or bad pictures, or a loss that is no longer finite."""

    exit_code = 1


class UsageError(StylizeError):
    """The options contradict each other or name something that does not exist."""

    exit_code = 2


class RefusedError(StylizeError):
    """A style code or a model is malformed, unsafe, or made for another model."""

    exit_code = 3


class OutputError(StylizeError):
    """The output cannot be written: it exists, the folder is missing, the disk is full."""

    exit_code = 4


class DeviceError(StylizeError):
    """The device asked for is missing, or its memory does not suffice."""

    exit_code = 5


def disk_is_full(error: StylizeError) -> bool:
    """Whether going on would only fail on every file."""
    cause = error.__cause__
    return isinstance(error, OutputError) and isinstance(cause, OSError) and cause.errno in DISK_FULL


def shown(name: object) -> str:
    """A path or other foreign text, safe to print: control characters and undecodable bytes are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))


def near_name(path: Path) -> str:
    """The hint for a path where nothing is: where its link leads, or one beside it with nearly its name, if any."""
    import difflib  # of no use unless something is wrong

    try:
        return f"it is a link to {shown(os.readlink(path))}, where nothing is"
    except (OSError, ValueError):  # no link
        pass
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, 10_000)]
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return ""
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)  # "jpg" alone makes half of a short name
    return f"did you mean {shown(path.parent / near[0])}?" if near else ""


def one_line(error: object, most: int = 200) -> str:
    """What a foreign error says, on one line of so many characters."""
    return " ".join(str(error).split())[:most]


def reason(error: Exception) -> str:
    """The operating system's words, without number and path."""
    return (getattr(error, "strerror", None) or str(error)).lower()
