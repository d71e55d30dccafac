"""Two S3 stores of our own: processes on this machine that hold their objects in memory.

They end with the block that started them, however it is left, and with this process, however that
ends.
"""

import contextlib
import ctypes
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from dth.core.errors import HubError, UsageError

START_LIMIT = 60.0  # seconds a store may take to answer
STOP_LIMIT = 5.0  # seconds it may take to end before it is killed
PR_SET_PDEATHSIG = 1  # prctl(2)

_libc = ctypes.CDLL(None)


def check_installed() -> None:
    """Say in one line what to install where the servers are missing."""
    if any(importlib.util.find_spec(name) is None for name in ("ministack", "hypercorn")):
        raise UsageError(
            "the demo needs its two test servers: pip install 'data-transfer-hub[demo]'"
        )


@contextlib.contextmanager
def two_stores(folder: Path) -> Iterator[tuple[str, str]]:
    """The URLs of two independent stores that answer. `folder` takes their logs and temporary
    files."""
    with contextlib.ExitStack() as stack:
        stores = [stack.enter_context(_store(folder / name)) for name in ("source", "destination")]
        urls = [_wait(*store) for store in stores]
        yield urls[0], urls[1]


@contextlib.contextmanager
def _store(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    """One store starting: its URL, its process, its log."""
    folder.mkdir()
    log = folder / "log"
    # The socket listens from here on and is handed over: no other process can take the port in
    # between.
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener, log.open("wb") as output:
        port = listener.getsockname()[1]
        command = [
            *(sys.executable, "-m", "hypercorn", "dth.demo.store:app"),
            *("--bind", f"fd://{listener.fileno()}", "--workers", "0"),
            *("--keep-alive", "75", "--graceful-timeout", "0", "--log-level", "WARNING"),
        ]
        settings = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "LOG_LEVEL": "WARNING",
            "S3_DATA_DIR": str(folder / "s3"),
            "TMPDIR": str(folder),
        }
        process = subprocess.Popen(
            command,
            env=os.environ | settings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
            process_group=0,  # Ctrl-C is for us to handle
            preexec_fn=end_with_parent(),
        )
    try:
        yield f"http://127.0.0.1:{port}", process, log
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_LIMIT
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while process.poll() is None and time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError),
            direct.open(f"{url}/_ministack/health", timeout=START_LIMIT),
        ):
            return url
        time.sleep(0.05)
    words = log.read_text("utf-8", "replace").strip().splitlines() or ["it did not answer"]
    raise HubError(f"a store of the demo did not start: {words[-1]}")


def end_with_parent() -> Callable[[], None]:
    """For `preexec_fn`: the child gets SIGTERM when this thread ends in any way."""
    parent = os.getpid()

    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)

    return prepare
