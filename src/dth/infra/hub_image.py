"""Builds the image of a hub as an OCI layout, for all processors, without a container engine:

    python -m dth.infra.hub_image FOLDER [PROCESSOR...]

`make image` does it. The image has Debian's Python and skopeo, the dependencies in the versions of
requirements.lock (`base`), and our package with the console. It needs no root user and no
writable root: /tmp, and the data below /var/lib/dth.
"""

import platform
import shutil
import sys
import tarfile
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dth
from dth.core.errors import StateError
from dth.hub.documentation import sources
from dth.infra import debian, sbom
from dth.infra.base import CODE, Base, make_base
from dth.infra.bundle import NAME, console_files, copy_packages
from dth.infra.oci import ARCHITECTURES, Descriptor, Layer, LayerCache, Layout

# A tag takes no "+".
TAG = version(NAME).replace("+", "-")
DATA = "var/lib/dth"
BILL = "usr/share/doc/data-transfer-hub/sbom.cdx.json"
EXTENSION = "_http.abi3.so"
# Hubs and workers on several machines.
EXTRAS = frozenset({"postgres"})
COMMAND = b"""#!/usr/bin/python3
from dth.__main__ import main

main()
"""
CHECKOUT = Path(__file__).parents[3]
CONFIG: dict[str, Any] = {
    "User": f"{debian.USER}:{debian.USER}",
    "Env": [
        "PATH=/usr/local/bin:/usr/bin",
        f"PYTHONPATH=/{CODE}",
        "PYTHONDONTWRITEBYTECODE=1",
        "PYTHONUNBUFFERED=1",
        "HOME=/tmp",
        # Below the volume: whoever mounts it keeps the permissions of its root.
        f"DTH_DATA_DIR=/{DATA}/hub",
    ],
    "WorkingDir": "/tmp",
    "Entrypoint": ["dth"],
    "Cmd": ["up"],
    "ExposedPorts": {"8780/tcp": {}},
    "Volumes": {f"/{DATA}": {}},
    "StopSignal": "SIGTERM",
    "Labels": {
        "org.opencontainers.image.title": NAME,
        "org.opencontainers.image.version": version(NAME),
        "org.opencontainers.image.licenses": "Apache-2.0",
    },
}


def make_image(folder: Path, machines: list[str], layers: Path | None = None) -> Path:
    """Write the image for the processors (their Linux names) into the folder, with a list of what
    is in it for each processor.

    `layers`: where layers that were made before are kept, if not in the folder. Returns the
    layout's directory. Raises StateError if packages are not available.
    """
    if not any(console_files()):
        raise StateError("the console is not built: make console")
    cache = LayerCache(layers or folder / "layers")
    made = folder / "oci"
    with tempfile.TemporaryDirectory(prefix="dth-image-") as name:
        scratch = Path(name)
        scratch.chmod(0o755)
        layout = Layout(scratch / "oci")
        with ThreadPoolExecutor() as pool:
            images = pool.map(
                lambda machine: _make(machine, cache, layout, scratch / machine, folder), machines
            )
            found = dict(zip(machines, images, strict=True))
        layout.finish(layout.index(found), TAG)
        shutil.rmtree(made, ignore_errors=True)
        shutil.move(scratch / "oci", made)
    return made


def _make(
    machine: str, cache: LayerCache, layout: Layout, scratch: Path, folder: Path
) -> Descriptor:
    scratch.mkdir()
    base = make_base(machine, cache, scratch, EXTRAS)
    bill = _bill(base)
    (folder / f"sbom-{ARCHITECTURES[machine]}.cdx.json").write_text(bill, "utf-8")
    code = scratch / "code"
    _write_code(scratch / "package", extension(machine), bill, code)
    return layout.image(machine, CONFIG, [*base.layers, code])


def _bill(base: Base) -> str:
    with tempfile.TemporaryDirectory(prefix="dth-image-") as name:
        with tarfile.open(base.dependencies) as layer:
            # Python before 3.11.4 has no filters.
            layer.extraction_filter = getattr(tarfile, "data_filter", None)
            for member in layer:
                if member.name.endswith(".dist-info/METADATA"):
                    layer.extract(member, name)
        installed = list(sbom.of_python(Path(name) / CODE))
    return sbom.describe(
        NAME,
        version(NAME),
        [
            *sbom.of_debian(base.system.packages),
            *installed,
            *sbom.of_console(CHECKOUT / "console" / "package-lock.json"),
        ],
    )


def _write_code(tree: Path, extension: bytes | None, bill: str, file: Path) -> None:
    tree.mkdir()
    copy_packages(tree)
    with Layer.open(file) as layer:
        for path in sorted(each for each in tree.rglob("*") if each.is_file()):
            layer.write(f"{CODE}/{path.relative_to(tree).as_posix()}", path.read_bytes())
        for path, name in console_files():
            layer.write(f"{CODE}/dth/_console/{name}", path.read_bytes())
        for name, content in sources():
            layer.write(f"{CODE}/dth/_docs/{name}", content)
        if extension:
            layer.write(f"{CODE}/dth/{EXTENSION}", extension)
        layer.write("usr/local/bin/dth", COMMAND, 0o755)
        layer.write(BILL, bill.encode())
        layer.directory(DATA, 0o700, debian.USER)


def extension(
    machine: str, wheels: Path = CHECKOUT / "build" / "wheels", tag: str = version(NAME)
) -> bytes | None:
    """Return the compiled extension for the processor: from a wheel of this version, or this
    machine's own. None: libcurl does its work."""
    for wheel in wheels.glob(f"*-{tag}-*_{machine}.whl"):
        with zipfile.ZipFile(wheel) as packed:
            return packed.read(f"dth/{EXTENSION}")
    own = Path(dth.__file__).with_name(EXTENSION)
    if machine == platform.machine() and own.is_file():
        return own.read_bytes()
    return None


def main(arguments: list[str]) -> None:
    if not arguments:
        raise StateError("name the folder for the image")
    folder, *machines = arguments
    made = make_image(Path(folder), machines or list(ARCHITECTURES))
    print(f"The image is oci:{made}:{TAG}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except StateError as error:
        sys.exit(f"error: {error}")
