"""How a preflight asks and notes its results: a few attempts, within a time limit, and no exception
for findings."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from dth.core import no_answer
from dth.core.checks import Check, CheckState
from dth.core.errors import (
    ConnectionFailed,
    Disposition,
    EndpointRefused,
    HubError,
    ListingFailed,
    ObjectRefused,
    TransferError,
    Unreachable,
    with_side,
)
from dth.objects.checks import policies
from dth.objects.listing.pages import NO_LISTING, ListedObject, ListPage, PrefixListing
from dth.objects.parameters import S3Parameters
from dth.objects.store.client import S3Client
from dth.objects.store.endpoints import Endpoint
from dth.objects.store.immediate_retry import POLICY, retry
from dth.objects.transfer.relay import ObjectRoute

T = TypeVar("T")

# Seconds that one answer may take, including retries.
PATIENCE = 10.0
ATTEMPTS = 3  # per request
LISTED = 20  # keys checked
# Seconds for which the first request of a command is retried.
FIRST_PATIENCE = 2.0
# With the beginning of the names of their parameters.
SIDES = {"source": "src", "destination": "dest"}
NAMED = ("Bucket", "Endpoint", "Credentials", "Region", "CaBundle", "Proxy", "AddressingStyle")
# The same, for whoever may use commands, tasks or the console.
IN_WORDS = {
    "Bucket": "the name of the bucket",
    "Endpoint": "the endpoint",
    "Credentials": "the credentials",
    "Region": "the region",
    "CaBundle": "the file of authorities",
    "Proxy": "a proxy",
    "AddressingStyle": "the addressing style",
}
# What ends the checks of a side, by the store's error code: the name of the check, its meaning, and
# what to do.
ENDING = {
    "NoSuchBucket": (
        "bucket",
        "there is no bucket {bucket!r} at {host}",
        "correct {Bucket}, or create the bucket",
    ),
    # A 404 without S3's own words.
    "NotFound": (
        "bucket",
        "there is no bucket {bucket!r} at {host}, or no S3 at all",
        "correct {Bucket} or {Endpoint}",
    ),
    "InvalidBucketName": (
        "bucket",
        "{bucket!r} is not a valid name for a bucket",
        "correct {Bucket}",
    ),
    "InvalidAccessKeyId": (
        "credentials",
        "the store does not know the access key",
        "correct {Credentials}",
    ),
    "SignatureDoesNotMatch": (
        "credentials",
        "the secret key is not that of the access key",
        "correct {Credentials}",
    ),
    "ExpiredToken": ("credentials", "the credentials have expired", "renew {Credentials}"),
    "InvalidToken": ("credentials", "the session token is not good", "renew {Credentials}"),
    "TokenRefreshRequired": ("credentials", "the session token is not good", "renew {Credentials}"),
    "AccessDenied": (
        "credentials",
        "access to {bucket!r} at {host} is denied",
        "see that {Credentials} may use this store at all",
    ),
    **dict.fromkeys(
        ("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed"),
        (
            "region",
            "the bucket {bucket!r} is in another region",
            "set {Region} to where the bucket is",
        ),
    ),
    "AddressRefused": (
        "connection",
        "",
        "name another {Endpoint} or {Proxy}, or ask the administrator of the hub",
    ),
    "AllAccessDisabled": ("account", "the account or bucket is disabled", "ask its owner"),
    "AccountProblem": ("account", "the account is disabled", "ask its owner"),
    "NotSignedUp": ("account", "the account has no S3", "sign up"),
    "QuotaExceeded": ("quota", "the quota is used up", "raise the quota"),
}
# What an answer that is none of S3 means, by the hub's words.
NOT_S3 = {
    "is a web page": "the server at {host} does not answer as S3 does, but with a web page",
    "is empty": "the server at {host} does not answer as S3 does: its answer to a listing is empty",
    "list of buckets": "the server at {host} does not answer as S3 does",
    "a listing": "the server at {host} does not answer as S3 does",
}
# Codes of failures for which a retry at the beginning is useless. Later, a name server may just be
# unavailable.
FINAL = {"UnknownHost", "UnknownProxy", NO_LISTING}


@dataclass(frozen=True, slots=True)
class SideTrouble:
    """The problem that ends the checks of a side."""

    name: str  # of the check
    meaning: str  # a sentence without its full stop
    todo: str
    error: str  # as it was raised

    @classmethod
    def of(
        cls,
        error: TransferError,
        side: str,
        endpoint: Endpoint,
        bucket: str,
        clock_offset: float = 0.0,
        names: Mapping[str, str] | None = None,
        host: str = "",
    ) -> "SideTrouble":
        """`names`: the user's names of the parameters (by default those of tasks). `host`: the
        user's name of the store."""
        text = str(error)
        named = names or {name: f"{SIDES[side]}{name}" for name in NAMED}
        words = {**named, "host": host or endpoint.host, "bucket": bucket}
        if error.code == "RequestTimeTooSkewed" and abs(clock_offset) < 60:
            meaning = (
                "the store refuses the time of the request, but no difference to its clock was seen"
            )
            return cls(
                "clock",
                meaning,
                "see that this machine and all servers behind {host} have the right time".format(
                    **words
                ),
                text,
            )
        if error.code == "RequestTimeTooSkewed":
            apart = f"the clock of this machine and the store's are {abs(clock_offset):.0f} s apart"
            return cls("clock", apart, "set the clock of this machine, best by NTP", text)
        if error.code.startswith("KMS."):
            return cls(
                "KMS", "the store cannot use the KMS key", "see that the key is enabled", text
            )
        if error.code == "NoCredentials":
            return cls("credentials", text, f"name a secret in {named['Credentials']}", text)
        if "://" in error.location or error.code == "TemporaryRedirect":
            return cls._redirected(error, words)
        if (
            isinstance(error, ConnectionFailed)
            or error.code == NO_LISTING
            or (not error.status and error.code not in ENDING)
        ):
            return cls._no_answer(text, words, endpoint)
        if is_by_another(error):
            meaning = (
                f"something before the store at {words['host']} (a proxy, a firewall) answers "
                "with a web page"
            )
            todo = f"see that {named['Endpoint']} is right, and that requests of S3 may pass there"
            return cls("connection", meaning, todo, text)
        if error.code not in ENDING:
            return cls("connection", text, "see what the store says, and try again", text)
        name, meaning, todo = ENDING[error.code]
        # The hub's own message is better if there was no answer.
        meaning = meaning if error.status else "{error}"
        if error.location:
            todo += f"; it names {error.location}"
        return cls(name, meaning.format(**words, error=text), todo.format(**words), text)

    def line(self, error: TransferError, url: str) -> str:
        """The problem of the store at `url`, and what to do about it, without the side."""
        if self.meaning == self.error:
            return f"{url}: {self.error}; {self.todo}"
        code = f"{error.status} {error.code}".removeprefix("0 ")
        where = "" if url in self.meaning else f"{url}: "
        return f"{self.meaning} ({where}{code}); {self.todo}"

    @classmethod
    def _redirected(cls, error: TransferError, words: Mapping[str, str]) -> "SideTrouble":
        """The answer says which address to use instead. That host name may contain the bucket."""
        parts = urlsplit(error.location if "://" in error.location else f"https://{error.location}")
        # Without the bucket.
        target = f"{parts.scheme}://{parts.netloc.removeprefix(words['bucket'] + '.')}"
        meaning = f"the server at {words['host']} redirects to {error.location}"
        return cls("connection", meaning, f"use {target} as {words['Endpoint']}", str(error))

    @classmethod
    def _no_answer(cls, text: str, words: Mapping[str, str], endpoint: Endpoint) -> "SideTrouble":
        name = urlsplit(endpoint.url).hostname or ""
        # Without the names, which may contain the words that are looked for.
        said = text.lower().replace(f"{words['bucket']}.{name}", "").replace(name, "")
        asked = text.partition(": ")[0]
        with_bucket = asked == f"{words['bucket']}.{endpoint.host}"
        host = asked if with_bucket else words["host"]
        not_s3 = next((means for heard, means in NOT_S3.items() if heard in said), "")
        meaning = (
            no_answer.meaning(said, host, authorities=words["CaBundle"])
            or not_s3.format(host=host)
            or text
        )
        if with_bucket and "could not resolve host" in said:
            todo = "correct {Bucket} or {Endpoint}, or set {AddressingStyle} to path"
            return cls("connection", meaning, todo.format(**words), text)
        if no_answer.lacks_tls(said):
            plain = endpoint.url.replace("https:", "http:")
            todo = f"write http:// in {{Endpoint}} ({plain}) if that is meant, or correct the port"
            return cls("TLS", meaning, todo.format(**words), text)
        if no_answer.is_of_tls(said):
            todo = no_answer.certificate_remedy(
                said, authorities=words["CaBundle"], address=words["Endpoint"]
            )
            return cls("TLS", meaning, todo, text)
        if meaning.startswith("the proxy"):
            return cls("connection", meaning, f"correct {words['Proxy']}, or leave it out", text)
        todo = (
            f"see that {endpoint.url} is right ({{Endpoint}}, {{Region}}) and can be reached "
            "from here"
        )
        if endpoint.url.startswith("http:") and "closes the connection" in meaning:
            encrypted = endpoint.url.replace("http:", "https:")
            todo = f"write https:// in {{Endpoint}} ({encrypted}) if it speaks TLS; {todo}"
        if endpoint.encrypted and ("closes the connection" in meaning or "in time" in meaning):
            # To a server without TLS, a handshake looks like an unfinished line.
            plain = endpoint.url.replace("https:", "http:")
            todo = f"write http:// in {{Endpoint}} ({plain}) if it speaks no TLS; {todo}"
        return cls(
            "connection",
            meaning,
            todo.format(**words) + f", if need be through {words['Proxy']}",
            text,
        )


