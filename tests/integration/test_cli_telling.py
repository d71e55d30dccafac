"""What commands tell while they run, for people and for programs: progress, logs, completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.engine import Dth, Side, between, bodies

if TYPE_CHECKING:
    from tests.servers.proxy import Proxy


def test_progress_for_programs_and_a_log_file(dth: Dth, source: Side, dest: Side) -> None:
    source.put(bodies(["a", "b"]))
    log = dth.home / "run.log"
    options = ("--progress-json", "0.1", "--log-file", log, "--quiet")
    done = dth.run("s3", "sync", *between(source, dest), *options)
    assert done.code == 0, done
    told = [json.loads(line) for line in done.err.splitlines()]
    assert told
    assert (told[-1]["objects"], told[-1]["ended"], told[-1]["failed"]) == (2, 2, 0)
    assert told[-1].keys() >= {
        "state",
        "percent",
        "done_bytes",
        "bytes_per_second",
        "eta_seconds",
        "workers",
    }
    lines = log.read_text().splitlines()
    assert any(" finder" in line and "started" in line for line in lines), lines


def test_very_verbose_shows_the_logs(dth: Dth, source: Side, dest: Side) -> None:
    source.put(bodies("a"))
    done = dth.run("s3", "sync", *between(source, dest), "-vv")
    assert done.code == 0, done
    assert "source: endpoint" in done.err
    assert "INFO started" in done.err
    once = dth.run("s3", "sync", *between(source, dest), "-v")
    assert "INFO started" not in once.err


def test_a_log_file_that_cannot_be_written_is_told_first(
    dth: Dth, proxy_a: Proxy, dest: Side
) -> None:
    there = Side(proxy_a, "nobody")
    done = dth.here("s3", "sync", *between(there, dest), "--log-file", "/no/such/folder/x")
    assert done.code == 2
    assert "--log-file /no/such/folder/x: No such file or directory" in done.err
    assert not proxy_a.requests


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(dth: Dth, shell: str) -> None:
    script = dth.here("completion", shell)
    assert script.code == 0
    assert "_DTH_COMPLETE" in script.out
    assert "dth" in script.out


def test_completion_in_bash_finds_commands_and_options(dth: Dth) -> None:
    file = dth.home / "dth.bash"
    file.write_text(dth.here("completion", "bash").out)
    syntax = subprocess.run(["bash", "-n", file], capture_output=True, text=True, check=False)
    assert (syntax.returncode, syntax.stderr) == (0, "")
    dth.env |= {"_DTH_COMPLETE": "bash_complete", "COMP_WORDS": "dth s3 s", "COMP_CWORD": "2"}
    assert dth.run().out.splitlines() == ["plain,stat", "plain,state", "plain,sync"]


@pytest.mark.parametrize(
    "words", ["sync", "sync ./a", "sync s3://a s3://b --files-from", "ls", "cp"]
)
def test_completion_offers_files_and_stores(dth: Dth, words: str) -> None:
    url = ("--endpoint-url", "http://127.0.0.1:1")
    assert dth.here("store", "add", "old-minio", *url).code == 0
    count = str(2 + len(words.split()))
    dth.env |= {"_DTH_COMPLETE": "bash_complete", "COMP_WORDS": f"dth s3 {words} o"}
    dth.env["COMP_CWORD"] = count
    # Bash forgets what comes before the files.
    stores = [] if words.endswith("--files-from") else ["plain,old-minio:"]
    assert dth.run().out.splitlines() == ["file,o", *stores]


@pytest.mark.parametrize(
    ("options", "copied"),
    [
        (("--filter-rules", "aws", "--exclude", "*", "--include", "*.jpg"), ["a.jpg", "x/b.jpg"]),
        (("--filter-rules", "aws", "--exclude=x/*"), ["a.jpg", "c.tmp"]),
        (
            ("--filter-rules", "rclone", "--exclude", "/x/**", "--include", "*.jpg"),
            ["a.jpg", "x/b.jpg"],
        ),
        (("--filter", "- *.tmp", "--filter", "- x/"), ["a.jpg"]),
    ],
)
def test_filters_as_other_tools_read_them(
    dth: Dth, source: Side, dest: Side, options: tuple[str, ...], copied: list[str]
) -> None:
    source.put(bodies(["a.jpg", "x/b.jpg", "c.tmp"]))
    found = dth.here("s3", "sync", *between(source, dest), *options, "--dry-run")
    assert found.code == 0, found
    assert [line.split()[1] for line in found.out.splitlines() if line.startswith("copy")] == copied


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--filter-rules", "aws"), "give one of them"),
        (("--filter-rules", "aws", "--include", "a", "--filter", "+ a"), "leave out --filter"),
        (("--filter", "+ a", "--include", "b"), "give filter rules, or include"),
        (("--filter", "a"), "write '+ PATTERN'"),
        (("--filter-rules", "rclone", "--include", "{{a.*}}"), "regular expression"),
    ],
)
def test_filters_that_cannot_be_are_told(dth: Dth, options: tuple[str, ...], told: str) -> None:
    done = dth.here("s3", "sync", "s3://a", "s3://b", *options, "--dry-run")
    assert (done.code, told in done.err) == (2, True), done


# --- what a command finds around it
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["s3 cp - s3://a/b", "secret create x", "store add x --keys", "user passwd admin"]
)
def test_closed_standard_input_is_not_taken_for_an_empty_one(dth: Dth, words: str) -> None:
    (dth.home / "hub").mkdir()
    dth.env |= {"DTH_DATA_DIR": str(dth.home / "hub")}
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m dth {words} <&-"],
        env={**os.environ, **dth.env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, ""), done
    assert len(done.stderr.splitlines()) == 1
    assert "internal error" not in done.stderr


def test_nobody_can_answer_where_standard_input_is_closed(dth: Dth, source: Side) -> None:
    source.put(bodies(["x/a"]))
    command = f"{sys.executable} -m dth s3 rm -r {source.url}/x/ --endpoint-url {source.server.url}"
    done = subprocess.run(
        ["sh", "-c", f"{command} <&- >&-"],
        env={**os.environ, **dth.env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "nobody can answer here" in done.stderr) == (2, True), done
    assert source.listed() == ["x/a"]


def test_names_are_utf8_whatever_the_locale_is(dth: Dth, source: Side, dest: Side) -> None:
    source.put(bodies(["ü/日本"]))
    dth.env |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = dth.run("s3", "sync", source.url, "./there", "--src-endpoint-url", source.server.url)
    assert (done.code, done.err) == (0, ""), done
    assert (dth.home / "there" / "ü" / "日本").is_file()


def test_an_output_that_has_no_such_character_gets_its_escape(dth: Dth, source: Side) -> None:
    source.put(bodies(["ü日"]))
    dth.env |= {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(
        [
            sys.executable,
            *["-m", "dth", "s3", "ls"],
            source.url,
            "--endpoint-url",
            source.server.url,
        ],
        env={**os.environ, **dth.env},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, b"\xfc\\u65e5" in done.stdout) == (0, True), done
