"""The queue of a task: messages, delivered at least once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent. `id` is deterministic: sending the same id twice is one message (or a harmless copy)."""

    id: str
    body: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message received under a lease. `receives` counts this one; `receipt` proves the lease."""

    id: str
    body: str
    receives: int
    receipt: str


@dataclass(frozen=True, slots=True)
class Depth:
    visible: int
    in_flight: int
    delayed: int


class Queue(Protocol):
    """At-least-once queue. A message received more often than `max_receives` goes to the dead messages instead."""

    async def send(self, messages: Sequence[Outgoing], delay: float = 0.0) -> None:
        """Enqueue all of them, each visible after `delay` seconds. Returns only when all are safe."""
        ...

    async def receive(self, limit: int, lease: float, wait: float) -> list[Delivery]:
        """Up to `limit` visible messages, each ours for `lease` seconds; waits up to `wait` seconds for the first."""
        ...

    async def extend(self, deliveries: Sequence[Delivery], lease: float) -> set[str]:
        """Hold them `lease` seconds from now. Returns the ids whose lease was lost: drop that work."""
        ...

    async def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        """Give them back, visible after `delay` seconds; this receive is not counted (drain, throttling, pause)."""
        ...

    async def delete(self, deliveries: Sequence[Delivery]) -> None:
        """Done with these. A lost lease is no error."""
        ...

    async def depth(self) -> Depth: ...

    async def purge(self) -> None:
        """Forget every message."""
        ...

    async def receive_dead(self, limit: int) -> list[Delivery]:
        """Messages that were received too often (their consumers crashed). They stay until deleted with `delete`."""
        ...
