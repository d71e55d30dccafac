"""What a comparison of two sides found: counts for everything, and each item that is not the
same."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol, Self


class State(StrEnum):
    """What a comparison says of one item. Each item that it saw is in exactly one state."""

    SAME = "SAME"
    # The same as far as the listings show. What the policy asks for was not compared.
    UNPROVEN = "UNPROVEN"
    MISSING = "MISSING"
    DIFFERENT = "DIFFERENT"
    EXTRA = "EXTRA"  # only at the destination
    # Missing or different, and archived at the source: it cannot be read before it is restored.
    ARCHIVED = "ARCHIVED"
    # On both sides, but it could not be compared as the policy asks.
    UNVERIFIED = "UNVERIFIED"
    UNREADABLE = "UNREADABLE"  # a side refused it


class ComparisonVerdict(StrEnum):
    """What a comparison that has seen everything says about both sides."""

    SAME = "SAME"
    # The same, but of some items only size or time was compared.
    UNPROVEN = "UNPROVEN"
    DIFFERENT = "DIFFERENT"
    # No difference was found, but some items could not be compared.
    UNDECIDED = "UNDECIDED"
    EMPTY = "EMPTY"  # there was nothing to compare


DIFFERENCES = (State.MISSING, State.DIFFERENT, State.EXTRA)
# The states of items that are kept one by one. The others are only counted.
KEPT = tuple(state for state in State if state not in (State.SAME, State.UNPROVEN))
# States whose items can be copied now.
COPYABLE = (State.MISSING, State.DIFFERENT, State.UNVERIFIED, State.UNREADABLE)


class Finding(NamedTuple):
    """An item that is not the same. The key is the source's; that of an item which is only at the
    destination is what it would be at the source. Sizes are -1 where the side has no such item, or
    the size is not known."""

    key: str
    state: State
    size: int = -1
    dest_size: int = -1
    etag: str = ""  # at the source
    why: str = ""


@dataclass(slots=True)
class StateTally:
    """Items and their bytes, by state."""

    items: dict[State, int] = field(default_factory=dict)
    bytes: dict[State, int] = field(default_factory=dict)

    def add(self, state: State, items: int, size: int) -> None:
        self.items[state] = self.items.get(state, 0) + items
        self.bytes[state] = self.bytes.get(state, 0) + size

    def merge(self, other: Self) -> None:
        """Add what another tally has counted."""
        for state, items in other.items.items():
            self.add(state, items, other.bytes[state])

    def as_dict(self) -> dict[str, tuple[int, int]]:
        """By state, items and bytes: JSON-safe, for `read`."""
        return {state.value: (items, self.bytes[state]) for state, items in self.items.items()}

    @classmethod
    def read(cls, values: Mapping[str, Sequence[int]]) -> Self:
        tally = cls()
        for state, (items, size) in values.items():
            tally.add(State(state), items, size)
        return tally

    @property
    def total(self) -> int:
        """The items in all states."""
        return sum(self.items.values())

    @property
    def verdict(self) -> ComparisonVerdict:
        """Only of a comparison that has seen everything."""
        if any(self.items.get(state) for state in DIFFERENCES):
            return ComparisonVerdict.DIFFERENT
        if self.differs:
            return ComparisonVerdict.UNDECIDED
        if self.items.get(State.UNPROVEN):
            return ComparisonVerdict.UNPROVEN
        return ComparisonVerdict.SAME if self.total else ComparisonVerdict.EMPTY

    @property
    def differs(self) -> bool:
        """Whether some item is not the same, or nobody knows."""
        return any(self.items.get(state) for state in KEPT)


@dataclass(frozen=True, slots=True)
class FolderTally:
    """A part of the keys with what is in it, at any depth. `path` is a prefix of keys; it ends with
    a slash, except where a folder has too many others in it and they are grouped by their first
    letters. `parts`: whether it has folders of its own."""

    path: str
    tally: StateTally
    parts: bool = False


class Findings(Protocol):
    """Where a comparison writes what it finds."""

    async def add(self, findings: Sequence[Finding], tally: StateTally) -> None:
        """Keep these items, and the counts so far. What is found twice is kept once."""
        ...

    async def end(self, folders: Mapping[str, Iterable[FolderTally]]) -> None:
        """Keep the summary: the folders by the path of the folder that they are in."""
        ...
