"""What all requests to one bucket have in common: the combined layers."""

import base64
import hashlib
import time
from collections.abc import Mapping

from dth.core.errors import (
    ConnectionFailed,
    EndpointRefused,
    ObjectRefused,
    Throttled,
    TransferError,
    Transient,
)
from dth.core.transport import Body, Pipe, Response, Transport
from dth.objects.store.answers import region_of
from dth.objects.store.capabilities import Capabilities, CapabilityLayer, Dress, Feature
from dth.objects.store.credentials import Credentials
from dth.objects.store.endpoints import Endpoint
from dth.objects.store.folders.paths import place_of
from dth.objects.store.folders.store import Folder
from dth.objects.store.gate import Gated
from dth.objects.store.immediate_retry import ATTEMPTS
from dth.objects.store.pace import Cap, Gate
from dth.objects.store.rate import StoreRate
from dth.objects.store.request import Request, Sender
from dth.objects.store.retry_layer import RetryLayer
from dth.objects.store.sign import Signing
from dth.objects.store.wire import Wire

# Seconds for which an accepted signature proves that the keys are right.
PROVEN = 5.0
# Consecutive test requests that must succeed.
ASKED = 20


class Requests:
    """Requests to one bucket. All clients of the endpoint in this process share `gate`, the caps
    and `rates` (of reading and of writing).

    `side` is the name of this side in errors: "source" or "destination".
    """

    def __init__(
        self,
        transport: Transport,
        endpoint: Endpoint,
        bucket: str,
        credentials: Credentials,
        *,
        side: str = "",
        gate: Gate | None = None,
        request_cap: Cap | None = None,
        byte_cap: Cap | None = None,
        rates: tuple[StoreRate, StoreRate] | None = None,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.endpoint = endpoint
        self.bucket = bucket
        self.side = side
        self.credentials = credentials
        self.gate = gate or Gate()
        self.capabilities = Capabilities.of(
            endpoint.profile, endpoint.checksum, encrypted=endpoint.encrypted
        )
        self._transport = transport
        self._caps = (request_cap, byte_cap)
        self._attempts = attempts
        self.caps = [cap for cap in (request_cap, byte_cap) if cap]
        self._wire = Wire(transport, endpoint.connect, bucket, byte_cap)
        self._signing = Signing(self._wire, endpoint, bucket, credentials, self.capabilities.note)
        self.rates = rates or (StoreRate(), StoreRate())
        below: Sender = self._signing
        self._folder: Folder | None = None
        if endpoint.is_folder:
            # It answers no checksums, and nobody compares an MD5.
            self.capabilities.echoes = False
            self.capabilities.refused.add(Feature.MD5)
            writes, follows = side == "destination", endpoint.follows_links
            below = self._folder = Folder(
                bucket, transport, self.capabilities.note, writes=writes, follow=follows
            )
        self._gated = Gated(below, self.gate, request_cap, byte_cap, self.rates)
        self._capability_layer = CapabilityLayer(
            RetryLayer(self._gated, attempts), self.capabilities, endpoint.host
        )
        self._customer = _customer_headers(endpoint.customer_key)

    @property
    def first_version(self) -> bool:
        """Whether the store is known to support only the first version of the listing API."""
        return self.endpoint.profile.listing_version == 1

    def sweep(self) -> None:
        """Remove what killed writers left in a folder, while it is listed."""
        if self._folder:
            self._folder.sweep()

    @property
    def left_out(self) -> list[str]:
        """What listings left out because it is not an object: links and special files of a
        folder."""
        return self._folder.left_out if self._folder else []

    @property
    def place(self) -> str:
        """The bucket or folder as users write it, without a slash at the end."""
        return place_of(self.bucket)

    @property
    def clock_offset(self) -> float:
        """The store's clock minus the local clock, in seconds."""
        return self._wire.clock_offset

    @property
    def held_back(self) -> int:
        """Requests, and bodies in transfer, that wait for a cap."""
        return self._gated.held_back

    @property
    def throttled_to(self) -> float:
        """The lowest rate in requests per second that the store was seen to accept; 0 if it accepts
        all."""
        return min((each.rate for each in self.rates if each.rate), default=0.0)

    def note_clock(self, headers: Mapping[str, str]) -> None:
        """Learn the store's time from the headers of an answer."""
        self._wire.note_clock(headers)

    async def send(self, request: Request) -> Response:
        """Send one request through all layers. Raises TransferError."""
        try:
            return await self._capability_layer.send(request)
        except TransferError as error:
            raise await self._explained(error, request.key) from None

    async def send_dressed(self, dress: Dress) -> Response:
        """As `send`, for a request about an object whose headers depend on what the store
        accepts."""
        try:
            return await self._capability_layer.adapted(dress)
        except TransferError as error:
            raise await self._explained(error, dress(frozenset()).key) from None

    async def request(
        self,
        method: str,
        key: str = "",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
        sink: Pipe | None = None,
        limit: int = 0,
        slow: bool = False,
        attempts: int = 0,
    ) -> Response:
        """As `send`, with the fields of the request as arguments."""
        return await self.send(
            Request(method, key, query, headers, None, body, sink, limit, slow, attempts)
        )

    def where(self, method: str, key: str) -> str:
        """The beginning of a message about one request."""
        if self.endpoint.is_folder:
            return f"folder {self.bucket}, key {key!r}"
        return f"{method} {self._signing.addresses.first.host}/{self.bucket} key {key!r}"

    def bad_answer(self, method: str, key: str, lacks: str) -> Transient:
        """The error for an answer in which `lacks` is missing."""
        return Transient(f"{self.where(method, key)}: {lacks} in the answer", code="BadAnswer")

    async def lets_pass(self, key: str = "") -> bool:
        """Whether the store answers repeated requests for an object that did exist (`key`), or for
        the bucket. A store that refuses half of all requests passes this test once in a million
        times."""
        method, headers = ("GET", {"range": "bytes=0-0"}) if key else ("HEAD", {})
        for _ in range(ASKED):
            try:
                await self.request(method, key, headers=headers, limit=1, attempts=1)
            except (Throttled, ConnectionFailed):
                return False
            except TransferError:
                continue
        return True

    async def find_region(self) -> str:
        """The bucket's region, which AWS states to anybody; "" if the store does not state it."""
        address = self._signing.addresses.first
        response = await self._transport.send(
            "HEAD", address.origin + address.root, {}, options=self.endpoint.connect
        )
        return region_of(response)

    async def _explained(self, error: TransferError, key: str) -> TransferError:
        """The error with its side. If only one object is refused and other requests with the same
        keys succeed, the error concerns that object: for an invalid signature, and for refusals
        without the code of an S3 store."""
        if isinstance(error, EndpointRefused):
            signature = error.code == "SignatureDoesNotMatch"
            wordless = key != "" and error.code.startswith("HTTP")
            if (signature and await self._keys_are_right()) or (
                wordless and await self._others_pass()
            ):
                error = ObjectRefused(
                    (
                        f"{error}; other requests with the same keys pass: look at this object's "
                        "key and metadata"
                    ),
                    code=error.code,
                    status=error.status,
                    said=error.said,
                )
        error.side = error.side or self.side
        return error

    async def _keys_are_right(self) -> bool:
        return time.monotonic() - self._signing.accepted < PROVEN or await self._others_pass()

    async def _others_pass(self) -> bool:
        """Whether the store answers a listing."""
        try:
            await self._gated.send(Request("GET", query={"list-type": "2", "max-keys": "1"}))
        except ObjectRefused:
            # Listing is not permitted. The store decides that after checking the signature.
            return True
        except TransferError:
            return False
        return True


def _customer_headers(key: bytes) -> dict[str, str]:
    """The headers with the customer's key that encrypts the objects (SSE-C)."""
    if not key:
        return {}
    prefix = "x-amz-server-side-encryption-customer-"
    return {
        f"{prefix}algorithm": "AES256",
        f"{prefix}key": base64.b64encode(key).decode(),
        f"{prefix}key-md5": base64.b64encode(
            hashlib.md5(key, usedforsecurity=False).digest()
        ).decode(),
    }
