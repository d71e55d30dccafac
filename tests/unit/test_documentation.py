"""The documentation as pages of a hub."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from dth.hub.documentation import INDEX, SEARCH, Documentation, sources

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = Documentation()


class Seen(HTMLParser):
    """The links, anchors and tags of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: list[str] = []
        self.tags: set[str] = set()
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        self.links += [value for name in ("href", "src") if (value := values.get(name))]
        if anchor := values.get("id"):
            self.anchors.append(anchor)


@pytest.fixture(scope="module")
def pages() -> dict[str, Seen]:
    return {path: Seen(WHOLE.read(path)) for path in WHOLE.paths if path.endswith(".html")}


def test_every_link_leads_somewhere(pages: dict[str, Seen]) -> None:
    followed = 0
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"https?:", link) or link == "/":
                continue
            target, _, anchor = link.partition("#")
            there = target.removeprefix("/") or path
            assert there in WHOLE.paths, f"{path}: {link}"
            assert not anchor or anchor in pages[there].anchors, f"{path}: {link}"
            followed += 1
    assert followed > 200


def test_no_page_runs_scripts_of_its_own(pages: dict[str, Seen]) -> None:
    """The policy of the hub would stop them, and styles within a page."""
    for path in pages:
        text = WHOLE.read(path).decode()
        assert text.count("<script") == 1, path
        assert not re.search(r"<style|<[^>]* (style|on[a-z]+)=", text), path


def test_anchors_of_a_page_differ(pages: dict[str, Seen]) -> None:
    for path, page in pages.items():
        assert len(page.anchors) == len(set(page.anchors)), path


def test_every_page_is_reached_from_the_first_one(pages: dict[str, Seen]) -> None:
    reached, waiting = {INDEX}, [INDEX]
    while waiting:
        for link in pages[waiting.pop()].links:
            path = link.partition("#")[0].removeprefix("/")
            if path in pages and path not in reached:
                reached.add(path)
                waiting.append(path)
    # Those of contributors are found in the repository.
    missed = {path for path in pages.keys() - reached if "/contributing/" not in path}
    assert missed == set()


def test_the_search_has_every_page() -> None:
    sections = json.loads(WHOLE.read(SEARCH))
    urls = {section["url"].partition("#")[0].removeprefix("/") for section in sections}
    assert urls == {path for path in WHOLE.paths if path.endswith(".html")}
    address = "/docs/how-to/resume.html#after-an-interruption"
    (found,) = [each for each in sections if each["url"] == address]
    assert found["title"] == "Resume and repeat: After an interruption"
    assert "Run the same command again." in found["text"]


def test_markdown_becomes_a_page(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "index.md").write_text(
        "<!-- for writers -->\n\n# A & `b`\n\n## Twice\n\n## Twice\n\n"
        "| a | b |\n|---|--:|\n| 1 | <i> |\n\n"
        "```console\n$ dth <x>\n```\n\n[x](more/x.md#y) [out](https://example.org/)\n\n<b>raw</b>\n"
    )
    (tmp_path / "more" / "x.md").write_text("# X\n\n## Y\n\n[home](../index.md) ![i](../i.png)\n")
    (tmp_path / "i.png").write_bytes(b"png")
    (tmp_path / "notes.txt").write_text("not documentation")
    made = Documentation(tmp_path)
    assert made.paths >= {INDEX, "docs/more/x.html", "docs/i.png", SEARCH}
    assert not any(path.endswith((".txt", ".md")) for path in made.paths)
    text = made.read(INDEX).decode()
    assert "<title>A &amp; b - Data Transfer Hub</title>" in text
    assert "for writers" not in text
    assert "$ dth &lt;x&gt;" in text
    page = Seen(text.encode())
    assert {"/docs/more/x.html#y", "https://example.org/"} <= set(page.links)
    assert {"twice", "twice-1"} <= set(page.anchors)
    assert {"table", "td"} <= page.tags
    assert '<th class="right">b</th>' in text
    # What is not Markdown is shown as it is.
    assert "&lt;i&gt;" in text
    assert not {"i", "b"} & page.tags
    assert {"/docs/index.html", "/docs/i.png"} <= set(Seen(made.read("docs/more/x.html")).links)
    assert made.read("docs/i.png") == b"png"


def test_a_package_without_documentation_has_none(tmp_path: Path) -> None:
    assert Documentation(tmp_path).paths == frozenset()


def test_a_package_contains_what_is_served() -> None:
    names = [name for name, _ in sources()]
    assert {"index.md", "how-to/resume.md", "images/tasks.png"} <= set(names)
    assert not any(name.endswith(".py") for name in names)
