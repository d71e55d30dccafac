"""Phrases that this project once used, and that its readers had to read twice. Each has a plain one
instead."""

from __future__ import annotations

import io
import re
import tokenize
from typing import TYPE_CHECKING

import pytest

from tests.servers.process import REPOSITORY as ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNTED = r"bytes|requests|rows|lines|objects?|images?|thousands"
UNIT = r"(second|minute|hour|day|line|row|page|object|image|request|key)"
INSTEAD = {
    r"in hand": "in progress",
    r"(goes|go) on": "continues, resumes",
    r"(is|are|was|were|be|been|nothing is|nobody is) told(?! to)": "is notified, is reported",
    r"told (of|in|by)": "reported",
    r"tells how": "shows",
    r"(can|cannot|could|to) be had": "is available",
    r"is a must": "is required",
    r"of ours": "name whose",
    r"(find|finds|found|finding) out": "detect, determine",
    rf"({COUNTED}|one (row|line|rule|object|key|prefix|option|file)) an? {UNIT}": "per",
    r"looked at": "checked",
    r"so many": "this many",
    r"\w+ends? between|commas between": "separated by",
    r"hears? of": "is notified about",
    r"thrown? away": "discard",
    r"anew": "again",
    r"under way": "in progress",
    r"on (its|their) way": "in progress",
    r"(accounts|us) let in|lets? us in": "allow",
    r"(?<!there )(is|are) no (?!longer|more|other|such)\w+": "is not a",
}
FOUND = re.compile(rf"\b({'|'.join(INSTEAD)})\b", re.IGNORECASE)
PAGES = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "docs/*.py")
TEXTS = ("console/src/i18n/en/*.json", "console/src/plugins/*/en.json", "src/**/*.graphql")


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """What people read in a file, with the number of its line: in a module the strings and
    comments."""
    text = path.read_text("utf-8")
    if path.suffix != ".py":
        # Without the names of texts.
        yield from ((number, line.partition('": ')[2] if path.suffix == ".json" else line)
                    for number, line in enumerate(text.splitlines(), 1))  # fmt: skip
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            yield token.start[0], re.sub(r"\s+", " ", token.string)


@pytest.mark.parametrize("pattern", [*PAGES, *TEXTS, "src/**/*.py"])
def test_what_people_read_is_plain(pattern: str) -> None:
    paths = sorted(ROOT.glob(pattern))
    assert paths
    found = [
        f"{path.relative_to(ROOT)}:{number}: {text[max(0, match.start() - 40) : match.end() + 20]}"
        for path in paths
        for number, text in texts(path)
        for match in FOUND.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "what is in hand", "it goes on", "nobody is told", "keys cannot be had", "TLS is a must",
        "a defect of ours",
        "Found out for AWS", "bytes a second", "one row an object", "they are looked at",
        "with commas between",
        "it is no bucket", "it is compared anew",
    ],
)  # fmt: skip
def test_a_phrase_is_found(text: str) -> None:
    assert FOUND.search(text)


@pytest.mark.parametrize(
    "text", ["there is no bucket", "the worker is told to stop", "once a minute", "is no longer"]
)
def test_plain_english_is_not(text: str) -> None:
    assert not FOUND.search(text)
