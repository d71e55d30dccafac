import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from dth.core.errors import StateError, UsageError
from dth.platforms.local import vault as vault_module
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.hub_schema import setting
from dth.platforms.local.secrets import LocalSecrets, StoredSecrets, value_of
from dth.platforms.local.vault import Vault, kept, open_vault, rotate

VALUE = '{"access_key_id": "AK", "secret_access_key": "SK"}'


@pytest.fixture(autouse=True)
def no_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DTH_KEY", raising=False)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[HubDatabase]:
    with HubDatabase.open(tmp_path / "hub.db") as opened:
        yield opened


def keys(data_dir: Path) -> list[str]:
    return (data_dir / "key").read_text().split()


async def test_the_key_is_made_at_first_use_for_its_owner_alone(tmp_path: Path) -> None:
    data_dir = tmp_path / "new"
    vault = open_vault(data_dir)
    assert vault.decrypt(vault.encrypt(b"x")) == b"x"
    assert (data_dir / "key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in data_dir.iterdir()] == ["key"]
    assert open_vault(data_dir).decrypt(vault.encrypt(b"y")) == b"y"
    assert keys(data_dir)[0] not in repr(vault)


def test_of_many_who_start_at_once_all_have_one_key(tmp_path: Path) -> None:
    vaults: list[Vault] = []
    threads = [
        threading.Thread(target=lambda: vaults.append(open_vault(tmp_path))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(vaults) == 8
    assert all(one.decrypt(vaults[0].encrypt(b"x")) == b"x" for one in vaults)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    open_vault(tmp_path)
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(StateError, match=r"can be read by others; run: chmod 600"):
        open_vault(tmp_path)


@pytest.mark.parametrize("text", ["", "x", "A" * 44, "A" * 42 + "=", "A" * 43 + "= x", "\xff\x00"])
def test_a_damaged_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text, "latin-1")
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(StateError, match="is damaged") as raised:
        open_vault(tmp_path)
    assert "AAAA" not in str(raised.value)


async def test_a_key_that_is_gone_is_not_made_anew(tmp_path: Path, database: HubDatabase) -> None:
    await LocalSecrets(database, open_vault(tmp_path)).create("s", VALUE)
    key = (tmp_path / "key").read_bytes()
    (tmp_path / "key").unlink()
    with pytest.raises(StateError, match="is gone"):
        open_vault(tmp_path)
    assert not (tmp_path / "key").exists()
    (tmp_path / "key").write_text(Vault.new_key())
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(StateError, match="encrypted with another key"):
        open_vault(tmp_path)
    (tmp_path / "key").write_bytes(key)
    open_vault(tmp_path)


async def test_settings_that_are_not_encrypted_are_left_alone(
    tmp_path: Path, database: HubDatabase
) -> None:
    await database.write(Connection.execute, insert(setting).values(name="plain", value=b"1"))
    vault = open_vault(tmp_path)
    await kept(database, vault, "secret", lambda: b"2")
    assert await rotate(tmp_path, database) == 1


async def test_what_is_kept_is_made_once(tmp_path: Path, database: HubDatabase) -> None:
    vault = open_vault(tmp_path)
    with HubDatabase.open(tmp_path / "hub.db") as other:
        found = await asyncio.gather(
            *(kept(each, vault, "key", lambda: os.urandom(8)) for each in (database, other) * 5)
        )
    assert len(set(found)) == 1
    assert (
        found[0] not in (tmp_path / "hub.db").read_bytes() + (tmp_path / "hub.db-wal").read_bytes()
    )


async def test_keys_of_the_environment(
    tmp_path: Path, database: HubDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = Vault.new_key(), Vault.new_key()
    monkeypatch.setenv("DTH_KEY", old)
    await kept(database, open_vault(tmp_path), "s", lambda: b"x")
    assert not (tmp_path / "key").exists()
    with pytest.raises(UsageError, match="put a new one before it"):
        await rotate(tmp_path, database)
    monkeypatch.setenv("DTH_KEY", f"{new}, {old}")
    assert await rotate(tmp_path, database) == 1
    monkeypatch.setenv("DTH_KEY", new)
    assert await kept(database, open_vault(tmp_path), "s", lambda: b"y") == b"x"
    monkeypatch.setenv("DTH_KEY", f"{new},{old[:-2]}")
    with pytest.raises(StateError, match="DTH_KEY is damaged"):
        open_vault(tmp_path)


async def test_a_rotation_changes_the_key_and_every_value(
    tmp_path: Path, database: HubDatabase
) -> None:
    vault, stored = open_vault(tmp_path), StoredSecrets(tmp_path)
    secrets = LocalSecrets(database, vault)
    await secrets.create("s", VALUE)
    assert stored.read("s") == VALUE
    for _ in range(3):
        before = keys(tmp_path)
        await kept(database, vault, "signing", lambda: b"k")
        assert await rotate(tmp_path, database) == 2
        assert len(keys(tmp_path)) == 1
        assert keys(tmp_path) != before
        for each in (vault, open_vault(tmp_path)):  # of the running hub, and of one that starts now
            assert await database.read(value_of, each, "s") == VALUE
            assert await kept(database, each, "signing", lambda: b"another") == b"k"
        assert stored.read("s") == VALUE
        await secrets.update("s", VALUE)  # by the hub that runs, with the new key


@pytest.mark.parametrize("moment", ["_write_keys", "_sync", "_drop_old_keys"])
async def test_a_rotation_that_dies_leaves_all_readable(
    tmp_path: Path, database: HubDatabase, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Before the new key is written, after all is encrypted again, before the old key is
    dropped."""
    await LocalSecrets(database, open_vault(tmp_path)).create("s", VALUE)
    stored = StoredSecrets(tmp_path)

    def die(*_: object, **__: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(vault_module, moment, die)
        with pytest.raises(RuntimeError):
            await rotate(tmp_path, database)
    assert stored.read("s") == StoredSecrets(tmp_path).read("s") == VALUE
    await rotate(tmp_path, database)
    assert stored.read("s") == VALUE
    assert len(keys(tmp_path)) == 1


async def test_a_rotation_that_dies_between_key_and_database(
    tmp_path: Path, database: HubDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await LocalSecrets(database, open_vault(tmp_path)).create("s", VALUE)
    write = vault_module._write_keys

    def die(*args: object, **kwargs: object) -> None:
        write(*args, **kwargs)  # type: ignore[arg-type]
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(vault_module, "_write_keys", die)
        with pytest.raises(RuntimeError):
            await rotate(tmp_path, database)
    assert len(keys(tmp_path)) == 2
    (tmp_path / ".key-x").write_text("half")
    assert StoredSecrets(tmp_path).read("s") == VALUE
    await rotate(tmp_path, database)
    assert len(keys(tmp_path)) == 1
    assert not list(tmp_path.glob(".key-*"))
    assert StoredSecrets(tmp_path).read("s") == VALUE


async def test_rotations_and_writes_at_once_lose_nothing(
    tmp_path: Path, database: HubDatabase
) -> None:
    secrets, stored = LocalSecrets(database, open_vault(tmp_path)), StoredSecrets(tmp_path)
    await secrets.create("s", '{"n": "0"}')

    async def turn() -> None:
        with HubDatabase.open(tmp_path / "hub.db") as other:  # as the command does it
            for _ in range(5):
                await rotate(tmp_path, other)

    async def write() -> None:
        for n in range(1, 41):
            await secrets.update("s", f'{{"n": "{n}"}}')
            await asyncio.to_thread(stored.read, "s")

    await asyncio.gather(turn(), turn(), write())
    await rotate(tmp_path, database)
    assert stored.read("s") == StoredSecrets(tmp_path).read("s") == '{"n": "40"}'
    assert len(keys(tmp_path)) == 1


async def test_a_value_that_cannot_be_decrypted_stops_a_rotation_before_it_begins(
    tmp_path: Path, database: HubDatabase
) -> None:
    vault = open_vault(tmp_path)
    await kept(database, vault, "good", lambda: b"x")
    stranger = open_vault(tmp_path / "nowhere").encrypt(b"y")
    await database.write(Connection.execute, insert(setting).values(name="bad", value=stranger))
    before = keys(tmp_path)
    with pytest.raises(StateError, match=r"^setting 'bad': .*or delete it$"):
        await rotate(tmp_path, database)
    assert keys(tmp_path) == before
