"""When tasks of a hub work: runs beside each other, windows, timetables, missed schedules, bounds;
and proof of it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from dth.core.errors import HubError
from dth.platforms.local.journal import BEGINNING
from tests.engine import Dth, Side, bodies, wait_for
from tests.hub import Hub, balanced
from tests.servers.proxy import Delay

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.ministack import MiniStack
    from tests.servers.proxy import Proxy

EDIT = "mutation ($id: ID!, $input: EditTaskInput!) { editTask(id: $id, input: $input) { id } }"


def edit(hub: Hub, task: str, **parameters: str) -> None:
    pairs = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
    hub.call(EDIT, id=task, input={"parameters": pairs})


def rates(hub: Hub, task: str) -> dict[str, float]:
    """Those that the task's processes share, by the name of the bucket."""
    database = sqlite3.connect(hub.data / "tasks" / task / "task.db")
    with contextlib.closing(database):
        return dict(database.execute("SELECT name, rate FROM bucket"))


def closed_now() -> str:
    """A window that is open an hour a day, and not now."""
    hour = (time.gmtime().tm_hour + 12) % 24
    return f"{hour:02}:00-{(hour + 1) % 24 or 24:02}:00"


def test_a_run_does_not_wait_for_the_objects_of_the_one_before(
    hub: Hub, slow: tuple[Side, Side]
) -> None:
    task = hub.create(*slow, once=False, scheduleRate="1 day")
    wait_for(lambda: slow[1].listed())
    slow[0].direct.put(bodies(["new"]))
    hub.do("startRun", task)
    wait_for(lambda: [run["state"] for run in hub.runs(task)] == ["DONE", "DONE"])
    second, first = hub.runs(task)
    assert first["counts"]["done"] == 100
    assert second["counts"]["pending"] > 0
    assert second["counts"]["done"] == 1
    for run in (first, second):
        balanced(run["counts"])
    assert len(slow[1].listed()) == 101


def test_outside_its_window_a_task_waits(hub: Hub, source: Side, dest: Side) -> None:
    source.put(bodies("ab"))
    task = hub.create(source, dest, transferWindow=closed_now())
    wait_for(lambda: hub.task(task)["reason"] == "outside the transfer window")
    time.sleep(1)
    assert dest.listed() == []
    edit(hub, task, transferWindow="00:00-24:00")
    hub.wait(task, "DONE")
    assert dest.listed() == ["a", "b"]


def test_a_window_that_closes_stops_the_bytes(hub: Hub, slow: tuple[Side, Side]) -> None:
    task = hub.create(*slow)
    wait_for(lambda: slow[1].listed())
    edit(hub, task, transferWindow=closed_now())
    wait_for(lambda: hub.task(task)["reason"] == "outside the transfer window")
    copied = len(slow[1].listed())
    assert copied < 100
    edit(hub, task, transferWindow="")
    hub.wait(task, "DONE")
    assert len(slow[1].listed()) == 100
    balanced(hub.runs(task)[0]["counts"])


def test_the_audit_log_has_what_the_hub_did_to_a_run(
    hub: Hub, slow: tuple[Side, Side], s3_a: MiniStack
) -> None:
    task = hub.create(*slow)
    wait_for(lambda: slow[1].listed())
    edit(hub, task, transferWindow=closed_now())
    wait_for(lambda: done_by_hub(hub, task) == ["windowClosed"])
    edit(hub, task, transferWindow="")
    wait_for(lambda: done_by_hub(hub, task) == ["windowClosed", "windowOpened"])
    hub.restart()
    wait_for(lambda: "continuedAfterRestart" in done_by_hub(hub, task))
    hub.do("pauseTask", task)
    hub.do("resumeTask", task)
    hub.wait(task, "DONE")
    assert done_by_hub(hub, task) == ["windowClosed", "windowOpened", "continuedAfterRestart"]
    # Nothing was interrupted where a window closes between two runs, or a hub starts again.
    idle = hub.create(*slow, once=False, scheduleRate="1 day", destPrefix="idle/")
    wait_for(lambda: (hub.runs(idle) or [{"state": ""}])[0]["state"] == "DONE")
    edit(hub, idle, transferWindow=closed_now())
    wait_for(lambda: hub.task(idle)["reason"] == "outside the transfer window")
    hub.restart()
    edit(hub, idle, transferWindow="")
    wait_for(lambda: hub.task(idle)["reason"] == "")
    assert done_by_hub(hub, idle) == []
    failing = hub.create(Side(s3_a, "no-such-bucket"), slow[1], destPrefix="none/")
    wait_for(lambda: hub.task(failing)["progress"] in ("ERROR", "PAUSED"))
    [entry] = by_hub(hub, failing)
    assert entry["what"] in ("failedByHub", "pausedByHub")
    assert json.loads(entry["detail"])["reason"] == hub.task(failing)["reason"]


