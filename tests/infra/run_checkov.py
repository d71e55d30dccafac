"""Checks the templates with checkov: `make checkov`.

checkov needs other versions of many packages, so it is in an environment of its own. One template
serves all partitions (`hub-oidc` is the one for China), and checkov knows no partitions: what holds
in only some of them, cfn-lint looks at (`test_templates`). checkov does not evaluate conditions
either. Every finding needs a reason here. A reason that nothing needs any more is an error, too.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from dth.infra.app import synth

# The rule, and the resource or "" for all: why it is so.
ACCEPTED = {
    ("CKV_AWS_115", ""): "what one function reserves, all others of the account lack, and a new "
    "account has 10 in all",
    ("CKV_AWS_116", ""): "each of them is called again: by its schedule each minute, by the state "
    "machine, by CloudFormation or by whoever asked; the next call does what was left",
    ("CKV_AWS_117", ""): "they call the APIs of AWS; in a VPC they would need NAT or endpoints",
    ("CKV_AWS_173", ""): "the variables hold names and no secrets; AWS encrypts them with its key",
    ("CKV_AWS_28", ""): "the parameter pointInTimeRecovery says which tables",
    ("CKV_AWS_65", "Cluster"): "its metrics cost more than the containers, whose logs and outcomes "
    "the task has",
    ("CKV_AWS_174", "Distribution"): "TLS 1.2 is the least with a domain; a certificate of "
    "CloudFront itself takes no such setting",
    ("CKV_AWS_86", "Distribution"): "the console is static files; the API has the audit log",
    ("CKV_AWS_18", "Console"): "only CloudFront reads it, and it holds what anybody may see",
    ("CKV_AWS_21", "Console"): "each update of the hub fills it again from the asset bucket",
    ("CKV_AWS_111", "MakesQueues"): "the only writes to all resources are of dashboards, which "
    "CloudFormation names without the stack's name",
    ("CKV_AWS_111", "TaskBoundary"): "a boundary gives nothing; of these actions some know no "
    "resources, and others have a condition",
}


def findings(checkov: str, template: Path) -> set[tuple[str, str]]:
    """The rule and the resource of each finding."""
    ran = subprocess.run(
        [checkov, "--file", template, "--framework", "cloudformation", "--output", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode not in (0, 1):
        raise SystemExit(f"checkov: {ran.stderr.strip()}")
    found = json.loads(ran.stdout)
    if not found["summary"]["passed"] or found["summary"]["parsing_errors"]:
        raise SystemExit(f"checkov looked at nothing in {template.name}")
    return {
        (each["check_id"], each["resource"].rpartition(".")[2])
        for each in found["results"]["failed_checks"]
    }


def main(checkov: str) -> int:
    wrong, used = 0, set()
    with tempfile.TemporaryDirectory() as folder:
        synth(Path(folder))
        for template in sorted(Path(folder).glob("*.json")):
            for rule, resource in sorted(findings(checkov, template)):
                known = {(rule, resource), (rule, "")} & ACCEPTED.keys()
                used |= known
                if not known:
                    wrong += 1
                    print(f"{template.name}: {rule} {resource}")
    for rule, resource in sorted(ACCEPTED.keys() - used):
        wrong += 1
        print(f"nothing needs this reason any more: {rule} {resource}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
