"""Signing in and out, and what of the console a role sees."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

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
    expect(page.get_by_text("Your role does not allow this; it needs Administrator.")).to_be_visible()
    expect(page.get_by_role("link", name="Audit log")).to_have_count(0)
    expect(page.get_by_role("link", name="Create task")).to_have_count(0)
    expect(page.get_by_role("link", name="Tasks").first).to_be_visible()
