"""Damaged projects: whatever is cut, doubled or swapped in the example, the validators end with findings,
never with an exception."""

from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path

import pytest

from runyard.tasks.lookml.databases import Refusal, Rows
from runyard.tasks.lookml.language.model import models
from runyard.tasks.lookml.language.project import from_texts
from runyard.tasks.lookml.sql.dialects import Dialect
from runyard.tasks.lookml.validators import sqlcheck
from runyard.tasks.lookml.validators.asserts.run import AssertOptions, run_one
from runyard.tasks.lookml.validators.asserts.tests import tests as data_tests
from runyard.tasks.lookml.validators.checks import validate
from runyard.tasks.lookml.validators.content.check import ContentOptions
from runyard.tasks.lookml.validators.content.check import validate as validate_content
from runyard.tasks.lookml.validators.style.check import check
from runyard.tasks.lookml.validators.style.config import read

from .conftest import BAKERY
from .shop import SHOP

PIECES = ["{", "}", "[", "]", ";;", '"', ":", ",", "${", "}", "{%", "%}", "{{", "+", "-", "*", "@{", ".", "\n", "#", "\0", "é", "view: ", "extends: [orders]",
    "from: customers", "${orders.SQL_TABLE_NAME}", "${TABLE}", "type: tier", "type: duration", "type: distance", "explore_source: customers { column: id {} }",
    "derived_table: { sql: SELECT 1 ;; }", "primary_key: yes", "timeframes: []", "fields: [-ALL_FIELDS*]", "foreign_key: id", "case: { when: {} }", "sql: ;;"]  # fmt: skip


class Refusing:
    """A database that refuses every third query, somewhere."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect: Dialect = dialect
        self.written: Dialect | None = None
        self.asked = 0

    def bind(self, sql: str) -> Refusal | None:
        self.asked += 1
        return Refusal("no", self.asked % 40, self.asked % 30) if self.asked % 3 == 0 else None

    def run(self, sql: str, max_rows: int) -> Rows | Refusal:
        return self.bind(sql) or Rows((), [tuple(range(40))] * min(3, max_rows))

    def session(self) -> Refusing:
        return self

    def close(self) -> None:
        pass


STYLE = read("{}", "lkmlstyle.yaml")
NOW = datetime(2026, 1, 1)  # noqa: DTZ001  expressions know no zones


def damaged(seed: int) -> dict[str, bytes]:
    chance = random.Random(seed)
    files = {p.relative_to(BAKERY).as_posix(): p.read_text() for p in sorted(Path(BAKERY).rglob("*.lkml"))}
    for _ in range(chance.randint(1, 6)):
        path = chance.choice(sorted(files))
        text = files[path]
        a, b = sorted((chance.randrange(len(text) + 1), chance.randrange(len(text) + 1)))
        b = min(b, a + chance.choice([1, 5, 40, 400]))
        match chance.randrange(4):
            case 0:
                text = text[:a] + text[b:]
            case 1:
                text = text[:b] + text[a:b] + text[b:]
            case 2:
                text = text[:a] + chance.choice(PIECES) + text[a:]
            case _:
                words = text.split(" ")
                i, j = chance.randrange(len(words)), chance.randrange(len(words))
                words[i], words[j] = words[j], words[i]
                text = " ".join(words)
        files[path] = text
    return {path: text.encode() for path, text in sorted(files.items())}


@pytest.mark.parametrize("block", range(6))
def test_a_damaged_project_never_raises(block: int) -> None:
    for seed in range(block * 50, block * 50 + 50):
        project = from_texts(damaged(seed).items())
        findings = validate(project)
        assert all(f.line >= 0 and f.message for f in findings), seed
        dialect: Dialect = "duckdb" if seed % 2 else "postgres"
        for model in models(project):
            for explore in model.all_explores():
                tried = sqlcheck.try_explore(explore, Refusing(dialect), sqlcheck.Options())
                assert tried.status in ("passed", "failed", "skipped"), seed
        assert all(f.message and f.line > 0 for f in check(project, STYLE)), seed
        for test in data_tests(models(project)):
            errors, success = run_one(test, Refusing(dialect), AssertOptions(NOW))
            assert errors or success, seed


@pytest.mark.parametrize("block", range(3))
def test_damaged_dashboards_and_exports_never_raise(block: int) -> None:
    files = {
        p.relative_to(SHOP).as_posix(): p.read_text()
        for p in sorted(SHOP.rglob("*"))
        if p.suffix in (".lkml", ".lookml", ".json")
    }
    content = sorted(p for p in files if not p.endswith(".lkml"))
    for seed in range(block * 60, block * 60 + 60):
        chance = random.Random(seed)
        broken = dict(files)
        for path in content:
            text = broken[path]
            for _ in range(chance.randint(1, 3)):
                a = chance.randrange(len(text))
                text = (
                    text[:a]
                    + chance.choice(["", *PIECES, "- ", ": ", "&a ", "*a", "\t", "'", "[1,", "{}"])
                    + text[a + chance.choice([0, 1, 8]) :]
                )
            broken[path] = text
        project = from_texts((p, t.encode()) for p, t in sorted(broken.items()))
        found = validate_content(project, models(project), ContentOptions())
        assert all(e.message and e.file for t in found for e in t.errors), seed
