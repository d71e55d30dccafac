"""Before a task starts: tests on both sides what the task will need, with the permissions that it
will have."""

import asyncio
from dataclasses import dataclass
from typing import Any

from dth.core.checks import Check, CheckState, report, worst
from dth.core.secrets import SecretStore, warn_of_unbound
from dth.objects.checks import policies
from dth.objects.checks.destination import DestChecks
from dth.objects.checks.notes import SIDES
from dth.objects.checks.source import SourceChecks
from dth.objects.task import secret_uses
from dth.objects.transfer.relay import ObjectRoute


@dataclass(frozen=True, slots=True)
class ObjectPreflight:
    """The results of a preflight."""

    checks: list[Check]
    requests: int  # sent by the preflight

    @property
    def state(self) -> CheckState:
        """The worst of all checks."""
        return worst(self.checks)

    def policy(self, side: str) -> dict[str, Any]:
        """The permissions that the task lacks on this side, as one IAM policy; empty if it lacks
        none. Permissions that would only let a preflight see more are not included."""
        lacking = (CheckState.FAILED, CheckState.WARNING)
        return policies.policy(
            check.statement
            for check in self.checks
            if check.side == side and check.statement and check.state in lacking
        )

    def as_dict(self) -> dict[str, Any]:
        return report(self.checks, {side: self.policy(side) for side in SIDES}, self.requests)


async def preflight(route: ObjectRoute, secrets: SecretStore) -> ObjectPreflight:
    """Test everything that the task will need. Problems are in the report and not raised."""
    source, dest = SourceChecks(route), DestChecks(route)
    # If cancelled, this waits until both sides have cleaned up.
    async with asyncio.TaskGroup() as sides:
        sides.create_task(source.run())
        sides.create_task(dest.run())
    warnings = await asyncio.to_thread(warn_of_unbound, secret_uses(route.parameters), secrets)
    return ObjectPreflight(source.checks + dest.checks + warnings, source.requests + dest.requests)
