"""Where to compute, and in which precision."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from stylize.errors import DeviceError, UsageError

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def pick_device(name: str = "auto") -> torch.device:
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` -> a device that is there. ``auto`` never fails.

    Raises:
        UsageError: no such kind of device.
        DeviceError: the device named is missing.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"no device {name!r}", hint="auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            reason = "found no GPU" if torch.version.cuda else "has no CUDA support"
            raise DeviceError(f"--device {name}: torch {torch.__version__} {reason}", hint="--device auto")
        if (device.index or 0) >= torch.cuda.device_count():
            raise DeviceError(f"--device {name}: this machine has {torch.cuda.device_count()} GPU(s), counted from 0")
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError("--device mps: this machine has no Metal GPU", hint="--device auto")
    elif device.type != "cpu":
        raise UsageError(f"no device {name!r}", hint="auto, cpu, cuda, cuda:N or mps")
    return device


def pick_precision(device: torch.device) -> torch.dtype:
    """The fastest type that the device computes convolutions in without emulation.

    bf16 on processors with bf16 instructions and on GPUs that have it, else fp16 on GPUs and fp32 on processors.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return torch.float32


def channels_last(module: ModuleT) -> ModuleT:
    """Lay out a network's kernels so that convolutions need not reorder them. In place, and returned."""
    return module.to(memory_format=torch.channels_last)


def keep_freed_memory() -> None:
    """Tell glibc to reuse freed memory instead of giving it back to the system. Does nothing elsewhere.

    By default every large tensor gets fresh pages, and faulting them in costs a small network more than its
    arithmetic: without this, half of the time of a training step on the CPU is spent in the kernel.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        m_trim_threshold, m_mmap_max = -1, -4  # names and numbers of malloc.h
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)


@contextmanager
def memory_guard(what: str) -> Iterator[None]:
    """Turn running out of memory into a ``DeviceError`` that says while doing what."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise DeviceError(f"out of memory while {what}", hint="--tile 512 needs less") from error
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        raise DeviceError(f"out of memory while {what}", hint="--tile 512 needs less") from error
