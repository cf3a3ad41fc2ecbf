"""kill -9 of the server while a suite of Looker's and a diff of Datafold's run, in whatever they are doing,
and while dbt's artifacts come in. What had begun goes on after the start as if nothing had been, and says
what an undisturbed run says."""

from __future__ import annotations

import io
import json
import random
import threading
import time
import urllib.request
import uuid
import zipfile
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import duckdb
import pytest

from tests.faults.verdict import blob_complaints, sqlite_rows
from tests.live_server import LiveServer

SETTINGS = {"RUNYARD_RUNNER_SLOTS": "4", "RUNYARD_LEASE_S": "2", "RUNYARD_REQUEUES": "1000"}
VIEW = """view: sales {
  sql_table_name: sales ;;
  dimension: id { primary_key: yes type: number sql: ${TABLE}.id ;; }
  dimension: city { sql: ${TABLE}.city ;; }
  dimension: wrong { sql: uper(${TABLE}.city) ;; }
}
"""
MODEL = 'connection: "live"\ninclude: "/*.view"\ninclude: "/*.test"\nexplore: sales {}\n'
TEST = """test: cities_are_named {
  explore_source: sales { column: city { field: sales.city } }
  assert: named { expression: NOT is_null(${sales.city}) ;; }
}
"""


class Door:
    """Calls that are repeated until they are answered."""

    def __init__(self, server: LiveServer, head: str, base: str) -> None:
        self.server, self.head, self.base = server, head, base

    def __call__(
        self, method: str, path: str, body: Any = None, form: tuple[bytes, str] | None = None
    ) -> Any:
        data, kind = form or (None if body is None else json.dumps(body).encode(), "application/json")
        request = urllib.request.Request(self.server.url + self.base + path, data, method=method)
        request.add_header("Authorization", f"{self.head} {self.server.token}")
        request.add_header("Content-Type", kind)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def insist(self, *call: Any, **more: Any) -> Any:
        """The answer, of whichever server."""
        until = time.monotonic() + 60
        while True:
            try:
                return self(*call, **more)
            except HTTPError as error:
                said = f"{error.code} {error.read()!r}"
                assert error.code >= 500 and time.monotonic() < until, said
            except (OSError, HTTPException):
                assert time.monotonic() < until
            time.sleep(0.05)


def warehouse(folder: Path) -> Path:
    file = folder / "warehouse.duckdb"
    with duckdb.connect(str(file)) as database:
        database.execute(
            "CREATE TABLE sales AS SELECT i AS id, 'city ' || i % 9 AS city FROM range(1000) r(i)"
        )
        for schema in ("prod", "pr"):
            database.execute(f"CREATE SCHEMA {schema}")
        database.execute("CREATE TABLE prod.orders AS SELECT i AS id, i % 7 AS n FROM range(50000) r(i)")
        database.execute(
            "CREATE TABLE pr.orders AS SELECT id, CASE WHEN id % 100 = 0 THEN n + 1 ELSE n END AS n FROM prod.orders WHERE id > 10"
        )
    return file


class Suites:
    """Runs of one suite."""

    def __init__(self, server: LiveServer, file: Path) -> None:
        self.server, self.call = server, Door(server, "token", "/api/4.0")
        self.call("POST", "/connections", {"name": "live", "dialect_name": "duckdb", "database": str(file)})
        server.push("live/shop", {"m.model.lkml": MODEL, "sales.view.lkml": VIEW, "t.test.lkml": TEST})
        self.home = "/projects/shop/continuous_integration"
        wanted = {"name": "all", "assert_validator_config_is_enabled": True}
        self.suite = self.call("POST", f"{self.home}/suites", wanted)["id"]

    def begin(self) -> str:
        return str(self.call("POST", f"{self.home}/runs", {"suite_id": self.suite})["id"])

    def ended(self, run: str) -> Any:
        told = self.server.until(
            lambda: self.call("GET", f"{self.home}/runs/{run}"),
            lambda r: r["status"] not in ("queued", "running"),
            120,
        )
        return told["status"], _lasting(told["result"])


TIMES = {
    "runtime",
    "started_at",
    "finished_at",
    "duration",
    "query_id",
    "created_at",
    "run_id",
    "suite_run_id",
}


def _lasting(told: Any) -> Any:
    """Without what differs between two runs of the same."""
    if isinstance(told, dict):
        return {key: _lasting(value) for key, value in told.items() if key not in TIMES}
    return [_lasting(one) for one in told] if isinstance(told, list) else told


class Diffs:
    """Diffs of two tables."""

    def __init__(self, server: LiveServer, file: Path) -> None:
        self.server, self.call = server, Door(server, "Key", "/api/v1/")
        made = {"name": "wh", "type": "duckdb", "options": {"path": str(file)}}
        self.source = self.call("POST", "data_sources", made)["id"]

    def begin(self) -> int:
        body = {
            "data_source1_id": self.source, "data_source2_id": self.source, "pk_columns": ["id"],
            "table1": ["prod", "orders"], "table2": ["pr", "orders"],
        }  # fmt: skip
        return int(self.call("POST", "datadiffs", body)["id"])

    def ended(self, diff: int) -> Any:
        told = self.server.until(
            lambda: self.call("GET", f"datadiffs/{diff}"), lambda d: d["status"] in ("done", "failed"), 120
        )
        summary = self.call("GET", f"datadiffs/{diff}/summary_results")
        return told["status"], told["result"], told["diff_stats"], _lasting(summary)


