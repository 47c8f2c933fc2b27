"""Batch on a Ray cluster: the same pipeline as ``stylize.batch.pipeline``, in one actor for each GPU or each few cores.

Photos, styles' pictures and the output folder lie on a file system that all nodes share, under the same paths, and
stylize is installed on all nodes. Each actor appends to a manifest of its own, so whatever dies, what is done is known;
the photos that a dead actor had in hand are given out again. Ray Data is not used: it tolerates errors by blocks of
rows, and resumes by a column of its own, while a manifest serves all ways to run a batch alike.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stylize import __version__
from stylize.batch import pipeline
from stylize.batch.manifest import Entry, Known, Manifest
from stylize.batch.pipeline import Outcome, by_job, side_by_side
from stylize.batch.planning import Job
from stylize.errors import DeviceError, RefusedError, StylizeError, UsageError, one_line, shown
from stylize.extras import install, torch_is_installed
from stylize.painting.stylizer import Stylizer
from stylize.painting.treatment import Treatment

PHOTOS_AT_ONCE = 32  # given to an actor; the last of them leave its pipeline empty
CORES = 2  # of an actor without a GPU: more photos side by side are faster than more cores for one photo
MOST_ATTEMPTS = 3  # a photo whose actor dies so often is to blame for it
SECONDS_BETWEEN_WARNINGS = 60.0


@dataclass(frozen=True)
class Settings:
    """How the networks are to be run, see ``Stylizer``, and with how many threads, see ``run_jobs``."""

    model: str | Path | None = None
    device: str = "auto"
    engine: str = "auto"
    threads: int | None = None
    workers: int | None = None


class Worker:
    """An actor: a process on some node that does jobs."""

    def __init__(
        self,
        number: int,
        folder: str,
        version: str,
        treatments: Mapping[str, Treatment],
        settings: Settings,
        output: Path,
        label: str,
    ) -> None:
        host = socket.gethostname()
        if version != __version__:
            raise RefusedError(
                f"node {host} has stylize {__version__}, not {version}", hint="install the same everywhere"
            )
        try:
            os.chdir(folder)  # relative paths mean the same as where the batch was started
        except OSError as error:
            raise DeviceError(
                f"node {host} has no folder {shown(folder)}", hint="the nodes must share a file system"
            ) from error
        self.treatments, self.workers = treatments, settings.workers
        self.stopped = False
        self.warnings: list[str] = []
        self.stylizer = Stylizer(
            settings.model, settings.device, engine=settings.engine, threads=settings.threads,
            on_warning=lambda message: self.warnings.append(f"node {host}: {message}"),
        )  # fmt: skip
        if any(treatment.model_hash != self.stylizer.engine.hash for treatment in treatments.values()):
            raise RefusedError(
                f"node {host} has another model", hint="name the model by `model`, on a shared file system"
            )
        self.stylise, self.at_once = by_job(treatments, self.stylizer), side_by_side(treatments, self.stylizer)
        self.manifest = Manifest(output, _label(label, number))

    def ready(self) -> str:
        """What computes here."""
        return str(self.stylizer.engine)

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Do jobs; outcomes come one by one."""
        options = next(iter(self.treatments.values())).options
        outcomes = pipeline.run_jobs(
            jobs, self.stylise, self.manifest,
            options=options, at_once=self.at_once, workers=self.workers, stopping=lambda: self.stopped,
        )  # fmt: skip
        for outcome in outcomes:
            notes, self.warnings[:] = (*outcome.notes, *self.warnings), []
            yield outcome._replace(notes=notes)

    def stop(self) -> None:
        """Finish what is painted, and nothing else."""
        self.stopped = True


