"""What a training tells: ``stylize.training.loop.train`` calls its ``listener`` with one of these at a time.

Of several processes only the first one talks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stylize.training.data_check import Checks


@dataclass(frozen=True)
class PictureChecked:
    """One more picture was looked at."""

    done: int
    total: int  # of both kinds


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
class Warned:
    """Something that the user should know, such as a picture that cannot be read any more."""

    message: str


Event = PictureChecked | PicturesChecked | Estimate | StepsTaken | Warned
Listener = Callable[[Event], object]
