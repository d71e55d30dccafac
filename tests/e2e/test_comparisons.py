"""A comparison in a browser: of two places and of a task, looked into by folder, and copied."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.e2e.test_stores import choose, make_store, picture
from tests.e2e.test_transfer import field, task_id
from tests.engine import Side, bodies

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.e2e.console import Console

STARTED = re.compile(r"/comparisons/[0-9a-f]{8}-")


def fill(source: Side, dest: Side) -> None:
    same = bodies([f"photos/2026/{n:02}.jpg" for n in range(12)] + ["reports/a.pdf"])
    lost = bodies([f"photos/2025/{n:02}.jpg" for n in range(3)])
    source.put(same | lost | {"reports/b.pdf": b"longer"})
    dest.put(same | {"reports/b.pdf": b"short", "old/left.txt": b"left"})


def ended(page: Page) -> None:
    page.wait_for_url(STARTED)
    expect(page.get_by_text("The sides differ").first).to_be_visible()
    expect(page.get_by_role("heading", name="By folder")).to_be_visible()


def looks(console: Console, name: str) -> None:
    """The page in every look, and what axe finds in each."""
    page = console.page
    for language in ("en", "zh"):
        console.language(language)
        for dark in (False, True):
            console.dark(dark)
            for width in (1440, 390):
                page.set_viewport_size({"width": width, "height": 900 if width > 390 else 844})
                console.settle()
                assert console.accessibility() == [], (language, dark, width)
                wide = page.evaluate(
                    "document.documentElement.scrollWidth - document.documentElement.clientWidth"
                )
                assert wide <= 0, (language, dark, width)
                look = f"{name}-{language}-{'dark' if dark else 'light'}-{width}"
                picture(page, look, whole=True)
    page.set_viewport_size({"width": 1440, "height": 900})
    console.dark(False)
    console.language("en")


def test_two_places_are_compared_and_what_is_missing_is_copied(
    console: Console, source: Side, dest: Side
) -> None:
    page = console.page
    fill(source, dest)
    old, new = (f"{name}-{uuid.uuid4().hex[:6]}" for name in ("old", "new"))
    make_store(console, old, source)
    make_store(console, new, dest)
    console.open("/")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Comparisons").click()
    page.get_by_role("button", name="Compare two sides").first.click()
    choose(page, "Source store", old)
    field(page, "Source bucket").fill(source.bucket)
    choose(page, "Destination store", new)
    field(page, "Destination bucket").fill(dest.bucket)
    page.get_by_role("radio", name=re.compile("^Content")).check()
    assert console.accessibility() == []
    picture(page, "start", whole=True)
    page.get_by_role("button", name="Compare", exact=True).click()
    ended(page)
    folders = page.get_by_role("table", name="By folder")
    expect(folders.get_by_role("link", name="old/")).to_be_visible()
    looks(console, "comparison")

    folders.get_by_role("link", name="photos/").click()
    expect(folders.get_by_role("link", name="2025/")).to_be_visible()
    expect(page.get_by_label("Key begins with")).to_have_value("photos/")
    found = page.get_by_role("table", name="Objects that are not the same")
    expect(found.get_by_role("row")).to_have_count(4)
    assert console.accessibility() == []
    picture(page, "folder", whole=True)

    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
        page.get_by_role("menuitem", name="CSV").click()
    rows = download.value.path().read_text("utf-8").splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == [f"photos/2025/{n:02}.jpg" for n in range(3)]
    with page.expect_download() as download:
        page.get_by_role("button", name="Certificate").click()
    assert '"dth-comparison-1"' in download.value.path().read_text("utf-8")

    page.get_by_role("button", name="Copy the objects shown").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(re.compile("A new task copies these objects once"))).to_be_visible()
    assert console.accessibility() == []
    picture(page, "copy")
    dialog.get_by_role("button", name="Copy", exact=True).click()
    made = task_id(page)
    console.hub.wait(made, "DONE")
    assert {f"photos/2025/{n:02}.jpg" for n in range(3)} <= set(dest.listed())
    console.open("/comparisons")
    expect(page.get_by_text("The sides differ").first).to_be_visible()
    looks(console, "comparisons")


def test_a_task_is_compared_from_its_page(console: Console, source: Side, dest: Side) -> None:
    page = console.page
    fill(source, dest)
    task = console.hub.create(source, dest, description="Move the archive")
    console.hub.wait(task, "DONE")
    console.open(f"/tasks/{task}")
    page.get_by_role("button", name="Actions").first.click()
    page.get_by_role("menuitem", name="Compare source and destination").click()
    expect(page.get_by_role("link", name="Move the archive").first).to_be_visible()
    picture(page, "start-of-task", whole=True)
    page.get_by_role("button", name="Compare", exact=True).click()
    ended(page)
    expect(page.get_by_text("Only at the destination").first).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Copy these"))).to_be_disabled()
