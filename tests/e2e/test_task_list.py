"""The task list: found again by its address, quick with ten thousand tasks, and the same on a small
screen."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from dth.hub.model import Progress, Role, ScheduleType, Task
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.tasks import LocalTasks
from tests.e2e.console import PASSWORD, Console
from tests.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

TASKS = 10_000


async def fill(path: Path) -> None:
    with HubDatabase.open(path) as database:
        tasks = LocalTasks(database)
        for n in range(TASKS):
            await tasks.add(
                Task(
                    id=f"{n:08x}-0000-4000-8000-000000000000",
                    type="S3EC2",
                    schedule_type=ScheduleType.ONE_TIME if n % 2 else ScheduleType.FIXED_RATE,
                    parameters={"srcBucket": "from", "destBucket": "to"},
                    description=f"transfer {n:05} <b>{'x' * (n % 40)}</b>",
                    progress=(Progress.DONE, Progress.STOPPED, Progress.ERROR)[n % 3],
                    reason="the bucket is gone" if n % 3 == 2 else "",
                    created=1_700_000_000 + n,
                    updated=1_700_000_000 + n,
                    source="s3://from/",
                    destination="s3://to/",
                )
            )


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with ten thousand tasks."""
    with Hub(tmp_path_factory.mktemp("crowded")) as hub:
        hub.user("admin-user", PASSWORD, Role.ADMIN)
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, fill(hub.data / "hub.db")).result()
        yield hub


@pytest.fixture
def tasks(page: Page, crowded: Hub) -> Iterator[Console]:
    console = Console(page, crowded)
    console.sign_in("admin-user", "/tasks")
    expect(page.get_by_text("transfer 09999")).to_be_visible()
    yield console
    assert console.problems == []


def test_pages_come_from_the_hub_and_stand_in_the_address(tasks: Console) -> None:
    page = tasks.page
    expect(tasks.heading()).to_contain_text("(10,000)")
    expect(page.locator("tbody tr")).to_have_count(20)
    page.get_by_role("button", name="Next page").click()
    expect(page.get_by_text("transfer 09979")).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?page=2$"))
    page.go_back()
    expect(page.get_by_text("transfer 09999")).to_be_visible()


def test_filters_stand_in_the_address_and_hold_after_a_reload(tasks: Console) -> None:
    page = tasks.page
    page.get_by_label("Find by description").fill("transfer 0123")
    expect(tasks.heading()).to_contain_text("(10)")
    page.get_by_role("button", name="Filter by status").click()
    page.get_by_role("option", name="Error").click()
    page.keyboard.press("Escape")
    expect(tasks.heading()).to_contain_text("(3)")
    expect(page).to_have_url(re.compile(r"text=transfer\+0123&statuses=ERROR"))
    page.reload()
    expect(tasks.heading()).to_contain_text("(3)")
    page.get_by_role("button", name="Clear filters").click()
    expect(tasks.heading()).to_contain_text("(10,000)")
    expect(page.get_by_label("Find by description")).to_have_value("")


def test_sorting_is_the_hubs(tasks: Console) -> None:
    page = tasks.page
    page.get_by_role("columnheader", name="Task").get_by_role("button").press("Enter")
    expect(page.get_by_text("transfer 00000")).to_be_visible()
    expect(page).to_have_url(re.compile(r"orderBy=description"))


def test_a_reason_is_shown_with_the_status(tasks: Console) -> None:
    page = tasks.page
    page.get_by_role("button", name="Error: the bucket is gone").first.click()
    expect(page.get_by_role("dialog").get_by_text("the bucket is gone")).to_be_visible()


def test_chosen_columns_are_kept(tasks: Console) -> None:
    page = tasks.page
    page.get_by_role("button", name="Preferences").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Created by", exact=True).click()
    dialog.get_by_text("50 rows").click()
    dialog.get_by_role("button", name="Confirm").click()
    expect(page.locator("tbody tr")).to_have_count(50)
    page.reload()
    expect(page.get_by_role("columnheader", name="Created by")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(50)


def test_text_of_users_is_text(tasks: Console) -> None:
    expect(tasks.page.locator("tbody b")).to_have_count(0)
    expect(tasks.page.get_by_text("<b>", exact=False).first).to_be_visible()


def test_the_usual_columns_fit_a_laptop_and_fill_a_large_screen(tasks: Console) -> None:
    page = tasks.page
    for width, least in ((1440, 1000), (2560, 2000)):
        page.set_viewport_size({"width": width, "height": 900})
        last = page.get_by_role("columnheader", name="Next run")
        expect(last).to_be_visible()
        box = last.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= width
        assert page.get_by_role("table").first.bounding_box()["width"] >= least


def test_what_needs_attention_is_found_among_all_tasks(tasks: Console) -> None:
    page = tasks.page
    page.get_by_text("Needs attention", exact=True).click()
    expect(tasks.heading()).to_contain_text("(3,333)")
    expect(page).to_have_url(re.compile(r"attention=true"))


def test_a_small_screen_has_it_all(tasks: Console) -> None:
    page = tasks.page
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.get_by_role("button", name="Create task")).to_be_visible()
    card = page.locator("li").filter(has_text="transfer 09999")
    expect(card.get_by_text("Done")).to_be_visible()
    wide = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert wide <= 0, "the page itself scrolls sideways"
