"""Certificates: which runs get one, that nothing in one can be changed, and the command that checks
them."""

import asyncio
import base64
import contextlib
import json
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from dth.cli.certificate import verify_certificate
from dth.cli.report import write_report
from dth.core.digest import Digest, number_of
from dth.core.errors import Conflict, HubError, UsageError
from dth.core.ports.records import Record
from dth.core.ports.runs import Counts, Run, RunKind, RunState
from dth.core.ports.status import Status, Verified
from dth.hub import certificate
from dth.hub.certificate import RecordDigest, as_bytes, issue, new_key, public_key, read, verify
from dth.hub.model import ScheduleType, Task

KEY = new_key()
TASK = Task(
    "t1",
    "S3EC2",
    ScheduleType.ONE_TIME,
    {},
    "täglich\udcff",
    source="s3://a/x",
    destination="s3://b/y",
)
COUNTS = Counts(
    listed=9, filtered=1, same=2, archived=1, pending=1, enqueued=4, done=2, failed=1, cancelled=1,
    done_bytes=30,
    verified_store=1, incomplete=1,
    delete_enqueued=2, deleted=1, delete_kept=1,
)  # fmt: skip
RUN = Run(
    3,
    RunKind.SYNC,
    RunState.DONE,
    1_700_000_000.0,
    1_700_000_060.5,
    notes=["a note"],
    counts=COUNTS,
)
RECORDS = [
    Record('a,"\r\n', Status.DONE, 3, "e1", 10, "d1", "crc64nvme:AAAA", 1, verified=Verified.STORE),
    Record("b\udcff", Status.DONE, 3, "e2", 20, "d2", "crc64nvme:BBBB", 2),
    Record("c", Status.FAILED, 3, "e3", 30, attempts=5, reason="AccessDenied"),
    Record("d", Status.CANCELLED, 3, "e4", 40, attempts=1),
    Record("e", Status.DONE, 3, "e5", 50, "d5"),  # found the same, and remembered
]


def digest_of_records(records: Sequence[Record]) -> Digest:
    digest = Digest()
    for r in records:
        digest.add(
            as_bytes(r.key),
            r.size,
            r.etag,
            r.dest_etag,
            r.proof,
            r.status.value,
            r.verified.value,
            r.attempts,
        )
    return digest


def issued(run: Run = RUN, records: Sequence[Record] = RECORDS, key: bytes = KEY) -> dict[str, Any]:
    return issue(TASK, run, digest_of_records(records), key)


DOCUMENT = issued()
TEXT = json.dumps(DOCUMENT, ensure_ascii=False).encode()


def signed(content: dict[str, Any]) -> dict[str, Any]:
    """As anybody can sign anything with a key of their own."""
    content = {name: value for name, value in content.items() if name != "signature"}
    signature = Ed25519PrivateKey.from_private_bytes(KEY).sign(certificate._canonical(content))
    return content | {"signature": base64.b64encode(signature).decode()}


def test_what_it_says() -> None:
    assert verify(DOCUMENT) == verify(DOCUMENT, public_key=public_key(KEY)) == ""
    assert verify(read(TEXT)) == verify(read(json.dumps(DOCUMENT, indent=2).encode())) == ""
    assert DOCUMENT["task"]["description"] == "täglich\\udcff"
    assert DOCUMENT["run"]["ended"] == "2023-11-14T22:14:20.500Z"
    assert DOCUMENT["counts"]["same"] == 2
    records = DOCUMENT["records"]
    assert records["by_status"] == {"PENDING": 0, "DONE": 3, "FAILED": 1, "CANCELLED": 1}
    assert (records["count"], records["confirmed_without_transfer"], records["superseded"]) == (
        5,
        1,
        0,
    )
    assert "length in bytes" in records["algorithm"]
    assert DOCUMENT["format"] == "dth-certificate-3"
    assert DOCUMENT["verified"] == {"store": 1, "etag": 0, "source": 0, "content": 0, "none": 1}
    assert issued(records=RECORDS[1:])["records"]["superseded"] == 1
    assert new_key() != new_key()


@pytest.mark.parametrize(
    "run",
    [
        replace(RUN, state=RunState.TRANSFERRING),
        replace(RUN, state=RunState.FAILED),
        replace(RUN, counts=replace(COUNTS, listed=10)),
        replace(RUN, counts=replace(COUNTS, done=1)),
        replace(RUN, counts=replace(COUNTS, deleted=0)),
        replace(
            RUN, counts=replace(COUNTS, listed=8, enqueued=3, done=1)
        ),  # fewer than there are records
    ],
)
def test_a_run_that_is_not_done_or_does_not_balance_gets_none(run: Run) -> None:
    with pytest.raises(Conflict):
        issued(run)


