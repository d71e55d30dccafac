"""What holds of the ports of every hub."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import Conflict, HubError, NotFound, UsageError
from dth.core.secrets import SecretUse, WrongHost
from dth.core.stores import Store
from dth.hub.model import (
    Acknowledgement,
    AuditEntry,
    ErrorCode,
    Identity,
    Progress,
    Role,
    ScheduleType,
    Summary,
    Task,
)
from dth.hub.notifications import NotifiedEvent
from dth.hub.ports import CERTIFICATE, Channel, LogPage, TaskQuery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.platforms import OpenHub

_numbers = itertools.count()
PASSWORD = "Passw0rd!-long"
KEYS = json.dumps({"access_key_id": "AK", "secret_access_key": "SK"})


def task(id: str = "one", **values: object) -> Task:
    made = Task(
        id,
        "S3EC2",
        ScheduleType.ONE_TIME,
        {"srcBucket": "a", "note": "ключ 雪"},
        created=100.0,
        writes="w",
    )
    return replace(made, **values)


def entry(**values: str) -> AuditEntry:
    given = {
        "who": "ann",
        "via": "oidc",
        "what": "stopTask",
        "target": "one",
        "detail": "{}",
        **values,
    }
    return AuditEntry(time.time(), **given)


# -------------------------------------------------------------------------------------------- tasks


async def test_a_task_is_read_as_it_was_written(hub: OpenHub) -> None:
    full = task(
        description="Öl",
        progress=Progress.ERROR,
        updated=2.5,
        reason="no such bucket",
        error_code=ErrorCode.CFN_ERROR,
        run_requested=True,
        delete_requested=True,
        spent=0.25,
        summary=Summary(run=3, total=7, eta=1.5),
    )
    await hub.tasks.add(full)
    assert await hub.tasks.get("one") == full
    with pytest.raises(Conflict, match="already"):
        await hub.tasks.add(task())
    await hub.tasks.remove("one")
    await hub.tasks.remove("one")
    for unknown in ("one", "", "x" * 5000, "é"):
        with pytest.raises(NotFound):
            await hub.tasks.get(unknown)


async def test_of_two_writers_one_is_told_to_read_again(hub: OpenHub) -> None:
    await hub.tasks.add(task(reason="old", error_code=ErrorCode.UN_KNOWN))
    mine, theirs = await hub.tasks.get("one"), await hub.tasks.get("one")
    mine.progress, mine.reason, mine.error_code = Progress.DONE, "", None
    assert await hub.tasks.save(mine)
    assert mine.version == 2
    theirs.description = "late"
    assert not await hub.tasks.save(theirs)
    assert theirs.version == 1
    found = await hub.tasks.get("one")
    assert (found.progress, found.reason, found.error_code, found.description) == (
        Progress.DONE,
        "",
        None,
        "",
    )


async def test_a_summary_is_written_whatever_the_version(hub: OpenHub) -> None:
    await hub.tasks.add(task())
    engine, user = await hub.tasks.get("one"), await hub.tasks.get("one")
    engine.summary, engine.spent = Summary(run=1, total=5), 0.5
    await hub.tasks.summarize(engine)
    user.summary, user.description = Summary(), "new"
    assert await hub.tasks.save(user)
    found = await hub.tasks.get("one")
    assert (found.summary.total, found.spent, found.description) == (5, 0.5, "new")
    await hub.tasks.remove("one")
    await hub.tasks.summarize(engine)
    with pytest.raises(NotFound):
        await hub.tasks.get("one")


async def test_tasks_are_found_in_pages(hub: OpenHub) -> None:
    for number in range(7):
        await hub.tasks.add(
            task(
                f"t{number}",
                created=float(number),
                description=f"Nightly {number}",
                progress=Progress.DONE if number % 2 else Progress.IN_PROGRESS,
                type="ECR" if number == 6 else "S3EC2",
                schedule_type=ScheduleType.FIXED_RATE if number == 6 else ScheduleType.ONE_TIME,
                writes=f"w{number % 3}",
                source="s3://photos/",
            )
        )

    async def ids(**query: object) -> tuple[list[str], int]:
        found, total = await hub.tasks.find(replace(TaskQuery(), **query))
        return [each.id for each in found], total

    assert await ids(count=3) == (["t6", "t5", "t4"], 7)
    assert await ids(count=3, page=3) == (["t0"], 7)
    assert await ids(count=3, page=9) == ([], 7)
    assert await ids(progress=(Progress.DONE,), descending=False) == (["t1", "t3", "t5"], 3)
    assert await ids(type="ECR") == (["t6"], 1)
    assert await ids(writes="w1", order="description", descending=False) == (["t1", "t4"], 2)
    assert await ids(text="NIGHTLY 3") == (["t3"], 1)
    assert await ids(schedule_type=ScheduleType.FIXED_RATE) == (["t6"], 1)
    assert (await ids(order="progress", count=3, descending=False))[0] == ["t1", "t3", "t5"]
    assert (await ids(text="PHOTOS"))[1] == 7
    assert await ids(text="100%_") == ([], 0)
    failed = await hub.tasks.get("t1")
    failed.summary = Summary(failed=2)
    await hub.tasks.summarize(failed)
    missed = await hub.tasks.get("t2")
    missed.summary = Summary(last_run=4, last_result="FAILED")
    await hub.tasks.summarize(missed)
    paused = await hub.tasks.get("t5")
    paused.progress = Progress.PAUSED
    await hub.tasks.save(paused)
    assert await ids(attention=True) == (["t5", "t2", "t1"], 3)
    assert await ids(attention=True, progress=(Progress.DONE,)) == (["t1"], 1)
    # What somebody acknowledged is left out, until then or until something new fails.
    known = Acknowledgement("ann", 50.0, 0.0, run=0, failed=paused.summary.failed, last_run=0)
    for until, seen in ((0.0, False), (time.time() + 60, False), (time.time() - 60, True)):
        paused.acknowledged = replace(known, until=until)
        await hub.tasks.save(paused)
        assert (await hub.tasks.get("t5")).acknowledged == paused.acknowledged
        assert ("t5" in (await ids(attention=True))[0]) is seen
    paused.acknowledged = known
    await hub.tasks.save(paused)
    for summary, seen in (
        (Summary(run=2, last_run=2, last_result="DONE"), False),
        (Summary(run=2, last_run=2, last_result="INCOMPLETE"), True),
        (Summary(run=2, failed=1), True),
        (Summary(run=0, failed=1), True),
        (Summary(), False),
    ):
        paused.summary = summary
        await hub.tasks.summarize(paused)
        assert ("t5" in (await ids(attention=True))[0]) is seen, summary
        assert (await hub.tasks.get("t5")).needs_attention(time.time()) is seen, summary
    paused.progress = Progress.DONE
    await hub.tasks.save(paused)
    assert await hub.tasks.count() == {Progress.DONE: 3, Progress.IN_PROGRESS: 4}


# -------------------------------------------------------------------------------------------- audit


async def test_changes_are_told_newest_first(hub: OpenHub) -> None:
    numbers = [await hub.audit.begin(entry(target=f"t{number % 2}")) for number in range(5)]
    assert numbers == [1, 2, 3, 4, 5]
    await hub.audit.end(2, "ok")
    created = await hub.audit.begin(entry(who="bob", what="createTask", target=""))
    await hub.audit.end(created, "ok", "new")
    found, total = await hub.audit.find(count=2)
    assert ([each.id for each in found], total) == ([6, 5], 6)
    assert (found[0].target, found[0].outcome, found[1].outcome) == ("new", "ok", "")
    found, total = await hub.audit.find(count=2, page=3)
    assert ([each.id for each in found], found[0].outcome) == ([2, 1], "ok")
    assert (await hub.audit.find(target="t1"))[1] == 2
    assert [each.id for each in (await hub.audit.find(who="bob"))[0]] == [6]


async def test_numbers_are_given_once(hub: OpenHub) -> None:
    numbers = await asyncio.gather(*(hub.audit.begin(entry()) for _ in range(20)))
    assert sorted(numbers) == list(range(1, 21))


async def test_the_audit_log_can_be_asked_for_some_operations(hub: OpenHub) -> None:
    for what in ("stopTask", "createUser", "editTask"):
        await hub.audit.begin(entry(what=what))
    found, total = await hub.audit.find(target="one", what=("stopTask", "editTask"))
    assert ([each.what for each in found], total) == (["editTask", "stopTask"], 2)
    assert (await hub.audit.find(what=("deleteUser",)))[1] == 0


async def test_the_audit_log_can_be_asked_for_a_time(hub: OpenHub) -> None:
    for at in (100.0, 200.0, 300.0):
        await hub.audit.begin(replace(entry(), at=at))
    found, total = await hub.audit.find(since=200.0)
    assert ([each.at for each in found], total) == ([300.0, 200.0], 2)
    assert [each.at for each in (await hub.audit.find(until=200.0))[0]] == [100.0]
    assert (await hub.audit.find(since=100.5, until=300.0, who="ann", what=["stopTask"]))[1] == 1


# ------------------------------------------------------------------------------------------- stores


async def test_a_store_is_kept_as_it_was_written(hub: OpenHub) -> None:
    assert await hub.stores.list() == []
    old = Store(
        "old-minio",
        kind="MinIO",
        endpoint="http://a:9000,http://b:9000",
        secret="keys",
        description="雪",
    )
    plain = Store("aws-eu", region="eu-west-1", anonymous=True)
    before = time.time()
    for store in (old, plain):
        await hub.stores.add(store)
    with pytest.raises(Conflict, match="already"):
        await hub.stores.add(replace(old, endpoint="http://c"))
    found = await hub.stores.get("old-minio")
    assert before - 1 <= found.updated <= time.time() + 1
    assert replace(found, updated=0.0) == old
    assert [replace(each, updated=0.0) for each in await hub.stores.list()] == [plain, old]
    await hub.stores.save(replace(old, secret="", ca_bundle="corporate"))
    found = await hub.stores.get("old-minio")
    assert (found.secret, found.ca_bundle, found.endpoint) == ("", "corporate", old.endpoint)
    await hub.stores.remove("old-minio")
    for gone in (
        hub.stores.get("old-minio"),
        hub.stores.save(old),
        hub.stores.remove("old-minio"),
        hub.stores.get(""),
        hub.stores.get("x" * 5000),
    ):
        with pytest.raises(NotFound):
            await gone


async def test_what_stores_add_to_a_task_is_kept_and_counted(hub: OpenHub) -> None:
    of_old, of_new = {"srcEndpoint": "http://a"}, {"destEndpoint": "http://b"}
    await hub.tasks.add(task("one", stores={"old": of_old, "new's %": of_new}))
    await hub.tasks.add(task("two", stores={"old": of_old}))
    await hub.tasks.add(task("three"))
    found = await hub.tasks.get("one")
    assert found.stores == {"old": of_old, "new's %": of_new}
    assert found.resolved == found.parameters | of_old | of_new
    assert await hub.tasks.count_by_store() == {"old": 2, "new's %": 1}
    for name, ids in (("old", {"one", "two"}), ("new's %", {"one"}), ("none", set())):
        using, total = await hub.tasks.find(TaskQuery(store=name))
        assert ({each.id for each in using}, total) == (ids, len(ids))
    found.stores = {}
    assert await hub.tasks.save(found)
    assert await hub.tasks.count_by_store() == {"old": 1}


# ------------------------------------------------------------------------------- tokens and secrets


async def test_a_token_says_who_calls_until_it_is_revoked(hub: OpenHub) -> None:
    info, token = await hub.tokens.create("nightly", Role.OPERATOR, 0, "ann")
    _, later = await hub.tokens.create("later", Role.VIEWER, time.time() + 60, "ann")
    assert await hub.tokens.identify(token) == Identity(
        f"token:{info.id}", "nightly", Role.OPERATOR, "token"
    )
    assert (await hub.tokens.identify(later) or info).name == "later"
    for wrong in ("", "dth_nonsense", "dth_\udcff"):
        assert await hub.tokens.identify(wrong) is None
    listed = {each.name: each for each in await hub.tokens.list()}
    assert listed.keys() == {"nightly", "later"}
    assert listed["nightly"].last_used > 0
    assert (listed["nightly"].expires, listed["later"].expires > time.time()) == (0, True)
    await hub.tokens.revoke(info.id)
    assert await hub.tokens.identify(token) is None
    with pytest.raises(NotFound, match="no token"):
        await hub.tokens.revoke(info.id)
    with pytest.raises(UsageError, match="expired"):
        await hub.tokens.create("late", Role.VIEWER, 1.0, "ann")


async def test_a_secret_is_bound_once(hub: OpenHub) -> None:
    name, other = (f"{os.getpid()}-{next(_numbers)}" for _ in range(2))
    secrets = hub.secrets

    async def hosts() -> dict[str, tuple[str, ...]]:
        return {info.name: info.hosts for info in await secrets.list()}

    await secrets.create(name, KEYS)
    await secrets.create(other, KEYS, hosts=["Store.Example.com", "*"])
    assert await hosts() == {name: (), other: ("store.example.com", "*")}
    uses = [
        SecretUse("source", name, ("a.example.com",)),
        SecretUse("destination", other, ("b.example.com",)),
    ]
    nobody = SecretUse("source", "nobody", ("a.example.com",))
    for _ in range(2):
        # None is there that is called nobody: reading it says so.
        assert list(await secrets.use([*uses, nobody])) == [other]
        assert (await hosts())[name] == ("a.example.com",)
    with pytest.raises(
        WrongHost, match=r"may not be used with b\.example\.com: it is bound to a\.example\.com"
    ):
        await secrets.use([SecretUse("source", name, ("a.example.com", "b.example.com"))])
    with pytest.raises(Conflict):
        await secrets.create(name, KEYS, hosts=["evil.example.com"])
    assert (await hosts())[name] == ("a.example.com",)
    await secrets.update(name, KEYS.replace("SK", "SK2"))
    assert (await hosts())[name] == ("a.example.com",)
    await secrets.bind(name, [])
    await secrets.bind(other, ["b.example.com"])
    with pytest.raises(WrongHost):
        await secrets.use([SecretUse("source", each, ("c.example.com",)) for each in (name, other)])
    assert await hosts() == {name: (), other: ("b.example.com",)}
    with pytest.raises(UsageError, match="is not a host"):
        await secrets.bind(name, ["http://a/b"])
    with pytest.raises(NotFound):
        await secrets.bind("nobody-at-all", [])
    await secrets.delete(name)
    await secrets.create(name, KEYS)
    assert (await hosts())[name] == ()
    await secrets.delete(name)
    await secrets.delete(other)


async def test_of_two_first_uses_at_once_one_binds(hub: OpenHub) -> None:
    name = f"{os.getpid()}-{next(_numbers)}"
    await hub.secrets.create(name, KEYS)
    uses = [[SecretUse("source", name, (f"h{number}.example.com",))] for number in range(6)]
    found = await asyncio.gather(*map(hub.secrets.use, uses), return_exceptions=True)
    assert sum(isinstance(each, WrongHost) for each in found) == 5, found
    [info] = await hub.secrets.list()
    assert len(info.hosts) == 1
    await hub.secrets.delete(name)


async def test_a_secret_from_its_making_to_its_end(hub: OpenHub) -> None:
    name = f"keys-{next(_numbers)}"
    await hub.secrets.create(name, KEYS, "of photos")
    [info] = await hub.secrets.list()
    assert (info.name, info.description) == (name, "of photos")
    assert time.time() - info.updated < 60
    with pytest.raises(Conflict, match="already"):
        await hub.secrets.create(name, KEYS)
    await hub.secrets.update(name, description="of videos")
    await hub.secrets.update(name, KEYS.replace("SK", "SK2"))
    assert [info.description for info in await hub.secrets.list()] == ["of videos"]
    await hub.secrets.delete(name)
    assert await hub.secrets.list() == []
    for gone in (
        hub.secrets.delete(name),
        hub.secrets.update(name, KEYS),
        hub.secrets.delete("../x"),
    ):
        with pytest.raises(NotFound):
            await gone
    await hub.secrets.create(name, KEYS, "again")
    assert [info.description for info in await hub.secrets.list()] == ["again"]
    await hub.secrets.delete(name)
    for wrong, value in (("a/b", KEYS), ("plain", "no json"), ("half", '{"access_key_id": "AK"}')):
        with pytest.raises(UsageError):
            await hub.secrets.create(wrong, value)


async def test_a_token_ends_with_its_owner_and_may_never_do_more(hub: OpenHub) -> None:
    for name in ("root", "ann"):
        await hub.users.add(name, PASSWORD, Role.ADMIN)
    await asyncio.sleep(1.1)  # the times of a user may be whole seconds
    _, token = await hub.tokens.create("ann's", Role.OPERATOR, 0, "ann", "ann")

    async def role() -> Role | None:
        found = await hub.tokens.identify(token)
        return found and found.role

    assert await role() is Role.OPERATOR
    await hub.users.set_role("ann", Role.VIEWER)
    assert await role() is Role.VIEWER
    await hub.users.remove("ann")
    assert await role() is None
    await asyncio.sleep(1.1)
    # Somebody else of that name.
    await hub.users.add("ann", PASSWORD, Role.ADMIN)
    assert await role() is None


# -------------------------------------------------------------------------------------------- users


async def test_users_and_their_roles(hub: OpenHub) -> None:
    await hub.users.add("ann", PASSWORD, Role.ADMIN, "ann@example.com")
    added = await hub.users.add("Bob", PASSWORD, Role.VIEWER, must_change=True)
    assert (added.name, added.role, added.must_change) == ("bob", Role.VIEWER, True)
    ann, bob = await hub.users.list()
    assert (ann.name, ann.role, ann.email, ann.must_change) == (
        "ann",
        Role.ADMIN,
        "ann@example.com",
        False,
    )
    assert (bob.name, bob.role, bob.must_change) == ("bob", Role.VIEWER, True)
    assert abs(time.time() - ann.created) < 60
    with pytest.raises(Conflict, match="there is a user 'bob' already"):
        await hub.users.add("BOB", PASSWORD, Role.VIEWER)
    assert (await hub.users.set_role("BOB", Role.OPERATOR)).role is Role.OPERATOR
    await hub.users.set_password("bob", PASSWORD + "2")
    bob = (await hub.users.list())[1]
    assert (bob.role, bob.must_change) == (Role.OPERATOR, False)
    with pytest.raises(UsageError):
        await hub.users.add("no such\nname", PASSWORD, Role.VIEWER)


async def test_one_admin_stays(hub: OpenHub) -> None:
    await hub.users.add("ann", PASSWORD, Role.ADMIN)
    for change in (hub.users.remove("ann"), hub.users.set_role("ann", Role.VIEWER)):
        with pytest.raises(Conflict, match="last admin"):
            await change
    await hub.users.add("bob", PASSWORD, Role.ADMIN)
    await hub.users.remove("ann")
    assert [user.name for user in await hub.users.list()] == ["bob"]
    gone = (
        hub.users.remove("ann"),
        hub.users.set_password("ann", PASSWORD),
        hub.users.set_role("ann", Role.ADMIN),
    )
    for change in gone:
        with pytest.raises(NotFound, match="no user 'ann'"):
            await change


# ------------------------------------------------------------------------------------ notifications


@dataclass
class Receiver:
    """A webhook's server."""

    url: str
    status: int = 200
    bodies: list[dict[str, Any]] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return sorted(notice["text"] for body in self.bodies for notice in body["notices"])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


