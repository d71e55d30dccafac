"""Who to sign in to a registry as: nobody, a user with a password, or (see `control`) an Amazon ECR
token.

The credentials of earlier sign-ins on this machine are in `kept`.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Protocol

from dth.core.errors import EndpointRefused, UsageError
from dth.core.secrets import SecretStore

SECRET_CHECK = 1.0  # seconds between reads of a secret


@dataclass(frozen=True, slots=True)
class UserPassword:
    """Credentials for a registry.

    `identity_token`: replaces the password at the registry's token service. `registry_token`: a
    token for the registry itself.
    """

    user: str
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


class Login(Protocol):
    """Provides the credentials for one registry."""

    async def get(
        self, refused: UserPassword | None = None, repository: str = ""
    ) -> UserPassword | None:
        """Return who to sign in as for this repository ("": for the registry as such); None for
        nobody.

        `refused` was just refused: returns newer credentials if there are any, else the same.
        Raises EndpointRefused if no credentials are available.
        """
        ...


@dataclass(frozen=True, slots=True)
class FixedLogin:
    """The same credentials forever. None: nobody."""

    found: UserPassword | None = None

    async def get(
        self, refused: UserPassword | None = None, repository: str = ""
    ) -> UserPassword | None:
        return self.found


ANONYMOUS = FixedLogin()


class SecretLogin:
    """A named secret, `{"username": "…", "password": "…"}`.

    The secret is reread during use, because it may be changed, removed, or bound to other hosts.
    """

    def __init__(self, name: str, secrets: SecretStore) -> None:
        self._name = name
        self._secrets = secrets
        self._found: UserPassword | None = None
        self._looked = -SECRET_CHECK

    async def get(
        self, refused: UserPassword | None = None, repository: str = ""
    ) -> UserPassword | None:
        due = time.monotonic() - self._looked >= SECRET_CHECK
        if self._found is None or self._found == refused or due:
            self._found = await asyncio.to_thread(self._read)
            self._looked = time.monotonic()
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
                (
                    f'secret {self._name!r} is not JSON of the form {{"username": "…", "password": '
                    '"…"}'
                ),
                code="NoCredentials",
            ) from None
        return UserPassword(user, password)
