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
