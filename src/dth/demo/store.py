"""A MiniStack S3 server as an ASGI application, with the checksums of a real store's speed.

MiniStack computes CRC64NVME and CRC32C bit by bit in Python, at 5 MiB/s; every real store does it
in native code, and so does this one. Nothing else of it is changed.
"""

from awscrt import checksums
from ministack.app import app
from ministack.services import s3

for name, native in (("_crc64nvme", checksums.crc64nvme), ("_crc32c", checksums.crc32c)):
    if not callable(getattr(s3, name, None)):
        raise ImportError(
            f"this version of MiniStack has no {name}; the demonstration needs another way to "
            "be quick"
        )
    setattr(s3, name, lambda body, native=native: native(bytes(body)))

__all__ = ["app"]
