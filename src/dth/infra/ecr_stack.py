"""The template of an ECR task: a state machine that plans and, if there are images to copy, runs
containers.

The containers take the images from a queue.
"""

import json
from typing import Any

import aws_cdk as cdk
from aws_cdk import Fn, aws_ec2, aws_ecs, aws_events, aws_iam, aws_stepfunctions
from constructs import Construct

from dth.compose.aws import CONTAINERS
from dth.images.parameters import DestType, EcrParameters, SourceType
from dth.images.plugin import PLUGIN
from dth.images.policies import CREATE, LIST, PULL, PUSH, TOKEN
from dth.infra.statements import Statement, allow
from dth.infra.task_stack import DELIVER_LOGS, LAMBDA_RETRY, TaskStack
from dth.infra.template import DEPLOYMENT, NETWORK

# Seconds for listing and planning: the most for a function.
PLAN = 900
TICK = 60  # seconds per look
SETUP = 300  # Seconds for setup or cleanup.
# Seconds between looks at images that a container has in progress.
WAIT = 60
LONGEST = 7 * 86400  # most seconds of a run
CPU, MEMORY = 512, 1024  # CPU units and MiB of a container
# Seconds for a container to return its messages: the most that Fargate allows.
STOP = 120
PROCESSORS = {
    "arm64": {"ecs": "ARM64", "image": "arm64"},
    "x86-64": {"ecs": "X86_64", "image": "amd64"},
}
CONTAINER = "copier"
# Of repositories: nothing that would widen a policy is accepted.
PREFIX = r"|[a-z0-9]+([._/-]+[a-z0-9]+)*/?"


