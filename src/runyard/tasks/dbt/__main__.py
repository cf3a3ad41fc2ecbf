"""`python -m runyard.tasks.dbt --spec FILE --out DIR`: writes DIR/profiles.yml with one target per side, from
RUNYARD_CONNECTIONS. Exits 2 when it could not.

The spec: `connection` (a name of the connections), `projects` (folders with dbt_project.yml; every profile
name in them is written), `targets` (target → schema), `threads`, and for DuckDB `file` (the database to
build, relative to where dbt runs); the data source's own file is attached read-only under its stem (what is
no letter or digit becomes `_`). JSON is YAML, so the profiles are written as JSON. The file holds the
password: mode 0600, never kept as an artifact.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runyard.syntax.yamltree import YamlError, load, to_plain

COULD_NOT = 2
PROFILES, PROJECT = "profiles.yml", "dbt_project.yml"


class CouldNot(Exception):
    """The profiles were not written; the message says why and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m runyard.tasks.dbt", description="Write dbt profiles for both sides of a change."
    )
    parser.add_argument("--spec", type=Path, required=True, help="JSON file saying what to write")
    parser.add_argument("--out", type=Path, required=True, help="folder for profiles.yml")
    options = parser.parse_args(arguments)
    try:
        spec = json.loads(options.spec.read_text(encoding="utf-8"))
        profiles = written(spec, json.loads(os.environ.get("RUNYARD_CONNECTIONS", "{}")))
    except CouldNot as error:
        sys.stderr.write(f"{error}\n")
        return COULD_NOT
    options.out.mkdir(parents=True, exist_ok=True)
    target = options.out / PROFILES
    with os.fdopen(
        os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        json.dump(profiles, file, indent=1)
    sys.stdout.write(f"Profiles {', '.join(profiles)} with the targets {', '.join(spec['targets'])}.\n")
    return 0


def written(spec: Mapping[str, Any], connections: Mapping[str, Any]) -> dict[str, Any]:
    """The content of profiles.yml."""
    connection = connections.get(spec["connection"])
    if connection is None:
        raise CouldNot(f"There is no connection {spec['connection']!r}.")
    outputs = {
        target: {**_adapter(connection, spec), "schema": schema, "threads": spec.get("threads", 4)}
        for target, schema in spec["targets"].items()
    }
    first = next(iter(outputs))
    names = dict.fromkeys(_profile(Path(folder)) for folder in spec["projects"])
    return {name: {"target": first, "outputs": outputs} for name in names}


def _profile(folder: Path) -> str:
    """The profile that a project names."""
    try:
        tree = to_plain(load((folder / PROJECT).read_bytes()))
    except FileNotFoundError:
        raise CouldNot(
            f"{folder} has no {PROJECT}; [datafold] project_dir says where the dbt project is."
        ) from None
    except YamlError as error:
        raise CouldNot(f"{folder / PROJECT}: {error}") from None
    profile = tree.get("profile") if isinstance(tree, dict) else None
    if not isinstance(profile, str) or not profile:
        raise CouldNot(f"{folder / PROJECT} names no profile; add `profile: <name>`.")
    return profile


def _adapter(connection: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    dialect = connection.get("dialect")
    if dialect == "duckdb":
        own = str(connection["file"])
        attached = [{"path": own, "alias": _alias(own), "type": "duckdb", "read_only": True}]
        return {"type": "duckdb", "path": spec["file"], "attach": attached}
    if dialect == "postgres":
        said = {k: connection.get(k) for k in ("host", "port", "password", "sslmode")}
        return {
            "type": "postgres",
            **{k: v for k, v in said.items() if v},
            "user": connection.get("username", ""),
            "password": connection.get("password", ""),
            "dbname": connection.get("database", ""),
        }
    raise CouldNot(f"dbt projects are built in DuckDB and PostgreSQL here, not in {dialect}.")


def _alias(file: str) -> str:
    """The file's stem as a plain name: dbt-duckdb writes it into its ATTACH without quotes."""
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in Path(file).stem)
    return f"_{plain}" if plain[:1].isdigit() else plain


if __name__ == "__main__":
    sys.exit(main())
