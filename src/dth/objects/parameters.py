"""The parameters of an S3 task: their names, labels, groups, help, defaults and allowed values,
defined here and nowhere else. API checks, command line options and the reference page are made from
this model.

Names in tasks are camelCase (the alias); `cli` is the option of `dth s3 sync`. Defaults are those
of a task to AWS; the command line and other destinations leave storage class and ACL unset unless
they are given.
"""

import re
from enum import StrEnum
from typing import Any

from pydantic import field_validator, model_validator

from dth.core import shared_parameters as shared
from dth.core.parameters import (
    GIB,
    MIB,
    OPTION,
    Moment,
    Names,
    Size,
    TaskParameters,
    extra,
    parameter,
    required,
)
from dth.objects.compare.merge import Policy
from dth.objects.store.endpoints import Addressing, ChecksumMode


class StoreType(StrEnum):
    """The kinds of store, each with a profile in `objects/store/endpoints.py`."""

    AMAZON_S3 = "Amazon_S3"
    ALIYUN_OSS = "Aliyun_OSS"
    QINIU_KODO = "Qiniu_Kodo"
    TENCENT_COS = "Tencent_COS"
    HUAWEI_OBS = "Huawei_OBS"
    BAIDU_BOS = "Baidu_BOS"
    GOOGLE_GCS = "Google_GCS"
    BACKBLAZE_B2 = "Backblaze_B2"
    CLOUDFLARE_R2 = "Cloudflare_R2"
    WASABI = "Wasabi"
    OVH = "OVH"
    SCALEWAY = "Scaleway"
    DIGITALOCEAN = "DigitalOcean"
    IBM_COS = "IBM_COS"
    MINIO = "MinIO"
    CEPH = "Ceph"
    GARAGE = "Garage"
    SEAWEEDFS = "SeaweedFS"
    STORAGEGRID = "StorageGRID"
    HITACHI_HCP = "Hitachi_HCP"
    S3_COMPATIBLE = "S3_Compatible"


class StorageClass(StrEnum):
    """The storage classes of AWS that a task offers. Other stores have classes of their own."""

    STANDARD = "STANDARD"
    STANDARD_IA = "STANDARD_IA"
    ONEZONE_IA = "ONEZONE_IA"
    INTELLIGENT_TIERING = "INTELLIGENT_TIERING"
    GLACIER_IR = "GLACIER_IR"
    GLACIER = "GLACIER"
    DEEP_ARCHIVE = "DEEP_ARCHIVE"


# Classes of AWS that are not offered: outdated, or of special buckets. AWS says itself where they
# do not fit.
OTHER_AWS_CLASSES = frozenset(
    {"REDUCED_REDUNDANCY", "EXPRESS_ONEZONE", "OUTPOSTS", "SNOW", "FSX_OPENZFS"}
)


class Acl(StrEnum):
    """The canned ACLs that copies can have."""

    PRIVATE = "private"
    PUBLIC_READ = "public-read"
    PUBLIC_READ_WRITE = "public-read-write"
    AUTHENTICATED_READ = "authenticated-read"
    AWS_EXEC_READ = "aws-exec-read"
    BUCKET_OWNER_READ = "bucket-owner-read"
    BUCKET_OWNER_FULL_CONTROL = "bucket-owner-full-control"


class Encryption(StrEnum):
    """The server-side encryption that is asked for."""

    NONE = "None"
    AES256 = "AES256"
    AWS_KMS = "AWS_KMS"


class EventMode(StrEnum):
    """Which event notifications of the source a task follows."""

    NO = "No"
    CREATE = "Create"
    CREATE_AND_DELETE = "CreateAndDelete"


class DeleteMode(StrEnum):
    """Whether destination objects without a source are deleted."""

    NO = "No"
    MIRROR = "Mirror"


class RestoreTier(StrEnum):
    """How fast archived objects are restored. A faster tier costs more."""

    STANDARD = "Standard"
    BULK = "Bulk"
    EXPEDITED = "Expedited"


class SourceEtags(StrEnum):
    """What the ETags of the source say about the bytes."""

    AUTO = "AUTO"
    MD5 = "MD5"
    OPAQUE = "OPAQUE"


