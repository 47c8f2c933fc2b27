"""Errors as people read them."""

from __future__ import annotations

import errno
import os

import pytest

from stylize.errors import InputError, OutputError, StylizeError


def raised(number: int, *, hint: str = "") -> StylizeError:
    with pytest.raises(OutputError) as caught:
        raise OutputError("cannot write a.png", hint=hint) from OSError(number, os.strerror(number))
    return caught.value


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EACCES, "permissions"),
        (errno.ENOSPC, "space"),
        (errno.EROFS, "place"),
        (errno.ENAMETOOLONG, "shorter"),
        (errno.EEXIST, "in the way"),
    ],
)
def test_what_the_system_refuses_has_a_hint(number: int, hint: str) -> None:
    assert hint in raised(number).hint


def test_an_own_hint_comes_first() -> None:
    assert raised(errno.EACCES, hint="--overwrite replaces it").hint == "--overwrite replaces it"


def test_no_hint_where_nothing_is_known_to_help() -> None:
    assert raised(errno.EDOM).hint == "" == InputError("file is odd").hint
