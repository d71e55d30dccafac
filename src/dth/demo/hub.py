"""The hub that the demo's transfer is a task of: `dth up`, a process of its own, with a data
directory of its own."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dth.core.errors import HubError
from dth.demo.stores import end_with_parent
from dth.hub.client import HubClient, with_token

START_LIMIT = 60.0  # seconds that the hub may take to answer
STOP_LIMIT = 40.0  # seconds that it may take to end before it is killed
WELCOME = re.compile(r"runs at (\S+).*?signed in yet.*?\n\s+(\S+)\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class DemoHub:
    """A hub that answers. `password`: of the user admin, to be changed at the first sign-in."""

    url: str
    password: str
    token: str

    @property
    def client(self) -> HubClient:
        return HubClient(self.url, with_token(lambda: self.token))


@contextlib.contextmanager
def demo_hub(folder: Path) -> Iterator[DemoHub]:
    """A hub while this lasts; it ends with the block and with this process, however that ends."""
    folder.mkdir()
    log, data = folder / "log", folder / "data"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dth", "up", "--data-dir", str(data), "--port", "0"],
            # Its tables are in its data directory, whatever else this user does.
            env={**os.environ, "PYTHONUNBUFFERED": "1", "DTH_DATABASE": ""},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,  # Ctrl-C is for us to handle
            preexec_fn=end_with_parent(),
        )
    try:
        url, password = _wait(process, log)
        yield DemoHub(url, password, _token(data))
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], log: Path) -> tuple[str, str]:
    deadline = time.monotonic() + START_LIMIT
    while process.poll() is None and time.monotonic() < deadline:
        if found := WELCOME.search(log.read_text("utf-8", "replace")):
            return found[1], found[2]
        time.sleep(0.05)
    words = log.read_text("utf-8", "replace").strip().splitlines() or ["it did not answer"]
    raise HubError(f"the hub of the demo did not start: {words[-1]}")


def _token(data: Path) -> str:
    command = [
        sys.executable,
        "-m",
        "dth",
        "token",
        "create",
        "--data-dir",
        str(data),
        "--role",
        "operator",
    ]
    made = subprocess.run([*command, "--name", "demo"], capture_output=True, text=True, check=False)
    if made.returncode:
        raise HubError(f"the hub of the demo gives no token: {made.stderr.strip()}")
    return made.stdout.strip().splitlines()[-1]
