"""The template of the hub: console, API, sign-in, the workflow that creates and deletes tasks'
stacks, and rights.
"""

import json
from typing import Any

import aws_cdk as cdk
from aws_cdk import (
    Fn,
    aws_appsync,
    aws_cloudwatch,
    aws_cognito,
    aws_ec2,
    aws_ecs,
    aws_events,
    aws_iam,
    aws_lambda,
    aws_secretsmanager,
    aws_sns,
    aws_stepfunctions,
    aws_wafv2,
)
from constructs import Construct

from dth.compose.aws.network import LOOKS
from dth.hub.model import ROLES
from dth.infra.api import RESOLVER, render_schema, root_fields
from dth.infra.image import REPOSITORY
from dth.infra.site import CONSOLE, add_site
from dth.infra.statements import (
    BUNDLES,
    LOGS,
    TAG,
    Statement,
    allow,
    only_by_tls,
    policy,
    template_parameter,
)
from dth.infra.task_rights import KINDS, bounds, makes_stacks
from dth.infra.task_stack import DELIVER_LOGS, LAMBDA_RETRY, USE_QUEUE, USE_TABLE
from dth.infra.template import DEPLOYMENT, DIGEST, NETWORK, Template
from dth.platforms.aws.confined import VARIABLE
from dth.platforms.aws.hub.tables import HUB_TABLES

SIGN_IN, ADDRESS, ALARMS = "Sign-in", "Address", "Alarms"
RETAINED = "From an earlier hub"
API_TIMEOUT = 29  # seconds: AppSync waits for 30
STEP_TIMEOUT = 60  # seconds per step
WATCH_TIMEOUT = 300  # seconds per check of all tasks
# Seconds: a job ends itself after ten minutes.
JOB_TIMEOUT = 660
SCOPE = "openid profile email"
ROLE_ARN = r"arn:aws[a-z-]*:iam::([0-9]{12}|\*):role/[\w+=,.@/*-]+"
# The limits of tasks' roles that are about source and destination.
OF_SIDES = ("Stores", "Token", "Registries", "Secrets", "Roles", "Keys")
# The browser's redirect port for dth login.
CLI_PORT = 8976


