"""One request, as it passes from layer to layer."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from dth.core.transport import Body, Pipe, Response, Valve

# Part of the query of a listing.
ENCODING_TYPE = "encoding-type"


# Not frozen, like every class here of which each object needs an instance: creating a frozen one
# takes five times as long. No code changes an instance.
@dataclass(slots=True)
class Request:
    """One request to one bucket. Header names are in lower case.

    `options` are headers sent in addition to `headers` that the request can omit: if a store
    refuses one, the request is sent again without it. The same applies to `encoding-type` in the
    query. `check` inspects a good answer, and raises TransferError if it is not what was asked for.
    """

    method: str
    key: str = ""
    query: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    options: Mapping[str, str] | None = None
    body: Body = b""
    # The destination of a good answer's body, instead of memory.
    sink: Pipe | None = None
    # Expected bytes of the answer's body; 0: the size of an error or a listing.
    limit: int = 0
    # Whether the store may take minutes to answer.
    slow: bool = False
    # The total number of tries; 0: the client's default.
    attempts: int = 0
    check: Callable[[Response], None] | None = None
    # Paces the body in either direction.
    valve: Valve | None = None

    @property
    def size(self) -> int:
        """Bytes of the body."""
        body = self.body
        return sum(map(len, body)) if isinstance(body, list) else len(body)

    @property
    def moved(self) -> int:
        """Bytes of the body in either direction that count for a cap. The tags of an object do not:
        `limit` is far more than they have, and a request for them must not wait for its turn among
        large bodies."""
        return self.size or (0 if self.query and "tagging" in self.query else self.limit)

    @property
    def carried(self) -> Mapping[str, str]:
        """All headers before signing, and anything else in the request that a store may refuse."""
        if not self.options and not self.encodes:
            return self.headers or {}
        encoding = {ENCODING_TYPE: "url"} if self.encodes else {}
        return {**(self.headers or {}), **(self.options or {}), **encoding}

    @property
    def encodes(self) -> bool:
        """Whether it asks for encoded keys."""
        return self.query is not None and ENCODING_TYPE in self.query

    def with_headers(self, headers: Mapping[str, str]) -> "Request":
        """The same request with exactly these headers and without options."""
        # Not `replace`, which accesses each field by its name: this is called for most requests.
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
        """The same request with one more header."""
        return replace(self, headers={**(self.headers or {}), name: value})

    def without_headers(self, names: Collection[str]) -> "Request":
        """The same request without these headers."""
        headers = {name: value for name, value in (self.headers or {}).items() if name not in names}
        return replace(self, headers=headers)

    def without_encoding(self) -> "Request":
        """The same request for keys without an encoding."""
        query = {name: value for name, value in (self.query or {}).items() if name != ENCODING_TYPE}
        return replace(self, query=query)

    def with_valve(self, valve: Valve) -> "Request":
        """The same request with its body paced."""
        return replace(self, valve=valve)


class Sender(Protocol):
    """A layer that sends requests."""

    def send(self, request: Request) -> Awaitable[Response]:
        """Send the request. Raises TransferError for any answer that is not good."""
        ...
