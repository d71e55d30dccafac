"""The built-in OpenID Connect provider: authorization code with PKCE, for the console and the
command line.

Its clients are public: PKCE and the exact redirect address protect a sign-in. A sign-in takes two
or three requests, and nothing is stored between them: the request travels through the form, sealed,
and is valid only together with a cookie of the browser that the form was made for.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import math
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from dth.core import clock
from dth.core.errors import Conflict, HubError, Unauthenticated
from dth.hub.audit import CONTINUE, SIGN_IN, SIGN_OUT, note
from dth.hub.auth import Claims, IssuerConfig, KnownKeys, Verifier
from dth.hub.model import Identity
from dth.hub.names import canonical
from dth.platforms.local import sign_in_page
from dth.platforms.local.grants import (
    ACCESS_LIFE,
    OFFLINE,
    BrowserSession,
    Exchanged,
    Grant,
    Kind,
    LocalGrants,
)
from dth.platforms.local.sql import SqlDatabase
from dth.platforms.local.tasks import LocalAudit
from dth.platforms.local.users import Account, LocalUsers, Weakness
from dth.platforms.local.vault import Vault, kept

AUDIENCE = "dth"  # the audience of access tokens
CONSOLE = "dth-console"
COMMAND = "dth-cli"
CONSOLE_CALLBACKS = ("/auth/callback", "/auth/silent")
COMMAND_CALLBACK = re.compile(r"http://127\.0\.0\.1:[0-9]{1,5}/callback")  # RFC 8252: any port
SCOPES = ("openid", "profile", "email", OFFLINE)
KEY_SETTING = "oidc"
ALGORITHM = "RS256"
FORM_LIFE = 3600.0  # seconds for which a page may stay open
MAX_FORM = 64 * 1024  # bytes
MAX_FIELDS = 20
MAX_TEXT = 2048  # characters of a client's parameters
FAILURES_A_MINUTE = 30  # failures recorded in the audit log
VIA = "oidc"
SESSION_COOKIE = "dth_session"
FORM_COOKIE = "dth_form"
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # for S256
VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")

HEADERS = {
    "cache-control": "no-store",
    "pragma": "no-cache",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

WORD_OF = {  # the corresponding words of the page
    Weakness.SHORT: "short",
    Weakness.LONG: "long",
    Weakness.NAME: "is_name",
    Weakness.SAME: "same",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A client's request; its id and redirect address have been checked."""

    client: str
    redirect_uri: str
    state: str
    scope: str
    challenge: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Form:
    """The state that travels through a page. `user` and `epoch`: who entered a correct password and
    must choose a new one; with `signed_in`: who has a session and is asked whether the command line
    may act for them."""

    asked: Asked
    browser: str  # hash of the cookie
    until: float
    user: str = ""
    epoch: int = 0
    signed_in: bool = False


