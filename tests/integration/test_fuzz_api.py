"""Queries that nobody writes: whatever a client sends, the hub answers in its own words, never by a
defect.

Each root field gets operations that the schema takes, and some that it just does not. A short run
is part of the tests; `make fuzz` makes a long one.
"""

from __future__ import annotations

import json
import os
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from graphql import introspection_from_schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.graphql import nodes

from dth.core.plugins import types
from dth.hub.model import Role
from dth.hub.parameters import form
from tests.engine import Side, bodies
from tests.hub import Hub
from tests.operations import SCHEMA, operation, root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.ministack import MiniStack

pytestmark = pytest.mark.quick

EXAMPLES = int(os.environ.get("DTH_FUZZ_EXAMPLES", "3"))  # of each kind, for each root field
CODES = {"BAD_INPUT", "NOT_FOUND", "CONFLICT", "LIMIT", "FORBIDDEN", "FAILED"}
LONG = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=EXAMPLES < 10,  # the short run is the same each time
    suppress_health_check=list(HealthCheck),
)
# Queries first: what there is may be deleted by a mutation.
FIELDS = [
    (kind, name)
    for kind, fields in (("Query", SCHEMA.query_type), ("Mutation", SCHEMA.mutation_type))
    if fields is not None
    for name in fields.fields
]

# Words that lead further than noise does: names of parameters, values that they take or nearly
# take, and whatever the world has.
WORDS = [field["name"] for kind in types() for field in form(kind)]
WORDS += [
    "",
    "0",
    "-1",
    "1e400",
    "NaN",
    "true",
    "5G",
    "1 hour",
    "0 0 * * ? *",
    "2026-01-01T00:00:00Z",
]
WORDS += ["s3://a/b", "../..", "Mon-Fri 08:00-18:00 10M", "https://127.0.0.1:1", "{}", "[]", "null"]
WORDS += ["\x00", "\u202e", "a" * 2000]


@pytest.fixture(scope="module")
def hub(
    tmp_path_factory: pytest.TempPathFactory, s3_a: MiniStack, s3_b: MiniStack
) -> Iterator[Hub]:
    sides = []
    for server in (s3_a, s3_b):
        name = f"fuzz-{uuid.uuid4().hex[:8]}"
        server.boto().create_bucket(Bucket=name)
        sides.append(Side(server, name))
    source, dest = sides
    source.put(bodies("ab"))
    with Hub(tmp_path_factory.mktemp("hub")) as hub:
        done = hub.create(source, dest, destPrefix="a/")
        waiting = hub.create(
            source, dest, once=False, destPrefix="b/", scheduleRate="1 day", srcEvent="Create"
        )
        hub.wait(done, "DONE")
        hub.user("ann", "a long enough password", Role.OPERATOR)
        job = hub.call(
            "mutation ($i: CreateTaskInput!) { preflight(input: $i) { id } }",
            i={"type": "S3EC2", "parameters": hub.parameters(source, dest)},
        )["id"]
        channel = hub.call(
            'mutation { putChannel(input: {kind: "email", target: "a@b.example"}) { id } }'
        )["id"]
        ids = [
            done,
            waiting,
            job,
            channel,
            f"/dth/tasks/{done}",
            "ann",
            "keys",
            source.bucket,
            source.server.url,
        ]
        known = st.sampled_from([*ids, *WORDS])
        schemathesis.graphql.scalar(
            "ID", st.one_of(st.sampled_from(ids), st.text()).map(nodes.String)
        )
        schemathesis.graphql.scalar("String", st.one_of(known, st.text()).map(nodes.String))
        for scalar in ("AWSDateTime", "AWSJSON"):
            schemathesis.graphql.scalar(scalar, known.map(nodes.String))
        yield hub


@pytest.mark.parametrize("mode", GenerationMode, ids=str)
@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_what_the_schema_takes_or_just_does_not(
    hub: Hub, kind: str, name: str, mode: GenerationMode
) -> None:
    # Made here, as what the scalars may be is known only now.
    schema = schemathesis.graphql.from_dict(introspection_from_schema(SCHEMA))

    @LONG
    @given(schema[kind][name].as_strategy(generation_mode=mode))
    def answers(case: schemathesis.Case) -> None:
        check(hub, {"query": case.body})

    answers()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_variables_of_any_kind(hub: Hub, kind: str, name: str) -> None:
    arguments = list(root(name)[1].args)
    query = operation(name, arguments)

    @LONG
    @given(st.fixed_dictionaries({}, optional=dict.fromkeys(arguments, JSON)))
    def answers(variables: dict[str, Any]) -> None:
        check(hub, {"query": query, "variables": variables})

    answers()


def check(hub: Hub, request: dict[str, Any]) -> None:
    # Lone surrogates are JSON, if not UTF-8.
    body = json.dumps(request).encode()
    status, text = hub.request("/graphql", body, {"authorization": f"Bearer {hub.token}"})
    answer = json.loads(text)
    assert status in (200, 400), answer
    for error in answer.get("errors", []):
        assert error["extensions"]["code"] in CODES, (request, error)
