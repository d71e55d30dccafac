"""Comparisons of two sides, what they found, and copying it."""

import json
from typing import Any, Self

from dth.core.errors import UsageError
from dth.core.ports.findings import ComparisonVerdict, Finding, FolderTally, State, StateTally
from dth.hub import certificate
from dth.hub import comparisons as rules
from dth.hub.api.answers import answers
from dth.hub.api.resolve import Call, mutation, query
from dth.hub.api.tasks import MAX_KEYS, NewTask, TaskAnswer
from dth.hub.api.text import REPLACED, cursor, iso, key_of, text_of, within
from dth.hub.model import Role
from dth.hub.ports import ComparisonJob, Comparisons

MAX_COMPARISONS = 100
MAX_FINDINGS = MAX_FOLDERS = 1000


@answers("ComparedCount")
class ComparedCount:
    state: State
    objects: int
    bytes: int

    @classmethod
    def all_of(cls, tally: StateTally) -> list[Self]:
        return [
            cls(state, tally.items[state], tally.bytes[state])
            for state in State
            if tally.items.get(state)
        ]


@answers("Comparison")
class ComparisonAnswer:
    id: str
    task: str
    type: str
    source: str
    destination: str
    policy: str
    sample: float
    created_by: str
    state: str
    verdict: ComparisonVerdict | None
    started_at: str | None
    ended_at: str | None
    error: str
    notes: list[str]
    filtered: int
    counts: list[ComparedCount]


@answers("ComparedFolder")
class ComparedFolder:
    path: str
    folders: bool
    counts: list[ComparedCount]

    @classmethod
    def of(cls, folder: FolderTally) -> Self:
        return cls(text_of(folder.path), folder.parts, ComparedCount.all_of(folder.tally))


@answers("Finding")
class FindingAnswer:
    key: str
    state: State
    size: int | None
    dest_size: int | None
    etag: str
    reason: str

    @classmethod
    def of(cls, finding: Finding) -> Self:
        return cls(
            text_of(finding.key),
            finding.state,
            _known(finding.size),
            _known(finding.dest_size),
            finding.etag,
            finding.why,
        )


@answers("ListFindingsResponse")
class FindingPage:
    items: list[FindingAnswer]
    next_token: str | None


@query()
async def list_comparisons(
    call: Call, *, task: str = "", count: int = 20
) -> list[ComparisonAnswer]:
    comparisons = rules.of(call.ports)
    found = await comparisons.find(task, within("count", count, MAX_COMPARISONS))
    return [await _answer(comparisons, each) for each in found]


@query()
async def get_comparison(call: Call, *, id: str) -> ComparisonAnswer:
    comparisons = rules.of(call.ports)
    return await _answer(comparisons, await comparisons.get(id))


@query()
async def list_compared_folders(call: Call, *, id: str, path: str = "") -> list[ComparedFolder]:
    found = await rules.of(call.ports).folders(id, path, MAX_FOLDERS)
    return [ComparedFolder.of(each) for each in found]


@query()
async def list_findings(
    call: Call,
    *,
    id: str,
    states: list[str] | None = None,
    prefix: str = "",
    limit: int = 100,
    next_token: str | None = None,
) -> FindingPage:
    most = within("limit", limit, MAX_FINDINGS)
    found = await rules.of(call.ports).page(
        id,
        states=_states(states),
        prefix=prefix,
        after=key_of(next_token),
        limit=most,
    )
    return FindingPage(
        [FindingAnswer.of(each) for each in found],
        cursor(found[-1].key) if len(found) == most else None,
    )


@query()
async def get_comparison_certificate(call: Call, *, id: str) -> str:
    comparison = await rules.of(call.ports).get(id)
    return json.dumps(certificate.of_comparison(comparison, await call.ports.signing_key()))


@mutation(Role.OPERATOR)
async def compare(
    call: Call,
    *,
    task: str = "",
    input: dict[str, Any] | None = None,
    policy: str = "",
    sample: float | None = None,
) -> ComparisonAnswer:
    if bool(task) == bool(input):
        raise UsageError("give either task, the id of a task, or input, the two sides")
    if task:
        found = await call.ports.tasks.get(task)
        kind, parameters = found.type, found.parameters
    else:
        new = NewTask.of(input or {})
        kind, parameters = new.type, new.parameters
    started = await rules.start(
        call.ports,
        kind,
        parameters,
        task=task,
        policy=policy,
        sample=sample,
        created_by=call.caller.name,
    )
    return await _answer(rules.of(call.ports), started)


@mutation(Role.OPERATOR)
async def cancel_comparison(call: Call, *, id: str) -> ComparisonAnswer:
    comparisons = rules.of(call.ports)
    await comparisons.cancel(id)
    return await _answer(comparisons, await comparisons.get(id))


@mutation(Role.OPERATOR)
async def delete_comparison(call: Call, *, id: str) -> ComparisonAnswer:
    comparisons = rules.of(call.ports)
    answer = await _answer(comparisons, await comparisons.get(id))
    await comparisons.remove(id)
    return answer


@mutation(Role.OPERATOR)
async def copy_findings(
    call: Call,
    *,
    id: str,
    states: list[str] | None = None,
    prefix: str = "",
    keys: list[str] | None = None,
) -> TaskAnswer:
    if keys and len(keys) > MAX_KEYS:
        raise UsageError(f"keys: {MAX_KEYS} are the most at once; copy by state and prefix")
    comparisons = rules.of(call.ports)
    comparison = await comparisons.get(id)
    choice = rules.FindingFilter(
        _states(states),
        prefix,
        tuple(await _as_kept(comparisons, id, keys or [])),
    )
    task = await rules.copy(call.ports, comparison, choice, created_by=call.caller.name)
    return TaskAnswer.of(task)


async def _as_kept(comparisons: Comparisons, id: str, shown: list[str]) -> list[str]:
    """The keys that are shown as these texts: bytes that are not UTF-8 are shown as `REPLACED`."""
    found = {key for key in shown if REPLACED not in key}
    odd = set(shown) - found
    for prefix in {key.partition(REPLACED)[0] for key in odd}:
        after = ""
        while batch := await comparisons.page(id, prefix=prefix, after=after, limit=MAX_FINDINGS):
            found |= {each.key for each in batch if text_of(each.key) in odd}
            after = batch[-1].key
    return sorted(found or odd)


async def _answer(comparisons: Comparisons, of: ComparisonJob) -> ComparisonAnswer:
    done = of.state == "DONE"
    tally = StateTally.read(of.result["tally"]) if done else await comparisons.tally(of.id)
    return ComparisonAnswer(
        id=of.id,
        task=of.task,
        type=of.type,
        source=of.source,
        destination=of.destination,
        policy=of.asked["policy"],
        sample=float(of.asked["sample"]),
        created_by=of.created_by,
        state=of.state,
        verdict=tally.verdict if done else None,
        started_at=iso(of.started),
        ended_at=iso(of.ended),
        error=of.error,
        notes=of.result.get("notes", []),
        filtered=of.result.get("filtered", 0),
        counts=ComparedCount.all_of(tally),
    )


def _states(given: list[str] | None) -> tuple[State, ...]:
    return tuple(State(state) for state in dict.fromkeys(given or ()))


def _known(size: int) -> int | None:
    return None if size < 0 else size
