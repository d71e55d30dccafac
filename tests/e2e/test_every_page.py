"""What holds for every page: nobody is shut out, nothing is cut off, nothing is left in another language."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.engine import bodies
from tests.servers.registry import RegistryServer, image, layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.console import Console
    from tests.engine import Side

PAGES = (
    "/",
    "/tasks",
    "/tasks/create",
    "/tasks/TASK",
    *(
        f"/tasks/TASK?tab={tab}"
        for tab in (
            "details",
            "engine",
            "runs",
            "objects",
            "monitoring",
            "logs",
            "events",
            "options",
            "audit",
        )
    ),
    "/tasks/TASK/edit",
    "/tasks/IMAGES",
    *(
        f"/tasks/IMAGES?tab={tab}"
        for tab in ("details", "engine", "runs", "objects", "monitoring", "options")
    ),
    "/tasks/IMAGES/edit",
    "/secrets",
    "/users",
    "/tokens",
    "/channels",
    "/settings",
    "/audit",
    "/no/such/page",
)


@pytest.fixture
def pages(console: Console, source: Side, dest: Side) -> Iterator[list[str]]:
    """Paths, with tasks that have something to show: objects, images."""
    source.put(bodies("ab"))
    task = console.hub.create(source, dest, description="For every page")
    with RegistryServer() as here, RegistryServer() as there:
        for tag in ("v1", "v2"):
            here.push("team/api", tag, image(tag, [layer("every-page", 1000)]))
        images = console.hub.create_images(
            sourceType="Registry",
            srcRegistry=here.host,
            srcImageList="team/api:v1,team/api:v2",
            destType="Registry",
            destRegistry=there.host,
        )
        console.hub.wait(task, "DONE")
        console.hub.wait(images, "DONE")
        yield [path.replace("TASK", task).replace("IMAGES", images) for path in PAGES]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(console: Console, pages: list[str], theme: str) -> None:
    console.dark(theme == "dark")
    dark = console.page.locator("body.awsui-dark-mode")
    expect(dark).to_have_count(int(theme == "dark"))
    found = {}
    for path in pages:
        console.open(path)
        if violations := console.accessibility():
            found[path] = violations
    assert found == {}


def test_axe_finds_nothing_on_a_small_screen(console: Console, pages: list[str]) -> None:
    console.page.set_viewport_size({"width": 390, "height": 844})
    found = {}
    for path in pages:
        console.open(path)
        if violations := console.accessibility():
            found[path] = violations
    assert found == {}


@pytest.mark.parametrize("width", [390, 2560])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_page_scrolls_sideways(console: Console, pages: list[str], width: int, language: str) -> None:
    console.language(language)
    console.page.set_viewport_size({"width": width, "height": 900})
    for path in pages:
        console.open(path)
        wide = console.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide <= 0, path


def test_chinese_is_complete(console: Console, pages: list[str]) -> None:
    """Beside names and what the hub itself says, no line of a page is without a Chinese character."""
    console.language("zh")
    expect(console.page.locator("html")).to_have_attribute("lang", "zh-CN")
    tasks = console.hub.call("{ listTasksV2(count: 100) { items { description } } }")["items"]
    typed = {task["description"] for task in tasks}
    english = re.compile(r"\b(the|and|is|are|of|to|not|no|with)\b")
    for path in pages:
        console.open(path)
        for line in console.page.locator("body").inner_text().splitlines():
            if english.search(line) and not re.search(r"[\u4e00-\u9fff]", line):
                assert line in typed, (path, line)


def test_every_page_names_itself_and_is_reached_by_keyboard(console: Console) -> None:
    page = console.page
    console.open("/")
    assert page.title() == "Data Transfer Hub"
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Audit log").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_title("Audit log - Data Transfer Hub")
    page.keyboard.press("Alt+ArrowLeft")
    page.go_back()
    expect(page).to_have_title("Data Transfer Hub")
