"""The queue of a task: messages, delivered at least once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dth.core.errors import HubError


class BadMessage(HubError):
    """A message that this version cannot read: of another version, or from another program."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send. `id` is deterministic: sending the same id twice gives one message, or a
    harmless copy."""

    id: str
    body: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message received under a lease. `receives` includes this receive; `receipt` proves the
    lease."""

    id: str
    body: str
    receives: int
    receipt: str


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages are in the queue, by their state."""

    visible: int
    in_flight: int
    delayed: int


class Queue(Protocol):
    """An at-least-once queue. A message received more than `max_receives` times moves to the dead
    messages."""

    async def send(self, messages: Sequence[Outgoing], delay: float = 0.0) -> None:
        """Enqueue all messages, each visible after `delay` seconds. Returns when all are stored
        safely."""
        ...

    async def receive(self, limit: int, lease: float, wait: float) -> list[Delivery]:
        """Receive up to `limit` visible messages and lease each for `lease` seconds. Waits up to
        `wait` seconds for the first."""
        ...

    async def extend(self, deliveries: Sequence[Delivery], lease: float) -> set[str]:
        """Extend the leases to `lease` seconds from now. Returns the ids whose lease was lost: drop
        their work."""
        ...

    async def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        """Give the messages back, visible after `delay` seconds. This receive does not count. For
        draining, throttling and pauses."""
        ...

    async def delete(self, deliveries: Sequence[Delivery]) -> None:
        """Delete messages that are done. A lost lease is not an error."""
        ...

    async def depth(self) -> Depth:
        """How many messages there are, by state. Some platforms give approximate numbers."""
        ...

    async def purge(self) -> None:
        """Delete every message."""
        ...

    async def receive_dead(self, limit: int) -> list[Delivery]:
        """Messages that were received too often because their consumers crashed. They stay until
        `delete`."""
        ...
