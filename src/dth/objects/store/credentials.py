"""The credentials of one side: anonymous, a named secret, a profile, the environment or an instance
role, and optionally a role assumed with any of these. They are read for every request, so rotation
needs no restart.

botocore finds and refreshes them. This module keeps no secret longer than its source does.
"""

import asyncio
import base64
import json
import os
import re
import time
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from dth.core import confinement
from dth.core.errors import EndpointRefused, UsageError, error_code
from dth.core.secrets import SecretStore, WrongHost
from dth.core.stores_file import KEYS_OF, keys_of
from dth.objects.store.signing import AccessKeys

SECRET_CHECK = 1.0  # seconds between checks of a secret
# Consecutive checks that must fail before keys that were good are given up.
SECRET_TRIES = 3
CUSTOMER_KEY = 32  # bytes
# The prefix of a file's path, used instead of a secret's name.
KEY_FILE = "file:"
# Seconds between tries to refresh keys that are still valid.
REFRESH_PAUSE = 5.0


@dataclass(frozen=True, slots=True)
class CredentialSource:
    """How one side authenticates. If all fields are empty, the environment decides."""

    anonymous: bool = False
    # The name of a secret with access_key_id, secret_access_key, and optionally session_token,
    # role_arn ...
    secret: str = ""
    profile: str = ""
    role_arn: str = ""
    external_id: str = ""
    region: str = ""  # for STS
    sts_endpoint: str = ""


class Credentials(Protocol):
    """Provides the keys that sign the requests of one side."""

    async def keys(self) -> AccessKeys | None:
        """The current keys; None means unsigned (anonymous). Raises EndpointRefused if no keys are
        available."""
        ...