async def test_a_channel_is_told_what_it_wants(hub: OpenHub, receiver: Receiver) -> None:
    told = hub.notifications
    await told.put_channel(Channel("done", "webhook", receiver.url, events=("TASK_DONE",)))
    await told.put_channel(Channel("off", "webhook", receiver.url, enabled=False))
    await told.notify(NotifiedEvent.TASK_ERROR, task(), "no such bucket")
    await told.notify(NotifiedEvent.TASK_DONE, task(), "3 transferred")
    await hub.deliver()
    await hub.deliver()
    assert receiver.texts == ["3 transferred"]
    assert "data-transfer-hub" in receiver.bodies[0]["source"]


async def test_what_is_told_once_is_told_once(hub: OpenHub, receiver: Receiver) -> None:
    await hub.notifications.put_channel(Channel("all", "webhook", receiver.url))
    for once in ("run 1", "run 1", "run 2", "", ""):
        await hub.notifications.notify(NotifiedEvent.TASK_ERROR, task(), once, once=once)
    await hub.deliver()
    await hub.notifications.notify(NotifiedEvent.TASK_ERROR, task(), "run 1", once="run 1")
    await hub.deliver()
    assert receiver.texts == ["", "", "run 1", "run 2"]


async def test_channels_are_replaced_and_removed(hub: OpenHub, receiver: Receiver) -> None:
    told = hub.notifications
    first = Channel("a", "webhook", receiver.url, "Ops", ("TASK_DONE", "TASK_ERROR"))
    await told.put_channel(first)
    await told.put_channel(Channel("b", "webhook", receiver.url))
    assert [each.id for each in await told.channels()] == ["a", "b"]
    changed = replace(first, name="Öps", events=(), enabled=False)
    await told.put_channel(changed)
    assert (await told.channels())[0] == changed
    for wrong in (Channel("c", "email", "nobody"), Channel("c", "webhook", "ftp://a/")):
        with pytest.raises(UsageError):
            await told.put_channel(wrong)
    await told.remove_channel("b")
    assert await told.channels() == [changed]
    for gone in (told.remove_channel("b"), told.remove_channel(""), told.test_channel("b")):
        with pytest.raises(NotFound, match="no channel"):
            await gone


