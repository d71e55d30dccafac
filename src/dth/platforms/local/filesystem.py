"""The state directory: on a local disk, and used by one supervisor (with its workers) at a time."""

import fcntl
import os
import re
import time
from pathlib import Path
from typing import Self

from dth.errors import StateError

# SQLite's WAL needs shared memory and exact locks; over these it loses data sooner or later.
NETWORK_FILE_SYSTEM = re.compile(
    r"9p|afs|beegfs|ceph|cifs|davfs|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs4?|ocfs2|orangefs|smb3|smbfs|vboxsf"
    r"|fuse\.(ceph|davfs|gcsfuse|glusterfs|goofys|juicefs|mfs|mount-s3|mountpoint-s3|rclone|s3fs|sshfs)"
)

LOCK_WAIT = 10.0


def refuse_network_file_system(directory: Path) -> None:
    kind = _file_system(directory)
    if NETWORK_FILE_SYSTEM.fullmatch(kind):
        raise StateError(f"{directory} is on a network file system ({kind}); the state needs a local disk")


def _file_system(directory: Path) -> str:
    """The type of the file system that holds `directory`; "" where the kernel does not say (no /proc)."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    return _type_of_mount(mounts, directory.resolve())


def _type_of_mount(mounts: str, path: Path) -> str:
    """`mounts` is as in proc_pid_mountinfo(5): `... root mount-point options [fields] - type source ...`"""
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        mount_point = Path(_unescape(before.split(" ")[4]))
        depth = len(mount_point.parts)
        if path.is_relative_to(mount_point) and depth >= best:  # of two on one point the later one is on top
            best, kind = depth, after.split(" ")[0]
    return kind


def _unescape(field: str) -> str:
    for character in " \t\n\\":
        field = field.replace(f"\\{ord(character):03o}", character)
    return field


class StateLock:
    """An exclusive lock on a state directory.

    It belongs to the open file, not to the process: give `fileno()` to child processes (`pass_fds`) and it is
    held until the last of them has ended, so that a new supervisor never runs beside the workers of a dead one.
    """

    def __init__(self, file: int) -> None:
        self._file = file

    def fileno(self) -> int:
        return self._file

    def close(self) -> None:
        """Let go. Children that inherited the lock still hold it."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def lock_state_directory(directory: Path, wait: float = LOCK_WAIT) -> StateLock:
    """Lock `directory` (made when missing) for this process and the children that inherit the lock's file.

    Waits `wait` seconds, time enough for the workers of a supervisor that died to notice and end.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_network_file_system(directory)
        file = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(f"The state directory {directory} cannot be used: {error.strerror}") from error
    try:
        _flock(file, directory, time.monotonic() + wait)
        os.ftruncate(file, 0)
        os.pwrite(file, b"%d\n" % os.getpid(), 0)
    except BaseException:
        os.close(file)
        raise
    return StateLock(file)


def is_locked(directory: Path) -> bool:
    """Whether a process uses `directory` now."""
    try:
        file = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _flock(file: int, directory: Path, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise StateError(f"The state directory {directory} is in use by process {holder}") from None
        time.sleep(0.05)
