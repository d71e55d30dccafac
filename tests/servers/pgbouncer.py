"""PgBouncer in front of a PostgreSQL of the tests, in its transaction mode."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .process import Process, Server, answers

if TYPE_CHECKING:
    from .postgres import Postgres

SETTINGS = """
[databases]
* = host=127.0.0.1 port={server} user=dth
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 200
"""


class PgBouncer(Server):
    """`connections`: to each database."""

    def __init__(self, server: Postgres, connections: int = 5) -> None:
        program = shutil.which("pgbouncer")
        if program is None and os.environ.get("CI") != "true":
            pytest.skip("pgbouncer is not installed")
        assert program is not None, "pgbouncer is not installed"
        self._folder = tempfile.TemporaryDirectory(prefix="dth-pgbouncer-")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        settings = Path(self._folder.name) / "pgbouncer.ini"
        settings.write_text(SETTINGS.format(server=server.port, port=port, connections=connections))
        command = [program, str(settings)]
        if os.getuid() == 0:
            # It refuses to run as root.
            user = pwd.getpwnam("postgres")
            for each in (Path(self._folder.name), settings):
                os.chown(each, user.pw_uid, user.pw_gid)
            command = [program, "-u", "postgres", str(settings)]
        self.process = Process(command)
        self.process.wait_until(lambda: answers(port))
        self.url = f"postgresql://dth@127.0.0.1:{port}"

    def close(self) -> None:
        self.process.stop(kill=True)
        self._folder.cleanup()
