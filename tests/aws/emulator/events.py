"""EventBridge: schedules run SPEED times as fast, so that a minute's controller comes every few
seconds. A minute is long enough for a function or a state machine to be done, some seconds are not:
it is started again when it is. Otherwise a busy machine would start more and more of them.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from ministack.services import eventbridge, lambda_svc, scheduler, stepfunctions

from tests.aws.emulator.patching import replace

if TYPE_CHECKING:
    from collections.abc import Callable

SPEED = float(os.environ.get("EMULATOR_SPEED", "1"))

_running: set[str] = set()  # functions that events called
_lock = threading.Lock()


def patch() -> None:
    replace(eventbridge, "_parse_rate_seconds", _faster)
    replace(eventbridge, "_SCHEDULER_TICK_INTERVAL", lambda seconds: min(seconds, 0.5))
    replace(scheduler, "_SCHEDULE_TICK_INTERVAL", lambda seconds: min(seconds, 0.5))
    replace(eventbridge, "_dispatch_to_lambda", _when_it_is_done)
    replace(eventbridge, "_dispatch_to_stepfunctions", _when_it_has_ended)
    replace(lambda_svc, "_execute_function_with_config_scope", _known)


def _faster(original: Callable[[str], float | None]) -> Callable[[str], float | None]:
    def seconds(expression: str) -> float | None:
        found = original(expression)
        return found and found / SPEED

    return seconds


def _when_it_is_done(original: Callable[[str, str], None]) -> Callable[[str, str], None]:
    def dispatch(arn: str, payload: str) -> None:
        if '"Scheduled Event"' not in payload or arn not in _running:
            original(arn, payload)

    return dispatch


def _when_it_has_ended(original: Callable[[str, str], None]) -> Callable[[str, str], None]:
    def dispatch(arn: str, payload: str) -> None:
        executions = list(stepfunctions._executions.values())
        runs = any(
            each["stateMachineArn"] == arn and each["status"] == "RUNNING" for each in executions
        )
        if '"Scheduled Event"' not in payload or not runs:
            original(arn, payload)

    return dispatch


def _known(original: Callable[..., Any]) -> Callable[..., Any]:
    def execute(record: dict[str, Any], event: Any) -> Any:
        arn = record["config"]["FunctionArn"]
        with _lock:
            _running.add(arn)
        try:
            return original(record, event)
        finally:
            with _lock:
                _running.discard(arn)

    return execute