class Provider:
    """The provider at one address (`issuer`), as routes to mount at that address's path.

    `origins`: where the console is served from, such as `https://hub.example.com`.
    """

    def __init__(
        self,
        issuer: str,
        key: RSAKey,
        users: LocalUsers,
        grants: LocalGrants,
        audit: LocalAudit,
        origins: Sequence[str],
    ) -> None:
        self._issuer = issuer
        self._base = urlsplit(issuer).path
        self._key = key
        self._keys = KeySet([key])
        self._seal_key = hashlib.sha256(b"forms" + key.as_pem(private=True)).digest()
        self._users = users
        self._grants = grants
        self._audit = audit
        self._failures = _Failures(audit)
        self._callbacks = {origin + path for origin in origins for path in CONSOLE_CALLBACKS}
        self._after_logout = {f"{origin}/" for origin in origins}
        self.verifier = Verifier(
            IssuerConfig(issuer, CONSOLE, AUDIENCE), KnownKeys(self._keys), resolve=self._holder
        )

    @classmethod
    async def open(
        cls,
        database: SqlDatabase,
        vault: Vault,
        users: LocalUsers,
        issuer: str,
        origins: Sequence[str],
    ) -> Self:
        """The provider with the hub's signing key, which is created at first use."""
        pem = await kept(database, vault, KEY_SETTING, _new_key)
        key = RSAKey.import_key(pem, {"use": "sig", "alg": ALGORITHM})
        return cls(issuer, key, users, LocalGrants(database), LocalAudit(database), origins)

    def routes(self) -> list[Route]:
        return [
            Route("/.well-known/openid-configuration", self._discovery),
            Route("/jwks", self._jwks),
            Route("/authorize", self._authorize),
            Route("/authorize", self._submit, methods=["POST"]),
            Route("/token", self._token, methods=["POST"]),
            Route("/revoke", self._revoke, methods=["POST"]),
            Route("/userinfo", self._userinfo, methods=["GET", "POST"]),
            Route("/logout", self._logout, methods=["GET", "POST"]),
            Route("/style.css", self._style),
        ]

    async def _holder(self, claims: Claims) -> Identity:
        """The current user of one of our access tokens: signing out, removing the user or a new
        password end it at once."""
        epoch = claims.get("dth_epoch")
        identity = await self._users.identity(
            str(claims["sub"]), epoch if isinstance(epoch, int) else -1
        )
        # A token of an older version names no chain; it is valid for its ten minutes.
        ended = "dth_grant" in claims and not await self._grants.lives(str(claims["dth_grant"]))
        if identity is None or ended:
            raise Unauthenticated("the session has ended; sign in again")
        return identity

    # ------------------------------------------------------------------------------------ documents

    async def _discovery(self, _: Request) -> Response:
        issuer = self._issuer
        return _json(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "revocation_endpoint": f"{issuer}/revoke",
                "userinfo_endpoint": f"{issuer}/userinfo",
                "end_session_endpoint": f"{issuer}/logout",
                "jwks_uri": f"{issuer}/jwks",
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [ALGORITHM],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["none"],
                "revocation_endpoint_auth_methods_supported": ["none"],
                "scopes_supported": list(SCOPES),
                "claims_supported": ["sub", "preferred_username", "email", "dth_role"],
                "prompt_values_supported": ["none", "login"],
                "authorization_response_iss_parameter_supported": True,
                "request_parameter_supported": False,
                "request_uri_parameter_supported": False,
            }
        )

    async def _jwks(self, _: Request) -> Response:
        return _json(dict(self._keys.as_dict(private=False)))

    async def _style(self, _: Request) -> Response:
        return Response(
            sign_in_page.CSS,
            media_type="text/css",
            headers={**HEADERS, "cache-control": "max-age=3600"},
        )

    # ----------------------------------------------------------------------------------- signing in

    async def _authorize(self, request: Request) -> Response:
        query = request.query_params
        client, address = query.get("client_id", ""), query.get("redirect_uri", "")
        # Until these are known to be valid, nothing is sent back anywhere.
        if len(query.multi_items()) != len(query) or not self._may_return(client, address):
            return self._message(request, "client", 400)
        scope = " ".join(each for each in SCOPES if each in query.get("scope", "").split())
        challenge, nonce = query.get("code_challenge", ""), query.get("nonce", "")
        asked = Asked(client, address, query.get("state", ""), scope, challenge, nonce)
        if problem := _problem(query):
            return self._return(asked, error=problem)
        prompt = query.get("prompt", "").split()
        session = None if "login" in prompt else await self._session(request)
        if session and clock.now() - session.grant.signed_in <= float(
            query.get("max_age") or math.inf
        ):
            if client == CONSOLE:
                return await self._grant(asked, session)
            # Any program that listens at a port of this machine can ask in the name of the command
            # line (RFC 8252, 8.6).
            if "none" in prompt:
                return self._return(asked, error="interaction_required")
            return self._ask(request, asked, account=session.account, signed_in=True)
        if "none" in prompt:
            return self._return(asked, error="login_required")
        return self._ask(request, asked)

    def _may_return(self, client: str, address: str) -> bool:
        if client == CONSOLE:
            return address in self._callbacks
        return client == COMMAND and COMMAND_CALLBACK.fullmatch(address) is not None

    async def _session(self, request: Request) -> BrowserSession | None:
        cookie = request.cookies.get(SESSION_COOKIE)
        return await self._grants.session(cookie) if cookie else None

    async def _submit(self, request: Request) -> Response:
        """Handle a submitted page."""
        fields = await read_form(request)
        form = self._opened(fields.get("state", ""), request.cookies.get(FORM_COOKIE, ""))
        if form is None:
            return self._message(request, "expired", 400)
        if form.signed_in:
            return await self._go_on(request, form, fields)
        if form.user:
            return await self._change(request, form, fields)
        name = fields.get("name", "")
        address = address_of(request)
        checked = await self._users.check(name, fields.get("password", ""), address)
        if checked.account is None:
            known = await self._users.knows(name)
            await self._failures.note(
                canonical(name) if known else "(unknown)",
                address,
                "LIMIT" if checked.wait else "wrong",
            )
        if checked.wait:
            wait = math.ceil(checked.wait)
            response = self._ask(
                request, form.asked, name=name, word="wait", status=429, seconds=wait
            )
            response.headers["retry-after"] = str(wait)
            return response
        if checked.account is None:
            return self._ask(request, form.asked, name=name, word="wrong", status=403)
        if checked.account.user.must_change:
            return self._ask(request, form.asked, account=checked.account)
        return await self._signed_in(request, form.asked, checked.account)

    async def _go_on(self, request: Request, form: Form, fields: Mapping[str, str]) -> Response:
        """Handle the answer of a signed-in user to whether the command line may act for them."""
        if fields.get("answer") == "other":
            return self._ask(request, form.asked)
        session = await self._session(request)
        asked_of = session and (session.account.user.name, session.account.epoch)
        if (
            session is None
            or asked_of != (form.user, form.epoch)
            or fields.get("answer") != "continue"
        ):
            return self._message(request, "expired", 400)
        detail = {"client": form.asked.client, "address": address_of(request)}
        await note(self._audit, CONTINUE, form.user, VIA, **detail)
        return await self._grant(form.asked, session)

    async def _change(self, request: Request, form: Form, fields: Mapping[str, str]) -> Response:
        """Handle a new password, chosen by a user who has just entered the old one."""
        password = fields.get("new", "")
        if password != fields.get("again", ""):
            return self._ask_again(request, form, "differ")
        try:
            changed = await self._users.renew_password(form.user, form.epoch, password)
        except Conflict:
            return self._message(request, "expired", 400)
        if isinstance(changed, Weakness):
            return self._ask_again(request, form, WORD_OF[changed])
        return await self._signed_in(request, form.asked, changed)

    def _ask(
        self,
        request: Request,
        asked: Asked,
        *,
        name: str = "",
        account: Account | None = None,
        signed_in: bool = False,
        word: str = "",
        status: int = 200,
        seconds: int = 0,
    ) -> Response:
        """The page to sign in. For a user who has just entered a password that must be changed: the
        page for that. For a user who is signed in: the page that asks whether to continue."""
        browser = request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(16)
        form = Form(asked, digest(browser), clock.now() + FORM_LIFE)
        if account:
            form = Form(
                asked, form.browser, form.until, account.user.name, account.epoch, signed_in
            )
        response = self._page(request, form, name=name, word=word, status=status, seconds=seconds)
        self.set_cookie(response, FORM_COOKIE, browser)
        return response

    def _ask_again(self, request: Request, form: Form, word: str) -> Response:
        return self._page(request, form, word=word, status=403)

    def _page(
        self,
        request: Request,
        form: Form,
        *,
        name: str = "",
        word: str = "",
        status: int,
        seconds: int = 0,
    ) -> Response:
        language = language_for(request)
        problem = sign_in_page.WORDS[language][word].format(seconds=seconds) if word else ""
        state = self._sealed(form)
        place = urlsplit(form.asked.redirect_uri)
        command = place.netloc if form.asked.client == COMMAND else ""
        if form.signed_in:
            text = sign_in_page.go_on(language, self._base, state, name=form.user, command=command)
        elif form.user:
            text = sign_in_page.change(language, self._base, state, name=form.user, problem=problem)
        else:
            text = sign_in_page.sign_in(
                language, self._base, state, name=name, problem=problem, command=command
            )
        # Browsers apply form-action to the redirect after the form, too.
        return html_response(text, status, form_action=f"'self' {place.scheme}://{place.netloc}")

    def _message(self, request: Request, word: str, status: int = 200) -> Response:
        return html_response(sign_in_page.message(language_for(request), self._base, word), status)

    async def _signed_in(self, request: Request, asked: Asked, account: Account) -> Response:
        session, cookie = await self._open_session(request, account, asked.client)
        response = await self._grant(asked, session)
        self.set_cookie(response, SESSION_COOKIE, cookie)
        return response

    async def welcome(self, request: Request, account: Account, place: str) -> Response:
        """Sign a new user in, and lead to a place."""
        _, cookie = await self._open_session(request, account, CONSOLE)
        response = _redirect(place)
        self.set_cookie(response, SESSION_COOKIE, cookie)
        return response

    async def _open_session(
        self, request: Request, account: Account, client: str
    ) -> tuple[BrowserSession, str]:
        """A session of the browser, and its cookie."""
        detail = {"client": client, "address": address_of(request)}
        await note(self._audit, SIGN_IN, account.user.name, VIA, **detail)
        grant = Grant(account.user.name, account.epoch, clock.now())
        replaced = request.cookies.get(SESSION_COOKIE, "")
        cookie, family = await self._grants.open_session(grant, replaced)
        return BrowserSession(grant, account, family), cookie

    async def _grant(self, asked: Asked, session: BrowserSession) -> Response:
        code = await self._grants.give_code(
            Grant(
                session.account.user.name,
                session.account.epoch,
                session.grant.signed_in,
                client=asked.client,
                scope=asked.scope,
                redirect_uri=asked.redirect_uri,
                challenge=asked.challenge,
                nonce=asked.nonce,
            ),
            session.family,
        )
        return self._return(asked, code=code)

    def _return(self, asked: Asked, **answer: str) -> Response:
        """Redirect to the client. Includes the issuer (RFC 9207), so that a client of several
        issuers knows whose answer it is."""
        fields = answer | ({"state": asked.state} if asked.state else {}) | {"iss": self._issuer}
        return _redirect(f"{asked.redirect_uri}?{urlencode(fields)}")

    def set_cookie(self, response: Response, name: str, value: str) -> None:
        """Set a cookie that only the provider receives."""
        secure = self._issuer.startswith("https:")
        response.set_cookie(
            name, value, path=self._base or "/", secure=secure, httponly=True, samesite="lax"
        )

    def _sealed(self, form: Form) -> str:
        body = base64.urlsafe_b64encode(json.dumps(asdict(form)).encode()).decode()
        return f"{body}.{self._seal(body)}"

    def _seal(self, body: str) -> str:
        return hmac.new(self._seal_key, body.encode("utf-8", "replace"), "sha256").hexdigest()

    def _opened(self, sealed: str, cookie: str) -> Form | None:
        """The form that we sealed for the browser with this cookie; None for any other form, or
        when it has expired."""
        body, _, seal = sealed.partition(".")
        if not hmac.compare_digest(self._seal(body).encode(), seal.encode("utf-8", "replace")):
            return None
        values = json.loads(base64.urlsafe_b64decode(body))
        form = Form(**{**values, "asked": Asked(**values["asked"])})
        good = (
            cookie
            and hmac.compare_digest(form.browser, digest(cookie))
            and form.until > clock.now()
        )
        return form if good else None

    # --------------------------------------------------------------------------------------- tokens

    async def _token(self, request: Request) -> Response:
        fields = await read_form(request)
        client = fields.get("client_id", "")
        match fields.get("grant_type"):
            case "authorization_code":
                verifier, address = fields.get("code_verifier", ""), fields.get("redirect_uri", "")
                exchanged = await self._grants.exchange(
                    Kind.CODE,
                    fields.get("code", ""),
                    lambda grant: (
                        (grant.client, grant.redirect_uri) == (client, address)
                        and hmac.compare_digest(grant.challenge, _challenge(verifier))
                    ),
                )
            case "refresh_token":
                exchanged = await self._grants.exchange(
                    Kind.REFRESH,
                    fields.get("refresh_token", ""),
                    lambda grant: grant.client == client,
                )
            case _:
                return _json({"error": "unsupported_grant_type"}, 400)
        return (
            _json({"error": "invalid_grant"}, 400)
            if exchanged is None
            else _json(self._tokens(exchanged))
        )

    def _tokens(self, exchanged: Exchanged) -> dict[str, Any]:
        grant, account = exchanged.grant, exchanged.account
        user = account.user
        now = int(clock.now())
        about: dict[str, Any] = {
            "iss": self._issuer,
            "sub": user.name,
            "iat": now,
            "exp": now + int(ACCESS_LIFE),
            "preferred_username": user.name,
            "dth_role": user.role.value,
        }
        access = about | {
            "aud": AUDIENCE,
            "client_id": grant.client,
            "scope": grant.scope,
            "jti": secrets.token_hex(16),
            "dth_epoch": account.epoch,
            "dth_grant": exchanged.chain,
        }
        told = about | {"aud": grant.client, "auth_time": int(grant.signed_in)}
        if grant.nonce:
            told["nonce"] = grant.nonce
        if user.email and "email" in grant.scope.split():
            told["email"] = user.email
        answer = {
            "access_token": self._signed("at+jwt", access),
            "id_token": self._signed("JWT", told),
            "token_type": "Bearer",
            "expires_in": int(ACCESS_LIFE),
            "scope": grant.scope,
        }
        return answer | ({"refresh_token": exchanged.refresh} if exchanged.refresh else {})

    def _signed(self, kind: str, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": ALGORITHM, "kid": self._key.kid, "typ": kind}, claims, self._key)

    async def _revoke(self, request: Request) -> Response:
        """Revoke a refresh token or an access token: either ends both (RFC 7009)."""
        token = (await read_form(request)).get("token", "")
        if "." in token:
            with contextlib.suppress(Unauthenticated):  # then there is nothing to end
                await self._left(
                    await self._grants.end(
                        str((await self.verifier.claims(token)).get("dth_grant"))
                    )
                )
        else:
            await self._left(await self._grants.revoke(token))
        return _json({})

    async def _left(self, user: str) -> None:
        """Record that a user gave up tokens or a session; "": there were none."""
        if user:
            await note(self._audit, SIGN_OUT, user, VIA)

    async def _userinfo(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            identity = await self.verifier.verify(token if scheme.lower() == "bearer" else "")
        except HubError:
            response = _json({"error": "invalid_token"}, 401)
            response.headers["www-authenticate"] = 'Bearer error="invalid_token"'
            return response
        return _json(
            {
                "sub": identity.subject,
                "preferred_username": identity.name,
                "dth_role": identity.role.value,
            }
        )

    async def _logout(self, request: Request) -> Response:
        fields = (
            await read_form(request) if request.method == "POST" else dict(request.query_params)
        )
        if cookie := request.cookies.get(SESSION_COOKIE):
            await self._left(await self._grants.sign_out(cookie))
        address, state = fields.get("post_logout_redirect_uri", ""), fields.get("state", "")
        if address in self._after_logout:
            response = _redirect(f"{address}?{urlencode({'state': state})}" if state else address)
        else:
            response = self._message(request, "out")
        response.delete_cookie(
            SESSION_COOKIE, path=self._base or "/", httponly=True, samesite="lax"
        )
        return response


class _Failures:
    """Records failed sign-ins. Anybody can cause them: a few per minute are written, the rest is
    counted."""

    def __init__(self, audit: LocalAudit) -> None:
        self._audit = audit
        self._since = float("-inf")
        self._written = self._more = 0

    async def note(self, name: str, address: str, why: str) -> None:
        now = clock.now()
        if abs(now - self._since) > 60:
            self._since, self._written = now, 0
        if self._written >= FAILURES_A_MINUTE:
            self._more += 1
            return
        self._written += 1
        detail: dict[str, Any] = {"address": address, "why": why}
        if self._more:
            detail["moreBefore"], self._more = self._more, 0
        await note(self._audit, SIGN_IN, name, VIA, outcome="UNAUTHENTICATED", **detail)


def address_of(request: Request) -> str:
    """Where a request comes from; "" if unknown."""
    return request.client.host if request.client else ""


def _new_key() -> bytes:
    return RSAKey.generate_key(2048).as_pem(private=True)


def _problem(query: Mapping[str, str]) -> str:
    """What is wrong with a request whose client and address are valid, as an OAuth error; "" for
    nothing."""
    prompt = query.get("prompt", "").split()
    refused = {
        "unsupported_response_type": query.get("response_type") != "code",
        "request_not_supported": "request" in query,
        "request_uri_not_supported": "request_uri" in query,
        "invalid_scope": "openid" not in query.get("scope", "").split(),
        "invalid_request": query.get("code_challenge_method") != "S256"
        or CHALLENGE.fullmatch(query.get("code_challenge", "")) is None
        or query.get("response_mode", "query") != "query"
        or ("none" in prompt and len(prompt) > 1)
        or re.fullmatch(r"\d{0,9}", query.get("max_age", ""), re.ASCII) is None
        or any(len(query.get(name, "")) > MAX_TEXT for name in ("state", "nonce")),
    }
    return next((error for error, holds in refused.items() if holds), "")


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a submitted form; empty if it is not a form, is too large, or has a field
    twice."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            return {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return {}
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        return {}
    return dict(pairs) if len(dict(pairs)) == len(pairs) else {}


def _challenge(verifier: str) -> str:
    """The S256 challenge of a verifier; "" for an invalid verifier."""
    if not VERIFIER.fullmatch(verifier):
        return ""
    return (
        base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    )


def digest(text: str) -> str:
    """What a page contains of a cookie."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def language_for(request: Request) -> str:
    """The language of the pages for a browser."""
    return sign_in_page.language_of(request.headers.get("accept-language", ""))


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return JSONResponse(content, status, HEADERS)


def _redirect(url: str) -> Response:
    return RedirectResponse(url, 303, HEADERS)


def html_response(
    text: str, status: int, *, form_action: str = "'none'", script: bool = False
) -> Response:
    """A page. `script`: whether it may run one of our scripts."""
    policy = f"{HEADERS['content-security-policy']}; style-src 'self'; form-action {form_action}"
    policy += "; script-src 'self'" if script else ""
    headers = {**HEADERS, "content-security-policy": policy, "vary": "accept-language"}
    return HTMLResponse(text, status, headers)
