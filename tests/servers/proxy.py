"""A proxy that stands in front of an S3 server, records every request, and injects faults by rule.

    with Proxy(s3_a) as proxy:
        proxy.rule(SlowDown(), method="PUT", probability=0.2)
        proxy.rule(Reset(after=5 << 20), method="GET", key=r"^big/", nth=1)
        ...
        assert proxy.count(method="PUT", status=503) > 0

Request targets and header values pass through byte for byte, and the Host header stays, so
signatures hold. The proxy runs on a thread of its own: rules may be added and requests looked at
while it works.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import random
import re
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import escape

import uvloop

from .s3 import S3Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Container, Coroutine, Mapping

T = TypeVar("T")

_CHUNK = 1 << 18
_TICKS = 100  # a second: how finely traffic over time is recorded


# --- messages
# ----------------------------------------------------------------------------------------


class Headers:
    """Headers in their order and spelling, found by name in any case."""

    def __init__(self, items: list[tuple[str, str]]) -> None:
        self.items = items

    def get(self, name: str) -> str | None:
        name = name.lower()
        return next((value for key, value in self.items if key.lower() == name), None)

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def set(self, name: str, value: str) -> None:
        self.remove(name)
        self.items.append((name, value))

    def remove(self, pattern: str) -> None:
        """Drop the headers whose whole name matches the regular expression."""
        self.items = [
            item for item in self.items if not re.fullmatch(pattern, item[0], re.IGNORECASE)
        ]

    def encode(self, first_line: str) -> bytes:
        lines = [first_line, *(f"{name}: {value}" for name, value in self.items), "", ""]
        return "\r\n".join(lines).encode("latin-1")


@dataclass(eq=False)
class Request:
    """One request and what became of it."""

    method: str
    target: str
    """The path and query as they were on the wire."""
    headers: Headers
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    status: int | None = None
    """What the client was told; None while nothing was."""
    received: int = 0
    """Body bytes that came from the client."""
    sent: int = 0
    """Body bytes that went to the client."""
    faults: list[str] = field(default_factory=list)
    """The names of the actions that were applied."""
    body: AsyncIterator[bytes] = field(default_factory=lambda: _nothing(), repr=False)

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def path(self) -> str:
        return unquote(self.target.partition("?")[0])

    @property
    def bucket(self) -> str:
        return self.path[1:].partition("/")[0]

    @property
    def key(self) -> str:
        """The object's key; empty for requests on a bucket."""
        return self.path[1:].partition("/")[2]


@dataclass(eq=False)
class Response:
    """An answer on its way to the client."""

    status: int
    reason: str
    headers: Headers
    body: AsyncIterator[bytes] = field(default_factory=lambda: _nothing())

    async def read(self) -> bytes:
        """The whole body. Give it back with `replace`."""
        return b"".join([chunk async for chunk in self.body])

    def replace(self, body: bytes) -> None:
        """Send this body instead."""
        self.headers.remove("transfer-encoding|content-length")
        self.headers.set("Content-Length", str(len(body)))
        self.body = _once(body)


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for chunk in nothing:
        yield chunk


