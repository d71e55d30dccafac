"""Mirror mode: what has no source is deleted at the destination, and nothing else ever is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dth.objects.finder import DELETES_CURSOR
from dth.platforms.local.queue import LocalQueue
from dth.platforms.local.records import LocalRecords
from tests.engine import Crash, Dth, Engine, Side, between, bodies
from tests.servers.proxy import Hook, Proxy, Reply, SlowDown

if TYPE_CHECKING:
    from tests.servers.glacier import Glacier

MIRROR = {"delete_mode": "Mirror", "delete_max_percent": 100}


def test_what_has_no_source_is_deleted(
    engine: Engine, proxy_b: Proxy, source: Side, dest: Side
) -> None:
    source.put(bodies(["both", "new"]))
    dest.put(bodies(["both", *(f"extra/{n:03}" for n in range(250)), 'odd "\n+%', "also\\odd"]))
    ran = engine.run(workers=2, **MIRROR)
    assert (ran.counts.same, ran.counts.done, ran.counts.extra, ran.counts.deleted) == (
        1,
        1,
        252,
        252,
    )
    assert dest.listed() == ["both", "new"]
    assert engine.run(**MIRROR).counts.deleted == 0


def test_nothing_is_deleted_unless_asked(engine: Engine, source: Side, dest: Side) -> None:
    source.put(bodies("a"))
    dest.put(bodies("ab"))
    assert engine.run().counts.extra == 1
    assert dest.listed() == ["a", "b"]


def test_what_is_filtered_archived_failed_or_elsewhere_stays(
    engine: Engine, proxy_b: Proxy, glacier: Glacier, source: Side, dest: Side
) -> None:
    source.put(bodies(["in/keep", "in/skip.tmp", "in/archived", "in/fails"]))
    glacier.archive(source.bucket, "in/archived")
    engine.source = Side(glacier, source.bucket, "in/")
    dest.put(
        bodies(
            [
                "to/skip.tmp",
                "to/old.tmp",
                "to/archived",
                "to/fails",
                "to/gone",
                "elsewhere",
                "tooth",
            ]
        )
    )
    proxy_b.rule(Reply(403, "AccessDenied"), method="PUT", key="fails")
    ran = engine.run(
        **MIRROR,
        src_endpoint=glacier.url,
        src_prefix="in/",
        dest_prefix="to/",
        exclude_patterns=("*.tmp",),
    )
    assert (ran.counts.deleted, ran.counts.archived, ran.counts.failed) == (1, 1, 1)
    assert dest.listed() == [
        "elsewhere",
        "to/archived",
        "to/fails",
        "to/keep",
        "to/old.tmp",
        "to/skip.tmp",
        "tooth",
    ]


def test_an_object_that_reappears_is_kept(
    engine: Engine, proxy_a: Proxy, source: Side, dest: Side
) -> None:
    source.put(bodies("a"))
    dest.put(bodies(["a", "back", "gone"]))
    proxy_a.rule(Hook(lambda request: source.put(bodies(["back"]))), method="HEAD", key="back")
    ran = engine.run(**MIRROR)
    assert (ran.counts.deleted, ran.counts.delete_kept) == (1, 1)
    assert dest.listed() == ["a", "back"]


def test_an_empty_source_deletes_nothing(engine: Engine, dest: Side) -> None:
    dest.put(bodies("ab"))
    ran = engine.run(**MIRROR)
    assert "the source is empty" in ran.notes
    assert (ran.counts.extra, ran.counts.delete_enqueued) == (2, 0)
    assert dest.listed() == ["a", "b"]


def test_more_than_the_guard_allows_deletes_nothing_and_a_dry_run_shows_it(
    dth: Dth, source: Side, dest: Side
) -> None:
    keys = [f"{n:02}" for n in range(10)]
    source.put(bodies(keys[:8]))
    dest.put(bodies(keys))
    mirror = ("--delete-mode", "mirror")
    shown = dth.here("s3", "sync", *between(source, dest), *mirror, "--dry-run")
    assert shown.code == 0
    assert "delete  08\ndelete  09\n" in shown.out
    assert "deletes refused: 2 of 10" in shown.out
    found = dth.sync(source, dest, *mirror, code=1)
    assert (found["extra"], found["deleted"]) == (2, 0)
    assert (
        "deletes refused: 2 of 10 destination objects would go, more than 10%" in found["notes"][0]
    )
    assert dest.listed() == keys

    allowed = (*mirror, "--delete-max-percent", "20")
    counted = dth.here("s3", "sync", *between(source, dest), *allowed, "--dry-run", "--json").json
    assert counted["would_delete"] == 2
    assert dest.listed() == keys
    assert dth.sync(source, dest, *allowed)["deleted"] == 2
    assert dest.listed() == keys[:8]


def test_a_storm_of_503_delays_deletes(
    engine: Engine, proxy_a: Proxy, proxy_b: Proxy, source: Side, dest: Side
) -> None:
    source.put(bodies("a"))
    dest.put(bodies(["a", *(f"{n:03}" for n in range(60))]))
    proxy_a.rule(SlowDown(), method="HEAD", probability=0.5)
    proxy_b.rule(SlowDown(), method="DELETE", probability=0.5)
    ran = engine.run(**MIRROR)
    assert (ran.counts.deleted, ran.counts.delete_failed) == (60, 0)


def test_a_delete_that_is_refused_fails_alone(
    engine: Engine, proxy_b: Proxy, source: Side, dest: Side
) -> None:
    source.put(bodies("a"))
    dest.put(bodies("axyz"))
    proxy_b.rule(Reply(403, "AccessDenied"), method="DELETE", key="y")
    ran = engine.run(**MIRROR)
    assert (ran.counts.deleted, ran.counts.delete_failed) == (2, 1)
    assert dest.listed() == ["a", "y"]


def test_what_cannot_be_looked_up_at_the_source_is_not_deleted(
    engine: Engine, proxy_a: Proxy, source: Side, dest: Side
) -> None:
    source.put(bodies("a"))
    dest.put(bodies("axy"))
    proxy_a.rule(Reply(403, "AccessDenied"), key="x")
    ran = engine.run(**MIRROR)
    assert (ran.counts.deleted, ran.counts.delete_failed) == (1, 1)
    assert dest.listed() == ["a", "x"]


@pytest.mark.parametrize("step", range(5))
def test_a_finder_that_crashes_among_the_deletes_counts_each_once(
    engine: Engine, source: Side, dest: Side, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    source.put(bodies("a"))
    dest.put(bodies(["a", *(f"{n:03}" for n in range(220))]))
    steps = iter(range(100))

    def dying(method: Any, wanted: Any) -> Any:
        async def call(self: Any, *arguments: Any) -> Any:
            result = await method(self, *arguments)
            if wanted(*arguments) and next(steps) == step:
                raise Crash
            return result

        return call

    marks = lambda run, page: any(cursor.id == DELETES_CURSOR for cursor in page.cursors)  # noqa: E731
    monkeypatch.setattr(LocalRecords, "commit", dying(LocalRecords.commit, marks))
    monkeypatch.setattr(
        LocalQueue, "send", dying(LocalQueue.send, lambda messages, *_: "-d" in str(messages))
    )
    ran = engine.run(**MIRROR)
    assert ran.crashes == (["finder"] if step < 4 else [])
    assert ran.counts.deleted == 220
    assert dest.listed() == ["a"]


def test_a_run_that_goes_on_without_mirroring_deletes_no_more(
    engine: Engine, proxy_a: Proxy, source: Side, dest: Side
) -> None:
    source.put(bodies("a"))
    dest.put(bodies("axy"))
    rule = proxy_a.rule(Reply(403, "ExpiredToken"), method="HEAD|GET", key="^[xy]$")
    assert "ExpiredToken" in engine.run(**MIRROR).paused
    proxy_a.remove(rule)
    ran = engine.run()
    assert ran.resumed
    assert (ran.counts.deleted, ran.counts.delete_kept) == (0, 2)
    assert dest.listed() == ["a", "x", "y"]


def test_a_run_that_goes_on_with_mirroring_deletes_what_it_finds(
    engine: Engine, proxy_a: Proxy, source: Side, dest: Side
) -> None:
    source.put(bodies("ab"))
    dest.put(bodies("axy"))
    rule = proxy_a.rule(Reply(403, "ExpiredToken"), method="GET", key="b")
    assert engine.run().paused
    proxy_a.remove(rule)
    ran = engine.run(**MIRROR)
    assert ran.resumed  # the listing had ended: what it found extra was not kept
    assert ran.counts.deleted == 0
    assert engine.run(**MIRROR).counts.deleted == 2
    assert dest.listed() == ["a", "b"]
