"""The documentation: generated pages are current, links lead somewhere, commands are commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from docs import generate
from dth.cli import man
from dth.cli.main import cli
from dth.core import config
from dth.core.stores_file import stores_path
from dth.objects.parameters import S3Parameters

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
# Translations show the commands of their originals (tests/unit/test_documentation.py). Who changes
# a command need not change them: until somebody does, they are served as stale.
ORIGINALS = [page for page in PAGES if ROOT / "docs" / "zh" not in page.parents]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
XDG = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return FENCE.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """What a link can lead to within the page: its headings, as Markdown processors name them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def shown_commands() -> Iterator[tuple[str, str]]:
    """(page, command line) of everything after a `$` in a console block; lines that end with a
    backslash joined."""
    for page in ORIGINALS:
        for language, block in FENCE.findall(page.read_text("utf-8")):
            if language == "console":
                for line in re.findall(r"^\$ ((?:.*\\\n)*.*)$", block, re.MULTILINE):
                    yield named(page), line.replace("\\\n", " ")


SHOWN = list(shown_commands())
DTH = [(page, line) for page, line in SHOWN if re.match(r"(\w+=\S* )*dth\b", line)]


@pytest.mark.parametrize("page", generate.pages(), ids=named)
def test_generated_page_is_current(page: Path) -> None:
    assert page.read_text("utf-8") == generate.pages()[page], "run: python -m docs.generate"


def test_reference_names_every_parameter_and_command() -> None:
    made = {path.name: text for path, text in generate.pages().items()}
    for field in S3Parameters.model_fields.values():
        assert f"| `{field.alias}` |" in made["parameters.md"]
    for name, command in generate.commands():
        assert isinstance(command, click.Group) or f"\n## {name}\n" in made["cli.md"]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if re.match(r"https?:|mailto:", link):
            continue
        target, _, anchor = link.partition("#")
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), f"{named(page)}: {link} leads nowhere"
        assert not anchor or anchor in anchors(there), f"{named(page)}: {link}: no such heading"


def test_every_page_is_in_the_navigation() -> None:
    navigation = set(
        re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    )
    assert navigation == {
        str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/**/*.md")
    }


@pytest.mark.parametrize(("page", "line"), DTH)
def test_shown_command_is_one(page: str, line: str) -> None:
    words = shlex.split(line.partition(" > ")[0], comments=True)
    parse(words[words.index("dth") + 1 :])


def test_directories_of_a_user_are_the_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DTH_SECRETS_DIR", "DTH_STATE_DIR", "DTH_DATA_DIR", "DTH_STORES", *XDG):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", "/home/user")
    real = {
        str(each).replace("/home/user", "~")
        for each in (
            config.config_directory(),
            config.data_directory(),
            config.secrets_directory(),
            config.state_directory(),
            stores_path(),
        )
    }
    for page in ORIGINALS:
        text = re.sub(r"/home/\w+/", "~/", page.read_text("utf-8"))
        for shown in re.findall(r"~/\.(?:config|local)/[\w./-]*dth[\w./-]*", text):
            if "/bin/" in shown or "completion" in shown:
                continue
            directory = re.sub(r"/[\w-]+\.json$|/sync-.*$|[/.]+$", "", shown)
            assert directory in real, f"{named(page)}: {shown}"


def parse(words: list[str]) -> None:
    """Read a command line as `dth` would, and stop there."""
    command: click.Command = cli
    name = "dth"
    while isinstance(command, click.Group):
        if words[0] in ("--help", "--version"):
            return
        name, *words = words
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"there is no command {name!r}"
        command = found
    command.make_context(name, words)


def test_commands_are_shown_everywhere() -> None:
    assert {"README.md", "docs/index.md", "docs/tutorials/first-transfer.md"} <= {
        page for page, _ in DTH
    }
    assert len(DTH) > 20


def test_make_targets_that_are_named_exist() -> None:
    targets = set(
        re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    )
    for page in ORIGINALS:
        named_targets = set(
            re.findall(r"(?:^|`)make ([a-z0-9-]+)", page.read_text("utf-8"), re.MULTILINE)
        )
        assert named_targets <= targets, named(page)


def excerpts() -> Iterator[tuple[str, str, str]]:
    """(page, file, text) of every block of code that names the file it is from in its first
    line."""
    for page in ORIGINALS:
        blocks = re.findall(
            r"^( *)```python\n(.*?)^ *```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
        )
        for indent, block in blocks:
            text = re.sub(rf"^{indent}", "", block, flags=re.MULTILINE)
            if source := re.match(r"# (\S+\.py)\n", text):
                yield named(page), source[1], text[source.end() :]


@pytest.mark.parametrize(("page", "source", "text"), list(excerpts()))
def test_an_example_is_in_the_file_that_it_names(page: str, source: str, text: str) -> None:
    squeezed = re.sub(r"\s+", " ", (ROOT / source).read_text("utf-8"))
    assert re.sub(r"\s+", " ", text).strip() in squeezed


def test_contributing_shows_examples() -> None:
    assert len(list(excerpts())) >= 8


def test_a_manual_page_has_the_text_of_the_help() -> None:
    @click.command()
    @click.option("--deep", is_flag=True, help="Look into 'every' folder.")
    def search(deep: bool) -> None:
        """Find things.

        A word of more.

        \b
        .one: as it is
        two
        """

    text = man.page("dth search", search)
    assert ".SH NAME\ndth search \\- Find things.\n" in text
    assert ".TP\n.B \\-\\-deep\nLook into 'every' folder.\n" in text
    assert ".nf\n\\&.one: as it is\ntwo\n.fi" in text