class Builds:
    """Uploads of dbt's artifacts, which a kill may cut anywhere."""

    def __init__(self, diffs: Diffs) -> None:
        self.server, self.call = diffs.server, diffs.call
        self.server.call(
            "POST", "/api/v4/projects", {"name": "models", "path": "models", "namespace_path": "data"}
        )
        made = {"name": "ci", "repository": "data/models", "data_source_id": diffs.source}
        self.config = self.call("POST", "ci", made)["id"]
        self._send("a" * 40, "prod", "production")
        self.shas: list[str] = []

    def begin(self) -> threading.Thread:
        self.shas.append(f"{len(self.shas) + 1:040x}")
        sending = threading.Thread(target=self._send, args=(self.shas[-1], "pr", "pull_request"))
        sending.start()
        return sending

    def _send(self, sha: str, schema: str, kind: str) -> None:
        data = form(artifacts(schema, kind), commit_sha=sha, run_type=kind)
        self.call.insist("POST", f"dbt/submit_artifacts/{self.config}", form=data)

    def ended(self, sha: str) -> Any:
        (run,) = self.server.until(
            lambda: self.call("GET", f"ci/{self.config}/runs?pr_sha={sha}"),
            lambda found: len(found) == 1 and found[0]["status"] in ("done", "failed", "cancelled"),
            120,
        )
        return run["status"]

    def compared(self) -> list[tuple[str, str]]:
        """(status, result) of all diffs that the uploads made."""
        rows = self.call("GET", "datadiffs?limit=100")["results"]
        return [(row["status"], row["result"]) for row in rows if row["ci_run_id"] is not None]


def artifacts(schema: str, checksum: str) -> bytes:
    node = {
        "resource_type": "model", "name": "orders", "unique_id": "model.m.orders", "database": "warehouse", "schema": schema,
        "alias": "orders", "checksum": {"name": "sha256", "checksum": checksum}, "config": {"materialized": "table"},
        "depends_on": {"nodes": []}, "columns": {"id": {"name": "id", "tags": ["primary-key"]}}, "tags": [], "meta": {},
        "raw_code": checksum, "path": "orders.sql", "original_file_path": "models/orders.sql", "fqn": ["m", "orders"],
    }  # fmt: skip
    manifest = {
        "metadata": {
            "dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v12.json",
            "adapter_type": "duckdb",
        },
        "nodes": {"model.m.orders": node}, "sources": {}, "macros": {}, "child_map": {"model.m.orders": []},
        "parent_map": {"model.m.orders": []}, "exposures": {}, "metrics": {}, "selectors": {},
    }  # fmt: skip
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        archive.writestr("ballast.bin", random.Random(1).randbytes(4_000_000))
    return target.getvalue()


def form(data: bytes, **fields: str) -> tuple[bytes, str]:
    edge = uuid.uuid4().hex
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{edge}\r\nContent-Disposition: form-data; name="artifacts"; filename="a.zip"\r\nContent-Type: application/zip\r\n\r\n'
    body = b"".join([*parts, head.encode(), data, f"\r\n--{edge}--\r\n".encode()])
    return body, f"multipart/form-data; boundary={edge}"


@pytest.mark.parametrize(("rounds", "seed"), [(2, 1), pytest.param(25, 2, marks=pytest.mark.slow)])
def test_what_had_begun_goes_on(
    serve: Callable[..., LiveServer], tmp_path: Path, rounds: int, seed: int
) -> None:
    server, chance, file = serve(**SETTINGS), random.Random(seed), warehouse(tmp_path)
    suites, diffs = Suites(server, file), Diffs(server, file)
    builds = Builds(diffs)
    suite, diff = suites.ended(suites.begin()), diffs.ended(diffs.begin())
    assert suite[0] == "failed" and "sales.wrong" in json.dumps(suite[1])
    assert diff[:2] == ("done", "different")
    begun = []
    for _ in range(rounds):
        begun.append((suites.begin(), diffs.begin()))
        sending = builds.begin()
        time.sleep(chance.uniform(0.05, 2.0))
        server.kill()
        server.start()
        sending.join()
    for one, other in begun:
        assert suites.ended(one) == suite
        assert diffs.ended(other) == diff
    assert [builds.ended(sha) for sha in builds.shas] == ["done"] * rounds
    assert builds.compared() == [("done", "different")] * rounds
    _nothing_is_odd(server)


def _nothing_is_odd(server: LiveServer) -> None:
    rows = sqlite_rows(server.folder)
    bad = "SELECT id, outcome, reason, message FROM attempts WHERE latest = 0 AND (outcome, reason) <> ('errored', 'runner_lost')"
    assert rows(bad) == []
    assert rows("SELECT job_id FROM attempts GROUP BY 1 HAVING sum(latest) <> 1") == []
    assert rows("SELECT attempt_id FROM queue") == []
    assert blob_complaints(rows, server.folder / "data/blobs") == []
