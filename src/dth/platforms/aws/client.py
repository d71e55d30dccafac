"""Calls to AWS services: botocore clients with the credentials of the environment (instance role,
container, variables), each call on a thread.

botocore retries throttling, 5xx answers and broken connections, with backoff. Any remaining error
becomes a StateError of one line: the platform cannot be used as it is.
"""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from dth.core.errors import StateError
from dth.core.retry_policy import RetryPolicy

T = TypeVar("T")

CALLS = 32  # calls at the same time in one process
# Attempts per call; the pauses in between double, up to 20 s.
ATTEMPTS = 8
# If AWS processed a request only in part.
PARTIAL = RetryPolicy(first=0.05, last=2.0, jitter=(0.5, 1.5), attempts=12)
CONNECT_TIMEOUT, READ_TIMEOUT = 5, 40  # Seconds; a long poll takes 20.


class Refused(StateError):
    """A service refused a call: `code` is the service's error code, `answer` its full answer."""

    def __init__(self, message: str, code: str, answer: dict[str, Any]) -> None:
        super().__init__(message)
        self.code = code
        self.answer = answer


class Aws:
    """The clients of one process. `close` waits for the calls in progress."""

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
        """The same for threads; blocks."""
        import botocore.exceptions

        try:
            return getattr(self.client(service), operation)(**arguments)  # type: ignore[no-any-return]
        except botocore.exceptions.ClientError as error:
            raise _refused(error, service) from None
        except botocore.exceptions.BotoCoreError as error:
            raise StateError(f"{service} cannot be asked: {_line(str(error))}") from None

    def client(self, service: str) -> Any:
        """The botocore client, created at first use."""
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
                # It takes a tenth of a call's time, and AWS validates, too.
                parameter_validation=False,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            ),
        )


# Sessions are not thread-safe, their clients are.
_making = threading.Lock()


@cache
def _session() -> Any:
    """One session per process: it reads each service's model once, and refreshes the credentials of
    all clients."""
    import botocore.session

    return botocore.session.Session()


async def unbroken(work: Coroutine[Any, Any, T]) -> T:
    """Complete the work even if the caller is cancelled: a call that was sent to AWS cannot be
    taken back, and the code after it must know its result."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(StateError):
            await task
        raise


def _refused(error: Any, service: str) -> Refused:
    said = error.response.get("Error", {})
    code, message = str(said.get("Code", "")), _line(str(said.get("Message", "")))
    line = (
        f"{service}:{error.operation_name} was refused: {code}{f': {message}' if message else ''}"
    )
    return Refused(line, code, error.response)


def _line(text: str) -> str:
    return " ".join(text.split())
