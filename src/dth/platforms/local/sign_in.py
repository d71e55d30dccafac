"""Where the users of a hub sign in, as an administrator sets it in the console.

A setting that nobody can sign in with would lock everybody out. So it waits until an administrator
has signed in through it, and the hub can be started with its own sign-in in any case.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, replace

from dth.core.checks import CheckState
from dth.core.confinement import ca_file
from dth.core.errors import Forbidden, NotFound, UsageError
from dth.core.network import Network
from dth.hub.auth import (
    IssuerConfig,
    IssuerKeys,
    IssuerOrigins,
    Verifier,
    groups_of,
    identity_of,
)
from dth.hub.issuer_check import IssuerCheck, check_issuer
from dth.hub.model import Identity, Role
from dth.hub.ports import SignInSource, SignInState
from dth.platforms.local.sql import SqlDatabase
from dth.platforms.local.vault import Vault, forget, found, keep

# Names of stored settings.
IN_FORCE, WAITING = "issuer", "waiting issuer"


class LocalSignIn:
    """Keeps the issuer beside the hub's other settings.

    `fixed`: the issuer of the settings file. `overridden`: the hub was started with its own
    sign-in. `network`: where the requests to an issuer that is set here may go. `apply` is called
    when another issuer is in force; with None for the hub's own sign-in.
    """

    def __init__(
        self,
        database: SqlDatabase,
        vault: Vault,
        fixed: IssuerConfig | None,
        overridden: bool,
        network: Network | None,
    ) -> None:
        self._database = database
        self._vault = vault
        self._fixed = fixed
        self._overridden = overridden
        self._network = network
        # By what a discovery document depends on.
        self._origins: dict[tuple[str, str], IssuerOrigins] = {}
        self.apply: Callable[[IssuerConfig | None], None] = lambda _: None

    def verifier(self, config: IssuerConfig) -> Verifier:
        """What verifies the tokens of an issuer. That of the settings file may be in any network:
        the administrator of the machine chose it."""
        if config is self._fixed:
            return Verifier(config)
        config = _with_file(config)
        return Verifier(config, IssuerKeys(config, self._network))

    async def origins(self, built_in: bool) -> list[str]:
        """Where pages of the console send requests besides the hub: to the issuer, unless users
        sign in at the hub, and to one that waits for an administrator to sign in there."""
        state = await self.state()
        issuers = [None if built_in else state.issuer, state.waiting]
        return [
            origin for each in issuers if each for origin in await self._origins_of(each).find()
        ]

    def _origins_of(self, config: IssuerConfig) -> IssuerOrigins:
        key = (config.issuer, config.ca_bundle)
        if key not in self._origins:
            fixed = config is self._fixed
            self._origins[key] = IssuerOrigins(
                config if fixed else _with_file(config), None if fixed else self._network
            )
        return self._origins[key]

    async def state(self) -> SignInState:
        if self._fixed:
            return SignInState(SignInSource.FILE, self._fixed, overridden=self._overridden)
        issuer = await self._read(IN_FORCE)
        return SignInState(
            SignInSource.SET_HERE if issuer else SignInSource.BUILT_IN,
            issuer,
            await self._read(WAITING),
            self._overridden,
        )

    async def in_force(self) -> IssuerConfig | None:
        """The issuer at the start of the hub; None for the hub's own sign-in."""
        return None if self._overridden else (await self.state()).issuer

    async def test(self, config: IssuerConfig) -> list[IssuerCheck]:
        self._changeable()
        return await asyncio.to_thread(check_issuer, _with_file(config), self._network)

    async def save(self, config: IssuerConfig) -> None:
        for check in await self.test(config):
            if check.state is CheckState.FAILED:
                raise UsageError(f"{config.issuer}: {check.found}")
        await keep(self._database, self._vault, WAITING, json.dumps(asdict(config)).encode())

    async def confirm(self, token: str) -> Identity:
        self._changeable()
        config = await self._waiting()
        verifier = self.verifier(config)
        claims = await verifier.claims(token)
        groups = ", ".join(groups_of(claims, config)) or "none"
        told = f"the claim names these groups: {groups}"
        try:
            identity = identity_of(claims, config)
        except Forbidden as error:
            raise Forbidden(f"{error} ({told})") from None
        if identity.role is not Role.ADMIN:
            raise Forbidden(
                f"{identity.name} signed in, but has the role {identity.role} there; map a group "
                f"of an administrator to admin ({told})"
            )
        await keep(self._database, self._vault, IN_FORCE, json.dumps(asdict(config)).encode())
        await forget(self._database, WAITING)
        if not self._overridden:
            self.apply(config)
        return identity

    async def discard(self) -> None:
        self._changeable()
        await self._waiting()
        await forget(self._database, WAITING)

    async def use_built_in(self) -> None:
        self._changeable()
        await forget(self._database, IN_FORCE)
        self.apply(None)

    def _changeable(self) -> None:
        if self._fixed:
            raise UsageError(
                "the settings file of the hub (hub.yaml) sets the issuer; change it there"
            )

    async def _waiting(self) -> IssuerConfig:
        config = await self._read(WAITING)
        if config is None:
            raise NotFound("no issuer waits for a sign-in; save one first")
        return config

    async def _read(self, name: str) -> IssuerConfig | None:
        kept = await found(self._database, self._vault, name)
        return None if kept is None else IssuerConfig(**json.loads(kept))


def _with_file(config: IssuerConfig) -> IssuerConfig:
    """With the path of the CA bundle that it names. Raises UsageError if there is none."""
    return replace(config, ca_bundle=ca_file(config.ca_bundle))
