"""The hub's tasks and audit log over SQL."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Row,
    Select,
    Text,
    and_,
    cast,
    delete,
    func,
    insert,
    not_,
    or_,
    select,
    true,
    type_coerce,
    update,
)
from sqlalchemy.exc import IntegrityError

from dth.core import clock
from dth.core.errors import Conflict, NotFound
from dth.hub.model import (
    BAD_RESULTS,
    NEED_A_PERSON,
    Acknowledgement,
    AuditEntry,
    ErrorCode,
    Progress,
    ScheduleType,
    Summary,
    Task,
)
from dth.hub.ports import TaskQuery
from dth.platforms.local.hub_schema import audit, task
from dth.platforms.local.sql import SqlDatabase, names_in

ORDERS = {
    "created": task.c.created,
    "updated": task.c.updated,
    "description": task.c.description,
    "progress": task.c.progress,
}
# Fields that `save` leaves unchanged, or sets itself.
ENGINES_OWN = ("id", "summary", "spent", "version")
KEEPERS_OWN = ("look_at", "held")  # of `due_tasks`


class LocalTasks:
    """`hub.ports.Tasks`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def add(self, task: Task) -> None:
        await self._database.write(_add, task)

    async def get(self, id: str) -> Task:
        found = await self._database.read(_one, id)
        if found is None:
            raise NotFound(f"there is no task {id!r}")
        return found

    async def find(self, query: TaskQuery) -> tuple[list[Task], int]:
        return await self._database.read(_find, query)

    async def save(self, task: Task) -> bool:
        saved = await self._database.write(_save, task)
        task.version += saved
        return saved

    async def summarize(self, task: Task) -> None:
        await self._database.write(_summarize, task)

    async def remove(self, id: str) -> None:
        await self._database.write(Connection.execute, delete(task).where(task.c.id == id))

    async def count(self) -> dict[Progress, int]:
        return await self._database.read(_count)

    async def count_by_store(self) -> dict[str, int]:
        return await self._database.read(_count_by_store)


