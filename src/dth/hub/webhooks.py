"""Sending a message to a webhook: to where its URL says, and nowhere that only the hub can see."""

import asyncio
import contextlib
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict

from dth.errors import HubError
from dth.hub.auth import NoRedirects
from dth.hub.notifications import Message, endpoint_of, refuse_address, slack_text

TIMEOUT = 20.0  # seconds for one step of a request

# Sends a POST request: URL, headers, body. Returns the HTTP status; follows no redirect; raises HubError.
Post = Callable[[str, Mapping[str, str], bytes], Awaitable[int]]


async def post_webhook(url: str, message: Message, name: str, post: Post) -> None:
    """`name` is the same for the same message. Raises HubError when it does not arrive."""
    endpoint = endpoint_of(url)
    # The name may lead elsewhere a moment later, when the request is made: what answers there must then prove with
    # a certificate that it is who the URL names, which no service of the machine's surroundings can.
    with contextlib.suppress(OSError, UnicodeError):  # no such name: the request says so, or a proxy knows it
        found = await asyncio.get_running_loop().getaddrinfo(endpoint.host, endpoint.port)
        for *_, (host, *_) in found:
            refuse_address(endpoint, str(host))
    headers = {"content-type": "application/json", "user-agent": "data-transfer-hub"}
    status = await post(url, headers, json.dumps(_payload(message, name)).encode())
    if not 200 <= status < 300:
        raise HubError(f"{endpoint.host} answered {status}")


async def post_with_urllib(url: str, headers: Mapping[str, str], body: bytes) -> int:
    """A `Post` that needs nothing else."""
    return await asyncio.to_thread(_post, url, headers, body)


def _post(url: str, headers: Mapping[str, str], body: bytes) -> int:
    opener = urllib.request.build_opener(
        NoRedirects(), urllib.request.HTTPSHandler(context=ssl.create_default_context())
    )
    request = urllib.request.Request(url, body, dict(headers), method="POST")
    try:
        with opener.open(request, timeout=TIMEOUT) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError) as error:
        raise HubError(
            f"{endpoint_of(url).host} cannot be reached: {getattr(error, 'reason', error)}"
        ) from None


def _payload(message: Message, name: str) -> dict[str, object]:
    """What Slack takes, and fields of ours for programs. `id` tells a message that came twice."""
    return {
        "text": slack_text(f"{message.subject}\n\n{message.text}"),
        "mrkdwn": False,
        "source": "data-transfer-hub",
        "id": name,
        "notices": [asdict(each) for each in message.notices],
    }
