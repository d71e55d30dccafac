"""`dth aws`: what runs on AWS, brought there and taken away."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from dth.cli.display import amount
from dth.cli.output import Output, output_format
from dth.core import no_answer
from dth.core.errors import NotFound, StateError, UsageError
from dth.hub.schedule import normalised
from dth.infra import MAX_HUB_NAME

TEMPLATES = ("s3", "ecr", "hub", "hub-oidc")
# What stacks are called when nobody says otherwise.
STACK_NAMES = {"s3": "transfer", "ecr": "images", "hub": "dth", "hub-oidc": "dth"}
# Keys of tags by which the hub recognizes what is its own.
RESERVED = ("aws:", "DataTransferHub")


@click.group()
def aws() -> None:
    """Deploy a hub, or tasks without one, to an AWS account.

    Credentials are those of the AWS command line: variables, profiles, single sign-on, instance
    roles.
    """


def _account(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which account and region."""
    for option in (
        click.option("--region", help="Region; that of the profile when not given."),
        click.option("--profile", help="Profile of the AWS configuration."),
    ):
        command = option(command)
    return command


_build = click.option(
    "--build",
    type=click.Choice(("auto", "here", "account")),
    default="auto",
    show_default=True,
    help="Where the image of ECR tasks is built: on this machine, which needs apt-get and skopeo, "
    "or in the account by CodeBuild. auto: here if it can be.",
)


def _of_stack(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what is deployed, and how."""
    for option in (
        click.option(
            "--bucket", default="", help="Asset bucket; the account's own when not given."
        ),
        click.option(
            "--parameter",
            "-p",
            "parameters",
            multiple=True,
            metavar="NAME=VALUE",
            help="A parameter of the template, such as srcBucket=photos. Others stay as they are.",
        ),
        click.option(
            "--tag",
            "tags",
            multiple=True,
            metavar="KEY=VALUE",
            help="A tag of everything that the stack makes, and a hub for its tasks.",
        ),
        _build,
        click.option(
            "--template",
            type=click.Choice(TEMPLATES),
            default="s3",
            show_default=True,
            help="What the stack is: a task for objects (s3) or images (ecr), or a hub, with a "
            "user pool of its own or an OpenID Connect issuer.",
        ),
        click.argument("stack"),
    ):
        command = option(command)
    return _account(command)


@aws.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
def synth(directory: Path) -> int:
    """Write the CloudFormation templates into DIRECTORY. They work in CloudFormation's console,
    too."""
    from dth.infra.app import synth as make

    directory.mkdir(parents=True, exist_ok=True)
    for file in make(directory).values():
        click.echo(file)
    return 0


@aws.command()
@click.option("--bucket", default="", help="Asset bucket; the account's own when not given.")
@click.option(
    "--image/--no-image",
    default=True,
    help="Also put the image of ECR tasks into the account's registry.",
)
@_build
@_account
def publish(bucket: str, image: bool, build: str, region: str | None, profile: str | None) -> int:
    """Put code, templates and the image of ECR tasks into the account, and print where they are,
    with links that create stacks in CloudFormation's console."""
    from dth.infra.links import quick_create
    from dth.infra.publish import publish as put

    with _told():
        session = _session(region, profile)
        published = put(session, bucket, _say)
        for name, template in published.templates.items():
            click.echo(f"{name}: {template.url}")
        given = {"taskImage": _image(session, published, build)} if image else {}
        if image:
            click.echo(f"taskImage: {given['taskImage']}")
        partition = session.get_partition_for_region(session.region_name)
        for name, template in published.templates.items():
            filled = {each: value for each, value in given.items() if each in template.parameters}
            stack = STACK_NAMES.get(name, name)
            link = quick_create(partition, session.region_name, template.url, stack, filled)
            click.echo(f"create {name}: {link}")
    return 0


@aws.command()
@_of_stack
def deploy(
    stack: str,
    template: str,
    parameters: tuple[str, ...],
    tags: tuple[str, ...],
    build: str,
    bucket: str,
    region: str | None,
    profile: str | None,
) -> int:
    """Create STACK, or bring it up to date, with this version's code."""
    given, tagged = _given(parameters), _tags(tags)
    with _told():
        session = _session(region, profile)
        there, made = _prepared(session, stack, template, given, tagged, build, bucket)
        if not there.deploy(made, given, tagged):
            click.echo(f"{stack}: nothing to change")
        for name, value in there.outputs().items():
            click.echo(f"{name}: {value}")
    return 0


@aws.command()
@_of_stack
def diff(
    stack: str,
    template: str,
    parameters: tuple[str, ...],
    tags: tuple[str, ...],
    build: str,
    bucket: str,
    region: str | None,
    profile: str | None,
) -> int:
    """Show what deploying would change in STACK."""
    given, tagged = _given(parameters), _tags(tags)
    with _told():
        session = _session(region, profile)
        there, made = _prepared(session, stack, template, given, tagged, build, bucket)
        changes = there.difference(made, given, tagged)
    for change in changes:
        click.echo(
            f"{change.action:<8} {change.name} ({change.type})"
            + (": replaced" if change.replaced else "")
        )
    if not changes:
        click.echo(f"{stack}: nothing to change")
    return 0


@aws.command()
@click.argument("stack")
@output_format
@_account
def status(stack: str, output: Output, region: str | None, profile: str | None) -> int:
    """Show the state of the task of STACK. Exit code 1 if something failed, or it is paused."""
    with _told():
        session = _session(region, profile)
        found = _invoke(session, _output(session, stack, "TickFunction"), {})
    if not output.for_people:
        output.print(found)
        return _code(found)
    return _show(stack, found)


@aws.command()
@click.argument("stack")
@_account
def run(stack: str, region: str | None, profile: str | None) -> int:
    """Let the task of STACK compare and copy now. A paused task resumes."""
    goes_on = {"resume": True}
    with _told():
        session = _session(region, profile)
        if start := _output(session, stack, "StartFunction", needed=False):
            return _show(stack, _invoke(session, start, goes_on))
        machine = _output(session, stack, "StateMachine")
        session.client("stepfunctions").start_execution(
            stateMachineArn=machine, input=json.dumps(goes_on)
        )
    click.echo(f"{stack}: a run begins; dth aws status {stack} shows its progress")
    return 0


def _output(session: Any, stack: str, name: str, *, needed: bool = True) -> str:
    """What the stack tells by that name; "" when it does not."""
    from dth.infra.deploy import DeployedStack

    outputs = DeployedStack(session.client("cloudformation"), stack, _say).outputs()
    if name not in outputs and (needed or "TickFunction" not in outputs):
        raise NotFound(f"there is no stack {stack!r} of Data Transfer Hub here")
    return outputs.get(name, "")


def _invoke(session: Any, name: str, event: dict[str, Any]) -> dict[str, Any]:
    """What a function answers."""
    answer = session.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event))
    said: dict[str, Any] = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        raise StateError(f"{name} failed: {' '.join(str(said.get('errorMessage', said)).split())}")
    return said


