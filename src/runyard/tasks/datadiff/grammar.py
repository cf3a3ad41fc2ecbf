# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""How each database says what a diff has to say: names, texts, null-safe inequality, key identity, hashes.
One small class per database.

The SQL builders (`statements`, `equality`, `keys`, `checksums`, `timeline`) write everything else in words
that all of them share. Sources: the SQL references of the databases; what is written for Snowflake, BigQuery,
Databricks and Redshift is checked by sqlglot and golden files only.
"""

from __future__ import annotations

from collections.abc import Sequence

from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.kinds import STRINGS, Column, Kind

HASH_SPAN = 1 << 31
"""`key_hash` gives numbers from 0 to this, exclusive."""


class Grammar:
    """DuckDB's, which is nearly the standard's; the others say where they differ. `name` is sqlglot's word
    for the dialect."""

    name = "duckdb"
    quote = '"'
    text_type = "VARCHAR"
    escapes = False  # whether a backslash means something in a text
    full_join = True
    distinct_from = True
    cte = "MATERIALIZED "
    barrier = ""  # what keeps an optimiser from merging a subquery into an outer join

    def quoted(self, name: str) -> str:
        """An identifier that means exactly this name, whatever is in it."""
        if "\0" in name:
            raise CouldNot(Fault.BAD_SPEC, "A name may not contain NUL.")
        return self.quote + name.replace(self.quote, self.quote * 2) + self.quote

    def text(self, value: str) -> str:
        """A string literal."""
        if self.escapes:
            value = value.replace("\\", "\\\\")
        return "'" + value.replace("'", "\\'" if self.escapes else "''") + "'"

    def path(self, parts: Sequence[str]) -> str:
        """A found table."""
        return ".".join(map(self.quoted, parts))

    def differ(self, a: str, b: str) -> str:
        """Null-safe inequality, never NULL."""
        if self.distinct_from:
            return f"{a} IS DISTINCT FROM {b}"
        return f"coalesce({a} <> {b}, ({a} IS NULL) <> ({b} IS NULL))"

    def count_if(self, condition: str) -> str:
        """How many rows of a group satisfy it."""
        return f"count(CASE WHEN {condition} THEN 1 END)"

    def as_text(self, value: str) -> str:
        """A value as people and files see it."""
        return f"CAST({value} AS {self.text_type})"

    def first_chars(self, value: str, count: int) -> str:
        """The beginning of a text."""
        return f"left({value}, {count})"

    def key(self, value: str, pair_kinds: frozenset[Kind]) -> str:
        """A key's value in the form in which equal means the same key; for grouping."""
        if Kind.UUID in pair_kinds and len(pair_kinds) > 1:
            return f"lower({self.as_text(value)})"
        return f"rtrim({value}, ' ')" if Kind.FIXED in pair_kinds else value

    def same_key(self, a: str, b: str, kinds: frozenset[Kind], alike: bool) -> str:
        """Equality of two key values, in a form that indexes and hash joins understand; `alike`: of one known
        collation."""
        return f"{self.key(a, kinds)} = {self.key(b, kinds)}"

    def comparable(self, value: str, column: Column, kinds: frozenset[Kind]) -> str:
        """A value in the form in which inequality means a difference."""
        return f"rtrim({value}, ' ')" if kinds <= STRINGS and Kind.FIXED in kinds else value

    def lowered(self, value: str) -> str:
        """Without regard to case."""
        return f"lower({value})"

    def sorted_array(self, value: str, column: Column) -> str:
        """An array without regard to order."""
        return f"list_sort({value})"

    def finite(self, value: str) -> str:
        """Whether a moment can be reckoned with."""
        return f"isfinite({value})"

    def microseconds(self, value: str) -> str:
        """A moment as an exact number, so that differences are exact too: floating seconds are not."""
        return f"epoch_us({value})"

    def md5(self, text: str) -> str:
        """32 small hexadecimal digits."""
        return f"md5({text})"

    def hex_number(self, digits: str, start: int) -> str:
        """Seven hexadecimal digits of a text, from the start-th on, as a number: sums of 2^35 of them fit an
        integer."""
        return f"CAST('0x' || substr({digits}, {start}, 7) AS BIGINT)"

    def byte_length(self, text: str) -> str:
        """Of a text in UTF-8."""
        return f"strlen({text})"

    def joined(self, texts: Sequence[str]) -> str:
        """Texts one after the other; NULL when one of them is."""
        return "(" + " || ".join(texts) + ")"

    def key_hash(self, keys: Sequence[str]) -> str:
        """An integer from 0 to HASH_SPAN that depends on the key alone and is the same on both sides."""
        return f"(hash({', '.join(map(self.as_text, keys))}) % {HASH_SPAN})"

    def since(self, value: str, unit: str) -> str:
        """The beginning of the minute … year that a moment lies in."""
        return f"date_trunc('{unit}', {value})"

    def moment(self, value: str, column: Column) -> str:
        """A moment written out, of a column's type."""
        return f"CAST({self.text(value)} AS {column.exact})"

    def as_of(self, moment: str | int | None) -> str:
        """What follows a table's name to see it at an earlier moment: a time, or so many seconds ago. Only
        some databases can."""
        if moment is None:
            return ""
        raise CouldNot(Fault.BAD_SPEC, f"{self.name} has no time travel.")


