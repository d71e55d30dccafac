"""Estimates how many objects a listing contains, without reading all of it: random walks down a
tree of key ranges.

One page of a range is read, and `ranges.boundary` splits the rest. A range that one page completes
is a leaf. A walk continues in one of the parts that are not complete, and counts for all of them:
its weight is multiplied by their number. Whatever the tree looks like, the expected sum of weights
times keys is the number of keys (Knuth, "Estimating the efficiency of backtrack programs", 1975).
The top of the tree is read completely. Each range at its edge is a stratum with several independent
walks, and their spread gives the error.
"""

import asyncio
import math
import random
from dataclasses import dataclass, field

from dth.objects.listing.pages import Listing, Trail
from dth.objects.listing.ranges import boundary

# Ranges that are walked separately, at least.
STRATA = 24
ROUNDS = 4  # walks in each
# The quantile of Student's t with ROUNDS - 1 degrees of freedom, for 95%.
QUANTILE = 3.18
DEEPEST = 1000  # steps of one walk


class Unsteerable(Exception):
    """The listing ignores where to start, so it can only be read as a whole."""


@dataclass(slots=True, eq=False)
class Piece:
    """A page that was read: the keys in (after, upto]. `upto` "" means to the end."""

    after: str
    upto: str
    count: int
    # The estimated number of pages like this one.
    weight: float = 0.0


@dataclass(slots=True)
class Surveyed:
    """The result of a survey."""

    total: float
    error: float  # half of the 95% interval
    pieces: list[Piece]  # in order
    # Keys on the pages that were read. They certainly exist.
    seen: int


@dataclass(slots=True, eq=False)
class _SurveyRange:
    after: str
    upto: str
    piece: Piece
    last: str  # the last key of its page
    ended: bool  # the page is all of it
    parts: "list[_SurveyRange] | None" = field(default=None)


async def survey(listing: Listing, seed: int) -> Surveyed:
    """Estimate the number of keys. The same seed gives the same walks. Raises Unsteerable, or
    ListingFailed."""
    walker = _Walker(listing)
    root = await walker.read("", "")
    root.piece.weight = 1.0
    edge = [] if root.ended else [root]
    total = float(root.piece.count)
    while edge and len(edge) < STRATA:
        below = [part for parts in await asyncio.gather(*map(walker.parts, edge)) for part in parts]
        for part in below:
            part.piece.weight = 1.0
            total += part.piece.count
        edge = [part for part in below if not part.ended]
    walks: list[list[float]] = [[] for _ in edge]
    for turn in range(ROUNDS if edge else 0):
        going = (
            walker.walk(span, random.Random(f"{seed} {turn} {n}")) for n, span in enumerate(edge)
        )
        for found, result in zip(walks, await asyncio.gather(*going), strict=True):
            found.append(result)
    variance = 0.0
    for found in walks:
        mean = sum(found) / ROUNDS
        total += mean
        variance += sum((each - mean) ** 2 for each in found) / (ROUNDS - 1) / ROUNDS
    pieces = sorted(walker.pieces, key=lambda piece: (piece.after, piece.upto))
    return Surveyed(
        total, QUANTILE * math.sqrt(variance), pieces, sum(piece.count for piece in pieces)
    )


class _Walker:
    def __init__(self, listing: Listing) -> None:
        self.pieces: list[Piece] = []
        self._listing = listing

    async def read(self, after: str, upto: str) -> _SurveyRange:
        page = await self._listing.page(after)
        trail = Trail(self._listing.name)
        while not page.entries and page.token:
            trail.follow(page)
            page = await self._listing.page(after, page.token)
        if page.entries and page.entries[0].key <= after:
            raise Unsteerable
        keys = [entry.key for entry in page.entries if not upto or entry.key <= upto]
        ended = len(keys) < len(page.entries) or not page.token
        last = keys[-1] if keys else after
        piece = Piece(after, upto if ended else last, len(keys))
        self.pieces.append(piece)
        return _SurveyRange(after, upto, piece, last, ended)

    async def parts(self, span: _SurveyRange) -> list[_SurveyRange]:
        """The rest of the range after its page, in two parts, each with its own page read. In one
        part if no key was found to split it at."""
        if span.parts is None:
            key = await boundary(self._listing, span.last, span.upto)
            ends = [(span.last, key), (key, span.upto)] if key else [(span.last, span.upto)]
            span.parts = list(await asyncio.gather(*(self.read(*each) for each in ends)))
        return span.parts

    async def walk(self, span: _SurveyRange, dice: random.Random) -> float:
        """The number of keys after the range's page, as estimated by one walk."""
        weight, found = 1.0, 0.0
        for _ in range(DEEPEST):
            parts = await self.parts(span)
            for part in parts:
                part.piece.weight += weight / ROUNDS
                found += weight * part.piece.count
            going_on = [part for part in parts if not part.ended]
            if not going_on:
                break
            weight *= len(going_on)
            span = dice.choice(going_on)
        return found
