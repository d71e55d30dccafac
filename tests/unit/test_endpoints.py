"""Where requests go and how they are signed: profiles, partitions, addressing, and URLs that are refused."""

import botocore.session
import pytest

from dth.errors import UsageError
from dth.s3.client import S3Client
from dth.s3.credentials import FixedCredentials
from dth.s3.endpoints import (
    PROFILES,
    Addressing,
    ChecksumMode,
    Profile,
    aws_url,
    resolve_endpoint,
)
from dth.s3.parameters import StoreType
from dth.s3.transport import ConnectOptions


def partitions() -> list[tuple[str, str]]:
    """Every region that botocore knows, with its partition's domain."""
    data = botocore.session.Session().get_component("data_loader").load_data("endpoints")
    return [(region, part["dnsSuffix"]) for part in data["partitions"] for region in part["regions"]]


@pytest.mark.parametrize(("region", "domain"), partitions())
def test_every_aws_region_has_the_endpoint_of_its_partition(region: str, domain: str) -> None:
    endpoint = resolve_endpoint(region=region)
    assert endpoint.url == aws_url(region) == f"https://s3.{region}.{domain}"
    assert endpoint.is_aws
    assert endpoint.region == region
    # The same URL given as such is known for what it is, and so is its region.
    again = resolve_endpoint(url=endpoint.url)
    assert again.is_aws
    assert again.region == region


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://s3.amazonaws.com", "us-east-1"),
        ("https://s3.dualstack.eu-west-1.amazonaws.com", "eu-west-1"),
        ("https://s3-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("https://bucket.vpce-1a2b3c4d-5e6f.s3.ap-southeast-2.vpce.amazonaws.com", "ap-southeast-2"),
        ("https://s3express-use1-az4.us-east-2.amazonaws.com", "us-east-2"),
        ("https://s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("http://localhost:9000", "us-east-1"),
        ("https://store-eu-west-1.example.com", "us-east-1"),  # only AWS names its regions like that for sure
    ],
)
def test_the_region_is_read_from_an_aws_url(url: str, region: str) -> None:
    assert resolve_endpoint(url=url).region == region
    assert resolve_endpoint(url=url, region="xx-given-1").region == "xx-given-1"


def test_every_store_type_has_a_profile() -> None:
    assert set(PROFILES) == {kind.value for kind in StoreType}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_a_profile_is_found_by_its_name_and_by_its_hosts(profile: Profile) -> None:
    if profile.endpoint or profile.name == "Amazon_S3":
        by_region = resolve_endpoint(kind=profile.name, region="xx-east-1")
        assert by_region.profile is profile
        assert by_region.url.startswith("https://")
        assert "{" not in by_region.url
        assert resolve_endpoint(url=by_region.url).profile is profile
    by_url = resolve_endpoint(kind=profile.name, url="http://store.local:9000", region="here")
    assert (by_url.profile, by_url.url, by_url.region) == (profile, "http://store.local:9000", "here")
    assert by_url.addressing is profile.addressing
    assert by_url.checksum is profile.checksum
    assert by_url.profile.addressing is not Addressing.AUTO
    for ending in profile.hosts:
        assert resolve_endpoint(url=f"https://x.{ending.strip('.')}").profile is profile


@pytest.mark.parametrize(
    ("kind", "url", "addressing", "checksum"),
    [
        ("Amazon_S3", "https://s3.eu-west-1.amazonaws.com", Addressing.VIRTUAL, ChecksumMode.CRC64NVME),
        ("Aliyun_OSS", "https://s3.oss-eu-west-1.aliyuncs.com", Addressing.VIRTUAL, ChecksumMode.MD5),
        ("Tencent_COS", "https://cos.eu-west-1.myqcloud.com", Addressing.VIRTUAL, ChecksumMode.MD5),
        ("Qiniu_Kodo", "https://s3-eu-west-1.qiniucs.com", Addressing.PATH, ChecksumMode.MD5),
        ("Huawei_OBS", "https://obs.eu-west-1.myhuaweicloud.com", Addressing.VIRTUAL, ChecksumMode.MD5),
        ("Baidu_BOS", "https://s3.eu-west-1.bcebos.com", Addressing.PATH, ChecksumMode.MD5),
        ("Google_GCS", "https://storage.googleapis.com", Addressing.PATH, ChecksumMode.MD5),
    ],
)
def test_a_store_is_reached_by_its_region(
    kind: str, url: str, addressing: Addressing, checksum: ChecksumMode
) -> None:
    endpoint = resolve_endpoint(kind=kind, region="eu-west-1")
    assert (endpoint.url, endpoint.addressing, endpoint.checksum) == (url, addressing, checksum)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "https://[::1]:9000"])
