"""Puts the templates and everything they need into the account's asset bucket.

Everything is below a prefix derived from the content: a new version never changes what runs, and
existing content is neither built nor sent again.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dth.core.errors import StateError, UsageError
from dth.core.plugins import plugins
from dth.infra.app import synth
from dth.infra.bundle import (
    NAME,
    Target,
    console_files,
    make_tree,
    needed,
    package_files,
    pinned,
    write_console,
    write_tar,
    write_zip,
)
from dth.infra.statements import (
    BUNDLES,
    Statement,
    not_by_tasks,
    only_by_tls,
    policy,
    template_parameter,
)

ARCHITECTURES = {"arm64": "aarch64", "x86_64": "x86_64"}  # names of the assets, and Linux's names
FUNCTIONS = "arm64"
# Template parameters that hold the digest of an asset.
DIGESTS = {
    **{name: f"bundle-{architecture}.tar.gz" for architecture, name in BUNDLES.items()},
    "consoleDigest": "console.zip",
}

# The parameter with the version of the functions' code: CloudFormation takes no digest of it.
VERSION = "lambdaVersion"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PublishedTemplate:
    """A template in the asset bucket.

    Its address for CloudFormation, and its parameters (True: without a default).
    """

    url: str
    parameters: dict[str, bool]


@dataclass(frozen=True, slots=True)
class Published:
    """What was published: its version, which changes with the content, and the templates by
    name."""

    version: str
    templates: dict[str, PublishedTemplate]


def publish(session: Any, bucket: str, say: Say) -> Published:
    """Publish into the bucket, "" for the account's own, which is created if it does not exist.

    `session`: from boto3. Raises UsageError and StateError.
    """
    s3 = session.client("s3")
    account = session.client("sts").get_caller_identity()["Account"]
    bucket = bucket or f"data-transfer-hub-assets-{account}-{session.region_name}"
    with tempfile.TemporaryDirectory(prefix="dth-publish-") as scratch:
        folder = Path(scratch)
        say("making the templates")
        made = synth(folder)
        # A hub's template tells the digests of the others.
        templates = {
            name: made[name] for name in sorted(made, key=lambda name: name.startswith("hub"))
        }
        told: dict[str, str] = {}
        published = f"{version(NAME)}-{_digest([templates[name] for name in sorted(templates)])}"
        prefix = f"dth/{published}"
        for file in templates.values():
            given = {"assetBucket": bucket, "assetPrefix": prefix}
            file.write_text(with_defaults(file.read_text("utf-8"), **given), "utf-8")
        keys = {name: f"{prefix}/templates/{name}.json" for name in templates}
        _prepare_bucket(s3, bucket, account, session.region_name, say)
        if all(_is_there(s3, bucket, key) for key in keys.values()):  # they are written last
            say(f"s3://{bucket}/{prefix} is there")
            for name, file in templates.items():
                _take_digests(s3, bucket, keys[name], file, told)
                told[template_parameter(name)] = _sha256(file)
        else:
            say("packing the code")
            assets = make_assets(folder)
            for name, file in assets.items():
                _put(s3, bucket, f"{prefix}/{name}", file, say)
            told |= {parameter: _sha256(assets[name]) for parameter, name in DIGESTS.items()}
            told[VERSION] = _version(s3, bucket, f"{prefix}/lambda.zip")
            for name, file in templates.items():
                file.write_text(with_defaults(file.read_text("utf-8"), **told), "utf-8")
                told[template_parameter(name)] = _sha256(file)
                _put(s3, bucket, keys[name], file, say)
        return Published(
            published,
            {
                name: PublishedTemplate(_address(s3, bucket, keys[name]), _parameters(file))
                for name, file in templates.items()
            },
        )


def filled() -> set[str]:
    """Return the template parameters that publishing fills in."""
    kinds = {each.aws.name for each in plugins().values() if each.aws}
    return {"assetBucket", "assetPrefix", VERSION, *DIGESTS, *map(template_parameter, kinds)}


def make_assets(folder: Path) -> dict[str, Path]:
    """Build the code for functions and machines. Returns it by the names in the templates."""
    with ThreadPoolExecutor() as pool:
        made = pool.map(lambda architecture: _make_assets(architecture, folder), ARCHITECTURES)
        assets = {file.name: file for files in made for file in files}
    console = folder / "console.zip"
    write_console(console)
    return {**assets, console.name: console}


def _make_assets(architecture: str, folder: Path) -> list[Path]:
    """Build the assets for one processor."""
    tree = folder / ARCHITECTURES[architecture]
    tree.mkdir()
    make_tree(Target(ARCHITECTURES[architecture]), tree)
    packed = folder / f"bundle-{architecture}.tar.gz"
    write_tar(tree, packed)
    if architecture != FUNCTIONS:
        return [packed]
    code = folder / "lambda.zip"
    write_zip(tree, code)
    return [packed, code]


def with_defaults(template: str, **defaults: str) -> str:
    """Return the template with defaults for the code's location and digests.

    Only those defaults are used for which the template has a parameter.
    """
    found = json.loads(template)
    for name in defaults.keys() & found["Parameters"].keys():
        found["Parameters"][name]["Default"] = defaults[name]
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def _take_digests(s3: Any, bucket: str, key: str, file: Path, told: dict[str, str]) -> None:
    """Set the template's digests to those of the code published before, and to those that are
    given.

    Raises StateError if the published template differs in anything else.
    """
    there = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode("utf-8", "replace")
    try:
        declared = json.loads(there)["Parameters"]
        digests = {
            name: declared[name]["Default"] for name in {*DIGESTS, VERSION} & declared.keys()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        digests = {}
    file.write_text(with_defaults(file.read_text("utf-8"), **digests, **told), "utf-8")
    if file.read_text("utf-8") != there:
        raise StateError(
            f"s3://{bucket}/{key} is not the template of this version: somebody changed it; "
            "determine who, delete what is below its prefix and publish again"
        )


def _version(s3: Any, bucket: str, key: str) -> str:
    """Return the version of the object; "" in a bucket without versions."""
    found = str(s3.head_object(Bucket=bucket, Key=key).get("VersionId", ""))
    return "" if found == "null" else found


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _parameters(file: Path) -> dict[str, bool]:
    found = json.loads(file.read_text("utf-8"))["Parameters"]
    return {name: "Default" not in each for name, each in found.items()}


def _address(s3: Any, bucket: str, key: str) -> str:
    """Return the URL without a signature.

    CloudFormation reads the template with the caller's rights.
    """
    url: str = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
    return url.partition("?")[0]


def _digest(templates: list[Path]) -> str:
    """Return a short digest of everything published.

    It covers the input, because that is faster than packing.
    """
    digest = hashlib.sha256()
    for machine in ARCHITECTURES.values():
        digest.update(pinned(needed(Target(machine))).encode())
    files = [*package_files(), *console_files(), *((file, file.name) for file in templates)]
    for file, name in files:
        digest.update(f"{name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _prepare_bucket(s3: Any, bucket: str, account: str, region: str, say: Say) -> None:
    """Create the bucket: private, encrypted, versioned, TLS only, and closed to changes by tasks.

    For an existing bucket of the account, only the bucket policy is completed.
    """
    import botocore.exceptions

    try:
        s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
        _guard_bucket(s3, bucket, say)
        return
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise UsageError(
                f"bucket {bucket!r} cannot be used: it is not this account's, or you may not "
                "see it; name another with --bucket"
            ) from None
    say(f"making bucket {bucket}")
    where = (
        {}
        if region == "us-east-1"
        else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    )
    s3.create_bucket(Bucket=bucket, **where)
    closed = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    s3.put_public_access_block(
        Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(closed, True)
    )
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy(_refusals(s3, bucket))))


def _refusals(s3: Any, bucket: str) -> list[Statement]:
    arn = f"arn:{s3.meta.partition}:s3:::{bucket}"
    resources = [arn, f"{arn}/*"]
    return [only_by_tls(resources, "s3:*"), not_by_tasks(resources)]


def _guard_bucket(s3: Any, bucket: str, say: Say) -> None:
    """Add the missing statements to the policy of an existing bucket. Other statements stay."""
    import botocore.exceptions

    try:
        document = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucketPolicy":
            raise StateError(f"the policy of bucket {bucket!r} cannot be read: {error}") from None
        document = policy([])
    wanted = _refusals(s3, bucket)
    others = [
        each
        for each in document["Statement"]
        if each.get("Sid") not in {one["Sid"] for one in wanted}
    ]
    if document["Statement"] != [*others, *wanted]:
        say(f"bucket {bucket} is closed to tasks")
        s3.put_bucket_policy(
            Bucket=bucket, Policy=json.dumps({**document, "Statement": [*others, *wanted]})
        )


def _is_there(s3: Any, bucket: str, key: str) -> bool:
    import botocore.exceptions

    try:
        s3.head_object(Bucket=bucket, Key=key)
        return True
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchKey"):
            raise StateError(f"s3://{bucket}/{key} cannot be read: {error}") from None
        return False


def _put(s3: Any, bucket: str, key: str, file: Path, say: Say) -> None:
    say(f"s3://{bucket}/{key}")
    s3.upload_file(str(file), bucket, key)
