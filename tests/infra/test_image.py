"""The image of the task that copies images: of real packages, through a real registry, started from
its own root."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from dth.core.errors import EndpointRefused, StateError
from dth.infra import debian, image, oci
from tests.conftest import made_once
from tests.servers.registry import NEEDED, PASSWORD, USER, EcrServer, RegistryServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    NEEDED,
    pytest.mark.skipif(
        not shutil.which("apt-get") and os.environ.get("CI") != "true",
        reason="there are no packages of Debian here",
    ),
]
MACHINE = platform.machine()
NOT_THERE = {
    "DescribeImages": ("ImageNotFoundException", "as ECR says it of a tag that is not there")
}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory, image_layers: Path) -> Path:
    return made_once(
        tmp_path_factory,
        "layout",
        lambda folder: image.make_image(MACHINE, folder, lambda line: None, image_layers),
    )


@pytest.fixture
def made_already(layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing takes the image that is here."""

    def copy(machine: str, to: Path, say: image.Say, code: image.Code) -> None:
        shutil.copytree(layout, to, dirs_exist_ok=True)

    monkeypatch.setattr(image, "make_image", copy)


@pytest.fixture
def ecr() -> Iterator[EcrServer]:
    with RegistryServer(auth=True) as registry, EcrServer(registry) as server:
        yield server


