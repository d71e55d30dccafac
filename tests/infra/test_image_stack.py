"""The image of tasks that copy images, built in the account by CodeBuild."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from dth.core.errors import StateError
from dth.infra import PYTHON, account_image, image_build
from dth.infra.account_image import build_images
from dth.infra.bundle import Target, needed
from dth.infra.deploy import DeployedStack, DeploymentFailed
from dth.infra.image_build import PACKAGES, build_commands
from dth.infra.publish import Published, PublishedTemplate
from tests.infra.checks import Findings, inline, resources

ACCEPTED = {
    ("BuildRole", "IAM5", "<assetPrefix>/*"): "the code of this version",
    ("BuildRole", "IAM5", "Resource::*"): "asking for a token takes no resource",
    ("BuildRole", "IAM5", ":log-group:"): "the streams of the stack's own log group",
    ("Project", "CB5", ""): "the rule reads no image that is a parameter",
}


@pytest.fixture
def template(templates: dict[str, Path]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(templates["image"].read_text("utf-8"))
    return found


def test_cdk_nag_finds_nothing_that_has_no_reason() -> None:
    found = Findings.of("dth.infra.image_stack", "ImageStack")
    assert found.unexplained(ACCEPTED) == []
    assert found.outdated(ACCEPTED) == []


def test_the_build_may_only_read_the_code_and_push_to_one_repository(
    template: dict[str, Any],
) -> None:
    [role] = resources(template, "AWS::IAM::Role").values()
    [own] = inline(role)
    allowed = {
        action: each["Resource"]
        for each in own["PolicyDocument"]["Statement"]
        for action in each["Action"]
    }
    services = {action.partition(":")[0] for action in allowed}
    assert services == {"s3", "ecr", "logs"}
    assert not {each for each in allowed if each.startswith("s3:Put") or "Delete" in each}
    assert "repository/data-transfer-hub" in json.dumps(allowed["ecr:PutImage"])
    [project] = resources(template, "AWS::CodeBuild::Project").values()
    assert project["Environment"]["PrivilegedMode"] is False
    assert project["Artifacts"] == {"Type": "NO_ARTIFACTS"}


def test_the_build_says_what_it_runs(template: dict[str, Any]) -> None:
    [project] = resources(template, "AWS::CodeBuild::Project").values()
    spec = json.loads(project["Source"]["BuildSpec"])
    assert spec["version"] == 0.2
    assert spec["phases"]["build"]["commands"] == ["\n".join(build_commands())]
    given = {each["Name"] for each in project["Environment"]["EnvironmentVariables"]}
    assert given == {"VERSION", "bundleArm64", "bundleX8664"}


@pytest.mark.parametrize("changed", [False, True])
def test_the_build_takes_the_code_that_was_published_and_no_other(
    tmp_path: Path, changed: bool
) -> None:
    """The commands as CodeBuild runs them, with a program that says how it was called."""
    code = tmp_path / "code"
    package = code / "dth" / "infra"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "image_build.py").write_text("import sys; print('ran', *sys.argv[1:])")
    digests = {}
    for name, variable in (("arm64", "bundleArm64"), ("x86_64", "bundleX8664")):
        packed = tmp_path / f"bundle-{name}.tar.gz"
        with tarfile.open(packed, "w:gz") as archive:
            archive.add(code / "dth", "dth")
        digests[variable] = hashlib.sha256(packed.read_bytes()).hexdigest()
    if changed:
        digests["bundleArm64"] = "0" * 64
    commands = "\n".join(build_commands()).replace("/opt/dth", str(tmp_path / "opt"))
    ran = subprocess.run(
        ["sh", "-c", commands],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "VERSION": "1.0-ab", **digests},
        capture_output=True,
        text=True,
        check=False,
    )
    if changed:
        assert ran.returncode == 1
        assert "bundle-arm64.tar.gz is not what was published: its SHA-256 is not 000" in ran.stderr
    else:
        assert (ran.returncode, ran.stdout) == (0, "ran 1.0-ab .\n"), ran.stderr


def test_the_published_code_is_unpacked_for_its_own_python(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("x = 1")
    with tarfile.open(tmp_path / "bundle-arm64.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "module.py", "dth/module.py")
    unpack = image_build.published_code(tmp_path)
    unpack(Target("aarch64"), tmp_path / "tree")
    assert (tmp_path / "tree" / "dth" / "module.py").read_text() == "x = 1"
    with pytest.raises(StateError, match=rf"have Python 3.9, and the code is for {PYTHON}: give"):
        unpack(Target("aarch64", "3.9"), tmp_path / "other")


def test_the_build_needs_nothing_but_the_bundle_and_debian_s_packages() -> None:
    program = (
        "import sys, dth.infra.image_build, botocore.session; "
        "print(*{each.partition('.')[0] for each in sys.modules})"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    known = {each.replace("-", "_").replace("python_", "") for each in needed(Target("x86_64"))}
    known |= {"dth", "packaging", "yaml", "_cffi_backend", "__main__", "dateutil"}
    foreign = set(ran.stdout.split()) - known - sys.stdlib_module_names
    # What is installed beside this checkout for editable packages and coverage.
    assert not {each for each in foreign if each in ("boto3", "aws_cdk", "constructs", "jsii")}
    assert "python3-packaging" in PACKAGES.split()


class Account:
    """The clients of a session, of an account without the image. `builds`: what is answered about
    the build, one after the other."""

    def __init__(self, *builds: dict[str, Any]) -> None:
        self.builds = list(builds)
        self.started: list[str] = []

    def client(self, service: str) -> Any:
        return self

    def start_build(self, **asked: str) -> dict[str, Any]:
        self.started.append(asked["projectName"])
        return {"build": {"id": "project:1"}}

    def batch_get_builds(self, ids: list[str]) -> dict[str, Any]:
        assert ids == ["project:1"]
        return {"builds": [self.builds.pop(0)]}


PUBLISHED = Published("1.0-ab", {"image": PublishedTemplate("https://x/image.json", {})})
RUNNING = {"buildStatus": "IN_PROGRESS", "currentPhase": "BUILD"}


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_image, "PAUSE", 0)
    monkeypatch.setattr(DeployedStack, "deploy", lambda *_: True)
    monkeypatch.setattr(DeployedStack, "outputs", lambda *_: {"Project": "project"})
    monkeypatch.setattr(
        account_image, "find_images", lambda *_: ("host/data-transfer-hub:1.0-ab", False)
    )


@pytest.mark.usefixtures("deployed")
def test_a_build_is_started_and_followed_to_its_end() -> None:
    account, said = Account(RUNNING, RUNNING, {"buildStatus": "SUCCEEDED"}), []
    uri = build_images(account, PUBLISHED, said.append)
    assert (uri, account.started) == ("host/data-transfer-hub:1.0-ab", ["project"])
    assert said == [
        "building the image in the account: build project:1",
        "project:1: BUILD",
    ]


@pytest.mark.usefixtures("deployed")
def test_a_build_that_fails_says_why() -> None:
    contexts = [{"message": "exit status 1: sha256sum"}]
    failed = {
        "buildStatus": "FAILED",
        "phases": [{"phaseType": "INSTALL"}, {"phaseType": "BUILD", "contexts": contexts}],
        "logs": {"deepLink": "https://logs"},
    }
    with pytest.raises(
        DeploymentFailed,
        match="build project:1 is FAILED: BUILD: exit status 1: sha256sum; its log: https://logs",
    ):
        build_images(Account(failed), PUBLISHED, lambda line: None)


def test_images_that_are_there_are_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_image, "find_images", lambda *_: ("host/x:1", True))
    account = Account()
    assert build_images(account, PUBLISHED, lambda line: None) == "host/x:1"
    assert account.started == []
