"""A real Ceph on one node, in memory: a monitor, a store for objects, and the S3 gateway (RGW).

RGW of Ceph 16 ignores x-amz-checksum headers, and has ACLs, tags and versions of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from string import Template

from .process import Process, answers, listening_socket
from .s3 import S3Server

COMMANDS = (
    "radosgw",
    "radosgw-admin",
    "ceph",
    "ceph-mon",
    "ceph-osd",
    "ceph-authtool",
    "monmaptool",
)

# One copy of each object, few placement groups, and no rule that needs other nodes or a full disk.
_CONFIG = """
[global]
fsid = $fsid
mon host = $monitor
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind msgr1 = false
keyring = $folder/keyring
run dir = $folder/run
admin socket = $folder/run/$$name.$$pid.asok
log file = $folder/$$name.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
crush location = root=default host=localhost
# Do not collect changes of the map before they are agreed on: there is nobody to agree with.
paxos propose interval = 0.02
paxos min wait = 0.01
[mon]
mon data = $folder/mon
auth allow insecure global id reclaim = false
mon allow pool size one = true
mon max pg per osd = 5000
mon data avail crit = 1
mon data avail warn = 2
[osd]
osd data = $folder/osd
osd objectstore = memstore
memstore device bytes = $memory
[client]
rgw frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw data = $folder/rgw
rgw enable ops log = false
rgw enable usage log = false
debug rgw = 0/0
"""
_ALL = "allow *"
_MEMORY = 4 << 30  # bytes that objects may take; used as they come


def missing_commands() -> list[str]:
    """The commands of Ceph that are not installed."""
    return [command for command in COMMANDS if shutil.which(command) is None]


def _free_port() -> int:
    with listening_socket() as listener:
        port: int = listener.getsockname()[1]
        return port


class Ceph(S3Server):
    access_key = "ceph-access-key"
    secret_key = "ceph-secret-key"
    region = "default"

    def __init__(self) -> None:
        if missing := missing_commands():
            raise RuntimeError(f"not installed: {', '.join(missing)}")
        self._folder = tempfile.TemporaryDirectory(prefix="dth-ceph-")
        folder = Path(self._folder.name)
        for name in ("mon", "osd", "run", "rgw"):
            (folder / name).mkdir()
        self._env = {"CEPH_CONF": str(folder / "ceph.conf")}
        self._processes: list[Process] = []
        try:
            self._start(folder)
        except BaseException:
            self.close()
            raise

    def _start(self, folder: Path) -> None:
        fsid = str(uuid.uuid4())
        monitor = f"[v2:127.0.0.1:{_free_port()}]"
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        values = {
            "fsid": fsid,
            "monitor": monitor,
            "folder": str(folder),
            "port": port,
            "memory": _MEMORY,
        }
        (folder / "ceph.conf").write_text(Template(_CONFIG).substitute(values))

        keyring, monmap = str(folder / "keyring"), str(folder / "monmap")
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", monitor, monmap)
        self._run(
            "ceph-authtool",
            "--create-keyring",
            keyring,
            "--gen-key",
            "-n",
            "mon.",
            "--cap",
            "mon",
            _ALL,
        )
        for name, mon in (("client.admin", _ALL), ("osd.0", "allow profile osd")):
            caps = ("--cap", "mon", mon, "--cap", "osd", _ALL)
            self._run("ceph-authtool", keyring, "--gen-key", "-n", name, *caps)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        self._serve("ceph-mon", "-i", "a", "-f")
        osd = str(uuid.uuid4())
        self._run("ceph", "--connect-timeout", "30", "osd", "new", osd, "0")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._serve("ceph-osd", "-i", "0", "-f")
        keys = ("--access-key", self.access_key, "--secret-key", self.secret_key)
        self._run(
            "radosgw-admin", "user", "create", "--uid", "test", "--display-name", "test", *keys
        )
        gateway = self._serve("radosgw", "-n", "client.admin", "-f")
        gateway.wait_until(lambda: answers(port) and self.request("GET", "/")[0] == 200, seconds=60)

    def _run(self, *command: str) -> None:
        """Run a command to its end."""
        done = subprocess.run(
            command,
            env={**os.environ, **self._env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(
                f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
            )

    def _serve(self, *command: str) -> Process:
        self._processes.append(Process(command, env=self._env))
        return self._processes[-1]

    def close(self) -> None:
        for process in reversed(self._processes):
            process.stop(kill=True)
        self._folder.cleanup()