class FileSecrets:
    """Secrets as files in one directory, `NAME.json`, readable by their owner only. This is for
    commands, which may read what their user may read: `file:PATH` names a file that contains only a
    customer key, and `store:NAME` the keys of a store in the user's file of stores."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, name: str) -> str:
        """The text of the secret. Raises UsageError."""
        if name.startswith(KEYS_OF):
            return keys_of(name)
        if name.startswith(KEY_FILE):
            return _customer_key_of(name.removeprefix(KEY_FILE))
        if not re.fullmatch(r"[\w+=,@-][\w+=,.@-]*", name):
            raise UsageError(
                f"{name!r} is not a valid name for a secret: letters, digits and any of "
                "_+=,.@- make one"
            )
        path = self._directory / f"{name}.json"
        try:
            if path.stat().st_mode & 0o077:
                raise UsageError(f"secret {path} can be read by others; run: chmod 600 {path}")
            return path.read_text("utf-8")
        except OSError as error:
            raise UsageError(f"secret {name!r} cannot be read: {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UsageError(f"secret {name!r} is not text: {path}") from None


def resolve_credentials(source: CredentialSource, secrets: SecretStore) -> Credentials:
    """The provider for a source. It does not use the network yet."""
    if source.anonymous:
        return FixedCredentials(None)
    if source.secret:
        return SecretCredentials(source, secrets)
    named = None if source.profile or source.role_arn else _environment_keys()
    return FixedCredentials(named) if named else ResolvedCredentials(source)


def described(source: CredentialSource) -> str:
    """Where the keys come from, in words for people. Never contains the keys."""
    if source.anonymous:
        return "none (anonymous)"
    if source.secret:
        found = f"secret {source.secret}"
    elif source.profile:
        found = f"profile {source.profile}"
    elif not source.role_arn and _environment_keys():
        found = "AWS_ACCESS_KEY_ID of the environment"
    else:
        profile = os.environ.get("AWS_DEFAULT_PROFILE") or os.environ.get("AWS_PROFILE")
        found = (
            f"profile {profile} (of the environment)" if profile else "what the environment gives"
        )
    return f"{found}, role {source.role_arn}" if source.role_arn else found


def read_customer_key(name: str, secrets: SecretStore) -> bytes:
    """The key for SSE-C in the secret with this name. Raises UsageError."""
    try:
        key = base64.b64decode(json.loads(secrets.read(name))["sse_customer_key"], validate=True)
    except (ValueError, KeyError, TypeError):
        key = b""
    if len(key) != CUSTOMER_KEY:
        raise UsageError(
            f'secret {name!r} is not JSON of the form {{"sse_customer_key": "…"}} with the base64 '
            "of "
            f"{CUSTOMER_KEY} bytes"
        )
    return key


def _customer_key_of(file: str) -> str:
    """The text of a secret for a file that contains only the key, raw or in base64."""
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"the customer key {file} cannot be read: {error.strerror}") from None
    try:
        key = (
            content
            if len(content) == CUSTOMER_KEY
            else base64.b64decode(content.strip(), validate=True)
        )
    except ValueError:
        key = b""
    if len(key) != CUSTOMER_KEY:
        raise UsageError(f"{file} holds no customer key: {CUSTOMER_KEY} bytes, or their base64")
    return json.dumps({"sse_customer_key": base64.b64encode(key).decode()})


def _environment_keys() -> AccessKeys | None:
    """The keys that the environment contains directly. botocore would find them first too, but
    loading botocore takes as long as a small run."""
    access, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not access or not secret or "AWS_CREDENTIAL_EXPIRATION" in os.environ:
        return None
    token = os.environ.get("AWS_SECURITY_TOKEN") or os.environ.get("AWS_SESSION_TOKEN") or ""
    return AccessKeys(access, secret, token)


@dataclass(frozen=True, slots=True)
class FixedCredentials:
    """Keys that never change while the process runs. None: anonymous."""

    found: AccessKeys | None

    async def keys(self) -> AccessKeys | None:
        return self.found


class ResolvedCredentials:
    """The credentials that botocore's chain finds (environment, profile, SSO, web identity,
    container, instance role). botocore refreshes them before they expire. With `role_arn`, this
    role is assumed with them (or with the keys `base`)."""

    def __init__(self, source: CredentialSource, base: AccessKeys | None = None) -> None:
        self._source = source
        self._base = base
        self._credentials: Any = None
        self._keys: AccessKeys | None = None
        self._refreshed = 0.0
        self._lock = asyncio.Lock()

    async def keys(self) -> AccessKeys | None:
        if self._due():
            async with self._lock:
                if self._due():
                    await asyncio.to_thread(self._refresh)
        return self._keys

    def _due(self) -> bool:
        if self._keys is None:
            return True
        if not _refresh_needed(self._credentials):
            return False
        # Some sources renew only shortly before the end, or never. Ask now and then, and again at
        # the end.
        return time.monotonic() - self._refreshed >= REFRESH_PAUSE or _refresh_needed(
            self._credentials, 0
        )

    def _refresh(self) -> None:
        self._refreshed = time.monotonic()
        if self._credentials is None:
            self._credentials = _find(self._source, self._base)
        try:
            frozen = self._credentials.get_frozen_credentials()
        except Exception as error:  # noqa: BLE001 - botocore raises whatever its sources do
            if self._keys and not _refresh_needed(self._credentials, 0):
                # The present keys are still valid.
                return
            raise EndpointRefused(
                f"credentials are not available: {_line(error, self._source)}",
                code="NoCredentials",
            ) from None
        self._keys = AccessKeys(frozen.access_key, frozen.secret_key, frozen.token or "")


class SecretCredentials:
    """The keys in a named secret, which is read again when it changes. If the secret or the source
    has a `role_arn`, the role is assumed with them."""

    def __init__(self, source: CredentialSource, secrets: SecretStore) -> None:
        self._source = source
        self._secrets = secrets
        self._text: str | None = None
        self._found: AccessKeys | ResolvedCredentials | None = None
        self._failures = 0
        self._checked = -SECRET_CHECK
        self._lock = asyncio.Lock()

    async def keys(self) -> AccessKeys | None:
        # While one caller checks the secret, the others continue with the present keys.
        if self._due() and (self._found is None or not self._lock.locked()):
            async with self._lock:
                if self._due():
                    await asyncio.to_thread(self._look)
                    self._checked = time.monotonic()
        found = self._found
        return await found.keys() if isinstance(found, ResolvedCredentials) else found

    def _due(self) -> bool:
        return self._found is None or time.monotonic() - self._checked >= SECRET_CHECK

    def _look(self) -> None:
        try:
            text = self._secrets.read(self._source.secret)
            if text != self._text:
                self._found = self._parse(text)
                self._text = text
            self._failures = 0
        except UsageError as error:
            self._failures += 1
            # Otherwise the secret may just be being written.
            if (
                self._found is None
                or self._failures >= SECRET_TRIES
                or isinstance(error, WrongHost)
            ):
                self._found, self._text = None, None
                raise EndpointRefused(str(error), code="NoCredentials") from None

    def _parse(self, text: str) -> AccessKeys | ResolvedCredentials:
        try:
            secret = json.loads(text)
            keys = AccessKeys(
                secret["access_key_id"],
                secret["secret_access_key"],
                secret.get("session_token") or "",
            )
            role = self._source.role_arn or secret.get("role_arn") or ""
            external_id = self._source.external_id or secret.get("external_id") or ""
            if not all(isinstance(value, str) for value in (*astuple(keys), role, external_id)):
                raise TypeError
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(
                f"secret {self._source.secret!r} is not JSON of the form "
                '{"access_key_id": "…", "secret_access_key": "…"}'
            ) from None
        if not role:
            return keys
        return ResolvedCredentials(
            replace(self._source, role_arn=role, external_id=external_id, profile=""), keys
        )


def _refresh_needed(credentials: Any, seconds: int | None = None) -> bool:
    """Whether keys that expire do so within `seconds` (None: within botocore's default)."""
    check = getattr(credentials, "refresh_needed", None)
    return bool(check(seconds)) if check else False


def _find(source: CredentialSource, base: AccessKeys | None) -> Any:
    """botocore's credentials object for the source. `base`: the keys to assume the role with."""
    import botocore.credentials
    import botocore.exceptions

    try:
        session = confinement.aws_session(source.profile)
        if base:
            session.set_credentials(base.access, base.secret, base.token or None)
        found = session.get_credentials()
    except botocore.exceptions.ProfileNotFound as error:
        profile = error.kwargs["profile"]
        raise EndpointRefused(
            f"profile {profile!r} is not in the AWS configuration files", code="NoCredentials"
        ) from None
    except botocore.exceptions.BotoCoreError as error:
        raise EndpointRefused(
            f"credentials are not available: {_line(error, source)}", code="NoCredentials"
        ) from None
    if found is None:
        raise EndpointRefused(
            (
                "no credentials: set a profile, the environment (AWS_ACCESS_KEY_ID), a secret, or "
                "use anonymous access"
            ),
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
            region_name=_sts_region(session, source),
            endpoint_url=source.sts_endpoint or None,
        )

    fetcher = botocore.credentials.AssumeRoleCredentialFetcher(
        client_creator=create_client,
        source_credentials=found,
        role_arn=source.role_arn,
        extra_args=extra,
    )
    return botocore.credentials.DeferredRefreshableCredentials(
        method="assume-role", refresh_using=fetcher.fetch_credentials
    )


def _sts_region(session: Any, source: CredentialSource) -> str:
    """Return the region whose STS gives the role: the one that we are in.

    Without a way out, its endpoint is the only one that a VPC reaches, and its keys are good
    everywhere. Of another partition only its own STS knows roles.
    """
    ours = session.get_config_variable("region") or ""
    partition = source.role_arn.split(":")[1] if source.role_arn.startswith("arn:") else ""
    if not source.sts_endpoint and ours in session.get_available_regions("sts", partition):
        return str(ours)
    return str(source.region or ours or "us-east-1")


def _line(error: Exception, source: CredentialSource) -> str:
    """Why there are no keys, and what to do about it."""
    import botocore.exceptions

    if isinstance(error, EOFError):
        return (
            "the profile asks for an MFA code, and there is no terminal to type it on; "
            "use keys of a session (aws sts get-session-token) or a profile without MFA"
        )
    why = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, botocore.exceptions.ClientError):
        # Do not show the service's own words to users of a hub.
        said = error.response.get("Error", {})
        told = confinement.foreign(" ".join(str(said.get("Message", "")).split()))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
        code = error_code(str(said.get("Code") or "")) or f"HTTP {status}"
        why = f"{error.operation_name} was refused: {code}" + (f": {told}" if told else "")
    elif isinstance(
        error, botocore.exceptions.HTTPClientError | botocore.exceptions.ConnectionError
    ):
        why = f"no answer from {error.kwargs.get('endpoint_url') or 'the service that gives them'}"
    if source.role_arn:
        return (
            f"the role {source.role_arn} cannot be assumed: {why}; see that the role is right, and "
            "that these credentials may assume it"
        )
    return f"{why}; correct the configuration, or sign in again (aws sso login)"
