"""HTTP requests over libcurl on an asyncio event loop.

libcurl's sockets are watched by one epoll descriptor, which alone is registered with the event loop: one wake-up
serves every ready socket, and finished requests are reaped together. That costs a fraction of registering each
socket with asyncio (measured in bench/). The HTTP itself, TLS, pooling, proxies and DNS are libcurl's.
"""

import asyncio
import contextlib
import math
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

import pycurl

from dth.core import confinement, native
from dth.core.errors import ConnectionFailed, ObjectChanged, TransferError, Transient, Unreachable
from dth.core.native import Native, limit_receiving
from dth.core.network import Network

BUFFER = 256 * 1024  # bytes libcurl reads from a socket at once
UPLOAD_BUFFER = 256 * 1024  # bytes libcurl sends at once
MAX_IDLE_CONNECTIONS = 1024
ERROR_BODY_LIMIT = 1024 * 1024  # bytes of an error's body
# Lines of heads whose meaning is kept, and the bytes of the longest of them.
LINES_KEPT, SHORT = 1024, 256
# How a head ends, nearly always.
END = [b"\r\n"]
UNSIZED_LIMIT = 16 * 1024 * 1024  # bytes of any other answer: a page of a thousand long keys is 4 MiB


@dataclass(frozen=True, slots=True, eq=False)
class ConnectOptions:
    """How an endpoint is reached. Connections are kept by the identity of their options."""

    ca_bundle: str = ""  # PEM file; "" = libcurl's own
    proxy: str = ""  # URL; "" = as the environment says
    connect_timeout: float = 10.0  # seconds
    stall_timeout: float = 60.0  # seconds without a byte in either direction
    receive_buffer: int = 0  # bytes a connection takes in unasked; 0: as the system thinks best
    since: float = (
        0.0  # monotonic time: connections that were made before had another buffer, and are not used
    )

    def with_buffer(self, size: int, since: float = 0.0) -> "ConnectOptions":
        """These options with another receive buffer. The same object where nothing changes: connections are kept by
        its identity."""
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
        return self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)


