"""What holds for every page: nobody is shut out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from tests.e2e.console import Console


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
