import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dth.core.errors import Conflict, NotFound, UsageError
from dth.hub.secrets import check_value
from dth.objects.store.credentials import CredentialSource, SecretCredentials
from dth.objects.store.signing import AccessKeys
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.secrets import LocalSecrets, StoredSecrets
from dth.platforms.local.vault import open_vault

VALUE = '{"access_key_id": "AK", "secret_access_key": "SK"}'
MARK = "p4ssw0rd"


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubDatabase]:
    monkeypatch.delenv("DTH_KEY", raising=False)
    with HubDatabase.open(tmp_path / "hub.db") as opened:
        yield opened


@pytest.fixture
def secrets(tmp_path: Path, database: HubDatabase) -> LocalSecrets:
    return LocalSecrets(database, open_vault(tmp_path))


async def test_a_secret_from_its_making_to_its_end(tmp_path: Path, secrets: LocalSecrets) -> None:
    stored = StoredSecrets(tmp_path)
    await secrets.create("one", VALUE, "keys")
    with pytest.raises(Conflict, match="already"):
        await secrets.create("one", VALUE)
    assert [(info.name, info.description) for info in await secrets.list()] == [("one", "keys")]
    assert stored.read("one") == VALUE
    changed = VALUE.replace("SK", "SK2")
    await secrets.update("one", changed)
    assert stored.read("one") == changed
    await secrets.update("one", description="other")
    assert (await secrets.list())[0].description == "other"
    assert stored.read("one") == changed
    await secrets.delete("one")
    with pytest.raises(UsageError, match="there is no secret 'one'"):
        stored.read("one")
    for gone in (secrets.delete("one"), secrets.update("one", VALUE)):
        with pytest.raises(NotFound):
            await gone


async def test_a_running_worker_sees_a_changed_secret(
    tmp_path: Path, secrets: LocalSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.objects.store.credentials.SECRET_CHECK", 0.0)
    await secrets.create("one", VALUE)
    credentials = SecretCredentials(CredentialSource(secret="one"), StoredSecrets(tmp_path))
    assert await credentials.keys() == AccessKeys("AK", "SK", "")
    await secrets.update("one", VALUE.replace("AK", "AK2"))
    assert await credentials.keys() == AccessKeys("AK2", "SK", "")


async def test_nothing_of_a_value_is_on_the_disk_or_in_a_repr(
    tmp_path: Path, secrets: LocalSecrets
) -> None:
    await secrets.create("one", json.dumps({"username": "me", "password": MARK}))
    for path in tmp_path.iterdir():
        assert MARK.encode() not in path.read_bytes()
    assert "key" not in repr(secrets) + repr(StoredSecrets(tmp_path)) + repr(
        (await secrets.list())[0]
    )


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../x", "a b", "x\n", "x" * 256, "a'--"])
async def test_names_that_cannot_be(tmp_path: Path, secrets: LocalSecrets, name: str) -> None:
    with pytest.raises(UsageError, match="not a valid name for a secret"):
        await secrets.create(name, VALUE)
    with pytest.raises(UsageError, match="not a valid name for a secret"):
        StoredSecrets(tmp_path).read(name)


@pytest.mark.parametrize(
    "value",
    [
        "",
        MARK,
        f'"{MARK}"',
        f'["{MARK}"]',
        "{}",
        f'{{"password": ["{MARK}"]}}',
        f'{{"access_key_id": "{MARK}"}}',
        f'{{"access_key_id": "{MARK}", "secret_access_key": ""}}',
        f'{{"x": "{MARK * 10_000}"}}',
        f'{{"x": "{MARK}\udcff"}}',
        "[" * 30_000,
    ],
)
async def test_values_that_cannot_be_are_not_quoted(secrets: LocalSecrets, value: str) -> None:
    await secrets.create("good", VALUE)
    for call in (secrets.create("bad", value), secrets.update("good", value)):
        with pytest.raises(UsageError) as raised:
            await call
        assert MARK not in str(raised.value)
        assert raised.value.__suppress_context__ or raised.value.__context__ is None
    assert [info.name for info in await secrets.list()] == ["good"]


@given(st.text(max_size=60))
def test_no_text_as_a_value_is_an_internal_error(value: str) -> None:
    try:
        check_value("s", value)
    except UsageError:
        return
    assert isinstance(json.loads(value), dict)


def test_without_a_hub_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="secret 'one' cannot be read: unable to open"):
        StoredSecrets(tmp_path).read("one")
    assert list(tmp_path.iterdir()) == []
