"""Walking in ranges: every key exactly once, whatever the keys, the splits, the restarts and the
store's manners."""

import asyncio
import random
from contextlib import aclosing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dth.core.errors import ListingFailed, Transient
from dth.core.ports.runs import Cursor
from dth.objects.compare.merge import Batch, Rules, Verdict
from dth.objects.listing import ranges
from dth.objects.listing.pages import KeyMap, ListedObject, PrefixListing
from dth.objects.listing.ranges import OutOfOrder, Sweep, boundary, given_root
from tests.unit.memory_bucket import MemoryBucket, entry

LETTERS = "ab/0\x7fé\ud7ff\ue000￿😀 \n+%&<"
KEYS = st.text(LETTERS, min_size=1, max_size=6)
LONG_PREFIX = "deep/" * 20


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "LONG", 1)
    monkeypatch.setattr(ranges, "PAGE_SIZE", 4)


class Result:
    """What the finder would have kept of a sweep."""

    def __init__(self) -> None:
        self.transfer: list[str] = []
        self.extra: list[str] = []
        self.cursors: dict[str, Cursor] = {}
        self.listed = self.same = self.dest_listed = self.batches = 0

    def commit(self, batch: Batch) -> None:
        self.batches += 1
        self.transfer += [pick.source.key for pick in batch.transfer]
        self.extra += [entry.key for entry in batch.extra]
        self.cursors |= {cursor.id: cursor for cursor in batch.cursors}
        self.listed += batch.counts.listed
        self.same += batch.counts.same
        self.dest_listed += batch.counts.dest_listed

    @property
    def covered(self) -> list[tuple[str, str]]:
        return sorted((c.after, c.upto) for c in self.cursors.values())


async def run(sweep: Sweep, result: Result, stop_after: int | None = None) -> Result:
    async with aclosing(aiter(sweep)) as batches:
        async for batch in batches:
            if stop_after is not None and stop_after <= 0:
                return result  # killed: this batch is lost
            result.commit(batch)
            if stop_after is not None:
                stop_after -= 1
            await asyncio.sleep(0)
    return result


def expect(result: Result, source: dict[str, ListedObject], dest: dict[str, ListedObject]) -> None:
    same = {k for k in source if k in dest and dest[k][1:3] == source[k][1:3]}
    assert sorted(result.transfer) == sorted(source.keys() - same)
    assert sorted(result.extra) == sorted(dest.keys() - source.keys())
    assert (result.listed, result.same, result.dest_listed) == (len(source), len(same), len(dest))


def expect_cover(result: Result) -> None:
    """The ranges join on to each other from the first key to the last."""
    edges = result.covered
    assert edges[0][0] == ""
    assert edges[-1][1] == ""
    assert [a for a, _ in edges[1:]] == [b for _, b in edges[:-1]]


@settings(max_examples=150, deadline=None)
@given(st.sets(KEYS, max_size=60), st.sets(KEYS, max_size=60), st.booleans(), st.data())
def test_every_key_is_compared_once_over_splits_and_restarts(
    here: set[str], there: set[str], deep: bool, data: st.DataObject
) -> None:
    prefix = LONG_PREFIX if deep else ""
    source = {prefix + k: entry(prefix + k, "x") for k in here}
    dest = {
        prefix + k: entry(prefix + k, data.draw(st.sampled_from("xyz"), "content")) for k in there
    }
    for key, value in dest.items():
        dest[key] = value._replace(size=1 if value.etag == "etag-x" else 2)
    left = MemoryBucket(source.values(), cap=data.draw(st.integers(1, 5), "page"))
    right = MemoryBucket(dest.values(), cap=data.draw(st.integers(1, 5), "page"))

    async def scenario(workdir: Path) -> Result:
        result = Result()
        while True:
            sweep = Sweep(
                PrefixListing(left, prefix, name="left"),
                PrefixListing(right, prefix, name="right"),
                Rules(),
                workdir,
                cursors=list(result.cursors.values()),
                parallel=data.draw(st.integers(1, 5), "parallel"),
            )
            await run(sweep, result, data.draw(st.none() | st.integers(0, 10), "killed after"))
            if sweep.complete:
                assert not sweep.notes
                return result

    with TemporaryDirectory() as workdir:
        result = asyncio.run(scenario(Path(workdir)))
        assert not list(Path(workdir).iterdir())
    expect(result, source, dest)
    expect_cover(result)


