"""The template of a task that says lines: each run is an execution of a state machine with one
state, which says all lines.
"""

import json

from aws_cdk import aws_stepfunctions
from constructs import Construct

from dth.infra.statements import allow
from dth.infra.task_stack import DELIVER_LOGS, LAMBDA_RETRY, TaskStack
from dth_echo.plugin import PLUGIN, EchoParameters

LONGEST = 900  # seconds, the most for a function
SETUP = 60


class EchoStack(TaskStack):
    """The echo plugin."""

    def __init__(self, scope: Construct, name: str) -> None:
        super().__init__(scope, name, "Data Transfer Hub: one task that says lines")
        self.declare(PLUGIN.type, EchoParameters, {})
        self.remember("objects", "state")
        self.queues()
        self.queue_policies()
        self.say_role = self.role("SayRole", "lambda.amazonaws.com", [], "Says the lines of a task")
        self.setup_role = self.role("SetupRole", "lambda.amazonaws.com", [], "Sets a task up")
        self.grants = self.task_rights([self.say_role, self.setup_role])
        self._controller()
        self._set_up()
        self.tell(
            {
                "QueueUrl": (self.queue.attr_queue_url, "Lines to say"),
                "DeadLetterUrl": (self.dead.attr_queue_url, "Lines that stopped the function"),
                "StateMachine": (self.controller.ref, "Runs: one execution each"),
            }
        )
        self.finish()

    def _controller(self) -> None:
        say = self.function(
            "Say", "dth_echo.functions.say_all", self.say_role, self.variables(),
            log_group=self.logs, timeout=LONGEST, description="Says all lines of a run",
        )  # fmt: skip
        runs = [allow(["lambda:InvokeFunction"], say.attr_arn), allow(DELIVER_LOGS, "*")]
        definition = {
            "StartAt": "Say",
            "States": {
                "Say": {
                    "Type": "Task",
                    "Resource": "arn:${AWS::Partition}:states:::lambda:invoke",
                    "Parameters": {"FunctionName": "${Say}", "Payload.$": "$"},
                    "Retry": [LAMBDA_RETRY],
                    "End": True,
                }
            },
        }
        self.controller = aws_stepfunctions.CfnStateMachine(
            self,
            "Controller",
            state_machine_name=self.machine_name,
            role_arn=self.role(
                "ControllerRole", "states.amazonaws.com", runs, "The state machine of a task"
            ).attr_arn,
            definition_string=self.sub(json.dumps(definition), Say=say.attr_arn),
            logging_configuration=self.logged(self.logs, "ALL"),
        )

    def _set_up(self) -> None:
        starts = allow(["states:StartExecution"], self.controller.ref)
        self.grants.append(self.grant("SetupRights", [self.setup_role], [starts]))
        function = self.function(
            "Setup", "dth_echo.functions.set_up", self.setup_role, self.variables(),
            log_group=self.logs, timeout=SETUP, description="Sets a task up",
        )  # fmt: skip
        resource = self.setup(function, SETUP, {"StateMachine": self.controller.ref})
        self.after_grants(resource, self.grants)
