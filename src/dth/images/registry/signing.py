"""Signing in to a registry as it requires: as nobody, with user and password, or with a token per
repository.

If there are credentials, the client first asks `/v2/` how to sign in, because some registries hide
private content from anonymous clients. Credentials go to the registry and to the one host it names
for tokens. Tokens go to the registry only.
"""

import asyncio
import base64
import math
import re
import time
from dataclasses import dataclass, replace
from urllib.parse import urlencode, urljoin, urlsplit

from dth.core.errors import EndpointRefused, ObjectRefused, TransferError, Transient
from dth.core.transport import Response
from dth.images.registry.address import RegistryAddress
from dth.images.registry.answers import colon, json_in, other_host, refusal, said_in
from dth.images.registry.headers import Challenge, read_challenge
from dth.images.registry.http import Http
from dth.images.registry.login import Login, UserPassword

CLIENT = "data-transfer-hub"
# Lifetime of a token whose service does not state one.
TOKEN_SECONDS = 60.0
# Seconds to keep a token, whatever its lifetime.
LONGEST_TOKEN = 86400.0
# Seconds before expiry at which a token is renewed.
TOKEN_MARGIN = 10.0
MAX_REDIRECTS = 5
# Seconds during which refused credentials are not sent again, because registries lock accounts.
REFUSED_SECONDS = 60.0


class CredentialsWanted(EndpointRefused):
    """The registry admits nobody without credentials, and there are none."""


@dataclass(frozen=True, slots=True)
class Signed:
    """An Authorization header, "" for none, and its owner."""

    header: str = ""
    who: UserPassword | None = None


@dataclass(frozen=True, slots=True)
class _Token:
    signed: Signed
    until: float  # when to renew it


