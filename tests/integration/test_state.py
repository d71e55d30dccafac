"""The states of commands that were given none: which command finds which, what stays, and who may
remove what."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from dth.core.ports.runs import RunKind
from dth.platforms.local.platform import open_platform
from tests.engine import Dth, Side, between, bodies, wait_for
from tests.servers.proxy import Delay, Proxy, Reply

if TYPE_CHECKING:
    from pathlib import Path


# Objects: more than a command has requests in flight.
MANY = 300
# The listing of a run, not the request that a command begins with.
LISTS_ALL = "max-keys=1000"


@pytest.fixture
def slow(source: Side, dest: Side, proxy_b: Proxy) -> tuple[Side, Side]:
    source.put(bodies(f"{n:03}" for n in range(MANY)))
    proxy_b.rule(Delay(0.5), method="PUT")
    return source, Side(proxy_b, dest.bucket)


def states(dth: Dth) -> list[Path]:
    found = dth.states.iterdir() if dth.states.is_dir() else ()
    return sorted(path for path in found if path.name != ".running")


def interrupted(dth: Dth, proxy: Proxy, *command: str) -> Path:
    """Interrupt a sync that has copied something; its state."""
    process = dth.start("s3", "sync", *command)
    wait_for(lambda: proxy.count("PUT", status=200) > 10)
    process.terminate()
    assert dth.end(process).code == 1
    [state] = states(dth)
    return state


@pytest.mark.parametrize("overlap", range(3))
def test_the_same_command_while_it_runs_waits_and_then_has_a_run_of_its_own(
    dth: Dth, slow: tuple[Side, Side], proxy_b: Proxy, overlap: int
) -> None:
    command = ("s3", "sync", *between(*slow), "--json")
    first = dth.start(*command)
    wait_for(lambda: proxy_b.count("PUT") > 30 * overlap)
    others = [dth.start(*command) for _ in range(2)]
    done = [dth.outcome(dth.end(each)) for each in (first, *others)]
    assert [found["transferred"] for found in done] == [MANY, 0, 0]
    assert [found["same"] for found in done] == [0, MANY, MANY]
    assert [found["resumed"] for found in done] == [False] * 3
    assert states(dth) == []
    assert not (dth.states / ".running").exists()


def test_one_that_waited_for_too_long_says_who_has_the_state(
    dth: Dth, slow: tuple[Side, Side], proxy_b: Proxy
) -> None:
    proxy_b.rule(Delay(20), method="PUT")
    first = dth.start("s3", "sync", *between(*slow))
    wait_for(lambda: proxy_b.count("PUT") > 0)
    second = dth.run("s3", "sync", *between(*slow))
    assert second.code == 1
    assert second.err.endswith(f"is in use by process {first.pid}\n")
    first.kill()
    first.communicate()


@pytest.mark.parametrize(
    "changed",
    [
        ("--max-requests-per-second", "500"),
        ("--max-bytes-per-second", "100M"),
        ("--workers", "3"),
        ("--worker-number", "2", "--memory-budget", "64M"),
        ("--part-size", "32M", "--multipart-threshold", "100M"),
        ("--quiet", "--json"),
    ],
)
def test_another_speed_resumes(
    dth: Dth, slow: tuple[Side, Side], proxy_b: Proxy, dest: Side, changed: tuple[str, ...]
) -> None:
    command = between(*slow)
    state = interrupted(
        dth, proxy_b, *command, "--workers", "1", "--max-requests-per-second", "300"
    )
    proxy_b.clear()
    done = dth.run("s3", "sync", *command, *changed)
    assert done.code == 0
    if "--json" in changed:
        assert done.json["resumed"] is True
    else:
        assert f"resuming run 1 ({state})" in done.err
    assert len(dest.listed()) == MANY
    assert states(dth) == []


@pytest.mark.parametrize(
    "changed", [("--exclude", "9*"), ("--compare", "size"), ("--storage-class", "STANDARD_IA")]
)
def test_another_transfer_has_a_state_of_its_own(
    dth: Dth, slow: tuple[Side, Side], proxy_b: Proxy, changed: tuple[str, ...]
) -> None:
    command = between(*slow)
    state = interrupted(dth, proxy_b, *command)
    proxy_b.clear()
    done = dth.run("s3", "sync", *command, *changed)
    assert done.code == 0
    assert "resuming" not in done.err
    assert states(dth) == [state]


def test_an_age_is_the_same_command_at_any_time(
    dth: Dth, slow: tuple[Side, Side], proxy_b: Proxy
) -> None:
    command = (*between(*slow), "--modified-since", "7d")
    interrupted(dth, proxy_b, *command)
    proxy_b.clear()
    assert "resuming run 1" in dth.run("s3", "sync", *command).err
    interrupted_at = states(dth)
    assert interrupted_at == []


@pytest.mark.parametrize("what", ["bucket", "key", "endpoint"])
def test_a_first_try_that_listed_nothing_leaves_no_state(
    dth: Dth, source: Side, dest: Side, proxy_a: Proxy, what: str
) -> None:
    source.put(bodies("ab"))
    command = between(Side(proxy_a, source.bucket), dest)
    if what == "bucket":
        command[0] = "s3://no-such-bucket-anywhere"
    elif what == "key":
        proxy_a.rule(Reply(403, "InvalidAccessKeyId", "no such key"))
    else:
        command[3] = "http://127.0.0.1:9"
    done = dth.run("s3", "sync", *command)
    assert done.code == 2
    assert states(dth) == []


def test_a_mistyped_prefix_leaves_no_state(dth: Dth, source: Side, dest: Side) -> None:
    source.put(bodies(["photos/a"]))
    command = between(source, dest)
    command[0] += "/phots"
    assert dth.run("s3", "sync", *command).code == 1
    assert states(dth) == []


def test_a_folder_is_listed_as_a_folder(dth: Dth, dest: Side) -> None:
    folder = dth.home / "mine"
    folder.mkdir()
    (folder / os.fsdecode(b"bad\xff")).touch()
    command = [str(folder), *between(dest, dest)[1:]]
    assert dth.run("s3", "sync", *command[:2], "--dst-endpoint-url", dest.server.url).code == 1
    listed = dth.here("s3", "state", "ls").out.splitlines()[1]
    assert f"  {folder}/ " in listed


def test_a_listing_that_is_refused_leaves_no_state(
    dth: Dth, source: Side, dest: Side, proxy_a: Proxy
) -> None:
    proxy_a.rule(Reply(403, "AccessDenied", "no"), query=LISTS_ALL)
    done = dth.run("s3", "sync", *between(Side(proxy_a, source.bucket), dest))
    assert done.code == 1
    assert states(dth) == []


def test_a_first_try_that_is_interrupted_before_it_listed_anything_leaves_no_state(
    dth: Dth, source: Side, dest: Side, proxy_a: Proxy
) -> None:
    proxy_a.rule(Delay(20), query=LISTS_ALL)
    process = dth.start("s3", "sync", *between(Side(proxy_a, source.bucket), dest))
    wait_for(lambda: states(dth) and (states(dth)[0] / "task.db").exists())
    time.sleep(0.3)
    process.terminate()
    done = dth.end(process)
    assert (done.code, done.err.splitlines()[-1]) == (
        1,
        "dth: interrupted; run the same command again to resume",
    )
    assert states(dth) == []


def test_a_state_that_was_asked_for_stays(
    dth: Dth, source: Side, dest: Side, proxy_a: Proxy
) -> None:
    proxy_a.rule(Reply(403, "AccessDenied", "no"), query=LISTS_ALL)
    command = between(Side(proxy_a, source.bucket), dest)
    assert dth.run("s3", "sync", *command, "--state", dth.home / "mine").code == 1
    assert (dth.home / "mine" / "task.db").exists()


def test_states_are_listed_and_removed(dth: Dth, slow: tuple[Side, Side], proxy_b: Proxy) -> None:
    source, dest = slow
    state = interrupted(dth, proxy_b, *between(*slow))
    listed = dth.here("s3", "state", "ls").out.splitlines()
    assert len(listed) == 2
    for word in (state.name, f"{source.url}/", f"{dest.url}/", "KiB", "unfinished"):
        assert word in listed[1]
    assert len(dth.here("ecr", "state", "ls").out.splitlines()) == 1

    for arguments, told in (
        ([], "name the states to remove, or give --all"),
        (["--all", state.name], "name the states to remove, or give --all"),
        (["sync-0000"], "there is no state 'sync-0000'; dth s3 state ls lists them"),
        (["../states"], "there is no state '../states'; dth s3 state ls lists them"),
    ):
        refused = dth.here("s3", "state", "rm", *arguments)
        assert (refused.code, refused.err) == (2, f"dth: {told}\n")

    # The earlier rule would apply as well.
    proxy_b.clear()
    proxy_b.rule(Delay(20), method="PUT")
    process = dth.start("s3", "sync", *between(*slow))
    wait_for(
        lambda: (
            dth.here("s3", "state", "ls").out.splitlines()[1].endswith(f"by process {process.pid}")
        )
    )
    for arguments in ([state.name], ["--all"]):
        refused = dth.here("s3", "state", "rm", *arguments)
        assert refused.code == 1
        assert (
            refused.err == f"dth: The state directory {state} is in use by process {process.pid}\n"
        )
    process.kill()
    process.communicate()

    wait_for(lambda: "in use" not in dth.here("s3", "state", "ls").out)
    removed = dth.here("s3", "state", "rm", state.name)
    assert removed.code == 0
    assert removed.out.startswith(f"removed {state.name}\n")
    assert (
        f"aws s3api list-multipart-uploads --bucket {dest.bucket} --endpoint-url {dest.server.url}"
        in removed.out
    )
    assert states(dth) == []


def test_what_is_no_state_of_ours_is_listed_and_removed_all_the_same(dth: Dth) -> None:
    (dth.states / "empty").mkdir(parents=True)
    damaged = dth.states / "sync-damaged"
    damaged.mkdir()
    (damaged / "task.json").write_text('{"srcBucket": "a", "destBucket": "b"}')
    (damaged / "task.db").write_text("this is not a database, and never was" * 100)
    with open_platform(dth.states / "sync-nameless", "test") as platform:
        asyncio.run(platform.records.begin_run(RunKind.SYNC))
    rows = dth.here("s3", "state", "ls").out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["empty", "sync-damaged", "sync-nameless"]
    assert [row.split()[-1] for row in rows] == ["empty", "damaged", "unfinished"]
    assert dth.here("s3", "state", "rm", "--all").code == 0
    assert states(dth) == []


def test_a_home_that_cannot_be_written(dth: Dth, source: Side, dest: Side) -> None:
    (dth.home / "file").touch()
    dth.env["DTH_STATE_DIR"] = str(dth.home / "file" / "states")
    done = dth.run("s3", "sync", *between(source, dest))
    assert (done.code, done.out) == (1, "")
    [line] = done.err.splitlines()
    assert line.startswith(f"dth: The state directory {dth.home}/file/states/sync-")
    assert line.endswith(
        " cannot be used: Not a directory; choose another directory with --state or DTH_STATE_DIR"
    )


def test_a_run_that_began_is_not_lost_with_a_start_that_fails(
    dth: Dth, slow: tuple[Side, Side], proxy_b: Proxy
) -> None:
    state = interrupted(dth, proxy_b, *between(*slow))
    (state / "task.json.new").mkdir()
    done = dth.run("s3", "sync", *between(*slow))
    assert done.code == 1
    assert "Is a directory" in done.err
    (state / "task.json.new").rmdir()
    with sqlite3.connect(state / "task.db") as database:
        assert database.execute("SELECT count(*) FROM run").fetchone() == (1,)
    database.close()
    proxy_b.clear()
    assert "resuming run 1" in dth.run("s3", "sync", *between(*slow)).err
    assert os.listdir(dth.states) == []  # noqa: PTH208
