"""Rates shared by all processes: one token bucket an item of the state table.

A bucket is changed on the condition that nobody else has changed it meanwhile. What it held when this process saw it
last is tried first, so that a lease is one write where nobody else takes from it.
"""

import asyncio
import random
import time

from dth.errors import StateError
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.items import Item

CAPACITY = 0.25  # seconds' worth that a full bucket holds, as in the local platform
TRIES = 50


class AwsLimits:
    """`ports.Limits` over DynamoDB."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo
        self._seen: dict[str, Item] = {}

    async def lease(self, name: str, wanted: float, rate: float) -> tuple[float, float]:
        """Raises StateError while the table cannot be reached: the caller keeps the share that it has."""
        capacity = rate * CAPACITY
        for attempt in range(TRIES):
            now, seen = time.time(), self._seen.get(name, {})
            # A clock that was set back gives nothing for that time; one set forward fills the bucket, once.
            passed = max(0.0, now - seen.get("filled", 0.0))
            tokens = min(capacity, seen.get("tokens", capacity) + passed * rate)
            granted = min(wanted, tokens)
            left = {"tokens": tokens - granted, "filled": now, "turn": random.getrandbits(48)}
            written = await self._dynamo.update(
                "state",
                {"pk": "limit", "sk": name},
                "SET #tokens = :tokens, #filled = :filled, #turn = :turn",
                "#turn = :seen OR #turn = :turn" if seen else "attribute_not_exists(#turn) OR #turn = :turn",
                {**left, "seen": seen.get("turn", 0)},
            )
            if written.ok:
                self._seen[name] = left
                return granted, min(wanted - granted, capacity) / rate
            self._seen[name] = written.old
            await asyncio.sleep(random.uniform(0, 0.005) * attempt)
        raise StateError(f"the bucket of {name} has more takers than it can serve")
