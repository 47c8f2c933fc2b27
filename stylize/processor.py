"""What the processor can do, and how much of it this process may use."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def has_bf16_instructions(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Whether this processor computes convolutions in bf16 about twice as fast as in fp32; known on Linux only.

    Other processors can compute in bf16, too, but gain nothing. oneDNN emulates it where there is AVX-512, and refuses
    it elsewhere; torch's own convolutions work everywhere, and are slow. So bf16 is chosen, and oneDNN asked for it by
    name, only where this is true.
    """
    with suppress(OSError):
        return b"avx512_bf16" in Path(cpuinfo).read_bytes().split()
    return False


def usual_threads() -> int | None:
    """How many threads to compute with, if nobody says: ``OMP_NUM_THREADS`` as torch obeys it, else the usable cores.

    Of a list, one number for each level of nesting, the first counts.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else usable_cores()


def usable_cores() -> int | None:
    """The cores that this process may use, threads of one core counted once; None where that is not known.

    Containers and schedulers allow fewer than the machine has, and a library that does not ask starts threads, and
    pins them, where they may not run.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = os.sched_getaffinity(0)
    with suppress(OSError):
        folder = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
        return len({Path(folder.format(number)).read_text() for number in allowed})
    return len(allowed)
