"""Stores in a browser: made, tested, looked into, and used by a task."""

from __future__ import annotations

import json
import os
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.e2e.test_transfer import field, next_step, task_id
from tests.engine import Side, bodies, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.e2e.console import Console


def picture(page: Page, name: str, *, whole: bool = False) -> None:
    """A screenshot, where somebody wants to look at it."""
    if folder := os.environ.get("DTH_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=whole)


def make_store(console: Console, name: str, side: Side) -> None:
    keys = {"access_key_id": side.server.access_key, "secret_access_key": side.server.secret_key}
    query = (
        "mutation ($name: String!, $value: String!) { createSecret(name: $name, value: $value) "
        "{ name } }"
    )
    console.hub.call(query, name=f"keys-{name}", value=json.dumps(keys))
    console.open("/stores")
    page = console.page
    page.get_by_role("button", name="Create store").first.click()
    dialog = page.get_by_role("dialog", name="Create store")
    dialog.get_by_label("Name", exact=True).fill(name)
    dialog.get_by_role("textbox", name=re.compile("^Endpoint")).fill(f" {side.server.url} ")
    dialog.get_by_role("button", name=re.compile("^Secret")).click()
    page.get_by_role("option", name=f"keys-{name}").click()
    assert console.accessibility() == []
    picture(page, f"form-{name}")
    dialog.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_role("rowheader", name=name)).to_be_visible()


def action(page: Page, store: str, name: str) -> None:
    page.get_by_role("button", name=f"Actions for {store}").click()
    page.get_by_role("menuitem", name=name, exact=True).click()


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_role("button", name=re.compile(f"^{label}")).first.click()
    page.get_by_role("option", name=option).click()


def browser_of(page: Page) -> Locator:
    return page.get_by_role("dialog", name=re.compile("^Browse"))


def test_a_task_is_made_from_two_stores(console: Console, source: Side, dest: Side) -> None:
    page = console.page
    old, new = (f"{name}-{uuid.uuid4().hex[:6]}" for name in ("old", "new"))
    source.put(bodies(["photos/2026/a.jpg", "photos/2026/b.jpg", "photos/old/c.jpg", "other"]))
    make_store(console, old, source)
    make_store(console, new, dest)
    expect(page.get_by_role("row", name=re.compile(old)).get_by_text("No task")).to_be_visible()

    action(page, old, "Test")
    dialog = page.get_by_role("dialog", name=f"Test of {old}")
    expect(dialog.get_by_text(re.compile("The store accepts the keys and shows"))).to_be_visible()
    assert console.accessibility() == []
    picture(page, "tested")
    dialog.get_by_role("button", name="Close").click()

    action(page, old, "Browse")
    dialog = browser_of(page)
    dialog.get_by_role("button", name=source.bucket, exact=True).click()
    dialog.get_by_role("button", name="photos/").click()
    dialog.get_by_role("button", name="2026/").click()
    dialog.get_by_role("button", name="a.jpg").click()
    expect(dialog.get_by_text("Content type")).to_be_visible()
    assert console.accessibility() == []
    picture(page, "object")
    dialog.get_by_role("button", name="Close").last.click()

    console.open("/tasks/create")
    next_step(page)
    choose(page, "Source store", old)
    expect(field(page, "Source endpoint")).to_have_count(0)
    page.get_by_role("button", name="Browse the buckets").click()
    dialog = browser_of(page)
    dialog.get_by_role("button", name=source.bucket, exact=True).click()
    dialog.get_by_role("button", name="photos/").click()
    expect(dialog.get_by_role("button", name="2026/")).to_be_visible()
    assert console.accessibility() == []
    picture(page, "browse")
    dialog.get_by_role("button", name=re.compile("^Choose")).click()
    expect(field(page, "Source bucket")).to_have_value(source.bucket)
    expect(field(page, "Source prefix")).to_have_value("photos/")
    assert console.accessibility() == []
    picture(page, "wizard")
    next_step(page)
    choose(page, "Destination store", new)
    field(page, "Destination bucket").fill(f" s3://{dest.bucket}/copies ")
    expect(field(page, "Destination bucket")).to_have_value(dest.bucket)
    expect(field(page, "Destination prefix")).to_have_value("copies")
    next_step(page)
    next_step(page)
    page.get_by_role("radio", name="Once").check()
    next_step(page)
    expect(page.get_by_text("The task has everything that it needs.")).to_be_visible()
    page.get_by_role("button", name="Create task").last.click()
    made = task_id(page)
    wait_for(lambda: console.hub.task(made)["progress"] == "DONE")
    assert len(dest.listed()) == 3
    console.open("/tasks")
    expect(page.get_by_text(f"{old}: {source.bucket}/photos").first).to_be_visible()

    console.open("/stores")
    expect(page.get_by_role("row", name=re.compile(new)).get_by_text("1 task")).to_be_visible()
    picture(page, "stores")
    console.language("zh")
    picture(page, "stores-zh")
    assert console.accessibility() == []
    console.dark()
    picture(page, "stores-dark")
    page.set_viewport_size({"width": 390, "height": 844})
    picture(page, "stores-390")
    console.open("/tasks/create")
    picture(page, "wizard-390")


def test_a_first_transfer_takes_one_page(console: Console, source: Side, dest: Side) -> None:
    page = console.page
    old, new = (f"{name}-{uuid.uuid4().hex[:6]}" for name in ("from", "to"))
    source.put(bodies(["a", "b"]))
    for name, side in ((old, source), (new, dest)):
        console.hub.secret(f"keys-{name}", side.server.access_key, side.server.secret_key)
        query = (
            "mutation ($n: String!, $i: StoreInput!) { createStore(name: $n, input: $i) { name } }"
        )
        console.hub.call(query, n=name, i={"endpoint": side.server.url, "secret": f"keys-{name}"})
    console.open("/tasks/quick")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text("Required.").first).to_be_visible()
    choose(page, "Source store", old)
    field(page, "Source bucket").fill(source.bucket)
    choose(page, "Destination store", old)
    field(page, "Destination bucket").fill(source.bucket)
    page.get_by_role("button", name="Start", exact=True).click()
    # What the hub objects to stands at its field, and one can go there.
    page.get_by_role("button", name="Go to field").click()
    expect(field(page, "Destination bucket")).to_be_focused()
    assert console.accessibility() == []
    choose(page, "Destination store", new)
    field(page, "Destination bucket").fill(f"s3://{dest.bucket}")
    picture(page, "quick")
    page.get_by_role("button", name="Start", exact=True).click()
    made = task_id(page)
    wait_for(lambda: console.hub.task(made)["progress"] == "DONE")
    assert sorted(dest.listed()) == ["a", "b"]
    page.set_viewport_size({"width": 390, "height": 844})
    console.language("zh")
    console.open("/tasks/quick")
    picture(page, "quick-390-zh")
    assert console.accessibility() == []
