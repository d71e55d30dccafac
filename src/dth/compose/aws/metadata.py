"""Metadata of an EC2 machine: the instance metadata service, version 2."""

import os
import time
import urllib.error
import urllib.request

TTL = 21600  # lifetime of a token in seconds
TIMEOUT = 2.0  # seconds per request


class InstanceMetadata:
    """A client of the service. Its calls block; use it on threads."""

    def __init__(self) -> None:
        self._url = os.environ.get(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254"
        ).rstrip("/")
        self._token = ""
        self._renew = 0.0

    @property
    def instance(self) -> str:
        """The machine's id. Raises OSError if there is no such service."""
        return self._get("instance-id")

    def leaving(self) -> str:
        """Return why the machine is about to terminate.

        "" if it is not, or if the service does not answer.
        """
        try:
            if self._get("spot/instance-action"):
                return "its spot capacity is wanted back"
            if self._get("autoscaling/target-lifecycle-state") == "Terminated":
                return "its group needs it no more"
        except OSError:
            pass
        return ""

    def _get(self, path: str) -> str:
        """Return the value of a path; "" if it does not exist."""
        if time.monotonic() >= self._renew:
            headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TTL)}
            self._token = self._ask("latest/api/token", "PUT", headers)
            self._renew = time.monotonic() + TTL / 2
        try:
            return self._ask(
                f"latest/meta-data/{path}", "GET", {"X-aws-ec2-metadata-token": self._token}
            )
        except urllib.error.HTTPError as error:
            if error.code == 401:
                self._renew = 0.0
            if error.code == 404:
                return ""
            raise

    def _ask(self, path: str, method: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(f"{self._url}/{path}", method=method, headers=headers)
        with _opener.open(request, timeout=TIMEOUT) as answer:
            return str(answer.read().decode())


# Proxies are only for the stores.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
