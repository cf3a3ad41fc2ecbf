"""The two programs: `python -m runyard.tasks.datadiff` and `runyard diff`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from runyard.tasks.datadiff import __main__ as datadiff_program


def program(folder: Path, spec: Any, connections: Any, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "spec.json").write_text(json.dumps(spec))
    argv = [
        sys.executable,
        "-m",
        "runyard.tasks.datadiff",
        "--spec",
        str(folder / "spec.json"),
        "--out",
        str(folder / "out"),
    ]
    env = {**os.environ, "RUNYARD_CONNECTIONS": json.dumps(connections)}
    return subprocess.run([*argv, *more], env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = str(tmp_path / "x.duckdb")
    with duckdb.connect(path) as c:
        c.execute("CREATE TABLE a AS SELECT i AS id, 'v' || i AS v FROM range(10) r(i)")
        c.execute(
            "CREATE TABLE b AS SELECT id, CASE WHEN id = 3 THEN '<|`x`' ELSE v END AS v FROM a WHERE id <> 5"
        )
    return path


def test_the_program_writes_its_three_files_and_tells_by_exit_code(tmp_path: Path, file: str) -> None:
    here = {"7": {"dialect": "duckdb", "path": file}}
    a, b = ({"connection": "7", "table": t} for t in "ab")
    done = program(tmp_path, {"a": a, "b": b}, here)
    assert done.returncode == 1, done.stderr
    assert "compare" in done.stdout
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert result["samples"]["changed"] == [{"key": {"id": "3"}, "columns": {"v": ["v3", "<|`x`"]}}]
    assert result["samples"]["exclusive"] == [[{"key": {"id": "5"}, "values": {"v": "v5"}}], []]
    rows = duckdb.sql(f"SELECT * FROM '{tmp_path}/out/diff.parquet' ORDER BY id").fetchall()
    assert rows == [("changed", 3, "v3", "<|`x`", True), ("only_a", 5, "v5", None, False)]
    assert "### a → b" in (tmp_path / "out/summary.md").read_text()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "diff.parquet",
        "result.json",
        "summary.md",
    ]
    assert program(tmp_path, {"a": a, "b": a}, here).returncode == 0


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("no", "BadRequestException"),
        ({"a": {"connection": "7", "table": "a"}, "b": {}}, "BadRequestException"),
        (
            {"a": {"connection": "7", "table": "a"}, "b": {"connection": "7", "table": "a"}, "x": 1},
            "BadRequestException",
        ),
        (
            {"a": {"connection": "7", "table": "a"}, "b": {"connection": "7", "table": "c"}},
            "NoSuchTableException",
        ),
    ],
)
def test_what_could_not_be_compared_is_exit_2_and_a_result_all_the_same(
    tmp_path: Path, file: str, spec: Any, fault: str
) -> None:
    done = program(tmp_path, spec, {"7": {"dialect": "duckdb", "file": file}})
    assert (done.returncode, done.stderr) == (2, "")
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert (result["status"], result["error"]["error_type"]) == ("failed", fault)


def test_a_program_that_breaks_has_not_found_a_difference(
    tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("secret of a row")

    side = {"connection": "7", "table": "a"}
    (tmp_path / "spec.json").write_text(json.dumps({"a": side, "b": side}))
    monkeypatch.setattr(datadiff_program, "run", broken)
    argv = ["--spec", str(tmp_path / "spec.json"), "--out", str(tmp_path / "out")]
    assert datadiff_program.main(argv) == 2
    error = json.loads((tmp_path / "out/result.json").read_text())["error"]
    assert (error["error_type"], "RuntimeError" in error["error_value"]) == ("InternalException", True)
    assert "secret" not in error["error_value"]
    assert "Traceback" in capsys.readouterr().err


def test_no_credential_reaches_the_output(tmp_path: Path) -> None:
    connection = {
        "dialect": "pg",
        "host": "127.0.0.1",
        "port": 1,
        "dbname": "x",
        "user": "u",
        "password": "hush-hush",
    }
    side = {"connection": "1", "table": "t"}
    done = program(tmp_path, {"a": side, "b": side}, {"1": connection})
    assert done.returncode == 2
    assert "hush" not in done.stdout + done.stderr + (tmp_path / "out/result.json").read_text()
    assert "hush" not in program(tmp_path, {"a": side, "b": side}, {"1": ["hush-hush"]}).stdout


def cli(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runyard", "diff", *argv], capture_output=True, text=True, check=False
    )


def test_runyard_diff_speaks_tables_json_and_markdown(tmp_path: Path, file: str) -> None:
    a, b = (f"duckdb://{file}?table={t}" for t in "ab")
    table = cli(a, b, "--key", "id", "--parquet", str(tmp_path / "d.parquet"))
    assert table.returncode == 1, table.stderr
    assert "different: 1 of 9 compared rows differ" in table.stdout
    assert duckdb.sql(f"SELECT count(*) FROM '{tmp_path}/d.parquet'").fetchall() == [(2,)]
    result = json.loads(cli(a, b, "--output", "json").stdout)
    assert result["pks"]["exclusives"] == [1, 0]
    assert "| distinct keys | 10 | 9 |" in cli(a, b, "-o", "markdown").stdout
    html = cli(a, b, "-o", "html").stdout
    assert "<td>v</td>" in html
    assert "&lt;|`x`" in html
    assert "<|" not in html
    hidden = cli(a, b, "--no-values", "-o", "json")
    assert (hidden.returncode, "v3" in hidden.stdout) == (1, False)
    assert json.loads(cli(a, b, "--rule", "v={b} LIKE '<%'", "-o", "json").stdout)["rows"]["changed"] == 0
    assert cli(a, a).returncode == 0
    assert cli(a, b, "--where", "id not in (3, 5)").returncode == 0


def test_rows_of_every_kind_are_shown_with_their_nulls_and_blanks(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,s\n1,\n2,"x"\n3,"gone"\n4,"y"\n4,"z"\n')
    (tmp_path / "b.csv").write_text('id,s\n1,""\n2,"x "\n4,"y"\n,"keyless"\n')
    lines = cli(f"{tmp_path}/a.csv", f"{tmp_path}/b.csv", "-k", "id").stdout.splitlines()
    assert [line for line in lines if line.startswith("  ")] == [
        "  id=1  s: NULL → ''",
        "  id=2  s: x → 'x '",
        "  only in A  id=3",
        "  null key in B  id=NULL",
        "  duplicate key in A  id=4 (2 rows)",
    ]


def test_a_filter_that_is_none_is_told_with_its_place(file: str) -> None:
    done = cli(f"duckdb://{file}?table=a", f"duckdb://{file}?table=b", "--where", "id = 1; drop table a")
    assert done.returncode == 2
    assert done.stderr == "runyard diff: The filter cannot be parsed: Expecting ), line 1, column 6.\n"


@pytest.mark.parametrize(
    "address",
    [
        "oracle://x/y?table=t",
        "mysql://x@127.0.0.1:1/y?table=t",
        "snowflake://u@account/db/s?table=t",
        "duckdb:///x",
        "duckdb:///none?table=t",
        "none.csv",
        "x.exe",
        "postgres://h:bad/d?table=t",
    ],
)
def test_runyard_diff_could_not(address: str) -> None:
    done = cli(address, address)
    assert done.returncode == 2
    assert done.stderr.startswith("runyard diff: ")
    assert "Traceback" not in done.stderr


@pytest.mark.postgres
def test_runyard_diff_on_postgres(in_pg: Any) -> None:
    in_pg.sql("CREATE TABLE prod AS SELECT 1 AS id, 2 AS v", "CREATE TABLE pr AS SELECT 1 AS id, 3 AS v")
    c = in_pg.connection
    base = f"postgres://{c.username}:{c.password}@{c.host}:{c.port}/{c.database}?table="
    done = cli(base + "prod", base + "public.pr", "--key", "id", "--output", "json")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["values"]["values_with_differences"] == 1
