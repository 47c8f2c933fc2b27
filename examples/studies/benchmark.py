"""How fast is stylize on this machine, and how near to what the machine could do.

    pip install ".[torch]" && python examples/studies/benchmark.py

Three tables: the *floors*, which no program of this kind goes below; the *network* alone, style encoded and model
loaded; and the *whole process*, from the shell's prompt back to it. Times are the best of several, in seconds. Run it
on an idle machine: other work does not only slow everything down, it also distorts the ratios. ``--quick`` for a
minute's impression. ``--batch`` prints another table instead: a batch, compared with its slowest stage alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from stylize.batch.inputs import find_photos
from stylize.batch.manifest import Manifest
from stylize.batch.pipeline import MOST_WORKERS, run_jobs
from stylize.batch.planning import plan_batch
from stylize.engines.protocol import Painter
from stylize.images.palette import palette_map, palette_of_pixels
from stylize.images.reading import Picture, Pixels, read_image
from stylize.images.writing import encode_image, write_image
from stylize.networks.plan import BORDER, Margins, layers_of
from stylize.options import ImageOptions, ModelSizes
from stylize.painting.stylizer import Stylizer
from stylize.painting.tiles import paint_tiles, proxy, to_cells, window_at
from stylize.processor import has_bf16_instructions
from stylize.styles.style_code import StyleCode

SIZES = {"512x512": (512, 512), "1024x768": (768, 1024), "1024x1024": (1024, 1024), "2048x2048": (2048, 2048)}
SIZES |= {"4000x3000": (3000, 4000)}
QUICK = ("512x512", "1024x768")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two small sizes, two repetitions")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all")
    parser.add_argument("--large", action="store_true", help="also 100 megapixels under a limit of 3 GB")
    parser.add_argument("--batch", type=int, metavar="PHOTOS", help="only a batch of so many 2-megapixel JPEGs")
    options = parser.parse_args()
    repeat = 2 if options.quick else 5
    sizes = {name: SIZES[name] for name in (QUICK if options.quick else SIZES)}
    torch.set_num_threads(options.threads)
    engines = {"onnx float32": ("onnx", torch.float32), "torch float32": ("torch", torch.float32)}
    if has_bf16_instructions():
        engines["torch bfloat16"] = ("torch", torch.bfloat16)

    print(f"{_processor()} ({_instructions()}), {options.threads} threads, load {os.getloadavg()[0]:.1f}")
    versions = f"torch {torch.__version__}, onnxruntime {version('onnxruntime')}"
    print(f"Python {platform.python_version()}, {versions}; best of {repeat}")
    if options.batch:
        return _print_batch(options.batch, options.threads, repeat)
    with tempfile.TemporaryDirectory() as folder:
        photos = {name: _write_photo(Path(folder) / f"{name}.jpg", *size) for name, size in sizes.items()}
        code = Path(folder) / "style.safetensors"
        style = Stylizer(device="cpu", threads=options.threads).encode_style([_picture(400, 500, seed=1)])
        style.save(code)
        peak = {kind: _convolution_peak(kind, repeat) for kind in {kind for _, kind in engines.values()}}
        floors = _print_floors(photos, peak, repeat)
        _print_network(photos, engines, style, peak, options.threads, repeat)
        _print_convolutions(photos, code)
        _print_process(photos, code, floors, options.threads, repeat)
        if options.large:
            _print_large(Path(folder), code)


def _print_floors(photos: dict[str, Path], peak: dict[torch.dtype, float], repeat: int) -> dict[str, float]:
    """Print what cannot be undercut; returns the floor of a process for each photo."""
    print("\nfloors")
    python = _best(lambda: _run(["-c", "pass"]), repeat)
    rows = [("start Python", python)]
    for name in ("numpy, PIL.Image", "onnxruntime", "torch"):
        rows.append((f"  and import {name}", _best(partial(_run, ["-c", f"import {name}"]), repeat)))
    codec = {name: _best(partial(_recode, path), repeat) for name, path in photos.items()}
    rows += [(f"decode and encode JPEG {name}", seconds) for name, seconds in codec.items()]
    for label, seconds in rows:
        print(f"  {label:34} {seconds:8.3f} s")
    for kind, rate in peak.items():
        print(f"  {'convolution peak ' + _name(kind):34} {rate / 1e9:8.0f} GFLOP/s")
    return {name: python + seconds for name, seconds in codec.items()}


def _print_network(
    photos: dict[str, Path],
    engines: dict[str, tuple[str, torch.dtype]],
    style: StyleCode,
    peak: dict[torch.dtype, float],
    threads: int,
    repeat: int,
) -> None:
    macs = _macs_per_pixel()
    print(
        f"\nnetwork, {macs / 1e3:.1f} kMAC per pixel folded; peak: share of the convolution peak, margins not counted"
    )
    print(f"  {'photo':10} {'engine':15} {'statistics':>10} {'paint':>8} {'ns/pixel':>9} {'GFLOP/s':>8} {'peak':>5}")
    for name, path in photos.items():
        photo = read_image(path).pixels
        for label, (engine, kind) in engines.items():
            stylizer = Stylizer(device="cpu", engine=engine, threads=threads)
            if engine == "torch":
                stylizer.engine.precision = kind  # type: ignore[attr-defined]
            statistics, paint = _measured(stylizer, photo, style)
            first = _best(statistics, min(repeat, 2))
            seconds = _best(partial(paint, photo), repeat)
            pixels = photo.shape[0] * photo.shape[1]
            rate = 2 * macs * pixels / seconds
            print(
                f"  {name:10} {label:15} {first:10.3f} {seconds:8.3f} {1e9 * seconds / pixels:9.0f} "
                f"{rate / 1e9:8.0f} {rate / peak[kind]:5.0%}"
            )


PROFILE = """
import json, sys
from pathlib import Path
import onnxruntime
from stylize import StyleCode, Stylizer, read_image

