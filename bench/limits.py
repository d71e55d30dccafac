"""A store that refuses what is too much, an empty bucket, and a bucket that has not changed."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from tempfile import TemporaryDirectory

from bench.copies import KIB, ROUNDS
from bench.measure import Cost, medians
from bench.peers import Command, bare_rclone, juicefs, ours
from bench.stores import Stores, sinks


def throttled(count: int, limit: float, delay: float) -> dict[str, Cost]:
    """Copies to a store that takes so many writes a second."""
    with sinks(count, 10 * KIB, delay=delay, limit=limit) as stores:
        return _in_turns(
            stores, {"dth": ours(), "rclone": bare_rclone(16, "--low-level-retries", "1000")}, 1
        )


def five_at_once(count: int = 60, limit: float = 15) -> tuple[float, float, float]:
    """Five commands against one store: refusals and reads for each object, and writes a second."""
    with (
        sinks(count, 10 * KIB, delay=0.005, limit=limit) as stores,
        TemporaryDirectory() as state,
        ThreadPoolExecutor(5) as threads,
    ):
        stores.counts()
        uncounted = replace(stores, counts=lambda: None)
        list(
            threads.map(
                partial(ours(state=state), uncounted), (f"dst-{number}" for number in range(5))
            )
        )
        found = stores.counts()
    assert found is not None
    source, dest = found
    objects = 5 * count
    return (
        dest.refused / objects,
        source.reads / objects,
        objects / (dest.last_write - dest.first_write),
    )


def start() -> dict[str, Cost]:
    """Of a bucket with nothing in it."""
    with sinks(0, 0) as stores:
        return _in_turns(
            stores, {"dth": ours(), "rclone": bare_rclone(4), "juicefs sync": juicefs(10)}, 5
        )


def first_byte(count: int = 300_000) -> dict[str, Cost]:
    """A long listing, 30 ms a request, and objects of no bytes: when is the first one written?"""
    with sinks(count, 0, delay=0.03) as stores:
        return _in_turns(
            stores, {"dth": ours(), "rclone": bare_rclone(256), "juicefs sync": juicefs(256)}, 1
        )


def unchanged(count: int = 1_000_000) -> dict[str, Cost]:
    """Two buckets of so many objects that are the same."""
    with sinks(count, 10 * KIB) as stores:
        same = replace(stores, dest=stores.source, total=0, empty=lambda: nullcontext("same"))
        peers = {
            "rclone, sizes only": bare_rclone(64, "--size-only", "--no-check-dest=false"),
            "juicefs sync": juicefs(64),
        }
        return _in_turns(same, {"dth": ours(), **peers}, 1)


def _in_turns(
    stores: Stores, commands: dict[str, Command], rounds: int = ROUNDS
) -> dict[str, Cost]:
    def copied(command: Command) -> Cost:
        with stores.empty() as bucket:
            return command(stores, bucket)

    return medians(rounds, {name: partial(copied, command) for name, command in commands.items()})
