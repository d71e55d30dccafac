"""The control plane of Amazon ECR in one account and region: bulk listings, tokens, new
repositories.

The registry's host is the one that ECR returns. It is never built from account and region, because
partitions and private networks differ.
"""

import asyncio
import base64
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from dth.core.errors import EndpointRefused, ObjectRefused, SourceGone, TransferError, UsageError
from dth.core.secrets import SecretStore
from dth.images.registry.aws import AwsAccess, AwsClient
from dth.images.registry.login import UserPassword
from dth.images.registry.reference import check_registry

PAGE = 1000  # repositories or images per answer
MOST_NAMES = 100  # Repositories per call by name.
# Names to request one by one if one does not exist; for more names, all are listed.
FEW = 10
# Seconds before expiry at which a token is renewed, so a copy has at least this long.
TOKEN_MARGIN = 7200.0
# Seconds to use a token whatever its expiry (clocks differ).
TOKEN_LEAST = 60.0


class Mutability(StrEnum):
    """Whether tags can be moved, as ECR's API spells it."""

    MUTABLE = "MUTABLE"
    IMMUTABLE = "IMMUTABLE"
    MUTABLE_WITH_EXCLUSION = "MUTABLE_WITH_EXCLUSION"
    IMMUTABLE_WITH_EXCLUSION = "IMMUTABLE_WITH_EXCLUSION"


@dataclass(frozen=True, slots=True)
class TagRule:
    """Which tags of a repository can be moved to another image."""

    mode: Mutability = Mutability.MUTABLE
    # Wildcards of tags for which the opposite applies.
    exclusions: tuple[str, ...] = ()

    def fixed(self, tag: str) -> bool:
        """Whether the tag cannot be moved once it exists."""
        excluded = any(fnmatchcase(tag, pattern.replace("[", "[[]")) for pattern in self.exclusions)
        return self.mode.startswith("IMMUTABLE") != excluded


@dataclass(frozen=True, slots=True)
class EcrRepository:
    """One repository. `host` is the registry's."""

    name: str
    host: str
    tag_rule: TagRule = TagRule()


@dataclass(frozen=True, slots=True)
class EcrImage:
    """One manifest or index."""

    digest: str
    tags: tuple[str, ...]
    size: int  # compressed bytes of its layers
    pushed: float  # epoch seconds
    media_type: str = ""
    artifact_type: str = ""
    subject: str = ""  # digest of the image this describes


@dataclass(frozen=True, slots=True)
class RepositoryTemplate:
    """Settings for new repositories."""

    tag_rule: TagRule = TagRule()
    scan_on_push: bool = False
    kms_key: str = ""  # "" = S3-managed encryption (AES256)
    tags: tuple[tuple[str, str], ...] = ()


