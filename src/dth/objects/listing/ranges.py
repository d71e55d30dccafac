"""Reads the source and the destination side by side, in ranges that split themselves.

Ranges (after, upto] cover the key space. The first range covers everything. A range that turns out
to be long is split while there is capacity, at a boundary that probing finds (`boundary`). The
boundary is always an existing key. So both parts contain something, and nobody has to know how the
keys are distributed.

Nothing is taken on trust. Within a range, every key must be greater than the one before. Where a
range ends, the next key must be the one that the next range begins with. If this holds, and the
store lists in some fixed order of its own, the ranges contain every key exactly once, even if the
order is not by code point. Otherwise the store's listing is read whole, sorted on disk and read
from there, and a note says so.
"""

import asyncio
import secrets
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Sequence
from dataclasses import dataclass
from operator import lt
from pathlib import Path

from dth.core.errors import ListingFailed
from dth.core.ports.runs import Cursor
from dth.objects.compare.merge import Batch, Refusal, Rules, compare
from dth.objects.listing.pages import (
    MAX_KEY_BYTES,
    PAGE_SIZE,
    ListedObject,
    Listing,
    ListPage,
    Trail,
    is_overlong,
    pages,
    shortened,
)
from dth.objects.listing.spool import Spool

PARALLEL = 8  # ranges read at once
LONG = 3  # pages after which a range counts as long
AHEAD = 4  # batches that may wait for the consumer
# Marks the ids of ranges of a source that is read whole. A resumed run has to know.
_WHOLE = "w"
# Marks the ids of ranges that were left to other processes, and of the parts of such ranges.
_GIVEN = "s"


class OutOfOrder(ListingFailed):
    """The source turned out not to be listed in key order, after a part of the comparison was
    already handed out. What was handed out is right, but objects may be missing from it. End this
    run, and begin another one with `whole_source`."""


def given_root(cursor: Cursor) -> str:
    """The id of the range left to others of which this is a part; "" if it is of none."""
    return cursor.id.partition(".")[0] if cursor.id.startswith(_GIVEN) else ""


class _Disorder(Exception):
    """This side cannot be read in ranges."""

    def __init__(self, listing: Listing) -> None:
        super().__init__(listing.name)
        self.listing = listing


@dataclass(slots=True, eq=False)
class _KeyRange:
    id: str
    after: str
    upto: str  # "": no end
    position: str  # everything up to here is decided
    finished: bool = False
    pages: int = 0  # read since the last try to split
    patience: int = LONG  # pages before the next attempt
    splitting: bool = False

    def cursor(self, scope: int) -> Cursor:
        return Cursor(self.id, scope, self.after, self.upto, self.position, self.finished)

    def covers(self, key: str) -> bool:
        """Whether the key is in the part that is not decided yet. Its end does not count."""
        return not self.finished and self.position < key and (not self.upto or key < self.upto)