def by_hub(hub: Hub, task: str) -> list[dict[str, str]]:
    """What the hub did by itself, oldest first."""
    query = (
        'query ($id: String) { listAudit(target: $id, who: "hub") { items { what detail via } } }'
    )
    found: list[dict[str, str]] = hub.call(query, id=task)["items"]
    assert {each["via"] for each in found} <= {"hub"}
    return found[::-1]


def done_by_hub(hub: Hub, task: str) -> list[str]:
    return [each["what"] for each in by_hub(hub, task)]


def test_the_timetables_cap_reaches_the_workers(hub: Hub, source: Side, dest: Side) -> None:
    source.put({"large": b"x" * 2_000_000})
    task = hub.create(source, dest, bandwidthTimetable="00:00-24:00 400K", maxBytesPerSecond="100M")
    started = time.monotonic()
    hub.wait(task, "DONE")
    assert rates(hub, task)["dest.bytes"] == 400 * 1024
    assert time.monotonic() - started > 3  # a cap is a least time: 2 MB at 400 KiB a second


def test_limits_act_on_bytes_under_way_without_new_workers(
    hub: Hub, source: Side, dest: Side
) -> None:
    source.put({"large": b"x" * 20_000_000})
    task = hub.create(source, dest, maxBytesPerSecond="16K")
    log = hub.data / "tasks" / task / "logs" / "worker-1.log"
    wait_for(lambda: log.exists() and rates(hub, task).get("source.bytes") == 16 * 1024)
    time.sleep(1)
    edit(hub, task, maxBytesPerSecond="", maxRequestsPerSecond="50")
    # At the first limit this would take twenty minutes.
    hub.wait(task, "DONE")
    assert rates(hub, task) == {
        "source.bytes": 0,
        "dest.bytes": 0,
        "source.requests": 50,
        "dest.requests": 50,
    }
    assert dest.get("large") == b"x" * 20_000_000
    assert log.read_text().count(BEGINNING) == 1


STANDS = """query ($id: ID!) { getTask(id: $id) { progress phase waitsFor nextRunAt
    lastRun { id result endedAt seconds } recentRuns { id result } } }"""


def test_between_two_runs_a_task_waits_and_tells_of_the_last_one(
    hub: Hub, source: Side, dest: Side
) -> None:
    task = hub.create(source, dest, once=False, scheduleRate="1 day")
    wait_for(lambda: hub.call(STANDS, id=task)["phase"] == "WAITING")
    stands = hub.call(STANDS, id=task)
    assert (stands["progress"], stands["waitsFor"]) == (
        "IN_PROGRESS",
        "the next run",
    )  # as old clients know it
    assert stands["nextRunAt"]
    assert (stands["lastRun"]["id"], stands["lastRun"]["result"]) == (1, "EMPTY")
    assert stands["lastRun"]["endedAt"]
    assert 0 < stands["lastRun"]["seconds"] < 60
    (note,) = hub.runs(task)[0]["notes"]
    assert source.bucket in note
    assert hub.call("{ hubActivity { active } }")["active"] == 0
    source.put(bodies("a"))
    hub.do("startRun", task)
    wait_for(lambda: hub.call(STANDS, id=task)["lastRun"]["id"] == 2)
    wait_for(lambda: hub.call(STANDS, id=task)["phase"] == "WAITING")
    stands = hub.call(STANDS, id=task)
    assert stands["lastRun"]["result"] == "DONE"
    assert stands["recentRuns"] == [{"id": 1, "result": "EMPTY"}, {"id": 2, "result": "DONE"}]
    hub.do("stopTask", task)
    hub.wait(task, "STOPPED")
    assert hub.call(STANDS, id=task)["phase"] == "STOPPED"


