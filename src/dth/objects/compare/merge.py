"""What is different: the merge of two listings, and the decision about one object.

Everything here is a pure function of plain data; who calls does the requests. `compare` takes the objects of
both sides in one stretch of keys and sorts them into a `Batch`. What the listings alone cannot decide
(`Verdict.DOUBT`) is decided by `decide_with_evidence`, first with the record alone and then, if that is not
enough, with a HEAD of the destination.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from dth.core.ports.records import Record
from dth.core.ports.runs import Counts, Cursor
from dth.core.ports.status import Status, Verified
from dth.objects.listing.pages import MAX_KEY_BYTES, Entry, KeyMap, is_archived
from dth.objects.store.etags import is_md5, same_etag

SOURCE_ETAG = "x-amz-meta-dth-source-etag"  # what we leave on the objects we write


class Policy(StrEnum):
    """When two objects of one key are the same."""

    SIZE = "size"
    SIZE_TIME = "size+time"  # equal sizes, and the destination is not older than the source
    ETAG = "etag"  # equal sizes and the same content by ETag, by our record or by our mark on the destination
    CHECKSUM = "checksum"  # equal sizes and equal checksums, as HEADs of both sides tell them
    CONTENT = "content"  # equal sizes and equal bytes: both sides are read
    ALWAYS = "always"  # never the same; the destination is not even listed


class Verdict(StrEnum):
    """What is to be done about one source object, and why."""

    SAME = "same"
    # The same by time or size only: what the policy asks for could not be compared.
    UNPROVEN = "unproven"
    MISSING = "missing"
    SIZE = "size"
    TIME = "time"
    ETAG = "etag"
    CHECKSUM = "checksum"
    CONTENT = "content"
    ALWAYS = "always"
    ARCHIVED = "archived"  # would be transferred, but cannot be read before it is restored
    DOUBT = "doubt"  # the listings do not tell: more evidence is needed

    @property
    def transfers(self) -> bool:
        return self not in _SETTLED


_SETTLED = frozenset({Verdict.SAME, Verdict.UNPROVEN, Verdict.ARCHIVED, Verdict.DOUBT})


# ---------------------------------------------------------------------------------------------- one object


def decide(policy: Policy, source: Entry, dest: Entry | None) -> Verdict:
    """What the listings tell. A destination object exists whatever its storage class."""
    if policy is Policy.ALWAYS:
        verdict = Verdict.ALWAYS
    elif dest is None:
        verdict = Verdict.MISSING
    elif source.size != dest.size:
        verdict = Verdict.SIZE
    elif policy is Policy.SIZE:
        verdict = Verdict.SAME
    elif policy is Policy.SIZE_TIME:
        verdict = _by_time(source, dest, Verdict.SAME)
    elif policy is Policy.ETAG and same_etag(source.etag, dest.etag):
        verdict = Verdict.SAME
    else:
        verdict = Verdict.DOUBT
    return _readable(source, verdict)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a HEAD tells beyond the listing."""

    source_etag: str = ""  # of the source object that we made it from; "" if the object does not say
    encrypted: bool = False  # with a key (KMS, SSE-C): then the ETag is no digest of the content
    checksums: Mapping[str, str] = field(default_factory=dict)  # of the whole object, by algorithm
    parted: Mapping[str, str] = field(
        default_factory=dict
    )  # checksums of checksums, with the number of parts


def evidence(headers: Mapping[str, str]) -> Evidence:
    """Read the headers (lower-case names) of a HEAD answer."""
    sums = {
        name.removeprefix("x-amz-checksum-"): value
        for name, value in headers.items()
        if name.startswith("x-amz-checksum-") and name != "x-amz-checksum-type"
    }
    composite = headers.get("x-amz-checksum-type", "").upper() == "COMPOSITE"
    parted = {name: value for name, value in sums.items() if composite or "-" in value}
    sse = headers.get("x-amz-server-side-encryption", "")
    return Evidence(
        source_etag=headers.get(SOURCE_ETAG, "").removeprefix("W/").strip('"'),
        encrypted=sse.startswith("aws:") or "x-amz-server-side-encryption-customer-algorithm" in headers,
        checksums={name: value for name, value in sums.items() if name not in parted},
        parted=parted,
    )