async def test_a_channel_is_tried_at_once(hub: OpenHub, receiver: Receiver) -> None:
    await hub.notifications.put_channel(Channel("a", "webhook", receiver.url))
    assert await hub.notifications.test_channel("a") == ""
    assert len(receiver.bodies) == 1
    receiver.status = 500
    assert "answered 500" in await hub.notifications.test_channel("a")


async def test_what_did_not_arrive_is_kept(hub: OpenHub, receiver: Receiver) -> None:
    receiver.status = 500
    await hub.notifications.put_channel(Channel("a", "webhook", receiver.url))
    await hub.notifications.notify(NotifiedEvent.TASK_ERROR, task(), "kept")
    await hub.deliver()
    await hub.deliver()
    assert len(receiver.bodies) == 1  # its next try is later


# ------------------------------------------------------------------------------------------ metrics


async def test_what_all_tasks_did_is_summed(hub: OpenHub) -> None:
    begin = 1_800_000_000
    await hub.metrics.write("a", begin + 5, {"transferred": 3, "bytes_out": 10, "waiting": 7})
    await hub.metrics.write("b", begin + 599, {"transferred": 2, "failed": 0})
    await hub.metrics.write("a", begin + 1300, {"failed": 1})
    await hub.metrics.forget("a")
    names = ["transferred", "failed", "bytes_out"]
    times, series = await hub.metrics.read_all(names, begin, begin + 1800, 1200)
    assert times == [begin, begin + 1200]
    found = {each.name: [value or 0 for value in each.values] for each in series}
    assert found == {"transferred": [5, 0], "failed": [0, 1], "bytes_out": [10, 0]}
    assert [
        each.values[0] for each in (await hub.metrics.read_all(["failed"], 0, 600, 600))[1]
    ] == [None]


