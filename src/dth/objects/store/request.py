"""One request, as it passes from layer to layer."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from dth.core.transport import Body, Pipe, Response, Valve

# Of the query of a listing.
ENCODING_TYPE = "encoding-type"


# Not frozen, as are all values here of which each object needs one: that takes five times as long to make. Nobody
# changes one.
@dataclass(slots=True)
class Request:
    """One request to one bucket. Header names are in lower case.

    `options` are headers that go along with `headers`, and that the request can do without: a store that refuses one is
    asked again without it. So is one that refuses `encoding-type` in the query.
    `check` looks at a good answer and raises TransferError where it is not what was asked for.
    """

    method: str
    key: str = ""
    query: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    options: Mapping[str, str] | None = None
    body: Body = b""
    # Where the body of a good answer goes instead of memory.
    sink: Pipe | None = None
    # Bytes of body expected in the answer; 0: what an error or a listing may have.
    limit: int = 0
    # The store may think for minutes.
    slow: bool = False
    # Tries in all; 0: as many as the client makes.
    attempts: int = 0
    check: Callable[[Response], None] | None = None
    # Paces the body, whichever way it goes.
    valve: Valve | None = None

    @property
    def size(self) -> int:
        """Bytes of the body."""
        body = self.body
        return sum(map(len, body)) if isinstance(body, list) else len(body)

    @property
    def carried(self) -> Mapping[str, str]:
        """All its headers, before it is signed, and what else of it a store may refuse."""
        if not self.options and not self.encodes:
            return self.headers or {}
        encoding = {ENCODING_TYPE: "url"} if self.encodes else {}
        return {**(self.headers or {}), **(self.options or {}), **encoding}

    @property
    def encodes(self) -> bool:
        """Whether it asks for keys in an encoding."""
        return self.query is not None and ENCODING_TYPE in self.query

    def with_headers(self, headers: Mapping[str, str]) -> "Request":
        """The same request with exactly these headers, and nothing optional."""
        # Not `replace`, which looks at each field by its name: this is done for most requests.
        return Request(
            self.method,
            self.key,
            self.query,
            headers,
            None,
            self.body,
            self.sink,
            self.limit,
            self.slow,
            self.attempts,
            self.check,
            self.valve,
        )

    def with_header(self, name: str, value: str) -> "Request":
        """The same request with one header more."""
        return replace(self, headers={**(self.headers or {}), name: value})

    def without_headers(self, names: Collection[str]) -> "Request":
        """The same request without these headers."""
        headers = {name: value for name, value in (self.headers or {}).items() if name not in names}
        return replace(self, headers=headers)

    def without_encoding(self) -> "Request":
        """The same request for keys as they are."""
        query = {name: value for name, value in (self.query or {}).items() if name != ENCODING_TYPE}
        return replace(self, query=query)

    def with_valve(self, valve: Valve) -> "Request":
        """The same request, its body paced."""
        return replace(self, valve=valve)


class Sender(Protocol):
    """A layer."""

    def send(self, request: Request) -> Awaitable[Response]:
        """Raises TransferError for any answer that is not good."""
        ...
