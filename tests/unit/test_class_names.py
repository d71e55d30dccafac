"""One name for one thing: a class name stands in one module, so that a traceback or a search leads
to it."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.servers.process import REPOSITORY


def test_a_class_name_stands_in_one_module() -> None:
    modules = defaultdict(list)
    for path in sorted((REPOSITORY / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                modules[node.name].append(str(path.relative_to(REPOSITORY)))
    assert {name: found for name, found in modules.items() if len(found) > 1} == {}
