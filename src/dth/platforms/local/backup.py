"""Copies the hub's data directory while the hub runs."""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from dth.core.errors import StateError, UsageError

DATABASE = ".db"


def back_up(data_dir: Path, target: Path, *, key: bool) -> int:
    """Copy everything into `target`, a new directory. Databases are copied with SQLite's own
    function, so each copy is consistent; the key of the secrets is copied only on request. Returns
    the number of tasks.

    A task's database is copied after the hub's: a task created after the copy of the hub's database
    is not in the backup.
    """
    if not (data_dir / "hub.db").exists():
        raise UsageError(f"{data_dir} is not a data directory of a hub")
    try:
        target.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise UsageError(f"{target} exists already; name a new directory") from None
    except OSError as error:
        raise StateError(f"{target} cannot be made: {error.strerror}") from None
    try:
        for file in _files(data_dir, key=key):
            copy = target / file.relative_to(data_dir)
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if file.suffix == DATABASE:
                _copy_database(file, copy)
            else:
                with contextlib.suppress(FileNotFoundError):  # it was removed in the meantime
                    shutil.copy2(file, copy)
    except OSError as error:
        raise StateError(f"the backup is not whole: {error.filename}: {error.strerror}") from None
    except sqlite3.Error as error:
        raise StateError(f"the backup is not whole: {error}") from None
    return sum(1 for _ in (target / "tasks").glob("*/task.db"))


def _files(data_dir: Path, *, key: bool) -> Iterator[Path]:
    yield data_dir / "hub.db"
    if key and (data_dir / "key").exists():
        yield data_dir / "key"
    yield from (path for path in data_dir.glob("*.yaml"))
    for task in sorted((data_dir / "tasks").glob("*")):
        yield from (path for path in task.glob("task.*") if path.suffix in (DATABASE, ".json"))
        yield from task.glob("logs/*")


def _copy_database(file: Path, copy: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target, pages=-1)
    copy.chmod(0o600)
