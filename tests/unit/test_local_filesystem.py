import os
import subprocess
import sys
from pathlib import Path

import pytest

from dth.core.errors import StateError
from dth.platforms.local import filesystem
from dth.platforms.local.filesystem import lock_state_directory, refuse_network_file_system

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /srv/share rw,relatime shared:2 - nfs4 server:/export rw,vers=4.2
31 30 8:2 / /srv/share/local rw shared:3 master:1 - xfs /dev/sdb1 rw
32 22 0:41 / /mnt/with\040space rw - fuse.sshfs host: rw
33 22 8:3 / /over rw - ext4 /dev/sdc1 rw
34 33 0:42 / /over rw - cifs //server/share rw
""".strip()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/state", "ext4"),
        ("/srv/share/state", "nfs4"),
        ("/srv/shared", "ext4"),
        ("/srv/share/local/state", "xfs"),
        ("/mnt/with space/state", "fuse.sshfs"),
        ("/over/state", "cifs"),
    ],
)
def test_the_deepest_and_last_mount_says_what_the_file_system_is(path: str, kind: str) -> None:
    assert filesystem._type_of_mount(MOUNTS, Path(path)) == kind


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"])
def test_network_file_systems_are_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "_file_system", lambda _: kind)
    with pytest.raises(StateError, match=f"network file system \\({kind}\\)"):
        refuse_network_file_system(tmp_path)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuseblk", "fuse.fuse-overlayfs", ""]
)
def test_local_file_systems_are_not(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "_file_system", lambda _: kind)
    refuse_network_file_system(tmp_path)


def test_the_file_system_of_a_real_directory_is_known(tmp_path: Path) -> None:
    assert filesystem._file_system(tmp_path)


def test_a_locked_directory_names_its_holder(tmp_path: Path) -> None:
    lock = lock_state_directory(tmp_path / "state")
    with pytest.raises(StateError, match=f"in use by process {os.getpid()}$"):
        lock_state_directory(tmp_path / "state", wait=0.1)
    lock.close()
    lock_state_directory(tmp_path / "state", wait=0).close()


def test_the_lock_lives_as_long_as_the_last_child_that_inherited_it(tmp_path: Path) -> None:
    lock = lock_state_directory(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock.fileno()]
    )
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    lock.close()
    with pytest.raises(StateError, match="in use"):
        lock_state_directory(tmp_path, wait=0.1)
    child.communicate(b"\n")
    lock_state_directory(tmp_path, wait=5).close()
    stranger.communicate(b"\n")


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot be used"):
        lock_state_directory(tmp_path / "file" / "state")
