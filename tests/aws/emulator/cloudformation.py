"""Templates: alarms on metric math are made (nobody computes them here: tests read them back), and
so are users of a user pool; a template is also found by the name of its bucket; conditions split
and join texts.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ministack.services import cognito
from ministack.services.cloudformation import changesets, handlers, helpers, provisioners, stacks

from tests.aws.emulator.patching import replace

if TYPE_CHECKING:
    from collections.abc import Callable

USER, MEMBER = "AWS::Cognito::UserPoolUser", "AWS::Cognito::UserPoolUserToGroupAttachment"


def patch() -> None:
    replace(provisioners, "_cw_metric_alarm_record", _alarm)
    replace(helpers, "_resolve_document", _by_bucket)
    for each in (changesets, handlers, stacks):
        replace(each, "_evaluate_conditions", _with_texts)
    made_by = provisioners._RESOURCE_HANDLERS
    if not {USER, MEMBER}.isdisjoint(made_by):
        raise ImportError(
            "this MiniStack makes users of a user pool itself; the patch is not needed any more"
        )
    made_by[USER] = {"create": _create_user, "delete": _delete_user}
    made_by[MEMBER] = {"create": _join, "delete": lambda name, properties: None}


def _alarm(original: Callable[[str, dict[str, Any]], Any]) -> Callable[[str, dict[str, Any]], Any]:
    def record(name: str, properties: dict[str, Any]) -> Any:
        metrics = properties.get("Metrics")
        if not metrics:
            return original(name, properties)
        plain = {each: value for each, value in properties.items() if each != "Metrics"}
        plain |= {
            "Namespace": "MetricMath",
            "MetricName": name,
            "Statistic": "Maximum",
            "Period": 60,
        }
        return {**original(name, plain), "Metrics": metrics}

    return record


def _with_texts(original: Callable[..., Any]) -> Callable[..., Any]:
    """Parts of texts in conditions, as CloudFormation takes them."""

    def evaluate(template: dict[str, Any], params: dict[str, Any]) -> Any:
        def made(value: Any) -> Any:
            match value:
                case {"Ref": str(name)} if name in params:
                    return params[name]["Value"]
                case {"Fn::Join": [str(between), list(parts)]}:
                    return between.join(map(made, parts))
                case {"Fn::Split": [str(between), text]}:
                    return made(text).split(between)
                case {"Fn::Select": [index, {"Fn::Split": _} as parts]}:
                    return made(parts)[int(index)]
                case dict():
                    return {name: made(each) for name, each in value.items()}
                case list():
                    return [made(each) for each in value]
            return value

        return original({**template, "Conditions": made(template.get("Conditions", {}))}, params)

    return evaluate


def _by_bucket(original: Callable[..., Any]) -> Callable[..., Any]:
    """https://BUCKET.s3.REGION.amazonaws.com/KEY"""

    def resolve(params: dict[str, Any], body: str, url: str, label: str) -> Any:
        given = helpers._p(params, url)
        found = re.fullmatch(r"https://([^./]+)\.s3[^/]*/(.+)", given or "")
        if found:
            params = {**params, url: f"https://s3/{found[1]}/{found[2]}"}
        return original(params, body, url, label)

    return resolve


def _create_user(logical: str, properties: dict[str, Any], stack: str) -> Any:
    names = ("UserPoolId", "Username", "UserAttributes", "DesiredDeliveryMediums")
    _done(
        cognito._admin_create_user({name: properties[name] for name in names if name in properties})
    )
    return properties["Username"], {}


def _delete_user(name: str, properties: dict[str, Any]) -> None:
    cognito._admin_delete_user({"UserPoolId": properties["UserPoolId"], "Username": name})


def _join(logical: str, properties: dict[str, Any], stack: str) -> Any:
    _done(cognito._admin_add_user_to_group(properties))
    return f"{properties['Username']}-{properties['GroupName']}", {}


def _done(answer: Any) -> None:
    status, _, body = answer
    if status >= 300:
        raise ValueError(body)
