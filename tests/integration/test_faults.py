"""What goes wrong on the way, and what becomes of it: nothing is lost, nothing is copied wrong, and
users are told."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import StateError
from dth.core.ports.queue import Outgoing
from dth.core.ports.runs import RunState
from dth.core.ports.status import Status
from dth.core.transport import ConnectOptions
from dth.objects.listing.pages import PrefixListing
from dth.objects.transfer.handlers import Handlers
from dth.platforms.local.queue import LocalQueue
from dth.platforms.local.records import LocalRecords
from tests.engine import (
    FOUR_PARTS,
    GIANT,
    PARTED,
    TWO_PARTS,
    Crash,
    Dth,
    Engine,
    Side,
    between,
    blob,
    bodies,
    wait_for,
)
from tests.servers.proxy import (
    Corrupt,
    Delay,
    Drop,
    Hook,
    Limit,
    Proxy,
    Reply,
    RequestHeaders,
    Reset,
    SlowDown,
    Stall,
    Truncate,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.ministack import MiniStack
    from tests.servers.proxy import Action, Request


# --- a store that is overrun
# ---------------------------------------------------------------------------


def test_a_storm_of_503_is_weathered_without_an_attempt(
    engine: Engine, proxy_a: Proxy, proxy_b: Proxy, source: Side, dest: Side
) -> None:
    source.put(bodies(f"{n:03}" for n in range(150)))
    source.put({"parted": blob(TWO_PARTS), "giant": blob(FOUR_PARTS)})
    for proxy in (proxy_a, proxy_b):
        proxy.rule(SlowDown(), probability=0.5)
    ran = engine.run(workers=2, **GIANT)
    assert (ran.counts.done, ran.counts.failed) == (152, 0)
    assert {record.attempts for record in ran.records.values()} == {1}
    assert dest.contents() == source.contents()


def test_the_rate_that_a_store_grants_is_used(
    tmp_path: Path, proxy_b: Proxy, source: Side, dest: Side
) -> None:
    """At least a third of it, without shortened pauses."""
    source.put(bodies(f"{n:03}" for n in range(320)))
    limit = Limit(80, burst=20)
    proxy_b.rule(limit, method="PUT")
    started = time.monotonic()
    ran = Engine(tmp_path / "state", source, Side(proxy_b, dest.bucket)).run(workers=2)
    assert ran.counts.done == 320
    assert time.monotonic() - started < 320 / 80 * 3
    # What was in progress when the first one was refused, and what the search for the rate costs.
    assert limit.refused < limit.granted / 2, (limit.refused, limit.granted)


def test_a_request_cap_holds_over_all_workers(engine: Engine, proxy_b: Proxy, source: Side) -> None:
    source.put(bodies(f"{n:03}" for n in range(120)))
    assert engine.run(workers=2, max_requests_per_second=40).counts.done == 120
    assert proxy_b.peak_requests(2.0) <= 2 * 40 * 1.05 + 40 * 0.25


# --- connections that break
# ------------------------------------------------------------------------------


def carried(kind: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The settings by which an object is carried in this way. trailed: streamed, with checksums
    behind its parts."""
    if kind in ("streamed", "trailed"):
        monkeypatch.setattr("dth.objects.transfer.multipart.STREAM_ABOVE", 1 << 18)
    if kind == "trailed":
        # The proxies have no TLS.
        monkeypatch.setattr("dth.objects.store.endpoints.Endpoint.encrypted", True)
        return {**PARTED, "dest_type": "MinIO"}
    return GIANT if kind == "giant" else PARTED


