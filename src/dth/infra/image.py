"""Builds the image of the task that copies images, without a Docker engine.

It contains Debian's Python and skopeo, and our package with its dependencies. Debian's packages are
unpacked, not installed: none of their scripts run, so any user of a machine with apt can build the
image for any processor. Without apt, the Dockerfile next to this file builds an equivalent image.
The same packages give the same bytes.
"""

import base64
import contextlib
import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dth.core.errors import StateError
from dth.images.registry.address import RegistryAddress
from dth.images.registry.login import UserPassword
from dth.images.registry.reference import parse
from dth.images.skopeo import command as skopeo
from dth.infra.bundle import Target, make_tree, write_tar

REPOSITORY = "data-transfer-hub"
TOOLS = ("apt-get", "skopeo")
# Linux names, and those of Debian and OCI.
ARCHITECTURES = {"aarch64": "arm64", "x86_64": "amd64"}
PACKAGES = (
    "ca-certificates", "golang-github-containers-image", "libpython3-stdlib", "python3-minimal",
    "skopeo",
)  # fmt: skip
# Packages that only package scripts need, or tools that run containers or check signatures. For apt
# they are already installed.
NEVER_RUN = (
    "adduser", "debconf", "dmsetup", "dpkg", "gnupg", "golang-github-containers-common",
    "init-system-helpers",
    "passwd", "perl", "perl-base", "usr-is-merged",
)  # fmt: skip
LEFT_OUT = re.compile(
    r"usr/share/(?!doc/[^/]+/copyright$)(doc|man|info|locale|lintian|bash-completion|zsh)/."
)
MERGED = ("bin", "lib", "lib64", "sbin")  # links into usr, as in Debian
CERTIFICATES = "usr/share/ca-certificates/"
CODE = "opt/dth"
USER = 10001
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
ETC = {
    "etc/passwd": f"root:x:0:0:root:/root:/usr/sbin/nologin\ndth:x:{USER}:{USER}::/tmp:/usr/sbin/nologin\n",
    "etc/group": f"root:x:0:\ndth:x:{USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
OCI = "application/vnd.oci.image"

Say = Callable[[str], None]
# Puts our code for a platform into a directory.
Code = Callable[[Target, Path], None]


def make_image(machine: str, layout: Path, say: Say, code: Code = make_tree) -> None:
    """Write the image for a processor, "aarch64" or "x86_64", into the directory, as an OCI layout.

    Raises StateError if packages are not available.
    """
    blobs = _Blobs(layout / "blobs" / "sha256")
    with tempfile.TemporaryDirectory(prefix="dth-image-") as name:
        scratch = Path(name)
        # If root starts apt, apt reads and writes as another user.
        scratch.chmod(0o755)
        say("taking Debian's packages")
        packages = _download(machine, scratch)
        python = _write_system(packages, scratch / "system")
        say(f"packing the code for Python {python}")
        code(Target(machine, python), scratch / "tree")
        write_tar(scratch / "tree", scratch / "code", f"{CODE}/")
        layers = [scratch / "system", scratch / "code"]
        config = {
            "architecture": ARCHITECTURES[machine],
            "os": "linux",
            "created": "1980-01-01T00:00:00Z",
            "config": CONFIG,
            "rootfs": {"type": "layers", "diff_ids": [_unpacked_digest(layer) for layer in layers]},
        }
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": blobs.add(f"{OCI}.config.v1+json", _json(config)),
            "layers": [
                blobs.add(f"{OCI}.layer.v1.tar+gzip", layer.read_bytes()) for layer in layers
            ],
        }
    index = {"schemaVersion": 2, "manifests": [blobs.add(manifest["mediaType"], _json(manifest))]}
    (layout / "index.json").write_bytes(_json(index))
    (layout / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))


def publish_images(session: Any, version: str, say: Say, code: Code = make_tree) -> str:
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


def publish_image(session: Any, machine: str, tag: str, say: Say, code: Code = make_tree) -> str:
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
            make_image(machine, Path(layout), say, code)
            say(f"{repository}:{tag}")
            granted = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
            user, _, password = base64.b64decode(granted).decode().partition(":")
            image = parse(f"{repository}:{tag}")
            authorities = session._session.get_config_variable("ca_bundle") or ""
            address = RegistryAddress(image.registry, ca_bundle=authorities)
            skopeo.push(Path(layout), skopeo.CopyEnd(image, address, UserPassword(user, password)))
    return f"{repository}:{tag}"


# -------------------------------------------------------------------------------- Debian's packages


def _download(machine: str, scratch: Path) -> list[Path]:
    """Download the packages and their dependencies for the processor, from this machine's apt
    sources.
    """
    architecture = ARCHITECTURES[machine]
    (scratch / "status").write_text(
        "".join(
            f"Package: {name}\nStatus: install ok installed\nVersion: 99:0\nArchitecture: "
            f"{architecture}\nMulti-Arch: foreign\nMaintainer: nobody\nDescription: -\n\n"
            for name in NEVER_RUN
        )
    )
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "Dir::State": scratch / "state",
        "Dir::State::status": scratch / "status",
        "Dir::Cache": scratch / "cache",
    }
    for folder in ("state", "cache"):
        (scratch / folder).mkdir()
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    _apt(*options, "update")
    _apt(
        *options, "install", "--download-only", "--no-install-recommends", "--assume-yes", *PACKAGES
    )
    return sorted((scratch / "cache" / "archives").glob("*.deb"))


def _apt(*arguments: str) -> None:
    otherwise = "with docker, the Dockerfile in dth/infra makes the image, too"
    try:
        ran = subprocess.run(
            ["apt-get", "-qq", *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        raise StateError(
            f"the image is made of Debian's packages, and apt-get is not here; {otherwise}"
        ) from None
    if ran.returncode:
        errors = [line for line in ran.stderr.splitlines() if line.startswith("E: ")] or [
            ran.stderr[-300:]
        ]
        said = " ".join(errors[0].removeprefix("E: ").split())
        raise StateError(f"the packages of Debian are not available: {said}; {otherwise}")


def _write_system(packages: list[Path], file: Path) -> str:
    """Write the layer with the packages' content. Returns its Python version, such as "3.11"."""
    with _Layer.open(file) as layer:
        for name in MERGED:
            layer.link(name, f"usr/{name}")
        for package in packages:
            command = ["dpkg-deb", "--fsys-tarfile", str(package)]
            with (
                subprocess.Popen(command, stdout=subprocess.PIPE) as unpacking,
                tarfile.open(fileobj=unpacking.stdout, mode="r|") as packed,
            ):
                for member in packed:
                    layer.take(packed, member)
            if unpacking.returncode:
                raise StateError(f"dpkg-deb cannot unpack {package.name}")
        for name, text in ETC.items():
            layer.write(name, text.encode())
        layer.write("etc/ssl/certs/ca-certificates.crt", b"".join(layer.certificates))
        for name in ("tmp", "var/tmp"):
            layer.directory(name, 0o1777)
    return layer.python


@dataclass
class _Layer:
    """A file system, written from top to bottom."""

    archive: tarfile.TarFile
    written: set[str] = field(default_factory=set)
    certificates: list[bytes] = field(default_factory=list)
    python: str = ""  # what /usr/bin/python3 links to

    @classmethod
    @contextlib.contextmanager
    def open(cls, file: Path) -> "Iterator[_Layer]":
        with (
            file.open("wb") as raw,
            gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w|") as archive,
        ):
            yield cls(archive)

    def take(self, packed: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Add an entry of a package, owned by root and without setuid or setgid bits."""
        member.name = _merged(member.name)
        if not member.name or member.name in self.written or LEFT_OUT.match(f"{member.name}/"):
            return
        if member.islnk():
            member.linkname = _merged(member.linkname)
        if member.name == "usr/bin/python3":
            self.python = member.linkname.removeprefix("python")
        file = packed.extractfile(member) if member.isreg() else None
        body = file.read() if file else b""
        if member.name.startswith(CERTIFICATES) and body:
            self.certificates.append(body)
        member.pax_headers = {}
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode &= 0o1777
        self._add(member, body)

    def write(self, name: str, body: bytes) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = len(body)
        entry.mode = 0o644
        self._add(entry, body)

    def link(self, name: str, to: str) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = tarfile.SYMTYPE, to
        self._add(entry)

    def directory(self, name: str, mode: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self._add(entry)

    def _add(self, entry: tarfile.TarInfo, body: bytes = b"") -> None:
        self.written.add(entry.name)
        self.archive.addfile(entry, io.BytesIO(body))


def _merged(name: str) -> str:
    """Return the path with /bin and similar links resolved to /usr. "" for the links themselves."""
    path = name.removeprefix(".").strip("/")
    top, _, rest = path.partition("/")
    if top not in MERGED:
        return path
    return f"usr/{path}" if rest else ""


# ----------------------------------------------------------------------------------- layout and ECR


class _Blobs:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder

    def add(self, media_type: str, body: bytes) -> dict[str, Any]:
        """Add a blob. Returns its descriptor."""
        digest = hashlib.sha256(body).hexdigest()
        (self._folder / digest).write_bytes(body)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(body)}


def _unpacked_digest(layer: Path) -> str:
    with gzip.open(layer) as unpacked:
        return f"sha256:{hashlib.file_digest(unpacked, 'sha256').hexdigest()}"


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


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
