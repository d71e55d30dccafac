"""A hub opens nothing of its machine for its users, and uses no profile that the administrator has
not listed."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sqlite3
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest

from dth.compose.local import process
from dth.core.errors import HubError
from dth.core.parameters import extra
from dth.core.plugins import plugins
from tests.engine import Side, bodies, wait_for
from tests.hub import CREATE, Hub
from tests.servers.odd import OddStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.ministack import MiniStack

CANARY = "canary-7f3b9c"
# Keys of a profile that nobody has listed.
UNLISTED, OTHERS = "AKIAUNLISTED", "AKIADEFAULT"
IN_OPEN = 0x20


class Watch:
    """Tells whether anybody opens a file, in whatever process."""

    def __init__(self, *files: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK)
        self._files = {
            self._libc.inotify_add_watch(self._fd, os.fsencode(file), IN_OPEN): file
            for file in files
        }

    def opened(self) -> list[str]:
        """Those that were opened since the last call."""
        with contextlib.suppress(BlockingIOError):
            return [
                self._files[watch].name
                for watch, *_ in struct.iter_unpack("iIII", os.read(self._fd, 65536))
            ]
        return []

    def close(self) -> None:
        os.close(self._fd)


class Fortress:
    """A hub that lists a CA bundle and a profile, and has files beside them that are none of its
    users' business."""

    def __init__(self, folder: Path, authority: Path) -> None:
        self.folder = folder
        self.canary = folder / "canary.txt"
        self.canary.write_text(f"{CANARY}-1\n{CANARY}-2\n")
        (folder / ".aws").mkdir()
        profile = "aws_access_key_id = {}\naws_secret_access_key = secret\n"
        (folder / ".aws/credentials").write_text(
            f"[listed]\n{profile.format('AKIALISTED')}[unlisted]\n{profile.format(UNLISTED)}"
            f"[default]\n{profile.format(OTHERS)}"
            f"[runs]\ncredential_process = touch {folder}/ran\n"
        )
        data = folder / "data"
        data.mkdir(mode=0o700)
        (data / "hub.yaml").write_text(f"ca_bundles:\n  own: {authority}\naws_profiles: [listed]\n")
        self.watch = Watch(self.canary)
        self.store = OddStore()
        self.bucket, self.there = self.store.bucket(), self.store.bucket()
        self.store.put(self.bucket, "a", b"a")
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("AWS_CONFIG_FILE", raising=False)
            patch.delenv("AWS_SHARED_CREDENTIALS_FILE", raising=False)
            self.hub = Hub(folder)
        self.hub.secret("keys", "test", "test")

    def close(self) -> None:
        self.hub.close()
        self.store.close()
        self.watch.close()

    def objects(self, **more: str) -> dict[str, str]:
        """The parameters of a task from one bucket of the store to another one, with changes."""
        return {
            "srcBucket": self.bucket,
            "srcEndpoint": self.store.url,
            "srcCredentials": "keys",
            "destBucket": self.there,
            "destEndpoint": self.store.url,
            "destCredentials": "keys",
            "maxCapacity": "1",
            **more,
        }

    def images(self, **more: str) -> dict[str, str]:
        host = self.store.url.removeprefix("http://")
        return {
            "sourceType": "Registry",
            "srcRegistry": host,
            "srcImageList": "team/app:v1",
            "destType": "Registry",
            "destRegistry": host,
            "destPrefix": "copies",
            "retries": "0",
            **more,
        }

    def values(self, kind: str, **more: str) -> dict[str, str]:
        found = self.objects(**more) if kind == "S3EC2" else self.images(**more)
        return {name: value for name, value in found.items() if value}

    def given(self, kind: str, values: dict[str, str]) -> dict[str, Any]:
        parameters = [
            {"ParameterKey": name, "ParameterValue": value} for name, value in values.items()
        ]
        return {"type": kind, "scheduleType": "ONE_TIME", "parameters": parameters}

    def job(
        self, operation: str, kind: str, values: dict[str, str], side: str = ""
    ) -> dict[str, Any]:
        """Its result, or the refusal in `error`."""
        declared, passed = (", $side: Side!", ", side: $side") if side else ("", "")
        query = (
            f"mutation ($input: CreateTaskInput!{declared}) {{ {operation}(input: "
            f"$input{passed}) {{ id }} }}"
        )
        variables = {"input": self.given(kind, values), **({"side": side} if side else {})}
        started: dict[str, Any] = {}

        def begun() -> bool:
            try:
                started.update(self.hub.call(query, **variables))
            except HubError as error:
                if "run already" in str(error):
                    return False
                started.update(error=str(error))
            return True

        wait_for(begun)
        if "error" in started:
            return {"error": started["error"], "result": {}}
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(
                self.hub.call(
                    "query ($id: ID!) { getJob(id: $id) { state error result } }", **started
                )
            )
            return bool(found["state"] != "RUNNING")

        wait_for(ended)
        return {**found, "result": json.loads(found["result"])}

    def create(self, kind: str, values: dict[str, str]) -> str:
        """The id of a new task, or the refusal."""
        try:
            return str(self.hub.call(CREATE, input=self.given(kind, values))["id"])
        except HubError as error:
            return str(error)

    def over(self, task: str) -> dict[str, Any]:
        """Wait until the task does nothing any more."""
        wait_for(lambda: self.hub.task(task)["progress"] in ("ERROR", "DONE", "PAUSED"))
        return self.hub.task(task)

    def heard(self) -> str:
        """Everything that a user could see: what the store was asked, and what the hub keeps and
        tells."""
        requests = "".join(
            f"{each.target}{each.headers}{each.body!r}" for each in self.store.requests
        )
        kept = "".join(
            file.read_bytes().decode("latin-1")
            for file in self.hub.data.rglob("*")
            if ".db" in file.name or file.suffix == ".log"
        )
        return requests + kept

    def untouched(self) -> None:
        assert self.watch.opened() == []
        heard = self.heard()
        assert CANARY not in heard
        assert UNLISTED not in heard
        assert OTHERS not in heard
        assert not (self.folder / "ran").exists()


