"""A second signal soon after the first, and one while a command starts: words and exit code 1,
whatever comes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine import Dth, Side, between, bodies, wait_for
from tests.hub import Hub
from tests.servers.proxy import Delay, Proxy

SIGNALS = pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"]
)


@pytest.fixture
def many(source: Side, dest: Side, proxy_b: Proxy) -> list[str]:
    """The sides of a sync that takes long."""
    source.put(bodies(f"{n:03}" for n in range(200)))
    proxy_b.rule(Delay(0.2), method="PUT")
    return between(source, Side(proxy_b, dest.bucket))


@SIGNALS
@pytest.mark.parametrize("pause", [0.0, 0.05, 0.3])
def test_two_signals_end_a_sync_with_words(
    dth: Dth, many: list[str], proxy_b: Proxy, number: int, pause: float
) -> None:
    process = dth.start("s3", "sync", *many, "--workers", "1")
    wait_for(lambda: proxy_b.count("PUT") > 5)
    process.send_signal(number)
    time.sleep(pause)
    process.send_signal(number)
    done = dth.end(process)
    assert done.code == 1
    assert "dth: interrupted; run the same command again to resume" in done.err


@SIGNALS
def test_signals_without_end_end_a_sync_with_words(
    dth: Dth, many: list[str], proxy_b: Proxy, number: int
) -> None:
    process = dth.start("s3", "sync", *many, "--workers", "1")
    wait_for(lambda: proxy_b.count("PUT") > 5)
    while process.poll() is None:
        os.killpg(process.pid, number)
        time.sleep(0.001)
    done = dth.end(process)
    assert done.code == 1
    assert "dth: interrupted" in done.err


def listens(pid: int) -> bool:
    """Whether our first lines have run, which set a handler for SIGTERM (one for SIGINT is Python's
    own)."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(re.search(r"SigCgt:\s*([0-9a-f]+)", status)[1], 16)  # type: ignore[index]
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@SIGNALS
@pytest.mark.parametrize("command", ["ls", "diff", "sync", "up"])
def test_a_signal_at_any_moment_of_the_start(
    dth: Dth, source: Side, dest: Side, proxy_a: Proxy, number: int, command: str
) -> None:
    proxy_a.rule(Delay(20))
    sides = between(Side(proxy_a, source.bucket), dest)
    arguments = {
        "ls": ["s3", "ls", sides[0], *sides[2:4]],
        "diff": ["s3", "diff", *sides],
        "sync": ["s3", "sync", *sides],
        "up": ["up", "--port", "0", "--data-dir", str(dth.home / "data")],
    }[command]
    for pause in (0.0, 0.03, 0.1, 0.2, 0.3, 0.5):
        process = dth.start(*arguments)
        wait_for(lambda: listens(process.pid))  # noqa: B023
        time.sleep(pause)
        process.send_signal(number)
        done = dth.end(process, seconds=20)
        # A hub that runs ends in order.
        if "Hub runs" in done.out:
            assert done.code == 0
            continue
        assert (done.code, done.out) == (1, "")
        assert "dth: interrupted" in done.err


def test_two_signals_end_a_hub_in_order(tmp_path: Path) -> None:
    with Hub(tmp_path) as hub:
        for _ in range(3):
            hub.process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        assert hub.process.wait(30) == 0


def test_a_signal_to_the_whole_group_drains(
    dth: Dth, many: list[str], proxy_b: Proxy, dest: Side
) -> None:
    """`timeout` and service managers signal all processes at once: the fork server does not end
    before its children."""
    process = dth.start("s3", "sync", *many, "--workers", "1")
    wait_for(lambda: proxy_b.count("PUT", status=200) > 20)
    os.killpg(process.pid, signal.SIGTERM)
    done = dth.end(process)
    assert done.code == 1
    assert "dth: interrupted; run the same command again to resume" in done.err
    assert dth.run("s3", "sync", *many).code == 0
    # What was in hand was finished, so no object went twice.
    sent = [request.key for request in proxy_b.seen("PUT")]
    assert len(sent) == len(set(sent)) == 200


def test_the_words_come_from_a_process_that_imports(dth: Dth) -> None:
    """Before the command's own code is loaded."""
    code = (
        "import os, signal; from dth.core import interrupts; interrupts.handle(interrupts.leave); "
        "os.kill(os.getpid(), signal.SIGTERM)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **dth.env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "dth: interrupted\n")
