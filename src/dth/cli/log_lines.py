"""The lines that the processes of a run write to their logs while it runs: `-vv` and
`--log-file`."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

from dth.core.errors import NotFound, UsageError
from dth.platforms.local.logs import LocalLogs

PAGE = 1000  # lines read at once
BEGINNING = "f/1.0"


class LogLines:
    """Follows the logs in a state directory from now on, and writes their lines to a file and to
    standard error."""

    def __init__(self, state: Path, file: Path | None, *, on_stderr: bool) -> None:
        self._logs = LocalLogs(lambda _: state)
        # By process: where its next lines begin.
        self._next: dict[str, str] = {}
        self._places: list[IO[str]] = [sys.stderr] if on_stderr else []
        self._file = file
        self._stack = contextlib.ExitStack()

    async def __aenter__(self) -> Self:
        if self._file:
            self._places.append(self._stack.enter_context(open_log(self._file)))
        for stream in await self._logs.streams(""):
            with contextlib.suppress(NotFound):
                # What an earlier command left is not of this run.
                self._next[stream.name] = (await self._logs.events("", stream.name, 1)).forward
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.write()
        finally:
            self._stack.close()

    async def write(self) -> None:
        """Write what has come since the last time, in the order of time."""
        found: list[tuple[float, str, str]] = []
        for stream in await self._logs.streams(""):
            with contextlib.suppress(NotFound):
                while True:
                    token = self._next.get(stream.name, BEGINNING)
                    page = await self._logs.events("", stream.name, PAGE, token)
                    self._next[stream.name] = page.forward
                    found += [(event.at, stream.name, event.message) for event in page.events]
                    if len(page.events) < PAGE:
                        break
        for line in _lines(found):
            for place in self._places:
                place.write(line)
        for place in self._places:
            place.flush()


def open_log(path: Path) -> IO[str]:
    """The file, to append to. Raises UsageError."""
    try:
        return path.open("a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"--log-file {path}: {error.strerror}") from None


def _lines(found: list[tuple[float, str, str]]) -> Iterator[str]:
    for at, name, message in sorted(found, key=lambda line: line[0]):
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
        yield f"{moment}.{int(at * 1000) % 1000:03}Z {name}: {message}\n"
