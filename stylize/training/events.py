"""What long work tells: ``stylize.training.loop.train`` calls its ``listener`` with one of these at a time.

Distilling and refining tell what they are doing, too. Of several processes only the first one talks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from stylize.training.data_check import Checks

T = TypeVar("T")


CHECK, TRAIN, DISTIL, REFINE = "check pictures", "train", "distill", "refine"  # phases that listeners know


@dataclass(frozen=True)
class Doing:
    """What is being done, at its beginning and after each part of it."""

    what: str  # such as ``check pictures``
    done: int = 0
    total: int | None = None  # None: it has no measure
    note: str = ""  # what part it is that comes now


@dataclass(frozen=True)
class PicturesChecked:
    """All pictures have been looked at."""

    checks: Checks


@dataclass(frozen=True)
class Estimate:
    """What is left of a run, measured on a few steps that are thrown away."""

    steps: int
    seconds_per_step: float  # in the mean over early and late steps; between devices nothing was exchanged yet
    memory: int | None  # bytes taken so far, at most: of the GPU, else of this process with its pictures
    styles: int  # per step, of all devices
    contents: int  # photos per style
    device: str

    @property
    def seconds(self) -> float:
        """Of all steps."""
        return self.steps * self.seconds_per_step


@dataclass(frozen=True)
class StepsTaken:
    """``log_every`` more steps were taken; figures are of these."""

    step: int  # steps so far
    losses: Mapping[str, float]  # means of all terms
    images_per_second: float
    seconds: float  # since the first step of this call


@dataclass(frozen=True)
class Ended:
    """The last step was taken, and all is saved."""

    step: int
    steps: int  # of a whole run
    seconds_per_step: float  # in this call

    @property
    def seconds_left(self) -> float:
        """That the other steps would take."""
        return (self.steps - self.step) * self.seconds_per_step


@dataclass(frozen=True)
class Warned:
    """Something that the user should know, such as a picture that cannot be read any more."""

    message: str


Event = Doing | PicturesChecked | Estimate | StepsTaken | Ended | Warned
Listener = Callable[[Event], object]


def ignore(event: Event) -> None:
    """The listener of who does not want to know."""


def told(items: Sequence[T], what: str, listener: Listener) -> Iterator[T]:
    """The items; the listener is told how many of them are done."""
    for done, item in enumerate(items):
        listener(Doing(what, done, len(items)))
        yield item
    listener(Doing(what, len(items), len(items)))
