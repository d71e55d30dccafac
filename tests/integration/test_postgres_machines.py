"""One transfer on several machines: `dth s3 sync --database` and `dth worker`. Each machine is a
command of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import pytest

from tests.engine import (
    GIANT_OPTIONS,
    MIB,
    Dth,
    Side,
    between,
    blob,
    bodies,
    check_ledger,
    counts_of,
    wait_for,
)
from tests.servers.old_postgres import OldPostgres
from tests.servers.postgres import GUARDED, PASSWORD, Postgres
from tests.servers.proxy import Delay

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.ministack import MiniStack
    from tests.servers.proxy import Proxy

# Objects that have a message each, so that machines share them.
MIDDLE = 60
SMALL = 100
TOTAL = SMALL + MIDDLE + 2
OPTIONS = (*GIANT_OPTIONS, "--workers", "1", "--worker-number", "1", "--concurrency", "4")


@pytest.fixture
def address(postgres: Postgres) -> Iterator[str]:
    made = postgres.database()
    yield made
    postgres.drop(made)


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """What a failed test began ends with it."""
    yield
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.cmdline()[1:3] == ["-m", "dth"]:
                child.kill()


@pytest.fixture(scope="module")
def full(s3_a: MiniStack) -> Iterator[Side]:
    """A bucket with small objects, larger ones, and a few that go in parts."""
    side = Side(s3_a, s3_a.bucket("full"))
    side.put(bodies(f"folder-{n % 7}/{n:03}" for n in range(SMALL)))
    side.put({f"middle/{n:02}": blob(MIB + n, n) for n in range(MIDDLE)})
    side.put({"parted": blob(6 * MIB, 1), "giant/1": blob(11 * MIB, 2)})
    yield side
    s3_a.drop(side.bucket)


@pytest.fixture
def slow(full: Side, proxy_a: Proxy, proxy_b: Proxy, dest: Side) -> tuple[Side, Side]:
    """Both sides behind proxies that make every object take a moment."""
    for proxy in (proxy_a, proxy_b):
        proxy.rule(Delay(0.4), key=".")
    return Side(proxy_a, full.bucket), Side(proxy_b, dest.bucket)


def ask(address: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(address, autocommit=True) as connection:
        return connection.execute(statement).fetchall()


def shown(side: Side) -> str:
    """As messages name a side."""
    return f"{urlsplit(side.server.url).netloc}: {side.bucket}"


def helpers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker processes of a command."""
    return [
        each
        for each in psutil.Process(process.pid).children(recursive=True)
        if each.name().startswith("dth-worker")
    ]


def test_a_machine_that_is_killed_while_it_works_is_replaced_by_the_others(
    dth: Dth, address: str, slow: tuple[Side, Side], proxy_b: Proxy, full: Side, dest: Side
) -> None:
    machines = [dth.start("worker", "--database", address, "--workers", "1") for _ in range(3)]
    command = ("s3", "sync", *between(*slow), *OPTIONS, "--json", "--database", address)
    sync = dth.start(*command)
    wait_for(lambda: sync.poll() is not None or all(map(helpers, machines)))
    wait_for(lambda: sync.poll() is not None or proxy_b.count("PUT", status=200) > 20)
    held = "SELECT 1 FROM dth.message WHERE receipt IS NOT NULL AND owner LIKE '%-{}-%'"
    wait_for(lambda: sync.poll() is not None or ask(address, held.format(machines[0].pid)) != [])
    # Killed as a whole, and one of the others loses its worker.
    os.killpg(machines[0].pid, signal.SIGKILL)
    for worker in helpers(machines[1]):
        worker.kill()
    assert sync.poll() is None, sync.communicate()
    found = dth.outcome(dth.end(sync))

    assert found["transferred"] == found["enqueued"] == found["listed"] == TOTAL
    assert found["failed"] == found["cancelled"] == 0
    check_ledger(counts_of(found), finished=True)
    assert dest.contents() == full.contents()
    assert dest.uploads() == []
    machines[0].communicate()
    for machine in machines[1:]:
        machine.terminate()
    ended = [dth.end(machine) for machine in machines[1:]]
    assert [done.code for done in ended] == [0, 0]
    assert "worker-1 ended (killed by signal 9); another one takes its place" in ended[0].err
    assert all(f"helps with {shown(slow[0])} -> " in done.err for done in ended)
    # The transfer ended well: nothing is left of it, and nobody is there.
    for table in ("task", "machine", "message", "run"):
        assert ask(address, f"SELECT 1 FROM dth.{table}") == []


