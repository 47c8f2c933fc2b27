"""What a processor is used for: bf16 where it has the instructions, and only there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stylize.engines.device import pick_precision, training_precision
from stylize.processor import has_bf16_instructions

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "fast"),
    [
        ("sse4_2 avx2 avx512f avx512dq avx512bw avx512vl avx512_bf16 amx_bf16", True),
        ("sse4_2 avx2 avx512f avx512dq avx512bw avx512vl", False),  # emulated
        ("sse4_2 avx2", False),
        ("sse4_2 not_avx512_bf16", False),
    ],
)
def test_bf16_instructions_are_among_the_flags(tmp_path: Path, flags: str, fast: bool) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\nmodel name\t: café\nflags\t\t: {flags}\n\n" * 2, encoding="utf-8")
    assert has_bf16_instructions(str(path)) == fast


def test_where_no_flags_are_told_there_are_no_instructions(tmp_path: Path) -> None:
    assert not has_bf16_instructions(str(tmp_path / "missing"))
    (tmp_path / "noise").write_bytes(b"\xff\xfe\x00")
    assert not has_bf16_instructions(str(tmp_path / "noise"))


@pytest.mark.parametrize(("there", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_precision_is_bf16_where_there_are_instructions(
    there: bool, expected: torch.dtype, set_bf16: Callable[[bool], None]
) -> None:
    set_bf16(there)
    assert pick_precision(CPU) == training_precision(CPU) == expected
