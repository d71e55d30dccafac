"""The hosts that secrets are bound to, in the hub's table: an item for each secret. The hub writes it, tasks read it.

A secret without an item may be used with any host: it is older than the items, or was not made by the hub.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dth.core.hosts import ANY
from dth.platforms.aws.items import Item

PARTITION = "secret"  # of these items: all that tasks may read of the hub's table


def binding_key(name: str) -> Item:
    return {"pk": PARTITION, "sk": name}


def hosts_text(hosts: Sequence[str]) -> str:
    """As the attribute `Hosts` has them."""
    return json.dumps(list(hosts))


def hosts_in(item: Mapping[str, Any]) -> tuple[str, ...]:
    """What a secret with this item is bound to."""
    return tuple(json.loads(item["Hosts"])) if item else (ANY,)
