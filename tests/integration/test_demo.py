"""`dth demo`: what it shows, what it leaves behind, and that its verification can fail."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dth.demo import run
from dth.demo.objects import ODD_KEYS, samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.ministack import MiniStack

MODULE = [sys.executable, "-m", "dth", "demo"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts commands whose temporary files are in `tmp_path`, with settings around them that must
    not matter."""
    started = []

    def popen(command: list[str]) -> subprocess.Popen[str]:
        env = os.environ | {
            "TMPDIR": str(tmp_path),
            "AWS_PROFILE": "nobody",
            "http_proxy": "http://127.0.0.1:1",
            "COLUMNS": "60",
        }
        process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        return process

    yield popen
    for process in started:
        process.kill()
        process.communicate()


def processes_in(folder: Path) -> list[str]:
    """Command lines of the processes whose temporary files are in the folder."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"TMPDIR={folder}".encode() in environ.read_bytes():
                found.append(environ.with_name("cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_every_object_arrives_and_nothing_is_left_behind(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = start([*MODULE, "--objects", "60"])
    output, _ = process.communicate(timeout=300)

    count = len(samples(60))
    assert process.returncode == 0, output
    assert f"{count} listed, 0 same, {count} transferred" in output
    assert re.search(rf"verified in both stores +{count} of {count}\n", output)
    assert re.search(r"copied by the second run +0\n", output)
    assert re.search(r"failures +0\n", output)
    assert "--src-endpoint-url http://127.0.0.1:" in output
    assert "Traceback" not in output
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_interrupted_it_takes_its_stores_along(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, number: signal.Signals
) -> None:
    process = start([*MODULE, "--objects", "10"])
    assert process.stdout
    first_lines = [process.stdout.readline(), process.stdout.readline()]
    assert first_lines[1].startswith("Filling")
    assert len(processes_in(tmp_path)) >= 5  # the demo, two stores, the hub and its fork server

    process.send_signal(number)
    output, _ = process.communicate(timeout=60)

    assert within(10, lambda: not processes_in(tmp_path))
    if number is not signal.SIGKILL:
        assert process.returncode == 1
        assert output.strip() == "dth: interrupted"
        assert list(tmp_path.iterdir()) == []


def test_without_the_servers_one_line_says_what_to_install(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    code = "import sys; sys.modules['ministack'] = None; from dth.cli.main import main; main()"
    process = start([sys.executable, "-c", code, "demo"])
    output, _ = process.communicate(timeout=60)
    assert output == (
        "dth: the demo needs its two test servers: pip install 'data-transfer-hub[demo]'\n"
    )
    assert process.returncode == 2


def test_odd_keys_are_odd_in_every_way() -> None:
    assert len(set(ODD_KEYS)) == len(ODD_KEYS) >= 30
    assert max(len(key.encode()) for key in ODD_KEYS) == 1024


def test_verification_sees_what_is_wrong(s3_a: MiniStack, s3_b: MiniStack) -> None:
    urls = (s3_a.url, s3_b.url)
    chosen = samples(4)[:4]
    other_metadata, good, other_content, missing = chosen
    try:
        digests = run.fill(urls, chosen, lambda count: None)
        s3_b.put("destination", good.key, good.chunk(0), good.headers)
        s3_b.put(
            "destination", other_content.key, b"\0" * other_content.size, other_content.headers
        )
        s3_b.put("destination", other_metadata.key, other_metadata.chunk(0))
        s3_b.put("destination", "not from here", b"")

        verified = run.verify(urls, chosen, digests, lambda count: None)
    finally:
        for server, bucket in zip((s3_a, s3_b), run.BUCKETS, strict=True):
            server.drop(bucket)
    assert verified.objects == 1
    assert {problem.partition(": ")[0] for problem in verified.problems} == {"destination"}
    for expected in (
        "key 'not from here' should not be there",
        f"key {other_content.key!r}: the content is another one",
        f"key {other_metadata.key!r}: cache-control is 'missing', was 'max-age=3600'",
        f"key {other_metadata.key!r}: x-amz-tagging is '', was 'team=blue&number=0'",
        f"key {missing.key!r}: GET ",
    ):
        assert any(expected in problem for problem in verified.problems), verified.problems
    assert not any(repr(good.key) in problem for problem in verified.problems)