def decide_with_evidence(
    policy: Policy,
    source: Entry,
    dest: Entry,
    record: Record | None,
    dest_head: Evidence | None = None,
    source_head: Evidence | None = None,
) -> Verdict:
    """Decide a `DOUBT`. Without heads it says what the record alone proves, and `DOUBT` again if a HEAD of
    the destination (policy `checksum`: of both sides) is needed; with them the answer is final."""
    if policy is Policy.CHECKSUM:
        if dest_head is None or source_head is None:
            return Verdict.DOUBT
        verdict = _by_checksum(source_head, dest_head)
        if verdict is not Verdict.DOUBT:
            return _readable(source, verdict)
        if same_etag(source.etag, dest.etag):
            return Verdict.SAME
        encrypted = source_head.encrypted or dest_head.encrypted
        verdict = _by_etag(source, dest, record, replace(dest_head, encrypted=encrypted))
        # That we made the copy from this source object says nothing of the bytes that lie there now.
        return _readable(source, Verdict.UNPROVEN if verdict is Verdict.SAME else verdict)
    return _readable(source, _by_etag(source, dest, record, dest_head))


def _by_etag(source: Entry, dest: Entry, record: Record | None, head: Evidence | None) -> Verdict:
    if record is not None and _is_ours(record, dest):
        # What lies there is what we wrote: it is as good as the source object that we made it from.
        return Verdict.SAME if same_etag(record.etag, source.etag) else Verdict.ETAG
    if head is None:
        return Verdict.DOUBT
    if head.source_etag:
        return Verdict.SAME if same_etag(head.source_etag, source.etag) else Verdict.ETAG
    if is_md5(source.etag) and is_md5(dest.etag) and not head.encrypted:
        return Verdict.ETAG
    return _by_time(source, dest, Verdict.UNPROVEN)


def _is_ours(record: Record, dest: Entry) -> bool:
    """Whether the destination object is the one that a record is about. Of a copy that nobody confirmed, two MD5s that
    differ say that it may be damaged: that has to be looked at."""
    if record.status is not Status.DONE or record.etag == "" or not same_etag(record.dest_etag, dest.etag):
        return False
    confirmed = record.verified is not Verified.NOT or same_etag(record.etag, record.dest_etag)
    return confirmed or not (is_md5(record.etag) and is_md5(record.dest_etag))


def _by_checksum(source: Evidence, dest: Evidence) -> Verdict:
    for name, value in source.checksums.items():
        if name in dest.checksums:
            return Verdict.SAME if dest.checksums[name] == value else Verdict.CHECKSUM
    # Checksums of checksums prove that objects are equal; where they differ, only the parts may.
    if any(dest.parted.get(name) == value for name, value in source.parted.items()):
        return Verdict.SAME
    return Verdict.DOUBT


def why_unjudged(source: Evidence, dest: Evidence) -> str:
    """Why neither ETags nor checksums of two objects could be compared."""
    etags = "no comparable ETag"
    if encrypted := _sides(source.encrypted, dest.encrypted):
        etags += f" (encrypted with KMS or a customer's key {encrypted})"
    if lacking := _sides(not (source.checksums or source.parted), not (dest.checksums or dest.parted)):
        return f"{etags} and no stored checksum {lacking}"
    return f"{etags} and no stored checksum of the same kind on both sides"


def _sides(source: bool, dest: bool) -> str:
    if source and dest:
        return "on both sides"
    return "at the source" if source else "at the destination" if dest else ""


def _by_time(source: Entry, dest: Entry, same: Verdict) -> Verdict:
    return Verdict.TIME if dest.modified < source.modified else same


def _readable(source: Entry, verdict: Verdict) -> Verdict:
    return Verdict.ARCHIVED if verdict.transfers and is_archived(source) else verdict


# ------------------------------------------------------------------------------------------------ refusals


@dataclass(frozen=True, slots=True)
class Place:
    """Where objects lie: `store` is the endpoint's canonical address, one text for one store."""

    store: str
    bucket: str
    prefix: str


def overlaps(one: Place, other: Place) -> bool:
    """Whether some key could lie in both places. For the source and destination of a task, and for the
    destinations of two tasks, that is refused: they would feed on, or undo, each other."""
    return (one.store, one.bucket) == (other.store, other.bucket) and (
        one.prefix.startswith(other.prefix) or other.prefix.startswith(one.prefix)
    )


