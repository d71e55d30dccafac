from __future__ import annotations

import asyncio
import base64
import contextlib
import email
import email.policy
import json
import socket
import ssl
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from sqlalchemy import Connection, select, update

from dth.core.errors import HubError, NotFound, UsageError
from dth.core.retry_policy import RetryPolicy
from dth.core.transport import ConnectOptions, Transport
from dth.hub.model import ScheduleType, Task
from dth.hub.notifications import NotifiedEvent
from dth.hub.ports import Channel
from dth.hub.webhooks import Post
from dth.platforms.local import notifier as notifier_module
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.hub_schema import outbox
from dth.platforms.local.notifier import Notifier, SmtpConfig
from dth.platforms.local.secrets import LocalSecrets
from dth.platforms.local.vault import open_vault
from tests.servers.certificates import make_certificates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path

    from dth.platforms.local.vault import Vault

ADDRESS = "ops@example.org"
PASSWORD = "p4ssw0rd"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DTH_KEY", raising=False)
    monkeypatch.setattr(notifier_module, "BATCH", 0.05)
    monkeypatch.setattr(notifier_module, "AGAIN", replace(notifier_module.AGAIN, first=0.05))


def task(**parameters: str) -> Task:
    return Task("t1", "S3EC2", ScheduleType.ONE_TIME, parameters, "copy all")


# ------------------------------------------------------------------------------------- mail servers


class Mailbox:
    """A mail server's handler: keeps what comes, refuses as it is told."""

    def __init__(self) -> None:
        self.mails: list[email.message.EmailMessage] = []
        self.recipients: list[str] = []
        self.logins: list[tuple[str, str]] = []
        self.refuses = False

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.refuses:
            return "451 come back later"
        assert isinstance(envelope.content, bytes)
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))  # type: ignore[arg-type]
        self.recipients += envelope.rcpt_tos
        return "250 OK"

    def authenticate(
        self, _s: SMTP, _session: Session, _e: Envelope, _m: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == PASSWORD.encode(), handled=False)


class Mail:
    """A mail server, and how it is reached."""

    def __init__(self, security: str, folder: Path, **options: Any) -> None:
        self.box = Mailbox()
        files = make_certificates(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        self.ca = files.ca
        if security == "tls":
            options["ssl_context"] = context
        elif security == "starttls":
            options |= {"tls_context": context, "require_starttls": True}
        self.security = security
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.controller = Controller(
            self.box, "127.0.0.1", self.port, authenticator=self.box.authenticate, **options
        )
        self.controller.start()

    def config(self, **changes: str) -> SmtpConfig:
        settings = {"user": "hub", "password_secret": "mail", "security": self.security} | changes
        return SmtpConfig("127.0.0.1", "hub@example.org", self.port, **settings)


@pytest.fixture
def mail_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Mail]]:
    with contextlib.ExitStack() as stack:

        def start(security: str = "starttls", **options: Any) -> Mail:
            server = Mail(security, tmp_path, **options)
            stack.callback(server.controller.stop)
            monkeypatch.setenv("SSL_CERT_FILE", str(server.ca))
            return server

        yield start


# -------------------------------------------------------------------------------------- web servers


