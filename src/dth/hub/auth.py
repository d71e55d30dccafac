"""Authentication: from an Authorization header to an Identity.

Two kinds of bearer token are accepted: API tokens of the hub (`API_TOKEN`...), and access tokens
(JWTs) of the OpenID Connect issuers that the hub trusts. No claim of a token is trusted, including
its `iss`, until its signature is verified with a key fetched from the issuer's own address. Headers
that point elsewhere (`jku`, `x5u`, `jwk`) are ignored.
"""

import asyncio
import base64
import contextlib
import json
import logging
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, HTTPSConnection
from typing import IO, Any, Protocol
from urllib.parse import urlencode, urlsplit

from joserfc import jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import JWKRegistry, Key, KeySet
from joserfc.jws import JWSRegistry

from dth.core import clock, no_answer
from dth.core.errors import Forbidden, HubError, Unauthenticated, UsageError, reason_of
from dth.core.network import Network, leads_to, never
from dth.hub.model import ROLES, Identity, Role

log = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
KEY_TYPES = ("RSA", "EC", "OKP")
# The most seconds by which clocks may differ.
LEEWAY = 30
# Seconds after which an issuer's keys are fetched again, needed or not.
KEYS_KEPT = 3600.0
# Seconds between fetches, however many unknown key ids are received.
REFETCH_PAUSE = 10.0
# Seconds for each step of a request to an issuer.
TIMEOUT = 5.0
DOCUMENT_LIMIT = 1024 * 1024  # bytes of a document of an issuer
TOKEN_LIMIT = 16 * 1024  # characters of a bearer token
API_TOKEN = "dth_"  # prefix of an API token
LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Used if the configuration names none.
ROLE_CLAIMS = ("cognito:groups", "groups", "roles", "dth_role")
# In these claims, a text is a list of words, as OAuth specifies; in other claims it is one name.
WORD_CLAIMS = (
    "scope",
    "scp",
)
NO_ROLE = "none"  # the value in settings
# Accepted types in the header of an access token.
TOKEN_KINDS = ("", "jwt", "at+jwt")
NAME_CLAIMS = ("preferred_username", "cognito:username", "username", "email", "name", "sub")

# What a page of the console calls, or shows in a frame, when somebody signs in.
PAGE_ENDPOINTS = (
    "authorization_endpoint",
    "token_endpoint",
    "userinfo_endpoint",
    "revocation_endpoint",
)
ORIGIN = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?")

Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class IssuerConfig:
    """An issuer that the hub trusts. Raises UsageError for an invalid configuration.

    `audience`: the required audience of access tokens. Without it, they must have been issued to
    our `client_id` (`aud`, `client_id`, `azp` or `cid`: some issuers, such as Cognito, have no
    audience). `role_claim`: the claim that holds roles or groups, with dots for nested claims
    (`realm_access.roles`); "" tries ROLE_CLAIMS. `roles`: maps groups to roles; without it, group
    names are roles ("admin", "dth-admin"). `default_role`: the role of users whose claims name
    none; None refuses them. `ca_bundle`: PEM file for a private CA. `scope`: what the console and
    the command line request, together with `audience`; without an audience, some issuers (Auth0)
    issue no token for an API.
    """

    issuer: str
    client_id: str
    audience: str = ""
    role_claim: str = ""
    roles: Mapping[str, Role] = field(default_factory=dict)
    default_role: Role | None = None
    ca_bundle: str = ""
    scope: str = "openid profile email offline_access"

    def __post_init__(self) -> None:
        """Convert the role names of a settings file."""
        require_secure(self.issuer)
        default = (
            None
            if self.default_role in (None, NO_ROLE)
            else _role("default_role", self.default_role)
        )
        object.__setattr__(self, "default_role", default)
        if not isinstance(self.roles, Mapping):
            raise UsageError("roles: each line has a group and its role (hub-admins: admin)")
        roles = {str(group): _role(f"roles: {group}", role) for group, role in self.roles.items()}
        object.__setattr__(self, "roles", roles)
        if not (self.client_id or self.audience):
            raise UsageError(
                f"issuer {self.issuer}: a client id or an audience is needed, or any token would do"
            )


def _role(place: str, name: object) -> Role:
    try:
        return Role(str(name))
    except ValueError:
        raise UsageError(f"{place}: {name!r} is not a role; there are {', '.join(ROLES)}") from None


