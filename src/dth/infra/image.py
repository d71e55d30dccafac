"""Builds the image of the task that copies images, without a Docker engine, and publishes it in
the account's own registry.

It contains Debian's Python and skopeo (`debian`), and our package with its dependencies. Without
apt, the Dockerfile next to this file builds an equivalent image. The same packages give the same
bytes.
"""

import base64
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dth.core.errors import StateError
from dth.images.registry.address import RegistryAddress
from dth.images.registry.login import UserPassword
from dth.images.registry.reference import parse
from dth.images.skopeo import command as skopeo
from dth.infra.base import CODE, make_base
from dth.infra.bundle import copy_packages, write_tar
from dth.infra.debian import USER
from dth.infra.oci import ARCHITECTURES, LayerCache, Layout

REPOSITORY = "data-transfer-hub"
CONFIG: dict[str, Any] = {
    "User": f"{USER}:{USER}",
    "Env": [
        "PATH=/usr/bin",
        f"PYTHONPATH=/{CODE}",
        "PYTHONDONTWRITEBYTECODE=1",
        "PYTHONUNBUFFERED=1",
        "HOME=/tmp",
    ],
    "WorkingDir": "/tmp",
    "Entrypoint": ["python3", "-m", "dth.compose.aws.copy_images"],
}

Say = Callable[[str], None]


def make_image(machine: str, layout: Path, say: Say, layers: Path | None = None) -> None:
    """Write the image for a processor, "aarch64" or "x86_64", into the directory, as an OCI layout.

    `layers`: where layers that were made before are kept. Raises StateError if packages are not
    available.
    """
    with tempfile.TemporaryDirectory(prefix="dth-image-") as name:
        scratch = Path(name)
        work = scratch / "work"
        work.mkdir()
        scratch.chmod(0o755)
        say("taking the packages of Debian and Python")
        base = make_base(machine, LayerCache(layers or scratch / "layers"), work)
        say(f"packing the code for Python {base.system.python}")
        tree, code = scratch / "tree", scratch / "code"
        copy_packages(tree)
        write_tar(tree, code, f"{CODE}/")
        out = Layout(layout)
        out.finish(out.image(machine, CONFIG, [*base.layers, code]))


def publish_images(session: Any, version: str, say: Say) -> str:
    """Publish the image for each processor in the account's own registry.

    Returns their URI as the template takes it: without the processor at the end of the tags.
    """
    uris = [
        publish_image(session, machine, f"{version}-{name}", say)
        for machine, name in ARCHITECTURES.items()
    ]
    return uris[0].removesuffix(f"-{next(iter(ARCHITECTURES.values()))}")


def _need_tools() -> None:
    """Raises StateError if an image cannot be built and pushed here."""
    if missing := [tool for tool in ("apt-get", "skopeo") if not shutil.which(tool)]:
        raise StateError(
            "the image of tasks that copy images is made with apt-get and skopeo, and "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not here: deploy "
            "with -p taskImage=URI of an image made elsewhere (by dth aws publish, or from the "
            "Dockerfile in dth/infra); a hub takes -p taskImage= for none"
        )


def publish_image(session: Any, machine: str, tag: str, say: Say) -> str:
    """Build and push the image for a processor to the account's own registry, unless it exists.

    Returns its URI. `session`: from boto3. Raises StateError, and TransferError if the registry
    refuses the image.
    """
    ecr = session.client("ecr")
    repository = _repository(ecr, say)
    if _is_there(ecr, tag):
        say(f"{repository}:{tag} is there")
    else:
        _need_tools()
        with tempfile.TemporaryDirectory(prefix="dth-layout-") as layout:
            make_image(machine, Path(layout), say)
            say(f"{repository}:{tag}")
            granted = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
            user, _, password = base64.b64decode(granted).decode().partition(":")
            image = parse(f"{repository}:{tag}")
            authorities = session._session.get_config_variable("ca_bundle") or ""
            address = RegistryAddress(image.registry, ca_bundle=authorities)
            skopeo.push(Path(layout), skopeo.CopyEnd(image, address, UserPassword(user, password)))
    return f"{repository}:{tag}"


def _repository(ecr: Any, say: Say) -> str:
    """Return the URI of the account's repository. Creates it if it does not exist."""
    import botocore.exceptions

    try:
        found = ecr.describe_repositories(repositoryNames=[REPOSITORY])["repositories"][0]
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "RepositoryNotFoundException":
            raise
        say(f"making repository {REPOSITORY}")
        found = ecr.create_repository(
            repositoryName=REPOSITORY,
            imageTagMutability="IMMUTABLE",
            imageScanningConfiguration={"scanOnPush": True},
        )["repository"]
    uri: str = found["repositoryUri"]
    return uri


def _is_there(ecr: Any, tag: str) -> bool:
    import botocore.exceptions

    try:
        found = ecr.describe_images(repositoryName=REPOSITORY, imageIds=[{"imageTag": tag}])
        return bool(found["imageDetails"])
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "ImageNotFoundException":
            raise
        return False
