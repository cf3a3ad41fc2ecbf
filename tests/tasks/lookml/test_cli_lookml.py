"""`runyard lookml` from a shell: exit codes, located findings, suggestions."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from runyard.cli.lookml import app
from runyard.cli.lookml_check import verdict

from .conftest import BAKERY
from .shop import SHOP


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
    quiet = run("check", str(bad), "-c", f"bakery=duckdb://{bakery_file}", "-q")
    assert quiet.exit_code == 1
    assert "views/products.view.lkml:14: error: products.price: Binder Error" in quiet.output
    assert "[1/" not in quiet.output


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
            "duckdb, postgres, bigquery, snowflake, redshift are",
        ),
        (["check", str(BAKERY), "-c", "bakery"], "is not NAME=VALUE"),
        (["check", str(BAKERY), "-c", "bakery=duckdb:///none.duckdb"], "there is no DuckDB file"),
        (["check", str(BAKERY), "-c", "bakery=oracle://x"], "served are duckdb, postgres, bigquery"),
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
    assert "-- views/orders.view.lkml:" in done.output  # the source map beside the lines
    bare = run("sql", str(BAKERY), "-e", "order_items", "-f", "orders.count", "-o", "text")
    assert "--" not in bare.output


def git(folder: Path, *argv: str) -> None:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *argv], cwd=folder, check=True, capture_output=True)


def test_only_what_is_new_against_a_branch_counts(tmp_path: Path, bakery_file: Path) -> None:
    repository = tmp_path / "repository"
    project = repository / "lookml"
    shutil.copytree(BAKERY, project)
    view = project / "views" / "products.view.lkml"
    view.write_text(view.read_text().replace("${TABLE}.name ;;", "${TABLE}.nmae ;;"))
    git(repository, "init", "-q")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "broken as it is")
    connection = ["-c", f"bakery=duckdb://{bakery_file}"]
    assert run("check", str(project), *connection).exit_code == 1
    same = run("check", str(project), *connection, "--target", "main")
    assert same.exit_code == 0, same.output
    assert "skip bakery/order_items  (unmodified)" in same.output
    git(repository, "checkout", "-qb", "feature")
    view.write_text(view.read_text().replace("${TABLE}.price", "${TABLE}.prize"))
    new = run("check", str(project), *connection, "--target", "main")
    assert new.exit_code == 1
    assert "products.price: Binder Error" in new.output
    assert "products.name" not in new.output
    lost = run("check", str(project), "--target", "no-such-branch")
    assert lost.exit_code == 2
    assert "neither a branch, tag or commit" in lost.output


def test_documents_go_to_stdout_and_progress_beside_them(bakery_file: Path) -> None:
    argv = ["check", str(BAKERY), "-c", f"bakery=duckdb://{bakery_file}", "--measures"]
    for form, mark in (("json", '"lookml": {'), ("junit", "<testsuites"), ("sarif", '"version": "2.1.0"')):
        done = run(*argv, "-o", form)
        assert done.exit_code == 0
        assert mark in done.stdout
        assert "ok   bakery/order_items" not in done.stdout
        assert "ok   bakery/order_items" in done.stderr
        assert run(*argv, "-o", form, "-q").stderr == ""


def test_validators_run_when_there_is_something_for_them_or_when_asked() -> None:
    assert [line.partition(":")[0] for line in run("check", str(BAKERY)).output.splitlines()] == ["LookML"]
    shop = run("check", str(SHOP))
    assert [line.partition(":")[0] for line in shop.output.splitlines()] == ["LookML", "Style", "Content"]
    style = run("check", str(BAKERY), "--only", "style")
    assert style.exit_code == 2
    assert "No style validator configuration provided" in style.output
    wrong = run("check", str(BAKERY), "--only", "styl")
    assert (wrong.exit_code, "there is no validator 'styl'" in wrong.output) == (2, True)


@pytest.mark.parametrize(
    ("summary", "told"),
    [
        ({"models": 1, "queries": 1, "error": 1, "fatal": 0}, "(1 model, 1 query, 1 error)"),
        (
            {"models": 2, "queries": 3, "error": 2, "warning": 2, "passed": 1},
            "(2 models, 3 queries, 2 errors, 2 warnings, 1 passed)",
        ),
        ({"note": "nothing was sent", "explores": 1}, "(nothing was sent, 1 explore)"),
    ],
)
def test_a_verdict_counts_as_people_do(summary: dict[str, int | str], told: str) -> None:
    report = {
        "validator": "sql",
        "status": "passed",
        "error_count": 0,
        "problem": "",
        "incremental": False,
        "summary": summary,
    }
    assert verdict(report) == f"SQL: passed {told} in 0 s"
