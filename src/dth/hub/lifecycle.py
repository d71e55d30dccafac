"""The life of a task: which event leads from which status to which. Nothing else changes a task's
`progress`.

    create ──> STARTING ──started──> IN_PROGRESS ──finished──> DONE

    STARTING, IN_PROGRESS ──pause──> PAUSED
    STARTING, IN_PROGRESS ──fail──> ERROR
    STARTING, IN_PROGRESS, PAUSED, ERROR ──stop──> STOPPING ──ended──> STOPPED
    PAUSED, STOPPED, ERROR ──resume──> STARTING
    STOPPED, ERROR, DONE ──start──> STARTING

An event that changes nothing (stop a stopped task, pause a paused one) is not an error: calls are
idempotent. An event that makes no sense is refused with a message that says which one would.
"""

from enum import StrEnum

from dth.core.errors import Conflict
from dth.hub.model import Progress


class TaskEvent(StrEnum):
    """What changes the status of a task."""

    STARTED = "started"  # its processes can run
    PAUSE = "pause"  # by a user, a budget, or endpoint trouble
    RESUME = "resume"
    STOP = "stop"
    # Nothing of the task runs any more, and its uploads are discarded.
    ENDED = "ended"
    FINISHED = "finished"  # a one-time task's ledger balances
    FAIL = "fail"
    # Again, from the beginning of its life. The task still knows what it copied.
    START = "start"


P = Progress

TRANSITIONS: dict[TaskEvent, dict[Progress, Progress]] = {
    TaskEvent.STARTED: {P.STARTING: P.IN_PROGRESS, P.IN_PROGRESS: P.IN_PROGRESS},
    TaskEvent.PAUSE: {P.STARTING: P.PAUSED, P.IN_PROGRESS: P.PAUSED, P.PAUSED: P.PAUSED},
    TaskEvent.RESUME: {
        P.PAUSED: P.STARTING,
        P.STOPPED: P.STARTING,
        P.ERROR: P.STARTING,
        P.STARTING: P.STARTING,
        P.IN_PROGRESS: P.IN_PROGRESS,
    },
    TaskEvent.STOP: {
        P.STARTING: P.STOPPING,
        P.IN_PROGRESS: P.STOPPING,
        P.PAUSED: P.STOPPING,
        P.ERROR: P.STOPPING,
        P.STOPPING: P.STOPPING,
        P.STOPPED: P.STOPPED,
    },
    TaskEvent.ENDED: {P.STOPPING: P.STOPPED},
    TaskEvent.FINISHED: {P.STARTING: P.DONE, P.IN_PROGRESS: P.DONE},
    TaskEvent.FAIL: {P.STARTING: P.ERROR, P.IN_PROGRESS: P.ERROR},
    TaskEvent.START: {
        P.STARTING: P.STARTING,
        P.IN_PROGRESS: P.IN_PROGRESS,
        P.STOPPED: P.STARTING,
        P.DONE: P.STARTING,
        P.ERROR: P.STARTING,
    },
}

# What a user may ask for, as what happens to the task.
ASKED_FOR = {
    TaskEvent.PAUSE: "paused",
    TaskEvent.RESUME: "resumed",
    TaskEvent.STOP: "stopped",
    TaskEvent.START: "run again",
}

# Something of the task runs, or may be about to run.
LIVE = (P.STARTING, P.IN_PROGRESS, P.PAUSED, P.STOPPING)
REMOVABLE = (P.STOPPED, P.DONE, P.ERROR)


def after(progress: Progress, event: TaskEvent) -> Progress:
    """The status after this event. Raises Conflict if the event makes no sense in this status."""
    to = TRANSITIONS[event].get(progress)
    if to is None:
        possible = [words for each, words in ASKED_FOR.items() if progress in TRANSITIONS[each]]
        hint = f"it can be {' or '.join(possible)}" if possible else "wait until it has stopped"
        asked = ASKED_FOR.get(event, event.value)
        raise Conflict(f"a task that is {progress} cannot be {asked}; {hint}")
    return to
