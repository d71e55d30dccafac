"""In CI, no test is skipped because a tool is missing."""

from __future__ import annotations

import os

import pytest

from tests.servers.postgres import missing_parts


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="a machine of a developer may lack it")
def test_postgresql_is_there() -> None:
    assert missing_parts() == []
