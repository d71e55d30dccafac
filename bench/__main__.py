"""`python -m bench [WORD ...] [--write]`: run, print the tables, write the page (each part as a whole).

The words: small scaling large tls listings lists hub (objects), images images-later unchanged unchanged-ecr (images).
"""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import images, listings, objects, waiting
from bench import lists as api
from bench.measure import Cost, tool

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True)
class Row:
    """One comparison: ours, the peer's best, and what we want of the ratio."""

    what: str
    ours: str
    peer: str
    ratio: str
    goal: str


def best(results: dict[str, Cost], tool_name: str, measure: str) -> tuple[str, Cost]:
    """The variant of a tool that needed least."""
    variants = [(name, cost) for name, cost in results.items() if name.startswith(tool_name)]
    return min(variants, key=lambda variant: getattr(variant[1], measure))


def small() -> list[Row]:
    count = objects.SMALL_COUNT
    results = objects.small(count)
    one, two = results["dth, 1 worker"], results["dth, 2 workers"]
    _, frugal = best(results, "rclone", "cpu")
    fast_name, fast = best(results, "rclone", "wall")
    return [
        Row(
            f"{count:,} objects of 10 KiB, CPU an object",
            f"{one.cpu / count * 1e6:.0f} µs",
            f"{frugal.cpu / count * 1e6:.0f} µs",
            f"{one.cpu / frugal.cpu:.2f}",
            "0.5 or less",
        ),
        Row(
            f"the same, wall time, one worker ({fast_name})",
            f"{one.wall:.1f} s",
            f"{fast.wall:.1f} s",
            f"{one.wall / fast.wall:.2f}",
            "below 1",
        ),
        Row(
            f"the same, two workers ({fast_name})",
            f"{two.wall:.1f} s",
            f"{fast.wall:.1f} s",
            f"{two.wall / fast.wall:.2f}",
            "",
        ),
        Row(
            "the same, largest process",
            f"{one.memory / MIB:.0f} MiB",
            f"{frugal.memory / MIB:.0f} MiB",
            "",
            "",
        ),
    ]


def scaling() -> list[Row]:
    count = objects.SMALL_COUNT
    results = objects.scaling(count)
    one, two = results["1 core"].wall, results["2 cores"].wall
    return [
        Row(
            f"{count:,} objects of 10 KiB, from one worker on one core to two on two (stores included)",
            f"{count / one:,.0f}/s to {count / two:,.0f}/s",
            "",
            f"{one / two:.2f}",
            "1.7 or more",
        )
    ]


def large(*, tls: bool = False) -> list[Row]:
    results = objects.large(tls=tls)
    total = objects.LARGE_COUNT * objects.LARGE_SIZE / GIB
    _, ours = best(results, "dth", "cpu")
    _, peer = best(results, "rclone", "cpu")
    _, fast = best(results, "dth", "wall")
    _, peer_fast = best(results, "rclone", "wall")
    over = "TLS" if tls else "http"
    return [
        Row(
            f"{total:.0f} GiB in 512 MiB objects over {over}, CPU a GiB",
            f"{ours.cpu / total:.2f} s",
            f"{peer.cpu / total:.2f} s",
            f"{ours.cpu / peer.cpu:.2f}",
            "0.7 or less" if tls else "0.4 or less",
        ),
        Row(
            f"the same over {over}, wall time",
            f"{fast.wall:.1f} s",
            f"{peer_fast.wall:.1f} s",
            f"{fast.wall / peer_fast.wall:.2f}",
            "below 1",
        ),
        Row(
            f"the same over {over}, largest process",
            f"{ours.memory / MIB:.0f} MiB",
            f"{peer.memory / MIB:.0f} MiB",
            "",
            "under 300 MiB",
        ),
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
            "",
            "100 ms",
        )
        for what, cpu in api.pages(tasks, records).items()
    ]


