"""A fork server that is killed, as when memory runs out, takes its supervisor along, which is then
started again."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import psutil

from dth.platforms.local.fork_server import LOST
from tests.engine import Dth, Side, between, bodies, wait_for
from tests.hub import Hub
from tests.servers.proxy import Delay, Proxy

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path


def fork_server_of(process: subprocess.Popen[str]) -> int:
    [child] = psutil.Process(process.pid).children()
    return int(child.pid)


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_an_idle_hub_ends_with_its_fork_server(tmp_path: Path) -> None:
    with Hub(tmp_path) as hub:
        assert [status(f"{hub.url}/{path}") for path in ("healthz", "readyz")] == [200, 200]
        os.kill(fork_server_of(hub.process), signal.SIGKILL)
        assert hub.process.wait(20) == 1
        assert hub.output.read_text().splitlines()[-1] == f"dth: {LOST}"


def test_a_hub_at_work_ends_with_its_fork_server_and_goes_on_when_started_again(
    tmp_path: Path, source: Side, dest: Side, proxy_b: Proxy
) -> None:
    source.put(bodies(f"{n:03}" for n in range(60)))
    proxy_b.rule(Delay(0.3), method="PUT")
    with Hub(tmp_path) as hub:
        task = hub.create(source, Side(proxy_b, dest.bucket), destPrefix="one")
        stopping = hub.create(source, Side(proxy_b, dest.bucket), destPrefix="other")
        wait_for(lambda: proxy_b.count("PUT", status=200) > 10)
        hub.do("stopTask", stopping)
        os.kill(fork_server_of(hub.process), signal.SIGKILL)
        assert hub.process.wait(20) == 1
        assert hub.output.read_text().splitlines()[-1] == f"dth: {LOST}"
        proxy_b.clear()
        hub.start()
        wait_for(lambda: hub.task(task)["progress"] == "DONE")
        wait_for(lambda: hub.task(stopping)["progress"] == "STOPPED")
        assert {f"one/{key}" for key in source.listed()} <= set(dest.listed())


def test_a_sync_ends_with_its_fork_server_in_one_line_and_the_same_command_resumes(
    dth: Dth, source: Side, dest: Side, proxy_b: Proxy
) -> None:
    source.put(bodies(f"{n:03}" for n in range(100)))
    proxy_b.rule(Delay(0.2), method="PUT")
    command = (
        "s3",
        "sync",
        *between(source, Side(proxy_b, dest.bucket)),
        "--quiet",
        "--workers",
        "1",
    )
    process = dth.start(*command)
    wait_for(lambda: proxy_b.count("PUT", status=200) > 10)
    os.kill(fork_server_of(process), signal.SIGKILL)
    done = dth.end(process)
    assert (done.code, done.out, done.err) == (1, "", f"dth: {LOST}\n")
    again = dth.outcome(dth.run(*command, "--json"))
    assert again["resumed"] is True
    assert dest.listed() == source.listed()
