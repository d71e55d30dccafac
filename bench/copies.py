"""Copying from one store to another: `dth` with its default settings beside the best of its peers,
row by row."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from bench.measure import Cost, medians
from bench.peers import Command, bare_rclone, juicefs, ours, rclone
from bench.stores import Stores, ceph, nginx, sinks

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
ROUNDS = 3  # of each variant, in turns
# One PUT up to 5 GiB, rather than parts.
CUTOFF = ("--s3-upload-cutoff", "5G", "--multi-thread-streams", "0")
PARTS = ("--s3-chunk-size", "16M", "--s3-upload-concurrency", "8", "--multi-thread-streams", "0")
# s5cmd takes one endpoint for both sides, so it cannot do this job.
SMALL_PEERS: Mapping[str, Command] = {
    "rclone, all checks": rclone(64),
    "rclone, no checks, 16": bare_rclone(16),
    "rclone, no checks, 64": bare_rclone(64),
    "juicefs sync": juicefs(64),
}
MEDIUM_PEERS: Mapping[str, Command] = {
    "rclone, no checks, 8": bare_rclone(8, *CUTOFF),
    "rclone, no checks, 16": bare_rclone(16, *CUTOFF),
    "juicefs sync": juicefs(16),
}
LARGE_PEERS: Mapping[str, Command] = {
    "rclone, no checks, one PUT, 2": bare_rclone(2, *CUTOFF),
    "rclone, no checks, one PUT, 4": bare_rclone(4, *CUTOFF),
    "rclone, no checks, parts": bare_rclone(2, *PARTS),
    "juicefs sync": juicefs(10),
}
FAR_PEERS: Mapping[str, Command] = {
    "rclone, no checks, 256": bare_rclone(256),
    "rclone, no checks, 512": bare_rclone(512),
    "juicefs sync": juicefs(256),
}


@dataclass(frozen=True)
class Case:
    """`cpu` and `wall` are goals: the most that we want of the ratio to the best peer, or None."""

    what: str
    stores: Callable[[], AbstractContextManager[Stores]]
    count: int
    size: int
    peers: Mapping[str, Command]
    cpu: float | None = None
    wall: float | None = None

    @property
    def total(self) -> int:
        return self.count * self.size


def objects(
    count: int, size: int, where: str, store: Callable[..., AbstractContextManager[Stores]],
    peers: Mapping[str, Command], *, cpu: float | None = None, wall: float | None = None,
    **settings: object,
) -> Case:  # fmt: skip
    shown = f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"
    what = (
        f"{count:,} objects of {shown}, {where}"
        if count > 1
        else f"one object of {size // GIB} GiB, {where}"
    )
    return Case(what, partial(store, count, size, **settings), count, size, peers, cpu, wall)


def without(peers: Mapping[str, Command], name: str) -> Mapping[str, Command]:
    return {each: command for each, command in peers.items() if each != name}


def _medium(
    where: str, store: Callable[..., AbstractContextManager[Stores]], **settings: object
) -> list[Case]:
    peers = without(MEDIUM_PEERS, "juicefs sync") if "tls" in settings else MEDIUM_PEERS
    return [
        objects(total // size, size, where, store, peers, cpu=0.8, wall=0.9, **settings)
        for size, total in ((MIB, GIB), (4 * MIB, GIB), (8 * MIB, GIB))
    ]


CASES: Mapping[str, list[Case]] = {
    "small": [
        objects(10_000, 10 * KIB, "nginx", nginx, SMALL_PEERS),
        objects(50_000, 10 * KIB, "nginx", nginx, SMALL_PEERS, cpu=0.35),
    ],
    "small-tls": [
        objects(10_000, 10 * KIB, "nginx, TLS", nginx, without(SMALL_PEERS, "juicefs sync"),
        tls=True)
    ],
    "ceph": [
        objects(10_000, 10 * KIB, "Ceph", ceph, SMALL_PEERS, cpu=0.45),
        objects(250, 4 * MIB, "Ceph", ceph, MEDIUM_PEERS, cpu=0.8, wall=0.9),
    ],
    "slow": [
        objects(10_000, 10 * KIB, "0.5 ms a request", sinks, SMALL_PEERS, cpu=0.5, service=0.0005),
        objects(2_000, 10 * KIB, "4 ms a request", sinks, SMALL_PEERS, service=0.004),
    ],
    "far": [
        objects(20_000, 10 * KIB, "20 ms away", sinks, FAR_PEERS, delay=0.02),
        objects(20_000, 10 * KIB, "50 ms away", sinks, FAR_PEERS, wall=0.5, delay=0.05),
        objects(20_000, 10 * KIB, "80 ms away", sinks, FAR_PEERS, delay=0.08),
    ],
    "medium": _medium("nginx", nginx),
    "medium-sink": _medium("null store", sinks),
    "medium-tls": _medium("nginx, TLS", nginx, tls=True),
    "large": [objects(8, 512 * MIB, "null store", sinks, LARGE_PEERS, cpu=0.8, wall=0.9)],
    "large-tls": [
        objects(
            4, 512 * MIB, "nginx, TLS", nginx, without(LARGE_PEERS, "juicefs sync"), cpu=0.8,
            wall=0.9, tls=True
        )
    ],
    "giant": [
        objects(1, 5 * GIB, "null store", sinks, {(
                                                  "rclone, no checks, "
                                                  "parts"
                                                  ): bare_rclone(2, *PARTS)}, cpu=0.4)
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    case: Case
    ours: Cost
    peers: Mapping[str, Cost]

    def best(self, measure: Callable[[Cost], float]) -> tuple[str, Cost]:
        """The peer that needed least."""
        return min(self.peers.items(), key=lambda found: measure(found[1]))


def run_case(case: Case) -> Result:
    variants = {"dth": ours(), **case.peers}
    with case.stores() as stores:

        def copied(command: Command) -> Cost:
            with stores.empty() as bucket:
                return command(stores, bucket)

        found = medians(
            ROUNDS, {name: partial(copied, command) for name, command in variants.items()}
        )
    return Result(case, found.pop("dth"), found)


def scaling(count: int = 50_000) -> tuple[float, float]:
    """Objects a second with one worker where all the machine, stores included, is one core, and
    with two on two: on more cores than the clients can use, the stores would be what is
    measured."""

    def on(cores: int) -> Cost:
        with _pinned(cores), nginx(count, 10 * KIB) as stores, stores.empty() as bucket:
            return ours("--workers", str(cores))(stores, bucket)

    found = medians(ROUNDS, {"one": partial(on, 1), "two": partial(on, 2)})
    return count / found["one"].wall, count / found["two"].wall


@contextmanager
def _pinned(cores: int) -> Iterator[None]:
    """What is started meanwhile runs on so many cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# ---------------------------------------------------------------------------------------- the table

