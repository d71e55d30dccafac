"""What is to happen in a round."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.servers import wrong_clock

# The first and the last step of each fault (methods of `Round`), and between how many seconds they
# are apart. A machine that is silent for eight seconds counts as dead.
FAULTS: dict[str, tuple[str, str, float, float]] = {
    "kill a worker": ("kill_worker", "", 0.0, 0.0),
    "kill a helper": ("kill_helper", "", 0.0, 0.0),
    "kill the leader": ("kill_leader", "", 0.0, 0.0),
    "kill the leader's machine": ("kill_leading_machine", "", 0.0, 0.0),
    "kill the database": ("kill_database", "start_database", 0.0, 4.0),
    "stop the leader": ("stop_leader", "wake_leader", 6.0, 14.0),
    "stop a helper": ("stop_helper", "wake_helper", 6.0, 14.0),
    "cut off the leader": ("cut_off_leader", "mend_network", 6.0, 14.0),
    "cut off a helper": ("cut_off", "mend_network", 6.0, 14.0),
}
# They use the same address, so only one of them can be.
CUT_LEADER, CUT_HELPER = "cut off the leader", "cut off a helper"
CLOCKS = (0, 0, 0, 60, -60)
# Seconds after the first write in which faults begin.
BEGIN = 4.0


@dataclass
class Plan:
    """`steps`: methods of `Round`, with the seconds after the first write at which they come.
    `clocks`: by how many seconds the clocks of two helpers and two leaders are ahead."""

    by_hub: bool
    seed: int
    clocks: list[int]
    faults: dict[str, str] = field(default_factory=dict)  # when each comes, in words
    steps: list[tuple[float, str]] = field(default_factory=list)

    @classmethod
    def of(cls, seed: int, number: int, most: int = 2) -> Plan:
        """`most`: faults."""
        dice = random.Random(f"{seed}/{number}")
        clocks = [0 if wrong_clock.is_missing() else dice.choice(CLOCKS) for _ in range(4)]
        plan = cls(dice.random() < 0.4, dice.randrange(1 << 30), clocks)
        for name in dice.sample(sorted(FAULTS), k=dice.randint(1, most)):
            if {CUT_LEADER, CUT_HELPER} <= {name, *plan.faults}:
                continue
            first, last, least, most = FAULTS[name]
            at, seconds = dice.uniform(0.0, BEGIN), dice.uniform(least, most)
            plan.steps.append((at, first))
            if last:
                plan.steps.append((at + seconds, last))
            plan.faults[name] = f"at {at:.1f} s" + f" for {seconds:.1f} s" * bool(last)
        plan.steps.sort()
        return plan

    def __str__(self) -> str:
        faults = ", ".join(f"{name} {when}" for name, when in self.faults.items())
        clocks = " ".join(f"{ahead:+d}" for ahead in self.clocks)
        return f"{'hub' if self.by_hub else 'command'}: {faults}; clocks {clocks}"