class Sweep:
    """The comparison of one scope, as an async iterator of batches.

    Commit the batches in the order in which they come, because a split changes two cursors at once.
    Given the cursors of an earlier, interrupted sweep, it resumes there. `complete` is True once
    everything was compared; nothing may be deleted before that. `dest` None: the destination is not
    listed (policy `always`). `sparse`: the source is a selection (a manifest). Then destination
    keys between its keys are skipped, and no destination object is extra. `part`: the id of a range
    that another process left to this one, of which `cursors` has all parts.

    `wanted` says how many ranges other processes would read. It may be set at any time. Batches
    name the ranges that are left to them (`Batch.given`).
    """

    def __init__(
        self,
        source: Listing,
        dest: Listing | None,
        rules: Rules,
        workdir: Path,
        *,
        scope: int = 0,
        cursors: Sequence[Cursor] = (),
        whole_source: bool = False,
        sparse: bool = False,
        parallel: int = PARALLEL,
        part: str = "",
    ) -> None:
        self.wanted = 0
        self.notes: list[str] = []  # for the user, one line each
        self.complete = False
        self._source = source
        self._dest = dest
        self._rules = rules
        self._workdir = workdir
        self._scope = scope
        self._sparse = sparse
        self._parallel = parallel
        self._part = part
        mine = [c for c in cursors if c.scope == scope]
        self._whole = whole_source or not source.ordered or any(_WHOLE in c.id for c in mine)
        self._ranges = [_KeyRange(c.id, c.after, c.upto, c.position, c.finished) for c in mine]
        if not mine:
            self._add_range("", "")
        self._handed_out = bool(mine)
        self._out: deque[Batch] = deque()
        # Set when there is something for the consumer: a batch, or the end of a task.
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._spools: list[Spool] = []

    def _add_range(self, after: str, upto: str) -> _KeyRange:
        name = self._part or (f"{self._scope}{_WHOLE}" if self._whole else f"{self._scope}")
        span = _KeyRange(f"{name}.{len(self._ranges)}", after, upto, after)
        self._ranges.append(span)
        return span

    # ------------------------------------------------------------------------------ the whole of it

    async def __aiter__(self) -> AsyncGenerator[Batch, None]:
        try:
            if self._whole:
                await self._read_whole_source()
            if self._dest is not None and not self._dest.ordered:
                await self._read_whole_dest()
            while True:
                self._start()
                try:
                    async for batch in self._batches():
                        self._handed_out = True
                        yield batch
                    self._note_unseekable()
                    self.complete = True
                    return
                except _Disorder as disorder:
                    await self._cancel()
                    await self._recover(disorder.listing)
        finally:
            await self._cancel()
            for spool in self._spools:
                spool.close()

    def _start(self) -> None:
        self._waiting = deque(r for r in self._ranges if not r.finished)
        for span in self._waiting:
            span.splitting = False
        self._fill()

    def _fill(self) -> None:
        while self._waiting and len(self._tasks) < self._parallel:
            self._spawn(self._walk(self._waiting.popleft()))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._wake.set())

    async def _batches(self) -> AsyncGenerator[Batch, None]:
        while True:
            while self._out:
                batch = self._out.popleft()
                self._room.set()
                yield batch
            for task in [t for t in self._tasks if t.done()]:
                self._tasks.discard(task)
                task.result()  # raises the error of a failed task
            self._fill()
            if not self._tasks:
                if not self._out:
                    return
            elif not self._out:
                self._wake.clear()
                if not any(t.done() for t in self._tasks):
                    await self._wake.wait()

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _recover(self, listing: Listing) -> None:
        """Continue with that side read whole. Ranges of the destination stay as they are: a source
        object that was considered missing is transferred once too often, and a destination object
        that was seen did exist."""
        if self._part:
            raise OutOfOrder(f"{listing.name} does not list its keys in order")
        if listing is self._dest:
            await self._read_whole_dest()
            return
        if self._handed_out:
            raise OutOfOrder(
                f"{listing.name} does not list its keys in order; a new run reads it whole and "
                "sorts it"
            )
        self._out.clear()
        self._whole = True
        self._ranges = []
        self._add_range("", "")
        await self._read_whole_source()

    def _note_unseekable(self) -> None:
        for listing in (self._source, self._dest):
            if listing is not None and not listing.seekable:
                self.notes.append(
                    f"{listing.name} ignores where a listing is to start: it was walked in one "
                    "piece"
                )

    async def _read_whole_source(self) -> None:
        self.notes.append(_note(self._source))
        self._source = await self._spool(self._source)

    async def _read_whole_dest(self) -> None:
        assert self._dest is not None
        self.notes.append(_note(self._dest))
        self._dest = await self._spool(self._dest)

    async def _spool(self, listing: Listing) -> Spool:
        spool = Spool(self._workdir, name=listing.name, prefix=listing.prefix)
        self._spools.append(spool)
        async for page in pages(listing):
            await spool.add(page.entries)
        await spool.sort()
        return spool

    # ------------------------------------------------------------------------------------ one range

    async def _walk(self, span: _KeyRange) -> None:
        source = _Reader(self._source, span.position)
        dest = _Reader(self._dest, span.position) if self._dest is not None else None
        readers = [source] if dest is None else [source, dest]
        try:
            while not span.finished:
                bound, ends = await self._next_cut(span, source, dest)
                upto = span.upto
                for reader in readers if ends else [source]:
                    await reader.check_cut(bound)
                if span.upto != upto:
                    # It was split in the meantime.
                    continue
                pair = source.take(bound), dest.take(bound) if dest is not None else []
                batch = compare(self._rules, *pair)
                batch.refused += (refused := source.take_overlong(bound))
                batch.counts.listed += len(refused)
                if dest is not None:
                    # Objects at the destination with such keys have no source that could be copied.
                    dest.take_overlong(bound)
                if self._sparse:
                    batch.extra, batch.counts.extra = [], 0
                span.position = bound or max((e[-1].key for e in pair if e), default=span.position)
                span.finished = ends
                span.pages += 1
                batch.cursors.append(span.cursor(self._scope))
                self._put(batch)
                if not ends:
                    self._consider_split(span, source, dest)
                    await self._has_room()
        finally:
            for reader in readers:
                await reader.close()

    async def _next_cut(
        self, span: _KeyRange, source: "_Reader", dest: "_Reader | None"
    ) -> tuple[str, bool]:
        """How far the range can be decided with the keys that both sides hold ("": to the end of
        everything), and whether that is its end.

        The cut is a source key if there is one. Then no proof is needed that a walk that begins
        there misses no source object.
        """
        while True:
            readers = [source] if dest is None else [source, dest]
            for reader in readers:
                await reader.fill()
            if self._sparse and dest is not None:
                await dest.skip_to(source.keys[0] if source.keys else None)
            known = min((r.keys[-1] for r in readers if not r.ended), default="")
            if not known or (span.upto and known >= span.upto):
                return span.upto, True
            key = source.last_key(known)
            if key or dest is None:
                return key, False
            if len(dest.keys) >= PAGE_SIZE or not await dest.more():
                return known, False

    def _put(self, batch: Batch) -> None:
        self._out.append(batch)
        self._wake.set()

    async def _has_room(self) -> None:
        while len(self._out) >= AHEAD:
            self._room.clear()
            await self._room.wait()

    # ------------------------------------------------------------------------------------ splitting

    def _consider_split(self, span: _KeyRange, source: "_Reader", dest: "_Reader | None") -> None:
        idle = not self._waiting and len(self._tasks) < self._parallel
        steerable = all(s.seekable for s in (self._source, self._dest) if s is not None)
        useful = (idle or self.wanted) and steerable
        if useful and not span.splitting and span.pages >= span.patience:
            span.splitting = True
            longer = source if dest is None or source.pages >= dest.pages else dest
            self._spawn(self._split(span, longer.listing, give=not idle))

    async def _split(self, span: _KeyRange, listing: Listing, *, give: bool) -> None:
        try:
            key = await boundary(listing, span.position, span.upto)
        except ListingFailed:
            # If the error persists, the walk itself meets it too.
            key = ""
        span.splitting = False
        span.pages = 0
        if not key or not span.covers(key):
            span.patience *= 2
            return
        span.patience = LONG
        if give and self.wanted:
            self.wanted -= 1
            rest = _KeyRange(f"{_GIVEN}{secrets.token_hex(6)}", key, span.upto, key)
            given = [rest.cursor(self._scope)]
        else:
            rest, given = self._add_range(key, span.upto), []
            self._waiting.append(rest)
        span.upto = key
        self._put(Batch(cursors=[span.cursor(self._scope), rest.cursor(self._scope)], given=given))


