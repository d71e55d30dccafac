"""Tasks for images in a browser: made by the wizard, watched, looked at, mended. Real
registries."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.e2e.test_transfer import act, field, next_step, tab, task_id
from tests.servers.registry import PASSWORD, USER, RegistryServer, image, index, layer, signature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from tests.e2e.console import Console

BASE = layer("e2e-base", 300_000)


@pytest.fixture
def here() -> Iterator[RegistryServer]:
    """Three repositories whose images share a layer; one has two platforms and a signature."""
    with RegistryServer(auth=True) as server:
        for name in ("api", "web"):
            server.push(f"team/{name}", "v1", image(name, [BASE, layer(f"e2e-{name}", 10_000)]))
        both = index(
            image("x", [BASE]), image("y", [layer("e2e-arm", 20_000)], architecture="arm64")
        )
        server.push("team/both", "v1", both)
        server.push("team/both", *signature(both))
        yield server


@pytest.fixture
def there() -> Iterator[RegistryServer]:
    with RegistryServer(auth=True) as server:
        yield server


def choose(page: Page, label: str, option: str) -> None:
    """Of a list that opens."""
    page.get_by_role("button", name=re.compile(f"^{label}")).click()
    page.get_by_role("option", name=re.compile(f"^{option}")).click()


def store_login(page: Page, password: str = PASSWORD) -> str:
    """In place, from within the form; the secret's name."""
    name = f"registry-{uuid.uuid4().hex[:8]}"
    page.get_by_role("button", name="Create a secret").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill(name)
    expect(dialog.get_by_role("radio", name="User and password")).to_be_checked()
    dialog.get_by_label("User name").fill(USER)
    dialog.get_by_label("Password", exact=True).fill(password)
    dialog.get_by_role("button", name="Create", exact=True).click()
    expect(dialog).to_have_count(0)
    return name


def between(
    here: RegistryServer, there: RegistryServer, secret: str, **more: str
) -> dict[str, str]:
    return {
        "sourceType": "Registry",
        "srcRegistry": here.host,
        "srcCredential": secret,
        "destType": "Registry",
        "destRegistry": there.host,
        "destCredential": secret,
        **more,
    }


def test_a_task_for_images_from_the_form_to_the_history(
    console: Console, here: RegistryServer, there: RegistryServer
) -> None:
    page = console.page
    console.open("/tasks/create")
    page.get_by_role("radio", name=re.compile("^Container images")).click()  # another form follows
    field(page, "Description").fill("Images from the browser")
    next_step(page)
    choose(page, "Source type", "A registry")
    field(page, "Source registry").fill(here.host)
    store_login(page)
    page.get_by_role("button", name="Test the connection").click()
    expect(page.get_by_text(f"{here.host} has 3 repositories.")).to_be_visible()
    assert console.accessibility() == []
    next_step(page)
    choose(page, "Destination type", "A registry")
    field(page, "Destination registry").fill(there.host)
    field(page, "Destination prefix").fill("mirror")
    store_login(page)
    next_step(page)
    next_step(page)  # choice and engine: the defaults do
    expect(page.get_by_role("radio", name="On a cron schedule")).to_be_checked()  # daily
    page.get_by_role("radio", name="Once").check()
    next_step(page)

    expect(page.get_by_text("The task has everything that it needs.")).to_be_visible()
    page.get_by_role("button", name="Make a plan").click()
    plan = page.get_by_role("table", name="Images")
    expect(plan.get_by_text(f"{here.host}/team/api:v1")).to_be_visible()
    said = page.get_by_role("definition")
    expect(said.filter(has_text=re.compile("^4$"))).to_have_count(1)  # to copy
    # The layer that all share moves once.
    expect(said.filter(has_text=re.compile(r"^3[0-9]{2} KiB$"))).to_have_count(1)
    assert console.accessibility() == []
    page.get_by_role("button", name="Create task").last.click()

    task = task_id(page)
    console.hub.wait(task, "DONE")
    expect(page.get_by_text("Done", exact=True).first).to_be_visible()
    expect(page.get_by_text("Of 4 images listed")).to_be_visible()
    assert there.digest("mirror/team/both", "v1") == here.digest("team/both", "v1")
    images = tab(page, "Images")
    expect(images.locator("tbody tr")).to_have_count(4)
    digest = str(here.digest("team/both", "v1"))
    expect(images.get_by_text(digest[:19])).to_be_visible()
    images.get_by_role("searchbox").fill("mirror/team/api")
    expect(images.locator("tbody tr")).to_have_count(1)
    images.get_by_role("button", name="History of mirror/team/api:v1").click()
    history = page.get_by_role("dialog")
    expect(history.locator("tbody tr")).to_have_count(1)
    expect(history.get_by_text("Done")).to_be_visible()
    assert console.accessibility() == []
    history.get_by_role("button", name="Close").last.click()
    engine = tab(page, "Engine")
    expect(engine.get_by_text("Images are copied on the hub's machine")).to_be_visible()
    expect(engine.get_by_text("Bandwidth cap")).to_have_count(0)
    assert console.hub.task(task)["destination"] == f"{there.host}/mirror"


