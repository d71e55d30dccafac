"""Finds what differs: the merge of two listings, and the decision about one object.

Everything here is a pure function of plain data; the caller sends the requests. `compare` takes the
objects of both sides in one range of keys and sorts them into a `Batch`. `decide_with_evidence`
decides what the listings alone cannot (`Verdict.DOUBT`): first with the record alone and then, if
that is not enough, with a HEAD of the destination.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from dth.core.errors import ObjectRefused
from dth.core.ports.records import Record
from dth.core.ports.runs import Counts, Cursor
from dth.core.ports.status import Status, Verified
from dth.objects.listing.pages import MAX_KEY_BYTES, KeyMap, ListedObject, is_archived
from dth.objects.store.etags import MAYBE_HOLLOW, SOURCE_ETAG, is_hollow, is_md5, same_etag
from dth.objects.store.folders.paths import names_of


class Policy(StrEnum):
    """When two objects with the same key count as the same."""

    SIZE = "size"
    # Equal sizes, and the destination is not older than the source.
    SIZE_TIME = "size+time"
    # Equal sizes, and the same content by ETag, by the hub's record or by its mark on the
    # destination.
    ETAG = "etag"
    # Equal sizes and equal checksums, as HEADs of both sides state them.
    CHECKSUM = "checksum"
    # Equal sizes and equal bytes: both sides are read.
    CONTENT = "content"
    # Never the same. The destination is not even listed.
    ALWAYS = "always"

    @property
    def proves(self) -> bool:
        """Whether what counts as the same has the same bytes, as far as both sides say."""
        return self in (Policy.ETAG, Policy.CHECKSUM, Policy.CONTENT)


class Verdict(StrEnum):
    """What to do with one source object, and why."""

    SAME = "same"
    # Counts as the same by time or size only, because what the policy asks for could not be
    # compared.
    UNPROVEN = "unproven"
    MISSING = "missing"
    SIZE = "size"
    TIME = "time"
    ETAG = "etag"
    CHECKSUM = "checksum"
    CONTENT = "content"
    ALWAYS = "always"
    # Differs, but cannot be read before it is restored.
    ARCHIVED = "archived"
    # The listings do not decide it. More evidence is needed.
    DOUBT = "doubt"

    @property
    def transfers(self) -> bool:
        """Whether the object is to be transferred."""
        return self not in _SETTLED


_SETTLED = frozenset({Verdict.SAME, Verdict.UNPROVEN, Verdict.ARCHIVED, Verdict.DOUBT})


# --------------------------------------------------------------------------------------- one object


def decide(policy: Policy, source: ListedObject, dest: ListedObject | None) -> Verdict:
    """The verdict of the listings alone. A destination object exists whatever its storage class
    is."""
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
    elif policy is Policy.ETAG and _etags_prove(source, dest):
        verdict = Verdict.SAME
    else:
        verdict = Verdict.DOUBT
    return _readable(source, verdict)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a HEAD states beyond the listing."""

    # The ETag of the source object that the hub copied; "" if the object does not say.
    source_etag: str = ""
    # Encrypted with a key (KMS, SSE-C). Then the ETag is not a digest of the content.
    encrypted: bool = False
    # Of the whole object, by algorithm.
    checksums: Mapping[str, str] = field(default_factory=dict)
    # Checksums of checksums, with the number of parts.
    parted: Mapping[str, str] = field(default_factory=dict)


def evidence(headers: Mapping[str, str]) -> Evidence:
    """Read the headers of a HEAD answer. Their names are in lower case."""
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
        encrypted=sse.startswith("aws:")
        or "x-amz-server-side-encryption-customer-algorithm" in headers,
        checksums={name: value for name, value in sums.items() if name not in parted},
        parted=parted,
    )


def decide_with_evidence(
    policy: Policy,
    source: ListedObject,
    dest: ListedObject,
    record: Record | None,
    dest_head: Evidence | None = None,
    source_head: Evidence | None = None,
) -> Verdict:
    """Decide a `DOUBT`. Without heads, returns what the record alone proves, or `DOUBT` again if a
    HEAD of the destination (policy `checksum`: of both sides) is needed. With heads, the verdict is
    final."""
    if policy is Policy.CHECKSUM:
        if dest_head is None or source_head is None:
            return Verdict.DOUBT
        verdict = _by_checksum(source_head, dest_head)
        if verdict is not Verdict.DOUBT:
            return _readable(source, verdict)
        if _etags_prove(source, dest):
            return Verdict.SAME
        encrypted = source_head.encrypted or dest_head.encrypted
        verdict = _by_etag(source, dest, record, replace(dest_head, encrypted=encrypted))
        # A record that the copy was made from this source object says nothing about the bytes
        # stored now.
        return _readable(source, Verdict.UNPROVEN if verdict is Verdict.SAME else verdict)
    return _readable(source, _by_etag(source, dest, record, dest_head))


