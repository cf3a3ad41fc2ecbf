"""Addresses of tables as people write them on a command line: `postgres://user@host/db?table=s.t`, `duckdb:///abs/file.db?table=t`, `x.parquet`.

Gives a Side and, for databases, the Connection; used by `runyard diff`. Only the keys named here are taken from an address.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.spec import Connection, Side

_KNOWN = {"table", "query", "filter", "schema", "sslmode"}


def locate(address: str) -> tuple[Side, Connection | None]:
    """(side, connection); two equal connections are one place. The side's `connection` is left empty."""
    parts = urlsplit(address)
    scheme = parts.scheme.lower()
    if scheme in ("", "file") or len(scheme) == 1:
        return Side(file=unquote(parts.path) if scheme == "file" else address), None
    if scheme not in ("postgres", "postgresql", "duckdb"):
        raise CouldNot(Fault.BAD_SPEC, f"{scheme}: addresses begin with postgres:, duckdb: or are files.")
    options = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
    unknown = sorted(options.keys() - _KNOWN)
    if unknown:
        raise CouldNot(Fault.BAD_SPEC, f"An address knows {', '.join(sorted(_KNOWN))}, not {unknown[0]!r}.")
    if bool(options.get("table")) == bool(options.get("query")):
        raise CouldNot(Fault.BAD_SPEC, f"{scheme}: addresses need exactly one of ?table=… and ?query=….")
    side = Side(**{k: options[k] for k in ("table", "query", "filter") if k in options})
    if scheme == "duckdb":
        return side, Connection("duckdb", file=_file(unquote(parts.netloc + parts.path)))
    try:
        port = parts.port or 5432
    except ValueError as error:
        raise CouldNot(Fault.BAD_SPEC, f"{scheme}: {error}.") from None
    return side, Connection(
        "postgres",
        host=unquote(parts.hostname or ""),
        port=port,
        database=unquote(parts.path.lstrip("/")),
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        schema=options.get("schema", ""),
        sslmode=options.get("sslmode", "prefer"),
    )


def _file(path: str) -> str:
    return str(Path(path).expanduser())
