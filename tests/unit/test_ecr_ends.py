"""SRC and DST of `dth ecr`: what people write, and what it means."""

from __future__ import annotations

from typing import Any

import pytest

from dth.core.errors import UsageError
from dth.images.ends import one, several
from dth.images.parameters import EcrParameters
from dth.images.registry.reference import Reference
from dth.images.renames import Renames

ACCOUNT = "123456789012"
ECR = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("src", "expected"),
    [
        ("quay.io", {"src_registry": "quay.io", "src_list": "ALL"}),
        ("harbor.example.com:8443", {"src_registry": "harbor.example.com:8443", "src_list": "ALL"}),
        ("localhost:5000/", {"src_registry": "localhost:5000", "src_list": "ALL"}),
        ("[::1]:5000", {"src_registry": "[::1]:5000", "src_list": "ALL"}),
        ("[2001:db8::1]", {"src_registry": "[2001:db8::1]", "src_list": "ALL"}),
        ("[::1]:5000/team/app:v1", {"src_registry": "[::1]:5000", "src_image_list": "team/app:v1"}),
        ("localhost", {"src_registry": "localhost", "src_list": "ALL"}),
        ("localhost:5000", {"src_registry": "localhost:5000", "src_list": "ALL"}),
        ("localhost:80", {"src_registry": "localhost:80", "src_list": "ALL"}),
        ("registry:5000", {"src_registry": "registry:5000", "src_list": "ALL"}),
        ("registry:443/", {"src_registry": "registry:443", "src_list": "ALL"}),
        ("registry:5000/app", {"src_registry": "registry:5000", "src_image_list": "app:ALL_TAGS"}),
        ("registry:2", {"src_registry": "docker.io", "src_image_list": "library/registry:2"}),
        ("quay.io/team/app", {"src_list": "SELECTED", "src_image_list": "team/app:ALL_TAGS"}),
        ("quay.io/team/app:v1", {"src_list": "SELECTED", "src_image_list": "team/app:v1"}),
        ("quay.io/team/*", {"src_list": "ALL", "include_repositories": ("team/*",)}),
        ("alpine", {"src_registry": "docker.io", "src_image_list": "library/alpine:ALL_TAGS"}),
        ("redis:7", {"src_registry": "docker.io", "src_image_list": "library/redis:7"}),
        ("alpine:3.20", {"src_registry": "docker.io", "src_image_list": "library/alpine:3.20"}),
        (
            "docker.io/bitnami/redis:7",
            {"src_registry": "docker.io", "src_image_list": "bitnami/redis:7"},
        ),
        (ECR, {"source_type": "Amazon_ECR", "src_account_id": ACCOUNT, "src_region": "eu-west-1"}),
        (f"{ECR}/team/app:v1", {"source_type": "Amazon_ECR", "src_image_list": "team/app:v1"}),
        (
            f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn",
            {"source_type": "Amazon_ECR", "src_region": "cn-north-1"},
        ),
        (f"{ACCOUNT}.dkr-ecr-fips.us-gov-west-1.on.aws", {"src_region": "us-gov-west-1"}),
        (f"{ACCOUNT}.dkr.ecr-fips.us-gov-west-1.amazonaws.com", {"src_region": "us-gov-west-1"}),
        ("ecr:ap-southeast-2", {"source_type": "Amazon_ECR", "src_region": "ap-southeast-2"}),
        (
            "ecr:eu-west-1/team/app",
            {"src_region": "eu-west-1", "src_image_list": "team/app:ALL_TAGS"},
        ),
    ],
)
def test_a_source(src: str, expected: dict[str, Any]) -> None:
    values = several(src, "harbor.example.com")
    EcrParameters.model_validate(values)
    assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("dst", "expected"),
    [
        (
            "harbor.example.com/mirror/all",
            {"dest_registry": "harbor.example.com", "dest_prefix": "mirror/all"},
        ),
        ("localhost:5000/mirror/", {"dest_registry": "localhost:5000", "dest_prefix": "mirror"}),
        ("localhost", {"dest_registry": "localhost"}),
        ("localhost:5000", {"dest_registry": "localhost:5000"}),
        ("registry:5000", {"dest_registry": "registry:5000"}),
        ("registry:80", {"dest_registry": "registry:80"}),
        ("registry:5000/mirror", {"dest_registry": "registry:5000", "dest_prefix": "mirror"}),
        ("[::1]:5000", {"dest_registry": "[::1]:5000"}),
        ("[::1]/mirror", {"dest_registry": "[::1]", "dest_prefix": "mirror"}),
        (
            "ecr:eu-west-1/mirror",
            {"dest_type": "Amazon_ECR", "dest_region": "eu-west-1", "dest_prefix": "mirror"},
        ),
        (ECR, {"dest_type": "Amazon_ECR", "dest_account_id": ACCOUNT}),
    ],
)
def test_a_destination(dst: str, expected: dict[str, Any]) -> None:
    values = several("quay.io", dst)
    EcrParameters.model_validate(values)
    assert {name: values[name] for name in expected} == expected
    assert "dest_prefix" in expected or "dest_prefix" not in values


