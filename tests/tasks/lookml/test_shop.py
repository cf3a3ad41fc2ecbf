"""The example shop: clean on both databases as it is; each of a long list of mistakes gives exactly its
findings and no others."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from runyard.tasks.lookml.connections import Connection, connection

from .changes import CHANGES
from .shop import SHOP, Change, changed, findings, reports


@pytest.fixture(scope="session")
def maker() -> ModuleType:
    """The example's own script."""
    spec = importlib.util.spec_from_file_location("make_shop_database", SHOP / "make_database.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session", params=["duckdb", "postgres"])
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, maker: ModuleType
) -> Connection:
    """The shop's data, once per database."""
    if request.param == "duckdb":
        file = tmp_path_factory.mktemp("shop") / "shop.duckdb"
        maker.main(str(file))
        return connection("shop", {"url": f"duckdb://{file}"})
    import psycopg

    url = request.getfixturevalue("postgres_url")
    with psycopg.connect(url, autocommit=True) as server:
        server.execute("CREATE DATABASE shop_of_tests")
    own = url.rsplit("/", 1)[0] + "/shop_of_tests"
    maker.main(own)
    return connection("shop", {"url": own})


def test_the_example_is_clean(shop: Connection) -> None:
    found = reports(SHOP, {"shop": shop})
    assert {name: r["status"] for name, r in found.items()} == dict.fromkeys(found, "passed")
    assert findings(found) == []
    assert {name: r["problem"] for name, r in found.items()} == dict.fromkeys(found, "")
    assert found["assert"]["summary"]["tests"] == 6
    assert found["sql"]["summary"]["explores"] == 4
    assert found["sql"]["summary"]["measures"] > 40
    assert found["content"]["summary"]["elements"] == 8


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.name.replace(" ", "-"))
def test_a_mistake_gives_exactly_its_findings(shop: Connection, change: Change, tmp_path: Path) -> None:
    found = reports(changed(tmp_path, change), {"shop": shop})
    assert findings(found) == sorted(change.expected)
    assert change.expected
    failed = {rule.partition("/")[0] for rule, *_ in change.expected}
    assert {name for name, r in found.items() if r["status"] == "failed"} == failed


def test_against_the_target_branch_only_what_is_new_counts(shop: Connection, tmp_path: Path) -> None:
    column, field = CHANGES[0], CHANGES[2]
    old = changed(tmp_path / "old", column)
    new = changed(tmp_path / "new", column)
    view = new / field.file
    # A comment on top moves every line of the file.
    view.write_text("# moved\n" + view.read_text().replace(field.old, field.new))
    found = reports(new, {"shop": shop}, target=old)
    assert Counter(findings(found)) == Counter(
        (rule, subject, file, line + 1) for rule, subject, file, line in field.expected
    )
    assert all(r["incremental"] for name, r in found.items() if name != "assert")
    sql = {
        f"{t['model']}/{t['explore']}": (t["status"], t["skip_reason"], t["queries"])
        for t in found["sql"]["tested"]
    }
    assert {name for name, (status, _, _) in sql.items() if status == "failed"} == {
        "ecommerce/order_items",
        "ecommerce/orders",
        "ecommerce/customers",
        "marketing/visits",
    }
    same = reports(old, {"shop": shop}, target=old)
    assert findings(same) == []
    assert {(t["status"], t["skip_reason"], t["queries"]) for t in same["sql"]["tested"]} == {
        ("skipped", "unmodified", 0)
    }


def test_an_explore_that_is_new_on_the_branch_is_tested_whole(shop: Connection, tmp_path: Path) -> None:
    project = tmp_path / "shop"
    changed(tmp_path, CHANGES[0])
    model = project / "models" / "marketing.model.lkml"
    model.write_text(
        model.read_text()
        + '\nexplore: new_products {\n  from: products\n}\ninclude: "/views/products.view"\n'
    )
    found = reports(project, {"shop": shop}, target=SHOP)
    failed = {t["explore"] for t in found["sql"]["tested"] if t["status"] == "failed"}
    assert failed == {"order_items", "new_products"}


def test_the_same_seed_gives_the_same_rows(maker: ModuleType) -> None:
    assert list(maker.statements(1)) == list(maker.statements(1))
    tables = dict(maker.rows(1))
    assert {name: len(rows) for name, rows in tables.items()}["orders"] == 1500
    assert max(Counter(row[1] for row in tables["returns"]).values()) == 2
