"""The interfaces that the hub requires of a platform, in addition to those of a task
(`dth.core.ports`).

Each `Protocol` has two implementations: SQL and files on one machine (`platforms.local`), and
managed services on AWS. `tests/contract/test_hub.py` checks both against these docstrings; a new
platform must pass it. No operation needs a transaction that spans two calls.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from dth.core.ports.findings import Finding, FolderTally, State, StateTally
from dth.core.ports.platform import Platform
from dth.core.prices import Prices
from dth.core.secrets import SecretUse
from dth.core.stores import Store
from dth.hub.model import AuditEntry, Identity, Progress, Role, ScheduleType, Task

if TYPE_CHECKING:
    from dth.hub.auth import IssuerConfig
    from dth.hub.issuer_check import IssuerCheck

# -------------------------------------------------------------------------------------------- tasks


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """Filter and order for a list of tasks. With all fields empty: all tasks, newest first."""

    progress: Sequence[Progress] = ()
    type: str | None = None
    schedule_type: ScheduleType | None = None
    writes: str = ""  # exact match
    store: str = ""  # only tasks that use this store
    attention: bool = False  # only tasks for which `needs_attention` is true
    # Searched in description, id, source and destination. Case does not matter.
    text: str = ""
    order: str = "created"  # or "updated", "description", "progress"
    descending: bool = True
    page: int = 1  # from 1
    count: int = 20


class Tasks(Protocol):
    """The tasks of the hub."""

    async def add(self, task: Task) -> None:
        """Raises Conflict if the id exists."""
        ...

    async def get(self, id: str) -> Task:
        """Raises NotFound."""
        ...

    async def find(self, query: TaskQuery) -> tuple[list[Task], int]:
        """Returns one page, and the total number of matches."""
        ...

    async def save(self, task: Task) -> bool:
        """Write the task if its stored version is still `task.version`; the write increments the
        version, also in `task`. Returns False if another caller wrote first: read the task again.
        Does not write `summary` or `spent`."""
        ...

    async def summarize(self, task: Task) -> None:
        """Write only `summary` and `spent`, whatever the version. Only the process that runs the
        task calls this."""
        ...

    async def remove(self, id: str) -> None:
        """Forget a task. Nothing happens if there is none."""
        ...

    async def count(self) -> dict[Progress, int]:
        """The number of tasks by status."""
        ...

    async def count_by_store(self) -> dict[str, int]:
        """The number of tasks that use each store; stores that no task uses are left out."""
        ...


@dataclass(frozen=True, slots=True)
class TaskStackState:
    """The CloudFormation stack of a task. `status` is CloudFormation's own; `descriptions` explains
    each of the `outputs`."""

    id: str
    name: str
    status: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """Runs tasks."""

    async def changed(self, id: str) -> None:
        """Report that the task was written, so that the engine looks at it now. Only a hint:
        without it, the engine notices the change later."""
        ...

    def open(self, id: str, *, make: bool = False) -> AbstractAsyncContextManager[Platform]:
        """Open the task's queue, records and ledgers. `make`: even if it was never set up."""
        ...

    async def stack(self, id: str) -> TaskStackState | None:
        """The stack as of the last look. None: the task has no stack, on this platform or at the
        moment."""
        ...

    async def read_digest(self, id: str, run: int) -> None:
        """Complete the digest of a run for which the hub does not keep one. This can take
        minutes; an interrupted call keeps its progress."""
        ...

    async def discard(self, id: str) -> None:
        """Delete everything that the task left: records and logs. Idempotent."""
        ...


# ------------------------------------------------------------------------------------------ secrets


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """What may be shown of a secret: everything except its value."""

    name: str
    description: str = ""
    updated: float = 0.0
    # The hosts that it may be used with, in the form of `dth.core.secret_bindings`. Empty: the
    # first use sets them.
    hosts: tuple[str, ...] = ()


