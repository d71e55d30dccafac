"""Clients of AWS services with the credentials of one side.

The credentials are a named secret, a profile, the environment, or an instance role, optionally with
an assumed role on top. botocore finds and refreshes credentials. A secret is reread during use, so
rotation needs no restart.
"""

import io
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pycurl

from dth.core import confinement
from dth.core.errors import (
    ConnectionFailed,
    EndpointRefused,
    ObjectRefused,
    SourceGone,
    Throttled,
    TransferError,
    Transient,
    Unreachable,
    UsageError,
    error_code,
)
from dth.core.secrets import SecretStore, WrongHost
from dth.core.transport import ADDRESS_REFUSED, check_url, guard, parse_headers, refused

SECRET_CHECK = 1.0  # seconds between reads of a secret
CONNECT_TIMEOUT, READ_TIMEOUT = 10, 60  # seconds
CALLS = 8  # concurrent calls per client
LARGEST_ANSWER = 64 * 1024**2  # bytes


@dataclass(frozen=True, slots=True)
class AwsAccess:
    """Which service to use, and as whom. If all credentials are empty, the environment's apply."""

    region: str
    endpoint: str = ""  # URL; "" = the region's standard endpoint
    # Name of a secret: access_key_id, secret_access_key, and the optional fields of S3 secrets.
    secret: str = ""
    profile: str = ""
    role_arn: str = ""
    external_id: str = ""
    sts_endpoint: str = ""
    ca_bundle: str = ""


class AwsClient:
    """A botocore client, created on first use and again when the secret changes."""

    def __init__(self, service: str, access: AwsAccess, secrets: SecretStore) -> None:
        self._service = service
        self._access = access
        self._secrets = secrets
        self._lock = threading.Lock()
        self._client: Any = None
        self._text = ""
        self._looked = -SECRET_CHECK

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Make one call; blocks. Raises TransferError."""
        import botocore.exceptions

        try:
            return getattr(self._ready(), operation)(**arguments)  # type: ignore[no-any-return]
        except botocore.exceptions.ClientError as error:
            raise _refusal(error, f"{self._service}:{_camel(operation)}") from None
        except botocore.exceptions.BotoCoreError as error:
            raise _failure(error, self._service) from None

    def _ready(self) -> Any:
        with self._lock:
            text = self._text
            if self._access.secret and time.monotonic() - self._looked >= SECRET_CHECK:
                text = self._read()
                self._looked = time.monotonic()
            if self._client is None or text != self._text:
                self._client = self._make(text)
                self._text = text
            return self._client

    def _read(self) -> str:
        try:
            return self._secrets.read(self._access.secret)
        except UsageError as error:
            if self._client is not None and not isinstance(error, WrongHost):
                # The secret is perhaps just being written; keep using the previous one.
                return self._text
            raise EndpointRefused(str(error), code="NoCredentials") from None

    def _make(self, secret: str) -> Any:
        import botocore.config

        access = self._access
        session = confinement.aws_session(access.profile)
        role, external_id = access.role_arn, access.external_id
        if secret:
            keys = _parse(access.secret, secret)
            session.set_credentials(
                keys["access_key_id"], keys["secret_access_key"], keys.get("session_token")
            )
            role = role or keys.get("role_arn", "")
            external_id = external_id or keys.get("external_id", "")
        if role:
            session._credentials = _assumed(session, access, role, external_id)
        elif session.get_credentials() is None:
            raise EndpointRefused(
                "no credentials: set a profile, the environment (AWS_ACCESS_KEY_ID) or a secret",
                code="NoCredentials",
            )
        client = session.create_client(
            self._service,
            region_name=access.region or session.get_config_variable("region"),
            endpoint_url=access.endpoint or None,
            verify=access.ca_bundle or None,
            config=botocore.config.Config(
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=READ_TIMEOUT,
                max_pool_connections=CALLS,
                retries={"mode": "standard", "total_max_attempts": 5},
            ),
        )
        if access.endpoint and confinement.network():
            # botocore would connect to whatever address the name resolves to at that moment.
            client.meta.events.register("before-send", partial(_send, ca_bundle=access.ca_bundle))
        return client


def _send(request: Any, *, ca_bundle: str, **_: Any) -> Any:
    """Send a botocore request over libcurl, which connects only where this process may."""
    from botocore.awsrequest import AWSResponse
    from botocore.exceptions import EndpointConnectionError

    check_url(request.url)
    lines: list[bytes] = []
    body = _Body()
    curl = pycurl.Curl()
    try:
        guard(curl)
        curl.setopt(pycurl.URL, request.url)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.CONNECTTIMEOUT, CONNECT_TIMEOUT)
        curl.setopt(pycurl.TIMEOUT, READ_TIMEOUT)
        curl.setopt(pycurl.MAXFILESIZE, LARGEST_ANSWER)
        if ca_bundle:
            curl.setopt(pycurl.CAINFO, ca_bundle)
        curl.setopt(pycurl.CUSTOMREQUEST, request.method)
        curl.setopt(pycurl.POSTFIELDS, request.body or b"")
        headers = {_text(name): _text(value) for name, value in request.headers.items()}
        curl.setopt(
            pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in headers.items()] + ["Expect:"]
        )
        curl.setopt(pycurl.HEADERFUNCTION, lines.append)
        curl.setopt(pycurl.WRITEFUNCTION, body.write)
        curl.perform()
        found = parse_headers(lines)
        return AWSResponse(request.url, curl.getinfo(pycurl.RESPONSE_CODE), found, body)
    except pycurl.error as error:
        if why := refused(curl):
            host = urlsplit(request.url).netloc
            raise EndpointRefused(f"{host}: {why}", code=ADDRESS_REFUSED) from None
        raise EndpointConnectionError(endpoint_url=request.url, error=error.args[1]) from None
    finally:
        curl.close()


class _Body(io.BytesIO):
    """The body of an answer, as botocore reads it."""

    def stream(self) -> Iterator[bytes]:
        yield self.getvalue()


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _parse(name: str, text: str) -> dict[str, str]:
    try:
        secret = json.loads(text)
        keys = {key: value for key, value in secret.items() if value}
        if not all(isinstance(value, str) for value in keys.values()):
            raise TypeError
        keys["access_key_id"], keys["secret_access_key"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EndpointRefused(
            (
                f'secret {name!r} is not JSON of the form {{"access_key_id": "…", '
                '"secret_access_key": "…"}'
            ),
            code="NoCredentials",
        ) from None
    return keys


def _assumed(session: Any, access: AwsAccess, role: str, external_id: str) -> Any:
    """Return credentials of the role, assumed with the session's and renewed before they expire."""
    import botocore.credentials

    found = session.get_credentials()
    if found is None:
        raise EndpointRefused(f"no credentials to assume {role} with", code="NoCredentials")
    base = confinement.aws_session(access.profile)
    base._credentials = found

    def create_client(service: str, **options: Any) -> Any:
        return base.create_client(
            service,
            **options,
            region_name=access.region or "us-east-1",
            endpoint_url=access.sts_endpoint or None,
            verify=access.ca_bundle or None,
        )

    extra = {
        "RoleSessionName": "data-transfer-hub",
        **({"ExternalId": external_id} if external_id else {}),
    }
    fetcher = botocore.credentials.AssumeRoleCredentialFetcher(
        client_creator=create_client, source_credentials=found, role_arn=role, extra_args=extra
    )
    return botocore.credentials.DeferredRefreshableCredentials(
        method="assume-role", refresh_using=fetcher.fetch_credentials
    )


