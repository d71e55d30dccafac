"""A CDK construct with a hub or a task of Data Transfer Hub, as a part of a stack of yours.

The resources are those of the template, under the same logical names. The name of a hub's stack has
at most 19 characters, because the stacks of its tasks are named after it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import cloudformation_include
from constructs import Construct

MAX_HUB_NAME = 19


class DataTransferHub(Construct):
    """`template`: a file that was downloaded from the address which `dth aws publish` prints; its
    parameters then say where the code is. `parameters`: the template's, by name.
    """

    def __init__(
        self, scope: Construct, id: str, *, template: Path, parameters: Mapping[str, Any]
    ) -> None:
        super().__init__(scope, id)
        stack = cdk.Stack.of(self)
        is_hub = template.stem.startswith("hub")
        if is_hub and len(stack.stack_name) > MAX_HUB_NAME:
            raise ValueError(f"the name of a hub's stack has at most {MAX_HUB_NAME} characters")
        self.included = cloudformation_include.CfnInclude(
            self, "Template", template_file=str(template), parameters=dict(parameters)
        )

    def output(self, name: str) -> str:
        """Return the value of an output of the template, such as "Url"."""
        value: str = self.included.get_output(name).value
        return value
