"""The template that builds the image of tasks that copy images in the account itself, for machines
without apt-get and skopeo: one CodeBuild project, whose build starts when somebody asks for it.

The build runs in Debian's own image without privileges and without Docker. It takes the code that
was published, refuses any other by its digest, and may do nothing but push to one repository.
"""

import json

import aws_cdk as cdk
from aws_cdk import Fn, aws_codebuild
from constructs import Construct

from dth.infra.image import REPOSITORY
from dth.infra.image_build import PACKAGES, build_commands
from dth.infra.statements import BUNDLES, allow
from dth.infra.task_rights import WRITE_IMAGES
from dth.infra.template import DEPLOYMENT, Template

# Its Python is the one that the published code is for.
BASE = "public.ecr.aws/docker/library/debian:trixie-slim"
TIMEOUT = 30  # minutes


class ImageStack(Template):
    """The project. Its repository is not part of it: images outlive the stack."""

    has_functions = False

    def __init__(self, scope: Construct, name: str) -> None:
        super().__init__(
            scope, name, "Data Transfer Hub: builds the image of tasks that copy images"
        )
        base = self.parameter(
            "baseImage", "Base image", DEPLOYMENT,
            "Image with Debian in which the build runs; a copy of it where that is not reached, "
            "as in China.", default=BASE, pattern=r"[a-z0-9.-]+(:\d+)?/[\w./:@-]+",
        )  # fmt: skip
        self.bundles()
        self.logs = self.log_group("Logs")
        self.logs.apply_removal_policy(cdk.RemovalPolicy.DESTROY)
        source = self.sub("arn:${AWS::Partition}:s3:::${assetBucket}")
        repository = self.arn("ecr", f"repository/{REPOSITORY}")
        role = self.role(
            "BuildRole",
            "codebuild.amazonaws.com",
            [
                allow(["s3:GetBucketLocation", "s3:ListBucket"], source),
                allow(
                    ["s3:GetObject", "s3:GetObjectVersion"],
                    self.sub("arn:${AWS::Partition}:s3:::${assetBucket}/${assetPrefix}/*"),
                ),
                allow(["ecr:GetAuthorizationToken"], "*"),  # it has no resource
                allow(
                    [
                        *WRITE_IMAGES,
                        "ecr:BatchCheckLayerAvailability",
                        "ecr:DescribeImages",
                        "ecr:DescribeRepositories",
                    ],
                    repository,
                ),
                self.write_logs(self.logs.ref),
            ],
            "Builds and pushes the image of tasks that copy images",
        )
        self.grant_key("KeyRights", [role])
        version = Fn.select(1, Fn.split("/", self.asset_prefix.value_as_string))
        commands = {
            "version": 0.2,
            "phases": {
                "install": {
                    "commands": [
                        "apt-get -qq update",
                        f"apt-get -qq install -y --no-install-recommends {PACKAGES}",
                    ]
                },
                # One command: each other one would be a shell of its own.
                "build": {"commands": ["\n".join(build_commands())]},
            },
        }
        variables = {"VERSION": version, **{name: Fn.ref(name) for name in BUNDLES.values()}}
        self.project = aws_codebuild.CfnProject(
            self,
            "Project",
            description="Builds the image of tasks that copy images",
            service_role=role.attr_arn,
            artifacts=aws_codebuild.CfnProject.ArtifactsProperty(type="NO_ARTIFACTS"),
            source=aws_codebuild.CfnProject.SourceProperty(
                type="S3",
                location=self.sub("${assetBucket}/${assetPrefix}/"),
                build_spec=json.dumps(commands),
            ),
            environment=aws_codebuild.CfnProject.EnvironmentProperty(
                type="LINUX_CONTAINER",
                compute_type="BUILD_GENERAL1_SMALL",
                image=base.value_as_string,
                # CodeBuild takes its own images only otherwise.
                image_pull_credentials_type="SERVICE_ROLE",
                privileged_mode=False,
                environment_variables=[
                    aws_codebuild.CfnProject.EnvironmentVariableProperty(name=name, value=value)
                    for name, value in variables.items()
                ],
            ),
            encryption_key=self.when(self.is_given(self.kms_key), self.kms_key.value_as_string),
            timeout_in_minutes=TIMEOUT,
            logs_config=aws_codebuild.CfnProject.LogsConfigProperty(
                cloud_watch_logs=aws_codebuild.CfnProject.CloudWatchLogsConfigProperty(
                    status="ENABLED", group_name=self.logs.ref
                )
            ),
        )
        image = self.sub(
            f"${{AWS::AccountId}}.dkr.ecr.${{AWS::Region}}.${{AWS::URLSuffix}}/{REPOSITORY}:${{Tag}}",
            Tag=version,
        )
        self.tell(
            {
                "Project": (self.project.ref, "The project; start a build of it"),
                "TaskImage": (image, "What a build of this version makes, for taskImage"),
                "LogGroup": (self.logs.ref, "What builds say"),
            }
        )
        self.finish()
