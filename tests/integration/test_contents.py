"""Comparing what two stores hold: by checksums that may be missing, and by bytes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dth.core.errors import ObjectChanged
from dth.core.transport import Transport
from dth.objects.compare.contents import STEP, equal, in_sample
from dth.objects.store import immediate_retry
from dth.objects.store.checksums import checksum
from dth.objects.store.endpoints import ChecksumMode
from dth.objects.transfer.proof import read_back
from tests.clients import connect
from tests.engine import MIB, Dth, Engine, Side, between, blob, bodies
from tests.servers.odd import OddStore, damaged, sum_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGE = blob(5 * STEP + 12_345)  # more ranges than are read at once


@contextlib.contextmanager
def stores(here: tuple[str, ...] = (), there: tuple[str, ...] = ()) -> Iterator[tuple[Side, Side]]:
    """A bucket in each of two odd stores with these quirks."""
    with OddStore(*here) as a, OddStore(*there) as b:
        yield Side(a, a.bucket("source")), Side(b, b.bucket("destination"))


def changed(body: bytes, place: int) -> bytes:
    """The body with one bit flipped there."""
    return body[:place] + damaged(body[place:])


def odd(side: Side) -> OddStore:
    assert isinstance(side.server, OddStore)
    return side.server


# --- checksums that cannot be compared
# ---------------------------------------------------------------


def parted(side: Side, key: str, body: bytes, etag: str, **checksums: str) -> None:
    """An object that was written in parts."""
    side.put({key: body})
    stored = odd(side).at(side.bucket, key)
    stored.etag, stored.checksums = etag, checksums


@pytest.mark.parametrize(
    ("here", "there", "why"),
    [
        ({}, {}, "no stored checksum on both sides"),
        ({"crc32": sum_of("crc32", b"x")}, {}, "no stored checksum at the destination"),
        ({}, {"crc32": sum_of("crc32", b"x")}, "no stored checksum at the source"),
        (
            {"crc32": sum_of("crc32", b"x")},
            {"sha256": sum_of("sha256", b"x")},
            "no stored checksum of the same kind on both sides",
        ),
    ],
)
def test_what_cannot_be_judged_is_not_equal(
    tmp_path: Path, here: dict[str, str], there: dict[str, str], why: str
) -> None:
    dth = Dth(tmp_path)
    with stores() as (source, dest):
        parted(source, "copy", b"x", "0" * 32 + "-2", **here)
        parted(dest, "copy", b"x", "1" * 32 + "-3", **there)
        source.put({"same": b"same"})
        dest.put({"same": b"same"})
        sides = [*between(source, dest), "--compare", "checksum"]

        done = dth.here("s3", "diff", *sides)
        reason = f"no comparable ETag and {why}"
        assert done.code == 2
        assert f"? copy  ({reason})" in done.out.splitlines()
        assert "2 listed, 1 same, 0 missing, 0 different, 0 only in the destination" in done.out
        assert f"1 could not be verified: {reason}" in done.out
        assert "--compare content" in done.out
        assert "--compare checksum" not in done.out
        found = dth.here("s3", "diff", *sides, "--json").json
        told = {
            name: found[name]
            for name in ("same", "different", "unknown", "unjudged", "unproven", "equal")
        }
        assert told == {
            "same": 1,
            "different": 0,
            "unknown": 0,
            "unjudged": 1,
            "unproven": 0,
            "equal": False,
        }

        report = tmp_path / "report.csv"
        assert dth.here("s3", "diff", *sides, "--report", report).code == 2
        assert "copy,unjudged,1," in report.read_text()
        dest.put({"more": b""})
        assert dth.here("s3", "diff", *sides).code == 1


def test_a_copy_that_is_older_than_its_source_is_not_different_for_that(tmp_path: Path) -> None:
    with stores() as (source, dest):
        parted(source, "copy", b"x", "0" * 32 + "-2")
        parted(dest, "copy", b"x", "1" * 32 + "-3")
        odd(dest).at(dest.bucket, "copy").modified -= 1000
        found = Dth(tmp_path).here(
            "s3", "diff", *between(source, dest), "--compare", "checksum", "--json"
        )
        told = (found.code, found.json["same"], found.json["different"], found.json["unjudged"])
        assert told == (2, 0, 0, 1)


def test_our_mark_on_a_copy_is_no_checksum(tmp_path: Path) -> None:
    with stores() as (source, dest):
        parted(source, "copy", b"x", "0" * 32 + "-2")
        dest.put({"copy": b"y"}, **{"x-amz-meta-dth-source-etag": "0" * 32 + "-2"})
        odd(dest).at(dest.bucket, "copy").etag = "1" * 32 + "-3"
        found = Dth(tmp_path).here(
            "s3", "diff", *between(source, dest), "--compare", "checksum", "--json"
        )
        assert (found.code, found.json["unjudged"]) == (2, 1)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_etags_of_objects_with_kms_are_not_compared(tmp_path: Path, side: str) -> None:
    quirks = {"source": (("kms",), ()), "destination": ((), ("kms",))}[side]
    with stores(*quirks) as (source, dest):
        source.put({"copy": b"x"})
        dest.put({"copy": b"x"})
        done = Dth(tmp_path).here("s3", "diff", *between(source, dest), "--compare", "checksum")
        assert done.code == 2
        reason = f"no comparable ETag (encrypted with KMS or a customer's key at the {side})"
        assert f"? copy  ({reason} and no stored checksum on both sides)" in done.out


# --- bytes
# -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, STEP - 1, STEP, 4 * STEP, len(LARGE) - 1])
def test_one_bit_is_found_wherever_it_is(tmp_path: Path, place: int) -> None:
    with stores() as (source, dest):
        source.put(
            {"large": LARGE, "small": b"small", "empty": b"", "missing": b"1", "longer": b"22"}
        )
        dest.put({"large": LARGE, "small": b"small", "empty": b"", "extra": b"1", "longer": b"333"})
        dth, sides = Dth(tmp_path), [*between(source, dest), "--compare", "content"]
        # The ETags tell nothing.
        odd(dest).at(dest.bucket, "large").etag = "1" * 32 + "-3"

        found = dth.here("s3", "diff", *sides, "--json").json
        assert (found["same"], found["missing"], found["different"], found["extra"]) == (3, 1, 1, 1)
        asked = {request.key for request in odd(dest).requests if request.method == "GET"} - {""}
        assert asked == {"large", "small"}

        odd(dest).at(dest.bucket, "large").body = changed(LARGE, place)
        done = dth.here("s3", "diff", *sides)
        assert done.code == 1
        assert {"* large  (content)", "* longer  (size)", "+ missing", "- extra"} <= set(
            done.out.splitlines()
        )

        for key in ("missing", "longer", "extra"):
            for side in (source, dest):
                odd(side).buckets[side.bucket].objects.pop(key, None)
        odd(dest).at(dest.bucket, "large").body = LARGE
        equal_ = dth.here("s3", "diff", *sides)
        assert (equal_.code, equal_.err) == (0, "")
        odd(dest).at(dest.bucket, "small").body = b"smalL"
        assert dth.here("s3", "diff", *sides).code == 1


# Prints the most memory that the command took. (The kernel counts that of the parent before exec as
# well.)
MEASURED = """
import re, sys
from dth.cli.main import main
try:
    main()
