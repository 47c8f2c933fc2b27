"""Errors as people read them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from stylize.cli.process import show
from stylize.errors import InputError, OutputError, StylizeError, UsageError
from stylize.options import (
    ImageOptions,
    Look,
    LossWeights,
    ModelSizes,
    NetworkOptions,
    RefineOptions,
    TrainingOptions,
)


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


def test_a_program_reads_the_parameter_and_a_person_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError) as caught:
        Look(style_scale=9)
    assert str(caught.value) == "style_scale 9 is not between 0.25 and 4"
    show(caught.value)
    assert capsys.readouterr().err.startswith("error: --style-scale 9 is not between 0.25 and 4\n")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TrainingOptions(crop=100), "crop 100 is not a multiple of 16"),
        (lambda: TrainingOptions(rate=float("nan")), "rate nan is not between 0 and 1"),
        (lambda: TrainingOptions(weights=LossWeights(code=-1.0)), "weights.code -1 is not a number from 0 on"),
        (lambda: TrainingOptions(sizes=ModelSizes(bank=0)), "sizes.bank 0 is not between 1 and 64"),
        (lambda: ImageOptions(metadata="some"), "metadata some: no such choice"),  # type: ignore[arg-type]
        (lambda: ImageOptions(quality=101), "quality 101 is not between 1 and 100"),
        (lambda: NetworkOptions(threads=0), "threads 0 is not between 1 and 1024"),
        (lambda: RefineOptions(steps=0), "steps 0 is not a number from 1 on"),
    ],
)
def test_options_are_checked_for_programs_too(make: Callable[[], object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value) == words
