"""What a training run leaves in its folder.

config.json                    every option; the batch sizes, should memory have run out
data.json                      what the check of the pictures found
metrics.csv                    all loss terms, averaged over intervals; ``averaged`` says over how many steps
samples/step-0000500.png       fixed photos × fixed styles, see ``stylize.training.samples``
checkpoints/step-0000500.safetensors   everything needed to go on: networks, averages, optimisers
model.safetensors              the exponential moving average of E and G: the model to use
tensorboard/                   the same for TensorBoard, if asked for
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from stylize.errors import OutputError, UsageError, shown
from stylize.extras import install
from stylize.files.atomic import make_folder, write_atomically, writing
from stylize.networks.model import save_model
from stylize.options import TrainingOptions
from stylize.training.batch_sizes import BatchSizes
from stylize.training.checkpoint import TrainingState, checkpoint_name, checkpoints_of, step_of

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_COLUMNS = (
    "step", "seconds", "averaged", "total", "content", "style", "moments", "palette", "patterns", "tv", "grid", "code",
    "identity", "adversarial", "discriminator",
)  # fmt: skip


# What may be another after every stop: it does not change what a step does, or is told of elsewhere.
_FREE = frozenset(
    {"steps", "max_seconds", "styles", "contents", "log_every", "save_every", "sample_every", "keep", "logger", "init"}
)


class RunFolder:
    """Reads and writes the files of one run; the first process of a run has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model.safetensors"
        self.data = path / "data.json"
        self._config, self._metrics = path / "config.json", path / "metrics.csv"
        self._checkpoints, self._samples = path / "checkpoints", path / "samples"
        self._tensorboard: SummaryWriter | None = None
        self._spent = 0.0  # seconds, before the last stop

    def checkpoints(self, resume: bool) -> list[Path]:
        """Those to go on from, the newest first. Raises OutputError if ``resume`` was not asked for."""
        checkpoints = checkpoints_of(self.path)
        if checkpoints and not resume:
            raise OutputError(f"{shown(self.path)} holds a training run", hint="`resume` continues it")
        return checkpoints

    def batch_sizes(self, options: TrainingOptions, step: int) -> BatchSizes:
        """The batch sizes so far: those asked for, until memory ran out, or until others were asked for at ``step``."""
        asked = (options.styles, options.contents)
        try:
            config = json.loads(self._config.read_bytes())
            since = {int(entry["step"]): (int(entry["styles"]), int(entry["contents"])) for entry in config["batches"]}
            before = (config["styles"], config["contents"])
        except (OSError, ValueError, TypeError, KeyError):  # lost, or of an older version
            since, before = {}, asked
        if 0 not in since or any(number < 1 for pair in since.values() for number in pair):
            return BatchSizes({0: asked})
        return BatchSizes(since) if asked == before else BatchSizes(since).changed(step, asked)

    def changes(self, options: TrainingOptions) -> list[str]:
        """What the run has been trained with until now and is no longer, in words; nothing where that is not known."""
        now = _by_name(json.loads(json.dumps(asdict(options))))
        try:
            before = _by_name(json.loads(self._config.read_bytes()))
        except (OSError, ValueError, AttributeError):  # lost, or of another kind
            return []
        return [
            f"{name.replace('_', '-')} {value} instead of {before[name]}"
            for name, value in now.items()
            if name in before and before[name] != value and name not in _FREE
        ]

    def begin(self, options: TrainingOptions, sizes: BatchSizes, devices: int, step: int) -> None:
        """Make the folders, say with which options the run goes on after ``step``, and forget what came later.

        Raises:
            UsageError: TensorBoard is asked for, and not installed.
            OutputError: a folder cannot be made.
        """
        for folder in (self._checkpoints, self._samples):
            make_folder(folder)
        self.write_config(options, sizes, devices)
        self._forget_metrics(step)
        self._set_aside_checkpoints(step)
        if options.logger == "tensorboard":
            self._tensorboard = _tensorboard(self.path / "tensorboard", step)

    def write_config(self, options: TrainingOptions, sizes: BatchSizes, devices: int) -> None:
        """Every option, and the batch sizes as they are by now."""
        batches = [{"step": start, "styles": s, "contents": n} for start, (s, n) in sorted(sizes.since.items())]
        config = {**asdict(options), "batches": batches, "devices": devices}
        write_atomically(self._config, json.dumps(config, indent=1).encode(), overwrite=True)

    def save(self, state: TrainingState, keep: int) -> None:
        """Write a checkpoint, leave the newest ``keep``, and write the model."""
        state.save(self._checkpoints / checkpoint_name(state.step))
        for old in checkpoints_of(self.path)[keep:]:
            with writing(old):
                old.unlink()
        save_model(state.average, self.model, {"training.steps": str(state.step)})

    def add_metrics(self, step: int, seconds: float, averaged: int, means: Mapping[str, float]) -> None:
        """Add a line: every loss term, in the mean over an interval.

        Args:
            seconds: since the last start; those before it are added.
            averaged: steps of the interval. A run that was killed begins a new one at its last checkpoint.
        """
        new = not self._metrics.exists()
        with writing(self._metrics), self._metrics.open("a", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS, restval="")
            if new:
                writer.writeheader()
            facts = {"step": step, "seconds": f"{self._spent + seconds:.1f}", "averaged": averaged}
            writer.writerow(facts | {name: f"{mean:.5g}" for name, mean in means.items()})
        if self._tensorboard is not None:
            for name, mean in means.items():
                self._tensorboard.add_scalar(f"loss/{name}", mean, step)

    def add_samples(self, step: int, sheet: Image.Image) -> None:
        """Keep the sheet of a step."""
        png = io.BytesIO()
        sheet.save(png, "PNG")
        write_atomically(self._samples / f"step-{step:07d}.png", png.getvalue(), overwrite=True)
        if self._tensorboard is not None:
            self._tensorboard.add_image("samples", np.asarray(sheet), step, dataformats="HWC")

    def close(self) -> None:
        """Let TensorBoard write what it holds back."""
        if self._tensorboard is not None:
            self._tensorboard.close()

    def _set_aside_checkpoints(self, step: int) -> None:
        """Rename those of later steps, which are damaged: they must not be kept in place of sound ones."""
        for path in checkpoints_of(self.path):
            if step_of(path) > step:
                with writing(path):
                    path.replace(path.with_suffix(".damaged"))

    def _forget_metrics(self, step: int) -> None:
        """Drop the lines of later steps, which will be taken again; give the others the columns of this version."""
        if not self._metrics.exists():
            return
        before = self._metrics.read_bytes().decode("utf-8", "replace")
        kept = _sound_rows(before, step)
        with suppress(LookupError, TypeError, ValueError):  # none, or unreadable
            self._spent = float(kept[-1]["seconds"])
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, _COLUMNS, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)
        if text.getvalue() != before:
            write_atomically(self._metrics, text.getvalue().encode(), overwrite=True)


def _by_name(options: Mapping[str, Any]) -> dict[str, Any]:
    """Every option by its name; those of a group, such as the losses' weights, by group and name."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        flat |= {f"{name}.{part}": v for part, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _sound_rows(text: str, most: int) -> list[dict[str, str]]:
    """The lines of metrics up to a step. What a crash may leave is left out: half a line, or one that is no later."""
    rows: list[dict[str, str]] = []
    last = -1.0
    whole = text[: text.rfind("\n") + 1]
    with suppress(csv.Error):  # damaged from there on
        for row in csv.DictReader(io.StringIO(whole, newline="")):
            if last < (step := _step_of(row)) <= most:
                rows.append(row)
                last = step
    return rows


def _step_of(row: Mapping[str, str | None]) -> float:
    """The step of a line; infinite where none can be read."""
    step = row.get("step") or ""
    return int(step) if step.isdecimal() and len(step) < 16 else float("inf")


def _tensorboard(folder: Path, step: int) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "`logger` tensorboard needs tensorboard, which is not installed", hint=install("tensorboard")
        ) from error
    return SummaryWriter(str(folder), purge_step=step + 1)
