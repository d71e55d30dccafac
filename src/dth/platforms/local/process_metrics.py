"""What a hub says of its own process and its disk, in the text exposition format of Prometheus. The
names that begin with process_ are those of the usual client libraries."""

import os
import resource
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
# Fields of /proc/self/stat after the name of the command (proc(5)), counted from 0.
USER_TIME, SYSTEM_TIME, START_TIME, RESIDENT = 11, 12, 19, 21


def exposition(data_dir: Path) -> str:
    """The metrics of this process, whose data is in the directory."""
    return "\n".join(_lines(data_dir)) + "\n"


def _lines(data_dir: Path) -> Iterator[str]:
    yield from _sample(
        "dth_build_info", "gauge", "The version of the hub.", 1, f'{{version="{_version()}"}}'
    )
    disk = os.statvfs(data_dir)
    yield from _sample(
        "dth_data_free_bytes",
        "gauge",
        "Bytes that the hub can still write into its data directory.",
        disk.f_bavail * disk.f_frsize,
    )
    yield from _sample(
        "dth_data_size_bytes",
        "gauge",
        "Bytes of the file system of the data directory.",
        disk.f_blocks * disk.f_frsize,
    )
    fields = Path("/proc/self/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    spent = (int(fields[USER_TIME]) + int(fields[SYSTEM_TIME])) / TICKS
    started = _boot_time() + int(fields[START_TIME]) / TICKS
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for name, kind, meaning, value in (
        ("cpu_seconds_total", "counter", "CPU time of the hub's own process.", spent),
        ("start_time_seconds", "gauge", "When it started, in seconds since 1970.", started),
        ("resident_memory_bytes", "gauge", "Its memory.", int(fields[RESIDENT]) * PAGE),
        ("open_fds", "gauge", "Its open file descriptors.", _descriptors()),
        ("max_fds", "gauge", "The most file descriptors that it may have.", limit),
    ):
        yield from _sample(f"process_{name}", kind, meaning, value)


def _sample(
    name: str, kind: str, meaning: str, value: float, labels: str = ""
) -> tuple[str, str, str]:
    return f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", f"{name}{labels} {value}"


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@cache
def _version() -> str:
    return version("data-transfer-hub")


@cache
def _boot_time() -> int:
    lines = Path("/proc/stat").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("btime "))