class Hook:
    """A web server that keeps what is posted and answers as it is told."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.answers: list[int] = []  # to come; then 200
        self.location = ""
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.bodies.append({"path": self.path, **json.loads(body)})
                self.send_response(hook.answers.pop(0) if hook.answers else 200)
                if hook.location:
                    self.send_header("location", hook.location)
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/T0/{PASSWORD}?x=1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    yield server
    server.close()


# ------------------------------------------------------------------------------------------ the hub


@pytest.fixture
def database(tmp_path: Path) -> Iterator[HubDatabase]:
    with HubDatabase.open(tmp_path / "hub.db") as opened:
        yield opened


@pytest.fixture
def vault(tmp_path: Path, database: HubDatabase) -> Vault:
    return open_vault(tmp_path)


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    transport, options = Transport(), ConnectOptions(connect_timeout=5, stall_timeout=5)

    async def send(url: str, headers: Mapping[str, str], body: bytes) -> int:
        return (await transport.send("POST", url, dict(headers), body, options=options)).status

    yield send
    transport.close()


@contextlib.asynccontextmanager
async def running(notifier: Notifier) -> AsyncIterator[None]:
    loop = asyncio.create_task(notifier.run())
    try:
        yield
    finally:
        loop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loop


async def states(database: HubDatabase) -> list[tuple[str, str, int]]:
    def read(connection: Connection) -> list[tuple[str, str, int]]:
        columns = select(outbox.c.channel, outbox.c.state, outbox.c.attempts).order_by(outbox.c.id)
        return [tuple(row) for row in connection.execute(columns)]  # type: ignore[misc]

    return await database.read(read)


Rows = list[tuple[str, str, int]]


async def until(database: HubDatabase, condition: Callable[[Rows], bool]) -> Rows:
    """The outbox as soon as it is so."""
    async with asyncio.timeout(20):
        while not condition(rows := await states(database)):  # noqa: ASYNC110 - others write it
            await asyncio.sleep(0.01)
    return rows


async def settled(database: HubDatabase) -> Rows:
    return await until(database, lambda rows: all(state != "WAITING" for _, state, _ in rows))


# ----------------------------------------------------------------------------------------- channels


async def test_channels_are_kept_encrypted(
    tmp_path: Path, database: HubDatabase, vault: Vault, post: Post
) -> None:
    notifier = Notifier(database, vault, None, post)
    hook = Channel("w", "webhook", f"https://hooks.example/{PASSWORD}", "chat", ("TASK_ERROR",))
    await notifier.put_channel(Channel("w", "email", ADDRESS))
    await notifier.put_channel(hook)
    assert await notifier.channels() == [hook]
    for path in tmp_path.iterdir():
        assert PASSWORD.encode() not in path.read_bytes()
    await notifier.remove_channel("w")
    assert await notifier.channels() == []
    for call in (notifier.remove_channel("w"), notifier.test_channel("w")):
        with pytest.raises(NotFound):
            await call
    with pytest.raises(UsageError):
        await notifier.put_channel(Channel("w", "email", "nobody"))


async def test_who_is_told_what_and_once(database: HubDatabase, vault: Vault, post: Post) -> None:
    notifier = Notifier(database, vault, None, post)
    for channel in (
        Channel("all", "email", "all@example.org"),
        Channel("done", "email", "done@example.org", events=("TASK_DONE",)),
        Channel("off", "email", "off@example.org", enabled=False),
    ):
        await notifier.put_channel(channel)
    await notifier.notify(
        NotifiedEvent.TASK_ERROR, task(alarmEmail="me@example.org"), "x", once="1"
    )
    await notifier.notify(
        NotifiedEvent.TASK_ERROR, task(alarmEmail="me@example.org"), "x", once="1"
    )
    await notifier.notify(
        NotifiedEvent.TASK_DONE, task(alarmEmail="all@example.org"), "x", once="2"
    )
    await notifier.notify(NotifiedEvent.TASK_DONE, task(alarmEmail="no address\r\nBcc: x@y"), "x")
    await notifier.notify(NotifiedEvent.TASK_ERROR, task(), "x")
    await notifier.notify(NotifiedEvent.TASK_ERROR, task(), "x")
    told = [channel for channel, _, _ in await states(database)]
    assert told == ["all", "email:me@example.org", "all", "done", "all", "done", "all", "all"]


# ------------------------------------------------------------------------------------------- e-mail


@pytest.mark.parametrize("security", ["starttls", "tls", "none"])
async def test_what_comes_together_is_one_mail(
    database: HubDatabase,
    vault: Vault,
    post: Post,
    mail_server: Callable[..., Mail],
    security: str,
) -> None:
    server = mail_server(
        security, **({"auth_require_tls": False} if security != "starttls" else {})
    )
    await LocalSecrets(database, vault).create("mail", json.dumps({"password": PASSWORD}))
    notifier = Notifier(database, vault, server.config(), post)
    for n in range(30):
        text = f"grün {n}\r\nBcc: victim@example.org\r\n\r\n.\r\nMAIL FROM:<x@y>"
        await notifier.notify(NotifiedEvent.DEAD_LETTERS, task(alarmEmail=ADDRESS), text)
    async with running(notifier):
        await settled(database)
    (mail,) = server.box.mails
    assert server.box.logins == [("hub", PASSWORD)]
    assert server.box.recipients == [ADDRESS]
    assert mail["To"] == ADDRESS
    assert mail["Bcc"] is None
    assert mail["Subject"] == "Data Transfer Hub: 30 messages: Objects failed (30)"
    text = mail.get_content().replace("\r\n", "\n")
    assert text.count("Objects failed: copy all") == 20
    assert "grün 0 Bcc: victim@example.org . MAIL FROM:<x@y>\n" in text
    assert "and 10 more" in text


async def test_a_test_message_says_why_it_does_not_arrive(
    database: HubDatabase,
    vault: Vault,
    post: Post,
    mail_server: Callable[..., Mail],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = mail_server("starttls")
    secrets = LocalSecrets(database, vault)

    async def attempt(smtp: SmtpConfig | None) -> str:
        notifier = Notifier(database, vault, smtp, post)
        await notifier.put_channel(Channel("m", "email", ADDRESS))
        return await notifier.test_channel("m")

    assert "no mail server" in await attempt(None)
    assert "no secret 'mail'" in await attempt(server.config())
    await secrets.create("mail", '{"user": "x"}')
    assert "has no password" in await attempt(server.config())
    await secrets.update("mail", json.dumps({"password": "geheimäß"}))
    said = await attempt(server.config())
    assert "not ASCII" in said
    assert "ä" not in said
    await secrets.update("mail", json.dumps({"password": "wrong-one"}))
    said = await attempt(server.config())
    assert "535" in said
    assert "wrong-one" not in said
    assert base64.b64encode(b"wrong-one").decode() not in said
    await secrets.update("mail", json.dumps({"password": PASSWORD}))
    assert await attempt(server.config()) == ""
    assert server.box.mails[-1]["Subject"] == "Data Transfer Hub: Test"
    assert "STARTTLS" in await attempt(server.config(security="none", user="", password_secret=""))
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "CERTIFICATE_VERIFY_FAILED" in await attempt(server.config())
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        said = await attempt(SmtpConfig("127.0.0.1", "hub@example.org", port))
    assert f"127.0.0.1:{port}" in said
    assert "refused" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"security": "ssl"}, {"security": "None"}, {"security": False}, {"port": 0}, {"port": "25"},
        {"port": True},
        {"host": ""}, {"host": 1}, {"sender": "hub"}, {"sender": "a@b\r\nBcc: c@d"}, {"user": "x"},
    ],
)  # fmt: skip
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        SmtpConfig(**{"host": "mail.example.org", "sender": "hub@example.org"} | settings)


async def test_no_password_goes_in_the_open(
    database: HubDatabase, vault: Vault, post: Post, mail_server: Callable[..., Mail],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    server = mail_server("none", auth_require_tls=False)
    monkeypatch.setattr(notifier_module, "_is_here", lambda _: False)
    await LocalSecrets(database, vault).create("mail", json.dumps({"password": PASSWORD}))
    notifier = Notifier(database, vault, server.config(), post)
    await notifier.put_channel(Channel("m", "email", ADDRESS))
    assert "not encrypted" in await notifier.test_channel("m")
    assert server.box.logins == []


async def test_what_was_refused_is_sent_later_with_what_came_meanwhile(
    database: HubDatabase, vault: Vault, post: Post, mail_server: Callable[..., Mail]
) -> None:
    server = mail_server("none")
    server.box.refuses = True
    notifier = Notifier(database, vault, server.config(user="", password_secret=""), post)
    async with running(notifier):
        await notifier.notify(NotifiedEvent.TASK_ERROR, task(alarmEmail=ADDRESS), "first")
        await until(database, lambda rows: rows[0][2] >= 2)
        await notifier.notify(NotifiedEvent.TASK_ERROR, task(alarmEmail=ADDRESS), "second")
        server.box.refuses = False
        rows = await settled(database)
    assert [state for _, state, _ in rows] == ["SENT", "SENT"]
    (mail,) = server.box.mails
    assert "first" in mail.get_content()
    assert "second" in mail.get_content()


async def test_what_a_clock_that_was_ahead_put_off_is_sent_at_once(
    database: HubDatabase, vault: Vault, post: Post, mail_server: Callable[..., Mail]
) -> None:
    server = mail_server("none")
    notifier = Notifier(database, vault, server.config(user="", password_secret=""), post)
    await notifier.notify(NotifiedEvent.TASK_ERROR, task(alarmEmail=ADDRESS), "first")
    ahead = time.time() + 3 * 3600
    await database.write(
        lambda connection: connection.execute(update(outbox).values(at=ahead, due=ahead))
    )
    async with running(notifier):
        rows = await settled(database)
    assert [state for _, state, _ in rows] == ["SENT"]
    assert len(server.box.mails) == 1


async def test_what_nobody_takes_for_a_day_is_given_up(
    database: HubDatabase,
    vault: Vault,
    post: Post,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notifier_module, "GIVE_UP", 0.0)
    monkeypatch.setattr(notifier_module, "AGAIN", RetryPolicy(0.01, 0.01))
    notifier = Notifier(database, vault, None, post)
    async with running(notifier):
        await notifier.notify(NotifiedEvent.TASK_ERROR, task(alarmEmail=ADDRESS), "x")
        rows = await settled(database)
    assert rows == [(f"email:{ADDRESS}", "FAILED", notifier_module.TRIES - 1)]


async def test_a_hub_that_ends_waits_for_no_mail_server(
    database: HubDatabase, vault: Vault, post: Post
) -> None:
    """One that accepts and then says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connected = asyncio.get_running_loop().run_in_executor(None, silent.accept)
        smtp = SmtpConfig("127.0.0.1", "hub@example.org", silent.getsockname()[1], security="none")
        notifier = Notifier(database, vault, smtp, post)
        async with running(notifier):
            await notifier.notify(NotifiedEvent.TASK_ERROR, task(alarmEmail=ADDRESS), "x")
            connection, _ = await connected
            connection.sendall(b"220 hello\r\n")
            await asyncio.to_thread(connection.recv, 100)
        connection.close()
    assert await states(database) == [(f"email:{ADDRESS}", "WAITING", 0)]


