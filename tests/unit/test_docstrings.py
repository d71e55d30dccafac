"""Public classes and functions say what they mean: in a docstring, or where the same thing is
described already."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

import pytest

from tests.servers.process import REPOSITORY

SOURCE = REPOSITORY / "src/dth"
PACKAGES = ("core", "objects", "images", "hub")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
# Made from `schema.graphql`, which describes them: root fields, answers, and how these are filled.
OF_THE_SCHEMA = ("query", "mutation", "answers")


def public(tree: ast.Module) -> Iterator[tuple[str, Definition, ast.ClassDef | None]]:
    """What a module defines for others: path, definition, and the class that it is in."""
    for node in tree.body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node.name, node, None
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, Definition) and not inner.name.startswith("_"):
                        yield f"{node.name}.{inner.name}", inner, node


def of_the_schema(node: Definition | None) -> bool:
    calls = (each for each in node.decorator_list if isinstance(each, ast.Call)) if node else ()
    return any(ast.unparse(each.func) in OF_THE_SCHEMA for each in calls)


@cache
def trees() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(SOURCE)): ast.parse(path.read_text("utf-8"))
        for package in PACKAGES
        for path in sorted((SOURCE / package).rglob("*.py"))
    }


@cache
def described_methods() -> set[str]:
    """Methods of protocols and abstract classes that have a docstring: who implements one need not
    repeat it."""
    return {
        node.name
        for tree in trees().values()
        for _, node, owner in public(tree)
        if owner
        and ast.get_docstring(node)
        and any(
            ast.unparse(base).partition("[")[0] in ("Protocol", "ABC", "Plugin")
            for base in owner.bases
        )
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_public_is_described(package: str) -> None:
    known = described_methods()
    missing, count = [], 0
    for path, tree in trees().items():
        if path.startswith(f"{package}/"):
            for name, node, owner in public(tree):
                count += 1
                described = ast.get_docstring(node) or of_the_schema(node) or of_the_schema(owner)
                if not described and not (owner and node.name in known):
                    missing.append(f"{path}:{node.lineno} {name}")
    assert count > 100
    assert missing == []