def test_a_digest_that_lacks_records_stands_in_its_way() -> None:
    with pytest.raises(Conflict, match="certify"):
        issue(TASK, RUN, replace(digest_of_records(RECORDS), complete=False), KEY)


def test_a_redrive_lists_nothing() -> None:
    counts = Counts(enqueued=4, done=2, failed=1, cancelled=1)
    assert verify(issued(replace(RUN, kind=RunKind.REDRIVE, counts=counts))) == ""


# ------------------------------------------------------------------------------------------ changes


@settings(max_examples=500)
@given(st.integers(0, len(TEXT) - 1), st.integers(0, 255))
def test_no_byte_can_be_changed(position: int, byte: int) -> None:
    changed = TEXT[:position] + bytes([byte]) + TEXT[position + 1 :]
    try:
        document = read(changed)
        holds = verify(document) == ""
    except UsageError:
        return
    assert holds == (document == DOCUMENT)  # white space, or the same text written otherwise


@settings(max_examples=200)
@given(st.data())
def test_no_member_can_be_changed_added_or_left_out(data: st.DataObject) -> None:
    document = json.loads(TEXT)
    inner = data.draw(
        st.sampled_from([d for d in [document, *document.values()] if isinstance(d, dict)])
    )
    name = data.draw(st.sampled_from(sorted(inner)) | st.text(max_size=5))
    value = data.draw(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.lists(st.integers())
    )
    if data.draw(st.booleans()):
        inner.pop(name, None)
    else:
        inner[name] = value
    if json.dumps(document, sort_keys=True) == json.dumps(DOCUMENT, sort_keys=True):
        return
    with contextlib.suppress(UsageError):
        assert verify(document) != ""


