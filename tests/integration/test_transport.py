"""HTTP as it goes wrong: whatever a server does, a request ends with an answer or an error that
says what to do."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import os
import random
import socket
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dth.core import native
from dth.core.errors import ConnectionFailed, ObjectChanged, TransferError, Transient, Unreachable
from dth.core.transport import UNSIZED_LIMIT, ConnectOptions, Pipe, Response, Transport
from tests.clients import connect, connect_options
from tests.servers.certificates import make_certificates
from tests.servers.proxy import Proxy, Reply, Reset, SlowDown, Stall, Truncate
from tests.servers.script import ForwardProxy, Last, Script, always

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from tests.servers.ministack import MiniStack

MIB = 1024 * 1024
OPTIONS = ConnectOptions(connect_timeout=5.0, stall_timeout=20.0)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(params=["native", "python"])
def relay(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who sends the requests: the extension, or libcurl alone."""
    monkeypatch.setenv("DTH_RELAY", request.param)
    if request.param == "native" and not native.available():
        pytest.skip("the extension is not built: make native")
    return str(request.param)


@pytest.fixture
async def transport(relay: str) -> AsyncIterator[Transport]:
    """HTTP on the loop of the test, each way."""
    with Transport() as transport:
        assert (transport._native is not None) == (relay == "native")
        yield transport


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def body_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def get(transport: Transport, url: str, **options: Any) -> Response:
    settings: dict[str, Any] = {"options": OPTIONS, **options}
    return await transport.send("GET", url, {}, **settings)


# -------------------------------------------------------------------------------------- connections


async def test_connections_are_used_again(transport: Transport) -> None:
    async with always(OK) as server:
        for _ in range(20):
            response = await get(transport, f"{server.url}/x")
            assert (response.status, response.body) == (200, b"ok")
        assert server.connections == 1
        await asyncio.gather(*(get(transport, f"{server.url}/x") for _ in range(40)))
        connections = server.connections
        assert connections <= 40
        await asyncio.gather(*(get(transport, f"{server.url}/x") for _ in range(40)))
        assert server.connections == connections
        assert transport.requests == 100


async def test_a_connection_that_the_server_closed_meanwhile_is_replaced(
    transport: Transport,
) -> None:
    async def serve(number: int, reader: asyncio.StreamReader, head: str) -> bytes:
        if number == 1 and len(server.heads) == 2:
            return Last()  # closes instead of answering the second request
        return OK

    async with Script(serve) as server:
        assert (await get(transport, server.url)).body == b"ok"
        assert (await get(transport, server.url)).body == b"ok"
        assert server.connections == 2


async def test_a_connection_on_which_the_answer_came_early_is_not_used_again(
    transport: Transport,
) -> None:
    async def serve(number: int, reader: asyncio.StreamReader, head: str) -> bytes:
        if head.startswith("PUT"):
            # and reads nothing of the body
            return b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
        return OK

    async with Script(serve) as server:
        for body in (b"x" * 16 * MIB, [b"x" * MIB] * 16):
            response = await transport.send("PUT", server.url, {}, body, options=OPTIONS)
            assert (response.status, response.body) == (403, b"no")
            before = server.connections
            assert (await get(transport, server.url)).body == b"ok"
            assert server.connections == before + 1
            assert server.heads[-1].startswith("GET")


async def test_an_early_answer_of_a_store_is_an_answer(
    transport: Transport, s3_a: MiniStack, bucket_a: str, proxy_a: Proxy
) -> None:
    rule = proxy_a.rule(Reply(503, "SlowDown", early=True), method="PUT")
    url = f"{proxy_a.url}/{bucket_a}/k"
    for _ in range(5):
        response = await transport.send("PUT", url, {}, b"x" * 4 * MIB, options=OPTIONS)
        assert (response.status, b"SlowDown" in response.body) == (503, True)
    proxy_a.remove(rule)
    client = connect(transport, proxy_a, bucket_a)
    await client.put("k", [b"x" * MIB], {})
    assert (await client.head("k")).headers["content-length"] == str(MIB)


async def test_nobody_listens(transport: Transport) -> None:
    async with always(OK) as server:
        url = server.url
    with pytest.raises(ConnectionFailed) as error:
        await get(transport, url)
    assert url.partition("//")[2] in str(error.value)
    assert error.value.code == "ConnectionFailed"


