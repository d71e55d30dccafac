"""A store that makes objects up and drops what it is given (`sink.c`): near or far, fast or slow,
with a limit."""

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.servers.process import Process, answers, listening_socket
from tests.servers.s3 import S3Server

SOURCE = Path(__file__).with_name("sink.c")


@dataclass(frozen=True)
class Counts:
    """Requests, and bytes of objects that came (`in`) and went; `refused` are writes that were
    answered with 503. Times are on this machine's monotonic clock, and 0 where nothing was
    written."""

    reads: int
    puts: int
    parts: int
    lists: int
    others: int
    refused: int
    bytes_in: int
    bytes_out: int
    first_write: float
    last_write: float

    @property
    def requests(self) -> int:
        return self.reads + self.puts + self.parts + self.lists + self.others + self.refused


class Sink(S3Server):
    """`src` and `same` list the same made-up objects; every other bucket is empty. `delay` and
    `service` are seconds: each answer leaves so much later; each request keeps the store busy so
    long. `limit`: writes a second."""

    def __init__(
        self, count: int, size: int, *, delay: float = 0, service: float = 0, limit: float = 0
    ) -> None:
        with listening_socket() as listener:
            self._port = listener.getsockname()[1]
            self.process = Process(
                [
                    _program(), str(listener.fileno()), str(count), str(size), "--delay",
                    f"{delay * 1e6:.0f}",
                    "--service", f"{service * 1e6:.0f}", "--limit", str(limit),
                ],
                pass_fds=[listener.fileno()],
            )  # fmt: skip
        self.url = f"http://127.0.0.1:{self._port}"
        self.process.wait_until(lambda: answers(self._port))

    def counts(self) -> Counts:
        """What was asked for since the last call."""
        found = json.loads(self.request("GET", "/counts")[2])
        return Counts(
            found["get"], found["put"], found["part"], found["list"], found["other"],
            found["refused"],
            found["in"], found["out"], found["first_write"], found["last_write"],
        )  # fmt: skip

    def received(self, bucket: str) -> int:
        """Bytes that have come into a bucket."""
        status, _, text = self.request("GET", f"/{bucket}?received")
        assert status == 200
        return int(text)

    def close(self) -> None:
        self.process.stop()


@cache
def _program() -> str:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("the store of the benchmarks needs a C compiler: install gcc")
    program = Path(tempfile.mkdtemp(prefix="dth-sink-")) / "sink"
    subprocess.run([compiler, "-std=gnu11", "-O2", str(SOURCE), "-o", str(program)], check=True)
    return str(program)