class PostgresGrammar(Grammar):
    """PostgreSQL 12 and later."""

    name = "postgres"
    text_type = "text"
    _BY_TEXT = frozenset(
        {"xml", "point", "polygon", "path", "line", "lseg", "box", "circle", "_json", "_xml", "refcursor"}
    )  # no operator class, or `=` compares something else (boxes by area)

    def microseconds(self, value: str) -> str:
        """Of whole minutes and the rest: until PostgreSQL 14 extract gave floats, here always whole ones."""
        minutes = f"CAST(extract(epoch FROM date_trunc('minute', {value})) AS bigint)"
        return f"({minutes} * 1000000 + CAST(extract(microseconds FROM {value}) AS bigint))"

    def key(self, value: str, pair_kinds: frozenset[Kind]) -> str:
        """char(n) ignores its padding by itself."""
        return super().key(value, pair_kinds) if Kind.UUID in pair_kinds else value

    def comparable(self, value: str, column: Column, kinds: frozenset[Kind]) -> str:
        """json has no equality, jsonb has; two columns may be declared with different collations, which would
        be an error."""
        if column.base == "json":
            return f"{value}::jsonb"
        if column.base in self._BY_TEXT:
            return f"{value}::text"
        return f'{value} COLLATE "C"' if column.kind is Kind.STRING and column.base != "citext" else value

    def sorted_array(self, value: str, column: Column) -> str:
        """By sorting what unnest gives."""
        return f"(CASE WHEN {value} IS NULL THEN NULL ELSE ARRAY(SELECT unnest({value}) ORDER BY 1) END)"

    def hex_number(self, digits: str, start: int) -> str:
        """By way of a bit string."""
        return f"('x0' || substr({digits}, {start}, 7))::bit(32)::bigint"

    def byte_length(self, text: str) -> str:
        """The standard's word."""
        return f"octet_length({text})"

    def key_hash(self, keys: Sequence[str]) -> str:
        """The low 31 bits of the extended text hash."""
        texts = ", ".join(f"{k}::text" for k in keys)
        return f"(hashtextextended(concat_ws(chr(31), {texts}), 0) & {HASH_SPAN - 1})"


