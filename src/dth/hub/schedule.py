"""When runs begin: by cron expression or rate.

Everything is computed from a text and a time (seconds since the epoch); this module reads no clock.

Cron expressions are those of Amazon EventBridge: six fields, one of the two day fields `?`. They
follow the wall clock of the task's time zone by the rules of EventBridge Scheduler: a run at a time
that the clock skips does not occur, and at a time that the clock repeats it occurs once, the first
time.

| field | values | also |
|---|---|---|
| minutes | 0-59 | |
| hours | 0-23 | |
| day-of-month | 1-31 | `L` the last, `15W` the working day next to the 15th, `LW` the last one |
| month | 1-12, JAN-DEC | |
| day-of-week | 1-7, SUN-SAT | `L` Saturday, `6L` the last Friday of the month, `6#3` the third |
| year | 1970-2199 | |

All fields take `*`, lists (`1,15`), ranges (`1-5`) and steps (`1-30/5`, `*/5`; `5/10` continues to
the end). A range may wrap around the end of its field (`FRI-MON`), and a step may exceed it (`0/60`
is 0). Working days are Monday to Friday, searched in the same month; a month that does not have the
day is skipped.
"""

import re
from abc import ABC, abstractmethod
from calendar import monthrange
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import ClassVar, NoReturn

from dth.core.errors import UsageError
from dth.hub.time_zones import TIME_ZONE, read_zone

SCHEDULES = ("scheduleRate", "ec2CronExpression")  # parameters of tasks
UNITS = {"minute": 60, "hour": 3600, "day": 86400}  # seconds
MOST = 999_999  # of a rate's units
CRON_FIELDS = "minutes hours day-of-month month day-of-week year"


@dataclass(frozen=True, slots=True)
class Schedule(ABC):
    """When runs begin."""

    @staticmethod
    def parse(text: str, zone: tzinfo = UTC) -> "Schedule":
        """`0 20 ? * MON-FRI *`, `cron(...)`, `5 minutes` or `rate(...)`. A cron expression follows
        the clock of `zone`. Raises UsageError."""
        wrapped = re.fullmatch(r"(cron|rate)\s*\((.*)\)", text.strip(), re.IGNORECASE | re.DOTALL)
        kind, inner = (wrapped[1].lower(), wrapped[2]) if wrapped else ("", text)
        words = inner.split()
        if kind == "rate" or (not kind and len(words) == 2):
            return _parse_rate(words)
        if len(words) != 6:
            raise UsageError(
                f"schedule: {text!r} has {len(words)} fields; write the six of a cron "
                f"expression ({CRON_FIELDS}), or a rate such as 5 minutes"
            )
        return _parse_cron([word.upper() for word in words], zone)

    # The parameter of tasks that takes `text`.
    parameter: ClassVar[str]

    @property
    @abstractmethod
    def text(self) -> str:
        """The one way in which EventBridge takes it: what stands between the parentheses."""

    @abstractmethod
    def next_after(self, moment: float, anchor: float = 0.0) -> float | None:
        """The first time after `moment` at which a run begins; None if there is none. A rate counts
        from `anchor`, the time at which its task was created."""
        ...


