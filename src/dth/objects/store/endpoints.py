"""Where a store is and what is known about it: one profile per kind of S3-compatible service.

`tried` says whether a profile was tested with the real service. The others follow the service's
documentation. What a profile does not state, the first objects of a run show (see
`client.Capabilities`).
"""

import ipaddress
import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import urlsplit

from dth.core import confinement
from dth.core.errors import UsageError
from dth.core.secret_bindings import ascii_host, aws_domain
from dth.core.transport import ConnectOptions
from dth.objects.store.bucket_names import DNS_LABEL, access_point, bucket_label, refuse_special


class ChecksumMode(StrEnum):
    """The checksum, as a signed header, that covers the body of every PUT."""

    CRC64NVME = "crc64nvme"
    CRC32C = "crc32c"
    CRC32 = "crc32"
    SHA256 = "sha256"
    MD5 = "md5"  # Content-MD5
    NONE = "none"


class Addressing(StrEnum):
    """Where requests name the bucket: in the path or in the host name."""

    AUTO = "auto"
    PATH = "path"
    VIRTUAL = "virtual"


class EtagKind(StrEnum):
    """What a store's ETags of objects written in one piece are. UNKNOWN: the first objects show
    it."""

    MD5 = "md5"
    OPAQUE = "opaque"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known about one kind of store. `hosts` are the endings of its host names. `endpoint`
    is the template of the URL when only a region is given. It also determines the region of such a
    URL."""

    name: str  # as in srcType / destType
    hosts: tuple[str, ...] = ()
    endpoint: str = ""
    addressing: Addressing = Addressing.PATH
    checksum: ChecksumMode = ChecksumMode.CRC64NVME
    tags: bool = True
    acl: bool = True
    etags: EtagKind = EtagKind.UNKNOWN
    most_parts: int = 10_000  # per upload
    listing_version: int = 2
    # Objects in gzip are sent as stored only to clients that accept gzip.
    accept_gzip: bool = False
    # Whether GET answers x-amz-tagging-count; None: not known.
    counts_tags: bool | None = None
    # Whether metadata beyond ASCII is sent as RFC 2047.
    ascii_metadata: bool = False
    # Whether it takes a checksum after a body (aws-chunked), over TLS.
    trailers: bool = False
    # Used if neither the host name nor the configuration names a region.
    region: str = ""
    tried: bool = False
    limits: str = ""  # for the docs


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            "Amazon_S3",
            (
                ".amazonaws.com",
                ".amazonaws.com.cn",
                ".amazonaws.eu",
                ".c2s.ic.gov",
                ".sc2s.sgov.gov",
                ".cloud.adc-e.uk",
                ".csp.hci.ic.gov",
                ".api.aws",
            ),
            addressing=Addressing.VIRTUAL,
            etags=EtagKind.MD5,
            counts_tags=True,
            ascii_metadata=True,
            # API reference: "Signature calculations for trailing headers (chunked uploads)".
            trailers=True,
            limits="Buckets with ACLs disabled refuse every ACL but bucket-owner-full-control. "
            "Objects that are encrypted with KMS have ETags that are not MD5s. Access "
            "points are addressed by their ARN; directory buckets, Outposts, Object "
            "Lambda and multi-region access points are refused.",
        ),
        Profile(
            "Aliyun_OSS",
            (".aliyuncs.com",),
            "https://s3.oss-{region}.aliyuncs.com",
            Addressing.VIRTUAL,
            ChecksumMode.MD5,
            etags=EtagKind.MD5,
            limits=(
                "Virtual-host addressing only; object tags through its own API; ETags in capitals."
            ),
            tags=False,
        ),
        Profile(
            "Tencent_COS",
            (".myqcloud.com",),
            "https://cos.{region}.myqcloud.com",
            Addressing.VIRTUAL,
            ChecksumMode.MD5,
            etags=EtagKind.MD5,
            limits="Bucket names end in the account's AppId.",
        ),
        Profile(
            "Qiniu_Kodo",
            (".qiniucs.com",),
            "https://s3-{region}.qiniucs.com",
            Addressing.PATH,
            ChecksumMode.MD5,
            tags=False,
            acl=False,
            limits="No object ACLs and no tags.",
        ),
        Profile(
            "Huawei_OBS",
            (".myhuaweicloud.com",),
            "https://obs.{region}.myhuaweicloud.com",
            Addressing.VIRTUAL,
            ChecksumMode.MD5,
            etags=EtagKind.MD5,
            listing_version=1,
            limits=(
                "The second version of its listing is cut short without saying where to continue."
            ),
        ),
        Profile(
            "Baidu_BOS",
            (".bcebos.com",),
            "https://s3.{region}.bcebos.com",
            Addressing.PATH,
            ChecksumMode.MD5,
            etags=EtagKind.MD5,
            tags=False,
        ),
        Profile(
            "Google_GCS",
            ("storage.googleapis.com",),
            "https://storage.googleapis.com",
            Addressing.PATH,
            ChecksumMode.MD5,
            etags=EtagKind.MD5,
            tags=False,
            accept_gzip=True,
            region="auto",
            limits="Interoperability keys (HMAC); no object tags. Objects that are encrypted "
            "with KMS have ETags that are not MD5s.",
        ),
        Profile(
            "Backblaze_B2",
            (".backblazeb2.com",),
            "https://s3.{region}.backblazeb2.com",
            Addressing.PATH,
            ChecksumMode.MD5,
            tags=False,
            acl=False,
            limits=(
                "No object tags; an object's ACL is that of its bucket. A region is such as "
                "us-west-004."
            ),
        ),
        Profile(
            "Cloudflare_R2",
            (".r2.cloudflarestorage.com",),
            addressing=Addressing.PATH,
            checksum=ChecksumMode.MD5,
            tags=False,
            acl=False,
            etags=EtagKind.MD5,
            ascii_metadata=True,
            region="auto",
            limits="The account is in the host name. No ACLs and no object tags. All parts of "
            "an upload but the last are of one size.",
        ),
        Profile(
            "Wasabi",
            (".wasabisys.com",),
            "https://s3.{region}.wasabisys.com",
            Addressing.PATH,
            ChecksumMode.MD5,
            etags=EtagKind.MD5,
            limits="Objects that are deleted early are charged for their minimum storage time.",
        ),
        Profile(
            "OVH",
            (".cloud.ovh.net", ".cloud.ovh.us"),
            "https://s3.{region}.io.cloud.ovh.net",
            Addressing.PATH,
            ChecksumMode.MD5,
            etags=EtagKind.MD5,
            counts_tags=False,
            limits="A GET does not count tags.",
        ),
        Profile(
            "Scaleway",
            (".scw.cloud",),
            "https://s3.{region}.scw.cloud",
            Addressing.PATH,
            ChecksumMode.MD5,
            etags=EtagKind.MD5,
            most_parts=1000,
            limits="At most 1,000 parts in an upload.",
        ),
        Profile(
            "DigitalOcean",
            (".digitaloceanspaces.com",),
            "https://{region}.digitaloceanspaces.com",
            Addressing.PATH,
            ChecksumMode.MD5,
            etags=EtagKind.MD5,
        ),
        Profile(
            "IBM_COS",
            (".cloud-object-storage.appdomain.cloud",),
            "https://s3.{region}.cloud-object-storage.appdomain.cloud",
            Addressing.PATH,
            ChecksumMode.MD5,
            etags=EtagKind.MD5,
            limits="HMAC keys of a service credential.",
        ),
        # Trailers since 2023: github.com/minio/minio/pull/16484 (streaming-v4-unsigned.go).
        Profile("MinIO", etags=EtagKind.MD5, counts_tags=True, ascii_metadata=True, trailers=True),
        # Version 16 refuses trailers (tested). Whether later versions take them is not known.
        Profile("Ceph", etags=EtagKind.MD5, counts_tags=True),
        Profile(
            "Garage",
            checksum=ChecksumMode.MD5,
            tags=False,
            acl=False,
            etags=EtagKind.MD5,
            region="garage",
            limits="No ACLs and no object tags. The region is s3_region of its configuration.",
        ),
        Profile(
            "SeaweedFS",
            checksum=ChecksumMode.MD5,
            limits="ETags of large objects count the chunks that it made of them.",
        ),
        Profile(
            "StorageGRID",
            checksum=ChecksumMode.MD5,
            acl=False,
            etags=EtagKind.MD5,
            limits="No object ACLs.",
        ),
        Profile(
            "Hitachi_HCP",
            checksum=ChecksumMode.MD5,
            tags=False,
            limits="No object tags. The tenant is in the host name.",
        ),
        Profile("S3_Compatible"),
    )
}

# A folder of this machine. It is named as a bucket, and never as a kind of store.
FOLDER = Profile(
    "Folder",
    checksum=ChecksumMode.CRC64NVME,
    tags=False,
    acl=False,
    etags=EtagKind.OPAQUE,
    counts_tags=True,
)

# A region that can be part of a host name.
REGION = re.compile(r"[A-Za-z0-9-]{1,63}")
PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One store as this task uses it."""

    # scheme://host[:port], no path. Several lead to the same store.
    urls: tuple[str, ...]
    region: str
    profile: Profile
    addressing: Addressing
    checksum: ChecksumMode
    connect: ConnectOptions = field(default_factory=ConnectOptions)
    requester_pays: bool = False
    customer_key: bytes = field(default=b"", repr=False)  # for SSE-C; 32 bytes
    # Whether symbolic links in a folder are followed.
    follows_links: bool = False

    @property
    def url(self) -> str:
        """The first of the URLs; requests may go to the others as well."""
        return self.urls[0]

    @property
    def host(self) -> str:
        """The host of the first URL, with its port if that is not the default."""
        return urlsplit(self.url).netloc

    @property
    def encrypted(self) -> bool:
        """Whether all requests use TLS."""
        return self.url.startswith("https://")

    @property
    def is_aws(self) -> bool:
        """Whether the store is Amazon S3."""
        return self.profile.name == "Amazon_S3"

    @property
    def is_folder(self) -> bool:
        """Whether the side is a folder of this machine."""
        return self.profile is FOLDER

    @property
    def store(self) -> str:
        """The same text for the same store. In AWS this is one store, because bucket names are
        unique in all regions."""
        if self.is_aws and self.host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
            return "aws"
        return min(self.urls)