# ------------------------------------------------------------------------ commands that come and go


def test_a_transfer_stops_with_its_command_and_resumes_on_any_machine(
    dth: Dth,
    tmp_path: Path,
    address: str,
    slow: tuple[Side, Side],
    proxy_b: Proxy,
    full: Side,
    dest: Side,
) -> None:
    machine = dth.start("worker", "--database", address, "--workers", "1")
    command = ("s3", "sync", *between(*slow), *OPTIONS, "--database", address)
    first = dth.start(*command)
    wait_for(lambda: helpers(machine) and proxy_b.count("PUT", status=200) > 0)
    first.terminate()
    done = dth.end(first)
    assert done.code == 1
    assert f"run the same command again, on any machine, to resume ({address})" in done.err
    # Nobody runs the transfer: nobody works on it.
    wait_for(lambda: not helpers(machine))
    assert len(dest.listed()) < TOTAL
    [state] = json.loads(dth.run("s3", "state", "ls", "--database", address, "--json").out)
    assert state["status"] == "unfinished"
    assert state["source"] == f"{full.url}/"
    # Another home is another machine, to which nothing was left but the database.
    other = Dth(tmp_path / "other")
    other.home.mkdir()
    done = other.run(*command)
    assert done.code == 0
    assert "resuming run 1" in done.err
    assert dest.contents() == full.contents()
    moved = [request.key for request in proxy_b.seen("PUT", "folder-|middle/")]
    assert len(moved) == len(set(moved)) == SMALL + MIDDLE  # nothing went twice
    machine.terminate()
    assert dth.end(machine).code == 0


def test_a_killed_command_is_resumed_and_a_second_one_is_refused_meanwhile(
    dth: Dth, address: str, slow: tuple[Side, Side], proxy_b: Proxy, full: Side, dest: Side
) -> None:
    command = ("s3", "sync", *between(*slow), *OPTIONS, "--database", address)
    first = dth.start(*command)
    wait_for(lambda: proxy_b.count("PUT", status=200) > 10)
    os.killpg(first.pid, signal.SIGSTOP)  # it seems dead, and is not
    second = dth.start(*command, "--json")
    wait_for(lambda: second.poll() is not None or helpers(second))
    os.killpg(first.pid, signal.SIGCONT)
    done = dth.end(first)
    assert done.code == 1
    assert "another command has taken over this transfer" in done.err
    found = dth.outcome(dth.end(second))
    assert found["listed"] == TOTAL
    assert found["failed"] == found["cancelled"] == 0
    assert dest.contents() == full.contents()
    assert dest.uploads() == []


def test_a_transfer_runs_once_at_a_time(
    dth: Dth, address: str, slow: tuple[Side, Side], proxy_b: Proxy
) -> None:
    command = ("s3", "sync", *between(*slow), *OPTIONS, "--database", address)
    first = dth.start(*command)
    wait_for(lambda: proxy_b.count("PUT", status=200) > 0)
    done = dth.run(*command)
    assert done.code == 1
    assert "the same transfer is running already, by " in done.err
    first.kill()
    first.communicate()


def test_a_database_that_crashes_and_comes_back_costs_a_moment(
    dth: Dth, slow: tuple[Side, Side], proxy_b: Proxy, full: Side, dest: Side
) -> None:
    with Postgres(durable=True) as server:
        address = server.database()
        machine = dth.start("worker", "--database", address, "--workers", "1")
        command = ("s3", "sync", *between(*slow), *OPTIONS, "--json", "--database", address)
        sync = dth.start(*command)
        wait_for(lambda: helpers(machine) and proxy_b.count("PUT", status=200) > 10)
        server.kill()
        server.start()
        assert sync.poll() is None
        found = dth.outcome(dth.end(sync))
        assert found["listed"] == found["transferred"] == TOTAL
        assert dest.contents() == full.contents()
        machine.terminate()
        assert dth.end(machine).code == 0


