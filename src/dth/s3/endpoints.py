"""Where a store is and what is known of it: one profile for each kind of S3-compatible service.

`tried` says whether a profile was run against the real service; the others follow the service's documentation.
What a profile does not know, the first objects of a run find out (see `client.Capabilities`).
"""

import ipaddress
import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import urlsplit

from dth.errors import UsageError
from dth.s3.transport import ConnectOptions


class ChecksumMode(StrEnum):
    """What covers the body of every PUT, as a signed header."""

    CRC64NVME = "crc64nvme"
    CRC32C = "crc32c"
    CRC32 = "crc32"
    SHA256 = "sha256"
    MD5 = "md5"  # Content-MD5
    NONE = "none"


class EtagKind(StrEnum):
    """What a store's ETags of whole objects are."""

    MD5 = "md5"
    OPAQUE = "opaque"
    UNKNOWN = "unknown"


class Addressing(StrEnum):
    AUTO = "auto"
    PATH = "path"
    VIRTUAL = "virtual"


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of one kind of store. `hosts` are the endings of its host names; `endpoint` makes the URL where
    only a region was given."""

    name: str  # as in srcType / destType
    hosts: tuple[str, ...] = ()
    endpoint: str = ""
    addressing: Addressing = Addressing.PATH
    checksum: ChecksumMode = ChecksumMode.CRC64NVME
    tags: bool = True
    acl: bool = True
    tried: bool = False
    limits: str = ""  # for the docs
    etags: EtagKind = EtagKind.UNKNOWN
    most_parts: int = 10_000
    listing_version: int = 2
    accept_gzip: bool = False
    counts_tags: bool | None = None
    ascii_metadata: bool = False
    region: str = ""


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
            limits="Buckets with ACLs disabled refuse every ACL but bucket-owner-full-control.",
        ),
        Profile(
            "Aliyun_OSS",
            (".aliyuncs.com",),
            "https://s3.oss-{region}.aliyuncs.com",
            Addressing.VIRTUAL,
            ChecksumMode.MD5,
            limits="Virtual-host addressing only; object tags through its own API.",
            tags=False,
        ),
        Profile(
            "Tencent_COS",
            (".myqcloud.com",),
            "https://cos.{region}.myqcloud.com",
            Addressing.VIRTUAL,
            ChecksumMode.MD5,
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
        ),
        Profile(
            "Baidu_BOS",
            (".bcebos.com",),
            "https://s3.{region}.bcebos.com",
            Addressing.PATH,
            ChecksumMode.MD5,
            tags=False,
        ),
        Profile(
            "Google_GCS",
            ("storage.googleapis.com",),
            "https://storage.googleapis.com",
            Addressing.PATH,
            ChecksumMode.MD5,
            tags=False,
            limits="Interoperability keys (HMAC); no object tags.",
        ),
        Profile("MinIO"),
        Profile("Ceph"),
        Profile("S3_Compatible"),
    )
}

# By the region's name without its last two parts.
AWS_SUFFIXES = {
    "cn": "amazonaws.com.cn",
    "eusc-de": "amazonaws.eu",
    "us-iso": "c2s.ic.gov",
    "us-isob": "sc2s.sgov.gov",
    "eu-isoe": "cloud.adc-e.uk",
    "us-isof": "csp.hci.ic.gov",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One store as this task uses it."""

    url: str  # scheme://host[:port], no path
    region: str
    profile: Profile
    addressing: Addressing
    checksum: ChecksumMode
    connect: ConnectOptions = field(default_factory=ConnectOptions)
    requester_pays: bool = False
    urls: tuple[str, ...] = ()
    customer_key: bytes = b""

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def is_aws(self) -> bool:
        return self.profile.name == "Amazon_S3"

    @property
    def store(self) -> str:
        """One text for one store. A bucket's name is unique in all regions of AWS."""
        return (
            "aws" if self.is_aws and self.host.endswith((".amazonaws.com", ".amazonaws.com.cn")) else self.url
        )


def resolve_endpoint(
    *,
    url: str = "",
    region: str = "",
    kind: str = "",
    addressing: Addressing = Addressing.AUTO,
    checksum: ChecksumMode | None = None,
    connect: ConnectOptions | None = None,
    requester_pays: bool = False,
) -> Endpoint:
    """The endpoint for what the user gave: a URL, or a kind of store and a region (AWS by default)."""
    profile = _profile(url, kind)
    if not url:
        url = _default_url(profile, region)
    url = _normal_url(url)
    if addressing is Addressing.AUTO:
        # A bucket before an address in numbers would be no host name.
        addressing = Addressing.PATH if _is_address(url) else profile.addressing
    if profile.name == "Amazon_S3" and not region:
        named = re.search(r"[a-z]+(-[a-z]+)+-\d", url.partition(".")[2])
        region = named[0] if named else ""
    return Endpoint(
        url=url,
        region=region or "us-east-1",
        profile=profile,
        addressing=addressing,
        checksum=checksum or profile.checksum,
        connect=connect or ConnectOptions(),
        requester_pays=requester_pays,
        urls=(url,),
    )


def in_region(endpoint: Endpoint, region: str) -> Endpoint:
    return replace(endpoint, region=region)


def _is_address(url: str) -> bool:
    try:
        ipaddress.ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return False
    return True


def _normal_url(url: str) -> str:
    """The URL as its requests are signed: scheme, host in lower case, and the port where it is not the usual one."""
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if "@" in parts.netloc:
        raise UsageError("endpoint URL holds credentials; put them in a profile, the environment or a secret")
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\\%]", host):
        raise UsageError(f"endpoint URL {url!r} is not http(s)://host[:port]")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError(f"endpoint URL {url!r} has a path; give scheme, host and port only")
    host = f"[{host}]" if ":" in host else host
    usual = 443 if parts.scheme == "https" else 80
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, usual) else "")


def aws_url(region: str) -> str:
    """The S3 endpoint of a region, in its partition."""
    family = region.rpartition("-")[0].rpartition("-")[0]
    suffix = AWS_SUFFIXES.get(family, "amazonaws.com")
    return f"https://s3.{region}.{suffix}"


def _profile(url: str, kind: str) -> Profile:
    if kind:
        if kind not in PROFILES:
            raise UsageError(f"unknown store type {kind!r}; one of {', '.join(PROFILES)}")
        return PROFILES[kind]
    if not url:
        return PROFILES["Amazon_S3"]
    host = urlsplit(_normal_url(url)).hostname or ""
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
