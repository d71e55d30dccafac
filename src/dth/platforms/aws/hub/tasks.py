"""The hub's tasks and audit log, in DynamoDB.

A hub has hundreds of tasks, not millions: a list reads all of them and filters here, so every
filter and order is possible without an index for each.
"""

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import Any

from dth.core.errors import Conflict, NotFound, UsageError
from dth.hub.model import (
    Acknowledgement,
    AuditEntry,
    ErrorCode,
    Progress,
    ScheduleType,
    Summary,
    Task,
)
from dth.hub.ports import TaskQuery
from dth.platforms.aws.client import Refused
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.items import Item, line

# Maps each field to its attribute.
NAMES = {each.name: each.name.title().replace("_", "") for each in fields(Task)}
# Fields that `save` leaves unchanged, or sets itself.
ENGINES_OWN = ("id", "version", "summary", "spent")
ORDERS = ("created", "updated", "description", "progress")


class AwsTasks:
    """`hub.ports.Tasks`."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    async def add(self, task: Task) -> None:
        with _told():
            if not await self._dynamo.put("tasks", _item(task), "attribute_not_exists(#Id)"):
                raise Conflict(f"there is a task {task.id!r} already")

    async def get(self, id: str) -> Task:
        item = await self._dynamo.get("tasks", {"Id": id}) if _is_key(id) else {}
        if not item:
            raise NotFound(f"there is no task {id!r}")
        return _task(item)

    async def find(self, query: TaskQuery) -> tuple[list[Task], int]:
        chosen = [task async for task in self._all() if _matches(task, query)]
        order = query.order if query.order in ORDERS else "created"
        chosen.sort(key=lambda task: (getattr(task, order), task.id), reverse=query.descending)
        first = (query.page - 1) * query.count
        return chosen[first : first + query.count], len(chosen)

    async def save(self, task: Task) -> bool:
        item = _item(task)
        written = [name for field, name in NAMES.items() if field not in ENGINES_OWN]
        given = [name for name in written if item.get(name) not in (None, "")]
        update = "SET #Version = :next" + "".join(f", #{name} = :{name}" for name in given)
        if empty := [name for name in written if name not in given]:
            update += " REMOVE " + ", ".join(f"#{name}" for name in empty)
        values = {
            "next": task.version + 1,
            "version": task.version,
            **{name: item[name] for name in given},
        }
        with _told():
            saved = await self._dynamo.update(
                "tasks", {"Id": task.id}, update, "#Version = :version", values
            )
        task.version += saved.ok
        return saved.ok

    async def summarize(self, task: Task) -> None:
        values = {"summary": _item(task)["Summary"], "spent": task.spent}
        update = "SET #Summary = :summary, #Spent = :spent"
        await self._dynamo.update("tasks", {"Id": task.id}, update, "attribute_exists(#Id)", values)

    async def remove(self, id: str) -> None:
        await self._dynamo.delete("tasks", {"Id": id})

    async def count(self) -> dict[Progress, int]:
        return dict(Counter([task.progress async for task in self._all()]))

    async def count_by_store(self) -> dict[str, int]:
        return dict(Counter([name async for task in self._all() for name in task.stores]))

    async def _all(self) -> AsyncIterator[Task]:
        async for item in self._dynamo.scan("tasks"):
            yield _task(item)


class AwsAudit:
    """`hub.ports.Audit`. Numbers start at one, like those of rows in a table."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    async def begin(self, entry: AuditEntry) -> int:
        counted = await self._dynamo.update("hub", COUNT_KEY, "ADD #last :one", values={"one": 1})
        number = int(counted.old.get("last", 0)) + 1
        values = {name: value for name, value in asdict(entry).items() if name != "id"}
        texts = {
            name: line(value) if name != "detail" else value
            for name, value in values.items()
            if name != "at"
        }
        await self._dynamo.put("hub", {**_audit_key(number), "at": entry.at, **texts})
        return number

    async def end(self, id: int, outcome: str, target: str = "") -> None:
        update = "SET #outcome = :outcome" + (", #target = :target" if target else "")
        values = {"outcome": outcome, "target": target}
        await self._dynamo.update("hub", _audit_key(id), update, values=values)

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
        """A filter reads all entries: there are only as many as people made changes."""
        wanted: dict[str, Any] = {
            name: text for name, text in (("target", target), ("who", who)) if text
        }
        conditions = [f"#{name} = :{name}" for name in wanted]
        for name, sign, bound in (("since", ">=", since), ("until", "<", until)):
            if bound:
                conditions.append(f"#at {sign} :{name}")
                wanted[name] = bound
        if what:
            among = {f"what{number}": each for number, each in enumerate(what)}
            conditions.append(f"#what IN ({', '.join(f':{name}' for name in among)})")
            wanted |= among
        chosen = " AND ".join(conditions)
        first, found, total = (page - 1) * count, [], 0
        entries = self._dynamo.query(
            "hub", "#pk = :pk", {"pk": "audit", **wanted}, filter=chosen, newest=True
        )
        async for item in entries:
            if first <= total < first + count:
                found.append(_entry(item))
            total += 1
        return found, total