class Secrets(Protocol):
    """Named secrets, encrypted at rest. Only the engine reads values
    (`dth.core.secrets.SecretStore`)."""

    async def list(self) -> list[SecretInfo]:
        """All secrets, without their values."""
        ...

    async def create(
        self, name: str, value: str, description: str = "", hosts: Sequence[str] = ()
    ) -> None:
        """Raises Conflict if the name exists, UsageError for an invalid name."""
        ...

    async def update(
        self, name: str, value: str | None = None, description: str | None = None
    ) -> None:
        """None leaves a field unchanged. Raises NotFound."""
        ...

    async def bind(self, name: str, hosts: Sequence[str]) -> None:
        """Allow the secret with these hosts only. Empty: the next use sets the hosts. Raises
        NotFound."""
        ...

    async def use(self, uses: Sequence[SecretUse]) -> Sequence[str]:
        """Register that work with these secrets begins. Secrets without hosts are bound to the
        hosts of the work, all or none; a caller that begins at the same moment finds them bound.
        Secrets that do not exist are skipped: reading them raises the error. Returns the secrets
        that may be used with any host. Raises WrongHost."""
        ...

    async def delete(self, name: str) -> None:
        """Raises NotFound."""
        ...


# ------------------------------------------------------------------------------------------- stores


class Stores(Protocol):
    """The stores of the hub, which tasks name. `updated` of a store is set when it is written."""

    async def list(self) -> list[Store]:
        """In the order of their names."""
        ...

    async def get(self, name: str) -> Store:
        """Raises NotFound."""
        ...

    async def add(self, store: Store) -> None:
        """Raises Conflict if the name exists."""
        ...

    async def save(self, store: Store) -> None:
        """Replace the store with this name. Raises NotFound."""
        ...

    async def remove(self, name: str) -> None:
        """Raises NotFound."""
        ...


# -------------------------------------------------------------------------------------------- users


@dataclass(frozen=True, slots=True)
class User:
    """A user of the built-in provider."""

    name: str
    role: Role
    email: str = ""
    created: float = 0.0
    last_login: float = 0.0
    must_change: bool = False  # somebody else set the password


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """An API token without its secret part. `owner`: the user that it belongs to, if the hub knows
    one."""

    id: str
    name: str
    role: Role
    created: float
    expires: float  # 0: never
    last_used: float = 0.0
    created_by: str = ""
    owner: str = ""


class Users(Protocol):
    """Users of the built-in provider. An external issuer keeps its users itself."""

    async def list(self) -> list[User]:
        """All users."""
        ...

    async def add(
        self, name: str, password: str, role: Role, email: str = "", *, must_change: bool = False
    ) -> User:
        """Returns the user as stored: `hub.names` defines the form of names. Raises Conflict,
        UsageError."""
        ...

    async def set_password(self, name: str, password: str, *, must_change: bool = False) -> None:
        """Raises NotFound. `must_change`: the user must choose a new password."""

    async def set_role(self, name: str, role: Role) -> User:
        """Raises NotFound, and Conflict for the last admin."""
        ...

    async def remove(self, name: str) -> None:
        """Raises NotFound, and Conflict for the last admin."""
        ...


class Tokens(Protocol):
    """API tokens of the hub."""

    async def list(self) -> list[TokenInfo]:
        """All tokens that are not revoked, without what proves them."""
        ...

    async def create(
        self, name: str, role: Role, expires: float, created_by: str, owner: str = ""
    ) -> tuple[TokenInfo, str]:
        """Returns the token itself this one time; the hub stores only its hash."""
        ...

    async def revoke(self, id: str) -> None:
        """Raises NotFound."""
        ...


class InvitationState(StrEnum):
    """What has become of an invitation."""

    OPEN = "OPEN"
    USED = "USED"
    WITHDRAWN = "WITHDRAWN"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class Invitation:
    """A link with which somebody becomes a user, once. `email`: the new user's; `used_by`: who that
    is by now."""

    id: str
    role: Role
    email: str
    created: float
    created_by: str
    expires: float
    state: InvitationState = InvitationState.OPEN
    used_by: str = ""


class Invitations(Protocol):
    """Invitations by link. One holds only as long as the user who made it is an admin."""

    async def list(self) -> list[Invitation]:
        """Newest first, without the links."""
        ...

    async def create(
        self, role: Role, email: str, expires: float, created_by: str, owner: str = ""
    ) -> tuple[Invitation, str]:
        """Returns the link this one time; the hub stores only its hash. Raises UsageError."""
        ...

    async def withdraw(self, id: str) -> None:
        """The link stops working. Raises NotFound, and Conflict if it was used."""
        ...


# -------------------------------------------------------------------------------------------- audit


