"""Hubs that share their tables: one leads, and the others stand by. A hub that stands by answers
each request with the answer of the leader.

The leader makes up a token for this, and publishes it where only hubs read. With the token comes
the address of the client, so that limits and the audit log know it, and nobody else can make one
up. A hub that stands by refuses what another one has forwarded: a request never goes in a circle.
"""

import asyncio
import contextlib
import hmac
import ssl
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

import h11
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dth.platforms.local import graphql
from dth.platforms.postgres.leader import Leader

CONNECT_TIMEOUT = 5.0
# Seconds without a byte of the answer.
STALL_TIMEOUT = 120.0
PIECE = 64 * 1024  # bytes that are read at once
RETRY_AFTER = "5"  # seconds
TOKEN, CLIENT = b"dth-forwarded", b"dth-forwarded-for"
# What is about one connection, and not about the request (RFC 9110, 7.6.1).
OF_CONNECTION = {
    b"connection", b"expect", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
    b"proxy-connection", b"te", b"trailer", b"upgrade",
}  # fmt: skip
MISDIRECTED = 421
NOBODY = "no hub leads at the moment; one of them will in some seconds: try again"

Fields = list[tuple[bytes, bytes]]


class _Failed(Exception):
    """No answer of the leader can be passed on."""

    def __init__(self, text: str, status: int = 503) -> None:
        super().__init__(text)
        self.status = status


class StandBy:
    """What a hub answers while another one leads. `headers`: of its own answers."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._leader: Leader | None = None
        # Ends what was forwarded to a hub that leads no more.
        self._gone = asyncio.Event()

    def follow(self, leader: Leader | None) -> None:
        """From now on, this hub leads; None: nobody does."""
        self._gone.set()
        self._leader, self._gone = leader, asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/healthz":
            await PlainTextResponse("ok\n", headers=self._headers)(scope, receive, send)
            return
        try:
            leader = self._leader
            if _given(scope, TOKEN):
                raise _Failed("another hub takes this one for the leader, but it stands by")
            if not leader:
                raise _Failed(NOBODY)
            if not leader.url:
                raise _Failed(
                    f"the hub that leads, {leader.name}, did not say where other hubs reach it; "
                    "start it with --advertise URL"
                )
            await _Forwarded(leader, self._gone, scope, receive, send).run()
        except _Failed as error:
            headers = {**self._headers, "retry-after": RETRY_AFTER}
            refusal = graphql.failure(str(error), "FAILED")
            await JSONResponse(refusal, error.status, headers)(scope, receive, send)


class Leading:
    """What a hub answers while it leads: its own application, for other hubs as well."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if given := _given(scope, TOKEN):
            if not hmac.compare_digest(given, self._token):
                answer = PlainTextResponse("this hub is not the one that was meant\n", MISDIRECTED)
                await answer(scope, receive, send)
                return
            client = _given(scope, CLIENT).decode("latin-1")
            scope = {**scope, "client": (client, 0) if client else None}
        await self._app(scope, receive, send)


