"""What tests of signing in stand on: an application served on loopback, a browser without eyes, a
foreign issuer."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import itertools
import json
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import uvicorn
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from dth.core.errors import HubError
from dth.hub.auth import Authenticator, Verifier
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.invitation_pages import PATH, InvitationPages
from dth.platforms.local.invitations import LocalInvitations
from dth.platforms.local.oidc import KEY_SETTING, Provider
from dth.platforms.local.tasks import LocalAudit
from dth.platforms.local.tokens import LocalTokens
from dth.platforms.local.users import LocalUsers
from dth.platforms.local.vault import kept, open_vault
from tests.servers.process import listening_socket

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from joserfc.jwk import Key
    from starlette.requests import Request

PASSWORD = "correct horse battery"
FORM = "application/x-www-form-urlencoded"
_BROWSERS = ThreadPoolExecutor(
    16
)  # not the loop's own threads, which the servers need for their answers


@asynccontextmanager
async def served(app: Any, listening: socket.socket) -> AsyncIterator[None]:
    """Without uvicorn's main loop, which takes the signals that are pytest's, and its shutdown,
    which sleeps."""
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup([listening])
    try:
        yield
    finally:
        for each in server.servers:
            each.close()
        for connection in list(server.server_state.connections):
            connection.shutdown()
        listening.close()


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def location(self) -> str:
        return self.headers["location"] or ""

    @property
    def back(self) -> dict[str, str]:
        """What a redirect tells the client."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.location).query).items()}

    @property
    def state(self) -> str:
        """What the page's form carries."""
        found = re.search(r'name="state" value="([^"]*)"', self.text)
        assert found, self.text
        return unescape(found[1])


@dataclass
class Browser:
    """Keeps cookies, and follows nothing."""

    origin: str
    cookies: dict[str, str] = field(default_factory=dict)
    language: str = ""

    async def get(
        self, path: str, query: Mapping[str, str] | None = None, **headers: str
    ) -> Answer:
        return await self.send(
            "GET", f"{path}?{urlencode(query)}" if query else path, None, headers
        )

    async def post(self, path: str, form: Mapping[str, str], **headers: str) -> Answer:
        return await self.send("POST", path, urlencode(form), {"content-type": FORM, **headers})

    async def send(
        self, method: str, path: str, body: str | bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_BROWSERS, self._send, method, path, body, dict(headers))

    def _send(
        self, method: str, path: str, body: str | bytes | None, headers: dict[str, str]
    ) -> Answer:
        connection = http.client.HTTPConnection(urlsplit(self.origin).netloc, timeout=20)
        if self.cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if self.language:
            headers["accept-language"] = self.language
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        connection.close()
        for line in response.headers.get_all("set-cookie") or []:
            name, _, rest = line.partition("=")
            value = rest.partition(";")[0].strip('"')
            if value and "Max-Age=0" not in line:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        return answer


# Making a key takes longer than most tests. No two hubs of one test have the same.
_PEMS = itertools.cycle([RSAKey.generate_key(2048).as_pem(private=True) for _ in range(2)])


def pkce() -> tuple[str, str]:
    """A verifier and its challenge."""
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    return verifier, base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass
class Hub:
    """The sign-in of a hub, and a route that says who calls."""

    origin: str
    database: HubDatabase
    users: LocalUsers
    tokens: LocalTokens
    invitations: LocalInvitations
    provider: Provider
    verifier: Verifier

    @property
    def issuer(self) -> str:
        return f"{self.origin}/oidc"

    def browser(self) -> Browser:
        return Browser(self.origin)

    def asked(self, challenge: str, **more: str) -> dict[str, str]:
        """The query of a request of the console."""
        return {
            "response_type": "code",
            "client_id": "dth-console",
            "redirect_uri": f"{self.origin}/auth/callback",
            "scope": "openid profile email offline_access",
            "state": "the state",
            "nonce": "the nonce",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        } | more

    async def sign_in(
        self,
        browser: Browser,
        name: str,
        password: str = PASSWORD,
        query: dict[str, str] | None = None,
    ) -> Answer:
        """Ask, and fill in the page."""
        page = await browser.get("/oidc/authorize", query or self.asked(pkce()[1]))
        assert page.status == 200, page
        form = {"state": page.state, "name": name, "password": password}
        return await browser.post("/oidc/authorize", form)

    async def tokens_of(
        self, name: str, browser: Browser | None = None, **more: str
    ) -> dict[str, Any]:
        """What a whole sign-in gives."""
        verifier, challenge = pkce()
        query = self.asked(challenge, **more)
        browser = browser or self.browser()
        answer = await self.sign_in(browser, name, query=query)
        assert answer.status == 303, answer
        taken = await self.exchange(answer.back["code"], verifier, query)
        assert taken.status == 200, taken
        return dict(taken.json)

    async def continued(self, browser: Browser) -> dict[str, Any]:
        """What the command line gets from a browser that is signed in."""
        verifier, challenge = pkce()
        query = self.asked(
            challenge, client_id="dth-cli", redirect_uri="http://127.0.0.1:54321/callback"
        )
        page = await browser.get("/oidc/authorize", query)
        answer = await browser.post("/oidc/authorize", {"state": page.state, "answer": "continue"})
        return dict((await self.exchange(answer.back["code"], verifier, query)).json)

    async def exchange(
        self, code: str, verifier: str, query: Mapping[str, str], **more: str
    ) -> Answer:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "client_id": query["client_id"],
            "redirect_uri": query["redirect_uri"],
        }
        return await self.browser().post("/oidc/token", form | more)

    async def refresh(self, token: str, client: str = "dth-console") -> Answer:
        form = {"grant_type": "refresh_token", "refresh_token": token, "client_id": client}
        return await self.browser().post("/oidc/token", form)

    async def who(self, token: str) -> Answer:
        return await self.browser().get("/whoami", authorization=f"Bearer {token}")


