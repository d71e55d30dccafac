"""The address of a registry and its protocol."""

import ipaddress
from dataclasses import dataclass
from functools import cache

from dth.images.registry.reference import DOCKER_HUB

DOCKER_HUB_API = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class RegistryAddress:
    """Where a registry is."""

    host: str  # as in references
    # Use http; the default on the loopback interface without a CA bundle.
    plain_http: bool = False
    # PEM file of trusted authorities; "" = libcurl's.
    ca_bundle: str = ""

    @property
    def insecure(self) -> bool:
        """Whether connections use http."""
        return self.plain_http or (not self.ca_bundle and _is_loopback(self.host))

    @property
    def url(self) -> str:
        """Scheme and host, without a path. The API of Docker Hub has another host than its name."""
        host = DOCKER_HUB_API if self.host == DOCKER_HUB else self.host
        return f"{'http' if self.insecure else 'https'}://{host}"


@cache
def _is_loopback(host: str) -> bool:
    bracket = host.startswith("[")
    name = host[1:].partition("]")[0] if bracket else host.partition(":")[0]
    if not bracket and name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
