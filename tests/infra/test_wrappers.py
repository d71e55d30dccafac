"""The Terraform module and the CDK construct wrap the templates, and their examples are whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dth.infra import MAX_HUB_NAME

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "deploy/terraform"
MODULES = [TERRAFORM, *sorted((TERRAFORM / "examples").iterdir())]


# Terraform and its provider are in no registry of packages that the checks install from, so these
# two are beside the tests below, which need neither, and not among the tools that CI must have.
PLUGINS = os.environ.get("DTH_TERRAFORM_PLUGINS", "")


@pytest.mark.skipif(not shutil.which("terraform"), reason="there is no terraform here")
def test_terraform_s_files_are_read_and_formatted() -> None:
    terraform(TERRAFORM, "fmt", "-check", "-recursive", "-diff")


@pytest.mark.skipif(not PLUGINS, reason="DTH_TERRAFORM_PLUGINS names no folder with the provider")
@pytest.mark.parametrize("folder", MODULES, ids=lambda folder: folder.name)
def test_terraform_finds_it_valid(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "terraform"
    shutil.copytree(TERRAFORM, copy)
    place = copy / folder.relative_to(TERRAFORM)
    terraform(place, "init", "-backend=false", "-input=false", f"-plugin-dir={PLUGINS}")
    terraform(place, "validate")


def terraform(folder: Path, *arguments: str) -> None:
    ran = subprocess.run(
        ["terraform", f"-chdir={folder}", *arguments], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("folder", MODULES, ids=lambda folder: folder.name)
def test_blocks_are_closed_and_variables_are_declared(folder: Path) -> None:
    text = re.sub(r"^\s*#.*$", "", (folder / "main.tf").read_text("utf-8"), flags=re.MULTILINE)
    for begin, end in ("{}", "[]", "()"):
        assert text.count(begin) == text.count(end)
    declared = set(re.findall(r'^variable "(\w+)"', text, re.MULTILINE))
    assert declared == set(re.findall(r"\bvar\.(\w+)", text))


@pytest.mark.parametrize(("example", "name"), [("hub", "hub"), ("task", "s3")])
def test_examples_give_what_the_template_takes(
    templates: dict[str, Path], example: str, name: str
) -> None:
    text = (TERRAFORM / "examples" / example / "main.tf").read_text("utf-8")
    [block] = re.findall(r"parameters = \{\n(.*?)\n  \}", text, re.DOTALL)
    given = set(re.findall(r"^\s+(\w+)\s*=", block, re.MULTILINE))
    declared = json.loads(templates[name].read_text("utf-8"))["Parameters"]
    assert given <= declared.keys()
    # Publishing fills these in.
    needed = {each for each, about in declared.items() if "Default" not in about}
    assert needed - given == {"assetBucket", "assetPrefix"}
    outputs = json.loads(templates[name].read_text("utf-8"))["Outputs"]
    assert set(re.findall(r'outputs\["(\w+)"\]', text)) <= outputs.keys()
    arguments = set(
        re.findall(r'^variable "(\w+)"', (TERRAFORM / "main.tf").read_text(), re.MULTILINE)
    )
    [call] = re.findall(r'^module "\w+" \{\n(.*?)\n\}', text, re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"^  (\w+)\s*=", call, re.MULTILINE)) - {"source"} <= arguments


def test_names_of_hubs_are_as_long_as_the_hub_takes() -> None:
    assert f"length(var.name) <= {MAX_HUB_NAME}" in (TERRAFORM / "main.tf").read_text("utf-8")
    construct = (ROOT / "deploy/cdk/data_transfer_hub.py").read_text("utf-8")
    assert f"MAX_HUB_NAME = {MAX_HUB_NAME}" in construct


def test_the_cdk_s_example_makes_what_the_template_makes(
    templates: dict[str, Path], tmp_path: Path
) -> None:
    from dth.infra.publish import with_defaults

    published = tmp_path / "hub.json"
    text = templates["hub"].read_text("utf-8")
    published.write_text(with_defaults(text, assetBucket="assets", assetPrefix="dth/1.0"))
    program = f"from dth.infra.app import prepare_cdk; prepare_cdk(); import runpy, sys; \
sys.path.insert(0, {str(ROOT / 'deploy/cdk')!r}); sys.argv = ['app.py', {str(published)!r}]; \
runpy.run_path({str(ROOT / 'deploy/cdk/app.py')!r}, run_name='__main__')"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**_environment(), "CDK_OUTDIR": str(tmp_path / "out")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    made = json.loads((tmp_path / "out" / "dth.template.json").read_text("utf-8"))
    wrapped = json.loads(published.read_text("utf-8"))
    assert made["Resources"].keys() == wrapped["Resources"].keys()
    for name, resource in wrapped["Resources"].items():
        assert made["Resources"][name]["Type"] == resource["Type"]
    assert made["Parameters"].keys() == wrapped["Parameters"].keys() - {"adminEmail"}
    assert "you@example.org" in json.dumps(made["Resources"]["Administrator"])
    assert made["Outputs"].keys() == wrapped["Outputs"].keys()


def _environment() -> dict[str, str]:
    import os

    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
