"""What the hub needs of a platform, beyond the ports of a task (`dth.core.ports`).

Each `Protocol` has two implementations: SQL and files on one machine (`platforms.local`), managed services on AWS.
Nothing here needs a transaction across two calls.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from dth.core.ports.platform import Platform
from dth.core.prices import Prices
from dth.core.secrets import SecretUse
from dth.hub.model import AuditEntry, Progress, Role, ScheduleType, Task

# --------------------------------------------------------------------------------------------------- tasks


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """Which tasks, in which order. Everything empty: all, newest first."""

    progress: Sequence[Progress] = ()
    type: str | None = None
    schedule_type: ScheduleType | None = None
    writes: str = ""  # exactly this
    text: str = ""  # in description, id, source or destination; case does not matter
    order: str = "created"  # or "updated", "description", "progress"
    descending: bool = True
    page: int = 1  # from 1
    count: int = 20


class Tasks(Protocol):
    """The tasks of the hub."""

    async def add(self, task: Task) -> None:
        """Raises Conflict when the id is taken."""
        ...

    async def get(self, id: str) -> Task:
        """Raises NotFound."""
        ...

    async def find(self, query: TaskQuery) -> tuple[list[Task], int]:
        """One page, and how many there are in all."""
        ...

    async def save(self, task: Task) -> bool:
        """Write the task if its stored version is still `task.version`, which then goes up by one (in `task`, too).
        False: somebody else was faster; read it again. Leaves `summary` and `spent` alone."""
        ...

    async def summarize(self, task: Task) -> None:
        """Write `summary` and `spent` alone, whatever the version: only the one who runs the task does."""
        ...

    async def remove(self, id: str) -> None: ...

    async def count(self) -> dict[Progress, int]: ...


@dataclass(frozen=True, slots=True)
class Stack:
    """The CloudFormation stack that a task works in. `status` as CloudFormation calls it; `outputs` and what each of
    them is."""

    id: str
    name: str
    status: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """Runs tasks."""

    async def changed(self, id: str) -> None:
        """The task was written: look at it now. A hint; the engine looks by itself as well, only later."""
        ...

    def open(self, id: str) -> AbstractAsyncContextManager[Platform]:
        """The task's queue, records and ledgers."""
        ...

    async def stack(self, id: str) -> Stack | None:
        """As it was when it was last looked at. None: the task has none, on this platform or at the moment."""
        ...

    async def read_digest(self, id: str, run: int) -> None:
        """Complete the digest of a run that began before digests were kept. It may take minutes; what was read stays
        read."""
        ...

    async def discard(self, id: str) -> None:
        """Forget all that the task left: records, logs. Doing it again is fine."""
        ...


# ------------------------------------------------------------------------------------------------- secrets


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """What may be told of a secret: never its value."""

    name: str
    description: str = ""
    updated: float = 0.0
    # What it is bound to, as `dth.core.hosts` has it; empty: it will be bound to where it is first used.
    hosts: tuple[str, ...] = ()


class Secrets(Protocol):
    """Named secrets, encrypted at rest. Values go in, and out to the engine alone (`dth.core.secrets.SecretStore`)."""

    async def list(self) -> list[SecretInfo]: ...

    async def create(self, name: str, value: str, description: str = "", hosts: Sequence[str] = ()) -> None:
        """Raises Conflict when there is one of that name, UsageError for a name that cannot be."""
        ...

    async def update(self, name: str, value: str | None = None, description: str | None = None) -> None:
        """None leaves as it is. Raises NotFound."""
        ...

    async def bind(self, name: str, hosts: Sequence[str]) -> None:
        """Let it be used with these hosts and no others. Empty: with those of its next use. Raises NotFound."""
        ...

    async def use(self, uses: Sequence[SecretUse]) -> Sequence[str]:
        """Somebody begins work that uses these secrets. Those that have no hosts yet are bound to those of the work,
        all or none, and whoever else begins at the same moment finds them bound. Secrets that do not exist are left
        out: reading them says so. Returns those that may be used with any host. Raises WrongHost."""
        ...

    async def delete(self, name: str) -> None:
        """Raises NotFound."""
        ...


# --------------------------------------------------------------------------------------------------- users


@dataclass(frozen=True, slots=True)
class User:
    name: str
    role: Role
    email: str = ""
    created: float = 0.0
    last_login: float = 0.0
    must_change: bool = False  # the password was given by somebody else


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """An API token, without what proves it. `owner`: the user whose it is, if the hub knows one."""

    id: str
    name: str
    role: Role
    created: float
    expires: float  # 0: never
    last_used: float = 0.0
    created_by: str = ""
    owner: str = ""


class Users(Protocol):
    """Users of the built-in provider. With an external issuer there are none here."""

    async def list(self) -> list[User]: ...

    async def add(
        self, name: str, password: str, role: Role, email: str = "", *, must_change: bool = False
    ) -> User:
        """Returns the user as it is kept: `hub.names` has the form of names. Raises Conflict, UsageError."""
        ...

    async def set_password(self, name: str, password: str, *, must_change: bool = False) -> None: ...

    async def set_role(self, name: str, role: Role) -> User:
        """Raises NotFound, and Conflict for the last admin."""
        ...

    async def remove(self, name: str) -> None:
        """Raises NotFound, and Conflict for the last admin."""
        ...


class Tokens(Protocol):
    async def list(self) -> list[TokenInfo]: ...

    async def create(
        self, name: str, role: Role, expires: float, created_by: str, owner: str = ""
    ) -> tuple[TokenInfo, str]:
        """The token itself is shown this once; only its hash is kept."""
        ...

    async def revoke(self, id: str) -> None:
        """Raises NotFound."""
        ...


