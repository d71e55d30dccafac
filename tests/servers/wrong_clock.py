"""A clock that is wrong, for one process and its children."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .process import REPOSITORY

_FAKETIME = Path("/usr/lib") / f"{os.uname().machine}-linux-gnu" / "faketime" / "libfaketimeMT.so.1"


def is_missing() -> bool:
    return not _FAKETIME.exists()


def skip_without_faketime() -> None:
    """Skip the test where clocks cannot be wrong, except in CI."""
    if is_missing() and os.environ.get("CI") != "true":
        pytest.skip("libfaketime is not installed")


def off_by(seconds: int) -> dict[str, str]:
    """The environment of a process whose clock is this number of seconds ahead, or behind. What it
    measures with other clocks, such as pauses, is right."""
    return {
        "LD_PRELOAD": str(_FAKETIME),
        "FAKETIME": f"{seconds:+}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
        "NO_FAKE_STAT": "1",
        "PYTHONPATH": f"{REPOSITORY / 'src'}:{Path(__file__).parent / 'whole_sleep'}",
    }
