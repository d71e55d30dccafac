"""Puts a backup in the place of the hub's data.

A hub cannot replace its database under itself. So a backup is unpacked and checked beside the data
while the hub runs, and takes its place at the next start. What it replaces is kept.
"""

import asyncio
import contextlib
import gzip
import json
import os
import re
import shutil
import sqlite3
import tarfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect

from dth.core.errors import StateError, UsageError
from dth.platforms.local import hub_migrations, hub_schema, migrations
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.vault import DATABASE_FILE, KEY_FILE, Vault, encrypted_in, read_only

READY = "restore"  # a checked backup that waits for the start
UNPACKED = ".restore-unpacked"  # being checked
ABOUT = "restore.json"
TAKING = "restoring-"  # with the time at which it began
REPLACED = "before-restore-"  # with the same time
TASKS = "tasks"
# Of the database. They must never meet another one.
LOGS = (f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm")
TASK_FILE = re.compile(r"tasks/[0-9A-Za-z-]{1,100}/(?:task\.(?:db|json)|logs/[^/]{1,200})")
# Stay with this machine: the settings say what tasks may do to it, and its key opens the secrets.
LEFT_OUT = re.compile(rf"{KEY_FILE}|[^/]+\.yaml")
# Bytes that an unpacked backup leaves to the hub that runs.
ROOM = 256 * 1024 * 1024
PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Contents:
    """A backup that can be restored. `newest`: when its hub last wrote something down; `left_out`:
    its files that stay behind; `who`, `via`: who uploaded it."""

    tasks: int
    users: int
    newest: float
    left_out: tuple[str, ...]
    who: str
    via: str


def unpack(archive: Path, data_dir: Path, who: str, via: str) -> Contents:
    """Unpack an archive, check it, and let it wait for the next start. Raises UsageError that says
    why it cannot be restored."""
    folder = data_dir / UNPACKED
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        left_out = _extract(archive, folder)
        contents = _checked(folder, data_dir, left_out, who, via)
        (folder / ABOUT).write_text(json.dumps(asdict(contents)), "utf-8")
        shutil.rmtree(data_dir / READY, ignore_errors=True)
        os.sync()  # a power cut must not leave half of it in the place of the data
        folder.rename(data_dir / READY)
    except OSError as error:
        raise StateError(f"the backup cannot be unpacked: {error.strerror or error}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return contents


def forget_restore(data_dir: Path) -> None:
    """Nothing waits for the next start any more."""
    shutil.rmtree(data_dir / READY, ignore_errors=True)


def take_restore(data_dir: Path) -> tuple[Contents, Path] | None:
    """Put a backup that waits in the place of the data, and return it and where the data are that
    it replaced. Nobody may use the directory meanwhile. If it is interrupted, the next call
    continues."""
    try:
        taking = next(data_dir.glob(f"{TAKING}*"), None)
        if taking is None:
            ready = data_dir / READY
            if not (ready / ABOUT).exists():
                return None
            taking = data_dir / f"{TAKING}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
            ready.rename(taking)
        kept = data_dir / taking.name.replace(TAKING, REPLACED, 1)
        kept.mkdir(mode=0o700, exist_ok=True)
        contents = _about(taking)
        # The database takes its place last: until then, its logs are those of the old one.
        for name in (TASKS, *LOGS, DATABASE_FILE):
            waits = (taking / (DATABASE_FILE if name in LOGS else name)).exists()
            if waits and (data_dir / name).exists():
                (data_dir / name).rename(kept / name)
            if waits and name not in LOGS:
                (taking / name).rename(data_dir / name)
        shutil.rmtree(taking)
    except (OSError, ValueError, TypeError) as error:
        raise StateError(
            f"the backup that was uploaded cannot take its place in {data_dir}: {error}"
        ) from None
    return contents, kept


def _about(folder: Path) -> Contents:
    said = json.loads((folder / ABOUT).read_text("utf-8"))
    return Contents(**{**said, "left_out": tuple(said["left_out"])})


# --------------------------------------------------------------------------------------- unpacking


def _extract(archive: Path, folder: Path) -> tuple[str, ...]:
    """Write the files of a backup, and nothing else. Returns the names of those that stay
    behind."""
    left_out = set()
    try:
        with gzip.open(archive) as content, tarfile.open(fileobj=content, mode="r:") as found:
            for member in found:
                if member.isdir():
                    continue
                name = _name(member.name)
                if LEFT_OUT.fullmatch(name):
                    left_out.add(name)
                    continue
                _write(found, member, name, folder)
            # The checksum at the end covers everything.
            if len(content.read(PIECE)) == PIECE:
                raise UsageError("this is not a backup of a hub: something follows its files")
    except FileExistsError as error:
        raise UsageError(
            f"this is not a backup of a hub: it has {Path(error.filename).name} twice"
        ) from None
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile):
        raise UsageError(
            "this is not a whole archive of a backup (.tar.gz); download it again"
        ) from None
    return tuple(sorted(left_out))


def _write(found: tarfile.TarFile, member: tarfile.TarInfo, name: str, folder: Path) -> None:
    if name != DATABASE_FILE and not TASK_FILE.fullmatch(name):
        raise UsageError(f"this is not a backup of a hub: it contains {member.name!r}")
    content = found.extractfile(member) if member.isreg() else None
    if content is None:
        raise UsageError(f"this is not a backup of a hub: {name} is not a file")
    target = folder / name
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with target.open("xb") as file:
        target.chmod(0o600)
        while piece := content.read(PIECE):
            if shutil.disk_usage(folder).free < ROOM + len(piece):
                raise UsageError(
                    "the disk of the hub has too little room for this backup; free some space"
                )
            file.write(piece)


def _name(name: str) -> str:
    """The name of a file in a data directory. An archive may have a directory around all."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    known = len(parts) == 1 or parts[0] == TASKS
    return "/".join(parts if known else parts[1:])


# ---------------------------------------------------------------------------------------- checking


def _checked(
    folder: Path, data_dir: Path, left_out: tuple[str, ...], who: str, via: str
) -> Contents:
    database = folder / DATABASE_FILE
    if not database.exists():
        raise UsageError(f"this is not a backup of a hub: it has no {DATABASE_FILE}")
    with _read(database, len(hub_migrations.STEPS) + 1) as hub:
        tasks, users, newest = (
            hub.execute(query).fetchone()[0]
            for query in (
                "SELECT count(*) FROM task",
                "SELECT count(*) FROM user",
                "SELECT coalesce(max(at), 0) FROM audit",
            )
        )
    _bring_up_to_date(database)
    _check_secrets(database, data_dir)
    for each in sorted((folder / TASKS).glob("*/task.db")):
        with _read(each, len(migrations.STEPS) + 1):
            pass
    (folder / TASKS).mkdir(mode=0o700, exist_ok=True)
    return Contents(tasks, users, newest, left_out, who, via)


@contextlib.contextmanager
def _read(path: Path, latest: int) -> Iterator[sqlite3.Connection]:
    """A database of the backup, checked."""
    name = f"{path.parent.name}/{path.name}" if path.name != DATABASE_FILE else path.name
    try:
        with contextlib.closing(read_only(path)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version > latest:
                raise UsageError(
                    f"the backup is of a newer version of Data Transfer Hub (schema {version}, "
                    f"known here: {latest}); upgrade this hub first"
                )
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
            others = "SELECT count(*) FROM sqlite_schema WHERE type NOT IN ('table', 'index')"
            if found != "ok" or version < 1 or database.execute(others).fetchone()[0]:
                raise UsageError(f"{name} in the backup is damaged, or not of a hub")
            yield database
    except sqlite3.Error as error:
        raise UsageError(f"{name} in the backup is damaged, or not of a hub: {error}") from None


def _bring_up_to_date(path: Path) -> None:
    """Upgrade the hub's database of the backup to this version. A hub that could not do this at its
    start would not start again."""
    try:
        with HubDatabase.open(path) as database:
            missing = asyncio.run(database.read(_missing))
    except (StateError, *HubDatabase.errors) as error:
        why = getattr(error, "orig", error)
        raise UsageError(
            f"{path.name} in the backup cannot be upgraded to this version: {why}"
        ) from None
    if missing:
        raise UsageError(f"{path.name} in the backup is damaged, or not of a hub: no {missing}")


def _missing(connection: Connection) -> str:
    """The first table or column that a hub needs and the database does not have; "" for none."""
    found = inspect(connection)
    there = set(found.get_table_names())
    for table in hub_schema.metadata.sorted_tables:
        if table.name not in there:
            return f"table {table.name}"
        columns = {column["name"] for column in found.get_columns(table.name)}
        for column in table.columns:
            if column.name not in columns:
                return f"column {table.name}.{column.name}"
    return ""


def _check_secrets(database: Path, data_dir: Path) -> None:
    """Whether this hub's key opens what is encrypted in the backup."""
    vault = Vault(data_dir)
    try:
        for value in encrypted_in(database):
            vault.decrypt(value)
    except StateError:
        raise UsageError(
            "this hub's key does not open the secrets of the backup: add the key that belongs to "
            f"the backup as another line to {KEY_FILE} in the data directory (with DTH_KEY: after "
            "a comma), and upload the backup again"
        ) from None