def resolve_endpoint(
    *,
    url: str = "",
    region: str = "",
    fallback_region: str = "",
    kind: str = "",
    bucket: str = "",
    addressing: Addressing = Addressing.AUTO,
    checksum: ChecksumMode | None = None,
    connect: ConnectOptions | None = None,
    requester_pays: bool = False,
) -> Endpoint:
    """The endpoint for what the user specified: one or several URLs, or a kind of store and a
    region (AWS by default).

    `fallback_region` is used if neither the user nor the host name nor the kind of store names a
    region. `bucket` may be the ARN of an access point. It determines where the name can be put.
    Raises UsageError."""
    point = access_point(bucket)
    if point:
        region = point.region
    urls = _split_urls(url)
    profile = _profile(urls, kind)
    if not urls:
        asked = region or (fallback_region if profile.name == "Amazon_S3" else "")
        urls = (_normal_url(_default_url(profile, asked)),)
    region = (
        region
        or _region_of_host(profile, urls[0])
        or profile.region
        or fallback_region
        or "us-east-1"
    )
    if point:
        urls, addressing = _access_point_urls(urls, region, given=bool(url)), Addressing.VIRTUAL
    elif profile.name == "Amazon_S3":
        refuse_special(bucket)
    return Endpoint(
        urls=urls,
        region=region,
        profile=profile,
        addressing=_addressing(addressing, profile, urls[0], bucket_label(bucket)),
        checksum=checksum or profile.checksum,
        connect=connect or ConnectOptions(),
        requester_pays=requester_pays,
    )


