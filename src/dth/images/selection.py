"""A list of images as people write it: `name:tag`, `name:ALL_TAGS`, `name@digest`, with commas or line ends between."""

import re
from dataclasses import dataclass

from dth.core.errors import UsageError
from dth.images.registry.reference import Reference, parse, parse_within

ALL_TAGS = "ALL_TAGS"


@dataclass(frozen=True, slots=True, order=True)
class Wanted:
    """One image; or, with `all_tags`, a repository with all of its tags."""

    reference: Reference
    all_tags: bool = False


def read_image_list(text: str, registry: str = "") -> list[Wanted]:
    """What is wanted, each once and in the order in which it is written. `registry`: the one that all names are in;
    "" where each may name its own. Raises UsageError that names the entry."""
    found: dict[Wanted, None] = {}
    for entry in re.split(r"[,\s]+", text.strip()):
        if entry:
            reference = parse_within(registry, entry) if registry else parse(entry)
            whole = reference.tag == ALL_TAGS
            if whole and reference.digest:
                raise UsageError(f"{entry!r}: all tags, or one digest")
            if whole:
                reference = Reference(reference.registry, reference.repository)
            found[Wanted(reference if whole else reference.tagged(), whole)] = None
    if not found:
        raise UsageError("the list names no image")
    return list(found)
