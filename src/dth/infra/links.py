"""Links into CloudFormation's console, which create a stack without any tool."""

from collections.abc import Mapping
from urllib.parse import urlencode

from dth.core.errors import UsageError

# Hosts of the console by partition. Other partitions have no public console.
CONSOLES = {
    "aws": "{region}.console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}


def quick_create(
    partition: str, region: str, template: str, stack: str, parameters: Mapping[str, str]
) -> str:
    """Return the address of the page that creates `stack` from the template at that URL.

    The page shows all parameters; `parameters` are filled in. Raises UsageError for a partition
    whose console is not known.
    """
    if partition not in CONSOLES:
        raise UsageError(f"no address of a console is known in the partition {partition!r}")
    host = CONSOLES[partition].format(region=region)
    asked = {"templateURL": template, "stackName": stack}
    asked |= {f"param_{name}": value for name, value in parameters.items()}
    return (
        f"https://{host}/cloudformation/home?region={region}#/stacks/create/review?"
        f"{urlencode(asked)}"
    )
