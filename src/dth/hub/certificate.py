"""Certificates of completion: what a run copied, signed by the hub, verifiable by anybody without
the hub.

A certificate is JSON. Its Ed25519 signature covers all other members as canonical JSON: members
sorted by name, no spaces, UTF-8, only the escapes that JSON requires. The objects are summarized in
one digest (`core.digest`), so the certificate is small, and any list of the objects can be compared
with it.

For objects, `verified` says how many copies were confirmed in which way
(`core.ports.status.Verified`), and how many were not. Certificates of the first format do not say
this, and their digest does not include it. The first two formats use a digest in the order of the
keys, which cannot be computed while the run proceeds. They can still be verified.

A comparison gets a certificate, too (`of_comparison`): it says how both sides were compared, and
how many objects are in which state.
"""

import base64
import binascii
import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dth.core import clock
from dth.core.digest import ALGORITHM, Digest, framed
from dth.core.errors import Conflict, UsageError
from dth.core.plugins import verifies
from dth.core.ports.findings import State, StateTally
from dth.core.ports.runs import Counts, Run, RunKind, RunState
from dth.core.ports.status import Status
from dth.hub.model import Task
from dth.hub.ports import ComparisonJob

FORMAT = "dth-certificate-3"
SECOND_FORMAT = "dth-certificate-2"
FIRST_FORMAT = "dth-certificate-1"
COMPARISON_FORMAT = "dth-comparison-1"


def new_key() -> bytes:
    """A new signing key, in the form that `issue` takes."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_key(key: bytes) -> str:
    """The public key of a signing key, as certificates show it."""
    return _encoded(Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw())


def fingerprint(public_key: str) -> str:
    """A short name for a public key; the hub's id in its certificates."""
    return hashlib.sha256(_decoded(public_key, 32)).hexdigest()[:32]


