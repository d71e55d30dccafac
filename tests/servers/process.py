"""Child processes that never outlive the tests, and ports that no two of them fight over."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

REPOSITORY = Path(__file__).resolve().parents[2]


def listening_socket() -> socket.socket:
    """A socket that listens on a free port. A child that inherits it cannot lose the port to a
    neighbour."""
    return socket.create_server(("127.0.0.1", 0), backlog=1024)


def _die_with_parent(parent: int) -> Callable[[], None]:
    def prepare() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        # The parent may have died before the line above.
        if os.getppid() != parent:
            os._exit(1)

    return prepare


class Process:
    """A server process, with what it printed kept for the error message when it does not come up.

    Start it from a thread that lasts: to Linux, a child's parent is the *thread* that made it.
    """

    def __init__(
        self,
        args: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.args = args
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (closed in stop)
        self._popen = subprocess.Popen(
            args,
            env={**os.environ, **(env or {})},
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            pass_fds=tuple(pass_fds),
            # Interrupting the tests from the keyboard is for them to handle, not for their servers.
            process_group=0,
            preexec_fn=_die_with_parent(os.getpid()),
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def output(self) -> str:
        """What the process has printed so far."""
        if self._output.closed:
            return ""
        return os.pread(self._output.fileno(), 1 << 20, 0).decode(errors="replace")

    def wait_until(self, ready: Callable[[], bool], seconds: float = 30.0) -> None:
        """Return when `ready()` holds; end the process and raise if it exits before, or takes too
        long."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.alive or time.monotonic() > deadline:
                output = self.output()
                self.stop()
                raise RuntimeError(f"{self.args[0]} did not start:\n{output}")
            time.sleep(0.02)

    def wait_for_line(self, pattern: str, seconds: float = 30.0) -> re.Match[str]:
        """Return the first match of `pattern` in what the process prints."""
        self.wait_until(lambda: re.search(pattern, self.output()) is not None, seconds)
        match = re.search(pattern, self.output())
        assert match is not None
        return match

    def stop(self, *, kill: bool = False, seconds: float = 5.0) -> None:
        """End the process: ask first, insist later."""
        if self.alive:
            self._popen.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            try:
                self._popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        self._output.close()


class Server:
    """What all servers share: an address, and an end."""

    url: str

    def close(self) -> None:
        """Stop serving. Closing twice is fine."""
        raise NotImplementedError

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def answers(port: int) -> bool:
    """Whether something on 127.0.0.1 accepts connections on the port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
