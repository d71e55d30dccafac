"""`python -m bench [small scaling large tls listings lists] [--write]`: run, print the table, write the page."""

import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench import listings, objects
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


BENCHES = {
    "small": small,
    "scaling": scaling,
    "large": large,
    "tls": lambda: large(tls=True),
    "listings": compare,
    "lists": lists,
}


def table(rows: list[Row]) -> str:
    lines = ["| what | dth | rclone | ratio | goal |", "|---|---|---|---|---|"]
    lines += [f"| {row.what} | {row.ours} | {row.peer} | {row.ratio} | {row.goal} |" for row in rows]
    return "\n".join(lines)


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


def main() -> None:
    words = [word for word in sys.argv[1:] if not word.startswith("--")] or list(BENCHES)
    load = os.getloadavg()[0]
    rows: list[Row] = []
    for word in words:
        rows += BENCHES[word]()
        print(table(rows[-len(rows) :]) if word == words[-1] else f"{word}: done", flush=True)
    if "--write" in sys.argv:
        PAGE.write_text(page(table(rows), load), "utf-8")


if __name__ == "__main__":
    main()