def unholdable(key: str) -> str:
    """Why no store can hold this key, as the end of a sentence about it; "" if one can."""
    if not key:
        return "has no name left under the destination prefix"
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    if length > MAX_KEY_BYTES:
        return f"has {length} bytes under the destination prefix; {MAX_KEY_BYTES} is the most"
    return ""


# ------------------------------------------------------------------------------------------ many of them


class Pick(NamedTuple):
    """A source object with what lies at its destination key, and what follows."""

    source: Entry
    dest: Entry | None  # its `key` is the source's: destination listings are shown under source keys
    verdict: Verdict


class Unjudged(NamedTuple):
    """An object that could not be compared as the policy asks for. Its verdict is by other signs."""

    pick: Pick
    why: str


class Refusal(NamedTuple):
    source: Entry
    reason: str  # groups failures
    detail: str  # one line


@dataclass(frozen=True, slots=True)
class Rules:
    """How a task compares. `keep` None keeps every object."""

    policy: Policy = Policy.ETAG
    rename: KeyMap = field(default_factory=KeyMap)
    keep: Callable[[Entry], bool] | None = None


@dataclass(slots=True)
class Batch:
    """All that follows from one stretch of keys. Every source object in it is counted in `counts.listed`, and
    either in `counts` as filtered, same or archived, or it stands in exactly one of `transfer`, `doubtful`,
    `bare`, `refused`.

    `cursors` go with it in one commit: everything up to their positions is decided by this and the batches
    before.
    """

    counts: Counts = field(default_factory=Counts)  # increments
    transfer: list[Pick] = field(default_factory=list)
    doubtful: list[Pick] = field(
        default_factory=list
    )  # verdict DOUBT, dest there: for `decide_with_evidence`
    bare: list[Pick] = field(
        default_factory=list
    )  # nothing but the key is known: HEAD, `keep`, then `decide`
    archived: list[Entry] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)  # destination keys without a source object
    cursors: list[Cursor] = field(default_factory=list)


def compare(rules: Rules, source: list[Entry], dest: Iterable[Entry]) -> Batch:
    """Compare all objects of both sides in one stretch of keys, destination entries under source keys."""
    batch = Batch()
    keep, policy = rules.keep, rules.policy
    there = {entry[0]: entry for entry in dest}
    batch.counts.listed = len(source)
    batch.counts.dest_listed = len(there)
    plain = (
        policy is Policy.ETAG or policy is Policy.SIZE
    )  # equal sizes and ETags: the same, and nearly all are
    take = there.pop
    same = filtered = 0
    for entry in source:
        twin = take(entry[0], None)
        if keep is not None and entry[1] >= 0 and not keep(entry):
            filtered += 1
        elif plain and twin is not None and entry[1] == twin[1] and entry[2] == twin[2] != "":
            same += 1
        else:
            _sort(rules, batch, entry, twin)
    batch.counts.same += same
    batch.counts.filtered += filtered
    to_dest = rules.rename.to_dest
    batch.extra = [to_dest(key) for key, entry in there.items() if keep is None or keep(entry)]
    batch.counts.extra = len(batch.extra)
    return batch


def _sort(rules: Rules, batch: Batch, source: Entry, dest: Entry | None) -> None:
    if source.size < 0:
        batch.bare.append(Pick(source, dest, Verdict.DOUBT))
        return
    verdict = decide(rules.policy, source, dest)
    if verdict is Verdict.SAME:
        batch.counts.same += 1
    elif verdict is Verdict.ARCHIVED:
        batch.counts.archived += 1
        batch.archived.append(source)
    elif verdict is Verdict.DOUBT:
        batch.doubtful.append(Pick(source, dest, verdict))
    elif trouble := unholdable(key := rules.rename.to_dest(source.key)):
        if not key and source.size == 0:
            batch.counts.filtered += (
                1  # the marker of the source folder itself has no place in the destination
            )
        else:
            batch.refused.append(Refusal(source, "KeyRefused", f"The key {source.key!r} {trouble}"))
    else:
        batch.transfer.append(Pick(source, dest, verdict))