def require_secure(url: str) -> None:
    """Raise UsageError unless the URL is safe from eavesdropping and changes in transit: https, or
    this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UsageError(f"{url!r} is not a URL") from None
    if not host or parts.username is not None or parts.fragment:
        raise UsageError(f"{url!r} is not an address of a server; it looks like https://host/path")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK):
        raise UsageError(
            f"{url!r} is not safe; https is needed (http only for 127.0.0.1 and localhost)"
        )


# --------------------------------------------------------------------------------------------- keys


class VerificationKeys(Protocol):
    """Where a verifier gets the public keys of an issuer."""

    async def find(self, kid: str | None) -> KeySet:
        """The issuer's public keys, fetched again if `kid` is not among them. Raises
        Unauthenticated if no keys are available."""
        ...


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """A fixed set of keys."""

    keys: KeySet

    async def find(self, kid: str | None) -> KeySet:
        return self.keys


class IssuerKeys:
    """Keys from an issuer's discovery document. Fetched keys stay in use while the issuer is
    unreachable."""

    def __init__(self, config: IssuerConfig, network: Network | None = None) -> None:
        self._config = config
        self._network = network
        self._keys: KeySet | None = None
        self._fetched = float("-inf")  # of time.monotonic()
        self._tried = float("-inf")
        self._lock = asyncio.Lock()

    async def find(self, kid: str | None) -> KeySet:
        # While one caller fetches, callers whose key is known need not wait.
        if self._due(kid) and not (self._lock.locked() and self._knows(kid)):
            async with self._lock:
                if self._due(kid):
                    await self._refresh()
        if self._keys is None:
            raise Unauthenticated(
                f"the keys of {self._config.issuer} are not available; try again in a moment"
            )
        return self._keys

    def _knows(self, kid: str | None) -> bool:
        return self._keys is not None and (kid is None or any(key.kid == kid for key in self._keys))

    def _due(self, kid: str | None) -> bool:
        now = time.monotonic()
        wanted = not self._knows(kid) or now - self._fetched > KEYS_KEPT
        return wanted and now - self._tried > REFETCH_PAUSE

    async def _refresh(self) -> None:
        try:
            self._keys = await asyncio.to_thread(self._fetch)
            self._fetched = time.monotonic()
        except HubError as error:
            log.warning("keys of %s: %s", self._config.issuer, error)
        finally:
            self._tried = time.monotonic()

    def _fetch(self) -> KeySet:
        config = self._config
        document = discover(config.issuer, config.ca_bundle, self._network)
        return fetch_keys(document, config.ca_bundle, self._network)


def fetch_keys(
    document: Mapping[str, Any], ca_bundle: str = "", network: Network | None = None
) -> KeySet:
    """The keys that a discovery document names. Blocks. Raises HubError if there is none that we
    could use."""
    if not (uri := document.get("jwks_uri")):
        raise HubError("the discovery document names no keys (jwks_uri)")
    require_secure(str(uri))
    listed = fetch_json(str(uri), ca_bundle=ca_bundle, network=network).get("keys")
    keys = (
        [key for each in listed if (key := _public_key(each))] if isinstance(listed, list) else []
    )
    if not keys:
        raise HubError(f"{uri} lists no key that we could check a signature with")
    return KeySet(keys)


def _public_key(listed: object) -> Key | None:
    """A key of a key set, or None if it is not for signatures that we accept: sets may contain
    other keys."""
    if (
        not isinstance(listed, dict)
        or listed.get("kty") not in KEY_TYPES
        or listed.get("use", "sig") != "sig"
    ):
        return None
    try:
        return JWKRegistry.import_key(listed)
    except (JoseError, ValueError, TypeError):
        return None


def discover(issuer: str, ca_bundle: str = "", network: Network | None = None) -> dict[str, Any]:
    """The discovery document of an issuer. Blocks. Raises HubError if there is none, or if it
    belongs to another issuer. `network`: where these requests may go, if there are rules."""
    document = fetch_discovery(issuer, ca_bundle, network)
    if not same_issuer(document.get("issuer"), issuer):
        raise HubError(
            f"what answers at {issuer} calls itself {document.get('issuer')!r}; name it so"
        )
    return document


def fetch_discovery(
    issuer: str, ca_bundle: str = "", network: Network | None = None
) -> dict[str, Any]:
    """The same document, whatever issuer it names."""
    require_secure(issuer)
    address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    return fetch_json(address, ca_bundle=ca_bundle, network=network)


def origin_of(url: str) -> str:
    """The origin of a URL, as browsers name it. Raises UsageError for an address that is not safe,
    or that a browser would read in another way."""
    require_secure(url)
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    if not ORIGIN.fullmatch(origin):
        raise UsageError(f"{url!r} has no name of a host that a browser can use")
    return origin


def page_origins(document: Mapping[str, Any], network: Network | None = None) -> list[str]:
    """Where pages of the console send requests when somebody signs in, by a discovery document.
    The endpoints may be on other hosts than the issuer, as those of Google are. Leaves out what is
    not safe, or where the rules allow nothing."""
    found: dict[str, None] = {}
    for name in PAGE_ENDPOINTS:
        if isinstance(url := document.get(name), str):
            with contextlib.suppress(UsageError):
                origin = origin_of(url)
                host = urlsplit(origin).hostname or ""
                if not (network and network.refusal_of_host(host)):
                    found[origin] = None
    return list(found)


class IssuerOrigins:
    """The issuer's own origin and those of its endpoints. While the issuer is unreachable, those
    known before."""

    def __init__(self, config: IssuerConfig, network: Network | None = None) -> None:
        self._config = config
        self._network = network
        self._found: list[str] = []
        self._due = 0.0  # of time.monotonic()
        self._lock = asyncio.Lock()

    async def find(self) -> list[str]:
        """All origins, the issuer's first."""
        async with self._lock:
            if time.monotonic() >= self._due:
                await self._refresh()
        return list(dict.fromkeys([origin_of(self._config.issuer), *self._found]))

    async def _refresh(self) -> None:
        config = self._config
        pause = KEYS_KEPT
        try:
            document = await asyncio.to_thread(
                discover, config.issuer, config.ca_bundle, self._network
            )
            self._found = page_origins(document, self._network)
        except HubError as error:
            log.warning("endpoints of %s: %s", config.issuer, error)
            pause = REFETCH_PAUSE
        self._due = time.monotonic() + pause


