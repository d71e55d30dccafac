"""What to copy, said in other ways than by one prefix: prefix lists, manifests, S3 Inventory; and
very many keys."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import pyarrow
import pytest
from pyarrow import parquet

from dth.core.ports.status import Status
from tests.engine import Dth, Engine, Side, between, bodies
from tests.servers.listing_server import Differences, ListingServer
from tests.servers.proxy import Proxy, Reply

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.ministack import MiniStack

KEYS = ["a/1", "a/2", "a b+%/x", "ab/3", "b/4", "c/d/5", "c/d/e/6", "top", "é/7"]


@pytest.fixture
def filled(source: Side) -> Side:
    source.put(bodies(KEYS))
    return source


def planned(dth: Dth, source: Side, dest: Side, *options: str | Path) -> list[str]:
    """The keys that the command would copy."""
    done = dth.here("s3", "sync", *between(source, dest), *options, "--dry-run")
    assert done.code == 0, done
    return sorted(re.findall(r"^copy    (.*)  \(", done.out, re.MULTILINE), key=str.encode)


# --- prefix lists
# ------------------------------------------------------------------------------------------------


def test_fault_07_a_prefix_list_may_have_blank_lines_and_windows_line_ends(
    dth: Dth, filled: Side, dest: Side, tmp_path: Path
) -> None:
    listed = tmp_path / "prefixes.txt"
    listed.write_bytes("\ufeffa/\r\n\r\n   \r\nc/d/\r\nc/d/e/\nmissing/\r\nt".encode())
    found = dth.sync(filled, dest, "--prefix-list", listed)
    assert dest.listed() == ["a/1", "a/2", "c/d/5", "c/d/e/6", "top"]
    assert (found["listed"], found["transferred"]) == (5, 5)
    assert dth.sync(filled, dest, "--prefix-list", listed)["same"] == 5


def test_a_prefix_list_in_a_bucket(
    engine: Engine, dth: Dth, s3_a: MiniStack, filled: Side, dest: Side
) -> None:
    lists = Side(s3_a, s3_a.bucket("lists"))
    lists.put({"my list": "é/\na b+%/\n".encode()})
    options = ("--prefix-list", "my list", "--prefix-list-bucket", lists.bucket)
    assert planned(dth, filled, dest, *options) == ["a b+%/x", "é/7"]
    ran = engine.run(src_prefixs_list_file="my list", src_prefix_list_bucket=lists.bucket)
    assert ran.counts.done == 2
    assert dest.listed() == ["a b+%/x", "é/7"]


def test_a_prefix_list_within_a_source_prefix(
    dth: Dth, filled: Side, dest: Side, tmp_path: Path
) -> None:
    listed = tmp_path / "prefixes.txt"
    listed.write_text("c/d/e/\nb/\n")
    within = Side(filled.server, filled.bucket, "c/")
    assert planned(dth, within, dest, "--prefix-list", listed) == ["c/d/e/6"]
    listed.write_text("")
    assert planned(dth, within, dest, "--prefix-list", listed) == []


# --- manifests
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a/1\na b+%/x\r\né/7\n\n",
        "bucket,key\nBUCKET,a/1\nBUCKET,a+b%2B%25/x\nBUCKET,%C3%A9/7\n",
        'BUCKET,"a/1"\nBUCKET,a%20b%2B%25/x,version\nBUCKET,%C3%A9/7\n',
        "Key,Size,ETag\na/1,11,SOMETHING\na+b%2B%25/x,,\n%C3%A9/7,,\n",
    ],
    ids=["keys", "named", "batch operations", "sizes"],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_manifest(
    engine: Engine, filled: Side, dest: Side, tmp_path: Path, text: str, packed: bool
) -> None:
    data = text.replace("BUCKET", filled.bucket).encode()
    manifest = tmp_path / "manifest"
    manifest.write_bytes(gzip.compress(data) if packed else data)
    ran = engine.run(src_manifest=str(manifest))
    assert (ran.counts.listed, ran.counts.done) == (3, 3)
    assert dest.listed() == ["a b+%/x", "a/1", "é/7"]
    assert dest.get("é/7") == filled.get("é/7")


def test_a_manifest_in_the_source_bucket_through_the_command(
    dth: Dth, filled: Side, dest: Side
) -> None:
    filled.put({"lists/today.csv": b"b/4\nnot there\ntop\n"})
    found = dth.sync(filled, dest, "--manifest", "lists/today.csv")
    assert (found["listed"], found["transferred"], found["cancelled"]) == (3, 2, 1)
    assert dest.listed() == ["b/4", "top"]


def test_what_a_manifest_lists_twice_is_copied_once(
    engine: Engine, filled: Side, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest"
    manifest.write_text("top\nb/4\ntop\n")
    ran = engine.run(src_manifest=str(manifest))
    assert (ran.counts.listed, ran.counts.done) == (2, 2)


def test_a_manifest_is_filtered_by_what_the_source_says(
    engine: Engine, filled: Side, tmp_path: Path
) -> None:
    filled.put({"large": b"x" * 1000})
    manifest = tmp_path / "manifest"
    manifest.write_text("top\nlarge\nb/4\ngone\n")
    ran = engine.run(src_manifest=str(manifest), min_size=100)
    assert (ran.counts.listed, ran.counts.filtered, ran.counts.done) == (4, 2, 1)
    assert ran.records["gone"].status is Status.CANCELLED


def test_one_object_of_a_manifest_that_is_refused_fails_alone(
    engine: Engine, filled: Side, dest: Side, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest"
    manifest.write_text("top\nb/4\na/1\n")
    assert isinstance(engine.source.server, Proxy)
    engine.source.server.rule(Reply(403, "AccessDenied"), key="b/4")
    ran = engine.run(src_manifest=str(manifest))
    assert (ran.counts.done, ran.counts.failed) == (2, 1)
    assert ran.records["b/4"].reason == "AccessDenied"


@pytest.mark.parametrize(
    ("text", "told"),
    [("other-bucket,a/1\n", "other-bucket"), ("1,2,3,4\n", "columns"), (None, "no object")],
)
def test_a_manifest_that_makes_no_sense_is_one_line(
    dth: Dth, filled: Side, dest: Side, tmp_path: Path, text: str | None, told: str
) -> None:
    manifest = tmp_path / "manifest"
    if text is not None:
        manifest.write_text(text)
    done = dth.here("s3", "diff", *between(filled, dest), "--manifest", manifest)
    assert done.code == 2
    assert told in done.err
    assert len(done.err.splitlines()) == 1


# --- S3 Inventory
# ------------------------------------------------------------------------------------------------

COLUMNS = [
    "Bucket",
    "Key",
    "VersionId",
    "IsLatest",
    "IsDeleteMarker",
    "Size",
    "LastModifiedDate",
    "ETag",
    "StorageClass",
]


def inventory_rows(side: Side, encoded: bool) -> list[list[str]]:
    rows = []
    for key, entry in side.server.objects(side.bucket).items():
        name = quote_plus(key, safe="/") if encoded else key
        when = entry["LastModified"].strftime("%Y-%m-%dT%H:%M:%S.000Z")
        etag = entry["ETag"].strip('"')
        rows.append(
            [side.bucket, name, "v1", "true", "false", str(entry["Size"]), when, etag, "STANDARD"]
        )
    rows.append(
        [side.bucket, "deleted", "v2", "true", "true", "", "2026-01-01T00:00:00.000Z", "", ""]
    )
    rows.append(
        [
            side.bucket,
            "top",
            "v0",
            "false",
            "false",
            "3",
            "2020-01-01T00:00:00.000Z",
            "old",
            "STANDARD",
        ]
    )
    return rows


def write_inventory(source: Side, reports: Side, kind: str) -> str:
    """An inventory as S3 would write it; returns where its manifest is."""
    rows = inventory_rows(source, encoded=kind == "CSV")
    if kind == "CSV":
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
        name, data = "data/1.csv.gz", gzip.compress(text.getvalue().encode())
        schema = ", ".join(COLUMNS)
    else:
        names = ["bucket", "key", "version_id", "is_latest", "is_delete_marker", "size"]
        names += ["last_modified_date", "e_tag", "storage_class"]
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        table = pyarrow.table(columns)
        table = table.set_column(
            5, "size", pyarrow.array([int(size or 0) for size in columns["size"]])
        )
        for position, flag in ((3, "is_latest"), (4, "is_delete_marker")):
            table = table.set_column(
                position, flag, pyarrow.array([v == "true" for v in columns[flag]])
            )
        file = io.BytesIO()
        parquet.write_table(table, file)
        name, data = "data/1.parquet", file.getvalue()
        schema = "message s3.inventory { required binary bucket (STRING); }"
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    manifest = {
        "sourceBucket": source.bucket,
        "fileFormat": kind,
        "fileSchema": schema,
        "files": [{"key": name, "size": len(data), "MD5checksum": digest}],
    }
    reports.put({name: data, "manifest.json": json.dumps(manifest).encode()})
    return f"s3://{reports.bucket}/manifest.json"


@pytest.mark.parametrize("kind", ["CSV", "Parquet"])
def test_an_inventory(engine: Engine, s3_a: MiniStack, filled: Side, dest: Side, kind: str) -> None:
    place = write_inventory(filled, Side(s3_a, s3_a.bucket("reports")), kind)
    filled.put(bodies(["after the report"]))
    dest.put({"top": filled.get("top")})
    ran = engine.run(src_inventory=place)
    assert (ran.counts.listed, ran.counts.same, ran.counts.done) == (len(KEYS), 1, len(KEYS) - 1)
    assert dest.listed() == sorted(KEYS, key=str.encode)
    assert dest.get("é/7") == filled.get("é/7")


@pytest.mark.parametrize("kind", ["CSV", "Parquet"])
def test_an_inventory_through_the_command(
    dth: Dth, s3_a: MiniStack, filled: Side, dest: Side, kind: str
) -> None:
    reports = Side(s3_a, s3_a.bucket("reports"))
    place = write_inventory(filled, reports, kind)
    assert planned(dth, filled, dest, "--inventory", place, "--exclude", "c/") == sorted(
        (key for key in KEYS if not key.startswith("c/")), key=str.encode
    )
    manifest = json.loads(reports.get("manifest.json"))
    manifest["files"][0]["MD5checksum"] = "0" * 32
    reports.put({"manifest.json": json.dumps(manifest).encode()})
    done = dth.here("s3", "diff", *between(filled, dest), "--inventory", place)
    assert done.code == 2
    assert "is not the one its manifest names" in done.err


def test_objects_that_changed_since_the_inventory_arrive_as_they_are(
    engine: Engine, s3_a: MiniStack, filled: Side, dest: Side
) -> None:
    place = write_inventory(filled, Side(s3_a, s3_a.bucket("reports")), "CSV")
    filled.put({"top": b"something newer and longer"})
    filled.server.request("DELETE", f"/{filled.bucket}/b/4")
    ran = engine.run(src_inventory=place)
    assert (ran.counts.done, ran.counts.cancelled, ran.counts.failed) == (len(KEYS) - 1, 1, 0)
    assert dest.get("top") == b"something newer and longer"


# --- very many
# --------------------------------------------------------------------------------------------------


def peak_memory(dth: Dth, *arguments: str) -> tuple[int, dict[str, int]]:
    """Bytes that a command used at most, and the object that it printed."""
    with (dth.home / "out").open("w+") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "dth", *arguments],
            env={**os.environ, **dth.env},
            stdout=out,
        )
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        out.seek(0)
        return usage.ru_maxrss * 1024, json.loads(out.read())


def test_fault_01_memory_is_flat_and_nothing_is_lost_among_many_keys_and_folders(dth: Dth) -> None:
    differences = Differences(missing_every=1000, changed_every=500, extra_every=2000)
    peaks = {}
    for count in (5_000, 240_000):  # in 5 and in 240 folders
        with (
            ListingServer(count, folders=True) as here,
            ListingServer(count, folders=True, differences=differences) as there,
        ):
            sides = between(Side(here, "from"), Side(there, "to"))
            peaks[count], found = peak_memory(
                dth, "s3", "diff", *sides, "--json", "--compare", "size"
            )
        assert found["listed"] == count
        assert (found["missing"], found["extra"]) == (count // 1000, len(range(3, count, 2000)))
        assert found["different"] == count // 500
        assert found["same"] == count - count // 1000 - count // 500
    assert peaks[240_000] - peaks[5_000] < 40 * 1024 * 1024


def test_fault_01_no_object_is_lost_at_any_depth(engine: Engine, source: Side, dest: Side) -> None:
    keys = ["f/" * depth + "x" for depth in range(0, 500, 2)] + [
        f"wide/{n:03}/x" for n in range(250)
    ]
    source.put(dict.fromkeys(keys, b""))
    ran = engine.run()
    assert ran.counts.done == len(keys)
    assert dest.listed() == source.listed()
