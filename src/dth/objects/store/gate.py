"""The layer that admits requests: as many at once as the endpoint accepts, within the caps, and no
faster than the store accepts them."""

import time
from collections.abc import Awaitable

from dth.core.errors import ConnectionFailed, Disposition, Throttled, TransferError
from dth.core.transport import Pipe, Response
from dth.objects.store.pace import Cap, Gate
from dth.objects.store.rate import StoreRate
from dth.objects.store.request import Request, Sender
from dth.objects.store.wire import READS


class Gated:
    """The gate, the caps and the store's own rates of an endpoint, in front of its requests.

    `rates`: what the store accepts of requests that read, and of requests that write.
    """

    def __init__(
        self,
        below: Sender,
        gate: Gate,
        request_cap: Cap | None,
        byte_cap: Cap | None,
        rates: tuple[StoreRate, StoreRate],
    ) -> None:
        self._below = below
        self._gate = gate
        self._request_cap = request_cap
        self._byte_cap = byte_cap
        self._reads, self._writes = ((rate, Cap(rate, "")) for rate in rates)

    @property
    def held_back(self) -> int:
        """Requests, and bodies in transfer, that wait for a cap or for the store's rate."""
        caps = (self._request_cap, self._byte_cap, self._reads[1], self._writes[1])
        return sum(cap.waiting for cap in caps if cap)

    def send(self, request: Request) -> Awaitable[Response]:
        # The other end of a pipe already holds a place.
        takes_place = not isinstance(request.body, Pipe)
        if self._is_paced(request):
            return self._placed(request) if takes_place else self._paced(request)
        return self._counted(request, takes_place=takes_place)

    async def _placed(self, request: Request) -> Response:
        async with self._gate:
            return await self._paced(request)

    async def _paced(self, request: Request) -> Response:
        """Send when the caps permit it: a small body once it is granted completely, a large one as
        it is granted."""
        size, amount = request.size, request.moved
        if self._request_cap:
            await self._request_cap.take(1)
        if self._byte_cap is None or not amount:
            return await self._counted(request)
        async with self._byte_cap.paced(amount, received=not size) as valve:
            return await self._counted(request.with_valve(valve) if valve else request)

    def _is_paced(self, request: Request) -> bool:
        """Whether a cap applies to a request, or may apply while its body is in transfer."""
        requests, sent = self._request_cap, self._byte_cap
        if requests is not None and requests.rate:
            return True
        return sent is not None and (sent.rate > 0 or request.moved > sent.SMALL)

    async def _counted(self, request: Request, *, takes_place: bool = False) -> Response:
        """Send at the store's rate, and learn from the answer."""
        gate = self._gate
        if takes_place and not gate.enter_at_once():
            await gate.enter()
        try:
            rate, cap = self._reads if request.method in READS else self._writes
            if rate.rate != cap.rate:
                cap.adopt(rate.rate)
            if cap.rate:
                await cap.take(1)
            sent = time.monotonic()
            try:
                response = await self._below.send(request)
            except TransferError as error:
                self._learn(request, error, rate, sent)
                raise
            now = time.monotonic()
            rate.passed(now)
            gate.succeeded(now - sent, request.method)
            return response
        finally:
            if takes_place:
                gate.leave()

    def _learn(self, request: Request, error: TransferError, rate: StoreRate, sent: float) -> None:
        """Learn from the error of a request that was sent at this monotonic time."""
        gate = self._gate
        gate.errors += error.disposition is not Disposition.GONE
        if isinstance(error, Throttled):
            rate.refused(request.key or str(request.query), sent)
        if isinstance(error, Throttled | ConnectionFailed):
            # A server that refuses connections is overloaded. If the store's rate is known, it
            # limits the requests.
            gate.slow_down(paced=rate.rate > 0)
        if error.status:
            gate.answered()
        elif isinstance(error, ConnectionFailed):
            gate.silent()