COUNT_KEY = {"pk": "count", "sk": "audit"}


def _audit_key(number: int) -> Item:
    return {"pk": "audit", "sk": f"{number:010d}"}


def _entry(item: Item) -> AuditEntry:
    texts = {
        name: item.get(name, "") for name in ("who", "via", "what", "target", "detail", "outcome")
    }
    return AuditEntry(at=item["at"], id=int(item["sk"]), **texts)


def _matches(task: Task, query: TaskQuery) -> bool:
    text = query.text.casefold()
    places = (task.description, task.source, task.destination, task.id)
    return (
        (not query.progress or task.progress in query.progress)
        and (not query.type or task.type == query.type)
        and (not query.schedule_type or task.schedule_type is query.schedule_type)
        and (not query.writes or task.writes == query.writes)
        and (not query.store or query.store in task.stores)
        and (not query.attention or task.needs_attention(time.time()))
        and (not text or any(text in place.casefold() for place in places))
    )


def _item(task: Task) -> Item:
    values: Mapping[str, Any] = {
        **asdict(task),
        "parameters": json.dumps(task.parameters),
        "stores": json.dumps(task.stores),
        "summary": json.dumps(asdict(task.summary)),
        "acknowledged": json.dumps(task.acknowledged and asdict(task.acknowledged)),
        "reason": line(task.reason),
        "error_code": task.error_code.value if task.error_code else None,
    }
    return {
        NAMES[name]: str(value) if isinstance(value, str) else value
        for name, value in values.items()
    }


def _task(item: Item) -> Task:
    values = {name: item[attribute] for name, attribute in NAMES.items() if attribute in item}
    known = json.loads(values.get("acknowledged", "null"))
    return Task(
        **{
            **values,
            "type": values["type"],
            "schedule_type": ScheduleType(values["schedule_type"]),
            "parameters": json.loads(values["parameters"]),
            "stores": json.loads(values.get("stores", "{}")),
            "progress": Progress(values["progress"]),
            "error_code": ErrorCode(values["error_code"]) if values.get("error_code") else None,
            "summary": Summary(**json.loads(values["summary"])),
            "acknowledged": Acknowledgement(**known) if known else None,
        }
    )


def _is_key(id: str) -> bool:
    """Whether DynamoDB accepts it as a key. Nothing has an id that it does not accept."""
    return 0 < len(id) <= 100 and id.isascii()


@contextmanager
def _told() -> Iterator[None]:
    """Explain the limit of 400 KB per item: parameters may be larger, such as a list of images."""
    try:
        yield
    except Refused as error:
        if "size has exceeded" not in str(error):
            raise
        raise UsageError("parameters: together they are too large; 400 KB are the most") from None
