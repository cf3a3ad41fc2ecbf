"""A CI run's results page in Chromium: errors by explore, the SQL with its caret, failing rows, passed tests,
the file at its line; dark and on a phone."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path
from typing import Any

import duckdb
import pytest
from playwright.sync_api import Page

from tests.live_server import LiveServer

pytestmark = pytest.mark.browser

MODEL = """connection: "shown"
explore: sales { join: shops { sql_on: ${shops.ide} = ${sales.id} ;; relationship: one_to_one } }
explore: other { from: sales }
view: sales {
  dimension: id { primary_key: yes type: number sql: ${TABLE}.id ;; }
  dimension: city { sql: upper(${TABLE}.town) ;; }
  measure: count { type: count drill_fields: [idd] }
}
view: shops { sql_table_name: sales ;; dimension: id { type: number } }
test: few { explore_source: sales { column: id { field: sales.id } } assert: small { expression: ${sales.id} < 2 ;; } }
test: some { explore_source: sales { column: count { field: sales.count } } assert: many { expression: ${sales.count} > 1 ;; } }
"""


@pytest.fixture(scope="module")
def run_url(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("shown") / "shown.duckdb"
    with duckdb.connect(str(file)) as database:
        database.execute("CREATE TABLE sales AS SELECT unnest([1, 2, 3]) AS id")

    def looker(method: str, path: str, body: Any = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{server.url}/api/4.0{path}", data, method=method)
        request.add_header("Authorization", f"Bearer {server.token}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    looker("POST", "/connections", {"name": "shown", "dialect_name": "duckdb", "database": str(file)})
    server.push("shown/shop", {"shown.model.lkml": MODEL})
    home = "/projects/shown%2Fshop/continuous_integration"
    suite = {"name": "nightly", "assert_validator_config_is_enabled": True}
    made = looker("POST", f"{home}/suites", suite)
    run = looker("POST", f"{home}/runs", {"suite_id": made["id"]})
    look = f"{home}/runs/{run['id']}"
    ended = server.until(lambda: looker("GET", look), lambda r: r["status"] not in ("queued", "running"), 120)
    assert ended["status"] == "failed"
    return f"/-/looker/runs/{run['id']}"


def overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_what_failed_and_what_passed_is_there_to_read(
    page: Page, run_url: str, complaints: list[str], tmp_path: Path
) -> None:
    page.goto(run_url)
    assert page.locator("h3", has_text="shown/sales").count() >= 1
    lookml = page.locator("#lookml")
    assert [h.split(" ")[0] for h in lookml.locator("h3").all_inner_texts()] == ["shown/sales", "Views"]
    assert "Did you mean shops.id?" in lookml.locator("table").first.inner_text()
    assert 'unknown field "sales.idd"' in lookml.locator("table").last.inner_text()
    page.locator("details.sql summary").first.click()
    assert "^ here" in page.locator("details.sql pre").first.inner_text()
    page.locator("details.rows summary").first.click()
    assert page.locator("details.rows tbody tr").count() == 2
    assert "2 failing rows" in page.locator("details.rows summary").first.inner_text()
    assert "some" in page.locator("ul.passed").first.inner_text()
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    for name, scheme, width in (("light", "light", 1280), ("dark", "dark", 1280), ("phone", "light", 390)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        assert overflow(page) <= 0, name
        page.screenshot(path=str(folder / f"looker-{name}.png"), full_page=True)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_role("link", name="shown.model.lkml:6").first.click()
    assert "L6" in page.url
    assert "upper(${TABLE}.town)" in page.locator("#L6").inner_text()
    page.go_back()
    page.get_by_role("link", name="API credentials").click()
    assert page.url.endswith("/-/looker/credentials")
    assert complaints == []