def folder_endpoint(*, follows_links: bool) -> Endpoint:
    """The endpoint of folders of this machine."""
    return Endpoint(
        ("file://localhost",),
        "",
        FOLDER,
        Addressing.PATH,
        FOLDER.checksum,
        follows_links=follows_links,
    )


def in_region(endpoint: Endpoint, region: str) -> Endpoint:
    """The same store, after it said that the bucket is in this region. A host name that contains
    the old region gets the new one. Any other address stays as it is."""
    urls = tuple(_url_in_region(endpoint, url, region) for url in endpoint.urls)
    return replace(endpoint, urls=urls, region=region)


def _url_in_region(endpoint: Endpoint, url: str, region: str) -> str:
    profile = endpoint.profile
    if endpoint.is_aws and url in (aws_url(endpoint.region), "https://s3.amazonaws.com"):
        return aws_url(region) if REGION.fullmatch(region) else url
    old = _region_of_host(profile, url)
    # The endpoint of a VPC is in one region, whatever the bucket's. What a store says must not lead
    # to foreign hosts.
    if not old or ".vpce." in url or not REGION.fullmatch(region):
        return url
    return re.sub(rf"(?<![a-z0-9]){re.escape(old)}(?![a-z0-9-])", region, url, count=1)


def _region_of_host(profile: Profile, url: str) -> str:
    """The region in a host name of a service; "" if there is none."""
    host = urlsplit(url).hostname or ""
    if profile.name == "Amazon_S3":
        found = re.search(r"[a-z]+(-[a-z]+)+-\d", host.partition(".")[2])
        return found[0] if found else ""
    if "{region}" not in profile.endpoint or not host.endswith(profile.hosts):
        return ""
    before, _, after = re.escape(profile.endpoint.partition("://")[2]).partition(
        re.escape("{region}")
    )
    # One endpoint may have several names: s3.oss-REGION and oss-REGION, s3.REGION and
    # s3.private.REGION.
    before = before.removeprefix(r"s3\.") or before
    found = re.search(
        rf"(?:^|\.){before}(?:(?:private|direct)\.)?([a-z0-9-]+?)(?:-internal)?{after}$", host
    )
    return found[1] if found else ""


