"""The page of costs is what the script makes of the data file, and its figures follow from it."""

from __future__ import annotations

import copy
import json
import re

import pytest

from docs import cost
from docs.cost import LARGE, SMALL, TIB, Costs


@pytest.fixture
def data() -> dict[str, object]:
    found: dict[str, object] = json.loads(cost.DATA.read_text("utf-8"))
    return found


def test_the_page_is_what_the_script_makes() -> None:
    assert cost.PAGE.read_text("utf-8") == cost.page(), "run: python -m docs.generate"


def test_every_price_and_premise_is_shown_and_dated(
    data: dict[str, dict[str, list[object]]],
) -> None:
    text = cost.page()
    for kind in ("prices", "premises"):
        for value, about, *source in data[kind].values():
            assert f"| {about} | {value:g} |" in text
            assert all(f"| {each} |" in text for each in source)
    assert f"list prices of {data['region']} ({data['date']})" in text
    assert re.fullmatch(r"20\d\d-\d\d", str(data["date"]))


@pytest.mark.parametrize("kind", ["prices", "premises"])
def test_every_price_and_premise_is_used(
    kind: str, data: dict[str, dict[str, list[float]]]
) -> None:
    """Each one changes a figure besides its own row."""
    rows = len(re.findall(r"^\| ", cost.page(), re.MULTILINE))
    assert rows > 40
    unused = []
    for name in data[kind]:
        changed = copy.deepcopy(data)
        changed[kind][name][0] *= 1000
        before, after = cost.page().splitlines(), cost.page(changed).splitlines()
        different = [line for line in after if line not in before]
        if len(different) < 2:
            unused.append(name)
    assert unused == []


def test_figures_add_up(data: dict[str, dict[str, list[float]]]) -> None:
    costs = Costs(data)
    [database, queue, workers, *_] = costs.transfer(SMALL)
    objects = TIB / SMALL
    assert database.usd == pytest.approx(objects * 1.035 * 0.625 / 1e6)
    assert queue.usd == pytest.approx(objects * 0.04 * 0.40 / 1e6)
    # Halfway between both rates.
    hours = (objects / 300 + objects / 600) / 2 / 3600
    assert workers.usd == pytest.approx(hours * costs.worker_hour)
    assert costs.worker_bytes == pytest.approx(60e6)
    assert costs.transfer(LARGE)[2].usd == pytest.approx(TIB / 60e6 / 3600 * costs.worker_hour)
    assert costs.datasync(enhanced=False) == pytest.approx(TIB / 1e9 * 0.0125)


def test_a_waiting_task_costs_what_its_template_has(
    data: dict[str, dict[str, list[float]]],
) -> None:
    lines = {line.what: line.usd for line in Costs(data).waiting()}
    assert lines["alarms"] == pytest.approx(0.20)
    looks = 730 * 60
    seconds = looks * 0.9 * 0.5 + looks * 0.1 * 2
    assert lines["the function that looks each minute"] == pytest.approx(seconds * 0.5 * 1.33334e-5)
    assert sum(lines.values()) < 1
