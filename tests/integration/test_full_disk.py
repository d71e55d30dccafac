"""A disk that is full when something starts: one clear line, whichever step it is that finds no
room."""

from __future__ import annotations

import errno
import os
import subprocess
from typing import TYPE_CHECKING, Any

import click
import pytest

from dth.cli.s3 import s3
from dth.compose.local import process
from dth.core.errors import StateError, full_disk
from dth.platforms.local import filesystem
from dth.platforms.local.filesystem import lock_state_directory
from tests.engine import Dth, Side, between
from tests.servers.listing_server import ListingServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = 4096
NO_ROOM = OSError(errno.ENOSPC, "No space left on device", "/somewhere/file")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a file system; the other tests cover it")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path, pages: int) -> None:
    """Leave so many pages free."""
    with (disk / "fill").open("wb") as file:
        room = os.statvfs(disk).f_bavail * PAGE
        os.posix_fallocate(file.fileno(), 0, room - pages * PAGE)


def explained(line: str) -> bool:
    return line.startswith("dth: ") and ("free some space" in line or "check its space" in line)


@pytest.mark.parametrize("pages", [0, 1, 2, 3, 5, 8, 13, 21])
def test_a_sync_says_so(dth: Dth, disk: Path, pages: int) -> None:
    fill(disk, pages)
    with ListingServer(50) as here:
        arguments = between(Side(here, "from"), Side(here, "to"))
        dth.env["DTH_STATE_DIR"] = str(disk / "states")
        done = dth.run("s3", "sync", *arguments, "--skip-compare", "--quiet")
    assert (done.code, done.out) == (1, "")
    [line] = done.err.splitlines()
    assert explained(line), line


@pytest.mark.parametrize("pages", [0, 1, 2, 5, 13])
def test_a_hub_says_so(dth: Dth, disk: Path, pages: int) -> None:
    fill(disk, pages)
    done = dth.run("up", "--port", "0", "--data-dir", disk / "data")
    assert (done.code, done.out) == (1, "")
    [line] = done.err.splitlines()
    assert line.startswith("dth: ")
    assert "No space left on device" in line or explained(line)


@pytest.mark.parametrize("call", ["pwrite", "open", "ftruncate"])
def test_the_lock_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NO_ROOM

    monkeypatch.setattr(filesystem.os, call, refuse)
    with pytest.raises(
        StateError, match="cannot be used: No space left on device; free some space"
    ):
        lock_state_directory(tmp_path / "state")
    monkeypatch.undo()
    # Nothing holds it.
    lock_state_directory(tmp_path / "state", wait=0).close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_wherever_it_comes_from_a_command_says_so(
    dth: Dth, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(number, os.strerror(number), "/somewhere/file")

    command = s3.get_command(click.Context(s3), "ls")
    monkeypatch.setattr(command, "callback", refuse)
    done = dth.here("s3", "ls", "s3://bucket")
    assert done.code == 1
    assert done.err == (
        f"dth: /somewhere/file cannot be written: {os.strerror(number)}; free some space and "
        "try again, nothing is lost\n"
    )


def test_so_does_a_process_of_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refuse(*_: Any) -> None:
        raise NO_ROOM

    monkeypatch.setattr(process, "_run", refuse)
    (tmp_path / "logs").mkdir()
    assert process.run(["finder", str(tmp_path), "finder", "1"]) == 1
    assert capsys.readouterr().err == f"{full_disk(NO_ROOM)}\n"


def test_another_error_is_no_full_disk() -> None:
    assert full_disk(OSError(errno.EACCES, "Permission denied")) == ""
    assert full_disk(ValueError("no")) == ""
