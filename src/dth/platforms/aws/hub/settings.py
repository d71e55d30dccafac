"""What a deployment of the hub tells its functions."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from dth.core.errors import UsageError

OPTIONAL = {
    "console_bucket",
    "bundle_arm64",
    "bundle_x86_64",
    "prices",
    "permissions_boundary",
    "kms_key",
    "vpc",
    "subnets",
    "cluster",
    "task_image",
    "allowed_networks",
    "user_pool",
    "audience",
    "role_claim",
    "roles",
    "default_role",
}


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Each field is a variable: DTH_ and the name in capitals.

    `table_prefix`: the tables of a task are called so, a hyphen, the task's id, a hyphen and what they hold.
    `log_prefix`: the log group of a task is called so, a slash and the id. `stack_prefix`: the stack of a task, with a
    hyphen between. `asset_url`: the https address of the asset prefix, from which CloudFormation reads templates.
    `subnets`: with commas between. `allowed_networks`: where tasks may connect to beyond public addresses, with commas
    between. `secret_tag`: the key of the tag that marks secrets of the hub.
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
    service_role: str  # with which CloudFormation makes the stacks of tasks
    workflow: str  # ARN of the state machine that brings tasks to where they should be
    job_function: str
    certificate_function: str
    topic: str  # ARN of the topic of the hub's notifications
    signing_secret: str  # ARN of the secret from which the key follows that certificates are signed with
    secret_tag: str
    issuer: str  # whose tokens the API takes
    client: str  # to whom they are given
    console_bucket: str = ""
    bundle_arm64: str = ""  # SHA-256 of what machines run
    bundle_x86_64: str = ""
    prices: str = ""  # JSON: those of stores that are not AWS, by their host
    permissions_boundary: str = ""
    kms_key: str = ""
    vpc: str = ""
    subnets: str = ""
    cluster: str = ""
    task_image: str = ""
    allowed_networks: str = ""
    user_pool: str = ""  # id of the Cognito user pool; "" = an issuer of somebody else's
    audience: str = ""
    role_claim: str = ""
    roles: str = ""  # JSON: the role of each group that has one; "" = groups are called as roles are
    default_role: str = ""  # of users whose tokens name none; "" = they are refused

    @property
    def first_subnet(self) -> str:
        return self.subnets.split(",")[0]

    @property
    def last_subnet(self) -> str:
        return self.subnets.rsplit(",", 1)[-1]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "HubSettings":
        """Raises UsageError for what is missing."""
        given = {each.name: environment.get(f"DTH_{each.name.upper()}", "") for each in fields(cls)}
        given["region"] = given["region"] or environment.get("AWS_REGION", "")
        if missing := [f"DTH_{name.upper()}" for name in given if not given[name] and name not in OPTIONAL]:
            raise UsageError(f"the environment does not say which hub this is: {', '.join(missing)} missing")
        return cls(**given)
