"""The main job in a browser: create a task, watch it, break it, mend it, stop it, look at what it
did."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from playwright.sync_api import expect

from tests.engine import Side, bodies, wait_for
from tests.servers.proxy import Delay, Proxy, Reply

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.e2e.console import Console
    from tests.hub import Hub
    from tests.servers.ministack import MiniStack

EVERYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}
HOSTILE = "<img src=x onerror=alert(1)>/'\"\n`${7*7}`"


def next_step(page: Page) -> None:
    page.get_by_role("button", name="Next", exact=True).click()


def field(page: Page, label: str) -> Locator:
    return page.get_by_role("textbox", name=re.compile(f"^{label}"))


def store_secret(page: Page, name: str, access_key: str, secret_key: str) -> None:
    """In place, from within the form."""
    page.get_by_role("button", name="Create a secret").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill(name)
    dialog.get_by_label("Access key ID").fill(access_key)
    dialog.get_by_label("Secret access key").fill(secret_key)
    dialog.get_by_role("button", name="Create", exact=True).click()
    expect(dialog).to_have_count(0)


def fill_in(page: Page, source: Side, dest: Side, description: str) -> None:
    """All steps up to the review."""
    field(page, "Description").fill(description)
    next_step(page)
    field(page, "Source endpoint").fill(source.server.url)
    field(page, "Source bucket").fill(source.bucket)
    store_secret(
        page, f"source-{uuid.uuid4().hex[:8]}", source.server.access_key, source.server.secret_key
    )
    page.get_by_role("button", name="Test the connection").click()
    expect(page.get_by_role("table", name="First objects")).to_be_visible()
    next_step(page)
    field(page, "Destination endpoint").fill(dest.server.url)
    field(page, "Destination bucket").fill(dest.bucket)
    store_secret(
        page, f"dest-{uuid.uuid4().hex[:8]}", dest.server.access_key, dest.server.secret_key
    )
    next_step(page)
    next_step(page)  # comparison and engine: the defaults do
    page.get_by_role("radio", name="Once").check()
    next_step(page)


def task_id(page: Page) -> str:
    expect(page).to_have_url(re.compile(r"/tasks/[0-9a-f-]{36}$"))
    return page.url.rsplit("/", 1)[1]


def tab(page: Page, name: str) -> Locator:
    page.get_by_role("tab", name=name, exact=True).click()
    panel = page.get_by_role("tabpanel", name=name, exact=True)
    panel.wait_for()
    return panel


def act(page: Page, name: str) -> None:
    """A button of the page's head, or an entry of its menu."""
    button = page.get_by_role("button", name=name, exact=True)
    if not button.first.is_visible():
        page.get_by_role("button", name="Actions", exact=True).click()
        button = page.get_by_role("menuitem", name=name, exact=True)
    button.first.click()


def test_create_watch_and_look_at_what_was_done(console: Console, source: Side, dest: Side) -> None:
    page = console.page
    source.put(bodies(f"{n:03}" for n in range(40)) | {HOSTILE: b"x"})
    console.open("/tasks/create")
    fill_in(page, source, dest, "From the browser")

    expect(page.get_by_text("The task has everything that it needs.")).to_be_visible()
    page.get_by_role("button", name="Make a forecast").click()
    expect(page.get_by_text(re.compile(r"\b41\b")).first).to_be_visible()
    page.get_by_role("button", name="File and command line").click()
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download task file").click()
    written: dict[str, Any] = yaml.safe_load(Path(downloading.value.path()).read_text("utf-8"))
    assert written["parameters"]["srcBucket"] == source.bucket
    expect(page.get_by_text("dth task create").first).to_be_visible()
    page.get_by_role("button", name="Create task").last.click()

    task = task_id(page)
    wait_for(lambda: console.hub.task(task)["progress"] == "DONE")
    expect(
        page.get_by_text("Done", exact=True).first
    ).to_be_visible()  # by itself, without a reload
    assert sorted(dest.listed()) == sorted(source.listed())
    expect(page.get_by_text("Of 41 objects listed")).to_be_visible()

    runs = tab(page, "Runs")
    expect(runs.get_by_role("row")).to_have_count(2)
    objects = tab(page, "Objects")
    expect(objects.get_by_text("onerror=alert(1)")).to_be_visible()
    expect(page.locator("img[src=x]")).to_have_count(0)
    objects.get_by_role("searchbox").fill("01")
    expect(objects.locator("tbody tr")).to_have_count(10)
    logs = tab(page, "Logs")
    expect(logs.get_by_role("log").get_by_text("run listed").first).to_be_visible()
    expect(logs.get_by_role("log").get_by_text("worker-1").first).to_be_visible()
    audit = tab(page, "Audit")
    expect(audit.get_by_text("createTask")).to_be_visible()
    assert console.hub.task(task)["description"] == "From the browser"


