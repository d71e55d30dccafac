"""What may be given as a bucket, by the rules of AWS: plain names, and ARNs of access points.

Source: "Bucket naming rules" and "Access points", Amazon S3 User Guide.
"""

import re
from dataclasses import dataclass

from dth.core.errors import UsageError

DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
ACCESS_POINT = re.compile(r"accesspoint[/:](?P<name>[a-z0-9-]{1,50})")
# The beginning of an ARN that is followed by a prefix in a URL. The name of an access point
# contains no slash.
ARN_IN_URL = re.compile(r"arn:[^/]*:(?:accesspoint|outpost)[/:][^/]*|arn:[^/]*")
# The endings of names that are not plain buckets, and why they cannot be used.
SPECIAL = {
    "--x-s3": (
        "is a directory bucket (S3 Express One Zone), whose sessions (CreateSession) are not "
        "supported"
    ),
    "--xa-s3": (
        "is an access point of a directory bucket, whose sessions (CreateSession) are not supported"
    ),
    "--ol-s3": (
        "is an Object Lambda access point, which changes objects in transit; name its bucket"
    ),
    "--op-s3": "is an access point of S3 on Outposts, which is not supported",
    "--table-s3": "is a table bucket, whose objects only its tables may write",
    ".mrap": "is a multi-region access point, whose signatures (SigV4A) are not supported; "
    "name one of its buckets",
}


@dataclass(frozen=True, slots=True)
class AccessPoint:
    """The parts of the ARN of an access point."""

    name: str
    account: str
    region: str
    partition: str

    @property
    def label(self) -> str:
        """The part before the host name."""
        return f"{self.name}-{self.account}"


def access_point(bucket: str) -> AccessPoint | None:
    """The access point that an ARN names; None for a bucket name. Raises UsageError for any other
    ARN."""
    if not bucket.startswith("arn:"):
        return None
    _, partition, service, region, account, resource = [*bucket.split(":", 5), *[""] * 5][:6]
    if service == "s3-outposts":
        raise UsageError(f"{bucket!r} is of S3 on Outposts, which is not supported")
    if service == "s3-object-lambda":
        raise UsageError(f"{bucket!r} {SPECIAL['--ol-s3']}")
    if service == "s3express":
        raise UsageError(f"{bucket!r} {SPECIAL['--x-s3']}")
    if service == "s3" and resource.startswith("accesspoint") and not region:
        raise UsageError(f"{bucket!r} {SPECIAL['.mrap']}")
    if service == "s3" and not region and not account and resource:
        raise UsageError(
            f"{bucket!r} is the ARN of a bucket: write its name, {resource.partition('/')[0]!r}"
        )
    found = ACCESS_POINT.fullmatch(resource)
    if (
        service != "s3"
        or not found
        or not re.fullmatch(r"\d{12}", account)
        or not DNS_LABEL.fullmatch(region)
    ):
        raise UsageError(
            f"{bucket!r} is not an ARN of an access point: "
            "arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME, with an account of 12 digits"
        )
    return AccessPoint(found["name"], account, region, partition)


def bucket_label(bucket: str) -> str:
    """The name that requests use: the bucket itself, or the label of an access point."""
    point = access_point(bucket)
    return point.label if point else bucket


def refuse_special(bucket: str) -> None:
    """Raise UsageError for a name that is not a plain bucket at AWS."""
    for ending, why in SPECIAL.items():
        if bucket.endswith(ending):
            raise UsageError(f"{bucket!r} {why}")


def split_url(rest: str) -> tuple[str, str]:
    """The bucket (or ARN) and the key in what follows `s3://`."""
    if rest.startswith("arn:") and (found := ARN_IN_URL.match(rest)):
        return found[0], rest[found.end() :].removeprefix("/")
    bucket, _, key = rest.partition("/")
    return bucket, key
