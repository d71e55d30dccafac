"""Folders of this machine as source and destination."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dth.core.errors import UsageError
from dth.core.parameters import check_confined
from dth.objects.parameters import S3Parameters
from tests.engine import PARTED_OPTIONS, Dth, Side, bodies, wait_for
from tests.servers.proxy import Delay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.servers.proxy import Proxy

MIB = 1024 * 1024


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, body in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


def read(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def to(side: Side) -> tuple[str, ...]:
    return side.url, "--dst-endpoint-url", side.server.url


def from_(side: Side) -> tuple[str, ...]:
    return side.url, "--src-endpoint-url", side.server.url


FILES: dict[str, bytes] = {
    "a-b": b"1",
    "a/x.txt": b"22",
    "a/y/z.json": b"333",
    "a0": b"",
    "\u00e4 +%25&<>": b"5",
    "large": os.urandom(7 * MIB),
}


def test_a_folder_goes_to_a_bucket_and_back(dth: Dth, dest: Side, tmp_path: Path) -> None:
    here, back = tmp_path / "here", tmp_path / "back"
    write(here, FILES)
    (here / "empty").mkdir()
    os.utime(here / "a-b", ns=(1_600_000_000_123456789, 1_600_000_000_123456789))
    done = dth.run("s3", "sync", f"{here}", *to(dest), *PARTED_OPTIONS, "--json")
    assert done.code == 0, done
    assert dest.contents() == {**FILES, "empty/": b""}
    head = dest.head("a-b")
    assert head["x-amz-meta-mtime"] == "1600000000.123456789"
    assert dest.head("a/y/z.json")["content-type"] == "application/json"
    again = json.loads(dth.run("s3", "sync", f"{here}", *to(dest), "--json").out)
    assert (again["listed"], again["transferred"], again["skipped"]) == (7, 0, 7)

    done = dth.run("s3", "sync", *from_(dest), f"{back}", *PARTED_OPTIONS, "--json")
    assert done.code == 0, done
    assert read(back) == FILES
    assert (back / "empty").is_dir()
    for name in FILES:
        assert (back / name).stat().st_mtime_ns == (here / name).stat().st_mtime_ns
    assert json.loads(done.out)["verified"]["source"] == len(FILES) + 1
    again = json.loads(dth.run("s3", "sync", *from_(dest), f"{back}", "--json").out)
    assert (again["listed"], again["transferred"], again["skipped"]) == (7, 0, 7)
    assert [path.name for path in back.rglob(".dth-*")] == []
    assert dth.here("s3", "diff", f"{here}", f"{back}", "--compare", "content").code == 0


def test_large_parts_pass_through_a_pipe_in_both_directions(
    dth: Dth, dest: Side, tmp_path: Path
) -> None:
    here, back = tmp_path / "here", tmp_path / "back"
    write(here, {"large": os.urandom(150 * MIB)})
    sizes = ("--part-size", "70M", "--multipart-threshold", "70M")
    assert dth.run("s3", "sync", f"{here}", *to(dest), *sizes).code == 0
    done = dth.run("s3", "sync", *from_(dest), f"{back}", *sizes, "--json")
    assert done.code == 0, done
    assert (back / "large").read_bytes() == (here / "large").read_bytes()


def test_keys_that_are_no_paths_fail_and_nothing_is_written_outside(
    dth: Dth, source: Side, tmp_path: Path
) -> None:
    back, outside = tmp_path / "back", tmp_path / "outside"
    back.mkdir()
    outside.mkdir()
    (back / "planted").symlink_to(outside)
    (back / "link").symlink_to(outside / "new")
    (back / "a folder").mkdir()
    (back / "a folder" / "x").touch()
    good = {"good": b"1", "folder/good": b"2"}
    bad = {
        "../up": "NameRefused",
        "a/../../up": "NameRefused",
        "/absolute": "NameRefused",
        "two//slashes": "NameRefused",
        "n" * 256: "NameRefused",
        "file/": "NameRefused",
        "both": "",
        "both/x": "",
        "planted/x": "SymbolicLink",
        "link": "SymbolicLink",
        "a folder": "NameIsFolder",
    }
    source.put({**good, **dict.fromkeys(bad, b"x")})
    refused = {key for key, code in bad.items() if code == "NameRefused"}
    dry = dth.here("s3", "sync", *from_(source), f"{back}", "--dry-run")
    assert (dry.code, f", refuse {len(refused)} and delete 0" in dry.out) == (1, True), dry
    assert dry.err == (
        f"dth: {len(refused)} objects cannot be copied; a run would fail with them\n"
    )
    assert all(f"copy    {key}  (" not in dry.out for key in refused)
    assert dry.out.count("cannot be the path of a file") == len(refused) - 1
    done = dth.run("s3", "sync", *from_(source), f"{back}", "--json")
    assert done.code == 1, done
    found = json.loads(done.out)
    failed = {each["key"]: each["code"] for each in found["failures"]}
    both = {key: failed.pop(key) for key in ("both", "both/x") if key in failed}
    # Whichever came second.
    assert both in ({"both": "NameIsFolder"}, {"both/x": "NameIsFile"})
    assert failed == {key: code for key, code in bad.items() if code}
    assert list(outside.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} >= {"back", "outside"}
    assert not (tmp_path / "up").exists()
    assert {key: (back / key).read_bytes() for key in good} == good


def test_mirror_deletes_files_and_the_folders_that_they_leave_empty(
    dth: Dth, source: Side, tmp_path: Path
) -> None:
    back = tmp_path / "back"
    source.put(bodies(f"{n}" for n in range(10)))
    write(back, {"0": b"other", "old/deep/file": b"1", "old file": b"2"})
    command = ("s3", "sync", *from_(source), f"{back}", "--delete-mode", "MIRROR", "--json")
    refused = json.loads(dth.run(*command, "--delete-max-percent", "10").out)
    assert refused["deleted"] == 0
    assert (back / "old file").exists()
    done = json.loads(dth.run(*command, "--delete-max-percent", "100").out)
    assert done["deleted"] == 2
    assert read(back) == source.contents()
    assert not (back / "old").exists()


def test_a_killed_sync_into_a_folder_goes_on_and_leaves_nothing_behind(
    dth: Dth, source: Side, proxy_a: Proxy, tmp_path: Path
) -> None:
    back = tmp_path / "back"
    source.put({**bodies(f"{n:03}" for n in range(200)), "large": os.urandom(30 * MIB)})
    proxy_a.rule(Delay(0.1), method="GET")
    command = (
        "s3",
        "sync",
        *from_(Side(proxy_a, source.bucket)),
        f"{back}",
        *PARTED_OPTIONS,
        "--quiet",
    )
    process = dth.start(*command)
    wait_for(lambda: back.exists() and len(list(back.iterdir())) > 50)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = dth.run(*command)
    assert done.code == 0, done
    assert read(back) == source.contents()


def test_a_file_that_changes_while_it_is_read_is_copied_as_it_is_in_the_end(
    dth: Dth, dest: Side, proxy_b: Proxy, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    write(here, {"growing": os.urandom(12 * MIB), "other": b"1"})
    proxy_b.rule(Delay(1.0), method="POST", key="growing")
    process = dth.start(
        *("s3", "sync", f"{here}", *to(Side(proxy_b, dest.bucket)), *PARTED_OPTIONS, "--quiet")
    )
    wait_for(lambda: proxy_b.count("POST") > 0)
    final = os.urandom(13 * MIB)
    (here / "growing").write_bytes(final)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    assert dest.get("growing") == final


def test_a_folder_that_is_not_there_or_holds_nothing_is_told_in_one_line(
    dth: Dth, dest: Side, tmp_path: Path
) -> None:
    done = dth.run("s3", "sync", f"{tmp_path}/none", *to(dest))
    assert (done.code, done.err) == (2, f"dth: SRC: there is no folder '{tmp_path}/none'\n")
    (tmp_path / "file").touch()
    done = dth.run("s3", "sync", *from_(dest), f"{tmp_path}/file")
    assert (done.code, done.err) == (2, f"dth: DST '{tmp_path}/file' is not a folder\n")
    for path, why in (
        ("/proc/none", "No such file or directory"),
        (f"{tmp_path}/file/below", "Not a directory"),
    ):
        done = dth.run("s3", "sync", *from_(dest), path)
        said = f"dth: destination: the folder {path} cannot be written: {why}\n"
        assert (done.code, done.err) == (2, said)
    done = dth.run("s3", "sync", f"{tmp_path}", f"{tmp_path}/below")
    assert done.code == 2
    assert "lies in the other" in done.err
    done = dth.run("s3", "sync", f"{tmp_path}", *to(dest), "--src-profile", "x")
    assert (done.code, done.err) == (
        2,
        "dth: source: a folder takes no --src-profile; leave it out\n",
    )


def test_a_full_disk_stops_with_one_line_and_goes_on_later(
    dth: Dth, source: Side, tmp_path: Path
) -> None:
    source.put({"large": os.urandom(4 * MIB)})
    with tempfile.TemporaryDirectory(dir="/dev/shm") as small:
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "none", small], check=False
        ).returncode:
            pytest.skip("needs the right to mount")
        try:
            done = dth.run("s3", "sync", *from_(source), small, "--quiet")
            assert done.code == 1, done
            assert f"stopped: destination: folder {small}" in done.err.replace("dth: ", "")
            assert "No space left on device" in done.err
            assert list(Path(small).iterdir()) == []
        finally:
            subprocess.run(["umount", small], check=True)


def test_one_file_is_copied_into_a_prefix(dth: Dth, dest: Side, tmp_path: Path) -> None:
    write(tmp_path, {"here/one.txt": b"1", "here/two.txt": b"2"})
    done = dth.run("s3", "sync", f"{tmp_path}/here/one.txt", *to(dest))
    assert done.code == 0, done
    assert dest.contents() == {"one.txt": b"1"}


def test_names_that_are_no_utf8_and_too_long_fail_one_by_one(
    dth: Dth, dest: Side, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    write(here, {"good": b"1", "/".join(["x" * 200] * 6): b"2"})
    (here / os.fsdecode(b"latin-\xe4")).write_bytes(b"3")
    (here / "link").symlink_to("good")
    done = dth.run("s3", "sync", f"{here}", *to(dest), "--json")
    found = json.loads(done.out)
    assert done.code == 1, done
    assert dest.contents() == {"good": b"1"}
    assert found["failed"] == 2
    told = f"skipped in {here}: 1 symbolic link; --links follow copies what they lead to"
    assert told in found["notes"]
    done = dth.run("s3", "sync", f"{here}", *to(dest), "--json", "--links", "follow")
    assert dest.contents() == {"good": b"1", "link": b"1"}


def test_ls_and_a_dry_run_and_filters_work_on_folders(dth: Dth, dest: Side, tmp_path: Path) -> None:
    here = tmp_path / "here"
    write(here, {"a.txt": b"1", "b.log": b"22", "c/d.txt": b"333"})
    listed = dth.here("s3", "ls", f"{here}")
    assert [line.split()[-1] for line in listed.out.splitlines()] == ["c/", "a.txt", "b.log"]
    assert dth.here("s3", "du", f"{here}").out.splitlines()[1].split()[:3] == ["3", "6", "B"]
    done = dth.here("s3", "rm", f"{here}/a.txt")
    assert (done.code, (here / "a.txt").exists()) == (2, True)
    assert "for buckets only" in done.err
    done = dth.run("s3", "sync", f"{here}", *to(dest), "--exclude", "*.log", "--dry-run")
    assert done.code == 0, done
    assert "would copy 2 (4 bytes)" in done.out or "would copy 2" in done.out
    assert dest.listed() == []
    done = dth.run("s3", "sync", f"{here}", *to(dest), "--exclude", "*.log")
    assert dest.listed() == ["a.txt", "c/d.txt"]


def test_checksums_of_files_are_computed_and_compared(
    dth: Dth, source: Side, tmp_path: Path
) -> None:
    back = tmp_path / "back"
    source.put({"same": b"1234", "other": b"1234"})
    write(back, {"same": b"1234", "other": b"9999"})
    done = dth.here("s3", "diff", *from_(source), f"{back}", "--compare", "checksum")
    assert (done.code, done.out.splitlines()[0]) == (1, "* other  (checksum)"), done
    (back / "other").write_bytes(b"1234")
    done = dth.here("s3", "diff", *from_(source), f"{back}", "--compare", "checksum", "--json")
    assert (done.code, json.loads(done.out)["unjudged"]) == (0, 0), done
    assert dth.here("s3", "diff", f"{back}", f"{back}/../back2", "--compare", "checksum").code == 1


def test_a_list_names_files_and_folders_go_to_folders(dth: Dth, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    write(here, {"a": b"1", "b/c": b"2", "d": b"3"})
    (tmp_path / "list").write_text("b/c\n../up\n")
    done = dth.run("s3", "sync", f"{here}", f"{there}", "--manifest", f"{tmp_path}/list", "--json")
    assert [each["key"] for each in json.loads(done.out)["failures"]] == ["../up"]
    assert read(there) == {"b/c": b"2"}


@pytest.mark.usefixtures("confined")
def test_a_hub_copies_no_folders_of_its_machine(tmp_path: Path) -> None:
    for side in ("src", "dest"):
        with pytest.raises(UsageError, match="the settings of this hub list none"):
            check_confined(S3Parameters.model_validate({f"{side}_bucket": f"{tmp_path}"}))
