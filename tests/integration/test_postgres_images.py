"""`dth worker` with the tasks for images of a hub that runs with `dth up --database`."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from dth.platforms.local.vault import Vault
from tests.engine import wait_for
from tests.hub import Hub, balanced
from tests.integration.test_ecr_hub import between
from tests.machines import Machines, helpers, holds
from tests.servers.proxy import Delay
from tests.servers.registry import (
    NEEDED,
    PASSWORD,
    USER,
    PlainProxy,
    RegistryServer,
    image,
    layer,
)

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.postgres import Postgres

pytestmark = NEEDED
KEY = Vault.new_key()
NAMES = [f"team/{n:02}" for n in range(24)]
# So that two workers have enough: one takes twice this number.
FEW = {"maxConcurrency": "2"}


@pytest.fixture
def address(postgres: Postgres) -> Iterator[str]:
    made = postgres.database()
    yield made
    postgres.drop(made)


@pytest.fixture
def hub(address: str, tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "hub"
    folder.mkdir()
    with Hub(folder, "--database", address, DTH_KEY=KEY) as hub:
        hub.keep_secret("login", username=USER, password=PASSWORD)
        yield hub


@pytest.fixture
def machines(tmp_path: Path, address: str) -> Iterator[Machines]:
    with Machines(tmp_path, address, KEY) as made:
        yield made


@pytest.fixture
def slow(here: RegistryServer, front: PlainProxy) -> PlainProxy:
    """A registry with images that share nothing, each of which takes a moment."""
    for name in NAMES:
        here.push(name, "v1", image(name, [layer(f"own-{name}", 20_000)]))
    front.rule(Delay(0.5), key="blobs/")
    return front


def all_is_right(hub: Hub, task: str, there: RegistryServer) -> None:
    hub.wait(task, "DONE")
    (run,) = hub.runs(task)
    assert run["counts"]["done"] == run["counts"]["enqueued"] == len(NAMES)
    balanced(run["counts"])
    images = hub.images(task)
    assert set(images) == {f"{name}:v1" for name in NAMES}
    for name in NAMES:
        assert there.digest(name, "v1") == images[f"{name}:v1"]["sourceDigest"]


def test_machines_help_and_one_that_is_killed_is_replaced(
    hub: Hub,
    address: str,
    machines: Machines,
    slow: PlainProxy,
    there: RegistryServer,
) -> None:
    first, second = machines.start(workers=3), machines.start()
    task = hub.create_images(**between(slow, there), **FEW)
    wait_for(lambda: holds(address, first) and holds(address, second))
    # One worker copies several images, so a machine has one of them.
    assert len(helpers(first)) == 1
    os.killpg(first.pid, signal.SIGKILL)
    all_is_right(hub, task, there)
    said = machines.end(second)
    assert f"helps with task {task} of the hub ({slow.url.partition('//')[2]} -> " in said
    assert "cannot help" not in said


@pytest.mark.slow
def test_a_worker_that_copies_for_long_is_not_idle(
    hub: Hub,
    address: str,
    machines: Machines,
    here: RegistryServer,
    front: PlainProxy,
    there: RegistryServer,
) -> None:
    """Whoever ends an idle worker looks whether it has images in progress."""
    built = {name: image(name, [layer(f"own-{name}", 20_000)]) for name in NAMES[:8]}
    for name, each in built.items():
        here.push(name, "v1", each)
    # Longer than a worker may be idle.
    front.rule(Delay(14.0), key="blobs/")
    machine = machines.start()
    task = hub.create_images(**between(front, there), **FEW)
    wait_for(lambda: holds(address, machine))
    [worker] = helpers(machine)
    hub.wait(task, "DONE")
    assert [each["attempts"] for each in hub.images(task).values()] == [1] * len(built)
    wait_for(lambda: not worker.is_running())
    blobs = [each.key for each in front.seen("GET", "blobs/")]
    assert len(blobs) == len(set(blobs)), "nothing was begun again"


def test_without_skopeo_a_machine_helps_with_objects_alone(
    hub: Hub, machines: Machines, slow: PlainProxy, there: RegistryServer, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    machine = machines.start(PATH=str(programs))
    said = "dth worker: helps only with objects, not with images: skopeo is not here; install it ("
    wait_for(lambda: said in machines.said(machine))
    task = hub.create_images(**between(slow, there), **FEW)
    all_is_right(hub, task, there)
    assert machines.end(machine).count("images") == 1


def test_a_machine_whose_login_is_refused_says_so(
    hub: Hub, machines: Machines, slow: PlainProxy, there: RegistryServer
) -> None:
    """The hub's secret is that of the registries; this machine cannot decrypt it."""
    machine = machines.start(key=Vault.new_key())
    task = hub.create_images(**between(slow, there), **FEW)
    all_is_right(hub, task, there)
    [line] = [each for each in machines.end(machine).splitlines() if "cannot help" in each]
    assert "secret 'login' cannot be read" in line
