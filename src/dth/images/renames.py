"""The names of repositories at the destination: rename rules, then the prefix.

A rule is `old=new`. `old` is the name of a repository, or ends with `*` for the rest of the name. A
`*` at the end of `new` marks where that rest goes. A rule for one image is `old:tag=new:tag` or
`old@digest=new:tag`. Only the first matching rule is applied.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dth.core.errors import UsageError
from dth.images.registry.reference import (
    DOCKER_HUB,
    OFFICIAL,
    Reference,
    check_repository,
    parse_within,
)


@dataclass(frozen=True, slots=True)
class _Rule:
    old: str
    new: str
    rest: bool = False  # old ended with *
    keeps_rest: bool = False
    # Tag or digest of the only image it is for.
    pointer: str = ""
    tag: str = ""  # the image's new tag

    def apply(self, name: str, pointer: str) -> tuple[str, str] | None:
        """Return the new name and the new tag, if any; None if the rule does not match."""
        if self.pointer and self.pointer != pointer:
            return None
        if name == self.old and not self.rest:
            return self.new, self.tag
        if self.rest and name.startswith(self.old):
            return self.new + (name[len(self.old) :] if self.keeps_rest else ""), ""
        return None


class Renames:
    """The rename rules and the prefix of a task. Raises UsageError for an invalid rule."""

    def __init__(self, rules: Sequence[str] = (), prefix: str = "") -> None:
        self._rules = [_read(rule) for rule in rules]
        self._prefix = prefix.strip("/")

    def dest(self, source: Reference, host: str) -> Reference:
        """Return the image's reference in the registry `host`.

        People name Docker Hub's images without `library/`, and so does the destination. Raises
        UsageError for an invalid name.
        """
        name = source.repository
        if source.registry == DOCKER_HUB:
            name = name.removeprefix(OFFICIAL)
        fitting = (found for rule in self._rules if (found := rule.apply(name, source.pointer)))
        renamed, tag = next(fitting, (name, ""))
        full = f"{self._prefix}/{renamed}" if self._prefix else renamed
        try:
            check_repository(full)
        except UsageError as error:
            raise UsageError(f"the repository {name!r} cannot be renamed: {error}") from None
        return (
            Reference(host, full, tag) if tag else Reference(host, full, source.tag, source.digest)
        )


def _read(rule: str) -> _Rule:
    old, equals, new = (part.strip() for part in rule.partition("="))
    if not equals or not old or not new:
        raise UsageError(f"the rename rule {rule!r} cannot be read; write old=new or old/*=new/*")
    if ":" in rule:
        return _read_image(rule, old, new)
    rest, keeps = old.endswith("*"), new.endswith("*")
    old, new = old.removesuffix("*"), new.removesuffix("*")
    if "*" in old + new or (keeps and not rest):
        raise UsageError(
            f"the rename rule {rule!r} cannot be read: * may end both names, or the first"
        )
    for name, open_end in ((old, rest), (new, keeps)):
        # A part of a name must be valid as far as it goes.
        check = name.rstrip("/._-") if open_end else name
        if check or not open_end:
            check_repository(check)
    return _Rule(old, new, rest, keeps)


def _read_image(rule: str, old: str, new: str) -> _Rule:
    before, after = (parse_within("names", each) for each in (old, new))
    if after.digest or not after.tag or not (before.tag or before.digest):
        raise UsageError(
            f"the rename rule {rule!r} cannot be read; write old:tag=new:tag or old@digest=new:tag"
        )
    return _Rule(before.repository, after.repository, pointer=before.pointer, tag=after.tag)
