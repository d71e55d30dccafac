"""Rates that hold over all processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Lease:
    """What was granted, in units; the seconds until more may be had; and the rate that holds now, 0 for no limit."""

    granted: float
    wait: float
    rate: float


class Limits(Protocol):
    """Rates shared by all processes of a task. They may change at any time, while the processes use them."""

    async def set_rates(self, rates: Mapping[str, float]) -> None:
        """Units a second, by the name of the bucket; 0: no limit. Buckets that are not named stay as they are."""
        ...

    async def rates(self) -> dict[str, float]:
        """All rates that were set, by the name of the bucket."""
        ...

    async def lease(self, name: str, wanted: float) -> Lease:
        """Take up to `wanted` units from the bucket `name`, which fills at its rate and holds a fraction of a second's
        worth, so that any ten seconds stay close to the rate. Without a rate everything is granted."""
        ...
