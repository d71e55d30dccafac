"""The console as a test uses it: a page of Chromium, and the hub behind it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from tests.servers.process import REPOSITORY

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.hub import Hub

PASSWORD = "correct horse battery"
# Components measure themselves after a change of size, and then render once more: until nothing
# has changed for some frames.
QUIET = """() => new Promise((done) => {
    let frames = 0;
    const changes = new MutationObserver(() => { frames = 0; });
    changes.observe(document.body, { subtree: true, childList: true, attributes: true });
    const next = () => {
        frames += 1;
        if (frames < 6) return requestAnimationFrame(next);
        changes.disconnect();
        done();
    };
    requestAnimationFrame(next);
})"""
AXE = REPOSITORY / "console" / "node_modules" / "axe-core" / "axe.min.js"
SECONDS = 15_000  # milliseconds, in truth: Playwright's unit


class Console:
    def __init__(self, page: Page, hub: Hub) -> None:
        self.page = page
        self.hub = hub
        self.problems: list[str] = []
        page.set_default_timeout(SECONDS)
        expect.set_options(timeout=SECONDS)
        page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        page.on("console", self._said)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def sign_in(self, name: str, path: str = "/", password: str = PASSWORD) -> None:
        self.page.goto(self.hub.url + path)
        self.page.get_by_label("User name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.locator("#top").wait_for()

    def open(self, path: str) -> None:
        """Go to a page of the console."""
        self.page.goto(self.hub.url + path)
        self.heading().wait_for()
        self.settle()

    def settle(self) -> None:
        """Until nothing is being loaded for the first time, and the page has its final layout."""
        expect(self.page.locator("[class*=awsui_spinner]")).to_have_count(0)
        self.page.evaluate(QUIET)

    def heading(self) -> Locator:
        return self.page.get_by_role("heading", level=1).first

    def language(self, name: str) -> None:
        self.page.evaluate(f"localStorage.setItem('dth.language', {json.dumps(name)})")
        self.page.reload()
        self.heading().wait_for()

    def dark(self, on: bool = True) -> None:
        self.page.evaluate(
            f"localStorage.setItem('dth.theme', {json.dumps('dark' if on else 'light')})"
        )
        self.page.reload()
        self.heading().wait_for()

    def accessibility(self) -> list[tuple[str, str, list[Any]]]:
        """What axe finds wrong: rule, weight, first places."""
        self.page.evaluate(QUIET)
        self.page.evaluate(f"{AXE.read_text('utf-8')};0")
        rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        found = self.page.evaluate(f"axe.run(document, {{runOnly: {json.dumps(rules)}}})")[
            "violations"
        ]
        return [(v["id"], v["impact"], [node["target"] for node in v["nodes"]][:3]) for v in found]
