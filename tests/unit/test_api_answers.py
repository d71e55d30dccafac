"""The API's answers have the fields of the schema's types, and the root fields its arguments."""

import inspect
from dataclasses import fields

import pytest
from graphql import GraphQLObjectType

from dth.core.ports.runs import Counts
from dth.hub.api import FIELDS
from dth.hub.api.answers import TYPES, camel
from dth.platforms.local.graphql import load_schema

SCHEMA = load_schema()
ROOTS = ("Query", "Mutation")
OBJECTS = {
    name: kind
    for name, kind in SCHEMA.type_map.items()
    if isinstance(kind, GraphQLObjectType) and not name.startswith("__") and name not in ROOTS
}


def test_each_type_of_the_schema_has_one_dataclass() -> None:
    assert TYPES.keys() | {"Counts"} == OBJECTS.keys()


@pytest.mark.parametrize("name", sorted(TYPES))
def test_a_dataclass_has_the_fields_of_its_type(name: str) -> None:
    assert {camel(field.name) for field in fields(TYPES[name])} == OBJECTS[name].fields.keys()


def test_counts_have_the_names_of_the_ledger() -> None:
    assert {field.name for field in fields(Counts)} == OBJECTS["Counts"].fields.keys()


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_a_root_field_takes_the_arguments_of_the_schema(name: str) -> None:
    declared = next(
        SCHEMA.type_map[root].fields[name] for root in ROOTS if name in SCHEMA.type_map[root].fields
    )
    taken = list(inspect.signature(FIELDS[name].function).parameters)[1:]
    assert {camel(each) for each in taken} == declared.args.keys()