@pytest.fixture
def session(ecr: EcrServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", ecr.url)
    return boto3.Session(
        aws_access_key_id="test", aws_secret_access_key="test", region_name=ecr.region
    )


def blob(layout: Path, described: dict[str, Any]) -> bytes:
    return (layout / "blobs" / "sha256" / described["digest"].removeprefix("sha256:")).read_bytes()


def manifest(layout: Path) -> dict[str, Any]:
    [only] = json.loads((layout / "index.json").read_bytes())["manifests"]
    found: dict[str, Any] = json.loads(blob(layout, only))
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the root directory")
@pytest.mark.usefixtures("made_already")
def test_the_image_runs_as_it_comes_from_the_registry(
    ecr: EcrServer, session: Any, tmp_path: Path
) -> None:
    said: list[str] = []
    ecr.refuse = NOT_THERE
    uri = image.publish_image(session, MACHINE, "0.1.0-amd64", said.append)
    ecr.refuse = {}
    assert image.publish_image(session, MACHINE, "0.1.0-amd64", said.append) == uri
    assert uri == f"{ecr.registry.host}/data-transfer-hub:0.1.0-amd64"
    assert said == ["making repository data-transfer-hub", uri, f"{uri} is there"]
    assert ecr.repositories["data-transfer-hub"]["imageTagMutability"] == "IMMUTABLE"

    pulled, root = tmp_path / "pulled", tmp_path / "root"
    root.mkdir()
    pull = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"--src-creds={USER}:{PASSWORD}"]
    subprocess.run([*pull, f"docker://{uri}", f"oci:{pulled}"], check=True)
    config = json.loads(blob(pulled, manifest(pulled)["config"]))["config"]
    for layer in manifest(pulled)["layers"]:
        subprocess.run(["tar", "-xzC", root], input=blob(pulled, layer), check=True)

    def run(*command: str, code: int = 0) -> str:
        ran = subprocess.run(
            ["/usr/sbin/chroot", f"--userspec={config['User']}", root, *command],
            env=dict(each.split("=", 1) for each in config["Env"]),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == code, ran.stderr
        return ran.stdout if code == 0 else ran.stderr

    assert re.match(r"dth, version \d", run("python3", "-m", "dth", "--version"))
    assert run("skopeo", "--version").startswith("skopeo version 1.")
    looked = run(
        "skopeo", "inspect", "--tls-verify=false", f"--creds={USER}:{PASSWORD}", f"docker://{uri}"
    )
    assert json.loads(looked)["Architecture"] == oci.ARCHITECTURES[MACHINE]
    program = """
import os, ssl, dth.compose.aws.copy_images
assert len(ssl.create_default_context().get_ca_certs()) > 100
assert os.access("/tmp", os.W_OK) and not os.access("/opt/dth", os.W_OK)
print(os.getuid())
"""
    assert run("python3", "-c", program) == f"{debian.USER}\n"
    assert run(*config["Entrypoint"], code=1).startswith(
        "the environment does not say which task this is"
    )


@pytest.mark.usefixtures("made_already")
def test_there_is_one_for_each_processor(ecr: EcrServer, session: Any) -> None:
    ecr.refuse = NOT_THERE
    uri = image.publish_images(session, "0.1.0-ab", lambda line: None)
    assert uri == f"{ecr.registry.host}/data-transfer-hub:0.1.0-ab"
    for processor in ("arm64", "amd64"):
        assert ecr.registry.digest("data-transfer-hub", f"0.1.0-ab-{processor}")


def test_layers_are_what_the_configuration_says_they_are(layout: Path) -> None:
    found = manifest(layout)
    config = json.loads(blob(layout, found["config"]))
    layers = [gzip.decompress(blob(layout, each)) for each in found["layers"]]
    assert config["rootfs"]["diff_ids"] == [
        f"sha256:{hashlib.sha256(each).hexdigest()}" for each in layers
    ]
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as files:
            members = files.getmembers()
        names = [each.name for each in members]
        assert len(names) == len(set(names))
        assert {(each.uid, each.gid, each.mode & 0o6000) for each in members} == {(0, 0, 0)}
        left_out = (".", "/", "bin/", "usr/share/man/", "opt/dth/bin/", "opt/dth/dth/_console")
        assert not [name for name in names if name.startswith(left_out) or "__pycache__" in name]


def test_another_processor_and_the_same_bytes_every_time(tmp_path: Path) -> None:
    other = "x86_64" if MACHINE == "aarch64" else "aarch64"
    apt = debian.Apt(other, tmp_path)
    python = apt.look().python
    some = [each for each in apt.download() if re.match(r"skopeo|(lib)?python3", each.name)]
    for name in ("one", "two"):
        debian.write_system(some, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with tarfile.open(tmp_path / "one") as files:
        for name in ("skopeo", f"python{python}"):
            program = files.extractfile(f"usr/bin/{name}")
            assert program
            assert (
                program.read(20)[18] == {"x86_64": 62, "aarch64": 183}[other]
            )  # as ELF numbers machines


@pytest.mark.usefixtures("made_already")
def test_what_the_registry_refuses_is_told_in_one_line(ecr: EcrServer, session: Any) -> None:
    ecr.refuse, ecr.password = NOT_THERE, "another"
    with pytest.raises(
        EndpointRefused, match=r"data-transfer-hub:1: .*(unauthorized|authentication)"
    ) as told:
        image.publish_image(session, MACHINE, "1", lambda line: None)
    assert "\n" not in str(told.value)
    assert "another" not in str(told.value)


def test_without_debian_packages_one_line_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "PACKAGES", ("no-such-package",))
    with pytest.raises(
        StateError,
        match=r"are not available: Unable to locate package no-such-package; with docker, ",
    ):
        image.make_image(MACHINE, tmp_path / "one", lambda line: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StateError, match="apt-get is not here; with docker, "):
        image.make_image(MACHINE, tmp_path / "two", lambda line: None)


def test_the_dockerfile_makes_an_image_that_runs_alike() -> None:
    """Compared, not built: that takes a docker engine."""
    text = Path(image.__file__).with_name("Dockerfile").read_text("utf-8")
    last = text.rpartition("\nFROM ")[2]
    said = dict(line.split(" ", 1) for line in last.splitlines() if line.split(" ")[0].isupper())
    assert said["USER"] == image.CONFIG["User"]
    assert said["WORKDIR"] == image.CONFIG["WorkingDir"]
    assert said["ENV"].split() == image.CONFIG["Env"]
    assert json.loads(said["ENTRYPOINT"]) == image.CONFIG["Entrypoint"]