# ----------------------------------------------------------------------------------------- webhooks


async def test_a_webhook_gets_slacks_form_and_ours(
    database: HubDatabase, vault: Vault, post: Post, hook: Hook
) -> None:
    notifier = Notifier(database, vault, None, post)
    await notifier.put_channel(Channel("w", "webhook", hook.url))
    async with running(notifier):
        await notifier.notify(
            NotifiedEvent.TASK_ERROR, task(), "<!channel> & <https://evil|click> @here\u202e"
        )
        await settled(database)
    (body,) = hook.bodies
    assert body["path"] == f"/services/T0/{PASSWORD}?x=1"
    assert "&lt;!channel&gt; &amp; &lt;https://evil|click&gt; @\u200bhere\n" in body["text"]
    assert body["notices"][0]["text"] == "<!channel> & <https://evil|click> @here"
    assert body["notices"][0]["event"] == "TASK_ERROR"
    assert body["notices"][0]["task"] == "t1"


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 429, 500])
async def test_only_2xx_is_success_and_no_redirect_is_followed(
    database: HubDatabase, vault: Vault, post: Post, hook: Hook, status: int
) -> None:
    hook.answers = [status, 204]
    hook.location = hook.url
    notifier = Notifier(database, vault, None, post)
    await notifier.put_channel(Channel("w", "webhook", hook.url))
    assert await notifier.test_channel("w") == f"127.0.0.1 answered {status}"
    assert await notifier.test_channel("w") == ""
    assert len(hook.bodies) == 2


