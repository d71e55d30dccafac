"""Signing in and out, and what of the console a role sees."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.e2e.console import PASSWORD

if TYPE_CHECKING:
    from tests.e2e.console import Console


def test_a_deep_link_is_kept_through_the_sign_in(newcomer: Console) -> None:
    newcomer.sign_in("admin-user", "/tasks?text=nothing-has-this")
    expect(newcomer.page).to_have_url(re.compile(r"/tasks\?text=nothing-has-this$"))


def test_signed_out_stays_signed_out(newcomer: Console) -> None:
    newcomer.sign_in("viewer-user")
    page = newcomer.page
    page.get_by_role("button", name="viewer-user").click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.reload()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_label("Password")).to_be_visible()


def test_a_reload_stays_signed_in(console: Console) -> None:
    console.page.reload()
    expect(console.page.get_by_role("button", name="admin-user")).to_be_visible()


def test_tokens_are_not_kept_beyond_the_tab(console: Console) -> None:
    kept = console.page.evaluate("JSON.stringify({...localStorage})")
    assert "eyJ" not in kept
    assert "token" not in kept


def test_a_viewer_is_shown_no_administration(newcomer: Console) -> None:
    newcomer.sign_in("viewer-user", "/users")
    page = newcomer.page
    expect(
        page.get_by_text("Your role does not allow this. It requires the role Administrator.")
    ).to_be_visible()
    expect(page.get_by_role("link", name="Audit log")).to_have_count(0)
    expect(page.get_by_role("link", name="Create task")).to_have_count(0)
    expect(page.get_by_role("link", name="Tasks").first).to_be_visible()


def test_another_name_of_this_machine_leads_to_the_hubs_own_address(newcomer: Console) -> None:
    own = newcomer.hub.url
    assert "127.0.0.1" in own
    page = newcomer.page
    page.goto(own.replace("127.0.0.1", "localhost") + "/tasks?text=kept")
    page.get_by_label("User name").fill("admin-user")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{own}/tasks?text=kept")
    # What the page that was left had still asked for was broken off.
    newcomer.problems = [problem for problem in newcomer.problems if "//localhost" not in problem]


def test_going_back_after_the_sign_in_is_no_failure(newcomer: Console) -> None:
    page = newcomer.page
    page.goto("about:blank")
    newcomer.sign_in("viewer-user", "/tasks")
    page.go_back()
    expect(newcomer.heading()).to_be_visible()
    expect(page.get_by_text("Sign-in failed")).to_have_count(0)


def test_a_session_whose_access_token_ran_out_is_renewed_where_one_is(console: Console) -> None:
    page = console.page
    page.evaluate(
        """for (const key of Object.keys(sessionStorage).filter((key) => key.startsWith('oidc.user:'))) {
            const user = JSON.parse(sessionStorage.getItem(key));
            sessionStorage.setItem(key, JSON.stringify({...user, access_token: 'broken'}));
        }"""
    )
    console.open("/secrets")
    expect(console.heading()).to_contain_text("Secrets")
    # The refused request is in the browser's log; that one is expected.
    console.problems = [problem for problem in console.problems if "401" not in problem]


def test_a_page_whose_file_does_not_come_recovers_when_the_hub_is_back(console: Console) -> None:
    page = console.page
    page.route("**/assets/Audit-*.js", lambda route: route.abort())
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Audit log").click()
    expect(page.get_by_text("The hub does not answer", exact=True)).to_be_visible()
    page.unroute("**/assets/Audit-*.js")
    expect(console.heading()).to_contain_text("Audit log")  # by itself
    console.problems.clear()  # the browser told of the file that did not come
