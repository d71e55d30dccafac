"""Invitations by link, over HTTP: as the invited and their browsers see them, and as somebody who
attacks them."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from dth.core.errors import Conflict, NotFound, UsageError
from dth.hub.model import Role
from dth.hub.ports import InvitationState
from dth.platforms.local import invitations as invitations_module
from dth.platforms.local import users as users_module
from dth.platforms.local.attempt_limits import ADDRESS_TRIES, USER_TRIES
from dth.platforms.local.sign_in_page import WORDS
from dth.platforms.local.tasks import LocalAudit
from tests.hub import Hub as RunningHub
from tests.identity import PASSWORD, Answer, Browser, Hub, hub_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.engine import Dth

pytestmark = pytest.mark.quick

PATH = "/oidc/invitation"
EN = WORDS["en"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_module, "COST", (4, 8, 1))


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with hub_at(tmp_path) as hub:
        await hub.users.add("ann", PASSWORD, Role.ADMIN)
        yield hub


async def invite(
    hub: Hub, role: Role = Role.OPERATOR, seconds: float = 600, owner: str = ""
) -> str:
    """What is behind the "#" of a link."""
    _, url = await hub.invitations.create(
        role, "bob@example.com", time.time() + seconds, owner or "ann", owner
    )
    page, _, token = url.partition("#")
    assert page == f"{hub.origin}{PATH}"
    return token


async def opened(browser: Browser, token: str) -> Answer:
    return await browser.post(PATH, {"invitation": token})


async def join(
    browser: Browser, token: str, name: str = "bob", password: str = PASSWORD, **more: str
) -> Answer:
    """Open the link, and fill in the page."""
    page = await opened(browser, token)
    assert page.status == 200, page
    form = {
        "invitation": token, "state": page.state, "name": name, "new": password,
        "again": password, **more,
    }  # fmt: skip
    return await browser.post(PATH, form)


async def state_of(hub: Hub, token: str) -> InvitationState:
    return next(each.state for each in await hub.invitations.list() if token.startswith(each.id))


async def test_the_invited_becomes_a_user_and_is_signed_in(hub: Hub) -> None:
    token = await invite(hub)
    browser = hub.browser()
    page = await browser.get(PATH)
    assert page.status == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "location.hash" in (await browser.get(f"{PATH}.js")).text
    answer = await opened(browser, token)
    assert "an operator" in answer.text
    answer = await join(browser, token, "Bob")
    assert (answer.status, answer.location) == (303, f"{hub.origin}/")
    # The session of the browser is enough for the console.
    query = hub.asked("a" * 43)
    assert (await browser.get("/oidc/authorize", query)).status == 303
    users = {each.name: each for each in await hub.users.list()}
    assert (users["bob"].role, users["bob"].email) == (Role.OPERATOR, "bob@example.com")
    assert not users["bob"].must_change
    assert (await hub.tokens_of("bob"))["access_token"]
    entries, _ = await LocalAudit(hub.database).find(what=["acceptInvitation"])
    assert [(each.who, each.outcome) for each in entries] == [("bob", "ok")]
    assert token.startswith(entries[0].target)


async def test_a_link_works_once(hub: Hub) -> None:
    token = await invite(hub)
    one, other = hub.browser(), hub.browser()
    page = await opened(other, token)
    assert (await join(one, token)).status == 303
    form = {"invitation": token, "state": page.state, "name": "eve", "new": PASSWORD}
    for answer in (
        await opened(hub.browser(), token),
        await other.post(PATH, {**form, "again": PASSWORD}),
    ):
        assert (answer.status, EN["invitation_USED"] in answer.text) == (410, True)
    assert await hub.invitations.accept(token, "eve", PASSWORD, "") == invitations_module.Accepted()
    assert {each.name for each in await hub.users.list()} == {"ann", "bob"}
    [made] = await hub.invitations.list()
    assert (made.state, made.used_by) == (InvitationState.USED, "bob")
    with pytest.raises(Conflict, match="used by 'bob'"):
        await hub.invitations.withdraw(made.id)


async def test_a_link_that_was_withdrawn_says_so(hub: Hub) -> None:
    token = await invite(hub)
    await hub.invitations.withdraw(token.partition(".")[0])
    answer = await opened(hub.browser(), token)
    assert (answer.status, EN["invitation_WITHDRAWN"] in answer.text) == (410, True)
    with pytest.raises(NotFound):
        await hub.invitations.withdraw("0" * 16)


async def test_a_link_that_has_expired_says_so_in_either_language(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await invite(hub)
    now = time.time()

    class Later:
        def time(self) -> float:
            return now + 601

    monkeypatch.setattr("dth.core.clock.time", Later())
    for language in ("en", "zh-CN"):
        browser = hub.browser()
        browser.language = language
        answer = await opened(browser, token)
        assert (answer.status, WORDS[language]["invitation_EXPIRED"] in answer.text) == (410, True)
    with pytest.raises(UsageError, match="end in the future"):
        await invite(hub, seconds=-1)


async def test_invitations_end_with_the_rights_of_who_made_them(hub: Hub) -> None:
    await hub.users.add("eve", PASSWORD, Role.ADMIN)
    token = await invite(hub, Role.ADMIN, owner="eve")
    assert (await opened(hub.browser(), token)).status == 200
    await hub.users.set_role("eve", Role.OPERATOR)
    answer = await opened(hub.browser(), token)
    assert (answer.status, EN["invitation_WITHDRAWN"] in answer.text) == (410, True)
    await hub.users.remove("eve")
    await hub.users.add("eve", PASSWORD, Role.ADMIN)  # somebody else of this name
    assert (await opened(hub.browser(), token)).status == 410


@pytest.mark.parametrize(
    ("name", "password", "more", "word"),
    [
        ("bob", "abc", {}, "short"),
        ("bob-is-my-name", "bob-is-my-name", {}, "is_name"),
        ("bob", PASSWORD, {"again": "another"}, "differ"),
        ("no name", PASSWORD, {}, "not_a_name"),
        ("", PASSWORD, {}, "not_a_name"),
        ("ANN", PASSWORD, {}, "taken"),
    ],
)
async def test_what_cannot_be_is_said_and_the_invitation_stays(
    hub: Hub, name: str, password: str, more: dict[str, str], word: str
) -> None:
    token = await invite(hub)
    browser = hub.browser()
    answer = await join(browser, token, name, password, **more)
    assert (answer.status, EN[word] in answer.text) == (403, True), answer.text
    assert password not in answer.text.replace(f'value="{name}"', "")
    assert await state_of(hub, token) is InvitationState.OPEN
    assert (await join(browser, token)).status == 303


async def test_a_form_of_another_site_makes_no_user(hub: Hub) -> None:
    token = await invite(hub)
    form = {"invitation": token, "name": "bob", "new": PASSWORD, "again": PASSWORD}
    attacker, victim = hub.browser(), hub.browser()
    state = (await opened(attacker, token)).state
    for more in ({}, {"state": state}, {"state": "é"}):
        answer = await victim.post(PATH, {**form, **more})
        assert (answer.status, EN["invitation_again"] in answer.text) == (400, True)
    assert await state_of(hub, token) is InvitationState.OPEN


async def test_what_is_no_link_says_so(hub: Hub) -> None:
    token = await invite(hub)
    name, _, secret = token.partition(".")
    wrong = ["", ".", name, f"{name}.", f"{name}.{secret[:-1]}", f"{'0' * 16}.{secret}", "\ud800"]
    for each in wrong:
        found = await hub.invitations.open(each, "")
        assert found.invitation is None
    answer = await opened(hub.browser(), f"{name}.x")
    assert (answer.status, EN["no_invitation"] in answer.text) == (404, True)


async def test_guessing_is_slowed_down(hub: Hub) -> None:
    """By the invitation, and by the address for all of them."""
    token = await invite(hub)
    name = token.partition(".")[0]
    for _ in range(USER_TRIES[0]):
        assert not (await hub.invitations.open(f"{name}.x", "192.0.2.1")).wait
    assert (await hub.invitations.open(f"{name}.x", "192.0.2.2")).wait > 0
    for number in range(ADDRESS_TRIES[0]):
        await hub.invitations.open(f"{number}.x", "127.0.0.1")
    answer = await opened(hub.browser(), token)
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "Too many tries" in answer.text


async def test_opening_a_link_again_and_again_costs_nothing(hub: Hub) -> None:
    token = await invite(hub)
    for _ in range(ADDRESS_TRIES[0] + 5):
        assert (await hub.invitations.open(token, "192.0.2.1")).invitation


async def test_a_link_does_not_find_out_all_names(hub: Hub) -> None:
    token = await invite(hub)
    found = [
        await hub.invitations.accept(token, "ann", PASSWORD, "192.0.2.1")
        for _ in range(USER_TRIES[0] + 1)
    ]
    assert found[0].problem == invitations_module.NameProblem.TAKEN
    assert found[-1].wait > 0


async def test_two_who_use_a_link_at_once_are_one_user(hub: Hub) -> None:
    import asyncio

    token = await invite(hub)
    found = await asyncio.gather(
        *(hub.invitations.accept(token, f"bob-{n}", PASSWORD, "") for n in range(4))
    )
    assert sum(each.account is not None for each in found) == 1
    assert len(await hub.users.list()) == 2


async def test_no_link_is_stored_or_logged(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = await invite(hub)
    secret = token.partition(".")[2]
    await opened(hub.browser(), f"{token}x")
    await join(hub.browser(), token)
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("hub.db*"))
    assert token.partition(".")[0].encode() in stored
    assert secret.encode() not in stored
    assert secret not in caplog.text
    assert urlsplit(f"{hub.origin}{PATH}#{token}").path == PATH


def test_invitations_by_command(tmp_path: Path, dth: Dth) -> None:
    with RunningHub(tmp_path) as running:
        where = ("--data-dir", running.data)
        made = dth.run("user", "invite", "--role", "operator", "--email", "a@b.example", *where)
        assert made.code == 0, made.err
        link = made.out.splitlines()[-1]
        assert link.startswith(f"{running.url}/oidc/invitation#")
        name = link.partition("#")[2].partition(".")[0]
        listed = dth.run("user", "invitations", *where, "--output", "json")
        [found] = json.loads(listed.out)
        assert (found["id"], found["state"], found["role"]) == (name, "OPEN", "operator")
        assert link.rpartition(".")[2] not in listed.out
        assert dth.run("user", "withdraw", name, *where).out == f"{name} is withdrawn\n"
        shown = dth.run("user", "invitations", *where)
        assert "withdrawn" in shown.out
        refused = dth.run("user", "invite", "--expires", "40d", *where)
        assert (refused.code, "at most 30" in refused.err) == (2, True)
