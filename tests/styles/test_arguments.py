"""``STYLE[:WEIGHT][@MASK]``: what is a path stays a path, whatever characters it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from stylize.errors import UsageError
from stylize.styles.arguments import by_mask, parse_style, title_of


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b:0.5", "c@d.png", "c", "sky.png", "library/ink.safetensors"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()


@pytest.mark.parametrize(
    ("text", "source", "weight", "mask"),
    [
        ("a.png", "a.png", None, None),
        ("a.png:0.7", "a.png", 0.7, None),
        ("a.png:1e-1", "a.png", 0.1, None),
        ("./a.png:2@sky.png", "a.png", 2.0, "sky.png"),
        ("a.png@gone.png", "a.png", None, "gone.png"),
        ("ink", "library/ink.safetensors", None, None),
        ("ink:.5@alpha", "library/ink.safetensors", 0.5, "alpha"),
        ("b:0.5", "b:0.5", None, None),
        ("b:0.5:0.5", "b:0.5", 0.5, None),
        ("c@d.png", "c@d.png", None, None),
        ("c@sky.png", "c", None, "sky.png"),
        ("c@d.png@sky.png", "c@d.png", None, "sky.png"),
        ("c@d.png:0.5", "c@d.png", 0.5, None),
        ("c@d.png:0.5@sky.png", "c@d.png", 0.5, "sky.png"),
        (r"C:\pictures\x.png", r"C:\pictures\x.png", None, None),
        ("gone.png:3", "gone.png", 3.0, None),
        ("sub/gone", "sub/gone", None, None),
    ],
)
def test_arguments(text: str, source: str, weight: float | None, mask: str | None) -> None:
    found = parse_style(text)
    assert found.source.resolve() == Path(source).resolve()
    assert (found.weight, found.mask) == (weight, mask)


@pytest.mark.parametrize(
    "text", ["", "imk", "a.png:-0.5", "a.png:nan", "ink:inf", "ink:-Infinity", "ink:+-inf", ":1", "a:b"]
)
def test_arguments_that_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError):
        parse_style(text)


@pytest.mark.parametrize("text", ["a.png:0.7", "a.png:0.123456789", "ink", "b:0.5:2@sky.png", "c@d.png"])
def test_an_argument_can_be_written_again(text: str) -> None:
    assert str(parse_style(text)) == text
    assert text == "ink" or str(parse_style(f"./{text}")) == text


def test_styles_with_the_same_mask_belong_together() -> None:
    texts = ["a.png@sky.png", "c", "ink@sky.png", "a.png"]
    groups = by_mask([parse_style(text) for text in texts])
    assert {mask: [a.name for a in group] for mask, group in groups.items()} == {
        None: ["c", "a.png"],
        "sky.png": ["a.png", "ink"],
    }
    assert next(iter(groups)) is None


def test_titles() -> None:
    assert title_of([parse_style("a.png:0.5")]) == "a"
    assert title_of([parse_style("ink")]) == "ink"
    assert title_of([parse_style("a.png"), parse_style("ink")]) == "styles"
    for name in ("set.1", "set.2"):
        Path(name).mkdir()
        assert title_of([parse_style(name)]) == name


def test_a_folder_of_masks_keeps_its_name() -> None:
    assert str(parse_style("ink@library/")) == "ink@library"