def told(error: HubError, route: ObjectRoute) -> str:
    """What ended a run or paused a task: the side, what is wrong there, and what to do about it."""
    cause = _cause(error)
    client = {"source": route.source, "destination": route.dest}.get(getattr(cause, "side", ""))
    if client is None:
        return with_side(error)
    return told_of(error, client.endpoint, client.bucket, client.clock_offset)


def told_of(error: HubError, endpoint: Endpoint, bucket: str, clock_offset: float = 0.0) -> str:
    """As `told`, of one side."""
    cause = _cause(error)
    if not isinstance(cause, TransferError) or not _is_of_a_side(cause) or endpoint.is_folder:
        return with_side(error)
    url = endpoint.url
    trouble = SideTrouble.of(cause, cause.side, endpoint, bucket, clock_offset, IN_WORDS, url)
    return f"{cause.side}: {trouble.line(cause, url)}"


def _cause(error: HubError) -> BaseException:
    """Where in a listing no answer came says nothing; any other error says it itself."""
    cause = error.__cause__
    return cause if isinstance(error, ListingFailed) and cause and _is_silence(cause) else error


def _is_silence(error: BaseException | None) -> bool:
    """Whether there was no answer."""
    return isinstance(error, ConnectionFailed | Unreachable)


def _is_of_a_side(error: TransferError) -> bool:
    """Whether the error is about the whole side, and does not name its remedy itself."""
    if error.code == "NoCredentials":
        return False
    refused = isinstance(error, EndpointRefused) or error.code in ENDING
    return _is_silence(error) or (refused and error.status > 0)