def test_a_broken_credential_is_told_mended_and_resumed(
    console: Console, s3_auth: MiniStack, dest: Side
) -> None:
    page, hub = console.page, console.hub
    bucket = s3_auth.bucket("guarded")
    source = Side(s3_auth, bucket)
    source.put(bodies("abc"))
    access_key, secret_key = s3_auth.user(EVERYTHING)
    try:
        hub.secret("changing", access_key, "not-the-secret-key")
        task = hub.create(source, dest, description="With wrong keys", srcCredentials="changing")
        console.open(f"/tasks/{task}")
        expect(page.get_by_text("SignatureDoesNotMatch").first).to_be_visible()
        console.open("/secrets")
        page.get_by_role("button", name="Actions for changing").click()
        page.get_by_role("menuitem", name="Change").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Access key ID").fill(access_key)
        dialog.get_by_label("Secret access key").fill(secret_key)
        dialog.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Secret changing is changed.")).to_be_visible()
        assert secret_key not in page.content()
        console.open(f"/tasks/{task}")
        act(page, "Resume")
        expect(page.get_by_text("SignatureDoesNotMatch")).to_have_count(
            0
        )  # it was in error until then
        hub.wait(task, "DONE")
        expect(page.get_by_text("Done", exact=True).first).to_be_visible()
        assert sorted(dest.listed()) == ["a", "b", "c"]
    finally:
        s3_auth.drop(bucket)


def test_failures_are_grouped_and_retried(
    console: Console, source: Side, proxy_b: Proxy, dest: Side
) -> None:
    page, hub = console.page, console.hub
    source.put(bodies(f"{n:02}" for n in range(20)))
    proxy_b.rule(Reply(403, "AccessDenied", "Access Denied"), method="PUT", key="^0")
    task = hub.create(source, Side(proxy_b, dest.bucket), description="Half refused")
    hub.wait(task, "DONE")
    console.open(f"/tasks/{task}")
    expect(page.get_by_text("Done, 10 failed").first).to_be_visible()
    expect(page.get_by_text("AccessDenied").first).to_be_visible()
    expect(page.get_by_text("The credentials do not allow this").first).to_be_visible()
    proxy_b.clear()
    objects = tab(page, "Objects")
    objects.get_by_role("checkbox").nth(1).check()
    objects.get_by_role("button", name=re.compile("Retry chosen|Retry selected")).click()
    tab(page, "Overview")
    expect(page.get_by_text("Done, 9 failed").first).to_be_visible()
    act(page, "Retry failed")
    expect(page.get_by_text("Nothing has failed")).to_be_visible()
    expect(page.get_by_text(re.compile("Done, . failed"))).to_have_count(0)
    hub.wait(task, "DONE")
    assert len(dest.listed()) == 20


