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


def test_the_documentation_is_read_and_searched_in_chinese(console: Console) -> None:
    page = console.page
    console.open("/")
    console.language("zh")
    page.get_by_role("button", name="打开帮助").click()
    with page.expect_popup() as opened:
        page.get_by_role("link", name="文档").click()
    guide = opened.value
    expect(guide).to_have_url(f"{console.hub.url}/docs/zh/index.html")
    expect(guide.locator("html")).to_have_attribute("lang", "zh-CN")
    # As somebody asks: no spaces, and words between those that matter.
    field = guide.get_by_role("searchbox", name="搜索")
    field.fill("如何在运行时更改限制")
    results = guide.locator("#found a")
    expect(results.first).to_have_text("计划、时段与限制: 在任务运行时更改限制")
    results.first.click()
    expect(guide.get_by_role("heading", name="在任务运行时更改限制")).to_be_in_viewport()
    field.fill("校验和不一致怎么办")
    expect(results.first).to_be_visible()
    field.fill("鹦鹉驯养")
    expect(guide.get_by_role("heading", level=1)).to_have_text("未找到任何内容")
    # The same page in the other language, and back; a page that has no translation says so.
    guide.get_by_role("link", name="English").click()
    expect(guide.get_by_role("heading", level=1)).to_have_text("Schedules, windows, limits")
    guide.get_by_role("link", name="简体中文").click()
    expect(guide.get_by_role("heading", level=1)).to_have_text("计划、时段与限制")
    guide.goto(f"{console.hub.url}/docs/zh/reference/cli.html")
    expect(guide.get_by_text("此页面尚无中文版")).to_be_visible()
    assert console.problems == []


def test_axe_finds_nothing_in_the_documentation(console: Console) -> None:
    page = console.page
    for scheme, width in (("light", 1440), ("dark", 1440), ("light", 390)):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.set_viewport_size({"width": width, "height": 900})
        for path in (
            "index.html",
            "reference/stores.html",
            "how-to/use-the-console.html",
            "zh/how-to/use-the-console.html",
            "zh/reference/stores.html",
        ):
            page.goto(f"{console.hub.url}/docs/{path}")
            assert console.accessibility() == [], (path, scheme, width)
            wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
            assert not wide, (path, width)