class SigningIn:
    """Signs in to one registry. Keeps tokens until shortly before they expire."""

    def __init__(self, address: RegistryAddress, login: Login, http: Http) -> None:
        self._address = address
        self._login = login
        self._http = http
        self._challenge: Challenge | None = None
        self._asked = False  # whether `/v2/` was asked how to sign in
        self._tokens: dict[str, _Token] = {}  # by scope
        self._realm = ""  # host that receives the credentials
        # Until when, and the registry's message.
        self._refused: dict[UserPassword, tuple[float, str]] = {}
        self._lock = asyncio.Lock()
        self._nobody_passed = False

    async def sign(self, scope: str) -> Signed:
        """Return what to send: nothing if the registry requires nothing, or there are no
        credentials.
        """
        if self._challenge is None and not await self._ask_how(scope):
            return Signed()
        assert self._challenge is not None
        if self._challenge.scheme == "basic":
            return self._basic(await self._who(repository_of(scope)))
        kept = self._tokens.get(scope)
        return (
            kept.signed
            if kept and kept.until > time.monotonic()
            else await self._renew(scope, kept)
        )

    async def again(self, scope: str, sent: Signed, answer: Response) -> Signed:
        """Return something other than the header just refused by the registry itself.

        The same if there is nothing else.
        """
        challenge = (
            read_challenge(answer.headers.get("www-authenticate", ""))
            if answer.status == 401
            else None
        )
        if challenge:
            self._challenge = replace(self._placed(challenge), scope="", error="")
        if self._challenge is None or (answer.status == 403 and self._challenge.scheme == "bearer"):
            return sent
        if self._challenge.scheme == "basic":
            refused = sent.who if sent.header else None
            return self._basic(await self._login.get(refused, repository_of(scope)))
        wanted = challenge.scope if challenge and not _covers(scope, challenge.scope) else scope
        kept = self._tokens.get(scope)
        stale = kept if kept and kept.signed == sent else None
        return await self._renew(scope, stale, wanted)

    def passed(self, signed: Signed) -> None:
        """Record that the registry accepted this."""
        if not signed.header:
            self._nobody_passed = True

    async def refusal(self, answer: Response, signed: Signed, what: str) -> TransferError:
        """Return the error for a 401 after everything available was sent."""
        said = said_in(answer)[1]
        own = signed.who is not None and signed.who.registry_token
        if (signed.header.startswith("Bearer") and not own) or (
            not signed.header and self._nobody_passed
        ):
            return _denied(f"{what}: {_name(signed.who)} has no right to it", said)
        if signed.who is None:
            return CredentialsWanted(
                f"{self._address.host} wants credentials{f' ({said})' if said else ''}",
                code="UNAUTHORIZED",
                status=401,
                said=said,
            )
        # Some registries return 401 for a single repository: `/v2/` shows whether the credentials
        # are valid.
        if (await self._ping({"authorization": signed.header})).status == 200:
            return _denied(f"{what}: {_name(signed.who)} has no right to it", said)
        return self._remember(signed.who, said)

    # ----------------------------------------------------------------------------------- challenges

    async def _ask_how(self, scope: str) -> bool:
        """Ask `/v2/` once how to sign in, if there are credentials. Return whether it requires a
        sign-in.
        """
        if not self._asked and await self._login.get(repository=repository_of(scope)):
            async with self._lock:
                if not self._asked:
                    answer = await self._ping({})
                    if answer.status in (429, 503):
                        raise refusal(answer, f"GET {self._address.host}/v2/")
                    if answer.status == 401:
                        challenge = read_challenge(answer.headers.get("www-authenticate", ""))
                        self._challenge = self._placed(challenge) if challenge else None
                    self._asked = True
        return self._challenge is not None

    def _placed(self, challenge: Challenge) -> Challenge:
        """Return the challenge with the full URL of its realm; some registries send only a path."""
        if challenge.scheme != "bearer":
            return challenge
        try:
            realm = urljoin(f"{self._address.url}/v2/", challenge.realm)
            if not urlsplit(realm).hostname:
                raise ValueError
        except ValueError:
            raise EndpointRefused(
                f"{self._address.host} says in no way where to sign in", code="BadRealm"
            ) from None
        return replace(challenge, realm=realm)

    async def _ping(self, headers: dict[str, str]) -> Response:
        return await self._http.request(
            "GET", f"{self._address.url}/v2/", {"user-agent": CLIENT, **headers}
        )

    def _basic(self, who: UserPassword | None) -> Signed:
        if who is None:
            return Signed()
        if not who.password:
            raise EndpointRefused(
                f"{self._address.host} wants a password, and what is kept for it is "
                f"{'an identity' if who.identity_token else 'a'} token",
                code="UNAUTHORIZED",
                status=401,
            )
        return Signed(basic(who), who)

    # --------------------------------------------------------------------------------------- tokens

    async def _renew(self, scope: str, stale: _Token | None, wanted: str = "") -> Signed:
        async with self._lock:
            kept = self._tokens.get(scope)
            if kept and kept != stale and kept.until > time.monotonic():
                return kept.signed  # another task has just renewed it
            kept = await self._token(wanted or scope, repository_of(scope))
            self._tokens[scope] = kept
            return kept.signed

    async def _token(self, scope: str, repository: str) -> _Token:
        """Request a new token from the registry's service."""
        challenge = self._challenge
        assert challenge is not None
        realm = urlsplit(challenge.realm)
        if realm.scheme != "https" and not (realm.scheme == "http" and self._address.insecure):
            raise EndpointRefused(
                (
                    f"{self._address.host} wants us to sign in without TLS, at "
                    f"{other_host(realm.netloc)}"
                ),
                code="InsecureRealm",
            )
        who = await self._who(repository)
        if who and who.registry_token:
            return _Token(Signed(f"Bearer {who.registry_token}", who), math.inf)
        if who and self._realm not in ("", realm.netloc):
            raise EndpointRefused(
                (
                    f"{self._address.host} wants our credentials at {other_host(realm.netloc)} "
                    "now, and had them elsewhere"
                ),
                code="OtherRealm",
            )
        if who:
            self._realm = realm.netloc
        answer = await self._exchange(challenge, scope, who)
        if answer.status in (401, 403) and who:
            newer = await self._login.get(who, repository)
            if newer and newer != who:
                who = newer
                answer = await self._exchange(challenge, scope, who)
        if (
            answer.status == 401
            and who
            and (await self._exchange(challenge, "", who)).status == 401
        ):
            raise self._remember(who, said_in(answer)[1])
        if answer.status in (401, 403) and scope.endswith(":pull,push"):
            # Reading needs fewer rights.
            answer = await self._exchange(challenge, scope.removesuffix(",push"), who)
        if answer.status in (401, 403):
            line = f"{self._address.host} gives {_name(who)} no right to {scope}"
            raise _denied(line, said_in(answer)[1], answer.status)
        if answer.status != 200:
            raise refusal(answer, f"GET {other_host(realm.netloc)} for a token")
        return _read_token(answer, who, realm.netloc)

    async def _exchange(
        self, challenge: Challenge, scope: str, who: UserPassword | None
    ) -> Response:
        """Request a token with a password, with an identity token, or anonymously."""
        query = [("service", challenge.service)] if challenge.service else []
        headers = {"user-agent": CLIENT}
        if who and who.identity_token:
            query += [("grant_type", "refresh_token"), ("refresh_token", who.identity_token)]
            query += [("client_id", CLIENT), ("scope", scope)]
            headers["content-type"] = "application/x-www-form-urlencoded"
            return await self._http.request(
                "POST", challenge.realm, headers, urlencode(query).encode()
            )
        query += [("scope", each) for each in scope.split()]
        if who:
            query.insert(0, ("account", who.user))
            headers["authorization"] = basic(who)
        joint = "&" if "?" in challenge.realm else "?"
        return await self._get(f"{challenge.realm}{joint}{urlencode(query)}", headers)

    async def _get(self, url: str, headers: dict[str, str]) -> Response:
        """Return the answer after all redirects. Only the host named for tokens receives
        credentials.
        """
        host = urlsplit(url).netloc
        for _ in range(MAX_REDIRECTS):
            answer = await self._http.request("GET", url, headers)
            place = answer.headers.get("location", "")
            if answer.status not in (301, 302, 303, 307, 308) or not place:
                break
            try:
                url = urljoin(url, place)
                where = urlsplit(url)
            except ValueError:
                break
            if where.scheme != "https" and not (where.scheme == "http" and self._address.insecure):
                break
            if where.netloc != host:
                headers = {
                    name: value for name, value in headers.items() if name != "authorization"
                }
        return answer

    # ------------------------------------------------------------------------------------- refusals

    async def _who(self, repository: str) -> UserPassword | None:
        """Return who to sign in as.

        Raises EndpointRefused if the only credentials were refused a short time ago.
        """
        who = await self._login.get(repository=repository)
        until, said = self._refused.get(who, (0.0, "")) if who else (0.0, "")
        if who is None or until < time.monotonic():
            return who
        newer = await self._login.get(who, repository)
        if newer == who:
            raise self._hold_no_more(who, said)
        return newer

    def _remember(self, who: UserPassword, said: str) -> EndpointRefused:
        self._refused[who] = time.monotonic() + REFUSED_SECONDS, said
        return self._hold_no_more(who, said)

    def _hold_no_more(self, who: UserPassword, said: str) -> EndpointRefused:
        return EndpointRefused(
            f"{self._address.host} refuses the credentials of {_name(who)}{colon(said)}",
            code="UNAUTHORIZED",
            status=401,
            said=said,
        )


