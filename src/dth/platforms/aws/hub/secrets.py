"""Named secrets in Secrets Manager: those with the hub's tag. Tasks read them through
`platforms.aws.secrets`."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from dth.core.errors import Conflict
from dth.core.secret_bindings import ANY, read_bindings
from dth.core.secrets import SecretUse, is_unbound, plan_use
from dth.hub.ports import SecretInfo
from dth.hub.secrets import NAME, check_description, check_name, check_value, exists, missing
from dth.platforms.aws.bindings import PARTITION, binding_key, hosts_in, hosts_text
from dth.platforms.aws.client import Aws, Refused
from dth.platforms.aws.dynamo import Dynamo, TransactItem

# Tries to bind secrets that others bind at the same moment.
TRIES = 5
# Days in which a deleted secret can be restored in Secrets Manager.
RECOVERY = 7


class AwsHubSecrets:
    """`hub.ports.Secrets`. `tag`: the key of the tag. Secrets without it are ignored."""

    def __init__(self, aws: Aws, dynamo: Dynamo, tag: str) -> None:
        self._aws = aws
        self._dynamo = dynamo
        self._tag = tag

    async def list(self) -> list[SecretInfo]:
        found: list[SecretInfo] = []
        arguments: dict[str, Any] = {"Filters": [{"Key": "tag-key", "Values": [self._tag]}]}
        while True:
            answer = await self._call("list_secrets", **arguments)
            found += [_info(each) for each in answer["SecretList"]]
            if "NextToken" not in answer:
                return list(await self._with_hosts(sorted(found, key=lambda info: info.name)))
            arguments["NextToken"] = answer["NextToken"]

    async def create(
        self, name: str, value: str, description: str = "", hosts: Sequence[str] = ()
    ) -> None:
        check_name(name)
        check_value(name, value)
        check_description(name, description)
        # The binding comes first: a secret never exists without it.
        made = await self._keep_hosts(name, read_bindings(hosts))
        try:
            await self._create(name, value, description)
        except BaseException:
            await self._dynamo.transact([made])
            raise

    async def _create(self, name: str, value: str, description: str) -> None:
        tags = [{"Key": self._tag, "Value": "secret"}]
        try:
            await self._call(
                "create_secret", Name=name, SecretString=value, **_described(description), Tags=tags
            )
        except Refused as error:
            if error.code not in ("ResourceExistsException", "InvalidRequestException"):
                raise
            if not await self._bring_back(name, value, description):
                raise exists(name) from None

    async def _keep_hosts(self, name: str, hosts: Sequence[str]) -> TransactItem:
        """Store the hosts of a new secret. Returns the action that removes this entry, but not one
        that others wrote. Raises Conflict if the secret exists."""
        item = {**binding_key(name), "Hosts": hosts_text(hosts), "Made": uuid.uuid4().hex}
        if not await self._dynamo.put("hub", item, "attribute_not_exists(#pk)"):
            if await self._is_there(name):
                raise exists(name)
            # Left over from a secret that was deleted in Secrets Manager.
            await self._dynamo.delete("hub", binding_key(name))
            if not await self._dynamo.put("hub", item, "attribute_not_exists(#pk)"):
                raise exists(name)
        return TransactItem(
            "hub",
            binding_key(name),
            delete=True,
            condition="#Made = :made",
            values={"made": item["Made"]},
        )

    async def update(
        self, name: str, value: str | None = None, description: str | None = None
    ) -> None:
        if value is not None:
            check_value(name, value)
        if description is not None:
            check_description(name, description)
        await self._find(name)
        changes = {} if value is None else {"SecretString": value}
        changes |= {} if description is None else {"Description": description}
        if changes:
            await self._call("update_secret", SecretId=name, **changes)

    async def bind(self, name: str, hosts: Sequence[str]) -> None:
        bindings = read_bindings(hosts)
        await self._find(name)
        await self._dynamo.put("hub", {**binding_key(name), "Hosts": hosts_text(bindings)})

    async def use(self, uses: Sequence[SecretUse]) -> Sequence[str]:
        names = sorted({use.name for use in uses})
        for _ in range(TRIES):
            found = {name: await self._hosts(name) for name in names}
            plan = plan_use(found, uses)
            binding = [
                TransactItem(
                    "hub",
                    binding_key(name),
                    update="SET #Hosts = :hosts",
                    condition="#Hosts = :none",
                    values={"hosts": hosts_text(hosts), "none": hosts_text(())},
                )
                for name, hosts in plan.items()
            ]
            if not binding or not await self._dynamo.transact(binding):
                unbound = [name for name in names if is_unbound(found[name])]
                return [name for name in unbound if await self._is_there(name)]
        raise Conflict("the secrets are being bound by others all the time; try again")

    async def delete(self, name: str) -> None:
        await self._find(name)
        await self._call("delete_secret", SecretId=name, RecoveryWindowInDays=RECOVERY)
        await self._dynamo.delete("hub", binding_key(name))

    async def _hosts(self, name: str) -> tuple[str, ...]:
        return hosts_in(await self._dynamo.get("hub", binding_key(name)))

    async def _with_hosts(self, secrets: Iterable[SecretInfo]) -> Sequence[SecretInfo]:
        bound = {
            item["sk"]: hosts_in(item)
            async for item in self._dynamo.query("hub", "#pk = :pk", {"pk": PARTITION})
        }
        return [replace(each, hosts=bound.get(each.name, (ANY,))) for each in secrets]

    async def _is_there(self, name: str) -> bool:
        if not NAME.fullmatch(name):
            return False
        try:
            return "DeletedDate" not in await self._call("describe_secret", SecretId=name)
        except Refused as error:
            if error.code != "ResourceNotFoundException":
                raise
            return False

    async def _bring_back(self, name: str, value: str, description: str) -> bool:
        """Restore a secret that was deleted some days ago: it keeps its name until it is gone for
        good. Returns False if it was not deleted."""
        told = await self._call("describe_secret", SecretId=name)
        if "DeletedDate" not in told or not self._is_ours(told):
            return False
        await self._call("restore_secret", SecretId=name)
        await self.update(name, value, description)
        return True

    def _is_ours(self, told: dict[str, Any]) -> bool:
        return self._tag in {each["Key"] for each in told.get("Tags", [])}

    async def _find(self, name: str) -> None:
        """Raises NotFound if the secret does not exist, or is not the hub's."""
        if not NAME.fullmatch(name):
            raise missing(name)
        try:
            told = await self._call("describe_secret", SecretId=name)
        except Refused as error:
            if error.code != "ResourceNotFoundException":
                raise
            raise missing(name) from None
        if "DeletedDate" in told or not self._is_ours(told):
            raise missing(name)

    async def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return await self._aws.call("secretsmanager", operation, **arguments)


def _described(description: str) -> dict[str, str]:
    return {"Description": description} if description else {}


def _info(told: dict[str, Any]) -> SecretInfo:
    changed = told.get("LastChangedDate") or told.get("CreatedDate")
    return SecretInfo(
        told["Name"], told.get("Description", ""), changed.timestamp() if changed else 0.0
    )
