"""Containers by podman from Debian, with storage of their own, in the network of this machine.

podman runs as root in a mount namespace that has version 2 of cgroups alone, because crun refuses
machines that have both. crun leaves cgroups alone: pods need their names, and nobody their limits.
So podman runs inside a container, too, if that may mount.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import pytest

from .process import Process

NAMESPACE = """
umount /sys/fs/cgroup/unified 2>/dev/null
mount -t cgroup2 none /sys/fs/cgroup && echo ready && exec sleep infinity
"""
SETTINGS = """
[containers]
cgroups = "enabled"
netns = "host"
log_driver = "k8s-file"
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "crun"
[engine.runtimes]
crun = ["{runtime}"]
"""
# What needs rights that a container does not have: cgroups and their rules for devices.
RUNTIME = """#!/usr/bin/python3
import json, os, sys

if "create" in sys.argv:
    file = os.path.join(sys.argv[sys.argv.index("--bundle") + 1], "config.json")
    with open(file) as stream:
        config = json.load(stream)
    config["linux"].pop("resources", None)
    with open(file, "w") as stream:
        json.dump(config, stream)
os.execvp("crun", ["crun", "--cgroup-manager=disabled", *sys.argv[1:]])
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

    def __init__(self) -> None:
        # podman takes no long path.
        self._folder = tempfile.TemporaryDirectory(prefix="dth-podman-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        self._settings = folder / "containers.conf"
        files, processes = (
            min(4096, resource.getrlimit(each)[1])
            for each in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)
        )
        runtime = folder / "runtime"
        runtime.write_text(RUNTIME)
        runtime.chmod(0o755)
        self._settings.write_text(
            SETTINGS.format(files=files, processes=processes, runtime=runtime)
        )
        self._storage = ["--root", str(folder / "root"), "--runroot", str(folder / "run")]
        self._namespace = Process(["unshare", "--mount", "sh", "-c", NAMESPACE])
        self._namespace.wait_for_line("ready")

    def run(self, *arguments: str, code: int = 0, errors: bool = False) -> str:
        """What it printed: as an error if it fails as it should, and with `errors` both."""
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
        if errors:
            return ran.stdout + ran.stderr
        return ran.stdout if code == 0 else ran.stderr

    def wait_for(self, container: str, words: str, seconds: float = 60.0) -> str:
        """What the container printed, once these words are in it."""
        deadline = time.monotonic() + seconds
        while words not in (printed := self.run("logs", container, errors=True)):
            assert time.monotonic() < deadline, printed
            time.sleep(0.1)
        return printed

    def close(self) -> None:
        self.run("pod", "rm", "--all", "--force", "--time", "1")
        self.run("rm", "--all", "--force", "--time", "1")
        self.run("rmi", "--all", "--force")
        self._namespace.stop()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