def run_jobs(
    jobs: Sequence[Job],
    treatments: Mapping[str, Treatment],
    settings: Settings,
    output: Path,
    label: str = "",
    *,
    stopping: Callable[[], bool] = lambda: False,
    on_warning: Callable[[str], None] = lambda message: None,
    on_note: Callable[[str], None] = lambda message: None,
) -> Iterator[Outcome]:
    """Do jobs on the cluster that ``RAY_ADDRESS`` names or this machine belongs to, else on a new one of this machine.

    Returns:
        the outcomes, in the order in which they come. Every outcome is in a manifest before it is yielded.

    Raises:
        UsageError: Ray is not installed.
        DeviceError: there is no such cluster, or it cannot run an actor.
        RefusedError: a node has another stylize or another model.
        OutputError: the disk is full.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError("`on` ray: Ray is not installed", hint=install("ray")) from error
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    try:
        ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level="ERROR", configure_logging=True)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise DeviceError(f"no Ray cluster: {one_line(error)}", hint="RAY_ADDRESS names it") from error
    if settings.device == "auto" and not torch_is_installed():  # nor on the nodes, which have what this one has
        settings = replace(settings, device="cpu")
        if any(node["Resources"].get("GPU") for node in ray.nodes()):
            on_warning(f"the cluster has GPUs, which only torch uses: {install('torch')} on its nodes")
    ray._private.worker._worker_logs_enabled = False  # it would write of dead actors to stdout, where results go
    cluster = _Cluster(ray, treatments, settings, output, label, on_note)
    return cluster.run(jobs, stopping, on_warning)


class _Cluster:
    """The actors, what they are doing, and what waits."""

    def __init__(
        self,
        ray: Any,
        treatments: Mapping[str, Treatment],
        settings: Settings,
        output: Path,
        label: str,
        on_note: Callable[[str], None],
    ) -> None:
        self.ray, self.output, self.label, self.on_note = ray, output, label, on_note
        self.count, resources = _places([node for node in ray.nodes() if node["Alive"]], settings)
        if not self.count:
            raise DeviceError("the Ray cluster has no processor cores to work on", hint="start a node that has some")
        self.cores = resources["num_cpus"]
        settings = for_actor(settings, resources)
        # A second thread, so that an actor can be told to stop while it works.
        self.actor = ray.remote(**resources, max_concurrency=2, max_restarts=0)(Worker)
        self.arguments = (os.getcwd(), __version__, ray.put(dict(treatments)), settings, output, label)
        self.started = time.time()
        self.starting: dict[Any, tuple[int, Any]] = {}  # the promise to be ready -> number, actor
        self.busy: dict[Any, tuple[int, Any, dict[str, Job]]] = {}  # the stream of outcomes -> ..., jobs in hand
        self.attempts: Counter[str] = Counter()

    def run(
        self, jobs: Sequence[Job], stopping: Callable[[], bool], on_warning: Callable[[str], None]
    ) -> Iterator[Outcome]:
        ray, errors = self.ray, self.ray.exceptions
        waiting = deque(list(jobs[k : k + PHOTOS_AT_ONCE]) for k in range(0, len(jobs), PHOTOS_AT_ONCE))
        for number in range(1, min(self.count, len(waiting)) + 1):
            self._start(number)
        idle: list[tuple[int, Any]] = []
        warned, told = time.monotonic(), False
        try:
            while self.busy or (waiting and not stopping()):
                while waiting and idle and not stopping():
                    number, actor = idle.pop()
                    chunk = waiting.popleft()
                    stream = actor.run.options(num_returns="streaming").remote(chunk)
                    self.busy[stream] = (number, actor, {job.name: job for job in chunk})
                if stopping() and not told:
                    told = True
                    for _, actor, _ in self.busy.values():
                        actor.stop.remote()
                ready, _ = ray.wait([*self.starting, *self.busy], num_returns=1, timeout=1)
                if not ready and not self.busy and time.monotonic() - warned > SECONDS_BETWEEN_WARNINGS:
                    warned = time.monotonic()
                    on_warning("waiting for the Ray cluster to start an actor")
                for item in ready:
                    if item in self.starting:
                        number, actor = self.starting.pop(item)
                        try:
                            self.on_note(f"ray actor {number}: {ray.get(item)}")
                            idle.append((number, actor))
                        except errors.RayError as error:
                            self._give_up_or_start(number, error)
                        continue
                    number, actor, in_hand = self.busy[item]
                    try:
                        outcome: Outcome = ray.get(next(item))
                    except StopIteration:
                        del self.busy[item]
                        idle.append((number, actor))
                    except errors.RayTaskError as error:  # it raised something
                        raise _cause(error) from error
                    except errors.RayError:  # it died
                        del self.busy[item]
                        on_warning(
                            f"ray actor {number} died; the {len(in_hand)} photos that it had are given out again"
                        )
                        for outcome in self._rescue(number, in_hand.values(), waiting):
                            yield outcome
                        self._start(number)
                    else:
                        del in_hand[outcome.job.name]
                        yield outcome
        finally:
            ray.shutdown()  # ends the actors

    def _start(self, number: int) -> None:
        actor = self.actor.remote(number, *self.arguments)
        self.starting[actor.ready.remote()] = (number, actor)

    def _give_up_or_start(self, number: int, error: Exception) -> None:
        """An actor did not start: for a reason of ours that is final, else it is tried again."""
        cause = _cause(error)
        self.attempts[f"actor {number}"] += 1
        if isinstance(cause, StylizeError):
            raise cause from error
        if self.attempts[f"actor {number}"] >= MOST_ATTEMPTS:
            what = one_line(str(error)[-200:])  # Ray says the cause last
            raise DeviceError(
                f"the Ray cluster cannot start an actor: {what}", hint="is stylize installed on every node?"
            ) from error
        self._start(number)

    def _rescue(self, number: int, jobs: Any, waiting: deque[list[Job]]) -> Iterator[Outcome]:
        """What a dead actor had in hand: done after all, or given out again, one by one, or failed for good."""
        known = Known(self.output, _label(self.label, number))
        for job in jobs:
            entry = known.now(job.name)
            if entry is not None and entry.time >= self.started - 1 and entry.fingerprint == job.fingerprint:
                yield Outcome(job, replace(entry, status="ok"))
                continue
            self.attempts[job.name] += 1
            if self.attempts[job.name] < MOST_ATTEMPTS:
                waiting.appendleft([job])
                continue
            reason = f"cannot paint {shown(job.photo)}: its worker died {MOST_ATTEMPTS} times, of too little memory?"
            failed = Entry(os.path.abspath(job.photo), job.name, "failed", job.fingerprint, reason=reason)
            with Manifest(self.output, self.label) as manifest:
                manifest.append(failed)
            yield Outcome(job, failed)


def _places(nodes: Sequence[Mapping[str, Any]], settings: Settings) -> tuple[int, dict[str, int]]:
    """How many actors the nodes have room for, and what each takes: a GPU if there is one and it is wanted."""
    room = [{name: int(node["Resources"].get(name, 0)) for name in ("CPU", "GPU")} for node in nodes]
    with_gpu = [node for node in room if node["GPU"] and node["CPU"]]
    if with_gpu and settings.device in ("auto", "cuda") and settings.engine != "onnx":
        cores = max(1, min(pipeline.MOST_WORKERS, *(node["CPU"] // node["GPU"] for node in with_gpu)))
        return sum(min(node["GPU"], node["CPU"] // cores) for node in with_gpu), {"num_cpus": cores, "num_gpus": 1}
    cores = max(1, min(settings.threads or CORES, max((node["CPU"] for node in room), default=0)))
    return sum(node["CPU"] // cores for node in room), {"num_cpus": cores}


def for_actor(settings: Settings, resources: Mapping[str, int]) -> Settings:
    """How the networks are run in an actor: with the threads that were asked for, else one for each of its cores."""
    cores = resources["num_cpus"]
    usual = None if "num_gpus" in resources else cores
    return replace(settings, threads=settings.threads or usual, workers=settings.workers or cores)


def _label(label: str, number: int) -> str:
    return f"{label}-ray-{number}"


def _cause(error: BaseException) -> BaseException:
    """What was raised in an actor, under Ray's wrappings."""
    cause = getattr(error, "cause", None) or error.__cause__
    return _cause(cause) if isinstance(cause, BaseException) and cause is not error else error
