"""The parameters of an S3 task: their names, labels, groups, help, defaults and allowed values, defined here and
nowhere else. API checks, command line options and the reference page are made from this model.

Names in tasks are camelCase (the alias); `cli` is the option of `dth s3 sync`. Defaults are those of a task to AWS;
the command line and other destinations leave storage class and ACL unset unless they are given.
"""

import re
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any, get_args

from pydantic import AliasGenerator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from dth.s3.compare import Policy
from dth.s3.endpoints import Addressing, ChecksumMode

KIB, MIB, GIB = 1024, 1024**2, 1024**3
UNITS = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": 1024**4}
AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class StoreType(StrEnum):
    AMAZON_S3 = "Amazon_S3"
    ALIYUN_OSS = "Aliyun_OSS"
    QINIU_KODO = "Qiniu_Kodo"
    TENCENT_COS = "Tencent_COS"
    HUAWEI_OBS = "Huawei_OBS"
    BAIDU_BOS = "Baidu_BOS"
    GOOGLE_GCS = "Google_GCS"
    MINIO = "MinIO"
    CEPH = "Ceph"
    S3_COMPATIBLE = "S3_Compatible"


class StorageClass(StrEnum):
    STANDARD = "STANDARD"
    STANDARD_IA = "STANDARD_IA"
    ONEZONE_IA = "ONEZONE_IA"
    INTELLIGENT_TIERING = "INTELLIGENT_TIERING"
    GLACIER_IR = "GLACIER_IR"
    GLACIER = "GLACIER"
    DEEP_ARCHIVE = "DEEP_ARCHIVE"


class Acl(StrEnum):
    PRIVATE = "private"
    PUBLIC_READ = "public-read"
    PUBLIC_READ_WRITE = "public-read-write"
    AUTHENTICATED_READ = "authenticated-read"
    AWS_EXEC_READ = "aws-exec-read"
    BUCKET_OWNER_READ = "bucket-owner-read"
    BUCKET_OWNER_FULL_CONTROL = "bucket-owner-full-control"


class Encryption(StrEnum):
    NONE = "None"
    AES256 = "AES256"
    AWS_KMS = "AWS_KMS"


class EventMode(StrEnum):
    NO = "No"
    CREATE = "Create"
    CREATE_AND_DELETE = "CreateAndDelete"


class DeleteMode(StrEnum):
    NO = "No"
    MIRROR = "Mirror"


class RestoreTier(StrEnum):
    STANDARD = "Standard"
    BULK = "Bulk"
    EXPEDITED = "Expedited"


