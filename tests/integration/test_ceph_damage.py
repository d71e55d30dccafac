"""Bits that flip on the way from and to a real Ceph, once or always.

RGW of Ceph 16 states no checksums: what speaks for a copy is Content-MD5 on the way in, and ETags.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING

import pytest

from dth.core.ports.status import Status
from tests.engine import MIB, Engine, Side, blob, hurry
from tests.servers.proxy import Corrupt, Proxy, Rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.ceph import Ceph
    from tests.servers.proxy import Request, Response, Rule
    from tests.servers.s3 import S3Server

pytestmark = pytest.mark.xdist_group("ceph")

PART = 5 * MIB  # the least that Ceph takes
SIZE = 11 * MIB
PARTED = {"multipart_threshold": PART, "part_size": PART}
GIANT = {**PARTED, "giant_object_threshold": 2 * PART}
KINDS = {"whole": {}, "parted": PARTED, "giant": GIANT, "streamed": GIANT}


@dataclass
class Way:
    """From one store to another, with a proxy in front of each."""

    engine: Engine
    source: Side
    dest: Side
    near_source: Proxy
    near_dest: Proxy


@pytest.fixture(params=["from-ceph", "to-ceph"])
def way(
    request: pytest.FixtureRequest,
    ceph: Ceph,
    s3_a: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Way]:
    hurry(monkeypatch)
    servers = (ceph, s3_a) if request.param == "from-ceph" else (s3_a, ceph)
    source, dest = (Side(server, server.bucket("damage")) for server in servers)
    with Proxy(source.server) as near_source, Proxy(dest.server) as near_dest:
        engine = Engine(
            tmp_path / "state",
            Side(near_source, source.bucket),
            Side(near_dest, dest.bucket),
            memory_budget=32 * MIB,
        )
        yield Way(engine, source, dest, near_source, near_dest)
    for side in (source, dest):
        side.server.drop(side.bucket)


def second_part(request: Request) -> bool:
    """Whether a GET reads what is in the second part."""
    return request.headers.get("range") == f"bytes={PART}-{2 * PART - 1}"


def flip_on_the_way_out(way: Way, kind: str, nth: int | None) -> Rule:
    if kind == "whole":
        return way.near_dest.rule(Corrupt(1000, upload=True), method="PUT", key="k", nth=nth)
    return way.near_dest.rule(
        Corrupt(1000, upload=True), method="PUT", query="partNumber=2&", nth=nth
    )


def flip_on_the_way_in(way: Way, kind: str, nth: int | None) -> Rule:
    if kind == "whole":
        return way.near_source.rule(Corrupt(1000), method="GET", key="k", nth=nth)
    return way.near_source.rule(Corrupt(1000), method="GET", when=second_part, nth=nth)


def passes(way: Way, rule: Rule, **options: object) -> None:
    """One flip is repaired."""
    ran = way.engine.run(workers=2, **options)
    assert rule.hits == 1
    assert (ran.counts.done, ran.counts.failed) == (1, 0), ran
    assert way.dest.contents() == way.source.contents()


def lasts(way: Way, rule: Rule, **options: object) -> None:
    """Flips without end are a failure that leaves nothing, and that no later run takes for a
    copy."""
    ran = way.engine.run(workers=2, **options)
    assert rule.hits >= 1
    assert (ran.counts.done, ran.counts.failed) == (0, 1), ran
    assert ran.records["k"].status is Status.FAILED
    assert way.dest.listed() == []
    assert way.dest.uploads() == []
    way.near_source.clear()
    way.near_dest.clear()
    ran = way.engine.run(workers=2, compare_policy="size", **options)
    assert (ran.counts.same, ran.counts.done) == (0, 1), ran
    assert way.dest.contents() == way.source.contents()


@pytest.mark.parametrize("kind", KINDS)
def test_a_bit_that_flips_between_here_and_the_destination(
    way: Way, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "streamed":
        monkeypatch.setattr("dth.objects.transfer.multipart.STREAM_ABOVE", MIB)
    way.source.put({"k": blob(MIB if kind == "whole" else SIZE)})
    passes(way, flip_on_the_way_out(way, kind, 1), **KINDS[kind])
    way.dest.server.request("DELETE", f"/{way.dest.bucket}/k")
    lasts(way, flip_on_the_way_out(way, kind, None), **KINDS[kind])


def test_a_bit_that_flips_between_the_source_and_here(way: Way) -> None:
    way.source.put({"k": blob(MIB)})
    passes(way, flip_on_the_way_in(way, "whole", 1))
    way.dest.server.request("DELETE", f"/{way.dest.bucket}/k")
    lasts(way, flip_on_the_way_in(way, "whole", None))


def put_in_parts(side: Side, key: str, size: int, *sizes: int) -> None:
    """An object with an ETag that is made of those of its parts. `sizes` of the parts; the last one
    is repeated."""
    s3, where = side.server.boto(), {"Bucket": side.bucket, "Key": key}
    where["UploadId"] = s3.create_multipart_upload(**where)["UploadId"]
    body, parts = blob(size), []
    for number, part in enumerate(chain(sizes, repeat(sizes[-1] if sizes else PART)), 1):
        answer = s3.upload_part(**where, PartNumber=number, Body=body[:part])
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        body = body[part:]
        if not body:
            break
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})


@pytest.mark.parametrize("kind", ["parted", "giant", "streamed"])
def test_a_bit_that_flips_in_one_part_from_a_source_that_states_the_etags_of_parts(
    way: Way, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The size of its parts is guessed. Damage is found out by reading them again."""
    if kind == "streamed":
        monkeypatch.setattr("dth.objects.transfer.multipart.STREAM_ABOVE", MIB)
    put_in_parts(way.source, "k", SIZE)
    passes(way, flip_on_the_way_in(way, kind, 1), **KINDS[kind])
    way.dest.server.request("DELETE", f"/{way.dest.bucket}/k")
    lasts(way, way.near_source.rule(Corrupt(1000), method="GET", key="k"), **KINDS[kind])


