"""A network that is cut without a word: packets are dropped, and nobody hears of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Self

import pytest

# A server of the tests listens here as well. A process that uses this address can be cut off, while
# others reach the same server at 127.0.0.1.
FAR = "127.77.0.1"


def skip_without_packet_filter() -> None:
    """Skip the test where packets cannot be dropped. With CI=true, only the kernel may be the
    reason."""
    if shutil.which("iptables") is None and os.environ.get("CI") != "true":
        pytest.skip("iptables is not installed")
    if subprocess.run(
        ["iptables", "-w", "-S", "INPUT"], capture_output=True, check=False
    ).returncode:
        pytest.skip("packets cannot be dropped here")


class Cut:
    """Drops all that goes between FAR and its clients, for the server on this port."""

    def __init__(self, port: int) -> None:
        self._rules = [["-d", FAR, "--dport", str(port)], ["-s", FAR, "--sport", str(port)]]

    def __enter__(self) -> Self:
        self._change("-I")
        return self

    def __exit__(self, *_: object) -> None:
        self._change("-D")

    def _change(self, how: str) -> None:
        for address, ip, way, number in self._rules:
            rule = ["-i", "lo", "-p", "tcp", address, ip, way, number, "-j", "DROP"]
            subprocess.run(["iptables", "-w", how, "INPUT", *rule], check=True)