class LocalAudit:
    """`hub.ports.Audit`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def begin(self, entry: AuditEntry) -> int:
        return await self._database.write(_begin, entry)

    async def end(self, id: int, outcome: str, target: str = "") -> None:
        values = {"outcome": outcome} | ({"target": target} if target else {})
        await self._database.write(
            Connection.execute, update(audit).where(audit.c.id == id).values(**values)
        )

    async def find(
        self,
        *,
        target: str = "",
        who: str = "",
        what: Sequence[str] = (),
        since: float = 0.0,
        until: float = 0.0,
        page: int = 1,
        count: int = 50,
    ) -> tuple[list[AuditEntry], int]:
        conditions = [
            column == value
            for column, value in ((audit.c.target, target), (audit.c.who, who))
            if value
        ]
        if what:
            conditions.append(audit.c.what.in_(what))
        if since:
            conditions.append(audit.c.at >= since)
        if until:
            conditions.append(audit.c.at < until)
        return await self._database.read(_find_entries, conditions, page, count)


def _add(connection: Connection, added: Task) -> None:
    try:
        connection.execute(insert(task).values(_row(added)))
    except IntegrityError:
        raise Conflict(f"there is a task {added.id!r} already") from None


def _one(connection: Connection, id: str) -> Task | None:
    row = connection.execute(select(task).where(task.c.id == id)).first()
    return task_of(row) if row else None


def _find(connection: Connection, query: TaskQuery) -> tuple[list[Task], int]:
    chosen = _chosen(query)
    total = connection.execute(select(func.count()).select_from(chosen.subquery())).scalar_one()
    column = ORDERS.get(query.order, task.c.created)
    order = (column.desc(), task.c.id.desc()) if query.descending else (column, task.c.id)
    page = select(task).where(task.c.id.in_(
        chosen.order_by(*order).limit(query.count).offset((query.page - 1) * query.count)
    )).order_by(*order)  # fmt: skip
    return [task_of(row) for row in connection.execute(page)], total


def _chosen(query: TaskQuery) -> Select[tuple[str]]:
    """The ids of the matching tasks."""
    chosen = select(task.c.id)
    if query.progress:
        chosen = chosen.where(task.c.progress.in_([each.value for each in query.progress]))
    if query.type:
        chosen = chosen.where(task.c.type == query.type)
    if query.schedule_type:
        chosen = chosen.where(task.c.schedule_type == query.schedule_type.value)
    if query.writes:
        chosen = chosen.where(task.c.writes == query.writes)
    if query.store:
        used = names_in(task.c.stores)
        chosen = chosen.where(select(used.c.key).where(used.c.key == query.store).exists())
    if query.attention:
        summary = type_coerce(task.c.summary, JSON)
        failed = summary["failed"].as_float() > 0
        result = summary["last_result"].as_string().in_(BAD_RESULTS)
        waits = task.c.progress.in_([each.value for each in NEED_A_PERSON])
        chosen = chosen.where(or_(waits, failed, result), not_(_is_acknowledged()))
    if query.text:
        places = (task.c.description, task.c.source, task.c.destination, task.c.id)
        chosen = chosen.where(
            or_(*(place.icontains(query.text, autoescape=True) for place in places))
        )
    return chosen


def _is_acknowledged() -> ColumnElement[bool]:
    """As `Task.is_acknowledged`."""
    known, now_is = (type_coerce(each, JSON) for each in (task.c.acknowledged, task.c.summary))

    def number(document: ColumnElement[Any], name: str) -> ColumnElement[float]:
        return func.coalesce(document[name].as_float(), 0.0)

    result = func.coalesce(now_is["last_result"].as_string(), "")
    failed_since = and_(
        number(now_is, "last_run") > number(known, "last_run"), result.in_(BAD_RESULTS)
    )
    failed = number(now_is, "failed")
    lost_since = and_(
        failed > 0,
        or_(number(now_is, "run") > number(known, "run"), failed > number(known, "failed")),
    )
    until = number(known, "until")
    holds = or_(until == 0, until > clock.now())
    is_known = cast(task.c.acknowledged, Text) != "null"
    return and_(is_known, holds, not_(failed_since), not_(lost_since))


def _save(connection: Connection, saved: Task) -> bool:
    values = {name: value for name, value in _row(saved).items() if name not in ENGINES_OWN}
    values |= {"version": saved.version + 1, "look_at": 0.0, "held": 0}
    this = (task.c.id == saved.id) & (task.c.version == saved.version)
    return connection.execute(update(task).where(this).values(values)).rowcount == 1


def _summarize(connection: Connection, summarized: Task) -> None:
    connection.execute(
        update(task)
        .where(task.c.id == summarized.id)
        .values(summary=json.dumps(asdict(summarized.summary)), spent=summarized.spent)
    )


def _count(connection: Connection) -> dict[Progress, int]:
    rows = connection.execute(select(task.c.progress, func.count()).group_by(task.c.progress))
    return {Progress(progress): count for progress, count in rows}


def _count_by_store(connection: Connection) -> dict[str, int]:
    used = names_in(task.c.stores)
    every = task.join(used, true())
    rows = connection.execute(
        select(used.c.key, func.count()).select_from(every).group_by(used.c.key)
    ).all()
    return {row[0]: row[1] for row in rows}


def _row(task: Task) -> dict[str, Any]:
    return {
        **asdict(task),
        "parameters": json.dumps(task.parameters),
        "stores": json.dumps(task.stores),
        "summary": json.dumps(asdict(task.summary)),
        "acknowledged": json.dumps(task.acknowledged and asdict(task.acknowledged)),
    }


def task_of(row: Row[Any]) -> Task:
    """A task from a row of all columns."""
    values = {name: value for name, value in row._mapping.items() if name not in KEEPERS_OWN}
    known = json.loads(row.acknowledged)
    return Task(
        **{
            **values,
            "type": row.type,
            "schedule_type": ScheduleType(row.schedule_type),
            "parameters": json.loads(row.parameters),
            "stores": json.loads(row.stores),
            "progress": Progress(row.progress),
            "error_code": ErrorCode(row.error_code) if row.error_code else None,
            "run_requested": bool(row.run_requested),
            "redrive_requested": bool(row.redrive_requested),
            "delete_requested": bool(row.delete_requested),
            "summary": Summary(**json.loads(row.summary)),
            "acknowledged": Acknowledgement(**known) if known else None,
        }
    )


def _begin(connection: Connection, entry: AuditEntry) -> int:
    values = {name: value for name, value in asdict(entry).items() if name != "id"}
    number: int = connection.execute(
        insert(audit).values(values).returning(audit.c.id)
    ).scalar_one()
    return number


def _find_entries(
    connection: Connection, conditions: Sequence[ColumnElement[bool]], page: int, count: int
) -> tuple[list[AuditEntry], int]:
    total = connection.execute(
        select(func.count()).select_from(audit).where(*conditions)
    ).scalar_one()
    rows = connection.execute(
        select(audit)
        .where(*conditions)
        .order_by(audit.c.id.desc())
        .limit(count)
        .offset((page - 1) * count)
    )
    return [AuditEntry(**row._mapping) for row in rows], total
