"""The processes of one training run: one for each device, each with its part of every batch.

On one device there is one process, and nothing here does anything. On several, Lightning Fabric starts the processes
(or finds itself started by torchrun or Slurm) and connects them; what they exchange is a handful of tensors per step,
exactly those that make the run that of one device: means of gradients, the codes of all styles, and who asked to stop.
All of them call the methods of ``World`` in the same order. Only the first one writes files and talks.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed

from stylize.engines.device import memory_errors, pick_device
from stylize.errors import DeviceError, StylizeError, TrainingError, UsageError, one_line
from stylize.extras import install

T = TypeVar("T")

PATIENCE = timedelta(hours=3)  # for the first process, while it checks a million pictures


class World:
    """All processes of a run, seen from one of them.

    Attributes:
        device: where this process computes.
        rank: its number, from 0.
        size: how many there are.
        here: how many of them on this machine.
    """

    def __init__(self, device: torch.device, rank: int = 0, size: int = 1, here: int = 1) -> None:
        self.device, self.rank, self.size, self.here = device, rank, size, here

    def share(self, count: int) -> slice:
        """This process's part of ``count`` things in a row; ``size`` divides their number."""
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, of one type, by their means over the processes."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with _connection():
            distributed.all_reduce(flat)
        for tensor, mean in zip(tensors, flat.div_(self.size).split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def gather(self, part: Tensor) -> Tensor:
        """The parts of all processes in their order: (B, …) -> (size·B, …)."""
        if self.size == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.size)]
        with _connection():
            distributed.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag: is it set in any process?"""
        if self.size == 1:
            return flags
        numbers = torch.tensor(flags, dtype=torch.int32, device=self.device)
        with _connection():
            distributed.all_reduce(numbers, distributed.ReduceOp.MAX)
        return tuple(map(bool, numbers.tolist()))

    def together(self, work: Callable[[], T]) -> T:
        """``work()`` in every process. Raises MemoryError in all of them if memory ran out in one."""
        done: list[T] = []
        try:
            with memory_errors():
                done.append(work())
        except MemoryError:
            if self.size == 1:
                raise
        if self.any(not done)[0]:
            raise MemoryError
        return done[0]

    def once(self, work: Callable[[], T]) -> T:
        """``work()`` in the first process, its result in all. After an error only the first one has something to say:
        the others end in silence.
        """
        if self.size == 1:
            return work()
        outcome: list[T | StylizeError | None] = [None]
        if self.rank == 0:
            try:
                outcome[0] = work()
            except StylizeError as error:
                outcome[0] = error
        with _connection():
            distributed.broadcast_object_list(outcome)
        if isinstance(outcome[0], StylizeError):
            raise self.failure(outcome[0])
        return outcome[0]  # type: ignore[return-value]

    def failure(self, error: StylizeError) -> BaseException:
        """What to raise for an error that all processes meet alike: it should be told once."""
        return error if self.rank == 0 else SystemExit(0)


@contextmanager
def launch(device: str, devices: str | None, nodes: int) -> Iterator[World]:
    """Start, or join, the processes of a run; all of them run the same command.

    Args:
        device: as ``pick_device``.
        devices: how many of this machine, or ``all`` its GPUs; by default one, under torchrun as many as it started.
        nodes: machines. Each of them runs the command, with MASTER_ADDR, MASTER_PORT and NODE_RANK in its environment
            unless torchrun or Slurm start it.

    Raises:
        UsageError, DeviceError: they cannot be had.
    """
    by_torchrun = distributed.is_available() and distributed.is_torchelastic_launched()
    if by_torchrun and devices is None:
        devices = os.environ["LOCAL_WORLD_SIZE"]
        nodes = int(os.environ["WORLD_SIZE"]) // int(devices)
    first = pick_device(device)
    count = _count("1" if devices is None else devices, first)
    if count * nodes == 1 and not (by_torchrun and os.environ["WORLD_SIZE"] != "1"):
        yield World(first)
        return
    if first.type == "mps" or first.index is not None:
        raise UsageError(f"`device` {device} is a single device", hint="cuda or cpu have several")
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy
    except ImportError as error:
        raise UsageError(
            "several devices need lightning-fabric, which is not installed", hint=install("train")
        ) from error
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it greets at length
    strategy = DDPStrategy(timeout=PATIENCE)
    try:
        fabric = Fabric(accelerator=first.type, devices=count, num_nodes=nodes, strategy=strategy)
        fabric.launch()
    except (ValueError, RuntimeError, OSError) as error:  # torchrun or Slurm started other numbers; no connection
        reason = one_line(error, 300)
        raise UsageError(
            f"cannot start {count} x {nodes} processes: {reason}", hint="`devices` and `nodes` as in the launcher"
        ) from error
    try:
        yield World(fabric.device, fabric.global_rank, fabric.world_size, count)
    except BaseException:
        for process in getattr(strategy.launcher, "procs", []):
            process.kill()  # it may wait for this one, and nothing is lost: only the first process writes
        raise
    distributed.destroy_process_group()


def _count(devices: str, first: torch.device) -> int:
    """``all`` or a number -> a number of devices that are there."""
    here = torch.cuda.device_count() if first.type == "cuda" else 1
    if devices == "all":
        return here
    if not devices.isdecimal() or int(devices) < 1:
        raise UsageError(f"`devices` {devices}: not a number of devices", hint="1, 2, … or all")
    if first.type == "cuda" and int(devices) > here:
        raise DeviceError(f"`devices` {devices}: this machine has {here} GPU(s)", hint="`devices` all")
    return int(devices)


@contextmanager
def _connection() -> Iterator[None]:
    """Say in our words that another process is gone."""
    try:
        yield
    except RuntimeError as error:  # distributed errors are such
        raise TrainingError(
            f"lost another process of this run: {one_line(error)}",
            hint="`resume` goes on from the last checkpoint",
        ) from error
