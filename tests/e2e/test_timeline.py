"""When the runs of a task were, and what users did in between."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.e2e.test_operator import look
from tests.engine import Side, bodies, wait_for

if TYPE_CHECKING:
    from tests.e2e.console import Console


def test_the_timeline_has_runs_and_what_users_did(
    console: Console, source: Side, dest: Side
) -> None:
    source.put(bodies("a"))
    page, hub = console.page, console.hub
    task = hub.create(source, dest, description="With a past")
    hub.wait(task, "DONE")
    hub.do("startRun", task)
    hub.wait(task, "DONE")
    console.open(f"/tasks/{task}?tab=runs")
    bars = page.get_by_role("list", name="Runs on the timeline").get_by_role("listitem")
    expect(bars.first).to_contain_text("Run 1, Done")
    markers = page.get_by_role("list", name="What users and the hub did").get_by_role("listitem")
    expect(markers).to_have_count(1)
    expect(markers).to_contain_text("Start run by")
    page.get_by_role("button", name="All", exact=True).click()
    look(console)


def test_an_error_is_on_the_timeline_and_leads_to_its_log_lines(
    console: Console, source: Side, dest: Side
) -> None:
    page, hub = console.page, console.hub
    task = hub.create(Side(source.server, "no-such-bucket"), dest, description="Broken at night")
    wait_for(lambda: hub.task(task)["progress"] in ("ERROR", "PAUSED"))
    console.open(f"/tasks/{task}?tab=runs")
    markers = page.get_by_role("list", name="What users and the hub did").get_by_role("listitem")
    expect(markers).to_have_count(1)
    expect(markers).to_contain_text("no-such-bucket")
    console.open(f"/tasks/{task}")
    page.get_by_role("link", name="See the log lines around it").click()
    lines = page.get_by_role("log", name="Log lines")
    expect(lines.get_by_text("no-such-bucket").first).to_be_visible()
    page.get_by_role("button", name="Level").click()
    page.get_by_role("option", name="Errors", exact=True).click()
    expect(page).to_have_url(re.compile("level=ERROR"))
    look(console)
