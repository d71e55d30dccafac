"""A hub that was deleted by mistake: a new one takes what the old one left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tests.aws.hub import ADMIN, PASSWORD, Hub, deploy_hub, deploy_template
from tests.infra.checks import resources

if TYPE_CHECKING:
    from tests.aws.emulator.region import Region

LEFT = {
    "tasksTableName": "TasksTable",
    "hubTableName": "HubTable",
    "certificateKeyArn": "CertificateKey",
    "userPoolId": "Users",
}
EMPTY_ZIP = b"PK\x05\x06" + bytes(18)
TASKS = "{ listTasksV2 { items { id description } } }"


def test_a_new_hub_takes_what_a_deleted_one_left(
    fresh_region: Region, templates: dict[str, Path]
) -> None:
    hub = deploy_hub(fresh_region, templates, EMPTY_ZIP)
    left = {parameter: hub.stack.resources[name] for parameter, name in LEFT.items()}
    task = hub.create(srcBucket="source", destBucket="copies")
    # The emulator calls it by its name.
    secrets = fresh_region.boto("secretsmanager")
    key = secrets.get_secret_value(SecretId=left["certificateKeyArn"])
    left["certificateKeyArn"] = key["ARN"]
    hub.stack.delete()

    stack = deploy_template(
        fresh_region, templates, "hub", EMPTY_ZIP, adminEmail=ADMIN,
        assumableRoles="arn:aws:iam::*:role/*", **left,
    )  # fmt: skip

    assert stack.resources.keys() & {*LEFT.values(), "Administrator"} == set()
    assert stack.outputs["UserPool"] == left["userPoolId"]
    cognito = fresh_region.boto("cognito-idp")
    client = cognito.create_user_pool_client(
        UserPoolId=left["userPoolId"],
        ClientName="again",
        ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"],
    )["UserPoolClient"]["ClientId"]
    signed_in = cognito.initiate_auth(
        ClientId=client,
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": ADMIN, "PASSWORD": PASSWORD},
    )["AuthenticationResult"]
    again = Hub(stack, signed_in["AccessToken"])
    assert [each["id"] for each in again.call(TASKS)["items"]] == [task]
    now = secrets.get_secret_value(SecretId=left["certificateKeyArn"])
    assert now["SecretString"] == key["SecretString"]


def test_what_holds_data_is_kept_and_can_be_given(templates: dict[str, Path]) -> None:
    """Every resource that is kept when the stack is deleted has a parameter."""
    for name in ("hub", "hub-oidc"):
        template = json.loads(templates[name].read_text("utf-8"))
        kept = {
            each
            for each, made in template["Resources"].items()
            if made.get("DeletionPolicy", "") == "Retain"
        }
        given = {each for parameter, each in LEFT.items() if parameter in template["Parameters"]}
        # Who is in the pool stays in it.
        of_pool = {
            each
            for each, made in template["Resources"].items()
            if made["Type"].startswith(
                ("AWS::Cognito::UserPoolGroup", "AWS::Cognito::UserPoolUser")
            )
        }
        assert kept == given | of_pool
        for each in kept:
            assert template["Resources"][each]["Condition"].startswith("New")
        assert resources(template, "AWS::DynamoDB::Table").keys() == {"TasksTable", "HubTable"}
