"""Where requests go and how they are signed: profiles, partitions, addressing, and URLs that are
refused."""

import botocore.session
import pytest

from dth.core.errors import UsageError
from dth.core.transport import ConnectOptions
from dth.objects.parameters import StoreType
from dth.objects.store.bucket_names import bucket_label, split_url
from dth.objects.store.client import S3Client
from dth.objects.store.credentials import FixedCredentials
from dth.objects.store.endpoints import (
    PROFILES,
    Addressing,
    ChecksumMode,
    EtagKind,
    Profile,
    aws_url,
    in_region,
    resolve_endpoint,
)


def partitions() -> list[tuple[str, str]]:
    """Every region that botocore knows, with its partition's domain."""
    data = botocore.session.Session().get_component("data_loader").load_data("endpoints")
    return [
        (region, part["dnsSuffix"]) for part in data["partitions"] for region in part["regions"]
    ]


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
        (
            "https://bucket.vpce-1a2b3c4d-5e6f.s3.ap-southeast-2.vpce.amazonaws.com",
            "ap-southeast-2",
        ),
        ("https://s3express-use1-az4.us-east-2.amazonaws.com", "us-east-2"),
        ("https://s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("http://localhost:9000", "us-east-1"),
        (
            "https://store-eu-west-1.example.com",
            "us-east-1",
        ),  # only AWS names its regions like that for sure
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
    assert (by_url.profile, by_url.url, by_url.region) == (
        profile,
        "http://store.local:9000",
        "here",
    )
    assert by_url.addressing is profile.addressing
    assert by_url.checksum is profile.checksum
    assert by_url.profile.addressing is not Addressing.AUTO
    for ending in profile.hosts:
        assert resolve_endpoint(url=f"https://x.{ending.strip('.')}").profile is profile


@pytest.mark.parametrize(
    ("kind", "url", "addressing", "checksum"),
    [
        (
            "Amazon_S3",
            "https://s3.eu-west-1.amazonaws.com",
            Addressing.VIRTUAL,
            ChecksumMode.CRC64NVME,
        ),
        (
            "Aliyun_OSS",
            "https://s3.oss-eu-west-1.aliyuncs.com",
            Addressing.VIRTUAL,
            ChecksumMode.MD5,
        ),
        ("Tencent_COS", "https://cos.eu-west-1.myqcloud.com", Addressing.VIRTUAL, ChecksumMode.MD5),
        ("Qiniu_Kodo", "https://s3-eu-west-1.qiniucs.com", Addressing.PATH, ChecksumMode.MD5),
        (
            "Huawei_OBS",
            "https://obs.eu-west-1.myhuaweicloud.com",
            Addressing.VIRTUAL,
            ChecksumMode.MD5,
        ),
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


# -------------------------------------------------------------------------------- several endpoints


@pytest.mark.parametrize("between", [",", " ", ", ", "\n"])
def test_several_urls_lead_to_one_store(between: str) -> None:
    one = resolve_endpoint(url=f"http://B:9000{between}http://a:80")
    other = resolve_endpoint(url=f"http://a{between}http://b:9000")
    assert one.urls == ("http://b:9000", "http://a")
    assert one.url == "http://b:9000"
    assert one.store == other.store
    assert resolve_endpoint(url="http://a http://a").urls == ("http://a",)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://a,https://b", "are not all of one scheme"),
        (
            "https://s3.fr-par.scw.cloud,https://s3.eu-central-1.wasabisys.com",
            "are of different stores",
        ),
        ("http://a,b", "endpoint URL 'b' is not"),
        ("http://a,http://b/path", "has a path"),
        (",", "is not http"),
    ],
)
def test_urls_that_do_not_go_together_are_refused(url: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        resolve_endpoint(url=url)


# --------------------------------------------------------------------------------- names of buckets

ARN = "arn:aws:s3:eu-west-1:123456789012:accesspoint/my-point"


@pytest.mark.parametrize(
    ("bucket", "kind", "addressing"),
    [
        ("plain-name", "Amazon_S3", Addressing.VIRTUAL),
        ("my-point-x7-s3alias", "Amazon_S3", Addressing.VIRTUAL),
        ("Old_Bucket", "Amazon_S3", Addressing.PATH),
        ("under_score", "Aliyun_OSS", Addressing.PATH),
        ("-dash", "Amazon_S3", Addressing.PATH),
        ("tenant:bucket", "Ceph", Addressing.PATH),
    ],
)
def test_a_name_that_is_no_label_stands_in_the_path(
    bucket: str, kind: str, addressing: Addressing
) -> None:
    url = "" if kind == "Amazon_S3" else "http://store:1"
    assert (
        resolve_endpoint(bucket=bucket, kind=kind, url=url, region="r-1").addressing is addressing
    )


def test_a_name_that_is_no_label_cannot_be_in_the_host() -> None:
    with pytest.raises(
        UsageError, match=r"'Old_Bucket' cannot stand in a host name .* use addressing style path"
    ):
        resolve_endpoint(
            bucket="Old_Bucket", url="http://localhost:1", addressing=Addressing.VIRTUAL
        )


@pytest.mark.parametrize(
    ("arn", "url", "asked"),
    [
        (ARN, "", "https://my-point-123456789012.s3-accesspoint.eu-west-1.amazonaws.com"),
        (
            ARN.replace("/", ":"),
            "",
            "https://my-point-123456789012.s3-accesspoint.eu-west-1.amazonaws.com",
        ),
        (
            "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint/p",
            "",
            "https://p-123456789012.s3-accesspoint.cn-north-1.amazonaws.com.cn",
        ),
        (ARN, "http://localhost:9000", "http://my-point-123456789012.localhost:9000"),
        (
            ARN,
            "https://accesspoint.vpce-1a-2b.s3.eu-west-1.vpce.amazonaws.com",
            "https://my-point-123456789012.accesspoint.vpce-1a-2b.s3.eu-west-1.vpce.amazonaws.com",
        ),
    ],
)
def test_an_access_point_is_asked_under_its_own_host(arn: str, url: str, asked: str) -> None:
    endpoint = resolve_endpoint(bucket=arn, url=url, region="us-east-2")
    client = S3Client(None, endpoint, bucket_label(arn), FixedCredentials(None))  # type: ignore[arg-type]
    address = client._signing.addresses.first
    assert (address.origin, address.root) == (asked, "")
    assert endpoint.region == arn.split(":")[3]


@pytest.mark.parametrize(
    ("bucket", "says"),
    [
        ("b--usw2-az1--x-s3", "is a directory bucket"),
        ("b--usw2-az1--xa-s3", "access point of a directory bucket"),
        ("point-x--ol-s3", "Object Lambda"),
        ("point-x--op-s3", "Outposts"),
        ("arn:aws:s3::123456789012:accesspoint/m.mrap", "multi-region"),
        ("arn:aws:s3-object-lambda:eu-west-1:123456789012:accesspoint/p", "Object Lambda"),
        ("arn:aws:s3-outposts:eu-west-1:123456789012:outpost/o/accesspoint/p", "Outposts"),
        ("arn:aws:s3express:us-west-2:123456789012:bucket/b", "directory bucket"),
        ("arn:aws:s3:::bucket", "is the ARN of a bucket: write its name, 'bucket'"),
        ("arn:aws:s3:eu-west-1:12345:accesspoint/p", "account of 12 digits"),
        ("arn:aws:s3:eu-west-1:123456789012:accesspoint/", "not an ARN of an access point"),
        ("arn:aws:iam::123456789012:role/x", "not an ARN of an access point"),
        ("arn:", "not an ARN of an access point"),
    ],
)
def test_what_is_no_plain_bucket_at_aws_is_refused_with_the_reason(bucket: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        resolve_endpoint(bucket=bucket)


def test_elsewhere_any_name_is_a_name() -> None:
    assert (
        resolve_endpoint(bucket="b--usw2-az1--x-s3", url="http://localhost:1").url
        == "http://localhost:1"
    )


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("bucket", "bucket", ""),
        ("bucket/a/b", "bucket", "a/b"),
        (ARN, ARN, ""),
        (f"{ARN}/a/b/", ARN, "a/b/"),
        (f"{ARN.replace('/', ':')}/a", ARN.replace("/", ":"), "a"),
        ("arn:aws:s3:::b/a", "arn:aws:s3:::b", "a"),
    ],
)
def test_an_arn_in_a_url_ends_before_the_prefix(text: str, bucket: str, key: str) -> None:
    assert split_url(text) == (bucket, key)


# ------------------------------------------------------------------------------------------ regions


@pytest.mark.parametrize(
    ("url", "region", "elsewhere"),
    [
        ("", "us-east-1", "https://s3.ap-south-1.amazonaws.com"),
        ("https://s3.amazonaws.com", "us-east-1", "https://s3.ap-south-1.amazonaws.com"),
        (
            "https://s3.dualstack.eu-west-1.amazonaws.com",
            "eu-west-1",
            "https://s3.dualstack.ap-south-1.amazonaws.com",
        ),
        (
            "https://bucket.vpce-1a.s3.eu-west-1.vpce.amazonaws.com",
            "eu-west-1",
            "https://bucket.vpce-1a.s3.eu-west-1.vpce.amazonaws.com",
        ),
        ("https://s3.fr-par.scw.cloud", "fr-par", "https://s3.ap-south-1.scw.cloud"),
        (
            "https://nyc3.digitaloceanspaces.com",
            "nyc3",
            "https://ap-south-1.digitaloceanspaces.com",
        ),
        (
            "https://s3.private.us-south.cloud-object-storage.appdomain.cloud",
            "us-south",
            "https://s3.private.ap-south-1.cloud-object-storage.appdomain.cloud",
        ),
        ("https://oss-cn-hangzhou-internal.aliyuncs.com", "cn-hangzhou", None),
        ("https://s3.wasabisys.com", "us-east-1", "https://s3.wasabisys.com"),
        ("http://127.0.0.1:9000", "us-east-1", "http://127.0.0.1:9000"),
        ("https://garage.example.org", "us-east-1", "https://garage.example.org"),
    ],
)
def test_a_store_is_followed_into_the_region_that_it_names(
    url: str, region: str, elsewhere: str | None
) -> None:
    endpoint = resolve_endpoint(url=url)
    assert endpoint.region == region
    moved = in_region(endpoint, "ap-south-1")
    assert moved.region == "ap-south-1"
    if elsewhere:
        assert moved.url == elsewhere


@pytest.mark.parametrize(
    ("kind", "traits"),
    [
        ("Scaleway", {"most_parts": 1000}),
        ("Huawei_OBS", {"listing_version": 1}),
        ("Google_GCS", {"accept_gzip": True, "region": "auto"}),
        ("Cloudflare_R2", {"region": "auto", "ascii_metadata": True, "acl": False}),
        ("OVH", {"counts_tags": False}),
        ("Amazon_S3", {"ascii_metadata": True, "counts_tags": True, "etags": EtagKind.MD5}),
        ("MinIO", {"ascii_metadata": True}),
        ("S3_Compatible", {"etags": EtagKind.UNKNOWN, "counts_tags": None, "most_parts": 10_000}),
        ("Garage", {"region": "garage"}),
    ],
)
def test_what_is_special_about_a_store(kind: str, traits: dict[str, object]) -> None:
    assert {name: getattr(PROFILES[kind], name) for name in traits} == traits
