"""The cost of tasks, and which budgets can be enforced. An unknown cost is stored as UNKNOWN."""

from collections.abc import Iterable

from dth.core.errors import UsageError
from dth.core.plugins import plugin
from dth.core.ports.runs import Run
from dth.core.prices import Prices
from dth.hub.model import Task

UNKNOWN = -1.0


def spent(task: Task, runs: Iterable[Run], prices: Prices) -> float:
    """The cost of the task's runs so far, in USD."""
    found = plugin(task.type).spent(task.model, [run.counts for run in runs], prices)
    return UNKNOWN if found is None else found


def check(task: Task, prices: Prices) -> None:
    """Raises UsageError for a budget that cannot be enforced, because a price is not known."""
    chosen, parameters = plugin(task.type), task.model
    if chosen.budget(parameters) is not None and (unknown := chosen.unpriced(parameters, prices)):
        raise UsageError(
            f"budget: no prices are known for {unknown}; an administrator gives them in "
            "hub.yaml, below prices"
        )
