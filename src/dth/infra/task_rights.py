"""The rights for tasks: those of the service role that creates their stacks, and the limits of
their roles.

No role of a task can exceed these limits, whatever its template grants.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dth.core.plugins import plugins
from dth.images.policies import CREATE, LIST, PULL, PUSH, TOKEN
from dth.infra.statements import CHANGES, LOGS, ROLES, Statement, allow, deny
from dth.infra.task_stack import (
    DELIVER_LOGS,
    IN_VPC,
    USE_QUEUE,
    USE_TABLE,
    WARM_TABLE,
    reads_bindings,
)

Sub = Callable[..., str]
# Part of the names of tasks' stacks, after the hub's name: this separates their resources from the
# hub's.
KINDS = tuple(sorted(each.aws.name for each in plugins().values() if each.aws))
WRITE_IMAGES = (
    "ecr:InitiateLayerUpload",
    "ecr:UploadLayerPart",
    "ecr:CompleteLayerUpload",
    "ecr:PutImage",
)
STORES = (
    "s3:ListBucket",
    "s3:GetBucketLocation",
    "s3:ListBucketMultipartUploads",
    "s3:GetObject",
    "s3:GetObjectTagging",
    "s3:RestoreObject",
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:PutObjectTagging",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
    "s3:GetBucketNotification",
    "s3:PutBucketNotification",
)


@dataclass(frozen=True, slots=True)
class _TaskArns:
    """The ARNs of what tasks have. `sub`: as in a template."""

    sub: Sub

    def arn(self, service: str, resource: str) -> str:
        return self.sub(
            f"arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{resource}"
        )

    def own(self, service: str, before: str = "") -> list[str]:
        """Return the patterns of what CloudFormation names after tasks' stacks."""
        return [self.arn(service, f"{before}${{AWS::StackName}}-{kind}-*") for kind in KINDS]


