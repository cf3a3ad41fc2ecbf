"""dbt artifacts: which models are compared, keys, low drift, order of uploads, hostile archives."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest

from runyard.dialects.datafold.manifests import digest, key_report
from runyard.dialects.datafold.modified import select

SHA, BASE = "b" * 40, "a" * 40


def model(name: str, schema: str, checksum: str = "1", **more: Any) -> dict[str, Any]:
    return {
        "resource_type": "model", "name": name, "alias": name, "database": "wh", "schema": schema, "fqn": ["shop", name],
        "checksum": {"name": "sha256", "checksum": checksum}, "config": {"materialized": "table"}, "depends_on": {"nodes": []},
        "original_file_path": f"models/{name}.sql", "patch_path": None, "columns": {}, **more,
    }  # fmt: skip


def manifest(schema: str, **checksums: str) -> dict[str, Any]:
    """orders → daily; customers apart."""
    orders = model("orders", schema, checksums.get("orders", "1"))
    daily = model("daily", schema, checksums.get("daily", "1"), depends_on={"nodes": ["model.shop.orders"]})
    customers = model("customers", schema, checksums.get("customers", "1"))
    return {"nodes": {f"model.shop.{n['name']}": n for n in (orders, daily, customers)}}


def archive(content: Any, name: str = "./manifest.json") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("./run_results.json", "{}")
        z.writestr(name, content if isinstance(content, bytes) else json.dumps(content))
    return out.getvalue()


def upload(house: Any, config: int, kind: str, sha: str, data: bytes, **more: str) -> Any:
    return house.call(
        "POST",
        f"/api/v1/dbt/submit_artifacts/{config}",
        files={"artifacts": ("tmpx.zip", data)},
        data={"commit_sha": sha, "run_type": kind, **more},
    )


@pytest.fixture
def config(house: Any) -> int:
    tables = [f"CREATE SCHEMA {s}" for s in ("prod", "pr")]
    tables += [
        f"CREATE TABLE {s}.{t} AS SELECT 1 AS id"
        for s in ("prod", "pr")
        for t in ("orders", "daily", "customers")
    ]
    return int(house.config(house.warehouse(*tables, name="wh")))


def compared(house: Any) -> list[str]:
    return sorted(d["table1"][-1] for d in house.ok("GET", "datadiffs")["results"])


def test_changed_models_and_those_downstream_are_compared(house: Any, config: int) -> None:
    assert upload(house, config, "production", BASE, archive(manifest("prod"))).status_code == 200
    assert upload(house, config, "pull_request", SHA, archive(manifest("pr", orders="2"))).status_code == 200
    (run,) = house.ok("GET", f"ci/{config}/runs?pr_sha={SHA}&limit=1")
    assert run["status"] == "queued"
    assert compared(house) == ["daily", "orders"]
    assert house.work() == 2
    assert house.status(config, run["id"]) == "done"
    after = {}
    for diff in house.ok("GET", "datadiffs")["results"]:
        found = house.ok("GET", f"datadiffs/{diff['id']}/summary_results")["dependencies"]
        after[diff["table1"][-1]] = [
            (d["name"], d["path"], d["item_type"], d["data_source_type"]) for d in found
        ]
    assert after == {"orders": [("daily", ["wh", "pr", "daily"], "Table", "duckdb")], "daily": []}


def test_nothing_changed_is_done_at_once(house: Any, config: int) -> None:
    upload(house, config, "production", BASE, archive(manifest("prod")))
    upload(house, config, "pull_request", SHA, archive(manifest("pr")))
    assert house.ok("GET", f"ci/{config}/runs")[0]["status"] == "done"


def test_a_pull_request_waits_for_production_and_uses_its_triggered_run(house: Any, config: int) -> None:
    run = house.trigger(config, SHA)
    upload(house, config, "pull_request", SHA, archive(manifest("pr", customers="2")))
    assert house.status(config, run) == "waiting"
    upload(house, config, "production", BASE, archive(manifest("prod")))
    assert house.status(config, run) == "queued"
    assert compared(house) == ["customers"]


def test_low_drift_pairs_manifests_of_one_build(house: Any, config: int) -> None:
    upload(house, config, "production", "c" * 40, archive(manifest("prod")), run_id="build 1")
    upload(house, config, "production", "d" * 40, archive(manifest("prod", orders="9")))
    upload(house, config, "pull_request", SHA, archive(manifest("pr", customers="2")), run_id="build 1")
    assert compared(house) == ["customers"]


def test_whether_an_upload_is_there(house: Any, config: int) -> None:
    def check() -> Any:
        body = f"commit_sha={SHA}&run_type=pull_request&branch=x".encode()
        return house.call("POST", f"/api/v1/dbt/post_upload_check_artifacts/{config}", body).json()

    assert check()["status"] == "missing"
    upload(house, config, "pull_request", SHA, archive(manifest("pr")))
    assert check() == {"status": "ok"}


@pytest.mark.parametrize(
    "data",
    [b"", b"no zip", archive({}, "other.json"), archive(b"{"), archive(b"[" * 200_000), archive(b" " * (70 << 20)), archive({}, "../manifest.json")],
)  # fmt: skip
def test_archives_that_are_none_are_refused(house: Any, config: int, data: bytes) -> None:
    assert upload(house, config, "pull_request", SHA, data).status_code in (400, 422)
    assert house.ok("GET", f"ci/{config}/runs") == []


def test_forms_that_are_none_are_refused(house: Any, config: int) -> None:
    path = f"/api/v1/dbt/submit_artifacts/{config}"
    assert house.call("POST", path, b"x").status_code == 422
    assert house.call("POST", path, data={"commit_sha": SHA}).status_code == 422
    assert upload(house, config, "other", SHA, archive({})).status_code == 422
    assert upload(house, config, "production", "../x", archive({})).status_code == 422
    assert upload(house, 99, "production", SHA, archive({})).status_code == 404


@pytest.mark.parametrize(
    "odd", [None, 1, "x", [], [1], {"nodes": []}, {"nodes": {"a": 1, "b": {"resource_type": "model"}}}]
)
def test_odd_manifests_hold_nothing_and_break_nothing(odd: Any) -> None:
    assert len(key_report(odd)) == len(digest(odd)) <= 1


def test_keys_are_found_in_the_documented_order(house: Any, config: int) -> None:
    test = {
        "resource_type": "test", "attached_node": "model.m.tested", "test_metadata": {"name": "unique", "kwargs": {"column_name": "a || '-' || b"}},
    }  # fmt: skip
    both = {
        "resource_type": "test",
        "attached_node": "model.m.pair",
        "test_metadata": {
            "name": "unique_combination_of_columns",
            "kwargs": {"combination_of_columns": ["x", "y"]},
        },
    }
    nodes = {
        "model.m.table": model("table", "s", meta={"primary-key": ["k1", "k2"]}),
        "model.m.column": model("column", "s", columns={"c": {"name": "c", "meta": {"primary-key": True}}}),
        "model.m.tagged": model("tagged", "s", columns={"t": {"name": "t", "tags": ["primary-key"]}}),
        "model.m.tested": model("tested", "s"),
        "model.m.pair": model("pair", "s"),
        "model.m.config": model("config", "s", config={"materialized": "incremental", "unique_key": "u"}),
        "model.m.named": model("named", "s", columns={"Named_ID": {"name": "Named_ID"}}),
        "model.m.rule": model("rule", "s", constraints=[{"type": "primary_key", "columns": ["r"]}]),
        "model.m.bare": model("bare", "s"),
        "model.m.ghost": model("ghost", "s", config={"materialized": "ephemeral"}),
        "test.m.1": test,
        "test.m.2": both,
    }
    body = json.dumps({"nodes": nodes}).encode()
    report = house.call("POST", f"/api/internal/ci/{config}/check_pks_in_dbt_manifest", body).json()
    assert {r["sql_table"][-1]: (r["source"], r["sql_pks"]) for r in report} == {
        "table": ("meta_table", ["k1", "k2"]), "column": ("meta", ["c"]), "tagged": ("tags", ["t"]), "tested": ("uniqueness", ["a", "b"]),
        "pair": ("uniqueness", ["x", "y"]), "config": ("none", []), "named": ("none", []), "rule": ("none", []), "bare": ("none", []),
    }  # fmt: skip
    warned = {r["sql_table"][-1]: r["warnings"] for r in report if r["source"] == "none"}
    assert [
        ("unique_key" in warned["config"][0]),
        ("Named_ID" in warned["named"][0]),
        ("constraint" in warned["rule"][0]),
    ] == [True] * 3
    inferred = {n["name"]: (n["key_source"], n["key"]) for n in digest({"nodes": nodes}).values()}
    assert inferred["config"] == ("unique_key", ["u"])
    assert inferred["named"] == ("column_name", ["Named_ID"])
    assert inferred["rule"] == ("constraint", ["r"])
    assert inferred["bare"] == ("none", [])


def test_diff_options_of_a_model_are_kept(house: Any, config: int) -> None:
    def meta(**options: Any) -> dict[str, Any]:
        return {"datafold": {"datadiff": options}}

    def both(schema: str, checksum: str) -> dict[str, Any]:
        return {
            "nodes": {
                "model.a": model("orders", schema, checksum, meta=meta(never_diff=True)),
                "model.b": model(
                    "daily",
                    schema,
                    "1",
                    meta=meta(slim_diff="diff_when_downstream"),
                    depends_on={"nodes": ["model.a"]},
                ),
                "model.c": model("customers", schema, "1", depends_on={"nodes": ["model.b"]}),
                "model.d": model("fresh", schema, checksum),
            }
        }

    production, proposed = digest(both("prod", "1")), digest(both("pr", "2"))
    del production["model.d"]
    chosen = select(production, proposed, slim=False)
    assert chosen.reasons == {"model.b": ["downstream"], "model.c": ["downstream"]}
    assert (chosen.new, chosen.removed, chosen.left_out) == (["fresh"], [], ["orders"])
    assert list(select(production, proposed, slim=True).reasons) == ["model.b"]
