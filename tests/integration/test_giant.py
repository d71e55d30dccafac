"""Large objects in parts, by one worker or by all: completed once, resumed where that is right,
never left behind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.ports.status import Status
from dth.objects.store.pace import Budget
from dth.objects.transfer.multipart import Multipart
from dth.platforms.local.uploads import LocalUploads
from tests.engine import FOUR_PARTS, GIANT, MIB, PARTED, Crash, Engine, Ran, Side, blob
from tests.servers.proxy import Delay, Hook, Proxy, Reply, RequestHeaders, Reset

if TYPE_CHECKING:
    from collections.abc import Callable

    from dth.core.ports.uploads import GiantUpload, Part
    from dth.objects.transfer.relay import CopiedObject
    from tests.servers.proxy import Request

KINDS = pytest.mark.parametrize("settings", [PARTED, GIANT], ids=["parted", "giant"])


def arrived(ran: Ran, engine: Engine, attempts: int = 1) -> None:
    assert (ran.counts.done, ran.counts.failed, ran.counts.cancelled) == (1, 0, 0)
    assert ran.counts.done_bytes == ran.counts.enqueued_bytes
    assert ran.records["k"].attempts == attempts
    assert engine.dest.direct.get("k") == engine.source.direct.get("k")


def parts_sent(proxy: Proxy) -> list[int]:
    """The numbers of the parts that were sent, in order."""
    return sorted(
        int(request.query.split("&")[0].removeprefix("partNumber="))
        for request in proxy.seen("PUT", "k")
    )


def die_once(
    monkeypatch: pytest.MonkeyPatch, where: type, name: str, *, after: bool, nth: int = 1
) -> None:
    """Let the process die right before or after the nth call of a method."""
    method = getattr(where, name)
    calls = iter(range(1, 1000))

    async def dying(*args: Any, **kwargs: Any) -> Any:
        dies = next(calls) == nth
        if dies and not after:
            raise Crash(name)
        result = await method(*args, **kwargs)
        if dies:
            raise Crash(name)
        return result

    monkeypatch.setattr(where, name, dying)


# --- all goes well
# -------------------------------------------------------------------------------------------


def test_parts_of_a_giant_object_are_spread_over_the_workers(
    engine: Engine, proxy_b: Proxy, source: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.put({"k": blob(26 * MIB)})
    copy_part = Multipart.copy_part
    by: dict[str, int] = {}

    async def noted(self: Multipart, upload: GiantUpload, number: int) -> Part:
        by[self._owner] = by.get(self._owner, 0) + 1
        return await copy_part(self, upload, number)

    monkeypatch.setattr(Multipart, "copy_part", noted)
    proxy_b.rule(Delay(0.3), method="PUT")
    # A budget that is less than the parts: one worker has no room for all of them, however fast it
    # is.
    arrived(engine.run(workers=2, **{**GIANT, "memory_budget": 4 * MIB}), engine)
    assert len(by) == 2
    assert sum(by.values()) == 26
    assert proxy_b.count("POST", "k", "^uploads=") == proxy_b.count("POST", "k", "^uploadId=") == 1


def test_large_parts_pass_in_little_memory(
    engine: Engine, source: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.objects.transfer.multipart.STREAM_ABOVE", 3 * MIB)
    monkeypatch.setattr("dth.objects.transfer.multipart.PIPE_SIZE", MIB)
    peak = watch_budget(monkeypatch)
    source.put({"k": blob(16 * MIB)})
    arrived(engine.run(**{**GIANT, "part_size": 4 * MIB}), engine)
    assert peak() <= 4 * MIB  # four parts, and a pipe for each


def test_bodies_in_memory_stay_within_the_budget(
    engine: Engine, source: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    peak = watch_budget(monkeypatch)
    source.put({f"{n:02}": blob(MIB, n) for n in range(16)} | {"k": blob(FOUR_PARTS)})
    ran = engine.run(memory_budget=4 * MIB, **PARTED)
    assert ran.counts.done == 17
    assert 2 * MIB < peak() <= 4 * MIB


def watch_budget(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    most = [0]
    acquire = Budget.acquire

    async def noted(self: Budget, amount: int) -> None:
        await acquire(self, amount)
        most.append(self.used)

    monkeypatch.setattr(Budget, "acquire", noted)
    return lambda: max(most)


# --- processes that die
# ----------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize(
    ("where", "name", "after"),
    [
        (LocalUploads, "intend", True),
        (LocalUploads, "start", False),
        (LocalUploads, "start", True),
        (Multipart, "copy_part", True),
        (LocalUploads, "part_done", True),
        (LocalUploads, "claim", True),
        (Multipart, "complete", True),
        (LocalUploads, "end", False),
        (LocalUploads, "end", True),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_fault_12_a_worker_that_dies_anywhere_leaves_no_upload_behind(
    engine: Engine,
    source: Side,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, int],
    where: type,
    name: str,
    after: bool,
) -> None:
    source.put({"k": blob(FOUR_PARTS)})
    die_once(monkeypatch, where, name, after=after)
    ran = engine.run(**settings)
    assert ran.crashes
    arrived(ran, engine)  # and no upload is left: the engine looks after each run


def test_the_controller_completes_what_the_last_worker_could_not(
    engine: Engine, source: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.objects.controller.GRACE", 0.1)
    source.put({"k": blob(FOUR_PARTS)})
    complete = Multipart.complete

    async def workers_die(self: Multipart, upload: GiantUpload) -> CopiedObject | None:
        if self._owner.startswith("worker"):
            raise Crash
        return await complete(self, upload)

    monkeypatch.setattr(Multipart, "complete", workers_die)
    arrived(engine.run(workers=2, **GIANT), engine)


def test_an_upload_with_all_its_parts_is_completed_though_its_message_is_dead(
    engine: Engine, source: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers die so fast that their message is given up before the controller looks at the
    upload."""
    monkeypatch.setattr("dth.objects.controller.GRACE", 3.0)
    source.put({"k": blob(FOUR_PARTS)})
    complete = Multipart.complete

    async def workers_die(self: Multipart, upload: GiantUpload) -> CopiedObject | None:
        if self._owner.startswith("worker"):
            raise Crash
        return await complete(self, upload)

    monkeypatch.setattr(Multipart, "complete", workers_die)
    arrived(engine.run(workers=2, **GIANT), engine)


