"""The hub's key, and encryption with it: secrets, signing keys, the targets of notifications.

`hub.db` stores all of these encrypted, and never the key. The key comes from the environment
(`DTH_KEY`), or from the file `key` beside the database, which is created at first use. Both may
hold several keys: the first encrypts, all decrypt.

The key can be changed while the hub and its workers run. A rotation is a write transaction. Code
that encrypts does so in the transaction that stores the result, with the key that the file names at
that moment: either the rotation comes later and encrypts the value again, or its key is there
already. Code that decrypts reads the file again if no known key fits.
"""

import contextlib
import os
import re
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import Connection, delete, insert, select, update

from dth.core.errors import StateError, UsageError
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.hub_schema import channel, secret, setting
from dth.platforms.local.sql import SqlDatabase

DATABASE_FILE = "hub.db"
KEY_FILE = "key"
# Prefix of a key file that is being written.
UNFINISHED = ".key-"
KEY_VARIABLE = "DTH_KEY"
KEY = re.compile(r"[A-Za-z0-9_-]{43}=")
# The prefix of everything that Fernet encrypts, until the year 2106.
TOKEN = b"gAAAAA"

# Every column with encrypted values, and the name of its row.
ENCRYPTED = (
    (secret.c.name, secret.c.value),
    (setting.c.name, setting.c.value),
    (channel.c.id, channel.c.target),
)


class Vault:
    """Encrypts and decrypts with the hub's key, and never shows it. Thread-safe."""

    def __init__(self, data_dir: Path) -> None:
        """Reads nothing until it is needed, and creates nothing: that is up to `open_vault`."""
        self._data_dir = data_dir
        # The known keys: first the one that encrypts, last those no longer in use, so that values
        # read from the database just before a rotation can still be decrypted after it.
        self._keys: dict[str, Fernet] = {}

    @staticmethod
    def new_key() -> str:
        """A new key, in the form of `DTH_KEY` and the file."""
        return Fernet.generate_key().decode()

    def encrypt(self, value: bytes) -> bytes:
        """Call it in the transaction that stores the result (see above)."""
        self._look()
        return next(iter(self._keys.values())).encrypt(value)

    def decrypt(self, value: bytes) -> bytes:
        """Raises StateError if no key fits."""
        found = self._try(value)
        if found is None:
            self._look()
            found = self._try(value)
        if found is None:
            raise StateError(
                "what the hub's database holds was encrypted with another key;"
                f" bring back the one that belongs to it ({_place(self._data_dir)})"
            )
        return found

    def _try(self, value: bytes) -> bytes | None:
        for key in self._keys.values():
            with contextlib.suppress(InvalidToken):
                return key.decrypt(value)
        return None

    def _look(self) -> None:
        self._keys = {key: Fernet(key) for key in _read_keys(self._data_dir)} | self._keys


def open_vault(data_dir: Path, values: Sequence[bytes] | None = None) -> Vault:
    """The vault of the hub with this data directory; its key is created at first use. `values`: all
    that the hub's tables have encrypted, where they are not in the data directory. Raises
    StateError if others can read the key, or if it is damaged, missing, or not the one that the
    database was encrypted with."""
    vault = Vault(data_dir)
    if values is None:
        values = encrypted_in(data_dir / DATABASE_FILE)
    if not values and not os.environ.get(KEY_VARIABLE) and not (data_dir / KEY_FILE).exists():
        _write_keys(data_dir, [Vault.new_key()], replace=False)
    vault._look()
    if values and all(vault._try(value) is None for value in values):
        vault.decrypt(values[0])  # raises an error that says why
    return vault


def has_key(data_dir: Path) -> bool:
    """Whether this machine has a hub's key."""
    return bool(os.environ.get(KEY_VARIABLE)) or (data_dir / KEY_FILE).exists()


def encrypted_values(connection: Connection) -> list[bytes]:
    """All encrypted values in the tables of a hub."""
    values = [value for _, column in ENCRYPTED for value in connection.scalars(select(column))]
    return [value for value in values if value.startswith(TOKEN)]


async def kept(database: SqlDatabase, vault: Vault, name: str, make: Callable[[], bytes]) -> bytes:
    """The setting `name`, encrypted at rest. The first caller creates it; all callers get the same
    value."""
    found = await database.read(_kept, vault, name)
    return found if found is not None else await database.write(_keep, vault, name, make)


def _kept(connection: Connection, vault: Vault, name: str) -> bytes | None:
    value = connection.execute(select(setting.c.value).where(setting.c.name == name)).scalar()
    return None if value is None else vault.decrypt(value)


def _keep(connection: Connection, vault: Vault, name: str, make: Callable[[], bytes]) -> bytes:
    found = _kept(connection, vault, name)
    if found is not None:
        return found
    made = make()
    connection.execute(insert(setting).values(name=name, value=vault.encrypt(made)))
    return made


async def keep(database: SqlDatabase, vault: Vault, name: str, value: bytes) -> None:
    """Set the setting `name`, replacing any previous value."""
    await database.write(_forget, name)
    await database.write(_keep, vault, name, lambda: value)


async def found(database: SqlDatabase, vault: Vault, name: str) -> bytes | None:
    """The setting `name`; None if it is not set."""
    return await database.read(_kept, vault, name)


async def forget(database: SqlDatabase, name: str) -> None:
    """Delete the setting `name`."""
    await database.write(_forget, name)


def _forget(connection: Connection, name: str) -> None:
    connection.execute(delete(setting).where(setting.c.name == name))


# ----------------------------------------------------------------------------------------- rotation


