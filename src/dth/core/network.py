"""Which addresses connections may go to: one rule for stores, registries, proxies, webhooks and
issuers.

An address is checked when the connection is made, because a name may resolve differently than
before.
"""

import ipaddress
import os
import socket
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from dth.core.errors import UsageError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK, PRIVATE = "loopback", "private"
# Where clouds give machines their credentials and settings, except for link-local addresses.
METADATA: tuple[IpNetwork, ...] = tuple(
    map(
        ipaddress.ip_network,
        (
            # Alibaba Cloud; Oracle Cloud; Azure.
            "100.100.100.200/32",
            "192.0.0.192/32",
            "168.63.129.16/32",
            # AWS; Google Cloud.
            "fd00:ec2::/32",
            "fd20:ce::254/128",
        ),
    )
)
# Networks whose addresses contain an IPv4 address, and the number of bits after it.
HOLDING_IPV4 = (
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0),
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("::/96"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
)
# The network of local NAT64 gateways. The length of its prefix says where the IPv4 address is:
# after 96 bits, or after 48, 56 or 64, and then bits 64 to 71 are left out (RFC 6052). Only the
# gateway's operator knows the length.
LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
# The number of bits after the IPv4 address, without bits 64 to 71.
BEHIND_LOCAL = (40, 32, 24)
# The middle of the identifier of a tunnel to an IPv4 address (ISATAP, RFC 5214), whatever its two
# flags.
TUNNEL, TUNNEL_BITS = 0x5EFE, 0xFCFF_FFFF
IPV4_BITS = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Network:
    """Where connections may go: to public addresses, and to what is allowed in addition. Link-local
    addresses and those of metadata services are never allowed. `whose`: the side that has these
    rules, for messages. `also`: rules of another side that must allow a connection, too."""

    loopback: bool = False
    private: bool = False
    networks: tuple[IpNetwork, ...] = ()
    whose: str = "hub"
    also: Self | None = None

    @classmethod
    def read(cls, allow: object) -> Self:
        """`allow`: a list of `loopback`, `private` and networks such as 10.20.0.0/16. Raises
        UsageError."""
        if not isinstance(allow, list | tuple) or not all(isinstance(each, str) for each in allow):
            raise UsageError("allow: a list is needed, such as [loopback, private, 10.20.0.0/16]")
        words = {each.strip() for each in allow if each.strip()}
        return cls(
            LOOPBACK in words, PRIVATE in words, tuple(_networks(words - {LOOPBACK, PRIVATE}))
        )

    def allowed(self) -> list[str]:
        """The list from which `read` makes the same rules."""
        words = [LOOPBACK] * self.loopback + [PRIVATE] * self.private
        return [*words, *map(str, self.networks)]

    def narrowed(self, other: Self) -> Self:
        """Rules that allow only what both allow."""
        return replace(
            self,
            loopback=self.loopback and other.loopback,
            private=self.private and other.private,
            also=other,
        )

    def refusal(self, address: str) -> str:
        """Why a connection may not go to this IP address, as the end of a sentence; "" if it
        may."""
        try:
            reached = leads_to(address)
        except ValueError:
            return "is not an IP address"
        why = next(filter(None, map(self._refusal, reached)), "")
        return why or (self.also.refusal(address) if self.also else "")

    def _refusal(self, found: IpAddress) -> str:
        if never(found):
            return "is a link-local address or one of a metadata service, where nothing may connect"
        if any(found in each for each in self.networks):
            return ""
        if is_loopback(found):
            return (
                ""
                if self.loopback
                else f"is the {self.whose}'s machine itself, which its settings do not allow"
            )
        if is_private(found) and not self.private:
            return f"is in a private network, which the {self.whose}'s settings do not allow"
        return ""

    def refusal_of_host(self, host: str) -> str:
        """The same for the host of a URL if it is an IP address; "" for a name, which is resolved
        only when the connection is made. A proxy connects on behalf of this process, so it gets the
        same checks."""
        # In the form that resolvers read: other digits and dots mean the usual ones (IDNA).
        host = unicodedata.normalize("NFKC", host.strip("[]")).replace("\u3002", ".").rstrip(".")
        try:
            # Covers all notations of an IPv4 address: 127.1, 2130706433, 0x7f000001, 0177.0.0.1
            return self.refusal(socket.inet_ntoa(socket.inet_aton(host)))
        except (OSError, ValueError):
            pass
        try:
            return self.refusal(str(ipaddress.ip_address(host.partition("%")[0])))
        except ValueError:
            return ""


def _networks(words: Iterable[str]) -> Iterable[IpNetwork]:
    for word in sorted(words):
        try:
            yield ipaddress.ip_network(word)
        except ValueError:
            raise UsageError(
                f"allow: {word!r} is none of {LOOPBACK}, {PRIVATE}, or a network such as "
                "10.20.0.0/16"
            ) from None


def leads_to(text: str) -> list[IpAddress]:
    """All addresses that a connection to this address may reach: the IPv4 address if an IPv6
    address contains one, or several if it can be read in several ways. Raises ValueError if the
    text is not an address."""
    found = ipaddress.ip_address(text.partition("%")[0])
    value = int(found)
    if isinstance(found, ipaddress.IPv4Address) or value <= 1:
        return [found]
    for network, behind in HOLDING_IPV4:
        if found in network:
            return [_ipv4(value >> behind)]
    if found in LOCAL_NAT64:
        short = (value >> 64 << 56) | (value & (1 << 56) - 1)
        held: list[IpAddress] = [_ipv4(value), *(_ipv4(short >> behind) for behind in BEHIND_LOCAL)]
        # Where no address is, there are zeros.
        return [each for each in held if int(each) >> 24] or held[:1]
    if (value >> 32) & TUNNEL_BITS == TUNNEL:
        return [found, _ipv4(value)]
    return [found, found.teredo[1]] if found.teredo else [found]


def _ipv4(bits: int) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(bits & IPV4_BITS)


def real_address(text: str) -> IpAddress:
    """The address that is reached: the IPv4 address if an IPv6 address contains one. Raises
    ValueError if the text is not an address."""
    return leads_to(text)[0]


def never(address: IpAddress) -> bool:
    """Whether connections to this address are never allowed."""
    special = address.is_link_local or address.is_multicast or address.is_reserved
    return not is_loopback(address) and (special or any(address in each for each in METADATA))


def is_loopback(address: IpAddress) -> bool:
    """Whether the address is this machine. Connections to the unspecified address also go there."""
    return address.is_loopback or address.is_unspecified


def is_private(address: IpAddress) -> bool:
    """Whether the address is valid only within some networks."""
    return not address.is_global or (
        isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    )


def environment_names_proxy() -> bool:
    """Whether an environment variable names a proxy, in the way that libcurl reads them.

    `urllib.request` could tell, but importing it takes 4% of the start of a command."""
    return any(
        value and name[-6:].lower() == "_proxy" and name.lower() != "no_proxy"
        for name, value in os.environ.items()
    )
