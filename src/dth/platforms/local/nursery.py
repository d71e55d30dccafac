"""Where the processes of a task come from: one small process that has everything imported, and forks.

Starting Python and importing the engine costs most of a second of CPU; a fork costs a hundredth. The nursery is itself
forked before the supervisor has threads or an event loop, and stays single-threaded, so that forking it is safe. Each
request is one datagram with the files that the child keeps: the state's lock and its log. When the supervisor dies in
any way its end of the socket closes, and the nursery kills every child and ends; when the nursery dies, the kernel
kills its children.
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
from typing import Self

from dth.errors import StateError

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
LOST = "the process that starts the others was killed; run the command again"
DATAGRAM = 65536  # bytes; a request is far smaller


class Child:
    """A process of the task. `returncode` is None while it runs, negative for a signal."""

    def __init__(self, nursery: "Nursery", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery
        self._ended = asyncio.Event()

    async def wait(self) -> None:
        await self._ended.wait()

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


class Nursery:
    """The supervisor's end. Make it before any thread and event loop; use it on one event loop."""

    def __init__(self, run: Callable[[Sequence[str]], int]) -> None:
        """`run(arguments)` is what a child does; it returns its exit code."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._socket.close()
            _serve(theirs, run)
        theirs.close()
        self._children: dict[int, Child] = {}
        self._asked: dict[int, asyncio.Future[Child]] = {}  # requests that are not answered yet
        self._numbers = itertools.count(1)
        self._heard = False
        self._gone = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends every child that still runs."""
        self._socket.close()
        os.waitpid(self.pid, 0)

    async def spawn(self, arguments: Sequence[str], files: tuple[int, int]) -> Child:
        """Start a process; `files` are the lock and the log."""
        loop = asyncio.get_running_loop()
        if not self._heard:
            self._heard = True
            self._socket.setblocking(False)
            loop.add_reader(self._socket, self._hear)
        number = next(self._numbers)
        asked: asyncio.Future[Child] = loop.create_future()
        self._asked[number] = asked
        try:
            if not self._gone:
                with contextlib.suppress(ConnectionError):  # it is heard of a moment later
                    request = json.dumps([number, list(arguments)]).encode()
                    socket.send_fds(self._socket, [request], list(files))
                    return await asked
        finally:
            self._asked.pop(number, None)
        raise StateError(LOST)

    def _hear(self) -> None:
        try:
            told = self._socket.recv(DATAGRAM)
        except OSError:
            told = b""
        if not told:
            self._lose()
            return
        number, pid, code = json.loads(told)
        if code is not None:
            self._children.pop(pid).end(code)
            return
        child = self._children[pid] = Child(self, pid)
        asked = self._asked.pop(number, None)
        if asked and not asked.done():
            asked.set_result(child)
        else:
            child.kill()  # whoever asked for it was cancelled meanwhile

    def _lose(self) -> None:
        """The nursery is gone, and with it every child."""
        self._gone = True
        asyncio.get_running_loop().remove_reader(self._socket)
        for child in self._children.values():
            child.end(-signal.SIGKILL)
        self._children.clear()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(StateError(LOST))


def _serve(theirs: socket.socket, run: Callable[[Sequence[str]], int]) -> None:
    """The nursery's life. Never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group: the supervisor decides
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
                pid = os.fork()
                if pid == 0:
                    _live(theirs, (woken, wake), files, run, arguments)
                children.add(pid)
                for file in files:
                    os.close(file)
                _tell(theirs, number, pid, None)
            else:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, DATAGRAM)
                _bury(theirs, children)


def _asked(theirs: socket.socket) -> tuple[bytes, list[int]]:
    """A request and the files that came with it; nothing when the supervisor is gone."""
    try:
        message, files, _flags, _address = socket.recv_fds(theirs, DATAGRAM, 4)
    except ConnectionError:  # it was killed before it had heard all that we told it
        return b"", []
    return message, files


def _bury(theirs: socket.socket, children: set[int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        children.discard(pid)
        _tell(theirs, 0, pid, os.waitstatus_to_exitcode(status))


def _tell(theirs: socket.socket, number: int, pid: int, code: int | None) -> None:
    """That request `number` has become the process `pid`, or (with a code) that the process has ended."""
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
    """A child's life. Never returns."""
    nursery = os.getppid()
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(PR_SET_NAME, f"dth-{arguments[2]}".encode())  # what ps shows
    if os.getppid() != nursery:
        os._exit(1)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    theirs.close()
    for end in pipe:
        os.close(end)
    _lock, log = files  # the lock is merely kept open
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 70
    try:
        code = run(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
