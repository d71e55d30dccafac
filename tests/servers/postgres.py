"""A PostgreSQL of the tests' own, in a temporary folder."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import psutil

from .process import Process, Server

_numbers = itertools.count()


def _folder_of_programs() -> Path | None:
    """Debian keeps the programs of each version in a folder of its own."""
    folders = [
        each for each in Path("/usr/lib/postgresql").glob("*/bin") if (each / "initdb").exists()
    ]
    if folders:
        return max(folders, key=lambda each: int(re.sub(r"\D", "", each.parent.name)))
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def missing_parts() -> list[str]:
    """What has to be installed before tests can use PostgreSQL: the server, and the driver, which
    is an extra."""
    parts = {"postgresql": _folder_of_programs(), "psycopg": find_spec("psycopg")}
    return [name for name, found in parts.items() if not found]


GUARDED, PASSWORD = "guarded", "correct-horse"
# With these, tests take less time, and a power failure would cost data.
VOLATILE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres(Server):
    """One server with a database for each test. It writes to the disk when it likes, unless it is
    `durable`."""

    def __init__(
        self, *, durable: bool = False, also: str = "", of: Postgres | None = None
    ) -> None:
        """`also`: another address of this machine where it listens. `of`: the server of which this
        one is a streaming replica."""
        programs = _folder_of_programs()
        assert programs is not None, "PostgreSQL is not installed"
        self._psql = programs / "psql"
        self._control = programs / "pg_ctl"
        self._folder = tempfile.TemporaryDirectory(prefix="dth-postgres-")
        self._data = data = Path(self._folder.name) / "data"
        data.mkdir(0o700)
        # The server refuses to run as root. A change of the user forgets that it dies with its
        # parent.
        self._as: list[str] = []
        if os.getuid() == 0:
            user = pwd.getpwnam("postgres")
            for each in (Path(self._folder.name), data):
                os.chown(each, user.pw_uid, user.pw_gid)
            user_and_group = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
            self._as = ["setpriv", *user_and_group, "--pdeathsig=keep"]
        if of:
            self._run(programs / "pg_basebackup", "-D", data, "-d", of.url, "-R", "-c", "fast")
        else:
            self._run(
                programs / "initdb",
                "-D",
                data,
                *["-U", "dth", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
            )
            # This user alone needs a password.
            access = data / "pg_hba.conf"
            access.write_text(f"host all {GUARDED} all scram-sha-256\n{access.read_text()}")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        settings = {
            "listen_addresses": f"127.0.0.1,{also}" if also else "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "64MB",
            **({} if durable else VOLATILE),
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._command = [*self._as, str(programs / "postgres"), "-D", str(data), *options]
        self.url = f"postgresql://dth@127.0.0.1:{port}"
        self.start()
        if not of:
            self.execute(f"CREATE ROLE {GUARDED} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")

    def promote(self) -> None:
        """A replica accepts writes from now on."""
        self._run(self._control, "promote", "-D", self._data)

    def _run(self, *command: str | Path) -> None:
        subprocess.run(
            [*self._as, *map(str, command)], check=True, capture_output=True, cwd=self._folder.name
        )

    def start(self) -> None:
        """Begin to serve, again after `kill`."""
        self.process = Process(self._command)
        self.process.wait_for_line("ready to accept (read-only )?connections")

    def kill(self) -> None:
        """End as in a crash, with all that serve a client."""
        served = psutil.Process(self.process.pid).children(recursive=True)
        self.process.stop(kill=True)
        for each in served:
            with contextlib.suppress(psutil.Error):
                each.kill()
        psutil.wait_procs(served)

    def database(self, encoding: str = "UTF8") -> str:
        """The address of a new, empty database."""
        name = f"test_{next(_numbers)}"
        # Copied as files: a server that comes back after a crash would write all of them again.
        self.execute(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' STRATEGY file_copy"
        )
        return f"{self.url}/{name}"

    def drop(self, address: str) -> None:
        """Remove a database, whoever uses it."""
        self.execute(f"DROP DATABASE {address.rpartition('/')[2]} WITH (FORCE)")

    def guarded(self, address: str, password: str = "") -> str:
        """The same database for the user who needs a password."""
        user = f"{GUARDED}:{password}" if password else GUARDED
        return address.replace("dth@", f"{user}@")

    def execute(self, statement: str) -> None:
        """Run a statement that is not about the tables of a test."""
        subprocess.run(
            [self._psql, "-Xqc", statement, f"{self.url}/postgres"], check=True, capture_output=True
        )

    def close(self) -> None:
        self.process.stop()
        self._folder.cleanup()
