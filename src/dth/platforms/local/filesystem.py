"""The state directory: on a local disk, and used by one supervisor (with its workers) at a time."""

import contextlib
import fcntl
import os
import re
import shutil
import stat
import time
from pathlib import Path
from typing import Self

from dth.core.errors import FULL, MAKE_ROOM, StateError

# SQLite's WAL needs shared memory and exact locks; on these file systems it loses data sooner or
# later.
NETWORK_FILE_SYSTEM = re.compile(
    r"9p|afs|beegfs|ceph|cifs|davfs|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs4?|ocfs2|orangefs|smb3|smbfs|vboxsf"
    r"|fuse\.(ceph|davfs|gcsfuse|glusterfs|goofys|juicefs|mfs|mount-s3|mountpoint-s3|rclone|s3fs|sshfs)"
)

LOCK_FILE = "lock"
# Of a hub. `vault` refuses a key that others can read, because they may have read it already.
KEY_FILE = "key"
OUR_FILES = {LOCK_FILE, KEY_FILE, "hub.db", "hub.yaml", "task.db", "task.json", "tasks"}
OTHERS = 0o077  # the permissions of others
# May do anything anyway, and may have run a command here.
ROOT = 0
LOCK_WAIT = 10.0


def keep_private(directory: Path) -> None:
    """Remove the permissions of others from one of our directories and everything in it. Raises
    StateError if that is not possible: we do not own it, others use it as well, or somebody else
    has put something there."""
    found = directory.stat()
    if found.st_mode & OTHERS:
        if found.st_mode & stat.S_ISVTX or not _is_ours(directory):
            raise StateError(
                f"{directory} can be read or written by others, and has files that are not of "
                "Data Transfer Hub; choose a directory of its own, or one that is not there yet"
            )
        _close(directory)
    for place, folders, files in os.walk(directory):
        for path in (Path(place, name) for name in (*folders, *files)):
            with contextlib.suppress(FileNotFoundError):  # it was removed in the meantime
                inside = path.lstat()
                if inside.st_uid not in (ROOT, os.geteuid(), found.st_uid):
                    raise StateError(
                        f"{path} was put there by another user of this machine;"
                        " look at it, then remove it or make it yours (chown)"
                    )
                if (
                    inside.st_mode & OTHERS
                    and not stat.S_ISLNK(inside.st_mode)
                    and path.name != KEY_FILE
                ):
                    _close(path)


def _is_ours(directory: Path) -> bool:
    """Whether the directory contains only our own files: others may need to read theirs."""
    names = {each.name for each in directory.iterdir()}
    return not names or bool(names & OUR_FILES)


def _close(path: Path) -> None:
    try:
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~OTHERS)
        closed = not path.stat().st_mode & OTHERS
    except PermissionError:
        closed = False
    if not closed:
        raise StateError(
            f"{path} can be read or written by others, and this user cannot change that; choose "
            "another directory, such as one below it"
        )


def refuse_network_file_system(directory: Path) -> None:
    """Raises StateError if the directory is on a network file system."""
    kind = _file_system(directory)
    if NETWORK_FILE_SYSTEM.fullmatch(kind):
        raise StateError(
            f"{directory} is on a network file system ({kind}); the state needs a local disk"
        )


def _file_system(directory: Path) -> str:
    """The type of the file system that holds `directory`; "" if the kernel does not report it (no
    /proc)."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    return _type_of_mount(mounts, directory.resolve())


def _type_of_mount(mounts: str, path: Path) -> str:
    """`mounts` is as in proc_pid_mountinfo(5): `... root mount-point options [fields] - type source
    ...`"""
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        mount_point = Path(_unescape(before.split(" ")[4]))
        depth = len(mount_point.parts)
        # Of two on one point, the later is on top.
        if path.is_relative_to(mount_point) and depth >= best:
            best, kind = depth, after.split(" ")[0]
    return kind


def _unescape(field: str) -> str:
    for character in " \t\n\\":
        field = field.replace(f"\\{ord(character):03o}", character)
    return field


class StateLock:
    """An exclusive lock on a state directory.

    The lock belongs to the open file, not to the process. Pass `fileno()` to child processes
    (`pass_fds`), and it is held until the last of them has ended, so that a new supervisor never
    runs beside the workers of a dead one.
    """

    def __init__(self, file: int) -> None:
        self._file = file

    def fileno(self) -> int:
        return self._file

    def close(self) -> None:
        """Release the lock. Children that inherited it still hold it."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def lock_state_directory(directory: Path, wait: float = LOCK_WAIT, hint: str = "") -> StateLock:
    """Lock `directory` (created if missing) for this process and the children that inherit the
    lock's file.

    Waits `wait` seconds, enough for the workers of a dead supervisor to notice and end. `hint`:
    what to do if the directory cannot be used for reasons other than lack of space.
    """
    deadline = time.monotonic() + wait
    try:
        while True:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            refuse_network_file_system(directory)
            keep_private(directory)
            file = _locked(directory / LOCK_FILE, deadline)
            if file is not None:
                return StateLock(file)
    except OSError as error:
        advice = MAKE_ROOM if error.errno in FULL else hint
        more = f"; {advice}" if advice else ""
        raise StateError(
            f"The state directory {directory} cannot be used: {error.strerror}{more}"
        ) from error


def _locked(path: Path, deadline: float) -> int | None:
    """The open lock file, locked and with our process id in it. None: the directory was removed in
    the meantime."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    try:
        _flock(file, path.parent, deadline)
        # The previous process may have removed the directory, with this file, when it released the
        # lock.
        if is_at(file, path):
            os.ftruncate(file, 0)
            os.pwrite(file, b"%d\n" % os.getpid(), 0)
            return file
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


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
                raise StateError(
                    f"The state directory {directory} is in use by process {_holder(file)}"
                ) from None
        time.sleep(0.05)


def _holder(file: int) -> str:
    return os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown"


def used_by(directory: Path) -> str:
    """The id of the process that has locked `directory`; "" if it is free."""
    try:
        file = os.open(directory / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return ""
    except BlockingIOError:
        return _holder(file)
    finally:
        os.close(file)


def remove_state_directory(directory: Path) -> None:
    """Remove a directory that this process has locked. It is renamed first, as a whole: a process
    that waits for the lock creates a new directory in its place."""
    removed = directory.with_name(f"{directory.name}.removed-{os.getpid()}")
    with contextlib.suppress(OSError):
        directory.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)


def is_at(file: int, path: Path) -> bool:
    """Whether an open file is the file that has this path now."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
