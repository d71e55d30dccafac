"""EventBridge: schedules run SPEED times as fast, so that a minute's controller comes every few seconds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ministack.services import eventbridge

from tests.aws.emulator.patching import replace

if TYPE_CHECKING:
    from collections.abc import Callable

SPEED = float(os.environ.get("EMULATOR_SPEED", "1"))


def patch() -> None:
    replace(eventbridge, "_parse_rate_seconds", _faster)
    replace(eventbridge, "_SCHEDULER_TICK_INTERVAL", lambda seconds: min(seconds, 0.5))


def _faster(original: Callable[[str], float | None]) -> Callable[[str], float | None]:
    def seconds(expression: str) -> float | None:
        found = original(expression)
        return found and found / SPEED

    return seconds
