"""``stylize evaluate``"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from stylize.cli.arguments import ContentFolders, set_threads, stylizer_of
from stylize.cli.options import Only, command
from stylize.cli.progress import Show
from stylize.cli.terminal import Terminal
from stylize.errors import DeviceError, UsageError, shown
from stylize.extras import require_torch
from stylize.options import Look, NetworkOptions, Option, Overwrite, check, check_perceptual, parse_model

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from stylize.networks.perceptual import PerceptualNetwork
    from stylize.painting.stylizer import Stylizer
    from stylize.training.evaluation import Critic, Pair, Scores, Selection

SHEET_ROWS, SHEET_CELL = 20, 256  # at most; pixels
LEAST_SIZE = 64  # pixels


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured, and where the figures go."""

    content: ContentFolders
    style: Annotated[list[Path], Option("Folder of style pictures; repeatable.", "What", short="-s")]
    compare: Annotated[
        str | Path | None,
        Option(
            "Another model, scored on the same pairs: a file, or packaged.", "What", metavar="MODEL", parse=parse_model
        ),
    ] = None
    discriminator: Annotated[
        Path | None, Option("Folder of a training run, whose discriminator scores, too.", "What", metavar="RUN")
    ] = None
    pairs: Annotated[int, Option("Pairs of a photo and a style.", "What", low=1)] = 60
    size: Annotated[
        int, Option("Pictures become squares of this side, in pixels.", "What", low=LEAST_SIZE, high=2048)
    ] = 512
    perceptual: Annotated[str, Option("Network that judges: vgg19, or light, which is packaged.", "What")] = "vgg19"
    sheet: Annotated[
        Path | None, Option(f"A picture of up to {SHEET_ROWS} of the pairs.", "Where to", metavar="FILE")
    ] = None
    output: Annotated[
        Path | None, Option("All figures, of every pair, as JSON.", "Where to", short="-o", metavar="FILE.json")
    ] = None
    overwrite: Overwrite = False

    def __post_init__(self) -> None:
        check(self)
        check_perceptual(self.perceptual)


@command
def evaluate(
    options: EvaluationOptions,
    look: Annotated[Look, Only({"strength"})],
    networks: Annotated[NetworkOptions, Only({"model", "device", "threads"})],
    terminal: Terminal,
) -> None:
    """Measure what a model keeps of photos and how well it meets styles, alone or beside another model.

    \b
      stylize evaluate --content photos --style paintings --sheet sheet.png
      stylize evaluate --content photos --style paintings --compare other.safetensors
    """
    require_torch("evaluating")
    targets = _checked_targets(options)
    left_out: list[str] = []

    def leave_out(message: str) -> None:
        left_out.append(message)
        terminal.warn(message)

    with terminal.phases() as show:
        show("start")
        from stylize.engines.device import pick_device
        from stylize.files.packaged import model_file
        from stylize.training.evaluation import Critic, load_judge, means, select, share_better

        files = _files(options.content), _files(options.style)
        paths = {"model": model_file(networks.model)}
        paths |= {} if options.compare is None else {"compare": model_file(options.compare)}
        _refuse_sources([*files[0], *files[1], *paths.values()], targets)
        set_threads(networks.threads)
        where = pick_device(networks.device)
        network = load_judge(options.perceptual)
        critic = None if options.discriminator is None else Critic(options.discriminator, where)
        stylizers = {name: stylizer_of(replace(networks, model=path), terminal) for name, path in paths.items()}
        selection = select(*files, options.pairs, options.size, leave_out, on_read=show)
        scored, rows = _scored(selection, stylizers, network, critic, where, look.strength, options, show)
    mean = means(scored)
    better = None if options.compare is None else share_better(scored, "model", "compare")
    record = {
        "schema": 1, "pairs": len(scored), "size": options.size, "strength": look.strength,
        "perceptual": options.perceptual,
        "models": {k: {"file": path.name, "sha256": stylizers[k].engine.hash} for k, path in paths.items()},
        "mean": mean, "model_better": better, "left_out": left_out,
        "each": [{"content": p.content.name, "style": p.style.name, "scores": p.scores} for p in scored],
    }  # fmt: skip
    heading = f"{len(scored)} pairs of {options.size}x{options.size} pixels, judged by {options.perceptual}"
    labels = {"model": shown(networks.model or paths["model"].name), "compare": shown(options.compare)}
    try:
        terminal.result(f"{heading}\n{_table(mean, labels, better)}", **record)
    finally:  # no place that cannot be written to takes the figures from the others
        _write(record, rows, options)


