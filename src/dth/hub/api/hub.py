"""The hub itself, and the webhooks that it answers."""

import json
from importlib.metadata import version

from dth.errors import UsageError
from dth.hub import certificate
from dth.hub.api.door import Answer, Call, query
from dth.hub.model import Role
from dth.hub.plugins import plugin, plugins, read_parameters


@query(Role.OPERATOR)
async def get_webhook(call: Call, *, id: str) -> Answer:
    task = await call.ports.tasks.get(id)
    if not plugin(task.type).follows_events(read_parameters(task.type, task.parameters)):
        raise UsageError("the task follows no events; set srcEvent to Create or CreateAndDelete")
    return await call.ports.webhook(task)


@query()
async def hub_info(call: Call) -> Answer:
    counts = await call.ports.tasks.count()
    info = call.ports.info
    return {
        "version": version("data-transfer-hub"),
        "platform": info.get("platform", ""),
        "issuer": info.get("issuer", ""),
        "users": len(await call.ports.users.list()) if call.ports.users else None,
        "tasks": json.dumps({progress.value: number for progress, number in counts.items()}),
        "plugins": list(plugins()),
        "limits": json.dumps(info.get("limits", {})),
        "certificateKey": certificate.public_key(await call.ports.signing_key()),
    }
