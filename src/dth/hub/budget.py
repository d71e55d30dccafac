"""What a task has spent, and when that is too much. A cost that is not known is kept as UNKNOWN."""

from collections.abc import Iterable, Sequence

from dth.core.errors import UsageError
from dth.core.plugins import plugin
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Run
from dth.core.prices import Prices
from dth.hub.model import Task
from dth.hub.parameters import read_parameters

UNKNOWN = -1.0


def spent(task: Task, runs: Iterable[Run], prices: Prices) -> float:
    """What its runs have cost so far, in USD."""
    parameters = read_parameters(task.type, task.parameters)
    found = plugin(task.type).spent(parameters, [run.counts for run in runs], prices)
    return UNKNOWN if found is None else found


def check(task: Task, prices: Prices) -> None:
    """Raises UsageError for a budget that nobody could keep."""
    chosen, parameters = plugin(task.type), read_parameters(task.type, task.parameters)
    if chosen.budget(parameters) is not None and (unknown := chosen.unpriced(parameters, prices)):
        raise UsageError(
            f"budget: no prices are known for {unknown}; an administrator gives them in hub.yaml, below prices"
        )


def reached(task: Task, runs: Sequence[Run], depth: Depth) -> str:
    """Why the task pauses, as its budget is reached; "" where it goes on. One that has nothing left to do does."""
    budget = plugin(task.type).budget(read_parameters(task.type, task.parameters))
    if budget is None or task.spent < budget or not _has_work(runs, depth):
        return ""
    return f"the budget of ${budget:g} is reached (estimated ${task.spent:.4f}); raise it and resume"


def _has_work(runs: Sequence[Run], depth: Depth) -> bool:
    waiting = depth.visible + depth.in_flight + depth.delayed > 0
    return waiting or any(run.is_open and not run.is_settled for run in runs)
