"""Who we are to a registry: nobody, a user with a password, or (see `control`) a token of Amazon ECR."""

import asyncio
import base64
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from dth import confinement
from dth.ecr.reference import DOCKER_HUB
from dth.errors import EndpointRefused, UsageError

DOCKER_HUB_NAMES = ("https://index.docker.io/v1/", "index.docker.io", DOCKER_HUB)


@dataclass(frozen=True, slots=True)
class UserPassword:
    user: str
    password: str = field(repr=False)


class Login(Protocol):
    async def get(self, refused: UserPassword | None = None) -> UserPassword | None:
        """Who to sign in as; None: nobody. `refused` has just been refused: something newer is returned if there is
        any, or else the same. Raises EndpointRefused when there is nothing to be had."""
        ...


class SecretStore(Protocol):
    """Where named secrets live."""

    def read(self, name: str) -> str:
        """The secret's JSON text. Raises UsageError when there is no such secret."""
        ...


@dataclass(frozen=True, slots=True)
class FixedLogin:
    """The same for ever. None: nobody."""

    found: UserPassword | None = None

    async def get(self, refused: UserPassword | None = None) -> UserPassword | None:
        return self.found


ANONYMOUS = FixedLogin()


class SecretLogin:
    """A named secret, `{"username": "…", "password": "…"}`; read again when what it held is refused."""

    def __init__(self, name: str, secrets: SecretStore) -> None:
        self._name = name
        self._secrets = secrets
        self._found: UserPassword | None = None

    async def get(self, refused: UserPassword | None = None) -> UserPassword | None:
        if self._found is None or self._found == refused:
            self._found = await asyncio.to_thread(self._read)
        return self._found

    def _read(self) -> UserPassword:
        try:
            secret = json.loads(self._secrets.read(self._name))
            user, password = secret["username"], secret["password"]
            if not isinstance(user, str) or not isinstance(password, str) or ":" in user:
                raise TypeError
        except UsageError as error:
            raise EndpointRefused(str(error), code="NoCredentials") from None
        except (ValueError, KeyError, TypeError):
            raise EndpointRefused(
                f'secret {self._name!r} is not JSON of the form {{"username": "…", "password": "…"}}',
                code="NoCredentials",
            ) from None
        return UserPassword(user, password)


KEPT_IN = (  # where `skopeo login`, `podman login` and `docker login` keep what they were given
    "${REGISTRY_AUTH_FILE}",
    "${XDG_RUNTIME_DIR}/containers/auth.json",
    "~/.config/containers/auth.json",
    "~/.docker/config.json",
)


class KeptLogin:
    """What somebody signed in with on this machine; nobody where nobody did, and nobody in a hub, whose users are not
    those of its machine. Credential helpers are not asked."""

    def __init__(self, host: str) -> None:
        self._host = host

    async def get(self, refused: UserPassword | None = None) -> UserPassword | None:
        return await asyncio.to_thread(self._read)

    def _read(self) -> UserPassword | None:
        if not confinement.local_files():
            return None
        names = DOCKER_HUB_NAMES if self._host == DOCKER_HUB else (self._host, f"https://{self._host}")
        for place in KEPT_IN:
            path = str(Path(os.path.expandvars(place)).expanduser())
            if path.startswith("$"):
                continue
            try:
                auths = json.loads(Path(path).read_text("utf-8"))["auths"]
                kept = next(auths[name]["auth"] for name in names if auths.get(name, {}).get("auth"))
                user, colon, password = base64.b64decode(kept).decode().partition(":")
            except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
                continue
            if colon:
                return UserPassword(user, password.rstrip("\0"))
        return None