class Pipe:
    """A bounded buffer through which one request's answer becomes another's body, so that a part of any size crosses
    in little memory: a full pipe pauses the reader, an empty one the writer."""

    def __init__(
        self, length: int, limit: int = 4 * 1024 * 1024, on_chunk: Callable[[bytes], None] | None = None
    ):
        self._length = length
        self._limit = limit
        self._on_chunk = on_chunk  # sees every chunk in passing (checksums)
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self.written = 0  # bytes that came from the source
        self.started = asyncio.Event()  # the source answered and the first bytes are here
        self.failed = False  # one side has given up
        self._full = self._hungry = False  # a side is paused
        self._resume_source: Callable[[], None] | None = None
        self._resume_sink: Callable[[], None] | None = None

    def __len__(self) -> int:
        """Bytes that will cross in all."""
        return self._length

    def write(self, chunk: bytes) -> int | None:
        if self.failed:
            return -1  # any other count than the chunk's makes libcurl abort the request
        if self._held >= self._limit:
            self._full = True
            return int(pycurl.WRITEFUNC_PAUSE)
        if self._on_chunk:
            self._on_chunk(chunk)
        self._chunks.append(chunk)
        self._held += len(chunk)
        self.written += len(chunk)
        self.started.set()
        # The pieces are small: waking the other side for each costs more than sending it.
        enough = self._held >= min(UPLOAD_BUFFER, self._limit // 2) or self.written >= self._length
        if self._hungry and enough and self._resume_sink:
            self._hungry = False
            self._resume_sink()
        return None

    def read(self, size: int) -> bytes | int:
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

    def _take(self, size: int) -> bytes:
        """As much as there is, up to so many bytes: each read leads to a system call."""
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
        """What has passed is gone: libcurl may not start again."""
        return int(pycurl.SEEKFUNC_FAIL)

    def fail(self) -> None:
        """One side failed: wake the other so that it ends too."""
        self.failed = True
        self.started.set()
        for resume in (self._resume_source, self._resume_sink):
            if resume:
                resume()


class Valve:
    """Lets a body's bytes pass as they are granted: a dry one pauses the request until `grant`. One that was granted
    infinitely many costs nothing, and can be shut later."""

    def __init__(self) -> None:
        self.left = 0.0  # bytes granted and not passed; below 0: passed in advance
        self.dry = asyncio.Event()  # somebody waits for a grant
        self.resume: Callable[[], None] | None = None
        self.meter: Callable[[], None] | None = (
            None  # makes a request that was sent without limit ask the valve
        )
        self.widen_to: Callable[[int], None] | None = None  # sets the receive buffer of the connection

    def shut(self, buffer: int) -> None:
        """What was granted is void. `buffer`: bytes that the connection may receive unasked."""
        self.left = min(self.left, 0.0)
        if self.meter:
            self.meter()
        self.widen(buffer)

    def widen(self, buffer: int) -> None:
        """Let the connection receive so many bytes unasked; 0: as many as the system grants."""
        if self.widen_to:
            self.widen_to(buffer)

    def grant(self, amount: float) -> None:
        self.left += amount
        if self.resume:
            self.resume()

    def close(self) -> None:
        """The body has passed. What was attached here holds it: it would stay in memory with the valve."""
        self.resume = self.meter = self.widen_to = None

    def open(self) -> bool:
        if self.left <= 0:
            self.dry.set()
        return self.left > 0

    def pass_(self, amount: int) -> None:
        self.left -= amount


Body = bytes | Sequence[bytes] | Pipe
Write = Callable[[bytes], int | None]
Read = Callable[[int], bytes | int]


class Pieces:
    """A body in pieces as libcurl wants to read it: as much at once as it takes, because pieces come as small as 16 KiB
    and each read leads to a system call. Can start again from the beginning."""

    __slots__ = ("_at", "_chunks", "_largest", "_next")

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = list(filter(None, chunks))  # an empty piece would read as the end
        self._largest = max(map(len, chunks), default=0)
        self._next = 0  # piece
        self._at = 0  # byte of it

    def read(self, size: int) -> bytes:
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
        if offset or origin:
            return int(pycurl.SEEKFUNC_FAIL)
        self._next = self._at = 0
        return int(pycurl.SEEKFUNC_OK)


_NOTHING = Pieces(())


class Transport:
    """All HTTP of one process. Use from one event loop; `close` it there, or use it as a context."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._proxied = bool(getproxies_environment())
        self._native: Native | None = None
        if native.available():
            self._native = Native(self._loop, pycurl.version)
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, MAX_IDLE_CONNECTIONS)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._epoll = select.epoll()
        self._wanted: dict[int, int] = {}  # events that libcurl waits for now, by socket
        self._loop.add_reader(self._epoll.fileno(), self._on_ready)
        # By options, kind and method.
        self._idle: dict[tuple[ConnectOptions, str, str], list[pycurl.Curl]] = {}
        self._waiting: dict[pycurl.Curl, asyncio.Future[int]] = {}
        self._deadline = 0.0  # loop time at which libcurl wants to be called; 0 = never
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

        `limit`: bytes of body that are acceptable (0: what an error or a listing may be); `sink` takes the body of a
        2xx answer instead of memory; `valve` paces the body, whichever way it goes. Raises `ConnectionFailed` or
        `Transient`, or `ObjectChanged` for a body beyond `limit`; any HTTP status is an answer.
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
            body = [body]  # what is handed over whole cannot be paused
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
            if self._waiting.pop(curl, None):  # or else it has just finished
                self._multi.remove_handle(curl)
            curl.close()  # its connection is in the middle of something
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

    def _new_handle(self, kind: str, method: str, options: ConnectOptions) -> pycurl.Curl:
        curl = _new_handle(kind, method, options)
        if not self._proxied and not options.proxy:
            # Or else libcurl looks through the environment for each request.
            curl.setopt(pycurl.PROXY, "")
        return curl

    def _check_proxied(self, url: str, options: ConnectOptions) -> None:
        if self._proxied or options.proxy:
            check_url(url)

    def forget(self, options: ConnectOptions) -> None:
        """Nothing will be sent with these options any more."""
        if self._native:
            self._native.forget(options)
        for key in [key for key in self._idle if key[0] is options]:
            for curl in self._idle.pop(key):
                curl.close()

    @property
    def bytes_in(self) -> int:
        """Bytes of bodies that were received."""
        return self._bytes_in + (self._native.bytes_in if self._native else 0)

    @property
    def bytes_under_way(self) -> int:
        """Bytes of bodies that have passed in requests that have not ended yet, either way."""
        directions = (pycurl.SIZE_DOWNLOAD_T, pycurl.SIZE_UPLOAD_T)
        here = self._native.bytes_under_way if self._native else 0
        return here + sum(int(curl.getinfo(direction)) for curl in self._waiting for direction in directions)

    def close(self) -> None:
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

    # ------------------------------------------------------------------------------ libcurl's callbacks

    def _on_socket(self, what: int, fd: int, multi: Any, data: Any) -> None:
        if what == pycurl.POLL_REMOVE:
            # The next request on this connection will want it again: half of the system calls are saved so.
            self._wanted.pop(fd, None)
            return
        events = select.EPOLLIN if what & pycurl.POLL_IN else 0
        if what & pycurl.POLL_OUT:
            events |= select.EPOLLOUT
        self._wanted[fd] = events
        try:
            self._epoll.modify(fd, events)
        except FileNotFoundError:  # a new one; or closed, which took it out, and opened anew
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
        if self._deadline > self._loop.time() + 0.001:  # it was moved back meanwhile
            self._arm()
        else:
            self._deadline = 0.0
            self._act()

    def _kick(self) -> None:
        """Call libcurl once in this turn of the loop, however many requests were added in it."""
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
            if fd not in self._wanted:  # at rest; the other side closed it, or says what nobody asked for
                with contextlib.suppress(OSError):
                    self._epoll.unregister(fd)
                continue
            if events == select.EPOLLIN:
                # Nearly all of them.
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
        """Let the valve decide when the body's bytes pass: from the first one on, or from when it is shut."""

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
        # libcurl must not be entered from its own callbacks: in the next turn of the loop.
        self._loop.call_soon(self._continue, curl)

    def _continue(self, curl: pycurl.Curl) -> None:
        if curl in self._waiting:
            with contextlib.suppress(pycurl.error):  # the request has ended, and will be reaped
                curl.pause(pycurl.PAUSE_CONT)
            self._kick()


def _most(limit: int) -> int:
    """Bytes of body that an answer may have."""
    return max(limit, ERROR_BODY_LIMIT) if limit else UNSIZED_LIMIT


def _kind(method: str, body: Body) -> str:
    """Handles are kept by kind, so that a reused one has no option of another kind left over."""
    if isinstance(body, bytes):
        if body or method in ("PUT", "POST"):
            return "post"
        return method
    return "upload"


def _new_handle(kind: str, method: str, options: ConnectOptions) -> pycurl.Curl:
    """A handle that keeps what each of its requests needs in the same way: the lines of an answer's head, the pieces of
    its body, and the bytes that it may have."""
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
    """Opens the sockets of one handle, for each address that libcurl is about to connect to, if that may be."""

    __slots__ = ("_network", "refused")

    def __init__(self, network: Network) -> None:
        self._network = network
        # Why the last connection was not made.
        self.refused = ""

    def open(self, purpose: int, address: Any) -> socket.socket | int:
        family, kind, protocol, place = address
        inet = family in (socket.AF_INET, socket.AF_INET6)
        host = place[0] if inet else "a socket of this machine"
        why = self._network.refusal(host) if inet else "is no address of a network"
        self.refused = f"{host} {why}" if why else ""
        return int(pycurl.SOCKET_BAD) if why else socket.socket(family, kind, protocol)


def guard(curl: pycurl.Curl) -> None:
    """Let the handle connect only to where this process may."""
    if network := confinement.network():
        curl.guard = Guard(network)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, curl.guard.open)


