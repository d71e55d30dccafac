"""What starts a transfer imports what it needs, and no more: that is most of what a small one
costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

FOREIGN = {"sqlalchemy", "rich", "botocore", "boto3", "awscrt", "pyarrow", "yaml"}
HUB = ("dth.hub.ports", "dth.hub.model", "dth.hub.monitoring", "dth.platforms.local.hub_")
OTHERS = ("dth.platforms.aws", "dth.infra")


@pytest.mark.parametrize(
    ("plugin", "other"), [("s3", "dth.images"), ("ecr", "dth.objects.transfer.worker")]
)
def test_a_command_imports_neither_the_hub_nor_the_other_plugin(plugin: str, other: str) -> None:
    code = f"import sys, dth.__main__, dth.cli.{plugin}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = done.stdout.split()
    assert not {name.partition(".")[0] for name in found} & FOREIGN
    assert not [name for name in found if name.startswith((*HUB, *OTHERS, other))]


def test_a_command_for_objects_imports_no_second_http_client() -> None:
    code = "import sys, dth.__main__, dth.cli.s3; print('urllib.request' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
