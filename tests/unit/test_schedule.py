"""Schedules name the moments that their text says and no others; windows and timetables follow the
wall clock."""

import calendar
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dth.core.errors import UsageError
from dth.hub import time_zones
from dth.hub.schedule import (
    Cron,
    FixedRate,
    Schedule,
    describe,
    normalised,
    read_schedule,
)
from dth.hub.time_zones import read_zone
from dth.hub.windows import Timetable, Window

WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
MOMENTS = st.floats(0, datetime(2198, 1, 1, tzinfo=UTC).timestamp())


def at(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def refusal(parse: Callable[[str], object], text: str) -> str:
    """Why it cannot be; "" when it can."""
    try:
        parse(text)
    except UsageError as error:
        return str(error)
    return ""


def after(schedule: str, moment: str) -> str:
    found = Schedule.parse(schedule).next_after(at(moment))
    return (
        datetime.fromtimestamp(found, UTC).strftime("%Y-%m-%d %H:%M:%S")
        if found is not None
        else "never"
    )


# --------------------------------------------------------------------------------------------- cron


@pytest.mark.parametrize(
    ("expression", "moment", "expected"),
    [
        ("0/60 * * * ? *", "2026-01-01T10:00", "2026-01-01 11:00:00"),
        ("cron(0/60 * * * ? *)", "2026-01-01T10:59:59.9", "2026-01-01 11:00:00"),
        (" CRON( 0 12 * * ? * ) ", "2026-01-01T12:00", "2026-01-02 12:00:00"),
        ("* * * * ? *", "2026-12-31T23:59:00", "2027-01-01 00:00:00"),
        ("0 0 29 2 ? *", "2096-02-29T00:00", "2104-02-29 00:00:00"),  # 2100 is not a leap year
        ("0 0 L 2 ? *", "2027-03-01T00:00", "2028-02-29 00:00:00"),
        ("0 0 31 * ? *", "2026-01-31T00:00", "2026-03-31 00:00:00"),
        ("0 0 LW * ? *", "2026-01-01T00:00", "2026-01-30 00:00:00"),  # the 31st is a Saturday
        ("0 0 LW 5 ? *", "2026-01-01T00:00", "2026-05-29 00:00:00"),  # the 31st is a Sunday
        ("0 0 15W * ? *", "2026-02-01T00:00", "2026-02-16 00:00:00"),  # a Sunday
        ("0 0 15W 8 ? *", "2026-02-01T00:00", "2026-08-14 00:00:00"),  # a Saturday
        ("0 0 1W 8 ? *", "2026-02-01T00:00", "2026-08-03 00:00:00"),  # a Saturday: not in July
        ("0 0 31W 5 ? *", "2026-02-01T00:00", "2026-05-29 00:00:00"),  # a Sunday: not in June
        ("0 0 31W 4-5 ? *", "2026-02-01T00:00", "2026-05-29 00:00:00"),  # April has no 31st
        ("0 0 ? * 6L *", "2026-01-01T00:00", "2026-01-30 00:00:00"),
        ("0 0 ? * FRIL *", "2026-01-31T00:00", "2026-02-27 00:00:00"),
        ("0 0 ? * L *", "2026-01-01T00:00", "2026-01-03 00:00:00"),  # Saturday
        ("0 0 ? * 3#2 *", "2026-01-01T00:00", "2026-01-13 00:00:00"),
        ("0 0 ? * tue#5 *", "2026-01-01T00:00", "2026-03-31 00:00:00"),
        ("0 0 ? * FRI-MON *", "2026-01-05T00:00", "2026-01-09 00:00:00"),
        ("0 22-2/2 * * ? *", "2026-01-01T00:00", "2026-01-01 02:00:00"),
        ("0 22-2/2 * * ? *", "2026-01-01T02:00", "2026-01-01 22:00:00"),
        ("5/20,7 * * * ? *", "2026-01-01T00:05", "2026-01-01 00:07:00"),
        ("*/40 * * * ? *", "2026-01-01T00:40", "2026-01-01 01:00:00"),
        ("0 0 1 JAN-MAR/2,dec ? *", "2026-01-01T00:00", "2026-03-01 00:00:00"),
        ("0 0 1 1 ? 2030/50", "2026-01-01T00:00", "2030-01-01 00:00:00"),
        ("0 0 1 1 ? 2030/50", "2030-01-01T00:00", "2080-01-01 00:00:00"),
        ("0 0 1 1 ? 2020", "2026-01-01T00:00", "never"),
        ("0 0 1 1 ? 1970", "1969-06-01T00:00", "1970-01-01 00:00:00"),
        ("59 23 31 12 ? 2199", "2026-01-01T00:00", "2199-12-31 23:59:00"),
        ("* * * * ? *", "2199-12-31T23:59", "never"),
        ("* * * * ? *", "9000-01-01T00:00", "never"),
    ],
)
def test_the_next_moment_of_a_cron_expression(expression: str, moment: str, expected: str) -> None:
    assert after(expression, moment) == expected


# A field as text, and what it stands for, worked out another way than the code does.
Values = tuple[str, set[int]]
DayRule = tuple[str, Callable[[date], bool]]


@st.composite
def values(draw: st.DrawFn, low: int, high: int, names: tuple[str, ...] = ()) -> Values:
    def shown(value: int) -> str:
        return names[value - low] if names and draw(st.booleans()) else str(value)

    def part() -> Values:
        first, last = draw(st.integers(low, high)), draw(st.integers(low, high))
        step = draw(st.integers(1, high))
        if low == 1970 and last < first:
            first, last = last, first
        match draw(st.sampled_from(["*", "n", "n-m", "*/s", "n/s", "n-m/s"])):
            case "*":
                return "*", set(range(low, high + 1))
            case "n":
                return shown(first), {first}
            case "*/s":
                return f"*/{step}", {n for n in range(low, high + 1) if (n - low) % step == 0}
            case "n/s":
                return f"{shown(first)}/{step}", {
                    n for n in range(first, high + 1) if (n - first) % step == 0
                }
            case kind:
                by = step if kind == "n-m/s" else 1
                found, n, count = set(), first, 0
                while True:
                    if count % by == 0:
                        found.add(n)
                    if n == last:
                        break
                    n, count = (n + 1 if n < high else low), count + 1
                return f"{shown(first)}-{shown(last)}" + (
                    f"/{step}" if kind == "n-m/s" else ""
                ), found

    parts = [part() for _ in range(draw(st.integers(1, 3)))]
    return ",".join(text for text, _ in parts), set().union(*(found for _, found in parts))


def length(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def working_day(day: date, wanted: int) -> bool:
    """Whether it is the day from Monday to Friday that is nearest to the wanted one of its
    month."""
    if wanted > length(day):
        return False
    candidates = [n for n in range(1, length(day) + 1) if day.replace(day=n).isoweekday() < 6]
    return day.day == min(candidates, key=lambda n: abs(n - wanted))


@st.composite
def day_rules(draw: st.DrawFn) -> tuple[DayRule, bool]:
    """A day field, and whether it is the day-of-month."""
    n, nth, weekday = draw(st.integers(1, 31)), draw(st.integers(1, 5)), draw(st.integers(1, 7))
    name = draw(st.sampled_from([str(weekday), WEEKDAYS[weekday - 1]]))
    text, days = draw(values(1, 31))
    week_text, weekdays = draw(values(1, 7, tuple(WEEKDAYS)))

    def falls(day: date) -> bool:
        return day.isoweekday() % 7 + 1 == weekday

    rules: list[tuple[DayRule, bool]] = [
        ((text, lambda day: day.day in days), True),
        (("L", lambda day: day.day == length(day)), True),
        (("LW", lambda day: working_day(day, length(day))), True),
        ((f"{n}W", lambda day: working_day(day, n)), True),
        (
            (f"{text},L,{n}W", lambda day: day.day in {*days, length(day)} or working_day(day, n)),
            True,
        ),
        ((week_text, lambda day: day.isoweekday() % 7 + 1 in weekdays), False),
        (("L", lambda day: day.isoweekday() == 6), False),
        ((f"{name}L", lambda day: falls(day) and day.day + 7 > length(day)), False),
        ((f"{name}#{nth}", lambda day: falls(day) and (day.day - 1) // 7 + 1 == nth), False),
    ]
    return draw(st.sampled_from(rules))


def days_between(first: date, last: date) -> Iterator[date]:
    for n in range((last - first).days + 1):
        yield first + timedelta(n)


@given(
    minutes=values(0, 59),
    hours=values(0, 23),
    months=values(1, 12, tuple(MONTHS)),
    years=values(1970, 2199) | st.just(("*", set(range(1970, 2200)))),
    rule=day_rules(),
    moment=MOMENTS,
)
@settings(max_examples=150)
def test_no_moment_is_missed_and_none_is_made_up(
    minutes: Values,
    hours: Values,
    months: Values,
    years: Values,
    rule: tuple[DayRule, bool],
    moment: float,
) -> None:
    (day_text, on_day), of_month = rule
    day_fields = (day_text, "?") if of_month else ("?", day_text)
    text = f"{minutes[0]} {hours[0]} {day_fields[0]} {months[0]} {day_fields[1]} {years[0]}"
    if why := refusal(Schedule.parse, text):
        assert "never runs" in why
        return
    schedule = Schedule.parse(text)
    found = schedule.next_after(moment)
    begin = datetime.fromtimestamp(moment, UTC)
    assume(found is None or found - moment < 40 * 366 * 86400)  # or it takes long to go over
    end = datetime.fromtimestamp(found, UTC) if found is not None else begin + timedelta(days=800)
    if found is not None:
        assert found > moment
        assert found % 60 == 0
    missed = [
        when
        for day in days_between(begin.date(), end.date())
        if day.year in years[1] and day.month in months[1] and on_day(day)
        for hour in hours[1]
        for minute in minutes[1]
        if begin < (when := datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)) <= end
    ]
    assert missed == ([end] if found is not None else [])


# --------------------------------------------------------------------------------------- time zones


def in_zone(expression: str, zone: str, begin: str, end: str) -> list[str]:
    """When it comes between two moments, as UTC."""
    schedule, found = Schedule.parse(expression, read_zone(zone)), []
    moment = schedule.next_after(at(begin))
    while moment is not None and moment < at(end):
        found.append(datetime.fromtimestamp(moment, UTC).strftime("%d %H:%M"))
        moment = schedule.next_after(moment)
    return found


# By the documentation of EventBridge Scheduler: a time that does not exist is left out, and one
# that comes twice runs once.
@pytest.mark.parametrize(
    ("expression", "zone", "begin", "end", "expected"),
    [
        ("0 3 * * ? *", "", "2026-03-28", "2026-03-30", ["28 03:00", "29 03:00"]),
        # 02:00 becomes 03:00 on the 29th of March, and 03:00 becomes 02:00 on the 25th of October.
        ("0 3 * * ? *", "Europe/Berlin", "2026-03-28", "2026-03-30", ["28 02:00", "29 01:00"]),
        ("30 2 * * ? *", "Europe/Berlin", "2026-03-28", "2026-03-31", ["28 01:30", "30 00:30"]),
        ("30 2 * * ? *", "Europe/Berlin", "2026-10-24", "2026-10-26", ["24 00:30", "25 00:30"]),
        (
            "0 * * * ? *",
            "Europe/Berlin",
            "2026-10-24T22:30",
            "2026-10-25T02:30",
            ["24 23:00", "25 00:00", "25 02:00"],
        ),
        # Half an hour.
        (
            "0/30 1-2 * * ? *",
            "Australia/Lord_Howe",
            "2026-04-04T13:00",
            "2026-04-04T16:30",
            ["04 14:00", "04 14:30", "04 15:30", "04 16:00"],
        ),
        # Midnight itself is skipped.
        (
            "0 0 * * ? *",
            "Africa/Cairo",
            "2026-04-22",
            "2026-04-26",
            ["22 22:00", "24 21:00", "25 21:00"],
        ),
        # A day that was not.
        (
            "0 12 * * ? *",
            "Pacific/Apia",
            "2011-12-29",
            "2012-01-01",
            ["29 22:00", "30 22:00", "31 22:00"],
        ),
        # The last minute that a zone has.
        ("59 23 31 12 ? 2199", "America/New_York", "2199-12-31", "2200-02-01", ["01 04:59"]),
        ("0 0 1 1 ? 1970", "Asia/Tokyo", "1969-12-31", "1970-02-01", ["31 15:00"]),
    ],
)
def test_a_cron_expression_follows_the_clock_of_its_zone(
    expression: str, zone: str, begin: str, end: str, expected: list[str]
) -> None:
    assert in_zone(expression, zone, begin, end) == expected


CLOCKS = [
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Shanghai",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "Pacific/Apia",
    "Pacific/Chatham",
    "UTC",
]


@st.composite
def moments_of_a_zone(draw: st.DrawFn) -> tuple[str, float]:
    """A zone, and a moment: any, or one within two days of a change of its clock."""
    zone = draw(st.sampled_from(CLOCKS))
    moment = draw(st.floats(at("1975-01-01"), at("2100-01-01")))
    if not draw(st.booleans()):
        return zone, moment

    def offset(moment: float) -> timedelta | None:
        return datetime.fromtimestamp(moment, ZoneInfo(zone)).utcoffset()

    for day in range(400):
        there = moment + day * 86400
        if offset(there) != offset(there + 86400):
            return zone, there + draw(st.floats(-86400, 2 * 86400))
    return zone, moment


@given(moments_of_a_zone(), values(0, 59), values(0, 23))
@settings(max_examples=200)
def test_in_a_zone_no_run_is_missed_and_none_comes_twice(
    where: tuple[str, float], minutes: Values, hours: Values
) -> None:
    """The clock is read minute by minute, and a run begins when it first shows a time that fits."""
    (name, moment), zone = where, ZoneInfo(where[0])
    schedule = Schedule.parse(f"{minutes[0]} {hours[0]} * * ? *", read_zone(name))
    begin = moment // 60 * 60
    shown = set()
    expected = []
    for n in range(-24 * 60, 3 * 24 * 60):
        there = begin + n * 60
        wall = datetime.fromtimestamp(there, zone).replace(tzinfo=None)
        fits = wall.minute in minutes[1] and wall.hour in hours[1]
        if there > moment and fits and wall not in shown:
            expected.append(there)
        shown.add(wall)
    found, after = [], schedule.next_after(moment)
    while after is not None and after < begin + 3 * 86400:
        found.append(after)
        following = schedule.next_after(after)
        assert following is None or following > after
        after = following
    assert found == expected


def test_a_zone_that_cannot_be_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Europe/Berlinn", "../etc/passwd", "right/UTC", "localtime", "europe/\nberlin"):
        said = refusal(read_zone, name)
        assert said == (
            f"scheduleTimeZone: {name!r} is not a time zone of this machine; write one such as "
            "Europe/Berlin"
        )
    monkeypatch.setattr(time_zones, "available_timezones", set)
    monkeypatch.setattr(time_zones, "ZoneInfo", {}.__getitem__)
    assert refusal(read_zone, "Europe/Berlin") == (
        "scheduleTimeZone: 'Europe/Berlin' cannot be looked up, because this machine has no time "
        "zones; install the package tzdata"
    )
    # Who names none needs none.
    assert read_zone("") is UTC


def test_a_time_that_its_zone_always_skips_is_refused() -> None:
    assert "the clock of Europe/Berlin skips its time" in refusal(
        lambda text: Schedule.parse(text, ZoneInfo("Europe/Berlin")), "30 2 29 3 ? 2026"
    )


def test_a_rate_knows_no_zone() -> None:
    assert read_schedule("1 day", "", "Europe/Berlin") == FixedRate(1, "day")
    with pytest.raises(UsageError, match="scheduleTimeZone: 'Nowhere'"):
        normalised({"scheduleRate": "1 day", "scheduleTimeZone": "Nowhere"})


@pytest.mark.parametrize("weekly", [Window, Timetable])
def test_hours_without_a_zone_follow_that_of_the_task(weekly: type[Window | Timetable]) -> None:
    text = "08:00-18:00" + (" 10M" if weekly is Timetable else "")
    berlin = ZoneInfo("Europe/Berlin")
    assert weekly.parse(text).zone is UTC
    assert weekly.parse(text, berlin).zone is berlin
    assert weekly.parse(f"{text} Asia/Tokyo", berlin).zone == ZoneInfo("Asia/Tokyo")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has 0 fields"),
        ("* * * * *", "has 5 fields; write the six"),
        ("0 0 * * ? * *", "has 7 fields"),
        ("cron(5 minutes)", "has 2 fields"),
        ("0 0 * * * *", "exactly one must be"),
        ("0 0 ? * ? *", "exactly one must be"),
        ("60 * * * ? *", "minutes cannot be '60'; it takes 0-59"),
        ("* 24 * * ? *", "hours cannot be '24'; it takes 0-23"),
        ("* * 0 * ? *", "day-of-month cannot be '0'; it takes 1-31"),
        ("* * 32W * ? *", "day-of-month cannot be '32W'"),
        ("* * W * ? *", "day-of-month cannot be 'W'"),
        ("* * * 13 ? *", "month cannot be '13'; it takes 1-12 or JAN-DEC"),
        ("* * * FOO ? *", "month cannot be 'FOO'"),
        ("* * ? * 0 *", "day-of-week cannot be '0'; it takes 1-7 or SUN-SAT"),
        ("* * ? * 8L *", "day-of-week cannot be '8L'"),
        ("* * ? * 2#6 *", "day-of-week cannot be '2#6'"),
        ("* * ? * 2# *", "day-of-week cannot be '2#'"),
        ("* * ? * 3#1,6#3 *", "day-of-week cannot be '3#1,6#3'"),
        ("* * ? * LW *", "day-of-week cannot be 'LW'"),
        ("* * * * ? 1969", "year cannot be '1969'; it takes 1970-2199"),
        ("* * * * ? 2200", "year cannot be '2200'"),
        ("* * * * ? 2030-2029", "year cannot be '2030-2029'"),
        ("? * * * ? *", "minutes cannot be '?'"),
        ("0/0 * * * ? *", "minutes cannot be '0/0'"),
        ("*/ * * * ? *", r"minutes cannot be '\*/'"),
        ("/5 * * * ? *", "minutes cannot be '/5'"),
        ("1,,2 * * * ? *", "minutes cannot be ''"),
        ("1- * * * ? *", "minutes cannot be '1-'"),
        ("-1 * * * ? *", "minutes cannot be '-1'"),
        ("*-5 * * * ? *", r"minutes cannot be '\*-5'"),
        ("\u0661 * * * ? *", "minutes cannot be"),
        ("0 0 31 2,4 ? *", "never runs"),
        ("rate(0 minutes)", "is not a rate"),
        ("rate()", "is not a rate"),
        ("1.5 hours", "is not a rate"),
        ("-5 minutes", "is not a rate"),
        ("1000000 days", "is not a rate; write a number from 1 to 999999"),
        ("5 weeks", "is not a rate"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        Schedule.parse(text)
    assert "\n" not in str(refused.value)


@given(st.text() | st.text("0123456789*/,-?LW#() \n", max_size=30))
def test_any_text_is_a_schedule_or_refused(text: str) -> None:
    why = refusal(Schedule.parse, text)
    assert "\n" not in why
    if not why:
        assert describe(Schedule.parse(text))


# -------------------------------------------------------------------------------------------- rates


@given(
    st.integers(1, 999_999),
    st.sampled_from([("minute", 60), ("hour", 3600), ("day", 86400)]),
    st.floats(0, 4e9),
    st.floats(0, 4e9),
)
def test_a_rate_is_counted_from_its_anchor(
    count: int, unit: tuple[str, int], moment: float, anchor: float
) -> None:
    every = count * unit[1]
    schedule = Schedule.parse(f"rate({count} {unit[0]}s)")
    found = schedule.next_after(moment, anchor)
    assert found is not None
    assert moment < found <= moment + every + 1e-3
    times = (found - anchor) / every
    assert times == pytest.approx(round(times), abs=1e-6)


def test_a_rate_does_not_drift() -> None:
    schedule, moment = Schedule.parse("7 minutes"), 1000.25
    for n in range(1, 100):
        found = schedule.next_after(moment, 1000.25)
        assert found == 1000.25 + n * 420
        moment = found


def test_schedules_are_described() -> None:
    assert describe(Schedule.parse("rate(5 minutes)")) == "every 5 minutes"
    assert describe(Schedule.parse("1 hours")) == "every hour"
    assert describe(Schedule.parse("7 Days")) == "every 7 days"
    assert describe(Schedule.parse("cron(0  20 ? * mon-fri *)")) == "0 20 ? * MON-FRI *"
    assert Schedule.parse("5 minutes") == FixedRate(5, "minute")
    assert Schedule.parse("0 20 ? * MON-FRI *") == Schedule.parse("cron(0 20 ? * mon-fri *)")
    assert isinstance(Schedule.parse("0 20 ? * MON-FRI *"), Cron)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ({"scheduleRate": "1 hours"}, {"scheduleRate": "1 hour"}),
        ({"scheduleRate": "5 minute"}, {"scheduleRate": "5 minutes"}),
        ({"scheduleRate": "5 MINUTES"}, {"scheduleRate": "5 minutes"}),
        ({"scheduleRate": "rate(05  Days)"}, {"scheduleRate": "5 days"}),
        (
            {"ec2CronExpression": "cron(0 20 ? * mon-fri *)"},
            {"ec2CronExpression": "0 20 ? * MON-FRI *"},
        ),
        ({"ec2CronExpression": "rate(1 hours)"}, {"scheduleRate": "1 hour"}),
        ({"scheduleRate": "cron(0 20 ? * * *)"}, {"ec2CronExpression": "0 20 ? * * *"}),
        (
            {"scheduleRate": "2 hour", "ec2CronExpression": "0 0 * * ? *"},
            {"scheduleRate": "2 hours", "ec2CronExpression": "0 0 * * ? *"},
        ),
        (
            {"scheduleRate": "", "ec2CronExpression": ""},
            {"scheduleRate": "", "ec2CronExpression": ""},
        ),
        ({}, {}),
    ],
)
def test_a_schedule_is_written_in_the_one_way_that_eventbridge_takes(
    given: dict[str, str], written: dict[str, str]
) -> None:
    assert normalised({"srcBucket": "b", **given}) == {"srcBucket": "b", **written}
    # Once is enough.
    assert normalised(written) == written


def test_a_schedule_that_never_comes_is_refused_where_it_is_written() -> None:
    with pytest.raises(UsageError, match="is not a rate"):
        normalised({"scheduleRate": "5 weeks"})


# ------------------------------------------------------------------------------------------ windows


@pytest.mark.parametrize(
    ("text", "open_at", "closed_at"),
    [
        ("", ["2026-01-01T00:00"], []),
        ("00:00-24:00", ["2026-01-01T00:00", "2026-01-01T23:59:59.9"], []),
        (
            "8:00-18:00",
            ["2026-01-01T08:00", "2026-01-01T17:59:59"],
            ["2026-01-01T07:59:59", "2026-01-01T18:00"],
        ),
        (
            "Sat-Sun 00:00-24:00",
            ["2026-01-03T00:00", "2026-01-04T23:59"],
            ["2026-01-02T23:59", "2026-01-05T00:00"],
        ),
        # Over midnight: Friday's night ends on Saturday, Sunday's does not begin.
        (
            "Mon-Fri 20:00-06:00",
            ["2026-01-02T20:00", "2026-01-03T05:59", "2026-01-06T00:00"],
            ["2026-01-03T06:00", "2026-01-04T23:00", "2026-01-05T05:59"],
        ),
        ("fri-mon 22:00-00:00", ["2026-01-05T22:00"], ["2026-01-06T00:00", "2026-01-06T22:00"]),
        (
            "Mon 01:00-02:00, Tue  03:00-04:00 Europe/Berlin",
            ["2026-01-05T00:00", "2026-01-06T02:30"],
            ["2026-01-05T01:00", "2026-01-06T03:30"],
        ),
        (
            "09:00-10:00 Asia/Kathmandu",
            ["2026-01-05T03:15"],
            ["2026-01-05T03:14", "2026-01-05T04:15"],
        ),
    ],
)
def test_windows(text: str, open_at: list[str], closed_at: list[str]) -> None:
    window = Window.parse(text)
    assert [moment for moment in open_at if not window.is_open(at(moment))] == []
    assert [moment for moment in closed_at if window.is_open(at(moment))] == []


def changes(weekly: Window | Timetable, begin: str, end: str) -> list[str]:
    found, moment = [], weekly.next_change(at(begin))
    while moment is not None and moment < at(end):
        found.append(datetime.fromtimestamp(moment, UTC).strftime("%d %H:%M"))
        moment = weekly.next_change(moment)
    return found


def test_windows_keep_to_the_wall_clock_when_it_is_set() -> None:
    night = Window.parse("20:00-06:00 Europe/Berlin")
    assert changes(night, "2026-03-28T12:00", "2026-03-30T00:00") == [
        "28 19:00",
        "29 04:00",
        "29 18:00",
    ]
    assert changes(night, "2026-10-24T12:00", "2026-10-26T00:00") == [
        "24 18:00",
        "25 05:00",
        "25 19:00",
    ]
    # 02:00 to 03:00 does not come on one day of the year, and comes twice on another.
    small = Window.parse("02:15-02:45 Europe/Berlin")
    assert changes(small, "2026-03-28T12:00", "2026-03-30T12:00") == ["30 00:15", "30 00:45"]
    assert changes(small, "2026-10-24T12:00", "2026-10-25T12:00") == [
        "25 00:15",
        "25 00:45",
        "25 01:15",
        "25 01:45",
    ]
    # Clocks jump into it, and out of it.
    into = Window.parse("02:30-04:00 Europe/Berlin")
    assert changes(into, "2026-03-28T12:00", "2026-03-29T12:00") == ["29 01:00", "29 02:00"]
    out = Window.parse("01:00-02:30 Europe/Berlin")
    assert changes(out, "2026-03-28T12:00", "2026-03-29T12:00") == ["29 00:00", "29 01:00"]
    # A day that was left out altogether.
    friday = Window.parse("Fri 00:00-24:00 Pacific/Apia")
    assert changes(friday, "2011-12-24T12:00", "2012-01-08T00:00") == ["05 10:00", "06 10:00"]


def test_what_never_changes_says_so() -> None:
    assert Window.parse("").next_change(0) is None
    assert Window.parse("00:00-12:00, 12:00-24:00").next_change(at("2026-01-01T11:00")) is None
    assert Timetable.parse("").next_change(0) is None
    assert Timetable.parse("00:00-12:00 5K, 12:00-24:00 5120").next_change(0) is None


TIMES = st.integers(0, 1439)
ZONES = st.sampled_from(
    [
        "",
        " Europe/Berlin",
        " America/New_York",
        " Australia/Lord_Howe",
        " Asia/Kathmandu",
        " Pacific/Chatham",
    ]
)


@st.composite
def entries(draw: st.DrawFn) -> str:
    start, end = draw(TIMES), draw(TIMES)
    assume(start != end)
    days = [name.capitalize() for name in WEEKDAYS]
    first, last = draw(st.sampled_from(days)), draw(st.sampled_from(days))
    named = draw(st.sampled_from(["", f"{first} ", f"{first}-{last} "]))
    return f"{named}{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"


NEAR_A_CHANGE = st.sampled_from(
    ["2026-03-08", "2026-03-29", "2026-04-05", "2026-09-27", "2026-10-25", "2026-11-01"]
)


@given(
    st.lists(entries(), min_size=1, max_size=3),
    ZONES,
    NEAR_A_CHANGE,
    st.integers(-1440, 1440),
    st.booleans(),
)
@settings(max_examples=60)
def test_nothing_changes_before_the_next_change(
    texts: list[str], zone: str, day: str, minutes: int, capped: bool
) -> None:
    weekly: Window | Timetable
    if capped:
        weekly = Timetable.parse(
            ", ".join(f"{text} {n % 2 + 1}K" for n, text in enumerate(texts)) + zone
        )
    else:
        weekly = Window.parse(", ".join(texts) + zone)

    def state(moment: float) -> object:
        return weekly.is_open(moment) if isinstance(weekly, Window) else weekly.cap_at(moment, -1)

    begin = at(day) + 60 * minutes + 17.5
    found = weekly.next_change(begin)
    end = min(found if found is not None else begin + 86400, begin + 2 * 86400)
    assert {
        state(moment) for moment in (begin, *range(int(begin // 60 + 1) * 60, int(end), 60))
    } == {state(begin)}
    if found is not None:
        assert found > begin
        assert state(found) != state(begin)
        assert state(found - 0.01) == state(begin)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Mon 10:00", "'Mon 10:00' cannot be read"),
        ("Mon,Tue 08:00-09:00", "'Mon' cannot be read"),
        ("08:00-09:00,", "'' cannot be read"),
        ("Monday 08:00-09:00", "'Monday' is not a day"),
        ("25:00-26:00", "'25:00' is not a time of day"),
        ("08:60-09:00", "'08:60' is not a time of day"),
        ("24:00-02:00", "24:00-02:00 cannot be"),
        ("08:00-08:00", "08:00-08:00 cannot be; the whole day is 00:00-24:00"),
        ("08:00-09:00 UTC, 10:00-11:00", "a time zone ends the text"),
        ("08:00-09:00 Mars/Olympus", "'Mars/Olympus' is not a time zone"),
        ("08:00-09:00 Europe", "is not a time zone"),
        ("08:00-09:00 ../../etc/passwd", "is not a time zone"),
        ("08:00-09:00 /etc/passwd", "is not a time zone"),
        ("08:00-09:00 \0", "is not a time zone"),
        ("08:00-09:00 " + "A" * 5000, "is not a time zone"),
        ("08:00-09:00 Europe/Berlin 5M", "is not a time zone"),
        (", ".join(["08:00-09:00"] * 51), "51 entries are too many"),
    ],
)
def test_windows_that_cannot_be_are_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        Window.parse(text)
    assert str(refused.value).startswith("transferWindow: ")
    assert "\n" not in str(refused.value)


@given(st.text() | st.text("0123456789:-, MonUTC\n", max_size=30))
def test_any_text_is_a_window_or_refused(text: str) -> None:
    why = refusal(Window.parse, text)
    assert "\n" not in why
    if not why:
        Window.parse(text).next_change(0)


# --------------------------------------------------------------------------------------- timetables


def test_the_first_entry_that_covers_a_moment_holds() -> None:
    timetable = Timetable.parse(
        "Mon-Fri 08:00-18:00 10M, 18:00-08:00 unlimited, Sun 06:00-24:00 1.5KiB"
    )
    assert timetable.cap_at(at("2026-01-05T08:00"), 7) == 10 * 1024**2
    assert timetable.cap_at(at("2026-01-05T18:00"), 7) is None
    assert timetable.cap_at(at("2026-01-04T07:00"), 7) is None  # the one before covers it
    assert timetable.cap_at(at("2026-01-04T10:00"), 7) == 1536
    assert timetable.cap_at(at("2026-01-03T12:00"), 7) == 7  # none
    assert timetable.cap_at(at("2026-01-03T12:00")) is None
    found = changes(timetable, "2026-01-04T00:00", "2026-01-06T00:00")
    assert found == ["04 08:00", "04 18:00", "05 08:00", "05 18:00"]


def test_changes_of_a_timetable_have_their_time_zone() -> None:
    timetable = Timetable.parse("Mon 08:00-18:00 10M, 18:00-20:00 5 Asia/Tokyo")
    found = changes(timetable, "2026-01-04T12:00", "2026-01-06T00:00")
    assert found == ["04 23:00", "05 09:00", "05 11:00"]
    ends = [timetable.cap_at(at(f"2026-01-{text.replace(' ', 'T')}")) for text in found]
    assert ends == [10 * 1024**2, 5, None]
    assert all(one != other for one, other in pairwise(ends))


@pytest.mark.parametrize(
    "cap", ["", "0", "0.1", "x", "-5", "1e3", "99999999T", "9" * 5000, "\udcff"]
)
def test_caps_that_cannot_be_are_refused(cap: str) -> None:
    with pytest.raises(
        UsageError, match=r"^bandwidthTimetable: .* is not a cap; write bytes per second"
    ):
        Timetable.parse(f"Mon 08:00-18:00 {cap}")


def test_a_timetable_says_what_is_wrong() -> None:
    with pytest.raises(UsageError, match="bandwidthTimetable: 'MiB' is not a time zone"):
        Timetable.parse("08:00-18:00 10 MiB")
    with pytest.raises(UsageError, match="write days and times such as Mon-Fri 08:00-18:00 10M"):
        Timetable.parse("10M")
