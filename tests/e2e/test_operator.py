"""What an operator does with tasks that are under way or in trouble, at every width and in both
themes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.engine import Side, bodies, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.e2e.console import Console


def choose(page: Page, action: str) -> None:
    """An action in the menu of the task's page."""
    page.get_by_role("button", name="Actions", exact=True).click()
    page.get_by_role("menuitem", name=action, exact=True).click()


def look(console: Console) -> None:
    """Whatever is open is accessible and fits: light and dark, on a phone and a large screen."""
    page = console.page
    for width in (390, 2560, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        for _ in ("dark", "light"):
            page.evaluate("document.body.classList.toggle('awsui-dark-mode')")
            assert console.accessibility() == []
        wide = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide <= 0, f"the page scrolls sideways at {width} px"


def test_a_running_task_is_stopped_and_deleted_in_one_step(
    console: Console, source: Side, dest: Side
) -> None:
    source.put(bodies("a"))
    page, hub = console.page, console.hub
    task = hub.create(source, dest, once=False, description="To be deleted", scheduleRate="1 day")
    hub.wait(task, "IN_PROGRESS")
    console.open(f"/tasks/{task}")
    choose(page, "Delete")
    dialog = page.get_by_role("dialog", name="Stop and delete this task?")
    expect(dialog).to_contain_text("The hub stops it first, and then deletes it")
    expect(dialog).to_contain_text("Copied objects stay at the destination.")
    look(console)
    dialog.get_by_role("button", name="Stop and delete").click()
    expect(page).to_have_url(re.compile(r"/tasks$"))
    expect(page.get_by_text("The task is being stopped, and is then deleted.")).to_be_visible()
    wait_for(lambda: task not in str(hub.call("{ listTasksV2(count: 100) { items { id } } }")))
    expect(page.get_by_role("link", name="To be deleted")).to_have_count(0)


def test_the_audit_log_is_filtered_and_kept_as_a_file(
    console: Console, source: Side, dest: Side
) -> None:
    source.put(bodies("a"))
    page, hub = console.page, console.hub
    task = hub.create(source, dest, once=False, scheduleRate="1 day")
    hub.do("pauseTask", task)
    hub.do("stopTask", task)
    console.open(f"/audit?target={task}")
    expect(console.heading()).to_contain_text("(3)")
    page.get_by_role("button", name="What Any action").click()
    page.get_by_role("option", name="Stop task").click()
    expect(console.heading()).to_contain_text("(1)")
    page.get_by_role("button", name="Any time").click()
    look(console)
    page.get_by_label("From").fill("2020-01-01T00:00:00")
    page.get_by_label("To", exact=True).fill("2020-01-02T00:00:00")
    page.get_by_role("button", name="Apply").last.click()
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    expect(page).to_have_url(re.compile(r"what=stopTask&since=\d+&until=\d+"))
    page.go_back()
    console.open(f"/audit?target={task}&what=stopTask")
    for kind, start in (("CSV", "id,at,who,via,what,target,outcome,detail"), ("JSON", "[")):
        page.get_by_role("button", name="Export").click()
        with page.expect_download() as kept:
            page.get_by_role("menuitem", name=kind).click()
        text = kept.value.path().read_text("utf-8")
        assert text.startswith(start)
        assert text.count(task) >= 1
        assert "stopTask" in text
        assert "pauseTask" not in text
    console.language("zh")
    assert console.accessibility() == []


def test_what_is_known_leaves_what_needs_attention(
    console: Console, source: Side, dest: Side
) -> None:
    page, hub = console.page, console.hub
    task = hub.create(source, dest, once=False, description="Known trouble", scheduleRate="1 day")
    hub.wait(task, "IN_PROGRESS")
    hub.do("pauseTask", task)

    def listed() -> bool:
        found = hub.call("{ listTasksV2(attention: true, count: 100) { items { id } } }")
        return task in str(found)

    assert listed()
    console.open(f"/tasks/{task}")
    choose(page, "Acknowledge")
    dialog = page.get_by_role("dialog", name="Acknowledge what is wrong")
    dialog.get_by_role("button", name="Until").click()
    page.get_by_role("option", name="In 4 hours").click()
    look(console)
    dialog.get_by_role("button", name="Acknowledge").click()
    known = page.get_by_text("admin-user acknowledged on")
    expect(known).to_contain_text("or when something new fails")
    assert not listed()
    look(console)
    console.language("zh")
    expect(page.get_by_text("admin-user 已于")).to_be_visible()
    assert console.accessibility() == []
    console.language("en")
    page.get_by_role("button", name="Withdraw").click()
    expect(known).to_have_count(0)
    assert listed()