def test_a_database_that_stays_away_ends_the_command_and_not_the_workers(
    dth: Dth, slow: tuple[Side, Side], proxy_b: Proxy, full: Side, dest: Side
) -> None:
    with Postgres(durable=True) as server:
        address = server.database()
        machine = dth.start("worker", "--database", address, "--workers", "1")
        command = ("s3", "sync", *between(*slow), *OPTIONS, "--database", address)
        sync = dth.start(*command)
        wait_for(lambda: helpers(machine) and proxy_b.count("PUT", status=200) > 10)
        server.kill()
        done = dth.end(sync)
        assert done.code == 1
        [line] = [line for line in done.err.splitlines() if line.startswith("dth:")]
        assert f"the database {address} cannot be used: " in line
        assert "Nothing is lost: run the same command again to resume" in line
        assert machine.poll() is None
        server.start()
        done = dth.run(*command)
        assert (done.code, "resuming run 1" in done.err) == (0, True)
        assert dest.contents() == full.contents()
        machine.terminate()
        done = dth.end(machine)
        assert done.code == 0
        assert "(keeps trying)" in done.err
        assert "the database is back" in done.err


def test_a_kept_state_is_removed_but_not_while_it_is_in_use(
    dth: Dth, address: str, slow: tuple[Side, Side], proxy_b: Proxy
) -> None:
    sync = dth.start("s3", "sync", *between(*slow), *OPTIONS, "--database", address)
    wait_for(lambda: proxy_b.count("PUT", status=200) > 0)
    remove = ("s3", "state", "rm", "--all", "--database", address)
    done = dth.run(*remove)
    assert (done.code, "is in use by " in done.err) == (1, True)
    sync.terminate()
    assert dth.end(sync).code == 1
    done = dth.run(*remove)
    assert (done.code, done.out.startswith("removed sync-")) == (0, True)
    assert ask(address, "SELECT 1 FROM dth.task") == []


# ----------------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("database", "says"),
    [
        ("mysql://host/db", "--database begins with mysql://; write postgresql://USER@HOST"),
        ("host/db", "--database is not an address; write postgresql://"),
        ("postgresql://u:pa@ss@host/db", "special characters in the form %40"),
        ("postgresql://u:pa/ss@host/db", "special characters in the form %40"),
        ("postgresql://u@host:x/db", "special characters in the form %40"),
        ("postgresql://u:secret@host/db", "everybody on this machine can read a password"),
        ("postgresql://u@host/db?password=secret", "can read a password in a command"),
    ],
)
@pytest.mark.parametrize("command", [("worker",), ("s3", "sync", "s3://a", "s3://b")])
def test_an_address_that_cannot_be_is_refused(
    dth: Dth, command: tuple[str, ...], database: str, says: str
) -> None:
    done = dth.here(*command, "--database", database)
    assert done.code == 2
    assert says in done.err
    assert len(done.err.splitlines()) == 1
    assert not any(part in done.err for part in ("secret", "pa@ss", "pa/ss", "ss@host"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--state", "here"), "leave out --state and --hub"),
        (("--hub", "http://127.0.0.1:1"), "leave out --state and --hub"),
    ],
)
def test_what_other_machines_cannot_share_is_refused(
    dth: Dth, arguments: tuple[str, ...], says: str
) -> None:
    options = ("--database", "postgresql://u@127.0.0.1:1/db", *arguments)
    done = dth.here("s3", "sync", "s3://a", "s3://b", *options)
    assert (done.code, says in done.err) == (2, True)


def test_a_folder_is_refused(dth: Dth, tmp_path: Path) -> None:
    done = dth.here("s3", "sync", f"{tmp_path}/", "s3://b", "--database", "postgresql://h/d")
    assert done.code == 2
    assert f"other machines do not have the folder {tmp_path}" in done.err


