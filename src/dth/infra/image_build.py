"""What CodeBuild runs in an account: commands, and the program that builds the image of tasks that
copy images, of Debian's packages and the code that was published, and pushes it.

`python -m dth.infra.image_build VERSION FOLDER`. The folder has `bundle-arm64.tar.gz` and
`bundle-x86_64.tar.gz`.
"""

import sys
import tarfile
from pathlib import Path
from typing import Any

from dth.core.errors import HubError, StateError
from dth.infra import PYTHON
from dth.infra.bundle import Target
from dth.infra.image import Code, publish_images
from dth.infra.statements import BUNDLES

# Names of the assets by the processor's Linux name.
ASSETS = {"aarch64": "arm64", "x86_64": "x86_64"}
PACKAGES = "ca-certificates python3 python3-packaging skopeo"
CODE = "/opt/dth"


def build_commands() -> list[str]:
    """Return the commands of the build. The folder with the published code is the current one."""
    return [
        "set -eu",
        *(_check(f"bundle-{name}.tar.gz", digest) for name, digest in BUNDLES.items()),
        f"mkdir -p {CODE}",
        f"tar -xzf bundle-x86_64.tar.gz -C {CODE}",
        f'PYTHONPATH={CODE} python3 -m dth.infra.image_build "$VERSION" .',
    ]


def _check(file: str, digest: str) -> str:
    """Refuse a file by the digest in the variable of that name, if there is one."""
    return (
        f'if [ -n "${digest}" ] && ! echo "${digest}  {file}" | sha256sum --check --strict '
        f'--status; then echo "{file} is not what was published: its SHA-256 is not '
        f'${digest}" >&2; exit 1; fi'
    )


class BuildSession:
    """The part of boto3's session that publishing images needs: the bundle has no boto3."""

    def __init__(self) -> None:
        import botocore.session

        self._session = botocore.session.get_session()

    def client(self, service: str) -> Any:
        return self._session.create_client(service)


def published_code(folder: Path) -> Code:
    """Return what unpacks the published code instead of collecting it from packages.

    It raises StateError where Debian's Python is not the one that the code is for.
    """

    def unpack(target: Target, directory: Path) -> None:
        if target.python != PYTHON:
            raise StateError(
                f"the packages here have Python {target.python}, and the code is for {PYTHON}: "
                "give the stack another base image"
            )
        with tarfile.open(folder / f"bundle-{ASSETS[target.machine]}.tar.gz") as archive:
            # Python before 3.11.4 has no filters. The digest of the archive was checked.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(directory)

    return unpack


def main(version: str, folder: str) -> int:
    try:
        uri = publish_images(BuildSession(), version, print, published_code(Path(folder)))
    except HubError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"taskImage: {uri}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
