"""The image of a hub: what is in it, and that it runs as a container without any rights."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import tarfile
import urllib.request
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from dth.core import native
from dth.infra import debian, hub_image
from dth.infra.bundle import _lock
from dth.infra.oci import Layer, LayerCache, Layout
from tests.servers.process import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.podman import Podman

MACHINE = platform.machine()
needs_debian = pytest.mark.skipif(
    not shutil.which("apt-get") and os.environ.get("CI") != "true",
    reason="there are no packages of Debian here",
)
LOCKED_DOWN = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges")


def blob(layout: Path, described: dict[str, Any]) -> Path:
    return layout / "blobs" / "sha256" / described["digest"].removeprefix("sha256:")


def get(url: str, token: str = "") -> str:
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())


@needs_debian
@pytest.mark.xdist_group("podman")
def test_a_container_without_any_rights_is_a_hub(made: Path, podman: Podman, image: str) -> None:
    up = ("--volume=data:/var/lib/dth", image, "up", "--port=0")
    hub = podman.run("run", "--detach", *LOCKED_DOWN, *up).strip()
    said = podman.wait_for(hub, "change it")
    address = re.search(r"runs at (http://127.0.0.1:[0-9]+) \(data: /var/lib/dth/hub\)", said)
    assert address, said
    assert get(f"{address[1]}/healthz") == "ok\n"
    assert '<div id="root">' in get(f"{address[1]}/")

    [*_, token] = podman.run(
        "exec", hub, "dth", "token", "create", "--role=viewer", "--name=graphs"
    ).split()
    assert 'dth_tasks{status="DONE"} 0' in get(f"{address[1]}/metrics", token)
    assert podman.run("exec", hub, "skopeo", "--version").startswith("skopeo version 1.")
    program = """
import os, sys, dth.core.native as native
print(os.getuid(), native.BUILT, os.access("/tmp", os.W_OK), os.path.getsize(sys.argv[1]))
os.open("/opt/dth/new", os.O_CREAT | os.O_WRONLY)
"""
    run = ("python3", "-c", program, f"/{hub_image.BILL}")
    assert "Read-only file system" in podman.run("exec", hub, *run, code=1)
    built = native.BUILT
    [bill] = made.glob("sbom-*.cdx.json")
    looked = podman.run("exec", hub, *(word.replace("os.open", "#") for word in run))
    assert looked == f"10001 {built} True {bill.stat().st_size}\n"

    podman.run("stop", "--time=30", hub)
    assert podman.run("inspect", "--format={{.State.ExitCode}}", hub).strip() == "0"
    again = podman.run("run", "--detach", *LOCKED_DOWN, *up).strip()
    address = re.search(r"http://\S+", podman.wait_for(again, "runs at"))
    assert address
    assert "dth_tasks" in get(f"{address[0]}/metrics", token), "the data outlives the container"


@needs_debian
def test_the_list_of_contents_names_every_package(made: Path) -> None:
    [file] = made.glob("sbom-*.cdx.json")
    bill = json.loads(file.read_text("utf-8"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    refs = [each["bom-ref"] for each in bill["components"]]
    assert len(refs) == len(set(refs))
    named = {each["purl"].partition("@")[0]: each["version"] for each in bill["components"]}
    assert {"pkg:deb/debian/skopeo", "pkg:deb/debian/libsqlite3-0", "pkg:npm/react"} <= set(named)
    locked = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", _lock(), re.MULTILINE))
    python = {name: found for name, found in named.items() if name.startswith("pkg:pypi/")}
    assert {"pkg:pypi/botocore", "pkg:pypi/sqlalchemy", "pkg:pypi/psycopg-binary"} <= set(python)
    assert python == {name: locked[name.removeprefix("pkg:pypi/")] for name in python}


@needs_debian
def test_nothing_in_the_image_may_change_who_runs_it(made: Path) -> None:
    layout = made / "oci"
    [index] = json.loads((layout / "index.json").read_bytes())["manifests"]
    [described] = json.loads(blob(layout, index).read_bytes())["manifests"]
    assert described["platform"]["os"] == "linux"
    manifest = json.loads(blob(layout, described).read_bytes())
    config = json.loads(blob(layout, manifest["config"]).read_bytes())["config"]
    assert config["User"] == f"{debian.USER}:{debian.USER}"
    owned = set()
    for layer in manifest["layers"]:
        with tarfile.open(blob(layout, layer)) as files:
            for member in files:
                assert not member.mode & 0o6000
                if member.uid:
                    owned.add(member.name)
    assert owned == {hub_image.DATA}


def test_an_index_names_the_image_for_each_processor(tmp_path: Path) -> None:
    file = tmp_path / "layer"
    with Layer.open(file) as layer:
        layer.write("etc/os", b"linux\n")
        layer.directory("var", 0o700, 10001)
    out = Layout(tmp_path / "oci")
    images = {
        machine: out.image(machine, {"User": "1"}, [file]) for machine in ("aarch64", "x86_64")
    }
    out.finish(out.index(images), "1.2")
    [index] = json.loads((tmp_path / "oci" / "index.json").read_bytes())["manifests"]
    assert index["annotations"] == {"org.opencontainers.image.ref.name": "1.2"}
    manifests = json.loads(blob(tmp_path / "oci", index).read_bytes())["manifests"]
    assert [each["platform"] for each in manifests] == [
        {"architecture": "arm64", "os": "linux"},
        {"architecture": "amd64", "os": "linux"},
    ]


def test_a_layer_is_made_once(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(file: Path) -> None:
        made.append(file)
        file.write_bytes(b"layer")

    cache = LayerCache(tmp_path / "layers")
    assert cache.layer("one", make) == cache.layer("one", make)
    assert cache.layer("other", make) != cache.layer("one", make)
    assert len(made) == 2


def test_the_extension_is_that_of_a_wheel_of_this_version(tmp_path: Path) -> None:
    for name in ("1.0-cp311-abi3-manylinux2014_riscv64", "1.1-cp311-abi3-manylinux2014_riscv64"):
        with zipfile.ZipFile(tmp_path / f"data_transfer_hub-{name}.whl", "w") as wheel:
            wheel.writestr("dth/_http.abi3.so", name[:3])
    assert hub_image.extension("riscv64", tmp_path, "1.1") == b"1.1"
    assert hub_image.extension("riscv64", tmp_path, "1.2") is None


def test_make_builds_it() -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    assert "-m dth.infra.hub_image build/image" in makefile
