"""Damaged projects: whatever is cut, doubled or swapped in the example, the validators end with findings, never with an exception."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from runyard.tasks.lookml.databases import Refusal
from runyard.tasks.lookml.language.model import models
from runyard.tasks.lookml.language.project import from_texts
from runyard.tasks.lookml.sql.dialects import Dialect
from runyard.tasks.lookml.validators import sqlcheck
from runyard.tasks.lookml.validators.checks import validate

from .conftest import BAKERY

PIECES = ["{", "}", "[", "]", ";;", '"', ":", ",", "${", "}", "{%", "%}", "{{", "+", "-", "*", "@{", ".", "\n", "#", "\0", "é", "view: ", "extends: [orders]",
    "from: customers", "${orders.SQL_TABLE_NAME}", "${TABLE}", "type: tier", "type: duration", "type: distance", "explore_source: customers { column: id {} }",
    "derived_table: { sql: SELECT 1 ;; }", "primary_key: yes", "timeframes: []", "fields: [-ALL_FIELDS*]", "foreign_key: id", "case: { when: {} }", "sql: ;;"]  # fmt: skip


class Refusing:
    """A database that refuses every third query, somewhere."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect: Dialect = dialect
        self.asked = 0

    def bind(self, sql: str) -> Refusal | None:
        self.asked += 1
        return Refusal("no", self.asked % 40, self.asked % 30) if self.asked % 3 == 0 else None

    def close(self) -> None:
        pass


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
