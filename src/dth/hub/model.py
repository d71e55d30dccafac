"""What the hub keeps: tasks, and who may do what. Plain data; times are seconds since the epoch, 0 for never."""

from dataclasses import dataclass, field
from enum import StrEnum


class ScheduleType(StrEnum):
    ONE_TIME = "ONE_TIME"
    FIXED_RATE = "FIXED_RATE"


class Progress(StrEnum):
    """The status of a task. `lifecycle` has what leads from one to another."""

    STARTING = "STARTING"
    IN_PROGRESS = "IN_PROGRESS"
    PAUSED = "PAUSED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    DONE = "DONE"
    ERROR = "ERROR"


class ErrorCode(StrEnum):
    """Why a task is in ERROR, in the words that existing clients know."""

    CFN_ERROR = "CFN_ERROR"  # it could not be set up
    FINDER_ERROR = "FINDER_ERROR"  # a listing or comparison failed
    COMPLETE_CHECK_ERROR = "COMPLETE_CHECK_ERROR"  # objects failed
    UN_KNOWN = "UN_KNOWN"


@dataclass(slots=True)
class Summary:
    """How a task's last run stands, as lists show it: kept with the task so that a list opens no other database.
    `rate` is bytes a second; `eta` seconds, -1 where it cannot be told."""

    run: int = 0
    listing: bool = False
    total: int = 0
    replicated: int = 0
    failed: int = 0
    total_bytes: int = 0
    done_bytes: int = 0
    rate: float = 0.0
    eta: float = -1.0
    workers: int = 0
    waiting: int = 0
    state: str = ""  # one of `progress.State`; "" before there is a run
    note: str = ""  # what it waits for, for people
    # The last run that listed and has ended, with what became of it (`progress.Result`).
    last_run: int = 0
    last_result: str = ""
    last_ended: float = 0.0
    last_seconds: float = 0.0


@dataclass(slots=True)
class Task:
    """One transfer that a user set up. `version` counts changes: a write names the one it is based on."""

    id: str
    type: str  # of its plugin, such as "S3EC2"
    schedule_type: ScheduleType
    parameters: dict[str, str]  # by their names in PARITY, values as they were given
    description: str = ""
    progress: Progress = Progress.STARTING
    created: float = 0.0
    created_by: str = ""
    updated: float = 0.0
    stopped: float = 0.0
    version: int = 1
    source: str = ""  # as lists show it, and text filters find it
    destination: str = ""
    writes: str = ""  # store and bucket that it writes: tasks that might disturb each other have it in common
    reason: str = ""  # why it is PAUSED or in ERROR, one line
    error_code: ErrorCode | None = None
    run_requested: bool = False  # a run is to begin at once, whatever the schedule says
    redrive_requested: bool = False  # what failed is to be tried again
    next_run: float = 0.0  # when the schedule begins a run
    spent: float = 0.0  # estimated cost so far, in USD
    summary: Summary = field(default_factory=Summary)


class Role(StrEnum):
    """Each may do what the ones before may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, other: "Role") -> bool:
        return ROLES.index(self) >= ROLES.index(other)


ROLES = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who makes a call. `via`: "oidc", "token" or "local" (a command on the hub's own machine). `user`: the user of the
    hub's own behind it, of a token its owner; "" where the hub knows none."""

    subject: str
    name: str
    role: Role
    via: str = "oidc"
    user: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change that somebody asked for. `outcome`: "" while it is under way, "ok", or an error's code."""

    at: float
    who: str
    via: str
    what: str  # the operation
    target: str  # id of what it concerned
    detail: str  # JSON of the arguments; secrets left out
    outcome: str = ""
    id: int = 0
