"""Connections that the extension serves: which are made, which are kept, and what is left to
libcurl."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import awscrt.checksums
import pytest

from dth.core import native
from dth.core.errors import ConnectionFailed
from dth.core.transport import ConnectOptions, Pipe, Response, Transport
from tests.servers.certificates import make_certificates
from tests.servers.script import Last, Script, always

if TYPE_CHECKING:
    from collections.abc import Iterator

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OPTIONS = ConnectOptions(connect_timeout=5.0, stall_timeout=20.0)

pytestmark = pytest.mark.skipif(
    not native.BUILT and os.environ.get("CI") != "true",
    reason="the extension is not built: make native",
)


class Used(Transport):
    """A transport that tells who served its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.by_libcurl = 0

    async def _send_by_libcurl(self, *arguments: Any) -> Response:
        self.by_libcurl += 1
        return await super()._send_by_libcurl(*arguments)


@pytest.fixture
async def used(monkeypatch: pytest.MonkeyPatch) -> Iterator[Used]:  # type: ignore[misc]
    monkeypatch.delenv("DTH_RELAY", raising=False)
    with Used() as transport:
        yield transport


async def get(transport: Transport, url: str, **settings: Any) -> Response:
    return await transport.send("GET", url, {}, **{"options": OPTIONS, **settings})


# ---------------------------------------------------------------------------------- who serves what


async def test_plain_requests_are_served_here(used: Used) -> None:
    async with always(OK) as server:
        for url in (
            server.url,
            f"{server.url}/",
            f"{server.url}/a?b=c",
            server.url.replace("127.0.0.1", "localhost"),
        ):
            assert (await get(used, url)).body == b"ok"
        for body in (b"", b"x", [b"x", b"y"], []):
            assert (await used.send("PUT", server.url, {}, body, options=OPTIONS)).body == b"ok"
    assert used.by_libcurl == 0
    assert (used.requests, used.bytes_in, used.bytes_out) == (8, 16, 3)


@pytest.mark.skipif(not native.crc64nvme(), reason="this processor computes no CRC64NVME fast")
async def test_a_large_body_is_summed_on_the_way(used: Used) -> None:
    body = os.urandom(1_000_003)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with always(head + body) as server:
        answer = await get(used, server.url, limit=len(body))
    assert answer.chunks == [body]
    assert isinstance(answer.chunks, native.SummedBody)
    assert answer.chunks.crc64nvme == awscrt.checksums.crc64nvme(body)


async def test_what_is_not_plain_is_left_to_libcurl(used: Used) -> None:
    async with always(OK) as server:
        host = server.url.partition("//")[2]
        for url in (
            f"http://user:secret@{host}/",
            f"{server.url}/a#b",
            f"{server.url}?a",
        ):
            await get(used, url)
        await used.send("GET", server.url, {"connection": "close"}, options=OPTIONS)
        await used.send("GET", server.url, {"x": "a\r\n b"}, options=OPTIONS)
        await get(used, server.url, options=ConnectOptions(receive_buffer=65536))
        assert used.by_libcurl == 6
        await get(used, server.url)
        assert used.by_libcurl == 6


async def test_bodies_over_tls_are_served_here(used: Used, tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    options = ConnectOptions(str(made.ca))
    async with always(OK, made) as server:
        for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
            assert (await get(used, url, options=options)).body == b"ok"
            await used.send("PUT", url, {}, b"x" * 50_000, options=options)
            pipe = Pipe(2)
            await get(used, url, options=options, limit=2, sink=pipe)
            assert pipe.read(2) == b"ok"
    assert used.by_libcurl == 0


async def test_tls_is_libcurls_where_there_is_no_openssl(
    used: Used, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "tls_available", lambda: False)
    made = make_certificates(tmp_path)
    async with always(OK, made) as server:
        assert (await get(used, server.url, options=ConnectOptions(str(made.ca)))).body == b"ok"
    assert used.by_libcurl == 1


async def test_a_proxy_of_the_environment_is_libcurls(
    used: Used, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with always(OK) as server:
        assert (await get(used, server.url)).body == b"ok"
    assert used.by_libcurl == 1


async def test_the_environment_leaves_everything_to_libcurl(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DTH_RELAY", "python")
    async with always(OK) as server:
        with Used() as transport:
            await get(transport, server.url)
            assert transport.by_libcurl == 1


# --------------------------------------------------------------------------------------- connecting


def leads_to(monkeypatch: pytest.MonkeyPatch, *places: tuple[str, int]) -> list[str]:
    """Let each name have these addresses; returns the names that are looked up from now on."""
    asked: list[str] = []

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


async def test_the_next_address_is_tried(used: Used, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
        async with always(OK) as server:
            port = int(server.url.rpartition(":")[2])
            refuses, silence, serves = ("127.0.0.1", 9), silent.getsockname(), ("127.0.0.1", port)
            asked = leads_to(monkeypatch, refuses, silence, serves)
            answers = await asyncio.gather(
                *(get(used, "http://several.example/x") for _ in range(5))
            )
            assert [answer.body for answer in answers] == [b"ok"] * 5
        for filler in fillers:
            filler.close()
    assert used.by_libcurl == 0
    assert asked == ["several.example"]  # once for all


async def test_a_connection_that_takes_too_long_is_a_failed_one(used: Used) -> None:
    async def serve(number: int, reader: asyncio.StreamReader, head: str) -> bytes:
        return OK

    async with Script(serve) as server:
        # It never begins with TLS.
        url = server.url.replace("http", "https")
        with pytest.raises(ConnectionFailed, match="connection timed out after 300 milliseconds"):
            await get(used, url, options=ConnectOptions(connect_timeout=0.3))
    assert used.by_libcurl == 0


# ------------------------------------------------------------------------------ connections at rest


def open_sockets() -> int:
    count = 0
    for each in Path("/proc/self/fd").iterdir():
        # Other threads close files meanwhile.
        with contextlib.suppress(FileNotFoundError):
            count += str(each.readlink()).startswith("socket:")
    return count


async def all_closed(before: int) -> None:
    """Return once there are no more sockets than before, which takes the server a moment."""
    async with asyncio.timeout(10):
        while open_sockets() > before:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def test_a_connection_that_rested_too_long_is_not_used(
    used: Used, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with always(OK) as server:
        await get(used, server.url)
        monkeypatch.setattr(native, "LONGEST_REST", 0.0)
        await get(used, server.url)
        assert server.connections == 2


async def test_forgotten_options_keep_no_connection(used: Used) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def serve(number: int, reader: asyncio.StreamReader, head: str) -> bytes:
        if "/slow" in head:
            reached.set()
            await go_on.wait()
        return OK

    async with Script(serve) as server:
        before = open_sockets()
        slow = asyncio.create_task(get(used, f"{server.url}/slow"))
        await reached.wait()
        await get(used, server.url)
        used.forget(OPTIONS)
        go_on.set()
        assert (await slow).body == b"ok"
        await all_closed(before)


async def test_a_connection_closed_at_rest_is_closed_here(used: Used) -> None:
    async def serve(number: int, reader: asyncio.StreamReader, head: str) -> bytes:
        return Last(OK)

    async with Script(serve) as server:
        before = open_sockets()
        for _ in range(3):
            assert (await get(used, server.url)).body == b"ok"
            await all_closed(before)
        assert server.connections == 3