def states_parts(way: Way, *sizes: int) -> None:
    """The source answers HEADs of parts, as AWS does: these are their sizes."""

    def answer(request: Request, response: Response, body: bytes) -> bytes:
        number = int(request.query.partition("partNumber=")[2].partition("&")[0])
        response.headers.set("Content-Length", str(sizes[number - 1]))
        response.headers.set("x-amz-mp-parts-count", str(len(sizes)))
        return body

    way.near_source.rule(Rewrite(answer), method="HEAD", query="partNumber=")


@pytest.mark.parametrize("kind", ["parted", "giant"])
def test_a_part_size_that_the_source_states_needs_no_second_look(way: Way, kind: str) -> None:
    part = 5 * MIB + 4321
    put_in_parts(way.source, "k", SIZE, part)
    states_parts(way, part, part, SIZE - 2 * part)
    rule = way.near_source.rule(Corrupt(1000), method="GET", key="k", nth=2)
    passes(way, rule, **KINDS[kind])
    way.dest.server.request("DELETE", f"/{way.dest.bucket}/k")
    way.near_source.forget()
    lasts(way, way.near_source.rule(Corrupt(1000), method="GET", key="k"), **KINDS[kind])
    # Five attempts, and the last run, for which the source states nothing any more.
    assert way.near_source.bytes_sent < 8 * SIZE


@pytest.mark.parametrize("states", [False, True], ids=["guessed", "stated"])
def test_an_etag_that_other_part_sizes_made_says_nothing(way: Way, states: bool) -> None:
    sizes = (5 * MIB, 5 * MIB + 99, MIB - 99)
    put_in_parts(way.source, "k", SIZE, *sizes)
    if states:
        states_parts(way, *sizes)
    ran = way.engine.run(workers=2, **GIANT)
    assert (ran.counts.done, ran.counts.failed) == (1, 0), ran
    assert way.dest.contents() == way.source.contents()


@pytest.mark.parametrize("verify_after", [False, True])
@pytest.mark.parametrize("kind", ["parted", "giant", "streamed"])
def test_a_bit_that_flips_in_one_part_from_a_source_that_states_the_etag_of_the_whole(
    way: Way, kind: str, verify_after: bool
) -> None:
    """The parts of giant objects are with several workers, and those that are streamed are in no
    memory: what was sent is held against a second reading, or against the copy that is read
    back."""
    way.source.put({"k": blob(SIZE)})
    options = {**KINDS[kind], "verify_after": verify_after}
    passes(way, flip_on_the_way_in(way, kind, 1), **options)
    way.dest.server.request("DELETE", f"/{way.dest.bucket}/k")
    lasts(way, flip_on_the_way_in(way, kind, None), **options)
