"""The lowest layer of our images: Debian's Python and skopeo.

The packages are unpacked, not installed: none of their scripts run, so any user of a machine with
apt can build an image for any processor. They come from the apt sources of this machine.
"""

import re
import subprocess
import tarfile
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dth.core.errors import StateError
from dth.infra.oci import ARCHITECTURES, Layer

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
USER = 10001
ETC = {
    "etc/passwd": f"root:x:0:0:root:/root:/usr/sbin/nologin\ndth:x:{USER}:{USER}::/tmp:/usr/sbin/nologin\n",
    "etc/group": f"root:x:0:\ndth:x:{USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
URI = re.compile(r"'(\S+)' (\S+)\.deb ([0-9]+) (\S*)")


@dataclass(frozen=True, slots=True)
class Package:
    """A package, as apt would download it. `digest`: as apt names it, such as SHA256:..."""

    name: str
    version: str
    architecture: str
    digest: str


@dataclass(frozen=True, slots=True)
class System:
    """The packages of an image, in the versions that apt's sources have now."""

    packages: tuple[Package, ...]

    @property
    def python(self) -> str:
        """The version of Python, such as "3.11"."""
        [version] = {
            found[1]
            for each in self.packages
            if (found := re.fullmatch(r"python(3\.[0-9]+)-minimal", each.name))
        }
        return version

    @property
    def made_of(self) -> str:
        """Everything that determines the layer."""
        return repr((self.packages, LEFT_OUT.pattern, MERGED, ETC))


class Apt:
    """apt with directories of its own, for a processor by its Linux name. Raises StateError if
    something is not available."""

    def __init__(self, machine: str, scratch: Path) -> None:
        architecture = ARCHITECTURES[machine]
        status = scratch / "status"
        status.write_text(
            "".join(
                f"Package: {name}\nStatus: install ok installed\nVersion: 99:0\nArchitecture: "
                f"{architecture}\nMulti-Arch: foreign\nMaintainer: nobody\nDescription: -\n\n"
                for name in NEVER_RUN
            )
        )
        settings = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "Acquire::Languages": "none",
            "Dir::State": scratch / "state",
            "Dir::State::status": status,
            "Dir::Cache": scratch / "cache",
        }
        for folder in ("state", "cache"):
            (scratch / folder).mkdir()
        self._options = [
            word for name, value in settings.items() for word in ("-o", f"{name}={value}")
        ]
        self._archives = scratch / "cache" / "archives"
        self._run("update")

    def look(self) -> System:
        """Return what `download` would bring."""
        uris = self._install("--print-uris")
        found = []
        for _, file, _, digest in URI.findall(uris):
            name, version, architecture = urllib.parse.unquote(file).split("_")
            found.append(Package(name, version, architecture, digest))
        return System(tuple(sorted(found, key=lambda each: each.name)))

    def download(self) -> list[Path]:
        """Download the packages and their dependencies."""
        self._install("--download-only")
        return sorted(self._archives.glob("*.deb"))

    def _install(self, how: str) -> str:
        return self._run("install", how, "--no-install-recommends", "--assume-yes", *PACKAGES)

    def _run(self, *arguments: str) -> str:
        otherwise = "with docker, the Dockerfile in dth/infra makes the image, too"
        try:
            ran = subprocess.run(
                ["apt-get", "-qq", *self._options, *arguments],
                capture_output=True,
                text=True,
                check=False,
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
        return ran.stdout


def write_system(packages: Sequence[Path], file: Path) -> None:
    """Write the layer with the packages' content."""
    with Layer.open(file) as layer:
        for name in MERGED:
            layer.link(name, f"usr/{name}")
        unpacking = _Unpacking(layer)
        for package in packages:
            unpacking.take(package)
        for name, text in ETC.items():
            layer.write(name, text.encode())
        layer.write("etc/ssl/certs/ca-certificates.crt", b"".join(unpacking.certificates))
        for name in ("tmp", "var/tmp"):
            layer.directory(name, 0o1777)


@dataclass
class _Unpacking:
    layer: Layer
    certificates: list[bytes] = field(default_factory=list)

    def take(self, package: Path) -> None:
        command = ["dpkg-deb", "--fsys-tarfile", str(package)]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE) as unpacking,
            tarfile.open(fileobj=unpacking.stdout, mode="r|") as packed,
        ):
            for member in packed:
                self._take(packed, member)
        if unpacking.returncode:
            raise StateError(f"dpkg-deb cannot unpack {package.name}")

    def _take(self, packed: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Add an entry of a package, owned by root and without setuid or setgid bits."""
        member.name = _merged(member.name)
        if (
            not member.name
            or member.name in self.layer.written
            or LEFT_OUT.match(f"{member.name}/")
        ):
            return
        if member.islnk():
            member.linkname = _merged(member.linkname)
        file = packed.extractfile(member) if member.isreg() else None
        body = file.read() if file else b""
        if member.name.startswith(CERTIFICATES) and body:
            self.certificates.append(body)
        member.pax_headers = {}
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode &= 0o1777
        self.layer.add(member, body)


def _merged(name: str) -> str:
    """Return the path with /bin and similar links resolved to /usr. "" for the links themselves."""
    path = name.removeprefix(".").strip("/")
    top, _, rest = path.partition("/")
    if top not in MERGED:
        return path
    return f"usr/{path}" if rest else ""
