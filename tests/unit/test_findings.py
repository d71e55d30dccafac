"""What a comparison found: the summary by folder, which is bounded, and the file that it is kept
in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dth.core.ports.findings import ComparisonVerdict, Finding, FolderTally, State, StateTally
from dth.core.ports.runs import Counts
from dth.objects.compare.comparison import Decided
from dth.objects.compare.findings import FolderSummary, findings_of, leave_unjudged
from dth.objects.compare.merge import Pick, Policy, Refusal, Unjudged
from dth.objects.compare.merge import Verdict as Judged
from dth.objects.listing.pages import KeyMap, ListedObject
from dth.platforms.local.findings import LocalFindings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SAME, MISSING, EXTRA = State.SAME, State.MISSING, State.EXTRA


def page(*same: str, size: int = 1) -> Decided:
    return Decided(Counts(), [], same=[ListedObject(key, size) for key in same])


def missing(*keys: str) -> list[Finding]:
    return [Finding(key, MISSING, 2) for key in keys]


def summed(summary: FolderSummary, path: str = "") -> StateTally:
    """What the folders say in all, and what lies beside them."""
    tally = StateTally()
    for folder in summary.folders().get(path, []):
        tally.merge(folder.tally)
    return tally


# --------------------------------------------------------------------------------- what was found


def test_each_object_that_is_not_the_same_is_found_once_with_its_state() -> None:
    one, other = ListedObject("in/a", 5, "e"), ListedObject("in/a", 7)
    decided = Decided(
        Counts(same=2, unproven=1),
        [],
        transfer=[
            Pick(one, None, Judged.MISSING),
            # It was listed, and gone when it was looked at.
            Pick(one._replace(key="in/gone"), other, Judged.MISSING),
            Pick(one._replace(key="in/b"), other, Judged.SIZE),
            Pick(one._replace(key="in/c"), other, Judged.TIME),
        ],
        archived=[ListedObject("in/d", 9)],
        refused=[Refusal(ListedObject("in/e", 1), "AccessDenied", "403")],
        extra=[ListedObject("out/f", 3)],
        same=[ListedObject("in/g", 1)],
        unproven=[ListedObject("in/h", 1)],
        absent=[ListedObject("in/i", -1)],
        unjudged=[
            Unjudged(Pick(one._replace(key="in/c"), other, Judged.TIME), "no checksum"),
            Unjudged(Pick(ListedObject("in/h", 1), other, Judged.UNPROVEN), "no checksum"),
        ],
    )
    leave_unjudged(decided)
    assert list(findings_of(decided, KeyMap("in/", "out/"))) == [
        Finding("in/a", MISSING, 5, -1, "e"),
        Finding("in/gone", MISSING, 5, -1, "e"),
        Finding("in/b", State.DIFFERENT, 5, 7, "e", "size"),
        Finding("in/c", State.UNVERIFIED, 5, 7, "e", "no checksum"),
        Finding("in/h", State.UNVERIFIED, 1, 7, "", "no checksum"),
        Finding("in/e", State.UNREADABLE, 1, -1, "", "403"),
        Finding("in/i", State.UNREADABLE, -1, -1, "", "not found at the source"),
        Finding("in/d", State.ARCHIVED, 9),
        Finding("in/f", EXTRA, -1, 3),
    ]
    assert (decided.unproven, decided.counts.same, decided.counts.unproven) == ([], 1, 0)


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        ((), ComparisonVerdict.EMPTY),
        ((SAME,), ComparisonVerdict.SAME),
        ((SAME, State.UNPROVEN), ComparisonVerdict.UNPROVEN),
        ((SAME, State.UNPROVEN, State.UNREADABLE), ComparisonVerdict.UNDECIDED),
        ((SAME, State.UNVERIFIED), ComparisonVerdict.UNDECIDED),
        ((SAME, State.ARCHIVED), ComparisonVerdict.UNDECIDED),
        ((SAME, State.UNREADABLE, EXTRA), ComparisonVerdict.DIFFERENT),
        ((MISSING,), ComparisonVerdict.DIFFERENT),
        ((State.DIFFERENT,), ComparisonVerdict.DIFFERENT),
    ],
)
def test_what_cannot_be_read_is_never_called_the_same(
    states: tuple[State, ...], verdict: ComparisonVerdict
) -> None:
    tally = StateTally()
    for state in states:
        tally.add(state, 1, 0)
    assert tally.verdict is verdict
    assert StateTally.read(tally.as_dict()) == tally


# ------------------------------------------------------------------------------------- the summary


def test_folders_count_what_is_below_them_and_differences_come_first() -> None:
    summary = FolderSummary(Policy.ETAG)
    summary.add(page("a/1", "a/b/2", "c/3", "top"), missing("c/d/4", "c/d/5"))
    folders = summary.folders()
    assert [(each.path, each.parts) for each in folders[""]] == [("c/", True), ("a/", True)]
    c, a = folders[""]
    assert c.tally == StateTally({SAME: 1, MISSING: 2}, {SAME: 1, MISSING: 4})
    assert a.tally == StateTally({SAME: 2}, {SAME: 2})
    assert folders["c/"] == [FolderTally("c/d/", StateTally({MISSING: 2}, {MISSING: 4}))]
    assert summary.total == StateTally({SAME: 4, MISSING: 2}, {SAME: 4, MISSING: 4})


@pytest.mark.parametrize("policy", [Policy.SIZE, Policy.SIZE_TIME])
def test_what_has_the_same_size_or_time_is_not_proven(policy: Policy) -> None:
    summary = FolderSummary(policy)
    summary.add(page("a/1", "top"), [])
    assert summary.total == StateTally({State.UNPROVEN: 2}, {State.UNPROVEN: 2})
    assert summary.total.verdict is ComparisonVerdict.UNPROVEN


def test_the_widest_folder_is_counted_as_a_whole() -> None:
    summary = FolderSummary(Policy.ETAG, limit=100)
    for number in range(1000):
        summary.add(page(f"logs/{number}/x", f"photos/{number % 5}/y"), [])
    top = {each.path: each for each in summary.folders()[""]}
    assert {path: each.tally.items[SAME] for path, each in top.items()} == {
        "logs/": 1000,
        "photos/": 1000,
    }
    assert not top["logs/"].parts
    assert [each.tally.items[SAME] for each in summary.folders()["photos/"]] == [200] * 5


def test_too_many_folders_at_the_top_are_grouped_by_their_first_letters() -> None:
    summary = FolderSummary(Policy.ETAG, limit=100)
    for number in range(5000):
        summary.add(page(f"user-{number:07}/x"), [])
    summary.add(page(), missing("user-0004321/z"))
    top = summary.folders()[""]
    assert len(top) == 50
    assert {each.tally.items[SAME] for each in top} == {100}
    assert (top[0].path, top[0].tally.items[MISSING]) == ("user-00043", 1)
    assert not top[0].parts


@given(
    st.lists(st.tuples(st.text("ab/", max_size=12), st.booleans()), max_size=120),
    st.integers(2, 12),
)
def test_nothing_is_lost_or_counted_twice_however_little_room_there_is(
    keys: list[tuple[str, bool]], limit: int
) -> None:
    summary = FolderSummary(Policy.ETAG, limit)
    for key, differs in keys:
        summary.add(page() if differs else page(key), missing(key) if differs else [])
    assert summary.total.items.get(SAME, 0) == sum(not differs for _, differs in keys)
    assert summary.total.items.get(MISSING, 0) == sum(differs for _, differs in keys)
    folders = summary.folders()
    assert sum(len(each) for each in folders.values()) <= max(2, limit) * 12
    for within in folders.values():
        for folder in within:
            below = [key for key, differs in keys if key.startswith(folder.path) and differs]
            if folder.path.endswith("/"):
                assert folder.tally.items.get(MISSING, 0) == len(below)


# -------------------------------------------------------------------------------------- the file


@pytest.fixture
def findings(tmp_path: Path) -> Iterator[LocalFindings]:
    with LocalFindings.open(tmp_path) as findings:
        yield findings


async def test_findings_are_read_as_they_were_written(findings: LocalFindings) -> None:
    odd = Finding("k\udcff", State.UNREADABLE, 1, -1, "", "said: \udc80")
    written = [
        Finding("b/2", MISSING, 5, -1, '"e"'),
        Finding("a", State.DIFFERENT, 5, 6, "", "size"),
        Finding("b/1", EXTRA, -1, 7),
        odd,
    ]
    await findings.add(written[:2], StateTally({MISSING: 1}, {MISSING: 5}))
    assert await findings.tally() == StateTally({MISSING: 1}, {MISSING: 5})
    await findings.add(written[2:], StateTally({MISSING: 2}, {MISSING: 9}))
    await findings.add(
        written[:1], StateTally({MISSING: 2}, {MISSING: 9})
    )  # found twice, kept once
    assert await findings.tally() == StateTally({MISSING: 2}, {MISSING: 9})
    found = await findings.page()
    assert [each.key for each in found] == ["a", "b/1", "b/2", "k\udcff"]
    assert found[:3] == [written[1], written[2], written[0]]
    assert found[3].key == odd.key


async def test_pages_go_on_after_a_key_by_state_prefix_and_keys(findings: LocalFindings) -> None:
    states = (MISSING, State.DIFFERENT, EXTRA)
    written = [Finding(f"{n % 2}/{n:02}", states[n % 3], n) for n in range(30)]
    await findings.add(written, StateTally())
    wanted = sorted(each.key for each in written if each.state is not EXTRA)
    seen: list[str] = []
    while found := await findings.page(
        states=(MISSING, State.DIFFERENT), after=seen[-1] if seen else "", limit=7
    ):
        seen += [each.key for each in found]
    assert seen == wanted
    below = await findings.page(prefix="1/")
    assert [each.key for each in below] == sorted(e.key for e in written if e.key[0] == "1")
    chosen = await findings.page(keys=["0/00", "1/01", "no"], states=(MISSING,))
    assert [each.key for each in chosen] == ["0/00"]


async def test_folders_stay_in_their_order(findings: LocalFindings) -> None:
    tally = StateTally({SAME: 1}, {SAME: 10})
    kept = [FolderTally("z/", tally, True), FolderTally("a\udcff/", tally)]
    await findings.end({"": kept, "z/": []})
    assert await findings.folders("", 10) == kept
    assert await findings.folders("", 1) == kept[:1]
    assert await findings.folders("none/", 10) == []
