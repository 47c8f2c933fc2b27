"""``stylize doctor``"""

from __future__ import annotations

import typer

from stylize.cli.arguments import Device, Json, ModelFile
from stylize.cli.terminal import Terminal


def doctor(model: ModelFile = None, device: Device = "auto", json: Json = False) -> None:
    """Say what of stylize works on this machine, and stylise a small picture to see."""
    from stylize.doctor import as_text, examine

    report = examine(model, device)
    Terminal(json=json).result(as_text(report), **report)
    if report["problems"]:
        raise typer.Exit(1)
