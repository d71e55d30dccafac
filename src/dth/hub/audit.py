"""Entries of the audit log in addition to changes through the API, and which entries concern tasks.

`target` of an entry is the object that it concerns. Names of tasks can be chosen, and can equal
names of users, so the operation decides what a viewer may read.
"""

import json
from collections.abc import Mapping
from typing import Any

from dth.core import clock
from dth.hub.model import AuditEntry
from dth.hub.names import canonical
from dth.hub.ports import Audit

SIGN_IN, SIGN_OUT, CONTINUE = "signIn", "signOut", "continueSession"
USE_TOKEN = "useToken"
ACCEPT_INVITATION = "acceptInvitation"
BUILT_IN_SIGN_IN = "startBuiltInSignIn"
BACKUP, RESTORE, ROTATE_KEY = "backup", "restore", "rotateKey"

# What the hub itself did to a task: who and via are HUB.
HUB = "hub"
PAUSED_BY_HUB, FAILED_BY_HUB = "pausedByHub", "failedByHub"
WINDOW_CLOSED, WINDOW_OPENED = "windowClosed", "windowOpened"
CONTINUED_AFTER_RESTART = "continuedAfterRestart"

OF_TASKS = (
    "createTask",
    "cloneTask",
    "editTask",
    "stopTask",
    "pauseTask",
    "resumeTask",
    "startRun",
    "retryFailed",
    "redriveDeadLetters",
    "deleteTask",
    "acknowledgeTask",
    "withdrawAcknowledgement",
    "copyFindings",
    PAUSED_BY_HUB,
    FAILED_BY_HUB,
    WINDOW_CLOSED,
    WINDOW_OPENED,
    CONTINUED_AFTER_RESTART,
)

OF_USERS = ("createUser", "setUserPassword", "setUserRole", "deleteUser")


def target_of(what: str, name: str) -> str:
    """What an operation concerns. A user is named in the stored form, however the caller wrote the
    name: then a search for the user finds all entries."""
    return canonical(name) if what in OF_USERS else name


async def note(
    audit: Audit,
    what: str,
    who: str,
    via: str,
    *,
    target: str = "",
    outcome: str = "ok",
    **detail: Any,
) -> None:
    """Record an event that has happened."""
    await audit.begin(entry(what, who, via, target=target, outcome=outcome, detail=detail))


async def note_of_hub(audit: Audit, what: str, task: str, **detail: Any) -> None:
    """Record what the hub itself did to a task."""
    await note(audit, what, HUB, HUB, target=task, **detail)


def entry(
    what: str, who: str, via: str, *, target: str = "", outcome: str = "", detail: Mapping[str, Any]
) -> AuditEntry:
    """An entry for an operation of a caller. `detail` is stored as JSON."""
    return AuditEntry(clock.now(), who, via, what, target, json.dumps(detail, default=str), outcome)
