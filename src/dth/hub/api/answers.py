"""Answers of the API: one dataclass for each type of `schema.graphql`, and their conversion to
JSON."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, TypeVar, cast, dataclass_transform

T = TypeVar("T")

TYPES: dict[str, type] = {}
# Per class: field names and their names in the schema.
_NAMES: dict[type, dict[str, str]] = {}


@dataclass_transform(frozen_default=True)
def answers(name: str) -> Callable[[type[T]], type[T]]:
    """Make a class the dataclass of this GraphQL type. A test compares its fields with the
    schema."""

    def register(cls: type[T]) -> type[T]:
        made = dataclass(frozen=True, slots=True)(cls)
        TYPES[name] = made
        _NAMES[made] = {field.name: camel(field.name) for field in fields(cast(Any, made))}
        return made

    return register


def as_json(answer: Any) -> Any:
    """Convert an answer to JSON-safe values, with the names of the schema."""
    if isinstance(answer, Enum):
        return answer.value
    if answer is None or isinstance(answer, str | int | float):
        return answer
    if isinstance(answer, list | tuple):
        return [as_json(each) for each in answer]
    if isinstance(answer, Mapping):
        return {name: as_json(value) for name, value in answer.items()}
    return {shown: as_json(getattr(answer, name)) for name, shown in _NAMES[type(answer)].items()}


def camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", name)
