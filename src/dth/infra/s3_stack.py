"""The template of an S3 task: a queue, workers that scale with it, a finder, and their control.

The template can be deployed alone, as in the existing solution, or by the hub, which then owns the
tables and the log group.
"""

import json
from typing import Any, cast

import aws_cdk as cdk
from aws_cdk import (
    Fn,
    aws_autoscaling,
    aws_cloudwatch,
    aws_ec2,
    aws_events,
    aws_iam,
    aws_lambda,
)
from constructs import Construct

from dth.infra.machines import user_data
from dth.infra.statements import BUNDLES, ROLES, STACK_TAG, TAG, Statement, allow
from dth.infra.task_stack import IN_VPC, WARM_TABLE, TaskStack
from dth.infra.template import NETWORK
from dth.objects.parameters import S3Parameters
from dth.objects.plugin import PLUGIN
from dth.platforms.aws.gauges import NAMESPACE

HEARTBEAT = 180  # seconds for a machine to drain
TICK = 285  # Seconds per look.
SETUP = 300  # Seconds for setup or cleanup.
IMAGE = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${Name}"
# By architecture: workers, with the first choice first, and the finder. None has CPU credits: a
# burstable machine that works all day costs more, and its network falls to a fraction. All regions
# have those for arm64, nearly all have the others.
MACHINES = {
    "arm64": {
        "name": "arm64",
        "workers": "c6g.medium,m6g.medium,r6g.medium,c6g.large",
        "finder": "m6g.large",
    },
    "x86-64": {"name": "x86_64", "workers": "m6i.large,m6i.xlarge", "finder": "m6i.large"},
}
MOST_TYPES = 4  # of workers
TYPE = r"[a-z][a-z0-9-]*\.[a-z0-9-]+"
READ = ("s3:GetObject", "s3:GetObjectTagging")
WRITE = (
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:PutObjectTagging",
    "s3:GetObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
)


