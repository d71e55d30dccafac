"""The building blocks of templates: parameters from the plugins' models, functions, roles, tables,
log groups.

Templates use CloudFormation's own resource types, so this code shows exactly what is deployed. They
need no bootstrapped account and no CDK for deployment: their code is in the bucket that the
parameters `assetBucket` and `assetPrefix` name, and the plain JSON works in the CloudFormation
console.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import aws_cdk as cdk
from aws_cdk import (
    CfnCondition,
    CfnParameter,
    Fn,
    aws_cloudwatch,
    aws_dynamodb,
    aws_iam,
    aws_lambda,
    aws_logs,
    aws_sns,
    aws_stepfunctions,
)
from constructs import Construct
from pydantic import BaseModel

from dth.core.parameters import choices, extra, in_templates, is_open
from dth.infra import PYTHON
from dth.infra.statements import (
    BUNDLES,
    LOGS,
    ROLES,
    STACK_TAG,
    Statement,
    allow,
    only_by_tls,
    policy,
)
from dth.platforms.aws.tables import Table, create_table

RETENTION = 14  # days that log groups keep events
NAME = r"[\w+=,@-][\w+=,.@-]{0,254}"  # of a secret
# For values that become part of policies: nothing that would widen them is accepted.
PATTERNS = {
    "Bucket": r"|[A-Za-z0-9][A-Za-z0-9._-]{1,253}",
    "RoleArn": r"|arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+",
    "Credentials": f"|{NAME}",
    "Credential": f"|{NAME}",
    "CustomerKey": f"|{NAME}",
    "StorageClass": r"|[\w.:+-]{1,128}",
    "AccountId": "|[0-9]{12}",
    "Region": "|[a-z0-9-]+",
    # As EventBridge takes them: `dth aws deploy` and the hub write them so.
    "scheduleTimeZone": r"|[A-Za-z][\w+-]*(/[\w+-]+){0,2}",
    "scheduleRate": "|1 (minute|hour|day)|([2-9]|[1-9][0-9]{1,5}) (minutes|hours|days)",
    "ec2CronExpression": r"|[\d*/,-]+ [\d*/,-]+ [\d*/,?LW-]+ [\dA-Z*/,-]+ [\dA-Z*/,?#-]+ [\d*/,-]+",
}
DIGEST = "|[0-9a-f]{64}"
# Services that say for whose account they assume a role, by their documentation. Lambda, EC2 and
# CloudFormation do not; there only the account itself can pass the role.
SAY_ACCOUNT = {
    "states.amazonaws.com",
    "events.amazonaws.com",
    "scheduler.amazonaws.com",
    "ecs-tasks.amazonaws.com",
    "codebuild.amazonaws.com",
}
NETWORK = "Network and machines"
# Groups in the plugins' models, and their titles.
GROUPS = {
    "source": "Source",
    "destination": "Destination",
    "comparison": "What is copied",
    "engine": "Engine",
    "schedule": "Schedule and notifications",
    "compatibility": NETWORK,
}
DEPLOYMENT = "Deployment"


class Template(cdk.Stack):
    """One template: parameters first, then resources. `finish` writes the layout for
    CloudFormation's console.

    `has_functions`: it makes functions, whose code has a version.
    """

    has_functions = True

    def __init__(self, scope: Construct, name: str, description: str) -> None:
        super().__init__(
            scope,
            name,
            description=description,
            synthesizer=cdk.BootstraplessSynthesizer(),
            analytics_reporting=False,
        )
        self._groups: dict[str, list[str]] = {}
        self._labels: dict[str, str] = {}
        self._conditions: dict[str, CfnCondition] = {}
        self.asset_bucket = self.parameter(
            "assetBucket",
            "Asset bucket",
            DEPLOYMENT,
            "Bucket with the code that dth aws publish put there.",
            pattern=r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        )
        self.asset_prefix = self.parameter(
            "assetPrefix",
            "Asset prefix",
            DEPLOYMENT,
            "Where in that bucket it is.",
            pattern=r"[\w.-]+(/[\w.-]+)*",
        )
        if self.has_functions:
            self.code_version = self.parameter(
                "lambdaVersion",
                "Version of the functions' code",
                DEPLOYMENT,
                (
                    "Version of lambda.zip in the asset bucket; dth aws publish fills it in. The "
                    "newest when empty."
                ),
                default="",
                pattern=r"|[\w.-]{1,1024}",
            )
        self.boundary = self.parameter(
            "permissionsBoundary",
            "Permissions boundary",
            DEPLOYMENT,
            "ARN of a policy that bounds every role made here; none when empty.",
            default="",
            pattern=r"|arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/[\w+=,.@/-]+",
        )
        self.kms_key = self.parameter(
            "kmsKeyArn",
            "KMS key",
            DEPLOYMENT,
            (
                "ARN of the key that encrypts queues, tables, topics and logs; keys that AWS "
                "manages when empty."
            ),
            default="",
            pattern="|arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+",
        )

    # ----------------------------------------------------------------------------------- parameters

    def allowed_networks(self, default: str) -> None:
        """Declare where tasks may connect besides public addresses (see
        `dth.platforms.aws.confined`).
        """
        self.parameter(
            "allowedNetworks", "Allowed networks", DEPLOYMENT,
            "Where tasks may connect to besides public addresses, separated by commas: "
            "private, loopback, or networks such as 10.20.0.0/16. Metadata services never.",
            default=default, pattern="[a-z0-9.:/, ]{0,1000}",
        )  # fmt: skip

    def public_ip(self, who: str) -> CfnParameter:
        """Declare whether what runs in the subnets gets a public address. `who`: such as
        machines."""
        return self.parameter(
            "publicIp", "Public address", NETWORK,
            (
            f"Whether {who} get a public address: in a subnet without NAT they reach nothing "
            "outside without one."
            ),
            default="ENABLED", allowed=["ENABLED", "DISABLED"],
        )  # fmt: skip

    def point_in_time_recovery(self) -> None:
        """Declare which tables can be restored to any moment."""
        self.parameter(
            "pointInTimeRecovery", "Recovery of tables", DEPLOYMENT,
            "Which tables can be restored to any moment of the last 35 days: STATE, all but the "
            "large ones with the records and parts of tasks; ALL; or NONE.",
            default="STATE", allowed=["STATE", "ALL", "NONE"],
        )  # fmt: skip

    def bundles(self) -> None:
        """Declare the digests of the machines' code: machines refuse any other code in the asset
        bucket.
        """
        for architecture, name in BUNDLES.items():
            self.parameter(
                name, f"Code ({architecture})", DEPLOYMENT,
                f"SHA-256 of bundle-{architecture}.tar.gz, which machines run and nothing else; "
                "dth aws publish fills it in. Not checked when empty.", default="", pattern=DIGEST,
            )  # fmt: skip

    def parameter(
        self,
        name: str,
        label: str,
        group: str,
        description: str,
        *,
        type: str = "String",
        default: str | float | None = None,
        allowed: Sequence[str] = (),
        pattern: str = "",
        least: float | None = None,
        most: float | None = None,
    ) -> CfnParameter:
        """Declare a parameter. Without a default it is required. `pattern` matches the whole
        value."""
        self._groups.setdefault(group, []).append(name)
        self._labels[name] = label
        return CfnParameter(
            self,
            name,
            type=type,
            description=description,
            default=default,
            allowed_values=list(allowed) or None,
            allowed_pattern=f"^({pattern})$" if pattern else None,
            min_value=least,
            max_value=most,
        )

    def task_parameters(
        self, model: type[BaseModel], types: Mapping[str, str]
    ) -> dict[str, CfnParameter]:
        """Declare those parameters of a plugin that a stack can act on, and return them by name.

        `types`: CloudFormation's own types of some, which therefore cannot be empty.
        """
        known = in_templates(model)
        return {
            str(field.alias): self._task_parameter(
                str(field.alias), field, types.get(str(field.alias), "")
            )
            for field in model.model_fields.values()
            if field.alias in known
        }

    def _task_parameter(self, name: str, field: Any, type: str) -> CfnParameter:
        about = extra(field)
        description = str(field.description)
        if field.annotation == tuple[str, ...]:
            description += " A JSON list of texts."
        allowed = (
            ["true", "false"]
            if field.annotation is bool
            else []
            if is_open(field)
            else choices(field)
        )
        if allowed and field.default is None:
            allowed = ["", *allowed]
        pattern = next((each for end, each in PATTERNS.items() if name.endswith(end)), "")
        needed = bool(about["required"] or type)
        return self.parameter(
            name,
            str(field.title),
            GROUPS[about["group"]],
            description,
            type=type or "String",
            default=None if needed else _text(field.default),
            allowed=allowed,
            pattern="" if type else pattern.removeprefix("|") if needed else pattern,
        )

    # ----------------------------------------------------------------------------------- conditions

    def is_given(self, parameter: CfnParameter) -> str:
        """Return the name of the condition that the parameter is not empty."""
        name = parameter.node.id
        empty = Fn.condition_equals(parameter.value_as_string, "")
        return self.condition(f"Has{name[0].upper()}{name[1:]}", Fn.condition_not(empty))

    def is_true(self, parameter: CfnParameter) -> str:
        """Return the name of the condition that the parameter is "true"."""
        name = parameter.node.id
        return self.condition(
            f"Is{name[0].upper()}{name[1:]}", Fn.condition_equals(parameter.value_as_string, "true")
        )

    def condition(self, name: str, expression: Any) -> str:
        """Define a condition and return its name. A repeated call returns the same condition."""
        if name not in self._conditions:
            self._conditions[name] = CfnCondition(self, name, expression=expression)
        return name

    def holds(self, name: str) -> Any:
        """Return a condition by its name, for use in another condition."""
        return self._conditions[name]

    @staticmethod
    def when(condition: str, value: Any, otherwise: Any = None) -> Any:
        """Return `value` if the named condition holds, else `otherwise`; without it, the property
        is omitted.
        """
        chosen = Fn.condition_if(
            condition, value, cdk.Aws.NO_VALUE if otherwise is None else otherwise
        )
        texts = isinstance(value, str) and isinstance(otherwise, str | None)
        return cdk.Token.as_string(chosen) if texts else chosen

    @staticmethod
    def sub(text: str, **values: Any) -> str:
        """Return the text with `${...}` replaced: by `values`, or by what CloudFormation knows by
        that name.
        """
        return Fn.sub(text, values or None)

    def arn(
        self,
        service: str,
        resource: str,
        *,
        account: str = "${AWS::AccountId}",
        region: str = "${AWS::Region}",
        **values: str,
    ) -> str:
        """Return an ARN in the stack's partition; CloudFormation replaces each `${...}` in it, by
        `values` first.
        """
        return self.sub(
            f"arn:${{AWS::Partition}}:{service}:{region}:{account}:{resource}", **values
        )

    # ------------------------------------------------------------------------------------ resources

    def role(
        self,
        name: str,
        service: str,
        statements: Sequence[Any],
        description: str,
        *,
        only: Mapping[str, Sequence[Statement]] | None = None,
    ) -> aws_iam.CfnRole:
        """Create a role for a service such as "lambda.amazonaws.com", with its own policy and the
        boundary.

        Use a `grant` for conditional rights: each `when` in a list doubles the work of linters.
        `only`: rights by condition that the role must have when it is created, because a function
        with it is refused otherwise.
        """
        trust: Statement = {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"Service": service},
        }
        if service in SAY_ACCOUNT:
            trust["Condition"] = {"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}}
        inline = aws_iam.CfnRole.PolicyProperty
        policies: list[Any] = []
        if statements:
            policies.append(inline(policy_name="Own", policy_document=policy(statements)))
        for condition, rights in (only or {}).items():
            given = {"PolicyName": condition, "PolicyDocument": policy(rights)}
            policies.append(self.when(condition, given))
        return aws_iam.CfnRole(
            self,
            name,
            description=description,
            assume_role_policy_document=policy([trust]),
            policies=policies or None,
            path=self.sub(ROLES),
            permissions_boundary=self.when(
                self.is_given(self.boundary), self.boundary.value_as_string
            ),
        )

    def grant(
        self,
        name: str,
        roles: Sequence[aws_iam.CfnRole],
        statements: Sequence[Statement],
        condition: str = "",
    ) -> aws_iam.CfnPolicy:
        """Grant rights to several roles, or only under a condition."""
        made = aws_iam.CfnPolicy(
            self,
            name,
            policy_name=name,
            policy_document=policy(statements),
            roles=[role.ref for role in roles],
        )
        if condition:
            made.cfn_options.condition = self.holds(condition)
        return made

    def function(
        self,
        name: str,
        handler: str,
        role: aws_iam.CfnRole,
        environment: Mapping[str, str],
        *,
        log_group: str,
        description: str,
        timeout: int = 60,
        memory: int = 512,
        **more: Any,
    ) -> aws_lambda.CfnFunction:
        """Create a Lambda function.

        `handler` is in our package, such as "dth.compose.aws.functions.objects.tick"; `timeout` is
        in seconds, `memory` in MiB. `log_group` is the name of its log group.
        """
        return aws_lambda.CfnFunction(
            self,
            name,
            description=description,
            runtime=f"python{PYTHON}",
            architectures=["arm64"],
            handler=handler,
            code=aws_lambda.CfnFunction.CodeProperty(
                s3_bucket=self.asset_bucket.value_as_string,
                s3_key=self.sub("${assetPrefix}/lambda.zip"),
                s3_object_version=self.when(
                    self.is_given(self.code_version), self.code_version.value_as_string
                ),
            ),
            role=role.attr_arn,
            timeout=timeout,
            memory_size=memory,
            environment=aws_lambda.CfnFunction.EnvironmentProperty(variables=dict(environment)),
            logging_config=aws_lambda.CfnFunction.LoggingConfigProperty(
                log_group=log_group,
                log_format="JSON",
                application_log_level="INFO",
                system_log_level="WARN",
            ),
            **more,
        )

    def log_group(self, name: str, **more: Any) -> aws_logs.CfnLogGroup:
        """Create the log group of the stack."""
        return aws_logs.CfnLogGroup(
            self,
            name,
            log_group_name=self.sub(f"{LOGS}/${{AWS::StackName}}"),
            retention_in_days=RETENTION,
            kms_key_id=self._key_or_none(),
            **more,
        )

    def table(self, name: str, table: Table) -> aws_dynamodb.CfnTable:
        """Create a table with the keys and indexes of `table`, and on-demand billing. Needs
        `point_in_time_recovery`."""
        made = create_table("", table)
        chosen, usual = Fn.ref("pointInTimeRecovery"), table.recoverable
        other = self.condition(
            "NoRecovery" if usual else "FullRecovery",
            Fn.condition_equals(chosen, "NONE" if usual else "ALL"),
        )
        recovery = aws_dynamodb.CfnTable.PointInTimeRecoverySpecificationProperty(
            point_in_time_recovery_enabled=self.when(other, not usual, usual)
        )
        expiry = aws_dynamodb.CfnTable.TimeToLiveSpecificationProperty(
            attribute_name=table.expires, enabled=True
        )
        return aws_dynamodb.CfnTable(
            self,
            name,
            billing_mode=made["BillingMode"],
            attribute_definitions=_as_cdk(made["AttributeDefinitions"]),
            key_schema=_as_cdk(made["KeySchema"]),
            global_secondary_indexes=_as_cdk(made.get("GlobalSecondaryIndexes")),
            point_in_time_recovery_specification=recovery,
            sse_specification=aws_dynamodb.CfnTable.SSESpecificationProperty(
                sse_enabled=True, sse_type="KMS", kms_master_key_id=self._key_or_none()
            ),
            time_to_live_specification=expiry if table.expires else None,
        )

    def alarms(self, email: CfnParameter, *services: str) -> aws_sns.CfnTopic:
        """Create a topic for these AWS services, with a subscription of the e-mail address if one
        is given.
        """
        topic = aws_sns.CfnTopic(
            self,
            "Alarms",
            kms_master_key_id=self.when(self.is_given(self.kms_key), self.kms_key.value_as_string),
        )
        published = [
            {
                "Effect": "Allow",
                "Principal": {"Service": service},
                "Action": "sns:Publish",
                "Resource": topic.ref,
                "Condition": {"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}},
            }
            for service in services
        ]
        aws_sns.CfnTopicPolicy(
            self,
            "AlarmsPolicy",
            topics=[topic.ref],
            policy_document=policy([only_by_tls(topic.ref, "sns:Publish"), *published]),
        )
        mail = aws_sns.CfnSubscription(
            self, "AlarmMail", topic_arn=topic.ref, protocol="email", endpoint=email.value_as_string
        )
        mail.cfn_options.condition = self.holds(self.is_given(email))
        return topic

    @staticmethod
    def metric(
        id: str, namespace: str, metric: str, statistic: str, dimension: str, value: str
    ) -> aws_cloudwatch.CfnAlarm.MetricDataQueryProperty:
        """Return a metric for an alarm's expression, with a period of one minute."""
        return aws_cloudwatch.CfnAlarm.MetricDataQueryProperty(
            id=id,
            return_data=False,
            metric_stat=aws_cloudwatch.CfnAlarm.MetricStatProperty(
                metric=aws_cloudwatch.CfnAlarm.MetricProperty(
                    namespace=namespace,
                    metric_name=metric,
                    dimensions=[
                        aws_cloudwatch.CfnAlarm.DimensionProperty(name=dimension, value=value)
                    ],
                ),
                period=60,
                stat=statistic,
            ),
        )

    def grant_key(self, name: str, roles: Sequence[aws_iam.CfnRole]) -> aws_iam.CfnPolicy:
        """Let the roles use the customer's key, if there is one."""
        return self.grant(name, roles, [self.uses_key()], self.is_given(self.kms_key))

    def uses_key(self) -> Statement:
        """Return a statement that allows use of the customer's key."""
        return allow(["kms:Decrypt", "kms:GenerateDataKey"], self.kms_key.value_as_string)

    def write_logs(self, log_group: str) -> Statement:
        """Return a statement that allows writing to the log group of that name."""
        arn = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:${Group}:*"
        return allow(["logs:CreateLogStream", "logs:PutLogEvents"], self.sub(arn, Group=log_group))

    def logged(
        self, log_group: str, level: str
    ) -> aws_stepfunctions.CfnStateMachine.LoggingConfigurationProperty:
        """Return the logging of a state machine to the log group of that name; level "ERROR" or
        "ALL".
        """
        log = aws_stepfunctions.CfnStateMachine.LogDestinationProperty(
            cloud_watch_logs_log_group=aws_stepfunctions.CfnStateMachine.CloudWatchLogsLogGroupProperty(
                log_group_arn=self.sub(
                    "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:${Group}:*",
                    Group=log_group,
                )
            )
        )
        return aws_stepfunctions.CfnStateMachine.LoggingConfigurationProperty(
            destinations=[log], level=level, include_execution_data=True
        )

    def tell(self, outputs: Mapping[str, tuple[str, str]]) -> None:
        """Add the stack's outputs: value and description by name."""
        for name, (value, description) in outputs.items():
            cdk.CfnOutput(
                self, f"Out{name}", value=value, description=description
            ).override_logical_id(name)

    def finish(self) -> None:
        """Tag all resources, and write how CloudFormation's console shows the parameters: the
        deployment group last.
        """
        cdk.Tags.of(self).add(STACK_TAG, cdk.Aws.STACK_NAME)
        groups = sorted(self._groups, key=lambda group: group == DEPLOYMENT)
        self.template_options.metadata = {
            "AWS::CloudFormation::Interface": {
                "ParameterGroups": [
                    {"Label": {"default": group}, "Parameters": self._groups[group]}
                    for group in groups
                ],
                "ParameterLabels": {
                    name: {"default": label} for name, label in self._labels.items()
                },
            }
        }

    def _key_or_none(self) -> Any:
        return self.when(self.is_given(self.kms_key), self.kms_key.value_as_string)


def _text(value: Any) -> str:
    """Return a default as the API writes it."""
    if value is None or value == ():
        return ""
    return str(value).lower() if isinstance(value, bool) else str(getattr(value, "value", value))


def _as_cdk(value: Any) -> Any:
    """Return the arguments of an API call in the CDK's spelling."""
    match value:
        case list():
            return [_as_cdk(each) for each in value]
        case dict():
            return {
                re.sub("^[A-Z]", lambda first: first[0].lower(), name): _as_cdk(each)
                for name, each in value.items()
            }
    return value
