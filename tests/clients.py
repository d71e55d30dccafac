"""S3 clients of the engine, connected to the servers of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dth.core.transport import ConnectOptions
from dth.objects.store.client import S3Client
from dth.objects.store.endpoints import resolve_endpoint
from dth.objects.store.signing import AccessKeys

if TYPE_CHECKING:
    from dth.core.transport import Transport
    from dth.objects.store.credentials import Credentials
    from dth.objects.store.pace import Cap, Gate
    from tests.servers.s3 import S3Server


class Fixed:
    """Credentials that stay what they are."""

    def __init__(self, access: str, secret: str, token: str = "") -> None:
        self._keys = AccessKeys(access, secret, token)

    async def keys(self) -> AccessKeys | None:
        return self._keys


def connect_options(server: S3Server, **options: Any) -> ConnectOptions:
    """How this server is reached; nothing takes long here."""
    ca = str(server.ca) if server.ca else ""
    return ConnectOptions(
        **{"ca_bundle": ca, "connect_timeout": 5.0, "stall_timeout": 20.0, **options}
    )


def connect(
    transport: Transport,
    server: S3Server,
    bucket: str,
    *,
    credentials: Credentials | None = None,
    gate: Gate | None = None,
    request_cap: Cap | None = None,
    byte_cap: Cap | None = None,
    attempts: int = 1,
    **endpoint: Any,
) -> S3Client:
    """A client of a bucket. What is left of the options goes to `resolve_endpoint`."""
    settings = {
        "url": server.url,
        "region": server.region,
        "connect": connect_options(server),
    } | endpoint
    return S3Client(
        transport,
        resolve_endpoint(**settings),
        bucket,
        credentials or Fixed(server.access_key, server.secret_key),
        gate=gate,
        request_cap=request_cap,
        byte_cap=byte_cap,
        attempts=attempts,
    )
