"""The data model of the hub: tasks and roles. Plain data; times are seconds since the epoch, 0 for
never."""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from dth.hub.parameters import read_parameters


class ScheduleType(StrEnum):
    """Whether a task runs once or by a schedule. Both kinds of schedule are FIXED_RATE here, as in
    existing tasks."""

    ONE_TIME = "ONE_TIME"
    FIXED_RATE = "FIXED_RATE"


class Progress(StrEnum):
    """The status of a task. `lifecycle` defines the transitions."""

    STARTING = "STARTING"
    IN_PROGRESS = "IN_PROGRESS"
    PAUSED = "PAUSED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    DONE = "DONE"
    ERROR = "ERROR"


# Statuses that only a person ends, after something went wrong.
NEED_A_PERSON = (Progress.ERROR, Progress.PAUSED)
# Of `progress.Result`.
BAD_RESULTS = ("FAILED", "INCOMPLETE")


class ErrorCode(StrEnum):
    """Why a task is in ERROR, in the terms of existing clients."""

    CFN_ERROR = "CFN_ERROR"  # it could not be set up
    FINDER_ERROR = "FINDER_ERROR"  # a listing or comparison failed
    COMPLETE_CHECK_ERROR = "COMPLETE_CHECK_ERROR"  # objects failed
    UN_KNOWN = "UN_KNOWN"


@dataclass(slots=True)
class Summary:
    """The state of a task's last run, for lists. Stored with the task, so that a list opens no
    other database. `rate` is in bytes per second; `eta` in seconds, -1 if unknown."""

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
    # A `progress.State`; "" before the first run.
    state: str = ""
    note: str = ""  # what it waits for, as text
    # The last run that listed and has ended, with its result (`progress.Result`).
    last_run: int = 0
    last_result: str = ""
    last_ended: float = 0.0
    last_seconds: float = 0.0
    # The last such runs, oldest first: id, result, end, seconds.
    recent_runs: list[tuple[int, str, float, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody knows that a task is in trouble: until a time (0: no bound), or until something new
    fails. `run`, `failed` and `last_run` are those of the task's summary at that moment."""

    by: str
    at: float
    until: float
    run: int
    failed: int
    last_run: int


@dataclass
class Task:
    """One transfer that a user set up. `version` counts changes: a write names the version that it
    is based on."""

    id: str
    type: str  # its plugin, such as "S3EC2"
    schedule_type: ScheduleType
    # By their names in PARITY, with values as given.
    parameters: dict[str, str]
    description: str = ""
    progress: Progress = Progress.STARTING
    created: float = 0.0
    created_by: str = ""
    updated: float = 0.0
    stopped: float = 0.0
    version: int = 1
    source: str = ""  # for lists and text filters
    destination: str = ""
    # The store and bucket that it writes to. Tasks that might conflict have the same value.
    writes: str = ""
    reason: str = ""  # why it is PAUSED or in ERROR, one line
    error_code: ErrorCode | None = None
    # Begin a run at once, whatever the schedule says.
    run_requested: bool = False
    redrive_requested: bool = False  # retry failed objects
    delete_requested: bool = False  # delete it as soon as it has stopped
    next_run: float = 0.0  # when the schedule begins a run
    spent: float = 0.0  # estimated cost so far, in USD
    summary: Summary = field(default_factory=Summary)
    # What its stores add to the parameters, by the name of the store.
    stores: dict[str, dict[str, str]] = field(default_factory=dict)
    # Withdrawn when the task is paused or fails again.
    acknowledged: Acknowledgement | None = None

    @property
    def resolved(self) -> dict[str, str]:
        """The parameters together with what the stores add: what the task works with."""
        added = {name: value for store in self.stores.values() for name, value in store.items()}
        return added | self.parameters

    @cached_property
    def model(self) -> Any:
        """What the task works with, as the model of its plugin, parsed at the first use. Raises
        UsageError."""
        return read_parameters(self.type, self.resolved)

    def needs_attention(self, now: float) -> bool:
        """Whether somebody should look at it: it is in trouble, and nobody has acknowledged this
        trouble."""
        return self.is_in_trouble and not self.is_acknowledged(now)

    def is_acknowledged(self, now: float) -> bool:
        """Whether an acknowledgement holds: not after its time, nor after a new failure."""
        known, now_is = self.acknowledged, self.summary
        if known is None or 0 < known.until <= now:
            return False
        failed_since = now_is.last_run > known.last_run and now_is.last_result in BAD_RESULTS
        lost_since = now_is.failed > 0 and (now_is.run > known.run or now_is.failed > known.failed)
        return not failed_since and not lost_since

    @property
    def is_in_trouble(self) -> bool:
        """Whether it waits for a person, or could not copy everything."""
        return (
            self.progress in NEED_A_PERSON
            or self.summary.failed > 0
            or self.summary.last_result in BAD_RESULTS
        )

    def give(self, parameters: dict[str, str], stores: dict[str, dict[str, str]]) -> None:
        """Replace the parameters, and what the stores add to them."""
        self.parameters, self.stores = parameters, stores
        self.__dict__.pop("model", None)


class Role(StrEnum):
    """Each role includes the ones before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, other: "Role") -> bool:
        """Whether this role permits everything that the other one does."""
        return ROLES.index(self) >= ROLES.index(other)


ROLES = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller. `via`: "oidc", "token" or "local" (a command on the hub's own machine). `user`:
    the hub's own user behind the call, for a token its owner; "" if the hub knows none."""

    subject: str
    name: str
    role: Role
    via: str = "oidc"
    user: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One requested change. `outcome`: "" while in progress, "ok", or the code of an error."""

    at: float
    who: str
    via: str
    what: str  # the operation
    target: str  # id of the object it concerns
    detail: str  # JSON of the arguments, without secrets
    outcome: str = ""
    id: int = 0
