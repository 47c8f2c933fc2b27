"""Recipes: kept in an XMP packet beside what else is there, read back as data only."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylize.options import ImageOptions, NetworkOptions
from stylize.painting.recipe import MAX_PACKET, Recipe, command_line, recipe_of, to_copy, with_recipe, without_recipe

RECIPE = Recipe(("stylize", "transfer", "a.jpg", "--style", "b.png"), "0.1.0", "0" * 64, ("1" * 64,))
PHOTOS = (
    b'<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="image/jpeg"/>'
    b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


@settings(deadline=None)
@given(st.lists(st.text(max_size=20), max_size=8))
def test_any_words_come_back(words: list[str]) -> None:
    recipe = Recipe(("stylize", "transfer", *words), "0.1.0", "", ())
    packet = with_recipe(None, recipe)
    assert recipe_of(packet) == recipe
    assert packet is not None
    ElementTree.fromstring(packet)  # well-formed
    assert shlex.split(str(recipe)) == list(recipe.command)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    "name", ["at 9.41\u202fAM.png", "it's\ta tab", "back\\slash\n", "e\u0301\u3000文", "\x07abc", "no text \udcff.jpg"]
)
def test_an_odd_name_can_be_copied_into_a_shell(name: str) -> None:
    text = to_copy(("stylize", "transfer", name))
    assert text.isprintable()
    done = subprocess.run(["bash", "-c", f'stylize() {{ printf %s "$2"; }}; {text}'], capture_output=True, check=True)
    assert done.stdout == os.fsencode(name)


def test_what_the_photo_says_is_kept() -> None:
    packet = with_recipe(PHOTOS, RECIPE)
    assert packet is not None
    assert recipe_of(packet) == RECIPE
    assert b'dc:format="image/jpeg"' in packet
    assert len(ElementTree.fromstring(packet)[0]) == 2


def test_a_new_recipe_takes_the_place_of_the_old() -> None:
    other = Recipe((*RECIPE.command, "--strength", "0.5"), "0.2.0", "2" * 64, ())
    once = with_recipe(PHOTOS, other)
    assert with_recipe(with_recipe(PHOTOS, RECIPE), other) == once
    assert recipe_of(once) == other


@pytest.mark.parametrize(
    "packet", [b"not XMP at all", "<x>ünïcode</x>".encode("utf-16"), b"", PHOTOS + b"x" * MAX_PACKET]
)
def test_a_packet_that_cannot_take_it_stays(packet: bytes) -> None:
    assert with_recipe(packet, RECIPE) == (packet or with_recipe(None, RECIPE))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"transfer"', b'"train"'),
        (b'"command": [', b'"command": [1, '),
        (b'"command"', b'"comand"'),
        (b'"version": "0.1.0"', b'"version": 7'),
        (b"{", b"[" * 100_000),
        (b"0.1.0", b"\xff"),
    ],
)
def test_nonsense_is_no_recipe(old: bytes, new: bytes) -> None:
    packet = with_recipe(None, RECIPE)
    assert packet is not None and old in packet
    assert recipe_of(packet.replace(old, new)) is None
    assert recipe_of(None) is None


def test_a_command_cannot_run_another() -> None:
    recipe = Recipe(("stylize", "transfer", "x; rm -rf ~", "$(reboot)"), "", "", ())
    assert str(recipe) == "stylize transfer 'x; rm -rf ~' '$(reboot)'"


def test_only_what_differs_from_the_defaults_is_said() -> None:
    plain = command_line("a.jpg", ["b"], [], networks=NetworkOptions(), format=None, options=ImageOptions())
    assert plain == ("stylize", "transfer", "a.jpg", "--style", "b")
    options = ImageOptions(
        max_pixels=100, allow_truncated=True, bit_depth="16", quality=80, metadata="strip", background="#204060"
    )
    full = command_line(
        "-a.jpg",
        ["b:2", "c"],
        ["--strength", "0.5"],
        networks=NetworkOptions(Path("models/m.safetensors"), engine="torch", device="cpu", threads=3),
        format="png",
        options=options,
    )
    assert shlex.join(full) == (
        "stylize transfer ./-a.jpg --style b:2 --style c --strength 0.5 --model m.safetensors "
        "--engine torch --threads 3 --format png --max-pixels 100 --bit-depth 16 --quality 80 "
        "--background '#204060' --allow-truncated"
    )


def test_a_packet_that_cannot_take_the_new_recipe_loses_the_old() -> None:
    long = replace(RECIPE, command=(*RECIPE.command, "x" * MAX_PACKET))
    assert with_recipe(with_recipe(PHOTOS, RECIPE), long) == PHOTOS == without_recipe(with_recipe(PHOTOS, RECIPE))
