"""A kind of task that the console has no folder for: the wizard and the pages are made from what
the API says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from dth.hub.model import Role
from tests.e2e.console import PASSWORD, Console
from tests.integration.test_third_plugin import EchoHub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page


@pytest.fixture
def echo(page: Page, tmp_path: Path) -> Iterator[Console]:
    with EchoHub(tmp_path) as hub:
        hub.user("admin-user", PASSWORD, Role.ADMIN)
        console = Console(page, hub)
        console.sign_in("admin-user")
        yield console
        assert console.problems == []


def test_a_task_of_a_third_kind_is_created_and_watched(echo: Console) -> None:
    page = echo.page
    echo.open("/tasks/create")
    page.get_by_text("ECHO", exact=True).click()
    page.get_by_role("button", name="Next", exact=True).click()
    page.get_by_role("textbox", name="Lines").fill("one\ntwo")
    page.get_by_role("textbox", name="Voice").fill("alto")
    while page.get_by_role("button", name="Next", exact=True).is_visible():
        page.get_by_role("button", name="Next", exact=True).click()
    page.get_by_role("button", name="Create task").last.click()
    expect(page.get_by_text("Done", exact=True).first).to_be_visible(timeout=60_000)
    assert echo.accessibility() == []
    echo.open("/tasks")
    expect(page.get_by_text("2 lines").first).to_be_visible()
    expect(page.get_by_text("voice alto").first).to_be_visible()
    assert echo.accessibility() == []