def _show(stack: str, found: dict[str, Any]) -> int:
    run = found["run"]
    if not run:
        click.echo(f"{stack}: no run has begun")
        return 0
    things = "images" if "next" in found else "objects"
    ended = run["done"] + run["failed"] + run["cancelled"]
    click.echo(
        f"{stack}: run {run['id']} {run['state']}" + (f": {run['error']}" if run["error"] else "")
    )
    click.echo(
        f"{run['listed']} {things} listed, {run['same']} the same, {ended} of {run['enqueued']} "
        f"settled, {run['failed']} failed, {amount(run['done_bytes'])} copied; "
        f"{found['waiting'] + found['inFlight']} messages in the queue"
    )
    if found["paused"]:
        click.echo(f"paused: {found['paused']} (resume: dth aws run {stack})")
    return _code(found)


def _code(found: dict[str, Any]) -> int:
    """The exit code for how a task stands."""
    run = found["run"]
    return 1 if run and (found["paused"] or run["failed"] or run["error"]) else 0


@aws.command()
@click.argument("stack")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_account
def destroy(stack: str, yes: bool, region: str | None, profile: str | None) -> int:
    """Delete STACK: what it made, with the records of the task.

    What was copied stays, and so do the asset bucket and the tables and users of a hub.
    """
    from dth.infra.deploy import DeployedStack

    with _told():
        there = DeployedStack(_session(region, profile).client("cloudformation"), stack, _say)
        is_hub = "ServiceRole" in there.outputs()
        if is_hub and (tasks := there.beginning_with(f"{stack}-s3-", f"{stack}-ecr-")):
            raise UsageError(
                f"{stack} is a hub, and its tasks have stacks still, which nothing could delete "
                "without it: stop them first "
                f"({', '.join(tasks[:3])}{' and others' if len(tasks) > 3 else ''})"
            )
        if there.status() and not yes:
            click.confirm(
                f"Delete stack {stack} with the records of its task?", abort=True, err=True
            )
        there.delete()
    click.echo(f"{stack}: deleted")
    return 0


