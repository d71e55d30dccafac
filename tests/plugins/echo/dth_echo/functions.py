"""The functions of a task that says lines, on AWS."""

import asyncio
from collections.abc import Mapping
from typing import Any

from dth.compose.aws.functions.custom import answer
from dth.core.ports.runs import RunKind, RunState
from dth.hub.parameters import read_parameters as as_model
from dth.platforms.aws.parameters import read_parameters, write_parameters
from dth.platforms.aws.platform import AwsNames, open_platform
from dth_echo.plugin import PLUGIN
from dth_echo.processes import find, say


def say_all(event: dict[str, Any], context: Any) -> None:
    """One run. {"plan": false}: only what is in the queue already, such as lines that are tried
    again."""
    asyncio.run(_say_all(event.get("plan") is not False, context.aws_request_id))


async def _say_all(lists: bool, request: str) -> None:
    async with open_platform(AwsNames.from_environment(), f"lambda-{request}") as platform:
        parameters = as_model(*await read_parameters(platform.dynamo))
        if lists:
            run, _ = await platform.records.begin_run(RunKind.SYNC, beside=True)
            await find(platform, run.id, parameters)
        while taken := await platform.queue.receive(10, 30.0, 1.0):
            await say(platform, parameters.voice, taken)
        for run in await platform.records.list_runs():
            if run.is_settled:
                await platform.records.set_run(run.id, RunState.DONE)


def set_up(event: dict[str, Any], context: Any) -> None:
    """A custom resource. Creating it begins the first run."""
    given = event["ResourceProperties"]
    answer(
        event,
        context,
        lambda: asyncio.run(_set_up(event["RequestType"], given, context.aws_request_id)),
    )


async def _set_up(kind: str, given: Mapping[str, Any], request: str) -> None:
    async with open_platform(AwsNames.from_environment(), f"lambda-{request}") as platform:
        if kind != "Delete" and "Parameters" in given:  # there is no hub that writes them
            await write_parameters(platform.dynamo, PLUGIN.type, given["Parameters"])
        if kind == "Create":
            machine = given["StateMachine"]
            await platform.aws.call(
                "stepfunctions", "start_execution", stateMachineArn=machine, input="{}"
            )
