"""Packs what runs on AWS: our package and those of the installed plugins, with their dependencies,
for one platform. requirements.lock pins our own dependencies.

Packing builds nothing and runs nothing of the tree, so any machine packs for any processor. The
same input gives the same bytes, so an asset's name can be its digest.
"""

import gzip
import importlib.util
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import dth
from dth.core.errors import StateError
from dth.core.plugins import distributions, packages
from dth.hub.documentation import Documentation
from dth.infra import PYTHON

NAME = "data-transfer-hub"
LOCK = "requirements.lock"
MAX_UNPACKED = 250 * 1024 * 1024  # most bytes of a function
LEFT_OUT = {"__pycache__", "_console", "_docs", "demo", "bin"}  # directories not needed on AWS
EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Target:
    """The platform of a tree: a processor, by its Linux name, and a Python version."""

    machine: str  # "aarch64" or "x86_64"
    python: str = PYTHON

    @property
    def environment(self) -> dict[str, str]:
        """The values for the markers of dependencies."""
        return {
            "os_name": "posix",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "implementation_name": "cpython",
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "extra": "",
        }

    @property
    def tags(self) -> list[str]:
        """The tags of wheels for the platform: Amazon Linux 2023 has glibc 2.34."""
        return [f"manylinux_2_{minor}_{self.machine}" for minor in (34, 28, 17)] + [
            f"manylinux2014_{self.machine}"
        ]


def write_zip(tree: Path, file: Path) -> None:
    """Pack the tree for functions. Raises StateError if it is too large."""
    size = 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path, name in _files(tree):
            size += path.stat().st_size
            _add(archive, path, name)
    if size > MAX_UNPACKED:
        raise StateError(f"the code of functions has {size} bytes; Lambda takes {MAX_UNPACKED}")


def write_tar(tree: Path, file: Path, folder: str = "") -> None:
    """Pack the tree for machines. `folder` is put before each name."""
    with (
        file.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for path, name in _files(tree):
            entry = tarfile.TarInfo(folder + name)
            entry.size = path.stat().st_size
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(path.read_bytes()))


def make_tree(target: Target, directory: Path) -> None:
    """Put our package, the plugins, and their dependencies into the directory. Raises StateError if
    a wheel is not available.
    """
    install_dependencies(target, directory)
    copy_packages(directory)


def install_dependencies(
    target: Target, directory: Path, extras: frozenset[str] = frozenset()
) -> None:
    """Put what our package (with these extras) and the plugins depend on into the directory. Raises
    StateError."""
    names = needed(target, extras)
    _install(target, directory, pinned(names).splitlines(), "--require-hashes")
    if others := unpinned(names):
        _install(target, directory, others)


def copy_packages(directory: Path) -> None:
    """Put our package and the plugins into the directory."""
    for path, name in package_files():
        copy = directory / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    for each in map(distribution, distributions()):
        about = directory / f"{each.name.replace('-', '_')}-{each.version}.dist-info"
        about.mkdir(parents=True, exist_ok=True)
        for name in ("METADATA", "entry_points.txt"):  # needed to find the plugins
            (about / name).write_text(each.read_text(name) or "", "utf-8")


def package_files() -> Iterator[tuple[Path, str]]:
    """Yield the files to pack of our package and of the plugins' packages, with their paths.

    Leaves out the compiled extension, which is for this machine's platform: libcurl does its work.
    """
    for package in packages():
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            for path, name in _files(Path(folder)):
                if path.suffix != ".so":
                    yield path, f"{package}/{name}"


def console_files() -> Iterator[tuple[Path, str]]:
    """Yield the console's files with their names in it; none if the package was built without the
    console.
    """
    folder = Path(dth.__file__).parent / "_console"
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path, path.relative_to(folder).as_posix()


def write_console(file: Path) -> None:
    """Pack the console and the documentation, as the hub's stack unpacks them."""
    documentation = Documentation()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path, name in console_files():
            _add(archive, path, name)
        for name in sorted(documentation.paths):
            _write(archive, name, documentation.read(name))


