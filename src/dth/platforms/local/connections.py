"""Connections to the hub: how many are allowed, how long each may take, and which one is closed
when there are too many.

Anybody who can reach the hub can hold a connection open without signing in. So each step of a
request has a time limit, and a new connection replaces the least useful one instead of being
refused: a client that sends its request at once is served, however many half-open connections there
are.
"""

import asyncio
import contextlib
import errno
import logging
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dth.platforms.local.addresses import network_of

log = logging.getLogger(__name__)

# The most connections, however many descriptors there are.
MOST = 4096
FEWEST = 16
SAY_AGAIN = 10.0  # seconds between lines of the log
SWEEP = 0.5
NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class ConnectionState(Enum):
    """What a connection is doing, and the seconds that it may take."""

    HANDSHAKE = 10.0, "were too slow with their TLS handshake"
    HEAD = 10.0, "were too slow with the head of a request"
    BODY = 60.0, "were too slow with the body of a request"
    ANSWER = float("inf"), ""
    UNREAD = 60.0, "did not read their answer"
    IDLE = 15.0, "did not close"  # uvicorn closes them after five
    CLOSING = 10.0, "did not close"

    @property
    def seconds(self) -> float:
        return self.value[0]

    @property
    def words(self) -> str:
        return self.value[1]


DISPLACED = "made room for others"
REFUSED = "were refused: there are too many"


