"""The plugins that are installed, found by their entry points: the name is the type of their tasks."""

from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from dth.core.errors import UsageError
from dth.core.plugin import Plugin


def plugin(type: str) -> Plugin:
    """Load this one, and no other. Raises UsageError for a type that no plugin here has."""
    if type not in _entries():
        raise UsageError(f"type: there is no plugin for {type} here; there is {', '.join(_entries())}")
    return _load(type)


def plugins() -> dict[str, Plugin]:
    """All of them, by type."""
    return {name: _load(name) for name in _entries()}


def verifies(type: object) -> bool:
    """Whether records of such a task say by what each copy was verified. No, where its plugin is not installed."""
    return type in types() and plugin(str(type)).verifies


def types() -> tuple[str, ...]:
    """The types of tasks that there are."""
    return tuple(_entries())


@lru_cache
def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="dth.plugins")}


@lru_cache
def _load(type: str) -> Plugin:
    found: Plugin = _entries()[type].load()
    return found
