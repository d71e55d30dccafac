"""What `dth task list` says of a task's latest run."""

from __future__ import annotations

from typing import Any

import pytest

from dth.cli.task import _done


@pytest.mark.parametrize(
    ("info", "last", "shown"),
    [
        ({"objects": 3, "doneObjects": 2, "failed": 1}, "INCOMPLETE", "2/3 failed 1"),
        ({}, "DONE", "nothing new"),
        ({}, "EMPTY", "nothing found"),
        # A run that failed may have seen only a part, and a run that still lists, too.
        ({}, "FAILED", ""),
        ({"listing": True}, "DONE", ""),
        ({}, None, ""),
    ],
)
def test_only_a_run_that_ended_well_found_nothing_new(
    info: dict[str, Any], last: str | None, shown: str
) -> None:
    found = {"objects": 0, "doneObjects": 0, "failed": 0, "listing": False, **info}
    assert _done({"progressInfo": found, "lastRun": last and {"result": last}}) == shown
