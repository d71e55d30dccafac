"""A hub under test: `dth up` as a process of its own, and a client that may do everything."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dth.cli.hub import ADDRESS_FILE
from dth.cli.hub_tables import open_tables
from dth.hub.client import HubClient, with_token
from dth.hub.model import Role
from dth.platforms.local.sql import SqlDatabase
from dth.platforms.local.tokens import LocalTokens
from dth.platforms.local.users import LocalUsers
from tests.engine import wait_for
from tests.servers.process import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from tests.engine import Side

CREATE = "mutation ($input: CreateTaskInput!) { createTask(input: $input) { id progress } }"
TASK = """query ($id: ID!) { getTask(id: $id) {
    id progress reason description scheduleType nextRunAt source destination spent
    parameters { ParameterKey ParameterValue }
    progressInfo { total replicated failed run listing workers waiting } } }"""
RUNS = """query ($id: ID!) { listRuns(id: $id) { id kind state error notes counts {
    listed filtered same archived pending enqueued done failed cancelled
    delete_enqueued deleted delete_kept delete_failed } } }"""
IMAGES = """query ($id: ID!, $run: Int) { listImages(id: $id, run: $run, limit: 1000) { items {
    key run source status sourceDigest destDigest size moved skipped seconds attempts reason detail
    platforms about endedAt } } }"""


class Caller:
    """What a client does, wherever the hub is."""

    def __init__(self, client: HubClient) -> None:
        self.client = client

    def call(self, query: str, **variables: Any) -> Any:
        """The one root field of an answer."""
        (found,) = self.client.call(query, variables).values()
        return found

    def do(self, operation: str, id: str) -> Any:
        kind = "String" if operation == "stopTask" else "ID!"
        return self.call(
            f"mutation ($id: {kind}) {{ {operation}(id: $id) {{ id progress }} }}", id=id
        )

    def create(
        self,
        source: Side,
        dest: Side,
        *,
        once: bool = True,
        id: str | None = None,
        description: str = "",
        **more: str,
    ) -> str:
        """A task from one side to the other; secrets for both are made as needed."""
        parameters = self.parameters(source, dest, **more)
        wanted = {
            "type": "S3EC2",
            "description": description,
            "scheduleType": "ONE_TIME" if once else "FIXED_RATE",
            "parameters": parameters,
            **({"id": id} if id else {}),
        }
        return str(self.call(CREATE, input=wanted)["id"])

    def create_images(self, *, once: bool = True, **values: str) -> str:
        """A task for images with these parameters."""
        wanted = {
            "type": "ECR",
            "scheduleType": "ONE_TIME" if once else "FIXED_RATE",
            "parameters": [
                {"ParameterKey": name, "ParameterValue": value} for name, value in values.items()
            ],
        }
        return str(self.call(CREATE, input=wanted)["id"])

    def images(self, id: str, run: int | None = None) -> dict[str, dict[str, Any]]:
        """What a run did with images, by their keys."""
        found = self.call(IMAGES, id=id, run=run)["items"]
        return {each["key"]: each for each in found}

    def parameters(self, source: Side, dest: Side, **more: str) -> list[dict[str, str]]:
        self.secret("keys", source.server.access_key, source.server.secret_key)
        values = {
            "srcBucket": source.bucket,
            "srcEndpoint": source.server.url,
            "srcCredentials": "keys",
            "destBucket": dest.bucket,
            "destEndpoint": dest.server.url,
            "destCredentials": "keys",
            "maxCapacity": "2",
            "workerNumber": "1",
            **more,
        }
        return [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]

    def secret(self, name: str, access_key: str, secret_key: str) -> None:
        self.keep_secret(name, access_key_id=access_key, secret_access_key=secret_key)

    def keep_secret(self, name: str, **fields: str) -> None:
        """For any host, as tests of one hub use several stores."""
        value = json.dumps(fields)
        known = {each["name"] for each in self.call("{ listSecrets { name } }")}
        verb, hosts = ("updateSecret", "") if name in known else ("createSecret", ', hosts: ["*"]')
        self.call(
            (
                f"mutation ($name: String!, $value: String!) {{ {verb}(name: $name, value: "
                f"$value{hosts}) {{ name }} }}"
            ),
            name=name,
            value=value,
        )

    @contextlib.contextmanager
    def bound(self, *names: str) -> Iterator[None]:
        """These secrets are bound to where they are used next, and for any host again
        afterwards."""
        query = (
            "mutation ($name: String!, $hosts: [String!]!) { bindSecret(name: $name, hosts: "
            "$hosts) { name } }"
        )
        for name in names:
            self.call(query, name=name, hosts=[])
        try:
            yield
        finally:
            for name in names:
                self.call(query, name=name, hosts=["*"])

    def task(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call(TASK, id=id)
        return found

    def runs(self, id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call(RUNS, id=id)
        return found

    def job(self, operation: str, parameters: Mapping[str, str], side: str = "") -> dict[str, Any]:
        """Start a preflight, a forecast or a test of a connection for images, and wait for its
        end."""
        given = {
            "type": "ECR",
            "scheduleType": "ONE_TIME",
            "parameters": [
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in parameters.items()
            ],
        }
        declared, passed = (", $side: Side!", ", side: $side") if side else ("", "")
        started = self.call(
            (
                f"mutation ($input: CreateTaskInput!{declared}) {{ {operation}(input: "
                f"$input{passed}) {{ id }} }}"
            ),
            input=given,
            **({"side": side} if side else {}),
        )
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(
                self.call(
                    "query ($id: ID!) { getJob(id: $id) { state error result } }", id=started["id"]
                )
            )
            return bool(found["state"] != "RUNNING")

        wait_for(ended)
        return {**found, "result": json.loads(found["result"])}


class Hub(Caller):
    """One data directory, and the process that runs it."""

    def __init__(self, folder: Path, *options: str, **env: str) -> None:
        """`options` and `env` are of `dth up`, at its first start."""
        self.folder = folder
        self.options = options
        self.data = folder / "data"
        self.database = dict(itertools.pairwise(options)).get("--database")
        self.process: subprocess.Popen[str]
        self.output = folder / "up.log"
        self.start(**env)

    def start(self, **env: str) -> None:
        (self.data / ADDRESS_FILE).unlink(missing_ok=True)
        with self.output.open("a") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "dth",
                    "up",
                    "--data-dir",
                    str(self.data),
                    "--port",
                    "0",
                    *self.options,
                ],
                env={
                    **os.environ,
                    "HOME": str(self.folder),
                    "PYTHONPATH": str(REPOSITORY / "src"),
                    "PYTHONUNBUFFERED": "1",
                    "DTH_DEBUG": "1",
                    **env,
                },
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        wait_for(lambda: (self.data / ADDRESS_FILE).exists() or self._ended())
        self.url = (self.data / ADDRESS_FILE).read_text().strip()
        self.token: str = self._with_database(
            lambda database: LocalTokens(database).create("command line", Role.ADMIN, 0.0, "tests")
        )[1]
        self.client = HubClient(self.url, with_token(lambda: self.token))

    def user(self, name: str, password: str, role: Role) -> None:
        """A user who need not change the password first."""
        self._with_database(lambda database: LocalUsers(database).add(name, password, role, ""))

    def _with_database(self, work: Callable[[SqlDatabase], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            with open_tables(self.data, self.database) as database:
                return await work(database)

        with ThreadPoolExecutor(1) as thread:  # this one may have an event loop: browser tests do
            return thread.submit(asyncio.run, run()).result()

    def _ended(self) -> bool:
        assert self.process.poll() is None, self.output.read_text()
        return False

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.kill()
        self.start()

    def close(self) -> None:
        if self.process.poll() is None:
            self.stop()
        said = self.output.read_text()
        assert "Traceback" not in said, said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, id: str, *progress: str, seconds: float = 90.0) -> dict[str, Any]:
        """Until the task has one of these statuses."""
        deadline = time.monotonic() + seconds
        while (task := self.task(id))["progress"] not in progress:
            assert time.monotonic() < deadline, (
                task,
                self.runs(id),
                self.logs(id),
                self.output.read_text(),
            )
            assert task["progress"] != "ERROR", (task, self.logs(id))
            time.sleep(0.05)
        return task

    def processes(self, name: str = "") -> list[int]:
        """The hub's processes, or those of them that are called so, such as dth-worker-1."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                rest = (folder / "stat").read_text().rpartition(") ")[2].split()
                called = (folder / "comm").read_text().strip()
                if (
                    rest[0] != "Z"
                    and int(rest[3]) == self.process.pid
                    and (not name or called == name)
                ):
                    found.append(int(folder.name))
        return found

    def logs(self, id: str) -> str:
        return "".join(
            log.read_text(errors="replace")
            for log in (self.data / "tasks" / id / "logs").glob("*.log")
        )

    def request(
        self,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
    ) -> tuple[int, str]:
        """One plain request: (status, body)."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, dict(headers or {}), method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def balanced(counts: Mapping[str, float]) -> None:
    """A run's ledger at its end."""
    parts = ("filtered", "same", "archived", "pending", "enqueued")
    assert counts["listed"] == sum(counts[name] for name in parts), counts
    assert counts["enqueued"] == counts["done"] + counts["failed"] + counts["cancelled"], counts
    deletes = counts["deleted"] + counts["delete_kept"] + counts["delete_failed"]
    assert counts["delete_enqueued"] == deletes, counts
