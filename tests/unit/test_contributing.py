"""The pages for contributors: the files, names and commands that they mention are there."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(ROOT / name for name in ("CONTRIBUTING.md", "docs/architecture.md", "docs/walks.md")),
        *ROOT.glob("docs/contributing/*.md"),
        *ROOT.glob("docs/decisions/*.md"),
    ]
)
TOPS = (".ci", ".github", "bench", "console/src", "docs", "native", "src", "tests")
CODE = re.compile(r"`([^`\n]+)`")
# A file by its ending, or something with a slash.
PATH = re.compile(r"[\w.-]+\.(py|ts|json|yml|toml|md|txt|graphql)|[\w.-]+(/[\w.-]+)+/?|[\w.-]+/")
# A part that the reader chooses; what is built; an address.
NO_PATH = re.compile(
    r"(^|/)[A-Z]{4,}(/|\.json|$)|^build/|^text/|^dist/|\.(io|com|org)/|^linux/|^amd64/"
)
MODULE = re.compile(r"python -m ([\w.]+)")
# A name, and the file in which it is.
PLACED = re.compile(r"`([A-Za-z_]\w+)`\s*\(`([\w./-]+\.\w+)`")


@cache
def files() -> frozenset[str]:
    """Each file and folder of the project, by the end of its path too."""
    known: set[str] = set()
    for path in (*ROOT.glob("*"), *(each for top in TOPS for each in (ROOT / top).rglob("*"))):
        if "__pycache__" not in path.parts and "node_modules" not in path.parts:
            parts = path.relative_to(ROOT).parts
            known |= {"/".join(parts[start:]) for start in range(len(parts))}
    return frozenset(known)


def is_there(name: str) -> bool:
    """Also a module without its ending, or a function of one, as architecture.md writes them."""
    module = name.rpartition(".")[0]
    return not files().isdisjoint((name.rstrip("/"), f"{name}.py", f"{module}.py"))


@pytest.mark.parametrize("place", PAGES, ids=lambda place: place.name)
def test_files_that_are_named_exist(place: Path) -> None:
    named = [code for code in CODE.findall(place.read_text("utf-8")) if PATH.fullmatch(code)]
    assert [each for each in named if not (NO_PATH.search(each) or is_there(each))] == []


def test_walks_pass_modules_that_exist() -> None:
    text = (ROOT / "docs/walks.md").read_text("utf-8")
    walked = re.findall(
        r"^((?:core|hub|objects|images|platforms|compose)/[\w/]+)  ", text, re.MULTILINE
    )
    assert len(walked) > 50
    assert [each for each in walked if not (ROOT / f"src/dth/{each}.py").is_file()] == []


def test_tables_of_modules_name_modules() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    tables = re.findall(r"^\| Module \|.*\n\|.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    named = [name for table in tables for name in re.findall(r"^\| `(\w+)`", table, re.MULTILINE)]
    assert len(named) > 5
    assert [name for name in named if not is_there(name)] == []


@pytest.mark.parametrize("place", PAGES, ids=lambda place: place.name)
def test_names_are_in_the_files_that_are_said_to_have_them(place: Path) -> None:
    for name, file in PLACED.findall(place.read_text("utf-8")):
        (path, *_) = (
            each for each in ROOT.rglob(Path(file).name) if str(each).endswith(f"/{file}")
        )
        assert re.search(rf"\b{name}\b", path.read_text("utf-8")), f"{name} in {file}"


@pytest.mark.parametrize("place", PAGES, ids=lambda place: place.name)
def test_commands_run_modules_that_exist(place: Path) -> None:
    for module in MODULE.findall(place.read_text("utf-8")):
        assert importlib.util.find_spec(module), module


def test_every_usual_change_has_a_page() -> None:
    assert {path.stem for path in ROOT.glob("docs/contributing/*.md")} == {
        *("add-a-store", "add-a-plugin", "add-a-platform", "add-a-parameter"),
        *("add-an-api-field", "write-a-migration", "write-a-fault-test", "release"),
        *("run-the-tests", "translate-a-page"),
    }
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert len(re.findall(r"docs/contributing/[\w-]+\.md", text)) == 10
