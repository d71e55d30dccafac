"""Copies the hub's data directory while the hub runs."""

import contextlib
import gzip
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from dth.core.errors import StateError, UsageError

DATABASE = ".db"
# Nothing is gained by more: most of the size is that of databases, which shrink well.
COMPRESSION = 1


def back_up(data_dir: Path, target: Path, *, key: bool) -> int:
    """Copy everything into `target`, a new directory. Databases are copied with SQLite's own
    function, so each copy is consistent; the key of the secrets is copied only on request. Returns
    the number of tasks.

    A task's database is copied after the hub's: a task created after the copy of the hub's database
    is not in the backup.
    """
    _require_hub(data_dir)
    try:
        target.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise UsageError(f"{target} exists already; name a new directory") from None
    except OSError as error:
        raise StateError(f"{target} cannot be made: {error.strerror}") from None
    with _whole():
        for file in _files(data_dir, key=key):
            copy = target / file.relative_to(data_dir)
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # it was removed in the meantime
                _copy(file, copy)
    return sum(1 for _ in (target / "tasks").glob("*/task.db"))


def write_archive(data_dir: Path, name: str, target: IO[bytes]) -> None:
    """Write what `back_up` copies, without the key, as a compressed archive of the directory
    `name`. Only one file at a time is copied, so the disk needs room for the largest."""
    _require_hub(data_dir)
    with _whole(), tempfile.TemporaryDirectory(dir=data_dir, prefix=".backup-") as folder:
        copy = Path(folder) / "copy"
        compressed = gzip.GzipFile(fileobj=target, mode="wb", compresslevel=COMPRESSION)
        with tarfile.open(fileobj=compressed, mode="w|") as archive:
            for file in _files(data_dir, key=False):
                with contextlib.suppress(FileNotFoundError):
                    _copy(file, copy)
                    archive.add(copy, f"{name}/{file.relative_to(data_dir)}")
                    copy.unlink()
        # Only here: an archive that is not whole must not look whole.
        compressed.close()


def _require_hub(data_dir: Path) -> None:
    if not (data_dir / "hub.db").exists():
        raise UsageError(f"{data_dir} is not a data directory of a hub; name one (--data-dir D)")


@contextlib.contextmanager
def _whole() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # nobody reads it any more
        raise
    except OSError as error:
        raise StateError(f"the backup is not whole: {error.filename}: {error.strerror}") from None
    except sqlite3.Error as error:
        raise StateError(f"the backup is not whole: {error}") from None


def _files(data_dir: Path, *, key: bool) -> Iterator[Path]:
    yield data_dir / "hub.db"
    if key and (data_dir / "key").exists():
        yield data_dir / "key"
    yield from (path for path in data_dir.glob("*.yaml"))
    for task in sorted((data_dir / "tasks").glob("*")):
        yield from (path for path in task.glob("task.*") if path.suffix in (DATABASE, ".json"))
        yield from task.glob("logs/*")


def _copy(file: Path, copy: Path) -> None:
    """Raises FileNotFoundError."""
    if file.suffix != DATABASE:
        shutil.copy2(file, copy)
        return
    with (
        contextlib.closing(
            sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
        ) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target, pages=-1)
    copy.chmod(0o600)
