"""MiniStack: AWS's APIs in memory. The S3 stores that most tests copy between."""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .certificates import make_certificates
from .process import Process, answers, listening_socket
from .s3 import S3Server

if TYPE_CHECKING:
    from collections.abc import Mapping

_user_numbers = itertools.count()


class MiniStack(S3Server):
    """One independent set of AWS services.

    It takes any credentials and does not check signatures, unless `auth` is set: then those of IAM
    users and roles are checked, with their policies, while the root key (`test`) passes by its
    name. A body's Content-MD5 and x-amz-checksum headers are always checked.
    """

    def __init__(
        self,
        *,
        tls: bool = False,
        auth: bool = False,
        env: Mapping[str, str] | None = None,
        application: str = "dth.demo.store:app",
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dth-ministack-")
        folder = Path(self._folder.name)
        arguments = []
        if tls:
            certificates = make_certificates(folder)
            self.ca = certificates.ca
            arguments = [
                "--certfile",
                str(certificates.certificate),
                "--keyfile",
                str(certificates.key),
            ]
        # MiniStack's own command would bind the port itself (and 443 with TLS): serve the
        # application itself.
        with listening_socket() as listener:
            port = listener.getsockname()[1]
            self.process = Process(
                [
                    *(sys.executable, "-m", "hypercorn", application),
                    *("--bind", f"fd://{listener.fileno()}", "--workers", "0"),
                    *("--keep-alive", "75", "--graceful-timeout", "0", "--log-level", "WARNING"),
                    *arguments,
                ],
                env={
                    "BIND_HOST": "127.0.0.1",
                    "GATEWAY_PORT": str(port),
                    "LOG_LEVEL": "WARNING",
                    "AUTH": "true" if auth else "false",
                    "USE_SSL": "1" if tls else "0",
                    "TMPDIR": self._folder.name,
                    "S3_DATA_DIR": str(folder / "s3"),
                    **(env or {}),
                },
                pass_fds=[listener.fileno()],
            )
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
        self.process.wait_until(self._ready)

    def _ready(self) -> bool:
        # The socket takes connections from the start; only an answer shows that the application
        # runs.
        try:
            return answers(self.port) and self.request("GET", "/_ministack/health")[0] == 200
        except OSError:
            return False

    def user(self, policy: Mapping[str, object]) -> tuple[str, str]:
        """A new IAM user who may do what the policy says: (access key, secret key). For use with
        `auth`."""
        iam = self.boto("iam")
        name = f"user-{next(_user_numbers)}"
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def reset(self) -> None:
        """Forget everything: buckets, queues, users."""
        self.request("POST", "/_ministack/reset")

    def close(self) -> None:
        self.process.stop()
        self._folder.cleanup()