@settings(max_examples=150, deadline=None)
@given(st.sets(KEYS, max_size=80), st.sets(KEYS, max_size=80), st.data())
def test_every_key_is_compared_once_where_others_read_ranges(
    here: set[str], there: set[str], data: st.DataObject
) -> None:
    source, dest = ({key: entry(key, "x") for key in keys} for keys in (here, there))
    left = MemoryBucket(source.values(), cap=data.draw(st.integers(1, 3), "page"))
    right = MemoryBucket(dest.values(), cap=data.draw(st.integers(1, 3), "page"))

    async def read(part: str, result: Result, workdir: Path) -> None:
        """Read a range, or what is left to nobody, with deaths on the way."""
        complete = False
        while not complete:
            sweep = Sweep(
                PrefixListing(left),
                PrefixListing(right),
                Rules(),
                workdir,
                cursors=[each for each in result.cursors.values() if given_root(each) == part],
                parallel=data.draw(st.integers(1, 3), "parallel"),
                part=part,
            )
            sweep.wanted = data.draw(st.integers(0, 4), "wanted")
            await run(sweep, result, data.draw(st.none() | st.integers(0, 10), "killed after"))
            complete = sweep.complete

    async def scenario(workdir: Path) -> Result:
        result = Result()
        await read("", result, workdir)
        while parts := {given_root(each) for each in result.cursors.values() if not each.finished}:
            await asyncio.gather(*(read(part, result, workdir) for part in parts))
        return result

    with TemporaryDirectory() as workdir:
        result = asyncio.run(scenario(Path(workdir)))
    expect(result, source, dest)
    expect_cover(result)


@settings(max_examples=100, deadline=None)
@given(
    st.sets(KEYS, max_size=60),
    st.sampled_from(["utf-16", "by folder", "hashed"]),
    st.sampled_from(["source", "dest", "both"]),
    st.integers(1, 6),
    st.integers(1, 4),
)
def test_a_store_with_an_order_of_its_own_loses_nothing(
    keys: set[str], order: str, side: str, cap: int, parallel: int
) -> None:
    orders = {
        "utf-16": lambda key: key.encode("utf-16-be"),
        "by folder": lambda key: key.split("/"),
        "hashed": lambda key: random.Random(key).random(),
    }
    strange = orders[order]
    source = {k: entry(k, "x") for k in keys}
    dest = {k: e for k, e in source.items() if len(k) % 2}

    async def scenario(workdir: Path) -> Result:
        whole = False
        while True:
            left = MemoryBucket(source.values(), cap=cap)
            right = MemoryBucket(dest.values(), cap=cap)
            if side in ("source", "both"):
                left.order = strange
            if side in ("dest", "both"):
                right.order = strange
            sweep = Sweep(
                PrefixListing(left, name="left"),
                PrefixListing(right, name="right"),
                Rules(),
                workdir,
                whole_source=whole,
                parallel=parallel,
            )
            result = Result()
            try:
                await run(sweep, result)
            except OutOfOrder:
                assert not whole
                assert result.batches
                whole = True
            else:
                assert sweep.complete
                return result

    with TemporaryDirectory() as workdir:
        result = asyncio.run(scenario(Path(workdir)))
    assert result.listed == len(source)
    assert set(result.extra) == set()
    missing = source.keys() - dest.keys()
    assert missing <= set(result.transfer) <= source.keys()
    if side == "source":
        assert sorted(result.transfer) == sorted(missing)


async def test_disorder_on_the_first_page_sorts_the_source_on_disk(tmp_path: Path) -> None:
    keys = [f"k{i:03}" for i in range(50)]
    bucket = MemoryBucket(
        [entry(k) for k in keys], cap=10, order=lambda key: key[::-1], ignores_start=True
    )
    dest = MemoryBucket([entry(k) for k in keys[:20]], cap=7)
    sweep = Sweep(PrefixListing(bucket, name="odd"), PrefixListing(dest), Rules(), tmp_path)
    result = await run(sweep, Result())
    assert sorted(result.transfer) == keys[20:]
    assert result.listed == 50
    [note] = sweep.notes
    assert (
        note == "odd does not list its keys in order: its listing was read whole and sorted on disk"
    )
    assert sweep.complete


async def test_a_killed_sweep_of_a_disordered_source_goes_on_whole(tmp_path: Path) -> None:
    keys = [f"k{i:03}" for i in range(50)]
    bucket = MemoryBucket(
        [entry(k) for k in keys], cap=10, order=lambda key: key[::-1], ignores_start=True
    )
    dest = MemoryBucket([entry(k) for k in keys[:20]], cap=7)
    result = Result()
    await run(
        Sweep(PrefixListing(bucket), PrefixListing(dest), Rules(), tmp_path), result, stop_after=2
    )
    assert 0 < result.listed < 50
    again = Sweep(
        PrefixListing(bucket),
        PrefixListing(dest),
        Rules(),
        tmp_path,
        cursors=list(result.cursors.values()),
    )
    await run(again, result)
    assert sorted(result.transfer) == keys[20:]
    assert result.listed == 50


