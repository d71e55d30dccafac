"""The names of repositories at the destination: rename rules, then the prefix.

A rule is `old=new`. `old` is the name of a repository, or ends with `*`, which stands for the rest of the name; a `*`
at the end of `new` is where that rest goes. The first rule that fits is applied, and no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dth.ecr.reference import DOCKER_HUB, OFFICIAL, check_repository
from dth.errors import UsageError


@dataclass(frozen=True, slots=True)
class _Rule:
    old: str
    new: str
    rest: bool  # old ended with *
    keeps_rest: bool

    def apply(self, name: str) -> str | None:
        """The new name; None where the rule does not fit."""
        if name == self.old and not self.rest:
            return self.new
        if self.rest and name.startswith(self.old):
            return self.new + (name[len(self.old) :] if self.keeps_rest else "")
        return None


class Renames:
    """Raises UsageError for a rule that cannot be read."""

    def __init__(self, rules: Sequence[str] = (), prefix: str = "") -> None:
        self._rules = [_read(rule) for rule in rules]
        self._prefix = prefix.strip("/")

    def dest(self, registry: str, repository: str) -> str:
        """The name at the destination of a repository of this registry. What Docker Hub keeps under `library/`
        people name without it, and so does the destination. Raises UsageError for a name that cannot be."""
        name = repository.removeprefix(OFFICIAL) if registry == DOCKER_HUB else repository
        renamed = next((new for rule in self._rules if (new := rule.apply(name)) is not None), name)
        full = f"{self._prefix}/{renamed}" if self._prefix else renamed
        try:
            return check_repository(full)
        except UsageError as error:
            raise UsageError(f"the repository {name!r} cannot be renamed: {error}") from None


def _read(rule: str) -> _Rule:
    old, equals, new = (part.strip() for part in rule.partition("="))
    if not equals or not old or not new:
        raise UsageError(f"the rename rule {rule!r} cannot be read; write old=new or old/*=new/*")
    rest, keeps = old.endswith("*"), new.endswith("*")
    old, new = old.removesuffix("*"), new.removesuffix("*")
    if "*" in old + new or (keeps and not rest):
        raise UsageError(f"the rename rule {rule!r} cannot be read: * may end both names, or the first")
    for name, open_end in ((old, rest), (new, keeps)):
        # What is there of a name has to be right as far as it goes.
        check = name.rstrip("/._-") if open_end else name
        if check or not open_end:
            check_repository(check)
    return _Rule(old, new, rest, keeps)
