"""The layer that tries again what is passing."""

import time

from dth.errors import TransferError
from dth.s3.retry import pause_after
from dth.s3.store.request import Request, Sender
from dth.transport import Pipe, Response


class Retrying:
    """`attempts`: tries of one request, unless it says itself how many."""

    def __init__(self, below: Sender, attempts: int) -> None:
        self._below = below
        self._attempts = attempts

    async def send(self, request: Request) -> Response:
        attempts = request.attempts or self._attempts
        if request.sink is not None or isinstance(request.body, Pipe):
            # What has passed through a pipe is gone: who holds both ends begins anew.
            attempts = 1
        attempt, began = 1, time.monotonic()
        while True:
            try:
                return await self._below.send(request)
            except TransferError as error:
                await pause_after(error, attempt, attempts, began)
            attempt += 1
