"""What is different, and why: the decision table, and the merge against a naive one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dth.core.ports.records import Record
from dth.core.ports.status import Status
from dth.objects.compare.merge import (
    Evidence,
    ObjectsPlace,
    Policy,
    Rules,
    Verdict,
    compare,
    decide,
    decide_with_evidence,
    evidence,
    overlaps,
    unholdable,
    why_unjudged,
)
from dth.objects.listing.pages import ONGOING, KeyMap, ListedObject

MD5 = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"
OLD, NEW = "2024-01-01T00:00:00", "2024-06-01T00:00:00"


def obj(
    etag: str = MD5, size: int = 3, modified: str = OLD, storage_class: str = "", restore: str = ""
) -> ListedObject:
    return ListedObject("k", size, etag, modified, storage_class, restore)


def record(etag: str, dest_etag: str, status: Status = Status.DONE) -> Record:
    return Record("k", status, 1, etag=etag, dest_etag=dest_etag)


# ---------------------------------------------------------------------------------- by the listings


@pytest.mark.parametrize(
    ("policy", "dest", "verdict"),
    [
        (Policy.ETAG, None, Verdict.MISSING),
        (Policy.ETAG, obj(), Verdict.SAME),
        (Policy.ETAG, obj(size=4), Verdict.SIZE),
        (Policy.ETAG, obj(etag=OTHER), Verdict.DOUBT),
        (Policy.ETAG, obj(etag=""), Verdict.DOUBT),
        (Policy.SIZE, obj(etag=OTHER), Verdict.SAME),
        (Policy.SIZE, obj(size=4), Verdict.SIZE),
        (Policy.SIZE_TIME, obj(etag=OTHER, modified=NEW), Verdict.SAME),
        (Policy.SIZE_TIME, obj(etag=OTHER), Verdict.SAME),
        (Policy.SIZE_TIME, obj(modified="2023-12-31T23:59:59"), Verdict.TIME),
        (Policy.CHECKSUM, obj(), Verdict.DOUBT),
        (Policy.CHECKSUM, obj(size=4), Verdict.SIZE),
        (Policy.CONTENT, obj(), Verdict.DOUBT),
        (Policy.CONTENT, obj(size=4), Verdict.SIZE),
        (Policy.CONTENT, None, Verdict.MISSING),
        (Policy.ALWAYS, obj(), Verdict.ALWAYS),
        (Policy.ALWAYS, None, Verdict.ALWAYS),
    ],
)
def test_what_the_listings_tell(
    policy: Policy, dest: ListedObject | None, verdict: Verdict
) -> None:
    assert decide(policy, obj(), dest) is verdict


def test_two_empty_etags_prove_nothing() -> None:
    assert decide(Policy.ETAG, obj(etag=""), obj(etag="")) is Verdict.DOUBT


def test_fault_02_equal_size_is_not_equal_content() -> None:
    verdict = decide(Policy.ETAG, obj(etag=MD5), obj(etag=OTHER))
    assert verdict is Verdict.DOUBT
    final = decide_with_evidence(Policy.ETAG, obj(etag=MD5), obj(etag=OTHER), None, Evidence())
    assert final is Verdict.ETAG
    assert final.transfers


def test_fault_09_an_archived_destination_exists_and_a_restored_source_is_read() -> None:
    stored = obj(storage_class="DEEP_ARCHIVE")
    assert decide(Policy.ETAG, obj(), stored) is Verdict.SAME
    assert decide(Policy.ETAG, stored, None) is Verdict.ARCHIVED
    assert decide(Policy.ETAG, stored._replace(restore=ONGOING), None) is Verdict.ARCHIVED
    assert decide(Policy.ETAG, stored._replace(restore=NEW), None) is Verdict.MISSING
    assert decide(Policy.ETAG, obj(storage_class="GLACIER_IR"), None) is Verdict.MISSING
    assert decide(Policy.ETAG, stored, obj()) is Verdict.SAME
    assert (
        decide_with_evidence(Policy.ETAG, stored, obj(OTHER), None, Evidence()) is Verdict.ARCHIVED
    )


# -------------------------------------------------------------------------------------- by evidence


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        (None, Verdict.DOUBT),
        (record(MD5, "ours-2"), Verdict.SAME),
        (
            record(OTHER, "ours-2"),
            Verdict.ETAG,
        ),  # the source changed since we wrote what lies there
        (record(MD5, "theirs"), Verdict.DOUBT),  # somebody else wrote what lies there
        (record(MD5, "ours-2", Status.PENDING), Verdict.DOUBT),
        (record(MD5, ""), Verdict.DOUBT),
        (record("", "ours-2"), Verdict.DOUBT),
    ],
)
def test_what_the_record_tells(known: Record | None, verdict: Verdict) -> None:
    assert decide_with_evidence(Policy.ETAG, obj(), obj("ours-2"), known) is verdict


@pytest.mark.parametrize(
    ("dest", "head", "verdict"),
    [
        (obj(OTHER), Evidence(source_etag=MD5), Verdict.SAME),
        (obj(OTHER), Evidence(source_etag="another"), Verdict.ETAG),
        (obj(OTHER), Evidence(), Verdict.ETAG),
        (obj(OTHER, modified=NEW), Evidence(encrypted=True), Verdict.UNPROVEN),
        (obj("abc-2", modified=NEW), Evidence(), Verdict.UNPROVEN),
        (obj("abc-2", modified="2023-01-01T00:00:00"), Evidence(), Verdict.TIME),
    ],
)
def test_what_a_head_tells(dest: ListedObject, head: Evidence, verdict: Verdict) -> None:
    assert decide_with_evidence(Policy.ETAG, obj(), dest, None, head) is verdict


def sums(**values: str) -> Evidence:
    return Evidence(checksums=values)


@pytest.mark.parametrize(
    ("source", "dest", "etag", "verdict"),
    [
        (sums(crc32="a", sha256="b"), sums(sha256="b"), OTHER, Verdict.SAME),
        (sums(sha256="b"), sums(sha256="c"), MD5, Verdict.CHECKSUM),
        (Evidence(parted={"crc32": "a-2"}), Evidence(parted={"crc32": "a-2"}), OTHER, Verdict.SAME),
        (Evidence(parted={"crc32": "a-2"}), Evidence(parted={"crc32": "b-3"}), OTHER, Verdict.ETAG),
        (sums(crc32="a"), sums(sha256="b"), MD5, Verdict.SAME),
        (sums(crc32="a"), Evidence(source_etag=MD5), OTHER, Verdict.UNPROVEN),
        (Evidence(encrypted=True), Evidence(), OTHER, Verdict.UNPROVEN),
        (Evidence(), Evidence(encrypted=True), OTHER, Verdict.UNPROVEN),
    ],
)
def test_checksums(source: Evidence, dest: Evidence, etag: str, verdict: Verdict) -> None:
    here, there = obj(), obj(etag)
    assert decide_with_evidence(Policy.CHECKSUM, here, there, None, dest, source) is verdict
    assert decide_with_evidence(Policy.CHECKSUM, here, there, record(MD5, etag)) is Verdict.DOUBT


def test_evidence_is_read_from_the_headers_of_a_head() -> None:
    assert evidence({"x-amz-meta-dth-source-etag": "abc-2"}) == Evidence(source_etag="abc-2")
    assert evidence({"x-amz-server-side-encryption": "AES256"}) == Evidence()
    assert evidence({"x-amz-server-side-encryption": "aws:kms:dsse"}).encrypted
    assert evidence({"x-amz-server-side-encryption-customer-algorithm": "AES256"}).encrypted
    whole = {"x-amz-checksum-crc64nvme": "a=", "x-amz-checksum-type": "FULL_OBJECT"}
    assert evidence(whole).checksums == {"crc64nvme": "a="}
    parts = {"x-amz-checksum-crc32": "a=-3", "x-amz-checksum-type": "COMPOSITE"}
    assert (evidence(parts).checksums, evidence(parts).parted) == ({}, {"crc32": "a=-3"})


# ------------------------------------------------------------------------------------- many of them

KEYS = st.text("abc/é", min_size=1, max_size=3)
OBJECTS = st.dictionaries(
    KEYS, st.tuples(st.integers(0, 2), st.sampled_from([MD5, OTHER, ""])), max_size=12
)


@settings(deadline=None)
@given(OBJECTS, OBJECTS, st.sampled_from(Policy), st.booleans())
def test_the_merge_equals_a_naive_one(
    here: dict[str, tuple[int, str]],
    there: dict[str, tuple[int, str]],
    policy: Policy,
    filtering: bool,
) -> None:
    source = {k: ListedObject(k, size, etag) for k, (size, etag) in here.items()}
    dest = {k: ListedObject(k, size, etag) for k, (size, etag) in there.items()}
    keep = (lambda e: "a" not in e.key) if filtering else None
    batch = compare(Rules(policy, KeyMap("", "to/"), keep), list(source.values()), dest.values())

    kept = {k: e for k, e in source.items() if keep is None or keep(e)}
    verdicts = {k: decide(policy, e, dest.get(k)) for k, e in kept.items()}
    assert {p.source.key: p.verdict for p in batch.transfer} == {
        k: v for k, v in verdicts.items() if v.transfers
    }
    assert all(p.dest == dest.get(p.source.key) for p in batch.transfer)
    assert {p.source.key for p in batch.doubtful} == {
        k for k, v in verdicts.items() if v is Verdict.DOUBT
    }
    assert {entry.key for entry in batch.extra} == {
        "to/" + k for k in dest.keys() - source.keys() if keep is None or "a" not in k
    }
    counts = batch.counts
    assert counts.filtered == len(source) - len(kept)
    assert counts.same == list(verdicts.values()).count(Verdict.SAME)
    assert (counts.listed, counts.dest_listed, counts.extra) == (
        len(source),
        len(dest),
        len(batch.extra),
    )
    left = len(batch.transfer) + len(batch.doubtful) + len(batch.bare) + len(batch.refused)
    assert counts.listed == counts.filtered + counts.same + counts.archived + left


def test_the_ledger_counts_archived_objects() -> None:
    stored = [ListedObject("a", 1, "x", "", "GLACIER"), ListedObject("b", 1, "y", "", "GLACIER")]
    batch = compare(Rules(), stored, [stored[0]])
    assert (batch.counts.same, batch.counts.archived, batch.archived) == (1, 1, stored[1:])


def test_objects_of_which_only_the_key_is_known_are_set_apart() -> None:
    bare = ListedObject("a", -1)
    batch = compare(Rules(keep=lambda e: e.size > 5), [bare], [ListedObject("a", 1, "x")])
    assert [(p.source, p.dest) for p in batch.bare] == [(bare, ListedObject("a", 1, "x"))]
    assert (batch.counts.filtered, batch.counts.extra) == (0, 0)


def test_keys_too_long_for_the_destination_are_refused_and_not_truncated() -> None:
    rules = Rules(rename=KeyMap("", "p" * 1000 + "/"))
    batch = compare(rules, [ListedObject("é" * 12, 1, "x"), ListedObject("e" * 23, 1, "x")], [])
    assert [p.source.key for p in batch.transfer] == ["e" * 23]
    [refusal] = batch.refused
    assert refusal.source.key == "é" * 12
    assert refusal.detail.endswith("has 1025 bytes under the destination prefix; 1024 is the most")


def test_the_marker_of_the_source_folder_itself_has_no_place() -> None:
    rules = Rules(rename=KeyMap("data/", ""))
    batch = compare(rules, [ListedObject("data/", 0, "x"), ListedObject("data/sub/", 0, "x")], [])
    assert [p.source.key for p in batch.transfer] == ["data/sub/"]
    assert batch.counts.filtered == 1
    full = compare(rules, [ListedObject("data/", 7, "x")], [])
    assert "no name left" in full.refused[0].detail


def test_keys_that_no_store_can_hold() -> None:
    assert unholdable("a/../b") == ""
    assert unholdable("a" * 1024) == ""
    assert unholdable("\udcff") == "is not valid UTF-8"


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (("s3", "b", ""), ("s3", "b", "x/"), True),
        (("s3", "b", "x/y/"), ("s3", "b", "x/"), True),
        (("s3", "b", "x/"), ("s3", "b", "y/"), False),
        (("s3", "b", "x"), ("s3", "b", "xy"), True),  # "xy" lies below "x": prefixes are no folders
        (("s3", "b", ""), ("s3", "c", ""), False),
        (("s3", "b", ""), ("oss", "b", ""), False),
    ],
)
def test_overlap(one: tuple[str, str, str], other: tuple[str, str, str], overlap: bool) -> None:
    assert overlaps(ObjectsPlace(*one), ObjectsPlace(*other)) is overlap
    assert overlaps(ObjectsPlace(*other), ObjectsPlace(*one)) is overlap


KMS = "no comparable ETag (encrypted with KMS or a customer's key"


@pytest.mark.parametrize(
    ("source", "dest", "why"),
    [
        (Evidence(), Evidence(), "no comparable ETag and no stored checksum on both sides"),
        (
            Evidence(encrypted=True, checksums={"crc32": "a"}),
            Evidence(),
            f"{KMS} at the source) and no stored checksum at the destination",
        ),
        (
            Evidence(checksums={"crc32": "a"}),
            Evidence(encrypted=True, checksums={"sha256": "b"}),
            f"{KMS} at the destination) and no stored checksum of the same kind on both sides",
        ),
    ],
)
def test_why_two_objects_could_not_be_compared(source: Evidence, dest: Evidence, why: str) -> None:
    assert why_unjudged(source, dest) == why