def _access_point_urls(urls: tuple[str, ...], region: str, *, given: bool) -> tuple[str, ...]:
    """The URLs for an access point, whose name is put before the host: at AWS, or the endpoints
    that were given."""
    if any(_is_address(url) for url in urls):
        raise UsageError(
            "an access point's name stands before the host: its endpoint cannot be an address "
            "in numbers"
        )
    if given and not any(url == aws_url(region) for url in urls):
        return urls
    return (aws_url(region).replace("://s3.", "://s3-accesspoint."),)


def _addressing(asked: Addressing, profile: Profile, url: str, bucket: str) -> Addressing:
    """Where the bucket is named: as requested, else as the kind of store and the name allow."""
    fits = not bucket or DNS_LABEL.fullmatch(bucket.replace(".", "")) is not None
    if asked is Addressing.VIRTUAL and not fits:
        raise UsageError(
            f"the bucket {bucket!r} cannot stand in a host name (small letters, digits and "
            "hyphens): use addressing style path"
        )
    if asked is not Addressing.AUTO:
        return asked
    # A bucket before an IP address would not be a host name.
    return profile.addressing if fits and not _is_address(url) else Addressing.PATH


def _split_urls(text: str) -> tuple[str, ...]:
    """The URLs of one store, separated by commas or space, normalized and without repeats."""
    found = [each for each in re.split(r"[,\s]+", text) if each]
    if text and not found:
        found = [text]
    if len(found) > 1:
        for each in found:
            if "://" not in each:
                raise UsageError(f"endpoint URL {each!r} is not http(s)://host[:port]")
    urls = tuple(dict.fromkeys(map(_normal_url, found)))
    if len({urlsplit(url).scheme for url in urls}) > 1:
        raise UsageError(
            f"the endpoint URLs {', '.join(urls)} are not all of one scheme: give http or "
            "https for all"
        )
    return urls


def _is_address(url: str) -> bool:
    try:
        ipaddress.ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return False
    return True


def _normal_url(url: str) -> str:
    """The URL in the form that is signed: scheme, host in lower case, and the port if it is not the
    default."""
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if "@" in parts.netloc:
        raise UsageError(
            "endpoint URL holds credentials; put them in a profile, the environment or a secret"
        )
    if (
        parts.scheme not in ("http", "https")
        or not host
        or re.search(r"[\s\\%,\x00-\x1f\x7f]", host)
    ):
        raise UsageError(f"endpoint URL {url!r} is not http(s)://host[:port]")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError(f"endpoint URL {url!r} has a path; give scheme, host and port only")
    host = ascii_host(host)
    confinement.check_host(host)
    host = f"[{host}]" if ":" in host else host
    usual = 443 if parts.scheme == "https" else 80
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, usual) else "")


def check_proxy(url: str) -> str:
    """The URL of a proxy, in the form that libcurl takes. Raises UsageError."""
    if "@" in url:
        raise UsageError(
            "the proxy URL holds credentials, and whoever sees the task would see them; set "
            "the proxy in the environment (https_proxy)"
        )
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in PROXY_SCHEMES or not host or re.search(r"[\s\\%,\x00-\x1f\x7f]", host):
        raise UsageError(
            f"proxy URL {url!r} is not SCHEME://host:port with one of {', '.join(PROXY_SCHEMES)}"
        )
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError(f"proxy URL {url!r} has a path; give scheme, host and port only")
    confinement.check_host(host)
    return url


def aws_url(region: str) -> str:
    """The S3 endpoint of a region, in the region's partition."""
    return f"https://s3.{region}.{aws_domain(region)}"


def _profile(urls: tuple[str, ...], kind: str) -> Profile:
    if kind:
        if kind not in PROFILES:
            raise UsageError(f"unknown store type {kind!r}; one of {', '.join(PROFILES)}")
        return PROFILES[kind]
    if not urls:
        return PROFILES["Amazon_S3"]
    found = {profile.name: profile for profile in map(_profile_of_host, urls)}
    if len(found) > 1:
        raise UsageError(
            f"the endpoint URLs {', '.join(urls)} are of different stores: {', '.join(found)}"
        )
    return next(iter(found.values()))


def _profile_of_host(url: str) -> Profile:
    host = urlsplit(url).hostname or ""
    for profile in PROFILES.values():
        if any(host.endswith(ending) for ending in profile.hosts):
            return profile
    return PROFILES["S3_Compatible"]


def _default_url(profile: Profile, region: str) -> str:
    if profile.name == "Amazon_S3":
        return aws_url(region or "us-east-1")
    if not profile.endpoint:
        raise UsageError(f"{profile.name} needs an endpoint URL")
    if "{region}" in profile.endpoint and not region:
        raise UsageError(f"{profile.name} needs a region or an endpoint URL")
    return profile.endpoint.format(region=region)
