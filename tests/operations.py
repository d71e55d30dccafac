"""GraphQL operations made from the hub's schema, as a client would write them that wants to see
everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphql import GraphQLObjectType, get_named_type

from dth.platforms.local.graphql import load_schema

if TYPE_CHECKING:
    from collections.abc import Iterable

    from graphql import GraphQLField, GraphQLOutputType

SCHEMA = load_schema()


def root(name: str) -> tuple[str, GraphQLField]:
    """("query" or "mutation", the root field)."""
    for kind, fields in (("query", SCHEMA.query_type), ("mutation", SCHEMA.mutation_type)):
        if fields is not None and name in fields.fields:
            return kind, fields.fields[name]
    raise KeyError(name)


def selection(kind: GraphQLOutputType) -> str:
    """Every field of a type, at any depth. No type of the schema contains itself."""
    named = get_named_type(kind)
    if not isinstance(named, GraphQLObjectType):
        return ""
    return (
        " { "
        + " ".join(f"{name}{selection(field.type)}" for name, field in named.fields.items())
        + " }"
    )


def operation(name: str, given: Iterable[str]) -> str:
    """An operation that asks for one root field, with these arguments as variables, and selects
    everything."""
    kind, field = root(name)
    given = list(given)
    declared = ", ".join(f"${each}: {field.args[each].type}" for each in given)
    passed = ", ".join(f"{each}: ${each}" for each in given)
    head, call = (f"({declared})", f"({passed})") if given else ("", "")
    return f"{kind} {head} {{ {name}{call}{selection(field.type)} }}"
