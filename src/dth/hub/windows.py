"""When data may move, and how fast: transfer windows and bandwidth timetables.

Everything is computed from a text and a time (seconds since the epoch); this module reads no clock.

Transfer windows and bandwidth timetables are comma-separated entries such as `Mon-Fri 20:00-06:00`:
days (every day if there are none), then start and end time. An entry that ends before it begins
crosses midnight, and belongs to the day on which it begins. Entries follow the wall clock of the
time zone at the end of the text (the task's if there is none): times that the clock skips do not
occur, and times that it repeats occur twice.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Self

from dth.core.errors import UsageError
from dth.core.parameters import parse_size
from dth.hub.time_zones import parse_zone

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MIDNIGHT = 24 * 60  # minutes
MAX_ENTRIES = 50
# Seconds. A weekly timetable has shown all of its changes by then, even if clocks skip some of
# them.
HORIZON = 15 * 86400

_ENTRY = re.compile(
    (
        r"(?:(?P<first>[a-z]+)(?:-(?P<last>[a-z]+))? "
        r"+)?(?P<start>[0-9:]+)-(?P<end>[0-9:]+)(?P<rest>(?: .*)?)"
    ),
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class WeekHours:
    """Some days (0: Monday), with start and end in minutes of the day. The end is exclusive."""

    days: frozenset[int]
    start: int
    end: int  # at most `start`: on the next day
    # Of a timetable, in bytes per second. None: unlimited.
    cap: int | None = None

    def covers(self, wall: datetime) -> bool:
        """Whether a local time is within the hours. Hours that end after midnight belong to the day
        on which they begin."""
        minute, today = wall.hour * 60 + wall.minute, wall.weekday()
        if self.start < self.end:
            return today in self.days and self.start <= minute < self.end
        yesterday = (today - 1) % 7
        return (today in self.days and minute >= self.start) or (
            yesterday in self.days and minute < self.end
        )


@dataclass(frozen=True, slots=True)
class _Weekly(ABC):
    entries: tuple[WeekHours, ...] = ()
    zone: tzinfo = UTC

    def next_change(self, moment: float) -> float | None:
        """The first time after `moment` at which a different value applies; None if it never
        changes."""
        now, end = self._holds(moment), moment + HORIZON
        while moment < end:
            moment = self._next_edge(moment)
            if self._holds(moment) != now:
                return moment
        return None

    @abstractmethod
    def _holds(self, moment: float) -> Hashable: ...

    def _entry(self, moment: float) -> WeekHours | None:
        wall = self._wall(moment)
        return next((entry for entry in self.entries if entry.covers(wall)), None)

    def _wall(self, moment: float) -> datetime:
        return datetime.fromtimestamp(moment, self.zone)

    def _next_edge(self, moment: float) -> float:
        """When the wall clock next reaches a boundary of an entry or midnight, or is set. Nothing
        changes before."""
        wall = self._wall(moment)
        minute = wall.hour * 60 + wall.minute
        times = (MIDNIGHT, *(time for entry in self.entries for time in (entry.start, entry.end)))
        here = moment // 60 * 60
        there = here + 60 * (min(time for time in times if time > minute) - minute)
        while there - here > 60 and self._wall(there).utcoffset() != wall.utcoffset():
            middle = here + (there - here) // 120 * 60
            if self._wall(middle).utcoffset() == wall.utcoffset():
                here = middle
            else:
                there = middle
        return there


@dataclass(frozen=True, slots=True)
class Window(_Weekly):
    """When data may move. Without entries: always."""

    @classmethod
    def parse(cls, text: str, zone: tzinfo = UTC) -> Self:
        """`Mon-Fri 20:00-06:00, Sat-Sun 00:00-24:00 Europe/Berlin`, or an empty text. `zone`:
        where the text names none. Raises UsageError."""
        return cls(*_parse_entries("transferWindow", text, zone, caps=False))

    def is_open(self, moment: float) -> bool:
        """Whether data may move at this time, in epoch seconds. Without entries it always may."""
        return not self.entries or self._entry(moment) is not None

    def _holds(self, moment: float) -> bool:
        return self.is_open(moment)


@dataclass(frozen=True, slots=True)
class Timetable(_Weekly):
    """Bandwidth limits by time. The first entry that covers a moment applies."""

    @classmethod
    def parse(cls, text: str, zone: tzinfo = UTC) -> Self:
        """`Mon-Fri 08:00-18:00 10M, 18:00-08:00 unlimited Asia/Tokyo`, or an empty text. Bytes per
        second, binary units. `zone`: where the text names none. Raises UsageError."""
        return cls(*_parse_entries("bandwidthTimetable", text, zone, caps=True))

    def cap_at(self, moment: float, otherwise: int | None = None) -> int | None:
        """Bytes per second; None for unlimited. `otherwise` (the task's own limit) applies where no
        entry does."""
        entry = self._entry(moment)
        return entry.cap if entry else otherwise

    def _holds(self, moment: float) -> tuple[bool, int | None]:
        entry = self._entry(moment)
        return (True, entry.cap) if entry else (False, None)


def _parse_entries(
    parameter: str, text: str, zone: tzinfo, *, caps: bool
) -> tuple[tuple[WeekHours, ...], tzinfo]:
    if not text.strip():
        return (), UTC
    texts = text.split(",")
    if len(texts) > MAX_ENTRIES:
        raise UsageError(
            f"{parameter}: {len(texts)} entries are too many; {MAX_ENTRIES} are the most"
        )
    entries = []
    for number, each in enumerate(texts, 1):
        entry, left = _parse_entry(parameter, each, caps=caps)
        entries.append(entry)
        if left and number < len(texts):
            raise UsageError(
                f"{parameter}: {left!r} in {each.strip()!r} cannot be; a time zone ends the text"
            )
        if left:
            zone = parse_zone(parameter, left)
    return tuple(entries), zone


def _parse_entry(parameter: str, text: str, *, caps: bool) -> tuple[WeekHours, str]:
    """Returns the entry, and the rest of the text."""
    example = "Mon-Fri 08:00-18:00 10M" if caps else "Mon-Fri 20:00-06:00"
    found = _ENTRY.fullmatch(" ".join(text.split()))
    if not found:
        raise UsageError(
            f"{parameter}: {text.strip()!r} cannot be read; write days and times such as {example}"
        )
    start, end = (_parse_time(parameter, found[name]) for name in ("start", "end"))
    if start in (end, MIDNIGHT):
        raise UsageError(
            f"{parameter}: {found['start']}-{found['end']} cannot be; the whole day is 00:00-24:00"
        )
    left, cap = found["rest"].strip(), None
    if caps:
        word, _, left = left.partition(" ")
        cap = _parse_cap(parameter, word)
    return WeekHours(_parse_days(parameter, found["first"], found["last"]), start, end, cap), left


def _parse_days(parameter: str, first: str | None, last: str | None) -> frozenset[int]:
    if first is None:
        return frozenset(range(7))
    for day in (first, last or first):
        if day.lower() not in WEEKDAYS:
            raise UsageError(
                f"{parameter}: {day!r} is not a day; write Mon, Tue, Wed, Thu, Fri, Sat or Sun"
            )
    begin, end = WEEKDAYS.index(first.lower()), WEEKDAYS.index((last or first).lower())
    return frozenset((begin + n) % 7 for n in range((end - begin) % 7 + 1))


def _parse_time(parameter: str, text: str) -> int:
    found = re.fullmatch("([0-9]{1,2}):([0-5][0-9])", text)
    minute = int(found[1]) * 60 + int(found[2]) if found else -1
    if not 0 <= minute <= MIDNIGHT:
        raise UsageError(f"{parameter}: {text!r} is not a time of day; write 00:00 to 24:00")
    return minute


def _parse_cap(parameter: str, text: str) -> int | None:
    if text.lower() == "unlimited":
        return None
    try:
        cap = int(parse_size(text))
    except ValueError:
        cap = 0
    if not 0 < cap < 2**63:
        raise UsageError(
            f"{parameter}: {text!r} is not a cap; write bytes per second such as 10M, or unlimited"
        )
    return cap
