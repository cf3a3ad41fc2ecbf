"""The house rules that a machine can see: length budgets, names, docstrings, the same files in every
dialect."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "runyard"
GENERATED = ("dialects/depot/gen/", "store/migrations/versions/")
MODULES = sorted(p for p in SRC.rglob("*.py") if not any(g in p.as_posix() for g in GENERATED))
TREES = {p: ast.parse(p.read_text()) for p in MODULES}


def shown(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def quantile(values: list[int], share: float) -> int:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def functions() -> list[tuple[str, int]]:
    found = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                found.append((f"{shown(path)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1))
    return found


def test_files_keep_their_length_budget() -> None:
    lengths = {shown(p): len(p.read_text().splitlines()) for p in MODULES}
    assert {name: n for name, n in lengths.items() if n > 600} == {}
    sizes = [n for name, n in lengths.items() if not name.endswith("__init__.py")]
    assert quantile(sizes, 0.5) <= 200
    assert quantile(sizes, 0.9) <= 400


def test_functions_keep_their_length_budget() -> None:
    lengths = functions()
    assert [entry for entry in lengths if entry[1] > 80] == []
    sizes = [n for _, n in lengths]
    assert quantile(sizes, 0.5) <= 12
    assert quantile(sizes, 0.9) <= 35


def test_no_module_is_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [shown(p) for p in MODULES if p.stem in drawers or p.parent.name in drawers] == []


def test_no_class_is_named_after_its_pattern() -> None:
    bad = re.compile(r"(Manager|Handler|Service|Helper|Util|Base|Abstract)$")
    names = [
        f"{shown(p)} {node.name}"
        for p, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and bad.search(node.name)
    ]
    assert names == []


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_every_module_says_what_it_is(path: Path) -> None:
    text = ast.get_docstring(TREES[path]) or ""
    assert len(text) >= 20


def test_every_dialect_has_the_same_files() -> None:
    for dialect in ("gitlab", "depot", "looker", "datafold"):
        folder = SRC / "dialects" / dialect
        names = {p.name for p in folder.iterdir()}
        assert {"__init__.py", "shapes.py", "words.py", "README.md"} <= names, dialect
        assert any(n.startswith("routes") for n in names), dialect


def test_no_registry_host_is_named() -> None:
    root = SRC.parents[1]
    hosts = re.compile(
        r"(pypi\.org|files\.pythonhosted|registry\.npmjs|deb\.debian\.org|proxy\.golang|crates\.io)"
    )
    skipped = {".clients", ".git", "node_modules", *(p.name for p in root.glob(".venv*"))}
    texts = [
        p
        for p in root.rglob("*")
        if p.is_file()
        and not skipped & set(p.relative_to(root).parts)
        and p.suffix in {".py", ".toml", ".txt", ".md", ".cfg", ".yml", ".sh", ""}
        and p != Path(__file__)
    ]
    assert [str(p.relative_to(root)) for p in texts if hosts.search(p.read_text(errors="replace"))] == []


def test_property_tests_have_no_deadline() -> None:
    """`conftest.pytest_collectstart` has seen that this module speaks of hypothesis."""
    from hypothesis import settings

    assert settings().deadline is None and settings(max_examples=1).deadline is None
