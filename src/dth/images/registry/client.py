"""A client of one registry, for the parts of the OCI distribution API that planning and copying
need.

The client signs in as the registry requires (`signing`), sends requests as fast as the registry
accepts them (`pace`), follows pages and redirects, retries temporary failures, and checks every
manifest against its digest. Methods raise a TransferError whose class says how to proceed; for
something that does not exist they return None.
"""

import asyncio
import contextlib
import hashlib
import math
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlencode, urljoin, urlsplit

from dth.core.confinement import foreign
from dth.core.errors import (
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
)
from dth.core.retry_policy import FULL_JITTER, RetryPolicy
from dth.core.transport import Body, Pipe, Response, Transport, is_range
from dth.images.registry.address import RegistryAddress
from dth.images.registry.answers import colon, json_in, other_host, refusal
from dth.images.registry.headers import next_link
from dth.images.registry.http import LIMIT, Http
from dth.images.registry.login import ANONYMOUS, Login
from dth.images.registry.manifest import (
    ACCEPT,
    MANIFESTS,
    OCI_INDEX,
    Descriptor,
    Manifest,
    read_manifest,
)
from dth.images.registry.pace import OUTAGE, Pace, paces_of
from dth.images.registry.reference import (
    DOCKER_HUB,
    check_registry,
    is_digest,
    is_repository,
    is_tag,
)
from dth.images.registry.registries import known_registry
from dth.images.registry.signing import CLIENT, Signed, SigningIn

