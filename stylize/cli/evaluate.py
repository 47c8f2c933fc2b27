"""``stylize evaluate``"""

from __future__ import annotations

import os
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylize.cli.arguments import (
    ContentFolders,
    Device,
    Json,
    ModelFile,
    Overwrite,
    Quiet,
    Strength,
    Threads,
    Verbose,
    open_stylizer,
    set_threads,
)
from stylize.cli.terminal import Terminal
from stylize.errors import DeviceError, UsageError, shown
from stylize.extras import require_torch
from stylize.options import check_perceptual, check_strength

if TYPE_CHECKING:
    from PIL import Image

    from stylize.training.evaluation import Pair, Scores

SHEET_ROWS, SHEET_CELL = 20, 256  # at most; pixels


def evaluate(
    content: ContentFolders,
    style: Annotated[list[Path], typer.Option("--style", "-s", help="Folder of style pictures; repeatable.")],
    model: ModelFile = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", metavar="MODEL", help="Another model, scored on the same pairs.")
    ] = None,
    discriminator: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Folder of a training run, whose discriminator scores, too.")
    ] = None,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of a photo and a style.")] = 60,
    size: Annotated[int, typer.Option(min=64, max=2048, help="Pictures become squares of this side, in pixels.")] = 512,
    strength: Strength = 1.0,
    perceptual: Annotated[str, typer.Option(help="Network that judges: vgg19, or light, which is packaged.")] = "vgg19",
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"A picture of up to {SHEET_ROWS} of the pairs.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.json", help="All figures, of every pair, as JSON.")
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Measure what a model keeps of photos and how well it meets styles, alone or beside another model."""
    from stylize.files.atomic import check_target, refuse_same_file, write_atomically
    from stylize.images.formats import format_of
    from stylize.images.writing import write_image

    require_torch("evaluating")
    check_strength(strength)
    check_perceptual(perceptual)
    if sheet is not None:
        format_of(sheet)
    targets = [target for target in (sheet, output) if target is not None]
    for target in targets:
        check_target(target, overwrite=overwrite)
    if len(set(map(os.path.realpath, targets))) < len(targets):
        raise UsageError(f"--sheet and --output are the same file: {shown(targets[0])}", hint="give them two names")

    from stylize.engines.device import memory_errors, pick_device
    from stylize.files.packaged import default_model
    from stylize.images.sheet import labelled_sheet
    from stylize.training.data import PictureFolders
    from stylize.training.evaluation import Critic, Judge, load_judge, means, select, share_better, spread
    from stylize.training.evaluation import evaluate as run

    terminal = Terminal(quiet, verbose, json)
    photos, arts = (
        [file for files in PictureFolders(folders, least=0).files for file in files] for folders in (content, style)
    )
    paths = {"model": model or default_model()} | ({} if compare is None else {"compare": compare})
    for target in targets:
        for source in (*photos, *arts, *paths.values()):
            refuse_same_file(source, target)
    set_threads(threads)
    where = pick_device(device)
    network = load_judge(perceptual)
    critic = None if discriminator is None else Critic(discriminator, where)
    stylizers = {name: open_stylizer(path, device, "auto", threads, terminal) for name, path in paths.items()}
    left_out: list[str] = []

    def leave_out(message: str) -> None:
        left_out.append(message)
        terminal.warn(message)

    selection = select(photos, arts, pairs, size, leave_out)
    in_sheet = set(spread(range(len(selection.pairs)), SHEET_ROWS))
    scored: list[Pair] = []
    rows = []
    try:
        with memory_errors():
            calibration = selection.calibration()
            with terminal.progress("calibrate", len(calibration)) as advance:
                judge = Judge(network, calibration, where, on_done=lambda done: advance(done, perceptual))
            with terminal.progress("evaluate", len(selection.pairs)) as advance:
                for pair in run(selection, stylizers, judge, critic, strength=strength):
                    if sheet is not None and len(scored) in in_sheet:
                        rows.append(_cells(pair, min(size, SHEET_CELL)))
                    scored.append(replace(pair, outputs={}))  # a thousand pictures need not be kept
                    advance(len(scored), f"{shown(pair.content.name)} × {shown(pair.style.name)}")
    except MemoryError as error:
        where_to = f"pictures of {size}x{size} pixels"
        raise DeviceError(f"out of memory while evaluating {where_to}", hint=f"--size {size // 2}") from error
    mean = means(scored)
    better = None if compare is None else share_better(scored, "model", "compare")
    record = {
        "schema": 1, "pairs": len(scored), "size": size, "strength": strength, "perceptual": perceptual,
        "models": {k: {"file": path.name, "sha256": stylizers[k].engine.hash} for k, path in paths.items()},
        "mean": mean, "model_better": better, "left_out": left_out,
        "each": [{"content": p.content.name, "style": p.style.name, "scores": p.scores} for p in scored],
    }  # fmt: skip
    if sheet is not None:
        write_image(sheet, labelled_sheet(rows, rows[0][0][1].size), overwrite=overwrite)
    if output is not None:
        write_atomically(output, dumps(record, indent=1).encode() + b"\n", overwrite=overwrite)
    labels = {"photo": "the photo as it is", "art": "the style picture"}
    labels |= {"model": shown(paths["model"].name if model is None else model), "compare": shown(compare)}
    heading = f"{len(scored)} pairs of {size}x{size} pixels, judged by {perceptual}"
    terminal.result(f"{heading}\n{_table(mean, labels, better)}", **record)


def _cells(pair: Pair, side: int) -> list[tuple[str, Image.Image]]:
    """A row of the sheet: photo, style, and what the models made of them."""
    from PIL import Image

    pictures = [(pair.content.name, pair.content.pixels), (pair.style.name, pair.style.pixels)]
    for name, pixels in pair.outputs.items():
        scores = pair.scores[name]
        pictures.append((f"{name}: ssim {scores['ssim']:.2f}, style {scores['style']:.2f}", pixels))
    return [(label, Image.fromarray(p).resize((side, side), Image.Resampling.LANCZOS)) for label, p in pictures]


def _table(mean: dict[str, Scores], labels: dict[str, str], better: Scores | None) -> str:
    """Systems as rows, measures as columns."""
    keys = list(mean["model"])
    rows = [["", *keys]]
    for name, label in labels.items():
        if name in mean:
            rows.append([label, *(f"{mean[name][key]:.3f}" if key in mean[name] else "-" for key in keys)])
    if better is not None:
        rows.append(["the former is better in", *(f"{100 * better[key]:.0f} %" for key in keys)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )
