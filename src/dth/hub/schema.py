"""The text of `schema.graphql`, with the task types of the installed plugins."""

import re
from importlib.resources import files

from dth.core.plugins import types

_TYPES = re.compile(r"^enum TaskType \{(.*?)^\}", re.MULTILINE | re.DOTALL)


def schema_text() -> str:
    """Existing clients know the types in the file, so these come first, in the file's order."""
    text = files("dth.hub").joinpath("schema.graphql").read_text("utf-8")
    known = _TYPES.search(text)
    assert known
    more = [each for each in types() if each not in known[1].split()]
    return text[: known.end(1)] + "".join(f"  {each}\n" for each in more) + text[known.end(1) :]
