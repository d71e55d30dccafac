"""The layer that signs requests: for one of the store's addresses, with the current keys, in the
bucket's region."""

import time
from collections.abc import Callable
from math import inf

from dth.core.errors import EndpointRefused, Transient
from dth.core.transport import Pipe, Response
from dth.objects.store.chunked import CONTENT_SHA256
from dth.objects.store.credentials import Credentials
from dth.objects.store.endpoints import Endpoint, in_region
from dth.objects.store.request import Request
from dth.objects.store.signing import EMPTY_SHA256, UNSIGNED, AccessKeys, Signer, quote_query
from dth.objects.store.wire import Addresses, BucketAddress, Wire, WrongRegion

# Seconds for which keys are used without checking for new ones. After an error they are checked at
# once.
KEPT = 1.0
# Not signed, because some proxies and stores (GCS) change it, which would make the signature
# invalid.
ACCEPT_ENCODING = "accept-encoding"


class Signing:
    """Signs and sends requests. If the store names another region for the bucket, that region is
    used from then on.

    `accepted`: the monotonic time when the store last accepted a signature with the current keys.
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
        self._keys: AccessKeys | None = None
        # The monotonic time of the last check of the credentials.
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
            # Another request may have got this answer earlier.
            told = region != self._endpoint.region == error.region
            if not told and not self._follow(error.region):
                raise
            if isinstance(request.body, Pipe):
                # Bytes that have passed are gone. The caller that holds both ends starts over, with
                # the region known.
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

    def _signed(self, request: Request) -> tuple[dict[str, str], BucketAddress, str, str]:
        """All headers of a request, the address it is sent to, and the path and query there."""
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
        # libcurl sends the same header itself.
        del headers["host"]
        if encoding:
            headers[ACCEPT_ENCODING] = encoding
        return headers, address, path, query

    def _follow(self, region: str) -> bool:
        """Switch to the region that the store named. Returns whether to send the request again."""
        if region == self._endpoint.region or not region.isascii() or not region.isprintable():
            return False
        self._note(f"bucket {self._bucket} is in region {region}, not {self._endpoint.region}")
        self._endpoint = in_region(self._endpoint, region)
        self.addresses = Addresses(self._endpoint, self._bucket)
        self._signer = Signer(region)
        return True
