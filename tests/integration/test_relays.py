"""The extension and libcurl read the same in the same answer, whatever it is."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dth.core import native
from dth.core.errors import TransferError
from dth.core.transport import ConnectOptions, Transport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

OPTIONS = ConnectOptions(connect_timeout=5.0, stall_timeout=5.0)
LIMIT = 3 * 1024 * 1024


class Both:
    """One server that answers as it is told and hangs up, and both ways to ask it."""

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        self._run = self._runner.run
        self._pieces: list[bytes] = []
        self._run(self._listen())
        return self

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/x"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            await reader.readuntil(b"\r\n\r\n")
            for piece in self._pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            writer.close()
            await writer.wait_closed()

    def ask(self, method: str, pieces: list[bytes]) -> list[Any]:
        """What both make of an answer that comes in these pieces."""
        self._pieces = pieces
        with pytest.MonkeyPatch.context() as patch:
            return [
                self._run(self._outcome(patch, relay, method)) for relay in ("native", "python")
            ]

    async def _outcome(self, patch: pytest.MonkeyPatch, relay: str, method: str) -> Any:
        patch.setenv("DTH_RELAY", relay)
        # Of one example each: libcurl may take what follows an answer for the next one.
        with Transport() as transport:
            try:
                answer = await transport.send(method, self._url, {}, options=OPTIONS, limit=LIMIT)
            except TransferError as error:
                return type(error), error.code
            return answer.status, answer.headers, answer.body

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._runner.close()

    async def _end(self) -> None:
        self._server.close()


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    # In CI a missing extension is a failure.
    assert native.BUILT or os.environ.get("CI") != "true"
    if not native.BUILT:
        pytest.skip("the extension is not built: make native")
    with Both() as both:
        yield both


STATUS = st.sampled_from(
    [b"HTTP/1.1 200 OK"] * 6
    + [
        b"HTTP/1.0 200 OK", (
                            b"HTTP/1.1 404 Not "
                            b"Found"
                            ), b"HTTP/1.1 503", b"HTTP/1.1 204 No", b"HTTP/1.1 304 No",
        (
        b"HTTP/1.1 206 Partial: "
        b"yes"
        ), b"HTTP/1.1\t200 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 20 OK",
        b"HTTP/1.2 200 OK", b"HTTP/2 200 OK", b"HTTP/3 200 OK", b"HTTP/1.1 099 OK",
        b"HTTP/1.1 999 OK", b"ICY 200 OK",
        b"HTTP/1.1 100 Continue", b"HTTP/1.1 200 a\0b", b"HTTP/1.1 200 a\rb",
        b" HTTP/1.1 200",
    ]
)  # fmt: skip
NAMES = st.sampled_from(
    [
        b"ETag", b"x-amz-meta-a", b"X-AMZ-META-A", b"Date", b"Connection", b"Content-Length",
        b"Transfer-Encoding",
        b"Content-Type", b"Content-Encoding", b"Trailer", b"x\xe9", b"a b", b"", b"Content-Length ",
        b" x", b"Location",
    ]
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(
        [
            b"5", b" 5 ", b"05", b"5,5", b"5, 6", b"-5", b"+5", b"5 5", b"", b"0", b"5x",
            b"9223372036854775807",
            b"3145728", b"3145729", b"close", b"Keep-Alive", b"keep-alive, close", b"chunked",
            b"gzip", b"gzip, chunked", b"chunked, gzip", b"identity", b"chunked,chunked",
            b"Chunked ", b"a\r\n b",
            b'"e"', b"a\r\n\tb", b"a:b", b"\xa0\xff\x85", b"a\0b", b"a\rb", b"\t a \t", b"a,b",
            b"x\r\n",
            b"HTTP/1.1 200 OK",
        ]
    ),
    st.binary(max_size=6),
)  # fmt: skip
BREAKS = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r\r\n"])
BODIES = st.sampled_from(
    [
        b"hello", b"", b"hell", b"hello, world", b"5\r\nhello\r\n0\r\n\r\n",
        b"5;a=b\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n", (
                            b"05\r\nhello\r\n0\r\nx-sum: 1\r\nETag: "
                            b"t\r\n\r\n"
                            ), b"5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        (
        b"5 "
        b"\r\nhello\r\n0\r\n\r\n"
        ), b"5\r\nhelloo\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n", b"5\r\nhello\r\n",
        b"-5\r\nhello\r\n", b"fffffffffffffffff\r\n",
        b"300000\r\n" + b"x" * 0x300000 + b"\r\n0\r\n\r\n",
        b"300000\r\n" + b"x" * 0x300000 + b"\r\n1\r\nx\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\nmore", b"G\r\n", b"\r\n",
        b"5\r\nhello\r\r\n0\r\n\r\n", b"0\r\n\r\n", b"5\r\nhello0\r\n\r\n",
    ]
)  # fmt: skip


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    colon = st.sampled_from([b": ", b":", b":  ", b""])
    headers = [draw(NAMES) + draw(colon) + draw(VALUES) for _ in range(draw(st.integers(0, 4)))]
    lines = [draw(STATUS), *headers]
    framing = draw(
        st.sampled_from(
            [b"", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Content-Length: 3145728"]
        )
    )
    if framing:
        lines.insert(draw(st.integers(1, len(lines))), framing)
    head = b"".join(line + draw(BREAKS) for line in lines)
    interim = draw(st.sampled_from([b"", b"", b"", b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n"]))
    whole = (
        interim
        + head
        + draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b""]))
        + draw(BODIES)
    )
    end = draw(st.one_of(st.none(), st.none(), st.integers(0, min(len(whole), 400))))
    return whole[:end]


@given(
    st.sampled_from(["GET", "GET", "GET", "HEAD"]),
    answers(),
    st.lists(st.integers(1, 300), max_size=3),
)
@settings(max_examples=300, deadline=None)
def test_both_read_the_same(both: Both, method: str, answer: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(answer)]
    pieces = [answer[a:b] for a, b in itertools.pairwise(places) if b > a]
    ours, libcurl = both.ask(method, pieces)
    assert ours == libcurl
