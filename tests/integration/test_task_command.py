"""`dth task` and its neighbours, as typed: what they print, and their exit codes."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.engine import Dth, Side, bodies
from tests.hub import Hub
from tests.servers.proxy import Proxy, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with Hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture
def beside(hub: Hub, dth: Dth) -> Dth:
    """The command, next to the hub."""
    dth.env |= {"DTH_DATA_DIR": str(hub.data), "DTH_HUB": "", "DTH_TOKEN": ""}
    return dth


def words(hub: Hub, source: Side, dest: Side, **more: str) -> list[str]:
    pairs = hub.parameters(source, dest, **more)
    return [f"{pair['ParameterKey']}={pair['ParameterValue']}" for pair in pairs]


def test_a_task_names_the_time_zone_of_its_schedule(
    hub: Hub, beside: Dth, source: Side, dest: Side
) -> None:
    given = words(hub, source, dest, scheduleTimeZone="Asia/Kathmandu")
    made = beside.here("task", "create", *given)
    assert made.code == 0, made
    shown = beside.here("task", "show", made.out.strip()).out
    # Of its schedule, and among its parameters.
    assert len(re.findall(r"^  scheduleTimeZone +Asia/Kathmandu$", shown, re.MULTILINE)) == 2, shown
    refused = beside.here("task", "create", *given[:-1], "scheduleTimeZone=Kathmandu")
    assert refused.code == 2
    assert "scheduleTimeZone: 'Kathmandu' is not a time zone of this machine" in refused.err


def test_a_task_from_creation_to_deletion(hub: Hub, beside: Dth, source: Side, dest: Side) -> None:
    source.put(bodies("abc"))
    made = beside.here(
        "task", "create", "--once", "--watch", "--description", "by hand", *words(hub, source, dest)
    )
    assert made.code == 0, made
    task = made.out.strip()
    assert "done, 3/3 objects" in made.err
    listed = beside.here("task", "list", "--text", "by hand")
    assert re.search(
        rf"^{task[:8]}  by hand +DONE +3/3 +\S+ \S+ done ", listed.out, re.MULTILINE
    ), listed.out
    assert listed.out.startswith("ID        DESCRIPTION")
    assert yaml.safe_load(beside.here("task", "list", "--output", "yaml").out)["total"] >= 1
    shown = beside.here("task", "show", task)
    assert re.search(r"objects +3 of 3, 0 failed", shown.out), shown.out
    assert re.search(
        r"run 1 \(sync, DONE.*: listed 3 .* cancelled 0\n  3 verified by MD5\n", shown.out
    )
    assert (
        json.loads(beside.here("task", "show", task, "--json").out)["getTask"]["progress"] == "DONE"
    )
    source.put(bodies("d"))
    again = beside.here("task", "run", "by hand", "--watch")
    assert (again.code, again.out.strip()) == (0, f"{task} STARTING")
    assert beside.here("task", "watch", task[:6]).code == 0
    runs = beside.here("runs", task[:8], "--json").json
    assert [(each["id"], each["counts"]["done"]) for each in runs] == [(2, 1.0), (1, 3.0)]
    assert "by hand" in beside.here("runs").out
    nothing = beside.here("task", "retry", task)
    assert (nothing.code, "no object has failed" in nothing.err) == (0, True)
    refused = beside.here("task", "pause", task)
    assert (refused.code, refused.err) == (
        2,
        "dth: a task that is DONE cannot be paused; it can be run again\n",
    )
    assert beside.here("task", "failures", task).out == "nothing has failed\n"
    found = beside.here("task", "records", task, "--status", "done", "--output", "yaml")
    assert [each["key"] for each in yaml.safe_load(found.out)] == ["a", "b", "c", "d"]
    report = beside.home / "report.csv"
    assert beside.here("task", "records", task, "--run", "2", "--report", report).code == 0
    assert [line.split(",")[:2] for line in report.read_text().splitlines()[1:]] == [["d", "DONE"]]
    logged = beside.here("task", "logs", task, "-n", "5")
    assert (logged.code, len(logged.out.splitlines())) == (0, 5)
    (line,) = map(
        json.loads, beside.here("task", "logs", task, "-n", "1", "--json").out.splitlines()
    )
    assert line.keys() == {"time", "process", "message"}
    assert dest.listed() == ["a", "b", "c", "d"]
    assert beside.here("task", "delete", task).code == 0
    gone = beside.here("task", "show", task)
    assert (gone.code, gone.err) == (2, f"dth: there is no task '{task}'\n")


def test_the_log_of_a_task_is_followed(hub: Hub, beside: Dth, source: Side, dest: Side) -> None:
    source.put(bodies("a"))
    made = beside.here("task", "create", "--once", "--watch", *words(hub, source, dest)).out.strip()
    following = beside.start("task", "logs", made, "-f", "-n", "1")
    assert following.stdout is not None
    first = following.stdout.readline()
    assert beside.here("task", "run", made, "--watch").code == 0
    later = following.stdout.readline()
    following.send_signal(signal.SIGINT)
    done = beside.end(following)
    assert first
    assert later > first  # it begins with its time
    assert done.code == 1
    beside.here("task", "delete", made)


def test_a_run_of_a_scheduled_task_and_a_retry_are_watched(
    hub: Hub, beside: Dth, proxy_b: Proxy, source: Side, dest: Side
) -> None:
    source.put(bodies("ab"))
    refusing = proxy_b.rule(Reply(403, "AccessDenied", "Not you"), method="PUT", key="b")
    there = Side(proxy_b, dest.bucket)
    made = beside.run("task", "create", *words(hub, source, there)).out.strip()
    failed = beside.run("task", "run", made, "--watch")
    assert failed.code == 1, failed
    assert "1 object failed" in failed.err
    assert "AccessDenied" in beside.run("task", "failures", made).out
    proxy_b.remove(refusing)
    again = beside.run("task", "retry", made, "--watch")
    assert again.code == 0, again
    assert dest.listed() == ["a", "b"]
    beside.run("task", "delete", made, "--wait")


def test_a_running_task_is_deleted_in_one_step(
    hub: Hub, beside: Dth, source: Side, dest: Side
) -> None:
    source.put(bodies("a"))
    made = beside.here("task", "create", *words(hub, source, dest)).out.strip()
    live = beside.here("task", "delete", made)
    assert live.code == 2
    assert "cannot be deleted; stop it first" in live.err
    done = beside.here("task", "delete", made, "--wait")
    assert done.code == 0, done
    assert done.out == f"{made} STOPPED\n{made} deleted\n"
    assert beside.here("task", "show", made).code == 2


def test_a_name_that_fits_several_tasks_is_refused(
    hub: Hub, beside: Dth, source: Side, dest: Side
) -> None:
    ids = ["aaaa0000-0b44-4d0e-9c5e-6f3f2b0c8f11", "aaaa1111-0b44-4d0e-9c5e-6f3f2b0c8f11"]
    for name, target in zip(ids, ("one", "two"), strict=True):
        task = {
            "id": name,
            "scheduleType": "ONE_TIME",
            "parameters": dict(
                word.split("=", 1) for word in words(hub, source, dest, destPrefix=target)
            ),
        }
        (beside.home / "task.json").write_text(json.dumps(task))
        assert beside.here("task", "apply", "-f", beside.home / "task.json").code == 0
    many = beside.here("task", "show", "aaaa")
    assert many.code == 2
    assert all(each in many.err for each in ids)
    assert beside.here("task", "show", "aaaa1", "--json").json["getTask"]["id"] == ids[1]


def test_an_empty_name_is_no_task(hub: Hub, beside: Dth, source: Side, dest: Side) -> None:
    """A script whose variable is not set must not delete the only task."""
    described = ("--description", "nightly photos")
    made = beside.here("task", "create", *words(hub, source, dest), *described).out.strip()
    for command in (("task", "show"), ("task", "delete"), ("task", "stop")):
        done = beside.here(*command, "")
        assert (done.code, done.err.count("\n")) == (2, 1), done
        assert "the name of a task is empty" in done.err
    part = beside.here("task", "show", "photos")
    assert part.code == 2
    assert f"there is no task 'photos'; these contain it: {made[:8]} 'nightly photos'" in part.err
    beside.here("task", "delete", made, "--wait")


def test_a_run_that_fails_as_a_whole_is_a_failure(
    hub: Hub, beside: Dth, source: Side, dest: Side
) -> None:
    gone = replace(source, bucket="no-such-bucket")
    made = beside.here("task", "create", "--once", "--watch", *words(hub, gone, dest))
    assert made.code == 1
    task = made.out.strip()
    shown = beside.here("task", "failures", task).out.splitlines()
    assert re.fullmatch("run 1 failed: source: .*no-such-bucket.*", shown[0])
    assert "dth: ERROR: source: " in made.err
    assert shown[1:] == ["no object has failed"]
    listed = beside.here("task", "list", "--text", task).out
    assert "nothing new" not in listed
    assert "failed" in listed


def test_the_parameters_of_tasks_are_listed(hub: Hub, beside: Dth) -> None:
    found = beside.here("task", "parameters", "bucket", "write", "--json").json
    assert [each["name"] for each in found] == ["destBucket"]
    listed = beside.here("task", "parameters", "--type", "ECR")
    assert listed.code == 0
    assert re.search(r"^srcImageList ", listed.out, re.MULTILINE)
    wrong = beside.here("task", "create", "srcBuckt=a")
    assert (wrong.code, "is srcBucket meant?" in wrong.err) == (2, True)
    for option, parameter in (
        ("srcSecret", "srcCredentials"),
        ("dstSecret", "destCredentials"),
        ("dstBucket", "destBucket"),
        ("deletemode", "deleteMode"),
    ):
        wrong = beside.here("task", "create", f"{option}=a")
        assert (wrong.code, f"is {parameter} meant?" in wrong.err) == (2, True), wrong


def test_a_failed_transfer_is_exit_code_1(hub: Hub, beside: Dth, source: Side, dest: Side) -> None:
    done = beside.here(
        "task", "create", "--once", "--watch", *words(hub, source, dest, srcBucket="not-there")
    )
    assert done.code == 1
    assert "not-there" in done.err


def test_files_are_applied_and_exported(
    hub: Hub, beside: Dth, source: Side, dest: Side, tmp_path: Path
) -> None:
    values = dict(
        word.split("=", 1) for word in words(hub, source, dest, includePatterns='["*.jpg"]')
    )
    task = {
        "id": "6a0c1a38-0b44-4d0e-9c5e-6f3f2b0c8f11",
        "scheduleType": "ONE_TIME",
        "parameters": values,
    }
    file = tmp_path / "task.yaml"
    file.write_text(yaml.safe_dump(task))
    assert beside.here("task", "apply", "-f", file).out == f"{task['id']} created\n"
    assert beside.here("task", "apply", "-f", file).out == f"{task['id']} updated\n"
    del values["includePatterns"]
    values["workerNumber"] = 2  # type: ignore[assignment]
    file.write_text(json.dumps(task))
    assert beside.here("task", "apply", "-f", file).code == 0
    exported = yaml.safe_load(beside.here("task", "export", str(task["id"])).out)
    assert exported["parameters"] == {**values, "workerNumber": "2"}
    beside.here("task", "stop", str(task["id"]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no task"),
        ("a: [", "neither YAML nor JSON"),
        ("parameters: 1", "a task has a type and parameters"),
        ("{parameters: {}, nonsense: 1}", "there is no 'nonsense'"),
        ("{parameters: {nonsense: 1}}", "nonsense: there is no such parameter"),
    ],
)
def test_a_file_that_cannot_be_is_refused_in_one_line(
    beside: Dth, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "task.yaml").write_text(text)
    done = beside.here("task", "apply", "-f", tmp_path / "task.yaml")
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["task", "create", "srcBucket"], "write NAME=VALUE"),
        (
            ["task", "create", "srcBucket=a", "destBucket=b", "workerNumber=99"],
            "workerNumber: '99' is out of range",
        ),
        (["task", "edit", "none"], "nothing to change"),
        (["task", "pause", "none"], "there is no task 'none'"),
        (["task", "list", "--status", "sleeping"], "SLEEPING"),
    ],
)
def test_usage_is_exit_code_2_and_one_line(beside: Dth, arguments: list[str], said: str) -> None:
    done = beside.here(*arguments)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_without_a_hub_one_line_says_so(dth: Dth) -> None:
    dth.env |= {"DTH_DATA_DIR": str(dth.home / "none"), "DTH_HUB": "", "DTH_TOKEN": ""}
    done = dth.here("task", "list")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "dth up" in done.err
    done = dth.here("task", "list", "--hub", "http://127.0.0.1:1")
    assert done.code == 2
    assert "dth login" in done.err
    dth.env["DTH_TOKEN"] = "dth_x"
    done = dth.here("task", "list", "--hub", "http://127.0.0.1:1")
    assert done.code == 1
    assert "does not answer" in done.err


def test_sync_on_a_hub(hub: Hub, dth: Dth, source: Side, dest: Side) -> None:
    source.put(bodies(["folder/a", "folder/b", "other"]))
    hub.secret("keys", source.server.access_key, source.server.secret_key)
    token = hub.call(
        'mutation { createToken(name: "t", role: operator, expiresInDays: 1) { token } }'
    )["token"]
    dth.env |= {"DTH_TOKEN": token}
    arguments = [
        *("s3", "sync", f"s3://{source.bucket}/folder", f"s3://{dest.bucket}/copy"),
        *("--src-endpoint-url", source.server.url, "--dst-endpoint-url", dest.server.url),
        *("--src-secret", "keys", "--dst-secret", "keys", "--hub", hub.url),
    ]
    done = dth.here(*arguments)
    assert done.code == 0, done
    assert "2 listed, 0 same, 2 transferred" in done.out
    assert "\n  2 verified by MD5\n" in done.out
    assert dest.listed() == ["copy/a", "copy/b"]
    one = [each.replace("/folder", "/other") for each in arguments]
    done = dth.here(*one)
    assert done.code == 0, done
    assert f"s3://{source.bucket}/other is an object: it is copied to" in done.err
    assert dest.listed() == ["copy/a", "copy/b", "copy/other"]
    nowhere = [each.replace(f"s3://{source.bucket}/", "s3://nobody/") for each in arguments]
    done = dth.here(*nowhere)
    assert done.code == 1, done
    where = f"there is no bucket 'nobody' at {source.server.url} (404 NoSuchBucket)"
    assert f"source: {where}; correct the name of the bucket, or create the bucket" in done.err
    source.put(bodies(["folder/c"]))
    mistyped = [each.replace("/folder", "/foldr") for each in arguments]
    done = dth.run(*mistyped)
    assert done.code == 1, done
    assert "dth: nothing found at the source below the prefix" in done.err
    meant = f"there is s3://{source.bucket}/folder/"
    assert f"  note: nothing below s3://{source.bucket}/foldr/; {meant}" in done.out
    report = dth.home / "x.csv"
    assert dth.here(*arguments, "--report", report).code == 0
    assert [line.split(",")[:2] for line in report.read_text().splitlines()[1:]] == [
        ["folder/c", "DONE"]
    ]


def test_a_second_hub_on_the_same_data_is_refused(hub: Hub, dth: Dth) -> None:
    done = dth.run("up", "--data-dir", hub.data, "--port", "0")
    assert done.code == 1
    assert f"in use by process {hub.process.pid}" in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "open to the network"),
        (["--tls-cert", "here.pem"], "go together"),
        (["--host", "127.0.0.1", "--port", "99999"], "99999"),
    ],
)
def test_a_hub_that_may_not_listen_says_why(dth: Dth, options: list[str], said: str) -> None:
    done = dth.run("up", "--data-dir", dth.home / "new", *options)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert said in done.err


def test_the_doctor_looks_at_everything(hub: Hub, beside: Dth) -> None:
    done = beside.here("doctor")
    assert done.code == 0, done
    assert f"runs at {hub.url}" in done.out
    assert "FAILED" not in done.out