# -------------------------------------------------------------------------------------------------- audit


class Audit(Protocol):
    async def begin(self, entry: AuditEntry) -> int:
        """Write that a change was asked for, before it is made. Returns the entry's id."""
        ...

    async def end(self, id: int, outcome: str, target: str = "") -> None:
        """How it ended, and what came of it where that did not exist before."""
        ...

    async def find(
        self, *, target: str = "", who: str = "", what: Sequence[str] = (), page: int = 1, count: int = 50
    ) -> tuple[list[AuditEntry], int]:
        """Newest first. `what`: only these operations."""
        ...


# ------------------------------------------------------------------------------------------ notifications


@dataclass(frozen=True, slots=True)
class Channel:
    """Where notifications go. `kind` "email": `target` is an address; "webhook": a URL (a secret of its own kind: it
    is shown to admins only). `events`: which ones; empty means all."""

    id: str
    kind: str
    target: str
    name: str = ""
    events: tuple[str, ...] = ()
    enabled: bool = True


class Notifications(Protocol):
    async def channels(self) -> list[Channel]: ...

    async def put_channel(self, channel: Channel) -> None:
        """Add or replace by id. Raises UsageError for a target that cannot be."""
        ...

    async def remove_channel(self, id: str) -> None: ...

    async def test_channel(self, id: str) -> str:
        """Send a message now. Returns "" or, in one line, why it did not arrive."""
        ...

    async def notify(self, event: str, task: Task, text: str, *, once: str = "") -> None:
        """Put a message into the outbox for every channel that wants it (and the task's own `alarmEmail`). With `once`,
        the same again is nothing. Delivered in the background: batched, retried."""
        ...


# --------------------------------------------------------------------------------------- metrics and logs


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a graph, over `Metrics.read`'s times. None where nothing was measured."""

    name: str
    values: list[float | None]


class Metrics(Protocol):
    async def write(self, task: str, at: float, samples: Mapping[str, float]) -> None:
        """Add samples of one moment; `hub.monitoring.METRICS` says how each is combined with others of its time."""
        ...

    async def read(
        self, task: str, names: Sequence[str], start: float, end: float, period: int
    ) -> tuple[list[int], list[Series]]:
        """The series between two moments in steps of `period` seconds, with the moment at which each step begins."""
        ...

    async def read_all(
        self, names: Sequence[str], start: int, end: float, period: int
    ) -> tuple[list[int], list[Series]]:
        """The sums over all tasks, those that are gone as well, of what is counted: of "bytes_out", "transferred" and
        "failed". Steps begin at `start`. It and the period are multiples of ten minutes."""
        ...

    async def forget(self, task: str) -> None: ...


@dataclass(frozen=True, slots=True)
class LogStream:
    name: str
    created: float
    first: float
    last: float
    bytes: int


@dataclass(frozen=True, slots=True)
class LogEvent:
    at: float
    message: str


@dataclass(frozen=True, slots=True)
class LogPage:
    events: list[LogEvent]
    forward: str  # token of the page after this one: the same again while there is nothing newer
    backward: str


class Logs(Protocol):
    """What the processes of a task said: one group a task, one stream a process."""

    async def streams(self, task: str, prefix: str = "") -> list[LogStream]:
        """Newest first."""
        ...

    async def events(
        self,
        task: str,
        stream: str,
        limit: int = 100,
        token: str = "",
        search: str = "",
        start: float = 0.0,
        end: float = 0.0,
    ) -> LogPage:
        """A page; without a token the newest. `search`: only messages with this text, whatever its case."""
        ...  # fmt: skip


# ---------------------------------------------------------------------------------------------------- jobs


@dataclass(slots=True)
class Job:
    """Work that takes longer than a request: a preflight, a forecast, a probe, a certificate. `result` is JSON-safe."""

    id: str
    kind: str
    state: str = "RUNNING"  # or "DONE", "FAILED"
    started: float = 0.0
    ended: float = 0.0
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)


# The kind of job that makes one.
CERTIFICATE = "certificate"


class Jobs(Protocol):
    async def start(self, kind: str, parameters: Mapping[str, Any], side: str = "") -> Job:
        """Begin it where the workers run, and with their rights. `side`: of a probe, "source" or "destination"."""
        ...

    async def certify(self, task: str, run: int, work: Callable[[], Awaitable[dict[str, Any]]]) -> Job:
        """Begin a certificate. `work` makes it and returns the result of the job, where this process may do it."""
        ...

    async def get(self, id: str) -> Job:
        """Raises NotFound; results are kept for a day."""
        ...


# ------------------------------------------------------------------------------------------------- the whole


@dataclass(frozen=True, slots=True)
class HubPorts:
    """All of them, as resolvers get them. `users` is None where an external issuer keeps the users."""

    tasks: Tasks
    engine: Engine
    secrets: Secrets
    users: Users | None
    tokens: Tokens
    audit: Audit
    notifications: Notifications
    metrics: Metrics
    logs: Logs
    jobs: Jobs
    signing_key: Callable[[], Awaitable[bytes]]  # what certificates are signed with
    webhook: Callable[[Task], Awaitable[dict[str, str]]]  # where events go: url, token
    own_buckets: frozenset[str] = frozenset()  # of what the hub itself runs and shows: no task writes there
    prices: Prices = field(default_factory=dict)  # of stores that are not AWS, as the administrator says
    info: Mapping[str, Any] = field(default_factory=dict)  # for hubInfo: platform, address, limits
