"""Lists what is in an image, in the format CycloneDX: the packages of Debian and of Python, and
those that were built into the console."""

import json
from collections.abc import Iterable, Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dth.infra.debian import Package

Component = dict[str, Any]


def describe(name: str, version: str, components: Iterable[Component]) -> str:
    """Return the bill of materials of an image."""
    described = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "version": version}},
        "components": sorted(components, key=lambda each: str(each["bom-ref"])),
    }
    return json.dumps(described, indent=1) + "\n"


def of_debian(packages: Iterable[Package]) -> Iterator[Component]:
    for each in packages:
        purl = f"pkg:deb/debian/{quote(each.name)}@{quote(each.version)}?arch={each.architecture}"
        yield _component(each.name, each.version, purl)


def of_python(tree: Path) -> Iterator[Component]:
    """The packages that are installed in the directory."""
    for each in distributions(path=[str(tree)]):
        name = each.name.lower().replace("_", "-")
        yield _component(name, each.version, f"pkg:pypi/{name}@{quote(each.version)}")


def of_console(lock: Path) -> Iterator[Component]:
    """The packages in the lock file of npm, without those that only the developers need."""
    if not lock.is_file():
        return
    found = {}
    for place, each in json.loads(lock.read_text("utf-8"))["packages"].items():
        if place and not each.get("dev") and not each.get("link"):
            name = place.rpartition("node_modules/")[2]
            purl = f"pkg:npm/{quote(name)}@{quote(each['version'])}"
            found[purl] = _component(name, each["version"], purl)
    yield from found.values()


def _component(name: str, version: str, purl: str) -> Component:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
