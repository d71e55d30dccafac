"""`rclone serve s3`: a deliberately quirky store, as some S3-compatible ones are.

It answers ranges with 200 and a Content-Range, overwrites in spite of If-None-Match, loses a
trailing "/" of a key, and knows neither ACLs nor tags.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from .process import Process
from .s3 import S3Server


def rclone_command() -> str:
    """The rclone that came with the development dependencies, or the one on the PATH."""
    beside_python = Path(sys.executable).with_name("rclone")
    command = str(beside_python) if beside_python.exists() else shutil.which("rclone")
    if command is None:
        raise RuntimeError("rclone is not installed")
    return command


class RcloneServe(S3Server):
    """Buckets are folders under `.folder`."""

    secret_key = "testtest"

    def __init__(self, *, auth: bool = True) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dth-rclone-")
        self.folder = Path(self._folder.name) / "buckets"
        self.folder.mkdir()
        self.process = Process(
            [
                *(
                    rclone_command(),
                    "serve",
                    "s3",
                    "--addr",
                    "127.0.0.1:0",
                    "--vfs-cache-mode",
                    "off",
                ),
                *(["--auth-key", f"{self.access_key},{self.secret_key}"] if auth else []),
                str(self.folder),
            ],
            # Neither the user's rclone settings nor its caches have a part in tests.
            env={"RCLONE_CONFIG": "/dev/null", "XDG_CACHE_HOME": self._folder.name},
        )
        self.url = self.process.wait_for_line(r"on \[(http://127\.0\.0\.1:\d+)/\]")[1]

    def close(self) -> None:
        self.process.stop()
        self._folder.cleanup()