class EcrStack(TaskStack):
    """The ECR plugin."""

    def __init__(self, scope: Construct, name: str) -> None:
        super().__init__(
            scope,
            name,
            "Data Transfer Hub: one task that copies container images between registries",
        )
        self._declare()
        self.remember("objects", "images", "state")
        self.queues()
        self.queue_policies()
        self.topic = self.alarms(self.task["alarmEmail"], "cloudwatch.amazonaws.com")
        self.missed = self.missed_starts()
        self._roles()
        self._containers()
        self._functions()
        self._controller()
        self._set_up()
        self._schedule()
        self._watch()
        self._outputs()
        self.finish()

    # ----------------------------------------------------------------------------------- parameters

    def _declare(self) -> None:
        self.declare(
            PLUGIN.type,
            EcrParameters,
            {
                "ecsVpcId": "AWS::EC2::VPC::Id",
                "ecsSubnetA": "AWS::EC2::Subnet::Id",
                "ecsSubnetB": "AWS::EC2::Subnet::Id",
            },
        )
        self.task["destPrefix"].allowed_pattern = f"^({PREFIX})$"
        self.parameter(
            "architecture", "Processors", NETWORK, (
                                                   "Of the containers: Graviton, or x86-64 where "
                                                   "there is none."
                                                   ),
            default="arm64", allowed=list(PROCESSORS),
        )  # fmt: skip
        self.public_ip("containers")
        self.parameter(
            "taskImage", "Image", DEPLOYMENT,
            "Image of the containers without the processor at its end, as dth aws publish puts "
            "it into the account's registry.",
            pattern=r"[a-z0-9.-]+(:\d+)?/[a-z0-9._-]+:[\w.-]+",
        )  # fmt: skip
        mapping = cdk.CfnMapping(self, "Processors", mapping=PROCESSORS)
        self.processor = {
            each: mapping.find_in_map(Fn.ref("architecture"), each) for each in ("ecs", "image")
        }

    # --------------------------------------------------------------------------------------- rights

    def _roles(self) -> None:
        """Create the roles: for planning and copying, for setup, and for Fargate to start
        containers.
        """
        repository = Fn.select(0, Fn.split(":", Fn.select(1, Fn.split("/", Fn.ref("taskImage")))))
        self.copier_role = self.role(
            "CopierRole", "ecs-tasks.amazonaws.com", [], "Copies the images of a task"
        )
        self.plan_role = self.role(
            "PlanRole", "lambda.amazonaws.com", [], "Plans the runs of a task"
        )
        self.setup_role = self.role(
            "SetupRole", "lambda.amazonaws.com", [], "Sets a task up, and clears up after it"
        )
        self.start_role = self.role(
            "StartRole",
            "ecs-tasks.amazonaws.com",
            [
                allow(["ecr:GetAuthorizationToken"], "*"),  # it has no resource
                allow(
                    ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
                    self.sub(
                        "arn:${AWS::Partition}:ecr:${AWS::Region}:${AWS::AccountId}:repository/${Name}",
                        Name=repository,
                    ),
                ),
                self.write_logs(self.logs),
            ],
            "Starts the containers of a task",
        )
        copying = [self.copier_role, self.plan_role]
        self.grants = [
            *self.task_rights([*copying, self.setup_role]),
            *self.side_rights(copying, "Credential", []),
            *self._registry_rights(copying),
        ]

    def _registry_rights(self, roles: list[aws_iam.CfnRole]) -> list[aws_iam.CfnPolicy]:
        """Grant access to the Amazon ECR registries that are used with our own roles."""
        reads = self._own_role("Reads", "src", "sourceType", SourceType.AMAZON_ECR)
        writes = self._own_role("Writes", "dest", "destType", DestType.AMAZON_ECR)
        either = self.condition("UsesEcr", Fn.condition_or(self.holds(reads), self.holds(writes)))
        prefixed = self.is_given(self.task["destPrefix"])
        prefix = self.when(prefixed, self.sub("${destPrefix}/"), "")
        source, dest = self._repositories("src", ""), self._repositories("dest", prefix)
        with_key = self.is_given(self.task["destKmsKey"])
        encrypts = self.condition(
            "OwnRoleEncrypts", Fn.condition_and(self.holds(writes), self.holds(with_key))
        )
        key = allow(
            ["kms:CreateGrant", "kms:DescribeKey", "kms:RetireGrant"],
            self.sub("arn:${AWS::Partition}:kms:${destRegion}:*:key/*"),
            StringLike={"kms:ViaService": self.sub("ecr.${destRegion}.${AWS::URLSuffix}")},
        )
        granted: dict[str, tuple[list[Statement], str]] = {
            "TokenRights": ([allow(TOKEN, "*")], either),  # it has no resource
            "ReadRights": ([allow([*LIST, *PULL], source)], reads),
            "WriteRights": ([allow(sorted({*LIST, *PULL, *PUSH, *CREATE}), dest)], writes),
            "EncryptRights": ([key], encrypts),
        }
        return self.grant_all(roles, granted)

    def _own_role(self, what: str, side: str, kind: str, ecr: str) -> str:
        """Return the condition that a side is an Amazon ECR registry, used with our own role."""
        empty = [self.equals(f"{side}{name}", "") for name in ("Credential", "RoleArn")]
        return self.condition(f"OwnRole{what}", Fn.condition_and(self.equals(kind, ecr), *empty))

    def _repositories(self, side: str, prefix: str) -> str:
        given = self.task[f"{side}AccountId"]
        account = self.when(self.is_given(given), given.value_as_string, cdk.Aws.ACCOUNT_ID)
        return self.sub(
            f"arn:${{AWS::Partition}}:ecr:${{{side}Region}}:${{Account}}:repository/${{Prefix}}*",
            Account=account,
            Prefix=prefix,
        )

    # ----------------------------------------------------------------------------------- containers

    def _containers(self) -> None:
        own = self.condition("OwnCluster", self.equals("ecsClusterName", ""))
        cluster = aws_ecs.CfnCluster(self, "Cluster")
        cluster.cfn_options.condition = self.holds(own)
        self.cluster = self.when(own, cluster.ref, Fn.ref("ecsClusterName"))
        self.family = self.sub("${AWS::StackName}-copier")
        self.security_group = aws_ec2.CfnSecurityGroup(
            self,
            "NoInbound",
            group_description="Data Transfer Hub: reaches the registries, and nobody reaches it",
            vpc_id=Fn.ref("ecsVpcId"),
            security_group_egress=[
                aws_ec2.CfnSecurityGroup.EgressProperty(
                    ip_protocol="-1", cidr_ip="0.0.0.0/0", description="Registries may be anywhere"
                ),
                aws_ec2.CfnSecurityGroup.EgressProperty(
                    ip_protocol="-1", cidr_ipv6="::/0", description="Registries may be anywhere"
                ),
            ],
        )
        pairs = [
            aws_ecs.CfnTaskDefinition.KeyValuePairProperty(name=name, value=value)
            for name, value in self.variables().items()
        ]
        log = {
            "awslogs-group": self.logs,
            "awslogs-region": cdk.Aws.REGION,
            "awslogs-stream-prefix": "container",
        }
        self.definition = aws_ecs.CfnTaskDefinition(
            self,
            "Copier",
            family=self.family,
            requires_compatibilities=["FARGATE"],
            network_mode="awsvpc",
            cpu=str(CPU),
            memory=str(MEMORY),
            runtime_platform=aws_ecs.CfnTaskDefinition.RuntimePlatformProperty(
                cpu_architecture=self.processor["ecs"], operating_system_family="LINUX"
            ),
            execution_role_arn=self.start_role.attr_arn,
            task_role_arn=self.copier_role.attr_arn,
            container_definitions=[
                aws_ecs.CfnTaskDefinition.ContainerDefinitionProperty(
                    name=CONTAINER,
                    image=self.sub("${taskImage}-${Processor}", Processor=self.processor["image"]),
                    essential=True,
                    stop_timeout=STOP,
                    environment=pairs,
                    log_configuration=aws_ecs.CfnTaskDefinition.LogConfigurationProperty(
                        log_driver="awslogs", options=log
                    ),
                )
            ],
        )

    # -------------------------------------------------------------------------------------- control

    def _functions(self) -> None:
        self.plan, self.tick = (
            self.function(
                name.title(), f"dth.compose.aws.functions.images.{name}", self.plan_role,
                self.variables(),
                log_group=self.logs, timeout=timeout, memory=memory, description=description,
            )
            for name, timeout, memory, description in (
                ("plan", PLAN, 1024, (
                                     "Begins a run: lists, plans, and enqueues what is to be "
                                     "copied"
                                     )),
                ("tick", TICK, 512, (
                                    "Brings the task to its desired state, and returns the next "
                                    "step"
                                    )),
            )
        )  # fmt: skip

    def _controller(self) -> None:
        """Create the state machine of a run. It fails if there is something to report, so that
        lists show it.
        """
        definition = {
            "Comment": "One run of one task",
            "StartAt": "Plan",
            "TimeoutSeconds": LONGEST,
            "States": {
                "Plan": _invoke("${Plan}", "Decide"),
                "Decide": {
                    "Type": "Choice",
                    "Choices": [
                        {"Variable": "$.next", "StringEquals": word, "Next": state}
                        for word, state in (("COPY", "Copy"), ("WAIT", "Wait"), ("TELL", "Tell"))
                    ],
                    "Default": "Done",
                },
                "Copy": {
                    "Type": "Map",
                    "ItemsPath": "$.tasks",
                    "MaxConcurrency": CONTAINERS,
                    "ItemProcessor": {
                        "ProcessorConfig": {"Mode": "INLINE"},
                        "StartAt": "Container",
                        "States": {
                            "Container": self._container(),
                            "Ended": {"Type": "Pass", "End": True},
                        },
                    },
                    "ResultPath": None,
                    "Next": "Look",
                },
                "Wait": {"Type": "Wait", "Seconds": WAIT, "Next": "Look"},
                "Look": _invoke("${Tick}", "Decide"),
                "Tell": _publish("$.text", "Failed"),
                "TellError": _publish("$.error.Cause", "Failed"),
                "Failed": {
                    "Type": "Fail",
                    "Error": "RunFailed",
                    "Cause": "The task's records say what failed",
                },
                "Done": {"Type": "Succeed"},
            },
        }
        self.controller_role = self._controller_role()
        self.controller = aws_stepfunctions.CfnStateMachine(
            self,
            "Controller",
            state_machine_name=self.machine_name,
            role_arn=self.controller_role.attr_arn,
            state_machine_type="STANDARD",
            definition_string=self.sub(
                json.dumps(definition),
                Plan=self.plan.attr_arn,
                Tick=self.tick.attr_arn,
                Cluster=self.cluster,
                Definition=self.definition.ref,
                Group=self.security_group.attr_group_id,
                Topic=self.topic.ref,
            ),
            logging_configuration=self.logged(self.logs, "ALL"),
            tracing_configuration=aws_stepfunctions.CfnStateMachine.TracingConfigurationProperty(
                enabled=False
            ),
        )

    @staticmethod
    def _container() -> dict[str, Any]:
        """Return the state of one container, which runs until the queue is empty.

        Its errors are not errors of the run: the next look finds what remains.
        """
        network = {
            "Subnets": ["${ecsSubnetA}", "${ecsSubnetB}"],
            "SecurityGroups": ["${Group}"],
            "AssignPublicIp": "${publicIp}",
        }
        return {
            "Type": "Task",
            "Resource": "arn:${AWS::Partition}:states:::ecs:runTask.sync",
            "Parameters": {
                "LaunchType": "FARGATE",
                "Cluster": "${Cluster}",
                "TaskDefinition": "${Definition}",
                "PropagateTags": "TASK_DEFINITION",
                "NetworkConfiguration": {"AwsvpcConfiguration": network},
            },
            "Retry": [
                {
                    "ErrorEquals": ["States.ALL"],
                    "IntervalSeconds": 60,
                    "BackoffRate": 2,
                    "MaxAttempts": 3,
                }
            ],
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": "Ended"}],
            "ResultPath": None,
            "End": True,
        }

    def _controller_role(self) -> aws_iam.CfnRole:
        runs = allow(
            ["ecs:RunTask"], self.definition.ref, ArnEquals={"ecs:cluster": self._cluster_arn()}
        )
        tags = allow(
            ["ecs:TagResource"],
            self._containers_arn(),
            StringEquals={"ecs:CreateAction": "RunTask"},
        )
        rule = "rule/StepFunctionsGetEventsForECSTaskRule"
        passes = allow(
            ["iam:PassRole"],
            [self.copier_role.attr_arn, self.start_role.attr_arn],
            StringEquals={"iam:PassedToService": "ecs-tasks.amazonaws.com"},
        )
        role = self.role(
            "ControllerRole",
            "states.amazonaws.com",
            [
                allow(["lambda:InvokeFunction"], [self.plan.attr_arn, self.tick.attr_arn]),
                runs,
                tags,
                allow(["ecs:StopTask", "ecs:DescribeTasks"], self._containers_arn()),
                passes,
                # Step Functions needs this rule, whose name is fixed, to detect that a container
                # has ended.
                allow(
                    ["events:PutTargets", "events:PutRule", "events:DescribeRule"],
                    self.arn("events", rule),
                ),
                allow(["sns:Publish"], self.topic.ref),
                allow(DELIVER_LOGS, "*"),  # no resource of their own
            ],
            "The state machine of a task",
        )
        self.grant_key("ControllerKeyRights", [role])
        return role

    def _cluster_arn(self) -> str:
        return self.sub(
            "arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:cluster/${Name}",
            Name=self.cluster,
        )

    def _containers_arn(self) -> str:
        return self.sub(
            "arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:task/${Name}/*",
            Name=self.cluster,
        )

    def _set_up(self) -> None:
        executions = self.sub(
            "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:execution:${Name}:*",
            Name=self.controller.attr_name,
        )
        clears_up = [
            allow(["states:StartExecution", "states:ListExecutions"], self.controller.ref),
            allow(["states:StopExecution"], executions),
            allow(["ecs:ListTasks"], "*", ArnEquals={"ecs:cluster": self._cluster_arn()}),
            allow(["ecs:StopTask", "ecs:DescribeTasks"], self._containers_arn()),
        ]
        self.grants.append(self.grant("SetupRights", [self.setup_role], clears_up))
        function = self.function(
            "Setup", "dth.compose.aws.functions.images.resource", self.setup_role, self.variables(),
            log_group=self.logs, timeout=SETUP, description=(
                                                            "Sets a task up, and clears up after "
                                                            "it"
                                                            ),
        )  # fmt: skip
        self.resource = self.setup(
            function,
            SETUP,
            {"StateMachine": self.controller.ref, "Cluster": self.cluster, "Family": self.family},
        )
        self.after_grants(self.resource, self.grants)

    def _schedule(self) -> None:
        by_rule = self.role(
            "ScheduleRole",
            "events.amazonaws.com",
            [allow(["states:StartExecution"], self.controller.ref)],
            "Begins the runs of a task",
        )
        rule, schedule = self.schedule(self.controller.ref, "states:StartExecution", self.missed)
        rule.targets = [
            aws_events.CfnRule.TargetProperty(
                id="Controller",
                arn=self.controller.ref,
                role_arn=by_rule.attr_arn,
                input="{}",
                dead_letter_config=aws_events.CfnRule.DeadLetterConfigProperty(
                    arn=self.missed.attr_arn
                ),
            )
        ]
        by_rule.cfn_options.condition = rule.cfn_options.condition
        for each in (rule, schedule):
            each.add_resource_dependency(self.resource)  # runs need their parameters

    def _watch(self) -> None:
        """Create alarms for what the state machine cannot tell itself; it tells all else."""
        self.alarm(
            "Control",
            "A run took longer than a run may: the log group of the task says why",
            self.topic,
            ("AWS/States", "ExecutionsTimedOut", "StateMachineArn", self.controller.ref),
        )
        self.alarm(
            "Missed",
            "The schedule could not begin a run: the queue of missed starts says why",
            self.topic,
            (
                "AWS/SQS",
                "ApproximateNumberOfMessagesVisible",
                "QueueName",
                self.missed.attr_queue_name,
            ),
        )

    def _outputs(self) -> None:
        self.tell(
            {
                "QueueUrl": (self.queue.attr_queue_url, "Images that are to be copied"),
                "DeadLetterUrl": (self.dead.attr_queue_url, "Images that crashed their containers"),
                "MissedStartsUrl": (self.missed.ref, "Starts of the schedule that nobody heard"),
                "StateMachine": (self.controller.ref, "Runs: one execution each"),
                "TickFunction": (
                    self.tick.ref,
                    "Brings the task to its desired state, and returns the current one",
                ),
                "CopierRole": (
                    self.copier_role.attr_arn,
                    "Role that registries of other accounts must allow",
                ),
                "PlanRole": (
                    self.plan_role.attr_arn,
                    "Role that registries of other accounts must allow, too",
                ),
                "LogGroup": (self.logs, "What everything of the task says"),
                "Topic": (self.topic.ref, "Failures"),
            }
        )


def _invoke(function: str, follows: str) -> dict[str, Any]:
    """Return a state that invokes a function with its input, and continues with the answer."""
    return {
        "Type": "Task",
        "Resource": "arn:${AWS::Partition}:states:::lambda:invoke",
        "Parameters": {"FunctionName": function, "Payload.$": "$"},
        "OutputPath": "$.Payload",
        "Retry": [
            LAMBDA_RETRY,
            {
                "ErrorEquals": ["States.TaskFailed"],
                "IntervalSeconds": 10,
                "BackoffRate": 2,
                "MaxAttempts": 3,
            },
        ],
        "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "TellError"}],
        "Next": follows,
    }


def _publish(path: str, follows: str) -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": "arn:${AWS::Partition}:states:::sns:publish",
        "Parameters": {
            "TopicArn": "${Topic}",
            "Subject": "Data Transfer Hub: a run failed",
            "Message.$": path,
        },
        "Next": follows,
    }
