"""Notifications: their events and texts, and where they may be sent. This module sends nothing.

Descriptions, reasons and keys are untrusted. They are reduced to one line without control or
direction characters before they become part of a message, and text that a channel would interpret
as a command is escaped for that channel.
"""

import html
import ipaddress
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from dth.core import clock, confinement
from dth.core.errors import UsageError
from dth.core.network import Network, is_loopback, real_address
from dth.hub.model import Task
from dth.hub.ports import Channel


class NotifiedEvent(StrEnum):
    """What channels can be notified of."""

    TASK_ERROR = "TASK_ERROR"  # a task or a run failed
    DEAD_LETTERS = "DEAD_LETTERS"  # the hub gave up on objects
    TASK_DONE = "TASK_DONE"  # a one-time task has ended
    MISSED_SCHEDULE = "MISSED_SCHEDULE"
    # Because of trouble or a budget, not a user.
    TASK_PAUSED = "TASK_PAUSED"
    TEST = "TEST"


TITLES = {
    NotifiedEvent.TASK_ERROR: "Task failed",
    NotifiedEvent.DEAD_LETTERS: "Objects failed",
    NotifiedEvent.TASK_DONE: "Task done",
    NotifiedEvent.MISSED_SCHEDULE: "Run missed",
    NotifiedEvent.TASK_PAUSED: "Task paused",
    NotifiedEvent.TEST: "Test",
}

SENDER = "Data Transfer Hub"
MAX_LINE = 500  # characters of a user's text
MAX_NAME = 100  # characters of a task's name
# Notices that a message shows in full; it only counts the rest.
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Notice:
    """One event, each text as one safe line."""

    event: NotifiedEvent
    task: str  # id of the task; "" if none is concerned
    subject: str
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one channel: plain text. `notices`: those shown in full."""

    subject: str
    text: str
    notices: Sequence[Notice]


def notice(event: NotifiedEvent, task: Task, text: str) -> Notice:
    """A notice about a task, with untrusted text made safe."""
    name = line(task.description, MAX_NAME) or line(
        f"{task.source} to {task.destination}", MAX_NAME
    )
    return Notice(event, task.id, f"{TITLES[event]}: {name}", line(text), clock.now())


def trial() -> Notice:
    """The notice for testing a channel."""
    return Notice(
        NotifiedEvent.TEST,
        "",
        TITLES[NotifiedEvent.TEST],
        "Notifications of this hub arrive here.",
        clock.now(),
    )


def compose(notices: Sequence[Notice]) -> Message:
    """One message for all of these notices. There must be at least one."""
    if len(notices) == 1:
        subject = f"{SENDER}: {notices[0].subject}"
    else:
        kinds = Counter(TITLES[notice.event] for notice in notices).most_common()
        subject = f"{SENDER}: {len(notices)} messages: " + ", ".join(
            f"{title} ({n})" for title, n in kinds
        )
    shown = notices[:SHOWN]
    text = "\n\n".join(map(_paragraph, shown))
    if len(notices) > SHOWN:
        text += f"\n\nand {len(notices) - SHOWN} more."
    return Message(subject, f"{text}\n", shown)


def _paragraph(notice: Notice) -> str:
    at = f"{datetime.fromtimestamp(notice.at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return "\n".join(
        filter(None, (notice.subject, notice.text, at + (notice.task and f", task {notice.task}")))
    )


def slack_text(text: str) -> str:
    """Text for Slack and compatible services: no hidden links or mentions."""
    return re.sub(r"(?<!\w)@(?=\w)", "@\u200b", html.escape(text, quote=False))


def line(text: str, most: int = MAX_LINE) -> str:
    """Any text as one line: characters that are not printable (controls, line ends, direction
    marks) become spaces."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


# ------------------------------------------------------------------------------------------ targets

KINDS = ("email", "webhook")
ID = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")
# Excludes everything that two URL parsers might interpret differently: no user, no backslash, no
# escapes in the host.
URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?:[/?][!$-\[\]-~]*)?"
)
MAX_URL = 2048


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """The target of a webhook's request."""

    host: str  # a name or an address, without brackets
    port: int
    encrypted: bool


def check_channel(channel: Channel) -> None:
    """Raises UsageError for an invalid channel."""
    if not ID.fullmatch(channel.id):
        raise UsageError("id: letters, digits and any of _.- make the id of a channel, up to 100")
    if channel.kind not in KINDS:
        raise UsageError(f"kind: {channel.kind[:80]!r} is none of {', '.join(KINDS)}")
    if len(channel.name) > MAX_NAME:
        raise UsageError(f"name: {MAX_NAME} characters are the most")
    for event in channel.events:
        if event not in NotifiedEvent.__members__:
            raise UsageError(f"events: {event[:80]!r} is none of {', '.join(NotifiedEvent)}")
    if channel.kind == "email":
        check_address(channel.target)
    else:
        endpoint = endpoint_of(channel.target)
        try:
            refuse_address(endpoint, endpoint.host)
        except ValueError:
            return  # a name: checked when it is used


def check_address(address: str) -> None:
    """Raises UsageError for an invalid e-mail address. Only ASCII addresses that need no quotes are
    valid."""
    if not ADDRESS.fullmatch(address) or ".." in address:
        raise UsageError(f"target: {address[:80]!r} is not an e-mail address")


def endpoint_of(url: str) -> WebhookTarget:
    """Raises UsageError for a URL that webhooks may not have. The message does not show the URL, as
    it may be a secret."""
    match = URL.fullmatch(url)
    if not match or len(url) > MAX_URL or int(match["port"] or 1) not in range(1, 65_536):
        raise UsageError(
            "target: a webhook is a plain URL, as in https://host/path, without a user or a "
            "fragment"
        )
    host = match["host"].strip("[]").lower()
    encrypted = match["scheme"] == "https"
    if not encrypted and not _is_loopback(host):
        raise UsageError(
            "target: a webhook's URL must begin with https:// (http:// only on this machine)"
        )
    return WebhookTarget(host, int(match["port"] or (443 if encrypted else 80)), encrypted)


def refuse_address(endpoint: WebhookTarget, address: str) -> None:
    """Raises UsageError for an IP address that a webhook may not reach: a hub must not send its
    users' messages to services that only its machine can reach. Raises ValueError for text that is
    not an IP address."""
    here = is_loopback(real_address(address))
    rules = confinement.network() or Network(loopback=True, private=True)
    if rules.refusal(address) or not (here or endpoint.encrypted):
        raise UsageError(f"target: {endpoint.host} is at {address}, where no webhook may go")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