class MysqlGrammar(Grammar):
    """MySQL 8 and MariaDB 10.6 or later.

    Texts are compared byte by byte: the usual collations take `a` for `A` and ignore trailing blanks. Keys
    are first found by the collation's equality, so that an index serves, and then by the bytes.
    """

    name = "mysql"
    quote = "`"
    text_type = "CHAR"
    escapes = True
    full_join = False
    cte = ""
    barrier = (
        " LIMIT 18446744073709551615"  # MariaDB 10.11 loses rows when it merges a NOT EXISTS into a left join
    )

    def differ(self, a: str, b: str) -> str:
        """MySQL's null-safe equality, turned around."""
        return f"NOT ({a} <=> {b})"

    def as_text(self, value: str) -> str:
        """In UTF-8 whatever the column's character set is."""
        return f"CONVERT({value} USING utf8mb4)"

    def _bytes(self, value: str) -> str:
        return f"CAST(CONVERT({value} USING utf8mb4) AS BINARY)"

    def key(self, value: str, pair_kinds: frozenset[Kind]) -> str:
        """Texts by their bytes."""
        return self._bytes(value) if pair_kinds <= STRINGS else value

    def same_key(self, a: str, b: str, kinds: frozenset[Kind], alike: bool) -> str:
        """The collation's equality for the index, the bytes' for the truth."""
        if kinds <= STRINGS and not alike:
            return f"{self._bytes(a)} = {self._bytes(b)}"
        if kinds <= STRINGS:
            return f"{a} = {b} AND {self._bytes(a)} = {self._bytes(b)}"
        return f"{a} = {b}"

    def comparable(self, value: str, column: Column, kinds: frozenset[Kind]) -> str:
        """Texts, enumerations and sets by their bytes; JSON as MySQL writes it, which is sorted."""
        if column.kind in STRINGS or column.kind in (Kind.JSON, Kind.OTHER):
            return self._bytes(value)
        return value

    def lowered(self, value: str) -> str:
        """Of the text, not of its bytes."""
        return f"lower(CONVERT({value} USING utf8mb4))"

    def finite(self, value: str) -> str:
        """There is no infinity; the zero date is no moment either."""
        return f"{value} > '0001-01-01'"

    def microseconds(self, value: str) -> str:
        """Of two parts: to_seconds drops the fraction."""
        return f"(to_seconds({value}) * 1000000 + microsecond({value}))"

    def hex_number(self, digits: str, start: int) -> str:
        """conv gives a text."""
        return f"CAST(conv(substr({digits}, {start}, 7), 16, 10) AS UNSIGNED)"

    def byte_length(self, text: str) -> str:
        """length is in bytes here."""
        return f"length({text})"

    def joined(self, texts: Sequence[str]) -> str:
        """|| means OR here."""
        return f"concat({', '.join(texts)})"

    def key_hash(self, keys: Sequence[str]) -> str:
        """31 bits of the md5 of the texts."""
        texts = ", ".join(map(self.as_text, keys))
        return (
            f"(CAST(conv(left(md5(concat_ws(char(31), {texts})), 8), 16, 10) AS UNSIGNED) & {HASH_SPAN - 1})"
        )

    def moment(self, value: str, column: Column) -> str:
        """As text, without a zone: the session is in UTC."""
        return self.text(value.removesuffix("+00:00"))

    def since(self, value: str, unit: str) -> str:
        """By formatting; a week begins on Monday."""
        if unit == "week":
            return f"date_sub(date({value}), INTERVAL weekday({value}) DAY)"
        return f"date_format({value}, {_MYSQL_SINCE[unit]})"


_MYSQL_SINCE = {
    "minute": "'%Y-%m-%d %H:%i:00'",
    "hour": "'%Y-%m-%d %H:00:00'",
    "day": "'%Y-%m-%d'",
    "month": "'%Y-%m-01'",
    "year": "'%Y-01-01'",
}


