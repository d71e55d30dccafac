"""One bucket of one S3-compatible store, with every request that the engine sends to it.

Each method is one request with its retries. Keys are sent byte for byte. The layers below are in
this package.
"""

from dataclasses import replace

from dth.objects.store.buckets import Bucket
from dth.objects.store.uploads import MultipartUploads


class S3Client(MultipartUploads, Bucket):
    """Requests to one bucket."""

    def for_bucket(self, bucket: str) -> "S3Client":
        """A client for another bucket with the same store and credentials."""
        if bucket == self.bucket:
            return self
        request_cap, byte_cap = self._caps
        return S3Client(
            self._transport,
            # Connections are reused by the identity of their options.
            replace(self.endpoint, connect=self._wire.options()),
            bucket,
            self.credentials,
            side=self.side,
            gate=self.gate,
            request_cap=request_cap,
            byte_cap=byte_cap,
            attempts=self._attempts,
        )
