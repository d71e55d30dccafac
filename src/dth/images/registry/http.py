"""HTTP with registries: small content (manifests, tag lists, tokens) in memory, blobs through
pipes.

Proxies come from the environment (`https_proxy`, `no_proxy`), as for skopeo.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from urllib.parse import urlsplit

from dth.core.errors import ObjectChanged, ObjectRefused
from dth.core.transport import Body, ConnectOptions, Pipe, Response, Transport

# Most bytes of an answer; a manifest has at most 4 MiB.
LIMIT = 8 * 1024**2
CONNECTIONS = 16  # most requests in flight
CONNECT_TIMEOUT = 10.0  # seconds
STALL_TIMEOUT = 30.0  # seconds without a byte


class Http:
    """Requests to one registry and its redirect targets.

    `ca_bundle`: a PEM file of the authorities to trust.
    """

    def __init__(self, transport: Transport, *, ca_bundle: str = "") -> None:
        self._transport = transport
        self._options = ConnectOptions(
            ca_bundle, connect_timeout=CONNECT_TIMEOUT, stall_timeout=STALL_TIMEOUT
        )
        self._places = asyncio.Semaphore(CONNECTIONS)

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body = b"",
        *,
        limit: int = LIMIT,
        sink: Pipe | None = None,
        stall_timeout: float = 0.0,
    ) -> Response:
        """Send one request. Header names in the answer are lower case. Does not follow redirects.

        Raises TransferError if the answer is incomplete or has more than `limit` bytes. `sink`
        receives the body of a successful answer. `stall_timeout`: the seconds allowed without a
        byte; 0 for the default.
        """
        answer = None
        # The transport ends an answer that is far too large. It allows every answer the size of an
        # error answer.
        with contextlib.suppress(ObjectChanged):
            async with self._places:
                answer = await self._transport.send(
                    method,
                    url,
                    headers,
                    body,
                    options=self._options,
                    limit=limit,
                    sink=sink,
                    stall_timeout=stall_timeout,
                )
        if answer is None or sum(map(len, answer.chunks)) > limit:
            host = urlsplit(url).netloc
            raise ObjectRefused(
                f"{host} sends more than the {limit} bytes that there can be", code="TooLarge"
            )
        return answer