def test_a_run_that_was_missed_begins_at_the_next_start_and_is_told(
    hub: Hub, source: Side, dest: Side
) -> None:
    source.put(bodies("a"))
    task = hub.create(
        source, dest, once=False, scheduleRate="1 day", alarmEmail="somebody@example.org"
    )
    wait_for(
        lambda: (
            hub.runs(task) and hub.runs(task)[0]["state"] == "DONE" and hub.task(task)["nextRunAt"]
        )
    )
    hub.kill()
    database = sqlite3.connect(hub.data / "hub.db")
    with database:
        database.execute("UPDATE task SET next_run = ?", (time.time() - 3600,))
    hub.start()
    wait_for(lambda: len(hub.runs(task)) == 2 and hub.runs(task)[0]["state"] == "DONE")
    events = {event for (event,) in database.execute("SELECT event FROM outbox")}
    database.close()
    assert "MISSED_SCHEDULE" in events


def test_tasks_beyond_the_bound_wait_for_their_turn(
    tmp_path: Path, slow: tuple[Side, Side], s3_b: object
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "hub.yaml").write_text("bounds: {tasks: 1, workers: 1}\n")
    with Hub(tmp_path) as hub:
        first = hub.create(*slow, destPrefix="first")
        wait_for(lambda: slow[1].listed())
        second = hub.create(*slow, destPrefix="second")
        wait_for(lambda: "the maximum number of tasks" in hub.task(second)["reason"])
        third = hub.create(*slow, destPrefix="third")
        wait_for(lambda: "the maximum number of tasks" in hub.task(third)["reason"])
        hub.do("stopTask", third)  # which does not wait
        hub.wait(third, "STOPPED")
        assert hub.task(first)["progress"] == "IN_PROGRESS"
        hub.wait(first, "DONE")
        hub.wait(second, "DONE")
        assert len(slow[1].listed()) == 200


def test_settings_that_cannot_be_are_refused_in_one_line(dth: Dth) -> None:
    data = dth.home / "data"
    data.mkdir()
    for text, said in (
        ("nonsense: 1", "only issuer, smtp, bounds"),
        ("bounds: {tasks: 1, sheep: 2}", "sheep"),
        ("issuer: {issuer: http://example.org, client_id: x}", "https"),
        ("a: [", "cannot be read"),
    ):
        (data / "hub.yaml").write_text(text)
        done = dth.run("up", "--data-dir", data, "--port", "0")
        assert done.code == 2, done
        assert said in done.err
        assert done.err.count("\n") == 1


def test_a_finished_run_has_a_certificate_that_holds(
    hub: Hub, dth: Dth, source: Side, dest: Side
) -> None:
    source.put(bodies("abc"))
    task = hub.create(source, dest)
    hub.wait(task, "DONE")
    made = dth.here("task", "certificate", task, "1", "--data-dir", hub.data)
    assert made.code == 0, made
    key = made.err.strip().removeprefix("public key: ")
    file = dth.home / "certificate.json"
    file.write_text(made.out)
    good = dth.here("verify-certificate", file, "--public-key", key)
    assert good.code == 0, good
    document = json.loads(made.out)
    text = json.dumps(document).replace('"done": 3', '"done": 4')
    assert text != json.dumps(document)
    file.write_text(text)
    assert dth.here("verify-certificate", file, "--public-key", key).code == 1


