"""Stores of a hub: tasks name them, a change reaches their tasks, and people look into them."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import HubError
from tests.engine import Side, bodies, wait_for

if TYPE_CHECKING:
    from tests.hub import Hub
    from tests.servers.proxy import Proxy

pytestmark = pytest.mark.quick

CREATE = (
    "mutation ($n: String!, $i: StoreInput!) { createStore(name: $n, input: $i) { name tasks } }"
)
UPDATE = (
    "mutation ($n: String!, $i: StoreInput!) { updateStore(name: $n, input: $i) { endpoint "
    "secret tasks } }"
)
DELETE = "mutation ($n: String!) { deleteStore(name: $n) { name } }"
CREATE_TASK = "mutation ($i: CreateTaskInput!) { createTask(input: $i) { id } }"
EDIT = "mutation ($id: ID!, $i: EditTaskInput!) { editTask(id: $id, input: $i) { id } }"
EXPORT = "query ($id: ID!) { exportTask(id: $id) }"
LOOKS = {
    "testStore": "mutation ($name: String!) { testStore(name: $name) { id } }",
    "listBuckets": (
        "mutation ($i: CreateTaskInput!, $s: Side!) { listBuckets(input: $i, side: $s) { id } }"
    ),
    "browse": """mutation ($i: CreateTaskInput!, $s: Side!, $prefix: String, $token: String, $count: Int) {
        browse(input: $i, side: $s, prefix: $prefix, token: $token, count: $count) { id } }""",
    "objectDetails": """mutation ($i: CreateTaskInput!, $s: Side!, $key: String!) {
        objectDetails(input: $i, side: $s, key: $key) { id } }""",
    "createBucket": (
        "mutation ($i: CreateTaskInput!, $s: Side!) { createBucket(input: $i, side: $s) { id } }"
    ),
}


def of(**values: str) -> list[dict[str, str]]:
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]


def task(once: bool = True, **values: str) -> dict[str, Any]:
    kind = "ONE_TIME" if once else "FIXED_RATE"
    given = {"maxCapacity": "1", "workerNumber": "1", **values}
    return {"type": "S3EC2", "scheduleType": kind, "parameters": of(**given)}


def keep(hub: Hub, name: str, side: Side, **more: Any) -> None:
    """A store for this side, with a secret of the same name."""
    hub.secret(name, side.server.access_key, side.server.secret_key)
    hub.call(CREATE, n=name, i={"endpoint": side.server.url, "secret": name, **more})


def looked(hub: Hub, what: str, **given: Any) -> dict[str, Any]:
    job = hub.call(LOOKS[what], **given)["id"]
    found: dict[str, Any] = {}

    def ended() -> bool:
        found.update(
            hub.call("query ($id: ID!) { getJob(id: $id) { state error result } }", id=job)
        )
        return bool(found["state"] != "RUNNING")

    wait_for(ended)
    assert found["state"] == "DONE", found
    result: dict[str, Any] = json.loads(found["result"])
    return result


@pytest.fixture
def stores(hub: Hub, source: Side, dest: Side) -> Hub:
    keep(hub, "old-minio", source)
    keep(hub, "new", dest)
    return hub


def test_a_task_copies_from_store_to_store(stores: Hub, source: Side, dest: Side) -> None:
    source.put(bodies(["photos/a", "photos/b", "other"]))
    given = task(
        srcStore="old-minio",
        srcBucket=source.bucket,
        srcPrefix="photos/",
        destStore="new",
        destBucket=dest.bucket,
    )
    made = stores.call(CREATE_TASK, i=given)["id"]
    done = stores.wait(made, "DONE")
    assert set(dest.listed()) == {"photos/a", "photos/b"}
    assert done["source"] == f"old-minio: {source.bucket}/photos"
    assert done["destination"] == f"new: {dest.bucket}/photos"
    shown = {each["ParameterKey"]: each["ParameterValue"] for each in done["parameters"]}
    assert shown["srcStore"] == "old-minio"
    assert "srcEndpoint" not in shown
    assert json.loads(stores.call(EXPORT, id=made))["parameters"] == shown
    found = {each["name"]: each["tasks"] for each in stores.call("{ listStores { name tasks } }")}
    assert found == {"old-minio": 1, "new": 1}
    with pytest.raises(HubError, match="a task uses the store 'new'; delete or change them first"):
        stores.call(DELETE, n="new")
    stores.do("deleteTask", made)
    assert stores.call(DELETE, n="new")["name"] == "new"


def test_what_a_store_gives_no_task_gives_as_well(stores: Hub, source: Side, dest: Side) -> None:
    given = {"srcBucket": source.bucket, "destStore": "new", "destBucket": dest.bucket}
    for wrong, said in (
        ({"srcStore": "nobody"}, "srcStore: there is no store 'nobody'"),
        (
            {"srcStore": "old-minio", "srcEndpoint": "http://127.0.0.1:1"},
            "srcEndpoint: the store 'old-minio' gives this; change the store, or leave this out",
        ),
    ):
        with pytest.raises(HubError) as refused:
            stores.call(CREATE_TASK, i=task(**given, **wrong))
        assert said in str(refused.value)
    stores.call(CREATE, n="open", i={"endpoint": source.server.url, "anonymous": True})
    with pytest.raises(HubError, match="not signed: it is only read"):
        stores.call(CREATE_TASK, i=task(**{**given, "srcStore": "new", "destStore": "open"}))


def test_a_store_is_checked_in_its_own_words(stores: Hub) -> None:
    for values, said in (
        ({"kind": "Minnio"}, "kind: 'Minnio' is none of"),
        ({"endpoint": "ftp://a"}, "endpoint"),
        ({"addressingStyle": "sideways"}, "addressing_style: 'sideways' is none of"),
        ({"caBundle": "/etc/passwd"}, "ca_bundle"),
        ({"description": "x" * 3000}, "description: 2000 characters are the most"),
    ):
        with pytest.raises(HubError) as refused:
            stores.call(CREATE, n="wrong", i=values)
        assert said in str(refused.value), values
        assert "src" not in str(refused.value)
    with pytest.raises(HubError, match="not a name for a store"):
        stores.call(CREATE, n="a:b", i={})
    with pytest.raises(HubError, match="already"):
        stores.call(CREATE, n="new", i={})


def test_a_change_of_a_store_reaches_its_tasks(
    stores: Hub, source: Side, dest: Side, proxy_a: Proxy, proxy_b: Proxy
) -> None:
    source.put(bodies(["a"]))
    given = task(
        once=False,
        srcStore="old-minio",
        srcBucket=source.bucket,
        destStore="new",
        destBucket=dest.bucket,
        ec2CronExpression="0 0 1 1 ? 2199",
    )
    made = stores.call(CREATE_TASK, i=given)["id"]
    wait_for(lambda: "a" in dest.listed())
    stores.secret("rotated", source.server.access_key, source.server.secret_key)
    changed = stores.call(UPDATE, n="old-minio", i={"endpoint": proxy_a.url, "secret": "rotated"})
    assert changed == {"endpoint": proxy_a.url, "secret": "rotated", "tasks": 1}
    source.put(bodies(["b"]))
    stores.do("startRun", made)
    wait_for(lambda: "b" in dest.listed())
    assert any(each.path.endswith("/b") for each in proxy_a.requests)
    # The task is what it was, and can be edited.
    stores.call(EDIT, id=made, i={"parameters": of(maxCapacity="2")})
    with pytest.raises(HubError, match="source and destination cannot be changed"):
        stores.call(EDIT, id=made, i={"parameters": of(srcStore="new")})
    with pytest.raises(HubError, match=f"task {made} uses this store, and cannot use the change"):
        stores.call(UPDATE, n="new", i={"anonymous": True, "secret": ""})


def test_a_secret_goes_only_to_the_hosts_of_its_store(
    hub: Hub, source: Side, proxy_a: Proxy
) -> None:
    value = json.dumps({"access_key_id": "a", "secret_access_key": "b"})
    hub.call('mutation ($v: String!) { createSecret(name: "mine", value: $v) { name } }', v=value)
    hub.call(CREATE, n="one", i={"endpoint": source.server.url, "secret": "mine"})
    [bound] = [
        each["hosts"]
        for each in hub.call("{ listSecrets { name hosts } }")
        if each["name"] == "mine"
    ]
    assert bound == [source.server.url.removeprefix("http://")]
    with pytest.raises(HubError, match="secret 'mine' may not be used with"):
        hub.call(CREATE, n="two", i={"endpoint": proxy_a.url, "secret": "mine"})
    with pytest.raises(HubError, match="secret 'mine' may not be used with"):
        hub.call(UPDATE, n="one", i={"endpoint": proxy_a.url})


# -------------------------------------------------------------------------------------------- looks


def test_a_store_is_tested_and_its_buckets_are_listed(stores: Hub, source: Side) -> None:
    for what, given in (
        ("testStore", {"name": "old-minio"}),
        ("listBuckets", {"i": task(srcStore="old-minio"), "s": "SOURCE"}),
    ):
        found = looked(stores, what, **given)
        assert found["ok"]
        assert source.bucket in [each["name"] for each in found["buckets"]]
        assert found["message"].startswith("The store accepts the keys and shows ")
    stores.call(CREATE, n="nobody", i={"endpoint": "http://127.0.0.1:1", "secret": "new"})
    found = looked(stores, "testStore", name="nobody")
    assert not found["ok"]
    assert found["message"]
    assert found["advice"]


def test_a_prefix_is_browsed_in_pages(stores: Hub, source: Side) -> None:
    source.put(bodies(["in/a", "in/b", "in/c", "in/more/x", "in/z/y", "out"]))
    given = {
        "i": task(srcStore="old-minio", srcBucket=source.bucket),
        "s": "SOURCE",
        "prefix": "in/",
        "count": 2,
    }
    keys, folders, token = [], [], ""
    for _ in range(5):
        found = looked(stores, "browse", **given, token=token)
        assert len(found["objects"]) + len(found["prefixes"]) <= 2
        keys += [each["key"] for each in found["objects"]]
        folders += found["prefixes"]
        if not (token := found["token"]):
            break
    assert (keys, folders, token) == (["in/a", "in/b", "in/c"], ["in/more/", "in/z/"], "")
    top = looked(stores, "browse", **{**given, "prefix": "", "count": 200})
    assert (top["prefixes"], [each["key"] for each in top["objects"]]) == (["in/"], ["out"])
    assert top["objects"][0]["size"] == len(bodies(["out"])["out"])
    gone = looked(stores, "browse", i=task(srcStore="old-minio", srcBucket="no-such"), s="SOURCE")
    assert not gone["ok"]
    assert "no-such" in gone["message"]


def test_an_object_is_shown_with_its_metadata_and_tags(stores: Hub, source: Side) -> None:
    source.server.boto().put_object(
        Bucket=source.bucket, Key="a b/é", Body=b"12345", ContentType="text/plain",
        Metadata={"of": "me"},
        Tagging="kind=photo&year=2026",
    )  # fmt: skip
    given = {"i": task(srcStore="old-minio", srcBucket=source.bucket), "s": "SOURCE"}
    found = looked(stores, "objectDetails", **given, key="a b/é")
    properties = {each["name"]: each["value"] for each in found["properties"]}
    assert (properties["size"], properties["contentType"]) == ("5", "text/plain")
    assert found["metadata"] == [{"name": "of", "value": "me"}]
    assert {each["name"]: each["value"] for each in found["tags"]} == {
        "kind": "photo",
        "year": "2026",
    }
    missing = looked(stores, "objectDetails", **given, key="none")
    assert (missing["ok"], missing["message"]) == (False, "There is no object 'none'.")


def test_a_bucket_is_made(stores: Hub, dest: Side) -> None:
    name = f"made-{uuid.uuid4().hex[:8]}"
    given = {"i": task(destStore="new", destBucket=name), "s": "DESTINATION"}
    found = looked(stores, "createBucket", **given)
    assert (found["ok"], found["message"]) == (True, f"The bucket {name!r} was made.")
    buckets = looked(stores, "listBuckets", **given)["buckets"]
    assert name in [each["name"] for each in buckets]
    assert not looked(stores, "browse", **given)["objects"]
