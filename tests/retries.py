"""Sends failed items again, to the last of them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from dth.core import retries
from dth.core.plugin import Plugin
from dth.core.ports.platform import Platform


async def redrive(
    chosen: Plugin,
    platform: Platform,
    parameters: Any,
    *,
    keys: Sequence[str] = (),
    reason: str = "",
) -> int:
    """Returns how many."""
    again, sent = partial(chosen.again, platform, parameters), 0
    if keys:
        return await retries.send(platform.records, again, keys)
    await retries.begin(platform.records, reason)
    while retries.are_left(await platform.records.list_runs()):
        sent += await retries.go_on(platform.records, again)
    return sent