async def test_a_task_that_nobody_measured_has_empty_graphs(hub: OpenHub) -> None:
    now = int(time.time()) // 60 * 60 - 600
    times, series = await hub.metrics.read("nothing", ["bytes_out", "waiting"], now, now + 180, 60)
    assert times == [now, now + 60, now + 120]
    assert {each.name: each.values for each in series} == dict.fromkeys(
        ("bytes_out", "waiting"), [None] * 3
    )


# --------------------------------------------------------------------------------------------- logs


def texts(page: LogPage) -> list[str]:
    """What was written: a platform may say the level before it."""
    return [event.message.removeprefix("INFO ") for event in page.events]


async def test_the_newest_page_of_a_log_and_both_ways_from_it(hub: OpenHub) -> None:
    hub.log("one", "worker", [f"line {number}" for number in range(10)])
    hub.log("one", "finder", ["a\x1b[2Jb"])

    async def page(token: str = "", stream: str = "worker") -> LogPage:
        return await hub.logs.events("one", stream, 3, token)

    assert {stream.name for stream in await hub.logs.streams("one")} == {"worker", "finder"}
    [finder] = await hub.logs.streams("one", "fin")
    assert (finder.name, abs(time.time() - finder.last) < 60) == ("finder", True)
    newest = await page()
    assert texts(newest) == ["line 7", "line 8", "line 9"]
    assert texts(await page(newest.backward)) == ["line 4", "line 5", "line 6"]
    after = await page(newest.forward)
    assert after.events == []
    assert (await page(after.forward)).forward == after.forward
    [odd] = (await page(stream="finder")).events
    assert odd.message.isprintable()