def _read_token(answer: Response, who: UserPassword | None, host: str) -> _Token:
    fields = json_in(answer)
    token = fields.get("token") or fields.get("access_token")
    if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
        raise Transient(f"{other_host(host)} gave no token", code="NoToken")
    told = fields.get("expires_in")
    seconds = TOKEN_SECONDS
    if isinstance(told, int | float) and told > 0:
        seconds = float(min(told, LONGEST_TOKEN))
    until = time.monotonic() + seconds - min(TOKEN_MARGIN, seconds / 2)
    return _Token(Signed(f"Bearer {token}", who), until)


def _denied(line: str, said: str, status: int = 401) -> ObjectRefused:
    return ObjectRefused(f"{line}{colon(said)}", code="DENIED", status=status, said=said)


def _name(who: UserPassword | None) -> str:
    if who is None:
        return "whoever has no credentials"
    return repr(who.user) if who.user else "the token that is kept for it"


def basic(who: UserPassword) -> str:
    """Return an Authorization header with user and password."""
    return f"Basic {base64.b64encode(f'{who.user}:{who.password}'.encode()).decode()}"


def repository_of(scope: str) -> str:
    """Return the first repository in a scope; "" if it has none."""
    found = re.match(r"repository:([^:\s]+):", scope)
    return found[1] if found else ""


def _covers(scope: str, other: str) -> bool:
    """Whether a scope allows everything that the other allows."""
    ours = {}
    for each in scope.split():
        name, _, actions = each.rpartition(":")
        ours[name] = set(actions.split(","))
    return all(
        set(actions.split(",")) <= ours.get(name, set())
        for name, _, actions in (each.rpartition(":") for each in other.split())
    )
