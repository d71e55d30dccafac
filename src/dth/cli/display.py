"""What commands print: amounts, keys, progress, results."""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import click

from dth.core.ports.records import Record
from dth.core.ports.runs import Counts
from dth.core.ports.status import Verified
from dth.hub.progress import RunActivity, Standing

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_INTERVAL = 5.0  # seconds between lines where there is no terminal
ROOM_FOR_ALL = 70
ROOM_FOR_BAR = 90  # columns; in fewer the numbers alone are shown
# How each kind of verification is named after a number.
VERIFIED_BY = {
    Verified.STORE.value: "by the store's checksum",
    Verified.ETAG.value: "by MD5",
    Verified.SOURCE.value: "by the source's checksum",
    Verified.CONTENT.value: "by reading back",
}
INCOMPLETE = "lack tags or metadata that could not be copied"


def amount(count: float) -> str:
    """Bytes in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def counted(number: float, thing: str) -> str:
    """A number of things, such as `1 object` and `2 objects`."""
    return f"{number:.0f} {thing}" + ("" if number == 1 else "s")


def how_many(group: Mapping[str, Any]) -> str:
    """The number of failures in a group, with a + if there may be more."""
    return f"{group['count']:.0f}{'+' if group['more'] else ''}"


def shown(key: str) -> str:
    """A key as it may be printed: whatever could move a cursor or break a line is escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in key
    )


def clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class ProgressView:
    """The state of a run: a bar on a terminal, a line now and then elsewhere, nothing when quiet.
    On standard error.

    `plain`: no bar. `json_seconds`: instead of either, a JSON object at this interval in seconds
    and at the end.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        things: str = "objects",
        plain: bool = False,
        json_seconds: float = 0.0,
    ) -> None:
        self._quiet = quiet
        self._plain = plain or bool(json_seconds)
        self._json_seconds = json_seconds
        self._last: dict[str, Any] = {}
        self._things = things
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if not self._quiet and not self._plain and sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
            self._task = self._bar.add_task("starting", total=None, rest="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()
        if self._last:
            self._print_json()

    def update(self, standing: Standing, counts: Counts, workers: int) -> None:
        if self._json_seconds:
            self._last = progress_object(standing, counts, workers)
            if time.monotonic() - self._last_line >= self._json_seconds:
                self._last_line = time.monotonic()
                self._print_json()
            return
        if self._quiet:
            return
        what = (
            f"listing {counts.listed}"
            if standing.state is RunActivity.LISTING
            else standing.state.lower()
        )
        rest = _amounts(standing, self._things)
        if standing.failed:
            rest += f", failed {standing.failed}"
        if counts.delete_enqueued:
            rest += f", deleted {counts.deleted}/{counts.delete_enqueued}"
        eta = f"ETA {clock(standing.eta)}" if standing.eta > 0 else ""
        note = f", {shown(standing.note)}" if standing.note else ""
        if self._bar and self._task is not None:
            done, whole = (
                (standing.done_bytes, standing.total_bytes)
                if standing.total_bytes
                else (standing.ended, standing.total)
            )
            if self._bar.console.width < ROOM_FOR_ALL:
                # What is cut off is what matters least.
                percent = f"{standing.percent}%" if standing.percent >= 0 else ""
                what, rest = " ".join(filter(None, (percent, eta, what))), rest + note
            else:
                rest += f", {eta}" * bool(eta) + note
            self._bar.update(
                self._task, description=what, total=whole or None, completed=done, rest=rest
            )
        elif time.monotonic() - self._last_line >= PLAIN_INTERVAL:
            self._last_line = time.monotonic()
            rest += f", {eta}" * bool(eta)
            print(
                f"{what}: {rest}, {counted(workers, 'worker')}{note}", file=sys.stderr, flush=True
            )

    def _print_json(self) -> None:
        print(json.dumps(self._last), file=sys.stderr, flush=True)


def progress_object(standing: Standing, counts: Counts, workers: int) -> dict[str, Any]:
    """How a run stands, as `--progress-json` prints it. What is not known is null."""
    return {
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "state": standing.state.value,
        "listed": counts.listed,
        "objects": standing.total,
        "ended": standing.ended,
        "failed": standing.failed,
        "bytes": standing.total_bytes,
        "done_bytes": standing.done_bytes,
        "percent": standing.percent if standing.percent >= 0 else None,
        "bytes_per_second": round(standing.rate),
        "objects_per_second": round(standing.objects, 1),
        "eta_seconds": round(standing.eta) if standing.eta >= 0 else None,
        "deleted": counts.deleted,
        "workers": workers,
        "note": standing.note,
    }


def _amounts(standing: Standing, things: str) -> str:
    """How much of how much, and how fast."""
    part = f" ({standing.percent}%)" if standing.percent >= 0 else ""
    return (
        f"{standing.ended}/{standing.total} {things}, "
        f"{amount(standing.done_bytes)} of {amount(standing.total_bytes)}{part}, "
        f"{amount(standing.rate)}/s, {standing.objects:.0f}/s"
    )


def _bar() -> "Progress":
    # Loading rich takes as long as many a small run: only where it is seen.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    console = Console(stderr=True)
    # The line is cut at its end, wherever that is.
    columns = [
        TextColumn("{task.description} {task.fields[rest]}", table_column=Column(no_wrap=True))
    ]
    wide = [BarColumn(), TimeElapsedColumn()] if console.width >= ROOM_FOR_BAR else []
    return Progress(*columns, *wide, console=console, transient=True)


def failure_lines(failures: Iterable[Record]) -> Iterable[str]:
    for record in failures:
        yield (
            f"  {record.status.lower()}: {shown(record.key)}: {record.reason}: "
            f"{shown(record.detail)}"
        )


def table(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"  {name:<{width}}  {value}")


def day(at: float) -> str:
    """A time as lists show it, where the reader is."""
    return (
        datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M") if at else "never"
    )


def when(text: str | None) -> str:
    """A time of the API as lists show it; "" for none."""
    return day(datetime.fromisoformat(text).timestamp()) if text else ""


def columns(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print a list with aligned columns."""
    widths = [max(map(len, each)) for each in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        click.echo(
            "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()
        )


def verified_words(counts: Mapping[str, int], *, always: bool = False) -> str:
    """How copies were verified (`Counts.by_verification`), in words; "" where there are none.
    `always`: say how many were not, even if that is none."""
    words = [f"{counts[kind]:,} {how}" for kind, how in VERIFIED_BY.items() if counts[kind]]
    if words:
        number, _, how = words[0].partition(" ")
        words[0] = f"{number} verified {how}"
    if counts["none"] > 0 or always:
        words.append(f"{counts['none']:,} not verified")
    return ", ".join(words)


def result(counts: Counts, seconds: float, extra: dict[str, Any]) -> dict[str, Any]:
    """The final object of `--json`."""
    skipped = counts.same + counts.filtered + counts.archived
    return {
        "listed": counts.listed,
        "skipped": skipped,
        "same": counts.same,
        "unproven": counts.unproven,
        "filtered": counts.filtered,
        "archived": counts.archived,
        "restores": counts.restores,
        "pending": counts.pending,
        "enqueued": counts.enqueued,
        "transferred": counts.done,
        "failed": counts.failed + counts.delete_failed,
        "cancelled": counts.cancelled,
        "extra": counts.extra,
        "deleted": counts.deleted,
        "bytes": counts.done_bytes,
        "seconds": round(seconds, 3),
        "objects_per_second": round(counts.done / seconds, 1) if seconds else 0.0,
        **extra,
    }
