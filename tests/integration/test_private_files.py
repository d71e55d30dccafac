"""What a hub and a transfer keep is for their user alone, also in a directory that was there
before."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from dth.core.errors import StateError
from dth.platforms.local import filesystem
from dth.platforms.local.filesystem import keep_private, lock_state_directory
from tests.engine import Dth, Side, between, bodies
from tests.hub import Hub

if TYPE_CHECKING:
    from pathlib import Path


def open_to_others(folder: Path) -> list[str]:
    """What is in it, and itself, that others may read or write."""
    paths = [folder, *folder.rglob("*")]
    return [
        str(each)
        for each in paths
        if not each.is_symlink() and stat.S_IMODE(each.stat().st_mode) & 0o077
    ]


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o750, 0o701, 0o2775])
def test_a_hub_closes_the_directory_that_it_is_given(tmp_path: Path, mode: int) -> None:
    """As systemd's StateDirectory= or mkdir make it, under any umask."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(mode)
    before = os.umask(0)
    try:
        with Hub(tmp_path) as hub:
            assert (hub.data / "hub.db-wal").exists()
            assert (hub.data / "address").exists()
            assert open_to_others(hub.data) == []
    finally:
        os.umask(before)


def test_a_hub_closes_what_an_older_one_left_open(tmp_path: Path) -> None:
    with Hub(tmp_path) as hub:
        hub.secret("a", "b", "c")
    for each in (hub.data, *hub.data.rglob("*")):
        if each.name != "key":
            each.chmod(0o755 if each.is_dir() else 0o644)
    (hub.data / "tasks" / "one").mkdir(parents=True, mode=0o755)
    (hub.data / "tasks" / "one" / "task.db").touch(0o644)
    hub.start()
    assert open_to_others(hub.data) == []
    hub.close()


def test_a_transfer_closes_the_state_that_it_is_given(dth: Dth, source: Side, dest: Side) -> None:
    source.put(bodies("ab"))
    state, link = dth.home / "state", dth.home / "link"
    state.mkdir()
    state.chmod(0o777)
    link.symlink_to(state)
    report = dth.home / "report.csv"
    before = os.umask(0)
    try:
        done = dth.run(
            "s3", "sync", *between(source, dest), "--quiet", "--state", link, "--report", report
        )
    finally:
        os.umask(before)
    assert done.code == 0, done
    assert open_to_others(state) == []
    assert stat.S_IMODE(report.stat().st_mode) == 0o600


def test_a_directory_that_is_used_for_other_things_is_refused(
    dth: Dth, source: Side, dest: Side
) -> None:
    state = dth.home / "project"
    state.mkdir()
    state.chmod(0o755)
    (state / "readme").write_text("mine")
    for command in (
        ("s3", "sync", *between(source, dest), "--state", state),
        ("up", "--data-dir", state, "--port", "0"),
    ):
        done = dth.run(*command)
        assert (done.code, len(done.err.strip().splitlines())) == (1, 1), done
        assert "can be read or written by others" in done.err
    assert stat.S_IMODE(state.stat().st_mode) == 0o755
    state.chmod(0o700)  # one that is closed already is nobody's business
    assert not open_to_others(state) or (state / "readme").exists()


def test_directories_that_all_may_write_are_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(StateError, match="read or written by others"):
        lock_state_directory(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777


def test_what_somebody_else_put_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hub.db").touch()
    monkeypatch.setattr(filesystem.os, "geteuid", lambda: os.getuid() + 1)
    keep_private(tmp_path)  # it belongs to whom the directory belongs to
    real = os.lstat

    class Planted:
        def __init__(self, path: Path) -> None:
            self.st_uid, self.st_mode = 4711, real(path).st_mode

    monkeypatch.setattr(filesystem.Path, "lstat", lambda path: Planted(path))
    with pytest.raises(StateError, match="another user"):
        keep_private(tmp_path)


def test_a_directory_whose_rights_cannot_be_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a volume of a cluster, or a file system without rights."""
    tmp_path.chmod(0o755)
    monkeypatch.setattr(filesystem.Path, "chmod", lambda path, mode: None)
    with pytest.raises(StateError, match="cannot change that; choose another"):
        keep_private(tmp_path)


def test_links_are_not_followed(tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    data.mkdir(mode=0o700)
    other.mkdir()
    other.chmod(0o755)
    (other / "file").touch()
    (other / "file").chmod(0o644)
    (data / "file").symlink_to(other / "file")
    (data / "folder").symlink_to(other)
    keep_private(data)
    assert stat.S_IMODE(other.stat().st_mode) == 0o755
    assert stat.S_IMODE((other / "file").stat().st_mode) == 0o644


# ------------------------------------------------------------------------------- the first password


def said(hub: Hub) -> list[str]:
    return re.findall(r"signed in yet.*\n  (\S+)\n", hub.output.read_text())


async def choose(hub: Hub, password: str) -> None:
    """Sign in as admin, and choose another password."""
    from tests.identity import Browser, pkce

    browser = Browser(hub.url)
    query = {
        "response_type": "code",
        "client_id": "dth-console",
        "redirect_uri": f"{hub.url}/auth/callback",
        "scope": "openid",
        "code_challenge": pkce()[1],
        "code_challenge_method": "S256",
    }
    page = await browser.get("/oidc/authorize", query)
    page = await browser.post(
        "/oidc/authorize", {"state": page.state, "name": "admin", "password": password}
    )
    assert page.status == 200, page.text
    new = "another horse battery"
    answer = await browser.post("/oidc/authorize", {"state": page.state, "new": new, "again": new})
    assert answer.status == 303


def test_the_first_password_is_said_until_it_was_used(tmp_path: Path) -> None:
    with Hub(tmp_path) as hub:
        hub.restart()
        first, second = said(hub)
        assert first == second
        content = b"".join(each.read_bytes() for each in hub.data.glob("hub.db*"))
        assert first.encode() not in content
        asyncio.run(choose(hub, first))
        hub.restart()
        assert said(hub) == [first, first]


def test_the_first_password_may_be_in_a_file(tmp_path: Path, dth: Dth) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse battery\nwhatever\n")
    with mock.patch.dict(os.environ, {"DTH_ADMIN_PASSWORD_FILE": str(file)}), Hub(tmp_path) as hub:
        hub.restart()
        assert "horse" not in hub.output.read_text()
        assert said(hub) == []
        asyncio.run(choose(hub, "correct horse battery"))
    for content, line in (("", "no password"), ("short\n", "too short")):
        file.write_text(content)
        done = dth.run(
            "up", "--data-dir", tmp_path / "other", "--port", "0", "--admin-password-file", file
        )
        assert (done.code, len(done.err.strip().splitlines())) == (2, 1), done
        assert line in done.err
    done = dth.run(
        "up", "--data-dir", tmp_path / "other", "--admin-password-file", tmp_path / "none"
    )
    assert "cannot be read" in done.err
