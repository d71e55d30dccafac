"""Limits the hub's time per caller, so that each caller leaves enough for the others."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from dth.core.errors import HubError

# Seconds of work that a caller may use at once.
SAVED = 20.0
# Seconds of work that a caller regains per second.
EARNED = 0.25
# Seconds that a request waits for its turn.
PATIENCE = 10.0
AT_ONCE = 8  # requests per caller
IN_LINE = 100  # waiting requests per caller
REMEMBERED = 1000  # callers


class TooMuch(HubError):
    """A caller asks for more than there is time for. `wait`: seconds until a retry makes sense."""

    def __init__(self, message: str, wait: float) -> None:
        super().__init__(message)
        self.wait = math.ceil(wait)


@dataclass(slots=True)
class Spent:
    """Seconds of the hub's time that a request used."""

    seconds: float = 0.0


@dataclass(slots=True)
class _Account:
    left: float = SAVED
    at: float = field(default_factory=lambda: time.monotonic())
    here: int = 0  # requests waiting or being answered
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(PATIENCE):
                await self.turns.acquire()
        except TimeoutError:
            raise TooMuch(
                "your other requests take all of your turns; ask for less at once", PATIENCE
            ) from None
        try:
            yield
        finally:
            self.turns.release()

    def earn(self) -> None:
        now = time.monotonic()
        self.left = min(SAVED, self.left + (now - self.at) * EARNED)
        self.at = now


class Budgets:
    """The accounts of all callers."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[Spent]:
        """Holds the caller's turn while a request is answered. The request adds the time that it
        used to the yielded value. Raises TooMuch."""
        account = self._of(caller)
        if account.here >= AT_ONCE + IN_LINE:
            raise TooMuch(
                f"more than {IN_LINE} of your requests wait already; ask for less at once", 1.0
            )
        account.here += 1
        try:
            async with account.turn():
                account.earn()
                wait = max(0.0, -account.left / EARNED)
                if wait > PATIENCE:
                    raise TooMuch(
                        f"you use more of the hub's time than it has; try again in {wait:.0f} s",
                        wait,
                    )
                await asyncio.sleep(wait)
                spent = Spent()
                try:
                    yield spent
                finally:
                    account.left -= spent.seconds
        finally:
            account.here -= 1

    def _of(self, caller: str) -> _Account:
        if caller not in self._accounts and len(self._accounts) >= REMEMBERED:
            for each in self._accounts.values():
                each.earn()
            self._accounts = {
                name: each
                for name, each in self._accounts.items()
                if each.here or each.left < SAVED
            }
        return self._accounts.setdefault(caller, _Account())