def _add(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    _write(archive, name, path.read_bytes())


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)


def needed(target: Target, extras: frozenset[str] = frozenset()) -> set[str]:
    """Return the names of all direct and indirect dependencies on this platform, with no extras of
    our package but these."""
    found: set[str] = set()
    waiting = [(name, extras if name == NAME else frozenset()) for name in distributions()]
    while waiting:
        name, extras = waiting.pop()
        for text in _requires(name):
            requirement = Requirement(text)
            environments = [{**target.environment, "extra": extra} for extra in extras or {""}]
            if requirement.marker and not any(map(requirement.marker.evaluate, environments)):
                continue
            required = canonicalize_name(requirement.name)
            if required not in found:
                found.add(required)
                waiting.append((required, frozenset(requirement.extras)))
    return found


def _requires(name: str) -> list[str]:
    """Return the requirements of an installed package.

    A dependency of the other platform alone is not installed here, and has no further requirements.
    """
    try:
        return distribution(name).requires or []
    except PackageNotFoundError:
        return []


def pinned(names: set[str]) -> str:
    """Return the part of requirements.lock for these packages, with versions and hashes."""
    entries = _lock().split("\n")
    kept: list[str] = []
    keep = False
    for line in entries:
        if line and not line.startswith((" ", "#")):
            keep = canonicalize_name(line.partition("==")[0]) in names
        if keep:
            kept.append(line)
    return "\n".join(kept) + "\n"


def unpinned(names: set[str]) -> list[str]:
    """Return what only plugins need, in the versions that are installed here.

    Raises StateError if one is not installed.
    """
    locked = {
        canonicalize_name(line.partition("==")[0]) for line in _lock().splitlines() if "==" in line
    }
    try:
        return [f"{name}=={distribution(name).version}" for name in sorted(names - locked)]
    except PackageNotFoundError as error:
        raise StateError(
            f"a plugin needs the package {error.name}, which is not installed"
        ) from None


def _lock() -> str:
    """Return the lock file: it is in the package, or in a checkout above it."""
    here = Path(__file__)
    for place in (here.with_name(LOCK), here.parents[3] / LOCK):
        if place.exists():
            return place.read_text("utf-8")
    raise StateError(
        f"{LOCK} is not in this installation; install data-transfer-hub from its wheel"
    )


def _install(target: Target, directory: Path, requirements: list[str], *options: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as wanted:
        wanted.write("\n".join(requirements) + "\n")
        wanted.flush()
        platforms = [word for tag in target.tags for word in ("--platform", tag)]
        command = [
            *(*_pip(), "install", "--quiet", "--disable-pip-version-check"),
            *("--target", str(directory), "--no-deps", "--no-compile", *options),
            *("--only-binary=:all:", "--implementation", "cp", "--python-version", target.python),
            *(*platforms, "--requirement", wanted.name),
        ]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        errors = [line for line in ran.stderr.splitlines() if line.startswith("ERROR")] or [
            ran.stderr[-300:]
        ]
        raise StateError(
            f"the packages for {target.machine} are not available: "
            f"{errors[-1].removeprefix('ERROR: ').strip()}"
        )


def _pip() -> tuple[str, ...]:
    """Return the command of pip. An environment of uv has none, and uv runs one of its own."""
    if importlib.util.find_spec("pip"):
        return sys.executable, "-m", "pip"
    if uv := shutil.which("uv"):
        return uv, "tool", "run", "pip"
    raise StateError(
        "the packages are fetched with pip, which is not in this environment: "
        f"{sys.executable} -m ensurepip"
    )


def _files(directory: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files to pack with their names, in order."""
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        if (
            path.is_file()
            and not LEFT_OUT.intersection(name.parts[:2])
            and "__pycache__" not in name.parts
        ):
            yield path, name.as_posix()
