"""An administrator lets users sign in at an issuer, and back at the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from dth.hub.model import Role
from tests.e2e.console import PASSWORD, Console
from tests.hub import Hub
from tests.servers.issuer import CLIENT, IssuerServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser


@pytest.fixture
def own(
    browser: Browser, browser_context_args: dict[str, object], tmp_path: Path
) -> Iterator[Console]:
    """The console of a hub that no other test signs in to."""
    with Hub(tmp_path) as hub:
        hub.user("admin-user", PASSWORD, Role.ADMIN)
        context = browser.new_context(**browser_context_args)  # type: ignore[arg-type]
        console = Console(context.new_page(), hub)
        console.sign_in("admin-user", "/sign-in")
        yield console
        context.close()
        # The browser tells of what the hub refused, and that is expected here.
        assert [each for each in console.problems if "40" not in each] == []


def enter(console: Console, address: str) -> None:
    """Fill in the form, and test it."""
    page = console.page
    page.get_by_role("button", name="Set an issuer").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Issuer").fill(address)
    dialog.get_by_label("Client ID").fill(CLIENT)
    dialog.get_by_label("Claim with groups or roles").fill("groups")
    dialog.get_by_role("button", name="Add a group").click()
    dialog.get_by_label("Group 1", exact=True).fill("Transfer Admins")
    dialog.get_by_label("Role of group 1").click()
    page.get_by_role("option", name="Administrator").click()
    dialog.get_by_role("button", name="Test").click()


def test_users_sign_in_at_an_issuer_and_back_at_the_hub(own: Console) -> None:
    page = own.page
    # The token endpoint is on another host than the issuer.
    with IssuerServer("Nobodies", token_host="localhost") as issuer:
        enter(own, issuer.url.removesuffix("realm") + "other")
        expect(page.get_by_text("answered 404")).to_be_visible()
        assert own.accessibility() == []
        own.dark()
        enter(own, issuer.url)
        expect(page.get_by_text("The test found nothing wrong.")).to_be_visible()
        assert own.accessibility() == []
        page.get_by_role("dialog").get_by_role("button", name="Save").click()

        # Somebody without the group cannot lock the others out.
        page.get_by_role("button", name="Sign in and put it in force").click()
        expect(page.get_by_text("the claim names these groups: Nobodies")).to_be_visible()
        expect(page.get_by_text("An issuer waits for a sign-in")).to_be_visible()
        for dark in (False, True):
            own.dark(dark)
            own.settle()
            assert own.accessibility() == []
        own.dark(on=False)

        issuer.groups = ["Transfer Admins"]
        page.get_by_role("button", name="Sign in and put it in force").click()
        # The same page, now of the user whom the issuer names.
        expect(page.get_by_role("button", name="erika")).to_be_visible()
        expect(page.get_by_text("Transfer Admins: Administrator")).to_be_visible()
        expect(page.get_by_text("An issuer waits for a sign-in")).to_have_count(0)

        page.get_by_role("button", name="Use the hub's own sign-in").click()
        page.get_by_role("dialog").get_by_role("button", name="Use the hub's own sign-in").click()
        # The browser still has its session at the hub.
        expect(page.get_by_role("button", name="admin-user")).to_be_visible()
        expect(page.get_by_role("heading", name="The hub's own sign-in")).to_be_visible()
