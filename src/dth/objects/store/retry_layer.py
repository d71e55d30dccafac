"""The layer that tries again after temporary errors."""

import time

from dth.core.errors import TransferError
from dth.core.transport import Pipe, Response
from dth.objects.store.immediate_retry import pause_after
from dth.objects.store.request import Request, Sender


class RetryLayer:
    """`attempts`: the number of tries of a request that does not specify it."""

    def __init__(self, below: Sender, attempts: int) -> None:
        self._below = below
        self._attempts = attempts

    async def send(self, request: Request) -> Response:
        attempt, began = 1, time.monotonic()
        while True:
            try:
                return await self._below.send(request)
            except TransferError as error:
                await pause_after(error, attempt, self._tries(request), began)
            attempt += 1

    def _tries(self, request: Request) -> int:
        if request.sink is not None or isinstance(request.body, Pipe):
            # Bytes that passed through a pipe are gone. The caller that holds both ends starts
            # over.
            return 1
        return request.attempts or self._attempts
