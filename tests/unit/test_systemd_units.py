"""The units of deploy/systemd: systemd understands them, and finds little that they may do."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.servers.process import REPOSITORY
from tests.unit.test_docs import parse

if TYPE_CHECKING:
    from pathlib import Path

UNITS = sorted((REPOSITORY / "deploy/systemd").iterdir())
SERVICES = [each for each in UNITS if each.suffix == ".service"]
pytestmark = pytest.mark.skipif(
    not shutil.which("systemd-analyze") and os.environ.get("CI") != "true",
    reason="systemd-analyze is not installed",
)


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_service_may_do_little(unit: Path) -> None:
    """Below 3 of 10: systemd calls that OK."""
    found = analyze("security", "--offline=true", "--threshold=29", str(unit))
    assert found.returncode == 0, found.stdout + found.stderr
    [exposure] = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", found.stdout)
    assert float(exposure) < 3


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_it(unit: Path, tmp_path: Path) -> None:
    for each in UNITS:
        # What is not installed here would be the only complaint.
        text = each.read_text("utf-8").replace("/opt/dth/bin/dth", "/bin/true")
        (tmp_path / each.name).write_text(text)
    found = analyze("verify", "--man=no", str(tmp_path / unit.name))
    complaints = [line for line in found.stderr.splitlines() if "data-transfer-hub" in line]
    assert (found.returncode, complaints) == (0, []), found.stderr


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_its_command_is_one(unit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the file of its environment would say.
    monkeypatch.setenv("DTH_DATABASE", "postgresql://dth@db/dth")
    text = unit.read_text("utf-8").replace("$$", "$").replace("%%", "%")
    [line] = re.findall(r"^ExecStart=.*?/opt/dth/bin/dth (.*?)'?$", text, re.MULTILINE)
    parse(shlex.split(line))
