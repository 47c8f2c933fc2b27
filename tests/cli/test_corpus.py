"""Hostile and odd files through ``stylize transfer``: a picture or one line, never a traceback, a hang or half a file.

The files of :mod:`hostile` always; with ``STYLIZE_CORPUS=FOLDER pytest -m corpus`` every file below a folder, in child
processes with limits on time and memory.
"""

from __future__ import annotations

import io
import json
import os
import re
import resource
import shutil
import signal
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from hostile import Case, cases, mutants
from PIL import Image, ImageFile

from stylize import cli
from stylize.cli import process
from stylize.images.reading import read_image
from stylize.painting.stylizer import Stylizer
from stylize.styles.style_code import StyleCode

CASES = cases()
CORPUS = os.environ.get("STYLIZE_CORPUS", "")
SIDE = 64  # pixels of what the network gets to see; the rest of the way is that of every photo
MAX_PIXELS = 50_000_000  # what a file within the limit takes is no fault of its own: some decoders start by a canvas
SECONDS, BYTES = 20, 1 << 30  # that a file may take
LINE = re.compile(r"(error|hint|warning): \S.*")

Transfer = Callable[[Path, Path], tuple[int, str]]


@pytest.fixture
def transfer(
    tmp_path: Path,
    stylizer: Stylizer,
    style_code: StyleCode,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Transfer]:
    """``transfer(photo, output)`` -> exit code and stderr of the command, in this process, with one loaded model."""
    real = Stylizer.paint

    def small(self: Stylizer, photo: np.ndarray, style: StyleCode, **options: Any) -> np.ndarray:
        """The 64-pixel path: the network sees a corner, the result has the photo's size."""
        result = photo.copy()
        result[:SIDE, :SIDE] = real(self, photo[:SIDE, :SIDE], style, **options)
        return result

    style_code.save(tmp_path / "style.safetensors")
    command = typer.main.get_command(cli.make_app())
    monkeypatch.setattr(cli, "make_app", lambda names=(): command)  # built once, not for every file
    monkeypatch.setattr(Stylizer, "paint", small)
    monkeypatch.setattr("stylize.cli.transfer.stylizer_of", lambda *arguments: stylizer)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # crash logs
    monkeypatch.setenv(process.DEBUG_VARIABLE, "")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def transfer(photo: Path, output: Path) -> tuple[int, str]:
        style, limit = tmp_path / "style.safetensors", ("--max-pixels", MAX_PIXELS)
        arguments = ["stylize", "transfer", "-s", style, "-o", f"{output}/", *limit, "--", photo]
        monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), capfd.readouterr().err

    yield transfer
    for number, handler in handlers.items():
        signal.signal(number, handler)


def check(case: Case, code: int, stderr: str, output: Path) -> None:
    """What holds for every file."""
    assert code in ((0, 1) if case.readable is None else (0 if case.readable else 1,)), stderr
    assert all(LINE.fullmatch(line) for line in stderr.splitlines()), stderr
    written = [path for path in output.iterdir()] if output.exists() else []
    assert len(written) == (code == 0)
    if code == 0:
        result = read_image(written[0], bit_depth="auto")
        source = read_image(io.BytesIO(case.data).getvalue())
        assert result.pixels.shape == source.pixels.shape
        assert not [line for line in stderr.splitlines() if line.startswith("error")]
    else:
        assert len([line for line in stderr.splitlines() if line.startswith("error")]) == 1


def test_there_are_enough_of_them_and_always_the_same() -> None:
    assert len(CASES) >= 80
    assert len({case.name for case in CASES}) == len(CASES)
    assert cases() == CASES
    assert min(Counter(case.readable for case in CASES).values()) >= 10


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_hostile_files(case: Case, tmp_path: Path, transfer: Transfer) -> None:
    photo = tmp_path / case.name
    photo.write_bytes(case.data)
    code, stderr = transfer(photo, tmp_path / "out")
    check(case, code, stderr, tmp_path / "out")
    assert photo.read_bytes() == case.data
    assert (Image.MAX_IMAGE_PIXELS or 0) > 0
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_mutants(tmp_path: Path, transfer: Transfer) -> None:
    for case in mutants(100, seed=1):
        photo, output = tmp_path / "photo", tmp_path / "out" / case.name
        photo.write_bytes(case.data)
        code, stderr = transfer(photo, output)
        check(case, code, stderr, output)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs and links")
def test_what_is_no_file(tmp_path: Path, transfer: Transfer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets must be short
    os.mkdir("folder.png")
    os.mkfifo("fifo.png")
    os.symlink("nowhere.png", "dangling.png")
    os.symlink("loop.png", "loop.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        for name in ("folder.png", "fifo.png", "dangling.png", "loop.png", "socket.png", "/dev/zero", "/dev/null"):
            code, stderr = transfer(Path(name), tmp_path / "out")
            check(Case(name, b"", False), code, stderr, tmp_path / "out")
            assert f"cannot read {name}: " in stderr


def transfer_in_a_child(transfer: Transfer, photos: list[Path], output: Path) -> Iterator[tuple[Path, int, str]]:
    """Each photo's exit code and stderr, from a child process that is held below 2 GB more and ends after 20 seconds
    with one photo; that photo, or one that crashes the child, is the last, with 128 + signal."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30),) * 2)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            with os.fdopen(writing, "w") as pipe:
                most = BYTES
                for number, photo in enumerate(photos):
                    signal.alarm(SECONDS)
                    code, stderr = transfer(photo, output / str(number))
                    signal.alarm(0)
                    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
                    if peak > most:
                        stderr += f"used {peak >> 20} MB"
                        most = peak
                    print(json.dumps([code, stderr]), file=pipe, flush=True)
        finally:
            os._exit(0)
    os.close(writing)
    left = iter(photos)
    with os.fdopen(reading) as pipe:
        for line in pipe:
            yield next(left), *json.loads(line)
    _, status = os.waitpid(child, 0)
    culprit = next(left, None)
    if culprit is not None:
        yield culprit, 128 + os.waitstatus_to_exitcode(status) % 128, "the process ended"


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS, reason="STYLIZE_CORPUS names no folder")
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and fork")
def test_a_folder_of_files(tmp_path: Path, transfer: Transfer, capfd: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)  # threads do not survive a fork
    files = [path for path in sorted(Path(CORPUS).rglob("*")) if path.is_file()]
    assert files
    codes: Counter[int] = Counter()
    failures: list[str] = []
    done = 0
    while done < len(files):
        output = tmp_path / "out" / str(done)
        for number, (path, code, stderr) in enumerate(transfer_in_a_child(transfer, files[done : done + 50], output)):
            codes[code] += 1
            try:
                check(Case(path.name, path.read_bytes(), None), code, stderr, output / str(number))
            except Exception as error:
                failures.append(f"{path}: {code}: {str(error)[:300]}")
            done += 1
        shutil.rmtree(output, ignore_errors=True)
    with capfd.disabled():
        print(f"\n{len(files)} files, exit codes {dict(codes)}, {len(failures)} failures")
    assert not failures, "\n".join(failures)