class S3Stack(TaskStack):
    """The S3 plugin."""

    def __init__(self, scope: Construct, name: str) -> None:
        super().__init__(
            scope,
            name,
            "Data Transfer Hub: one task that copies objects between S3-compatible stores",
        )
        self._declare()
        self.remember("objects", "parts", "state")
        self._queue()
        self._roles()
        self._machines()
        self._control()
        self._watch()
        self._outputs()
        self.finish()

    # ----------------------------------------------------------------------------------- parameters

    def _declare(self) -> None:
        self.declare(
            PLUGIN.type,
            S3Parameters,
            {"ec2VpcId": "AWS::EC2::VPC::Id", "ec2Subnets": "List<AWS::EC2::Subnet::Id>"},
        )
        self.parameter(
            "architecture", "Processors", NETWORK, (
                                                   "Of the machines: Graviton, or x86-64 where "
                                                   "there is none."
                                                   ),
            default="arm64", allowed=list(MACHINES),
        )  # fmt: skip
        in_vpc = self.parameter(
            "functionsInVpc", "Functions in the VPC", NETWORK,
            "Whether the functions reach the stores through the VPC, as the machines do: for "
            "stores that only it reaches. Its subnets then need a route to AWS's services.",
            default="false", allowed=["true", "false"],
        )  # fmt: skip
        self.in_vpc = self.is_true(in_vpc)
        worker_types = self.parameter(
            "workerTypes", "Types of workers", NETWORK,
            f"Instance types for workers, the first choice first, at most {MOST_TYPES} "
            "separated by commas, all with processors as above; Spot takes whichever has "
            "capacity. Empty: "
            + "; ".join(f"{each['workers']} ({name})" for name, each in MACHINES.items()) + ".",
            default="", pattern=f"|{TYPE}(,{TYPE}){{0,{MOST_TYPES - 1}}}",
        )  # fmt: skip
        finder_type = self.parameter(
            "finderType", "Type of the finder", NETWORK,
            "Instance type for the machine that lists, with processors as above. Empty: "
            + "; ".join(f"{each['finder']} ({name})" for name, each in MACHINES.items()) + ".",
            default="", pattern=f"|{TYPE}",
        )  # fmt: skip
        sessions = self.parameter(
            "sessionManager", "Session Manager", NETWORK,
            (
            "Whether people with the right to do so may open a shell on machines through AWS "
            "Systems Manager."
            ),
            default="false", allowed=["true", "false"],
        )  # fmt: skip
        self.has_sessions = self.is_true(sessions)
        self.public_ip("machines")
        self.has_address = self.condition("HasPublicIp", self.equals("publicIp", "ENABLED"))
        self.bundles()
        self.on_arm = self.condition("OnArm", self.equals("architecture", "arm64"))
        mapping = cdk.CfnMapping(self, "Machines", mapping=MACHINES)
        self.machine = {
            each: mapping.find_in_map(Fn.ref("architecture"), each) for each in MACHINES["arm64"]
        }
        chosen = self.is_given(worker_types)
        given = worker_types.value_as_string
        types = _split(self.when(chosen, given, self.machine["workers"]))
        self.worker_types = []
        for number in range(MOST_TYPES):
            there = Fn.condition_not(Fn.condition_equals(Fn.select(number, _split(given)), ""))
            by_default = [
                Fn.condition_and(Fn.condition_equals(given, ""), self.equals("architecture", name))
                for name, each in MACHINES.items()
                if len(each["workers"].split(",")) > number
            ]
            name = self.condition(f"HasWorkerType{number + 1}", Fn.condition_or(there, *by_default))
            self.worker_types.append(self.when(name, {"InstanceType": Fn.select(number, types)}))
        finder = self.when(
            self.is_given(finder_type), finder_type.value_as_string, self.machine["finder"]
        )
        self.finder_types = [{"InstanceType": finder}]

    # ------------------------------------------------------------------------------------ the queue

    def _queue(self) -> None:
        self.queues()
        self.events = self.condition(
            "FollowsEvents", Fn.condition_not(Fn.condition_equals(Fn.ref("srcEvent"), "No"))
        )
        in_account = self.is_true(self.task["srcInCurrentAccount"])
        self.own_events = self.condition(
            "SubscribesToEvents", Fn.condition_and(self.holds(self.events), self.holds(in_account))
        )
        bucket = self.sub("arn:${AWS::Partition}:s3:::${srcBucket}")
        by_name = {"ArnEquals": {"aws:SourceArn": bucket}}
        by_owner = {"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}}
        from_bucket = {
            "Effect": "Allow",
            "Principal": {"Service": "s3.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": self.queue.attr_arn,
            # Names of buckets are free again after a deletion. The owner of a bucket elsewhere is
            # not known.
            "Condition": self.when(in_account, {**by_name, **by_owner}, by_name),
        }
        self.policies = self.queue_policies(self.when(self.events, from_bucket))
        self.topic = self.alarms(self.task["alarmEmail"], "cloudwatch.amazonaws.com")
        self.missed = self.missed_starts()

    # --------------------------------------------------------------------------------------- rights

    def _roles(self) -> None:
        """Create three roles: for the machines, for their control, and for the setup of the
        task."""
        groups = [
            self.arn(
                "autoscaling", f"autoScalingGroup:*:autoScalingGroupName/${{AWS::StackName}}-{kind}"
            )
            for kind in ("worker", "finder")
        ]
        assets = self.sub("arn:${AWS::Partition}:s3:::${assetBucket}/${assetPrefix}/*")
        self.machine_role = self.role(
            "MachineRole",
            f"ec2.{cdk.Aws.URL_SUFFIX}",
            [
                allow(["s3:GetObject"], assets),
                allow(
                    [
                        "autoscaling:CompleteLifecycleAction",
                        "autoscaling:TerminateInstanceInAutoScalingGroup",
                    ],
                    groups,
                ),
            ],
            "Finder and workers of a task",
        )
        manages = self.sub("arn:${AWS::Partition}:iam::aws:policy/AmazonSSMManagedInstanceCore")
        self.machine_role.add_property_override(
            "ManagedPolicyArns", self.when(self.has_sessions, [manages])
        )
        self.profile = aws_iam.CfnInstanceProfile(
            self, "MachineProfile", path=self.sub(ROLES), roles=[self.machine_role.ref]
        )
        scale = [
            "autoscaling:UpdateAutoScalingGroup",
            "autoscaling:TerminateInstanceInAutoScalingGroup",
        ]
        self.control_role = self.role(
            "ControlRole",
            "lambda.amazonaws.com",
            [
                # They have no resource.
                allow(
                    [
                        "autoscaling:DescribeAutoScalingGroups",
                        "autoscaling:DescribeScalingActivities",
                    ],
                    "*",
                ),
                allow(scale, groups),
                allow(["sqs:GetQueueAttributes", "sqs:SendMessage"], self.missed.attr_arn),
                allow(WARM_TABLE, self.table_arn("objects")),
            ],
            "Control of a task",
            only={self.in_vpc: [allow(IN_VPC, "*")]},
        )
        self.setup_role = self.role(
            "SetupRole",
            "lambda.amazonaws.com",
            [],
            "Sets a task up, and clears up after it",
            only={self.in_vpc: [allow(IN_VPC, "*")]},
        )
        self.roles = [self.machine_role, self.control_role, self.setup_role]
        self.grants = [
            *self.task_rights(self.roles),
            *self.side_rights(self.roles, "Credentials", [f"s3.*.{cdk.Aws.URL_SUFFIX}"]),
            *self._store_rights(),
            *self._setup_rights(),
        ]

    def _setup_rights(self) -> list[aws_iam.CfnPolicy]:
        subscribe = allow(
            ["s3:GetBucketNotification", "s3:PutBucketNotification"],
            self._s3("${srcBucket}"),
            StringEquals={"aws:ResourceAccount": cdk.Aws.ACCOUNT_ID},
        )
        return [self.grant("SubscriptionRights", [self.setup_role], [subscribe], self.own_events)]

    def _store_rights(self) -> list[aws_iam.CfnPolicy]:
        """Grant access to the buckets used with our own roles; secrets and roles are for the
        others.
        """
        reads, writes = self._own_role("Reads", "src"), self._own_role("Writes", "dest")
        mirrors = Fn.condition_or(
            self.equals("deleteMode", "Mirror"), self.equals("srcEvent", "CreateAndDelete")
        )
        deletes = self.condition("OwnRoleDeletes", Fn.condition_and(self.holds(writes), mirrors))
        archived = self.equals("restoreArchived", "true")
        restores = self.condition("OwnRoleRestores", Fn.condition_and(self.holds(reads), archived))
        source, dest = self._s3("${srcBucket}"), self._s3("${destBucket}")
        objects, copies = self._s3("${srcBucket}/*"), self._s3("${destBucket}/*")
        inventory = Fn.select(2, Fn.split("/", Fn.join("", [Fn.ref("srcInventory"), "///"])))
        see = ["s3:ListBucket", "s3:GetBucketLocation"]
        keys = {
            f"{side.title()}CustomerKeyRights": (
                [allow(["secretsmanager:GetSecretValue"], self._secret(f"{side}SseCustomerKey"))],
                self.is_given(self.task[f"{side}SseCustomerKey"]),
            )
            for side in ("src", "dest")
        }
        granted: dict[str, tuple[list[Statement], str]] = {
            **keys,
            "ReadRights": ([allow(see, source), allow(READ, objects)], reads),
            "RestoreRights": ([allow(["s3:RestoreObject"], objects)], restores),
            "WriteRights": (
                [allow([*see, "s3:ListBucketMultipartUploads"], dest), allow(WRITE, copies)],
                writes,
            ),
            "DeleteRights": ([allow(["s3:DeleteObject"], copies)], deletes),
            "PrefixListRights": (
                [allow(["s3:GetObject"], self._s3("${srcPrefixListBucket}/*"))],
                self.is_given(self.task["srcPrefixListBucket"]),
            ),
            "InventoryRights": (
                [allow(["s3:GetObject"], self._s3("${Bucket}/*", Bucket=inventory))],
                self.is_given(self.task["srcInventory"]),
            ),
        }
        return self.grant_all(self.roles, granted)

    def _own_role(self, what: str, side: str) -> str:
        """Return the condition that a side is used with our own role."""
        empty = [self.equals(f"{side}{name}", "") for name in ("Credentials", "RoleArn")]
        if side == "src":
            empty.append(self.equals("srcAnonymous", "false"))
        return self.condition(f"OwnRole{what}", Fn.condition_and(*empty))

    def _secret(self, parameter: str) -> str:
        """Return the ARN of the secret that a parameter names."""
        return self.arn("secretsmanager", f"secret:${{{parameter}}}-??????")

    def _s3(self, resource: str, **values: str) -> str:
        return self.sub(f"arn:${{AWS::Partition}}:s3:::{resource}", **values)

    # ------------------------------------------------------------------------------------- machines

    def _machines(self) -> None:
        self.security_group = aws_ec2.CfnSecurityGroup(
            self,
            "NoInbound",
            group_description="Data Transfer Hub: reaches the stores, and nobody reaches it",
            vpc_id=Fn.ref("ec2VpcId"),
            security_group_egress=[
                aws_ec2.CfnSecurityGroup.EgressProperty(
                    ip_protocol="-1", cidr_ip="0.0.0.0/0", description="Stores may be anywhere"
                ),
                aws_ec2.CfnSecurityGroup.EgressProperty(
                    ip_protocol="-1", cidr_ipv6="::/0", description="Stores may be anywhere"
                ),
            ],
        )
        self.resource = self._custom_resource()
        self.workers = self._group(
            "Worker",
            least=Fn.ref("minCapacity"),
            most=Fn.ref("maxCapacity"),
            desired_capacity=Fn.ref("desiredCapacity"),
            on_demand=cdk.Token.as_number(
                self.when(self.is_true(self.task["spotWorkers"]), 0, 100)
            ),
            types=self.worker_types,
            disk=8,
        )
        self.finders = self._group(
            "Finder", least="0", most="1", on_demand=100, types=self.finder_types, disk=32
        )
        aws_autoscaling.CfnLifecycleHook(
            self,
            "Drain",
            auto_scaling_group_name=self.workers.ref,
            lifecycle_hook_name="drain",
            lifecycle_transition="autoscaling:EC2_INSTANCE_TERMINATING",
            heartbeat_timeout=HEARTBEAT,
            default_result="CONTINUE",
        )

    def _group(
        self,
        kind: str,
        *,
        least: str,
        most: str,
        on_demand: Any,
        types: list[Any],
        disk: int,
        **more: Any,
    ) -> aws_autoscaling.CfnAutoScalingGroup:
        name = self.sub(f"${{AWS::StackName}}-{kind.lower()}")
        environment = {
            **self.variables(),
            "DTH_GROUP": name,
            "DTH_LIFECYCLE_HOOK": "drain",
            # As functions have it: whose STS gives roles of other accounts.
            "AWS_DEFAULT_REGION": cdk.Aws.REGION,
        }
        digest = self.when(self.on_arm, *(Fn.ref(name) for name in BUNDLES.values()))
        launch = aws_ec2.CfnLaunchTemplate(
            self,
            f"{kind}Template",
            launch_template_data=aws_ec2.CfnLaunchTemplate.LaunchTemplateDataProperty(
                image_id=self.sub(IMAGE, Name=self.machine["name"]),
                iam_instance_profile=aws_ec2.CfnLaunchTemplate.IamInstanceProfileProperty(
                    arn=self.profile.attr_arn
                ),
                network_interfaces=[
                    aws_ec2.CfnLaunchTemplate.NetworkInterfaceProperty(
                        device_index=0,
                        groups=[self.security_group.attr_group_id],
                        associate_public_ip_address=self.when(self.has_address, True, False),
                        delete_on_termination=True,
                    )
                ],
                # A machine that does not come up ends itself.
                instance_initiated_shutdown_behavior="terminate",
                metadata_options=aws_ec2.CfnLaunchTemplate.MetadataOptionsProperty(
                    http_tokens="required", http_put_response_hop_limit=1
                ),
                block_device_mappings=[
                    aws_ec2.CfnLaunchTemplate.BlockDeviceMappingProperty(
                        device_name="/dev/xvda",
                        ebs=aws_ec2.CfnLaunchTemplate.EbsProperty(
                            encrypted=True,
                            volume_size=disk,
                            volume_type="gp3",
                            delete_on_termination=True,
                        ),
                    )
                ],
                user_data=user_data(kind.lower(), self.machine["name"], digest, environment),
                # The group gives its machines their tags, and nothing to what belongs to them.
                tag_specifications=[
                    aws_ec2.CfnLaunchTemplate.TagSpecificationProperty(
                        resource_type=each, tags=self._machine_tags()
                    )
                    for each in ("volume", "network-interface")
                ],
            ),
            tag_specifications=[
                aws_ec2.CfnLaunchTemplate.LaunchTemplateTagSpecificationProperty(
                    resource_type="launch-template", tags=self._machine_tags()
                )
            ],
        )
        group = aws_autoscaling.CfnAutoScalingGroup(
            self,
            f"{kind}Group",
            auto_scaling_group_name=name,
            min_size=least,
            max_size=most,
            vpc_zone_identifier=cdk.Token.as_list(Fn.ref("ec2Subnets")),
            mixed_instances_policy=aws_autoscaling.CfnAutoScalingGroup.MixedInstancesPolicyProperty(
                instances_distribution=aws_autoscaling.CfnAutoScalingGroup.InstancesDistributionProperty(
                    on_demand_percentage_above_base_capacity=on_demand,
                    on_demand_base_capacity=0,
                    spot_allocation_strategy="price-capacity-optimized",
                ),
                launch_template=aws_autoscaling.CfnAutoScalingGroup.LaunchTemplateProperty(
                    launch_template_specification=aws_autoscaling.CfnAutoScalingGroup.LaunchTemplateSpecificationProperty(
                        launch_template_id=launch.ref, version=launch.attr_latest_version_number
                    ),
                ),
            ),
            metrics_collection=[
                aws_autoscaling.CfnAutoScalingGroup.MetricsCollectionProperty(
                    granularity="1Minute",
                    metrics=["GroupDesiredCapacity", "GroupInServiceInstances"],
                )
            ],
            tags=[
                aws_autoscaling.CfnAutoScalingGroup.TagPropertyProperty(
                    key=key, value=value, propagate_at_launch=True
                )
                for key, value in (("Name", name), (TAG, self.id))
            ],
            **more,
        )
        # Without the CDK's own classes, which know no condition for a single type.
        group.add_property_override("MixedInstancesPolicy.LaunchTemplate.Overrides", types)
        # New code needs new machines; the old ones drain first.
        # An update keeps the number of machines that runs.
        group.cfn_options.update_policy = cdk.CfnUpdatePolicy(
            auto_scaling_scheduled_action=cdk.CfnAutoScalingScheduledAction(
                ignore_unmodified_group_size_properties=True
            ),
            auto_scaling_rolling_update=cdk.CfnAutoScalingRollingUpdate(
                max_batch_size=5,
                min_instances_in_service=0,
            ),
        )
        # Machines need their parameters, and end before unfinished uploads are aborted.
        group.add_resource_dependency(self.resource)
        return group

    def _machine_tags(self) -> list[cdk.CfnTag]:
        values = {STACK_TAG: cdk.Aws.STACK_NAME, TAG: self.id}
        return [cdk.CfnTag(key=key, value=value) for key, value in values.items()]

    # -------------------------------------------------------------------------------------- control

    def _custom_resource(self) -> cdk.CfnCustomResource:
        """Create the custom resource.

        It writes the parameters of a task without a hub, subscribes to a bucket's events, and
        cleans up at the end.
        """
        function = self.function(
            "Setup", "dth.compose.aws.functions.objects.resource", self.setup_role,
            self.variables(),
            log_group=self.logs, timeout=SETUP, description=(
                                                            "Sets a task up, and clears up after "
                                                            "it"
                                                            ),
            vpc_config=self._vpc(),
        )  # fmt: skip
        events = {
            "Bucket": Fn.ref("srcBucket"),
            "Prefix": Fn.ref("srcPrefix"),
            "Events": Fn.ref("srcEvent"),
            "QueueArn": self.queue.attr_arn,
        }
        properties = {name: self.when(self.own_events, value) for name, value in events.items()}
        resource = self.setup(function, SETUP, properties, lists=["ec2Subnets"])
        # S3 tests whether it may send before it subscribes.
        for each in self.policies:
            resource.add_resource_dependency(each)
        self.after_grants(resource, self.grants)
        return resource

    def _vpc(self) -> Any:
        """Return the VPC settings of a function that accesses the stores."""
        network = {
            "SubnetIds": Fn.ref("ec2Subnets"),
            "SecurityGroupIds": [self.security_group.attr_group_id],
        }
        return self.when(self.in_vpc, network)

    def _control(self) -> None:
        environment = {
            **self.variables(),
            "DTH_FINDER_GROUP": self.finders.ref,
            "DTH_WORKER_GROUP": self.workers.ref,
            "DTH_MISSED_STARTS_URL": self.missed.ref,
        }
        # Of events that EventBridge hands over and does not wait for.
        unheard = aws_lambda.CfnFunction.DeadLetterConfigProperty(target_arn=self.missed.attr_arn)
        functions = {
            name: self.function(
                name.title(), f"dth.compose.aws.functions.objects.{name}", self.control_role,
                environment,
                log_group=self.logs, timeout=TICK, description=description,
                vpc_config=self._vpc(),
                dead_letter_config=letters,
            )
            for name, description, letters in (
                ("tick", "Brings the task to its desired state, once a minute", None),
                ("start", "Begins a run, by the schedule", unheard),
            )
        }  # fmt: skip
        self.tick, self.start = functions["tick"], functions["start"]
        self._each_minute()
        self._schedule()

    def _each_minute(self) -> None:
        """Let a rule call the controller of a task alone. A hub calls those of its tasks itself,
        and not while they rest."""
        rule = aws_events.CfnRule(
            self,
            "Look",
            description="The controller of the task",
            schedule_expression="rate(1 minute)",
            targets=[aws_events.CfnRule.TargetProperty(id="Tick", arn=self.tick.attr_arn)],
        )
        permission = aws_lambda.CfnPermission(
            self,
            "LookMayTick",
            action="lambda:InvokeFunction",
            function_name=self.tick.ref,
            principal="events.amazonaws.com",
            source_arn=rule.attr_arn,
        )
        for each in (rule, permission):
            each.cfn_options.condition = self.holds(self.alone)

    def _schedule(self) -> None:
        rule, _ = self.schedule(self.start.attr_arn, "lambda:InvokeFunction", self.missed)
        rule.targets = [
            aws_events.CfnRule.TargetProperty(
                id="Start",
                arn=self.start.attr_arn,
                dead_letter_config=aws_events.CfnRule.DeadLetterConfigProperty(
                    arn=self.missed.attr_arn
                ),
            )
        ]
        permission = aws_lambda.CfnPermission(
            self,
            "ScheduleMayStart",
            action="lambda:InvokeFunction",
            function_name=self.start.ref,
            principal="events.amazonaws.com",
            source_arn=rule.attr_arn,
        )
        permission.cfn_options.condition = rule.cfn_options.condition

    # ------------------------------------------------------------------------- alarms and dashboard

    def _watch(self) -> None:
        self.alarm(
            "Failures",
            "Objects, runs or machines failed, the task is paused, messages crashed their "
            "workers, or the schedule could not begin a run: the task's runs, records and log "
            "group say which and why",
            self.topic,
            (NAMESPACE, "Failures", "Task", self.id),
        )
        # The look itself reports no failure then. A single look is made up for by the next.
        self.alarm(
            "Control",
            (
                "The task is not looked after: its controller fails again and again, and the log "
                "group says why"
            ),
            self.topic,
            ("AWS/Lambda", "Errors", "FunctionName", self.tick.ref),
            failing=3,
        )
        self.dashboard = aws_cloudwatch.CfnDashboard(
            self,
            "Dashboard",
            dashboard_body=self.sub(
                json.dumps(_dashboard()),
                Task=cdk.Aws.STACK_NAME,
                Queue=self.queue.attr_queue_name,
                Workers=self.workers.ref,
                Finders=self.finders.ref,
            ),
        )
        # A hub shows the graphs of its tasks itself, and each dashboard costs money.
        self.dashboard.cfn_options.condition = self.holds(self.alone)

    def _outputs(self) -> None:
        self.tell(
            {
                "QueueUrl": (self.queue.attr_queue_url, "Messages of the task"),
                "QueueArn": (
                    self.queue.attr_arn,
                    "Where event notifications of other accounts' buckets go",
                ),
                "DeadLetterUrl": (self.dead.attr_queue_url, "Messages that crashed their workers"),
                "MissedStartsUrl": (self.missed.ref, "Starts of the schedule that nobody heard"),
                "TickFunction": (
                    self.tick.ref,
                    "Brings the task to its desired state, and returns the current one",
                ),
                "StartFunction": (self.start.ref, "Begins a run"),
                "WorkerGroup": (self.workers.ref, "Auto Scaling group of the workers"),
                "FinderGroup": (self.finders.ref, "Auto Scaling group of the finder"),
                "MachineRole": (
                    self.machine_role.attr_arn,
                    "Role that buckets of other accounts must allow",
                ),
                "LogGroup": (self.logs, "What everything of the task says"),
                "Topic": (self.topic.ref, "Alarms"),
            }
        )
        shown = cdk.CfnOutput(
            self,
            "OutDashboard",
            value=self.dashboard.ref,
            description="CloudWatch dashboard of a task alone",
        )
        shown.override_logical_id("Dashboard")
        shown.condition = cast("cdk.CfnCondition", self.holds(self.alone))


def _split(types: str) -> list[str]:
    """Return the types as a list of at least MOST_TYPES, with empty ones at its end."""
    return Fn.split(",", Fn.join("", [types, "," * MOST_TYPES]))


def _dashboard() -> dict[str, Any]:
    """Return the body of the dashboard; `${...}` is replaced."""

    def graph(
        title: str, left: int, top: int, *metrics: list[Any], stat: str = "Sum"
    ) -> dict[str, Any]:
        return {
            "type": "metric",
            "x": left * 8,
            "y": top * 6,
            "width": 8,
            "height": 6,
            "properties": {
                "title": title,
                "region": "${AWS::Region}",
                "metrics": list(metrics),
                "stat": stat,
                "period": 60,
                "view": "timeSeries",
            },
        }

    def ours(metric: str) -> list[Any]:
        return [NAMESPACE, metric, "Task", "${Task}"]

    def queue(metric: str) -> list[Any]:
        return ["AWS/SQS", metric, "QueueName", "${Queue}"]

    def group(metric: str, which: str) -> list[Any]:
        return ["AWS/AutoScaling", metric, "AutoScalingGroupName", which]

    return {
        "widgets": [
            graph("Objects", 0, 0, ours("ObjectsTransferred"), ours("ObjectsFailed")),
            graph("Bytes", 1, 0, ours("BytesIn"), ours("BytesOut"), ours("BytesTransferred")),
            graph(
                "Messages",
                2,
                0,
                queue("ApproximateNumberOfMessagesVisible"),
                queue("ApproximateNumberOfMessagesNotVisible"),
                stat="Maximum",
            ),
            graph(
                "Machines",
                0,
                1,
                group("GroupDesiredCapacity", "${Workers}"),
                group("GroupInServiceInstances", "${Workers}"),
                group("GroupInServiceInstances", "${Finders}"),
                stat="Average",
            ),
            graph(
                "Latency (ms)", 1, 1, ours("SourceLatency"), ours("DestinationLatency"), stat="p90"
            ),
            graph(
                "Requests",
                2,
                1,
                ours("Requests"),
                ours("ThrottledRequests"),
                ours("FailedRequests"),
            ),
        ]
    }