@dataclass(frozen=True, slots=True)
class FixedRate(Schedule):
    """Repeats at a fixed interval."""

    count: int
    unit: str
    parameter: ClassVar[str] = "scheduleRate"

    @property
    def text(self) -> str:
        """The rate as EventBridge writes it, such as `5 minutes`."""
        return f"{self.count} {self.unit}{'' if self.count == 1 else 's'}"

    @property
    def seconds(self) -> float:
        """Seconds from the beginning of one run to that of the next."""
        return self.count * UNITS[self.unit]

    def next_after(self, moment: float, anchor: float = 0.0) -> float:
        """When the next run begins, in epoch seconds: later than `moment`, and a multiple of the
        rate after `anchor`."""
        every = self.seconds
        after = anchor + ((moment - anchor) // every + 1) * every
        return after if after > moment else after + every  # makes up for rounding


@dataclass(frozen=True, slots=True)
class Cron(Schedule):
    """Every minute of the zone's clock that matches all fields."""

    parameter: ClassVar[str] = "ec2CronExpression"
    fields: str
    minutes: tuple[int, ...]  # each in ascending order
    hours: tuple[int, ...]
    days: "Days" = field(compare=False, repr=False)
    months: tuple[int, ...]
    years: tuple[int, ...]
    zone: tzinfo = UTC

    @property
    def text(self) -> str:
        """The six fields."""
        return self.fields

    def next_after(self, moment: float, anchor: float = 0.0) -> float | None:
        """When the next run begins, in epoch seconds: later than `moment`; None if never. `anchor`
        has no effect."""
        if moment >= LAST_MOMENT:
            return None
        start = datetime.fromtimestamp(max(moment, FIRST_MOMENT), self.zone)
        first = (start.year, start.month, start.day, start.hour, start.minute)
        # In the order of the clock. A local time that it repeats counts once: the first.
        moments = (
            at
            for year in self.years
            if year >= first[0]
            for month in self.months
            if (year, month) >= first[:2]
            for day in self.days(year, month)
            if (year, month, day) >= first[:3]
            for hour in self.hours
            if (year, month, day, hour) >= first[:4]
            for minute in self.minutes
            if (year, month, day, hour, minute) >= first
            if (at := _moment(datetime(year, month, day, hour, minute, tzinfo=self.zone)))
            is not None
            and at > moment
        )
        return next(moments, None)


def _moment(wall: datetime) -> float | None:
    """When the clock of its zone first shows this time; None if it skips it."""
    at = wall.timestamp()
    # Times of one zone are compared as the clock shows them.
    return at if datetime.fromtimestamp(at, wall.tzinfo) == wall else None


def read_schedule(rate: str, cron: str, zone: str = "") -> Schedule | None:
    """The schedule of a task with these parameters, of which the rate is the first. Raises
    UsageError."""
    text = rate or cron
    return Schedule.parse(text, read_zone(zone)) if text else None


def normalised(parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters with their schedule written as EventBridge takes it, in the parameter that
    takes it. Raises UsageError."""
    rate, cron = (parameters.get(name, "") for name in SCHEDULES)
    schedule = read_schedule(rate, cron, parameters.get(TIME_ZONE, ""))
    if schedule is None:
        return dict(parameters)
    written = SCHEDULES[0] if rate else SCHEDULES[1]
    return {
        **{name: value for name, value in parameters.items() if name != written},
        schedule.parameter: schedule.text,
    }


def describe(schedule: Schedule) -> str:
    """A schedule in a few words; a cron expression unchanged."""
    match schedule:
        case FixedRate(count=1, unit=unit):
            return f"every {unit}"
        case FixedRate(count=count, unit=unit):
            return f"every {count} {unit}s"
        case Cron():
            return schedule.text
    raise AssertionError(schedule)


def _parse_rate(words: list[str]) -> FixedRate:
    shown = " ".join(words)
    found = re.fullmatch(r"([0-9]{1,6}) (minute|hour|day)s?", shown, re.IGNORECASE)
    if not found or not int(found[1]):
        raise UsageError(
            f"schedule: {shown!r} is not a rate; write a number from 1 to {MOST} and minutes, "
            "hours or days"
        )
    return FixedRate(int(found[1]), found[2].lower())


# --------------------------------------------------------------------------------------------- cron

# The days of a month of a year, in ascending order.
Days = Callable[[int, int], Iterable[int]]

# Before 1970 begins, and after 2199 ends, wherever that is.
FIRST_MOMENT = datetime(1969, 12, 30, tzinfo=UTC).timestamp()
LAST_MOMENT = datetime(2200, 1, 2, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    also: str
    names: tuple[str, ...] = ()  # names of its values, from `low`

    def refuse(self, text: str) -> NoReturn:
        names = f" or {self.names[0]}-{self.names[-1]}" if self.names else ""
        raise UsageError(
            f"cron expression: {self.name} cannot be {text!r}; "
            f"it takes {self.low}-{self.high}{names}, with {self.also}"
        )

    def value(self, text: str, part: str) -> int:
        """One value. `part` is the text around it, for the error message."""
        if text in self.names:
            return self.names.index(text) + self.low
        if not re.fullmatch("[0-9]{1,4}", text) or not self.low <= int(text) <= self.high:
            self.refuse(part)
        return int(text)

    def values(self, text: str) -> set[int]:
        """`*`, `5` or `1-5`, each also with a step as in `1-5/2`; `5/2` continues to the end of the
        field."""
        base, stepped, step = text.partition("/")
        first, ranged, last = base.partition("-")
        start = self.low if base == "*" else self.value(first, text)
        end = self.value(last, text) if ranged else self.high if stepped or base == "*" else start
        if stepped and not re.fullmatch("0*[1-9][0-9]{0,3}", step):
            self.refuse(text)
        span = self.high - self.low + 1
        if end < start:
            if self is YEAR:
                self.refuse(text)
            end += span
        return {(n - self.low) % span + self.low for n in range(start, end + 1, int(step or 1))}

    def list(self, text: str) -> tuple[int, ...]:
        return tuple(sorted(set().union(*map(self.values, text.split(",")))))


MINUTES = _Field("minutes", 0, 59, ", - * /")
HOURS = _Field("hours", 0, 23, ", - * /")
DAY_OF_MONTH = _Field("day-of-month", 1, 31, ", - * / ? L W")
MONTH = _Field(
    "month",
    1,
    12,
    ", - * /",
    ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"),
)
DAY_OF_WEEK = _Field(
    "day-of-week", 1, 7, ", - * / ? L #", ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
)
YEAR = _Field("year", 1970, 2199, ", - * /")


def _parse_cron(fields: list[str], zone: tzinfo) -> Cron:
    minutes, hours, of_month, months, of_week, years = fields
    if (of_month == "?") == (of_week == "?"):
        raise UsageError(
            f"cron expression: day-of-month is {of_month!r} and day-of-week {of_week!r}; "
            "exactly one must be '?'"
        )
    cron = Cron(
        fields=" ".join(fields),
        minutes=MINUTES.list(minutes),
        hours=HOURS.list(hours),
        days=_days_of_week(of_week) if of_month == "?" else _days_of_month(of_month),
        months=MONTH.list(months),
        years=YEAR.list(years),
        zone=zone,
    )
    if cron.next_after(FIRST_MOMENT) is None:
        raise UsageError(
            f"cron expression: {cron.text!r} never runs: none of its months has such a day, or the "
            f"clock of {zone} skips its time"
        )
    return cron


def _days_of_month(text: str) -> Days:
    rules = [_day_of_month(part) for part in text.split(",")]

    def days(year: int, month: int) -> list[int]:
        last = monthrange(year, month)[1]
        return sorted({day for rule in rules for day in rule(year, month) if day <= last})

    return days


def _day_of_month(part: str) -> Days:
    if part == "L":
        return lambda year, month: [monthrange(year, month)[1]]
    if part == "LW":
        return lambda year, month: [_working_day(year, month, monthrange(year, month)[1])]
    if part.endswith("W"):
        day = DAY_OF_MONTH.value(part[:-1], part)
        return lambda year, month: [_working_day(year, month, day)]
    days = DAY_OF_MONTH.values(part)
    return lambda year, month: days


def _working_day(year: int, month: int, day: int) -> int:
    """The nearest day from Monday to Friday in the same month. A day that the month does not have
    is returned unchanged."""
    first, last = monthrange(year, month)
    if day > last:
        return day
    match (first + day - 1) % 7:
        case 5:
            return day - 1 if day > 1 else day + 2
        case 6:
            return day + 1 if day < last else day - 2
    return day


def _days_of_week(text: str) -> Days:
    if "#" in text:
        name, _, which = text.partition("#")
        if which not in ("1", "2", "3", "4", "5"):
            # Lists as well: EventBridge takes only one such day, alone.
            DAY_OF_WEEK.refuse(text)
        nth, only = int(which), {DAY_OF_WEEK.value(name, text)}
        return lambda year, month: _on(only, year, month)[nth - 1 : nth]
    rules = [_day_of_week(part) for part in text.split(",")]
    return lambda year, month: sorted({day for rule in rules for day in rule(year, month)})


def _day_of_week(part: str) -> Days:
    if len(part) > 1 and part.endswith("L"):
        last = {DAY_OF_WEEK.value(part[:-1], part)}
        return lambda year, month: _on(last, year, month)[-1:]
    weekdays = {7} if part == "L" else DAY_OF_WEEK.values(part)
    return lambda year, month: _on(weekdays, year, month)


def _on(weekdays: set[int], year: int, month: int) -> list[int]:
    """The days of a month that fall on these days of the week (1: Sunday)."""
    first, last = monthrange(year, month)  # 0: Monday
    return [day for day in range(1, last + 1) if (first + day) % 7 + 1 in weekdays]
