"""Several processes: what they train is what one process trains, and they stop together."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stylize.errors import DeviceError, InputError, UsageError
from stylize.files import tensors as tensor_file
from stylize.options import TrainingOptions
from stylize.training.data import PictureFolders
from stylize.training.devices import World, launch
from stylize.training.loop import train
from stylize.training.step import Draw

CPU = torch.device("cpu")
OPTIONS = TrainingOptions(
    steps=1000, styles=4, contents=2, crop=64, style_crop=64, log_every=1, precision="32", adversarial_start=0.0,
    rate=0.0005,
)  # fmt: skip
ARGUMENTS = (
    "--steps", "1000", "--styles-per-step", "4", "--photos-per-style", "2", "--crop", "64", "--style-crop", "64",
    "--log-every", "1", "--precision", "32", "--adversarial-start", "0", "--rate", "0.0005",
)  # fmt: skip


def tensors(folder: Path) -> tensor_file.Tensors:
    (path,) = (folder / "checkpoints").iterdir()
    return tensor_file.read(path, "checkpoint", max_bytes=1 << 30)[0]


@pytest.mark.slow
def test_two_processes_train_as_one_and_stop_together(
    tmp_path: Path, tiny_model: Path, photo_folder: Path, style_folder: Path
) -> None:
    pytest.importorskip("lightning_fabric")
    folders = ["--content", str(photo_folder), "--style", str(style_folder), "-o", str(tmp_path / "two")]
    command = [sys.executable, "-m", "stylize", "train", *folders, *ARGUMENTS, "--init", str(tiny_model)]
    command += ["--device", "cpu", "--devices", "2", "--threads", "1", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGTERM)  # to the first process only
        _, stderr = process.communicate(timeout=300)
    assert process.returncode == 143, stderr
    assert stderr.count(b"--resume goes on") == 1 and b"error" not in stderr

    two = tensors(tmp_path / "two")
    with (tmp_path / "two" / "metrics.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    steps = len(rows) - 1
    left = iter(range(steps - 1, -1, -1))
    options = replace(OPTIONS, init=str(tiny_model))
    train(
        [photo_folder], [style_folder], tmp_path / "one", options, world=World(CPU),
        wish=lambda: "stop" if next(left) == 0 else None,
    )  # fmt: skip
    one = tensors(tmp_path / "one")
    with (tmp_path / "one" / "metrics.csv").open(newline="") as file:
        expected = list(csv.reader(file))
    assert len(expected) == len(rows)
    for row, wanted in zip(rows[1:], expected[1:], strict=True):
        found, truth = ([float(value) if value else 0.0 for value in line[2:]] for line in (row, wanted))
        np.testing.assert_allclose(found, truth, rtol=1e-3, atol=1e-5)
    assert set(one) == set(two)
    for optimiser in ("optimiser", "discriminator_optimiser"):  # running means of the gradients
        names = [name for name in one if name.startswith(f"{optimiser}.") and name.endswith(".exp_avg")]
        found, truth = (np.concatenate([run[name].ravel() for name in names]) for run in (two, one))
        assert np.linalg.norm(found - truth) < 0.02 * np.linalg.norm(truth)


def test_one_process_exchanges_nothing() -> None:
    world = World(CPU)
    part = torch.arange(6.0).reshape(3, 2)
    world.mean_([part])
    assert torch.equal(part, torch.arange(6.0).reshape(3, 2))
    assert world.gather(part) is part
    assert world.any(True, False) == (True, False)
    assert world.once(lambda: 3) == world.together(lambda: 3) == 3
    assert range(6)[world.share(6)] == range(6)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_thing_belongs_to_one_process(size: int) -> None:
    parts = [list(range(6))[World(CPU, rank, size).share(6)] for rank in range(size)]
    assert [thing for part in parts for thing in part] == list(range(6))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_parts_of_a_batch_are_the_batch(photo_folder: Path, style_folder: Path, size: int) -> None:
    contents, styles = PictureFolders([photo_folder]), PictureFolders([style_folder])
    whole = Draw(OPTIONS, contents, styles, World(CPU)).whole(3)
    parts = [Draw(OPTIONS, contents, styles, World(CPU, rank, size))(3) for rank in range(size)]
    assert torch.equal(torch.cat([part.content for part in parts]), whole.content)
    assert torch.equal(torch.cat([part.style for part in parts]), whole.style)
    assert [origin for part in parts for origin in part.origins] == whole.origins


def test_memory_that_ran_out_is_said_in_one_way() -> None:
    def work() -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    with pytest.raises(MemoryError):
        World(CPU).together(work)


def test_an_error_that_all_meet_is_told_by_the_first() -> None:
    error = InputError("gone")
    assert World(CPU, 0, 2).failure(error) is error
    assert isinstance(World(CPU, 1, 2).failure(error), SystemExit)


@pytest.mark.parametrize("devices", ["0", "-1", "two", "1.5", ""])
def test_devices_is_a_number_or_all(devices: str) -> None:
    with pytest.raises(UsageError, match="devices"), launch("cpu", devices, 1):
        pass


def test_one_device_needs_no_launching() -> None:
    for devices in (None, "1", "all"):
        with launch("cpu", devices, 1) as world:
            assert (world.rank, world.size, world.device) == (0, 1, CPU)
    assert not torch.distributed.is_initialized()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs")
def test_gpus_that_are_not_there_are_a_device_error() -> None:
    with pytest.raises(DeviceError), launch("cuda", "2", 1):
        pass