async def test_no_such_host(transport: Transport) -> None:
    with pytest.raises(ConnectionFailed, match=r"no-such-host\.invalid: could not resolve host"):
        await get(transport, "http://no-such-host.invalid/x")


async def test_a_connection_that_is_never_made_is_a_failed_one(transport: Transport) -> None:
    # A listener whose queue is full takes no connection, and refuses none either.
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        with pytest.raises(ConnectionFailed):
            await get(
                transport, f"http://127.0.0.1:{address[1]}/x", options=ConnectOptions("", "", 0.3)
            )


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n\r\n",
        b"220 smtp.example.com ESMTP\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"\x00\x01\x02\x03" * 100,
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nConte",
    ],
)
async def test_garbage_is_a_passing_failure(transport: Transport, answer: bytes) -> None:
    async with always(Last(answer)) as server:
        with pytest.raises(Transient):
            await get(transport, server.url)
    async with always(OK) as server:
        assert (await get(transport, server.url)).body == b"ok"


async def test_what_follows_an_answer_is_not_taken_for_the_next_one(transport: Transport) -> None:
    async with always(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong") as server:
        for _ in range(3):
            assert (await get(transport, server.url)).body == b"ok"
            await asyncio.sleep(0.01)


# ------------------------------------------------------------------------------------------- faults


async def test_an_answer_that_breaks_off_is_a_passing_failure(
    transport: Transport, s3_a: MiniStack, bucket_a: str, proxy_a: Proxy
) -> None:
    s3_a.put(bucket_a, "k", body_of(3 * MIB))
    client = connect(transport, proxy_a, bucket_a)
    for action in (
        Reset(after=MIB),
        Truncate(after=MIB),
        Reset(after=0),
        Truncate(after=3 * MIB - 1),
    ):
        rule = proxy_a.rule(action, method="GET")
        with pytest.raises(Transient) as error:
            await client.get("k", size=3 * MIB)
        assert error.value.code == "ConnectionBroken"
        assert not isinstance(error.value, ConnectionFailed)
        proxy_a.remove(rule)
        assert (await client.get("k", size=3 * MIB)).body == body_of(3 * MIB)


async def test_a_body_that_breaks_off_is_a_passing_failure(
    transport: Transport, bucket_a: str, proxy_a: Proxy
) -> None:
    client = connect(transport, proxy_a, bucket_a)
    for chunks in ([body_of(3 * MIB)], [body_of(MIB), body_of(2 * MIB)]):
        rule = proxy_a.rule(Reset(), method="PUT")
        with pytest.raises(Transient) as error:
            await client.put("k", chunks, {})
        assert error.value.code == "ConnectionBroken"
        proxy_a.remove(rule)
        await client.put("k", chunks, {})
        assert (await client.get("k", size=3 * MIB)).body == b"".join(chunks)


async def test_a_stall_is_a_passing_failure(
    transport: Transport, s3_a: MiniStack, bucket_a: str, proxy_a: Proxy
) -> None:
    s3_a.put(bucket_a, "k", body_of(MIB))
    url = f"{proxy_a.url}/{bucket_a}/k"
    impatient = ConnectOptions("", "", 5.0, 0.5)  # less than a second counts as one

    async def reads_no_more(number: int, reader: asyncio.StreamReader, head: str) -> bytes:
        await reader.readexactly(MIB)
        await asyncio.sleep(60)
        return OK

    async def gives_up(method: str, url: str, body: bytes = b"") -> None:
        with pytest.raises(Transient) as error:
            await transport.send(method, url, {}, body, options=impatient, limit=MIB)
        assert error.value.code == "TimeOut"
        assert not isinstance(error.value, ConnectionFailed)

    async def waits() -> None:
        """What may take its time may."""
        answer = await transport.send("POST", url, {}, b"x", options=impatient, stall_timeout=20)
        assert answer.status >= 400

    proxy_a.rule(Stall(60, after=MIB // 2), method="GET")
    proxy_a.rule(Stall(60), method="HEAD")
    proxy_a.rule(Stall(2.5), method="POST")
    async with Script(reads_no_more) as server:
        await asyncio.gather(
            gives_up("GET", url),
            gives_up("HEAD", url),
            gives_up("PUT", server.url, b"x" * 64 * MIB),
            waits(),
        )


async def test_every_status_is_an_answer(
    transport: Transport, bucket_a: str, proxy_a: Proxy
) -> None:
    url = f"{proxy_a.url}/{bucket_a}/k"
    for status in (200, 301, 400, 403, 404, 412, 416, 429, 500, 501, 503):
        rule = proxy_a.rule(
            Reply(status, "Some", headers={"Location": "http://no-such-host.invalid/"})
        )
        for method, body in (
            ("GET", b""),
            ("HEAD", b""),
            ("PUT", b"x"),
            ("PUT", [b"x"]),
            ("DELETE", b""),
        ):
            response = await transport.send(method, url, {}, body, options=OPTIONS)
            assert response.status == status
            assert (b"<Code>Some</Code>" in response.body) == (method != "HEAD")
        proxy_a.remove(rule)


# -------------------------------------------------------------------------------------------- sizes


async def test_more_than_was_listed_is_another_object(
    transport: Transport, s3_a: MiniStack, bucket_a: str, proxy_a: Proxy
) -> None:
    s3_a.put(bucket_a, "k", body_of(8 * MIB))
    with pytest.raises(ObjectChanged, match="larger than the object was"):
        await get(transport, f"{proxy_a.url}/{bucket_a}/k", limit=2 * MIB)
    assert proxy_a.bytes_sent < 8 * MIB

    chunks = b"".join(b"100000\r\n" + b"x" * MIB + b"\r\n" for _ in range(4)) + b"0\r\n\r\n"
    async with always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks) as server:
        with pytest.raises(ObjectChanged, match="larger than the object was"):
            await get(transport, server.url, limit=2 * MIB)
        assert len((await get(transport, server.url, limit=4 * MIB)).body) == 4 * MIB


async def test_a_page_of_a_listing_may_be_large(transport: Transport) -> None:
    """A thousand keys of 1,024 bytes each, encoded, are more than three megabytes."""
    page = b"x" * 5 * MIB
    async with always(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(page), page)
    ) as server:
        assert len((await get(transport, server.url)).body) == len(page)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (UNSIZED_LIMIT + 1)
    async with always(head) as server:
        with pytest.raises(Transient):
            await get(transport, server.url)


async def test_bodies_in_pieces_of_any_size_arrive(
    transport: Transport, s3_a: MiniStack, bucket_a: str
) -> None:
    dice = random.Random(7)
    client = connect(transport, s3_a, bucket_a)
    for number in range(12):
        sizes = [
            dice.choice([1, 5, 16384, 65536, 262144, 300_001, MIB])
            for _ in range(dice.randrange(2, 9))
        ]
        chunks = [dice.randbytes(size) for size in sizes]
        written = await client.put(f"k{number}", chunks, {})
        assert written.etag == hashlib.md5(b"".join(chunks)).hexdigest()


async def test_many_requests_at_once(transport: Transport, s3_a: MiniStack, bucket_a: str) -> None:
    client = connect(transport, s3_a, bucket_a)
    await asyncio.gather(*(client.put(f"k{n}", [b"%d" % n], {}) for n in range(300)))
    answers = await asyncio.gather(*(client.get(f"k{n}", size=len(str(n))) for n in range(300)))
    assert [answer.body for answer in answers] == [b"%d" % n for n in range(300)]


# ------------------------------------------------------------------------------------------ headers


async def test_headers_arrive_byte_for_byte(transport: Transport) -> None:
    values = {
        "x-amz-meta-utf8": "à…Å".encode(),  # ends in 0x85, with 0xA0 inside
        "x-amz-meta-latin": b"\xa0 \xff \x85",
        "x-amz-meta-spaces": b"a  b",
        "x-amz-meta-colon": b"a: b:c",
        "x-amz-meta-empty": b"",
    }
    lines = b"".join(
        b"%b:%b\r\n" % (name.upper().encode(), value) for name, value in values.items()
    )
    answer = (
        b"HTTP/1.1 100 Continue\r\nX-Interim: yes\r\n\r\n"
        b'HTTP/1.1 200 It is: fine\r\nETag:  "e" \t\r\n' + lines + b"Content-Length: 0\r\n\r\n"
    )
    async with always(answer) as server:
        response = await get(transport, server.url)
        assert response.status == 200
        assert response.headers == {
            "etag": '"e"',
            "content-length": "0",
            **{name: value.decode("latin-1") for name, value in values.items()},
        }
        sent = {name: value.decode("latin-1") for name, value in values.items()}
        for body in (b"", b"x", [b"x", b"y"]):
            await transport.send(
                "GET" if not body else "PUT", server.url, sent, body, options=OPTIONS
            )
            received = dict(
                line.split(":", 1) for line in server.heads[-1].split("\r\n")[1:] if line
            )
            for name, value in sent.items():
                assert received[name].removeprefix(" ") == value
            # Nothing of libcurl's own that a signature would not cover, or a server might wait for.
            assert {name.lower() for name in received} - sent.keys() <= {
                "host",
                "content-length",
                "accept",
                "user-agent",
            }


# --------------------------------------------------------------------------------- memory and files


async def test_bodies_are_let_go_when_a_request_ends(
    transport: Transport, s3_a: MiniStack, bucket_a: str
) -> None:
    """The budget counts a body until its request ends; an idle handle must not keep it."""
    client = connect(transport, s3_a, bucket_a)
    bodies = [body_of(MIB)] * 16
    await asyncio.gather(*(client.put(f"k{n}", [body], {}) for n, body in enumerate(bodies)))
    tracemalloc.start()
    try:
        for chunked in (False, True):
            await asyncio.gather(
                *(
                    client.put(
                        f"k{n}",
                        [os.urandom(MIB // 2), os.urandom(MIB // 2)][: 2 if chunked else 1],
                        {},
                    )
                    for n in range(16)
                )
            )
        await asyncio.gather(*(client.get("k1", size=MIB) for _ in range(16)))
        await asyncio.sleep(0)  # the loop itself holds what it has just passed on
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD"])
async def test_cancelling_leaves_nothing_open(
    s3_a: MiniStack, bucket_a: str, method: str, relay: str
) -> None:
    gc.collect()
    before = open_files()
    transport = Transport()
    client = connect(transport, s3_a, bucket_a)
    s3_a.put(bucket_a, "k", body_of(MIB))

    async def one() -> None:
        if method == "GET":
            await client.get("k", size=MIB)
        elif method == "PUT":
            await client.put("k", [body_of(MIB)], {})
        else:
            await client.head("k")

    dice = random.Random(3)
    for _ in range(8):
        tasks = [asyncio.create_task(one()) for _ in range(10)]
        await asyncio.sleep(dice.random() * 0.03)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {type(None), asyncio.CancelledError}
    await one()
    assert client.gate.in_flight == 0
    # A worker that lives long must not collect them either.
    assert open_files() <= before + (4 if relay == "native" else 3) + 10
    transport.close()
    assert open_files() <= before


async def test_cancelled_in_the_moment_it_finishes(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with always(OK) as server:
        holder, name = (
            (transport._native, "_settle") if transport._native else (transport, "_finish")
        )
        finish = getattr(holder, name)

        def finish_and_cancel(*arguments: Any) -> None:
            finish(*arguments)
            if task._fut_waiter.done():
                task.cancel()

        monkeypatch.setattr(holder, name, finish_and_cancel)
        task = asyncio.create_task(get(transport, server.url))
        with pytest.raises(asyncio.CancelledError):
            await task
        monkeypatch.undo()
        assert (await get(transport, server.url)).body == b"ok"


async def test_cancelled_in_the_moment_it_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    if not native.available():
        pytest.skip("the extension is not built: make native")
    async with always(OK) as server:
        with Transport() as transport:
            assert transport._native
            connect = transport._native._connect

            async def connect_and_cancel(*arguments: Any) -> None:
                await connect(*arguments)
                task.cancel()

            before = open_files()
            monkeypatch.setattr(transport._native, "_connect", connect_and_cancel)
            task = asyncio.create_task(get(transport, server.url))
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.1)  # the server closes its end
            assert open_files() == before


async def test_closing_ends_what_is_under_way(relay: str) -> None:
    transport = Transport()
    reached = asyncio.Event()

    async def serve(number: int, reader: asyncio.StreamReader, head: str) -> bytes:
        reached.set()
        await asyncio.sleep(30)
        return OK

    async with Script(serve) as server:
        tasks = [asyncio.create_task(get(transport, server.url)) for _ in range(3)]
        await reached.wait()
        late = asyncio.create_task(get(transport, server.url))
        await asyncio.sleep(0)
        transport.close()
        outcomes = await asyncio.gather(*tasks, late, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}


# ---------------------------------------------------------------------------------- TLS and proxies


async def test_tls_with_an_authority_of_its_own(
    transport: Transport, s3_tls: MiniStack, tmp_path: Path
) -> None:
    bucket = s3_tls.bucket()
    client = connect(transport, s3_tls, bucket)
    await client.put("k", [body_of(3 * MIB)], {})
    await client.put("k2", [body_of(MIB), b"x"], {})
    assert (await client.get("k", size=3 * MIB)).body == body_of(3 * MIB)

    other = make_certificates(tmp_path)
    for ca, says in (
        (str(other.ca), "certificate"),  # another authority
        ("", "certificate"),  # those of the system only
        (str(tmp_path / "none.pem"), "none.pem"),
    ):
        stranger = connect(transport, s3_tls, bucket, connect=connect_options(s3_tls, ca_bundle=ca))
        with pytest.raises(Unreachable) as error:
            await stranger.head("k")
        line = str(error.value)
        assert line.startswith(f"127.0.0.1:{s3_tls.port}: ")
        assert says in line
        assert "\n" not in line
    assert (await client.head("k")).status == 200
    s3_tls.drop(bucket)


async def test_tls_to_one_that_speaks_none(transport: Transport) -> None:
    async with always(Last(b"220 hello\r\n")) as server:
        # The head that it waits for never comes: it is told what TLS begins with.
        task = asyncio.create_task(
            get(
                transport,
                server.url.replace("http", "https"),
                options=ConnectOptions("", "", 1.0, 1.0),
            )
        )
        with pytest.raises(ConnectionFailed):
            await task


async def test_a_proxy_is_used_for_http(
    transport: Transport, s3_a: MiniStack, bucket_a: str
) -> None:
    async with ForwardProxy() as proxy:
        client = connect(transport, s3_a, bucket_a, connect=connect_options(s3_a, proxy=proxy.url))
        await client.put("x/../y", [b"body"], {})
        assert proxy.lines == [f"PUT {s3_a.url}/{bucket_a}/x/../y"]
    assert s3_a.get(bucket_a, "x/../y") == b"body"


async def test_a_proxy_is_used_for_tls(transport: Transport, s3_tls: MiniStack) -> None:
    bucket = s3_tls.bucket()
    async with ForwardProxy() as proxy:
        client = connect(
            transport, s3_tls, bucket, connect=connect_options(s3_tls, proxy=proxy.url)
        )
        await client.put("x//y", [b"body"], {})
        answer = await client.get("x//y", size=4)
        assert answer.body == b"body"
        assert "x-proxy" not in answer.headers
        assert proxy.lines == [f"CONNECT 127.0.0.1:{s3_tls.port}"]
    s3_tls.drop(bucket)


async def test_a_proxy_that_cannot_be_used_is_named(
    transport: Transport, s3_a: MiniStack, s3_tls: MiniStack, bucket_a: str
) -> None:
    async with ForwardProxy() as gone:
        url = gone.url
    for proxy in (url, "http://no-such-proxy.invalid:3128"):
        client = connect(transport, s3_a, bucket_a, connect=connect_options(s3_a, proxy=proxy))
        with pytest.raises(ConnectionFailed):
            await client.head("k")
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with ForwardProxy(refusal) as strict:
        client = connect(transport, s3_tls, "b", connect=connect_options(s3_tls, proxy=strict.url))
        with pytest.raises(TransferError, match="407"):
            await client.head("k")


# -------------------------------------------------------------------------------------------- pipes


async def through(
    source: Coroutine[Any, Any, Any], sink: Coroutine[Any, Any, Any], pipe: Pipe
) -> list[Any]:
    """Let a GET feed a PUT as the worker does: who fails wakes the other. Returns what became of
    both."""

    async def guarded(work: Coroutine[Any, Any, Any], *, first: bool) -> Any:
        try:
            if not first:
                await pipe.started.wait()
            return await work
        except BaseException:
            pipe.fail()
            raise
        finally:
            work.close()

    both = asyncio.gather(
        guarded(source, first=True), guarded(sink, first=False), return_exceptions=True
    )
    return await asyncio.wait_for(both, 30)


class Measured(Pipe):
    """A pipe that remembers how full it was."""

    most = 0

    def write(self, chunk: bytes) -> int | None:
        result = super().write(chunk)
        self.most = max(self.most, self._held)
        return result


@pytest.fixture
def large(s3_a: MiniStack, bucket_a: str) -> tuple[str, int]:
    """The key and size of an object that does not fit into a pipe."""
    s3_a.put(bucket_a, "large", body_of(24 * MIB))
    return "large", 24 * MIB


@pytest.mark.parametrize("limit", [1, 64 * 1024, 4 * MIB])
async def test_a_pipe_carries_a_body_in_little_memory(
    transport: Transport,
    s3_a: MiniStack,
    s3_b: MiniStack,
    bucket_a: str,
    bucket_b: str,
    large: tuple[str, int],
    limit: int,
) -> None:
    key, size = large
    source, dest = connect(transport, s3_a, bucket_a), connect(transport, s3_b, bucket_b)
    seen = hashlib.md5()
    pipe = Measured(size, limit, seen.update)
    tracemalloc.start()
    try:
        answer, written = await through(
            source.get(key, size=size, sink=pipe),
            dest.request("PUT", key, body=pipe),
            pipe,
        )
        assert tracemalloc.get_traced_memory()[1] < limit + 4 * MIB
    finally:
        tracemalloc.stop()
    assert answer.headers["content-length"] == str(size)
    assert (
        written.headers["etag"].strip('"')
        == seen.hexdigest()
        == hashlib.md5(body_of(size)).hexdigest()
    )
    assert pipe.most <= limit + 256 * 1024


async def test_pipes_side_by_side(
    transport: Transport, s3_a: MiniStack, s3_b: MiniStack, bucket_a: str, bucket_b: str
) -> None:
    source, dest = connect(transport, s3_a, bucket_a), connect(transport, s3_b, bucket_b)
    for number in range(8):
        s3_a.put(bucket_a, f"k{number}", body_of(2 * MIB + number))

    async def one(number: int) -> None:
        key, size = f"k{number}", 2 * MIB + number
        pipe = Pipe(size, 64 * 1024)
        _, written = await through(
            source.get(key, size=size, sink=pipe), dest.request("PUT", key, body=pipe), pipe
        )
        assert written.headers["etag"].strip('"') == hashlib.md5(body_of(size)).hexdigest()

    await asyncio.gather(*(one(number) for number in range(8)))


@pytest.mark.parametrize("action", [Reset(after=5 * MIB), Truncate(after=5 * MIB), SlowDown()])
async def test_a_source_that_fails_ends_both_sides(
    transport: Transport,
    s3_b: MiniStack,
    bucket_a: str,
    bucket_b: str,
    proxy_a: Proxy,
    large: tuple[str, int],
    action: Any,
) -> None:
    key, size = large
    proxy_a.rule(action, method="GET")
    source, dest = connect(transport, proxy_a, bucket_a), connect(transport, s3_b, bucket_b)
    pipe = Pipe(size, 256 * 1024)
    outcomes = await through(
        source.get(key, size=size, sink=pipe), dest.request("PUT", key, body=pipe), pipe
    )
    assert all(isinstance(outcome, Transient) for outcome in outcomes), outcomes
    assert s3_b.keys(bucket_b) == []


@pytest.mark.parametrize("action", [Reset(), SlowDown(), Reply(403, "AccessDenied", early=True)])
async def test_a_destination_that_fails_ends_both_sides(
    transport: Transport,
    s3_a: MiniStack,
    bucket_a: str,
    bucket_b: str,
    proxy_b: Proxy,
    large: tuple[str, int],
    action: Any,
) -> None:
    key, size = large
    proxy_b.rule(action, method="PUT")
    source, dest = connect(transport, s3_a, bucket_a), connect(transport, proxy_b, bucket_b)
    pipe = Pipe(size, 256 * 1024)
    read, written = await through(
        source.get(key, size=size, sink=pipe), dest.request("PUT", key, body=pipe), pipe
    )
    assert isinstance(written, TransferError)
    if isinstance(action, Reply) and action.early:
        assert isinstance(read, Transient)  # it was still being read


async def test_cancelling_both_ends_of_a_pipe_leaves_nothing_open(
    s3_a: MiniStack, s3_b: MiniStack, bucket_a: str, bucket_b: str, large: tuple[str, int]
) -> None:
    key, size = large
    gc.collect()
    before = open_files()
    transport = Transport()
    source, dest = connect(transport, s3_a, bucket_a), connect(transport, s3_b, bucket_b)
    for pause in (0.001, 0.02, 0.05):
        pipe = Pipe(size, 64 * 1024)
        task = asyncio.create_task(
            through(
                source.get(key, size=size, sink=pipe), dest.request("PUT", key, body=pipe), pipe
            )
        )
        await asyncio.sleep(pause)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await asyncio.sleep(0.05)
    assert source.gate.in_flight == dest.gate.in_flight == 0
    transport.close()
    assert open_files() <= before
