"""The plugins, found by their entry points, and what follows from their parameter models."""

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any, Protocol, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dth.core.errors import UsageError
from dth.core.parameters import is_size
from dth.core.ports.platform import Platform
from dth.core.ports.queue import Outgoing
from dth.core.ports.runs import Counts
from dth.core.prices import Prices
from dth.core.secrets import SecretUse
from dth.hub.model import TaskType
from dth.hub.scaling import Capacity


class Taken(Protocol):
    @property
    def messages(self) -> list[Outgoing]: ...

    @property
    def confirm(self) -> str:
        """An address that an operator opens to confirm a subscription; "" where there is none."""
        ...


class Route(Protocol):
    """Where data comes from and goes to."""

    @property
    def source(self) -> str:
        """As people read it."""
        ...

    @property
    def destination(self) -> str: ...

    @property
    def writes(self) -> str:
        """What is written, such that tasks which write the same say the same."""
        ...


class Plugin(Protocol):
    """A module that moves one kind of data."""

    TYPE: str
    THINGS: str  # what it moves, in the plural
    Parameters: type[BaseModel]
    LIVE: frozenset[str]  # parameters that the hub acts on: a change of them needs no new processes

    def check(self, parameters: Any) -> None:
        """What the model alone cannot tell. Raises UsageError."""
        ...

    def check_side(self, parameters: Any, side: str) -> None:
        """What "source" or "destination" alone cannot do without. Raises UsageError."""
        ...

    def secret_uses(self, parameters: Any, sides: Sequence[str] = ...) -> list[SecretUse]:
        """Which secrets these sides use, and with which hosts; both sides by default. Raises UsageError."""
        ...

    def route(self, parameters: Any) -> Route:
        """What is read and what is written."""
        ...

    def buckets_written(self, parameters: Any) -> frozenset[str]:
        """Whatever may be the bucket at AWS that is written; empty for what is no bucket."""
        ...

    def conflict(self, one: Any, other: Any) -> str:
        """Why two tasks may not run beside each other; "" where they may."""
        ...

    def follows_events(self, parameters: Any) -> bool: ...

    def deletes(self, parameters: Any) -> bool: ...

    def read_notification(self, body: bytes) -> Taken:
        """What a store tells of its objects, as messages for the queue. Raises UsageError."""
        ...

    def capacity(self, parameters: Any) -> Capacity:
        """How many workers a task may have."""
        ...

    def bandwidth(self, parameters: Any) -> tuple[str, int | None]:
        """The timetable of bandwidth caps, and the cap at other times in bytes a second; None: none."""
        ...

    def rates(self, parameters: Any, cap: int | None) -> dict[str, float]:
        """The rates that hold over all processes of a task, as `Limits` keeps them, with this cap on bandwidth. At 0
        there is no limit."""
        ...

    def budget(self, parameters: Any) -> float | None:
        """USD after which a task pauses; None: never."""
        ...

    def spent(self, parameters: Any, runs: Sequence[Counts], prices: Prices) -> float | None:
        """What runs have cost so far, in USD: an estimate, for budgets. None where prices are not known."""
        ...

    def unpriced(self, parameters: Any, prices: Prices) -> str:
        """Whose prices are not known, in words; "" where all are."""
        ...

    async def redrive(
        self, platform: Platform, parameters: Any, *, keys: Sequence[str] = (), reason: str = ""
    ) -> int:
        """Send what failed again: all, those named, or those of one reason. Returns how many."""
        ...


@lru_cache
def plugins() -> dict[str, Plugin]:
    found: dict[str, Plugin] = {}
    for entry in entry_points(group="dth.plugins"):
        module = entry.load()
        found[module.TYPE] = module
    return found


def plugin(type: TaskType) -> Plugin:
    if type not in plugins():
        raise UsageError(f"type: there is no plugin for {type} here; there is {', '.join(plugins())}")
    return plugins()[type]


def read_parameters(type: TaskType, given: Mapping[str, str]) -> Any:
    """The plugin's model of parameters given as text. An empty text is as good as none. Raises UsageError that names
    the parameter and what is wrong with it."""
    model = plugin(type).Parameters
    lists = {field.alias for field in model.model_fields.values() if field.annotation == tuple[str, ...]}
    values = {
        name: _several(name, text) if name in lists else text for name, text in given.items() if text != ""
    }
    try:
        return model.model_validate(values, by_alias=True, by_name=False)
    except ValidationError as error:
        raise UsageError(explain(error)) from None


def _several(name: str, text: str) -> list[str]:
    """A list as text: JSON, or one a line."""
    if text.lstrip().startswith("["):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise UsageError(f"{name}: {text!r} is not a JSON list of texts")
        return found
    return [line.strip() for line in text.splitlines() if line.strip()]


def explain(error: ValidationError) -> str:
    """One line: the parameter, and what is wrong with it."""
    problem = error.errors()[0]
    message = said(problem)
    return f"{problem['loc'][0]}: {message}" if problem["loc"] else message


def said(problem: ErrorDetails) -> str:
    """What is wrong, in our words."""
    limits = problem.get("ctx", {})
    for bound, words in (("ge", "at least"), ("gt", "more than"), ("le", "at most")):
        if bound in limits:
            limit = limits[bound]
            shown = f"{limit // 1024**2} MiB" if limit >= 1024**2 else f"{limit:g}"
            return f"{problem['input']!r} is out of range; it must be {words} {shown}"
    match problem["type"]:
        case "extra_forbidden":
            return "there is no such parameter"
        case "enum":
            return f"{problem['input']!r} is none of {limits['expected']}"
    return problem["msg"].removeprefix("Value error, ")


def form(type: TaskType) -> list[dict[str, Any]]:
    """Every parameter as a form shows it, and checks it while one types."""
    return [
        {
            "name": field.alias,
            "label": field.title,
            "group": field.json_schema_extra["group"],
            "help": field.description,
            "kind": _kind(field),
            "default": _text(field.default),
            "allowed": _choices(field),
            "option": field.json_schema_extra["cli"],
            "minimum": _limit(field, "ge", "gt"),
            "maximum": _limit(field, "le"),
            "size": is_size(field),
            "required": field.json_schema_extra["required"],
        }
        for field in map(_any, plugin(type).Parameters.model_fields.values())
    ]


def _any(field: Any) -> Any:
    return field


def _kind(field: Any) -> str:
    kinds = (field.annotation, *get_args(field.annotation))
    if bool in kinds:
        return "boolean"
    if field.annotation == tuple[str, ...]:
        return "list"
    if _choices(field):
        return "choice"
    return "number" if int in kinds or float in kinds else "text"


def _choices(field: Any) -> list[str]:
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, Enum):
            return [str(member.value) for member in kind]
    return []


def _limit(field: Any, *bounds: str) -> float | None:
    found = [getattr(limit, bound) for limit in field.metadata for bound in bounds if hasattr(limit, bound)]
    return float(found[0]) if found else None


def _text(value: Any) -> str:
    if value is None or value == ():
        return ""
    return str(value).lower() if isinstance(value, bool) else str(getattr(value, "value", value))
