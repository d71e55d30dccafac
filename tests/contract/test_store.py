"""The trial of a store finds what the stores of the tests are known to do, and leaves nothing
behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.contract.store import PROBES, Store, trial

if TYPE_CHECKING:
    from tests.servers.s3 import S3Server

ROWS = Path(__file__).parent / "stores"
STORES = [
    "s3_a",
    "s3_moto",
    "s3_rclone",
    pytest.param("ceph", marks=pytest.mark.xdist_group("ceph")),
]


@pytest.mark.parametrize("name", STORES)
def test_the_row_of_a_store(request: pytest.FixtureRequest, name: str) -> None:
    """After a change of a store: `python -m tests.contract.store --endpoint-url URL --output
    FILE`."""
    server: S3Server = request.getfixturevalue(name)
    found = trial(Store(server.url, server.access_key, server.secret_key, server.region))
    assert found == json.loads((ROWS / f"{name}.json").read_text("utf-8"))["found"]


def test_a_bucket_of_somebody_keeps_what_is_in_it(s3_a: S3Server, bucket_a: str) -> None:
    s3_a.put(bucket_a, "theirs", b"theirs")
    found = trial(Store(s3_a.url, s3_a.access_key, s3_a.secret_key, s3_a.region, bucket_a))
    assert found.keys() == PROBES.keys()
    assert s3_a.keys(bucket_a) == ["theirs"]
    assert s3_a.boto().list_multipart_uploads(Bucket=bucket_a).get("Uploads", []) == []


def test_each_probe_says_what_it_looks_for() -> None:
    assert all(probe.__doc__ for probe in PROBES.values())
