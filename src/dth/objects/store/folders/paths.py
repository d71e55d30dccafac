"""Keys as paths below one folder.

Whoever writes the keys of a bucket also chooses these paths. So a path is opened name by name,
without following symbolic links, and names that could lead outside are refused. Nothing outside of
the folder is read or written.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from dth.core import confinement
from dth.core.errors import ObjectRefused, UsageError

# In bytes. The limit of nearly all file systems.
LONGEST_NAME = 255
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Names of files that are being written. They are never listed.
# An extended attribute: of which object a file or a folder is the copy.
ATTRIBUTE = "user.dth.source"
TEMPORARY = re.compile(r"\.dth-[0-9a-f]{16}\.(part|upload)")


def is_folder(bucket: str) -> bool:
    """Whether what was given as a bucket is a folder. No name of a bucket begins with a slash."""
    return bucket.startswith("/")


def is_marked(folder: str | int) -> bool:
    """Whether a folder was made from an object whose key ends in a slash."""
    try:
        return bool(os.getxattr(folder, ATTRIBUTE))
    except (OSError, AttributeError):
        return False


def place_of(bucket: str) -> str:
    """A bucket or folder as users write it, without a slash at the end."""
    return bucket.rstrip("/") if is_folder(bucket) else f"s3://{bucket}"


def names_of(key: str) -> list[str]:
    """The names in the path of a key. Raises ObjectRefused if the key is not a path below a
    folder."""
    if key.endswith("/"):
        raise refusal(key, "ends in a slash, so it is not the name of a file", "NameRefused")
    names = key.split("/")
    for name in names:
        if trouble := _trouble_of(name):
            raise refusal(key, f"cannot be the path of a file: {trouble}", "NameRefused")
    return names


def _trouble_of(name: str) -> str:
    if name == "":
        return "it has an empty name (a slash at its beginning, or two in a row)"
    if name in (".", ".."):
        return f"the name {name!r} stands for another folder"
    if "\0" in name:
        return "a name cannot contain a zero byte"
    if len(name) > LONGEST_NAME // 4 and len(os.fsencode(name)) > LONGEST_NAME:
        return f"a name has {len(os.fsencode(name))} bytes; {LONGEST_NAME} is the most"
    return "the name is one of a file that is being written" if TEMPORARY.fullmatch(name) else ""


def refusal(key: str, why: str, code: str) -> ObjectRefused:
    """The error for a key that the folder cannot have as a file."""
    return ObjectRefused(f"the key {key!r} {why}", code=code)


class Root:
    """The folder itself. `follow`: symbolic links are followed, as the user asked."""

    def __init__(self, path: str, *, follow: bool = False) -> None:
        self.path = path
        self.follow = follow
        self._flags = DIRECTORY if follow else DIRECTORY | os.O_NOFOLLOW
        # Whether names that differ only in case mean one file; None: not known yet.
        self._folds: bool | None = None

    @contextmanager
    def parent(self, key: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """The open folder that the file of this key is in, and the file's name. `make`: folders
        that are missing are made. Raises OSError or ObjectRefused."""
        *folders, name = names_of(key)
        with self.folder(key, folders, make=make) as found:
            if make:
                self._refuse_other_case(key, found, name)
            yield found, name

    @contextmanager
    def folder(self, key: str, names: list[str], *, make: bool = False) -> Iterator[int]:
        """The open folder with this path below the root."""
        found = self._open(make=make)
        try:
            for name in names:
                found = self._next(key, found, name, make=make)
            yield found
        finally:
            os.close(found)

    def _open(self, *, make: bool) -> int:
        """Open the folder itself. In a hub, name by name from one that is listed: whoever can
        write below that one could put a symbolic link into the path at any time."""
        if below := confinement.folder(self.path):
            top, names = below
            found = os.open(top, DIRECTORY)
            try:
                for name in names:
                    found = self._next(self.path, found, name, make=make)
            except BaseException:
                os.close(found)
                raise
            return found
        try:
            return os.open(self.path, DIRECTORY)
        except FileNotFoundError:
            if not make:
                raise
            os.makedirs(self.path, exist_ok=True)
            return os.open(self.path, DIRECTORY)

    def _next(self, key: str, parent: int, name: str, *, make: bool) -> int:
        """Open a folder in `parent`, which is closed then."""
        if make:
            self._refuse_other_case(key, parent, name)
        try:
            try:
                child = os.open(name, self._flags, dir_fd=parent)
            except FileNotFoundError:
                if not make:
                    raise
                self._make(parent, name)
                child = os.open(name, self._flags, dir_fd=parent)
        except NotADirectoryError:
            # Linux says the same for a symbolic link.
            refuse_link(key, parent, name)
            raise
        os.close(parent)
        return child

    def _make(self, parent: int, name: str) -> None:
        try:
            os.mkdir(name, dir_fd=parent)
        except FileExistsError:
            return
        os.fsync(parent)

    def _refuse_other_case(self, key: str, parent: int, name: str) -> None:
        """Refuse a name that another file or folder has in other letters, where the system takes
        them for the same."""
        if self._folds is None:
            self._folds = folds_case(parent)
        if not self._folds:
            return
        try:
            os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if name not in os.listdir(parent):
            raise refusal(
                key,
                f"differs only in case from another name ({name!r}), which the disk keeps as one",
                "CaseClash",
            )


def folds_case(folder: int) -> bool:
    """Whether the file system of an open folder takes names for the same that differ only in
    case."""
    probe = f".dth-{os.urandom(8).hex()}.part"
    os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder))
    try:
        os.stat(probe.upper(), dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    finally:
        os.unlink(probe, dir_fd=folder)
    return True


def refuse_link(key: str, parent: int, name: str) -> int:
    """What kind of file has this name, as in `st_mode`; 0 if there is none. Raises ObjectRefused
    for a symbolic link."""
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0
    if stat.S_ISLNK(mode):
        raise refusal(
            key, f"leads through the symbolic link {name!r}, which is not followed", "SymbolicLink"
        )
    return mode


def folder_of(text: str, which: str, *, must_exist: bool) -> str:
    """The absolute path of a folder that a user named. Raises UsageError."""
    path = os.path.abspath(os.path.expanduser(text))
    if os.path.isdir(path):
        return path
    if os.path.lexists(path):
        raise UsageError(f"{which} {text!r} is not a folder")
    if must_exist:
        raise UsageError(f"{which}: there is no folder {text!r}")
    return path
