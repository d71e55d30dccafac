"""Compares both sides of a task and keeps what it finds, for the hub."""

import time
from collections.abc import Mapping
from typing import Any

from dth.core.errors import UsageError
from dth.core.plugin import Process
from dth.core.ports.findings import Finding
from dth.objects.compare.comparison import Comparison
from dth.objects.compare.findings import FolderSummary, findings_of, leave_unjudged
from dth.objects.compare.merge import Policy
from dth.objects.parameters import S3Parameters
from dth.objects.task import opened, shared_rates

# The counts are written at least this often, and at most this many findings at once.
SECONDS = 1.0
AT_ONCE = 5000


async def compare(process: Process) -> dict[str, Any]:
    """The notes and the counts of a comparison. `process.asked` is from `how`."""
    parameters = comparable(process.parameters, process.asked)
    sample = float(process.asked["sample"])
    summary, waiting, written = (
        FolderSummary(parameters.compare_policy),
        list[Finding](),
        time.monotonic(),
    )
    async with process.open_platform() as platform:
        with process.open_findings() as findings:
            await platform.limits.set_rates(shared_rates(parameters))
            async with opened(parameters, process.secrets, platform.limits) as route:
                comparison = Comparison(route, process.folder, sample=sample, names_same=True)
                filtered = 0
                async for decided in comparison:
                    leave_unjudged(decided)
                    found = list(findings_of(decided, route.keys))
                    summary.add(decided, found)
                    waiting += found
                    filtered += decided.counts.filtered
                    if len(waiting) >= AT_ONCE or time.monotonic() - written >= SECONDS:
                        await findings.add(waiting, summary.total)
                        waiting, written = [], time.monotonic()
                await findings.add(waiting, summary.total)
                await findings.end(summary.folders())
    return {
        "notes": comparison.notes,
        "filtered": filtered,
        "tally": summary.total.as_dict(),
    }


def how(parameters: S3Parameters, policy: str, sample: float | None) -> dict[str, str]:
    """How two sides are compared, in the form of `Process.asked`. Without a policy, that of the
    task. Raises UsageError."""
    chosen = parameters.compare_policy
    if policy:
        try:
            chosen = Policy(policy)
        except ValueError:
            raise UsageError(
                f"policy: {policy!r} is none of {', '.join(map(repr, POLICIES))}"
            ) from None
        if chosen is Policy.ALWAYS:
            raise UsageError("policy: 'always' compares nothing; choose another one")
    elif chosen is Policy.ALWAYS:
        chosen = Policy.ETAG
    if sample is not None and chosen is not Policy.CONTENT:
        raise UsageError("sample: only the policy 'content' reads objects, so only it takes one")
    if sample is not None and not 0 < sample <= 100:
        raise UsageError("sample: a percentage above 0 and up to 100 is needed")
    return {"policy": chosen.value, "sample": f"{100.0 if sample is None else sample:g}"}


POLICIES = [policy.value for policy in Policy if policy is not Policy.ALWAYS]


def comparable(parameters: S3Parameters, asked: Mapping[str, str]) -> S3Parameters:
    """The parameters of the task, compared in this way, whatever the task does."""
    return parameters.model_copy(
        update={"compare_policy": Policy(asked["policy"]), "src_skip_compare": False}
    )
