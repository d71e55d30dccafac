"""Where each side is: options first, then the environment, then the profile of the AWS
configuration, as AWS tools have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import botocore.session
import pytest

from dth.core.errors import UsageError
from dth.objects.parameters import S3Parameters
from dth.objects.sides import SideSettings, side_settings
from dth.objects.store.aws_config import CA_VARIABLES
from dth.objects.store.endpoints import Addressing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG = """
[default]
region = eu-central-1

[profile minio]
region = eu-west-3
endpoint_url = http://profile:9000
ca_bundle = /profile.pem
s3 =
    addressing_style = virtual

[profile served]
endpoint_url = http://global:9000
services = mine

[services mine]
s3 =
    endpoint_url = http://service:9000
    unknown = thing
dynamodb =
    endpoint_url = http://tables:9000

[profile ignoring]
endpoint_url = http://ignored:9000
ignore_configured_endpoint_urls = true

[profile lost]
services = nowhere

[profile odd]
s3 =
    addressing_style = sideways
"""


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(CONFIG)
    (tmp_path / "credentials").write_text("[keys-only]\nendpoint_url = http://credentials:9000\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name in CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def set_(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_


def source(**parameters: Any) -> SideSettings:
    values = {f"src_{name}": value for name, value in parameters.items()}
    return side_settings(S3Parameters.model_validate({"src_bucket": "b"} | values), "source")


def url(**parameters: Any) -> str:
    return source(**parameters).endpoint.url


def botocores(profile: str | None = None) -> tuple[str | None, str | None]:
    """Endpoint URL and region that botocore takes; it does not know AWS_REGION."""
    client = botocore.session.Session(profile=profile).create_client(
        "s3", aws_access_key_id="a", aws_secret_access_key="b"
    )
    return client.meta.endpoint_url, client.meta.region_name


def test_a_profile_says_everything_of_its_side_alone() -> None:
    found = source(profile="minio")
    endpoint = found.endpoint
    assert (endpoint.url, endpoint.region) == ("http://profile:9000", "eu-west-3")
    assert (endpoint.addressing, endpoint.connect.ca_bundle) == (Addressing.VIRTUAL, "/profile.pem")
    assert found.url.origin == found.region.origin == found.ca_bundle.origin == "profile minio"
    other = side_settings(
        S3Parameters(src_bucket="b", src_profile="minio", dest_bucket="d"), "destination"
    )
    assert (other.endpoint.is_aws, other.endpoint.connect.ca_bundle) == (True, "")


@pytest.mark.parametrize("profile", ["minio", "served", "ignoring", "keys-only"])
@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"AWS_ENDPOINT_URL": "http://global-variable:1"},
        {"AWS_ENDPOINT_URL_S3": "http://s3-variable:1"},
        {
            "AWS_ENDPOINT_URL": "http://global-variable:1",
            "AWS_ENDPOINT_URL_S3": "http://s3-variable:1",
        },
        {"AWS_ENDPOINT_URL_DYNAMODB": "http://tables:1"},
        {"AWS_DEFAULT_REGION": "ap-south-1"},
        {
            "AWS_ENDPOINT_URL": "http://global-variable:1",
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        },
        {"AWS_ENDPOINT_URL": "", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false"},
    ],
    ids=str,
)
def test_endpoint_and_region_are_those_of_botocore(
    env: Callable[..., None], profile: str, variables: dict[str, str]
) -> None:
    env(**variables)
    theirs, region = botocores(profile)
    found = source(profile=profile).endpoint
    if found.is_aws:
        assert (theirs or "").startswith("https://s3.")
        assert (theirs or "").endswith("amazonaws.com")
    else:
        assert found.url == theirs
        assert found.region == (region or "us-east-1").replace("aws-global", "us-east-1")


def test_the_profile_of_the_environment_is_that_of_both_sides(env: Callable[..., None]) -> None:
    env(AWS_PROFILE="minio")
    assert url() == "http://profile:9000"
    # Whoever names another one, or a secret, has nothing to do with it.
    assert url(profile="served") == "http://service:9000"
    assert source(credentials="secret").endpoint.is_aws
    assert url(anonymous=True) == "http://profile:9000"


def test_options_go_before_variables_and_these_before_profiles(env: Callable[..., None]) -> None:
    env(
        AWS_ENDPOINT_URL="http://variable:1", AWS_REGION="r-env-1", AWS_DEFAULT_REGION="r-default-1"
    )
    env(AWS_CA_BUNDLE="/variable.pem", SSL_CERT_FILE="/other.pem")
    found = source(profile="minio")
    assert (found.endpoint.url, found.endpoint.region) == ("http://variable:1", "r-env-1")
    assert (found.url.origin, found.region.origin) == ("AWS_ENDPOINT_URL", "AWS_REGION")
    assert (found.ca_bundle.value, found.ca_bundle.origin) == ("/variable.pem", "AWS_CA_BUNDLE")
    given = {"endpoint": "http://option:1", "region": "r-option-1", "ca_bundle": "/option.pem"}
    found = source(profile="minio", addressing_style="path", **given)
    assert (found.endpoint.url, found.endpoint.region) == ("http://option:1", "r-option-1")
    assert (found.endpoint.addressing, found.endpoint.connect.ca_bundle) == (
        Addressing.PATH,
        "/option.pem",
    )
    assert found.url.origin == "--src-endpoint-url"


@pytest.mark.parametrize("name", CA_VARIABLES)
def test_authorities_of_curl_and_openssl_are_taken(env: Callable[..., None], name: str) -> None:
    env(**{name: "/some.pem"})
    assert source().endpoint.connect.ca_bundle == "/some.pem"


def test_a_region_for_aws_is_none_for_a_store_that_has_its_own(env: Callable[..., None]) -> None:
    env(AWS_REGION="eu-west-1")
    assert source().endpoint.url == "https://s3.eu-west-1.amazonaws.com"
    assert source(endpoint="https://account.r2.cloudflarestorage.com").endpoint.region == "auto"
    assert (
        source(endpoint="https://s3.us-west-004.backblazeb2.com").endpoint.region == "us-west-004"
    )
    assert source(endpoint="https://s3.us-east-2.amazonaws.com").endpoint.region == "us-east-2"
    assert source(endpoint="http://store:1").endpoint.region == "eu-west-1"
    assert source(type="Garage", endpoint="http://store:1").endpoint.region == "garage"


def test_a_store_that_was_named_is_not_replaced_by_a_variable(env: Callable[..., None]) -> None:
    env(AWS_ENDPOINT_URL="http://variable:1")
    assert url(type="Wasabi", region="eu-central-1") == "https://s3.eu-central-1.wasabisys.com"
    assert url(type="MinIO") == url(type="Amazon_S3") == url() == "http://variable:1"


def test_what_is_wrong_names_the_side_and_who_says_so(env: Callable[..., None]) -> None:
    for parameters, told in (
        ({"profile": "lost"}, r"^source: profile lost: there is no section \[services nowhere\]"),
        (
            {"profile": "odd"},
            "^source: profile odd: addressing_style 'sideways' is none of auto, path, virtual",
        ),
        ({"endpoint": "ftp://x"}, "^source: endpoint URL 'ftp://x' is not"),
    ):
        with pytest.raises(UsageError, match=told):
            source(**parameters)
    env(AWS_ENDPOINT_URL_S3="http://host/path")
    with pytest.raises(
        UsageError,
        match=r"^source: AWS_ENDPOINT_URL_S3: endpoint URL 'http://host/path' has a path",
    ):
        source()


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[default\n")
    with pytest.raises(UsageError, match=r"^source: the AWS configuration cannot be read: "):
        source()
    assert source(credentials="secret").endpoint.is_aws  # which reads none


def test_a_missing_profile_is_for_the_credentials_to_tell() -> None:
    assert source(profile="nobody").endpoint.is_aws


@pytest.mark.parametrize(
    ("proxy", "why"),
    [
        ("http://me:hidden@proxy:1", "holds credentials"),
        ("me:hidden@proxy:1", "holds credentials"),
        ("http://proxy:1/@me:hidden", "holds credentials"),
        ("http://me:hid/den@proxy:1", "holds credentials"),
        ("file:///etc/passwd", "is not SCHEME://host:port"),
        ("socks5h://localhost/run/docker.sock", "has a path"),
        ("http://", "is not SCHEME://host:port"),
        ("http://a b", "is not SCHEME://host:port"),
    ],
)
def test_a_proxy_is_an_address_without_a_password(proxy: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        source(endpoint="https://s.example.org", proxy=proxy)
    assert "hidden" not in str(refused.value)
    assert "hid/den" not in str(refused.value)


def test_what_is_shown_says_what_came_from_where(env: Callable[..., None]) -> None:
    env(AWS_REGION="eu-west-1", AWS_ACCESS_KEY_ID="AKIDENV", AWS_SECRET_ACCESS_KEY="hidden")
    assert source(profile="minio", proxy="http://proxy:1").lines() == [
        "endpoint http://profile:9000 (profile minio), type S3_Compatible",
        "region eu-west-1 (AWS_REGION)",
        "addressing virtual (profile minio)",
        "proxy http://proxy:1",
        "credentials: profile minio",
    ]
    assert source(endpoint="https://s.example.org", ca_bundle="/x.pem").lines() == [
        "endpoint https://s.example.org (--src-endpoint-url), type S3_Compatible",
        "region eu-west-1 (AWS_REGION)",
        "addressing path (as S3_Compatible and the bucket's name have it)",
        "CA /x.pem (--src-ca-bundle)",
        "credentials: AWS_ACCESS_KEY_ID of the environment",
    ]
    assert source().lines()[1] == "region of the bucket, asked for at eu-west-1"
    lines = source(type="Google_GCS", credentials="name", role_arn="arn:r").lines()
    assert lines[0] == "endpoint https://storage.googleapis.com (of Google_GCS), type Google_GCS"
    assert lines[1] == "region auto (of the endpoint)"
    assert lines[-1] == "credentials: secret name, role arn:r"
