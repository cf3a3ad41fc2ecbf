"""The unmodified spectacles CLI 2.4.20 against a live server: connect, lookml, sql, assert, content;
branches, commits, incremental, fail fast.

It believes that it talks to Looker: it opens a session, checks branches out, asks for explores, sends queries
and waits for them. Exit code 0: clean, 102: it found something, others: it could not.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.test_looker_sdk import BAKERY, duckdb, files
from tests.clients.test_looker_versions import api
from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.client

PROGRAM = Path(__file__).parents[2] / ".clients/looker/spectacles/bin/spectacles"
FOUND = 102
Said = tuple[int, str]
DASHBOARD = """- dashboard: sales
  title: Sales
  elements:
  - {name: prices, title: Prices, model: spectacles, explore: order_items, type: table, fields: [products.nmae]}
"""
TEST = """
test: nothing_sold {
  explore_source: order_items { column: total_sales { field: order_items.total_sales } }
  assert: none { expression: ${order_items.total_sales} = 0 ;; }
}
"""


@pytest.fixture(scope="module")
def shop(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The commits of a bakery: `main` is clean, `broken` has one fault of each kind."""
    if not PROGRAM.exists():
        pytest.skip("LOUD: spectacles was NOT tested: run `make clients`")
    names: dict[str, Any] = {"__name__": "make_database"}
    exec((BAKERY / "make_database.py").read_text(), names)
    file = tmp_path_factory.mktemp("spectacles") / "bakery.duckdb"
    names["main"](str(file))
    clean = files()
    model = clean.pop("models/bakery.model.lkml").replace("@{CONNECTION}", "spectacles")
    clean["models/spectacles.model.lkml"] = model
    main = server.push("looks/spectacles", clean)
    broken = {**clean, "sales.dashboard.lookml": DASHBOARD, "extra.test.lkml": TEST}
    broken["models/spectacles.model.lkml"] = model + '\ninclude: "/*.test"\ninclude: "/*.dashboard"\n'
    for view, old, new in (
        ("products", "${TABLE}.price", "${TABLE}.prize"),
        ("customer_facts", "${order_count} >=", "${order_cuont} >="),
    ):
        path = f"views/{view}.view.lkml"
        assert old in broken[path]
        broken[path] = broken[path].replace(old, new)
    api(server, "POST", "/connections", {"name": "spectacles", **duckdb(file)})
    return {"main": main, "broken": server.push("looks/spectacles", broken, branch="broken")}


@pytest.fixture
def spectacles(server: LiveServer, shop: dict[str, str], tmp_path: Path) -> Callable[..., Said]:
    """Runs a command; gives its exit code and what it said, on one line and without colours."""

    def run(command: str, *more: str) -> Said:
        host, _, port = server.url.rpartition(":")
        argv = [str(PROGRAM), command, "--base-url", host, "--port", port, "--no-looker-ci-warning"]
        argv += ["--client-id", "root", "--client-secret", TOKEN]
        argv += ["--project", "spectacles"] if command != "connect" else []
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SPECTACLES_DO_NOT_TRACK": "true"}
        done = subprocess.run(
            [*argv, *more], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        return done.returncode, " ".join(said.split())

    return run


def test_a_clean_project_passes_every_command(spectacles: Callable[..., Said]) -> None:
    code, said = spectacles("connect")
    assert (code, "Connected to Looker version 26.12.3" in said) == (0, True), said
    for command, wanted in (
        ("lookml", "No LookML errors found"),
        ("sql", "spectacles.order_items passed"),
        ("assert", "spectacles.order_items passed"),
        ("content", "spectacles.order_items passed"),
    ):
        code, said = spectacles(command)
        assert (code, wanted in said) == (0, True), (command, said)


def test_every_fault_of_a_branch_is_found(spectacles: Callable[..., Said]) -> None:
    code, said = spectacles("lookml", "--branch", "broken")
    assert code == FOUND
    assert "order_cuont" in said
    code, said = spectacles("sql", "--branch", "broken")
    assert code == FOUND
    assert "spectacles.order_items failed" in said
    for name in (
        "/products.price",
        "/order_items.line_price",
        "/customer_facts.is_regular",
    ):
        assert name in said, said
    assert 'does not have a column named "prize"' in said
    code, said = spectacles("assert", "--branch", "broken")
    assert (code, "nothing_sold" in said) == (FOUND, True), said
    code, said = spectacles("content", "--branch", "broken")
    assert (code, "products.nmae" in said) == (FOUND, True), said
    assert spectacles("sql")[0] == 0  # production is what it was


def test_commits_incremental_fail_fast_and_selected_explores(
    spectacles: Callable[..., Said], shop: dict[str, str]
) -> None:
    code, said = spectacles("sql", "--commit-ref", shop["broken"], "--explores", "spectacles/order_items")
    assert (code, "products.price" in said, "customers" in said.split("Completed")[0]) == (FOUND, True, False)
    code, said = spectacles(
        "sql", "--branch", "broken", "--fail-fast", "--explores", "spectacles/order_items"
    )
    assert (code, "order_items failed" in said, "rerun Spectacles" in said) == (FOUND, True, True), said
    code, said = spectacles("sql", "--branch", "broken", "--incremental", "--target", "main")
    assert code == FOUND
    assert "products.price" in said
    code, said = spectacles("sql", "--branch", "broken", "--incremental", "--target", "broken")
    assert (code, said.count("skipped (unmodified)")) == (0, 2), said
    code, said = spectacles("content", "--branch", "broken", "--incremental")
    assert (code, "products.nmae" in said) == (FOUND, True), said


def test_wrong_credentials_and_unknown_projects_are_its_own_errors(
    server: LiveServer, shop: dict[str, str], spectacles: Callable[..., Said]
) -> None:
    code, said = spectacles("connect", "--client-secret", "wrong")
    assert (code, "Unable to authenticate with client ID 'root'" in said) == (101, True), said
    code, said = spectacles("sql", "--project", "nothing")
    assert (code, "Unable to get active branch for project 'nothing'" in said) == (101, True), said
    code, said = spectacles("sql", "--branch", "nothing")
    assert (code, "Unable to checkout Git branch 'nothing'" in said) == (101, True), said