async def _once(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body


class Cut(Exception):
    """End the client's connection here."""

    def __init__(self, *, reset: bool) -> None:
        self.reset = reset


# --- actions
# -----------------------------------------------------------------------------------------


class Action:
    """What a rule does to a request. Both steps may wait, change what they are given, or raise
    `Cut`."""

    async def request(self, request: Request) -> Reply | None:
        """Before the request is passed on. A reply is sent instead of passing it on."""
        return None

    async def response(self, request: Request, response: Response) -> None:
        """Before the answer is passed on."""


@dataclass
class Reply(Action):
    """Answer with this status and S3 error, without asking the server.

    `early` answers before the request's body is read, and then closes the connection.
    """

    status: int
    code: str = ""
    message: str = "Injected by a test"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    early: bool = False

    async def request(self, request: Request) -> Reply | None:
        return self

    def to(self, request: Request) -> Response:
        """The response to this request."""
        body = self.body
        if body is None:
            body = b""
            if self.code:
                body = (
                    f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{self.code}</Code>'
                    f"<Message>{escape(self.message)}</Message><Resource>{escape(request.path)}</Resource>"
                    "<RequestId>4442587FB7D0A2F9</RequestId></Error>"
                ).encode()
        response = Response(
            self.status, HTTPStatus(self.status).phrase, Headers(list(self.headers.items()))
        )
        if "content-type" not in response.headers and body:
            response.headers.set("Content-Type", "application/xml")
        response.replace(body)
        if request.method == "HEAD":
            response.body = _nothing()
        if self.early:
            response.headers.set("Connection", "close")
        return response


def SlowDown() -> Reply:  # noqa: N802 (reads as the action that it makes)
    """503 SlowDown, as S3 throttles."""
    return Reply(503, "SlowDown", "Please reduce your request rate.")


class Limit(Action):
    """Grant so many requests per second (after a burst); answer those above with 503 SlowDown."""

    def __init__(self, rate: float, burst: float | None = None) -> None:
        self.rate = rate
        self.burst = rate if burst is None else burst
        self.granted = 0
        self.refused = 0
        self._tokens = self.burst
        self._at = time.monotonic()

    async def request(self, request: Request) -> Reply | None:
        now = time.monotonic()
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1:
            self.refused += 1
            return SlowDown()
        self._tokens -= 1
        self.granted += 1
        return None


@dataclass
class Delay(Action):
    """Wait before passing the request on: the latency of a store far away."""

    seconds: float

    async def request(self, request: Request) -> Reply | None:
        await asyncio.sleep(self.seconds)
        return None


@dataclass
class Hook(Action):
    """Call a function before the request is passed on, and wait for it.

    A plain function runs on a thread of its own, so it may call the server itself.
    """

    call: Callable[[Request], Any]

    async def request(self, request: Request) -> Reply | None:
        if inspect.iscoroutinefunction(self.call):
            await self.call(request)
        else:
            await asyncio.to_thread(self.call, request)
        return None


@dataclass
class RequestHeaders(Action):
    """Remove (by regular expression) and set headers of the request: as if the store ignored
    If-Match."""

    remove: str = ""
    set: Mapping[str, str] = field(default_factory=dict)

    async def request(self, request: Request) -> Reply | None:
        _edit(request.headers, self.remove, self.set)
        return None


@dataclass
class ResponseHeaders(Action):
    """Remove (by regular expression) and set headers of the answer."""

    remove: str = ""
    set: Mapping[str, str] = field(default_factory=dict)

    async def response(self, request: Request, response: Response) -> None:
        _edit(response.headers, self.remove, self.set)


def _edit(headers: Headers, remove: str, values: Mapping[str, str]) -> None:
    if remove:
        headers.remove(remove)
    for name, value in values.items():
        headers.set(name, value)


@dataclass
class Rewrite(Action):
    """Change the answer: `call` gets the request, the response and its whole body, and returns a
    new body."""

    call: Callable[[Request, Response, bytes], bytes]

    async def response(self, request: Request, response: Response) -> None:
        if request.method == "HEAD":  # its Content-Length speaks of a body that is not there
            self.call(request, response, b"")
        else:
            response.replace(self.call(request, response, await response.read()))


class Drop(Action):
    """Reset the connection instead of passing the request on."""

    async def request(self, request: Request) -> Reply | None:
        raise Cut(reset=True)


@dataclass
class Reset(Action):
    """Reset the connection (RST) after so many bytes of the answer's body.

    Without `after` the whole answer is lost: the server did what was asked, and the client never
    hears of it.
    """

    after: int | None = None

    async def response(self, request: Request, response: Response) -> None:
        if self.after is None:
            raise Cut(reset=True)
        response.body = _cut(response.body, self.after, Cut(reset=True))


@dataclass
class Truncate(Action):
    """Close the connection in good order after so many bytes of the answer's body, short of its
    length."""

    after: int

    async def response(self, request: Request, response: Response) -> None:
        response.body = _cut(response.body, self.after, Cut(reset=False))


@dataclass
class Stall(Action):
    """Send nothing for so long: before the answer, or after so many bytes of its body."""

    seconds: float
    after: int | None = None

    async def response(self, request: Request, response: Response) -> None:
        if self.after is None:
            await asyncio.sleep(self.seconds)
        else:
            response.body = self._stalled(response.body, self.after)

    async def _stalled(self, body: AsyncIterator[bytes], after: int) -> AsyncIterator[bytes]:
        passed = 0
        stalled = False
        async for chunk in body:
            if not stalled and passed + len(chunk) > after:
                yield chunk[: after - passed]
                await asyncio.sleep(self.seconds)
                stalled = True
                yield chunk[after - passed :]
            else:
                yield chunk
            passed += len(chunk)


@dataclass
class Corrupt(Action):
    """Flip the bits of the byte at an offset: of the answer's body, or of the request's with
    `upload`."""

    at: int
    upload: bool = False

    async def request(self, request: Request) -> Reply | None:
        if self.upload:
            request.body = self._flipped(request.body)
        return None

    async def response(self, request: Request, response: Response) -> None:
        if not self.upload:
            response.body = self._flipped(response.body)

    async def _flipped(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        passed = 0
        async for chunk in body:
            at = self.at - passed
            passed += len(chunk)
            if 0 <= at < len(chunk):
                yield chunk[:at] + bytes([chunk[at] ^ 0xFF]) + chunk[at + 1 :]
            else:
                yield chunk


async def _cut(body: AsyncIterator[bytes], after: int, cut: Cut) -> AsyncIterator[bytes]:
    passed = 0
    async for chunk in body:
        if passed + len(chunk) >= after:
            yield chunk[: after - passed]
            raise cut
        passed += len(chunk)
        yield chunk


# --- rules
# -------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Rule:
    """Which requests an action is for. What is left out matches everything."""

    action: Action
    method: str = ""
    """Regular expression for the whole method."""
    key: str = ""
    """Regular expression found in the object's key; "." means any object, but no request on a
    bucket."""
    query: str = ""
    """Regular expression found in the query string, such as "partNumber=2&" or "list-type"."""
    when: Callable[[Request], bool] | None = None
    nth: int | Container[int] | None = None
    """Only the nth of the requests that match, counted from 1: a number or a container of
    numbers."""
    probability: float = 1.0
    matches: int = 0
    """How many requests matched, before nth and probability."""
    hits: int = 0
    """How often the action was applied."""

    def applies(self, request: Request, dice: random.Random) -> bool:
        if self.method and not re.fullmatch(self.method, request.method):
            return False
        if self.key and not re.search(self.key, request.key, re.DOTALL):
            return False
        if self.query and not re.search(self.query, request.query):
            return False
        if self.when is not None and not self.when(request):
            return False
        self.matches += 1
        if isinstance(self.nth, int) and self.matches != self.nth:
            return False
        if self.nth is not None and not isinstance(self.nth, int) and self.matches not in self.nth:
            return False
        if self.probability < 1 and dice.random() >= self.probability:
            return False
        self.hits += 1
        return True


class Proxy(S3Server):
    """See the module's description. `seed` makes the probabilities repeatable. `send_buffer`: bytes
    that the system may hold back, so that what is recorded as sent is truly on its way (small ones
    are slow)."""

    def __init__(self, upstream: S3Server, *, seed: int = 0, send_buffer: int = 0) -> None:
        self.access_key = upstream.access_key
        self.secret_key = upstream.secret_key
        self.region = upstream.region
        self.upstream = upstream
        self._send_buffer = send_buffer
        self.requests: list[Request] = []
        self.most_in_flight = 0
        self._in_flight = 0
        self._rules: list[Rule] = []
        self._dice = random.Random(seed)
        self._received: dict[int, int] = defaultdict(int)
        self._sent: dict[int, int] = defaultdict(int)
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server: asyncio.Server = self._call(
            asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20, backlog=1024)
        )
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._call(self._shut_down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # What tests use

    def rule(self, action: Action, **conditions: Any) -> Rule:
        """Add a rule; the conditions are the fields of `Rule`.

        Rules apply in the order in which they were added, and the first that replies ends the
        matter.
        """
        rule = Rule(action, **conditions)
        self._rules = [*self._rules, rule]
        return rule

    def remove(self, rule: Rule) -> None:
        self._rules = [other for other in self._rules if other is not rule]

    def clear(self) -> None:
        """Remove all rules."""
        self._rules = []

    def forget(self) -> None:
        """Forget the recorded requests and traffic."""
        self.requests = []
        self._received.clear()
        self._sent.clear()
        self.most_in_flight = 0

    def seen(
        self, method: str = "", key: str = "", query: str = "", status: int | None = None
    ) -> list[Request]:
        """The recorded requests that match; the words mean what they mean in `Rule`."""
        rule = Rule(Action(), method, key, query)
        return [
            request
            for request in list(self.requests)
            if (status is None or request.status == status) and rule.applies(request, self._dice)
        ]

    def count(
        self, method: str = "", key: str = "", query: str = "", status: int | None = None
    ) -> int:
        """How many requests match."""
        return len(self.seen(method, key, query, status))

    @property
    def bytes_received(self) -> int:
        """Body bytes from clients."""
        return sum(self._received.values())

    @property
    def bytes_sent(self) -> int:
        """Body bytes to clients."""
        return sum(self._sent.values())

    def peak_received(self, seconds: float = 10.0) -> int:
        """The most body bytes that clients sent within any stretch of this length."""
        return _peak(self._received, seconds)

    def peak_sent(self, seconds: float = 10.0) -> int:
        """The most body bytes that were sent to clients within any stretch of this length."""
        return _peak(self._sent, seconds)

    def peak_requests(self, seconds: float = 10.0) -> int:
        """The most requests that began within any stretch of this length."""
        begun: dict[int, int] = defaultdict(int)
        for request in list(self.requests):
            begun[int(request.started * _TICKS)] += 1
        return _peak(begun, seconds)

    # The work, all on the proxy's own thread

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _shut_down(self) -> None:
        self._server.close()
        await asyncio.sleep(
            0.01
        )  # what was accepted a moment ago begins now, and is ended with the rest
        while self._connections:
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        if self._send_buffer:
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer)
        upstream = _Upstream(self.upstream)
        try:
            while (head := await _read_head(reader)) is not None:
                method, target, _ = head[0].split(" ", 2)
                request = Request(method, target, Headers(head[1]))
                self.requests.append(request)
                self._in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self._in_flight)
                try:
                    go_on = await self._exchange(request, reader, writer, upstream)
                finally:
                    self._in_flight -= 1
                    request.ended = time.monotonic()
                if not go_on:
                    break
        except Cut as cut:
            if cut.reset:
                # A zero linger time turns closing into RST.
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
                writer.transport.abort()
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # one side went away, or the proxy closes
        finally:
            self._connections.discard(task)
            upstream.close()
            writer.close()

    async def _exchange(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream: _Upstream,
    ) -> bool:
        """Answer one request. Returns whether the connection can be used for another."""
        client_closes = (request.headers.get("connection") or "").lower() == "close"
        waits_to_send = (request.headers.get("expect") or "").lower() == "100-continue"
        # The proxy answers the expectation itself; it is never among the signed headers.
        request.headers.remove("expect")
        body = request.body = self._counted_in(request, _read_body(reader, request.headers))

        rules = [rule for rule in self._rules if rule.applies(request, self._dice)]
        reply = None
        for rule in rules:
            request.faults.append(type(rule.action).__name__)
            reply = await rule.action.request(request)
            if reply is not None:
                break

        if reply is not None:
            if not reply.early and not waits_to_send:
                async for _ in body:
                    pass
            await self._send(request, reply.to(request), writer)
            if reply.early:
                await _part_gently(reader, writer)
            return not (client_closes or reply.early)

        if waits_to_send:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        response, sending = await upstream.ask(request)
        try:
            if sending is not None:
                # The answer often overtakes the note that the last of the body was sent.
                await asyncio.wait({sending}, timeout=0.05)
            answered_early = sending is not None and not sending.done()
            for rule in rules:
                await rule.action.response(request, response)
            await self._send(request, response, writer)
        finally:
            if sending is not None:
                sending.cancel()
        server_closes = (response.headers.get("connection") or "").lower() == "close"
        if answered_early:
            await _part_gently(reader, writer)
        # When this connection ends, so does the one to the server.
        return not (client_closes or server_closes or answered_early)

    async def _counted_in(
        self, request: Request, body: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        async for chunk in body:
            request.received += len(chunk)
            self._received[int(time.monotonic() * _TICKS)] += len(chunk)
            yield chunk

    async def _send(
        self, request: Request, response: Response, writer: asyncio.StreamWriter
    ) -> None:
        request.status = response.status
        writer.write(response.headers.encode(f"HTTP/1.1 {response.status} {response.reason}"))
        chunked = "transfer-encoding" in response.headers
        async for chunk in response.body:
            # Never more than a piece at a time, so that what is recorded as sent is not merely
            # buffered.
            for start in range(0, len(chunk), _CHUNK):
                piece = chunk[start : start + _CHUNK]
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                await writer.drain()
                request.sent += len(piece)
                self._sent[int(time.monotonic() * _TICKS)] += len(piece)
        if chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()


class _Upstream:
    """One client connection's connection to the real server, made again when it is gone."""

    def __init__(self, server: S3Server) -> None:
        address = urlsplit(server.url)
        assert address.hostname is not None
        self._host, self._port = address.hostname, address.port
        self._ssl = (
            ssl.create_default_context(cafile=server.ca) if address.scheme == "https" else None
        )
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def ask(self, request: Request) -> tuple[Response, asyncio.Task[None] | None]:
        """Send the request and read the head of the answer. Also returns the task that sends the
        body."""
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            self._streams = await asyncio.open_connection(
                self._host, self._port, ssl=self._ssl, limit=1 << 20
            )
        reader, writer = self._streams
        writer.write(request.headers.encode(f"{request.method} {request.target} HTTP/1.1"))
        sending = None
        if "content-length" in request.headers or "transfer-encoding" in request.headers:
            sending = asyncio.create_task(self._send_body(request, writer))
        answer = asyncio.create_task(self._read_answer(request, reader))
        try:
            if sending is not None:
                await asyncio.wait({sending, answer}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()  # the client broke off: so does the proxy
            return await answer, sending
        except BaseException:
            for task in (sending, answer):
                if task is not None:
                    task.cancel()
                    with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
                        await task
            self.close()
            raise

    async def _send_body(self, request: Request, writer: asyncio.StreamWriter) -> None:
        chunked = "transfer-encoding" in request.headers
        async for chunk in request.body:
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
            await writer.drain()
        if chunked:
            writer.write(b"0\r\n\r\n")

    async def _read_answer(self, request: Request, reader: asyncio.StreamReader) -> Response:
        while True:
            head = await _read_head(reader)
            if head is None:
                raise EOFError
            _, status, reason = (head[0] + "  ").split(" ", 2)
            if status[0] != "1":
                break
        headers = Headers(head[1])
        response = Response(int(status), reason.strip(), headers)
        if request.method != "HEAD" and status not in ("204", "304"):
            framed = "content-length" in headers or "transfer-encoding" in headers
            response.body = _read_body(reader, headers, to_end=not framed)
            if not framed:
                headers.set("Connection", "close")
        return response


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, list[tuple[str, str]]] | None:
    """The first line and the headers; None when the other side closed the connection instead."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *lines = head.decode("latin-1")[:-4].split("\r\n")
    items = []
    for line in lines:
        name, _, value = line.partition(":")
        items.append((name, value.strip(" \t")))  # 0x85 and 0xA0 are no space here
    return first, items


async def _read_body(
    reader: asyncio.StreamReader, headers: Headers, *, to_end: bool = False
) -> AsyncIterator[bytes]:
    if "transfer-encoding" in headers:
        while size := int((await reader.readline()).partition(b";")[0], 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
        while (await reader.readline()).strip():  # trailers
            pass
        return
    left = int(headers.get("content-length") or 0)
    while to_end or left > 0:
        chunk = await reader.read(_CHUNK if to_end else min(left, _CHUNK))
        if not chunk:
            if to_end:
                return
            raise EOFError
        left -= len(chunk)
        yield chunk


async def _part_gently(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close without losing an answer that the client has not read: with input unread, closing would
    reset."""
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            while await reader.read(_CHUNK):
                pass


def _peak(series: Mapping[int, int], seconds: float) -> int:
    """The greatest sum over any window of the series, whose keys are ticks."""
    width = round(seconds * _TICKS)
    points = sorted(dict(series).items())
    best = total = first = 0
    for tick, amount in points:
        total += amount
        while points[first][0] <= tick - width:
            total -= points[first][1]
            first += 1
        best = max(best, total)
    return best
