"""What the template of every task has, whatever the task copies.

Tables and a log group, a queue for work and a dead-letter queue, rights to these, secrets and roles
of the task's sides, alarms, and a log of its state machine.

The template can be deployed alone, as in the existing solution, or by the hub, which then owns the
tables and the log group.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import aws_cdk as cdk
from aws_cdk import (
    Fn,
    aws_cloudwatch,
    aws_events,
    aws_iam,
    aws_scheduler,
    aws_sns,
    aws_sqs,
)
from pydantic import BaseModel

from dth.infra.statements import Statement, allow, only_by_tls, policy
from dth.infra.template import DEPLOYMENT, Template
from dth.platforms.aws.bindings import PARTITION
from dth.platforms.aws.confined import VARIABLE
from dth.platforms.aws.tables import TABLES

# Seconds; workers extend it during the work.
VISIBILITY = 900
KEPT = 14 * 86400  # seconds
MAX_RECEIVES = 5
USE_TABLE = (
    "dynamodb:GetItem",
    "dynamodb:BatchGetItem",
    "dynamodb:Query",
    "dynamodb:Scan",
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
    "dynamodb:DeleteItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:ConditionCheckItem",
    "dynamodb:PartiQLInsert",
)
# Raises the warm throughput of a table.
WARM_TABLE = ("dynamodb:UpdateTable",)
USE_QUEUE = (
    "sqs:SendMessage",
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibility",
    "sqs:GetQueueAttributes",
    "sqs:PurgeQueue",
)
DELIVER_LOGS = (
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
)
# What Lambda demands of the role of a function in a VPC.
IN_VPC = (
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
)
# For a state that invokes a function: temporary failures of Lambda itself.
LAMBDA_RETRY = {
    "ErrorEquals": [
        "Lambda.ServiceException",
        "Lambda.AWSLambdaException",
        "Lambda.SdkClientException",
        "Lambda.TooManyRequestsException",
    ],
    "IntervalSeconds": 2,
    "BackoffRate": 2,
    "MaxAttempts": 3,
}


def reads_bindings(table: Any) -> Statement:
    """Return the right to read the bindings of secrets, and nothing else in the hub's table."""
    return {
        **allow(["dynamodb:GetItem"], table),
        "Condition": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [PARTITION]}},
    }


