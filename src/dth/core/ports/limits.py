"""Rate limits shared by all processes of a task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Lease:
    """What was granted, in units; the seconds until more is available; and the current rate, 0 for
    no limit."""

    granted: float
    wait: float
    rate: float


class Limits(Protocol):
    """Rates shared by all processes of a task. They may change at any time while the processes use
    them."""

    async def set_rates(self, rates: Mapping[str, float]) -> None:
        """Set rates in units per second, by bucket name. 0 means no limit. Buckets not named keep
        their rates."""
        ...

    async def rates(self) -> dict[str, float]:
        """All rates that were set, by bucket name."""
        ...

    async def lease(self, name: str, wanted: float) -> Lease:
        """Take up to `wanted` units from the bucket `name`. The bucket fills at its rate and holds
        the units of a fraction of a second, so any ten seconds stay close to the rate. Without a
        rate, everything is granted."""
        ...