def hub() -> list[Row]:
    count = 10_000
    idle = waiting.waiting(count)
    due = waiting.at_once()
    whole, own = waiting.unchanged()
    what = f"a hub with {count:,} tasks that wait, ulimit -n {waiting.DESCRIPTORS}"
    return [
        Row(f"{what}: descriptors, threads", f"{idle.descriptors}, {idle.threads}", "", "", ""),
        Row("the same, memory", f"{idle.memory / MIB:.0f} MiB", "", "", "250 MB"),
        Row("the same, CPU of a core", f"{idle.cpu:.2%}", "", "", "1%"),
        Row("the same, page of 20 tasks over HTTP, CPU, p95", f"{idle.page * 1000:.1f} ms", "", "", "100 ms"),
        Row(
            f"{waiting.DUE} runs due at once: begun, and the last one after",
            f"{due.begun}, {due.last:.1f} s",
            "",
            "",
            "60 s",
        ),
        Row("the same, CPU in all", f"{due.cpu:.1f} s", "", "", ""),
        Row(
            "a run of 50 unchanged objects, CPU in all, and of the hub's threads",
            f"{whole:.3f} s, {own:.3f} s",
            "",
            "",
            "0.08 s",
        ),
    ]


BENCHES: Mapping[str, Callable[[], list[Row]]] = {
    "small": small,
    "scaling": scaling,
    "large": large,
    "tls": lambda: large(tls=True),
    "listings": compare,
    "lists": lists,
    "hub": hub,
}


# ---------------------------------------------------------------------------------------------------- images


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
    """The peers' least of all runs; of ours the least of what times and CPU are, the most of what is counted.
    `scale`: `skopeo copy` was run for one in so many."""
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
            f"{images.COUNT} images ({mib(needed.logical)}) to an empty registry: bytes of blobs from the source",
            lambda seen: seen.source.blobs_out,
            mib(needed.bytes),
            mib,
        ),
        three(found, "the same, GETs of blobs", calls("GET blobs"), number(needed.blobs), number),
        three(found, "the same, GETs of manifests", calls("GET manifests"), number(needed.manifests), number),
        three(
            found,
            "the same, manifests written",
            lambda seen: seen.dest.calls["PUT manifests"],
            number(needed.manifests),
            number,
        ),
        three(found, "the same, requests at the source", lambda seen: seen.source.requests, "", number),
        three(found, "the same, requests at the destination", lambda seen: seen.dest.requests, "", number),
        three(found, "the same, CPU", lambda seen: seen.cost.cpu, "", seconds),
        three(found, "the same, wall time", lambda seen: seen.cost.wall, "", seconds),
    ]


def later_images() -> list[ImageRow]:
    there = images.COUNT // 2
    needed, found = images.shared(there)
    return [
        three(
            found,
            f"{there} of the images are there, put by another machine: bytes of blobs from the source",
            lambda seen: seen.source.blobs_out,
            mib(needed.bytes),
            mib,
        ),
        three(found, "the same, GETs of manifests", calls("GET manifests"), number(needed.manifests), number),
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
        three(found, "the same (without), CPU", lambda seen: seen.cost.cpu, "", seconds, scale=scale),
        three(found, "the same, wall time", lambda seen: seen.cost.wall, "", seconds, scale=scale),
    ]


def unchanged_ecr() -> list[ImageRow]:
    rows = []
    twice = 2 * images.TAGS  # requests, where each tag has to be asked for on both sides
    for repositories in (1, 10):
        found = images.unchanged_ecr(repositories=repositories)
        where = "one repository" if repositories == 1 else f"{repositories} repositories"
        what = f"{images.TAGS:,} unchanged tags of {where}, Amazon ECR to Amazon ECR: calls and requests"
        most = max(seen.requests for seen in found)
        rows.append(ImageRow(what, most, None, None, f"{twice / 100:.0f} (1% of {number(twice)})", number))
    return rows


IMAGE_BENCHES: Mapping[str, Callable[[], list[ImageRow]]] = {
    "images": shared_images,
    "images-later": later_images,
    "unchanged": unchanged,
    "unchanged-ecr": unchanged_ecr,
}


# --------------------------------------------------------------------------------------------------- the page


