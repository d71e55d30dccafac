"""The definition of a kind of task: one `Plugin` object, which its package names by the entry point
`dth.plugins`.

The hub, the command line, the deployment and the console know a kind of task only through this
object. What every plugin must define comes first. The abilities follow: a plugin overrides those
that it has.
"""

import builtins
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from dth.core.errors import UsageError
from dth.core.ports.findings import Finding, Findings
from dth.core.ports.platform import Platform
from dth.core.ports.queue import Outgoing
from dth.core.ports.records import Page, Record
from dth.core.ports.runs import Counts
from dth.core.prices import Prices
from dth.core.secrets import SecretStore, SecretUse
from dth.core.stores import Store

if TYPE_CHECKING:
    from pydantic import BaseModel


SIDES = ("source", "destination")


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a task reads and writes, as shown to people. Tasks that write to the same place have
    the same `writes`."""

    source: str
    destination: str
    writes: str


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many workers a task may have."""

    min_capacity: int = 1
    desired_capacity: int = 1
    max_capacity: int = 1


@dataclass(frozen=True, slots=True)
class Notification:
    """What a store's notification contains: messages for the queue, and the address that an
    operator opens to confirm a subscription ("" if there is none)."""

    messages: list[Outgoing] = field(default_factory=list)
    confirm: str = ""


