"""Notifications on one machine: an outbox in the hub's database, emptied through SMTP and webhooks.

A notice is stored in the outbox first, and marked after it was sent: a crash in between sends it
again, but none is lost. Notices for one channel within some seconds are sent as one message. While
a channel fails, new notices wait for its next try.
"""

import asyncio
import contextlib
import hashlib
import ipaddress
import json
import logging
import smtplib
import socket
import ssl
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any

from sqlalchemy import Connection, Row, case, delete, func, select, update

from dth.core import clock
from dth.core.errors import DatabaseAway, HubError, NotFound, UsageError, reason_of
from dth.core.retry_policy import RetryPolicy
from dth.core.secret_bindings import host_of
from dth.core.secrets import SecretUse
from dth.hub.model import Task
from dth.hub.notifications import (
    Message,
    Notice,
    NotifiedEvent,
    check_address,
    check_channel,
    compose,
    line,
    notice,
    trial,
)
from dth.hub.ports import Channel
from dth.hub.webhooks import Post, post_webhook
from dth.platforms.local.hub_schema import channel, outbox
from dth.platforms.local.secrets import use_secrets, value_of
from dth.platforms.local.sql import SqlDatabase, add_new, put
from dth.platforms.local.vault import Vault

BATCH = 10.0  # seconds that a notice waits for others
MOST = 1000  # the most notices in one message
AT_ONCE = 4  # channels
TIMEOUT = 60.0  # seconds for one message in total
SOCKET_TIMEOUT = 20.0  # seconds for one step of it
AGAIN = RetryPolicy(first=15.0, last=3600.0)
# Seconds after which a notice that was tried `TRIES` times is abandoned.
GIVE_UP = 86_400.0
TRIES = 10
# Seconds that notices are remembered after their end.
KEPT = 90 * 86_400.0
LOOK = 60.0  # seconds between looks without a wake-up
SECURITY = ("starttls", "tls", "none")
# Prefix of the channel of a notice to a task's own address.
ALARM = "email:"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SmtpConfig:
    """The mail server. `password_secret` names a secret that contains a `password`. Raises
    ValueError for invalid settings."""

    host: str
    sender: str
    port: int = 587
    user: str = ""
    password_secret: str = ""
    security: str = "starttls"

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts of the mail server, in the form that secrets are bound to."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return (host_of(f"{name}:{self.port}"),)

    def __post_init__(self) -> None:
        texts = (self.host, self.sender, self.user, self.password_secret, self.security)
        if not all(isinstance(each, str) for each in texts) or not self.host:
            raise ValueError("everything but the port is a text, and host is not empty")
        if type(self.port) is not int or self.port not in range(1, 65_536):
            raise ValueError(f"port: {self.port!r} is none")
        # Treating a typo as "none" would send everything unencrypted.
        if self.security not in SECURITY:
            raise ValueError(f"security: {self.security!r} is none of {', '.join(SECURITY)}")
        if bool(self.user) != bool(self.password_secret):
            raise ValueError("user and password_secret go together")
        try:
            check_address(self.sender)
        except UsageError:
            raise ValueError(f"sender: {self.sender!r} is not an e-mail address") from None


