"""What the API refuses: queries that cost too much, callers who ask too much, and input that is
none."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    build_client_schema,
    get_introspection_query,
)

from dth.platforms.local import budget as budget_module
from dth.platforms.local.budget import Budgets, TooMuch
from tests.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with Hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


def ask(hub: Hub, query: str, **variables: Any) -> dict[str, Any]:
    return post(hub, json.dumps({"query": query, "variables": variables}).encode())


def post(hub: Hub, body: bytes) -> dict[str, Any]:
    status, text = hub.request("/graphql", body, {"authorization": f"Bearer {hub.token}"})
    assert status < 500, (status, text)
    found: dict[str, Any] = json.loads(text)
    return found


def code(answer: dict[str, Any]) -> str:
    errors = answer.get("errors")
    return str(errors[0]["extensions"]["code"]) if errors else ""


# ----------------------------------------------------------------------------- what is not an input

SCALARS: dict[str, Any] = {
    "Int": (1, (None, -1, 0, 2**31 - 1, 2**31, 1.5, "1", True, [])),
    "Float": (1.0, (None, -1, 0, 1e308, "1", [])),
    "Boolean": (True, (None, 1, "true")),
}
DEEP = "[" * 60_000
NASTY = (
    None, "", " ", "\0", "x" * 5000, "\u202e", "'; --", "%", "../../etc", "1e400", "-1e400", "NaN",
    "nan", "9" * 400,
    "-1", "{}", "[]", "é" * 300, "\ud800", "a\ud800b", "AAAA", "1:2:3", "2020-01-01",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59-23:59", ["x"], {"a": 1}, 7, DEEP, '{"a":' * 20_000,
)  # fmt: skip
STARTS_SOMETHING = (
    "preflight",
    "forecast",
    "testConnection",
    "cloneTask",
    "resumeTask",
    "startRun",
)


def a_task(hub: Hub) -> str:
    """One that has ended."""
    given = {
        "srcBucket": "a",
        "srcEndpoint": "http://127.0.0.1:9",
        "destBucket": "b",
        "destEndpoint": "http://127.0.0.1:9",
    }
    pairs = [{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()]
    wanted = {"type": "S3EC2", "scheduleType": "ONE_TIME", "parameters": pairs}
    task = str(
        hub.call("mutation ($i: CreateTaskInput!) { createTask(input: $i) { id } }", i=wanted)["id"]
    )
    hub.do("stopTask", task)
    hub.wait(task, "STOPPED")
    return task


def values_of(kind: Any) -> tuple[Any, list[Any]]:
    """A value that may do, and others."""
    if isinstance(kind, GraphQLNonNull):
        return values_of(kind.of_type)
    if isinstance(kind, GraphQLList):
        good, bad = values_of(kind.of_type)
        return [good], [None, [], [None], [None, good], *([each] for each in bad)]
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values)), [None, "", "NONE", 0]
    if isinstance(kind, GraphQLInputObjectType):
        inner = {name: values_of(field.type) for name, field in kind.fields.items()}
        good = {name: value for name, (value, _) in inner.items()}
        bad = [good | {name: other} for name, (_, others) in inner.items() for other in others]
        left_out = [{each: good[each] for each in good if each != name} for name in good]
        return good, [None, {}, *bad, *left_out]
    good, bad = SCALARS.get(kind.name, ("x", NASTY))
    return good, list(bad)


def test_no_input_is_an_internal_error(hub: Hub) -> None:
    """Every root field, with everything wrong that one argument can be."""
    schema = build_client_schema(ask(hub, get_introspection_query())["data"])
    internal, asked, task = [], 0, a_task(hub)
    known = {"id": task, "logGroupName": f"/dth/tasks/{task}", "startTime": "0", "endTime": "9"}
    for root, kind in (("query", schema.query_type), ("mutation", schema.mutation_type)):
        assert kind
        for name, field in kind.fields.items():
            inner = {each: values_of(argument.type) for each, argument in field.args.items()}
            good = {each: value for each, (value, _) in inner.items()}
            if name not in STARTS_SOMETHING:
                good |= {each: value for each, value in known.items() if each in good}
            tries = [
                good | {each: other} for each, (_, others) in inner.items() for other in others
            ]
            tries += [{each: good[each] for each in good if each != gone} for gone in good]
            leaf = getattr(field.type, "of_type", field.type)
            shape = (
                "" if not hasattr(getattr(leaf, "of_type", leaf), "fields") else " { __typename }"
            )
            declared = ", ".join(
                f"${each}: {argument.type}" for each, argument in field.args.items()
            )
            passed = ", ".join(f"{each}: ${each}" for each in field.args)
            query = (
                f"{root}{f'({declared})' if declared else ''} {{ "
                f"{name}{f'({passed})' if passed else ''}{shape} }}"
            )
            for variables in tries or [{}]:
                answer = ask(hub, query, **variables)
                asked += 1
                if code(answer) == "INTERNAL":
                    internal.append((name, str(variables)[:300], answer["errors"][0]["message"]))
    assert internal == []
    assert asked > 500


@pytest.mark.parametrize(
    "body",
    [
        b'{"query":' + b"[" * 100_000,
        b"[" * 500_000,
        b'{"query":"{ hubInfo { version } }","variables":'
        + b'{"a":' * 900
        + b"1"
        + b"}" * 900
        + b"}",
        b'{"query":"{ hubInfo { version } }","x":' + b"[" * 60 + b"]" * 60 + b"}",
        (
            b'{"query":"query($t:String){ listTasksV2(text:$t) { total } '
            b'}","variables":{"t":"\\ud800"}}'
        ),
        b'{"query":"{ listTasksV2(text:\\"\\udfff\\") { total } }"}',
        b'{"query":"{ listTasksV2(text:\\"\\\\ud800\\") { total } }"}',
        b'{"query":"{ hubInfo { version } }","variables":{"\\udc00":1}}',
        b'{"query":"{ hubInfo { version } }","operationName":["x"]}',
        b'{"query":"{ hubInfo { version } }","operationName":"\\ud800"}',
        b'{"query":"{ hubInfo { version } }","variables":[]}',
        b'{"query":"{ hubActivity(since:[[[\\"x\\"]]]) { rate } }"}',
        b'{"query":"{ hubActivity(since:{a:1}) { rate } }"}',
        b'{"query":' + b"9" * 5000 + b"}",
        b'{"query":null}',
        b"\xff\xfe",
        b"null",
        b"[]",
        b"1e999",
    ],
)
def test_json_that_is_no_request_is_bad_input(hub: Hub, body: bytes) -> None:
    assert code(post(hub, body)) == "BAD_INPUT"


def test_what_may_be_left_out_may_be_null(hub: Hub) -> None:
    """Existing clients send all of their variables. On AWS it is the same."""
    query = """query ($progress: TaskProgress, $page: Int, $count: Int, $order: TaskOrder, $down: Boolean) {
        listTasksV2(progress: $progress, page: $page, count: $count, orderBy: $order, descending: $down) { total } }"""
    nothing = dict.fromkeys(("progress", "page", "count", "order", "down"))
    assert ask(hub, query, **nothing) == ask(hub, query)
    assert code(ask(hub, "{ listTasksV2(page: null, count: null) { total } }")) == ""
    assert code(ask(hub, "mutation { stopTask { id } }")) == "NOT_FOUND"
    wanted = {"type": "S3EC2", "scheduleType": "ONE_TIME", "parameters": [None]}
    query = "mutation ($input: CreateTaskInput!) { createTask(input: $input) { id } }"
    assert code(ask(hub, query, input=wanted)) == "BAD_INPUT"


@pytest.mark.parametrize(
    "given",
    [
        "urn:uuid:123e4567-e89b-12d3-a456-426614174000",
        "{123e4567-e89b-12d3-a456-426614174000}",
        "-" * 3000 + "123e4567e89b12d3a456426614174000",
        "123e4567-e89b-12d3-a456-426614174000\n",
        "123e4567-e89b-12d3-a456-42661417400\u0660",
        "../123e4567-e89b-12d3-a456-426614174000",
    ],
)
def test_a_task_is_called_by_a_uuid_as_everybody_writes_it(hub: Hub, given: str) -> None:
    """It names a folder."""
    query = "mutation ($i: CreateTaskInput!) { createTask(input: $i) { id } }"
    pairs = [{"ParameterKey": f"{side}Bucket", "ParameterValue": side} for side in ("src", "dest")]
    answer = ask(hub, query, i={"type": "S3EC2", "id": given, "parameters": pairs})
    assert code(answer) == "BAD_INPUT"
    assert "is not a UUID" in answer["errors"][0]["message"]


@pytest.mark.parametrize("given", ["nan", "inf", "-inf", "1e400", "9" * 400, "\u0661e9\x00"])
def test_a_time_that_is_none_is_bad_input(hub: Hub, given: str) -> None:
    group = f"/dth/tasks/{a_task(hub)}"
    query = (
        "query ($g: String, $t: String) { getLogEvents(logGroupName: $g, startTime: $t) { "
        "nextForwardToken } }"
    )
    assert code(ask(hub, query, g=group, t=given)) == "BAD_INPUT"


# ------------------------------------------------------------------------------ what costs too much

MANY = " ".join(f"a{n}: hubInfo {{ version }}" for n in range(900))
FEW = " ".join(f"a{n}: hubInfo {{ version }}" for n in range(15))
SECRETS = " ".join(
    f'a{n}: createSecret(name: "many{n}", value: "x") {{ name }}' for n in range(400)
)
SAME = "hubInfo { version } " * 100
ALL = " ".join(f"a{n}: version" for n in range(90))
COSTLY = f"{{ {f'a: hubInfo {{ {ALL} }} ' * 20} }}"  # the costliest that is let through
KEYS = " ".join(f"b{n}: key" for n in range(95))
PAGES = " ".join(f'a{n}: listRecords(id: "x"$) {{ items {{ {KEYS} }} }}' for n in range(19))
PLAIN = "key size etag reason detail run"
NAMES = " ".join(f"b{n}: name" for n in range(80))
TOO_MUCH = {
    "many names of one thing in long pages": f"{{ {PAGES.replace('$', ', limit: 1000')} }}",
    "many names of one thing in usual pages": f"{{ {PAGES.replace('$', '')} }}",
    (
    "pages as long as a variable "
    "says"
    ): "query ($n: Int = 1000) { " + PAGES.replace("$", ", limit: $n") + " }",
    (
    "pages as long as a float "
    "says"
    ): "query ($n: Int) { " + PAGES.replace("$", ", limit: $n") + " }",
    "pages by fragments": "{ ...F } fragment F on Query { "
                          f"{PAGES.replace(KEYS, '...K').replace('$', '')} }} fragment K on "
                          f"Record {{ ... {{ {KEYS} }} }}",
    "full pages, many times": f"{{ {PAGES.replace(KEYS, PLAIN).replace('$', ', limit: 1000')} }}",
    (
    "names of all types, many "
    "times"
    ): f"{{ __schema {{ types {{ fields {{ type {{ fields {{ {NAMES} }} }} }} }} }} }}",
    "the whole schema, many times": "{ "
    + " ".join((
               f"a{n}: __schema {{ types {{ {NAMES} fields {{ args {{ name }} }} }} "
               f"}}"
               ) for n in range(15))
    + " }",
    "root fields of a fragment": f"{{ ...F }} fragment F on Query {{ {MANY} }}",
    (
    "a fragment used "
    "twice"
    ): f"{{ ...F ...G }} fragment F on Query {{ {FEW} }} fragment G on Query {{ ...F }}",
    (
    "root fields of an inline "
    "fragment"
    ): f"{{ ... on Query {{ {FEW} }} ... {{ {FEW.replace('a', 'b')} }} }}",
    "fragments within fragments": "{ ...F } fragment F on Query { ...G ... { ...G } } "
    f"fragment G on Query {{ {FEW} }}",
    "mutations": f"mutation {{ ...F }} fragment F on Mutation {{ {SECRETS} }}",
    "a fragment that is not used": f"{{ whoAmI {{ name }} }} fragment F on Query {{ {MANY * 3} }}",
    "the same in one that is not used": f"{{ whoAmI {{ name }} }} fragment F on Query {{ {SAME} }}",
    (
    "operations that are not "
    "used"
    ): " ".join(f"query q{n} {{ hubInfo {{ version }} }}" for n in range(1200)),
    "large operations that are not used": " ".join(f"query q{n} {{ {MANY} }}" for n in range(3)),
    "fragments": (
                 "{ whoAmI { name } "
                 "} "
                 ) + " ".join(f"fragment F{n} on HubInfo {{ version }}" for n in range(40)),
    "fragments in each other": "{ " + "... on Query { " * 60 + "whoAmI { name }" + " }" * 60 + " }",
    "much deeper": "{ " + "... on Query { " * 900 + "whoAmI { name }" + " }" * 900 + " }",
    "a value without end": "{ getTask(id: " + "[" * 4000 + "]" * 4000 + ") { id } }",
    "types in types": "{ __schema { types " + "{ fields { type " * 4 + "{ name }" + " } }" * 4 + " } }",
    "types in types by a fragment": "{ __schema { types { ...T } } } fragment T on __Type { "
                                    "fields { type { ...U } } } fragment U on __Type { fields "
                                    "{ type { interfaces { fields { name } } } } }",
}  # fmt: skip


@pytest.mark.parametrize("what", TOO_MUCH)
def test_a_query_that_costs_too_much_is_refused(hub: Hub, what: str) -> None:
    answer = ask(hub, TOO_MUCH[what], **({"n": 1000.0} if what.endswith("float says") else {}))
    assert (code(answer), answer.get("data")) == ("LIMIT", None)
    assert len(json.dumps(answer)) < 2000


LISTS = " ".join(f"a{n}: listTasksV2(statuses: $s) {{ total }}" for n in range(20))
TOO_MANY = {
    "a list": (f"query ($s: [TaskProgress!]) {{ {LISTS} }}", {"s": ["DONE"] * 200_000}),
    "lists": (
        f"query ($s: [TaskProgress!]) {{ {LISTS} }}",
        {"s": ["DONE"], "t": [["x"] * 100] * 200},
    ),
    "objects": (
        "mutation ($i: CreateTaskInput!) { createTask(input: $i) { id } }",
        {
            "i": {
                "type": "S3EC2",
                "scheduleType": "ONE_TIME",
                "parameters": [{"ParameterKey": "x"}] * 50_000,
            }
        },
    ),
    "a text": ("mutation ($n: String!) { deleteSecret(name: $n) { name } }", {"n": "@:" * 900_000}),
}


@pytest.mark.parametrize("what", TOO_MANY)
def test_variables_that_cost_too_much_are_refused(hub: Hub, what: str) -> None:
    query, variables = TOO_MANY[what]
    answer = ask(hub, query, **variables)
    assert (code(answer), answer.get("data")) == ("LIMIT", None)
    assert len(json.dumps(answer)) < 2000


def test_what_a_client_may_ask_is_answered(hub: Hub) -> None:
    for full in (False, True):
        query = get_introspection_query(full, full, full, full, full)
        assert build_client_schema(ask(hub, query)["data"]).query_type
    fragments = (
        f"query q {{ ...F }} query other {{ whoAmI {{ name }} }} fragment F on Query {{ {FEW} }}"
    )
    answer = post(hub, json.dumps({"query": fragments, "operationName": "q"}).encode())
    assert len(answer["data"]) == 15


def test_a_query_that_takes_long_to_check_holds_up_nobody(hub: Hub) -> None:
    query = COSTLY
    assert code(ask(hub, query)) == ""
    over = threading.Event()

    def again() -> None:
        while not over.is_set():
            ask(hub, query)

    crowd = [threading.Thread(target=again) for _ in range(6)]
    for each in crowd:
        each.start()
    slowest = 0.0
    for _ in range(20):
        began = time.monotonic()
        assert hub.request("/healthz")[0] == 200
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.05)
    over.set()
    for each in crowd:
        each.join()
    assert slowest < 1.0


# ------------------------------------------------------------------------------------------ budgets


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(budget_module, "time", clock)
    return clock


async def spend(budgets: Budgets, caller: str, seconds: float) -> None:
    async with budgets.turn(caller) as spent:
        spent.seconds = seconds


async def test_a_caller_has_a_part_of_the_hubs_time(clock: Clock) -> None:
    budgets = Budgets()
    await spend(budgets, "ann", budget_module.SAVED)
    await spend(budgets, "ann", budget_module.PATIENCE * budget_module.EARNED + 1)
    with pytest.raises(TooMuch, match="try again in") as refused:
        await spend(budgets, "ann", 0)
    await spend(budgets, "bob", 1)  # others have theirs
    clock.now += refused.value.wait
    await spend(budgets, "ann", 0)
    clock.now += 1000
    await spend(budgets, "ann", budget_module.SAVED)


async def test_requests_of_one_caller_wait_in_a_line_that_has_an_end() -> None:
    budgets = Budgets()
    gate = asyncio.Event()
    under_way = 0

    async def hold() -> None:
        nonlocal under_way
        async with budgets.turn("ann"):
            under_way += 1
            await gate.wait()

    held = [
        asyncio.create_task(hold()) for _ in range(budget_module.AT_ONCE + budget_module.IN_LINE)
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert under_way == budget_module.AT_ONCE
    with pytest.raises(TooMuch, match="wait already"):
        await spend(budgets, "ann", 0)
    gate.set()
    await asyncio.gather(*held)
    await spend(budgets, "ann", 0)


async def test_callers_who_ask_no_more_are_forgotten(clock: Clock) -> None:
    budgets = Budgets()
    await spend(budgets, "ann", budget_module.SAVED)
    for number in range(3 * budget_module.REMEMBERED):
        await spend(budgets, str(number), 0)
    assert len(budgets._accounts) <= budget_module.REMEMBERED + 1
    assert "ann" in budgets._accounts  # who has used time is not


def test_a_caller_who_asks_too_much_is_told_so(hub: Hub) -> None:
    query = COSTLY
    told: list[tuple[int, str]] = []

    def once() -> None:
        told.append(
            hub.request("/graphql", {"query": query}, {"authorization": f"Bearer {hub.token}"})
        )

    crowd = [
        threading.Thread(target=once)
        for _ in range(budget_module.AT_ONCE + budget_module.IN_LINE + 30)
    ]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join()
    assert {status for status, _ in told} == {200, 429}
    assert '"LIMIT"' in next(text for status, text in told if status == 429)
