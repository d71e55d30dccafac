"""Backups that are downloaded from a running hub, and uploaded to be restored."""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import shutil
import sqlite3
import tarfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dth.hub.model import ROLES, Role
from dth.platforms.local import hub_migrations
from dth.platforms.local import restore as restore_module
from dth.platforms.local.backup import back_up
from dth.platforms.local.restore import forget_restore, take_restore, unpack
from dth.platforms.local.tokens import LocalTokens
from tests.engine import Side, bodies, wait_for
from tests.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Iterator

LINK = "mutation { createBackupLink { url } }"
STATE = "{ getRestore { id state bytes error tasks users newestAt leftOut } }"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with Hub(tmp_path_factory.mktemp("hub")) as hub:
        hub.secret("keys", "an access key", "the secret of the keys")
        yield hub


def token(hub: Hub, role: Role) -> dict[str, str]:
    query = 'mutation ($r: Role!) { createToken(name: "t", role: $r) { token } }'
    return {"authorization": f"Bearer {hub.call(query, r=role.value)['token']}"}


def downloaded(hub: Hub, path: str, headers: dict[str, str] | None = None) -> bytes:
    request = urllib.request.Request(hub.url + path, headers=headers or {})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.headers["content-type"] == "application/gzip"
        assert ".tar.gz" in answer.headers["content-disposition"]
        return bytes(answer.read())


def upload(hub: Hub, archive: bytes, piece: int = 100_000) -> dict[str, Any]:
    """Upload a backup in pieces, and have it checked."""
    begun = hub.call("mutation { beginRestore { id } }")["id"]
    headers = {"authorization": f"Bearer {hub.token}"}
    for offset in range(0, len(archive), piece):
        path = f"/restore/{begun}?offset={offset}"
        status, answer = hub.request(path, archive[offset : offset + piece], headers)
        assert status == 200, answer
    hub.call("mutation ($id: ID!) { checkRestore(id: $id) { state } }", id=begun)
    found: dict[str, Any] = {}

    def ended() -> bool:
        found.update(hub.call(STATE))
        return found["state"] != "CHECKING"

    wait_for(ended)
    return found