def as_bytes(text: str) -> bytes:
    """The bytes of a key, including bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape")


class ReportDigest(Protocol):
    """The digest over the records of a report."""

    @property
    def count(self) -> int:
        """The number of records added."""

    def add(self, key: str, size: int, *more: str) -> None:
        """Add a record. `more`: the other fields, in the order of `digested`."""
        ...

    def hexdigest(self) -> str:
        """The digest in hexadecimal digits."""
        ...


class SumDigest:
    """The digest of the current format. Records can be added in any order."""

    def __init__(self) -> None:
        self._digest = Digest()

    @property
    def count(self) -> int:
        """The number of records."""
        return self._digest.count

    def add(self, key: str, size: int, *more: str) -> None:
        etag, dest_etag, proof, status, verified = more
        self._digest.add(
            as_bytes(key), size, etag, dest_etag, proof, Status(status).value, verified, 1
        )

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


class RecordDigest:
    """The digest of the first two formats. Records must be added in the order of their keys."""

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.sha256()
        self._last = b""

    def add(self, key: str, size: int, *more: str) -> None:
        """Raises UsageError for a key out of order."""
        first = as_bytes(key)
        if self.count and first <= self._last:
            raise UsageError(f"record {self.count + 1}: its key is not above the one before")
        self._last = first
        self._hash.update(framed(first, b"%d" % size, *map(as_bytes, more)))
        self.count += 1

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def digest_of(form: str) -> ReportDigest:
    """An empty digest of a format."""
    return SumDigest() if form == FORMAT else RecordDigest()


def digested(form: str) -> tuple[str, ...]:
    """The fields in the digest of a format, after key and size."""
    first = ("etag", "dest_etag", "proof", "status")
    return first if form == FIRST_FORMAT else (*first, "verified")


def check(run: Run) -> None:
    """Raises Conflict for a run that cannot get a certificate: it is not DONE, its ledger does not
    balance, or its records are not kept any more."""
    if run.state is not RunState.DONE:
        raise Conflict(f"run {run.id} is {run.state}; a certificate is of a run that is DONE")
    if not _balances(run):
        raise Conflict(f"the ledger of run {run.id} does not balance; it gets no certificate")
    if 0 < run.kept_until <= clock.now():
        raise Conflict(
            f"the first records of run {run.id} expired at {_time(run.kept_until)} (recordDays); "
            "it gets no certificate any more"
        )


def issue(task: Task, run: Run, digest: Digest, key: bytes) -> dict[str, Any]:
    """The certificate of a run, from the digest over the run's records. Raises Conflict as `check`
    does, and for a digest that does not match."""
    check(run)
    if not digest.complete:
        raise Conflict(
            f"the records of run {run.id} have not all been read yet, which takes longer than one "
            "call has; make its certificate with dth task certificate or certify"
        )
    superseded = run.counts.enqueued - (digest.count - digest.confirmed)
    if superseded < 0:
        raise Conflict(
            f"run {run.id} has more records than its ledger counts; it gets no certificate"
        )
    public = public_key(key)
    content = {
        "format": FORMAT,
        "issued": _time(clock.now()),
        "hub": fingerprint(public),
        "public_key": public,
        "task": {"id": task.id, "type": task.type, "description": _text(task.description)},
        "source": _text(task.source),
        "destination": _text(task.destination),
        "run": {
            "id": run.id,
            "kind": run.kind.value,
            "started": _time(run.started),
            "ended": _time(run.ended),
            "notes": [_text(note) for note in run.notes],
        },
        "counts": asdict(run.counts),
        **({"verified": run.counts.by_verification} if verifies(task.type) else {}),
        "records": {
            "count": digest.count,
            "by_status": {
                Status.PENDING.value: 0,
                Status.DONE.value: digest.done,
                Status.FAILED.value: digest.failed,
                Status.CANCELLED.value: digest.cancelled,
            },
            "confirmed_without_transfer": digest.confirmed,
            # Enqueued by this run, and again by a later one.
            "superseded": superseded,
            "algorithm": ALGORITHM,
            "digest": digest.hexdigest(),
        },
    }
    return _signed(content, key)


def of_comparison(comparison: ComparisonJob, key: bytes) -> dict[str, Any]:
    """The certificate of a comparison: what it compared, how, and what it found. Raises Conflict
    for one that did not see everything."""
    if comparison.state != "DONE":
        raise Conflict(
            f"this comparison is {comparison.state}; a certificate is of one that is DONE"
        )
    public = public_key(key)
    tally = StateTally.read(comparison.result["tally"])
    content = {
        "format": COMPARISON_FORMAT,
        "issued": _time(clock.now()),
        "hub": fingerprint(public),
        "public_key": public,
        "task": {"id": comparison.task, "type": comparison.type, "description": ""},
        "source": _text(comparison.source),
        "destination": _text(comparison.destination),
        "comparison": {
            "id": comparison.id,
            "policy": comparison.asked["policy"],
            "sample_percent": comparison.asked["sample"],
            "started": _time(comparison.started),
            "ended": _time(comparison.ended),
            "notes": [_text(note) for note in comparison.result["notes"]],
            # All that may change what was compared, such as filters.
            "parameters": {
                _text(name): _text(value) for name, value in comparison.parameters.items()
            },
        },
        "verdict": tally.verdict.value,
        "objects": {state.value: tally.items.get(state, 0) for state in State},
        "bytes": {state.value: tally.bytes.get(state, 0) for state in State},
        "filtered": comparison.result["filtered"],
    }
    return _signed(content, key)


def _signed(content: dict[str, Any], key: bytes) -> dict[str, Any]:
    signature = Ed25519PrivateKey.from_private_bytes(key).sign(_canonical(content))
    return {**content, "signature": _encoded(signature)}


def verify(document: dict[str, Any], *, public_key: str | None = None) -> str:
    """Returns "" if the certificate is valid, or one line that says why not. With `public_key`, it
    must be signed by that key; without, the result only shows that nothing changed since somebody
    signed it. Raises UsageError if the document is not a certificate, or if `public_key` is not a
    key."""
    if public_key is not None:
        try:
            _decoded(public_key, 32)
        except ValueError:
            raise UsageError("the public key is not 32 bytes in base64") from None
    if document.get("format") not in (FORMAT, SECOND_FORMAT, FIRST_FORMAT, COMPARISON_FORMAT):
        raise UsageError(
            f"this is not a certificate of the format {FORMAT}, {SECOND_FORMAT}, {FIRST_FORMAT} "
            f"or {COMPARISON_FORMAT}"
        )
    content = {name: value for name, value in document.items() if name != "signature"}
    try:
        key = _decoded(document.get("public_key"), 32)
        signature = _decoded(document.get("signature"), 64)
        signed = _canonical(content)
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except (ValueError, RecursionError):
        return "its key or signature is damaged"
    except InvalidSignature:
        return "it was changed after it was signed"
    if public_key is not None and public_key != document["public_key"]:
        return f"it was signed with another key, {document['public_key']}"
    return "" if _fits(document, _shape(document)) else "it lacks what a certificate says"


def read(text: bytes) -> dict[str, Any]:
    """Parse the file of a certificate. Strict, because readers may differ in which of two members
    with one name they see. Raises UsageError."""
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise UsageError("this is not a certificate: not a JSON object, or one with a member twice")
    return document


# The structure that readers rely on: anybody can sign anything with a key of their own.
SHAPE: dict[str, Any] = {
    "issued": str,
    "source": str,
    "destination": str,
    "task": {"id": str, "type": str, "description": str},
    "run": {"id": int, "started": str, "ended": str},
    "counts": dict.fromkeys(("done", "done_bytes", "same", "failed", "cancelled"), int),
    "records": {"count": int, "superseded": int, "digest": str},
}


COMPARISON_SHAPE: dict[str, Any] = {
    "issued": str,
    "source": str,
    "destination": str,
    "task": {"id": str, "type": str, "description": str},
    "comparison": dict.fromkeys(("id", "policy", "sample_percent", "started", "ended"), str),
    "verdict": str,
    "objects": dict.fromkeys(State, int),
    "bytes": dict.fromkeys(State, int),
    "filtered": int,
}


def _shape(document: dict[str, Any]) -> dict[str, Any]:
    if document["format"] == COMPARISON_FORMAT:
        return COMPARISON_SHAPE
    if document["format"] == FIRST_FORMAT:
        return SHAPE
    shape = {**SHAPE, "counts": {**SHAPE["counts"], "incomplete": int}}
    task = document.get("task")
    if isinstance(task, dict) and verifies(task.get("type")):
        shape["verified"] = dict.fromkeys(Counts().by_verification, int)
    return shape


def _fits(value: object, shape: object) -> bool:
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            _fits(value.get(name), each) for name, each in shape.items()
        )
    return type(value) is shape and (not isinstance(value, int) or 0 <= value < 2**63)


def _balances(run: Run) -> bool:
    c: Counts = run.counts
    listed = c.filtered + c.same + c.archived + c.pending + c.enqueued
    return (
        (c.listed == listed or run.kind is not RunKind.SYNC)  # other kinds of runs list nothing
        and c.enqueued == c.done + c.failed + c.cancelled
        and c.delete_enqueued == c.deleted + c.delete_kept + c.delete_failed
    )


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: object, length: int) -> bytes:
    """Raises ValueError unless `text` is the one canonical encoding of that many bytes."""
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except binascii.Error:
        data = b""
    if len(data) != length or _encoded(data) != text:
        raise ValueError
    return data


def _text(text: str) -> str:
    """Replace lone surrogates, which JSON in UTF-8 cannot represent."""
    return text.encode("utf-8", "backslashreplace").decode()


def _time(moment: float) -> str:
    return (
        datetime.fromtimestamp(moment, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