@pytest.mark.parametrize("kind", ["whole", "parted", "giant", "streamed", "trailed"])
@pytest.mark.parametrize(
    "action",
    [Reset(after=1000), Truncate(after=1000), Stall(3, after=1000)],
    ids=["reset", "cut", "stall"],
)
def test_a_body_from_the_source_that_breaks_off(
    engine: Engine,
    proxy_a: Proxy,
    source: Side,
    dest: Side,
    monkeypatch: pytest.MonkeyPatch,
    action: Action,
    kind: str,
) -> None:
    monkeypatch.setattr(
        "dth.objects.sides.ConnectOptions", partial(ConnectOptions, stall_timeout=1.0)
    )
    source.put({"k": blob(1 << 19 if kind == "whole" else FOUR_PARTS)})
    proxy_a.rule(
        action,
        method="GET",
        key="k",
        when=lambda request: "bytes=0-0" not in str(request.headers.get("range")),
        nth=1,
    )
    ran = engine.run(**carried(kind, monkeypatch))
    assert (ran.counts.done, ran.records["k"].attempts) == (1, 1)
    assert dest.get("k") == source.get("k")


@pytest.mark.parametrize("kind", ["whole", "parted", "streamed", "trailed"])
@pytest.mark.parametrize(
    "action",
    [Drop(), Reset(), Reply(500, "InternalError", early=True), Corrupt(500, upload=True)],
    ids=["dropped", "unanswered", "refused-early", "damaged"],
)
def test_an_upload_that_breaks_off(
    engine: Engine,
    proxy_b: Proxy,
    source: Side,
    dest: Side,
    monkeypatch: pytest.MonkeyPatch,
    action: Action,
    kind: str,
) -> None:
    source.put({"k": blob(1 << 19 if kind == "whole" else FOUR_PARTS)})
    rule = proxy_b.rule(action, method="PUT", nth=1)
    ran = engine.run(**carried(kind, monkeypatch))
    assert rule.hits == 1
    assert (ran.counts.done, ran.counts.failed) == (1, 0)
    assert dest.get("k") == source.get("k")


@pytest.mark.parametrize("step", ["uploads=", "uploadId="])
def test_answers_to_the_steps_of_a_multipart_upload_that_are_lost(
    engine: Engine, proxy_b: Proxy, source: Side, dest: Side, step: str
) -> None:
    """The store did what was asked, and we never hear of it."""
    source.put({"parted": blob(TWO_PARTS), "giant": blob(FOUR_PARTS)})
    proxy_b.rule(Reset(), method="POST", query=f"^{step}", nth=(1, 2))
    ran = engine.run(stray_uploads=2 if step == "uploads=" else 0, **GIANT)
    assert (ran.counts.done, ran.counts.failed) == (2, 0)
    assert dest.contents() == source.contents()


def test_content_that_is_damaged_on_its_way_here_is_noticed(
    engine: Engine, proxy_a: Proxy, source: Side, dest: Side
) -> None:
    """Where the source states a checksum."""
    source.server.boto().put_object(
        Bucket=source.bucket, Key="k", Body=blob(1000), ChecksumAlgorithm="CRC64NVME"
    )
    proxy_a.rule(Corrupt(500), method="GET", key="k", nth=1)
    ran = engine.run()
    assert (ran.counts.done, ran.records["k"].attempts) == (1, 2)
    assert dest.get("k") == blob(1000)


# --- objects that do not stay as they were
# ---------------------------------------------------------------


@pytest.mark.parametrize("obeys", [True, False], ids=["if-match", "ignored"])
@pytest.mark.parametrize("kind", ["whole", "parted", "giant", "streamed", "trailed"])
def test_fault_03_an_object_that_changes_while_it_is_copied_arrives_as_it_is_now(
    engine: Engine,
    proxy_a: Proxy,
    source: Side,
    dest: Side,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    obeys: bool,
) -> None:
    size = 1000 if kind == "whole" else FOUR_PARTS
    source.put({"k": blob(size, 1)})
    if not obeys:
        proxy_a.rule(RequestHeaders(remove="if-match"))
    proxy_a.rule(
        Hook(lambda request: source.put({"k": blob(size, 2)})),
        method="GET",
        key="k",
        nth=1 if kind == "whole" else 3,
    )
    ran = engine.run(workers=2, **carried(kind, monkeypatch))
    assert (ran.counts.done, ran.counts.failed, ran.counts.cancelled) == (1, 0, 0)
    assert ran.records["k"].attempts == 2
    assert ran.records["k"].etag == source.etags()["k"]
    assert dest.get("k") == blob(size, 2)