@pytest.mark.parametrize(
    ("src", "dst", "copied"),
    [
        ("quay.io/team/app:v1", "there.example.com", "there.example.com/team/app:v1"),
        ("quay.io/team/app:v1", "there.example.com/app", "there.example.com/app:v1"),
        ("quay.io/team/app:v1", "there.example.com/app:stable", "there.example.com/app:stable"),
        ("registry:5000/team/app:v1", "there.example.com", "there.example.com/team/app:v1"),
        ("quay.io/team/app", "there.example.com/app:stable", "there.example.com/app:stable"),
        ("alpine:3.20", "there.example.com", "there.example.com/alpine:3.20"),
        ("alpine:3.20", "there.example.com/base/alpine:3", "there.example.com/base/alpine:3"),
        (
            f"quay.io/team/app@sha256:{'a' * 64}",
            "there.example.com/app:pinned",
            "there.example.com/app:pinned",
        ),
    ],
)
def test_what_one_image_is_called(src: str, dst: str, copied: str) -> None:
    parameters = EcrParameters.model_validate(one(src, dst))
    host, _, path = src.partition("/") if "/" in src else ("docker.io", "", f"library/{src}")
    repository, _, pointer = path.partition("@") if "@" in path else path.partition(":")
    tag, digest = ("", pointer) if ":" in pointer else (pointer or "latest", "")
    reference = Reference(host, repository, tag, digest)
    assert str(Renames(parameters.rename_rules).dest(reference, "there.example.com")) == copied
    # Its signatures, under tags of their own, go to the same repository.
    signature = Reference(host, repository, "sha256-abc.sig")
    there = Renames(parameters.rename_rules).dest(signature, "there.example.com")
    assert there.name == copied.rpartition(":")[0]


@pytest.mark.parametrize(
    ("src", "dst", "says"),
    [
        ("https://quay.io/team/app", "there.example.com", "write it without https://"),
        ("quay.io/Team/app", "there.example.com", "capital letters"),
        ("quay.io/team/app:", "there.example.com", "no tag after the colon"),
        ("quay.io/team/app", "there.example.com/Mirror", "capital letters"),
        ("quay.io", "", "not the name of a registry"),
        ("bad_host.io:x/team", "there.example.com", "not the name of a registry"),
        ("quay.io", "registry:99999", "not the name of a registry"),
        ("quay.io", "[::1:5000", "not the name of a registry"),
        ("[:::]:5000/app", "there.example.com", "not the name of a registry"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(src: str, dst: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as raised:
        several(src, dst)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("src", ["quay.io", "quay.io/team/*"])
def test_one_image_has_to_be_named(src: str) -> None:
    with pytest.raises(UsageError, match="names no image; write REGISTRY/REPOSITORY:TAG"):
        one(src, "there.example.com")


def test_a_digest_is_not_for_the_user_to_say() -> None:
    with pytest.raises(UsageError, match="a digest follows from the image"):
        one("quay.io/team/app:v1", f"there.example.com/app@sha256:{'a' * 64}")
