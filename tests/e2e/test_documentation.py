"""The documentation in a browser: found, read and searched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from tests.e2e.console import Console


def test_help_leads_to_the_documentation(console: Console) -> None:
    page = console.page
    console.open("/")
    page.get_by_role("button", name="Open help").click()
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Documentation").click()
    expect(opened.value.get_by_role("heading", level=1)).to_have_text("Data Transfer Hub")
    assert console.problems == []


def test_the_documentation_is_searched(console: Console) -> None:
    page = console.page
    page.goto(f"{console.hub.url}/docs")
    field = page.get_by_role("searchbox", name="Search")
    field.fill("after an INTERRUPTION")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Found:")
    page.get_by_role("link", name="Resume and repeat: After an interruption").click()
    expect(page.get_by_role("heading", level=2, name="After an interruption")).to_be_in_viewport()
    field.fill("<img src=x onerror=alert(1)>")
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing found")
    field.fill("")
    expect(page.get_by_role("heading", level=1)).to_have_text("Resume and repeat")
    assert console.problems == []


def test_axe_finds_nothing_in_the_documentation(console: Console) -> None:
    page = console.page
    for scheme, width in (("light", 1440), ("dark", 1440), ("light", 390)):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.set_viewport_size({"width": width, "height": 900})
        for path in ("index.html", "reference/stores.html", "how-to/use-the-console.html"):
            page.goto(f"{console.hub.url}/docs/{path}")
            assert console.accessibility() == [], (path, scheme, width)
            wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
            assert not wide, (path, width)
