"""The documentation as pages of a hub: the Markdown files of docs/, which the package contains."""

import json
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

# Where a hub serves it, and the address of its first page.
ROOT = "docs"
INDEX = f"{ROOT}/index.html"
NAME = "Data Transfer Hub"
SEARCH = f"{ROOT}/search.json"
ASSETS = ("docs.css", "docs.js")
HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="/docs/docs.css">
<script src="/docs/docs.js" defer></script>
</head>
<body>
<header>
<a href="/docs/index.html">Documentation</a>
<a href="/">Console</a>
<form role="search"><label for="search">Search</label>
<input id="search" type="search" autocomplete="off" maxlength="100"></form>
</header>
<main>
<div id="found" role="status" hidden></div>
<article>
"""
FOOT = "</article>\n</main>\n</body>\n</html>\n"


class Documentation:
    """Its pages and other files, by their paths on a hub. A page is rendered when it is first asked
    for: most hubs serve few of them."""

    def __init__(self, folder: Traversable | None = None) -> None:
        self._folder = folder or _folder()

    @cached_property
    def paths(self) -> frozenset[str]:
        """All paths; none if the package was built without the documentation."""
        if not self._sources:
            return frozenset()
        pages = {_address(name) for name in self._sources}
        images = {f"{ROOT}/{name}" for name in _names(self._folder) if name.endswith(".png")}
        return frozenset({*pages, *images, SEARCH, *(f"{ROOT}/{name}" for name in ASSETS)})

    def read(self, path: str) -> bytes:
        """The file with one of `paths`."""
        name = path.removeprefix(f"{ROOT}/")
        if path == SEARCH:
            return self._search
        if name in ASSETS:
            return files("dth.hub").joinpath("docs", name).read_bytes()
        if name.endswith(".html"):
            return self._page(name.removesuffix(".html") + ".md")
        return self._folder.joinpath(name).read_bytes()

    @cached_property
    def _sources(self) -> frozenset[str]:
        names = frozenset(name for name in _names(self._folder) if name.endswith(".md"))
        return names if "index.md" in names else frozenset()

    def _text(self, name: str) -> str:
        return self._folder.joinpath(name).read_text("utf-8")

    def _page(self, name: str) -> bytes:
        tokens = _markdown().parse(self._text(name))
        title = _title(tokens)
        self._arrange(name, tokens)
        head = HEAD.format(title=_escape(f"{title} - {NAME}" if title != NAME else NAME))
        body: str = _markdown().renderer.render(tokens, _markdown().options, {})
        return f"{head}{body}{FOOT}".encode()

    def _arrange(self, name: str, tokens: list[Token]) -> None:
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
                    child.attrSet("href", self._link(name, str(child.attrGet("href") or "")))
                elif child.type == "image":
                    child.attrSet("src", self._link(name, str(child.attrGet("src") or "")))

    def _link(self, name: str, target: str) -> str:
        path, mark, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return target
        there = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
        address = f"/{_address(there)}" if there in self._sources else f"/{ROOT}/{there}"
        return f"{address}{mark}{anchor}"

    @cached_property
    def _search(self) -> bytes:
        """What is searched: address, title and text of each section."""
        found = []
        for name in sorted(self._sources):
            tokens = _markdown().parse(self._text(name))
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
                    "url": f"/{_address(name)}" + (f"#{anchor}" if anchor else ""),
                    "title": f"{title}: {heading}" if heading else title,
                    "text": " ".join(" ".join(words).split()),
                }
                for name, anchor, title, heading, words in found
            ],
            ensure_ascii=False,
        ).encode()


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