finally:
    print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
"""


def test_memory_is_flat(tmp_path: Path) -> None:
    dth, peaks = Dth(tmp_path), []
    for size in (16 * MIB, 64 * MIB):
        with stores() as (source, dest):
            objects = dict.fromkeys(["a", "b", "c", "d"], blob(size))
            source.put(objects)
            dest.put(objects)
            sides = [*between(source, dest), "--compare", "content", "--memory-budget", "32M"]
            done = subprocess.run(
                [sys.executable, "-c", MEASURED, "s3", "diff", *sides],
                env={**os.environ, **dth.env},
                capture_output=True,
                text=True,
                check=True,
            )
            assert "4 same" in done.stdout
            peaks.append(int(done.stderr) * 1024)
    assert peaks[1] < peaks[0] + 32 * MIB, peaks


def test_a_sample_is_always_the_same(tmp_path: Path) -> None:
    keys = [f"k{number}" for number in range(200)]
    chosen = {key for key in keys if in_sample(key, 20)}
    assert 20 <= len(chosen) <= 60
    assert chosen < {key for key in keys if in_sample(key, 50)} < set(keys)
    assert all(in_sample(key, 100) for key in keys)
    with stores() as (source, dest):
        source.put(bodies(keys))
        dest.put(bodies(keys))
        dth = Dth(tmp_path)
        command = ["s3", "diff", *between(source, dest), "--compare", "content", "--sample", "20"]
        done = dth.here(*command)
        assert done.code == 0
        assert f"{200 - len(chosen)} of the same by size only" in done.out
        for side in (source, dest):
            assert {each.key for each in odd(side).requests if each.method == "GET"} - {
                ""
            } == chosen

        outside = next(key for key in keys if key not in chosen)
        inside = min(chosen)
        for key, code in ((outside, 0), (inside, 1)):
            odd(dest).at(dest.bucket, key).body = damaged(dest.get(key))
            assert dth.here(*command).code == code
        found = dth.here(*command, "--json").json
        assert (found["different"], found["unproven"]) == (1, 200 - len(chosen))


def test_a_sample_needs_contents(tmp_path: Path) -> None:
    with stores() as (source, dest):
        done = Dth(tmp_path).here("s3", "diff", *between(source, dest), "--sample", "5")
        assert (done.code, "--sample needs --compare content" in done.err) == (2, True)


@pytest.mark.parametrize("quirk", ["always-500", "always-503", "always-429"])
def test_what_cannot_be_read_is_unknown(
    tmp_path: Path, quirk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "dth.objects.store.immediate_retry.POLICY", replace(immediate_retry.POLICY, last=0.01)
    )
    with stores(there=(quirk,)) as (source, dest):
        for side in (source, dest):
            side.put({"bad": b"bad", "good": b"good"})
        done = Dth(tmp_path).here("s3", "diff", *between(source, dest), "--compare", "content")
        assert done.code == 2
        assert [line[:5] for line in done.out.splitlines() if line[0] in "!*+-?"] == ["! bad"]
        assert "2 listed, 1 same" in done.out


def test_an_archived_object_cannot_be_judged(tmp_path: Path) -> None:
    with stores() as (source, dest):
        source.put({"cold": b"x"}, **{"x-amz-storage-class": "GLACIER"})
        dest.put({"cold": b"x"})
        done = Dth(tmp_path).here("s3", "diff", *between(source, dest), "--compare", "content")
        assert (done.code, "? cold  (archived at the source" in done.out) == (2, True)


def test_sync_copies_what_has_other_bytes(tmp_path: Path) -> None:
    with stores() as (source, dest):
        source.put(bodies(["a", "b", "c"]) | {"large": LARGE})
        engine = Engine(tmp_path, source, dest, compare_policy="content")
        assert engine.run().counts.done == 4
        for key in ("b", "large"):
            odd(dest).at(dest.bucket, key).body = damaged(source.get(key))
        ran = engine.run()
        assert (ran.counts.same, ran.counts.done) == (2, 2)
        assert dest.contents() == source.contents()
        assert engine.run(compare_policy="content").counts.same == 4


# --- in pieces
# -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([], [], True),
        ([b"abc"], [b"a", b"", b"bc"], True),
        ([b"ab", b"c"], [b"a", b"bc"], True),
        ([b"abc"], [b"ab", b"d"], False),
        ([b"abc"], [b"abcd"], False),
        ([b""], [], True),
    ],
)
def test_bodies_in_pieces(one: list[bytes], other: list[bytes], same: bool) -> None:
    assert equal(one, other) is same
    assert equal(other, one) is same


@pytest.mark.parametrize(
    "algorithm", [ChecksumMode.CRC64NVME, ChecksumMode.SHA256, ChecksumMode.MD5]
)
@pytest.mark.parametrize("body", [b"", b"small", LARGE], ids=["empty", "small", "large"])
def test_reading_back(algorithm: ChecksumMode, body: bytes) -> None:
    with OddStore() as store:
        bucket = store.bucket()
        etag = store.put(bucket, "key", body).strip('"')
        assert _read_back(store, bucket, len(body), etag, algorithm) == checksum(algorithm, [body])
        gets = [request for request in store.requests if request.method == "GET"]
        assert len(gets) == max(1, -(-len(body) // STEP))
        if body:
            store.at(bucket, "key").body = changed(body, len(body) - 1)
            assert _read_back(store, bucket, len(body), etag, algorithm) != checksum(
                algorithm, [body]
            )
        store.at(bucket, "key").etag = "another"
        with pytest.raises(ObjectChanged):
            _read_back(store, bucket, len(body), etag, algorithm)


def _read_back(store: OddStore, bucket: str, size: int, etag: str, algorithm: ChecksumMode) -> str:
    async def run() -> str:
        transport = Transport()
        try:
            client = connect(transport, store, bucket)
            return await read_back(client, "key", size, etag, algorithm)
        finally:
            transport.close()

    return asyncio.run(run())
