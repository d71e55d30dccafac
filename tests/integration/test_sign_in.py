"""Where the users of a hub sign in, as an administrator sets it, and that nobody is locked out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.checks import CheckState
from dth.core.errors import HubError
from dth.core.network import Network
from dth.hub.auth import IssuerConfig, page_origins
from dth.hub.issuer_check import check_issuer
from dth.hub.model import Role
from tests.hub import Hub
from tests.identity import PASSWORD
from tests.servers.issuer import CLIENT, IssuerServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OPEN = Network(loopback=True)
STATE = "id source overridden issuer { issuer } waiting { issuer roles { group role } }"
SAVE = f"mutation ($i: IssuerInput!) {{ saveIssuer(input: $i) {{ {STATE} }} }}"
CONFIRM = f"mutation ($t: String!) {{ confirmIssuer(token: $t) {{ {STATE} }} }}"


@pytest.fixture
def issuer() -> Iterator[IssuerServer]:
    with IssuerServer("Transfer Admins") as issuer:
        yield issuer


def checked(issuer: IssuerServer, network: Network = OPEN) -> dict[str, tuple[CheckState, str]]:
    found = check_issuer(IssuerConfig(issuer.url, CLIENT), network)
    return {check.name.value: (check.state, check.found) for check in found}


def test_a_good_issuer_has_nothing_wrong(issuer: IssuerServer) -> None:
    found = checked(issuer)
    assert list(found) == ["REACHABLE", "ISSUER", "ENDPOINTS", "PKCE", "KEYS"]
    assert {state for state, _ in found.values()} == {CheckState.OK}


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "another issuer": ("ISSUER", {"issuer": "https://other.example"}, "'https://other.example'"),
    "no issuer": ("ISSUER", {"issuer": None}, "does not name its issuer"),
    "no PKCE": ("PKCE", {"code_challenge_methods_supported": []}, "does not offer PKCE"),
    "plain PKCE": ("PKCE", {"code_challenge_methods_supported": ["plain"]}, "['plain']"),
    "no JWKS": ("KEYS", {"jwks_uri": None}, "names no keys (jwks_uri)"),
    "a JWKS elsewhere": ("KEYS", {"jwks_uri": "http://other.example/keys"}, "is not safe"),
    "no token endpoint": ("ENDPOINTS", {"token_endpoint": None}, "no safe address as token_"),
    "tokens in the clear": (
        "ENDPOINTS",
        {"token_endpoint": "http://other.example/token"},
        "no safe address as token_",
    ),
    "a host that is none": (
        "ENDPOINTS",
        {"token_endpoint": "https://a;script-src *.example/token"},
        "no safe address as token_",
    ),
    "tokens where nothing may connect": (
        "ENDPOINTS",
        {"token_endpoint": "https://169.254.169.254/token"},
        "token_endpoint is at https://169.254.169.254: its host is a link-local address",
    ),
}


def test_endpoints_may_be_on_other_hosts(issuer: IssuerServer) -> None:
    """As those of Google: the issuer is accounts.google.com, its tokens come from elsewhere."""
    issuer.discovery["token_endpoint"] = "https://oauth2.example/token"
    state, found = checked(issuer)["ENDPOINTS"]
    assert state is CheckState.OK
    assert found.endswith(", https://oauth2.example")


def test_pages_may_call_only_safe_endpoints_in_reach() -> None:
    document = {
        "authorization_endpoint": "https://accounts.example/auth?x=1",
        "token_endpoint": "https://oauth2.example:8443/token",
        "userinfo_endpoint": "http://plain.example/me",
        "revocation_endpoint": "https://169.254.169.254/revoke",
        "end_session_endpoint": "https://left.example/",
    }
    assert page_origins(document, OPEN) == [
        "https://accounts.example",
        "https://oauth2.example:8443",
    ]
    for odd in ("https://a;b/", "https://a b/", "https://a'/", "https://*/", 7, None):
        assert page_origins({"token_endpoint": odd}) == []


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(issuer: IssuerServer, case: str) -> None:
    name, published, words = WRONG[case]
    issuer.discovery |= published
    found = checked(issuer)
    assert [each for each, (state, _) in found.items() if state is CheckState.FAILED] == [name]
    assert words in found[name][1]


def test_a_document_that_is_silent_about_pkce_is_a_warning(issuer: IssuerServer) -> None:
    del issuer.discovery["code_challenge_methods_supported"]
    assert checked(issuer)["PKCE"][0] is CheckState.WARNING


def test_keys_that_nothing_can_be_checked_with(issuer: IssuerServer) -> None:
    issuer.published = [{"kty": "oct", "k": "c2VjcmV0"}]
    assert "lists no key" in checked(issuer)["KEYS"][1]


def test_an_issuer_that_does_not_answer(issuer: IssuerServer) -> None:
    issuer.down = True
    assert checked(issuer) == {
        "REACHABLE": (
            CheckState.FAILED,
            f"{issuer.url}/.well-known/openid-configuration answered 503",
        )
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_requests_go_only_where_the_hub_may_connect(issuer: IssuerServer, host: str) -> None:
    """Whether something listens there is not told."""
    for port in (issuer.listening.getsockname()[1], 1):
        config = IssuerConfig(f"http://{host}:{port}/realm", CLIENT)
        (check,) = check_issuer(config, Network())
        assert check.state is CheckState.FAILED
        assert "which its settings do not allow" in check.found


# ------------------------------------------------------------------------------------------ one hub


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path) as hub:
        yield hub


def authority(hub: Hub) -> str:
    return str(json.loads(hub.request("/config.json")[1])["oidc"]["authority"])


def who(hub: Hub, token: str) -> tuple[int, str]:
    """The answer to a token: status, and the role or the error."""
    headers = {"authorization": f"Bearer {token}"}
    status, body = hub.request("/graphql", {"query": "{ whoAmI { role } }"}, headers)
    answer = json.loads(body)
    return status, answer["errors"][0]["message"] if status != 200 else answer["data"]["whoAmI"][
        "role"
    ]


def said(work: Callable[[], Any]) -> str:
    with pytest.raises(HubError) as refused:
        work()
    return str(refused.value)


def test_an_issuer_is_in_force_when_an_administrator_has_signed_in(
    hub: Hub, issuer: IssuerServer
) -> None:
    built_in = f"{hub.url}/oidc"
    state = hub.call(SAVE, i=issuer.given())
    assert (state["source"], state["issuer"]) == ("BUILT_IN", None)
    assert state["waiting"]["roles"] == [{"group": "Transfer Admins", "role": "admin"}]
    assert authority(hub) == built_in
    assert who(hub, issuer.access_token())[0] == 401
    issuer.groups = ["Others"]
    assert "groups: Others" in said(lambda: hub.call(CONFIRM, t=issuer.access_token()))
    assert authority(hub) == built_in

    issuer.groups = ["Transfer Admins"]
    state = hub.call(CONFIRM, t=issuer.access_token())
    assert (state["source"], state["issuer"]["issuer"]) == ("SET_HERE", issuer.url)
    assert state["waiting"] is None
    assert authority(hub) == issuer.url
    assert who(hub, issuer.access_token()) == (200, "admin")
    # API tokens go on to work, and pages from before are led to the sign-in of today.
    assert who(hub, hub.token) == (200, "admin")
    assert hub.request("/oidc/token", b"grant_type=refresh_token")[0] == 404
    assert hub.call("{ hubInfo { users issuer } }") == {"users": None, "issuer": issuer.url}
    entries = hub.call("{ listAudit { items { what outcome detail target } } }")["items"]
    told = [(e["what"], e["outcome"].split()[0], e["target"]) for e in reversed(entries)]
    assert [each for each in told if each[0] in ("saveIssuer", "confirmIssuer")] == [
        ("saveIssuer", "ok", issuer.url),
        ("confirmIssuer", "FORBIDDEN", ""),
        ("confirmIssuer", "ok", issuer.url),
    ]
    assert issuer.access_token()[:40] not in json.dumps(entries)

    hub.stop()
    hub.start()
    assert authority(hub) == issuer.url
    state = hub.call(f"mutation {{ useBuiltInSignIn {{ {STATE} }} }}")
    assert state["source"] == "BUILT_IN"
    assert authority(hub) == f"{hub.url}/oidc"


def test_the_command_line_leads_back_to_the_built_in_sign_in(
    hub: Hub, issuer: IssuerServer
) -> None:
    hub.user("boss", PASSWORD, Role.ADMIN)
    hub.call(SAVE, i=issuer.given())
    hub.call(CONFIRM, t=issuer.access_token())
    hub.stop()
    hub.options = ("--built-in-sign-in",)
    hub.start()
    assert authority(hub) == f"{hub.url}/oidc"
    state = hub.call(f"{{ getSignIn {{ {STATE} }} }}")
    assert (state["source"], state["overridden"]) == ("SET_HERE", True)
    assert state["issuer"]["issuer"] == issuer.url
    found = hub.call('{ listAudit(what: ["startBuiltInSignIn"]) { items { via } } }')
    assert found == {"items": [{"via": "local"}]}
    # What is confirmed now waits for a start without the option.
    hub.call(SAVE, i=issuer.given(roles=[]) | {"defaultRole": "admin"})
    hub.call(CONFIRM, t=issuer.access_token())
    assert authority(hub) == f"{hub.url}/oidc"
    hub.stop()
    hub.options = ()
    hub.start()
    assert authority(hub) == issuer.url


def test_a_bad_issuer_is_not_saved(hub: Hub, issuer: IssuerServer) -> None:
    issuer.discovery["code_challenge_methods_supported"] = ["plain"]
    assert "does not offer PKCE" in said(lambda: hub.call(SAVE, i=issuer.given()))
    assert "not an address of a server" in said(
        lambda: hub.call(SAVE, i=issuer.given(issuer="Nobody"))
    )
    twice = [{"group": "a", "role": "admin"}] * 2
    assert "stands there twice" in said(lambda: hub.call(SAVE, i=issuer.given(roles=twice)))
    assert "is not a CA bundle" in said(lambda: hub.call(SAVE, i=issuer.given(caBundle="/x")))
    assert hub.call("{ getSignIn { waiting { issuer } } }") == {"waiting": None}


def test_pages_may_send_requests_to_an_issuer_that_waits(hub: Hub, issuer: IssuerServer) -> None:
    """The browser that has a page asks for it again, and gets the new policy with it."""
    import urllib.request

    def page(**headers: str) -> Any:
        asked = urllib.request.Request(f"{hub.url}/sign-in", headers=headers)
        return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=30)

    before = page().headers["etag"]
    hub.call(SAVE, i=issuer.given())
    answer = page(**{"if-none-match": before})
    assert answer.status == 200
    origin = issuer.url.removesuffix("/realm")
    assert f"connect-src 'self' {hub.url} {origin};" in answer.headers["content-security-policy"]
    hub.call("mutation { discardIssuer { id } }")
    assert origin not in page().headers["content-security-policy"]


def test_what_the_settings_file_sets_is_changed_only_there(
    tmp_path: Path, issuer: IssuerServer
) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    text = json.dumps({"issuer": {"issuer": issuer.url, "client_id": CLIENT}})
    (tmp_path / "data/hub.yaml").write_text(text)
    with Hub(tmp_path) as hub:
        state = hub.call(f"{{ getSignIn {{ {STATE} }} }}")
        assert (state["source"], state["issuer"]["issuer"]) == ("FILE", issuer.url)
        assert "hub.yaml" in said(lambda: hub.call(SAVE, i=issuer.given()))
        assert "hub.yaml" in said(lambda: hub.call("mutation { useBuiltInSignIn { id } }"))