def archive_of(files: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(content), kind, "/etc/passwd"
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


# ------------------------------------------------------------------------------------- downloading


def test_a_link_downloads_a_backup_once(hub: Hub) -> None:
    link = hub.call(LINK)["url"]
    assert link.startswith(f"{hub.url}/backup?ticket=")
    with tarfile.open(fileobj=io.BytesIO(downloaded(hub, link[len(hub.url) :]))) as archive:
        [database] = [name for name in archive.getnames() if name.endswith("/hub.db")]
        names = {name.rpartition("/")[2] for name in archive.getnames()}
        assert "key" not in names
        content = archive.extractfile(database)
        assert content
        whole = content.read()
    assert whole.startswith(b"SQLite format 3")
    assert b"the secret of the keys" not in whole
    assert hub.request(link[len(hub.url) :])[0] == 401
    assert not list(hub.data.glob(".backup-*"))
    query = '{ listAudit(count: 1, what: ["backup"]) { items { who via target outcome } } }'

    def noted() -> bool:
        [entry] = hub.call(query)["items"]
        return bool(entry["outcome"])

    wait_for(noted)
    [entry] = hub.call(query)["items"]
    assert entry["target"].endswith(".tar.gz")
    assert (entry["who"], entry["via"], entry["outcome"]) == ("command line", "token", "ok")


def test_an_invented_link_is_refused(hub: Hub) -> None:
    real = hub.call(LINK)["url"]
    for wrong in ("x", ".", "0.0", f"{real.rpartition('=')[2][:-1]}?"):
        status, answer = hub.request(f"/backup?ticket={wrong}")
        assert (status, "ask for another one" in answer) == (401, True)


@pytest.mark.parametrize("role", ROLES)
def test_only_administrators_get_a_backup_or_restore_one(hub: Hub, role: Role) -> None:
    headers = token(hub, role)
    begun = hub.call("mutation { beginRestore { id } }")["id"]
    if role is Role.ADMIN:
        assert downloaded(hub, "/backup", headers)[:2] == b"\x1f\x8b"
        assert hub.request(f"/restore/{begun}?offset=0", b"x", headers) == (200, '{"bytes":1}')
        return
    for path, body in (("/backup", None), (f"/restore/{begun}?offset=0", b"x")):
        status, answer = hub.request(path, body, headers)
        assert (status, json.loads(answer)["errors"][0]["extensions"]["code"]) == (403, "FORBIDDEN")
    for query in (LINK, STATE, "mutation { beginRestore { id } }"):
        _, answer = hub.request("/graphql", {"query": query}, headers)
        assert json.loads(answer)["errors"][0]["extensions"]["code"] == "FORBIDDEN"


def test_nobody_gets_a_backup_without_signing_in(hub: Hub) -> None:
    wrong = {"authorization": "Bearer dth_nobodys"}
    for headers in ({}, wrong):
        assert hub.request("/backup", headers=headers)[0] == 401
        assert hub.request("/restore/x?offset=0", b"x", headers)[0] == 401


def test_a_token_gives_no_backup_to_an_administrator_who_is_one_no_more(hub: Hub) -> None:
    hub.user("ann", "a long enough password", Role.ADMIN)
    _, made = hub._with_database(
        lambda database: LocalTokens(database).create("ann's", Role.ADMIN, 0.0, "ann", "ann")
    )
    headers = {"authorization": f"Bearer {made}"}
    assert downloaded(hub, "/backup", headers)
    hub.call('mutation { setUserRole(name: "ann", role: operator) { name } }')
    assert hub.request("/backup", headers=headers)[0] == 403


def test_a_download_that_is_broken_off_is_noted_and_the_next_one_works(hub: Hub) -> None:
    logs = hub.data / "tasks" / "00000000-0000-4000-8000-000000000000" / "logs"
    logs.mkdir(parents=True)
    (logs / "big.log").write_bytes(secrets.token_bytes(30_000_000))  # more than fits in between
    headers = {"authorization": f"Bearer {hub.token}"}
    request = urllib.request.Request(f"{hub.url}/backup", headers=headers)
    answer = urllib.request.urlopen(request, timeout=30)
    answer.read(1000)
    status, told = hub.request("/backup", headers=headers)
    assert (status, "another backup is being downloaded" in told) == (409, True)
    answer.close()
    query = '{ listAudit(count: 1, what: ["backup"]) { items { outcome } } }'
    wait_for(lambda: hub.call(query)["items"][0]["outcome"] == "FAILED")
    assert len(downloaded(hub, "/backup", headers)) > 30_000_000
    wait_for(lambda: hub.call(query)["items"][0]["outcome"] == "ok")
    wait_for(lambda: not list(hub.data.glob(".backup-*")))
    shutil.rmtree(logs.parent)


# --------------------------------------------------------------------------------------- restoring


def test_a_backup_takes_the_place_of_the_data_at_the_next_start(
    tmp_path: Path, source: Side, dest: Side
) -> None:
    source.put(bodies("ab"))
    with Hub(tmp_path) as hub:
        (hub.data / "hub.yaml").write_text("bounds: {tasks: 7}\n")
        task = hub.create(source, dest)
        hub.wait(task, "DONE")
        hub.user("before", "a long enough password", Role.ADMIN)
        archive = downloaded(hub, "/backup", {"authorization": f"Bearer {hub.token}"})
        hub.user("after", "a long enough password", Role.ADMIN)
        hub.do("deleteTask", task)
        (hub.data / "hub.yaml").write_text("bounds: {tasks: 9}\n")

        waiting = upload(hub, archive)
        assert (waiting["state"], waiting["error"]) == ("WAITING", "")
        assert (waiting["tasks"], waiting["users"], waiting["leftOut"]) == (1, 2, ["hub.yaml"])
        assert waiting["newestAt"]
        # The hub that runs goes on as it is.
        assert "after" in {each["name"] for each in hub.call("{ listUsers { name } }")}
        hub.stop()
        hub.start()
        assert {each["name"] for each in hub.call("{ listUsers { name } }")} == {"admin", "before"}
        assert hub.task(task)["progress"] == "DONE"
        assert hub.call("query ($id: ID!) { listRecords(id: $id) { items { key } } }", id=task)[
            "items"
        ]
        assert hub.call(STATE) is None
        # The settings are those of this machine.
        assert json.loads(hub.call("{ hubInfo { limits } }")["limits"])["tasks"] == 9
        query = '{ listAudit(what: ["restore"]) { items { who target outcome } } }'
        [entry] = hub.call(query)["items"]
        assert (entry["who"], entry["outcome"]) == ("command line", "ok")
        [kept] = hub.data.glob("before-restore-*")
        assert entry["target"] == kept.name
        with contextlib.closing(sqlite3.connect(kept / "hub.db")) as old:
            assert ("after",) in old.execute("SELECT name FROM user").fetchall()
        assert not list(hub.data.glob("restor*"))
        # Once.
        hub.stop()
        hub.start()
        assert [kept] == list(hub.data.glob("before-restore-*"))
        assert len(hub.call(query)["items"]) == 1


def test_a_backup_can_be_discarded(hub: Hub) -> None:
    archive = downloaded(hub, "/backup", {"authorization": f"Bearer {hub.token}"})
    waiting = upload(hub, archive)
    assert waiting["state"] == "WAITING", waiting
    hub.call("mutation ($id: ID!) { discardRestore(id: $id) }", id=waiting["id"])
    assert hub.call(STATE) is None
    assert not (hub.data / "restore").exists()
    assert take_restore(hub.data) is None


def test_pieces_come_in_order(hub: Hub) -> None:
    headers = {"authorization": f"Bearer {hub.token}"}
    begun = hub.call("mutation { beginRestore { id } }")["id"]
    assert hub.request(f"/restore/{begun}?offset=0", b"abc", headers)[0] == 200
    status, answer = hub.request(f"/restore/{begun}?offset=1", b"abc", headers)
    assert (status, "begins at 3, not at 1" in answer) == (409, True)
    assert hub.request(f"/restore/{begun}?offset=-1", b"abc", headers)[0] == 400
    assert hub.request(f"/restore/{'0' * 16}?offset=0", b"abc", headers)[0] == 404
    assert hub.request(f"/restore/{begun}?offset=3", b"x" * 3_000_000, headers)[0] == 400
    again = hub.call("mutation { beginRestore { id } }")["id"]
    assert hub.request(f"/restore/{begun}?offset=3", b"abc", headers)[0] == 404
    assert hub.request(f"/restore/{again}?offset=0", b"abc", headers)[0] == 200


def database(version: int = 0, *statements: str) -> bytes:
    made = sqlite3.connect(":memory:")
    for statement in (*statements, f"PRAGMA user_version = {version}"):
        made.execute(statement)
    return made.serialize()


BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "the upload is empty"),
    "no archive": (b"no archive at all" * 99, "not a whole archive"),
    "another file": (archive_of({"notes.txt": b"x"}), "it contains 'notes.txt'"),
    "out of the directory": (
        archive_of({"x/tasks/../../../etc/cron.d/x": b"x"}),
        "it contains 'x/tasks/../../../etc/cron.d/x'",
    ),
    "an absolute path": (archive_of({"/tasks/a/task.sh": b""}), "it contains"),
    "a link": (archive_of({"hub.db": b""}, tarfile.SYMTYPE), "hub.db is not a file"),
    "no database": (archive_of({"tasks/a/task.json": b"{}"}), "it has no hub.db"),
    "the same twice": (archive_of({"a/hub.db": b"1", "b/hub.db": b"2"}), "twice"),
    "no SQLite": (archive_of({"hub.db": b"x" * 9999}), "damaged, or not of a hub"),
    "another database": (archive_of({"hub.db": database()}), "damaged, or not of a hub"),
    "without tables": (archive_of({"hub.db": database(1)}), "damaged, or not of a hub"),
    "of a newer hub": (archive_of({"hub.db": database(99)}), "newer version"),
    "with a trigger": (
        archive_of(
            {
                "hub.db": database(
                    1,
                    "CREATE TABLE user (a)",
                    "CREATE TRIGGER t AFTER INSERT ON user BEGIN DELETE FROM user; END",
                )
            }
        ),
        "damaged, or not of a hub",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_a_whole_backup_is_refused_in_one_line(hub: Hub, name: str) -> None:
    archive, words = BAD[name]
    found = upload(hub, archive)
    assert (found["state"], words in found["error"]) == ("FAILED", True), found
    assert "\n" not in found["error"]
    assert not list(hub.data.glob("restore*"))
    assert not list(hub.data.glob(".restore*"))


def test_a_backup_that_is_cut_off_is_refused(hub: Hub) -> None:
    archive = downloaded(hub, "/backup", {"authorization": f"Bearer {hub.token}"})
    found = upload(hub, archive[:-20])
    assert (found["state"], "not a whole archive" in found["error"]) == ("FAILED", True), found


def test_a_backup_whose_secrets_this_hub_cannot_read_is_refused(hub: Hub, tmp_path: Path) -> None:
    archive = downloaded(hub, "/backup", {"authorization": f"Bearer {hub.token}"})
    with Hub(tmp_path) as other:
        found = upload(other, archive)
        assert found["state"] == "FAILED"
        assert "add the key that belongs to the backup" in found["error"]
        own = (other.data / "key").read_text()
        (other.data / "key").write_text(own + (hub.data / "key").read_text())
        assert upload(other, archive)["state"] == "WAITING"
        other.stop()
        other.start()
        assert "keys" in {each["name"] for each in other.call("{ listSecrets { name } }")}


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ("DROP TABLE invitation; PRAGMA user_version = 8", "WAITING"),
        ("PRAGMA user_version = 1", "FAILED"),  # the steps do not fit what is there
        ("ALTER TABLE task DROP COLUMN acknowledged", "FAILED"),
        ("DROP TABLE outbox", "FAILED"),
    ],
)
def test_a_database_is_brought_up_to_date_before_it_waits(
    hub: Hub, tmp_path: Path, change: str, state: str
) -> None:
    """A hub that could not open it would not start."""
    assert len(hub_migrations.STEPS) == 8, "8 above is the version before invitations"
    back_up(hub.data, tmp_path / "copy", key=False)
    path = tmp_path / "copy" / "hub.db"
    with contextlib.closing(sqlite3.connect(path)) as copy:
        copy.executescript(change)
    found = upload(hub, archive_of({"hub.db": path.read_bytes()}))
    assert (found["state"], bool(found["error"])) == (state, state == "FAILED"), found
    assert "\n" not in found["error"]
    hub.call("mutation ($id: ID!) { discardRestore(id: $id) }", id=found["id"])


