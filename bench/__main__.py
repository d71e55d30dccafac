"""`python -m bench [WORD ...] [--write]`: run, print the tables, write the page (each table that
was made, as a whole).

Copies: small small-tls ceph slow far medium medium-sink medium-tls large large-tls giant.
Others: start limits first-byte unchanged-objects scaling listings lists hub postgres.
Images: images images-later unchanged unchanged-ecr.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench import copies, images, limits, listings, postgres, waiting
from bench import lists as api
from bench.measure import Cost
from bench.page import MIB, Part, machine, version, write


@dataclass(frozen=True)
class Row:
    """One figure of ours, the best peer's, and what we want."""

    what: str
    ours: str
    peer: str = ""
    goal: str = ""


def start() -> list[Row]:
    found = limits.start()
    name, peer = _best_peer(found, lambda cost: cost.cpu)
    return [
        Row(
            "sync of an empty bucket, CPU",
            f"{found['dth'].cpu:.2f} s",
            f"{peer.cpu:.2f} s ({name})",
            "0.25 s",
        ),
        Row("the same, time", f"{found['dth'].wall:.2f} s", f"{peer.wall:.2f} s"),
    ]


def throttled() -> list[Row]:
    rows = []
    for count, limit, delay in ((5_000, 400, 0.02), (20_000, 3_500, 0.0)):
        found = limits.throttled(count, limit, delay)
        dth, peer = found["dth"], found["rclone"]
        away = f", {delay * 1000:.0f} ms away" if delay else ""
        rows += [
            Row(
                (
                    f"{count:,} objects to a store that takes {limit:,} writes a second{away}: "
                    "refused of all writes"
                ),
                f"{dth.refused / (count + dth.refused):.1%}",
                f"{peer.refused / (count + peer.refused):.1%}",
                "5%",
            ),
            Row(
                "the same, of the rate that it takes",
                f"{dth.rate / limit:.0%}",
                f"{peer.rate / limit:.0%}",
                "95%",
            ),
        ]
    refused, reads, rate = limits.five_at_once()
    what = "five syncs at once to a store that takes 15 writes a second"
    return [
        *rows,
        Row(f"{what}: refusals for each object", f"{refused:.2f}", "", "0.3"),
        Row("the same, GETs for each object", f"{reads:.2f}", "", "1.05"),
        Row("the same, writes a second", f"{rate:.1f}"),
    ]


def first_byte() -> list[Row]:
    found = limits.first_byte()
    name, peer = _best_peer(found, lambda cost: cost.first)
    return [
        Row(
            "first of 300,000 objects written, 30 ms a request",
            f"{found['dth'].first:.2f} s",
            f"{peer.first:.2f} s ({name})",
        )
    ]


def unchanged_objects() -> list[Row]:
    found = limits.unchanged()
    name, peer = _best_peer(found, lambda cost: cost.cpu)
    dth = found["dth"]
    return [
        Row(
            "sync of 1,000,000 unchanged objects, CPU",
            f"{dth.cpu:.1f} s",
            f"{peer.cpu:.1f} s ({name})",
        ),
        Row("the same, time", f"{dth.wall:.1f} s", f"{peer.wall:.1f} s"),
        Row(
            "the same, largest process",
            f"{dth.memory / MIB:.0f} MiB",
            f"{peer.memory / MIB:.0f} MiB",
            "256 MiB",
        ),
        Row("the same, requests", f"{dth.requests:,.0f}", f"{peer.requests:,.0f}"),
    ]


def scaling() -> list[Row]:
    one, two = copies.scaling()
    return [
        Row(
            "50,000 objects of 10 KiB, from one worker on one core to two on two (stores included)",
            f"{one:,.0f}/s to {two:,.0f}/s: {two / one:.2f}",
            "",
            "1.7 or more",
        )
    ]


def compare() -> list[Row]:
    rows = []
    for count in (1_000_000, 10_000_000):
        cost = listings.compare(count)
        rows.append(
            Row(
                f"compare {count:,} keys with {count:,}",
                f"{count / cost.cpu:,.0f} keys/s of CPU, {cost.memory / MIB:.0f} MiB",
                "",
                "60,000 keys/s; 256 MiB",
            )
        )
    return rows


