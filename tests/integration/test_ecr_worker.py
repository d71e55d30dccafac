"""Finder and workers of a task for images on one event loop: real registries, real skopeo, faults
in between."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import HubError, StateError
from dth.core.ports.images import ImageRecord
from dth.core.ports.records import Enqueued, Outcome, Page
from dth.core.ports.runs import Counts, RunKind, RunState
from dth.core.ports.status import Status
from dth.core.retry_policy import RetryPolicy
from dth.images import controller, worker
from dth.images.finder import ImageFinder
from dth.images.messages import CopyOrder, decode, encode, key_of
from dth.images.parameters import EcrParameters
from dth.images.plugin import PLUGIN
from dth.images.registry import client as registry
from dth.images.registry import pace
from dth.images.registry.reference import Reference
from dth.images.worker import ImageWorker
from dth.platforms.local.platform import LocalPlatform, open_platform
from tests.images import JSON, SECONDS, Engine, said, settled
from tests.redriving import redrive_failed
from tests.servers.proxy import Hook, Reply, Stall
from tests.servers.registry import (
    NEEDED,
    OCI_INDEX,
    PASSWORD,
    USER,
    Built,
    EcrServer,
    PlainProxy,
    RegistryServer,
    artifact,
    copying,
    digest_of,
    fallback,
    image,
    index,
    layer,
    signature,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [NEEDED, pytest.mark.usefixtures("hurried")]

BASE = layer("worker-base", 300_000)
ACCEPTED = {"type": "insecureAcceptAnything"}


@pytest.fixture(scope="module")
def sources() -> Iterator[RegistryServer]:
    with RegistryServer(auth=True) as server:
        yield server


def one(name: str, size: int = 2000) -> Built:
    return image(name, [layer(f"worker-{name}", size)])


# ------------------------------------------------------------------------------------ run after run


async def test_a_second_run_copies_nothing_and_a_third_what_has_changed(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, gate: PlainProxy, there: RegistryServer
) -> None:
    for tag in ("v1", "v2", "latest"):
        here.push("team/app", tag, one(tag))
    engine = Engine(tmp_path, front, gate)
    first = await engine.run()
    assert set(first.statuses.values()) == {Status.DONE}
    front.forget()
    gate.forget()
    second = await engine.run()
    assert (second.counts.listed, second.counts.same, second.images) == (3, 3, {})
    assert not [r for r in front.requests if r.method == "GET" and "/blobs/" in r.path]
    assert not [r for r in gate.requests if r.method not in ("GET", "HEAD")]
    here.push("team/app", "latest", one("moved"))
    third = await engine.run()
    assert (third.counts.same, set(third.images)) == (2, {"team/app:latest"})
    assert there.digest("team/app", "latest") == one("moved").digest
    with open_platform(tmp_path, "test") as platform:
        history = await platform.images.history("team/app:latest")
        assert [(each.run, each.source_digest) for each in history] == [
            (3, one("moved").digest),
            (1, one("latest").digest),
        ]


async def test_two_images_of_one_name_one_is_copied_and_the_other_is_told(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("a/app", "v1", one("first"))
    here.push("b/app", "v1", one("second"))
    engine = Engine(tmp_path, here, there, rename_rules=("a/*=x/*", "b/*=x/*"))
    ran = await engine.run()
    assert there.digest("x/app", "v1") == one("first").digest
    assert (ran.counts.listed, ran.counts.done, ran.counts.failed, ran.counts.pending) == (
        2,
        1,
        1,
        0,
    )
    assert ran.images["x/app:v1"].status is Status.DONE
    (other,) = (each for each in ran.images.values() if each.status is Status.FAILED)
    assert other.source == f"{here.host}/b/app:v1"
    assert f"{here.host}/a/app:v1 goes to {there.host}/x/app:v1 already" in other.detail
    # Trying again cannot help, and must not put the second in the place of the first.
    assert await engine.redrive() == 0
    again = await engine.run()
    assert (again.counts.same, again.counts.failed) == (1, 1)
    assert there.digest("x/app", "v1") == one("first").digest


async def test_a_run_beside_another_leaves_its_images_to_it(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    for tag in ("v1", "v2"):
        here.push("team/app", tag, one(tag))
    engine = Engine(tmp_path, here, there)
    await engine.find()
    here.push("team/app", "v3", one("v3"))
    beside = await engine.find()
    assert (beside.counts.pending, beside.counts.enqueued) == (2, 1)
    await engine.work()
    assert set((await engine.ended(1)).images) == {"team/app:v1", "team/app:v2"}
    assert set((await engine.ended(2)).images) == {"team/app:v3"}


async def test_images_that_wait_for_each_other_in_different_runs_do_not_wait_for_ever(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    for name in "ab":
        here.push(name, "v1", one(name))
    engine = Engine(tmp_path, here, there)

    def order(run: int, name: str, *after: str) -> CopyOrder:
        return CopyOrder(
            run,
            Reference(here.host, name, "v1"),
            Reference(there.host, name, "v1"),
            one(name).digest,
            after=after,
        )

    with open_platform(tmp_path, "finder") as platform:
        for wait in (("a", "b:v1"), ("b", "a:v1")):
            run, _ = await platform.records.begin_run(RunKind.SYNC, beside=True)
            message = order(run.id, *wait)
            page = Page(
                Counts(listed=1),
                enqueued=[Enqueued(message.key, 0, "", "")],
                messages=[encode(message)],
            )
            await platform.records.commit(run.id, page)
            await platform.records.set_run(run.id, RunState.TRANSFERRING)
    await engine.work()
    for run in (1, 2):
        assert set((await engine.ended(run)).statuses.values()) == {Status.DONE}


async def test_a_finder_that_was_killed_counts_everything_once(
    tmp_path: Path, here: RegistryServer, there: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it dies: after each of its writes."""
    monkeypatch.setattr("dth.images.finder.BATCH", 2)
    for number in range(3):
        here.push("team/app", f"v{number}", one(f"v{number}"))

    class Killed(BaseException):
        pass

    class Mortal:
        """Dies after so many writes."""

        def __init__(self, port: Any, budget: list[int]) -> None:
            self.port, self.budget = port, budget

        def __getattr__(self, name: str) -> Any:
            real = getattr(self.port, name)
            if name not in ("commit", "write", "set_run", "add_note"):
                return real

            async def call(*arguments: Any) -> Any:
                if not self.budget[0]:
                    raise Killed
                self.budget[0] -= 1
                return await real(*arguments)

            return call

    for writes in range(1, 20):
        engine = Engine(tmp_path / str(writes), here, there, dest_prefix=f"p{writes}")
        async with engine.opened("finder") as (route, platform):
            run, _ = await platform.records.begin_run(RunKind.SYNC)
            budget = [writes]
            mortal = replace(
                platform,
                records=Mortal(platform.records, budget),
                images=Mortal(platform.images, budget),
            )
            with contextlib.suppress(Killed):
                await ImageFinder(route, mortal).run(run)
            if writes == 3:  # meanwhile there is something new
                here.push("team/app", "v9", one("v9"))
            await ImageFinder(route, platform).run(await platform.records.get_run(run.id))
            counts = (await platform.records.get_run(run.id)).counts
            depth = await platform.queue.depth()
            tags = 3 if writes < 3 else 4
            assert (counts.listed, counts.enqueued, counts.pending) == (tags, tags, 0), writes
            assert depth.visible == tags
            # Those of a batch whose images were not written any more are written as their copies
            # begin.
            assert len(await platform.images.page(run.id)) in (tags, tags - 2)
        if budget[0]:
            return
    raise AssertionError("it never came to its end")


