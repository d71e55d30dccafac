"""The documentation as pages of a hub: the Markdown files of docs/, which the package contains.

Translations are in folders named after their language, such as `zh`, under the names of the pages
that they translate. Every page has an address in every language: where no translation is, it shows
the English text, and says so. The front matter of a translation names the English text that it was
made from, so that a page whose original has changed since can say that, too.
"""

import hashlib
import json
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache, cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

# Where a hub serves it.
ROOT = "docs"
NAME = "Data Transfer Hub"
ASSETS = ("docs.css", "docs.js")
HEAD = """<!doctype html>
<html lang="{tag}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="/docs/docs.css">
<script src="/docs/docs.js" defer></script>
</head>
<body>
<header>
<a href="/{index}">{documentation}</a>
<a href="/">{console}</a>
{others}
<form role="search" data-sections="/{search_file}"><label for="search">{search}</label>
<input id="search" type="search" autocomplete="off" maxlength="100"></form>
</header>
<main>
<div id="found" role="status" hidden></div>
<article>
"""
OTHER = '<a href="/{address}" lang="{tag}" hreflang="{tag}">{name}</a>'
NOTICE = '<p class="notice">{text}</p>\n'
FOOT = "</article>\n</main>\n</body>\n</html>\n"
FRONT = re.compile(r"\A---\n(.*?)^---\n+", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Language:
    """A language of the documentation, and the words around its pages."""

    # Where its pages are, within the folder of the documentation.
    folder: str
    tag: str
    name: str
    documentation: str
    console: str
    search: str
    # Notices of a page that is not translated, and of one whose original has changed since.
    missing: str = ""
    stale: str = ""

    def within(self, name: str) -> str:
        """The name of a page in this language, by its English name."""
        return f"{self.folder}/{name}" if self.folder else name

    @property
    def search_file(self) -> str:
        """The path of what its search looks through."""
        return f"{ROOT}/{self.within('search.json')}"


ENGLISH = Language("", "en", "English", "Documentation", "Console", "Search")
CHINESE = Language(
    "zh",
    "zh-CN",
    "简体中文",
    "文档",
    "控制台",
    "搜索",
    "此页面尚无中文版，以下为英文原文。",
    "英文版在翻译之后有更新，此页面的部分内容可能已过时；请以英文版为准。",
)
LANGUAGES = (ENGLISH, CHINESE)
TRANSLATIONS = (CHINESE,)
# The first page of each language, by its folder.
FOLDERS = {
    f"{ROOT}/{language.folder}".rstrip("/"): f"{ROOT}/{language.within('index.html')}"
    for language in LANGUAGES
}


class Freshness(Enum):
    """How a translation relates to its original."""

    CURRENT = "current"
    STALE = "stale"
    MISSING = "missing"


class Documentation:
    """Its pages and other files, by their paths on a hub. A page is rendered when it is first asked
    for: most hubs serve few of them."""

    def __init__(self, folder: Traversable | None = None) -> None:
        self._folder = folder or _folder()

    @cached_property
    def paths(self) -> frozenset[str]:
        """All paths; none if the package was built without the documentation."""
        if not self.names:
            return frozenset()
        images = {f"{ROOT}/{name}" for name in _names(self._folder) if name.endswith(".png")}
        searches = {language.search_file for language in LANGUAGES}
        assets = {f"{ROOT}/{name}" for name in ASSETS}
        return frozenset({*self._pages, *images, *searches, *assets})

    def read(self, path: str) -> bytes:
        """The file with one of `paths`."""
        name = path.removeprefix(f"{ROOT}/")
        if page := self._pages.get(path):
            return self._page(*page)
        for language in LANGUAGES:
            if path == language.search_file:
                return self._search(language)
        if name in ASSETS:
            return files("dth.hub").joinpath("docs", name).read_bytes()
        return self._folder.joinpath(name).read_bytes()

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of the pages: those of the English files."""
        folders = tuple(f"{language.folder}/" for language in TRANSLATIONS)
        names = frozenset(name for name in self._sources if not name.startswith(folders))
        return names if "index.md" in names else frozenset()

    def state(self, language: Language, name: str) -> Freshness:
        """That of a page in a language into which pages are translated."""
        translated = language.within(name)
        if translated not in self._sources:
            return Freshness.MISSING
        current = made_from(self._text(translated)) == blob(self._text(name))
        return Freshness.CURRENT if current else Freshness.STALE

    @cached_property
    def _sources(self) -> frozenset[str]:
        return frozenset(name for name in _names(self._folder) if name.endswith(".md"))

    @cached_property
    def _pages(self) -> dict[str, tuple[Language, str]]:
        return {
            _address(language.within(name)): (language, name)
            for language in LANGUAGES
            for name in self.names
        }

    def _text(self, name: str) -> str:
        return self._folder.joinpath(name).read_text("utf-8")

    def _source(self, language: Language, name: str) -> str:
        """The file that a page shows."""
        translated = language.within(name)
        return translated if translated in self._sources else name

    def _parsed(self, source: str) -> list[Token]:
        return _markdown().parse(FRONT.sub("", self._text(source)))

    def _page(self, language: Language, name: str) -> bytes:
        source = self._source(language, name)
        tokens = self._parsed(source)
        title = _title(tokens)
        self._arrange(language, source, tokens)
        others = [
            OTHER.format(address=_address(other.within(name)), tag=other.tag, name=other.name)
            for other in LANGUAGES
            if other != language
        ]
        head = HEAD.format(
            tag=language.tag,
            title=_escape(f"{title} - {NAME}" if title != NAME else NAME),
            index=_address(language.within("index.md")),
            documentation=language.documentation,
            console=language.console,
            others="\n".join(others),
            search=language.search,
            search_file=language.search_file,
        )
        body: str = _markdown().renderer.render(tokens, _markdown().options, {})
        if language in TRANSLATIONS:
            body = self._noted(language, name, body)
        return f"{head}{body}{FOOT}".encode()

    def _noted(self, language: Language, name: str, body: str) -> str:
        """The page with a line before it that says what a reader of the language must know."""
        state = self.state(language, name)
        if state is Freshness.MISSING:
            notice = NOTICE.format(text=language.missing)
            return f'{notice}<div lang="{ENGLISH.tag}">\n{body}</div>\n'
        return NOTICE.format(text=language.stale) + body if state is Freshness.STALE else body

    def _arrange(self, language: Language, source: str, tokens: list[Token]) -> None:
        """Give headings their anchors, and links and images their addresses here."""
        taken: Counter[str] = Counter()
        for before, token in zip([None, *tokens], tokens, strict=False):
            if alignment := token.attrs.pop("style", ""):
                # The policy of the hub allows no styles within a page.
                token.attrSet("class", str(alignment).removeprefix("text-align:"))
            if token.type != "inline":
                continue
            if before and before.type == "heading_open":
                before.attrSet("id", _anchor(token, taken))
            for child in token.children or ():
                if child.type == "link_open":
                    child.attrSet("href", self._link(language, source, child, "href"))
                elif child.type == "image":
                    child.attrSet("src", self._link(language, source, child, "src"))

    def _link(self, language: Language, source: str, token: Token, attribute: str) -> str:
        target = str(token.attrGet(attribute) or "")
        path, mark, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return target
        there = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        # Who reads a language stays in it, also where a translation links to an English file.
        name = there.removeprefix(language.within(""))
        if name not in self.names:
            return f"/{ROOT}/{there}{mark}{anchor}"
        if anchor and there != self._source(language, name):
            anchor = self._translated(language, name, anchor)
        return f"/{_address(language.within(name))}" + (f"#{anchor}" if anchor else "")

    def _translated(self, language: Language, name: str, anchor: str) -> str:
        """The anchor of the same heading in a translation; empty if its headings are others."""
        english, translated = self._anchors(name), self._anchors(language.within(name))
        alike = len(english) == len(translated) and anchor in english
        return translated[english.index(anchor)] if alike else ""

    def _anchors(self, source: str) -> list[str]:
        tokens = self._parsed(source)
        taken: Counter[str] = Counter()
        return [
            _anchor(token, taken)
            for before, token in pairwise(tokens)
            if before.type == "heading_open"
        ]

    def _search(self, language: Language) -> bytes:
        """What is searched: address, title and text of each section."""
        found = []
        for name in sorted(self.names):
            tokens = self._parsed(self._source(language, name))
            title, anchor, heading = _title(tokens), "", ""
            words: list[str] = []
            taken: Counter[str] = Counter()
            for before, token in zip([None, *tokens], tokens, strict=False):
                if before and before.type == "heading_open":
                    of_heading = _anchor(token, taken)
                    if before.tag not in ("h2", "h3"):
                        continue
                    found.append((name, anchor, title, heading, words))
                    heading, anchor, words = _plain(token), of_heading, []
                elif token.type == "inline":
                    words.append(_plain(token))
                elif token.type == "fence":
                    words.append(token.content)
            found.append((name, anchor, title, heading, words))
        return json.dumps(
            [
                {
                    "url": f"/{_address(language.within(name))}" + (f"#{anchor}" if anchor else ""),
                    "title": f"{title}: {heading}" if heading else title,
                    "text": " ".join(" ".join(words).split()),
                }
                for name, anchor, title, heading, words in found
            ],
            ensure_ascii=False,
        ).encode()


def blob(text: str) -> str:
    """The id that git gives a file with this text: git can show what has changed since then."""
    content = text.encode()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def made_from(translation: str) -> str:
    """The id of the English text that a translation was made from; empty if it names none."""
    front = FRONT.match(translation)
    named = re.search(r"^translates: *(\w+)$", front[1], re.MULTILINE) if front else None
    return named[1] if named else ""


def sources() -> Iterator[tuple[str, bytes]]:
    """What a package contains as its documentation: names and contents."""
    folder = _folder()
    for name in sorted(_names(folder)):
        if name.endswith((".md", ".png")):
            yield name, folder.joinpath(name).read_bytes()


def _anchor(heading: Token, taken: Counter[str]) -> str:
    """The anchor of a heading, as GitHub makes it. `taken`: those of the page so far."""
    anchor = re.sub(r"[^\w\- ]", "", _plain(heading).lower()).replace(" ", "-")
    taken[anchor] += 1
    return anchor if taken[anchor] == 1 else f"{anchor}-{taken[anchor] - 1}"


def _address(name: str) -> str:
    return f"{ROOT}/{name.removesuffix('.md')}.html"


def _folder() -> Traversable:
    """In the package; in a checkout, its own."""
    packed = files("dth").joinpath("_docs")
    return packed if packed.is_dir() else Path(str(files("dth"))).parents[1] / "docs"


def _names(folder: Traversable, below: str = "") -> list[str]:
    if not folder.is_dir():
        return []
    found = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _names(entry, f"{below}{entry.name}/")
        else:
            found.append(f"{below}{entry.name}")
    return found


@cache
def _markdown() -> MarkdownIt:
    made = MarkdownIt("commonmark").enable("table")
    rules: dict[str, Callable[..., str]] = {
        "table_open": _table_open,
        "table_close": _table_close,
        "fence": _fence,
        "html_block": _html,
        "html_inline": _html,
    }
    for kind, rule in rules.items():
        made.add_render_rule(kind, rule)
    return made


# What is wider than the page scrolls, also with the keyboard.


def _table_open(*_: object) -> str:
    return '<div class="wide" tabindex="0"><table>\n'


def _table_close(*_: object) -> str:
    return "</table></div>\n"


def _fence(_: object, tokens: list[Token], at: int, *__: object) -> str:
    return f'<pre tabindex="0"><code>{_escape(tokens[at].content)}</code></pre>\n'


def _html(_: object, tokens: list[Token], at: int, *__: object) -> str:
    """Comments in a source are for those who write it."""
    text = tokens[at].content
    return "" if text.lstrip().startswith("<!--") else _escape(text)


def _title(tokens: list[Token]) -> str:
    for before, token in zip([None, *tokens], tokens, strict=False):
        if before and before.type == "heading_open" and before.tag == "h1":
            return _plain(token)
    return NAME


def _plain(token: Token) -> str:
    """The text of an inline token, without marks."""
    return "".join(
        child.content if child.type in ("text", "code_inline") else " "
        for child in token.children or ()
        if child.type in ("text", "code_inline", "softbreak")
    )


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
