"""`dth store`, and commands that name a store in place of a URL."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
import yaml

from dth.cli.s3_options import build_parameters, parse_url
from tests.engine import bodies

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine import Dth, Side
    from tests.hub import Hub

pytestmark = pytest.mark.quick

RCLONE = """
[old]
type = s3
provider = Minio
access_key_id = AK
secret_access_key = SK=with=equals
endpoint = minio.example.com:9000
region = eu-west-1
force_path_style = true
storage_class = STANDARD_IA
server_side_encryption = aws:kms
chunk_size = 64M

[aws]
type = s3
provider = AWS
env_auth = true
profile = backup
region = eu-central-1

[open]
type = s3
provider = Other
endpoint = https://open.example.com
force_path_style = false

[photos drive]
type = s3
provider = AWS
env_auth = true

[gdrive]
type = drive
token = {"access_token":"secret-token"}
"""


def file_of(dth: Dth) -> Path:
    return dth.home / "config" / "dth" / "stores.toml"


def test_a_store_is_added_shown_tested_and_removed(dth: Dth, source: Side) -> None:
    server = source.server
    dth.env |= {"OLD_KEY": server.access_key, "OLD_SECRET": server.secret_key}
    added = dth.here("store", "add", "old-minio", "--endpoint-url", server.url, "--type", "MinIO",
        "--keys-from-env", "OLD_KEY", "OLD_SECRET",
    )  # fmt: skip
    assert added.code == 0, added
    assert server.secret_key not in file_of(dth).read_text()
    assert file_of(dth).stat().st_mode & 0o077 == 0
    assert "old-minio" in dth.here("store", "list").out
    shown = json.loads(dth.here("store", "show", "old-minio", "--json").out)
    assert shown == {
        "name": "old-minio",
        "endpoint": server.url,
        "kind": "MinIO",
        "keys": "keys in OLD_KEY",
    }
    rows = dth.here("store", "show", "old-minio").out.splitlines()
    assert [row.split() for row in rows][2:] == [
        ["kind", "MinIO"],
        ["keys", "keys", "in", "OLD_KEY"],
    ]
    tested = dth.here("store", "test", "old-minio")
    assert tested.code == 0, tested
    assert source.bucket in tested.out.split()
    found = json.loads(dth.here("store", "test", "old-minio", "--json").out)
    assert (found["ok"], source.bucket in str(found["buckets"])) == (True, True)
    del dth.env["OLD_KEY"]
    unset = dth.here("store", "test", "old-minio")
    assert unset.code != 0
    assert "the environment variable OLD_KEY is not set" in unset.err
    again = dth.here("store", "add", "old-minio")
    assert (again.code, "already" in again.err) == (2, True)
    assert dth.here("store", "remove", "old-minio").code == 0
    assert dth.here("store", "list").out == ""
    gone = dth.here("store", "show", "old-minio")
    assert (gone.code, "there is no store 'old-minio'" in gone.err) == (2, True)


def test_commands_name_stores_in_place_of_urls(
    dth: Dth, source: Side, dest: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.put(bodies(["photos/a", "photos/b", "other"]))
    for name, side in (("old", source), ("new.eu", dest)):
        keys = {
            "access_key_id": side.server.access_key,
            "secret_access_key": side.server.secret_key,
        }
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(keys)))
        added = dth.here("store", "add", name, "--endpoint-url", side.server.url, "--keys")
        assert added.code == 0, added
    synced = dth.run(
        "s3", "sync", f"old:{source.bucket}/photos", f"new.eu:{dest.bucket}/in", "--quiet"
    )
    assert synced.code == 0, synced
    assert dest.listed() == ["in/a", "in/b"]
    listed = dth.here("s3", "ls", f"old:{source.bucket}/", "--json")
    assert json.loads(listed.out.splitlines()[0]) == {"prefix": "photos/"}
    same = dth.here("s3", "diff", f"old:{source.bucket}/photos/", f"new.eu:{dest.bucket}/in/")
    assert same.code == 0, same
    # An option has priority over the store.
    wrong = dth.here("s3", "ls", f"old:{source.bucket}", "--src-endpoint-url", "http://127.0.0.1:1")
    assert wrong.code != 0
    unknown = dth.here("s3", "ls", "nobody:photos")
    assert (
        unknown.code,
        "names the store 'nobody', which is not known: dth store add" in unknown.err,
    ) == (
        2,
        True,
    )
    none = dth.here("s3", "du", "old:")
    assert (none.code, "names no bucket" in none.err) == (2, True)
    file_of(dth).chmod(0o644)
    open_ = dth.here("s3", "ls", f"old:{source.bucket}")
    assert (open_.code, "chmod 600" in open_.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("du old:", "names no bucket; write s3://bucket/prefix; dth s3 ls old: lists those"),
        ("ls old:photos/*", "old:photos/ stands for everything below it"),
        ("cp old:photos/*.jpg old:x", "dth s3 sync old:photos/ DST --include '*.jpg'"),
        ("mb old:photos/x", "write old:photos; prefixes need not be created"),
    ],
)
def test_a_store_keeps_its_name_in_messages(dth: Dth, words: str, told: str) -> None:
    dth.here("store", "add", "old", "--endpoint-url", "http://127.0.0.1:9", "--anonymous")
    done = dth.here("s3", *words.split())
    assert (done.code, len(done.err.splitlines())) == (2, 1), done
    assert told in done.err
    assert "s3://old:" not in done.err


def test_the_remotes_of_rclone_are_taken_over(dth: Dth, tmp_path: Path) -> None:
    config = tmp_path / "rclone.conf"
    config.write_text(RCLONE)
    file_of(dth).parent.mkdir(parents=True)
    file_of(dth).write_text("# mine\n[kept]\nregion = 'eu-west-3' # of the team\n")
    done = dth.here("store", "import-rclone", config)
    assert done.code == 0, done
    assert (
        file_of(dth).read_text().startswith("# mine\n[kept]\nregion = 'eu-west-3' # of the team\n")
    )
    found = {each["name"]: each for each in json.loads(dth.here("store", "list", "--json").out)}
    assert yaml.safe_load(dth.here("store", "list", "--output", "yaml").out) == [*found.values()]
    rows = dth.here("store", "list").out.splitlines()
    assert rows[0].split() == ["NAME", "ENDPOINT", "KIND", "REGION", "KEYS"]
    assert len(rows) == 1 + len(found)
    assert found == {
        "aws": {"name": "aws", "kind": "Amazon_S3", "region": "eu-central-1", "profile": "backup",
            "keys": "profile backup"},
        "kept": {"name": "kept", "region": "eu-west-3"},
        "old": {
            "name": "old", "kind": "MinIO", "endpoint": "https://minio.example.com:9000",
            "region": "eu-west-1",
            "addressingStyle": "path", "keys": "keys in the file",
        },
        "open": {
            "name": "open", "endpoint": "https://open.example.com", "addressingStyle": "virtual",
            "anonymous": True, "keys": "anonymous",
        },
    }  # fmt: skip
    assert "SK=with=equals" in file_of(dth).read_text()
    for said in (
        (
            "old: storage_class (STANDARD_IA) is not a property of a store; give --storage-class "
            "with a command"
        ),
        (
            "old: server_side_encryption (aws:kms) is not a property of a store; give --sse with a "
            "command"
        ),
        "old: not taken: chunk_size",
        "gdrive: a remote of type drive is not an S3 store",
        "photos drive: 'photos drive' is not a name for a store",
        "3 of 4 S3 remotes are kept",
    ):
        assert said in done.err, said
    assert "secret-token" not in done.out + done.err
    again = dth.here("store", "import-rclone", config)
    assert "old: there is a store 'old'" in again.err
    replaced = dth.here("store", "import-rclone", config, "--replace")
    assert "3 of 4 S3 remotes are kept" in replaced.err
    assert len(json.loads(dth.here("store", "list", "--json").out)) == 4
    config.write_text("# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nabc\n")
    assert "is encrypted" in dth.here("store", "import-rclone", config).err


def test_the_stores_of_a_hub(dth: Dth, hub: Hub, source: Side) -> None:
    hub.secret("keys", source.server.access_key, source.server.secret_key)
    at = ("--hub", hub.url)
    dth.env |= {"DTH_TOKEN": hub.token}
    added = dth.run(
        "store", "add", "old", "--endpoint-url", source.server.url, "--secret", "keys", *at
    )
    assert added.code == 0, added
    [found] = json.loads(dth.here("store", "list", "--json", *at).out)
    assert (found["name"], found["tasks"], found["keys"]) == ("old", 0, "secret keys")
    assert source.bucket in dth.here("store", "test", "old", *at).out
    assert dth.here("store", "remove", "old", *at).code == 0
    assert dth.here("store", "list", *at).out == ""


def test_the_arn_of_an_access_point_is_no_store() -> None:
    bucket = "arn:aws:s3:eu-west-1:123456789012:accesspoint/mine"
    assert parse_url(f"s3://{bucket}/a", "URL", folder=False) == (bucket, "a")
    assert build_parameters({}, src_bucket=bucket).src_bucket == bucket