def check_url(url: str) -> None:
    """Raise Unreachable for an address in numbers to which this process may not connect. A proxy must not do it for
    us; to where names lead for a proxy, it alone knows."""
    host = urlsplit(url).hostname or ""
    if (network := confinement.network()) and (why := network.refusal_of_host(host)):
        raise Unreachable(f"{host} {why}", code=ADDRESS_REFUSED)


def refused(curl: pycurl.Curl) -> str:
    """Why the handle could not connect, if it was not allowed to; else ""."""
    found: Guard | None = getattr(curl, "guard", None)
    return found.refused if found else ""


def _refuse_older(curl: pycurl.Curl, options: ConnectOptions) -> None:
    """Let the request use no connection that was made before its options were."""
    if options.since:
        curl.setopt(pycurl.MAXLIFETIME_CONN, max(1, int(time.monotonic() - options.since)))


def _limit_receiving(size: int, fd: int, purpose: int) -> int:
    limit_receiving(size, fd)
    return int(pycurl.SOCKOPT_OK)


def _set_headers(curl: pycurl.Curl, headers: Mapping[str, str]) -> None:
    # "name;" sends an empty header; "name:" keeps libcurl from adding one of its own.
    fields = [f"{name}: {value}" if value else f"{name};" for name, value in headers.items()]
    fields.append("expect:")
    if "content-type" not in headers:
        fields.append("content-type:")
    try:
        curl.setopt(pycurl.HTTPHEADER, fields)
    except UnicodeEncodeError:
        curl.setopt(pycurl.HTTPHEADER, [field.encode("latin-1") for field in fields])