class HubStack(Template):
    """The hub.

    `own_pool`: its users are in a Cognito user pool of its own. Otherwise an OpenID Connect issuer
    knows them, as in China: its regions do not have user pools, and reject a template that contains
    one.
    """

    own_pool = True

    def __init__(self, scope: Construct, name: str) -> None:
        super().__init__(scope, name, "Data Transfer Hub: console, API and the tasks of a team")
        self._declare()
        self._remember()
        self._network()
        self._users()
        self._task_roles()
        self._functions()
        self._workflow()
        self._watch()
        self._api()
        self._alarm()
        self._console()
        self._outputs()
        self.finish()

    # ----------------------------------------------------------------------------------- parameters

    def _declare(self) -> None:
        if self.own_pool:
            self.email = self.parameter(
                "adminEmail", "E-mail of the administrator", SIGN_IN, "Who gets the invitation.",
                pattern=r"[^@\s]+@[^@\s]+",
            )  # fmt: skip
        else:
            self._declare_issuer()
        self.vpc_given = self.parameter(
            "vpcId", "VPC", NETWORK, (
                                     "For machines and containers of tasks that name none; a new "
                                     "one when empty."
                                     ),
            default="", pattern="|vpc-[0-9a-f]+",
        )  # fmt: skip
        self.subnets_given = self.parameter(
            "subnetIds", "Subnets", NETWORK, "Of that VPC, separated by commas.",
            default="", pattern="|subnet-[0-9a-f]+(,subnet-[0-9a-f]+)*",
        )  # fmt: skip
        self.public_ip("machines and containers of tasks")
        self.domain = self.parameter(
            "domainName", "Domain", ADDRESS, (
                                             "Own domain of the console, such as "
                                             "transfers.example.com."
                                             ),
            default="", pattern=r"|([a-z0-9-]+\.)+[a-z]{2,}",
        )  # fmt: skip
        self.certificate = self.parameter(
            "certificateArn", "Certificate", ADDRESS, (
                                                      "ARN of the domain's certificate in ACM in "
                                                      "us-east-1."
                                                      ),
            default="",
            pattern=r"|arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:certificate/[A-Za-z0-9-]+",
        )  # fmt: skip
        self.certificates = [self.certificate]
        if not self.own_pool:
            server = self.parameter(
                "iamCertificateId", "Certificate in IAM", ADDRESS,
                (
                "Id of the domain's certificate in IAM, where CloudFront takes none of ACM, as "
                "in China."
                ),
                default="", pattern="|[A-Z0-9]{16,128}",
            )  # fmt: skip
            self.certificates.append(server)
        self.web_acl = self.parameter(
            "webAclArn", (
                         "Web ACL of the "
                         "console"
                         ), ADDRESS, "ARN of a WAF web ACL for CloudFront, in us-east-1.",
            default="", pattern=r"|arn:aws[a-z-]*:wafv2:[a-z0-9-]+:[0-9]{12}:global/webacl/[\w/-]+",
        )  # fmt: skip
        self.api_web_acl = self.parameter(
            "apiWebAclArn", "Web ACL of the API", ADDRESS, (
                                                           "ARN of a WAF web ACL for AppSync, in "
                                                           "this region."
                                                           ),
            default="",
            pattern=r"|arn:aws[a-z-]*:wafv2:[a-z0-9-]+:[0-9]{12}:regional/webacl/[\w/-]+",
        )  # fmt: skip
        self.image = self.parameter(
            "taskImage", "Image", DEPLOYMENT,
            "Image of the containers of tasks for images without the processor at its end; "
            "such tasks cannot be set up without.",
            default="", pattern=r"|[a-z0-9.-]+(:\d+)?/[a-z0-9._-]+:[\w.-]+",
        )  # fmt: skip
        self.bundles()
        for kind in KINDS:
            self.parameter(
                template_parameter(kind), f"Template of tasks ({kind})", DEPLOYMENT,
                f"SHA-256 of templates/{kind}.json, from which the hub makes tasks and from no "
                "other; dth aws publish fills it in. Not checked when "
                "empty.", default="", pattern=DIGEST,
            )  # fmt: skip
        self.console_digest = self.parameter(
            "consoleDigest", "Console", DEPLOYMENT,
            "SHA-256 of console.zip; dth aws publish fills it in. Not checked when empty.",
            default="", pattern=DIGEST,
        )  # fmt: skip
        self.allowed_networks(default="")
        self.point_in_time_recovery()
        self.assumable = self.parameter(
            "assumableRoles", "Roles that tasks may assume", DEPLOYMENT,
            "ARNs of roles that tasks may name in srcRoleArn and destRoleArn, with spaces "
            "between; * stands for any text. None when empty.",
            default="", pattern=f"|{ROLE_ARN}( {ROLE_ARN})*",
        )  # fmt: skip
        self.task_tags = self.parameter(
            "taskTags", "Tags of tasks", DEPLOYMENT,
            "More tags of everything that the hub makes for tasks, as JSON: "
            '{"CostCenter": "42"}. dth aws deploy --tag fills it in.',
            default="", pattern=r"|\{.*\}",
        )  # fmt: skip
        self._declare_retained()
        self.prices = self.parameter(
            "storePrices", "Prices of stores", DEPLOYMENT,
            "Of stores that are not AWS, in USD, by host and port, as JSON: "
            '{"store.example.com:9000": {"gb": 0.01, "requests": 0.0005}} is a price for a GB '
            'read and for 1,000 '
            "requests. Without one there are no costs and no budgets of tasks with such a "
            "store.", default="",
        )  # fmt: skip
        self.alarm_email = self.parameter(
            "alarmEmail", "Alarm e-mail", ALARMS, (
                                                  "Who is notified when the hub itself fails "
                                                  "again and again."
                                                  ),
            default="", pattern=r"|[^@\s]+@[^@\s]+",
        )  # fmt: skip
        self._demand()
        self.new_vpc = self.condition(
            "NewVpc", Fn.condition_equals(self.vpc_given.value_as_string, "")
        )

    def _demand(self) -> None:
        """Add the rules with which CloudFormation rejects parameters before it creates anything."""

        def is_empty(parameter: cdk.CfnParameter) -> Any:
            return Fn.condition_equals(parameter.value_as_string, "")

        def demand(name: str, given: cdk.CfnParameter, needed: list[cdk.CfnParameter]) -> None:
            some = [Fn.condition_not(is_empty(each)) for each in needed]
            names = " or ".join(each.node.id for each in needed)
            holds = cdk.CfnRuleAssertion(
                assert_=some[0] if len(some) == 1 else Fn.condition_or(*some),
                assert_description=f"{given.node.id} needs {names}",
            )
            condition = Fn.condition_not(is_empty(given))
            cdk.CfnRule(self, name, rule_condition=condition, assertions=[holds])

        demand("DomainHasCertificate", self.domain, self.certificates)
        demand("VpcHasSubnets", self.vpc_given, [self.subnets_given])

    def _declare_retained(self) -> None:
        """Declare what an earlier hub left: a stack that is deleted keeps it."""
        self.retained = {
            name: self.parameter(
                f"{name}TableName", f"Table of an earlier hub ({name})", RETAINED,
                "Name of the table that an earlier hub of this name left; a new one when empty.",
                default="", pattern=r"|[\w.-]{3,255}",
            )
            for name in HUB_TABLES
        }  # fmt: skip
        self.retained_secret = self.parameter(
            "certificateKeyArn", "Secret of certificates of an earlier hub", RETAINED,
            "ARN of the secret that an earlier hub left, with which its certificates are signed; "
            "a new one when empty.", default="",
            pattern="|arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[\\w/+=.@-]+",
        )  # fmt: skip
        if self.own_pool:
            self.retained_pool = self.parameter(
                "userPoolId", "User pool of an earlier hub", RETAINED,
                "Id of the user pool that an earlier hub left, with its users; a new one, with "
                "the administrator above, when empty.",
                default="", pattern=r"|[a-z0-9-]+_[A-Za-z0-9]+",
            )  # fmt: skip

    def _declare_issuer(self) -> None:
        self.issuer = self.parameter(
            "oidcIssuer", "Issuer", SIGN_IN, (
                                             "Address of the OpenID Connect "
                                             "issuer."
                                             ), pattern=r"https://[^\s?#]+"
        )  # fmt: skip
        self.client = self.parameter(
            "oidcClientId", "Client id", SIGN_IN, (
                                                  "The issuer's client for console and command "
                                                  "line."
                                                  ),
            pattern=r"[^\s]+",
        )  # fmt: skip
        self.audience = self.parameter(
            "oidcAudience", "Audience", SIGN_IN, (
                                                 "What the issuer's access tokens are for, if it "
                                                 "names that."
                                                 ),
            default="",
        )  # fmt: skip
        self.role_claim = self.parameter(
            "oidcRoleClaim", "Role claim", SIGN_IN,
            (
            "The claim with roles or groups: admin, operator, viewer. The usual ones when "
            "empty."
            ), default="",
        )  # fmt: skip
        self.roles = self.parameter(
            "oidcRoles", "Roles of groups", SIGN_IN,
            'The role of each group that has one, as JSON: {"hub-admins": "admin"}. Groups that '
            'are called as roles '
            "are have them when empty.", default="",
        )  # fmt: skip
        self.default_role = self.parameter(
            "oidcDefaultRole", "Default role", SIGN_IN,
            "The role of users whose tokens name none. none: they are refused.", default="none",
            allowed=["none", *ROLES],
        )  # fmt: skip

    # ------------------------------------------------------------------------------- what remembers

    def _remember(self) -> None:
        """Create the tables, logs, key, and topic, unless an earlier hub left them. The tables and
        the key remain when the stack is deleted.
        """
        self.tables = {
            name: self._keep(self.table(f"{name.title()}Table", table), self.retained[name])
            for name, table in HUB_TABLES.items()
        }
        self.logs = self.log_group("Logs")
        self.logs.apply_removal_policy(cdk.RemovalPolicy.DESTROY)
        signing = aws_secretsmanager.CfnSecret(
            self,
            "CertificateKey",
            description="What certificates of Data Transfer Hub are signed with follows from this",
            generate_secret_string=aws_secretsmanager.CfnSecret.GenerateSecretStringProperty(
                password_length=64, exclude_punctuation=True
            ),
            kms_key_id=self.when(self.is_given(self.kms_key), self.kms_key.value_as_string),
        )
        self.signing_key = self._keep(signing, self.retained_secret, signing.attr_id)
        self.topic = aws_sns.CfnTopic(
            self,
            "Notifications",
            kms_master_key_id=self.when(self.is_given(self.kms_key), self.kms_key.value_as_string),
        )
        aws_sns.CfnTopicPolicy(
            self,
            "NotificationsPolicy",
            topics=[self.topic.ref],
            policy_document=policy([only_by_tls(self.topic.ref, "sns:Publish")]),
        )

    def _keep(self, made: cdk.CfnResource, earlier: cdk.CfnParameter, name: str = "") -> str:
        """Keep a resource when the stack is deleted, and make none if there is an earlier one.

        Returns the name of the one that is used. `name`: of the new one, if it is not its
        reference.
        """
        made.apply_removal_policy(cdk.RemovalPolicy.RETAIN)
        taken = self.is_given(earlier)
        new = self.condition(f"New{made.node.id}", Fn.condition_not(self.holds(taken)))
        made.cfn_options.condition = self.holds(new)
        return str(self.when(taken, earlier.value_as_string, name or made.ref))

    # -------------------------------------------------------------------------------------- network

    def _network(self) -> None:
        """Create a small VPC if none is named, and a cluster for the containers of all tasks.

        The VPC has two public subnets and free gateway endpoints for S3 and DynamoDB.
        """
        vpc = aws_ec2.CfnVPC(
            self,
            "Vpc",
            cidr_block="10.0.0.0/16",
            enable_dns_support=True,
            enable_dns_hostnames=True,
        )
        gateway = aws_ec2.CfnInternetGateway(self, "Gateway")
        attached = aws_ec2.CfnVPCGatewayAttachment(
            self, "Attachment", vpc_id=vpc.ref, internet_gateway_id=gateway.ref
        )
        routes = aws_ec2.CfnRouteTable(self, "Routes", vpc_id=vpc.ref)
        out = aws_ec2.CfnRoute(
            self,
            "WayOut",
            route_table_id=routes.ref,
            destination_cidr_block="0.0.0.0/0",
            gateway_id=gateway.ref,
        )
        out.add_resource_dependency(attached)
        made: list[Any] = [vpc, gateway, attached, routes, out]
        subnets = []
        for number in range(2):
            subnet = aws_ec2.CfnSubnet(
                self,
                f"Subnet{number + 1}",
                vpc_id=vpc.ref,
                cidr_block=f"10.0.{number * 64}.0/18",
                availability_zone=Fn.select(number, Fn.get_azs()),
                map_public_ip_on_launch=True,
            )
            association = aws_ec2.CfnSubnetRouteTableAssociation(
                self, f"Subnet{number + 1}Routes", subnet_id=subnet.ref, route_table_id=routes.ref
            )
            subnets.append(subnet)
            made += [subnet, association]
        for service in ("s3", "dynamodb"):
            made.append(
                aws_ec2.CfnVPCEndpoint(
                    self,
                    f"{service.title()}Endpoint",
                    vpc_id=vpc.ref,
                    service_name=self.sub(f"com.amazonaws.${{AWS::Region}}.{service}"),
                    route_table_ids=[routes.ref],
                )
            )
        for each in made:
            each.cfn_options.condition = self.holds(self.new_vpc)
        self.vpc = self.when(self.new_vpc, vpc.ref, self.vpc_given.value_as_string)
        self.subnets = self.when(
            self.new_vpc,
            Fn.join(",", [subnet.ref for subnet in subnets]),
            self.subnets_given.value_as_string,
        )

        self.cluster = aws_ecs.CfnCluster(self, "Cluster")

    # -------------------------------------------------------------------------------------- sign-in

    def _users(self) -> None:
        """Create a user pool with a group per role, and the first administrator."""
        if not self.own_pool:
            return
        pool = aws_cognito.CfnUserPool(
            self,
            "Users",
            admin_create_user_config=aws_cognito.CfnUserPool.AdminCreateUserConfigProperty(
                allow_admin_create_user_only=True
            ),
            auto_verified_attributes=["email"],
            account_recovery_setting=aws_cognito.CfnUserPool.AccountRecoverySettingProperty(
                recovery_mechanisms=[
                    aws_cognito.CfnUserPool.RecoveryOptionProperty(
                        name="verified_email", priority=1
                    )
                ]
            ),
            mfa_configuration="OPTIONAL",
            enabled_mfas=["SOFTWARE_TOKEN_MFA"],
            policies=aws_cognito.CfnUserPool.PoliciesProperty(
                password_policy=aws_cognito.CfnUserPool.PasswordPolicyProperty(
                    minimum_length=12,
                    require_lowercase=True,
                    require_uppercase=True,
                    require_numbers=True,
                    require_symbols=True,
                    temporary_password_validity_days=7,
                )
            ),
        )
        self.pool = self._keep(pool, self.retained_pool)
        new = self.holds("NewUsers")
        # The name must be unique in all of AWS, so it includes a part of the stack's id.
        own = Fn.select(4, Fn.split("-", Fn.select(2, Fn.split("/", cdk.Aws.STACK_ID))))
        domain = aws_cognito.CfnUserPoolDomain(
            self, "SignInDomain", user_pool_id=self.pool, domain=self.sub("dth-${Own}", Own=own)
        )
        admin = aws_cognito.CfnUserPoolUser(
            self,
            "Administrator",
            user_pool_id=pool.ref,
            username=self.email.value_as_string,
            desired_delivery_mediums=["EMAIL"],
            user_attributes=[
                aws_cognito.CfnUserPoolUser.AttributeTypeProperty(name=name, value=value)
                for name, value in (
                    ("email", self.email.value_as_string),
                    ("email_verified", "true"),
                )
            ],
        )
        groups = [
            aws_cognito.CfnUserPoolGroup(
                self, f"{role.title()}s", user_pool_id=pool.ref, group_name=role.value
            )
            for role in ROLES
        ]
        member = aws_cognito.CfnUserPoolUserToGroupAttachment(
            self,
            "AdministratorIsAdmin",
            user_pool_id=pool.ref,
            username=admin.ref,
            group_name=ROLES[-1].value,
        )
        member.add_resource_dependency(groups[-1])
        # A pool that is kept keeps who is in it, and a pool of an earlier hub has them.
        for each in (admin, *groups, member):
            each.apply_removal_policy(cdk.RemovalPolicy.RETAIN)
            each.cfn_options.condition = new
        self.sign_in = domain

    # ------------------------------------------------------------------------------ rights of tasks

    def _task_roles(self) -> None:
        """Create the service role with which CloudFormation creates tasks' stacks, and their roles'
        boundary.
        """
        bound = aws_iam.CfnManagedPolicy(
            self,
            "TaskBoundary",
            description="What roles of the hub's tasks may do at most",
            policy_document=policy(self._bounds()),
        )
        self.task_boundary = self.when(
            self.is_given(self.boundary), self.boundary.value_as_string, bound.ref
        )
        self.service_role = self.role(
            "ServiceRole", "cloudformation.amazonaws.com", [], "Makes the stacks of tasks"
        )
        rights = makes_stacks(self.sub, self.task_boundary)
        for name, statements in rights.items():
            self.grant(name, [self.service_role], statements)

    def _bounds(self) -> list[Statement]:
        """Return the limits of the roles of tasks, and of the jobs."""
        named = Fn.select(0, Fn.split(":", Fn.select(1, Fn.split("/", self.image.value_as_string))))
        repository = self.when(self.is_given(self.image), named, REPOSITORY)
        assumable = self.when(
            self.is_given(self.assumable),
            Fn.split(" ", self.assumable.value_as_string),
            [self.arn("iam", "role/nobody", region="")],
        )
        return bounds(self.sub, TAG, self._table_arn("hub"), repository, assumable)

    # ------------------------------------------------------------------------------------ functions

    def _functions(self) -> None:
        self.api_role = self.role(
            "ApiRole", "lambda.amazonaws.com", [], "Answers the API of the hub"
        )
        self.steward_role = self.role(
            "StewardRole", "lambda.amazonaws.com", [], "Brings tasks to where they should be"
        )
        self.job_role = self.role(
            "JobRole", "lambda.amazonaws.com", [], "Preflights, forecasts and probes"
        )
        # Roles of tasks have this tag, too: the hub's buckets recognize them by it.
        self.job_role.tags.set_tag(TAG, "job")
        self.functions: list[aws_lambda.CfnFunction] = []
        roles = [self.api_role, self.steward_role, self.job_role]
        self.grant("HubRights", roles, self._hub_rights())
        self.grant_key("KeyRights", [*roles, self.service_role])
        self.grant(
            "TableKeyRights", [self.steward_role], [self._table_keys()], self.is_given(self.kms_key)
        )
        self.grant("TaskDataRights", [self.api_role, self.steward_role], self._task_data_rights())
        self.grant("ApiRights", [self.api_role], self._api_rights())
        if self.own_pool:
            self.grant("UserRights", [self.api_role], [self._user_rights()])
        self.grant("StewardRights", [self.steward_role], self._steward_rights())
        self.grant("JobRights", [self.job_role], self._job_rights())
        self.job = self._function(
            "Job", "job", self.job_role, JOB_TIMEOUT, "A preflight, a forecast or a probe", 1024
        )
        self.job.function_name = self.sub("${AWS::StackName}-job")
        # It reads records like the API, and signs.
        certificates = self._function(
            "Certificate", "certify", self.api_role, JOB_TIMEOUT, "A certificate of a run", 1024
        )
        certificates.function_name = self.sub("${AWS::StackName}-certificate")
        jobs = allow(["lambda:InvokeFunction"], [self.job.attr_arn, certificates.attr_arn])
        self.grant("StartsJobs", [self.api_role], [jobs])
        self.step = self._function(
            "Step", "step", self.steward_role, STEP_TIMEOUT, "One step of a task's workflow"
        )

    def _function(
        self, name: str, handler: str, role: aws_iam.CfnRole, timeout: int, description: str,
        memory: int = 512,
        **more: str,
    ) -> aws_lambda.CfnFunction:  # fmt: skip
        made = self.function(
            name, f"dth.compose.aws.functions.hub.{handler}", role, {**self._environment(), **more},
            log_group=self.logs.ref, timeout=timeout, memory=memory, description=description,
        )  # fmt: skip
        self.functions.append(made)
        return made

    def _environment(self) -> dict[str, str]:
        """Return the environment variables that `dth.platforms.aws.hub.settings` reads.

        Some names are fixed before their resources exist, because these in turn need the functions.
        """
        return {
            "DTH_REGION": cdk.Aws.REGION,
            "DTH_TASKS_TABLE": self.tables["tasks"],
            "DTH_HUB_TABLE": self.tables["hub"],
            "DTH_TABLE_PREFIX": self.sub("${AWS::StackName}-task"),
            "DTH_LOG_PREFIX": self.sub(f"{LOGS}/${{AWS::StackName}}"),
            "DTH_STACK_PREFIX": cdk.Aws.STACK_NAME,
            "DTH_ASSET_BUCKET": self.asset_bucket.value_as_string,
            "DTH_ASSET_PREFIX": self.asset_prefix.value_as_string,
            "DTH_CONSOLE_BUCKET": Fn.ref(CONSOLE),
            **{
                f"DTH_BUNDLE_{name.upper()}": Fn.ref(parameter)
                for name, parameter in BUNDLES.items()
            },
            "DTH_ASSET_URL": self.sub(
                "https://${assetBucket}.s3.${AWS::Region}.${AWS::URLSuffix}/${assetPrefix}"
            ),
            "DTH_TEMPLATES": self.sub(
                " ".join(f"{kind}=${{{template_parameter(kind)}}}" for kind in KINDS)
            ),
            "DTH_SERVICE_ROLE": self.service_role.attr_arn,
            "DTH_WORKFLOW": self._workflow_arn(),
            "DTH_JOB_FUNCTION": self.sub("${AWS::StackName}-job"),
            "DTH_CERTIFICATE_FUNCTION": self.sub("${AWS::StackName}-certificate"),
            "DTH_TOPIC": self.topic.ref,
            "DTH_SIGNING_SECRET": self.signing_key,
            "DTH_SECRET_TAG": TAG,
            **self._who_calls(),
            "DTH_PERMISSIONS_BOUNDARY": self.task_boundary,
            "DTH_KMS_KEY": self.kms_key.value_as_string,
            "DTH_POINT_IN_TIME_RECOVERY": Fn.ref("pointInTimeRecovery"),
            "DTH_VPC": self.vpc,
            "DTH_SUBNETS": self.subnets,
            "DTH_PUBLIC_IP": Fn.ref("publicIp"),
            "DTH_CLUSTER": self.cluster.ref,
            "DTH_TASK_TAGS": self.task_tags.value_as_string,
            "DTH_ASSUMABLE_ROLES": self.assumable.value_as_string,
            "DTH_PRICES": self.prices.value_as_string,
            "DTH_TASK_IMAGE": self.image.value_as_string,
            VARIABLE: Fn.ref("allowedNetworks"),
        }

    def _issuer(self) -> str:
        """Return the issuer of the tokens that the API accepts."""
        if self.own_pool:
            host = "https://cognito-idp.${AWS::Region}.${AWS::URLSuffix}"
            return self.sub(f"{host}/${{Pool}}", Pool=self.pool)
        return self.issuer.value_as_string

    def _who_calls(self) -> dict[str, str]:
        if self.own_pool:
            issuer, pool = self._issuer(), self.pool
            return {"DTH_ISSUER": issuer, "DTH_CLIENT": cdk.Aws.STACK_NAME, "DTH_USER_POOL": pool}
        return {
            "DTH_ISSUER": self._issuer(),
            "DTH_CLIENT": self.client.value_as_string,
            "DTH_AUDIENCE": self.audience.value_as_string,
            "DTH_ROLE_CLAIM": self.role_claim.value_as_string,
            "DTH_ROLES": self.roles.value_as_string,
            "DTH_DEFAULT_ROLE": self.default_role.value_as_string,
        }

    def _workflow_arn(self) -> str:
        return self.arn("states", "stateMachine:${AWS::StackName}-workflow")

    def _hub_rights(self) -> list[Statement]:
        tables = [self._table_arn(name) for name in self.tables]
        return [allow(USE_TABLE, tables), self.write_logs(self.logs.ref)]

    def _table_arn(self, name: str) -> str:
        return self.arn("dynamodb", "table/${Name}", Name=self.tables[name])

    def _task_data_rights(self) -> list[Statement]:
        """Allow access to records, queues, and logs of every task, by the names that the hub gives
        them.
        """
        table = self.arn("dynamodb", "table/${AWS::StackName}-task-*")
        queues = [self.arn("sqs", f"${{AWS::StackName}}-{kind}-*") for kind in KINDS]
        return [
            allow([*USE_TABLE, "dynamodb:DeleteTable"], table),
            allow(USE_QUEUE, queues),
            allow(
                ["logs:DeleteLogGroup"], self.arn("logs", f"log-group:{LOGS}/${{AWS::StackName}}/*")
            ),
            allow(["states:StartExecution"], self._workflow_arn()),
            allow(["sns:Publish"], self.topic.ref),
        ]

    def _api_rights(self) -> list[Statement]:
        secrets = self.arn("secretsmanager", "secret:*")
        ours = {f"aws:ResourceTag/{TAG}": "secret"}
        made = {f"aws:RequestTag/{TAG}": "secret"}
        changes = [
            "secretsmanager:UpdateSecret",
            "secretsmanager:DeleteSecret",
            "secretsmanager:RestoreSecret",
        ]
        return [
            allow(
                ["logs:DescribeLogStreams", "logs:GetLogEvents", "logs:FilterLogEvents"],
                self.arn("logs", f"log-group:{LOGS}/${{AWS::StackName}}/*"),
            ),
            allow(["cloudwatch:GetMetricData"], "*"),  # it has no resource
            allow(["secretsmanager:ListSecrets"], "*"),  # it has no resource
            allow(["secretsmanager:DescribeSecret"], secrets),
            allow(changes, secrets, StringEquals=ours),
            allow(
                ["secretsmanager:CreateSecret", "secretsmanager:TagResource"],
                secrets,
                StringEquals=made,
            ),
            allow(["secretsmanager:GetSecretValue"], self.signing_key),
            allow(["sns:Subscribe", "sns:Unsubscribe"], self.topic.ref),
        ]

    def _user_rights(self) -> Statement:
        return allow(
            [
                f"cognito-idp:{each}"
                for each in (
                    "ListUsers", "ListUsersInGroup", "AdminCreateUser", "AdminDeleteUser",
                    "AdminSetUserPassword",
                    "AdminAddUserToGroup", "AdminRemoveUserFromGroup", "AdminGetUser",
                    "AdminListGroupsForUser",
                )
            ],
            self.arn("cognito-idp", "userpool/${Pool}", Pool=self.pool),
        )  # fmt: skip

    def _table_keys(self) -> Statement:
        """Allow the hub to encrypt tables with the customer's key: DynamoDB acts with the rights of
        who creates a table.
        """
        uses = [
            "Encrypt",
            "Decrypt",
            "ReEncrypt*",
            "GenerateDataKey*",
            "DescribeKey",
            "CreateGrant",
        ]
        return allow(
            [f"kms:{each}" for each in uses],
            self.kms_key.value_as_string,
            StringEquals={"kms:ViaService": self.sub("dynamodb.${AWS::Region}.${AWS::URLSuffix}")},
        )

    def _steward_rights(self) -> list[Statement]:
        stacks = [
            self.arn("cloudformation", f"stack/${{AWS::StackName}}-{kind}-*/*") for kind in KINDS
        ]
        acts = (
            "CreateStack",
            "UpdateStack",
            "DeleteStack",
            "DescribeStacks",
            "DescribeStackEvents",
            "TagResource",
        )
        makes = (
            "CreateTable", "DescribeTable", "TagResource", "UpdateContinuousBackups",
            "DescribeContinuousBackups",
            "UpdateTimeToLive",
        )  # fmt: skip
        return [
            allow([f"cloudformation:{each}" for each in acts], stacks),
            allow(
                ["iam:PassRole"],
                self.service_role.attr_arn,
                StringEquals={"iam:PassedToService": "cloudformation.amazonaws.com"},
            ),
            allow(
                ["s3:GetObject", "s3:GetObjectVersion"],
                self.sub("arn:${AWS::Partition}:s3:::${assetBucket}/${assetPrefix}/*"),
            ),
            allow(
                [f"dynamodb:{each}" for each in makes],
                self.arn("dynamodb", "table/${AWS::StackName}-task-*"),
            ),
            allow(
                ["logs:CreateLogGroup", "logs:PutRetentionPolicy", "logs:TagResource"],
                self.arn("logs", f"log-group:{LOGS}/${{AWS::StackName}}/*"),
            ),
            allow(["autoscaling:DescribeAutoScalingGroups"], "*"),  # it has no resource
            allow(
                ["lambda:InvokeFunction"],
                [self.arn("lambda", f"function:${{AWS::StackName}}-{kind}-*") for kind in KINDS],
            ),
            allow(
                ["states:StartExecution"],
                self.arn("states", "stateMachine:${AWS::StackName}-ecr-*"),
            ),
        ]

    def _job_rights(self) -> list[Statement]:
        """Allow as much as workers may have: the stores of a task are not known in advance."""
        return [
            *(
                each
                for each in self._bounds()
                if each["Sid"] in OF_SIDES or each["Effect"] == "Deny"
            ),
            # Whether what is needed can be reached from the hub's subnets.
            allow([*LOOKS], "*"),
        ]

    # ------------------------------------------------------------------------------------- workflow

    def _workflow(self) -> None:
        definition = {
            "Comment": "Brings a task to where it should be",
            "StartAt": "Step",
            "TimeoutSeconds": 6 * 3600,
            "States": {
                "Step": {
                    "Type": "Task",
                    "Resource": "arn:${AWS::Partition}:states:::lambda:invoke",
                    "Parameters": {"FunctionName": "${Step}", "Payload.$": "$"},
                    "OutputPath": "$.Payload",
                    "Retry": [
                        LAMBDA_RETRY,
                        {
                            "ErrorEquals": ["States.ALL"],
                            "IntervalSeconds": 10,
                            "BackoffRate": 2,
                            "MaxAttempts": 5,
                        },
                    ],
                    "Next": "More",
                },
                "More": {
                    "Type": "Choice",
                    "Choices": [{"Variable": "$.again", "BooleanEquals": True, "Next": "Wait"}],
                    "Default": "Done",
                },
                "Wait": {"Type": "Wait", "SecondsPath": "$.wait", "Next": "Step"},
                "Done": {"Type": "Succeed"},
            },
        }
        role = self.role(
            "WorkflowRole",
            "states.amazonaws.com",
            [allow(["lambda:InvokeFunction"], self.step.attr_arn), allow(DELIVER_LOGS, "*")],
            "The workflow of a task",
        )
        self.workflow = aws_stepfunctions.CfnStateMachine(
            self,
            "Workflow",
            state_machine_name=self.sub("${AWS::StackName}-workflow"),
            role_arn=role.attr_arn,
            state_machine_type="STANDARD",
            definition_string=self.sub(json.dumps(definition), Step=self.step.attr_arn),
            logging_configuration=self.logged(self.logs.ref, "ALL"),
            tracing_configuration=aws_stepfunctions.CfnStateMachine.TracingConfigurationProperty(
                enabled=False
            ),
        )

    def _watch(self) -> None:
        function = self._function(
            "Watch", "watch", self.steward_role, WATCH_TIMEOUT, "Checks all tasks every minute"
        )
        rule = aws_events.CfnRule(
            self,
            "EachMinute",
            description="A look at all tasks of the hub",
            schedule_expression="rate(1 minute)",
            targets=[aws_events.CfnRule.TargetProperty(id="Watch", arn=function.attr_arn)],
        )
        aws_lambda.CfnPermission(
            self,
            "EachMinuteMayWatch",
            action="lambda:InvokeFunction",
            function_name=function.ref,
            principal="events.amazonaws.com",
            source_arn=rule.attr_arn,
        )

    # ------------------------------------------------------------------------------------------ API

    def _api(self) -> None:
        resolve = self._function(
            "Resolve", "resolve", self.api_role, API_TIMEOUT, "Answers the API", 1024
        )
        authorize = self._function("Authorize", "authorize", self.api_role, 10, "Knows API tokens")
        writes_logs = self.role(
            "ApiLogRole",
            "appsync.amazonaws.com",
            [
                allow(
                    ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
                    self.arn("logs", "log-group:/aws/appsync/apis/*"),
                )
            ],
            "Log of the API",
        )
        self.api = aws_appsync.CfnGraphQLApi(
            self,
            "Api",
            name=cdk.Aws.STACK_NAME,
            **self._authentication(),
            additional_authentication_providers=[
                aws_appsync.CfnGraphQLApi.AdditionalAuthenticationProviderProperty(
                    authentication_type="AWS_IAM"
                ),
                aws_appsync.CfnGraphQLApi.AdditionalAuthenticationProviderProperty(
                    authentication_type="AWS_LAMBDA",
                    lambda_authorizer_config=aws_appsync.CfnGraphQLApi.LambdaAuthorizerConfigProperty(
                        authorizer_uri=authorize.attr_arn
                    ),
                ),
            ],
            log_config=aws_appsync.CfnGraphQLApi.LogConfigProperty(
                cloud_watch_logs_role_arn=writes_logs.attr_arn,
                field_log_level="ERROR",
                exclude_verbose_content=True,
            ),
            introspection_config="ENABLED",
            query_depth_limit=12,
        )
        aws_lambda.CfnPermission(
            self,
            "ApiMayAuthorize",
            action="lambda:InvokeFunction",
            function_name=authorize.ref,
            principal="appsync.amazonaws.com",
            source_arn=self.api.attr_arn,
        )
        own_mode = "aws_cognito_user_pools" if self.own_pool else "aws_oidc"
        schema = aws_appsync.CfnGraphQLSchema(
            self,
            "Schema",
            api_id=self.api.attr_api_id,
            definition=render_schema((own_mode, "aws_iam", "aws_lambda")),
        )
        invokes = self.role(
            "ResolverRole",
            "appsync.amazonaws.com",
            [allow(["lambda:InvokeFunction"], resolve.attr_arn)],
            "The API asks its function",
        )
        source = aws_appsync.CfnDataSource(
            self,
            "Function",
            api_id=self.api.attr_api_id,
            name="Function",
            type="AWS_LAMBDA",
            service_role_arn=invokes.attr_arn,
            lambda_config=aws_appsync.CfnDataSource.LambdaConfigProperty(
                lambda_function_arn=resolve.attr_arn
            ),
        )
        for kind, field in root_fields():
            resolver = aws_appsync.CfnResolver(
                self,
                f"{kind}{field[0].upper()}{field[1:]}",
                api_id=self.api.attr_api_id,
                type_name=kind,
                field_name=field,
                kind="UNIT",
                data_source_name=source.attr_name,
                runtime=aws_appsync.CfnResolver.AppSyncRuntimeProperty(
                    name="APPSYNC_JS", runtime_version="1.0.0"
                ),
                code=RESOLVER,
            )
            resolver.add_resource_dependency(schema)

    def _alarm(self) -> None:
        """Create an alarm for repeated failures: a single failure is retried.

        An answer that the API cannot give is in the log.
        """
        topic = self.alarms(self.alarm_email, "cloudwatch.amazonaws.com")
        failures = [
            self.metric(
                each.node.id.lower(), "AWS/Lambda", "Errors", "Sum", "FunctionName", each.ref
            )
            for each in self.functions
        ] + [
            self.metric(
                name.lower(), "AWS/States", name, "Sum", "StateMachineArn", self.workflow.ref
            )
            for name in ("ExecutionsFailed", "ExecutionsTimedOut")
        ]
        aws_cloudwatch.CfnAlarm(
            self,
            "Failures",
            alarm_description=self.sub(
                "The hub ${AWS::StackName} fails again and again: its log group ${Log} says why",
                Log=self.logs.ref,
            ),
            comparison_operator="GreaterThanThreshold",
            threshold=0,
            evaluation_periods=15,
            datapoints_to_alarm=3,
            treat_missing_data="notBreaching",
            alarm_actions=[topic.ref],
            metrics=[
                aws_cloudwatch.CfnAlarm.MetricDataQueryProperty(
                    id="failures",
                    expression=" + ".join(f"FILL({each.id}, 0)" for each in failures),
                    label="Failures",
                    return_data=True,
                ),
                *failures,
            ],
        )

    def _authentication(self) -> dict[str, Any]:
        """Return the API's way to authenticate users."""
        if self.own_pool:
            pool = aws_appsync.CfnGraphQLApi.UserPoolConfigProperty(
                user_pool_id=self.pool, aws_region=cdk.Aws.REGION, default_action="ALLOW"
            )
            return {"authentication_type": "AMAZON_COGNITO_USER_POOLS", "user_pool_config": pool}
        # A pattern for the token's audience (aud, azp): access tokens of some issuers name only the
        # audience.
        either = self.sub("${oidcClientId}|${oidcAudience}")
        issuer = aws_appsync.CfnGraphQLApi.OpenIDConnectConfigProperty(
            issuer=self.issuer.value_as_string,
            client_id=self.when(self.is_given(self.audience), either, self.client.value_as_string),
        )
        return {"authentication_type": "OPENID_CONNECT", "open_id_connect_config": issuer}

    # -------------------------------------------------------------------------------------- console

    def _console(self) -> None:
        guarded = aws_wafv2.CfnWebACLAssociation(
            self,
            "ApiWebAcl",
            resource_arn=self.api.attr_arn,
            web_acl_arn=self.api_web_acl.value_as_string,
        )
        guarded.cfn_options.condition = self.holds(self.is_given(self.api_web_acl))
        api = Fn.select(2, Fn.split("/", self.api.attr_graph_ql_url))
        self.site = add_site(
            self,
            api,
            self._signs_in_at(),
            self.domain,
            self.certificates,
            self.web_acl,
            plain=not self.own_pool,
        )
        role = self.role(
            "ConsoleRole", "lambda.amazonaws.com", [], "Puts the console's files where they belong"
        )
        files = self.sub("${Bucket}/*", Bucket=self.site.bucket.attr_arn)
        rights = self.grant(
            "ConsoleRights",
            [role],
            [
                allow(
                    ["s3:GetObject"],
                    self.sub("arn:${AWS::Partition}:s3:::${assetBucket}/${assetPrefix}/*"),
                ),
                allow(["s3:ListBucket"], self.site.bucket.attr_arn),
                allow(["s3:PutObject", "s3:DeleteObject"], files),
                self.write_logs(self.logs.ref),
            ],
        )
        function = self.function(
            "BringConsole", "dth.compose.aws.functions.console.resource", role, {},
            log_group=self.logs.ref, timeout=120, description=(
                                                              "Puts the console's files where "
                                                              "they belong"
                                                              ),
        )  # fmt: skip
        resource = cdk.CfnCustomResource(
            self, "ConsoleFiles", service_token=function.attr_arn, service_timeout=150
        )
        config = {
            "url": "${Url}",
            "graphqlEndpoint": "/graphql",
            "oidc": {
                "authority": "${Issuer}",
                "clientId": "${Client}",
                "cliClientId": "${Client}",
                "cliPort": CLI_PORT,
                "scope": SCOPE if self.own_pool else f"{SCOPE} offline_access",
                "audience": "" if self.own_pool else "${oidcAudience}",
            },
        }
        told = self.sub(
            json.dumps(config),
            Url=self.site.address,
            Issuer=self._issuer(),
            Client=self._client_of_users(),
        )
        for name, value in (
            ("Bucket", self.site.bucket.ref),
            ("AssetBucket", self.asset_bucket.value_as_string),
            ("Archive", self.sub("${assetPrefix}/console.zip")),
            ("Digest", self.console_digest.value_as_string),
            ("Config", told),
            ("Rights", rights.ref),
        ):
            resource.add_property_override(name, value)

    def _client_of_users(self) -> str:
        """Return the client of the sign-in: for the console, and for the command line on a user's
        machine.
        """
        if not self.own_pool:
            return self.client.value_as_string
        here = self.site.address
        client = aws_cognito.CfnUserPoolClient(
            self,
            "SignInClient",
            user_pool_id=self.pool,
            generate_secret=False,
            allowed_o_auth_flows_user_pool_client=True,
            allowed_o_auth_flows=["code"],
            allowed_o_auth_scopes=SCOPE.split(),
            supported_identity_providers=["COGNITO"],
            callback_ur_ls=[
                self.sub("${Here}/auth/callback", Here=here),
                self.sub("${Here}/auth/silent", Here=here),
                f"http://127.0.0.1:{CLI_PORT}/callback",
            ],
            logout_ur_ls=[self.sub("${Here}/", Here=here)],
            explicit_auth_flows=["ALLOW_REFRESH_TOKEN_AUTH", "ALLOW_USER_SRP_AUTH"],
            prevent_user_existence_errors="ENABLED",
            enable_token_revocation=True,
        )
        client.add_resource_dependency(self.sign_in)
        return client.ref

    def _signs_in_at(self) -> list[str]:
        if not self.own_pool:
            return [
                self.sub(
                    "https://${Host}", Host=Fn.select(2, Fn.split("/", self.issuer.value_as_string))
                )
            ]
        pages = self.sub(
            "https://${Name}.auth.${AWS::Region}.amazoncognito.com", Name=self.sign_in.ref
        )
        return [self.sub("https://cognito-idp.${AWS::Region}.${AWS::URLSuffix}"), pages]

    def _outputs(self) -> None:
        told = {
            "Url": (self.site.address, "The console, and the hub's address for dth login"),
            "ApiUrl": (self.api.attr_graph_ql_url, "The GraphQL API"),
            "Workflow": (self.workflow.ref, "Brings tasks to where they should be"),
            "ServiceRole": (self.service_role.attr_arn, "Makes the stacks of tasks"),
            "JobRole": (
                self.job_role.attr_arn,
                "Role of preflights that buckets of other accounts must allow",
            ),
            "LogGroup": (self.logs.ref, "What the hub's functions say"),
        }
        if self.own_pool:
            told["UserPool"] = (self.pool, "Users of the hub")
        self.tell(told)


class OidcHubStack(HubStack):
    """The hub with users from an OpenID Connect issuer."""

    own_pool = False
