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
from dth.infra.base import CODE, make_base, make_system
from dth.infra.bundle import Target, copy_packages, write_tar
from dth.infra.debian import USER
from dth.infra.oci import ARCHITECTURES, LayerCache, Layout

REPOSITORY = "data-transfer-hub"
TOOLS = ("apt-get", "skopeo")
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
# Puts our code for a platform, with all that it needs, into a directory.
Code = Callable[[Target, Path], None]


def make_image(
    machine: str,
    layout: Path,
    say: Say,
    layers: Path | None = None,
    code: Code | None = None,
) -> None:
    """Write the image for a processor, "aarch64" or "x86_64", into the directory, as an OCI layout.

    `layers`: where layers that were made before are kept. `code` puts our code with what it needs
    into a directory, instead of a layer of dependencies and our packages. Raises StateError if
    packages are not available.
    """
    with tempfile.TemporaryDirectory(prefix="dth-image-") as name:
        scratch = Path(name)
        work = scratch / "work"
        work.mkdir()
        scratch.chmod(0o755)
        say("taking the packages of Debian and Python")
        cache = LayerCache(layers or scratch / "layers")
        tree, packed = scratch / "tree", scratch / "code"
        if code:
            system, packages = make_system(machine, cache, work)
            below = [packages]
        else:
            base = make_base(machine, cache, work)
            system, below = base.system, base.layers
        say(f"packing the code for Python {system.python}")
        if code:
            code(Target(machine, system.python), tree)
        else:
            copy_packages(tree)
        write_tar(tree, packed, f"{CODE}/")
        out = Layout(layout)
        out.finish(out.image(machine, CONFIG, [*below, packed]))


def publish_images(session: Any, version: str, say: Say, code: Code | None = None) -> str:
    """Publish the image for each processor in the account's own registry.

    Returns their URI as the template takes it: without the processor at the end of the tags.
    """
    uris = [
        publish_image(session, machine, f"{version}-{name}", say, code)
        for machine, name in ARCHITECTURES.items()
    ]
    return uris[0].removesuffix(f"-{next(iter(ARCHITECTURES.values()))}")


def find_images(session: Any, version: str, say: Say) -> tuple[str, bool]:
    """Return the URI that `publish_images` would return, and whether all images are there.

    Creates the repository if it does not exist.
    """
    ecr = session.client("ecr")
    repository = _repository(ecr, say)
    there = all(_is_there(ecr, f"{version}-{name}") for name in ARCHITECTURES.values())
    return f"{repository}:{version}", there


def missing_tools() -> list[str]:
    """Return what an image is built and pushed with and is not on this machine."""
    return [tool for tool in TOOLS if not shutil.which(tool)]


def _need_tools() -> None:
    """Raises StateError if an image cannot be built and pushed here."""
    if missing := missing_tools():
        raise StateError(
            "the image of tasks that copy images is made with apt-get and skopeo, and "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not here: build it "
            "in the account with --build account, or deploy "
            "with -p taskImage=URI of an image made elsewhere (by dth aws publish, or from the "
            "Dockerfile in dth/infra); a hub takes -p taskImage= for none"
        )


def publish_image(session: Any, machine: str, tag: str, say: Say, code: Code | None = None) -> str:
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
            make_image(machine, Path(layout), say, code=code)
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