def test_a_part_that_finds_its_upload_thrown_away_costs_no_attempt_more(
    engine: Engine, proxy_a: Proxy, proxy_b: Proxy, source: Side, dest: Side
) -> None:
    """Two parts of an object that changed: one sees the change and throws the upload away, the
    other then finds the upload gone, before the first has heard the store's answer."""
    source.put({"k": blob(FOUR_PARTS, 1)})
    proxy_a.rule(
        Hook(lambda request: source.put({"k": blob(FOUR_PARTS, 2)})), method="GET", key="k", nth=3
    )
    proxy_b.rule(Delay(0.4), method="PUT", query="partNumber=", nth=1)
    proxy_b.rule(Stall(0.8), method="DELETE", query="uploadId=")
    ran = engine.run(workers=2, **GIANT)
    assert (ran.counts.done, ran.records["k"].attempts) == (1, 2)
    assert dest.get("k") == blob(FOUR_PARTS, 2)


def test_an_object_that_never_stays_is_given_up_after_five_attempts(
    engine: Engine, proxy_a: Proxy, source: Side
) -> None:
    source.put({"k": b"0"})
    versions = iter(range(1, 100))
    proxy_a.rule(
        Hook(lambda request: source.put({"k": str(next(versions)).encode()})), method="GET", key="k"
    )
    ran = engine.run()
    assert (ran.counts.failed, ran.records["k"].attempts) == (1, 5)


@pytest.mark.parametrize("kind", ["whole", "parted", "giant"])
def test_an_object_that_vanishes_is_cancelled(
    engine: Engine, proxy_a: Proxy, source: Side, dest: Side, kind: str
) -> None:
    source.put({"k": blob(10 if kind == "whole" else FOUR_PARTS), "other": b"x"})

    def delete(request: Request) -> None:
        source.server.request("DELETE", f"/{source.bucket}/k")

    proxy_a.rule(Hook(delete), method="GET", key="^k", nth=1 if kind == "whole" else 3)
    ran = engine.run(workers=2, **(GIANT if kind == "giant" else PARTED))
    assert (ran.counts.done, ran.counts.failed, ran.counts.cancelled) == (1, 0, 1)
    assert ran.records["k"].status is Status.CANCELLED
    assert dest.listed() == ["other"]


# --- refusals
# ----------------------------------------------------------------------------------------------


def test_a_header_that_the_destination_refuses_fails_once(
    engine: Engine, proxy_b: Proxy, source: Side
) -> None:
    source.put({"small": b"x", "parted": blob(TWO_PARTS)})
    refusal = Reply(400, "InvalidStorageClass", "The storage class you specified is not valid")
    proxy_b.rule(refusal, when=lambda request: "x-amz-storage-class" in request.headers)
    ran = engine.run(dest_storage_class="DEEP_ARCHIVE", **PARTED)
    assert ran.counts.failed == 2
    for record in ran.records.values():
        assert (record.reason, record.attempts) == ("InvalidStorageClass", 1)
        assert "not valid" in record.detail
    assert proxy_b.count(status=400) == 2


@pytest.mark.parametrize("side", ["source", "dest"])
def test_one_object_that_is_refused_fails_at_once_and_the_others_pass(
    engine: Engine, proxy_a: Proxy, proxy_b: Proxy, source: Side, dest: Side, side: str
) -> None:
    keys = [f"{n:02}" for n in range(20)]
    source.put(bodies(keys))
    proxy = proxy_a if side == "source" else proxy_b
    proxy.rule(Reply(403, "AccessDenied"), key="^07$")
    ran = engine.run()
    assert (ran.counts.done, ran.counts.failed) == (19, 1)
    assert (ran.records["07"].status, ran.records["07"].reason) == (Status.FAILED, "AccessDenied")
    assert ran.records["07"].attempts == 1
    proxy.clear()
    again = engine.run()
    assert (again.counts.done, again.counts.same) == (1, 19)
    assert dest.contents() == source.contents()


