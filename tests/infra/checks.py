"""What templates are checked with: cdk-nag's findings against reasons, and an own look at state
machines."""

from __future__ import annotations

import importlib
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Accepted = dict[tuple[str, str, str], str]  # (resource, rule, part of what is found): why it is so

KINDS = {"Task", "Choice", "Wait", "Pass", "Map", "Parallel", "Succeed", "Fail"}


@dataclass(frozen=True)
class Findings:
    """(resource, rule) of cdk-nag's AwsSolutions."""

    found: list[tuple[str, str]]

    @classmethod
    def of(cls, module: str, name: str) -> Findings:
        """What the rules find in the stack of that name."""
        from dth.infra.app import prepare_cdk

        prepare_cdk()
        import aws_cdk as cdk
        from cdk_nag import AwsSolutionsChecks

        with tempfile.TemporaryDirectory() as scratch:
            app = cdk.App(outdir=scratch, analytics_reporting=False)
            getattr(importlib.import_module(module), name)(app, "checked")
            cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
            try:
                app.synth()
            except RuntimeError as error:
                if "ValidationFailed" not in str(error):
                    raise
            report = json.loads((Path(scratch) / "validation-report.json").read_text("utf-8"))
        found = [
            (construct["constructPath"].rpartition("/")[2], violation["ruleName"])
            for each in report["pluginReports"]
            for violation in each["violations"]
            for construct in violation["violatingConstructs"]
        ]
        assert found, "cdk-nag looked at nothing"
        return cls(found)

    def unexplained(self, accepted: Accepted) -> list[tuple[str, str]]:
        return [each for each in self.found if not any(_fits(each, reason) for reason in accepted)]

    def outdated(self, accepted: Accepted) -> list[tuple[str, str, str]]:
        """Reasons for what is not found any more."""
        return [
            reason for reason in accepted if not any(_fits(each, reason) for each in self.found)
        ]


def _fits(found: tuple[str, str], reason: tuple[str, str, str]) -> bool:
    resource, rule = found
    name, number, part = reason
    return (
        resource == name
        and re.search(rf"AwsSolutions-{number}\b", rule) is not None
        and part in rule
    )


def resources(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """The properties of a template's resources of a type, by name."""
    return {
        name: each.get("Properties", {})
        for name, each in template["Resources"].items()
        if each["Type"] == kind
    }


def inline(role: dict[str, Any]) -> list[dict[str, Any]]:
    """The policies of the role itself, those under a condition, too."""
    return [each["Fn::If"][1] if "Fn::If" in each else each for each in role.get("Policies", [])]


def read_state_machines(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The definitions of a template's state machines, with names in the place of what
    CloudFormation fills in."""
    machines = {}
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::StepFunctions::StateMachine":
            text = _filled(resource["Properties"]["DefinitionString"])
            machines[name] = json.loads(text)
    return machines


def _filled(value: Any) -> str:
    match value:
        case str():
            return value
        case {"Fn::Sub": [str(text), dict()]} | {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{([\w:.]+)\}", r"\1", text)
        case {"Fn::Join": [str(between), list(parts)]}:
            return between.join(map(_filled, parts))
        case {"Ref": str(name)}:
            return name
        case {"Fn::GetAtt": [str(name), str(attribute)]}:
            return f"{name}.{attribute}"
        case {"Fn::If": [str(), chosen, _]}:
            return _filled(chosen)
    raise AssertionError(f"no state machine is written with {value}")


def find_faults(machine: dict[str, Any], where: str = "the machine") -> list[str]:
    """What is wrong with a definition in Amazon States Language: targets that are not there, states
    that nothing leads to, states without an end, steps of retries that say nothing. cfn-lint does
    not see into what the CDK writes."""
    states = machine.get("States", {})
    faults = []
    targets = {machine.get("StartAt", "")}
    for name, state in states.items():
        here = f"{where}: {name}"
        kind = state.get("Type")
        if kind not in KINDS:
            faults.append(f"{here} has no known type: {kind}")
        leads = _targets(state)
        targets |= leads
        faults += [
            f"{here} leads to {target}, which is not there" for target in leads - states.keys()
        ]
        if kind not in ("Choice", "Succeed", "Fail") and not ("Next" in state) ^ bool(
            state.get("End")
        ):
            faults.append(f"{here} has neither a next state nor an end, or both")
        if kind == "Choice" and not state.get("Choices"):
            faults.append(f"{here} chooses among nothing")
        if kind == "Task" and not str(state.get("Resource", "")).startswith("arn:"):
            faults.append(f"{here} does nothing: Resource is {state.get('Resource')}")
        for each in (*state.get("Retry", ()), *state.get("Catch", ())):
            if not each.get("ErrorEquals"):
                faults.append(f"{here} tries again or catches without saying what")
            elif "States.ALL" in each["ErrorEquals"] and len(each["ErrorEquals"]) > 1:
                faults.append(f"{here}: States.ALL stands alone")
        inner = [state["ItemProcessor"]] if "ItemProcessor" in state else state.get("Branches", [])
        if kind in ("Map", "Parallel") and not inner:
            faults.append(f"{here} repeats nothing")
        for each in inner:
            faults += find_faults(each, here)
    if machine.get("StartAt") not in states:
        faults.append(f"{where} starts at {machine.get('StartAt')}, which is not there")
    faults += [f"{where}: nothing leads to {name}" for name in states.keys() - targets]
    return sorted(faults)


def _targets(state: dict[str, Any]) -> set[str]:
    found = {state[name] for name in ("Next", "Default") if name in state}
    found |= {
        each["Next"]
        for each in (*state.get("Catch", ()), *state.get("Choices", ()))
        if "Next" in each
    }
    return found


@dataclass(frozen=True)
class Resolved:
    """What CloudFormation makes of values in a template, with some parameters and the defaults of
    the others."""

    template: dict[str, Any]
    given: dict[str, str]

    def value(self, value: Any) -> Any:
        match value:
            case {"Ref": "AWS::NoValue"}:
                return None
            case {"Ref": str(name)}:
                return self.given.get(name, self.template["Parameters"][name].get("Default", ""))
            case {"Fn::FindInMap": [str(table), key, str(name)]}:
                return self.template["Mappings"][table][self.value(key)][name]
            case {"Fn::Join": [str(between), list(parts)]}:
                return between.join(map(self.value, parts))
            case {"Fn::Split": [str(between), text]}:
                return self.value(text).split(between)
            case {"Fn::Select": [number, parts]}:
                return self.value(parts)[int(number)]
            case {"Fn::If": [str(name), yes, no]}:
                return self.value(yes if self.holds(self.template["Conditions"][name]) else no)
        return value

    def holds(self, condition: dict[str, Any]) -> bool:
        match condition:
            case {"Fn::Equals": [one, other]}:
                return bool(self.value(one) == self.value(other))
            case {"Fn::Not": [each]}:
                return not self.holds(each)
            case {"Fn::And": each}:
                return all(map(self.holds, each))
            case {"Fn::Or": each}:
                return any(map(self.holds, each))
        raise AssertionError(condition)