class Audit(Protocol):
    """The audit log."""

    async def begin(self, entry: AuditEntry) -> int:
        """Record a requested change before it is made. Returns the entry's id."""
        ...

    async def end(self, id: int, outcome: str, target: str = "") -> None:
        """Record the outcome, and as `target` what the change created."""
        ...

    async def find(
        self,
        *,
        target: str = "",
        who: str = "",
        what: Sequence[str] = (),
        since: float = 0.0,
        until: float = 0.0,
        page: int = 1,
        count: int = 50,
    ) -> tuple[list[AuditEntry], int]:
        """Newest first. `what`: only these operations. `until` is exclusive; 0: no bound."""
        ...


# ------------------------------------------------------------------------------------ notifications


@dataclass(frozen=True, slots=True)
class Channel:
    """Where notifications go. `kind` "email": `target` is an address. `kind` "webhook": `target` is
    a URL, which is itself a secret and shown to admins only. `events`: the events to send; empty
    means all."""

    id: str
    kind: str
    target: str
    name: str = ""
    events: tuple[str, ...] = ()
    enabled: bool = True


class Notifications(Protocol):
    """Channels, and the outbox of notifications."""

    async def channels(self) -> list[Channel]:
        """All channels."""
        ...

    async def put_channel(self, channel: Channel) -> None:
        """Add the channel, or replace the one with its id. Raises UsageError for an invalid
        target."""
        ...

    async def remove_channel(self, id: str) -> None:
        """Remove a channel. Raises NotFound."""
        ...

    async def test_channel(self, id: str) -> str:
        """Send a message now. Returns "", or one line that says why it did not arrive."""
        ...

    async def notify(self, event: str, task: Task, text: str, *, once: str = "") -> None:
        """Put a message into the outbox for every channel that subscribes to the event, and for the
        task's own `alarmEmail`. A repeated call with the same `once` does nothing. The hub delivers
        in the background, in batches, with retries."""
        ...


# --------------------------------------------------------------------------------- metrics and logs


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a graph, one value for each time that `Metrics.read` returns. None: not
    measured."""

    name: str
    values: list[float | None]


class Metrics(Protocol):
    """Time series of measurements."""

    async def write(self, task: str, at: float, samples: Mapping[str, float]) -> None:
        """Add samples of one moment. `hub.monitoring.METRICS` says how each metric combines samples
        of one period."""
        ...

    async def read(
        self, task: str, names: Sequence[str], start: float, end: float, period: int
    ) -> tuple[list[int], list[Series]]:
        """The series between two moments in steps of `period` seconds, with the start of each
        step."""
        ...

    async def read_all(
        self, names: Sequence[str], start: int, end: float, period: int
    ) -> tuple[list[int], list[Series]]:
        """The sums over all tasks, including deleted ones, of the counters "bytes_out",
        "transferred" and "failed". Steps begin at `start`; `start` and `period` are multiples of
        ten minutes."""
        ...

    async def forget(self, task: str) -> None:
        """Delete the series of a task."""


@dataclass(frozen=True, slots=True)
class LogStream:
    """The log of one process. Times are seconds since the epoch; `first` and `last` are those of
    its events."""

    name: str
    created: float
    first: float
    last: float
    bytes: int


class LogLevel(StrEnum):
    """How serious a line of a log is."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


LEVELS = tuple(LogLevel)


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One line of a log. `at`: epoch seconds. `level`: None if the line names none, because a
    process printed it."""

    at: float
    message: str
    stream: str = ""
    level: LogLevel | None = None

    def is_at_least(self, level: LogLevel | None) -> bool:
        """Whether it is this serious. Nobody knows how serious a line without a level is: it may
        be part of a traceback, so it always counts."""
        if level is None or self.level is None:
            return True
        return LEVELS.index(self.level) >= LEVELS.index(level)


def level_of(word: object) -> LogLevel | None:
    """The level of a word such as "warning", as the libraries for logging name them."""
    name = str(word).upper()
    name = {"WARN": "WARNING", "CRITICAL": "ERROR", "FATAL": "ERROR"}.get(name, name)
    return LogLevel(name) if name in LEVELS else None


@dataclass(frozen=True, slots=True)
class LogPage:
    """One page of events, in the order of time."""

    events: list[LogEvent]
    # Token of the next page; the same token while there is nothing newer.
    forward: str
    # Token of the page before; the same token while there is nothing older, and "" if this
    # platform does not read backwards here.
    backward: str


class Logs(Protocol):
    """The output of a task's processes: one group per task, one stream per process."""

    async def streams(self, task: str, prefix: str = "") -> list[LogStream]:
        """Newest first."""
        ...

    async def events(
        self,
        task: str,
        stream: str | None,
        limit: int = 100,
        token: str = "",
        search: str = "",
        start: float = 0.0,
        end: float = 0.0,
        level: LogLevel | None = None,
        prefix: str = "",
    ) -> LogPage:
        """One page; without a token, the newest. `search`: only messages that contain this text,
        ignoring case. `level`: only messages that are at least so serious. Without a `stream`,
        the events of all streams, or of all whose names begin with `prefix`."""
        ...  # fmt: skip


