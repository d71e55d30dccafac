"""ECS on Fargate: a container is a process here, with the variables of its definition, the module
that our image starts with, and credentials of the task's role. What a container engine does
(pulling, a network, limits) is not done.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import ecs, stepfunctions

from tests.aws.emulator.patching import replace

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]
LOOK = 0.1  # seconds
STOP = 20.0  # seconds that a container may take to end
RUN_TASK = "arn:aws:states:::ecs:runTask"


def patch() -> None:
    if ecs._get_docker():
        raise ImportError("a docker engine would run the containers")
    replace(ecs, "_run_task", _with_processes)
    ecs._ACTION_MAP["RunTask"] = ecs._run_task
    replace(stepfunctions, "_poll_ecs_tasks", lambda _: _wait)
    replace(stepfunctions, "_invoke_ecs_run_task", _with_exit_codes)
    if RUN_TASK not in stepfunctions._SERVICE_DISPATCH:
        raise ImportError("this MiniStack's state machines run containers otherwise")
    stepfunctions._SERVICE_DISPATCH[RUN_TASK] = stepfunctions._invoke_ecs_run_task


def _with_processes(original: Callable[[dict[str, Any]], Any]) -> Callable[..., Any]:
    def run_task(data: dict[str, Any]) -> Any:
        status, headers, body = original(data)
        for task in json.loads(body).get("tasks", []) if status < 400 else ():
            record = ecs._tasks[task["taskArn"]]
            definition = ecs._task_defs[ecs._resolve_td_key(data["taskDefinition"])]
            scope = get_account_id(), get_region()
            threading.Thread(target=_run, args=(record, definition, scope), daemon=True).start()
        return status, headers, body

    return run_task


def _run(task: dict[str, Any], definition: dict[str, Any], scope: tuple[str, str]) -> None:
    [container] = definition["containerDefinitions"]
    url = f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}"
    sts = boto3.client(
        "sts",
        endpoint_url=url,
        region_name=scope[1],
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    role = sts.assume_role(RoleArn=definition["taskRoleArn"], RoleSessionName="container")[
        "Credentials"
    ]
    with tempfile.TemporaryDirectory(prefix="dth-container-") as home:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "TMPDIR": home,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
            **{each["name"]: each["value"] for each in container["environment"]},
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": role["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": role["SecretAccessKey"],
            "AWS_SESSION_TOKEN": role["SessionToken"],
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.aws.emulator.quick_copier"],
            env=environment,
            cwd=home,
            stdin=subprocess.DEVNULL,
        )
        while process.poll() is None and task["lastStatus"] != "STOPPED":
            time.sleep(LOOK)
        process.terminate()
        try:
            code = process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    with request_scope(*scope):
        reason = "Essential container in task exited"
        ecs._mark_task_stopped(
            task["taskArn"], task, reason, "EssentialContainerExited", exit_code=code
        )


def _wait(cluster: str, arns: list[str]) -> dict[str, Any]:
    """Until they have ended: state machines here are quicker than real ones, but containers are
    not."""
    while True:
        _, _, body = ecs._describe_tasks({"cluster": cluster, "tasks": arns})
        told: dict[str, Any] = json.loads(body)
        if all(each["lastStatus"] == "STOPPED" for each in told["tasks"]):
            return told
        time.sleep(LOOK)


def _with_exit_codes(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A container that fails is a task that failed, as Step Functions has it."""

    def run_task(resource: str, data: dict[str, Any]) -> dict[str, Any]:
        told = original(resource, data)
        if any(each.get("exitCode") for task in told["tasks"] for each in task["containers"]):
            raise stepfunctions._ExecutionError(
                "States.TaskFailed", json.dumps(told["tasks"], default=str)
            )
        return told

    return run_task
