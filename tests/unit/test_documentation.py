"""The documentation as pages of a hub."""

from __future__ import annotations

import json
import re
import subprocess
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from docs import translations
from dth.hub.documentation import (
    CHINESE,
    ENGLISH,
    LANGUAGES,
    Documentation,
    Freshness,
    Language,
    blob,
    made_from,
    sources,
)

if TYPE_CHECKING:
    from pathlib import Path

INDEX = "docs/index.html"
WHOLE = Documentation()
TRANSLATED = sorted(
    name for name in WHOLE.names if WHOLE.state(CHINESE, name) is not Freshness.MISSING
)
CURRENT = [name for name in TRANSLATED if WHOLE.state(CHINESE, name) is Freshness.CURRENT]
FENCE = re.compile(r"^```\w*\n.*?^```$", re.MULTILINE | re.DOTALL)


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
            target, _, anchor = unquote(link).partition("#")
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


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.tag)
def test_every_page_is_reached_from_the_first_one(
    pages: dict[str, Seen], language: Language
) -> None:
    of_language = {f"docs/{language.within(name)}"[:-3] + ".html" for name in WHOLE.names}
    first = f"docs/{language.within('index.html')}"
    reached, waiting = {first}, [first]
    while waiting:
        for link in pages[waiting.pop()].links:
            path = unquote(link).partition("#")[0].removeprefix("/")
            if path in of_language and path not in reached:
                reached.add(path)
                waiting.append(path)
    # Those of contributors are found in the repository.
    missed = {path for path in of_language - reached if "/contributing/" not in path}
    assert missed == set()


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.tag)
def test_the_search_of_a_language_has_every_page(language: Language) -> None:
    sections = json.loads(WHOLE.read(language.search_file))
    urls = {section["url"].partition("#")[0].removeprefix("/") for section in sections}
    assert urls == {f"docs/{language.within(name)}"[:-3] + ".html" for name in WHOLE.names}


def test_the_search_has_title_and_text_of_a_section() -> None:
    sections = json.loads(WHOLE.read(ENGLISH.search_file))
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
    assert made.paths >= {INDEX, "docs/more/x.html", "docs/i.png", "docs/search.json"}
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


# ----- translations -----


@pytest.fixture
def translated(tmp_path: Path) -> Path:
    """A small documentation: `a` is translated, `b` is not."""
    (tmp_path / "zh").mkdir()
    (tmp_path / "index.md").write_text("# Start\n\n[a](a.md) [b](b.md)\n")
    (tmp_path / "a.md").write_text("# A\n\n[b](b.md) ![i](i.png)\n")
    (tmp_path / "b.md").write_text("# B\n\n[a](a.md)\n")
    (tmp_path / "i.png").write_bytes(b"png")
    (tmp_path / "zh" / "a.md").write_text(
        "# 甲\n\n## 第一节\n\n[b](../b.md) [a](a.md#第一节) ![i](../i.png)\n", "utf-8"
    )
    translations.mark("a.md", tmp_path)
    return tmp_path


def test_every_page_has_an_address_in_every_language(translated: Path) -> None:
    made = Documentation(translated)
    assert {"docs/zh/index.html", "docs/zh/a.html", "docs/zh/b.html"} <= made.paths
    english, chinese = made.read("docs/a.html").decode(), made.read("docs/zh/a.html").decode()
    assert '<html lang="en">' in english
    assert '<html lang="zh-CN">' in chinese
    assert '<a href="/docs/zh/a.html" lang="zh-CN" hreflang="zh-CN">简体中文</a>' in english
    assert '<a href="/docs/a.html" lang="en" hreflang="en">English</a>' in chinese
    assert "<title>甲 - Data Transfer Hub</title>" in chinese
    assert "translates" not in chinese
    # Links stay in the language, also those to files that have no translation.
    links = [unquote(link) for link in Seen(chinese.encode()).links]
    assert links[-3:] == ["/docs/zh/b.html", "/docs/zh/a.html#第一节", "/docs/i.png"]
    assert "/docs/search.json" in english
    assert "/docs/zh/search.json" in chinese


def test_a_page_without_a_translation_is_english_and_says_so(translated: Path) -> None:
    page = Documentation(translated).read("docs/zh/b.html").decode()
    assert f'<p class="notice">{CHINESE.missing}</p>' in page
    assert '<div lang="en">\n<h1 id="b">B</h1>' in page
    assert '<a href="/docs/zh/a.html">' in page


