"""Who may work: places for tasks, and worker processes, shared fairly between all tasks of the hub.

Both only count. Times are those of a monotonic clock, in seconds.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

Clock = Callable[[], float]

# Seconds for which a scheduled run may use the reserve.
SHORT = 60.0
# Seconds for which a working task keeps its place, or its only worker, while others wait.
TURN = 300.0


@dataclass(eq=False, slots=True)
class TaskPlace:
    """A place, or a request for one. `due`: for a run that the schedule wants now."""

    due: bool
    asked: float
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    since: float = 0.0  # when it was taken
    wanted: bool = False  # another task should get it


class Places:
    """The places of tasks that work at the same time, given in the order of the requests.

    A quarter of them, but at least one if there are two or more, is a reserve for scheduled runs,
    so that tasks that take days do not stop all schedules. A run that takes longer than `SHORT` no
    longer counts as part of the reserve. A task gives up its place when others wait: to a scheduled
    run after `SHORT`, to any run after `TURN`.
    """

    def __init__(self, count: int, clock: Clock = time.monotonic) -> None:
        self.count = count
        self.reserve = max(1, count // 4) if count > 1 else 0
        self._clock = clock
        self._held: list[TaskPlace] = []
        self._line: list[TaskPlace] = []

    def ask(self, *, due: bool) -> TaskPlace:
        """Get in line. `TaskPlace.taken` is set when we have the place; `give_back` also leaves the
        line."""
        place = TaskPlace(due, self._clock())
        self._line.append(place)
        self._admit()
        return place

    def hurry(self, place: TaskPlace) -> None:
        """The schedule wants a run in the meantime."""
        place.due = True
        self._admit()

    def give_back(self, place: TaskPlace) -> None:
        """Give up a place, or the position in the line."""
        for places in (self._held, self._line):
            if place in places:
                places.remove(place)
        self._admit()

    def is_wanted(self, place: TaskPlace) -> bool:
        """Whether the holder of this place must give it up, and get in line again."""
        # A scheduled run may have left the reserve.
        self._admit()
        leaving = sum(each.wanted for each in self._held)
        if not place.wanted and leaving < len(self._line):
            turn = SHORT if any(each.due for each in self._line) else TURN
            oldest = min(
                (each for each in self._held if not each.wanted), key=lambda each: each.since
            )
            place.wanted = place is oldest and self._clock() - place.since >= turn
        return place.wanted

    def _admit(self) -> None:
        while place := self._next():
            self._line.remove(place)
            self._held.append(place)
            place.since = self._clock()
            place.taken.set()

    def _next(self) -> TaskPlace | None:
        if len(self._held) >= self.count:
            return None
        now = self._clock()
        ordinary = sum(not each.due or now - each.since >= SHORT for each in self._held)
        open_to_all = ordinary < self.count - self.reserve
        return next((each for each in self._line if each.due or open_to_all), None)


@dataclass(slots=True)
class _Demand:
    wanted: int
    held: int
    busy: bool
    served: bool  # it has a worker, or is about to get one
    since: float  # when that began


class Workers:
    """The worker processes of all tasks: never more than `most`, shared evenly between the tasks
    that want some. If there are more tasks than workers, they take turns."""

    def __init__(self, most: int, clock: Clock = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._demands: dict[str, _Demand] = {}

    def share(self, task: str, wanted: int, held: int, *, busy: bool) -> int:
        """How many workers this task may have now, of those that it wants. `held`: its processes,
        including those that are about to end. `busy`: whether there is work for a worker."""
        now = self._clock()
        mine = self._demands.setdefault(task, _Demand(0, 0, False, False, now))
        mine.wanted, mine.held, mine.busy = wanted, held, busy
        others = sum(each.held for name, each in self._demands.items() if name != task)
        granted = max(0, min(self._fair(now)[task], self._most - others))
        mine.held = max(held, granted)
        if mine.served != (granted > 0):
            mine.served, mine.since = granted > 0, now
        return granted

    def leave(self, task: str) -> None:
        """Call it when the task's processes have ended."""
        self._demands.pop(task, None)

    def _fair(self, now: float) -> dict[str, int]:
        """The share of each task: tasks get one more in turn, until none are left."""
        shares = dict.fromkeys(self._demands, 0)
        line = sorted(self._demands, key=lambda task: self._rank(self._demands[task], now))
        left = self._most
        while left > 0 and (
            line := [task for task in line if shares[task] < self._demands[task].wanted]
        ):
            for task in line[:left]:
                shares[task] += 1
            left -= len(line)
        return shares

    def _rank(self, demand: _Demand, now: float) -> tuple[int, float]:
        if not demand.busy:
            return 3, demand.since
        if not demand.served:
            return 1, demand.since
        return (2 if now - demand.since >= TURN else 0), demand.since
