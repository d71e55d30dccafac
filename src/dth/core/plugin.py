"""What a kind of task is: one object, which its package names by the entry point `dth.plugins`.

The hub, the command line, the deployment and the console know a kind of task by this object alone. What a plugin has
to bring comes first; of the abilities that follow, a plugin overrides those that it has.
"""

import builtins
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from dth.core.errors import UsageError
from dth.core.ports.platform import Platform
from dth.core.ports.queue import Outgoing
from dth.core.ports.runs import Counts
from dth.core.prices import Prices
from dth.core.secrets import SecretStore, SecretUse

if TYPE_CHECKING:
    from pydantic import BaseModel


SIDES = ("source", "destination")


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a task reads and writes, as people read it. `writes`: tasks that write the same place have it in common."""

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
    """What a store's notification amounts to: messages for the queue, and the address that an operator opens to confirm
    a subscription; "" where there is none."""

    messages: list[Outgoing] = field(default_factory=list)
    confirm: str = ""


class Board(Protocol):
    """What the processes of a command, or of a hub, tell each other of registries, by host. Times are
    those of `time.monotonic`."""

    def hold(self, host: str, until: float, rate: float) -> None:
        """Nobody asks before this time, and nobody faster than `rate` from then on."""
        ...

    def held(self, host: str) -> tuple[float, float]:
        """The latest such time, and the rate that was told with it; zeros for none."""
        ...

    def claim(self, host: str, now: float, spacing: float) -> float:
        """0 if it is our turn, because nobody has had one for so many seconds; else how many are left."""
        ...


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a task, as `Plugin.processes` runs it.

    `kind`: "finder", "worker", "controller", "sweeper" (one look of the controller when all is settled), "aborter"
    (the task stops: throw away what it began), or a job that returns a result: "preflight", "forecast", "probe".
    `name`: of the process; of the side ("source", "destination") that a probe tries.
    `run`: the run that a finder lists for.
    `folder`: for files of its own while it runs.
    """

    kind: str
    name: str
    run: int
    parameters: Any
    secrets: SecretStore
    folder: Path
    open_platform: Callable[[], AbstractContextManager[Platform]]
    prices: Callable[[], Prices]
    board: Board | None = None


@dataclass(frozen=True, slots=True)
class AwsTask:
    """What a task of this kind is on AWS.

    `name`: of its template, and in the names of its stacks.
    `tables`: those that it needs, of `dth.platforms.aws.tables`.
    `network`, `code`: which settings of the hub its template takes, by the names of its parameters. What a task says
    of its network goes before.
    """

    name: str
    tables: tuple[str, ...]
    network: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    # Whether each run is an execution of the state machine that the stack's output `StateMachine` names. If not, what
    # the stack has running sees by itself that there is a run.
    executes_runs: bool = False


class Plugin(ABC):
    """A kind of task."""

    # In the API and in files, such as "S3EC2".
    type: ClassVar[str]
    # What it moves, in the plural.
    things: ClassVar[str]
    # All parameters with their labels, groups, help, defaults and allowed values (`core.parameters`).
    parameters: ClassVar["builtins.type[BaseModel]"]
    # The module with `async def run(process: Process) -> dict | None`. Only what runs a process imports it.
    processes: ClassVar[str]

    @abstractmethod
    def check(self, parameters: Any) -> None:
        """What the model alone cannot tell. Raises UsageError."""

    @abstractmethod
    def check_side(self, parameters: Any, side: str) -> None:
        """What "source" or "destination" alone cannot do without. Raises UsageError."""

    @abstractmethod
    def ends(self, parameters: Any) -> Ends:
        """What is read and what is written."""

    @abstractmethod
    async def redrive(
        self, platform: Platform, parameters: Any, *, keys: Sequence[str] = (), reason: str = ""
    ) -> int:
        """Send what failed again: all, those named, or those of one reason. Returns how many."""

    # ------------------------------------------------------------------------------------- abilities

    # Parameters that the hub acts on: a change of them needs no new processes.
    live: ClassVar[frozenset[str]] = frozenset()
    # Whether each copy's record says by what it was verified.
    verifies: ClassVar[bool] = False
    # None where it cannot run on AWS.
    aws: ClassVar[AwsTask | None] = None

    def secret_uses(self, parameters: Any, sides: Sequence[str] = SIDES) -> list[SecretUse]:
        """Which secrets these sides use, and with which hosts; both sides by default. Raises UsageError."""
        return []

    def buckets_written(self, parameters: Any) -> frozenset[str]:
        """Whatever may be the bucket at AWS that is written; empty for what is no bucket."""
        return frozenset()

    def conflict(self, one: Any, other: Any) -> str:
        """Why two tasks may not run beside each other, as the end of a sentence about the second; "" where they may."""
        return ""

    def deletes(self, parameters: Any) -> bool:
        """Whether the task may delete at its destination."""
        return False

    def capacity(self, parameters: Any) -> Capacity:
        """How many workers a task may have."""
        return Capacity()

    def follows_events(self, parameters: Any) -> bool:
        """Whether what the source tells of itself begins a transfer."""
        return False

    def read_notification(self, body: bytes) -> Notification:
        """What a store tells of its objects. Raises UsageError."""
        raise UsageError(f"tasks for {self.things} follow no events")

    def bandwidth(self, parameters: Any) -> tuple[str, int | None]:
        """The timetable of bandwidth caps, and the cap at other times in bytes a second; None: none."""
        return "", None

    def rates(self, parameters: Any, cap: int | None) -> dict[str, float]:
        """The rates that hold over all processes of a task, as `Limits` keeps them, with this cap on bandwidth. At 0
        there is no limit."""
        return {}

    def budget(self, parameters: Any) -> float | None:
        """USD after which a task pauses; None: never."""
        return None

    def spent(self, parameters: Any, runs: Sequence[Counts], prices: Prices) -> float | None:
        """What runs have cost so far, in USD: an estimate, for budgets. None where prices are not known."""
        return None

    def unpriced(self, parameters: Any, prices: Prices) -> str:
        """Whose prices are not known, in words; "" where all are."""
        return ""