# --------------------------------------------------------------------------------------------- jobs


@dataclass(slots=True)
class Job:
    """Work that takes longer than a request: a preflight, forecast, probe or certificate. `result`
    is JSON-safe."""

    id: str
    kind: str
    state: str = "RUNNING"  # or "DONE", "FAILED"
    started: float = 0.0
    ended: float = 0.0
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)


# The kind of job that makes a certificate.
CERTIFICATE = "certificate"


class Jobs(Protocol):
    """Starts jobs, and keeps their results."""

    async def start(
        self,
        kind: str,
        parameters: Mapping[str, Any],
        side: str = "",
        asked: Mapping[str, str] | None = None,
    ) -> Job:
        """Start the job where the workers run, with their permissions. `side`, for a probe or a
        look: "source" or "destination". `asked`: what a look is for."""
        ...

    async def certify(
        self, task: str, run: int, work: Callable[[], Awaitable[dict[str, Any]]]
    ) -> Job:
        """Start to make a certificate. `work` makes it and returns the job's result; it is used
        where this process may make certificates."""
        ...

    async def get(self, id: str) -> Job:
        """Raises NotFound. Results are kept for one day."""
        ...


# -------------------------------------------------------------------------------------- comparisons


@dataclass(slots=True)
class ComparisonJob:
    """A job that compares two sides item by item. `task`: the task whose sides they are, or "".
    `parameters`: as given for a task. `asked`: how they are compared (`Plugin.comparison`).

    Only a comparison that is DONE has seen everything. `result` is what its process returned.
    """

    id: str
    type: str
    source: str
    destination: str
    parameters: dict[str, str]
    asked: dict[str, str]
    task: str = ""
    created_by: str = ""
    state: str = "RUNNING"  # or "DONE", "FAILED", "CANCELLED", "INTERRUPTED"
    started: float = 0.0
    ended: float = 0.0
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)


class Comparisons(Protocol):
    """Starts comparisons, and keeps what they find for 30 days: at most the newest hundred. Only a
    hub on one machine has them."""

    async def start(self, comparison: ComparisonJob, parameters: Mapping[str, Any]) -> None:
        """Start it where the workers run, with their permissions. `parameters`: for its process.
        Raises Conflict if too many are running."""
        ...

    async def get(self, id: str) -> ComparisonJob:
        """Raises NotFound."""
        ...

    async def find(self, task: str = "", count: int = 20) -> list[ComparisonJob]:
        """Newest first; only those of a task, or all."""
        ...

    async def cancel(self, id: str) -> None:
        """End it. What it found so far stays. One that has ended stays as it is."""
        ...

    async def remove(self, id: str) -> None:
        """Delete it with what it found, and end it first."""
        ...

    async def tally(self, id: str) -> StateTally:
        """The counts, so far if it is running."""
        ...

    async def folders(self, id: str, parent: str, limit: int) -> list[FolderTally]:
        """The folders in this one, those with differences first. Empty until it is DONE."""
        ...

    async def page(
        self,
        id: str,
        *,
        states: Sequence[State] = (),
        prefix: str = "",
        keys: Sequence[str] = (),
        after: str = "",
        limit: int = 100,
    ) -> list[Finding]:
        """The items that are not the same, after a key, in the order of their keys. `keys`: only
        these."""
        ...


# ----------------------------------------------------------------------------------------- backups


@dataclass(frozen=True, slots=True)
class BackupLink:
    """An address that downloads a backup, once."""

    id: str
    url: str
    expires: float


class RestoreState(StrEnum):
    """How far the restore of a backup is."""

    UPLOADING = "UPLOADING"
    CHECKING = "CHECKING"
    FAILED = "FAILED"
    # It takes the place of the hub's data at the next start.
    WAITING = "WAITING"


