"""Machines that help with the tasks of a database: `dth worker`, each with a home of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING, Self

import psutil

from tests.engine import Dth

if TYPE_CHECKING:
    from pathlib import Path


class Machines:
    """Machines that help, each with a home of its own."""

    def __init__(self, folder: Path, address: str, key: str) -> None:
        """`key`: of the hub's secrets."""
        self._folder, self._address, self._key = folder, address, key
        self.all: list[tuple[Dth, subprocess.Popen[str]]] = []

    def start(
        self, *, key: str | None = None, allow: str = "[loopback]", workers: int = 1, **env: str
    ) -> subprocess.Popen[str]:
        home = self._folder / f"machine-{len(self.all)}"
        data = home / "data"
        data.mkdir(parents=True)
        if allow:
            (data / "hub.yaml").write_text(f"network: {{allow: {allow}}}\n")
        dth = Dth(home)
        # These would do at the stores, but not for the users of a hub.
        dth.secret("keys", "local", "local-secret")
        dth.env |= {
            "DTH_KEY": self._key if key is None else key,
            "AWS_ACCESS_KEY_ID": "",
            "AWS_SECRET_ACCESS_KEY": "",
        }
        dth.env |= env
        options = ("--database", self._address, "--workers", str(workers), "--data-dir", data)
        with (home / "said").open("w") as said:
            process = dth.start("worker", *options, stderr=said)
        self.all.append((dth, process))
        return process

    def said(self, process: subprocess.Popen[str]) -> str:
        """All that it has said so far."""
        return next((dth.home / "said").read_text() for dth, each in self.all if each is process)

    def end(self, process: subprocess.Popen[str]) -> str:
        """Ask it to end; what it said."""
        process.terminate()
        assert process.wait(60) == 0, self.said(process)
        return self.said(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _, process in self.all:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


def ask(address: str, statement: str) -> list[tuple[object, ...]]:
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        return connection.execute(statement).fetchall()


def helpers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker processes of a machine."""
    return [
        each
        for each in psutil.Process(process.pid).children(recursive=True)
        if each.name().startswith("dth-worker")
    ]


def holds(address: str, process: subprocess.Popen[str]) -> bool:
    """Whether a machine has taken messages."""
    held = "SELECT FROM dth.message WHERE receipt IS NOT NULL AND owner LIKE '%-{}-%'"
    return ask(address, held.format(process.pid)) != []
