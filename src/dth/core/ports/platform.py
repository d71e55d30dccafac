"""All ports of one task."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from dth.core.ports.gauges import Gauge, Gauges
from dth.core.ports.images import Images
from dth.core.ports.limits import Limits
from dth.core.ports.queue import Depth, Queue
from dth.core.ports.records import Records
from dth.core.ports.runs import Run
from dth.core.ports.uploads import GiantUpload, Uploads


@dataclass(frozen=True, slots=True)
class Platform:
    """All ports of one task, as one of its processes gets them."""

    queue: Queue
    records: Records
    images: Images
    uploads: Uploads
    limits: Limits
    gauges: Gauges


@dataclass(frozen=True, slots=True)
class Look:
    """The state of a task at one moment."""

    gauges: list[Gauge]
    uploads: list[GiantUpload]  # the live ones
    runs: list[Run]  # the newest ones
    depth: Depth
    paused: str


@dataclass(frozen=True, slots=True)
class SupervisedPlatform(Platform, ABC):
    """The ports, and what a supervisor of the task's processes needs in addition."""

    @abstractmethod
    async def look(self, runs: int = 20) -> Look:
        """The state of the task, with its newest `runs` runs."""

    @abstractmethod
    async def release_owner(self, owner: str | None) -> None:
        """Release at once what the dead process `owner` had taken: messages, and uploads to
        complete. None: all processes have died, on this machine."""

    @abstractmethod
    async def set_back(self) -> None:
        """Correct times that were written while the clock was ahead, so that nothing waits for
        them."""

    @abstractmethod
    async def prune(self, keep_runs: int) -> None:
        """Delete all ended runs except the newest `keep_runs`. Records stay, and for each image its
        newest record and the one of its last copy."""
