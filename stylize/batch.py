"""Batch: many photos, one style. Whatever one file does, the others get done.

First a plan is made on the full list (which file goes where, so that no two outputs share a name), then the pictures
are done one by one. Folders are mirrored below the output folder; a photo's format is kept.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stylize.errors import InputError, StylizeError
from stylize.images import (
    READ_ONLY_SUFFIXES,
    SUFFIXES,
    Picture,
    check_target,
    make_folder,
    read_image,
    refuse_same_file,
    remove_stale,
    shown,
    sniff_format,
    suffix_of,
    write_image,
)
from stylize.options import ImageOptions

_DEFAULTS = ImageOptions()
JUNK = {"desktop.ini", "thumbs.db"}


@dataclass(frozen=True)
class Job:
    """One photo and where its picture goes."""

    photo: Path
    output: Path


@dataclass
class Plan:
    """All jobs of a batch, what is known to fail, and how many files were passed over because they are no pictures."""

    jobs: list[Job] = field(default_factory=list)
    failures: list[tuple[Path, str]] = field(default_factory=list)
    junk: int = 0


@dataclass
class Verdict:
    """What became of a batch."""

    done: int = 0
    skipped: int = 0
    failures: list[tuple[Path, str]] = field(default_factory=list)


def plan_batch(inputs: Sequence[Path], output: Path) -> Plan:
    """Decide what to do, without doing it.

    Args:
        inputs: photos and folders. Folders are searched recursively, links to folders are not followed; files below a
            folder keep their relative path, single files their name.
        output: the output folder; one inside an input folder is not searched.

    Raises:
        InputError: an input does not exist.
    """
    plan = Plan()
    taken: set[str] = set()
    for source in inputs:
        if not os.path.lexists(source):
            raise InputError(f"cannot read {shown(source)}: no such file or folder")
        files = _walk(source, output, plan.failures) if os.path.isdir(source) else [source]
        for photo in files:
            format = _format_of(photo)
            if photo != source and (format is None or _is_junk(photo)):
                plan.junk += 1
                continue
            relative = photo.relative_to(source) if photo != source else Path(photo.name)
            plan.jobs.append(Job(photo, output / _free_name(relative, format or "PNG", taken)))
    return plan


def run_batch(
    plan: Plan,
    stylise: Callable[[Picture, Job], Picture],
    *,
    overwrite: bool = False,
    options: ImageOptions = _DEFAULTS,
    on_warning: Callable[[str], None] = lambda message: None,
    on_done: Callable[[Job, str], None] = lambda job, status: None,
) -> Verdict:
    """Do the jobs of a plan.

    Args:
        stylise: a picture and its job in, a picture out: its pixels, alpha and metadata are written.
        overwrite: redo photos whose output exists; otherwise they are skipped and counted.
        on_done: called after every job with ``ok``, ``skipped`` or the reason of its failure.

    Raises:
        OutputError: the disk is full: going on would only fail on every file. What is done is done.
    """
    verdict = Verdict(failures=list(plan.failures))
    for job in plan.jobs:
        remove_stale(job.output.parent)
        if not overwrite and job.output.exists():
            verdict.skipped += 1
            on_done(job, "skipped")
            continue
        try:
            make_folder(job.output.parent)
            check_target(job.output, overwrite=overwrite)
            refuse_same_file(job.photo, job.output)
            picture = read_image(
                job.photo,
                max_pixels=options.max_pixels,
                bit_depth=options.bit_depth,
                allow_truncated=options.allow_truncated,
            )
            result = stylise(picture, job)
            notes = write_image(
                job.output,
                result.pixels,
                like=replace(picture, xmp=result.xmp),
                alpha=result.alpha,
                quality=options.quality,
                metadata=options.metadata,
                background=options.background,
                overwrite=overwrite,
            )
            for note in (*picture.warnings, *notes):
                on_warning(f"{shown(job.photo)}: {note}")
        except StylizeError as error:
            if _disk_is_full(error):
                raise
            verdict.failures.append((job.photo, error.message))
            on_done(job, error.message)
        else:
            verdict.done += 1
            on_done(job, "ok")
    return verdict


def output_name(photo: Path, format: str) -> str:
    """The name of a photo's output: its own, with the suffix of the format that is written."""
    suffix = photo.suffix
    return photo.name if SUFFIXES.get(suffix.lower()) == format else photo.stem + suffix_of(format)


def _walk(folder: Path, output: Path, failures: list[tuple[Path, str]]) -> Iterator[Path]:
    """Files below a folder in a stable order; not those in the output folder, nor behind links to folders."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        failures.append((folder, f"cannot read the folder {shown(folder)}: {(error.strerror or '').lower()}"))
        return
    for entry in entries:
        path = folder / entry.name
        if not entry.is_dir():
            yield path
        elif not entry.is_symlink() and not (output.exists() and path.samefile(output)):
            yield from _walk(path, output, failures)


def _is_junk(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in JUNK


def _format_of(path: Path) -> str | None:
    """What a file is by content; what it claims to be by name, if the content tells nothing; None for other files.

    A damaged ``photo.jpg`` thus fails by name instead of being passed over.
    """
    try:
        found = sniff_format(path)
    except OSError:
        found = None
    return found or (SUFFIXES | READ_ONLY_SUFFIXES).get(path.suffix.lower())


def _free_name(relative: Path, format: str, taken: set[str]) -> Path:
    """The output's relative path; ``a.heic`` beside ``a.jpg`` becomes ``a.heic.jpg``. Case may not matter on disk."""
    wanted = relative.with_name(output_name(relative, format))
    candidate, number = wanted, 1
    while str(candidate).casefold() in taken:
        number += 1
        suffix = suffix_of(format)
        candidate = wanted.with_name(
            f"{relative.name}{suffix}" if number == 2 else f"{wanted.stem}-{number - 1}{suffix}"
        )
    taken.add(str(candidate).casefold())
    return candidate


def _disk_is_full(error: StylizeError) -> bool:
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT)
