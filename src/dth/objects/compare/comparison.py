"""What a task would do: lists and compares both sides and resolves every doubt. The results follow
the listing, page by page.

The finder commits these pages. `diff` and a dry run only count them.
"""

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path

from dth.core.errors import (
    ConnectionFailed,
    ObjectChanged,
    ObjectRefused,
    SourceGone,
    Throttled,
    Transient,
    UsageError,
)
from dth.core.ports.records import Record, Records
from dth.core.ports.runs import Counts, Cursor
from dth.objects.compare.contents import in_sample, same_contents, with_sums_of_files
from dth.objects.compare.merge import (
    Batch,
    Pick,
    Policy,
    Refusal,
    Rules,
    Unjudged,
    Verdict,
    decide,
    decide_with_evidence,
    evidence,
    says_same,
    why_unjudged,
)
from dth.objects.listing.filters import Watch, build, only_key
from dth.objects.listing.lists import list_name, listed_object, local_list, missing
from dth.objects.listing.lookup import nothing_below
from dth.objects.listing.pages import ATTEMPTS, ListedObject, Listing, PrefixListing, is_archived
from dth.objects.listing.ranges import Sweep
from dth.objects.listing.sources import (
    ListOfPrefixes,
    read_inventory,
    read_manifest,
    read_prefixes,
    read_report,
)
from dth.objects.listing.spool import Spool
from dth.objects.store.etags import bare_etag
from dth.objects.task import object_filter
from dth.objects.transfer.relay import ObjectRoute

HEADS = 64  # HEAD requests at once
# Batches whose doubts are resolved while earlier ones wait.
BATCHES_AHEAD = 4
# The reason in the record of an object that a manifest names but the source does not have.
NOT_FOUND = "NotFound"
NAMED = 3  # keys named as examples
# The end of the names of S3 directory buckets.
DIRECTORY_BUCKET = "--x-s3"
# Bytes per read of a prefix list or manifest.
READ_STEP = 8 * 1024 * 1024


@dataclass(slots=True)
class Decided:
    """One page of the comparison, with every object decided."""

    counts: Counts
    cursors: list[Cursor]
    transfer: list[Pick] = field(default_factory=list)
    archived: list[ListedObject] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    # With destination keys.
    extra: list[ListedObject] = field(default_factory=list)
    # Only if the comparison names what is the same.
    same: list[ListedObject] = field(default_factory=list)
    unproven: list[ListedObject] = field(default_factory=list)
    # Policies `checksum` and `content`: objects that they could not judge. They are also counted
    # elsewhere.
    unjudged: list[Unjudged] = field(default_factory=list)
    # Objects that were proven the same, and no record says so: source and destination.
    remembered: list[tuple[ListedObject, ListedObject]] = field(default_factory=list)
    # Objects that a manifest names but the source does not have.
    absent: list[ListedObject] = field(default_factory=list)
    # Ranges that are left to other processes. They are among the cursors.
    given: list[Cursor] = field(default_factory=list)