def table(rows: list[Row]) -> str:
    lines = ["| what | dth | rclone | ratio | goal |", "|---|---|---|---|---|"]
    lines += [f"| {row.what} | {row.ours} | {row.peer} | {row.ratio} | {row.goal} |" for row in rows]
    return "\n".join(lines)


def image_table(rows: list[ImageRow]) -> str:
    lines = [
        "| what | dth ecr sync | skopeo sync | ratio | skopeo copy, 10 at once | ratio | least, or goal |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(str, rows)])


def page(text: str, load: float) -> str:
    told = subprocess.run([tool("rclone"), "version"], capture_output=True, text=True, check=True).stdout
    version = told.split()[1]
    python = platform.python_version()
    return f"""# Performance

{text}

Made by `make bench` on {time.strftime("%Y-%m-%d")}: {platform.system()} on {platform.machine()},
{os.cpu_count()} cores, Python {python}, rclone {version} with its best settings (`bench/measure.py`).
Load of the machine before the run: {load:.1f}; only with a load near 0 are the figures worth comparing.

Each figure is the best of three runs in turns. The stores are nginx on memory, on the same machine: they cost a tenth
of what a real store costs, so what is measured is the client. CPU is that of all processes of a command, starting them
included; times depend on what else the machine does, ratios less so. `dth` does more in that time than the peer: every
body goes with a checksum, and every object leaves a record. Stores and clients share the cores, so that a second
worker takes from the stores what it gives; its gain is therefore measured with all of them on one core, and on two.
"""


IMAGES = "## Container images"


def image_page(text: str, load: float) -> str:
    told = subprocess.run([tool("skopeo"), "--version"], capture_output=True, text=True, check=True).stdout
    version = told.split()[2]
    words = " ".join(IMAGE_BENCHES)
    return f"""{IMAGES}

{text}

Made by `python -m bench {words}` on {time.strftime("%Y-%m-%d")}: {platform.system()} on {platform.machine()},
{os.cpu_count()} cores, Python {platform.python_version()}, skopeo {version}.
Load of the machine before the run: {load:.1f}. CPU depends on it a little, times do; so do the bytes and
requests of `skopeo copy`, whose processes do not wait for what another one is bringing. The others do not.

The registries are docker-registry, on the same machine, each behind a proxy that counts. Each variant ran
{images.ROUNDS} times in turns, each time to a registry of its own and with an empty cache of its own: skopeo
keeps in it where it has put layers, and mounts those, and no others, from one repository into
another. Of bytes and requests the table has our most and the peers' least; of CPU and time the least of all. CPU is
that of all processes of a command, starting them included. `skopeo sync` is one process with a list of the
repositories, which copies one image after the other; `skopeo copy --all` is a process for each image, in the order of
their names. For unchanged tags it was run for {images.SHOWN_TAGS}, and its figures are those times
{images.TAGS // images.SHOWN_TAGS}.
"""


def main() -> None:
    if "--help" in sys.argv:
        print(__doc__)
        return
    known = [*BENCHES, *IMAGE_BENCHES]
    words = [word for word in sys.argv[1:] if word != "--write"] or known
    if unknown := [word for word in words if word not in known]:
        sys.exit(f"no such bench: {' '.join(unknown)}; there are {' '.join(known)}")
    load = os.getloadavg()[0]
    rows: list[Row] = []
    image_rows: list[ImageRow] = []
    for word in words:
        if word in BENCHES:
            rows += BENCHES[word]()
        else:
            image_rows += IMAGE_BENCHES[word]()
        print(f"{word}: done", flush=True)
    texts = [text for text in (rows and table(rows), image_rows and image_table(image_rows)) if text]
    print("\n\n".join(texts))
    if "--write" in sys.argv:
        objects_part, _, images_part = PAGE.read_text("utf-8").partition(f"\n{IMAGES}\n")
        if rows:
            objects_part = page(table(rows), load)
        images_part = image_page(image_table(image_rows), load) if image_rows else f"{IMAGES}\n{images_part}"
        PAGE.write_text(f"{objects_part.rstrip()}\n\n{images_part}", "utf-8")


if __name__ == "__main__":
    main()
