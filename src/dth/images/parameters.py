"""The parameters of an ECR task: their names, labels, groups, help, defaults and allowed values,
defined here and nowhere else. API checks, command line options and the reference page are made from
this model.

Names in tasks are camelCase (the alias); `cli` is the option of `dth ecr sync`.
"""

import re
from enum import StrEnum
from typing import Any

from pydantic import field_validator, model_validator

from dth.core import shared_parameters as shared
from dth.core.errors import UsageError
from dth.core.parameters import OPTION, Moment, TaskParameters, parameter
from dth.images.patterns import Patterns
from dth.images.registry.control import Mutability, RepositoryTemplate, TagRule
from dth.images.registry.reference import DOCKER_HUB, check_registry, check_repository
from dth.images.renames import Renames
from dth.images.selection import read_image_list

ACCOUNT = r"^$|^\d{12}$"
PLATFORM = r"[A-Za-z0-9]+/[A-Za-z0-9_-]+(/[A-Za-z0-9.]+)?"


class SourceType(StrEnum):
    """Where images come from."""

    AMAZON_ECR = "Amazon_ECR"
    PUBLIC = "Public"  # any registries, nobody signs in
    REGISTRY = "Registry"  # one registry, with credentials where they are given


class DestType(StrEnum):
    """Where images go."""

    AMAZON_ECR = "Amazon_ECR"
    REGISTRY = "Registry"


class SourceList(StrEnum):
    """Whether all images are copied, or those of a list."""

    ALL = "ALL"
    SELECTED = "SELECTED"


# ------------------------------------------------------------------------- what is declared often


def _region(side: str) -> Any:
    return parameter(
        "", side, f"{side.title()} region", f"Region of the {side}'s Amazon ECR.", what=True
    )


def _account_id(side: str) -> Any:
    return parameter(
        "",
        side,
        f"{side.title()} account",
        f"Account of the {side}'s Amazon ECR; that of the credentials when empty.",
        what=True,
        pattern=ACCOUNT,
    )


def _credential(side: str) -> Any:
    return parameter(
        "",
        side,
        f"{side.title()} credentials",
        "Name of the secret: access_key_id and secret_access_key for Amazon ECR, username and "
        "password for others.",
        what=True,
        cli=f"{OPTION[side]}-secret",
    )


def _endpoint(side: str) -> Any:
    return parameter(
        "",
        side,
        f"{side.title()} ECR endpoint",
        "URL of the ECR API, such as that of a VPC endpoint; by region when empty.",
        what=True,
        cli=f"{OPTION[side]}-endpoint-url",
    )


def _registry_host(side: str) -> Any:
    return parameter(
        "",
        side,
        f"{side.title()} ECR host",
        "Host through which the registry of Amazon ECR is reached; what ECR says when empty.",
        what=True,
        cli=f"{OPTION[side]}-registry-host",
    )


def _plain_http(side: str) -> Any:
    return parameter(
        False,
        side,
        f"{side.title()} without TLS",
        f"Speak http with the {side} registry. On this machine itself that is so anyway.",
        what=False,
        cli=f"{OPTION[side]}-plain-http",
    )


def _patterns(label: str, effect: str, option: str) -> Any:
    return parameter(
        (),
        "comparison",
        label,
        f"Globs, or regular expressions after regex:; {effect}.",
        what=True,
        cli=option,
    )


