"""HTTP requests with libcurl on an asyncio event loop.

One epoll descriptor watches all sockets of libcurl, and only that descriptor is registered with the
event loop. So one wake-up serves all ready sockets, and finished requests are collected together.
This costs a fraction of registering each socket with asyncio (measured in bench/). libcurl does
HTTP, TLS, pooling, proxies and DNS.
"""

import asyncio
import contextlib
import math
import re
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from typing import Any, Self
from urllib.parse import urlsplit

import pycurl

from dth.core import confinement, native
from dth.core.errors import ConnectionFailed, ObjectChanged, TransferError, Transient, Unreachable
from dth.core.native import Native, limit_receiving
from dth.core.network import Network, environment_names_proxy

# Bytes libcurl reads from a socket at once.
BUFFER = 256 * 1024
UPLOAD_BUFFER = 256 * 1024  # bytes libcurl sends at once
MAX_IDLE_CONNECTIONS = 1024
ERROR_BODY_LIMIT = 1024 * 1024  # bytes of an error's body
# How many parsed header lines are cached, and the bytes of the longest of them.
LINES_KEPT, SHORT = 1024, 256
# The usual end of a head.
END = [b"\r\n"]
# Bytes of any other answer. A page of a thousand long keys has 4 MiB.
UNSIZED_LIMIT = 16 * 1024 * 1024


# RFC 9110, 14.4; some servers write "=" for the space, as in a request.
CONTENT_RANGE = re.compile(r"\s*bytes[ =]+(\d+)-(\d+)/(\d+|\*)\s*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class ConnectOptions:
    """How an endpoint is reached. Connections are reused by the identity of their options."""

    ca_bundle: str = ""  # PEM file; "" = libcurl's own
    proxy: str = ""  # URL; "" = from the environment
    connect_timeout: float = 10.0  # seconds
    # Seconds without a byte in either direction.
    stall_timeout: float = 60.0
    # Bytes that a connection receives before they are read; 0: the system decides.
    receive_buffer: int = 0
    # Monotonic time. Connections that were made earlier had another buffer, and are not used.
    since: float = 0.0

    def with_buffer(self, size: int, since: float = 0.0) -> "ConnectOptions":
        """These options with another receive buffer. Returns the same object if nothing changes,
        because connections are reused by its identity."""
        if (size, since) == (self.receive_buffer, self.since):
            return self
        return replace(self, receive_buffer=size, since=since)


@dataclass(slots=True)
class Response:
    """An answer. Header names are lower-case; values hold the raw bytes as latin-1."""

    status: int
    headers: dict[str, str]
    chunks: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        """The whole body."""
        return self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)


