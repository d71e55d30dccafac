"""The rules of a task's life, by tables: what is to be done for a task that stands so, at this
moment."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dth.core import redrive
from dth.core.errors import UsageError
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Counts, Run, RunKind, RunState
from dth.hub import budget, tasks
from dth.hub.lifecycle import TaskEvent as Change
from dth.hub.model import ErrorCode, Progress, ScheduleType, Task
from dth.hub.notifications import NotifiedEvent
from dth.hub.phase import NO_PLACE, OUTSIDE_WINDOW
from dth.hub.schedule import Schedule
from dth.hub.steward import (
    CANNOT_BEGIN,
    LATE,
    LEFT_OUT,
    RECENT,
    WHILE_PAUSED,
    Action,
    BeginRun,
    Continue,
    Fail,
    Finish,
    Hold,
    Idle,
    Notify,
    OpenRecords,
    Pause,
    Release,
    RetryFailed,
    Say,
    SetNextRun,
    SetUp,
    Stop,
    TakeDown,
    Terms,
    View,
    decide,
    next_change,
    terms_of,
    timetable_of,
)
from dth.hub.windows import Window

DAY = 86_400.0
BUCKETS = {"srcBucket": "a", "destBucket": "b"}
EMPTY, BUSY = Depth(0, 0, 0), Depth(3, 2, 1)
DAILY = Terms(Schedule.parse("cron(0 3 * * ? *)"))
HOURLY = Terms(Schedule.parse("1 hour"))
NIGHT = Terms(DAILY.schedule, Window.parse("22:00-06:00"))


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


NOON, THREE = at("2026-05-04T12:00"), at("2026-05-04T03:00")
TOMORROW = THREE + DAY  # when the daily schedule wants the next run


def scheduled(**changes: Any) -> Task:
    """A task that waits for its schedule."""
    task = Task(
        "t", "S3EC2", ScheduleType.FIXED_RATE, BUCKETS, progress=Progress.IN_PROGRESS,
        created=at("2026-05-01T00:00"), next_run=TOMORROW,
    )  # fmt: skip
    return replace(task, **changes)


def once(**changes: Any) -> Task:
    return scheduled(**{"schedule_type": ScheduleType.ONE_TIME, "next_run": 0.0, **changes})


def run(
    id: int = 1, state: RunState = RunState.DONE, kind: RunKind = RunKind.SYNC, **more: Any
) -> Run:
    """A run that ended two hours ago, if it ended, and whose end was told long ago."""
    values: dict[str, Any] = {"started": NOON - 7200, "ended": 0.0, "error": ""} | {
        name: more.pop(name) for name in ("started", "ended", "error", "notes") if name in more
    }
    if state in (RunState.DONE, RunState.FAILED) and not values["ended"]:
        values["ended"] = NOON - 7200
    return Run(id, kind, state, counts=Counts(**more), **values)


DONE = run(listed=3, enqueued=3, done=3)
SENDING = Run(3, RunKind.REDRIVE, RunState.LISTING, NOON)
COPYING = run(state=RunState.TRANSFERRING, listed=3, enqueued=3, done=1)
LISTING = run(state=RunState.LISTING)
FAILED = run(state=RunState.FAILED, error="no such bucket")


def view(task: Task, runs: list[Run] | None = None, depth: Depth = EMPTY, **more: Any) -> View:
    terms = Terms() if task.schedule_type is ScheduleType.ONE_TIME else DAILY
    return View(task, **{"now": NOON, "terms": terms, "runs": runs, "depth": depth, **more})


def told(event: NotifiedEvent, text: str, once: str) -> Notify:
    return Notify(event, text, once)


MISSED = NotifiedEvent.MISSED_SCHEDULE


def missed(text: str, next_run: float = THREE) -> Notify:
    return Notify(MISSED, text, f"{next_run:.0f}")


# -------------------------------------------------------------------------------------- each status


@pytest.mark.parametrize(
    ("seen", "actions"),
    [
        (view(once(progress=Progress.STARTING)), [SetUp()]),
        (view(scheduled(progress=Progress.STARTING, run_requested=True)), [SetUp()]),
        (view(once(progress=Progress.PAUSED, reason="why")), [Hold("why")]),
        (view(once(progress=Progress.PAUSED, run_requested=True), [COPYING], BUSY), [Hold("")]),
        # What is in flight is for `Stop` to end.
        (view(once(progress=Progress.STOPPING), [COPYING], BUSY), [Stop()]),
        (view(scheduled(progress=Progress.STOPPING, run_requested=True, next_run=THREE)), [Stop()]),
        (view(once(progress=Progress.STOPPED)), [TakeDown()]),
        (view(scheduled(progress=Progress.DONE, next_run=THREE)), [TakeDown()]),
        (view(once(progress=Progress.ERROR, reason="why"), [FAILED]), [TakeDown()]),
    ],
)
def test_what_is_not_at_work(seen: View, actions: list[Action]) -> None:
    assert decide(seen) == actions


@pytest.mark.parametrize("progress", [Progress.STARTING, Progress.IN_PROGRESS])
def test_a_task_that_cannot_be_set_up_or_go_on_has_failed(progress: Progress) -> None:
    """Whatever it has to do."""
    task = scheduled(progress=progress, run_requested=True, next_run=THREE, version=7)
    why = "its CloudFormation stack is gone; start the task again"
    assert decide(view(task, [COPYING], BUSY, refusal=why)) == [
        Fail(why, ErrorCode.CFN_ERROR),
        told(NotifiedEvent.TASK_ERROR, why, "version 7"),
    ]


# ------------------------------------------------------------------------------------------ windows

OVER_NIGHT, WEEKEND = "22:00-06:00", "Sat-Sun 00:00-24:00"
BERLIN, TOKYO = "02:30-04:00 Europe/Berlin", "22:00-06:00 Asia/Tokyo"


@pytest.mark.parametrize(
    ("window", "moment", "opens"),
    [
        ("", "2026-05-04T12:00", None),
        ("10:00-14:00", "2026-05-04T12:00", None),
        ("10:00-14:00", "2026-05-04T13:59", None),
        ("10:00-14:00", "2026-05-04T14:00", "2026-05-05T10:00"),
        ("10:00-14:00", "2026-05-04T09:59", "2026-05-04T10:00"),
        (OVER_NIGHT, "2026-05-04T23:00", None),
        (OVER_NIGHT, "2026-05-05T05:59", None),
        (OVER_NIGHT, "2026-05-05T06:00", "2026-05-05T22:00"),
        (WEEKEND, "2026-05-09T00:00", None),
        (WEEKEND, "2026-05-08T23:59", "2026-05-09T00:00"),
        (TOKYO, "2026-05-04T13:30", None),  # 22:30 there
        (TOKYO, "2026-05-04T12:59", "2026-05-04T13:00"),
        # Summer: 02:30 in Berlin is 00:30. In winter it is 01:30.
        (BERLIN, "2026-07-01T00:30", None),
        (BERLIN, "2026-07-01T00:29", "2026-07-01T00:30"),
        (BERLIN, "2026-01-15T00:45", "2026-01-15T01:30"),
        # On 29 March clocks there go from 02:00 to 03:00: the window opens when 03:00 comes.
        (BERLIN, "2026-03-29T00:45", "2026-03-29T01:00"),
        # On 25 October 02:30 comes twice, and the window with it.
        (BERLIN, "2026-10-25T00:45", None),
        (BERLIN, "2026-10-25T01:15", "2026-10-25T01:30"),
    ],
)
def test_outside_its_window_a_task_is_held_until_it_opens(
    window: str, moment: str, opens: str | None
) -> None:
    terms = Terms(window=Window.parse(window))
    seen = view(once(run_requested=True), [COPYING], BUSY, now=at(moment), terms=terms)
    if opens is None:
        assert decide(seen) == [BeginRun()]
        return
    assert decide(seen) == [Say(OUTSIDE_WINDOW), Hold(OUTSIDE_WINDOW, at(opens))]
    # It says so once.
    waits = replace(seen, task=replace(seen.task, reason=OUTSIDE_WINDOW))
    assert decide(waits) == [Hold(OUTSIDE_WINDOW, at(opens))]
    assert next_change(waits) == at(opens)
    assert decide(replace(waits, now=at(opens)))[-1] == BeginRun()


def test_what_was_held_goes_on_when_the_window_opens() -> None:
    task = scheduled(reason=OUTSIDE_WINDOW)
    seen = view(
        task, [COPYING], BUSY, terms=NIGHT, now=at("2026-05-04T22:00"), paused=OUTSIDE_WINDOW
    )
    assert decide(seen) == [Release(), Say(""), Continue()]


def test_trouble_is_told_once_the_window_is_open() -> None:
    seen = view(scheduled(version=3), [COPYING], BUSY, terms=NIGHT, paused="AccessDenied")
    assert decide(seen) == [Say(OUTSIDE_WINDOW), Hold(OUTSIDE_WINDOW, at("2026-05-04T22:00"))]
    assert decide(replace(seen, now=at("2026-05-04T22:00"))) == [
        Pause("AccessDenied"),
        told(NotifiedEvent.TASK_PAUSED, "AccessDenied", "version 3"),
    ]


# ------------------------------------------------------------------------------ trouble and budgets


def test_trouble_of_an_endpoint_pauses_before_anything_begins() -> None:
    task = scheduled(run_requested=True, redrive_requested=True, next_run=THREE)
    assert decide(view(task, [COPYING], BUSY, paused="403 at the source")) == [
        Pause("403 at the source"),
        told(NotifiedEvent.TASK_PAUSED, "403 at the source", "version 1"),
    ]


def test_each_pause_is_told() -> None:
    """After a user has resumed the task, it is another version of it."""
    [_, first] = decide(view(once(), [COPYING], paused="no route"))
    [_, again] = decide(view(once(), [COPYING], paused="no route", told=frozenset({"x"})))
    [_, later] = decide(view(once(version=4), [COPYING], paused="no route"))
    assert isinstance(first, Notify)
    assert isinstance(later, Notify)
    assert first == again
    assert first.key != later.key
    assert decide(view(once(), [COPYING], paused="no route", told=frozenset({first.key}))) == [
        Pause("no route")
    ]


SPENT = "the budget of $2 is reached (estimated $2.5000); raise it and resume"


@pytest.mark.parametrize(
    ("limit", "spent", "runs", "depth", "reached"),
    [
        (2.0, 2.5, [COPYING], BUSY, True),
        (2.5, 2.5, [COPYING], BUSY, True),
        (2.0, 2.5, [DONE], BUSY, True),  # events, which no run knows yet
        (2.0, 2.5, [COPYING], EMPTY, True),
        (2.6, 2.5, [COPYING], BUSY, False),
        (None, 2.5, [COPYING], BUSY, False),
        (2.0, budget.UNKNOWN, [COPYING], BUSY, False),  # without prices
        (0.0, budget.UNKNOWN, [COPYING], BUSY, False),
        # Nothing is left to do: there is nothing to pause.
        (2.0, 2.5, [DONE], EMPTY, False),
        (2.0, 2.5, [run(state=RunState.TRANSFERRING, listed=3, enqueued=3, done=3)], EMPTY, False),
    ],
)
def test_at_its_budget_a_task_pauses(
    limit: float | None, spent: float, runs: list[Run], depth: Depth, reached: bool
) -> None:
    seen = view(scheduled(spent=spent), runs, depth, terms=replace(DAILY, budget=limit))
    pauses = [each for each in decide(seen) if isinstance(each, Pause)]
    assert bool(pauses) is reached
    if limit == 2.0 and reached:
        assert decide(seen) == [Pause(SPENT), told(NotifiedEvent.TASK_PAUSED, SPENT, "version 1")]


# ---------------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize(
    ("next_run", "terms", "set_to"),
    [
        (0.0, DAILY, TOMORROW),
        (TOMORROW + DAY, DAILY, TOMORROW),  # the clock was ahead for a while
        (TOMORROW, DAILY, None),
        (0.0, Terms(), None),
        (0.0, HOURLY, NOON + 3600),
        (0.0, Terms(Schedule.parse("cron(0 3 * * ? 1999)")), None),  # never again
    ],
)
def test_a_task_knows_when_its_schedule_wants_a_run(
    next_run: float, terms: Terms, set_to: float | None
) -> None:
    actions = decide(view(scheduled(next_run=next_run), [DONE], terms=terms))
    assert actions == [*([SetNextRun(set_to)] if set_to else []), Idle()]


def test_the_next_run_is_known_outside_the_window_as_well() -> None:
    seen = view(scheduled(next_run=0.0, reason=OUTSIDE_WINDOW), terms=NIGHT)
    assert decide(seen) == [SetNextRun(TOMORROW), Hold(OUTSIDE_WINDOW, at("2026-05-04T22:00"))]


DUE = scheduled(next_run=THREE)


@pytest.mark.parametrize(
    ("task", "more", "actions"),
    [
        # In time.
        (DUE, {"now": THREE}, [BeginRun("", TOMORROW)]),
        (DUE, {"now": THREE + LATE - 1}, [BeginRun("", TOMORROW)]),
        # What an earlier run has in flight does not stand in its way.
        (DUE, {"now": THREE, "runs": [COPYING], "depth": BUSY}, [BeginRun("", TOMORROW)]),
        # `hub.db` alone says that it is due.
        (DUE, {"now": THREE, "runs": None}, [BeginRun("", TOMORROW)]),
        (scheduled(), {"runs": None}, [OpenRecords()]),
        # A user asks.
        (scheduled(run_requested=True), {}, [BeginRun()]),
        (scheduled(run_requested=True), {"runs": None}, [BeginRun()]),
        (once(run_requested=True), {"runs": []}, [BeginRun()]),
        (scheduled(run_requested=True, next_run=THREE), {"now": THREE}, [BeginRun("", TOMORROW)]),
        (scheduled(redrive_requested=True), {}, [RetryFailed()]),
        (scheduled(), {"runs": [SENDING]}, [RetryFailed()]),
        (once(), {"runs": [SENDING]}, [RetryFailed()]),
        (scheduled(redrive_requested=True), {"runs": None}, [RetryFailed()]),
        (scheduled(run_requested=True, redrive_requested=True), {}, [RetryFailed(), BeginRun()]),
        # The listing before is not at its end.
        (DUE, {"now": THREE, "runs": [LISTING], "listing": True},
         [missed(LEFT_OUT), SetNextRun(TOMORROW), Continue()]),
        (scheduled(run_requested=True), {"runs": [LISTING], "listing": True}, [Continue()]),
        (scheduled(run_requested=True, next_run=THREE), {"runs": [LISTING], "listing": True},
        [Continue()]),
        # A hub that was down.
        (DUE, {"began": NOON - 5}, [
            BeginRun(late := "this run began 32400 seconds late: the hub did not run",
                     TOMORROW),
            missed(late),
        ]),
        (DUE, {"began": THREE + 60, "now": THREE + 61}, [BeginRun("", TOMORROW)]),
        # As many tasks as may work at once did.
        (DUE, {"waited": True, "now": THREE + LATE}, [
            BeginRun(late := (
                             "this run began 300 seconds late: the maximum number of tasks was "
                             "running"
                             ),
                     TOMORROW),
            missed(late),
        ]),
        (DUE, {"waited": True, "now": THREE + LATE - 1}, [BeginRun("", TOMORROW)]),
        # Its window was closed: as its user has it. From then on it is late.
        (DUE, {"terms": replace(DAILY, window=Window.parse("11:58-14:00"))}, [BeginRun("",
        TOMORROW)]),
        (DUE, {"terms": replace(DAILY, window=Window.parse("11:58-14:00")), "began": NOON - 60},
         [BeginRun("", TOMORROW)]),
        (DUE, {"terms": replace(DAILY, window=Window.parse("11:00-14:00")), "began": NOON - 60}, [
            BeginRun(late := "this run began 32400 seconds late: the hub did not run",
                     TOMORROW),
            missed(late),
        ]),
        # A run that never comes again.
        (DUE, {"now": THREE, "terms": Terms(Schedule.parse(
                                                           "cron(0 3 4 5 ? "
                                                           "2026)"
                                                           ))}, [BeginRun("", 0.0)]),
    ],
)  # fmt: skip
def test_what_is_due(task: Task, more: dict[str, Any], actions: list[Action]) -> None:
    assert decide(view(task, **{"runs": [DONE], **more})) == actions


def test_a_run_is_missed_once_the_next_one_is_due() -> None:
    terms = Terms(Schedule.parse("1 minute"))
    task = scheduled(next_run=NOON)
    for seconds, late in ((59, False), (60, True)):
        seen = view(task, [DONE], terms=terms, waited=True, now=NOON + seconds)
        assert bool([each for each in decide(seen) if isinstance(each, Notify)]) is late


def test_a_run_that_waits_for_a_place_is_told_when_it_counts_as_missed() -> None:
    seen = view(DUE, now=THREE, in_line=True)
    assert decide(seen) == [Say(NO_PLACE), BeginRun("", TOMORROW)]
    seen = replace(seen, task=replace(DUE, reason=NO_PLACE))
    assert decide(seen) == [BeginRun("", TOMORROW)]
    assert next_change(seen) == THREE + LATE
    seen = replace(seen, now=THREE + LATE)
    assert decide(seen) == [missed(CANNOT_BEGIN), BeginRun("", TOMORROW)]
    # When it begins at last, that is the same again.
    [_, again] = decide(replace(seen, in_line=False, waited=True, now=NOON, runs=[DONE]))
    assert isinstance(again, Notify)
    assert again.key == missed(CANNOT_BEGIN).key


def test_a_run_that_waits_for_a_place_again_is_told_once() -> None:
    task = replace(DUE, reason=NO_PLACE)
    late = "this run began 300 seconds late: the maximum number of tasks was running"
    actions = decide(view(task, now=THREE + LATE, in_line=True, waited=True))
    assert actions == [missed(CANNOT_BEGIN), BeginRun(late, TOMORROW)]


def test_who_waits_for_a_place_says_so() -> None:
    seen = view(once(), [COPYING], BUSY, in_line=True)
    assert decide(seen) == [Say(NO_PLACE), Continue()]
    assert decide(replace(seen, in_line=False, task=once(reason=NO_PLACE))) == [Say(""), Continue()]


PAUSED = scheduled(progress=Progress.STARTING, next_run=THREE)


@pytest.mark.parametrize(
    ("more", "actions"),
    [
        ({}, [missed(WHILE_PAUSED), SetUp()]),
        ({"now": THREE + LATE - 1}, [SetUp()]),
        ({"now": THREE - 1}, [SetUp()]),
        # Outside its window it would not have begun.
        ({"terms": replace(DAILY, window=Window.parse("11:58-14:00"))}, [SetUp()]),
        # A stack begins runs of paused tasks, whose listings wait.
        ({"by_stack": True, "runs": [run(2, RunState.LISTING, started=THREE + 20)]}, [SetUp()]),
        (
            {"by_stack": True, "runs": [run(1, started=THREE - DAY)]},
            [missed(WHILE_PAUSED), SetUp()],
        ),
        ({"told": frozenset({missed(WHILE_PAUSED).key})}, [SetUp()]),
    ],
)
def test_a_run_that_was_missed_while_the_task_was_paused(
    more: dict[str, Any], actions: list[Action]
) -> None:
    seen = view(PAUSED, **more)
    assert decide(seen) == actions
    # It begins once the task goes on, and is not told again.
    goes_on = replace(
        seen, task=replace(PAUSED, progress=Progress.IN_PROGRESS), runs=[DONE], now=NOON
    )
    if not seen.by_stack:
        assert decide(goes_on) == [BeginRun("", TOMORROW)]


def test_a_task_remembers_what_it_may_miss_while_it_is_paused_and_not_when_it_ends() -> None:
    task = scheduled()
    for change in (Change.PAUSE, Change.RESUME, Change.STARTED):
        tasks.move(task, change)
        assert task.next_run == TOMORROW
    tasks.move(task, Change.STOP)
    assert task.next_run == 0.0


# ------------------------------------------------------------------------- runs that a stack begins

NOT_BEGUN = "this run began 300 seconds late: the schedule of its stack did not start it"


@pytest.mark.parametrize(
    ("task", "more", "actions"),
    [
        # It has some time for it.
        (DUE, {"now": THREE}, [Idle()]),
        (DUE, {"now": THREE + LATE - 1}, [Idle()]),
        # It did: a run that began then, or goes on from before.
        (DUE, {"now": THREE + 30, "runs": [run(2, RunState.LISTING, started=THREE + 20), DONE]},
         [SetNextRun(TOMORROW), Continue()]),
        (DUE, {"runs": [run(2, started=THREE + 20)]}, [SetNextRun(TOMORROW), Idle()]),
        (DUE, {"now": THREE + LATE, "runs": [run(1, RunState.LISTING, started=THREE - 100)]},
         [missed(LEFT_OUT), SetNextRun(TOMORROW), Continue()]),
        # It did not.
        (DUE, {"now": THREE + LATE, "runs": [run(1, started=THREE - 100)]},
         [BeginRun(NOT_BEGUN, TOMORROW), missed(NOT_BEGUN)]),
        (DUE, {"now": THREE + LATE, "runs": [run(1, kind=RunKind.REDRIVE, started=THREE + 100)]},
         [BeginRun(NOT_BEGUN, TOMORROW), missed(NOT_BEGUN)]),
        # A rate is counted from when the rule was made: one run in its time is as it should be.
        (DUE, {"now": THREE + LATE, "terms": Terms(Schedule.parse("1 day")),
               "runs": [run(1, started=THREE - DAY + 60)]},
         [SetNextRun(DUE.created + 4 * DAY), Idle()]),
        # What a user asks for during a listing is taken for the same.
        (scheduled(run_requested=True), {"runs": [LISTING]}, [BeginRun()]),
        # There is nothing yet to look at.
        (once(), {"runs": []}, [Continue()]),
    ],
)  # fmt: skip
def test_the_schedule_of_a_stack(task: Task, more: dict[str, Any], actions: list[Action]) -> None:
    assert (
        decide(view(task, **{"runs": [run(started=THREE - 7200)], "by_stack": True, **more}))
        == actions
    )


# -------------------------------------------------------------------------------------- how it ends


@pytest.mark.parametrize(
    ("runs", "depth", "actions"),
    [
        ([DONE], EMPTY, [Finish(), told(NotifiedEvent.TASK_DONE, "3 transferred, 0 failed", "1")]),
        ([], EMPTY, [Finish(), told(NotifiedEvent.TASK_DONE, "0 transferred, 0 failed", "1")]),
        # The ledger does not balance, or is not closed, or something is in the queue.
        ([COPYING], EMPTY, [Continue()]),
        ([LISTING], EMPTY, [Continue()]),
        ([run(state=RunState.TRANSFERRING, listed=3, enqueued=3, done=3)], EMPTY, [Continue()]),
        ([run(listed=3, enqueued=3, done=2)], EMPTY, [Continue()]),
        ([run(listed=3, delete_enqueued=2, deleted=1)], EMPTY, [Continue()]),
        ([DONE], Depth(0, 0, 1), [Continue()]),
        ([DONE], Depth(0, 1, 0), [Continue()]),
        ([run(2), COPYING], EMPTY, [Continue()]),
        # What was tried again since counts by how that ended, failed deletes as well.
        ([run(2, kind=RunKind.REDRIVE, enqueued=2, done=1, failed=1),
          run(listed=3, enqueued=3, done=1, failed=2, delete_enqueued=1, delete_failed=1)], EMPTY,
         [Finish(), told(NotifiedEvent.TASK_DONE, "2 transferred, 2 failed", "1")]),
        # A listing that failed, now or long ago.
        ([FAILED], EMPTY, [Fail("no such bucket", ErrorCode.FINDER_ERROR)]),
        ([run(2, kind=RunKind.REDRIVE), FAILED], EMPTY, [Fail("no such bucket",
        ErrorCode.FINDER_ERROR)]),
        ([DONE, FAILED], EMPTY, [Finish(), told(NotifiedEvent.TASK_DONE, (
                                                                         "3 transferred, 0 "
                                                                         "failed"
                                                                         ), "1")]),
        # What it had in flight goes on first.
        ([run(state=RunState.FAILED, error="x", enqueued=2, done=1)], EMPTY, [Continue()]),
        ([run(state=RunState.FAILED, error="x", ended=NOON - 5)], EMPTY,
         [told(NotifiedEvent.TASK_ERROR, "x", "1"), Fail("x", ErrorCode.FINDER_ERROR)]),
    ],
)  # fmt: skip
def test_a_one_time_task_ends_by_its_ledger(
    runs: list[Run], depth: Depth, actions: list[Action]
) -> None:
    assert decide(view(once(), runs, depth)) == actions


def test_a_scheduled_task_waits_between_its_runs() -> None:
    assert decide(view(scheduled(), [DONE])) == [Idle()]
    assert decide(view(scheduled(reason=NO_PLACE), [DONE])) == [Say(""), Idle()]
    assert next_change(view(scheduled(), [DONE])) == TOMORROW
    assert decide(view(scheduled(next_run=0.0), [DONE], terms=Terms())) == [Idle()]


def test_a_scheduled_task_says_why_its_last_run_failed_until_another_begins() -> None:
    failed = run(3, RunState.FAILED, error="no such bucket", ended=NOON - 10)
    seen = view(scheduled(), [failed, DONE])
    reason, notice = (
        Say("run 3 failed: no such bucket"),
        told(NotifiedEvent.TASK_ERROR, "no such bucket", "3"),
    )
    assert decide(seen) == [notice, reason, Idle()]
    seen = replace(seen, task=scheduled(reason=reason.reason), told=frozenset({notice.key}))
    assert decide(seen) == [Idle()]
    # Nothing of it is told while it may be begun again.
    assert decide(replace(view(scheduled(), [failed, DONE]), listing=True)) == [Idle()]
    assert decide(replace(seen, runs=[run(4, RunState.LISTING), failed])) == [Say(""), Continue()]


@pytest.mark.parametrize(
    ("found", "texts"),
    [
        (run(2, enqueued=4, done=3, failed=1, ended=NOON - 5), ["1 objects failed in run 2"]),
        (run(2, enqueued=4, done=4, delete_enqueued=2, delete_failed=2, ended=NOON - 5),
         ["2 objects failed in run 2"]),
        (run(2, kind=RunKind.EVENTS, enqueued=1, failed=1, ended=NOON - RECENT), [(
                                                                                  "1 objects failed in run "
                                                                                  "2"
                                                                                  )]),
        (run(2, enqueued=4, done=3, failed=1, ended=NOON - RECENT - 1), []),
        (run(2, enqueued=4, done=2, failed=1, ended=NOON - 5), []),  # it is not at its end
        (run(2, enqueued=4, done=4, ended=NOON - 5), []),
        (run(2, RunState.FAILED, error="x", enqueued=1, failed=1, ended=NOON - 5),
         ["x", "1 objects failed in run 2"]),
    ],
)  # fmt: skip
def test_what_failed_in_a_run_is_told_at_its_end(found: Run, texts: list[str]) -> None:
    actions = decide(view(scheduled(), [found, DONE]))
    assert [each.text for each in actions if isinstance(each, Notify)] == texts


def test_what_the_platform_says_stays_until_it_says_no_more() -> None:
    trouble = "the change could not be made: AccessDenied"
    seen = view(scheduled(), [DONE], trouble=trouble)
    assert decide(seen) == [Say(trouble), Idle()]
    assert decide(replace(seen, task=scheduled(reason=trouble))) == [Idle()]
    assert decide(replace(seen, task=scheduled(reason=trouble), trouble="")) == [Say(""), Idle()]


def test_terms_are_those_of_the_parameters() -> None:
    given = {**BUCKETS, "scheduleRate": "1 hour", "transferWindow": "22:00-06:00", "budget": "3"}
    hourly = Schedule.parse("1 hour")
    terms = Terms(hourly, Window.parse("22:00-06:00"), 3.0, "objects")
    assert terms_of(scheduled(parameters=given)) == terms
    # A one-time task has no schedule, whatever it was given.
    assert terms_of(once(parameters=given)) == replace(terms, schedule=None)
    with pytest.raises(UsageError, match="transferWindow"):
        terms_of(once(parameters={**given, "transferWindow": "never"}))


# --------------------------------------------------------------------------------------- properties


MOVES = {
    SetUp: Change.STARTED,
    Pause: Change.PAUSE,
    Fail: Change.FAIL,
    Finish: Change.FINISHED,
    Stop: Change.ENDED,
}
STANDING = (Continue, Idle, Hold, TakeDown)  # they lead to nothing new


def changed(task: Task, action: Action) -> Task:
    """The task once this was carried out."""
    task = replace(task)
    if type(action) in MOVES:
        tasks.move(task, MOVES[type(action)])
    match action:
        case Pause(reason) | Fail(reason) | Say(reason):
            task.reason = reason
        case SetNextRun(next_run):
            task.next_run = next_run
        case RetryFailed():
            task.redrive_requested = False
        case BeginRun(_, next_run):
            task.run_requested, task.reason = False, ""
            task.next_run = task.next_run if next_run is None else next_run
    if not isinstance(action, (*STANDING, Notify)):
        task.version += 1
    return task


@dataclass
class World:
    """A platform that does at once what it is told to."""

    seen: View
    sent: list[str] = field(default_factory=list)

    def carry_out(self, action: Action) -> None:
        seen = replace(self.seen, task=changed(self.seen.task, action))
        match action:
            case OpenRecords():
                seen = replace(seen, runs=[])
            case Notify():
                assert action.key not in self.sent
                self.sent.append(action.key)
                seen = replace(seen, told=seen.told | {action.key})
            case BeginRun():
                newest = max((each.id for each in seen.runs or ()), default=0)
                begun = run(newest + 1, RunState.LISTING, started=seen.now)
                seen = replace(seen, runs=[begun, *(seen.runs or ())], listing=True)
            case Release():
                seen = replace(seen, paused="")
            case RetryFailed() if seen.runs:
                sent = [
                    replace(each, state=RunState.TRANSFERRING) if redrive.are_left([each]) else each
                    for each in seen.runs
                ]
                seen = replace(seen, runs=sent)
            case Stop():
                seen = replace(seen, runs=[], depth=EMPTY)
        self.seen = seen

    def settle(self) -> list[Action]:
        """Until nothing new comes of it."""
        for _ in range(10):
            actions = decide(self.seen)
            if all(isinstance(each, STANDING) for each in actions):
                return actions
            for each in actions:
                self.carry_out(each)
        raise AssertionError(f"it never ends: {actions}")


MOMENTS = st.floats(NOON - 2 * DAY, NOON + DAY) | st.sampled_from(
    [NOON, THREE, THREE + LATE, TOMORROW]
)
WINDOWS = st.sampled_from(["", "22:00-06:00", "10:00-14:00", "Sat-Sun 00:00-24:00", BERLIN, TOKYO])
TERMS = st.builds(
    Terms,
    schedule=st.sampled_from([None, DAILY.schedule, HOURLY.schedule, Schedule.parse("1 minute")]),
    window=WINDOWS.map(Window.parse),
    budget=st.none() | st.floats(0, 5),
)
NUMBERS = st.integers(0, 3)
COUNTS = st.builds(
    Counts, listed=NUMBERS, enqueued=NUMBERS, done=NUMBERS, failed=NUMBERS, delete_enqueued=NUMBERS,
    deleted=NUMBERS, delete_failed=NUMBERS,
)  # fmt: skip
RUNS = st.lists(
    st.builds(
        Run, st.just(0), st.sampled_from(RunKind), st.sampled_from(RunState), MOMENTS, MOMENTS,
        st.sampled_from(["", "no such bucket"]), counts=COUNTS,
    ),
    max_size=4,
).map(lambda runs: [replace(each, id=len(runs) - place) for place,
each in enumerate(runs)])  # fmt: skip
TASKS = st.builds(
    scheduled,
    schedule_type=st.sampled_from(ScheduleType),
    progress=st.sampled_from(Progress),
    next_run=st.just(0.0) | MOMENTS,
    run_requested=st.booleans(),
    redrive_requested=st.booleans(),
    reason=st.sampled_from(["", OUTSIDE_WINDOW, NO_PLACE, "run 1 failed: no such bucket"]),
    spent=st.just(budget.UNKNOWN) | st.floats(0, 10),
)
VIEWS = st.builds(
    View, TASKS, MOMENTS, TERMS, runs=st.none() | RUNS, depth=st.builds(Depth, NUMBERS, NUMBERS,
    NUMBERS),
    paused=st.sampled_from(["", "", OUTSIDE_WINDOW, "403"]), refusal=st.sampled_from(["", "", "",
    "no"]),
    trouble=st.sampled_from(["", "a change could not be made"]), listing=st.booleans(),
    in_line=st.booleans(), waited=st.booleans(), began=MOMENTS, by_stack=st.booleans(),
)  # fmt: skip
MAY_NOT_BEGIN = (
    Progress.PAUSED,
    Progress.STOPPING,
    Progress.STOPPED,
    Progress.DONE,
    Progress.ERROR,
)


@given(VIEWS)
def test_the_same_view_gives_the_same_actions_and_stays_as_it_is(seen: View) -> None:
    before = copy.deepcopy(seen)
    assert decide(seen) == decide(seen) == decide(before)
    assert seen == before


@given(VIEWS)
def test_nothing_begins_of_a_task_that_is_paused_stops_or_has_ended(seen: View) -> None:
    begins = [
        each for each in decide(seen) if isinstance(each, BeginRun | RetryFailed | Continue | SetUp)
    ]
    if seen.task.progress in MAY_NOT_BEGIN or seen.refusal:
        assert not begins
    if seen.listing and not seen.by_stack:
        assert not [each for each in begins if isinstance(each, BeginRun)]
    if not seen.terms.window.is_open(seen.now):
        assert not [each for each in begins if not isinstance(each, SetUp)]


@given(VIEWS)
def test_an_action_is_there_once_and_says_what_comes_next(seen: View) -> None:
    actions = decide(seen)
    assert actions
    assert len(set(actions)) == len(actions)
    ends = (
        SetUp, OpenRecords, RetryFailed, BeginRun, Continue, Idle, Hold, Pause, Fail, Finish, Stop,
        TakeDown,
    )  # fmt: skip
    assert [each for each in actions if isinstance(each, ends)]


@settings(max_examples=300)
@given(VIEWS)
def test_what_is_carried_out_leads_to_rest_and_is_told_once(seen: View) -> None:
    world = World(seen)
    at_rest = world.settle()
    assert world.settle() == at_rest
    # Whoever forgets what was told, as a hub that was restarted, tells the same again: under the
    # same names.
    again = World(replace(seen, told=frozenset(world.sent)))
    again.settle()
    assert not set(again.sent) & set(world.sent)


@given(VIEWS, st.floats(0, 1))
def test_until_the_next_change_time_alone_changes_nothing(seen: View, part: float) -> None:
    def kinds(now: float) -> list[object]:
        """But what ended some time ago is told no more."""
        actions = decide(replace(seen, now=now))
        old = (NotifiedEvent.TASK_ERROR, NotifiedEvent.DEAD_LETTERS)
        return [
            type(each) for each in actions if not (isinstance(each, Notify) and each.event in old)
        ]

    until = next_change(seen) or seen.now + DAY
    now = kinds(seen.now)
    if seen.task.progress is Progress.IN_PROGRESS and SetNextRun not in now:
        assert kinds(seen.now + part * 0.999 * (until - seen.now)) == now


@pytest.mark.parametrize("zone", ["", "Asia/Kathmandu"])
def test_the_time_zone_of_a_task_holds_for_its_schedule_window_and_timetable(zone: str) -> None:
    hours = {"transferWindow": "08:00-18:00", "bandwidthTimetable": "08:00-18:00 10M"}
    task = scheduled(
        parameters={
            **BUCKETS,
            **hours,
            "ec2CronExpression": "0 8 * * ? *",
            "scheduleTimeZone": zone,
        }
    )
    terms, (timetable, _) = terms_of(task), timetable_of(task)
    begins = at("2026-05-05T08:00", zone or "UTC")
    assert terms.schedule is not None
    assert terms.schedule.next_after(begins - DAY / 2) == begins
    for weekly in (terms.window, timetable):
        assert weekly.next_change(begins - DAY / 4) == begins
