"""Building the extension: nothing needs it, so nothing fails for want of a compiler, unless
somebody insists."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "native"
COMPILER = shutil.which("cc") or shutil.which("gcc")


def build(tmp_path: Path, **environment: str) -> tuple[int, str, list[str]]:
    """Exit code, what was said, and which extensions there are then."""
    (tmp_path / "src" / "dth").mkdir(parents=True, exist_ok=True)
    shutil.copytree(SOURCES, tmp_path / "native", dirs_exist_ok=True)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "native" / "build.py")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    return (
        done.returncode,
        done.stderr,
        sorted(path.name for path in (tmp_path / "src" / "dth").iterdir()),
    )


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_it_is_built_once(tmp_path: Path) -> None:
    assert build(tmp_path) == (0, "", ["_http.abi3.so"])
    file = tmp_path / "src" / "dth" / "_http.abi3.so"
    before = file.stat().st_mtime_ns
    assert build(tmp_path) == (0, "", ["_http.abi3.so"])
    assert file.stat().st_mtime_ns == before
    assert build(tmp_path, DTH_NATIVE_BUILD="skip") == (0, "", [])


@pytest.mark.parametrize(("mode", "code"), [("auto", 0), ("force", 1)])
def test_a_compiler_that_fails(tmp_path: Path, mode: str, code: int) -> None:
    found = build(tmp_path, DTH_NATIVE_BUILD=mode, CC="false")
    assert found[::2] == (code, [])
    assert found[1].startswith(
        "The fast path of HTTP was not built, so libcurl does its work: the compiler ended with 1"
    )


def test_a_word_that_means_nothing(tmp_path: Path) -> None:
    code, said, _ = build(tmp_path, DTH_NATIVE_BUILD="yes")
    assert (code, said) == (1, "DTH_NATIVE_BUILD=yes: use auto, force or skip\n")


def test_a_wheel_is_named_after_the_machine_that_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = runpy.run_path(str(SOURCES.parent / "hatch_build.py"))
    assert parts["platform"]() == sysconfig.get_platform().replace("-", "_").replace(".", "_")
    monkeypatch.setenv("DTH_WHEEL_PLATFORM", "manylinux2014_aarch64")
    assert parts["platform"]() == "manylinux2014_aarch64"


def test_an_sdist_has_no_sources_of_the_console() -> None:
    """It has the console as it was built: with sources beside it, that would be taken for an old
    one."""
    settings = tomllib.loads((SOURCES.parent / "pyproject.toml").read_text())
    included = settings["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    # Without a slash before it, a name is found in every folder.
    assert all(name.startswith("/") for name in included)
    assert not any(name.startswith("/console") for name in included)
