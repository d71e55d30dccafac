"""The command: what it prints, how it ends, and that whatever is wrong is told in one line."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import resource
import socket
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml
from pyarrow import parquet

from dth.cli.display import ProgressView
from dth.cli.main import cli
from dth.core.ports.runs import Counts
from dth.hub.progress import RunActivity, Standing
from dth.platforms.local.filesystem import lock_state_directory
from tests.engine import Done, Dth, Side, between, bodies, hurry
from tests.servers.listing_server import ListingServer
from tests.servers.odd import OddStore
from tests.servers.proxy import Proxy, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.ministack import MiniStack

CONTRACT = {
    "listed": int,
    "skipped": int,
    "transferred": int,
    "failed": int,
    "deleted": int,
    "bytes": int,
    "seconds": float,
    "objects_per_second": float,
    "failures": list,
}


def one_line(done: Done, code: int) -> str:
    """The one line on standard error; nothing was printed besides."""
    assert done.code == code, done
    assert done.out == ""
    lines = done.err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("dth: ")
    return lines[0].removeprefix("dth: ")


def unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


# --- results
# -------------------------------------------------------------------------------------------------


def test_a_sync_with_a_failure_and_its_reports(
    dth: Dth, proxy_b: Proxy, source: Side, dest: Side
) -> None:
    keys = ["a,b", 'quo"te', "new\nline", "bad", "caf\u00e9"]
    source.put(bodies([*keys, "same", "left out.tmp"]))
    dest.put(bodies(["same"]))
    proxy_b.rule(Reply(403, "AccessDenied", "Not you"), method="PUT", key="bad")
    there, state = Side(proxy_b, dest.bucket), dth.home / "state"
    reports = {kind: dth.home / f"report.{kind}" for kind in ("csv", "parquet")}
    command = (source, there, "--state", state, "--exclude", "*.tmp")

    found = dth.sync(*command, "--report", reports["csv"], code=1)
    assert {name: type(found[name]) for name in CONTRACT} == CONTRACT
    assert (found["listed"], found["skipped"], found["transferred"], found["failed"]) == (
        7,
        2,
        4,
        1,
    )
    assert found["bytes"] == sum(len(source.get(key)) for key in keys if key != "bad")
    assert found["objects_per_second"] == pytest.approx(
        found["transferred"] / found["seconds"], rel=0.2
    )
    [failure] = found["failures"]
    assert (failure["key"], failure["class"], failure["code"]) == ("bad", "FAILED", "AccessDenied")
    assert "Not you" in failure["reason"]
    # Nothing asked for a storage class or an ACL, so the store decides.
    asked = {name.lower() for request in proxy_b.seen("PUT") for name, _ in request.headers.items}
    assert not asked & {"x-amz-storage-class", "x-amz-acl"}

    proxy_b.clear()
    done = dth.run(
        "s3", "sync", *between(*command[:2]), *command[2:], "--report", reports["parquet"]
    )
    assert done.code == 0
    assert "7 listed, 5 same, 1 transferred" in done.out
    assert "1 filtered" in done.out

    with reports["csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["key"]: row["status"] for row in rows} == dict.fromkeys(keys, "DONE") | {
        "bad": "FAILED"
    }
    row = next(row for row in rows if row["key"] == "new\nline")
    assert (row["bytes"], row["attempts"], row["reason"]) == (
        str(len(source.get("new\nline"))),
        "1",
        "",
    )
    assert row["etag"] == row["dest_etag"] == source.etags()["new\nline"]
    assert row["proof"].startswith("crc64nvme:")
    assert {row["key"]: row["verified"] for row in rows} == dict.fromkeys(keys, "etag") | {
        "bad": ""
    }
    assert found["verified"] == {"store": 0, "etag": 4, "source": 0, "content": 0, "none": 0}
    assert found["incomplete"] == 0
    assert "  1 verified by MD5\n" in done.out
    table = parquet.read_table(reports["parquet"]).to_pylist()
    assert [(row["key"], row["status"], row["verified"]) for row in table] == [
        ("bad", "DONE", "etag")
    ]


def test_what_nobody_confirmed_and_what_copies_lack_is_told(dth: Dth) -> None:
    with OddStore("missing-meta", "no-checksums") as one, OddStore("kms", "no-checksums") as other:
        source, dest = Side(one, one.bucket()), Side(other, other.bucket())
        source.put(bodies("ab"))
        sides, report = between(source, dest), dth.home / "report.csv"
        done = dth.run("s3", "sync", *sides, "--report", report)
        found = dth.sync(source, dest, "--compare", "always")
        read = dth.run("s3", "sync", *sides, "--compare", "always", "--verify-after")
    assert done.code == 0, done
    assert "  2 not verified\n" in done.out
    assert "  2 lack tags or metadata that could not be copied; --report names them\n" in done.out
    with report.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["verified"], row["reason"]) for row in rows] == [("", "MetadataUnread")] * 2
    assert found["verified"] == {"store": 0, "etag": 0, "source": 0, "content": 0, "none": 2}
    assert found["incomplete"] == 2
    assert "  2 verified by reading back\n" in read.out


def test_exit_codes_of_diff(dth: Dth, source: Side, dest: Side) -> None:
    source.put(bodies(["same", "changed", "new"]))
    dest.put(bodies(["same", "extra"]) | {"changed": b"other"})
    sides = between(source, dest)
    done = dth.here("s3", "diff", *sides)
    assert done.code == 1
    assert {"+ new", "- extra"} <= set(done.out.splitlines())
    assert "* changed  (size)" in done.out
    assert "1 same, 1 missing, 1 different, 1 only in the destination" in done.out
    found = dth.here("s3", "diff", *sides, "--json").json
    assert (found["missing"], found["different"], found["extra"], found["equal"]) == (
        1,
        1,
        1,
        False,
    )
    report = dth.home / "differences.csv"
    dth.here("s3", "diff", *sides, "--report", report)
    with report.open(newline="") as file:
        assert {row["key"]: row["status"] for row in csv.DictReader(file)} == {
            "new": "missing",
            "extra": "extra",
            "changed": "different",
        }

    source.put({"changed": b"other", "extra": dest.get("extra")})
    dest.put({"new": source.get("new")})
    equal = dth.here("s3", "diff", *sides)
    assert (equal.code, equal.err) == (0, "")
    assert dth.here("s3", "diff", *sides, "--json").json["equal"] is True
    assert "a name left" not in equal.out

    source.put(bodies(["k" * 1024]))
    assert (
        dth.here("s3", "diff", sides[0], f"{sides[1]}/long", *sides[2:], "--include", "k*").code
        == 2
    )


def test_a_dry_run_shows_everything_and_writes_nothing(
    dth: Dth, proxy_a: Proxy, proxy_b: Proxy, source: Side, dest: Side
) -> None:
    source.put(bodies(["a", "b\x1b[2J", "same"]))
    dest.put(bodies(["same", "extra"]))
    sides = between(Side(proxy_a, source.bucket), Side(proxy_b, dest.bucket))
    done = dth.here(
        "s3", "sync", *sides, "--dry-run", "--delete-mode", "Mirror", "--delete-max-percent", "90"
    )
    assert done.code == 0
    assert "copy    a  (missing" in done.out
    assert "copy    b\\x1b[2J" in done.out
    assert "delete  extra" in done.out
    assert "would copy 2" in done.out
    assert "and delete 1" in done.out
    found = dth.here("s3", "sync", *sides, "--dry-run", "--json").json
    assert (found["dry_run"], found["would_transfer"], found["would_delete"]) == (True, 2, 0)
    assert found["estimate"]
    for proxy in (proxy_a, proxy_b):
        assert {request.method for request in proxy.requests} <= {"GET", "HEAD"}
    assert dest.listed() == ["extra", "same"]
    assert not dth.states.exists()


def test_ls(dth: Dth, source: Side) -> None:
    source.put(bodies(["a", "folder/b", "folder/c/d", "z\n"]))
    options = ("--src-endpoint-url", source.server.url)
    done = dth.here("s3", "ls", source.url, *options)
    assert done.code == 0
    assert [line.split("  ")[-1] for line in done.out.splitlines()] == ["folder/", "a", "z\\n"]
    assert "2 objects" in done.err
    below = dth.here("s3", "ls", f"{source.url}/fol", *options, "-r", "--json")
    listed = [json.loads(line) for line in below.out.splitlines()]
    assert [each["key"] for each in listed] == ["folder/b", "folder/c/d"]
    assert all(each["modified"].endswith("Z") for each in listed)


def test_progress_in_a_pipe_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.cli.display.PLAIN_INTERVAL", -1.0)
    counts = Counts(listed=10, enqueued=10, enqueued_bytes=1000, done=4, done_bytes=400, failed=1)
    standing = Standing(RunActivity.LISTING, "", 10, 5, 1, 1000, 450, -1, 100.0, 2.0, -1.0)
    copying = replace(
        standing, state=RunActivity.COPYING, note="1 object: 503", percent=45, eta=65.0
    )
    with ProgressView() as view:
        view.update(standing, counts, 1)
        view.update(copying, counts, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b" not in err
    assert "\r" not in err
    listing, transferring = err.splitlines()
    assert listing == "listing 10: 5/10 objects, 450 B of 1000 B, 100 B/s, 2/s, failed 1, 1 worker"
    assert transferring == (
        "copying: 5/10 objects, 450 B of 1000 B (45%), 100 B/s, 2/s, failed 1, ETA 1:05, 2 "
        "workers, 1 object: 503"
    )
    with ProgressView(quiet=True) as view:
        view.update(copying, counts, 2)
    assert capsys.readouterr() == ("", "")


def test_a_narrow_terminal_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    copying = Standing(RunActivity.COPYING, "", 10, 5, 1, 1000, 450, 45, 100.0, 2.0, 65.0)
    for columns, begins in ((30, "45% ETA 1:05 copying 5/10"), (80, "copying 5/10 objects, 450 B")):
        terminal = _Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        with ProgressView() as view:
            view.update(copying, Counts(), 1)
        lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()).replace("\r", "\n")
        last = [line for line in lines.splitlines() if "copying" in line][-1]
        assert last.startswith(begins)
        assert len(last) <= columns


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_results_have_the_same_formats_everywhere(dth: Dth, source: Side, dest: Side) -> None:
    source.put(bodies(["a"]))
    done = dth.run("s3", "sync", *between(source, dest), "--output", "yaml")
    assert (done.code, yaml.safe_load(done.out)["verified"]["etag"]) == (0, 1), done
    assert done.err == ""
    assert yaml.safe_load(dth.here("s3", "diff", *between(source, dest), "--output=yaml").out)[
        "equal"
    ]
    assert (
        yaml.safe_load(dth.here("s3", "compare", *between(source, dest), "--output=yaml").out)[
            "verdict"
        ]
        == "SAME"
    )
    for command in _commands(cli):
        options = {name for parameter in command.params for name in parameter.opts}
        assert ("--json" in options) == ("--output" in options), command.name


def _commands(group: click.Group) -> Iterator[click.Command]:
    """The commands of a group, and of the groups in it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        if isinstance(command, click.Group):
            yield from _commands(command)
        else:
            yield command


