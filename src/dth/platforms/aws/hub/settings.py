"""The settings that a deployment of the hub gives its functions."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from dth.core.errors import UsageError

OPTIONAL = {
    "console_bucket",
    "bundle_arm64",
    "bundle_x86_64",
    "templates",
    "prices",
    "permissions_boundary",
    "kms_key",
    "point_in_time_recovery",
    "vpc",
    "subnets",
    "cluster",
    "task_image",
    "assumable_roles",
    "allowed_networks",
    "task_tags",
    "user_pool",
    "audience",
    "role_claim",
    "roles",
    "default_role",
}


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Each field is a variable: DTH_ and the name in capitals.

    `table_prefix`: the tables of a task are named with this prefix, a hyphen, the task's id, a
    hyphen and their content. `log_prefix`: the log group of a task is named with this prefix, a
    slash and the id. `stack_prefix`: the stack of a task, with a hyphen in between. `asset_url`:
    the https address of the asset prefix, from which CloudFormation reads templates. `subnets`:
    comma-separated. `allowed_networks`: where tasks may connect to besides public addresses,
    comma-separated. `secret_tag`: the key of the tag that marks secrets of the hub.
    """

    region: str
    tasks_table: str
    hub_table: str
    table_prefix: str
    log_prefix: str
    stack_prefix: str
    asset_bucket: str
    asset_prefix: str
    asset_url: str
    # The role with which CloudFormation creates the stacks of tasks.
    service_role: str
    # ARN of the state machine that brings tasks to their desired state.
    workflow: str
    job_function: str
    certificate_function: str
    # ARN of the hub's topic for notifications.
    topic: str
    # ARN of the secret from which the signing key of certificates is derived.
    signing_secret: str
    secret_tag: str
    issuer: str  # whose tokens the API accepts
    client: str  # to whom the tokens are issued
    # "ENABLED" or "DISABLED": whether what runs in the subnets gets a public address.
    public_ip: str
    console_bucket: str = ""
    bundle_arm64: str = ""  # SHA-256 of what machines run
    bundle_x86_64: str = ""
    # SHA-256 of the templates of tasks: `s3=... ecr=...`.
    templates: str = ""
    # JSON: prices of stores that are not AWS, by host.
    prices: str = ""
    permissions_boundary: str = ""
    kms_key: str = ""
    point_in_time_recovery: str = ""  # as the parameter of the deployment
    vpc: str = ""
    subnets: str = ""
    cluster: str = ""
    task_image: str = ""
    # Patterns of the ARNs of roles that tasks may assume, separated by spaces.
    assumable_roles: str = ""
    allowed_networks: str = ""
    # JSON: more tags of everything that is made for tasks, by key.
    task_tags: str = ""
    # Id of the Cognito user pool; "" = an external issuer.
    user_pool: str = ""
    audience: str = ""
    role_claim: str = ""
    # JSON: maps groups to roles; "" = groups are named like roles.
    roles: str = ""
    # The role of users whose tokens name none; "" = they are refused.
    default_role: str = ""

    def tags_of(self, task: str) -> dict[str, str]:
        """Return the tags of everything that is made for the task."""
        return {**json.loads(self.task_tags or "{}"), "DataTransferHub": task}

    def template_digest(self, kind: str) -> str:
        """SHA-256 of the template of a kind of task; "" if it is not known."""
        return dict(each.split("=", 1) for each in self.templates.split()).get(kind, "")

    @property
    def first_subnet(self) -> str:
        return self.subnets.split(",")[0]

    @property
    def last_subnet(self) -> str:
        return self.subnets.rsplit(",", 1)[-1]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "HubSettings":
        """Raises UsageError for missing settings."""
        given = {each.name: environment.get(f"DTH_{each.name.upper()}", "") for each in fields(cls)}
        given["region"] = given["region"] or environment.get("AWS_REGION", "")
        if missing := [
            f"DTH_{name.upper()}" for name in given if not given[name] and name not in OPTIONAL
        ]:
            raise UsageError(
                f"the environment does not say which hub this is: {', '.join(missing)} missing"
            )
        return cls(**given)
