"""Patterns for the names of repositories and for tags: globs, or regular expressions.

| | |
|---|---|
| `*` | any characters but `/` |
| `**` | any characters |
| `?` | one character but `/` |
| `[a-z]`, `[!a-z]` | one character of these, or not of these |
| `regex:v\\d+` | a regular expression, for the whole name |
"""

import re
from collections.abc import Sequence

from dth.core.errors import UsageError

REGEX = "regex:"


class Patterns:
    """Several patterns, of which one must match. Raises UsageError for an invalid one."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [_compiled(each) for each in patterns]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._patterns)

    def match(self, name: str) -> bool:
        """Whether one of the patterns matches the whole name."""
        return any(pattern.fullmatch(name) for pattern in self._patterns)


class Choice:
    """A choice by patterns: one of `include` matches (if there are any) and none of `exclude`."""

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._include = Patterns(include)
        self._exclude = Patterns(exclude)

    def __bool__(self) -> bool:
        """Whether anything could be left out."""
        return bool(self._include) or bool(self._exclude)

    def takes(self, name: str) -> bool:
        """Whether the name is chosen."""
        return (not self._include or self._include.match(name)) and not self._exclude.match(name)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(
            pattern.removeprefix(REGEX) if pattern.startswith(REGEX) else _translated(pattern),
            re.DOTALL,
        )
    except re.error as error:
        raise UsageError(f"the pattern {pattern!r} cannot be read: {error}") from None


def _translated(glob: str) -> str:
    found = []
    for token in re.findall(r"\*\*|\[!?\]?[^\]]*\]|.", glob, re.DOTALL):
        match token:
            case "**":
                found.append(".*")
            case "*":
                found.append("[^/]*")
            case "?":
                found.append("[^/]")
            case _ if len(token) > 1:
                negated = token[1] == "!"
                inner = re.sub(r"([\\\[\]^&~|])", r"\\\1", token[2 if negated else 1 : -1])
                found.append(f"[^/{inner}]" if negated else f"[{inner}]")
            case "[":
                raise UsageError(f"the pattern {glob!r} cannot be read: [ without ]")
            case _:
                found.append(re.escape(token))
    return "".join(found)
