"""What commands show of a comparison: how many objects are in which state, and where."""

from collections.abc import Callable, Iterable, Sequence

import click

from dth.cli.display import amount, columns, counted, shown
from dth.core.ports.findings import ComparisonVerdict, FolderTally, State, StateTally

WORDS = {
    State.SAME: "same",
    State.UNPROVEN: "same by size or time",
    State.MISSING: "missing at the destination",
    State.DIFFERENT: "different",
    State.EXTRA: "only at the destination",
    State.ARCHIVED: "archived at the source",
    State.UNVERIFIED: "could not be verified",
    State.UNREADABLE: "could not be read",
}
VERDICTS = {
    ComparisonVerdict.SAME: "Both sides are the same.",
    ComparisonVerdict.UNPROVEN: "Both sides are the same, as far as was compared.",
    ComparisonVerdict.DIFFERENT: "The sides differ.",
    ComparisonVerdict.UNDECIDED: "No difference was found, but some objects could not be compared.",
    ComparisonVerdict.EMPTY: "Nothing was compared: there is no such object on either side.",
}
# Exit codes, as those of `dth s3 diff`.
CODES = {
    ComparisonVerdict.SAME: 0,
    ComparisonVerdict.UNPROVEN: 0,
    ComparisonVerdict.DIFFERENT: 1,
    ComparisonVerdict.UNDECIDED: 2,
    ComparisonVerdict.EMPTY: 2,
}
FOLDERS = 20  # shown at most
OTHERS = (State.ARCHIVED, State.UNVERIFIED, State.UNREADABLE)


def print_summary(
    tally: StateTally,
    filtered: int,
    notes: Iterable[str],
    policy: str,
    folders: Callable[[str], Sequence[FolderTally]],
) -> int:
    """Print what was found by a comparison that has seen everything. `folders`: those in one, the
    worst first. Returns the exit code."""
    rows = [
        (WORDS[state], f"{tally.items[state]:,}", amount(tally.bytes[state]))
        for state in State
        if tally.items.get(state)
    ]
    if filtered:
        rows.append(("left out by the filters", f"{filtered:,}", ""))
    if rows:
        columns(("STATE", "OBJECTS", "BYTES"), rows)
    _print_folders(folders)
    for note in notes:
        click.echo(f"note: {shown(note)}")
    click.echo(f"{VERDICTS[tally.verdict]} (compared by {policy})")
    return CODES[tally.verdict]


def _print_folders(folders: Callable[[str], Sequence[FolderTally]]) -> None:
    found = folders("")
    # A folder that has everything in it says nothing.
    while len(found) == 1 and found[0].parts:
        found = folders(found[0].path)
    wrong = [each for each in found if each.tally.differs]
    if not wrong:
        return
    click.echo()
    columns(
        ("FOLDER", "SAME", "MISSING", "DIFFERENT", "EXTRA", "NOT COMPARED"),
        [_row(each) for each in wrong[:FOLDERS]],
    )
    if len(wrong) > FOLDERS:
        click.echo(f"and {counted(len(wrong) - FOLDERS, 'more folder')} with differences")
    if len(found) > len(wrong):
        click.echo(f"{counted(len(found) - len(wrong), 'folder')} without differences")
    click.echo()


def _row(folder: FolderTally) -> tuple[str, ...]:
    items = folder.tally.items
    numbers = (
        items.get(State.SAME, 0) + items.get(State.UNPROVEN, 0),
        items.get(State.MISSING, 0),
        items.get(State.DIFFERENT, 0),
        items.get(State.EXTRA, 0),
        sum(items.get(state, 0) for state in OTHERS),
    )
    return (shown(folder.path), *(f"{number:,}" for number in numbers))