def _note(listing: Listing) -> str:
    return (
        f"{listing.name} does not list its keys in order: its listing was read whole and sorted "
        "on disk"
    )


class _Reader:
    """One side of one range: its keys in order, one page read ahead."""

    def __init__(self, listing: Listing, after: str) -> None:
        self.listing = listing
        self.ended = False  # nothing follows what is held
        self.keys: list[str] = []  # of the entries held
        self.pages = 0
        self.skipped = False
        self._entries: list[ListedObject] = []
        # Objects whose keys are too long, each with the beginning of its key that determines its
        # place.
        self._overlong: list[tuple[str, Refusal]] = []
        self._trail = Trail(listing.name)
        self._after = after
        self._last = ""  # the last key read
        self._taken = after  # the last key taken
        self._next: asyncio.Task[ListPage] | None = asyncio.create_task(listing.page(after))

    async def fill(self) -> None:
        """Hold at least one entry, unless none are left."""
        while not self.keys and not self.ended:
            self.ended = not await self.more()

    async def more(self) -> bool:
        """Read another page in addition to what is held. Returns False if there is none."""
        if self._next is None:
            return False
        page = await self._next
        if page.token:
            self._trail.follow(page)
        self._next = (
            asyncio.create_task(self.listing.page(self._after, page.token)) if page.token else None
        )
        if page.entries and page.entries[0].key <= self._after and self.listing.seekable:
            # If this is the very first key, the store ignores where to start, so the keys before
            # have to be read and dropped. If not, its order is not by code point.
            if await self._first("") != page.entries[0].key:
                raise _Disorder(self.listing)
            self.listing.seekable = False
        self._hold(page.entries)
        self.pages += 1
        return True

    def _hold(self, entries: list[ListedObject]) -> None:
        if not entries:
            return
        keys = [entry[0] for entry in entries]
        if len(max(keys, key=len)) > MAX_KEY_BYTES // 4:
            entries = self._set_aside(entries)
            keys = [entry[0] for entry in entries]
            if not keys:
                return
        if not all(map(lt, keys, keys[1:])):
            entries, keys = self._without_repeats(entries)
        if keys[0] <= self._last:
            if keys[0] < self._last:
                raise _Disorder(self.listing)
            # The first key is repeated across a page break.
            entries, keys = entries[1:], keys[1:]
        self._last = keys[-1] if keys else self._last
        # More than 0 only if the store ignores where to start.
        cut = bisect_right(keys, self._after)
        entries, keys = entries[cut:], keys[cut:]
        self._entries += entries
        self.keys += keys

    def _set_aside(self, entries: list[ListedObject]) -> list[ListedObject]:
        """Set objects apart whose keys are too long, with only the beginning of each key. Returns
        the others."""
        for entry in entries:
            if is_overlong(entry.key) and entry.key > self._after:
                name = shortened(entry.key)
                detail = (
                    f"The key {name!r} is longer than the {MAX_KEY_BYTES} bytes that a key may have"
                )
                refusal = Refusal(ListedObject(name, 0), "KeyRefused", detail)
                place = entry.key[: MAX_KEY_BYTES + 1]
                if (place, refusal) not in self._overlong[-1:]:
                    self._overlong.append((place, refusal))
        return [entry for entry in entries if not is_overlong(entry.key)]

    def take_overlong(self, bound: str) -> list[Refusal]:
        """The objects up to `bound` whose keys are too long ("": all of them)."""
        taken = [refusal for place, refusal in self._overlong if not bound or place <= bound]
        if taken:
            self._overlong = [each for each in self._overlong if bound and each[0] > bound]
        return taken

    def _without_repeats(self, entries: list[ListedObject]) -> tuple[list[ListedObject], list[str]]:
        unique = {entry.key: entry for entry in entries}
        keys = list(unique)
        if not all(map(lt, keys, keys[1:])):
            raise _Disorder(self.listing)
        return list(unique.values()), keys

    def last_key(self, bound: str) -> str:
        """The greatest key held that is not above `bound`, or ""."""
        count = bisect_right(self.keys, bound)
        return self.keys[count - 1] if count else ""

    def take(self, bound: str) -> list[ListedObject]:
        """Take the entries held up to and including `bound` ("": all of them)."""
        count = bisect_right(self.keys, bound) if bound else len(self.keys)
        taken = self._entries[:count]
        if count:
            self._taken = self.keys[count - 1]
            self._entries, self.keys = self._entries[count:], self.keys[count:]
        return taken

    async def skip_to(self, key: str | None) -> None:
        """Skip the keys before `key` (None: all keys) if they are more than what is held."""
        if self.ended or (key is not None and (self.keys[-1] >= key or not self.listing.seekable)):
            return
        await self.close()
        self._entries, self.keys, self._next = [], [], None
        self.skipped = True
        if key is not None:
            self._after = _before(key) if len(key) > len(self.listing.prefix) else ""
            self._next = asyncio.create_task(self.listing.page(self._after))
        await self.fill()

    async def check_cut(self, at: str) -> None:
        """Check that a walk that begins at `at` continues exactly where this one, cut off there,
        ends.

        Having seen exactly the key `at` is proof enough. Otherwise the store has to return the same
        next key from the last key before the cut and from `at`. It may answer differently because
        objects appear and disappear in the meantime, so it is asked again.
        """
        if not at:
            return
        count = bisect_right(self.keys, at)
        within = self.keys[count - 1] if count else self._taken
        following = self.keys[count] if count < len(self.keys) else ""
        if within == at or not following or self.skipped or not self.listing.seekable:
            return
        for _ in range(3):
            beyond = await self._first(at)
            if beyond == following:
                return
            following = await self._first(within)
            if following == beyond or (following and following <= at):
                return
        raise _Disorder(self.listing)

    async def _first(self, after: str) -> str:
        trail = Trail(self.listing.name)
        page = await self.listing.page(after, limit=1)
        while page.token and not (page.entries and not is_overlong(page.entries[0].key)):
            trail.follow(page)
            page = await self.listing.page(after, page.token, limit=1)
        keys = [entry.key for entry in page.entries if not is_overlong(entry.key)]
        return keys[0] if keys else ""

    async def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)