def _limit_answer(curl: pycurl.Curl, kind: str, most: int) -> None:
    # The Content-Length of an answer to HEAD is no body.
    if kind != "HEAD" and curl.most != most:
        curl.most = most
        curl.setopt(pycurl.MAXFILESIZE_LARGE, most)


def _attach_body(curl: pycurl.Curl, kind: str, body: Body) -> tuple[int, Read | None]:
    """Hand the body to libcurl; returns its length in bytes, and what reads it unless libcurl has all of it."""
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
    """Drop what a finished request's handle still refers to: kept for reuse, it would keep the bodies in memory."""
    curl.lines.clear()
    curl.chunks.clear()
    if kind == "post":
        curl.setopt(pycurl.POSTFIELDS, b"")
    elif kind == "upload":
        curl.setopt(pycurl.READFUNCTION, _NOTHING.read)
        curl.setopt(pycurl.SEEKFUNCTION, _NOTHING.seek)


def _metered(valve: Valve, write: Write) -> Write:
    """A write callback that takes no more than the valve lets through."""

    def metered(chunk: bytes) -> int | None:
        if not valve.open():
            return int(pycurl.WRITEFUNC_PAUSE)
        taken = write(chunk)
        if taken is None:
            valve.pass_(len(chunk))
        return taken

    return metered


def _metered_read(valve: Valve, read: Read) -> Read:
    """A read callback that gives no more than the valve lets through."""

    def metered(size: int) -> bytes | int:
        if not valve.open():
            return int(pycurl.READFUNC_PAUSE)
        chunk = read(int(max(1, min(size, valve.left))))
        if isinstance(chunk, bytes):
            valve.pass_(len(chunk))
        return chunk

    return metered


def _pouring(sink: Pipe, lines: list[bytes], chunks: list[bytes]) -> Write:
    """A good answer goes through the pipe; an error's body stays here."""
    taken: Write | None = None

    def pour(chunk: bytes) -> int | None:
        nonlocal taken
        if taken is None:
            taken = sink.write if _status(lines) < 300 else chunks.append
        return taken(chunk)

    return pour