@pytest.fixture(scope="module")
def fortress(tmp_path_factory: pytest.TempPathFactory, s3_tls: MiniStack) -> Iterator[Fortress]:
    fortress = Fortress(tmp_path_factory.mktemp("fortress"), s3_tls.ca)
    try:
        yield fortress
    finally:
        fortress.close()


def texts() -> list[tuple[str, str]]:
    """(type of task, parameter) of every parameter that takes a text that its user makes up."""
    found = []
    for kind, each in plugins().items():
        for field in each.parameters.model_fields.values():
            annotations = (field.annotation, *get_args(field.annotation))
            if str in annotations:
                found.append((kind, str(field.alias)))
    return found


def local() -> list[tuple[str, str]]:
    """Those that name something of the machine in a command."""
    return [
        (kind, str(field.alias))
        for kind, each in plugins().items()
        for field in each.parameters.model_fields.values()
        if extra(field)["names"]
    ]


def spellings(fortress: Fortress) -> list[str]:
    path = fortress.canary
    return [
        str(path),
        f"file://{path}",
        f"file:{path}",
        f"FILE://localhost{path}",
        "canary.txt",
        "./canary.txt",
        f"../{path.parent.name}/canary.txt",
        "data/../canary.txt",
        "~/canary.txt",
        f"@{path}",
        "@canary.txt",
        "-",
        f"s3://../..{path}",
        f"s3://{path}",
        f"s3://{fortress.bucket}/../../../../../../{path}",
        f"s3:/{path}",
        f"S3://{path}",
        "unlisted",
        "default",
        "runs",
        "/proc/self/environ",
        f"file:{path}",
        f"https://127.0.0.1:1@{path}",
    ]


def test_the_kinds_of_parameters_that_name_something_of_the_machine() -> None:
    lists = {"srcPrefixsListFile", "srcManifest", "srcInventory"}
    both = {"srcProfile", "destProfile", "srcCaBundle", "destCaBundle"}
    # A path in the place of a bucket names a folder.
    folders = {"srcBucket", "destBucket"}
    assert {name for kind, name in local() if kind == "S3EC2"} == lists | both | folders
    assert {name for kind, name in local() if kind == "ECR"} == both


def test_no_parameter_of_any_plugin_opens_a_file_of_the_machine(fortress: Fortress) -> None:
    """Each is given the canary, in a preflight, a forecast and a test of both sides."""

    def tried(each: tuple[str, str, str]) -> None:
        kind, name, operation = each
        values = fortress.values(kind, **{name: str(fortress.canary)})
        if operation in ("SOURCE", "DESTINATION"):
            fortress.job("testConnection", kind, values, operation)
        else:
            fortress.job(operation, kind, values)

    operations = ("preflight", "SOURCE", "DESTINATION", "forecast")
    work = [(*each, operation) for each in texts() for operation in operations]
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(tried, work))
    fortress.untouched()


@pytest.mark.parametrize(("kind", "name"), local())
def test_what_names_something_of_the_machine_in_a_command_does_not_in_a_hub(
    fortress: Fortress, kind: str, name: str
) -> None:
    """In every spelling: created and run, and tried."""
    more = {"maxCapacity": "1"} if kind == "S3EC2" else {}
    good = fortress.create(kind, fortress.values(kind, **more))
    for spelling in spellings(fortress):
        values = fortress.values(kind, **{name: spelling}, **more)
        if "Profile" in name:
            values = {key: value for key, value in values.items() if "Credential" not in key}
        made = fortress.create(kind, values)
        edit = (
            "mutation ($id: ID!, $input: EditTaskInput!) { editTask(id: $id, input: $input) { "
            "id } }"
        )
        with contextlib.suppress(HubError):
            change = {"parameters": [{"ParameterKey": name, "ParameterValue": spelling}]}
            fortress.hub.call(edit, id=good, input=change)
        if name.startswith(("srcProfile", "destProfile", "srcCa", "destCa")):
            assert made.startswith(f"{name}: "), made
        fortress.job(
            "testConnection", kind, values, "SOURCE" if name.startswith("src") else "DESTINATION"
        )
        if made.count("-") == 4 and " " not in made:
            # It was taken for the key of an object.
            fortress.over(made)
    fortress.untouched()