class SnowflakeGrammar(Grammar):
    """Snowflake."""

    name = "snowflake"
    escapes = True
    cte = ""

    def as_text(self, value: str) -> str:
        """By the session's formats, which the session sets."""
        return f"TO_VARCHAR({value})"

    def comparable(self, value: str, column: Column, kinds: frozenset[Kind]) -> str:
        """Semi-structured values by their canonical JSON."""
        return f"TO_JSON({value})" if column.kind in (Kind.JSON, Kind.ARRAY) else value

    def sorted_array(self, value: str, column: Column) -> str:
        """Sorted, then as JSON."""
        return f"TO_JSON(ARRAY_SORT({value}))"

    def finite(self, value: str) -> str:
        """Every moment is."""
        return f"{value} IS NOT NULL"

    def microseconds(self, value: str) -> str:
        """With nanoseconds after the point."""
        return f"(DATE_PART(epoch_nanosecond, {value}) / 1000)"

    def as_of(self, moment: str | int | None) -> str:
        """AT, by time or by offset."""
        if moment is None:
            return ""
        if isinstance(moment, int):
            return f" AT (OFFSET => -{abs(moment)})"
        return f" AT (TIMESTAMP => {self.text(moment)}::TIMESTAMP_TZ)"

    def hex_number(self, digits: str, start: int) -> str:
        """By a format."""
        return f"TO_NUMBER(SUBSTR({digits}, {start}, 7), 'XXXXXXX')"

    def byte_length(self, text: str) -> str:
        """The standard's word."""
        return f"OCTET_LENGTH({text})"

    def key_hash(self, keys: Sequence[str]) -> str:
        """Of the texts: HASH of a number depends on its type."""
        return f"BITAND(HASH({', '.join(map(self.as_text, keys))}), {HASH_SPAN - 1})"


class BigQueryGrammar(Grammar):
    """BigQuery's GoogleSQL. NaN is not distinct from NaN there either."""

    name = "bigquery"
    quote = "`"
    text_type = "STRING"
    escapes = True
    cte = ""

    def quoted(self, name: str) -> str:
        """Back-ticks inside are escaped, not doubled."""
        return "`" + super().quoted(name)[1:-1].replace("\\", "\\\\").replace("``", "\\`") + "`"

    def path(self, parts: Sequence[str]) -> str:
        """One name with dots, so that a project may have dashes."""
        return "`" + ".".join(self.quoted(p)[1:-1] for p in parts) + "`"

    def as_text(self, value: str) -> str:
        """A text as it is, the rest by CAST."""
        return f"CAST({value} AS STRING)"

    def comparable(self, value: str, column: Column, kinds: frozenset[Kind]) -> str:
        """Arrays, structs and JSON have no equality."""
        return f"TO_JSON_STRING({value})" if column.kind in (Kind.JSON, Kind.ARRAY, Kind.OTHER) else value

    def sorted_array(self, value: str, column: Column) -> str:
        """By sorting what UNNEST gives, as JSON."""
        return f"TO_JSON_STRING(ARRAY(SELECT x FROM UNNEST({value}) AS x ORDER BY TO_JSON_STRING(x)))"

    def finite(self, value: str) -> str:
        """Every moment is."""
        return f"{value} IS NOT NULL"

    def microseconds(self, value: str) -> str:
        """A DATETIME counts as UTC."""
        return f"UNIX_MICROS(CAST({value} AS TIMESTAMP))"

    def as_of(self, moment: str | int | None) -> str:
        """FOR SYSTEM_TIME AS OF."""
        if moment is None:
            return ""
        if isinstance(moment, int):
            return f" FOR SYSTEM_TIME AS OF TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL {abs(moment)} SECOND)"
        return f" FOR SYSTEM_TIME AS OF TIMESTAMP({self.text(moment)})"

    def md5(self, text: str) -> str:
        """MD5 gives bytes."""
        return f"TO_HEX(MD5({text}))"

    def hex_number(self, digits: str, start: int) -> str:
        """CAST understands 0x."""
        return f"CAST(CONCAT('0x', SUBSTR({digits}, {start}, 7)) AS INT64)"

    def byte_length(self, text: str) -> str:
        """Of the bytes."""
        return f"BYTE_LENGTH({text})"

    def key_hash(self, keys: Sequence[str]) -> str:
        """The low bits of the fingerprint of the texts."""
        texts = ", '\\u001f', ".join(f"COALESCE({self.as_text(k)}, '')" for k in keys)
        return f"(FARM_FINGERPRINT(CONCAT({texts})) & {HASH_SPAN - 1})"

    def since(self, value: str, unit: str) -> str:
        """Of a timestamp; a week begins on Monday."""
        part = "ISOWEEK" if unit == "week" else unit.upper()
        return f"TIMESTAMP_TRUNC(CAST({value} AS TIMESTAMP), {part})"


