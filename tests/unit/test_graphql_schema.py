"""The schema is bound to its resolvers by graphql-core alone."""

import gc
import subprocess
import sys
import warnings
from typing import cast

import pytest

from dth.hub.api import FIELDS
from dth.hub.model import Identity, Role
from dth.hub.ports import HubPorts
from dth.platforms.local import graphql


def test_each_root_field_has_its_resolver() -> None:
    schema = graphql.load_schema()
    assert schema.query_type
    assert schema.mutation_type
    fields = {**schema.query_type.fields, **schema.mutation_type.fields}
    assert fields.keys() == FIELDS.keys()
    assert {field.resolve for field in fields.values()} == {graphql._answer}


def test_a_field_without_a_resolver_and_a_resolver_without_a_field_are_defects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = {name: field for name, field in FIELDS.items() if name != "whoAmI"} | {
        "dance": FIELDS["whoAmI"]
    }
    monkeypatch.setattr(graphql, "FIELDS", more)
    with pytest.raises(AssertionError, match=r"\['dance', 'whoAmI'\]"):
        graphql.load_schema()


def test_a_resolver_of_the_wrong_root_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphql, "FIELDS", FIELDS | {"whoAmI": FIELDS["stopTask"]})
    with pytest.raises(AssertionError, match="whoAmI"):
        graphql.load_schema()


def test_nothing_else_than_graphql_core_is_imported_for_it() -> None:
    code = "import sys, dth.platforms.local.graphql; sys.exit('ariadne' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


async def test_mutations_after_one_that_failed_never_begin() -> None:
    """Without a trace: Python would report coroutines that nobody awaited, in the hub's log."""
    many = " ".join(f'a{number}: deleteSecret(name: "x") {{ name }}' for number in range(3))
    viewer = Identity("ann", "ann", Role.VIEWER)
    with warnings.catch_warnings(record=True) as reported:
        warnings.simplefilter("always")
        answer = await graphql.answer(
            graphql.load_schema(), cast(HubPorts, None), viewer, {"query": f"mutation {{ {many} }}"}
        )
        gc.collect()
    assert [error["path"] for error in answer["errors"]] == [["a0"]]
    assert [str(each.message) for each in reported] == []


@pytest.mark.parametrize(
    ("query", "reads"),
    [
        ("query ($id: ID!) { getTask(id: $id) { id } }", 1),
        ("{ nobody }", 1),
        ('query ($id: ID!) { getTask(id: $id) { id } x: getTask(id: "secret") { id } }', 3),
        ("query ($id: ID!) { getTask(id: $id) { id } } #" + "x" * graphql.MAX_KEPT, 3),
    ],
    ids=["usual", "wrong", "with a text", "long"],
)
async def test_a_query_that_is_asked_again_is_read_once(
    query: str, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse, read = graphql.parse, []
    monkeypatch.setattr(graphql, "parse", lambda *a, **k: read.append(a) or parse(*a, **k))
    schema, caller = graphql.load_schema(), Identity("ann", "ann", Role.VIEWER)
    said = []
    for number in range(3):
        request = {"query": query, "variables": {"id": [number]}}
        answer = await graphql.answer(schema, cast(HubPorts, None), caller, request)
        said.append([(error["message"], error["locations"]) for error in answer["errors"]])
    assert len(read) == reads
    assert all(said)


async def test_limits_hold_for_each_variable_of_a_query_that_is_asked_again() -> None:
    schema, caller = graphql.load_schema(), Identity("ann", "ann", Role.VIEWER)
    roots = " ".join(
        f"a{each}: listRecords(id: $id, limit: $n) {{ items {{ key }} }}" for each in range(15)
    )
    query = f"query ($id: ID!, $n: Int) {{ {roots} }}"
    codes = []
    for most in (1, 10_000):
        request = {"query": query, "variables": {"id": "x", "n": most}}
        answer = await graphql.answer(schema, cast(HubPorts, None), caller, request)
        codes.append({error["extensions"]["code"] for error in answer["errors"]})
    assert codes[1] == {"LIMIT"}
    assert "LIMIT" not in codes[0]
