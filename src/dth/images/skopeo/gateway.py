"""A proxy for a skopeo that works for users of a hub. It connects only where the hub may.

skopeo resolves names itself, follows redirects, and requests tokens where a registry says. All of
these connections use this proxy, because the environment names no other. skopeo bypasses a proxy
only for addresses of its own machine; the kernel blocks these (`landlock`) if the hub's settings
do.
"""

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from dth.core.network import Network
from dth.core.secret_bindings import PORTS, PROXY_PORT

HEAD_LIMIT = 64 * 1024  # bytes per head
HEAD_SECONDS = 60.0  # seconds in which a head must arrive
CONNECT_SECONDS = 30.0
PIECE = 256 * 1024  # bytes
# Hop-by-hop headers.
_HOP = re.compile(rb"(proxy-[a-z-]+|connection|keep-alive):", re.IGNORECASE)

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True)
class Gateway:
    """The state of an open proxy."""

    port: int = 0
    refused: bool = False  # It refused at least one connection.


@contextlib.asynccontextmanager
async def open_gateway(network: Network) -> AsyncIterator[Gateway]:
    """Run the proxy while the context is open."""
    found = Gateway()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_serve(found, network, reader, writer))
        tasks.add(task)
        try:
            await asyncio.wait([task])
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=HEAD_LIMIT)
    try:
        found.port = server.sockets[0].getsockname()[1]
        yield found
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _NoAnswer(Exception):
    """The status to send instead of an answer."""


class _Refused(_NoAnswer):
    """The hub may not connect to this address."""

    def __init__(self) -> None:
        super().__init__("403 Forbidden")


@dataclass(frozen=True, slots=True)
class _Asked:
    """The head of a request."""

    method: str
    where: SplitResult
    version: bytes
    fields: list[bytes]

    @property
    def port(self) -> int:
        return self.where.port or PORTS[self.where.scheme]

    @property
    def tunnels(self) -> bool:
        return self.method == "CONNECT"


async def _serve(
    gateway: Gateway, network: Network, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        asked = _read(await _head(reader))
        there = await _open(network, asked, writer)
        with contextlib.closing(there[1]):
            await _join(asked, (reader, writer), there)
    except _NoAnswer as status:
        gateway.refused = gateway.refused or isinstance(status, _Refused)
        writer.write(
            f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
        )
        with contextlib.suppress(OSError):
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
        pass  # the closed connection is the answer
    finally:
        writer.close()


async def _head(reader: asyncio.StreamReader) -> list[bytes]:
    async with asyncio.timeout(HEAD_SECONDS):
        return (await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n").split(b"\r\n")


def _read(head: list[bytes]) -> _Asked:
    try:
        method, target, version = head[0].split(b" ")
        url = target.decode("ascii")
        where = urlsplit(f"https://{url}" if method == b"CONNECT" else url)
        if where.scheme not in PORTS or not where.hostname or where.port == 0:
            raise ValueError
    except ValueError:
        raise _NoAnswer("400 Bad Request") from None
    return _Asked(
        method.decode("latin-1"), where, version, [f for f in head[1:] if not _HOP.match(f)]
    )


async def _open(network: Network, asked: _Asked, writer: asyncio.StreamWriter) -> _Streams:
    """Open a connection and send the request without its body. `writer` goes to the client."""
    host = asked.where.hostname or ""
    if network.refusal_of_host(host):
        raise _Refused
    proxy = _proxy(asked)
    if proxy:
        streams = await _connect(network, proxy.hostname or "", proxy.port or PROXY_PORT)
    else:
        streams = await _connect(network, host, asked.port)
    if not proxy and asked.tunnels:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        return streams
    target = (
        asked.where.geturl()
        if proxy
        else asked.where._replace(scheme="", netloc="").geturl() or "/"
    )
    if asked.tunnels:
        target = asked.where.netloc
    fields = [*asked.fields, *([] if asked.tunnels else [b"Connection: close"])]
    if proxy and proxy.username:
        login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
        fields.append(b"Proxy-Authorization: Basic " + base64.b64encode(login))
    first = b"%s %s %s" % (asked.method.encode("latin-1"), target.encode("ascii"), asked.version)
    streams[1].write(_lines([first, *fields]))
    return streams


def _proxy(asked: _Asked) -> SplitResult | None:
    """Return the administrator's proxy from the environment, if any."""
    proxies = getproxies()
    found = proxies.get(asked.where.scheme) or proxies.get("all")
    if not found or proxy_bypass(asked.where.netloc):
        return None
    return urlsplit(found if "://" in found else f"http://{found}")


async def _connect(network: Network, host: str, port: int) -> _Streams:
    """Connect to one of the host's current addresses."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=1)
    except (OSError, UnicodeError):
        raise _NoAnswer("502 Bad Gateway") from None
    addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
    allowed = [address for address in addresses if not network.refusal(address)]
    if not allowed:
        raise _Refused
    for address in allowed:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS):
                return await asyncio.open_connection(address, port, limit=HEAD_LIMIT)
    raise _NoAnswer("502 Bad Gateway")


async def _join(asked: _Asked, here: _Streams, there: _Streams) -> None:
    """Pass data in both directions. Each connection is for one request: the next may be for another
    host.
    """
    sending = asyncio.ensure_future(_pour(here[0], there[1], ends=asked.tunnels))
    try:
        if not asked.tunnels:
            await _pass_heads(there[0], here[1])
        await _pour(there[0], here[1], ends=True)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _pass_heads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on the head of an answer and of interim answers before it."""
    while True:
        first, *fields = await _head(reader)
        interim = re.match(rb"HTTP/\S+ 1(?!01)\d\d", first)
        kept = [field for field in fields if not _HOP.match(field)]
        writer.write(_lines([first, *kept, *([] if interim else [b"Connection: close"])]))
        if not interim:
            return


def _lines(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n"


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, ends: bool) -> None:
    """Copy all data. `ends`: then close the writing side."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
        if ends and writer.can_write_eof():
            writer.write_eof()
