"""Which runs decide what `dth task run --watch` answers."""

from __future__ import annotations

from typing import Any

import pytest

from dth.cli.task import _ended


def run(id: int, ended: str = "") -> dict[str, Any]:
    return {"id": id, "endedAt": ended or None}


@pytest.mark.parametrize(
    ("before", "now", "decide"),
    [
        ([], [], []),
        ([], [run(1)], []),
        ([], [run(1, "now")], [1]),
        ([run(1, "long ago")], [run(1, "long ago")], []),
        ([run(1, "long ago")], [run(2, "now"), run(1, "long ago")], [2]),
        # Objects of run 1 were in progress: to run 2 they are pending, and may still fail.
        ([run(1)], [run(2, "now"), run(1)], []),
        ([run(1)], [run(2, "now"), run(1, "now")], [2, 1]),
        # Later runs of the schedule do not prolong it.
        ([run(1, "long ago")], [run(3), run(2, "now"), run(1, "long ago")], [2]),
    ],
)
def test_the_next_run_and_those_that_had_not_ended(
    before: list[dict[str, Any]], now: list[dict[str, Any]], decide: list[int]
) -> None:
    assert [each["id"] for each in _ended(now, before)] == decide
