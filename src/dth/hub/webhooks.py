"""Sends a message to a webhook: only to the address in its URL, and never to one that only the hub
can reach."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict

from dth.core.errors import HubError
from dth.core.transport import ConnectOptions, Transport
from dth.hub.notifications import Message, endpoint_of, refuse_address, slack_text

CONNECT = ConnectOptions(connect_timeout=10.0, stall_timeout=15.0)

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
    headers = {"content-type": "application/json", "user-agent": "data-transfer-hub"}
    status = await post(url, headers, json.dumps(_payload(message, name)).encode())
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


def _payload(message: Message, name: str) -> dict[str, object]:
    """The fields of Slack, and fields of our own for programs. `id` identifies a message that
    arrives twice."""
    return {
        "text": slack_text(f"{message.subject}\n\n{message.text}"),
        "mrkdwn": False,
        "source": "data-transfer-hub",
        "id": name,
        "notices": [asdict(each) for each in message.notices],
    }
