"""Stores of the hub: what a task gets from the stores that it names, and how a store is changed."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dth.core.errors import Conflict, NotFound, UsageError
from dth.core.parameters import check_confined
from dth.core.plugin import SIDES, Plugin
from dth.core.plugins import plugin, plugins
from dth.core.stores import Store
from dth.hub.parameters import read_parameters
from dth.hub.ports import HubPorts
from dth.hub.roles import check_roles

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
MAX_FIELD = 2000  # characters
# A store is tested as the place that something is read from.
SIDE = "source"


def missing(name: str) -> NotFound:
    return NotFound(f"there is no store {name!r}")


def exists(name: str) -> Conflict:
    return Conflict(f"there is a store {name!r} already; update it, or delete it first")


async def named(ports: HubPorts, type: str, given: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What the stores that these parameters name add to them, by the name of the store. Raises
    UsageError for a store that does not exist, and for a parameter that the store gives."""
    found = {}
    for parameter, name in plugin(type).stores(given).values():
        try:
            store = await ports.stores.get(name)
        except NotFound as error:
            raise UsageError(f"{parameter}: {error}") from None
        found[name] = added_by(store, type, given)
    return found


def added_by(store: Store, type: str, given: Mapping[str, str]) -> dict[str, str]:
    """What the store adds to these parameters, for each side that names it. Raises UsageError."""
    chosen, added = plugin(type), dict[str, str]()
    for side, (_, name) in chosen.stores(given).items():
        if name != store.name:
            continue
        if also := [each for each in chosen.store_parameters(side) if given.get(each)]:
            raise UsageError(
                f"{also[0]}: the store {name!r} gives this; change the store, or leave this out"
            )
        added |= chosen.store_settings(store, side)
    return added


async def complete(ports: HubPorts, type: str, given: Mapping[str, str]) -> Any:
    """The parsed parameters together with what the stores add. Raises UsageError."""
    added = await named(ports, type, given)
    resolved = {name: value for settings in added.values() for name, value in settings.items()}
    return read_parameters(type, resolved | dict(given))


def keeper_of_stores() -> Plugin:
    """The plugin whose places are stores."""
    return next(each for each in plugins().values() if each.store_parameters(SIDE))


async def check(ports: HubPorts, store: Store) -> None:
    """Check that the store can be used by tasks of this hub: its settings, and its secret with its
    hosts. A secret that is not bound yet is bound to these hosts. Raises UsageError."""
    if not NAME.fullmatch(store.name):
        raise UsageError(
            f"{store.name[:80]!r} is not a name for a store: letters, digits and any of _.- "
            "make one, up to 63"
        )
    for name, value in store.given().items():
        if isinstance(value, str) and len(value) > MAX_FIELD:
            raise UsageError(f"{name}: {MAX_FIELD} characters are the most")
    chosen = keeper_of_stores()
    try:
        # What only a destination uses is checked as well.
        for side in SIDES if not store.anonymous else (SIDE,):
            parameters = read_parameters(chosen.type, chosen.store_settings(store, side))
            check_confined(parameters)
            check_roles(ports, parameters)
            uses = chosen.secret_uses(parameters, [side])
    except UsageError as error:
        raise UsageError(_in_words_of_a_store(str(error), chosen)) from None
    await ports.secrets.use(uses)


def _in_words_of_a_store(text: str, chosen: Plugin) -> str:
    """An error about the parameters of a side, as one about the fields of the store."""
    start, _, rest = text.partition(": ")
    if start in SIDES:
        return rest
    field = {
        name: field for side in SIDES for name, field in chosen.store_parameters(side).items()
    }.get(start)
    return f"{field}: {rest}" if field else text


async def create(ports: HubPorts, store: Store) -> None:
    """Raises Conflict if the name exists, and UsageError."""
    await check(ports, store)
    await ports.stores.add(store)


async def changed(ports: HubPorts, name: str, changes: Mapping[str, Any]) -> Store:
    """The store with other values in some fields, checked and not written (`tasks.change_store`).
    Raises NotFound, UsageError."""
    before = await ports.stores.get(name)
    store = replace(before, **changes)
    await check(ports, store)
    return store


async def delete(ports: HubPorts, name: str) -> Store:
    """Raises Conflict while tasks use the store."""
    found = await ports.stores.get(name)
    if count := (await uses(ports)).get(name, 0):
        tasks = "a task uses" if count == 1 else f"{count} tasks use"
        raise Conflict(f"{tasks} the store {name!r}; delete or change them first")
    await ports.stores.remove(name)
    return found


async def uses(ports: HubPorts) -> Mapping[str, int]:
    """How many tasks use each store that is used."""
    return await ports.tasks.count_by_store()
