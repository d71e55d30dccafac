"""`dth aws` as a user types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.aws.emulator.region import Region


class Command:
    """`dth aws` against the region."""

    def __init__(self, region: Region) -> None:
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ENDPOINT_URL": region.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def __call__(self, *arguments: str, **env: str) -> tuple[int, str, str]:
        """Exit code, standard output and error."""
        ran = subprocess.run(
            [Path(sys.executable).with_name("dth"), "aws", *arguments],
            env={name: value for name, value in {**self._env, **env}.items() if value},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in ran.stderr
        return ran.returncode, ran.stdout, ran.stderr