@aws.command()
@click.option(
    "--parameter",
    "-p",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the hub, such as adminEmail=you@example.org, which is required.",
)
@click.option("--bucket", default="", help="Asset bucket; the account's own when not given.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_build
@_account
def smoke(
    parameters: tuple[str, ...],
    bucket: str,
    yes: bool,
    build: str,
    region: str | None,
    profile: str | None,
) -> int:
    """Try everything in an account: make two buckets and a hub, let it copy objects and an image,
    check them, and remove all of it again. Takes about half an hour and costs less than 1 USD.

    Exit code 1 if something did not work, or could not be removed. The asset bucket, the repository
    of the image and the stack that builds it stay, as they do after a deployment.
    """
    from dth.compose.aws.network import check_network
    from dth.infra.publish import publish as put
    from dth.infra.smoke import Smoke, report

    given = _given(parameters)
    if "adminEmail" not in given:
        raise UsageError("give the address for the hub's invitation: -p adminEmail=you@example.org")
    with _told():
        session = _session(region, profile)
        check_network(session, "hub", given)
        if not yes:
            click.confirm(
                f"Make a hub, machines and buckets in {session.region_name}, and remove them?",
                abort=True, err=True,
            )  # fmt: skip
        published = put(session, bucket, _say)
        if "taskImage" not in given:
            given["taskImage"] = _image(session, published, build)
        tried = Smoke(session, published, _say, given)
        worked = tried.run()
        click.echo(report(tried.name, session.region_name, tried.steps))
    return 0 if worked else 1


def _prepared(
    session: Any,
    stack: str,
    template: str,
    given: dict[str, str],
    tags: dict[str, str],
    build: str,
    bucket: str,
) -> tuple[Any, Any]:
    """The stack, and its template, published. What the template needs besides is added to what is
    given."""
    if template.startswith("hub") and len(stack) > MAX_HUB_NAME:
        raise UsageError(
            f"{stack!r} is too long for a hub, after which its tasks' stacks are called: "
            f"{MAX_HUB_NAME} characters are the most"
        )
    from dth.compose.aws.network import check_network
    from dth.infra.deploy import DeployedStack
    from dth.infra.publish import publish as put

    check_network(session, template, given)
    published = put(session, bucket, _say)
    made = published.templates[template]
    if "taskImage" in made.parameters and "taskImage" not in given:
        given["taskImage"] = _image(session, published, build)
    if tags and "taskTags" in made.parameters:
        given.setdefault("taskTags", json.dumps(tags))
    return DeployedStack(session.client("cloudformation"), stack, _say), made


def _image(session: Any, published: Any, build: str) -> str:
    """The image of tasks that copy images, as templates take it."""
    from dth.infra.account_image import build_images
    from dth.infra.image import missing_tools, publish_images

    if build == "account" or (build == "auto" and missing_tools()):
        return build_images(session, published, _say)
    return publish_images(session, published.version, _say)


def _tags(tags: tuple[str, ...]) -> dict[str, str]:
    given = {}
    for each in tags:
        key, found, value = each.partition("=")
        if not found or not key:
            raise UsageError(f"--tag {each!r}: write KEY=VALUE, such as CostCenter=42")
        if key.startswith(RESERVED):
            raise UsageError(
                f"--tag {each!r}: keys that begin with {' or '.join(RESERVED)} are taken"
            )
        given[key] = value
    return given


def _given(parameters: tuple[str, ...]) -> dict[str, str]:
    given = {}
    for each in parameters:
        name, found, value = each.partition("=")
        if not found or not name.isalnum():
            raise UsageError(f"--parameter {each!r}: write NAME=VALUE, such as srcBucket=photos")
        given[name] = value
    return normalised(given)


def _session(region: str | None, profile: str | None) -> Any:
    try:
        import boto3
        import botocore.exceptions
    except ImportError:
        raise UsageError(
            "deploying needs boto3 and the AWS CDK: pip install 'data-transfer-hub[aws]'"
        ) from None
    try:
        # boto3 itself does not look at AWS_REGION, as everything else does.
        session = boto3.Session(
            profile_name=profile, region_name=region or os.environ.get("AWS_REGION")
        )
    except botocore.exceptions.ProfileNotFound:
        raise UsageError(f"there is no profile {profile!r} in the AWS configuration") from None
    if not session.region_name:
        raise UsageError("no region: give one with --region, or set AWS_REGION")
    return session


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What AWS refuses, and what it cannot be asked, in one line."""
    try:
        import botocore.exceptions
    except ImportError:
        yield
        return
    try:
        yield
    except botocore.exceptions.NoCredentialsError:
        raise UsageError(
            "no AWS credentials: set AWS_PROFILE or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or sign in with aws sso login"
        ) from None
    except botocore.exceptions.ClientError as error:
        said = error.response.get("Error", {})
        code = said.get("Code", "")
        message = f"{error.operation_name} was refused: {code}: {said.get('Message', '')}".strip(
            ": "
        )
        if code.startswith("ExpiredToken"):
            message += "; sign in again"
        raise StateError(" ".join(message.split())) from None
    except botocore.exceptions.InvalidRegionError as error:
        raise UsageError(
            f"there is no region {error.kwargs['region_name']!r}; give one such as eu-west-1 with "
            "--region, or set AWS_REGION"
        ) from None
    except botocore.exceptions.BotoCoreError as error:
        said = " ".join(str(error).split())
        url = str(error.kwargs.get("endpoint_url") or "")
        if url and (why := no_answer.meaning(said.replace(url, ""), url)):
            said = f"{why}; see that it can be reached from here, and that --region is right"
        raise StateError(f"AWS cannot be asked: {said}") from None


def _say(line: str) -> None:
    click.echo(line, err=True)
