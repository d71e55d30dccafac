"""The layer that signs: for one of the store's addresses, with the keys of this moment, in the bucket's region."""

import time
from collections.abc import Callable
from math import inf

from dth.core.errors import EndpointRefused, Transient
from dth.core.transport import Pipe, Response
from dth.objects.store.chunked import CONTENT_SHA256
from dth.objects.store.credentials import Credentials
from dth.objects.store.endpoints import Endpoint, in_region
from dth.objects.store.request import Request
from dth.objects.store.signing import EMPTY_SHA256, UNSIGNED, Keys, Signer, quote_query
from dth.objects.store.wire import Address, Addresses, Wire, WrongRegion

# Seconds for which keys are used without a look whether they have changed. An error leads to a look at once.
KEPT = 1.0
# Proxies and stores change it on the way (GCS does), so a signature over it would not hold.
ACCEPT_ENCODING = "accept-encoding"


class Signing:
    """Signs and sends. Where the store names another region for the bucket, that one is used from then on.

    `accepted`: monotonic time at which the store last accepted a signature with the present keys.
    """

    def __init__(
        self,
        wire: Wire,
        endpoint: Endpoint,
        bucket: str,
        credentials: Credentials,
        note: Callable[[str], None],
    ) -> None:
        self.accepted = -inf
        self._keys: Keys | None = None
        # Monotonic time of the last look at the credentials.
        self._looked = -inf
        self.addresses = Addresses(endpoint, bucket)
        self._wire = wire
        self._endpoint = endpoint
        self._bucket = bucket
        self._credentials = credentials
        self._note = note
        self._signer = Signer(endpoint.region)

    async def send(self, request: Request) -> Response:
        region = self._endpoint.region
        if time.monotonic() - self._looked >= KEPT:
            await self._look()
        try:
            response = await self._wire.send(request, *self._signed(request))
        except WrongRegion as error:
            # Another request may have been told before this one.
            told = region != self._endpoint.region == error.region
            if not told and not self._follow(error.region):
                raise
            if isinstance(request.body, Pipe):
                # What has passed is gone: who holds both ends begins anew, and finds the region known.
                raise Transient(str(error), code=error.code) from None
            response = await self._wire.send(request, *self._signed(request))
        except EndpointRefused:
            self._looked = -inf
            raise
        self.accepted = time.monotonic()
        return response

    async def _look(self) -> None:
        keys = await self._credentials.keys()
        if keys is not self._keys:
            self._keys, self.accepted = keys, -inf
        self._looked = time.monotonic()

    def _signed(self, request: Request) -> tuple[dict[str, str], Address, str, str]:
        """All headers of a request, the address it goes to, and path and query there."""
        address = self.addresses.pick()
        path = address.path(request.key)
        query = quote_query(request.query) if request.query else ""
        headers = {"host": address.host}
        if request.headers:
            headers |= request.headers
        if request.options:
            headers |= request.options
        encoding = headers.pop(ACCEPT_ENCODING, "")
        if self._endpoint.requester_pays:
            headers["x-amz-request-payer"] = "requester"
        if keys := self._keys:
            payload = headers.get(CONTENT_SHA256) or (UNSIGNED if request.body else EMPTY_SHA256)
            self._signer.sign(keys, request.method, path, query, headers, payload)
        # libcurl sends the same one.
        del headers["host"]
        if encoding:
            headers[ACCEPT_ENCODING] = encoding
        return headers, address, path, query

    def _follow(self, region: str) -> bool:
        """Whether to ask again, in the region that the store named."""
        if region == self._endpoint.region or not region.isascii() or not region.isprintable():
            return False
        self._note(f"bucket {self._bucket} is in region {region}, not {self._endpoint.region}")
        self._endpoint = in_region(self._endpoint, region)
        self.addresses = Addresses(self._endpoint, self._bucket)
        self._signer = Signer(region)
        return True
