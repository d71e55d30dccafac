"""The built-in provider, over HTTP: as a browser and a client see it, and as somebody who attacks
them."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from dth.hub.model import Role
from dth.platforms.local import grants as grants_module
from dth.platforms.local import oidc as oidc_module
from dth.platforms.local import sign_in_page
from dth.platforms.local import users as users_module
from dth.platforms.local.attempt_limits import USER_TRIES
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.oidc import Provider
from dth.platforms.local.sign_in_page import WORDS, language_of
from dth.platforms.local.users import LocalUsers, first_admin
from dth.platforms.local.vault import open_vault
from tests.identity import PASSWORD, Answer, Browser, Hub, hub_at, pkce

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.quick

NEW = "another horse battery"
LOOPBACK = "http://127.0.0.1:54321/callback"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_module, "COST", (4, 8, 1))


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with hub_at(tmp_path) as hub:
        await hub.users.add("ann", PASSWORD, Role.ADMIN, "ann@example.com")
        yield hub


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("dth.core.clock.time", clock)
    return clock


def claims_of(token: str) -> dict[str, Any]:
    return dict(json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "===")))


async def code_for(hub: Hub, **more: str) -> tuple[str, str, dict[str, str]]:
    """A code, its verifier, and what was asked."""
    verifier, challenge = pkce()
    query = hub.asked(challenge, **more)
    answer = await hub.sign_in(hub.browser(), "ann", query=query)
    assert answer.status == 303, answer
    return answer.back["code"], verifier, query


# ---------------------------------------------------------------------------------------- a sign-in


async def test_a_sign_in_from_the_first_page_to_the_last_token(hub: Hub) -> None:
    document = (await hub.browser().get("/oidc/.well-known/openid-configuration")).json
    assert document["issuer"] == hub.issuer
    for name, place in document.items():
        if name.endswith(("_endpoint", "_uri")):
            path = urlsplit(place).path
            assert (await hub.browser().get(path)).status != 404, name
    verifier, challenge = pkce()
    query = hub.asked(challenge)
    answer = await hub.sign_in(hub.browser(), "ann", query=query)
    assert answer.status == 303
    assert answer.location.startswith(f"{hub.origin}/auth/callback?")
    assert answer.back["state"] == "the state"
    assert answer.back["iss"] == hub.issuer
    tokens = (await hub.exchange(answer.back["code"], verifier, query)).json
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 600
    access, told = claims_of(tokens["access_token"]), claims_of(tokens["id_token"])
    assert (access["aud"], access["client_id"], access["sub"]) == ("dth", "dth-console", "ann")
    assert access["exp"] - access["iat"] == 600
    assert (told["aud"], told["nonce"], told["email"]) == (
        "dth-console",
        "the nonce",
        "ann@example.com",
    )
    assert told["dth_role"] == "admin"
    about = await hub.browser().get(
        "/oidc/userinfo", authorization=f"Bearer {tokens['access_token']}"
    )
    assert about.json == {"sub": "ann", "preferred_username": "ann", "dth_role": "admin"}
    for wrong in (
        "",
        "Bearer x",
        f"Bearer {tokens['id_token']}",
        f"Basic {tokens['access_token']}",
    ):
        refused = await hub.browser().get("/oidc/userinfo", authorization=wrong)
        assert refused.status == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")


async def test_published_keys_are_public(hub: Hub) -> None:
    keys = (await hub.browser().get("/oidc/jwks")).json["keys"]
    assert [sorted(key) for key in keys] == [["alg", "e", "kid", "kty", "n", "use"]]


async def test_the_signing_key_stays_and_is_encrypted(tmp_path: Path) -> None:
    with HubDatabase.open(tmp_path / "hub.db") as database:
        vault, users = open_vault(tmp_path), LocalUsers(database)
        opened = [
            await Provider.open(database, vault, users, "https://hub/oidc", []) for _ in range(2)
        ]
        assert opened[0]._key.as_dict(private=True) == opened[1]._key.as_dict(private=True)
    content = b"".join(path.read_bytes() for path in tmp_path.glob("hub.db*"))
    assert b"PRIVATE KEY" not in content


async def test_without_offline_access_there_is_no_refresh_token(hub: Hub) -> None:
    tokens = await hub.tokens_of("ann", scope="openid admin offline")
    assert tokens["scope"] == "openid"
    assert "refresh_token" not in tokens
    assert "email" not in claims_of(tokens["id_token"])


async def test_the_command_line_may_be_answered_on_any_port_of_this_machine(hub: Hub) -> None:
    more = {"client_id": "dth-cli", "redirect_uri": LOOPBACK}
    tokens = await hub.tokens_of("ann", **more)
    assert (await hub.who(tokens["access_token"])).json["name"] == "ann"
    assert (await hub.refresh(tokens["refresh_token"], "dth-console")).json == {
        "error": "invalid_grant"
    }


# --------------------------------------------------------------------------------------- no way out


@pytest.mark.parametrize(
    "more",
    [
        {"redirect_uri": "https://evil.example/auth/callback"},
        {"redirect_uri": "{origin}/auth/callback/"},
        {"redirect_uri": "{origin}/auth/callback?x=1"},
        {"redirect_uri": "{origin}/auth/callback#x"},
        {"redirect_uri": "{origin}.evil.example/auth/callback"},
        {"redirect_uri": "{origin}@evil.example/auth/callback"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": ""},
        {"client_id": "dth-cli"},
        {"client_id": "unknown"},
        {"client_id": "dth-console", "redirect_uri": LOOPBACK},
        {"client_id": "dth-cli", "redirect_uri": "http://localhost:1234/callback"},
        {"client_id": "dth-cli", "redirect_uri": "https://127.0.0.1:1234/callback"},
        {"client_id": "dth-cli", "redirect_uri": "http://127.0.0.1/callback"},
        {"client_id": "dth-cli", "redirect_uri": "http://127.0.0.1:1234/callback/../x"},
        {"client_id": "dth-cli", "redirect_uri": "http://127.0.0.1:1234/callback\n"},
        {"client_id": "dth-cli", "redirect_uri": "http://127.0.0.1:1234@evil.example/callback"},
        {"client_id": "dth-cli", "redirect_uri": "http://127.0.0.1.evil.example:1234/callback"},
    ],
)
async def test_nothing_is_sent_to_an_address_that_is_not_exactly_right(
    hub: Hub, more: dict[str, str]
) -> None:
    browser = hub.browser()
    await hub.sign_in(browser, "ann")  # a session must not help either
    more = {name: value.replace("{origin}", hub.origin) for name, value in more.items()}
    answer = await browser.get("/oidc/authorize", hub.asked(pkce()[1], **more))
    assert answer.status == 400
    assert not answer.location
    assert "evil" not in answer.text


async def test_a_parameter_twice_is_refused(hub: Hub) -> None:
    browser = hub.browser()
    query = "&".join(f"{name}={value}" for name, value in hub.asked(pkce()[1]).items()).replace(
        " ", "+"
    )
    answer = await browser.get(f"/oidc/authorize?{query}&redirect_uri=https://evil.example")
    assert (answer.status, answer.location) == (400, "")


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_mode": "form_post"}, "invalid_request"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge": "A" * 42}, "invalid_request"),
        ({"code_challenge": "A" * 43 + "\n"}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "٣"}, "invalid_request"),
        ({"nonce": "x" * 3000}, "invalid_request"),
        ({"request": "e30."}, "request_not_supported"),
        ({"request_uri": "https://x"}, "request_uri_not_supported"),
        ({"prompt": "none"}, "login_required"),
    ],
)
async def test_a_wrong_request_is_answered_to_the_client(
    hub: Hub, more: dict[str, str], error: str
) -> None:
    answer = await hub.browser().get("/oidc/authorize", hub.asked(pkce()[1], **more))
    assert answer.status == 303
    assert answer.location.startswith(f"{hub.origin}/auth/callback?")
    assert (answer.back["error"], answer.back["state"]) == (error, "the state")


# -------------------------------------------------------------------------------------------- codes


async def test_a_code_holds_once_and_a_second_use_ends_what_followed(hub: Hub) -> None:
    code, verifier, query = await code_for(hub)
    outcomes = await asyncio.gather(*(hub.exchange(code, verifier, query) for _ in range(4)))
    assert sorted(answer.status for answer in outcomes) == [200, 400, 400, 400]
    tokens = next(answer.json for answer in outcomes if answer.status == 200)
    assert (await hub.refresh(tokens["refresh_token"])).status == 400


@pytest.mark.parametrize(
    "more",
    [
        {"code_verifier": "A" * 43},
        {"code_verifier": ""},
        {"client_id": "dth-cli"},
        {"client_id": ""},
        {"redirect_uri": "{origin}/auth/silent"},
        {"redirect_uri": ""},
        {"code": ""},
        {"code": "guessed"},
        {"code": "\udcff"},
    ],
)
async def test_a_code_alone_is_worth_nothing(hub: Hub, more: dict[str, str]) -> None:
    code, verifier, query = await code_for(hub)
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": verifier,
        "client_id": query["client_id"],
        "redirect_uri": query["redirect_uri"],
    }
    form |= {name: value.replace("{origin}", hub.origin) for name, value in more.items()}
    encoded = {name: value.encode("utf-8", "surrogateescape") for name, value in form.items()}
    answer = await hub.browser().post("/oidc/token", encoded)  # type: ignore[arg-type]
    assert (answer.status, answer.json) == (400, {"error": "invalid_grant"})
    if "code" not in more:  # whoever tried it has it: it is used up
        assert (await hub.exchange(code, verifier, query)).status == 400


async def test_a_code_and_a_session_end(hub: Hub, clock: Clock) -> None:
    code, verifier, query = await code_for(hub)
    clock.now += grants_module.CODE_LIFE + 1
    assert (await hub.exchange(code, verifier, query)).status == 400
    browser = hub.browser()
    await hub.sign_in(browser, "ann")
    silent = hub.asked(pkce()[1], prompt="none")
    clock.now += grants_module.SESSION_LIFE - 1
    assert "code" in (await browser.get("/oidc/authorize", silent)).back
    clock.now += 2
    assert (await browser.get("/oidc/authorize", silent)).back["error"] == "login_required"


async def test_refresh_tokens_rotate_and_a_stolen_one_ends_the_family(
    hub: Hub, clock: Clock
) -> None:
    first = await hub.tokens_of("ann")
    second = (await hub.refresh(first["refresh_token"])).json
    assert second["refresh_token"] != first["refresh_token"]
    assert claims_of(second["access_token"])["sub"] == "ann"
    third = (await hub.refresh(second["refresh_token"])).json
    other = await hub.tokens_of("ann")
    assert (await hub.refresh(first["refresh_token"])).json == {"error": "invalid_grant"}
    assert (await hub.refresh(third["refresh_token"])).json == {"error": "invalid_grant"}
    renewed = await hub.refresh(other["refresh_token"])  # another sign-in goes on
    assert renewed.status == 200
    clock.now += grants_module.REFRESH_LIFE + 1  # from the sign-in on
    assert (await hub.refresh(renewed.json["refresh_token"])).status == 400


async def ends(hub: Hub, browser: Browser, tokens: dict[str, Any]) -> None:
    """Nothing of that sign-in holds any more."""
    assert (await hub.who(tokens["access_token"])).status == 401
    assert (
        await hub.refresh(tokens["refresh_token"], claims_of(tokens["access_token"])["client_id"])
    ).status == 400
    silent = await browser.get("/oidc/authorize", hub.asked(pkce()[1], prompt="none"))
    assert silent.back["error"] == "login_required"


async def test_a_second_use_of_a_code_ends_the_whole_sign_in(hub: Hub, clock: Clock) -> None:
    browser, other = hub.browser(), hub.browser()
    going_on = await hub.tokens_of("ann", other)
    verifier, challenge = pkce()
    query = hub.asked(challenge)
    code = (await hub.sign_in(browser, "ann", query=query)).back["code"]
    tokens = (await hub.exchange(code, verifier, query)).json
    assert (await hub.who(tokens["access_token"])).status == 200
    clock.now += grants_module.CODE_LIFE + 1  # the code has expired, its access token has not
    assert (await hub.exchange(code, verifier, query)).status == 400
    await ends(hub, browser, tokens)
    assert (await hub.who(going_on["access_token"])).status == 200
    assert (await hub.refresh(going_on["refresh_token"])).status == 200


async def test_a_second_use_of_a_refresh_token_ends_access_tokens_too(hub: Hub) -> None:
    browser = hub.browser()
    first = await hub.tokens_of("ann", browser)
    second = (await hub.refresh(first["refresh_token"])).json
    assert (await hub.refresh(first["refresh_token"])).status == 400
    assert (await hub.who(first["access_token"])).status == 401
    await ends(hub, browser, second)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_signing_out_ends_everything_that_followed_from_the_sign_in(
    hub: Hub, method: str
) -> None:
    browser, other = hub.browser(), hub.browser()
    tokens, others = await hub.tokens_of("ann", browser), await hub.tokens_of("ann", other)
    renewed = (await hub.refresh(tokens["refresh_token"])).json
    verifier, challenge = pkce()
    query = hub.asked(challenge, prompt="none", redirect_uri=f"{hub.origin}/auth/silent")
    code = (await browser.get("/oidc/authorize", query)).back["code"]
    silent = (await hub.exchange(code, verifier, query)).json
    pending = (await browser.get("/oidc/authorize", query)).back["code"]
    command = await hub.continued(browser)
    stolen = Browser(hub.origin, dict(browser.cookies))
    await (browser.get("/oidc/logout") if method == "GET" else browser.post("/oidc/logout", {}))
    for each in (renewed, silent, command):
        await ends(hub, stolen, each)
    assert (await hub.exchange(pending, verifier, query)).status == 400
    assert (await hub.who(tokens["access_token"])).status == 401
    assert (await hub.who(others["access_token"])).status == 200


@pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
async def test_what_is_given_back_ends_with_all_that_came_of_the_same_code(
    hub: Hub, kind: str
) -> None:
    browser = hub.browser()
    await hub.sign_in(browser, "ann")
    command, again = await hub.continued(browser), await hub.continued(browser)
    assert (await hub.browser().post("/oidc/revoke", {"token": command[kind]})).status == 200
    assert (await hub.who(command["access_token"])).status == 401
    assert (await hub.refresh(command["refresh_token"], "dth-cli")).status == 400
    assert (
        await hub.who(again["access_token"])
    ).status == 200  # the command line of another machine
    assert (
        "code" in (await browser.get("/oidc/authorize", hub.asked(pkce()[1], prompt="none"))).back
    )
    for wrong in (f"{command['access_token']}x", "a.b.c", ".", "..", command["id_token"]):
        assert (await hub.browser().post("/oidc/revoke", {"token": wrong})).status == 200


async def test_an_access_token_without_a_refresh_token_holds_its_time(
    hub: Hub, clock: Clock
) -> None:
    tokens = await hub.tokens_of("ann", scope="openid")
    clock.now += 590
    await hub.tokens_of("ann")  # which forgets what has expired
    assert (await hub.who(tokens["access_token"])).status == 200


async def test_the_command_line_is_given_nothing_without_a_question(hub: Hub) -> None:
    """RFC 8252, section 8.6: whoever listens at a port of this machine can ask in its name."""
    browser = hub.browser()
    await hub.sign_in(browser, "ann")
    verifier, challenge = pkce()
    query = hub.asked(challenge, client_id="dth-cli", redirect_uri=LOOPBACK)
    for more in ({}, {"prompt": "consent"}, {"max_age": "3600"}, {"prompt": "select_account"}):
        page = await browser.get("/oidc/authorize", query | more)
        assert (page.status, page.location) == (200, "")
        assert "Continue as ann?" in page.text
        assert "127.0.0.1:54321" in page.text
    silent = await browser.get("/oidc/authorize", query | {"prompt": "none"})
    assert silent.back["error"] == "interaction_required"
    answer = await browser.post("/oidc/authorize", {"state": page.state, "answer": "continue"})
    assert answer.location.startswith(f"{LOOPBACK}?")
    tokens = (await hub.exchange(answer.back["code"], verifier, query)).json
    assert (await hub.who(tokens["access_token"])).json["name"] == "ann"


async def test_a_question_is_answered_by_the_one_who_was_asked(hub: Hub) -> None:
    await hub.users.add("eve", PASSWORD, Role.VIEWER)
    browser, attacker = hub.browser(), hub.browser()
    await hub.sign_in(browser, "ann")
    await hub.sign_in(attacker, "eve")
    query = hub.asked(pkce()[1], client_id="dth-cli", redirect_uri=LOOPBACK)
    page, theirs = (
        await browser.get("/oidc/authorize", query),
        await attacker.get("/oidc/authorize", query),
    )
    yes = {"answer": "continue"}
    for who, state in (
        (attacker, page.state),
        (browser, theirs.state),
        (browser, ""),
        (hub.browser(), page.state),
    ):
        answer = await who.post("/oidc/authorize", yes | {"state": state})
        assert (answer.status, answer.location) == (400, "")
    for fields in (
        {},
        {"answer": ""},
        {"answer": "no"},
        {"new": PASSWORD + "x", "again": PASSWORD + "x"},
    ):
        answer = await browser.post("/oidc/authorize", {"state": page.state} | fields)
        assert (answer.status, answer.location) == (400, "")
    signed_out = Browser(
        hub.origin,
        {name: value for name, value in browser.cookies.items() if name != "dth_session"},
    )
    assert (await signed_out.post("/oidc/authorize", yes | {"state": page.state})).status == 400
    other = await browser.post("/oidc/authorize", {"state": page.state, "answer": "other"})
    assert 'name="password"' in other.text
    form = {"state": other.state, "name": "eve", "password": PASSWORD}
    assert (await browser.post("/oidc/authorize", form)).location.startswith(LOOPBACK)
    answer = await browser.post(
        "/oidc/authorize", yes | {"state": page.state}
    )  # of ann, who is no longer here
    assert answer.status == 400


async def test_the_question_is_in_chinese_too_and_shows_names_as_text(hub: Hub) -> None:
    browser = Browser(hub.origin, language="zh-CN")
    await hub.sign_in(browser, "ann")
    page = await browser.get(
        "/oidc/authorize", hub.asked(pkce()[1], client_id="dth-cli", redirect_uri=LOOPBACK)
    )
    assert "以 ann 的身份继续" in page.text
    assert "127.0.0.1:54321" in page.text
    text = sign_in_page.go_on("en", "/oidc", "s", name="<b>", command="<i>")
    assert "<b>" not in text
    assert "<i>" not in text
    asked = await hub.browser().get(
        "/oidc/authorize", hub.asked(pkce()[1], client_id="dth-cli", redirect_uri=LOOPBACK)
    )
    assert "The command line (dth) on this computer, at 127.0.0.1:54321" in asked.text


async def test_of_many_renewals_at_once_one_succeeds_at_most(hub: Hub) -> None:
    tokens = await hub.tokens_of("ann")
    outcomes = await asyncio.gather(*(hub.refresh(tokens["refresh_token"]) for _ in range(6)))
    assert sorted(answer.status for answer in outcomes) == [200, 400, 400, 400, 400, 400]


async def test_a_refresh_token_can_be_given_back(hub: Hub) -> None:
    tokens = await hub.tokens_of("ann")
    for token in (tokens["refresh_token"], "unknown", ""):
        assert (await hub.browser().post("/oidc/revoke", {"token": token})).status == 200
    assert (await hub.refresh(tokens["refresh_token"])).status == 400


@pytest.mark.parametrize("change", ["password", "removed", "removed and added"])
async def test_what_was_given_to_a_user_ends_with_the_password_and_the_user(
    hub: Hub, change: str
) -> None:
    browser = hub.browser()
    tokens = await hub.tokens_of("ann", browser)
    code, verifier, query = await code_for(hub)
    await hub.users.add("root", PASSWORD, Role.ADMIN)
    if change == "password":
        await hub.users.set_password("ann", PASSWORD)
    else:
        await hub.users.remove("ann")
    if change == "removed and added":
        await hub.users.add("ann", PASSWORD, Role.ADMIN)
    assert (await hub.refresh(tokens["refresh_token"])).status == 400
    assert (await hub.exchange(code, verifier, query)).status == 400
    answer = await browser.get("/oidc/authorize", hub.asked(pkce()[1], prompt="none"))
    assert answer.back["error"] == "login_required"
    assert (await hub.who(tokens["access_token"])).status == 401


async def test_a_new_role_is_in_the_next_token(hub: Hub) -> None:
    tokens = await hub.tokens_of("ann")
    await hub.users.add("root", PASSWORD, Role.ADMIN)
    await hub.users.set_role("ann", Role.VIEWER)
    renewed = (await hub.refresh(tokens["refresh_token"])).json
    assert claims_of(renewed["access_token"])["dth_role"] == "viewer"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "application/x-www-form-urlencoded"),
        (b"grant_type=password&username=ann", "application/x-www-form-urlencoded"),
        (b"grant_type=client_credentials", "application/x-www-form-urlencoded"),
        (b"grant_type=refresh_token&grant_type=refresh_token", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % n for n in range(100)), "application/x-www-form-urlencoded"),
        (
            b"grant_type=refresh_token&refresh_token=" + b"x" * 100_000,
            "application/x-www-form-urlencoded",
        ),
        (b"\xff\xfe=\xff", "application/x-www-form-urlencoded"),
        (b'{"grant_type": "refresh_token"}', "application/json"),
    ],
)
async def test_forms_that_are_none(hub: Hub, body: bytes, kind: str) -> None:
    answer = await hub.browser().send("POST", "/oidc/token", body, {"content-type": kind})
    assert (answer.status, answer.json["error"]) == (400, "unsupported_grant_type")
    answer = await hub.browser().send("POST", "/oidc/authorize", body, {"content-type": kind})
    assert answer.status == 400


# -------------------------------------------------------------------------------------- the session


async def test_a_session_renews_silently_until_the_user_leaves(hub: Hub) -> None:
    browser = hub.browser()
    await hub.sign_in(browser, "ann")
    verifier, challenge = pkce()
    query = hub.asked(challenge, prompt="none", redirect_uri=f"{hub.origin}/auth/silent")
    answer = await browser.get("/oidc/authorize", query)
    assert (await hub.exchange(answer.back["code"], verifier, query)).status == 200
    assert (await browser.get("/oidc/authorize", hub.asked(challenge))).status == 303
    for more in ({"prompt": "login"}, {"max_age": "0"}):
        assert (await browser.get("/oidc/authorize", hub.asked(challenge, **more))).status == 200
    stolen = Browser(hub.origin, dict(browser.cookies))
    back = {"post_logout_redirect_uri": f"{hub.origin}/", "state": "s"}
    left = await browser.get("/oidc/logout", back)
    assert (left.status, left.location) == (303, f"{hub.origin}/?state=s")
    assert "dth_session" not in browser.cookies
    for each in (browser, stolen):
        assert (await each.get("/oidc/authorize", query)).back["error"] == "login_required"


async def test_signing_out_ends_every_sign_in_of_the_user_in_this_browser(hub: Hub) -> None:
    browser = hub.browser()
    first = await hub.tokens_of("ann", browser)
    command = await hub.continued(browser)
    second = await hub.tokens_of("ann", browser, prompt="login")
    assert (await hub.who(first["access_token"])).status == 200
    await browser.get("/oidc/logout")
    for each in (first, command, second):
        assert (await hub.who(each["access_token"])).status == 401
    assert (await hub.refresh(first["refresh_token"])).status == 400
    assert (await hub.refresh(command["refresh_token"], "dth-cli")).status == 400


async def test_who_signs_in_as_another_user_signs_the_first_one_out(hub: Hub) -> None:
    await hub.users.add("eve", PASSWORD, Role.VIEWER)
    browser, elsewhere = hub.browser(), hub.browser()
    first, other = await hub.tokens_of("ann", browser), await hub.tokens_of("ann", elsewhere)
    await hub.tokens_of("eve", browser, prompt="login")
    assert (await hub.who(first["access_token"])).status == 401
    assert (await hub.refresh(first["refresh_token"])).status == 400
    assert (await hub.who(other["access_token"])).status == 200


async def test_signing_out_after_the_session_has_expired_ends_its_tokens(
    hub: Hub, clock: Clock
) -> None:
    browser = hub.browser()
    tokens = await hub.tokens_of("ann", browser)
    clock.now += grants_module.SESSION_LIFE + 60
    await hub.tokens_of("ann")  # what has expired is forgotten now and then
    answer = await browser.get("/oidc/authorize", hub.asked(pkce()[1], prompt="none"))
    assert answer.back["error"] == "login_required"
    await browser.get("/oidc/logout")
    assert (await hub.refresh(tokens["refresh_token"])).status == 400


@pytest.mark.parametrize(
    "place", ["", "https://evil.example/", "//evil.example", "{origin}.evil.example/"]
)
async def test_leaving_leads_nowhere_else(hub: Hub, place: str) -> None:
    place = place.replace("{origin}", hub.origin)
    form = {"post_logout_redirect_uri": place}
    for answer in (
        await hub.browser().get("/oidc/logout", form),
        await hub.browser().post("/oidc/logout", form),
    ):
        assert (answer.status, answer.location) == (200, "")
        assert "evil" not in answer.text


async def test_cookies_are_for_the_provider_alone(hub: Hub, tmp_path: Path) -> None:
    answer = await hub.sign_in(hub.browser(), "ann")
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("dth_session=")
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/oidc" in cookie
    assert "secure" not in cookie
    hub.provider._issuer = "https://hub.example.com/oidc"
    answer = await hub.sign_in(hub.browser(), "ann")
    assert "secure" in answer.headers["set-cookie"].lower()


# ----------------------------------------------------------------------------------------- the page


async def page_of(hub: Hub, browser: Browser, **more: str) -> Answer:
    answer = await browser.get("/oidc/authorize", hub.asked(pkce()[1], **more))
    assert answer.status == 200
    return answer


async def test_a_page_is_for_the_browser_that_it_was_made_for(hub: Hub) -> None:
    """Nobody can be signed in by somebody else's form, with somebody else's account."""
    attacker, victim = hub.browser(), hub.browser()
    form = {"name": "ann", "password": PASSWORD}
    state = (await page_of(hub, attacker)).state
    for browser in (victim, hub.browser()):
        answer = await browser.post("/oidc/authorize", form | {"state": state})
        assert (answer.status, answer.location) == (400, "")
        await page_of(hub, victim)  # has a cookie of its own in the second round
    assert (await attacker.post("/oidc/authorize", form | {"state": state})).status == 303


async def test_two_pages_in_one_browser_both_work(hub: Hub) -> None:
    browser = hub.browser()
    pages = [await page_of(hub, browser, state=f"s{n}") for n in range(2)]
    for n, page in enumerate(pages):
        form = {"name": "ann", "password": PASSWORD, "state": page.state}
        assert (await browser.post("/oidc/authorize", form)).back["state"] == f"s{n}"


async def test_what_a_page_carries_cannot_be_changed_and_expires(hub: Hub, clock: Clock) -> None:
    browser = hub.browser()
    state = (await page_of(hub, browser)).state
    body, _, seal = state.partition(".")
    values = json.loads(base64.urlsafe_b64decode(body))
    values["asked"]["redirect_uri"] = "https://evil.example/"
    changed = base64.urlsafe_b64encode(json.dumps(values).encode()).decode()
    form = {"name": "ann", "password": PASSWORD}
    for wrong in (
        "",
        ".",
        body,
        f"{body}.",
        f"{changed}.{seal}",
        f"{body}.{seal[:-1]}x",
        "é.é",
        "a.\udcff",
    ):
        data = {"state": wrong.encode("utf-8", "surrogateescape")}
        answer = await browser.post("/oidc/authorize", form | data)  # type: ignore[arg-type]
        assert (answer.status, answer.location) == (400, ""), wrong
    clock.now += oidc_module.FORM_LIFE + 1
    answer = await browser.post("/oidc/authorize", form | {"state": state})
    assert answer.status == 400
    assert WORDS["en"]["expired"] in answer.text


async def test_wrong_passwords_say_nothing_and_too_many_have_to_wait(hub: Hub) -> None:
    browser = hub.browser()
    known = await hub.sign_in(browser, "ann", "wrong")
    unknown = await hub.sign_in(browser, "nobody", "wrong")
    assert known.status == unknown.status == 403
    assert "dth_session" not in browser.cookies

    def plain(answer: Answer) -> str:
        return re.sub(r'(name="state"|id="name" name="name") value="[^"]*"', "", answer.text)

    assert plain(known) == plain(unknown)
    for _ in range(USER_TRIES[0] - 1):
        await hub.sign_in(browser, "ann", "wrong")
    answer = await hub.sign_in(browser, "ann", PASSWORD)
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert 'role="alert"' in answer.text


async def test_pages_run_nothing_and_show_everything_as_text(hub: Hub) -> None:
    nasty = "\"><script>alert(1)</script>'"
    browser = hub.browser()
    page = await page_of(hub, browser, state=nasty, nonce=nasty)
    form = {"state": page.state, "name": nasty, "password": "x"}
    wrong = await browser.post("/oidc/authorize", form)
    assert wrong.status == 403
    for answer in (page, wrong):
        assert "<script" not in answer.text
        assert "style=" not in answer.text
        assert "<style" not in answer.text
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "base-uri 'none'" in policy
        assert f"form-action 'self' {hub.origin}" in policy
        assert "unsafe" not in policy
    assert "&lt;script&gt;" in wrong.text
    style = await browser.get("/oidc/style.css")
    assert style.headers["content-type"].startswith("text/css")
    assert "prefers-color-scheme: dark" in style.text


async def test_nothing_is_kept_by_caches_or_framed(hub: Hub) -> None:
    browser = hub.browser()
    answers = [
        await page_of(hub, browser),
        await hub.sign_in(browser, "ann"),
        await browser.post("/oidc/token", {}),
        await browser.get("/oidc/userinfo"),
        await browser.get("/oidc/logout"),
        await browser.get("/oidc/authorize"),
    ]
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("ZH", "zh-CN"),
        ("de, en;q=0.5, zh;q=0.7", "zh-CN"),
        ("en-GB, zh", "en"),
        ("zh;q=0, de", "en"),
        ("zhx;q=1", "en"),
        ("zh;q=1.9999, ;;;,q", "en"),
        ("*," * 100_000, "en"),
    ],
)
def test_the_language_is_the_browsers(accepted: str, language: str) -> None:
    assert language_of(accepted) == language


async def test_pages_are_in_chinese_too(hub: Hub) -> None:
    assert set(WORDS["en"]) == set(WORDS["zh-CN"])
    browser = Browser(hub.origin, language="zh-CN")
    page = await page_of(hub, browser)
    assert 'lang="zh-CN"' in page.text
    assert WORDS["zh-CN"]["password"] in page.text


# ----------------------------------------------------------------------------- a password to change


async def test_the_first_admin_chooses_a_password_before_anything_else(tmp_path: Path) -> None:
    async with hub_at(tmp_path) as hub:
        password = await first_admin(hub.users)
        assert password
        browser = hub.browser()
        verifier, challenge = pkce()
        query = hub.asked(challenge)
        page = await hub.sign_in(browser, "admin", password, query)
        assert page.status == 200
        assert "dth_session" not in browser.cookies
        for new, again, word in (
            (NEW, NEW + "x", "differ"),
            ("short", "short", "short"),
            (password, password, "same"),
            ("", "", "short"),
        ):
            form = {"state": page.state, "new": new, "again": again}
            refused = await browser.post("/oidc/authorize", form)
            assert refused.status == 403
            assert WORDS["en"][word] in refused.text
        form = {"state": page.state, "new": NEW, "again": NEW}
        assert (await hub.browser().post("/oidc/authorize", form)).status == 400  # another browser
        outcomes = await asyncio.gather(*(browser.post("/oidc/authorize", form) for _ in range(3)))
        assert sorted(answer.status for answer in outcomes) in (
            [303, 400, 400],
            [303, 400, 403],
            [303, 403, 403],
        )
        answer = next(answer for answer in outcomes if answer.status == 303)
        tokens = (await hub.exchange(answer.back["code"], verifier, query)).json
        assert (await hub.who(tokens["access_token"])).json["role"] == "admin"
        assert (await hub.sign_in(hub.browser(), "admin", password)).status == 403
        assert (await hub.sign_in(hub.browser(), "admin", NEW)).status == 303
        old = {"state": page.state, "new": "yet another horse", "again": "yet another horse"}
        assert (await browser.post("/oidc/authorize", old)).status == 400


async def test_a_password_that_somebody_else_set_ends_the_session_and_must_be_changed(
    hub: Hub,
) -> None:
    browser = hub.browser()
    await hub.sign_in(browser, "ann")
    await hub.users.set_password("ann", NEW, must_change=True)
    silent = await browser.get("/oidc/authorize", hub.asked(pkce()[1], prompt="none"))
    assert silent.back["error"] == "login_required"
    page = await hub.sign_in(browser, "ann", NEW)
    assert (page.status, page.location) == (200, "")
    assert 'name="new"' in page.text