def test_a_run_from_before_there_were_digests_gets_a_certificate_by_a_job(
    hub: Hub, dth: Dth, source: Side, dest: Side
) -> None:
    source.put(bodies("abc"))
    task = hub.create(source, dest)
    hub.wait(task, "DONE")
    ask = {"id": task, "run": 1}
    query = "query ($id: ID!, $run: Int!) { getCertificate(id: $id, run: $run) }"
    kept = json.loads(hub.call(query, **ask))
    hub.stop()
    with (
        contextlib.closing(sqlite3.connect(hub.data / "tasks" / task / "task.db")) as database,
        database,
    ):
        assert database.execute("DELETE FROM digest").rowcount == 1
    hub.start()
    with pytest.raises(HubError, match="dth task certificate"):
        hub.call(query, **ask)
    made = dth.here("task", "certificate", task, "1", "--data-dir", hub.data)
    assert made.code == 0, made
    assert json.loads(made.out)["records"] == kept["records"]
    assert json.loads(hub.call(query, **ask))["records"] == kept["records"]
    refused = dth.here("task", "certificate", task, "7", "--data-dir", hub.data)
    assert (refused.code, refused.err.strip()) == (2, "dth: There is no run 7")


def price_stores(hub: Hub, *sides: Side) -> None:
    """Let an administrator say what they charge."""
    hosts = [side.server.url.removeprefix("http://") for side in sides]
    lines = [f"  {host}: {{gb: 0.01, requests: 0.005}}" for host in hosts]
    hub.stop()
    (hub.data / "hub.yaml").write_text("\n".join(["prices:", *lines, ""]))
    hub.start()


def test_without_prices_there_is_no_cost(hub: Hub, source: Side, dest: Side) -> None:
    source.put(bodies("ab"))
    task = hub.create(source, dest)
    hub.wait(task, "DONE")
    assert hub.task(task)["spent"] is None
    price_stores(hub, source, dest)
    hub.do("startRun", task)
    hub.wait(task, "DONE")
    assert hub.task(task)["spent"] > 0


def test_at_its_budget_a_task_pauses_and_with_a_larger_one_goes_on(
    hub: Hub, slow: tuple[Side, Side], proxy_a: Proxy
) -> None:
    # The budget is looked at with each sample, every ten seconds: until then there must be
    # something left to do.
    slow[0].direct.put(bodies(f"more-{n:03}" for n in range(200)))
    held = proxy_a.rule(Delay(6.0), key="more-")
    with pytest.raises(HubError, match=r"budget: no prices are known for 127\.0\.0\.1"):
        hub.create(*slow, budget="0.0001", maxCapacity="1")
    price_stores(hub, *slow)
    task = hub.create(*slow, budget="0.0001", maxCapacity="1")
    paused = hub.wait(task, "PAUSED")
    assert "the budget of $0.0001 is reached" in paused["reason"]
    assert paused["spent"] >= 0.0001
    assert done_by_hub(hub, task) == ["pausedByHub"]
    assert len(slow[1].listed()) < 300
    proxy_a.remove(held)
    edit(hub, task, budget="100", workerNumber="10", maxCapacity="2")
    hub.do("resumeTask", task)
    hub.wait(task, "DONE")
    assert len(slow[1].listed()) == 300


def test_a_task_runs_by_the_clock_of_its_time_zone(hub: Hub, source: Side, dest: Side) -> None:
    source.put(bodies("a"))
    with pytest.raises(HubError, match="scheduleTimeZone: 'Nepal' is not a time zone"):
        hub.create(source, dest, once=False, scheduleTimeZone="Nepal")
    task = hub.create(
        source,
        dest,
        once=False,
        ec2CronExpression="0 3 * * ? *",
        scheduleTimeZone="Asia/Kathmandu",
    )
    wait_for(lambda: hub.task(task)["nextRunAt"])
    assert "T21:15:00" in hub.task(task)["nextRunAt"]
    assert zone_of(hub, task) == "Asia/Kathmandu"
    edit(hub, task, scheduleTimeZone="")
    assert "T03:00:00" in hub.task(task)["nextRunAt"]
    assert zone_of(hub, task) == "UTC"
    edit(hub, task, scheduleRate="1 day")
    assert zone_of(hub, task) is None


def zone_of(hub: Hub, task: str) -> str | None:
    found = hub.call("query ($id: ID!) { getTask(id: $id) { scheduleTimeZone } }", id=task)
    zone: str | None = found["scheduleTimeZone"]
    return zone
