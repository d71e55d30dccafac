"""`dth aws` as a user types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.aws.emulator.region import Region


# What `dth` starts, except that the templates are copied: to make them takes seconds each time.
WITH_TEMPLATES = """
import shutil, sys
from pathlib import Path
from dth.__main__ import main
from dth.infra import publish
made = [Path(sys.argv.pop(1)) for _ in range(int(sys.argv.pop(1)))]
publish.synth = lambda folder: {each.stem: Path(shutil.copy(each, folder)) for each in made}
main()
"""


class Command:
    """`dth aws` against the region. `templates`: those that it would make, if they are there
    already."""

    def __init__(self, region: Region, templates: Mapping[str, Path] | None = None) -> None:
        self._program: list[str | Path] = [Path(sys.executable).with_name("dth")]
        if templates is not None:
            made = [templates[name] for name in ("s3", "ecr", "hub", "hub-oidc", "image")]
            self._program = [sys.executable, "-c", WITH_TEMPLATES, str(len(made)), *made]
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
            [*self._program, "aws", *arguments],
            env={name: value for name, value in {**self._env, **env}.items() if value},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in ran.stderr
        return ran.returncode, ran.stdout, ran.stderr