def test_fault_10_an_object_that_always_fails_neither_blocks_others_nor_stays_in_the_queue(
    engine: Engine, proxy_a: Proxy, proxy_b: Proxy, source: Side, dest: Side
) -> None:
    source.put(bodies(f"{n:02}" for n in range(50)))
    source.put({"parted": blob(TWO_PARTS), "giant": blob(FOUR_PARTS)})
    proxy_a.rule(
        Reply(500, "InternalError", "We encountered an internal error."), method="GET", key="^07$"
    )
    proxy_b.rule(Reply(500, "InternalError"), method="PUT", query="partNumber=2&")
    started = time.monotonic()
    ran = engine.run(workers=2, **GIANT)
    assert (ran.counts.done, ran.counts.failed) == (49, 3)
    assert time.monotonic() - started < 30
    for key in ("07", "parted", "giant"):
        record = ran.records[key]
        assert (record.status, record.reason, record.attempts) == (
            Status.FAILED,
            "InternalError",
            5,
        ), key
    assert "internal error" in ran.records["07"].detail
    proxy_a.clear()
    proxy_b.clear()
    assert engine.run(**GIANT).counts.done == 3
    assert dest.contents() == source.contents()


def test_fault_11_a_run_ends_by_its_ledger_whatever_became_of_its_objects(
    engine: Engine, proxy_a: Proxy, source: Side, dest: Side
) -> None:
    source.put(bodies(["done", "same", "refused", "gone", "filtered.tmp", "k" * 1024]))
    dest.put(bodies(["to/same", "to/extra"]))
    dest.put({"to/same": source.get("same")})
    proxy_a.rule(Reply(403, "AccessDenied"), key="refused")
    proxy_a.rule(Reply(404, "NoSuchKey"), key="gone")
    ran = engine.run(exclude_patterns=("*.tmp",), dest_prefix="to/")
    counts = ran.counts
    assert ran.run.state is RunState.DONE
    assert (counts.listed, counts.filtered, counts.same, counts.enqueued) == (6, 1, 1, 4)
    # What is listed and cannot be read is not an object that has gone.
    assert (counts.done, counts.failed, counts.cancelled, counts.extra) == (1, 3, 0, 1)
    assert ran.records["gone"].reason == "Unreadable"


# --- the whole endpoint
# ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "where"),
    [
        (403, "RequestTimeTooSkewed", {"side": "dest", "method": "PUT"}),
        (403, "InvalidAccessKeyId", {"side": "source", "key": "."}),
        (403, "SignatureDoesNotMatch", {"side": "dest", "method": "PUT|POST"}),
        (404, "NoSuchBucket", {"side": "dest", "method": "PUT|POST"}),
        (400, "KMS.DisabledException", {"side": "dest", "method": "PUT|POST"}),
        (400, "ExpiredToken", {"side": "dest", "method": "POST", "query": "^uploadId="}),
    ],
)
def test_what_is_wrong_with_an_endpoint_pauses_the_task_and_spends_no_attempt(
    engine: Engine,
    proxy_a: Proxy,
    proxy_b: Proxy,
    source: Side,
    dest: Side,
    status: int,
    code: str,
    where: dict[str, Any],
) -> None:
    source.put(bodies(f"{n:02}" for n in range(30)))
    source.put({"parted": blob(TWO_PARTS), "giant": blob(FOUR_PARTS)})
    proxy = {"source": proxy_a, "dest": proxy_b}[where.pop("side")]
    proxy.rule(Reply(status, code, "Mend this"), **where)
    if code == "SignatureDoesNotMatch":
        # Wrong keys are refused whatever is asked for: other than an object whose metadata the
        # store signs otherwise.
        proxy.rule(Reply(status, code), method="GET", query="max-keys=1$")
    ran = engine.run(workers=2, **GIANT)
    assert code in ran.paused
    assert ran.counts.failed == ran.counts.cancelled == 0
    assert ran.counts.done < 32
    proxy.clear()
    again = engine.run(workers=2, **GIANT)
    assert again.resumed
    assert (again.counts.done, again.counts.failed) == (32, 0)
    assert {record.attempts for record in again.records.values()} == {1}
    assert dest.contents() == source.contents()