class EcrControl:
    """Calls of one account and region.

    `account`: the registry's owner; "" = the account of the credentials. `calls` counts the calls
    by operation; each page is one call.
    """

    def __init__(self, access: AwsAccess, secrets: SecretStore, *, account: str = "") -> None:
        self.account = account
        self.region = access.region
        self.calls: Counter[str] = Counter()
        self._client = AwsClient("ecr", access, secrets)

    async def repositories(self, names: Sequence[str] | None = None) -> dict[str, EcrRepository]:
        """Return all repositories by name, or those of `names` that exist."""
        if names is not None and len(names) <= MOST_NAMES:
            found = await self._named(names)
        else:
            found = await self._pages("describe_repositories", "repositories", maxResults=PAGE)
        repositories = {each.name: each for each in map(_repository, found)}
        return (
            repositories
            if names is None
            else {name: repositories[name] for name in names if name in repositories}
        )

    async def _named(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return those of the names that exist, perhaps with others."""
        if not names:
            return []
        try:
            return await self._pages(
                "describe_repositories", "repositories", repositoryNames=list(names)
            )
        except SourceGone:  # If one does not exist, ECR returns none.
            if len(names) == 1:
                return []
        if len(names) > FEW:
            return await self._pages("describe_repositories", "repositories", maxResults=PAGE)
        found = await asyncio.gather(*(self._named([name]) for name in names))
        return [each for several in found for each in several]

    async def images(self, repository: str) -> list[EcrImage] | None:
        """Return all images of a repository, including untagged ones; None if there is no such
        repository.
        """
        try:
            found = await self._pages(
                "describe_images", "imageDetails", repositoryName=repository, maxResults=PAGE
            )
        except SourceGone:
            return None
        return [_image(each) for each in found]

    async def create(self, name: str, template: RepositoryTemplate) -> EcrRepository:
        """Create the repository. An existing one stays as it is. Raises TransferError with the
        reason.
        """
        arguments: dict[str, Any] = {
            "repositoryName": name,
            "imageTagMutability": template.tag_rule.mode.value,
            "imageScanningConfiguration": {"scanOnPush": template.scan_on_push},
        }
        if template.tag_rule.exclusions:
            arguments["imageTagMutabilityExclusionFilters"] = [
                {"filterType": "WILDCARD", "filter": pattern}
                for pattern in template.tag_rule.exclusions
            ]
        if template.kms_key:
            arguments["encryptionConfiguration"] = {
                "encryptionType": "KMS",
                "kmsKey": template.kms_key,
            }
        if template.tags:
            arguments["tags"] = [{"Key": key, "Value": value} for key, value in template.tags]
        try:
            return _repository((await self._call("create_repository", **arguments))["repository"])
        except TransferError as error:
            if error.code == "RepositoryAlreadyExistsException":
                return (await self.repositories([name]))[name]
            raise type(error)(
                f"repository {name!r} cannot be made in {self._where}: {error.code}: {error.said}",
                code=error.code,
                status=error.status,
                said=error.said,
                request_id=error.request_id,
            ) from None

    async def authorization(self) -> tuple[UserPassword, str, float]:
        """Return a new token: the credentials, the registry's host, and the expiry (epoch
        seconds)."""
        # The host in the answer is that of the credentials' account unless another account is
        # requested.
        ids = {"registryIds": [self.account]} if self.account else {}
        self.calls["get_authorization_token"] += 1
        answer = await asyncio.to_thread(self._client.call, "get_authorization_token", **ids)
        found = answer["authorizationData"][0]
        user, _, password = base64.b64decode(found["authorizationToken"]).decode().partition(":")
        host = found["proxyEndpoint"].partition("://")[2].rstrip("/")
        return UserPassword(user, password), host, found["expiresAt"].timestamp()

    @property
    def _where(self) -> str:
        return f"{f'account {self.account}, ' if self.account else ''}{self.region or 'the default region'}"

    async def _pages(self, operation: str, field: str, **arguments: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            answer = await self._call(
                operation, **arguments, **({"nextToken": token} if token else {})
            )
            found += answer[field]
            token = answer.get("nextToken") or ""
            if not token:
                return found

    async def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        self.calls[operation] += 1
        if self.account:
            arguments["registryId"] = self.account
        return await asyncio.to_thread(self._client.call, operation, **arguments)


class EcrLogin:
    """Signs in to the registry of an `EcrControl`, with tokens renewed well before they expire."""

    def __init__(self, control: EcrControl) -> None:
        self._control = control
        self._found: UserPassword | None = None
        self._host = ""
        self._asked = 0.0
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def get(
        self, refused: UserPassword | None = None, repository: str = ""
    ) -> UserPassword | None:
        async with self._lock:
            age = time.time() - self._asked
            old = refused is not None and refused == self._found and age > TOKEN_LEAST
            if (
                self._found is None
                or old
                or time.time() >= max(self._until, self._asked + TOKEN_LEAST)
            ):
                self._found, self._host, until = await self._control.authorization()
                self._asked = time.time()
                self._until = until - TOKEN_MARGIN
            return self._found

    async def host(self) -> str:
        """Return the registry's host as ECR reports it."""
        await self.get()
        try:
            return check_registry(self._host)
        except UsageError as error:
            raise EndpointRefused(f"ecr:GetAuthorizationToken: {error}", code="NoHost") from None


def _repository(fields: dict[str, Any]) -> EcrRepository:
    filters = fields.get("imageTagMutabilityExclusionFilters") or []
    try:
        mode = Mutability(fields.get("imageTagMutability") or "MUTABLE")
    except ValueError:
        raise ObjectRefused(
            f"repository {fields['repositoryName']!r} has a tag mutability that is not known here: "
            f"{fields['imageTagMutability']}",
            code="UnknownMutability",
        ) from None
    return EcrRepository(
        fields["repositoryName"],
        fields["repositoryUri"].removesuffix(f"/{fields['repositoryName']}"),
        TagRule(mode, tuple(each["filter"] for each in filters)),
    )


def _image(fields: dict[str, Any]) -> EcrImage:
    pushed = fields.get("imagePushedAt")
    return EcrImage(
        fields["imageDigest"],
        tuple(fields.get("imageTags") or ()),
        fields.get("imageSizeInBytes") or 0,
        pushed.timestamp() if pushed else 0.0,
        fields.get("imageManifestMediaType") or "",
        fields.get("artifactMediaType") or "",
        fields.get("subjectManifestDigest") or "",
    )