def test_an_image_that_is_missing_is_told_mended_and_retried(
    console: Console, here: RegistryServer, there: RegistryServer
) -> None:
    page, hub = console.page, console.hub
    hub.keep_secret("images", username=USER, password=PASSWORD)
    wanted = "team/api:v1,team/api:v9,team/web:v9"
    task = hub.create_images(**between(here, there, "images", srcImageList=wanted))
    hub.wait(task, "DONE")
    console.open(f"/tasks/{task}")
    expect(page.get_by_text("Done, 2 failed").first).to_be_visible()
    expect(page.get_by_text("The source does not have this image.").first).to_be_visible()
    assert console.accessibility() == []
    here.push("team/api", "v9", image("nine", [BASE]))
    images = tab(page, "Images")
    row = images.get_by_role("row").filter(has_text="team/api:v9")
    expect(row.get_by_text("MANIFEST_UNKNOWN")).to_be_visible()
    assert console.accessibility() == []
    row.get_by_role("checkbox").check()
    images.get_by_role("button", name=re.compile("Retry selected")).click()
    expect(row.get_by_text("Done")).to_be_visible()
    assert there.digest("team/api", "v9") == here.digest("team/api", "v9")
    tab(page, "Overview")
    expect(page.get_by_text("Done, 1 failed").first).to_be_visible()
    here.push("team/web", "v9", image("web nine", [BASE]))
    act(page, "Retry failed")
    expect(page.get_by_text("Nothing has failed")).to_be_visible()
    images = tab(page, "Images")
    images.get_by_role("button", name="History of team/api:v9").click()
    history = page.get_by_role("dialog")
    expect(history.locator("tbody tr")).to_have_count(2)
    expect(history.get_by_text("is not there")).to_be_visible()


def test_what_a_registry_refuses_is_said_before_the_task_is_made(
    console: Console, here: RegistryServer, there: RegistryServer
) -> None:
    page = console.page
    console.open("/tasks/create")
    page.get_by_role("radio", name=re.compile("^Container images")).click()  # another form follows
    next_step(page)
    choose(page, "Source type", "Public images")
    expect(page.get_by_role("radio", name="All images of the registry")).to_have_count(0)
    next_step(page)
    expect(page.get_by_text("Required.")).to_have_count(1)
    choose(page, "Source type", "A registry")
    field(page, "Source registry").fill("https://not-a-host")
    store_login(page, "wrong")
    next_step(page)
    expect(page.get_by_text("Enter a host, or a host and a port").first).to_be_visible()
    field(page, "Source registry").fill(here.host)
    page.get_by_role("button", name="Test the connection").click()
    expect(page.get_by_text("The registry could not be used.")).to_be_visible()
    expect(page.get_by_text("refuses the credentials of").first).to_be_visible()


def test_public_images_are_named_and_need_no_login(console: Console, there: RegistryServer) -> None:
    page = console.page
    with RegistryServer() as public:
        public.push("team/api", "v1", image("api", [BASE]))
        console.open("/tasks/create")
        page.get_by_role(
            "radio", name=re.compile("^Container images")
        ).click()  # another form follows
        next_step(page)
        choose(page, "Source type", "Public images")
        expect(page.get_by_role("button", name="Create a secret")).to_have_count(0)
        field(page, "Image list").fill(f"{public.host}/team/api:v1")
        next_step(page)
        choose(page, "Destination type", "A registry")
        field(page, "Destination registry").fill(there.host)
        store_login(page)
        next_step(page)
        expect(field(page, "Include tags")).to_have_count(0)  # the one tag is named
        next_step(page)
        page.get_by_role("radio", name="Once").check()
        next_step(page)
        expect(page.get_by_text("The task has everything that it needs.")).to_be_visible()
        page.get_by_role("button", name="Create task").last.click()
        console.hub.wait(task_id(page), "DONE")
        assert there.digest("team/api", "v1") == public.digest("team/api", "v1")


def test_an_existing_client_says_that_all_images_are_meant(
    console: Console, here: RegistryServer, there: RegistryServer
) -> None:
    """Its tasks can be edited: they are not taken for those of a list that is empty."""
    page, hub = console.page, console.hub
    hub.keep_secret("images", username=USER, password=PASSWORD)
    task = hub.create_images(**between(here, there, "images", srcList="ALL"))
    hub.wait(task, "DONE")
    console.open(f"/tasks/{task}/edit")
    next_step(page)
    expect(page.get_by_role("radio", name="All images of the registry")).to_be_checked()
    next_step(page)
    expect(field(page, "Destination prefix")).to_be_visible()