def lists() -> list[Row]:
    tasks, records = 10_000, 10_000_000
    return [
        Row(
            f"API with {tasks:,} tasks and {records:,} records: {what}, CPU",
            f"{cpu * 1000:.1f} ms",
            "",
            "100 ms",
        )
        for what, cpu in api.pages(tasks, records).items()
    ]


def hub() -> list[Row]:
    count = 10_000
    idle = waiting.waiting(count)
    due = waiting.at_once()
    work = waiting.at_work()
    whole, own = waiting.unchanged()
    what = f"a hub with {count:,} tasks that wait, ulimit -n {waiting.DESCRIPTORS}"
    return [
        Row(f"{what}: descriptors, threads", f"{idle.descriptors}, {idle.threads}"),
        Row("the same, memory", f"{idle.memory / MIB:.0f} MiB", "", "250 MB"),
        Row("the same, CPU of a core", f"{idle.cpu:.2%}", "", "1%"),
        Row(
            "the same, page of 20 tasks over HTTP, CPU, p95",
            f"{idle.page * 1000:.1f} ms",
            "",
            "100 ms",
        ),
        Row(
            f"{waiting.DUE} runs due at once: begun, and the last one after",
            f"{due.begun}, {due.last:.1f} s",
            "",
            "60 s",
        ),
        Row("the same, CPU in all", f"{due.cpu:.1f} s"),
        Row(
            (
                "a hub with 100 tasks, of which 40 copy 2,000 objects of 10 KiB each: CPU for each "
                "object"
            ),
            f"{work.cpu * 1e6:.0f} µs",
        ),
        Row("the same, time", f"{work.seconds:.1f} s"),
        Row(
            "the same, page of 20 tasks meanwhile, CPU, p95",
            f"{work.page * 1000:.1f} ms",
            "",
            "100 ms",
        ),
        Row("the same, memory of the hub", f"{work.memory / MIB:.0f} MiB", "", "250 MB"),
        Row(
            "a run of 50 unchanged objects, CPU in all, and of the hub's threads",
            f"{whole:.3f} s, {own:.3f} s",
            "",
            "0.08 s",
        ),
    ]


def machines() -> list[Row]:
    found = postgres.settle(100_000)
    return [
        Row(
            "small objects enqueued and settled through PostgreSQL on this machine, without stores",
            f"{found.rate:,.0f}/s",
            "",
            "8,000/s",
        ),
        Row(
            "the same, CPU of the clients for each object", f"{found.cpu * 1e6:.0f} µs", "", "40 µs"
        ),
    ]


def _best_peer(found: Mapping[str, Cost], measure: Callable[[Cost], float]) -> tuple[str, Cost]:
    peers = [(name, cost) for name, cost in found.items() if name != "dth"]
    return min(peers, key=lambda peer: measure(peer[1]))


BENCHES: Mapping[str, Callable[[], list[Row]]] = {
    "start": start,
    "limits": throttled,
    "first-byte": first_byte,
    "unchanged-objects": unchanged_objects,
    "scaling": scaling,
    "listings": compare,
    "lists": lists,
    "hub": hub,
    "postgres": machines,
}


# ------------------------------------------------------------------------------------------- images


@dataclass(frozen=True)
class ImageRow:
    """Ours beside two peers; `goal` is the least that there can be, or what we want."""

    what: str
    ours: float
    sync: float | None
    copy: float | None
    goal: str
    shown: Callable[[float], str]

    def __str__(self) -> str:
        cells = [self.what, self.shown(self.ours)]
        for peer in (self.sync, self.copy):
            cells.append("" if peer is None else self.shown(peer))
            cells.append("" if not peer else f"{self.ours / peer:.2f}")
        return f"| {' | '.join([*cells, self.goal])} |"


def mib(value: float) -> str:
    return f"{value / MIB:.1f} MiB"


def number(value: float) -> str:
    return f"{value:,.0f}"


def seconds(value: float) -> str:
    return f"{value:.1f} s"


