"""Whom a network address is of."""

import ipaddress


def network_of(address: str) -> str:
    """Whom an address is of: the whole network that one customer gets, where it is IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
