"""What a comparison found, for people: each object in one state, and a summary by folder."""

from collections import Counter
from collections.abc import Iterable, Iterator

from dth.core.ports.findings import Finding, FolderTally, State, StateTally
from dth.objects.compare.comparison import Decided
from dth.objects.compare.merge import Policy, Verdict
from dth.objects.listing.pages import KeyMap

# The most folders in a summary. Each takes about a kilobyte of memory.
FOLDERS = 5000
# The most letters by which folders at the top are grouped.
LETTERS = 64


def leave_unjudged(decided: Decided) -> None:
    """Take what could not be judged out of what is the same or different by other signs."""
    keys = {pick.source.key for pick, _ in decided.unjudged}
    if not keys:
        return
    decided.transfer = [pick for pick in decided.transfer if pick.source.key not in keys]
    decided.same = [entry for entry in decided.same if entry.key not in keys]
    decided.unproven = [entry for entry in decided.unproven if entry.key not in keys]
    taken = sum(not pick.verdict.transfers for pick, _ in decided.unjudged)
    decided.counts.same -= taken
    decided.counts.unproven -= taken


def findings_of(decided: Decided, keys: KeyMap) -> Iterator[Finding]:
    """The objects of a page that are not the same. Call `leave_unjudged` first."""
    for source, dest, verdict in decided.transfer:
        if dest is None or verdict is Verdict.MISSING:
            yield Finding(source.key, State.MISSING, source.size, -1, source.etag)
        else:
            sizes = (source.size, dest.size)
            yield Finding(source.key, State.DIFFERENT, *sizes, source.etag, str(verdict))
    for (source, dest, _), why in decided.unjudged:
        sizes = (source.size, dest.size if dest else -1)
        yield Finding(source.key, State.UNVERIFIED, *sizes, source.etag, why)
    for source, _, detail in decided.refused:
        yield Finding(source.key, State.UNREADABLE, source.size, -1, source.etag, detail)
    for entry in decided.absent:
        yield Finding(entry.key, State.UNREADABLE, -1, -1, "", "not found at the source")
    for entry in decided.archived:
        yield Finding(entry.key, State.ARCHIVED, entry.size, -1, entry.etag)
    for entry in decided.extra:
        yield Finding(keys.to_source(entry.key), State.EXTRA, -1, entry.size)


class FolderSummary:
    """Counts by folder, in bounded memory, however many folders there are.

    If there are too many, the folders with the most folders in them are closed: each is then
    counted as a whole. At the top, folders are grouped by their first letters instead.

    `policy`: what the page was compared by. Equal sizes and times do not prove that objects are the
    same.
    """

    def __init__(self, policy: Policy, limit: int = FOLDERS) -> None:
        self.total = StateTally()
        self._same = State.SAME if policy.proves else State.UNPROVEN
        self._limit = limit
        # What lies directly in each folder, and what lies below it if it is closed.
        self._tallies: dict[str, StateTally] = {"": StateTally()}
        self._closed: set[str] = set()
        # By how many letters the folders at the top are grouped. None: they are not.
        self._letters: int | None = None

    def add(self, decided: Decided, findings: Iterable[Finding]) -> None:
        """Count a page: its findings, and what is the same."""
        found: dict[tuple[State, str], tuple[int, int]] = {}
        for state, entries in (
            (self._same, decided.same),
            (State.UNPROVEN, decided.unproven),
        ):
            for entry in entries:
                where = (state, _folder_of(entry[0]))
                items, size = found.get(where, (0, 0))
                found[where] = (items + 1, size + entry[1])
        for finding in findings:
            where = (finding.state, _folder_of(finding.key))
            items, size = found.get(where, (0, 0))
            found[where] = (items + 1, size + max(finding.size, finding.dest_size, 0))
        for (state, folder), (items, size) in found.items():
            self.total.add(state, items, size)
            self._tally(folder).add(state, items, size)

    def folders(self) -> dict[str, list[FolderTally]]:
        """The folders by the path of the folder that they are in, with the worst first. The counts
        of each include the folders in it."""
        sums: dict[str, StateTally] = {}
        parents: dict[str, str] = {}
        for path, tally in self._tallies.items():
            for parent, each in self._way(path):
                parents[each] = parent
                sums.setdefault(each, StateTally()).merge(tally)
        found: dict[str, list[FolderTally]] = {}
        inside = Counter(parents.values())
        for path, parent in parents.items():
            found.setdefault(parent, []).append(FolderTally(path, sums[path], inside[path] > 0))
        for folders in found.values():
            folders.sort(key=lambda each: (not each.tally.differs, each.path))
        return found

    def _tally(self, path: str) -> StateTally:
        path = self._known(path)
        if path not in self._tallies and len(self._tallies) >= self._limit:
            # Much at once, because it takes a while.
            while len(self._tallies) > self._limit // 2:
                self._narrow()
            path = self._known(path)
        return self._tallies.setdefault(path, StateTally())

    def _known(self, path: str) -> str:
        """The folder in which this one is counted."""
        known = ""
        for _, known in self._way(path):
            if known in self._closed:
                break
        return known

    def _way(self, path: str) -> Iterator[tuple[str, str]]:
        """The folders from the top to this one, each after the one that it is in."""
        parent, end = "", path.find("/") + 1
        if self._letters is not None and path and not 0 < end <= self._letters:
            if self._letters:
                yield "", path[: self._letters]
            return
        while end:
            yield parent, path[:end]
            parent = path[:end]
            end = path.find("/", end) + 1

    def _narrow(self) -> None:
        """Count some folders together, the widest first."""
        pairs = {pair for path in self._tallies for pair in self._way(path)}
        room = self._limit // 2
        surplus = len(self._tallies) - room
        for parent, number in Counter(parent for parent, _ in pairs).most_common():
            if surplus <= 0:
                break
            surplus -= number
            if parent:
                self._closed.add(parent)
            else:
                top = [each for parent, each in pairs if not parent]
                most = LETTERS if self._letters is None else self._letters - 1
                fitting = (n for n in range(most, 0, -1) if len({e[:n] for e in top}) <= room)
                self._letters = next(fitting, 0)
        before, self._tallies = self._tallies, {"": StateTally()}
        for path, tally in before.items():
            self._tallies.setdefault(self._known(path), StateTally()).merge(tally)
        self._closed &= self._tallies.keys()


def _folder_of(key: str) -> str:
    return key[: key.rfind("/") + 1]
