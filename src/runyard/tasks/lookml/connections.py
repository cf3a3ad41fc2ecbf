"""A connection's settings, from an address or from a server's row, for every database that LookML's SQL is
asked of. No database is opened here.

`written` names the dialect that the project's SQL is in when the database speaks another one: it is
transpiled then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from runyard.tasks.lookml.sql.dialects import NAMES, Dialect, dialect_named

SECRETS = ("password", "private_key_pem", "service_account_json")
_PLAIN = ("file", "host", "database", "username", "schema", "sslmode")
_OTHERS = ("account", "warehouse", "role", "project", "location")
_OPTIONS = re.compile(r"\?(\w+=[^?]*)$")


class CannotConnect(Exception):
    """The connection's settings are not usable, or the database does not answer."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection's settings; port 0 is the database's usual one. `options` are a warehouse's own, secrets
    among them (`drivers.connect`)."""

    name: str
    dialect: Dialect
    file: str = ""
    host: str = ""
    port: int = 0
    database: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    schema: str = ""
    sslmode: str = ""
    written: Dialect | None = None
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_local(self) -> bool:
        """Whether SQL is transpiled for it: DuckDB and PostgreSQL."""
        return self.dialect in ("duckdb", "postgres")

    def masked(self, text: str) -> str:
        """The text without this connection's secrets."""
        for secret in (self.password, *(self.options.get(name, "") for name in SECRETS)):
            text = text.replace(secret, "[masked]") if secret else text
        return text

    def written_for(self, written: Dialect) -> Connection:
        """The connection for a project whose SQL is written for a warehouse; a connection of that very kind
        needs no translation."""
        return replace(self, written=written if written != self.dialect else None)


def written_dialect(word: str) -> Dialect:
    """The dialect that a project is written for; CannotConnect for one that cannot be transpiled."""
    found = dialect_named(word)
    if found is None:
        raise CannotConnect(f'SQL written in "{word}" cannot be transpiled; {", ".join(NAMES)} can')
    return found


def connection(name: str, settings: Mapping[str, Any]) -> Connection:
    """A connection out of `{dialect, url}` or `{dialect, file}` or `{dialect, host, port, database, username,
    password, schema, …}`.

    Addresses: `duckdb:///abs/file`, `postgres://…`, `redshift://…`,
    `snowflake://user:password@account/database/schema?warehouse=W&role=R`,
    `bigquery://project/dataset?location=EU`; each with `written=bigquery` to be transpiled. CannotConnect
    says what is wrong.
    """
    known = {**settings, **_from_url(name, str(settings["url"]))} if settings.get("url") else dict(settings)
    word = str(known.get("dialect") or "").lower()
    dialect = dialect_named(word)
    if dialect is None:
        raise CannotConnect(f'connection "{name}" has the dialect "{word}"; served are {", ".join(NAMES)}')
    try:
        port = int(known.get("port") or 0)
    except (TypeError, ValueError):
        raise CannotConnect(f'connection "{name}": the port is not a number') from None
    text = {k: str(known.get(k) or "") for k in _PLAIN}
    if dialect == "duckdb":
        text["file"] = text["file"] or text["database"]
    options = {k: str(known[k]) for k in (*_OTHERS, *SECRETS) if known.get(k) and k != "password"}
    file, host, database, username, schema, sslmode = (text[k] for k in _PLAIN)
    password = str(known.get("password") or "")
    found = Connection(
        name, dialect, file, host, port, database, username, password, schema, sslmode, None, options
    )
    return _for_writing(found, str(known.get("written") or ""))


def _for_writing(found: Connection, word: str) -> Connection:
    if not word:
        return found
    try:
        written = written_dialect(word)
    except CannotConnect as problem:
        raise CannotConnect(f'connection "{found.name}": {problem}') from None
    if written != found.dialect and not found.is_local:
        raise CannotConnect(
            f'connection "{found.name}": SQL is transpiled for duckdb and postgres, not {found.dialect}'
        )
    return found.written_for(written)


def _from_url(name: str, url: str) -> dict[str, Any]:
    """The settings that an address spells out."""
    options = _OPTIONS.search(url)
    found: dict[str, Any] = dict(parse_qsl(options.group(1))) if options else {}
    address = url[: options.start()] if options else url
    word, colon, rest = address.partition(":")
    if not colon:  # a bare path, where `dialect` says what it is
        return {"file": address, **found}
    found["dialect"] = word
    if word.lower() == "duckdb":
        # duckdb:///abs/file and duckdb:relative
        return {**found, "file": unquote(rest[2:] if rest.startswith("//") else rest)}
    try:
        parts = urlsplit(address)
        port = parts.port or 0
    except ValueError:
        raise CannotConnect(f'connection "{name}": the address cannot be read') from None
    found |= {"host": unquote(parts.hostname or ""), "port": port}
    found |= {"username": unquote(parts.username or ""), "password": unquote(parts.password or "")}
    database, _, schema = unquote(parts.path.lstrip("/")).partition("/")
    dialect = dialect_named(word)
    if dialect == "bigquery":
        return {**found, "project": found["host"], "schema": database}
    if dialect == "snowflake":
        return {**found, "account": found["host"], "database": database, "schema": schema}
    return {**found, "database": database}
