"""The image of tasks that copy images, built in the account by CodeBuild."""

import time
from typing import Any

from dth.infra.deploy import DeployedStack, DeploymentFailed, Say
from dth.infra.image import find_images
from dth.infra.publish import Published

STACK = "data-transfer-hub-image"
PAUSE = 5.0  # seconds between looks at a build


def build_images(session: Any, published: Published, say: Say) -> str:
    """Build the images of this version in the account, unless they exist.

    Returns their URI as templates take it. `session`: from boto3. Raises DeploymentFailed.
    """
    uri, there = find_images(session, published.version, say)
    if there:
        say(f"{uri} is there")
        return uri
    stack = DeployedStack(session.client("cloudformation"), STACK, say)
    stack.deploy(published.templates["image"], {})
    codebuild = session.client("codebuild")
    project = stack.outputs()["Project"]
    build = codebuild.start_build(projectName=project)["build"]["id"]
    say(f"building the image in the account: build {build}")
    _follow(codebuild, build, say)
    return uri


def _follow(codebuild: Any, build: str, say: Say) -> None:
    """Wait for the end of the build. Raises DeploymentFailed with the first reason."""
    phase = ""
    while True:
        found = codebuild.batch_get_builds(ids=[build])["builds"][0]
        if found.get("currentPhase", phase) != phase:
            phase = found["currentPhase"]
            say(f"{build}: {phase}")
        if found["buildStatus"] == "SUCCEEDED":
            return
        if found["buildStatus"] != "IN_PROGRESS":
            raise DeploymentFailed(f"build {build} is {found['buildStatus']}: {_reason(found)}")
        time.sleep(PAUSE)


def _reason(build: dict[str, Any]) -> str:
    reasons = [
        f"{phase['phaseType']}: {' '.join(context['message'].split())}"
        for phase in build.get("phases", [])
        for context in phase.get("contexts", [])
        if context.get("message")
    ]
    where = build.get("logs", {}).get("deepLink", "the log group of the project")
    return f"{reasons[0]}; its log: {where}" if reasons else f"its log says why: {where}"
