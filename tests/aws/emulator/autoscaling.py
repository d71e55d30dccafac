"""Auto Scaling: a group with a mixed instances policy tells its launch template; processes can be
suspended, and single machines ended. Machines are there as soon as a group wants them, also if a
template made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ministack.services import autoscaling
from ministack.services.cloudformation import provisioners

from tests.aws.emulator.patching import replace

if TYPE_CHECKING:
    from collections.abc import Callable

END = "TerminateInstanceInAutoScalingGroup"


def patch() -> None:
    replace(provisioners, "_asg_fields", _with_mixed)
    actions = autoscaling._ACTION_MAP
    if not {"SuspendProcesses", "ResumeProcesses", END}.isdisjoint(actions):
        raise ImportError(
            "this MiniStack suspends processes, or ends machines, itself; the patch is not needed "
            "any more"
        )
    actions[END] = _end
    actions["SuspendProcesses"] = _suspend
    actions["ResumeProcesses"] = _resume
    actions["DescribeAutoScalingGroups"] = _with_suspended(actions["DescribeAutoScalingGroups"])


def _with_mixed(
    original: Callable[[dict[str, Any]], dict[str, Any]],
) -> Callable[..., dict[str, Any]]:
    def fields(properties: dict[str, Any]) -> dict[str, Any]:
        mixed = properties.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
        launch = properties.get("LaunchTemplate") or mixed.get("LaunchTemplateSpecification")
        return original({**properties, "LaunchTemplate": launch})

    return fields


def group_of(instance: str) -> dict[str, Any] | None:
    """The group that a machine belongs to."""
    groups = autoscaling._asgs.values()
    return next((each for each in groups if instance in _names(each)), None)


def _names(group: dict[str, Any]) -> list[str]:
    return [each["InstanceId"] for each in group["Instances"]]


def _end(parameters: dict[str, Any]) -> Any:
    instance = autoscaling._p(parameters, "InstanceId")
    fewer = autoscaling._p(parameters, "ShouldDecrementDesiredCapacity") == "true"
    group = group_of(instance)
    if group is None:
        return autoscaling._error("ValidationError", f"Instance Id not found - {instance}")
    if fewer and group["DesiredCapacity"] <= group["MinSize"]:
        return autoscaling._error(
            "ValidationError",
            "Currently, desiredSize equals minSize. Terminating instance without replacement "
            "will violate group's min size constraint.",
        )
    group["Instances"] = [each for each in group["Instances"] if each["InstanceId"] != instance]
    group["DesiredCapacity"] -= fewer
    autoscaling._reconcile_instances(group)
    return autoscaling._xml(200, f"{END}Response", f"<{END}Result/>")


def _suspend(parameters: dict[str, Any]) -> Any:
    _suspended(parameters).update(autoscaling._parse_member_list(parameters, "ScalingProcesses"))
    return autoscaling._xml(200, "SuspendProcessesResponse", "")


def _resume(parameters: dict[str, Any]) -> Any:
    _suspended(parameters).difference_update(
        autoscaling._parse_member_list(parameters, "ScalingProcesses")
    )
    return autoscaling._xml(200, "ResumeProcessesResponse", "")


def _suspended(parameters: dict[str, Any]) -> set[str]:
    group = autoscaling._asgs[parameters["AutoScalingGroupName"]]
    found: set[str] = group.setdefault("SuspendedProcesses", set())
    return found


def _with_suspended(original: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    def describe(parameters: dict[str, Any]) -> Any:
        for group in autoscaling._asgs.values():
            autoscaling._reconcile_instances(group)
        status, headers, body = original(parameters)
        text = body.decode() if isinstance(body, bytes) else body
        for name, group in autoscaling._asgs.items():
            members = "".join(
                f"<member><ProcessName>{each}</ProcessName></member>"
                for each in sorted(group.get("SuspendedProcesses", ()))
            )
            tag = f"<AutoScalingGroupName>{name}</AutoScalingGroupName><AutoScalingGroupARN>"
            told = tag.replace(
                "<AutoScalingGroupARN>",
                f"<SuspendedProcesses>{members}</SuspendedProcesses><AutoScalingGroupARN>",
            )
            text = text.replace(tag, told)
        return status, headers, text.encode() if isinstance(body, bytes) else text

    return describe