def _checked_targets(options: EvaluationOptions) -> list[Path]:
    """The files to write, each of which can be."""
    from stylize.files.atomic import check_target
    from stylize.images.formats import format_of

    if options.sheet is not None:
        format_of(options.sheet)
    targets = [target for target in (options.sheet, options.output) if target is not None]
    for target in targets:
        check_target(target, overwrite=options.overwrite)
    if len(set(map(os.path.realpath, targets))) < len(targets):
        raise UsageError(f"--sheet and --output are the same file: {shown(targets[0])}", hint="give them two names")
    return targets


def _files(folders: Sequence[Path]) -> list[Path]:
    from stylize.training.data import PictureFolders

    return [file for files in PictureFolders(folders, least=0).files for file in files]


def _refuse_sources(sources: Sequence[Path], targets: Sequence[Path]) -> None:
    from stylize.files.atomic import refuse_same_file

    for target in targets:
        for source in sources:
            refuse_same_file(source, target)


Cells = list[tuple[str, "Image.Image"]]  # of a row of the sheet: label and picture


def _scored(
    selection: Selection,
    stylizers: Mapping[str, Stylizer],
    network: PerceptualNetwork,
    critic: Critic | None,
    device: torch.device,
    strength: float,
    options: EvaluationOptions,
    show: Show,
) -> tuple[list[Pair], list[Cells]]:
    """All pairs, without their pictures, and the rows of the sheet if there is to be one."""
    from stylize.engines.device import memory_errors
    from stylize.training.evaluation import Judge, evaluate, spread

    size = options.size
    in_sheet = set(spread(range(len(selection.pairs)), SHEET_ROWS)) if options.sheet else set()
    scored: list[Pair] = []
    rows = []
    try:
        with memory_errors():
            calibration = selection.calibration()
            show("prepare the judge", 0, len(calibration))
            judge = Judge(
                network, calibration, device, on_done=lambda done: show("prepare the judge", done, len(calibration))
            )
            show("evaluate", 0, len(selection.pairs))
            for pair in evaluate(selection, stylizers, judge, critic, strength=strength):
                if len(scored) in in_sheet:
                    rows.append(_cells(pair, min(size, SHEET_CELL)))
                scored.append(replace(pair, outputs={}))  # a thousand pictures need not be kept
                pictures = f"{shown(pair.content.name)} × {shown(pair.style.name)}"
                show("evaluate", len(scored), len(selection.pairs), pictures)
    except MemoryError as error:
        raise DeviceError(
            f"out of memory while evaluating pictures of {size}x{size} pixels",
            hint=f"--size {max(size // 2, LEAST_SIZE)}" if size > LEAST_SIZE else "end other programs",
        ) from error
    return scored, rows


def _write(record: Mapping[str, object], rows: Sequence[Cells], options: EvaluationOptions) -> None:
    from stylize.files.atomic import write_atomically
    from stylize.images.sheet import labelled_sheet
    from stylize.images.writing import write_image

    if options.output is not None:
        figures = dumps(record, indent=1).encode() + b"\n"
        write_atomically(options.output, figures, overwrite=options.overwrite)
    if options.sheet is not None:
        write_image(options.sheet, labelled_sheet(rows, rows[0][0][1].size), overwrite=options.overwrite)


def _cells(pair: Pair, side: int) -> Cells:
    """A row of the sheet: photo, style, and what the models made of them."""
    from PIL import Image

    pictures = [(pair.content.name, pair.content.pixels), (pair.style.name, pair.style.pixels)]
    for name, pixels in pair.outputs.items():
        scores = pair.scores[name]
        pictures.append((f"{name}: ssim {scores['ssim']:.2f}, style {scores['style']:.2f}", pixels))
    return [(label, Image.fromarray(p).resize((side, side), Image.Resampling.LANCZOS)) for label, p in pictures]


def _table(mean: dict[str, Scores], labels: dict[str, str], better: Scores | None) -> str:
    """Systems as rows, measures as columns.

    Args:
        labels: what the models are called.
    """
    keys = list(mean["model"])
    rows = [["", *keys]]
    for name, label in {"photo": "the photo as it is", "art": "the style picture", **labels}.items():
        if name in mean:
            rows.append([label, *(f"{mean[name][key]:.3f}" if key in mean[name] else "-" for key in keys)])
    if better is not None:
        rows.append(["the former is better in", *(f"{100 * better[key]:.0f} %" for key in keys)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )
