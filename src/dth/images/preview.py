"""Shows people what a run would do: the plan of a task, with its bytes."""

from typing import Any

from dth.core.secrets import SecretStore
from dth.core.transport import Transport
from dth.images.finder import list_and_plan
from dth.images.items import ImageAction, Plan
from dth.images.parameters import EcrParameters
from dth.images.registry.reference import DOCKER_HUB
from dth.images.task import open_route

SHOWN = 500  # most items shown


async def preview(
    parameters: EcrParameters, transport: Transport, secrets: SecretStore
) -> dict[str, Any]:
    """Return the plan of a task without knowledge of earlier runs. Writes nothing.

    Raises TransferError or ListingFailed if a side does not answer.
    """
    route = await open_route(parameters, transport, secrets)
    listed, plan = await list_and_plan(route, {})
    notes = [*listed.notes, *plan.notes]
    if route.origin.meets(DOCKER_HUB) and plan.copies:
        notes.append(
            "how many bytes will move is not known: looking into images of Docker Hub counts "
            "as pulls"
        )
    return {**shown(plan), "left_out": listed.left_out, "notes": notes, "requests": route.requests}


def shown(plan: Plan) -> dict[str, Any]:
    """Return what is to be done; only the start of long plans."""
    whole = plan.as_dict()
    whole["size"] = sum(item.size for item in plan.copies) if plan.looked_inside else None
    # For unchanged items, their number says enough.
    told = [item for item in whole["items"] if item["action"] != ImageAction.SAME]
    whole["more"] = max(0, len(told) - SHOWN)
    whole["items"] = told[:SHOWN]
    return whole
