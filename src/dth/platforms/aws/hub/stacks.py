"""The CloudFormation stacks of tasks: created, changed and deleted with the hub's service role."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dth.platforms.aws.client import Aws, Refused

CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]
BEGINNINGS = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS")
MAX_VALUE = 4096  # characters of a parameter


@dataclass(frozen=True, slots=True)
class StackState:
    """The state of a stack. `status` is CloudFormation's own; "" if there is no stack."""

    status: str = ""
    id: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_moving(self) -> bool:
        return self.status.endswith("_IN_PROGRESS")

    @property
    def stands(self) -> bool:
        """Whether the stack is complete, as it was requested."""
        return self.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE")

    @property
    def stands_as_before(self) -> bool:
        """Whether a change failed and was rolled back."""
        return self.status == "UPDATE_ROLLBACK_COMPLETE"


class Stacks:
    """`role`: ARN of the service role. Repeated requests have no further effect."""

    def __init__(self, aws: Aws, role: str) -> None:
        self._aws = aws
        self._role = role

    async def look(self, name: str) -> StackState:
        try:
            answer = await self._call("describe_stacks", StackName=name)
        except Refused as error:
            if "does not exist" in str(error):
                return StackState()
            raise
        found = answer["Stacks"][0]
        if found["StackStatus"] == "DELETE_COMPLETE":
            return StackState()
        return StackState(
            found["StackStatus"],
            found["StackId"],
            {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])},
            {each["OutputKey"]: each.get("Description", "") for each in found.get("Outputs", [])},
            {
                each["ParameterKey"]: each.get("ParameterValue", "")
                for each in found.get("Parameters", [])
            },
        )

    async def create(
        self,
        name: str,
        template: str,
        parameters: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        """`tags`: CloudFormation puts them on what it makes, too."""
        asked = self._asked(name, template, parameters, tags)
        try:
            await self._call("create_stack", **asked, OnFailure="ROLLBACK")
        except Refused as error:
            if error.code != "AlreadyExistsException":  # another look was faster
                raise

    async def update(
        self,
        name: str,
        template: str,
        parameters: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> bool:
        """Returns False if there is nothing to change."""
        try:
            await self._call("update_stack", **self._asked(name, template, parameters, tags))
        except Refused as error:
            if "No updates are to be performed" in str(error):
                return False
            raise
        return True

    async def delete(self, name: str) -> None:
        await self._call("delete_stack", StackName=name, RoleARN=self._role)

    async def first_failure(self, stack: str) -> str:
        """Why the last operation on the stack failed, by the stack's id: the first resource that
        failed, and its reason."""
        events: list[dict[str, Any]] = []
        arguments = {"StackName": stack}
        while True:
            answer = await self._call("describe_stack_events", **arguments)
            events += answer["StackEvents"]
            if "NextToken" not in answer:
                break
            arguments["NextToken"] = answer["NextToken"]
        begun = next((place for place, event in enumerate(events) if _begins(event)), len(events))
        last = reversed(events[: begun + 1])  # the newest come first
        failed = [each for each in last if each["ResourceStatus"].endswith("_FAILED")]
        own = [each for each in failed if "cancelled" not in each.get("ResourceStatusReason", "")]
        if not failed:
            return "CloudFormation gives no reason"
        first = (own or failed)[0]
        reason = " ".join(first.get("ResourceStatusReason", "").split())
        return f"{first['LogicalResourceId']} ({first['ResourceType']}): {reason}"

    def _asked(
        self,
        name: str,
        template: str,
        parameters: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> dict[str, Any]:
        return {
            "Tags": as_tags(tags),
            "StackName": name,
            "TemplateURL": template,
            "RoleARN": self._role,
            "Capabilities": CAPABILITIES,
            "Parameters": [
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
        }

    async def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return await self._aws.call("cloudformation", operation, **arguments)


def as_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _begins(event: dict[str, Any]) -> bool:
    """Whether an operation on the whole stack began with this event."""
    whole = event.get("PhysicalResourceId") == event.get("StackId")
    return whole and event["ResourceStatus"] in BEGINNINGS