class _Forwarded:
    """One forwarded request, over a connection of its own."""

    def __init__(
        self, leader: Leader, gone: asyncio.Event, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._leader = leader
        self._gone = gone
        self._scope = scope
        self._receive = receive
        self._send = send
        self._http = h11.Connection(h11.CLIENT)
        self._started = False

    async def run(self) -> None:
        """Raises _Failed unless an answer has begun."""
        reader, writer = await self._connect()
        answering = asyncio.create_task(self._answer(reader))
        # Whichever ends first ends the others.
        parts = [
            answering,
            asyncio.create_task(self._pass_body(writer)),
            asyncio.create_task(self._gone.wait()),
        ]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            answered = answering.done()
        finally:
            for each in parts:
                each.cancel()
            ends = await asyncio.gather(*parts, return_exceptions=True)
            writer.close()
        if answered and ends[0] is None:
            return
        if self._started:
            # The client must not take what it has for the whole answer.
            self._scope["state"]["peer"].abort()
        elif answered and isinstance(ends[0], _Failed):
            raise ends[0]
        elif answered or self._gone.is_set():
            raise _Failed(
                f"the hub that leads, {self._leader.name}, did not answer; it may have done what "
                "was asked: look before you try again",
                502,
            )

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        leader, place = self._leader, urlsplit(self._leader.url)
        tls = _tls(leader.certificate) if place.scheme == "https" else None
        port = place.port or (443 if tls else 80)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await asyncio.open_connection(place.hostname, port, ssl=tls)
        except OSError as error:  # a time-out, too
            why = error.strerror or str(error) or f"no answer in {CONNECT_TIMEOUT:.0f} seconds"
            raise _Failed(
                f"the hub that leads, {leader.name}, cannot be reached at {leader.url}: {why}"
            ) from None

    async def _pass_body(self, writer: asyncio.StreamWriter) -> None:
        """Send the request. Returns when the client has left."""
        scope = self._scope
        query = scope["query_string"]
        target = scope.get("raw_path") or scope["path"].encode()
        client = (scope.get("client") or ("",))[0]
        headers = _without(scope["headers"], {TOKEN, CLIENT, b"transfer-encoding"})
        if _given(scope, b"transfer-encoding"):
            headers.append((b"transfer-encoding", b"chunked"))
        request = h11.Request(
            method=scope["method"],
            target=target + b"?" + query if query else target,
            headers=[
                *headers,
                (TOKEN, self._leader.token.encode()),
                (CLIENT, client.encode("latin-1", "replace")),
                (b"connection", b"close"),
            ],
        )
        # The leader may answer, and close, before it has all.
        with contextlib.suppress(ConnectionError):
            writer.write(self._http.send(request) or b"")
            while (message := await self._receive())["type"] == "http.request":
                if body := message.get("body"):
                    writer.write(self._http.send(h11.Data(body)) or b"")
                if not message.get("more_body"):
                    writer.write(self._http.send(h11.EndOfMessage()) or b"")
                    break
                await writer.drain()
            else:
                return
        while (await self._receive())["type"] == "http.request":
            pass

    async def _answer(self, reader: asyncio.StreamReader) -> None:
        """Pass the answer on."""
        try:
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    async with asyncio.timeout(STALL_TIMEOUT):
                        self._http.receive_data(await reader.read(PIECE))
                elif isinstance(event, h11.Response):
                    await self._begin(event)
                elif isinstance(event, h11.Data):
                    await self._send(_body(bytes(event.data), True))
                elif isinstance(event, h11.EndOfMessage):
                    await self._send(_body(b"", False))
                    return
        except (OSError, h11.RemoteProtocolError) as error:
            raise ConnectionError from error

    async def _begin(self, answer: h11.Response) -> None:
        if answer.status_code == MISDIRECTED:
            raise _Failed(
                f"what answers at {self._leader.url} is not the hub that leads, "
                f"{self._leader.name}; start that one with --advertise URL, the address at which "
                "other machines reach it"
            )
        headers = _without(answer.headers, {b"date", b"transfer-encoding"})
        self._started = True
        await self._send(
            {"type": "http.response.start", "status": answer.status_code, "headers": headers}
        )


def _body(data: bytes, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def _given(scope: Scope, name: bytes) -> bytes:
    return Headers(scope=scope).get(name.decode(), "").encode("latin-1")


def _without(headers: Iterable[tuple[bytes, bytes]], names: set[bytes]) -> Fields:
    """The headers to pass on."""
    given = [(name.lower(), value) for name, value in headers]
    listed = {
        each.strip().lower()
        for name, value in given
        if name == b"connection"
        for each in value.split(b",")
    }
    left_out = OF_CONNECTION | listed | names
    return [(name, value) for name, value in given if name not in left_out]


def _tls(certificate: str) -> ssl.SSLContext:
    """Trusts this one certificate, whatever name it has: it comes from the database."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
