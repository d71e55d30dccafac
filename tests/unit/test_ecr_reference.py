"""Names of images: what people write, what is meant, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dth.core.errors import UsageError
from dth.images.registry.reference import (
    Reference,
    check_registry,
    check_repository,
    is_digest,
    is_registry,
    is_tag,
    parse,
    parse_within,
)

SHA = "sha256:" + "0123456789abcdef" * 4

# The grammar of github.com/distribution/reference, written again from its own rules, piece by piece
# as there.
ALPHANUMERIC = r"[a-z0-9]+"
SEPARATOR = r"(?:[._]|__|[-]+)"
PATH_COMPONENT = rf"{ALPHANUMERIC}(?:{SEPARATOR}{ALPHANUMERIC})*"
DOMAIN_COMPONENT = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
DOMAIN_NAME = rf"{DOMAIN_COMPONENT}(?:\.{DOMAIN_COMPONENT})*"
DOMAIN = rf"(?:{DOMAIN_NAME}|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
NAME = rf"(?:{DOMAIN}/)?{PATH_COMPONENT}(?:/{PATH_COMPONENT})*"
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
GRAMMAR = re.compile(rf"({NAME})(?::({TAG}))?(?:@({DIGEST}))?")

registries = st.one_of(
    st.sampled_from(
        [
            "docker.io",
            "localhost",
            "localhost:5000",
            "[::1]:5000",
            "[2001:db8::1]",
            "HOST",
            "10.0.0.1:80",
        ]
    ),
    st.from_regex(rf"{DOMAIN_NAME}:[0-9]{{1,4}}", fullmatch=True),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.from_regex(rf"{DOMAIN_COMPONENT}\.{DOMAIN_COMPONENT}", fullmatch=True),
)
repositories = st.from_regex(
    rf"{PATH_COMPONENT}(?:/{PATH_COMPONENT}){{0,3}}", fullmatch=True
).filter(lambda name: len(name) <= 200 and not re.fullmatch("[a-f0-9]{64}", name))
tags = st.one_of(st.just(""), st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,9}", fullmatch=True))
digests = st.one_of(
    st.just(""),
    st.binary(min_size=32, max_size=32).map(lambda value: f"sha256:{value.hex()}"),
    st.binary(min_size=64, max_size=64).map(lambda value: f"sha512:{value.hex()}"),
)


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("ubuntu", "docker.io", "library/ubuntu", "", ""),
        ("ubuntu:22.04", "docker.io", "library/ubuntu", "22.04", ""),
        ("a/b", "docker.io", "a/b", "", ""),
        ("a/b/c:1", "docker.io", "a/b/c", "1", ""),
        ("docker.io/ubuntu", "docker.io", "library/ubuntu", "", ""),
        ("docker.io/library/ubuntu", "docker.io", "library/ubuntu", "", ""),
        ("index.docker.io/ubuntu", "docker.io", "library/ubuntu", "", ""),
        ("localhost/ubuntu", "localhost", "ubuntu", "", ""),
        ("localhost:5000/ubuntu", "localhost:5000", "ubuntu", "", ""),
        ("host:5000/a/b:tag", "host:5000", "a/b", "tag", ""),
        (f"host:5000/a/b:tag@{SHA}", "host:5000", "a/b", "tag", SHA),
        (f"host:5000/a/b@{SHA}", "host:5000", "a/b", "", SHA),
        (f"ubuntu@{SHA}", "docker.io", "library/ubuntu", "", SHA),
        ("Host/a", "Host", "a", "", ""),
        ("[::1]:5000/a:b", "[::1]:5000", "a", "b", ""),
        ("quay.io/a-b/c_d/e.f/g__h/i--j:V1.0_x-y", "quay.io", "a-b/c_d/e.f/g__h/i--j", "V1.0_x-y",
        ""),
        ("public.ecr.aws/docker/library/nginx:1", "public.ecr.aws", "docker/library/nginx", "1",
        ""),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
         "a", "", ""),
        ("localhost:5000", "docker.io", "library/localhost", "5000", ""),  # a tag: there is no path
    ],
)  # fmt: skip
def test_what_is_meant(text: str, registry: str, repository: str, tag: str, digest: str) -> None:
    assert parse(text) == Reference(registry, repository, tag, digest)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "repository is missing"),
        ("host:5000/", "repository is missing"),
        (":tag", "repository is missing"),
        ("a:", "no tag after the colon"),
        ("a:b:c", "'b:c' is not a tag"),
        ("a:-b", "is not a tag"),
        ("a:" + "b" * 129, "is not a tag"),
        ("a@", "is not a digest"),
        ("a@sha256:abc", "64 digits"),
        ("a@sha256:" + "A" * 64, "64 digits"),
        ("a@md5:" + "0" * 32, "is not a digest"),
        ("a/B", "capital letters"),
        ("a//b", "is not the name of a repository"),
        ("a/../b", "is not the name of a repository"),
        ("a/b/", "is not the name of a repository"),
        ("a___b", "is not the name of a repository"),
        ("a b", "is not the name of a repository"),
        ("a\n", "is not the name of a repository"),
        ("a:b\n", "is not a tag"),
        ("https://host/a", "is not the name of a registry"),
        ("-x.io/a", "is not the name of a registry"),
        ("a" * 256, "longer than 255"),
        ("0" * 64, "an image's id"),
    ],
)
def test_what_is_refused_is_told_in_one_line(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as told:
        parse(text)
    assert problem in str(told.value)
    assert "\n" not in str(told.value)


@given(registries, repositories, tags, digests)
def test_a_reference_written_out_is_read_as_the_same(
    registry: str, repository: str, tag: str, digest: str
) -> None:
    if registry == "docker.io" and "/" not in repository:
        repository = f"library/{repository}"
    reference = Reference(registry, repository, tag, digest)
    assert parse(str(reference)) == reference
    assert parse_within(registry, str(reference)) == reference
    assert parse_within(registry, str(reference).removeprefix(f"{registry}/")) == reference


pieces = st.sampled_from(
    [*"ab0/:@.-_A[]", "__", "localhost", "host:5000", "sha256:", "f" * 64, "docker.io", "library"]
)


@given(
    st.one_of(
        st.from_regex(GRAMMAR, fullmatch=True),
        st.lists(pieces, max_size=9).map("".join),
        st.text(max_size=20),
    )
)
@example("a:b/c")
@example("A:1/b")
@example("docker.io/a:b@" + SHA)
def test_we_take_what_the_grammar_takes(text: str) -> None:
    match = GRAMMAR.fullmatch(text)
    try:
        found = parse(text)
    except UsageError:
        # What we refuse beyond the grammar: digests nobody makes, ids, lengths, capitals in what is
        # not a registry, addresses and ports that there cannot be.
        assert match is None or not _usual(text, match)
        return
    assert match is not None
    assert (found.tag, found.digest) == (match[2] or "", match[3] or "")
    assert match[1] in (
        found.name,
        found.repository,
        found.repository.removeprefix("library/"),
    ) or (
        found.registry == "docker.io"
        and match[1].removeprefix("index.").removeprefix("docker.io/")
        in (found.repository, found.repository.removeprefix("library/"))
    )


def _usual(text: str, match: re.Match[str]) -> bool:
    name, digest = match[1], match[3]
    first, slash, rest = name.partition("/")
    host = slash and (
        "." in first or ":" in first or first == "localhost" or first != first.lower()
    )
    path = rest if host else name
    return (
        (not host or is_registry(first))
        and (digest is None or is_digest(digest))
        and len(path) <= 255
        and re.fullmatch("[a-f0-9]{64}", path) is None
        and re.fullmatch(rf"{PATH_COMPONENT}(?:/{PATH_COMPONENT})*", path) is not None
    )


def test_within_a_registry_a_name_is_a_path() -> None:
    registry = "1.dkr.ecr.eu-west-1.amazonaws.com"
    assert parse_within(registry, "ubuntu:1") == Reference(registry, "ubuntu", "1")
    assert parse_within(registry, "team.one/app") == Reference(registry, "team.one/app")
    assert parse_within(registry, f"{registry}/a:b") == Reference(registry, "a", "b")
    assert parse_within("docker.io", "ubuntu") == Reference("docker.io", "library/ubuntu")
    with pytest.raises(UsageError, match=r"'5000/a' is not a tag"):
        parse_within(registry, "other:5000/a")


def test_what_is_asked_of_a_registry() -> None:
    assert parse("a").pointer == "latest"
    assert parse("a:b").pointer == "b"
    assert parse(f"a:b@{SHA}").pointer == SHA
    assert str(parse("a").tagged()) == "docker.io/library/a:latest"
    assert parse(f"a@{SHA}").tagged().tag == ""


def test_parts_alone() -> None:
    assert check_registry("host:1") == "host:1"
    assert check_repository("a/b") == "a/b"
    for good in ("[::1]", "[::ffff:127.0.0.1]:5000", "host:65535"):
        assert check_registry(good) == good
    for bad in (
        "",
        "https://host",
        "host/a",
        "a_b",
        "host:",
        "host:65536",
        "[:::]",
        "[1.2.3.4]",
        "::1",
        "a" * 256,
    ):
        with pytest.raises(UsageError, match="is not the name of a registry"):
            check_registry(bad)
    with pytest.raises(UsageError, match="'A' names no repository"):
        check_repository("A")
    assert is_tag("v1")
    assert not is_tag("v/1")
