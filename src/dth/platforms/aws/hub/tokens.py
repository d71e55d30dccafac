"""API tokens in DynamoDB, for programs. The holder of a token may do what its role permits."""

import time
from collections.abc import AsyncIterator
from dataclasses import asdict, fields

from dth.hub.audit import USE_TOKEN, note
from dth.hub.model import Identity, Role
from dth.hub.ports import TokenInfo
from dth.hub.tokens import FORGET_AFTER, hash_of, identity_of, is_use_noted, new_token, unknown
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.hub.tasks import AwsAudit
from dth.platforms.aws.hub.users import AwsUsers
from dth.platforms.aws.items import Item

FIELDS = [each.name for each in fields(TokenInfo)]


class AwsTokens:
    """`hub.ports.Tokens`. `users`: who may own tokens; None if the hub does not know its users."""

    def __init__(self, dynamo: Dynamo, users: AwsUsers | None = None) -> None:
        self._dynamo = dynamo
        self._users = users

    async def list(self) -> list[TokenInfo]:
        """Newest first."""
        found = [_info(item) async for item in self._items()]
        old = time.time() - FORGET_AFTER
        return sorted(
            (info for info in found if not 0 < info.expires < old),
            key=lambda info: info.created,
            reverse=True,
        )

    async def create(
        self, name: str, role: Role, expires: float, created_by: str, owner: str = ""
    ) -> tuple[TokenInfo, str]:
        info, token = new_token(name, role, expires, created_by, owner)
        item = {**_key(token), **asdict(info), "role": role.value}
        if expires:
            item["forget"] = item.pop("expires")
            item["expires"] = int(expires + FORGET_AFTER)
        await self._dynamo.put("hub", item)
        return info, token

    async def revoke(self, id: str) -> None:
        async for item in self._items():
            if item["id"] == id:
                await self._dynamo.delete("hub", {"pk": item["pk"], "sk": item["sk"]})
                return
        raise unknown(id)

    async def identify(self, token: str) -> Identity | None:
        """The identity of a token; None if it is unknown or has ended."""
        now = time.time()
        item = await self._dynamo.get("hub", _key(token))
        info = _info(item) if item else None
        of_owner = await self._role_of_owner(info) if info and info.owner else None
        identity = identity_of(info, now, of_owner)
        if info and identity and not info.last_used:
            maker = info.owner or info.created_by
            await note(
                AwsAudit(self._dynamo), USE_TOKEN, maker, "token", target=info.id, name=info.name
            )
        if info and identity and not is_use_noted(info, now):
            await self._dynamo.update(
                "hub", _key(token), "SET #last_used = :now", "attribute_exists(#pk)", {"now": now}
            )
        return identity

    async def _role_of_owner(self, info: TokenInfo) -> Role | None:
        """The owner's current role; None if the owner is gone, even if a new user has the same
        name."""
        owner = await self._users.find(info.owner) if self._users else None
        return owner.role if owner and owner.created <= info.created else None

    def _items(self) -> AsyncIterator[Item]:
        return self._dynamo.query("hub", "#pk = :pk", {"pk": "token"})


def _key(token: str) -> Item:
    return {"pk": "token", "sk": hash_of(token).hex()}


def _info(item: Item) -> TokenInfo:
    values = {name: item[name] for name in FIELDS if name in item}
    return TokenInfo(**{**values, "role": Role(item["role"]), "expires": item.get("forget", 0.0)})
