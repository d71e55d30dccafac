"""The result that a process leaves for its caller: a preflight, a forecast, a probe."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULT_FILE = "result.json"


def write_result(state: Path, result: Mapping[str, Any]) -> None:
    (state / RESULT_FILE).write_text(json.dumps(result), "utf-8")


def read_result(state: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((state / RESULT_FILE).read_text("utf-8"))
    return found
