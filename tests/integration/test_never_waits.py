"""No command with `--hub` waits for what only a person can mend, and each says what to do."""

from __future__ import annotations

import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from dth.core.errors import UsageError
from dth.core.plugin import Process
from dth.objects import processes
from dth.objects.parameters import S3Parameters
from dth.objects.store.credentials import FileSecrets
from dth.platforms.local.platform import open_platform
from tests.engine import Dth, Side, bodies
from tests.hub import Hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from dth.core.ports.platform import Platform
    from tests.servers.ministack import MiniStack

SOON = 30.0  # seconds


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with Hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture
def beside(hub: Hub, dth: Dth) -> Dth:
    """The command, next to the hub."""
    hub.secret("keys", "test", "test")
    dth.env |= {"DTH_HUB": hub.url, "DTH_TOKEN": hub.token}
    return dth


def sides(source: Side, dest: Side) -> list[str]:
    return [
        *(f"s3://{source.bucket}", f"s3://{dest.bucket}"),
        *("--src-endpoint-url", source.server.url, "--dst-endpoint-url", dest.server.url),
    ]


@pytest.mark.parametrize(
    ("option", "side"),
    [
        ("--src-secret", "source"),
        ("--dst-secret", "destination"),
        ("--src-sse-c-secret", "source"),
    ],
)
def test_a_secret_that_the_hub_does_not_have(
    hub: Hub, beside: Dth, source: Side, dest: Side, option: str, side: str
) -> None:
    known = len(hub.call("{ listTasksV2 { items { id } } }")["items"])
    secrets = {"--src-secret": "keys", "--dst-secret": "keys", option: "nosuch"}
    given = [word for pair in secrets.items() for word in pair]
    done = beside.here("s3", "sync", *sides(source, dest), *given, "--hub", hub.url)
    assert done.code == 2
    assert done.out == ""
    *_, told = done.err.splitlines(keepends=True)
    assert told == (
        f"dth: {side}: there is no secret 'nosuch' in the hub; run: dth secret create nosuch --hub "
        f"{hub.url}, or name another one\n"
    )
    # Nothing was started.
    assert len(hub.call("{ listTasksV2 { items { id } } }")["items"]) == known


def test_a_task_whose_customer_key_is_missing_ends(hub: Hub, source: Side, dest: Side) -> None:
    source.put(bodies("a"))
    task = hub.create(source, dest, srcSseCustomerKey="nosuch")
    began = time.monotonic()
    while (found := hub.task(task))["progress"] not in ("ERROR", "PAUSED"):
        assert time.monotonic() - began < SOON, found
        time.sleep(0.05)
    assert found["reason"] == (
        "source: there is no secret 'nosuch' in the hub; run: dth secret create nosuch"
    )


@pytest.mark.parametrize("kind", ["worker", "controller"])
async def test_a_process_whose_customer_key_is_missing_pauses_its_task(
    tmp_path: Path, source: Side, dest: Side, kind: str
) -> None:
    """The key was there when the task was listed."""
    parameters = S3Parameters.model_validate(
        {
            "srcBucket": source.bucket,
            "srcEndpoint": source.server.url,
            "destBucket": dest.bucket,
            "destEndpoint": dest.server.url,
            "destSseCustomerKey": "nosuch",
        }
    )

    @asynccontextmanager
    async def opens() -> AsyncIterator[Platform]:
        with open_platform(tmp_path, "worker-1") as platform:
            yield platform

    process = Process(
        kind, "worker-1", 0, parameters, FileSecrets(tmp_path), tmp_path, opens,
        open_findings=None, prices=None, board=None, asked={},
    )  # fmt: skip
    with pytest.raises(UsageError):
        await processes.run(process)
    async with opens() as platform:
        paused = await platform.records.paused()
    assert paused.startswith("destination: ")
    assert "nosuch" in paused


def test_a_pause_says_what_to_do(hub: Hub, beside: Dth, source: Side, s3_tls: MiniStack) -> None:
    source.put(bodies("a"))
    dest = Side(s3_tls, s3_tls.bucket("theirs"))
    given = ("--src-secret", "keys", "--dst-secret", "keys", "--compare", "always")
    done = beside.run("s3", "sync", *sides(source, dest), *given, "--hub", hub.url)
    (told,) = [line for line in done.err.splitlines() if line.startswith("dth: ")]
    assert done.code == 1
    assert told.startswith(
        f"dth: PAUSED: destination: the TLS certificate of {dest.server.url} is not trusted"
    )
    assert "give the server's authority in the file of authorities" in told
    assert "then: dth task resume " in told


def test_a_task_that_somebody_else_deletes(hub: Hub, beside: Dth, slow: tuple[Side, Side]) -> None:
    task = hub.create(*slow)
    hub.wait(task, "IN_PROGRESS")
    following = beside.start("task", "watch", task)
    time.sleep(1.5)
    hub.call("mutation ($id: ID!) { deleteTask(id: $id, stop: true) { id } }", id=task)
    done = beside.end(following, SOON)
    assert done.code == 1, done
    assert done.err.splitlines()[-1] in (
        f"dth: task {task} was deleted meanwhile",
        f"dth: STOPPED; then: dth task resume {task}",
    )


def test_a_token_that_is_revoked_meanwhile(hub: Hub, beside: Dth, slow: tuple[Side, Side]) -> None:
    made = hub.call('mutation { createToken(name: "short", role: operator) { token info { id } } }')
    task = hub.create(*slow)
    beside.env |= {"DTH_TOKEN": made["token"]}
    following = beside.start("task", "watch", task)
    time.sleep(1.5)
    hub.call("mutation ($id: ID!) { revokeToken(id: $id) }", id=made["info"]["id"])
    done = beside.end(following, SOON)
    assert done.code == 1
    told = done.err.splitlines()[-1]
    assert "the API token is unknown, revoked or expired; sign in" in told
    assert f"; to continue watching: dth task watch {task}" in told
    hub.do("stopTask", task)


def test_a_hub_that_goes_meanwhile(tmp_path: Path, dth: Dth, slow: tuple[Side, Side]) -> None:
    with Hub(tmp_path) as hub:
        task = hub.create(*slow)
        dth.env |= {"DTH_HUB": hub.url, "DTH_TOKEN": hub.token}
        following = dth.start("task", "watch", task)
        time.sleep(1.5)
        threading.Thread(target=hub.kill).start()
        done = dth.end(following, SOON)
        assert done.code == 1
        told = done.err.splitlines()[-1]
        assert told.startswith(f"dth: the hub at {hub.url} does not answer: ")
        assert told.endswith(f"; to continue watching: dth task watch {task}")


def test_a_scheduled_task_is_watched_for_one_run(
    hub: Hub, beside: Dth, source: Side, dest: Side
) -> None:
    source.put(bodies("a"))
    pairs = hub.parameters(source, dest)
    words = [f"{pair['ParameterKey']}={pair['ParameterValue']}" for pair in pairs]
    done = beside.end(beside.start("task", "create", "--wait", *words), SOON)
    assert done.code == 0, done
    assert dest.listed() == ["a"]
    hub.do("stopTask", done.out.strip())
