"""The results of a preflight: the same for all plugins, as the API and the console show them."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

Statement = dict[str, Any]  # of an IAM policy document


class CheckState(StrEnum):
    """The result of one check."""

    OK = "OK"
    # The task runs, but perhaps not as intended.
    WARNING = "WARNING"
    FAILED = "FAILED"  # the task, or a part of it, will fail
    UNKNOWN = "UNKNOWN"  # could not be determined


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tested or read."""

    # "source", "destination", or "network": of what the task runs on.
    side: str
    name: str
    state: CheckState
    found: str  # one line
    todo: str = ""  # what to do about it, one line
    # The IAM statement to add; {} if none is missing.
    statement: Statement = field(default_factory=dict)


def worst(checks: Iterable[Check]) -> CheckState:
    """The overall result: the worst state among the checks."""
    return worst_of({check.state for check in checks})


def worst_of(states: AbstractSet[CheckState]) -> CheckState:
    """The worst of some states."""
    return next(
        s
        for s in (CheckState.FAILED, CheckState.WARNING, CheckState.UNKNOWN, CheckState.OK)
        if s in states
    )


def report(
    checks: Sequence[Check],
    policies: Mapping[str, Mapping[str, Any]] | None = None,
    requests: int = 0,
) -> dict[str, Any]:
    """The result of a preflight. `policies`: the missing IAM policy, by side. `requests`: how many
    requests it sent."""
    return {
        "state": worst(checks).value,
        "checks": [asdict(check) for check in checks],
        "policies": {"source": {}, "destination": {}, **(policies or {})},
        "requests": requests,
    }


def with_check(result: Mapping[str, Any], check: Check) -> dict[str, Any]:
    """The result of a preflight with one more check."""
    checks = [*result["checks"], asdict(check)]
    states = {CheckState(each["state"]) for each in checks}
    return {**result, "checks": checks, "state": worst_of(states).value}
