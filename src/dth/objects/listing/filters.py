"""Which objects a task includes: patterns on their keys, sizes, times and storage classes.

Patterns are matched against the key below the source prefix:

| | |
|---|---|
| `*` | any characters except `/` |
| `**` | any characters |
| `?` | one character except `/` |
| `[a-z]`, `[!a-z]` | one of these characters, or one that is not among them |
| `{jpg,png}` | one of these patterns |
| `\\` | the next character, literally |

A pattern that begins with `/` is matched from the source prefix on. Any other pattern may begin
after any `/`, so `*.jpg` finds images at every depth. A pattern that ends with `/` means everything
below that folder. An object is included if no exclude pattern matches its key, and an include
pattern does or there are none. Exclude takes precedence. The order of patterns does not matter.

Rules take the place of both: `+ PATTERN` includes and `- PATTERN` excludes, and the first rule that
matches a key decides. A key that no rule matches is included. `rclone_rules` and `aws_rules` write
what these tools mean as rules.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from dth.core.errors import UsageError
from dth.objects.listing.pages import ListedObject


@dataclass(frozen=True, slots=True)
class Filter:
    """All conditions must hold; a condition left at its default always does. Times are UTC as in
    `ListedObject.modified`. An object whose time is unknown passes the conditions on time."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    min_size: int = 0  # bytes
    max_size: int | None = None  # bytes
    modified_since: str = ""  # inclusive
    modified_before: str = ""
    # STANDARD includes objects that name no storage class.
    storage_classes: frozenset[str] = frozenset()


def aged(seconds: float, now: float) -> str:
    """The time of an object of this age, in the format of a `Filter`, for `newer than` and `older
    than`."""
    return datetime.fromtimestamp(now - seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=64)
def build(wanted: Filter, prefix: str = "") -> Callable[[ListedObject], bool] | None:
    """The test that a source entry has to pass; None if all pass. `prefix` is the source prefix."""
    tests = [*_key_tests(wanted, len(prefix)), *_property_tests(wanted)]
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda entry: all(test(entry) for test in tests)


class Watch:
    """Detects which patterns of a filter match no key at all. They are probably not what was
    meant."""

    def __init__(self, wanted: Filter, prefix: str = "") -> None:
        self._start = len(prefix)
        globs = [
            *wanted.include,
            *wanted.exclude,
            *(glob for _, glob in map(read_rule, wanted.rules)),
        ]
        self._unmatched = {glob: _pattern([glob]).fullmatch for glob in globs if glob != EVERYTHING}

    def watching(
        self, test: Callable[[ListedObject], bool] | None
    ) -> Callable[[ListedObject], bool] | None:
        """The same test, which also watches the patterns."""
        if test is None or not self._unmatched:
            return test

        def watched(entry: ListedObject) -> bool:
            if self._unmatched:
                self._see(entry.key)
            return test(entry)

        return watched

    def _see(self, key: str) -> None:
        for glob in [glob for glob, match in self._unmatched.items() if match(key, self._start)]:
            del self._unmatched[glob]

    @property
    def notes(self) -> list[str]:
        """A note for each pattern that matched nothing."""
        return [f"pattern {glob!r} matched nothing{_advice(glob)}" for glob in self._unmatched]


def _advice(glob: str) -> str:
    """What was probably meant by a pattern that means something else in another tool."""
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
    """Why the patterns exclude every object, and what to write instead; "" if one can pass."""
    everything = [
        glob for glob in wanted.exclude if all(map(_pattern([glob]).fullmatch, _ANY_KEYS))
    ]
    if not wanted.include or not everything:
        return ""
    includes = " ".join(f"--include {glob!r}" for glob in wanted.include)
    return (
        f"--exclude {everything[0]!r} leaves out everything, whatever --include says, because "
        "exclude wins (unless --filter-rules aws reads both as the AWS CLI does); to copy only "
        f"what is included, leave it out: {includes}"
    )


EVERYTHING = "**"
_ANY_KEYS = ("a", "Z.9", "é/0", "-/b/.c d")


def read_rule(text: str) -> tuple[bool, str]:
    """Whether a rule includes, and its pattern. Raises UsageError."""
    found = re.fullmatch(r"\s*([-+])\s+(.*\S)\s*", text, re.DOTALL)
    if not found:
        raise UsageError(f"The rule {text!r} cannot be read: write '+ PATTERN' or '- PATTERN'")
    return found[1] == "+", found[2]


def rclone_rules(include: Iterable[str], exclude: Iterable[str]) -> tuple[str, ...]:
    """What rclone means by these patterns: it looks at those that include first, and then leaves
    out all others."""
    included = [f"+ {glob}" for glob in include]
    for glob in (*include, *exclude):
        if "{{" in glob:
            raise UsageError(
                f"The pattern {glob!r} holds a regular expression, which is not supported"
            )
    return (
        *included,
        *(f"- {glob}" for glob in exclude),
        *([f"- {EVERYTHING}"] if included else []),
    )


def aws_rules(given: Iterable[tuple[bool, str]]) -> tuple[str, ...]:
    """What the AWS CLI means by these patterns, in their order, with whether each includes: the
    last that matches decides, and its wildcards do not stop at a slash."""
    return tuple(
        f"{'+' if includes else '-'} /{_from_aws(glob)}" for includes, glob in reversed([*given])
    )


def _from_aws(glob: str) -> str:
    signs = {"*": "**", "?": "{?,/}", "{": r"\{", "\\": r"\\"}
    return "".join(signs.get(sign, sign) for sign in glob)


def escaped(name: str) -> str:
    """The pattern that matches exactly this name."""
    return re.sub(r"([\\*?\[{])", r"\\\1", name)


def only_key(wanted: Filter) -> str:
    """The one key below the source prefix that can pass, if the only include pattern is a whole
    key; else ""."""
    if len(wanted.include) != 1:
        return ""
    [glob] = wanted.include
    exact = re.fullmatch(r"/(?:[^\\*?\[{]|\\.)*[^/]", glob, re.DOTALL)
    return re.sub(r"\\(.)", r"\1", glob[1:], flags=re.DOTALL) if exact else ""


def _key_tests(wanted: Filter, start: int) -> Iterable[Callable[[ListedObject], bool]]:
    if wanted.exclude:
        excluded = _pattern(wanted.exclude).fullmatch
        yield lambda entry: excluded(entry.key, start) is None
    if wanted.include:
        included = _pattern(wanted.include).fullmatch
        yield lambda entry: included(entry.key, start) is not None
    if wanted.rules:
        yield _rule_test(wanted.rules, start)


def _rule_test(rules: tuple[str, ...], start: int) -> Callable[[ListedObject], bool]:
    read = [(includes, _pattern([glob]).fullmatch) for includes, glob in map(read_rule, rules)]

    def passes(entry: ListedObject) -> bool:
        return next((includes for includes, matches in read if matches(entry.key, start)), True)

    return passes


def _property_tests(wanted: Filter) -> Iterable[Callable[[ListedObject], bool]]:
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
    """One pattern, translated to a regular expression from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def regex(self) -> str:
        if not self._text:
            raise self._bad("it is empty, so it matches nothing")
        anchored = self._text.startswith("/")
        self._at = 1 if anchored else 0
        body = self._sequence(depth=0)
        if self._text.endswith("/"):
            body += ".*"
        return body if anchored else f"(?:.*/)?{body}"

    def _sequence(self, depth: int) -> str:
        """Translate up to the end, or to the `,` or `}` that ends an alternative."""
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
        # A `]` in the first position is literal.
        end = self._text.find("]", self._at + 1)
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
