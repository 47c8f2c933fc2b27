"""``stylize doctor``"""

from __future__ import annotations

from typing import Annotated

import typer

from stylize.cli.options import Only, command, in_options
from stylize.cli.terminal import Json, Terminal
from stylize.options import NetworkOptions


@command
def doctor(networks: Annotated[NetworkOptions, Only({"model", "device"})], json: Json = False) -> None:
    """Say what of stylize works on this machine, and stylise a small picture to see.

    \b
      stylize doctor
    """
    from stylize.doctor import as_text, examine

    report = examine(networks.model, networks.device)
    report |= {kind: list(map(in_options, report[kind])) for kind in ("problems", "notes")}
    Terminal(json=json).result(as_text(report), **report)
    if report["problems"]:
        raise typer.Exit(1)
