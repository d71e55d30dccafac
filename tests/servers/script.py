"""Servers on the loop of the test: one that does what the test says, byte for byte, and a proxy of
HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .certificates import Certificates


class Last(bytes):
    """An answer after which the connection is closed."""


class Script:
    """A server that does what a test says: `serve` gets the connection's number, what comes on it,
    and the head of each request, and returns the answer. With `certificates` it speaks TLS.
    """

    def __init__(
        self, serve: Callable[..., Awaitable[bytes]], certificates: Certificates | None = None
    ) -> None:
        self._serve = serve
        self._tls: ssl.SSLContext | None = None
        if certificates:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificates.certificate, certificates.key)
        self.connections = 0
        self.heads: list[str] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        with contextlib.suppress(OSError, EOFError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.heads.append(head)
                answer = await self._serve(number, reader, head)
                writer.write(answer)
                await writer.drain()
                if isinstance(answer, Last):
                    break
        writer.close()


def always(answer: bytes, certificates: Certificates | None = None) -> Script:
    async def serve(number: int, reader: asyncio.StreamReader, head: str) -> bytes:
        return answer

    return Script(serve, certificates)


class ForwardProxy(Script):
    """An HTTP proxy: takes absolute URLs, and CONNECT."""

    def __init__(self, refuse: bytes = b"") -> None:
        super().__init__(self._forward)
        self._refuse = refuse
        self.lines: list[str] = []

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b" ", 2)
        self.lines.append(f"{method.decode()} {target.decode()}")
        if self._refuse:
            writer.write(self._refuse)
            await writer.drain()
            writer.close()
            return
        tunnel = method == b"CONNECT"
        address = target if tunnel else target.split(b"/")[2]
        host, _, port = address.decode().partition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        if tunnel:
            writer.write(b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")
        else:
            path = b"/" + target.split(b"/", 3)[3]
            far_writer.write(head.replace(target, path, 1))
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _forward(self, *_: object) -> bytes:
        return b""

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()
