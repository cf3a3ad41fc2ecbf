"""Other people's diffs agree with ours on the same tables, and where they report what is not there is listed:
`FALSE_REPORTS`.

reladiff 0.6.0 and datacompy 1.1.0 run in `.venv-oracles` (scripts/oracles.sh), in a process of their own.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from msgspec.structs import replace

from bench.datadiff_tables import VALUES, fill_duckdb, fill_postgres
from runyard.tasks.datadiff.diff import run
from runyard.tasks.datadiff.report import as_json
from runyard.tasks.datadiff.spec import Connection, Side, Spec
from tests.tasks.datadiff.conftest import postgres_connection

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-oracles" / "bin" / "python"
ROWS = 20_000
FALSE_REPORTS = {
    "reladiff hashdiff, floats across databases": "it compares texts, and the databases print floats differently",
    "reladiff hashdiff, DATE in DuckDB": "it does not know the type and gives up with a TypeError; the column is left out here",
    "datacompy, duplicate keys": "it pairs them by their order in the file; ours reports and leaves them out",
}

pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv-oracles" / "ready").exists(),
    reason="reladiff and datacompy are not here: bash scripts/oracles.sh",
)


def ask(*wishes: dict[str, Any]) -> list[dict[str, Any]]:
    """What the others say."""
    done = subprocess.run(
        [PYTHON, str(Path(__file__).with_name("rival.py"))],
        input=json.dumps(wishes),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer: list[dict[str, Any]] = json.loads(done.stdout)
    return answer


def ours(a: Connection, b: Connection, folder: Path, **fields: Any) -> dict[str, Any]:
    """Our result, and our keys by kind out of the Parquet file."""
    spec = Spec(Side("a", table="a"), Side("b", table="b"), key=("id",), **fields)
    found = as_json(run(spec, {"a": a, "b": b}, folder, lambda tick: None))
    rows = duckdb.sql(f"SELECT _status, id::VARCHAR FROM '{folder}/diff.parquet'").fetchall()
    keys = {kind: sorted(k for s, k in rows if s == kind) for kind in ("only_a", "only_b", "changed")}
    return found | {"keys": keys}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("oracles") / "t.duckdb")
    fill_duckdb(path, ROWS)
    return path


def wish(**fields: Any) -> dict[str, Any]:
    return {
        "tool": "reladiff",
        "table_a": "a",
        "table_b": "b",
        "key": "id",
        "columns": list(VALUES),
        **fields,
    }


def test_reladiff_and_datacompy_find_in_duckdb_what_we_find(file: str, tmp_path: Path) -> None:
    place = Connection("duckdb", file=file)
    mine = ours(place, place, tmp_path)
    with duckdb.connect(file, read_only=True) as c:
        for table in "ab":
            c.execute(f"COPY {table} TO '{tmp_path}/{table}.parquet'")
    theirs = {"driver": "duckdb", "filepath": file}
    frames = {s: f"{tmp_path}/{s}.parquet" for s in "ab"}
    joined, compared = ask(
        wish(a=theirs, b=theirs, algorithm="joindiff"), {"tool": "datacompy", "key": ["id"], **frames}
    )
    assert mine["keys"] == joined
    assert [len(mine["keys"][s]) for s in ("only_a", "only_b")] == [compared["only_a"], compared["only_b"]]
    stats = {c["column_name"]: c["values_different"] for c in mine["values"]["columns_diff_stats"]}
    assert stats == {name: n for name, n in compared["columns"].items() if name != "id"}


@pytest.mark.postgres
def test_reladiff_finds_in_postgres_what_we_find_and_false_changes_across(
    file: str, tmp_path: Path, fresh_postgres_url: str
) -> None:
    with psycopg.connect(fresh_postgres_url, autocommit=True) as c:
        fill_postgres(file, c)
    place, duck = postgres_connection(fresh_postgres_url), Connection("duckdb", file=file)
    within, across = ours(place, place, tmp_path), ours(place, duck, tmp_path)
    assert within["keys"] == across["keys"]
    exact = [name for name in VALUES if name not in ("c_date", "c_double")]
    theirs = {"driver": "duckdb", "filepath": file}
    url = fresh_postgres_url.replace("@", ":x@", 1)  # it wants a password, whatever it is
    joined, without, false = ask(
        wish(a=url, b=url, algorithm="joindiff"),
        wish(a=url, b=theirs, algorithm="hashdiff", columns=exact),
        wish(a=url, b=theirs, algorithm="hashdiff", columns=[*exact, "c_double"]),
    )
    assert within["keys"] == joined
    narrow = ours(place, duck, tmp_path, include=tuple(exact))
    assert narrow["keys"] == without
    assert len(false["changed"]) > ROWS / 2, "the false report is gone: strike it from FALSE_REPORTS"
    equal = ours(duck, duck, tmp_path)  # the same float column, in one database
    assert len(equal["keys"]["changed"]) == len(across["keys"]["changed"]) < ROWS / 500


@pytest.mark.postgres
def test_a_table_and_its_copy_across_databases_have_no_difference(
    file: str, tmp_path: Path, fresh_postgres_url: str
) -> None:
    with psycopg.connect(fresh_postgres_url, autocommit=True) as c:
        fill_postgres(file, c)
    spec = Spec(Side("pg", table="a"), Side("duck", table="a"), key=("id",))
    connections = {"pg": postgres_connection(fresh_postgres_url), "duck": Connection("duckdb", file=file)}
    for algorithm in ("fetch_and_join", "hash"):
        found = as_json(run(replace(spec, algorithm=algorithm), connections, tmp_path, lambda tick: None))
        assert found["values"]["values_with_differences"] == 0
        assert found["equal"], (found["schema"], found["pks"])
        assert found["values"]["compared_columns"] == len(VALUES)
