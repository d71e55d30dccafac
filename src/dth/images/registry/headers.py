"""Parsers for registry headers, in one pass: challenges, links, and wait times.

A registry may send anything. Parsing takes time in proportion to the header's length, and no header
longer than `LONGEST` is parsed.
"""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST = 8 * 1024  # characters of a header
# Seconds; a longer time has the same meaning: not now.
LONGEST_WAIT = 366 * 86400.0

# No pattern starts with what another can match, so no text is matched twice at one position.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PLAIN = re.compile(r'[^\s,;"]*')
_SPACE = re.compile(r"[ \t]*")


@dataclass(frozen=True, slots=True)
class Challenge:
    """How a registry requires clients to sign in."""

    scheme: str  # "basic" or "bearer"
    realm: str = ""
    service: str = ""
    scope: str = ""
    error: str = ""


def read_challenge(header: str) -> Challenge | None:
    """Return what a WWW-Authenticate header requires, preferring a token to a password.

    None for an unknown scheme.
    """
    found: dict[str, Challenge] = {}
    for scheme, values in _challenges(header):
        names = ("realm", "service", "scope", "error")
        challenge = Challenge(scheme, *(values.get(name, "") for name in names))
        if scheme != "bearer" or challenge.realm:
            found.setdefault(scheme, challenge)
    return found.get("bearer") or found.get("basic")


def _challenges(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield schemes with their parameters.

    Commas separate both: a word without a value begins a new challenge.
    """
    if len(header) > LONGEST:
        return
    scheme, values, at = "", dict[str, str](), 0
    while at < len(header):
        word = _TOKEN.match(header, at)
        if not word:
            at += 1
            continue
        at = word.end()
        equals = _EQUALS.match(header, at)
        if equals and scheme:
            value, at = _value(header, equals.end())
            values.setdefault(word[0].lower(), value)
            continue
        if scheme:
            yield scheme, values
        scheme, values = word[0].lower(), {}
    if scheme:
        yield scheme, values


def next_link(header: str) -> str:
    """Return the target with the relation `next` (RFC 8288); "" if there is none.

    Raises ValueError for a header that is too long, or that has a next page without an address.
    """
    if len(header) > LONGEST:
        raise ValueError(f"a Link header has more than {LONGEST} characters")
    at = 0
    while (begin := header.find("<", at)) >= 0 and (end := header.find(">", begin)) >= 0:
        relations, at = _relations(header, end + 1)
        if "next" in relations and (target := header[begin + 1 : end].strip()):
            return target
        if "next" in relations:
            raise ValueError("a Link header has a next page without an address")
    if not at and "next" in header.lower():
        raise ValueError("a Link header has a next page, and no address in angle brackets")
    return ""


def _relations(header: str, at: int) -> tuple[list[str], int]:
    """Return the relations in the parameters of a link, and where they end. The first `rel`
    counts."""
    relations: list[str] | None = None
    while True:
        at = _end(_SPACE, header, at)
        if header[at : at + 1] != ";":
            return relations or [], at
        at = _end(_SPACE, header, at + 1)
        word = _TOKEN.match(header, at)
        if not word:
            continue
        at = word.end()
        value, begun = "", at
        if equals := _EQUALS.match(header, at):
            value, at = _value(header, equals.end())
        if word[0].lower() == "rel" and relations is None:
            # Some registries use other quotation marks, or omit the last one.
            value = value or header[begun:at].lstrip(' \t="')
            relations = value.lower().strip("'").split()


def _value(header: str, at: int) -> tuple[str, int]:
    """Return a value, quoted or not, and where it ends.

    An unclosed quotation takes the rest of the header and counts as empty.
    """
    if header[at : at + 1] == '"':
        quoted = _QUOTED.match(header, at)
        return (re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end()) if quoted else ("", len(header))
    end = _end(_PLAIN, header, at)
    return header[at:end], end


def _end(pattern: re.Pattern[str], header: str, at: int) -> int:
    """Return the end of a pattern that may match the empty string."""
    match = pattern.match(header, at)
    assert match is not None
    return match.end()


def seconds_to_wait(headers: Mapping[str, str]) -> float:
    """Return the seconds to wait; 0 if the answer does not say. Dates are relative to the answer's
    own.
    """
    value = headers.get("retry-after", "").strip()[:64]
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return min(float(value), LONGEST_WAIT)
    now = _moment(headers.get("date", "")) or time.time()
    if moment := _moment(value):
        return min(max(0.0, moment - now), LONGEST_WAIT)
    # Docker Hub sends the time in epoch seconds.
    reset = headers.get("x-ratelimit-reset") or headers.get("x-retry-after") or ""
    return (
        min(max(0.0, float(reset) - now), LONGEST_WAIT)
        if re.fullmatch(r"[0-9]{9,11}", reset)
        else 0.0
    )


def _moment(date: str) -> float:
    """Return the epoch seconds of an HTTP date in any of its three forms; 0 for anything else."""
    try:
        moment = parsedate_to_datetime(date[:64])
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