def bounds(sub: Sub, tag: str, hub_table: str, repository: str, assumable: Any) -> list[Statement]:
    """Return the limits of every role of a task, and of the jobs that test a task. Each has a name.

    `hub_table`: the ARN of the hub's table. `repository`: the name of the repository with the
    tasks' image. `assumable`: patterns of the ARNs of roles that tasks may assume.
    """

    of = _TaskArns(sub)
    through = [
        sub(f"{service}.*.${{AWS::URLSuffix}}")
        for service in ("s3", "secretsmanager", "ecr", "sqs", "dynamodb", "sns")
    ]
    return [
        # This includes reading the code in the asset bucket.
        _named("Stores", allow(STORES, sub("arn:${AWS::Partition}:s3:::*"))),
        _named("Token", allow(TOKEN, "*")),
        _named(
            "Registries",
            allow(
                sorted({*LIST, *PULL, *PUSH, *CREATE}),
                sub("arn:${AWS::Partition}:ecr:*:*:repository/*"),
            ),
        ),
        _named(
            "Secrets",
            allow(
                ["secretsmanager:GetSecretValue"],
                of.arn("secretsmanager", "secret:*"),
                StringEquals={f"aws:ResourceTag/{tag}": "secret"},
            ),
        ),
        _named("Bindings", reads_bindings(hub_table)),
        _named("Roles", allow(["sts:AssumeRole"], assumable)),
        _named(
            "Keys",
            allow(
                [
                    "kms:Decrypt",
                    "kms:GenerateDataKey",
                    "kms:CreateGrant",
                    "kms:DescribeKey",
                    "kms:RetireGrant",
                ],
                sub("arn:${AWS::Partition}:kms:*:*:key/*"),
                StringLike={"kms:ViaService": through},
            ),
        ),
        _named("Queues", allow(USE_QUEUE, of.own("sqs"))),
        _named(
            "Tables",
            allow((*USE_TABLE, *WARM_TABLE), of.arn("dynamodb", "table/${AWS::StackName}-task-*")),
        ),
        _named(
            "Logs",
            allow(
                ["logs:CreateLogStream", "logs:PutLogEvents"],
                of.arn("logs", f"log-group:{LOGS}/${{AWS::StackName}}/*"),
            ),
        ),
        _named(
            "Machines",
            allow(
                [
                    "autoscaling:CompleteLifecycleAction",
                    "autoscaling:UpdateAutoScalingGroup",
                    "autoscaling:TerminateInstanceInAutoScalingGroup",
                ],
                of.own("autoscaling", "autoScalingGroup:*:autoScalingGroupName/"),
            ),
        ),
        _named(
            "Containers",
            allow(
                ["ecs:RunTask", "ecs:StopTask", "ecs:DescribeTasks", "ecs:ListTasks"],
                "*",
                ArnLike={"ecs:cluster": of.arn("ecs", "cluster/*")},
            ),
        ),
        _named("Tags", allow(["ecs:TagResource"], of.arn("ecs", "task/*"))),
        _named(
            "Passing",
            allow(
                ["iam:PassRole"],
                sub(
                    f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role{ROLES}${{AWS::StackName}}-*"
                ),
            ),
        ),
        _named(
            "Running",
            allow(
                [
                    "lambda:InvokeFunction",
                    "states:StartExecution",
                    "states:StopExecution",
                    "states:ListExecutions",
                    "sns:Publish",
                    "events:PutTargets",
                    "events:PutRule",
                    "events:DescribeRule",
                ],
                [
                    *of.own("lambda", "function:"),
                    *of.own("states", "stateMachine:"),
                    *of.own("states", "execution:"),
                    *of.own("sns"),
                    of.arn("events", "rule/StepFunctionsGetEventsForECSTaskRule"),
                ],
            ),
        ),
        # What the hub itself runs and shows. No task may change it, whatever its parameters name.
        _named(
            "OwnBuckets",
            deny(
                CHANGES,
                [
                    sub("arn:${AWS::Partition}:s3:::${assetBucket}"),
                    sub("arn:${AWS::Partition}:s3:::${assetBucket}/*"),
                    sub("${Console.Arn}"),
                    sub("${Console.Arn}/*"),
                ],
            ),
        ),
        _named(
            "OwnImages",
            deny(
                WRITE_IMAGES,
                sub(
                    "arn:${AWS::Partition}:ecr:*:${AWS::AccountId}:repository/${Repository}",
                    Repository=repository,
                ),
            ),
        ),
        # Actions without a resource: describing groups, log deliveries, and what Lambda needs in a
        # VPC.
        _named(
            "Looking",
            allow(
                [
                    "autoscaling:DescribeAutoScalingGroups",
                    "autoscaling:DescribeScalingActivities",
                    *IN_VPC,
                    *DELIVER_LOGS,
                ],
                "*",
            ),
        ),
    ]


def _named(name: str, statement: Statement) -> Statement:
    return {"Sid": name, **statement}


def _all_of(service: str, *words: str) -> list[str]:
    return [f"{service}:{word}" for word in words]


def makes_stacks(sub: Sub, boundary: str) -> dict[str, list[Statement]]:
    """Return the service role's policies by name.

    They cover the resources in tasks' templates, named by CloudFormation after the stack, and no
    role without the boundary.
    """
    of = _TaskArns(sub)
    return {
        "MakesRoles": _makes_roles(of, boundary),
        "MakesQueues": _makes_queues(of),
        "MakesFunctions": _makes_functions(of),
        "MakesMachines": _makes_machines(of),
    }


