"""Named secrets, in Secrets Manager: those that have the hub's tag. Tasks read them by `platforms.aws.secrets`."""

from typing import Any

from dth.errors import Conflict
from dth.hub.ports import SecretInfo
from dth.hub.secrets import NAME, check_description, check_name, check_value, missing
from dth.platforms.aws.client import Aws, Refused

RECOVERY = 7  # days in which a deleted secret can be brought back in Secrets Manager


class AwsHubSecrets:
    """`hub.ports.Secrets`. `tag`: the key of the tag. A secret without it is as if it were not there."""

    def __init__(self, aws: Aws, tag: str) -> None:
        self._aws = aws
        self._tag = tag

    async def list(self) -> list[SecretInfo]:
        found: list[SecretInfo] = []
        arguments: dict[str, Any] = {"Filters": [{"Key": "tag-key", "Values": [self._tag]}]}
        while True:
            answer = await self._call("list_secrets", **arguments)
            found += [_info(each) for each in answer["SecretList"]]
            if "NextToken" not in answer:
                return sorted(found, key=lambda info: info.name)
            arguments["NextToken"] = answer["NextToken"]

    async def create(self, name: str, value: str, description: str = "") -> None:
        check_name(name)
        check_value(name, value)
        check_description(name, description)
        tags = [{"Key": self._tag, "Value": "secret"}]
        try:
            await self._call(
                "create_secret", Name=name, SecretString=value, **_described(description), Tags=tags
            )
        except Refused as error:
            if error.code not in ("ResourceExistsException", "InvalidRequestException"):
                raise
            if not await self._bring_back(name, value, description):
                raise Conflict(f"there is a secret {name!r} already; update it, or delete it first") from None

    async def update(self, name: str, value: str | None = None, description: str | None = None) -> None:
        if value is not None:
            check_value(name, value)
        if description is not None:
            check_description(name, description)
        await self._find(name)
        changes = {} if value is None else {"SecretString": value}
        changes |= {} if description is None else {"Description": description}
        if changes:
            await self._call("update_secret", SecretId=name, **changes)

    async def delete(self, name: str) -> None:
        await self._find(name)
        await self._call("delete_secret", SecretId=name, RecoveryWindowInDays=RECOVERY)

    async def _bring_back(self, name: str, value: str, description: str) -> bool:
        """One that was deleted some days ago keeps its name until it is gone for good. False for one that was not."""
        told = await self._call("describe_secret", SecretId=name)
        if "DeletedDate" not in told or not self._is_ours(told):
            return False
        await self._call("restore_secret", SecretId=name)
        await self.update(name, value, description)
        return True

    def _is_ours(self, told: dict[str, Any]) -> bool:
        return self._tag in {each["Key"] for each in told.get("Tags", [])}

    async def _find(self, name: str) -> None:
        """Raises NotFound for a secret that is not there, or not the hub's."""
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
    return SecretInfo(told["Name"], told.get("Description", ""), changed.timestamp() if changed else 0.0)
