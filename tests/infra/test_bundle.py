"""What is packed for functions and machines: for the right processor, the same every time, and able
to start."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from dth.core.errors import StateError
from dth.infra import bundle
from dth.infra.bundle import Target, make_tree, needed, pinned, unpinned, write_tar, write_zip
from tests.conftest import made_once
from tests.servers.process import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

HERE = Target(platform.machine(), f"{sys.version_info.major}.{sys.version_info.minor}")


ECHO = REPOSITORY / "tests" / "plugins" / "echo"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For this machine, packed where a third plugin is installed.

    tests/aws/test_deploy.py looks at what is packed for the machines of AWS.
    """
    return made_once(tmp_path_factory, "tree", _make_tree)


def _make_tree(folder: Path) -> None:
    program = f"""
from pathlib import Path
from dth.infra.bundle import Target, make_tree
make_tree(Target({HERE.machine!r}, {HERE.python!r}), Path({str(folder)!r}))
"""
    path = f"{REPOSITORY / 'src'}:{ECHO}"
    subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, check=True
    )


def test_what_runs_on_aws_starts_from_the_tree_alone(tree: Path, tmp_path: Path) -> None:
    program = """
import sys
import dth.compose.aws.agent, dth.compose.aws.copy_images
from dth.compose.aws.functions import console, hub, images, objects
from dth.core.plugins import plugins
assert plugins().keys() == {"S3EC2", "ECR", "ECHO"}, plugins()
foreign = [name for name, module in sys.modules.items()
           if (getattr(module, "__file__", None) or "").find("site-packages") >= 0]
assert not foreign, foreign
assert "aws_cdk" not in sys.modules and "boto3" not in sys.modules
"""
    ran = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PYTHONPATH": str(tree), "PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_archives_are_the_same_every_time(tree: Path, tmp_path: Path) -> None:
    # Our package, programs, and a library of each kind: all of them would take seconds to compress.
    tree, whole = tmp_path / "tree", tree
    for name in ("dth", "bin", "pycurl", "uvloop", "click"):
        for each in whole.glob(f"{name}*"):
            (shutil.copytree if each.is_dir() else shutil.copy)(each, tree / each.name)
    for number in ("one", "two"):
        write_zip(tree, tmp_path / f"{number}.zip")
        write_tar(tree / "dth", tmp_path / f"{number}.tar")
        os.utime(next(tree.rglob("*.py")), (1, 1))
    for name in ("zip", "tar"):
        assert (tmp_path / f"one.{name}").read_bytes() == (tmp_path / f"two.{name}").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as packed:
        names = set(packed.namelist())
    with tarfile.open(tmp_path / "one.tar") as packed_tar:
        assert {f"dth/{name}" for name in packed_tar.getnames()} < names
    assert "dth/compose/aws/functions/objects.py" in names
    assert not [
        name for name in names if name.startswith(("dth/_console", "bin/")) or "__pycache__" in name
    ]


def test_only_what_the_base_needs_is_in_it(tree: Path) -> None:
    names = needed(HERE)
    assert {"botocore", "pycurl", "uvloop"} <= names
    assert names.isdisjoint({"boto3", "aws-cdk-lib", "pytest", "ministack", "pyarrow", "psycopg"})
    assert needed(HERE, frozenset({"postgres"})) - names >= {"psycopg", "psycopg-binary"}
    text = pinned(names)
    versions = [line for line in text.splitlines() if "==" in line]
    assert len(versions) == len(names)
    assert text.count("--hash=sha256:") >= len(names)


def test_a_plugin_brings_its_dependencies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        bundle, "_requires", {"echo": ["ministack", "click"], "ministack": [], "click": []}.get
    )
    monkeypatch.setattr(bundle, "distributions", lambda: ["echo"])
    monkeypatch.setattr(bundle, "_lock", lambda: "click==8.0 \\\n    --hash=sha256:0\n")
    assert needed(HERE) == {"ministack", "click"}
    assert pinned({"ministack", "click"}).count("==") == 1
    assert unpinned({"ministack", "click"}) == [f"ministack=={version('ministack')}"]
    with pytest.raises(
        StateError, match="a plugin needs the package no-such, which is not installed"
    ):
        unpinned({"no-such"})


def test_too_much_for_a_function_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MAX_UNPACKED", 10)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "large.py").write_bytes(b"x" * 11)
    with pytest.raises(StateError, match="the code of functions has 11 bytes; Lambda takes 10"):
        write_zip(tmp_path / "tree", tmp_path / "x.zip")


def test_a_wheel_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"the packages for riscv64 are not available: .+") as told:
        make_tree(Target("riscv64"), tmp_path)
    assert "\n" not in str(told.value)
