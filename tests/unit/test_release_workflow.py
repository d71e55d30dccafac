"""The workflow of a release, as far as it can be judged without running it."""

import re
import tomllib
from typing import Any

import pytest
import yaml

from tests.servers.process import REPOSITORY

# YAML 1.1 reads `on` as true.
WORKFLOW: Any = yaml.safe_load((REPOSITORY / ".github/workflows/release.yml").read_text("utf-8"))
JOBS: dict[str, Any] = WORKFLOW["jobs"]
PAGE = (REPOSITORY / "docs/contributing/release.md").read_text("utf-8")
STEPS = [step for job in JOBS.values() for step in job["steps"]]


def test_it_runs_by_hand_and_for_tags_of_versions() -> None:
    assert WORKFLOW[True] == {"workflow_dispatch": None, "push": {"tags": ["v*"]}}


@pytest.mark.parametrize(("job", "switch"), [("publish", "PUBLISH"), ("image", "PUBLISH_IMAGE")])
def test_only_a_checked_tag_is_published_and_only_where_that_is_switched_on(
    job: str, switch: str
) -> None:
    assert JOBS[job]["needs"] == ["build", "check"]
    condition = f"startsWith(github.ref, 'refs/tags/v') && vars.{switch} == 'true'"
    assert JOBS[job]["if"] == condition
    assert switch in PAGE


def test_each_job_may_write_only_where_it_publishes() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert {name: job.get("permissions") for name, job in JOBS.items()} == {
        "build": None,
        "check": None,
        "publish": {"id-token": "write"},
        "image": {"contents": "read", "packages": "write"},
    }


@pytest.mark.parametrize("action", [step["uses"] for step in STEPS if "uses" in step])
def test_actions_are_pinned_by_their_major_version(action: str) -> None:
    assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", action)


def test_what_it_calls_is_there() -> None:
    commands = "\n".join(step.get("run", "") for step in STEPS)
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    targets = re.findall(r"^make ([\w-]+)$", commands, re.MULTILINE)
    assert targets == ["wheels"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert ".ci/run" in commands
    assert (REPOSITORY / ".ci/run").is_file()


def test_packages_that_are_checked_are_those_that_are_published() -> None:
    """Whatever a job takes from the build is what the build's own steps installed."""
    (made,) = (step for step in JOBS["build"]["steps"] if "upload-artifact" in str(step))
    assert made["with"]["path"] == "build/wheels/*"
    for job in ("publish", "image"):
        (taken,) = (step for step in JOBS[job]["steps"] if "download-artifact" in str(step))
        assert taken["with"]["name"] == made["with"]["name"]


@pytest.mark.parametrize("file", ["Dockerfile", "src/dth/infra/Dockerfile"])
def test_an_image_copies_what_there_is(file: str) -> None:
    for line in (REPOSITORY / file).read_text("utf-8").splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for name in line.split()[1:-1]:
                assert name.startswith("build/") or (REPOSITORY / name).exists(), name


def test_the_image_for_docker_has_what_the_package_is_built_from() -> None:
    """Without the extension and the console, which its machine does not need."""
    text = (REPOSITORY / "src/dth/infra/Dockerfile").read_text("utf-8")
    copied = set(re.findall(r"[\w./-]+", text.partition("COPY ")[2].partition("\n")[0]))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    settings = project["tool"]["hatch"]
    needed = {
        "pyproject.toml",
        settings["version"]["path"],
        settings["build"]["hooks"]["custom"]["path"],
        *settings["build"]["targets"]["wheel"]["force-include"],
        project["project"]["readme"],
        *project["project"]["license-files"],
    }
    assert needed <= copied
