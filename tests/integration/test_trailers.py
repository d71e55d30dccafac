"""Checksums behind streamed parts, on servers that others wrote: what takes them, and what does
not, gets all bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engine import MIB, Engine, Side, blob, hurry
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.ceph import Ceph
    from tests.servers.ministack import MiniStack
    from tests.servers.s3 import S3Server

# The least that Ceph and moto take.
PART = 5 * MIB
SIZE = 12 * MIB
STREAMED = {"multipart_threshold": PART, "part_size": PART}


@pytest.fixture(autouse=True)
def streaming(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr("dth.objects.transfer.multipart.STREAM_ABOVE", MIB)


def test_over_tls_each_streamed_part_carries_its_checksum(
    tmp_path: Path, source: Side, s3_tls: MiniStack
) -> None:
    source.put({"k": blob(SIZE)}, **{"content-encoding": "gzip"})
    dest = Side(s3_tls, s3_tls.bucket())
    engine = Engine(tmp_path / "state", source, dest)
    ran = engine.run(dest_type="Amazon_S3", dest_ca_bundle=str(s3_tls.ca), **STREAMED)
    assert (ran.counts.done, ran.counts.verified_store, ran.notes) == (1, 1, ""), ran
    assert dest.get("k") == source.get("k")
    assert dest.head("k")["content-encoding"] == "gzip"
    s3_tls.drop(dest.bucket)


def carried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Side, server: S3Server
) -> tuple[str, list[int]]:
    """The notes of a run to a server without TLS that is said to know trailers, and how it answered
    them."""
    monkeypatch.setattr("dth.objects.store.endpoints.Endpoint.encrypted", True)
    source.put({"k": blob(SIZE)})
    dest = Side(server, server.bucket())
    with Proxy(server) as proxy:
        engine = Engine(tmp_path / "state", source, Side(proxy, dest.bucket))
        ran = engine.run(dest_type="MinIO", **STREAMED)
        framed = [each.status for each in proxy.requests if "x-amz-trailer" in each.headers]
    assert (ran.counts.done, ran.counts.unverified, ran.records["k"].attempts) == (1, 0, 1), ran
    assert dest.get("k") == source.get("k")
    server.drop(dest.bucket)
    return ran.notes, framed


@pytest.mark.parametrize("server", ["s3_b", "s3_moto", "s3_rclone"])
def test_a_server_that_takes_trailers_gets_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: Side,
    request: pytest.FixtureRequest,
    server: str,
) -> None:
    notes, framed = carried(tmp_path, monkeypatch, source, request.getfixturevalue(server))
    assert (notes, framed) == ("", [200, 200, 200])


@pytest.mark.xdist_group("ceph")
def test_ceph_16_refuses_trailers_and_gets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Side, ceph: Ceph
) -> None:
    notes, framed = carried(tmp_path, monkeypatch, source, ceph)
    assert "takes no checksum behind a body" in notes
    assert set(framed) == {400}
