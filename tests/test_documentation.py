"""The documentation: its Python runs, its commands and options exist, every option is documented, links lead somewhere.

Users' pages are the README and ``examples/*.md``. All other pages are held to the same, but need not tell all.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from command import pixels
from PIL import Image

from stylize import cli, errors

ROOT = Path(__file__).parent.parent
USERS_PAGES = [ROOT / "README.md", *sorted((ROOT / "examples").glob("*.md"))]
PAGES = [
    *USERS_PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md",
    *sorted((ROOT / "examples" / "studies").glob("*.md")), *sorted((ROOT / "models").rglob("*.md")),
]  # fmt: skip
APP = typer.main.get_command(cli.make_app())
COMMANDS = APP.commands  # type: ignore[attr-defined]


def test_the_python_of_the_readme_runs(tmp_path: Path, photo: Path, style: Path) -> None:
    programs = re.findall(r"^```python\n(.*?)^```", text_of(ROOT / "README.md"), re.DOTALL | re.MULTILINE)
    assert programs
    Image.open(photo).convert("RGB").save(tmp_path / "photo.jpg")
    style.rename(tmp_path / "mine.png")
    for program in programs:
        subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
    assert pixels(tmp_path / "out.jpg").shape == pixels(tmp_path / "photo.jpg").shape


def test_the_pages_show_every_command_and_no_other() -> None:
    assert {command for page in USERS_PAGES for command, _ in calls(page)} == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_option_on_a_page_exists(page: Path) -> None:
    for command, options in calls(page):
        assert options <= options_of(command), f"stylize {command}"
    assert prose_options(page) <= set().union(options_of(None), *map(options_of, COMMANDS))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_documented(command: str) -> None:
    shown = {
        option for page in USERS_PAGES for called, options in calls(page) if called == command for option in options
    }
    shown |= {option for page in USERS_PAGES for option in prose_options(page)}
    missing = [names for names in names_of(command) if not names & shown]
    assert not missing


def test_options_before_the_command_are_documented() -> None:
    shown = {option for page in USERS_PAGES for option in prose_options(page)}
    assert all(names & shown for names in names_of(None))


def test_every_exit_code_is_listed() -> None:
    rows = re.findall(r"^\| ([0-9, ]+) \|", text_of(ROOT / "examples" / "troubleshooting.md"), re.MULTILINE)
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert {int(code) for row in rows for code in row.split(",")} == {0, 70, 130, 143} | {
        kind.exit_code for kind in kinds
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if link.startswith("https://"):
            continue
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if heading:
            assert heading in headings(target), link


def test_every_page_of_the_examples_is_linked_from_the_readme() -> None:
    links = set(re.findall(r"\]\((examples/[^)#]+\.md)", text_of(ROOT / "README.md")))
    assert links == {page.relative_to(ROOT).as_posix() for page in USERS_PAGES[1:]}


def test_contributing_names_files_that_exist() -> None:
    named = re.findall(r"`((?:stylize|tests|examples|models)/[^`\s]+?)`", text_of(ROOT / "CONTRIBUTING.md"))
    missing = [name for name in named if "NAME" not in name and not list(ROOT.glob(name))]
    assert named and not missing


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def without_code(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def headings(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    titles = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def calls(page: Path) -> Iterator[tuple[str, set[str]]]:
    """(command, its options) of every call of stylize in a page's shell blocks, and in code within its prose."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)
    inline = [span for span in spans(page) if span.startswith("stylize ")]
    for text in ("\n".join(blocks).replace("\\\n", " "), "\n".join(inline)):
        for command, rest in re.findall(r"(?:^|[\s/])stylize ([a-z][a-z-]*)([^|&>#\n]*)", text, re.MULTILINE):
            yield command, set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest))


def spans(page: Path) -> list[str]:
    """The code within a page's prose."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", without_code(page))]


def prose_options(page: Path) -> set[str]:
    """The options named in prose, with or without a command before them; not those of other programs."""
    ours = [span for span in spans(page) if span.startswith("-") or span.split()[0] in {"stylize", "batch", *COMMANDS}]
    words = {word for span in ours for word in re.findall(r"(?<!\S)--[\w-]+", span)}
    return {word for word in words if word == word.lower()}  # --lambda-NAME stands for several


def names_of(command: str | None) -> list[set[str]]:
    """The names of each option of a command; None: of those before it."""
    asked = COMMANDS[command] if command else APP
    parameters = asked.get_params(typer.Context(asked))  # --help, too
    names = [{*parameter.opts, *parameter.secondary_opts} for parameter in parameters]
    return [each for each in names if any(name.startswith("-") for name in each)]


def options_of(command: str | None) -> set[str]:
    return set().union(*names_of(command))
