"""`dth up --database`: a hub whose tables and tasks are in PostgreSQL, and another one that takes
over."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING

import psutil
import pytest

from dth.platforms.local.vault import Vault
from tests.engine import Side, bodies, wait_for
from tests.hub import Hub, balanced
from tests.servers.certificates import make_certificates
from tests.servers.postgres import Postgres
from tests.servers.process import REPOSITORY

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


KEY = Vault.new_key()


@pytest.fixture
def address(postgres: Postgres) -> Iterator[str]:
    made = postgres.database()
    yield made
    postgres.drop(made)


def on(address: str, folder: Path, **env: str) -> Hub:
    folder.mkdir(exist_ok=True)
    return Hub(folder, "--database", address, **{"DTH_KEY": KEY, **env})


def ask(address: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(address, autocommit=True) as connection:
        return connection.execute(statement).fetchall()


def dth(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(REPOSITORY / "src"), **env}
    return subprocess.run(
        [sys.executable, "-m", "dth", *arguments],
        env=env, cwd=folder, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


def test_everything_is_in_the_database(
    address: str, tmp_path: Path, source: Side, dest: Side
) -> None:
    objects = bodies(f"folder/{n}" for n in range(250))
    source.put(objects)
    with on(address, tmp_path) as hub:
        task = hub.create(source, dest)
        hub.wait(task, "DONE")
        assert dest.contents() == objects
        (run,) = hub.runs(task)
        assert run["counts"]["done"] == 250
        balanced(run["counts"])
        # The commands beside the hub know where its tables are.
        listed = dth(tmp_path, "user", "list", "--database", address)
        assert "admin" in listed.stdout, listed.stderr
        local = dth(tmp_path, "task", "list", "--data-dir", str(hub.data), DTH_DATABASE=address)
        assert task[:8] in local.stdout, local.stderr
        refused = dth(tmp_path, "task", "list", "--data-dir", str(hub.data))
        assert refused.returncode == 2
        assert "put its address into DTH_DATABASE" in refused.stderr
        hub.do("deleteTask", task)
        wait_for(lambda: not ask(address, "SELECT FROM dth.task"))
    assert not list(hub.data.glob("**/*.db"))


def get(hub: Hub, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    request = urllib.request.Request(hub.url + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read().decode()


def leads(hub: Hub) -> bool:
    """Whether it takes requests; of a hub whose leader is dead, whether it leads."""
    return get(hub, "/readyz")[0] == 200


def test_all_hubs_answer_and_one_that_stands_by_leads_when_the_leader_dies(
    address: str, tmp_path: Path, slow: tuple[Side, Side]
) -> None:
    source, dest = slow
    first = on(address, tmp_path / "first")
    with on(address, tmp_path / "second") as second:
        wait_for(lambda: "stands by at" in second.output.read_text())
        task = second.create(source, dest)
        assert first.task(task)["id"] == task
        # The documentation and the addresses of the sign-in are those of the leader, too.
        assert get(second, "/docs/")[0] == get(first, "/docs/")[0] == 200
        assert json.loads(get(second, "/config.json")[2])["url"] == first.url
        assert get(second, "/readyz")[0] == get(second, "/healthz")[0] == 200
        wait_for(lambda: second.task(task)["progressInfo"]["replicated"] > 0)
        first.kill()
        status, headers, said = get(second, "/readyz")
        assert (status, headers["retry-after"]) == (503, "5")
        assert "cannot be reached" in said
        assert get(second, "/healthz")[0] == 200
        wait_for(lambda: leads(second))
        second.wait(task, "DONE")
        (run,) = second.runs(task)
        assert run["counts"]["done"] == 100
        balanced(run["counts"])
        # What led comes back, and stands by.
        first.start(DTH_KEY=KEY)
        assert first.task(task)["id"] == task
        first.close()
    assert dest.contents() == bodies(f"{n:03}" for n in range(100))


def test_a_hub_that_stands_by_ends_in_order_and_leads_at_once_after_a_leader_that_ended(
    address: str, tmp_path: Path
) -> None:
    first = on(address, tmp_path / "first")
    second = on(address, tmp_path / "second")
    with on(address, tmp_path / "third") as third:
        assert second.stop() == 0
        assert "Traceback" not in second.output.read_text()
        assert first.stop() == 0
        wait_for(lambda: "runs at" in third.output.read_text())
        assert get(third, "/readyz")[0] == 200


def test_what_is_forwarded_goes_in_no_circle(address: str, tmp_path: Path) -> None:
    with on(address, tmp_path / "first") as first, on(address, tmp_path / "second") as second:
        # Nobody but a hub knows the token, and a hub that stands by takes nothing from another.
        assert get(first, "/readyz", **{"dth-forwarded": "made up"})[0] == 421
        status, _, said = get(second, "/readyz", **{"dth-forwarded": "made up"})
        assert status == 503
        assert "stands by" in said
        # A leader whose address leads to the one that stands by.
        ask(address, f"UPDATE dth_hub.leader SET name = name, url = '{second.url}' RETURNING 1")
        with on(address, tmp_path / "third") as third:
            status, _, said = get(third, "/readyz")
            assert status == 503
            assert "stands by" in said


def test_the_leader_knows_the_client_of_a_forwarded_request(address: str, tmp_path: Path) -> None:
    """What a client says of itself counts for nothing."""
    with on(address, tmp_path / "first"), on(address, tmp_path / "second") as second:
        place = urllib.parse.urlsplit(second.url)
        connection = http.client.HTTPConnection(
            place.hostname or "", place.port, source_address=("127.0.0.5", 0)
        )
        forged = {"x-forwarded-for": "9.9.9.9", "dth-forwarded-for": "9.9.9.9"}
        form = {"content-type": "application/x-www-form-urlencoded", **forged}
        connection.request("POST", "/oidc/invitation", "invitation=guessed", form)
        assert connection.getresponse().status == 404
        connection.close()
    tried = ask(address, "SELECT subject FROM dth_hub.attempt WHERE subject LIKE 'address:%'")
    assert tried == [("address:127.0.0.5",)]


def test_hubs_with_tls_trust_the_certificate_in_the_database(address: str, tmp_path: Path) -> None:
    """The certificate of the leader is that of an authority that no other hub knows."""
    made = make_certificates(tmp_path)
    hubs = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        hubs.append(
            Hub(
                tmp_path / name, "--database", address,
                "--tls-cert", str(made.certificate), "--tls-key", str(made.key), DTH_KEY=KEY,
            )
        )  # fmt: skip
    with hubs[0] as first, hubs[1] as second:
        assert first.url.startswith("https://")
        context = ssl.create_default_context(cafile=str(made.ca))
        with urllib.request.urlopen(f"{second.url}/readyz", context=context) as answer:
            assert answer.read() == b"ready\n"
        # Another certificate, even from the same authority, is not that of the leader.
        other = make_certificates(tmp_path / "first").certificate.read_text()
        ask(address, f"UPDATE dth_hub.leader SET certificate = '{other}' RETURNING 1")
        (tmp_path / "third").mkdir()
        third = Hub(
            tmp_path / "third", "--database", address,
            "--tls-cert", str(made.certificate), "--tls-key", str(made.key), DTH_KEY=KEY,
        )  # fmt: skip
        with third, pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{third.url}/readyz", context=context)
        assert refused.value.code == 503
        assert "certificate verify failed" in refused.value.read().decode()


def test_another_hub_takes_over_what_a_killed_one_had_begun(
    address: str, tmp_path: Path, slow: tuple[Side, Side]
) -> None:
    source, dest = slow
    first = on(address, tmp_path / "first")
    task = first.create(source, dest)
    wait_for(lambda: first.task(task)["progressInfo"]["replicated"] > 0)
    first.kill()
    with on(address, tmp_path / "second") as second:
        wait_for(lambda: leads(second))
        second.wait(task, "DONE")
        (run,) = second.runs(task)
        assert run["counts"]["done"] == 100
        balanced(run["counts"])
    assert dest.contents() == bodies(f"{n:03}" for n in range(100))
    assert not dest.uploads()


def test_a_task_of_another_machine_is_stopped_and_deleted(
    address: str, tmp_path: Path, slow: tuple[Side, Side]
) -> None:
    with on(address, tmp_path / "first") as first:
        task = first.create(*slow)
        wait_for(lambda: first.task(task)["progressInfo"]["replicated"] > 0)
        first.do("pauseTask", task)
        first.wait(task, "PAUSED")
    with on(address, tmp_path / "second") as second:
        second.do("stopTask", task)
        second.wait(task, "STOPPED")
        (run,) = second.runs(task)
        balanced(run["counts"])
        assert run["counts"]["cancelled"] > 0
        second.do("deleteTask", task)
        wait_for(lambda: not ask(address, "SELECT FROM dth.task"))


def test_a_hub_that_slept_and_was_replaced_ends_and_changes_nothing(
    address: str, tmp_path: Path, source: Side, dest: Side
) -> None:
    source.put(bodies("a"))
    first = on(address, tmp_path / "first")
    first.process.send_signal(signal.SIGSTOP)
    with on(address, tmp_path / "second") as second:
        # It forwards to a hub that does not answer, until that one counts as dead.
        wait_for(lambda: leads(second))
        first.process.send_signal(signal.SIGCONT)
        assert first.process.wait(60) == 1
        assert "another hub has taken over" in first.output.read_text()
        task = second.create(source, dest)
        second.wait(task, "DONE")


def test_a_key_that_another_machine_has_is_asked_for(address: str, tmp_path: Path) -> None:
    with on(address, tmp_path, DTH_KEY="") as hub:
        hub.keep_secret("keys", access_key_id="a", secret_access_key="b")
    other = tmp_path / "other"
    refused = dth(tmp_path, "up", "--database", address, "--data-dir", str(other), "--port", "0")
    assert refused.returncode == 1
    assert "DTH_KEY" in refused.stderr


def test_a_command_that_needs_files_says_so(address: str, tmp_path: Path) -> None:
    backup = dth(tmp_path, "backup", "copy", DTH_DATABASE=address)
    assert backup.returncode == 2
    assert "pg_dump" in backup.stderr


def test_the_key_is_rotated_while_hubs_work(address: str, tmp_path: Path) -> None:
    """They have the key in files, which are read again when a key does not fit."""
    first, second = tmp_path / "first", tmp_path / "second"
    (second / "data").mkdir(parents=True)
    with on(address, first, DTH_KEY="") as hub:
        hub.keep_secret("keys", access_key_id="a", secret_access_key="b")
        old = (hub.data / "key").read_text()
        refused = dth(first, "secret", "rotate-key", "--data-dir", "data", DTH_DATABASE=address)
        assert refused.returncode == 2
        assert "put a new key before the one in data/key" in refused.stderr
        keys = f"{Vault.new_key()}\n{old}"
        for folder in (first, second):
            key = folder / "data" / "key"
            key.touch(0o600)
            key.write_text(keys)
        done = dth(first, "secret", "rotate-key", "--data-dir", "data", DTH_DATABASE=address)
        assert "values are encrypted with the new key; take the old one away" in done.stdout
        for folder in (first, second):
            key = folder / "data" / "key"
            key.write_text(key.read_text().splitlines()[0])
        # It was started with the old key, and reads what the new one has encrypted.
        assert [each["name"] for each in hub.call("query { listSecrets { name } }")] == ["keys"]
        hub.keep_secret("more", access_key_id="a", secret_access_key="b")
    with on(address, second, DTH_KEY="") as hub:
        assert len(hub.call("query { listSecrets { name } }")) == 2
    stale = dth(
        tmp_path, "up", "--database", address, "--data-dir", "stale", "--port", "0",
        DTH_KEY=old.strip(),
    )  # fmt: skip
    assert stale.returncode == 1
    assert "encrypted with another key" in stale.stderr


def test_a_data_directory_with_a_hub_of_its_own_is_refused(address: str, tmp_path: Path) -> None:
    (tmp_path / "hub.db").touch()
    refused = dth(tmp_path, "up", "--database", address, "--data-dir", str(tmp_path))
    assert refused.returncode == 2
    assert "has a hub of its own" in refused.stderr


def test_hubs_ride_out_a_long_outage_of_their_database(
    tmp_path: Path, slow: tuple[Side, Side]
) -> None:
    """It lasts until the task has given up, which it does after 30 seconds."""
    source, dest = slow
    with Postgres(durable=True) as server:
        address = server.database()
        with on(address, tmp_path / "first") as first, on(address, tmp_path / "second") as second:
            task = first.create(source, dest)
            wait_for(lambda: first.task(task)["progressInfo"]["replicated"] > 0)
            server.kill()
            for hub in (first, second):
                wait_for(lambda hub=hub: "does not answer" in hub.output.read_text())
                assert get(hub, "/readyz")[0] == 503
                assert get(hub, "/healthz")[0] == 200
            wait_for(lambda: not copying(first), 120)
            server.start()
            for hub in (first, second):
                wait_for(lambda hub=hub: leads(hub))
            first.wait(task, "DONE")
            (run,) = second.runs(task)
            assert run["counts"]["done"] == 100
            balanced(run["counts"])
            for hub in (first, second):
                said = hub.output.read_text()
                assert said.count("does not answer") == said.count("answers again") == 1
    assert dest.contents() == bodies(f"{n:03}" for n in range(100))


def copying(hub: Hub) -> bool:
    """Whether processes of a task run."""
    children = psutil.Process(hub.process.pid).children(recursive=True)
    return any("worker" in each.name() for each in children)
