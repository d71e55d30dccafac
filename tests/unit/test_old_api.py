"""The API of the existing solution: ours takes every operation that is written against it, and
answers the same types.

`tests/old_api.txt` has its names, nullability and types, one line each.
"""

from __future__ import annotations

import re

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLNonNull,
    GraphQLObjectType,
)

from dth.platforms.local.graphql import load_schema
from tests.old_api import LINES, Root, root_of

SCHEMA = load_schema()


def takes(ours: object, theirs: str) -> bool:
    """Whether an argument or input field of ours takes all that theirs took: it may ask for
    less."""
    shown = str(ours)
    return shown == theirs or f"{shown}!" == theirs


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_existing_api_holds(line: str) -> None:
    if line.startswith("enum "):
        name, values = line.removeprefix("enum ").split(": ")
        kind = SCHEMA.type_map[name]
        assert isinstance(kind, GraphQLEnumType)
        assert set(values.split()) <= kind.values.keys()
        return
    if line.startswith("input "):
        name, field, theirs = re.fullmatch(
            (
                r"input (\w+)\.(\w+): "
                r"(.+)"
            ),
            line,
        ).groups()  # type: ignore[union-attr]
        kind = SCHEMA.type_map[name]
        assert isinstance(kind, GraphQLInputObjectType)
        assert takes(kind.fields[field].type, theirs)
        return
    if line.startswith(("Query.", "Mutation.")):
        root = root_of(line)
        ours = root_field(root)
        assert str(ours.type) == root.type
        for argument, theirs in root.arguments.items():
            assert takes(ours.args[argument].type, theirs), argument
        needed = {name for name, each in ours.args.items() if isinstance(each.type, GraphQLNonNull)}
        assert needed <= root.arguments.keys()
        return
    name, field, theirs = re.fullmatch(r"(\w+)\.(\w+): (.+)", line).groups()  # type: ignore[union-attr]
    kind = SCHEMA.type_map[name]
    assert isinstance(kind, GraphQLObjectType)
    assert str(kind.fields[field].type) == theirs


def test_every_input_that_was_whole_is_whole_still() -> None:
    for name in ("CreateTaskInput", "TaskParameterInput"):
        known = {
            line.split(".")[1].split(":")[0] for line in LINES if line.startswith(f"input {name}.")
        }
        kind = SCHEMA.type_map[name]
        assert isinstance(kind, GraphQLInputObjectType)
        added = {field: each for field, each in kind.fields.items() if field not in known}
        assert not any(isinstance(each.type, GraphQLNonNull) for each in added.values())


def root_field(root: Root):  # type: ignore[no-untyped-def]  # of graphql-core
    kind = SCHEMA.type_map[root.kind]
    assert isinstance(kind, GraphQLObjectType)
    return kind.fields[root.name]
