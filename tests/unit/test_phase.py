"""What a task does, in people's words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dth.core.ports.runs import Counts, Run, RunKind, RunState
from dth.hub.model import Progress, ScheduleType, Summary, Task
from dth.hub.phase import NO_PLACE, OUTSIDE_WINDOW, Phase, phase, waits_for
from dth.hub.progress import Result, RunActivity, percent_of, with_last_run

SUMMARY = Summary(run=3, state=RunActivity.ENDED)
TASK = Task(
    "t", "S3EC2", ScheduleType.FIXED_RATE, {"srcBucket": "a", "destBucket": "b"},
    progress=Progress.IN_PROGRESS, next_run=5.0, summary=SUMMARY,
)  # fmt: skip
EVENTS = {"srcBucket": "a", "destBucket": "b", "srcEvent": "Create"}


def moving(state: RunActivity, note: str = "") -> Summary:
    return Summary(run=3, state=state, note=note)


@pytest.mark.parametrize(
    ("changes", "is_", "waits"),
    [
        ({}, Phase.WAITING, "the next run"),
        ({"next_run": 0.0}, Phase.WAITING, "somebody who starts a run"),
        ({"parameters": EVENTS}, Phase.WAITING, "event notifications of the source"),
        ({"summary": moving(RunActivity.EMPTY)}, Phase.WAITING, "the next run"),
        ({"reason": "run 3 failed: it could not be listed"}, Phase.WAITING, "the next run"),
        ({"run_requested": True}, Phase.STARTING, ""),
        ({"summary": Summary()}, Phase.STARTING, ""),
        ({"summary": moving(RunActivity.LISTING)}, Phase.LISTING, ""),
        ({"summary": moving(RunActivity.COPYING)}, Phase.COPYING, ""),
        ({"summary": moving(RunActivity.DELETING)}, Phase.DELETING, ""),
        ({"summary": moving(RunActivity.WAITING, "503 SlowDown")}, Phase.WAITING, "503 SlowDown"),
        (
            {"summary": moving(RunActivity.COPYING), "reason": OUTSIDE_WINDOW},
            Phase.WAITING,
            OUTSIDE_WINDOW,
        ),
        ({"summary": moving(RunActivity.COPYING), "reason": NO_PLACE}, Phase.WAITING, NO_PLACE),
        ({"schedule_type": ScheduleType.ONE_TIME}, Phase.COPYING, ""),
        *(
            ({"progress": each}, Phase(each), "")
            for each in Progress
            if each is not Progress.IN_PROGRESS
        ),
    ],
)
def test_what_a_task_does(changes: dict[str, Any], is_: Phase, waits: str) -> None:
    task = replace(TASK, **changes)
    assert (phase(task), waits_for(task)) == (is_, waits)


def run(id: int, state: RunState, kind: RunKind = RunKind.SYNC, **counts: int) -> Run:
    return Run(id, kind, state, started=100.0 * id, ended=100.0 * id + 7, counts=Counts(**counts))


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ([run(1, RunState.DONE, listed=2, same=1, enqueued=1, done=1)], (1, Result.DONE)),
        ([run(1, RunState.DONE, listed=2, enqueued=2, done=1, failed=1)], (1, Result.INCOMPLETE)),
        ([run(1, RunState.DONE, delete_enqueued=1, delete_failed=1)], (1, Result.INCOMPLETE)),
        ([run(1, RunState.DONE)], (1, Result.EMPTY)),
        ([run(1, RunState.FAILED, listed=5, enqueued=5)], (1, Result.FAILED)),
        (
            [run(2, RunState.TRANSFERRING, listed=1, enqueued=1), run(1, RunState.DONE)],
            (1, Result.EMPTY),
        ),
        (
            [run(2, RunState.DONE, RunKind.EVENTS), run(1, RunState.DONE, listed=1, same=1)],
            (1, Result.DONE),
        ),
        (
            [
                run(2, RunState.DONE, RunKind.REDRIVE, enqueued=1, done=1),
                run(1, RunState.DONE, listed=1, enqueued=1, failed=1),
            ],
            (1, Result.DONE),
        ),
        ([run(2, RunState.LISTING)], (9, Result.FAILED)),
        ([], (9, Result.FAILED)),
    ],
)
def test_what_became_of_the_last_run(runs: list[Run], told: tuple[int, Result]) -> None:
    before = Summary(last_run=9, last_result=Result.FAILED, last_ended=1.0, last_seconds=7.0)
    summary = with_last_run(Summary(run=5), before, runs)
    assert (summary.run, summary.last_run, summary.last_result, summary.last_seconds) == (
        5,
        *told,
        7.0,
    )


def test_the_last_ten_runs_are_known() -> None:
    ended = [
        run(number, RunState.FAILED)
        if number == 3
        else run(number, RunState.DONE, listed=1, same=1)
        for number in range(1, 13)
    ]
    summary = with_last_run(Summary(), Summary(), ended[:4][::-1])
    told = [(each[0], each[1]) for each in summary.recent_runs]
    assert told == [(1, "DONE"), (2, "DONE"), (3, "FAILED"), (4, "DONE")]
    # The newest runs alone are at hand later.
    summary = with_last_run(Summary(), summary, ended[4:][::-1])
    assert [each[0] for each in summary.recent_runs] == [*range(3, 13)]
    assert summary.recent_runs[-1] == (12, "DONE", 1207.0, 7.0)
    before = Summary(last_run=1, last_result="EMPTY", last_ended=5.0, last_seconds=2.0)
    assert with_last_run(Summary(), before, []).recent_runs == [(1, "EMPTY", 5.0, 2.0)]


@pytest.mark.parametrize(
    ("summary", "percent"),
    [
        (Summary(), None),
        (Summary(total=1, replicated=0, total_bytes=1000, done_bytes=500), 50),
        (Summary(total=1, replicated=0, total_bytes=1000, done_bytes=1000), 99),
        (Summary(total=1, replicated=1, total_bytes=1000, done_bytes=1000), 100),
        (Summary(total=4, replicated=1, failed=1), 50),
        (Summary(total=4, replicated=3, total_bytes=9, done_bytes=6, state=RunActivity.ENDED), 100),
    ],
)
def test_how_much_of_a_run_is_through(summary: Summary, percent: int | None) -> None:
    assert percent_of(summary) == percent