async def rotate(data_dir: Path, database: HubDatabase) -> int:
    """Encrypt everything again: with a new key, which is stored in the file, or if `DTH_KEY` is
    set, with its first key. Returns the number of values. After a crash at any moment, all values
    are readable."""
    if os.environ.get(KEY_VARIABLE):
        if len(_read_keys(data_dir)) < 2:
            raise UsageError(
                f"the key is in {KEY_VARIABLE}: put a new one before it, separated by a comma, "
                "start the hub again with both, and then run this; to make a key: openssl rand "
                "-base64 32 | tr +/ -_"
            )
        rotated = await database.write(_encrypt_anew, data_dir, new=False)
        _sync(database.path)
        return rotated
    open_vault(data_dir)
    rotated = await database.write(_encrypt_anew, data_dir, new=True)
    # A power failure may undo the last transactions, but never a file that was synced: the old key
    # must outlive them.
    _sync(database.path)
    await database.write(_drop_old_keys, data_dir)
    return rotated


async def rotate_shared(data_dir: Path, database: SqlDatabase) -> int:
    """As `rotate`, for tables that hubs on several machines use: with the first key, which all of
    them have to know before. Returns the number of values."""
    if len(_read_keys(data_dir)) < 2:
        raise UsageError(
            f"put a new key before the one in {_place(data_dir)}, on the machines of all hubs, and "
            f"then run this; where the key is in {KEY_VARIABLE}, separate them by a comma and start "
            "the hubs again; to make a key: openssl rand -base64 32 | tr +/ -_"
        )
    return await database.write(_encrypt_anew, data_dir, new=False)


def _encrypt_anew(connection: Connection, data_dir: Path, *, new: bool) -> int:
    vault = Vault(data_dir)
    plain = []
    for name, column in ENCRYPTED:
        for row, value in connection.execute(select(name, column)):
            if not value.startswith(TOKEN):
                continue
            try:
                plain.append((name, column, row, vault.decrypt(value)))
            except StateError as error:
                raise StateError(f"{column.table.name} {row!r}: {error}; or delete it") from None
    if new:
        _write_keys(data_dir, [Vault.new_key(), *_read_keys(data_dir)])
    for name, column, row, value in plain:
        again = {column.name: vault.encrypt(value)}
        connection.execute(update(column.table).where(name == row).values(again))
    return len(plain)


def _drop_old_keys(connection: Connection, data_dir: Path) -> None:
    """Keep only the first key in the file, if everything is encrypted with it."""
    first = _read_keys(data_dir)[0]
    for _, column in ENCRYPTED:
        for value in connection.execute(select(column)).scalars():
            if value.startswith(TOKEN):
                try:
                    Fernet(first).decrypt(value)
                except InvalidToken:
                    return
    _write_keys(data_dir, [first])
    for left in data_dir.glob(f"{UNFINISHED}*"):  # old keys, left by interrupted rotations
        left.unlink(missing_ok=True)


def _sync(database: Path) -> None:
    """Wait until committed data is on the disk: the log, and what was copied from it into the
    database."""
    for path in (database.with_name(f"{database.name}-wal"), database):
        with contextlib.suppress(FileNotFoundError):
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)


# ------------------------------------------------------------------------------------- the key file


def _place(data_dir: Path) -> str:
    return KEY_VARIABLE if os.environ.get(KEY_VARIABLE) else str(data_dir / KEY_FILE)


def _read_keys(data_dir: Path) -> list[str]:
    """All keys, at least one; the first one encrypts."""
    place = _place(data_dir)
    text = os.environ.get(KEY_VARIABLE) or _read_file(data_dir / KEY_FILE)
    keys = [key for key in re.split(r"[\s,]+", text) if key]
    if not keys or not all(map(KEY.fullmatch, keys)):
        raise StateError(
            f"the hub's key in {place} is damaged; bring it back from a backup, as nothing "
            "else decrypts the secrets"
        )
    return keys


def _read_file(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise StateError(
                    f"the hub's key {path} can be read by others; run: chmod 600 {path}"
                )
            return file.read(65_536)
    except FileNotFoundError:
        raise StateError(
            f"the hub's key is gone: bring {path} back from a backup, or set {KEY_VARIABLE};"
            " nothing else decrypts the secrets"
        ) from None
    except OSError as error:
        raise StateError(f"the hub's key {path} cannot be read: {error.strerror}") from None


def _write_keys(data_dir: Path, keys: list[str], *, replace: bool = True) -> None:
    """Write the whole file, safe on the disk before this returns. Without `replace`, the first
    writer wins."""
    path = data_dir / KEY_FILE
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Readable by its owner only.
        file, written = tempfile.mkstemp(dir=data_dir, prefix=UNFINISHED)
        try:
            with open(file, "w", encoding="ascii") as stream:  # noqa: PTH123 - a descriptor, not a path
                stream.write("".join(f"{key}\n" for key in keys))
                stream.flush()
                os.fsync(file)
            if replace:
                Path(written).replace(path)
            else:
                with contextlib.suppress(FileExistsError):
                    path.hardlink_to(written)
        finally:
            Path(written).unlink(missing_ok=True)
        folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StateError(f"the hub's key {path} cannot be written: {error.strerror}") from None


def encrypted_in(path: Path) -> list[bytes]:
    """All encrypted values in the database; empty if there is no database."""
    if not path.exists():
        return []
    columns = " UNION ALL ".join(
        f"SELECT {column.name} FROM {column.table.name}" for _, column in ENCRYPTED
    )
    try:
        with contextlib.closing(read_only(path)) as database:
            return [value for (value,) in database.execute(columns) if value.startswith(TOKEN)]
    except sqlite3.Error as error:
        if "no such table" in str(error):  # it is being created
            return []
        raise StateError(f"{path} cannot be read: {error}") from None


def read_only(path: Path) -> sqlite3.Connection:
    """A separate connection to a database that others write."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5, isolation_level=None
    )
