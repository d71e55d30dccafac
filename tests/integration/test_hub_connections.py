"""Connections that are held open: a hub answers those who send their request, however many others
there are."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from dth.cli.hub import ADDRESS_FILE
from dth.platforms.local import connections as connections_module
from dth.platforms.local.connections import (
    ConnectionLimits,
    Connections,
    ConnectionState,
    raise_descriptor_limit,
)
from tests.engine import wait_for
from tests.servers.certificates import make_certificates
from tests.servers.process import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HALF = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: "
QUICK = 2.0  # seconds within which a hub answers


class Small:
    """A hub that may have 256 descriptors."""

    def __init__(self, folder: Path, *arguments: str, tls: ssl.SSLContext | None = None) -> None:
        self.data, self.tls = folder / "data", tls
        self.output = folder / "up.log"
        env = {
            **os.environ,
            "HOME": str(folder),
            "PYTHONPATH": str(REPOSITORY / "src"),
            "PYTHONUNBUFFERED": "1",
        }
        command = [
            sys.executable,
            "-m",
            "dth",
            "up",
            "--data-dir",
            str(self.data),
            "--port",
            "0",
            *arguments,
        ]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", 'ulimit -n 256 && exec "$@"', "sh", *command],
                env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        wait_for(lambda: (self.data / ADDRESS_FILE).exists() or self.process.poll() is not None)
        self.url = (self.data / ADDRESS_FILE).read_text().strip()
        self.port = int(self.url.rpartition(":")[2])
        made = subprocess.run(
            [sys.executable, "-m", "dth", "token", "create", "--name", "t", "--data-dir",
            str(self.data)],
            env=env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        self.token = made.stdout.strip()

    def connect(self, *, tls: bool = True) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        return self.tls.wrap_socket(made, server_hostname="localhost") if self.tls and tls else made

    def ask(self, request: bytes) -> tuple[bytes, float]:
        """The answer, and how long it took."""
        began = time.monotonic()
        with self.connect() as connection:
            connection.sendall(request)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        return answer, time.monotonic() - began

    def answers(self) -> None:
        """Both a health check and a query of one who is signed in, in time."""
        health, took = self.ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert health.startswith(b"HTTP/1.1 200"), health
        body = json.dumps({"query": "{ listTasksV2 { total } }"}).encode()
        head = (
            "POST /graphql HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "
            f"{self.token}\r\n"
        )
        query, took_too = self.ask(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert b'"total":0' in query, query
        assert max(took, took_too) < QUICK, (took, took_too)

    def lines(self) -> list[str]:
        return [line for line in self.output.read_text().splitlines() if "connections:" in line]

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0
        assert "Traceback" not in self.output.read_text()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Small]:
    hub = Small(tmp_path)
    try:
        yield hub
    finally:
        hub.close()


def hold(hub: Small, count: int, sent: bytes, *, tls: bool = True) -> list[socket.socket]:
    held = []
    for _ in range(count):
        connection = hub.connect(tls=tls)
        with contextlib.suppress(OSError):
            connection.sendall(sent)
        held.append(connection)
    return held


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


@pytest.mark.parametrize(
    "sent",
    [
        HALF,
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz",  # one request, and half another
        b"POST /oidc/token HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\na=",
        b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n",
    ],
    ids=[
        "half a head",
        "nothing",
        "half a second head",
        "half a form",
        "half a query",
        "an upgrade",
    ],
)
def test_a_hub_answers_under_connections_that_only_hold(hub: Small, sent: bytes) -> None:
    held = hold(hub, 250, sent)
    hub.answers()
    held += hold(hub, 250, sent)
    hub.answers()
    assert len(hub.lines()) in (1, 2)
    assert "made room for others" in hub.lines()[0]
    for each in held:
        each.close()
    hub.answers()


def test_a_hub_answers_while_more_and_more_come(hub: Small) -> None:
    over = threading.Event()

    def flood() -> None:
        held: list[socket.socket] = []
        while not over.is_set():
            with contextlib.suppress(OSError):
                held += hold(hub, 1, HALF)
            held = held[-400:]

    crowd = [threading.Thread(target=flood) for _ in range(2)]
    for each in crowd:
        each.start()
    try:
        for _ in range(5):
            hub.answers()
            time.sleep(0.2)
    finally:
        over.set()
        for each in crowd:
            each.join()


def test_heads_have_ten_seconds(hub: Small) -> None:
    held = hold(hub, 3, HALF)
    began = time.monotonic()
    while not all(map(is_closed, held)):
        for each in held:  # a letter now and then does not help
            with contextlib.suppress(OSError):
                each.send(b"a")
        assert time.monotonic() - began < 13
        time.sleep(0.5)
    assert time.monotonic() - began > 8
    assert "too slow with the head" in hub.lines()[0]


def test_a_hub_that_speaks_tls_answers_under_handshakes_that_only_hold(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    context = ssl.create_default_context(cafile=str(made.ca))
    hub = Small(
        tmp_path, "--tls-cert", str(made.certificate), "--tls-key", str(made.key), tls=context
    )
    try:
        health, _ = hub.ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"strict-transport-security: max-age=" in health
        held = hold(hub, 250, b"", tls=False)
        hub.answers()
        held += hold(hub, 250, b"\x16\x03\x01", tls=False)
        hub.answers()
        held += hold(hub, 150, HALF)
        hub.answers()
        began = time.monotonic()
        while not all(map(is_closed, held)):
            assert time.monotonic() - began < 15
            time.sleep(0.5)
    finally:
        hub.close()


# ----------------------------------------------------------------------------------- who goes first


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(connections_module, "time", clock)
    return clock


def test_what_is_of_least_use_goes_first(clock: Clock) -> None:
    ended: list[str] = []
    all_of_them = Connections(ConnectionLimits(6, 6))

    def admit(name: str, state: ConnectionState, *, signed_in: bool = False) -> Any:
        clock.now += 1
        peer = all_of_them.admit("a", lambda: ended.append(name))
        if peer:
            peer.enter(state)
            peer.signed_in = signed_in
        return peer

    admit("working", ConnectionState.ANSWER, signed_in=True)
    admit("stranger", ConnectionState.ANSWER)
    admit("slow", ConnectionState.BODY)
    admit("known and idle", ConnectionState.IDLE, signed_in=True)
    admit("idle", ConnectionState.IDLE)
    admit("half", ConnectionState.HEAD)
    for _ in range(6):
        admit("new", ConnectionState.ANSWER, signed_in=True)
    assert ended == ["half", "idle", "known and idle", "slow", "stranger"]
    assert admit("one more", ConnectionState.HEAD) is None


@pytest.mark.parametrize("state", [ConnectionState.BODY, ConnectionState.UNREAD])
def test_those_who_are_signed_in_only_hold_what_nobody_else_needs(
    clock: Clock, state: ConnectionState
) -> None:
    ended: list[str] = []
    all_of_them = Connections(ConnectionLimits(3, 3))
    for name in ("first", "second", "third"):
        clock.now += 1
        peer = all_of_them.admit("a", lambda name=name: ended.append(name))  # type: ignore[misc]
        assert peer
        peer.enter(state)
        peer.signed_in = True
    clock.now += 1
    stranger = all_of_them.admit("b", lambda: ended.append("stranger"))
    assert stranger
    stranger.enter(ConnectionState.ANSWER)
    assert all_of_them.admit("c", lambda: None)
    assert ended == ["first", "second"]


def test_one_address_takes_no_room_from_others(clock: Clock) -> None:
    ended: list[str] = []
    all_of_them = Connections(ConnectionLimits(10, 5))

    def admit(address: str) -> None:
        clock.now += 1
        peer = all_of_them.admit(address, lambda: ended.append(address))
        assert peer
        peer.enter(ConnectionState.HEAD)

    for _ in range(4):
        admit("good")
    for _ in range(20):
        admit("bad")
    assert ended == ["bad"] * 15


def test_every_step_has_its_time(clock: Clock) -> None:
    for state, seconds in (
        (ConnectionState.HANDSHAKE, 10),
        (ConnectionState.HEAD, 10),
        (ConnectionState.BODY, 60),
        (ConnectionState.UNREAD, 60),
    ):
        ended: list[ConnectionState] = []
        all_of_them = Connections(ConnectionLimits(10, 5))
        peer = all_of_them.admit("a", lambda ended=ended, state=state: ended.append(state))  # type: ignore[misc]
        assert peer
        peer.enter(state)
        clock.now += seconds - 1
        peer.enter(state)
        all_of_them.sweep()
        assert ended == []
        clock.now += 2
        all_of_them.sweep()
        assert ended == [state]


def test_the_log_has_a_line_now_and_then(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    all_of_them = Connections(ConnectionLimits(1, 1))
    for number in range(10_000):
        clock.now += 0.001
        peer = all_of_them.admit(f"10.0.0.{number % 7}", lambda: None)
        assert peer
        peer.enter(ConnectionState.HEAD)
    assert len(caplog.messages) == 1
    clock.now += 10
    all_of_them.sweep()
    assert len(caplog.messages) <= 3
    assert "made room for others" in caplog.messages[1]


def test_as_many_descriptors_as_may_be() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        assert ConnectionLimits.here(behind_proxy=False) == ConnectionLimits(128, 64)
        assert ConnectionLimits.here(behind_proxy=True) == ConnectionLimits(128, 128)
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
