"""The parameters of one task, in its state table: functions and machines of the task read them when
they start.

The hub writes them, or for a task without a hub the stack itself. So a change of parameters needs
no new machine.
"""

import json
from collections.abc import Mapping

from dth.core.errors import StateError
from dth.platforms.aws.dynamo import Dynamo

KEY = {"pk": "task", "sk": "parameters"}
# Parameters that need a hub to check the time and the cost, or a file on the machine.
NOT_IN_TEMPLATES = (
    "transferWindow",
    "bandwidthTimetable",
    "budget",
    "srcProfile",
    "destProfile",
    "srcCaBundle",
    "destCaBundle",
    "srcStore",
    "destStore",
)


async def read_parameters(dynamo: Dynamo) -> tuple[str, dict[str, str]]:
    """The task's type, such as "S3EC2", and its parameters as texts. Raises StateError if there are
    none."""
    item = await dynamo.get("state", KEY)
    if not item:
        raise StateError(
            "the task's parameters have not been written yet; its stack does so when it is made"
        )
    return str(item["type"]), json.loads(item["json"])


async def write_parameters(dynamo: Dynamo, type: str, values: Mapping[str, str]) -> None:
    """Replace the parameters. Empty texts count as not given, and are left out."""
    given = {name: value for name, value in values.items() if value != ""}
    await dynamo.put("state", {**KEY, "type": type, "json": json.dumps(given, sort_keys=True)})
