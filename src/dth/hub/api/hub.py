"""The hub itself, and the webhooks that it answers."""

import json
from importlib.metadata import version

from dth.core.errors import UsageError
from dth.core.plugins import plugin, plugins
from dth.hub import certificate
from dth.hub.api.answers import answers
from dth.hub.api.resolve import Call, query
from dth.hub.model import Role


@answers("HubInfo")
class HubInfo:
    version: str
    platform: str
    issuer: str
    users: int | None
    tasks: str
    plugins: list[str]
    limits: str
    compares: bool
    backs_up: bool
    invites: bool
    sets_sign_in: bool
    certificate_key: str


@answers("Webhook")
class Webhook:
    url: str
    token: str


@query()
async def hub_info(call: Call) -> HubInfo:
    counts = await call.ports.tasks.count()
    info = call.ports.info
    return HubInfo(
        version=version("data-transfer-hub"),
        platform=info.get("platform", ""),
        issuer=info.get("issuer", ""),
        users=len(await call.ports.users.list()) if call.ports.users else None,
        tasks=json.dumps({progress.value: number for progress, number in counts.items()}),
        plugins=list(plugins()),
        limits=json.dumps(info.get("limits", {})),
        compares=call.ports.comparisons is not None,
        backs_up=call.ports.backups is not None,
        invites=call.ports.invitations is not None,
        sets_sign_in=call.ports.sign_in is not None,
        certificate_key=certificate.public_key(await call.ports.signing_key()),
    )


@query(Role.OPERATOR)
async def get_webhook(call: Call, *, id: str) -> Webhook:
    task = await call.ports.tasks.get(id)
    if not plugin(task.type).follows_events(task.model):
        raise UsageError("the task follows no events; set srcEvent to Create or CreateAndDelete")
    return Webhook(**await call.ports.webhook(task))