class Pipe:
    """A bounded buffer through which one request's answer becomes another request's body. So a part
    of any size passes with little memory: a full pipe pauses the reader, an empty one the
    writer."""

    def __init__(
        self,
        length: int,
        limit: int = 4 * 1024 * 1024,
        on_chunk: Callable[[bytes], None] | None = None,
    ):
        self._length = length
        self._limit = limit
        # Sees every chunk that passes (for checksums).
        self._on_chunk = on_chunk
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self.written = 0  # bytes that came from the source
        # The source has answered, and the first bytes are here.
        self.started = asyncio.Event()
        self.failed = False  # one side has given up
        self._full = self._hungry = False  # a side is paused
        self._resume_source: Callable[[], None] | None = None
        self._resume_sink: Callable[[], None] | None = None

    def __len__(self) -> int:
        """The total number of bytes that will pass."""
        return self._length

    def write(self, chunk: bytes) -> int | None:
        """Take a chunk from the source. Returns libcurl's code for a pause or a failure, None for
        success."""
        if self.failed:
            # Any count other than the chunk's makes libcurl abort the request.
            return -1
        if self._held >= self._limit:
            self._full = True
            return int(pycurl.WRITEFUNC_PAUSE)
        if self._on_chunk:
            self._on_chunk(chunk)
        self._chunks.append(chunk)
        self._held += len(chunk)
        self.written += len(chunk)
        self.started.set()
        # The pieces are small, and waking the other side for each costs more than sending it.
        enough = self._held >= min(UPLOAD_BUFFER, self._limit // 2) or self.written >= self._length
        if self._hungry and enough and self._resume_sink:
            self._hungry = False
            self._resume_sink()
        return None

    def read(self, size: int) -> bytes | int:
        """Up to `size` bytes for the sink, or libcurl's code for a pause or a failure."""
        if self.failed:
            return int(pycurl.READFUNC_ABORT)
        if not self._chunks:
            self._hungry = True
            return int(pycurl.READFUNC_PAUSE)
        data = self._take(size)
        self._held -= len(data)
        if self._full and self._held <= self._limit // 2 and self._resume_source:
            self._full = False
            self._resume_source()
        return data

    async def feed(self, chunk: bytes) -> bool:
        """As `write`, for a source that is not a request: waits while the pipe is full. False: the
        other side gave up."""
        room = asyncio.Event()
        self._resume_source = room.set
        while (code := self.write(chunk)) == pycurl.WRITEFUNC_PAUSE:
            await room.wait()
            room.clear()
        return code is None

    async def draw(self, size: int) -> bytes:
        """As `read`, for a sink that is not a request: waits while the pipe is empty. b"": the
        other side gave up."""
        more = asyncio.Event()
        self._resume_sink = more.set
        while isinstance(data := self.read(size), int):
            if self.failed:
                return b""
            await more.wait()
            more.clear()
        return data

    def _take(self, size: int) -> bytes:
        """As much as available, up to `size` bytes, because each read leads to a system call."""
        taken: list[bytes] = []
        while self._chunks and size > 0:
            chunk = self._chunks.popleft()
            if len(chunk) > size:
                self._chunks.appendleft(chunk[size:])
                chunk = chunk[:size]
            taken.append(chunk)
            size -= len(chunk)
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def seek(self, offset: int, origin: int) -> int:
        """Fails always: bytes that have passed are gone, so libcurl must not start again."""
        return int(pycurl.SEEKFUNC_FAIL)

    def fail(self) -> None:
        """One side failed. Wake the other side, so that it ends too."""
        self.failed = True
        self.started.set()
        for resume in (self._resume_source, self._resume_sink):
            if resume:
                resume()


class Valve:
    """Lets a body's bytes pass as they are granted. A dry valve pauses the request until `grant`.
    An infinite grant costs nothing, and can be revoked later with `shut`."""

    def __init__(self) -> None:
        # Bytes granted that have not passed; below 0: bytes that passed in advance.
        self.left = 0.0
        self.dry = asyncio.Event()  # somebody waits for a grant
        self.resume: Callable[[], None] | None = None
        # Makes a request that was sent without a limit ask the valve.
        self.meter: Callable[[], None] | None = None
        # Sets the receive buffer of the connection.
        self.widen_to: Callable[[int], None] | None = None

    def shut(self, buffer: int) -> None:
        """Revoke what was granted. `buffer`: bytes that the connection may receive before they are
        granted."""
        self.left = min(self.left, 0.0)
        if self.meter:
            self.meter()
        self.widen(buffer)

    def widen(self, buffer: int) -> None:
        """Let the connection receive this many bytes before they are granted; 0: as many as the
        system permits."""
        if self.widen_to:
            self.widen_to(buffer)

    def grant(self, amount: float) -> None:
        """Let `amount` more bytes pass."""
        self.left += amount
        if self.resume:
            self.resume()

    def close(self) -> None:
        """The body has passed. Drop the callbacks: they refer to the body and would keep it in
        memory."""
        self.resume = self.meter = self.widen_to = None

    def open(self) -> bool:
        """Whether bytes may pass now. If not, asks for a grant by setting `dry`."""
        if self.left <= 0:
            self.dry.set()
        return self.left > 0

    def pass_(self, amount: int) -> None:
        """Count bytes that have passed."""
        self.left -= amount

    async def let(self, amount: int) -> None:
        """Let bytes pass that belong to no request: waits for the grant."""
        granted = asyncio.Event()
        self.resume = granted.set
        while not self.open():
            await granted.wait()
            granted.clear()
        self.pass_(amount)


Body = bytes | Sequence[bytes] | Pipe
Write = Callable[[bytes], int | None]
Read = Callable[[int], bytes | int]


class Pieces:
    """A body in pieces for libcurl to read. A read returns as much as libcurl takes at once,
    because pieces may have only 16 KiB and each read leads to a system call. Reading can restart
    from the beginning."""

    __slots__ = ("_at", "_chunks", "_largest", "_next")

    def __init__(self, chunks: Sequence[bytes]) -> None:
        # An empty piece would be read as the end.
        self._chunks = list(filter(None, chunks))
        self._largest = max(map(len, chunks), default=0)
        self._next = 0  # index of the current piece
        self._at = 0  # byte within it

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; b"" at the end."""
        first = self._next
        if first >= len(self._chunks):
            return b""
        if self._largest <= size and not self._at:
            self._next += size // self._largest
            return b"".join(self._chunks[first : self._next])
        piece = memoryview(self._chunks[first])[self._at : self._at + size]
        self._at += len(piece)
        if self._at == len(self._chunks[first]):
            self._next, self._at = first + 1, 0
        return bytes(piece)

    def seek(self, offset: int, origin: int) -> int:
        """Restart from the beginning, the only position that is supported."""
        if offset or origin:
            return int(pycurl.SEEKFUNC_FAIL)
        self._next = self._at = 0
        return int(pycurl.SEEKFUNC_OK)


_NOTHING = Pieces(())


class Transport:
    """All HTTP of one process. Use it from one event loop. Close it there, or use it as a context
    manager."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._native: Native | None = None
        if native.available():
            self._native = Native(self._loop, pycurl.version)
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, MAX_IDLE_CONNECTIONS)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._epoll = select.epoll()
        # The events that libcurl waits for now, by socket.
        self._wanted: dict[int, int] = {}
        self._loop.add_reader(self._epoll.fileno(), self._on_ready)
        # By options, kind and method.
        self._idle: dict[tuple[ConnectOptions, str, str], list[pycurl.Curl]] = {}
        self._waiting: dict[pycurl.Curl, asyncio.Future[int]] = {}
        # The loop time when libcurl wants to be called; 0: never.
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._kicked = False
        self._closed = False
        self._bytes_in = 0
        self.bytes_out = 0
        self.requests = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body = b"",
        *,
        options: ConnectOptions,
        sink: Pipe | None = None,
        limit: int = 0,
        stall_timeout: float = 0.0,
        valve: Valve | None = None,
    ) -> Coroutine[Any, Any, Response]:
        """Send one request and read its answer.

        `limit`: acceptable bytes of the body (0: the size of an error or a listing). `sink`
        receives the body of a 2xx answer instead of memory. `valve` paces the body in either
        direction. Raises `ConnectionFailed` or `Transient`, or `ObjectChanged` for a body that
        exceeds `limit`. Any HTTP status is an answer, not an error.
        """
        send = self._send_native if self._native else self._send_by_libcurl
        return send(method, url, headers, body, options, sink, limit, stall_timeout, valve)

    async def _send_by_libcurl(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body,
        options: ConnectOptions,
        sink: Pipe | None,
        limit: int,
        stall_timeout: float,
        valve: Valve | None,
    ) -> Response:
        if valve and isinstance(body, bytes) and body:
            # A body that is handed over as a whole cannot be paused.
            body = [body]
        self._check_proxied(url, options)
        kind = _kind(method, body)
        pool = self._idle.setdefault((options, kind, method), [])
        curl = pool.pop() if pool else self._new_handle(kind, method, options)
        _refuse_older(curl, options)
        lines, chunks = curl.lines, curl.chunks
        curl.setopt(pycurl.URL, url)
        _set_headers(curl, headers)
        size, read = _attach_body(curl, kind, body)
        write: Write = chunks.append
        if sink is not None:
            write = _pouring(sink, lines, chunks)
            curl.setopt(pycurl.WRITEFUNCTION, write)
        if valve:
            self._attach(curl, valve, write, read)
        _limit_answer(curl, kind, _most(limit))
        if stall_timeout:
            curl.setopt(pycurl.LOW_SPEED_TIME, max(1, int(stall_timeout)))
        if sink is not None:
            sink._resume_source = lambda: self._unpause(curl)
        if isinstance(body, Pipe):
            body._resume_sink = lambda: self._unpause(curl)
        future: asyncio.Future[int] = self._loop.create_future()
        self._waiting[curl] = future
        self._multi.add_handle(curl)
        try:
            error = await future
        except asyncio.CancelledError:
            # If it is not there, it has just finished.
            if self._waiting.pop(curl, None):
                self._multi.remove_handle(curl)
            # Its connection is in the middle of a request.
            curl.close()
            raise
        self.requests += 1
        self.bytes_out += size
        half = lines[-1:] != END and _is_half(lines)
        if error or half:
            failure = _failure(curl, error, url, sized=limit > 0)
            curl.close()
            raise failure
        status = curl.getinfo(pycurl.RESPONSE_CODE)
        self._bytes_in += (
            int(curl.getinfo(pycurl.SIZE_DOWNLOAD_T)) if sink is not None else sum(map(len, chunks))
        )
        if stall_timeout:
            curl.setopt(pycurl.LOW_SPEED_TIME, max(1, int(options.stall_timeout)))
        if sink is not None or valve:
            curl.setopt(pycurl.WRITEFUNCTION, chunks.append)
        response = Response(status, parse_headers(lines), chunks.copy())
        _let_go(curl, kind)
        pool.append(curl)
        return response

    async def _send_native(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body,
        options: ConnectOptions,
        sink: Pipe | None,
        limit: int,
        stall_timeout: float,
        valve: Valve | None,
    ) -> Response:
        assert self._native
        whole = (body,) if isinstance(body, bytes) else body
        size = len(whole) if isinstance(whole, Pipe) else sum(map(len, whole))
        try:
            answer = await self._native.send(
                method,
                url,
                headers,
                whole,
                size,
                options=options,
                sink=sink,
                limit=limit,
                most=_most(limit),
                patience=max(1, int(stall_timeout or options.stall_timeout)),
                valve=valve,
            )
        except TransferError:
            self.requests += 1
            self.bytes_out += size
            raise
        if answer is None:
            return await self._send_by_libcurl(
                method, url, headers, body, options, sink, limit, stall_timeout, valve
            )
        self.requests += 1
        self.bytes_out += size
        return Response(*answer)

    @cached_property
    def _proxied(self) -> bool:
        """Whether the environment names a proxy, when the first request is sent."""
        return environment_names_proxy()

    def _new_handle(self, kind: str, method: str, options: ConnectOptions) -> pycurl.Curl:
        curl = _new_handle(kind, method, options)
        if not self._proxied and not options.proxy:
            # Otherwise libcurl searches the environment for each request.
            curl.setopt(pycurl.PROXY, "")
        return curl

    def _check_proxied(self, url: str, options: ConnectOptions) -> None:
        if self._proxied or options.proxy:
            check_url(url)

    def forget(self, options: ConnectOptions) -> None:
        """Close the connections with these options. They will not be used again."""
        if self._native:
            self._native.forget(options)
        for key in [key for key in self._idle if key[0] is options]:
            for curl in self._idle.pop(key):
                curl.close()

    def count(self, *, received: int = 0, sent: int = 0) -> None:
        """Count what was transferred without a connection: bytes read from or written to a
        folder."""
        self.requests += 1
        self._bytes_in += received
        self.bytes_out += sent

    @property
    def bytes_in(self) -> int:
        """The bytes of received bodies."""
        return self._bytes_in + (self._native.bytes_in if self._native else 0)

    @property
    def bytes_under_way(self) -> int:
        """The bytes of bodies that have passed in unfinished requests, in both directions."""
        directions = (pycurl.SIZE_DOWNLOAD_T, pycurl.SIZE_UPLOAD_T)
        here = self._native.bytes_under_way if self._native else 0
        return here + sum(
            int(curl.getinfo(direction)) for curl in self._waiting for direction in directions
        )

    def close(self) -> None:
        """Close all connections. Requests that wait for an answer are cancelled."""
        self._closed = True
        if self._native:
            self._native.close()
        self._loop.remove_reader(self._epoll.fileno())
        if self._timer:
            self._timer.cancel()
        for curl, future in self._waiting.items():
            self._multi.remove_handle(curl)
            future.cancel()
        self._waiting.clear()
        for pool in self._idle.values():
            for curl in pool:
                curl.close()
        self._multi.close()
        self._epoll.close()

    # -------------------------------------------------------------------------- libcurl's callbacks

    def _on_socket(self, what: int, fd: int, multi: Any, data: Any) -> None:
        if what == pycurl.POLL_REMOVE:
            # Keep it registered: the next request on this connection uses it again. This saves half
            # of the system calls.
            self._wanted.pop(fd, None)
            return
        events = select.EPOLLIN if what & pycurl.POLL_IN else 0
        if what & pycurl.POLL_OUT:
            events |= select.EPOLLOUT
        self._wanted[fd] = events
        try:
            self._epoll.modify(fd, events)
        except FileNotFoundError:
            # The socket is new, or was closed (which removed it) and opened again.
            self._epoll.register(fd, events)

    def _on_timer(self, milliseconds: int) -> None:
        if milliseconds < 0:
            self._deadline = 0.0
        elif milliseconds == 0:
            self._kick()
        else:
            self._deadline = self._loop.time() + milliseconds / 1000
            if self._timer is None or self._timer.when() > self._deadline:
                self._arm()

    def _arm(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._on_deadline)

    def _on_deadline(self) -> None:
        self._timer = None
        if not self._deadline:
            return
        # The deadline was moved back in the meantime.
        if self._deadline > self._loop.time() + 0.001:
            self._arm()
        else:
            self._deadline = 0.0
            self._act()

    def _kick(self) -> None:
        """Call libcurl once in this turn of the loop, however many requests were added."""
        if not self._kicked:
            self._kicked = True
            self._loop.call_soon(self._act)

    def _act(self) -> None:
        self._kicked = False
        if not self._closed:
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._reap()

    def _on_ready(self) -> None:
        act = self._multi.socket_action
        for fd, events in self._epoll.poll(0, 1024):
            # An idle connection: the other side closed it, or sends something unexpected.
            if fd not in self._wanted:
                with contextlib.suppress(OSError):
                    self._epoll.unregister(fd)
                continue
            if events == select.EPOLLIN:
                # The usual case.
                act(fd, pycurl.CSELECT_IN)
                continue
            mask = 0
            if events & (select.EPOLLIN | select.EPOLLHUP):
                mask |= pycurl.CSELECT_IN
            if events & select.EPOLLOUT:
                mask |= pycurl.CSELECT_OUT
            if events & select.EPOLLERR:
                mask |= pycurl.CSELECT_ERR
            act(fd, mask)
        self._reap()

    def _reap(self) -> None:
        while True:
            left, succeeded, failed = self._multi.info_read(256)
            for curl in succeeded:
                self._finish(curl, 0)
            for curl, code, _message in failed:
                self._finish(curl, code)
            if not left:
                return

    def _finish(self, curl: pycurl.Curl, code: int) -> None:
        self._multi.remove_handle(curl)
        future = self._waiting.pop(curl, None)
        if future and not future.done():
            future.set_result(code)

    def _attach(self, curl: pycurl.Curl, valve: Valve, write: Write, read: Read | None) -> None:
        """Let the valve decide when the body's bytes pass: from the first byte, or from the time
        when it is shut."""

        def meter() -> None:
            valve.meter = None
            if read:
                curl.setopt(pycurl.READFUNCTION, _metered_read(valve, read))
            else:
                curl.setopt(pycurl.WRITEFUNCTION, _metered(valve, write))

        def widen(buffer: int) -> None:
            fd = curl.getinfo(pycurl.ACTIVESOCKET)
            if fd >= 0 and not read:
                limit_receiving(buffer, fd)

        valve.resume = lambda: self._unpause(curl)
        valve.meter, valve.widen_to = meter, widen
        if valve.left != math.inf:
            meter()

    def _unpause(self, curl: pycurl.Curl) -> None:
        # libcurl must not be called from its own callbacks, so this waits for the next turn of the
        # loop.
        self._loop.call_soon(self._continue, curl)

    def _continue(self, curl: pycurl.Curl) -> None:
        if curl in self._waiting:
            # An error means that the request has ended and will be collected.
            with contextlib.suppress(pycurl.error):
                curl.pause(pycurl.PAUSE_CONT)
            self._kick()


