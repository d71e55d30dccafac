"""The lowest layer: one request over HTTP, to one of the store's addresses."""

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from dth.core.errors import ConnectionFailed, EndpointRefused, TransferError, Transient
from dth.core.transport import ConnectOptions, Response, Transport
from dth.objects.listing.pages import is_web_page
from dth.objects.store.answers import TRANSIENT_CODES, classify, is_error, parse_error, region_of
from dth.objects.store.endpoints import Addressing, Endpoint
from dth.objects.store.pace import Cap
from dth.objects.store.request import Request
from dth.objects.store.signing import quote_key

READS = frozenset({"GET", "HEAD"})
# Seconds that a store may take to complete or copy a large object without sending a byte.
SLOW_ANSWER = 900.0
# Seconds for which an address that did not answer is skipped: the first time, and at most.
FIRST_REST, LONGEST_REST = 2.0, 60.0
# Answers of a gateway that cannot serve now.
OUT_OF_SERVICE = frozenset({502, 503, 504})
# Answers that may name the bucket's region.
REGION_STATUS = frozenset({301, 307, 400, 403})


class WrongRegion(EndpointRefused):
    """The bucket is in another region. `region` is the one that the store names."""

    region = ""


@dataclass(slots=True)
class BucketAddress:
    """One place where the bucket can be reached."""

    origin: str
    host: str
    # The path of the bucket; "" if the host name contains the bucket.
    root: str
    # Monotonic time until which the address is skipped, and for how long it was skipped the last
    # time.
    resting_until: float = 0.0
    rest: float = 0.0

    def path(self, key: str) -> str:
        """The path of a key, or of the bucket."""
        if key or not self.root:
            return f"{self.root}/{quote_key(key)}"
        return self.root

    def failed(self) -> None:
        """Skip the address for a while, twice as long as the last time."""
        self.rest = min(max(FIRST_REST, self.rest * 2), LONGEST_REST)
        self.resting_until = time.monotonic() + self.rest

    def answered(self) -> None:
        """Do not skip the address any more."""
        self.rest = self.resting_until = 0.0


class Addresses:
    """All addresses of a bucket. Requests use them in turn. An address that does not answer is
    skipped for a while."""

    def __init__(self, endpoint: Endpoint, bucket: str) -> None:
        self._all = [_address(url, endpoint.addressing, bucket) for url in endpoint.urls]
        self._next = 0

    @property
    def first(self) -> BucketAddress:
        return self._all[0]

    def pick(self) -> BucketAddress:
        """The next address, or the one that is skipped for the shortest time."""
        every = self._all
        if len(every) == 1:
            return every[0]
        now = time.monotonic()
        for _ in every:
            self._next = (self._next + 1) % len(every)
            address = every[self._next]
            if address.resting_until <= now:
                return address
        return min(every, key=lambda address: address.resting_until)


def _address(url: str, addressing: Addressing, bucket: str) -> BucketAddress:
    scheme, _, host = url.partition("://")
    # Without a bucket it is the address of the whole store.
    if bucket and addressing is Addressing.VIRTUAL and "." not in bucket:
        host, root = f"{bucket}.{host}", ""
    else:
        root = f"/{bucket}"
    return BucketAddress(f"{scheme}://{host}", host, root)


class Wire:
    """Sends signed requests, and turns bad answers into errors."""

    def __init__(
        self, transport: Transport, connect: ConnectOptions, bucket: str, byte_cap: Cap | None
    ) -> None:
        self._byte_cap = byte_cap
        self._connect = (
            connect.with_buffer(byte_cap.buffer, byte_cap.resized)
            if byte_cap
            else connect.with_buffer(0)
        )
        # The store's clock minus the local clock, in seconds.
        self.clock_offset = 0.0
        self._transport = transport
        self._bucket = bucket

    async def send(
        self,
        request: Request,
        headers: Mapping[str, str],
        address: BucketAddress,
        path: str,
        query: str,
    ) -> Response:
        """Send a request with exactly these headers. Raises TransferError."""
        try:
            response = await self._transport.send(
                request.method,
                f"{address.origin}{path}?{query}" if query else address.origin + path,
                headers,
                request.body,
                options=self.options(),
                sink=request.sink,
                limit=request.limit,
                stall_timeout=SLOW_ANSWER if request.slow else 0.0,
                valve=request.valve,
            )
        except ConnectionFailed:
            address.failed()
            raise
        if response.status in OUT_OF_SERVICE:
            # Another address may work.
            address.failed()
        elif address.rest:
            address.answered()
        if response.status >= 300:
            raise self._error(request, address.host, response)
        if response.chunks and request.method != "GET":
            self._check_late(request, address.host, response)
        if request.check:
            request.check(response)
        return response

    def options(self) -> ConnectOptions:
        """The connection options. If the cap's rate has changed, connections get buffers of another
        size."""
        cap, before = self._byte_cap, self._connect
        if cap and cap.resized != before.since:
            self._connect = before.with_buffer(cap.buffer, cap.resized)
            self._transport.forget(before)
        return self._connect

    def note_clock(self, headers: Mapping[str, str]) -> None:
        """Learn the store's time from the headers of an answer."""
        stamp = email.utils.parsedate_tz(headers.get("date", ""))
        if stamp:
            self.clock_offset = email.utils.mktime_tz(stamp) - time.time()

    def _check_late(self, request: Request, host: str, response: Response) -> None:
        """Detect a failure in a successful answer. A store that answers 200 at once may fail later,
        and says so in the body. A proxy or a sign-in page answers 200 to everything."""
        if is_error(response.body):
            code, _ = parse_error(response.body)
            status = 404 if code == "NoSuchUpload" else 500 if code in TRANSIENT_CODES else 400
            raise self._error(request, host, replace(response, status=status))
        if is_web_page(response.body):
            where = self._where(request, host)
            raise Transient(f"{where}: a web page instead of an answer", code="BadAnswer")

    def _where(self, request: Request, host: str) -> str:
        """The beginning of a message about a request."""
        return f"{request.method} {host}/{self._bucket}" + (
            f" key {request.key!r}" if request.key else ""
        )

    def _error(self, request: Request, host: str, response: Response) -> TransferError:
        code, message = parse_error(response.body)
        if not code and is_web_page(response.body):
            message = "the answer is a web page"
        if response.status == 403:
            self.note_clock(response.headers)
        where = self._where(request, host)
        error = classify(response, code, message, where, reading=request.method in READS)
        if isinstance(error, EndpointRefused) and response.status in REGION_STATUS:
            region = region_of(response)
            if region and code != "SignatureDoesNotMatch":
                error = WrongRegion(
                    str(error), code=error.code, status=error.status, said=error.said
                )
                error.region = region
        return error
