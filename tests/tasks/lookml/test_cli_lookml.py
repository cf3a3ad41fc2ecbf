"""`runyard lookml` from a shell: exit codes, located findings, suggestions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from runyard.cli.lookml import app

from .conftest import BAKERY


def run(*argv: str) -> Result:
    return CliRunner().invoke(app, list(argv))


def test_a_clean_project_exits_with_zero(bakery_file: Path) -> None:
    done = run("check", str(BAKERY), "-c", f"bakery=duckdb://{bakery_file}")
    assert done.exit_code == 0, done.output
    assert "ok   bakery/order_items" in done.output
    done = run(
        "check",
        str(BAKERY),
        "-c",
        f"bakery=duckdb://{bakery_file}",
        "-o",
        "json",
        "--select",
        "bakery/customers",
    )
    assert [t["explore"] for t in json.loads(done.stdout)["sql"]["tested"]] == ["customers"]


def test_findings_exit_with_one_and_are_located(tmp_path: Path, bakery_file: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(BAKERY, bad)
    view = bad / "views" / "products.view.lkml"
    view.write_text(
        view.read_text()
        .replace("${TABLE}.price", "${TABLE}.prize")
        .replace("${name} LIKE '%cake", "${namxe} LIKE '%cake")
    )
    done = run("check", str(bad), "-c", f"bakery=duckdb://{bakery_file}")
    assert done.exit_code == 1
    assert (
        'views/products.view.lkml:19:20: error: Unknown or inaccessible field "products.namxe"' in done.output
    )
    assert "products.price: Binder Error" in done.output
    assert "at views/products.view.lkml:14" in done.output


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["sql", str(BAKERY), "-e", "order_itms", "-f", "x"], "did you mean 'order_items'?"),
        (
            ["sql", str(BAKERY), "-e", "order_items", "-f", "orders.created_mnth"],
            "did you mean 'orders.created_month'?",
        ),
        (["sql", str(BAKERY), "-m", "bakry", "-e", "order_items", "-f", "x"], "did you mean 'bakery'?"),
        (
            ["sql", str(BAKERY), "-e", "order_items", "-f", "x", "--dialect", "oracle"],
            "duckdb and postgres are",
        ),
        (["check", str(BAKERY), "-c", "bakery"], "is not NAME=VALUE"),
        (["check", str(BAKERY), "-c", "bakery=duckdb:///none.duckdb"], "there is no DuckDB file"),
        (["check", str(BAKERY), "-c", "bakery=oracle://x"], "served are duckdb and postgres"),
    ],
)
def test_what_cannot_be_done_exits_with_two_and_a_hint(argv: list[str], message: str) -> None:
    done = run(*argv)
    assert (done.exit_code, message in done.output) == (2, True), done.output


def test_sql_prints_the_query_in_either_dialect() -> None:
    done = run(
        "sql",
        str(BAKERY),
        "-e",
        "order_items",
        "-f",
        "orders.created_month,orders.count",
        "--dialect",
        "postgres",
    )
    assert done.exit_code == 0
    assert "TO_CHAR(orders.created_at, 'YYYY-MM')" in done.output
    assert "COUNT(DISTINCT orders.id)" in done.output