async def test_a_log_is_searched_whatever_the_case(hub: OpenHub) -> None:
    hub.log("one", "worker", ["ALL well", "Access DENIED", "well", "access denied again"])
    found: set[str] = set()
    token = ""
    while True:
        page = await hub.logs.events("one", "worker", 100, token, search="access denied")
        found |= set(texts(page))
        if page.forward == token:
            break
        token = page.forward
    assert found == {"Access DENIED", "access denied again"}


async def test_events_between_two_moments(hub: OpenHub) -> None:
    hub.log("one", "worker", [f"line {number}" for number in range(10)])
    all_events = (await hub.logs.events("one", "worker")).events
    start, end = all_events[3].at, all_events[6].at
    page = await hub.logs.events("one", "worker", start=start, end=end)
    assert texts(page) == ["line 3", "line 4", "line 5"]


async def test_the_logs_of_all_processes_are_one(hub: OpenHub) -> None:
    hub.log("one", "finder", ["listed"])
    hub.log("one", "worker-1", ["copied", "refused"])
    page = await hub.logs.events("one", None)
    streams = [event.stream for event in page.events]
    assert sorted(zip(streams, texts(page), strict=True)) == [
        ("finder", "listed"), ("worker-1", "copied"), ("worker-1", "refused"),
    ]  # fmt: skip
    times = [event.at for event in page.events]
    assert times == sorted(times)
    assert (await hub.logs.events("one", None, 100, page.forward)).events == []
    assert texts(await hub.logs.events("one", None, prefix="find")) == ["listed"]
    assert texts(await hub.logs.events("one", None, search="REFUSED")) == ["refused"]
    assert (await hub.logs.events("none", None)).events == []