def _etags_prove(source: ListedObject, dest: ListedObject) -> bool:
    """Whether the ETags alone prove that two objects are equal."""
    return same_etag(source.etag, dest.etag) and not is_hollow(source.etag)


def _by_etag(
    source: ListedObject, dest: ListedObject, record: Record | None, head: Evidence | None
) -> Verdict:
    if is_hollow(source.etag):
        # Neither a record nor a mark can say which object was copied.
        return _by_time(source, dest, Verdict.UNPROVEN)
    if record is not None and _is_ours(record, dest):
        # The hub wrote the destination object, so it is compared by the ETag of the source object
        # it was made from.
        return Verdict.SAME if same_etag(record.etag, source.etag) else Verdict.ETAG
    if head is None:
        return Verdict.DOUBT
    if head.source_etag:
        return Verdict.SAME if same_etag(head.source_etag, source.etag) else Verdict.ETAG
    if is_md5(source.etag) and is_md5(dest.etag) and not head.encrypted:
        return Verdict.ETAG
    return _by_time(source, dest, Verdict.UNPROVEN)


def _is_ours(record: Record, dest: ListedObject) -> bool:
    """Whether the destination object is the one that the record is about. If nobody confirmed the
    copy, two MD5s that differ mean that it may be damaged, so it must be checked."""
    if (
        record.status is not Status.DONE
        or record.etag == ""
        or not same_etag(record.dest_etag, dest.etag)
        or is_hollow(dest.etag)
    ):
        return False
    confirmed = record.verified is not Verified.NOT or same_etag(record.etag, record.dest_etag)
    return confirmed or not (is_md5(record.etag) and is_md5(record.dest_etag))


def says_same(record: Record | None, source: ListedObject, dest: ListedObject) -> bool:
    """Whether a record says that this destination object is a copy of this source object."""
    return (
        record is not None
        and record.status is Status.DONE
        and same_etag(record.etag, source.etag)
        and same_etag(record.dest_etag, dest.etag)
    )


def _by_checksum(source: Evidence, dest: Evidence) -> Verdict:
    for name, value in source.checksums.items():
        if name in dest.checksums:
            return Verdict.SAME if dest.checksums[name] == value else Verdict.CHECKSUM
    # Equal checksums of checksums prove that objects are equal. If they differ, maybe only the
    # parts do.
    if any(dest.parted.get(name) == value for name, value in source.parted.items()):
        return Verdict.SAME
    return Verdict.DOUBT


def why_unjudged(source: Evidence, dest: Evidence) -> str:
    """Why neither the ETags nor the checksums of two objects could be compared."""
    etags = "no comparable ETag"
    if encrypted := _sides(source.encrypted, dest.encrypted):
        etags += f" (encrypted with KMS or a customer's key {encrypted})"
    if lacking := _sides(
        not (source.checksums or source.parted), not (dest.checksums or dest.parted)
    ):
        return f"{etags} and no stored checksum {lacking}"
    return f"{etags} and no stored checksum of the same kind on both sides"


def _sides(source: bool, dest: bool) -> str:
    if source and dest:
        return "on both sides"
    return "at the source" if source else "at the destination" if dest else ""


def _by_time(source: ListedObject, dest: ListedObject, same: Verdict) -> Verdict:
    return Verdict.TIME if dest.modified < source.modified else same


def _readable(source: ListedObject, verdict: Verdict) -> Verdict:
    return Verdict.ARCHIVED if verdict.transfers and is_archived(source) else verdict


# ----------------------------------------------------------------------------------------- refusals


@dataclass(frozen=True, slots=True)
class ObjectsPlace:
    """Where objects are. `store` is the endpoint's canonical address: the same text for the same
    store."""

    store: str
    bucket: str
    prefix: str


def overlaps(one: ObjectsPlace, other: ObjectsPlace) -> bool:
    """Whether some key could be in both places. This is refused for the source and destination of a
    task and for the destinations of two tasks: they would copy, or undo, each other's objects."""
    return (one.store, one.bucket) == (other.store, other.bucket) and (
        one.prefix.startswith(other.prefix) or other.prefix.startswith(one.prefix)
    )


def unholdable(key: str) -> str:
    """Why no store can hold this key, as the end of a sentence about it; "" if a store can."""
    if not key:
        return "has no name left under the destination prefix"
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    if length > MAX_KEY_BYTES:
        return f"has {length} bytes under the destination prefix; {MAX_KEY_BYTES} is the most"
    return ""


# ------------------------------------------------------------------------------------- many of them


