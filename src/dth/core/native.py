"""Requests over connections that the C extension `_http` reads and writes (see native/engine.c).

It replaces libcurl for plain requests, which are nearly all: requests to a host that is reached
without a proxy. libcurl does everything else: requests that the extension does not take,
connections that it cannot make, and all requests if the extension was not built or the environment
contains DTH_RELAY=python.
"""

import asyncio
import contextlib
import ipaddress
import math
import os
import re
import select
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pycurl import READFUNC_PAUSE, WRITEFUNC_PAUSE

from dth.core import confinement
from dth.core.errors import ConnectionFailed, ObjectChanged, TransferError, Transient
from dth.core.network import environment_names_proxy

if TYPE_CHECKING:
    from dth._http import Connection, Event, Session, Trust
    from dth.core.transport import ConnectOptions, Pipe, Valve

# The version of the extension's interface, as in native/engine.c.
INTERFACE = 4

try:
    from dth import _http
except ImportError:
    BUILT = False
else:
    # An extension built from other sources is not used.
    BUILT = getattr(_http, "INTERFACE", 0) == INTERFACE

# The root of a URL: scheme, host, port. Anything else, such as a user name, is left to libcurl.
ROOT = re.compile(r"(https?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
PORTS = {"http": 80, "https": 443}
# Headers of every request, and headers that say how a request is sent. A caller that sets one of
# the latter wants something that this module does not do.
OWN = frozenset({"host", "user-agent", "accept"})
UNUSUAL = frozenset(
    {"connection", "content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade"}
)
# As in libcurl: seconds for which addresses are cached, for which a connection may be idle, and
# after which the next address is tried in parallel.
ADDRESSES_HOLD = 60.0
LONGEST_REST = 118.0
HEAD_START = 0.2
KEEPALIVE = 60
MOST_IDLE = 1024
# Bytes of a body from a pipe that are sent at once, and the size of its pieces. The engine receives
# pieces of the same size, so none has to be split or joined.
MOST_FED = 1024 * 1024
PIECE = 256 * 1024
# Seconds between checks for requests without progress.
LOOK = 0.5

# A socket address: the family, then what the family uses.
Address = tuple[Any, ...]
# Status, headers, pieces of the body.
Answer = tuple[int, dict[str, str], list[bytes]]
# The result of a request: an answer, or a constant of `_http` with the reason.
Outcome = tuple[int, Any, Any]
Promise = asyncio.Future[Outcome]
# Head, body, size of the body, maximum size of the answer's body, whether it has none, patience.
Request = tuple[bytes, Sequence[bytes], int, int, bool, float]


def available() -> bool:
    """Whether requests may be sent with the extension."""
    return BUILT and os.environ.get("DTH_RELAY") != "python"


def keep_memory(size: int) -> None:
    """From now on, keep up to `size` bytes of freed bodies in this process for later bodies."""
    if available():
        _http.keep_memory(size)


def crc64nvme() -> Callable[[bytes, int], int] | None:
    """The function that adds bytes to a CRC64NVME; None if this machine needs another one."""
    return getattr(_http, "crc64nvme", None) if available() else None


class SummedBody(list[bytes]):
    """The pieces of a large body whose CRC64NVME was computed while they came. They were in the
    caches of the CPU then; to read them once more from memory would cost three times as much."""

    __slots__ = ("crc64nvme",)

    def __init__(self, chunks: Iterable[bytes], total: int) -> None:
        super().__init__(chunks)
        self.crc64nvme = total


class PooledServer:
    """One server, reached with the same options, and its idle connections."""

    def __init__(
        self, name: str, scheme: str, host: str, port: int, options: "ConnectOptions"
    ) -> None:
        self.options = options
        self.host = host.strip("[]")
        self.port = port
        # The names in errors and in requests.
        self.name = name
        self.authority = host if port == PORTS[scheme] else f"{host}:{port}"
        self.sealed = scheme == "https"
        # The headers that all requests begin with.
        self.first = b""
        # Each with the loop time since which it is idle, the longest idle first.
        self.idle: list[tuple[Connection, float]] = []
        self._forgotten = False
        self._addresses: list[Address] = []
        self._hold = 0.0
        self._lookup: asyncio.Task[list[Address]] | None = None
        self.is_address = False
        with contextlib.suppress(ValueError):
            found = ipaddress.ip_address(self.host)
            family = socket.AF_INET if found.version == 4 else socket.AF_INET6
            self._addresses, self._hold = [(family, (self.host, port))], math.inf
            self.is_address = True

    async def addresses(self) -> list[Address]:
        """The addresses with their families. Simultaneous callers share one lookup."""
        loop = asyncio.get_running_loop()
        if self._hold > loop.time():
            return self._addresses
        if self._lookup is None or self._lookup.done():
            self._lookup = loop.create_task(self._look_up(loop))
            # The callers may be gone when it fails.
            self._lookup.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._lookup)

    async def _look_up(self, loop: asyncio.AbstractEventLoop) -> list[Address]:
        infos = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        self._addresses = [(family, address) for family, _, _, _, address in infos]
        self._hold = loop.time() + ADDRESSES_HOLD
        return self._addresses

    def take(self, now: float) -> "Connection | None":
        """An idle connection; None if there is none."""
        while self.idle:
            connection, since = self.idle.pop()
            if not connection.closed and now - since < LONGEST_REST:
                return connection
            connection.abort()
        return None

    def put(self, connection: "Connection", now: float) -> None:
        """Keep the connection for later requests, if that is possible."""
        if not (connection.closed or self._forgotten) and len(self.idle) < MOST_IDLE:
            self.idle.append((connection, now))
        else:
            connection.abort()

    def tidy(self, now: float) -> None:
        """Close connections that were idle for too long."""
        while self.idle and (self.idle[0][0].closed or now - self.idle[0][1] >= LONGEST_REST):
            self.idle.pop(0)[0].abort()

    def close(self) -> None:
        """Close all idle connections, and keep none from now on."""
        self._forgotten = True
        if self._lookup:
            self._lookup.cancel()
        while self.idle:
            self.idle.pop()[0].abort()


