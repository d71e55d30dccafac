"""What a preflight notes, and how it asks: a few attempts, within a time, and never an exception for what it finds."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from dth.core.checks import Check, State
from dth.core.errors import (
    ConnectionFailed,
    Disposition,
    EndpointRefused,
    ListingFailed,
    ObjectRefused,
    TransferError,
)
from dth.core.transport import NO_TLS
from dth.objects.checks import policies
from dth.objects.listing.pages import NO_LISTING, Entry, ListPage, PrefixListing
from dth.objects.parameters import S3Parameters
from dth.objects.store.client import S3Client
from dth.objects.store.endpoints import Endpoint
from dth.objects.store.retry import backoff, retry

T = TypeVar("T")

PATIENCE = 10.0  # seconds that one answer may take, with its retries
ATTEMPTS = 3  # of one request
LISTED = 20  # keys looked at
FIRST_PATIENCE = 2.0  # seconds for which the first request of a command is tried again
SIDES = {"source": "src", "destination": "dest"}  # with the beginning of their parameters' names
NAMED = ("Bucket", "Endpoint", "Credentials", "Region", "CaBundle", "Proxy", "AddressingStyle")
# What ends the checks of a side, by the store's code: the name of the check, what it means, and what to do.
ENDING = {
    "NoSuchBucket": (
        "bucket",
        "there is no bucket {bucket!r} at {host}",
        "correct {Bucket}, or create the bucket",
    ),
    "NotFound": (  # a 404 without a word of S3
        "bucket",
        "there is no bucket {bucket!r} at {host}, or no S3 at all",
        "correct {Bucket} or {Endpoint}",
    ),
    "InvalidBucketName": ("bucket", "{bucket!r} is no name for a bucket", "correct {Bucket}"),
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
        ("region", "the bucket {bucket!r} is in another region", "set {Region} to where the bucket is"),
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
# What it means that no answer came, by libcurl's words.
NO_ANSWER = {
    "could not resolve proxy": "the proxy's host name cannot be resolved",
    "could not resolve": "the host name of {host} cannot be resolved",
    "over proxy": "the proxy takes no connection, or none to {host}",
    **dict.fromkeys(NO_TLS, "the server at {host} does not speak TLS"),
    "trust anchors": "the file of authorities in {CaBundle} cannot be read",
    "subject name": "the TLS certificate of {host} is one of another host",
    "has expired": "the TLS certificate of {host} has expired",
    "certificate": "the TLS certificate of {host} is not trusted",
    "ssl": "TLS with {host} does not come about",
    "tls": "TLS with {host} does not come about",
    "could not connect": "no server takes connections at {host}",
    "couldn't connect": "no server takes connections at {host}",
    "timed out": "the server at {host} does not answer in time",
    "timeout": "the server at {host} does not answer in time",
    "no answer": "the server at {host} does not answer in time",
    "reset by peer": "the server at {host} breaks the connection off",
    "empty reply": "the server at {host} breaks the connection off",
    "broke off": "the server at {host} breaks the connection off",
    "is a web page": "the server at {host} does not answer as S3 does, but with a web page",
    "is empty": "the server at {host} does not answer as S3 does: its answer to a listing is empty",
    "a listing": "the server at {host} does not answer as S3 does",
}
# Codes of failures that no second try mends at the beginning; later on, a name server may just be away.
FINAL = {"UnknownHost", "UnknownProxy", NO_LISTING}
OF_TLS = ("certificate", "ssl", "tls", "trust anchors")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What ends the checks of a side."""

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
    ) -> "Trouble":
        """`names`: how users know the parameters (those of tasks by default); `host`: how they know the store."""
        text = str(error)
        named = names or {name: f"{SIDES[side]}{name}" for name in NAMED}
        words = {**named, "host": host or endpoint.host, "bucket": bucket}
        if error.code == "RequestTimeTooSkewed" and abs(clock_offset) < 60:
            meaning = "the store refuses the time of the request, but no difference to its clock was seen"
            return cls(
                "clock",
                meaning,
                "see that this machine and all servers behind {host} have the right time".format(**words),
                text,
            )
        if error.code == "RequestTimeTooSkewed":
            apart = f"the clock of this machine and the store's are {abs(clock_offset):.0f} s apart"
            return cls("clock", apart, "set the clock of this machine, best by NTP", text)
        if error.code.startswith("KMS."):
            return cls("KMS", "the store cannot use the KMS key", "see that the key is enabled", text)
        if error.code == "NoCredentials":
            return cls("credentials", text, f"name a secret in {named['Credentials']}", text)
        if "://" in error.location or error.code == "TemporaryRedirect":
            return cls._redirected(error, words)
        if isinstance(error, ConnectionFailed) or (not error.status and error.code not in ENDING):
            return cls._no_answer(text, words, endpoint)
        if is_by_another(error):
            meaning = (
                f"something before the store at {words['host']} (a proxy, a firewall) answers with a web page"
            )
            todo = f"see that {named['Endpoint']} is right, and that requests of S3 may pass there"
            return cls("connection", meaning, todo, text)
        if error.code not in ENDING:
            return cls("connection", text, "see what the store says, and try again", text)
        name, meaning, todo = ENDING[error.code]
        meaning = meaning if error.status else "{error}"  # ours says it better
        if error.location:
            todo += f"; it names {error.location}"
        return cls(name, meaning.format(**words, error=text), todo.format(**words), text)

    @classmethod
    def _redirected(cls, error: TransferError, words: Mapping[str, str]) -> "Trouble":
        """The answer says where to go instead; the bucket may stand in that host name."""
        parts = urlsplit(error.location if "://" in error.location else f"https://{error.location}")
        target = f"{parts.scheme}://{parts.netloc.removeprefix(words['bucket'] + '.')}"  # without the bucket
        meaning = f"the server at {words['host']} redirects to {error.location}"
        return cls("connection", meaning, f"use {target} as {words['Endpoint']}", str(error))

    @classmethod
    def _no_answer(cls, text: str, words: Mapping[str, str], endpoint: Endpoint) -> "Trouble":
        name = urlsplit(endpoint.url).hostname or ""
        said = text.lower().replace(f"{words['bucket']}.{name}", "").replace(name, "")  # libcurl's own words
        asked = text.partition(": ")[0]
        with_bucket = asked == f"{words['bucket']}.{endpoint.host}"
        meaning = next((means for heard, means in NO_ANSWER.items() if heard in said), "{error}")
        shown = {**words, "host": asked if with_bucket else words["host"]}
        meaning = meaning.format(**shown, error=text)
        if with_bucket and "could not resolve host" in said:
            todo = "correct {Bucket} or {Endpoint}, or set {AddressingStyle} to path"
            return cls("connection", meaning, todo.format(**words), text)
        if any(heard in said for heard in NO_TLS):
            plain = endpoint.url.replace("https:", "http:")
            todo = f"write http:// in {{Endpoint}} ({plain}) if that is meant, or correct the port"
            return cls("TLS", meaning, todo.format(**words), text)
        if any(heard in said for heard in OF_TLS):
            todo = "give the store's authority in {CaBundle}, or correct the host in {Endpoint}"
            return cls("TLS", meaning, todo.format(**words), text)
        todo = f"see that {endpoint.url} is right ({{Endpoint}}, {{Region}}) and can be reached from here"
        if endpoint.url.startswith("http:") and "breaks the connection off" in meaning:
            encrypted = endpoint.url.replace("http:", "https:")
            todo = f"write https:// in {{Endpoint}} ({encrypted}) if it speaks TLS; {todo}"
        if endpoint.encrypted and ("breaks the connection off" in meaning or "in time" in meaning):
            # To a server without TLS a handshake looks like a line that has not ended.
            plain = endpoint.url.replace("https:", "http:")
            todo = f"write http:// in {{Endpoint}} ({plain}) if it speaks no TLS; {todo}"
        return cls(
            "connection", meaning, todo.format(**words) + f", if need be through {words['Proxy']}", text
        )


