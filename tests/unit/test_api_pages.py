"""Pages of the API, over a task's real database."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from dth.core.errors import Conflict, Forbidden, NotFound, UsageError
from dth.core.ports.records import Enqueued, Outcome, Page
from dth.core.ports.runs import RunKind
from dth.core.ports.status import Status
from dth.hub.api import resolve
from dth.hub.model import Identity, Role
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.platform import open_platform
from dth.platforms.local.tasks import LocalAudit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from dth.hub.ports import HubPorts

CALLER = Identity("v", "v", Role.VIEWER)
OPERATOR = Identity("o", "o", Role.OPERATOR)
# In byte order; the lone surrogates stand for bytes that are not UTF-8.
KEYS = [
    "a",
    "caf\u00e9",
    "caf\udce9-1",
    "caf\udce9-2",
    "caf\udce9-3",
    "x\udcff1",
    "x\udcff2",
    "z\n",
]


class Tasks:
    async def get(self, id: str) -> object:
        if id != "t":
            raise NotFound(f"there is no task {id!r}")
        return object()


@pytest.fixture
async def ports(tmp_path: Path) -> AsyncIterator[HubPorts]:
    platform = open_platform(tmp_path / "t", "test")

    @asynccontextmanager
    async def opened(_: str) -> AsyncIterator[Any]:
        yield platform

    run, _ = await platform.records.begin_run(RunKind.SYNC)
    await platform.records.commit(
        run.id, Page(enqueued=[Enqueued(key, 1, "e", "m") for key in KEYS])
    )
    refused = [Outcome(key, run.id, Status.FAILED, 1, "e", reason="KeyRefused") for key in KEYS]
    await platform.records.settle(refused)
    with HubDatabase.open(tmp_path / "hub.db") as database:
        yield cast(
            "HubPorts",
            SimpleNamespace(
                tasks=Tasks(), engine=SimpleNamespace(open=opened), audit=LocalAudit(database)
            ),
        )
    platform.close()


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_every_key_comes_once_whatever_its_bytes(ports: HubPorts, limit: int) -> None:
    seen: list[str] = []
    token = None
    for _ in range(len(KEYS) + 1):
        page = await resolve(
            ports, CALLER, "listRecords", {"id": "t", "limit": limit, "nextToken": token}
        )
        seen += [item["key"] for item in page["items"]]
        token = page["nextToken"]
        if token is None:
            break
    assert seen == [
        key.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for key in KEYS
    ]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["a", "caf\u00e9"], ["a", "caf\u00e9"]),
        (["caf\ufffd-2", "a"], ["a", "caf\udce9-2"]),
        (["caf\ufffd-1", "x\ufffd2"], ["caf\udce9-1", "x\udcff2"]),
        (["x\ufffd1", "x\ufffd9"], ["x\udcff1"]),
        (["nothing\ufffd"], ["nothing\ufffd"]),
    ],
)
async def test_what_a_list_shows_can_be_tried_again(
    ports: HubPorts, monkeypatch: pytest.MonkeyPatch, given: list[str], meant: list[str]
) -> None:
    asked: list[str] = []

    async def retry_failed(_: HubPorts, id: str, *, keys: list[str], reason: str) -> None:
        asked.extend(keys)
        raise Conflict("enough")

    monkeypatch.setattr("dth.hub.tasks.retry_failed", retry_failed)
    with pytest.raises(Conflict, match="enough"):
        await resolve(ports, OPERATOR, "retryFailed", {"id": "t", "keys": given})
    assert asked == meant


async def test_a_token_of_something_else_is_refused(ports: HubPorts) -> None:
    for token in ("a", "\u00e9", "not a token", "%%%%"):
        with pytest.raises(UsageError, match="nextToken"):
            await resolve(ports, CALLER, "listRecords", {"id": "t", "nextToken": token})


async def test_a_viewer_reads_the_audit_log_of_tasks_alone(ports: HubPorts) -> None:
    assert await resolve(ports, CALLER, "listAudit", {"target": "t"}) == {"items": [], "total": 0}
    for target, refused in (
        (None, Forbidden),
        ("", Forbidden),
        ("carol", NotFound),
        ("a-secret", NotFound),
    ):
        with pytest.raises(refused):
            await resolve(ports, CALLER, "listAudit", {"target": target})
