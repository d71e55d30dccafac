"""The API of the existing solution, read from `old_api.txt`: names, nullability and types as its
clients know them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TEXT = (Path(__file__).parent / "old_api.txt").read_text("utf-8")
LINES = [line for line in TEXT.splitlines() if line and not line.startswith("#")]


@dataclass(frozen=True)
class Root:
    """A root field, with its arguments and their types."""

    kind: str  # "Query" or "Mutation"
    name: str
    arguments: dict[str, str]
    type: str


def root_of(line: str) -> Root:
    found = re.fullmatch(r"(Query|Mutation)\.(\w+)(?:\((.*)\))?: (.+)", line)
    assert found, line
    kind, name, arguments, answer = found.groups()
    pairs = (each.split(": ") for each in (arguments or "").split(", ") if each)
    return Root(kind, name, dict(pairs), answer)


ROOTS = [root_of(line) for line in LINES if line.startswith(("Query.", "Mutation."))]


def fields_of(type: str) -> dict[str, str]:
    """The fields of an object type, and their types; nothing for a scalar or an enum."""
    name = type.strip("[]!")
    found = (re.fullmatch(rf"{name}\.(\w+): (.+)", line) for line in LINES)
    return {each[1]: each[2] for each in found if each}


def selection(type: str) -> str:
    """Everything that there is of a type, as a client selects it."""
    fields = fields_of(type)
    if not fields:
        return ""
    inner = " ".join(f"{name}{selection(kind)}" for name, kind in fields.items())
    return f" {{ {inner} __typename }}"


def operation(root: Root) -> str:
    """The operation of a client that passes every argument as a variable, and selects
    everything."""
    declared = ", ".join(f"${name}: {kind}" for name, kind in root.arguments.items())
    passed = ", ".join(f"{name}: ${name}" for name in root.arguments)
    title = root.name[0].upper() + root.name[1:]
    head = f"{root.kind.lower()} {title}" + (f"({declared})" if declared else "")
    call = root.name + (f"({passed})" if passed else "")
    return f"{head} {{ {call}{selection(root.type)} }}"
