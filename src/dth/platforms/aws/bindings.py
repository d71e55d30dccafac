"""The hosts that secrets are bound to: one item per secret in the hub's table. The hub writes it,
tasks read it.

A secret without an item may be used with any host: it is older than the items, or was not created
by the hub.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dth.core.secret_bindings import ANY
from dth.platforms.aws.items import Item

# Partition of these items, the only part of the hub's table that tasks may read.
PARTITION = "secret"


def binding_key(name: str) -> Item:
    return {"pk": PARTITION, "sk": name}


def hosts_text(hosts: Sequence[str]) -> str:
    """The hosts in the form of the attribute `Hosts`."""
    return json.dumps(list(hosts))


def hosts_in(item: Mapping[str, Any]) -> tuple[str, ...]:
    """The hosts that the secret of this item is bound to."""
    return tuple(json.loads(item["Hosts"])) if item else (ANY,)
