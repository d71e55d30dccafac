"""`dth s3 compare`, `dth task compare` and `dth comparison`, as typed: what they print, what they
write, and their exit codes."""

from __future__ import annotations

import csv
import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.engine import Dth, Side, between, bodies
from tests.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with Hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture
def beside(hub: Hub, dth: Dth) -> Dth:
    """The command, next to the hub."""
    dth.env |= {"DTH_DATA_DIR": str(hub.data), "DTH_HUB": "", "DTH_TOKEN": ""}
    return dth


def fill(source: Side, dest: Side) -> None:
    source.put(bodies([f"same/{n}" for n in range(5)]) | {"in/missing": b"m", "in/other": b"12"})
    dest.put(bodies([f"same/{n}" for n in range(5)]) | {"in/other": b"1", "extra/x": b"xyz"})


def test_two_sides_are_compared_here(dth: Dth, source: Side, dest: Side, tmp_path: Path) -> None:
    fill(source, dest)
    done = dth.run("s3", "compare", *between(source, dest))
    assert done.code == 1, done
    assert re.search(r"^same +5 +\d+ B$", done.out, re.MULTILINE), done.out
    assert re.search(r"^missing at the destination +1 +1 B$", done.out, re.MULTILINE)
    assert re.search(r"^only at the destination +1 +3 B$", done.out, re.MULTILINE)
    assert re.search(r"^in/ +0 +1 +1 +0 +0$", done.out, re.MULTILINE)
    assert "1 folder without differences" in done.out
    assert done.out.endswith("The sides differ. (compared by etag)\n")
    rows = tmp_path / "rows.csv"
    assert dth.run("s3", "compare", *between(source, dest), "--report", rows).code == 1
    with rows.open(newline="") as file:
        found = {row["key"]: row for row in csv.DictReader(file)}
    assert {key: row["state"] for key, row in found.items()} == {
        "in/missing": "MISSING",
        "in/other": "DIFFERENT",
        "extra/x": "EXTRA",
    }
    assert (found["in/other"]["size"], found["in/other"]["dest_size"]) == ("2", "1")
    as_json = tmp_path / "rows.json"
    dth.run("s3", "compare", *between(source, dest), "--report", as_json)
    assert {row["key"] for row in json.loads(as_json.read_text())} == found.keys()


def test_exit_codes_say_what_is_known(dth: Dth, source: Side, dest: Side) -> None:
    objects = {f"{n}": f"body {n}".encode() for n in range(10)}
    source.put(objects)
    dest.put(objects)
    sides = between(source, dest)
    done = dth.run("s3", "compare", *sides, "--json")
    assert (done.code, json.loads(done.out)["verdict"]) == (0, "SAME")
    assert json.loads(done.out)["objects"] == {"SAME": 10}
    dest.put({"7": b"bodY 7"})
    done = dth.run("s3", "compare", *sides, "--compare", "size", "--json")
    assert (done.code, json.loads(done.out)["verdict"]) == (0, "UNPROVEN")
    assert json.loads(done.out)["objects"] == {"UNPROVEN": 10}
    done = dth.run("s3", "compare", *sides, "--compare", "content")
    assert (done.code, "different" in done.out) == (1, True)
    done = dth.run("s3", "compare", *sides, "--sample", "5")
    assert (done.code, "only the policy 'content'" in done.err) == (2, True)
    done = dth.run("s3", "compare", *sides, "--compare", "always")
    assert (done.code, "'always' compares nothing" in done.err) == (2, True)
    none = [f"{sides[0]}/none/", f"{sides[1]}/none/", *sides[2:]]
    done = dth.run("s3", "compare", *none)
    assert (done.code, "Nothing was compared" in done.out) == (2, True)


def test_a_task_of_a_hub_is_compared_proven_and_completed(
    hub: Hub, beside: Dth, source: Side, dest: Side, tmp_path: Path
) -> None:
    fill(source, dest)
    task = hub.create(source, dest)
    hub.wait(task, "DONE")
    dest.put({"same/1": b"!" * len(dest.get("same/1"))})
    rows = tmp_path / "rows.json"
    done = beside.here("task", "compare", task[:8], "--compare", "content", "--report", rows)
    assert done.code == 1, done
    assert re.search(r"^different +1 ", done.out, re.MULTILINE), done.out
    comparison = re.search(r"^comparison (\S+);", done.err)
    assert comparison, done.err
    assert {row["key"]: row["state"] for row in json.loads(rows.read_text())} == {
        "same/1": "DIFFERENT",
        "extra/x": "EXTRA",
    }
    listed = beside.here("comparison", "list", "--task", task)
    assert re.search(
        rf"^{comparison[1][:8]} +DONE +different +content +8 ", listed.out, re.MULTILINE
    )
    copied = beside.here("comparison", "copy", comparison[1][:8], "--state", "different", "--watch")
    assert (copied.code, copied.out.strip()) == (0, task), copied
    proof = tmp_path / "proof.json"
    dest.server.boto().delete_object(Bucket=dest.bucket, Key="extra/x")
    done = beside.here("task", "compare", task, "--compare", "content", "--certificate", proof)
    assert done.code == 0, done
    assert "Both sides are the same. (compared by content)" in done.out
    told = beside.here("verify-certificate", proof, "--json")
    assert (told.code, told.json["holds"], told.json["problem"]) == (0, True, "")
    checked = beside.here("verify-certificate", proof)
    assert checked.code == 0, checked
    assert re.search(r"^  result +both sides are the same$", checked.out, re.MULTILINE)
    assert re.search(r"^  compared by +content, 7 objects$", checked.out, re.MULTILINE)
    assert beside.here("comparison", "show", comparison[1][:6]).code == 1
    assert beside.here("comparison", "delete", comparison[1][:8]).code == 0
    missing = beside.here("comparison", "show", comparison[1])
    assert (missing.code, "there is no comparison" in missing.err) == (2, True)


def test_a_hub_compares_for_the_command(hub: Hub, beside: Dth, source: Side, dest: Side) -> None:
    fill(source, dest)
    sides = [f"s3://{source.bucket}/in", f"s3://{dest.bucket}/in"]
    hub.parameters(source, dest)
    beside.env["DTH_TOKEN"] = hub.token
    ends = ["--src-endpoint-url", source.server.url, "--dst-endpoint-url", dest.server.url]
    secrets = ["--src-secret", "keys", "--dst-secret", "keys"]
    done = beside.here("s3", "compare", *sides, *ends, *secrets, "--hub", hub.url, "--json")
    assert done.code == 1, done
    found = json.loads(done.out)
    assert {each["state"]: each["objects"] for each in found["counts"]} == {
        "MISSING": 1,
        "DIFFERENT": 1,
    }