async def test_a_log_that_is_not_there(hub: OpenHub) -> None:
    assert await hub.logs.streams("none") == []
    hub.log("one", "worker", ["line"])
    for task_id, stream in (("none", "worker"), ("one", "other")):
        with pytest.raises(NotFound, match="There is no log stream"):
            await hub.logs.events(task_id, stream)
    with pytest.raises(UsageError, match="limit"):
        await hub.logs.events("one", "worker", 0)
    with pytest.raises(UsageError, match="nextToken"):
        await hub.logs.events("one", "worker", token="x/y")


# --------------------------------------------------------------------------------------------- jobs


async def test_a_certificate_is_made_while_others_ask_for_it(hub: OpenHub) -> None:
    may_end = asyncio.Event()

    async def work() -> dict[str, Any]:
        await may_end.wait()
        return {"objects": ["a", "é"]}

    job = await hub.jobs.certify("one", 3, work)
    found = await hub.jobs.get(job.id)
    assert (found.kind, found.state, found.ended, found.result) == (CERTIFICATE, "RUNNING", 0, {})
    may_end.set()
    await hub.certify(job.id, work)
    found = await hub.jobs.get(job.id)
    assert (found.state, found.error, found.result) == ("DONE", "", {"objects": ["a", "é"]})
    assert found.ended >= found.started > 0


async def test_a_job_that_failed_says_why(hub: OpenHub) -> None:
    async def work() -> dict[str, Any]:
        raise HubError("run 3 is forgotten")

    job = await hub.jobs.certify("one", 3, work)
    await hub.certify(job.id, work)
    found = await hub.jobs.get(job.id)
    assert (found.state, found.error, found.result) == ("FAILED", "run 3 is forgotten", {})


async def test_a_job_that_is_not_there(hub: OpenHub) -> None:
    for unknown in ("nothing", "", "x" * 5000):
        with pytest.raises(NotFound, match="no job"):
            await hub.jobs.get(unknown)
