"""The style library: where styles are found, in which order, and the ones that the package carries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stylize.errors import OutputError, UsageError
from stylize.files.packaged import packaged, packaged_path
from stylize.networks.model import load_model
from stylize.styles import library
from stylize.styles.style_code import StyleCode


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two library folders and that of the package; the second and third hold styles."""
    folders = [tmp_path / name for name in ("first", "second", "package")]
    monkeypatch.setenv("STYLIZE_STYLES", os.pathsep.join(map(str, folders[:2])))
    monkeypatch.setattr(library, "built_in", lambda: folders[2])
    for folder in folders[1:]:
        folder.mkdir()
        (folder / "ink.safetensors").touch()
    (folders[2] / "woodcut.safetensors").touch()
    (folders[2] / "README.md").touch()
    return folders


def test_the_first_folder_with_the_name_wins(places: list[Path]) -> None:
    assert library.styles() == {
        "ink": places[1] / "ink.safetensors",
        "woodcut": places[2] / "woodcut.safetensors",
    }
    assert library.find("ink") == places[1] / "ink.safetensors"
    assert library.find("woodcut") == places[2] / "woodcut.safetensors"
    assert library.find("gone") is None
    assert library.find("../package/woodcut") is None
    assert library.place_of("new") == places[0] / "new.safetensors"


def test_near_names_are_proposed(places: list[Path]) -> None:
    assert 'did you mean "woodcut"?' in library.unknown("woodcat").hint
    assert 'did you mean "woodcut"?' in library.unknown("WOODCUT").hint
    assert "did you mean" not in library.unknown("zzz").hint
    assert "stdin" in library.unknown("-").message
    assert library.unknown("red\x1b[31m").message.isprintable()


def test_the_systems_folder_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STYLIZE_STYLES")
    (folder,) = library.folders()
    assert folder.is_absolute() and folder.name == "styles" and "stylize" in folder.parts


def test_nobody_has_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STYLIZE_STYLES")
    monkeypatch.setattr("platformdirs.user_data_path", lambda *names, **options: Path("~/.local/share/stylize"))
    assert library.find("nothing") is None
    with pytest.raises(OutputError):
        library.place_of("mine")


def test_names_must_be_names(places: list[Path]) -> None:
    for name in ("mine", "Élan vital", "E\u0301lan", "v1.2", "日本", "हिन्दी", "ไทย"):
        assert library.place_of(name).parent == places[0]
    for name in ("", " ", "a\n", "a/b", "a\\b", "a:1", "COM1", "nul.x", "a.", "\u0301", "日" * 70):
        with pytest.raises(UsageError):
            library.place_of(name)


def test_the_packages_styles_belong_to_its_model() -> None:
    files = sorted(packaged_path("styles").glob("*.safetensors"))
    if not files:
        pytest.skip("no styles are packaged")
    model = load_model(packaged("default")).hash
    assert {StyleCode.load(file).model_hash for file in files} == {model}
