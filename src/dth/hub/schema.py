"""The text of `schema.graphql`, with the types of tasks whose plugins are installed here."""

import re
from importlib.resources import files

from dth.core.plugins import types

_TYPES = re.compile(r"^enum TaskType \{(.*?)^\}", re.MULTILINE | re.DOTALL)


def schema_text() -> str:
    """The types that the file names come first, in its order: existing clients know them."""
    text = files("dth.hub").joinpath("schema.graphql").read_text("utf-8")
    known = _TYPES.search(text)
    assert known
    more = [each for each in types() if each not in known[1].split()]
    return text[: known.end(1)] + "".join(f"  {each}\n" for each in more) + text[known.end(1) :]
