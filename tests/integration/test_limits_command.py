"""`dth s3 limits`, on a sync that runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.engine import Dth, Side, between, wait_for

if TYPE_CHECKING:
    from pathlib import Path

LOW = ("--max-bytes-per-second", "16K")


@pytest.mark.parametrize("named", [True, False], ids=["its state named", "the only one"])
def test_a_limit_of_a_running_sync_is_shown_and_lifted(
    dth: Dth, source: Side, dest: Side, tmp_path: Path, named: bool
) -> None:
    body = b"x" * 10_000_000
    source.put({"large": body})
    state = tmp_path / "kept"
    running = dth.start("s3", "sync", *between(source, dest), *LOW, "--state", state)
    chosen = ("--state", state) if named else ()
    wait_for(lambda: dth.here("s3", "limits", *chosen).code == 0)
    wait_for(lambda: (state / "logs" / "worker-1.log").exists())
    before = json.loads(dth.here("s3", "limits", *chosen, "--json").out)
    assert before == {"state": str(state), "maxBytesPerSecond": 16384, "maxRequestsPerSecond": None}
    changed = dth.run(
        "s3",
        "limits",
        *chosen,
        "--max-bytes-per-second",
        "none",
        "--max-requests-per-second",
        "90.5",
    )
    assert changed.code == 0
    assert changed.out.split() == [
        f"{state}:", "max-bytes-per-second", "none", "max-requests-per-second", "90.5"
    ]  # fmt: skip
    # At the first limit this would take ten minutes.
    assert dth.end(running).code == 0
    assert dest.get("large") == body


def test_without_a_sync_there_is_nothing_to_limit(dth: Dth, tmp_path: Path) -> None:
    found = dth.here("s3", "limits")
    assert (found.code, found.err) == (
        2, "dth: no sync runs here; if it is another user's, name its state: --state DIR\n"
    )  # fmt: skip
    found = dth.here("s3", "limits", "--state", tmp_path)
    assert (found.code, found.err) == (2, f"dth: --state: {tmp_path} is not the state of a sync\n")
    (tmp_path / "task.json").write_text("{}")
    found = dth.here("s3", "limits", "--state", tmp_path, "--max-bytes-per-second", "5M")
    assert (found.code, found.err) == (
        2, (
           f"dth: --state: no sync runs with {tmp_path}; give the limits to the next one as "
           "options\n"
           )
    )  # fmt: skip
    found = dth.here("s3", "limits", "--max-bytes-per-second", "5Q")
    assert found.code == 2
    assert found.err.startswith("dth: --max-bytes-per-second: ")
