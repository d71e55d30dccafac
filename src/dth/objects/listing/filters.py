"""Which objects take part: patterns on their keys, sizes, times and storage classes.

Patterns are matched against the key below the source prefix:

| | |
|---|---|
| `*` | any characters but `/` |
| `**` | any characters |
| `?` | one character but `/` |
| `[a-z]`, `[!a-z]` | one character of these, or not of these |
| `{jpg,png}` | one of these patterns |
| `\\` | the next character as it is |

A pattern that begins with `/` is matched from the source prefix on; any other may begin after any `/`, so
`*.jpg` finds images at every depth. A pattern that ends with `/` stands for everything below that folder. An
object takes part if no exclude pattern matches its key, and an include pattern does or there are none:
exclude wins, the order of patterns does not matter.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from dth.core.errors import UsageError
from dth.objects.listing.pages import Entry


@dataclass(frozen=True, slots=True)
class Filter:
    """Every condition must hold; one left at its default always does. Times are UTC as in `Entry.modified`;
    an object whose time is unknown passes them."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_size: int = 0  # bytes
    max_size: int | None = None  # bytes
    modified_since: str = ""  # at that time or later
    modified_before: str = ""
    storage_classes: frozenset[str] = frozenset()  # STANDARD includes objects that do not name theirs


def aged(seconds: float, now: float) -> str:
    """The time of an object that is this old, as a `Filter` takes it: `newer than` and `older than`."""
    return datetime.fromtimestamp(now - seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=64)
def build(wanted: Filter, prefix: str = "") -> Callable[[Entry], bool] | None:
    """The test that a source entry has to pass; None if all do. `prefix` is the source prefix."""
    tests = [*_key_tests(wanted, len(prefix)), *_property_tests(wanted)]
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda entry: all(test(entry) for test in tests)


class Watch:
    """Notices which patterns of a filter match no key at all: they are likely not what was meant."""

    def __init__(self, wanted: Filter, prefix: str = "") -> None:
        self._start = len(prefix)
        self._unmatched = {glob: _pattern([glob]).fullmatch for glob in (*wanted.include, *wanted.exclude)}

    def watching(self, test: Callable[[Entry], bool] | None) -> Callable[[Entry], bool] | None:
        """The same test, with an eye on the patterns."""
        if test is None or not self._unmatched:
            return test

        def watched(entry: Entry) -> bool:
            if self._unmatched:
                self._see(entry.key)
            return test(entry)

        return watched

    def _see(self, key: str) -> None:
        for glob in [glob for glob, match in self._unmatched.items() if match(key, self._start)]:
            del self._unmatched[glob]

    @property
    def notes(self) -> list[str]:
        return [f"pattern {glob!r} matched nothing{_advice(glob)}" for glob in self._unmatched]


def _advice(glob: str) -> str:
    """How a pattern was meant that means something else in another tool."""
    if found := re.match(r"([-+]) +(.*)", glob):
        option = "--exclude" if found[1] == "-" else "--include"
        return f"; write {option} {found[2]!r}"
    if "," in glob and "{" not in glob:
        return f"; for one of several patterns write {{{glob}}}, or give the option several times"
    if glob.startswith("s3://"):
        return "; a pattern is matched against the key below the source prefix"
    folder = glob.removesuffix("**").removesuffix("*").strip("/")
    if folder and not re.search(r"[*?\[{\\]", folder):
        return f"; for everything below: {folder}/"
    return ""


def contradiction(wanted: Filter) -> str:
    """Why no object at all can pass the patterns, and what to write instead; "" if one may."""
    everything = [glob for glob in wanted.exclude if all(map(_pattern([glob]).fullmatch, _ANY_KEYS))]
    if not wanted.include or not everything:
        return ""
    includes = " ".join(f"--include {glob!r}" for glob in wanted.include)
    return (
        f"--exclude {everything[0]!r} leaves out everything, whatever --include says, because exclude wins; to copy "
        f"only what is included, leave it out: {includes}"
    )