class Board(Protocol):
    """Shared limits per registry host, for the processes of a command or of a hub. Times are
    `time.monotonic`."""

    def hold(self, host: str, until: float, rate: float) -> None:
        """Nobody sends a request before `until`. After that, nobody sends faster than `rate`."""
        ...

    def held(self, host: str) -> tuple[float, float]:
        """The latest `until` for this host, and the `rate` given with it; zeros if there is
        none."""
        ...

    def claim(self, host: str, now: float, spacing: float) -> float:
        """0 if it is this process's turn, because the last turn was at least `spacing` seconds ago.
        Otherwise the seconds left."""
        ...


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a task, as `Plugin.processes` runs it.

    `kind`: "finder", "worker", "controller", "sweeper" (one pass of the controller when everything
    is settled), "aborter" (the task stops: discard what it began), or a job that returns a result:
    "preflight", "forecast", "probe", "compare", or a look into a store. `name`: of the process. For
    a probe or a look, the side ("source" or "destination"). `asked`: what a look is for, or how to
    compare. `run`: the run that a finder lists for. `folder`: for the process's own files while it
    runs.
    """

    kind: str
    name: str
    run: int
    parameters: Any
    secrets: SecretStore
    folder: Path
    open_platform: Callable[[], AbstractAsyncContextManager[Platform]]
    open_findings: Callable[[], AbstractContextManager[Findings]]
    prices: Callable[[], Prices]
    board: Board | None = None
    asked: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AwsTask:
    """How a task of this kind runs on AWS.

    `name`: of its template; also part of the names of its stacks. `tables`: the tables of
    `dth.platforms.aws.tables` that it needs. `network`, `code`: the settings of the hub that its
    template takes, by template parameter name. A task's own network settings take precedence.
    `workers`: the end of the name of the Auto Scaling group of its machines, after the stack's
    name; "" if it has none.
    """

    name: str
    tables: tuple[str, ...]
    network: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    workers: str = ""
    # Whether each run is an execution of the state machine that the stack's output `StateMachine`
    # names. If not, what runs in the stack detects a new run itself.
    executes_runs: bool = False
    # Whether the hub calls the stack's output `TickFunction` each minute while the task does not
    # rest.
    ticks: bool = False


class Plugin(ABC):
    """A kind of task."""

    # The name in the API and in files, such as "S3EC2".
    type: ClassVar[str]
    # What the task moves, in the plural.
    things: ClassVar[str]
    # All parameters with their labels, groups, help texts, defaults and allowed values
    # (`core.parameters`).
    parameters: ClassVar["builtins.type[BaseModel]"]
    # The module with `async def run(process: Process) -> dict | None`. Only code that runs a
    # process imports it.
    processes: ClassVar[str]

    @abstractmethod
    def check(self, parameters: Any) -> None:
        """Check what the model alone cannot check. Raises UsageError."""

    @abstractmethod
    def check_side(self, parameters: Any, side: str) -> None:
        """Check what the side ("source" or "destination") needs. Raises UsageError."""

    @abstractmethod
    def ends(self, parameters: Any) -> Ends:
        """What the task reads and what it writes."""

    @abstractmethod
    async def again(
        self, platform: Platform, parameters: Any, run: int, failed: Sequence[Record]
    ) -> Page:
        """The page that sends these failed items again in this run (`core.redrive`), without those
        that something else takes care of."""

    # ------------------------------------------------------------------------------------ abilities

    # Whether the two sides of a task can be compared item by item.
    compares: ClassVar[bool] = False

    def comparison(self, parameters: Any, policy: str, sample: float | None) -> dict[str, str]:
        """How a job compares the two sides, as `Process.asked`. `policy`: "" for that of the task.
        `sample`: the percentage of items that are read, if the policy reads them. Raises
        UsageError."""
        raise UsageError(f"tasks for {self.things} are not compared item by item")

    async def copy(self, platform: Platform, chosen: AsyncIterator[Sequence[Finding]]) -> int:
        """Send what a comparison found to be copied, in a run of its own. Returns how many."""
        raise UsageError(f"tasks for {self.things} are not compared item by item")

    # The kinds of job that look into the store of one side.
    looks: ClassVar[frozenset[str]] = frozenset()

    def stores(self, given: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        """The stores that the parameters name: by side, the parameter and the name of the store."""
        return {}

    def store_parameters(self, side: str) -> Mapping[str, str]:
        """The parameters that a store gives, each with the field of the store; empty if the tasks
        use no stores."""
        return {}

    def store_settings(self, store: Store, side: str) -> dict[str, str]:
        """The store in the form of parameters of this side. Raises UsageError if it cannot be this
        side."""
        raise UsageError(f"tasks for {self.things} use no stores")

    # Parameters that the hub itself applies. Changing them needs no new processes.
    live: ClassVar[frozenset[str]] = frozenset()
    # Whether the record of each copy says how it was verified.
    verifies: ClassVar[bool] = False
    # None if tasks of this kind cannot run on AWS.
    aws: ClassVar[AwsTask | None] = None

    def secret_uses(self, parameters: Any, sides: Sequence[str] = SIDES) -> list[SecretUse]:
        """The secrets that these sides use, and the hosts they are used with. Raises UsageError."""
        return []

    def buckets_written(self, parameters: Any) -> frozenset[str]:
        """Every name that the destination bucket may have at AWS; empty if the destination is not a
        bucket."""
        return frozenset()

    def conflict(self, one: Any, other: Any) -> str:
        """Why two tasks must not run at the same time, as the end of a sentence about the second;
        "" if they may."""
        return ""

    def deletes(self, parameters: Any) -> bool:
        """Whether the task may delete at its destination."""
        return False

    # Whether one worker does all that a machine can do for a task, so that no machine has more.
    worker_per_machine: ClassVar[bool] = False

    def capacity(self, parameters: Any) -> Capacity:
        """How many workers a task may have."""
        return Capacity()

    def follows_events(self, parameters: Any) -> bool:
        """Whether notifications from the source start transfers."""
        return False

    def read_notification(self, body: bytes) -> Notification:
        """Parse a store's notification about its objects. Raises UsageError."""
        raise UsageError(f"tasks for {self.things} follow no events")

    def bandwidth(self, parameters: Any) -> tuple[str, int | None]:
        """The schedule of bandwidth caps, and the cap at other times in bytes per second; None: no
        cap."""
        return "", None

    def rates(self, parameters: Any, cap: int | None) -> dict[str, float]:
        """The rates shared by all processes of a task, as `Limits` keeps them, with this cap on
        bandwidth. 0 means no limit."""
        return {}

    def budget(self, parameters: Any) -> float | None:
        """The cost in USD at which a task pauses; None: never."""
        return None

    def spent(self, parameters: Any, runs: Sequence[Counts], prices: Prices) -> float | None:
        """The estimated cost of the runs so far in USD, for budgets. None if prices are not
        known."""
        return None

    def unpriced(self, parameters: Any, prices: Prices) -> str:
        """What has no known prices, in words; "" if all prices are known."""
        return ""
