"""Containers by podman from Debian, with storage of their own, in the network of this machine.

podman runs as root in a mount namespace that has version 2 of cgroups alone, because crun refuses
machines that have both. It leaves cgroups alone, and asks for no more open files than there may be:
so it runs inside a container, too, if that may mount.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Self

import pytest

from .process import Process

if TYPE_CHECKING:
    from pathlib import Path

NAMESPACE = """
umount /sys/fs/cgroup/unified 2>/dev/null
mount -t cgroup2 none /sys/fs/cgroup && echo ready && exec sleep infinity
"""
SETTINGS = """
[containers]
cgroups = "disabled"
netns = "host"
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
"""


def skip_without_podman() -> None:
    """Skip the test where containers cannot run. With CI=true, only the kernel may be the
    reason."""
    if shutil.which("podman") is None and os.environ.get("CI") != "true":
        pytest.skip("podman is not installed")
    allowed = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    if subprocess.run(allowed, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount here, so no container runs")


class Podman:
    """`run` runs a command of podman; `.start` a container that goes on."""

    def __init__(self, folder: Path) -> None:
        self._settings = folder / "containers.conf"
        files, processes = (
            min(4096, resource.getrlimit(each)[1])
            for each in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)
        )
        self._settings.write_text(SETTINGS.format(files=files, processes=processes))
        self._storage = ["--root", str(folder / "root"), "--runroot", str(folder / "run")]
        self._namespace = Process(["unshare", "--mount", "sh", "-c", NAMESPACE])
        self._namespace.wait_for_line("ready")

    def run(self, *arguments: str, code: int = 0) -> str:
        ran = subprocess.run(
            [
                *("nsenter", "--mount", "--target", str(self._namespace.pid)),
                *("podman", *self._storage, *arguments),
            ],
            env={**os.environ, "CONTAINERS_CONF": str(self._settings)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout if code == 0 else ran.stderr

    def wait_for(self, container: str, words: str, seconds: float = 60.0) -> str:
        """What the container printed, once these words are in it."""
        deadline = time.monotonic() + seconds
        while words not in (printed := self.run("logs", container)):
            assert time.monotonic() < deadline, printed
            time.sleep(0.1)
        return printed

    def close(self) -> None:
        self.run("pod", "rm", "--all", "--force", "--time", "1")
        self.run("rm", "--all", "--force", "--time", "1")
        self.run("rmi", "--all", "--force")
        self._namespace.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