sessions = []


class Profiled(onnxruntime.InferenceSession):
    def __init__(self, graph, options, **rest):
        options.enable_profiling, options.profile_file_prefix = True, sys.argv[1] + "/profile"
        super().__init__(graph, options, **rest)
        sessions.append(self)


onnxruntime.InferenceSession = Profiled
style, stylizer = StyleCode.load(Path(sys.argv[2])), Stylizer(device="cpu", engine="onnx")
photo = read_image(sys.argv[3]).pixels
stylizer.transfer(photo, style)
stylizer.transfer(photo, style)
spent = {}
for session in sessions:
    for event in json.load(open(session.end_profiling())):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            kind = event["args"]["op_name"]
            spent[kind] = spent.get(kind, 0) + event["dur"] / 2e6
print(json.dumps(spent))
"""  # in a process of its own: sessions cannot be profiled later


def _print_convolutions(photos: dict[str, Path], code: Path) -> None:
    """Where ONNX Runtime's time goes, by its own profile."""
    print("\nONNX Runtime, by its own profile, two photos, first one included")
    print(f"  {'photo':10} {'seconds':>8} {'convolutions':>13}  most of the rest")
    for name, path in photos.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", PROFILE, folder, str(code), str(path)]
            spent: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        total = sum(spent.values())
        convolutions = sum(spent.pop(kind, 0.0) for kind in ("Conv", "FusedConv"))
        rest = sorted(spent.items(), key=lambda item: -item[1])[:5]
        print(
            f"  {name:10} {total:8.3f} {convolutions / total:13.0%}  "
            + ", ".join(f"{kind} {seconds:.3f}" for kind, seconds in rest)
        )


def _measured(
    stylizer: Stylizer, photo: Pixels, style: StyleCode
) -> tuple[Callable[[], object], Callable[[Pixels], Pixels]]:
    """The two steps of a transfer: to measure the statistics, and to paint in tiles."""
    corners, shape = proxy(*photo.shape[:2])
    around = Margins(BORDER, BORDER, BORDER, BORDER)
    windows = np.stack([window_at(photo, *corner, *shape, around) for corner in corners])
    colours = palette_map(palette_of_pixels(windows[:, BORDER:-BORDER, BORDER:-BORDER]), style.palette)
    origins = [(top - BORDER, left - BORDER) for top, left in corners]

    def measure() -> Painter:
        return stylizer.engine.measure(
            style.code, style.refinement, style.palette, colours, to_cells(windows), origins
        )[1]

    painter = measure()
    return measure, lambda pixels: paint_tiles(painter, pixels, stylizer.engine.best_tile)


def _print_process(photos: dict[str, Path], code: Path, floors: dict[str, float], threads: int, repeat: int) -> None:
    print("\nwhole process: stylize transfer PHOTO --style CODE; floor: start Python, decode, encode")
    print(f"  {'photo':10} {'engine':15} {'wall':>8} {'of floor':>9} {'processor':>10} {'peak memory':>12}")
    for name, path in photos.items():
        for engine in ("onnx", "torch"):
            arguments = ["-m", "stylize", "transfer", str(path), "--style", str(code), "--output", f"{path}.out.jpg"]
            arguments += ["--overwrite", "--device", "cpu", "--engine", engine, "--threads", str(threads)]
            runs = [_run(arguments) for _ in range(repeat)]
            wall, processor, memory = min(runs)
            print(
                f"  {name:10} {engine:15} {wall:8.3f} {wall / floors[name]:8.1f}x {processor:10.3f} "
                f"{memory / 1e6:9.0f} MB"
            )


def _print_large(folder: Path, code: Path) -> None:
    """100 megapixels in an address space of 3 GB, torch's own libraries being larger than that."""
    photo = _write_photo(folder / "large.jpg", 8660, 11548)
    arguments = f"-m stylize transfer {photo} --style {code} --output {photo}.out.jpg --device cpu --engine onnx"
    wall, processor, memory = _run(["-c", f"ulimit -v 3000000; exec {sys.executable} {arguments}"], "/bin/sh")
    print(f"\n100 megapixels, ulimit -v 3000000: {wall:.1f} s, processor {processor:.1f} s, peak {memory / 1e6:.0f} MB")


