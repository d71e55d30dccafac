"""What a preflight notes: the same for every plugin, as API and console show it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Statement = dict[str, Any]  # of an IAM policy document


class State(StrEnum):
    OK = "OK"
    WARNING = "WARNING"  # the task runs, but perhaps not as it is meant
    FAILED = "FAILED"  # the task, or a part of what it moves, will fail
    UNKNOWN = "UNKNOWN"  # could not be told


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried or read."""

    side: str  # "source" or "destination"
    name: str
    state: State
    found: str  # one line
    todo: str = ""  # what to do about it, one line
    statement: Statement = field(default_factory=dict)  # IAM statement to add; {}: none is missing


def worst(checks: Iterable[Check]) -> State:
    """What all of them come to."""
    states = {check.state for check in checks}
    return next(s for s in (State.FAILED, State.WARNING, State.UNKNOWN, State.OK) if s in states)