@pytest.mark.parametrize(
    ("order", "cut"),
    [
        # As "a/x" stands before "a-z" there, neither range would see it: the first one ends before
        # it ...
        (["0", "a/x", "a-m", "a-z"], "a-m"),
        # ... and here the key after the cut looks like one that was walked over already.
        (["0", "😀", "\ue000"], "😀"),
    ],
)
async def test_a_strange_order_is_noticed_where_ranges_meet(
    tmp_path: Path, order: list[str], cut: str
) -> None:
    left = MemoryBucket([entry(k) for k in order if k != "a-m"], cap=2, order=order.index)
    cursors = [Cursor("0.0", 0, "", cut, ""), Cursor("0.1", 0, cut, "", cut)]
    with pytest.raises(OutOfOrder):
        await run(Sweep(PrefixListing(left), None, Rules(), tmp_path, cursors=cursors), Result())


async def test_a_strange_order_is_noticed_where_only_the_destination_has_keys(
    tmp_path: Path,
) -> None:
    order = ["m", *"bcdefgh", "a"]
    left = MemoryBucket([entry(k) for k in "ma"], cap=1, order=order.index)
    right = MemoryBucket([entry(k) for k in "bcdefgh"], cap=4)
    sweep = Sweep(PrefixListing(left), PrefixListing(right), Rules(), tmp_path)
    result = await run(sweep, Result())
    assert sorted(result.transfer) == ["a", "m"]
    assert sorted(result.extra) == list("bcdefgh")
    assert len(sweep.notes) == 1


async def test_a_key_listed_twice_counts_once(tmp_path: Path) -> None:
    keys = ["c", "a", "b", "d"]
    bucket = MemoryBucket([entry(k) for k in keys], order=keys.index)
    original = bucket._render
    bucket._render = lambda page, more, query: original([*page, *page], more, query)  # type: ignore[method-assign]
    result = await run(Sweep(PrefixListing(bucket), None, Rules(), tmp_path), Result())
    assert sorted(result.transfer) == ["a", "b", "c", "d"]
    assert result.listed == 4


@pytest.mark.parametrize("side", ["source", "dest"])
async def test_a_store_that_ignores_where_to_start_is_walked_in_one_piece(
    tmp_path: Path, side: str
) -> None:
    keys = [f"k{i:03}" for i in range(60)]
    left = MemoryBucket([entry(k) for k in keys], cap=4, ignores_start=side == "source")
    right = MemoryBucket([entry(k) for k in keys[::2]], cap=4, ignores_start=side == "dest")
    result = Result()
    while True:  # killed again and again
        sweep = Sweep(
            PrefixListing(left),
            PrefixListing(right),
            Rules(),
            tmp_path,
            cursors=list(result.cursors.values()),
        )
        await run(sweep, result, stop_after=4)
        if sweep.complete:
            break
    assert len(sweep.notes) == 1
    assert sorted(result.transfer) == keys[1::2]
    assert (result.listed, result.dest_listed) == (60, 30)
    expect_cover(result)


async def test_fault_01_memory_and_depth_do_not_limit_a_listing(tmp_path: Path) -> None:
    """A deep tree with thousands of sub-prefixes, and objects above it, is split by itself and
    loses nothing."""
    keys = ["top", "a/above", *(f"a/b/c/{i:04}/{j}/x" for i in range(400) for j in range(5))]
    left, right = MemoryBucket([entry(k) for k in keys], cap=20), MemoryBucket(cap=20)
    sweep = Sweep(PrefixListing(left), PrefixListing(right), Rules(), tmp_path, parallel=8)
    result = await run(sweep, Result())
    assert sorted(result.transfer) == sorted(keys)
    assert len(result.cursors) >= 6
    expect_cover(result)


async def test_a_split_by_the_destination_where_the_source_is_small(tmp_path: Path) -> None:
    left = MemoryBucket([entry("src/m")], cap=10)
    right = MemoryBucket([entry(f"to/{i:04}") for i in range(1000)], cap=10)
    rename = KeyMap("src/", "to/")
    sweep = Sweep(
        PrefixListing(left, "src/"),
        PrefixListing(right, "src/", rename=rename),
        Rules(rename=rename),
        tmp_path,
    )
    result = await run(sweep, Result())
    assert result.transfer == ["src/m"]
    assert sorted(result.extra) == [f"to/{i:04}" for i in range(1000)]
    assert len(result.cursors) > 4


