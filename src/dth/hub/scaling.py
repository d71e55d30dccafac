"""How many workers a task wants, by the backlog of its queue: in steps, with a pause in between."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from dth.core.plugin import Capacity
from dth.core.ports.queue import Depth

# Messages visible and in flight; workers to add.
STEPS = ((10_000, 10), (2_000, 5), (500, 2), (100, 1))
COOLDOWN = 120.0  # seconds between two steps


@dataclass(slots=True)
class Steps:
    """The scaling of one task while it works."""

    clock: Callable[[], float] = time.monotonic
    _stepped: float | None = None

    def wanted(self, capacity: Capacity, depth: Depth, workers: int) -> int:
        """The number of workers wanted, with `workers` at present. At least one, because there is
        work."""
        least, most = max(1, capacity.min_capacity), max(1, capacity.max_capacity)
        backlog = depth.visible + depth.in_flight
        now = self.clock()
        if self._stepped is None:
            self._stepped = now - COOLDOWN
            workers = max(workers, capacity.desired_capacity)
        if backlog == 0:
            return least
        more = next((more for above, more in STEPS if backlog >= above), 0)
        if more and workers < most and now - self._stepped >= COOLDOWN:
            self._stepped = now
            workers += more
        return min(most, max(least, workers))
