"""Sends a process's output to CloudWatch Logs: its log, and its metrics as lines of the embedded
metric format.

Sending never blocks the process and never makes it fail: lines that CloudWatch does not accept for
a long time are dropped, and a line says how many.
"""

import contextlib
import json
import logging
import queue
import threading
import time
import traceback
from collections.abc import Iterator

from dth.core.errors import StateError
from dth.platforms.aws.client import Aws, Refused

PERIOD = 2.0  # seconds between two calls
# Per call. Each event counts 26 bytes more than its size.
MAX_EVENTS, MAX_BYTES = 10_000, 1_000_000
OVERHEAD = 26
MAX_LINE = 16 * 1024  # characters
MAX_WAITING = 20_000  # lines waiting to be sent

_STOP = None


class LogShipper:
    """One log stream of a process. Also a text stream for lines (`write`, `flush`)."""

    def __init__(self, aws: Aws, group: str, stream: str) -> None:
        self._aws = aws
        self._where = {"logGroupName": group, "logStreamName": stream}
        self._waiting: queue.Queue[tuple[int, str] | None] = queue.Queue(MAX_WAITING)
        self._left_out = 0
        self._thread = threading.Thread(target=self._run, name="log-shipper", daemon=True)
        self._thread.start()

    def log(self, level: str, message: str, **fields: object) -> None:
        line = {"at": round(time.time(), 3), "level": level, "message": message, **fields}
        self.write(json.dumps(line, default=str))

    def write(self, text: str) -> int:
        """Accept lines; never waits."""
        for line in text.splitlines():
            shown = line[:MAX_LINE].encode("utf-8", "backslashreplace").decode()
            try:
                self._waiting.put_nowait((int(time.time() * 1000), shown))
            except queue.Full:
                self._left_out += 1
        return len(text)

    def flush(self) -> None:
        """Does nothing: lines are sent within `PERIOD`, and at the latest by `close`."""

    def close(self, timeout: float = 10.0) -> None:
        """Send the waiting lines, for at most `timeout` seconds."""
        with contextlib.suppress(queue.Full):
            self._waiting.put(_STOP, timeout=timeout)
        self._thread.join(timeout)

    def _run(self) -> None:
        going = True
        while going:
            going, events = self._gather()
            if self._left_out:
                count, self._left_out = self._left_out, 0
                message = f"{count} lines were left out: CloudWatch Logs did not take them in time"
                line = json.dumps({"level": "warning", "message": message})
                events.append({"timestamp": int(time.time() * 1000), "message": line})
            for batch in batches(events):
                self._send(batch)

    def _gather(self) -> tuple[bool, list[dict[str, object]]]:
        """The events of one period; False when no more will come."""
        events: list[dict[str, object]] = []
        deadline = time.monotonic() + PERIOD
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                taken = self._waiting.get(timeout=left)
                if taken is _STOP:
                    return False, events
                events.append({"timestamp": taken[0], "message": taken[1]})
        return True, events

    def _send(self, batch: list[dict[str, object]]) -> None:
        for again in (True, False):
            try:
                self._aws.call_now("logs", "put_log_events", **self._where, logEvents=batch)
                return
            except Refused as error:
                if again and error.code == "ResourceNotFoundException":
                    with contextlib.suppress(StateError):
                        self._aws.call_now("logs", "create_log_stream", **self._where)
                    continue
            except StateError:
                pass
            self._left_out += len(batch)
            return


def batches(events: list[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    """Batches for PutLogEvents: in order of time, within its limits."""
    batch: list[dict[str, object]] = []
    size = 0
    for event in sorted(events, key=lambda each: int(str(each["timestamp"]))):
        more = len(str(event["message"]).encode()) + OVERHEAD
        if batch and (len(batch) == MAX_EVENTS or size + more > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += more
    if batch:
        yield batch


class _Handler(logging.Handler):
    """`extra={"fields": {...}}` are the fields of a line."""

    def __init__(self, shipper: LogShipper) -> None:
        super().__init__()
        self._shipper = shipper

    def emit(self, record: logging.LogRecord) -> None:
        fields = dict(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[0]:
            fields["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        self._shipper.log(record.levelname.lower(), record.getMessage(), **fields)


@contextlib.contextmanager
def shipping(aws: Aws, group: str, stream: str) -> Iterator[LogShipper]:
    """While in this context, the engine and the libraries log to that stream."""
    shipper = LogShipper(aws, group, stream)
    handler = _Handler(shipper)
    logging.getLogger().addHandler(handler)
    logging.getLogger("dth").setLevel(logging.INFO)
    try:
        yield shipper
    finally:
        logging.getLogger().removeHandler(handler)
        shipper.close()
