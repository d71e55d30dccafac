"""Comparisons of a hub: what they find, what becomes of them, and copying what differs."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import Conflict, HubError, NotFound, UsageError
from dth.hub.certificate import verify
from tests.engine import Side, bodies, wait_for
from tests.servers.proxy import Proxy, Reply

if TYPE_CHECKING:
    from tests.hub import Hub

pytestmark = pytest.mark.quick

FIELDS = """id task state verdict policy sample source destination error notes filtered endedAt
    counts { state objects bytes }"""
COMPARE = f"""mutation ($task: ID, $i: CreateTaskInput, $policy: String, $sample: Float) {{
    compare(task: $task, input: $i, policy: $policy, sample: $sample) {{ {FIELDS} }} }}"""
GET = f"query ($id: ID!) {{ getComparison(id: $id) {{ {FIELDS} }} }}"
FINDINGS = """query ($id: ID!, $states: [FindingState!], $prefix: String, $limit: Int, $token: String) {
    listFindings(id: $id, states: $states, prefix: $prefix, limit: $limit, nextToken: $token) {
        nextToken items { key state size destSize reason } } }"""
FOLDERS = """query ($id: ID!, $path: String) { listComparedFolders(id: $id, path: $path) {
    path folders counts { state objects } } }"""
COPY = """mutation ($id: ID!, $states: [FindingState!], $prefix: String, $keys: [String!]) {
    copyFindings(id: $id, states: $states, prefix: $prefix, keys: $keys) { id progress } }"""
CERTIFICATE = "query ($id: ID!) { getComparisonCertificate(id: $id) }"
CANCEL = f"mutation ($id: ID!) {{ cancelComparison(id: $id) {{ {FIELDS} }} }}"
DELETE = "mutation ($id: ID!) { deleteComparison(id: $id) { id } }"


def ended(hub: Hub, id: str) -> dict[str, Any]:
    """The comparison, once it has ended."""
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        found.update(hub.call(GET, id=id))
        return bool(found["state"] != "RUNNING")

    wait_for(has_ended)
    return found


def between(hub: Hub, source: Side, dest: Side, **more: str) -> dict[str, Any]:
    return {
        "type": "S3EC2",
        "scheduleType": "ONE_TIME",
        "parameters": hub.parameters(source, dest, **more),
    }


def compared(hub: Hub, source: Side, dest: Side, *, ask: Any = None, **more: str) -> dict[str, Any]:
    started = hub.call(COMPARE, i=between(hub, source, dest, **more), **(ask or {}))
    assert (started["state"], started["verdict"]) == ("RUNNING", None)
    found = ended(hub, started["id"])
    assert found["state"] == "DONE", found
    return found


def counts(found: dict[str, Any]) -> dict[str, int]:
    return {each["state"]: int(each["objects"]) for each in found["counts"]}


def findings(hub: Hub, id: str, **asked: Any) -> dict[str, str]:
    """The state of each key, over all pages."""
    found: dict[str, str] = {}
    token = None
    while True:
        page = hub.call(FINDINGS, id=id, limit=2, token=token, **asked)
        found |= {each["key"]: each["state"] for each in page["items"]}
        token = page["nextToken"]
        if not token:
            return found


def fill(source: Side, dest: Side) -> None:
    """Five that are the same, and one of each kind that is not."""
    source.put(bodies([f"same/{n}" for n in range(5)]) | {"in/missing": b"m", "in/other": b"12"})
    dest.put(bodies([f"same/{n}" for n in range(5)]) | {"in/other": b"1", "extra/x": b"xyz"})


def test_what_differs_is_found_by_state_folder_and_prefix(
    hub: Hub, source: Side, dest: Side
) -> None:
    fill(source, dest)
    found = compared(hub, source, dest)
    assert found["verdict"] == "DIFFERENT"
    assert counts(found) == {"SAME": 5, "MISSING": 1, "DIFFERENT": 1, "EXTRA": 1}
    assert findings(hub, found["id"]) == {
        "in/missing": "MISSING",
        "in/other": "DIFFERENT",
        "extra/x": "EXTRA",
    }
    assert findings(hub, found["id"], prefix="in/", states=["DIFFERENT", "EXTRA"]) == {
        "in/other": "DIFFERENT"
    }
    twice = hub.call(FINDINGS, id=found["id"], states=["EXTRA", "EXTRA"])["items"]
    assert [each["key"] for each in twice] == ["extra/x"]
    [other] = hub.call(FINDINGS, id=found["id"], prefix="in/o")["items"]
    assert (other["size"], other["destSize"], other["reason"]) == (2, 1, "size")
    [extra] = hub.call(FINDINGS, id=found["id"], prefix="extra")["items"]
    assert (extra["size"], extra["destSize"]) == (None, 3)
    folders = {each["path"]: counts(each) for each in hub.call(FOLDERS, id=found["id"])}
    assert list(folders) == ["extra/", "in/", "same/"]
    assert folders["in/"] == {"MISSING": 1, "DIFFERENT": 1}
    assert folders["same/"] == {"SAME": 5}


def test_the_same_is_said_only_with_what_was_compared(hub: Hub, source: Side, dest: Side) -> None:
    objects = {f"{n}": f"body {n}".encode() for n in range(20)}
    source.put(objects)
    dest.put(objects)
    assert compared(hub, source, dest)["verdict"] == "SAME"
    whole = compared(hub, source, dest, ask={"policy": "content"})
    assert (whole["verdict"], counts(whole)) == ("SAME", {"SAME": 20})
    part = compared(hub, source, dest, ask={"policy": "content", "sample": 30.0})
    assert part["verdict"] == "UNPROVEN"
    assert counts(part)["UNPROVEN"] + counts(part)["SAME"] == 20
    nothing = compared(hub, source, dest, srcPrefix="none/")
    assert (nothing["verdict"], counts(nothing)) == ("EMPTY", {})
    # The bytes differ, and everything that a listing shows is the same.
    dest.put({"7": b"bodY 7"})
    assert compared(hub, source, dest, ask={"policy": "size"})["verdict"] == "UNPROVEN"
    wrong = compared(hub, source, dest, ask={"policy": "content"})
    assert (wrong["verdict"], findings(hub, wrong["id"])) == ("DIFFERENT", {"7": "DIFFERENT"})


def test_what_cannot_be_read_is_a_state_of_its_own(
    hub: Hub, source: Side, dest: Side, proxy_a: Proxy
) -> None:
    source.put(bodies("abc"))
    dest.put(bodies("abc"))
    proxy_a.rule(Reply(403, "AccessDenied"), key="^b$")
    found = compared(hub, Side(proxy_a, source.bucket), dest, ask={"policy": "content"})
    assert (found["verdict"], counts(found)) == ("UNDECIDED", {"SAME": 2, "UNREADABLE": 1})
    [item] = hub.call(FINDINGS, id=found["id"])["items"]
    assert (item["key"], item["state"]) == ("b", "UNREADABLE")
    assert "AccessDenied" in item["reason"]


def test_a_side_that_cannot_be_listed_fails_the_comparison(
    hub: Hub, source: Side, dest: Side
) -> None:
    source.put(bodies("abc"))
    started = hub.call(COMPARE, i=between(hub, source, Side(dest.server, "no-such-bucket")))
    found = ended(hub, started["id"])
    assert (found["state"], found["verdict"]) == ("FAILED", None)
    assert "no-such-bucket" in found["error"]
    with pytest.raises(Conflict, match="this comparison is FAILED"):
        hub.call(CERTIFICATE, id=found["id"])


def test_a_comparison_of_a_task_copies_in_its_own_run(hub: Hub, source: Side, dest: Side) -> None:
    fill(source, dest)
    task = hub.create(source, dest)
    hub.wait(task, "DONE")
    # The copy is damaged afterwards, in a way that no listing shows.
    source.put({"late": b"late"})
    dest.put({"same/1": b"!" * len(dest.get("same/1"))})
    found = ended(hub, hub.call(COMPARE, task=task, policy="content")["id"])
    assert (found["task"], found["verdict"]) == (task, "DIFFERENT")
    assert findings(hub, found["id"]) == {
        "late": "MISSING",
        "same/1": "DIFFERENT",
        "extra/x": "EXTRA",
    }
    copied = hub.call(COPY, id=found["id"])
    assert copied["id"] == task
    hub.wait(task, "DONE")
    run = hub.runs(task)[0]
    assert (run["kind"], run["state"], run["counts"]["done"]) == ("chosen", "DONE", 2)
    again = ended(hub, hub.call(COMPARE, task=task, policy="content")["id"])
    assert counts(again) == {"SAME": 8, "EXTRA": 1}
    with pytest.raises(UsageError, match="nothing to copy"):
        hub.call(COPY, id=again["id"])
    assert [each["id"] for each in listed(hub, task)] == [again["id"], found["id"]]


def listed(hub: Hub, task: str | None = None) -> list[dict[str, Any]]:
    query = f"query ($task: ID) {{ listComparisons(task: $task) {{ {FIELDS} }} }}"
    found: list[dict[str, Any]] = hub.call(query, task=task)
    return found


def test_without_a_task_the_chosen_ones_become_a_task_that_runs_once(
    hub: Hub, source: Side, dest: Side
) -> None:
    source.put(bodies(["a/1", "a/2", "b/3", "c/4"]))
    found = compared(hub, source, dest)
    assert found["task"] == ""
    made = hub.call(COPY, id=found["id"], states=["MISSING"], prefix="a/")["id"]
    done = hub.wait(made, "DONE")
    assert set(dest.listed()) == {"a/1", "a/2"}
    assert (done["scheduleType"], hub.runs(made)[0]["counts"]["done"]) == ("ONE_TIME", 2)
    assert done["description"] == f"Copies what comparison {found['id'][:8]} found"
    with pytest.raises(UsageError, match="EXTRA cannot be copied"):
        hub.call(COPY, id=found["id"], states=["EXTRA"])
    # Another one into the same place would undo its work while it runs; now it has ended.
    chosen = hub.call(COPY, id=found["id"], keys=["c/4", "not-found"])["id"]
    hub.wait(chosen, "DONE")
    assert set(dest.listed()) == {"a/1", "a/2", "c/4"}


def test_a_comparison_has_a_certificate_that_holds(hub: Hub, source: Side, dest: Side) -> None:
    source.put(bodies("abc"))
    dest.put(bodies("abc"))
    found = compared(hub, source, dest, ask={"policy": "checksum"})
    document = json.loads(hub.call(CERTIFICATE, id=found["id"]))
    key = hub.call("{ hubInfo { certificateKey compares } }")
    assert key["compares"]
    assert verify(document, public_key=key["certificateKey"]) == ""
    assert (document["verdict"], document["objects"]["SAME"]) == ("SAME", 3)
    assert document["comparison"]["policy"] == "checksum"
    document["objects"]["SAME"] = 4
    assert verify(document) == "it was changed after it was signed"


def test_a_comparison_can_be_cancelled_and_deleted(hub: Hub, slow: tuple[Side, Side]) -> None:
    source, dest = slow
    dest.put(source.direct.contents())
    made = hub.call(COMPARE, i=between(hub, source, dest), policy="content")["id"]
    with pytest.raises(Conflict, match="is still running"):
        hub.call(COPY, id=made)
    found = hub.call(CANCEL, id=made)
    assert (found["state"], found["verdict"]) == ("CANCELLED", None)
    assert hub.call(CANCEL, id=made)["state"] == "CANCELLED"
    assert not hub.processes("dth-compare")
    assert hub.call(FOLDERS, id=made) == []
    hub.call(DELETE, id=made)
    with pytest.raises(NotFound, match="there is no comparison"):
        hub.call(GET, id=made)
    assert not list((hub.data / "comparisons").glob("*"))


def test_only_some_run_at_a_time(hub: Hub, slow: tuple[Side, Side]) -> None:
    source, dest = slow
    dest.put(source.direct.contents())
    given = between(hub, source, dest)
    running = [hub.call(COMPARE, i=given, policy="content")["id"] for _ in range(2)]
    with pytest.raises(Conflict, match="2 comparisons are running already"):
        hub.call(COMPARE, i=given)
    for each in running:
        hub.call(CANCEL, id=each)


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "stopped"])
def test_a_hub_that_ends_leaves_it_interrupted_and_never_the_same(
    hub: Hub, slow: tuple[Side, Side], killed: bool
) -> None:
    source, dest = slow
    dest.put(source.direct.contents())
    made = hub.call(COMPARE, i=between(hub, source, dest), policy="content")["id"]
    wait_for(lambda: hub.processes("dth-compare"))
    (hub.kill if killed else hub.stop)()
    hub.start()
    found = hub.call(GET, id=made)
    assert (found["state"], found["verdict"]) == ("INTERRUPTED", None)
    assert found["error"].endswith("start it again")
    with pytest.raises(Conflict, match="INTERRUPTED"):
        hub.call(CERTIFICATE, id=made)


def test_the_caps_of_the_task_hold_for_the_comparison(
    hub: Hub, source: Side, dest: Side, proxy_a: Proxy
) -> None:
    objects = {f"{n}": bytes(100_000) for n in range(6)}
    source.put(objects)
    dest.put(objects)
    given = between(hub, Side(proxy_a, source.bucket), dest, maxBytesPerSecond="200000")
    started = hub.call(COMPARE, i=given, policy="content")["id"]
    assert ended(hub, started)["verdict"] == "SAME"
    times = hub.call(
        "query ($id: ID!) { getComparison(id: $id) { startedAt endedAt } }", id=started
    )
    began, over = (datetime.fromisoformat(times[each]) for each in ("startedAt", "endedAt"))
    assert (over - began).total_seconds() > 2  # 600 kB at 200 kB a second


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        ({"policy": "always"}, "policy: 'always' compares nothing"),
        ({"policy": "magic"}, "policy: 'magic' is none of 'size', 'size\\+time', 'etag'"),
        ({"sample": 5.0}, "sample: only the policy 'content' reads objects"),
        ({"policy": "content", "sample": 0.0}, "sample: a percentage above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(
    hub: Hub, source: Side, dest: Side, ask: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        hub.call(COMPARE, i=between(hub, source, dest), **ask)


def test_sides_are_given_once(hub: Hub) -> None:
    with pytest.raises(UsageError, match="give either task"):
        hub.call(COMPARE)
    with pytest.raises(NotFound):
        hub.call(COMPARE, task=str(uuid.uuid4()))
    with pytest.raises(HubError, match="images are not compared item by item"):
        hub.call(COMPARE, i={"type": "ECR", "parameters": []})