@pytest.mark.parametrize(
    "text",
    [
        b"", b"x", b"[]", b'"x"', b"\xff", b'{"format": NaN}', b"[" * 100_000, b'{"a":' * 100_000,
        b'{"format": 1, "format": "dth-certificate-1"}', b"1" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_certificate(text: bytes) -> None:
    with pytest.raises(UsageError, match="not a certificate"):
        verify(read(text))


def test_members_given_twice_are_refused() -> None:
    twice = TEXT.replace(b'"source":', b'"source": "s3://other", "source":')
    with pytest.raises(UsageError, match="twice"):
        read(twice)


def test_another_hubs_key() -> None:
    other = issued(key=new_key())
    assert verify(other) == ""
    assert "another key" in verify(other, public_key=public_key(KEY))
    exchanged = {**other, "signature": DOCUMENT["signature"]}
    assert "changed" in verify(exchanged)
    for bad in ("", "x", public_key(KEY)[:-1], base64.b64encode(KEY * 2).decode()):
        with pytest.raises(UsageError, match="public key"):
            verify(DOCUMENT, public_key=bad)


def test_the_signature_can_be_written_in_one_way_only() -> None:
    signature = DOCUMENT["signature"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    spare = alphabet[alphabet.index(signature[-3]) ^ 1]
    for written in (
        signature[:-3] + spare + "==",
        signature + "\n",
        signature.rstrip("="),
        5,
        None,
    ):
        assert "damaged" in verify({**DOCUMENT, "signature": written})


def test_what_somebody_signed_may_lack_anything() -> None:
    for document in (
        {"format": certificate.FORMAT, "public_key": public_key(KEY)},
        {**DOCUMENT, "counts": {**DOCUMENT["counts"], "done_bytes": 10**400}},
        {**DOCUMENT, "counts": {**DOCUMENT["counts"], "done": "many"}},
        {**DOCUMENT, "run": []},
        {name: value for name, value in DOCUMENT.items() if name != "verified"},
        {**DOCUMENT, "verified": {**DOCUMENT["verified"], "none": -1}},
        {**DOCUMENT, "task": []},
    ):
        assert "lacks" in verify(signed(document))


# ------------------------------------------------------------------------------------------- digest

FIELD = st.text(max_size=3)
ROW = st.tuples(FIELD, st.integers(0, 200), FIELD, FIELD, FIELD, FIELD, FIELD)


@given(st.lists(ROW, max_size=4), st.lists(ROW, max_size=4))
def test_different_records_have_different_digests(one: list[Any], other: list[Any]) -> None:
    digests = []
    for rows in (one, other):
        digest = RecordDigest()
        try:
            for row in rows:
                digest.add(*row)
        except (UsageError, UnicodeEncodeError):
            return
        digests.append(digest.hexdigest())
    assert (digests[0] == digests[1]) == (one == other)


@given(st.lists(ROW, max_size=4), st.lists(ROW, max_size=4))
def test_different_records_have_different_numbers(one: list[Any], other: list[Any]) -> None:
    totals = []
    for rows in (one, other):
        with contextlib.suppress(UnicodeEncodeError):
            totals.append(sum(number_of(as_bytes(key), size, *more) for key, size, *more in rows))
    if len(totals) == 2:
        assert (totals[0] == totals[1]) == (sorted(one) == sorted(other))


def test_a_digest_is_the_same_in_any_order_and_forgets_what_is_taken_out() -> None:
    whole = digest_of_records(RECORDS)
    other = digest_of_records(RECORDS[::-1])
    assert other == whole
    extra = (b"z", 5, "e", "d", "p", "DONE", "", 1)
    other.add(*extra)
    assert other.hexdigest() != whole.hexdigest()
    other.add(*extra, times=-1)
    assert other == whole


def test_records_come_in_the_order_of_their_bytes() -> None:
    digest = RecordDigest()
    for key in ("a", "a/", "é", "\uffff", "\U00010000"):
        digest.add(key, 0, "", "", "", "DONE")
    for key in ("\U00010000", "a"):
        with pytest.raises(UsageError, match="record 6"):
            digest.add(key, 0, "", "", "", "DONE")


# ------------------------------------------------------------------------------------------ command


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(
        verify_certificate, [str(each) for each in arguments], standalone_mode=False
    )
    if isinstance(result.exception, Exception) and not isinstance(
        result.exception, HubError | click.ClickException
    ):
        raise result.exception
    return result


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "certificate.json"
    path.write_bytes(TEXT)
    return path


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """As `dth s3 sync --report` writes it."""

    async def rows() -> AsyncIterator[Any]:
        for r in RECORDS:
            yield (
                r.key,
                r.status.value,
                r.size,
                r.etag,
                r.dest_etag,
                r.proof,
                r.verified.value,
                r.attempts,
                r.reason,
                r.detail,
            )

    path = tmp_path / "report.csv"
    asyncio.run(write_report(path, rows()))
    return path


def test_the_command_says_what_holds_and_by_whose_key(file: Path) -> None:
    done = run(file)
    assert done.return_value == 0
    assert "which is the key in the certificate itself" in done.stdout
    assert "Anybody can sign" in done.stdout
    done = run(file, "--public-key", public_key(KEY))
    assert done.return_value == 0
    assert "as given" in done.stdout
    assert "Anybody" not in done.stdout


def test_the_command_says_what_does_not_hold(file: Path) -> None:
    done = run(file, "--public-key", public_key(new_key()))
    assert (done.return_value, done.stdout) == (1, "")
    assert "another key" in done.stderr
    file.write_bytes(TEXT.replace(b"s3://b/y", b"s3://b/z"))
    done = run(file)
    assert (done.return_value, done.stdout) == (1, "")
    assert "changed after it was signed" in done.stderr


def test_what_cannot_be_read_is_a_usage_error(file: Path, tmp_path: Path) -> None:
    file.write_text("hello")
    large = tmp_path / "large"
    large.touch()
    os.truncate(large, 2**40)
    for path in (file, tmp_path / "missing", large):
        assert isinstance(run(path).exception, UsageError)
    assert isinstance(run(tmp_path).exception, click.UsageError)


def test_nothing_in_a_certificate_moves_the_cursor(file: Path) -> None:
    evil = "\x1b[2J\r\u202e"
    file.write_text(
        json.dumps(
            signed(
                {
                    **DOCUMENT,
                    "issued": evil,
                    "source": evil,
                    "task": {"id": evil, "type": evil, "description": evil},
                }
            )
        )
    )
    done = run(file)
    assert done.return_value == 0
    assert done.stdout.replace("\n", "").isprintable()


def test_a_report_is_held_against_it(file: Path, report: Path) -> None:
    done = run(file, "--report", report)
    assert done.return_value == 0
    assert "the same as in the report" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"crc64nvme:AAAA", b"crc64nvme:AAAB", "but not the same"),
        (b"\nd,CANCELLED", b"\nd,DONE", "but not the same"),
        (b"\nb\xff,DONE,20", b"\nb\xff,DONE,21", "but not the same"),
        (b"\nb\xff,DONE,20", b"\nb\xfe,DONE,20", "but not the same"),
        (b"crc64nvme:AAAA,store", b"crc64nvme:AAAA,content", "but not the same"),
        (b"d,CANCELLED,40,e4,,,,1,,\r\n", b"", "4 objects, the certificate 5"),
    ],
)
def test_another_report_is_not_the_same(
    file: Path, report: Path, old: bytes, new: bytes, said: str
) -> None:
    assert old in report.read_bytes()
    report.write_bytes(report.read_bytes().replace(old, new))
    done = run(file, "--report", report)
    assert done.return_value == 1
    assert said in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        b"", b"key,status\r\na,DONE\r\n", b"PAR1\x00\xff",
        b"key,status,bytes,etag,dest_etag,proof\r\na,DONE\r\n",
        b"key,status,bytes,etag,dest_etag,proof\r\na,DONE,many,e,d,p\r\n",
        b"key,status,bytes,etag,dest_etag,proof\r\nb,DONE,1,e,d,p\r\na,DONE,1,e,d,p\r\n",
        b'key,status,bytes,etag,dest_etag,proof\r\n"a,DONE,1,e,d,p\r\n',
    ],
)  # fmt: skip
def test_what_is_no_report(file: Path, report: Path, text: bytes) -> None:
    report.write_bytes(text)
    done = run(file, "--report", report)
    assert isinstance(done.exception, UsageError)
    assert str(done.exception).startswith(f"{report} is not a report of objects")
    assert len(str(done.exception).splitlines()) == 1
    report.unlink()
    assert "No such file" in str(run(file, "--report", report).exception)


