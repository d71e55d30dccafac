"""A list of images as people write it: `name:tag`, `name:ALL_TAGS`, `name@digest`, separated by
commas or line breaks.
"""

import re
from dataclasses import dataclass

from dth.core.errors import UsageError
from dth.images.registry.reference import Reference, parse, parse_within

ALL_TAGS = "ALL_TAGS"


@dataclass(frozen=True, slots=True, order=True)
class Wanted:
    """One image; or, with `all_tags`, a repository with all its tags."""

    reference: Reference
    all_tags: bool = False


def read_image_list(text: str, registry: str = "") -> list[Wanted]:
    """Parse the list, in its order and without duplicates.

    `registry`: the registry of all names; "" if each may include its own. Raises UsageError that
    names the entry.
    """
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
