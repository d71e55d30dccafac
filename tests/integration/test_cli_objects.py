"""The commands for single objects, and for a look at a store: cp, ls, du, stat, rm, mb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.engine import MIB, PARTED_OPTIONS, Done, Dth, Side, between, bodies
from tests.servers.odd import OddStore
from tests.servers.proxy import Proxy, Reply

if TYPE_CHECKING:
    from tests.servers.ministack import MiniStack

ONE_AND_A_HALF = os.urandom(MIB // 2) * 3
BIG = os.urandom(MIB) * 12  # three parts of 5 MiB
RATE = ("--max-bytes-per-second", "4M")


def at(side: Side) -> tuple[str, str]:
    return "--endpoint-url", side.server.url


def stream(dth: Dth, *arguments: str, body: bytes = b"") -> tuple[int, bytes, str]:
    """A command with bytes on its standard input and output."""
    done = subprocess.run(
        [sys.executable, "-m", "dth", *arguments],
        env={**os.environ, **dth.env},
        input=body,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr.decode()


def copy(dth: Dth, src: str, dst: str, source: Side, dest: Side, *more: str) -> Done:
    _, _, *options = between(source, dest)
    return dth.here("s3", "cp", src, dst, *options, *more)


# --- cp
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"small", ONE_AND_A_HALF], ids=["empty", "small", "larger"])
def test_one_object_is_copied_under_another_name(
    dth: Dth, source: Side, dest: Side, body: bytes
) -> None:
    source.put(
        {"folder/a b+%.txt": body, "folder/a b+%.txt.bak": b"no"}, **{"content-type": "text/plain"}
    )
    done = copy(dth, f"{source.url}/folder/a b+%.txt", f"{dest.url}/there/ü.txt", source, dest)
    assert (done.code, done.err) == (0, "")
    assert f"s3://{dest.bucket}/there/ü.txt" in done.out
    assert "verified by MD5" in done.out or "verified by the store's checksum" in done.out
    assert dest.contents() == {"there/ü.txt": body}
    assert dest.head("there/ü.txt")["content-type"] == "text/plain"
    assert not dth.states.exists() or not list(dth.states.iterdir())


def test_a_folder_or_a_bucket_as_destination_keeps_the_name(
    dth: Dth, source: Side, dest: Side
) -> None:
    source.put({"x/a": b"1"})
    found = copy(dth, f"{source.url}/x/a", f"{dest.url}/y/", source, dest, "--json").json
    assert (found["destination"], found["bytes"]) == (f"s3://{dest.bucket}/y/a", 1)
    assert found["etag"] == dest.etags()["y/a"]
    copy(dth, f"{source.url}/x/a", f"{dest.url}", source, dest)
    assert dest.listed() == ["a", "y/a"]


def test_an_object_in_parts_is_continued(
    dth: Dth, proxy_b: Proxy, source: Side, dest: Side
) -> None:
    source.put({"big": BIG})
    there = Side(proxy_b, dest.bucket)
    proxy_b.rule(Reply(403, "AccessDenied"), method="PUT", query="partNumber", nth=3)
    failed = copy(dth, f"{source.url}/big", f"{dest.url}/copy", source, there, *PARTED_OPTIONS)
    assert (failed.code, failed.out) == (1, "")
    assert failed.err.startswith("dth: destination: PUT ")
    assert "AccessDenied" in failed.err
    proxy_b.clear()
    proxy_b.forget()
    done = copy(
        dth, f"{source.url}/big", f"{dest.url}/copy", source, there, *PARTED_OPTIONS, "--json"
    )
    assert done.code == 0, done
    assert dest.get("copy") == BIG
    assert proxy_b.count("POST", query="uploads") == 0  # the same upload is used
    assert done.json["verified"] in ("etag", "store", "source")
    assert not dest.uploads()


def test_the_limits_hold_for_one_object_too(
    dth: Dth, proxy_b: Proxy, source: Side, dest: Side
) -> None:
    source.put({"a": BIG})
    there = Side(proxy_b, dest.bucket)
    done = copy(dth, f"{source.url}/a", f"{there.url}/b", source, there, *RATE)
    assert done.code == 0, done
    assert dest.contents() == {"b": BIG}
    assert proxy_b.peak_received(1.0) < len(BIG) / 2
    proxy_b.forget()
    (dth.home / "file").write_bytes(BIG)
    up = dth.here(
        "s3",
        "cp",
        f"{dth.home}/file",
        f"{there.url}/c",
        "--dst-endpoint-url",
        there.server.url,
        *RATE,
    )
    assert up.code == 0, up
    assert proxy_b.peak_received(1.0) < len(BIG) / 2
    with Proxy(dest.server, send_buffer=64 * 1024) as front:
        done = dth.here(
            *("s3", "cp", f"{dest.url}/c", f"{dth.home}/down", "--src-endpoint-url", front.url),
            *RATE,
        )
        assert done.code == 0, done
        assert front.peak_sent(1.0) < len(BIG) / 2


def test_a_copy_within_a_store_may_begin_like_its_source(dth: Dth, source: Side) -> None:
    source.put({"a": b"1"})
    done = copy(dth, f"{source.url}/a", f"{source.url}/a.bak", source, source)
    assert done.code == 0, done
    assert source.contents() == {"a": b"1", "a.bak": b"1"}
    same = copy(dth, f"{source.url}/a", f"{source.url}/a", source, source)
    assert (same.code, "the same object" in same.err) == (2, True)


def test_a_sync_of_one_object_may_lead_into_a_folder_beside_it(dth: Dth, source: Side) -> None:
    source.put({"a": b"1", "b": b"2"})
    done = dth.run(
        "s3", "sync", f"{source.url}/a", f"{source.url}/copies", *between(source, source)[2:]
    )
    assert done.code == 0, done
    assert source.contents() == {"a": b"1", "b": b"2", "copies/a": b"1"}
    onto = dth.run("s3", "sync", f"{source.url}/a", source.url, *between(source, source)[2:])
    assert (onto.code, "overlap" in onto.err) == (2, True), onto


@pytest.mark.parametrize("body", [b"", b"few bytes\n", BIG], ids=["empty", "few", "parts"])
def test_standard_input_and_output(dth: Dth, source: Side, body: bytes) -> None:
    code, out, err = stream(
        dth,
        *("s3", "cp", "-", f"{source.url}/in", "--dst-endpoint-url", source.server.url),
        *(*PARTED_OPTIONS, "--content-type", "text/csv"),
        body=body,
    )
    assert (code, err) == (0, "")
    assert b"verified by" in out
    assert source.contents() == {"in": body}
    assert source.head("in")["content-type"] == "text/csv"
    assert not source.uploads()
    code, out, err = stream(
        dth, "s3", "cp", f"{source.url}/in", "-", "--src-endpoint-url", source.server.url
    )
    assert (code, out == body) == (0, True)
    assert err.startswith(f"{source.url}/in -> -: ")


def test_files_of_this_machine(dth: Dth, source: Side) -> None:
    (dth.home / "report.csv").write_bytes(b"a,b\n")
    os.utime(dth.home / "report.csv", (1_700_000_000, 1_700_000_000))
    options = ("--src-endpoint-url", source.server.url, "--dst-endpoint-url", source.server.url)
    up = dth.run("s3", "cp", "./report.csv", f"{source.url}/in/", *options)
    assert up.code == 0, up
    assert source.contents() == {"in/report.csv": b"a,b\n"}
    assert source.head("in/report.csv")["x-amz-meta-mtime"] == "1700000000.000000000"
    (dth.home / "folder").mkdir()
    down = dth.run("s3", "cp", f"{source.url}/in/report.csv", "./folder/", *options)
    assert down.code == 0, down
    assert (dth.home / "folder" / "report.csv").read_bytes() == b"a,b\n"
    named = dth.run("s3", "cp", f"{source.url}/in/report.csv", "./folder/other", *options)
    assert named.code == 0, named
    assert sorted(path.name for path in (dth.home / "folder").iterdir()) == ["other", "report.csv"]
    assert dth.run("s3", "cp", "./folder", f"{source.url}/", *options).err.startswith(
        "dth: SRC './folder' is a folder"
    )
    missing = dth.run("s3", "cp", f"{source.url}/in/report.csv", "./no/such", *options)
    assert (missing.code, "cannot be written: No such file" in missing.err) == (2, True)
    both = dth.run("s3", "cp", "./report.csv", "./copy", *options)
    assert (both.code, "one of SRC and DST must be s3://" in both.err) == (2, True)


def test_a_file_appears_only_when_the_object_is_whole(dth: Dth) -> None:
    with OddStore("flip-on-range") as store:
        side = Side(store, store.bucket())
        side.put({"a": BIG})
        done = dth.run("s3", "cp", f"{side.url}/a", "./copy", "--src-endpoint-url", store.url)
    assert done.code == 1
    assert "the bytes that came have" in done.err
    assert not [path for path in dth.home.iterdir() if "copy" in path.name]


def test_what_is_no_plain_file_stays_what_it_is(dth: Dth, source: Side) -> None:
    source.put({"a": b"new"})
    options = ("--src-endpoint-url", source.server.url)
    pipe, file, link = (dth.home / name for name in ("pipe", "file", "link"))
    os.mkfifo(pipe)
    file.write_bytes(b"old")
    link.symlink_to(file)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    done = dth.run("s3", "cp", f"{source.url}/a", "./pipe", *options)
    assert (done.code, os.read(reader, 10)) == (0, b"new"), done
    os.close(reader)
    assert pipe.is_fifo()
    assert dth.run("s3", "cp", f"{source.url}/a", "./link", *options).code == 0
    assert (link.is_symlink(), file.read_bytes()) == (True, b"new")
    full = dth.run("s3", "cp", f"{source.url}/a", "/dev/full", *options)
    assert (full.code, "destination: /dev/full: No space left" in full.err) == (1, True), full
    assert Path("/dev/full").is_char_device()


def test_an_upload_from_standard_input_that_fails_leaves_nothing(
    dth: Dth, proxy_b: Proxy, dest: Side
) -> None:
    proxy_b.rule(Reply(403, "AccessDenied", "Not you"), method="PUT", key="in")
    there = ("--dst-endpoint-url", proxy_b.url, *PARTED_OPTIONS)
    code, out, err = stream(dth, "s3", "cp", "-", f"{dest.url}/in", *there, body=BIG)
    assert (code, out) == (1, b"")
    assert "AccessDenied" in err
    assert not dest.uploads()
    assert not dest.listed()


def test_damage_on_the_way_to_standard_output_is_found(dth: Dth) -> None:
    with OddStore("flip-on-read") as store:
        side = Side(store, store.bucket())
        side.put({"a": b"good bytes"})
        code, out, err = stream(
            dth, "s3", "cp", f"{side.url}/a", "-", "--src-endpoint-url", store.url
        )
    assert (code, out) == (1, b"")
    assert "the bytes that came have" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("cp - -", "one of SRC and DST"),
        ("cp bucket/key file", "'bucket/key' and 'file' are of this machine"),
        ("cp no-such-file s3://b", "SRC 'no-such-file' cannot be read: No such file or directory"),
        ("cp --recursive s3://a/b/ s3://b", "everything below a prefix is copied by dth s3 sync"),
        ("cp - s3://b/c --expected-size 49T", "49T is more than an object can have"),
        ("cp s3://a s3://b", "names no object; everything below it is copied by dth s3 sync"),
        ("cp - s3://b", "names no object; write s3://bucket/key"),
        ("cp . s3://b/", "SRC '.' is a folder; everything in it is copied by dth s3 sync SRC DST"),
        ("cp s3://a/b - --json", "--json prints to standard output"),
        ("cp s3://a/b s3://b --content-type x/y", "for what comes from a file or standard input"),
        ("cp - s3://b/c --expected-size many", "--expected-size: 'many' is not a size"),
        (
            "cp s3://a/p/*.jpg s3://b",
            "takes no wildcards; write dth s3 sync s3://a/p/ DST --include '*.jpg'",
        ),
        ("cp s3://a/p/* s3://b", "takes no wildcards; write dth s3 sync s3://a/p/ DST"),
        ("ls s3://a/p/*.jpg", "s3://a/p/ stands for everything below it; patterns are only for"),
        ("rm -r --yes s3://a/*", "s3://a/ stands for everything below it; patterns are only for"),
        ("mb ./nothing", "is of this machine; this command is for buckets only"),
        ("rm ./nothing/x", "is of this machine; this command is for buckets only"),
        ("rm s3://a", "names no object; --recursive deletes"),
        ("mb s3://a/b", "prefixes need not be created"),
    ],
)
def test_usage_is_one_line(
    dth: Dth, words: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = dth.here("s3", *words.split())
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("command", ["ls", "du", "stat", "rm", "mb"])
def test_a_command_for_one_store_names_no_side(dth: Dth, s3_auth: MiniStack, command: str) -> None:
    statement = {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}
    access_key, _ = s3_auth.user({"Version": "2012-10-17", "Statement": [statement]})
    dth.secret("wrong", access_key, "mistyped")
    url = f"s3://{s3_auth.bucket()}" + "/x" * (command in ("stat", "rm"))
    done = dth.here("s3", command, url, "--endpoint-url", s3_auth.url, "--secret", "wrong")
    assert (done.code, len(done.err.splitlines())) == (2, 1), done
    assert "the secret 'wrong' (--secret)" in done.err
    assert "source" not in done.err
    assert "--src-" not in done.err


def test_an_object_that_is_not_there(dth: Dth, source: Side, dest: Side) -> None:
    source.put({"photos/2026.txt": b"1"})
    done = copy(dth, f"{source.url}/photos/2025.txt", dest.url, source, dest)
    assert (done.code, done.out) == (1, "")
    assert "there is no object" in done.err
    assert f"there is s3://{source.bucket}/photos/2026.txt" in done.err
    folder = copy(dth, f"{source.url}/photos", dest.url, source, dest)
    assert f"there are objects below s3://{source.bucket}/photos/" in folder.err


# --- ls, du, stat
# --------------------------------------------------------------------------------------------


def test_ls_shows_more_when_asked(dth: Dth, source: Side) -> None:
    source.put({"a": b"1" * 2048, "folder/b": b"2"})
    done = dth.here("s3", "ls", source.url, *at(source), "-l", "--human", "--summarize")
    assert (done.code, done.err) == (0, "")
    folder, line, total = done.out.splitlines()
    assert folder.endswith("  folder/")
    assert "Z" in line
    assert "2.0 KiB" in line
    assert source.etags()["a"] in line
    assert "STANDARD" in line
    assert total == "1 object, 2.0 KiB"
    found = yaml.safe_load(
        dth.here("s3", "ls", source.url, *at(source), "-r", "--output", "yaml").out
    )
    assert [each["key"] for each in found] == ["a", "folder/b"]


def test_ls_without_a_bucket_lists_the_buckets(dth: Dth, source: Side, s3_auth: MiniStack) -> None:
    for url in ((), ("s3://",)):
        done = dth.here("s3", "ls", *url, *at(source))
        assert (done.code, f"s3://{source.bucket}" in done.out.split()) == (0, True), done
    dth.here("store", "add", "old", "--endpoint-url", source.server.url)
    found = dth.here("s3", "ls", "old:", "--json").out.splitlines()
    assert source.bucket in [json.loads(each)["bucket"] for each in found]
    dth.secret("wrong", "nobody", "mistyped")
    done = dth.here("s3", "ls", "--endpoint-url", s3_auth.url, "--secret", "wrong")
    assert (done.code, "the secret 'wrong' (--secret)" in done.err) == (2, True), done


def test_ls_of_a_mistyped_prefix_says_what_there_is(dth: Dth, source: Side) -> None:
    source.put({"photos/a": b"1"})
    done = dth.here("s3", "ls", f"{source.url}/phots/", *at(source))
    assert done.code == 1
    assert f"there is s3://{source.bucket}/photos/" in done.err


def test_du(dth: Dth, source: Side) -> None:
    source.put({"a/b/c": b"12", "a/d": b"3", "e": b"4567"})
    found = dth.here("s3", "du", source.url, *at(source), "--json").json
    assert found == [{"prefix": "", "objects": 3, "bytes": 7}]
    deep = dth.here("s3", "du", source.url, *at(source), "-d", "1")
    assert [line.split() for line in deep.out.splitlines()[1:]] == [
        ["2", "3", "B", f"s3://{source.bucket}/a/"],
        ["3", "7", "B", f"s3://{source.bucket}/"],
    ]
    below = dth.here("s3", "du", f"{source.url}/a/", *at(source), "-d", "3", "--json").json
    assert [(each["prefix"], each["objects"]) for each in below] == [("a/b/", 1), ("a/", 2)]


def test_stat(dth: Dth, source: Side) -> None:
    source.put({"a": b"x" * 2048}, **{"content-type": "text/plain", "x-amz-meta-of": "me"})
    found = dth.here("s3", "stat", f"{source.url}/a", *at(source), "--json").json
    assert (found["size"], found["type"], found["metadata"]) == (2048, "text/plain", {"of": "me"})
    assert found["etag"] == source.etags()["a"]
    assert found["modified"].endswith("Z")
    table = dth.here("s3", "stat", f"{source.url}/a", *at(source)).out
    assert "2048 (2.0 KiB)" in table
    bucket = dth.here("s3", "stat", source.url, *at(source), "--json").json
    assert bucket["versioning"] == "Off"
    gone = dth.here("s3", "stat", f"{source.url}/b", *at(source))
    assert (gone.code, gone.out) == (1, "")
    assert "there is no object" in gone.err


# --- rm, mb
# --------------------------------------------------------------------------------------------------


def test_rm_of_one_object(dth: Dth, source: Side) -> None:
    source.put(bodies(["a", "ab"]))
    assert dth.here("s3", "rm", f"{source.url}/a", *at(source), "--dry-run").out.startswith(
        "delete  a"
    )
    assert source.listed() == ["a", "ab"]
    done = dth.here("s3", "rm", f"{source.url}/a", *at(source))
    assert (done.code, done.out) == (0, "1 object deleted, 0 failed\n")
    assert source.listed() == ["ab"]
    gone = dth.here("s3", "rm", f"{source.url}/a", *at(source))
    assert gone.code == 1
    assert "there is no object" in gone.err


def test_rm_of_a_prefix_is_guarded(dth: Dth, source: Side) -> None:
    source.put(bodies(["old/a", "old/b", "older", "new"]))
    command = ("s3", "rm", f"{source.url}/old", "-r", *at(source))
    asked = dth.run(*command)  # its standard input is not a terminal
    assert asked.code == 2
    assert "give --yes" in asked.err
    many = dth.here(*command, "--yes", "--max-delete", "1")
    assert many.code == 1
    assert "more than 1 object" in many.err
    assert len(source.listed()) == 4
    assert "would delete 2 objects" in dth.here(*command, "--dry-run").out
    assert dth.here(*command, "--yes").out == "2 objects deleted, 0 failed\n"
    assert source.listed() == ["new", "older"]
    assert dth.here(*command, "--yes").code == 1


def test_rm_of_a_folder_marker_leaves_what_is_below_it(dth: Dth, source: Side) -> None:
    source.put({"folder/": b"", "folder/a": b"1", "bare/b": b"2"})
    url = f"s3://{source.bucket}"
    shown = dth.here("s3", "rm", f"{url}/folder/", *at(source), "--dry-run")
    assert shown.out.splitlines()[0] == "delete  folder/  (0 B)"
    done = dth.here("s3", "rm", f"{url}/folder/", *at(source))
    assert (done.code, done.out) == (
        0,
        "1 object deleted, 0 failed\n  note: this was the marker of a folder; what is below it stays\n",
    )
    assert source.listed() == ["bare/b", "folder/a"]
    # Without a marker, nothing is deleted, and one line says how to mean the rest.
    none = dth.here("s3", "rm", f"{url}/bare/", *at(source))
    assert (none.code, none.out) == (1, "")
    assert none.err == (
        f"dth: there is no object {url}/bare/; there are objects below {url}/bare/, which "
        "--recursive deletes\n"
    )
    assert source.listed() == ["bare/b", "folder/a"]


def test_the_result_of_cp_tells_two_stores_apart(dth: Dth, source: Side, dest: Side) -> None:
    source.put({"a": b"1"})
    src, dst = f"s3://{source.bucket}/a", f"s3://{dest.bucket}/b"
    plain = copy(dth, src, dst, source, dest)
    assert plain.out.startswith(
        f"{src} at {source.server.url} -> {dst} at {dest.server.url}: 1 B in "
    )
    one = copy(dth, src, f"s3://{source.bucket}/c", source, source)
    assert one.out.startswith(f"{src} -> s3://{source.bucket}/c: 1 B in ")
    for name, side in (("old-minio", source), ("new", dest)):
        assert dth.here("store", "add", name, "--endpoint-url", side.server.url).code == 0
    named = dth.here("s3", "cp", f"old-minio:{source.bucket}/a", f"new:{dest.bucket}/d/")
    assert named.out.startswith(f"old-minio:{source.bucket}/a -> new:{dest.bucket}/d/a: 1 B in ")
    mixed = dth.here("s3", "cp", f"old-minio:{source.bucket}/a", dst, *copy_to(dest), "--dry-run")
    assert mixed.out == (
        f"copy    old-minio:{source.bucket}/a -> {dst} at {dest.server.url}  (1 B)\n"
    )


def copy_to(dest: Side) -> tuple[str, str]:
    return "--dst-endpoint-url", dest.server.url


def test_cp_of_a_folder_marker(dth: Dth, source: Side, dest: Side) -> None:
    source.put({"folder/": b"", "folder/a": b"1", "bare/b": b"2"})
    url, there = f"s3://{source.bucket}", f"s3://{dest.bucket}"
    assert copy(dth, f"{url}/folder/", f"{there}/other/", source, dest).code == 0
    assert copy(dth, f"{url}/folder/", there, source, dest).code == 0
    assert dest.listed() == ["folder/", "other/"]
    none = copy(dth, f"{url}/bare/", there, source, dest)
    assert (none.code, none.out) == (1, "")
    assert none.err == (
        f"dth: there is no object {url}/bare/; there are objects below {url}/bare/, which dth s3 "
        "sync copies\n"
    )
    file = copy(dth, f"{url}/folder/", "here", source, dest)
    assert (file.code, file.err) == (
        2,
        (
            f"dth: SRC '{url}/folder/' is the marker of a folder, for which there is no file; "
            "everything below it is copied by dth s3 sync SRC DST\n"
        ),
    )


def test_rm_says_what_failed(dth: Dth, proxy_a: Proxy, source: Side) -> None:
    source.put(bodies(["x/a", "x/b"]))
    proxy_a.rule(Reply(403, "AccessDenied", "Not you"), method="DELETE", key="x/b")
    done = dth.here("s3", "rm", f"{source.url}/x/", "-r", "-y", "--endpoint-url", proxy_a.url)
    assert done.code == 1
    assert "1 object deleted, 1 failed" in done.out
    assert "failed: x/b: " in done.out


def test_mb(dth: Dth, s3_a: MiniStack, source: Side) -> None:
    name = f"{source.bucket}-new"
    done = dth.here("s3", "mb", f"s3://{name}", "--endpoint-url", s3_a.url)
    assert done.code == 0, done
    assert s3_a.keys(name) == []
    again = dth.here("s3", "mb", f"s3://{name}", "--endpoint-url", s3_a.url)
    # Some stores answer the owner of a bucket that they have created it.
    assert again.code == 0 or "there is a bucket" in again.err
    assert json.loads(
        dth.here("s3", "stat", f"s3://{name}", "--endpoint-url", s3_a.url, "--json").out
    )
