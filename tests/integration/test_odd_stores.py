"""The engine against stores that do one thing otherwise: what it says of a copy is true on each of
them."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import itertools
import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import Corrupted
from dth.core.ports.queue import Outgoing
from dth.core.ports.runs import RunState
from dth.core.ports.status import Status, Verified
from dth.objects.store.checksums import checksum
from dth.objects.store.client import S3Client
from dth.objects.store.credentials import FixedCredentials
from dth.objects.store.endpoints import resolve_endpoint
from dth.objects.store.objects import StoreWrite
from dth.objects.task import shared_rates
from dth.objects.transfer.proof import check_source, compare_stated
from tests.engine import (
    FOUR_PARTS,
    GIANT,
    MIB,
    PARTED,
    SECONDS,
    TWO_PARTS,
    Dth,
    Engine,
    Ran,
    Side,
    blob,
    bodies,
    hurry,
)
from tests.servers.odd import OddStore, sum_of
from tests.servers.process import listening_socket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = bodies(f"k{n:02}" for n in range(12))


class Pair:
    """A source and a destination, with the quirks that a test gives them."""

    def __init__(self, state: Path) -> None:
        self.source = OddStore()
        self.dest = OddStore()
        self._from, self._to = self.source.bucket(), self.dest.bucket()
        self._state = state

    def quirks(self, source: str = "", dest: str = "", **times: int) -> None:
        """Words of quirks for both sides; `times`: how often one of them acts (underscores for
        dashes)."""
        for store, words in ((self.source, source), (self.dest, dest)):
            store.quirks = {
                word: times.get(word.replace("-", "_"), float("inf")) for word in words.split()
            }

    def put(self, objects: dict[str, bytes], **headers: Any) -> None:
        for key, body in objects.items():
            self.source.put(self._from, key, body, headers)

    def there(self) -> dict[str, bytes]:
        return {key: self.dest.get(self._to, key) for key in self.dest.keys(self._to)}

    def lay(self, key: str, body: bytes) -> None:
        """Put an object into the destination."""
        self.dest.put(self._to, key, body)

    def at(self, key: str) -> Any:
        return self.dest.at(self._to, key)

    def original(self, key: str) -> Any:
        return self.source.at(self._from, key)

    @property
    def sides(self) -> tuple[Side, Side]:
        return Side(self.source, self._from), Side(self.dest, self._to)

    def run(self, *, state: str = "state", **parameters: Any) -> Ran:
        """One run. Another `state` knows nothing of the runs before."""
        return Engine(self._state / state, *self.sides, **parameters).run()

    def writes(self) -> int:
        """Objects that were written to the destination so far."""
        return sum(
            request.method == "PUT" and "partNumber" not in request.query and bool(request.key)
            for request in self.dest.requests
        )


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    hurry(monkeypatch)
    pair = Pair(tmp_path)
    yield pair
    pair.source.close()
    pair.dest.close()


def settled(ran: Ran, done: int, failed: int = 0) -> None:
    assert (ran.run.state, ran.counts.done, ran.counts.failed, ran.counts.cancelled) == (
        RunState.DONE,
        done,
        failed,
        0,
    ), ran


# ----------------------------------------------------------------------------------- damaged copies

DAMAGE = [
    # Quirks of the source, quirks of the destination.
    ("", "no-checksums flip-on-write"),
    ("", "no-checksums no-content-md5 flip-on-write"),
    ("no-checksums flip-on-read", ""),
    ("no-checksums flip-on-read", "no-checksums no-content-md5"),
    ("flip-on-read", ""),
    ("", "flip-on-write"),
    ("", "refuses-checksum-headers no-content-md5 flip-on-write"),
]


@pytest.mark.parametrize(("source", "dest"), DAMAGE)
def test_a_damaged_copy_never_counts(pair: Pair, source: str, dest: str) -> None:
    pair.put(SMALL)
    pair.quirks(source, dest)
    ran = pair.run()
    settled(ran, 0, len(SMALL))
    assert {record.status for record in ran.records.values()} == {Status.FAILED}
    # Nor later, by any policy, nor with another state.
    assert pair.there() == {}
    for policy in ("size", "size+time", "etag", "checksum"):
        assert pair.run(compare_policy=policy, state=policy).counts.same == 0
    pair.quirks()
    settled(pair.run(), len(SMALL))
    assert pair.there() == SMALL


@pytest.mark.parametrize(("source", "dest"), DAMAGE)
def test_damage_in_passing_is_repaired(pair: Pair, source: str, dest: str) -> None:
    pair.put(SMALL)
    pair.quirks(source, dest, flip_on_write=2, flip_on_read=2)
    ran = pair.run()
    settled(ran, len(SMALL))
    assert pair.there() == SMALL
    assert ran.counts.unverified == 0


@pytest.mark.parametrize(("source", "dest"), [each for each in DAMAGE if "read" in each[0]])
def test_what_is_known_to_be_wrong_overwrites_nothing(pair: Pair, source: str, dest: str) -> None:
    pair.put({"k": b"a newer body"})
    pair.lay("k", b"an older body")
    pair.quirks(source, dest)
    settled(pair.run(), 0, 1)
    assert pair.there() == {"k": b"an older body"}


@pytest.mark.parametrize("stated", ["md5", "sha256", "crc32", "crc64nvme"])
def test_damage_in_one_part_of_a_source_object_is_noticed(pair: Pair, stated: str) -> None:
    body = os.urandom(3 * MIB)
    pair.put({"parted": body})
    if stated != "md5":
        pair.original("parted").checksums = {stated: sum_of(stated, body)}
    pair.quirks("flip-on-range" + (" no-checksums" if stated == "md5" else ""))
    settled(pair.run(**PARTED), 0, 1)
    assert pair.there() == {}
    # The first range read is that of the first byte, for the properties.
    pair.quirks("flip-on-range", flip_on_range=2)
    settled(pair.run(**PARTED), 1)
    assert pair.there() == {"parted": body}


# Of parts: the checksum that joins to that of the whole, others, and none.
MODES = ["crc64nvme", "crc32c", "md5", "none"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stated", ["md5", "sha256", "crc64nvme"])
def test_what_is_stated_of_the_whole_counts_whatever_covers_the_parts(
    pair: Pair, stated: str, mode: str
) -> None:
    body = os.urandom(3 * MIB)
    pair.put({"parted": body})
    pair.lay("parted", b"an older body")
    if stated != "md5":
        pair.original("parted").checksums = {stated: sum_of(stated, body)}
        pair.original("parted").etag = "ab" * 16 + "-3"
    pair.quirks("flip-on-range" + (" no-checksums" if stated == "md5" else ""))
    settled(pair.run(checksum_mode=mode, **PARTED), 0, 1)
    # Nor is anything joined that is known to be wrong.
    assert pair.there() == {"parted": b"an older body"}


@pytest.mark.parametrize("mode", MODES[:-1])
@pytest.mark.parametrize("stated", ["md5", "crc64nvme"])
def test_parts_of_a_giant_object_are_held_against_what_is_stated_of_the_whole(
    pair: Pair, stated: str, mode: str
) -> None:
    body = os.urandom(FOUR_PARTS)
    pair.put({"giant": body})
    if stated != "md5":
        pair.original("giant").checksums = {stated: sum_of(stated, body)}
    quirks = "flip-on-range" + (" no-checksums" if stated == "md5" else "")
    pair.quirks(quirks)
    settled(pair.run(checksum_mode=mode, **GIANT), 0, 1)
    assert pair.there() == {}
    pair.quirks(quirks, flip_on_range=2)
    settled(pair.run(checksum_mode=mode, **GIANT), 1)
    assert pair.there() == {"giant": body}


@pytest.mark.parametrize("parts", [1, 3])
def test_a_source_object_of_parts_that_is_read_whole_is_held_against_its_etag(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    monkeypatch.setattr("dth.objects.transfer.source_parts.SMALLEST", MIB)
    body = os.urandom(3 * MIB)
    step = len(body) // parts
    digests = b"".join(hashlib.md5(body[n : n + step]).digest() for n in range(0, len(body), step))
    pair.put({"k": body, "other": body})
    pair.original("k").etag = f"{hashlib.md5(digests).hexdigest()}-{parts}"
    # An ETag of this form that is made in another way says nothing.
    pair.original("other").etag = "ab" * 16 + f"-{parts}"
    pair.quirks("no-checksums")
    settled(pair.run(), 2)
    # Damage in passing is repaired, and damage for good is found where the source says how large
    # the parts are.
    pair.quirks("no-checksums flip-on-read", flip_on_read=1)
    settled(pair.run(compare_policy="always", include_patterns=("k",)), 1)
    assert pair.there()["k"] == body
    pair.lay("k", b"an older body")
    pair.original("k").part_size = step
    pair.quirks("no-checksums flip-on-read")
    ran = pair.run(state="another", include_patterns=("k",))
    settled(ran, 0, 1)
    assert ran.records["k"].reason == "EtagMismatch"
    assert pair.there()["k"] == b"an older body"


def test_a_source_that_answers_no_head_of_a_part_is_copied(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.objects.transfer.source_parts.SMALLEST", MIB)
    body = os.urandom(3 * MIB)
    pair.put({"parted": body})
    pair.original("parted").etag = "ab" * 16 + "-3"
    pair.quirks("part-heads-416 no-checksums")
    settled(pair.run(**PARTED), 1)
    assert pair.there() == {"parted": body}


def test_parts_need_no_head_of_the_source(pair: Pair) -> None:
    body = os.urandom(TWO_PARTS)
    pair.put({"parted": body})
    pair.quirks("heads-denied flip-on-range")
    settled(pair.run(**PARTED), 0, 1)
    pair.quirks("heads-denied")
    settled(pair.run(**PARTED), 1)
    assert pair.there() == {"parted": body}


def test_a_copy_that_is_gone_says_nothing_of_its_source(pair: Pair) -> None:
    pair.put(SMALL)
    pair.quirks("", "put-loses")
    ran = pair.run(verify_after=True)
    settled(ran, 0, len(SMALL))
    assert {record.reason for record in ran.records.values()} == {"NoSuchKey"}


def test_etags_that_are_no_md5s_among_those_that_are_do_no_harm(pair: Pair) -> None:
    pair.put(SMALL)
    pair.quirks("", "etag-random", etag_random=4)
    ran = pair.run()
    settled(ran, len(SMALL))
    assert pair.there() == SMALL


def test_every_checksum_that_a_store_answers_counts(pair: Pair) -> None:
    pair.put(SMALL)
    pair.quirks("", "etag-opaque answers-crc32 flip-on-write")
    settled(pair.run(), 0, len(SMALL))
    assert pair.there() == {}


def test_the_listed_etag_counts_where_an_answer_has_none(pair: Pair) -> None:
    pair.put(SMALL)
    pair.quirks("no-checksums no-etag-on-read flip-on-read")
    settled(pair.run(), 0, len(SMALL))
    assert pair.there() == {}


def test_a_damaged_copy_inside_a_store_never_counts(pair: Pair) -> None:
    pair.quirks("no-checksums flip-on-copy")
    pair.put(SMALL)
    there = pair.source.bucket()
    sides = Side(pair.source, pair.sides[0].bucket), Side(pair.source, there)
    settled(Engine(pair._state / "copies", *sides).run(), 0, len(SMALL))
    assert pair.source.objects(there) == {}
    pair.quirks("lies")
    settled(Engine(pair._state / "read", *sides, verify_after=True).run(), len(SMALL))


def test_parts_that_a_store_copies_by_itself_are_held_against_what_the_source_states(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.objects.transfer.handlers.COPY_LIMIT", MIB)
    monkeypatch.setattr("dth.objects.transfer.multipart.COPY_PART", MIB)
    body = os.urandom(3 * MIB)
    pair.put({"large": body})
    pair.original("large").checksums = {"crc64nvme": sum_of("crc64nvme", body)}
    there = pair.source.bucket()
    sides = pair.sides[0], Side(pair.source, there)
    pair.quirks("flip-on-copy")
    settled(Engine(pair._state / "damaged", *sides, **PARTED).run(), 0, 1)
    assert pair.source.objects(there) == {}
    pair.quirks()
    ran = Engine(pair._state / "good", *sides, **PARTED).run()
    settled(ran, 1)
    assert ran.records["large"].verified is Verified.SOURCE
    assert pair.source.get(there, "large") == body


def test_a_copy_inside_a_store_need_not_be_readable(pair: Pair) -> None:
    pair.lay("k", b"body")
    pair.quirks("", "reads-denied")
    engine = Engine(pair._state / "state", *pair.sides)

    async def verified() -> Verified:
        async with engine.opened("worker") as (route, _):
            return await compare_stated(route.dest, "k", {"sha256": "c3Vt"}, StoreWrite("etag"))

    assert asyncio.run(verified()) is Verified.NOT


@pytest.mark.parametrize("quirk", ["sig-non-ascii", "missing-meta"])
def test_properties_of_copies_inside_a_store_are_as_those_of_others(pair: Pair, quirk: str) -> None:
    pair.put({"named": b"body"})
    pair.original("named").headers["x-amz-meta-name"] = "groß.jpg".encode()
    pair.quirks(quirk)
    there = pair.source.bucket()
    ran = Engine(pair._state / "state", pair.sides[0], Side(pair.source, there)).run()
    settled(ran, 1)
    assert ran.records["named"].reason == ("MetadataUnread" if quirk == "missing-meta" else "")
    if quirk == "sig-non-ascii":
        assert pair.source.at(there, "named").headers["x-amz-meta-name"].startswith(b"=?utf-8?")


@pytest.mark.parametrize("quirk", ["flip-on-write", "flip-on-join"])
def test_the_version_before_a_damaged_copy_is_the_newest_again(pair: Pair, quirk: str) -> None:
    pair.put({"parted" if quirk == "flip-on-join" else "k": os.urandom(TWO_PARTS)})
    [key] = pair.source.keys(pair.sides[0].bucket)
    pair.dest.buckets[pair.sides[1].bucket].versioned = True
    pair.lay(key, b"an older body")
    pair.quirks("", f"no-checksums no-content-md5 {quirk}")
    settled(pair.run(**(PARTED if quirk == "flip-on-join" else {})), 0, 1)
    assert pair.there() == {key: b"an older body"}


@pytest.mark.parametrize("policy", ["size", "size+time", "etag", "checksum", "content"])
@pytest.mark.parametrize("etags", ["", "etag-opaque", "etag-random"])
def test_a_damaged_copy_that_may_not_be_removed_is_never_the_same(
    pair: Pair, policy: str, etags: str
) -> None:
    pair.put(bodies("abc"))
    quirks = f"delete-denied {etags} " + (
        "answers-crc32" if etags else "no-checksums no-content-md5"
    )
    pair.quirks("", f"{quirks} flip-on-write")
    ran = pair.run()
    settled(ran, 0, 3)
    assert pair.there() == dict.fromkeys("abc", b"")
    assert "empty objects were written over them" in ran.notes
    pair.quirks("", quirks)
    settled(pair.run(state="another", compare_policy=policy), 3)
    assert pair.there() == bodies("abc")


def test_a_damaged_version_that_may_not_be_removed_is_hidden(pair: Pair) -> None:
    pair.put(bodies("abc"))
    pair.dest.buckets[pair.sides[1].bucket].versioned = True
    pair.quirks("", "version-delete-denied no-checksums no-content-md5 flip-on-write")
    settled(pair.run(), 0, 3)
    assert pair.there() == {}


@pytest.mark.parametrize("times", [1, 100])
@pytest.mark.parametrize(
    "dest", ["flip-part", "no-checksums flip-part", "no-checksums no-content-md5 flip-part"]
)
@pytest.mark.parametrize("giant", [False, True])
def test_one_damaged_part_of_many_is_noticed(
    pair: Pair, dest: str, times: int, giant: bool
) -> None:
    body = os.urandom(3 * MIB)
    pair.put({"parted": body})
    pair.quirks("", dest, flip_part=times)
    sizes = PARTED | ({"giant_object_threshold": 2 * MIB} if giant else {})
    ran = pair.run(**sizes)
    if times == 1:
        settled(ran, 1)
        assert pair.there() == {"parted": body}
        assert ran.records["parted"].verified is (
            Verified.ETAG if "no-checksums" in dest else Verified.STORE
        )
    else:
        settled(ran, 0, 1)
        assert pair.there() == {}


@pytest.mark.parametrize("checksums", ["", "no-checksums", "no-checksums etag-opaque"])
@pytest.mark.parametrize("mode", ["crc64nvme", "md5"])
@pytest.mark.parametrize("giant", [False, True])
@pytest.mark.parametrize("before", ["fresh", "old", "marked"])
def test_an_upload_that_is_said_to_be_joined_and_is_not_starts_over(
    pair: Pair, checksums: str, mode: str, giant: bool, before: str
) -> None:
    body = os.urandom(FOUR_PARTS)
    pair.put({"k": body, "new": body})
    # The object before has the same size; with a mark, it is a copy of the source's object before.
    pair.lay("k", os.urandom(FOUR_PARTS))
    if before == "old":
        pair.at("k").modified -= 3600
    elif before == "marked":
        pair.at("k").headers["x-amz-meta-dth-source-etag"] = b"another"
    pair.quirks("", f"join-stale {checksums}", join_stale=2)
    settled(pair.run(checksum_mode=mode, **(GIANT if giant else PARTED)), 2)
    assert pair.there() == {"k": body, "new": body}


def test_an_older_object_stays_where_an_upload_is_never_joined(pair: Pair) -> None:
    pair.put({"k": os.urandom(FOUR_PARTS)})
    pair.lay("k", b"an older body")
    pair.at("k").modified -= 3600
    pair.quirks("", "join-stale")
    ran = pair.run(**PARTED)
    settled(ran, 0, 1)
    assert ran.records["k"].reason == "NotStored"
    assert pair.there() == {"k": b"an older body"}


@pytest.mark.parametrize("giant", [False, True])
def test_what_was_damaged_while_it_was_joined_is_noticed_though_the_answer_was_lost(
    pair: Pair, giant: bool
) -> None:
    body = os.urandom(FOUR_PARTS)
    pair.put({"k": body})
    pair.quirks("", "flip-on-join join-late-error", flip_on_join=1, join_late_error=1)
    settled(pair.run(**(GIANT if giant else PARTED)), 1)
    assert pair.there() == {"k": body}


def test_a_store_that_lies_is_found_out_by_reading_back(pair: Pair) -> None:
    pair.put({**SMALL, "parted": os.urandom(TWO_PARTS)})
    pair.quirks("", "lies")
    settled(pair.run(verify_after=True, **PARTED), 0, len(SMALL) + 1)
    assert pair.there() == {}
    pair.quirks()
    ran = pair.run(verify_after=True, **PARTED)
    settled(ran, len(SMALL) + 1)
    assert ran.counts.verified_content == len(SMALL) + 1


@pytest.mark.parametrize("mode", ["crc32c", "md5", "none"])
def test_parts_are_read_back_whatever_covered_them(pair: Pair, mode: str) -> None:
    body = os.urandom(TWO_PARTS)
    pair.put({"parted": body})
    pair.quirks("", "lies")
    options = {**PARTED, "verify_after": True, "checksum_mode": mode}
    settled(pair.run(**options), 0, 1)
    assert pair.there() == {}
    pair.quirks()
    ran = pair.run(**options)
    settled(ran, 1)
    assert ran.records["parted"].verified is Verified.CONTENT


# -------------------------------------------------------------------------------- who verified what


def test_each_record_says_who_verified_the_copy(pair: Pair) -> None:
    pair.put({**SMALL, "parted": os.urandom(TWO_PARTS)})
    ran = pair.run(**PARTED)
    assert {record.verified for record in ran.records.values()} == {Verified.STORE}
    assert ran.counts.verified_store == ran.counts.done == len(SMALL) + 1
    pair.quirks("", "no-checksums")
    again = pair.run(compare_policy="always", **PARTED)
    assert {record.verified for record in again.records.values()} == {Verified.ETAG}
    assert again.counts.verified_etag == again.counts.done
    assert "does not answer crc64nvme checksums; bodies go with Content-MD5 as well" in again.notes
    pair.quirks("no-checksums", "no-checksums etag-opaque")
    nobody = pair.run(compare_policy="always", **PARTED)
    assert nobody.counts.unverified == nobody.counts.done - 1 == len(SMALL)
    # Nothing covers a large object on its way from this source but its MD5, which is compared.
    assert nobody.records["parted"].verified is Verified.SOURCE
    pair.quirks("", "no-checksums etag-opaque")
    pair.put({"parted": blob(9)})
    for key in (*SMALL, "parted"):
        pair.original(key).checksums = {"crc32c": sum_of("crc32c", pair.original(key).body)}
    source = pair.run(compare_policy="always")
    assert source.counts.verified_source == source.counts.done == len(SMALL) + 1


# ----------------------------------------------------------------------------------- kinds of ETags


@pytest.mark.parametrize("checksums", ["", "no-checksums "])
@pytest.mark.parametrize(
    "kind",
    [
        "etag-upper",
        "etag-random",
        "etag-opaque",
        "etag-hmac",
        "kms",
        "weak-etags",
        "etags-quoted-twice",
    ],
)
def test_a_second_run_copies_nothing_whatever_the_etags_are(
    pair: Pair, kind: str, checksums: str
) -> None:
    pair.put({**SMALL, "parted": os.urandom(TWO_PARTS)})
    pair.quirks(checksums, checksums + kind)
    settled(pair.run(**PARTED), len(SMALL) + 1)
    assert {**pair.there(), "parted": b""} == {**SMALL, "parted": b""}
    before = pair.writes()
    again = pair.run(state="another", **PARTED)
    assert (again.counts.same, again.counts.enqueued) == (len(SMALL) + 1, 0)
    assert pair.writes() == before


@pytest.mark.parametrize("kind", ["etag-random", "etag-opaque", "kms"])
def test_the_first_object_alone_is_written_twice_to_find_out_what_etags_are(
    pair: Pair, kind: str
) -> None:
    objects = bodies(f"{n:03}" for n in range(100))
    pair.put(objects)
    pair.quirks("", kind)
    settled(pair.run(), len(objects))
    assert pair.writes() == len(objects) + 1
    # So it is where the store copies by itself.
    pair.source.quirks = dict(pair.dest.quirks)
    there = pair.source.bucket()
    settled(
        Engine(pair._state / "copies", pair.sides[0], Side(pair.source, there)).run(), len(objects)
    )
    # One more is the empty part that tells what the ETags are.
    assert pair.source.count("PUT") <= len(objects) + 2


@pytest.mark.parametrize(
    "kind", ["", "etag-random", "etag-hmac", "etag-opaque", "kms", "no-checksums etag-random"]
)
def test_copies_need_not_be_readable(pair: Pair, kind: str) -> None:
    objects = {**SMALL, "parted": os.urandom(TWO_PARTS)}
    pair.put(objects)
    pair.quirks("", f"{kind} reads-denied")
    settled(pair.run(**PARTED), len(objects))
    assert pair.there() == objects


@pytest.mark.parametrize("dest", ["etag-opaque", "kms", "no-checksums kms"])
@pytest.mark.parametrize("source", ["", "etag-upper"])
def test_the_md5_of_a_source_counts_where_the_copy_has_none(
    pair: Pair, source: str, dest: str
) -> None:
    pair.put(SMALL)
    pair.quirks(f"no-checksums flip-on-read {source}", f"no-content-md5 {dest}")
    settled(pair.run(src_type="Ceph", dest_type="MinIO"), 0, len(SMALL))
    assert pair.there() == {}


@pytest.mark.parametrize(
    "kind",
    [
        "weak-etags",
        "weak-etags-412",
        "etags-quoted-twice",
        "refuses-if-match-400",
        "refuses-if-match-501",
    ],
)
def test_odd_etags_of_a_source_do_no_harm(pair: Pair, kind: str) -> None:
    pair.put({**SMALL, "parted": os.urandom(TWO_PARTS)})
    pair.quirks(kind)
    settled(pair.run(**PARTED), len(SMALL) + 1)
    again = pair.run(state="another", **PARTED)
    assert (again.counts.same, again.counts.enqueued) == (len(SMALL) + 1, 0)


@pytest.mark.parametrize("checksums", ["", "no-checksums "])
def test_etags_of_an_encrypted_source_are_no_md5s(pair: Pair, checksums: str) -> None:
    pair.quirks(checksums + "kms", checksums)
    pair.put(SMALL)
    for key in SMALL:
        pair.original(key).etag = hashlib.md5(b"encrypted" + key.encode()).hexdigest()
    settled(pair.run(), len(SMALL))
    assert pair.there() == SMALL
    again = pair.run(state="another")
    assert (again.counts.same, again.counts.enqueued) == (len(SMALL), 0)


def test_a_source_whose_etags_are_opaque_can_be_said_to_be_so(pair: Pair) -> None:
    pair.quirks("no-checksums")
    pair.put(SMALL)
    for key in SMALL:
        pair.original(key).etag = hashlib.md5(b"something else" + key.encode()).hexdigest()
    failed = pair.run()
    settled(failed, 0, len(SMALL))
    assert "--src-etags OPAQUE" in failed.records["k00"].detail
    settled(pair.run(src_etags="OPAQUE"), len(SMALL))
    again = pair.run(state="another", src_etags="OPAQUE")
    assert (again.counts.same, again.counts.enqueued) == (len(SMALL), 0)


# ----------------------------------------------------------------------------- what a store refuses


@pytest.mark.parametrize(
    ("source", "dest"),
    [
        ("", "refuses-checksum-headers"),
        ("refuses-checksum-mode", ""),
        ("refuses-checksum-mode refuses-if-match-400", "refuses-checksum-headers no-content-md5"),
        ("", "object-lock"),
        ("", "object-lock refuses-checksum-headers"),
        ("doubled-headers", ""),
        ("v1-only", "v1-only"),
        ("no-is-truncated", "no-is-truncated"),
        ("refuses-encoding-400", "refuses-encoding-501"),
        ("refuses-encoding-501 v1-only", "refuses-encoding-400 no-token"),
    ],
)
def test_all_is_copied_where_a_store_refuses_something(pair: Pair, source: str, dest: str) -> None:
    objects = bodies(f"{n:03}" for n in range(300)) | {"parted": os.urandom(TWO_PARTS)}
    pair.put(objects)
    pair.quirks(source, dest)
    settled(pair.run(**PARTED), len(objects))
    assert pair.there() == objects


def test_what_a_bare_refusal_is_not_about_goes_on_being_sent(pair: Pair) -> None:
    pair.put(SMALL, **{"x-amz-tagging": "project=apollo"})
    pair.quirks("", "refuses-tags-400")
    ran = pair.run()
    settled(ran, len(SMALL))
    # The first one alone was tried without all that a refusal may be about.
    assert ran.counts.verified_store >= len(SMALL) - 1
    assert "takes no tags" in ran.notes
    assert "checksums" not in ran.notes
    assert ran.counts.incomplete == len(SMALL)
    assert {record.reason for record in ran.records.values()} == {"TagsRefused"}


def test_parts_above_what_memory_holds_carry_a_checksum_where_one_is_wanted(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.objects.transfer.multipart.STREAM_ABOVE", MIB)
    body = os.urandom(5 * MIB)
    pair.put({"large": body})
    pair.quirks("", "object-lock")
    ran = pair.run(multipart_threshold=MIB, part_size=2 * MIB)
    settled(ran, 1)
    assert pair.there() == {"large": body}
    parts = [r for r in pair.dest.requests if "partNumber" in r.query and r.status == 200]
    assert all(r.header("x-amz-checksum-crc64nvme") for r in parts)
    assert "wants checksums before bodies" in ran.notes


# ----------------------------------------------------------------- checksums behind streamed bodies

STREAMED = {"multipart_threshold": MIB, "part_size": 2 * MIB}


@pytest.fixture
def streaming(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """A large object at the source, whose parts are streamed to a store that knows trailers."""
    monkeypatch.setattr("dth.objects.transfer.multipart.STREAM_ABOVE", MIB)
    # The store in this process has no TLS.
    monkeypatch.setattr("dth.objects.store.endpoints.Endpoint.encrypted", True)
    pair.put(
        {"large": os.urandom(7 * MIB + 5)},
        **{"content-encoding": "gzip", "content-type": "text/plain"},
    )
    return pair


def stream(pair: Pair, **parameters: Any) -> Ran:
    return pair.run(**{"dest_type": "MinIO", **STREAMED, **parameters})


def parts_that_came(pair: Pair, status: int = 200) -> list[Any]:
    return [
        each for each in pair.dest.requests if "partNumber" in each.query and each.status == status
    ]


def arrived_whole(pair: Pair, ran: Ran) -> None:
    settled(ran, 1)
    assert pair.there() == {"large": pair.original("large").body}
    assert pair.at("large").headers["content-encoding"] == b"gzip"


@pytest.mark.parametrize("mode", ["crc64nvme", "crc32c", "crc32", "sha256"])
@pytest.mark.parametrize("quirk", ["", "object-lock", "kms", "etag-opaque"])
def test_a_streamed_part_has_its_checksum_behind_it(streaming: Pair, quirk: str, mode: str) -> None:
    streaming.quirks("", quirk)
    # Its ETag, over plain HTTP, would be a reason to read the source once more.
    ran = stream(streaming, checksum_mode=mode, src_etags="OPAQUE")
    arrived_whole(streaming, ran)
    assert ran.counts.verified_store == 1
    parts = parts_that_came(streaming)
    assert [each.header("x-amz-trailer") for each in parts] == [f"x-amz-checksum-{mode}"] * 4
    assert all(each.checksums and each.framed for each in parts)
    # Nothing was read twice.
    assert (
        sum("range" in each.headers for each in streaming.source.requests if each.method == "GET")
        == 5
    )
    assert ran.notes == ""


def test_a_giant_object_has_its_checksums_behind_its_parts(streaming: Pair) -> None:
    streaming.quirks("", "object-lock")
    arrived_whole(streaming, stream(streaming, giant_object_threshold=2 * MIB))
    assert all(each.framed for each in parts_that_came(streaming))


@pytest.mark.parametrize(
    ("kind", "encrypted", "mode"),
    [("S3_Compatible", True, "crc64nvme"), ("MinIO", False, "crc64nvme"), ("MinIO", True, "md5")],
)
def test_nothing_is_framed_where_it_may_not_be_understood(
    streaming: Pair, monkeypatch: pytest.MonkeyPatch, kind: str, encrypted: bool, mode: str
) -> None:
    monkeypatch.setattr("dth.objects.store.endpoints.Endpoint.encrypted", encrypted)
    arrived_whole(streaming, stream(streaming, dest_type=kind, checksum_mode=mode))
    assert not any("x-amz-trailer" in each.headers for each in streaming.dest.requests)


@pytest.mark.parametrize("lock", ["", " object-lock"])
@pytest.mark.parametrize(
    ("quirk", "code"),
    [
        ("refuses-trailers-400", "unconfirmed"),
        ("refuses-trailers-501", "NotImplemented"),
        ("misreads-trailers", "SignatureDoesNotMatch"),
        ("stores-framing", "unconfirmed"),
        ("stores-framing no-checksums", "unconfirmed"),
        ("stores-framing etag-opaque", "unconfirmed"),
        ("stores-framing kms no-checksums", "unconfirmed"),
        ("stores-framing answers-crc32", "unconfirmed"),
    ],
)
def test_a_store_that_knows_no_trailers_gets_none(
    streaming: Pair, quirk: str, code: str, lock: str
) -> None:
    streaming.quirks("", quirk + lock)
    ran = stream(streaming)
    arrived_whole(streaming, ran)
    assert ran.records["large"].attempts == 1
    refused = (
        "takes no checksum behind a body "
        f"({'InvalidRequest' if lock and 'framing' in quirk else code})"
    )
    assert refused in ran.notes
    if quirk != "refuses-trailers-400":
        # That refusal speaks of a wrong checksum, so those parts go again with theirs before them,
        # wanted or not.
        assert ("wants checksums before bodies" in ran.notes) == bool(lock)
    # All four parts were in progress before the first one was answered. None was sent so twice.
    assert sum("x-amz-trailer" in each.headers for each in streaming.dest.requests) <= 4


def test_what_is_learned_of_trailers_holds_for_all_parts(streaming: Pair) -> None:
    """One part at a time: only the first one is framed."""
    streaming.quirks("", "refuses-trailers-501")
    arrived_whole(streaming, stream(streaming, memory_budget=2 * MIB))
    framed = [
        "x-amz-trailer" in each.headers
        for each in streaming.dest.requests
        if "partNumber" in each.query
    ]
    assert framed == [True, False, False, False, False]


def test_a_frame_that_is_kept_in_secret_is_found_by_the_size(streaming: Pair) -> None:
    streaming.quirks("", "hides-framing")
    ran = stream(streaming)
    arrived_whole(streaming, ran)
    assert ran.records["large"].attempts == 2
    assert "takes no checksum behind a body (another size)" in ran.notes


def test_a_size_that_cannot_be_asked_for_is_no_failure(streaming: Pair) -> None:
    streaming.quirks("", "heads-denied")
    arrived_whole(streaming, stream(streaming))


def test_a_refusal_for_another_reason_teaches_nothing_of_trailers(
    streaming: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.objects.transfer.multipart.STREAM_ABOVE", MIB // 4)
    streaming.quirks("", "parts-limit")
    ran = stream(streaming, part_size=MIB // 2, multipart_threshold=MIB // 2)
    arrived_whole(streaming, ran)
    assert "behind a body" not in ran.notes


@pytest.mark.parametrize("more", ["", " etag-opaque", " no-checksums"])
@pytest.mark.parametrize("quirk", ["flip-part", "flip-parts"])
def test_a_streamed_part_that_is_damaged_in_the_store_is_noticed(
    streaming: Pair, quirk: str, more: str
) -> None:
    """Also where no part has arrived whole yet, and nobody knows that the store takes trailers."""
    streaming.quirks("", quirk + more)
    settled(stream(streaming), 0, 1)
    assert streaming.there() == {}
    streaming.quirks("", quirk + more, flip_part=1, flip_parts=1)
    arrived_whole(streaming, stream(streaming, state="later"))


def test_a_streamed_part_that_is_damaged_on_its_way_here_is_noticed(streaming: Pair) -> None:
    """By what the source states: the checksum behind the part is that of the bytes that came."""
    original = streaming.original("large")
    original.checksums = {"crc64nvme": sum_of("crc64nvme", original.body)}
    streaming.quirks("flip-on-range")
    settled(stream(streaming), 0, 1)
    assert streaming.there() == {}
    streaming.quirks("flip-on-range", flip_on_range=3)
    arrived_whole(streaming, stream(streaming, state="later"))


@pytest.mark.parametrize(
    "quirk",
    ["put-html", "put-html-etag", "put-error", "put-no-etag", "put-text", "put-cut", "put-202"],
)
def test_a_write_that_is_answered_by_something_else_has_failed(pair: Pair, quirk: str) -> None:
    pair.put(bodies("abc"))
    pair.quirks("", quirk)
    ran = pair.run()
    settled(ran, 0, 3)
    expected = "InternalError" if quirk == "put-error" else "BadAnswer"
    assert {record.reason for record in ran.records.values()} == {expected}


@pytest.mark.parametrize("quirk", ["read-html", "read-error"])
@pytest.mark.parametrize("event", [False, True])
def test_an_object_that_is_answered_by_something_else_is_not_copied(
    pair: Pair, quirk: str, event: bool
) -> None:
    pair.put(bodies("abc"))
    pair.lay("a", b"the copy before")
    pair.quirks(quirk)
    if event:
        source = pair.sides[0]
        found = [
            {
                "eventName": "s3:ObjectCreated:Put",
                "s3": {"bucket": {"name": source.bucket}, "object": {"key": key}},
            }
            for key in "abc"
        ]
        message = Outgoing("event", json.dumps({"Records": found}))
        engine = Engine(pair._state / "state", *pair.sides, src_event="Create")
        ran = engine.run(messages=[message])
        assert {record.status for record in ran.records.values()} == {Status.FAILED}
    else:
        settled(pair.run(), 0, 3)
    assert pair.there() == {"a": b"the copy before"}


def test_a_deletion_that_is_answered_by_a_web_page_has_failed(pair: Pair) -> None:
    pair.put(bodies("abc"))
    pair.lay("extra", b"x")
    pair.quirks("", "delete-html")
    ran = pair.run(delete_mode="Mirror", delete_max_percent=100)
    assert (ran.counts.deleted, ran.counts.delete_failed) == (0, 1)
    assert "extra" in pair.there()


def test_one_object_whose_signature_does_not_hold_stops_no_other(pair: Pair) -> None:
    pair.put(SMALL)
    pair.put({"named": b"body"})
    pair.original("named").headers["x-amz-meta-name"] = "groß.jpg".encode()
    pair.quirks("", "sig-non-ascii")
    ran = pair.run()
    settled(ran, len(SMALL) + 1)
    assert pair.at("named").headers["x-amz-meta-name"].startswith(b"=?utf-8?")
    assert "RFC 2047" in ran.notes


def test_an_acl_that_was_asked_for_and_is_refused_is_a_failure(pair: Pair) -> None:
    pair.put(bodies("ab"))
    pair.quirks("", "acl-refused")
    settled(pair.run(dest_acl="public-read"), 0, 2)
    pair.quirks("", "class-refused")
    settled(pair.run(dest_storage_class="STANDARD_IA"), 0, 2)


# ------------------------------------------------------------------------ bodies changed on the way


@pytest.mark.parametrize("checksums", ["", "no-checksums "])
def test_objects_are_copied_as_they_are_stored(pair: Pair, checksums: str) -> None:
    packed = {
        "page": gzip.compress(b"hello " * 2000, mtime=0),
        "tiny": gzip.compress(b"hi", mtime=0),
    }
    pair.put(packed, **{"content-encoding": "gzip", "content-type": "text/html"})
    pair.put({"plain": b"plain"})
    pair.quirks(checksums + "gunzips")
    settled(pair.run(), 3)
    assert pair.there() == {**packed, "plain": b"plain"}
    assert pair.at("page").headers["content-encoding"] == b"gzip"


@pytest.mark.parametrize("policy", ["checksum", "content"])
def test_stores_that_unpack_are_compared_too(pair: Pair, policy: str) -> None:
    packed = {f"{n}": gzip.compress(b"hello %d" % n * 200, mtime=0) for n in range(70)}
    pair.put(packed, **{"content-encoding": "gzip"})
    settled(pair.run(), len(packed))
    pair.quirks("gunzips", "gunzips")
    again = pair.run(state="another", compare_policy=policy)
    assert (again.counts.same, again.counts.enqueued) == (len(packed), 0)


def test_bodies_are_not_packed_on_the_way(pair: Pair) -> None:
    pair.put({"text": b"plain text " * 1000})
    pair.quirks("gzips")
    settled(pair.run(), 1)
    assert pair.there() == {"text": b"plain text " * 1000}
    assert "content-encoding" not in pair.at("text").headers


# ------------------------------------------------------------------------------ waiting and failing


@pytest.mark.parametrize("quirk", ["always-503", "always-429", "always-500", "retry-after"])
@pytest.mark.parametrize("side", ["source", "dest"])
def test_one_object_that_alone_is_refused_fails_with_its_reason(
    pair: Pair, quirk: str, side: str
) -> None:
    pair.put({**bodies("abcde"), "bad": b"y"})
    pair.quirks(**{side: quirk})
    ran = pair.run()
    settled(ran, 5, 1)
    record = ran.records["bad"]
    assert record.status is Status.FAILED
    assert record.reason in ("SlowDown", "HTTP429", "InternalError", "ServiceUnavailable")


def test_a_giant_object_that_is_never_joined_fails(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.objects.transfer.failures.LONGEST_FAILING", 1.0)
    pair.put(SMALL)
    pair.put({"giant": os.urandom(FOUR_PARTS)})
    pair.quirks("", "join-503")
    ran = pair.run(**GIANT)
    settled(ran, len(SMALL), 1)
    assert ran.records["giant"].reason == "SlowDown"


@pytest.mark.parametrize("side", ["source", "dest"])
def test_a_prefix_that_alone_is_refused_fails(
    pair: Pair, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # That a lower rate is in vain shows after some requests, which take a minute at the lowest.
    monkeypatch.setattr("dth.objects.store.rate.LEAST", 10.0)
    good, bad = (bodies(f"{name}/{n}" for n in range(100)) for name in ("good", "bad"))
    pair.put(good | bad)
    pair.quirks(**{side: "always-503"})
    ran = pair.run()
    settled(ran, len(good), len(bad))
    assert pair.there() == good


@pytest.mark.parametrize("quirk", ["bad-kms", "bad-401", "bad-302", "bad-signature"])
@pytest.mark.parametrize("side", ["source", "dest"])
@pytest.mark.parametrize("size", [10, TWO_PARTS, FOUR_PARTS])
def test_what_is_refused_for_one_object_alone_pauses_nothing(
    pair: Pair, quirk: str, side: str, size: int
) -> None:
    pair.put({**SMALL, "bad": os.urandom(size)})
    pair.quirks(**{side: quirk})
    ran = pair.run(**GIANT)
    if quirk == "bad-kms" and side == "dest":
        # It is of reads alone.
        settled(ran, len(SMALL) + 1)
    else:
        settled(ran, len(SMALL), 1)


@pytest.mark.parametrize("quirk", ["always-503", "always-429", "always-500", "bad-kms", "bad-401"])
@pytest.mark.parametrize("side", ["source", "dest"])
@pytest.mark.parametrize("policy", ["etag", "checksum", "content"])
def test_one_object_that_cannot_be_compared_ends_no_run(
    pair: Pair, quirk: str, side: str, policy: str
) -> None:
    pair.put({**SMALL, "bad": b"x"})
    # So that the destination is asked about each object.
    pair.quirks("", "etag-random")
    settled(pair.run(), len(SMALL) + 1)
    pair.quirks(**{side: quirk})
    ran = pair.run(state="another", compare_policy=policy)
    asked = side == "dest" or policy != "etag"
    assert (ran.run.state, ran.counts.same, ran.counts.failed) == (
        RunState.DONE,
        len(SMALL) + (not asked),
        int(asked),
    ), ran


def test_what_is_listed_and_cannot_be_read_is_a_failure(pair: Pair) -> None:
    pair.put({**SMALL, "ghost1": b"boo", "ghost2": b"boo2"})
    pair.quirks("ghost")
    for state in ("one", "two"):
        ran = pair.run(state=state)
        assert (ran.counts.failed, ran.counts.cancelled) == (2, 0)
        assert ran.records["ghost1"].reason == "Unreadable"
    assert pair.there() == SMALL


def test_what_a_manifest_names_and_cannot_be_read_is_a_failure(pair: Pair, tmp_path: Path) -> None:
    pair.put({"ghost": b"boo", "k": b"x"})
    manifest = tmp_path / "manifest.txt"
    manifest.write_text("ghost\nk\nnever\n")
    pair.quirks("ghost")
    ran = pair.run(src_manifest=str(manifest))
    assert {key: record.reason for key, record in ran.records.items()} == {
        "ghost": "Unreadable",
        "k": "",
        "never": "NotFound",
    }
    assert (ran.counts.failed, ran.counts.cancelled) == (1, 1)


@pytest.mark.parametrize("policy", ["checksum", "content"])
def test_what_cannot_be_read_to_be_compared_is_not_missing(pair: Pair, policy: str) -> None:
    pair.put({"ghost": b"boo", "k": b"x"})
    settled(pair.run(), 2)
    pair.quirks("ghost")
    ran = pair.run(state="another", compare_policy=policy)
    assert (ran.counts.same, ran.records["ghost"].reason) == (1, "Unreadable")


def test_a_copy_is_kept_while_the_source_lists_its_object(pair: Pair) -> None:
    pair.put({"ghost": b"boo"})
    pair.lay("ghost", b"boo")
    pair.quirks("ghost")
    source = pair.sides[0]
    removed = {
        "eventName": "s3:ObjectRemoved:Delete",
        "s3": {"bucket": {"name": source.bucket}, "object": {"key": "ghost", "sequencer": "0A"}},
    }
    message = Outgoing("event", json.dumps({"Records": [removed]}))
    engine = Engine(
        pair._state / "state", *pair.sides, src_event="CreateAndDelete", compare_policy="size"
    )
    ran = engine.run(messages=[message])
    assert (ran.records["ghost"].status, ran.records["ghost"].reason) == (
        Status.FAILED,
        "Unreadable",
    )
    assert pair.there() == {"ghost": b"boo"}


# --------------------------------------------------------------------------------------- properties


@pytest.mark.parametrize("quirk", ["tags-uncounted", "tags-404"])
def test_tags_are_copied_where_none_are_counted(pair: Pair, quirk: str) -> None:
    pair.put(bodies(f"plain{n}" for n in range(5)))
    pair.put({"tagged": b"x"}, **{"x-amz-tagging": "project=apollo&owner=me"})
    pair.quirks(quirk)
    settled(pair.run(), 6)
    assert pair.at("tagged").tags == "project=apollo&owner=me"


@pytest.mark.parametrize(
    "quirk", ["tags-denied", "tags-500", "tags-401", "tags-no-key", "tags-html", "tags-error"]
)
@pytest.mark.parametrize("kind", ["", "MinIO"])
def test_tags_that_cannot_be_read_are_counted_as_lacking(pair: Pair, kind: str, quirk: str) -> None:
    tagged = bodies(f"{n:03}" for n in range(150))
    pair.put(tagged, **{"x-amz-tagging": "project=apollo"})
    pair.quirks(quirk)
    ran = pair.run(**({"src_type": kind} if kind else {}))
    settled(ran, len(tagged))
    assert ran.counts.incomplete == len(tagged)
    assert {record.reason for record in ran.records.values()} == {"TagsUnread"}
    assert "tags of the source cannot be read" in ran.notes


def test_a_request_for_tags_does_not_wait_for_its_turn_among_large_bodies(pair: Pair) -> None:
    pair.put({"k": b"x"}, **{"x-amz-tagging": "a=b"})
    engine = Engine(pair._state / "state", *pair.sides, max_bytes_per_second=600 * 1024)

    async def tags() -> str:
        async with engine.opened("worker") as (route, platform):
            await platform.limits.set_rates(shared_rates(route.parameters))
            cap = route.source.caps[-1]
            cap.adopt(600 * 1024)
            async with cap.paced(10 * MIB, received=True):
                return await asyncio.wait_for(route.source.tags("k"), SECONDS)

    assert asyncio.run(tags()) == "a=b"


def test_tags_of_which_some_are_not_told_are_counted_as_lacking(pair: Pair) -> None:
    pair.put(bodies("ab"), **{"x-amz-tagging": "project=apollo&owner=a%3Db"})
    pair.quirks("tags-partly")
    ran = pair.run()
    settled(ran, 2)
    assert {record.reason for record in ran.records.values()} == {"TagsUnread"}
    assert pair.at("a").tags == "project=apollo"
    pair.quirks()
    assert pair.run(compare_policy="always").counts.incomplete == 0


@pytest.mark.parametrize("quirk", ["missing-meta", "tags-denied"])
def test_what_giant_objects_lack_is_counted_whoever_completes_them(pair: Pair, quirk: str) -> None:
    giants = {f"giant{n}": os.urandom(FOUR_PARTS) for n in range(6)}
    pair.put(giants, **{"x-amz-tagging": "project=apollo"})
    pair.quirks(quirk)
    ran = Engine(pair._state / "state", *pair.sides, **GIANT).run(workers=3)
    settled(ran, len(giants))
    assert ran.counts.incomplete == len(giants)


def test_the_command_counts_what_copies_lack(pair: Pair, tmp_path: Path) -> None:
    pair.put(bodies("ab"))
    pair.quirks("missing-meta no-checksums", "no-checksums etag-opaque")
    dth = Dth(tmp_path / "home")
    dth.home.mkdir()
    found = dth.sync(*pair.sides)
    assert (found["transferred"], found["incomplete"]) == (2, 2)
    assert found["verified"] == {"store": 0, "etag": 0, "source": 0, "content": 0, "none": 2}


def test_a_note_says_that_not_every_object_was_asked_for_its_tags(pair: Pair) -> None:
    pair.put(bodies(f"{n:03}" for n in range(150)))
    pair.quirks("tags-uncounted")
    ran = pair.run()
    settled(ran, 150)
    assert "the first 100 objects have none; the others are not asked for theirs" in ran.notes


def test_metadata_that_cannot_be_stated_is_counted_as_lacking(pair: Pair) -> None:
    pair.put(bodies("ab"))
    pair.quirks("missing-meta")
    ran = pair.run()
    settled(ran, 2)
    assert ran.counts.incomplete == 2
    assert ran.records["a"].reason == "MetadataUnread"


def test_headers_that_come_twice_are_kept_whole(pair: Pair) -> None:
    pair.put({"k": b"x"}, **{"x-amz-meta-a": "one"})
    pair.quirks("doubled-headers")
    settled(pair.run(), 1)
    assert pair.at("k").headers["x-amz-meta-a"] == b"one"


# ----------------------------------------------------------------------------------------- the rest


@pytest.mark.parametrize("quirk", ["region", "region-in-text", "region-location"])
def test_the_store_tells_the_region(pair: Pair, tmp_path: Path, quirk: str) -> None:
    pair.put(bodies("ab"))
    pair.quirks(quirk, quirk)
    dth = Dth(tmp_path / "home")
    dth.home.mkdir()
    found = dth.sync(*pair.sides)
    assert found["transferred"] == 2
    assert any("region garage" in note for note in found["notes"])


def test_the_region_is_followed_with_parts_that_are_streamed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.objects.transfer.multipart.STREAM_ABOVE", MIB)
    giants = {f"giant{n}": os.urandom(7 * MIB) for n in range(3)}
    pair.put(giants)
    for store in (pair.source, pair.dest):
        store.region = "garage"
    pair.quirks("region", "region")
    sizes = {"multipart_threshold": MIB, "part_size": 2 * MIB, "giant_object_threshold": 3 * MIB}
    # The first request of one of them is a part.
    settled(Engine(pair._state / "state", *pair.sides, **sizes).run(workers=3), len(giants))
    assert pair.there() == giants


def test_the_region_is_followed_where_a_head_asks_first(pair: Pair) -> None:
    pair.put({"k": b"body"})
    pair.source.region = "garage"
    pair.quirks("region")
    engine = Engine(pair._state / "state", *pair.sides)

    async def size() -> str:
        async with engine.opened("worker") as (route, _):
            return (await route.source.head("k")).headers["content-length"]

    assert asyncio.run(size()) == "4"


@pytest.mark.parametrize("sides", ["src", "dest", "both"])
def test_customer_keys_are_used_on_their_side(pair: Pair, sides: str) -> None:
    keys = {"src": os.urandom(32), "dest": os.urandom(32)}
    objects = {**SMALL, "parted": os.urandom(TWO_PARTS)}
    pair.put(objects)
    if sides != "dest":
        for key in objects:
            pair.original(key).customer = _md5(keys["src"])
            pair.original(key).etag = os.urandom(16).hex()
    used = {side: key for side, key in keys.items() if sides in (side, "both")}
    named = {f"{side}_sse_customer_key": f"key-{side}" for side in used}
    engine = Engine(pair._state / "state", *pair.sides, **named, **PARTED)
    engine.keyring.secrets |= {
        f"key-{side}": {"sse_customer_key": base64.b64encode(key).decode()}
        for side, key in used.items()
    }
    settled(engine.run(), len(objects))
    assert pair.there() == objects
    assert {pair.at(key).customer for key in objects} == {
        _md5(keys["dest"]) if sides != "src" else ""
    }
    again = Engine(pair._state / "another", *pair.sides, **named, **PARTED)
    again.keyring = engine.keyring
    assert again.run().counts.same == len(objects)


def _md5(key: bytes) -> str:
    return base64.b64encode(hashlib.md5(key).digest()).decode()


def test_requests_go_to_all_endpoints_and_around_dead_ones(pair: Pair, tmp_path: Path) -> None:
    objects = bodies(f"{n:03}" for n in range(200))
    pair.put(objects)
    twin = OddStore()
    try:
        twin.buckets = pair.dest.buckets
        with listening_socket() as closed:
            dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
        dth = Dth(tmp_path / "home")
        dth.home.mkdir()
        more = [each for url in (dead, twin.url) for each in ("--dst-endpoint-url", url)]
        found = dth.sync(*pair.sides, *more)
        assert (found["transferred"], found["failed"]) == (200, 0)
        assert pair.there() == objects
        written = [sum(r.method == "PUT" for r in store.requests) for store in (pair.dest, twin)]
        assert sum(written) == 200
        assert min(written) > 40
    finally:
        twin.close()


def test_a_store_with_few_parts_gets_larger_ones(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.put({"large": blob(15 * MIB)})
    pair.quirks("", "parts-limit")
    ran = pair.run(multipart_threshold=MIB, part_size=MIB)
    settled(ran, 1)
    assert pair.there() == {"large": blob(15 * MIB)}


@pytest.mark.parametrize("quirk", ["repeats-markers", "endless-markers"])
def test_an_upload_is_looked_for_in_a_listing_without_end(pair: Pair, quirk: str) -> None:
    pair.quirks("", quirk)
    engine = Engine(pair._state / "state", *pair.sides)

    async def uploads() -> list[object]:
        async with engine.opened("worker") as (route, _):
            return [*await route.dest.uploads("large")]

    assert asyncio.run(uploads()) == []


def test_a_deletion_event_that_is_refused_ends_as_a_failure(pair: Pair) -> None:
    pair.put({"new": b"x"})
    pair.lay("locked", b"y")
    pair.quirks("", "delete-denied")
    source, _ = pair.sides

    def record(name: str, key: str) -> dict[str, Any]:
        return {
            "eventName": f"s3:{name}",
            "s3": {"bucket": {"name": source.bucket}, "object": {"key": key, "sequencer": "0A"}},
        }

    records = [record("ObjectRemoved:Delete", "locked"), record("ObjectCreated:Put", "new")]
    message = Outgoing("event", json.dumps({"Records": records}))
    engine = Engine(
        pair._state / "state", *pair.sides, src_event="CreateAndDelete", compare_policy="size"
    )
    ran = engine.run(messages=[message])
    assert pair.there() == {"new": b"x", "locked": b"y"}
    assert (ran.records["locked"].status, ran.records["locked"].reason) == (
        Status.FAILED,
        "AccessDenied",
    )
    refusals = [r for r in pair.dest.requests if r.method == "DELETE"]
    assert len(refusals) == 1


@pytest.mark.parametrize(
    "name",
    [
        "x-amz-checksum-sha256",
        "x-amz-checksum-sha1",
        "x-amz-checksum-crc32c",
        "x-goog-hash",
        "content-md5",
    ],
)
def test_whatever_the_source_states_is_held_against_the_bytes(name: str) -> None:
    body = b"some body"
    algorithm = {"x-goog-hash": "md5", "content-md5": "md5"}.get(
        name, name.removeprefix("x-amz-checksum-")
    )
    right, wrong = checksum(algorithm, [body]), checksum(algorithm, [b"another"])
    form = "md5={}" if name == "x-goog-hash" else "{}"
    endpoint = resolve_endpoint(url="http://127.0.0.1:1")
    source = S3Client(None, endpoint, "b", FixedCredentials(None))  # type: ignore[arg-type]
    stated = {name: form.format(right)}
    assert check_source(source, "k", stated, "x-2", [body], thorough=False).agreed
    with pytest.raises(Corrupted, match=f"the source states {algorithm} "):
        check_source(source, "k", {name: form.format(wrong)}, "x-2", [body], thorough=False)


# ------------------------------------------------------------------------- ETags that say nothing

HOLLOW = ["0" * 32 + "-1", "0" * 32, "d41d8cd98f00b204e9800998ecf8427e-2"]


@pytest.mark.parametrize("etag", HOLLOW)
@pytest.mark.parametrize("policy", ["etag", "checksum"])
def test_an_etag_that_others_have_too_proves_nothing(pair: Pair, policy: str, etag: str) -> None:
    pair.put({"k": b"a newer body"})
    pair.lay("k", b"an old body.")
    pair.original("k").etag = pair.at("k").etag = etag
    pair.at("k").modified -= 100
    settled(pair.run(compare_policy=policy), 1)
    assert pair.there() == {"k": b"a newer body"}
    # Nor does a record or a mark with such an ETag.
    pair.put({"k": b"even newer.."})
    pair.original("k").etag, pair.original("k").modified = etag, time.time() + 100
    settled(pair.run(compare_policy=policy), 1)
    assert pair.there() == {"k": b"even newer.."}
    # By time it is the same, which is no proof.
    pair.original("k").modified -= 1000
    ran = pair.run(compare_policy=policy)
    assert (ran.counts.same, ran.counts.unproven) == (1, 1)


@pytest.mark.parametrize("sizes", [PARTED, GIANT])
@pytest.mark.parametrize("quirk", ["range-of-unknown", "range-spelled"])
def test_ranges_may_be_named_in_other_ways(pair: Pair, quirk: str, sizes: dict[str, int]) -> None:
    objects = {"k": os.urandom(FOUR_PARTS)}
    pair.put(objects)
    pair.quirks(quirk, "")
    settled(pair.run(**sizes), 1)
    assert pair.there() == objects


@pytest.mark.parametrize("sizes", [PARTED, GIANT])
def test_an_object_that_is_replaced_under_an_etag_that_says_nothing_is_not_mixed(
    pair: Pair, sizes: dict[str, int]
) -> None:
    old, new = b"a" * FOUR_PARTS, b"b" * FOUR_PARTS
    pair.put({"k": old})
    pair.original("k").etag, pair.original("k").modified = HOLLOW[0], time.time() - 100
    answer, reads = pair.source.answer, itertools.count()

    def replacing(request: Any) -> Any:
        if request.method == "GET" and request.key and next(reads) == 3:
            stored = pair.original("k")
            stored.body, stored.modified = new, time.time()
            # The next try begins in another second: one more than the second to which the store's
            # clock is known.
            time.sleep(2.1)
        return answer(request)

    pair.source.answer = replacing  # type: ignore[method-assign]
    settled(pair.run(**sizes), 1)
    assert pair.there()["k"] == new


@pytest.mark.parametrize("checksums", ["", "no-checksums"])
@pytest.mark.parametrize("quirk", ["join-hollow", "join-random"])
def test_etags_of_joined_objects_may_be_made_in_another_way(
    pair: Pair, quirk: str, checksums: str
) -> None:
    objects = {"one": os.urandom(TWO_PARTS), "other": os.urandom(TWO_PARTS)}
    pair.put(objects)
    pair.quirks("", f"{quirk} {checksums}")
    ran = pair.run(**PARTED)
    settled(ran, 2)
    assert pair.there() == objects
    assert "makes the ETags of joined objects in its own way" in ran.notes
    assert all(record.verified is not Verified.NOT for record in ran.records.values())
    pair.put({"one": os.urandom(TWO_PARTS)})
    settled(pair.run(**PARTED), 1)
    assert pair.there() == {**objects, "one": pair.source.get(pair.sides[0].bucket, "one")}


@pytest.mark.parametrize("sizes", [PARTED, GIANT])
def test_an_etag_that_contradicts_what_the_checksums_say_is_looked_into(
    pair: Pair, sizes: dict[str, int]
) -> None:
    """A store may make the checksum of the whole from those of the parts."""
    pair.put({"k": os.urandom(FOUR_PARTS)})
    pair.quirks("", "flip-on-join")
    settled(pair.run(**sizes), 0, 1)
    assert pair.there() == {}
    pair.quirks("", "flip-on-join", flip_on_join=1)
    settled(pair.run(**sizes), 1)
    assert pair.there() == {"k": pair.source.get(pair.sides[0].bucket, "k")}


# ----------------------------------------------------------------------------- prefixes and records


@pytest.mark.parametrize("sides", ["source", "dest", "source dest"])
def test_only_what_begins_with_the_prefix_counts(pair: Pair, sides: str) -> None:
    pair.put({"photos/a": b"A", "photos/c": b"C", "videos/b": b"B"})
    pair.lay("archiv/a", b"A")
    pair.lay("backup/x", b"X")
    pair.quirks(*("ignores-prefix" if side in sides else "" for side in ("source", "dest")))
    ran = pair.run(
        src_prefix="photos/", dest_prefix="backup/", delete_mode="Mirror", delete_max_percent=100
    )
    settled(ran, 2)
    assert pair.there() == {"archiv/a": b"A", "backup/a": b"A", "backup/c": b"C"}
    assert ran.counts.deleted == 1
    assert "outside of the requested prefix" in ran.notes


@pytest.mark.parametrize("policy", ["etag", "checksum"])
def test_what_is_known_of_a_copy_stays_known(pair: Pair, policy: str) -> None:
    pair.put({"k": b"small", "two": os.urandom(TWO_PARTS)}, **{"x-amz-tagging": "a=b"})
    pair.quirks("", "refuses-tags-400")
    first = pair.run(compare_policy=policy, **PARTED).records
    assert {record.reason for record in first.values()} == {"TagsRefused"}
    assert all(record.verified is not Verified.NOT for record in first.values())
    assert first["two"].proof
    for state in ("etag", policy):
        ran = pair.run(compare_policy=state, **PARTED)
        assert ran.counts.same == 2
        assert ran.records == first


def test_aws_chunked_is_no_encoding_however_it_is_written(pair: Pair) -> None:
    pair.put({"k": b"body"}, **{"content-encoding": "AWS-Chunked, gzip"})
    settled(pair.run(), 1)
    assert pair.at("k").headers["content-encoding"] == b"gzip"


# ------------------------------------------------------------------------------ one object alone


@pytest.mark.parametrize("checksums", ["", "no-checksums"])
@pytest.mark.parametrize("quirk", ["join-stale", "flip-on-join", "join-short"])
def test_a_file_of_parts_is_not_there_because_a_store_says_so(
    pair: Pair, tmp_path: Path, quirk: str, checksums: str
) -> None:
    [_, there] = pair.sides
    path = tmp_path / "file"
    path.write_bytes(os.urandom(6 * MIB))
    pair.lay("k", b"an older body")
    pair.at("k").modified -= 100
    command = ["s3", "cp", path, f"{there.url}/k", "--dst-endpoint-url", there.server.url]
    command += ["--multipart-threshold", "5M", "--part-size", "5M"]
    pair.quirks("", f"{quirk} {checksums}")
    done = Dth(tmp_path / "home").here(*command)
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1
    assert pair.there() == ({"k": b"an older body"} if quirk == "join-stale" else {})
    pair.quirks("", checksums)
    assert Dth(tmp_path / "home").here(*command).code == 0
    assert pair.there() == {"k": path.read_bytes()}
    # Stores whose ETags are made in another way take it as well.
    for other in ("join-hollow", "etag-random", "etag-opaque", "kms"):
        pair.quirks("", f"{other} {checksums}")
        assert Dth(tmp_path / other).here(*command).code == 0


def test_a_file_that_changes_while_it_is_read_is_no_object(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [_, there] = pair.sides
    path = tmp_path / "file"
    path.write_bytes(b"old" * 1000)
    read = os.read

    def changing(file: int, length: int) -> bytes:
        data = read(file, length)
        if len(data) == 3000:
            path.write_bytes(b"new" * 1000)
        return data

    monkeypatch.setattr("dth.cli.s3_cp.os.read", changing)
    done = Dth(tmp_path / "home").here(
        *("s3", "cp", path, f"{there.url}/k", "--dst-endpoint-url", there.server.url)
    )
    assert (done.code, done.out) == (1, "")
    assert "has changed while it was read" in done.err
    assert pair.there() == {}