def is_by_another(error: TransferError) -> bool:
    """Whether something answered that stands before the store."""
    return "web page" in error.said


async def reach(client: S3Client, prefix: str, *, must_list: bool) -> None:
    """Ask for the first key below the prefix, so that what cannot work is told before anything starts. Raises what the
    user has to mend. What may pass by itself is tried again for a moment; trouble of the store is left to the run,
    which has more patience."""
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
        await asyncio.sleep(min(backoff(attempt), left))


class Side:
    """What both sides have in common: to ask, to note, and to end where nothing more can be told."""

    side = ""

    def __init__(self, parameters: S3Parameters, client: S3Client, prefix: str) -> None:
        self.parameters = parameters
        self.client = client
        self.prefix = prefix  # of the keys there
        self.region = client.endpoint.region  # of the bucket, once it is known
        self.checks: list[Check] = []
        self.requests = 0

    async def run(self) -> None:
        try:
            await self.check_region()
            await self.probe()
        except TransferError as error:
            trouble = self.trouble(error)
            known = trouble.meaning == trouble.error
            todo = trouble.todo if known else f"{trouble.meaning}: {trouble.todo}"
            self.note(trouble.name, State.FAILED, trouble.error, todo)

    async def probe(self) -> None:
        raise NotImplementedError

    def trouble(self, error: TransferError) -> Trouble:
        client = self.client
        return Trouble.of(error, self.side, client.endpoint, client.bucket, client.clock_offset)

    def note(
        self, name: str, state: State, found: str, todo: str = "", statement: policies.Statement | None = None
    ) -> None:
        self.checks.append(Check(self.side, name, state, found, todo, statement or {}))

    def lacks(
        self, name: str, statement: policies.Statement, *, state: State = State.FAILED, but: str = ""
    ) -> None:
        """Note a permission that is missing. `but`: what else would do."""
        action = ", ".join(statement["Action"])
        self.note(
            name,
            state,
            f"not allowed: {action}",
            f"add the statement{f', or {but}' if but else ''}",
            statement,
        )

    async def ask(self, call: Callable[[], Awaitable[T]], attempts: int = ATTEMPTS) -> T:
        """What the store answers, after a few retries and within `PATIENCE`."""
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

    async def list_keys(self, prefix: str) -> list[Entry]:
        """The first keys below the prefix."""
        return (await self.first_page(prefix)).entries

    async def first_page(self, prefix: str, limit: int = LISTED) -> ListPage:
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
        self.note("region", State.OK, found or f"{endpoint.region}, as far as the store tells")
