"""What watches a hub: the alert rules and the dashboard of deploy/ ask for what a hub exports, and
each alert has its page."""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import Any

import pytest
import yaml

from tests.engine import Side, wait_for
from tests.hub import Hub
from tests.servers.process import REPOSITORY
from tests.servers.reverse_proxy import needed

PROMETHEUS = REPOSITORY / "deploy/prometheus"
DASHBOARD = json.loads((REPOSITORY / "deploy/grafana/data-transfer-hub.json").read_text("utf-8"))
RULES = yaml.safe_load((PROMETHEUS / "rules.yaml").read_text("utf-8"))["groups"][0]["rules"]
SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? \S+$", re.MULTILINE)
# Prometheus adds them to each sample.
ADDED = {"instance", "job"}
SELECTOR = re.compile(r"\b((?:dth|process)_[a-z_]+|up)\b(?:\{([^}]*)\})?")
RUNBOOKS = "https://docs.example.org/runbooks/"


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory, s3_a: Any, s3_b: Any) -> dict[str, set[str]]:
    """The labels of each metric of a hub that is at work."""
    folder = tmp_path_factory.mktemp("watched")
    source, dest = Side(s3_a, s3_a.bucket()), Side(s3_b, s3_b.bucket())
    source.put({f"k{number}": bytes(100_000) for number in range(60)})
    with Hub(folder, DTH_LOG_FORMAT="json") as hub:
        # Slow enough to be seen at work.
        hub.create(source, dest, maxBytesPerSecond="100K")
        token = {"authorization": f"Bearer {hub.token}"}
        text = ""

        def has_everything() -> bool:
            nonlocal text
            time.sleep(0.2)
            text = hub.request("/metrics", headers=token)[1]
            typed = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
            return typed == {name for name, _ in SAMPLE.findall(text)}

        wait_for(has_everything, 60)
        labels = {
            name: set(re.findall(r'([a-z]+)="', given)) for name, given in SAMPLE.findall(text)
        }
        printed = hub.output.read_text().splitlines()
    assert [json.loads(line)["level"] for line in printed[:3]] == ["info"] * 3
    assert hub.url in json.loads(printed[0])["message"]
    return {"up": set(), **labels}


def queries() -> list[str]:
    """Every query of the dashboard, and of its variables."""
    panels = [target for each in DASHBOARD["panels"] for target in each.get("targets", ())]
    variables = [each["definition"] for each in DASHBOARD["templating"]["list"][1:]]
    return [each["expr"] for each in panels] + variables


def test_every_metric_and_label_is_exported(scraped: dict[str, set[str]]) -> None:
    asked = [*queries(), *(each["expr"] for each in RULES)]
    used = set()
    for query in asked:
        found = SELECTOR.findall(query)
        assert found, query
        for name, selector in found:
            assert name in scraped, query
            used.add(name)
            labels = set(re.findall(r"([a-z]+)=", selector))
            assert labels <= scraped[name] | ADDED, query
    exported = {name for name in scraped if name.startswith("dth_task")}
    assert exported <= used, "the dashboard shows what is measured"


def test_texts_name_labels_that_exist(scraped: dict[str, set[str]]) -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            known = {
                label for name, _ in SELECTOR.findall(target["expr"]) for label in scraped[name]
            }
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= known | ADDED
    for rule in RULES:
        known = {label for name, _ in SELECTOR.findall(rule["expr"]) for label in scraped[name]}
        said = re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])
        assert set(said) <= known | ADDED, rule["alert"]


@pytest.mark.quick
def test_the_dashboard_is_whole() -> None:
    ids = [each["id"] for each in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    places = [
        (x, y)
        for each in DASHBOARD["panels"]
        for x in range(each["gridPos"]["x"], each["gridPos"]["x"] + each["gridPos"]["w"])
        for y in range(each["gridPos"]["y"], each["gridPos"]["y"] + each["gridPos"]["h"])
    ]
    assert len(places) == len(set(places)), "no panel covers another"
    assert max(x for x, _ in places) < 24
    names = {each["name"] for each in DASHBOARD["templating"]["list"]}
    asked = re.findall(r"\$(?:{)?([a-z]+)\b", json.dumps(DASHBOARD["panels"]))
    assert set(asked) <= names


@pytest.mark.quick
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_has_its_page(rule: dict[str, Any]) -> None:
    link = rule["annotations"]["runbook_url"]
    assert link.startswith(RUNBOOKS)
    page = (
        REPOSITORY / "docs/runbooks" / f"{link.removeprefix(RUNBOOKS).strip('/')}.md"
    ).read_text("utf-8")
    assert page.startswith(f"# {rule['alert']}\n")
    assert [heading in page for heading in ("\n## What it means\n", "\n## What to do\n")] == [
        True,
        True,
    ]


@pytest.mark.quick
def test_no_page_is_without_an_alert() -> None:
    pages = {each.stem for each in (REPOSITORY / "docs/runbooks").glob("*.md")}
    linked = {each["annotations"]["runbook_url"].split("/")[-2] for each in RULES}
    assert pages == linked


@pytest.mark.quick
@pytest.mark.parametrize(
    "arguments",
    [
        ("test", "rules", "rules.test.yaml"),
        ("check", "rules", "rules.yaml"),
        ("check", "config", "--syntax-only", "prometheus.yaml"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    ran = subprocess.run(
        [needed("promtool"), *arguments],
        cwd=PROMETHEUS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.quick
def test_each_alert_is_tested_to_fire() -> None:
    tests = yaml.safe_load((PROMETHEUS / "rules.test.yaml").read_text("utf-8"))["tests"]
    fired = {
        each["alertname"]
        for test in tests
        for each in test.get("alert_rule_test", ())
        if each["exp_alerts"]
    }
    assert fired == {each["alert"] for each in RULES}