@asynccontextmanager
async def hub_at(
    folder: Path, verifier: Callable[[], Verifier] | None = None
) -> AsyncIterator[Hub]:
    """A hub's sign-in. With `verifier`, another issuer's tokens are what it takes."""
    listening = listening_socket()
    origin = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with HubDatabase.open(folder / "hub.db") as database:
        users, tokens = LocalUsers(database), LocalTokens(database)
        vault = open_vault(folder)
        await kept(database, vault, KEY_SETTING, lambda: next(_PEMS))
        provider = await Provider.open(database, vault, users, f"{origin}/oidc", [origin])
        trusted = verifier() if verifier else provider.verifier
        authenticator = Authenticator(trusted, tokens)

        async def whoami(request: Request) -> Response:
            try:
                caller = await authenticator.identify(request.headers.get("authorization", ""))
            except HubError as error:
                return JSONResponse({"error": type(error).__name__, "message": str(error)}, 401)
            return JSONResponse({"name": caller.name, "role": caller.role, "via": caller.via})

        async def config(_: Request) -> Response:
            said = {
                "authority": f"{origin}/oidc",
                "clientId": "dth-console",
                "cliClientId": "dth-cli",
            }
            return JSONResponse({"oidc": said})

        invitations = LocalInvitations(database, users, f"{origin}/oidc{PATH}")
        invited = InvitationPages(provider, invitations, LocalAudit(database), origin, "/oidc")
        routes = [
            Mount("/oidc", routes=[*provider.routes(), *invited.routes()]),
            Route("/whoami", whoami),
            Route("/config.json", config),
        ]
        async with served(Starlette(routes=routes), listening):
            yield Hub(origin, database, users, tokens, invitations, provider, trusted)


class Issuer:
    """A foreign issuer: discovery and keys. What it publishes can be changed at any time."""

    def __init__(self) -> None:
        self.listening = listening_socket()
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}/realm"
        self.key: Key = new_key()
        self.published: list[Any] = [self.key.as_dict(private=False)]
        self.discovery: dict[str, Any] = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}
        self.fetched = 0
        self.down = False

    def app(self) -> Starlette:
        async def discovery(_: Request) -> Response:
            return Response(status_code=503) if self.down else JSONResponse(self.discovery)

        async def jwks(_: Request) -> Response:
            self.fetched += 1
            return JSONResponse({"keys": self.published})

        return Starlette(
            routes=[
                Route("/realm/.well-known/openid-configuration", discovery),
                Route("/realm/jwks", jwks),
            ]
        )

    def claims(self, **more: Any) -> dict[str, Any]:
        """Those of an access token for the client `hub`, as Keycloak has them. None leaves one
        out."""
        now = int(time.time())
        usual = {"iss": self.url, "sub": "u-1", "aud": "account", "azp": "hub", "typ": "Bearer"}
        claims = usual | {"iat": now, "exp": now + 300, "scope": "openid"} | more
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self, key: Key | None = None, header: dict[str, Any] | None = None, **more: Any
    ) -> str:
        signing = key or self.key
        algorithm = {"RSA": "RS256", "EC": "ES256", "OKP": "Ed25519"}[signing.key_type]
        full = {"alg": algorithm, "kid": signing.kid, **(header or {})}
        return jwt.encode(full, self.claims(**more), signing, algorithms=[full["alg"]])


@asynccontextmanager
async def issuer_running() -> AsyncIterator[Issuer]:
    issuer = Issuer()
    async with served(issuer.app(), issuer.listening):
        yield issuer


def new_key() -> RSAKey:
    key = RSAKey.generate_key(2048, {"use": "sig"})
    KeySet([key])  # gives it a kid
    return key


def encoded(value: object) -> str:
    """One part of a token, made by hand."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()