class EcrParameters(TaskParameters):
    """The parameters of a task that copies images, by group. Immutable."""

    # --------------------------------------------------------------------------------------- source
    source_type: SourceType = parameter(
        SourceType.AMAZON_ECR,
        "source",
        "Source type",
        (
            "Amazon ECR; public images of any registry; or one registry, with credentials where it "
            "wants them."
        ),
        what=True,
    )
    src_registry: str = parameter(
        "",
        "source",
        "Source registry",
        (
            "Host of the registry, such as quay.io or harbor.example.com:8443; docker.io when "
            "empty. Not for Amazon ECR."
        ),
        what=True,
    )
    src_region: str = _region("source")
    src_account_id: str = _account_id("source")
    src_list: SourceList = parameter(
        SourceList.ALL,
        "source",
        "Images",
        "All images of the source, or those of the image list, if one is given.",
        what=True,
    )
    src_image_list: str = parameter(
        "",
        "source",
        "Image list",
        (
            "Images separated by commas or line ends: name:tag, name:ALL_TAGS, name@digest; name "
            "alone means latest."
        ),
        what=True,
    )
    src_credential: str = _credential("source")
    src_profile: str = shared.profile("source")
    src_role_arn: str = shared.role_arn("source")
    src_external_id: str = shared.external_id("source")
    src_endpoint: str = _endpoint("source")
    src_registry_host: str = _registry_host("source")
    src_ca_bundle: str = shared.ca_bundle("source")
    src_plain_http: bool = _plain_http("source")

    # ---------------------------------------------------------------------------------- destination
    dest_type: DestType = parameter(
        DestType.AMAZON_ECR,
        "destination",
        "Destination type",
        "Amazon ECR, or any other registry.",
        what=True,
    )
    dest_registry: str = parameter(
        "",
        "destination",
        "Destination registry",
        "Host of the registry, such as harbor.example.com. Not for Amazon ECR.",
        what=True,
    )
    dest_region: str = _region("destination")
    dest_account_id: str = _account_id("destination")
    dest_prefix: str = parameter(
        "",
        "destination",
        "Destination prefix",
        "Put before every repository name, with a slash between.",
        what=True,
    )
    rename_rules: tuple[str, ...] = parameter(
        (),
        "destination",
        "Renames",
        "old=new for repositories, or old:tag=new:tag for one image; the first that fits. old "
        "may end with * (and new take what it stands for).",
        what=True,
        cli="--rename",
    )
    dest_credential: str = _credential("destination")
    dest_profile: str = shared.profile("destination")
    dest_role_arn: str = shared.role_arn("destination")
    dest_external_id: str = shared.external_id("destination")
    dest_endpoint: str = _endpoint("destination")
    dest_registry_host: str = _registry_host("destination")
    dest_ca_bundle: str = shared.ca_bundle("destination")
    dest_plain_http: bool = _plain_http("destination")
    dest_tag_mutability: Mutability = parameter(
        Mutability.MUTABLE,
        "destination",
        "Tag mutability",
        "Of repositories that are made: whether their tags can be moved to other images.",
        what=True,
        cli="--tag-mutability",
    )
    dest_mutability_exclusions: tuple[str, ...] = parameter(
        (),
        "destination",
        "Mutability exclusions",
        "Wildcards of tags for which the opposite holds, such as latest or dev-*.",
        what=True,
        cli="--tag-mutability-exclusion",
    )
    dest_scan_on_push: bool = parameter(
        False,
        "destination",
        "Scan on push",
        "Of repositories that are made: look for vulnerabilities in what is pushed.",
        what=True,
        cli="--scan-on-push/--no-scan-on-push",
    )
    dest_kms_key: str = parameter(
        "",
        "destination",
        "KMS key",
        "Of repositories that are made: key that encrypts them; AES256 when empty.",
        what=True,
        cli="--kms-key",
    )
    dest_repository_tags: tuple[str, ...] = parameter(
        (),
        "destination",
        "Repository tags",
        "Of repositories that are made: AWS tags, each key=value.",
        what=True,
        cli="--repository-tag",
    )

    # ------------------------------------------------------------------------------- what is copied
    include_repositories: tuple[str, ...] = _patterns(
        "Include repositories", "only repositories that match one take part", "--include-repository"
    )
    exclude_repositories: tuple[str, ...] = _patterns(
        "Exclude repositories", "repositories that match one are left out", "--exclude-repository"
    )
    include_tags: tuple[str, ...] = _patterns(
        "Include tags", "only tags that match one take part", "--include-tag"
    )
    exclude_tags: tuple[str, ...] = _patterns(
        "Exclude tags", "tags that match one are left out", "--exclude-tag"
    )
    newest_tags: int | None = parameter(
        None,
        "comparison",
        "Newest tags",
        (
            "Only this many tags of each repository, the newest: by push in Amazon ECR, elsewhere "
            "by when they were built."
        ),
        what=True,
        cli="--newest-tags",
        ge=1,
    )
    pushed_since: Moment | None = parameter(
        None,
        "comparison",
        "Pushed since",
        (
            "Leave out images older than this date or age: by push in Amazon ECR, elsewhere by "
            "when they were built."
        ),
        what=True,
        cli="--pushed-since",
    )
    platforms: tuple[str, ...] = parameter(
        (),
        "comparison",
        "Platforms",
        (
            "Only these of images with several, such as linux/amd64; all when empty. Leaves out "
            "images without a tag."
        ),
        what=True,
        cli="--platform",
    )
    include_untagged: bool = parameter(
        True,
        "comparison",
        "Untagged images",
        "Copy images without a tag by their digest, where the source lists them (Amazon ECR does).",
        what=True,
        cli="--untagged/--no-untagged",
    )
    include_referrers: bool = parameter(
        True,
        "comparison",
        "Signatures and SBOMs",
        (
            "Copy what is attached to an image or to one of its platforms: signatures, "
            "attestations, SBOMs."
        ),
        what=True,
        cli="--attached/--no-attached",
    )
    repair: bool = parameter(
        False,
        "comparison",
        "Repair",
        (
            "Look whether the destination has every layer of what is the same, and copy again what "
            "it has lost."
        ),
        what=True,
        cli="--repair/--no-repair",
    )
    immutable_tags: tuple[str, ...] = _patterns(
        "Tags that never change",
        "such tags are not checked again after they were copied",
        "--immutable-tag",
    )

    # --------------------------------------------------------------------------------------- engine
    max_concurrency: int = parameter(
        10,
        "engine",
        "Images at once",
        "Images that are copied at the same time.",
        what=False,
        cli="--concurrency",
        ge=1,
        le=64,
    )
    retries: int = parameter(
        3,
        "engine",
        "Retries",
        "How often an image is tried again after a failure that is passing.",
        what=False,
        cli="--retries",
        ge=0,
        le=10,
    )
    copy_timeout: int = parameter(
        3600,
        "engine",
        "Time limit",
        "Seconds that one image may take.",
        what=False,
        cli="--copy-timeout",
        ge=10,
    )

    # ------------------------------------------------------------------------------------- schedule
    ec2_cron_expression: str = shared.cron_expression("0 0 * * ? *")
    schedule_rate: str = shared.schedule_rate("6 hours or 7 days")
    schedule_time_zone: str = shared.schedule_time_zone()
    transfer_window: str = shared.transfer_window()
    alarm_email: str = shared.alarm_email()

    # ----------------------------------------------------- accepted for existing tasks, or AWS only
    ecs_cluster_name: str = parameter(
        "", "compatibility", "ECS cluster", "Cluster of the tasks. On AWS only.", what=False
    )
    ecs_vpc_id: str = parameter(
        "", "compatibility", "VPC", "VPC of the tasks. On AWS only.", what=False
    )
    ecs_subnet_a: str = parameter(
        "", "compatibility", "Subnet A", "A subnet of the tasks. On AWS only.", what=False
    )
    ecs_subnet_b: str = parameter(
        "", "compatibility", "Subnet B", "Another subnet of the tasks. On AWS only.", what=False
    )

    @model_validator(mode="before")
    @classmethod
    def _naming_is_selecting(cls, given: Any) -> Any:
        """Images that are named are those that are meant."""
        if isinstance(given, dict) and not {"srcList", "src_list"} & given.keys():
            for names, chosen in (("srcImageList", "srcList"), ("src_image_list", "src_list")):
                if given.get(names):
                    return {**given, chosen: SourceList.SELECTED}
        return given

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
        "include_repositories",
        "exclude_repositories",
        "include_tags",
        "exclude_tags",
        "immutable_tags",
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
            _checked(
                lambda text: read_image_list(text, self.registry_of_names), self.src_image_list
            )
        for side, is_ecr, registry in (
            ("src", self.source_type is SourceType.AMAZON_ECR, self.src_registry),
            ("dest", self.dest_type is DestType.AMAZON_ECR, self.dest_registry),
        ):
            if is_ecr and registry:
                raise ValueError(
                    f"{side}Registry is not for Amazon ECR, whose host follows from account "
                    "and region"
                )
        if self.source_type is SourceType.PUBLIC and self.src_registry:
            raise ValueError(
                "public images name their registry themselves, such as quay.io/team/app:v1"
            )
        if self.source_type is SourceType.PUBLIC and self.src_credential:
            raise ValueError(
                "public images need no credentials; for one registry with credentials there is "
                "Registry"
            )
        excluding = self.dest_tag_mutability.value.endswith("_EXCLUSION")
        if excluding != bool(self.dest_mutability_exclusions):
            raise ValueError(
                "destTagMutability names exclusions, and destMutabilityExclusions has none"
                if excluding
                else "destMutabilityExclusions needs a destTagMutability with exclusions"
            )
        shared.check_role("source", self.src_role_arn)
        shared.check_role("destination", self.dest_role_arn)
        return self

    @property
    def registry_of_names(self) -> str:
        """The one registry in which the names of the image list are (as far as it is known without
        asking); "" where each may name its own."""
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


def missing(given: EcrParameters, group: str) -> list[str]:
    """The parameters of "source" or "destination" that a task cannot be without, and that are not
    given."""
    needed = {
        "source": (
            "srcRegion",
            given.source_type is SourceType.AMAZON_ECR and not given.src_region,
        ),
        "destination": (
            "destRegion",
            given.dest_type is DestType.AMAZON_ECR and not given.dest_region,
        ),
    }
    found = [needed[group]] if group in needed else []
    if group == "destination":
        found.append(
            ("destRegistry", given.dest_type is DestType.REGISTRY and not given.dest_registry)
        )
    return [name for name, lacking in found if lacking]