HEAD = """\
| what | CPU: dth | best peer | ratio | goal | time: dth | best peer | ratio | goal | MiB: dth, peer | requests |
|---|---|---|---|---|---|---|---|---|---|---|"""


def table(results: list[Result]) -> str:
    return "\n".join([HEAD, *map(_line, results)])


def _line(result: Result) -> str:
    case, dth = result.case, result.ours
    frugal_name, frugal = result.best(lambda cost: cost.cpu)
    fast_name, fast = result.best(lambda cost: cost.wall)
    small = case.size < MIB
    unit = case.count / 1e6 if small else case.total / GIB

    def cpu(cost: Cost) -> str:
        return f"{cost.cpu / unit:.0f} µs" if small else f"{cost.cpu / unit:.2f} s/GiB"

    cells = [
        case.what,
        cpu(dth),
        f"{cpu(frugal)} ({frugal_name})",
        f"{dth.cpu / frugal.cpu:.2f}",
        _goal(case.cpu),
        f"{dth.wall:.1f} s",
        f"{fast.wall:.1f} s ({fast_name})",
        f"{dth.wall / fast.wall:.2f}",
        _goal(case.wall),
        f"{dth.memory / MIB:.0f}, {frugal.memory / MIB:.0f}",
        f"{dth.requests / case.count:.2f}, {frugal.requests / case.count:.2f}"
        if dth.requests
        else "",
    ]
    return f"| {' | '.join(cells)} |"


def _goal(value: float | None) -> str:
    return "" if value is None else f"≤ {value}"
