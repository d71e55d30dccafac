"""The audit log: who changed what."""

from typing import Self

from dth.core.errors import Forbidden, UsageError
from dth.hub.api.answers import answers
from dth.hub.api.resolve import Call, query
from dth.hub.api.text import at_least_one, iso, within
from dth.hub.audit import OF_TASKS
from dth.hub.model import AuditEntry, Role
from dth.hub.monitoring import moment

MAX_PAGE = 1000
# Operations in one filter. DynamoDB's IN takes no more.
MAX_OPERATIONS = 100


@answers("AuditEntry")
class AuditEntryAnswer:
    id: int
    at: str | None
    who: str
    via: str
    what: str
    target: str
    detail: str
    outcome: str

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        return cls(
            id=entry.id,
            at=iso(entry.at),
            who=entry.who,
            via=entry.via,
            what=entry.what,
            target=entry.target,
            detail=entry.detail,
            outcome=entry.outcome,
        )


@answers("ListAuditResponse")
class AuditPage:
    items: list[AuditEntryAnswer]
    total: int


@query()
async def list_audit(
    call: Call, *, target: str | None = None, who: str | None = None, page: int = 1,
    count: int = 50, what: list[str] | None = None, since: str | None = None,
    until: str | None = None,
) -> AuditPage:  # fmt: skip
    admin = call.caller.role is Role.ADMIN
    if not target and not admin:
        raise Forbidden("the whole audit log is for admins; name a task in target")
    if target and not admin:
        await call.ports.tasks.get(target)
    if len(what or ()) > MAX_OPERATIONS:
        raise UsageError(f"what: at most {MAX_OPERATIONS} operations")
    chosen = tuple(what or ()) if admin else tuple({*OF_TASKS} & {*(what or OF_TASKS)})
    found, total = await call.ports.audit.find(
        target=target or "",
        # No operation is called "": what only admins see is not found.
        what=chosen if admin else chosen or ("",),
        who=who or "",
        since=moment("since", since) if since else 0.0,
        until=moment("until", until) if until else 0.0,
        page=at_least_one("page", page),
        count=within("count", count, MAX_PAGE),
    )
    return AuditPage([AuditEntryAnswer.of(entry) for entry in found], total)