class Links(StrEnum):
    """What is done with symbolic links in a folder that is read."""

    SKIP = "skip"
    FOLLOW = "follow"


# ------------------------------------------------------------------------- what both sides declare


def _store_type(side: str) -> Any:
    return parameter(
        None,
        side,
        f"{side.title()} type",
        "Kind of store; detected from the endpoint when not given.",
        what=True,
        cli=f"{OPTION[side]}-type",
    )


def _region(side: str) -> Any:
    return parameter(
        "",
        side,
        f"{side.title()} region",
        "Detected for AWS when empty.",
        what=True,
        cli=f"{OPTION[side]}-region",
    )


def _endpoint(side: str) -> Any:
    return parameter(
        "",
        side,
        f"{side.title()} endpoint",
        "URL of the store, or several URLs of one store, separated by commas; AWS by region when "
        "empty.",
        what=True,
        cli=f"{OPTION[side]}-endpoint-url",
        several=True,
    )


def _credentials(side: str) -> Any:
    return parameter(
        "",
        side,
        f"{side.title()} credentials",
        f"Name of the secret with the {side}'s keys.",
        what=True,
        cli=f"{OPTION[side]}-secret",
    )


def _addressing_style(side: str) -> Any:
    return parameter(
        Addressing.AUTO,
        side,
        f"{side.title()} addressing",
        "Bucket in the path or in the host name.",
        what=False,
        cli=f"{OPTION[side]}-addressing-style",
    )


def _proxy(side: str) -> Any:
    return parameter(
        "",
        side,
        f"{side.title()} proxy",
        f"URL of a proxy to the {side}.",
        what=False,
        cli=f"{OPTION[side]}-proxy",
    )


def _in_current_account(side: str, *, default: bool) -> Any:
    return parameter(
        default,
        side,
        f"{side.title()} is ours",
        f"The {side} bucket belongs to the account of the hub: no credentials are needed. On AWS "
        "only.",
        what=False,
    )


def _not_needed(default: int, label: str) -> Any:
    return parameter(
        default,
        "compatibility",
        label,
        "Not needed: key ranges split themselves.",
        what=False,
        ge=0,
    )


