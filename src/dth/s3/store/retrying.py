"""The layer that tries again what is passing."""

from dth.s3.retry import retry
from dth.s3.store.request import Request, Sender
from dth.s3.transport import Pipe, Response


class Retrying:
    """`attempts`: tries of one request, unless it says itself how many."""

    def __init__(self, below: Sender, attempts: int) -> None:
        self._below = below
        self._attempts = attempts

    async def send(self, request: Request) -> Response:
        attempts = request.attempts or self._attempts
        if attempts == 1 or request.sink is not None or isinstance(request.body, Pipe):
            # What has passed through a pipe is gone: who holds both ends begins anew.
            return await self._below.send(request)
        return await retry(lambda: self._below.send(request), attempts=attempts)
