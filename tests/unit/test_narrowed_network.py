"""Rules of two sides that must both allow a connection."""

from dth.core.network import Network


def test_only_what_both_sides_allow_is_allowed() -> None:
    own = Network.read(["loopback", "10.1.0.0/16"])
    hub = Network.read(["private"])
    both = own.narrowed(Network.read(hub.allowed()))
    assert "itself" in both.refusal("127.0.0.1")
    assert both.refusal("192.168.0.1")
    assert both.refusal("169.254.169.254")
    assert not both.refusal("10.1.2.3")
    assert not both.refusal("8.8.8.8")
    assert Network.read(["10.1.0.0/16"]).narrowed(Network()).refusal("10.1.2.3")