class Native:
    """All connections of a process that C code serves. `agent` is the user agent of the
    requests."""

    def __init__(self, loop: asyncio.AbstractEventLoop, agent: str) -> None:
        self._loop = loop
        self._agent = agent
        self._engine = _http.Engine()
        self._origins: dict[tuple[ConnectOptions, str], PooledServer | None] = {}
        # By the path of the CA file, because reading one takes long.
        self._trusts: dict[str, Trust] = {}
        self._waiting: set[asyncio.Future[Any]] = set()
        self._flows: dict[asyncio.Future[Any], Flow] = {}
        # Bytes of received bodies.
        self.bytes_in = 0
        self._connecting: set[asyncio.Task[None]] = set()
        self._look: asyncio.TimerHandle | None = None
        loop.add_reader(self._engine.fileno(), self._on_ready)

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: "Sequence[bytes] | Pipe",
        size: int,
        *,
        options: "ConnectOptions",
        sink: "Pipe | None",
        limit: int,
        most: int,
        patience: float,
        valve: "Valve | None",
    ) -> Answer | None:
        """Send one request and read its answer. Returns None without sending anything if it is for
        libcurl.

        `size`: bytes of the body. `limit`: expected bytes of the answer's body, 0 if unknown.
        `most`: its maximum bytes. `patience`: seconds that may pass without a byte. Raises
        TransferError.
        """
        slash = url.find("/", 8)
        root, target = (url[:slash], url[slash:]) if slash > 0 else (url, "/")
        try:
            origin = self._origins[options, root]
        except KeyError:
            origin = self._origins[options, root] = _origin(root, options)
        if origin is None:
            return None
        pieces, source = (body, None) if isinstance(body, Sequence) else ((), body)
        ends = BodyEnds(valve, sink, source)
        head = self._head(origin, method, target, headers, size)
        if head is None:
            return None
        request = (head, pieces, size, most, method == "HEAD", patience)
        outcome: Outcome | None = None
        while outcome is None and (connection := origin.take(self._loop.time())):
            outcome = await self._exchange(origin, connection, request, ends)
        if outcome is None or outcome[0] == _http.STALE:
            # There was no idle connection, or it was closed when the request arrived. A new one
            # shows more than another old one.
            made = await self._connected(origin)
            outcome = await self._exchange(origin, made, request, ends) if made else None
        if outcome is None:
            return None
        what, more, chunks = outcome
        if what > 0:
            return what, more, chunks
        raise _failure(origin, what, more, sized=limit > 0)

    async def _exchange(
        self, origin: PooledServer, connection: "Connection", request: Request, ends: "BodyEnds"
    ) -> Outcome | None:
        """One request over one connection; None if the connection was already closed."""
        future: Promise = self._loop.create_future()
        if not connection.start(future, ends.granted, ends.sink is not None, *request):
            return None
        self._waiting.add(future)
        if self._look is None:
            self._look = self._loop.call_later(LOOK, self._on_look)
        flow = Flow(self._loop, ends, connection, future, receives=not request[2]) if ends else None
        if flow:
            self._flows[future] = flow
        try:
            what, more, chunks = await future
        except asyncio.CancelledError:
            # The connection is in the middle of a request, or has just finished it.
            connection.abort()
            raise
        finally:
            self._waiting.discard(future)
            if flow:
                del self._flows[future]
                flow.close()
        origin.put(connection, self._loop.time())
        if what > 0:
            self.bytes_in += sum(map(len, chunks))
            if (total := connection.crc64nvme) is not None:
                chunks = SummedBody(chunks, total)
        if flow:
            self.bytes_in += flow.poured
            if what == _http.STALE and flow.begun:
                what, more = _http.BROKEN, "necessary data rewind was not possible"
        return what, more, chunks

    def _head(
        self, origin: PooledServer, method: str, target: str, headers: Mapping[str, str], size: int
    ) -> bytes | None:
        """The request line and the headers of a request; None if it is for libcurl."""
        if not isinstance(headers, dict) or not UNUSUAL.isdisjoint(headers):
            return None
        first = origin.first
        if not first or not OWN.isdisjoint(headers):
            own = {"host": origin.authority, "user-agent": self._agent, "accept": "*/*"}
            missing = [f"{name}: {value}\r\n" for name, value in own.items() if name not in headers]
            first = "".join(missing).encode()
            if OWN.isdisjoint(headers):
                origin.first = first
        return _http.head(
            method, target, first, headers, size if size or method in ("PUT", "POST") else -1
        )

    def forget(self, options: "ConnectOptions") -> None:
        """Close the connections with these options. They will not be used again."""
        for key in [key for key in self._origins if key[0] is options]:
            if origin := self._origins.pop(key):
                origin.close()

    @property
    def bytes_under_way(self) -> int:
        """The bytes of bodies that have passed in unfinished requests, in both directions."""
        return self._engine.under_way

    def close(self) -> None:
        """Close everything. Requests that wait for an answer are cancelled."""
        self._loop.remove_reader(self._engine.fileno())
        if self._look:
            self._look.cancel()
        for task in self._connecting:
            task.cancel()
        for future in self._waiting:
            future.cancel()
        for origin in self._origins.values():
            if origin:
                origin.close()
        self._engine.close()

    # ----------------------------------------------------------------------------- the loop's calls

    def _on_ready(self) -> None:
        self._settle(self._engine.run())

    def _on_look(self) -> None:
        self._look = None
        self._settle(self._engine.sweep())
        now = self._loop.time()
        for origin in self._origins.values():
            if origin:
                origin.tidy(now)
        if self._waiting:
            self._look = self._loop.call_later(LOOK, self._on_look)

    def _settle(self, events: "list[Event]") -> None:
        for _, future, what, more, chunks in events:
            # An event without a request: an idle connection was closed.
            if future is None or future.done():
                continue
            if flow := self._flows.get(future):
                flow.happened(what, more, chunks)
            else:
                future.set_result((what, more, chunks))

    # ----------------------------------------------------------------------------------- connecting

    async def _connected(self, origin: PooledServer) -> "Connection | None":
        """A new connection; None if libcurl should try, and report what is wrong."""
        # Not the task's result: it is lost if the task is cancelled at the moment when it ends.
        made: list[Connection] = []
        task = self._loop.create_task(self._connect(origin, made))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        try:
            async with asyncio.timeout(origin.options.connect_timeout):
                await task
            return made.pop() if made else None
        except TimeoutError:
            waited = int(origin.options.connect_timeout * 1000)
            raise ConnectionFailed(
                f"{origin.name}: connection timed out after {waited} milliseconds",
                code="ConnectionFailed",
            ) from None
        finally:
            for connection in made:
                connection.abort()

    async def _connect(self, origin: PooledServer, made: "list[Connection]") -> None:
        try:
            found = await _first(self._loop, await origin.addresses())
        except (OSError, UnicodeError):
            return
        if found is None:
            return
        try:
            session = await self._sealed(origin, found) if origin.sealed else None
            made.append(self._adopt(found, session))
        except (OSError, ValueError):
            # This includes problems with a certificate, or with the CA file.
            found.close()
        except BaseException:
            found.close()
            raise

    async def _sealed(self, origin: PooledServer, sock: socket.socket) -> "Session":
        trust = self._trusts.get(origin.options.ca_bundle)
        if trust is None:
            trust = self._trusts[origin.options.ca_bundle] = _trust(origin.options.ca_bundle)
        session = trust.session(sock.fileno(), origin.host, origin.is_address)
        while waits_for := session.handshake():
            if waits_for == select.EPOLLIN:
                await self._ready(sock, self._loop.add_reader, self._loop.remove_reader)
            else:
                await self._ready(sock, self._loop.add_writer, self._loop.remove_writer)
        return session

    async def _ready(self, sock: socket.socket, add: Any, remove: Any) -> None:
        ready = asyncio.Event()
        add(sock.fileno(), ready.set)
        try:
            await ready.wait()
        finally:
            remove(sock.fileno())

    def _adopt(self, sock: socket.socket, session: "Session | None") -> "Connection":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
            sock.setsockopt(socket.IPPROTO_TCP, option, KEEPALIVE)
        fd = sock.fileno()
        connection = self._engine.adopt(fd, session) if session else self._engine.adopt(fd)
        sock.detach()
        return connection