def parse_size(value: Any) -> Any:
    """`16MiB`, `16M`, `1.5G`, `100k` or a number of bytes; binary units."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", value, re.IGNORECASE)
    if not match:
        raise ValueError(f"{value!r} is not a size; write 16MiB, 100K or a number of bytes")
    return int(Fraction(match[1]) * UNITS[match[2].upper()])


def parse_moment(value: Any) -> Any:
    """A date or time in ISO 8601 (UTC unless it says otherwise), or an age such as `36h` or `7d`; as epoch seconds."""
    if not isinstance(value, str):
        return value
    age = re.fullmatch(r"(\d+)([smhdw])", value)
    if age:
        return max(0.0, datetime.now(UTC).timestamp() - int(age[1]) * AGES[age[2]])
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} is neither a date such as 2026-01-31 nor an age such as 7d") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


Size = Annotated[int, BeforeValidator(parse_size)]
Moment = Annotated[float, BeforeValidator(parse_moment)]


def _field(
    default: Any,
    group: str,
    label: str,
    help: str,
    *,
    cli: str = "",
    alias: str | None = None,
    required: bool = False,
    **limits: Any,
) -> Any:
    return Field(
        default,
        title=label,
        description=help,
        alias=alias,
        json_schema_extra={"group": group, "cli": cli, "required": required},
        **limits,
    )


class S3Parameters(BaseModel):
    model_config = ConfigDict(
        alias_generator=AliasGenerator(alias=to_camel), populate_by_name=True, extra="forbid", frozen=True
    )

    # ------------------------------------------------------------------------------------------- source
    src_type: StoreType | None = _field(
        None,
        "source",
        "Source type",
        "Kind of store; found out from the endpoint when not given.",
        cli="--src-type",
    )
    src_bucket: str = _field("", "source", "Source bucket", "Bucket to read.", required=True)
    src_prefix: str = _field("", "source", "Source prefix", "Only keys that begin with this.")
    src_prefixs_list_file: str = _field(
        "",
        "comparison",
        "Prefix list",
        "A text file with one prefix a line: a file here or a key there.",
        cli="--prefix-list",
    )
    src_prefix_list_bucket: str = _field(
        "",
        "comparison",
        "Prefix list bucket",
        "Bucket of the prefix list; the source bucket when empty.",
        cli="--prefix-list-bucket",
    )
    src_manifest: str = _field(
        "",
        "comparison",
        "Manifest",
        "CSV list of the objects to copy: key, or bucket and key; a file or a source key.",
        cli="--manifest",
    )
    src_inventory: str = _field(
        "",
        "comparison",
        "S3 Inventory",
        "manifest.json of an S3 Inventory (CSV or Parquet): s3://bucket/key.",
        cli="--inventory",
    )
    src_region: str = _field(
        "", "source", "Source region", "Found out for AWS when empty.", cli="--src-region"
    )
    src_endpoint: str = _field(
        "",
        "source",
        "Source endpoint",
        "URL of the store; AWS by region when empty.",
        cli="--src-endpoint-url",
    )
    src_credentials: str = _field(
        "", "source", "Source credentials", "Name of the secret with the source's keys.", cli="--src-secret"
    )
    src_profile: str = _field(
        "", "source", "Source profile", "Profile of the AWS configuration.", cli="--src-profile"
    )
    src_anonymous: bool = _field(
        False, "source", "Anonymous source", "Send no signature to the source.", cli="--src-anonymous"
    )
    src_role_arn: str = _field(
        "", "source", "Source role", "Role to assume for the source.", cli="--src-role-arn"
    )
    src_external_id: str = _field(
        "", "source", "Source external id", "External id for the source role.", cli="--src-external-id"
    )
    src_addressing_style: Addressing = _field(
        Addressing.AUTO,
        "source",
        "Source addressing",
        "Bucket in the path or in the host name.",
        cli="--src-addressing-style",
    )
    src_ca_bundle: str = _field(
        "", "source", "Source CA", "PEM file of authorities to trust.", cli="--src-ca-bundle"
    )
    src_proxy: str = _field("", "source", "Source proxy", "URL of a proxy to the source.", cli="--src-proxy")
    src_in_current_account: bool = _field(
        False,
        "source",
        "Source is ours",
        "The source bucket belongs to the account of the hub: no credentials are needed. On AWS only.",
    )
    is_payer_request: bool = _field(
        False,
        "source",
        "Requester pays",
        "Accept the cost of reading a requester-pays bucket.",
        cli="--requester-pays",
    )

    # -------------------------------------------------------------------------------------- destination
    dest_type: StoreType | None = _field(
        None,
        "destination",
        "Destination type",
        "Kind of store; found out from the endpoint when not given.",
        cli="--dst-type",
    )
    dest_bucket: str = _field("", "destination", "Destination bucket", "Bucket to write.", required=True)
    dest_prefix: str = _field("", "destination", "Destination prefix", "Put before every key.")
    dest_keeps_src_prefix: bool = _field(
        True,
        "destination",
        "Keep the source prefix",
        "True: destination prefix, a slash, the whole source key. False: it takes the place of the source prefix.",
    )
    dest_region: str = _field(
        "", "destination", "Destination region", "Found out for AWS when empty.", cli="--dst-region"
    )
    dest_endpoint: str = _field(
        "",
        "destination",
        "Destination endpoint",
        "URL of the store; AWS by region when empty.",
        cli="--dst-endpoint-url",
    )
    dest_credentials: str = _field(
        "",
        "destination",
        "Destination credentials",
        "Name of the secret with the destination's keys.",
        cli="--dst-secret",
    )
    dest_profile: str = _field(
        "", "destination", "Destination profile", "Profile of the AWS configuration.", cli="--dst-profile"
    )
    dest_role_arn: str = _field(
        "", "destination", "Destination role", "Role to assume for the destination.", cli="--dst-role-arn"
    )
    dest_external_id: str = _field(
        "",
        "destination",
        "Destination external id",
        "External id for the destination role.",
        cli="--dst-external-id",
    )
    dest_addressing_style: Addressing = _field(
        Addressing.AUTO,
        "destination",
        "Destination addressing",
        "Bucket in the path or in the host name.",
        cli="--dst-addressing-style",
    )
    dest_ca_bundle: str = _field(
        "", "destination", "Destination CA", "PEM file of authorities to trust.", cli="--dst-ca-bundle"
    )
    dest_proxy: str = _field(
        "", "destination", "Destination proxy", "URL of a proxy to the destination.", cli="--dst-proxy"
    )
    dest_in_current_account: bool = _field(
        True,
        "destination",
        "Destination is ours",
        "The destination bucket belongs to the account of the hub: no credentials are needed. On AWS only.",
    )
    dest_storage_class: StorageClass | None = _field(
        StorageClass.INTELLIGENT_TIERING,
        "destination",
        "Storage class",
        "Class of the copies.",
        cli="--storage-class",
    )
    dest_acl: Acl | None = _field(
        Acl.BUCKET_OWNER_FULL_CONTROL, "destination", "ACL", "Canned ACL of the copies.", cli="--acl"
    )
    dest_put_object_sse_type: Encryption = _field(
        Encryption.NONE,
        "destination",
        "Encryption",
        "Server-side encryption to ask for.",
        cli="--sse",
        alias="destPutObjectSSEType",
    )
    dest_put_object_sse_kms_key_id: str = _field(
        "",
        "destination",
        "KMS key",
        "Key for AWS_KMS; the bucket's default when empty.",
        cli="--sse-kms-key-id",
        alias="destPutObjectSSEKmsKeyId",
    )
    include_metadata: bool = _field(
        True,
        "destination",
        "Metadata",
        "Carry over content headers, expiry, redirect and user metadata.",
        cli="--metadata/--no-metadata",
    )
    copy_tags: bool = _field(True, "destination", "Tags", "Carry over object tags.", cli="--tags/--no-tags")

    # ------------------------------------------------------------------------------------ what is copied
    compare_policy: Policy = _field(
        Policy.ETAG, "comparison", "Compare by", "What makes two objects the same.", cli="--compare"
    )
    src_skip_compare: bool = _field(
        False,
        "comparison",
        "Skip comparison",
        "Copy everything without listing the destination.",
        cli="--skip-compare",
    )
    src_event: EventMode = _field(
        EventMode.NO,
        "comparison",
        "Events",
        "Follow the source's event notifications: creations, or deletions as well.",
    )
    include_patterns: tuple[str, ...] = _field(
        (), "comparison", "Include", "Globs; only keys that match one are copied.", cli="--include"
    )
    exclude_patterns: tuple[str, ...] = _field(
        (), "comparison", "Exclude", "Globs; keys that match one are left out.", cli="--exclude"
    )
    min_size: Size | None = _field(
        None, "comparison", "Smallest size", "Leave out smaller objects.", cli="--min-size", ge=0
    )
    max_size: Size | None = _field(
        None, "comparison", "Largest size", "Leave out larger objects.", cli="--max-size", ge=0
    )
    modified_since: Moment | None = _field(
        None,
        "comparison",
        "Modified since",
        "Leave out objects older than this date or age.",
        cli="--modified-since",
    )
    modified_before: Moment | None = _field(
        None,
        "comparison",
        "Modified before",
        "Leave out objects newer than this date or age.",
        cli="--modified-before",
    )
    src_storage_classes: tuple[str, ...] = _field(
        (),
        "comparison",
        "Source classes",
        "Only objects of these storage classes.",
        cli="--src-storage-class",
    )
    delete_mode: DeleteMode = _field(
        DeleteMode.NO,
        "comparison",
        "Deletes",
        "Mirror: delete destination objects that have no source, after the whole source was listed.",
        cli="--delete-mode",
    )
    delete_max_percent: float = _field(
        10.0,
        "comparison",
        "Delete guard",
        "Delete nothing if more than this part of the destination objects in scope would go.",
        cli="--delete-max-percent",
        ge=0,
        le=100,
    )
    restore_archived: bool = _field(
        False,
        "comparison",
        "Restore archived",
        "Ask for readable copies of archived source objects.",
        cli="--restore",
    )
    restore_tier: RestoreTier = _field(
        RestoreTier.BULK, "comparison", "Restore tier", "Speed and price of restoring.", cli="--restore-tier"
    )
    restore_days: int = _field(
        7, "comparison", "Restore days", "Days that a restored copy stays.", cli="--restore-days", ge=1
    )

    # ------------------------------------------------------------------------------------------- engine
    checksum_mode: ChecksumMode | None = _field(
        None,
        "engine",
        "Checksum",
        "What covers every body; by the destination's profile when empty.",
        cli="--checksum-mode",
    )
    multipart_threshold: Size = _field(
        64 * MIB,
        "engine",
        "Multipart from",
        "Objects above this go in parts.",
        cli="--multipart-threshold",
        ge=5 * MIB,
    )
    part_size: Size = _field(
        16 * MIB,
        "engine",
        "Part size",
        "Smallest part; grows so that 10,000 suffice.",
        cli="--part-size",
        ge=5 * MIB,
        le=5 * GIB,
    )
    giant_object_threshold: Size = _field(
        GIB,
        "engine",
        "Giant from",
        "Parts of objects this large are spread over all workers.",
        cli="--giant-object-threshold",
        ge=5 * MIB,
    )
    worker_number: int = _field(
        4,
        "engine",
        "Concurrency",
        "Requests in flight at most, in units of 32, for each worker.",
        cli="--worker-number",
        ge=1,
        le=10,
    )
    min_capacity: int = _field(
        1, "engine", "Fewest workers", "Worker processes at least, while there is work.", ge=0, le=64
    )
    desired_capacity: int = _field(
        1, "engine", "Workers at first", "Worker processes that a run begins with.", ge=0, le=64
    )
    max_capacity: int = _field(
        20, "engine", "Most workers", "Worker processes at most.", cli="--workers", ge=1, le=64
    )
    memory_budget: Size = _field(
        128 * MIB,
        "engine",
        "Memory for bodies",
        "Bytes of object bodies in memory at once, for each worker.",
        cli="--memory-budget",
        ge=16 * MIB,
    )
    max_bytes_per_second: Size | None = _field(
        None,
        "engine",
        "Bandwidth cap",
        "Bytes a second over all workers.",
        cli="--max-bytes-per-second",
        ge=1024,
    )
    max_requests_per_second: float | None = _field(
        None,
        "engine",
        "Request cap",
        "Requests a second to each side, over all workers.",
        cli="--max-requests-per-second",
        gt=0,
    )
    server_side_copy: bool = _field(
        True,
        "engine",
        "Copy within a store",
        "Let the store copy where both sides are one store and one credential.",
        cli="--server-side-copy/--no-server-side-copy",
    )

    # ----------------------------------------------------------------------------------------- schedule
    ec2_cron_expression: str = _field(
        "0/60 * * * ? *",
        "schedule",
        "Cron expression",
        "When runs begin: EventBridge cron, six fields, UTC. Empty: once.",
    )
    schedule_rate: str = _field(
        "",
        "schedule",
        "Rate",
        "How often runs begin, such as 5 minutes, 1 hour, 7 days; instead of a cron expression.",
    )
    transfer_window: str = _field(
        "",
        "schedule",
        "Transfer window",
        "When data may move, such as Mon-Fri 20:00-06:00 Europe/Berlin; always when empty.",
    )
    bandwidth_timetable: str = _field(
        "",
        "schedule",
        "Bandwidth timetable",
        "Bandwidth caps by time, such as Mon-Fri 08:00-18:00 10M; the bandwidth cap holds at other times.",
    )
    budget: float | None = _field(
        None,
        "schedule",
        "Budget",
        "US dollars, estimated by list prices, after which the task pauses.",
        gt=0,
    )
    alarm_email: str = _field(
        "", "schedule", "Alarm e-mail", "Address that hears of failures.", pattern=r"^$|^[^@\s]+@[^@\s]+$"
    )

    # ------------------------------------------------------------------ accepted for existing tasks, or AWS only
    finder_depth: int = _field(
        0, "compatibility", "Finder depth", "Not needed: key ranges split themselves.", ge=0
    )
    finder_number: int = _field(
        1, "compatibility", "Finder number", "Not needed: key ranges split themselves.", ge=0
    )
    finder_ec2_memory: int = _field(
        8, "compatibility", "Finder memory", "Not needed: the finder's memory is flat. GB.", ge=1
    )
    ec2_vpc_id: str = _field("", "compatibility", "VPC", "VPC of the workers. On AWS only.")
    ec2_subnets: str = _field(
        "", "compatibility", "Subnets", "Two subnets or more, with commas between. On AWS only."
    )
    spot_workers: bool = _field(
        False, "compatibility", "Spot workers", "Run workers on spot instances. On AWS only."
    )

    @model_validator(mode="after")
    def _consistent(self) -> "S3Parameters":
        sources = [self.src_prefixs_list_file, self.src_manifest, self.src_inventory]
        if sum(map(bool, sources)) > 1:
            raise ValueError("give one of prefix list, manifest and inventory")
        if self.src_anonymous and (self.src_profile or self.src_credentials or self.src_role_arn):
            raise ValueError("the source is anonymous, yet it has credentials")
        if self.dest_put_object_sse_kms_key_id and self.dest_put_object_sse_type is not Encryption.AWS_KMS:
            raise ValueError("a KMS key needs encryption AWS_KMS")
        if self.delete_mode is DeleteMode.MIRROR and (
            self.src_manifest or self.src_inventory or self.src_skip_compare
        ):
            raise ValueError("mirror deletes need whole prefixes, listed on both sides")
        if self.min_size is not None and self.max_size is not None and self.min_size > self.max_size:
            raise ValueError("the smallest size is above the largest")
        if self.min_capacity > self.max_capacity:
            raise ValueError("the fewest workers are more than the most")
        return self


def options() -> list[tuple[str, Any]]:
    """(field name, pydantic field) of every parameter that the command line offers."""
    return [(name, field) for name, field in S3Parameters.model_fields.items() if _extra(field)["cli"]]


def missing(given: S3Parameters, group: str) -> list[str]:
    """The parameters of a group that a task cannot be without, and that are not given."""
    fields = [(name, field) for name, field in S3Parameters.model_fields.items() if _extra(field)["required"]]
    return [
        str(field.alias)
        for name, field in fields
        if _extra(field)["group"] == group and not getattr(given, name)
    ]


def _extra(field: Any) -> dict[str, Any]:
    return field.json_schema_extra  # type: ignore[no-any-return]


def choices(field: Any) -> list[str]:
    """The allowed values of a parameter; empty where any will do."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return [member.value for member in kind]
    return []


def readers(field: Any) -> set[object]:
    """The functions that read the parameter's text."""
    inner = [each for kind in get_args(field.annotation) for each in getattr(kind, "__metadata__", ())]
    return {each.func for each in [*field.metadata, *inner] if isinstance(each, BeforeValidator)}


def is_size(field: Any) -> bool:
    """Whether the parameter takes a size such as 16MiB."""
    return parse_size in readers(field)