_OF_THE_ENDPOINT = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "KmsException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_THROTTLING = frozenset(
    {"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"}
)


def _refusal(error: Any, operation: str) -> TransferError:
    """Return the error for an AWS error response."""
    answer = error.response
    code = error_code(str(answer.get("Error", {}).get("Code", "")))
    said = confinement.foreign(" ".join(str(answer.get("Error", {}).get("Message", "")).split()))
    about = answer.get("ResponseMetadata", {})
    status = int(about.get("HTTPStatusCode", 0))
    line = f"{operation} was refused: {code}{f': {said}' if said else ''}"
    details: dict[str, Any] = {
        "code": code, "status": status, "said": said, "request_id": str(about.get("RequestId", ""))
    }  # fmt: skip
    if code in _THROTTLING:
        return Throttled(line, **details)
    if code in _OF_THE_ENDPOINT:
        return EndpointRefused(line, **details)
    if code.endswith("NotFoundException"):
        return SourceGone(line, **details)
    if status >= 500 or code == "ServerException":
        return Transient(line, **details)
    return ObjectRefused(line, **details)


def _failure(error: Exception, service: str) -> TransferError:
    """Return the error for a call without a response."""
    import botocore.exceptions
    import botocore.parsers

    said = " ".join(str(error).split())
    if isinstance(error, botocore.parsers.ResponseParserError):
        # Its message includes what it could not parse.
        said = confinement.foreign(said) or "the answer is none of this service"
    if isinstance(
        error,
        botocore.exceptions.NoCredentialsError
        | botocore.exceptions.PartialCredentialsError
        | botocore.exceptions.CredentialRetrievalError
        | botocore.exceptions.ProfileNotFound
        | botocore.exceptions.TokenRetrievalError
        | botocore.exceptions.SSOError,
    ):
        return EndpointRefused(
            f"credentials are not available: {said}", code="NoCredentials", said=said
        )
    if isinstance(error, botocore.exceptions.ParamValidationError):
        return ObjectRefused(
            f"{service} cannot be asked for that: {said}", code="InvalidParameter", said=said
        )
    if isinstance(error, botocore.exceptions.SSLError):
        return Unreachable(
            f"{service} is not trusted: {said}", code="UntrustedCertificate", said=said
        )
    if isinstance(error, botocore.exceptions.HTTPClientError | botocore.exceptions.ConnectionError):
        return ConnectionFailed(
            f"{service} cannot be reached: {said}", code="ConnectionFailed", said=said
        )
    return EndpointRefused(
        f"{service} cannot be asked: {said}", code=type(error).__name__, said=said
    )


def _camel(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))