# --------------------------------------------------------------------------------------- boundaries


async def boundary(listing: Listing, low: str, high: str) -> str:
    """An existing key that divides (low, high] about in half, as far as a dozen probes of one key
    each can tell, with something on both sides; "" if there is none, or none was found. `low` is a
    key that was read; `high` "" means no end.

    Find the shortest prefix of `low` after which other keys follow, by bisecting its length: the
    keys vary from there on. At that position bisect the characters from above, so the first hit is
    in the middle of the characters in use.
    """
    shared = _common(low, high) if high else len(listing.prefix)
    probe = _RangeProbe(listing, high)
    level, best = len(low), ""
    shortest, longest = min(shared, len(low)), len(low)
    while shortest <= longest:
        middle = (shortest + longest) // 2
        found = await probe.beyond(
            low[: middle + 1] if middle == len(low) else _successor(low, middle)
        )
        if found:
            level, best, longest = middle, found, middle - 1
        else:
            shortest = middle + 1
    if not best:
        return ""
    stem = low[:level]
    floor = ord(low[level]) if level < len(low) else 0
    if high.startswith(stem) and level == shared and len(high) > level:
        ceiling = ord(high[level]) + 1
    elif floor >= 0x7F:
        ceiling = 0x110000
    elif found := await probe.beyond(stem + "\x7f"):
        best, floor, ceiling = found, 0x7F, 0x110000
    else:
        # Nearly always: there is only ASCII.
        ceiling = 0x7F
    while ceiling - floor > 1:
        middle = (floor + ceiling) // 2
        if found := await probe.beyond(stem + _character(middle)):
            return found
        ceiling = middle
    return best


