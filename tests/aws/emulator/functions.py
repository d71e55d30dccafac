"""Lambda: functions run this checkout, with the Python that has it; what the zip brings is for
another processor."""

from __future__ import annotations

from ministack.core import lambda_runtime

from tests.aws.emulator.patching import replace

FIRST, LAST = "sys.path.insert(0, code_dir)", "sys.path.append(code_dir)"


def patch() -> None:
    replace(lambda_runtime, "_PYTHON_WORKER_SCRIPT", _code_last)


def _code_last(script: str) -> str:
    if script.count(FIRST) != 1:
        raise ImportError(
            "this MiniStack finds a function's code otherwise; the patch needs another place"
        )
    return script.replace(FIRST, LAST)