def raise_descriptor_limit() -> None:
    """Raise the limit to what this process may have: services start with few descriptors, whatever
    the machine could handle."""
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The number of connections allowed, in total and per address."""

    connections: int
    an_address: int

    @classmethod
    def here(cls, *, behind_proxy: bool) -> "ConnectionLimits":
        """What this process can handle: half of its descriptors are reserved for everything else.
        Behind a proxy, all connections come from one address."""
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = max(FEWEST, min(MOST, descriptors // 2))
        return cls(most, most if behind_proxy else most // 2)


@dataclass(eq=False, slots=True)
class Peer:
    """A connection, from accept to close. `signed_in`: its last request was authenticated."""

    address: str
    abort: Callable[[], None]
    state: ConnectionState = ConnectionState.HANDSHAKE
    since: float = field(default_factory=lambda: time.monotonic())
    signed_in: bool = False

    def enter(self, state: ConnectionState) -> None:
        """Set the state. The time of a state starts when it is entered, and repeated calls do not
        restart it."""
        if state is not self.state:
            self.state, self.since = state, time.monotonic()

    @property
    def use(self) -> int | None:
        """The order in which connections are closed to make room: the lowest first. None: never."""
        match self.state:
            case ConnectionState.HANDSHAKE | ConnectionState.HEAD | ConnectionState.CLOSING:
                return 0
            case ConnectionState.IDLE:
                return 2 if self.signed_in else 1
            case ConnectionState.BODY | ConnectionState.UNREAD:
                # Those of the signed-in, too: one viewer could hold all places, and so would keep
                # everybody out.
                return 4 if self.signed_in else 3
            case ConnectionState.ANSWER:
                return None if self.signed_in else 4


class Refusals:
    """Logs refused and closed connections: a line now and then, however many there are."""

    def __init__(self) -> None:
        self._said = float("-inf")
        self._reasons: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()

    def note(self, reason: str, address: str) -> None:
        self._reasons[reason] += 1
        self._addresses[address] += 1
        self.say()

    def say(self) -> None:
        now = time.monotonic()
        if not self._reasons or now - self._said < SAY_AGAIN:
            return
        told = "; ".join(f"{count} {reason}" for reason, count in self._reasons.most_common())
        [(address, count)] = self._addresses.most_common(1)
        log.warning("connections: %s (most of them from %s: %d)", told, address, count)
        self._said = now
        self._reasons.clear()
        self._addresses.clear()


class Connections:
    """All connections."""

    def __init__(self, capacity: ConnectionLimits) -> None:
        self.capacity = capacity
        self.refusals = Refusals()
        self._peers: set[Peer] = set()
        self._of: Counter[str] = Counter()

    def admit(self, address: str, abort: Callable[[], None]) -> Peer | None:
        """A place for a connection, if necessary that of another one. None: all are in use."""
        while full := self._full(address):
            victim = self._of_least_use(None if full is self else address)
            if victim is None:
                self.refusals.note(REFUSED, address)
                return None
            self.refusals.note(DISPLACED, victim.address)
            self._end(victim)
        peer = Peer(address, abort)
        self._peers.add(peer)
        self._of[address] += 1
        return peer

    def make_room(self) -> None:
        """Close a connection, because no descriptors are left."""
        if victim := self._of_least_use(None):
            self.refusals.note(DISPLACED, victim.address)
            self._end(victim)

    def leave(self, peer: Peer) -> None:
        """Forget a connection that has been closed."""
        if peer in self._peers:
            self._peers.discard(peer)
            self._of[peer.address] -= 1
            if not self._of[peer.address]:
                del self._of[peer.address]

    def sweep(self) -> None:
        """Close connections that exceeded their time."""
        now = time.monotonic()
        for peer in [each for each in self._peers if now - each.since > each.state.seconds]:
            self.refusals.note(peer.state.words, peer.address)
            self._end(peer)
        self.refusals.say()

    def close(self) -> None:
        """Close the connections that a shutdown need not wait for."""
        for peer in [each for each in self._peers if each.use in (0, 1, 2)]:
            self._end(peer)

    def _full(self, address: str) -> object:
        """What there are too many connections of: the total, or those of this address; None if
        there is room."""
        if self._of[address] >= self.capacity.an_address:
            return address
        return self if len(self._peers) >= self.capacity.connections else None

    def _of_least_use(self, address: str | None) -> Peer | None:
        ranked = [
            (peer.use, peer.since, peer) for peer in self._peers if address in (None, peer.address)
        ]
        known = [(use, since, peer) for use, since, peer in ranked if use is not None]
        return min(known, key=lambda each: each[:2])[2] if known else None

    def _end(self, peer: Peer) -> None:
        self.leave(peer)
        peer.abort()


class GuardedProtocol(H11Protocol):
    """HTTP that tells its peer what state it is in."""

    def __init__(self, peer: Peer, connections: Connections, *args: Any) -> None:
        super().__init__(*args)
        self._peer = peer
        self._all = connections
        self.app_state = {"peer": peer}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer.abort = transport.abort
        self._peer.enter(ConnectionState.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.leave(self._peer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look(ConnectionState.HEAD)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look(ConnectionState.HEAD if self.conn.trailing_data[0] else ConnectionState.IDLE)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._peer.enter(ConnectionState.UNREAD)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._look(ConnectionState.IDLE)

    def _look(self, between: ConnectionState) -> None:
        """`between`: the state if no request is in progress."""
        if self.transport.is_closing():
            self._peer.enter(ConnectionState.CLOSING)
        elif self.conn.their_state is h11.IDLE:
            self._peer.enter(between)
        elif self.conn.their_state is h11.SEND_BODY:
            self._peer.enter(ConnectionState.BODY)
        elif self._peer.state is not ConnectionState.UNREAD or not self.flow.write_paused:
            self._peer.enter(ConnectionState.ANSWER)


class Server(uvicorn.Server):
    """uvicorn with our own accept loop. It has no signal handlers: the hub decides in which order
    things end."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._all = connections
        self._doors: list[asyncio.Task[None]] = []
        self._guests: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        self.servers = []
        for each in sockets or []:
            each.setblocking(False)
            self._doors.append(asyncio.create_task(self._take(each)))
        self._doors.append(asyncio.create_task(self._sweep()))
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for door in self._doors:
            door.cancel()
        await asyncio.gather(*self._doors, return_exceptions=True)
        self._all.close()
        await super().shutdown(sockets)

    async def _take(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                taken, address = await loop.sock_accept(listening)
            except OSError as error:
                if error.errno in NO_DESCRIPTORS:
                    self._all.make_room()
                    await asyncio.sleep(0.02)
                continue
            peer = self._all.admit(network_of(address[0]), partial(_hang_up, taken))
            if peer is None:
                taken.close()
                continue
            guest = asyncio.create_task(self._welcome(peer, taken))
            self._guests.add(guest)
            guest.add_done_callback(self._guests.discard)

    async def _welcome(self, peer: Peer, taken: socket.socket) -> None:
        """Handle a connection until the end of the TLS handshake; then the protocol takes over."""

        def protocol() -> GuardedProtocol:
            return GuardedProtocol(
                peer, self._all, self.config, self.server_state, self.lifespan.state
            )

        loop, tls = asyncio.get_running_loop(), self.config.ssl
        patience = ConnectionState.HANDSHAKE.seconds if tls else None
        try:
            await loop.connect_accepted_socket(
                protocol, taken, ssl=tls, ssl_handshake_timeout=patience
            )
        except OSError:
            # It left, speaks no TLS, or was closed to make room.
            self._all.leave(peer)
            taken.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            self._all.sweep()


def _hang_up(taken: socket.socket) -> None:
    """Shut the socket down. The loop owns it, and closes it when it notices."""
    with contextlib.suppress(OSError):
        taken.shutdown(socket.SHUT_RDWR)
