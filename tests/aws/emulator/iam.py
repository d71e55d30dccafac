"""IAM: calls for batches are allowed by the action for one of them, as AWS has no other; log
groups have the `:*` that policies write; wildcards match every character; what ECS is asked to do
with a container is about that one, in the cluster that is named, and what Auto Scaling is asked to
do with a machine about its group; and who comes, comes by TLS,
though the emulator is spoken to without.
"""

from __future__ import annotations

import json
import re
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from ministack.core import iam_actions, iam_evaluator

from tests.aws.emulator.autoscaling import group_of
from tests.aws.emulator.patching import replace

if TYPE_CHECKING:
    from collections.abc import Callable

SINGLE = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    # As we send nothing but inserts.
    "dynamodb:BatchExecuteStatement": "dynamodb:PartiQLInsert",
}
GROUP = "arn:aws:autoscaling:us-east-1:000000000000:autoScalingGroup:*:autoScalingGroupName/"
TABLE = "arn:aws:dynamodb:us-east-1:000000000000:table/"
CLUSTER = "arn:aws:ecs:us-east-1:000000000000:cluster/"

_cluster: ContextVar[str] = ContextVar("cluster", default="")  # that a call is about


def patch() -> None:
    replace(iam_actions, "extract_iam_action", _single)
    replace(iam_actions, "extract_resource_arn", _log_groups)
    replace(iam_actions, "extract_resource_arn", _containers)
    replace(iam_actions, "extract_resource_arn", _machines)
    replace(iam_actions, "extract_resource_arn", _statements)
    replace(iam_evaluator, "_fnmatch_compile", _every_character)
    replace(iam_evaluator, "EvalContext", _by_tls)


def _single(original: Callable[..., Any]) -> Callable[..., Any]:
    def action(*arguments: Any, **more: Any) -> Any:
        found = original(*arguments, **more)
        return SINGLE.get(found, found)

    return action


def _log_groups(original: Callable[..., str]) -> Callable[..., str]:
    def resource(*arguments: Any, **more: Any) -> str:
        found = original(*arguments, **more)
        is_group = found.startswith("arn:aws:logs:") and ":log-group:" in found
        return f"{found}:*" if is_group and not found.endswith(":*") else found

    return resource


def _containers(original: Callable[..., str]) -> Callable[..., str]:
    def resource(
        service: str, method: str, path: str, headers: Any, body: bytes, *more: Any
    ) -> str:
        given = json.loads(body or b"{}") if service == "ecs" else {}
        name = given.get("cluster", "")
        _cluster.set(f"{CLUSTER}{name.rpartition('/')[2]}" if name else "")
        found = given.get("task") or next(iter(given.get("tasks", [])), "")
        return found or original(service, method, path, headers, body, *more)

    return resource


def _machines(original: Callable[..., str]) -> Callable[..., str]:
    """What Auto Scaling is asked to do with a machine is about its group."""

    def resource(
        service: str, method: str, path: str, headers: Any, body: bytes, *more: Any
    ) -> str:
        found = original(service, method, path, headers, body, *more)
        given = parse_qs((body or b"").decode()) if service == "autoscaling" else {}
        group = group_of(given["InstanceId"][0]) if "InstanceId" in given else None
        name = group["AutoScalingGroupName"] if group else ""
        return f"{GROUP}{name}" if name and found == "*" else found

    return resource


def _statements(original: Callable[..., str]) -> Callable[..., str]:
    """Statements name their table."""

    def resource(
        service: str, method: str, path: str, headers: Any, body: bytes, *more: Any
    ) -> str:
        given = json.loads(body or b"{}") if service == "dynamodb" else {}
        for each in given.get("Statements", [])[:1]:
            if found := re.match(r'INSERT INTO "([^"]+)"', each["Statement"]):
                return f"{TABLE}{found[1]}"
        return original(service, method, path, headers, body, *more)

    return resource


def _every_character(
    original: Callable[[str, bool], re.Pattern[str]],
) -> Callable[..., re.Pattern[str]]:
    @cache
    def compiled(pattern: str, ignore_case: bool) -> re.Pattern[str]:
        found = original(pattern, ignore_case)
        return re.compile(found.pattern, found.flags | re.DOTALL)

    return compiled


def _by_tls(original: type[Any]) -> type[Any]:
    defaults = original.__dataclass_fields__["secure_transport"]
    if defaults.default_factory is None:
        raise ImportError("this MiniStack's EvalContext has another secure_transport")
    init = original.__init__

    def by_tls(self: Any, *arguments: Any, **more: Any) -> None:
        init(self, *arguments, **{**more, "secure_transport": True})
        if self.action.startswith("ecs:") and _cluster.get():
            self.service_context["ecs:cluster"] = _cluster.get()
        # A service, as which the emulator comes, says for whose account it assumes a role.
        if self.action == "sts:AssumeRole" and self.principal_arn.endswith(":root"):
            self.service_context["aws:sourceaccount"] = self.principal_account

    original.__init__ = by_tls  # type: ignore[method-assign]
    return original