def same_issuer(said: object, expected: str) -> bool:
    """Whether a document or a token names this issuer."""
    # Issuers, and the people who write settings, differ in whether the URL ends with a slash.
    return isinstance(said, str) and said.rstrip("/") == expected.rstrip("/")


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: only the address of a document is trusted, not where it redirects to."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        """Follow no redirect."""


def _connected(
    network: Network | None, address: tuple[str, int], *more: Any, **options: Any
) -> socket.socket:
    """Connect to an issuer. The administrator names the issuer, and the issuer names the address of
    its keys: neither may lead to a metadata service, or to where the rules allow nothing."""
    host, port = address
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure = OSError(f"{host} has no address")
    # Each address is checked before anything is sent to it, and is not resolved again.
    for reached in dict.fromkeys(str(info[4][0]) for info in infos):
        why = network.refusal(reached) if network else ""
        if any(map(never, leads_to(reached))):
            raise OSError(f"{host} is at {reached}, where nothing may connect")
        if why:
            raise OSError(f"{host} is at {reached}, which {why}")
        try:
            return socket.create_connection((reached, port), *more, **options)
        except OSError as error:
            failure = error
    raise failure


class _Http(HTTPConnection):
    def __init__(self, *more: Any, network: Network | None = None, **options: Any) -> None:
        super().__init__(*more, **options)
        self._create_connection = partial(_connected, network)


class _Https(HTTPSConnection):
    """The same, with TLS."""

    def __init__(self, *more: Any, network: Network | None = None, **options: Any) -> None:
        super().__init__(*more, **options)
        self._create_connection = partial(_connected, network)


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, network: Network | None) -> None:
        super().__init__()
        self._network = network

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_Http, req, network=self._network)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, ca_bundle: str, network: Network | None) -> None:
        self._trusted = ssl.create_default_context(cafile=ca_bundle or None)
        self._network = network
        super().__init__(context=self._trusted)

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_Https, req, context=self._trusted, network=self._network)


def fetch_json(
    url: str,
    form: Mapping[str, str] | None = None,
    *,
    ca_bundle: str = "",
    network: Network | None = None,
) -> dict[str, Any]:
    """The JSON object at a URL, or the answer to a form posted to it, including OAuth errors (JSON
    with `error`). Blocks. `network`: where the request may go; None: anywhere but to metadata
    services. Raises HubError for anything else."""
    # A proxy would connect in our name, so the address in the URL is checked in any case.
    if network and (why := network.refusal_of_host(urlsplit(url).hostname or "")):
        raise HubError(f"{url} cannot be read: its host {why}")
    try:
        handlers: list[Any] = [
            NoRedirects(),
            _HttpHandler(network),
            _HttpsHandler(ca_bundle, network),
        ]
        if urlsplit(url).hostname in LOOPBACK:
            # A proxy from the environment must not be used for this machine.
            handlers.append(urllib.request.ProxyHandler({}))
        data = None if form is None else urlencode(form).encode()
        request = urllib.request.Request(
            url, data, {"accept": "application/json", "user-agent": "dth"}
        )
        with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT) as answer:
            body = answer.read(DOCUMENT_LIMIT)
    except urllib.error.HTTPError as error:
        with error:
            if form is None or error.code != 400:
                raise HubError(f"{url} answered {error.code}") from None
            body = error.read(DOCUMENT_LIMIT)
    except (OSError, HTTPException, ValueError) as error:
        said = reason_of(error)
        why = no_answer.meaning(said, urlsplit(url).netloc) or said
        raise HubError(f"{url} cannot be read: {why}") from None
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise HubError(f"{url} answered something that is not a JSON object")
    return found


# ------------------------------------------------------------------------------------- verification


class _Registry(JWSRegistry):
    """Only the algorithms that we accept. Unknown header parameters are ignored, unless they are
    critical."""

    # Some issuers put a certificate chain into it.
    max_header_length = 8 * 1024

    def __init__(self) -> None:
        super().__init__(algorithms=ALGORITHMS, strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        if name not in ALGORITHMS:
            raise UnsupportedAlgorithmError(f"algorithm {name!r} is not accepted")
        return self.algorithms[name]


_REGISTRY = _Registry()


class Verifier:
    """Verifies the access tokens of one issuer.

    `resolve` makes the identity from valid claims, and may refuse them; by default the
    configuration maps them. `keys`: by default those of the issuer's discovery document.
    """

    def __init__(
        self,
        config: IssuerConfig,
        keys: VerificationKeys | None = None,
        resolve: Callable[[Claims], Awaitable[Identity]] | None = None,
    ) -> None:
        self.config = config
        self._keys = keys or IssuerKeys(config)
        self._resolve = resolve

    async def verify(self, token: str) -> Identity:
        """Raises Unauthenticated for an invalid token, Forbidden for a user without a role on this
        hub."""
        claims = await self.claims(token)
        return await self._resolve(claims) if self._resolve else identity_of(claims, self.config)

    async def claims(self, token: str) -> Claims:
        """The claims of a token, fully checked. Raises Unauthenticated."""
        header, said = _peek(token)
        if header.get("alg") not in ALGORITHMS:
            raise Unauthenticated("the token is signed in a way that is not accepted")
        if not same_issuer(said.get("iss"), self.config.issuer):
            raise Unauthenticated("the token is of an issuer that is not trusted here")
        kid = header.get("kid")
        keys = await self._keys.find(kid if isinstance(kid, str) else None)
        try:
            decoded = jwt.decode(token, keys, registry=_REGISTRY)
            claims = decoded.claims
            registry = jwt.JWTClaimsRegistry(
                now=lambda: int(clock.now()),
                leeway=LEEWAY,
                iss={"essential": True},
                exp={"essential": True},
                sub={"essential": True},
            )
            registry.validate(claims)
        except (JoseError, ValueError, TypeError) as error:
            raise Unauthenticated(
                f"the token does not hold: {getattr(error, 'error', '') or error}"
            ) from None
        if not self._for_us(claims):
            raise Unauthenticated("the token is for somebody else (audience)")
        if not is_access_token(claims, self.config, decoded.header):
            raise Unauthenticated(
                "this is not an access token (perhaps an ID token); send the access token"
            )
        return claims

    def _for_us(self, claims: Claims) -> bool:
        if self.config.audience:
            return self.config.audience in _texts(claims.get("aud"))
        given_to = [
            text for name in ("aud", "client_id", "azp", "cid") for text in _texts(claims.get(name))
        ]
        return self.config.client_id in given_to


def _peek(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, unverified: used only to choose the keys to verify with."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > TOKEN_LIMIT:
        raise Unauthenticated("the token is not valid: revoked, expired or mistyped")
    try:
        header, claims = (json.loads(base64.urlsafe_b64decode(part + "===")) for part in parts[:2])
    except (ValueError, RecursionError):
        raise Unauthenticated("the token is not valid: revoked, expired or mistyped") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise Unauthenticated("the token is not valid: revoked, expired or mistyped")
    return header, claims


def is_access_token(claims: Claims, config: IssuerConfig, header: Claims | None = None) -> bool:
    """Whether the token authorizes calls. An ID token does not: it only tells a client who signed
    in.

    An access token is recognized by its type (RFC 9068), or by claims that only access tokens have.
    A token with neither is accepted only if it is for an audience of its own. An ID token never is:
    its audience is the client.
    """
    kind = str((header or {}).get("typ", "")).lower().removeprefix("application/")
    if (
        kind not in TOKEN_KINDS
        or claims.get("token_use") == "id"
        or claims.get("typ") == "ID"
        or any(name in claims for name in ("at_hash", "c_hash", "nonce"))
    ):
        return False
    if (
        kind == "at+jwt"
        or claims.get("token_use") == "access"
        or claims.get("typ") == "Bearer"
        or any(claims.get(name) for name in WORD_CLAIMS)
    ):
        return True
    return bool(config.audience) and config.client_id not in _texts(claims.get("aud"))


def _texts(value: object) -> list[str]:
    """A claim that may be a text or a list of texts."""
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def identity_of(claims: Claims, config: IssuerConfig) -> Identity:
    """The user of the claims. Raises Forbidden if they name no role and there is no default."""
    role = _highest(groups_of(claims, config), config.roles) or config.default_role
    subject = str(claims["sub"])
    if role is None:
        wanted = (
            "one of the groups that the hub's settings name"
            if config.roles
            else f"one of {', '.join(ROLES)}"
        )
        raise Forbidden(
            f"{subject} has no role on this hub; let the issuer put {wanted} into its tokens"
        )
    name = next(
        value for each in NAME_CLAIMS if (value := claims.get(each)) and isinstance(value, str)
    )
    return Identity(subject, name, role)


def groups_of(claims: Claims, config: IssuerConfig) -> list[str]:
    """The groups and roles that the claims name, where the configuration looks for them."""
    places = (config.role_claim,) if config.role_claim else ROLE_CLAIMS
    return [group for place in places for group in _groups(claims, place)]


def _groups(claims: Claims, place: str) -> list[str]:
    """The names in a claim. A text is one name, even with spaces: groups have names like "Building
    Admin"."""
    found = _claim(claims, place)
    if isinstance(found, str) and place in WORD_CLAIMS:
        return found.split(" ")
    return _texts(found)