async def test_what_cannot_be_reached_is_said_without_the_url(
    database: HubDatabase, vault: Vault, post: Post, hook: Hook
) -> None:
    notifier = Notifier(database, vault, None, post)
    await notifier.put_channel(Channel("w", "webhook", hook.url.replace("http:", "https:")))
    said = await notifier.test_channel("w")
    assert said
    assert PASSWORD not in said
    assert len(said.splitlines()) == 1


async def test_a_name_that_leads_to_the_machines_own_services_is_refused(
    database: HubDatabase, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> int:
        raise AssertionError

    async def resolve(*_: object, **__: object) -> list[Any]:
        answers = [("93.184.216.34", 443), ("fe80::1%eth0", 443, 0, 2)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", answer) for answer in answers]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    notifier = Notifier(database, vault, None, never)
    await notifier.put_channel(Channel("w", "webhook", "https://rebound.example/x"))
    assert "where no webhook may go" in await notifier.test_channel("w")


async def test_one_that_is_down_holds_up_no_other(
    database: HubDatabase, vault: Vault, post: Post, hook: Hook
) -> None:
    async def or_down(url: str, headers: Mapping[str, str], body: bytes) -> int:
        if "down" in url:
            raise RuntimeError("a defect")
        return await post(url, headers, body)

    notifier = Notifier(database, vault, None, or_down)
    await notifier.put_channel(Channel("a", "webhook", f"{hook.url}&down"))
    await notifier.put_channel(Channel("b", "webhook", hook.url))
    async with running(notifier):
        await notifier.notify(NotifiedEvent.TASK_DONE, task(), "x")
        await until(
            database, lambda rows: ("b", "SENT", 0) in rows and any(tries for _, _, tries in rows)
        )
        await notifier.put_channel(Channel("a", "webhook", hook.url, enabled=False))
        assert sorted(state for _, state, _ in await settled(database)) == ["FAILED", "SENT"]
    assert len(hook.bodies) == 1


async def test_a_crash_between_sending_and_marking_sends_again(
    database: HubDatabase, vault: Vault, post: Post, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    first = Notifier(database, vault, None, post)
    await first.put_channel(Channel("w", "webhook", hook.url))
    await first.notify(NotifiedEvent.TASK_DONE, task(), "x", once="1")

    def crash(*_: object) -> None:
        raise KeyError

    with monkeypatch.context() as patch:
        patch.setattr(notifier_module, "_mark_sent", crash)
        with pytest.raises(KeyError):
            await first.run()
    async with running(Notifier(database, vault, None, post)):
        await settled(database)
    assert len(hook.bodies) == 2
    assert hook.bodies[0]["id"] == hook.bodies[1]["id"]


async def test_a_database_that_fails_for_a_while_ends_nothing(
    database: HubDatabase, vault: Vault, post: Post, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(notifier_module, "LOOK", 0.01)
    waiting, failures = notifier_module._waiting, [HubError("the disk is full")] * 3

    def failing(connection: Connection, id: str) -> Any:
        if failures:
            raise failures.pop()
        return waiting(connection, id)

    monkeypatch.setattr(notifier_module, "_waiting", failing)
    notifier = Notifier(database, vault, None, post)
    await notifier.put_channel(Channel("w", "webhook", hook.url))
    async with running(notifier):
        await notifier.notify(NotifiedEvent.TASK_DONE, task(), "x")
        await settled(database)
    assert len(hook.bodies) == 1