def _is_half(lines: list[bytes]) -> bool:
    """Whether the last head has no end. libcurl takes half a head for a whole one."""
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
    """The headers of an answer, from the lines of its head. One that comes twice is a list (RFC 9110, 5.2)."""
    headers: dict[str, str] = {}
    count = 0
    for line in lines:
        found = _field(line) if len(line) <= SHORT else _parse_field(line)
        if found:
            headers[found[0]] = found[1]
            count += 1
        elif line[:5] == b"HTTP/":
            # An interim answer (100 Continue, a proxy's 200) came before this one.
            headers, count = {}, 0
    return headers if len(headers) == count else _with_lists(lines)


def _parse_field(line: bytes) -> tuple[str, str] | None:
    """Name and value of a header; None of a line that is none."""
    # It may end without the carriage return.
    text = line.decode("latin-1").removesuffix("\n").removesuffix("\r")
    name, colon, value = text.partition(":")
    if not colon or name[:5] == "HTTP/":
        return None
    # 0xA0 and 0x85 are bytes of a value, not space.
    return name.lower(), value.strip(" \t")


# Most lines of one answer are those of the one before it.
_field = lru_cache(LINES_KEPT)(_parse_field)


def _with_lists(lines: list[bytes]) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for line in lines:
        if found := _parse_field(line):
            values.setdefault(found[0], []).append(found[1])
        elif line[:5] == b"HTTP/":
            values = {}
    return {name: ",".join(dict.fromkeys(each)) for name, each in values.items()}


NO_ANSWER = {  # that may come later
    pycurl.E_COULDNT_RESOLVE_HOST: "UnknownHost",
    pycurl.E_COULDNT_RESOLVE_PROXY: "UnknownProxy",
    pycurl.E_COULDNT_CONNECT: "ConnectionFailed",
    pycurl.E_SSL_CONNECT_ERROR: "ConnectionFailed",
    pycurl.E_SSL_CERTPROBLEM: "ConnectionFailed",
}
NEVER_AN_ANSWER = {  # what no time mends
    pycurl.E_PEER_FAILED_VERIFICATION: "UntrustedCertificate",
    pycurl.E_SSL_CACERT_BADFILE: "BadCaFile",
}
# The code of a connection that may not be made.
ADDRESS_REFUSED = "AddressRefused"
# How OpenSSL says that what came first was no TLS.
NO_TLS = ("wrong version number", "packet length too long", "record layer failure", "unknown protocol")


def _words(curl: pycurl.Curl) -> str:
    """What libcurl says is wrong. It may repeat bytes of the answer."""
    return str(curl.errstr_raw().decode("utf-8", "backslashreplace"))


def _failure(curl: pycurl.Curl, error: int, url: str, *, sized: bool) -> TransferError:
    host = url.partition("//")[2].partition("/")[0] or url
    message = _words(curl) or (f"libcurl error {error}" if error else "the answer broke off in its head")
    connected = curl.getinfo(pycurl.REQUEST_SIZE) > 0
    if not connected and (why := refused(curl)):
        return Unreachable(f"{host}: {why}", code=ADDRESS_REFUSED)
    if message[1:2].islower():  # no abbreviation such as TLS
        message = message[:1].lower() + message[1:]
    text = f"{host}: {message}"
    if error == pycurl.E_FILESIZE_EXCEEDED and sized:
        return ObjectChanged(f"{host}: the answer is larger than the object was", code="SizeChanged")
    if error in NEVER_AN_ANSWER:
        return Unreachable(text, code=NEVER_AN_ANSWER[error])
    if error == pycurl.E_SSL_CONNECT_ERROR and any(words in message for words in NO_TLS):
        return Unreachable(text, code="NoTls")
    if error in NO_ANSWER or (error == pycurl.E_OPERATION_TIMEDOUT and not connected):
        return ConnectionFailed(text, code=NO_ANSWER.get(error, "ConnectionFailed"))
    return Transient(text, code="TimeOut" if error == pycurl.E_OPERATION_TIMEDOUT else "ConnectionBroken")