async def test_a_finder_that_was_killed_and_then_fails_leaves_a_ledger_that_balances(
    tmp_path: Path, here: RegistryServer, there: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.push("team/app", "v1", one("v1"))
    engine = Engine(tmp_path, here, there)
    engine.parameters["src_credential"] = "source"
    engine.secrets["source"] = engine.secrets["login"]

    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ImageFinder, "_count", die)
        with pytest.raises(Killed):
            await engine.find()
    engine.secrets["source"] = json.dumps({"username": USER, "password": "hunter2"})
    with pytest.raises(HubError, match="refuses the credentials"):
        await engine.find()
    with open_platform(tmp_path, "test") as platform:
        (run,) = await platform.records.list_runs()
        assert (run.state, run.counts.listed) == (RunState.FAILED, 1)
        assert "refuses the credentials" in run.error
    engine.secrets["source"] = engine.secrets["login"]
    await engine.work()  # what it had enqueued is copied all the same
    assert (await engine.ended(1)).counts.done == 1


async def test_so_many_at_once_and_no_more(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    for number in range(6):
        here.push(f"team/app{number}", "v1", one(f"v{number}"))
    engine = Engine(tmp_path, front, there, max_concurrency=3)
    run = await engine.find()
    rule = front.rule(Stall(0.3), key="blobs")
    most = 0

    async def count(platform: LocalPlatform) -> bool:
        nonlocal most
        under_way = [r for r in front.requests if r.status is None and "/blobs/" in r.path]
        most = max(most, len({r.path.partition("/blobs/")[0] for r in under_way}))
        return await settled(platform)

    await engine.work(count)
    assert (await engine.ended(run.id)).counts.done == 6
    assert rule.hits == 12  # a layer and a config each
    assert most == 3


async def test_images_for_some_platforms_are_known_in_the_next_run(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    both = index(one("x"), image("y", [layer("worker-y", 2000)], architecture="arm64"))
    here.push("team/app", "v1", both)
    here.push("team/app", "alone", one("z"))
    engine = Engine(tmp_path, front, there, platforms=("linux/arm64",))
    ran = await engine.run()
    assert set(ran.statuses.values()) == {Status.DONE}
    stored = json.loads(there.manifest("team/app", "v1") or b"")
    assert [each["platform"]["architecture"] for each in stored["manifests"]] == ["arm64"]
    copied = ran.images["team/app:v1"]
    assert (copied.source_digest, copied.dest_digest) == (
        both.digest,
        there.digest("team/app", "v1"),
    )
    assert copied.platforms == "linux/arm64"
    front.forget()
    again = await engine.run()
    assert (again.counts.same, again.counts.enqueued) == (2, 0)
    assert front.count("GET", "manifests") == 0


async def test_a_destination_that_cannot_hold_an_image_as_it_is(
    tmp_path: Path, here: RegistryServer, gate: PlainProxy, there: RegistryServer
) -> None:
    """It stays as skopeo has converted it, and is known by what it became."""
    odd = index(artifact("application/x", b"a"), artifact_types=["application/x"])
    here.push("team/app", "v1", odd)
    gate.rule(
        Reply(400, body=said("MANIFEST_INVALID"), headers=JSON),
        method="PUT",
        when=lambda r: (
            "manifests" in r.path and r.headers.get("content-length") == str(len(odd.body))
        ),
    )
    engine = Engine(tmp_path, here, gate)
    ran = await engine.run()
    copied = ran.images["team/app:v1"]
    assert (copied.status, copied.source_digest) == (Status.DONE, odd.digest)
    assert copied.dest_digest == there.digest("team/app", "v1") != odd.digest
    assert (await engine.run()).counts.same == 1


async def test_what_cannot_be_converted_says_why_it_would_have_to_be(
    tmp_path: Path,
    here: RegistryServer,
    gate: PlainProxy,
    there: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without skopeo the destination's refusal is told, and what would help."""
    here.push("team/app", "v1", one("v1"))
    gate.rule(
        Reply(415, body=said("MANIFEST_INVALID", "no OCI here"), headers=JSON),
        method="PUT",
        key="manifests",
    )
    monkeypatch.setenv("PATH", "/nowhere")
    failed = (await Engine(tmp_path, here, gate).run()).images["team/app:v1"]
    assert (failed.status, failed.reason, failed.attempts) == (Status.FAILED, "MANIFEST_INVALID", 1)
    assert "HTTP 415 MANIFEST_INVALID: no OCI here; skopeo cannot be run" in failed.detail


async def test_an_index_of_artifacts_keeps_its_digest(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    """skopeo alone would write another one."""
    odd = index(artifact("application/x", b"a"), artifact_types=["application/x"])
    here.push("team/app", "v1", odd)
    ran = await Engine(tmp_path, here, there).run()
    assert there.digest("team/app", "v1") == ran.images["team/app:v1"].dest_digest == odd.digest


async def test_an_index_of_artifacts_without_a_tag_keeps_its_digest(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    odd = index(artifact("application/x", b"b"), artifact_types=["application/x"])
    here.push("team/app", "", odd)
    engine = Engine(
        tmp_path, here, there, src_list="SELECTED", src_image_list=f"team/app@{odd.digest}"
    )
    ran = await engine.run()
    assert ran.images[f"team/app@{odd.digest}"].status is Status.DONE
    assert there.digest("team/app", odd.digest) == odd.digest


async def test_new_names_for_single_images(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("team/app", "v1", one("v1"))
    here.push("team/app", "v2", one("v2"))
    here.push("team/app", "", one("plain"))
    plain = one("plain").digest
    engine = Engine(
        tmp_path,
        here,
        there,
        src_list="SELECTED",
        src_image_list=f"team/app:v1,team/app:v2,team/app@{plain}",
        rename_rules=("team/app:v1=apps/app:stable", f"team/app@{plain}=apps/app:pinned"),
    )
    ran = await engine.run()
    assert set(ran.images) == {"apps/app:stable", "team/app:v2", "apps/app:pinned"}
    assert there.digest("apps/app", "stable") == one("v1").digest
    assert there.digest("apps/app", "pinned") == plain
    assert (await engine.run()).counts.same == 3


async def test_five_hundred_tags(tmp_path: Path) -> None:
    """Tags of one image cost one copy, and unchanged ones a HEAD on either side."""
    built = [image(f"many-{n}", [BASE, layer(f"worker-many-{n}", 500)]) for n in range(5)]
    multi = index(built[0], image("many-arm", [BASE], architecture="arm64"))
    # Without passwords, which cost them most of the time.
    with (
        RegistryServer() as here,
        RegistryServer() as there,
        PlainProxy(here) as front,
        PlainProxy(there) as gate,
    ):
        for number, each in enumerate((*built[1:], multi)):
            here.push("team/app", f"first-{number}", each)
            here.tag_many("team/app", (f"v{number}.{more}" for more in range(99)), each)
        ran = await Engine(tmp_path / "one", front, there).run()
        assert (ran.counts.done, ran.counts.listed) == (500, 500)
        assert front.count("GET", f"blobs/{digest_of(BASE)}") == 1
        assert front.count("GET", "/blobs/") < 20
        front.forget()
        again = await Engine(tmp_path / "another", front, gate).run()
        assert (again.counts.same, again.counts.enqueued) == (
            500,
            0,
        )  # every digest is the source's
        assert front.count("HEAD", "manifests") == gate.count("HEAD", "manifests") == 500
        assert max(len(front.requests), len(gate.requests)) < 510


# -------------------------------------------------------------------------------------- going along


async def test_referrers_are_found_at_a_destination_without_the_api(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    """The source has the API, the destination (docker-registry 2) has not: there they are under a
    tag, as ORAS and cosign look for them."""
    app = one("app")
    sbom = artifact("application/spdx+json", b"{}", subject=app)
    proof = artifact("application/vnd.in-toto+json", b"[]", subject=app)
    here.push("team/app", "v1", app)
    here.push("team/app", *signature(app))
    for each in (sbom, proof):
        here.push("team/app", "", each)
    listed = index(
        sbom, proof, artifact_types=["application/spdx+json", "application/vnd.in-toto+json"]
    )
    front.rule(
        Reply(200, body=listed.body, headers={"Content-Type": OCI_INDEX}),
        key=f"referrers/{app.digest}",
    )
    empty = index().body
    front.rule(Reply(200, body=empty, headers={"Content-Type": OCI_INDEX}), key="referrers/")
    engine = Engine(tmp_path, front, there)
    ran = await engine.run()
    assert set(ran.statuses.values()) == {Status.DONE}
    tag = app.digest.replace(":", "-")
    kept = json.loads(there.manifest("team/app", tag) or b"")["manifests"]
    assert {(each["digest"], each["artifactType"]) for each in kept} == {
        (sbom.digest, "application/spdx+json"),
        (proof.digest, "application/vnd.in-toto+json"),
    }
    assert there.digest("team/app", f"{tag}.sig") == signature(app)[1].digest
    assert ran.images[f"team/app@{sbom.digest}"].about == app.digest
    again = await engine.run()
    assert again.counts.enqueued == 0


async def test_a_referrer_whose_worker_died_before_it_could_be_found_is_entered_later(
    tmp_path: Path,
    front: PlainProxy,
    here: RegistryServer,
    there: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = one("app")
    sbom = artifact("application/spdx+json", b"{}", subject=app)
    here.push("team/app", "v1", app)
    here.push("team/app", "", sbom)
    listed = index(sbom, artifact_types=["application/spdx+json"])
    front.rule(
        Reply(200, body=listed.body, headers={"Content-Type": OCI_INDEX}),
        key=f"referrers/{app.digest}",
    )
    front.rule(Reply(200, body=index().body, headers={"Content-Type": OCI_INDEX}), key="referrers/")
    engine = Engine(tmp_path, front, there)

    async def die(*_: Any) -> None:
        raise StateError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("dth.images.copier.keep_fallback", die)
        run = await engine.find()
        with pytest.raises(StateError):
            await engine.work()
    with open_platform(engine.state, "supervisor") as platform:
        # What was in hand when a process is killed has been received.
        await platform.database.write(
            lambda c: c.execute("UPDATE message SET receives = receives + 1")
        )
    await engine.work()
    await engine.ended(run.id)
    assert there.manifest("team/app", app.digest.replace(":", "-"))


async def test_an_index_of_referrers_that_goes_along_itself_is_not_written_anew(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    """Whatever the order in which they arrive: its digest stays the source's, and nothing is copied
    again."""
    for number in range(4):
        app = one(f"app{number}")
        kinds = ["application/a", "application/b", "application/c"]
        attached = [(kind, artifact(kind, kind.encode(), subject=app)) for kind in kinds]
        here.push("team/app", f"v{number}", app)
        for _, each in attached:
            here.push("team/app", "", each)
        here.push("team/app", *fallback(app, *attached))
    engine = Engine(tmp_path, here, there)
    await engine.run()
    again = await engine.run()
    assert (again.counts.enqueued, again.counts.same) == (0, 20)


# ---------------------------------------------------------------------------- failing, trying again


async def test_passing_failures_are_tried_again_with_growing_pauses(
    tmp_path: Path,
    front: PlainProxy,
    here: RegistryServer,
    there: RegistryServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    here.push("team/app", "v1", one("v1"))
    blob = digest_of(layer("worker-v1", 2000))
    engine = Engine(tmp_path, front, there)
    run = await engine.find()
    times = 3 * registry.ATTEMPTS
    front.rule(
        Reply(500, body=said("UNAVAILABLE"), headers=JSON),
        key=f"blobs/{blob}",
        nth=range(1, times + 1),
    )
    with caplog.at_level(logging.INFO):
        await engine.work()
    ran = await engine.ended(run.id)
    copied = ran.images["team/app:v1"]
    assert (copied.status, copied.attempts) == (Status.DONE, 4)
    pauses = [
        each.fields["pause"]
        for each in caplog.records
        if hasattr(each, "fields") and "pause" in each.fields
    ]
    assert pauses == [0.02, 0.04, 0.08]


async def test_failures_that_do_not_pass_are_told_and_can_be_tried_again(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    for tag in ("v1", "v2", "v3", "fine"):
        here.push("team/app", tag, one(tag))
    engine = Engine(tmp_path, front, there, retries=1)
    run = await engine.find()
    for tag in ("v1", "v2"):
        blob = digest_of(layer(f"worker-{tag}", 2000))
        front.rule(Reply(500, body=said("UNKNOWN"), headers=JSON), key=f"blobs/{blob}")
    refused = digest_of(layer("worker-v3", 2000))
    front.rule(Reply(403, body=said("DENIED", "not for you"), headers=JSON), key=f"blobs/{refused}")
    await engine.work()
    ran = await engine.ended(run.id)
    assert (ran.counts.done, ran.counts.failed) == (1, 3)
    assert {
        key: (each.reason, each.attempts) for key, each in ran.images.items() if each.reason
    } == {
        "team/app:v1": ("Unavailable", 2),
        "team/app:v2": ("Unavailable", 2),
        "team/app:v3": ("DENIED", 1),
    }
    with open_platform(tmp_path, "test") as platform:
        groups = await platform.records.failure_groups()
        assert [(group.reason, group.count) for group in groups] == [
            ("Unavailable", 2),
            ("DENIED", 1),
        ]
    front.clear()
    here.push("team/app", "v2", one("newer"))
    assert await engine.redrive(keys=["team/app:v3", "team/app:fine", "no/such:one"]) == 1
    assert await engine.redrive(reason="Unavailable") == 2
    assert await engine.redrive() == 0
    await engine.work()
    assert (await engine.ended(2)).counts.done == 1
    retried = await engine.ended(3)
    assert (retried.run.kind, retried.counts.done) == (RunKind.REDRIVE, 2)
    assert there.digest("team/app", "v2") == one("newer").digest
    assert retried.images["team/app:v2"].source_digest == one("newer").digest
    assert (await engine.run()).counts.same == 4


async def test_what_failed_and_was_mended_by_others_is_no_failure_any_more(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("team/app", "v1", one("v1"))
    engine = Engine(tmp_path, front, there, retries=0)
    run = await engine.find()
    front.rule(Reply(500, body=said("UNKNOWN"), headers=JSON), key="blobs")
    await engine.work()
    assert (await engine.ended(run.id)).counts.failed == 1
    there.push("team/app", "v1", one("v1"))
    assert (await engine.find()).counts.same == 1
    with open_platform(tmp_path, "test") as platform:
        assert await platform.records.failure_groups() == []
    assert await engine.redrive() == 0


async def test_a_tag_that_goes_or_moves_after_the_plan(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    for tag in ("goes", "moves", "replaced"):
        here.push("team/app", tag, one(tag))
    engine = Engine(tmp_path, here, there)
    run = await engine.find()
    here.push("team/app", "moves", one("moved"))  # what was planned is there still, by its digest
    for tag in ("goes", "replaced"):
        here.delete("team/app", one(tag).digest)
    here.push("team/app", "replaced", one("replacement"))
    await engine.work()
    ran = await engine.ended(run.id)
    assert ran.statuses == {
        "team/app:goes": Status.CANCELLED,
        "team/app:moves": Status.DONE,
        "team/app:replaced": Status.DONE,
    }
    assert ran.images["team/app:goes"].reason == "MANIFEST_UNKNOWN"
    assert there.digest("team/app", "moves") == one("moves").digest
    assert there.digest("team/app", "replaced") == one("replacement").digest
    assert set((await engine.run()).images) == {"team/app:moves"}


async def test_a_tag_that_moves_while_another_failure_passes(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("team/app", "v1", one("before"))
    engine = Engine(tmp_path, front, there)
    run = await engine.find()

    def move(_: Any) -> None:
        here.delete("team/app", one("before").digest)
        here.push("team/app", "v1", one("after"))

    front.rule(Hook(move), key="manifests/sha256", nth=1)
    front.rule(Reply(503, body=said("UNAVAILABLE"), headers=JSON), key="manifests/sha256", nth=1)
    await engine.work()
    ran = await engine.ended(run.id)
    assert ran.images["team/app:v1"].status is Status.DONE
    assert there.digest("team/app", "v1") == one("after").digest


async def test_an_image_that_is_named_with_its_digest_stays_that_image(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    pinned = one("pinned")
    here.push("team/app", "v1", pinned)
    engine = Engine(
        tmp_path,
        front,
        there,
        retries=0,
        src_list="SELECTED",
        src_image_list=f"team/app:v1@{pinned.digest}",
    )
    here.push("team/app", "v1", one("moved"))
    front.rule(Reply(500, body=said("UNKNOWN"), headers=JSON), key="blobs")
    failed = await engine.run()
    assert failed.counts.failed == 1
    front.clear()
    await engine.redrive()
    await engine.work()
    await engine.ended(2)
    assert there.digest("team/app", "v1") == pinned.digest


async def test_a_time_limit(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("team/slow", "v1", one("slow"))
    here.push("team/fine", "v1", one("fine"))
    engine = Engine(tmp_path, front, there, retries=1)
    engine.changes = {"copy_timeout": 1}
    front.rule(Stall(30), key=f"blobs/{digest_of(layer('worker-slow', 2000))}")
    run = await engine.find()
    await engine.work()
    ran = await engine.ended(run.id)
    slow = ran.images["team/slow:v1"]
    assert (slow.status, slow.reason, slow.attempts) == (Status.FAILED, "TimeLimit", 2)
    assert 2.0 <= slow.seconds < 10.0
    assert ran.images["team/fine:v1"].status is Status.DONE


async def test_a_destination_killed_in_the_middle_of_a_blob_and_back_again(
    tmp_path: Path,
    front: PlainProxy,
    here: RegistryServer,
    there: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "AGAIN", RetryPolicy(0.3, 1.2))
    big = image("big", [BASE, layer("worker-big", 4_000_000)])
    here.push("team/app", "v1", big)
    blob = digest_of(layer("worker-big", 4_000_000))
    front.rule(Stall(0.5, after=3_000_000), key=f"blobs/{blob}", nth=1)
    engine = Engine(tmp_path, front, there)
    run = await engine.find()
    working = asyncio.create_task(engine.work())
    await until(lambda: front.count("GET", f"blobs/{blob}"))
    await asyncio.sleep(0.1)
    there.kill()
    await asyncio.sleep(0.5)
    there.revive()
    await working
    ran = await engine.ended(run.id)
    assert ran.images["team/app:v1"].attempts >= 2
    assert there.digest("team/app", "v1") == big.digest


# ---------------------------------------------------------------------------------- being throttled


async def test_a_source_that_asks_to_wait_is_left_alone_for_as_long(
    tmp_path: Path,
    front: PlainProxy,
    here: RegistryServer,
    there: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "PAUSES", replace(pace.PAUSES, first=1.5))
    monkeypatch.setattr(pace, "PATIENCE", 1.0)
    monkeypatch.setattr(pace, "NOTED", 0.5)
    for number in range(6):
        here.push("team/app", f"v{number}", one(f"v{number}"))
    engine = Engine(tmp_path, front, there, max_concurrency=2, src_list="ALL")
    run = await engine.find()
    front.forget()
    limited = Reply(
        429,
        body=said("TOOMANYREQUESTS", "You have reached your pull rate limit"),
        headers={
            **JSON,
            "Retry-After": "0",
            "RateLimit-Limit": "100;w=21600",
            "RateLimit-Remaining": "0;w=21600",
        },
    )
    rule = front.rule(limited, method="GET|HEAD", key="manifests")
    working = asyncio.create_task(engine.work())
    await until(lambda: rule.hits)
    await asyncio.sleep(0.8)
    asked = len(front.requests)
    await asyncio.sleep(0.5)
    assert len(front.requests) == asked
    asked_for = {each.path for each in front.requests if "/manifests/" in each.path}
    assert len(asked_for) <= 2  # not those that waited for a place
    front.clear()
    await working
    ran = await engine.ended(run.id)
    assert ran.counts.done == 6
    assert {each.attempts for each in ran.images.values()} == {1}  # waiting is not a failure
    host = front.url.partition("//")[2]
    assert any(
        note.startswith(f"{host} asked us to wait (100 pulls in 6 h are allowed)")
        for note in ran.run.notes
    )


async def test_a_source_that_says_for_how_long(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("team/app", "v1", one("v1"))
    engine = Engine(tmp_path, front, there)
    run = await engine.find()
    for method, seconds, nth in (("GET", "0", range(1, 6)), ("HEAD", "1", range(1, 2))):
        body = said("TOOMANYREQUESTS") if method == "GET" else b""
        headers = {
            **JSON,
            "Retry-After": seconds,
        }  # skopeo waits by itself, and does not tell for how long
        front.rule(Reply(429, body=body, headers=headers), method=method, key="manifests", nth=nth)
    began = time.monotonic()
    await engine.work()
    ran = await engine.ended(run.id)
    assert ran.counts.done == 1
    assert time.monotonic() - began < 20  # far below the minute that is waited when nothing is said


async def test_a_destination_that_asks_to_wait_is_the_one_that_is_told_of(
    tmp_path: Path, here: RegistryServer, gate: PlainProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "NOTED", 0.01)
    monkeypatch.setattr(pace, "SLOWEST", 50.0)
    here.push("team/app", "v1", one("v1"))
    engine = Engine(tmp_path, here, gate)
    run = await engine.find()
    gate.rule(
        Reply(
            429, body=said("TOOMANYREQUESTS", "Rate exceeded"), headers={**JSON, "Retry-After": "0"}
        ),
        method="POST|PUT|PATCH",
        nth=range(1, 7),
    )
    await engine.work()
    ran = await engine.ended(run.id)
    assert ran.counts.done == 1
    host = gate.url.partition("//")[2]
    assert ran.run.notes
    assert all(
        note.startswith(f"{host} asked us to wait") for note in ran.run.notes if "wait" in note
    )


async def test_one_that_asks_to_wait_for_ever_has_refused(
    tmp_path: Path,
    front: PlainProxy,
    here: RegistryServer,
    there: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "PATIENCE", 0.1)
    monkeypatch.setattr(worker, "PATIENCE", 0.5)
    here.push("team/app", "v1", one("v1"))
    engine = Engine(tmp_path, front, there)
    run = await engine.find()
    front.rule(
        Reply(429, body=said("TOOMANYREQUESTS"), headers={**JSON, "Retry-After": "0"}),
        key="manifests",
    )
    await engine.work()
    ran = await engine.ended(run.id)
    assert (ran.counts.failed, ran.images["team/app:v1"].reason) == (1, "TOOMANYREQUESTS")


async def all_settled(platform: LocalPlatform) -> None:
    async with asyncio.timeout(SECONDS):
        while not await settled(platform):  # noqa: ASYNC110 - it is in a database
            await asyncio.sleep(0.02)


async def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_while_a_registry_lets_us_wait_the_rest_stays_in_the_queue(
    tmp_path: Path,
    front: PlainProxy,
    here: RegistryServer,
    there: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "PAUSES", replace(pace.PAUSES, first=0.5))
    monkeypatch.setattr(pace, "PATIENCE", 0.2)
    monkeypatch.setattr(pace, "NOTED", 0.1)
    monkeypatch.setattr(worker, "MOST_HELD", 5)
    monkeypatch.setattr(worker, "BATCH", 5)
    for number in range(40):
        here.push("team/app", f"v{number}", one(f"app{number}"))
    engine = Engine(tmp_path, front, there, max_concurrency=2)
    run = await engine.find()
    asked = {**JSON, "Retry-After": "0"}
    front.rule(
        Reply(429, body=said("TOOMANYREQUESTS"), headers=asked), method="GET|HEAD", key="manifests"
    )
    most = 0

    async def waits(platform: LocalPlatform) -> bool:
        nonlocal most
        await asyncio.sleep(0.3)
        most = max(most, (await platform.queue.depth()).in_flight)
        return any(
            "asked us to wait" in note for note in (await platform.records.get_run(run.id)).notes
        )

    await engine.work(waits)
    assert 5 <= most <= 10
    front.clear()
    await engine.work()
    assert (await engine.ended(run.id)).counts.done == 40


# ------------------------------------------------------------------------------- stopping, crashing


async def test_a_worker_that_is_stopped_ends_skopeo_and_gives_everything_back(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    base = layer("worker-stop", 200_000)
    for number in range(4):
        here.push(
            "team/app", f"v{number}", image(f"s{number}", [base, layer(f"worker-s{number}", 100)])
        )
    engine = Engine(tmp_path, front, there)
    run = await engine.find()
    rule = front.rule(Stall(60, after=100_000), key=f"blobs/{digest_of(base)}")

    async def begun(_: LocalPlatform) -> bool:
        return bool(rule.hits)

    began = time.monotonic()
    for _ in range(6):  # more often than a message may be received
        rule.hits = 0
        await engine.work(begun)
    assert time.monotonic() - began < 20
    assert not copying(front)
    with open_platform(tmp_path, "test") as platform:
        assert (await platform.queue.depth()).visible == 4
        assert {each.receives for each in await platform.queue.receive(10, 1.0, 0.0)} == {1}
        await platform.release_owner(None)
    front.clear()
    await engine.work()
    assert (await engine.ended(run.id)).counts.done == 4


async def test_what_was_received_and_not_looked_at_when_it_is_stopped_is_given_back(
    tmp_path: Path, here: RegistryServer, there: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        here.push("team/app", f"v{number}", one(f"v{number}"))
    engine = Engine(tmp_path, here, there)
    run = await engine.find()
    looking = asyncio.Event()

    async with engine.opened("worker-1") as (route, platform):

        class Slow:
            def __getattr__(self, name: str) -> Any:
                return getattr(platform.records, name)

            async def get(self, _: Any) -> Any:
                looking.set()
                await asyncio.sleep(60)

        working = ImageWorker("worker-1", route, replace(platform, records=Slow()))
        task = asyncio.create_task(working.run())
        await asyncio.wait_for(looking.wait(), 10)
        working.stop()
        await task
        found = await platform.queue.receive(10, 0.0, 0.0)
        assert [each.receives for each in found] == [1, 1, 1]
        await platform.release_owner(None)
    await engine.work()
    assert (await engine.ended(run.id)).counts.done == 3


async def test_work_whose_lease_is_lost_is_dropped_and_done_by_who_has_it_now(
    tmp_path: Path,
    front: PlainProxy,
    here: RegistryServer,
    there: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "HEARTBEAT", 0.5)
    here.push("team/app", "v1", one("v1"))
    engine = Engine(tmp_path, front, there)
    run = await engine.find()
    rule = front.rule(Stall(2.5), key="blobs", nth=1)
    lost = False

    async def lose(platform: LocalPlatform) -> bool:
        nonlocal lost
        if rule.hits and not lost:
            lost = True
            await platform.release_owner("worker-1")  # as if it had slept for longer than its lease
        return await settled(platform)

    await engine.work(lose)
    ran = await engine.ended(run.id)
    assert lost
    assert ran.counts.done == 1


async def test_a_worker_that_cannot_write_down_what_it_did_ends_and_does_it_again(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    for number in range(3):
        here.push("team/app", f"v{number}", one(f"v{number}"))
    engine = Engine(tmp_path, here, there)
    run = await engine.find()
    async with engine.opened("worker-1") as (route, platform):

        class Full:
            def __getattr__(self, name: str) -> Any:
                return getattr(platform.records, name)

            async def settle(self, _: Any) -> int:
                raise StateError("the disk is full")

        with pytest.raises(StateError, match="the disk is full"):
            await ImageWorker("worker-1", route, replace(platform, records=Full())).run()
        await platform.release_owner("worker-1")
    assert not copying(here)
    await engine.work()
    assert (await engine.ended(run.id)).counts.done == 3


async def test_an_image_that_crashes_its_worker_takes_no_others_along(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    """All that is to be copied is held by the worker; only what was being copied is to blame."""
    here.push("team/app", "bad", image("bad", [BASE, layer("worker-bad", 100)]))
    here.push(
        "team/app", "good", image("good", [BASE, layer("worker-good", 100)])
    )  # waits for the layer
    engine = Engine(tmp_path, front, there)
    run = await engine.find()
    rule = front.rule(Stall(60), key=f"blobs/{digest_of(BASE)}")
    for _ in range(5):  # as often as a message may be received
        rule.hits = 0
        async with engine.opened("worker-1") as (route, platform):
            task = asyncio.create_task(ImageWorker("worker-1", route, _Deaf(platform)).run())
            await until(lambda: rule.hits)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await platform.release_owner("worker-1")
    front.clear()
    async with engine.opened("worker-1") as (_, platform):
        assert await platform.queue.receive(10, 1.0, 0.0) == []  # both are dead now
        await controller.settle_dead(platform)
    await engine.work()
    ran = await engine.ended(run.id)
    assert sorted(ran.statuses.values()) == [Status.DONE, Status.FAILED]
    (failed,) = (each for each in ran.images.values() if each.status is Status.FAILED)
    assert (failed.reason, failed.attempts) == ("WorkerCrashed", 5)
    assert await engine.redrive() == 1
    await engine.work()
    assert (await engine.ended(2)).counts.done == 1


def _Deaf(platform: LocalPlatform) -> LocalPlatform:  # noqa: N802 - reads as the thing that it makes
    """One whose queue takes nothing back, as when the process is killed."""

    class Queue:
        def __getattr__(self, name: str) -> Any:
            return getattr(platform.queue, name)

        async def release(self, *_: Any) -> None:
            pass

    return replace(platform, queue=Queue())  # type: ignore[arg-type]


async def test_a_dead_message_of_an_image_that_was_copied_changes_nothing(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("team/app", "v1", one("v1"))
    engine = Engine(tmp_path, here, there)
    await engine.run()
    with open_platform(tmp_path, "controller") as platform:
        reference = Reference(here.host, "team/app", "v1")
        order = CopyOrder(1, reference, replace(reference, registry=there.host), one("v1").digest)
        await platform.queue.send([encode(order), replace(encode(order), id="odd", body="?")])
        for _ in range(6):
            await platform.queue.receive(10, 0.0, 0.0)
        assert len(await platform.queue.receive_dead(10)) == 2
        await controller.settle_dead(platform)
        assert await platform.queue.receive_dead(10) == []
    assert (await engine.ended(1)).statuses == {"team/app:v1": Status.DONE}


async def test_messages_of_others_are_dropped(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("team/app", "v1", one("v1"))
    engine = Engine(tmp_path, here, there)
    run = await engine.find()
    with open_platform(tmp_path, "test") as platform:
        reference = Reference(here.host, "no/such", "v1")
        stray = CopyOrder(
            run.id, reference, replace(reference, registry=there.host), one("v1").digest
        )
        odd = replace(encode(stray), id="odd", body="[]")
        await platform.queue.send([encode(stray), odd])
    await engine.work()
    assert (await engine.ended(run.id)).statuses == {"team/app:v1": Status.DONE}


# --------------------------------------------------------------------------------------- Amazon ECR


async def test_repositories_are_made_by_the_template_and_refusals_are_told(
    tmp_path: Path, here: RegistryServer, there: RegistryServer, ecr: EcrServer
) -> None:
    for name in ("team/app", "team/other"):
        here.push(name, "v1", one(name))
    engine = Engine(
        tmp_path,
        here,
        ecr,
        dest_prefix="mirror",
        dest_account_id=ecr.account,
        dest_tag_mutability="IMMUTABLE_WITH_EXCLUSION",
        dest_mutability_exclusions=("latest",),
        dest_scan_on_push=True,
        dest_kms_key="alias/images",
        dest_repository_tags=("team=one", "cost=42=x"),
    )
    ecr.refuse["CreateRepository"] = (
        "LimitExceededException",
        "The maximum number of repositories is reached",
    )
    refused = await engine.run()
    assert refused.counts.failed == 2
    for each in refused.images.values():
        assert each.reason == "LimitExceededException"
        assert each.detail.startswith("repository 'mirror/team/")
        assert "The maximum number of repositories is reached" in each.detail
        assert f"account {ecr.account}, eu-west-1" in each.detail
    ecr.refuse.clear()
    # Trying again makes them too.
    assert await engine.redrive(keys=["mirror/team/app:v1"]) == 1
    await engine.work()
    assert (await engine.ended(2)).counts.done == 1
    ran = await engine.run()
    assert (ran.counts.same, ran.counts.done) == (1, 1)
    for name in ("team/app", "team/other"):
        made = ecr.repositories[f"mirror/{name}"]
        assert made["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
        assert made["imageScanningConfiguration"] == {"scanOnPush": True}
        assert made["encryptionConfiguration"] == {
            "encryptionType": "KMS",
            "kmsKey": "alias/images",
        }
        assert made["tags"] == [{"Key": "team", "Value": "one"}, {"Key": "cost", "Value": "42=x"}]
        assert there.digest(f"mirror/{name}", "v1") == one(name).digest


async def test_unchanged_images_cost_one_call_a_repository_and_no_skopeo(
    tmp_path: Path,
    here: RegistryServer,
    there: RegistryServer,
    ecr: EcrServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with EcrServer(here) as source:
        source.make("team/app", "team/other")
        for number in range(5):
            here.push("team/app", f"v{number}", one(f"v{number}"))
            here.push("team/other", f"v{number}", one(f"v{number}"))
        engine = Engine(
            tmp_path, source, ecr, dest_tag_mutability="IMMUTABLE", immutable_tags=("v*",)
        )
        assert (await engine.run()).counts.done == 10
        monkeypatch.setattr("dth.images.skopeo.command.version", None)  # is not even asked
        source.calls.clear()
        ecr.calls.clear()
        again = (await engine.find()).counts
        assert (again.listed, again.same) == (10, 10)
        assert sorted(source.calls) == ["DescribeImages"] * 2 + [
            "DescribeRepositories",
            "GetAuthorizationToken",
        ]
        # Of tags that never change the destination is not asked at all; signing in tells its host.
        assert set(ecr.calls) == {"GetAuthorizationToken"}


async def test_a_conflict_with_a_tag_that_cannot_be_moved_is_found_before_bytes_move(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer, ecr: EcrServer
) -> None:
    here.push("team/app", "v1", one("other"))
    here.push("team/app", "v2", one("v2"))
    ecr.make("team/app", imageTagMutability="IMMUTABLE")
    there.push("team/app", "v1", one("v1"))
    engine = Engine(tmp_path, front, ecr)
    ran = await engine.run()
    conflict = ran.images["team/app:v1"]
    assert (conflict.status, conflict.reason) == (Status.FAILED, "IMMUTABLE")
    assert one("v1").digest in conflict.detail
    assert ran.images["team/app:v2"].status is Status.DONE
    assert front.count("GET", f"blobs/{digest_of(layer('worker-other', 2000))}") == 0
    # The same when it is tried again, by the worker.
    assert await engine.redrive() == 1
    await engine.work()
    again = await engine.ended(2)
    assert (again.counts.failed, again.images["team/app:v1"].reason) == (1, "IMMUTABLE")
    assert there.digest("team/app", "v1") == one("v1").digest


async def test_a_copy_into_an_immutable_repository_that_was_cut_off_at_its_end_is_done(
    tmp_path: Path, here: RegistryServer, there: RegistryServer, ecr: EcrServer
) -> None:
    """Pushing even the same again would be refused."""
    here.push("team/app", "v1", one("v1"))
    ecr.make("team/app", imageTagMutability="IMMUTABLE")
    engine = Engine(tmp_path, here, ecr)
    run = await engine.find()
    there.push("team/app", "v1", one("v1"))
    with open_platform(tmp_path, "worker-1") as platform:
        await platform.queue.release(
            await platform.queue.receive(10, 60.0, 0.0)
        )  # it was stopped at that moment
    puts = there.process.output().count("method=PUT")
    await engine.work()
    ran = await engine.ended(run.id)
    assert (ran.counts.done, ran.images["team/app:v1"].moved) == (1, 0)
    assert there.process.output().count("method=PUT") == puts > 0


async def test_tokens_that_end_early_and_secrets_that_change_are_renewed_in_between(
    tmp_path: Path,
    here: RegistryServer,
    there: RegistryServer,
    ecr: EcrServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dth.images.registry.control.TOKEN_LEAST", 0.0)
    here.push("team/app", "v1", one("v1"))
    engine = Engine(tmp_path, here, ecr, retries=0)
    engine.secrets["login"] = json.dumps({"username": USER, "password": PASSWORD})
    run = await engine.find()
    ecr.password = "ended"
    engine.secrets["login"] = json.dumps({"username": USER, "password": "changed"})
    async with engine.opened("worker-1") as (route, platform):
        await route.dest.login.get()
        await route.origin.at(here.host).login.get()
        ecr.password = PASSWORD
        engine.secrets["login"] = json.dumps({"username": USER, "password": PASSWORD})
        working = ImageWorker("worker-1", route, platform)
        task = asyncio.create_task(working.run())
        await all_settled(platform)
        working.stop()
        await task
    ran = await engine.ended(run.id)
    assert (ran.counts.done, ran.images["team/app:v1"].attempts) == (1, 1), ran


async def test_credentials_that_do_not_hold_any_more_are_one_clear_line(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("team/app", "v1", one("v1"))
    engine = Engine(tmp_path, here, there)
    engine.parameters["dest_credential"] = "dest"
    engine.secrets["dest"] = json.dumps({"username": USER, "password": PASSWORD})
    run = await engine.find()
    engine.secrets["dest"] = json.dumps({"username": USER, "password": "hunter2"})
    await engine.work()
    with open_platform(tmp_path, "test") as platform:
        paused = await platform.records.paused()
        assert (
            paused
            == f"destination: {there.host} refuses the credentials of '{USER}': authentication "
            "required; correct the credentials, and see that they may use this registry"
        )
        (waiting,) = await platform.images.page(run.id)
        assert waiting.status is Status.PENDING  # it goes on when the task is resumed
    # And before a run begins:
    with pytest.raises(HubError, match=f"{there.host} refuses the credentials of '{USER}'"):
        await engine.find()


# ---------------------------------------------------------------------------------------- redriving


async def test_names_that_look_like_others_are_tried_again_as_what_they_are(tmp_path: Path) -> None:
    """A registry whose name is a word, and a repository called as the place holder for the
    destination is."""
    parameters = EcrParameters.model_validate(
        {
            "source_type": "Registry",
            "src_registry": "harbor",
            "dest_type": "Registry",
            "dest_registry": "mirror",
            "dest_prefix": "destination",
        }
    )
    with open_platform(tmp_path, "hub") as platform:
        run, _ = await platform.records.begin_run(RunKind.SYNC)
        key = "destination/team/app:v1"
        failed = ImageRecord(key, run.id, "harbor/team/app:v1", Status.FAILED)
        await platform.images.write([failed])
        page = Page(
            enqueued=[Enqueued(key, 0, "", "")], settled=[Outcome(key, run.id, Status.FAILED)]
        )
        await platform.records.commit(run.id, page)
        await platform.records.set_run(run.id, RunState.DONE)
        assert await redrive_failed(PLUGIN, platform, parameters) == 1
        (sent,) = await platform.queue.receive(1, 1.0, 0.0)
    order = decode(sent.body)
    assert order.source == Reference("harbor", "team/app", "v1")
    assert order.key == key == key_of(order.dest)


# ------------------------------------------------------------ faults of the product that we replace


async def test_fault_14_the_prefix_of_the_destination_is_used(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("team/app", "v1", one("v1"))
    ran = await Engine(tmp_path, here, there, dest_prefix="copies/of").run()
    assert set(ran.images) == {"copies/of/team/app:v1"}
    assert there.digest("copies/of/team/app", "v1") == one("v1").digest
    assert there.digest("team/app", "v1") is None


async def test_fault_14_all_images_of_a_repository_are_found_those_without_a_tag_too(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    """Not only those of the first page, which ECR ends at 100."""
    with EcrServer(here, page=10) as source:
        source.make("team/app")
        built = [image(f"page-{number}", [BASE]) for number in range(27)]
        for number, each in enumerate(built):
            here.push("team/app", f"v{number}" if number % 2 else "", each)
        engine = Engine(tmp_path, source, there)
        run = await engine.find()
        assert (run.counts.listed, run.counts.enqueued) == (27, 27)
        with open_platform(tmp_path, "test") as platform:
            images = await platform.images.page(run.id)
        assert {each.source_digest for each in images} == {each.digest for each in built}
        assert sum("@" in each.key for each in images) == 14


async def test_fault_14_an_image_without_a_tag_is_copied_by_its_digest(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    with EcrServer(here) as source:
        source.make("team/app")
        here.push("team/app", "", one("untagged"))
        ran = await Engine(tmp_path, source, there).run()
    assert ran.statuses == {f"team/app@{one('untagged').digest}": Status.DONE}
    assert there.digest("team/app", one("untagged").digest) == one("untagged").digest


async def test_fault_14_ports_and_digests_in_names_are_read_as_what_they_are(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    assert ":" in here.host
    for name in ("v1", "pinned", "both"):
        here.push("team/app", name, one(name))
    names = (
        f"{here.host}/team/app:v1",
        f"{here.host}/team/app@{one('pinned').digest}",
        f"team/app:both@{one('both').digest}",
    )
    engine = Engine(tmp_path, here, there, src_list="SELECTED", src_image_list=",".join(names))
    ran = await engine.run()
    assert set(ran.images) == {"team/app:v1", f"team/app@{one('pinned').digest}", "team/app:both"}
    assert set(ran.statuses.values()) == {Status.DONE}


async def test_fault_14_why_a_repository_cannot_be_made_is_told(
    tmp_path: Path, here: RegistryServer, ecr: EcrServer
) -> None:
    here.push("team/app", "v1", one("v1"))
    ecr.refuse["CreateRepository"] = (
        "AccessDeniedException",
        "User is not authorized to ecr:CreateRepository",
    )
    ran = await Engine(tmp_path, here, ecr).run()
    (failed,) = ran.images.values()
    assert (failed.status, failed.reason) == (Status.FAILED, "AccessDeniedException")
    assert "User is not authorized to ecr:CreateRepository" in failed.detail


def set_policy(home: Path, scopes: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine accepts (containers-policy.json(5)): all but what is in the scopes."""
    monkeypatch.setenv("HOME", str(home))
    place = home / ".config/containers/policy.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps({"default": [ACCEPTED], "transports": {"docker": scopes}}))


async def test_an_image_that_the_machines_policy_rejects_is_not_copied(
    tmp_path: Path,
    front: PlainProxy,
    here: RegistryServer,
    there: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also as part of an index within an index, which skopeo does not copy."""
    here.push("team/app", "v1", one("v1"))
    here.push("team/app", "nested", index(one("n1"), index(one("n2"))))
    here.push("other/app", "v1", one("other"))
    host = front.url.partition("//")[2]
    set_policy(tmp_path / "home", {f"{host}/team": [{"type": "reject"}]}, monkeypatch)
    ran = await Engine(tmp_path, front, there).run()
    assert ran.statuses == {
        "team/app:v1": Status.FAILED,
        "team/app:nested": Status.FAILED,
        "other/app:v1": Status.DONE,
    }
    assert {each.reason for each in ran.images.values() if each.reason} == {"POLICY"}
    assert {each.attempts for each in ran.images.values()} == {1}
    assert there.digest("team/app", "v1") is None


async def test_fault_14_no_credentials_in_the_list_of_processes(
    tmp_path: Path,
    front: PlainProxy,
    here: RegistryServer,
    there: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here.push("team/app", "v1", one("v1"))
    # So that skopeo copies, which could be asked to check signatures.
    set_policy(tmp_path / "home", {front.url.partition("//")[2]: [ACCEPTED, ACCEPTED]}, monkeypatch)
    engine = Engine(tmp_path, front, there)
    await engine.find()
    rule = front.rule(Stall(60), key="blobs")
    shown: list[bytes] = []

    async def look(_: LocalPlatform) -> bool:
        if rule.hits:
            for pid in copying(front):
                shown.extend(
                    Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")
                )
        return bool(shown)

    await engine.work(look)
    secrets = (PASSWORD, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode().rstrip("="))
    assert not any(secret.encode() in each for secret in secrets for each in shown)


async def test_fault_14_an_image_that_has_not_changed_starts_nothing(
    tmp_path: Path, here: RegistryServer, there: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.push("team/app", "v1", one("v1"))
    engine = Engine(tmp_path, here, there)
    await engine.run()

    async def start(*_: Any, **__: Any) -> None:
        raise AssertionError("skopeo was started")

    monkeypatch.setattr("dth.images.skopeo.command.copy", start)
    monkeypatch.setattr("dth.images.skopeo.command.version", start)
    assert (await engine.run()).counts.same == 1


def test_fault_14_all_of_public_registries_is_refused_with_the_reason() -> None:
    with pytest.raises(
        ValueError, match="public registries cannot be listed: set srcList to SELECTED"
    ):
        EcrParameters.model_validate({"source_type": "Public", "src_list": "ALL"})


async def test_fault_14_an_unchanged_tag_of_an_immutable_repository_is_no_failure(
    tmp_path: Path, here: RegistryServer, there: RegistryServer, ecr: EcrServer
) -> None:
    here.push("team/app", "v1", one("v1"))
    engine = Engine(tmp_path, here, ecr, dest_tag_mutability="IMMUTABLE")
    await engine.run()
    pushed = there.process.output().count("method=PUT")
    again = await engine.run()
    assert (again.counts.same, again.counts.failed) == (1, 0)
    assert (
        there.process.output().count("method=PUT") == pushed
    )  # what it would refuse was not tried


# -------------------------------------------------------------------------------- public registries


async def test_public_images_of_several_registries(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    """Two of one name: the second has to be given another. One that is missing fails alone."""
    with RegistryServer() as some, RegistryServer() as others:
        one_public, other_public = sorted((some, others), key=lambda server: server.host)
        one_public.push("team/app", "v1", one("first"))
        other_public.push("team/app", "v1", one("second"))
        other_public.push("team/more", "v1", one("more"))
        names = (
            f"{one_public.host}/team/app:v1",
            f"{other_public.host}/team/app:v1",
            f"{other_public.host}/team/more:ALL_TAGS",
            f"{one_public.host}/team/none:v1",
        )
        engine = Engine(tmp_path, here, there)
        engine.parameters = {
            **{name: value for name, value in engine.parameters.items() if name.startswith("dest")},
            "source_type": "Public",
            "src_list": "SELECTED",
            "src_image_list": "\n".join(names),
        }
        ran = await engine.run()
        assert ran.counts.listed == 4
        assert ran.statuses == {
            "team/app:v1": Status.DONE,
            f"team/app:v1 ({other_public.host}/team/app:v1)": Status.FAILED,
            "team/more:v1": Status.DONE,
            "team/none:v1": Status.FAILED,
        }
        assert there.digest("team/app", "v1") == one("first").digest
        assert ran.images["team/none:v1"].reason == "MANIFEST_UNKNOWN"
