"""Templates: alarms on metric math are made. Nobody computes them here: `machines` and tests read them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ministack.services.cloudformation import provisioners

from tests.aws.emulator.patching import replace

if TYPE_CHECKING:
    from collections.abc import Callable


def patch() -> None:
    replace(provisioners, "_cw_metric_alarm_record", _alarm)


def _alarm(original: Callable[[str, dict[str, Any]], Any]) -> Callable[[str, dict[str, Any]], Any]:
    def record(name: str, properties: dict[str, Any]) -> Any:
        metrics = properties.get("Metrics")
        if not metrics:
            return original(name, properties)
        plain = {each: value for each, value in properties.items() if each != "Metrics"}
        plain |= {"Namespace": "MetricMath", "MetricName": name, "Statistic": "Maximum", "Period": 60}
        return {**original(name, plain), "Metrics": metrics}

    return record
