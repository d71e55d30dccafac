"""How a process writes its log: JSON lines in a file of its own, rotated by size.

`NAME.log` is the current file; older files are `NAME.log.1`, `NAME.log.2`, ... in ascending order,
so a file keeps its number, and a position in the log can be identified by it. Standard output and
error of the process go to the same file: tracebacks and output of C libraries appear between the
lines as plain text.
"""

import contextlib
import fcntl
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from dth.platforms.local.encoding import to_line
from dth.platforms.local.filesystem import is_at

# Bytes after which a file is closed and the next one begins.
FILE_SIZE = 2 * 1024 * 1024
KEPT_FILES = 4  # in addition to the current one
LINE_SIZE = 16 * 1024  # the most bytes of one line
# A storm of failures must not push everything else out of the log; the records contain all
# failures.
LINES_A_SECOND = 20
# The first message of each life of a process.
BEGINNING = "started"
# Bytes in which the last words of a process are searched.
TAIL = 64 * 1024
# Fields of each line besides those that the caller gives.
OWN = ("at", "level", "message")
NUMBER = re.compile(r"[1-9][0-9]{0,11}")


class Journal:
    """A process's log. Writing never raises, whatever happens to the disk: a transfer must not fail
    because of its log.

    Each line is one write to a file opened for appending, so lines of several processes never mix.
    Output printed in pieces may have a line in between.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def info(self, message: str, **fields: object) -> None:
        self.write("info", message, fields)

    def warning(self, message: str, **fields: object) -> None:
        self.write("warning", message, fields)

    def error(self, message: str, **fields: object) -> None:
        self.write("error", message, fields)

    def write(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        self._append(encode_line(time.time(), level, message, fields))

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # the disk is full, or the directory gone
            self._open()
            size = os.fstat(self._file).st_size
            if size > FILE_SIZE:
                self._rotate()
                size = os.fstat(self._file).st_size
            # A torn line (full disk, killed process) must not damage this one.
            torn = size and os.pread(self._file, 1, size - 1) != b"\n"
            os.write(self._file, b"\n" + line if torn else line)

    def _open(self) -> None:
        if self._file >= 0:
            return
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o600)
        older = [numbered(self._path, number) for number in rotated(self._path)]
        # Printed output belongs into this file from now on, too.
        for standard in (1, 2):
            with contextlib.suppress(OSError):
                if any(is_at(standard, each) for each in older):
                    os.dup2(self._file, standard)

    def _rotate(self) -> None:
        """Begin the next file. If two lives of one process come here, the first one does it: both
        have the same file open, and so its lock; the other one finds that its file is no longer
        current."""
        old, self._file = self._file, -1
        try:
            fcntl.flock(old, fcntl.LOCK_EX)
            if is_at(old, self._path):
                numbers = sorted(rotated(self._path))
                self._path.rename(numbered(self._path, numbers[-1] + 1 if numbers else 1))
                for number in numbers[: max(0, len(numbers) + 1 - KEPT_FILES)]:
                    numbered(self._path, number).unlink(missing_ok=True)
            self._open()
        finally:
            os.close(old)  # releases the lock, too


@contextlib.contextmanager
def logging_to(journal: Journal) -> Iterator[None]:
    """While in this context, the engine and the libraries log only to the journal: handlers
    inherited through a fork would write everything again, without fields and without end."""
    root, handler = logging.getLogger(), JournalHandler(journal)
    before, root.handlers = root.handlers, [handler]
    logging.getLogger("dth").setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers = before
        handler.flush()


class JournalHandler(logging.Handler):
    """Sends `logging` to a journal; `extra={"fields": {...}}` are the fields. In a storm, most
    lines are left out."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal
        self._second = 0
        self._lines = 0  # in that second
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        if int(record.created) != self._second:
            self._second, self._lines = int(record.created), 0
            self.flush()
        self._lines += 1
        if self._lines > LINES_A_SECOND:
            self._left_out += 1
            return
        self._journal.write(record.levelname.lower(), record.getMessage(), _fields(record))

    def flush(self) -> None:
        """Write how many lines were left out."""
        left_out, self._left_out = self._left_out, 0
        if left_out:
            self._journal.warning("lines left out", count=left_out)


class JsonFormatter(logging.Formatter):
    """Formats `logging` as the lines of a journal."""

    def format(self, record: logging.LogRecord) -> str:
        level, fields = record.levelname.lower(), {"logger": record.name, **_fields(record)}
        return encode_line(record.created, level, record.getMessage(), fields).decode().rstrip()


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = dict(getattr(record, "fields", {}))
    if record.exc_info:
        fields["error"] = logging.Formatter().formatException(record.exc_info)
    return fields


def encode_line(at: float, level: str, message: str, fields: Mapping[str, object]) -> bytes:
    """One line, whatever its content: JSON in ASCII has neither line breaks nor control
    characters."""
    named = {f"{name}_" if name in OWN else name: value for name, value in fields.items()}
    for room in (LINE_SIZE, 1000, 100):  # characters; each takes up to 12 bytes
        cut = {name[:room]: _cut(value, room) for name, value in named.items()}
        entry = {"at": round(at, 3), "level": level, "message": message[:room], **cut}
        line = json.dumps(entry, default=str, skipkeys=True) + "\n"
        if len(line) <= LINE_SIZE:
            return line.replace("\x7f", "\\u007f").encode("ascii")
    return encode_line(at, level, message[:100], {})


def _cut(value: object, room: int) -> object:
    return value if isinstance(value, int | float | None) else str(value)[:room]


def rotated(path: Path) -> list[int]:
    """The numbers of the older files of a log, in no order."""
    endings = (each.name.removeprefix(f"{path.name}.") for each in path.parent.iterdir())
    return [int(ending) for ending in endings if NUMBER.fullmatch(ending)]


def numbered(path: Path, number: int) -> Path:
    """The path of an older file of the log."""
    return path.with_name(f"{path.name}.{number}")


def last_words(path: Path) -> str:
    """The last line that the last life of a process printed rather than logged; "" if there is
    none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            lines = file.read().splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        entry = parse_line(line)
        if entry is None and line.strip():
            return to_line(line.decode("utf-8", "backslashreplace").strip())
        if entry and entry["message"] == BEGINNING:
            break
    return ""


def parse_line(line: bytes) -> dict[str, object] | None:
    """A line of a journal as it was written: `at`, `level`, `message` and its fields. None for any
    other text."""
    if not line.startswith(b'{"at"'):
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    at, level, message = entry.get("at"), entry.get("level"), entry.get("message")
    known = isinstance(level, str) and isinstance(message, str)
    return entry if known and isinstance(at, int | float) and 0 <= at < 1e11 else None
