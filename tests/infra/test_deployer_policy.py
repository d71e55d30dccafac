"""The policies of who deploys: current, known to IAM, short enough, and never more than by way of
CloudFormation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docs import deployer_policy
from docs.deployer_policy import DEPLOYMENTS, MOST, VIA
from tests.infra.test_real_accounts import _unknown

OWN = {"Stacks", "Assets", "Images", "Token", "Builds", "Runs"}


@pytest.fixture(scope="module")
def made(templates: dict[str, Path]) -> dict[str, Any]:
    return deployer_policy.read_templates(templates)


def test_the_page_is_current(made: dict[str, Any]) -> None:
    text = deployer_policy.PAGE.read_text("utf-8")
    assert text == deployer_policy.page(made), "run: python -m docs.generate"


@pytest.mark.parametrize("title", DEPLOYMENTS)
def test_policies_are_ones_that_iam_takes(made: dict[str, Any], title: str) -> None:
    documents = deployer_policy.policies(made, DEPLOYMENTS[title])
    sids = [each["Sid"] for document in documents for each in document["Statement"]]
    assert len(sids) == len(set(sids))
    for document in documents:
        assert deployer_policy._length(document["Statement"]) <= MOST
        for each in document["Statement"]:
            assert each["Sid"].isalnum()
            assert _unknown(each) == []
            assert each["Sid"] in OWN | {"LinkedRoles"} or each["Condition"] == VIA


@pytest.mark.parametrize("title", DEPLOYMENTS)
def test_every_type_of_the_templates_is_covered(made: dict[str, Any], title: str) -> None:
    kinds = {
        each["Type"]
        for name in DEPLOYMENTS[title]
        for each in made[name]["Resources"].values()
        if each["Type"] != "AWS::CloudFormation::CustomResource"
    }
    known = deployer_policy.handlers()
    assert kinds - known.keys() == set()
    assert all(known[kind] for kind in kinds)
    # Data is not for who deploys.
    actions = set().union(*(deployer_policy.made_by(made[each]) for each in DEPLOYMENTS[title]))
    assert (
        not {"dynamodb:GetItem", "dynamodb:Scan", "s3:DeleteObject", "sqs:ReceiveMessage"} & actions
    )