async def test_an_empty_source_finishes(tmp_path: Path) -> None:
    sweep = Sweep(PrefixListing(MemoryBucket()), PrefixListing(MemoryBucket()), Rules(), tmp_path)
    result = await run(sweep, Result())
    assert sweep.complete
    assert [(c.after, c.upto, c.finished) for c in result.cursors.values()] == [("", "", True)]


async def test_a_page_that_fails_for_good_fails_the_sweep(tmp_path: Path) -> None:
    bucket = MemoryBucket([entry(f"{i:03}") for i in range(100)], cap=10)
    listing = PrefixListing(bucket, name="s3://b", attempts=1)
    sweep = Sweep(listing, None, Rules(), tmp_path)
    bucket.failures = [Transient("503")] * 20
    with pytest.raises(ListingFailed, match=r"Cannot list s3://b"):
        await run(sweep, Result())
    assert not sweep.complete


async def test_a_sparse_source_skips_what_lies_between_at_the_destination(tmp_path: Path) -> None:
    there = [f"{i:05}" for i in range(20000)]
    wanted = [*there[100:16000:4000], "17000x"]
    left = MemoryBucket([entry(k) for k in wanted], cap=2)
    right = MemoryBucket([entry(k) for k in there], cap=100)
    sweep = Sweep(
        PrefixListing(left), PrefixListing(right), Rules(), tmp_path, sparse=True, parallel=1
    )
    result = await run(sweep, Result())
    assert result.transfer == ["17000x"]
    assert result.same == 4
    assert len(right.queries) < 25  # of 200 pages


@settings(max_examples=100, deadline=None)
@given(st.sets(KEYS, max_size=40), st.sets(KEYS, max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_a_sparse_source_is_compared_in_full(
    here: set[str], there: set[str], cap: int, parallel: int
) -> None:
    left = MemoryBucket([entry(k, "x") for k in here], cap=cap)
    right = MemoryBucket([entry(k, "x") for k in there], cap=cap)

    async def scenario(workdir: Path) -> Result:
        listings = PrefixListing(left), PrefixListing(right)
        sweep = Sweep(*listings, Rules(), workdir, sparse=True, parallel=parallel)
        return await run(sweep, Result())

    with TemporaryDirectory() as workdir:
        result = asyncio.run(scenario(Path(workdir)))
    assert sorted(result.transfer) == sorted(here - there)
    assert (result.listed, result.same, result.extra) == (len(here), len(here & there), [])
    expect_cover(result)


async def test_a_sparse_source_may_begin_with_the_prefix_itself(tmp_path: Path) -> None:
    left = MemoryBucket([entry("src/"), entry("src/b")])
    right = MemoryBucket(
        [entry("to/"), entry("to/b"), *(entry(f"to/a{i}") for i in range(20))], cap=3
    )
    rename = KeyMap("src/", "to/")
    dest = PrefixListing(right, "src/", rename=rename)
    sweep = Sweep(PrefixListing(left, "src/"), dest, Rules(rename=rename), tmp_path, sparse=True)
    result = await run(sweep, Result())
    assert (result.same, result.transfer) == (2, [])


async def test_without_a_destination_listing_all_is_transferred(tmp_path: Path) -> None:
    left = MemoryBucket([entry(f"{i:03}") for i in range(100)], cap=10)
    verdicts = [
        p.verdict
        async for b in Sweep(PrefixListing(left), None, Rules(), tmp_path)
        for p in b.transfer
    ]
    assert verdicts == [Verdict.MISSING] * 100


@settings(max_examples=100, deadline=None)
@given(st.lists(KEYS, min_size=2, max_size=40, unique=True), st.data())
def test_a_boundary_leaves_something_on_both_sides(keys: list[str], data: st.DataObject) -> None:
    keys = sorted(LONG_PREFIX + key for key in keys)
    low = data.draw(st.integers(0, len(keys) - 2))
    high = data.draw(st.none() | st.integers(low + 1, len(keys) - 1))
    bucket = MemoryBucket([entry(key) for key in keys])
    found = asyncio.run(
        boundary(
            PrefixListing(bucket, LONG_PREFIX), keys[low], keys[high] if high is not None else ""
        )
    )
    inside = keys[low + 1 : None if high is None else high + 1]
    if len(inside) < 2:
        assert found == ""
    else:
        assert found in inside[:-1]
    assert len(bucket.queries) <= 45


async def test_boundaries_take_few_probes_and_halve_well() -> None:
    keys = [f"data/year=2024/month=05/part-{i:08}.parquet" for i in range(0, 9_000_000, 3000)]
    bucket = MemoryBucket([entry(key) for key in keys])
    found = await boundary(PrefixListing(bucket, "data/"), keys[3], "")
    assert 0.3 < keys.index(found) / len(keys) < 0.7
    assert len(bucket.queries) <= 14
