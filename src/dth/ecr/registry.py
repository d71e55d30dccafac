"""A client of one registry: the OCI distribution API, as far as finding out what is to be copied needs it.

It signs in as the registry wants it (nobody, user and password, or a token for each repository), follows pages and
redirects, tries again what is passing, and checks every manifest against its digest. What a method raises is a
TransferError whose class says what follows; what is merely not there is None.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from dth.confinement import foreign
from dth.ecr.http import LIMIT, Http
from dth.ecr.login import ANONYMOUS, Login, UserPassword
from dth.ecr.manifest import ACCEPT, OCI_INDEX, Descriptor, Manifest, read_manifest
from dth.ecr.reference import DOCKER_HUB, check_registry, is_digest
from dth.errors import (
    Corrupted,
    Disposition,
    EndpointRefused,
    ListingFailed,
    NotSupported,
    ObjectRefused,
    SourceGone,
    Throttled,
    TransferError,
    Transient,
    error_code,
)
from dth.transport import Response, Transport

ATTEMPTS = 5  # of one request, while its failures are passing
BASE_DELAY, MAX_DELAY = 0.2, 10.0  # seconds between them, at most
PATIENCE = 60.0  # seconds that a registry may ask us to wait; more is for the caller to decide on
PAGE = 1000  # tags or repositories
MAX_REDIRECTS = 5
TOKEN_SECONDS = 60  # that a token lasts when its service does not say
TOKEN_MARGIN = 10  # seconds before its end at which a token is renewed
LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?")
DOCKER_HUB_API = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a registry is and how it is spoken to."""

    host: str  # as in references
    plain_http: bool = False  # http; on the loopback interface that is so unless there is a CA bundle
    ca_bundle: str = ""  # PEM file of authorities to trust; "" = those of libcurl

    @property
    def insecure(self) -> bool:
        return self.plain_http or (not self.ca_bundle and LOOPBACK.fullmatch(self.host) is not None)

    @property
    def url(self) -> str:
        host = DOCKER_HUB_API if self.host == DOCKER_HUB else self.host
        return f"{'http' if self.insecure else 'https'}://{host}"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What a registry said of how much may still be pulled (Docker Hub does)."""

    limit: int  # in the window
    remaining: int
    window: int  # seconds; 0 where it did not say


@dataclass(frozen=True, slots=True)
class Challenge:
    """How a registry wants us to sign in."""

    scheme: str  # "basic" or "bearer"
    realm: str = ""
    service: str = ""
    scope: str = ""
    error: str = ""


class Registry:
    """`calls` counts requests by method and kind, such as "HEAD manifests"; `rate_limit` is the last one heard of."""

    def __init__(
        self, transport: Transport, address: Address, login: Login = ANONYMOUS, *, attempts: int = ATTEMPTS
    ) -> None:
        check_registry(address.host)
        self.address = address
        self.calls: Counter[str] = Counter()
        self.rate_limit: RateLimit | None = None
        self._http = Http(transport, ca_bundle=address.ca_bundle)
        self._attempts = attempts
        self._signing = _SigningIn(address, login, self._http)
        self._wait_until = 0.0  # nobody asks before
        self._knows_referrers: bool | None = None  # not asked yet
        self._asking_referrers = asyncio.Lock()

    @property
    def host(self) -> str:
        return self.address.host

    async def ping(self) -> None:
        """Sign in, and see that a registry answers."""
        await self._request("GET", "/v2/", "", "ping")

    # ------------------------------------------------------------------------------------------- manifests

    async def head(self, repository: str, reference: str) -> str | None:
        """The digest of a tag (or of itself), None where there is none. On Docker Hub it costs no pull."""
        try:
            answer = await self._request(
                "HEAD", _manifest(repository, reference), _pull(repository), "manifests", accept=ACCEPT
            )
        except SourceGone:
            return None
        digest = answer.headers.get("docker-content-digest", "")
        if not is_digest(digest):  # optional by the standard
            found = await self.manifest(repository, reference)
            return found.digest if found else None
        if is_digest(reference) and digest != reference:
            raise Corrupted(f"{self.host} answers {digest} for {reference}", code="DIGEST_INVALID")
        return digest

    async def asked_to_wait(self, repository: str, reference: str) -> float:
        """The seconds for which the registry asks us to wait, 0 where it does not say, by one HEAD, which is no pull.
        `rate_limit` is what it says now."""
        self.calls["HEAD manifests"] += 1
        path = _manifest(repository, reference)
        try:
            await self._attempt("HEAD", path, _pull(repository), {"accept": ACCEPT}, b"", LIMIT)
        except TransferError as error:
            return error.retry_after
        return 0.0

    async def manifest(self, repository: str, reference: str) -> Manifest | None:
        """The manifest, its bytes checked against its digest; None where there is none."""
        try:
            answer = await self._request(
                "GET", _manifest(repository, reference), _pull(repository), "manifests", accept=ACCEPT
            )
        except SourceGone:
            return None
        said = answer.headers.get("docker-content-digest", "")
        expected = reference if is_digest(reference) else said if is_digest(said) else ""
        kind = answer.headers.get("content-type", "")
        found = read_manifest(answer.body, kind, expected.partition(":")[0] or "sha256")
        if expected and found.digest != expected:
            raise Corrupted(
                f"{self.host}/{repository}: the manifest is {found.digest}, not {expected}",
                code="DIGEST_INVALID",
            )
        return found

    async def put_manifest(self, repository: str, reference: str, manifest: Manifest) -> None:
        """Store a manifest whose parts are there, byte for byte, under a tag or its digest."""
        answer = await self._request(
            "PUT",
            _manifest(repository, reference),
            f"repository:{repository}:pull,push",
            "manifests",
            body=manifest.body,
            content_type=manifest.media_type,
        )
        stored = answer.headers.get("docker-content-digest", manifest.digest)
        if stored != manifest.digest:
            raise Corrupted(
                f"{self.host} stored {foreign(stored) or 'another one'}, not {manifest.digest}",
                code="DIGEST_INVALID",
            )

    async def try_push(self, repository: str) -> None:
        """See that we may push: an upload is begun and given up. Raises TransferError where we may not."""
        scope = f"repository:{repository}:pull,push"
        answer = await self._request("POST", f"/v2/{repository}/blobs/uploads/", scope, "uploads")
        where = urlsplit(answer.headers.get("location", ""))
        if where.path:
            with contextlib.suppress(TransferError):  # the registry forgets it in time
                await self._request("DELETE", f"{where.path}?{where.query}", scope, "uploads")

    async def referrers(self, repository: str, digest: str) -> list[Descriptor]:
        """The manifests that name this one as their subject: signatures, attestations, SBOMs of OCI 1.1."""
        found = await self.ask_referrers(repository, digest)
        if found is None:
            listed = await self.manifest(repository, fallback_tag(digest))
            return list(listed.children) if listed else []
        return found

    async def ask_referrers(self, repository: str, digest: str) -> list[Descriptor] | None:
        """The same by the API for it; None where the registry has none, which is found out once."""
        if self._knows_referrers is None:
            async with self._asking_referrers:  # many may want to know at once: one finds out
                if self._knows_referrers is None:
                    return await self._find_referrers(repository, digest)
        return await self._find_referrers(repository, digest) if self._knows_referrers else None

    async def _find_referrers(self, repository: str, digest: str) -> list[Descriptor] | None:
        try:
            found = [found async for found in self._referrers(repository, digest)]
        except (SourceGone, NotSupported) as error:
            if error.code == "NAME_UNKNOWN":
                return []
            self._knows_referrers = False
            return None
        self._knows_referrers = True
        return found

    async def _referrers(self, repository: str, digest: str) -> AsyncIterator[Descriptor]:
        path = f"/v2/{repository}/referrers/{digest}"
        async for answer in self._pages(path, _pull(repository), "referrers", accept=OCI_INDEX):
            kind = answer.headers.get("content-type", "").partition(";")[0].strip()
            if kind != OCI_INDEX:
                raise NotSupported("the referrers API is not there", code="UNSUPPORTED")
            for descriptor in read_manifest(answer.body, kind).children:
                yield descriptor

    # ----------------------------------------------------------------------------------------------- blobs

    async def has_blob(self, repository: str, digest: str) -> bool:
        try:
            await self._request("HEAD", f"/v2/{repository}/blobs/{digest}", _pull(repository), "blobs")
        except SourceGone:
            return False
        return True

    async def mount(self, repository: str, digest: str, source: str) -> bool:
        """Let the repository have a blob of another one of this registry; False where it does not do that."""
        scope = f"repository:{repository}:pull,push repository:{source}:pull"
        path = f"/v2/{repository}/blobs/uploads/?{urlencode({'mount': digest, 'from': source})}"
        answer = await self._request("POST", path, scope, "mounts")
        if answer.status == 201:
            return True
        where = urlsplit(answer.headers.get("location", ""))  # it wants the bytes instead
        if where.path:
            with contextlib.suppress(TransferError):
                await self._request("DELETE", f"{where.path}?{where.query}", scope, "uploads")
        return False

    async def blob(self, repository: str, digest: str, limit: int = LIMIT) -> bytes:
        """A small blob, such as an image's config, checked against its digest."""
        answer = await self._request(
            "GET", f"/v2/{repository}/blobs/{digest}", _pull(repository), "blobs", limit=limit
        )
        if not _is_digest_of(digest, answer.body):
            raise Corrupted(f"{self.host}/{repository}: the blob is not {digest}", code="DIGEST_INVALID")
        return answer.body

    # --------------------------------------------------------------------------------------------- listing

    async def tags(self, repository: str) -> list[str] | None:
        """All tags, in the registry's order; None where there is no such repository."""
        found: list[str] = []
        try:
            async for answer in self._pages(
                f"/v2/{repository}/tags/list?n={PAGE}", _pull(repository), "tags"
            ):
                found += self._names(answer, "tags")
        except SourceGone:
            return None
        return list(dict.fromkeys(found))

    async def repositories(self) -> list[str]:
        """Every repository of the registry. Raises ListingFailed where it does not say."""
        if self.host == DOCKER_HUB:
            raise ListingFailed(
                "docker.io cannot be listed: Docker Hub has no catalogue of its repositories; name the images"
            )
        found: list[str] = []
        try:
            async for answer in self._pages(f"/v2/_catalog?n={PAGE}", "registry:catalog:*", "catalog"):
                found += self._names(answer, "repositories")
        except (ObjectRefused, SourceGone) as error:
            raise ListingFailed(
                f"{self.host} cannot be listed: it gives no catalogue of its repositories "
                f"({error.said or error}); name the images"
            ) from None
        return list(dict.fromkeys(found))

    def _names(self, answer: Response, field: str) -> list[str]:
        found = _json(answer.body).get(field) or []  # some say null for none
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise ListingFailed(f"{self.host} answers a listing with something else")
        return found

    async def _pages(self, path: str, scope: str, kind: str, accept: str = "") -> AsyncIterator[Response]:
        seen = set()
        while path:
            seen.add(path)
            answer = await self._request("GET", path, scope, kind, accept=accept)
            yield answer
            path = self._next(answer, path)
            if path in seen:
                raise ListingFailed(f"{self.host} goes in circles: page {path} again")

    def _next(self, answer: Response, path: str) -> str:
        """Path and query of the next page, "" after the last."""
        link = re.search(r'<([^>]*)>\s*;[^,]*rel="?next"?', answer.headers.get("link", ""))
        if not link:
            return ""
        here, there = urlsplit(self.address.url), urlsplit(urljoin(self.address.url + path, link[1]))
        # Behind a proxy that ends TLS some registries give the wrong scheme or host: pages are never elsewhere.
        if there.path != urlsplit(path).path and there.netloc != here.netloc:
            raise ListingFailed(f"{self.host} says that the next page is at {_other(there.netloc)}")
        return f"{there.path}?{there.query}"

    # -------------------------------------------------------------------------------------------- requests

    async def _request(
        self,
        method: str,
        path: str,
        scope: str,
        kind: str,
        *,
        accept: str = "",
        body: bytes = b"",
        content_type: str = "",
        limit: int = LIMIT,
    ) -> Response:
        """The good answer to a request, tried again while what goes wrong is passing."""
        headers = {"user-agent": "data-transfer-hub"}
        if accept:
            headers["accept"] = accept
        if content_type:
            headers["content-type"] = content_type
        for attempt in range(1, self._attempts + 1):
            await self._pause()
            try:
                self.calls[f"{method} {kind}"] += 1
                return await self._attempt(method, path, scope, headers, body, limit)
            except TransferError as error:
                error.host = self.host
                if isinstance(error, Throttled):
                    self._wait_until = max(self._wait_until, time.monotonic() + error.retry_after)
                passing = error.disposition is Disposition.RETRY and error.retry_after <= PATIENCE
                if not passing or attempt == self._attempts:
                    raise
                await asyncio.sleep(random.uniform(0, min(MAX_DELAY, BASE_DELAY * 2**attempt)))
        raise AssertionError("unreachable: there is one attempt at least")

    async def _pause(self) -> None:
        """Wait as the registry asked us to."""
        seconds = self._wait_until - time.monotonic()
        if seconds > PATIENCE:
            raise Throttled(
                f"{self.host} takes no requests for another {seconds:.0f} s",
                code="TOOMANYREQUESTS",
                status=429,
                retry_after=seconds,
                host=self.host,
            )
        if seconds > 0:
            await asyncio.sleep(seconds)

    async def _attempt(
        self, method: str, path: str, scope: str, headers: dict[str, str], body: bytes, limit: int
    ) -> Response:
        url = self.address.url + path
        signed = await self._signing.header(scope)
        answer = await self._follow(method, url, headers, signed, body, limit)
        # At first we are told how to sign in; what we then send may itself be too old.
        for _ in range(1 if signed else 2):
            if answer.status not in (401, 403):
                break
            renewed = await self._signing.again(scope, signed, answer)
            if not renewed or renewed == signed:
                break
            signed = renewed
            answer = await self._follow(method, url, headers, signed, body, limit)
        if answer.status == 401:
            raise self._signing.refusal(answer, f"{self.host}{path.partition('?')[0]}")
        self._read_rate_limit(answer.headers)
        if answer.status >= 300:
            raise refusal(answer, f"{method} {self.host}{path.partition('?')[0]}")
        return answer

    async def _follow(
        self, method: str, url: str, headers: dict[str, str], signed: str, body: bytes, limit: int
    ) -> Response:
        """The answer after all redirects. Only the registry itself is told who we are."""
        origin = _origin(url)
        for _ in range(MAX_REDIRECTS + 1):
            own = signed and _origin(url) == origin
            sent = {**headers, "authorization": signed} if own else headers
            answer = await self._http.request(method, url, sent, body, limit=limit)
            place = answer.headers.get("location", "")
            if answer.status not in (301, 302, 303, 307, 308) or method not in ("GET", "HEAD") or not place:
                return answer
            url = urljoin(url, place)
            if not url.startswith("https://") and not self.address.insecure:
                raise EndpointRefused(
                    f"{self.host} redirects to {_other(urlsplit(url).netloc)} without TLS",
                    code="InsecureRedirect",
                )
        raise ObjectRefused(f"{self.host} redirects without end", code="TooManyRedirects")

    def _read_rate_limit(self, headers: Mapping[str, str]) -> None:
        limit = re.match(r"(\d+)(?:;w=(\d+))?", headers.get("ratelimit-limit", ""))
        remaining = re.match(r"\d+", headers.get("ratelimit-remaining", ""))
        if limit and remaining:
            self.rate_limit = RateLimit(int(limit[1]), int(remaining[0]), int(limit[2] or 0))