# Attempts per request, for temporary errors.
ATTEMPTS = 5
# Refusals of one request while the registry answers others.
STRIKES = 10
# What is throttled waits in the pace instead.
POLICY = RetryPolicy(first=0.4, last=10.0, jitter=FULL_JITTER)
# Page sizes to request; if the registry refuses one, the client requests the next.
PAGES = (
    "1000",
    "100",
    "",
)
# Tags per request when only those of one image are needed.
FEW = 100
CREATED = 201  # the status of a registry that has stored something
MOST_NAMES = 1_000_000  # names per listing
MOST_PAGES = 100_000
MOST_EMPTY = 1000  # consecutive pages without any names
MOST_REPEATED = 3  # consecutive pages with known names only
MOST_REFERRERS = 100_000  # per image
MOST_ODD = 1000  # invalid names that are kept for the note
SHOWN_ODD = 5
LONGEST_NAME = 300  # Characters; no valid name is longer.
MAX_REDIRECTS = 5
# Seconds that a registry has to answer after the last byte of a blob: some first copy it to its
# final place.
STORING = 300.0


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The pulls that a registry still allows, as it reports (Docker Hub does)."""

    limit: int  # pulls per window
    remaining: int
    window: int  # seconds; 0 if not reported


class RefusedAlone(Throttled):
    """A request that the registry keeps refusing while it answers others. Waiting does not help."""

    @classmethod
    def of(cls, error: TransferError) -> TransferError:
        """Return the same error as a RefusedAlone if it is a Throttled, else the error itself."""
        if not isinstance(error, Throttled):
            return error
        return cls(
            str(error), code=error.code, status=error.status, said=error.said, host=error.host
        )


@dataclass(frozen=True, slots=True)
class _Request:
    """One request to the registry itself."""

    method: str
    path: str  # and query
    scope: str
    headers: Mapping[str, str]
    body: Body = b""
    limit: int = LIMIT
    sink: Pipe | None = None  # receives the body of a successful answer
    elsewhere: str = ""  # scheme and host, if not the registry's

    @property
    def streams(self) -> bool:
        return self.sink is not None or isinstance(self.body, Pipe)

    @property
    def what(self) -> str:
        return self.path.partition("?")[0]


@dataclass(frozen=True, slots=True)
class BlobUpload:
    """A blob upload that has begun. `elsewhere`: the URL, if it is not at the registry itself."""

    repository: str
    path: str  # and query
    elsewhere: str = ""


class Registry:
    """A client of one registry.

    `calls` counts requests by method and kind, such as "HEAD manifests". `rate_limit` is the last
    one reported. `pushes`: images are pushed to this registry, so its tokens are for both
    directions. `odd_names`: listed names that are invalid.
    """

    def __init__(
        self,
        transport: Transport,
        address: RegistryAddress,
        login: Login = ANONYMOUS,
        *,
        pushes: bool = False,
        attempts: int = ATTEMPTS,
    ) -> None:
        check_registry(address.host)
        self.address = address
        self.pushes = pushes
        self.calls: Counter[str] = Counter()
        self.rate_limit: RateLimit | None = None
        self.odd_names: dict[str, None] = {}
        # Digests of manifests that are not indexes, as far as a HEAD has shown.
        self.without_parts: set[str] = set()
        self.pace: Pace = paces_of(transport).of(address.host)
        self._paces = paces_of(transport)
        self._known = known_registry(address.host)
        self._http = Http(transport, ca_bundle=address.ca_bundle)
        self._attempts = attempts
        self._signing = SigningIn(address, login, self._http)
        # Repositories in which a HEAD has found something.
        self._headed: set[str] = set()
        self._no_heads = False  # a GET found what a HEAD did not
        self._page = 0  # index of the accepted size in PAGES
        self._knows_referrers: bool | None = None  # not requested yet
        self._asking_referrers = asyncio.Lock()

    @property
    def host(self) -> str:
        """The host as images name it."""
        return self.address.host

    @property
    def notes(self) -> list[str]:
        """Notes for the user about the listing."""
        if not self.odd_names:
            return []
        count = len(self.odd_names)
        shown = foreign(", ".join(repr(name[:80]) for name in list(self.odd_names)[:SHOWN_ODD]))
        more = f" and {count - SHOWN_ODD} more" if count > SHOWN_ODD else ""
        named = f"{shown}{more}" if shown else f"{count} names"
        return [f"left out, because no image can be called so: {named}"]

    async def ping(self) -> None:
        """Sign in, and check that a registry answers."""
        await self._request("GET", "/v2/", "", "ping")

    # ------------------------------------------------------------------------------------ manifests

    async def head(self, repository: str, reference: str) -> str | None:
        """Return the digest of a tag (or of a digest itself), or None if it does not exist.

        On Docker Hub, a HEAD costs no pull. If the HEAD finds nothing, a GET follows, because some
        registries do not support HEAD.
        """
        if not self._no_heads:
            try:
                answer = await self._request(
                    "HEAD",
                    _manifest(repository, reference),
                    self._pull(repository),
                    "manifests",
                    accept=ACCEPT,
                )
            except (SourceGone, ObjectRefused) as error:
                if self._absent(error, repository):
                    return None
                if self._known.heads:
                    raise
            else:
                self._headed.add(repository)
                digest = answer.headers.get("docker-content-digest", "")
                if is_digest(digest):  # optional in the standard
                    if is_digest(reference) and digest != reference:
                        raise Corrupted(
                            f"{self.host} answers {digest} for {reference}", code="DIGEST_INVALID"
                        )
                    if (
                        answer.headers.get("content-type", "").partition(";")[0].strip()
                        in MANIFESTS
                    ):
                        self.without_parts.add(digest)
                    return digest
        found = await self.manifest(repository, reference)
        self._no_heads = self._no_heads or (found is not None and repository not in self._headed)
        return found.digest if found else None

    def _absent(self, error: TransferError, repository: str) -> bool:
        """Whether a refused HEAD means that the image does not exist.

        At a registry to push to, the repository may not exist yet, so nobody has permission to read
        it.
        """
        if isinstance(error, SourceGone):
            return self.pushes or self._known.heads or repository in self._headed
        return self.pushes and error.status in (401, 403)

    async def manifest(self, repository: str, reference: str) -> Manifest | None:
        """Return the manifest after checking it against its digest, or None if it does not
        exist."""
        try:
            answer = await self._request(
                "GET",
                _manifest(repository, reference),
                self._pull(repository),
                "manifests",
                accept=ACCEPT,
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
        """Store a manifest, byte for byte, under a tag or its digest. Its parts must exist
        already."""
        headers = {"user-agent": CLIENT, "content-type": manifest.media_type}
        path, scope = _manifest(repository, reference), self._push(repository)
        answer = await self._write(
            _Request("PUT", path, scope, headers, manifest.body), "manifests"
        )
        stored = answer.headers.get("docker-content-digest", "")
        if not stored:
            # Something before the registry may have answered.
            stored = await self._digest_there(repository, reference, manifest)
        if stored != manifest.digest:
            raise Corrupted(
                f"{self.host} stored {foreign(stored) or 'another one'}, not {manifest.digest}",
                code="DIGEST_INVALID",
            )

    async def _digest_there(self, repository: str, reference: str, sent: Manifest) -> str:
        """Return the digest of what the registry has there after a manifest was sent. Raises
        Transient if it has nothing."""
        try:
            found = await self.manifest(repository, reference)
        except TransferError as error:
            if error.status not in (401, 403):
                raise
            # Whoever may push may not always pull.
            return sent.digest
        if found is None:
            raise self._not_stored(f"{repository}:{reference}")
        return found.digest

    def _not_stored(self, what: str) -> Transient:
        return Transient(
            f"{self.host} answered that it stored {what}, but does not have it", code="NotStored"
        )

    async def try_push(self, repository: str) -> None:
        """Check for push permission: begin an upload and cancel it. Raises TransferError if
        refused.
        """
        if upload := await self.begin_upload(repository):
            await self.give_up(upload)

    async def referrers(self, repository: str, digest: str) -> list[Descriptor]:
        """Return the manifests that name this one as their subject: OCI 1.1 signatures,
        attestations, SBOMs.
        """
        found = await self.ask_referrers(repository, digest)
        if found is None:
            listed = await self.manifest(repository, fallback_tag(digest))
            return list(listed.children) if listed else []
        return found

    @property
    def has_referrers(self) -> bool:
        """Whether the registry is known to have the referrers API."""
        return self._knows_referrers is True

    async def ask_referrers(self, repository: str, digest: str) -> list[Descriptor] | None:
        """Return the referrers from the API, or None if the registry has no such API, which is
        detected once.
        """
        if self._knows_referrers is None:
            # Several tasks may ask at once: one of them does it.
            async with self._asking_referrers:
                if self._knows_referrers is None:
                    return await self._find_referrers(repository, digest)
        return await self._find_referrers(repository, digest) if self._knows_referrers else None

    async def _find_referrers(self, repository: str, digest: str) -> list[Descriptor] | None:
        found: list[Descriptor] = []
        pages = 0
        try:
            async for page in self._referrers(repository, digest):
                found += page
                pages += 1
                if len(found) > MOST_REFERRERS:
                    raise ListingFailed(
                        f"{self.host} lists more than {MOST_REFERRERS} referrers of one image"
                    )
        except TransferError as error:
            if pages:
                # A list that breaks off does not mean that the API is missing.
                raise
            if error.code == "NAME_UNKNOWN":
                return []
            if not _lacks_api(error) or (
                self._knows_referrers and error.status not in (0, 404, 405, 501)
            ):
                raise
            self._knows_referrers = bool(self._knows_referrers)
            return None
        self._knows_referrers = True
        return found

    async def _referrers(self, repository: str, digest: str) -> AsyncIterator[Sequence[Descriptor]]:
        path = f"/v2/{repository}/referrers/{digest}"
        async for answer in self._pages(
            path, self._pull(repository), "referrers", accept=OCI_INDEX
        ):
            kind = answer.headers.get("content-type", "").partition(";")[0].strip()
            if kind != OCI_INDEX:
                raise NotSupported("the referrers API is not there", code="UNSUPPORTED")
            yield read_manifest(answer.body, kind).children

    # ---------------------------------------------------------------------------------------- blobs

    async def has_blob(self, repository: str, digest: str) -> bool:
        """Whether the repository has the blob, and not something before it a web page."""
        try:
            answer = await self._request(
                "HEAD", f"/v2/{repository}/blobs/{digest}", self._pull(repository), "blobs"
            )
        except SourceGone:
            return False
        except ObjectRefused as error:
            if self._absent(error, repository):
                return False
            raise
        page = answer.headers.get("content-type", "").lower().startswith("text/html")
        return answer.headers.get("docker-content-digest", "" if page else digest) == digest

    async def begin_upload(
        self, repository: str, mount: tuple[str, str] | None = None
    ) -> BlobUpload | None:
        """Begin to send a blob.

        `mount`: the digest of the blob and another repository of this registry that has it. Returns
        None if the registry mounted the blob from there.
        """
        path, scope = f"/v2/{repository}/blobs/uploads/", self._push(repository)
        if mount:
            path += f"?{urlencode({'mount': mount[0], 'from': mount[1]})}"
            scope += f" repository:{mount[1]}:pull"
        request = _Request("POST", path, scope, {"user-agent": CLIENT})
        answer = await self._write(request, "mounts" if mount else "uploads")
        if mount and answer.status == 201:
            return None
        return self._upload(repository, path, answer)

    def _upload(self, repository: str, path: str, begun: Response) -> BlobUpload:
        try:
            here = urlsplit(self.address.url)
            there = urlsplit(urljoin(self.address.url + path, begun.headers["location"]))
            if not there.path or there.scheme not in ("http", "https"):
                raise ValueError
        except (KeyError, ValueError):
            raise ObjectRefused(
                f"{self.host}/{repository} says in no way where blobs are sent to", code="BadUpload"
            ) from None
        # Behind a proxy that terminates TLS, some registries return the wrong scheme.
        if there.hostname == here.hostname and (
            there.port == here.port or there.scheme != here.scheme
        ):
            return BlobUpload(repository, _path(there))
        if there.scheme != "https" and not self.address.insecure:
            raise EndpointRefused(
                f"{self.host} wants blobs at {other_host(there.netloc)} without TLS",
                code="InsecureRedirect",
            )
        return BlobUpload(repository, _path(there), f"{there.scheme}://{there.netloc}")

    async def finish_upload(self, upload: BlobUpload, digest: str, body: Body) -> None:
        """Send a blob in one piece. A blob from a pipe is sent only once, because the pipe cannot
        rewind.
        """
        path = f"{upload.path}{'&' if '?' in upload.path else '?'}{urlencode({'digest': digest})}"
        headers = {"user-agent": CLIENT, "content-type": "application/octet-stream"}
        scope = self._push(upload.repository)
        request = _Request("PUT", path, scope, headers, body, elsewhere=upload.elsewhere)
        answer = await self._write(request, "blobs")
        stored = answer.headers.get("docker-content-digest", "")
        if not stored:
            if answer.status != CREATED and not await self.has_blob(upload.repository, digest):
                raise self._not_stored(digest)
            stored = digest
        if stored != digest:
            raise Corrupted(
                f"{self.host} stored {foreign(stored) or 'another blob'}, not {digest}",
                code="DIGEST_INVALID",
            )

    async def give_up(self, upload: BlobUpload) -> None:
        """Cancel an upload. If that fails, the registry discards it later."""
        if not upload.elsewhere:
            with contextlib.suppress(TransferError):
                await self._request("DELETE", upload.path, self._push(upload.repository), "uploads")

    async def read_blob(self, repository: str, digest: str, size: int, sink: Pipe) -> None:
        """Write a blob into the pipe without checking its bytes.

        An interrupted transfer resumes if the registry supports that.
        """
        failures = 0
        while True:
            begun = sink.written
            try:
                await self._pour_blob(repository, digest, size, sink)
                return
            except TransferError as error:
                failures = failures + 1 if sink.written == begun else 1
                broken = error.disposition is Disposition.RETRY and not error.status
                if not broken or sink.failed or sink.written >= size or failures >= self._attempts:
                    raise
                await asyncio.sleep(POLICY.pause(failures))
                if sink.written and not await self._gives_rest(
                    repository, digest, sink.written, size
                ):
                    raise

    async def _pour_blob(self, repository: str, digest: str, size: int, sink: Pipe) -> None:
        """Write the rest of the blob into the pipe."""
        headers = {"user-agent": CLIENT}
        if sink.written:
            headers["range"] = f"bytes={sink.written}-"
        path = f"/v2/{repository}/blobs/{digest}"
        await self._send(
            _Request("GET", path, self._pull(repository), headers, limit=size, sink=sink), "blobs"
        )

    async def _gives_rest(self, repository: str, digest: str, start: int, size: int) -> bool:
        """Whether the registry answers a range request for a blob.

        Requests one byte: bytes already in a pipe cannot be taken back, and the whole blob would be
        too large.
        """
        path = f"/v2/{repository}/blobs/{digest}"
        headers = {"user-agent": CLIENT, "range": f"bytes={start}-{start}"}
        request = _Request("GET", path, self._pull(repository), headers, limit=1)
        try:
            answer = await self._send(request, "blobs")
        except TransferError:
            return False
        content_range = answer.headers.get("content-range", "")
        return answer.status == 206 and is_range(content_range, start, start, size)

    async def blob(self, repository: str, digest: str, limit: int = LIMIT) -> bytes:
        """Return a small blob, such as an image's config, after checking it against its digest."""
        answer = await self._request(
            "GET", f"/v2/{repository}/blobs/{digest}", self._pull(repository), "blobs", limit=limit
        )
        if not _is_digest_of(digest, answer.body):
            raise Corrupted(
                f"{self.host}/{repository}: the blob is not {digest}", code="DIGEST_INVALID"
            )
        return answer.body

    # -------------------------------------------------------------------------------------- listing

    async def tags(self, repository: str, told: list[str] | None = None) -> list[str] | None:
        """Return all tags in the registry's order, or None if the repository does not exist.

        `told` receives the names from the pages before a failed one.
        """
        path = f"/v2/{repository}/tags/list"
        try:
            found = await self._names(path, self._pull(repository), "tags", "tags", told)
        except SourceGone:
            if told:
                raise
            return None
        return self._sound(found, is_tag, f"{self.host}/{repository}:")

    async def tags_after(self, repository: str, last: str) -> tuple[list[str], bool]:
        """Return the next few tags in alphabetical order, and whether the list continues.

        A registry may return the first tags instead, or all of them.
        """
        path = f"/v2/{repository}/tags/list?{urlencode({'n': FEW, 'last': last})}"
        answer = await self._request("GET", path, self._pull(repository), "tags")
        return self._names_in(answer, "tags"), bool(self._next(answer, path))

    async def has_repository(self, repository: str) -> bool:
        """Whether the repository exists, as far as the registry reports it."""
        path = f"/v2/{repository}/tags/list?{urlencode({'n': 1})}"
        try:
            await self._request("GET", path, self._pull(repository), "tags")
        except SourceGone:
            return False
        except TransferError:
            return True  # it may exist
        return True

    async def repositories(self, told: list[str] | None = None) -> list[str]:
        """Return every repository of the registry.

        `told` receives the names from the pages before a failed one. Raises ListingFailed if the
        registry does not list them.
        """
        if self.host == DOCKER_HUB:
            raise ListingFailed(
                "docker.io cannot be listed: Docker Hub has no catalogue of its repositories; "
                "name the images"
            )
        try:
            found = await self._names(
                "/v2/_catalog", "registry:catalog:*", "catalog", "repositories", told
            )
        except (ObjectRefused, SourceGone) as error:
            raise ListingFailed(
                f"{self.host} cannot be listed: it gives no catalogue of its repositories "
                f"({error.said or error}); name the images"
            ) from None
        return self._sound(found, is_repository, f"{self.host}/")

    def _sound(self, names: list[str], is_one: Callable[[str], bool], before: str) -> list[str]:
        """Return the valid names. The names become parts of paths, and images cannot be pushed to
        others.
        """
        odd = [name for name in names if not is_one(name)]
        for name in odd[: MOST_ODD - len(self.odd_names)]:
            self.odd_names[before + name] = None
        return [name for name in names if is_one(name)] if odd else names

    async def _names(
        self, path: str, scope: str, kind: str, field: str, told: list[str] | None = None
    ) -> list[str]:
        """Return the names on all pages of a listing, in order, without duplicates."""
        found: dict[str, None] = {}
        empty = repeated = 0
        async for answer in self._pages(path, scope, kind, sized=True):
            names = self._names_in(answer, field)
            before = len(found)
            found.update((each[:LONGEST_NAME], None) for each in names)
            if told is not None:
                told += names
            empty = 0 if names else empty + 1
            repeated = repeated + 1 if names and len(found) == before else 0
            if empty >= MOST_EMPTY or repeated >= MOST_REPEATED:
                raise ListingFailed(
                    f"{self.host} goes in circles: pages of {path} tell nothing new"
                )
            if len(found) > MOST_NAMES:
                raise ListingFailed(f"{self.host} lists more than {MOST_NAMES:,} names at {path}")
        return list(found)

    def _names_in(self, answer: Response, field: str) -> list[str]:
        fields = json_in(answer)
        names = fields.get(field) or []  # some return null for an empty list
        nothing = not fields and answer.body.strip() not in (b"{}", b"null")
        if (
            nothing
            or not isinstance(names, list)
            or not all(isinstance(each, str) for each in names)
        ):
            raise ListingFailed(f"{self.host} answers a listing with something else")
        return names

    async def _pages(
        self, path: str, scope: str, kind: str, *, accept: str = "", sized: bool = False
    ) -> AsyncIterator[Response]:
        seen: set[str] = set()
        while path:
            if sized and not seen:
                answer, path = await self._first_page(path, scope, kind)
            else:
                answer = await self._request("GET", path, scope, kind, accept=accept)
            seen.add(path)
            yield answer
            path = self._next(answer, path)
            if path in seen:
                raise ListingFailed(f"{self.host} goes in circles: page {path} again")
            if len(seen) >= MOST_PAGES:
                raise ListingFailed(f"{self.host} lists more than {MOST_PAGES:,} pages")

    async def _first_page(self, path: str, scope: str, kind: str) -> tuple[Response, str]:
        """Return the first page, as large as the registry allows, and the path of its request."""
        for number, size in enumerate(PAGES[self._page :], self._page):
            asked = f"{path}?n={size}" if size else path
            try:
                answer = await self._request("GET", asked, scope, kind)
            except ObjectRefused as error:
                if not size or error.status not in (400, 413, 416, 422):
                    raise
                continue
            self._page = number
            return answer, asked
        raise AssertionError("unreachable: the last size is none")

    def _next(self, answer: Response, path: str) -> str:
        """Return the path and query of the next page; "" after the last page."""
        try:
            link = next_link(answer.headers.get("link", ""))
            if not link:
                return ""
            here, there = (
                urlsplit(self.address.url),
                urlsplit(urljoin(self.address.url + path, link)),
            )
        except ValueError as error:
            raise ListingFailed(
                f"{self.host} says in no way where the next page is{colon(foreign(str(error)))}"
            ) from None
        # Behind a proxy that terminates TLS, some registries return the wrong scheme or host. Pages
        # are always on the same host.
        if there.path != urlsplit(path).path and there.netloc != here.netloc:
            raise ListingFailed(
                f"{self.host} says that the next page is at {other_host(there.netloc)}"
            )
        return _path(there)

    # ------------------------------------------------------------------------------------- requests

    def _pull(self, repository: str) -> str:
        """Return the scope for reading.

        At a registry to push to, this is the scope for pushing, which at some registries creates
        the repository.
        """
        return self._push(repository) if self.pushes else f"repository:{repository}:pull"

    @staticmethod
    def _push(repository: str) -> str:
        return f"repository:{repository}:pull,push"

    async def _request(
        self,
        method: str,
        path: str,
        scope: str,
        kind: str,
        *,
        accept: str = "",
        limit: int = LIMIT,
    ) -> Response:
        headers = {"user-agent": CLIENT}
        if accept:
            headers["accept"] = accept
        return await self._send(_Request(method, path, scope, headers, limit=limit), kind)

    async def _write(self, request: _Request, kind: str) -> Response:
        """Send a request that changes something. A 404 then does not mean that an image is gone."""
        try:
            return await self._send(request, kind)
        except SourceGone as error:
            lost = "UPLOAD" in error.code
            raise (Transient if lost else ObjectRefused)(
                str(error), code=error.code, status=error.status, said=error.said, host=self.host
            ) from None

    async def _send(self, request: _Request, kind: str) -> Response:
        """Return the successful answer to a request.

        Retries temporary errors, and retries throttled requests within the patience. A streaming
        request is retried only if no byte has passed yet. It takes none of the places, because one
        such request may wait for another.
        """
        failures = strikes = 0
        # Start of the refusals, and the passes until then.
        since, passes = 0.0, 0
        while True:
            waited = time.monotonic() - since if since else 0.0
            async with contextlib.nullcontext() if request.streams else self.pace.places:
                entered = await self.pace.enter(self._paces.patience - waited)
                self.calls[f"{request.method} {kind}"] += 1
                try:
                    answer = await self._attempt(request)
                except TransferError as failure:
                    error = failure
                else:
                    self.pace.passed()
                    return answer
            error.host = self.host
            if throttles(error):
                self.pace.refused(entered, error.retry_after)
                since = since or entered
                # Other requests pass: perhaps the registry refuses only this one.
                strikes += self.pace.passes > passes
                passes = self.pace.passes
                if strikes >= STRIKES:
                    raise RefusedAlone.of(error)
                if (
                    isinstance(request.body, Pipe)
                    or self._would_take(error, since) > self._paces.patience
                ):
                    raise error
                limited = isinstance(error, Throttled) or error.status == 503
                if kind != "ping" and not (limited and error.retry_after):
                    # Perhaps no other request is running: check whether the registry answers
                    # anything at all.
                    with contextlib.suppress(TransferError):
                        await self._knock(since)
                continue
            if error.status:
                self.pace.passed()
            failures += 1
            begun = isinstance(request.body, Pipe) or (request.sink and not error.status)
            if error.disposition is not Disposition.RETRY or begun or failures >= self._attempts:
                raise error
            await asyncio.sleep(POLICY.pause(failures))

    async def _knock(self, since: float) -> None:
        """Request what every registry answers, within the pace. Raises TransferError if that is
        refused, too.
        """
        request = _Request("GET", "/v2/", "", {"user-agent": CLIENT})
        async with self.pace.places:
            entered = await self.pace.enter(self._paces.patience - (time.monotonic() - since))
            self.calls["GET ping"] += 1
            try:
                await self._attempt(request)
            except TransferError as error:
                if throttles(error):
                    self.pace.refused(entered, error.retry_after)
                raise
        self.pace.passed()

    def _would_take(self, error: TransferError, since: float) -> float:
        """Return the total seconds of waiting if the request is retried; infinity for a long
        outage.
        """
        seconds = time.monotonic() - since + self.pace.waits
        told = isinstance(error, Throttled) or error.retry_after
        return seconds if told or seconds <= OUTAGE else math.inf

    async def _attempt(self, request: _Request) -> Response:
        signed = Signed() if request.elsewhere else await self._signing.sign(request.scope)
        answer, own = await self._follow(request, signed)
        # The first refusal may only say how to sign in; the token that is sent then may itself be
        # too old.
        for _ in range(1 if signed.header else 2):
            if not own or answer.status not in (401, 403):
                break
            renewed = await self._signing.again(request.scope, signed, answer)
            if renewed == signed:
                break
            if isinstance(request.body, Pipe):
                raise Transient(
                    f"{self.host}: the token ended", code="ExpiredToken", status=answer.status
                )
            signed = renewed
            answer, own = await self._follow(request, signed)
        what = f"{self.host}{request.what}"
        if own and answer.status == 401:
            raise await self._signing.refusal(answer, signed, what)
        self._read_rate_limit(answer.headers)
        if answer.status >= 300:
            raise refusal(answer, f"{request.method} {what}")
        self._signing.passed(signed)
        return answer

    async def _follow(self, request: _Request, signed: Signed) -> tuple[Response, bool]:
        """Return the answer after all redirects, and whether the registry itself gave it.

        Only the registry receives our credentials, and only it may say how to sign in.
        """
        url = (request.elsewhere or self.address.url) + request.path
        origin = _origin(self.address.url)
        for _ in range(MAX_REDIRECTS + 1):
            own = _origin(url) == origin
            sent = dict(request.headers)
            if own and signed.header:
                sent["authorization"] = signed.header
            answer = await self._http.request(
                request.method,
                url,
                sent,
                request.body,
                limit=request.limit,
                sink=request.sink,
                stall_timeout=STORING if isinstance(request.body, Pipe) else 0.0,
            )
            place = answer.headers.get("location", "")
            moved = answer.status in (301, 302, 303, 307, 308) and request.method in ("GET", "HEAD")
            if not moved or not place:
                return answer, own
            try:
                url = urljoin(url, place)
                where = urlsplit(url).netloc
            except ValueError:
                raise ObjectRefused(
                    f"{self.host} redirects to no address", code="BadRedirect"
                ) from None
            if not url.startswith("https://") and not self.address.insecure:
                raise EndpointRefused(
                    f"{self.host} redirects to {other_host(where)} without TLS",
                    code="InsecureRedirect",
                )
        raise ObjectRefused(f"{self.host} redirects without end", code="TooManyRedirects")

    def _read_rate_limit(self, headers: Mapping[str, str]) -> None:
        limit = re.match(r"([0-9]{1,12})(?:;w=([0-9]{1,12}))?", headers.get("ratelimit-limit", ""))
        remaining = re.match(r"[0-9]{1,12}", headers.get("ratelimit-remaining", ""))
        if limit and remaining:
            self.rate_limit = RateLimit(int(limit[1]), int(remaining[0]), int(limit[2] or 0))
            if self.rate_limit.window:
                hours = self.rate_limit.window / 3600
                self.pace.allows = f"{self.rate_limit.limit} pulls in {hours:g} h are allowed"


def fallback_tag(digest: str) -> str:
    """Return the tag that lists the referrers of a manifest at a registry without the API for
    them."""
    algorithm, _, value = digest.partition(":")
    return f"{algorithm[:32]}-{value[:64]}"


def _manifest(repository: str, reference: str) -> str:
    return f"/v2/{repository}/manifests/{quote(reference, safe=':')}"


def _path(where: SplitResult) -> str:
    """Return the path and query, quoted for sending."""
    return quote(
        f"{where.path}{f'?{where.query}' if where.query else ''}", safe="!$%&'()*+,/:;=?@[]~"
    )


def _lacks_api(error: TransferError) -> bool:
    """Whether an answer may come from a registry or gateway that does not know the path."""
    if isinstance(error, NotSupported):
        return True
    return (400 <= error.status < 500 or error.status in (500, 502, 504)) and not throttles(error)


def throttles(error: TransferError) -> bool:
    """Whether the registry refuses requests for now, this one or all."""
    return isinstance(error, Throttled) or error.status == 503 or error.retry_after > 0


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _is_digest_of(digest: str, body: bytes) -> bool:
    algorithm, _, value = digest.partition(":")
    return hashlib.new(algorithm, body).hexdigest() == value