class S3Parameters(TaskParameters):
    """The parameters of a task that copies objects, by group. Immutable."""

    # --------------------------------------------------------------------------------------- source
    src_store: str = parameter(
        "",
        "source",
        "Source store",
        (
            "Name of a store of the hub, which gives the kind, endpoint, region, credentials, "
            "addressing, CA and proxy."
        ),
        what=True,
        needs_hub=True,
    )
    src_type: StoreType | None = _store_type("source")
    src_bucket: str = parameter(
        "",
        "source",
        "Source bucket",
        "Bucket to read.",
        what=True,
        required=True,
        names=Names.BUCKET,
    )
    src_prefix: str = parameter(
        "", "source", "Source prefix", "Only keys that begin with this.", what=True
    )
    links: Links = parameter(
        Links.SKIP,
        "source",
        "Symbolic links",
        (
            "What to do with symbolic links in a folder: leave them out with a note, or copy what "
            "they lead to."
        ),
        what=True,
        cli="--links",
        commands_only=True,
    )
    src_prefixs_list_file: str = parameter(
        "",
        "comparison",
        "Prefix list",
        (
            "A text file with one prefix per line: a key of the source bucket; for commands also a "
            "file."
        ),
        what=True,
        cli="--prefix-list",
        names=Names.LIST,
    )
    src_prefix_list_bucket: str = parameter(
        "",
        "comparison",
        "Prefix list bucket",
        "Bucket of the prefix list; the source bucket when empty.",
        what=True,
        cli="--prefix-list-bucket",
    )
    src_manifest: str = parameter(
        "",
        "comparison",
        "Manifest",
        "CSV list of the objects to copy: key, or bucket and key. A key of the source bucket, "
        "or s3://bucket/key; for commands also a file.",
        what=True,
        cli="--manifest",
        cli_too="--files-from",
        names=Names.LIST,
    )
    src_inventory: str = parameter(
        "",
        "comparison",
        "S3 Inventory",
        "manifest.json of an S3 Inventory (CSV or Parquet): s3://bucket/key.",
        what=True,
        cli="--inventory",
        names=Names.LIST,
    )
    src_region: str = _region("source")
    src_endpoint: str = _endpoint("source")
    src_credentials: str = _credentials("source")
    src_profile: str = shared.profile("source")
    src_sse_customer_key: str = parameter(
        "",
        "source",
        "Source customer key",
        "Name of the secret with the key that the source's objects are encrypted with (SSE-C).",
        cli="--src-sse-c-secret",
        what=True,
    )
    src_anonymous: bool = parameter(
        False,
        "source",
        "Anonymous source",
        "Send no signature to the source.",
        what=False,
        cli="--src-anonymous",
    )
    src_role_arn: str = shared.role_arn("source")
    src_external_id: str = shared.external_id("source")
    src_addressing_style: Addressing = _addressing_style("source")
    src_ca_bundle: str = shared.ca_bundle("source")
    src_proxy: str = _proxy("source")
    src_in_current_account: bool = _in_current_account("source", default=False)
    is_payer_request: bool = parameter(
        False,
        "source",
        "Requester pays",
        "Accept the cost of reading a requester-pays bucket.",
        what=False,
        cli="--requester-pays",
    )

    # ---------------------------------------------------------------------------------- destination
    dest_store: str = parameter(
        "",
        "destination",
        "Destination store",
        "Name of a store of the hub, which gives the kind, endpoint, region, credentials, "
        "addressing, CA, proxy and checksum mode.",
        what=True,
        needs_hub=True,
    )
    dest_type: StoreType | None = _store_type("destination")
    dest_bucket: str = parameter(
        "",
        "destination",
        "Destination bucket",
        "Bucket to write.",
        what=True,
        required=True,
        names=Names.BUCKET,
    )
    dest_prefix: str = parameter(
        "", "destination", "Destination prefix", "Put before every key.", what=True
    )
    dest_keeps_src_prefix: bool = parameter(
        True,
        "destination",
        "Keep the source prefix",
        (
            "True: destination prefix, a slash, the whole source key. False: it takes the place of "
            "the source prefix."
        ),
        what=True,
    )
    dest_region: str = _region("destination")
    dest_endpoint: str = _endpoint("destination")
    dest_credentials: str = _credentials("destination")
    dest_profile: str = shared.profile("destination")
    dest_sse_customer_key: str = parameter(
        "",
        "destination",
        "Destination customer key",
        "Name of the secret with the key to encrypt the copies with (SSE-C).",
        cli="--dst-sse-c-secret",
        what=True,
    )
    dest_role_arn: str = shared.role_arn("destination")
    dest_external_id: str = shared.external_id("destination")
    dest_addressing_style: Addressing = _addressing_style("destination")
    dest_ca_bundle: str = shared.ca_bundle("destination")
    dest_proxy: str = _proxy("destination")
    dest_in_current_account: bool = _in_current_account("destination", default=True)
    dest_storage_class: StorageClass | str | None = parameter(
        StorageClass.INTELLIGENT_TIERING,
        "destination",
        "Storage class",
        "Class of the copies: one of AWS, or one that the store has itself.",
        what=True,
        cli="--storage-class",
        default_note="unset; tasks to AWS",
    )
    dest_acl: Acl | None = parameter(
        Acl.BUCKET_OWNER_FULL_CONTROL,
        "destination",
        "ACL",
        "Canned ACL of the copies.",
        what=True,
        cli="--acl",
        default_note="unset; tasks to AWS",
    )
    dest_put_object_sse_type: Encryption = parameter(
        Encryption.NONE,
        "destination",
        "Encryption",
        "Server-side encryption to ask for.",
        what=True,
        cli="--sse",
        also={"aws:kms": Encryption.AWS_KMS},
        alias="destPutObjectSSEType",
    )
    dest_put_object_sse_kms_key_id: str = parameter(
        "",
        "destination",
        "KMS key",
        "Key for AWS_KMS; the bucket's default when empty.",
        what=True,
        cli="--sse-kms-key-id",
        alias="destPutObjectSSEKmsKeyId",
    )
    include_metadata: bool = parameter(
        True,
        "destination",
        "Metadata",
        "Carry over content headers, expiry, redirect and user metadata.",
        what=True,
        cli="--metadata/--no-metadata",
    )
    copy_tags: bool = parameter(
        True, "destination", "Tags", "Carry over object tags.", what=True, cli="--tags/--no-tags"
    )

    # ------------------------------------------------------------------------------- what is copied
    compare_policy: Policy = parameter(
        Policy.ETAG,
        "comparison",
        "Compare by",
        "What makes two objects the same.",
        what=True,
        cli="--compare",
    )
    src_skip_compare: bool = parameter(
        False,
        "comparison",
        "Skip comparison",
        "Copy everything without listing the destination.",
        what=True,
        cli="--skip-compare",
    )
    src_event: EventMode = parameter(
        EventMode.NO,
        "comparison",
        "Events",
        "Follow the source's event notifications: creations, or deletions as well.",
        what=True,
    )
    include_patterns: tuple[str, ...] = parameter(
        (),
        "comparison",
        "Include",
        "Globs; only keys that match one are copied.",
        what=True,
        cli="--include",
    )
    exclude_patterns: tuple[str, ...] = parameter(
        (),
        "comparison",
        "Exclude",
        "Globs; keys that match one are left out.",
        what=True,
        cli="--exclude",
    )
    filter_rules: tuple[str, ...] = parameter(
        (),
        "comparison",
        "Filter rules",
        (
            "Rules in place of include and exclude: + GLOB or - GLOB; the first that matches a key "
            "decides."
        ),
        what=True,
        cli="--filter",
    )
    min_size: Size | None = parameter(
        None,
        "comparison",
        "Smallest size",
        "Leave out smaller objects.",
        what=True,
        cli="--min-size",
        ge=0,
    )
    max_size: Size | None = parameter(
        None,
        "comparison",
        "Largest size",
        "Leave out larger objects.",
        what=True,
        cli="--max-size",
        ge=0,
    )
    modified_since: Moment | None = parameter(
        None,
        "comparison",
        "Modified since",
        "Leave out objects older than this date or age.",
        what=True,
        cli="--modified-since",
    )
    modified_before: Moment | None = parameter(
        None,
        "comparison",
        "Modified before",
        "Leave out objects newer than this date or age.",
        what=True,
        cli="--modified-before",
    )
    src_storage_classes: tuple[str, ...] = parameter(
        (),
        "comparison",
        "Source classes",
        "Only objects of these storage classes.",
        what=True,
        cli="--src-storage-class",
    )
    delete_mode: DeleteMode = parameter(
        DeleteMode.NO,
        "comparison",
        "Deletes",
        (
            "Mirror: delete destination objects that have no source, after the whole source was "
            "listed."
        ),
        what=True,
        cli="--delete-mode",
    )
    delete_max_percent: float = parameter(
        10.0,
        "comparison",
        "Delete guard",
        "Delete nothing if more than this part of the destination objects in scope would go.",
        what=False,
        cli="--delete-max-percent",
        ge=0,
        le=100,
    )
    restore_archived: bool = parameter(
        False,
        "comparison",
        "Restore archived",
        "Ask for readable copies of archived source objects.",
        what=True,
        cli="--restore",
    )
    restore_tier: RestoreTier = parameter(
        RestoreTier.BULK,
        "comparison",
        "Restore tier",
        "Speed and price of restoring.",
        what=False,
        cli="--restore-tier",
    )
    restore_days: int = parameter(
        7,
        "comparison",
        "Restore days",
        "Days that a restored copy stays.",
        what=False,
        cli="--restore-days",
        ge=1,
        # A hundred years. More is a slip, and stores refuse it for each object.
        le=36_500,
    )

    # --------------------------------------------------------------------------------------- engine
    checksum_mode: ChecksumMode | None = parameter(
        None,
        "engine",
        "Checksum",
        "What covers every body; by the destination's profile when empty.",
        what=False,
        cli="--checksum-mode",
    )
    src_etags: SourceEtags = parameter(
        SourceEtags.AUTO,
        "engine",
        "ETags of the source",
        "MD5: an ETag of 32 hexadecimal digits is the MD5 of its object, and bytes that have "
        "another one are damaged. OPAQUE: it says nothing about the bytes. AUTO: as the "
        "store's profile and its answers say.",
        what=False,
        cli="--src-etags",
    )
    verify_after: bool = parameter(
        False,
        "engine",
        "Verify after writing",
        "Read every copy back and compare it with what was sent.",
        what=False,
        cli="--verify-after",
    )
    multipart_threshold: Size = parameter(
        64 * MIB,
        "engine",
        "Multipart from",
        "Objects above this go in parts.",
        what=False,
        cli="--multipart-threshold",
        ge=5 * MIB,
    )
    part_size: Size = parameter(
        16 * MIB,
        "engine",
        "Part size",
        "Smallest part; grows so that 10,000 suffice.",
        what=False,
        cli="--part-size",
        ge=5 * MIB,
        le=5 * GIB,
    )
    giant_object_threshold: Size = parameter(
        GIB,
        "engine",
        "Giant from",
        "Parts of objects this large are spread over all workers.",
        what=False,
        cli="--giant-object-threshold",
        ge=5 * MIB,
    )
    worker_number: int = parameter(
        4,
        "engine",
        "Concurrency",
        (
            "Requests in flight to each store at most, for each worker: 32, and 64 more for each "
            "unit above 1."
        ),
        what=False,
        cli="--worker-number",
        ge=1,
        le=10,
    )
    requests_in_flight: int | None = parameter(
        None,
        "engine",
        "Requests in flight",
        (
            "Requests in flight to each store at most, for each worker, in place of what "
            "workerNumber says."
        ),
        what=False,
        cli="--concurrency",
        ge=1,
        le=1000,
    )
    min_capacity: int = parameter(
        0,
        "engine",
        "Fewest workers",
        (
            "Worker processes at least, while there is work. On AWS: machines that also wait for "
            "work, and cost money meanwhile; with 0, work waits for some minutes until there is "
            "one."
        ),
        what=False,
        ge=0,
        le=1000,
    )
    desired_capacity: int = parameter(
        1,
        "engine",
        "Workers at first",
        "Worker processes that a run begins with.",
        what=False,
        ge=0,
        le=1000,
    )
    max_capacity: int = parameter(
        20,
        "engine",
        "Most workers",
        "Worker processes at most.",
        what=False,
        cli="--workers",
        ge=1,
        le=1000,
        default_note="the number of CPUs, at most 4; tasks",
    )
    record_days: int | None = parameter(
        None,
        "engine",
        "Days of records",
        (
            "On AWS: days after which records that no run needs any more are deleted, with the "
            "proof of the copy. When empty, all records stay as long as the task."
        ),
        what=False,
        ge=30,
        le=3650,
    )
    memory_budget: Size = parameter(
        96 * MIB,
        "engine",
        "Memory for bodies",
        "Bytes of object bodies in memory at once, for each worker.",
        what=False,
        cli="--memory-budget",
        ge=16 * MIB,
    )
    max_bytes_per_second: Size | None = parameter(
        None,
        "engine",
        "Bandwidth cap",
        "Bytes per second over all workers.",
        what=False,
        cli="--max-bytes-per-second",
        ge=1024,
    )
    max_requests_per_second: float | None = parameter(
        None,
        "engine",
        "Request cap",
        "Requests per second to each side, over all workers.",
        what=False,
        cli="--max-requests-per-second",
        gt=0,
    )
    server_side_copy: bool = parameter(
        True,
        "engine",
        "Copy within a store",
        "Let the store copy where both sides are one store and one credential.",
        what=False,
        cli="--server-side-copy/--no-server-side-copy",
    )

    # ------------------------------------------------------------------------------------- schedule
    ec2_cron_expression: str = shared.cron_expression("0/60 * * * ? *")
    schedule_rate: str = shared.schedule_rate("5 minutes, 1 hour, 7 days")
    schedule_time_zone: str = shared.schedule_time_zone()
    transfer_window: str = shared.transfer_window()
    bandwidth_timetable: str = parameter(
        "",
        "schedule",
        "Bandwidth timetable",
        (
            "Bandwidth caps by time, such as Mon-Fri 08:00-18:00 10M; the bandwidth cap holds at "
            "other times."
        ),
        what=False,
        needs_hub=True,
    )
    budget: float | None = parameter(
        None,
        "schedule",
        "Budget",
        "US dollars, estimated by the prices that are known, after which the task pauses.",
        what=False,
        gt=0,
        needs_hub=True,
    )
    alarm_email: str = shared.alarm_email()

    # ----------------------------------------------------- accepted for existing tasks, or AWS only
    finder_depth: int = _not_needed(0, "Finder depth")
    finder_number: int = _not_needed(1, "Finder number")
    finder_ec2_memory: int = parameter(
        8,
        "compatibility",
        "Finder memory",
        "Not needed: the finder's memory is flat. GB.",
        what=False,
        ge=1,
    )
    ec2_vpc_id: str = parameter(
        "", "compatibility", "VPC", "VPC of the workers. On AWS only.", what=False
    )
    ec2_subnets: str = parameter(
        "",
        "compatibility",
        "Subnets",
        "Two subnets or more, separated by commas. On AWS only.",
        what=False,
    )
    spot_workers: bool = parameter(
        False,
        "compatibility",
        "Spot workers",
        "Run workers on spot instances. On AWS only.",
        what=False,
    )

    @field_validator("dest_storage_class", mode="before")
    @classmethod
    def _storage_class(cls, value: Any) -> Any:
        """A class of AWS in any case, or the name that another store gives to one of its own."""
        if not isinstance(value, str) or not value:
            return value or None
        if not re.fullmatch(r"[\w.:+-]{1,128}", value, re.ASCII):
            raise ValueError(
                f"{value!r} is not a valid name of a storage class: letters, digits and any of "
                "_.:+- make one"
            )
        return value.upper() if value.upper() in {each.value for each in StorageClass} else value

    @field_validator("dest_put_object_sse_type", mode="before")
    @classmethod
    def _encryption(cls, value: Any) -> Any:
        also: dict[str, str] = extra(cls.model_fields["dest_put_object_sse_type"])["also"]
        return also.get(value.lower(), value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> "S3Parameters":
        sources = [self.src_prefixs_list_file, self.src_manifest, self.src_inventory]
        if sum(map(bool, sources)) > 1:
            raise ValueError("give one of prefix list, manifest and inventory")
        if self.filter_rules and (self.include_patterns or self.exclude_patterns):
            raise ValueError("give filter rules, or include and exclude patterns")
        if self.src_anonymous and (self.src_profile or self.src_credentials or self.src_role_arn):
            raise ValueError("the source is anonymous, yet it has credentials")
        if (
            self.dest_put_object_sse_kms_key_id
            and self.dest_put_object_sse_type is not Encryption.AWS_KMS
        ):
            raise ValueError("a KMS key needs encryption AWS_KMS")
        if self.dest_sse_customer_key and self.dest_put_object_sse_type is not Encryption.NONE:
            raise ValueError("a customer key is an encryption of its own: leave the other one out")
        if self.delete_mode is DeleteMode.MIRROR and (
            self.src_manifest or self.src_inventory or self.src_skip_compare
        ):
            raise ValueError("mirror deletes need whole prefixes, listed on both sides")
        if (
            self.min_size is not None
            and self.max_size is not None
            and self.min_size > self.max_size
        ):
            raise ValueError("the smallest size is above the largest")
        if self.min_capacity > self.max_capacity:
            raise ValueError("the fewest workers are more than the most")
        shared.check_role("source", self.src_role_arn)
        shared.check_role("destination", self.dest_role_arn)
        return self


def missing(given: S3Parameters, group: str) -> list[str]:
    """The parameters of a group that a task cannot be without, and that are not given."""
    return [alias for name, alias in required(S3Parameters, group) if not getattr(given, name)]
