"""A source that is not what was meant: one key, a typing mistake, a wildcard, patterns of another
tool, lists of keys that do not exist. Nothing of it ends as a success in silence."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.engine import Done, Dth, Engine, Side, between, bodies

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.quick

KEYS = [
    "photos/2024/a.jpg",
    "photos/2025/b.jpg",
    "root.txt",
    "root.txt.bak",
    "we*ird[1]{x}.txt",
    "docs/x/y.txt",
]


@pytest.fixture
def filled(source: Side) -> Side:
    source.put(bodies(KEYS))
    return source


def below(side: Side, path: str) -> Side:
    """The same bucket at this path, which need not be a folder."""
    return Side(side.server, side.bucket, path)


def plain(dth: Dth, source: Side, dest: Side, *options: str | Path) -> Done:
    return dth.run("s3", "sync", *between(source, dest), "--quiet", *options)


# --- one object
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "into", "written"),
    [
        ("root.txt", "", "root.txt"),
        ("root.txt", "in", "in/root.txt"),
        ("photos/2024/a.jpg", "", "a.jpg"),
        ("photos/2024/a.jpg", "p/q/", "p/q/a.jpg"),
    ],
)
def test_the_key_of_an_object_copies_that_object(
    dth: Dth, filled: Side, dest: Side, key: str, into: str, written: str
) -> None:
    found = dth.sync(below(filled, key), below(dest, into))
    assert (found["listed"], found["transferred"], found["failed"]) == (1, 1, 0) or found[
        "filtered"
    ] == 1
    assert dest.listed() == [written]
    assert dest.get(written) == filled.get(key)
    assert dth.sync(below(filled, key), below(dest, into))["same"] == 1
    same = dth.here("s3", "diff", *between(below(filled, key), below(dest, into)))
    assert (same.code, f"s3://{filled.bucket}/{key} is an object" in same.err) == (0, True)


def test_an_odd_key_of_an_object_is_taken_as_it_is(dth: Dth, filled: Side, dest: Side) -> None:
    filled.put(bodies(["d/we[1]{x,y}?.txt", "d/we1x.txt"]))
    assert dth.sync(below(filled, "d/we[1]{x,y}?.txt"), dest)["transferred"] == 1
    assert dest.listed() == ["we[1]{x,y}?.txt"]


def test_a_folder_comes_before_an_object_of_the_same_name(
    dth: Dth, filled: Side, dest: Side
) -> None:
    filled.put({"photos": b"an object"})
    assert dth.sync(below(filled, "photos"), dest)["transferred"] == 2
    assert dest.listed() == ["2024/a.jpg", "2025/b.jpg"]


def test_a_slash_at_the_end_means_a_folder(dth: Dth, filled: Side, dest: Side) -> None:
    arguments = between(filled, dest)
    arguments[0] = f"s3://{filled.bucket}/root.txt/"
    done = dth.run("s3", "sync", *arguments, "--quiet")
    assert done.code == 1
    assert (
        f"nothing below s3://{filled.bucket}/root.txt/: s3://{filled.bucket}/root.txt is an object"
        in done.out
    )


# --- nothing there
# -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("phots", "photos/"),
        ("Photos", "photos/"),
        ("photos/2204", "photos/2024/"),
        ("phots/2024", "photos/"),
        ("root.tx", "root.txt"),
        ("zzzzzz", ""),
    ],
)
def test_a_prefix_that_is_not_there_is_told_with_the_nearest_one(
    dth: Dth, filled: Side, dest: Side, typed: str, meant: str
) -> None:
    done = plain(dth, below(filled, typed), dest)
    hint = f"; there is s3://{filled.bucket}/{meant}" if meant else ""
    assert f"  note: nothing below s3://{filled.bucket}/{typed}/{hint}\n" in done.out
    assert done.err == "dth: nothing was found at the source\n"
    assert done.code == 1
    dry = dth.here("s3", "sync", *between(below(filled, typed), dest), "--dry-run", "--json")
    assert (dry.code, dry.json["error"]) == (1, "nothing was found at the source")


def test_an_empty_bucket_is_no_mistake(dth: Dth, source: Side, dest: Side) -> None:
    found = dth.sync(source, dest)
    assert found["notes"] == [f"nothing below s3://{source.bucket}/: the bucket is empty"]


def test_a_task_that_finds_nothing_says_so(engine: Engine, filled: Side) -> None:
    ran = engine.run(src_prefix="phots/")
    assert ran.run.notes == [
        f"nothing below s3://{filled.bucket}/phots/; there is s3://{filled.bucket}/photos/"
    ]


def test_two_places_without_anything_are_not_equal(dth: Dth, filled: Side, dest: Side) -> None:
    done = dth.here("s3", "diff", *between(below(filled, "phots"), below(dest, "zzz")))
    assert done.code == 2
    assert "dth: nothing was compared: there is no object on either side" in done.err
    both = dth.here("s3", "diff", *between(below(filled, "phots"), below(dest, "zzz")), "--json")
    assert (both.code, both.json["equal"]) == (2, False)
    filtered = dth.here("s3", "diff", *between(filled, dest), "--include", "*.gif")
    assert filtered.code == 2
    assert "dth: nothing was compared: no object passes the filters" in filtered.err


@pytest.mark.parametrize("command", ["sync", "diff"])
@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("s3://b/*", "s3://b/ stands for everything below it"),
        ("s3://b/photos/*", "s3://b/photos/ stands for everything below it"),
        ("s3://b/photos/*.jpg", "write s3://b/photos/ --include '*.jpg'"),
        ("s3://b/ph*/2024", "write s3://b/ --include '/ph*/2024'"),
        ("s3://b*/x", "name one bucket"),
    ],
)
def test_a_wildcard_in_a_url_is_refused(dth: Dth, command: str, url: str, hint: str) -> None:
    done = dth.here("s3", command, url, "s3://d")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert done.err.rstrip().endswith(hint)


@pytest.mark.parametrize(
    ("url", "below"),
    [
        ("s3://b/*", "s3://b/"),
        ("s3://b/photos/*", "s3://b/photos/"),
        ("s3://b/photos/*.jpg", "s3://b/photos/"),
        ("s3://b/ph*/2024", "s3://b/"),
    ],
)
def test_a_command_without_patterns_advises_none(dth: Dth, url: str, below: str) -> None:
    done = dth.here("s3", "ls", url)
    assert done.code == 2
    hint = f"; {below} stands for everything below it; patterns are only for sync and diff\n"
    assert done.err == f"dth: URL {url!r}: a URL takes no wildcards{hint}"
    assert dth.here("s3", "ls", "s3://b*/x").err.endswith("name one bucket\n")


# --- patterns
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "glob", "advice"),
    [
        ("--exclude", "photos/*", "; for everything below: photos/"),
        ("--exclude", "photos", "; for everything below: photos/"),
        (
            "--include",
            "*.jpg,*.png",
            "; for one of several patterns write {*.jpg,*.png}, or give the option several times",
        ),
        ("--include", "- *.jpg", "; write --exclude '*.jpg'"),
        (
            "--include",
            "s3://b/photos/",
            "; a pattern is matched against the key below the source prefix",
        ),
        ("--exclude", "*.gif", ""),
    ],
)
def test_a_pattern_that_matches_nothing_is_told(
    dth: Dth, filled: Side, dest: Side, option: str, glob: str, advice: str
) -> None:
    done = dth.here("s3", "sync", *between(filled, dest), option, glob, "--dry-run")
    assert f"  note: pattern {glob!r} matched nothing{advice}\n" in done.out
    assert ("everything was filtered" in done.out) == (option == "--include")
    assert done.code == 0


def test_patterns_that_match_are_not_told(dth: Dth, filled: Side, dest: Side) -> None:
    options = ("--include", "*.jpg", "--include", "photos/", "--exclude", "2025/")
    found = dth.sync(filled, dest, *options)
    assert found["transferred"] == 1
    assert not any("pattern" in note for note in found["notes"])


@pytest.mark.parametrize("exclude", ["*", "**", "/**", "{*,x}"])
def test_to_exclude_everything_and_include_something_is_refused(
    dth: Dth, filled: Side, dest: Side, exclude: str
) -> None:
    done = dth.here(
        "s3", "sync", *between(filled, dest), "--exclude", exclude, "--include", "*.jpg"
    )
    assert done.code == 2
    assert done.err.rstrip().endswith("leave it out: --include '*.jpg'")


# --- manifests
# --------------------------------------------------------------------------------------------------


def test_keys_that_do_not_exist_are_told_as_not_found(
    dth: Dth, filled: Side, dest: Side, tmp_path: Path
) -> None:
    manifest = tmp_path / "keys"
    manifest.write_text("root.txt\n/photos/2024/a.jpg\n/docs/x/y.txt\n")
    note = (
        f"not found: 2 of 3 keys that the list names do not exist in s3://{filled.bucket}, for "
        "example "
    )
    dry = dth.here(
        "s3", "sync", *between(filled, dest), "--manifest", manifest, "--dry-run", "--json"
    ).json
    size = len(filled.get("root.txt"))
    assert (dry["would_transfer"], dry["would_move_bytes"], dry["not_found"]) == (1, size, 2)
    found = dth.sync(filled, dest, "--manifest", manifest)
    assert (found["listed"], found["transferred"], found["cancelled"], found["not_found"]) == (
        3,
        1,
        2,
        2,
    )
    for notes in (dry["notes"], found["notes"]):
        assert notes[0].startswith(note)
        assert notes[1] == "2 of these begin with /; keys rarely do, so write them without it"
    text = plain(dth, filled, dest, "--manifest", manifest).out
    assert "gone at the source" not in text
    differs = dth.here("s3", "diff", *between(filled, dest), "--manifest", manifest)
    assert differs.code == 2
    assert "! /docs/x/y.txt  (not found at the source)" in differs.out


@pytest.mark.parametrize("dry", [True, False])
def test_a_list_of_which_nothing_exists_is_no_success(
    dth: Dth, filled: Side, dest: Side, tmp_path: Path, dry: bool
) -> None:
    manifest = tmp_path / "keys"
    manifest.write_text("none\nof these\n")
    done = plain(dth, filled, dest, "--manifest", manifest, *["--dry-run"] * dry)
    assert done.code == 1
    assert (
        "dth: not found: none of the 2 keys that the list names exists at the source\n" in done.err
    )


def test_urls_in_a_manifest_are_refused_with_their_line(
    dth: Dth, filled: Side, dest: Side, tmp_path: Path
) -> None:
    manifest = tmp_path / "keys"
    manifest.write_text(f"root.txt\ns3://{filled.bucket}/root.txt\n")
    done = plain(dth, filled, dest, "--manifest", manifest)
    assert done.code == 1
    assert re.search(r"keys, line 2: 's3://.*/root.txt' is a URL; write only the key", done.err)


@pytest.mark.parametrize("command", ["sync", "dry run", "diff"])
def test_a_manifest_on_standard_input(
    dth: Dth, filled: Side, dest: Side, tmp_path: Path, command: str
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("root.txt\ndocs/x/y.txt\n")
    verb, more = ("sync", ["--dry-run"]) if command == "dry run" else (command, [])
    line = [
        sys.executable,
        "-m",
        "dth",
        "s3",
        verb,
        *between(filled, dest),
        "--manifest",
        "-",
        "--json",
        *more,
    ]
    with keys.open() as file:
        done = subprocess.run(
            line,
            stdin=file,
            capture_output=True,
            text=True,
            env={**os.environ, **dth.env},
            check=False,
        )
    assert done.returncode == (1 if command == "diff" else 0), done
    assert '"listed": 2' in done.stdout
    assert sorted(dest.listed()) == (["docs/x/y.txt", "root.txt"] if command == "sync" else [])
    assert not list(dth.states.glob("stdin-*"))


def test_a_hub_is_given_no_standard_input(dth: Dth) -> None:
    done = dth.here(
        "s3", "sync", "s3://a", "s3://b", "--manifest", "-", "--hub", "http://127.0.0.1:1"
    )
    assert (done.code, "a hub cannot read" in done.err) == (2, True)


def test_a_manifest_that_is_nowhere(dth: Dth, filled: Side, dest: Side) -> None:
    done = dth.here("s3", "diff", *between(filled, dest), "--manifest", "keys.txt")
    assert done.code == 2
    assert (
        f"keys.txt: there is no object s3://{filled.bucket}/keys.txt, nor a local file of that name"
        in done.err
    )


@pytest.mark.parametrize("option", ["--files-from", "--prefix-list"])
def test_a_list_that_cannot_be_is_told_before_anything_starts(
    dth: Dth, filled: Side, dest: Side, option: str
) -> None:
    (dth.home / "folder").mkdir()
    sides = between(filled, dest)
    for place, said in (
        (dth.home / "folder", "this is a folder; a file is needed"),
        ("keys.txt", f"there is no object s3://{filled.bucket}/keys.txt, nor a local file"),
    ):
        for command in ("sync", "diff"):
            done = dth.here("s3", command, *sides, option, place)
            assert (done.code, done.out) == (2, ""), done
            assert done.err.startswith(f"dth: {option} {place}: {said}")
            assert len(done.err.splitlines()) == 1
    assert not dth.states.exists()


def test_a_mistake_in_standard_input_is_said_to_be_there(
    dth: Dth, filled: Side, dest: Side
) -> None:
    (dth.home / "keys").write_text(f"s3://{filled.bucket}/root.txt\n")
    for command in ("sync", "diff"):
        with (dth.home / "keys").open() as keys:
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "dth", "s3", command),
                    *between(filled, dest),
                    *("--files-from", "-"),
                ],
                env={**os.environ, **dth.env},
                stdin=keys,
                capture_output=True,
                text=True,
                check=False,
            )
        assert done.returncode != 0
        assert "dth: standard input, line 1: " in done.stderr
        assert "is a URL; write only the key" in done.stderr


# --- keys that are too long
# --------------------------------------------------------------------------------------


def test_a_key_that_is_too_long_fails_alone(
    engine: Engine, filled: Side, dest: Side, tmp_path: Path
) -> None:
    manifest = tmp_path / "keys"
    manifest.write_text("root.txt\n" + "x" * 5000 + "\n")
    ran = engine.run(src_manifest=str(manifest))
    assert (ran.counts.listed, ran.counts.done, ran.counts.failed) == (2, 1, 1)
    [key] = set(ran.records) - {"root.txt"}
    assert key.startswith("x" * 100 + "... (5000 bytes, ")
    assert ran.records[key].reason == "KeyRefused"
