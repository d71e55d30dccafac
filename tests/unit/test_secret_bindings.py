"""Which host is which, and what a binding covers."""

import pytest

from dth.core.errors import UsageError
from dth.core.secret_bindings import (
    ascii_host,
    covers,
    first_bindings,
    host_of,
    hosts_of,
    read_bindings,
)


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("https://Store.Example.COM", "store.example.com"),
        ("https://store.example.com.", "store.example.com"),
        ("https://store.example.com:443/", "store.example.com"),
        ("http://store.example.com:80", "store.example.com"),
        ("http://store.example.com:443", "store.example.com:443"),
        ("https://store.example.com:9000", "store.example.com:9000"),
        ("registry:5000", "registry:5000"),
        ("https://bücher.example", "xn--bcher-kva.example"),
        ("https://BÜCHER.example", "xn--bcher-kva.example"),
        ("http://127.1:9000", "127.0.0.1:9000"),
        ("http://2130706433:9000", "127.0.0.1:9000"),
        ("http://0x7f.0.0.1", "127.0.0.1"),
        ("http://0177.0.0.1", "127.0.0.1"),
        ("http://[::FFFF:127.0.0.1]:9000", "127.0.0.1:9000"),
        ("https://[2001:DB8:0::1]:9000", "[2001:db8::1]:9000"),
        ("docker.io", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("Registry-1.docker.io.", "docker.io"),
        ("https://auth.docker.io/token", "docker.io"),
    ],
)
def test_one_host_has_one_form(given: str, host: str) -> None:
    assert host_of(given) == host


@pytest.mark.parametrize("given", ["", "https://", "http://[", "https://a:99999"])
def test_what_names_no_host(given: str) -> None:
    with pytest.raises(UsageError, match="names no host"):
        host_of(given)


@pytest.mark.parametrize(
    "given", ["faß.example", "evil\u3002example", "\uff53tore.example", "ex\u200dample.org"]
)
def test_names_that_programs_read_in_several_ways_are_refused(given: str) -> None:
    with pytest.raises(UsageError, match="ASCII"):
        ascii_host(given)


@pytest.mark.parametrize(
    ("binding", "covered", "others"),
    [
        ("store.example.com", ["store.example.com"], ["store.example.com:9000",
        "x.store.example.com", "example.com"]),
        ("store.example.com:9000", ["store.example.com:9000"], ["store.example.com",
        "store.example.com:9001"]),
        ("*.example.com", ["a.example.com", "a.b.example.com"], ["example.com", "aexample.com",
        "a.example.com:8443"]),
        ("*.example.com:8443", ["a.example.com:8443"], ["a.example.com"]),
        ("*", ["a", "127.0.0.1:1"], []),
        ("127.0.0.1:9000", ["127.0.0.1:9000"], ["127.0.0.1", "127.0.0.1:9001", "127.0.0.2:9000"]),
        ("[::1]:9000", ["[::1]:9000"], ["[::1]", "[::2]:9000"]),
        (
            "*.amazonaws.com",
            [
                "s3.eu-west-1.amazonaws.com", "s3.amazonaws.com", "s3-us-west-2.amazonaws.com",
                "s3.dualstack.us-east-1.amazonaws.com", "s3-fips.us-gov-west-1.amazonaws.com",
                "s3-accesspoint.eu-west-1.amazonaws.com", "s3-accelerate.dualstack.amazonaws.com",
                "bucket.vpce-0a1b-2c.s3.eu-west-1.vpce.amazonaws.com",
                "api.ecr.eu-central-1.amazonaws.com",
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                "123456789012.dkr-ecr.eu-west-1.on.aws",
                "ecr.eu-west-1.api.aws", "sts.eu-west-1.amazonaws.com",
            ],
            [
                "amazonaws.com", "s3.amazonaws.com.evil.example",
                "s3.eu-west-1.amazonaws.com.evil.example",
                "ec2-1-2-3-4.compute.amazonaws.com", "x.elb.amazonaws.com",
                "s3.x.elb.amazonaws.com",
                "x.execute-api.eu-west-1.amazonaws.com", "x.lambda-url.eu-west-1.on.aws",
                "x.s3-object-lambda.eu-west-1.amazonaws.com", "evil-amazonaws.com",
                "s3.eu-west-1.amazonaws.com:8443",
                "vpce-1.vpce-svc-2.eu-west-1.vpce.amazonaws.com", "s3.cn-north-1.amazonaws.com.cn",
                "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "s3.eu-west-1.amazonaws.evil",
            ],
        ),
        ("*.amazonaws.com.cn", ["s3.cn-north-1.amazonaws.com.cn"], ["s3.eu-west-1.amazonaws.com"]),
        (
            "*.eu-west-1.amazonaws.com",
            ["s3.eu-west-1.amazonaws.com"],
            ["s3.us-east-1.amazonaws.com", "x.execute-api.eu-west-1.amazonaws.com"],
        ),
        (
            "ec2-1-2-3-4.compute.amazonaws.com",
            ["ec2-1-2-3-4.compute.amazonaws.com"],
            ["ec2-1-2-3-5.compute.amazonaws.com"],
        ),
        ("docker.io", ["docker.io"], ["evil.docker.io.example"]),
    ],
)  # fmt: skip
def test_what_a_binding_covers(binding: str, covered: list[str], others: list[str]) -> None:
    assert read_bindings([binding]) == (binding,)
    assert all(covers([binding], host_of(each)) for each in covered)
    assert not [each for each in others if covers([binding], host_of(each))]


