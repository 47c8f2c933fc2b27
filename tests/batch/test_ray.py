"""Batch on Ray: the pictures of the local engine, whatever dies on the way. Skipped where Ray is not installed."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from stylize import __version__
from stylize.batch.inputs import find_photos
from stylize.batch.planning import plan_batch
from stylize.batch.ray import Settings, Worker, _places, for_actor, run_jobs
from stylize.batch.running import Finished, run
from stylize.errors import UsageError
from stylize.files.packaged import packaged_path
from stylize.options import ImageOptions, Look
from stylize.painting.stylizer import Stylizer
from stylize.painting.treatment import parse_styles, read_treatment
from stylize.styles.style_code import StyleCode

STYLIZE = (sys.executable, "-m", "stylize")
COMMON = ("--style", str(packaged_path("styles") / "swirls.safetensors"), "--device", "cpu")


def node(cores: float, gpus: float = 0) -> dict[str, dict[str, float]]:
    return {"Resources": {"CPU": cores, "GPU": gpus, "memory": 1e9}}


def test_how_many_actors() -> None:
    """Actors do not span nodes; GPUs are used where they may be."""
    settings = Settings()
    assert _places([node(32), node(5), node(1)], settings) == (18, {"num_cpus": 2})
    assert _places([node(32)], Settings(threads=8)) == (4, {"num_cpus": 8})
    assert _places([node(1), node(1)], settings) == (2, {"num_cpus": 1})
    assert _places([node(0)], settings)[0] == 0
    assert _places([node(64, 4), node(16)], settings) == (4, {"num_cpus": 8, "num_gpus": 1})
    assert _places([node(8, 4)], settings) == (4, {"num_cpus": 2, "num_gpus": 1})
    assert _places([node(8, 4)], Settings(device="cpu")) == (4, {"num_cpus": 2})


def test_the_threads_that_are_asked_for_are_those_of_an_actor() -> None:
    """Also where its node has fewer cores: with torch, other numbers of threads give other bytes."""
    assert for_actor(Settings(threads=4), {"num_cpus": 2}).threads == 4
    assert for_actor(Settings(), {"num_cpus": 2}) == Settings(threads=2, workers=2)
    assert for_actor(Settings(), {"num_cpus": 8, "num_gpus": 1}) == Settings(workers=8)
    assert for_actor(Settings(threads=3, workers=5), {"num_cpus": 8, "num_gpus": 1}) == Settings(threads=3, workers=5)


def test_a_worker_writes_the_bytes_of_a_batch(
    tmp_path: Path, photo_folder: Path, style_code: StyleCode, tiny_model: Path, request: pytest.FixtureRequest
) -> None:
    """By torch, which the tiny model needs, and where photos are encoded: there the number of threads decides."""
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    style_code.save(tmp_path / "waves.safetensors")
    stylizer = Stylizer(tiny_model, "cpu", threads=1)
    look, options = Look(0.5), ImageOptions()
    finished = [*run([photo_folder], [tmp_path / "waves.safetensors"], tmp_path / "local", look, stylizer=stylizer)][-1]
    assert isinstance(finished, Finished) and finished.counts.ok == 3
    treatment = read_treatment(stylizer, parse_styles([tmp_path / "waves.safetensors"], look), look, options)
    settings = for_actor(Settings(**asdict(stylizer.asked)), {"num_cpus": 2})
    worker = Worker(1, os.getcwd(), __version__, {"": treatment}, settings, tmp_path / "ray", "")
    jobs = plan_batch(find_photos([photo_folder]), tmp_path / "ray").jobs
    assert [outcome.entry.status for outcome in worker.run(jobs)] == ["ok"] * 3
    for job in jobs:
        assert job.output.read_bytes() == (tmp_path / "local" / job.name).read_bytes()


def test_without_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="not installed") as caught:
        run_jobs([], {}, Settings(), tmp_path)
    assert caught.value.hint == 'pip install ".[ray]"'


def test_ray_still_has_the_private_switch_for_the_lines_about_dead_actors() -> None:
    """There is no public one; ``run_jobs`` turns it off. Asked of the source, since a value can be set to any name."""
    ray = pytest.importorskip("ray")
    source = inspect.getsource(ray._private.worker)
    assert "if not _worker_logs_enabled:" in source, f"not in Ray {ray.__version__}: see stylize/batch/ray.py"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two nodes of one core each, on this machine."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    yield
    nodes.shutdown()


def actors() -> list[int]:
    """The processes of actors that this process, or one that it started, has on this machine."""
    parents, found = {}, []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if (entry / "cmdline").read_bytes().startswith(b"ray::Worker"):
                    found.append(int(entry.name))
            except OSError:  # it has ended
                continue

    def is_ours(process: int) -> bool:
        return process == os.getpid() or (process in parents and is_ours(parents[process]))

    return [process for process in found if is_ours(process)]


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_actors_die_and_nothing_is_lost(cluster: None, tmp_path: Path) -> None:
    (tmp_path / "in/sub").mkdir(parents=True)
    for number in range(150):
        Image.new("RGB", (45, 30), (number, 0, 99)).save(tmp_path / f"in/sub/{number:03}.png")
    (tmp_path / "in/bad.png").write_text("no picture")
    ray = [*STYLIZE, "batch", "in", *COMMON, "--output", "out", "--on", "ray"]
    with subprocess.Popen(ray, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        for _ in range(10):
            process.stdout.readline()  # it is at work
        for actor in actors():  # one of them may be idle just now
            os.kill(actor, signal.SIGKILL)
        stdout = process.stdout.read()
        stderr = process.stderr.read()
        process.wait(timeout=500)
    assert process.returncode == 1, stderr
    assert "died" in stderr
    assert "error: cannot read in/bad.png: not an image" in stderr
    assert "done: 150 ok, 1 failed" in stderr
    assert stdout.count("\n") == 140

    # the same bytes, and the local engine knows what was done
    local = [*STYLIZE, "batch", "in", *COMMON, "--output", "out", "--exclude", "bad.png"]
    again = subprocess.run(local, cwd=tmp_path, capture_output=True, text=True)
    assert (again.returncode, again.stdout) == (0, "")
    assert "150 done before" in again.stderr
    local[local.index("out")] = "local"
    subprocess.run([*local, "--quiet", "--include", "*5.png"], cwd=tmp_path, stdout=subprocess.DEVNULL, check=True)
    painted = sorted((tmp_path / "local/sub").iterdir())
    assert len(painted) == 15
    for path in painted:
        assert path.read_bytes() == (tmp_path / "out/sub" / path.name).read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_a_stop_is_tidy(cluster: None, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(150):
        Image.new("RGB", (45, 30), (number % 256, number // 256, 99)).save(tmp_path / f"in/{number:03}.png")
    command = [*STYLIZE, "batch", "in", *COMMON, "--output", "out", "--on", "ray"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        stdout = process.stdout.read()  # communicate() would miss lines that came together with the first
        stderr = process.stderr.read()
        process.wait(timeout=300)
    assert process.returncode == 130, stderr
    written = [path for path in (tmp_path / "out").iterdir() if path.suffix == ".png"]
    assert 0 < len(written) < 150
    assert len(written) == stdout.count("\n") + 1
    assert " left, " in stderr
    deadline = time.monotonic() + 60
    while actors() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert actors() == []
