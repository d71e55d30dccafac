"""Named secrets, in Secrets Manager. What is read is kept for some seconds, so that a rotation is soon seen; and no
name leads out of the hub's own prefix.
"""

import re
import threading
import time

from dth.errors import StateError, UsageError
from dth.platforms.aws.client import Aws, Refused

KEPT = 5.0  # seconds
NAME = re.compile(r"[\w+=,@-][\w+=,.@-]{0,254}")  # as the local platform has it; no slash


class AwsSecrets:
    """`s3.credentials.SecretStore`, for use on threads. `prefix` is what the hub may read below, such as `dth/`."""

    def __init__(self, aws: Aws, prefix: str) -> None:
        self._aws = aws
        self._prefix = prefix
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, str]] = {}

    def read(self, name: str) -> str:
        if not NAME.fullmatch(name):
            raise UsageError(
                f"{name[:80]!r} is no name for a secret: letters, digits and any of _+=,.@- make one, up to 255"
            )
        with self._lock:
            read, text = self._kept.get(name, (-KEPT, ""))
            if time.monotonic() - read < KEPT:
                return text
            text = self._read(name)
            self._kept[name] = time.monotonic(), text
            return text

    def _read(self, name: str) -> str:
        try:
            answer = self._aws.call_now("secretsmanager", "get_secret_value", SecretId=self._prefix + name)
        except Refused as error:
            if error.code == "ResourceNotFoundException":
                raise UsageError(f"there is no secret {self._prefix + name!r} in Secrets Manager") from None
            raise UsageError(f"secret {name!r} cannot be read: {error}") from None
        except StateError as error:
            raise UsageError(f"secret {name!r} cannot be read: {error}") from None
        if "SecretString" not in answer:
            raise UsageError(f"secret {name!r} is not text")
        return str(answer["SecretString"])
