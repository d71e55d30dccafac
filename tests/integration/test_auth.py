"""Which tokens are taken, over HTTP: everything that is not exactly right is refused."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from dth.core.errors import Forbidden, HubError, Unauthenticated, UsageError
from dth.hub import auth
from dth.hub.auth import Authenticator, IssuerConfig, KnownKeys, Verifier, identity_of
from dth.hub.model import Identity, Role
from dth.platforms.local import users as users_module
from tests.identity import PASSWORD, Hub, Issuer, encoded, hub_at, issuer_running, new_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = pytest.mark.quick


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_module, "COST", (4, 8, 1))


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuer_running() as issuer:
        yield issuer


@pytest.fixture
async def hub(tmp_path: Path, issuer: Issuer) -> AsyncIterator[Hub]:
    """A hub that trusts the foreign issuer."""
    async with hub_at(
        tmp_path, lambda: Verifier(IssuerConfig(issuer.url, "hub", default_role=Role.VIEWER))
    ) as hub:
        yield hub


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Hub]:
    """A hub with the built-in provider, and a user."""
    async with hub_at(tmp_path) as hub:
        await hub.users.add("ann", PASSWORD, Role.OPERATOR)
        yield hub


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return time.time()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(auth, "time", clock)
    return clock


def hs256(issuer: Issuer, key: bytes) -> str:
    """A token that is signed with what everybody knows."""
    signed = f"{encoded({'alg': 'HS256', 'kid': issuer.key.kid})}.{encoded(issuer.claims())}"
    return f"{signed}.{encoded(hmac.digest(key, signed.encode(), 'sha256'))}"


def tampered(issuer: Issuer) -> str:
    header, _, signature = issuer.token().split(".")
    return f"{header}.{encoded(issuer.claims(dth_role='admin'))}.{signature}"


def foreign(issuer: Issuer, **header: Any) -> str:
    """Signed with another key under the kid of the right one."""
    return issuer.token(new_key(), header={"kid": issuer.key.kid, **header})


def critical(issuer: Issuer) -> str:
    """Signed rightly, with a header parameter that must be understood and is not."""
    header = {
        "alg": "RS256",
        "kid": issuer.key.kid,
        "crit": ["http://example.com/x"],
        "http://example.com/x": 1,
    }
    signed = f"{encoded(header)}.{encoded(issuer.claims())}"
    private: Any = issuer.key.private_key
    return f"{signed}.{encoded(private.sign(signed.encode(), padding.PKCS1v15(), SHA256()))}"


BAD: dict[str, Callable[[Issuer], str]] = {
    "nothing": lambda _: "",
    "no token": lambda _: "abc",
    "empty parts": lambda _: "..",
    "nested without end": lambda _: f"{encoded(b'[' * 9000)}.{encoded(b'[' * 100)}.",
    "too long": lambda _: "a" * 30_000,
    "a list": lambda i: f"{encoded([])}.{encoded(i.claims())}.AA",
    "alg none": lambda i: f"{encoded({'alg': 'none'})}.{encoded(i.claims())}.",
    "alg NONE": lambda i: f"{encoded({'alg': 'NoNe', 'kid': i.key.kid})}.{encoded(i.claims())}.",
    "no signature": lambda i: i.token().rsplit(".", 1)[0] + ".",
    "no alg": lambda i: f"{encoded({'kid': i.key.kid})}.{encoded(i.claims())}.AA",
    "alg is a list": lambda i: (
        f"{encoded({'alg': ['RS256'], 'kid': i.key.kid})}.{encoded(i.claims())}.AA"
    ),
    "HS256 with the public key, PEM": lambda i: hs256(i, i.key.as_pem(private=False)),
    "HS256 with the public key, JSON": lambda i: hs256(i, json.dumps(i.published[0]).encode()),
    "HS256 with nothing": lambda i: hs256(i, b""),
    "an algorithm of another kind": lambda i: i.token(header={"alg": "RS512"}),
    "tampered": tampered,
    "foreign key": foreign,
    "foreign key, unknown kid": lambda i: i.token(new_key()),
    "foreign key, in the header": lambda i: foreign(i, jwk=new_key().as_dict(private=False)),
    "jku": lambda i: foreign(i, jku="http://127.0.0.1:9/jwks"),
    "x5u": lambda i: foreign(i, x5u="http://127.0.0.1:9/certificates"),
    "kid is a path": lambda i: i.token(header={"kid": "../../dev/null"}),
    "kid is a number": lambda i: f"{encoded({'alg': 'RS256', 'kid': 7})}.{encoded(i.claims())}.AA",
    "critical and unknown": critical,
    "expired": lambda i: i.token(exp=int(time.time()) - 60),
    "no end": lambda i: i.token(exp=None),
    "an end that is text": lambda i: i.token(exp="9999999999"),
    "an end that is true": lambda i: i.token(exp=True),
    "an end that is not a number": lambda i: i.token(exp=float("nan")),
    "an end that is infinite": lambda i: i.token(exp=float("inf")),
    "not yet": lambda i: i.token(nbf=int(time.time()) + 600),
    "from the future": lambda i: i.token(iat=int(time.time()) + 600),
    "no issuer": lambda i: i.token(iss=None),
    "another issuer": lambda i: i.token(iss="https://elsewhere.example"),
    "an issuer that begins like ours": lambda i: i.token(iss=i.url + ".example.com"),
    "a list of issuers": lambda i: i.token(iss=[i.url]),
    "no subject": lambda i: i.token(sub=None),
    "an empty subject": lambda i: i.token(sub=""),
    "a subject that is a number": lambda i: i.token(sub=1),
    "another audience": lambda i: i.token(aud="other", azp="other"),
    "no audience": lambda i: i.token(aud=None, azp=None),
    "an audience that is an object": lambda i: i.token(aud={"hub": 1}, azp=None),
    "ID token of Keycloak": lambda i: i.token(aud="hub", typ="ID"),
    "ID token of Cognito": lambda i: i.token(
        aud="hub", typ=None, azp=None, token_use="id", scope=None
    ),
    "ID token with a hash": lambda i: i.token(aud="hub", typ=None, at_hash="x"),
    "ID token with a nonce": lambda i: i.token(aud="hub", typ=None, nonce="x"),
    "ID token without a mark": lambda i: i.token(aud="hub", typ=None, scope=None),
    "ID token without a mark, in a list": lambda i: i.token(
        aud=["hub"], azp=None, typ=None, scope=None
    ),
    "ID token for two": lambda i: i.token(aud=["hub", "other"], azp="hub", typ=None, scope=None),
    "ID token for another, given to us": lambda i: i.token(
        aud="other", azp="hub", typ=None, scope=None
    ),
    "ID token with the hash of a code": lambda i: i.token(aud=["hub", "x"], typ=None, c_hash="x"),
    "a scope that is empty": lambda i: i.token(aud=["hub", "x"], typ=None, scope=""),
    "logout token": lambda i: i.token(header={"typ": "logout+jwt"}),
    "security event": lambda i: i.token(header={"typ": "application/secevent+jwt"}),
    "unknown API token": lambda _: "dth_" + "A" * 43,
}


async def test_everything_that_is_not_right_is_refused(hub: Hub, issuer: Issuer) -> None:
    assert (await hub.who(issuer.token())).status == 200
    for name, make in BAD.items():
        answer = await hub.who(make(issuer))
        assert (answer.status, answer.json["error"]) == (401, "Unauthenticated"), (name, answer)
        assert "\n" not in answer.json["message"]
    assert issuer.fetched <= 2


async def test_tokens_as_issuers_make_them_are_taken(hub: Hub, issuer: Issuer) -> None:
    for claims in (
        {},
        {"aud": ["account", "hub"], "azp": None},
        {
            "aud": None,
            "azp": None,
            "client_id": "hub",
            "typ": None,
            "token_use": "access",
        },  # Cognito
        {
            "aud": "api://default",
            "azp": None,
            "cid": "hub",
            "typ": None,
            "scope": None,
            "scp": ["a"],
        },  # Okta
        {"exp": int(time.time()) - 10},  # clocks differ a little
        {"iss": issuer.url + "/"},
    ):
        answer = await hub.who(issuer.token(**claims))
        assert answer.status == 200, (claims, answer)
    chain = ["A" * 1000] * 3
    assert (await hub.who(issuer.token(header={"x5c": chain, "typ": "at+jwt"}))).status == 200
    for authorization in (
        issuer.token(),
        f"bearer {issuer.token()}",
        f"  Bearer   {issuer.token()} ",
    ):
        assert (await hub.browser().get("/whoami", authorization=authorization)).status == 200
    for authorization in (
        f"Basic {issuer.token()}",
        "Bearer",
        "Bearer  ",
        f"Bearer x {issuer.token()}",
    ):
        assert (await hub.browser().get("/whoami", authorization=authorization)).status == 401


async def test_the_audience_is_what_counts_where_one_is_set(tmp_path: Path, issuer: Issuer) -> None:
    config = IssuerConfig(issuer.url, "hub", audience="https://api", default_role=Role.VIEWER)
    async with hub_at(tmp_path, lambda: Verifier(config)) as hub:
        assert (await hub.who(issuer.token(aud=["x", "https://api"], azp="other"))).status == 200
        assert (await hub.who(issuer.token(aud="hub", azp="hub"))).status == 401
        assert (await hub.who(issuer.token(aud="https://api/", azp="hub"))).status == 401
        bare = {"typ": None, "scope": None}
        assert (
            await hub.who(issuer.token(aud=["x", "https://api"], azp="hub", **bare))
        ).status == 200
        assert (
            await hub.who(issuer.token(aud=["hub", "https://api"], azp="hub", **bare))
        ).status == 401


async def test_all_algorithms_of_ours_work(hub: Hub, issuer: Issuer) -> None:
    ec, ed = ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519")
    KeySet([ec, ed])
    issuer.published += [ec.as_dict(private=False), ed.as_dict(private=False)]
    assert (await hub.who(issuer.token(ec))).status == 200
    assert (await hub.who(issuer.token(header={"alg": "PS256"}))).status == 200
    with pytest.warns(Warning, match="EdDSA"):  # it is deprecated in name only
        token = issuer.token(ed, header={"alg": "EdDSA"})
    assert (await hub.who(token)).status == 200
    mixed = issuer.token(ec, header={"kid": issuer.key.kid})
    assert (await hub.who(mixed)).status == 401


# --------------------------------------------------------------------------------------------- keys


async def test_a_new_key_is_found_and_unknown_ones_do_not_flood_the_issuer(
    hub: Hub, issuer: Issuer, clock: Clock
) -> None:
    assert (await hub.who(issuer.token())).status == 200
    assert issuer.fetched == 1
    later = new_key()
    issuer.published.append(later.as_dict(private=False))
    for _ in range(20):
        assert (await hub.who(issuer.token(later))).status == 401
    assert issuer.fetched == 1
    clock.now += auth.REFETCH_PAUSE + 1
    answers = await asyncio.gather(*(hub.who(issuer.token(later)) for _ in range(10)))
    assert {answer.status for answer in answers} == {200}
    assert issuer.fetched == 2
    for _ in range(3):
        clock.now += auth.REFETCH_PAUSE + 1
        await asyncio.gather(*(hub.who(issuer.token(new_key())) for _ in range(4)))
    assert issuer.fetched == 5


async def test_an_issuer_that_is_down_is_needed_for_the_first_keys_only(
    hub: Hub, issuer: Issuer, clock: Clock
) -> None:
    issuer.down = True
    answer = await hub.who(issuer.token())
    assert answer.status == 401
    assert "try again" in answer.json["message"]
    issuer.down = False
    clock.now += auth.REFETCH_PAUSE + 1
    answers = await asyncio.gather(*(hub.who(issuer.token()) for _ in range(5)))
    assert {answer.status for answer in answers} == {200}
    assert issuer.fetched == 1
    issuer.down = True
    clock.now += auth.KEYS_KEPT + 1
    assert (await hub.who(issuer.token())).status == 200
    issuer.down = False
    issuer.published = [new_key().as_dict(private=False)]
    clock.now += auth.REFETCH_PAUSE + 1
    assert (await hub.who(issuer.token())).status == 401  # what the issuer withdrew no longer holds


async def test_keys_that_are_not_for_us_stand_beside_those_that_are(
    hub: Hub, issuer: Issuer
) -> None:
    secret = {"kty": "oct", "k": encoded(b"x" * 32), "kid": "shared", "alg": "HS256"}
    sealed = {**new_key().as_dict(private=False), "use": "enc"}
    odd: list[Any] = [
        secret,
        sealed,
        {"kty": "AKP"},
        {"kty": "EC", "crv": "P-9"},
        {"kty": "RSA"},
        None,
        7,
    ]
    issuer.published = [*odd, *issuer.published]
    assert (await hub.who(issuer.token())).status == 200
    assert (await hub.who(hs256(issuer, b"x" * 32))).status == 401


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://elsewhere.example"},
        {"issuer": None},
        {"jwks_uri": "http://elsewhere.example/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
    ],
)
async def test_a_discovery_document_that_is_not_right_gives_no_keys(
    hub: Hub, issuer: Issuer, change: dict[str, Any]
) -> None:
    issuer.discovery |= change
    assert (await hub.who(issuer.token())).status == 401
    assert issuer.fetched == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "ftp://127.0.0.1",
        "",
        "x",
        "https://",
        "https://u:p@x",
        "http://[",
        "https://x:y",
    ],
)
def test_an_issuer_that_could_be_listened_to_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        IssuerConfig(url, "hub")


def test_an_issuer_for_anybody_is_refused() -> None:
    with pytest.raises(UsageError, match="audience"):
        IssuerConfig("https://example.com", "")
    with pytest.raises(UsageError, match="boss"):
        IssuerConfig("https://example.com", "hub", default_role="boss")  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------- roles


@pytest.mark.parametrize(
    ("claims", "role_claim", "role"),
    [
        ({}, "", None),
        ({"cognito:groups": ["dth-admin"]}, "", Role.ADMIN),
        ({"groups": ["other", "Operator", "viewer"]}, "", Role.OPERATOR),
        ({"roles": "operator"}, "", Role.OPERATOR),
        ({"roles": "viewer operator"}, "", None),  # one name, which has a space in it
        ({"dth_role": "DTH-ADMIN"}, "", Role.ADMIN),
        ({"groups": ["administrators", "dth-admins", "xadmin"]}, "", None),
        ({"groups": [None, 7, {"admin": 1}]}, "", None),
        ({"groups": {"admin": True}}, "", None),
        ({"groups": ["admin"]}, "realm_access.roles", None),
        ({"realm_access": {"roles": ["admin"]}}, "realm_access.roles", Role.ADMIN),
        ({"realm_access": ["admin"]}, "realm_access.roles", None),
        ({"https://example.com/roles": ["operator"]}, "https://example.com/roles", Role.OPERATOR),
        ({"scope": "openid dth-operator"}, "scope", Role.OPERATOR),
        ({"scope": "openid dth-admin"}, "", None),
    ],
)
def test_roles_of_claims(claims: dict[str, Any], role_claim: str, role: Role | None) -> None:
    config = IssuerConfig("https://example.com", "hub", role_claim=role_claim)
    assert role_of(claims, config) == role


def role_of(claims: dict[str, Any], config: IssuerConfig) -> Role | None:
    try:
        return identity_of({"sub": "u-1", **claims}, config).role
    except Forbidden:
        return None


@pytest.mark.parametrize("role_claim", ["", "groups"])
@pytest.mark.parametrize(
    "separator", [" ", ",", ", ", ";", "\t", "\n", "/", "\\", "=", ":", "|", "\u00a0", "-", "."]
)
@pytest.mark.parametrize(
    "shape", [lambda name: name, lambda name: [name], lambda name: ["x", name]]
)
def test_words_inside_the_name_of_a_group_never_count(
    role_claim: str, separator: str, shape: Callable[[str], Any]
) -> None:
    config = IssuerConfig("https://example.com", "hub", role_claim=role_claim)
    for word in ("admin", "Admin", "dth-admin", "operator", "viewer"):
        for name in (
            f"Building{separator}{word}",
            f"{word}{separator}Building",
            f"a{separator}{word}{separator}b",
        ):
            assert role_of({"groups": shape(name)}, config) is None, name
    assert role_of({"groups": ["CN=Print Operator,OU=Helpdesk"]}, config) is None


def test_a_map_says_which_groups_have_which_roles() -> None:
    roles = {"CN=Hub,OU=IT": "admin", "Building Admin": "viewer", "7": "operator"}
    config = IssuerConfig("https://example.com", "hub", roles=roles)  # type: ignore[arg-type]
    for groups, role in (
        (["CN=Hub,OU=IT"], Role.ADMIN),
        ("Building Admin", Role.VIEWER),
        (["Building Admin", "7"], Role.OPERATOR),
        (["admin", "dth-admin", "viewer"], None),  # with a map, names alone give nothing
        (["cn=hub,ou=it", "Building", "Admin", " 7"], None),
    ):
        assert role_of({"groups": groups}, config) is role, groups
    for wrong in ({"x": "boss"}, {"x": None}, {"x": ["admin"]}, ["admin"], "admin"):
        with pytest.raises(UsageError, match="role"):
            IssuerConfig("https://example.com", "hub", roles=wrong)  # type: ignore[arg-type]


def test_a_default_role_is_said_in_so_many_words() -> None:
    for said in (None, "none"):
        config = IssuerConfig("https://example.com", "hub", default_role=said)  # type: ignore[arg-type]
        with pytest.raises(Forbidden, match="no role"):
            identity_of({"sub": "u-1"}, config)
    config = IssuerConfig("https://example.com", "hub", default_role="operator")  # type: ignore[arg-type]
    assert role_of({}, config) is Role.OPERATOR
    config = IssuerConfig("https://example.com", "hub")
    known = identity_of(
        {"sub": "u-1", "groups": "admin", "username": "ann", "email": ["x"]}, config
    )
    assert known == Identity("u-1", "ann", Role.ADMIN)


# ---------------------------------------------------------------------------------- anything at all

KEY = RSAKey.generate_key(2048, {"kid": "k"})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ["iss", "sub", "exp", "iat", "nbf", "aud", "azp", "scope", "typ", "groups", "email"]
)


class NoTokens:
    async def identify(self, token: str) -> Identity | None:
        return None


def authenticator() -> Authenticator:
    return Authenticator(
        Verifier(IssuerConfig("https://i", "hub"), KnownKeys(KeySet([KEY]))), NoTokens()
    )


@given(st.text(max_size=200))
async def test_any_header_is_refused_and_breaks_nothing(header: str) -> None:
    with pytest.raises(Unauthenticated):
        await authenticator().identify(header)


@given(JSON, st.dictionaries(NAMES, JSON), st.binary(max_size=300))
async def test_any_unsigned_token_is_refused_and_breaks_nothing(
    header: Any, claims: Any, signature: bytes
) -> None:
    if isinstance(header, dict):
        header |= {"alg": "RS256", "kid": "k"}
    claims |= {"iss": "https://i"}
    token = f"{encoded(header)}.{encoded(claims)}.{encoded(signature)}"
    with pytest.raises(Unauthenticated):
        await authenticator().identify(token)


@given(st.dictionaries(NAMES, JSON))
async def test_any_claims_that_the_issuer_signs_break_nothing(claims: dict[str, Any]) -> None:
    good = {
        "iss": "https://i",
        "sub": "u-1",
        "aud": "hub",
        "scope": "x",
        "exp": int(time.time()) + 60,
    }
    token = jwt.encode({"alg": "RS256", "kid": "k"}, good | claims, KEY)
    try:
        identity = await authenticator().identify(token)
    except HubError:
        return
    assert isinstance(identity.name, str)
    assert identity.subject == (good | claims)["sub"]


# -------------------------------------------------------------------------- tokens of the hub's own


async def test_api_tokens_and_access_tokens_of_the_built_in_provider(own: Hub) -> None:
    info, token = await own.tokens.create("nightly", Role.VIEWER, 0, "ann")
    assert (await own.who(token)).json == {"name": "nightly", "role": "viewer", "via": "token"}
    given_out = await own.tokens_of("ann")
    access = given_out["access_token"]
    assert (await own.who(access)).json == {"name": "ann", "role": "operator", "via": "oidc"}
    assert (await own.who(given_out["id_token"])).status == 401
    assert (await own.who(given_out["refresh_token"])).status == 401
    await own.users.add("root", PASSWORD, Role.ADMIN)
    await own.users.set_role("ann", Role.VIEWER)
    assert (await own.who(access)).json["role"] == "viewer"
    await own.users.set_password("ann", PASSWORD)
    assert (await own.who(access)).status == 401
    access = (await own.tokens_of("ann"))["access_token"]
    await own.users.remove("ann")
    assert (await own.who(access)).status == 401
    await own.users.add("ann", PASSWORD, Role.ADMIN)
    assert (await own.who(access)).status == 401
    await own.tokens.revoke(info.id)
    assert (await own.who(token)).status == 401


async def test_a_token_of_another_hub_is_refused(own: Hub, tmp_path: Path) -> None:
    async with hub_at(tmp_path / "other") as other:
        await other.users.add("ann", PASSWORD, Role.ADMIN)
        access = (await other.tokens_of("ann"))["access_token"]
        assert (await other.who(access)).status == 200
        assert (await own.who(access)).status == 401
        _, token = await other.tokens.create("nightly", Role.ADMIN, 0, "ann")
        assert (await own.who(token)).status == 401
        forged = jwt.encode(
            {"alg": "RS256", "kid": own.provider._key.kid, "typ": "at+jwt"},
            {
                "iss": own.issuer,
                "sub": "ann",
                "aud": "dth",
                "client_id": "dth-console",
                "exp": int(time.time()) + 600,
                "dth_epoch": 0,
            },
            other.provider._key,
        )
        assert (await own.who(forged)).status == 401