def _most(limit: int) -> int:
    """The maximum bytes that an answer's body may have."""
    return max(limit, ERROR_BODY_LIMIT) if limit else UNSIZED_LIMIT


def _kind(method: str, body: Body) -> str:
    """The kind of a handle. Handles are reused only within a kind, so no option of another kind is
    left over."""
    if isinstance(body, bytes):
        if body or method in ("PUT", "POST"):
            return "post"
        return method
    return "upload"


def _new_handle(kind: str, method: str, options: ConnectOptions) -> pycurl.Curl:
    """A handle with everything that its requests use in the same way: the lines of an answer's
    head, the pieces of its body, and its maximum size."""
    curl = pycurl.Curl()
    curl.lines, curl.chunks, curl.most = [], [], 0
    curl.setopt(pycurl.HEADERFUNCTION, curl.lines.append)
    curl.setopt(pycurl.WRITEFUNCTION, curl.chunks.append)
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    curl.setopt(pycurl.TCP_NODELAY, 1)
    curl.setopt(pycurl.TCP_KEEPALIVE, 1)
    curl.setopt(pycurl.PATH_AS_IS, 1)
    curl.setopt(pycurl.BUFFERSIZE, BUFFER)
    curl.setopt(pycurl.UPLOAD_BUFFERSIZE, UPLOAD_BUFFER)
    curl.setopt(pycurl.CONNECTTIMEOUT_MS, int(options.connect_timeout * 1000))
    curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
    curl.setopt(pycurl.LOW_SPEED_TIME, max(1, int(options.stall_timeout)))
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    if options.receive_buffer:
        curl.setopt(pycurl.BUFFERSIZE, min(BUFFER, options.receive_buffer // 2))
        curl.setopt(pycurl.SOCKOPTFUNCTION, partial(_limit_receiving, options.receive_buffer))
    if options.ca_bundle:
        curl.setopt(pycurl.CAINFO, options.ca_bundle)
    if options.proxy:
        curl.setopt(pycurl.PROXY, options.proxy)
    guard(curl)
    if kind == "HEAD":
        curl.setopt(pycurl.NOBODY, 1)
    elif kind == "post":
        curl.setopt(pycurl.POST, 1)
    elif kind == "upload":
        curl.setopt(pycurl.UPLOAD, 1)
    if kind not in ("HEAD", "GET"):
        curl.setopt(pycurl.CUSTOMREQUEST, method)
    return curl


class Guard:
    """Opens the sockets of one handle. Checks each address before libcurl connects to it."""

    __slots__ = ("_network", "refused")

    def __init__(self, network: Network) -> None:
        self._network = network
        # Why the last connection was refused.
        self.refused = ""

    def open(self, purpose: int, address: Any) -> socket.socket | int:
        """A socket for this address, or libcurl's code for a refusal."""
        family, kind, protocol, place = address
        inet = family in (socket.AF_INET, socket.AF_INET6)
        host = place[0] if inet else "a socket of this machine"
        why = self._network.refusal(host) if inet else "is not an address of a network"
        self.refused = f"{host} {why}" if why else ""
        return int(pycurl.SOCKET_BAD) if why else socket.socket(family, kind, protocol)


def guard(curl: pycurl.Curl) -> None:
    """Let the handle connect only where this process may."""
    if network := confinement.network():
        curl.guard = Guard(network)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, curl.guard.open)


def check_url(url: str) -> None:
    """Raise Unreachable for an IP address to which this process may not connect. A proxy must not
    connect there on its behalf. Where a name leads behind a proxy, only the proxy knows."""
    host = urlsplit(url).hostname or ""
    if (network := confinement.network()) and (why := network.refusal_of_host(host)):
        raise Unreachable(f"{host} {why}", code=ADDRESS_REFUSED)


def refused(curl: pycurl.Curl) -> str:
    """Why the handle was not allowed to connect; "" if it was."""
    found: Guard | None = getattr(curl, "guard", None)
    return found.refused if found else ""


def _refuse_older(curl: pycurl.Curl, options: ConnectOptions) -> None:
    """Do not let the request use a connection that was made before its options."""
    if options.since:
        curl.setopt(pycurl.MAXLIFETIME_CONN, max(1, int(time.monotonic() - options.since)))


def _limit_receiving(size: int, fd: int, purpose: int) -> int:
    limit_receiving(size, fd)
    return int(pycurl.SOCKOPT_OK)


def _set_headers(curl: pycurl.Curl, headers: Mapping[str, str]) -> None:
    # "name;" sends an empty header. "name:" keeps libcurl from adding its own.
    fields = [f"{name}: {value}" if value else f"{name};" for name, value in headers.items()]
    fields.append("expect:")
    if "content-type" not in headers:
        fields.append("content-type:")
    try:
        curl.setopt(pycurl.HTTPHEADER, fields)
    except UnicodeEncodeError:
        curl.setopt(pycurl.HTTPHEADER, [field.encode("latin-1") for field in fields])


def _limit_answer(curl: pycurl.Curl, kind: str, most: int) -> None:
    # The Content-Length of an answer to HEAD does not describe a body.
    if kind != "HEAD" and curl.most != most:
        curl.most = most
        curl.setopt(pycurl.MAXFILESIZE_LARGE, most)


def _attach_body(curl: pycurl.Curl, kind: str, body: Body) -> tuple[int, Read | None]:
    """Hand the body to libcurl. Returns its length in bytes, and its reader unless libcurl already
    has all of it."""
    if kind == "post":
        curl.setopt(pycurl.POSTFIELDS, body)
        return len(body), None
    if kind != "upload":
        return 0, None
    reader = body if isinstance(body, Pipe) else Pieces(body)  # type: ignore[arg-type]
    size = len(body) if isinstance(body, Pipe) else sum(map(len, body))  # type: ignore[arg-type]
    curl.setopt(pycurl.READFUNCTION, reader.read)
    curl.setopt(pycurl.SEEKFUNCTION, reader.seek)
    curl.setopt(pycurl.INFILESIZE_LARGE, size)
    return size, reader.read


def _let_go(curl: pycurl.Curl, kind: str) -> None:
    """Drop what the handle of a finished request refers to. A handle kept for reuse would keep the
    bodies in memory."""
    curl.lines.clear()
    curl.chunks.clear()
    if kind == "post":
        curl.setopt(pycurl.POSTFIELDS, b"")
    elif kind == "upload":
        curl.setopt(pycurl.READFUNCTION, _NOTHING.read)
        curl.setopt(pycurl.SEEKFUNCTION, _NOTHING.seek)


def _metered(valve: Valve, write: Write) -> Write:
    """A write callback that takes no more than the valve permits."""

    def metered(chunk: bytes) -> int | None:
        if not valve.open():
            return int(pycurl.WRITEFUNC_PAUSE)
        taken = write(chunk)
        if taken is None:
            valve.pass_(len(chunk))
        return taken

    return metered


def _metered_read(valve: Valve, read: Read) -> Read:
    """A read callback that returns no more than the valve permits."""

    def metered(size: int) -> bytes | int:
        if not valve.open():
            return int(pycurl.READFUNC_PAUSE)
        chunk = read(int(max(1, min(size, valve.left))))
        if isinstance(chunk, bytes):
            valve.pass_(len(chunk))
        return chunk

    return metered


def _pouring(sink: Pipe, lines: list[bytes], chunks: list[bytes]) -> Write:
    """Sends a good answer through the pipe, and collects the body of an error in `chunks`."""
    taken: Write | None = None

    def pour(chunk: bytes) -> int | None:
        nonlocal taken
        if taken is None:
            taken = sink.write if _status(lines) < 300 else chunks.append
        return taken(chunk)

    return pour


def _is_half(lines: list[bytes]) -> bool:
    """Whether the last head is incomplete. libcurl accepts half a head as a whole one."""
    for line in reversed(lines):
        if line[:1] in (b"\r", b"\n"):
            return False
        if line.startswith(b"HTTP/"):
            return True
    return True


def _status(lines: list[bytes]) -> int:
    status = 0
    for line in lines:
        if line.startswith(b"HTTP/"):
            status = int(line.split(None, 2)[1])
    return status


def parse_headers(lines: list[bytes]) -> dict[str, str]:
    """The headers of an answer, from the lines of its head. Repeated headers are joined to a list
    (RFC 9110, 5.2)."""
    headers: dict[str, str] = {}
    count = 0
    for line in lines:
        found = _field(line) if len(line) <= SHORT else _parse_field(line)
        if found:
            headers[found[0]] = found[1]
            count += 1
        elif line[:5] == b"HTTP/":
            # The previous head was an interim answer (100 Continue, or a proxy's 200).
            headers, count = {}, 0
    return headers if len(headers) == count else _with_lists(lines)


def _parse_field(line: bytes) -> tuple[str, str] | None:
    """The name and value of a header; None if the line is not one."""
    # The line may end without a carriage return.
    text = line.decode("latin-1").removesuffix("\n").removesuffix("\r")
    name, colon, value = text.partition(":")
    if not colon or name[:5] == "HTTP/":
        return None
    # 0xA0 and 0x85 are bytes of a value, not white space.
    return name.lower(), value.strip(" \t")


# Cached, because most lines of an answer are the same as in the answer before.
_field = lru_cache(LINES_KEPT)(_parse_field)


def is_range(content_range: str, first: int, last: int, size: int) -> bool:
    """Whether a Content-Range says that the body has the bytes from `first` to `last` of `size`
    bytes. A server may leave the size out, as `*`."""
    found = CONTENT_RANGE.fullmatch(content_range)
    return found is not None and (
        (int(found[1]), int(found[2])) == (first, last) and found[3] in ("*", str(size))
    )


def _with_lists(lines: list[bytes]) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for line in lines:
        if found := _parse_field(line):
            values.setdefault(found[0], []).append(found[1])
        elif line[:5] == b"HTTP/":
            values = {}
    return {name: ",".join(dict.fromkeys(each)) for name, each in values.items()}


# There may be an answer later.
NO_ANSWER = {
    pycurl.E_COULDNT_RESOLVE_HOST: "UnknownHost",
    pycurl.E_COULDNT_RESOLVE_PROXY: "UnknownProxy",
    pycurl.E_COULDNT_CONNECT: "ConnectionFailed",
    pycurl.E_SSL_CONNECT_ERROR: "ConnectionFailed",
    pycurl.E_SSL_CERTPROBLEM: "ConnectionFailed",
}
# Waiting does not help.
NEVER_AN_ANSWER = {
    pycurl.E_PEER_FAILED_VERIFICATION: "UntrustedCertificate",
    pycurl.E_SSL_CACERT_BADFILE: "BadCaFile",
}
# The error code of a connection that is not allowed.
ADDRESS_REFUSED = "AddressRefused"
# OpenSSL's messages if the first answer was not TLS.
NO_TLS = (
    "wrong version number",
    "packet length too long",
    "record layer failure",
    "unknown protocol",
)


def _words(curl: pycurl.Curl) -> str:
    """libcurl's message. It may repeat bytes of the answer."""
    return str(curl.errstr_raw().decode("utf-8", "backslashreplace"))


def _failure(curl: pycurl.Curl, error: int, url: str, *, sized: bool) -> TransferError:
    host = url.partition("//")[2].partition("/")[0] or url
    message = _words(curl) or (
        f"libcurl error {error}" if error else "the answer broke off in its head"
    )
    connected = curl.getinfo(pycurl.REQUEST_SIZE) > 0
    if not connected and (why := refused(curl)):
        return Unreachable(f"{host}: {why}", code=ADDRESS_REFUSED)
    # Do not change abbreviations such as TLS.
    if message[1:2].islower():
        message = message[:1].lower() + message[1:]
    text = f"{host}: {message}"
    if error == pycurl.E_FILESIZE_EXCEEDED and sized:
        return ObjectChanged(
            f"{host}: the answer is larger than the object was", code="SizeChanged"
        )
    if error in NEVER_AN_ANSWER:
        return Unreachable(text, code=NEVER_AN_ANSWER[error])
    if error == pycurl.E_SSL_CONNECT_ERROR and any(words in message for words in NO_TLS):
        return Unreachable(text, code="NoTls")
    if error in NO_ANSWER or (error == pycurl.E_OPERATION_TIMEDOUT and not connected):
        return ConnectionFailed(text, code=NO_ANSWER.get(error, "ConnectionFailed"))
    return Transient(
        text, code="TimeOut" if error == pycurl.E_OPERATION_TIMEDOUT else "ConnectionBroken"
    )