class Pick(NamedTuple):
    """A source object with the object at its destination key, and the verdict."""

    source: ListedObject
    # Its `key` is the source's: destination listings show source keys.
    dest: ListedObject | None
    verdict: Verdict


class Unjudged(NamedTuple):
    """An object that could not be compared as the policy asks. Its verdict is based on other
    signs."""

    pick: Pick
    why: str


class Refusal(NamedTuple):
    """A source object that cannot be transferred."""

    source: ListedObject
    reason: str  # groups failures
    detail: str  # one line


@dataclass(frozen=True, slots=True)
class Rules:
    """How a task compares. `keep` None keeps every object. `names_same`: what is the same is not
    only counted. `into_folder`: the destination is a folder, whose keys are paths."""

    policy: Policy = Policy.ETAG
    rename: KeyMap = field(default_factory=KeyMap)
    keep: Callable[[ListedObject], bool] | None = None
    names_same: bool = False
    into_folder: bool = False

    def refusal(self, source: ListedObject) -> Refusal | None:
        """What is wrong with the destination key of an object; None if it can be there."""
        key = self.rename.to_dest(source.key)
        if trouble := unholdable(key):
            return Refusal(source, "KeyRefused", f"The key {source.key!r} {trouble}")
        if self.into_folder:
            try:
                names_of(key if source.size else key.removesuffix("/"))
            except ObjectRefused as error:
                return Refusal(source, error.code, str(error))
        return None


@dataclass(slots=True)
class Batch:
    """The result of one range of keys. Every source object in it is counted in `counts.listed`. It
    is also either counted in `counts` as filtered, same or archived, or it is in exactly one of
    `transfer`, `doubtful`, `bare`, `refused`.

    `cursors` are committed with it: this batch and the ones before decide everything up to their
    positions.
    """

    counts: Counts = field(default_factory=Counts)  # increments
    transfer: list[Pick] = field(default_factory=list)
    # Verdict DOUBT, and the destination exists: for `decide_with_evidence`.
    doubtful: list[Pick] = field(default_factory=list)
    # Only the key is known: HEAD, then `keep`, then `decide`.
    bare: list[Pick] = field(default_factory=list)
    archived: list[ListedObject] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    # Destination objects without a source object. Their keys are the destination's.
    extra: list[ListedObject] = field(default_factory=list)
    same: list[ListedObject] = field(default_factory=list)  # if the rules want them
    cursors: list[Cursor] = field(default_factory=list)
    # Of these cursors: ranges that this process leaves to others.
    given: list[Cursor] = field(default_factory=list)


def compare(rules: Rules, source: list[ListedObject], dest: Iterable[ListedObject]) -> Batch:
    """Compare all objects of both sides in one range of keys. Destination entries have source
    keys."""
    batch = Batch()
    keep, policy = rules.keep, rules.policy
    there = {entry[0]: entry for entry in dest}
    batch.counts.listed = len(source)
    batch.counts.dest_listed = len(there)
    # With these policies, objects with equal sizes and ETags are the same. Nearly all are.
    plain = policy is Policy.ETAG or policy is Policy.SIZE
    take = there.pop
    same = filtered = 0
    names_same = rules.names_same
    for entry in source:
        twin = take(entry[0], None)
        if keep is not None and entry[1] >= 0 and not keep(entry):
            filtered += 1
        elif (
            plain
            and twin is not None
            and entry[1] == twin[1]
            and entry[2] == twin[2] != ""
            and entry[2][:8] not in MAYBE_HOLLOW
        ):
            same += 1
            if names_same:
                batch.same.append(entry)
        else:
            _sort(rules, batch, entry, twin)
    batch.counts.same += same
    batch.counts.filtered += filtered
    to_dest = rules.rename.to_dest
    batch.extra = [
        entry._replace(key=to_dest(key))
        for key, entry in there.items()
        if keep is None or keep(entry)
    ]
    batch.counts.extra = len(batch.extra)
    return batch


def _sort(rules: Rules, batch: Batch, source: ListedObject, dest: ListedObject | None) -> None:
    if source.size < 0:
        batch.bare.append(Pick(source, dest, Verdict.DOUBT))
        return
    verdict = decide(rules.policy, source, dest)
    if verdict is Verdict.SAME:
        batch.counts.same += 1
        if rules.names_same:
            batch.same.append(source)
    elif verdict is Verdict.ARCHIVED:
        batch.counts.archived += 1
        batch.archived.append(source)
    elif verdict is Verdict.DOUBT:
        batch.doubtful.append(Pick(source, dest, verdict))
    elif source.size == 0 and not rules.rename.to_dest(source.key):
        # The marker of the source folder itself has no place in the destination.
        batch.counts.filtered += 1
    elif refusal := rules.refusal(source):
        batch.refused.append(refusal)
    else:
        batch.transfer.append(Pick(source, dest, verdict))
