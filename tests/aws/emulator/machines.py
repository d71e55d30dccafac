"""A stand-in for EC2 Auto Scaling, which the emulator does not carry out: the machines that each
group has.

A machine is a process here. From the launch template that was deployed it takes the environment
which the start script exports, and the agent that the script starts; its credentials are those of
the instance profile's role, from a metadata service of its own (IMDSv2), which also tells it when
it is to go. What a start script does to a real machine (packages, the bundle, systemd) is not done.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from tests.servers.ministack import MiniStack

ROOT = Path(__file__).parents[3]
PERIOD = 0.3  # seconds between looks
DRAIN = 60.0  # seconds that a machine may take to go
LIFE = 3600  # seconds of a role's credentials


class Metadata:
    """The metadata service of one machine, version 2 only."""

    def __init__(self, instance: str, credentials: dict[str, str]) -> None:
        self.paths = {
            "instance-id": instance,
            "autoscaling/target-lifecycle-state": "InService",
            "iam/security-credentials/": "role",
            "iam/security-credentials/role": json.dumps(credentials),
        }
        paths, tokens = self.paths, set[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                token = f"token-{len(tokens)}"
                tokens.add(token)
                self._answer(200, token)

            def do_GET(self) -> None:
                if self.headers.get("x-aws-ec2-metadata-token") not in tokens:
                    self._answer(401, "")
                    return
                found = paths.get(self.path.partition("/latest/meta-data/")[2])
                self._answer(404 if found is None else 200, found or "")

            def _answer(self, status: int, text: str) -> None:
                body = text.encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Machine:
    instance: str
    group: str
    process: subprocess.Popen[bytes]
    metadata: Metadata
    home: tempfile.TemporaryDirectory[str]
    going_since: float = 0.0

    def let_go(self) -> None:
        """What its group does when it shrinks: the machine is told, and has until its hook's time
        is over."""
        if not self.going_since:
            self.going_since = time.monotonic()
            self.metadata.paths["autoscaling/target-lifecycle-state"] = "Terminated"
        elif time.monotonic() - self.going_since > DRAIN:
            self.kill()

    def kill(self) -> None:
        """Pull the plug: the agent and all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        self.kill()
        self.metadata.close()
        self.home.cleanup()


@dataclass
class Machines:
    """The machines of all groups. `log` has what they wrote to standard output and error."""

    cloud: MiniStack
    log: Path
    frozen: bool = False  # nothing is started or ended meanwhile
    dead: bool = False  # machines are started, and nothing of ours comes up on them
    machines: list[Machine] = field(default_factory=list)
    started: list[tuple[str, str]] = field(default_factory=list)  # (group, kind) of all there were
    _end: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        for machine in self.machines:
            machine.close()

    def of(self, group: str) -> list[Machine]:
        with self._lock:
            return [each for each in self.machines if each.group == group and not each.going_since]

    def _run(self) -> None:
        while not self._end.wait(PERIOD):
            if not self.frozen:
                with self._lock:
                    self._look()

    def _look(self) -> None:
        autoscaling = self.cloud.boto("autoscaling")
        groups = autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
        wanted = {each["InstanceId"]: group for group in groups for each in group["Instances"]}
        for machine in list(self.machines):
            if machine.process.poll() is not None:
                if machine.instance in wanted:  # its group replaces it
                    del wanted[machine.instance]
                    autoscaling.terminate_instance_in_auto_scaling_group(
                        InstanceId=machine.instance, ShouldDecrementDesiredCapacity=False
                    )
                machine.close()
                self.machines.remove(machine)
            elif machine.instance not in wanted:
                machine.let_go()
        running = {machine.instance for machine in self.machines}
        for instance, group in wanted.items():
            if not self.dead and instance not in running:
                self.machines.append(self._start(group, instance))

    def _start(self, group: dict[str, Any], instance: str) -> Machine:
        ec2, iam, sts = (self.cloud.boto(name) for name in ("ec2", "iam", "sts"))
        launch = group["LaunchTemplate"]
        data = ec2.describe_launch_template_versions(
            LaunchTemplateId=launch["LaunchTemplateId"], Versions=[launch["Version"]]
        )["LaunchTemplateVersions"][0]["LaunchTemplateData"]
        assert data["MetadataOptions"]["HttpTokens"] == "required"
        profile = data["IamInstanceProfile"]["Arn"].rpartition("/")[2]
        role = iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]["Roles"][0][
            "Arn"
        ]
        keys = sts.assume_role(RoleArn=role, RoleSessionName=instance, DurationSeconds=LIFE)[
            "Credentials"
        ]
        metadata = Metadata(
            instance,
            {
                "Code": "Success",
                "AccessKeyId": keys["AccessKeyId"],
                "SecretAccessKey": keys["SecretAccessKey"],
                "Token": keys["SessionToken"],
                "Expiration": keys["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
        )
        exports, agent = read_script(base64.b64decode(data["UserData"]).decode())
        assert agent[:2] == ["-m", "dth.compose.aws.agent"]
        home = tempfile.TemporaryDirectory(prefix="dth-machine-")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": home.name,
            **exports,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
            "TMPDIR": home.name,
            "AWS_ENDPOINT_URL": self.cloud.url,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
        }
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.aws.emulator.quick", agent[-1]],
                env=environment,
                cwd=home.name,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started.append((group["AutoScalingGroupName"], agent[-1]))
        return Machine(instance, group["AutoScalingGroupName"], process, metadata, home)


def read_script(script: str) -> tuple[dict[str, str], list[str]]:
    """What a start script exports, and the arguments of the Python that it lets systemd start."""
    exports = {}
    for line in script.splitlines():
        if found := re.match(r"export (\w+)=(.*)", line):
            exports[found[1]] = shlex.split(found[2])[0] if found[2] else ""
    [command] = re.findall(r"^ExecStart=/usr/bin/python[\d.]+ (.+)$", script, re.MULTILINE)
    return exports, command.split()