class Comparison:
    """The comparison of one task. Iterate it once. Afterwards, `complete` says whether it saw
    everything, and `notes` are for the user."""

    def __init__(
        self,
        route: ObjectRoute,
        workdir: Path,
        *,
        records: Records | None = None,
        cursors: Sequence[Cursor] = (),
        whole_source: bool = False,
        sample: float = 100.0,
        names_same: bool = False,
        part: str = "",
    ) -> None:
        """`sample`: the percentage of objects that policy `content` reads. The others count as the
        same by size. `names_same`: what is the same is not only counted. `part`: the range to read,
        if another process left it to this one."""
        self._route = route
        self._workdir = workdir
        self._records = records
        self._cursors = cursors
        self._whole_source = whole_source
        self._part = part
        self._shared = False
        self._sweep: Sweep | None = None
        self._sample = sample
        self._heads = asyncio.Semaphore(HEADS)
        self._spools: list[Spool] = []
        self.complete = False
        self.notes: list[str] = []
        parameters = route.parameters
        policy = Policy.ALWAYS if parameters.src_skip_compare else parameters.compare_policy
        wanted = object_filter(parameters)
        self._beginning = parameters.src_prefix + only_key(wanted)
        self._watch = Watch(wanted, parameters.src_prefix)
        keep = self._watch.watching(build(wanted, parameters.src_prefix))
        self._rules = Rules(
            policy, route.keys, keep, names_same, into_folder=route.dest.endpoint.is_folder
        )
        self._stores: list[PrefixListing] = []
        self._listed = self._filtered = 0
        self._absent: list[str] = []
        self._absent_count = self._absolute_count = 0

    async def __aiter__(self) -> AsyncGenerator[Decided, None]:
        source, dest, sparse = await self._listings()
        self._sweep = sweep = Sweep(
            source,
            None if self._rules.policy is Policy.ALWAYS else dest,
            self._rules,
            self._workdir,
            cursors=self._cursors,
            whole_source=self._whole_source,
            sparse=sparse,
            part=self._part,
        )
        ahead: deque[asyncio.Task[Decided]] = deque()
        try:
            async with aclosing(aiter(sweep)) as batches:
                coming = asyncio.ensure_future(anext(batches, None))
                try:
                    while True:
                        # Yield decided pages at once, however long the next batch takes.
                        first = list(ahead)[:1]
                        waited = first if len(ahead) > BATCHES_AHEAD else [coming, *first]
                        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                        if ahead and ahead[0].done():
                            yield await ahead.popleft()
                            continue
                        batch = coming.result()
                        if batch is None:
                            break
                        ahead.append(asyncio.create_task(self._resolve(batch)))
                        coming = asyncio.ensure_future(anext(batches, None))
                finally:
                    coming.cancel()
                    await asyncio.gather(coming, return_exceptions=True)
            while ahead:
                yield await ahead.popleft()
            self.complete = sweep.complete
            if not self._cursors and not self._shared:
                # What earlier and other processes saw is not known here.
                self.notes += await self._remarks()
        finally:
            for task in ahead:
                task.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)
            self.notes += sweep.notes + [note for store in self._stores for note in store.notes]
            self.notes += self._route.source.left_out
            for spool in self._spools:
                spool.close()

    def share(self, ranges: int) -> None:
        """Leave this many ranges of a long listing to other processes. Lists and folders are not
        shared: other processes and machines may not have them."""
        parameters, route = self._route.parameters, self._route
        lists = (
            parameters.src_prefixs_list_file or parameters.src_manifest or parameters.src_inventory
        )
        folder = route.source.endpoint.is_folder or route.dest.endpoint.is_folder
        if self._sweep and not lists and not folder:
            self._sweep.wanted = ranges

    async def _remarks(self) -> list[str]:
        """Notes for the user about a selection that is probably not what was meant."""
        parameters, notes = self._route.parameters, []
        lists = (
            parameters.src_prefixs_list_file or parameters.src_manifest or parameters.src_inventory
        )
        if not self._listed and not lists and await self._is_empty():
            return [await nothing_below(self._route.source, parameters.src_prefix)]
        if not self._listed and lists:
            return ["nothing found at the source: the list names no object"]
        if self._absent_count:
            examples = ", ".join(map(repr, self._absent))
            notes.append(
                f"not found: {self._absent_count} of {self._listed} keys that the list names do "
                f"not exist in {self._route.source.place}, for example {examples}"
            )
            if self._absolute_count:
                notes.append(
                    f"{self._absolute_count} of these begin with /; keys rarely do, so write "
                    "them without it"
                )
        if self._listed and self._listed == self._filtered:
            notes.append("everything was filtered: no object passes the filters")
        return notes + self._watch.notes

    async def _is_empty(self) -> bool:
        """Whether no key has the source prefix. The listing may have covered less than that."""
        prefix = self._route.parameters.src_prefix
        if self._beginning == prefix:
            return True
        return not (await PrefixListing(self._route.source, prefix).page(limit=1)).entries

    # -------------------------------------------------------------------------------- the two sides

    async def _listings(self) -> tuple[Listing, Listing, bool]:
        """The listings to compare at the source and the destination, and whether the source is only
        a selection of keys."""
        dest = self._dest_listing()
        parameters, source = self._route.parameters, self._route.source
        prefix, name = parameters.src_prefix, f"source {source.place}"
        objects = PrefixListing(
            source,
            self._beginning,
            name=name,
            restore_status=source.endpoint.is_aws or parameters.restore_archived,
            ordered=not source.bucket.endswith(DIRECTORY_BUCKET),
            first_version=source.first_version,
        )
        self._stores = [objects, dest]
        if parameters.src_prefixs_list_file:
            chunks, place = self._read(
                parameters.src_prefixs_list_file, parameters.src_prefix_list_bucket
            )
            prefixes = await read_prefixes(chunks, self._workdir, name=place, within=prefix)
            self._spools.append(prefixes)
            return ListOfPrefixes(objects, prefixes), ListOfPrefixes(dest, prefixes), False
        if parameters.src_manifest:
            chunks, place = self._read(parameters.src_manifest, "")
            spool = await read_manifest(
                chunks, self._workdir, name=place, bucket=source.bucket, prefix=prefix
            )
            self._spools.append(spool)
            return spool, dest, True
        if parameters.src_inventory:
            spool = await self._inventory(parameters.src_inventory)
            self._spools.append(spool)
            return spool, dest, True
        return objects, dest, False

    def _dest_listing(self) -> PrefixListing:
        dest = self._route.dest
        return PrefixListing(
            dest,
            self._beginning,
            name=f"destination {dest.place}",
            rename=self._route.keys,
            ordered=not dest.bucket.endswith(DIRECTORY_BUCKET),
            first_version=dest.first_version,
        )

    async def _inventory(self, place: str) -> Spool:
        bucket, key = listed_object(place, self._route.source.bucket)
        chunks, _ = self._read(key, bucket)
        return await read_inventory(
            await read_report(chunks, place),
            lambda file: self._read(file, bucket)[0],
            self._workdir,
            name=place,
            bucket=self._route.source.bucket,
            prefix=self._route.parameters.src_prefix,
        )

    def _read(self, place: str, bucket: str) -> tuple[AsyncIterator[bytes], str]:
        """A list as a stream of bytes, and its name for messages. The name means a local file if
        there is one, else an object of the source."""
        if path := local_list(place, bucket):
            return _read_file(path), list_name(path)
        bucket, key = listed_object(place, bucket or self._route.source.bucket)
        return self._read_object(bucket, key), f"s3://{bucket}/{key}"

    async def _read_object(self, bucket: str, key: str) -> AsyncIterator[bytes]:
        client = self._route.source.for_bucket(bucket)
        try:
            head = await client.head(key)
            size, etag = (
                int(head.headers.get("content-length", "0")),
                bare_etag(head.headers.get("etag", "")),
            )
            for first in range(0, size, READ_STEP):
                span = (first, min(first + READ_STEP, size) - 1)
                answer = await client.get(key, size=size, etag=etag, span=span)
                yield answer.body
        except SourceGone:
            raise UsageError(f"{key}: {missing(bucket, key)}") from None

    # ------------------------------------------------------------------------------------- evidence

    async def _resolve(self, batch: Batch) -> Decided:
        decided = Decided(
            batch.counts,
            batch.cursors,
            list(batch.transfer),
            list(batch.archived),
            list(batch.refused),
            batch.extra,
            batch.same,
            given=batch.given,
        )
        self._shared |= bool(batch.given)
        if batch.bare:
            found = await self._each(self._look, batch.bare, decided)
            keep = self._rules.keep
            self._note_absent(decided.absent)
            kept = [
                pick for pick in found if keep is None or pick.source.size < 0 or keep(pick.source)
            ]
            decided.counts.filtered += len(found) - len(kept)
            self._sort(kept, decided, batch, {})
        if batch.doubtful:
            keys = [pick.source.key for pick in batch.doubtful]
            records = await self._records.get(keys) if self._records else {}
            proven = await self._each(
                lambda pick: self._prove(pick, records.get(pick.source.key), decided),
                batch.doubtful,
                decided,
            )
            self._sort(proven, decided, batch, records)
        self._listed += decided.counts.listed
        self._filtered += decided.counts.filtered
        return decided

    def _note_absent(self, absent: Sequence[ListedObject]) -> None:
        self._absent_count += len(absent)
        self._absolute_count += sum(entry.key.startswith("/") for entry in absent)
        self._absent += [entry.key for entry in absent[: NAMED - len(self._absent)]]

    def _sort(
        self,
        picks: Sequence[Pick],
        decided: Decided,
        batch: Batch,
        records: Mapping[str, Record],
    ) -> None:
        for pick in picks:
            if pick.verdict is Verdict.SAME or pick.verdict is Verdict.UNPROVEN:
                decided.counts.same += 1
                decided.counts.unproven += pick.verdict is Verdict.UNPROVEN
                if self._rules.names_same:
                    named = decided.same if pick.verdict is Verdict.SAME else decided.unproven
                    named.append(pick.source)
                proven = pick.dest if pick.verdict is Verdict.SAME else None
                # A record that already says so also says who verified the copy, and what it lacks.
                if proven and not says_same(records.get(pick.source.key), pick.source, proven):
                    decided.remembered.append((pick.source, proven))
            elif pick.verdict is Verdict.ARCHIVED:
                decided.counts.archived += 1
                decided.archived.append(pick.source)
            elif pick.verdict is Verdict.DOUBT:
                batch.doubtful.append(pick)
            elif refusal := self._rules.refusal(pick.source):
                decided.refused.append(refusal)
            else:
                decided.transfer.append(pick)

    async def _look(self, pick: Pick) -> Pick:
        """Look up a manifest's entry of which only the key is known, and decide it as it is now."""
        key = pick.source.key
        answer = (await self._route.source.head(key, attempts=ATTEMPTS)).headers
        entry = ListedObject(
            key,
            int(answer.get("content-length", "0")),
            bare_etag(answer.get("etag", "")),
            _listing_time(answer.get("last-modified", "")),
            answer.get("x-amz-storage-class", ""),
            ""
            if 'ongoing-request="true"' in answer.get("x-amz-restore", "")
            else answer.get("x-amz-restore", ""),
        )
        return Pick(entry, pick.dest, decide(self._rules.policy, entry, pick.dest))

    async def _prove(self, pick: Pick, record: Record | None, decided: Decided) -> Pick:
        source, dest, policy = pick.source, pick.dest, self._rules.policy
        if dest is None:
            return Pick(source, dest, Verdict.MISSING)
        if policy is Policy.CONTENT:
            return await self._by_content(source, dest, decided)
        verdict = decide_with_evidence(policy, source, dest, record)
        if verdict is not Verdict.DOUBT:
            return Pick(source, dest, verdict)
        route, checksums = self._route, policy is Policy.CHECKSUM
        try:
            # With as many attempts as a listing, because a HEAD without an answer fails the whole
            # run.
            dest_key = route.keys.to_dest(source.key)
            there = await route.dest.head(dest_key, checksums=checksums, attempts=ATTEMPTS)
            here = (
                await route.source.head(source.key, checksums=True, attempts=ATTEMPTS)
                if checksums
                else None
            )
        except SourceGone as gone:
            if gone.side == "source":
                raise
            return Pick(source, dest, Verdict.MISSING)
        dest_head = evidence(there.headers)
        source_head = evidence(here.headers) if here else None
        if source_head:
            source_head, dest_head = await with_sums_of_files(
                route, source, dest, source_head, dest_head
            )
        verdict = decide_with_evidence(policy, source, dest, record, dest_head, source_head)
        judged = Pick(source, dest, verdict)
        if source_head and verdict in (Verdict.UNPROVEN, Verdict.TIME):
            decided.unjudged.append(Unjudged(judged, why_unjudged(source_head, dest_head)))
        return judged

    async def _by_content(self, source: ListedObject, dest: ListedObject, decided: Decided) -> Pick:
        by_size = Pick(source, dest, Verdict.UNPROVEN)
        if not in_sample(source.key, self._sample):
            return by_size
        if is_archived(source) or is_archived(dest):
            side = "source" if is_archived(source) else "destination"
            decided.unjudged.append(
                Unjudged(by_size, f"archived at the {side}, so that it cannot be read")
            )
            return by_size
        try:
            same = await same_contents(self._route, source, dest)
        except SourceGone as gone:
            if gone.side == "source":
                raise
            return Pick(source, dest, Verdict.MISSING)
        except ObjectChanged as error:
            # One object that changes says nothing about the others.
            raise ObjectRefused(str(error), code=error.code, status=error.status) from None
        return Pick(source, dest, Verdict.SAME if same else Verdict.CONTENT)

    async def _each(
        self, work: Callable[[Pick], Awaitable[Pick]], picks: Sequence[Pick], decided: Decided
    ) -> list[Pick]:
        """Do the work on every pick. If a store refuses a single object, only that object is
        refused. An object that the source does not have is absent, unless the source lists it."""

        async def one(pick: Pick) -> Pick | None:
            async with self._heads:
                try:
                    return await work(pick)
                except ObjectRefused as error:
                    decided.refused.append(Refusal(pick.source, error.code, str(error)))
                except Transient as error:
                    if not await self._is_alone(error):
                        raise
                    decided.refused.append(Refusal(pick.source, error.code, str(error)))
                except SourceGone as gone:
                    if await self._route.source.is_listed(pick.source.key):
                        detail = f"it is listed at the source, but cannot be read: {gone}"
                        decided.refused.append(Refusal(pick.source, "Unreadable", detail))
                    else:
                        decided.absent.append(pick.source)
                return None

        return [pick for pick in await asyncio.gather(*map(one, picks)) if pick]

    async def _is_alone(self, error: Transient) -> bool:
        """Whether a temporary error that persists concerns one object and not the whole
        endpoint."""
        if isinstance(error, Throttled):
            client = self._route.source if error.side == "source" else self._route.dest
            return await client.lets_pass()
        return not isinstance(error, ConnectionFailed)


def _listing_time(text: str) -> str:
    """An HTTP date in the format of `ListedObject.modified`."""
    try:
        return parsedate_to_datetime(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return ""


async def _read_file(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, READ_STEP):
            yield chunk
