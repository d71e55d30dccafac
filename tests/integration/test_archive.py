"""Objects in an archive class, at the source and at the destination."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dth.core.ports.status import Status
from tests.engine import Dth, Engine, Side, between, bodies
from tests.servers.glacier import Glacier
from tests.servers.proxy import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.ministack import MiniStack

AWS = {"src_type": "Amazon_S3", "src_addressing_style": "path"}


@pytest.fixture
def archive(engine: Engine, glacier: Glacier, source: Side) -> Side:
    """The source, where objects can be archived."""
    engine.source = Side(glacier, source.bucket)
    engine.parameters["src_endpoint"] = glacier.url
    return engine.source


@pytest.fixture
def cold(s3_b: MiniStack) -> Iterator[Glacier]:
    """A destination where objects can be archived."""
    with Glacier(s3_b) as server:
        yield server


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_archived_objects_are_reported_and_do_not_fail(
    engine: Engine, glacier: Glacier, archive: Side, dest: Side, storage_class: str
) -> None:
    archive.put(bodies("abc"))
    glacier.archive(archive.bucket, "a", "b", storage_class=storage_class)
    ran = engine.run()
    assert (ran.counts.archived, ran.counts.done, ran.counts.failed) == (2, 1, 0)
    assert dest.listed() == ["c"]
    assert glacier.count("POST") == 0


def test_glacier_that_reads_at_once_is_copied(
    engine: Engine, glacier: Glacier, archive: Side, dest: Side
) -> None:
    archive.put(bodies("a"), **{"x-amz-storage-class": "GLACIER_IR"})
    assert engine.run().counts.done == 1


def test_archived_objects_are_restored_on_request_and_copied_when_they_can_be_read(
    engine: Engine, glacier: Glacier, archive: Side, dest: Side
) -> None:
    archive.put(bodies("abc"))
    glacier.archive(archive.bucket, "a", "b")
    first = engine.run(restore_archived=True, restore_tier="Bulk", restore_days=3)
    assert (first.counts.archived, first.counts.restores, first.counts.done) == (2, 2, 1)
    assert glacier.restore_asked(archive.bucket, "a")

    second = engine.run(restore_archived=True)  # still in progress: nothing is asked again
    assert (second.counts.archived, second.counts.restores) == (2, 0)
    assert glacier.count("POST", query="restore") == 2

    glacier.finish_restore(archive.bucket, "a")
    third = engine.run(restore_archived=True)
    assert (third.counts.archived, third.counts.done, third.counts.same) == (1, 1, 1)
    assert dest.get("a") == archive.get("a")


def test_fault_09_a_restored_copy_is_copied_without_asking_for_more(
    engine: Engine, glacier: Glacier, archive: Side, dest: Side
) -> None:
    archive.put(bodies("ab"))
    glacier.archive(archive.bucket, "a", "b")
    glacier.finish_restore(archive.bucket, "a")
    ran = engine.run(**AWS)
    assert (ran.counts.archived, ran.counts.done) == (1, 1)
    assert dest.contents() == {"a": archive.get("a")}


@pytest.mark.parametrize("policy", ["etag", "size", "size+time"])
def test_fault_09_archived_objects_at_the_destination_exist(
    engine: Engine, cold: Glacier, source: Side, dest: Side, policy: str
) -> None:
    source.put(bodies("ab"))
    assert engine.run().counts.done == 2
    cold.archive(dest.bucket, "a", storage_class="DEEP_ARCHIVE")
    engine.dest = Side(cold, dest.bucket)
    ran = engine.run(dest_endpoint=cold.url, compare_policy=policy)
    assert (ran.counts.same, ran.counts.enqueued) == (2, 0)
    source.put({"a": b"something new"})
    assert engine.run(dest_endpoint=cold.url, compare_policy=policy).counts.done == 1


def test_an_object_that_is_archived_between_listing_and_reading_fails_once(
    engine: Engine, glacier: Glacier, archive: Side, dest: Side
) -> None:
    archive.put(bodies("ab"))
    refusal = Reply(
        403, "InvalidObjectState", "The operation is not valid for the object's storage class"
    )
    glacier.rule(refusal, method="GET", key="^a$")
    ran = engine.run()
    assert (ran.counts.done, ran.counts.failed) == (1, 1)
    record = ran.records["a"]
    assert (record.status, record.reason, record.attempts) == (
        Status.FAILED,
        "InvalidObjectState",
        1,
    )


def test_the_command_counts_what_is_archived_and_restored(
    dth: Dth, glacier: Glacier, source: Side, dest: Side
) -> None:
    source.put(bodies("abc"))
    glacier.archive(source.bucket, "a", "b")
    frozen = Side(glacier, source.bucket)
    done = dth.run("s3", "sync", *between(frozen, dest), "--restore")
    assert done.code == 0
    assert "2 restore requests accepted" in done.out
    differences = dth.here("s3", "diff", *between(frozen, dest))
    assert differences.code == 2  # nobody can tell whether those two are the same
    assert "2 archived at the source" in differences.out
    planned = dth.here("s3", "sync", *between(frozen, dest), "--dry-run", "--json").json
    assert (planned["archived"], planned["would_transfer"]) == (2, 0)