def three(
    found: Mapping[str, list[images.Seen]],
    what: str,
    measure: Callable[[images.Seen], float],
    goal: str,
    shown: Callable[[float], str],
    *,
    ours: str = "dth",
    scale: float = 1,
) -> ImageRow:
    """The peers' least of all runs; of ours the least of what times and CPU are, the most of what
    is counted. `scale`: `skopeo copy` was run for one in so many."""
    worst = min if shown is seconds else max
    sync, copy = (min(map(measure, found[peer])) for peer in ("skopeo sync", "skopeo copy"))
    return ImageRow(what, worst(map(measure, found[ours])), sync, copy * scale, goal, shown)


def calls(*names: str) -> Callable[[images.Seen], float]:
    """Requests of a kind, at the source."""
    return lambda seen: sum(seen.source.calls[name] for name in names)


def shared_images() -> list[ImageRow]:
    needed, found = images.shared()
    return [
        three(
            found,
            (
                f"{images.COUNT} images ({mib(needed.logical)}) to an empty registry: bytes of "
                "blobs from the source"
            ),
            lambda seen: seen.source.blobs_out,
            mib(needed.bytes),
            mib,
        ),
        three(found, "the same, GETs of blobs", calls("GET blobs"), number(needed.blobs), number),
        three(
            found,
            "the same, GETs of manifests",
            calls("GET manifests"),
            number(needed.manifests),
            number,
        ),
        three(
            found,
            "the same, manifests written",
            lambda seen: seen.dest.calls["PUT manifests"],
            number(needed.manifests),
            number,
        ),
        three(
            found, "the same, requests at the source", lambda seen: seen.source.requests, "", number
        ),
        three(
            found,
            "the same, requests at the destination",
            lambda seen: seen.dest.requests,
            "",
            number,
        ),
        three(found, "the same, CPU", lambda seen: seen.cost.cpu, "", seconds),
        three(found, "the same, wall time", lambda seen: seen.cost.wall, "", seconds),
    ]


def later_images() -> list[ImageRow]:
    there = images.COUNT // 2
    needed, found = images.shared(there)
    return [
        three(
            found,
            (
                f"{there} of the images are there, put by another machine: bytes of blobs from the "
                "source"
            ),
            lambda seen: seen.source.blobs_out,
            mib(needed.bytes),
            mib,
        ),
        three(
            found,
            "the same, GETs of manifests",
            calls("GET manifests"),
            number(needed.manifests),
            number,
        ),
    ]


def unchanged() -> list[ImageRow]:
    found = images.unchanged()
    scale = images.TAGS / images.SHOWN_TAGS
    tags = f"{images.TAGS:,} unchanged tags of one repository"
    return [
        three(
            found,
            f"{tags}: requests, of both registries",
            lambda seen: seen.requests,
            number(2 * images.TAGS),
            number,
            scale=scale,
        ),
        three(
            found,
            "the same, where registries have the referrers API",
            lambda seen: seen.requests,
            number(2 * images.TAGS),
            number,
            ours="dth, referrers API",
            scale=scale,
        ),
        three(
            found, "the same (without), CPU", lambda seen: seen.cost.cpu, "", seconds, scale=scale
        ),
        three(found, "the same, wall time", lambda seen: seen.cost.wall, "", seconds, scale=scale),
    ]


def unchanged_ecr() -> list[ImageRow]:
    rows = []
    twice = 2 * images.TAGS  # requests, where each tag has to be asked for on both sides
    for repositories in (1, 10):
        found = images.unchanged_ecr(repositories=repositories)
        where = "one repository" if repositories == 1 else f"{repositories} repositories"
        what = (
            f"{images.TAGS:,} unchanged tags of {where}, Amazon ECR to Amazon ECR: calls and "
            "requests"
        )
        most = max(seen.requests for seen in found)
        rows.append(
            ImageRow(what, most, None, None, f"{twice / 100:.0f} (1% of {number(twice)})", number)
        )
    return rows


IMAGE_BENCHES: Mapping[str, Callable[[], list[ImageRow]]] = {
    "images": shared_images,
    "images-later": later_images,
    "unchanged": unchanged,
    "unchanged-ecr": unchanged_ecr,
}


# ---------------------------------------------------------------------------------------- the parts