def test_pause_resume_and_stop(console: Console, source: Side, proxy_a: Proxy, dest: Side) -> None:
    page, hub = console.page, console.hub
    source.put(
        bodies(f"{n:03}" for n in range(500))
    )  # more than are copied before the stop, however slow the page
    proxy_a.rule(Delay(2.0), key="[0-9]")
    task = hub.create(Side(proxy_a, source.bucket), dest, description="Slow", workerNumber="1")
    console.open(f"/tasks/{task}")
    expect(page.get_by_text("Copying", exact=True).first).to_be_visible()
    act(page, "Pause")
    expect(page.get_by_text("paused by admin-user").first).to_be_visible()
    act(page, "Resume")
    expect(page.get_by_text("Copying", exact=True).first).to_be_visible()
    act(page, "Stop")
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped", exact=True).first).to_be_visible(timeout=60_000)
    act(page, "Delete")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page).to_have_url(re.compile(r"/tasks$"))
    assert task not in {each["id"] for each in tasks_of(hub)}


def tasks_of(hub: Hub) -> list[dict[str, str]]:
    found: list[dict[str, str]] = hub.call("{ listTasksV2(count: 100) { items { id } } }")["items"]
    return found


def test_clone_fills_the_form_and_edit_changes_the_task(
    console: Console, source: Side, dest: Side
) -> None:
    page, hub = console.page, console.hub
    source.put(bodies("a"))
    task = hub.create(
        source, dest, description="The model", destPrefix="one/", excludePatterns="*.tmp"
    )
    hub.wait(task, "DONE")
    console.open(f"/tasks/create?clone={task}")
    expect(field(page, "Description")).to_have_value("The model")
    next_step(page)
    expect(field(page, "Source bucket")).to_have_value(source.bucket)
    next_step(page)
    field(page, "Destination prefix").fill("two/")
    for _ in range(3):
        next_step(page)
    page.get_by_role("button", name="Create task").last.click()
    other = task_id(page)
    hub.wait(other, "DONE")
    assert sorted(dest.listed()) == ["one/a", "two/a"]

    console.open(f"/tasks/{other}/edit")
    field(page, "Description").fill("Renamed")
    page.get_by_role("button", name=re.compile("Go to: Review|Skip to Review")).click()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(console.heading()).to_have_text("Renamed")


def test_a_wrong_key_is_told_by_the_connection_test_and_the_preflight(
    console: Console, s3_auth: MiniStack, dest: Side
) -> None:
    page = console.page
    bucket = s3_auth.bucket("guarded")
    try:
        console.open("/tasks/create")
        next_step(page)
        field(page, "Source endpoint").fill(s3_auth.url)
        field(page, "Source bucket").fill(bucket)
        access_key, _ = s3_auth.user(EVERYTHING)
        store_secret(page, f"wrong-{uuid.uuid4().hex[:8]}", access_key, "not-the-secret-key")
        page.get_by_role("button", name="Test the connection").click()
        expect(page.get_by_text(re.compile("signature", re.IGNORECASE)).first).to_be_visible()
    finally:
        s3_auth.drop(bucket)


def test_what_is_missing_is_told_where_it_is_missing(console: Console) -> None:
    page = console.page
    console.open("/tasks/create")
    next_step(page)
    next_step(page)
    expect(page.get_by_text("Required.").first).to_be_visible()
    field(page, "Source endpoint").fill("not a url")
    field(page, "Source endpoint").blur()
    expect(page.get_by_role("heading", name="Source", exact=True).first).to_be_visible()


@pytest.mark.parametrize("chart", ["Network", "Errors"])
def test_graphs_and_their_numbers(console: Console, source: Side, dest: Side, chart: str) -> None:
    page, hub = console.page, console.hub
    source.put(bodies("a"))
    task = hub.create(source, dest)
    hub.wait(task, "DONE")
    console.open(f"/tasks/{task}?tab=monitoring")
    expect(page.get_by_role("heading", name=re.compile(chart, re.IGNORECASE)).first).to_be_visible()
    page.get_by_text(re.compile("table", re.IGNORECASE)).first.click()
    expect(page.get_by_role("table").first).to_be_visible()
