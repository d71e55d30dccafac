"""Which task a command means: by its id, by the beginning of its id, or by its description."""

import re

from dth.cli.display import shown
from dth.core.errors import NotFound, UsageError
from dth.hub.client import HubClient

WHOLE = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
PAGE = 100
NAMED = 5  # tasks of which a name that matches several is shown


def find(client: HubClient, name: str) -> str:
    """The id of the task. An id goes before a description, and a whole description before the
    beginning of an id. Raises NotFound, and UsageError for a name that fits several."""
    if WHOLE.fullmatch(name):
        return name
    if not name:
        # Every id begins with nothing: a variable of a script that is not set would mean any task.
        raise UsageError("the name of a task is empty; give its id or description")
    tasks = _tasks(client, name)
    for wanted in (
        [each for each, _ in tasks if each == name],
        [each for each, description in tasks if description.lower() == name.lower()],
        [each for each, _ in tasks if each.startswith(name.lower())],
    ):
        if len(wanted) > 1:
            few = ", ".join(wanted[:NAMED]) + (", ..." if len(wanted) > NAMED else "")
            raise UsageError(f"{name!r} fits {len(wanted)} tasks: {few}")
        if wanted:
            return wanted[0]
    alike = ", ".join(f"{task[:8]} '{shown(description)}'" for task, description in tasks[:NAMED])
    raise NotFound(
        f"there is no task '{shown(name)}'" + (f"; these contain it: {alike}" if alike else "")
    )


def _tasks(client: HubClient, text: str) -> list[tuple[str, str]]:
    """Ids and descriptions of the tasks that have this text somewhere."""
    query = """query ($text: String, $page: Int, $count: Int) {
        listTasksV2(text: $text, page: $page, count: $count) { total items { id description } } }"""
    found: list[tuple[str, str]] = []
    page = 1
    while True:
        answer = client.call(query, {"text": text, "page": page, "count": PAGE})["listTasksV2"]
        found += [(each["id"], each["description"] or "") for each in answer["items"]]
        if len(found) >= answer["total"] or not answer["items"]:
            return found
        page += 1
