"""How many workers a task wants, by the backlog of its queue: in steps, with a pause in between."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from dth.core.plugin import Capacity
from dth.core.ports.queue import Depth

GIB = 1024**3
# Messages visible and in flight; workers to add.
STEPS = ((10_000, 10), (2_000, 5), (500, 2), (100, 1))
# Bytes that wait; workers to add. A few messages may be more work than many.
BYTES = ((1_000 * GIB, 10), (200 * GIB, 5), (50 * GIB, 2), (10 * GIB, 1))
# At the highest step, this share of the workers is added: to reach a thousand takes minutes.
GROWTH = 0.5
COOLDOWN = 120.0  # seconds between two steps


@dataclass(slots=True)
class Steps:
    """The scaling of one task while it works. `stepped`: when workers were last added, by the
    clock."""

    clock: Callable[[], float] = time.monotonic
    stepped: float | None = None

    def wanted(self, capacity: Capacity, depth: Depth, workers: int, waiting_bytes: int = 0) -> int:
        """The number of workers wanted, with `workers` at present. At least one, because there is
        work. `waiting_bytes`: what is still to be copied, as far as that is known."""
        least, most = max(1, capacity.min_capacity), max(1, capacity.max_capacity)
        backlog = depth.visible + depth.in_flight
        now = self.clock()
        if self.stepped is None:
            self.stepped = now - COOLDOWN
            workers = max(workers, capacity.desired_capacity)
        if backlog == 0:
            return least
        more = max(_step(STEPS, backlog), _step(BYTES, waiting_bytes))
        if more == STEPS[0][1]:
            more = max(more, int(workers * GROWTH))
        # One message is the work of one worker.
        wanted = min(most, workers + more, max(workers, backlog))
        if wanted > workers and now - self.stepped >= COOLDOWN:
            self.stepped = now
            workers = wanted
        return min(most, max(least, workers))


def _step(steps: tuple[tuple[int, int], ...], backlog: int) -> int:
    return next((more for above, more in steps if backlog >= above), 0)
