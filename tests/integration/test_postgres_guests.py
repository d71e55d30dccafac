"""`dth worker` with the tasks of a hub that runs with `dth up --database`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dth.platforms.local.foreground import TASK_FILE
from dth.platforms.local.vault import Vault
from tests.engine import MIB, Side, blob, wait_for
from tests.hub import Hub, balanced
from tests.machines import Machines, ask, helpers, holds
from tests.servers.proxy import Delay

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.ministack import MiniStack
    from tests.servers.postgres import Postgres
    from tests.servers.proxy import Proxy

KEY = Vault.new_key()
# Each object has a message of its own, so that machines share them.
OBJECTS = {f"{n:02}": blob(MIB + n, n) for n in range(50)}
# What other machines may help with: all but one worker.
SHARED = {"maxCapacity": "3", "requestsInFlight": "4"}


@pytest.fixture
def address(postgres: Postgres) -> Iterator[str]:
    made = postgres.database()
    yield made
    postgres.drop(made)


@pytest.fixture(scope="module")
def full(s3_a: MiniStack) -> Iterator[Side]:
    side = Side(s3_a, s3_a.bucket("full"))
    side.put(OBJECTS)
    yield side
    s3_a.drop(side.bucket)


@pytest.fixture
def sides(full: Side, proxy_a: Proxy, proxy_b: Proxy, dest: Side) -> tuple[Side, Side]:
    """Between these, each object takes a moment."""
    proxy_a.rule(Delay(1.0), key="[0-9]")
    return Side(proxy_a, full.bucket), Side(proxy_b, dest.bucket)


@pytest.fixture
def hub(address: str, tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "hub"
    folder.mkdir()
    with Hub(folder, "--database", address, DTH_KEY=KEY) as hub:
        yield hub


@pytest.fixture
def machines(tmp_path: Path, address: str) -> Iterator[Machines]:
    with Machines(tmp_path, address, KEY) as made:
        yield made


def all_is_right(hub: Hub, task: str, dest: Side) -> None:
    hub.wait(task, "DONE")
    (run,) = hub.runs(task)
    assert run["counts"]["done"] == run["counts"]["enqueued"] == len(OBJECTS)
    assert run["counts"]["failed"] == run["counts"]["cancelled"] == 0
    balanced(run["counts"])
    assert hub.task(task)["progressInfo"]["replicated"] == len(OBJECTS)
    assert dest.contents() == OBJECTS
    assert dest.uploads() == []


def test_machines_help_and_one_that_is_killed_is_replaced(
    hub: Hub, address: str, machines: Machines, sides: tuple[Side, Side], dest: Side
) -> None:
    first, second = machines.start(), machines.start()
    task = hub.create(*sides, **SHARED)
    wait_for(lambda: holds(address, first) and holds(address, second))
    assert hub.task(task)["progressInfo"]["workers"] <= 3
    os.killpg(first.pid, signal.SIGKILL)
    all_is_right(hub, task, dest)
    wait_for(lambda: f"is done with task {task} of the hub (" in machines.said(second))
    assert f"helps with task {task} of the hub (" in machines.end(second)
    assert ask(address, "SELECT type, parameters FROM dth.task") == [("", "{}")]
    # Nothing that was made for a hub is a transfer of a command.
    dth = machines.all[0][0]
    assert dth.run("s3", "state", "ls", "--database", address, "--json").out.strip() == "[]"


def test_a_machine_that_is_asked_to_end_finishes_first(
    hub: Hub, address: str, machines: Machines, sides: tuple[Side, Side], dest: Side, proxy_b: Proxy
) -> None:
    machine = machines.start()
    task = hub.create(*sides, **SHARED)
    wait_for(lambda: holds(address, machine))
    machines.end(machine)
    assert not holds(address, machine)
    assert ask(address, "SELECT FROM dth.helper") == []
    all_is_right(hub, task, dest)
    moved = [request.key for request in proxy_b.seen("PUT", "^[0-9]")]
    assert len(moved) == len(set(moved)) == len(OBJECTS)


def test_no_more_workers_than_the_task_may_have(
    hub: Hub, address: str, machines: Machines, sides: tuple[Side, Side], dest: Side
) -> None:
    first, second = machines.start(workers=3), machines.start(workers=3)
    task = hub.create(*sides, **SHARED)
    wait_for(lambda: len(helpers(first)) + len(helpers(second)) == 2)
    all_is_right(hub, task, dest)
    [(most,)] = ask(address, "SELECT coalesce(sum(workers), 0) FROM dth.helper")
    assert int(str(most)) <= 2


@pytest.mark.parametrize("operation", ["pauseTask", "stopTask"])
def test_a_task_that_pauses_or_stops_is_left(
    hub: Hub,
    address: str,
    machines: Machines,
    sides: tuple[Side, Side],
    dest: Side,
    operation: str,
) -> None:
    machine = machines.start()
    task = hub.create(*sides, **SHARED)
    wait_for(lambda: holds(address, machine))
    hub.do(operation, task)
    wait_for(lambda: not helpers(machine))
    if operation == "pauseTask":
        hub.wait(task, "PAUSED")
        assert len(dest.listed()) < len(OBJECTS)
        hub.do("resumeTask", task)
        all_is_right(hub, task, dest)
    else:
        hub.wait(task, "STOPPED")
        (run,) = hub.runs(task)
        balanced(run["counts"])
        # Nobody copied an object that counts as not copied.
        assert len(dest.listed()) == run["counts"]["done"]
        assert run["counts"]["cancelled"] > 0
    assert dest.uploads() == []
    machines.end(machine)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"key": ""},
            "the secret 'keys' of the hub, and this machine does not have the hub's key; set DTH_KEY",
        ),
        ({"key": Vault.new_key()}, "secret 'keys' cannot be read: "),
        ({"allow": ""}, "is the worker's machine itself, which its settings do not allow"),
    ],
    ids=["no key", "another key", "network"],
)
def test_a_machine_that_cannot_help_says_why_and_the_others_do(
    hub: Hub,
    address: str,
    machines: Machines,
    sides: tuple[Side, Side],
    dest: Side,
    options: dict[str, str],
    says: str,
) -> None:
    machine, able = machines.start(**options), machines.start()
    task = hub.create(*sides, **SHARED)
    wait_for(lambda: holds(address, able))
    all_is_right(hub, task, dest)
    lines = machines.end(machine).splitlines()
    [line] = [line for line in lines if "cannot help" in line]
    assert line.startswith(f"dth worker: cannot help with task {task} of the hub (")
    assert says in line, line
    assert not any("helps with" in each for each in lines)
    machines.end(able)


@pytest.mark.parametrize(
    ("alias", "value", "says"),
    [
        ("srcProfile", "admin", "is not an AWS profile of this hub"),
        ("srcCaBundle", "/etc/passwd", "never a path"),
    ],
)
def test_files_and_profiles_of_a_machine_are_not_for_the_users_of_a_hub(
    hub: Hub,
    address: str,
    machines: Machines,
    sides: tuple[Side, Side],
    alias: str,
    value: str,
    says: str,
) -> None:
    machine = machines.start()
    task = hub.create(*sides, **SHARED)
    wait_for(lambda: holds(address, machine))
    change = (
        "UPDATE dth.task SET parameters = jsonb_set(parameters::jsonb, '{parameters,%s}', "
        "'\"%s\"')::text RETURNING 1"
    )
    ask(address, change % (alias, value))
    wait_for(lambda: "cannot help" in machines.said(machine))
    assert helpers(machine) == []
    hub.do("stopTask", task)
    hub.wait(task, "STOPPED")
    assert says in machines.end(machine)


CHECK = """
import sys
from pathlib import Path
from dth.cli import worker
from dth.compose.postgres.guest import CHECK, Guest
from dth.objects.plugin import PLUGIN

