"""The parameters of an ECR task: their names, labels, groups, help, defaults and allowed values, defined here and
nowhere else. API checks, command line options and the reference page are made from this model.

Names in tasks are camelCase (the alias); `cli` is the option of `dth ecr sync`.
"""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from dth.ecr.control import Mutability, RepositoryTemplate, TagRule
from dth.ecr.patterns import Patterns
from dth.ecr.reference import DOCKER_HUB, check_registry, check_repository
from dth.ecr.renames import Renames
from dth.ecr.selection import read_image_list
from dth.errors import UsageError

AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
ACCOUNT = r"^$|^\d{12}$"
PLATFORM = r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?"


class SourceType(StrEnum):
    AMAZON_ECR = "Amazon_ECR"
    PUBLIC = "Public"  # any registries, nobody signs in
    REGISTRY = "Registry"  # one registry, with credentials where they are given


class DestType(StrEnum):
    AMAZON_ECR = "Amazon_ECR"
    REGISTRY = "Registry"


class SourceList(StrEnum):
    ALL = "ALL"
    SELECTED = "SELECTED"


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


class EcrParameters(BaseModel):
    model_config = ConfigDict(
        alias_generator=AliasGenerator(alias=to_camel), populate_by_name=True, extra="forbid", frozen=True
    )

    # ------------------------------------------------------------------------------------------- source
    source_type: SourceType = _field(
        SourceType.AMAZON_ECR,
        "source",
        "Source type",
        "Amazon ECR; public images of any registry; or one registry, with credentials where it wants them.",
        cli="--src-type",
    )
    src_registry: str = _field(
        "",
        "source",
        "Source registry",
        "Host of the registry, such as quay.io or harbor.example.com:8443; docker.io when empty. Not for Amazon ECR.",
        cli="--src-registry",
    )
    src_region: str = _field(
        "", "source", "Source region", "Region of the source's Amazon ECR.", cli="--src-region"
    )
    src_account_id: str = _field(
        "",
        "source",
        "Source account",
        "Account of the source's Amazon ECR; that of the credentials when empty.",
        cli="--src-account-id",
        pattern=ACCOUNT,
    )
    src_list: SourceList = _field(
        SourceList.ALL, "source", "Images", "All images of the source, or those of a list.", cli="--src-list"
    )
    src_image_list: str = _field(
        "",
        "source",
        "Image list",
        "Images with commas or line ends between: name:tag, name:ALL_TAGS, name@digest; name alone means latest.",
        cli="--image",
    )
    src_credential: str = _field(
        "",
        "source",
        "Source credentials",
        "Name of the secret: access_key_id and secret_access_key for Amazon ECR, username and password for others.",
        cli="--src-secret",
    )
    src_profile: str = _field(
        "", "source", "Source profile", "Profile of the AWS configuration.", cli="--src-profile"
    )
    src_role_arn: str = _field(
        "", "source", "Source role", "Role to assume for the source.", cli="--src-role-arn"
    )
    src_external_id: str = _field(
        "", "source", "Source external id", "External id for the source role.", cli="--src-external-id"
    )
    src_endpoint: str = _field(
        "",
        "source",
        "Source ECR endpoint",
        "URL of the ECR API, such as that of a VPC endpoint; by region when empty.",
        cli="--src-endpoint-url",
    )
    src_registry_host: str = _field(
        "",
        "source",
        "Source ECR host",
        "Host through which the registry of Amazon ECR is reached; what ECR says when empty.",
        cli="--src-registry-host",
    )
    src_ca_bundle: str = _field(
        "", "source", "Source CA", "PEM file of authorities to trust.", cli="--src-ca-bundle"
    )
    src_plain_http: bool = _field(
        False,
        "source",
        "Source without TLS",
        "Speak http with the source registry. On this machine itself that is so anyway.",
        cli="--src-plain-http",
    )

    # -------------------------------------------------------------------------------------- destination
    dest_type: DestType = _field(
        DestType.AMAZON_ECR,
        "destination",
        "Destination type",
        "Amazon ECR, or any other registry.",
        cli="--dst-type",
    )
    dest_registry: str = _field(
        "",
        "destination",
        "Destination registry",
        "Host of the registry, such as harbor.example.com. Not for Amazon ECR.",
        cli="--dst-registry",
    )
    dest_region: str = _field(
        "", "destination", "Destination region", "Region of the destination's Amazon ECR.", cli="--dst-region"
    )
    dest_account_id: str = _field(
        "",
        "destination",
        "Destination account",
        "Account of the destination's Amazon ECR; that of the credentials when empty.",
        cli="--dst-account-id",
        pattern=ACCOUNT,
    )
    dest_prefix: str = _field(
        "",
        "destination",
        "Destination prefix",
        "Put before every repository name, with a slash between.",
        cli="--dst-prefix",
    )
    rename_rules: tuple[str, ...] = _field(
        (),
        "destination",
        "Renames",
        "old=new for repositories, or old:tag=new:tag for one image; the first that fits. old may end with * (and new "
        "take what it stands for).",
        cli="--rename",
    )
    dest_credential: str = _field(
        "",
        "destination",
        "Destination credentials",
        "Name of the secret: access_key_id and secret_access_key for Amazon ECR, username and password for others.",
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
    dest_endpoint: str = _field(
        "",
        "destination",
        "Destination ECR endpoint",
        "URL of the ECR API, such as that of a VPC endpoint; by region when empty.",
        cli="--dst-endpoint-url",
    )
    dest_registry_host: str = _field(
        "",
        "destination",
        "Destination ECR host",
        "Host through which the registry of Amazon ECR is reached; what ECR says when empty.",
        cli="--dst-registry-host",
    )
    dest_ca_bundle: str = _field(
        "", "destination", "Destination CA", "PEM file of authorities to trust.", cli="--dst-ca-bundle"
    )
    dest_plain_http: bool = _field(
        False,
        "destination",
        "Destination without TLS",
        "Speak http with the destination registry. On this machine itself that is so anyway.",
        cli="--dst-plain-http",
    )
    dest_tag_mutability: Mutability = _field(
        Mutability.MUTABLE,
        "destination",
        "Tag mutability",
        "Of repositories that are made: whether their tags can be moved to other images.",
        cli="--tag-mutability",
    )
    dest_mutability_exclusions: tuple[str, ...] = _field(
        (),
        "destination",
        "Mutability exclusions",
        "Wildcards of tags for which the opposite holds, such as latest or dev-*.",
        cli="--tag-mutability-exclusion",
    )
    dest_scan_on_push: bool = _field(
        False,
        "destination",
        "Scan on push",
        "Of repositories that are made: look for vulnerabilities in what is pushed.",
        cli="--scan-on-push/--no-scan-on-push",
    )
    dest_kms_key: str = _field(
        "",
        "destination",
        "KMS key",
        "Of repositories that are made: key that encrypts them; AES256 when empty.",
        cli="--kms-key",
    )
    dest_repository_tags: tuple[str, ...] = _field(
        (),
        "destination",
        "Repository tags",
        "Of repositories that are made: AWS tags, each key=value.",
        cli="--repository-tag",
    )

    # ------------------------------------------------------------------------------------ what is copied
    include_repositories: tuple[str, ...] = _field(
        (),
        "comparison",
        "Include repositories",
        "Globs, or regular expressions after regex:; only repositories that match one take part.",
        cli="--include-repository",
    )
    exclude_repositories: tuple[str, ...] = _field(
        (),
        "comparison",
        "Exclude repositories",
        "Globs, or regular expressions after regex:; repositories that match one are left out.",
        cli="--exclude-repository",
    )
    include_tags: tuple[str, ...] = _field(
        (),
        "comparison",
        "Include tags",
        "Globs, or regular expressions after regex:; only tags that match one take part.",
        cli="--include-tag",
    )
    exclude_tags: tuple[str, ...] = _field(
        (),
        "comparison",
        "Exclude tags",
        "Globs, or regular expressions after regex:; tags that match one are left out.",
        cli="--exclude-tag",
    )
    newest_tags: int | None = _field(
        None,
        "comparison",
        "Newest tags",
        "Only so many tags of each repository, the newest: by push in Amazon ECR, elsewhere by when they were built.",
        cli="--newest-tags",
        ge=1,
    )
    pushed_since: Moment | None = _field(
        None,
        "comparison",
        "Pushed since",
        "Leave out images older than this date or age: by push in Amazon ECR, elsewhere by when they were built.",
        cli="--pushed-since",
    )
    platforms: tuple[str, ...] = _field(
        (),
        "comparison",
        "Platforms",
        "Only these of images with several, such as linux/amd64; all when empty. Leaves out images without a tag.",
        cli="--platform",
    )
    include_untagged: bool = _field(
        True,
        "comparison",
        "Untagged images",
        "Copy images without a tag by their digest, where the source lists them (Amazon ECR does).",
        cli="--untagged/--no-untagged",
    )
    include_referrers: bool = _field(
        True,
        "comparison",
        "Signatures and SBOMs",
        "Copy what refers to an image: signatures, attestations, SBOMs.",
        cli="--referrers/--no-referrers",
    )
    immutable_tags: tuple[str, ...] = _field(
        (),
        "comparison",
        "Tags that never change",
        "Globs, or regular expressions after regex:; such tags are not looked at again once they were copied.",
        cli="--immutable-tag",
    )

    # ------------------------------------------------------------------------------------------- engine
    max_concurrency: int = _field(
        10,
        "engine",
        "Images at once",
        "Images that are copied at the same time.",
        cli="--concurrency",
        ge=1,
        le=64,
    )
    retries: int = _field(
        3,
        "engine",
        "Retries",
        "How often an image is tried again after a failure that is passing.",
        cli="--retries",
        ge=0,
        le=10,
    )
    copy_timeout: int = _field(
        3600, "engine", "Time limit", "Seconds that one image may take.", cli="--copy-timeout", ge=10
    )

    # ----------------------------------------------------------------------------------------- schedule
    ec2_cron_expression: str = _field(
        "0 0 * * ? *",
        "schedule",
        "Cron expression",
        "When runs begin: EventBridge cron, six fields, UTC. Empty: once.",
    )
    schedule_rate: str = _field(
        "",
        "schedule",
        "Rate",
        "How often runs begin, such as 6 hours or 7 days; instead of a cron expression.",
    )
    transfer_window: str = _field(
        "",
        "schedule",
        "Transfer window",
        "When data may move, such as Mon-Fri 20:00-06:00 Europe/Berlin; always when empty.",
    )
    alarm_email: str = _field(
        "", "schedule", "Alarm e-mail", "Address that hears of failures.", pattern=r"^$|^[^@\s]+@[^@\s]+$"
    )

    # ------------------------------------------------------------------ accepted for existing tasks, or AWS only
    ecs_cluster_name: str = _field("", "compatibility", "ECS cluster", "Cluster of the tasks. On AWS only.")
    ecs_vpc_id: str = _field("", "compatibility", "VPC", "VPC of the tasks. On AWS only.")
    ecs_subnet_a: str = _field("", "compatibility", "Subnet A", "A subnet of the tasks. On AWS only.")
    ecs_subnet_b: str = _field("", "compatibility", "Subnet B", "Another subnet of the tasks. On AWS only.")

    @field_validator("src_registry", "dest_registry", "src_registry_host", "dest_registry_host")
    @classmethod
    def _registry(cls, value: str) -> str:
        return _checked(check_registry, value) if value else value

    @field_validator("dest_prefix")
    @classmethod
    def _prefix(cls, value: str) -> str:
        value = value.strip("/")
        return _checked(check_repository, value) if value else value

    @field_validator(
        "include_repositories", "exclude_repositories", "include_tags", "exclude_tags", "immutable_tags"
    )
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _checked(Patterns, value)
        return value

    @field_validator("rename_rules")
    @classmethod
    def _renames(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _checked(Renames, value)
        return value

    @field_validator("platforms")
    @classmethod
    def _platforms(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if not re.fullmatch(PLATFORM, each):
                raise ValueError(f"{each!r} is not a platform such as linux/amd64 or linux/arm/v7")
        return value

    @field_validator("dest_repository_tags")
    @classmethod
    def _repository_tags(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if not each.partition("=")[0] or "=" not in each:
                raise ValueError(f"{each!r} is not a tag of the form key=value")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "EcrParameters":
        if self.src_list is SourceList.SELECTED and not self.src_image_list.strip():
            raise ValueError("srcList is SELECTED, and srcImageList names no image")
        if self.src_list is SourceList.ALL and self.source_type is SourceType.PUBLIC:
            raise ValueError(
                "public registries cannot be listed: set srcList to SELECTED and name the images"
            )
        if self.src_list is SourceList.SELECTED:
            _checked(lambda text: read_image_list(text, self.registry_of_names), self.src_image_list)
        for side, is_ecr, registry in (
            ("src", self.source_type is SourceType.AMAZON_ECR, self.src_registry),
            ("dest", self.dest_type is DestType.AMAZON_ECR, self.dest_registry),
        ):
            if is_ecr and registry:
                raise ValueError(
                    f"{side}Registry is not for Amazon ECR, whose host follows from account and region"
                )
        if self.source_type is SourceType.PUBLIC and self.src_registry:
            raise ValueError("public images name their registry themselves, such as quay.io/team/app:v1")
        if self.source_type is SourceType.PUBLIC and self.src_credential:
            raise ValueError(
                "public images need no credentials; for one registry with credentials there is Registry"
            )
        excluding = self.dest_tag_mutability.value.endswith("_EXCLUSION")
        if excluding != bool(self.dest_mutability_exclusions):
            raise ValueError(
                "destTagMutability names exclusions, and destMutabilityExclusions has none"
                if excluding
                else "destMutabilityExclusions needs a destTagMutability with exclusions"
            )
        return self

    @property
    def registry_of_names(self) -> str:
        """The one registry in which the names of the image list are (as far as it is known without asking); "" where
        each may name its own."""
        match self.source_type:
            case SourceType.PUBLIC:
                return ""
            case SourceType.REGISTRY:
                return self.src_registry or DOCKER_HUB
            case SourceType.AMAZON_ECR:
                return self.src_registry_host or "amazon-ecr"

    @property
    def template(self) -> RepositoryTemplate:
        """How repositories are made at the destination."""
        pairs = (each.partition("=") for each in self.dest_repository_tags)
        return RepositoryTemplate(
            TagRule(self.dest_tag_mutability, self.dest_mutability_exclusions),
            self.dest_scan_on_push,
            self.dest_kms_key,
            tuple((key, value) for key, _, value in pairs),
        )


def _checked(check: Any, value: Any) -> Any:
    """What is wrong with a value, as pydantic wants it told."""
    try:
        return check(value)
    except UsageError as error:
        raise ValueError(str(error)) from None


def options() -> list[tuple[str, Any]]:
    """(field name, pydantic field) of every parameter that the command line offers."""
    return [(name, field) for name, field in EcrParameters.model_fields.items() if _extra(field)["cli"]]


def missing(given: EcrParameters, group: str) -> list[str]:
    """The parameters of "source" or "destination" that a task cannot be without, and that are not given."""
    needed = {
        "source": ("srcRegion", given.source_type is SourceType.AMAZON_ECR and not given.src_region),
        "destination": ("destRegion", given.dest_type is DestType.AMAZON_ECR and not given.dest_region),
    }
    found = [needed[group]] if group in needed else []
    if group == "destination":
        found.append(("destRegistry", given.dest_type is DestType.REGISTRY and not given.dest_registry))
    return [name for name, lacking in found if lacking]


def _extra(field: Any) -> dict[str, Any]:
    return field.json_schema_extra  # type: ignore[no-any-return]
