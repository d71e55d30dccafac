"""Reads the logs of a task's processes, one page at a time, from either end: one log, or several
merged in the order of time.

A position in a log is the number of a file and an offset in it (`journal`): it stays valid while
the log grows, and when its files are rotated. A page covers the lines between two positions of each
log; the tokens of the neighbouring pages name these.
"""

import asyncio
import contextlib
import heapq
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from dth.core.errors import NotFound, UsageError
from dth.hub.ports import LogEvent, LogLevel, LogPage, LogStream, level_of
from dth.platforms.local.filesystem import is_at
from dth.platforms.local.journal import LINE_SIZE, OWN, numbered, parse_line, rotated

STREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
FILE = re.compile(rf"({STREAM.pattern})\.log(\.[0-9]+)?")
PLACE = r"[0-9]{1,12}\.[0-9]{1,15}"
TOKEN = re.compile(rf"([fb])/({PLACE})")
NAMED = rf"{STREAM.pattern}:{PLACE}"
# Of several logs: the position in each.
MERGED = re.compile(rf"([fb])/((?:{NAMED}(?:,{NAMED})*)?)")
# Bytes per read; a longer line is shown in pieces.
BLOCK = 64 * 1024
# The most bytes that one page reads: more than a whole log can have with its rotation.
SCANNED = 16 * 1024 * 1024
PAGE_TEXT = 1024 * 1024  # approximate characters per page
MOST_EVENTS = 10_000
# Requests that read several logs at once: each has all their files open.
MERGES = 2


# `json.dumps` creates an encoder for each call with options.
encode = json.JSONEncoder(ensure_ascii=False).encode


class LogPosition(NamedTuple):
    """A position between two lines of a log."""

    file: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the text of a token, which a regular expression has checked."""
        file, _, offset = text.partition(".")
        return cls(int(file), int(offset))

    def __str__(self) -> str:
        return f"{self.file}.{self.offset}"


class _Line(NamedTuple):
    begin: LogPosition
    end: LogPosition
    event: LogEvent


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which events a page shows. 0: no bound; `end` is exclusive."""

    limit: int
    search: str = ""
    start: float = 0.0
    end: float = 0.0
    level: LogLevel | None = None

    def __contains__(self, event: LogEvent) -> bool:
        in_time = self.start <= event.at and (not self.end or event.at < self.end)
        found = not self.search or self.search in event.message.casefold()
        return in_time and found and event.is_at_least(self.level)

    def is_past(self, event: LogEvent, *, forward: bool) -> bool:
        """Whether the walk has left the time that is asked for."""
        return bool(self.end) and event.at >= self.end if forward else event.at < self.start


