"""Where to compute, in which precision, and in how much memory. Imports torch only for questions that need it."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from stylize.errors import DeviceError, UsageError
from stylize.extras import require_torch, torch_is_installed
from stylize.processor import has_bf16_instructions

if TYPE_CHECKING:
    import torch
    from torch import nn

ModuleT = TypeVar("ModuleT", bound="nn.Module")

# What the drivers of NVIDIA, of NVIDIA under Windows' Linux, and of AMD leave behind.
_GPU_TRACES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd", r"C:\Windows\System32\nvcuda.dll")


def may_have_gpu() -> bool:
    """Whether torch might find a GPU. It takes torch seconds to say, so only traces of a driver are looked for."""
    return any(os.path.exists(path) for path in _GPU_TRACES)


def free_memory() -> int | None:
    """Bytes that this process may still take without swapping or being refused; None where it is not known.

    The least of what the machine has left, what the control group allows, and what ``ulimit -v`` allows.
    """
    limits = []
    with suppress(OSError, ValueError, LookupError):  # old kernels do not say what is available
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        limits.append(int(fields["MemAvailable"].split()[0]) * 1024)
    with suppress(OSError, ValueError, KeyError):
        limits.append(_left_to(Path("/sys/fs/cgroup")))
    with suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limits.append(limit - pages * resource.getpagesize())
    return max(min(limits), 0) if limits else None


def _left_to(group: Path) -> int:
    """Bytes that a control group may still take. Files that it has read are kept, but given up when memory is needed.

    Raises:
        OSError, ValueError, KeyError: it has no limit, or is of the first version.
    """
    stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    files = int(stat["inactive_file"]) + int(stat["active_file"])
    return int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()) + files


def require_torch_for(name: str) -> None:
    """Refuse a device that torch computes on, where torch is not installed.

    Raises:
        UsageError: no such kind of device.
        DeviceError: torch is not installed.
    """
    if not torch_is_installed() and not re.fullmatch(r"cuda(:\d+)?|mps", name):
        raise _no_device(name)
    require_torch(f"`device` {name}", error=DeviceError)


def pick_device(name: str = "auto") -> torch.device:
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` -> a device that is there. ``auto`` never fails.

    ``auto`` is CUDA or the processor: nothing has been measured on Metal, so it has to be asked for.

    Raises:
        UsageError: no such kind of device.
        DeviceError: the device named is missing.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise _no_device(name) from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            reason = "found no GPU" if torch.version.cuda else "has no CUDA support"
            raise DeviceError(f"`device` {name}: torch {torch.__version__} {reason}", hint="`device` auto")
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            hint = f"`device` cuda:{count - 1} is the last"
            raise DeviceError(f"`device` {name}: this machine has {count} GPU(s), counted from 0", hint=hint)
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError("`device` mps: this machine has no Metal GPU", hint="`device` auto")
    elif device.type != "cpu":
        raise _no_device(name)
    return device


def _no_device(name: str) -> UsageError:
    return UsageError(f"no device {name!r}", hint="auto, cpu, cuda, cuda:N or mps")


def pick_precision(device: torch.device) -> torch.dtype:
    """The fastest type that the device computes convolutions in without emulation.

    bf16 on processors with bf16 instructions and on GPUs that have it, else fp16 on GPUs and fp32 on processors.
    """
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and has_bf16_instructions():
        return torch.bfloat16
    return torch.float32


def training_precision(device: torch.device) -> torch.dtype:
    """bf16 where the device has it, else fp32: fp16, the fastest type of some GPUs, would need its losses scaled."""
    import torch

    return torch.bfloat16 if pick_precision(device) == torch.bfloat16 else torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    """Convolutions in ``precision``, as a context."""
    import torch

    return nullcontext() if precision == torch.float32 else torch.autocast(device.type, precision)


def channels_last(module: ModuleT) -> ModuleT:
    """Lay out a network's kernels so that convolutions need not reorder them. In place, and returned."""
    import torch

    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore] # torch 2.13's stubs
    return module


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
def memory_errors() -> Iterator[None]:
    """Turn torch's and ONNX Runtime's ways of saying that memory ran out into ``MemoryError``."""
    try:
        yield
    except Exception as error:  # the two have no class in common
        words = ("allocate memory", "out of memory", "Failed to allocate", "bad_alloc", "bad allocation")
        if type(error).__name__ == "OutOfMemoryError" or any(word in str(error) for word in words):
            raise MemoryError(str(error)) from error
        raise
