"""Where connections may go, in every way to write an address."""

from __future__ import annotations

import os
import socket

import pytest

from dth.core.confinement import check_host
from dth.core.errors import UsageError
from dth.core.network import Network, environment_names_proxy

OPEN = Network(loopback=True, private=True)
CLOSED = Network()

# Nothing may connect there, whatever the settings say.
NEVER = (
    "169.254.169.254", "169.254.170.2", "169.254.0.23", "169.254.1.1", "fe80::1", "fe80::1%eth0",
    "febf::1",
    "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "100.100.100.200", "192.0.0.192",
    "168.63.129.16",
    "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "::169.254.169.254", "::ffff:0:169.254.169.254",
    "64:ff9b::169.254.169.254", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1",
    "::ffff:100.100.100.200",
    # Local NAT64 with prefixes of 48, 56 and 64 bits, alone and with something behind.
    "64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1:a9fe:a9:fe00:808:808", "64:ff9b:1:a9:fe:a9fe::",
    "64:ff9b:1:0:a9:fea9:fe00::",
    # Tunnels: ISATAP and Teredo.
    "2001:db8::5efe:169.254.169.254", "2600::200:5efe:a9fe:a9fe", "2001:0:808:808::5601:5601",
    "224.0.0.1", "ff02::1", "240.0.0.1", "255.255.255.255",
)  # fmt: skip
LOOPBACK = (
    "127.0.0.1",
    "127.255.0.7",
    "::1",
    "0.0.0.0",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:0.0.0.0",
    "::127.0.0.1",
)
PRIVATE = (
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fc00::1",
    "fd12:3456::1", "fec0::1",
    "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "2002:a00:1::1", "0.1.2.3",
    "64:ff9b:1:a00:0:100:808:808",
    "2600::5efe:10.0.0.1", "2001:0:808:808::f7f7:f7f7",
)  # fmt: skip
PUBLIC = (
    "8.8.8.8", "52.95.110.1", "2600:1f18::1", "::ffff:8.8.8.8", "172.32.0.1", "100.128.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::8.8.8.8", "64:ff9b:1:808:8:800::", "2600::5efe:8.8.8.8",
)  # fmt: skip
# Hosts of URLs that are addresses, written in other ways.
METADATA_SPELT = (
    "2852039166", "0xa9fea9fe", "0xA9.0xFE.0xA9.0xFE", "0251.0376.0251.0376", "025177524776",
    "169.254.43518",
    "169.254.169.254.", "2852039166.", "\uff11\uff16\uff19.254.169.254",
    "169\u3002254\uff0e169\uff61254",
    "169.16689662", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "[fe80::1%25eth0]",
)  # fmt: skip
LOOPBACK_SPELT = (
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "017700000001",
    "127.1",
    "127.0.0.1.",
    "\u246027.0.0.1",
    "0",
    "[::1]",
    "[::ffff:7f00:1]",
)


@pytest.mark.parametrize("address", NEVER)
def test_metadata_services_and_link_local_addresses_are_never_reached(address: str) -> None:
    everything = Network.read(["loopback", "private", "0.0.0.0/0", "::/0"])
    for network in (OPEN, CLOSED, everything):
        assert network.refusal(address)


@pytest.mark.parametrize("address", LOOPBACK)
def test_this_machine_is_a_setting(address: str) -> None:
    assert CLOSED.refusal(address)
    assert Network(private=True).refusal(address)
    assert not Network(loopback=True).refusal(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_networks_are_a_setting(address: str) -> None:
    assert CLOSED.refusal(address)
    assert Network(loopback=True).refusal(address)
    assert not Network(private=True).refusal(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_reached(address: str) -> None:
    assert not CLOSED.refusal(address)


def test_single_networks_can_be_allowed() -> None:
    network = Network.read(["10.20.0.0/16", "fd12::/16"])
    assert not network.refusal("10.20.3.4")
    assert not network.refusal("::ffff:10.20.3.4")
    assert not network.refusal("fd12::1")
    assert network.refusal("10.21.0.1")
    assert network.refusal("127.0.0.1")


@pytest.mark.parametrize(
    "allow", [None, "loopback", {"loopback": True}, ["everything"], ["10.0.0.1/8"], [1]]
)
def test_a_slip_in_the_settings_is_told(allow: object) -> None:
    with pytest.raises(UsageError, match="allow: "):
        Network.read(allow)


@pytest.mark.parametrize("host", [*METADATA_SPELT, *LOOPBACK_SPELT])
def test_hosts_in_numbers_are_judged_as_the_address_that_they_are(host: str) -> None:
    assert CLOSED.refusal_of_host(host)
    assert bool(OPEN.refusal_of_host(host)) == (host in METADATA_SPELT)


@pytest.mark.parametrize("host", [*METADATA_SPELT, *LOOPBACK_SPELT])
def test_what_the_resolver_makes_of_a_host_in_numbers_is_refused(host: str) -> None:
    """What is asked when the connection is made."""
    try:
        found = socket.getaddrinfo(
            host.strip("[]").replace("%25", "%"), 80, type=socket.SOCK_STREAM
        )
    except OSError:
        pytest.skip("the resolver here does not know this spelling")
    assert all(CLOSED.refusal(place[0]) for *_, place in found)


def test_names_are_judged_when_they_are_looked_up() -> None:
    for name in ("localhost", "metadata.google.internal", "s3.amazonaws.com", "10.example.org", ""):
        assert not CLOSED.refusal_of_host(name)
    assert CLOSED.refusal("localhost")


def test_a_command_connects_wherever_its_user_wants() -> None:
    check_host("169.254.169.254")


def test_a_hub_does_not(confined: None) -> None:
    check_host("127.0.0.1")
    with pytest.raises(UsageError, match=r"169\.254\.169\.254 is a link-local address"):
        check_host("169.254.169.254")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("https_proxy", "http://127.0.0.1:3128", True),
        ("HTTP_PROXY", "http://127.0.0.1:3128", True),
        ("All_Proxy", "socks5h://127.0.0.1:1080", True),
        ("HTTPS_PROXY", "", False),
        ("NO_PROXY", "*", False),
        ("PROXY", "http://127.0.0.1:3128", False),
    ],
)
def test_the_environment_names_a_proxy(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: bool
) -> None:
    for known in [known for known in os.environ if known.lower().endswith("_proxy")]:
        monkeypatch.delenv(known)
    monkeypatch.setenv(name, value)
    assert environment_names_proxy() is expected