class Notifier:
    """`hub.ports.Notifications`. `run` delivers; only one may run at a time. Without `smtp`, e-mail
    waits in the outbox."""

    def __init__(
        self, database: SqlDatabase, vault: Vault, smtp: SmtpConfig | None, post: Post
    ) -> None:
        self._database = database
        self._vault = vault
        self._smtp = smtp
        self._post = post
        self._woken = asyncio.Event()
        self._tidied = 0.0  # monotonic

    async def channels(self) -> list[Channel]:
        return await self._database.read(_channels, self._vault)

    async def put_channel(self, channel: Channel) -> None:
        check_channel(channel)
        await self._database.write(_put_channel, self._vault, channel)

    async def remove_channel(self, id: str) -> None:
        """Raises NotFound."""
        await self._database.write(_remove_channel, id)

    async def test_channel(self, id: str) -> str:
        """Raises NotFound."""
        found = {each.id: each for each in await self.channels()}
        if id not in found:
            raise NotFound(f"there is no channel {id!r}")
        return await self._try(found[id], compose([trial()]), uuid.uuid4().hex)

    async def notify(self, event: str, task: Task, text: str, *, once: str = "") -> None:
        new = notice(NotifiedEvent(event), task, text)
        address = task.parameters.get("alarmEmail", "").strip()
        if address:
            try:
                check_address(address)
            except UsageError:
                log.warning(
                    "task %s: alarmEmail is not an e-mail address; nobody is notified there",
                    task.id,
                )
                address = ""
        await self._database.write(_add, self._vault, new, address, once)
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            self._woken.clear()
            pause = LOOK
            try:
                pause = await self.deliver()
                await self._tidy()
            except DatabaseAway:
                pass  # said by the database
            except HubError as error:  # the database: it may recover
                log.error("notifications wait: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    async def deliver(self) -> float:
        """Send what is due. Returns the seconds until there may be more."""
        now = clock.now()
        due = await self._database.read(_due)
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(id: str) -> None:
            async with gate:
                await self._empty(id)

        # A time further ahead than any pause was set while the clock was ahead.
        ready = [each for each, at in due.items() if at <= now or at > now + AGAIN.last]
        # Not a TaskGroup: in early releases of Python 3.11 (Debian 12 has 3.11.2), a failing task
        # leaves this task half cancelled, and the next timeout ends it for good.
        for outcome in await asyncio.gather(*map(one, ready), return_exceptions=True):
            if outcome:
                raise outcome
        if ready:
            # There may be more than fits into one message, and a failed try has a new time.
            return 0.0
        return min([LOOK, *(at - now for at in due.values())])

    async def _empty(self, id: str) -> None:
        """Send the waiting notices of one channel as one message."""
        target = await self._database.read(_target, self._vault, id)
        rows = await self._database.read(_waiting, id)
        if not rows:
            return
        if target is None:
            await self._database.write(
                _give_up, [row.id for row in rows], "the channel is switched off"
            )
            return
        name = hashlib.sha256(f"{id} {[row.id for row in rows]}".encode()).hexdigest()[:32]
        error = await self._try(target, compose([_notice(row) for row in rows]), name)
        if error:
            log.warning("channel %s does not take notifications: %s", target.name or id, error)
            await self._database.write(_postpone, rows, error)
        else:
            await self._database.write(_mark_sent, [row.id for row in rows])

    async def _try(self, target: Channel, message: Message, name: str) -> str:
        """Send a message once. Returns "", or one line that says why it did not arrive. `name` is
        the same for the same message."""
        try:
            async with asyncio.timeout(TIMEOUT):
                if target.kind == "email":
                    await self._mail(target.target, message, name)
                else:
                    await post_webhook(target.target, message, name, self._post)
        except TimeoutError:
            return f"no end within {TIMEOUT:.0f} seconds"
        except HubError as error:
            return line(str(error))
        except Exception as error:  # noqa: BLE001 - a defect must not affect the other channels
            # The text of the error may contain the URL.
            return f"internal error: {type(error).__name__}"
        return ""

    async def _mail(self, address: str, message: Message, name: str) -> None:
        if self._smtp is None:
            raise UsageError("no mail server is set up for this hub")
        password = ""
        if self._smtp.user:
            password = await self._database.write(_password, self._vault, self._smtp)
        await _send_mail(self._smtp, password, _mail_of(self._smtp.sender, address, message, name))

    async def _tidy(self) -> None:
        if time.monotonic() - self._tidied > 3600 or not self._tidied:
            self._tidied = time.monotonic()
            await self._database.write(_tidy)


# ----------------------------------------------------------------------------------------- messages


def _mail_of(sender: str, address: str, message: Message, name: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = address
    mail["Subject"] = message.subject
    mail["Date"] = formatdate()
    mail["Message-ID"] = f"<{name}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    mail.set_content(message.text, cte="quoted-printable")
    return mail


async def _send_mail(smtp: SmtpConfig, password: str, mail: EmailMessage) -> None:
    opened: list[smtplib.SMTP] = []
    sending = asyncio.get_running_loop().run_in_executor(
        None, _converse, smtp, password, mail, opened
    )
    try:
        await sending
    except asyncio.CancelledError:
        # Too slow, or the hub ends: the thread must end, too.
        for client in opened:
            with contextlib.suppress(OSError):
                if client.sock:
                    client.sock.shutdown(socket.SHUT_RDWR)
        raise


def _converse(
    smtp: SmtpConfig, password: str, mail: EmailMessage, opened: list[smtplib.SMTP]
) -> None:
    """Runs in a thread."""
    try:
        client = _connect(smtp)
        opened.append(client)
        try:
            if smtp.security == "starttls":
                client.starttls(context=ssl.create_default_context())
            if smtp.user:
                if smtp.security == "none" and not _is_here(client):
                    raise UsageError(
                        "no password goes over a connection that is not encrypted; use "
                        "starttls or tls"
                    )
                client.login(smtp.user, password)
            client.send_message(mail)
            with contextlib.suppress(OSError, smtplib.SMTPException):
                # An accepted message is sent, whatever the server answers to this.
                client.quit()
        finally:
            client.close()
    except smtplib.SMTPResponseException as error:
        raise HubError(
            f"{smtp.host} refused: {error.smtp_code} {_said(error.smtp_error)}"
        ) from None
    except smtplib.SMTPRecipientsRefused as error:
        code, said = next(iter(error.recipients.values()))
        raise HubError(f"{smtp.host} refused the recipient: {code} {_said(said)}") from None
    except (OSError, smtplib.SMTPException) as error:
        raise HubError(f"{smtp.host}:{smtp.port}: {reason_of(error)}") from None


def _connect(smtp: SmtpConfig) -> smtplib.SMTP:
    if smtp.security == "tls":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(smtp.host, smtp.port, timeout=SOCKET_TIMEOUT, context=context)
    return smtplib.SMTP(smtp.host, smtp.port, timeout=SOCKET_TIMEOUT)


def _said(answer: bytes | str) -> str:
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer


def _is_here(client: smtplib.SMTP) -> bool:
    assert client.sock is not None
    return ipaddress.ip_address(client.sock.getpeername()[0].partition("%")[0]).is_loopback


def _password(connection: Connection, vault: Vault, smtp: SmtpConfig) -> str:
    """From a secret that may be used with the mail server, or is bound to it now."""
    name = smtp.password_secret
    use_secrets(connection, [SecretUse("mail server", name, smtp.hosts)])
    found = json.loads(value_of(connection, vault, name)).get("password")
    if not found:
        raise UsageError(f"secret {name!r} has no password for the mail server")
    if not found.isascii():  # smtplib accepts only ASCII
        raise UsageError(f"the password in secret {name!r} is not ASCII; give the hub another one")
    return str(found)


# ----------------------------------------------------------------------------------------- channels


def _channels(connection: Connection, vault: Vault) -> list[Channel]:
    return [
        _channel(row, vault) for row in connection.execute(select(channel).order_by(channel.c.id))
    ]


def _channel(row: Row[Any], vault: Vault) -> Channel:
    target = vault.decrypt(row.target).decode()
    return Channel(
        row.id, row.kind, target, row.name, tuple(json.loads(row.events)), bool(row.enabled)
    )


def _put_channel(connection: Connection, vault: Vault, new: Channel) -> None:
    row = asdict(new) | {
        "target": vault.encrypt(new.target.encode()),
        "events": json.dumps(new.events),
        "enabled": int(new.enabled),
    }
    put(connection, channel, row)


def _remove_channel(connection: Connection, id: str) -> None:
    connection.execute(delete(outbox).where(outbox.c.channel == id, outbox.c.state == "WAITING"))
    if not connection.execute(delete(channel).where(channel.c.id == id)).rowcount:
        raise NotFound(f"there is no channel {id!r}")


def _target(connection: Connection, vault: Vault, id: str) -> Channel | None:
    """The target of a channel in the outbox; None if the channel is disabled or gone."""
    if id.startswith(ALARM):
        return Channel(id, "email", id.removeprefix(ALARM))
    row = connection.execute(
        select(channel).where(channel.c.id == id, channel.c.enabled == 1)
    ).first()
    return _channel(row, vault) if row else None


# ------------------------------------------------------------------------------------------- outbox


def _add(connection: Connection, vault: Vault, new: Notice, address: str, once: str) -> None:
    known = [each for each in _channels(connection, vault) if each.enabled]
    wanting = [each for each in known if not each.events or new.event in each.events]
    to = [each.id for each in wanting]
    if address and ("email", address) not in {(each.kind, each.target) for each in wanting}:
        to.append(f"{ALARM}{address}")
    row = asdict(new) | {"event": new.event.value, "due": new.at + BATCH, "once": once or None}
    for each in to:
        add_new(connection, outbox, row | {"channel": each})


def _due(connection: Connection) -> dict[str, float]:
    """When each channel's next message is due. For a failing channel: the time of its next try."""
    tried = func.max(case((outbox.c.attempts > 0, outbox.c.due)))
    when = func.coalesce(tried, func.min(outbox.c.due))
    waiting = (
        select(outbox.c.channel, when).where(outbox.c.state == "WAITING").group_by(outbox.c.channel)
    )
    return dict(connection.execute(waiting).all())


def _waiting(connection: Connection, id: str) -> Sequence[Row[Any]]:
    """The oldest waiting notices."""
    waiting = select(outbox).where(outbox.c.state == "WAITING", outbox.c.channel == id)
    return connection.execute(waiting.order_by(outbox.c.id).limit(MOST)).all()


def _notice(row: Row[Any]) -> Notice:
    return Notice(NotifiedEvent(row.event), row.task, row.subject, row.text, row.at)


def _mark_sent(connection: Connection, ids: Sequence[int]) -> None:
    connection.execute(update(outbox).where(outbox.c.id.in_(ids)).values(state="SENT", error=""))


def _give_up(connection: Connection, ids: Sequence[int], error: str) -> None:
    connection.execute(
        update(outbox).where(outbox.c.id.in_(ids)).values(state="FAILED", error=error)
    )


def _postpone(connection: Connection, rows: Sequence[Row[Any]], error: str) -> None:
    """Try all of them again later, except those that have failed for too long."""
    now = clock.now()
    old = [row.id for row in rows if now - row.at >= GIVE_UP and row.attempts + 1 >= TRIES]
    _give_up(connection, old, error)
    pause = AGAIN.pause(1 + max(row.attempts for row in rows))
    again = {
        "attempts": outbox.c.attempts + 1,
        "due": now + pause,
        "error": error,
    }
    waiting = outbox.c.id.in_([row.id for row in rows]) & (outbox.c.state == "WAITING")
    connection.execute(update(outbox).where(waiting).values(again))


def _tidy(connection: Connection) -> None:
    ended = outbox.c.state != "WAITING"
    connection.execute(delete(outbox).where(ended, outbox.c.at < clock.now() - KEPT))