class _SigningIn:
    """The Authorization header, as the registry asked for it. Tokens are kept until shortly before their end."""

    def __init__(self, address: Address, login: Login, http: Http) -> None:
        self._address = address
        self._login = login
        self._http = http
        self._challenge: Challenge | None = None
        self._tokens: dict[str, tuple[str, float]] = {}  # by scope: header, and when to renew it
        self._lock = asyncio.Lock()
        self._used: UserPassword | None = None

    async def header(self, scope: str) -> str:
        """What to send; "" as long as the registry wants nothing, or we have nothing."""
        if self._challenge is None:
            return ""
        if self._challenge.scheme == "basic":
            self._used = await self._login.get()
            return _basic(self._used)
        token, until = self._tokens.get(scope, ("", 0.0))
        return token if until > time.monotonic() else await self._renew(scope, token, None)

    async def again(self, scope: str, sent: str, answer: Response) -> str:
        """Something else to send than what was just refused; "" or the same when there is nothing else."""
        if answer.status == 401 and (challenge := read_challenge(answer.headers.get("www-authenticate", ""))):
            self._challenge = replace(challenge, scope="", error="")
            wanted = challenge.scope
        else:
            wanted = ""
        if self._challenge is None or (answer.status == 403 and self._challenge.scheme == "bearer"):
            return sent
        if self._challenge.scheme == "basic":
            self._used = await self._login.get(refused=self._used if sent else None)
            return _basic(self._used)
        return await self._renew(scope, sent, wanted or None)

    async def _renew(self, scope: str, refused: str, wanted: str | None) -> str:
        async with self._lock:
            token, until = self._tokens.get(scope, ("", 0.0))
            if token and token != refused and until > time.monotonic():
                return token  # somebody else has just got it
            token, seconds = await self._ask(wanted or scope)
            margin = min(TOKEN_MARGIN, seconds / 2)
            self._tokens[scope] = (token, time.monotonic() + seconds - margin)
            return token

    async def _ask(self, scope: str) -> tuple[str, float]:
        """A new token from the registry's service, and for how many seconds."""
        challenge = self._challenge
        assert challenge is not None
        realm = urlsplit(challenge.realm)
        if realm.scheme != "https" and not (realm.scheme == "http" and self._address.insecure):
            raise EndpointRefused(
                f"{self._address.host} wants us to sign in without TLS, at {_other(realm.netloc)}",
                code="InsecureRealm",
            )
        query = [("service", challenge.service)] if challenge.service else []
        query += [("scope", each) for each in scope.split()]
        url = f"{challenge.realm}{'&' if realm.query else '?'}{urlencode(query)}"
        self._used = await self._login.get()
        answer = await self._sign_in(url)
        if answer.status in (401, 403) and self._used:
            newer = await self._login.get(refused=self._used)
            if newer != self._used:
                self._used = newer
                answer = await self._sign_in(url)
        if answer.status != 200:
            raise self._refused(answer, realm.netloc, scope)
        fields = _json(answer.body)
        token = fields.get("token") or fields.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise Transient(f"{_other(realm.netloc)} gave no token", code="NoToken")
        seconds = fields.get("expires_in")
        if not isinstance(seconds, int | float) or seconds <= 0:
            seconds = TOKEN_SECONDS
        return f"Bearer {token}", float(seconds)

    async def _sign_in(self, url: str) -> Response:
        headers = {"user-agent": "data-transfer-hub"}
        if signed := _basic(self._used):
            headers["authorization"] = signed
        return await self._http.request("GET", url, headers)

    def _refused(self, answer: Response, where: str, scope: str) -> TransferError:
        if answer.status == 401 and self._used:
            return EndpointRefused(
                f"{self._address.host} refuses the credentials of {self._used.user!r}"
                f"{_colon(_said(answer)[1])}",
                code="UNAUTHORIZED",
                status=401,
            )
        if answer.status in (401, 403):
            who = f"{self._used.user!r}" if self._used else "whoever has no credentials"
            return ObjectRefused(
                f"{self._address.host} gives {who} no right to {scope}{_colon(_said(answer)[1])}",
                code="DENIED",
                status=answer.status,
            )
        return refusal(answer, f"GET {_other(where)} for a token")

    def refusal(self, answer: Response, what: str) -> TransferError:
        """What a 401 amounts to, after all that we have was sent."""
        said = _said(answer)[1]
        if self._challenge and self._challenge.scheme == "bearer":
            who = f"{self._used.user!r}" if self._used else "whoever has no credentials"
            return ObjectRefused(
                f"{what}: {who} has no right to it{_colon(said)}", code="DENIED", status=401, said=said
            )
        if self._used is None:
            return EndpointRefused(
                f"{self._address.host} wants credentials{f' ({said})' if said else ''}: name a secret, or sign in on"
                " this machine with skopeo login",
                code="UNAUTHORIZED",
                status=401,
                said=said,
            )
        return EndpointRefused(
            f"{self._address.host} refuses the credentials of {self._used.user!r}{_colon(said)}",
            code="UNAUTHORIZED",
            status=401,
            said=said,
        )