def test_a_directory_of_dth_backup_can_be_packed_and_restored(hub: Hub, tmp_path: Path) -> None:
    back_up(hub.data, tmp_path / "nightly", key=True)
    packed = shutil.make_archive(str(tmp_path / "packed"), "gztar", tmp_path, "nightly")
    found = upload(hub, Path(packed).read_bytes())
    assert (found["state"], found["leftOut"]) == ("WAITING", ["key"]), found
    hub.call("mutation ($id: ID!) { discardRestore(id: $id) }", id=found["id"])


def test_a_disk_without_room_is_left_with_some(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(downloaded(hub, "/backup", {"authorization": f"Bearer {hub.token}"}))
    monkeypatch.setattr(restore_module, "ROOM", 1 << 60)
    with pytest.raises(Exception, match="too little room"):
        unpack(archive, tmp_path, "ann", "oidc")
    assert [each.name for each in tmp_path.iterdir()] == ["archive"]


class PowerCut(Exception):
    pass


def test_a_restore_that_is_interrupted_continues_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever rename is the last one."""
    rename = Path.rename
    for last in range(7):
        data = tmp_path / str(last)
        (data / "tasks" / "old").mkdir(parents=True)
        (data / "hub.db").write_text("old")
        (data / "hub.db-wal").write_text("old")
        ready = data / "restore"
        (ready / "tasks" / "new").mkdir(parents=True)
        (ready / "hub.db").write_text("new")
        about = restore_module.Contents(1, 1, 1.0, (), "ann", "oidc")
        (ready / "restore.json").write_text(json.dumps(restore_module.asdict(about)))
        done = 0

        def cut(self: Any, target: Any, last: int = last) -> Any:
            nonlocal done
            if done == last:
                raise PowerCut
            done += 1
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", cut)
        with contextlib.suppress(PowerCut):
            take_restore(data)
            assert done == last == 6  # all there are
        monkeypatch.setattr(Path, "rename", rename)
        if last < 6:
            taken = take_restore(data)
            assert taken
            assert taken[0] == about
        [kept] = data.glob("before-restore-*")
        assert ((data / "hub.db").read_text(), (kept / "hub.db").read_text()) == ("new", "old")
        assert not (data / "hub.db-wal").exists()
        assert (kept / "hub.db-wal").exists()
        assert (data / "tasks" / "new").exists()
        assert (kept / "tasks" / "old").exists()
        assert not list(data.glob("restor*"))


def test_nothing_to_restore(tmp_path: Path) -> None:
    forget_restore(tmp_path)
    assert take_restore(tmp_path) is None