class _RangeProbe:
    def __init__(self, listing: Listing, high: str) -> None:
        self._listing = listing
        self._high = high

    async def beyond(self, start: str) -> str:
        """The first key above `start` if it is in the range and another key follows in the range;
        else ""."""
        page = await self._listing.page(start, limit=2)
        keys = [
            e.key
            for e in page.entries
            if (not self._high or e.key <= self._high) and not is_overlong(e.key)
        ]
        return keys[0] if len(keys) > 1 and start < keys[0] < keys[1] else ""


def _successor(key: str, at: int) -> str:
    """A text above (nearly) everything that begins with key[:at + 1]."""
    return key[:at] + _character(ord(key[at]) + 1)


def _before(key: str) -> str:
    """A text below `key` with (nearly) nothing between them."""
    code = ord(key[-1])
    if code == 0:
        return key[:-1]
    return key[:-1] + chr(0xD7FF if 0xD800 <= code - 1 <= 0xDFFF else code - 1) + "\U0010ffff"


def _character(code: int) -> str:
    """The character with this code, or the next one that UTF-8 can encode."""
    return chr(0xE000 if 0xD800 <= code <= 0xDFFF else min(code, 0x10FFFF))


def _common(one: str, other: str) -> int:
    """The length of the common beginning of both."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