class LocalLogs:
    """`hub.ports.Logs` over the files of `journal`."""

    def __init__(self, task_directory: Callable[[str], Path]) -> None:
        """`task_directory`: where a task keeps its state."""
        self._task_directory = task_directory
        self._merges = asyncio.Semaphore(MERGES)

    async def streams(self, task: str, prefix: str = "") -> list[LogStream]:
        return await asyncio.to_thread(self._streams, task, prefix)

    async def events(
        self,
        task: str,
        stream: str | None,
        limit: int = 100,
        token: str = "",
        search: str = "",
        start: float = 0.0,
        end: float = 0.0,
        level: LogLevel | None = None,
        prefix: str = "",
    ) -> LogPage:
        """A page may have fewer events than `limit`, or none, although more follow: the amount that
        one call reads is limited. Raises NotFound, and UsageError for an invalid token or limit."""
        if not 1 <= limit <= MOST_EVENTS:
            raise UsageError(f"limit: give 1 to {MOST_EVENTS}")
        wanted = _Wanted(limit, search.casefold(), start, end, level)
        if stream is not None:
            return await asyncio.to_thread(self._events, task, stream, token, wanted)
        async with self._merges:
            return await asyncio.to_thread(self._merged, task, prefix, token, wanted)

    def _names(self, task: str, prefix: str) -> set[str]:
        try:
            files = list(self._directory(task).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return set()
        names = {found[1] for file in files if (found := FILE.fullmatch(file.name))}
        return {name for name in names if name.startswith(prefix)}

    def _streams(self, task: str, prefix: str) -> list[LogStream]:
        streams = []
        for name in self._names(task, prefix):
            with (
                contextlib.suppress(NotFound),
                self._open(task, name) as log,
            ):  # it may be deleted in the meantime
                streams.append(log.describe(name))
        return sorted(streams, key=lambda stream: (-stream.last, stream.name))

    def _events(self, task: str, stream: str, token: str, wanted: _Wanted) -> LogPage:
        direction, place = _parsed(TOKEN, token)
        with self._open(task, stream) as log:
            begin = log.clamp(LogPosition.parse(place)) if place else log.end
            page = _page({stream: log}, {stream: begin}, wanted, forward=direction == "f")
            forward, backward = page.end[stream], page.begin[stream]
            return LogPage(page.events, f"f/{forward}", f"b/{backward}")

    def _merged(self, task: str, prefix: str, token: str, wanted: _Wanted) -> LogPage:
        direction, places = _parsed(MERGED, token)
        known = {
            name: LogPosition.parse(place)
            for name, _, place in (each.partition(":") for each in places.split(",") if each)
        }
        with contextlib.ExitStack() as stack:
            logs: dict[str, _LogFiles] = {}
            for name in sorted(self._names(task, prefix)):
                with contextlib.suppress(NotFound):
                    logs[name] = stack.enter_context(self._open(task, name))
            begin: dict[str, LogPosition] = {}
            for name, log in logs.items():
                # A log that a token does not name has begun since then.
                begin[name] = log.begin if token else log.end
                if name in known:
                    begin[name] = log.clamp(known[name])
            page = _page(logs, begin, wanted, forward=direction == "f")
        return LogPage(page.events, f"f/{_places(page.end)}", f"b/{_places(page.begin)}")

    def _open(self, task: str, stream: str) -> "_LogFiles":
        if not STREAM.fullmatch(stream):
            raise NotFound(f"There is no log stream {stream[:50]!r}")
        return _LogFiles(self._directory(task) / f"{stream}.log", stream)

    def _directory(self, task: str) -> Path:
        return self._task_directory(task) / "logs"


def _parsed(pattern: re.Pattern[str], token: str) -> tuple[str, str]:
    """Direction and positions of a token; without one, back from the end."""
    if not token:
        return "b", ""
    parsed = pattern.fullmatch(token)
    if not parsed:
        raise UsageError(f"nextToken: {token[:50]!r} is not one that a page of this log had")
    return parsed[1], parsed[2]


def _places(places: Mapping[str, LogPosition]) -> str:
    return ",".join(f"{name}:{place}" for name, place in places.items())


class _Page(NamedTuple):
    """Events, and the positions in each log that they are between."""

    events: list[LogEvent]
    begin: dict[str, LogPosition]
    end: dict[str, LogPosition]


def _page(
    logs: Mapping[str, "_LogFiles"],
    places: Mapping[str, LogPosition],
    wanted: _Wanted,
    *,
    forward: bool,
) -> _Page:
    """The lines after, or before, a position in each log, merged by their times."""
    begin, end = dict(places), dict(places)
    events: list[LogEvent] = []
    text = scanned = 0
    walks = (log.after(places[name]) if forward else log.before(places[name])
             for name, log in logs.items())  # fmt: skip
    for line in heapq.merge(*walks, key=lambda line: line.event.at, reverse=not forward):
        if wanted.is_past(line.event, forward=forward):
            break
        name = line.event.stream
        begin[name], end[name] = min(begin[name], line.begin), max(end[name], line.end)
        scanned += line.end.offset - line.begin.offset
        if line.event in wanted:
            events.append(line.event)
            text += len(line.event.message)
        if len(events) == wanted.limit or text > PAGE_TEXT or scanned > SCANNED:
            break
    if not forward:
        events.reverse()
    return _Page(events, begin, end)


class _LogFiles:
    """The files of one stream at one moment: open, so that nothing is lost when they are
    rotated."""

    def __init__(self, path: Path, stream: str) -> None:
        self._stream = stream
        self._stack = contextlib.ExitStack()
        self._files: dict[int, BinaryIO] = {}  # oldest first
        self._sizes: dict[int, int] = {}
        try:
            self._open(path)
        except BaseException:
            self._stack.close()
            raise
        if not self._files:
            raise NotFound(f"There is no log stream {stream!r}")
        self._numbers = list(self._files)
        self.begin = LogPosition(self._numbers[0], 0)
        self.end = LogPosition(self._numbers[-1], self._sizes[self._numbers[-1]])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def clamp(self, place: LogPosition) -> LogPosition:
        """The nearest existing position: files may have been deleted."""
        place = min(max(place, self.begin), self.end)
        if place.file not in self._files:
            return LogPosition(next(number for number in self._numbers if number > place.file), 0)
        return LogPosition(place.file, min(place.offset, self._sizes[place.file]))

    def after(self, place: LogPosition) -> Iterator[_Line]:
        """Lines from a position on, up to `SCANNED` bytes."""
        left = SCANNED
        for number in self._numbers:
            offset = place.offset if number == place.file else 0
            while number >= place.file and left > 0 and offset < self._sizes[number]:
                data = self._read(number, offset, min(offset + BLOCK, self._sizes[number]))
                if offset + len(data) < self._sizes[number]:
                    data = data[: data.rfind(b"\n") + 1] or data
                yield from self._lines(number, offset, data)
                offset += len(data)
                left -= len(data)

    def before(self, place: LogPosition) -> Iterator[_Line]:
        """Lines before a position, the last one first, up to `SCANNED` bytes."""
        left = SCANNED
        for number in reversed(self._numbers):
            offset = place.offset if number == place.file else self._sizes[number]
            while number <= place.file and left > 0 and offset > 0:
                data = self._read(number, max(0, offset - BLOCK), offset)
                if len(data) < offset:  # starts in the middle of a line
                    data = data[data.find(b"\n", 0, -1) + 1 :]
                offset -= len(data)
                left -= len(data)
                yield from reversed(self._lines(number, offset, data))

    def describe(self, name: str) -> LogStream:
        first = next(self.after(self.begin), None)
        last = next(self.before(self.end), None)
        changed = os.fstat(self._files[self.end.file].fileno()).st_mtime
        begun = first.event.at if first else changed
        return LogStream(
            name, begun, begun, last.event.at if last else changed, sum(self._sizes.values())
        )

    def _open(self, path: Path) -> None:
        """Open the older files, then the current one, whose number follows from theirs. If it is
        rotated in between, start over."""
        while True:
            current = self._opened(path)
            try:
                numbers = sorted(rotated(path))
            except (FileNotFoundError, NotADirectoryError):
                return
            if current is None or is_at(current.fileno(), path):
                break
        for number in numbers:
            if older := self._opened(numbered(path, number)):
                self._add(number, older, os.fstat(older.fileno()).st_size)
        if current:
            size = os.fstat(current.fileno()).st_size
            number = numbers[-1] + 1 if numbers else 1
            self._add(number, current, size)
            tail = self._read(number, max(0, size - BLOCK), size)
            # The rest is a line that is still being written.
            if newline := tail.rfind(b"\n") + 1:
                self._sizes[number] = size - len(tail) + newline

    def _opened(self, path: Path) -> BinaryIO | None:
        try:
            return self._stack.enter_context(path.open("rb", buffering=0))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def _add(self, number: int, file: BinaryIO, size: int) -> None:
        self._files[number] = file
        self._sizes[number] = size

    def _read(self, number: int, begin: int, end: int) -> bytes:
        return os.pread(self._files[number].fileno(), end - begin, begin)

    def _lines(self, number: int, offset: int, data: bytes) -> list[_Line]:
        """Parse the bytes at `offset`. Plain text gets the time of the journal line before it."""
        lines = []
        at: float | None = None
        for raw in data.splitlines(keepends=True):
            begin, offset = offset, offset + len(raw)
            text = raw.rstrip()
            entry = parse_line(text)
            if entry:
                at = float(str(entry["at"]))
            elif text:
                at = self._time_before(number, begin) if at is None else at
            else:
                continue
            event = LogEvent(
                at,
                _printable(_told(entry) if entry else text.decode("utf-8", "backslashreplace")),
                self._stream,
                level_of(entry["level"]) if entry else None,
            )
            lines.append(_Line(LogPosition(number, begin), LogPosition(number, offset), event))
        return lines

    def _time_before(self, number: int, offset: int) -> float:
        """When the last journal line before a position was written; without one, when its file
        was."""
        for file, end in ((number, offset), (number - 1, self._sizes.get(number - 1, 0))):
            if file in self._files:
                for raw in reversed(self._read(file, max(0, end - BLOCK), end).splitlines()):
                    if entry := parse_line(raw):
                        return float(str(entry["at"]))
        return os.fstat(self._files[number].fileno()).st_mtime


def _told(entry: dict[str, object]) -> str:
    """A journal line as text for people."""
    rest = (f" {name}={encode(entry[name])}" for name in entry if name not in OWN)
    return f"{str(entry['level']).upper()} {entry['message']}{''.join(rest)}"


def _printable(text: str) -> str:
    """Escape characters that could move a cursor or break a line, or that are invalid."""
    text = text[:LINE_SIZE]
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
