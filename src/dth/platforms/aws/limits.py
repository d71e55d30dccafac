"""Rates shared by all processes: one token bucket per item of the state table.

A bucket is changed on the condition that nobody else has changed it in the meantime. The state that
this process saw last is tried first, so a lease is a single write if nobody else uses the bucket.
"""

import asyncio
import random
import time
from collections.abc import Mapping

from dth.core.errors import StateError
from dth.core.ports.limits import Lease
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.items import Item

# Seconds' worth of tokens in a full bucket, as on the local platform.
CAPACITY = 0.25
TRIES = 50


class AwsLimits:
    """`ports.Limits` over DynamoDB."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo
        self._seen: dict[str, Item] = {}

    async def set_rates(self, rates: Mapping[str, float]) -> None:
        """Set the rates. Each gets a new turn, so that a process with a cached bucket notices at
        its next lease."""
        for name, rate in rates.items():
            await self._dynamo.update(
                "state",
                {"pk": "limit", "sk": name},
                "SET #rate = :rate, #turn = :turn",
                "attribute_not_exists(#rate) OR #rate <> :rate",
                {"rate": rate, "turn": random.getrandbits(48)},
            )

    async def rates(self) -> dict[str, float]:
        found = self._dynamo.query("state", "#pk = :pk", {"pk": "limit"})
        return {item["sk"]: item.get("rate", 0.0) async for item in found}

    async def lease(self, name: str, wanted: float) -> Lease:
        """Raises StateError while the table is unreachable: the caller keeps its share."""
        for attempt in range(TRIES):
            now, seen = time.time(), self._seen.get(name, {})
            if not seen.get("rate"):
                seen = self._seen[name] = await self._dynamo.get(
                    "state", {"pk": "limit", "sk": name}
                )
            rate = seen.get("rate", 0.0)
            if not rate:
                return Lease(wanted, 0.0, 0.0)
            capacity = rate * CAPACITY
            # A clock that was set back gives nothing for that time; one that was set forward fills
            # the bucket once.
            passed = max(0.0, now - seen.get("filled", 0.0))
            tokens = min(capacity, seen.get("tokens", capacity) + passed * rate)
            granted = min(wanted, tokens)
            left = {"tokens": tokens - granted, "filled": now, "turn": random.getrandbits(48)}
            written = await self._dynamo.update(
                "state",
                {"pk": "limit", "sk": name},
                "SET #tokens = :tokens, #filled = :filled, #turn = :turn",
                "#turn = :seen OR #turn = :turn",
                {**left, "seen": seen["turn"]},
            )
            if written.ok:
                self._seen[name] = {**left, "rate": rate}
                return Lease(granted, min(wanted - granted, capacity) / rate, rate)
            self._seen[name] = written.old
            await asyncio.sleep(random.uniform(0, 0.005) * attempt)
        raise StateError(f"the bucket of {name} has more takers than it can serve")