def test_a_store_that_cannot_be_reached_pauses_the_task(
    engine: Engine, proxy_b: Proxy, source: Side, dest: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.objects.transfer.failures.UNREACHABLE", 1.0)
    source.put(bodies(f"{n:02}" for n in range(30)))
    closing = threading.Event()
    proxy_b.rule(Hook(lambda request: closing.set()), method="PUT", nth=3)
    proxy_b.rule(
        Delay(60), method="PUT", nth=range(4, 31)
    )  # or all may be done before it is closed

    async def unplug(_: Engine) -> None:
        await asyncio.to_thread(closing.wait)
        await asyncio.to_thread(proxy_b.close)
        await asyncio.sleep(60)

    ran = engine.run(during=unplug)
    assert "unreachable" in ran.paused
    assert ran.counts.failed == 0
    engine.dest = dest
    again = engine.run(dest_endpoint=dest.server.url)
    assert (again.counts.done, again.counts.failed) == (30, 0)
    assert dest.contents() == source.contents()


def test_a_listing_that_fails_fails_the_run_and_is_no_empty_one(
    engine: Engine, proxy_a: Proxy, proxy_b: Proxy, source: Side, dest: Side
) -> None:
    source.put(bodies("abc"))
    dest.put(bodies("xyz"))
    for proxy in (proxy_a, proxy_b):
        rule = proxy.rule(Reply(500, "InternalError"), query="list-type")
        ran = engine.run(delete_mode="Mirror", delete_max_percent=100)
        assert ran.run.state is RunState.FAILED
        assert "InternalError" in ran.run.error
        assert dest.listed() == ["x", "y", "z"]
        proxy.remove(rule)
    ran = engine.run(delete_mode="Mirror", delete_max_percent=100)
    assert dest.listed() == ["a", "b", "c"]


def test_a_wrong_secret_is_told_before_anything_is_started(
    dth: Dth, s3_auth: MiniStack, source: Side
) -> None:
    dest = Side(s3_auth, s3_auth.bucket())
    source.put(bodies(f"{n:02}" for n in range(20)))
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    access_key, secret_key = s3_auth.user({"Version": "2012-10-17", "Statement": [statement]})
    options = ("--dst-secret", dth.secret("there", access_key, "wrong"), "--skip-compare")
    done = dth.run("s3", "sync", *between(source, dest), *options, "--json")
    assert (done.code, done.out) == (2, "")
    assert "SignatureDoesNotMatch" in done.err
    dth.secret("there", access_key, secret_key)
    again = dth.sync(source, dest, *options)
    assert (again["resumed"], again["transferred"], again["failed"]) == (False, 20, 0)
    assert dest.contents() == source.contents()


def test_keys_that_expire_under_way_pause_the_run_and_the_same_command_finishes(
    dth: Dth, source: Side, dest: Side, proxy_b: Proxy
) -> None:
    source.put(bodies(f"{n:02}" for n in range(20)))
    there, options = Side(proxy_b, dest.bucket), ("--skip-compare",)
    expired = proxy_b.rule(Reply(400, "ExpiredToken"), method="PUT")
    found = dth.sync(source, there, *options, code=1)
    assert "ExpiredToken" in found["error"]
    assert (found["enqueued"], found["failed"], found["failures"]) == (20, 0, [])
    proxy_b.remove(expired)
    again = dth.sync(source, there, *options)
    assert (again["resumed"], again["transferred"], again["failed"]) == (True, 20, 0)
    assert dest.contents() == source.contents()


# --- workers that crash, messages that come twice
# ------------------------------------------------------------


def crash_on(monkeypatch: pytest.MonkeyPatch, key: str, times: int = 1000) -> None:
    """Let the process die that is about to transfer this key."""
    transfer = Handlers._transfer
    left = iter(range(times))

    async def crash(worker: Handlers, work: Any, run: int, item: Any) -> Any:
        if item.key == key and next(left, None) is not None:
            raise Crash(key)
        return await transfer(worker, work, run, item)

    monkeypatch.setattr(Handlers, "_transfer", crash)


def test_a_poisonous_object_takes_no_other_along(
    engine: Engine, source: Side, dest: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.put(bodies(f"{n:02}" for n in range(40)))
    crash_on(monkeypatch, "07")
    ran = engine.run()
    assert (ran.counts.done, ran.counts.failed) == (39, 1)
    record = ran.records["07"]
    assert (record.status, record.reason) == (Status.FAILED, "WorkerCrashed")
    assert len(ran.crashes) == 2 + 5  # twice as a pack, five times alone
    assert "07" not in dest.listed()


def test_a_poisonous_giant_object_is_settled_too(
    engine: Engine, source: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.put({"giant": blob(FOUR_PARTS), "other": b"x"})

    async def crash(*_: Any) -> None:
        raise Crash

    monkeypatch.setattr("dth.objects.transfer.multipart.Multipart.copy_part", crash)
    ran = engine.run(**GIANT)
    assert (ran.counts.done, ran.counts.failed) == (1, 1)
    assert ran.records["giant"].reason == "WorkerCrashed"


def test_a_crash_while_failures_are_sent_again_loses_none(
    engine: Engine, proxy_b: Proxy, source: Side, dest: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.put(bodies(f"{n:02}" for n in range(30)))
    proxy_b.rule(Reply(500, "InternalError"), method="PUT", nth=range(1, 31))
    send = LocalQueue.send
    deaths = iter(range(3))

    async def crash(queue: LocalQueue, messages: list[Outgoing], delay: float = 0.0) -> None:
        if messages and next(deaths, None) is not None:
            raise Crash
        await send(queue, messages, delay)

    monkeypatch.setattr(LocalQueue, "send", crash)
    ran = engine.run()
    assert (ran.counts.done, ran.counts.failed) == (30, 0)
    assert dest.contents() == source.contents()


def test_fault_05_what_could_not_be_enqueued_is_not_counted_as_enqueued(
    engine: Engine, source: Side, dest: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.put(bodies(f"{n:02}" for n in range(30)))
    commit = LocalRecords.commit

    async def fail(*_: Any) -> None:
        raise StateError("the disk is full")

    with monkeypatch.context() as full:
        full.setattr(LocalRecords, "commit", fail)
        with pytest.raises(AssertionError, match="disk is full"):
            raise AssertionError(engine.run(during=_a_second).error)
    assert LocalRecords.commit is commit
    ran = engine.run()
    assert ran.resumed
    assert (ran.counts.listed, ran.counts.done) == (30, 30)
    assert dest.contents() == source.contents()


async def _a_second(_: Engine) -> None:
    await asyncio.sleep(1)


def test_a_finder_that_crashes_goes_on_where_it_was(
    engine: Engine, source: Side, dest: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PrefixListing.page, "__defaults__", ("", "", 50))  # keys a page
    objects = bodies(f"{n:04}" for n in range(300))
    source.put(objects)
    dest.put({key: body for key, body in objects.items() if key.endswith("7")})
    commit = LocalRecords.commit
    pages = iter(range(1000))

    async def crash(records: LocalRecords, run: int, page: Any) -> None:
        number = next(pages)
        if number % 3 == 0:
            raise Crash  # before
        await commit(records, run, page)
        if number % 3 == 1:
            raise Crash  # after

    monkeypatch.setattr(LocalRecords, "commit", crash)
    ran = engine.run()
    assert ran.crashes.count("finder") >= 2
    assert (ran.counts.listed, ran.counts.same, ran.counts.done) == (300, 30, 270)
    assert dest.etags() == source.etags()


def test_a_lease_is_extended_while_the_work_goes_on(
    engine: Engine, proxy_b: Proxy, source: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.objects.transfer.worker.LEASE", 2.5)
    monkeypatch.setattr("dth.objects.transfer.worker.HEARTBEAT", 0.0)
    source.put({"slow": b"x"})
    proxy_b.rule(Delay(4.0), method="PUT")
    assert engine.run(workers=2).counts.done == 1
    assert proxy_b.count("PUT") == 1


def test_work_whose_lease_was_lost_counts_once(
    engine: Engine, proxy_b: Proxy, source: Side, dest: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.objects.transfer.worker.LEASE", 1.5)
    source.put({"slow": b"x", "parted": blob(TWO_PARTS)})
    proxy_b.rule(Delay(3.0), method="PUT", key="slow", nth=1)
    proxy_b.rule(Delay(3.0), method="PUT", key="parted", nth=1)
    ran = engine.run(workers=2, **PARTED)
    assert (ran.counts.done, ran.counts.failed) == (2, 0)
    assert ran.counts.done_bytes == TWO_PARTS + 1
    assert proxy_b.count("PUT", "slow") >= 2
    assert dest.contents() == source.contents()


def test_a_message_that_nobody_can_read_is_noted_and_removed(engine: Engine, source: Side) -> None:
    source.put(bodies("ab"))
    alien = [
        Outgoing("alien", "not JSON"),
        Outgoing("future", json.dumps({"v": 99, "kind": "objects"})),
    ]
    ran = engine.run(messages=alien)
    assert ran.counts.done == 2


# --- events
# --------------------------------------------------------------------------------------------------


def event(name: str, side: Side, key: str, sequencer: str) -> dict[str, Any]:
    return {
        "eventName": name,
        "s3": {"bucket": {"name": side.bucket}, "object": {"key": key, "sequencer": sequencer}},
    }


def test_fault_06_a_stale_delete_event_deletes_nothing(
    engine: Engine, source: Side, dest: Side
) -> None:
    source.put(bodies(["kept", "new"]))
    dest.put(bodies(["kept", "gone", "stale", "outside"]))
    together = [
        event("ObjectRemoved:Delete", source, "kept", "0001"),  # it is there again
        event(
            "ObjectRemoved:Delete", source, "gone", "00FFFFFFFFFFFFFFFFFFFFFFFF"
        ),  # no integer of 64 bits
        event("s3:ObjectCreated:Copy", source, "new", "1"),
        event("ObjectRemoved:Delete", Side(source.server, "other"), "outside", "01"),
        event("ObjectCreated:Put", source, "stale", "00A0"),
    ]
    late = event(
        "ObjectRemoved:Delete", source, "stale", "009F"
    )  # "00A", were it a number, would be less
    for records in (together, [late]):
        messages = [
            Outgoing("1", json.dumps({"Records": records})),
            Outgoing("2", json.dumps({"Event": "s3:TestEvent"})),
        ]
        ran = engine.run(messages=messages, src_event="CreateAndDelete", compare_policy="size")
    assert dest.listed() == ["kept", "new", "outside", "stale"]
    assert (ran.records["new"].status, ran.records["stale"].status) == (
        Status.DONE,
        Status.CANCELLED,
    )


def test_events_that_come_twice_and_together_are_all_applied(
    engine: Engine, source: Side, dest: Side
) -> None:
    source.put(bodies("abc"))
    dest.put(
        dict.fromkeys("abc", b"an old body")
    )  # of the same size: the comparison finds nothing to do
    etags = source.etags()

    def created(*keys: str) -> str:
        records = [event("ObjectCreated:Put", source, key, "0A") for key in keys]
        for record in records:
            thing = record["s3"]["object"]
            thing |= {"size": len(source.get(thing["key"])), "eTag": etags[thing["key"]]}
        return json.dumps({"Records": records})

    messages = [Outgoing("one", created("a", "b")), Outgoing("two", created("a", "c"))]
    engine.run(messages=messages, src_event="Create", compare_policy="size")
    assert dest.contents() == source.contents()


def test_the_proxies_are_in_between(
    proxy_a: Proxy, proxy_b: Proxy, engine: Engine, source: Side
) -> None:
    """Or all of the above would prove nothing."""
    source.put({"k": b"x"})
    engine.run()
    wait_for(lambda: proxy_b.count("PUT", "k") == 1)
    reads = [seen.query for seen in proxy_a.seen("GET", "k")]
    # The second one looks for tags, which the store may not count.
    assert reads == ["", "tagging="]