def _print_batch(photos: int, threads: int, repeat: int) -> None:
    """The stages of a batch alone, one after the other and in as many threads as the batch has, and all together."""
    with tempfile.TemporaryDirectory() as name:
        folder, workers = Path(name), min(os.cpu_count() or 1, MOST_WORKERS)
        (folder / "in").mkdir()
        first = _write_photo(folder / "in/0.jpg", 1224, 1632)
        paths = [first] + [folder / f"in/{number}.jpg" for number in range(1, photos)]
        for path in paths[1:]:
            path.write_bytes(first.read_bytes())
        stylizer = Stylizer(device="cpu", threads=threads)
        style = stylizer.encode_style([_picture(400, 500, seed=1)])
        pictures = [read_image(first)] * photos
        number = count()

        def paint(picture: Picture) -> Picture:
            return replace(picture, pixels=stylizer.transfer(picture.pixels, style))

        def write(picture: Picture) -> None:
            write_image(folder / f"{next(number)}.jpg", picture.pixels, like=picture)

        def run() -> None:
            output = folder / f"out{next(number)}"
            jobs = plan_batch(find_photos([folder / "in"]), output).jobs
            with Manifest(output) as manifest:
                outcomes = [*run_jobs(jobs, lambda picture, job: paint(picture), manifest, options=ImageOptions())]
            if [outcome.entry.status for outcome in outcomes] != ["ok"] * photos:
                raise RuntimeError(outcomes)

        def in_threads(work: Callable[[Any], object], items: Sequence[object]) -> None:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(work, items))

        painted = [paint(pictures[0])] * photos
        stages: dict[str, Callable[[], object]] = {
            "decode": partial(in_threads, read_image, paths),
            "network": lambda: [paint(picture) for picture in pictures],
            "encode and write": partial(in_threads, write, painted),
            "batch": run,
        }
        times = {label: min(_timed(work) for _ in range(repeat)) for label, work in stages.items()}
        slowest = max(wall for label, (wall, _) in times.items() if label != "batch")
        print(f"\nbatch of {photos} JPEGs of 1632x1224 pixels, {workers} workers, engine {stylizer.engine}")
        print(f"  {'':18} {'s/photo':>8} {'of slowest stage':>17} {'processor':>10}")
        for label, (wall, processor) in times.items():
            print(f"  {label:18} {wall / photos:8.3f} {wall / slowest:16.2f}x {processor / photos:10.3f}")


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds of this process."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


WATCH = """
import resource, subprocess, sys, time
started = time.perf_counter()
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
wall, usage = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
print(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
sys.exit(status)
"""  # in a process of its own, because a child's peak memory is at least that of its parent


def _run(arguments: list[str], program: str = sys.executable) -> tuple[float, float, float]:
    """Run a program to its end: wall seconds, processor seconds, peak bytes. Fails if it does."""
    command = [sys.executable, "-c", WATCH, program, *arguments]
    wall, processor, memory = map(float, subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.split())
    return wall, processor, memory


def _best(work: Callable[[], object], repeat: int) -> float:
    """The least seconds of several runs; of the first of a result's numbers, if it measures itself."""
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        result = work()
        times.append(result[0] if isinstance(result, tuple) else time.perf_counter() - started)
    return min(times)


def _convolution_peak(kind: torch.dtype, repeat: int) -> float:
    """FLOP/s of 3×3 convolutions of 128 channels that lie in the cache, what the network could reach at best."""
    x, weight = torch.rand(1, 128, 64, 64), torch.rand(128, 128, 3, 3)
    x, weight = (t.to(kind, memory_format=torch.channels_last) for t in (x, weight))

    def convolve() -> None:
        for _ in range(20):
            torch.nn.functional.conv2d(x, weight, padding=1)

    with torch.inference_mode():
        return 20 * 2 * 9 * 128 * 128 * 64 * 64 / _best(convolve, repeat + 1)


def _macs_per_pixel() -> float:
    """Multiply-adds per pixel of the folded network, see ``stylize.networks.generator.fitted``."""
    total = 0.0
    for layer in layers_of(ModelSizes().widths).values():
        taps, spacing = 4 if layer.enlarge else 9, layer.spacing * layer.stride
        total += layer.channels_in * layer.channels_out * taps / spacing**2
    return total


def _recode(path: Path) -> None:
    picture = read_image(path)
    encode_image(picture.pixels, like=picture)


def _picture(height: int, width: int, seed: int) -> Pixels:
    """Soft shapes with some noise, as compressible as a photo."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 64 + 2, width // 64 + 2, 3), dtype=np.uint8)
    soft = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = Image.fromarray(random.integers(0, 256, (256, 256, 3), dtype=np.uint8))
    grain = Image.new("RGB", (width, height))
    for top in range(0, height, 256):
        for left in range(0, width, 256):
            grain.paste(noise, (left, top))
    return np.asarray(Image.blend(soft, grain, 0.08))


def _write_photo(path: Path, height: int, width: int) -> Path:
    Image.fromarray(_picture(height, width, seed=0)).save(path, quality=92)
    return path


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def _instructions() -> str:
    """The widest vector instructions that torch uses here, and whether the processor has bf16."""
    return torch.backends.cpu.get_cpu_capability() + (", bf16" if has_bf16_instructions() else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
