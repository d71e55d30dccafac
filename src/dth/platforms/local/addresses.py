"""Which network an address belongs to."""

import ipaddress


def network_of(address: str) -> str:
    """The network of one customer that an address belongs to. For IPv6 this is a whole prefix."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
