"""Named secrets in Secrets Manager. Values are cached for some seconds, so that a rotation is
noticed soon. No name can lead outside of the hub's own prefix.
"""

import re
import threading
import time
from collections.abc import Sequence

from dth.core.errors import StateError, UsageError
from dth.core.secret_bindings import ANY
from dth.core.secrets import SecretStore, check_use, is_unbound
from dth.platforms.aws.bindings import binding_key, hosts_in
from dth.platforms.aws.client import Aws, Refused
from dth.platforms.aws.items import from_item, to_item

KEPT = 5.0  # seconds
NAME = re.compile(r"[\w+=,@-][\w+=,.@-]{0,254}")  # as on the local platform; no slash


class AwsSecrets:
    """`dth.core.secrets.BoundSecrets`, for use on threads. `prefix`: the prefix that the hub may
    read, such as `dth/`. `bindings`: the hub's table, which has the bindings of secrets; "": there
    is no hub, and only the task's creator uses the secrets."""

    def __init__(self, aws: Aws, prefix: str, bindings: str = "") -> None:
        self._aws = aws
        self._prefix = prefix
        self._bindings = bindings
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, str, tuple[str, ...]]] = {}

    def at(self, hosts: Sequence[str]) -> SecretStore:
        return _At(self, hosts)

    def read(self, name: str) -> str:
        return self._look(name)[0]

    def read_for(self, name: str, hosts: Sequence[str]) -> str:
        """The text of a secret that is used with these hosts. Raises WrongHost."""
        text, bindings = self._look(name)
        check_use(name, bindings, hosts)
        return text

    def is_unbound(self, name: str) -> bool:
        """Whether there is a hub, and it lets the secret be used with any host."""
        return bool(self._bindings) and is_unbound(self._look(name)[1])

    def _look(self, name: str) -> tuple[str, tuple[str, ...]]:
        if not NAME.fullmatch(name):
            raise UsageError(
                f"{name[:80]!r} is not a valid name for a secret: letters, digits and any of "
                "_+=,.@- make one, up to 255"
            )
        with self._lock:
            read, text, bindings = self._kept.get(name, (-KEPT, "", ()))
            if time.monotonic() - read >= KEPT:
                text, bindings = self._read(name), self._hosts(name)
                self._kept[name] = time.monotonic(), text, bindings
            return text, bindings

    def _hosts(self, name: str) -> tuple[str, ...]:
        if not self._bindings:
            return (ANY,)
        key = to_item(binding_key(self._prefix + name))
        try:
            answer = self._aws.call_now(
                "dynamodb", "get_item", TableName=self._bindings, Key=key, ConsistentRead=True
            )
        except StateError as error:
            raise UsageError(f"what secret {name!r} is bound to cannot be read: {error}") from None
        return hosts_in(from_item(answer.get("Item", {})))

    def _read(self, name: str) -> str:
        try:
            answer = self._aws.call_now(
                "secretsmanager", "get_secret_value", SecretId=self._prefix + name
            )
        except Refused as error:
            if error.code == "ResourceNotFoundException":
                raise UsageError(
                    f"there is no secret {self._prefix + name!r} in Secrets Manager"
                ) from None
            raise UsageError(f"secret {name!r} cannot be read: {error}") from None
        except StateError as error:
            raise UsageError(f"secret {name!r} cannot be read: {error}") from None
        if "SecretString" not in answer:
            raise UsageError(f"secret {name!r} is not text")
        return str(answer["SecretString"])


class _At:
    """The same secrets, for certain hosts."""

    def __init__(self, secrets: AwsSecrets, hosts: Sequence[str]) -> None:
        self._secrets = secrets
        self._hosts = hosts

    def read(self, name: str) -> str:
        return self._secrets.read_for(name, self._hosts)
