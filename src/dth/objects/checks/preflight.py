"""Before a task starts: what it will need, tried on both sides with the rights that it will have."""

import asyncio
from dataclasses import dataclass
from typing import Any

from dth.core.checks import Check, State, report, worst
from dth.core.secrets import SecretStore, warn_of_unbound
from dth.objects.checks import policies
from dth.objects.checks.destination import DestChecks
from dth.objects.checks.notes import SIDES
from dth.objects.checks.source import SourceChecks
from dth.objects.task import secret_uses
from dth.objects.transfer.relay import Route


@dataclass(frozen=True, slots=True)
class Report:
    checks: list[Check]
    requests: int  # that it took

    @property
    def state(self) -> State:
        """The worst of all checks."""
        return worst(self.checks)

    def policy(self, side: str) -> dict[str, Any]:
        """What the task lacks on this side as one IAM policy; empty when it lacks nothing. What would merely let a
        preflight see more is not in it."""
        lacking = (State.FAILED, State.WARNING)
        return policies.policy(
            check.statement
            for check in self.checks
            if check.side == side and check.statement and check.state in lacking
        )

    def as_dict(self) -> dict[str, Any]:
        return report(self.checks, {side: self.policy(side) for side in SIDES}, self.requests)


async def preflight(route: Route, secrets: SecretStore) -> Report:
    """Try everything that the task will need. Raises nothing of what it finds: whatever is wrong is in the report."""
    source, dest = SourceChecks(route), DestChecks(route)
    async with asyncio.TaskGroup() as sides:  # cancelled, it waits until both have cleaned up
        sides.create_task(source.run())
        sides.create_task(dest.run())
    warnings = await asyncio.to_thread(warn_of_unbound, secret_uses(route.parameters), secrets)
    return Report(source.checks + dest.checks + warnings, source.requests + dest.requests)
