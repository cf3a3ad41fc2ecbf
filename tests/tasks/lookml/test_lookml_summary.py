"""What pages show of a validator's result."""

from __future__ import annotations

from typing import Any

from runyard.tasks.lookml.report import failure
from runyard.tasks.lookml.summary import ROWS, summary


def error(dimension: str, message: str = "no such column") -> dict[str, Any]:
    return {"message": message, "dimension": dimension, "sql": "", "file": "views/a.view.lkml", "line": 7}


def outcome_of(*errors: dict[str, Any]) -> dict[str, Any]:
    explore = {
        "model": "shop", "explore": "orders", "status": "failed" if errors else "passed",
        "skip_reason": "", "problem": "", "dimensions": 3, "queries": 1, "errors": list(errors),
    }  # fmt: skip
    status = "failed" if errors else "passed"
    return {"validator": "sql", "status": status, "problem": "", "summary": {}, "tested": [explore]}


def test_the_same_error_of_many_dimensions_is_one_row() -> None:
    text = summary(outcome_of(error("orders.a"), error("orders.b"), error("orders.c", "other")))
    assert "| error | `orders.a` and 1 more | `views/a.view.lkml:7` | no such column |" in text
    assert text.count("no such column") == 1
    assert "| ✗ | `shop/orders` | 3 | 3 |" in text


def test_a_strangers_text_stays_in_its_cell() -> None:
    text = summary(outcome_of(error("a`|b", "x | y\n| z |")))
    (row,) = [line for line in text.splitlines() if "error |" in line]
    assert row.replace("\\|", "").count("|") == 5


def test_what_could_not_run_says_why_and_long_lists_are_cut() -> None:
    assert "Could not validate: no database" in summary(failure("sql", "no database"))
    many = summary(outcome_of(*(error("d", f"message {n}") for n in range(ROWS + 5))))
    assert "5 more rows are in the report." in many