def _claim(claims: Claims, path: str) -> object:
    """A claim by its name, which may contain dots (a URL), or by a path of names."""
    if path in claims:
        return claims[path]
    found: object = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _highest(groups: Collection[str], roles: Mapping[str, Role]) -> Role | None:
    """The highest role of these groups. Group names must match as a whole."""
    if roles:
        named = {roles[group] for group in groups if group in roles}
    else:
        bare = {group.lower().removeprefix("dth-") for group in groups}
        named = {role for role in ROLES if role.value in bare}
    return max(named, key=ROLES.index, default=None)


# --------------------------------------------------------------------------------------- the header


class ApiTokens(Protocol):
    """Looks up API tokens of the hub."""

    async def identify(self, token: str) -> Identity | None:
        """The owner of an API token, if the token is valid."""
        ...


class Authenticator:
    """Identifies callers by their Authorization header."""

    def __init__(self, verifier: Verifier, tokens: ApiTokens) -> None:
        self._verifier = verifier
        self._tokens = tokens

    async def identify(self, authorization: str) -> Identity:
        """The caller. Raises Unauthenticated, or Forbidden for a user without a role on this hub.

        A header without `Bearer` is accepted, too: existing clients of AppSync send only the token.
        """
        scheme, _, token = authorization.strip().rpartition(" ")
        if scheme.strip().lower() not in ("", "bearer") or not token:
            raise Unauthenticated("sign in first: the request has no bearer token")
        if not token.startswith(API_TOKEN):
            return await self._verifier.verify(token)
        identity = await self._tokens.identify(token)
        if identity is None:
            raise Unauthenticated("the API token is unknown, revoked or expired")
        return identity
