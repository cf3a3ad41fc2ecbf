"""Suites and connections: what is kept, what is refused and how."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from runyard.model.work import Connection
from tests.services import PLAIN

from .conftest import House

SUITES = "/projects/1/continuous_integration/suites"


def test_a_suite_is_created_read_changed_and_removed(house: House) -> None:
    house.push({"a.md": ""})
    made = house.ok(
        "POST", SUITES, json={"name": "nightly", "sql_validator_config_selectors": ["bakery/*"], "unknown": 1}
    )
    assert made["name"] == "nightly"
    assert made["lookml_validator_config_severity"] == "warning"
    assert made["sql_validator_config_chunk_size"] == 500
    assert made["sql_validator_config_selectors"] == ["bakery/*"]
    assert made["project_id"] == "1"
    one = f"{SUITES}/{made['id']}"
    changed = house.ok(
        "PATCH", one, json={"sql_validator_config_fail_fast": True, "sql_validator_config_selectors": None}
    )
    assert changed["sql_validator_config_fail_fast"] is True
    assert changed["sql_validator_config_selectors"] == []
    assert changed["name"] == "nightly"
    assert house.ok("GET", one) == changed
    assert [s["id"] for s in house.ok("GET", SUITES)] == [made["id"]]
    assert house.ok("GET", f"{SUITES}?offset=1") == []
    assert house.ok("GET", f"{SUITES}?fields=id") == [{"id": made["id"]}]
    assert house.ok("GET", f"{SUITES}?created_at=2027-01-15T07:59:00Z") == []
    assert len(house.ok("GET", f"{SUITES}?created_at=2027-01-15T08:00:00")) == 1
    assert house.call("GET", f"{SUITES}?created_at=soon").status_code == 422
    assert house.call("DELETE", one).status_code == 204
    assert house.call("GET", one).status_code == 404


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({}, "name", "missing_field"),
        ({"name": "  "}, "name", "missing_field"),
        ({"name": 5}, "name", "invalid"),
        (
            {"name": "x", "lookml_validator_config_severity": "bad"},
            "lookml_validator_config_severity",
            "invalid",
        ),
        (
            {"name": "x", "sql_validator_config_selectors": ["orders"]},
            "sql_validator_config_selectors",
            "invalid",
        ),
        (
            {"name": "x", "sql_validator_config_exclusions": ["a/b/c"]},
            "sql_validator_config_exclusions",
            "invalid",
        ),
        ({"name": "x", "sql_validator_config_chunk_size": 0}, "sql_validator_config_chunk_size", "invalid"),
        (
            {"name": "x", "sql_validator_config_chunk_size": True},
            "sql_validator_config_chunk_size",
            "invalid",
        ),
        (
            {"name": "x", "sql_validator_config_is_enabled": "yes"},
            "sql_validator_config_is_enabled",
            "invalid",
        ),
        ({"name": "x", "schedule_trigger_crontab": "every day"}, "schedule_trigger_crontab", "invalid"),
        ({"name": "x" * 5000}, "name", "invalid"),
    ],
)
def test_a_bad_suite_is_refused_by_field(house: House, body: dict[str, Any], field: str, code: str) -> None:
    house.push({"a.md": ""})
    answer = house.call("POST", SUITES, json=body)
    assert answer.status_code == 422
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]
    assert house.ok("GET", SUITES) == []


def test_a_suite_belongs_to_its_project(house: House) -> None:
    house.push({"a.md": ""})
    suite = house.suite()
    house.push({"a.md": ""}, "group/other")
    assert house.call("GET", f"/projects/2/continuous_integration/suites/{suite}").status_code == 404
    answer = house.call("POST", "/projects/2/ci/run", json={"suite_id": suite})
    assert answer.status_code == 404


def test_connections_keep_their_password_sealed(house: House, bakery_file: Path) -> None:
    body = {
        "name": "shop",
        "dialect_name": "postgres",
        "host": "db",
        "port": "5433",
        "database": "shop",
        "username": "u",
        "password": "sesame",
    }
    made = house.ok("POST", "/connections", json=body)
    assert (made["dialect_name"], made["host"], made["port"], made["database"]) == (
        "postgres",
        "db",
        "5433",
        "shop",
    )
    assert "sesame" not in str(house.ok("GET", "/connections"))
    row = house.write(lambda tx: tx.connections())[0]
    assert isinstance(row, Connection)
    assert "sesame" not in str(row)
    assert "sesame" in house.services.vault.open(row.sealed)
    changed = house.ok("PATCH", "/connections/shop", json={"host": "db2"})
    assert (changed["host"], changed["port"]) == ("db2", "5433")
    assert "sesame" in house.services.vault.open(house.write(lambda tx: tx.connections())[0].sealed)
    file = house.ok(
        "POST", "/connections", json={"name": "duck", "dialect_name": "duckdb", "database": str(bakery_file)}
    )
    assert file["database"] == str(bakery_file)
    assert house.ok("PUT", "/connections/duck/test")[0]["status"] == "success"
    assert house.ok("PUT", "/connections/shop/test")[0]["status"] == "error"
    assert [c["name"] for c in house.ok("GET", "/connections?fields=name")] == ["shop", "duck"]
    assert house.call("DELETE", "/connections/duck").status_code == 204
    assert house.call("GET", "/connections/duck").status_code == 404


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"dialect_name": "duckdb", "database": "/x"}, "name", "missing_field"),
        ({"name": "a", "dialect_name": "oracle"}, "dialect_name", "invalid"),
        ({"name": "a", "dialect_name": "bigquery_standard_sql"}, "host", "missing_field"),
        (
            {"name": "a", "dialect_name": "bigquery_standard_sql", "host": "p", "certificate": "e30="},
            "certificate",
            "invalid",
        ),
        (
            {"name": "a", "dialect_name": "snowflake", "host": "h", "database": "x"},
            "username",
            "missing_field",
        ),
        (
            {"name": "a", "dialect_name": "duckdb", "database": "/x", "written_for": "oracle"},
            "written_for",
            "invalid",
        ),
        (
            {
                "name": "a",
                "dialect_name": "redshift",
                "host": "h",
                "database": "x",
                "written_for": "bigquery",
            },
            "written_for",
            "invalid",
        ),
        ({"name": "a", "dialect_name": "duckdb"}, "database", "missing_field"),
        ({"name": "a", "dialect_name": "duckdb", "database": "relative.duckdb"}, "database", "invalid"),
        ({"name": "a", "dialect_name": "duckdb", "database": "/data/../etc/x"}, "database", "invalid"),
        ({"name": "a", "dialect_name": "postgres", "database": "x"}, "host", "missing_field"),
        (
            {"name": "a", "dialect_name": "postgres", "host": "h", "database": "x", "port": "99999"},
            "port",
            "invalid",
        ),
        ({"name": "shop", "dialect_name": "duckdb", "database": "/x"}, "name", "already_exists"),
    ],
)
def test_a_bad_connection_is_refused_by_field(
    house: House, body: dict[str, Any], field: str, code: str
) -> None:
    house.ok("POST", "/connections", json={"name": "shop", "dialect_name": "duckdb", "database": "/x"})
    answer = house.call("POST", "/connections", json=body)
    assert answer.status_code == 422, answer.text
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]


def test_only_administrators_change_connections(house: House) -> None:
    body = {"name": "a", "dialect_name": "duckdb", "database": "/etc/passwd"}
    assert house.call("POST", "/connections", token=PLAIN, json=body).status_code == 403
    assert house.call("GET", "/connections", token=PLAIN).status_code == 200


def test_warehouses_are_described_in_lookers_fields(house: House) -> None:
    key = '{"type": "service_account", "private_key": "very private"}'
    big = {
        "name": "big",
        "dialect_name": "bigquery_standard_sql",
        "host": "acme",
        "database": "shop",
        "certificate": base64.b64encode(key.encode()).decode(),
        "file_type": ".json",
        "jdbc_additional_params": "location=EU",
    }
    made = house.ok("POST", "/connections", json=big)
    assert (made["dialect_name"], made["host"], made["database"]) == ("bigquery_standard_sql", "acme", "shop")
    assert made["jdbc_additional_params"] == "location=EU"
    assert "private" not in json.dumps(house.ok("GET", "/connections"))
    snow = {
        "name": "snow",
        "dialect_name": "snowflake",
        "host": "acme-eu.snowflakecomputing.com",
        "database": "DB",
        "username": "u",
        "password": "hush",
        "jdbc_additional_params": "warehouse=WH&role=R",
    }
    house.ok("POST", "/connections", json=snow)
    house.ok("PATCH", "/connections/snow", json={"schema": "PUBLIC"})
    row = next(
        c for c in house.services.db.submit_read(lambda tx: tx.connections()).result() if c.name == "snow"
    )
    assert row.settings["account"] == "acme-eu"
    assert (row.settings["warehouse"], row.settings["role"], row.settings["schema"]) == ("WH", "R", "PUBLIC")
    assert json.loads(house.services.vault.open(row.sealed)) == {"password": "hush"}
    (answer,) = house.ok("PUT", "/connections/snow/test")
    assert answer["status"] == "error"
    assert "runyard[snowflake]" in answer["message"]
