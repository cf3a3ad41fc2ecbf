"""The report page of a Datafold CI run: what waits is confirmed by a button, what was found stands in a
table; light, dark and on a phone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.live_server import ROOT, TOKEN, LiveServer

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
EXAMPLE = ROOT / "examples/datafold"


def api(server: LiveServer, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        f"{server.url}/api/v1/{path}", None if body is None else json.dumps(body).encode()
    )
    request.add_header("Authorization", f"Key {TOKEN}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.fixture
def run_id(server: LiveServer, tmp_path: Path) -> int:
    """A run with more tables than start by themselves."""
    file = tmp_path / "warehouse.duckdb"
    subprocess.run(
        [sys.executable, str(EXAMPLE / "make_database.py"), str(file)], check=True, capture_output=True
    )
    server.call("POST", "/api/v4/projects", {"name": "report", "path": "report", "namespace_path": "data"})
    source = api(
        server, "data_sources", {"name": str(tmp_path), "type": "duckdb", "options": {"path": str(file)}}
    )["id"]
    body = {
        "name": "<b>shop</b>",
        "repository": "data/report",
        "data_source_id": source,
        "ci_diff_threshold": 1,
    }
    config = api(server, "ci", body)["id"]
    pr = {
        "pr_number": 7,
        "pr_branch": "<i>totals</i>",
        "base_branch": "main",
        "pr_sha": "b" * 40,
        "base_sha": "a" * 40,
    }
    run = api(server, f"ci/{config}/trigger", pr)["run_id"]
    gone = {"prod": "prod.orders", "pr": "pr.<script>alert(1)</script>", "pk": ["id"]}
    api(server, f"ci/{config}/7", [*json.loads((EXAMPLE / "diffs.json").read_text()), gone])
    return int(run)


def test_a_run_is_confirmed_and_read_on_its_page(
    server: LiveServer, page: Page, complaints: list[str], run_id: int
) -> None:
    page.goto(f"/data/report/-/pipelines/{run_id}")
    page.click("text=Results")
    page.wait_for_url(f"/datadiffs/runs/{run_id}")
    expect(page.locator("h1")).to_contain_text("<i>totals</i>")
    page.click("text=Start 4 diffs")
    page.wait_for_url(f"/datadiffs/runs/{run_id}")
    expect(page.locator("table.diffs tbody tr")).to_have_count(4)
    # By the exact name: a table that is not there is told with the names of those that are.
    sales = page.locator("table.diffs tr", has=page.get_by_text("daily_sales", exact=True))
    expect(sales).to_contain_text("identical", timeout=60_000)
    orders = page.locator("table.diffs tr", has=page.get_by_text("orders", exact=True))
    expect(orders).to_contain_text("5000 → 4900", timeout=60_000)
    expect(orders).to_contain_text("1 of 4")
    expect(page.locator("tr", has_text="<script>")).to_contain_text("not compared", timeout=60_000)
    expect(page.locator("article", has=page.get_by_text("orders", exact=True))).to_contain_text(
        "Columns added: is_returned"
    )
    rows = page.locator("article", has=page.get_by_text("orders", exact=True)).locator("table.rows tbody tr")
    expect(rows).to_have_count(5)
    expect(rows.first.locator("del")).not_to_have_text(rows.first.locator("ins").inner_text())
    expect(page.locator("article", has=page.get_by_text("orders", exact=True))).to_contain_text(
        "Keys only in A: id "
    )
    with page.expect_download() as caught:
        orders.locator("text=rows").click()
    assert caught.value.suggested_filename == "diff.parquet"
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    folder = os.environ.get("SCREENSHOTS", "")
    if folder:
        page.screenshot(path=f"{folder}/phone.png", full_page=True)
        page.set_viewport_size({"width": 1280, "height": 900})
        page.screenshot(path=f"{folder}/light.png", full_page=True)
        page.emulate_media(color_scheme="dark")
        page.screenshot(path=f"{folder}/dark.png", full_page=True)
    assert complaints == []


def test_strangers_are_led_to_the_sign_in(server: LiveServer, run_id: int) -> None:
    with urllib.request.urlopen(f"{server.url}/datadiffs/runs/{run_id}", timeout=60) as answer:
        assert "/sign-in" in answer.url
        assert "totals" not in answer.read().decode()