folder = Path(sys.argv[1])
own = worker._confinement(folder)
guest = Guest("", "machine", folder, own, {PLUGIN.type: PLUGIN}, worker.REACH)
sys.exit(guest.run([CHECK, str(folder), "name", sys.argv[2]]))
"""


@pytest.mark.parametrize(
    ("of_the_hub", "of_the_machine", "code"),
    [
        (["loopback"], "[loopback]", 0),
        (["private"], "[loopback]", 1),
        (["loopback"], "[private]", 1),
        ([], "[loopback]", 1),
    ],
    ids=["both allow it", "the hub does not", "the machine does not", "the hub allows nothing"],
)
def test_a_machine_connects_only_where_it_and_the_hub_allow_it(
    tmp_path: Path, full: Side, dest: Side, of_the_hub: list[str], of_the_machine: str, code: int
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "hub.yaml").write_text(f"network: {{allow: {of_the_machine}}}\n")
    task = {
        "type": "S3EC2",
        "srcBucket": full.bucket,
        "srcEndpoint": full.server.url,
        "srcAnonymous": True,
        "destBucket": dest.bucket,
        "destEndpoint": dest.server.url,
    }
    (tmp_path / TASK_FILE).write_text(json.dumps(task))
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "secret"}
    done = subprocess.run(
        [sys.executable, "-c", CHECK, tmp_path, json.dumps(of_the_hub)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    # Neither side is asked, so the message names the first one.
    assert ("source: " in done.stderr and "allow" in done.stderr) == (code == 1)
    assert "Traceback" not in done.stderr
