"""The objects of the demo: small ones by the thousand, names that break tools, and a few that go in
parts.

Everything is made from the key alone, so that each run has the same objects and none of them lies
on a disk.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

KIB, MIB = 1024, 1024**2
CHUNK = 16 * MIB  # bytes that are made, and written as one part, at once
GIANT = 128 * MIB  # the demo's threshold; the default is 1 GiB

ODD_KEYS = (
    "quotes \" and ' and `",
    "back\\slash",
    "new\nline",
    "carriage\rreturn",
    "tab\tstop",
    "bell \x07",
    "escape \x1b[31m",
    "delete \x7f",
    "\x01",
    "a+b",
    "100%",
    "%2F",
    "%",
    "two//slashes",
    "//two in front",
    "/one in front",
    "/",
    ".",
    "..",
    "./here",
    "x/./y",
    "x/../y",
    "../up",
    "folder/",
    "folder//",
    " space in front",
    "space at the end ",
    "a",
    "ab",
    "emoji 🎉",
    "日本語/キー",
    "NFC caf\u00e9",
    "NFC cafe\u0301",  # its twin in NFD: another key, though it looks the same
    "1024 bytes ".ljust(1024, "x"),
    "é" * 512,  # 1,024 bytes as well
    "query?x=1#fragment&amp;",
    "<xml>&lt;]]>",
    "* [a-z] {b,c} $HOME ~",
    "@:;,=&!^|()",
    "zero\u200bwidth",
    "last \U0010fffd",
)
LARGE = (  # two keys of which one begins with the other, of nearly one size, are easily mixed up
    ("large/a", 100 * MIB),
    ("large/ab", 100 * MIB + 1),
    ("large/film (final).mp4", 112 * MIB + 4321),
    ("large/giant.tar", 160 * MIB - 77),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One object: its key, its size, and the headers it is written with."""

    key: str
    size: int
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def chunks(self) -> int:
        return max(1, -(-self.size // CHUNK))

    def chunk(self, number: int) -> bytes:
        """Chunk `number` (from 0) of the content."""
        size = min(CHUNK, self.size - number * CHUNK)
        own = random.Random(f"{number} {self.key}")
        if self.chunks == 1:
            return own.randbytes(size)
        start = own.randrange(CHUNK)
        return (_noise()[start:] + _noise()[:start])[:size]


@cache
def _noise() -> bytes:
    """What the chunks of large objects are turns of: making them each time would take longer than
    copying."""
    return random.Random(0).randbytes(CHUNK)


def samples(small: int) -> list[Sample]:
    """All objects, with `small` small ones: every tenth has metadata, every fiftieth tags."""
    return [*_small(small), *_odd(), *_large()]


def _small(count: int) -> Iterator[Sample]:
    for number in range(count):
        key = f"small/{number % 40:02}/{number:06}.bin"
        headers = {}
        if number % 10 == 0:
            headers = _metadata("application/json", number)
        if number % 50 == 0:
            headers["x-amz-tagging"] = f"team=blue&number={number}"
        yield Sample(key, random.Random(key).randint(KIB, 64 * KIB), headers)


def _odd() -> Iterator[Sample]:
    for number, key in enumerate(ODD_KEYS):
        yield Sample(key, 100 * number, {"x-amz-meta-number": str(number)})


def _large() -> Iterator[Sample]:
    for number, (key, size) in enumerate(
        LARGE
    ):  # without tags: these stores drop them from uploads in parts
        yield Sample(key, size, _metadata("video/mp4", number))


def _metadata(kind: str, number: int) -> dict[str, str]:
    return {
        "content-type": kind,
        "cache-control": "max-age=3600",
        "content-disposition": f'attachment; filename="{number}"',
        "x-amz-meta-number": str(number),
        "x-amz-meta-origin": "the demo",
    }
