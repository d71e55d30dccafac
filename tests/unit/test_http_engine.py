"""The extension that reads and writes HTTP: whatever comes on a connection, and in whatever pieces,
each request ends once, and nothing is left over."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import random
import socket
import ssl
import sys
from asyncio import new_event_loop
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from dth.core import native
from tests.servers.certificates import make_certificates

# In CI a missing extension is a failure.
if os.environ.get("CI") != "true":
    pytest.importorskip("dth._http", reason="the extension is not built: make native")
_http = importlib.import_module("dth._http")

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Iterator, Sequence

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
MOST = 1024 * 1024
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"e\"\r\n\r\nhello",
    (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 "
    b"No\r\nContent-Length: 2\r\n\r\nno"
    ),
    (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0a\r\n, whole "
    b"wo\r\n3\r\nrld\r\n0\r\n\r\n"
    ),
    (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: "
    b"x-sum\r\n\r\n1\r\na\r\n0\r\nx-sum: 1\r\nx-b: 2\r\n\r\n"
    ),
    b"HTTP/1.0 200 OK\nX: a\n  b\n\tc\nX: d\nX: a b c\n\nuntil it is closed",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\nETag: e\r\n\r\n",
)  # fmt: skip


class SealedSocket:
    """The far end of TLS. It says as a plain socket does that it would have to wait."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext) -> None:
        self.sock = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)

    def shake(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.sock.do_handshake()

    def send(self, data: bytes) -> int:
        try:
            return self.sock.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def recv(self, size: int) -> bytes:
        """So many bytes, if they are here: TLS gives a record at a time."""
        found = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            while len(found) < size and (piece := self.sock.recv(size - len(found))):
                found += piece
            return found
        if not found:
            raise BlockingIOError
        return found

    def fileno(self) -> int:
        return self.sock.fileno()

    def close(self) -> None:
        if self.sock.fileno() >= 0:
            # An OSError, or a ValueError after `shutdown`.
            with contextlib.suppress(OSError, ValueError):
                self.sock.unwrap()
        self.sock.close()


class Authority:
    """Both ends of TLS: whom ours trusts, and what the far one shows."""

    def __init__(self, folder: Path) -> None:
        made = make_certificates(folder)
        assert native.tls_available()
        self.trust = _http.Trust(str(made.ca), None)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(made.certificate, made.key)

    def seal(self, ours: socket.socket, far: SealedSocket) -> Any:
        session = self.trust.session(ours.fileno(), "localhost", False)
        while session.handshake():
            far.shake()
        far.shake()
        return session


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class Peer:
    """Both ends of a connection of an engine: a plain one, or one over TLS."""

    def __init__(self, authority: Authority | None = None) -> None:
        self.loop = new_event_loop()
        self.engine = _http.Engine()
        ours, far = socket.socketpair()
        ours.setblocking(False)
        far.setblocking(False)
        self.far: Any = far
        if authority:
            self.far = SealedSocket(far, authority.server)
            self.connection = self.engine.adopt(ours.fileno(), authority.seal(ours, self.far))
        else:
            self.connection = self.engine.adopt(ours.fileno())
        ours.detach()
        self.events: list[Any] = []

    def ask(
        self,
        body: Sequence[bytes] = (),
        *,
        size: int | None = None,
        bodyless: bool = False,
        most: int = MOST,
        granted: int = -1,
        streams: bool = False,
    ) -> Future[Any]:
        future = self.loop.create_future()
        size = sum(map(len, body)) if size is None else size
        assert self.connection.start(
            future, granted, streams, HEAD, body, size, most, bodyless, 60.0
        )
        return future

    def say(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # our end is closed: it was told enough
            while data:
                with contextlib.suppress(BlockingIOError):
                    data = data[self.far.send(data) :]
                self.run()
        self.run()

    def run(self) -> None:
        self.events += self.engine.run()

    def hang_up(self) -> None:
        # What it was asked is read: or else the connection would break.
        with contextlib.suppress(OSError):
            while self.far.recv(1 << 20):
                pass
        self.far.close()
        self.run()

    def close(self) -> None:
        self.far.close()
        self.engine.close()
        self.loop.close()


@pytest.fixture(params=["plain", "over TLS"])
def peer(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Peer]:
    peer = Peer(authority if request.param == "over TLS" else None)
    yield peer
    peer.close()


def outcome_of(
    pieces: Sequence[bytes], *, bodyless: bool = False, authority: Authority | None = None
) -> tuple[Any, ...]:
    """What becomes of a request that is answered so, and the connection closed then."""
    peer = Peer(authority)
    try:
        future = peer.ask(bodyless=bodyless)
        for piece in pieces:
            peer.say(piece)
        peer.hang_up()
        ended = [event for event in peer.events if event[1] is not None]
        assert len(ended) == 1
        connection, same, what, more, chunks = ended[0]
        assert connection is peer.connection
        assert same is future
        assert connection.closed
        return what, more, None if chunks is None else b"".join(chunks)
    finally:
        peer.close()


# ------------------------------------------------------------------------------------ in any pieces


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_may_be_cut_anywhere(answer: bytes) -> None:
    whole = outcome_of([answer])
    assert whole[0] > 0
    for at in range(1, len(answer)):
        assert outcome_of([answer[:at], answer[at:]]) == whole
    assert outcome_of([bytes([byte]) for byte in answer]) == whole


def test_what_an_answer_says() -> None:
    assert outcome_of([ANSWERS[0]]) == (200, {"content-length": "5", "etag": '"e"'}, b"hello")
    assert outcome_of([ANSWERS[1]]) == (404, {"content-length": "2"}, b"no")
    assert outcome_of([ANSWERS[2]])[2] == b"hello, whole world"
    assert outcome_of([ANSWERS[3]])[1]["x-sum"] == "1"
    assert outcome_of([ANSWERS[4]]) == (200, {"x": "a b c,d"}, b"until it is closed")
    assert outcome_of([ANSWERS[5]])[2] == outcome_of([ANSWERS[6]])[2] == b""
    assert outcome_of([ANSWERS[0]], bodyless=True)[2] == b""


def test_another_protocol_is_no_answer() -> None:
    """libcurl takes it for one that ends with the connection."""
    assert (
        outcome_of([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"])[0] == _http.BROKEN
    )


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_breaks_off_is_none(answer: bytes) -> None:
    complete = {outcome_of([answer])[0]}
    until_close = b"\n\n" in answer
    for at in range(len(answer)):
        what = outcome_of([answer[:at]])[0]
        assert what == _http.BROKEN or (
            until_close and at >= answer.index(b"\n\n") + 2 and what in complete
        )


@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
@settings(max_examples=300, deadline=None)
def test_bytes_that_are_no_answer(pieces: list[bytes], bodyless: bool) -> None:
    # What begins in this way can be an answer, however short.
    assume(not b"".join(pieces).startswith(b"HTTP/1."))
    assert outcome_of(pieces, bodyless=bodyless)[0] == _http.BROKEN


@example(ANSWERS[0], 0, b"\r", 0, 1)
@given(
    st.sampled_from(ANSWERS),
    st.integers(0, 200),
    st.binary(max_size=4),
    st.integers(0, 4),
    st.integers(1, 50),
)
@settings(max_examples=500, deadline=None)
def test_an_answer_that_was_changed_on_the_way(
    answer: bytes, at: int, new: bytes, gone: int, step: int
) -> None:
    changed = answer[:at] + new + answer[at + gone :]
    pieces = [changed[n : n + step] for n in range(0, len(changed), step)]
    assert outcome_of(pieces) == outcome_of([changed])


@pytest.mark.parametrize(
    ("length", "most", "what"),
    [
        (b"2", 2, 200),
        (b"3", 2, "TOO_LARGE"),
        (b"9223372036854775807", MOST, "TOO_LARGE"),
        (b"9223372036854775808", MOST, "TOO_LARGE"),
        (b"99999999999999999999999", MOST, "TOO_LARGE"),
        (b"-2", MOST, "BROKEN"),
        (b"+2", MOST, "BROKEN"),
        (b"0x2", MOST, "BROKEN"),
        (b"", MOST, "BROKEN"),
        (b"2, 2", MOST, 200),
        (b"2, 3", MOST, "BROKEN"),
        (b"2\r\nContent-Length: 2", MOST, 200),
        (b"2\r\nContent-Length: 3", MOST, "BROKEN"),
        (b"2\0", MOST, "BROKEN"),
        (b"3\r\nTransfer-Encoding: chunked", MOST, "BROKEN"),
    ],
)
def test_a_length(peer: Peer, length: bytes, most: int, what: int | str) -> None:
    peer.ask(most=most)
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\nok")
    assert [event[2] for event in peer.events] == [
        what if isinstance(what, int) else getattr(_http, what)
    ]


@pytest.mark.parametrize(
    "size", [b"fffffffffffffffff", b"8000000000000000", b"7fffffffffffffff0", b"-1", b"", b" 1"]
)
def test_a_chunk_of_a_size_that_cannot_be(size: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\nx"
    assert outcome_of([answer])[0] == _http.BROKEN


def test_a_chunked_body_has_its_limit(peer: Peer) -> None:
    peer.ask(most=9)
    peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhello\r\n")
    assert [event[2] for event in peer.events] == [_http.TOO_LARGE]


@pytest.mark.parametrize(
    "line", [b"X: " + b"y" * 400_000, b"\r\n".join([b"X: y"] * 6000), b"X: " + b"y" * 1000, b""]
)
def test_a_head_has_its_limit(line: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + line + b"\r\n\r\n"
    what, more, _ = outcome_of([answer])
    assert (what == 200) == (len(line) <= 1003)
    assert what == 200 or more in ("too large response headers", "too many response headers")


def test_heads_without_end_have_their_limit(peer: Peer) -> None:
    peer.ask()
    for _ in range(20_000):
        peer.say(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n")
        if peer.events:
            break
    assert [event[2] for event in peer.events] == [_http.BROKEN]


# -------------------------------------------------------------------------- the checksum on the way

SUMMED = 256 * 1024


@pytest.mark.skipif(not hasattr(_http, "crc64nvme"), reason="this processor computes none fast")
@given(
    st.one_of(st.integers(SUMMED, 3 * SUMMED), st.sampled_from([SUMMED, SUMMED + 1, MOST])),
    st.lists(st.integers(1, SUMMED), max_size=8),
    st.integers(0, 1000),
)
@settings(max_examples=100, deadline=None)
def test_a_large_body_has_its_checksum_however_it_came(
    size: int, steps: list[int], seed: int
) -> None:
    body = random.Random(seed).randbytes(size)
    rest = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body
    peer = Peer()
    try:
        peer.ask()
        for step in steps:
            # Nothing is said of a body that is not complete.
            assert not rest or peer.connection.crc64nvme is None
            peer.say(rest[:step])
            rest = rest[step:]
        peer.say(rest)
        assert peer.events[-1][2:] == (200, {"content-length": str(size)}, [body])
        assert peer.connection.crc64nvme == _http.crc64nvme(body)
        # It is not that of the next answer.
        peer.ask()
        assert peer.connection.crc64nvme is None
        peer.say(ANSWERS[0])
        assert peer.events[-1][4] == [b"hello"]
        assert peer.connection.crc64nvme is None
    finally:
        peer.close()


@pytest.mark.parametrize(
    ("framing", "streams"),
    [
        (b"Content-Length: %d" % (SUMMED - 1), False),
        (b"Content-Length: %d" % SUMMED, True),
        (b"Connection: close", False),
    ],
    ids=["small", "streamed", "of unknown size"],
)
def test_other_bodies_have_no_checksum(peer: Peer, framing: bytes, *, streams: bool) -> None:
    peer.ask(streams=streams)
    peer.say(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing + bytes(SUMMED - 1))
    if streams:
        peer.say(b"x")
    if framing == b"Connection: close":
        peer.hang_up()
    assert peer.events[-1][2] == 200
    assert peer.connection.crc64nvme is None


def test_a_body_that_broke_off_has_no_checksum(peer: Peer) -> None:
    peer.ask()
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SUMMED + bytes(SUMMED - 1))
    peer.hang_up()
    assert peer.events[-1][2] < 0
    assert peer.connection.crc64nvme is None


# -------------------------------------------------------------------------------------- connections


def test_a_connection_is_used_again(peer: Peer) -> None:
    for number in range(5):
        future = peer.ask()
        assert peer.far.recv(1000) == HEAD
        peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
        assert peer.events.pop()[1:] == (future, 200, {"content-length": "1"}, [b"%d" % number])
    peer.far.close()
    assert not peer.connection.start(
        peer.loop.create_future(), -1, False, HEAD, (), 0, MOST, False, 60.0
    )
    assert peer.connection.closed


def test_a_connection_that_rests_and_says_something_is_closed(peer: Peer) -> None:
    for surprise in (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"x"):
        peer = Peer()
        peer.ask()
        peer.say(ANSWERS[0])
        peer.events.clear()
        peer.say(surprise)
        assert peer.connection.closed
        assert [event[1] for event in peer.events] == [None]
        peer.close()


def test_a_used_connection_that_ends_without_an_answer_is_stale(peer: Peer) -> None:
    peer.ask()
    peer.say(ANSWERS[0])
    peer.ask()
    peer.hang_up()
    assert peer.events[-1][2] == _http.STALE


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy",
    ],
)
def test_a_connection_that_serves_no_other_request(peer: Peer, answer: bytes) -> None:
    peer.ask()
    peer.say(answer)
    assert peer.events[-1][2] == 200
    assert peer.connection.closed


def test_an_old_server_may_keep_the_connection(peer: Peer) -> None:
    peer.ask()
    peer.say(b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n")
    assert peer.events[-1][2] == 200
    assert not peer.connection.closed


# ------------------------------------------------------------------------------------------- bodies


def read_all(peer: Peer, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        peer.run()
        with contextlib.suppress(BlockingIOError):
            found += peer.far.recv(1 << 20)
    return bytes(found)


@given(st.lists(st.integers(0, 300_000), max_size=200), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_a_body_in_pieces_arrives(sizes: list[int], seed: int) -> None:
    sizes = sizes[: max(1, 3_000_000 // (max(sizes, default=0) + 1))]
    pieces = [random.Random(seed + n).randbytes(size) for n, size in enumerate(sizes)]
    peer = Peer()
    try:
        peer.ask([*pieces[:1], *map(memoryview, pieces[1:])])
        assert read_all(peer, len(HEAD) + sum(sizes)) == HEAD + b"".join(pieces)
        peer.say(ANSWERS[0])
        assert peer.events[-1][2] == 200
        assert not peer.connection.closed
    finally:
        peer.close()


def test_an_answer_before_the_body_was_sent(peer: Peer) -> None:
    body = b"x" * 8_000_000
    peer.ask([body])
    peer.say(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
    assert peer.events[-1][2:] == (403, {"content-length": "2"}, [b"no"])
    assert peer.connection.closed


def test_a_good_answer_counts_once_the_body_was_sent(peer: Peer) -> None:
    body = b"x" * 8_000_000
    peer.ask([body])
    peer.say(ANSWERS[0])
    assert peer.events == []
    assert len(read_all(peer, len(HEAD) + len(body))) == len(HEAD) + len(body)
    peer.run()
    assert peer.events[-1][2] == 200


def test_a_good_answer_is_none_where_the_body_cannot_be_sent(peer: Peer) -> None:
    peer.ask([b"x" * 8_000_000])
    peer.say(ANSWERS[0])
    peer.hang_up()
    assert peer.events[-1][2] == _http.BROKEN


def test_a_paced_answer_passes_as_it_is_granted(peer: Peer) -> None:
    future = peer.ask(granted=0)
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n")
    peer.say(b"x" * 100_000)
    assert peer.events == [(peer.connection, future, _http.DRY, None, None)]
    passed = peer.connection.passed
    assert passed <= 64 * 1024
    peer.connection.allow(1000)
    peer.run()
    assert peer.connection.passed == passed + 1000
    assert len(peer.events) == 2
    peer.connection.allow(-1)
    peer.say(b"x" * 200_000)
    assert peer.events[-1][2] == 200
    assert len(peer.events[-1][4][0]) == 300_000


def test_a_paced_body_passes_as_it_is_granted(peer: Peer) -> None:
    peer.ask([b"a" * 600, b"b" * 600], granted=0)
    peer.run()
    assert peer.far.recv(10_000) == HEAD
    assert [event[2] for event in peer.events] == [_http.DRY]
    for granted, due in ((500, b"a" * 500), (500, b"a" * 100 + b"b" * 400)):
        peer.connection.allow(granted)
        peer.run()
        assert peer.far.recv(10_000) == due
    peer.connection.allow(-1)
    peer.run()
    assert peer.far.recv(10_000) == b"b" * 200
    peer.say(ANSWERS[0])
    assert peer.events[-1][2] == 200


# ---------------------------------------------------------------------------------------------- TLS


@given(
    st.binary(min_size=1, max_size=100_000),
    st.lists(st.integers(1, 70_000), max_size=8),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_tls_changes_nothing(
    authority: Authority, body: bytes, cuts: list[int], chunked: bool
) -> None:
    framing = f"{len(body):x}\r\n".encode() if chunked else b""
    header = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    end = b"\r\n0\r\n\r\n" if chunked else b""
    rest = b"HTTP/1.1 200 OK\r\n" + header + b"\r\n\r\n" + framing + body + end
    pieces = []
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    plain = outcome_of([*pieces, rest])
    assert plain[2] == body
    assert outcome_of([*pieces, rest], authority=authority) == plain


@given(st.binary(min_size=1, max_size=2000), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_what_is_no_tls_ends_the_request(
    authority: Authority, garbage: bytes, records: int
) -> None:
    """Bytes that somebody puts between records."""
    peer = Peer(authority)
    try:
        peer.ask()
        peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 10_000 * records)
        raw = socket.socket(fileno=os.dup(peer.far.fileno()))
        raw.sendall(garbage + bytes(17_000))
        raw.close()
        for _ in range(3):
            peer.run()
        assert [event[2] for event in peer.events] == [_http.BROKEN]
        assert peer.connection.closed
    finally:
        peer.close()


def test_tls_that_ends_without_a_goodbye_is_broken(authority: Authority) -> None:
    """Anybody on the way can end a connection: a body of unknown length may not have been all."""
    peer = Peer(authority)
    peer.ask()
    peer.say(b"HTTP/1.1 200 OK\r\n\r\nuntil it is closed")
    peer.far.sock.shutdown(socket.SHUT_WR)
    peer.run()
    assert [event[2] for event in peer.events] == [_http.BROKEN]
    peer.close()


def test_what_comes_over_tls_after_an_answer_belongs_to_none(authority: Authority) -> None:
    peer = Peer(authority)
    for more in (b"H", ANSWERS[0]):
        peer.ask()
        peer.say(ANSWERS[0] + more)
        assert peer.events.pop()[2] == 200
        assert peer.connection.closed
        peer.close()
        peer = Peer(authority)
    # What waits in TLS and not in the socket is seen before the next request.
    body = b"x" * 20_000
    peer.ask(most=20_000)
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n")
    peer.say(body + ANSWERS[0])
    assert peer.events.pop()[4] == [body]
    future = peer.loop.create_future()
    assert not peer.connection.start(future, -1, False, HEAD, (), 0, MOST, False, 60.0)
    peer.close()


def is_trusted(
    authority: Authority, server: ssl.SSLContext, host: str, *, is_address: bool = False
) -> bool:
    """Whether the handshake with this server ends well."""
    ours, far = socket.socketpair()
    with ours, far:
        ours.setblocking(False)
        far.setblocking(False)
        sealed = SealedSocket(far, server)
        session = authority.trust.session(ours.fileno(), host, is_address)
        try:
            while session.handshake():
                sealed.shake()
        except ConnectionError:
            return False
        return True


def test_tls_is_for_one_host(authority: Authority) -> None:
    assert is_trusted(authority, authority.server, "localhost")
    assert is_trusted(authority, authority.server, "127.0.0.1", is_address=True)
    assert not is_trusted(authority, authority.server, "example.com")
    assert not is_trusted(authority, authority.server, "127.0.0.2", is_address=True)
    with pytest.raises(ValueError, match="no name"):
        authority.trust.session(0, "", False)


def test_only_what_has_authorities_is_trusted(tmp_path: Path, authority: Authority) -> None:
    stranger = Authority(tmp_path)
    assert not is_trusted(authority, stranger.server, "localhost")
    (tmp_path / "bad.pem").write_text("no certificate")
    for file in ("bad.pem", "missing.pem"):
        with pytest.raises(ValueError, match="no authorities"):
            _http.Trust(str(tmp_path / file), None)


def test_one_library_is_used() -> None:
    assert _http.tls_version("/nowhere/libssl.so.3") == 0
    assert _http.tls_version(sys.executable) == 0
    assert native.tls_available()


# ------------------------------------------------------------------------------------------ streams


def pieces_of(peer: Peer) -> list[bytes]:
    return [event[3] for event in peer.events if event[2] == _http.PIECE]


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nf4240\r\n"]
)
@pytest.mark.parametrize("step", [700, 70_000, 400_000])
def test_a_streamed_body_comes_in_pieces(peer: Peer, framing: bytes, step: int) -> None:
    body = random.Random(1).randbytes(1_000_000)
    answer = (
        b"HTTP/1.1 200 OK\r\n"
        + framing
        + body
        + (b"" if b"Length" in framing else b"\r\n0\r\n\r\n")
    )
    peer.ask(streams=True)
    for at in range(0, len(answer), step):
        peer.say(answer[at : at + step])
    peer.run()
    pieces = pieces_of(peer)
    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= 256 * 1024
    assert len(pieces) <= 5
    assert peer.events[-1][2:3] + peer.events[-1][4:] == (200, [])
    assert not peer.connection.closed


def test_a_streamed_body_that_is_held_waits(peer: Peer) -> None:
    peer.ask(streams=True)
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n")
    peer.connection.hold(True)
    with contextlib.suppress(BlockingIOError):
        for _ in range(600):
            peer.far.send(b"x" * 1000)
    peer.run()
    assert pieces_of(peer) == []
    peer.connection.hold(False)
    peer.run()
    assert len(pieces_of(peer)) <= 1  # one at a time: the caller may have enough


def test_what_little_has_come_does_not_wait_for_more(peer: Peer) -> None:
    peer.ask(streams=True)
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\nfirst")
    assert pieces_of(peer) == []
    peer.events += peer.engine.sweep()
    assert pieces_of(peer) == [b"first"]
    peer.say(b"x" * 599_995)
    peer.run()
    assert sum(map(len, pieces_of(peer))) == 600_000
    assert peer.events[-1][2] == 200


def test_the_body_of_an_error_is_not_streamed(peer: Peer) -> None:
    peer.ask(streams=True)
    peer.say(b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno")
    assert [event[2:] for event in peer.events] == [(404, {"content-length": "2"}, [b"no"])]


def test_a_streamed_body_has_its_limit(peer: Peer) -> None:
    peer.ask(streams=True, most=9)
    peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhello\r\n")
    assert peer.events[-1][2] == _http.TOO_LARGE


def test_a_body_that_is_fed(peer: Peer) -> None:
    peer.ask(size=10)
    assert peer.connection.hungry
    assert peer.far.recv(1000) == HEAD
    peer.connection.feed([b"hel", b"lo"])
    assert peer.connection.hungry
    peer.connection.feed([b"world"])
    assert peer.far.recv(1000) == b"helloworld"
    assert not peer.connection.hungry
    peer.connection.feed([b"lost"])  # not asked for
    peer.say(ANSWERS[0])
    assert [event[2] for event in peer.events] == [200]
    assert not peer.connection.closed


def test_a_body_that_is_fed_faster_than_it_is_taken(peer: Peer) -> None:
    piece = b"x" * 4_000_000
    peer.ask(size=8_000_000)
    assert peer.far.recv(1000) == HEAD
    peer.connection.feed([piece])
    assert not peer.connection.hungry
    peer.connection.feed([piece])  # not asked for
    assert read_all(peer, len(piece)) == piece
    peer.run()
    assert [event[2] for event in peer.events] == [_http.HUNGRY]
    peer.connection.feed([piece])
    assert read_all(peer, len(piece)) == piece
    peer.say(ANSWERS[0])
    assert [event[2] for event in peer.events] == [_http.HUNGRY, 200]


def test_an_error_ends_a_body_that_is_fed(peer: Peer) -> None:
    peer.ask(size=10)
    peer.connection.feed([b"hello"])
    peer.say(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    assert peer.events[-1][2] == 403
    assert peer.connection.closed
    peer.connection.feed([b"world"])


# ------------------------------------------------------------------------------------- what is left


@pytest.mark.parametrize("sealed", [False, True], ids=["plain", "over TLS"])
def test_nothing_is_left_over(sealed: bool, authority: Authority) -> None:
    """Objects and descriptors, after requests that ended in every way."""
    by = authority if sealed else None

    def all_ways() -> None:
        for answer in (*ANSWERS, b"", b"garbage", ANSWERS[0][:-1]):
            outcome_of([answer], authority=by)
        peer = Peer(by)
        peer.ask([b"x" * 1_000_000])
        peer.connection.abort()
        peer.close()
        peer = Peer(by)
        peer.ask([b"x" * 1_000_000])
        del peer.engine, peer.connection
        peer.far.close()
        peer.loop.close()

    def count() -> tuple[int, int, int]:
        gc.collect()
        kinds = [type(each).__name__ for each in gc.get_objects()]
        return (
            len(list(Path("/proc/self/fd").iterdir())),
            kinds.count("Connection"),
            kinds.count("Engine"),
        )

    all_ways()
    before = count()
    memory = sys.getallocatedblocks()
    for _ in range(50):
        all_ways()
    assert count() == before
    assert sys.getallocatedblocks() - memory < 500


def test_an_engine_that_is_closed_does_nothing() -> None:
    peer = Peer()
    future = peer.ask()
    peer.engine.close()
    peer.engine.close()
    assert peer.connection.closed
    assert not future.done()
    assert peer.engine.run() == []
    assert peer.engine.under_way == 0
    with pytest.raises(ValueError, match="closed"):
        peer.engine.adopt(peer.far.fileno())
    peer.close()


def test_one_request_at_a_time(peer: Peer) -> None:
    peer.ask()
    with pytest.raises(RuntimeError):
        peer.ask()


@pytest.mark.parametrize("body", [5, [5], ["text"], None])
def test_a_body_that_is_none(peer: Peer, body: Any) -> None:
    with pytest.raises((TypeError, BufferError)):
        peer.ask(body)


# -------------------------------------------------------------------------------------------- heads


def test_a_head() -> None:
    first = b"Host: x\r\n"
    assert _http.head("GET", "/a?b", first, {}, -1) == b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n"
    assert _http.head("PUT", "/", first, {"a": "b", "c": "", "d": "\xe9"}, 0) == (
        b"PUT / HTTP/1.1\r\nHost: x\r\na: b\r\nc:\r\nd: \xe9\r\nContent-Length: 0\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/a b", {}),
        ("GET", "/a#b", {}),
        ("GET", "/\xe9", {}),
        ("GET", "", {}),
        ("GET", "/\r\nX: y", {}),
        ("GET\r\n", "/", {}),
        ("GET", "/", {"a": "b\r\nc: d"}),
        ("GET", "/", {"a": "b\nc"}),
        ("GET", "/", {"a": "b\0"}),
        ("GET", "/", {"a\r\nb": "c"}),
    ],
)
def test_a_head_in_which_something_would_end_a_line(
    method: str, target: str, headers: dict[str, str]
) -> None:
    assert _http.head(method, target, b"", headers, -1) is None


def test_a_head_holds_bytes() -> None:
    with pytest.raises(UnicodeEncodeError):
        _http.head("GET", "/", b"", {"a": "\u1234"}, -1)
