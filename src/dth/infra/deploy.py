"""Creates, updates, and deletes stacks with change sets, and reports the events."""

import difflib
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dth.core.errors import HubError, NotFound, UsageError
from dth.infra.publish import PublishedTemplate, filled
from dth.platforms.aws.hub.stacks import as_tags

FIRST_PAUSE, PAUSE = 0.3, 3.0  # Seconds between polls: short at first.
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]
NO_TAGS: Mapping[str, str] = {}
NO_CHANGES = ("didn't contain changes", "No updates are to be performed")

Say = Callable[[str], None]


class DeploymentFailed(HubError):
    """A stack did not reach its target state. The message has the first failed resource and the
    reason.
    """


@dataclass(frozen=True, slots=True)
class Change:
    """One change: "Add", "Modify", "Remove"; a resource and its type; whether it is replaced."""

    action: str
    name: str
    type: str
    replaced: bool


class DeployedStack:
    """One stack of CloudFormation. `client` is boto3's."""

    def __init__(self, client: Any, name: str, say: Say) -> None:
        self._client = client
        self.name = name
        self._say = say

    def status(self) -> str:
        """Return CloudFormation's status; "" if the stack does not exist."""
        found = self._describe()
        return str(found["StackStatus"]) if found else ""

    def outputs(self) -> dict[str, str]:
        """Return the stack's outputs by name; empty if there is no stack."""
        return {
            each["OutputKey"]: each["OutputValue"] for each in self._describe().get("Outputs", [])
        }

    def beginning_with(self, *beginnings: str) -> list[str]:
        """Return the names of the stacks here with one of these prefixes."""
        pages = self._client.get_paginator("describe_stacks").paginate()
        return sorted(
            each["StackName"]
            for page in pages
            for each in page["Stacks"]
            if each["StackName"].startswith(beginnings) and each["StackStatus"] != "DELETE_COMPLETE"
        )

    def difference(
        self,
        template: PublishedTemplate,
        parameters: Mapping[str, str],
        tags: Mapping[str, str] = NO_TAGS,
    ) -> list[Change]:
        """Return what a deployment would change, without any change."""
        change_set = self._propose(template, parameters, tags)
        if not change_set:
            return []
        try:
            return list(self._changes(change_set))
        finally:
            self._client.delete_change_set(ChangeSetName=change_set)
            if self.status() == "REVIEW_IN_PROGRESS":  # created only for this comparison
                self._client.delete_stack(StackName=self.name)

    def deploy(
        self,
        template: PublishedTemplate,
        parameters: Mapping[str, str],
        tags: Mapping[str, str] = NO_TAGS,
    ) -> bool:
        """Create the stack from the template, or update it. Returns False if there is nothing to
        change.

        Parameters that are not given keep their values, and so do the stack's tags if none is
        given. CloudFormation puts tags on what it makes, too. Raises DeploymentFailed.
        """
        if self.status() in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "REVIEW_IN_PROGRESS"):
            self._say(f"{self.name}: a first try failed; what is left of it is deleted")
            self.delete()
        change_set = self._propose(template, parameters, tags)
        if not change_set:
            return False
        began = time.time()
        self._client.execute_change_set(
            ChangeSetName=change_set, ClientRequestToken=str(uuid.uuid4())
        )
        status = self._follow(began)
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            raise DeploymentFailed(f"stack {self.name} is {status}: {self._first_failure(began)}")
        return True

    def delete(self) -> None:
        """Delete the stack. Raises DeploymentFailed with what could not be deleted, and
        NotFound."""
        found = self._describe()
        if not found:
            raise NotFound(f"there is no stack {self.name!r} here")
        began = time.time()
        self._client.delete_stack(StackName=self.name)
        status = self._follow(began, found["StackId"])
        if status not in ("", "DELETE_COMPLETE"):
            raise DeploymentFailed(f"stack {self.name} is {status}: {self._first_failure(began)}")

    # -------------------------------------------------------------------------------------- details

    def _describe(self, name: str = "") -> dict[str, Any]:
        import botocore.exceptions

        try:
            found: dict[str, Any] = self._client.describe_stacks(StackName=name or self.name)[
                "Stacks"
            ][0]
            return found
        except botocore.exceptions.ClientError as error:
            if "does not exist" in str(error):
                return {}
            raise

    def _propose(
        self,
        template: PublishedTemplate,
        parameters: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> str:
        """Return the id of a change set to execute; "" if it has no changes."""
        before = self._describe()
        exists = bool(before) and before["StackStatus"] != "REVIEW_IN_PROGRESS"
        known = {each["ParameterKey"] for each in before.get("Parameters", [])} if exists else set()
        # The code's location comes from the template's defaults: otherwise an update would keep the
        # old code.
        kept = (known & template.parameters.keys()) - filled()
        _check(template, parameters, kept)
        given: list[dict[str, Any]] = [
            *(
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in parameters.items()
            ),
            *(
                {"ParameterKey": name, "UsePreviousValue": True}
                for name in sorted(kept - parameters.keys())
            ),
        ]
        made = self._client.create_change_set(
            StackName=self.name,
            ChangeSetName=f"dth-{uuid.uuid4().hex[:12]}",
            ChangeSetType="UPDATE" if exists else "CREATE",
            TemplateURL=template.url,
            Parameters=given,
            Capabilities=CAPABILITIES,
            **({"Tags": as_tags(tags)} if tags else {}),
        )
        change_set: str = made["Id"]
        while True:
            found = self._client.describe_change_set(ChangeSetName=change_set)
            if found["Status"] == "CREATE_COMPLETE":
                return change_set
            if found["Status"] == "FAILED":
                reason = found.get("StatusReason", "")
                self._client.delete_change_set(ChangeSetName=change_set)
                if any(text in reason for text in NO_CHANGES):
                    return ""
                raise DeploymentFailed(f"stack {self.name} cannot be changed that way: {reason}")
            time.sleep(FIRST_PAUSE)

    def _changes(self, change_set: str) -> Iterator[Change]:
        token: dict[str, str] = {}
        while True:
            page = self._client.describe_change_set(ChangeSetName=change_set, **token)
            for each in page["Changes"]:
                change = each["ResourceChange"]
                yield Change(
                    change["Action"],
                    change["LogicalResourceId"],
                    change["ResourceType"],
                    change.get("Replacement") in ("True", "Conditional"),
                )
            if "NextToken" not in page:
                return
            token = {"NextToken": page["NextToken"]}

    def _follow(self, began: float, stack: str = "") -> str:
        """Report events until no operation is in progress. Returns the last status."""
        told: set[str] = set()
        pause = FIRST_PAUSE
        while True:
            found = self._describe(stack)
            for event in reversed(self._events(began, stack)):
                if event["EventId"] not in told:
                    told.add(event["EventId"])
                    self._say(_line(event))
            if not found:
                return ""
            status = str(found["StackStatus"])
            if not status.endswith("IN_PROGRESS"):
                return status
            time.sleep(pause)
            pause = min(PAUSE, pause * 1.3)

    def _events(self, began: float, stack: str = "") -> list[dict[str, Any]]:
        """Return the events since `began`, newest first."""
        import botocore.exceptions

        try:
            pages = self._client.get_paginator("describe_stack_events").paginate(
                StackName=stack or self.name
            )
            found = []
            for page in pages:
                new = [
                    each
                    for each in page["StackEvents"]
                    if each["Timestamp"].timestamp() > began - 5
                ]
                found += new
                if len(new) < len(page["StackEvents"]):
                    break
            return found
        except botocore.exceptions.ClientError:
            return []

    def _first_failure(self, began: float) -> str:
        failed = [
            event
            for event in reversed(self._events(began))
            if event["ResourceStatus"].endswith("_FAILED")
        ]
        own = [
            event for event in failed if "cancelled" not in event.get("ResourceStatusReason", "")
        ]
        return _told((own or failed)[0]) if failed else "CloudFormation gives no reason"


def _line(event: dict[str, Any]) -> str:
    return f"{event['ResourceStatus']:<28} {_told(event)}"


def _told(event: dict[str, Any]) -> str:
    """Return what happened to which resource, and the reason if known."""
    what = f"{event['LogicalResourceId']} ({event['ResourceType']})"
    reason = " ".join(event.get("ResourceStatusReason", "").split())
    return f"{what}: {reason}" if reason else what


def _check(template: PublishedTemplate, given: Mapping[str, str], kept: Iterable[str]) -> None:
    """Raise UsageError for unknown parameters, and for missing ones."""
    for name in given.keys() - template.parameters.keys():
        near = difflib.get_close_matches(name, template.parameters, 1)
        raise UsageError(
            f"the template has no parameter {name!r}" + (f"; is it {near[0]}?" if near else "")
        )
    needed = {name for name, needed in template.parameters.items() if needed}
    if missing := sorted(needed - given.keys() - {*kept}):
        raise UsageError(
            f"the template needs {', '.join(missing)}: give each with --parameter NAME=VALUE"
        )