def test_a_missing_driver_is_one_line(dth: Dth) -> None:
    code = "import sys; sys.modules['psycopg'] = None; from dth.cli.main import main; main()"
    command = [sys.executable, "-c", code, "worker", "--database", "postgresql://h/d"]
    done = subprocess.run(
        command, env={**os.environ, **dth.env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "dth: --database needs the driver of PostgreSQL: pip install "
        "'data-transfer-hub[postgres]'\n"
    )


def test_an_old_server_is_one_line(dth: Dth) -> None:
    with OldPostgres("14.9") as server:
        done = dth.run("worker", "--database", server.address)
    assert done.code == 1
    assert done.err == (
        f"dth: the database {server.address} is PostgreSQL 14; 15 or newer is needed\n"
    )


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("127.0.0.1:1/db", "no server takes connections there"),
        ("{host}/nowhere", "create the database, or name another one"),
    ],
)
def test_a_database_that_is_not_there_is_one_line(
    dth: Dth, postgres: Postgres, wrong: str, says: str
) -> None:
    place = wrong.format(host=postgres.url.partition("@")[2])
    done = dth.run("worker", "--database", f"postgresql://dth@{place}")
    assert done.code == 1
    assert says in done.err
    assert len(done.err.splitlines()) == 1


def test_a_wrong_password_is_one_line_and_is_not_shown(
    dth: Dth, postgres: Postgres, address: str
) -> None:
    guarded = postgres.guarded(address)
    for env in (
        {},
        {"PGPASSWORD": "tr0ub4dor"},
        {"DTH_DATABASE": postgres.guarded(address, "tr0ub4dor")},
    ):
        dth.env |= {"PGPASSWORD": "", "DTH_DATABASE": guarded, **env}
        done = dth.run("worker")
        assert done.code == 1
        assert "give the right password in PGPASSWORD, in ~/.pgpass" in done.err
        assert guarded in done.err
        assert len(done.err.splitlines()) == 1
        assert "tr0ub4dor" not in done.err


@pytest.mark.parametrize("where", ["PGPASSWORD", "file", "DTH_DATABASE"])
def test_a_password_is_nowhere_to_be_seen(
    dth: Dth, postgres: Postgres, address: str, slow: tuple[Side, Side], proxy_b: Proxy, where: str
) -> None:
    database = ["--database", postgres.guarded(address)]
    if where == "PGPASSWORD":
        dth.env["PGPASSWORD"] = PASSWORD
    elif where == "file":
        file = dth.home / "passwords"
        file.write_text(f"127.0.0.1:*:*:{GUARDED}:{PASSWORD}\n")
        file.chmod(0o600)
        dth.env["PGPASSFILE"] = str(file)
    else:
        database = []
        dth.env["DTH_DATABASE"] = postgres.guarded(address, PASSWORD)
    report, log = dth.home / "report.csv", dth.home / "log"
    options = ("-vv", "--report", report, "--log-file", log, "--include", "folder-*/**")
    sync = dth.start("s3", "sync", *between(*slow), *options, *database)
    wait_for(lambda: sync.poll() is not None or proxy_b.count("PUT", status=200) > 0)
    family = [psutil.Process(sync.pid), *psutil.Process(sync.pid).children(recursive=True)]
    seen = " ".join(" ".join([each.name(), *each.cmdline()]) for each in family)
    done = dth.end(sync)
    assert done.code == 0, done
    assert "worker-1" in log.read_text()
    kept = "".join(ask_text(address))
    for text in (seen, done.out, done.err, report.read_text(), log.read_text(), kept):
        assert PASSWORD not in text


def ask_text(address: str) -> list[str]:
    """What the database keeps of transfers."""
    return [str(row) for row in ask(address, "SELECT * FROM dth.task")]


# -------------------------------------------------------------------------- machines without rights


def test_a_machine_that_cannot_reach_a_side_says_so_and_harms_nobody(
    dth: Dth, tmp_path: Path, address: str, slow: tuple[Side, Side], full: Side, dest: Side
) -> None:
    source, there = slow
    name = dth.secret("keys", source.server.access_key, source.server.secret_key)
    stranger = Dth(tmp_path / "stranger")
    stranger.home.mkdir()
    machine = stranger.start("worker", "--database", address)
    options = (*OPTIONS, "--src-secret", name, "--json", "--database", address)
    found = dth.outcome(dth.run("s3", "sync", *between(source, there), *options))
    assert found["transferred"] == TOTAL
    machine.terminate()
    done = stranger.end(machine)
    assert done.code == 0
    assert f"cannot help with {shown(source)} -> {shown(there)}: " in done.err
    assert "keys" in done.err
