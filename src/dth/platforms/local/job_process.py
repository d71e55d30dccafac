"""The process of a job: it gets the parameters of a task, and leaves a result."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dth.core.errors import HubError
from dth.core.prices import Prices
from dth.platforms.local.foreground import PRICES_FILE, TASK_FILE
from dth.platforms.local.fork_server import ForkServer
from dth.platforms.local.result import read_result


@dataclass(frozen=True, slots=True)
class JobProcess:
    """`state`: the folder of the process, which it makes. `kind`, `name`: as in
    `core.plugin.Process`."""

    fork_server: ForkServer
    state: Path
    kind: str
    name: str
    prices: Prices

    async def result(
        self, parameters: Mapping[str, Any], longest: float | None = None
    ) -> dict[str, Any]:
        """What the process returns. It ends when this is cancelled, or after `longest` seconds.
        Raises HubError for a process that fails, with its last line."""
        state, prices = self.state, {host: asdict(each) for host, each in self.prices.items()}
        state.mkdir(mode=0o700, parents=True)
        (state / TASK_FILE).write_text(json.dumps(parameters), "utf-8")
        (state / PRICES_FILE).write_text(json.dumps(prices), "utf-8")
        words = state / "words.log"
        with words.open("ab") as errors:
            child = await self.fork_server.spawn(
                [self.kind, str(state), self.name], (errors.fileno(), errors.fileno())
            )
        try:
            async with asyncio.timeout(longest):
                await child.wait()
        except TimeoutError:
            raise HubError(f"it took longer than {(longest or 0) / 60:.0f} minutes") from None
        finally:
            child.kill()
            await child.wait()
        if child.returncode:
            lines = words.read_text("utf-8", "replace").strip().splitlines()
            raise HubError(
                lines[-1] if lines else f"its process ended with code {child.returncode}"
            )
        return read_result(state)
