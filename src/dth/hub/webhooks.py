"""Sends a message to a webhook: only to the address in its URL, and never to one that only the hub
can reach."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from urllib.parse import parse_qsl, urlsplit

from dth.core.errors import HubError
from dth.core.transport import ConnectOptions, Transport
from dth.hub.notifications import (
    Message,
    NotifiedEvent,
    endpoint_of,
    refuse_address,
    slack_text,
)

CONNECT = ConnectOptions(connect_timeout=10.0, stall_timeout=15.0)

SOURCE = "data-transfer-hub"
# The hosts of Teams (workflows, and the connectors before them), by their ends, and of PagerDuty.
TEAMS = (".api.powerplatform.com", ".logic.azure.com", ".webhook.office.com")
PAGERDUTY = ("events.pagerduty.com", "events.eu.pagerduty.com")
# PagerDuty's name for the integration key, also in the URL of a channel.
ROUTING_KEY = "routing_key"
# Of an event of PagerDuty. All others are warnings.
SEVERITY = {
    NotifiedEvent.TASK_ERROR: "error",
    NotifiedEvent.DEAD_LETTERS: "error",
    NotifiedEvent.TASK_DONE: "info",
    NotifiedEvent.TEST: "info",
}
MAX_SUMMARY = 1024  # characters

# Sends a POST request: URL, headers, body. Returns the HTTP status; follows no redirect; raises
# HubError.
Post = Callable[[str, Mapping[str, str], bytes], Awaitable[int]]


async def post_webhook(url: str, message: Message, name: str, post: Post) -> None:
    """Send a message. `name` is the same for the same message. Raises HubError if it does not
    arrive."""
    endpoint = endpoint_of(url)
    # The name may resolve differently a moment later. Forbidden addresses are checked again when
    # the connection is made, and the server must prove with a certificate that it is the host in
    # the URL. If the name is unknown, the request reports it, or a proxy knows it.
    with contextlib.suppress(OSError, UnicodeError):
        found = await asyncio.get_running_loop().getaddrinfo(endpoint.host, endpoint.port)
        for *_, (host, *_) in found:
            refuse_address(endpoint, str(host))
    headers = {"content-type": "application/json", "user-agent": SOURCE}
    url, body = request_of(url, message, name)
    status = await post(url, headers, json.dumps(body).encode())
    if not 200 <= status < 300:
        raise HubError(f"{endpoint.host} answered {status}")


async def post_once(url: str, headers: Mapping[str, str], body: bytes) -> int:
    """A `Post` that closes its connection."""
    with Transport() as transport:
        return await post_over(transport, url, headers, body)


async def post_over(transport: Transport, url: str, headers: Mapping[str, str], body: bytes) -> int:
    """A `Post` over persistent connections."""
    answer = await transport.send(
        "POST", url, dict(headers), body, options=CONNECT, stall_timeout=15.0
    )
    return answer.status


def request_of(url: str, message: Message, name: str) -> tuple[str, dict[str, object]]:
    """The URL and the body of a message, in the form that the service at this host reads. Raises
    HubError if the URL lacks what the service needs."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if host in PAGERDUTY:
        key = dict(parse_qsl(parts.query)).get(ROUTING_KEY)
        if not key:
            raise HubError(
                f"{host} needs the integration key of a service: end the URL with "
                f"?{ROUTING_KEY}=KEY"
            )
        return parts._replace(query="").geturl(), _event(message, name, key)
    if host.endswith(TEAMS):
        return url, _card(message)
    return url, _payload(message, name)


def _card(message: Message) -> dict[str, object]:
    """An adaptive card for Microsoft Teams. Text runs are plain: Teams reads no links in them."""
    lines = [message.subject, *filter(None, message.text.splitlines())]
    body = [
        {
            "type": "RichTextBlock",
            "inlines": [{"type": "TextRun", "text": line, "weight": weight}],
        }
        for line, weight in zip(lines, ["Bolder", *["Default"] * len(lines)], strict=False)
    ]
    card = {"type": "AdaptiveCard", "version": "1.4", "body": body}
    kind = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": kind, "content": card}]}


def _event(message: Message, name: str, key: str) -> dict[str, object]:
    """An event for PagerDuty (Events API v2). It opens no second incident for the same message."""
    severities = {SEVERITY.get(each.event, "warning") for each in message.notices}
    return {
        ROUTING_KEY: key,
        "event_action": "trigger",
        "dedup_key": name,
        "payload": {
            "summary": message.subject[:MAX_SUMMARY],
            "source": SOURCE,
            "severity": next(each for each in ("error", "warning", "info") if each in severities),
            "custom_details": {"text": message.text},
        },
    }


def _payload(message: Message, name: str) -> dict[str, object]:
    """The fields of Slack, and fields of our own for programs. `id` identifies a message that
    arrives twice."""
    return {
        "text": slack_text(f"{message.subject}\n\n{message.text}"),
        "mrkdwn": False,
        "source": SOURCE,
        "id": name,
        "notices": [asdict(each) for each in message.notices],
    }