class DatabricksGrammar(Grammar):
    """Databricks SQL. NaN equals NaN there."""

    name = "databricks"
    quote = "`"
    text_type = "STRING"
    escapes = True
    cte = ""

    def differ(self, a: str, b: str) -> str:
        """By the null-safe equality, which every runtime has."""
        return f"NOT ({a} <=> {b})"

    def comparable(self, value: str, column: Column, kinds: frozenset[Kind]) -> str:
        """Maps have no equality; structs may hold them."""
        return f"to_json({value})" if column.kind is Kind.OTHER else value

    def sorted_array(self, value: str, column: Column) -> str:
        """sort_array puts nulls first."""
        return f"sort_array({value})"

    def finite(self, value: str) -> str:
        """Every moment is."""
        return f"{value} IS NOT NULL"

    def microseconds(self, value: str) -> str:
        """Whole ones."""
        return f"unix_micros(CAST({value} AS TIMESTAMP))"

    def as_of(self, moment: str | int | None) -> str:
        """TIMESTAMP AS OF."""
        if moment is None:
            return ""
        if isinstance(moment, int):
            return f" TIMESTAMP AS OF (current_timestamp() - INTERVAL {abs(moment)} SECONDS)"
        return f" TIMESTAMP AS OF {self.text(moment)}"

    def hex_number(self, digits: str, start: int) -> str:
        """conv gives a text."""
        return f"CAST(conv(substr({digits}, {start}, 7), 16, 10) AS BIGINT)"

    def byte_length(self, text: str) -> str:
        """The standard's word."""
        return f"octet_length({text})"

    def key_hash(self, keys: Sequence[str]) -> str:
        """The low bits of xxhash64 of the texts."""
        return f"(xxhash64({', '.join(map(self.as_text, keys))}) & {HASH_SPAN - 1})"


class RedshiftGrammar(Grammar):
    """Amazon Redshift: PostgreSQL 8's words, without IS DISTINCT FROM and MATERIALIZED."""

    name = "redshift"
    distinct_from = False
    cte = ""

    def microseconds(self, value: str) -> str:
        """extract gives whole seconds of a TIMESTAMP (Redshift's documentation of EXTRACT)."""
        return f"datediff(microsecond, TIMESTAMP '1970-01-01 00:00:00', {value})"

    def key(self, value: str, pair_kinds: frozenset[Kind]) -> str:
        """Padding means nothing in keys."""
        return f"rtrim({value})" if Kind.FIXED in pair_kinds else value

    def comparable(self, value: str, column: Column, kinds: frozenset[Kind]) -> str:
        """SUPER by its JSON; char(n) without its padding."""
        if column.kind is Kind.JSON:
            return f"json_serialize({value})"
        return f"rtrim({value})" if kinds <= STRINGS and Kind.FIXED in kinds else value

    def finite(self, value: str) -> str:
        """Every moment is."""
        return f"{value} IS NOT NULL"

    def hex_number(self, digits: str, start: int) -> str:
        """strtol."""
        return f"strtol(substring({digits}, {start}, 7), 16)"

    def byte_length(self, text: str) -> str:
        """The standard's word."""
        return f"octet_length({text})"

    def key_hash(self, keys: Sequence[str]) -> str:
        """31 bits of the md5 of the texts; || because concat takes two."""
        texts = " || chr(31) || ".join(f"coalesce({self.as_text(k)}, '')" for k in keys)
        return f"(strtol(left(md5({texts}), 8), 16) & {HASH_SPAN - 1})"


DUCKDB = Grammar()
POSTGRES = PostgresGrammar()
MYSQL = MysqlGrammar()
GRAMMARS: dict[str, Grammar] = {
    "duckdb": DUCKDB,
    "postgres": POSTGRES,
    "mysql": MYSQL,
    "mariadb": MYSQL,
    "snowflake": SnowflakeGrammar(),
    "bigquery": BigQueryGrammar(),
    "databricks": DatabricksGrammar(),
    "redshift": RedshiftGrammar(),
}
