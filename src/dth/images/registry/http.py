"""HTTP with registries: what is small (manifests, lists of tags, tokens) in memory, blobs through pipes.

Proxies are those of the environment (`https_proxy`, `no_proxy`), as for skopeo.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from urllib.parse import urlsplit

from dth.core.errors import ObjectChanged, ObjectRefused
from dth.core.transport import Body, ConnectOptions, Pipe, Response, Transport

LIMIT = 8 * 1024**2  # bytes of an answer; a manifest has four MiB at most
CONNECTIONS = 16  # requests in flight at most
CONNECT_TIMEOUT = 10.0  # seconds
STALL_TIMEOUT = 30.0  # seconds without a byte


class Http:
    """Requests to one registry and to where it sends us. `ca_bundle`: a PEM file of the authorities to trust."""

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
        """One request, with header names in lower case; redirects are for the caller to follow. Raises TransferError
        when there is no whole answer, or when it has more than `limit` bytes. `sink` takes the body of a good
        answer; `stall_timeout`: seconds that may pass without a byte, 0: as always."""
        answer = None
        # The transport ends an answer that is far too large. It lets every answer have as much as an error may have.
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
