"""Headers of registries, read in one pass: challenges, links, times to wait.

A registry may send anything. A reader takes time in proportion to the header, and no header above `LONGEST` is read.
"""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST = 8 * 1024  # characters of a header that is read
LONGEST_WAIT = 366 * 86400.0  # seconds; a longer time means the same: not now

# No pattern begins with what another one could have taken, so that none is tried twice at one place.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PLAIN = re.compile(r'[^\s,;"]*')
_SPACE = re.compile(r"[ \t]*")


@dataclass(frozen=True, slots=True)
class Challenge:
    """How a registry wants us to sign in."""

    scheme: str  # "basic" or "bearer"
    realm: str = ""
    service: str = ""
    scope: str = ""
    error: str = ""


def read_challenge(header: str) -> Challenge | None:
    """What a WWW-Authenticate header asks for; a token rather than a password. None for what we do not know."""
    found: dict[str, Challenge] = {}
    for scheme, values in _challenges(header):
        names = ("realm", "service", "scope", "error")
        challenge = Challenge(scheme, *(values.get(name, "") for name in names))
        if scheme != "bearer" or challenge.realm:
            found.setdefault(scheme, challenge)
    return found.get("bearer") or found.get("basic")


def _challenges(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Schemes with their parameters. Commas separate both: a word without a value begins a new challenge."""
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
    """The target whose relation is `next`, as RFC 8288 writes it; "" where there is none. Raises ValueError for a
    header that is too long to be read, and for one that speaks of a next page without saying where."""
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
    """The relations that the parameters of a link state, and where they end. The first `rel` counts."""
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
            # Some write other quotation marks, or forget the last one.
            value = value or header[begun:at].lstrip(' \t="')
            relations = value.lower().strip("'").split()


def _value(header: str, at: int) -> tuple[str, int]:
    """A value, quoted or not, and where it ends. An open quotation takes the rest, and is worth nothing."""
    if header[at : at + 1] == '"':
        quoted = _QUOTED.match(header, at)
        return (re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end()) if quoted else ("", len(header))
    end = _end(_PLAIN, header, at)
    return header[at:end], end


def _end(pattern: re.Pattern[str], header: str, at: int) -> int:
    """Where a pattern that may match nothing ends."""
    match = pattern.match(header, at)
    assert match is not None
    return match.end()


def seconds_to_wait(headers: Mapping[str, str]) -> float:
    """Seconds that we are asked to wait; 0 where the answer does not say. A date is read against the answer's own."""
    value = headers.get("retry-after", "").strip()[:64]
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        return min(float(value), LONGEST_WAIT)
    now = _moment(headers.get("date", "")) or time.time()
    if moment := _moment(value):
        return min(max(0.0, moment - now), LONGEST_WAIT)
    # Docker Hub tells when, in epoch seconds.
    reset = headers.get("x-ratelimit-reset") or headers.get("x-retry-after") or ""
    return min(max(0.0, float(reset) - now), LONGEST_WAIT) if re.fullmatch(r"[0-9]{9,11}", reset) else 0.0


def _moment(date: str) -> float:
    """The epoch seconds of an HTTP date, in any of its three forms; 0 for anything else."""
    try:
        moment = parsedate_to_datetime(date[:64])
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