def is_by_another(error: TransferError) -> bool:
    """Whether the answer came from something in front of the store."""
    return "web page" in error.said


async def reach(client: S3Client, prefix: str, *, must_list: bool) -> None:
    """Request the first key below the prefix, so that what cannot work is reported before anything
    starts. Raises what the user has to fix. Temporary errors are retried for a moment. Problems of
    the store are left to the run, which has more patience."""
    listing = PrefixListing(client, prefix, attempts=1, first_version=client.first_version)
    end = time.monotonic() + FIRST_PATIENCE
    for attempt in itertools.count(1):
        try:
            await listing.page(limit=1)
            return
        except ListingFailed as failed:
            error = failed.__cause__
        if not isinstance(error, TransferError):
            return
        if isinstance(error, ObjectRefused) and not must_list:
            return
        passing = error.disposition is Disposition.RETRY and error.code not in FINAL
        if passing and (error.status or not error.code):
            return
        left = end - time.monotonic()
        if not passing or left <= 0:
            raise error
        await asyncio.sleep(min(POLICY.pause(attempt), left))


class CheckedSide:
    """The common part of both sides: to ask, to note results, and to stop when nothing more can be
    determined."""

    side = ""

    def __init__(self, parameters: S3Parameters, client: S3Client, prefix: str) -> None:
        self.parameters = parameters
        self.client = client
        self.prefix = prefix  # of the keys there
        # The bucket's region, once it is known.
        self.region = client.endpoint.region
        self.checks: list[Check] = []
        self.requests = 0

    async def run(self) -> None:
        """Do all checks of this side. A problem that ends them is noted, not raised."""
        try:
            await self.check_region()
            await self.probe()
        except TransferError as error:
            trouble = self.trouble(error)
            known = trouble.meaning == trouble.error
            todo = trouble.todo if known else f"{trouble.meaning}: {trouble.todo}"
            self.note(trouble.name, CheckState.FAILED, trouble.error, todo)

    async def probe(self) -> None:
        """The checks after the region is known. Raises TransferError if nothing more can be
        determined."""
        raise NotImplementedError

    def trouble(self, error: TransferError) -> SideTrouble:
        """What an error of this side means, and what to do about it."""
        client = self.client
        return SideTrouble.of(error, self.side, client.endpoint, client.bucket, client.clock_offset)

    def note(
        self,
        name: str,
        state: CheckState,
        found: str,
        todo: str = "",
        statement: policies.Statement | None = None,
    ) -> None:
        """Add a result. `statement`: the IAM statement to add."""
        self.checks.append(Check(self.side, name, state, found, todo, statement or {}))

    def lacks(
        self,
        name: str,
        statement: policies.Statement,
        *,
        state: CheckState = CheckState.FAILED,
        but: str = "",
    ) -> None:
        """Note a missing permission. `but`: an alternative to adding it."""
        action = ", ".join(statement["Action"])
        self.note(
            name,
            state,
            f"not allowed: {action}",
            f"add the statement{f', or {but}' if but else ''}",
            statement,
        )

    async def ask(self, call: Callable[[], Awaitable[T]], attempts: int = ATTEMPTS) -> T:
        """The store's answer, after a few retries and within `PATIENCE`. Raises TransferError."""
        last: TransferError | None = None

        async def once() -> T:
            nonlocal last
            self.requests += 1
            try:
                return await call()
            except TransferError as error:
                last = error
                raise

        try:
            async with asyncio.timeout(PATIENCE):
                return await retry(once, attempts=attempts)
        except TimeoutError:
            host = self.client.endpoint.host
            raise last or ConnectionFailed(
                f"{host}: no answer in {PATIENCE:g} s", code="ConnectionFailed"
            ) from None

    async def list_keys(self, prefix: str) -> list[ListedObject]:
        """The first keys below the prefix."""
        return (await self.first_page(prefix)).entries

    async def first_page(self, prefix: str, limit: int = LISTED) -> ListPage:
        """The first page of keys below the prefix. Raises TransferError."""
        restore = self.client.endpoint.is_aws or self.parameters.restore_archived
        listing = PrefixListing(
            self.client,
            prefix,
            restore_status=restore,
            attempts=1,
            first_version=self.client.first_version,
        )
        try:
            return await self.ask(lambda: listing.page(limit=limit))
        except ListingFailed as error:
            raise error.__cause__ or error from None

    async def check_region(self) -> None:
        """At AWS, compare the bucket's region with the endpoint's. Raises EndpointRefused if they
        differ."""
        endpoint = self.client.endpoint
        if not endpoint.is_aws:
            return
        found = await self.ask(self.client.find_region)
        self.region = found or self.region
        if self.region != endpoint.region:
            raise EndpointRefused(
                f"the bucket {self.client.bucket!r} is in {found}, not in {endpoint.region}",
                code="PermanentRedirect",
            )
        self.note("region", CheckState.OK, found or f"{endpoint.region}, as far as the store tells")
