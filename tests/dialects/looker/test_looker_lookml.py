"""What LookML says through the API: models, explores, manifest, validation, data tests, content, queries and
their tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runyard.runner.sandbox.aside import Allowance
from tests.services import PLAIN

from .conftest import House, bakery
from .test_looker_runs import DASHBOARD

HERE = "/projects/bakery"
LOOK = {
    "id": "12",
    "title": "Old prices",
    "folder": {"id": "7", "name": "Ann's", "parent_id": "6", "is_personal": False},
    "query": {"model": "bakery", "view": "order_items", "fields": ["products.cost"]},
}
FOLDERS = {"folders": [{"id": "6", "name": "Ann", "is_personal": True}]}


@pytest.fixture
def shop(house: House, bakery_file: Path) -> House:
    files = bakery()
    files["sales.dashboard.lookml"] = DASHBOARD
    files["content/look.json"] = json.dumps(LOOK)
    files["content/folders.json"] = json.dumps(FOLDERS)
    house.push(files)
    body = {"name": "bakery", "dialect_name": "duckdb", "database": str(bakery_file)}
    house.ok("POST", "/connections", json=body)
    return house


def test_models_and_explores_as_spectacles_reads_them(shop: House) -> None:
    (model,) = shop.ok("GET", "/lookml_models?fields=name,project_name,explores")
    assert set(model) == {"name", "project_name", "explores"}
    assert (model["name"], model["project_name"]) == ("bakery", "bakery")
    assert [e["name"] for e in model["explores"]] == ["order_items", "customers"]
    assert shop.ok("GET", "/lookml_models/bakery")["allowed_db_connection_names"] == ["bakery"]
    fields = shop.ok("GET", "/lookml_models/bakery/explores/order_items?fields=fields")["fields"]
    assert set(fields) == {"dimensions", "measures", "filters", "parameters"}
    price = next(d for d in fields["dimensions"] if d["name"] == "products.price")
    assert (price["type"], price["sql"], price["tags"], price["hidden"]) == (
        "number",
        "${TABLE}.price",
        [],
        False,
    )
    assert "views/products.view.lkml?commit=" in price["lookml_link"]
    assert all(isinstance(d["sql"], str) for d in fields["dimensions"])
    for path in ("/lookml_models/x", "/lookml_models/bakery/explores/x", "/lookml_models/x/explores/y"):
        assert shop.call("GET", path).status_code == 404
    manifest = shop.ok("GET", f"{HERE}/manifest")
    assert manifest["imports"] == []
    kinds = {f["path"]: f["type"] for f in shop.ok("GET", f"{HERE}/files")}
    assert kinds["views/products.view.lkml"] == "view"
    assert shop.ok("GET", f"{HERE}/files/file?file_id=manifest.lkml")["type"] == "manifest"
    assert shop.call("GET", f"{HERE}/files/file?file_id=../x").status_code == 404


def test_validation_is_remembered_for_the_commit(shop: House) -> None:
    assert shop.call("GET", f"{HERE}/validate").status_code == 204
    found = shop.ok("POST", f"{HERE}/validate")
    assert found["errors"] == []
    assert shop.ok("GET", f"{HERE}/validate") == {**found, "stale": False}
    name = "views/products.view.lkml"
    shop.commit("main", {name: bakery()[name].replace("${name}", "${nmae}")})
    assert shop.call("GET", f"{HERE}/validate").status_code == 204
    errors = shop.ok("POST", f"{HERE}/validate")["errors"]
    assert {(e["file_path"], e["severity"]) for e in errors} == {(f"bakery/{name}", "error")}
    assert all(isinstance(e["line_number"], int) and "Did you mean name?" in e["message"] for e in errors)


def test_data_tests_are_listed_and_run(shop: House) -> None:
    listed = shop.ok("GET", f"{HERE}/lookml_tests")
    assert listed
    first = listed[0]
    assert first["file"] == "bakery/tests/sales.test.lkml"
    assert first["query_url_params"].startswith("fields=")
    (result,) = shop.ok("GET", f"{HERE}/lookml_tests/run?model=bakery&test={first['name']}")
    assert (result["test_name"], result["success"], result["errors"]) == (first["name"], True, [])
    assert result["assertions_count"] >= 1
    assert result["assertions_failed"] == 0
    assert shop.ok("GET", f"{HERE}/lookml_tests/run?test=nothing") == []
    assert shop.call("GET", f"{HERE}/lookml_tests/run", token=PLAIN).status_code == 404
    shop.call("DELETE", "/connections/bakery")
    (result,) = shop.ok("GET", f"{HERE}/lookml_tests/run?test={first['name']}")
    assert result["success"] is False
    assert "does not exist here" in result["errors"][0]["message"]


def test_content_is_held_against_the_models(shop: House) -> None:
    found = shop.ok("GET", "/content_validation?project_names=bakery")["content_with_errors"]
    (tile,) = [c for c in found if c["dashboard"]]
    assert (tile["dashboard"]["title"], tile["dashboard_element"]["title"], tile["dashboard_filter"]) == (
        "Sales",
        "Prices",
        None,
    )
    assert tile["errors"][0]["field_name"] == "products.nmae"
    assert tile["errors"][0]["explore_name"] == "order_items"
    (look,) = [c for c in found if c["look"]]
    assert (look["look"]["id"], look["look"]["folder"]["id"]) == ("12", "7")
    assert look["errors"][0]["field_name"] == "products.cost"
    kept = shop.ok("GET", "/content_validation?space_ids=7")["content_with_errors"]
    assert [bool(c["look"]) for c in kept] == [True]
    assert shop.ok("GET", "/content_validation?project_names=other")["content_with_errors"] == []
    folders = {f["id"]: f for f in shop.ok("GET", "/folders")}
    assert (folders["6"]["is_personal"], folders["7"]["parent_id"]) == (True, "6")
    assert folders["7"]["is_personal_descendant"] is True
    assert folders["lookml"]["is_personal"] is False


def query(fields: list[str], **more: Any) -> dict[str, Any]:
    return {"model": "bakery", "view": "order_items", "fields": fields, **more}


def test_queries_are_kept_and_run_in_every_format(shop: House) -> None:
    asked = query(["products.name", "order_items.total_sales"], sorts=["products.name desc"], limit="2")
    made = shop.ok("POST", "/queries?fields=id,share_url", json=asked)
    assert set(made) == {"id", "share_url"}
    path = f"/queries/{made['id']}"
    assert shop.ok("GET", path)["fields"] == asked["fields"]
    sql = shop.call("GET", f"{path}/run/sql").text
    assert "ORDER BY" in sql and "LIMIT 2" in sql
    rows = shop.ok("GET", f"{path}/run/json")
    assert len(rows) == 2
    assert list(rows[0]) == asked["fields"]
    assert rows[0]["products.name"] > rows[1]["products.name"]
    bi = shop.ok("GET", f"{path}/run/json_bi")
    assert (bi["rows"], bi["metadata"]["sql"]) == (rows, sql)
    detail = shop.ok("GET", f"{path}/run/json_detail")
    assert detail["data"][0]["products.name"]["value"] == rows[0]["products.name"]
    assert shop.call("GET", f"{path}/run/csv").text.startswith("products.name,order_items.total_sales\n")
    filtered = query(["products.name"], filters={"products.name": rows[0]["products.name"]})
    assert shop.ok("POST", "/queries/run/json", json=filtered) == [
        {"products.name": rows[0]["products.name"]}
    ]
    never = shop.call(
        "POST", "/queries/run/sql", json=query(["products.name"], limit=0, filter_expression="1=2")
    )
    assert "1=2" in never.text and "LIMIT 0" in never.text
    assert shop.call("GET", path, token=PLAIN).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (query([]), 400, "Must query at least one dimension or measure"),
        (query(["products.nothing"]), 404, "Unknown or inaccessible field"),
        ({"model": "bakery", "view": "nothing", "fields": ["a.b"]}, 404, "no explore"),
        ({"model": "nothing", "view": "nothing", "fields": ["a.b"]}, 404, "no model"),
        (query(["products.name"], limit="many"), 422, "Validation Failed"),
        (query(["products.name"], filter_expression="${products.name} = 1"), 422, "Validation Failed"),
        (query(["products.name"], pivots=["products.kind"]), 422, "Validation Failed"),
        (query(["products.name"], filters=["x"]), 422, "Validation Failed"),
    ],
)
def test_queries_that_cannot_be_say_why(shop: House, body: dict[str, Any], status: int, words: str) -> None:
    answer = shop.call("POST", "/queries/run/sql", json=body)
    assert (answer.status_code, words in answer.json()["message"]) == (status, True), answer.text


def results(house: House, *tasks: str) -> dict[str, Any]:
    """multi_results once nothing runs any more."""
    for _ in range(500):
        found: dict[str, Any] = house.ok(
            "GET", f"/query_tasks/multi_results?query_task_ids={','.join(tasks)}"
        )
        if all(r["status"] != "running" for r in found.values()):
            return found
        import time

        time.sleep(0.02)
    raise AssertionError(found)


def task(house: House, body: dict[str, Any], format: str = "json_bi") -> str:
    made = house.ok("POST", "/queries", json=body)
    given = {"query_id": made["id"], "result_format": format}
    return str(house.ok("POST", "/query_tasks?fields=id&cache=false", json=given)["id"])


def test_query_tasks_end_complete_or_with_the_databases_word(shop: House) -> None:
    name = "views/products.view.lkml"
    shop.commit("main", {name: bakery()[name].replace("${TABLE}.price", "${TABLE}.prize")})
    good = task(shop, query(["products.name"], limit=0, filter_expression="1=2"))
    bad, detail = task(shop, query(["products.price"])), task(shop, query(["products.price"]), "json_detail")
    found = results(shop, good, bad, detail)
    assert (found[good]["status"], found[good]["data"]["rows"]) == ("complete", [])
    assert found[bad]["status"] == found[detail]["status"] == "error"
    assert "prize" in found[bad]["data"]["rows"][0]["looker_error"]
    (error,) = found[detail]["data"]["errors"]
    assert (error["sql_error_loc"]["line"], "prize" in error["message"]) == (2, True)
    assert shop.ok("GET", f"/query_tasks/{good}")["status"] == "complete"
    assert shop.ok("GET", f"/query_tasks/{good}/results")["rows"] == []
    assert shop.call("DELETE", f"/running_queries/{good}").status_code == 404
    assert shop.ok("GET", f"/query_tasks/multi_results?query_task_ids={good}", token=PLAIN) == {}


def test_a_task_whose_process_went_away_expires_and_a_killed_one_stays_killed(
    shop: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runyard.dialects.looker.errands import Errands

    works: list[Any] = []
    monkeypatch.setattr(Errands, "send", lambda _self, work: works.append(work))
    lost, killed = task(shop, query(["products.name"])), task(shop, query(["products.name"]))
    assert shop.call("GET", f"/query_tasks/{lost}/results").status_code == 409
    assert shop.call("DELETE", f"/running_queries/{killed}").status_code == 204
    works[1]()  # it comes too late
    shop.time[0] += 91_000
    found = results(shop, lost, killed)
    assert {k: v["status"] for k, v in found.items()} == {lost: "expired", killed: "killed"}


def test_imports_are_seen_where_the_session_stands_in_them(house: House) -> None:
    house.push({"v.view.lkml": "view: v { dimension: x {} }"}, "group/lib")
    house.push(
        {
            "manifest.lkml": 'project_name: "shop"\nlocal_dependency: { project: "lib" }\n',
            "m.model.lkml": 'connection: "c"\ninclude: "//lib/v.view"\nexplore: v {}\n',
        },
        "group/shop",
    )
    manifest = house.ok("GET", "/projects/shop/manifest")
    assert manifest["imports"] == [{"name": "lib", "url": None, "ref": None, "is_remote": False}]

    def names(token: str) -> list[str]:
        found = house.ok("GET", "/lookml_models/m/explores/v", token=token)
        return [d["name"] for d in found["fields"]["dimensions"]]

    token = house.ok("POST", "/login", json={"client_id": "root", "client_secret": "glpat-root"})[
        "access_token"
    ]
    assert names(token) == ["v.x"]
    house.commit("next", {"v.view.lkml": "view: v { dimension: y {} }"}, "group/lib")
    house.ok("PATCH", "/session", token=token, json={"workspace_id": "dev"})
    house.ok("PUT", "/projects/lib/git_branch", token=token, json={"name": "next"})
    assert names(token) == ["v.y"]


def test_hostile_lookml_is_no_server_error(house: House) -> None:
    deep = "view: v { " * 3000
    house.push(
        {
            "m.model.lkml": f'connection: "c"\n{deep}',
            "x.view.lkml": "\x00\udcff".encode("utf-8", "surrogatepass").decode("latin-1"),
        }
    )
    for method, path in (
        ("GET", "/lookml_models"),
        ("POST", "/projects/1/validate"),
        ("GET", "/projects/1/lookml_tests"),
        ("GET", "/content_validation"),
        ("GET", "/folders"),
    ):
        assert house.call(method, path).status_code in (200, 413), path


def test_what_takes_too_long_ends_with_its_own_process(shop: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runyard.dialects.looker.desk.ALLOWANCE", Allowance(seconds=0.01))
    for method, path in (
        ("POST", f"{HERE}/validate"),
        ("GET", f"{HERE}/lookml_tests/run"),
        ("PUT", "/connections/bakery/test"),
    ):
        answer = shop.call(method, path)
        assert (answer.status_code, "run it as a suite" in answer.json()["message"]) == (413, True), path
    assert shop.call("GET", f"{HERE}/validate").status_code == 204  # nothing half made is remembered
