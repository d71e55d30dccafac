"""When the runs of a task were, and what users did in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.e2e.test_operator import look
from tests.engine import Side, bodies

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
    markers = page.get_by_role("list", name="What users did").get_by_role("listitem")
    expect(markers).to_have_count(1)
    expect(markers).to_contain_text("Start run by")
    page.get_by_role("button", name="All", exact=True).click()
    look(console)
