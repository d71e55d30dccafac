"""A third kind of task, installed from a folder of its own: the hub, the API and the command line
take it as they take the two that come with the project.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.engine import wait_for
from tests.hub import CREATE, RUNS, Hub
from tests.servers.process import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

ECHO = REPOSITORY / "tests" / "plugins" / "echo"


class EchoHub(Hub):
    def start(self, **env: str) -> None:
        super().start(PYTHONPATH=f"{REPOSITORY / 'src'}:{ECHO}", **env)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoHub]:
    running = EchoHub(tmp_path_factory.mktemp("hub"))
    yield running
    running.stop()


def create(hub: Hub, **parameters: str) -> str:
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    wanted = {"type": "ECHO", "scheduleType": "ONE_TIME", "parameters": given}
    return str(hub.call(CREATE, input=wanted)["id"])


def shown(hub: Hub, task: str) -> dict[str, Any]:
    query = (
        "query ($id: ID!) { getTask(id: $id) { type things progress phase source destination } }"
    )
    found: dict[str, Any] = hub.call(query, id=task)
    return found


def test_a_task_of_a_third_kind_runs(hub: EchoHub) -> None:
    task = create(hub, lines="one\ntwo\nthree")
    wait_for(lambda: shown(hub, task)["progress"] == "DONE")
    found = shown(hub, task)
    assert (found["type"], found["things"]) == ("ECHO", "lines")
    assert (found["source"], found["destination"]) == ("3 lines", "voice plain")
    counts = hub.call(RUNS, id=task)[0]["counts"]
    assert (counts["listed"], counts["enqueued"], counts["done"], counts["failed"]) == (3, 3, 3, 0)


def test_what_failed_is_told_in_its_words_and_tried_again(hub: EchoHub) -> None:
    task = create(hub, lines="loud\nwhisper")
    wait_for(lambda: shown(hub, task)["progress"] == "DONE")
    groups = hub.call("query ($id: ID!) { failureGroups(id: $id) { reason count } }", id=task)
    assert groups == [{"reason": "TooQuiet", "count": 1}]
    hub.call("mutation ($id: ID!) { retryFailed(id: $id) { id } }", id=task)
    wait_for(lambda: len(hub.call(RUNS, id=task)) == 2 and shown(hub, task)["progress"] == "DONE")
    assert hub.call(RUNS, id=task)[0]["kind"] == "redrive"


def test_the_api_describes_it(hub: EchoHub) -> None:
    names = hub.call('{ __type(name: "TaskType") { enumValues { name } } }')["enumValues"]
    assert [each["name"] for each in names] == ["S3EC2", "ECR", "ECHO"]
    fields = hub.call("{ listTaskParameters(type: ECHO) { name label group kind required } }")
    assert fields[0] == {
        "name": "lines",
        "label": "Lines",
        "group": "source",
        "kind": "list",
        "required": True,
    }
    assert "ECHO" in hub.call("{ hubInfo { plugins } }")["plugins"]


def test_the_command_line_takes_it(hub: EchoHub) -> None:
    def dth(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dth", "task", *arguments, "--hub", hub.url],
            env={**os.environ, "DTH_TOKEN": hub.token, "PYTHONPATH": str(REPOSITORY / "src")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    made = dth("create", "--type", "ECHO", "--once", "--watch", "lines=a")
    assert made.returncode == 0, made.stderr
    text = dth("show", made.stdout.split()[0]).stdout
    assert re.search("lines +1 of 1", text), text
    wrong = dth("create", "--type", "ECHO", "--once", "voice=a")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "lines: there is nothing to say" in wrong.stderr
    unknown = dth("create", "--type", "OTHER", "--once", "voice=a")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    assert (
        "--type OTHER: the hub has no such kind of task; it has ECHO, ECR, S3EC2" in unknown.stderr
    )


def test_nothing_outside_its_folder_names_it() -> None:
    folders = (REPOSITORY / name for name in ("src", "console/src", "docs"))
    texts = (
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in (".py", ".ts", ".tsx", ".json")
    )
    assert [path for path in texts if '"ECHO"' in path.read_text("utf-8")] == []


def test_its_package_is_found_by_its_entry_point() -> None:
    program = "import json; from dth.core.plugins import types; print(json.dumps(types()))"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY / 'src'}:{ECHO}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(json.loads(run.stdout)) == {"S3EC2", "ECR", "ECHO"}
    assert (Path(ECHO) / "dth_echo").is_dir()
