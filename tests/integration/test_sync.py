"""What a sync copies, what it leaves alone, and what arrives."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from dth.core.errors import UsageError
from dth.core.ports.status import Status
from tests.engine import (
    FOUR_PARTS,
    GIANT,
    MIB,
    PARTED,
    PARTED_OPTIONS,
    TWO_PARTS,
    Dth,
    Engine,
    Side,
    blob,
    bodies,
)
from tests.servers.proxy import Delay, Proxy, Reply, Rewrite, SlowDown

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.ministack import MiniStack
    from tests.servers.moto_server import MotoServer
    from tests.servers.rclone_serve import RcloneServe

ODD_KEYS = [
    '"',
    "'",
    "\\",
    "new\nline",
    "tab\there",
    "return\rhere",
    "\x01\x02\x1f",
    "\x7f",
    "a+b",
    "a b",
    "%",
    "%2F",
    "%41",
    "a//b",
    "//",
    "/lead",
    ".",
    "..",
    "./dot",
    "x/../y",
    "trail/",
    " both ends ",
    "&<>;='\"#?",
    "{0} %s ${HOME} `id`",
    "\U0001f600/\U0001f469\u200d\U0001f680",
    "caf\u00e9",
    "cafe\u0301",
    "\u2028",
    "\ufffd",
    "\U0010ffff",
    "k" * 1024,
    "\u00e9" * 512,
    "a",
    "ab",
    "a/",
    "a/b",
]


def at_source(engine: Engine) -> Proxy:
    assert isinstance(engine.source.server, Proxy)
    return engine.source.server


def at_dest(engine: Engine) -> Proxy:
    assert isinstance(engine.dest.server, Proxy)
    return engine.dest.server


# --- the whole path
# ----------------------------------------------------------------------------------


def test_every_kind_of_object_arrives_and_a_second_run_copies_nothing(
    dth: Dth, source: Side, dest: Side
) -> None:
    source.put(bodies(ODD_KEYS))
    source.put({"empty": b"", "folder/": b"", "big": blob(11 * MIB), "parted": blob(5 * MIB + 1)})
    found = dth.sync(source, dest, *PARTED_OPTIONS)
    assert found["transferred"] == found["listed"] == len(ODD_KEYS) + 4
    assert found["failures"] == []
    assert dest.listed() == source.listed()
    assert dest.contents() == source.contents()
    assert re.fullmatch(r"[0-9a-f]{32}-3", dest.etags()["big"])

    again = dth.sync(source, dest, *PARTED_OPTIONS)
    assert (again["transferred"], again["same"], again["unproven"]) == (0, again["listed"], 0)


def test_prefixes_on_either_side(
    dth: Dth, s3_a: MiniStack, s3_b: MiniStack, source: Side, dest: Side
) -> None:
    source.put(bodies(["in/a", "in/b/c", "in/", "in", "inner/no", "out/no"]))
    found = dth.sync(Side(s3_a, source.bucket, "in/"), Side(s3_b, dest.bucket, "to/here/"))
    # The marker of the folder itself is empty or has no name left.
    assert dest.listed() == ["to/here/", "to/here/a", "to/here/b/c"]
    assert found["listed"] == 3


def test_odd_keys_below_prefixes(engine: Engine, source: Side, dest: Side) -> None:
    keys = [key for key in ODD_KEYS if len(key.encode()) < 1000]
    source.put(bodies('from "+%/' + key for key in keys))
    engine.source = Side(engine.source.server, source.bucket, 'from "+%/')
    ran = engine.run(src_prefix='from "+%/', dest_prefix="to\n'&/")
    assert ran.counts.done == len(keys)
    assert dest.listed() == sorted(("to\n'&/" + key for key in keys), key=str.encode)
    assert all(dest.get("to\n'&/" + key) == source.get('from "+%/' + key) for key in keys)


def test_a_quirky_store_as_source(
    tmp_path: Path, s3_rclone: RcloneServe, dest: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_rclone.bucket()
    source = Side(s3_rclone, bucket)
    source.put({"a": b"1", "folder/b c+d": b"2", "big": blob(FOUR_PARTS)})
    ran = Engine(tmp_path / "state", source, dest, **PARTED).run()
    assert (ran.counts.done, ran.counts.failed) == (3, 0)
    assert dest.contents() == source.contents()


def test_a_quirky_store_as_destination(
    tmp_path: Path, s3_rclone: RcloneServe, source: Side
) -> None:
    dest = Side(s3_rclone, s3_rclone.bucket())
    source.put({"a": b"1", "folder/b c+d": b"2", "big": blob(FOUR_PARTS)})
    engine = Engine(tmp_path / "state", source, dest, **PARTED)
    ran = engine.run()
    assert (ran.counts.done, ran.counts.failed) == (3, 0)
    assert dest.contents() == source.contents()
    assert engine.run().counts.same == 3


# --- what is different
# -------------------------------------------------------------------------------


def test_a_rerun_copies_nothing_even_without_our_records(
    engine: Engine, tmp_path: Path, source: Side, dest: Side
) -> None:
    source.put({"small": b"x", "empty": b"", "parted": blob(TWO_PARTS), "giant": blob(FOUR_PARTS)})
    assert engine.run(**GIANT).counts.done == 4
    for state in (engine.state, tmp_path / "other"):
        ran = Engine(state, engine.source, engine.dest).run(**GIANT)
        assert (ran.counts.same, ran.counts.unproven, ran.counts.enqueued) == (4, 0, 0)


def test_fault_02_changed_content_of_equal_size_is_sent(
    engine: Engine, source: Side, dest: Side
) -> None:
    source.put({"small": b"old", "parted": blob(TWO_PARTS, 1), "still": b"still"})
    engine.run(**PARTED)
    source.put({"small": b"new", "parted": blob(TWO_PARTS, 2)})
    ran = engine.run(**PARTED)
    assert (ran.counts.done, ran.counts.same) == (2, 1)
    assert dest.contents() == source.contents()


@pytest.mark.parametrize(
    ("policy", "sent"),
    [
        ("size", {"longer", "missing"}),
        ("size+time", {"longer", "missing", "newer", "newer twin"}),
        ("etag", {"longer", "missing", "newer", "older"}),
        ("checksum", {"longer", "missing", "newer", "older"}),
        ("always", {"longer", "missing", "newer", "older", "twin", "newer twin"}),
    ],
)
def test_compare_policies(
    engine: Engine, source: Side, dest: Side, policy: str, sent: set[str]
) -> None:
    source.put({"older": b"1111", "twin": b"same"})
    time.sleep(1.1)  # times are compared by the second
    dest.put(
        {"longer": b"1", "newer": b"1111", "older": b"2222", "twin": b"same", "newer twin": b"same"}
    )
    time.sleep(1.1)
    source.put({"longer": b"12", "missing": b"1", "newer": b"2222", "newer twin": b"same"})
    ran = engine.run(compare_policy=policy)
    put = {request.key for request in at_dest(engine).seen("PUT")}
    assert put == sent
    assert ran.counts.done == len(sent)
    assert {key: dest.get(key) for key in sent} == {key: source.get(key) for key in sent}


def test_checksums_tell_equal_content_of_other_parts(
    engine: Engine, source: Side, dest: Side
) -> None:
    body = blob(TWO_PARTS)
    for side, parts in ((source, [body]), (dest, [body[:MIB], body[MIB:]])):
        s3 = side.server.boto()
        create = s3.create_multipart_upload(
            Bucket=side.bucket, Key="k", ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT"
        )
        where = {"Bucket": side.bucket, "Key": "k", "UploadId": create["UploadId"]}
        done = []
        for number, part in enumerate(parts, 1):
            answer = s3.upload_part(
                **where, PartNumber=number, Body=part, ChecksumAlgorithm="CRC64NVME"
            )
            done.append(
                {
                    "PartNumber": number,
                    "ETag": answer["ETag"],
                    "ChecksumCRC64NVME": answer["ChecksumCRC64NVME"],
                }
            )
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": done})
    assert source.etags() != dest.etags()
    assert engine.run(compare_policy="checksum").counts.same == 1


def test_skip_compare_lists_no_destination(engine: Engine, source: Side, dest: Side) -> None:
    source.put(bodies("abc"))
    dest.put(bodies("ab"))
    assert engine.run(src_skip_compare=True).counts.done == 3
    assert at_dest(engine).count("GET") == 0


def test_filters(engine: Engine, source: Side, dest: Side) -> None:
    source.put(
        {
            "a.jpg": b"12345",
            "sub/b.jpg": b"12345",
            "tiny.jpg": b"1",
            "c.txt": b"12345",
            "tmp/d.jpg": b"12345",
        }
    )
    ran = engine.run(include_patterns=("*.jpg",), exclude_patterns=("tmp/",), min_size=2)
    assert dest.listed() == ["a.jpg", "sub/b.jpg"]
    assert (ran.counts.filtered, ran.counts.done) == (3, 2)


def test_filters_by_time(engine: Engine, source: Side, dest: Side) -> None:
    source.put({"old": b"1"})
    time.sleep(2.1)
    between = time.time() - 1
    source.put({"new": b"2"})
    assert engine.run(modified_since=between).counts.done == 1
    assert dest.listed() == ["new"]
    assert engine.run(modified_before=between).counts.done == 1
    assert dest.listed() == ["new", "old"]


# --- what comes along
# --------------------------------------------------------------------------------

METADATA = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Disposition": 'attachment; filename="x.html"',
    "Content-Encoding": "gzip",
    "Content-Language": "de",
    "Cache-Control": "max-age=60",
    "Expires": "Wed, 01 Jan 2031 00:00:00 GMT",
    "x-amz-website-redirect-location": "/elsewhere",
    "x-amz-meta-one": "1",
    "x-amz-meta-mixed-case": "Value, with; punctuation",
    "x-amz-tagging": "team=a%20b%26c&%C3%BC=%2B",
}


def metadata_of(side: Side, key: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    headers = side.head(key)
    kept = {name.lower() for name in METADATA} - {"x-amz-tagging"}
    tags = side.server.boto().get_object_tagging(Bucket=side.bucket, Key=key)["TagSet"]
    return {name: value for name, value in headers.items() if name in kept}, sorted(
        tags, key=lambda t: t["Key"]
    )


@pytest.mark.parametrize("size", [10, TWO_PARTS, FOUR_PARTS], ids=["whole", "parted", "giant"])
def test_fault_08_content_headers_metadata_and_tags_are_carried(
    engine: Engine, source: Side, dest: Side, size: int
) -> None:
    source.put({"k": blob(size)}, **METADATA)
    assert engine.run(**GIANT).counts.done == 1
    carried, _ = metadata_of(dest, "k")
    assert carried == metadata_of(source, "k")[0]
    assert len(carried) == len(METADATA) - 1
    # The store forgets the tags of a multipart upload: what counts is that it was told.
    [first] = at_dest(engine).seen("PUT" if size == 10 else "POST", "^k$", "^(uploads=)?$")
    assert first.headers.get("x-amz-tagging") == METADATA["x-amz-tagging"]
    assert dest.get("k") == source.get("k")


def test_fault_08_metadata_that_cannot_be_read_is_a_failure(
    engine: Engine, source: Side, dest: Side
) -> None:
    source.put({"parted": blob(TWO_PARTS), "tagged": b"x"}, **METADATA)
    source.put({"plain": b"x"})
    at_source(engine).rule(Reply(403, "AccessDenied"), key="parted")
    at_source(engine).rule(Reply(403, "AccessDenied"), key="tagged", query="tagging")
    ran = engine.run(**PARTED)
    assert (ran.counts.failed, ran.counts.done) == (2, 1)
    assert dest.listed() == ["plain"]


def test_metadata_and_tags_can_be_left_out(engine: Engine, source: Side, dest: Side) -> None:
    source.put({"k": b"x"}, **METADATA)
    engine.run(include_metadata=False, copy_tags=False)
    carried, tags = metadata_of(dest, "k")
    assert not carried.keys() & {"cache-control", "x-amz-meta-one", "content-encoding"}
    assert tags == []


def test_our_mark_on_a_source_object_is_not_passed_on(
    engine: Engine, source: Side, dest: Side
) -> None:
    source.put(
        {"small": b"x", "parted": blob(TWO_PARTS)},
        **{"x-amz-meta-dth-source-etag": "of-an-earlier-copy"},
    )
    engine.run(**PARTED)
    assert "x-amz-meta-dth-source-etag" not in dest.head("small")
    assert dest.head("parted")["x-amz-meta-dth-source-etag"] == source.etags()["parted"]


def test_user_metadata_near_the_limit_leaves_no_room_for_ours(
    engine: Engine, source: Side, dest: Side
) -> None:
    source.put({"parted": blob(TWO_PARTS)}, **{"x-amz-meta-k": "v" * 2040})
    engine.run(**PARTED)
    assert "x-amz-meta-dth-source-etag" not in dest.head("parted")
    ran = engine.run(**PARTED)
    assert (ran.counts.same, ran.counts.unproven) == (1, 0)  # our records still know


@pytest.mark.parametrize("size", [10, TWO_PARTS, FOUR_PARTS], ids=["whole", "parted", "giant"])
def test_storage_class_acl_and_encryption_are_asked_for(
    engine: Engine, source: Side, dest: Side, size: int
) -> None:
    source.put({"k": blob(size)})
    ran = engine.run(
        **GIANT,
        dest_storage_class="STANDARD_IA",
        dest_acl="bucket-owner-full-control",
        dest_put_object_sse_type="AWS_KMS",
        dest_put_object_sse_kms_key_id="alias/mine",
    )
    assert ran.counts.done == 1
    first = at_dest(engine).seen("PUT" if size == 10 else "POST", "^k$")[0]
    asked = {
        name: first.headers.get(name)
        for name, _ in first.headers.items
        if name.lower().startswith("x-amz-")
    }
    assert asked["x-amz-storage-class"] == "STANDARD_IA"
    assert asked["x-amz-acl"] == "bucket-owner-full-control"
    assert asked["x-amz-server-side-encryption"] == "aws:kms"
    assert asked["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/mine"
    assert dest.head("k")["x-amz-storage-class"] == "STANDARD_IA"


def test_an_acl_that_was_asked_for_by_name_is_never_left_out(
    engine: Engine, source: Side, dest: Side
) -> None:
    source.put(bodies(f"k{n}" for n in range(20)))
    ran = engine.run(dest_acl="public-read")
    assert (ran.counts.done, ran.counts.failed) == (0, 20)
    assert {record.reason for record in ran.records.values()} == {"AccessControlListNotSupported"}
    assert dest.listed() == []


def test_an_acl_arrives_where_the_store_takes_it(
    tmp_path: Path, source: Side, s3_moto: MotoServer
) -> None:
    dest = Side(s3_moto, s3_moto.bucket())
    source.put(bodies("a"))
    assert Engine(tmp_path / "state", source, dest, dest_acl="public-read").run().counts.done == 1
    grants = s3_moto.boto().get_object_acl(Bucket=dest.bucket, Key="a")["Grants"]
    assert {"READ", "FULL_CONTROL"} == {grant["Permission"] for grant in grants}


# --- who pays, who may
# -------------------------------------------------------------------------------


def test_requester_pays_is_said_in_every_request_to_the_source(
    engine: Engine, source: Side, dest: Side
) -> None:
    source.put({"small": b"x", "parted": blob(TWO_PARTS)}, **{"x-amz-tagging": "a=b"})
    assert engine.run(is_payer_request=True, **PARTED).counts.done == 2
    asked = at_source(engine).requests
    assert any("tagging" in request.query for request in asked)
    assert all(request.headers.get("x-amz-request-payer") == "requester" for request in asked)
    assert not any("x-amz-request-payer" in request.headers for request in at_dest(engine).requests)


def test_an_anonymous_source_gets_no_signature(engine: Engine, source: Side, dest: Side) -> None:
    source.put({"small": b"x", "parted": blob(TWO_PARTS)})
    assert engine.run(src_anonymous=True, src_credentials="", **PARTED).counts.done == 2
    assert not any("authorization" in request.headers for request in at_source(engine).requests)
    assert all("authorization" in request.headers for request in at_dest(engine).requests)


# --- within one store
# --------------------------------------------------------------------------------


@pytest.fixture
def inside(engine: Engine, s3_a: MiniStack, source: Side, bucket_a: str) -> Engine:
    """A task between two buckets of one store."""
    other = Side(engine.source.server, s3_a.bucket("inside"))
    return Engine(
        engine.state, engine.source, other, src_credentials="source", dest_credentials="source"
    )


def test_one_store_copies_by_itself(
    inside: Engine, source: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.objects.transfer.handlers.COPY_LIMIT", 2 * MIB)
    monkeypatch.setattr("dth.objects.transfer.multipart.COPY_PART", MIB)
    keys = [key for key in ODD_KEYS if len(key) < 20]
    source.put(bodies(keys))
    source.put(
        {"middle": blob(TWO_PARTS), "parted": blob(FOUR_PARTS), "giant": blob(5 * MIB)}, **METADATA
    )
    sizes = {"multipart_threshold": 2 * MIB, "part_size": MIB, "giant_object_threshold": 5 * MIB}
    ran = inside.run(**sizes)
    assert (ran.counts.done, ran.counts.failed) == (len(keys) + 3, 0)
    proxy = at_source(inside)
    assert (
        max(max(request.received, request.sent) for request in proxy.requests if request.key) < 4096
    )
    assert proxy.count("PUT", "giant", "partNumber=5&") == 1
    assert all("x-amz-copy-source" in request.headers for request in proxy.seen("PUT"))
    assert inside.dest.contents() == source.contents()
    for key in ("middle", "parted", "giant"):
        assert metadata_of(inside.dest, key)[0] == metadata_of(source, key)[0]
    assert metadata_of(inside.dest, "middle") == metadata_of(source, "middle")
    assert inside.run(**sizes).counts.enqueued == 0


def test_a_store_that_refuses_to_copy_gets_the_bytes(inside: Engine, source: Side) -> None:
    source.put({"a": b"1", "b": b"2", "parted": blob(TWO_PARTS)})
    copying = {"when": lambda request: "x-amz-copy-source" in request.headers}
    at_source(inside).rule(Reply(501, "NotImplemented"), method="PUT", **copying)
    ran = inside.run(**PARTED)
    assert ran.counts.done == 3
    assert inside.dest.contents() == source.contents()
    assert "refuses to copy" in ran.notes


def test_copying_within_a_store_can_be_switched_off(inside: Engine, source: Side) -> None:
    source.put({"a": b"1"})
    assert inside.run(server_side_copy=False).counts.done == 1
    assert not any("x-amz-copy-source" in request.headers for request in at_source(inside).requests)


def test_a_copy_that_fails_late_is_tried_again(inside: Engine, source: Side) -> None:
    source.put({"a": b"1"})
    error = b'<?xml version="1.0"?><Error><Code>InternalError</Code><Message>late</Message></Error>'
    at_source(inside).rule(Rewrite(lambda request, response, body: error), method="PUT", nth=1)
    assert inside.run().counts.done == 1
    assert inside.dest.get("a") == b"1"


# --- what is refused
# ---------------------------------------------------------------------------------


def test_overlapping_places_are_refused(engine: Engine, source: Side) -> None:
    engine.dest = engine.source
    for here, there in (("", ""), ("a/", "a/b/"), ("a/b/", "a/"), ("", "x/")):
        with pytest.raises(UsageError, match="overlap"):
            engine.run(
                src_prefix=here,
                dest_prefix=there,
                dest_bucket=source.bucket,
                dest_endpoint=engine.source.server.url,
            )


def test_a_key_too_long_for_the_destination_fails_and_says_so(
    engine: Engine, source: Side, dest: Side
) -> None:
    source.put(bodies(["k" * 1020, "k" * 1019, "short"]))
    ran = engine.run(dest_prefix="five/")
    assert (ran.counts.done, ran.counts.failed) == (2, 1)
    record = ran.records["k" * 1020]
    assert (record.status, record.reason) == (Status.FAILED, "KeyRefused")
    assert "1025 bytes" in record.detail
    assert at_dest(engine).count("PUT", "k{1020}") == 0
    again = engine.run(dest_prefix="five/")  # and it does not get in the way of a next run
    assert (again.counts.same, again.counts.failed) == (2, 1)


def test_fault_04_no_key_breaks_a_message(engine: Engine, source: Side, dest: Side) -> None:
    keys = ['"', "\\", "new\nline", "\u2028", '{"a": "\\u0000"}', "'\x01'"]
    source.put({key: blob(FOUR_PARTS) for key in keys})
    ran = engine.run(workers=2, **GIANT)
    assert (ran.counts.done, ran.counts.failed, ran.crashes) == (len(keys), 0, [])
    assert dest.contents() == source.contents()


def test_fault_15_small_objects_do_not_wait_for_each_other(
    engine: Engine, source: Side, dest: Side
) -> None:
    source.put(bodies(f"{n:04}" for n in range(500)))
    started = time.monotonic()
    ran = engine.run()
    assert ran.counts.done == 500
    # Ten a second, one receive at a time, would take 50 s.
    assert time.monotonic() - started < 20
    assert at_dest(engine).most_in_flight > 8
    assert at_dest(engine).count("HEAD") == at_source(engine).count("HEAD") == 0
    # Each object costs one GET and one PUT. The first ones are asked for their tags, too: the store
    # may not count them.
    reads = [seen for seen in at_source(engine).seen("GET", ".") if "tagging" not in seen.query]
    assert len(reads) == at_dest(engine).count("PUT", ".") == 500


def test_a_storm_at_the_source_listing_is_waited_out(
    engine: Engine, source: Side, dest: Side
) -> None:
    source.put(bodies("ab"))
    at_source(engine).rule(SlowDown(), query="list-type", nth=range(1, 6))
    assert engine.run().counts.done == 2


def test_only_the_first_object_goes_alone(engine: Engine, proxy_b: Proxy, source: Side) -> None:
    """It shows what the destination's ETags are. Those that have waited for it go together."""
    source.put(bodies(f"{n:02}" for n in range(40)))
    proxy_b.rule(Delay(0.3), method="PUT")
    assert engine.run().counts.done == 40
    first, *others = sorted(proxy_b.seen("PUT"), key=lambda request: request.started)
    assert first.ended
    assert all(first.ended <= other.started for other in others)
    assert proxy_b.most_in_flight > 20


def test_only_the_first_part_goes_alone(engine: Engine, proxy_b: Proxy, source: Side) -> None:
    """It shows which checksums the destination answers: the others need no MD5."""
    source.put({"large": b"x" * (6 * MIB)})
    proxy_b.rule(Delay(0.2), method="PUT")
    assert engine.run(**PARTED).counts.done == 1
    first, *others = sorted(proxy_b.seen("PUT"), key=lambda request: request.started)
    assert first.ended
    assert len(others) == 5
    assert all(first.ended <= other.started for other in others)
    assert "content-md5" in first.headers
    assert not any("content-md5" in other.headers for other in others)
    assert proxy_b.most_in_flight == 5
