"""Puts one small fault after the other into a copy of the sources, and runs the tests that should
notice it.

    python -m tests.mutants [--minutes 10] [--seed 1] [WORD ...]

A WORD chooses among the modules of `TARGETS`. Which faults are tried follows from the seed. Ends
with code 1 where a fault survived: no test failed. Read each: either a test is missing, or the
fault changes nothing that anybody can see.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
PACKAGE = "src/dth"
# Seconds for the tests of one fault. One that makes them hang is noticed.
LONGEST = 120

# Each module, and the tests that hold it to what it says.
TARGETS = {
    "objects/transfer/failures.py": (
        "tests/integration/test_faults.py tests/integration/test_odd_store.py"
    ),
    "objects/transfer/handlers.py": (
        "tests/integration/test_faults.py tests/integration/test_overlap.py"
    ),
    "objects/transfer/multipart.py": (
        "tests/unit/test_find_completed.py tests/integration/test_giant.py"
    ),
    "objects/transfer/worker.py": (
        "tests/unit/test_worker_progress.py tests/integration/test_faults.py"
    ),
    "objects/compare/merge.py": "tests/unit/test_compare.py tests/unit/test_finder.py",
    "platforms/local/records.py": "tests/contract/test_records.py tests/unit/test_local_records.py",
    "platforms/local/uploads.py": "tests/contract/test_uploads.py tests/unit/test_local_uploads.py",
    "platforms/local/queue.py": "tests/contract/test_queue.py tests/unit/test_local_queue.py",
    "hub/lifecycle.py": "tests/unit/test_lifecycle.py",
    "hub/steward.py": "tests/unit/test_steward.py",
    "core/retry_policy.py": "tests/unit/test_retry.py",
}
COMPARED = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
ast.GtE: ast.Gt,
            ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}  # fmt: skip
CALCULATED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv}


@dataclass(frozen=True)
class Mutant:
    line: int
    was: str
    becomes: str
    source: str


def mutants(text: str) -> Iterator[Mutant]:
    """Every fault that may be put into this module, one at a time."""
    tree = ast.parse(text)
    for number, node in enumerate(ast.walk(tree)):
        for change in range(2):
            changed = copy.deepcopy(tree)
            fault = next(each for at, each in enumerate(ast.walk(changed)) if at == number)
            if not _spoil(fault, change):
                break
            yield Mutant(node.lineno, ast.unparse(node), ast.unparse(fault), ast.unparse(changed))


def _spoil(node: ast.AST, change: int) -> bool:
    """Change the node in place, in the first or second way. False: there is no such way."""
    match node, change:
        case ast.Compare(ops=[op]), 0 if type(op) in COMPARED:
            node.ops = [COMPARED[type(op)]()]
        case ast.BoolOp(op=op), 0:
            node.op = ast.Or() if isinstance(op, ast.And) else ast.And()
        case ast.BinOp(op=op), 0 if type(op) in CALCULATED:
            node.op = CALCULATED[type(op)]()
        case ast.If(test=test), 0 | 1:
            node.test = ast.Constant(change == 1)
            del test
        case ast.Expr(value=ast.Await() | ast.Call()), 0:
            node.value = ast.Constant(None)  # the statement does nothing
        case ast.Return(value=ast.Constant(value=bool(value))), 0:
            node.value = ast.Constant(not value)
        case _:
            return False
    return True


def survives(root: Path, target: str, mutant: Mutant) -> bool:
    """Whether the tests of the module pass all the same."""
    module = root / PACKAGE / target
    kept = module.read_text("utf-8")
    module.write_text(mutant.source, "utf-8")
    try:
        return passes(root, target)
    finally:
        module.write_text(kept, "utf-8")


def passes(root: Path, target: str) -> bool:
    tests = [each for each in TARGETS[target].split() if (root / each).exists()]
    words = [
        "-m",
        "pytest",
        "-q",
        "-x",
        "-n0",
        "-p",
        "no:cacheprovider",
        "-m",
        "not slow",
        "-k",
        "not [aws",
    ]
    try:
        ran = subprocess.run(
            [sys.executable, *words, *tests],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return ran.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to go on")
    parser.add_argument(
        "--seed", type=int, default=1, help="which faults are tried, and in which order"
    )
    parser.add_argument("word", nargs="*", help="only modules whose path has one of these words")
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory(prefix="dth-mutants-") as folder:
        root = Path(folder)
        for name in ("src", "tests", "bench"):
            shutil.copytree(
                REPOSITORY / name,
                root / name,
                ignore=shutil.ignore_patterns("__pycache__", "_console"),
            )
        shutil.copy(REPOSITORY / "pyproject.toml", root)
        targets = [
            each
            for each in TARGETS
            if (root / PACKAGE / each).exists() and any(word in each for word in given.word or [""])
        ]
        if bad := [each for each in targets if not passes(root, each)]:
            print(f"the tests fail without a fault: {', '.join(bad)}", file=sys.stderr)
            return 2
        chance = random.Random(given.seed)
        waiting = {
            each: list(mutants((root / PACKAGE / each).read_text("utf-8"))) for each in targets
        }
        for faults in waiting.values():
            chance.shuffle(faults)
        killed = survived = 0
        # Each module gets its turn, however long the others are.
        while any(waiting.values()) and time.monotonic() < end:
            for target in [each for each in targets if waiting[each]]:
                if time.monotonic() >= end:
                    break
                mutant = waiting[target].pop()
                if survives(root, target, mutant):
                    survived += 1
                    was, becomes = (
                        each.split("\n")[0][:70] for each in (mutant.was, mutant.becomes)
                    )
                    print(f"survived: {target}:{mutant.line}: {was}  ->  {becomes}", flush=True)
                else:
                    killed += 1
        left = sum(map(len, waiting.values()))
        print(f"{killed} killed, {survived} survived, {left} not tried")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
