"""What a training run will take: a few of its steps, measured on networks that are thrown away.

The heaviest kind of step comes first, with the discriminator and the identity loss: that memory does not suffice for
it shows now, and not when the discriminator joins in, hours later.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import product

import torch

from stylize.options import TrainingOptions
from stylize.training.checkpoint import TrainingState
from stylize.training.data import batches
from stylize.training.devices import World
from stylize.training.events import Estimate
from stylize.training.judges import Judges
from stylize.training.step import Draw, take_step

NEVER = 2**62


def rehearse(
    options: TrainingOptions,
    judges: Judges,
    draw: Draw,
    step: int,
    *,
    lower: Callable[[], None],
    on_step: Callable[[int, int], None] = lambda done, all: None,
) -> Estimate:
    """Take a few steps from ``step`` on, and forget them.

    Args:
        judges: the networks of the losses.
        on_step: called with how many of these steps are done, and how many there are.
        lower: called when memory ran out, to make the batches of ``draw`` smaller.
    """
    device = draw.world.device
    while True:
        with suppress(MemoryError):
            seconds = draw.world.together(lambda: _seconds_per_step(options, judges, draw, step, on_step))
            return Estimate(options.steps - step, seconds, _memory_taken(device), *draw.sizes_at(step), str(device))
        lower()  # only here, where what the failed step held is free again


def _seconds_per_step(
    options: TrainingOptions, judges: Judges, draw: Draw, step: int, on_step: Callable[[int, int], None]
) -> float:
    """The mean over the kinds of steps that the run has: with the discriminator and without, with identity and without.

    Raises:
        MemoryError: memory ran out.
    """
    first = max(options.adversarial_start * options.steps, step)  # of the steps to come, the first with D
    late = max(0.0, options.steps - first) / max(options.steps - step, 1) if options.weights.adversarial > 0 else 0.0
    identity = 1 / options.identity_every if options.weights.identity > 0 else 0.0
    shares = product([(True, late), (False, 1 - late)], [(True, identity), (False, 1 - identity)])
    kinds = [(d, i, share_d * share_i) for (d, share_d), (i, share_i) in shares if share_d * share_i > 0]
    kinds.insert(0, (*kinds[0][:2], 0.0))  # once to warm up
    state = TrainingState(options, draw.world.device)
    alone = World(draw.world.device)
    mean = 0.0
    on_step(0, len(kinds))
    of_each = zip(kinds, batches(draw, step, step + len(kinds)), strict=True)
    for done, ((discriminator, identity_too, share), batch) in enumerate(of_each, start=1):
        kind = replace(
            options,
            adversarial_start=0.0,
            weights=options.weights if discriminator else replace(options.weights, adversarial=0.0),
            identity_every=1 if identity_too else NEVER,
        )
        state.step = 1
        started = time.monotonic()
        take_step(state, judges, batch, kind, alone)
        mean += share * (time.monotonic() - started)
        on_step(done, len(kinds))
    return mean


def _memory_taken(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