def test_an_english_anchor_becomes_that_of_the_translation(translated: Path) -> None:
    (translated / "a.md").write_text("# A\n\n## One\n")
    (translated / "b.md").write_text("# B\n\n[a](a.md#one)\n")
    linked = Seen(Documentation(translated).read("docs/zh/b.html")).links[-1]
    assert unquote(linked) == "/docs/zh/a.html#第一节"
    # Where the headings are others, at least the page is the right one.
    (translated / "a.md").write_text("# A\n\n## One\n\n## Two\n")
    linked = Seen(Documentation(translated).read("docs/zh/b.html")).links[-1]
    assert linked == "/docs/zh/a.html"


def test_a_page_says_that_its_original_has_changed(translated: Path) -> None:
    made = Documentation(translated)
    assert made.state(CHINESE, "a.md") is Freshness.CURRENT
    assert "notice" not in made.read("docs/zh/a.html").decode()
    (translated / "a.md").write_text("# A\n\nMore.\n")
    made = Documentation(translated)
    assert made.state(CHINESE, "a.md") is Freshness.STALE
    assert f'<p class="notice">{CHINESE.stale}</p>' in made.read("docs/zh/a.html").decode()
    assert "notice" not in made.read("docs/a.html").decode()
    # Also where the front matter was lost.
    (translated / "zh" / "a.md").write_text("# 甲\n", "utf-8")
    assert Documentation(translated).state(CHINESE, "a.md") is Freshness.STALE


def test_the_search_of_a_language_has_its_texts(translated: Path) -> None:
    sections = json.loads(Documentation(translated).read("docs/zh/search.json"))
    titles = {section["url"]: section["title"] for section in sections}
    assert titles["/docs/zh/a.html#第一节"] == "甲: 第一节"
    assert titles["/docs/zh/b.html"] == "B"


def test_stale_translations_are_listed(translated: Path) -> None:
    assert list(translations.report(translated)) == ["Not translated: b.md, index.md"]
    before = blob((translated / "a.md").read_text())
    (translated / "a.md").write_text("# A\n\nMore.\n")
    assert next(iter(translations.report(translated))) == (
        f"zh/a.md: the English page is newer. What changed: git diff {before} HEAD:docs/a.md"
    )
    translations.mark("a.md", translated)
    assert list(translations.report(translated)) == ["Not translated: b.md, index.md"]
    assert (translated / "zh" / "a.md").read_text("utf-8").count("---") == 2


def test_the_id_of_a_text_is_that_of_git(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Größe\n", "utf-8")
    told = subprocess.run(
        ["git", "hash-object", "a.md"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert blob("# Größe\n") == told.stdout.strip()


def test_mkdocs_marks_stale_pages(monkeypatch: pytest.MonkeyPatch, translated: Path) -> None:
    monkeypatch.setattr(translations, "DOCS", translated)

    def shown(uri: str) -> str:
        page = SimpleNamespace(file=SimpleNamespace(src_uri=uri))
        return translations.on_page_markdown("# 甲\n", page, config=None, files=None)

    assert shown("zh/a.md") == "# 甲\n"
    (translated / "a.md").write_text("# A\n\nMore.\n")
    assert shown("zh/a.md") == f"*{CHINESE.stale}*\n\n# 甲\n"
    assert shown("a.md") == "# 甲\n"


def test_every_translation_translates_a_page() -> None:
    names = {name for name, _ in sources() if name.startswith("zh/")}
    assert names == {CHINESE.within(name) for name in TRANSLATED}, (
        "its English page is gone: remove the translation, and its line in mkdocs.yml"
    )
    for name, content in sources():
        if name in names:
            assert made_from(content.decode()), f"{name}: python -m docs.translations --current"


# What cannot hold of a stale page without knowing Chinese is asked of current ones alone.


@pytest.mark.parametrize("name", CURRENT)
def test_a_translation_has_all_of_its_original(name: str) -> None:
    texts = dict(sources())
    english, chinese = texts[name].decode(), texts[CHINESE.within(name)].decode()
    assert FENCE.findall(chinese) == FENCE.findall(english)
    for mark in (r"^#+ ", r"^\|", r"^ *(?:-|\d+\.) ", r"!\["):
        expected = len(re.findall(mark, FENCE.sub("", english), re.MULTILINE))
        assert len(re.findall(mark, FENCE.sub("", chinese), re.MULTILINE)) == expected, mark


@pytest.mark.parametrize("name", TRANSLATED)
def test_no_mark_is_left_in_a_translation(name: str) -> None:
    """Beside Chinese punctuation, stars are not always emphasis."""
    page = WHOLE.read(f"docs/{CHINESE.within(name)}"[:-3] + ".html").decode()
    assert "**" not in re.sub(r"<code>.*?</code>", "", page, flags=re.DOTALL)
