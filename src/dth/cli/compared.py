"""What commands show of a comparison: how many objects are in which state, and where."""

from collections.abc import Callable, Iterable, Sequence

import click

from dth.cli.display import amount, columns, counted, shown
from dth.core.ports.findings import Folder, State, Tally, Verdict

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
    Verdict.SAME: "Both sides are the same.",
    Verdict.UNPROVEN: "Both sides are the same, as far as was compared.",
    Verdict.DIFFERENT: "The sides differ.",
    Verdict.UNDECIDED: "No difference was found, but some objects could not be compared.",
    Verdict.EMPTY: "Nothing was compared: there is no such object on either side.",
}
# Exit codes, as those of `dth s3 diff`.
CODES = {
    Verdict.SAME: 0,
    Verdict.UNPROVEN: 0,
    Verdict.DIFFERENT: 1,
    Verdict.UNDECIDED: 2,
    Verdict.EMPTY: 2,
}
FOLDERS = 20  # shown at most
OTHERS = (State.ARCHIVED, State.UNVERIFIED, State.UNREADABLE)


def print_summary(
    tally: Tally,
    filtered: int,
    notes: Iterable[str],
    policy: str,
    folders: Callable[[str], Sequence[Folder]],
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


def _print_folders(folders: Callable[[str], Sequence[Folder]]) -> None:
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


def _row(folder: Folder) -> tuple[str, ...]:
    items = folder.tally.items
    numbers = (
        items.get(State.SAME, 0) + items.get(State.UNPROVEN, 0),
        items.get(State.MISSING, 0),
        items.get(State.DIFFERENT, 0),
        items.get(State.EXTRA, 0),
        sum(items.get(state, 0) for state in OTHERS),
    )
    return (shown(folder.path), *(f"{number:,}" for number in numbers))