def test_help_names_every_command(dth: Dth) -> None:
    for arguments in ((), ("s3",), ("s3", "sync"), ("s3", "diff"), ("s3", "ls")):
        done = dth.here(*arguments, "--help")
        assert done.code == 0
        assert done.out.startswith("Usage: dth")
    assert "--delete-max-percent" in dth.here("s3", "sync", "--help").out


# --- one line
# ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("sync /home/no/body s3://b", "there is no folder '/home/no/body'"),
        ("sync s3://a /dev/null", "is not a folder"),
        ("sync file:///x s3://b", "only s3://bucket/prefix"),
        ("sync s3:// s3://b", "names no bucket"),
        ("sync s3://a", "Missing argument 'DST'"),
        ("sync s3://a s3://a/b", "overlap"),
        ("sync s3://a/b s3://a/b/c", "overlap"),
        ("sync s3://a s3://b --no-such-option", "No such option"),
        ("sync s3://a s3://b --compare colour", "--compare"),
        ("sync s3://a s3://b --storage-class no/class", "--storage-class"),
        (
            "sync s3://a s3://b --storage-class GLACER --dst-type Amazon_S3",
            "'GLACER' is not a storage class of AWS",
        ),
        ("sync s3://a s3://b --part-size 1M", "--part-size"),
        ("sync s3://a s3://b --part-size many", "--part-size: 'many' is not a size"),
        ("sync s3://a s3://b --workers 0", "--workers"),
        ("sync s3://a s3://b --workers x", "--workers: 'x' is not a whole number"),
        ("sync s3://a s3://b --restore-days 99999999999", "--restore-days: '99999999999' is out"),
        ("sync s3://a s3://b --src-ca-bundle /no", "source: there is no file of authorities /no"),
        ("sync s3://a s3://b --delete-max-percent 101", "--delete-max-percent"),
        ("sync s3://a s3://b --modified-since yesterday", "neither a date"),
        ("sync s3://a s3://b --min-size 2 --max-size 1", "smallest size is above"),
        ("sync s3://a s3://b --prefix-list x --manifest y", "give one of"),
        ("sync s3://a s3://b --src-anonymous --src-profile x", "anonymous"),
        ("sync s3://a s3://b --sse-kms-key-id x", "KMS key needs"),
        ("sync s3://a s3://b --skip-compare --delete-mode Mirror", "mirror deletes need"),
        ("sync s3://a s3://b --include [", "["),
        ("sync s3://a s3://b --exclude=", "The pattern '' cannot be read: it is empty"),
        ("sync s3://a s3://b --src-endpoint-url ftp://x", "is not http(s)://"),
        ("sync s3://a s3://b --dst-endpoint-url http://x/path", "has a path"),
        ("sync s3://a s3://b --dst-endpoint-url http://u:p@x", "holds credentials"),
        ("sync s3://a s3://b --dst-type MinIO", "needs an endpoint URL"),
        ("sync s3://a s3://b --report x.txt", "must end in .csv, .json or .parquet"),
        ("sync s3://a s3://b --report /no/such/folder/x.csv", "No such file or directory"),
        ("sync s3://a s3://b --report /proc/x.csv", "--report"),
        ("diff s3://a s3://b --src-secret ../x", "not a valid name for a secret"),
        ("diff s3://a s3://b --src-profile nobody", "profile 'nobody'"),
        ("sync s3://a s3://b --progress-json nan", "'nan' is not a number"),
        ("sync s3://a s3://b --progress-json inf", "'inf' is not a number"),
        ("sync s3://a s3://b --no-verify-ssl", "given with --src-ca-bundle"),
        ("diff s3://a s3://b --compare content --sample nan", "'nan' is not a number"),
        ("ls ./nothing", "there is no folder './nothing'"),
        ("frobnicate", "No such command"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(dth: Dth, arguments: str, told: str) -> None:
    words = arguments.split()
    if words[0] == "sync" and "--report" not in words:
        words.append("--dry-run")  # nothing more than that is needed, if it should pass
    ends = [f"--{side}-endpoint-url" for side in ("src", "dst")]
    if words[0] in ("sync", "diff") and "MinIO" not in words:
        words += [word for end in ends if end not in words for word in (end, "http://127.0.0.1:9")]
    assert told in one_line(dth.here("s3", *words), 2)


def test_a_store_that_does_not_answer(
    dth: Dth, source: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    urls = [
        "--src-endpoint-url",
        source.server.url,
        "--dst-endpoint-url",
        f"http://127.0.0.1:{unused_port()}",
    ]
    line = one_line(dth.here("s3", "diff", source.url, "s3://there", *urls), 2)
    assert line.startswith("destination: no server takes connections at http://127.0.0.1:")
    assert "--dst-endpoint-url" in line


@pytest.mark.parametrize("side", ["src", "dst"])
def test_a_bucket_that_is_not_there(dth: Dth, source: Side, dest: Side, side: str) -> None:
    sides = between(source, dest)
    sides[0 if side == "src" else 1] = "s3://no-such-bucket"
    name, url = ("source", source.server.url) if side == "src" else ("destination", dest.server.url)
    told = f"{name}: there is no bucket 'no-such-bucket' at {url} (404 NoSuchBucket); correct "
    assert one_line(dth.here("s3", "diff", *sides), 2).startswith(told)
    assert one_line(dth.run("s3", "sync", *sides, "--quiet", "--json"), 2).startswith(told)
    assert not dth.states.exists()


def test_keys_that_are_not_accepted(dth: Dth, s3_auth: MiniStack, source: Side) -> None:
    dest = Side(s3_auth, s3_auth.bucket())
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    access_key, secret_key = s3_auth.user({"Version": "2012-10-17", "Statement": [statement]})
    dth.secret("wrong", access_key, "not the secret")
    dth.secret("little", access_key, secret_key)
    sides = between(source, dest)
    assert "SignatureDoesNotMatch" in one_line(
        dth.here("s3", "diff", *sides, "--dst-secret", "wrong"), 2
    )
    assert "AccessDenied" in one_line(dth.here("s3", "diff", *sides, "--dst-secret", "little"), 2)
    line = one_line(dth.run("s3", "sync", *sides, "--dst-secret", "wrong"), 2)
    assert line.startswith("destination: the secret key is not that of the access key")
    assert "the secret 'wrong' (--dst-secret)" in line


def test_credentials_that_are_not_there(dth: Dth, source: Side, dest: Side) -> None:
    del dth.env["AWS_ACCESS_KEY_ID"]
    assert "no credentials" in one_line(dth.here("s3", "diff", *between(source, dest)), 2)
    secret = dth.home / "secrets" / "open.json"
    dth.secret("open", "a", "b")
    secret.chmod(0o644)
    assert "chmod 600" in one_line(
        dth.here("s3", "diff", *between(source, dest), "--src-secret", "open"), 2
    )


def test_a_state_that_cannot_be_used(dth: Dth, source: Side, dest: Side) -> None:
    source.put(bodies("ab"))
    command = ("s3", "sync", *between(source, dest), "--quiet", "--state")
    taken = dth.home / "taken"
    with lock_state_directory(taken):
        waiting = dth.start(*command, taken)  # it waits a while for the other to end

        file = dth.home / "file"
        file.write_text("")
        assert "cannot be used" in one_line(dth.run(*command, file), 1)
        assert "cannot be used" in one_line(dth.run(*command, "/proc/state"), 1)

        mine = dth.home / "mine"
        assert dth.run(*command, mine).code == 0
        other = list(command)
        other[2] += "/prefix"
        line = one_line(dth.run(*other, mine), 2)
        assert "belongs to another task (srcPrefix was '')" in line
        (mine / "task.json").write_text("{")
        assert "cannot be used" in one_line(dth.run(*command, mine), 1)
        damaged = dth.home / "damaged"
        damaged.mkdir()
        (damaged / "task.db").write_bytes(b"no database" * 1000)
        assert "not a database" in one_line(dth.run(*command, damaged), 1)

        assert f"is in use by process {os.getpid()}" in one_line(dth.end(waiting), 1)


@pytest.fixture(params=["file size", "disk"])
def tight(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A directory for a state that must stay small, and how to start the process that has it."""
    if request.param == "file size":
        most = 400_000
        yield (
            tmp_path / "tight",
            {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))},
        )
        return
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a file system; the other case covers it")
    yield disk / "state", {}
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_told_and_nothing_is_lost(
    dth: Dth, tight: tuple[Path, dict[str, Any]], dest: Side
) -> None:
    state, options = tight
    with ListingServer(20_000) as here:
        arguments = between(Side(here, "from"), dest)
        done = dth.run(
            "s3", "sync", *arguments, "--skip-compare", "--quiet", "--state", state, **options
        )
    assert done.code == 1
    assert done.err.splitlines()[0].startswith("dth: ")
    assert "disk" in done.err
