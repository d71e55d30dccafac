"""Who changed what."""

from dataclasses import asdict

from dth.errors import Forbidden
from dth.hub.api.door import Answer, Call, query
from dth.hub.api.text import at_least_one, iso, within
from dth.hub.audit import OF_TASKS
from dth.hub.model import Role

MAX_PAGE = 100


@query()
async def list_audit(
    call: Call, *, target: str | None = None, who: str | None = None, page: int = 1, count: int = 50
) -> Answer:
    admin = call.caller.role is Role.ADMIN
    if not target and not admin:
        raise Forbidden("the whole audit log is for admins; name a task in target")
    if target and not admin:
        await call.ports.tasks.get(target)
    found, total = await call.ports.audit.find(
        target=target or "",
        what=() if admin else OF_TASKS,
        who=who or "",
        page=at_least_one("page", page),
        count=within("count", count, MAX_PAGE),
    )
    items = [{**asdict(entry), "at": iso(entry.at)} for entry in found]
    return {"items": items, "total": total}