def test_nothing_covers_nothing() -> None:
    assert not covers([], "store.example.com")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (" Store.Example.com. ", "store.example.com"),
        ("store.example.com:443", "store.example.com"),
        ("*.Example.com", "*.example.com"),
        ("127.1:9000", "127.0.0.1:9000"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("registry-1.docker.io", "docker.io"),
        ("localhost:5000", "localhost:5000"),
    ],
)
def test_bindings_are_kept_in_one_form(given: str, kept: str) -> None:
    assert read_bindings([given, kept]) == (kept,)


@pytest.mark.parametrize(
    "given",
    [
        "", "https://a.example", "a.example/path", "me@a.example", "*.com", "a.*.example",
        "**.example.com", "a b",
        "*.127.0.0.1", "*.[::1]", "-a.example", "a..example", "a.example:x", "a.example,b.example",
        "x" * 300,
        "faß.example", "*.", "a\n.example",
    ],
)  # fmt: skip
def test_what_is_no_binding(given: str) -> None:
    with pytest.raises(UsageError):
        read_bindings([given])


def test_only_so_many_hosts() -> None:
    with pytest.raises(UsageError, match="50 are the most"):
        read_bindings([f"h{number}.example" for number in range(51)])


def test_the_first_use_binds_to_the_hosts_or_to_the_services_of_a_partition() -> None:
    assert first_bindings(["s3.eu-west-1.amazonaws.com", "api.ecr.us-east-1.amazonaws.com"]) == (
        "*.amazonaws.com",
    )
    assert first_bindings(["s3.cn-north-1.amazonaws.com.cn"]) == ("*.amazonaws.com.cn",)
    assert first_bindings(["store.example.com", "127.0.0.1:9000"]) == (
        "store.example.com",
        "127.0.0.1:9000",
    )
    assert first_bindings(["ec2-1-2-3-4.compute.amazonaws.com"]) == (
        "ec2-1-2-3-4.compute.amazonaws.com",
    )


def test_a_proxy_is_a_host_where_it_reads_what_passes() -> None:
    assert hosts_of(["https://a.example"], "http://proxy:3128") == ("a.example",)
    assert hosts_of(["http://a.example"], "http://proxy:3128") == ("a.example", "proxy:3128")
    assert hosts_of(["http://a.example"], "proxy") == ("a.example", "proxy")
