"""The layer that admits: as many requests at once as the endpoint takes, and no more than the caps allow."""

import time

from dth.errors import ConnectionFailed, Disposition, Throttled, TransferError
from dth.s3.pace import Cap, Gate
from dth.s3.store.request import Request, Sender
from dth.transport import Pipe, Response


class Gated:
    """The gate and both caps of an endpoint, in front of its requests."""

    def __init__(self, below: Sender, gate: Gate, request_cap: Cap | None, byte_cap: Cap | None) -> None:
        self._below = below
        self._gate = gate
        self._request_cap = request_cap
        self._byte_cap = byte_cap

    @property
    def held_back(self) -> int:
        """Requests, and bodies under way, that wait for a cap."""
        return sum(cap.waiting for cap in (self._request_cap, self._byte_cap) if cap)

    async def send(self, request: Request) -> Response:
        send = self._paced if self._is_paced(request) else self._counted
        if isinstance(request.body, Pipe):
            # The other end of the pipe holds a place already.
            return await send(request)
        gate = self._gate
        if not gate.enter_at_once():
            await gate.enter()
        try:
            return await send(request)
        finally:
            gate.leave()

    async def _paced(self, request: Request) -> Response:
        """Send when the caps let it: a small body once all of it is granted, a large one as it is granted."""
        size = request.size
        amount = size or request.limit
        if self._request_cap:
            await self._request_cap.take(1)
        if self._byte_cap is None or not amount:
            return await self._counted(request)
        async with self._byte_cap.paced(amount, received=not size) as valve:
            return await self._counted(request.with_valve(valve) if valve else request)

    def _is_paced(self, request: Request) -> bool:
        """Whether a cap holds for a request, or may while its body is on its way."""
        requests, sent = self._request_cap, self._byte_cap
        if requests is not None and requests.rate:
            return True
        return sent is not None and (sent.rate > 0 or (request.size or request.limit) > sent.SMALL)

    async def _counted(self, request: Request) -> Response:
        """Send, and let the gate learn from the answer."""
        gate = self._gate
        sent = time.monotonic()
        try:
            response = await self._below.send(request)
        except TransferError as error:
            gate.errors += error.disposition is not Disposition.GONE
            if isinstance(error, Throttled | ConnectionFailed):
                # A server that refuses connections is one that is overrun.
                gate.slow_down()
            if error.status:
                gate.answered()
            elif isinstance(error, ConnectionFailed):
                gate.silent()
            raise
        gate.succeeded(time.monotonic() - sent)
        return response
