"""The installed plugins, found by their entry points. The name of an entry point is the type of the
plugin's tasks."""

from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from dth.core.errors import UsageError
from dth.core.plugin import Plugin


def plugin(type: str) -> Plugin:
    """Load only this plugin. Raises UsageError if no installed plugin has this type."""
    if type not in _entries():
        raise UsageError(
            f"type: there is no plugin for {type} here; there is {', '.join(_entries())}"
        )
    return _load(type)


def plugins() -> dict[str, Plugin]:
    """All installed plugins, by type."""
    return {name: _load(name) for name in _entries()}


def verifies(type: object) -> bool:
    """Whether records of such a task say how each copy was verified. False if its plugin is not
    installed."""
    return type in types() and plugin(str(type)).verifies


def types() -> tuple[str, ...]:
    """The types of tasks that installed plugins have."""
    return tuple(_entries())


def distributions() -> list[str]:
    """The names of the installed distributions that have plugins, this project's among them."""
    return sorted({entry.dist.name for entry in _entries().values() if entry.dist})


def packages() -> list[str]:
    """The top-level packages that have plugins, this project's among them."""
    return sorted({entry.module.partition(".")[0] for entry in _entries().values()})


@lru_cache
def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="dth.plugins")}


@lru_cache
def _load(type: str) -> Plugin:
    found: Plugin = _entries()[type].load()
    return found