def test_a_part_whose_message_was_lost_is_sent_again(
    engine: Engine, source: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.put({"k": blob(FOUR_PARTS)})
    start = LocalUploads.start

    async def forgetful(
        self: LocalUploads, key: str, upload_id: str, parts: list[Part], messages: list[Any]
    ) -> bool:
        return await start(self, key, upload_id, parts, messages[:-1])

    monkeypatch.setattr(LocalUploads, "start", forgetful)
    arrived(engine.run(**GIANT), engine)


def test_an_upload_that_was_never_begun_begins_anew(
    engine: Engine, source: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its object's message is lost, too."""
    monkeypatch.setattr("dth.objects.controller.INTENT_LIMIT", 0.5)
    source.put({"k": blob(FOUR_PARTS)})
    begin = Multipart.begin
    calls = iter(range(1000))

    async def only_intends(
        self: Multipart, run: int, item: Any, *, spread: bool = False
    ) -> GiantUpload:
        if next(calls) == 0:
            with monkeypatch.context() as broken:
                broken.setattr(self._route.source, "get", None)
                with pytest.raises(TypeError):
                    await begin(self, run, item, spread=spread)
            live = await self._uploads.get(item.key)
            assert live is not None
            return live
        return await begin(self, run, item, spread=spread)

    monkeypatch.setattr(Multipart, "begin", only_intends)
    arrived(engine.run(**GIANT), engine, attempts=2)


# --- what others do to our uploads, and we must not do to theirs
# ---------------------------------------------------


@KINDS
@pytest.mark.parametrize("when", ["part", "completion"])
def test_an_upload_that_somebody_aborted_begins_anew(
    engine: Engine, proxy_b: Proxy, source: Side, dest: Side, settings: dict[str, int], when: str
) -> None:
    source.put({"k": blob(FOUR_PARTS)})

    def abort(request: Request) -> None:
        for upload in dest.uploads():
            dest.server.boto().abort_multipart_upload(
                Bucket=dest.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
            )

    method, query, nth = ("PUT", "partNumber=", 3) if when == "part" else ("POST", "^uploadId=", 1)
    proxy_b.rule(Hook(abort), method=method, query=query, nth=nth)
    arrived(engine.run(workers=2, **settings), engine, attempts=2)
    assert proxy_b.count("POST", "k", "^uploads=") == 2


@KINDS
def test_an_upload_that_is_gone_because_it_was_completed_is_a_success(
    engine: Engine, proxy_b: Proxy, source: Side, settings: dict[str, int]
) -> None:
    source.put({"k": blob(FOUR_PARTS)})
    proxy_b.rule(Reset(), method="POST", query="^uploadId=", nth=1)
    proxy_b.rule(Reply(404, "NoSuchUpload"), method="POST", query="^uploadId=", nth=2)
    arrived(engine.run(**settings), engine)
    assert proxy_b.count("POST", "k", "^uploadId=", status=404) == 1


def test_fault_03_only_our_own_orphan_of_this_very_key_is_thrown_away(
    engine: Engine, source: Side, dest: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.objects.transfer.multipart.CLOCK_TOLERANCE", 1.0)
    source.put({"k": blob(FOUR_PARTS)})
    boto = dest.server.boto()
    before = boto.create_multipart_upload(Bucket=dest.bucket, Key="k")["UploadId"]
    time.sleep(2.2)
    others: list[str] = []
    start = LocalUploads.start

    async def die(self: LocalUploads, *arguments: Any) -> bool:
        """Between CreateMultipartUpload and writing its id down; meanwhile somebody begins
        another."""
        if others:
            return await start(self, *arguments)
        others.append(boto.create_multipart_upload(Bucket=dest.bucket, Key="kb")["UploadId"])
        raise Crash

    monkeypatch.setattr(LocalUploads, "start", die)
    ran = engine.run(stray_uploads=2, **GIANT)
    arrived(ran, engine)
    assert {upload["UploadId"] for upload in dest.uploads()} == {before, *others}


def test_fault_03_an_upload_is_resumed_where_it_was(
    engine: Engine, proxy_b: Proxy, source: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.put({"k": blob(FOUR_PARTS)})
    proxy_b.rule(Delay(1.0), method="PUT", query="partNumber=4&")
    die_once(monkeypatch, LocalUploads, "part_done", after=True, nth=3)
    ran = engine.run(**PARTED)
    arrived(ran, engine)
    assert [number for number in parts_sent(proxy_b) if number < 4] == [1, 2, 3]
    assert proxy_b.count("POST", "k", "^uploads=") == 1


@pytest.mark.parametrize("obeys", [True, False], ids=["if-match", "ignored"])
@KINDS
def test_fault_03_an_upload_of_another_version_is_not_resumed(
    engine: Engine,
    proxy_a: Proxy,
    proxy_b: Proxy,
    source: Side,
    dest: Side,
    settings: dict[str, int],
    obeys: bool,
) -> None:
    source.put({"k": blob(FOUR_PARTS, 1)})
    if not obeys:
        proxy_a.rule(RequestHeaders(remove="if-match"))
    refusal = proxy_b.rule(Reply(403, "ExpiredToken"), method="PUT", query="partNumber=4&")
    assert engine.run(**settings).paused
    assert len(dest.uploads()) == 1
    proxy_b.remove(refusal)
    source.put({"k": blob(FOUR_PARTS, 2)})
    ran = engine.run(**settings)
    assert ran.resumed
    arrived(ran, engine, attempts=2)
    assert ran.records["k"].etag == source.etags()["k"]


def test_an_upload_with_other_parts_than_wanted_now_is_not_resumed(
    engine: Engine, proxy_b: Proxy, source: Side
) -> None:
    source.put({"k": blob(FOUR_PARTS)})
    refusal = proxy_b.rule(Reply(403, "ExpiredToken"), method="PUT", query="partNumber=4&")
    assert engine.run(**PARTED).paused
    proxy_b.remove(refusal)
    proxy_b.forget()
    arrived(engine.run(**{**PARTED, "part_size": 5 * MIB // 4}), engine)
    assert parts_sent(proxy_b) == [1, 2, 3]


def test_a_giant_object_that_is_cancelled_takes_its_upload_along(
    engine: Engine, proxy_b: Proxy, source: Side, dest: Side
) -> None:
    source.put({"k": blob(FOUR_PARTS)})
    refusal = proxy_b.rule(Reply(403, "ExpiredToken"), method="PUT", query="partNumber=4&")
    assert engine.run(**GIANT).paused
    proxy_b.remove(refusal)
    source.server.request("DELETE", f"/{source.bucket}/k")
    ran = engine.run(**GIANT)
    assert ran.records["k"].status is Status.CANCELLED
    assert dest.listed() == []


def test_what_is_wrong_with_the_endpoint_when_completing_is_mended_and_goes_on_at_once(
    engine: Engine, proxy_b: Proxy, source: Side
) -> None:
    source.put({"k": blob(FOUR_PARTS)})
    refusal = proxy_b.rule(Reply(403, "ExpiredToken"), method="POST", query="^uploadId=")
    assert "ExpiredToken" in engine.run(**GIANT).paused
    proxy_b.remove(refusal)
    arrived(engine.run(**GIANT), engine)