def fallback_tag(digest: str) -> str:
    """The tag under which the referrers of a manifest are listed where the registry has no API for them."""
    algorithm, _, value = digest.partition(":")
    return f"{algorithm[:32]}-{value[:64]}"


def read_challenge(header: str) -> Challenge | None:
    """What a WWW-Authenticate header asks for; a token rather than a password. None for what we do not know."""
    found: dict[str, Challenge] = {}
    # Challenges are separated by commas, and so are their parameters: a word before a parameter begins a new one.
    for scheme, parameters in re.findall(
        r'(\w+)((?:\s*,?\s*\w+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s,"]+))*)(?:\s*,\s*|\s*$)', header
    ):
        pairs = re.findall(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))', parameters)
        values = {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain for name, quoted, plain in pairs}
        names = ("realm", "service", "scope", "error")
        found[scheme.lower()] = Challenge(scheme.lower(), *(values.get(name, "") for name in names))
    bearer = found.get("bearer")
    return bearer if bearer and bearer.realm else found.get("basic")


def refusal(answer: Response, what: str) -> TransferError:
    """What an answer that is not good amounts to."""
    status = answer.status
    code, said = _said(answer)
    line = f"{what}: HTTP {status}{f' {code}' if code else ''}{_colon(said)}"
    details: dict[str, Any] = {"code": code or f"HTTP{status}", "status": status, "said": said}
    if status == 429 or code == "TOOMANYREQUESTS":
        return Throttled(line, retry_after=_retry_after(answer.headers), **details)
    if status >= 500 and status != 501:
        return Transient(line, retry_after=_retry_after(answer.headers), **details)
    if status == 404:
        return SourceGone(line, **details)
    if status in (405, 501) or code == "UNSUPPORTED":
        return NotSupported(line, **details)
    if status == 408:
        return Transient(line, **details)
    return ObjectRefused(line, **details)


