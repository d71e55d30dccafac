"""What a preflight notes, and how it asks: a few attempts, within a time, and never an exception for what it finds."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from dth.errors import ConnectionFailed, EndpointRefused, ListingFailed, TransferError
from dth.s3 import policies
from dth.s3.client import S3Client
from dth.s3.listing import Entry, PrefixListing
from dth.s3.relay import Route
from dth.s3.retry import retry

T = TypeVar("T")

PATIENCE = 10.0  # seconds that one answer may take, with its retries
ATTEMPTS = 3  # of one request
LISTED = 20  # keys looked at
SIDES = {"source": "src", "destination": "dest"}  # with the beginning of their parameters' names
# What ends the checks of a side, by the store's code: the name of the check, and what to do.
ENDING = {
    "NoSuchBucket": ("bucket", "correct {start}Bucket, or create the bucket"),
    "InvalidBucketName": ("bucket", "correct {start}Bucket"),
    "InvalidAccessKeyId": (
        "credentials",
        "the store does not know the access key: correct {start}Credentials",
    ),
    "SignatureDoesNotMatch": (
        "credentials",
        "the secret key is not that of the access key: correct {start}Credentials",
    ),
    "ExpiredToken": ("credentials", "the credentials have expired: renew {start}Credentials"),
    "InvalidToken": ("credentials", "the session token is not good: renew {start}Credentials"),
    "TokenRefreshRequired": ("credentials", "the session token is not good: renew {start}Credentials"),
    "AccessDenied": ("credentials", "see that {start}Credentials may use this store at all"),
    "PermanentRedirect": ("region", "set {start}Region to where the bucket is"),
    "TemporaryRedirect": ("region", "set {start}Region to where the bucket is"),
    "AuthorizationHeaderMalformed": ("region", "set {start}Region to where the bucket is"),
    "AllAccessDisabled": ("account", "the account or bucket is disabled: ask its owner"),
    "AccountProblem": ("account", "the account is disabled: ask its owner"),
    "NotSignedUp": ("account", "the account has no S3: sign up"),
    "QuotaExceeded": ("quota", "raise the quota"),
}


class State(StrEnum):
    OK = "OK"
    WARNING = "WARNING"  # the task runs, but perhaps not as it is meant
    FAILED = "FAILED"  # the task, or a part of its objects, will fail
    UNKNOWN = "UNKNOWN"  # could not be told


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried or read."""

    side: str  # "source" or "destination"
    name: str
    state: State
    found: str  # one line
    todo: str = ""  # what to do about it, one line
    statement: policies.Statement = field(default_factory=dict)  # IAM statement to add; {}: none is missing


class Side:
    """What both sides have in common: to ask, to note, and to end where nothing more can be told."""

    side = ""

    def __init__(self, route: Route, client: S3Client, prefix: str) -> None:
        self.route = route
        self.client = client
        self.prefix = prefix  # of the keys there
        self.checks: list[Check] = []
        self.requests = 0

    async def run(self) -> None:
        try:
            await self._check_region()
            await self.probe()
        except TransferError as error:
            self.note(*_trouble(error, self.side, self.client))

    async def probe(self) -> None:
        raise NotImplementedError

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
        route = self.route
        restore = self.client.endpoint.is_aws or route.parameters.restore_archived
        listing = PrefixListing(self.client, prefix, restore_status=restore, attempts=1)
        try:
            return (await self.ask(lambda: listing.page(limit=LISTED))).entries
        except ListingFailed as error:
            raise error.__cause__ or error from None

    async def _check_region(self) -> None:
        endpoint = self.client.endpoint
        if not endpoint.is_aws:
            return
        found = await self.ask(self.client.find_region)
        if found and found != endpoint.region:
            parameter = f"{SIDES[self.side]}Region"
            raise EndpointRefused(
                f"the bucket {self.client.bucket!r} is in {found}, not in {endpoint.region}: set {parameter}",
                code="PermanentRedirect",
            )
        self.note("region", State.OK, found or f"{endpoint.region}, as far as the store tells")


def _trouble(error: TransferError, side: str, client: S3Client) -> tuple[str, State, str, str]:
    """What ends the preflight of a side, as the fields of a check."""
    start, endpoint = SIDES[side], client.endpoint
    if error.code == "RequestTimeTooSkewed":
        found = f"the clock of this machine and the store's are {abs(client.clock_offset):.0f} s apart"
        return "clock", State.FAILED, found, "set the clock of this machine, best by NTP"
    if error.code.startswith("KMS."):
        return "KMS", State.FAILED, str(error), "see that the key is enabled"
    if isinstance(error, ConnectionFailed) or not error.status:
        text = str(error)
        if "certificate" in text.lower() or "ssl" in text.lower():
            todo = f"give the store's authority in {start}CaBundle, or correct the host in {start}Endpoint"
            return "TLS", State.FAILED, text, todo
        if error.code == "NoCredentials":
            return "credentials", State.FAILED, text, f"name a secret in {start}Credentials"
        if error.code != "PermanentRedirect":
            todo = f"see that {endpoint.url} is right ({start}Endpoint, {start}Region) and can be reached from here"
            return "connection", State.FAILED, text, f"{todo}, if need be through {start}Proxy"
    name, todo = ENDING.get(error.code, ("connection", "see what the store says, and try again"))
    return name, State.FAILED, str(error), todo.format(start=start)
