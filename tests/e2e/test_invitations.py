"""An invitation, from the administrator who makes it to the new user in the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from tests.e2e.console import Console

CHOSEN = "a password of my own"


def test_the_invited_joins_and_the_link_is_used_up(console: Console, newcomer: Console) -> None:
    page = console.page
    console.open("/users")
    page.get_by_role("button", name="Invite by link").click()
    page.get_by_role("radio", name="Operator").check()
    assert console.accessibility() == []
    page.get_by_role("button", name="Create the link").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("/oidc/invitation#")).to_be_visible()
    assert console.accessibility() == []
    link = dialog.get_by_text("/oidc/invitation#").inner_text().strip()
    page.get_by_role("button", name="I have copied it").click()
    table = page.get_by_role("table", name="Invitations")
    expect(table.get_by_text("Open")).to_be_visible()
    assert link not in page.content()

    invited = newcomer.page
    invited.goto(link)
    expect(invited.get_by_text("You are invited as an operator.")).to_be_visible()
    assert "#" not in invited.url
    assert newcomer.accessibility() == []
    invited.get_by_label("User name").fill("admin-user")
    invited.get_by_label("Password", exact=True).fill(CHOSEN)
    invited.get_by_label("Password, again").fill(CHOSEN)
    invited.get_by_role("button", name="Create the account").click()
    expect(invited.get_by_role("alert")).to_contain_text("There is a user with this name already")
    invited.get_by_label("User name").fill("invited-user")
    invited.get_by_label("Password", exact=True).fill(CHOSEN)
    invited.get_by_label("Password, again").fill(CHOSEN)
    invited.get_by_role("button", name="Create the account").click()
    expect(invited.get_by_role("button", name="invited-user")).to_be_visible()
    expect(invited.get_by_role("link", name="Create task").first).to_be_visible()
    # The browser tells of the answer to the name that is taken, and that is expected.
    newcomer.problems = [each for each in newcomer.problems if "403" not in each]

    console.open("/users")
    expect(table.get_by_text("Used by invited-user")).to_be_visible()
    again = newcomer.page.context.new_page()
    again.goto(link)
    expect(again.get_by_text("This invitation was used already.")).to_be_visible()