def _other(host: str) -> str:
    """A host that an answer names."""
    return foreign(host) or "another host"


def _colon(said: str) -> str:
    """The end of a line: what was said, if anything was. (The answer to a HEAD says nothing.)"""
    return f": {said}" if said else ""


def _said(answer: Response) -> tuple[str, str]:
    """Code and words of an error, as one line."""
    fields = _json(answer.body)
    errors = fields.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else fields
    code = str(first.get("code") or "")
    said = str(first.get("message") or first.get("details") or "")
    if not fields and answer.body:
        said = answer.body[:200].decode("utf-8", "replace")
    return error_code(code), foreign(" ".join(said.split())[:300])


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that we are asked to wait; 0 when it does not say."""
    value = headers.get("retry-after", "")
    if re.fullmatch(r"\d+", value):
        return float(value)
    reset = (
        headers.get("x-ratelimit-reset") or headers.get("x-retry-after") or ""
    )  # Docker Hub: epoch seconds
    return max(0.0, float(reset) - time.time()) if re.fullmatch(r"\d{9,11}", reset) else 0.0


def _manifest(repository: str, reference: str) -> str:
    return f"/v2/{repository}/manifests/{quote(reference, safe=':')}"


def _pull(repository: str) -> str:
    return f"repository:{repository}:pull"


def _basic(found: UserPassword | None) -> str:
    if found is None:
        return ""
    return f"Basic {base64.b64encode(f'{found.user}:{found.password}'.encode()).decode()}"


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _is_digest_of(digest: str, body: bytes) -> bool:
    algorithm, _, value = digest.partition(":")
    return hashlib.new(algorithm, body).hexdigest() == value