def test_the_command_says_how_copies_were_verified(file: Path) -> None:
    said = run(file).stdout
    assert "2 objects: 1 verified by the store's checksum, 1 not verified\n" in said
    assert "1 lack tags or metadata that could not be copied\n" in said
    counts = replace(COUNTS, verified_store=1, verified_etag=1, incomplete=0)
    file.write_text(json.dumps(issued(replace(RUN, counts=counts))))
    said = run(file).stdout
    assert "2 objects: 1 verified by the store's checksum, 1 by MD5, 0 not verified\n" in said
    assert "lack" not in said


def test_of_images_nothing_is_said_of_verification(file: Path) -> None:
    images = issue(replace(TASK, type="ECR"), RUN, digest_of_records(RECORDS), KEY)
    assert "verified" not in images
    file.write_text(json.dumps(images))
    done = run(file)
    assert done.return_value == 0
    assert "verif" not in done.stdout


# A certificate, and the report of its run, as the version before wrote them.
FIRST = Path(__file__).with_name("certificate-1.json")
FIRST_REPORT = Path(__file__).with_name("certificate-1.csv")


def test_a_certificate_of_the_first_format_still_holds_and_claims_no_more_than_it_did(
    tmp_path: Path,
) -> None:
    document = read(FIRST.read_bytes())
    assert document["format"] == "dth-certificate-1"
    assert verify(document) == ""
    assert "changed" in verify({**document, "format": certificate.FORMAT})
    done = run(FIRST, "--report", FIRST_REPORT)
    assert done.return_value == 0
    assert "the same as in the report" in done.stdout
    assert "this certificate does not say how" in done.stdout
    changed = tmp_path / "report.csv"
    changed.write_bytes(FIRST_REPORT.read_bytes().replace(b"crc64nvme:AAAA", b"crc64nvme:AAAB"))
    assert "but not the same" in run(FIRST, "--report", changed).stderr


def test_a_certificate_of_the_second_format_still_holds() -> None:
    file, report = (
        Path(__file__).with_name(f"certificate-2.{ending}") for ending in ("json", "csv")
    )
    document = read(file.read_bytes())
    assert document["format"] == "dth-certificate-2"
    assert verify(document) == ""
    done = run(file, "--report", report)
    assert done.return_value == 0
    assert "the same as in the report" in done.stdout


def test_a_report_without_the_column_is_none_of_this_format(file: Path) -> None:
    assert "there is no column 'verified'" in str(run(file, "--report", FIRST_REPORT).exception)
