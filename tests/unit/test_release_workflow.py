"""The workflow of a release, as far as it can be judged without running it."""

import re
from typing import Any

import pytest
import yaml

from tests.servers.process import REPOSITORY

# YAML 1.1 reads `on` as true.
WORKFLOW: Any = yaml.safe_load((REPOSITORY / ".github/workflows/release.yml").read_text("utf-8"))
JOBS: dict[str, Any] = WORKFLOW["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]


def test_it_runs_by_hand_and_for_tags_of_versions() -> None:
    assert WORKFLOW[True] == {"workflow_dispatch": None, "push": {"tags": ["v*"]}}


def test_only_a_checked_tag_is_published_and_only_where_that_is_switched_on() -> None:
    publish = JOBS["publish"]
    assert publish["needs"] == ["build", "check"]
    assert publish["if"] == "startsWith(github.ref, 'refs/tags/v') && vars.PUBLISH == 'true'"


def test_nothing_may_write_but_the_publisher_who_may_only_say_who_it_is() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert {name: job.get("permissions") for name, job in JOBS.items()} == {
        "build": None,
        "check": None,
        "publish": {"id-token": "write"},
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
