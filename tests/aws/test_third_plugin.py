"""A third kind of task on an emulated AWS: a hub that is deployed where its package is installed
runs its tasks."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.aws.emulator.region import Region, wait_for
from tests.aws.hub import Hub, deploy_hub, stacks
from tests.servers.process import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

ECHO = REPOSITORY / "tests" / "plugins" / "echo"
RUNS = "query ($id: ID!) { listRuns(id: $id) { kind state counts { listed done failed } } }"


@pytest.fixture(scope="module")
def region() -> Iterator[Region]:
    with Region(ECHO) as emulated:
        emulated.publish()
        yield emulated


@pytest.fixture(scope="module")
def hub(region: Region, tmp_path_factory: pytest.TempPathFactory) -> Hub:
    folder = tmp_path_factory.mktemp("templates")
    program = (
        f"from pathlib import Path; from dth.infra.app import synth; synth(Path({str(folder)!r}))"
    )
    path = f"{REPOSITORY / 'src'}:{ECHO}"
    subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, check=True
    )
    return deploy_hub(
        region, {file.stem: file for file in folder.glob("*.json")}, b"PK\5\6" + bytes(18)
    )


def test_a_task_of_a_third_kind_runs(hub: Hub, region: Region) -> None:
    task = hub.create(type="ECHO", lines="one\ntwo\nwhisper", voice="bass")
    done = hub.wait(task, "DONE")
    assert done["progressInfo"] == {"total": 3, "replicated": 2, "failed": 1, "run": 1}
    counts = {"listed": 3, "done": 2, "failed": 1}
    assert hub.call(RUNS, id=task) == [{"kind": "sync", "state": "DONE", "counts": counts}]
    groups = hub.call("query ($id: ID!) { failureGroups(id: $id) { reason count } }", id=task)
    assert groups == [{"reason": "TooQuiet", "count": 1}]
    query = """query ($id: String!) {
      getMetricHistoryData(id: $id, graphName: DesiredInServiceInstances) { series { name data } } }"""
    graph = hub.call(query, id=task)["series"]
    assert {value for each in graph for value in each["data"]} == {None}  # it has no machines
    wait_for(lambda: stacks(region) == ["dth"], 60)  # its stack has gone