class TaskStack(Template):
    """The template of one plugin. The plugin calls these methods in its own order."""

    # ----------------------------------------------------------------------------------- parameters

    def declare(self, type: str, model: type[BaseModel], types: Mapping[str, str]) -> None:
        """Declare the plugin's parameters, and those of every task. `type`: the plugin's name in
        the API.
        """
        self.type = type
        self.task = self.task_parameters(model, types)
        task_id = self.parameter(
            "taskId", "Task", DEPLOYMENT, "Id of the hub's task; the stack's name when empty.",
            default="", pattern="|[A-Za-z0-9-]{1,64}",
        )  # fmt: skip
        tables = self.parameter(
            "tablePrefix", "Tables", DEPLOYMENT, (
                                                 "Beginning of the names of the hub's tables; own "
                                                 "ones when empty."
                                                 ),
            default="", pattern="|[A-Za-z0-9_.-]{1,200}",
        )  # fmt: skip
        logs = self.parameter(
            "logGroup", "Log group", DEPLOYMENT, "The hub's log group; an own one when empty.",
            default="", pattern="|[A-Za-z0-9_./#-]{1,512}",
        )  # fmt: skip
        # Somebody who deploys a task alone has chosen its stores; a hub limits the tasks of its
        # users.
        self.allowed_networks(default="private")
        self.point_in_time_recovery()
        self.hub_table = self.parameter(
            "hubTable", "Table of the hub", DEPLOYMENT,
            (
            "Says what secrets are bound to. Without a hub, whoever makes the task decides, "
            "and it is empty."
            ),
            default="", pattern=r"|[\w.-]{3,255}",
        )  # fmt: skip
        self.of_hub = self.is_given(task_id)
        self.id = self.when(self.of_hub, task_id.value_as_string, cdk.Aws.STACK_NAME)
        # With a hub, the name starts with the stack's, so the hub may start and delete it; alone,
        # CloudFormation chooses a name.
        self.machine_name = self.when(self.of_hub, cdk.Aws.STACK_NAME)
        self.own_tables = self.condition(
            "OwnTables", Fn.condition_equals(tables.value_as_string, "")
        )
        self.own_logs = self.condition("OwnLogGroup", Fn.condition_equals(logs.value_as_string, ""))
        self.alone = self.condition("Alone", Fn.condition_equals(task_id.value_as_string, ""))

    @staticmethod
    def equals(parameter: str, value: str) -> Any:
        """Return an expression for conditions: the parameter has that value."""
        return Fn.condition_equals(Fn.ref(parameter), value)

    # ------------------------------------------------------------------------------- what remembers

    def remember(self, *tables: str) -> None:
        """Create these tables and the log group under a condition: else the hub's are used."""
        self.tables: dict[str, str] = {}
        for name in tables:
            table = self.table(f"{name.title()}Table", TABLES[name])
            table.apply_removal_policy(cdk.RemovalPolicy.DESTROY)
            table.cfn_options.condition = self.holds(self.own_tables)
            self.tables[name] = self.when(
                self.own_tables, table.ref, self.sub(f"${{tablePrefix}}-{name}")
            )
        group = self.log_group("Logs")
        group.apply_removal_policy(cdk.RemovalPolicy.DESTROY)
        group.cfn_options.condition = self.holds(self.own_logs)
        self.logs = self.when(self.own_logs, group.ref, Fn.ref("logGroup"))

    def queues(self) -> None:
        """Create the work queue and the dead-letter queue."""
        key = self.when(self.is_given(self.kms_key), self.kms_key.value_as_string)
        own_key = self.when(self.is_given(self.kms_key), cdk.Aws.NO_VALUE, True)
        self.dead = aws_sqs.CfnQueue(
            self,
            "DeadLetters",
            message_retention_period=KEPT,
            kms_master_key_id=key,
            sqs_managed_sse_enabled=own_key,
        )
        self.queue = aws_sqs.CfnQueue(
            self,
            "Queue",
            visibility_timeout=VISIBILITY,
            message_retention_period=KEPT,
            receive_message_wait_time_seconds=20,
            redrive_policy={
                "deadLetterTargetArn": self.dead.attr_arn,
                "maxReceiveCount": MAX_RECEIVES,
            },
            kms_master_key_id=key,
            sqs_managed_sse_enabled=own_key,
        )

    def queue_policies(self, *statements: Any) -> list[aws_sqs.CfnQueuePolicy]:
        """Return the policies of both queues: TLS only, and these statements for the work queue."""
        return [
            aws_sqs.CfnQueuePolicy(
                self,
                name,
                queues=[queue.ref],
                policy_document=policy([only_by_tls(queue.attr_arn, "sqs:*"), *more]),
            )
            for name, queue, more in (
                ("QueuePolicy", self.queue, statements),
                ("DeadLettersPolicy", self.dead, []),
            )
        ]

    def variables(self) -> dict[str, str]:
        """Return the environment variables that identify the task
        (`dth.platforms.aws.platform.AwsNames`).
        """
        return {
            "DTH_TASK": self.id,
            "DTH_TYPE": self.type,
            "DTH_REGION": cdk.Aws.REGION,
            "DTH_QUEUE_URL": self.queue.attr_queue_url,
            "DTH_DEAD_LETTER_URL": self.dead.attr_queue_url,
            **{f"DTH_{name.upper()}_TABLE": table for name, table in self.tables.items()},
            "DTH_LOG_GROUP": self.logs,
            VARIABLE: Fn.ref("allowedNetworks"),
            "DTH_HUB_TABLE": self.hub_table.value_as_string,
        }

    # --------------------------------------------------------------------------------------- rights

    def task_rights(self, roles: Sequence[aws_iam.CfnRole]) -> list[aws_iam.CfnPolicy]:
        """Grant what everything that accesses the task's data needs."""
        tables = [self.table_arn(name, end) for name in self.tables for end in ("", "/index/*")]
        statements = [
            allow(USE_QUEUE, [self.queue.attr_arn, self.dead.attr_arn]),
            allow(USE_TABLE, tables),
            self.write_logs(self.logs),
        ]
        return [self.grant("TaskRights", roles, statements), self.grant_key("KeyRights", roles)]

    def table_arn(self, name: str, end: str = "") -> str:
        """Return the ARN of one of the task's tables, or of its indexes."""
        table = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${Name}"
        return self.sub(table + end, Name=self.tables[name])

    def side_rights(
        self, roles: Sequence[aws_iam.CfnRole], secret: str, keys_through: Sequence[str]
    ) -> list[aws_iam.CfnPolicy]:
        """Grant the secrets and roles of source and destination.

        `secret`: the suffix of the parameters with their names. `keys_through`: services, besides
        Secrets Manager, through which other KMS keys may be used. The keys of the data are not
        known here; their policies decide.
        """
        services = [*keys_through, f"secretsmanager.{cdk.Aws.REGION}.{cdk.Aws.URL_SUFFIX}"]
        keys = allow(
            ["kms:Decrypt", "kms:GenerateDataKey"],
            self.sub("arn:${AWS::Partition}:kms:*:*:key/*"),
            StringLike={"kms:ViaService": services},
        )
        bindings = reads_bindings(self.arn("dynamodb", "table/${hubTable}"))
        granted: dict[str, tuple[list[Statement], str]] = {
            "StoreKeyRights": ([keys], ""),
            "BindingRights": ([bindings], self.is_given(self.hub_table)),
        }
        for side in ("src", "dest"):
            kept, role = self.task[f"{side}{secret}"], self.task[f"{side}RoleArn"]
            arn = self.arn("secretsmanager", f"secret:${{{kept.node.id}}}-??????")
            granted[f"{side.title()}SecretRights"] = (
                [allow(["secretsmanager:GetSecretValue"], arn)],
                self.is_given(kept),
            )
            granted[f"{side.title()}RoleRights"] = (
                [allow(["sts:AssumeRole"], role.value_as_string)],
                self.is_given(role),
            )
        return self.grant_all(roles, granted)

    def grant_all(
        self, roles: Sequence[aws_iam.CfnRole], granted: Mapping[str, tuple[list[Statement], str]]
    ) -> list[aws_iam.CfnPolicy]:
        """Grant several policies by name: statements and their condition, "" for always."""
        return [
            self.grant(name, roles, statements, condition)
            for name, (statements, condition) in granted.items()
        ]

    # ----------------------------------------------------------------------------- how it is set up

    def setup(
        self,
        function: Any,
        timeout: int,
        properties: Mapping[str, Any],
        lists: Sequence[str] = (),
    ) -> cdk.CfnCustomResource:
        """Create a custom resource: the function does what CloudFormation cannot, within `timeout`
        seconds.

        It gets `properties` and the parameters of a task without a hub. `lists`: parameters that
        are lists.
        """
        own = {
            name: Fn.join(",", cdk.Token.as_list(Fn.ref(name))) if name in lists else Fn.ref(name)
            for name in self.task
        }
        resource = cdk.CfnCustomResource(
            self, "TaskSetup", service_token=function.attr_arn, service_timeout=timeout + 30
        )
        for name, value in {"Parameters": self.when(self.alone, own), **properties}.items():
            resource.add_property_override(name, value)
        return resource

    def after_grants(
        self, resource: cdk.CfnCustomResource, grants: Sequence[aws_iam.CfnPolicy]
    ) -> None:
        """Make the resource depend on the rights: they exist before it is created and until it is
        deleted.

        The rights are referenced by name, because a dependency cannot point to a conditional
        resource.
        """
        for grant in grants:
            condition = grant.cfn_options.condition
            value = self.when(condition.node.id, grant.ref) if condition else grant.ref
            resource.add_property_override(grant.node.id, value)

    def schedule(
        self, target: str, right: str, missed: aws_sqs.CfnQueue
    ) -> tuple[aws_events.CfnRule, cdk.CfnResource]:
        """Create what begins runs: a rule of EventBridge, whose target is for the caller to add,
        and a schedule of EventBridge Scheduler for a cron expression with a time zone, which rules
        do not have. Only one of them is there.

        `target`: the ARN of what the schedule calls. `right`: the action for it. `missed`: the
        queue of `missed_starts`.
        """
        by_rate, by_cron, has_zone = (
            self.is_given(self.task[name])
            for name in ("scheduleRate", "ec2CronExpression", "scheduleTimeZone")
        )
        zoned = self.condition(
            "Zoned",
            Fn.condition_and(
                self.holds(by_cron), self.holds(has_zone), Fn.condition_not(self.holds(by_rate))
            ),
        )
        scheduled = self.condition(
            "Scheduled",
            Fn.condition_and(
                Fn.condition_or(self.holds(by_rate), self.holds(by_cron)),
                Fn.condition_not(self.holds(zoned)),
            ),
        )
        cron = self.sub("cron(${ec2CronExpression})")
        rule = aws_events.CfnRule(
            self,
            "Schedule",
            description="Begins runs",
            schedule_expression=self.when(by_rate, self.sub("rate(${scheduleRate})"), cron),
        )
        rule.cfn_options.condition = self.holds(scheduled)
        role = self.role(
            "ZoneRole",
            "scheduler.amazonaws.com",
            [allow([right], target), allow(["sqs:SendMessage"], missed.attr_arn)],
            "Begins the runs of a task by the clock of its time zone",
            only={self.is_given(self.kms_key): [self.uses_key()]},
        )
        schedule = aws_scheduler.CfnSchedule(
            self,
            "ZoneSchedule",
            description="Begins runs",
            schedule_expression=cron,
            schedule_expression_timezone=self.task["scheduleTimeZone"].value_as_string,
            flexible_time_window=aws_scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=aws_scheduler.CfnSchedule.TargetProperty(
                arn=target,
                role_arn=role.attr_arn,
                input="{}",
                dead_letter_config=aws_scheduler.CfnSchedule.DeadLetterConfigProperty(
                    arn=missed.attr_arn
                ),
            ),
        )
        for each in (role, schedule):
            each.cfn_options.condition = self.holds(zoned)
        return rule, schedule

    def missed_starts(self) -> aws_sqs.CfnQueue:
        """Create the dead-letter queue of the schedule, with its policy.

        It keeps letters for a day: so long the alarm says that a run did not begin.
        """
        given = self.is_given(self.kms_key)
        queue = aws_sqs.CfnQueue(
            self,
            "MissedStarts",
            message_retention_period=86400,
            kms_master_key_id=self.when(given, self.kms_key.value_as_string),
            sqs_managed_sse_enabled=self.when(given, cdk.Aws.NO_VALUE, True),
        )
        by_schedule = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": queue.attr_arn,
            "Condition": {"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}},
        }
        aws_sqs.CfnQueuePolicy(
            self,
            "MissedStartsPolicy",
            queues=[queue.ref],
            policy_document=policy([only_by_tls(queue.attr_arn, "sqs:*"), by_schedule]),
        )
        return queue

    # --------------------------------------------------------------------------------------- alarms

    def alarm(
        self,
        name: str,
        description: str,
        topic: aws_sns.CfnTopic,
        metric: tuple[str, str, str, str],
        failing: int = 1,
    ) -> None:
        """Create an alarm: it tells the topic when the metric is above zero in `failing` of five
        minutes, or of fifteen if it is more than one.

        `metric`: namespace, name, dimension, and its value. Metrics may be late, so that an alarm
        on the last minute alone would miss them. Nothing fills the gaps: a filled value would be
        taken for the late one.
        """
        namespace, metric_name, dimension, value = metric
        aws_cloudwatch.CfnAlarm(
            self,
            name,
            alarm_description=description,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
            evaluation_periods=5 if failing == 1 else 15,
            datapoints_to_alarm=failing,
            treat_missing_data="notBreaching",
            alarm_actions=[topic.ref],
            namespace=namespace,
            metric_name=metric_name,
            statistic="Sum",
            period=60,
            dimensions=[aws_cloudwatch.CfnAlarm.DimensionProperty(name=dimension, value=value)],
        )

    def queue_metric(
        self, id: str, queue: aws_sqs.CfnQueue, metric: str
    ) -> aws_cloudwatch.CfnAlarm.MetricDataQueryProperty:
        return self.metric(id, "AWS/SQS", metric, "Maximum", "QueueName", queue.attr_queue_name)
