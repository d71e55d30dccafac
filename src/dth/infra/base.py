"""The layers that our images share: Debian's packages, and the dependencies of our package."""

from dataclasses import dataclass
from pathlib import Path

from dth.infra import debian
from dth.infra.bundle import Target, install_dependencies, needed, pinned, unpinned, write_tar
from dth.infra.oci import LayerCache

CODE = "opt/dth"


@dataclass(frozen=True, slots=True)
class Base:
    """The shared layers for one processor, the lowest first."""

    system: debian.System
    packages: Path
    dependencies: Path

    @property
    def layers(self) -> list[Path]:
        return [self.packages, self.dependencies]


def make_base(
    machine: str, cache: LayerCache, scratch: Path, extras: frozenset[str] = frozenset()
) -> Base:
    """Make what the cache does not have, for a processor by its Linux name. `scratch` is an empty
    directory. `extras`: of our package. Raises StateError if packages are not available.
    """
    system, packages = make_system(machine, cache, scratch)
    target = Target(machine, system.python)
    names = needed(target, extras)
    dependencies = cache.layer(
        f"dependencies {target} {pinned(names)} {unpinned(names)}",
        lambda file: _write_dependencies(target, extras, scratch / "dependencies", file),
    )
    return Base(system, packages, dependencies)


def make_system(machine: str, cache: LayerCache, scratch: Path) -> tuple[debian.System, Path]:
    """Make the lowest layer alone, with the same arguments. Raises StateError as `make_base`."""
    # If root starts apt, apt reads and writes as another user.
    scratch.chmod(0o755)
    apt = debian.Apt(machine, scratch)
    system = apt.look()
    packages = cache.layer(
        f"packages {system.made_of}", lambda file: debian.write_system(apt.download(), file)
    )
    return system, packages


def _write_dependencies(target: Target, extras: frozenset[str], tree: Path, file: Path) -> None:
    tree.mkdir()
    install_dependencies(target, tree, extras)
    write_tar(tree, file, f"{CODE}/")
