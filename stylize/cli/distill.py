"""``stylize distill``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylize.cli import process
from stylize.cli.arguments import ContentFolders, StyleFolders, set_threads
from stylize.cli.long_work import Limits, Watch, so_far
from stylize.cli.options import Only, command
from stylize.cli.process import stop_gently
from stylize.cli.terminal import Quiet, Terminal, say
from stylize.errors import DeviceError, OutputError, shown
from stylize.extras import require_torch
from stylize.options import DistillationOptions, NetworkOptions, Option, Overwrite


@command
def distill(
    content: ContentFolders,
    style: StyleFolders,
    options: DistillationOptions,
    networks: Annotated[NetworkOptions, Only({"device", "threads"})],
    output: Annotated[Path, Option("The network to write, NAME.safetensors.", "Where to", short="-o")],
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Distil a light perceptual network from VGG19, for training your own models: stylize train --light.

    \b
      stylize distill --content photos --style paintings --output light.safetensors
    """
    from stylize.files.atomic import check_target

    require_torch("distilling")
    if output.suffix.lower() != ".safetensors":
        hint = f"--output {shown(output.with_suffix('.safetensors'))}" if output.name else ""
        raise OutputError(f"cannot write {shown(output)}: a network is a .safetensors file", hint=hint)
    check_target(output, overwrite=overwrite)

    terminal = Terminal(quiet)
    limits = Limits(options.max_seconds, stop_gently())
    with terminal.phases(limits.until) as show:
        show("start")
        from stylize.engines.device import memory_errors, pick_device
        from stylize.training.distillation import distil
        from stylize.training.events import DISTIL, Doing, Ended, Event

        watch = Watch(DISTIL, limits, show)

        def report(step: int, errors: dict[str, float]) -> None:
            watch.facts = tuple(f"{name} {error:.3f}" for name, error in errors.items())

        def tell(event: Event) -> None:
            if isinstance(event, Doing):
                watch.doing(event)
            elif isinstance(event, Ended):
                watch.end = event

        set_threads(networks.threads)
        device = pick_device(networks.device)
        try:
            with memory_errors():
                distil(
                    content, style, output, options, device=device, started=process.started,
                    report=report, listener=tell, stopping=lambda: bool(limits.stopped_by),
                )  # fmt: skip
        except MemoryError as error:
            raise DeviceError(f"memory ran out on {device}", hint="smaller `batch` or `crop`") from error
    _tell(watch, limits, terminal)
    terminal.result(str(output))
    if limits.stopped_by:
        raise typer.Exit(128 + limits.stopped_by[0])


def _tell(watch: Watch, limits: Limits, terminal: Terminal) -> None:
    """Say how far it has come."""
    if watch.end is None:
        return
    if watch.end.step == watch.end.steps:
        text = f"done: {watch.end.steps} steps, {so_far()}"
    elif limits.stopped_by:  # no time was set, for which its rate would have fallen
        text = f"{watch.stopped_at}; the network is as it was by then, and cannot be gone on with"
    else:
        text = f"{watch.stopped_at}; its rate fell to zero within that time, so it is ready to use"
    if limits.stopped_by or not terminal.quiet:
        say(text)
