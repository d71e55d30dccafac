"""HTTP for registries: what is refused, what an error says, and that nothing goes on that nobody
waits for."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from dth.core.errors import (
    ConnectionFailed,
    EndpointRefused,
    ObjectRefused,
    TransferError,
    Transient,
    Unreachable,
)
from dth.images.registry.http import CONNECTIONS, LIMIT, Http
from tests.servers.certificates import make_certificates
from tests.servers.script import ForwardProxy, Last, Script, always

if TYPE_CHECKING:
    from pathlib import Path

    from dth.core.transport import Transport

pytestmark = pytest.mark.quick

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
KIB = 1024


@pytest.fixture
def http(transport: Transport) -> Http:
    return Http(transport)


def with_length(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def in_chunks(body: bytes) -> bytes:
    pieces = [body[at : at + 16 * KIB] for at in range(0, len(body), 16 * KIB)]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in [*pieces, b""])


def until_the_end(body: bytes) -> Last:
    return Last(b"HTTP/1.1 200 OK\r\n\r\n" + body)


# --------------------------------------------------------------------------------- what is answered


@pytest.mark.parametrize("limit", [1000, 3 * KIB * KIB, LIMIT])
@pytest.mark.parametrize("form", [with_length, in_chunks, until_the_end])
async def test_an_answer_has_a_limit(http: Http, form: type, limit: int) -> None:
    async with always(form(b"x" * limit)) as server:
        assert len((await http.request("GET", server.url, {}, limit=limit)).body) == limit
    for more in (1, 100_000, 2 * KIB * KIB):
        async with always(form(b"x" * (limit + more))) as server:
            with pytest.raises(ObjectRefused, match=f"sends more than the {limit} bytes") as told:
                await http.request("GET", server.url, {}, limit=limit)
            assert told.value.code == "TooLarge"


async def test_an_answer_without_end_is_ended(http: Http) -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                await writer.drain()
        except OSError:
            gone.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ObjectRefused, match="sends more than") as told:
            await http.request("GET", f"http://127.0.0.1:{port}/", {})
        assert told.value.code == "TooLarge"
        await asyncio.wait_for(gone.wait(), 5)


async def test_the_length_that_a_head_states_is_no_answer(http: Http) -> None:
    async with always(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n") as server:
        answer = await http.request("HEAD", server.url, {}, limit=1000)
        assert (answer.status, answer.body) == (200, b"")


async def test_an_error_has_a_limit_as_well(http: Http) -> None:
    async with always(with_length(b"x" * 5000, "404 Not Found")) as server:
        assert (await http.request("GET", server.url, {}, limit=5000)).status == 404
        with pytest.raises(ObjectRefused, match="sends more than"):
            await http.request("GET", server.url, {}, limit=4999)


async def test_headers_that_come_twice_are_a_list(http: Http) -> None:
    answer = (
        b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\nHTTP/1.1 401 Unauthorized\r\nContent-Length: "
        b"0\r\n"
        b'WWW-Authenticate: Basic realm="r"\r\nDate: now\r\nwww-authenticate:  Bearer '
        b'realm="https://h/t" \r\n\r\n'
    )
    async with always(answer) as server:
        headers = (await http.request("GET", server.url, {})).headers
    assert (
        headers["www-authenticate"].replace(", ", ",")
        == 'Basic realm="r",Bearer realm="https://h/t"'
    )
    assert headers["date"] == "now"
    assert "x-early" not in headers


async def test_redirects_are_for_the_caller(http: Http) -> None:
    answer = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"
    async with always(answer) as server:
        found = await http.request("GET", f"{server.url}/here", {})
        assert (found.status, found.headers["location"]) == (307, "/there")
        assert len(server.heads) == 1


async def test_what_is_sent(http: Http) -> None:
    async def serve(number: int, reader: asyncio.StreamReader, head: str) -> bytes:
        length = next(
            (line.split()[1] for line in head.split("\r\n") if line.startswith("Content-Length")),
            "0",
        )
        return with_length(head.encode() + await reader.readexactly(int(length)))

    async with Script(serve) as server:
        for method, body in (("PUT", b"manifest"), ("POST", b""), ("DELETE", b""), ("GET", b"")):
            url = f"{server.url}/v2/a/../b?x=%2F"
            said = (await http.request(method, url, {"content-type": "x/y"}, body)).body.decode()
            head, _, sent = said.partition("\r\n\r\n")
            assert head.startswith(f"{method} /v2/a/../b?x=%2F HTTP/1.1")
            assert "content-type: x/y" in head
            assert "Expect" not in head
            assert ("Content-Length: 0" in head) == (method == "POST")
            assert sent.encode() == body


async def test_so_many_requests_at_once(http: Http) -> None:
    """What waits for a place and is cancelled takes none."""
    now = most = 0

    async def serve(number: int, reader: asyncio.StreamReader, head: str) -> bytes:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.05)
        now -= 1
        return OK

    async with Script(serve) as server:
        asking = [
            asyncio.create_task(http.request("GET", server.url, {})) for _ in range(4 * CONNECTIONS)
        ]
        await asyncio.sleep(0.02)
        for each in asking[: 2 * CONNECTIONS]:
            each.cancel()
        found = await asyncio.gather(*asking, return_exceptions=True)
        most = 0
        found += await asyncio.gather(
            *(http.request("GET", server.url, {}) for _ in range(3 * CONNECTIONS))
        )
    assert most == CONNECTIONS
    assert sum(isinstance(each, asyncio.CancelledError) for each in found) == 2 * CONNECTIONS
    assert sum(getattr(each, "status", 0) == 200 for each in found) == 5 * CONNECTIONS


# ---------------------------------------------------------------------------------- what goes wrong


async def test_cancelling_ends_the_request_at_once(http: Http) -> None:
    came, gone = asyncio.Event(), asyncio.Event()

    async def serve(number: int, reader: asyncio.StreamReader, head: str) -> bytes:
        came.set()
        if not await reader.read(1):
            gone.set()
        return Last()

    async with Script(serve) as server:
        asking = asyncio.create_task(http.request("GET", server.url, {}))
        await came.wait()
        begun = time.monotonic()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(gone.wait(), 5)
        assert time.monotonic() - begun < 0.5


async def test_nobody_answers(http: Http) -> None:
    async with always(b"") as gone:
        url = gone.url
    for where, code in ((url, "ConnectionFailed"), ("http://no-such-host.invalid", "UnknownHost")):
        with pytest.raises(ConnectionFailed) as told:
            await http.request("GET", where, {})
        assert told.value.code == code
        assert str(told.value).startswith(f"{where.partition('//')[2]}: ")


async def test_an_answer_that_breaks_off_or_never_comes(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.images.registry.http.STALL_TIMEOUT", 1.0)

    async def silent(number: int, reader: asyncio.StreamReader, head: str) -> bytes:
        await reader.read(1)
        return Last()

    broken = always(Last(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok"))
    for script, code in ((broken, "ConnectionBroken"), (Script(silent), "TimeOut")):
        async with script as server:
            with pytest.raises(Transient) as told:
                await Http(transport).request("GET", server.url, {})
            assert told.value.code == code


async def test_certificates(transport: Transport, tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.mkdir()
    other.mkdir()
    made, strange = make_certificates(mine), make_certificates(other)
    async with always(OK, made) as server:
        trusting = Http(transport, ca_bundle=str(made.ca))
        assert (await trusting.request("GET", server.url, {})).body == b"ok"
        for ca, code in (
            (str(strange.ca), "UntrustedCertificate"),
            ("", "UntrustedCertificate"),
            (str(tmp_path / "none.pem"), "BadCaFile"),
        ):
            with pytest.raises(Unreachable) as told:
                await Http(transport, ca_bundle=ca).request("GET", server.url, {})
            assert (told.value.code, isinstance(told.value, EndpointRefused)) == (code, True)
            assert str(told.value).startswith(server.url.removeprefix("https://") + ": ")
        assert (await trusting.request("GET", server.url, {})).body == b"ok"


async def test_a_server_without_tls(http: Http) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable) as told:
            await http.request("GET", f"https://127.0.0.1:{port}/", {})
        assert told.value.code == "NoTls"


async def test_what_is_no_address(http: Http) -> None:
    """Redirects lead anywhere."""
    for url in ("ftp:x", "http:///x", "gopher://127.0.0.1/"):
        with pytest.raises(Transient):
            await http.request("GET", url, {})


# ------------------------------------------------------------------------------------------ proxies


async def test_the_proxy_of_the_environment(
    transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_certificates(tmp_path)
    async with always(OK) as plain, always(OK, made) as tls, ForwardProxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        http = Http(transport, ca_bundle=str(made.ca))
        for server in (plain, tls):
            assert (await http.request("GET", f"{server.url}/x", {})).body == b"ok"
        assert proxy.lines == [f"GET {plain.url}/x", f"CONNECT {tls.url.removeprefix('https://')}"]
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        for server in (plain, tls):
            assert (await http.request("GET", f"{server.url}/x", {})).body == b"ok"
        assert len(proxy.lines) == 2


async def test_a_proxy_that_cannot_be_used(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    for proxy, code in (
        ("http://127.0.0.1:9", "ConnectionFailed"),
        ("http://no-such-proxy.invalid:3128", "UnknownProxy"),
    ):
        monkeypatch.setenv("http_proxy", proxy)
        with pytest.raises(TransferError) as told:
            await http.request("GET", "http://127.0.0.1:1/", {})
        assert (type(told.value), told.value.code) == (ConnectionFailed, code)
