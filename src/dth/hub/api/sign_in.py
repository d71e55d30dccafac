"""Where users sign in: the hub's own sign-in, or an issuer."""

from collections.abc import Mapping
from typing import Any, Self

from dth.core.checks import CheckState
from dth.core.errors import UsageError
from dth.hub.api.answers import answers
from dth.hub.api.resolve import Call, mutation, query
from dth.hub.auth import IssuerConfig
from dth.hub.issuer_check import IssuerCheckName
from dth.hub.model import Role
from dth.hub.ports import SignInSettings, SignInSource

# The optional fields of an issuer: their names in the API, and those of IssuerConfig.
FIELDS = {
    "clientId": "client_id",
    "audience": "audience",
    "scope": "scope",
    "roleClaim": "role_claim",
    "defaultRole": "default_role",
    "caBundle": "ca_bundle",
}


@answers("GroupRole")
class GroupRole:
    group: str
    role: Role


@answers("Issuer")
class Issuer:
    issuer: str
    client_id: str
    audience: str
    scope: str
    role_claim: str
    roles: list[GroupRole]
    default_role: Role | None
    ca_bundle: str

    @classmethod
    def of(cls, config: IssuerConfig | None) -> Self | None:
        if config is None:
            return None
        return cls(
            issuer=config.issuer,
            client_id=config.client_id,
            audience=config.audience,
            scope=config.scope,
            role_claim=config.role_claim,
            roles=[GroupRole(group, role) for group, role in config.roles.items()],
            default_role=config.default_role,
            ca_bundle=config.ca_bundle,
        )


@answers("SignIn")
class SignInAnswer:
    id: str
    source: SignInSource
    issuer: Issuer | None
    waiting: Issuer | None
    overridden: bool

    @classmethod
    async def of(cls, port: SignInSettings) -> Self:
        state = await port.state()
        concerned = state.waiting or state.issuer
        return cls(
            id=concerned.issuer if concerned else "built-in",
            source=state.source,
            issuer=Issuer.of(state.issuer),
            waiting=Issuer.of(state.waiting),
            overridden=state.overridden,
        )


@answers("IssuerCheck")
class IssuerCheckAnswer:
    name: IssuerCheckName
    state: CheckState
    found: str


@query(Role.ADMIN)
async def get_sign_in(call: Call) -> SignInAnswer:
    return await SignInAnswer.of(_sign_in(call))


@query(Role.ADMIN)
async def test_issuer(call: Call, *, input: Mapping[str, Any]) -> list[IssuerCheckAnswer]:
    checks = await _sign_in(call).test(_config(input))
    return [IssuerCheckAnswer(check.name, check.state, check.found) for check in checks]


@mutation(Role.ADMIN)
async def save_issuer(call: Call, *, input: Mapping[str, Any]) -> SignInAnswer:
    port = _sign_in(call)
    await port.save(_config(input))
    return await SignInAnswer.of(port)


@mutation(Role.ADMIN)
async def confirm_issuer(call: Call, *, token: str) -> SignInAnswer:
    port = _sign_in(call)
    await port.confirm(token)
    return await SignInAnswer.of(port)


@mutation(Role.ADMIN)
async def discard_issuer(call: Call) -> SignInAnswer:
    port = _sign_in(call)
    await port.discard()
    return await SignInAnswer.of(port)


@mutation(Role.ADMIN)
async def use_built_in_sign_in(call: Call) -> SignInAnswer:
    port = _sign_in(call)
    await port.use_built_in()
    return await SignInAnswer.of(port)


def _config(given: Mapping[str, Any]) -> IssuerConfig:
    roles: dict[str, Role] = {}
    for each in given.get("roles") or []:
        group = str(each["group"]).strip()
        if not group or group in roles:
            raise UsageError(f"roles: {group!r} is empty or stands there twice")
        roles[group] = Role(each["role"])
    if not str(given.get("clientId") or "").strip():
        raise UsageError("clientId: the console cannot sign in without it")
    named = {ours: given[name] for name, ours in FIELDS.items() if given.get(name)}
    return IssuerConfig(issuer=str(given["issuer"]).strip(), roles=roles, **named)


def _sign_in(call: Call) -> SignInSettings:
    if call.ports.sign_in is None:
        raise UsageError("the deployment of this hub sets where its users sign in; change it there")
    return call.ports.sign_in