def test_a_bucket_never_stands_before_an_address_in_numbers(url: str) -> None:
    for kind in ("Amazon_S3", "Aliyun_OSS", ""):
        assert resolve_endpoint(url=url, kind=kind).addressing is Addressing.PATH
    asked = resolve_endpoint(url=url, kind="Amazon_S3", addressing=Addressing.VIRTUAL)
    assert asked.addressing is Addressing.VIRTUAL


def test_an_unknown_host_is_some_compatible_store() -> None:
    endpoint = resolve_endpoint(url="https://minio.example.com")
    assert endpoint.profile.name == "S3_Compatible"
    assert endpoint.addressing is Addressing.PATH
    assert not endpoint.is_aws


def test_what_is_given_goes_before_the_profile() -> None:
    connect = ConnectOptions("ca.pem", "http://proxy:3128")
    endpoint = resolve_endpoint(
        region="us-east-1",
        addressing=Addressing.PATH,
        checksum=ChecksumMode.NONE,
        connect=connect,
        requester_pays=True,
    )
    assert (endpoint.addressing, endpoint.checksum) == (Addressing.PATH, ChecksumMode.NONE)
    assert (endpoint.connect, endpoint.requester_pays) == (connect, True)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("minio.example.com", "https://minio.example.com"),
        ("minio.example.com:9000", "https://minio.example.com:9000"),
        ("http://minio.example.com/", "http://minio.example.com"),
        # As libcurl writes the host, or the signature would not be of what was sent.
        ("https://minio.example.com:443", "https://minio.example.com"),
        ("http://minio.example.com:80", "http://minio.example.com"),
        ("https://minio.example.com:80", "https://minio.example.com:80"),
        ("HTTPS://Minio.Example.com", "https://minio.example.com"),
        ("http://[::1]:9000", "http://[::1]:9000"),
        ("http://[::1]", "http://[::1]"),
    ],
)
def test_a_url_is_brought_into_one_form(given: str, url: str) -> None:
    endpoint = resolve_endpoint(url=given)
    assert endpoint.url == url
    assert endpoint.host == url.partition("://")[2]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://host", "is not http(s)://host[:port]"),
        ("http://", "is not http(s)://host[:port]"),
        ("http://host:port", "is not http(s)://host[:port]"),
        ("http://host:99999", "is not http(s)://host[:port]"),
        ("http://[::1", "is not http(s)://host[:port]"),
        ("http://a b", "is not http(s)://host[:port]"),
        ("s3://bucket", "is not http(s)://host[:port]"),
        ("http://host/bucket", "has a path"),
        ("host/bucket", "has a path"),
        ("http://host?x=1", "has a path"),
        ("http://host#x", "has a path"),
        ("http://me:hunter2@host", "holds credentials"),
        ("http://me:hunter2@host/path", "holds credentials"),
        ("ftp://me:hunter2@host", "holds credentials"),
    ],
)
def test_a_url_that_cannot_be_is_refused_with_the_reason(url: str, says: str) -> None:
    for kind in ("", "MinIO"):
        with pytest.raises(UsageError) as error:
            resolve_endpoint(url=url, kind=kind)
        assert says in str(error.value)
        assert "hunter2" not in str(error.value)
        assert "\n" not in str(error.value)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(UsageError, match="MinIO needs an endpoint URL"):
        resolve_endpoint(kind="MinIO")
    with pytest.raises(UsageError, match="Aliyun_OSS needs a region or an endpoint URL"):
        resolve_endpoint(kind="Aliyun_OSS")
    with pytest.raises(UsageError, match="unknown store type 'Floppy'; one of Amazon_S3, "):
        resolve_endpoint(kind="Floppy")
    assert resolve_endpoint(kind="Google_GCS").url == "https://storage.googleapis.com"


@pytest.mark.parametrize(
    ("addressing", "bucket", "origin", "root"),
    [
        (Addressing.PATH, "bucket", "https://s3.us-east-1.amazonaws.com", "/bucket"),
        (Addressing.AUTO, "bucket", "https://bucket.s3.us-east-1.amazonaws.com", ""),
        (Addressing.VIRTUAL, "bucket", "https://bucket.s3.us-east-1.amazonaws.com", ""),
        # No certificate covers a bucket with dots.
        (Addressing.VIRTUAL, "my.bucket", "https://s3.us-east-1.amazonaws.com", "/my.bucket"),
    ],
)
def test_the_bucket_is_in_the_host_or_in_the_path(
    addressing: Addressing, bucket: str, origin: str, root: str
) -> None:
    endpoint = resolve_endpoint(region="us-east-1", addressing=addressing)
    client = S3Client(None, endpoint, bucket, FixedCredentials(None))  # type: ignore[arg-type]
    address = client._signing.addresses.first
    assert (address.origin, address.root) == (origin, root)
