"""What a task is doing at the moment, for users. `Progress` is coarser: for existing clients, a
task that waits until tomorrow is IN_PROGRESS.
"""

from enum import StrEnum

from dth.core.plugins import plugin
from dth.hub.model import Progress, ScheduleType, Task
from dth.hub.progress import RunActivity

# The reasons that the engine gives when a task does nothing although it has work.
OUTSIDE_WINDOW = "outside the transfer window"
NO_PLACE = "waiting: the maximum number of tasks is already running"
HELD = (OUTSIDE_WINDOW, NO_PLACE)
NO_WORKER = "waiting: other tasks use all workers that may run"  # a note of the run


class Phase(StrEnum):
    """What a task is doing at the moment."""

    STARTING = "STARTING"
    LISTING = "LISTING"
    COPYING = "COPYING"
    DELETING = "DELETING"
    # Nothing moves; `waits_for` says until when.
    WAITING = "WAITING"
    PAUSED = "PAUSED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    DONE = "DONE"
    ERROR = "ERROR"


def phase(task: Task) -> Phase:
    """What a task is doing now, more exactly than its progress says."""
    if task.progress is not Progress.IN_PROGRESS:
        return Phase(task.progress)
    if task.reason in HELD:
        return Phase.WAITING
    if is_between_runs(task):
        if task.run_requested or not task.summary.run:
            return Phase.STARTING
        # A one-time task ends in a moment.
        return Phase.COPYING if task.schedule_type is ScheduleType.ONE_TIME else Phase.WAITING
    return Phase(task.summary.state)


def waits_for(task: Task) -> str:
    """What a WAITING task waits for, in words; "" for any other task."""
    if phase(task) is not Phase.WAITING:
        return ""
    if task.reason in HELD:
        return task.reason
    if not is_between_runs(task):
        return task.summary.note
    if plugin(task.type).follows_events(task.model):
        return "event notifications of the source"
    return "the next run" if task.next_run else "somebody who starts a run"


def is_between_runs(task: Task) -> bool:
    """Whether no run is in progress, as far as the summary knows."""
    return task.summary.state in ("", RunActivity.ENDED, RunActivity.EMPTY)