class BodyEnds(NamedTuple):
    """Where the bytes of a request come from and go to if that is not memory, and what paces
    them."""

    valve: "Valve | None"
    sink: "Pipe | None"
    source: "Pipe | None"

    @property
    def piped(self) -> bool:
        """Whether bytes come from or go to a pipe."""
        return self.sink is not None or self.source is not None

    @property
    def granted(self) -> int:
        """Bytes that may pass before the valve is asked; -1: all."""
        return -1 if self.valve is None or self.valve.left == math.inf else 0

    def __bool__(self) -> bool:
        return self.valve is not None or self.piped


class Flow:
    """Connects the ends of a request to its connection, and reports when the request has ended."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ends: BodyEnds,
        connection: "Connection",
        future: Promise,
        *,
        receives: bool,
    ) -> None:
        # Bytes of the answer that the sink took, and whether bytes were read from the source, which
        # are then gone.
        self.poured = 0
        self.begun = False
        self._loop = loop
        self._ends = ends
        self._connection = connection
        self._future = future
        self._receives = receives
        self._allowed = 0
        # Pieces that the sink had no room for, and the result of the request, which is delivered
        # after them.
        self._pieces: deque[bytes] = deque()
        self._outcome: Outcome | None = None
        valve, sink, source = ends
        if valve is not None:
            valve.meter, valve.resume, valve.widen_to = self._shut, self._grant, self._widen
            if valve.left != math.inf:
                self._grant()
        # The two ends of a pipe must not call each other directly, so this waits for the next turn
        # of the loop.
        if sink is not None:
            sink._resume_source = lambda: self._later(self._pour)
        if source is not None:
            source._resume_sink = lambda: self._later(self._feed)
            self._feed()

    def _later(self, step: Callable[[], None]) -> None:
        self._loop.call_soon(step)

    def happened(self, what: int, more: Any, chunks: Any) -> None:
        """Handle an event that the engine reports for the request."""
        if what == _http.DRY:
            self._grant()
        elif what == _http.HUNGRY:
            self._feed()
        elif what == _http.PIECE:
            self._pieces.append(more)
            self._pour()
        else:
            if what <= 0:
                self._pieces.clear()
            self._outcome = what, more, chunks
            self._pour()

    def close(self) -> None:
        """Detach from the connection, which serves other requests from now on."""
        if self._ends.valve is not None:
            self._ends.valve.close()

    # ------------------------------------------------------------------------------------ the valve

    def _grant(self) -> None:
        """Let pass what the valve grants now, minus what has passed of earlier grants."""
        valve = self._ends.valve
        if valve is None or self._future.done():
            return
        if self._allowed >= 0:
            valve.pass_(self._allowed - self._connection.granted)
        if not valve.open():
            self._allowed = 0
        elif valve.left == math.inf:
            self._allowed = -1
        else:
            self._allowed = max(1, int(valve.left))
        self._connection.allow(self._allowed)

    def _shut(self) -> None:
        """Revoke what was granted."""
        self._allowed = 0
        self._connection.allow(0)
        self._grant()

    def _widen(self, buffer: int) -> None:
        if self._receives and not self._connection.closed:
            limit_receiving(buffer, self._connection.fileno())

    # ------------------------------------------------------------------------------------ the pipes

    def _pour(self) -> None:
        """Pour the answer into the sink, as fast as the sink accepts it."""
        sink = self._ends.sink
        if self._future.done():
            return
        while self._pieces and sink is not None:
            taken = sink.write(self._pieces[0])
            if taken == WRITEFUNC_PAUSE:
                self._connection.hold(True)
                return
            if taken is not None:
                self._fail()
                return
            self.poured += len(self._pieces.popleft())
        if self._outcome:
            self._future.set_result(self._outcome)
        else:
            self._connection.hold(False)

    def _feed(self) -> None:
        """Hand over what the source has, if everything before was sent."""
        while self._feed_some():
            pass

    def _feed_some(self) -> bool:
        source = self._ends.source
        if source is None or self._future.done() or not self._connection.hungry:
            return False
        pieces: list[bytes] = []
        room = MOST_FED
        while room > 0 and (piece := source.read(PIECE)) != READFUNC_PAUSE:
            if not isinstance(piece, bytes):
                self._fail()
                return False
            if not piece:
                break
            pieces.append(piece)
            room -= len(piece)
        if pieces:
            self.begun = True
            self._connection.feed(pieces)
        return bool(pieces)

    def _fail(self) -> None:
        self._connection.abort()
        self._future.set_result((_http.BROKEN, "the other end of the pipe failed", None))


# The bytes to request for a receive buffer that should be as large as the system permits.
WIDE_BUFFER = 16 * 1024 * 1024


def limit_receiving(size: int, fd: int) -> None:
    """Let a socket receive this many bytes before they are read; 0: as many as the system
    permits."""
    connection = socket.socket(fileno=fd)
    # The kernel doubles the value.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, (size or WIDE_BUFFER) // 4)
    connection.detach()


def _origin(root: str, options: "ConnectOptions") -> PooledServer | None:
    """The origin for a URL root; None if it is for libcurl."""
    found = ROOT.fullmatch(root)
    if found is None or options.proxy or options.receive_buffer or environment_names_proxy():
        return None
    scheme, host, port = found.groups()
    if scheme == "https" and not tls_available():
        return None
    return PooledServer(root.partition("//")[2], scheme, host, int(port or PORTS[scheme]), options)


async def _first(loop: asyncio.AbstractEventLoop, addresses: list[Address]) -> socket.socket | None:
    """A connection to the first address that accepts one. An address that does not answer at once
    gets a head start; then the next one is tried in parallel (RFC 8305). None if no address that
    this process may connect to accepts one."""
    network = confinement.network()
    waiting = deque(each for each in addresses if not (network and network.refusal(each[1][0])))
    tries: set[asyncio.Task[socket.socket]] = set()
    try:
        while waiting or tries:
            if waiting:
                tries.add(loop.create_task(_dial(loop, *waiting.popleft())))
            done, tries = await asyncio.wait(
                tries, timeout=HEAD_START if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            made = [task.result() for task in done if not task.exception()]
            for spare in made[1:]:
                spare.close()
            if made:
                return made[0]
        return None
    finally:
        for task in tries:
            if not task.cancel() and not task.exception():
                task.result().close()


async def _dial(loop: asyncio.AbstractEventLoop, family: int, address: Address) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


@cache
def tls_available() -> bool:
    """Whether the extension can do TLS. It uses the newest OpenSSL 3 in this process, which is
    libcurl's."""
    mapped = Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines()
    paths = {line.split(maxsplit=5)[5] for line in mapped if "/libssl" in line}
    versions = {path: _http.tls_version(path) for path in paths}
    newest = max(versions, key=versions.__getitem__, default="")
    return bool(newest and versions[newest]) and _http.tls_use(newest)


def _trust(ca_bundle: str) -> "Trust":
    """TLS settings as in libcurl: at least 1.2, and a certificate for the host from a trusted
    authority."""
    if ca_bundle:
        return _http.Trust(ca_bundle, None)
    usual = ssl.get_default_verify_paths()
    return _http.Trust(usual.cafile, usual.capath)


def _failure(origin: PooledServer, what: int, why: str, *, sized: bool) -> TransferError:
    """The error that libcurl would cause."""
    if what == _http.TOO_LARGE and sized:
        return ObjectChanged(
            f"{origin.name}: the answer is larger than the object was", code="SizeChanged"
        )
    code = "TimeOut" if what == _http.TIMED_OUT else "ConnectionBroken"
    return Transient(f"{origin.name}: {why}", code=code)