_ANY_KEYS = ("a", "Z.9", "é/0", "-/b/.c d")


def escaped(name: str) -> str:
    """The pattern that matches exactly this name."""
    return re.sub(r"([\\*?\[{])", r"\\\1", name)


def only_key(wanted: Filter) -> str:
    """The one key below the source prefix that can pass, if there is one include pattern and it is a whole key."""
    if len(wanted.include) != 1:
        return ""
    [glob] = wanted.include
    exact = re.fullmatch(r"/(?:[^\\*?\[{]|\\.)*[^/]", glob, re.DOTALL)
    return re.sub(r"\\(.)", r"\1", glob[1:], flags=re.DOTALL) if exact else ""


def _key_tests(wanted: Filter, start: int) -> Iterable[Callable[[Entry], bool]]:
    if wanted.exclude:
        excluded = _pattern(wanted.exclude).fullmatch
        yield lambda entry: excluded(entry.key, start) is None
    if wanted.include:
        included = _pattern(wanted.include).fullmatch
        yield lambda entry: included(entry.key, start) is not None


def _property_tests(wanted: Filter) -> Iterable[Callable[[Entry], bool]]:
    least, most = wanted.min_size, wanted.max_size
    since, before, classes = wanted.modified_since, wanted.modified_before, wanted.storage_classes
    if least > 0:
        yield lambda entry: entry.size >= least
    if most is not None:
        yield lambda entry: entry.size <= most
    if since:
        yield lambda entry: not entry.modified or entry.modified >= since
    if before:
        yield lambda entry: not entry.modified or entry.modified < before
    if classes:
        yield lambda entry: (entry.storage_class or "STANDARD") in classes


def _pattern(globs: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{_Glob(glob).regex()})" for glob in globs), re.DOTALL)


class _Glob:
    """One pattern, translated from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def regex(self) -> str:
        anchored = self._text.startswith("/")
        self._at = 1 if anchored else 0
        body = self._sequence(depth=0)
        if self._text.endswith("/"):
            body += ".*"
        return body if anchored else f"(?:.*/)?{body}"

    def _sequence(self, depth: int) -> str:
        """Up to the end, or to the `,` or `}` that ends an alternative."""
        parts = []
        while self._at < len(self._text):
            char = self._text[self._at]
            if depth and char in ",}":
                break
            self._at += 1
            parts.append(self._one(char, depth))
        return "".join(parts)

    def _one(self, char: str, depth: int) -> str:
        match char:
            case "*":
                return ".*" if self._skip("*") else "[^/]*"
            case "?":
                return "[^/]"
            case "[":
                return self._set()
            case "{":
                return self._alternatives(depth)
            case "\\" if self._at < len(self._text):
                self._at += 1
                return re.escape(self._text[self._at - 1])
            case _:
                return re.escape(char)

    def _skip(self, char: str) -> bool:
        if not self._text.startswith(char, self._at):
            return False
        self._at += 1
        return True

    def _set(self) -> str:
        negated = self._skip("!") or self._skip("^")
        end = self._text.find("]", self._at + 1)  # a `]` in the first place stands for itself
        if end < 0:
            raise self._bad("[ without ]")
        inner = re.sub(r"([\\\[\]^&~|])", r"\\\1", self._text[self._at : end])
        self._at = end + 1
        regex = f"[^/{inner}]" if negated else f"[{inner}]"
        try:
            re.compile(regex)
        except re.error as error:
            raise self._bad(str(error)) from error
        return regex

    def _alternatives(self, depth: int) -> str:
        options = [self._sequence(depth + 1)]
        while self._skip(","):
            options.append(self._sequence(depth + 1))
        if not self._skip("}"):
            raise self._bad("{ without }")
        return f"(?:{'|'.join(options)})"

    def _bad(self, problem: str) -> UsageError:
        return UsageError(f"The pattern {self._text!r} cannot be read: {problem}")