def test_a_path_is_refused_in_one_clear_line(fortress: Fortress) -> None:
    path = str(fortress.canary)
    values = fortress.objects(srcManifest=path, srcSkipCompare="true")
    line = (
        f"srcManifest: {path!r} is not a valid name of an object; a hub opens no files of its "
        "machine: give a key of the source bucket, or s3://bucket/key"
    )
    assert line in fortress.create("S3EC2", values)
    assert line in fortress.job("preflight", "S3EC2", values)["error"]
    assert (
        "srcCaBundle: '/etc/hostname' is not a CA bundle of this hub (ca_bundles of its "
        "settings lists own)"
    ) in (fortress.create("S3EC2", fortress.objects(srcCaBundle="/etc/hostname")))
    assert (
        "destProfile: 'unlisted' is not an AWS profile of this hub (aws_profiles of its "
        "settings lists listed)"
    ) in (fortress.create("S3EC2", fortress.objects(destProfile="unlisted", destCredentials="")))


def test_a_task_of_an_older_hub_that_holds_a_path_fails_when_it_runs(fortress: Fortress) -> None:
    """The row as an older hub wrote it; so does whatever writes rows past the checks."""
    hub = fortress.hub
    made = fortress.create("S3EC2", fortress.objects())
    wait_for(lambda: hub.task(made)["progress"] == "DONE")
    fortress.store.requests.clear()
    for name, value in (
        ("srcManifest", str(fortress.canary)),
        ("srcPrefixsListFile", "/proc/self/environ"),
        ("destCaBundle", str(fortress.canary)),
        ("srcProfile", "unlisted"),
    ):
        values = {key: each for key, each in fortress.objects(**{name: value}).items() if each}
        if name == "srcProfile":
            del values["srcCredentials"]
        with sqlite3.connect(hub.data / "hub.db", timeout=30) as database:
            database.execute(
                "UPDATE task SET parameters = ? WHERE id = ?", (json.dumps(values), made)
            )
        database.close()
        hub.do("startRun", made)
        wait_for(lambda: hub.task(made)["progress"] == "ERROR")
        assert hub.task(made)["reason"].startswith(f"{name}: {value!r} is not a"), hub.task(made)
        assert [each["id"] for each in hub.call("{ listTasksV2 { items { id } } }")["items"]]
    fortress.untouched()
    assert fortress.store.requests == []


def test_a_process_of_a_hub_opens_no_file_whatever_stands_in_its_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, confined: None
) -> None:
    """As if every check before it were passed."""
    monkeypatch.setattr("dth.objects.task.check_confined", lambda _: None)
    listed = tmp_path / "list.txt"
    listed.write_text(f"{CANARY}\n")
    with OddStore() as store:
        bucket, there = store.bucket(), store.bucket()
        values = {
            "srcBucket": bucket, "srcEndpoint": store.url, "srcCredentials": "keys",
            "destBucket": there,
            "destEndpoint": store.url, "destCredentials": "keys",
        }  # fmt: skip
        for name in ("srcManifest", "srcPrefixsListFile"):
            for kind in ("forecast", "preflight"):
                state = tmp_path / f"{name}-{kind}"
                state.mkdir()
                (state / "task.json").write_text(json.dumps({**values, name: str(listed)}))
                with contextlib.closing(Watch(listed)) as watch:
                    process.run([kind, str(state), kind], _Keys())
                    assert watch.opened() == []
        assert f"/{bucket}/{listed}" in {each.target for each in store.requests}
        assert CANARY not in "".join(each.target for each in store.requests)


class _Keys:
    def read(self, name: str) -> str:
        return json.dumps({"access_key_id": "test", "secret_access_key": "test"})


def test_what_the_administrator_lists_can_be_named(fortress: Fortress, s3_tls: MiniStack) -> None:
    bucket, other = s3_tls.bucket("named"), s3_tls.bucket("there")
    Side(s3_tls, bucket).put({**bodies("a"), "lists/keys.txt": b"a\n"})
    values = fortress.objects(
        srcBucket=bucket,
        srcEndpoint=s3_tls.url,
        srcCaBundle="own",
        srcManifest="lists/keys.txt",
        srcCredentials="",
        srcProfile="listed",
        destBucket=other,
        destEndpoint=s3_tls.url,
        destCaBundle="own",
        destPrefix="copies",
    )
    checks = fortress.job("preflight", "S3EC2", values)["result"]["checks"]
    assert "FAILED" not in {each["state"] for each in checks}, checks
    made = fortress.create("S3EC2", values)
    done = fortress.over(made)
    assert done["progress"] == "DONE", done
    assert Side(s3_tls, other).listed() == ["copies/a"]


def test_without_credentials_a_task_has_those_of_the_environment_and_no_unlisted_profile(
    fortress: Fortress,
) -> None:
    values = fortress.objects(srcCredentials="")
    found = fortress.job(
        "testConnection", "S3EC2", {k: v for k, v in values.items() if v}, "SOURCE"
    )
    assert not found["result"].get("ok"), found
    fortress.untouched()
