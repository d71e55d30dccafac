from asyncio import Future
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

INTERFACE: int
# What became of a request, where it is no HTTP status.
BROKEN: int
STALE: int
TIMED_OUT: int
TOO_LARGE: int
# What happens on the way.
DRY: int
PIECE: int
HUNGRY: int

# Connection, the future of its request, what happened, headers or words, body.
Event: TypeAlias = tuple[Connection, Future[Any] | None, int, Any, list[bytes] | None]

def keep_memory(size: int, /) -> None: ...
def head(method: str, target: str, first: bytes, headers: dict[str, str], size: int, /) -> bytes | None: ...

class Connection:
    @property
    def closed(self) -> bool: ...
    @property
    def granted(self) -> int: ...
    @property
    def hungry(self) -> bool: ...
    @property
    def passed(self) -> int: ...
    def start(
        self,
        future: Future[Any],
        granted: int,
        streams: bool,
        head: bytes,
        body: Sequence[bytes],
        size: int,
        most: int,
        bodyless: bool,
        patience: float,
        /,
    ) -> bool: ...
    def allow(self, granted: int, /) -> None: ...
    def feed(self, pieces: Sequence[bytes], /) -> None: ...
    def hold(self, whether: bool, /) -> None: ...
    def abort(self) -> None: ...
    def fileno(self) -> int: ...

class Engine:
    @property
    def under_way(self) -> int: ...
    def adopt(
        self,
        fd: int,
        read: Callable[[memoryview], int] = ...,
        write: Callable[[memoryview], int] = ...,
        close: Callable[[], None] = ...,
        /,
    ) -> Connection: ...
    def run(self) -> list[Event]: ...
    def sweep(self) -> list[Event]: ...
    def close(self) -> None: ...
    def fileno(self) -> int: ...
