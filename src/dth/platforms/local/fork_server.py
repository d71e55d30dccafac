"""Where the processes of a task come from: one small process that has imported everything, and
forks.

Starting Python and importing the engine takes most of a second of CPU; a fork takes a hundredth.
The supervisor starts the fork server before it has threads or an event loop, and the fork server
stays single-threaded, so forking it is safe. Each request is one datagram with the files that the
child keeps: the lock of the state, and its log. When the supervisor dies for any reason, its end of
the socket closes, and the fork server kills every child and ends. When the fork server dies, the
kernel kills its children, and the supervisor ends with `LOST`.
"""

import asyncio
import contextlib
import ctypes
import itertools
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from dth.core import interrupts
from dth.core.errors import StateError

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
# Per second: the unit in which Linux counts CPU time.
TICKS = os.sysconf("SC_CLK_TCK")
LOST = (
    "the process that starts the others was killed (perhaps there is too little memory); run "
    "the same command again to resume"
)
DATAGRAM = 65536  # bytes; a request is far smaller


class Child:
    """A process of the task. `returncode` is None while it runs, and negative if a signal ended
    it."""

    def __init__(self, fork_server: "ForkServer", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._fork_server = fork_server
        self._ended = asyncio.Event()

    async def wait(self) -> None:
        await self._ended.wait()

    def cpu(self) -> float | None:
        """Seconds of CPU time used; None if the system does not report it."""
        try:
            # The name, in parentheses, may contain spaces.
            values = Path(f"/proc/{self.pid}/stat").read_text("latin-1").rpartition(")")[2].split()
        except OSError:
            return None
        user, system = values[11:13]
        return (int(user) + int(system)) / TICKS

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def end(self, code: int) -> None:
        self.returncode = code
        self._ended.set()

    def _signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class ForkServer:
    """The supervisor's end. Create it before any thread or event loop; use it on one event loop."""

    def __init__(self, run: Callable[[Sequence[str]], int]) -> None:
        """`run(arguments)` is the main function of a child; it returns the exit code."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        # The supervisor's reaction to a signal must not happen in the fork server as well.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, interrupts.SIGNALS)
        self.pid = os.fork()
        if self.pid == 0:
            self._socket.close()
            _serve(theirs, run)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._children: dict[int, Child] = {}
        self._asked: dict[int, asyncio.Future[Child]] = {}  # requests without an answer yet
        self._numbers = itertools.count(1)
        self._listening = False
        self._gone = asyncio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End every child that still runs."""
        self._socket.close()
        os.waitpid(self.pid, 0)

    @property
    def lives(self) -> bool:
        """False once the fork server's death was noticed."""
        return not self._gone.is_set()

    async def lost(self) -> None:
        """Return when the fork server has died."""
        self._listen()
        await self._gone.wait()

    async def spawn(self, arguments: Sequence[str], files: tuple[int, int]) -> Child:
        """Start a process; `files` are the lock and the log."""
        self._listen()
        number = next(self._numbers)
        asked: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        try:
            if self.lives:
                with contextlib.suppress(ConnectionError):  # noticed a moment later
                    request = json.dumps([number, list(arguments)]).encode()
                    socket.send_fds(self._socket, [request], list(files))
                    return await asked
        finally:
            self._asked.pop(number, None)
        raise StateError(LOST)

    def _listen(self) -> None:
        if not self._listening:
            self._listening = True
            self._socket.setblocking(False)
            asyncio.get_running_loop().add_reader(self._socket, self._hear)

    def _hear(self) -> None:
        try:
            told = self._socket.recv(DATAGRAM)
        except OSError:
            told = b""
        if not told:
            self._lose()
            return
        number, pid, code = json.loads(told)
        asked = self._asked.pop(number, None)
        if not pid:
            if asked and not asked.done():
                asked.set_exception(StateError(f"no process can be started: {os.strerror(code)}"))
            return
        if code is not None:
            self._children.pop(pid).end(code)
            return
        child = self._children[pid] = Child(self, pid)
        if asked and not asked.done():
            asked.set_result(child)
        else:
            child.kill()  # its caller was cancelled meanwhile

    def _lose(self) -> None:
        """The fork server is gone, and every child with it."""
        self._gone.set()
        asyncio.get_running_loop().remove_reader(self._socket)
        for child in self._children.values():
            child.end(-signal.SIGKILL)
        self._children.clear()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(StateError(LOST))


def _serve(theirs: socket.socket, run: Callable[[Sequence[str]], int]) -> None:
    """The main loop of the fork server. Never returns."""
    # Signals may go to the whole group; the supervisor decides what they mean. Children ignore
    # SIGINT, too. SIGTERM stays blocked here, so that one that arrives before a child is ready for
    # it is not lost.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(theirs, selectors.EVENT_READ)
    selector.register(woken, selectors.EVENT_READ)
    children: set[int] = set()
    while True:
        for key, _ in selector.select():
            if key.fileobj is theirs:
                message, files = _asked(theirs)
                if not message:
                    _end(children)
                number, arguments = json.loads(message)
                pid, reason = _fork()
                if pid == 0 and reason is None:
                    _live(theirs, (woken, wake), files, run, arguments)
                if pid:
                    children.add(pid)
                for file in files:
                    os.close(file)
                _tell(theirs, number, pid, reason)
            else:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, DATAGRAM)
                _bury(theirs, children)


def _asked(theirs: socket.socket) -> tuple[bytes, list[int]]:
    """A request and the files that came with it; empty when the supervisor is gone."""
    try:
        message, files, _flags, _address = socket.recv_fds(theirs, DATAGRAM, 4)
    except ConnectionError:
        # It was killed before it had read all answers.
        return b"", []
    return message, files


def _fork() -> tuple[int, int | None]:
    """The child's id (0 in the child), or 0 and the error number."""
    try:
        return os.fork(), None
    except OSError as error:
        return 0, error.errno


def _bury(theirs: socket.socket, children: set[int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        children.discard(pid)
        _tell(theirs, 0, pid, os.waitstatus_to_exitcode(status))


def _tell(theirs: socket.socket, number: int, pid: int, code: int | None) -> None:
    """Report that request `number` became the process `pid`, or (with a code) that the process has
    ended. Without a pid: that it could not be started, with `code` as the error number."""
    with contextlib.suppress(OSError):
        theirs.send(json.dumps([number, pid, code]).encode())


def _end(children: set[int]) -> None:
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)
    os._exit(0)


def _live(
    theirs: socket.socket,
    pipe: tuple[int, int],
    files: Sequence[int],
    run: Callable[[Sequence[str]], int],
    arguments: Sequence[str],
) -> None:
    """The life of a child. Never returns."""
    fork_server = os.getppid()
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(PR_SET_NAME, f"dth-{arguments[2]}".encode())  # shown by ps
    if os.getppid() != fork_server:
        os._exit(1)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupts.SIGNALS)
    theirs.close()
    for end in pipe:
        os.close(end)
    _lock, log = files  # the lock is only kept open
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 70
    try:
        code = run(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
