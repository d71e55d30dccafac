"""Sends failed items again, to the last of them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from dth.core import redrive
from dth.core.plugin import Plugin
from dth.core.ports.platform import Platform


async def redrive_failed(
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
        return await redrive.send(platform.records, again, keys)
    await redrive.begin(platform.records, reason)
    while redrive.are_left(await platform.records.list_runs()):
        sent += await redrive.go_on(platform.records, again)
    return sent
