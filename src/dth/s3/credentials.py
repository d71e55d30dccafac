"""Credentials of one side: anonymous, a named secret, a profile, the environment or an instance role, and on top of
any of these an assumed role. They are read for every request, so that rotating them just works.

Finding and refreshing them is botocore's; nothing here keeps a secret longer than its source does.
"""

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dth.errors import EndpointRefused, UsageError
from dth.s3.signing import Keys

SECRET_CHECK = 1.0  # seconds between looks at a secret's file


@dataclass(frozen=True, slots=True)
class CredentialSource:
    """How one side authenticates; everything empty means what the environment gives."""

    anonymous: bool = False
    secret: str = ""  # name of a secret
    profile: str = ""
    role_arn: str = ""
    external_id: str = ""
    region: str = ""  # for STS
    sts_endpoint: str = ""


class Credentials(Protocol):
    async def keys(self) -> Keys | None:
        """Current keys; None signs nothing (anonymous). Raises EndpointRefused when there are none to be had."""
        ...


class SecretStore(Protocol):
    """Where named secrets live: `{"access_key_id": ..., "secret_access_key": ...}` and optionally `session_token`,
    `role_arn`, `external_id`."""

    def read(self, name: str) -> str:
        """The secret's JSON text. Raises UsageError when there is no such secret."""
        ...


class FileSecrets:
    """Secrets as files in one directory, `NAME.json`, readable by their owner only."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, name: str) -> str:
        path = self._directory / f"{name}.json"
        try:
            if path.stat().st_mode & 0o077:
                raise UsageError(f"secret {path} can be read by others; run: chmod 600 {path}")
            return path.read_text("utf-8")
        except OSError as error:
            raise UsageError(f"secret {name!r} cannot be read: {path}: {error.strerror}") from None


def resolve_credentials(source: CredentialSource, secrets: SecretStore) -> Credentials:
    """The provider for a source. Nothing is asked of the network yet."""
    if source.anonymous:
        return Anonymous()
    if source.secret:
        return SecretCredentials(source, secrets)
    return ResolvedCredentials(source)


class Anonymous:
    async def keys(self) -> Keys | None:
        return None


class ResolvedCredentials:
    """What botocore's chain finds (environment, profile, SSO, web identity, container, instance role), refreshed by
    botocore before it expires; with `role_arn`, that role assumed on top of it."""

    def __init__(self, source: CredentialSource) -> None:
        self._source = source
        self._credentials: Any = None
        self._frozen: Any = None
        self._keys: Keys | None = None
        self._lock = asyncio.Lock()

    async def keys(self) -> Keys | None:
        found = self._credentials
        if found is None or _needs_refresh(found):
            async with self._lock:
                if self._credentials is None:
                    self._credentials = await asyncio.to_thread(_find, self._source, None)
                await asyncio.to_thread(self._freeze)
        return self._keys

    def _freeze(self) -> None:
        try:
            frozen = self._credentials.get_frozen_credentials()
        except Exception as error:  # noqa: BLE001 - botocore raises whatever its sources do
            raise EndpointRefused(
                f"credentials cannot be had: {_line(error)}", code="NoCredentials"
            ) from None
        self._keys = Keys(frozen.access_key, frozen.secret_key, frozen.token or "")


class SecretCredentials:
    """A named secret, read again when it changes; with `role_arn` in it or in the source, the role assumed with it."""

    def __init__(self, source: CredentialSource, secrets: SecretStore) -> None:
        self._source = source
        self._secrets = secrets
        self._text = ""
        self._keys: Keys | None = None
        self._role: ResolvedCredentials | None = None
        self._checked = -SECRET_CHECK

    async def keys(self) -> Keys | None:
        now = time.monotonic()
        if now - self._checked >= SECRET_CHECK:
            self._checked = now
            text = await asyncio.to_thread(self._secrets.read, self._source.secret)
            if text != self._text:
                self._load(text)
                self._text = text
        return await self._role.keys() if self._role else self._keys

    def _load(self, text: str) -> None:
        name = self._source.secret
        try:
            secret = json.loads(text)
            keys = Keys(secret["access_key_id"], secret["secret_access_key"], secret.get("session_token", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(
                f'secret {name!r} is not JSON of the form {{"access_key_id": "…", "secret_access_key": "…"}}'
            ) from None
        role = self._source.role_arn or secret.get("role_arn", "")
        self._keys, self._role = keys, None
        if role:
            source = CredentialSource(
                role_arn=role,
                external_id=self._source.external_id or secret.get("external_id", ""),
                region=self._source.region,
                sts_endpoint=self._source.sts_endpoint,
            )
            self._role = ResolvedCredentials(source)
            self._role._credentials = _find(source, keys)


def _needs_refresh(credentials: Any) -> bool:
    check = getattr(credentials, "refresh_needed", None)
    return bool(check()) if check else False


def _find(source: CredentialSource, base: Keys | None) -> Any:
    """botocore's credentials object for the source (`base`: keys to assume the role with)."""
    import botocore.credentials
    import botocore.exceptions
    import botocore.session

    session = botocore.session.Session(profile=source.profile or None)
    try:
        if base:
            session.set_credentials(base.access, base.secret, base.token or None)
        found = session.get_credentials()
    except botocore.exceptions.ProfileNotFound:
        raise UsageError(f"profile {source.profile!r} is not in the AWS configuration files") from None
    except botocore.exceptions.BotoCoreError as error:
        raise EndpointRefused(f"credentials cannot be had: {_line(error)}", code="NoCredentials") from None
    if found is None:
        raise EndpointRefused(
            "no credentials: set a profile, the environment (AWS_ACCESS_KEY_ID), a secret, or use anonymous access",
            code="NoCredentials",
        )
    if not source.role_arn:
        return found
    extra: dict[str, Any] = {"RoleSessionName": "data-transfer-hub"}
    if source.external_id:
        extra["ExternalId"] = source.external_id

    def create_client(service: str, **options: Any) -> Any:
        return session.create_client(
            service,
            **options,
            region_name=source.region or session.get_config_variable("region") or "us-east-1",
            endpoint_url=source.sts_endpoint or None,
        )

    fetcher = botocore.credentials.AssumeRoleCredentialFetcher(
        client_creator=create_client, source_credentials=found, role_arn=source.role_arn, extra_args=extra
    )
    return botocore.credentials.DeferredRefreshableCredentials(
        method="assume-role", refresh_using=fetcher.fetch_credentials
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