@dataclass(frozen=True, slots=True)
class Restore:
    """A backup that is uploaded to be restored. The counts are known when it is WAITING. `newest`:
    when its hub last wrote something down; `left_out`: its files that stay behind."""

    id: str
    state: RestoreState
    bytes: int = 0
    error: str = ""
    tasks: int = 0
    users: int = 0
    newest: float = 0.0
    left_out: tuple[str, ...] = ()
    who: str = ""
    via: str = ""


class Backups(Protocol):
    """Backups of all data of the hub, without the key of its secrets. Bytes do not pass through the
    API."""

    async def link(self, caller: Identity) -> BackupLink:
        """An address that downloads a backup in the name of the caller."""
        ...

    async def restore(self) -> Restore | None:
        """The backup that is uploaded, or waits for the next start."""
        ...

    async def begin_restore(self, caller: Identity) -> Restore:
        """Begin an upload in place of an earlier one. Raises Conflict while that is checked."""
        ...

    async def check_restore(self, id: str) -> Restore:
        """Check in the background what was uploaded, and let it wait. Raises NotFound, Conflict."""
        ...

    async def discard_restore(self, id: str) -> None:
        """Forget it. Raises NotFound, and Conflict while it is checked."""
        ...


# ------------------------------------------------------------------------------------------ sign-in


class SignInSource(StrEnum):
    """Who decides where users sign in."""

    # Nobody: it is the hub's own sign-in.
    BUILT_IN = "BUILT_IN"
    # An administrator, through the API.
    SET_HERE = "SET_HERE"
    # The settings file of the hub's machine, which the API does not change.
    FILE = "FILE"


@dataclass(frozen=True, slots=True)
class SignInState:
    """`issuer`: that which is set; None for the hub's own sign-in. `waiting`: saved, and not in
    force before an administrator has signed in through it. `overridden`: the hub was started with
    its own sign-in, whatever is set."""

    source: SignInSource
    issuer: "IssuerConfig | None" = None
    waiting: "IssuerConfig | None" = None
    overridden: bool = False


class SignInSettings(Protocol):
    """Where users sign in, as an administrator sets it. All but `state` raise UsageError if the
    settings file decides."""

    async def state(self) -> SignInState:
        """What is set, and what waits."""
        ...

    async def test(self, config: "IssuerConfig") -> "list[IssuerCheck]":
        """What is right and wrong with an issuer. Changes nothing."""
        ...

    async def save(self, config: "IssuerConfig") -> None:
        """Test an issuer, and let it wait. Raises UsageError if the test fails."""
        ...

    async def confirm(self, token: str) -> Identity:
        """Put the waiting issuer in force. The access token of it proves that an administrator can
        sign in. Raises Unauthenticated, Forbidden, NotFound."""
        ...

    async def discard(self) -> None:
        """Forget the waiting issuer. Raises NotFound."""
        ...

    async def use_built_in(self) -> None:
        """Return to the hub's own sign-in at once."""
        ...


# ---------------------------------------------------------------------------------------- all ports


@dataclass(frozen=True, slots=True)
class HubPorts:
    """All interfaces, as resolvers receive them. `users` is None if an external issuer keeps the
    users."""

    tasks: Tasks
    engine: Engine
    secrets: Secrets
    stores: Stores
    users: Users | None
    tokens: Tokens
    invitations: Invitations | None  # None: users are not invited here
    audit: Audit
    notifications: Notifications
    metrics: Metrics
    logs: Logs
    jobs: Jobs
    comparisons: Comparisons | None  # None: this hub cannot compare
    backups: Backups | None  # None: what the hub keeps is backed up elsewhere
    signing_key: Callable[[], Awaitable[bytes]]  # signs certificates
    webhook: Callable[[Task], Awaitable[dict[str, str]]]  # where events go: url, token
    sign_in: SignInSettings | None = None  # None: the deployment decides where users sign in
    # Buckets that the hub itself runs and displays: no task may write to them.
    own_buckets: frozenset[str] = frozenset()
    # Patterns of the ARNs of roles that tasks may name; None where the hub has no rights of its own
    # to guard.
    assumable_roles: tuple[str, ...] | None = None
    # Prices of stores that are not AWS, as set by the administrator.
    prices: Prices = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)  # for hubInfo: platform, address, limits
