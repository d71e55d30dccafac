"""The data model of the hub."""

from __future__ import annotations

import pytest

from dth.core.errors import UsageError
from dth.hub import model
from dth.hub.model import ScheduleType, Task


def task(**parameters: str) -> Task:
    return Task("a", "S3EC2", ScheduleType.ONE_TIME, parameters)


def test_parameters_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    original = model.read_parameters

    def read(type: str, given: dict[str, str]) -> object:
        parsed.append(given)
        return original(type, given)

    monkeypatch.setattr(model, "read_parameters", read)
    one = task(srcBucket="a")
    assert (one.model.src_bucket, one.model.dest_bucket) == ("a", "")
    assert len(parsed) == 1
    one.give({"srcBucket": "b"})
    assert one.model.src_bucket == "b"


def test_invalid_parameters_are_refused_each_time() -> None:
    wrong = task(partSize="1")
    for _ in range(2):
        with pytest.raises(UsageError, match="partSize: 1 is out of range"):
            _ = wrong.model


def test_parsed_parameters_are_no_part_of_the_task() -> None:
    one, other = task(srcBucket="a"), task(srcBucket="a")
    _ = one.model
    assert one == other
