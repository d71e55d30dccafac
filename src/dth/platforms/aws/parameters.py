"""The parameters of one task, in its state table: what functions and machines of the task read when they begin.

The hub writes them, or for a task without a hub the stack itself; so a change of them needs no new machine.
"""

import json
from collections.abc import Mapping

from dth.core.errors import StateError
from dth.platforms.aws.dynamo import Dynamo

KEY = {"pk": "task", "sk": "parameters"}
NOT_IN_TEMPLATES = (  # what needs a hub that looks at the clock and the bill, or a file on the machine
    "transferWindow",
    "bandwidthTimetable",
    "budget",
    "srcProfile",
    "destProfile",
    "srcCaBundle",
    "destCaBundle",
)


async def read_parameters(dynamo: Dynamo) -> tuple[str, dict[str, str]]:
    """The task's type ("S3EC2" or "ECR") and its parameters as texts. Raises StateError when there are none."""
    item = await dynamo.get("state", KEY)
    if not item:
        raise StateError("the task's parameters have not been written yet; its stack does so when it is made")
    return str(item["type"]), json.loads(item["json"])


async def write_parameters(dynamo: Dynamo, type: str, values: Mapping[str, str]) -> None:
    """Replace what is there. Empty texts are as good as none, and are left out."""
    given = {name: value for name, value in values.items() if value != ""}
    await dynamo.put("state", {**KEY, "type": type, "json": json.dumps(given, sort_keys=True)})
