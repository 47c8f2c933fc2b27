"""torch is imported at the top of a module only where nothing works without it; elsewhere when it is needed.

``lint-imports`` (see pyproject.toml) holds which folder imports which. It does not tell an import at the top of a
module from one in a function, so this is asked here, of the modules' syntax.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "stylize"
WITH_TORCH = ("networks/", "training/", "engines/torch.py", "engines/export.py", "painting/fine.py")


def imported_at_the_top(nodes: list[ast.stmt]) -> Iterator[str]:
    """What is imported when a module is: also in ``if``, ``try``, ``with`` and classes, but not for annotations."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imported_at_the_top(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for field in ("body", "orelse", "finalbody"):
                yield from imported_at_the_top(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from imported_at_the_top(handler.body)


def imports_torch(source: str) -> bool:
    return any(name.split(".")[0] == "torch" for name in imported_at_the_top(ast.parse(source).body))


def test_torch_is_imported_late_outside_the_folders_that_need_it() -> None:
    found = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if imports_torch(path.read_text())}
    assert "networks/generator.py" in found
    assert [name for name in sorted(found) if not name.startswith(WITH_TORCH)] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch.nn", True),
        ("from torch import nn", True),
        ("try:\n    import torch\nexcept ImportError:\n    pass", True),
        ("try:\n    import numpy\nexcept ImportError:\n    import torch", True),
        ("class A:\n    import torch", True),
        ("if TYPE_CHECKING:\n    import torch\nelse:\n    import torch", True),
        ("if TYPE_CHECKING:\n    import torch", False),
        ("def late():\n    import torch", False),
        ("import torchvision", False),
        ("from stylize.engines import torch", False),
    ],
)
def test_what_counts_as_the_top_of_a_module(source: str, found: bool) -> None:
    assert imports_torch(source) == found
