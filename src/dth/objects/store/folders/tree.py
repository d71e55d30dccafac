"""Lists the files of a folder in the order in which stores list keys: by code point of the whole
path.

A folder sorts as its name with a slash, so `a-b` comes before `a/x`, and that before `a0`. The
names of one folder at a time are in memory for each level. A page continues where the walk of the
page before stopped.
"""

import fcntl
import os
import stat
import threading
import time
from bisect import bisect_left, bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from dth.objects.store.folders.paths import TEMPORARY, is_marked

# Walks that wait for their next page.
WALKS = 64
# Folders whose names are kept, and the most names of one.
KEPT, MOST_KEPT = 16, 200_000
# Seconds for which a folder must have been unchanged before its names are kept: file systems count
# in coarse steps.
SETTLED = 2.0
# Seconds after which an upload in parts that nobody continues counts as abandoned.
ABANDONED = 7 * 86400.0
# Paths that are remembered as skipped.
MOST_SKIPPED = 100_000

LINK, SPECIAL, LOOP = "symbolic link", "special file", "symbolic link that leads back"


class Found(NamedTuple):
    """A file, or a folder that is an object of its own, whose key ends in a slash. `state` None: a
    folder below which nothing is shown."""

    key: str
    state: os.stat_result | None


class _Names(NamedTuple):
    # Sorted. Those of folders end in a slash.
    names: list[str]
    # The folder is an object of its own: nothing is in it, or it was made from such an object.
    shown: bool
    # To detect links that lead back.
    identity: tuple[int, int]


class Tree:
    """The files below `root`. `follow`: symbolic links are followed. `may_lack`: a root that is not
    there is empty."""

    def __init__(self, root: str, *, follow: bool = False, may_lack: bool = False) -> None:
        # Whether what a writer left that was killed is removed on the way.
        self.sweep = False
        self._root = root
        self._follow = follow
        self._may_lack = may_lack
        self._kept: OrderedDict[str, tuple[int, _Names]] = OrderedDict()
        self._walks: OrderedDict[tuple[str, bool, str], Iterator[Found]] = OrderedDict()
        self._skipped: dict[str, str] = {}
        # Pages are read in threads.
        self._lock = threading.Lock()

    @property
    def skipped(self) -> Counter[str]:
        """What was left out, by kind."""
        return Counter(self._skipped.values())

    def page(self, prefix: str, after: str, limit: int, *, flat: bool) -> tuple[list[Found], bool]:
        """Up to `limit` entries above `after`, and whether more follow. `flat`: only one level is
        shown."""
        with self._lock:
            walk = self._walks.pop((prefix, flat, after), None) if after else None
            if walk is None:
                walk = self.walk(prefix, after, flat=flat)
            found = list(islice(walk, limit))
            if len(found) < limit:
                return found, False
            # A page that happens to end with the last file is followed by an empty one, as in some
            # stores.
            self._walks[prefix, flat, found[-1].key] = walk
            if len(self._walks) > WALKS:
                self._walks.popitem(last=False)
            return found, True

    def walk(self, prefix: str = "", after: str = "", *, flat: bool = False) -> Iterator[Found]:
        """Everything that begins with `prefix` and comes behind `after`."""
        base, slash, rest = prefix.rpartition("/")
        base += slash
        if any(name in ("", ".", "..") for name in base.split("/")[:-1]):
            return
        first = self._names(base)
        if base and base > after and not rest and first.shown:
            yield from self._folder_itself(base)
        start = bisect_left(first.names, rest)
        names = (
            first.names[start : bisect_right(first.names, rest + "\U0010ffff", start)]
            if rest
            else first.names
        )
        # The levels that are open: path, names, the next one, and what each folder is.
        levels = [(base, iter(_behind(names, base, after)), first.identity)]
        while levels:
            folder, rest_of_names, _ = levels[-1]
            name = next(rest_of_names, None)
            if name is None:
                levels.pop()
                continue
            key = folder + name
            if not name.endswith("/"):
                if state := self._state(key):
                    yield Found(key, state)
            elif flat:
                if key > after:
                    yield Found(key, None)
            else:
                # Before its names are read, because what is skipped there would count twice.
                if self._follow and self._identity(key) in [level[2] for level in levels]:
                    self._skip(key, LOOP)
                    continue
                below = self._names(key)
                if below.shown and key > after:
                    yield from self._folder_itself(key)
                levels.append((key, iter(_behind(below.names, key, after)), below.identity))

    def _folder_itself(self, key: str) -> Iterator[Found]:
        with suppress(FileNotFoundError):
            yield Found(key, os.stat(self._path(key)))

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def _state(self, key: str) -> os.stat_result | None:
        """What the file is now; None if it is gone, or no file any more."""
        try:
            state = os.stat(self._path(key), follow_symlinks=self._follow)
        except FileNotFoundError:
            return None
        return state if stat.S_ISREG(state.st_mode) else None

    def _identity(self, folder: str) -> tuple[int, int] | None:
        try:
            state = os.stat(self._path(folder))
        except FileNotFoundError:
            return None
        return state.st_dev, state.st_ino

    def _names(self, folder: str) -> _Names:
        """The names in a folder. A folder that is gone is empty."""
        path = self._path(folder)
        try:
            state = os.stat(path, follow_symlinks=self._follow or not folder)
            if kept := self._kept.get(folder):
                if kept[0] == state.st_mtime_ns:
                    self._kept.move_to_end(folder)
                    return kept[1]
                del self._kept[folder]
            found = self._scan(folder, path, state)
        except (FileNotFoundError, NotADirectoryError):
            if not folder and not self._may_lack:
                raise
            return _Names([], False, (0, 0))
        if time.time() - state.st_mtime > SETTLED and len(found.names) <= MOST_KEPT:
            self._kept[folder] = state.st_mtime_ns, found
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _scan(self, folder: str, path: str, state: os.stat_result) -> _Names:
        names: list[str] = []
        empty, follow = True, self._follow
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if name[:5] == ".dth-" and TEMPORARY.fullmatch(name):
                    if self.sweep:
                        _remove_if_abandoned(f"{path}/{name}")
                    continue
                empty = False
                if entry.is_file(follow_symlinks=follow):
                    names.append(name)
                elif entry.is_dir(follow_symlinks=follow):
                    names.append(name + "/")
                else:
                    self._skip(folder + name, LINK if entry.is_symlink() else SPECIAL)
        names.sort()
        return _Names(names, empty or is_marked(path), (state.st_dev, state.st_ino))

    def _skip(self, key: str, what: str) -> None:
        if len(self._skipped) < MOST_SKIPPED:
            self._skipped[key] = what


def _behind(names: list[str], folder: str, after: str) -> list[str]:
    """The names in a folder whose files, or the files below which, may come behind this key."""
    if not after.startswith(folder):
        return names if folder > after else []
    name, slash, _ = after[len(folder) :].partition("/")
    return names[bisect_left(names, name + slash) if slash else bisect_right(names, name) :]


def _remove_if_abandoned(path: str) -> None:
    """Remove a file that nobody writes any more. A writer holds a lock, which ends with its
    process. Uploads in parts have none, because they continue after their process ended."""
    try:
        if path.endswith(".upload") and time.time() - os.stat(path).st_mtime < ABANDONED:
            return
        file = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
    finally:
        os.close(file)
