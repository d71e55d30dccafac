"""Calls of AWS services: botocore clients with what the environment gives (instance role, container, variables), each
call on a thread.

Throttling, 5xx answers and broken connections are tried again by botocore, with backoff; what is left is a StateError
in one line: the platform cannot be used as it is.
"""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from dth.core.errors import StateError

T = TypeVar("T")

CALLS = 32  # at once, in one process
ATTEMPTS = 8  # of one call; the pauses between them double, up to 20 s
CONNECT_TIMEOUT, READ_TIMEOUT = 5, 40  # seconds; a long poll lasts 20


class Refused(StateError):
    """A service refused a call: `code` as it says it, `answer` with all that it said."""

    def __init__(self, message: str, code: str, answer: dict[str, Any]) -> None:
        super().__init__(message)
        self.code = code
        self.answer = answer


class Aws:
    """The clients of one process. Close it: calls that are under way come to their end."""

    def __init__(self, region: str, endpoint: str = "") -> None:
        self._region = region
        self._endpoint = endpoint
        self._threads = ThreadPoolExecutor(CALLS, thread_name_prefix="aws")
        self._clients: dict[str, Any] = {}

    async def call(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        """One call, such as ("sqs", "send_message_batch"). Raises StateError."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._threads, lambda: self.call_now(service, operation, **arguments)
        )

    def call_now(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        """The same for a thread; blocks."""
        import botocore.exceptions

        try:
            return getattr(self.client(service), operation)(**arguments)  # type: ignore[no-any-return]
        except botocore.exceptions.ClientError as error:
            raise _refused(error, service) from None
        except botocore.exceptions.BotoCoreError as error:
            raise StateError(f"{service} cannot be asked: {_line(str(error))}") from None

    def client(self, service: str) -> Any:
        """The botocore client, made when it is first needed."""
        with _making:
            if service not in self._clients:
                self._clients[service] = self._make(service)
            return self._clients[service]

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        for client in self._clients.values():
            client.close()

    def _make(self, service: str) -> Any:
        import botocore.config

        return _session().create_client(
            service,
            region_name=self._region or None,
            endpoint_url=self._endpoint or None,
            config=botocore.config.Config(
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=READ_TIMEOUT,
                max_pool_connections=CALLS,
                parameter_validation=False,  # which takes a tenth of a call's time, and AWS does it, too
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            ),
        )


_making = threading.Lock()  # a session is not safe in threads, its clients are


@cache
def _session() -> Any:
    """One for the process: it reads each service's model once, and refreshes credentials for all clients."""
    import botocore.session

    return botocore.session.Session()


async def unbroken(work: Coroutine[Any, Any, T]) -> T:
    """Do it to its end even if the caller is cancelled: a call that has left for AWS cannot be taken back, and what
    follows it must still know what it did."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(StateError):
            await task
        raise


def pauses(first: float = 0.05, last: float = 2.0, times: int = 12) -> Iterator[float]:
    """Seconds to wait between tries of what AWS took in part only."""
    for _ in range(times):
        yield first
        first = min(first * 2, last)


def _refused(error: Any, service: str) -> Refused:
    said = error.response.get("Error", {})
    code, message = str(said.get("Code", "")), _line(str(said.get("Message", "")))
    line = f"{service}:{error.operation_name} was refused: {code}{f': {message}' if message else ''}"
    return Refused(line, code, error.response)


def _line(text: str) -> str:
    return " ".join(text.split())
