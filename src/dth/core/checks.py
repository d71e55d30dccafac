"""What a preflight notes: the same for every plugin, as API and console show it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
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


def report(
    checks: Sequence[Check], policies: Mapping[str, Mapping[str, Any]] | None = None, requests: int = 0
) -> dict[str, Any]:
    """The result of a preflight. `policies`: the IAM policy that a side lacks, by side. `requests`: that it took."""
    return {
        "state": worst(checks).value,
        "checks": [asdict(check) for check in checks],
        "policies": {"source": {}, "destination": {}, **(policies or {})},
        "requests": requests,
    }