def _makes_roles(of: _TaskArns, boundary: str) -> list[Statement]:
    """Return the rights for roles and instance profiles, which the boundary limits."""
    roles, profiles = (
        [
            of.sub(
                f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:{kind_of}{ROLES}${{AWS::StackName}}-{kind}-*"
            )
            for kind in KINDS
        ]
        for kind_of in ("role", "instance-profile")
    )
    services = [
        "lambda.amazonaws.com", "states.amazonaws.com", "events.amazonaws.com",
        "scheduler.amazonaws.com", "ecs-tasks.amazonaws.com",
        of.sub("ec2.${AWS::URLSuffix}"),
    ]  # fmt: skip
    return [
        allow(
            _all_of(
                "iam",
                "CreateRole",
                "PutRolePermissionsBoundary",
                "AttachRolePolicy",
                "PutRolePolicy",
            ),
            roles,
            StringEquals={"iam:PermissionsBoundary": boundary},
        ),
        allow(
            _all_of(
                "iam",
                "GetRole",
                "DeleteRole",
                "GetRolePolicy",
                "DeleteRolePolicy",
                "DetachRolePolicy",
                "TagRole",
                "UntagRole",
                "UpdateRole",
                "UpdateRoleDescription",
                "UpdateAssumeRolePolicy",
                "ListRolePolicies",
                "ListAttachedRolePolicies",
            ),
            roles,
        ),
        allow(
            _all_of(
                "iam",
                "CreateInstanceProfile",
                "DeleteInstanceProfile",
                "GetInstanceProfile",
                "AddRoleToInstanceProfile",
                "RemoveRoleFromInstanceProfile",
                "TagInstanceProfile",
            ),
            [*profiles, *roles],
        ),
        allow(["iam:PassRole"], roles, StringEquals={"iam:PassedToService": services}),
        allow(
            ["iam:CreateServiceLinkedRole"],
            of.sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:role/aws-service-role/*"),
            StringLike={
                "iam:AWSServiceName": [
                    "autoscaling.amazonaws.com",
                    "ecs.amazonaws.com",
                    "spot.amazonaws.com",
                ]
            },
        ),
    ]


def _makes_queues(of: _TaskArns) -> list[Statement]:
    """Return the rights for queues, topics, rules, schedules, alarms and dashboards."""
    return [
        allow(
            _all_of(
                "sqs",
                "CreateQueue",
                "GetQueueUrl",
                "DeleteQueue",
                "GetQueueAttributes",
                "SetQueueAttributes",
                "TagQueue",
                "UntagQueue",
                "ListQueueTags",
            ),
            of.own("sqs"),
        ),
        allow(
            _all_of(
                "sns",
                "CreateTopic",
                "DeleteTopic",
                "GetTopicAttributes",
                "SetTopicAttributes",
                "TagResource",
                "UntagResource",
                "Subscribe",
                "Unsubscribe",
                "ListSubscriptionsByTopic",
                "ListTagsForResource",
                "GetDataProtectionPolicy",
                "GetSubscriptionAttributes",
                "SetSubscriptionAttributes",
            ),
            of.own("sns"),
        ),
        allow(
            _all_of(
                "events",
                "PutRule",
                "DeleteRule",
                "DescribeRule",
                "PutTargets",
                "RemoveTargets",
                "TagResource",
                "UntagResource",
                "ListTargetsByRule",
                "ListTagsForResource",
            ),
            of.own("events", "rule/"),
        ),
        allow(
            _all_of(
                "scheduler", "CreateSchedule", "DeleteSchedule", "GetSchedule", "UpdateSchedule"
            ),
            of.own("scheduler", "schedule/default/"),
        ),
        allow(
            _all_of("cloudwatch", "PutMetricAlarm", "DeleteAlarms", "TagResource", "UntagResource"),
            of.own("cloudwatch", "alarm:"),
        ),
        # Alarms are described, and dashboards named, without the stack's name.
        allow(
            _all_of(
                "cloudwatch",
                "DescribeAlarms",
                "GetMetricData",
                "ListTagsForResource",
                "PutDashboard",
                "DeleteDashboards",
                "GetDashboard",
            ),
            "*",
        ),
    ]


def _makes_functions(of: _TaskArns) -> list[Statement]:
    """Return the rights for functions and state machines, with the code that they run."""
    return [
        allow(
            _all_of(
                "lambda",
                "CreateFunction",
                "DeleteFunction",
                "GetFunction",
                "GetFunctionConfiguration",
                "UpdateFunctionCode",
                "UpdateFunctionConfiguration",
                "AddPermission",
                "RemovePermission",
                "TagResource",
                "UntagResource",
                "ListTags",
                "InvokeFunction",
                "GetPolicy",
                "GetFunctionCodeSigningConfig",
                "GetRuntimeManagementConfig",
                "GetFunctionRecursionConfig",
                "GetFunctionScalingConfig",
            ),
            of.own("lambda", "function:"),
        ),
        allow(
            ["s3:GetObject", "s3:GetObjectVersion"],
            of.sub("arn:${AWS::Partition}:s3:::${assetBucket}/${assetPrefix}/*"),
        ),
        allow(
            _all_of(
                "states",
                "CreateStateMachine",
                "DeleteStateMachine",
                "DescribeStateMachine",
                "UpdateStateMachine",
                "TagResource",
                "UntagResource",
                "ListTagsForResource",
                "ListStateMachineVersions",
                "ValidateStateMachineDefinition",
            ),
            of.own("states", "stateMachine:"),
        ),
        allow(DELIVER_LOGS, "*"),  # no resource of their own
    ]


def _makes_machines(of: _TaskArns) -> list[Statement]:
    """Return the rights for groups of machines, and for clusters and their containers."""
    return [
        allow(
            _all_of(
                "autoscaling",
                "CreateAutoScalingGroup",
                "UpdateAutoScalingGroup",
                "DeleteAutoScalingGroup",
                "CreateOrUpdateTags",
                "DeleteTags",
                "PutLifecycleHook",
                "DeleteLifecycleHook",
                "PutScalingPolicy",
                "DeletePolicy",
                "EnableMetricsCollection",
                "DisableMetricsCollection",
                "SuspendProcesses",
                "ResumeProcesses",
                "TerminateInstanceInAutoScalingGroup",
                "SetDesiredCapacity",
            ),
            of.own("autoscaling", "autoScalingGroup:*:autoScalingGroupName/"),
        ),
        allow(
            _all_of(
                "ec2",
                "CreateLaunchTemplate",
                "CreateLaunchTemplateVersion",
                "DeleteLaunchTemplate",
                "CreateSecurityGroup",
                "DeleteSecurityGroup",
                "AuthorizeSecurityGroupEgress",
                "RevokeSecurityGroupEgress",
                "UpdateSecurityGroupRuleDescriptionsEgress",
                "CreateTags",
                "DeleteTags",
                "RunInstances",
            ),
            [
                of.arn("ec2", "launch-template/*"),
                of.arn("ec2", "security-group/*"),
                of.arn("ec2", "vpc/*"),
                of.arn("ec2", "instance/*"),
                of.arn("ec2", "volume/*"),
                of.arn("ec2", "network-interface/*"),
                of.arn("ec2", "subnet/*"),
                of.arn("ec2", "security-group-rule/*"),
                of.sub("arn:${AWS::Partition}:ec2:${AWS::Region}::image/*"),
            ],
        ),
        allow(
            _all_of("ssm", "GetParameters"),
            of.sub(
                "arn:${AWS::Partition}:ssm:${AWS::Region}::parameter/aws/service/ami-amazon-linux-latest/*"
            ),
        ),
        allow(
            _all_of(
                "ecs",
                "CreateCluster",
                "DeleteCluster",
                "DescribeClusters",
                "UpdateCluster",
                "UpdateClusterSettings",
                "TagResource",
                "UntagResource",
            ),
            of.own("ecs", "cluster/"),
        ),
        allow(["ecs:TagResource"], of.own("ecs", "task-definition/")),
        # Looking and task definitions have no resource of their own. What the handlers of
        # CloudFormation look at changes from one month to the next.
        allow(
            [
                "autoscaling:Describe*",
                "ec2:Describe*",
                "ec2:GetInstanceTypesFromInstanceRequirements",
                "elasticloadbalancing:Describe*",
                *_all_of(
                    "ecs",
                    "RegisterTaskDefinition",
                    "DeregisterTaskDefinition",
                    "DescribeTaskDefinition",
                    "ListTagsForResource",
                ),
            ],
            "*",
        ),
    ]
