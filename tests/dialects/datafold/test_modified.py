"""Which models count as modified: dbt's own notion, part by part, in manifests of every version from v4 to
v12."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from runyard.dialects.datafold.dbt_keys import parts
from runyard.dialects.datafold.manifests import digest
from runyard.dialects.datafold.modified import dependents, select

MANIFESTS = Path(__file__).with_name("dbt_manifests")


def node(name: str, *parents: str, **more: Any) -> dict[str, Any]:
    return {
        "resource_type": "model", "name": name, "alias": name, "database": "wh", "schema": "s", "fqn": ["shop", name],
        "raw_code": f"select 1 as {name}", "config": {"materialized": "table"}, "unrendered_config": {"materialized": "table"},
        "depends_on": {"nodes": [f"model.shop.{p}" if "." not in p else p for p in parents], "macros": []}, "columns": {}, **more,
    }  # fmt: skip


def manifest() -> dict[str, Any]:
    """raw (source) → staged (ephemeral) → orders → daily; seed apart; orders calls macro a, which calls b."""
    orders = node("orders", "staged")
    orders["depends_on"]["macros"] = ["macro.shop.a"]
    staged = node("staged", "source.shop.app.raw", config={"materialized": "ephemeral"})
    seed = node("seed", resource_type="seed", raw_code="", checksum={"name": "sha256", "checksum": "1"})
    made = [staged, orders, node("daily", "orders"), seed, node("apart")]
    return {
        "nodes": {f"model.shop.{n['name']}": n for n in made},
        "sources": {"source.shop.app.raw": {"name": "raw", "fqn": ["shop", "app", "raw"], "identifier": "raw", "schema": "app"}},
        "macros": {
            "macro.shop.a": {"macro_sql": "a", "depends_on": {"macros": ["macro.shop.b"]}},
            "macro.shop.b": {"macro_sql": "b", "depends_on": {"macros": ["macro.shop.a"]}},
            "macro.shop.unused": {"macro_sql": "u", "depends_on": {"macros": []}},
        },
    }  # fmt: skip


def after(change: Any, *, slim: bool = True) -> dict[str, list[str]]:
    """Short names of what is compared after a change, with reasons."""
    proposed = copy.deepcopy(manifest())
    change(proposed)
    chosen = select(digest(manifest()), digest(proposed), slim=slim)
    return {id.rsplit(".", 1)[-1]: list(reasons) for id, reasons in chosen.reasons.items()}


def model(proposed: Any, name: str) -> Any:
    return proposed["nodes"][f"model.shop.{name}"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: None, {}),
        (lambda m: model(m, "orders").update(raw_code="select 2"), {"orders": ["body"]}),
        (lambda m: model(m, "orders")["unrendered_config"].update(materialized="view"), {"orders": ["config"]}),
        (lambda m: model(m, "orders")["unrendered_config"].update(tags=["x"], group="g"), {}),
        (lambda m: model(m, "orders")["unrendered_config"].update(schema="{{ x }}"), {"orders": ["relation"]}),
        # where it is built differs by design
        (lambda m: model(m, "orders").update(schema="pr", database="other"), {}),
        # rendered: an environment's business
        (lambda m: model(m, "orders")["config"].update(materialized="view"), {}),
        (lambda m: model(m, "orders").update(fqn=["shop", "x", "orders"]), {"orders": ["fqn"]}),
        (lambda m: model(m, "orders").update(description="new"), {}),  # not kept in the database
        (lambda m: model(m, "orders").update(latest_version=2), {"orders": ["ref"]}),
        (lambda m: model(m, "orders").update(contract={"enforced": True, "checksum": "c"}), {"orders": ["contract"]}),
        (lambda m: m["macros"]["macro.shop.a"].update(macro_sql="A"), {"orders": ["macros"]}),
        # called by a macro
        (lambda m: m["macros"]["macro.shop.b"].update(macro_sql="B"), {"orders": ["macros"]}),
        (lambda m: m["macros"]["macro.shop.unused"].update(macro_sql="U"), {}),
        (lambda m: model(m, "seed").update(checksum={"name": "sha256", "checksum": "2"}), {"seed": ["body"]}),
        (lambda m: model(m, "staged").update(raw_code="x"), {}),  # ephemeral: no table of its own
    ],
)  # fmt: skip
def test_each_part_that_dbt_compares(change: Any, expected: dict[str, list[str]]) -> None:
    assert after(change) == expected


def test_what_follows_an_ephemeral_model_or_a_source_is_downstream_of_it() -> None:
    downstream = {"daily": ["downstream"], "orders": ["downstream"]}
    assert after(lambda m: model(m, "staged").update(raw_code="x"), slim=False) == downstream
    source = "source.shop.app.raw"
    assert after(lambda m: m["sources"][source].update(identifier="raw2"), slim=False) == downstream
    assert after(lambda m: m["sources"][source].update(schema="elsewhere"), slim=False) == {}


def test_persisted_descriptions_count() -> None:
    before, now = manifest(), manifest()
    for m in (before, now):
        model(m, "orders")["config"]["persist_docs"] = {"relation": True, "columns": True}
    model(now, "orders")["columns"] = {"id": {"name": "id", "description": "the key"}}
    assert select(digest(before), digest(now), slim=True).reasons == {"model.shop.orders": ["descriptions"]}


def test_old_manifests_are_read_as_new_ones_are() -> None:
    """Before v7 the text was `raw_sql`; a dbt upgrade between two uploads is no change of every model."""
    old = manifest()
    for one in old["nodes"].values():
        one["raw_sql"] = one.pop("raw_code")
    assert select(digest(old), digest(manifest()), slim=True).reasons == {}


def written(version: int, side: str) -> Any:
    """What dbt 1.4 to 1.8 wrote of one project (`dbt ls`, then cut to what is read here); older ones as their
    schemas say that they were."""
    of = json.loads((MANIFESTS / f"v{max(8, version)}.json").read_text())[side]
    if version < 8:
        for one in of["nodes"].values():
            one["root_path"] = "/shop"
            if version < 7 and "raw_code" in one:
                one["raw_sql"] = one.pop("raw_code")
    return of


@pytest.mark.parametrize("version", range(4, 13))
def test_what_dbt_of_every_age_wrote_is_read_alike(version: int) -> None:
    production, proposed = (digest(written(version, side)) for side in ("production", "pull_request"))
    assert select(production, proposed, slim=True).reasons == {"model.shop.orders": ["body"]}
    assert set(select(production, proposed, slim=False).reasons) == {"model.shop.orders", "model.shop.daily"}
    known = {id.rsplit(".", 1)[-1]: (n["key_source"], n["key"]) for id, n in proposed.items() if "key" in n}
    assert known == {
        "orders": ("uniqueness", ["order_id"]), "staged": ("none", []), "grown": ("unique_key", ["u"]),
        "marked": ("meta_table", ["k1", "k2"]), "daily": ("tags", ["day"]), "colours": ("column_name", ["id"]),
    }  # fmt: skip
    assert proposed["model.shop.marked"]["options"]["filter"] == "k1 > 0"
    assert [d["model.shop.orders"]["table"][1] for d in (production, proposed)] == ["prod", "pr_7"]


@pytest.mark.parametrize("before", range(4, 13))
def test_an_upgrade_of_dbt_changes_no_model(before: int) -> None:
    """Seeds apart: dbt 1.5 reckons their checksums anew."""
    found = select(digest(written(before, "production")), digest(written(12, "pull_request")), slim=True)
    seeds = {"seed.shop.colours": ["body"]} if before <= 8 else {}
    assert found.reasons == {"model.shop.orders": ["body"], **seeds}


def test_new_and_removed_models_are_told() -> None:
    proposed = manifest()
    proposed["nodes"]["model.shop.fresh"] = node("fresh")
    proposed["nodes"]["model.shop.child"] = node("child", "fresh")
    del proposed["nodes"]["model.shop.apart"]
    chosen = select(digest(manifest()), digest(proposed), slim=False)
    assert (chosen.reasons, chosen.new, chosen.removed) == ({}, ["child", "fresh"], ["apart"])


@pytest.mark.parametrize(
    ("expression", "columns"),
    [
        ("id", ("id",)),
        ("a || '-' || b", ("a", "b")),
        ("CONCAT(a, '-', b)", ("a", "b")),
        ("concat( a ,b )", ("a", "b")),
        ("a::text || '|' || b::varchar(10)", ("a", "b")),
        ('"Order Id"', ("Order Id",)),
        ("lower(a)", ()),
        ("a + b", ()),
        ("'x'", ()),
        ("", ()),
    ],
)
def test_expressions_of_uniqueness_tests(expression: str, columns: tuple[str, ...]) -> None:
    assert parts(expression) == columns


@pytest.mark.timeout(30)
def test_a_manifest_made_to_be_slow_is_not() -> None:
    """Ten thousand models that each call another macro of one endless chain, and all hang on each other."""
    macros = {
        f"macro.m.{i}": {"macro_sql": str(i), "depends_on": {"macros": [f"macro.m.{(i + 1) % 10_000}"]}}
        for i in range(10_000)
    }
    nodes = {f"model.m.{i}": node(str(i)) for i in range(10_000)}
    for i, one in enumerate(nodes.values()):
        one["depends_on"] = {"nodes": [f"model.m.{i - 1}", f"model.m.{i // 2}"], "macros": [f"macro.m.{i}"]}
    made = digest({"nodes": nodes, "macros": macros})
    changed = digest({"nodes": nodes, "macros": macros | {"macro.m.5000": {"macro_sql": "new"}}})
    chosen = select(made, changed, slim=True)
    assert "macros" in chosen.reasons["model.m.4990"]
    assert "model.m.0" not in chosen.reasons
    found = dependents(made, list(nodes), 200)
    assert len(found["model.m.3"]) == 200


def test_dependents_are_tables_near_ones_first() -> None:
    found = dependents(digest(manifest()), ["model.shop.staged", "model.shop.daily"], 5)
    assert found == {"model.shop.staged": ["model.shop.orders", "model.shop.daily"], "model.shop.daily": []}
