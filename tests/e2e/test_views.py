"""What an operator comes back to: saved views of the list, and the rate of busy tasks at home."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from dth.platforms.local.metrics import LocalMetrics
from tests.e2e.test_operator import look
from tests.engine import Side

if TYPE_CHECKING:
    from dth.platforms.local.sql import SqlDatabase
    from tests.e2e.console import Console


def test_a_view_is_saved_opened_and_deleted(console: Console) -> None:
    page = console.page
    console.open("/tasks?statuses=DONE,ERROR&orderBy=updated")
    page.get_by_role("button", name="Views").click()
    page.get_by_role("menuitem", name="Save this view").click()
    dialog = page.get_by_role("dialog", name="Save this view")
    dialog.get_by_label("Name").fill("What has ended")
    for _ in ("dark", "light"):
        page.evaluate("document.body.classList.toggle('awsui-dark-mode')")
        assert console.accessibility() == []
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("button", name="View: What has ended")).to_be_visible()
    look(console)
    console.open("/tasks")
    page.get_by_role("button", name="Views").click()
    assert console.accessibility() == []
    page.get_by_role("menuitem", name="What has ended").click()
    expect(page).to_have_url(re.compile(r"/tasks\?statuses=DONE%2CERROR&orderBy=updated$"))
    page.get_by_role("button", name="View: What has ended").click()
    page.get_by_role("menuitem", name="Delete this view").click()
    expect(page.get_by_role("button", name="Views")).to_be_visible()


def test_a_busy_task_shows_its_rate_at_home(console: Console, source: Side, dest: Side) -> None:
    source.put({"large": b"x" * 40_000_000})
    hub = console.hub
    task = hub.create(source, dest, description="Busy", maxBytesPerSecond="100000")
    hub.wait(task, "IN_PROGRESS")

    async def measured(database: SqlDatabase) -> None:
        """Two steps of the line; a test does not wait for them to pass."""
        for ago in (400, 700):
            await LocalMetrics(database).write(task, time.time() - ago, {"bytes_out": 12_000_000.0})

    hub._with_database(measured)
    console.open("/")
    line = console.page.get_by_role("img", name=re.compile("Rate of the last hour"))
    expect(line).to_have_count(1)
    look(console)
    hub.do("stopTask", task)