def copies_part(words: list[str]) -> Part:
    results = []
    for word in words:
        for case in copies.CASES[word]:
            results.append(copies.run_case(case))
            print(f"{case.what}: done", flush=True)
    return Part(
        "Copies",
        f"""{copies.table(results)}

{machine(words)}, rclone {version("rclone", "version")}, juicefs {version("juicefs", "--version")}.

Each figure is the median of {copies.ROUNDS} runs in turns. `dth` runs with its default settings. The peer in each
cell is the best for that measure, out of several peers and settings (`bench/copies.py`). CPU is the CPU of all
processes of a command, including their start. Times depend on other load on the machine, ratios less so. The stores
are on the same machine and share its cores: a *null store* generates objects and discards what it receives
(`bench/sink.c`), nginx writes files into memory, and Ceph is a real Ceph with one node in memory. "4 ms a request" is
a null store that serves one request after the other, each in that time. "50 ms away" is a store whose responses leave
50 ms later. Requests are those of both sides per object, of `dth` and of the peer with the least CPU.

`dth` does more in that time than its peers: every body is sent with a checksum that the store confirms if it can,
what both sides state about an object is compared, and every object gets a record. "No checks" is rclone without any
of this. By default `juicefs sync` compares nothing after a copy. It has no row over TLS, because over TLS it accepts
no store with the bucket in the path. s5cmd accepts one address for both sides, so it cannot do this job.
""",
    )


def others_part(words: list[str]) -> Part:
    rows: list[Row] = []
    for word in words:
        rows += BENCHES[word]()
        print(f"{word}: done", flush=True)
    lines = [f"| {row.what} | {row.ours} | {row.peer} | {row.goal} |" for row in rows]
    table = "\n".join(["| what | dth | best peer | goal |", "|---|---|---|---|", *lines])
    return Part("Limits, listings and the hub", f"{table}\n\n{machine(words)}.\n")


def images_part(words: list[str]) -> Part:
    rows: list[ImageRow] = []
    for word in words:
        rows += IMAGE_BENCHES[word]()
        print(f"{word}: done", flush=True)
    head = [
        (
            "| what | dth ecr sync | skopeo sync | ratio | skopeo copy, 10 at once | ratio | "
            "least, or goal |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    table = "\n".join([*head, *map(str, rows)])
    return Part(
        "Container images",
        f"""{table}

{machine(words)}, skopeo {version("skopeo", "--version")}.
CPU depends on the load of the machine a little, and times depend on it. So do the bytes and requests of
`skopeo copy`, whose processes do not wait for a layer that another process is copying. Other bytes and requests do
not depend on it.

The registries are docker-registry, on the same machine, each behind a proxy that counts. Each variant ran
{images.ROUNDS} times in turns, each time with its own registry and its own empty cache: skopeo records in its cache
where it has put layers, and mounts only those layers from one repository into another. For bytes and requests, the
table has the highest value of `dth` and the lowest of the peers; for CPU and time, the lowest of all. CPU is the CPU
of all processes of a command, including their start. `skopeo sync` is one process with a list of the repositories,
which copies one image after the other. `skopeo copy --all` is one process per image, in the order of their names. For
unchanged tags it was run for {images.SHOWN_TAGS} tags, and its figures are those times
{images.TAGS // images.SHOWN_TAGS}.
""",
    )


PARTS: list[tuple[Mapping[str, object], Callable[[list[str]], Part]]] = [
    (copies.CASES, copies_part),
    (BENCHES, others_part),
    (IMAGE_BENCHES, images_part),
]


def main() -> None:
    if "--help" in sys.argv:
        print(__doc__)
        return
    known = [word for words, _ in PARTS for word in words]
    chosen = [word for word in sys.argv[1:] if word != "--write"] or known
    if unknown := [word for word in chosen if word not in known]:
        sys.exit(f"no such bench: {' '.join(unknown)}; there are {' '.join(known)}")
    for words, make in PARTS:
        if mine := [word for word in chosen if word in words]:
            part = make(mine)
            print(part.text, flush=True)
            if "--write" in sys.argv:
                write(part)


if __name__ == "__main__":
    main()
