"""The layer that admits: as many requests at once as the endpoint takes, and no more than the caps allow."""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

from dth.errors import ConnectionFailed, Disposition, Throttled, TransferError
from dth.s3.pace import Cap, Gate, Supply
from dth.s3.store.request import Request, Sender
from dth.s3.transport import Pipe, Response, Valve

T = TypeVar("T")


class Gated:
    """`held_back`: requests that wait for a cap before they are sent."""

    def __init__(self, below: Sender, gate: Gate, request_cap: Cap | None, byte_cap: Cap | None) -> None:
        self.held_back = 0
        self._below = below
        self._gate = gate
        self._request_cap = request_cap
        self._byte_cap = byte_cap

    async def send(self, request: Request) -> Response:
        if isinstance(request.body, Pipe):
            # The other end of the pipe holds a place already.
            return await self._paced(request)
        async with self._gate:
            return await self._paced(request)

    async def _paced(self, request: Request) -> Response:
        """Send when the caps let it: a small body once all of it is granted, a large one as it is granted."""
        if self._request_cap:
            await self._granted(self._request_cap.take(1))
        cap = self._byte_cap
        if cap is None:
            return await self._counted(request)
        size = request.size
        amount = size or request.limit
        if amount <= cap.slice:
            if amount:
                await self._granted(cap.take(amount))
            return await self._counted(request)
        async with cap.large:
            supply, valve = Supply(cap, amount, received=not size), Valve()
            valve.grant(await self._granted(supply.next()))
            feeder = asyncio.create_task(supply.feed(valve))
            try:
                return await self._counted(request.with_valve(valve))
            finally:
                feeder.cancel()

    async def _granted(self, grant: Awaitable[T]) -> T:
        """Wait for a cap, and let it be seen."""
        self.held_back += 1
        try:
            return await grant
        finally:
            self.held_back -= 1

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
