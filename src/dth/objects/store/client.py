"""One bucket of one S3-compatible store: every request that the engine makes of it.

A method is one request with its retries. Keys go on the wire byte for byte. What happens below is in this package.
"""

from dataclasses import replace

from dth.objects.store.buckets import Bucket
from dth.objects.store.uploads import MultipartUploads


class S3Client(MultipartUploads, Bucket):
    """Requests to one bucket."""

    def for_bucket(self, bucket: str) -> "S3Client":
        """The same store and credentials, another bucket."""
        if bucket == self.bucket:
            return self
        request_cap, byte_cap = self._caps
        return S3Client(
            self._transport,
            # Connections are kept by the identity of their options.
            replace(self.endpoint, connect=self._wire.options()),
            bucket,
            self.credentials,
            side=self.side,
            gate=self.gate,
            request_cap=request_cap,
            byte_cap=byte_cap,
            attempts=self._attempts,
        )
