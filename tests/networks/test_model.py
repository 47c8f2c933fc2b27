"""Model files: what is saved comes back, in half precision, under a hash that is its identity; all else is refused."""

from __future__ import annotations

import pickle  # noqa: TID251  to make a file that is refused
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stylize.errors import InputError, RefusedError
from stylize.files import tensors as tensor_file
from stylize.files.packaged import MODEL_VARIABLE, model_file, packaged
from stylize.networks.model import Model, load_model, load_perceptual, save_model, save_perceptual
from stylize.networks.perceptual import PerceptualNetwork
from stylize.options import LIGHT_WIDTHS, ModelSizes
from stylize.training.checkpoint import load_discriminator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.fixture(scope="module")
def content(tiny_model: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors and the metadata of the tiny model's file. Not to be changed."""
    return tensor_file.parse(tiny_model.read_bytes(), "model")


def refusal(path: Path, raw: bytes) -> RefusedError:
    path.write_bytes(raw)
    with pytest.raises(RefusedError) as caught:
        load_model(path)
    assert caught.value.message.isprintable()
    assert caught.value.hint
    return caught.value


def test_a_model_comes_back_in_half_precision(tiny_sizes: ModelSizes, path: Path) -> None:
    torch.manual_seed(1)
    model = Model(tiny_sizes)
    save_model(model, path)
    loaded = load_model(path)
    assert loaded.sizes == tiny_sizes
    for (name, saved), (other, found) in zip(model.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert name == other and found.dtype == torch.float32
        assert torch.equal(found, saved.half().float())


def test_a_loaded_model_is_ready_for_inference(tiny_model: Path) -> None:
    model = load_model(tiny_model)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert all(t.device.type == "cpu" for t in model.state_dict().values())


def test_saving_again_gives_the_same_bytes(tiny_model: Path, path: Path) -> None:
    digest = save_model(load_model(tiny_model), path, {"modelspec.title": "tiny"})
    assert path.read_bytes() == tiny_model.read_bytes()
    assert digest == load_model(path).hash == load_model(tiny_model).hash


def test_the_hash_is_that_of_the_weights_not_of_the_file(tiny_model: Path, path: Path) -> None:
    model = load_model(tiny_model)
    save_model(model, path, {"modelspec.title": "another"})
    assert path.read_bytes() != tiny_model.read_bytes()
    assert load_model(path).hash == model.hash


def test_the_smallest_change_of_a_weight_changes_the_hash(tiny_model: Path, path: Path) -> None:
    model = load_model(tiny_model)
    weight = model.generator.convs["out"].weight
    weight.view(-1)[0] *= 1.01
    assert save_model(model, path) != model.hash


def test_the_header_names_the_hash(content: tuple[Any, dict[str, str]], tiny_model: Path) -> None:
    assert content[1]["stylize.sha256"] == load_model(tiny_model).hash


def test_a_file_holds_no_folder_names(tiny_sizes: ModelSizes, tmp_path: Path) -> None:
    folder = tmp_path / "secret-folder"
    folder.mkdir()
    save_model(Model(tiny_sizes), folder / "mine.safetensors")
    assert b"secret" not in (folder / "mine.safetensors").read_bytes()


@pytest.mark.parametrize("length", [0, 7, 8, 100, 4000, -5000, -1])
def test_a_truncated_model_is_refused(path: Path, tiny_model: Path, length: int) -> None:
    refusal(path, tiny_model.read_bytes()[:length])


def test_a_renamed_pickle_is_refused(path: Path) -> None:
    refusal(path, pickle.dumps({"weight": [0.0] * 100}))


def test_a_missing_model_is_an_input_error(path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_model(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"stylize.kind": "style-code"},
        {"stylize.kind": None},
        {"stylize.kind": "\x1b[31m"},
        {"stylize.format": "1"},
        {"stylize.format": "3"},
        {"stylize.format": None},
        {"sizes.code": None},
        {"sizes.code": "17"},
        {"sizes.code": "many"},
        {"sizes.code": "-1"},
        {"sizes.bank": "0"},
        {"sizes.bank": "999999999999"},
        {"sizes.widths": "16 16 16"},
        {"sizes.widths": "16 16 16 100000"},
        {"sizes.hidden": "9" * 5000},
        {"sizes.perceptual": "4 4 8 8 8 8"},
    ],
    ids=lambda changes: " ".join(f"{k}={v!s:.12}" for k, v in changes.items()),
)
def test_other_metadata_is_refused(
    path: Path, content: tuple[dict[str, np.ndarray], dict[str, str]], changes: dict[str, str | None]
) -> None:
    metadata = {k: v for k, v in (content[1] | changes).items() if v is not None}
    refusal(path, tensor_file.to_bytes(content[0], metadata))


@pytest.mark.parametrize(("format", "hint"), [("1", "train it again"), ("3", "update stylize")])
def test_a_model_of_another_format_says_which_way(
    path: Path, content: tuple[dict[str, np.ndarray], dict[str, str]], format: str, hint: str
) -> None:
    tensors, metadata = content
    assert hint in refusal(path, tensor_file.to_bytes(tensors, metadata | {"stylize.format": format})).hint


def test_a_checkpoint_from_before_formats_were_stated_is_called_older(path: Path) -> None:
    path.write_bytes(tensor_file.to_bytes({"x": np.zeros(1, np.float32)}, {"stylize.kind": "checkpoint", "step": "1"}))
    with pytest.raises(RefusedError) as caught:
        load_discriminator(path, 16)
    assert "older version" in caught.value.hint


@pytest.mark.parametrize("change", ["missing", "extra", "renamed", "reshaped", "NaN"])
def test_other_tensors_are_refused(
    path: Path, content: tuple[dict[str, np.ndarray], dict[str, str]], change: str
) -> None:
    tensors, name = dict(content[0]), "generator.convs.up8.weight"
    weight = tensors.pop(name)
    tensors |= {
        "missing": {},
        "extra": {name: weight, "more": weight},
        "renamed": {name + "s": weight},
        "reshaped": {name: weight.reshape(-1)},
        "NaN": {name: weight * np.float16("nan")},
    }[change]
    refusal(path, tensor_file.to_bytes(tensors, content[1]))


def test_weights_that_overflow_in_single_precision_are_refused(
    path: Path, content: tuple[dict[str, np.ndarray], dict[str, str]]
) -> None:
    name = "generator.convs.up8.weight"
    refusal(path, tensor_file.to_bytes(content[0] | {name: content[0][name].astype(np.float64) * 1e300}, content[1]))


def test_a_style_code_is_no_model(code_file: Path) -> None:
    with pytest.raises(RefusedError, match="style-code"):
        load_model(code_file)


def test_a_perceptual_network_comes_back(path: Path) -> None:
    torch.manual_seed(0)
    network = PerceptualNetwork((4, 4, 8, 8, 8))
    save_perceptual(network, path)
    loaded = load_perceptual(path)
    assert loaded.widths == network.widths
    for saved, found in zip(network.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert torch.equal(found, saved.half().float())


def test_changed_numbers_under_the_old_hash_are_refused(tiny_model: Path, path: Path) -> None:
    raw = bytearray(tiny_model.read_bytes())
    raw[-1] ^= 1
    assert "damaged" in refusal(path, bytes(raw)).message


@settings(max_examples=100, deadline=None)
@given(place=st.floats(0, 1), removed=st.integers(0, 9), inserted=st.binary(max_size=9), in_header=st.booleans())
def test_a_mutant_is_refused(
    tiny_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
    place: float,
    removed: int,
    inserted: bytes,
    in_header: bool,
) -> None:
    good = tiny_model.read_bytes()
    raw = bytearray(good)
    at = int(place * (len(raw) if not in_header else 8 + int.from_bytes(raw[:8], "little")))
    raw[at : at + removed] = inserted
    path = tmp_path_factory.getbasetemp() / "mutant.safetensors"
    path.write_bytes(raw)
    try:
        model = load_model(path)
    except RefusedError as error:
        assert error.message.isprintable()
    else:  # only words that nobody reads have changed
        assert model.hash == load_model(tiny_model).hash


def test_a_model_is_no_perceptual_network(tiny_model: Path) -> None:
    with pytest.raises(RefusedError):
        load_perceptual(tiny_model)


def test_packaged_files_load_and_belong_together() -> None:
    model, perceptual = load_model(packaged("default")), load_perceptual(packaged("perceptual"))
    assert perceptual.widths == LIGHT_WIDTHS == model.sizes.perceptual
    for name, weight in perceptual.state_dict().items():
        assert torch.equal(weight, model.encoder.perceptual.state_dict()[name])


def test_the_environment_names_the_model_file(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    assert model_file() == packaged("default")
    monkeypatch.setenv(MODEL_VARIABLE, str(tiny_model))
    assert model_file() == tiny_model
    monkeypatch.setenv(MODEL_VARIABLE, "")
    assert model_file() == packaged("default")


def test_packaged_is_the_name_of_a_model(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    """Whatever the environment says; a file that is called so is told by a path."""
    monkeypatch.setenv(MODEL_VARIABLE, str(tiny_model))
    assert model_file("packaged") == packaged("default")
    assert model_file("./packaged") == model_file(Path("packaged")) == Path("packaged")
    monkeypatch.setenv(MODEL_VARIABLE, "packaged")
    assert model_file() == packaged("default")
